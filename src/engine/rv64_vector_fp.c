/* Kernels of floating-point vector instructions (V specification, 13, 14.3, 14.4): the functions of
 * isa/rv64/fp.h, element by element, so that results and flags are those of scalar instructions. */
#include "engine/rv64_vkernel.h"

/* F is soft_f16..64's name for SEW bits, G for twice as many. */
#define FP (&c->fp)
#define FP_SAME(name, idle, TD, e16, e32, e64)                                                     \
	KERNEL(name##_16, 16, 32, 8, TD, U, U, U, e16)                                             \
	KERNEL(name##_32, 32, 64, 4, TD, U, U, U, e32)                                             \
	KERNEL(name##_64, 64, 128, 2, TD, U, U, U, e64)                                            \
	EXPORT(name, idle, NULL, name##_16, name##_32, name##_64)
/* E(f, bits): the expression for one format */
#define FP_ALL(name, E)	 FP_SAME(name, IDLE_ZERO, U, E(f16, 16), E(f32, 32), E(f64, 64))
#define FP_ONE(name, E)	 FP_SAME(name, IDLE_ONE, U, E(f16, 16), E(f32, 32), E(f64, 64))
#define FP_TEST(name, E) FP_SAME(name, IDLE_ZERO, uint8_t, E(f16, 16), E(f32, 32), E(f64, 64))

/* ---- arithmetic of one width (13.2 to 13.6) ---- */
#define E(f, bits) f##_add(FP, p, q, RM_DYN)
FP_ALL(fadd, E)
#undef E
#define E(f, bits) f##_sub(FP, p, q, RM_DYN)
FP_ALL(fsub, E)
#undef E
#define E(f, bits) f##_sub(FP, q, p, RM_DYN)
FP_ALL(frsub, E)
#undef E
#define E(f, bits) f##_mul(FP, p, q, RM_DYN)
FP_ALL(fmul, E)
#undef E
#define E(f, bits) f##_div(FP, p, q, RM_DYN)
FP_ONE(fdiv, E)
#undef E
#define E(f, bits) f##_div(FP, q, p, RM_DYN)
FP_ONE(frdiv, E)
#undef E
#define E(f, bits) f##_sqrt(FP, p, RM_DYN)
FP_ALL(fsqrt, E)
#undef E
#define MINUS(v)   ((v) ^ (U)1 << (BITS - 1))
#define E(f, bits) f##_fma(FP, q, p, z, RM_DYN)
FP_ALL(fmacc, E)
#undef E
#define E(f, bits) f##_fma(FP, MINUS(q), p, MINUS(z), RM_DYN)
FP_ALL(fnmacc, E)
#undef E
#define E(f, bits) f##_fma(FP, q, p, MINUS(z), RM_DYN)
FP_ALL(fmsac, E)
#undef E
#define E(f, bits) f##_fma(FP, MINUS(q), p, z, RM_DYN)
FP_ALL(fnmsac, E)
#undef E
#define E(f, bits) f##_fma(FP, q, z, p, RM_DYN)
FP_ALL(fmadd, E)
#undef E
#define E(f, bits) f##_fma(FP, MINUS(q), z, MINUS(p), RM_DYN)
FP_ALL(fnmadd, E)
#undef E
#define E(f, bits) f##_fma(FP, q, z, MINUS(p), RM_DYN)
FP_ALL(fmsub, E)
#undef E
#define E(f, bits) f##_fma(FP, MINUS(q), z, p, RM_DYN)
FP_ALL(fnmsub, E)
#undef E

/* ---- comparisons, signs, classes (13.11 to 13.14) ---- */
#define E(f, bits) f##_min(FP, p, q)
FP_ALL(fmin, E)
#undef E
#define E(f, bits) f##_max(FP, p, q)
FP_ALL(fmax, E)
#undef E
#define SIGN	   ((U)((U)1 << (BITS - 1)))
#define E(f, bits) (p & (U)~SIGN) | (q & SIGN)
FP_ALL(fsgnj, E)
#undef E
#define E(f, bits) (p & (U)~SIGN) | (~q & SIGN)
FP_ALL(fsgnjn, E)
#undef E
#define E(f, bits) p ^ (q & SIGN)
FP_ALL(fsgnjx, E)
#undef E
#define E(f, bits) f##_class(FP, p)
FP_ALL(fclass, E)
#undef E
#define E(f, bits) f##_eq(FP, p, q)
FP_TEST(mfeq, E)
#undef E
#define E(f, bits) !f##_eq(FP, p, q)
FP_TEST(mfne, E)
#undef E
#define E(f, bits) f##_lt(FP, p, q)
FP_TEST(mflt, E)
#undef E
#define E(f, bits) f##_le(FP, p, q)
FP_TEST(mfle, E)
#undef E
#define E(f, bits) f##_lt(FP, q, p)
FP_TEST(mfgt, E)
#undef E
#define E(f, bits) f##_le(FP, q, p)
FP_TEST(mfge, E)
#undef E

/* ---- seven good bits of 1 / x and 1 / sqrt(x) (13.9, 13.10) ---- */
struct parts {
	uint64_t frac, top; /* top: the fraction's highest bit */
	int exp, exp_max;   /* biased; that of infinity */
	bool sign;
};
static struct parts take_apart(uint64_t v, const struct soft_format *f)
{
	struct parts p = {.top = 1ull << (f->frac - 1),
			  .exp_max = (1 << (f->width - 1 - f->frac)) - 1,
			  .sign = v >> (f->width - 1) & 1};
	p.frac = v & (2 * p.top - 1);
	p.exp = (int)(v >> f->frac) & p.exp_max;
	return p;
}
static uint64_t put_together(const struct parts *p, const struct soft_format *f)
{
	return (uint64_t)p->sign << (f->width - 1) | (uint64_t)p->exp << f->frac | p->frac;
}
static uint64_t special(struct parts p, const struct soft_format *f, int exp, uint64_t frac)
{
	p.exp = exp;
	p.frac = frac;
	return put_together(&p, f);
}
/* A subnormal's exponent goes below 1 until its leading one is the hidden bit. */
static void normalise(struct parts *p)
{
	if (p->exp) return;
	for (p->exp = 1; !(p->frac & 2 * p->top); p->exp--) p->frac <<= 1;
	p->frac &= 2 * p->top - 1;
}
/* The tables of 13.9 and 13.10 are these formulas: the reciprocal (square root) of the middle of
 * the interval that index names, rounded to 1.7 bits. */
static unsigned recip7(unsigned index) { return (131072 / (257 + 2 * index) + 1) / 2 - 128; }
static unsigned rsqrt7(unsigned index)
{
	unsigned v = index < 64 ? 2 * (129 + 2 * index) : 129 + 2 * (index - 64), r = 128;
	while ((2 * r + 1) * (2 * r + 1) * (uint64_t)v < 4ull * 256 * 256 * 128) r++; /* 1/128s */
	return r - 128;
}

static uint64_t frsqrt7(uint64_t v, const struct soft_format *f, uint8_t *flags)
{
	struct parts p = take_apart(v, f);
	bool nan = p.exp == p.exp_max && p.frac, zero = !p.exp && !p.frac;
	if (nan || (p.sign && !zero)) {
		if (!nan || !(p.frac & p.top)) *flags |= FF_NV;
		p.sign = false;
		return special(p, f, p.exp_max, p.top);
	}
	if (zero) {
		*flags |= FF_DZ;
		return special(p, f, p.exp_max, 0);
	}
	if (p.exp == p.exp_max) return 0;
	normalise(&p);
	unsigned index = (unsigned)(p.exp & 1) << 6 | (unsigned)(p.frac >> (f->frac - 6));
	int bias = p.exp_max / 2;
	return special(p, f, (3 * bias - 1 - p.exp) >> 1, (uint64_t)rsqrt7(index) << (f->frac - 7));
}

static uint64_t frec7(uint64_t v, const struct soft_format *f, unsigned rm, uint8_t *flags)
{
	struct parts p = take_apart(v, f);
	if (p.exp == p.exp_max && p.frac) {
		if (!(p.frac & p.top)) *flags |= FF_NV;
		p.sign = false;
		return special(p, f, p.exp_max, p.top);
	}
	if (p.exp == p.exp_max) return special(p, f, 0, 0);
	if (!p.exp && !p.frac) {
		*flags |= FF_DZ;
		return special(p, f, p.exp_max, 0);
	}
	normalise(&p);
	if (p.exp < -1) { /* too small: the result overflows */
		bool down = rm == RM_RTZ || rm == (p.sign ? RM_RUP : RM_RDN);
		*flags |= FF_OF | FF_NX;
		return special(p, f, p.exp_max - down, down ? 2 * p.top - 1 : 0);
	}
	unsigned index = (unsigned)(p.frac >> (f->frac - 7));
	uint64_t frac = (uint64_t)recip7(index) << (f->frac - 7);
	int exp = 2 * (p.exp_max / 2) - 1 - p.exp;
	if (exp > 0) return special(p, f, exp, frac);
	frac = (frac | 2 * p.top) >> 1; /* subnormal */
	return special(p, f, 0, exp < 0 ? frac >> 1 : frac);
}
#define E(f, bits) frsqrt7(p, &soft_##f, &FP->flags)
FP_ONE(frsqrt7, E)
#undef E
#define E(f, bits) frec7(p, &soft_##f, fp_rm(FP, RM_DYN), &FP->flags)
FP_ONE(frec7, E)
#undef E

/* ---- conversions (13.17 to 13.19) ---- */
/* To integers narrower than fp.h has. */
#define TO_INT(f, width, rm)	    soft_to_int(&soft_##f, p, width, fp_rm(FP, rm), &FP->flags)
#define TO_UINT(f, width, rm)	    soft_to_uint(&soft_##f, p, width, fp_rm(FP, rm), &FP->flags)
#define SX(v)			    ((uint64_t)(int64_t)(S)(v))
#define FP_CVT(name, e16, e32, e64) FP_SAME(name, IDLE_ZERO, U, e16, e32, e64)
FP_CVT(fcvt_xu_f, TO_UINT(f16, 16, RM_DYN), f32_to_u32(FP, p, RM_DYN), f64_to_u64(FP, p, RM_DYN))
FP_CVT(fcvt_x_f, TO_INT(f16, 16, RM_DYN), f32_to_i32(FP, p, RM_DYN), f64_to_i64(FP, p, RM_DYN))
FP_CVT(fcvt_rtz_xu_f, TO_UINT(f16, 16, RM_RTZ), f32_to_u32(FP, p, RM_RTZ),
       f64_to_u64(FP, p, RM_RTZ))
FP_CVT(fcvt_rtz_x_f, TO_INT(f16, 16, RM_RTZ), f32_to_i32(FP, p, RM_RTZ), f64_to_i64(FP, p, RM_RTZ))
FP_CVT(fcvt_f_xu, f16_from_u32(FP, p, RM_DYN), f32_from_u32(FP, p, RM_DYN),
       f64_from_u64(FP, p, RM_DYN))
FP_CVT(fcvt_f_x, f16_from_i32(FP, SX(p), RM_DYN), f32_from_i32(FP, SX(p), RM_DYN),
       f64_from_i64(FP, SX(p), RM_DYN))

#define FP_WIDE(name, TD, TA, TZ, e8, e16, e32)                                                    \
	KERNEL(name##_8, 8, 16, 8, TD, TA, U, TZ, e8)                                              \
	KERNEL(name##_16, 16, 32, 4, TD, TA, U, TZ, e16)                                           \
	KERNEL(name##_32, 32, 64, 2, TD, TA, U, TZ, e32)                                           \
	EXPORT(name, IDLE_ZERO, name##_8, name##_16, name##_32, NULL)
#define FP_WIDEN(name, e16, e32) FP_WIDE2(name, W, U, W, e16, e32)
#define FP_WIDE2(name, TD, TA, TZ, e16, e32)                                                       \
	KERNEL(name##_16, 16, 32, 4, TD, TA, U, TZ, e16)                                           \
	KERNEL(name##_32, 32, 64, 2, TD, TA, U, TZ, e32)                                           \
	EXPORT(name, IDLE_ZERO, NULL, name##_16, name##_32, NULL)
#define FP_WIDEN3(name, e8, e16, e32) FP_WIDE(name, W, U, W, e8, e16, e32)
#define FP_NARROW(name, e8, e16, e32) FP_WIDE(name, U, W, U, e8, e16, e32)
FP_WIDEN(fwcvt_xu_f, f16_to_u32(FP, p, RM_DYN), f32_to_u64(FP, p, RM_DYN))
FP_WIDEN(fwcvt_x_f, f16_to_i32(FP, p, RM_DYN), f32_to_i64(FP, p, RM_DYN))
FP_WIDEN(fwcvt_rtz_xu_f, f16_to_u32(FP, p, RM_RTZ), f32_to_u64(FP, p, RM_RTZ))
FP_WIDEN(fwcvt_rtz_x_f, f16_to_i32(FP, p, RM_RTZ), f32_to_i64(FP, p, RM_RTZ))
FP_WIDEN(fwcvt_f_f, f16_to_f32(FP, p, RM_DYN), f32_to_f64(FP, p, RM_DYN))
FP_WIDEN3(fwcvt_f_xu, f16_from_u32(FP, p, RM_DYN), f32_from_u32(FP, p, RM_DYN),
	  f64_from_u32(FP, p, RM_DYN))
FP_WIDEN3(fwcvt_f_x, f16_from_i32(FP, SX(p), RM_DYN), f32_from_i32(FP, SX(p), RM_DYN),
	  f64_from_i32(FP, SX(p), RM_DYN))
FP_NARROW(fncvt_xu_f, TO_UINT(f16, 8, RM_DYN), TO_UINT(f32, 16, RM_DYN), f64_to_u32(FP, p, RM_DYN))
FP_NARROW(fncvt_x_f, TO_INT(f16, 8, RM_DYN), TO_INT(f32, 16, RM_DYN), f64_to_i32(FP, p, RM_DYN))
FP_NARROW(fncvt_rtz_xu_f, TO_UINT(f16, 8, RM_RTZ), TO_UINT(f32, 16, RM_RTZ),
	  f64_to_u32(FP, p, RM_RTZ))
FP_NARROW(fncvt_rtz_x_f, TO_INT(f16, 8, RM_RTZ), TO_INT(f32, 16, RM_RTZ), f64_to_i32(FP, p, RM_RTZ))
#define FP_NARROW2(name, e16, e32) FP_WIDE2(name, U, W, U, e16, e32)
FP_NARROW2(fncvt_f_xu, f16_from_u32(FP, p, RM_DYN), f32_from_u64(FP, p, RM_DYN))
FP_NARROW2(fncvt_f_x, f16_from_i32(FP, (uint64_t)(int64_t)(X)p, RM_DYN),
	   f32_from_i64(FP, (uint64_t)(int64_t)(X)p, RM_DYN))
FP_NARROW2(fncvt_f_f, f32_to_f16(FP, p, RM_DYN), f64_to_f32(FP, p, RM_DYN))

/* Round to odd: towards zero, and what was lost makes the last bit a one. */
static uint64_t to_odd(const struct soft_format *to, const struct soft_format *from, uint64_t v,
		       uint8_t *flags)
{
	uint8_t raised = 0;
	uint64_t r = soft_convert(to, from, v, RM_RTZ, &raised);
	*flags |= raised;
	return raised & FF_NX ? r | 1 : r;
}
FP_NARROW2(fncvt_rod_f_f, to_odd(&soft_f16, &soft_f32, p, &FP->flags),
	   to_odd(&soft_f32, &soft_f64, p, &FP->flags))

/* ---- widening arithmetic (13.3, 13.5, 13.7): exact operands, rounded once ---- */
#define W16(v)	  f16_to_f32(FP, v, RM_DYN)
#define W32(v)	  f32_to_f64(FP, v, RM_DYN)
#define MINUSW(v) ((v) ^ (W)1 << (2 * BITS - 1))
FP_WIDEN(fwadd, f32_add(FP, W16(p), W16(q), RM_DYN), f64_add(FP, W32(p), W32(q), RM_DYN))
FP_WIDEN(fwsub, f32_sub(FP, W16(p), W16(q), RM_DYN), f64_sub(FP, W32(p), W32(q), RM_DYN))
FP_WIDEN(fwmul, f32_mul(FP, W16(p), W16(q), RM_DYN), f64_mul(FP, W32(p), W32(q), RM_DYN))
FP_WIDE2(fwaddw, W, W, W, f32_add(FP, p, W16(q), RM_DYN), f64_add(FP, p, W32(q), RM_DYN))
FP_WIDE2(fwsubw, W, W, W, f32_sub(FP, p, W16(q), RM_DYN), f64_sub(FP, p, W32(q), RM_DYN))
FP_WIDEN(fwmacc, f32_fma(FP, W16(q), W16(p), z, RM_DYN), f64_fma(FP, W32(q), W32(p), z, RM_DYN))
FP_WIDEN(fwnmacc, f32_fma(FP, W16(MINUS(q)), W16(p), MINUSW(z), RM_DYN),
	 f64_fma(FP, W32(MINUS(q)), W32(p), MINUSW(z), RM_DYN))
FP_WIDEN(fwmsac, f32_fma(FP, W16(q), W16(p), MINUSW(z), RM_DYN),
	 f64_fma(FP, W32(q), W32(p), MINUSW(z), RM_DYN))
FP_WIDEN(fwnmsac, f32_fma(FP, W16(MINUS(q)), W16(p), z, RM_DYN),
	 f64_fma(FP, W32(MINUS(q)), W32(p), z, RM_DYN))

/* ---- reductions, all in order (14.3, 14.4) ---- */
#define FP_REDUCE(name, e16, e32, e64)                                                             \
	REDUCE(name##_16, 16, uint16_t, uint16_t, e16)                                             \
	REDUCE(name##_32, 32, uint32_t, uint32_t, e32)                                             \
	REDUCE(name##_64, 64, uint64_t, uint64_t, e64)                                             \
	EXPORT(name, IDLE_ANY, NULL, name##_16, name##_32, name##_64)
FP_REDUCE(fredsum, f16_add(FP, z, p, RM_DYN), f32_add(FP, z, p, RM_DYN), f64_add(FP, z, p, RM_DYN))
FP_REDUCE(fredmin, f16_min(FP, z, p), f32_min(FP, z, p), f64_min(FP, z, p))
FP_REDUCE(fredmax, f16_max(FP, z, p), f32_max(FP, z, p), f64_max(FP, z, p))
REDUCE(fwredsum_16, 32, uint32_t, uint16_t, f32_add(FP, z, W16(p), RM_DYN))
REDUCE(fwredsum_32, 64, uint64_t, uint32_t, f64_add(FP, z, W32(p), RM_DYN))
EXPORT(fwredsum, IDLE_ANY, NULL, fwredsum_16, fwredsum_32, NULL)
