/* An x86-64 CPU's life: made, poked, interrupted, run. What another thread wants of it is a bit in
 * `poll`, and whoever sets one that cannot be served yet sees to it that it is set again. */
#include "engine/x86_vcpu.h"
#include "base/err.h"
#include "engine/tracer.h"
#include "engine/x86_context.h"
#include "engine/x86_direct.h"
#include "engine/x86_jit.h"
#include "engine/x86_shadow.h"
#include "engine/x86_window.h"
#include "hw/gmem.h"
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STACK = 256 << 10, GUARD = X86_PAGE, NMI_VECTOR = 2, STEPS = 1024 };

/* ---- birth and death */
void x86_machine_init(struct x86_machine *m)
{
	x86_groups_init();
	x86_host_tsc_watch();
	m->tsc_zero = m->env.counted ? 0 : x86_host_tsc();
	if (m->env.counted) m->tsc_khz = 1000000; /* an instruction a nanosecond */
}

static size_t room(void)
{
	size_t n = sizeof(struct x86_vcpu) + STACK + GUARD;
	return (n + X86_PAGE - 1) & ~(size_t)(X86_PAGE - 1);
}

/* Below the struct there is a stack for translated code, and below that nothing. */
static struct x86_vcpu *vcpu_map(void)
{
	uint8_t *p = mmap(NULL, room(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) return NULL;
	if (mprotect(p, GUARD, PROT_NONE)) {
		(void)munmap(p, room());
		return NULL;
	}
	return (struct x86_vcpu *)(void *)(p + GUARD + STACK);
}

struct x86_vcpu *x86_vcpu_new(struct x86_machine *m, unsigned id)
{
	struct x86_vcpu *v = id < COUNT(m->vcpu) ? vcpu_map() : NULL;
	if (!v) return NULL;
	v->machine = m;
	v->id = id;
	v->cpu.mem = &x86_mem_ops;
	v->msrs = x86_msrs_new();
	v->own = x86_own_new();
	v->contexts = x86_contexts_new();
	if (!v->msrs || !v->own || !v->contexts) {
		x86_vcpu_free(v);
		return NULL;
	}
	m->vcpu[id] = v;
	if (m->n <= id) m->n = id + 1;
	v->trace.to = tracer_cpu_new(m->env.tracer, id);
	v->trace.steps = tracer_steps(v->trace.to);
	if (m->env.counted) x86_count_new(v);
	x86_vcpu_reset(v, false);
	return v;
}

void x86_vcpu_free(struct x86_vcpu *v)
{
	if (!v) return;
	if (v->machine->vcpu[v->id] == v) v->machine->vcpu[v->id] = NULL;
	x86_jit_free(v->jit);
	x86_across_free(v);
	tracer_cpu_free(v->trace.to);
	free(v->msrs);
	free(v->own);
	free(v->contexts);
	(void)munmap((uint8_t *)v - STACK - GUARD, room());
}

/* ---- from other threads */
static void futex_wait(_Atomic uint32_t *at, uint32_t seen, const struct timespec *most)
{
	(void)syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, seen, most, NULL, 0);
}
static void futex_wake(_Atomic uint32_t *at)
{
	(void)syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, INT_MAX);
}

void x86_poke(struct x86_vcpu *v, enum x86_poll why)
{
	(void)atomic_fetch_or(&v->poll, why);
	if (atomic_load(&v->asleep)) futex_wake(&v->poll);
	x86_direct_poke(v);
}

void x86_irq(struct x86_vcpu *v, unsigned line, int level)
{
	switch (line) {
	case IRQ_X86_INTR:
		atomic_store(&v->intr, level != 0);
		if (level) x86_poke(v, X86_POLL_INTR);
		return;
	case IRQ_X86_NMI:
		if (level) x86_poke(v, X86_POLL_NMI);
		return;
	case IRQ_X86_INIT:
		if (level) x86_poke(v, X86_POLL_INIT);
		return;
	case IRQ_X86_SIPI:
		atomic_store(&v->sipi_asked, level & 0xff);
		x86_poke(v, X86_POLL_SIPI);
		return;
	default: return;
	}
}

/* No guest code from here on (or again): those who wait for us to serve a fence need not. */
static void set_running(struct x86_vcpu *v, bool on)
{
	atomic_store(&v->running, on);
	if (!on && atomic_load(&v->fence_waiters)) futex_wake(&v->fence_done);
}

void x86_fence_writes(struct x86_vcpu *v, struct x86_vcpu *from)
{
	const struct timespec while_ = {.tv_nsec = 1000000};
	uint32_t mine = atomic_fetch_add(&v->fence_asked, 1) + 1, done;
	(void)atomic_fetch_or(&v->poll, X86_POLL_FENCE); /* who sleeps need not wake for it */
	x86_direct_poke(v);
	bool was = from && atomic_load(&from->running);
	if (was) set_running(from, false); /* v may be waiting for us */
	(void)atomic_fetch_add(&v->fence_waiters, 1);
	while ((int32_t)((done = atomic_load(&v->fence_done)) - mine) < 0 &&
	       atomic_load(&v->running))
		futex_wait(&v->fence_done, done, &while_);
	(void)atomic_fetch_sub(&v->fence_waiters, 1);
	if (was) set_running(from, true);
}

/* All of it, whatever the guest's tables say: it is not the guest who asks. */
static void forget(struct x86_vcpu *v)
{
	x86_tlb_flush(v, true);
	x86_shadows_empty(v);
}

void x86_fence(struct x86_vcpu *v, struct x86_vcpu *from)
{
	if (v == from) {
		forget(v);
		return;
	}
	atomic_store(&v->fence_all, 1);
	x86_fence_writes(v, from);
}

static void fence_serve(struct x86_vcpu *v)
{
	(void)atomic_fetch_and(&v->poll, ~(uint32_t)X86_POLL_FENCE);
	uint32_t asked = atomic_load(&v->fence_asked);
	if (atomic_exchange(&v->fence_all, 0))
		forget(v);
	else
		x86_tlb_flush_writes_to_code(v);
	atomic_store(&v->fence_done, asked);
	if (atomic_load(&v->fence_waiters)) futex_wake(&v->fence_done);
}

/* ---- events */
static bool take(struct x86_vcpu *v, uint32_t polled, enum x86_poll bit)
{
	if (!(polled & bit)) return false;
	(void)atomic_fetch_and(&v->poll, ~(uint32_t)bit);
	return true;
}

/* SDM 3, 9.4.4.1; only a CPU that waits for one takes it. */
static void sipi(struct x86_vcpu *v)
{
	if (v->activity != X86_INIT_RECEIVED && v->activity != X86_WAITS_FOR_INIT) return;
	struct x86_segreg *cs = &v->seg[X86_CS];
	v->sipi = (uint8_t)atomic_load(&v->sipi_asked);
	cs->sel = (uint16_t)(v->sipi << 8);
	cs->base = (uint64_t)v->sipi << 12;
	v->cpu.rip = 0;
	v->activity = X86_RUNNING;
	x86_mode_update(v);
}

static void nmi(struct x86_vcpu *v)
{
	if (v->nmi_masked) {
		v->nmi_waits = true;
	} else if (v->shadow & 1) {
		(void)atomic_fetch_or(&v->poll, X86_POLL_NMI);
	} else {
		v->nmi_waits = false;
		v->activity = X86_RUNNING;
		v->nmi_masked = true;
		v->code = 0;
		x86_deliver(v, NMI_VECTOR, X86_FROM_OUTSIDE);
	}
}

/* With IF clear the bit goes: x86_do() sets it again when IF is. */
static void intr(struct x86_vcpu *v)
{
	const struct x86_hooks *h = &v->machine->env.x86;
	if (!atomic_load(&v->intr) || !(v->cpu.flags & X86_IF) || !h->extint) return;
	if (v->shadow) {
		(void)atomic_fetch_or(&v->poll, X86_POLL_INTR);
		return;
	}
	int vector = h->extint(h->ctx, v->id);
	if (vector < 0) return;
	x86_count(v, X86_STAT_IRQ);
	v->activity = X86_RUNNING;
	v->code = 0;
	x86_deliver(v, (unsigned)vector & 0xff, X86_FROM_OUTSIDE);
}

void x86_poll_wait(struct x86_vcpu *v, uint32_t seen, uint64_t ns)
{
	enum { SECOND = 1000000000 };
	struct timespec t = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
	futex_wait(&v->poll, seen, ns == UINT64_MAX ? NULL : &t);
}

static void sleep_until_poked(struct x86_vcpu *v)
{
	x86_count(v, X86_STAT_SLEEP);
	atomic_store_explicit(&v->retired, v->n, memory_order_relaxed);
	atomic_store(&v->asleep, 1);
	set_running(v, false);
	x86_direct_rest(v);
	uint32_t p;
	while (!v->counted && !((p = atomic_load(&v->poll)) & ~(uint32_t)X86_POLL_FENCE))
		futex_wait(&v->poll, p, NULL);
	if (v->counted) x86_count_sleep(v);
	atomic_store(&v->asleep, 0);
	set_running(v, true);
}

bool x86_events(struct x86_vcpu *v)
{
	for (;;) {
		uint32_t p = atomic_load(&v->poll);
		if (p & X86_POLL_FENCE) fence_serve(v);
		if (take(v, p, X86_POLL_CODE)) x86_jit_serve(v);
		if (take(v, p, X86_POLL_KICK) || v->reset_asked || v->broken) return false;
		if (take(v, p, X86_POLL_INIT)) x86_vcpu_reset(v, true);
		if (take(v, p, X86_POLL_SIPI)) sipi(v);
		bool hears = v->activity == X86_RUNNING || v->activity == X86_HALTED;
		if (hears && take(v, p, X86_POLL_NMI)) nmi(v);
		if (take(v, p, X86_POLL_INTR) && hears) intr(v);
		if (v->reset_asked) return false;
		if (v->activity == X86_RUNNING) return true;
		if (!hears) (void)take(v, p, X86_POLL_NMI); /* SDM 3, 9.4.2: lost */
		if (!atomic_load(&v->poll)) sleep_until_poked(v);
	}
}

/* What another engine had begun to deliver. Events that instructions make by themselves (int n,
 * int3, into) come again when those are executed again: SDM 3, 25.9.3. */
static void deliver_cut(struct x86_vcpu *v)
{
	enum { BP = 3, OF = 4, DB = 1, PF = 14, ON = X86_EVENT_INJECTED | X86_EVENT_PENDING };
	uint64_t x = v->cut_exception, i = v->cut_interrupt, payload = v->cut_payload;
	unsigned vector = x & X86_EVENT_VECTOR;
	v->cut_exception = v->cut_payload = v->cut_interrupt = 0;
	if (x & ON && vector != BP && vector != OF) {
		bool has = x & X86_EVENT_HAS_PAYLOAD;
		v->code = (uint32_t)(x >> 32);
		v->fault = vector == PF		 ? (has ? payload : v->cr2)
			   : vector == DB && has ? payload
						 : 0;
		x86_deliver(v, vector, X86_FROM_CPU);
	} else if (i & X86_EVENT_INJECTED && !(i & X86_EVENT_SOFT)) {
		v->code = 0;
		v->activity = X86_RUNNING;
		x86_deliver(v, i & X86_EVENT_VECTOR, X86_FROM_OUTSIDE);
	}
}

/* ---- running */
static void run_some(struct x86_vcpu *v)
{
	for (unsigned i = 0; i < STEPS; i++) {
		if (unlikely(atomic_load_explicit(&v->poll, memory_order_relaxed))) break;
		x86_step(v);
	}
	atomic_store_explicit(&v->retired, v->n, memory_order_relaxed);
}

static enum vcpu_exit run_ended(struct x86_vcpu *v)
{
	if (v->broken) return VCPU_BROKEN;
	bool reset = v->reset_asked, debugged = v->debugged;
	v->reset_asked = v->debugged = false;
	return reset ? VCPU_RESET : debugged ? VCPU_DEBUG : VCPU_KICKED;
}

/* For a debugger: what others want is seen to, but for interrupts. */
static enum vcpu_exit step_alone(struct x86_vcpu *v)
{
	uint32_t p = atomic_load(&v->poll);
	if (p & X86_POLL_FENCE) fence_serve(v);
	if (take(v, p, X86_POLL_CODE)) x86_jit_serve(v);
	if (!take(v, p, X86_POLL_KICK)) x86_debug_step(v);
	set_running(v, false);
	atomic_store_explicit(&v->retired, v->n, memory_order_relaxed);
	return run_ended(v);
}

/* True: it can go on translated. */
static bool run_interpreted(struct x86_vcpu *v)
{
	while (!v->jit || v->trace.steps) {
		if (atomic_load(&v->poll) && !x86_events(v)) return false;
		/* What waits for the next instruction leaves its bit set. */
		if (atomic_load_explicit(&v->poll, memory_order_relaxed)) x86_step(v);
		run_some(v);
	}
	return true;
}

enum vcpu_exit x86_vcpu_run(struct x86_vcpu *v)
{
	if (!x86_is_possible(v)) v->broken = "its registers make no state that a CPU can be in";
	if (v->broken) return VCPU_BROKEN;
	set_running(v, true);
	atomic_store(&v->machine->tsc_got, 0);
	atomic_store(&v->machine->tsc_put, 0);
	x86_apic_moved(v);
	if (unlikely(v->cut_exception | v->cut_interrupt)) deliver_cut(v);
	if (unlikely(v->stepping)) return step_alone(v);
	(void)atomic_fetch_or(&v->poll, X86_POLL_INTR); /* look once; it may be halted, too */
	while (v->counted && x86_events(v)) x86_count_run(v);
	if (!v->counted && run_interpreted(v)) (void)x86_jit_run(v);
	set_running(v, false);
	atomic_store_explicit(&v->retired, v->n, memory_order_relaxed);
	return run_ended(v);
}
