/* Where frames wait for a guest whose time is counted. The idea: only what the guest sees has to
 * come at times that can be told again. So its own frames go out at once, and where the far side
 * has no room its thread waits, in which no time passes for the guest. */
#include "base/err.h"
#include "net/port.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAITING = 512, PATIENCE_MS = 100 };

struct held {
	uint32_t len;
	uint8_t at[GATE_FRAME];
};
struct side { /* wired to one end */
	struct port port;
	struct gate *gate;
};
struct gate {
	struct side near, far;
	void (*come)(void *ctx);
	void *ctx;
	pthread_mutex_t mutex; /* of all below */
	pthread_cond_t room;   /* far has some again */
	bool far_ready, far_refused;
	bool near_waits; /* it had no room; only its own thread knows */
	unsigned first, n;
	struct held frame[WAITING];
};

static size_t gather(uint8_t to[GATE_FRAME], const struct iovec *iov, int n)
{
	size_t len = 0;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > GATE_FRAME - len) return 0;
		memcpy(to + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return len;
}

/* From far. Full: it hears when there is room, as it would from a NIC. */
static bool far_deliver(struct port *p, const struct iovec *iov, int n)
{
	struct gate *g = ((struct side *)p)->gate;
	(void)pthread_mutex_lock(&g->mutex);
	bool first = !g->n, took = g->n < WAITING;
	struct held *h = &g->frame[(g->first + g->n) % WAITING];
	if (took) h->len = (uint32_t)gather(h->at, iov, n);
	if (took && h->len) g->n++;
	if (!took) g->far_refused = true;
	(void)pthread_mutex_unlock(&g->mutex);
	if (took && first) g->come(g->ctx);
	return took;
}

static void far_ready(struct port *p)
{
	struct gate *g = ((struct side *)p)->gate;
	(void)pthread_mutex_lock(&g->mutex);
	g->far_ready = true;
	(void)pthread_cond_broadcast(&g->room);
	(void)pthread_mutex_unlock(&g->mutex);
}

/* True: in time. */
static bool wait_for_room(struct gate *g)
{
	struct timespec t;
	int r = 0;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += PATIENCE_MS * 1000000;
	if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
	(void)pthread_mutex_lock(&g->mutex);
	while (!g->far_ready && !r) r = pthread_cond_timedwait(&g->room, &g->mutex, &t);
	(void)pthread_mutex_unlock(&g->mutex);
	return !r;
}

/* From near: it always went. */
static bool near_deliver(struct port *p, const struct iovec *iov, int n)
{
	struct gate *g = ((struct side *)p)->gate;
	do {
		(void)pthread_mutex_lock(&g->mutex);
		g->far_ready = false;
		(void)pthread_mutex_unlock(&g->mutex);
	} while (g->far.port.peer && !port_send(&g->far.port, iov, n) && wait_for_room(g));
	return true;
}

static void near_ready(struct port *p) { ((struct side *)p)->gate->near_waits = false; }
static void side_free(struct port *p) { (void)p; } /* dies with the gate */

static const struct port_ops near_ops = {"gate", near_deliver, near_ready, side_free, NULL, NULL};
static const struct port_ops far_ops = {"gate", far_deliver, far_ready, side_free, NULL, NULL};

int gate_new(struct gate **out, struct port *near, void (*come)(void *ctx), void *ctx,
	     struct err *e)
{
	struct gate *g = calloc(1, sizeof(*g));
	if (!g) return fail(e, -ENOMEM, "network: out of memory");
	g->near = (struct side){{.ops = &near_ops}, g};
	g->far = (struct side){{.ops = &far_ops}, g};
	g->come = come;
	g->ctx = ctx;
	(void)pthread_mutex_init(&g->mutex, NULL);
	(void)pthread_cond_init(&g->room, NULL);
	port_wire(&g->near.port, near);
	*out = g;
	return 0;
}

struct port *gate_far(struct gate *g) { return &g->far.port; }

bool gate_put(struct gate *g, const void *frame, size_t n)
{
	const struct iovec iov = {(void *)(uintptr_t)frame, n};
	return port_send(&g->near.port, &iov, 1);
}

/* The frame in front stays where it is while it is offered. */
static struct held *front(struct gate *g)
{
	(void)pthread_mutex_lock(&g->mutex);
	struct held *h = g->n ? &g->frame[g->first] : NULL;
	(void)pthread_mutex_unlock(&g->mutex);
	return h;
}

static void front_done(struct gate *g)
{
	(void)pthread_mutex_lock(&g->mutex);
	g->first = (g->first + 1) % WAITING;
	g->n--;
	bool tell = g->far_refused && g->n < WAITING / 2;
	if (tell) g->far_refused = false;
	(void)pthread_mutex_unlock(&g->mutex);
	if (tell) port_ready(&g->far.port);
}

void gate_pass(struct gate *g, void (*tell)(void *ctx, const void *frame, size_t n, bool taken),
	       void *ctx)
{
	for (struct held *h; !g->near_waits && (h = front(g));) {
		g->near_waits = true; /* unless it says otherwise meanwhile */
		bool took = gate_put(g, h->at, h->len);
		if (took) g->near_waits = false;
		tell(ctx, h->at, h->len, took);
		if (took) front_done(g);
	}
}

void gate_free(struct gate *g)
{
	if (!g) return;
	(void)pthread_mutex_destroy(&g->mutex);
	(void)pthread_cond_destroy(&g->room);
	free(g);
}
