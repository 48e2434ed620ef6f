/* Time by instructions: a nanosecond each, on a machine of one hart. Timers come due at an exact
 * number of instructions, whoever executes them: translator and interpreter go on freely until
 * shortly before it, as neither stops at once, and the rest is done one by one. */
#include "base/loop.h"
#include "engine/engine.h"
#include "engine/interp.h"
#include "engine/rv64_cpu.h"
#include "hw/clock.h"

/* SLACK: more than run in one go, a page of halfwords or a unit. SLICE: 10 ms. */
enum { SLACK = 4096, SLICE = 10000000 };

void rv64_count_new(struct rv64_cpu *c, const struct engine_env *env)
{
	c->counted = env->counted;
	c->tick = env->tick;
	c->tick_ctx = env->tick_ctx;
	c->turns = env->turns;
	vclock_count(c->counted, &c->n, &c->slept);
}

/* What is due is raised. When the next is, in nanoseconds of the clock's. */
static uint64_t timers_look(struct rv64_cpu *c, bool pause)
{
	uint64_t next = c->tick ? c->tick(c->tick_ctx, pause) : UINT64_MAX;
	if (!rv64_timer_check(c) && rv64_stce(c)) {
		uint64_t at = atomic_load(&c->stimecmp);
		if (at < next) next = at;
	}
	return next == UINT64_MAX ? next : vclock_deadline(c->counted, next);
}

static uint64_t turn(struct rv64_cpu *c, bool asleep, uint64_t wakes)
{
	const struct engine_turn t = {c->n, c->slept, asleep, wakes};
	return c->turns->turn(c->turns->ctx, &t);
}

static void slice_begin(struct rv64_cpu *c)
{
	bool pause = c->n >= c->pause, asks = c->turns && (pause || c->turns->replays);
	uint64_t asked = asks ? turn(c, false, UINT64_MAX) : UINT64_MAX;
	uint64_t next = timers_look(c, pause), now = c->n + c->slept;
	if (pause) c->pause = c->n + SLICE;
	c->slice_end = c->pause < asked ? c->pause : asked;
	if (next > now && next - now < c->slice_end - c->n) c->slice_end = c->n + (next - now);
}

void rv64_count_due(struct rv64_cpu *c)
{
	if (c->n >= c->slice_end) slice_begin(c);
	(void)rv64_interrupt(c);
}

static void one_by_one(struct rv64_cpu *c)
{
	atomic_fetch_or(&c->poll, POLL_ONCE); /* so that no jump goes on */
	do {
		if (unlikely(c->debug != NULL) && rv64_debug_here(c)) break;
		const struct slot *ip = rv64_code_single(c);
		c->stop = STOP_TRAP;
		if (ip) rv64_go(c, ip);
	} while (c->stop == STOP_JUMP && c->n < c->slice_end &&
		 atomic_load_explicit(&c->poll, memory_order_relaxed) == POLL_ONCE);
	atomic_fetch_and(&c->poll, ~(uint32_t)POLL_ONCE);
	c->solo = false;
	if (c->stop == STOP_TRAP) rv64_trap(c, c->cause, c->tval);
}

void rv64_count_run(struct rv64_cpu *c)
{
	rv64_count_due(c);
	if (c->slice_end - c->n <= SLACK && !c->trace.steps) {
		one_by_one(c);
		return;
	}
	c->n_limit = c->slice_end - SLACK;
	rv64_step(c);
	c->n_limit = UINT64_MAX;
}

/* As long as it would take, for those who watch; but nothing that comes due is late for it. */
static void wait(struct rv64_cpu *c, uint32_t seen, uint64_t ns)
{
	bool real = c->turns && !c->turns->replays;
	uint64_t began = real ? now_ns() : 0;
	if (!c->turns || real || ns == UINT64_MAX) rv64_poll_wait(c, seen, ns);
	uint64_t passed = real ? now_ns() - began : 0;
	if (atomic_load(&c->poll) == seen && ns != UINT64_MAX) passed = ns;
	c->slept += passed < ns ? passed : ns;
}

/* Only what the guest could see ends it: somebody's kick does not, and it goes on with it later. */
void rv64_count_sleep(struct rv64_cpu *c)
{
	const uint32_t looks = POLL_IRQ | POLL_TIMER; /* as is done here */
	for (c->dozing = true;;) {
		uint32_t p = atomic_fetch_and(&c->poll, ~looks) & ~looks;
		if (p & POLL_KICK) return;
		uint64_t next = timers_look(c, true), now = c->n + c->slept;
		if (rv64_pending(c) & c->mie) break;
		uint64_t wakes = next == UINT64_MAX ? next
				 : next > now	    ? next - c->n
						    : c->slept + 1;
		uint64_t until = c->turns ? turn(c, true, wakes) : UINT64_MAX;
		if (rv64_pending(c) & c->mie) break;
		if (until > wakes) until = wakes;
		if (until > c->slept) wait(c, p, until == UINT64_MAX ? until : until - c->slept);
	}
	c->dozing = false;
	rv64_count_look(c);
}
