#ifndef ENGINE_KVM_IMPL_H
#define ENGINE_KVM_IMPL_H
#include "engine/kvm.h"
#include "engine/x86_model.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
/* Between the kvm_*.c files. */
enum {
	KVM_SLOTS = 16,
	KVM_ENTRIES = 256, /* of CPUID */
	KVM_ERROR = 300,   /* bytes of words */
	KVM_CATCHES = 16,
};

struct engine {
	struct engine_env env;
	int dev, fd; /* /dev/kvm, the VM */
	struct vcpu *vcpus;
	size_t run_size, xsave_size; /* bytes */
	bool logging;		     /* writes are logged: the slots were set so */
	unsigned slots;
	pthread_mutex_t lock; /* guards routes, catches, and the slots while logging changes */
	struct kvm_irq_routing *routes; /* room for KVM_GSIS + 48 */
	struct kvm_msr_filter_range caught[KVM_CATCHES];
	unsigned ncaught;
	struct kvm_irqchip chips[KVM_NR_IRQCHIPS]; /* IRQCHIP_FULL: at power-on */
	struct x86_leaf *told;			   /* CPU 0's CPUID; NULL: there is no vCPU yet */
	unsigned ntold;
	uint32_t tsc_khz;		/* of the guest's TSC; 0: not known */
	bool scaled;			/* which is another than the host's */
	struct kvm_time {		/* under `lock`; kvm_time.c */
		uint64_t got, put;	/* moments of the host's TSC; 0: none */
		uint64_t pv_tsc, pv_ns; /* a moment: REG_X86_PV_TSC, _NS; pv_tsc 0: none */
		bool due;		/* KVM's clock is to be set by it before anything runs */
	} time;
	_Atomic bool holds; /* some of `time` is to be looked at */
	/* kvm_debug.c. Written while no vCPU runs. */
	struct kvm_debug *debug; /* NULL: no debugger is there */
	unsigned debugs;	 /* KVM_DEBUGS_*; 0: not asked for yet */
	unsigned inside;	 /* under `lock`: vCPUs in kvm_run() while a debugger is there */
};

/* Why a vCPU is to come out of KVM_RUN: bits of `poke`. */
enum { POKE_KICK = 1, POKE_INTR = 2, POKE_NMI = 4 };
enum {
	HAVE_REGS = 1,
	HAVE_SREGS = 2,
	DIRTY_REGS = 4,
	DIRTY_SREGS = 8,
	HAVE_XSAVE = 16,
	DIRTY_XSAVE = 32
};

struct vcpu {
	struct engine *en;
	struct vcpu *next;
	unsigned id;
	int fd;
	struct kvm_run *run;
	/* Any thread. */
	_Atomic unsigned poke; /* POKE_KICK and POKE_NMI are taken, POKE_INTR is a level */
	_Atomic uint64_t exits[5];
	pthread_mutex_t lock; /* guards in_run and thread: whom to signal */
	pthread_cond_t woken; /* a halted vCPU of IRQCHIP_NONE */
	bool in_run;
	pid_t thread;
	/* The vCPU's thread's. */
	bool unsettled; /* an access was answered; its instruction ends at the next KVM_RUN */
	bool halted;	/* of IRQCHIP_NONE: it has executed hlt, and nothing has come since */
	unsigned cache; /* HAVE_*, DIRTY_* */
	bool stepped;	/* debuggers: one instruction */
	bool debug_due; /* KVM is to be told anew what stops it */
	bool watched;	/* debug registers are ours, with the guest's that were there last: */
	struct kvm_debugregs guest_debug;
	struct vcpu_stop stopped;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xsave *xsave;    /* engine.xsave_size bytes */
	struct kvm_power_on *first; /* what reset goes back to */
	char error[KVM_ERROR];
};
enum kvm_count { COUNT_EXITS, COUNT_PIO, COUNT_MMIO, COUNT_MSR, COUNT_HALTS };
static inline void kvm_count(struct vcpu *c, enum kvm_count what)
{
	atomic_fetch_add_explicit(&c->exits[what], 1, memory_order_relaxed);
}

/* kvm_run.c */
void kvm_signals(void); /* the signal that brings a vCPU out; once is enough */
enum vcpu_exit kvm_run(struct vcpu *c);
enum vcpu_exit kvm_run_for(struct vcpu *c, uint64_t ns); /* then it is kicked, by a signal */
void kvm_kick(struct vcpu *c);
void kvm_irq(struct vcpu *c, unsigned line, int level);

gva_t kvm_rip_linear(struct vcpu *c);

/* kvm_debug.c: operations of engine.h, */
int kvm_debugs(struct engine *en, const struct vcpu_points *p, struct err *e);
void kvm_points(struct engine *en, const struct vcpu_points *p);
void kvm_step(struct vcpu *c, bool on);
void kvm_stopped(struct vcpu *c, struct vcpu_stop *to);
bool kvm_peek(struct vcpu *c, gva_t va, gpa_t *out);
/* and what kvm_run() does for them: around all of it, -errno; before KVM_RUN is entered again; */
int kvm_debug_begin(struct vcpu *c);
void kvm_debug_end(struct vcpu *c);
void kvm_debug_again(struct vcpu *c);
bool kvm_debug_stands(struct vcpu *c); /* run() is to end as if it had stepped */
/* KVM_EXIT_DEBUG: 1 the debugger is to know, 0 it was the guest's own affair, or -errno; */
int kvm_debug_exit(struct vcpu *c);
/* whether int3 there is the debugger's, and so to be told. */
bool kvm_debug_int3(struct vcpu *c, gva_t rip);

/* kvm_debug_probe.c: what it can be relied on for, of KVM_DEBUGS_*; or why it is not enough. */
enum {
	KVM_DEBUGS_STEP = 1,
	KVM_DEBUGS_SOFT = 2, /* int3 */
	KVM_DEBUGS_HARD = 4,
	KVM_DEBUGS_WATCH = 8,
	KVM_DEBUGS_USER_STEP = 16, /* and in ring 3 */
	KVM_DEBUGS_USER_SOFT = 32,
	KVM_DEBUGS_USER_HARD = 64,
	KVM_DEBUGS_USER_WATCH = 128,
};
static inline bool kvm_debugs_all(unsigned can, unsigned what) { return (can & what) == what; }
int kvm_debug_probe(struct err *e);

/* kvm_regs.c */
int kvm_get(struct vcpu *c, unsigned reg, uint64_t *val);
int kvm_set(struct vcpu *c, unsigned reg, uint64_t val);
int kvm_regs_fetch(struct vcpu *c, unsigned have);
int kvm_regs_flush(struct vcpu *c); /* -errno: no CPU has such registers */
void kvm_regs_forget(struct vcpu *c);
int kvm_power_on_take(struct vcpu *c, struct err *e);
void kvm_reset(struct vcpu *c);

/* kvm_time.c: time stamp counters, all read and then set at one moment, and KVM's clock by them. */
int kvm_tsc_get(struct vcpu *c, uint64_t *val);
int kvm_tsc_set(struct vcpu *c, uint64_t val);
int kvm_pv_get(struct vcpu *c, unsigned reg, uint64_t *val);
int kvm_pv_set(struct vcpu *c, unsigned reg, uint64_t val);
void kvm_time_go(struct vcpu *c);				      /* a vCPU is about to run */
int kvm_msr(struct vcpu *c, uint32_t index, uint64_t *val, bool set); /* kvm_regs.c */

/* kvm_told.c: CPUID's tables between us and KVM. */
int kvm_cpuid_set(struct vcpu *c, struct err *e); /* of a new vCPU: by the policy, or a model */
unsigned kvm_told(struct engine *en, struct x86_leaf *to);
int kvm_be(struct engine *en, const struct x86_leaf *told, unsigned n, struct err *e);

/* kvm.c */
int kvm_cap(const struct engine *en, int what); /* 0: it has no such thing */

/* kvm_cpuid.c: what the guest is told its CPU is. */
struct kvm_cpu_want {
	unsigned id, cpus;
	uint32_t tsc_khz;
	bool lapic;    /* the engine's: what needs it may be offered */
	bool deadline; /* LAPIC timer by TSC */
};
/* In place; the number of entries now, at most max. */
unsigned kvm_cpuid_policy(struct kvm_cpuid_entry2 *e, unsigned n, unsigned max,
			  const struct kvm_cpu_want *w);

/* kvm_irq.c */
int kvm_irqchip(struct engine *en, struct err *e);
void kvm_chips_reset(struct engine *en);
#endif
