/* Time by instructions: a nanosecond each, on a machine of one CPU. Timers come due at an exact
 * number of instructions, whoever executes them: the translator goes on freely until shortly before
 * it, as it does not stop at once, and the rest is interpreted one by one. */
#include "engine/engine.h"
#include "engine/x86_jit.h"
#include "engine/x86_vcpu.h"
#include "hw/clock.h"

enum { SLICE = 10000000 }; /* 10 ms */

void x86_count_new(struct x86_vcpu *v)
{
	v->counted = v->machine->env.counted;
	vclock_count(v->machine->env.counted, &v->n, &v->slept);
}

void x86_count_look(struct x86_vcpu *v)
{
	if (!v->counted) return;
	v->slice_end = v->n;
	if (v->jit) x86_jit_until(v, v->n);
}

/* What is due is raised. When the next is, in instructions run and slept. */
static uint64_t timers_look(struct x86_vcpu *v, bool pause)
{
	const struct engine_env *env = &v->machine->env;
	uint64_t next = env->tick ? env->tick(env->tick_ctx, pause) : UINT64_MAX;
	return next == UINT64_MAX ? next : vclock_deadline(v->counted, next);
}

static void slice_begin(struct x86_vcpu *v)
{
	bool pause = v->n >= v->pause;
	uint64_t next = timers_look(v, pause), now = v->n + v->slept;
	if (pause) v->pause = v->n + SLICE;
	v->slice_end = v->pause;
	if (next > now && next - now < v->slice_end - v->n) v->slice_end = v->n + (next - now);
}

static void one_by_one(struct x86_vcpu *v)
{
	uint32_t seen = atomic_load_explicit(&v->poll, memory_order_relaxed);
	do {
		x86_step(v);
	} while (v->n < v->slice_end && !seen &&
		 !atomic_load_explicit(&v->poll, memory_order_relaxed));
}

/* What is raised comes before the next instruction, but for what waits for it: so poll is looked at
 * once more, and no more. */
void x86_count_run(struct x86_vcpu *v)
{
	if (v->n >= v->slice_end) {
		slice_begin(v);
		if (atomic_load_explicit(&v->poll, memory_order_relaxed) && !v->shadow) return;
	}
	if (!v->jit || v->slice_end - v->n <= X86_JIT_LATE) {
		one_by_one(v);
		return;
	}
	x86_jit_until(v, v->slice_end - X86_JIT_LATE);
	if (!x86_jit_run(v)) x86_poke(v, X86_POLL_KICK); /* x86_events() has taken it */
}

/* As long as it would take, for those who watch; but nothing that comes due is late for it. */
void x86_count_sleep(struct x86_vcpu *v)
{
	uint32_t p;
	while (!((p = atomic_load(&v->poll)) & ~(uint32_t)X86_POLL_FENCE)) {
		uint64_t next = timers_look(v, true), now = v->n + v->slept;
		if ((p = atomic_load(&v->poll)) & ~(uint32_t)X86_POLL_FENCE) break;
		x86_poll_wait(v, p, next == UINT64_MAX ? next : next > now ? next - now : 0);
		if (next != UINT64_MAX && next > now && atomic_load(&v->poll) == p)
			v->slept = next - v->n;
	}
	x86_count_look(v);
}
