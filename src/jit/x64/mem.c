/* Why: guest state and guest memory. The one idea: an access that the table in the state knows
 * costs eight instructions and no call; everything else is off the hot path. */
#include "base/types.h"
#include "jit/x64/emit.h"

static const struct ir_slot *slot(struct emit *e, uint32_t i)
{
	return &e->f->slots[e->f->ins[i].aux];
}

void emit_get(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	struct home *h = &e->home[i], to = *h;
	if (h->at == AT_STATE) return;
	h->at = AT_STATE; /* read as any other that stands in the state */
	if (h->cls == CLASS_VEC) {
		unsigned d = to.at == AT_REG ? to.reg : V0;
		load_vec(e, d, i);
		*h = to;
		done_vec(e, i, d);
	} else {
		unsigned d = to.at == AT_REG ? to.reg : S0;
		load_int(e, d, i);
		*h = to;
		done_int(e, i, d);
	}
}

/* An f32 in its box: the upper half all ones, in one store. */
static void store_box(struct emit *e, struct rm m, uint32_t v)
{
	struct rm box = rm_at(e->h->consts->box);
	if (e->a.avx) {
		vec(&e->a, OP(0, 1, 0x56), V0, vec_reg(e, v, V0), box);
	} else {
		load_vec(e, V0, v);
		op_rm(&e->a, OP(0, 1, 0x56), V0, box, 0);
	}
	vec_store(e, IR_F64, m, V0);
}

static void store_vec(struct emit *e, const struct ir_slot *s, uint32_t v)
{
	enum ir_type t = ir_result_type(&e->f->ins[v]);
	struct rm m = state_at(e, s->at);
	if (t != IR_F32 || s->size == 4) {
		vec_store(e, t, m, vec_reg(e, v, V0));
	} else if (s->box) {
		store_box(e, m, v);
	} else {
		vec2(&e->a, OP(0x66, 1, 0x7e), vec_reg(e, v, V0), rm_reg(S0));
		mov_store(&e->a, OP_W, m, S0);
	}
}

static void store_reg(struct emit *e, unsigned bytes, struct rm m, unsigned r)
{
	static const uint32_t op[9] = {[1] = OP(0, 0, 0x88) + OP_BYTE,
				       [2] = OP(0x66, 0, 0x89),
				       [4] = OP(0, 0, 0x89),
				       [8] = OP(0, 0, 0x89) + OP_W};
	op_rm(&e->a, op[bytes], r, m, 0);
}

static void store_int(struct emit *e, unsigned bytes, struct rm m, uint32_t v, unsigned scratch)
{
	int32_t k;
	if (imm_of(e, v, bytes == 8 ? OP_W : 0, &k) && !in_reg(e, v))
		mov_store_imm(&e->a, bytes, m, k);
	else
		store_reg(e, bytes, m, int_reg(e, v, scratch));
}

/* Value v (not sunk) to its slot; rax and xmm15 are used. */
void emit_to_slot(struct emit *e, const struct ir_slot *s, uint32_t v)
{
	if (home_of(e, v)->cls == CLASS_VEC)
		store_vec(e, s, v);
	else
		store_int(e, s->size, state_at(e, s->at), v, S0);
}

void emit_put(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	emit_to_slot(e, slot(e, i), e->f->ins[i].arg[0]);
}

/* ---- addresses: H + base + disp, with constants and the state's address drawn in */

struct sum {
	uint32_t v[2];
	unsigned n;
	bool state;
	int64_t disp;
};

static void sum_add(struct emit *e, struct sum *s, uint32_t v)
{
	const struct ir_ins *i = &e->f->ins[root_of(e, v)];
	if (i->op == IR_konst) {
		s->disp = (int64_t)((uint64_t)s->disp + i->k);
	} else if (i->op == IR_state && !s->state) {
		s->state = true;
		s->disp = (int64_t)((uint64_t)s->disp + i->k - e->c->m.bias);
	} else {
		s->v[s->n++] = v;
	}
}

/* The sum into one register and a displacement; rax is used. */
static struct rm sum_slow(struct emit *e, const struct sum *s)
{
	if (fits32(s->disp) && s->n) {
		load_int(e, S0, s->v[0]);
		if (s->n == 2) alu_rm(&e->a, ALU_ADD, OP_W, S0, int_rm(e, s->v[1], OP_W, S1));
		return s->state ? rm_index(RBP, S0, 0, (int32_t)s->disp)
				: rm_mem(S0, (int32_t)s->disp);
	}
	mov_imm(&e->a, S0, (uint64_t)s->disp);
	for (unsigned k = 0; k < s->n; k++)
		alu_rm(&e->a, ALU_ADD, OP_W, S0, int_rm(e, s->v[k], OP_W, S1));
	return s->state ? rm_index(RBP, S0, 0, 0) : rm_mem(S0, 0);
}

/* rax may be part of it, and rdx is used. */
static struct rm address(struct emit *e, const struct ir_ins *i)
{
	struct sum s = {.disp = (int32_t)i->arg[2]};
	sum_add(e, &s, i->arg[0]);
	sum_add(e, &s, i->arg[1]);
	if (!fits32(s.disp) || (s.n == 2 && s.state) || (!s.n && !s.state) ||
	    (s.n == 2 && !in_reg(e, s.v[0]) && !in_reg(e, s.v[1])))
		return sum_slow(e, &s);
	if (s.n == 2) {
		unsigned k = !in_reg(e, s.v[0]);
		unsigned base = home_of(e, s.v[k])->reg, index = int_reg(e, s.v[!k], S0);
		return rm_index(base, index, 0, (int32_t)s.disp);
	}
	if (s.state)
		return s.n ? rm_index(RBP, int_reg(e, s.v[0], S0), 0, (int32_t)s.disp)
			   : rm_mem(RBP, (int32_t)s.disp);
	return rm_mem(int_reg(e, s.v[0], S0), (int32_t)s.disp);
}

/* The access emitted from `at` on may exit by that map. Neighbours often have the same. */
static void access(struct emit *e, uint32_t map, const uint8_t *at)
{
	if (!map) return;
	if (map != e->access_map) e->access_at = jit_map_put(e->c, e->f, map);
	e->access_map = map;
	e->failed |= e->access_at == ~0u || !jit_access_new(e->c, at, e->a.p, e->access_at);
}

void emit_load(struct emit *e, uint32_t i, const struct rule *r)
{
	static const uint32_t op[] = {
		[IR_U8] = OP(0, 1, 0xb6),	 [IR_U16] = OP(0, 1, 0xb7),
		[IR_U32] = OP(0, 0, 0x8b),	 [IR_U64] = OP(0, 0, 0x8b) + OP_W,
		[IR_S8] = OP(0, 1, 0xbe) + OP_W, [IR_S16] = OP(0, 1, 0xbf) + OP_W,
		[IR_S32] = OP(0, 0, 0x63) + OP_W};
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	struct rm m = address(e, in);
	uint8_t *at = e->a.p;
	if (e->home[i].cls == CLASS_VEC) {
		unsigned d = dst_vec(e, i);
		vec_load(e, in->type, d, m);
		access(e, in->map, at);
		done_vec(e, i, d);
	} else {
		unsigned d = dst_int(e, i);
		op_rm(&e->a, op[in->aux], d, m, 0);
		access(e, in->map, at);
		done_int(e, i, d);
	}
}

void emit_store(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t v = in->arg[3];
	if (home_of(e, v)->cls == CLASS_VEC) {
		unsigned s = vec_reg(e, v, V0);
		enum ir_type t = in->aux == 4 ? IR_F32 : in->aux == 8 ? IR_F64 : IR_V128;
		struct rm m = address(e, in);
		uint8_t *at = e->a.p;
		vec_store(e, t, m, s);
		access(e, in->map, at);
		return;
	}
	struct rm m = address(e, in);
	uint8_t *at = e->a.p;
	store_int(e, in->aux, m, v, S1);
	access(e, in->map, at);
}

/* ---- address translation: the first byte gives the entry, the last the page that must be there,
 * so that what crosses into the next page is not found */

static struct rm site_at(const struct home *h, size_t field)
{
	return rm_mem(RSP, (int32_t)(field + 8 * (h->site - 1u)));
}
#define SITE(h, field) site_at(h, offsetof(struct jit_frame, field))

/* From now on, no site knows a page. */
void sites_forget(struct emit *e)
{
	unsigned n = e->c->alloc.nsites;
	if (n) vec(&e->a, OP(0, 1, 0x57), V0, V0, rm_reg(V0));
	for (unsigned k = 0; k < n; k += 2)
		vec_store(e, IR_V128,
			  rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, size) + 8 * k)), V0);
}

/* The number of the table's entry, times 16, for base + lo; rdx is base + hi. */
static void xlat_index(struct emit *e, unsigned base, int32_t lo, int32_t hi, uint32_t mask)
{
	bool here = lo == 0 || lo == hi;
	unsigned from = lo == 0 ? base : S1;
	if (here && e->h->bmi2) {
		vex_rm(&e->a, OP(0xf2, 3, 0xf0), S0, 0, rm_reg(from), 1); /* rorx */
		put8(&e->a, 8);
	} else {
		if (!here)
			lea(&e->a, 0, S0, rm_mem(base, lo));
		else if (from != S0)
			mov_rr(&e->a, 0, S0, from);
		shift_imm(&e->a, SH_SHR, 0, S0, 8);
	}
	alu_imm(&e->a, ALU_AND, 0, rm_reg(S0), (int32_t)mask);
}

/* Look up; the flags say whether it is there, and rax where its `host` is. */
static struct rm xlat_table(struct emit *e, const struct ir_ins *in, unsigned base)
{
	const struct jit_space *sp = &e->c->m.space[in->aux & 3];
	int32_t lo = (int32_t)in->arg[1], hi = (int32_t)in->arg[2];
	uint32_t table = sp->table - e->c->m.bias;
	lea(&e->a, OP_W, S1, rm_mem(base, hi));
	xlat_index(e, base, lo, hi, ((1u << sp->bits) - 1) << 4);
	alu_imm(&e->a, ALU_AND, OP_W, rm_reg(S1), -4096);
	alu_rm(&e->a, ALU_OR, OP_W, S1, state_at(e, sp->ctx));
	alu_rm(&e->a, ALU_CMP, OP_W, S1, rm_index(RBP, S0, 0, (int32_t)table));
	return rm_index(RBP, S0, 0, (int32_t)table + 8);
}

/* Call for it: H in rax. */
static void xlat_call(struct emit *e, const struct ir_ins *in)
{
	unsigned base = int_reg(e, in->arg[0], S0);
	uint32_t map = jit_map_put(e->c, e->f, in->map);
	lea(&e->a, OP_W, S1, rm_mem(base, (int32_t)in->arg[2]));
	lea(&e->a, OP_W, S0, rm_mem(base, (int32_t)in->arg[1]));
	call_to(&e->a, e->h->xlat[in->aux & 3]);
	put8(&e->a, 0xa9); /* test eax, map: read by the thunk */
	put32(&e->a, map);
	e->failed |= map == ~0u;
}

static void xlat_stub(struct emit *e, struct stub *s)
{
	xlat_call(e, &e->f->ins[s->i]);
	done_int(e, s->i, S0);
	jump_to(&e->a, s->back);
}

/* A site is on another page now. */
static void site_stub(struct emit *e, struct stub *s)
{
	const struct ir_ins *in = &e->f->ins[s->i];
	const struct home *h = &e->home[s->i];
	struct rm host = xlat_table(e, in, int_reg(e, in->arg[0], S0));
	uint8_t *other = jcc_later(&e->a, CC_NE);
	mov_load(&e->a, OP_W, S0, host);
	uint8_t *found = jump_later(&e->a);
	set_rel32(other, e->a.p);
	xlat_call(e, in);
	set_rel32(found, e->a.p);
	int32_t lo = (int32_t)in->arg[1], hi = (int32_t)in->arg[2];
	lea(&e->a, OP_W, S1, rm_mem(int_reg(e, in->arg[0], S1), lo));
	alu_imm(&e->a, ALU_AND, OP_W, rm_reg(S1), -4096);
	mov_store(&e->a, OP_W, SITE(h, page), S1);
	mov_store_imm(&e->a, 8, SITE(h, size), 4096 - (hi - lo));
	mov_store(&e->a, OP_W, SITE(h, h), S0);
	done_int(e, s->i, S0);
	jump_to(&e->a, s->back);
}

/* By the table, or what was found there the last time. */
static void xlat_plain(struct emit *e, uint32_t i)
{
	const struct ir_ins *in = &e->f->ins[i];
	const struct home *h = &e->home[i];
	unsigned base = int_reg(e, in->arg[0], S0), d = dst_int(e, i);
	struct rm host;
	struct stub *s;
	if (h->site) {
		lea(&e->a, OP_W, S1, rm_mem(base, (int32_t)in->arg[1]));
		alu_rm(&e->a, ALU_SUB, OP_W, S1, SITE(h, page));
		alu_rm(&e->a, ALU_CMP, OP_W, S1, SITE(h, size));
		host = SITE(h, h);
		s = stub_new(e, site_stub, i);
		stub_jcc(e, s, CC_AE);
	} else {
		host = xlat_table(e, in, base);
		s = stub_new(e, xlat_stub, i);
		stub_jcc(e, s, CC_NE);
	}
	mov_load(&e->a, OP_W, d, host);
	done_int(e, i, d);
	s->back = e->a.p;
}

static void no_window_stub(struct emit *e, struct stub *s)
{
	xlat_plain(e, s->i);
	jump_to(&e->a, s->back);
}

/* The guards around a window are as far as displacements reach, so the base alone is compared. */
void emit_xlat(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	const struct jit_space *sp = &e->c->m.space[in->aux & 3];
	if (!(in->aux & IR_XLAT_WINDOW) || !sp->limit) {
		xlat_plain(e, i);
		return;
	}
	unsigned base = int_reg(e, in->arg[0], S0), d = dst_int(e, i);
	alu_rm(&e->a, ALU_CMP, OP_W, base, state_at(e, sp->limit));
	struct stub *s = stub_new(e, no_window_stub, i);
	stub_jcc(e, s, CC_AE);
	mov_load(&e->a, OP_W, d, state_at(e, sp->window));
	done_int(e, i, d);
	s->back = e->a.p;
}

/* ---- atomics: rax has what memory gave */

void emit_swap(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned at = int_reg(e, in->arg[0], S1);
	load_int(e, S0, in->arg[1]);
	op_rm(&e->a, OP(0, 0, 0x87) + (in->aux == 8 ? OP_W : 0), S0, rm_mem(at, 0), 0);
	done_int(e, i, S0);
}

void emit_xadd(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned at = int_reg(e, in->arg[0], S1);
	load_int(e, S0, in->arg[1]);
	put8(&e->a, 0xf0);
	op_rm(&e->a, OP(0, 1, 0xc1) + (in->aux == 8 ? OP_W : 0), S0, rm_mem(at, 0), 0);
	done_int(e, i, S0);
}

void emit_cas(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t w = in->aux == 8 ? OP_W : 0;
	bool borrow = !in_reg(e, in->arg[0]) && !in_reg(e, in->arg[2]);
	struct rm rcx = rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, ints) + 8 * RCX));
	load_int(e, S0, in->arg[1]);
	unsigned at = int_reg(e, in->arg[0], S1), new;
	if (borrow) {
		mov_store(&e->a, OP_W, rcx, RCX);
		load_int(e, RCX, in->arg[2]);
		new = RCX;
	} else {
		new = int_reg(e, in->arg[2], S1);
	}
	put8(&e->a, 0xf0);
	op_rm(&e->a, OP(0, 1, 0xb1) + w, new, rm_mem(at, 0), 0);
	if (borrow) mov_load(&e->a, OP_W, RCX, rcx);
	if (!w) /* on success eax was only read */
		mov_rr(&e->a, 0, S0, S0);
	done_int(e, i, S0);
}

void emit_fence(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)i;
	(void)r;
	put8(&e->a, 0xf0);
	alu_imm(&e->a, ALU_OR, 0, rm_mem(RSP, 0), 0);
}

/* ---- calls of C */

static void keep(struct emit *e, uint32_t ints, uint32_t vecs, bool load)
{
	for (; ints; ints &= ints - 1) {
		unsigned r = (unsigned)__builtin_ctz(ints);
		struct rm m = rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, ints) + 8 * r));
		if (load)
			mov_load(&e->a, OP_W, r, m);
		else
			mov_store(&e->a, OP_W, m, r);
	}
	for (; vecs; vecs &= vecs - 1) {
		unsigned r = (unsigned)__builtin_ctz(vecs);
		struct rm m = rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, vecs) + 16 * r));
		if (load)
			vec_load(e, IR_V128, r, m);
		else
			vec_store(e, IR_V128, m, r);
	}
}

void keep_live(struct emit *e, uint32_t call, bool load)
{
	const struct alloc *al = &e->c->alloc;
	keep(e, alloc_live(al, call, CLASS_INT) & SAVED, alloc_live(al, call, CLASS_VEC), load);
}

void emit_call(struct emit *e, uint32_t i, const struct rule *r)
{
	static const uint8_t reg[] = {RDI, RSI, RDX, RCX, R8};
	struct move m[COUNT(reg)];
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned n = in->arg[3] < COUNT(reg) ? in->arg[3] : (unsigned)COUNT(reg);
	keep_live(e, i, false);
	for (unsigned k = 0; k < n; k++) {
		uint32_t v = root_of(e, e->f->args[in->arg[2] + k]);
		m[k] = (struct move){reg[k], move_home(&e->home[v]), v, IR_I64, 0};
	}
	emit_moves(e, m, n);
	mov_imm(&e->a, RAX, in->k);
	op_rr(&e->a, OP(0, 0, 0xff), 2, RAX);
	keep_live(e, i, true);
	if (in->aux == IR_CALL_STATE) sites_forget(e);
	done_int(e, i, RAX);
}
