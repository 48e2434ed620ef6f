#ifndef NET_PORT_H
#define NET_PORT_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
/* Everything on a network is a port wired to one peer: a guest's NIC, a switch socket, a tap,
 * the user-mode NAT. A cable has two equal ends. Frames are Ethernet without FCS.
 * Threads: any op may be called from any thread; the port locks itself. A port must not hold
 * its own lock while it calls its peer. */
struct port;
struct port_ops {
	const char *name;
	/* A frame from the peer, copied before return. false: no room, it was not taken; the
	 * peer may drop it or keep it until ready(). */
	bool (*deliver)(struct port *p, const struct iovec *iov, int n);
	void (*ready)(struct port *p); /* the peer has room again; may be NULL */
	void (*free)(struct port *p);
};
struct port { /* embedded first in the port's own struct */
	const struct port_ops *ops;
	struct port *peer; /* set once, before any traffic */
	uint8_t mac[6];	   /* of a NIC */
};
void port_wire(struct port *a, struct port *b);
static inline bool port_send(struct port *p, const struct iovec *iov, int n)
{
	return p->peer && p->peer->ops->deliver(p->peer, iov, n);
}
static inline void port_ready(struct port *p)
{
	if (p->peer && p->peer->ops->ready) p->peer->ops->ready(p->peer);
}
static inline void port_free(struct port *p)
{
	if (p) p->ops->free(p);
}

/* User-mode NAT by libslirp, on a thread of its own. A single guest's network is 10.0.2.0/24:
 * gateway 10.0.2.2 (the host's loopback), DNS 10.0.2.3, the guest gets 10.0.2.15 by DHCP. */
struct nat_forward { /* host address:port -> guest port */
	bool udp;
	char host[46]; /* numeric; "" = 127.0.0.1 */
	uint16_t host_port, guest_port;
};
struct nat_net { /* another network than that; addresses in the host's byte order */
	uint32_t net, mask, gateway, dns;
};
int nat_new(struct port **out, const struct nat_net *net, const struct nat_forward *fwd,
	    unsigned nfwd, struct err *e);
/* Any thread but the NAT's: publish a port of the guest with this address, and no longer. */
int nat_publish(struct port *nat, const struct nat_forward *f, uint32_t guest, struct err *e);
void nat_unpublish(struct port *nat, const struct nat_forward *f);
/* "[tcp:|udp:][ADDR:]HOST:GUEST[/udp]" as docker's -p takes it. */
int nat_forward_parse(struct nat_forward *out, const char *text, struct err *e);
#endif
