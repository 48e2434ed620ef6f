#ifndef ENGINE_X86_VECTOR_RIG_H
#define ENGINE_X86_VECTOR_RIG_H
/* For tests: vector and x87 state gathered at the corners, by random_test.h's next(). */
#include "base/types.h"
#include "engine/x86_vector_impl.h"
#include "isa/x86/random_test.h"
#include <string.h>

static inline uint64_t x86_random_float(void)
{
	static const uint64_t some[] = {
		0,
		1,
		0x80000000,
		0xffffffff,
		0x7f800000,
		0x7fc00000,
		0x7fa00000,
		0x00800000,
		0x007fffff,
		0x7f7fffff,
		0x3f800000,
		0x3f8000003f800000,
		0x0080000000800000,
		0x0080000100800000,
		0x7ff0000000000000,
		0x7ff8000000000000,
		0x7ff4000000000000,
		0x0010000000000000,
		0x0010000000000001,
		0x000fffffffffffff,
		0x7fefffffffffffff,
		0x3ff0000000000000,
		0x4330000000000000,
		0x43e0000000000000,
		0x41e0000000000000,
		0x4f0000005f000000,
		0x477fe00047800000,
		0x3800000033800000,
		0x7fff8000ff800001,
		INT64_MAX,
		1ull << 63,
		UINT64_MAX,
	};
	uint64_t r = next();
	switch (r & 7) {
	case 0:
	case 1:
	case 2:
	case 3: return some[(r >> 8) % COUNT(some)] ^ (r & 0x80 ? 1ull << 63 : 0);
	case 4: return next() >> (r >> 8 & 63);
	case 5: return (0x3fe0 + (r >> 8 & 0x3f)) << 48 | next() >> 16; /* near 1 */
	case 6: return (0x3f80 + (r >> 8 & 0x7f)) * 0x1000000010000ull; /* floats near 1 */
	default: return next();
	}
}
static inline void x86_random_x87(uint8_t *x)
{
	static const uint16_t exponents[] = {0,	     0,	     1,	     0x3fff, 0x7fff,
					     0x7ffe, 0x3fbe, 0x4040, 0x403e};
	static const uint64_t fractions[] = {0,		 1ull << 63, 3ull << 62, UINT64_MAX,	  1,
					     1ull << 62, INT64_MAX,  5ull << 61, (1ull << 63) + 1};
	for (unsigned i = 0; i < 8; i++) {
		uint64_t r = next();
		unsigned e = exponents[(r >> 8) % COUNT(exponents)];
		if (r & 1) e = 0x3fc0 + (r >> 16 & 0x7f);
		store_le(x + X_ST + 16 * i,
			 r & 2 ? fractions[(r >> 24) % COUNT(fractions)] : next() | (r & 4) << 61,
			 8);
		store_le(x + X_ST + 16 * i + 8, e | (r >> 32 & 1) << 15, 2);
	}
	uint64_t r = next();
	store_le(x + X_FCW, (r & 7 ? 0x37f : 0x340 | (r >> 8 & 0x3f)) ^ (r >> 16 & 0xf00), 2);
	x[X_FTW] = (uint8_t)(r & 0x300 ? 0xff : r >> 32);
	store_le(x + X_FSW, (r >> 40) & 0x7f7f & (r & 0xc00 ? 0x7f40 : 0xffff), 2);
	store_le(x + X_FOP, next() & 0x7ff, 2);
	store_le(x + X_FIP, next() >> 17, 8);
	store_le(x + X_FDP, next() >> 17, 8);
	x86_settle_x87(x);
}
/* All of an area of XSAVE: x87, SSE, AVX. */
static inline void x86_random_xarea(struct x86_xarea *area)
{
	uint8_t *x = area->bytes;
	memset(x, 0, sizeof *area);
	x86_random_x87(x);
	uint64_t r = next(), m = 0x1f80 | (r & 0xe07f & (r & 1 << 20 ? 0xe040 : 0xffff));
	if (!(r & 0x300000000)) m ^= r & 0x1f80;
	store_le(x + X_MXCSR, m, 4);
	store_le(x + X_MXCSR_MASK, 0xffff, 4);
	x[X_HEADER] = 7;
	for (unsigned i = 0; i < 256; i += 8) {
		store_le(x + X_XMM + i, x86_random_float(), 8);
		store_le(x + X_YMM + i, x86_random_float(), 8);
	}
}
/* The first part of two areas that is not the same; NULL: none. */
static inline const char *x86_vector_differs(const uint8_t *a, const uint8_t *b)
{
	if (memcmp(a + X_FCW, b + X_FCW, 2)) return "FCW";
	if (memcmp(a + X_FSW, b + X_FSW, 2)) return "FSW";
	if (memcmp(a + X_FTW, b + X_FTW, 1)) return "FTW";
	if (memcmp(a + X_FOP, b + X_FOP, 2)) return "FOP";
	if (memcmp(a + X_FIP, b + X_FIP, 8)) return "FIP";
	if (memcmp(a + X_FDP, b + X_FDP, 8)) return "FDP";
	if (memcmp(a + X_MXCSR, b + X_MXCSR, 4)) return "MXCSR";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(a + X_ST + 16 * i, b + X_ST + 16 * i, 10)) return "ST";
	if (memcmp(a + X_XMM, b + X_XMM, 256)) return "XMM";
	return memcmp(a + X_YMM, b + X_YMM, 256) ? "YMM" : NULL;
}
#endif
