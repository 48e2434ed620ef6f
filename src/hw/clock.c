/* Time for the guest: one multiplication away from the host's monotonic clock, so every hart
 * and every timer agrees without sharing anything that is written. */
#include "hw/clock.h"
#include "base/err.h"
#include <time.h>

enum { NS = 1000000000 };
typedef unsigned __int128 u128;

static uint64_t host_ns(void)
{
	struct timespec t;
	must(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

void vclock_init(struct vclock *c, uint64_t hz)
{
	must(hz);
	*c = (struct vclock){.hz = hz, .zero_ns = host_ns(), .epoch = VCLOCK_EPOCH};
}

void vclock_count(struct vclock *c, const uint64_t *ran, const uint64_t *slept)
{
	c->ran = ran;
	c->slept = slept;
	vclock_zero(c);
}

static uint64_t any_ns(const struct vclock *c)
{
	return vclock_counts(c) ? *c->ran + *c->slept : host_ns();
}

void vclock_zero(struct vclock *c) { c->zero_ns = c->stopped ? 0 : any_ns(c); }

uint64_t vclock_ns(const struct vclock *c)
{
	return c->stopped ? c->zero_ns : any_ns(c) - c->zero_ns;
}

static void turn(struct vclock *c, bool stopped)
{
	if (c->stopped == stopped) return;
	c->zero_ns = any_ns(c) - c->zero_ns;
	c->stopped = stopped;
}

void vclock_stop(struct vclock *c) { turn(c, true); }
void vclock_go(struct vclock *c) { turn(c, false); }

void vclock_set(struct vclock *c, uint64_t ns)
{
	must(c->stopped);
	c->zero_ns = ns;
}

uint64_t vclock_now(const struct vclock *c) { return (uint64_t)((u128)vclock_ns(c) * c->hz / NS); }

uint64_t vclock_deadline(const struct vclock *c, uint64_t ticks)
{
	if (c->stopped) return UINT64_MAX;
	u128 ns = ((u128)ticks * NS + c->hz - 1) / c->hz;
	uint64_t before = -c->zero_ns;
	/* What was set to a count that has not been counted here has its zero before all of it. */
	if (vclock_counts(c) && c->zero_ns > INT64_MAX)
		ns = ns > before ? ns - before : 0;
	else
		ns += c->zero_ns;
	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}
