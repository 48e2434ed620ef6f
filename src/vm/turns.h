#ifndef VM_TURNS_H
#define VM_TURNS_H
#include "base/err.h"
#include "engine/engine.h"
#include <stdbool.h>
/* What comes to a machine from outside when that is recorded, or comes from a recording: by the
 * hart's thread, at turns (engine.h). All of it: keys, frames, the power button. Now and then the
 * machine's state is hashed into the recording, so that a replay knows that it does the same. */
struct turns;
struct vm;
/* Of its spec's record or replay; NULL: it has neither. */
struct turns *turns_new(struct vm *vm);
const struct engine_turns *turns_hooks(const struct turns *t); /* NULL if t is */
bool turns_replays(const struct turns *t);		       /* t may be NULL */
bool turns_press(struct turns *t); /* any thread: the power button; false: nobody listens */
/* On the loop's thread, while halted: it goes off, or begins anew. False: it should not have, and
 * has been told of. */
bool turns_power(struct turns *t, bool off, int code);
/* The hart's thread is gone. A recording is complete with this. NULL is fine. */
void turns_free(struct turns *t);
#endif
