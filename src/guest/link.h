#ifndef GUEST_LINK_H
#define GUEST_LINK_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
/* The channel that a guest moves over: frames in both directions, over descriptors that somebody
 * else (ssh) has made private. Little-endian: what it is (4 bytes), how many bytes follow (4), an
 * argument (8), its number from 0 on (4), CRC-32C of all that with 0 here, and of what follows (4);
 * then those bytes. So nothing is altered, missing or twice without being refused. What comes in is
 * not trusted beyond that. One thread at a time, but for link_stop(). */
enum { LINK_VERSION = 2, LINK_MAX = 1 << 20, LINK_HEAD = 24 };
enum link_type {		 /* who sends it; its argument; what follows */
		 LINK_HELLO = 1, /* source; version; JSON: who comes (arrival.h) */
		 LINK_FILE,	 /* source; which << 48 | offset; bytes of a boot file */
		 LINK_BUILD,	 /* source: that was all that it is built of */
		 LINK_OK,	 /* target: so far so good; after HELLO and BUILD */
		 LINK_PAGES,	 /* source; guest address; pages */
		 LINK_ZERO,	 /* source; guest address; how many bytes are zero (8) */
		 LINK_BLOCK,	 /* source; disk << 56 | offset; bytes of a disk */
		 LINK_BLANK,	 /* source; disk << 56 | offset; how many bytes are zero (8) */
		 LINK_PART,	 /* source; version; name, NUL, state, or the next piece of it */
		 LINK_END,	 /* source: it stands, and that was all */
		 LINK_READY,	 /* target: all is here and good */
		 LINK_GO,	 /* source: it is yours */
		 LINK_STARTED,	 /* target: it is mine */
		 LINK_ERROR	 /* either, instead of anything: words; it is not done */
};
struct link;
struct link_frame {
	unsigned type;
	uint64_t arg;
	const char *at; /* len bytes and a NUL, until the next one is received */
	size_t len;
};
struct link *link_new(int in, int out);		 /* both are its own now, and may be the same */
void link_free(struct link *l);			 /* NULL is fine */
void link_fds(const struct link *l, int fds[3]); /* all that are open */
void link_hang_up(struct link *l); /* the other side sees that; all that it can do fails */
void link_cap(struct link *l, uint64_t bytes); /* the most that it sends a second; 0: no limit */
uint64_t link_sent(const struct link *l);      /* bytes; any thread */
void link_stop(struct link *l);		       /* any thread: what waits fails, and all to come */
/* -EPIPE: the other side is gone; -ETIMEDOUT: it takes nothing for half a minute; -EREMOTEIO: it
 * has said why it gives up, in words that are now e's. */
int link_send(struct link *l, enum link_type type, uint64_t arg, const void *p, size_t n,
	      struct err *e);
/* The next frame, within so many seconds. -EBADMSG: it is none; -EREMOTEIO: a LINK_ERROR. */
int link_recv(struct link *l, struct link_frame *f, unsigned seconds, struct err *e);
int link_expect(struct link *l, enum link_type type, unsigned seconds, struct err *e);
void link_refuse(struct link *l, const struct err *why); /* LINK_ERROR, if it can be said */
#endif
