#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* What makes virtual CPUs run. run() serves memory and i/o through gmem and the buses itself;
 * it comes back only for what the board must decide. Each vCPU is run by one thread of the
 * board; only functions marked "any thread" may be called from another while it runs. */
struct bus;
struct counters;
struct gmem;
struct loop;
struct tracer;
struct unitlog;
struct x86_model;
struct x86_leaf;
struct vclock;
struct engine;
struct vcpu;
enum vcpu_exit {
	VCPU_KICKED,  /* vcpu_kick() was called (sticky: a kick before run() counts) */
	VCPU_SYSCALL, /* a call to the layer below: RISC-V ecall from S-mode with env.sbi. pc is
			 already past it; arguments and results are in the registers */
	VCPU_DEBUG,   /* a debugger wants to know: vcpu_stop says why */
	VCPU_RESET,   /* the CPU gave up and asks for a reset: x86's triple fault */
	VCPU_BROKEN,  /* this engine cannot go on; words in vcpu_error() */
};
/* x86: which interrupt controllers are the engine's. The rest are devices of the board. */
enum irqchip {
	IRQCHIP_NONE,  /* none: the board has the LAPICs, too, and drives IRQ_X86_INTR */
	IRQCHIP_SPLIT, /* LAPICs; the board's IOAPIC sends messages, its PICs drive IRQ_X86_INTR */
	IRQCHIP_FULL,  /* LAPICs, IOAPIC and PICs: the board has lines only */
};
/* x86: what a vCPU asks of the board, on the vCPU's thread. Any of them may be NULL. */
struct x86_hooks {
	/* An MSR that the engine does not know. false: #GP(0). */
	bool (*msr)(void *ctx, unsigned cpu, uint32_t index, bool write, uint64_t *val);
	void (*eoi)(void *ctx, unsigned vector); /* level-triggered, of the board's IOAPIC */
	int (*extint)(void *ctx, unsigned cpu);	 /* acknowledge INTR: the vector; -1: none left */
	/* The rest where the local APICs are the board's. Their MSRs (0x1b, 0x6e0, 0x800..0x8ff)
	 * come through msr. TPR's upper half as CR8: the value now, after val was written if
	 * `write`. */
	unsigned (*cr8)(void *ctx, unsigned cpu, bool write, unsigned val);
	/* The page of 4 KiB that this CPU sees at the address in MSR 0x1b. */
	struct device *(*apic)(void *ctx, unsigned cpu);
	void *ctx;
};
/* Times at which others may do something to a CPU whose instructions are counted, told so that they
 * can be found again to the instruction: `ran` alone says which it is, but for those in its sleep,
 * which `ran` and `slept` say. */
struct engine_turn {
	uint64_t ran, slept; /* ns; their sum is the time */
	bool asleep;	     /* in WFI or HLT: it may be woken now */
	uint64_t wakes;	     /* asleep: the slept at which a timer comes; UINT64_MAX: none will */
};
struct engine_turns {
	/* On the vCPU's thread, which is between two instructions: registers may be read. When it
	 * wants to be called again: the ran, or, asleep, the slept at which it is time (UINT64_MAX:
	 * whenever it is usual). */
	uint64_t (*turn)(void *ctx, const struct engine_turn *t);
	void *ctx;
	/* To the ones that `turn` asks for only, and no time is spent asleep. Otherwise every
	 * 10 ms, and asleep time goes on as on the host until somebody kicks the vCPU. */
	bool replays;
};
struct engine_env { /* what an engine is given; everything outlives it */
	enum arch arch;
	struct gmem *mem;
	struct bus *mmio, *pio; /* pio NULL where there is none */
	struct loop *loop;	/* for guest timers; run by another thread */
	const struct vclock *clock;
	bool sbi;	 /* RISC-V: Lodge is the SBI. Harts start in S-mode, M-mode does not run:
			    delegation set up as an SBI firmware would, S-mode ecalls exit */
	unsigned cpus;	 /* how many vCPUs there will be; 0: not known */
	unsigned hot;	 /* jumps to a place before it is translated, up to 255; 0: as pays */
	unsigned trials; /* x86-64: times that code is interpreted before it is translated */
	enum windows { WINDOWS_CHOSEN, WINDOWS_OFF, WINDOWS_EARLY } windows; /* early: for tests */
	/* x86-64 on x86-64: run user code that computes by itself, in a process beside. */
	enum direct { DIRECT_CHOSEN, DIRECT_OFF, DIRECT_EARLY } direct;
	struct unitlog *log;   /* told of what is translated; NULL: nobody wants to know */
	struct tracer *tracer; /* told of what is executed; NULL: nobody wants to know */
	/* A clock to be driven by the instructions of the only vCPU, which then does the same each
	 * time it is given the same; NULL: none. tick: called by the vCPU's thread when time has
	 * come to what it answered last, and more often; answers when it wants to be called next,
	 * in ticks. pause: every 10 ms, and before it sleeps, others may do something, too. */
	struct vclock *counted;
	uint64_t (*tick)(void *ctx, bool pause);
	void *tick_ctx;
	/* Where what comes from outside is recorded, or comes from a recording; NULL: neither. */
	const struct engine_turns *turns;
	size_t code_room;  /* bytes for a vCPU's translated code; 0: 32 MiB */
	unsigned max_satp; /* RISC-V: widest page tables offered: 8 Sv39, 9 Sv48, 10 Sv57 */
	enum irqchip irqchip;
	struct x86_hooks x86;
	const struct x86_model *cpu; /* x86: a model of a CPU; NULL: what the engine does best */
};
/* One number per register, for boards, debuggers and snapshots alike. x86's: x86_regs.h. */
enum {
	REG_RV_X = 0,  /* +0..31 */
	REG_RV_F = 32, /* +0..31, 64 bits, NaN-boxed */
	REG_RV_PC = 64,
	REG_RV_PRIV = 65,    /* 0 U, 1 S, 3 M */
	REG_RV_PENDING = 66, /* of mip, what software has set: not the inputs' levels */
	REG_RV_V = 128,	     /* +0..63: halves of the vector registers, the lower one first */
	REG_RV_CSR = 0x1000, /* +CSR number; no side effects on reading */
};
/* What of a vCPU a snapshot holds, in the order to set it in after a reset; ended by one with n 0.
 * Whether it sleeps, what it was asked for and has not served, are among them; of time only what is
 * no board's. Setting has no effects beside. A register that an engine does not know is left out.
 */
struct reg_range {
	unsigned first, n;
};
const struct reg_range *engine_registers(enum arch a);
/* Interrupt inputs of a RISC-V hart: bit numbers of mip. */
enum {
	IRQ_RV_SSI = 1,
	IRQ_RV_MSI = 3,
	IRQ_RV_STI = 5,
	IRQ_RV_MTI = 7,
	IRQ_RV_SEI = 9,
	IRQ_RV_MEI = 11
};
enum vcpu_fence { FENCE_TLB, FENCE_TLB_ASID, FENCE_CODE };

/* What a debugger wants all vCPUs of an engine to stop at, by virtual address (x86: linear). */
enum { VCPU_BREAKS = 256, VCPU_WATCHES = 16 };
struct vcpu_points {
	unsigned nbreaks, nwatches;
	gva_t breaks[VCPU_BREAKS]; /* before the instruction there is executed */
	bool hard[VCPU_BREAKS];	   /* by the CPU's own means; software makes no difference */
	struct vcpu_watch {
		gva_t at;
		uint64_t len;
		bool reads, writes;
	} watch[VCPU_WATCHES]; /* RISC-V: before the access is done; x86: behind the instruction */
};
struct vcpu_stop { /* why run() returned VCPU_DEBUG */
	enum { STOPPED_BY_STEP, STOPPED_BY_BREAK, STOPPED_BY_WATCH } why;
	struct vcpu_watch watch; /* of STOPPED_BY_WATCH: the one that was met */
};

struct engine_ops {
	const char *name; /* "interp", "jit", "kvm" */
	bool whole;	  /* it reaches guest memory past gmem_ptr(): all of it must have come */
	int (*probe)(enum arch guest, struct err *e); /* 0: this host runs that guest with it */
	int (*open)(struct engine **out, const struct engine_env *env, struct err *e);
	int (*vcpu)(struct vcpu **out, struct engine *en, unsigned id, struct err *e);
	enum vcpu_exit (*run)(struct vcpu *c);
	void (*kick)(struct vcpu *c); /* any thread: make run() return VCPU_KICKED soon */
	void (*irq)(struct vcpu *c, unsigned line, int level); /* any thread, lock-free */
	/* Any thread: have another vCPU forget translations of [va, va+len) (len 0: all) or
	 * decoded code. When it returns that vCPU will not use them again. from: the calling
	 * vCPU (so that two fencing each other do not wait for ever), or NULL. */
	void (*fence)(struct vcpu *c, struct vcpu *from, enum vcpu_fence what, gva_t va,
		      uint64_t len, unsigned asid);
	int (*get)(struct vcpu *c, unsigned reg, uint64_t *val); /* -ENOENT: no such register */
	int (*set)(struct vcpu *c, unsigned reg, uint64_t val);
	void (*reset)(struct vcpu *c);	     /* to the state after power-on */
	uint64_t (*instret)(struct vcpu *c); /* guest instructions retired; any thread, roughly */
	/* Any thread, roughly: add what this vCPU has counted. */
	void (*stats)(struct vcpu *c, struct counters *to);
	/* Have the hardware's log of writes follow gmem_tracking(), and what vCPUs have written
	 * since the last call appear in gmem's bitmap. NULL: it is always up to date. */
	int (*dirty)(struct engine *en, struct err *e);
	/* x86, for a local APIC of the board's: when, in ns of env.clock, this vCPU's time stamp
	 * counter comes to tsc. Any thread. NULL: not known. */
	uint64_t (*tsc_ns)(struct vcpu *c, uint64_t tsc);
	/* x86 (x86_model.h): what the guest is told of its CPU, how many leaves, X86_LEAVES at
	 * most. be: before any vCPU has run, go on as the CPU that told so elsewhere; -ENOTSUP in
	 * words that name what this one lacks. */
	unsigned (*told)(struct engine *en, struct x86_leaf *to);
	int (*be)(struct engine *en, const struct x86_leaf *told, unsigned n, struct err *e);
	/* For debuggers, all of them while no vCPU runs; NULL points: this engine has none of it.
	 * debugs: NULL p: whether this host does it at all, asked before anything else; or whether
	 * it would stop at these, on the host's part. NULL: at whatever there is.
	 * points: stop at these from now on (copied); NULL: no debugger is there any more. While
	 * one is, state at a stop is exact, and code may be slower. */
	int (*debugs)(struct engine *en, const struct vcpu_points *p, struct err *e);
	void (*points)(struct engine *en, const struct vcpu_points *p);
	/* The next run() executes one instruction, or takes a trap instead, and returns VCPU_DEBUG,
	 * or VCPU_SYSCALL. Meanwhile no interrupt comes, unless the vCPU waits for one.
	 * Breakpoints do not stop it. False: not any more. */
	void (*step)(struct vcpu *c, bool on);
	void (*stopped)(struct vcpu *c, struct vcpu_stop *to);
	/* Where an address is in guest-physical memory, whatever rights that asks for; nothing
	 * changes. */
	bool (*peek)(struct vcpu *c, gva_t va, gpa_t *out);
	const char *(*error)(struct vcpu *c);
	void (*close)(struct engine *en); /* and its vCPUs; NULL is fine */
};
/* engine_check runs each piece of code twice, by the translator and by the interpreter, and breaks
 * where they differ: to test the one by the other. */
extern const struct engine_ops engine_interp, engine_jit, engine_check;
#endif
