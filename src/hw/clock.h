#ifndef HW_CLOCK_H
#define HW_CLOCK_H
#include <stdint.h>
/* The computer's time counter (RISC-V mtime): ticks since power-on, from CLOCK_MONOTONIC.
 * Read by every hart and timer; written only while all vCPUs are stopped. */
struct vclock {
	uint64_t hz;	  /* ticks a second; virt: 10,000,000 */
	uint64_t zero_ns; /* CLOCK_MONOTONIC when the count was 0 */
};
void vclock_init(struct vclock *c, uint64_t hz); /* count 0 = now */
uint64_t vclock_now(const struct vclock *c);
/* When (ns, CLOCK_MONOTONIC) the count reaches ticks; UINT64_MAX when beyond all time. */
uint64_t vclock_deadline(const struct vclock *c, uint64_t ticks);
#endif
