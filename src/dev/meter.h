#ifndef DEV_METER_H
#define DEV_METER_H
#include "base/bucket.h"
#include "base/err.h"
struct loop;
struct timer;
/* How much a disk may do a second. Controllers that learn only on the way what a command moves
 * begin it with one byte, and owe what it has moved. The device's lock guards it; zeroed, it has no
 * limits. */
struct meter {
	struct bucket bytes, requests;
	struct timer *timer; /* of the loop; NULL: it has never had limits */
};
/* On the loop's thread: from now on; 0: no limit. again, on that thread and without the lock, is
 * called when what had to wait may begin. The caller's lock is not held; it locks for
 * meter_limits(), which is the second half. */
int meter_timer(struct meter *m, struct loop *l, void (*again)(void *ctx), void *ctx,
		struct err *e);
void meter_limits(struct meter *m, uint64_t bytes, uint64_t requests);
bool meter_begin(struct meter *m, uint64_t bytes); /* a request; false: later */
void meter_moved(struct meter *m, uint64_t bytes);
void meter_done(struct meter *m); /* on the loop's thread, or once that has ended */
#endif
