#ifndef DEV_WAKE_H
#define DEV_WAKE_H
#include "base/loop.h"
#include "base/state.h"
#include "hw/clock.h"
/* When a device wants to be called again, in ns of the computer's clock: by a timer of the loop,
 * or, where the clock counts instructions, by whoever calls the device's tick(). Belongs to the
 * device and is guarded by its lock. */
struct wake {
	const struct vclock *clock;
	struct timer *timer; /* NULL: nobody calls by itself */
	uint64_t at;	     /* UINT64_MAX: not wanted */
};
enum { WAKE_NS = 1000000000 };

/* l may be NULL where the clock counts. */
static inline int wake_init(struct wake *w, const struct vclock *clock, struct loop *l,
			    void (*fn)(void *ctx), void *ctx, struct err *e)
{
	*w = (struct wake){.clock = clock, .at = UINT64_MAX};
	return l ? loop_timer(l, &w->timer, fn, ctx, e) : 0;
}

static inline void wake_done(struct wake *w) { timer_free(w->timer); }

static inline void wake_at(struct wake *w, uint64_t ns)
{
	uint64_t host;
	if (w->at == ns && ns == UINT64_MAX) return;
	w->at = ns;
	if (!w->timer) return;
	if (vclock_counts(w->clock) || w->clock->stopped ||
	    __builtin_add_overflow(ns, w->clock->zero_ns, &host))
		timer_disarm(w->timer);
	else
		timer_arm(w->timer, host);
}

/* The clock stood, or was set: at is what it was, the timer is not. */
static inline void wake_again(struct wake *w)
{
	uint64_t at = w->at;
	w->at = UINT64_MAX - 1;
	wake_at(w, at);
}

/* The timer is set once the clock goes. */
static inline void wake_state(struct wake *w, struct state *s) { STATE(s, w, at); }

/* Ticks of hz that have passed at ns, and the first ns at which so many have (saturates). */
static inline uint64_t ticks_at(uint64_t ns, uint64_t hz)
{
	return (uint64_t)((unsigned __int128)ns * hz / WAKE_NS);
}
static inline uint64_t ticks_ns(uint64_t ticks, uint64_t hz)
{
	unsigned __int128 ns = ((unsigned __int128)ticks * WAKE_NS + hz - 1) / hz;
	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}
#endif
