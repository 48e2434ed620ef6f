/* Loads, stores and atomics as IR: who looks up a page, and who may share what was found. */
#include "engine/rv64_cpu.h"
#include "engine/rv64_lift_impl.h"
#include "engine/rv64_reserve.h"

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
	if (k->root.n != a->base.n || (k->space & 3) < (space & 3) || k->space == IN_WINDOW)
		return false;
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
	if (rv64_loads_or_stores(l->i)) { /* the register itself: what it was made of may be gone */
		k.base = lift_reg(l, l->i->rs1);
		k.delta = a->disp - l->i->imm;
	}
	k.lo = a->disp - k.delta;
	k.hi = k.lo + (int32_t)bytes - 1;
	k.at = ir_xlat(l->f, space, k.base, k.lo, k.hi, lift_map(l, WHY_MEM));
	*a = (struct addr){k.base, k.at, k.lo};
	l->lookup[l->nlookups++ % LOOKUPS] = k;
}

/* In a block that is only entered with a window: once the base has been compared, whatever is at a
 * displacement from it is in the window or its guards. */
static void look_in_window(struct lift *l, struct addr *a)
{
	int from = l->nlookups > LOOKUPS ? l->nlookups - LOOKUPS : 0;
	a->h = lift_fixed(l, SLOT_WIN_BASE);
	for (int i = l->nlookups - 1; i >= from; i--) {
		const struct lookup *have = &l->lookup[i % LOOKUPS];
		if (have->space == IN_WINDOW && have->root.n == a->base.n &&
		    ir_dominates(l->f, have->block, l->f->at))
			return;
	}
	lift_guard(l, e2(l, IR_ltu, a->base, lift_fixed(l, SLOT_WIN_LIMIT)), WHY_MEM);
	l->lookup[l->nlookups++ % LOOKUPS] =
		(struct lookup){.root = a->base, .space = IN_WINDOW, .block = l->f->at};
}

static struct addr reach(struct lift *l, ir_val va, unsigned bytes, unsigned space)
{
	struct addr a;
	split(l, va, &a.base, &a.disp);
	if (space & IR_XLAT_WINDOW && l->r->block[l->block].window)
		look_in_window(l, &a);
	else
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
	if (l->how->window) ir_may_exit(l->f, lift_map(l, WHY_MEM));
}
static ir_val load_by(struct lift *l, enum ir_type t, enum ir_mem m, const struct addr *a)
{
	ir_val v = ir_load(l->f, t, m, a->h, a->base, a->disp);
	may_exit(l);
	return t == IR_I64 ? v : e1(l, IR_tobits, IR_I64, v);
}

ir_val lift_load(struct lift *l, ir_val va, unsigned bits)
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

void lift_store(struct lift *l, ir_val va, ir_val v, unsigned bits)
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

void lift_load_vector(struct lift *l, ir_val va, ir_val *v, unsigned bytes)
{
	static const uint8_t how[] = {IR_U8, IR_U16, IR_U32, IR_U64};
	struct addr a = reach(l, va, bytes, windowed(l, SPACE_READ));
	for (; bytes >= 16; bytes -= 16, a.disp += 16) {
		*v++ = ir_load(l->f, IR_V128, IR_U8, a.h, a.base, a.disp);
		may_exit(l);
	}
	if (!bytes) return;
	unsigned lane = (unsigned)__builtin_ctz(bytes);
	*v = ir_load(l->f, IR_I64, (enum ir_mem)how[lane], a.h, a.base, a.disp);
	may_exit(l);
	*v = ir_lanes(l->f, IR_vsplat, lane, *v, NO, NO);
}

void lift_store_vector(struct lift *l, ir_val va, const ir_val *v, unsigned bytes)
{
	struct addr a = reach(l, va, bytes, windowed(l, SPACE_WRITE));
	for (; bytes >= 16; bytes -= 16, a.disp += 16) {
		if (l->how->log) log_store(l, host_of(l, &a), 128);
		ir_store(l->f, 16, a.h, a.base, a.disp, *v++);
		may_exit(l);
	}
	if (!bytes) return;
	unsigned lane = (unsigned)__builtin_ctz(bytes);
	if (l->how->log) log_store(l, host_of(l, &a), 8 * bytes);
	ir_store(l->f, bytes, a.h, a.base, a.disp, ir_lanes(l->f, IR_vlow, lane, *v, NO, NO));
	may_exit(l);
}

/* Host address for an atomic. Where loads and stores do, they go by the window like any other, lest
 * what was stored by one address is waited for by another. */
static ir_val atomic_at(struct lift *l, ir_val va, unsigned bits, unsigned space)
{
	bool plain = l->how->alone && !l->how->log;
	lift_guard(l, e2(l, IR_eq, e2(l, IR_and, va, konst(l, bits / 8 - 1)), konst(l, 0)),
		   WHY_ATOMIC);
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

ir_val lift_amo(struct lift *l, enum amo op, const void *fn, ir_val va, ir_val v, unsigned bits)
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

/* Can SC tell by the value alone? */
static bool is_close(const struct lift *l)
{
	const struct code_page *p = l->r->page[region_page(l->off)];
	return l->how->alone ||
	       rv64_lr_way(p->raw, (size_t)l->off % PAGE_SIZE, PAGE_SIZE) == LR_CLOSE;
}

ir_val lift_lr(struct lift *l, ir_val va, unsigned bits)
{
	if (!is_close(l)) lift_guard(l, konst(l, 0), WHY_ATOMIC);
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
ir_val lift_sc(struct lift *l, ir_val va, ir_val v, unsigned bits)
{
	ir_val at = atomic_at(l, va, bits, SPACE_WRITE);
	ir_val len = ir_get(l->f, IR_I64, SLOT_RES_LEN), was = ir_get(l->f, IR_I64, SLOT_RES_VAL);
	ir_val may = e2(l, IR_and, e2(l, IR_eq, len, konst(l, bits / 8)),
			e2(l, IR_eq, ir_get(l->f, IR_I64, SLOT_RES_VA), va));
	if (!l->how->alone) {
		ir_put(l->f, SLOT_RES_LEN, konst(l, 0));
		ir_val args[] = {at, was, v, may};
		const void *fn = bits == 32 ? (const void *)sc_32 : (const void *)sc_64;
		return ir_call(l->f, 0, fn, args, 4);
	}
	ir_val old = load_at(l, at, bits);
	may = e2(l, IR_and, may, e2(l, IR_eq, old, was));
	store_at(l, at, ir_emit(l->f, IR_select, IR_I64, may, v, old), bits);
	ir_put(l->f, SLOT_RES_LEN, konst(l, 0)); /* not before the accesses, which may exit */
	return e2(l, IR_xor, may, konst(l, 1));
}
