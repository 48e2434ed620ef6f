/* Time by instructions: a nanosecond each, on a machine of one hart. Timers come due at an exact
 * number of instructions, whoever executes them: translator and interpreter go on freely until
 * shortly before it, as neither stops at once, and the rest is done one by one. */
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

static void slice_begin(struct rv64_cpu *c)
{
	bool pause = c->n >= c->pause;
	uint64_t next = timers_look(c, pause), now = c->n + c->slept;
	if (pause) c->pause = c->n + SLICE;
	c->slice_end = c->pause;
	if (next > now && next - now < c->slice_end - c->n) c->slice_end = c->n + (next - now);
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
	if (c->n >= c->slice_end) slice_begin(c);
	(void)rv64_interrupt(c);
	if (c->slice_end - c->n <= SLACK) {
		one_by_one(c);
		return;
	}
	c->n_limit = c->slice_end - SLACK;
	rv64_step(c);
	c->n_limit = UINT64_MAX;
}

/* As long as it would take, for those who watch; but nothing that comes due is late for it. */
void rv64_count_sleep(struct rv64_cpu *c)
{
	uint32_t p;
	while (!((p = atomic_load(&c->poll)) & ~(uint32_t)POLL_FENCE)) {
		uint64_t next = timers_look(c, true), now = c->n + c->slept;
		if (rv64_pending(c) & c->mie) break;
		rv64_poll_wait(c, p, next == UINT64_MAX ? next : next - now);
		if (next != UINT64_MAX && atomic_load(&c->poll) == p) c->slept = next - c->n;
	}
	rv64_count_look(c);
}
