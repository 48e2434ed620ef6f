/* Floating point in integers, for what the host's unit cannot do and to check what it can.
 * One idea: a finite number is sign, exponent and a 128-bit significand that is exact (or has
 * its lowest bit set for "and a bit more"), so that every operation is done once for all
 * formats and round_pack() alone knows about rounding, underflow and overflow. */
#include "isa/rv64/softfp.h"
#include "base/types.h"
#include <stdbool.h>

typedef unsigned __int128 u128;
enum { TOP = 126 }; /* the leading one of a normalised significand */
enum kind { ZERO, FINITE, INF, QNAN, SNAN };
struct num {
	enum kind kind;
	bool sign;
	int exp;  /* FINITE: the value is sig / 2^TOP * 2^exp, */
	u128 sig; /* 2^TOP <= sig < 2^(TOP + 1) */
};
#define FORMAT const struct soft_format *f

const struct soft_format soft_f16 = {16, 10}, soft_f32 = {32, 23}, soft_f64 = {64, 52};

static int exp_bits(FORMAT) { return f->width - 1 - f->frac; }
static int exp_max(FORMAT) { return (1 << (exp_bits(f) - 1)) - 1; }
static int exp_min(FORMAT) { return 1 - exp_max(f); }
static uint64_t inf_bits(FORMAT) { return ((1ull << exp_bits(f)) - 1) << f->frac; }
static uint64_t sign_bit(FORMAT) { return 1ull << (f->width - 1); }
static uint64_t nan_bits(FORMAT) { return inf_bits(f) | 1ull << (f->frac - 1); }
static uint64_t with_sign(FORMAT, bool sign, uint64_t v) { return sign ? v | sign_bit(f) : v; }

static uint64_t invalid(FORMAT, uint8_t *flags)
{
	*flags |= FF_NV;
	return nan_bits(f);
}

static bool is_nan(const struct num *n) { return n->kind >= QNAN; }

/* The result when an operand is a NaN. */
static uint64_t nan_of(FORMAT, bool signalling, uint8_t *flags)
{
	return signalling ? invalid(f, flags) : nan_bits(f);
}

static u128 shift_jam(u128 v, int by)
{
	if (by <= 0) return v;
	if (by > TOP + 1) return v != 0;
	return v >> by | ((v & (((u128)1 << by) - 1)) != 0);
}

static int top_bit(u128 v)
{
	uint64_t high = (uint64_t)(v >> 64);
	return high ? 127 - __builtin_clzll(high) : 63 - __builtin_clzll((uint64_t)v);
}

static void normalise(struct num *n)
{
	int up = TOP - top_bit(n->sig);
	n->sig = up >= 0 ? n->sig << up : shift_jam(n->sig, -up);
	n->exp -= up;
}

static struct num unpack(FORMAT, uint64_t a)
{
	uint64_t frac = a & ((1ull << f->frac) - 1);
	int exp = (int)(a >> f->frac & ((1ull << exp_bits(f)) - 1));
	struct num n = {.sign = a >> (f->width - 1) & 1, .kind = FINITE};
	if (exp == (1 << exp_bits(f)) - 1) {
		n.kind = !frac ? INF : frac >> (f->frac - 1) ? QNAN : SNAN;
	} else if (exp) {
		n.exp = exp - exp_max(f);
		n.sig = (u128)(frac | 1ull << f->frac) << (TOP - f->frac);
	} else if (frac) {
		n.exp = exp_min(f);
		n.sig = (u128)frac << (TOP - f->frac);
		normalise(&n);
	} else {
		n.kind = ZERO;
	}
	return n;
}

/* v / 2^drop to an integer, 0 < drop <= TOP + 1. */
static u128 round_off(u128 v, int drop, bool sign, unsigned rm, bool *inexact)
{
	u128 whole = v >> drop, rest = v & (((u128)1 << drop) - 1), half = (u128)1 << (drop - 1);
	bool up = false;
	*inexact = rest != 0;
	switch (rm) {
	case RM_RNE: up = rest > half || (rest == half && (whole & 1)); break;
	case RM_RDN: up = sign && rest; break;
	case RM_RUP: up = !sign && rest; break;
	case RM_RMM: up = rest >= half; break;
	default: break;
	}
	return whole + up;
}

static uint64_t overflow(FORMAT, bool sign, unsigned rm, uint8_t *flags)
{
	bool to_inf = rm == RM_RNE || rm == RM_RMM || rm == (sign ? RM_RDN : RM_RUP);
	*flags |= FF_OF | FF_NX;
	return with_sign(f, sign, inf_bits(f) - !to_inf);
}

/* Tininess is judged after rounding as if exponents had no end (unpriv. spec, F "subnormal"). */
static bool is_tiny(FORMAT, const struct num *n, unsigned rm)
{
	bool inexact;
	if (n->exp != exp_min(f) - 1) return n->exp < exp_min(f);
	return !(round_off(n->sig, TOP - f->frac, n->sign, rm, &inexact) >> (f->frac + 1));
}

static uint64_t round_pack(FORMAT, const struct num *n, unsigned rm, uint8_t *flags)
{
	int emin = exp_min(f), below = n->exp < emin ? emin - n->exp : 0;
	int drop = TOP - f->frac + below;
	bool inexact;
	u128 sig = n->sig;
	if (n->exp > exp_max(f)) return overflow(f, n->sign, rm, flags);
	if (drop > TOP + 1) {
		sig = 1;
		drop = TOP + 1;
	}
	uint64_t v = (uint64_t)round_off(sig, drop, n->sign, rm, &inexact);
	if (!below) v += (uint64_t)(n->exp - emin) << f->frac;
	if (v >= inf_bits(f)) return overflow(f, n->sign, rm, flags);
	if (inexact) *flags |= is_tiny(f, n, rm) ? FF_NX | FF_UF : FF_NX;
	return with_sign(f, n->sign, v);
}

static uint64_t sum(FORMAT, struct num a, struct num b, unsigned rm, uint8_t *flags)
{
	if (a.kind == INF && b.kind == INF && a.sign != b.sign) return invalid(f, flags);
	if (a.kind == INF || b.kind == INF)
		return with_sign(f, a.kind == INF ? a.sign : b.sign, inf_bits(f));
	if (a.kind == ZERO && b.kind == ZERO)
		return with_sign(f, a.sign == b.sign ? a.sign : rm == RM_RDN, 0);
	if (b.kind == ZERO) return round_pack(f, &a, rm, flags);
	if (a.kind == ZERO) return round_pack(f, &b, rm, flags);
	if (a.exp < b.exp || (a.exp == b.exp && a.sig < b.sig)) {
		struct num t = a;
		a = b;
		b = t;
	}
	b.sig = shift_jam(b.sig, a.exp - b.exp);
	a.sig = a.sign == b.sign ? a.sig + b.sig : a.sig - b.sig;
	if (!a.sig) return with_sign(f, rm == RM_RDN, 0);
	normalise(&a);
	return round_pack(f, &a, rm, flags);
}

/* Exact; neither is a NaN, and not zero times infinity. */
static struct num product(const struct num *a, const struct num *b)
{
	struct num n = {.sign = a->sign ^ b->sign, .kind = FINITE};
	if (a->kind != FINITE || b->kind != FINITE) {
		n.kind = a->kind == INF || b->kind == INF ? INF : ZERO;
		return n;
	}
	n.exp = a->exp + b->exp;
	n.sig = (a->sig >> (TOP - 63)) * (b->sig >> (TOP - 63));
	normalise(&n);
	return n;
}

static bool zero_times_inf(const struct num *a, const struct num *b)
{
	return (a->kind == ZERO && b->kind == INF) || (a->kind == INF && b->kind == ZERO);
}

uint64_t soft_add(FORMAT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags)
{
	struct num x = unpack(f, a), y = unpack(f, b);
	if (is_nan(&x) || is_nan(&y)) return nan_of(f, x.kind == SNAN || y.kind == SNAN, flags);
	return sum(f, x, y, rm, flags);
}

uint64_t soft_sub(FORMAT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags)
{
	return soft_add(f, a, b ^ sign_bit(f), rm, flags);
}

static uint64_t pack(FORMAT, const struct num *n, unsigned rm, uint8_t *flags)
{
	if (n->kind == FINITE) return round_pack(f, n, rm, flags);
	return with_sign(f, n->sign, n->kind == INF ? inf_bits(f) : 0);
}

uint64_t soft_mul(FORMAT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags)
{
	struct num x = unpack(f, a), y = unpack(f, b), n;
	if (is_nan(&x) || is_nan(&y)) return nan_of(f, x.kind == SNAN || y.kind == SNAN, flags);
	if (zero_times_inf(&x, &y)) return invalid(f, flags);
	n = product(&x, &y);
	return pack(f, &n, rm, flags);
}

/* Infinity times zero is invalid even when a quiet NaN is added (unpriv. spec, "F.6"). */
uint64_t soft_fma(FORMAT, uint64_t a, uint64_t b, uint64_t c, unsigned rm, uint8_t *flags)
{
	struct num x = unpack(f, a), y = unpack(f, b), z = unpack(f, c);
	if (zero_times_inf(&x, &y)) return invalid(f, flags);
	if (is_nan(&x) || is_nan(&y) || is_nan(&z))
		return nan_of(f, x.kind == SNAN || y.kind == SNAN || z.kind == SNAN, flags);
	return sum(f, product(&x, &y), z, rm, flags);
}

uint64_t soft_div(FORMAT, uint64_t a, uint64_t b, unsigned rm, uint8_t *flags)
{
	struct num x = unpack(f, a), y = unpack(f, b), n = {.sign = x.sign ^ y.sign};
	if (is_nan(&x) || is_nan(&y)) return nan_of(f, x.kind == SNAN || y.kind == SNAN, flags);
	if (x.kind == y.kind && x.kind != FINITE) return invalid(f, flags);
	if (y.kind == ZERO && x.kind == FINITE) *flags |= FF_DZ;
	if (x.kind == INF || y.kind == ZERO) return with_sign(f, n.sign, inf_bits(f));
	if (x.kind == ZERO || y.kind == INF) return with_sign(f, n.sign, 0);
	uint64_t by = (uint64_t)(y.sig >> (TOP - 63));
	n.sig = x.sig / by << 1 | (x.sig % by != 0);
	n.exp = x.exp - y.exp + TOP - 64;
	normalise(&n);
	return round_pack(f, &n, rm, flags);
}

/* The integer root of v < 2^126, its lowest bit set when there was a rest. */
static u128 root_jam(u128 v)
{
	u128 root = 0, rest = v;
	for (int i = 62; i >= 0; i--) {
		u128 step = (root << 1 | (u128)1 << i) << i;
		if (step > rest) continue;
		rest -= step;
		root |= (u128)1 << i;
	}
	return root | (rest != 0);
}

uint64_t soft_sqrt(FORMAT, uint64_t a, unsigned rm, uint8_t *flags)
{
	struct num n = unpack(f, a);
	if (is_nan(&n)) return nan_of(f, n.kind == SNAN, flags);
	if (n.kind == ZERO) return with_sign(f, n.sign, 0);
	if (n.sign) return invalid(f, flags);
	if (n.kind == INF) return inf_bits(f);
	bool odd = n.exp & 1;
	n.sig = root_jam(n.sig >> (odd ? 1 : 2));
	n.exp = (n.exp - odd) / 2 + TOP - 62;
	normalise(&n);
	return round_pack(f, &n, rm, flags);
}

uint64_t soft_convert(const struct soft_format *to, FORMAT, uint64_t a, unsigned rm, uint8_t *flags)
{
	struct num n = unpack(f, a);
	if (is_nan(&n)) return nan_of(to, n.kind == SNAN, flags);
	return pack(to, &n, rm, flags);
}

/* |n| to an integer; at most 2^64, which stands for everything too large. */
static u128 whole_of(const struct num *n, unsigned rm, bool *inexact)
{
	*inexact = false;
	if (n->kind == ZERO) return 0;
	if (n->kind != FINITE || n->exp > 63) return (u128)1 << 64;
	if (n->exp < -1) return round_off(1, TOP + 1, n->sign, rm, inexact);
	return round_off(n->sig, TOP - n->exp, n->sign, rm, inexact);
}

static uint64_t sign_extend(uint64_t v, unsigned width)
{
	return width == 32 ? (uint64_t)(int64_t)(int32_t)v : v;
}

uint64_t soft_to_int(FORMAT, uint64_t a, unsigned width, unsigned rm, uint8_t *flags)
{
	struct num n = unpack(f, a);
	uint64_t half = 1ull << (width - 1);
	bool inexact, negative = n.sign && !is_nan(&n);
	u128 v = whole_of(&n, rm, &inexact);
	if (v > half - !negative) {
		*flags |= FF_NV;
		return sign_extend(half - !negative, width);
	}
	if (inexact) *flags |= FF_NX;
	return sign_extend(negative ? -(uint64_t)v : (uint64_t)v, width);
}

uint64_t soft_to_uint(FORMAT, uint64_t a, unsigned width, unsigned rm, uint8_t *flags)
{
	struct num n = unpack(f, a);
	bool inexact, negative = n.sign && !is_nan(&n);
	u128 v = whole_of(&n, rm, &inexact);
	if (negative ? v != 0 : v >> width != 0) {
		*flags |= FF_NV;
		return negative ? 0 : ~0ull;
	}
	if (inexact) *flags |= FF_NX;
	return sign_extend((uint64_t)v, width);
}

uint64_t soft_to_mod32(FORMAT, uint64_t a, uint8_t *flags)
{
	struct num n = unpack(f, a);
	bool inexact;
	uint64_t v = 0;
	soft_to_int(f, a, 32, RM_RTZ, flags);
	if (n.kind != FINITE) return 0;
	if (n.exp <= 63)
		v = (uint64_t)whole_of(&n, RM_RTZ, &inexact);
	else if (n.exp < f->frac + 32)
		v = (uint64_t)(n.sig >> (TOP - f->frac)) << (n.exp - f->frac);
	return sign_extend(n.sign ? -v : v, 32);
}

static uint64_t from_whole(FORMAT, bool sign, uint64_t v, unsigned rm, uint8_t *flags)
{
	struct num n = {.kind = FINITE, .sign = sign, .exp = TOP, .sig = v};
	if (!v) return with_sign(f, sign, 0);
	normalise(&n);
	return round_pack(f, &n, rm, flags);
}

uint64_t soft_from_int(FORMAT, int64_t v, unsigned rm, uint8_t *flags)
{
	return from_whole(f, v < 0, v < 0 ? -(uint64_t)v : (uint64_t)v, rm, flags);
}

uint64_t soft_from_uint(FORMAT, uint64_t v, unsigned rm, uint8_t *flags)
{
	return from_whole(f, false, v, rm, flags);
}

uint64_t soft_round(FORMAT, uint64_t a, unsigned rm, int report, uint8_t *flags)
{
	struct num n = unpack(f, a);
	bool inexact;
	if (is_nan(&n)) return nan_of(f, n.kind == SNAN, flags);
	if (n.kind != FINITE || n.exp >= f->frac) return pack(f, &n, rm, flags);
	uint64_t v = (uint64_t)whole_of(&n, rm, &inexact);
	if (inexact && report) *flags |= FF_NX;
	return from_whole(f, n.sign, v, rm, flags);
}

/* Compares work on the bits: sign and magnitude made two's complement. */
static uint64_t magnitude(FORMAT, uint64_t a) { return a & (sign_bit(f) - 1); }

static int64_t order(FORMAT, uint64_t a)
{
	int64_t m = (int64_t)magnitude(f, a);
	return a & sign_bit(f) ? -m : m;
}

static bool bits_nan(FORMAT, uint64_t a) { return magnitude(f, a) > inf_bits(f); }

static bool bits_snan(FORMAT, uint64_t a) { return bits_nan(f, a) && !(a >> (f->frac - 1) & 1); }

/* Whether there is an order at all; flags set as asked. */
static bool ordered(FORMAT, uint64_t a, uint64_t b, int quiet, uint8_t *flags)
{
	if (likely(!bits_nan(f, a) && !bits_nan(f, b))) return true;
	if (!quiet || bits_snan(f, a) || bits_snan(f, b)) *flags |= FF_NV;
	return false;
}

uint64_t soft_eq(FORMAT, uint64_t a, uint64_t b, uint8_t *flags)
{
	return ordered(f, a, b, 1, flags) && order(f, a) == order(f, b);
}

uint64_t soft_lt(FORMAT, uint64_t a, uint64_t b, int quiet, uint8_t *flags)
{
	return ordered(f, a, b, quiet, flags) && order(f, a) < order(f, b);
}

uint64_t soft_le(FORMAT, uint64_t a, uint64_t b, int quiet, uint8_t *flags)
{
	return ordered(f, a, b, quiet, flags) && order(f, a) <= order(f, b);
}

/* The lesser one; zeroes differ here, -0 being less. */
static uint64_t pick(FORMAT, uint64_t a, uint64_t b, int nan, bool greater, uint8_t *flags)
{
	uint64_t all = sign_bit(f) | (sign_bit(f) - 1);
	if (unlikely(!ordered(f, a, b, 1, flags))) {
		if (nan || (bits_nan(f, a) && bits_nan(f, b))) return nan_bits(f);
		return all & (bits_nan(f, a) ? b : a);
	}
	int64_t x = order(f, a), y = order(f, b);
	bool less = x < y || (x == y && a & sign_bit(f));
	return all & (less != greater ? a : b);
}

uint64_t soft_min(FORMAT, uint64_t a, uint64_t b, int nan, uint8_t *flags)
{
	return pick(f, a, b, nan, false, flags);
}

uint64_t soft_max(FORMAT, uint64_t a, uint64_t b, int nan, uint8_t *flags)
{
	return pick(f, a, b, nan, true, flags);
}

/* Bit numbers: unpriv. spec, table "Format of result of FCLASS". */
uint64_t soft_class(FORMAT, uint64_t a)
{
	struct num n = unpack(f, a);
	bool subnormal = n.kind == FINITE && n.exp < exp_min(f);
	unsigned negative = n.kind == INF ? 0 : n.kind == ZERO ? 3 : subnormal ? 2 : 1;
	if (is_nan(&n)) return n.kind == SNAN ? 1u << 8 : 1u << 9;
	return 1ull << (n.sign ? negative : 7 - negative);
}
