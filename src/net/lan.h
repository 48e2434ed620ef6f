#ifndef NET_LAN_H
#define NET_LAN_H
#include "net/fdb.h"
#include "net/guard.h"
#include "net/leases.h"
#include "net/offload.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A software network: a learning Ethernet switch with DHCP and DNS of its own. Only frames go in
 * and out; sockets, time and threads are the owner's. Belongs to one thread, or to whoever holds
 * the owner's lock. */
struct buf;
enum { LAN_PORTS = FDB_PORTS, LAN_CLAIMS = 8 };
struct lan_conf {
	char name[LEASE_NAME]; /* also the domain of its guests' names */
	struct subnet subnet;
	bool nat;   /* its uplink leads to the host's network */
	bool guard; /* guests send as themselves only */
};
struct lan_ops {
	/* The frame that lan_input() was given goes to this port as well. */
	void (*forward)(void *ctx, unsigned port, const uint8_t *frame, size_t len);
	/* A frame of the network's own; copied before return. */
	void (*answer)(void *ctx, unsigned port, const uint8_t *frame, size_t len);
};
struct lan_port {
	bool used, trusted; /* trusted: an uplink */
	struct guard id;
	struct lease *lease;
	uint8_t claim[LAN_CLAIMS][16]; /* its IPv6 addresses, RFC 6620 */
	unsigned nclaims;	       /* so far */
	uint64_t got, refused[GUARD_COUNT];
	struct lan *lan;
};
struct lan {
	struct lan_conf conf;
	const struct lan_ops *ops;
	void *ctx;
	unsigned nports; /* of which some may be free again */
	struct lan_port port[LAN_PORTS];
	struct leases leases;
	struct fdb fdb;
};
void lan_init(struct lan *l, const struct lan_conf *conf, const struct lan_ops *ops, void *ctx);
/* The number of the guest's port, or a negative errno in words: the MAC is taken or none, no
 * address or no port is left. name may be "", want as in lease_take(). */
int lan_plug(struct lan *l, const uint8_t mac[6], const char *name, uint32_t want, struct err *e);
int lan_uplink(struct lan *l, struct err *e); /* a trusted port that has no address here */
void lan_unplug(struct lan *l, unsigned port);
/* A frame from this port: hostile, as what is said of it, unless that is trusted. now: ns of any
 * clock that only grows. */
void lan_input(struct lan *l, unsigned port, const struct offload *o, const uint8_t *frame,
	       size_t len, uint64_t now);
/* JSON: {"guests": [{"name", "mac", "ip", "frames", "refused": {...}}]} */
void lan_describe(const struct lan *l, struct buf *to);
#endif
