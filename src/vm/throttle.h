#ifndef VM_THROTTLE_H
#define VM_THROTTLE_H
#include "base/err.h"
#include <stdint.h>
/* A cap on the host's CPU time that a machine's process uses, kept by having its harts wait. On the
 * loop's thread. */
struct throttle;
struct vm;
int throttle_new(struct throttle **out, struct vm *vm, struct err *e);
void throttle_set(struct throttle *t, uint64_t cap); /* thousandths of one CPU; 0: none */
void throttle_free(struct throttle *t);		     /* NULL is fine */
/* How much of what may be used is left, from -1 s on: ns of CPU time, after so much time and use.
 */
int64_t throttle_balance(int64_t balance, uint64_t cap, uint64_t passed_ns, uint64_t used_ns);
#endif
