#ifndef VM_MOVE_H
#define VM_MOVE_H
#include "base/err.h"
#include <stdbool.h>
/* A computer that moves to another host while it runs (leave.c), and one that comes (arrive.c). */
struct guest;
struct json_object;
struct leave;
struct link;
struct move_how;
struct vm;

/* The kind's operations; see guest.h. On the loop's thread. */
int vm_move(struct guest *g, struct link *l, const struct move_how *how, struct err *e);
/* "phase", "round", "sent", "left" (bytes), "rate" (bytes a second), "stood_ms", "to", "why". */
void vm_move_status(struct guest *g, struct json_object *to);
int vm_move_settle(struct guest *g, bool there, struct err *e);
bool vm_is_leaving(const struct vm *vm); /* or may have left */
void leave_free(struct leave *m);	 /* before anything of vm goes; NULL is fine */

/* Into one that was built and has never run: what comes over its spec's link, until the source has
 * given it up. Then it is ours, and paused. */
int vm_arrive(struct vm *vm, struct err *e);
void vm_arrived(struct vm *vm); /* it runs: say so, to the source and on its networks */
#endif
