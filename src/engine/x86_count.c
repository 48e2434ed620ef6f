/* Time by instructions: a nanosecond each, on a machine of one CPU. Timers come due at an exact
 * number of instructions, whoever executes them: the translator goes on freely until shortly before
 * it, as it does not stop at once, and the rest is interpreted one by one. */
#include "base/loop.h"
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

static uint64_t turn(struct x86_vcpu *v, bool asleep, uint64_t wakes)
{
	const struct engine_turns *o = v->machine->env.turns;
	const struct engine_turn t = {v->n, v->slept, asleep, wakes};
	return o->turn(o->ctx, &t);
}

static void slice_begin(struct x86_vcpu *v)
{
	const struct engine_turns *o = v->machine->env.turns;
	bool pause = v->n >= v->pause, asks = o && (pause || o->replays);
	uint64_t asked = asks ? turn(v, false, UINT64_MAX) : UINT64_MAX;
	uint64_t next = timers_look(v, pause), now = v->n + v->slept;
	if (pause) v->pause = v->n + SLICE;
	v->slice_end = v->pause < asked ? v->pause : asked;
	if (next > now && next - now < v->slice_end - v->n) v->slice_end = v->n + (next - now);
}

void x86_count_due(struct x86_vcpu *v)
{
	if (v->n >= v->slice_end) slice_begin(v);
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
	if (!v->jit || v->trace.steps || v->slice_end - v->n <= X86_JIT_LATE) {
		one_by_one(v);
		return;
	}
	x86_jit_until(v, v->slice_end - X86_JIT_LATE);
	if (!x86_jit_run(v)) x86_poke(v, X86_POLL_KICK); /* x86_events() has taken it */
}

/* As long as it would take, for those who watch; but nothing that comes due is late for it. */
static void wait(struct x86_vcpu *v, uint32_t seen, uint64_t ns)
{
	const struct engine_turns *o = v->machine->env.turns;
	bool real = o && !o->replays;
	uint64_t began = real ? now_ns() : 0;
	if (!o || real || ns == UINT64_MAX) x86_poll_wait(v, seen, ns);
	uint64_t passed = real ? now_ns() - began : 0;
	if (atomic_load(&v->poll) == seen && ns != UINT64_MAX) passed = ns;
	v->slept += passed < ns ? passed : ns;
}

void x86_count_sleep(struct x86_vcpu *v)
{
	uint32_t p;
	while (!((p = atomic_load(&v->poll)) & ~(uint32_t)X86_POLL_FENCE)) {
		uint64_t next = timers_look(v, true), now = v->n + v->slept;
		if ((p = atomic_load(&v->poll)) & ~(uint32_t)X86_POLL_FENCE) break;
		uint64_t wakes = next == UINT64_MAX ? next
				 : next > now	    ? next - v->n
						    : v->slept + 1;
		uint64_t until = v->machine->env.turns ? turn(v, true, wakes) : UINT64_MAX;
		if ((p = atomic_load(&v->poll)) & ~(uint32_t)X86_POLL_FENCE) break;
		if (until > wakes) until = wakes;
		if (until > v->slept) wait(v, p, until == UINT64_MAX ? until : until - v->slept);
	}
	x86_count_look(v);
}
