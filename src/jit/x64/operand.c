/* Why: an emitter should not care where its operands live. The one idea: each is fetched as what
 * the instruction can take (register, memory, immediate); a scratch register serves when it must.
 */
#include "base/types.h"
#include "jit/x64/emit.h"

struct rm spill_at(const struct home *h)
{
	size_t at = h->wide ? offsetof(struct jit_frame, wide) + 16u * h->n
			    : offsetof(struct jit_frame, spill) + 8u * h->n;
	return rm_mem(RSP, (int32_t)at);
}

bool konst_of(struct emit *e, uint32_t v, uint64_t *k)
{
	const struct ir_ins *i = &e->f->ins[root_of(e, v)];
	*k = i->k;
	return i->op == IR_konst;
}

bool imm_of(struct emit *e, uint32_t v, uint32_t w, int32_t *imm)
{
	uint64_t k;
	if (!konst_of(e, v, &k)) return false;
	*imm = (int32_t)k;
	return !w || fits32((int64_t)k);
}

static const struct ir_slot *slot_of(struct emit *e, uint32_t v)
{
	return &e->f->slots[e->f->ins[v].aux];
}

struct rm state_of(struct emit *e, uint32_t get) { return state_at(e, slot_of(e, get)->at); }

/* A slot into a register, zero-extended. */
static void load_slot(struct emit *e, unsigned r, const struct ir_slot *s)
{
	static const uint32_t op[9] = {[1] = OP(0, 1, 0xb6),
				       [2] = OP(0, 1, 0xb7),
				       [4] = OP(0, 0, 0x8b),
				       [8] = OP(0, 0, 0x8b) + OP_W};
	op_rm(&e->a, op[s->size], r, state_at(e, s->at), 0);
}

static void load_hand(struct emit *e, unsigned r, const struct ir_ins *i)
{
	if (i->op == IR_konst)
		mov_imm(&e->a, r, i->type == IR_I32 ? (uint32_t)i->k : i->k);
	else if (fits32((int64_t)(i->k - e->c->m.bias)))
		lea(&e->a, OP_W, r, rm_mem(RBP, (int32_t)(i->k - e->c->m.bias)));
	else {
		mov_imm(&e->a, r, i->k - e->c->m.bias);
		lea(&e->a, OP_W, r, rm_index(RBP, r, 0, 0));
	}
}

void load_int(struct emit *e, unsigned r, uint32_t v)
{
	v = root_of(e, v);
	const struct home *h = &e->home[v];
	const struct ir_ins *i = &e->f->ins[v];
	uint32_t w = wide(ir_result_type(i));
	switch (h->at) {
	case AT_REG:
		if (h->reg != r) mov_rr(&e->a, w, r, h->reg);
		return;
	case AT_SPILL: mov_load(&e->a, w, r, spill_at(h)); return;
	case AT_STATE: load_slot(e, r, slot_of(e, v)); return;
	default: load_hand(e, r, i);
	}
}

unsigned int_reg(struct emit *e, uint32_t v, unsigned scratch)
{
	const struct home *h = home_of(e, v);
	if (h->at == AT_REG) return h->reg;
	load_int(e, scratch, v);
	return scratch;
}

struct rm int_rm(struct emit *e, uint32_t v, uint32_t w, unsigned scratch)
{
	v = root_of(e, v);
	const struct home *h = &e->home[v];
	const void *at;
	switch (h->at) {
	case AT_REG: return rm_reg(h->reg);
	case AT_SPILL: return spill_at(h);
	case AT_STATE:
		if (slot_of(e, v)->size >= (w ? 8 : 4)) return state_at(e, slot_of(e, v)->at);
		break;
	case AT_HAND:
		if (e->f->ins[v].op == IR_konst && !fits32((int64_t)e->f->ins[v].k) &&
		    (at = jit_konst(e->c, e->f->ins[v].k)))
			return rm_at(at);
	}
	load_int(e, scratch, v);
	return rm_reg(scratch);
}

void done_int(struct emit *e, uint32_t i, unsigned r)
{
	const struct home *h = &e->home[i];
	uint32_t w = wide(ir_result_type(&e->f->ins[i]));
	if (h->at == AT_REG && h->reg != r)
		mov_rr(&e->a, w, h->reg, r);
	else if (h->at == AT_SPILL) /* all of it: a clear upper half counts, too */
		mov_store(&e->a, OP_W, spill_at(h), r);
}

/* ---- vector registers. Scalar moves from memory clear the rest of the register. */

void mov_vec(struct emit *e, unsigned d, unsigned s)
{
	if (d != s) vec2(&e->a, OP(0, 1, 0x28), d, rm_reg(s));
}

static uint32_t vec_op(enum ir_type t, unsigned scalar, unsigned whole)
{
	return t == IR_F32   ? OP(0xf3, 1, scalar)
	       : t == IR_F64 ? OP(0xf2, 1, scalar)
			     : OP(0xf3, 1, whole);
}

void vec_load(struct emit *e, enum ir_type t, unsigned r, struct rm m)
{
	vec2(&e->a, vec_op(t, 0x10, 0x6f), r, m);
}

void vec_store(struct emit *e, enum ir_type t, struct rm m, unsigned r)
{
	vec2(&e->a, vec_op(t, 0x11, 0x7f), r, m);
}

static void load_vec_konst(struct emit *e, unsigned r, const struct ir_ins *i)
{
	uint64_t k = i->type == IR_F32 ? (uint32_t)i->k : i->k;
	const void *at = jit_konst(e->c, k);
	if (!k) {
		vec(&e->a, OP(0, 1, 0x57), r, r, rm_reg(r));
	} else if (at) {
		vec_load(e, i->type, r, rm_at(at));
	} else {
		mov_imm(&e->a, S0, k);
		vec2(&e->a, OP(0x66, 1, 0x6e) + OP_W, r, rm_reg(S0));
	}
}

void load_vec(struct emit *e, unsigned r, uint32_t v)
{
	v = root_of(e, v);
	const struct home *h = &e->home[v];
	const struct ir_ins *i = &e->f->ins[v];
	switch (h->at) {
	case AT_REG: mov_vec(e, r, h->reg); return;
	case AT_SPILL: vec_load(e, ir_result_type(i), r, spill_at(h)); return;
	case AT_STATE: vec_load(e, i->type, r, state_at(e, slot_of(e, v)->at)); return;
	default: load_vec_konst(e, r, i);
	}
}

unsigned vec_reg(struct emit *e, uint32_t v, unsigned scratch)
{
	v = root_of(e, v);
	if (e->home[v].at == AT_REG) return e->home[v].reg;
	load_vec(e, scratch, v);
	return scratch;
}

struct rm vec_rm(struct emit *e, uint32_t v)
{
	v = root_of(e, v);
	const struct home *h = &e->home[v];
	const struct ir_ins *i = &e->f->ins[v];
	switch (h->at) {
	case AT_REG: return rm_reg(h->reg);
	case AT_SPILL: return spill_at(h);
	case AT_STATE: return state_at(e, slot_of(e, v)->at);
	}
	uint64_t k = i->type == IR_F32 ? (uint32_t)i->k : i->k;
	if (!k) return rm_at(e->h->consts->zero);
	const void *at = jit_konst(e->c, k);
	if (!at) {
		e->failed = true;
		at = e->h->consts->zero;
	}
	return rm_at(at);
}

void done_vec(struct emit *e, uint32_t i, unsigned r)
{
	const struct home *h = &e->home[i];
	if (h->at == AT_REG)
		mov_vec(e, h->reg, r);
	else if (h->at == AT_SPILL)
		vec_store(e, ir_result_type(&e->f->ins[i]), spill_at(h), r);
}
