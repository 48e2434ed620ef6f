#ifndef GUEST_STREAM_H
#define GUEST_STREAM_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
/* What goes over a control connection once a request has turned it into a stream: frames, in both
 * directions. One is a byte that says what it is, the length of the rest in four (little-endian,
 * at most STREAM_MAX), and the rest. A receiver passes over types that it does not know. */
struct buf;
enum { STREAM_HEAD = 5, STREAM_MAX = 16 * 1024 };
enum {
	STREAM_INPUT = 'i',  /* to the guest: keys */
	STREAM_OUTPUT = 'o', /* from it */
	STREAM_SIZE = 'w',   /* to it: of the terminal, rows and columns in two bytes each */
	STREAM_END = 'x',    /* from it, the last one: JSON as the request "wait" answers it */
};
struct frame {
	char type;
	const uint8_t *at;
	uint32_t len;
};
/* The frame that the n bytes begin with: how many bytes it is; 0: not all of it is there; -EPROTO:
 * it is none. */
ssize_t frame_parse(struct frame *out, const void *p, size_t n);
void frame_add(struct buf *to, char type, const void *p, size_t n); /* as many as it takes */
#endif
