/* Limits of disks. */
#include "dev/meter.h"
#include "base/loop.h"
#include "base/types.h"

enum { PART = 20, LEAST = 256 << 10 }; /* of a second at once; bytes */

int meter_timer(struct meter *m, struct loop *l, void (*again)(void *ctx), void *ctx, struct err *e)
{
	return m->timer ? 0 : loop_timer(l, &m->timer, again, ctx, e);
}

void meter_limits(struct meter *m, uint64_t bytes, uint64_t requests)
{
	uint64_t now = now_ns(), burst = bytes / PART, some = requests / PART;
	bucket_set(&m->bytes, bytes, burst > LEAST ? burst : LEAST, now);
	bucket_set(&m->requests, requests, some ? some : 1, now);
}

bool meter_begin(struct meter *m, uint64_t bytes)
{
	if (likely(!m->bytes.rate && !m->requests.rate)) return true;
	uint64_t now = now_ns(), when;
	if (!bucket_take(&m->requests, 1, now)) {
		when = bucket_when(&m->requests, 1, now);
	} else if (!bucket_take(&m->bytes, bytes, now)) {
		bucket_back(&m->requests, 1);
		when = bucket_when(&m->bytes, bytes, now);
	} else {
		return true;
	}
	timer_arm(m->timer, when);
	return false;
}

void meter_moved(struct meter *m, uint64_t bytes) { bucket_owe(&m->bytes, bytes); }

void meter_done(struct meter *m)
{
	timer_free(m->timer);
	m->timer = NULL;
}
