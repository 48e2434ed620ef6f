#ifndef VM_VM_H
#define VM_VM_H
#include "base/err.h"
#include "base/types.h"
#include "engine/engine.h"
#include "engine/x86_model.h"
#include "hw/clock.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
/* A computer: its harts, each run by a thread of its own, and its power. What is wired to them is
 * the board's (board.h).
 * Locking: vm.lock guards want, power and every hart's state, start_* and idle; it is a leaf.
 * want is also read without it. A hart's vCPU belongs to its thread while that is not idle. */
struct blk;
struct board;
struct throttle;
struct turns;
struct board_ops;
struct debugger;
struct show;
struct guest;
struct keys;
struct kind;
struct leave;
struct tracer;
struct unitlog;
extern const struct kind kind_vm;
enum { VM_CPUS = 8, VM_DISKS = 8 };

enum hart_state { /* SBI 2.0 §9, HSM states */
		  HART_STARTED,
		  HART_STOPPED,
		  HART_START_PENDING,
		  HART_STOP_PENDING,
		  HART_SUSPENDED,
};
struct hart {
	struct vm *vm;
	unsigned id;
	struct vcpu *cpu;
	enum hart_state state;
	uint64_t start_pc, start_arg; /* a1; a0 is the hart's number */
	pthread_t thread;
	bool threaded;	/* thread exists */
	uint64_t stamp; /* x86-64: of its time stamp counter, while paused */
	bool idle;	/* it waits in hart_wait(), outside the engine */
	/* For a debugger: it stands while others run; is doing one instruction; has stopped. */
	bool held, stepped, hit;
	struct vcpu_stop stop; /* of hit: why */
};
enum vm_want { VM_HALT, VM_RUN, VM_QUIT };
enum vm_power { VM_POWER_NONE, VM_POWER_OFF, VM_POWER_RESET };
struct vm {
	struct guest *guest;
	const struct engine_ops *ops;
	struct engine *engine;
	struct unitlog *log; /* NULL: not asked for */
	struct tracer *tracer;
	struct gmem *mem;
	struct bus *mmio, *pio; /* pio NULL: its CPU has no ports */
	struct vclock clock;
	const struct board_ops *kind; /* of board */
	struct board *board;
	struct blk *disk[VM_DISKS]; /* as the spec has them */
	struct snapshot *saved;	    /* to be restored; NULL: none, or it was */
	struct leave *leave;	    /* NULL: it is not on its way to another host */
	struct keys *keys;	    /* of a machine whose time is counted, or NULL */
	struct turns *turns;	    /* and is recorded or replayed; else NULL */
	bool sbi;		    /* RISC-V: Lodge is the SBI, no firmware runs */
	struct x86_model model;	    /* of --cpu */
	unsigned ncpus;
	struct hart hart[VM_CPUS];
	pthread_mutex_t lock;
	pthread_cond_t changed; /* of anything the lock guards */
	enum vm_want want;
	enum vm_power power;	   /* asked for, not done yet */
	unsigned paused;	   /* kind->pause(), and for whom: only the loop's thread knows */
	bool stands;		   /* the same: another host may have it soon */
	struct show *show;	   /* show.c's; NULL: nobody has looked */
	struct debugger *debugger; /* NULL: none was asked for */
	struct throttle *throttle; /* NULL: never limited */
	bool held;		   /* by it: harts wait, as if halted; read without the lock */
	int code;		   /* of POWER_OFF: the guest's exit code */
};

/* Any thread, also from inside a device: the machine goes off, or starts anew, soon. The first
 * request wins. No hart executes more than a few instructions after it. */
void vm_power(struct vm *vm, enum vm_power what, int code);
/* Any thread: it cannot go on. */
void vm_broken(struct vm *vm, const struct err *why);
bool vm_halting(struct vm *vm); /* any thread: it is to stop, for good or for now */
void vm_wake(void *vm);		/* any thread: have its harts look up */
/* On the loop's thread: the machine stands, and its time, until nobody holds it any more. */
enum { VM_HELD_BY_OWNER = 1, VM_HELD_BY_DEBUGGER = 2, VM_HELD_TO_LOOK = 4, VM_HELD_TO_MOVE = 8 };
void vm_freeze(struct vm *vm, unsigned who);
void vm_thaw(struct vm *vm, unsigned who);
void vm_again(struct vm *vm); /* while halted: from the beginning, as after power-on */
void vm_begin(struct vm *vm); /* while it stands: harts that are to start are as they start */
void vm_hold(struct vm *vm, bool held); /* any thread: harts stand, or may run again */
/* A hart begins in its state after reset, but for what the board's begin() makes of pc and arg. */
bool hart_start(struct hart *h, uint64_t pc, uint64_t arg);   /* any thread; false: not stopped */
void hart_restart(struct hart *h, uint64_t pc, uint64_t arg); /* its own thread, or while halted */
void hart_state_set(struct hart *h, enum hart_state state);
enum hart_state hart_state(struct hart *h); /* any thread */
/* On the hart's thread: wait a moment for whatever may happen; false: the machine wants to halt. */
bool hart_doze(struct hart *h);

/* Registers, on its thread or while it is idle. */
uint64_t hart_get(struct hart *h, unsigned reg);
void hart_set(struct hart *h, unsigned reg, uint64_t val);
/* An interrupt line into a hart: ctl is the struct hart, line an IRQ_RV_* or IRQ_X86_*. */
void hart_irq(void *ctl, unsigned line, int level);

/* Serve the S-mode ecall in which hart h stopped, on its thread (sbi.c). */
void sbi_call(struct hart *h);
#endif
