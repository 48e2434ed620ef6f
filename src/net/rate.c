/* A cap on what a guest sends and receives: a piece of cable with a token bucket in each direction.
 * A frame that finds the bucket empty is refused, whoever sent it keeps it, and a timer tells that
 * side when there is something in the bucket again. So nothing is queued here, and nothing lost. */
#include "base/bucket.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/types.h"
#include "net/port.h"
#include <pthread.h>
#include <stdlib.h>

enum { BURST_LEAST = 32 * 1024 /* bytes */, FRAME = 24 /* preamble, FCS, gap */ };
#define SECOND	 1000000000ull
#define BURST_NS (SECOND / 50)

struct half { /* wired to one end: takes frames from it, and gives to it what the other took */
	struct port port;
	struct half *other;
	pthread_mutex_t mutex; /* of the next two */
	struct bucket bytes;
	bool refused;
	struct timer *timer;
};
struct rate {
	struct half near, far;
};

static bool half_take(struct half *h, size_t len)
{
	uint64_t now = now_ns();
	(void)pthread_mutex_lock(&h->mutex);
	bool may = bucket_take(&h->bytes, len, now);
	if (!may) {
		h->refused = true;
		timer_arm(h->timer, bucket_when(&h->bytes, len, now));
	}
	(void)pthread_mutex_unlock(&h->mutex);
	return may;
}

static bool half_back(struct half *h, size_t len)
{
	(void)pthread_mutex_lock(&h->mutex);
	bucket_back(&h->bytes, len); /* it did not go */
	(void)pthread_mutex_unlock(&h->mutex);
	return false;
}

static bool half_deliver(struct port *p, const struct iovec *iov, int n)
{
	struct half *h = (struct half *)p;
	size_t len = FRAME;
	for (int i = 0; i < n; i++) len += iov[i].iov_len;
	if (!half_take(h, len)) return false;
	return port_send(&h->other->port, iov, n) || half_back(h, len);
}

/* Weighed as the frames that it would be on a wire. */
static bool half_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	struct half *h = (struct half *)p;
	size_t extra = FRAME + (offload_is_cut(o) ? offload_headers(o, frame) : 0);
	size_t all = len + offload_frames(o, frame, len) * extra;
	if (!half_take(h, all)) return false;
	return port_send_large(&h->other->port, o, frame, len) || half_back(h, all);
}

static void half_ready(struct port *p) { port_ready(&((struct half *)p)->other->port); }
static void half_down(struct port *p) { port_down(&((struct half *)p)->other->port); }
static void half_free(struct port *p) { (void)p; } /* dies with the cable */

static void on_timer(void *ctx)
{
	struct half *h = ctx;
	(void)pthread_mutex_lock(&h->mutex);
	bool refused = h->refused;
	h->refused = false;
	(void)pthread_mutex_unlock(&h->mutex);
	if (refused) port_ready(&h->port);
}

static const struct port_ops half_ops = {"rate",    half_deliver, half_ready,
					 half_free, half_large,	  half_down};

static int half_init(struct half *h, struct half *other, uint64_t rate, struct loop *l,
		     struct err *e)
{
	uint64_t burst = rate / (SECOND / BURST_NS);
	if (burst < BURST_LEAST) burst = BURST_LEAST;
	h->port.ops = &half_ops;
	h->other = other;
	bucket_set(&h->bytes, rate, burst, now_ns());
	(void)pthread_mutex_init(&h->mutex, NULL);
	return loop_timer(l, &h->timer, on_timer, h, e);
}

int rate_new(struct rate **out, struct loop *l, uint64_t bits, struct port *near, struct port *far,
	     struct err *e)
{
	struct rate *r = calloc(1, sizeof(*r));
	must(r && bits >= 8);
	int bad = half_init(&r->near, &r->far, bits / 8, l, e);
	if (!bad) bad = half_init(&r->far, &r->near, bits / 8, l, e);
	if (bad) {
		rate_free(r);
		return bad;
	}
	port_wire(&r->near.port, near);
	port_wire(&r->far.port, far);
	*out = r;
	return 0;
}

void rate_free(struct rate *r)
{
	if (!r) return;
	timer_free(r->near.timer);
	timer_free(r->far.timer);
	(void)pthread_mutex_destroy(&r->near.mutex);
	(void)pthread_mutex_destroy(&r->far.mutex);
	free(r);
}
