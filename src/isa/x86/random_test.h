#ifndef ISA_X86_RANDOM_TEST_H
#define ISA_X86_RANDOM_TEST_H
#include "base/types.h"
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
/* A number near the ends of the sizes that there are, or any. */
static inline uint64_t corner(void)
{
	static const uint64_t some[] = {
		0,	    1,		 2,	    3,		7,	    8,
		9,	    15,		 16,	    31,		32,	    33,
		63,	    64,		 0x7f,	    0x80,	0x81,	    0xff,
		0x100,	    0x7fff,	 0x8000,    0xffff,	0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 1};
	uint64_t r = next();
	switch (r & 7) {
	case 0:
	case 1:
	case 2: return some[(r >> 8) % COUNT(some)];
	case 3: return -some[(r >> 8) % COUNT(some)];
	case 4: return next() >> (r >> 8 & 63);
	case 5: return some[(r >> 8) % COUNT(some)] << (r >> 16 & 63);
	default: return next();
	}
}
#endif
