#ifndef GUEST_NETWORK_H
#define GUEST_NETWORK_H
#include "net/lan.h"
#include "net/port.h"
#include <stdint.h>
/* Software networks as things that are kept: a folder each in the store, networks/NAME/, with
 * network.json (what it is), leases, lock and socket of its switch, and that one's log. Any number
 * of processes may use them at once, and any may be killed at any moment. */
struct network {
	char *dir;
	struct lan_conf conf;
	int64_t created; /* seconds since 1970 */
};
void network_done(struct network *n);
/* A name that can be given to --net and is none of the words with another meaning there. */
int network_name_check(const char *name, struct err *e);
/* subnet NULL: a free one. -EEXIST: there is one of that name. */
int network_create(const struct lan_conf *conf, const char *subnet, struct err *e);
int network_find(const char *name, struct network *out, struct err *e); /* -ENOENT in words */
/* fn for each, by name, until it returns other than 0, which is then returned. */
int network_each(int (*fn)(void *ctx, const struct network *n), void *ctx, struct err *e);
/* -EBUSY: guests are plugged in. */
int network_remove(const char *name, struct err *e);
/* JSON of the switch, as in lan_describe(); "{"guests": []}" when none runs. */
int network_guests(const struct network *n, struct buf *to, struct err *e);
/* Run its switch, or have it run: lan_serve(). */
int network_serve(const char *name, bool detach, struct err *e);

/* Whether that can be plugged into, as far as can be told before; words if not. */
int network_check(const char *net, struct err *e);
/* A connection to its switch on which that has been said; -ENOENT: there is no switch now. */
struct lan_hello;
int network_join(const char *name, const struct lan_hello *h, int *fd, struct err *e);
int network_start(const char *name, struct err *e); /* its switch */
/* Both, one after the other: -EAGAIN once it was started. */
int network_dial(const char *name, const struct lan_hello *h, int *fd, struct err *e);
bool network_has_switch(const char *net); /* and is no other word that --net takes */
/* What --net takes: "user", "tap:NAME", "bridge:NAME", or a network's name. The port at the far
 * end of the guest's cable. guest: its name, or "". */
int network_plug(struct port **out, const char *net, const char *guest, const uint8_t mac[6],
		 const struct nat_forward *fwd, unsigned nfwd, struct err *e);
/* Before this process leaves the host's network, and while there is one thread: open what
 * network_plug() takes of it, and fork what is to stay there, for the nets of that guest; keep as
 * in nat_process_new(). */
struct spec;
int network_prepare(const struct spec *s, int keep, struct err *e);
/* The number of the network that publishes the guest's ports; s->nnets: none. */
unsigned network_publisher(const struct spec *s);
/* A card's address: locally administered, the same for the same identity every time, another one
 * for each card. The same name or id makes the same identity at every start; no name, a new one. */
void network_mac(uint8_t mac[6], uint64_t identity, unsigned card);
uint64_t network_identity(const char *name);
/* What a guest at the far end of that port would be told by DHCP; addresses in the host's byte
 * order, 0: not known, or none. */
struct network_terms {
	uint32_t ip, mask, gateway, dns;
	char search[64];
};
int network_terms(const char *net, const struct port *far, struct network_terms *to, struct err *e);
/* Whether ports of a guest can be published through that. */
bool network_publishes(const char *net);
#endif
