#ifndef BASE_STATE_H
#define BASE_STATE_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* The state of a chip, a CPU, a queue as a run of named fields: written and read by the same
 * function, so that the two cannot drift apart. A field is the length of its name (1 byte), its
 * name, the length of its value (4 bytes), its value (little-endian). What is read is not trusted:
 * a field that is not the expected one, or of another length, is the first error, which stays; from
 * then on nothing is changed any more. */
struct buf;
struct state {
	struct buf *b; /* appended to, or read from its cursor on */
	bool loading;
	struct err e; /* the first thing that was wrong */
};
/* n bytes at p, under that name. */
void state_bytes(struct state *s, const char *name, void *p, size_t n);
void state_flag(struct state *s, const char *name, void *flag, size_t n); /* a bool: 0 or 1 */
/* While loading: what has just been read must be so; false: it is not, or all was wrong before. */
bool state_need(struct state *s, bool good, const char *what);
/* The first thing that was wrong, else 0; while loading nothing may be left. */
int state_end(struct state *s, struct err *e);
static inline bool state_ok(const struct state *s) { return !s->e.code; }

/* A member of *o that is a number, a bool, or an array of numbers, under its own name. */
#define STATE(s, o, member)                                                                        \
	_Generic((o)->member, bool                                                                 \
		 : state_flag, default                                                             \
		 : state_bytes)(s, #member, &(o)->member, sizeof((o)->member))
#endif
