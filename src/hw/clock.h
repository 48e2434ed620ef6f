#ifndef HW_CLOCK_H
#define HW_CLOCK_H
#include <stdbool.h>
#include <stdint.h>
/* The computer's time counter (RISC-V mtime): ticks since power-on, from CLOCK_MONOTONIC.
 * Read by every hart and timer; written only while all vCPUs are stopped. */
struct vclock {
	uint64_t hz;	  /* ticks a second; virt: 10,000,000 */
	uint64_t zero_ns; /* CLOCK_MONOTONIC when the count was 0 */
	bool stopped;	  /* the count stays what it is: zero_ns holds it, in ns */
	/* Or a nanosecond an instruction: how many have run, and how many were slept away. */
	const uint64_t *ran, *slept;
	uint64_t epoch; /* then wall clocks begin there, in seconds since 1970 */
};
#define VCLOCK_EPOCH 1767225600ull		 /* 2026-01-01 */
void vclock_init(struct vclock *c, uint64_t hz); /* count 0 = now */
/* From now on by instructions of one hart, on whose thread alone it is then read. */
void vclock_count(struct vclock *c, const uint64_t *ran, const uint64_t *slept);
void vclock_zero(struct vclock *c); /* count 0 = now, whatever it counts */
/* The count stays, and goes on from there. Meanwhile no deadline is ever reached: who has set a
 * timer by this clock sets it anew once it goes. A second stop or go changes nothing. */
void vclock_stop(struct vclock *c);
void vclock_set(struct vclock *c, uint64_t ns); /* to this count; it stands */
void vclock_go(struct vclock *c);
static inline bool vclock_counts(const struct vclock *c) { return c->ran; }
uint64_t vclock_ns(const struct vclock *c); /* since count 0 */
uint64_t vclock_now(const struct vclock *c);
/* When (ns, CLOCK_MONOTONIC, or instructions run and slept) the count reaches ticks; UINT64_MAX
 * when beyond all time, as all is while the clock stands. */
uint64_t vclock_deadline(const struct vclock *c, uint64_t ticks);
#endif
