#ifndef GUEST_CONTROL_H
#define GUEST_CONTROL_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
/* How a running guest is spoken to. Its monitor listens at a socket that has the guest's name, in
 * store_sockets(). A request is one line of at most CONTROL_LINE bytes; the answer is one JSON
 * object, {"error": WORDS} if there is none better; then the connection is closed. What comes in is
 * not trusted: whoever is slow, sends too much or something else is answered so, or hung up on. */
struct buf;
struct control;
struct guest;
enum { CONTROL_LINE = 256, CONTROL_ANSWER = 1 << 20 };

/* The monitor's end: served by g's loop, on its thread. Without a name g gets one. -EBUSY: a living
 * monitor has that name. */
int control_open(struct control **out, struct guest *g, struct err *e);
void control_close(struct control *c); /* takes the socket away; NULL is fine */
/* What is answered to a line, without its end. */
void control_answer(struct guest *g, const char *line, size_t n, struct buf *to);

/* The other end. */
/* fn for each name that there is a socket of, in order; stops at the first result that is not 0
 * and returns it. Nobody may be listening any more. */
int control_each(int (*fn)(void *ctx, const char *name), void *ctx, struct err *e);
/* Ask the monitor of that name, waiting a few seconds at most. -ENOENT: no such guest runs (a
 * socket that a killed monitor left is removed); -ETIMEDOUT: it does not answer. */
int control_ask(const char *name, const char *request, struct buf *answer, struct err *e);
#endif
