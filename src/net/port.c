/* A cable: two ends that know each other. */
#include "net/port.h"
#include <stdatomic.h>

void port_wire(struct port *a, struct port *b)
{
	must(!a->peer && !b->peer);
	a->peer = b;
	b->peer = a;
}

bool port_send(struct port *p, const struct iovec *iov, int n)
{
	uint64_t len = 0;
	if (!p->peer || !p->peer->ops->deliver(p->peer, iov, n)) return false;
	for (int i = 0; i < n; i++) len += iov[i].iov_len;
	atomic_fetch_add_explicit(&p->sent, len, memory_order_relaxed);
	return true;
}

void port_moved(const struct port *p, uint64_t *sent, uint64_t *received)
{
	const struct port *peer = p->peer;
	*sent = atomic_load_explicit(&p->sent, memory_order_relaxed);
	*received = peer ? atomic_load_explicit(&peer->sent, memory_order_relaxed) : 0;
}
