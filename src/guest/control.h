#ifndef GUEST_CONTROL_H
#define GUEST_CONTROL_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
/* How a running guest is spoken to. Its monitor listens at a socket that has the guest's name, in
 * store_sockets(). A request is one line of at most CONTROL_LINE bytes, its name and perhaps more
 * words; the answer is one JSON object in one line, {"error": WORDS, "code": ERRNO} if there is
 * none better; then the connection is closed, or, if the request asks for that, becomes a stream
 * (stream.h), which nobody speaks on before the answer. What comes in is not trusted: whoever is
 * slow, sends too much or something else is answered so, or hung up on. */
struct buf;
struct control;
struct guest;
struct json_object;
enum { CONTROL_LINE = 4096, CONTROL_ANSWER = 1 << 20 };

/* A request as its handler has it. */
struct client;
struct ask {
	struct guest *guest;
	const char *words;	/* what followed its name; "" */
	struct json_object *to; /* the answer, to be filled in */
	struct client *client;	/* NULL: nobody is connected (a test) */
};
struct request {
	const char *name;
	/* On the loop's thread, without waiting. Negative errno with words: so it is answered. */
	int (*serve)(struct ask *a, struct err *e);
	/* NULL, or what happens to the connection once the answer is on its way: it is fn's from
	 * then on, unless fn fails, and stays open until fn has returned. */
	int (*stream)(struct guest *g, const char *words, int fd, struct err *e);
};
extern const struct request requests[]; /* ended by one without a name; requests.c. What is not
					   there is asked of kind->verb() */

/* The monitor's end: served by g's loop, on its thread. Without a name g gets one. -EBUSY: a living
 * monitor has that name. */
int control_open(struct control **out, struct guest *g, struct err *e);
void control_close(struct control *c); /* takes the socket away; NULL is fine */
/* The folder of sockets is not at hand any more: the helper outside sees to it. */
void control_confined(struct control *c);
int control_rename(struct control *c, const char *to, struct err *e); /* and g->name; -EBUSY */
/* What is answered to a line, without its end. */
void control_answer(struct guest *g, const char *line, size_t n, struct buf *to);

/* The other end. */
/* fn for each name that there is a socket of, in order; stops at the first result that is not 0
 * and returns it. Nobody may be listening any more. */
int control_each(int (*fn)(void *ctx, const char *name), void *ctx, struct err *e);
/* Ask the monitor of that name, waiting a few seconds at most. -ENOENT: no such guest runs (a
 * socket that a killed monitor left is removed); -ETIMEDOUT: it does not answer. */
int control_ask(const char *name, const char *request, struct buf *answer, struct err *e);
/* The same, with a refusal as an error of its own. *pidfd, unless NULL, becomes readable when the
 * monitor's process is gone, and is the caller's; -1: the kernel does not say. *answer, unless
 * NULL, is the caller's: json_object_put(). */
int control_call(const char *name, const char *request, struct json_object **answer, int *pidfd,
		 struct err *e);
/* The same, and *fd becomes the stream; reading it waits. */
int control_stream(const char *name, const char *request, int *fd, int *pidfd, struct err *e);
/* A descriptor of the monitor's process, the caller's; -1: none. */
int control_process(const char *name);
/* Whether somebody listens; what a killed monitor left is removed. */
bool control_alive(const char *name);
#endif
