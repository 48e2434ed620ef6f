#ifndef DEV_COUNTED_TEST_H
#define DEV_COUNTED_TEST_H
#include "hw/clock.h"
/* For tests: a clock that they count, in nanoseconds. */
static uint64_t ran, slept;
static struct vclock vclock;

static inline void clock_start(void)
{
	ran = slept = 0;
	vclock_init(&vclock, 1000000000);
	vclock_count(&vclock, &ran, &slept);
}
#endif
