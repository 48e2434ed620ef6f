#ifndef ISA_RV64_SOFTFP_H
#define ISA_RV64_SOFTFP_H
#include <stdint.h>
/* IEEE 754 arithmetic as RISC-V defines it, in integers alone: every format, every rounding
 * mode, no host state. Values are raw bits in the low end of a uint64_t; higher bits of an
 * operand are ignored, those of a floating-point result are 0. Flags are or-ed into *flags. */
enum { FF_NX = 1, FF_UF = 2, FF_OF = 4, FF_DZ = 8, FF_NV = 16 }; /* fflags, unpriv. spec F.1 */
enum { RM_RNE, RM_RTZ, RM_RDN, RM_RUP, RM_RMM, RM_DYN = 7 };	 /* rm is never RM_DYN here */

struct soft_format {
	uint8_t width, frac; /* bits in all, bits of fraction */
};
extern const struct soft_format soft_f16, soft_f32, soft_f64;
#define SOFT const struct soft_format *f

uint64_t soft_add(SOFT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags);
uint64_t soft_sub(SOFT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags);
uint64_t soft_mul(SOFT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags);
uint64_t soft_div(SOFT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags);
uint64_t soft_sqrt(SOFT, uint64_t a, unsigned rm, uint8_t *flags);
/* a * b + c, rounded once. */
uint64_t soft_fma(SOFT, uint64_t a, uint64_t b, uint64_t c, unsigned rm, uint8_t *flags);
/* To an integral value in the same format; with report, FF_NX when that changes it. */
uint64_t soft_round(SOFT, uint64_t a, unsigned rm, int report, uint8_t *flags);
uint64_t soft_convert(const struct soft_format *to, SOFT, uint64_t a, unsigned rm, uint8_t *flags);

/* width 32 or 64. Out of range: the nearest end and FF_NV alone; NaN counts as too large. A
 * 32-bit result is sign-extended, the unsigned one too. */
uint64_t soft_to_int(SOFT, uint64_t a, unsigned width, unsigned rm, uint8_t *flags);
uint64_t soft_to_uint(SOFT, uint64_t a, unsigned width, unsigned rm, uint8_t *flags);
uint64_t soft_from_int(SOFT, int64_t v, unsigned rm, uint8_t *flags);
uint64_t soft_from_uint(SOFT, uint64_t v, unsigned rm, uint8_t *flags);
/* fcvtmod.w.d: truncated, modulo 2^32, flags as soft_to_int(f, a, 32, RM_RTZ). */
uint64_t soft_to_mod32(SOFT, uint64_t a, uint8_t *flags);

/* 0 or 1; quiet: only a signalling NaN sets FF_NV. */
uint64_t soft_eq(SOFT, uint64_t a, uint64_t b, uint8_t *flags);
uint64_t soft_lt(SOFT, uint64_t a, uint64_t b, int quiet, uint8_t *flags);
uint64_t soft_le(SOFT, uint64_t a, uint64_t b, int quiet, uint8_t *flags);
/* IEEE 754-2019 minimumNumber and maximumNumber; with nan, minimum and maximum. */
uint64_t soft_min(SOFT, uint64_t a, uint64_t b, int nan, uint8_t *flags);
uint64_t soft_max(SOFT, uint64_t a, uint64_t b, int nan, uint8_t *flags);
/* fclass's ten bits. */
uint64_t soft_class(SOFT, uint64_t a);
#undef SOFT
#endif
