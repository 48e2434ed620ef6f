#ifndef NET_LAN_SERVE_H
#define NET_LAN_SERVE_H
#include "net/lan.h"
/* The process of a software network. It holds the lock of the network's folder while it lives, so
 * there is one at most; it ends by itself soon after the last guest has gone. Killed, it leaves a
 * socket that nobody listens on; whoever finds that starts another, and guests join that. */
struct loop;
struct lan_serve;
/* The switch of the network in the folder dir, on loop l, until lan_serve_close(). ended(ctx): no
 * guest is there any more; may be NULL. -EBUSY: another one serves it. */
int lan_serve_open(struct lan_serve **out, const char *dir, const struct lan_conf *conf,
		   struct loop *l, void (*ended)(void *ctx), void *ctx, struct err *e);
void lan_serve_close(struct lan_serve *s); /* NULL is fine */
/* The same until it ends, or SIGTERM. With detach the caller comes back at once, 0 when a switch
 * serves the network, this one or another, and it goes on in a process of its own. */
int lan_serve(const char *dir, const struct lan_conf *conf, bool detach, struct err *e);
#endif
