/* Floating point as IR: on the host's unit where that does what RISC-V asks for, else by the
 * functions that the interpreter uses. What cannot be decided here is guarded. */
#include "engine/rv64_lift_impl.h"

/* ---- registers ---- */
ir_val lift_fbits(struct lift *l, unsigned n)
{
	return e1(l, IR_tobits, IR_I64, lift_reg(l, SLOT_F + (n & 31)));
}
ir_val lift_fbits_single(struct lift *l, unsigned n)
{
	unsigned s = SLOT_F + (n & 31);
	if (lift_is_single(l, s)) return lift_fbits(l, n);
	return e1(l, IR_tobits, IR_I64, lift_unbox(l, lift_fbits(l, n)));
}
void lift_fp_dirty(struct lift *l)
{
	if (l->seen & SEEN_DIRTY) return;
	ir_put(l->f, SLOT_FS_DIRTY, konst(l, 1));
	l->seen |= SEEN_DIRTY;
}
void lift_fset(struct lift *l, unsigned n, ir_val bits, bool single)
{
	unsigned s = SLOT_F + (n & 31);
	lift_fp_dirty(l);
	if (single && !lift_is_single(l, s)) {
		bits = e2(l, IR_or, e1(l, IR_zx32, IR_I64, bits), konst(l, 0xffffffff00000000));
		single = false;
	}
	lift_set(l, s, e1(l, IR_tofp, single ? IR_F32 : IR_F64, bits));
}

/* ---- what it needs ---- */
static void fp_needs(struct lift *l, uint32_t bit, unsigned slot, uint64_t mask, unsigned why)
{
	if (l->seen & bit) return;
	lift_guard(l, e2(l, IR_and, ir_get(l->f, IR_I64, slot), konst(l, mask)), why);
	l->seen |= bit;
}
void lift_fp_on(struct lift *l) { fp_needs(l, SEEN_FP_ON, SLOT_FP_ON, 1, WHY_FP_OFF); }
void lift_rounds(struct lift *l, unsigned rm)
{
	fp_needs(l, 1u << rm, SLOT_FP_HOST, 1u << rm, WHY_ROUND);
}
void lift_fuses(struct lift *l, unsigned rm)
{
	fp_needs(l, 0x100u << rm, SLOT_FP_FMA, 1u << rm, WHY_ROUND);
}
static void fp_rounds(struct lift *l) { lift_rounds(l, l->i->rm & 7); }
static void fp_fuses(struct lift *l) { lift_fuses(l, l->i->rm & 7); }

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
	lift_guard(l, e2(l, IR_ltu, bits, konst(l, limit[o->type == IR_F64][wide])), WHY_RANGE);
	ir_val v = ir_ftoi(l->f, IR_I64, x, truncate);
	return wide ? v : e1(l, IR_sx32, IR_I64, v);
}

/* What v becomes, the least number, if x did not fit: the host has raised the flags for it. */
static ir_val fp_saturate(struct lift *l, ir_val x, ir_val v, uint64_t least)
{
	bool f64 = ir_result_type(ins(l, x)) == IR_F64;
	uint64_t sign = f64 ? 1ull << 63 : 1u << 31, inf = f64 ? 0x7ffull << 52 : 0xffu << 23;
	ir_val size = e2(l, IR_xor, e1(l, IR_tobits, IR_I64, x), konst(l, sign));
	ir_val negative = e2(l, IR_ltu, size, konst(l, inf + 1)); /* and no NaN */
	ir_val end = ir_emit(l->f, IR_select, IR_I64, negative, konst(l, least), konst(l, ~least));
	return ir_emit(l->f, IR_select, IR_I64, e2(l, IR_eq, v, konst(l, least)), end, v);
}

/* ftoi answers with the least number where RISC-V may want another: that is rare, mostly. */
static ir_val fp_to_int(struct lift *l, const struct fp_op *o, ir_val x)
{
	bool truncate = l->i->rm == RM_RTZ, wide = o->width == 64;
	if (!truncate) fp_rounds(l);
	ir_val v = ir_ftoi(l->f, wide ? IR_I64 : IR_I32, x, truncate);
	if (!wide) v = e1(l, IR_sx32, IR_I64, v);
	uint64_t least = wide ? 1ull << 63 : 0xffffffff80000000;
	if (l->how->saturate) return fp_saturate(l, x, v, least);
	lift_guard(l, e2(l, IR_ne, v, konst(l, least)), WHY_RANGE);
	return v;
}

static ir_val fp_from_int(struct lift *l, const struct fp_op *o, ir_val v)
{
	fp_rounds(l);
	if (o->width == 32) v = e1(l, o->how == FP_FROM ? IR_sx32 : IR_zx32, IR_I64, v);
	if (o->how == FP_FROM_U && o->width == 64)
		lift_guard(l, e2(l, IR_le, konst(l, 0), v), WHY_RANGE);
	return e1(l, IR_tobits, IR_I64, e1(l, IR_itof, (enum ir_type)o->type, v));
}

/* Infinity times zero is invalid even if a quiet NaN is added; hosts differ. So a NaN is for the
 * interpreter. */
static ir_val fp_fused(struct lift *l, enum ir_type t, const ir_val *v)
{
	fp_fuses(l);
	ir_val r = ir_emit(l->f, IR_fma, t, v[0], v[1], v[2]);
	lift_guard(l, ir_emit(l->f, IR_fleq, t, r, r, NO), WHY_RANGE);
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
static ir_val fp_bits_of(struct lift *l, const struct fp_op *o, const ir_val *bits, unsigned n,
			 bool rm)
{
	if (o->op) return fp_native(l, o, bits, n);
	if (rm) fp_rounds(l);
	ir_val args[5] = {ir_state(l->f, AT(fp))};
	for (unsigned i = 0; i < n; i++) args[1 + i] = bits[i];
	if (rm) args[1 + n] = konst(l, l->i->rm & 7);
	return ir_call(l->f, 0, o->fn, args, 1 + n + rm);
}

ir_val lift_fp_op(struct lift *l, const struct fp_op *o, const ir_val *bits, unsigned n, bool rm)
{
	ir_val v = fp_bits_of(l, o, bits, n, rm);
	lift_fp_dirty(l); /* not before its guards: those give up when nothing has happened */
	return v;
}

/* ---- rv64_fp_csr(): frflags, fsflags and their like ---- */
/* Units run between fp_enter and fp_leave: fflags is what fp.flags has or the host has raised. */
static ir_val flags_get(struct lift *l)
{
	ir_val v = e2(l, IR_or, ir_get(l->f, IR_I64, SLOT_FFLAGS), ir_fraised(l->f));
	ir_put(l->f, SLOT_FFLAGS, v);
	return v;
}
static void flags_set(struct lift *l, ir_val v)
{
	v = e2(l, IR_and, v, konst(l, 0x1f));
	ir_put(l->f, SLOT_FFLAGS, v);
	ir_fclear(l->f, v);
}

void lift_fp_csr(struct lift *l)
{
	const struct rv64_insn *i = l->i;
	bool number = i->op > OP_csrrc, swap = i->op == OP_csrrw || i->op == OP_csrrwi;
	bool clear = i->op == OP_csrrc || i->op == OP_csrrci, write = swap || i->rs1;
	ir_val old = konst(l, 0);
	lift_fp_on(l);
	ir_val v = number ? konst(l, i->rs1) : lift_reg(l, i->rs1);
	if (i->imm != CSR_FRM) old = flags_get(l);
	if (i->imm != CSR_FFLAGS) {
		ir_val frm = ir_get(l->f, IR_I64, SLOT_FRM);
		unsigned shift = i->imm == CSR_FCSR ? 5 : 0;
		old = e2(l, IR_or, old, e2(l, IR_shl, frm, konst(l, shift)));
	}
	if (write) {
		lift_fp_dirty(l);
		if (!swap && clear) v = e2(l, IR_and, old, e1(l, IR_not, IR_I64, v));
		if (!swap && !clear) v = e2(l, IR_or, old, v);
		flags_set(l, v);
	}
	lift_set(l, i->rd, old);
}
