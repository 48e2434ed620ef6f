#ifndef GUEST_LIFE_H
#define GUEST_LIFE_H
#include "base/err.h"
#include "guest/guest.h"
#include "guest/record.h"
#include <stdbool.h>
/* One guest's state while its monitor lives: kept in its folder, told to who waits for its end;
 * and how it is stopped. Of the loop's thread; private to guest/. */
struct life;
struct life *life_new(struct guest *g);
void life_free(struct life *l); /* NULL is fine */
const struct guest_state *life_state(const struct life *l);
/* Fails when that cannot be written down: nobody would find the guest again. */
int life_began(struct life *l, struct err *e);
void life_ended(struct life *l, int code, const struct err *why); /* why->code 0: it exited */
/* How it ended, as who waits hears it: {"exit_code": N}, or {"error": WORDS} when it broke. */
const char *life_last(struct life *l);
/* fd is ours, and gets life_last() at the end. -EMFILE: too many wait; it stays the caller's. */
int life_wait(struct life *l, int fd, struct err *e);
#endif
