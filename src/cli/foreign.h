#ifndef CLI_FOREIGN_H
#define CLI_FOREIGN_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
/* Programs run by a foreign image's own agent (QEMU's protocol, qga/qapi-schema.json of QEMU, as
 * the request "agent" carries it): they are given all their input first and tell all their output
 * last, and have no terminal. */
struct session;
bool foreign_here(const char *guest);			 /* such an agent has opened its port */
int foreign_run(const struct session *s, struct err *e); /* as session_run() */
/* foreign_files.c: the same, input and output by way of files in the guest's /var/tmp, whatever
 * their sizes: QEMU's agent takes and keeps some MiB of them at most. It takes sh, mktemp and rm.
 */
int foreign_bulk(const struct session *s, struct err *e);
/* A command of the protocol and its "return", the caller's; arguments are given away. */
struct json_object;
int foreign_ask(const char *guest, const char *command, struct json_object *arguments,
		struct json_object **out, struct err *e);
void foreign_add(struct json_object *o, const char *key,
		 struct json_object *v); /* v is given away */
/* The bytes of a base64 text, the caller's; *n: how many. NULL: it is none. */
unsigned char *foreign_bytes(struct json_object *text, size_t *n);
int foreign_write(int fd, const unsigned char *p, size_t n); /* all of it, or -errno */
/* A line that the agent said, untrusted: whether it answers the request of this id, and then its
 * "return", the caller's, or NULL and words. */
struct json_object;
bool foreign_answer(const char *line, size_t n, const char *id, struct json_object **out,
		    struct err *e);
/* How a program ended, as guest-exec-status tells it: what it wrote is written, and its exit code
 * returned. */
int foreign_outcome(const struct session *s, const struct json_object *o, struct err *e);
#endif
