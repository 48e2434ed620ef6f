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
/* A line that the agent said, untrusted: whether it answers the request of this id, and then its
 * "return", the caller's, or NULL and words. */
struct json_object;
bool foreign_answer(const char *line, size_t n, const char *id, struct json_object **out,
		    struct err *e);
/* How a program ended, as guest-exec-status tells it: what it wrote is written, and its exit code
 * returned. */
int foreign_outcome(const struct session *s, const struct json_object *o, struct err *e);
#endif
