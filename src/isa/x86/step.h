#ifndef ISA_X86_STEP_H
#define ISA_X86_STEP_H
#include "isa/x86/x86.h"
/* Executes what the table gives a meaning, on registers and on memory behind callbacks. Owned by
 * the thread of its CPU. Privilege, segments' limits, paging and devices are the engine's: it hands
 * in linear memory, and does itself what comes back as X86_OTHER. */
enum x86_flag {
	X86_CF = 1 << 0,
	X86_PF = 1 << 2,
	X86_AF = 1 << 4,
	X86_ZF = 1 << 6,
	X86_SF = 1 << 7,
	X86_TF = 1 << 8,
	X86_IF = 1 << 9,
	X86_DF = 1 << 10,
	X86_OF = 1 << 11,
	X86_IOPL = 3 << 12,
	X86_NT = 1 << 14,
	X86_RF = 1 << 16,
	X86_VM = 1 << 17,
	X86_AC = 1 << 18,
	X86_ID = 1 << 21,
	X86_ARITH = X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF,
};
/* What x86_exec and the callbacks return: 0, or one of these. */
enum x86_trap {
	X86_OTHER = 1, /* not a meaning of the table's: the engine executes it */
	X86_AGAIN = 2, /* between step.c and its helpers: a locked store lost its race */
	X86_REPEAT =
		3, /* a string instruction has more to do; registers are exact, rip unchanged */
	X86_TRAP = 0x100, /* + vector */
	X86_TRAP_DE = 0x100,
	X86_TRAP_DB,
	X86_TRAP_BP = 0x103,
	X86_TRAP_OF,
	X86_TRAP_BR,
	X86_TRAP_UD,
	X86_TRAP_SS = 0x10c,
	X86_TRAP_GP,
	X86_TRAP_PF,
	X86_TRAP_AC = 0x111,
};
struct x86_cpu;
/* Linear addresses; n is 1, 2, 4, 8 or 16 bytes, which may cross a page. 0 or a trap; then nothing
 * has been written. cas: if memory is *expected, it becomes *to, at once for all other CPUs; else
 * *expected becomes what it is. */
struct x86_mem {
	int (*load)(struct x86_cpu *c, uint64_t at, void *to, unsigned n);
	int (*store)(struct x86_cpu *c, uint64_t at, const void *from, unsigned n);
	int (*cas)(struct x86_cpu *c, uint64_t at, void *expected, const void *to, unsigned n);
};
struct x86_cpu {
	uint64_t r[16], rip, flags; /* rip of the instruction; flags with bit 1 set */
	uint64_t base[6];	    /* of segments; 0 for all but FS and GS in 64 bit mode */
	uint64_t popf_mask;	    /* flags that popf may change as privilege is now */
	uint8_t ssize;		    /* bytes of the stack pointer: SS.B, 8 in 64 bit mode */
	const struct x86_mem *mem;
	uint64_t was, next; /* inside x86_exec: what a locked instruction found; rip behind */
};
/* Executes one instruction that x86_decode gave, at c->rip. 0: done, rip moved on. A trap: nothing
 * has changed but what a string instruction had already done. */
int x86_exec(struct x86_cpu *c, const struct x86_insn *in);
#endif
