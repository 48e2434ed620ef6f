#ifndef BASE_LOOP_H
#define BASE_LOOP_H
#include "base/err.h"
#include <stdint.h>
#include <time.h>
/* One event loop over epoll: file descriptors, timers, signals, and calls posted from other
 * threads. A loop belongs to the thread that runs it: only functions marked "any thread" may
 * be called from another. Callbacks run on the loop's thread, never nested. A plain file, which
 * epoll refuses, counts as always ready. */
struct loop;
struct watch;
struct timer;

int loop_new(struct loop **out, struct err *e);
void loop_free(struct loop *l); /* NULL is fine; frees what is still watched and armed */
int loop_run(struct loop *l);	/* until loop_stop(), also an earlier one; returns its argument */
void loop_stop(struct loop *l, int result); /* any thread */

/* events: EPOLLIN, EPOLLOUT...; fn is given what is ready. With no events not even a hang-up is
 * reported. The fd stays the caller's, and is closed after watch_free(). */
int loop_watch(struct loop *l, struct watch **out, int fd, uint32_t events,
	       void (*fn)(void *ctx, uint32_t ready), void *ctx, struct err *e);
void watch_set(struct watch *w, uint32_t events);
void watch_free(struct watch *w); /* NULL is fine; may be called from its own callback */

/* One-shot timers on CLOCK_MONOTONIC. deadline in ns since boot; the past fires at once.
 * Whoever arms or disarms from another thread may still see one call that was on its way. */
int loop_timer(struct loop *l, struct timer **out, void (*fn)(void *ctx), void *ctx, struct err *e);
void timer_arm(struct timer *t, uint64_t deadline_ns); /* any thread; replaces an earlier one */
void timer_disarm(struct timer *t);		       /* any thread */
void timer_free(struct timer *t);		       /* NULL is fine */
uint64_t now_ns(void);				       /* any thread; CLOCK_MONOTONIC */
struct timespec time_after(uint64_t ns);	       /* from now on, by the same */

/* Signals arrive through signalfd: sig is blocked in the calling thread (call before any
 * other thread starts). */
int loop_signal(struct loop *l, int sig, void (*fn)(void *ctx, int sig), void *ctx, struct err *e);
/* Any thread: have fn(ctx) called soon on the loop's thread, in the order of posting. */
void loop_post(struct loop *l, void (*fn)(void *ctx), void *ctx);
#endif
