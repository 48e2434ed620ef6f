#ifndef GUEST_LOOK_H
#define GUEST_LOOK_H
#include "base/err.h"
#include "guest/record.h"
#include <stdbool.h>
/* Guests seen from outside, running or not, kept or not. */
struct json_object;
struct store;
/* What is told of a guest, added to the object: "name" "id" "state" "exit_code" "why" "pid"
 * "created" "started" "finished" (UTC as in RFC 3339, "" for never), "kind", and "spec", of which
 * "image", "arch", "cpus", "memory", "ports" also stand outside. */
void look_json(struct json_object *to, const char *name, const struct record *r,
	       const struct guest_state *s);
/* The state as it is: who was running and whose monitor is gone is broken. Takes no lock for longer
 * than it takes to see that nobody has it. */
void look_state(struct guest_state *s, const char *name, int dirfd);
/* Somebody has its lock: its monitor, that one's helper, or another command. */
bool look_held(int dirfd);
/* One guest, by its whole name. *out is the caller's: json_object_put(). -ENOENT: there is none. */
int look_at(struct store *s, const char *name, struct json_object **out, struct err *e);
/* fn for all there are, kept ones first, then those that run without being kept; the object is only
 * lent. What is just being made is passed over. */
int look_each(struct store *s, int (*fn)(void *ctx, struct json_object *guest), void *ctx,
	      struct err *e);
/* The name that a person means by word: a name, an id, or how one begins, if only one does.
 * -ENOENT, or -ENOTUNIQ. */
int look_find(struct store *s, const char *word, char name[64], struct err *e);
#endif
