#ifndef NET_NAT_IMPL_H
#define NET_NAT_IMPL_H
#include "net/port.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A NAT whose thread is the caller's, and looks after the guest's end itself: a descriptor. */
struct nat;
struct nat_cable {
	int fd;
	bool plugged; /* the guest is there; until then nobody is let in to it */
	short (*wants)(const struct nat_cable *c); /* what is to be waited for, as poll() has it */
	/* What came of that, 0 too; false: that is the end. */
	bool (*ready)(const struct nat_cable *c, struct nat *n, short got);
};
/* As nat_new(), but without a thread. */
int nat_make(struct port **out, const struct nat_net *net, const struct nat_forward *fwd,
	     unsigned nfwd, struct err *e);
/* Until c->ready() says that it is over. What is for the guest goes to the port it is wired to,
 * which says nothing when it has room again: it is tried after each ready(). */
void nat_serve(struct port *nat, const struct nat_cable *c);
/* In ready(): a finished frame of the guest. */
void nat_input(struct nat *n, const uint8_t *frame, size_t len);
/* The same of what came over a socket, OFFLOAD_HEAD bytes in front: hostile. It is changed. */
void nat_packet(struct nat *n, uint8_t *at, size_t len);
struct nat_process;
int nat_process_pid(const struct nat_process *p);
#endif
