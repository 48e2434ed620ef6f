/* The table's meanings read a fourth time: each verb appends to a unit. Guest registers live in
 * `now`; what memory does not have of them is `dirty`, and every place that can leave the unit
 * records both in a map, so nothing is stored for fear of a fault. */
#include "engine/rv64_lift.h"
#include "engine/amo.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_flow.h"
#include "engine/rv64_vector.h"
#include <stdlib.h>

#define AT(member) offsetof(struct rv64_cpu, member)
/* clang-format off */
#define X8(m, n)   {AT(m) + 8 * (n), 8, false, #m #n}, {AT(m) + 8 * ((n) + 1), 8, false, #m #n "+1"}
/* clang-format on */
#define XREG(n)                                                                                    \
	{                                                                                          \
		AT(x) + 8 * (n), 8, false, "x" #n                                                  \
	}
#define FREG(n)                                                                                    \
	{                                                                                          \
		AT(f) + 8 * (n), 8, true, "f" #n                                                   \
	}
#define TEN(R, t)                                                                                  \
	R(t##0), R(t##1), R(t##2), R(t##3), R(t##4), R(t##5), R(t##6), R(t##7), R(t##8), R(t##9)
#define ALL32(R)                                                                                   \
	R(0), R(1), R(2), R(3), R(4), R(5), R(6), R(7), R(8), R(9), TEN(R, 1), TEN(R, 2), R(30),   \
		R(31)
const struct ir_slot rv64_slots[SLOT__COUNT] = {
	ALL32(XREG),
	ALL32(FREG),
	[SLOT_BASE] = {AT(base), 8, false, "base"},
	[SLOT_FP_ON] = {AT(fp_on), 1, false, "fp_on"},
	[SLOT_FS_DIRTY] = {AT(fs_dirty), 1, false, "fs_dirty"},
	[SLOT_FP_HOST] = {AT(fp.host), 1, false, "fp_host"},
	[SLOT_FP_FMA] = {AT(fp.host_fma), 1, false, "fp_fma"},
	[SLOT_RES_VA] = {AT(res_va), 8, false, "res_va"},
	[SLOT_RES_VAL] = {AT(res_val), 8, false, "res_val"},
	[SLOT_RES_LEN] = {AT(res_len), 4, false, "res_len"},
	[SLOT_FCTX] = {AT(fctx), 8, false, "fctx"},
	[SLOT_N] = {AT(n), 8, false, "n"},
	[SLOT_STOP] = {AT(stop), 1, false, "stop"},
	[SLOT_LEN] = {AT(len), 1, false, "len"},
	[SLOT_LIMIT] = {AT(n_limit), 8, false, "n_limit"},
};

enum { LOOKUPS = 32, SLOTS = 64 };
struct lookup { /* an xlat that later accesses may share */
	ir_val base, at;
	ir_val root; /* base is root + delta */
	int32_t delta, lo, hi;
	unsigned space; /* and IR_XLAT_WINDOW */
	uint32_t block;
};
enum { SEEN_FP_ON = 1 << 16, SEEN_DIRTY = 1 << 17 }; /* beside bits of host and, << 8, host_fma */
struct known {					     /* of a register that the region never sets */
	ir_val val;
	uint32_t block;
};
struct block_end {
	ir_val val[SLOTS]; /* newest values, {0}: not known here */
	ir_val param[SLOTS];
	uint32_t seen;
};
struct leaving { /* a block that is an exit, to be filled when all others are */
	uint32_t block, map;
	enum ir_exit how;
};
struct lift {
	struct ir_fn *f;
	const struct region *r;
	const struct lift_how *how;
	unsigned unrun; /* instructions of the block from `off` on */
	struct flow flow;
	struct block_end end[REGION_BLOCKS];
	uint32_t ir_block[REGION_BLOCKS];   /* where region blocks are in f; 0 is the entry */
	uint32_t way_out[REGION_BLOCKS][2]; /* blocks of an edge's own, see blocks_make() */
	struct leaving leaving[2 * REGION_BLOCKS];
	int nleaving;
	struct lookup lookup[LOOKUPS];
	int nlookups, lookups_from;    /* older ones have become void */
	struct known known[SLOTS + 1]; /* [SLOTS]: SLOT_BASE */

	/* the block being filled */
	int block;
	ir_val now[SLOTS];
	uint64_t dirty;
	uint32_t seen, entry_seen;
	uint32_t map; /* of the state at `off` as it is; 0: to be made */
	unsigned map_why;
	/* the instruction */
	const struct rv64_insn *i;
	int off;
	ir_val cond, to;
};

struct lift *lift_new(void)
{
	struct lift *l = calloc(1, sizeof(*l));
	must(l);
	return l;
}
void lift_free(struct lift *l) { free(l); }

/* ---- emitting ---- */
#define NO ((ir_val){0})
static ir_val e1(struct lift *l, enum ir_op op, enum ir_type t, ir_val a)
{
	return ir_emit(l->f, op, t, a, NO, NO);
}
static ir_val e2(struct lift *l, enum ir_op op, ir_val a, ir_val b)
{
	return ir_emit(l->f, op, IR_I64, a, b, NO);
}
static ir_val konst(struct lift *l, uint64_t k) { return ir_konst(l->f, IR_I64, k); }
static ir_val low(struct lift *l, ir_val a) { return e1(l, IR_trunc, IR_I32, a); }
static ir_val op32(struct lift *l, enum ir_op op, ir_val a, ir_val b)
{
	return ir_emit(l->f, op, IR_I32, low(l, a), low(l, b), NO);
}
static const struct ir_ins *ins(const struct lift *l, ir_val v) { return ir_at(l->f, v); }

static ir_val known(const struct lift *l, unsigned s)
{
	const struct known *k = &l->known[s];
	return k->val.n && ir_dominates(l->f, k->block, l->f->at) ? k->val : NO;
}
static ir_val pc_at(struct lift *l, int off)
{
	struct known *k = &l->known[SLOT_BASE];
	if (!known(l, SLOT_BASE).n) *k = (struct known){ir_get(l->f, IR_I64, SLOT_BASE), l->f->at};
	return e2(l, IR_add, k->val, konst(l, (uint64_t)(int64_t)off));
}

/* ---- maps and guards ---- */
static uint32_t map_make(struct lift *l, int off, unsigned why)
{
	struct ir_pair p[SLOTS];
	unsigned n = 0;
	for (uint64_t d = l->dirty; d; d &= d - 1) {
		unsigned s = (unsigned)__builtin_ctzll(d);
		p[n++] = (struct ir_pair){s, l->now[s].n};
	}
	uint32_t above = l->how->count ? l->unrun : l->how->tag;
	return ir_map_new(l->f, p, n, off, above << WHY_BITS | why);
}
static uint32_t map_here(struct lift *l, unsigned why)
{
	if (!l->map || l->map_why != why) {
		l->map = map_make(l, l->off, why);
		l->map_why = why;
	}
	return l->map;
}
static void at_instruction(struct lift *l, int off)
{
	l->off = off;
	l->map = 0;
}
static void guard(struct lift *l, ir_val cond, unsigned why)
{
	uint64_t k;
	if (ir_is_konst(l->f, cond, &k) && k) return;
	ir_guard(l->f, cond, map_here(l, why));
}

/* ---- guest registers ---- */
static bool is_single(const struct lift *l, unsigned s)
{
	uint32_t bit = s >= SLOT_F ? 1u << (s - SLOT_F) : 0;
	return l->r->single & ~l->r->wide & bit;
}

/* The f32 that a NaN-boxed register holds; what is none is for the interpreter. */
static ir_val unbox(struct lift *l, ir_val bits)
{
	uint64_t k;
	const struct ir_ins *i = ins(l, bits);
	bool boxed = i->op == IR_or && ir_is_konst(l->f, (ir_val){i->arg[1]}, &k) &&
		     k == 0xffffffff00000000;
	if (!boxed)
		guard(l, ir_emit(l->f, IR_ltu, IR_I64, konst(l, 0xfffffffeffffffff), bits, NO),
		      WHY_BOX);
	return e1(l, IR_tofp, IR_F32, bits);
}

static ir_val from_home(struct lift *l, unsigned s)
{
	if (s < SLOT_F) return ir_get(l->f, IR_I64, s);
	if (!is_single(l, s)) return ir_get(l->f, IR_F64, s);
	return unbox(l, ir_get(l->f, IR_I64, s));
}

static ir_val reg(struct lift *l, unsigned s)
{
	if (!s) return konst(l, 0);
	if (l->now[s].n) return l->now[s];
	bool fixed = !(l->r->def >> s & 1);
	if (fixed) l->now[s] = known(l, s);
	if (l->now[s].n) return l->now[s];
	l->now[s] = from_home(l, s);
	if (fixed) l->known[s] = (struct known){l->now[s], l->f->at};
	return l->now[s];
}
static void reg_set(struct lift *l, unsigned s, ir_val v)
{
	if (!s) return;
	l->now[s] = v;
	l->dirty |= 1ull << s;
}
static ir_val fbits(struct lift *l, unsigned n)
{
	return e1(l, IR_tobits, IR_I64, reg(l, SLOT_F + (n & 31)));
}
static ir_val fbits_single(struct lift *l, unsigned n)
{
	unsigned s = SLOT_F + (n & 31);
	if (is_single(l, s)) return fbits(l, n);
	return e1(l, IR_tobits, IR_I64, unbox(l, fbits(l, n)));
}
static void fp_dirty(struct lift *l)
{
	if (l->seen & SEEN_DIRTY) return;
	ir_put(l->f, SLOT_FS_DIRTY, konst(l, 1));
	l->seen |= SEEN_DIRTY;
}
static void fset(struct lift *l, unsigned n, ir_val bits, bool single)
{
	unsigned s = SLOT_F + (n & 31);
	fp_dirty(l);
	if (single && !is_single(l, s)) {
		bits = e2(l, IR_or, e1(l, IR_zx32, IR_I64, bits), konst(l, 0xffffffff00000000));
		single = false;
	}
	reg_set(l, s, e1(l, IR_tofp, single ? IR_F32 : IR_F64, bits));
}

/* ---- memory ---- */
struct addr {
	ir_val base, h;
	int32_t disp;
};
static void split(const struct lift *l, ir_val va, ir_val *base, int32_t *disp)
{
	uint64_t k;
	const struct ir_ins *i = ins(l, va);
	*base = va;
	*disp = 0;
	if (i->op != IR_add || !ir_is_konst(l->f, (ir_val){i->arg[1]}, &k)) return;
	if ((int64_t)k != (int32_t)k || k + (1u << 30) > (1u << 31)) return;
	*base = (ir_val){i->arg[0]};
	*disp = (int32_t)k;
}

/* An earlier look-up serves if it covers these bytes, or can be made to before it is done. */
static bool shares(struct lift *l, struct lookup *k, const struct addr *a, unsigned bytes,
		   unsigned space)
{
	if (k->root.n != a->base.n || (k->space & 3) < (space & 3)) return false;
	if (k->space & ~space & IR_XLAT_WINDOW) return false;
	int32_t lo = a->disp - k->delta, hi = lo + (int32_t)bytes - 1;
	int32_t first = lo < k->lo ? lo : k->lo, last = hi > k->hi ? hi : k->hi;
	if (first == k->lo && last == k->hi) return ir_dominates(l->f, k->block, l->f->at);
	if (k->block != l->f->at || last - first >= l->how->span) return false;
	k->lo = first;
	k->hi = last;
	l->f->ins[k->at.n].arg[1] = (uint32_t)first;
	l->f->ins[k->at.n].arg[2] = (uint32_t)last;
	return true;
}

static bool is_load_or_store(const struct rv64_insn *i)
{
	return (i->op >= OP_lb && i->op <= OP_sd) || i->op == OP_fld || i->op == OP_flw ||
	       i->op == OP_fsd || i->op == OP_fsw;
}
_Static_assert(OP_sd - OP_lb == 10, "all of them are between");

/* Make a's base one that has been looked up. */
static void look_up(struct lift *l, struct addr *a, unsigned bytes, unsigned space)
{
	struct lookup k = {.root = a->base, .base = a->base, .space = space, .block = l->f->at};
	int from = l->nlookups > LOOKUPS ? l->nlookups - LOOKUPS : 0;
	if (from < l->lookups_from) from = l->lookups_from;
	for (int i = l->nlookups - 1; i >= from; i--) {
		struct lookup *have = &l->lookup[i % LOOKUPS];
		if (!shares(l, have, a, bytes, space)) continue;
		*a = (struct addr){have->base, have->at, a->disp - have->delta};
		return;
	}
	if (is_load_or_store(l->i)) { /* the register itself: what it was made of may be gone */
		k.base = reg(l, l->i->rs1);
		k.delta = a->disp - l->i->imm;
	}
	k.lo = a->disp - k.delta;
	k.hi = k.lo + (int32_t)bytes - 1;
	k.at = ir_xlat(l->f, space, k.base, k.lo, k.hi, map_here(l, WHY_MEM));
	*a = (struct addr){k.base, k.at, k.lo};
	l->lookup[l->nlookups++ % LOOKUPS] = k;
}

static struct addr reach(struct lift *l, ir_val va, unsigned bytes, unsigned space)
{
	struct addr a;
	split(l, va, &a.base, &a.disp);
	look_up(l, &a, bytes, space);
	return a;
}

/* By the window, if there are any: the access itself must then have a map. */
static unsigned windowed(const struct lift *l, unsigned space)
{
	return l->how->window ? space | IR_XLAT_WINDOW : space;
}
static void may_exit(struct lift *l)
{
	if (l->how->window) ir_may_exit(l->f, map_here(l, WHY_MEM));
}
static ir_val load_by(struct lift *l, enum ir_type t, enum ir_mem m, const struct addr *a)
{
	ir_val v = ir_load(l->f, t, m, a->h, a->base, a->disp);
	may_exit(l);
	return t == IR_I64 ? v : e1(l, IR_tobits, IR_I64, v);
}

static ir_val load(struct lift *l, ir_val va, unsigned bits)
{
	static const uint8_t plain[] = {[1] = IR_U8, [2] = IR_U16, [4] = IR_U32, [8] = IR_U64};
	struct addr a = reach(l, va, bits / 8, windowed(l, SPACE_READ));
	enum ir_mem m = (enum ir_mem)plain[bits / 8];
	switch (l->i->op) {
	case OP_lb: m = IR_S8; break;
	case OP_lh: m = IR_S16; break;
	case OP_lw: m = IR_S32; break;
	case OP_fld: return load_by(l, IR_F64, m, &a);
	case OP_flw: return load_by(l, IR_F32, m, &a);
	default: break;
	}
	return load_by(l, IR_I64, m, &a);
}

static ir_val host_of(struct lift *l, const struct addr *a)
{
	ir_val page = e2(l, IR_add, a->h, a->base);
	return e2(l, IR_add, page, konst(l, (uint64_t)(int64_t)a->disp));
}
static void log_store(struct lift *l, ir_val at, unsigned bits)
{
	ir_val args[] = {ir_state(l->f, 0), at, konst(l, bits / 8)};
	(void)ir_call(l->f, 0, (const void *)l->how->log, args, 3);
}

static void store(struct lift *l, ir_val va, ir_val v, unsigned bits)
{
	struct addr a = reach(l, va, bits / 8, windowed(l, SPACE_WRITE));
	const struct ir_ins *i = ins(l, v);
	if (i->op == IR_tobits) {
		ir_val x = {i->arg[0]};
		enum ir_type t = ir_result_type(ins(l, x));
		if ((t == IR_F64 && bits == 64) || (t == IR_F32 && bits == 32)) v = x;
	}
	if (l->how->log) log_store(l, host_of(l, &a), bits);
	ir_store(l->f, bits / 8, a.h, a.base, a.disp, v);
	may_exit(l);
}

/* Host address for an atomic. Where loads and stores do, they go by the window like any other, lest
 * what was stored by one address is waited for by another. */
static ir_val atomic_at(struct lift *l, ir_val va, unsigned bits, unsigned space)
{
	bool plain = l->how->alone && !l->how->log;
	guard(l, e2(l, IR_eq, e2(l, IR_and, va, konst(l, bits / 8 - 1)), konst(l, 0)), WHY_ATOMIC);
	struct addr a = reach(l, va, bits / 8, plain ? windowed(l, space) : space);
	ir_val at = host_of(l, &a);
	if (l->how->log && space == SPACE_WRITE) log_store(l, at, bits);
	return at;
}

static ir_val load_at(struct lift *l, ir_val at, unsigned bits)
{
	enum ir_mem m = bits == 32 ? IR_U32 : IR_U64;
	ir_val v = ir_load(l->f, IR_I64, m, konst(l, 0), at, 0);
	may_exit(l);
	return v;
}
static void store_at(struct lift *l, ir_val at, ir_val v, unsigned bits)
{
	ir_store(l->f, bits / 8, konst(l, 0), at, 0, v);
	may_exit(l);
}

enum amo { AMO_swap, AMO_add, AMO_and, AMO_or, AMO_xor, AMO_min, AMO_max, AMO_minu, AMO_maxu };

/* What an AMO stores; 32-bit operands compare by their low halves. */
static ir_val amo_result(struct lift *l, enum amo op, ir_val old, ir_val v, unsigned bits)
{
	static const uint8_t plain[] = {
		[AMO_add] = IR_add, [AMO_and] = IR_and, [AMO_or] = IR_or, [AMO_xor] = IR_xor};
	bool low = op == AMO_min || op == AMO_minu, sign = op == AMO_min || op == AMO_max;
	if (op == AMO_swap) return v;
	if (op <= AMO_xor) return e2(l, (enum ir_op)plain[op], old, v);
	if (bits == 32) {
		old = e1(l, sign ? IR_sx32 : IR_zx32, IR_I64, old);
		v = e1(l, sign ? IR_sx32 : IR_zx32, IR_I64, v);
	}
	ir_val less = e2(l, sign ? IR_lt : IR_ltu, low ? old : v, low ? v : old);
	return ir_emit(l->f, IR_select, IR_I64, less, old, v);
}

static ir_val amo(struct lift *l, enum amo op, const void *fn, ir_val va, ir_val v, unsigned bits)
{
	ir_val at = atomic_at(l, va, bits, SPACE_WRITE);
	if (l->how->alone) {
		ir_val old = load_at(l, at, bits);
		store_at(l, at, amo_result(l, op, old, v, bits), bits);
		return old;
	}
	if (op == AMO_swap) return ir_atomic(l->f, IR_swap, bits / 8, at, v, NO);
	if (op == AMO_add) return ir_atomic(l->f, IR_xadd, bits / 8, at, v, NO);
	ir_val args[] = {at, v};
	return ir_call(l->f, 0, fn, args, 2);
}

static ir_val load_reserved(struct lift *l, ir_val va, unsigned bits)
{
	ir_val v = load_at(l, atomic_at(l, va, bits, SPACE_READ), bits);
	ir_put(l->f, SLOT_RES_VA, va);
	ir_put(l->f, SLOT_RES_VAL, v);
	ir_put(l->f, SLOT_RES_LEN, konst(l, bits / 8));
	return v;
}

static uint64_t sc_32(void *at, uint64_t was, uint64_t v, uint64_t may)
{
	uint32_t old = (uint32_t)was;
	return !may || !__atomic_compare_exchange_n((uint32_t *)at, &old, (uint32_t)v, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static uint64_t sc_64(void *at, uint64_t was, uint64_t v, uint64_t may)
{
	return !may || !__atomic_compare_exchange_n((uint64_t *)at, &was, v, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* 0 if it was stored. It always writes, be it what was there, if nobody can tell. */
static ir_val store_conditional(struct lift *l, ir_val va, ir_val v, unsigned bits)
{
	ir_val at = atomic_at(l, va, bits, SPACE_WRITE);
	ir_val len = ir_get(l->f, IR_I64, SLOT_RES_LEN), was = ir_get(l->f, IR_I64, SLOT_RES_VAL);
	ir_val may = e2(l, IR_and, e2(l, IR_eq, len, konst(l, bits / 8)),
			e2(l, IR_eq, ir_get(l->f, IR_I64, SLOT_RES_VA), va));
	ir_put(l->f, SLOT_RES_LEN, konst(l, 0));
	if (!l->how->alone) {
		ir_val args[] = {at, was, v, may};
		const void *fn = bits == 32 ? (const void *)sc_32 : (const void *)sc_64;
		return ir_call(l->f, 0, fn, args, 4);
	}
	ir_val old = load_at(l, at, bits);
	may = e2(l, IR_and, may, e2(l, IR_eq, old, was));
	store_at(l, at, ir_emit(l->f, IR_select, IR_I64, may, v, old), bits);
	return e2(l, IR_xor, may, konst(l, 1));
}

static void fence(struct lift *l)
{
	if (l->i->imm & 0x50 && l->i->imm & 0x0a) ir_fence(l->f);
}

/* ---- floating point ---- */
static void fp_needs(struct lift *l, uint32_t bit, unsigned slot, uint64_t mask, unsigned why)
{
	if (l->seen & bit) return;
	guard(l, e2(l, IR_and, ir_get(l->f, IR_I64, slot), konst(l, mask)), why);
	l->seen |= bit;
}
static void fp_on(struct lift *l) { fp_needs(l, SEEN_FP_ON, SLOT_FP_ON, 1, WHY_FP_OFF); }
static void fp_rounds_as(struct lift *l, unsigned rm)
{
	fp_needs(l, 1u << rm, SLOT_FP_HOST, 1u << rm, WHY_ROUND);
}
static void fp_fuses_as(struct lift *l, unsigned rm)
{
	fp_needs(l, 0x100u << rm, SLOT_FP_FMA, 1u << rm, WHY_ROUND);
}
static void fp_rounds(struct lift *l) { fp_rounds_as(l, l->i->rm & 7); }
static void fp_fuses(struct lift *l) { fp_fuses_as(l, l->i->rm & 7); }

enum fp_how {
	FP_ARITH,
	FP_FUSED,
	FP_COMPARE,
	FP_TO_INT,
	FP_TO_UINT,
	FP_FROM,
	FP_FROM_U,
	FP_CONVERT
};
struct fp_op {
	const void *fn;
	uint8_t op, type, how, width;
};
#define FP_BOTH(name, op, how, width)                                                              \
	{(const void *)f64_##name, op, IR_F64, how, width},                                        \
	{                                                                                          \
		(const void *)f32_##name, op, IR_F32, how, width                                   \
	}
static const struct fp_op fp_ops[] = {
	FP_BOTH(add, IR_fadd, FP_ARITH, 0),
	FP_BOTH(sub, IR_fsub, FP_ARITH, 0),
	FP_BOTH(mul, IR_fmul, FP_ARITH, 0),
	FP_BOTH(div, IR_fdiv, FP_ARITH, 0),
	FP_BOTH(sqrt, IR_fsqrt, FP_ARITH, 0),
	FP_BOTH(fma, IR_fma, FP_FUSED, 0),
	FP_BOTH(eq, IR_feq, FP_COMPARE, 0),
	FP_BOTH(lt, IR_flt, FP_COMPARE, 0),
	FP_BOTH(le, IR_fle, FP_COMPARE, 0),
	FP_BOTH(ltq, IR_fltq, FP_COMPARE, 0),
	FP_BOTH(leq, IR_fleq, FP_COMPARE, 0),
	FP_BOTH(to_i32, IR_ftoi, FP_TO_INT, 32),
	FP_BOTH(to_i64, IR_ftoi, FP_TO_INT, 64),
	FP_BOTH(to_u32, IR_ftoi, FP_TO_UINT, 32),
	FP_BOTH(to_u64, IR_ftoi, FP_TO_UINT, 64),
	FP_BOTH(from_i32, IR_itof, FP_FROM, 32),
	FP_BOTH(from_i64, IR_itof, FP_FROM, 64),
	FP_BOTH(from_u32, IR_itof, FP_FROM_U, 32),
	FP_BOTH(from_u64, IR_itof, FP_FROM_U, 64),
	{(const void *)f64_to_f32, IR_fcvt, IR_F32, FP_CONVERT, 0},
	{(const void *)f32_to_f64, IR_fcvt, IR_F64, FP_CONVERT, 0},
};

/* As bits, the way verbs pass values; NaNs are made canonical. */
static ir_val fp_bits(struct lift *l, enum ir_type t, ir_val v)
{
	return e1(l, IR_tobits, IR_I64, e1(l, IR_fnan, t, v));
}

/* To an unsigned number, of what is sure to fit: what does not must not raise ftoi's flags. */
static ir_val fp_to_uint(struct lift *l, const struct fp_op *o, ir_val x)
{
	static const uint64_t limit[2][2] = {{0x4f800000, 0x5f000000},
					     {0x41efffffffe00001, 0x43e0000000000000}};
	bool wide = o->width == 64, truncate = l->i->rm == RM_RTZ;
	if (!truncate) fp_rounds(l);
	ir_val bits = e1(l, IR_tobits, IR_I64, x);
	guard(l, e2(l, IR_ltu, bits, konst(l, limit[o->type == IR_F64][wide])), WHY_RANGE);
	ir_val v = ir_ftoi(l->f, IR_I64, x, truncate);
	return wide ? v : e1(l, IR_sx32, IR_I64, v);
}

/* ftoi answers with the least number where RISC-V may want another: that is rare. */
static ir_val fp_to_int(struct lift *l, const struct fp_op *o, ir_val x)
{
	bool truncate = l->i->rm == RM_RTZ, wide = o->width == 64;
	if (!truncate) fp_rounds(l);
	ir_val v = ir_ftoi(l->f, wide ? IR_I64 : IR_I32, x, truncate);
	if (!wide) v = e1(l, IR_sx32, IR_I64, v);
	guard(l, e2(l, IR_ne, v, konst(l, wide ? 1ull << 63 : 0xffffffff80000000)), WHY_RANGE);
	return v;
}

static ir_val fp_from_int(struct lift *l, const struct fp_op *o, ir_val v)
{
	fp_rounds(l);
	if (o->width == 32) v = e1(l, o->how == FP_FROM ? IR_sx32 : IR_zx32, IR_I64, v);
	if (o->how == FP_FROM_U && o->width == 64)
		guard(l, e2(l, IR_le, konst(l, 0), v), WHY_RANGE);
	return e1(l, IR_tobits, IR_I64, e1(l, IR_itof, (enum ir_type)o->type, v));
}

/* Infinity times zero is invalid even if a quiet NaN is added; hosts differ. So a NaN is for the
 * interpreter. */
static ir_val fp_fused(struct lift *l, enum ir_type t, const ir_val *v)
{
	fp_fuses(l);
	ir_val r = ir_emit(l->f, IR_fma, t, v[0], v[1], v[2]);
	guard(l, ir_emit(l->f, IR_fleq, t, r, r, NO), WHY_RANGE);
	return e1(l, IR_tobits, IR_I64, r);
}

static ir_val fp_native(struct lift *l, const struct fp_op *o, const ir_val *bits, unsigned n)
{
	enum ir_type t = (enum ir_type)o->type, from = t;
	ir_val v[3] = {NO, NO, NO};
	if (o->how == FP_FROM || o->how == FP_FROM_U) return fp_from_int(l, o, bits[0]);
	if (o->how == FP_CONVERT) from = t == IR_F32 ? IR_F64 : IR_F32;
	for (unsigned i = 0; i < n; i++) v[i] = e1(l, IR_tofp, from, bits[i]);
	if (o->how == FP_COMPARE) return ir_emit(l->f, (enum ir_op)o->op, t, v[0], v[1], NO);
	if (o->how == FP_TO_INT) return fp_to_int(l, o, v[0]);
	if (o->how == FP_TO_UINT) return fp_to_uint(l, o, v[0]);
	if (o->how == FP_FUSED) return fp_fused(l, t, v);
	if (o->how != FP_CONVERT || t == IR_F32 || (l->i->rm & 7) > RM_RMM)
		fp_rounds(l); /* what is exact may still name a mode that is none */
	return fp_bits(l, t, ir_emit(l->f, (enum ir_op)o->op, t, v[0], v[1], v[2]));
}

/* With rm >= 0 the function takes it last. Invalid modes are never among the host's. */
static ir_val fp_bits_of(struct lift *l, const void *fn, const ir_val *bits, unsigned n, bool rm)
{
	for (unsigned i = 0; i < COUNT(fp_ops); i++)
		if (fp_ops[i].fn == fn) return fp_native(l, &fp_ops[i], bits, n);
	if (rm) fp_rounds(l);
	ir_val args[5] = {ir_state(l->f, AT(fp))};
	for (unsigned i = 0; i < n; i++) args[1 + i] = bits[i];
	if (rm) args[1 + n] = konst(l, l->i->rm & 7);
	return ir_call(l->f, 0, fn, args, 1 + n + rm);
}

static ir_val fp_op(struct lift *l, const void *fn, const ir_val *bits, unsigned n, bool rm)
{
	ir_val v = fp_bits_of(l, fn, bits, n, rm);
	fp_dirty(l); /* not before its guards: those give up when nothing has happened */
	return v;
}

/* ---- the verbs ---- */
static ir_val sx(struct lift *l, ir_val a, unsigned bits)
{
	const struct ir_ins *i = ins(l, a);
	if (i->op == IR_load && i->aux >= IR_S8 && i->type == IR_I64) return a;
	if (bits == 32 && i->op == IR_shr && i->type == IR_I64) { /* srlw */
		const struct ir_ins *z = ins(l, (ir_val){i->arg[0]});
		if (z->op == IR_zx32) a = op32(l, IR_shr, (ir_val){z->arg[0]}, (ir_val){i->arg[1]});
	}
	return e1(l, bits == 8 ? IR_sx8 : bits == 16 ? IR_sx16 : IR_sx32, IR_I64, a);
}
static ir_val zx(struct lift *l, ir_val a, unsigned bits)
{
	return e1(l, bits == 8 ? IR_zx8 : bits == 16 ? IR_zx16 : IR_zx32, IR_I64, a);
}
static ir_val sx32_of(struct lift *l, enum ir_op op, ir_val a, ir_val b)
{
	return e1(l, IR_sx32, IR_I64, op32(l, op, a, b));
}
static ir_val count32(struct lift *l, enum ir_op op, ir_val a)
{
	return e1(l, IR_zx32, IR_I64, e1(l, op, IR_I32, low(l, a)));
}
static ir_val orc_b(struct lift *l, ir_val a)
{
	ir_val low7 = konst(l, 0x7f7f7f7f7f7f7f7f);
	ir_val some = e2(l, IR_or, e2(l, IR_add, e2(l, IR_and, a, low7), low7), a);
	ir_val top = e2(l, IR_and, some, konst(l, 0x8080808080808080));
	return e2(l, IR_mul, e2(l, IR_shr, top, konst(l, 7)), konst(l, 0xff));
}
static ir_val pure2(struct lift *l, const void *fn, ir_val a, ir_val b)
{
	ir_val args[] = {a, b};
	return ir_call(l->f, IR_CALL_PURE, fn, args, 2);
}
static uint64_t clmul(uint64_t a, uint64_t b)
{
	uint64_t r = 0;
	for (; b; b &= b - 1) r ^= a << __builtin_ctzll(b);
	return r;
}
static uint64_t clmulh(uint64_t a, uint64_t b)
{
	uint64_t r = 0;
	for (b &= ~1ull; b; b &= b - 1) r ^= a >> (64 - __builtin_ctzll(b));
	return r;
}
static uint64_t clmulr(uint64_t a, uint64_t b) { return clmulh(a, b) << 1 | clmul(a, b) >> 63; }

#define V		       __attribute__((unused)) const ir_val
#define R(m)		       reg(l, i->m)
#define IMM()		       konst(l, (uint64_t)(int64_t)i->imm)
#define K(k)		       konst(l, (uint64_t)(k))
#define PC()		       pc_at(l, l->off)
#define NEXT_PC()	       pc_at(l, l->off + i->len)
#define ADD(a, b)	       e2(l, IR_add, a, b)
#define SUB(a, b)	       e2(l, IR_sub, a, b)
#define MUL(a, b)	       e2(l, IR_mul, a, b)
#define MULH(a, b)	       e2(l, IR_mulhs, a, b)
#define MULHU(a, b)	       e2(l, IR_mulhu, a, b)
#define MULHSU(a, b)	       e2(l, IR_mulhsu, a, b)
#define DIV(a, b)	       e2(l, IR_divs, a, b)
#define DIVU(a, b)	       e2(l, IR_divu, a, b)
#define REM(a, b)	       e2(l, IR_rems, a, b)
#define REMU(a, b)	       e2(l, IR_remu, a, b)
#define DIVW(a, b)	       sx32_of(l, IR_divs, a, b)
#define DIVUW(a, b)	       sx32_of(l, IR_divu, a, b)
#define REMW(a, b)	       sx32_of(l, IR_rems, a, b)
#define REMUW(a, b)	       sx32_of(l, IR_remu, a, b)
#define AND(a, b)	       e2(l, IR_and, a, b)
#define OR(a, b)	       e2(l, IR_or, a, b)
#define XOR(a, b)	       e2(l, IR_xor, a, b)
#define NOT(a)		       e1(l, IR_not, IR_I64, a)
#define NEG(a)		       e1(l, IR_neg, IR_I64, a)
#define SHL(a, b)	       e2(l, IR_shl, a, b)
#define SHR(a, b)	       e2(l, IR_shr, a, b)
#define SAR(a, b)	       e2(l, IR_sar, a, b)
#define ROL(a, b)	       e2(l, IR_rol, a, b)
#define ROR(a, b)	       e2(l, IR_ror, a, b)
#define ROLW(a, b)	       sx32_of(l, IR_rol, a, b)
#define RORW(a, b)	       sx32_of(l, IR_ror, a, b)
#define EQ(a, b)	       e2(l, IR_eq, a, b)
#define NE(a, b)	       e2(l, IR_ne, a, b)
#define LT(a, b)	       e2(l, IR_lt, a, b)
#define LE(a, b)	       e2(l, IR_le, a, b)
#define LTU(a, b)	       e2(l, IR_ltu, a, b)
#define LEU(a, b)	       e2(l, IR_leu, a, b)
#define SEL(a, b, c)	       ir_emit(l->f, IR_select, IR_I64, a, b, c)
#define SX(a, bits)	       sx(l, a, bits)
#define ZX(a, bits)	       zx(l, a, bits)
#define CLZ(a)		       e1(l, IR_clz, IR_I64, a)
#define CTZ(a)		       e1(l, IR_ctz, IR_I64, a)
#define CPOP(a)		       e1(l, IR_popcnt, IR_I64, a)
#define CLZW(a)		       count32(l, IR_clz, a)
#define CTZW(a)		       count32(l, IR_ctz, a)
#define CPOPW(a)	       count32(l, IR_popcnt, a)
#define ORCB(a)		       orc_b(l, a)
#define REV8(a)		       e1(l, IR_bswap, IR_I64, a)
#define CLMUL(a, b)	       pure2(l, (const void *)clmul, a, b)
#define CLMULH(a, b)	       pure2(l, (const void *)clmulh, a, b)
#define CLMULR(a, b)	       pure2(l, (const void *)clmulr, a, b)
#define FRAW(m)		       fbits(l, i->m)
#define F64(m)		       fbits(l, i->m)
#define F32(m)		       fbits_single(l, i->m)
#define F16(m)		       half(l, i->m)
#define FLI64(m)	       konst(l, fp_fli_f64[i->m & 31])
#define FLI32(m)	       konst(l, fp_fli_f32[i->m & 31])
#define FLI16(m)	       konst(l, fp_fli_f16[i->m & 31])
#define SET(m, v)	       reg_set(l, i->m, v)
#define SETF64(m, v)	       fset(l, i->m, v, false)
#define SETF32(m, v)	       fset(l, i->m, v, true)
#define SETF16(m, v)	       fset(l, i->m, e2(l, IR_or, v, konst(l, 0xffffffffffff0000)), false)
#define LOAD(t, a, bits)       V t = load(l, a, bits)
#define STORE(a, v, bits)      store(l, a, v, bits)
#define LR(t, a, bits)	       V t = load_reserved(l, a, bits)
#define SC(t, a, v, bits)      V t = store_conditional(l, a, v, bits)
#define AMO(t, op, a, v, bits) V t = amo(l, AMO_##op, (const void *)amo_##op##_##bits, a, v, bits)
#define FP()		       fp_on(l)
#define FARGS(...)	       ((const ir_val[]){__VA_ARGS__})
#define FOP1(t, fn, a)	       V t = fp_op(l, (const void *)fn, FARGS(a), 1, true)
#define FOP2(t, fn, a, b)      V t = fp_op(l, (const void *)fn, FARGS(a, b), 2, true)
#define FOP3(t, fn, a, b, d)   V t = fp_op(l, (const void *)fn, FARGS(a, b, d), 3, true)
#define FNR1(t, fn, a)	       V t = fp_op(l, (const void *)fn, FARGS(a), 1, false)
#define FNR2(t, fn, a, b)      V t = fp_op(l, (const void *)fn, FARGS(a, b), 2, false)
#define FENCE()		       fence(l)
#define BR(c, to_)	       l->cond = (c)
#define JUMP(to_)	       l->to = (to_)
#define GOTO(to_)	       l->to = (to_)
#define HELPER(name)	       helper(l, (const void *)rv64_do_##name, 0)
#define VECTOR(shape, kernel)  helper(l, (const void *)rv64_v_##shape, (uintptr_t)&rv64_vk_##kernel)
#define VMEM(shape, bits)      helper(l, (const void *)rv64_v_##shape, bits)
#define STOP()		       (void)0

static bool is_counter(int32_t csr)
{
	return csr == CSR_CYCLE || csr == CSR_INSTRET || csr == CSR_MCYCLE || csr == CSR_MINSTRET;
}
/* A guest may wait for a counter to go on, in a loop that does not leave the unit. */
static void tick(struct lift *l)
{
	ir_put(l->f, SLOT_N, e2(l, IR_add, ir_get(l->f, IR_I64, SLOT_N), konst(l, 4)));
}

/* A function does it, on the state as it stands in memory (block_settle has seen to that). Those of
 * vectors take a third argument. */
static void helper(struct lift *l, const void *fn, uint64_t what)
{
	struct rv64_effects e;
	const struct code_page *page = l->r->page[region_page(l->off)];
	const struct slot *ip = &page->slot[(l->off & (REGION_BYTES - 1)) / 2];
	if (is_counter(l->i->imm)) tick(l);
	ir_val args[] = {ir_state(l->f, 0), konst(l, (uintptr_t)ip), konst(l, what)};
	ir_val stop = ir_call(l->f, IR_CALL_STATE, fn, args, what ? 3 : 2);
	stop = zx(l, stop, 32);
	ir_put(l->f, SLOT_STOP, stop);
	ir_put(l->f, SLOT_LEN, konst(l, l->i->len));
	guard(l, e2(l, IR_eq, stop, konst(l, 0)), WHY_CALL);
	rv64_effects(l->i, &e);
	for (uint64_t d = e.def; d; d &= d - 1) l->now[__builtin_ctzll(d)] = NO;
	l->seen = 0;
	l->lookups_from = l->nlookups;
}

static ir_val half(struct lift *l, unsigned n)
{
	ir_val bits = fbits(l, n);
	guard(l, ir_emit(l->f, IR_ltu, IR_I64, konst(l, 0xfffffffffffeffff), bits, NO), WHY_BOX);
	return zx(l, bits, 16);
}

/* ---- rv64_fp_csr(): frflags, fsflags and their like ---- */
static uint64_t flags_get(struct rv64_fp *fp) { return fp_flags_get(fp); }
static uint64_t flags_set(struct rv64_fp *fp, uint64_t v) { return fp_flags_set(fp, v & 0x1f), 0; }
static uint64_t frm_get(const struct rv64_fp *fp) { return fp->frm; }

static void fp_csr(struct lift *l)
{
	const struct rv64_insn *i = l->i;
	bool number = i->op > OP_csrrc, swap = i->op == OP_csrrw || i->op == OP_csrrwi;
	bool clear = i->op == OP_csrrc || i->op == OP_csrrci, write = swap || i->rs1;
	ir_val fp[2] = {ir_state(l->f, AT(fp))}, old = konst(l, 0);
	fp_on(l);
	ir_val v = number ? konst(l, i->rs1) : reg(l, i->rs1);
	if (i->imm != CSR_FRM) old = ir_call(l->f, 0, (const void *)flags_get, fp, 1);
	if (i->imm != CSR_FFLAGS) {
		ir_val frm = ir_call(l->f, 0, (const void *)frm_get, fp, 1);
		unsigned shift = i->imm == CSR_FCSR ? 5 : 0;
		old = e2(l, IR_or, old, e2(l, IR_shl, frm, konst(l, shift)));
	}
	if (write) {
		fp_dirty(l);
		if (!swap && clear) v = e2(l, IR_and, old, e1(l, IR_not, IR_I64, v));
		if (!swap && !clear) v = e2(l, IR_or, old, v);
		fp[1] = v;
		(void)ir_call(l->f, IR_CALL_FLOAT, (const void *)flags_set, fp, 2);
	}
	reg_set(l, i->rd, old);
}

static void instruction(struct lift *l)
{
	const struct rv64_insn *i = l->i;
	if (rv64_fp_csr(i)) {
		fp_csr(l);
		return;
	}
	switch ((enum rv64_op)i->op) {
#define OP(op, ...)                                                                                \
	case OP_##op: {                                                                            \
		__VA_ARGS__                                                                        \
	} break;
#include "isa/rv64/rv64.sem.inc"
#undef OP
	case OP_illegal:
	case OP__max: must(!"lifted");
	}
}

/* ---- blocks ---- */

static uint32_t ir_of(const struct lift *l, int b) { return l->ir_block[b]; }

/* Parameter s of block b is the raw result of arithmetic: which NaN it is matters only to those who
 * look, and they have it made canonical for themselves. Not so where nobody in the region reads it:
 * what comes in then may be anything. */
static bool is_raw(const struct lift *l, int b, unsigned s)
{
	return s >= SLOT_F && l->r->raw >> (s - SLOT_F) & 1 && l->r->block[b].live >> s & 1;
}

static ir_val incoming(struct lift *l, unsigned s, uint8_t at)
{
	if (at >= AT_PARAM) {
		ir_val v = l->end[at - AT_PARAM].param[s];
		if (!is_raw(l, at - AT_PARAM, s)) return v;
		return e1(l, IR_fnan, (enum ir_type)ins(l, v)->type, v);
	}
	return at ? l->end[at - AT_DEF].val[s] : NO;
}

static bool loop_calls(const struct region *r, int h)
{
	for (int i = h; i < r->n; i++)
		if (r->block[i].loops >> h & 1 && r->block[i].end == END_CALL) return true;
	return false;
}

/* What all ways to block b have made sure of; those round its loop as well, if nothing there can
 * change it. */
static uint32_t seen_before(const struct lift *l, int b)
{
	uint32_t seen = b ? ~0u : l->entry_seen;
	for (uint64_t p = l->r->block[b].preds; p; p &= p - 1) {
		int from = __builtin_ctzll(p);
		if (from < b) seen &= l->end[from].seen;
	}
	return l->r->block[b].header && loop_calls(l->r, b) ? 0 : seen;
}

static void block_begin(struct lift *l, int b)
{
	const struct region_block *k = &l->r->block[b];
	int only = k->preds && !(k->preds & (k->preds - 1)) && b ? __builtin_ctzll(k->preds) : -1;
	l->block = b;
	l->f->at = ir_of(l, b);
	l->dirty = 0;
	l->seen = seen_before(l, b);
	for (unsigned s = 0; s < SLOTS; s++) {
		uint8_t at = l->r->def >> s & 1 ? l->flow.in[b][s] : AT_HOME;
		l->now[s] = NO;
		if (at) {
			l->now[s] = incoming(l, s, at);
			l->dirty |= 1ull << s;
		} else if (only >= 0) {
			l->now[s] = l->end[only].val[s];
		}
	}
}

static void block_save(struct lift *l)
{
	struct block_end *e = &l->end[l->block];
	memcpy(e->val, l->now, sizeof(e->val));
	e->seen = l->seen;
}

/* What a loop reads and never sets is fetched once, before it, and what its floating point needs is
 * looked at. */
static void hoist(struct lift *l, int h)
{
	uint64_t use = 0;
	unsigned rounds = 0, fuses = 0;
	bool fp = false;
	for (int i = h; i < l->r->n; i++) {
		const struct region_block *k = &l->r->block[i];
		if (!(k->loops >> h & 1)) continue;
		use |= k->use;
		fp |= k->fp;
		rounds |= k->rounds;
		fuses |= k->fuses;
	}
	if (fp) fp_on(l), fp_dirty(l);
	for (; rounds; rounds &= rounds - 1) fp_rounds_as(l, (unsigned)__builtin_ctz(rounds));
	for (; fuses; fuses &= fuses - 1) fp_fuses_as(l, (unsigned)__builtin_ctz(fuses));
	for (use &= ~l->r->def; use; use &= use - 1) (void)reg(l, (unsigned)__builtin_ctzll(use));
}

/* As raw as can be had. A value from elsewhere keeps its NaN, so that must be one that arithmetic
 * could have made. */
static ir_val raw(struct lift *l, ir_val v)
{
	const struct ir_ins *i = ins(l, v);
	bool f32 = ir_result_type(i) == IR_F32;
	if (i->op == IR_fnan) return (ir_val){i->arg[0]};
	ir_val bits = e1(l, IR_tobits, IR_I64, v),
	       size = e2(l, IR_shl, bits, konst(l, f32 ? 33 : 1));
	ir_val plain = e2(l, IR_leu, size, konst(l, f32 ? 0xff00000000000000 : 0xffe0000000000000));
	guard(l, e2(l, IR_or, plain, e2(l, IR_eq, bits, konst(l, f32 ? F32_NAN : F64_NAN))),
	      WHY_BOX);
	return v;
}

static ir_val argument(struct lift *l, int b, unsigned s)
{
	ir_val v = reg(l, s);
	return is_raw(l, b, s) ? raw(l, v) : v;
}

/* The edge to block b, with what it takes as parameters. */
static uint32_t edge_to(struct lift *l, int b)
{
	ir_val args[SLOTS];
	unsigned n = 0;
	for (uint64_t p = l->flow.param[b] & l->r->def; p; p &= p - 1)
		args[n++] = argument(l, b, (unsigned)__builtin_ctzll(p));
	return ir_edge_new(l->f, ir_of(l, b), args);
}

static enum ir_exit exit_how(int off)
{
	return off >= 0 && off < PAGE_SIZE ? IR_EXIT_NEAR : IR_EXIT_FAR;
}

/* The edge to an exit that goes on at off. */
static uint32_t edge_out(struct lift *l, int off)
{
	uint32_t b = ir_block_new(l->f), from = l->f->at;
	l->f->block[b].idom = from;
	l->f->block[b].loop = ~0u;
	l->f->block[b].cold = true;
	l->leaving[l->nleaving++] = (struct leaving){b, map_make(l, off, WHY_EXIT), exit_how(off)};
	return ir_edge_new(l->f, b, NULL);
}

static void put_home(struct lift *l, uint64_t set)
{
	for (set &= l->dirty; set; set &= set - 1) {
		unsigned s = (unsigned)__builtin_ctzll(set);
		ir_put(l->f, s, l->now[s]);
	}
}

static uint32_t edge_by(struct lift *l, int j)
{
	uint32_t b = l->way_out[l->block][j], from = l->f->at;
	uint32_t to = edge_to(l, l->r->block[l->block].succ[j]);
	if (!b) return to;
	l->f->at = b;
	put_home(l, l->flow.flush_to[l->block][j]);
	ir_jump(l->f, to);
	l->f->at = from;
	return ir_edge_new(l->f, b, NULL);
}

static uint32_t edge(struct lift *l, int j, int off)
{
	return l->r->block[l->block].succ[j] >= 0 ? edge_by(l, j) : edge_out(l, off);
}

static void leave_to(struct lift *l, int off)
{
	ir_exit(l->f, exit_how(off), map_make(l, off, WHY_EXIT));
}

static void leave_by(struct lift *l, ir_val to)
{
	uint64_t k;
	const struct ir_ins *i = ins(l, to);
	if (i->op == IR_add && ins(l, (ir_val){i->arg[0]})->op == IR_get &&
	    ins(l, (ir_val){i->arg[0]})->aux == SLOT_BASE &&
	    ir_is_konst(l->f, (ir_val){i->arg[1]}, &k) && (int64_t)k == (int32_t)k)
		leave_to(l, (int32_t)k);
	else
		ir_goto(l->f, to, map_make(l, 0, WHY_EXIT));
}

/* Before the terminator: what others will not find in a register, and what loops will want. */
static void block_settle(struct lift *l)
{
	const struct region_block *k = &l->r->block[l->block];
	uint64_t flush = l->flow.flush[l->block];
	for (int j = 0; j < 2; j++)
		if (!l->way_out[l->block][j]) flush |= l->flow.flush_to[l->block][j];
	put_home(l, flush);
	l->dirty &= ~l->flow.flush[l->block];
	l->map = 0;
	for (int j = 0; j < 2; j++) {
		int s = k->succ[j];
		if (s >= 0 && l->r->block[s].header && !(k->loops >> s & 1)) hoist(l, s);
	}
}

static void block_finish(struct lift *l)
{
	const struct region_block *k = &l->r->block[l->block];
	bool pending = k->end == END_BR || k->end == END_CALL; /* the last one has not run yet */
	at_instruction(l, pending ? k->last : k->end == END_JUMP ? k->to : k->next);
	l->unrun = pending && l->how->count;
	block_settle(l);
	uint32_t yes = 0, no = 0;
	if (k->end == END_CALL) {
		instruction(l);
		l->unrun = 0;
		at_instruction(l, k->next);
	}
	if (k->end == END_BR) {
		yes = edge(l, 0, k->to);
		no = edge(l, 1, k->next);
		l->unrun = 0;
		block_save(l);
		ir_br(l->f, l->cond, yes, no);
		return;
	}
	block_save(l);
	if ((k->end == END_FALL || k->end == END_CALL) && k->succ[1] >= 0)
		ir_jump(l->f, edge_to(l, k->succ[1]));
	else if (k->end == END_JUMP && k->succ[0] >= 0)
		ir_jump(l->f, edge_to(l, k->succ[0]));
	else if (k->end == END_JUMP)
		leave_to(l, k->to);
	else if (k->end == END_GOTO)
		leave_by(l, l->to);
	else
		leave_to(l, k->next);
}

static void count_block(struct lift *l, const struct region_block *k)
{
	unsigned n = 0;
	for (int off = k->off; off < k->next; off += region_insn(l->r, off)->len) n++;
	ir_val was = ir_get(l->f, IR_I64, SLOT_N);
	ir_put(l->f, SLOT_N, e2(l, IR_add, was, konst(l, n)));
	l->unrun = n;
}

static void block_lift(struct lift *l, int b)
{
	const struct region_block *k = &l->r->block[b];
	block_begin(l, b);
	at_instruction(l, k->off);
	if (k->header && l->r->calls) l->lookups_from = l->nlookups;
	if (k->header) ir_poll(l->f, map_here(l, WHY_POLL));
	if (k->header && l->how->count)
		guard(l,
		      e2(l, IR_ltu, ir_get(l->f, IR_I64, SLOT_N), ir_get(l->f, IR_I64, SLOT_LIMIT)),
		      WHY_POLL);
	if (l->how->count) count_block(l, k);
	for (int off = k->off; off < k->next; off += l->i->len) {
		at_instruction(l, off);
		l->i = region_insn(l->r, off);
		if (off == k->last && k->end == END_CALL) break;
		instruction(l);
		if (l->how->count) l->unrun--;
	}
	l->unrun = 0;
	block_finish(l);
}

/* loops: bits of the headers of the loops it lies in */
static uint32_t block_new(struct lift *l, int idom, uint64_t loops)
{
	uint32_t b = ir_block_new(l->f);
	struct ir_block *k = &l->f->block[b];
	k->idom = idom < 0 ? 0 : ir_of(l, idom);
	k->loop = loops ? ir_of(l, 63 - __builtin_clzll(loops)) : ~0u;
	k->depth = (uint16_t)__builtin_popcountll(loops);
	return b;
}

/* What an edge alone needs written home is written on the way, in a block before its target, where
 * the other way goes round a loop once more. */
static void ways_out(struct lift *l, int b)
{
	const struct region *r = l->r;
	for (uint64_t set = r->block[b].preds; set; set &= set - 1) {
		int p = __builtin_ctzll(set);
		const struct region_block *k = &r->block[p];
		bool leaves = p < b && k->end == END_BR && k->loops & ~r->block[b].loops;
		for (int j = 0; leaves && j < 2; j++)
			if (k->succ[j] == b && l->flow.flush_to[p][j])
				l->way_out[p][j] = block_new(l, p, k->loops & r->block[b].loops);
	}
}

static void blocks_make(struct lift *l)
{
	memset(l->way_out, 0, sizeof(l->way_out));
	(void)block_new(l, -1, 0);
	for (int b = 0; b < l->r->n; b++) {
		const struct region_block *k = &l->r->block[b];
		ways_out(l, b);
		l->ir_block[b] = l->f->nblocks; /* it may be its own loop's header */
		(void)block_new(l, b ? k->idom : -1, k->loops);
	}
}

static void params_make(struct lift *l, int b)
{
	l->f->at = ir_of(l, b);
	for (uint64_t p = l->flow.param[b] & l->r->def; p; p &= p - 1) {
		unsigned s = (unsigned)__builtin_ctzll(p);
		enum ir_type t = s < SLOT_F ? IR_I64 : is_single(l, s) ? IR_F32 : IR_F64;
		l->end[b].param[s] = is_raw(l, b, s) ? ir_param_quiet(l->f, t) : ir_param(l->f, t);
	}
}

/* A neighbour's code is in this unit: it must be mapped there and be what it was. As a directory
 * look-up, but by ordinary operations. */
static void check_page(struct lift *l, int i)
{
	const struct code_page *p = l->r->page[i];
	ir_val va = pc_at(l, (i - 1) * REGION_BYTES);
	ir_val index = e2(l, IR_and, e2(l, IR_shr, va, konst(l, PAGE_SHIFT - 4)),
			  konst(l, (FETCH_SIZE - 1) << 4));
	ir_val table = ir_state(l->f, AT(fetch));
	ir_val tag = ir_load(l->f, IR_I64, IR_U64, table, index, 0);
	ir_val page = ir_load(l->f, IR_I64, IR_U64, table, index, 8);
	ir_val at = konst(l, (uintptr_t)&p->version);
	ir_val version = ir_load(l->f, IR_I64, IR_U32, konst(l, 0), at, 0);
	guard(l, e2(l, IR_eq, tag, e2(l, IR_or, va, ir_get(l->f, IR_I64, SLOT_FCTX))), WHY_PAGE);
	guard(l, e2(l, IR_eq, page, konst(l, (uintptr_t)p)), WHY_PAGE);
	guard(l, e2(l, IR_eq, version, konst(l, p->version)), WHY_PAGE);
}

static void entry(struct lift *l)
{
	const struct region_block *k = &l->r->block[0];
	l->block = 0;
	l->f->at = 0;
	l->dirty = 0;
	l->seen = 0;
	memset(l->now, 0, sizeof(l->now));
	at_instruction(l, k->off);
	for (int i = 0; i < REGION_PAGES; i++)
		if (i != 1 && l->r->pages >> i & 1) check_page(l, i);
	if (k->header)
		hoist(l, 0);
	else
		ir_poll(l->f, map_here(l, WHY_POLL));
	ir_jump(l->f, edge_to(l, 0));
	l->entry_seen = l->seen;
}

void lift_region(struct lift *l, struct ir_fn *f, const struct region *r,
		 const struct lift_how *how)
{
	l->f = f;
	l->r = r;
	l->how = how;
	l->unrun = 0;
	l->nlookups = l->nleaving = l->lookups_from = 0;
	memset(l->known, 0, sizeof(l->known));
	flow_find(&l->flow, r);
	blocks_make(l);
	for (int b = 0; b < r->n; b++) params_make(l, b);
	entry(l);
	for (int b = 0; b < r->n; b++) block_lift(l, b);
	for (int i = 0; i < l->nleaving; i++) {
		f->at = l->leaving[i].block;
		ir_exit(f, l->leaving[i].how, l->leaving[i].map);
	}
}
