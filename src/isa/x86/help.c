/* What the table calls HELPER: instructions with hidden operands, two results or loops. */
#include "isa/x86/help.h"
#include "base/types.h"
#include "isa/x86/value.h"

#define TRY(call)                                                                                  \
	do {                                                                                       \
		int e_ = call;                                                                     \
		if (unlikely(e_)) return e_;                                                       \
	} while (0)
#define HELP(name) int x86_help_##name(struct x86_cpu *c, const struct x86_insn *in)
enum { AX, CX, DX, BX, SP, BP, SI, DI };

/* ---- stack ---- */

/* A memory operand's address is computed with the stack pointer already raised. */
HELP(pop)
{
	uint64_t v;
	TRY(x86_pop(c, in, &v));
	return x86_set(c, in, 0, v);
}
HELP(pushf) { return x86_push(c, in, c->flags & ~(uint64_t)(X86_RF | X86_VM)); }
HELP(popf)
{
	uint64_t v, mask = c->popf_mask & x86_mask(in->osize);
	TRY(x86_pop(c, in, &v));
	c->flags = ((c->flags & ~mask) | (v & mask)) & ~(uint64_t)X86_RF;
	return 0;
}
HELP(ret)
{
	uint64_t to;
	TRY(x86_pop(c, in, &to));
	TRY(x86_jump(c, in, to));
	if (in->operands) x86_reg_set(c, SP, c->ssize, c->r[SP] + (uint64_t)in->imm);
	return 0;
}
HELP(leave)
{
	uint64_t v, sp = x86_zx(c->r[BP], c->ssize);
	TRY(x86_exec_load(c, in, X86_SS, sp, in->osize, &v));
	x86_reg_set(c, SP, c->ssize, sp + in->osize);
	x86_reg_set(c, BP, in->osize, v);
	return 0;
}
HELP(enter)
{
	unsigned level = in->imm2 & 31;
	uint64_t bp = c->r[BP], v, frame;
	TRY(x86_push(c, in, bp));
	frame = c->r[SP];
	for (unsigned i = 1; i < level; i++) {
		bp -= in->osize;
		TRY(x86_exec_load(c, in, X86_SS, x86_zx(bp, c->ssize), in->osize, &v));
		TRY(x86_push(c, in, v));
	}
	if (level) TRY(x86_push(c, in, frame));
	/* the new frame must be writable, as if it were pushed to */
	uint64_t sp = x86_zx(c->r[SP] - (uint64_t)in->imm, c->ssize);
	TRY(x86_exec_load(c, in, X86_SS, sp, in->osize, &v));
	x86_reg_set(c, SP, c->ssize, sp);
	x86_reg_set(c, BP, in->osize, frame);
	return 0;
}
HELP(pusha)
{
	uint64_t sp = c->r[SP];
	for (unsigned i = 0; i < 8; i++) TRY(x86_push(c, in, i == SP ? sp : c->r[i]));
	return 0;
}
HELP(popa)
{
	uint64_t v[8];
	for (int i = 7; i >= 0; i--) TRY(x86_pop(c, in, &v[i]));
	for (unsigned i = 0; i < 8; i++)
		if (i != SP) x86_reg_set(c, i, in->osize, v[i]);
	return 0;
}

/* ---- flags ---- */

HELP(sahf)
{
	(void)in;
	x86_put(c, X86_ARITH & ~X86_OF, c->r[AX] >> 8);
	return 0;
}
HELP(lahf)
{
	uint64_t f = (c->flags & (X86_ARITH & ~X86_OF)) | 2;
	(void)in;
	c->r[AX] = (c->r[AX] & ~0xff00ull) | f << 8;
	return 0;
}
HELP(cld)
{
	(void)in;
	c->flags &= ~(uint64_t)X86_DF;
	return 0;
}
HELP(std)
{
	(void)in;
	c->flags |= X86_DF;
	return 0;
}

/* ---- multiplication, division ---- */

/* AX, or the pair DX:AX, of operands of that size. */
static void set_pair(struct x86_cpu *c, unsigned size, uint64_t lo, uint64_t hi)
{
	if (size == 1)
		x86_reg_set(c, AX, 2, (lo & 0xff) | hi << 8);
	else {
		x86_reg_set(c, AX, size, lo);
		x86_reg_set(c, DX, size, hi);
	}
}
HELP(cwd)
{
	uint64_t a = x86_sx(c->r[AX], in->osize);
	x86_reg_set(c, DX, in->osize, (uint64_t)((int64_t)a >> 63));
	return 0;
}
HELP(mul)
{
	unsigned size = in->o[0].size;
	uint64_t b;
	TRY(x86_get(c, in, 0, &b));
	unsigned __int128 p = (unsigned __int128)x86_reg_get(c, AX, size) * b;
	uint64_t hi = (uint64_t)(p >> 8 * size);
	set_pair(c, size, (uint64_t)p, hi);
	x86_put(c, X86_CF | X86_OF, x86_zx(hi, size) ? X86_CF | X86_OF : 0);
	return 0;
}
HELP(imul1)
{
	unsigned size = in->o[0].size;
	uint64_t b, a = x86_sx(c->r[AX], size);
	TRY(x86_get(c, in, 0, &b));
	b = x86_sx(b, size);
	__int128 p = (__int128)(int64_t)a * (int64_t)b;
	set_pair(c, size, (uint64_t)p, (uint64_t)(p >> 8 * size));
	x86_flags_imul(c, a, b, size);
	return 0;
}
HELP(mulx)
{
	uint64_t b;
	TRY(x86_get(c, in, 2, &b));
	unsigned size = in->o[0].size;
	unsigned __int128 p = (unsigned __int128)x86_reg_get(c, DX, size) * b;
	x86_reg_set(c, in->o[1].reg, size, (uint64_t)p);
	x86_reg_set(c, in->o[0].reg, size, (uint64_t)(p >> 8 * size));
	return 0;
}
static unsigned __int128 dividend(const struct x86_cpu *c, unsigned size)
{
	if (size == 1) return c->r[AX] & 0xffff;
	return (unsigned __int128)x86_reg_get(c, DX, size) << 8 * size | x86_reg_get(c, AX, size);
}
HELP(div)
{
	unsigned size = in->o[0].size;
	uint64_t b;
	TRY(x86_get(c, in, 0, &b));
	unsigned __int128 a = dividend(c, size);
	if (!b || a >> 8 * size >= b) return X86_TRAP_DE;
	set_pair(c, size, (uint64_t)(a / b), (uint64_t)(a % b));
	return 0;
}
HELP(idiv)
{
	unsigned size = in->o[0].size, up = 128 - 16 * size;
	uint64_t b;
	TRY(x86_get(c, in, 0, &b));
	__int128 a = (__int128)(dividend(c, size) << up) >> up, d = (int64_t)x86_sx(b, size);
	if (!d) return X86_TRAP_DE;
	/* the one quotient that does not fit the dividend's own size */
	if (d == -1 && a == (__int128)((unsigned __int128)1 << 127)) return X86_TRAP_DE;
	__int128 q = a / d;
	if (q != (int64_t)x86_sx((uint64_t)q, size)) return X86_TRAP_DE;
	set_pair(c, size, (uint64_t)q, (uint64_t)(a % d));
	return 0;
}

/* ---- bits ---- */

static int count_zeros(struct x86_cpu *c, const struct x86_insn *in, bool leading)
{
	unsigned bits = 8u * in->o[0].size;
	uint64_t a, r = bits;
	TRY(x86_get(c, in, 1, &a));
	if (a)
		r = leading ? (unsigned)__builtin_clzll(a) - (64 - bits)
			    : (unsigned)__builtin_ctzll(a);
	x86_put(c, X86_CF | X86_ZF, x86_cf(!a) | (r ? 0 : X86_ZF));
	return x86_set(c, in, 0, r);
}
HELP(tzcnt) { return count_zeros(c, in, false); }
HELP(lzcnt) { return count_zeros(c, in, true); }

/* A bit's number may reach beyond a memory operand, in units of its size, if it is in a register.
 */
enum bit_op { BIT_TEST, BIT_SET, BIT_RESET, BIT_FLIP };
static int test_bit(struct x86_cpu *c, const struct x86_insn *in, enum bit_op how)
{
	unsigned size = in->o[0].size, bits = 8 * size;
	uint64_t n, v;
	struct x86_insn there = *in;
	TRY(x86_get(c, in, 1, &n));
	if (in->o[0].kind == X86_MEM && in->o[1].kind == X86_REG)
		there.disp += ((int64_t)x86_sx(n, size) >> (size == 2	? 4
							    : size == 4 ? 5
									: 6)) *
			      size;
	TRY(x86_get(c, &there, 0, &v));
	uint64_t bit = 1ull << n % bits, old = v & bit;
	if (how == BIT_SET) v |= bit;
	if (how == BIT_RESET) v &= ~bit;
	if (how == BIT_FLIP) v ^= bit;
	if (how != BIT_TEST) TRY(x86_set(c, &there, 0, v));
	x86_put(c, X86_CF, x86_cf(old != 0));
	return 0;
}
HELP(bt) { return test_bit(c, in, BIT_TEST); }
HELP(bts) { return test_bit(c, in, BIT_SET); }
HELP(btr) { return test_bit(c, in, BIT_RESET); }
HELP(btc) { return test_bit(c, in, BIT_FLIP); }

HELP(bzhi)
{
	unsigned size = in->o[0].size, bits = 8 * size;
	uint64_t a, n;
	TRY(x86_get(c, in, 1, &a));
	TRY(x86_get(c, in, 2, &n));
	n &= 0xff;
	if (n < bits) a &= (1ull << n) - 1;
	x86_put(c, X86_ARITH & ~(X86_AF | X86_PF),
		(x86_szp(a, size) & ~(uint64_t)X86_PF) | x86_cf(n >= bits));
	return x86_set(c, in, 0, a);
}
HELP(bextr)
{
	uint64_t a, n;
	TRY(x86_get(c, in, 1, &a));
	TRY(x86_get(c, in, 2, &n));
	unsigned from = n & 0xff, len = n >> 8 & 0xff;
	a = from < 64 ? a >> from : 0;
	if (len < 64) a &= (1ull << len) - 1;
	x86_put(c, X86_CF | X86_OF | X86_ZF, a ? 0 : X86_ZF);
	return x86_set(c, in, 0, a);
}
static int set_lowest(struct x86_cpu *c, const struct x86_insn *in, uint64_t r, bool cf)
{
	unsigned size = in->o[0].size;
	x86_put(c, X86_CF | X86_OF | X86_ZF | X86_SF,
		(x86_szp(r, size) & ~(uint64_t)X86_PF) | x86_cf(cf));
	return x86_set(c, in, 0, r);
}
HELP(blsr)
{
	uint64_t a;
	TRY(x86_get(c, in, 1, &a));
	return set_lowest(c, in, a & (a - 1), !a);
}
HELP(blsmsk)
{
	uint64_t a;
	TRY(x86_get(c, in, 1, &a));
	return set_lowest(c, in, a ^ (a - 1), !a);
}
HELP(blsi)
{
	uint64_t a;
	TRY(x86_get(c, in, 1, &a));
	return set_lowest(c, in, a & -a, a);
}
static int add_with(struct x86_cpu *c, const struct x86_insn *in, unsigned flag)
{
	unsigned size = in->o[0].size;
	uint64_t a, b;
	TRY(x86_get(c, in, 0, &a));
	TRY(x86_get(c, in, 1, &b));
	unsigned __int128 r = (unsigned __int128)a + b + ((c->flags & flag) != 0);
	TRY(x86_set(c, in, 0, (uint64_t)r));
	x86_put(c, flag, r >> 8 * size ? flag : 0);
	return 0;
}
HELP(adcx) { return add_with(c, in, X86_CF); }
HELP(adox) { return add_with(c, in, X86_OF); }

/* CRC-32C, reflected, without inversion at either end. */
HELP(crc32)
{
	uint64_t b;
	uint32_t crc = (uint32_t)c->r[in->o[0].reg];
	TRY(x86_get(c, in, 1, &b));
	for (unsigned i = 0; i < in->o[1].size; i++) {
		crc ^= (uint32_t)(b >> 8 * i & 0xff);
		for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return x86_set(c, in, 0, crc);
}

/* ---- compare and exchange ---- */

/* Memory is written also when it does not compare; a register is not, not even extended. */
HELP(cmpxchg)
{
	unsigned size = in->o[0].size;
	uint64_t was, new, a = x86_reg_get(c, AX, size);
	TRY(x86_get(c, in, 0, &was));
	TRY(x86_get(c, in, 1, &new));
	if (was == a || in->o[0].kind == X86_MEM) TRY(x86_set(c, in, 0, was == a ? new : was));
	x86_flags_sub(c, a - was, a, was, 0, size);
	if (was != a) x86_reg_set(c, AX, size, was);
	return 0;
}
static int exchange_pair(struct x86_cpu *c, const struct x86_insn *in, unsigned half)
{
	uint64_t at, was[2] = {0}, new[2];
	uint8_t old[16], to[16];
	int e = x86_exec_linear(c, in, in->seg, x86_ea(c, in), 2 * half, &at);
	if (half == 8 && at % 16) return X86_TRAP_GP;
	if (e) return e;
	store_le(old, c->r[AX], half);
	store_le(old + half, c->r[DX], half);
	new[0] = c->r[BX];
	new[1] = c->r[CX];
	store_le(to, new[0], half);
	store_le(to + half, new[1], half);
	TRY(c->mem->cas(c, at, old, to, 2 * half));
	was[0] = load_le(old, half);
	was[1] = load_le(old + half, half);
	bool same = was[0] == x86_reg_get(c, AX, half) && was[1] == x86_reg_get(c, DX, half);
	if (!same) {
		x86_reg_set(c, AX, half, was[0]);
		x86_reg_set(c, DX, half, was[1]);
	}
	x86_put(c, X86_ZF, same ? X86_ZF : 0);
	return 0;
}
HELP(cmpxchg8b) { return exchange_pair(c, in, 4); }
HELP(cmpxchg16b) { return exchange_pair(c, in, 8); }

/* ---- strings ---- */

enum { BATCH = 64 }; /* elements between two looks at interrupts */

static uint64_t at_reg(const struct x86_cpu *c, const struct x86_insn *in, unsigned reg)
{
	return x86_reg_get(c, reg, in->asize);
}
static void advance(struct x86_cpu *c, const struct x86_insn *in, unsigned reg, unsigned size)
{
	uint64_t by = c->flags & X86_DF ? -(uint64_t)size : size;
	x86_reg_set(c, reg, in->asize, c->r[reg] + by);
}
static unsigned source_seg(const struct x86_insn *in)
{
	return in->seg_over == X86_NOREG ? X86_DS : in->seg_over;
}
static int load_si(struct x86_cpu *c, const struct x86_insn *in, unsigned size, uint64_t *v)
{
	return x86_exec_load(c, in, source_seg(in), at_reg(c, in, SI), size, v);
}
static int load_di(struct x86_cpu *c, const struct x86_insn *in, unsigned size, uint64_t *v)
{
	return x86_exec_load(c, in, X86_ES, at_reg(c, in, DI), size, v);
}
static int movs_one(struct x86_cpu *c, const struct x86_insn *in)
{
	unsigned size = in->o[0].size;
	uint64_t v;
	TRY(load_si(c, in, size, &v));
	TRY(x86_exec_store(c, in, X86_ES, at_reg(c, in, DI), size, v));
	advance(c, in, SI, size);
	advance(c, in, DI, size);
	return 0;
}
static int stos_one(struct x86_cpu *c, const struct x86_insn *in)
{
	unsigned size = in->o[0].size;
	TRY(x86_exec_store(c, in, X86_ES, at_reg(c, in, DI), size, c->r[AX]));
	advance(c, in, DI, size);
	return 0;
}
static int lods_one(struct x86_cpu *c, const struct x86_insn *in)
{
	unsigned size = in->o[0].size;
	uint64_t v;
	TRY(load_si(c, in, size, &v));
	x86_reg_set(c, AX, size, v);
	advance(c, in, SI, size);
	return 0;
}
static int cmps_one(struct x86_cpu *c, const struct x86_insn *in)
{
	unsigned size = in->o[0].size;
	uint64_t a, b;
	TRY(load_di(c, in, size, &b)); /* CPUs look there first */
	TRY(load_si(c, in, size, &a));
	x86_flags_sub(c, a - b, a, b, 0, size);
	advance(c, in, SI, size);
	advance(c, in, DI, size);
	return 0;
}
static int scas_one(struct x86_cpu *c, const struct x86_insn *in)
{
	unsigned size = in->o[0].size;
	uint64_t a = x86_reg_get(c, AX, size), b;
	TRY(load_di(c, in, size, &b));
	x86_flags_sub(c, a - b, a, b, 0, size);
	advance(c, in, DI, size);
	return 0;
}
/* Up to BATCH elements; compares stop as REPE and REPNE say. A trap comes with the elements before
 * it done, but flags as they were: only the last comparison shows. */
static inline int repeat(struct x86_cpu *c, const struct x86_insn *in,
			 int (*one)(struct x86_cpu *, const struct x86_insn *), bool compares)
{
	uint64_t flags = c->flags;
	if (!in->rep) return one(c, in);
	if (in->asize == 4) c->r[CX] = (uint32_t)c->r[CX]; /* even if nothing gets done */
	for (unsigned i = 0; i < BATCH; i++) {
		if (!at_reg(c, in, CX)) return 0;
		int e = one(c, in);
		if (e) c->flags = flags;
		if (e) return e;
		x86_reg_set(c, CX, in->asize, c->r[CX] - 1);
		if (compares && !(c->flags & X86_ZF) == (in->rep == 0xf3)) return 0;
	}
	if (!at_reg(c, in, CX)) return 0;
	c->flags = flags;
	return X86_REPEAT;
}
HELP(movs) { return repeat(c, in, movs_one, false); }
HELP(stos) { return repeat(c, in, stos_one, false); }
HELP(lods) { return repeat(c, in, lods_one, false); }
HELP(cmps) { return repeat(c, in, cmps_one, true); }
HELP(scas) { return repeat(c, in, scas_one, true); }
HELP(xlat)
{
	uint64_t v, ea = x86_zx(c->r[BX] + (c->r[AX] & 0xff), in->asize);
	TRY(x86_exec_load(c, in, source_seg(in), ea, 1, &v));
	x86_reg_set(c, AX, 1, v);
	return 0;
}

/* ---- loops ---- */

static int count_down(struct x86_cpu *c, const struct x86_insn *in, bool also)
{
	uint64_t n = x86_zx(c->r[CX] - 1, in->asize);
	if (n && also) TRY(x86_jump(c, in, c->rip + in->len + (uint64_t)in->imm));
	x86_reg_set(c, CX, in->asize, n);
	return 0;
}
HELP(loop) { return count_down(c, in, true); }
HELP(loope) { return count_down(c, in, c->flags & X86_ZF); }
HELP(loopne) { return count_down(c, in, !(c->flags & X86_ZF)); }
HELP(jcxz) { return at_reg(c, in, CX) ? 0 : x86_jump(c, in, c->rip + in->len + (uint64_t)in->imm); }
HELP(bound)
{
	unsigned n = in->osize;
	uint64_t lo, hi, ea = x86_ea(c, in);
	TRY(x86_exec_load(c, in, in->seg, ea, n, &lo));
	TRY(x86_exec_load(c, in, in->seg, x86_zx(ea + n, in->asize), n, &hi));
	int64_t i = (int64_t)x86_sx(c->r[in->o[0].reg], n);
	return i < (int64_t)x86_sx(lo, n) || i > (int64_t)x86_sx(hi, n) ? X86_TRAP_BR : 0;
}

/* ---- decimal, not in 64 bit mode ---- */

static void set_al(struct x86_cpu *c, unsigned al, uint64_t carries)
{
	x86_reg_set(c, AX, 1, al);
	x86_put(c, X86_ARITH & ~X86_OF, x86_szp(al, 1) | carries);
}
static int adjust_packed(struct x86_cpu *c, int sign)
{
	unsigned al = c->r[AX] & 0xff, old = al;
	uint64_t carries = 0;
	bool cf = c->flags & X86_CF;
	if ((al & 15) > 9 || c->flags & X86_AF) {
		if (sign < 0 && al < 6) carries |= X86_CF;
		al = (unsigned)((int)al + 6 * sign);
		carries |= X86_AF;
	}
	if (old > 0x99 || cf) {
		al = (unsigned)((int)al + 0x60 * sign);
		carries |= X86_CF;
	}
	set_al(c, al & 0xff, carries);
	return 0;
}
static int adjust_ascii(struct x86_cpu *c, int sign)
{
	unsigned ax = c->r[AX] & 0xffff;
	bool carry = (ax & 15) > 9 || c->flags & X86_AF;
	if (carry) ax = (unsigned)((int)ax + 0x106 * sign);
	x86_reg_set(c, AX, 2, ax & 0xff0f);
	x86_put(c, X86_CF | X86_AF, carry ? X86_CF | X86_AF : 0);
	return 0;
}
HELP(daa)
{
	(void)in;
	return adjust_packed(c, 1);
}
HELP(das)
{
	(void)in;
	return adjust_packed(c, -1);
}
HELP(aaa)
{
	(void)in;
	return adjust_ascii(c, 1);
}
HELP(aas)
{
	(void)in;
	return adjust_ascii(c, -1);
}
HELP(aam)
{
	unsigned base = (unsigned)in->imm, al = c->r[AX] & 0xff;
	if (!base) return X86_TRAP_DE;
	x86_reg_set(c, AX, 2, (al / base) << 8 | al % base);
	x86_put(c, X86_ARITH, x86_szp(al % base, 1));
	return 0;
}
HELP(aad)
{
	unsigned ax = c->r[AX] & 0xffff, al = ((ax & 0xff) + (ax >> 8) * (unsigned)in->imm) & 0xff;
	x86_reg_set(c, AX, 2, al);
	x86_put(c, X86_ARITH, x86_szp(al, 1));
	return 0;
}
