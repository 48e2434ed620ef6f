#ifndef ISA_X86_VALUE_H
#define ISA_X86_VALUE_H
#include "isa/x86/step.h"
/* Values and flags of x86 arithmetic, by size in bytes. Values may carry rubbish above their size
 * unless said otherwise. Source: Intel SDM vol. 1, 3.4.3; vol. 2, each instruction. */
static inline uint64_t x86_mask(unsigned size) { return UINT64_MAX >> (64 - 8 * size); }
static inline uint64_t x86_zx(uint64_t v, unsigned size) { return v & x86_mask(size); }
static inline uint64_t x86_sx(uint64_t v, unsigned size)
{
	unsigned up = 64 - 8 * size;
	return (uint64_t)((int64_t)(v << up) >> up);
}
static inline unsigned x86_top(uint64_t v, unsigned size) { return v >> (8 * size - 1) & 1; }

static inline void x86_put(struct x86_cpu *c, unsigned which, uint64_t flags)
{
	c->flags = (c->flags & ~(uint64_t)which) | (flags & which);
}
static inline uint64_t x86_of(unsigned v) { return v ? X86_OF : 0; }
static inline uint64_t x86_cf(unsigned v) { return v ? X86_CF : 0; }
/* SF, ZF and PF of a result. */
static inline uint64_t x86_szp(uint64_t r, unsigned size)
{
	r = x86_zx(r, size);
	return (r ? 0 : X86_ZF) | (x86_top(r, size) ? X86_SF : 0) |
	       (__builtin_parity((unsigned)r & 0xff) ? 0 : X86_PF);
}
/* All six, of a sum with carry in, or of a difference with borrow in. */
static inline void x86_flags_add(struct x86_cpu *c, uint64_t r, uint64_t a, uint64_t b, uint64_t in,
				 unsigned size)
{
	uint64_t ra = x86_zx(r, size), aa = x86_zx(a, size);
	x86_put(c, X86_ARITH,
		x86_szp(r, size) | x86_cf(in ? ra <= aa : ra < aa) | ((r ^ a ^ b) & X86_AF) |
			x86_of(x86_top((r ^ a) & (r ^ b), size)));
}
static inline void x86_flags_sub(struct x86_cpu *c, uint64_t r, uint64_t a, uint64_t b, uint64_t in,
				 unsigned size)
{
	uint64_t aa = x86_zx(a, size), bb = x86_zx(b, size);
	x86_put(c, X86_ARITH,
		x86_szp(r, size) | x86_cf(in ? aa <= bb : aa < bb) | ((r ^ a ^ b) & X86_AF) |
			x86_of(x86_top((a ^ b) & (a ^ r), size)));
}
static inline void x86_flags_logic(struct x86_cpu *c, uint64_t r, unsigned size)
{
	x86_put(c, X86_ARITH, x86_szp(r, size));
}
/* Rotations; a is zero-extended. The count n is already masked to 5 or 6 bits. */
static inline uint64_t x86_rol(uint64_t a, uint64_t n, unsigned size)
{
	unsigned bits = 8 * size, k = (unsigned)n % bits;
	return k ? x86_zx(a << k | x86_zx(a, size) >> (bits - k), size) : x86_zx(a, size);
}
static inline uint64_t x86_ror(uint64_t a, uint64_t n, unsigned size)
{
	return x86_rol(a, 8 * size - n % (8 * size), size);
}
/* Through carry: a ring of bits + 1. *cf is carry in and out. */
static inline uint64_t x86_rcl(uint64_t a, uint64_t n, unsigned *cf, unsigned size)
{
	unsigned bits = 8 * size, k = (unsigned)n % (bits + 1);
	unsigned __int128 ring = (unsigned __int128)*cf << bits | x86_zx(a, size);
	if (k) ring = ring << k | ring >> (bits + 1 - k);
	*cf = (unsigned)(ring >> bits) & 1;
	return x86_zx((uint64_t)ring, size);
}
static inline uint64_t x86_rcr(uint64_t a, uint64_t n, unsigned *cf, unsigned size)
{
	unsigned ring = 8 * size + 1;
	return x86_rcl(a, ring - n % ring, cf, size);
}
static inline uint64_t x86_shld(uint64_t a, uint64_t b, uint64_t n, unsigned size)
{
	unsigned bits = 8 * size;
	if (!n) return a;
	if (n > bits) return x86_rol(b, n, size); /* undefined, 16 bits only */
	return n == bits ? x86_zx(b, size) : x86_zx(a << n | x86_zx(b, size) >> (bits - n), size);
}
static inline uint64_t x86_shrd(uint64_t a, uint64_t b, uint64_t n, unsigned size)
{
	unsigned bits = 8 * size;
	if (!n) return a;
	if (n > bits) return x86_ror(b, n, size);
	return n == bits ? x86_zx(b, size) : x86_zx(x86_zx(a, size) >> n | b << (bits - n), size);
}
static inline uint64_t x86_pdep(uint64_t v, uint64_t mask)
{
	uint64_t r = 0;
	for (; mask; mask &= mask - 1, v >>= 1)
		if (v & 1) r |= mask & -mask;
	return r;
}
static inline uint64_t x86_pext(uint64_t v, uint64_t mask)
{
	uint64_t r = 0;
	for (unsigned k = 0; mask; mask &= mask - 1, k++)
		if (v & mask & -mask) r |= 1ull << k;
	return r;
}
/* Of one operation each: INC and DEC keep CF; shifts and rotates by 0 change nothing, and leave OF
 * as for a count of 1 where it is undefined. n is masked, a zero-extended (of SAR, sign-extended).
 */
static inline void x86_flags_inc(struct x86_cpu *c, uint64_t r, bool dec, unsigned size)
{
	uint64_t edge = 1ull << (8 * size - 1);
	bool of = x86_zx(r, size) == (dec ? edge - 1 : edge);
	x86_put(c, X86_ARITH & ~X86_CF,
		x86_szp(r, size) | x86_of(of) | ((r & 15) == (dec ? 15 : 0) ? X86_AF : 0));
}
static inline void x86_flags_shl(struct x86_cpu *c, uint64_t a, uint64_t n, unsigned size)
{
	if (!n) return;
	uint64_t r = a << n;
	unsigned cf = n <= 8 * size ? (unsigned)(a >> (8 * size - n) & 1) : 0;
	x86_put(c, X86_ARITH, x86_szp(r, size) | x86_cf(cf) | x86_of(x86_top(r, size) ^ cf));
}
static inline void x86_flags_shr(struct x86_cpu *c, uint64_t a, uint64_t n, bool sar, unsigned size)
{
	if (!n) return;
	uint64_t last = sar ? (uint64_t)((int64_t)a >> (n - 1)) : a >> (n - 1);
	uint64_t r = sar ? (uint64_t)((int64_t)last >> 1) : last >> 1;
	x86_put(c, X86_ARITH,
		x86_szp(r, size) | x86_cf(last & 1) | x86_of(!sar && x86_top(a, size)));
}
static inline void x86_flags_rol(struct x86_cpu *c, uint64_t r, uint64_t n, unsigned size)
{
	if (n) x86_put(c, X86_CF | X86_OF, x86_cf(r & 1) | x86_of(x86_top(r, size) ^ (r & 1)));
}
static inline void x86_flags_ror(struct x86_cpu *c, uint64_t r, uint64_t n, unsigned size)
{
	unsigned top = x86_top(r, size);
	if (n) x86_put(c, X86_CF | X86_OF, x86_cf(top) | x86_of(top ^ x86_top(r << 1, size)));
}
static inline void x86_flags_rcl(struct x86_cpu *c, uint64_t a, uint64_t n, uint64_t in,
				 unsigned size)
{
	unsigned cf = (unsigned)in;
	if (!(n % (8 * size + 1))) return;
	uint64_t r = x86_rcl(a, n, &cf, size);
	x86_put(c, X86_CF | X86_OF, x86_cf(cf) | x86_of(x86_top(r, size) ^ cf));
}
static inline void x86_flags_rcr(struct x86_cpu *c, uint64_t a, uint64_t n, uint64_t in,
				 unsigned size)
{
	unsigned cf = (unsigned)in;
	if (!(n % (8 * size + 1))) return;
	uint64_t r = x86_rcr(a, n, &cf, size);
	x86_put(c, X86_CF | X86_OF, x86_cf(cf) | x86_of(x86_top(r, size) ^ x86_top(r << 1, size)));
}
static inline void x86_flags_shld(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t n,
				  unsigned size)
{
	if (!n) return;
	uint64_t r = x86_shld(a, b, n, size);
	unsigned cf = n <= 8 * size ? (unsigned)(a >> (8 * size - n) & 1) : (unsigned)(r & 1);
	x86_put(c, X86_ARITH, x86_szp(r, size) | x86_cf(cf) | x86_of(x86_top(r ^ a, size)));
}
static inline void x86_flags_shrd(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t n,
				  unsigned size)
{
	if (!n) return;
	uint64_t r = x86_shrd(a, b, n, size);
	unsigned cf = n <= 8 * size ? (unsigned)(a >> (n - 1) & 1) : x86_top(r, size);
	x86_put(c, X86_ARITH, x86_szp(r, size) | x86_cf(cf) | x86_of(x86_top(r ^ a, size)));
}
/* a and b are sign-extended. */
static inline void x86_flags_imul(struct x86_cpu *c, uint64_t a, uint64_t b, unsigned size)
{
	__int128 p = (__int128)(int64_t)a * (int64_t)b;
	bool lost = p != (int64_t)x86_sx((uint64_t)p, size);
	x86_put(c, X86_CF | X86_OF, lost ? X86_CF | X86_OF : 0);
}
/* The condition of jcc, setcc, cmovcc. */
static inline bool x86_cond(uint64_t f, unsigned cc)
{
	bool v, sf = f & X86_SF, of = f & X86_OF;
	switch (cc >> 1) {
	case 0: v = of; break;
	case 1: v = f & X86_CF; break;
	case 2: v = f & X86_ZF; break;
	case 3: v = f & (X86_CF | X86_ZF); break;
	case 4: v = sf; break;
	case 5: v = f & X86_PF; break;
	case 6: v = sf != of; break;
	default: v = (f & X86_ZF) || sf != of; break;
	}
	return v != (cc & 1);
}

/* ---- operands; step.c has them ---- */
uint64_t x86_ea(const struct x86_cpu *c, const struct x86_insn *in); /* without segment */
/* seg:ea as a linear address for n bytes; a trap where that is not canonical. */
int x86_exec_linear(const struct x86_cpu *c, const struct x86_insn *in, unsigned seg, uint64_t ea,
		    unsigned n, uint64_t *at);
int x86_get(struct x86_cpu *c, const struct x86_insn *in, unsigned n,
	    uint64_t *v); /* zero-extended */
int x86_set(struct x86_cpu *c, const struct x86_insn *in, unsigned n, uint64_t v);
uint64_t x86_reg_get(const struct x86_cpu *c, unsigned reg, unsigned size);
void x86_reg_set(struct x86_cpu *c, unsigned reg, unsigned size, uint64_t v);
int x86_exec_load(struct x86_cpu *c, const struct x86_insn *in, unsigned seg, uint64_t ea,
		  unsigned n, uint64_t *v);
int x86_exec_store(struct x86_cpu *c, const struct x86_insn *in, unsigned seg, uint64_t ea,
		   unsigned n, uint64_t v);
int x86_push(struct x86_cpu *c, const struct x86_insn *in, uint64_t v);
int x86_pop(struct x86_cpu *c, const struct x86_insn *in, uint64_t *v);
int x86_jump(struct x86_cpu *c, const struct x86_insn *in, uint64_t to);
#endif
