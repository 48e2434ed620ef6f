/* The table's meanings read a fourth time: each verb appends to a unit. Guest registers live in
 * `now`; what memory does not have of them is `dirty`, and every place that can leave the unit
 * records both in a map, so nothing is stored for fear of a fault. */
#include "engine/amo.h"
#include "engine/clmul.h"
#include "engine/rv64_lift_impl.h"
#include "engine/rv64_vector.h"
#include <stdlib.h>

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
	[SLOT_FFLAGS] = {AT(fp.flags), 1, false, "fflags"},
	[SLOT_FRM] = {AT(fp.frm), 1, false, "frm"},
	[SLOT_RES_VA] = {AT(res_va), 8, false, "res_va"},
	[SLOT_RES_VAL] = {AT(res_val), 8, false, "res_val"},
	[SLOT_RES_LEN] = {AT(res_len), 4, false, "res_len"},
	[SLOT_FCTX] = {AT(fctx), 8, false, "fctx"},
	[SLOT_N] = {AT(n), 8, false, "n"},
	[SLOT_STOP] = {AT(stop), 1, false, "stop"},
	[SLOT_LEN] = {AT(len), 1, false, "len"},
	[SLOT_LIMIT] = {AT(n_limit), 8, false, "n_limit"},
	[SLOT_VCONF] = {AT(v.sew), 8, false, "vconf"},
	[SLOT_VS_DIRTY] = {AT(v.dirty), 1, false, "vs_dirty"},
	[SLOT_WIN_LIMIT] = {AT(win_limit), 8, false, "win_limit"},
	[SLOT_WIN_BASE] = {AT(win_base), 8, false, "win_base"},
};

struct lift *lift_new(void)
{
	struct lift *l = calloc(1, sizeof(*l));
	must(l);
	return l;
}
void lift_free(struct lift *l) { free(l); }

static ir_val known(const struct lift *l, unsigned s)
{
	const struct known *k = &l->known[s];
	return k->val.n && ir_dominates(l->f, k->block, l->f->at) ? k->val : NO;
}
ir_val lift_fixed(struct lift *l, unsigned slot)
{
	struct known *k = &l->known[slot];
	if (!known(l, slot).n) *k = (struct known){ir_get(l->f, IR_I64, slot), l->f->at};
	return k->val;
}
static ir_val pc_at(struct lift *l, int off)
{
	return e2(l, IR_add, lift_fixed(l, SLOT_BASE), konst(l, (uint64_t)(int64_t)off));
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
uint32_t lift_map(struct lift *l, unsigned why)
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
void lift_guard(struct lift *l, ir_val cond, unsigned why)
{
	uint64_t k;
	if (ir_is_konst(l->f, cond, &k) && k) return;
	ir_guard(l->f, cond, lift_map(l, why));
}

/* ---- guest registers ---- */
bool lift_is_single(const struct lift *l, unsigned s)
{
	uint32_t bit = s >= SLOT_F ? 1u << (s - SLOT_F) : 0;
	return l->r->single & ~l->r->wide & bit;
}

/* The f32 that a NaN-boxed register holds; what is none is for the interpreter. */
ir_val lift_unbox(struct lift *l, ir_val bits)
{
	uint64_t k;
	const struct ir_ins *i = ins(l, bits);
	bool boxed = i->op == IR_or && ir_is_konst(l->f, (ir_val){i->arg[1]}, &k) &&
		     k == 0xffffffff00000000;
	if (!boxed)
		lift_guard(l, ir_emit(l->f, IR_ltu, IR_I64, konst(l, 0xfffffffeffffffff), bits, NO),
			   WHY_BOX);
	return e1(l, IR_tofp, IR_F32, bits);
}

static ir_val from_home(struct lift *l, unsigned s)
{
	if (s < SLOT_F) return ir_get(l->f, IR_I64, s);
	if (!lift_is_single(l, s)) return ir_get(l->f, IR_F64, s);
	return lift_unbox(l, ir_get(l->f, IR_I64, s));
}

ir_val lift_reg(struct lift *l, unsigned s)
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
void lift_set(struct lift *l, unsigned s, ir_val v)
{
	if (!s) return;
	l->now[s] = v;
	l->dirty |= 1ull << s;
}
/* ---- floating point by name. Functions that are inline have an address of their own in each
 * file, so they are only compared in this one. ---- */
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

static ir_val fp_op(struct lift *l, const void *fn, const ir_val *bits, unsigned n, bool rm)
{
	struct fp_op other = {.fn = fn};
	const struct fp_op *o = &other;
	for (unsigned k = 0; k < COUNT(fp_ops); k++)
		if (fp_ops[k].fn == fn) o = &fp_ops[k];
	return lift_fp_op(l, o, bits, n, rm);
}

/* ---- the verbs ---- */
static void fence(struct lift *l)
{
	if (l->i->imm & 0x50 && l->i->imm & 0x0a) ir_fence(l->f);
}
static ir_val sx(struct lift *l, ir_val a, unsigned bits)
{
	const struct ir_ins *i = ins(l, a);
	if (i->op == IR_load && i->type == IR_I64 && i->aux >= IR_S8 &&
	    8u << (i->aux - IR_S8) <= bits)
		return a;
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
#define V		  __attribute__((unused)) const ir_val
#define R(m)		  lift_reg(l, i->m)
#define IMM()		  konst(l, (uint64_t)(int64_t)i->imm)
#define K(k)		  konst(l, (uint64_t)(k))
#define PC()		  pc_at(l, l->off)
#define NEXT_PC()	  pc_at(l, l->off + i->len)
#define ADD(a, b)	  e2(l, IR_add, a, b)
#define SUB(a, b)	  e2(l, IR_sub, a, b)
#define MUL(a, b)	  e2(l, IR_mul, a, b)
#define MULH(a, b)	  e2(l, IR_mulhs, a, b)
#define MULHU(a, b)	  e2(l, IR_mulhu, a, b)
#define MULHSU(a, b)	  e2(l, IR_mulhsu, a, b)
#define DIV(a, b)	  e2(l, IR_divs, a, b)
#define DIVU(a, b)	  e2(l, IR_divu, a, b)
#define REM(a, b)	  e2(l, IR_rems, a, b)
#define REMU(a, b)	  e2(l, IR_remu, a, b)
#define DIVW(a, b)	  sx32_of(l, IR_divs, a, b)
#define DIVUW(a, b)	  sx32_of(l, IR_divu, a, b)
#define REMW(a, b)	  sx32_of(l, IR_rems, a, b)
#define REMUW(a, b)	  sx32_of(l, IR_remu, a, b)
#define AND(a, b)	  e2(l, IR_and, a, b)
#define OR(a, b)	  e2(l, IR_or, a, b)
#define XOR(a, b)	  e2(l, IR_xor, a, b)
#define NOT(a)		  e1(l, IR_not, IR_I64, a)
#define NEG(a)		  e1(l, IR_neg, IR_I64, a)
#define SHL(a, b)	  e2(l, IR_shl, a, b)
#define SHR(a, b)	  e2(l, IR_shr, a, b)
#define SAR(a, b)	  e2(l, IR_sar, a, b)
#define ROL(a, b)	  e2(l, IR_rol, a, b)
#define ROR(a, b)	  e2(l, IR_ror, a, b)
#define ROLW(a, b)	  sx32_of(l, IR_rol, a, b)
#define RORW(a, b)	  sx32_of(l, IR_ror, a, b)
#define EQ(a, b)	  e2(l, IR_eq, a, b)
#define NE(a, b)	  e2(l, IR_ne, a, b)
#define LT(a, b)	  e2(l, IR_lt, a, b)
#define LE(a, b)	  e2(l, IR_le, a, b)
#define LTU(a, b)	  e2(l, IR_ltu, a, b)
#define LEU(a, b)	  e2(l, IR_leu, a, b)
#define SEL(a, b, c)	  ir_emit(l->f, IR_select, IR_I64, a, b, c)
#define SX(a, bits)	  sx(l, a, bits)
#define ZX(a, bits)	  zx(l, a, bits)
#define CLZ(a)		  e1(l, IR_clz, IR_I64, a)
#define CTZ(a)		  e1(l, IR_ctz, IR_I64, a)
#define CPOP(a)		  e1(l, IR_popcnt, IR_I64, a)
#define CLZW(a)		  count32(l, IR_clz, a)
#define CTZW(a)		  count32(l, IR_ctz, a)
#define CPOPW(a)	  count32(l, IR_popcnt, a)
#define ORCB(a)		  orc_b(l, a)
#define REV8(a)		  e1(l, IR_bswap, IR_I64, a)
#define CLMUL(a, b)	  pure2(l, (const void *)clmul, a, b)
#define CLMULH(a, b)	  pure2(l, (const void *)clmulh, a, b)
#define CLMULR(a, b)	  pure2(l, (const void *)clmulr, a, b)
#define FRAW(m)		  lift_fbits(l, i->m)
#define F64(m)		  lift_fbits(l, i->m)
#define F32(m)		  lift_fbits_single(l, i->m)
#define F16(m)		  half(l, i->m)
#define FLI64(m)	  konst(l, fp_fli_f64[i->m & 31])
#define FLI32(m)	  konst(l, fp_fli_f32[i->m & 31])
#define FLI16(m)	  konst(l, fp_fli_f16[i->m & 31])
#define SET(m, v)	  lift_set(l, i->m, v)
#define SETF64(m, v)	  lift_fset(l, i->m, v, false)
#define SETF32(m, v)	  lift_fset(l, i->m, v, true)
#define SETF16(m, v)	  lift_fset(l, i->m, e2(l, IR_or, v, konst(l, 0xffffffffffff0000)), false)
#define LOAD(t, a, bits)  V t = lift_load(l, a, bits)
#define STORE(a, v, bits) lift_store(l, a, v, bits)
#define LR(t, a, bits)	  V t = lift_lr(l, a, bits)
#define SC(t, a, v, bits) V t = lift_sc(l, a, v, bits)
#define AMO(t, op, a, v, bits)                                                                     \
	V t = lift_amo(l, AMO_##op, (const void *)amo_##op##_##bits, a, v, bits)
#define FP()		     lift_fp_on(l)
#define FARGS(...)	     ((const ir_val[]){__VA_ARGS__})
#define FOP1(t, fn, a)	     V t = fp_op(l, (const void *)fn, FARGS(a), 1, true)
#define FOP2(t, fn, a, b)    V t = fp_op(l, (const void *)fn, FARGS(a, b), 2, true)
#define FOP3(t, fn, a, b, d) V t = fp_op(l, (const void *)fn, FARGS(a, b, d), 3, true)
#define FNR1(t, fn, a)	     V t = fp_op(l, (const void *)fn, FARGS(a), 1, false)
#define FNR2(t, fn, a, b)    V t = fp_op(l, (const void *)fn, FARGS(a, b), 2, false)
#define FENCE()		     fence(l)
#define BR(c, to_)	     l->cond = (c)
#define JUMP(to_)	     l->to = (to_)
#define GOTO(to_)	     l->to = (to_)
#define HELPER(name)	     helper(l, (const void *)rv64_do_##name)
#define VECTOR(shape, kernel)                                                                      \
	lift_vector(l, (const void *)rv64_v_##shape, (uintptr_t)&rv64_vk_##kernel)
#define VMEM(shape, bits) lift_vector(l, (const void *)rv64_v_##shape, bits)
#define STOP()		  (void)0

static bool is_counter(int32_t csr)
{
	return csr == CSR_CYCLE || csr == CSR_INSTRET || csr == CSR_MCYCLE || csr == CSR_MINSTRET;
}
static void n_add(struct lift *l, uint64_t n)
{
	ir_put(l->f, SLOT_N, e2(l, IR_add, ir_get(l->f, IR_I64, SLOT_N), konst(l, n)));
}
/* A guest may wait for a counter to go on, in a loop that does not leave the unit. */
static void tick(struct lift *l) { n_add(l, 4); }
/* The block's instructions have been counted, this one, which is the last, among them. */
static void step_back(struct lift *l)
{
	n_add(l, ~0ull);
	l->unrun = 0;
	l->map = 0;
}

const struct slot *lift_slot(const struct lift *l)
{
	const struct code_page *page = l->r->page[region_page(l->off)];
	return &page->slot[(l->off & (REGION_BYTES - 1)) / 2];
}
const struct rv64_effects *lift_effects(const struct lift *l, int off)
{
	return &l->r->effects[l->r->at[region_half(off)] - 1];
}

/* A function does it, on the state as it stands in memory (block_settle has seen to that). */
static void helper(struct lift *l, const void *fn)
{
	struct rv64_effects e;
	if (l->how->count)
		step_back(l);
	else if (is_counter(l->i->imm))
		tick(l);
	ir_val args[] = {ir_state(l->f, 0), konst(l, (uintptr_t)lift_slot(l))};
	ir_val stop = ir_call(l->f, IR_CALL_STATE, fn, args, 2);
	stop = zx(l, stop, 32);
	ir_put(l->f, SLOT_STOP, stop);
	ir_put(l->f, SLOT_LEN, konst(l, l->i->len));
	lift_guard(l, e2(l, IR_eq, stop, konst(l, 0)), WHY_CALL);
	if (l->how->count) n_add(l, 1);
	rv64_effects(l->i, &e);
	for (uint64_t d = e.def; d; d &= d - 1) l->now[__builtin_ctzll(d)] = NO;
	l->seen = 0;
	l->lookups_from = l->nlookups;
}

static ir_val half(struct lift *l, unsigned n)
{
	ir_val bits = lift_fbits(l, n);
	lift_guard(l, ir_emit(l->f, IR_ltu, IR_I64, konst(l, 0xfffffffffffeffff), bits, NO),
		   WHY_BOX);
	return zx(l, bits, 16);
}

static void instruction(struct lift *l)
{
	const struct rv64_insn *i = l->i;
	if (rv64_fp_csr(i)) {
		lift_fp_csr(l);
		return;
	}
	if (rv64_v_csr(i)) {
		lift_v_csr(l);
		return;
	}
	if (lift_effects(l, l->off)->vset) {
		lift_vset(l);
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

/* Block b goes on to the next turn of the loop that it leaves: what it sets is wanted anyway. */
static bool goes_round(const struct lift *l, int b)
{
	const int *succ = l->r->block[b].succ;
	return (succ[0] >= 0 && succ[0] <= b) || (succ[1] >= 0 && succ[1] <= b);
}

/* What is made of a value with one cheap operation is made again outside of a loop, so that the
 * loop need not, every time round. */
static bool is_cheap(const struct lift *l, int from, ir_val v)
{
	const struct ir_ins *i = ins(l, v);
	enum ir_op op = (enum ir_op)i->op;
	uint64_t k;
	if (op == IR_add && ir_is_konst(l->f, (ir_val){i->arg[1]}, &k)) return !goes_round(l, from);
	return op == IR_fnan || op == IR_sx32 || op == IR_zx32;
}

/* v, which block `from` left, in block l->block. */
static ir_val brought_out(struct lift *l, int from, ir_val v)
{
	bool out = l->r->block[from].loops & ~l->r->block[l->block].loops;
	return out && is_cheap(l, from, v) ? ir_again(l->f, v) : v;
}

static ir_val incoming(struct lift *l, unsigned s, uint8_t at)
{
	if (!at) return NO;
	if (at < AT_PARAM) return brought_out(l, at - AT_DEF, l->end[at - AT_DEF].val[s]);
	int b = at - AT_PARAM;
	ir_val v = l->end[b].param[s];
	if (!is_raw(l, b, s)) return v;
	return brought_out(l, b, e1(l, IR_fnan, (enum ir_type)ins(l, v)->type, v));
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
	lift_v_block(l, b);
	for (unsigned s = 0; s < SLOTS; s++) {
		uint8_t at = l->r->def >> s & 1 ? l->flow.in[b][s] : AT_HOME;
		l->now[s] = NO;
		if (at) {
			l->now[s] = incoming(l, s, at);
			if (at >= AT_PARAM || !(l->flow.early[at - AT_DEF] >> s & 1))
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
	bool fp = false, vector = false;
	for (int i = h; i < l->r->n; i++) {
		const struct region_block *k = &l->r->block[i];
		if (!(k->loops >> h & 1)) continue;
		use |= k->use;
		vector |= k->vector;
		fp |= k->fp;
		rounds |= k->rounds;
		fuses |= k->fuses;
	}
	if (vector && l->how->lanes) lift_v_needs(l);
	if (fp) lift_fp_on(l), lift_fp_dirty(l);
	for (; rounds; rounds &= rounds - 1) lift_rounds(l, (unsigned)__builtin_ctz(rounds));
	for (; fuses; fuses &= fuses - 1) lift_fuses(l, (unsigned)__builtin_ctz(fuses));
	for (use &= ~l->r->def; use; use &= use - 1)
		(void)lift_reg(l, (unsigned)__builtin_ctzll(use));
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
	lift_guard(l, e2(l, IR_or, plain, e2(l, IR_eq, bits, konst(l, f32 ? F32_NAN : F64_NAN))),
		   WHY_BOX);
	return v;
}

static ir_val argument(struct lift *l, int b, unsigned s)
{
	ir_val v = lift_reg(l, s);
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

/* out: on the way out of a loop */
static void put_home(struct lift *l, uint64_t set, bool out)
{
	for (set &= l->dirty; set; set &= set - 1) {
		unsigned s = (unsigned)__builtin_ctzll(set);
		bool again = out && is_cheap(l, l->block, l->now[s]);
		ir_put(l->f, s, again ? ir_again(l->f, l->now[s]) : l->now[s]);
	}
}

void lift_put_home(struct lift *l, uint64_t set) { put_home(l, set, false); }

static uint32_t edge_by(struct lift *l, int j)
{
	uint32_t b = l->way_out[l->block][j], from = l->f->at;
	uint32_t to = edge_to(l, l->r->block[l->block].succ[j]);
	if (!b) return to;
	l->f->at = b;
	put_home(l, l->flow.flush_to[l->block][j], true);
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
	put_home(l, flush, false);
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
	if (k->end == END_PICK) {
		(void)lift_fixed(l, SLOT_WIN_BASE);
		l->cond = e2(l, IR_ne, lift_fixed(l, SLOT_WIN_LIMIT), konst(l, 0));
	}
	if (k->end == END_BR || k->end == END_PICK) {
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

static uint64_t sets(const struct lift *l, int off)
{
	return l->r->effects[l->r->at[region_half(off)] - 1].def;
}

static void early_count(struct lift *l, const struct region_block *k)
{
	uint64_t early = l->flow.early[l->block];
	memset(l->to_come, 0, sizeof(l->to_come));
	for (int off = k->off; early && off < k->next; off += region_insn(l->r, off)->len)
		for (uint64_t d = sets(l, off) & early; d; d &= d - 1)
			l->to_come[__builtin_ctzll(d)]++;
}

/* What has been set for the last time. */
static void early_put(struct lift *l, int off)
{
	uint64_t done = 0;
	for (uint64_t d = sets(l, off) & l->flow.early[l->block]; d; d &= d - 1)
		if (!--l->to_come[__builtin_ctzll(d)]) done |= d & -d;
	if (!done) return;
	put_home(l, done, false);
	l->dirty &= ~done;
}

/* ---- runs of vector instructions */
static void lift_range(struct lift *l, int from, int to)
{
	for (int off = from; off < to; off += l->i->len) {
		at_instruction(l, off);
		l->i = region_insn(l->r, off);
		instruction(l);
		early_put(l, off);
		if (l->how->count) l->unrun--;
	}
}

struct way { /* one of the two through a run: what it leaves */
	ir_val now[SLOTS];
	uint64_t dirty;
	uint32_t seen, at;
	uint16_t to_come[SLOTS];
	unsigned unrun;
};
static void way_get(const struct lift *l, struct way *w)
{
	memcpy(w->now, l->now, sizeof(w->now));
	memcpy(w->to_come, l->to_come, sizeof(w->to_come));
	w->dirty = l->dirty;
	w->seen = l->seen;
	w->at = l->f->at;
	w->unrun = l->unrun;
}
static void way_set(struct lift *l, const struct way *w)
{
	memcpy(l->now, w->now, sizeof(w->now));
	memcpy(l->to_come, w->to_come, sizeof(w->to_come));
	l->dirty = w->dirty;
	l->seen = w->seen;
	l->unrun = w->unrun;
	l->f->at = w->at;
}

/* What both ways have set meets in parameters; what one has only looked at is forgotten. */
static void ways_meet(struct lift *l, const struct vrun *r, const struct way *a,
		      const struct way *b)
{
	ir_val arg[2][SLOTS];
	unsigned n = 0;
	l->f->at = r->join;
	for (unsigned s = 0; s < SLOTS; s++) {
		ir_val x = a->now[s], y = b->now[s];
		l->now[s] = x.n == y.n ? x : NO;
		if (x.n == y.n || !((a->dirty | b->dirty) >> s & 1)) continue;
		must(x.n && y.n);
		arg[0][n] = x;
		arg[1][n++] = y;
		l->now[s] = ir_param(l->f, ir_result_type(ins(l, x)));
	}
	l->dirty = a->dirty | b->dirty;
	l->seen = a->seen & b->seen;
	l->f->at = a->at;
	ir_jump(l->f, ir_edge_new(l->f, r->join, arg[0]));
	l->f->at = b->at;
	ir_jump(l->f, ir_edge_new(l->f, r->join, arg[1]));
	l->f->at = r->join;
}

static void run_once(struct lift *l, const struct vrun *r, bool fast)
{
	lift_v_start(l, r, fast);
	lift_range(l, r->first, r->last);
}

static void run_lift(struct lift *l, const struct vrun *r)
{
	struct way before, fast, slow;
	if (r->how != RUN_SPLIT) {
		run_once(l, r, r->how == RUN_FULL);
		lift_v_end(l, r);
		return;
	}
	ir_val full = lift_v_full(l, r);
	ir_br(l->f, full, ir_edge_new(l->f, r->fast, NULL), ir_edge_new(l->f, r->slow, NULL));
	way_get(l, &before);
	l->f->at = r->fast;
	run_once(l, r, true);
	way_get(l, &fast);
	way_set(l, &before);
	l->f->at = r->slow;
	run_once(l, r, false);
	way_get(l, &slow);
	ways_meet(l, r, &fast, &slow);
	lift_v_end(l, r);
}

static void block_lift(struct lift *l, int b)
{
	const struct region_block *k = &l->r->block[b];
	block_begin(l, b);
	at_instruction(l, k->off);
	if (k->header && l->r->calls) l->lookups_from = l->nlookups;
	if (k->header) ir_poll(l->f, lift_map(l, WHY_POLL));
	if ((k->header || !b) && l->how->count)
		lift_guard(l,
			   e2(l, IR_ltu, ir_get(l->f, IR_I64, SLOT_N),
			      ir_get(l->f, IR_I64, SLOT_LIMIT)),
			   WHY_POLL);
	if (l->how->count) count_block(l, k);
	early_count(l, k);
	int off = k->off, end = k->end == END_CALL ? k->last : k->next;
	for (int i = l->v.run_of[b]; i < l->v.run_of[b + 1]; i++) {
		const struct vrun *r = &l->v.run[i];
		lift_range(l, off, r->first);
		run_lift(l, r);
		off = r->last;
	}
	lift_range(l, off, end);
	if (k->end == END_CALL) l->i = region_insn(l->r, k->last);
	l->unrun = 0;
	block_finish(l);
}

/* loops: bits of the headers of the loops it lies in */
static uint32_t block_new(struct lift *l, int idom, uint64_t loops)
{
	uint32_t b = ir_block_new(l->f);
	struct ir_block *k = &l->f->block[b];
	k->idom = idom < 0 ? 0 : l->ir_last[idom];
	k->loop = loops ? ir_of(l, 63 - __builtin_clzll(loops)) : ~0u;
	k->depth = (uint16_t)__builtin_popcountll(loops);
	return b;
}

static void run_blocks(struct lift *l, int b, struct vrun *r)
{
	uint64_t loops = l->r->block[b].loops;
	r->fast = block_new(l, b, loops);
	r->slow = block_new(l, b, loops);
	r->join = block_new(l, b, loops);
	l->f->block[r->slow].cold = true;
	l->ir_last[b] = r->join;
}

/* What an edge alone needs written home is written on the way, in a block of its own, where the
 * other way goes round a loop once more: before its target, */
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

/* or, if that is an outer loop's header, behind the loop; b comes next. */
static void ways_back(struct lift *l, int b)
{
	const struct region *r = l->r;
	uint64_t done = b < r->n ? ~r->block[b].loops : ~0ull;
	for (int depth = r->block[b - 1].depth; depth-- > 0;)
		for (int p = 0; p < b; p++)
			for (int j = 0; r->block[p].end == END_BR && j < 2; j++) {
				const struct region_block *k = &r->block[p];
				int s = k->succ[j];
				if (s < 0 || s > p || !l->flow.flush_to[p][j]) continue;
				uint64_t both = k->loops & r->block[s].loops;
				uint64_t left = k->loops & ~both;
				if (!left || __builtin_popcountll(both) != depth) continue;
				int outermost = __builtin_ctzll(left);
				if (done >> outermost & 1 && r->block[b - 1].loops >> outermost & 1)
					l->way_out[p][j] = block_new(l, p, both);
			}
}

static void blocks_make(struct lift *l)
{
	memset(l->way_out, 0, sizeof(l->way_out));
	(void)block_new(l, -1, 0);
	for (int b = 0; b < l->r->n; b++) {
		const struct region_block *k = &l->r->block[b];
		if (b) ways_back(l, b);
		ways_out(l, b);
		l->ir_block[b] = l->f->nblocks; /* it may be its own loop's header */
		l->ir_last[b] = block_new(l, b ? k->idom : -1, k->loops);
		for (int i = l->v.run_of[b]; i < l->v.run_of[b + 1]; i++)
			if (l->v.run[i].how == RUN_SPLIT) run_blocks(l, b, &l->v.run[i]);
	}
	ways_back(l, l->r->n);
}

static void params_make(struct lift *l, int b)
{
	l->f->at = ir_of(l, b);
	for (uint64_t p = l->flow.param[b] & l->r->def; p; p &= p - 1) {
		unsigned s = (unsigned)__builtin_ctzll(p);
		enum ir_type t = s < SLOT_F ? IR_I64 : lift_is_single(l, s) ? IR_F32 : IR_F64;
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
	lift_guard(l, e2(l, IR_eq, tag, e2(l, IR_or, va, ir_get(l->f, IR_I64, SLOT_FCTX))),
		   WHY_PAGE);
	lift_guard(l, e2(l, IR_eq, page, konst(l, (uintptr_t)p)), WHY_PAGE);
	lift_guard(l, e2(l, IR_eq, version, konst(l, p->version)), WHY_PAGE);
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
		ir_poll(l->f, lift_map(l, WHY_POLL));
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
	lift_v_plan(l);
	blocks_make(l);
	for (int b = 0; b < r->n; b++) params_make(l, b);
	entry(l);
	for (int b = 0; b < r->n; b++) block_lift(l, b);
	for (int i = 0; i < l->nleaving; i++) {
		f->at = l->leaving[i].block;
		ir_exit(f, l->leaving[i].how, l->leaving[i].map);
	}
}
