#include "base/test.h"
#include "isa/rv64/fp.h"
#include "isa/rv64/fp_cases.h"
#include <stdio.h>
#include <xmmintrin.h>

static uint64_t seed = 0x10d6e;

/* The host's way (entered) against softfp (not entered). */
static bool agrees(const struct fp_op *op, unsigned frm, unsigned rm)
{
	struct rv64_fp on = {.frm = (uint8_t)frm}, off = on;
	uint64_t v[3], host, soft;
	fp_operands(v, op, &seed);
	fp_enter(&on);
	host = fp_op_run(op, &on, v, rm);
	fp_leave(&on);
	soft = fp_op_run(op, &off, v, rm);
	if (host == soft && on.flags == off.flags) return true;
	fprintf(stderr, "%s(%lx, %lx, %lx) frm %u rm %u: host %lx flags %x, soft %lx flags %x\n",
		op->name, v[0], v[1], v[2], frm, rm, host, on.flags, soft, off.flags);
	return false;
}
static bool all_modes_agree(const struct fp_op *op)
{
	for (unsigned frm = 0; frm < 8; frm++)
		for (unsigned rm = 0; rm < 8; rm++) {
			if (rm > RM_RMM && (rm != RM_DYN || frm > RM_RMM)) continue;
			for (int i = 0; i < 500; i++)
				if (!agrees(op, frm, rm)) return false;
		}
	return true;
}
TEST(host_and_soft_agree)
{
	for (size_t i = 0; i < COUNT(fp_ops); i++) CHECK(all_modes_agree(&fp_ops[i]));
}

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
