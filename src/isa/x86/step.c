/* x86_exec: the meanings of the table, compiled over values. Each operation becomes a function; the
 * verbs are macros that return from it when memory traps. A locked instruction runs its meaning as
 * if it were alone and stores by compare-and-swap: if somebody came between, it runs again. */
#include "isa/x86/step.h"
#include "base/types.h"
#include "isa/x86/help.h"
#include "isa/x86/value.h"

/* ---- operands ---- */

uint64_t x86_ea(const struct x86_cpu *c, const struct x86_insn *in)
{
	uint64_t ea = (uint64_t)in->disp;
	if (in->base < 16)
		ea += c->r[in->base];
	else if (in->base == X86_RIP)
		ea += c->rip + in->len;
	if (in->index < 16) ea += c->r[in->index] * in->scale;
	return x86_zx(ea, in->asize);
}
static bool is_canonical(uint64_t v)
{
	return x86_sx(v, 8) == (uint64_t)((int64_t)(v << 16) >> 16);
}

int x86_exec_linear(const struct x86_cpu *c, const struct x86_insn *in, unsigned seg, uint64_t ea,
		    unsigned n, uint64_t *at)
{
	*at = c->base[seg] + ea;
	if (in->mode != X86_64) {
		*at = (uint32_t)*at;
		return 0;
	}
	if (likely(is_canonical(*at) && is_canonical(*at + n - 1))) return 0;
	return seg == X86_SS ? X86_TRAP_SS : X86_TRAP_GP;
}
int x86_exec_load(struct x86_cpu *c, const struct x86_insn *in, unsigned seg, uint64_t ea,
		  unsigned n, uint64_t *v)
{
	uint64_t at;
	int e = x86_exec_linear(c, in, seg, ea, n, &at);
	*v = 0;
	return e ? e : c->mem->load(c, at, v, n);
}
int x86_exec_store(struct x86_cpu *c, const struct x86_insn *in, unsigned seg, uint64_t ea,
		   unsigned n, uint64_t v)
{
	uint64_t at;
	int e = x86_exec_linear(c, in, seg, ea, n, &at);
	return e ? e : c->mem->store(c, at, &v, n);
}
uint64_t x86_reg_get(const struct x86_cpu *c, unsigned reg, unsigned size)
{
	return x86_zx(c->r[reg], size);
}
void x86_reg_set(struct x86_cpu *c, unsigned reg, unsigned size, uint64_t v)
{
	if (size >= 4)
		c->r[reg] = x86_zx(v, size);
	else
		c->r[reg] = (c->r[reg] & ~x86_mask(size)) | x86_zx(v, size);
}
static unsigned operand_seg(const struct x86_insn *in, const struct x86_operand *o)
{
	if (o->kind == X86_DI) return X86_ES;
	if (o->kind == X86_SI) return in->seg_over == X86_NOREG ? X86_DS : in->seg_over;
	return in->seg;
}
static bool is_locked(const struct x86_insn *in) { return in->lock || in->op == X86_OP_xchg; }

int x86_get(struct x86_cpu *c, const struct x86_insn *in, unsigned n, uint64_t *v)
{
	const struct x86_operand *o = &in->o[n];
	int e;
	switch (o->kind) {
	case X86_REG: *v = x86_reg_get(c, o->reg, o->size); return 0;
	case X86_HIGH: *v = c->r[o->reg] >> 8 & 0xff; return 0;
	case X86_IMM: *v = (uint64_t)in->imm; return 0;
	case X86_IMM2: *v = in->imm2; return 0;
	case X86_MEM:
		e = x86_exec_load(c, in, in->seg, x86_ea(c, in), o->size, v);
		if (n == 0) c->was = *v;
		return e;
	default: return X86_OTHER;
	}
}
int x86_set(struct x86_cpu *c, const struct x86_insn *in, unsigned n, uint64_t v)
{
	const struct x86_operand *o = &in->o[n];
	uint64_t at, was = c->was;
	int e;
	switch (o->kind) {
	case X86_REG: x86_reg_set(c, o->reg, o->size, v); return 0;
	case X86_HIGH: c->r[o->reg] = (c->r[o->reg] & ~0xff00ull) | (v & 0xff) << 8; return 0;
	case X86_MEM:
		if (!is_locked(in))
			return x86_exec_store(c, in, in->seg, x86_ea(c, in), o->size, v);
		e = x86_exec_linear(c, in, operand_seg(in, o), x86_ea(c, in), o->size, &at);
		if (!e) e = c->mem->cas(c, at, &was, &v, o->size);
		return e ? e : was == c->was ? 0 : X86_AGAIN;
	default: return X86_OTHER;
	}
}
int x86_push(struct x86_cpu *c, const struct x86_insn *in, uint64_t v)
{
	unsigned n = in->osize;
	uint64_t sp = x86_zx(c->r[4] - n, c->ssize);
	int e = x86_exec_store(c, in, X86_SS, sp, n, v);
	if (!e) x86_reg_set(c, 4, c->ssize, sp);
	return e;
}
int x86_pop(struct x86_cpu *c, const struct x86_insn *in, uint64_t *v)
{
	int e = x86_exec_load(c, in, X86_SS, x86_zx(c->r[4], c->ssize), in->osize, v);
	if (!e) x86_reg_set(c, 4, c->ssize, c->r[4] + in->osize);
	return e;
}
int x86_jump(struct x86_cpu *c, const struct x86_insn *in, uint64_t to)
{
	to = x86_zx(to, in->osize);
	if (in->mode == X86_64 && !is_canonical(to)) return X86_TRAP_GP;
	c->next = to;
	return 0;
}

/* ---- verbs ---- */

#define V    const uint64_t
#define SIZE in->o[0].size
#define TRY(call)                                                                                  \
	do {                                                                                       \
		int e_ = call;                                                                     \
		if (unlikely(e_)) return e_;                                                       \
	} while (0)
#define CF()	      (c->flags & X86_CF)
#define COND()	      ((uint64_t)x86_cond(c->flags, in->cc))
#define EA()	      x86_ea(c, in)
#define NEXT_PC()     (c->rip + in->len)
#define TARGET()      (c->rip + in->len + (uint64_t)in->imm)
#define K(k)	      ((uint64_t)(k))
#define NOT(a)	      (~(a))
#define NEG(a)	      (-(a))
#define BSWAP(a)      (__builtin_bswap64(a) >> (64 - 8 * SIZE))
#define CTZ(a)	      ((a) ? (uint64_t)__builtin_ctzll(a) : 0)
#define BSR(a)	      ((a) ? 63 - (uint64_t)__builtin_clzll(a) : 0)
#define CPOP(a)	      ((uint64_t)__builtin_popcountll(a))
#define COUNT_(a)     ((a) & (SIZE == 8 ? 63 : 31))
#define SX(n, a)      x86_sx(a, in->o[n].size)
#define ZX(n, a)      x86_zx(a, in->o[n].size)
#define ADD(a, b)     ((a) + (b))
#define SUB(a, b)     ((a) - (b))
#define MUL(a, b)     ((a) * (b))
#define AND(a, b)     ((a) & (b))
#define OR(a, b)      ((a) | (b))
#define XOR(a, b)     ((a) ^ (b))
#define SHL(a, n)     ((a) << (n))
#define SHR(a, n)     ((a) >> (n))
#define SAR(a, n)     ((uint64_t)((int64_t)(a) >> (n)))
#define ROL(a, n)     x86_rol(a, n, SIZE)
#define ROR(a, n)     x86_ror(a, n, SIZE)
#define RCL(a, n, cf) x86_rcl(a, n, &(unsigned){(unsigned)(cf)}, SIZE)
#define RCR(a, n, cf) x86_rcr(a, n, &(unsigned){(unsigned)(cf)}, SIZE)
#define SHLD(a, b, n) x86_shld(a, b, n, SIZE)
#define SHRD(a, b, n) x86_shrd(a, b, n, SIZE)
#define PDEP(a, b)    x86_pdep(a, b)
#define PEXT(a, b)    x86_pext(a, b)
#define SEL(c, a, b)  ((c) ? (a) : (b))
#define O(t, n)                                                                                    \
	uint64_t t;                                                                                \
	TRY(x86_get(c, in, n, &t))
#define SET(n, v) TRY(x86_set(c, in, n, v))
#define SET_IF(t, n, v)                                                                            \
	if (t) SET(n, v)
#define SET_REG(n, v)                                                                              \
	if (in->o[n].kind != X86_MEM) SET(n, v)
#define PUSH(v)	 TRY(x86_push(c, in, v))
#define JUMP(to) TRY(x86_jump(c, in, to))
#define BR(cond, to)                                                                               \
	if (cond) JUMP(to)
#define HELPER(name)	    TRY(x86_help_##name(c, in))
#define FOREIGN(name)	    return X86_OTHER
#define FL_ADD(r, a, b)	    x86_flags_add(c, r, a, b, 0, SIZE)
#define FL_ADC(r, a, b, cf) x86_flags_add(c, r, a, b, cf, SIZE)
#define FL_SUB(r, a, b)	    x86_flags_sub(c, r, a, b, 0, SIZE)
#define FL_SBB(r, a, b, cf) x86_flags_sub(c, r, a, b, cf, SIZE)
#define FL_LOGIC(r)	    x86_flags_logic(c, r, SIZE)
#define FL_INC(r)	    x86_flags_inc(c, r, false, SIZE)
#define FL_DEC(r)	    x86_flags_inc(c, r, true, SIZE)
#define FL_CF(v)	    x86_put(c, X86_CF, v)
#define FL_ZERO(a)	    x86_put(c, X86_ARITH, (a) ? 0 : X86_ZF)
#define FL_BSF(a)	    x86_put(c, X86_ZF, (a) ? 0 : X86_ZF)
#define FL_SHL(a, n)	    x86_flags_shl(c, a, n, SIZE)
#define FL_SHR(a, n)	    x86_flags_shr(c, a, n, false, SIZE)
#define FL_SAR(a, n)	    x86_flags_shr(c, a, n, true, SIZE)
#define FL_ROL(r, n)	    x86_flags_rol(c, r, n, SIZE)
#define FL_ROR(r, n)	    x86_flags_ror(c, r, n, SIZE)
#define FL_RCL(a, n, cf)    x86_flags_rcl(c, a, n, cf, SIZE)
#define FL_RCR(a, n, cf)    x86_flags_rcr(c, a, n, cf, SIZE)
#define FL_SHLD(a, b, n)    x86_flags_shld(c, a, b, n, SIZE)
#define FL_SHRD(a, b, n)    x86_flags_shrd(c, a, b, n, SIZE)
#define FL_IMUL(a, b)	    x86_flags_imul(c, a, b, SIZE)
#undef COUNT
#define COUNT(a) COUNT_(a)

#define OP(name, ...)                                                                              \
	static int op_##name(struct x86_cpu *c, const struct x86_insn *in)                         \
	{                                                                                          \
		(void)c, (void)in;                                                                 \
		__VA_ARGS__                                                                        \
		return 0;                                                                          \
	}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunreachable-code"
#include "isa/x86/x86.sem.inc"
#pragma GCC diagnostic pop
#undef OP

static int op_illegal(struct x86_cpu *c, const struct x86_insn *in)
{
	(void)c, (void)in;
	return X86_TRAP_UD;
}
#define OP(name, ...) [X86_OP_##name] = op_##name,
static int (*const op[X86_OP__max])(struct x86_cpu *, const struct x86_insn *) = {
	op_illegal,
#include "isa/x86/x86.sem.inc"
};
int x86_exec(struct x86_cpu *c, const struct x86_insn *in)
{
	uint64_t sp = c->r[4];
	int e;
	do {
		c->next = c->rip + in->len;
		if (in->mode != X86_64) c->next = (uint32_t)c->next;
		e = op[in->op](c, in);
	} while (unlikely(e == X86_AGAIN));
	if (likely(!e))
		c->rip = c->next;
	else if (e != X86_REPEAT)
		c->r[4] = sp;
	return e;
}
