#ifndef ENGINE_X86_REGS_H
#define ENGINE_X86_REGS_H
/* Registers of an x86-64 vCPU, by the numbers that engine_ops.get and set take. "SDM" is Intel's
 * Software Developer's Manual. Values that make no CPU state together are refused when the vCPU
 * next runs, not when one of them is set, since a change of mode sets several. */
enum {
	/* The order of the encodings: rax rcx rdx rbx rsp rbp rsi rdi r8 .. r15. */
	REG_X86_GPR = 0,
	REG_X86_RIP = 16,
	REG_X86_RFLAGS = 17,
	/* +4 * (0..5: es cs ss ds fs gs; 6: ldtr; 7: tr) + one of the four. */
	REG_X86_SEG = 32,
	SEG_SELECTOR = 0,
	SEG_BASE = 1,
	SEG_LIMIT = 2,	/* in bytes, whatever the granularity */
	SEG_ACCESS = 3, /* SDM 3, 25.4.1: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15,
			   unusable 16 */
	REG_X86_GDT_BASE = 64,
	REG_X86_GDT_LIMIT = 65,
	REG_X86_IDT_BASE = 66,
	REG_X86_IDT_LIMIT = 67,
	REG_X86_CR = 80, /* +0, 2, 3, 4, 8 */
	REG_X86_EFER = 96,
	REG_X86_XCR0 = 97,
	REG_X86_APIC_BASE = 98,
	REG_X86_ACTIVITY = 99, /* enum x86_activity */
	REG_X86_DR = 112,      /* +0..3, 6, 7 */
	/* Events on their way, SDM 3, 6: what a snapshot needs beside the registers. */
	REG_X86_EVENT_EXCEPTION = 128, /* X86_EVENT_* | error code << 32 */
	REG_X86_EVENT_PAYLOAD = 129,   /* of a pending exception: CR2 or DR6 */
	REG_X86_EVENT_INTERRUPT = 130, /* X86_EVENT_* */
	REG_X86_EVENT_NMI = 131,       /* X86_EVENT_INJECTED, _PENDING, _MASKED */
	REG_X86_EVENT_SHADOW = 132,    /* bit 0: by mov ss, 1: by sti */
	REG_X86_EVENT_SIPI = 133,      /* vector of the last start-up IPI */
	REG_X86_EVENT_SHUTDOWN = 134,  /* 1: a triple fault is pending */
	REG_X86_TSC = 135,	       /* as it reads; setting it leaves TSC_ADJUST alone */
	REG_X86_PV_TSC =
		136, /* KVM's clock: a moment that all vCPUs go by, as a TSC without their */
	REG_X86_PV_NS = 137,	  /* TSC_ADJUST and in ns of the board's clock */
	REG_X86_EVENT_INIT = 138, /* asked for and not served: bit 0 INIT, bit 8 SIPI, its vector
				     7:0 of the upper half */
	REG_X86_PDPTE = 140,	  /* +0..3: PAE paging's registers */
	REG_X86_LAPIC = 256,	  /* +0..63: SDM 3, 11.4.1, at offset 16 * n */
	REG_X86_XSAVE = 0x1000,	  /* +n: 8 bytes at 8 * n; SDM 1, 13.4, not compacted.
				    XSTATE_BV (n = 64) decides which parts are meant */
	X86_XSAVE_ROOM = 4096,	  /* bytes of it that are saved */
	REG_X86_MSR = 0x10000,	  /* +index up to 0xfffeffff */
};
enum {
	X86_EVENT_VECTOR = 0xff,
	X86_EVENT_INJECTED = 1 << 8, /* its delivery was cut short and is to be done again */
	X86_EVENT_PENDING = 1 << 9,
	X86_EVENT_HAS_CODE = 1 << 10,
	X86_EVENT_HAS_PAYLOAD = 1 << 11,
	X86_EVENT_SOFT = 1 << 12, /* by int n */
	X86_EVENT_MASKED = 1 << 13,
};
enum x86_activity { X86_RUNNING, X86_WAITS_FOR_INIT, X86_INIT_RECEIVED, X86_HALTED, X86_SIPI };

/* Inputs of a vCPU: lines for engine_ops.irq. */
enum {
	IRQ_X86_INTR = 0, /* level, from the PICs; the vector is fetched by x86_hooks.extint */
	IRQ_X86_NMI = 1,  /* edge */
	/* Where the local APICs are the board's: */
	IRQ_X86_INIT = 2, /* edge: reset, then wait for SIPI */
	IRQ_X86_SIPI = 3, /* level: the vector */
};
#endif
