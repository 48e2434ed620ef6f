#include "base/test.h"
#include "isa/rv64/fp.h"
#include <stdio.h>
#include <xmmintrin.h>

/* The host's way against softfp, over operands that gather at the corners. */
static uint64_t seed = 0x10d6e;
static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}
static uint64_t ones(unsigned n) { return n ? ~0ull >> (64 - n) : 0; }
static uint64_t operand(const struct soft_format *f)
{
	unsigned ebits = f->width - 1u - f->frac;
	uint64_t bias = ones(ebits - 1), frac = rnd() & ones(f->frac), exp = rnd() & ones(ebits);
	switch (rnd() % 8) {
	case 0: exp = 0; break;
	case 1: exp = ones(ebits); break;
	case 2: exp = (rnd() & 1 ? ones(ebits) : 3) - rnd() % 3; break;
	case 3: exp = (bias + rnd() % 9 - 4) & ones(ebits); break;
	case 4: exp = (bias + rnd() % 70) & ones(ebits); break;
	case 5: exp = (bias - f->frac + rnd() % 3) & ones(ebits); break;
	}
	switch (rnd() % 8) {
	case 0: frac = 0; break;
	case 1: frac = ones(f->frac); break;
	case 2: frac = 1ull << rnd() % f->frac; break;
	case 3: frac = ones(f->frac) & ~0ull << rnd() % f->frac; break;
	case 4: frac = ones((unsigned)(rnd() % f->frac)); break;
	case 5: frac = 1ull << (f->frac - 1) | (rnd() & 1); break;
	}
	return (rnd() & 1) << (f->width - 1) | exp << f->frac | frac;
}
static uint64_t integer(void)
{
	static const uint64_t near[] = {0, 1ull << 31, 1ull << 32, 1ull << 53, 1ull << 63, 1 << 24};
	return rnd() & 1 ? near[rnd() % COUNT(near)] + rnd() % 5 - 2 : rnd() >> rnd() % 64;
}

static bool same(const char *what, unsigned frm, unsigned rm, uint64_t host, uint64_t soft,
		 unsigned hf, unsigned sf)
{
	if (host == soft && hf == sf) return true;
	fprintf(stderr, "%s frm %u rm %u: host %lx flags %x, soft %lx flags %x\n", what, frm, rm,
		host, hf, soft, sf);
	return false;
}

/* Both ways of one call; on is entered, off never. */
#define BOTH(fn, ...)                                                                              \
	do {                                                                                       \
		fp_flags_set(&on, 0);                                                              \
		off.flags = 0;                                                                     \
		uint64_t h_ = fn(&on, __VA_ARGS__);                                                \
		unsigned hf_ = fp_flags_get(&on);                                                  \
		uint64_t s_ = fn(&off, __VA_ARGS__);                                               \
		ok &= same(#fn, frm, rm, h_, s_, hf_, off.flags);                                  \
	} while (0)

#define FORMAT_AGREES(f)                                                                           \
	static bool f##_agrees(unsigned frm, unsigned rm)                                          \
	{                                                                                          \
		struct rv64_fp on = {.frm = (uint8_t)frm}, off = on;                               \
		bool ok = true;                                                                    \
		fp_enter(&on);                                                                     \
		for (int i = 0; i < 4000 && ok; i++) {                                             \
			uint64_t a = operand(&soft_##f), b = operand(&soft_##f), n = integer();    \
			uint64_t c = operand(&soft_##f), d = rnd() & 1 ? a : b;                    \
			BOTH(f##_add, a, b, rm);                                                   \
			BOTH(f##_sub, a, b, rm);                                                   \
			BOTH(f##_mul, a, b, rm);                                                   \
			BOTH(f##_div, a, b, rm);                                                   \
			BOTH(f##_sqrt, a, rm);                                                     \
			BOTH(f##_fma, a, b, c, rm);                                                \
			BOTH(f##_to_i32, a, rm);                                                   \
			BOTH(f##_to_u32, a, rm);                                                   \
			BOTH(f##_to_i64, a, rm);                                                   \
			BOTH(f##_to_u64, a, rm);                                                   \
			BOTH(f##_from_i32, n, rm);                                                 \
			BOTH(f##_from_u32, n, rm);                                                 \
			BOTH(f##_from_i64, n, rm);                                                 \
			BOTH(f##_from_u64, n, rm);                                                 \
			BOTH(f##_eq, a, d);                                                        \
			BOTH(f##_lt, a, d);                                                        \
			BOTH(f##_le, a, d);                                                        \
			BOTH(f##_ltq, a, d);                                                       \
			BOTH(f##_leq, a, d);                                                       \
			BOTH(f64_to_f32, a, rm);                                                   \
			BOTH(f32_to_f64, a, rm);                                                   \
		}                                                                                  \
		fp_leave(&on);                                                                     \
		return ok;                                                                         \
	}
FORMAT_AGREES(f64)
FORMAT_AGREES(f32)
FORMAT_AGREES(f16)

static bool all_modes(bool (*agrees)(unsigned frm, unsigned rm))
{
	for (unsigned frm = 0; frm < 8; frm++)
		for (unsigned rm = 0; rm < 8; rm++)
			if (rm <= RM_RMM || (rm == RM_DYN && frm <= RM_RMM))
				if (!agrees(frm, rm)) return false;
	return true;
}
TEST(double_host_and_soft_agree) { CHECK(all_modes(f64_agrees)); }
TEST(single_host_and_soft_agree) { CHECK(all_modes(f32_agrees)); }
TEST(half_needs_no_host) { CHECK(all_modes(f16_agrees)); }

#define F64_1 0x3ff0000000000000u
#define F64_3 0x4008000000000000u

/* Constant operands: nothing may be folded, dropped or moved across the flags' reading. */
TEST(flags_belong_to_their_operation)
{
	struct rv64_fp fp = {0};
	fp_enter(&fp);
	CHECK(f64_div(&fp, F64_1, F64_1, RM_DYN) == F64_1 && fp_flags_get(&fp) == 0);
	f64_div(&fp, F64_1, F64_3, RM_DYN);
	CHECK(fp_flags_get(&fp) == FF_NX);
	fp_flags_set(&fp, 0);
	CHECK(fp_flags_get(&fp) == 0);
	f64_div(&fp, F64_1, 0, RM_DYN);
	CHECK(fp_flags_get(&fp) == FF_DZ);
	f64_lt(&fp, F64_NAN, F64_1);
	CHECK(fp_flags_get(&fp) == (FF_DZ | FF_NV));
	fp_flags_set(&fp, FF_OF);
	f64_eq(&fp, F64_NAN, F64_1);
	CHECK(fp_flags_get(&fp) == FF_OF);
	f64_mul(&fp, 1, 1, RM_DYN);
	fp_leave(&fp);
	CHECK(fp.flags == (FF_OF | FF_UF | FF_NX));
}

TEST(rounding_follows_frm)
{
	static const uint64_t third[] = {
		0x3fd5555555555555, 0x3fd5555555555555, 0x3fd5555555555555,
		0x3fd5555555555556, 0x3fd5555555555555,
	};
	struct rv64_fp fp = {0};
	fp_enter(&fp);
	for (unsigned frm = 0; frm <= RM_RMM; frm++) {
		fp_frm_set(&fp, frm);
		CHECK(f64_div(&fp, F64_1, F64_3, RM_DYN) == third[frm]);
		CHECK(f64_div(&fp, F64_1, F64_3, RM_RUP) == third[RM_RUP]);
		CHECK(fp_flags_get(&fp) == FF_NX);
	}
	fp_leave(&fp);
}

TEST(host_gets_its_control_word_back)
{
	struct rv64_fp fp = {.frm = RM_RUP};
	unsigned before = _mm_getcsr(), down = 0x1f80 | _MM_ROUND_DOWN;
	_mm_setcsr(down);
	fp_enter(&fp);
	CHECK(_mm_getcsr() == (0x1f80 | _MM_ROUND_UP));
	f64_div(&fp, F64_1, F64_3, RM_DYN);
	fp_leave(&fp);
	CHECK(_mm_getcsr() == down);
	_mm_setcsr(before);
	CHECK(fp.flags == FF_NX);
}

TEST(infinity_times_zero_is_invalid_beside_a_quiet_nan)
{
	struct rv64_fp fp = {0};
	fp_enter(&fp);
	CHECK(f64_fma(&fp, 0, 0x7ff0000000000000, F64_NAN | 1, RM_DYN) == F64_NAN);
	CHECK(fp_flags_get(&fp) == FF_NV);
	fp_leave(&fp);
}

static bool fli_is(unsigned i, double v)
{
	float f = (float)v;
	return !memcmp(&fp_fli_f64[i], &v, 8) && !memcmp(&fp_fli_f32[i], &f, 4);
}
TEST(fli_tables)
{
	static const double v[32] = {
		-1,   0,     0x1p-16, 0x1p-15, 0x1p-8, 0x1p-7, .0625, .125, .25,    .3125,
		.375, .4375, .5,      .625,    .75,    .875,   1,     1.25, 1.5,    1.75,
		2,    2.5,   3,	      4,       8,      16,     128,   256,  0x1p15, 0x1p16,
	};
	struct rv64_fp fp = {0};
	for (unsigned i = 0; i < 30; i++) CHECK(i == 1 || fli_is(i, v[i]));
	for (unsigned i = 0; i < 32; i++)
		CHECK(i == 1 || fp_fli_f16[i] == f64_to_f16(&fp, fp_fli_f64[i], RM_RNE));
	CHECK(f16_class(&fp, fp_fli_f16[1]) == 1 << 6 &&
	      f16_class(&fp, fp_fli_f16[1] - 1u) == 1 << 5);
	CHECK(f32_class(&fp, fp_fli_f32[1]) == 1 << 6 &&
	      f32_class(&fp, fp_fli_f32[1] - 1u) == 1 << 5);
	CHECK(f64_class(&fp, fp_fli_f64[1]) == 1 << 6 &&
	      f64_class(&fp, fp_fli_f64[1] - 1) == 1 << 5);
	CHECK(fp_fli_f32[30] == 0x7f800000 && fp_fli_f32[31] == F32_NAN);
	CHECK(fp_fli_f64[30] == 0x7ff0000000000000 && fp_fli_f64[31] == F64_NAN);
}
