/* Kernels of floating-point vector instructions (V specification, 13, 14.3, 14.4): the functions of
 * isa/rv64/fp.h, element by element, so that results and flags are those of scalar instructions. */
#include "engine/rv64_vkernel.h"

#define FP (&c->fp)
#define FP_KERNELS(name, TD, e16, e32, e64)                                                        \
	KERNEL(name##_16, 16, 32, 8, TD, U, U, U, e16)                                             \
	KERNEL(name##_32, 32, 64, 4, TD, U, U, U, e32)                                             \
	KERNEL(name##_64, 64, 128, 2, TD, U, U, U, e64)
#define FP_SAME(name, idle, TD, e16, e32, e64)                                                     \
	FP_KERNELS(name, TD, e16, e32, e64)                                                        \
	EXPORT(name, idle, NULL, name##_16, name##_32, name##_64)
/* Where the host's unit rounds as asked it does a block at once, on those operands of p, q and z
 * that the instruction's text names as %0, its result, %1 and %2. A block with a NaN in its result
 * is done again one by one, for the canonical NaN and for flags that the host has no name for. */
typedef float f32_block __attribute__((vector_size(16)));
typedef double f64_block __attribute__((vector_size(16)));
static inline bool has_nan_f32(f32_block v)
{
	int m;
	__asm__("cmpunordps %1, %1\n\tmovmskps %1, %0" : "=r"(m), "+x"(v));
	return m;
}
static inline bool has_nan_f64(f64_block v)
{
	int m;
	__asm__("cmpunordpd %1, %1\n\tmovmskpd %1, %0" : "=r"(m), "+x"(v));
	return m;
}
#define PACKED(name, bits, can, insn, to, first, second)                                           \
	static void name##_##bits##p(struct rv64_cpu *c, void *d, const void *a, const void *b,    \
				     const void *acc, unsigned n)                                  \
	{                                                                                          \
		if (!(FP->can >> RM_DYN & 1)) {                                                    \
			name##_##bits(c, d, a, b, acc, n);                                         \
			return;                                                                    \
		}                                                                                  \
		for (unsigned at = 0; at < n * (bits / 8); at += 16) {                             \
			f##bits##_block p, q, z;                                                   \
			char *to_ = (char *)d + at;                                                \
			const char *p_ = (const char *)a + at, *q_ = (const char *)b + at,         \
				   *z_ = (const char *)acc + at;                                   \
			memcpy(&p, p_, 16);                                                        \
			memcpy(&q, q_, 16);                                                        \
			memcpy(&z, z_, 16);                                                        \
			__asm__ volatile(insn : "+x"(to) : "x"(first), "x"(second));               \
			if (unlikely(has_nan_f##bits(to)))                                         \
				name##_##bits(c, to_, p_, q_, z_, 128 / bits);                     \
			else                                                                       \
				memcpy(to_, &to, 16);                                              \
		}                                                                                  \
	}
/* name = fn(...), on the host insn applied to operands as how says */
#define FP_ARITH(name, idle, fn, can, insn, how, to, first, second, ...)                           \
	FP_KERNELS(name, U, f16_##fn(FP, __VA_ARGS__, RM_DYN), f32_##fn(FP, __VA_ARGS__, RM_DYN),  \
		   f64_##fn(FP, __VA_ARGS__, RM_DYN))                                              \
	PACKED(name, 32, can, insn "s" how, to, first, second)                                     \
	PACKED(name, 64, can, insn "d" how, to, first, second)                                     \
	EXPORT(name, idle, NULL, name##_16, name##_32p, name##_64p)
#define ALONE " %0, %0"
#define WITH  " %1, %0"
#define FUSED " %2, %1, %0"

/* ---- arithmetic of one width (13.2 to 13.6, 13.8) ---- */
#define MINUS(v) ((v) ^ (U)1 << (BITS - 1))
FP_ARITH(fadd, IDLE_ZERO, add, host, "addp", WITH, p, q, z, p, q)
FP_ARITH(fsub, IDLE_ZERO, sub, host, "subp", WITH, p, q, z, p, q)
FP_ARITH(frsub, IDLE_ZERO, sub, host, "subp", WITH, q, p, z, q, p)
FP_ARITH(fmul, IDLE_ZERO, mul, host, "mulp", WITH, p, q, z, p, q)
FP_ARITH(fdiv, IDLE_ONE, div, host, "divp", WITH, p, q, z, p, q)
FP_ARITH(frdiv, IDLE_ONE, div, host, "divp", WITH, q, p, z, q, p)
FP_ARITH(fsqrt, IDLE_ZERO, sqrt, host, "sqrtp", ALONE, p, q, z, p)
#define FP_FMA(name, insn, to, first, second, ...)                                                 \
	FP_ARITH(name, IDLE_ZERO, fma, host_fma, insn, FUSED, to, first, second, __VA_ARGS__)
FP_FMA(fmacc, "vfmadd231p", z, q, p, q, p, z)
FP_FMA(fnmacc, "vfnmsub231p", z, q, p, MINUS(q), p, MINUS(z))
FP_FMA(fmsac, "vfmsub231p", z, q, p, q, p, MINUS(z))
FP_FMA(fnmsac, "vfnmadd231p", z, q, p, MINUS(q), p, z)
FP_FMA(fmadd, "vfmadd231p", p, q, z, q, z, p)
FP_FMA(fnmadd, "vfnmsub231p", p, q, z, MINUS(q), z, MINUS(p))
FP_FMA(fmsub, "vfmsub231p", p, q, z, q, z, MINUS(p))
FP_FMA(fnmsub, "vfnmadd231p", p, q, z, MINUS(q), z, p)

/* ---- comparisons, signs, classes (13.11 to 13.14) ---- */
#define FP_ALL(name, fn, ...)                                                                      \
	FP_SAME(name, IDLE_ZERO, U, f16_##fn(FP, __VA_ARGS__), f32_##fn(FP, __VA_ARGS__),          \
		f64_##fn(FP, __VA_ARGS__))
#define FP_TEST(name, is, fn, ...)                                                                 \
	FP_SAME(name, IDLE_ZERO, uint8_t, is f16_##fn(FP, __VA_ARGS__),                            \
		is f32_##fn(FP, __VA_ARGS__), is f64_##fn(FP, __VA_ARGS__))
#define FP_BITS(name, ...) FP_SAME(name, IDLE_ZERO, U, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__)
#define SIGN		   ((U)((U)1 << (BITS - 1)))
FP_ALL(fmin, min, p, q)
FP_ALL(fmax, max, p, q)
FP_ALL(fclass, class, p)
FP_TEST(mfeq, , eq, p, q)
FP_TEST(mfne, !, eq, p, q)
FP_TEST(mflt, , lt, p, q)
FP_TEST(mfle, , le, p, q)
FP_TEST(mfgt, , lt, q, p)
FP_TEST(mfge, , le, q, p)
FP_BITS(fsgnj, (p & (U)~SIGN) | (q & SIGN))
FP_BITS(fsgnjn, (p & (U)~SIGN) | (~q & SIGN))
FP_BITS(fsgnjx, p ^ (q & SIGN))

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
#define RSQRT7(f) frsqrt7(p, &soft_##f, &FP->flags)
#define REC7(f)	  frec7(p, &soft_##f, fp_rm(FP, RM_DYN), &FP->flags)
FP_SAME(frsqrt7, IDLE_ONE, U, RSQRT7(f16), RSQRT7(f32), RSQRT7(f64))
FP_SAME(frec7, IDLE_ONE, U, REC7(f16), REC7(f32), REC7(f64))

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
