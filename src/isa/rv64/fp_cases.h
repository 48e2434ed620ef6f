#ifndef ISA_RV64_FP_CASES_H
#define ISA_RV64_FP_CASES_H
#include "isa/rv64/fp.h"
/* For tests only: every function of fp.h as a table, with the instruction that it is the meaning
 * of, and operands that gather at the corners. */

/* types: result, then operands: d s h floating point, w W 32-bit and x X 64-bit integers, signed
 * and not. The first shape that is not NULL is the function. */
struct fp_op {
	const char *name, *types;
	uint32_t word; /* the instruction without its registers; rm is 0 where it is an operand */
	uint64_t (*f3)(struct rv64_fp *fp, uint64_t a, uint64_t b, uint64_t c, unsigned rm);
	uint64_t (*f2)(struct rv64_fp *fp, uint64_t a, uint64_t b, unsigned rm);
	uint64_t (*f1)(struct rv64_fp *fp, uint64_t a, unsigned rm);
	uint64_t (*n2)(struct rv64_fp *fp, uint64_t a, uint64_t b);
	uint64_t (*n1)(struct rv64_fp *fp, uint64_t a);
};

#define FP_WORD(funct5, fmt, rs2, rm)                                                              \
	((uint32_t)(funct5) << 27 | (uint32_t)(fmt) << 25 | (uint32_t)(rs2) << 20 |                \
	 (uint32_t)(rm) << 12 | 0x53)
#define FP_OPS_OF(f, c, fmt)                                                                       \
	{"fadd." c, c c c, FP_WORD(0, fmt, 0, 0), .f2 = f##_add},                                  \
		{"fsub." c, c c c, FP_WORD(1, fmt, 0, 0), .f2 = f##_sub},                          \
		{"fmul." c, c c c, FP_WORD(2, fmt, 0, 0), .f2 = f##_mul},                          \
		{"fdiv." c, c c c, FP_WORD(3, fmt, 0, 0), .f2 = f##_div},                          \
		{"fsqrt." c, c c, FP_WORD(11, fmt, 0, 0), .f1 = f##_sqrt},                         \
		{"fmadd." c, c c c c, (fmt) << 25 | 0x43, .f3 = f##_fma},                          \
		{"fmin." c, c c c, FP_WORD(5, fmt, 0, 0), .n2 = f##_min},                          \
		{"fmax." c, c c c, FP_WORD(5, fmt, 0, 1), .n2 = f##_max},                          \
		{"fminm." c, c c c, FP_WORD(5, fmt, 0, 2), .n2 = f##_minm},                        \
		{"fmaxm." c, c c c, FP_WORD(5, fmt, 0, 3), .n2 = f##_maxm},                        \
		{"fround." c, c c, FP_WORD(8, fmt, 4, 0), .f1 = f##_round},                        \
		{"froundnx." c, c c, FP_WORD(8, fmt, 5, 0), .f1 = f##_roundnx},                    \
		{"fle." c, "x" c c, FP_WORD(20, fmt, 0, 0), .n2 = f##_le},                         \
		{"flt." c, "x" c c, FP_WORD(20, fmt, 0, 1), .n2 = f##_lt},                         \
		{"feq." c, "x" c c, FP_WORD(20, fmt, 0, 2), .n2 = f##_eq},                         \
		{"fleq." c, "x" c c, FP_WORD(20, fmt, 0, 4), .n2 = f##_leq},                       \
		{"fltq." c, "x" c c, FP_WORD(20, fmt, 0, 5), .n2 = f##_ltq},                       \
		{"fclass." c, "x" c, FP_WORD(28, fmt, 0, 1), .n1 = f##_class},                     \
		{"fcvt.w." c, "w" c, FP_WORD(24, fmt, 0, 0), .f1 = f##_to_i32},                    \
		{"fcvt.wu." c, "W" c, FP_WORD(24, fmt, 1, 0), .f1 = f##_to_u32},                   \
		{"fcvt.l." c, "x" c, FP_WORD(24, fmt, 2, 0), .f1 = f##_to_i64},                    \
		{"fcvt.lu." c, "X" c, FP_WORD(24, fmt, 3, 0), .f1 = f##_to_u64},                   \
		{"fcvt." c ".w", c "w", FP_WORD(26, fmt, 0, 0), .f1 = f##_from_i32},               \
		{"fcvt." c ".wu", c "W", FP_WORD(26, fmt, 1, 0), .f1 = f##_from_u32},              \
		{"fcvt." c ".l", c "x", FP_WORD(26, fmt, 2, 0), .f1 = f##_from_i64},               \
		{"fcvt." c ".lu", c "X", FP_WORD(26, fmt, 3, 0), .f1 = f##_from_u64},

static const struct fp_op fp_ops[] = {
	FP_OPS_OF(f64, "d", 1) FP_OPS_OF(f32, "s", 0)
		FP_OPS_OF(f16, "h", 2){"fcvt.s.d", "sd", FP_WORD(8, 0, 1, 0), .f1 = f64_to_f32},
	{"fcvt.d.s", "ds", FP_WORD(8, 1, 0, 0), .f1 = f32_to_f64},
	{"fcvt.h.d", "hd", FP_WORD(8, 2, 1, 0), .f1 = f64_to_f16},
	{"fcvt.d.h", "dh", FP_WORD(8, 1, 2, 0), .f1 = f16_to_f64},
	{"fcvt.h.s", "hs", FP_WORD(8, 2, 0, 0), .f1 = f32_to_f16},
	{"fcvt.s.h", "sh", FP_WORD(8, 0, 2, 0), .f1 = f16_to_f32},
	{"fcvtmod.w.d", "wd", FP_WORD(24, 1, 8, 1), .n1 = f64_cvtmod_w},
};

static inline bool fp_op_rounds(const struct fp_op *op) { return !op->n1 && !op->n2; }
static inline uint64_t fp_op_run(const struct fp_op *op, struct rv64_fp *fp, const uint64_t v[3],
				 unsigned rm)
{
	if (op->f3) return op->f3(fp, v[0], v[1], v[2], rm);
	if (op->f2) return op->f2(fp, v[0], v[1], rm);
	if (op->f1) return op->f1(fp, v[0], rm);
	return op->n2 ? op->n2(fp, v[0], v[1]) : op->n1(fp, v[0]);
}
static inline const struct soft_format *fp_format(char type)
{
	return type == 'd' ? &soft_f64 : type == 's' ? &soft_f32 : type == 'h' ? &soft_f16 : NULL;
}

/* xorshift64; *s may not be 0. */
static inline uint64_t fp_rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}
static inline uint64_t fp_ones(uint64_t n) { return n ? ~0ull >> (64 - n) : 0; }

/* Exponents: subnormal, NaN, both ends, around 1, integers, around the last bit of 1. Fractions:
 * none, full, one bit, leading ones, trailing ones, quiet bit. */
static inline uint64_t fp_corner(const struct soft_format *f, uint64_t *s)
{
	unsigned ebits = f->width - 1u - f->frac;
	uint64_t bias = fp_ones(ebits - 1), frac = fp_rnd(s), exp = fp_rnd(s), sign = fp_rnd(s);
	switch (fp_rnd(s) % 8) {
	case 0: exp = 0; break;
	case 1: exp = fp_ones(ebits); break;
	case 2: exp = (exp & 1 ? fp_ones(ebits) : 3) - exp / 2 % 3; break;
	case 3: exp = bias + exp % 9 - 4; break;
	case 4: exp = bias + exp % 70; break;
	case 5: exp = bias - f->frac + exp % 3; break;
	}
	switch (fp_rnd(s) % 8) {
	case 0: frac = 0; break;
	case 1: frac = ~0ull; break;
	case 2: frac = 1ull << frac % f->frac; break;
	case 3: frac = ~0ull << frac % f->frac; break;
	case 4: frac = fp_ones(frac % f->frac); break;
	case 5: frac = 1ull << (f->frac - 1) | (frac & 1); break;
	}
	return (sign & 1) << (f->width - 1) | (exp & fp_ones(ebits)) << f->frac |
	       (frac & fp_ones(f->frac));
}
static inline uint64_t int_corner(uint64_t *s)
{
	static const uint64_t at[] = {0, 1ull << 31, 1ull << 32, 1ull << 53, 1ull << 63, 1 << 24};
	uint64_t r = fp_rnd(s), v = fp_rnd(s);
	switch (r % 4) {
	case 0: return at[v % COUNT(at)] + (v >> 32) % 5 - 2;
	case 1: return -(at[v % COUNT(at)] + (v >> 32) % 5 - 2);
	case 2: return v >> (r >> 8) % 64;
	}
	return v;
}
/* Operands for op; now and then two are equal, or opposite, or nearly so. */
static inline void fp_operands(uint64_t v[3], const struct fp_op *op, uint64_t *s)
{
	size_t n = strlen(op->types) - 1;
	for (size_t i = 0; i < 3; i++) {
		const struct soft_format *f = i < n ? fp_format(op->types[1 + i]) : NULL;
		uint64_t r = fp_rnd(s);
		v[i] = f ? fp_corner(f, s) : int_corner(s);
		if (f && i && r % 4 == 0)
			v[i] = v[i - 1] ^ (r >> 8 & 1) << (f->width - 1) ^ (r >> 9 & 1);
	}
}
#endif
