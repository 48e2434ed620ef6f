#ifndef ENGINE_CLMUL_H
#define ENGINE_CLMUL_H
#include <stdint.h>
/* Carry-less products (Zbc, unprivileged architecture 28.4): the lower half, the upper half, and
 * the 64 bits above the lowest 63. */
static inline uint64_t clmul(uint64_t a, uint64_t b)
{
	uint64_t r = 0;
	for (; b; b &= b - 1) r ^= a << __builtin_ctzll(b);
	return r;
}
static inline uint64_t clmulh(uint64_t a, uint64_t b)
{
	uint64_t r = 0;
	for (b &= ~1ull; b; b &= b - 1) r ^= a >> (64 - __builtin_ctzll(b));
	return r;
}
static inline uint64_t clmulr(uint64_t a, uint64_t b)
{
	return clmulh(a, b) << 1 | clmul(a, b) >> 63;
}
#endif
