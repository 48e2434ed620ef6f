#ifndef ISA_X86_RANDOM_TEST_H
#define ISA_X86_RANDOM_TEST_H
#include <stdint.h>
/* SplitMix64 (Steele, Lea, Flood 2014), for tests: each sets the seed it begins with. */
static uint64_t seed;

static inline uint64_t next(void)
{
	seed += 0x9e3779b97f4a7c15;
	uint64_t z = seed;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}
#endif
