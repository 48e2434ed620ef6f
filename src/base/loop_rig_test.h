#ifndef BASE_LOOP_RIG_TEST_H
#define BASE_LOOP_RIG_TEST_H
#include "base/loop.h"
/* For tests: n times all that a loop has to do now. */
static inline void loop_rig_stop(void *ctx) { loop_stop(ctx, 0); }
static inline void loop_rig_turn(struct loop *l, unsigned n)
{
	while (n--) {
		loop_post(l, loop_rig_stop, l);
		(void)loop_run(l);
	}
}
#endif
