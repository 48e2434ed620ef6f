/* Kernels of integer and fixed-point vector instructions (V specification, 11, 12, 14; Zvbb). */
#include "engine/rv64_vkernel.h"

#define SAME_(name, idle, TD, TZ, ...)                                                             \
	KERNEL(name##_8, 8, 16, 16, TD, U, U, TZ, __VA_ARGS__)                                     \
	KERNEL(name##_16, 16, 32, 8, TD, U, U, TZ, __VA_ARGS__)                                    \
	KERNEL(name##_32, 32, 64, 4, TD, U, U, TZ, __VA_ARGS__)                                    \
	KERNEL(name##_64, 64, 128, 2, TD, U, U, TZ, __VA_ARGS__)                                   \
	EXPORT(name, idle, name##_8, name##_16, name##_32, name##_64)
#define WIDE_(name, idle, TD, TA, TZ, ...)                                                         \
	KERNEL(name##_8, 8, 16, 8, TD, TA, U, TZ, __VA_ARGS__)                                     \
	KERNEL(name##_16, 16, 32, 4, TD, TA, U, TZ, __VA_ARGS__)                                   \
	KERNEL(name##_32, 32, 64, 2, TD, TA, U, TZ, __VA_ARGS__)                                   \
	EXPORT(name, idle, name##_8, name##_16, name##_32, NULL)
#define SAME(name, ...)		SAME_(name, IDLE_ANY, U, U, __VA_ARGS__)
#define CARRY(name, ...)	SAME_(name, IDLE_ANY, U, uint8_t, __VA_ARGS__)
#define FIXED(name, ...)	SAME_(name, IDLE_ZERO, U, U, __VA_ARGS__)
#define TEST_(name, ...)	SAME_(name, IDLE_ANY, uint8_t, uint8_t, __VA_ARGS__)
#define WIDEN(name, ...)	WIDE_(name, IDLE_ANY, W, U, W, __VA_ARGS__)
#define WIDEW(name, ...)	WIDE_(name, IDLE_ANY, W, W, W, __VA_ARGS__)
#define NARROW(name, idle, ...) WIDE_(name, idle, U, W, U, __VA_ARGS__)

#define AMOUNT			(q & (BITS - 1))
#define SIGNED(v)		((X)(S)(v))

/* ---- single width (11.1, 11.4 to 11.6, 11.9 to 11.16) ---- */
SAME(add, p + q)
SAME(sub, p - q)
SAME(rsub, q - p)
SAME(minu, p < q ? p : q)
SAME(min, (S)p < (S)q ? p : q)
SAME(maxu, p > q ? p : q)
SAME(max, (S)p > (S)q ? p : q)
SAME(and, p &q)
SAME(or, p | q)
SAME(xor, p ^ q)
SAME(sll, p << AMOUNT)
SAME(srl, p >> AMOUNT)
SAME(sra, (S)p >> AMOUNT)
SAME(mul, 1u * p * q)
SAME(mulh, SIGNED(p) * SIGNED(q) >> BITS)
SAME(mulhu, (W)p *(W)q >> BITS)
SAME(mulhsu, (X)(S)p *(X)(W)q >> BITS)
SAME(divu, q ? p / q : ~(U)0)
SAME(div, (U)(q + 1u) > 1 ? (U)((S)p / (S)q) : q ? (U)(0u - p) : ~(U)0)
SAME(remu, q ? p % q : p)
SAME(rem, (U)(q + 1u) > 1 ? (U)((S)p % (S)q) : q ? (U)0 : p)
SAME(macc, z + 1u * p * q)
SAME(nmsac, z - 1u * p * q)
SAME(madd, p + 1u * z * q)
SAME(nmsub, p - 1u * z * q)
CARRY(adc, p + q + z)
CARRY(sbc, p - q - z)
CARRY(merge, z ? q : p)
SAME(mv, q)
EXPORT(fmerge, IDLE_ANY, NULL, merge_16, merge_32, merge_64)
EXPORT(fmv, IDLE_ANY, NULL, mv_16, mv_32, mv_64)

static inline uint64_t extend(int64_t v) { return (uint64_t)v; }

/* ---- widening and narrowing (11.2, 11.3, 11.7, 11.12, 11.14) ---- */
WIDEN(waddu, (W)p + (W)q)
WIDEN(wadd, SIGNED(p) + SIGNED(q))
WIDEN(wsubu, (W)p - (W)q)
WIDEN(wsub, SIGNED(p) - SIGNED(q))
WIDEN(wmulu, 1u * (W)p * (W)q)
WIDEN(wmulsu, SIGNED(p) * (X)q)
WIDEN(wmul, SIGNED(p) * SIGNED(q))
WIDEW(wadduw, p + (W)q)
WIDEW(waddw, p + (W)extend((S)q))
WIDEW(wsubuw, p - (W)q)
WIDEW(wsubw, p - (W)extend((S)q))
WIDEN(wmaccu, z + 1u * (W)p * (W)q)
WIDEN(wmacc, z + (W)(SIGNED(p) * SIGNED(q)))
WIDEN(wmaccus, z + (W)(SIGNED(p) * (X)q))
WIDEN(wmaccsu, z + (W)((X)p * SIGNED(q)))
NARROW(nsrl, IDLE_ANY, p >> (q & (2 * BITS - 1)))
NARROW(nsra, IDLE_ANY, (X)p >> (q & (2 * BITS - 1)))

#define EXTEND(name, bits, from, B, T) KERNEL(name##_##bits, bits, 64, B, U, T, U, U, p)
EXTEND(zext2, 16, 8, 8, uint8_t)
EXTEND(zext2, 32, 16, 4, uint16_t)
EXTEND(zext2, 64, 32, 2, uint32_t)
EXTEND(sext2, 16, 8, 8, int8_t)
EXTEND(sext2, 32, 16, 4, int16_t)
EXTEND(sext2, 64, 32, 2, int32_t)
EXTEND(zext4, 32, 8, 4, uint8_t)
EXTEND(zext4, 64, 16, 2, uint16_t)
EXTEND(sext4, 32, 8, 4, int8_t)
EXTEND(sext4, 64, 16, 2, int16_t)
EXTEND(zext8, 64, 8, 2, uint8_t)
EXTEND(sext8, 64, 8, 2, int8_t)
EXPORT(zext2, IDLE_ANY, NULL, zext2_16, zext2_32, zext2_64)
EXPORT(sext2, IDLE_ANY, NULL, sext2_16, sext2_32, sext2_64)
EXPORT(zext4, IDLE_ANY, NULL, NULL, zext4_32, zext4_64)
EXPORT(sext4, IDLE_ANY, NULL, NULL, sext4_32, sext4_64)
EXPORT(zext8, IDLE_ANY, NULL, NULL, NULL, zext8_64)
EXPORT(sext8, IDLE_ANY, NULL, NULL, NULL, sext8_64)

/* ---- results that are masks (11.4, 11.8) ---- */
TEST_(seq, p == q)
TEST_(sne, p != q)
TEST_(sltu, p < q)
TEST_(slt, (S)p < (S)q)
TEST_(sleu, p <= q)
TEST_(sle, (S)p <= (S)q)
TEST_(sgtu, p > q)
TEST_(sgt, (S)p > (S)q)
TEST_(madc, z ? (U)(p + q + 1u) <= p : (U)(p + q) < p)
TEST_(msbc, z ? p <= q : p < q)

/* ---- fixed point (12) ---- */
#define MAX    ((U)((U) ~(U)0 >> 1))
#define MIN    ((U)(MAX + 1u))
#define TOP(v) ((unsigned)((U)(v) >> (BITS - 1)))
/* The bit to add to v >> by for the rounding mode (3.8): nearest up, nearest even, down, odd. */
static inline unsigned round_up(uint64_t v, unsigned by, unsigned rm)
{
	if (!by) return 0;
	bool half = v >> (by - 1) & 1, odd = by < 64 && v >> by & 1;
	uint64_t rest = v & ((1ull << (by - 1)) - 1);
	switch (rm) {
	case 0: return half;
	case 1: return half && (rest || odd);
	case 2: return 0;
	default: return !odd && (half || rest);
	}
}
#define ROUND(T, v, by) (T)((T)(v) >> (by)) + (T)round_up((uint64_t)(v), by, rm)
/* v, or its replacement when it does not fit */
#define SATURATE(bad, v, instead) ((bad) ? (sat |= 1, (U)(instead)) : (U)(v))
FIXED(saddu, SATURATE((U)(p + q) < p, p + q, ~(U)0))
FIXED(sadd, SATURATE(TOP((p ^ (p + q)) & (q ^ (p + q))), p + q, TOP(p) ? MIN : MAX))
FIXED(ssubu, SATURATE(p < q, p - q, 0))
FIXED(ssub, SATURATE(TOP((p ^ q) & (p ^ (p - q))), p - q, TOP(p) ? MIN : MAX))
SAME(aaddu, ROUND(W, (W)p + (W)q, 1))
SAME(aadd, ROUND(X, SIGNED(p) + SIGNED(q), 1))
SAME(asubu, ROUND(X, (X)(W)p - (X)(W)q, 1))
SAME(asub, ROUND(X, SIGNED(p) - SIGNED(q), 1))
FIXED(smul, SATURATE(p == MIN && q == MIN, ROUND(X, SIGNED(p) * SIGNED(q), BITS - 1), MAX))
SAME(ssrl, ROUND(U, p, AMOUNT))
SAME(ssra, ROUND(S, p, AMOUNT))
#define BY	(unsigned)(q & (2 * BITS - 1))
#define FITS(v) ((X)(S)(v) == (v))
NARROW(nclipu, IDLE_ZERO, SATURATE((W)(ROUND(W, p, BY)) >> BITS, ROUND(W, p, BY), ~(U)0))
NARROW(nclip, IDLE_ZERO,
       SATURATE(!FITS((X)(ROUND(X, p, BY))), ROUND(X, p, BY), (X)p < 0 ? MIN : MAX))

/* ---- Zvbb, Zvkb ---- */
static inline uint64_t reverse_bits(uint64_t v)
{
	v = (v >> 1 & 0x5555555555555555) | (v & 0x5555555555555555) << 1;
	v = (v >> 2 & 0x3333333333333333) | (v & 0x3333333333333333) << 2;
	return (v >> 4 & 0x0f0f0f0f0f0f0f0f) | (v & 0x0f0f0f0f0f0f0f0f) << 4;
}
#define SWAP(v) (__builtin_bswap64(v) >> (64 - BITS))
SAME(andn, p & ~q)
SAME(rol, p << AMOUNT | p >> (-(unsigned)q & (BITS - 1)))
SAME(ror, p >> AMOUNT | p << (-(unsigned)q & (BITS - 1)))
WIDEN(wsll, (W)((W)p << (q & (2 * BITS - 1))))
SAME(brev8, reverse_bits(p))
SAME(rev8, SWAP((uint64_t)p))
SAME(brev, SWAP(reverse_bits(p)))
SAME(clz, p ? __builtin_clzll(p) - (64 - BITS) : BITS)
SAME(ctz, p ? __builtin_ctzll(p) : BITS)
SAME(cpop, __builtin_popcountll(p))

/* ---- reductions (14) ---- */
#define REDUCE4(name, I, ...)                                                                      \
	REDUCE(name##_8, 8, I##8_t, I##8_t, __VA_ARGS__)                                           \
	REDUCE(name##_16, 16, I##16_t, I##16_t, __VA_ARGS__)                                       \
	REDUCE(name##_32, 32, I##32_t, I##32_t, __VA_ARGS__)                                       \
	REDUCE(name##_64, 64, I##64_t, I##64_t, __VA_ARGS__)                                       \
	EXPORT(name, IDLE_ANY, name##_8, name##_16, name##_32, name##_64)
REDUCE4(redsum, uint, z + p)
REDUCE4(redand, uint, z &p)
REDUCE4(redor, uint, z | p)
REDUCE4(redxor, uint, z ^ p)
REDUCE4(redminu, uint, p < z ? p : z)
REDUCE4(redmin, int, p < z ? p : z)
REDUCE4(redmaxu, uint, p > z ? p : z)
REDUCE4(redmax, int, p > z ? p : z)
#define REDUCE3(name, I)                                                                           \
	REDUCE(name##_8, 16, uint16_t, I##8_t, z + p)                                              \
	REDUCE(name##_16, 32, uint32_t, I##16_t, z + p)                                            \
	REDUCE(name##_32, 64, uint64_t, I##32_t, z + p)                                            \
	EXPORT(name, IDLE_ANY, name##_8, name##_16, name##_32, NULL)
REDUCE3(wredsumu, uint)
REDUCE3(wredsum, int)
