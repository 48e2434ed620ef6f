#ifndef NET_PORT_H
#define NET_PORT_H
#include "base/err.h"
#include "net/offload.h"
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
	/* The same as deliver() of an unfinished frame, which offload_check() let pass. NULL: it
	 * takes none, and gets finished ones. */
	bool (*large)(struct port *p, const struct offload *o, const uint8_t *frame, size_t len);
	void (*down)(struct port *p); /* the peer is dead, and stays so; may be NULL */
};
struct port { /* embedded first in the port's own struct */
	const struct port_ops *ops;
	struct port *peer;     /* set once, before any traffic */
	uint8_t mac[6];	       /* of a NIC */
	_Atomic uint64_t sent; /* bytes that the peer took */
};
void port_wire(struct port *a, struct port *b);
bool port_send(struct port *p, const struct iovec *iov, int n);
/* A frame that may be unfinished. It becomes several where the peer takes no such: of these the
 * first is refused, or what the peer has no room for is lost. */
bool port_send_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len);
/* Any thread: bytes of frames that went out at this end and came in. */
void port_moved(const struct port *p, uint64_t *sent, uint64_t *received);
static inline void port_ready(struct port *p)
{
	if (p->peer && p->peer->ops->ready) p->peer->ops->ready(p->peer);
}
static inline void port_down(struct port *p)
{
	if (p->peer && p->peer->ops->down) p->peer->ops->down(p->peer);
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
/* The same for a single guest by a confined process, which stays in this network when we leave it:
 * fork it, while there is one thread. keep: a descriptor that it has as long as it lives; -1: none.
 */
struct nat_process;
int nat_process_new(struct nat_process **out, const struct nat_forward *fwd, unsigned nfwd,
		    int keep, struct err *e);
void nat_process_free(struct nat_process *p); /* and end it; NULL is fine */
/* What it could not do when it began (-EADDRINUSE, ...), or a port that leads to it and takes it;
 * not taken when that fails. When it dies its peer's link is down. */
int nat_process_plug(struct port **out, struct nat_process *p, struct err *e);
/* "[tcp:|udp:][ADDR:]HOST:GUEST[/udp]" as docker's -p takes it. */
int nat_forward_parse(struct nat_forward *out, const char *text, struct err *e);

/* A guest's place in a software network: the cable to the switch of the network in folder dir.
 * When that ends or is killed, frames are lost until another one serves; the card stays. */
struct lan_hello;
struct lan_how { /* strings are copied */
	const char *dir, *network;
	const char *guest; /* its name there; "" : none */
	uint8_t mac[6];
	const struct nat_forward *forward;
	unsigned nforward;
	/* What starts a switch and returns 0 when one serves, NULL-ended; NULL: nobody does. */
	const char *const *start;
	/* NULL, or how its switch is reached and told that hello, instead of by lan_call() and
	 * lan_start(); -EAGAIN: not yet. Also on the port's thread. */
	int (*dial)(const char *network, const struct lan_hello *h, int *fd, struct err *e);
};
/* A connection to the switch at this folder, which has been told hello; -ENOENT: there is none. */
int lan_call(const char *dir, const struct lan_hello *h, int *fd, struct err *e);
int lan_start(const char *network, const char *const *arg, struct err *e); /* as in lan_how */
int lan_port_new(struct port **out, const struct lan_how *how, struct err *e);
/* A port at the other end of that socket, which is taken, also when that fails, and after which
 * there is no other. freed(ctx): the port is, and the socket is closed. */
int lan_port_at(struct port **out, const char *network, int fd, void (*freed)(void *ctx), void *ctx,
		struct err *e);
/* The address that the switch gives the guest at this port; the host's byte order; 0: none yet.
 * Before its card shows a sign of life. */
uint32_t lan_port_ip(const struct port *p);
/* What the network's switch says of its guests, JSON. -ENOENT: there is no switch now. */
struct buf;
int lan_ask(const char *dir, struct buf *answer, struct err *e);

/* A tap of the host, by name, made if it is not there; or, bridge not NULL, a new one in that
 * bridge of the host. Needs the right to configure the host's network. */
int tap_open(int *fd, const char *tap, const char *bridge, struct err *e);
int tap_new(struct port **out, int fd, struct err *e); /* takes fd, also when it fails */

/* A cable for a guest whose time is counted. Frames to near, a NIC, wait until gate_pass(); those
 * from near go to far at once, or after a wait, or are lost, but near never hears that there was no
 * room. So all that near does is done by the thread of gate_pass() and of near itself. near stays
 * the caller's. come: any thread; a frame has come after there was none. */
struct gate;
enum { GATE_FRAME = 9216 }; /* bytes of the largest frame; larger ones are lost */
int gate_new(struct gate **out, struct port *near, void (*come)(void *ctx), void *ctx,
	     struct err *e);
struct port *gate_far(struct gate *g); /* its other end, to be wired, or nobody is there */
/* Offer near what waits, frame by frame, and tell what became of it: taken, or refused, and then it
 * is offered again once near has said that it has room. */
void gate_pass(struct gate *g, void (*tell)(void *ctx, const void *frame, size_t n, bool taken),
	       void *ctx);
/* Give near a frame that never came: whether it was taken. */
bool gate_put(struct gate *g, const void *frame, size_t n);
void gate_free(struct gate *g); /* NULL is fine; once near and far are gone */

/* A cable with a token bucket in each direction: what wants to go faster waits. The ends are wired
 * to near and far, which are free of others and stay the caller's. Belongs to the loop's thread but
 * for what flows. bits: a second. */
struct loop;
struct rate;
int rate_new(struct rate **out, struct loop *l, uint64_t bits, struct port *near, struct port *far,
	     struct err *e);
void rate_free(struct rate *r); /* NULL is fine; once near and far are gone */
#endif
