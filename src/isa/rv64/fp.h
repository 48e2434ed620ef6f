#ifndef ISA_RV64_FP_H
#define ISA_RV64_FP_H
#include "base/types.h"
#include "isa/rv64/softfp.h"
#include <stdbool.h>
#include <stdint.h>
/* RISC-V floating point on the host's SSE unit. Between fp_enter and fp_leave the thread's
 * MXCSR belongs to the guest: exceptions masked, rounding as frm says, and its sticky bits are
 * the part of fflags that memory does not hold yet. So an add is one addsd and a NaN check.
 * What the unit cannot do exactly (another static rounding mode, RMM, f16) goes to softfp,
 * and so does everything outside fp_enter. Meanwhile the thread must run no floating point of
 * its own. All zeroes is a valid struct rv64_fp: no flags, round to nearest, not entered.
 *
 * Values are raw bits, unboxed: f32 in the low 32, f16 in the low 16; results have zeroes
 * above, NaN results are canonical. rm is the instruction's field: 0..4, or 7 for frm; the
 * caller has trapped on 5, 6 and on 7 with frm > 4. Integer operands are read from the low
 * 32 or all 64 bits; integer results are sign-extended to 64 bits. */
struct rv64_fp {
	uint8_t flags;	  /* fflags, without what MXCSR still holds: use fp_flags_get */
	uint8_t frm;	  /* fcsr.frm as written, 0..7: change by fp_frm_set */
	uint8_t host;	  /* bit rm: the host's unit rounds that way now */
	uint8_t host_fma; /* the same for fused multiply-add */
	bool entered;
	uint32_t mxcsr; /* the host's own, while entered */
};
void fp_enter(struct rv64_fp *fp); /* this thread begins to run guest code; may not nest */
void fp_leave(struct rv64_fp *fp); /* flags to memory, the host's MXCSR back */
void fp_frm_set(struct rv64_fp *fp, unsigned frm);
uint8_t fp_flags_get(struct rv64_fp *fp);
void fp_flags_set(struct rv64_fp *fp, unsigned flags);

/* Zfa's fli.h/s/d: index is the rs1 field. */
extern const uint16_t fp_fli_f16[32];
extern const uint32_t fp_fli_f32[32];
extern const uint64_t fp_fli_f64[32];

#define F16_NAN 0x7e00u
#define F32_NAN 0x7fc00000u
#define F64_NAN 0x7ff8000000000000ull

static inline bool fp_host(const struct rv64_fp *fp, unsigned rm) { return fp->host >> rm & 1; }
static inline unsigned fp_rm(const struct rv64_fp *fp, unsigned rm)
{
	return rm == RM_DYN ? fp->frm : rm;
}

/* In and out of SSE registers. A result is never a signalling NaN, so this compare is silent. */
static inline double f64_reg(uint64_t a)
{
	double r;
	memcpy(&r, &a, sizeof(r));
	return r;
}
static inline float f32_reg(uint64_t a)
{
	float r;
	memcpy(&r, &a, sizeof(r));
	return r;
}
static inline uint64_t f64_result(double r)
{
	uint64_t v;
	memcpy(&v, &r, sizeof(v));
	if (likely(!(r != r))) return v;
	__asm__ volatile(""); /* a branch, not a conditional move on the critical path */
	return F64_NAN;
}
static inline uint64_t f32_result(float r)
{
	uint32_t v;
	memcpy(&v, &r, sizeof(v));
	if (likely(!(r != r))) return v;
	__asm__ volatile("");
	return F32_NAN;
}

/* Every operation that reads or writes MXCSR is a volatile asm: compilers keep those in order
 * with each other, do not fold them, and do not drop one whose result nobody wants. */
#define FP_HOST2(f, T, name, insn)                                                                 \
	static inline uint64_t f##_##name(struct rv64_fp *fp, uint64_t a, uint64_t b, unsigned rm) \
	{                                                                                          \
		if (unlikely(!fp_host(fp, rm)))                                                    \
			return soft_##name(&soft_##f, a, b, fp_rm(fp, rm), &fp->flags);            \
		T x = f##_reg(a), y = f##_reg(b);                                                  \
		__asm__ volatile(insn " %1, %0" : "+x"(x) : "x"(y));                               \
		return f##_result(x);                                                              \
	}
FP_HOST2(f64, double, add, "addsd")
FP_HOST2(f64, double, sub, "subsd")
FP_HOST2(f64, double, mul, "mulsd")
FP_HOST2(f64, double, div, "divsd")
FP_HOST2(f32, float, add, "addss")
FP_HOST2(f32, float, sub, "subss")
FP_HOST2(f32, float, mul, "mulss")
FP_HOST2(f32, float, div, "divss")

#define FP_HOST_SQRT(f, T, insn)                                                                   \
	static inline uint64_t f##_sqrt(struct rv64_fp *fp, uint64_t a, unsigned rm)               \
	{                                                                                          \
		if (unlikely(!fp_host(fp, rm)))                                                    \
			return soft_sqrt(&soft_##f, a, fp_rm(fp, rm), &fp->flags);                 \
		T x = f##_reg(a);                                                                  \
		__asm__ volatile(insn " %0, %0" : "+x"(x));                                        \
		return f##_result(x);                                                              \
	}
FP_HOST_SQRT(f64, double, "sqrtsd")
FP_HOST_SQRT(f32, float, "sqrtss")

/* a * b + c. RISC-V calls infinity times zero invalid even when c is a quiet NaN; hosts differ,
 * so a NaN result is worked out again. */
#define FP_HOST_FMA(f, T, insn)                                                                    \
	static inline uint64_t f##_fma(struct rv64_fp *fp, uint64_t a, uint64_t b, uint64_t c,     \
				       unsigned rm)                                                \
	{                                                                                          \
		if (unlikely(!(fp->host_fma >> rm & 1)))                                           \
			return soft_fma(&soft_##f, a, b, c, fp_rm(fp, rm), &fp->flags);            \
		T x = f##_reg(a), y = f##_reg(b), z = f##_reg(c);                                  \
		__asm__ volatile(insn " %2, %1, %0" : "+x"(z) : "x"(x), "x"(y));                   \
		if (unlikely(z != z)) return soft_fma(&soft_##f, a, b, c, RM_RNE, &fp->flags);     \
		return f##_result(z);                                                              \
	}
FP_HOST_FMA(f64, double, "vfmadd231sd")
FP_HOST_FMA(f32, float, "vfmadd231ss")

/* ucomis sets NV for signalling NaNs, comis for all. "Above" is false when unordered; equal
 * needs the parity flag looked at too. */
#define FP_HOST_EQ(f, T, insn)                                                                     \
	static inline uint64_t f##_eq(struct rv64_fp *fp, uint64_t a, uint64_t b)                  \
	{                                                                                          \
		if (unlikely(!fp->entered)) return soft_eq(&soft_##f, a, b, &fp->flags);           \
		T x = f##_reg(a), y = f##_reg(b);                                                  \
		uint8_t e, p;                                                                      \
		__asm__ volatile(insn " %3, %2\n\tsete %0\n\tsetnp %1"                             \
				 : "=&q"(e), "=&q"(p)                                              \
				 : "x"(x), "x"(y)                                                  \
				 : "cc");                                                          \
		return e & p;                                                                      \
	}
FP_HOST_EQ(f64, double, "ucomisd")
FP_HOST_EQ(f32, float, "ucomiss")

#define FP_HOST_ORDER(f, T, name, soft, quiet, insn, set)                                          \
	static inline uint64_t f##_##name(struct rv64_fp *fp, uint64_t a, uint64_t b)              \
	{                                                                                          \
		if (unlikely(!fp->entered)) return soft(&soft_##f, a, b, quiet, &fp->flags);       \
		T x = f##_reg(a), y = f##_reg(b);                                                  \
		uint8_t r;                                                                         \
		__asm__ volatile(insn " %1, %2\n\t" set " %0" : "=q"(r) : "x"(x), "x"(y) : "cc");  \
		return r;                                                                          \
	}
FP_HOST_ORDER(f64, double, lt, soft_lt, 0, "comisd", "seta")
FP_HOST_ORDER(f64, double, le, soft_le, 0, "comisd", "setae")
FP_HOST_ORDER(f64, double, ltq, soft_lt, 1, "ucomisd", "seta")
FP_HOST_ORDER(f64, double, leq, soft_le, 1, "ucomisd", "setae")
FP_HOST_ORDER(f32, float, lt, soft_lt, 0, "comiss", "seta")
FP_HOST_ORDER(f32, float, le, soft_le, 0, "comiss", "setae")
FP_HOST_ORDER(f32, float, ltq, soft_lt, 1, "ucomiss", "seta")
FP_HOST_ORDER(f32, float, leq, soft_le, 1, "ucomiss", "setae")

/* The unit's answer to what does not fit is the most negative integer, with NV alone as
 * RISC-V wants; only the value must be put right. Truncation has an instruction of its own. */
#define FP_HOST_TO_INT(f, T, width, cvt, cvtt)                                                     \
	static inline uint64_t f##_to_i##width(struct rv64_fp *fp, uint64_t a, unsigned rm)        \
	{                                                                                          \
		T x = f##_reg(a);                                                                  \
		int##width##_t r;                                                                  \
		if (rm == RM_RTZ && likely(fp->entered))                                           \
			__asm__ volatile(cvtt " %1, %0" : "=r"(r) : "x"(x));                       \
		else if (likely(fp_host(fp, rm)))                                                  \
			__asm__ volatile(cvt " %1, %0" : "=r"(r) : "x"(x));                        \
		else                                                                               \
			return soft_to_int(&soft_##f, a, width, fp_rm(fp, rm), &fp->flags);        \
		if (unlikely(r == INT##width##_MIN) && !(x < 0)) r = INT##width##_MAX;             \
		return (uint64_t)(int64_t)r;                                                       \
	}
FP_HOST_TO_INT(f64, double, 32, "cvtsd2si", "cvttsd2si")
FP_HOST_TO_INT(f64, double, 64, "cvtsd2si", "cvttsd2si")
FP_HOST_TO_INT(f32, float, 32, "cvtss2si", "cvttss2si")
FP_HOST_TO_INT(f32, float, 64, "cvtss2si", "cvttss2si")

/* Unsigned: below limit (as bits, so that negative ones are above it) no mode rounds out of
 * range, and the signed conversion serves. */
#define FP_HOST_TO_UINT(f, T, U, width, cast, limit, cvt, cvtt)                                    \
	static inline uint64_t f##_to_u##width(struct rv64_fp *fp, uint64_t a, unsigned rm)        \
	{                                                                                          \
		T x = f##_reg(a);                                                                  \
		int64_t r;                                                                         \
		bool fits = (U)a < (limit);                                                        \
		if (rm == RM_RTZ && likely(fits && fp->entered))                                   \
			__asm__ volatile(cvtt " %1, %0" : "=r"(r) : "x"(x));                       \
		else if (likely(fits && fp_host(fp, rm)))                                          \
			__asm__ volatile(cvt " %1, %0" : "=r"(r) : "x"(x));                        \
		else                                                                               \
			return soft_to_uint(&soft_##f, a, width, fp_rm(fp, rm), &fp->flags);       \
		return (uint64_t)(int64_t)(cast)r;                                                 \
	}
FP_HOST_TO_UINT(f64, double, uint64_t, 32, int32_t, 0x41efffffffe00000, "cvtsd2si", "cvttsd2si")
FP_HOST_TO_UINT(f64, double, uint64_t, 64, int64_t, 0x43e0000000000000, "cvtsd2si", "cvttsd2si")
FP_HOST_TO_UINT(f32, float, uint32_t, 32, int32_t, 0x4f7fffffu, "cvtss2si", "cvttss2si")
FP_HOST_TO_UINT(f32, float, uint32_t, 64, int64_t, 0x5f000000u, "cvtss2si", "cvttss2si")

#define FP_HOST_FROM(f, T, name, ctype, cond, soft, insn)                                          \
	static inline uint64_t f##_from_##name(struct rv64_fp *fp, uint64_t a, unsigned rm)        \
	{                                                                                          \
		if (unlikely(!fp_host(fp, rm) || !(cond)))                                         \
			return soft(&soft_##f, (ctype)a, fp_rm(fp, rm), &fp->flags);               \
		T r = 0;                                                                           \
		__asm__ volatile(insn " %1, %0" : "+x"(r) : "r"((int64_t)(ctype)a));               \
		return f##_result(r);                                                              \
	}
FP_HOST_FROM(f64, double, i32, int32_t, true, soft_from_int, "cvtsi2sdq")
FP_HOST_FROM(f64, double, i64, int64_t, true, soft_from_int, "cvtsi2sdq")
FP_HOST_FROM(f64, double, u32, uint32_t, true, soft_from_uint, "cvtsi2sdq")
FP_HOST_FROM(f64, double, u64, uint64_t, !(a >> 63), soft_from_uint, "cvtsi2sdq")
FP_HOST_FROM(f32, float, i32, int32_t, true, soft_from_int, "cvtsi2ssq")
FP_HOST_FROM(f32, float, i64, int64_t, true, soft_from_int, "cvtsi2ssq")
FP_HOST_FROM(f32, float, u32, uint32_t, true, soft_from_uint, "cvtsi2ssq")
FP_HOST_FROM(f32, float, u64, uint64_t, !(a >> 63), soft_from_uint, "cvtsi2ssq")

static inline uint64_t f64_to_f32(struct rv64_fp *fp, uint64_t a, unsigned rm)
{
	if (unlikely(!fp_host(fp, rm)))
		return soft_convert(&soft_f32, &soft_f64, a, fp_rm(fp, rm), &fp->flags);
	float r = 0;
	__asm__ volatile("cvtsd2ss %1, %0" : "+x"(r) : "x"(f64_reg(a)));
	return f32_result(r);
}
/* Exact whatever rm says; it is only an operand because the instruction has the field. */
static inline uint64_t f32_to_f64(struct rv64_fp *fp, uint64_t a, unsigned rm)
{
	(void)rm;
	if (unlikely(!fp->entered))
		return soft_convert(&soft_f64, &soft_f32, a, RM_RNE, &fp->flags);
	double r = 0;
	__asm__ volatile("cvtss2sd %1, %0" : "+x"(r) : "x"(f32_reg(a)));
	return f64_result(r);
}
#define FP_CONVERT(from, to)                                                                       \
	static inline uint64_t from##_to_##to(struct rv64_fp *fp, uint64_t a, unsigned rm)         \
	{                                                                                          \
		return soft_convert(&soft_##to, &soft_##from, a, fp_rm(fp, rm), &fp->flags);       \
	}
FP_CONVERT(f64, f16)
FP_CONVERT(f32, f16)
FP_CONVERT(f16, f32)
FP_CONVERT(f16, f64)

/* What is integer work anyway, in all three formats. */
#define FP_SOFT(f)                                                                                 \
	static inline uint64_t f##_min(struct rv64_fp *fp, uint64_t a, uint64_t b)                 \
	{                                                                                          \
		return soft_min(&soft_##f, a, b, 0, &fp->flags);                                   \
	}                                                                                          \
	static inline uint64_t f##_max(struct rv64_fp *fp, uint64_t a, uint64_t b)                 \
	{                                                                                          \
		return soft_max(&soft_##f, a, b, 0, &fp->flags);                                   \
	}                                                                                          \
	static inline uint64_t f##_minm(struct rv64_fp *fp, uint64_t a, uint64_t b)                \
	{                                                                                          \
		return soft_min(&soft_##f, a, b, 1, &fp->flags);                                   \
	}                                                                                          \
	static inline uint64_t f##_maxm(struct rv64_fp *fp, uint64_t a, uint64_t b)                \
	{                                                                                          \
		return soft_max(&soft_##f, a, b, 1, &fp->flags);                                   \
	}                                                                                          \
	static inline uint64_t f##_class(struct rv64_fp *fp, uint64_t a)                           \
	{                                                                                          \
		(void)fp;                                                                          \
		return soft_class(&soft_##f, a);                                                   \
	}                                                                                          \
	static inline uint64_t f##_round(struct rv64_fp *fp, uint64_t a, unsigned rm)              \
	{                                                                                          \
		return soft_round(&soft_##f, a, fp_rm(fp, rm), 0, &fp->flags);                     \
	}                                                                                          \
	static inline uint64_t f##_roundnx(struct rv64_fp *fp, uint64_t a, unsigned rm)            \
	{                                                                                          \
		return soft_round(&soft_##f, a, fp_rm(fp, rm), 1, &fp->flags);                     \
	}
FP_SOFT(f64)
FP_SOFT(f32)
FP_SOFT(f16)
static inline uint64_t f64_cvtmod_w(struct rv64_fp *fp, uint64_t a)
{
	return soft_to_mod32(&soft_f64, a, &fp->flags);
}

/* f16 is rare enough that hosts' units are not worth a second way. */
#define F16_2(name)                                                                                \
	static inline uint64_t f16_##name(struct rv64_fp *fp, uint64_t a, uint64_t b, unsigned rm) \
	{                                                                                          \
		return soft_##name(&soft_f16, a, b, fp_rm(fp, rm), &fp->flags);                    \
	}
F16_2(add)
F16_2(sub)
F16_2(mul)
F16_2(div)
#define F16_TO(name, soft, width)                                                                  \
	static inline uint64_t f16_to_##name(struct rv64_fp *fp, uint64_t a, unsigned rm)          \
	{                                                                                          \
		return soft(&soft_f16, a, width, fp_rm(fp, rm), &fp->flags);                       \
	}
F16_TO(i32, soft_to_int, 32)
F16_TO(u32, soft_to_uint, 32)
F16_TO(i64, soft_to_int, 64)
F16_TO(u64, soft_to_uint, 64)
#define F16_FROM(name, soft, ctype)                                                                \
	static inline uint64_t f16_from_##name(struct rv64_fp *fp, uint64_t a, unsigned rm)        \
	{                                                                                          \
		return soft(&soft_f16, (ctype)a, fp_rm(fp, rm), &fp->flags);                       \
	}
F16_FROM(i32, soft_from_int, int32_t)
F16_FROM(i64, soft_from_int, int64_t)
F16_FROM(u32, soft_from_uint, uint32_t)
F16_FROM(u64, soft_from_uint, uint64_t)
static inline uint64_t f16_sqrt(struct rv64_fp *fp, uint64_t a, unsigned rm)
{
	return soft_sqrt(&soft_f16, a, fp_rm(fp, rm), &fp->flags);
}
static inline uint64_t f16_fma(struct rv64_fp *fp, uint64_t a, uint64_t b, uint64_t c, unsigned rm)
{
	return soft_fma(&soft_f16, a, b, c, fp_rm(fp, rm), &fp->flags);
}
static inline uint64_t f16_eq(struct rv64_fp *fp, uint64_t a, uint64_t b)
{
	return soft_eq(&soft_f16, a, b, &fp->flags);
}
#define F16_ORDER(name, soft, quiet)                                                               \
	static inline uint64_t f16_##name(struct rv64_fp *fp, uint64_t a, uint64_t b)              \
	{                                                                                          \
		return soft(&soft_f16, a, b, quiet, &fp->flags);                                   \
	}
F16_ORDER(lt, soft_lt, 0)
F16_ORDER(le, soft_le, 0)
F16_ORDER(ltq, soft_lt, 1)
F16_ORDER(leq, soft_le, 1)
#endif
