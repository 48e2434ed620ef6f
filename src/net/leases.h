#ifndef NET_LEASES_H
#define NET_LEASES_H
#include "net/subnet.h"
#include <stddef.h>
/* Which guest of a software network has which address. A guest that has a name gets the same one
 * every time; the table is bounded, and the oldest of those not plugged in make room. Belongs to
 * its lan's thread. Zeroed but for subnet = empty. */
struct buf;
enum { LEASES = 512, LEASE_NAME = 64 };
struct lease {
	uint32_t ip; /* 0: free */
	uint8_t mac[6];
	bool live;	       /* plugged in */
	char name[LEASE_NAME]; /* or "" */
	uint64_t used;	       /* the larger, the later */
};
struct leases {
	struct subnet subnet;
	uint64_t clock;
	struct lease at[LEASES];
};
/* want: an address that it had before, given again if it is free; 0: none. NULL: all are taken. */
struct lease *lease_take(struct leases *l, const uint8_t mac[6], const char *name, uint32_t want);
void lease_leave(struct lease *n); /* it is not plugged in any more */
const struct lease *lease_named(const struct leases *l, const char *name); /* live; or NULL */
const struct lease *lease_of(const struct leases *l, uint32_t ip);	   /* live; or NULL */
/* As text, a line each of those with a name; what is no such line is passed over. */
void leases_format(const struct leases *l, struct buf *to);
void leases_parse(struct leases *l, const char *text, size_t len);
#endif
