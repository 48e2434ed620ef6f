/* A cable: two ends that know each other. */
#include "net/port.h"
#include "net/frame.h"
#include <stdatomic.h>

void port_wire(struct port *a, struct port *b)
{
	must(!a->peer && !b->peer);
	a->peer = b;
	b->peer = a;
}

static bool took(struct port *p, uint64_t len)
{
	atomic_fetch_add_explicit(&p->sent, len, memory_order_relaxed);
	return true;
}

bool port_send(struct port *p, const struct iovec *iov, int n)
{
	uint64_t len = 0;
	if (!p->peer || !p->peer->ops->deliver(p->peer, iov, n)) return false;
	for (int i = 0; i < n; i++) len += iov[i].iov_len;
	return took(p, len);
}

static bool send_finished(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	uint8_t piece[ETH_MAX];
	unsigned n = offload_frames(o, frame, len), i = 0;
	for (; i < n; i++) {
		struct iovec v = {piece, offload_frame(o, frame, len, i, piece)};
		if (!p->peer->ops->deliver(p->peer, &v, 1)) break;
	}
	return i > 0;
}

bool port_send_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	if (!p->peer) return false;
	if (p->peer->ops->large) return p->peer->ops->large(p->peer, o, frame, len) && took(p, len);
	struct iovec v = {(void *)frame, len};
	if (o->kind <= OFFLOAD_VALID) return port_send(p, &v, 1);
	return send_finished(p, o, frame, len) && took(p, len);
}

void port_moved(const struct port *p, uint64_t *sent, uint64_t *received)
{
	const struct port *peer = p->peer;
	*sent = atomic_load_explicit(&p->sent, memory_order_relaxed);
	*received = peer ? atomic_load_explicit(&peer->sent, memory_order_relaxed) : 0;
}
