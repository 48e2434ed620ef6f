#include "base/test.h"
#include "isa/rv64/fp_cases.h"
#include "isa/rv64/softfp.h"
#include <fenv.h>
#include <math.h>
#include <stdio.h>

/* Zfa against the C library and plain formulas: the other oracle, old qemu, does not know it. */
static uint64_t seed = 77;

static double value(const struct soft_format *f, uint64_t a)
{
	uint8_t flags = 0;
	if (f == &soft_f32) return (double)f32_reg(a);
	return f64_reg(f == &soft_f64 ? a : soft_convert(&soft_f64, f, a, RM_RNE, &flags));
}
/* v, which f can hold, or f's canonical NaN. */
static uint64_t bits(const struct soft_format *f, double v)
{
	uint8_t flags = 0;
	uint64_t a;
	memcpy(&a, &v, sizeof(a));
	return soft_convert(f, &soft_f64, a, RM_RNE, &flags);
}
static bool signals(const struct soft_format *f, uint64_t a) { return soft_class(f, a) == 1 << 8; }

static double rounded(double v, unsigned rm)
{
	static const int mode[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
	double (*volatile to_integral)(double) = rm == RM_RMM ? round : rint;
	if (rm != RM_RMM) fesetround(mode[rm]);
	v = to_integral(v);
	fesetround(FE_TONEAREST);
	return v;
}
static bool round_agrees(const struct soft_format *f, unsigned rm)
{
	uint64_t a = fp_corner(f, &seed);
	double v = value(f, a), want = rounded(v, rm);
	unsigned nv = signals(f, a) ? FF_NV : 0;
	uint8_t quiet = 0, loud = 0;
	uint64_t r = soft_round(f, a, rm, 0, &quiet), n = soft_round(f, a, rm, 1, &loud);
	bool ok = r == bits(f, want) && n == r && quiet == nv &&
		  loud == (nv | (v < want || v > want ? FF_NX : 0u));
	if (!ok) fprintf(stderr, "round(%lx, %u): %lx flags %x %x\n", a, rm, r, quiet, loud);
	return ok;
}
static bool min_max_agree(const struct soft_format *f)
{
	uint64_t v[3], lo, hi;
	fp_operands(v,
		    &(struct fp_op){.types = f == &soft_f64   ? "ddd"
					     : f == &soft_f32 ? "sss"
							      : "hhh"},
		    &seed);
	double a = value(f, v[0]), b = value(f, v[1]);
	bool first = a < b || (!(b < a) && signbit(a));
	unsigned nv = signals(f, v[0]) || signals(f, v[1]) ? FF_NV : 0;
	uint8_t fl[4] = {0};
	lo = soft_min(f, v[0], v[1], 1, &fl[0]);
	hi = soft_max(f, v[0], v[1], 1, &fl[1]);
	uint64_t lt = soft_lt(f, v[0], v[1], 1, &fl[2]), le = soft_le(f, v[0], v[1], 1, &fl[3]);
	for (int i = 0; i < 4; i++)
		if (fl[i] != nv) return false;
	if (isnan(a) || isnan(b)) return lo == bits(f, NAN) && hi == lo && !lt && !le;
	return lo == bits(f, first ? a : b) && hi == bits(f, first ? b : a) && lt == (a < b) &&
	       le == (a <= b);
}
static bool mod32_agrees(void)
{
	uint8_t flags = 0;
	uint64_t a = fp_corner(&soft_f64, &seed), r = soft_to_mod32(&soft_f64, a, &flags), want;
	double v = f64_reg(a), t = trunc(v);
	if (isnan(v) || isinf(v)) return r == 0 && flags == FF_NV;
	want = (uint64_t)(int64_t)(int32_t)(uint32_t)(int64_t)fmod(t, 0x1p32);
	bool fits = t >= -0x1p31 && t < 0x1p31;
	return r == want && flags == (!fits ? FF_NV : t < v || t > v ? FF_NX : 0);
}

static const struct soft_format *const formats[] = {&soft_f16, &soft_f32, &soft_f64};

TEST(fround_is_what_the_c_library_does)
{
	bool ok = true;
	for (unsigned i = 0; i < 100000 && ok; i++) ok = round_agrees(formats[i % 3], i / 3 % 5);
	CHECK(ok);
}
TEST(fminm_and_quiet_compares_follow_their_formula)
{
	bool ok = true;
	for (unsigned i = 0; i < 100000 && ok; i++) ok = min_max_agree(formats[i % 3]);
	CHECK(ok);
}
TEST(fcvtmod_is_modulo_two_to_the_32)
{
	bool ok = true;
	for (unsigned i = 0; i < 100000 && ok; i++) ok = mod32_agrees();
	CHECK(ok);
}

/* Every half there is, to double and back, and its root. */
TEST(half_is_a_subset_of_double)
{
	uint8_t flags;
	for (uint64_t h = 0; h < 0x10000; h++) {
		uint64_t d, back;
		flags = 0;
		d = soft_convert(&soft_f64, &soft_f16, h, RM_RUP, &flags);
		back = soft_convert(&soft_f16, &soft_f64, d, RM_RUP, &flags);
		bool nan = (h & 0x7fff) > 0x7c00;
		if (back != (nan ? F16_NAN : h) || flags != (signals(&soft_f16, h) ? FF_NV : 0)) {
			CHECK(h == 0x10000);
			return;
		}
	}
}
