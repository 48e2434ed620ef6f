#ifndef IR_RANDOM_TEST_H
#define IR_RANDOM_TEST_H
#include "base/types.h"
#include "ir/impl.h"
#include <fenv.h>
/* Units made of bytes, for comparing engines: every operation but call, ifs, loops that end, maps
 * in plenty. Any bytes give a unit that verifies; the same bytes give the same one. What it acts on
 * is a struct ir_random_state and the two pages behind it.
 *
 * Engines must agree on: how it ended, pc, map's why, the state, memory, sticky float flags (but
 * for the denormal one). Addresses of the state and of host memory never reach either; NaNs of
 * arithmetic, which may be any, only through fnan. */
struct ir_random_state {
	uint64_t x[16], f[8];
	uint32_t w[4];
	uint8_t c[4];
	uint64_t scratch[16]; /* reached by `state` and loads */
	uint8_t page[2][4096] __attribute__((aligned(4096)));
};
enum {
	IR_RANDOM_X = 0,
	IR_RANDOM_F = 16,
	IR_RANDOM_W = 24,
	IR_RANDOM_C = 28,
	IR_RANDOM_SLOTS = 32
};

/* Slots for a state at an offset within what the engine calls the state. */
static inline void ir_random_slots(struct ir_slot s[IR_RANDOM_SLOTS], uint32_t off)
{
	static const char names[IR_RANDOM_SLOTS][4] = {
		"x0",  "x1",  "x2",  "x3",  "x4",  "x5", "x6", "x7", "x8", "x9", "x10",
		"x11", "x12", "x13", "x14", "x15", "f0", "f1", "f2", "f3", "f4", "f5",
		"f6",  "f7",  "w0",  "w1",  "w2",  "w3", "c0", "c1", "c2", "c3"};
	for (uint32_t k = 0; k < IR_RANDOM_SLOTS; k++) {
		uint32_t size = k < IR_RANDOM_W ? 8 : k < IR_RANDOM_C ? 4 : 1;
		uint32_t first = k < IR_RANDOM_F   ? 0
				 : k < IR_RANDOM_W ? IR_RANDOM_F
				 : k < IR_RANDOM_C ? IR_RANDOM_W
						   : IR_RANDOM_C;
		size_t at = first == 0		   ? offsetof(struct ir_random_state, x)
			    : first == IR_RANDOM_F ? offsetof(struct ir_random_state, f)
			    : first == IR_RANDOM_W ? offsetof(struct ir_random_state, w)
						   : offsetof(struct ir_random_state, c);
		s[k] = (struct ir_slot){.at = off + (uint32_t)at + (k - first) * size,
					.size = (uint8_t)size,
					.box = first == IR_RANDOM_F,
					.name = names[k]};
	}
}

/* The address spaces: page 7 of every eight is not there, the others are one of the two. */
static inline bool ir_random_reach(struct ir_random_state *s, unsigned space, uint64_t lo,
				   uint64_t *h)
{
	uint64_t page = lo >> 12;
	if (page % 8 == 7) return false;
	*h = (uint64_t)(uintptr_t)s->page[(page ^ space) & 1] - (page << 12);
	return true;
}

struct ir_random {
	struct ir_fn *f;
	const uint8_t *p, *end;
	bool raw; /* append as is, do not simplify or merge */
	uint32_t off;
	unsigned depth, loops, budget;
	bool ended;
	unsigned n; /* values in reach */
	struct {
		ir_val v;
		enum ir_type t;
		bool nan; /* its NaNs may be any */
	} pool[512];
};

static inline uint8_t ir_random_byte(struct ir_random *r) { return r->p < r->end ? *r->p++ : 0; }
static inline unsigned ir_random_below(struct ir_random *r, unsigned n)
{
	return ir_random_byte(r) % n;
}

static inline ir_val ir_random_add(struct ir_random *r, ir_val v, enum ir_type t, bool nan)
{
	r->n -= r->n == COUNT(r->pool); /* full: the newest is forgotten */
	r->pool[r->n].v = v;
	r->pool[r->n].t = t;
	r->pool[r->n++].nan = nan;
	return v;
}

static inline ir_val ir_random_emit(struct ir_random *r, enum ir_op op, enum ir_type t,
				    unsigned aux, ir_val a, ir_val b, ir_val c)
{
	struct ir_ins i = {.op = (uint8_t)op,
			   .type = (uint8_t)t,
			   .aux = (uint16_t)aux,
			   .arg = {a.n, b.n, c.n}};
	if (r->raw) return (ir_val){ir_append(r->f, &i)};
	if (op >= IR_vadd && op <= IR_vfnan) return ir_lanes(r->f, op, aux, a, b, c);
	return op == IR_ftoi ? ir_ftoi(r->f, t, a, aux & 1) : ir_emit(r->f, op, t, a, b, c);
}

static inline ir_val ir_random_number(struct ir_random *r, enum ir_type t, uint64_t k)
{
	struct ir_ins i = {.op = IR_konst, .type = (uint8_t)t, .k = ir_cut(t, k)};
	return r->raw ? (ir_val){ir_append(r->f, &i)} : ir_konst(r->f, t, k);
}

static inline ir_val ir_random_konst(struct ir_random *r, enum ir_type t)
{
	static const uint64_t ints[] = {0,	    1,		~0ull,	    2,
					3,	    7,		8,	    31,
					32,	    63,		0xff,	    0xffff,
					0xffffffff, 1u << 31,	1ull << 63, ~0ull >> 1,
					~0u >> 1,   56,		48,	    0xffffffff00000000,
					~7ull,	    0xff00ff00, 0x8000,	    0x80};
	static const uint64_t singles[] = {0,	       0x80000000, 0x3f800000, 0xbf800000,
					   0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001,
					   0xffc12345, 1,	   0x7f7fffff, 0x4f000000,
					   0xcf000000, 0x5f000000, 0x3f000000, 0x00800000};
	static const uint64_t doubles[] = {0,
					   1ull << 63,
					   0x3ff0000000000000,
					   0xbff0000000000000,
					   0x7ff0000000000000,
					   0xfff0000000000000,
					   0x7ff8000000000000,
					   0x7ff0000000000001,
					   0xfff8123456789abc,
					   1,
					   0x7fefffffffffffff,
					   0x41e0000000000000,
					   0xc1e0000000200000,
					   0x43e0000000000000,
					   0x3fe0000000000000,
					   0x0010000000000000};
	unsigned pick = ir_random_byte(r);
	uint64_t k = 0;
	if (pick < 192)
		k = t == IR_F32	  ? singles[pick % COUNT(singles)]
		    : t == IR_F64 ? doubles[pick % COUNT(doubles)]
				  : ints[pick % COUNT(ints)];
	else
		for (unsigned n = 0; n < 8; n++) k = k << 8 | ir_random_byte(r);
	return ir_random_number(r, t, k);
}

static inline ir_val ir_random_get(struct ir_random *r, enum ir_type t)
{
	/* The last of each kind are for put. */
	unsigned slot = t == IR_I32   ? IR_RANDOM_W + ir_random_below(r, 3)
			: ir_is_fp(t) ? IR_RANDOM_F + ir_random_below(r, 6)
				      : IR_RANDOM_X + ir_random_below(r, 12);
	if (t == IR_I64 && slot >= 10) slot += IR_RANDOM_W - 10 + (slot & 1) * 4;
	struct ir_ins i = {.op = IR_get, .type = (uint8_t)t, .aux = (uint16_t)slot};
	return r->raw ? (ir_val){ir_append(r->f, &i)} : ir_get(r->f, t, slot);
}

/* A value of the type: one in reach, more often a new one than an old, or a number or slot. */
static inline ir_val ir_random_any(struct ir_random *r, enum ir_type t, bool nan)
{
	unsigned back = ir_random_byte(r);
	if (back < 16) return ir_random_konst(r, t);
	for (unsigned k = r->n, skip = back % 8; k--;) {
		if (r->pool[k].t != t || (r->pool[k].nan && !nan)) continue;
		if (!skip--) return r->pool[k].v;
	}
	return ir_random_add(r, ir_random_get(r, t), t, false);
}
static inline ir_val ir_random_clean(struct ir_random *r, enum ir_type t)
{
	return ir_random_any(r, t, false);
}

static inline enum ir_type ir_random_type(struct ir_random *r)
{
	static const enum ir_type t[] = {IR_I64, IR_I64, IR_I64, IR_I32, IR_F32, IR_F64};
	return t[ir_random_below(r, COUNT(t))];
}
static inline enum ir_type ir_random_int(struct ir_random *r)
{
	return ir_random_byte(r) & 1 ? IR_I32 : IR_I64;
}
static inline enum ir_type ir_random_float(struct ir_random *r)
{
	return ir_random_byte(r) & 1 ? IR_F32 : IR_F64;
}

/* ---- operations */
static inline void ir_random_float_op(struct ir_random *r, enum ir_op op)
{
	enum ir_type t = ir_random_float(r), other = t == IR_F32 ? IR_F64 : IR_F32;
	bool cmp = ir_info[op].result == IR_FLAG;
	ir_val a, b = {0}, c = {0};
	if (op == IR_itof) {
		enum ir_type from = ir_random_int(r);
		a = ir_random_emit(r, op, t, from, ir_random_clean(r, from), b, c);
		ir_random_add(r, a, t, false);
		return;
	}
	a = ir_random_any(r, op == IR_fcvt ? other : t, true);
	if (op == IR_ftoi) {
		enum ir_type to = ir_random_int(r);
		unsigned aux = (t == IR_F32 ? 2u : 0u) | (ir_random_byte(r) & 1);
		ir_random_add(r, ir_random_emit(r, op, to, aux, a, b, c), to, false);
		return;
	}
	if (ir_info[op].args > 1) b = ir_random_any(r, t, true);
	if (ir_info[op].args > 2) c = ir_random_any(r, t, true);
	a = ir_random_emit(r, op, t, 0, a, b, c);
	ir_random_add(r, a, cmp ? IR_I64 : t, !cmp);
	if (cmp) return;
	a = ir_random_emit(r, IR_fnan, t, 0, a, (ir_val){0}, (ir_val){0});
	ir_random_add(r, a, t, false);
}

static inline void ir_random_pure(struct ir_random *r, enum ir_op op)
{
	enum ir_type t = IR_I64, from = IR_I64;
	ir_val a, b = {0}, c = {0};
	if (op >= IR_sx8 && op <= IR_zx32) {
		from = ir_random_int(r);
	} else if (op == IR_trunc) {
		t = IR_I32;
	} else if (op == IR_tobits) {
		from = ir_random_float(r);
	} else if (op == IR_tofp) {
		t = ir_random_float(r);
	} else if (op == IR_select) {
		t = ir_random_type(r);
		a = ir_random_clean(r, IR_I64);
		b = ir_random_clean(r, t);
		c = ir_random_clean(r, t);
		ir_random_add(r, ir_random_emit(r, op, t, 0, a, b, c), t, false);
		return;
	} else {
		bool fp = op == IR_fneg || op == IR_fabs || op == IR_fnan;
		from = t = fp ? ir_random_float(r) : ir_random_int(r);
	}
	a = ir_random_any(r, from, op == IR_fnan);
	if (ir_info[op].args > 1) b = ir_random_clean(r, from);
	a = ir_random_emit(r, op, t, 0, a, b, c);
	ir_random_add(r, a, ir_info[op].result == IR_FLAG ? IR_I64 : t, false);
}

static inline void ir_random_op(struct ir_random *r)
{
	enum ir_op op = IR_add + ir_random_byte(r) % (IR_tofp - IR_add + 1);
	if (ir_info[op].flags & IR_FLOAT)
		ir_random_float_op(r, op);
	else
		ir_random_pure(r, op);
}

/* ---- maps */
static inline unsigned ir_random_slot(struct ir_random *r, enum ir_type t)
{
	if (ir_is_fp(t)) return IR_RANDOM_F + ir_random_below(r, 8);
	if (t == IR_I32) return IR_RANDOM_W + ir_random_below(r, 8);
	unsigned k = ir_random_below(r, 24);
	return k < 16 ? k : k + 8;
}

static inline uint32_t ir_random_map(struct ir_random *r)
{
	struct ir_pair pair[8];
	uint32_t n = 0, taken = 0;
	for (unsigned want = ir_random_below(r, 9); n < want; n++) {
		enum ir_type t = ir_random_type(r);
		unsigned slot = ir_random_slot(r, t);
		if (taken >> slot & 1) break;
		taken |= 1u << slot;
		pair[n] = (struct ir_pair){slot, ir_random_clean(r, t).n};
	}
	int32_t pc = ir_random_byte(r) * 4 - 512;
	return ir_map_new(r->f, pair, n, pc, ir_random_byte(r));
}

/* ---- memory */
static inline void ir_random_store(struct ir_random *r, ir_val h, ir_val base, int32_t disp)
{
	enum ir_type t = ir_random_type(r);
	unsigned bytes = ir_width(t) / 8;
	if (ir_is_int(t)) bytes >>= ir_random_below(r, t == IR_I64 ? 4 : 3);
	ir_store(r->f, bytes, h, base, disp, ir_random_clean(r, t));
}

/* What is made of vectors stays in a few operations: they go to memory, or give a number. */
static inline unsigned ir_random_lanes(struct ir_random *r, enum ir_op op)
{
	if (op == IR_vdown) return 1 + ir_random_below(r, 15);
	if (op == IR_vitof) return 2;
	if (ir_info[op].flags & IR_FLOAT) return 2 + ir_random_below(r, 2);
	if (op == IR_vmul || op == IR_vsar) return 1 + ir_random_below(r, 2);
	if (op >= IR_vzx && op <= IR_vpack) return ir_random_below(r, 3);
	if (op == IR_vshl || op == IR_vshr) return 1 + ir_random_below(r, 3);
	return ir_random_below(r, op >= IR_vmins && op <= IR_vmaxu ? 3 : 4);
}

static inline ir_val ir_random_vector(struct ir_random *r, ir_val v, ir_val w)
{
	for (unsigned n = 1 + ir_random_below(r, 4); n--;) {
		enum ir_op op = IR_vadd + ir_random_byte(r) % (IR_vfnan - IR_vadd);
		unsigned aux = ir_random_lanes(r, op);
		ir_val a = v, b = w, c = ir_random_byte(r) & 1 ? v : w;
		if (op == IR_vfma) op = IR_vfmul; /* not every host has it */
		if (op == IR_vsplat || (op >= IR_vshl && op <= IR_vsar)) {
			b = ir_random_clean(r, IR_I64);
			if (op == IR_vsplat) a = b;
		}
		if (ir_info[op].args < 3) c = (ir_val){0};
		if (ir_info[op].args < 2) b = c;
		bool across = op == IR_vlow || op == IR_vbits;
		a = ir_random_emit(r, op, across ? IR_I64 : IR_V128, aux, a, b, c);
		if (across) {
			ir_random_add(r, a, IR_I64, false);
			continue;
		}
		if (ir_info[op].flags & IR_FLOAT && op <= IR_vfma)
			a = ir_random_emit(r, IR_vfnan, IR_V128, aux, a, (ir_val){0}, (ir_val){0});
		w = v;
		v = a;
	}
	return v;
}

static inline void ir_random_access(struct ir_random *r, ir_val h, ir_val base, int32_t disp)
{
	unsigned kind = ir_random_below(r, 16);
	enum ir_type t = kind < 7 ? IR_I64 : kind == 7 ? IR_F32 : kind == 8 ? IR_F64 : IR_V128;
	if (kind > 9) {
		ir_random_store(r, h, base, disp);
		return;
	}
	ir_val v = ir_load(r->f, t, t == IR_I64 ? kind : IR_U8, h, base, disp);
	if (t == IR_V128 && disp & 2)
		v = ir_random_vector(r, v, ir_load(r->f, t, IR_U8, h, base, disp ^ 3));
	if (t == IR_V128)
		ir_store(r->f, 16, h, base, disp ^ 1, v);
	else
		ir_random_add(r, v, t, false);
}

static inline void ir_random_atomic(struct ir_random *r, ir_val at)
{
	unsigned op = ir_random_below(r, 3), bytes = ir_random_byte(r) & 1 ? 4 : 8;
	ir_val b = ir_random_clean(r, IR_I64), c = {0};
	if (op == 2) c = ir_random_clean(r, IR_I64);
	at = ir_atomic(r->f, IR_swap + op, bytes, at, b, c);
	ir_random_add(r, at, IR_I64, false);
}

/* Guest memory by xlat. Most addresses are made to lie in a page; of the rest many exit. */
static inline void ir_random_memory(struct ir_random *r)
{
	ir_val none = {0}, base = ir_random_clean(r, IR_I64);
	unsigned how = ir_random_byte(r), space = ir_random_below(r, 4);
	int32_t at = ir_random_byte(r) % 64 - 32;
	bool tame = how & 15;
	if (tame) {
		base = ir_random_emit(r, IR_and, IR_I64, 0, base,
				      ir_random_number(r, IR_I64, 0xfffff0007ff0), none);
		base = ir_random_emit(r, IR_or, IR_I64, 0, base, ir_random_number(r, IR_I64, 0x40),
				      none);
		base = ir_random_emit(r, IR_and, IR_I64, 0, base,
				      ir_random_number(r, IR_I64, ~0x80ull), none);
		ir_random_add(r, base, IR_I64, false);
	}
	ir_val h = ir_xlat(r->f, space, base, -32, 47, ir_random_map(r));
	for (unsigned n = 1 + how / 64; n--;) ir_random_access(r, h, base, at);
	if (!tame || how < 128) return;
	h = ir_random_emit(r, IR_add, IR_I64, 0, h, base, none);
	ir_random_atomic(r, h);
}

static inline void ir_random_scratch(struct ir_random *r)
{
	ir_val none = {0};
	size_t at = offsetof(struct ir_random_state, scratch) + 8u * ir_random_below(r, 14);
	ir_val s = ir_state(r->f, r->off + at);
	if (ir_random_byte(r) & 3)
		ir_random_access(r, none, s, ir_random_byte(r) & 7);
	else
		ir_random_atomic(r, s);
}

static inline void ir_random_put(struct ir_random *r)
{
	static const uint8_t slots[] = {12, 13, 14, 15, 22, 23, 27, 31};
	unsigned slot = slots[ir_random_below(r, COUNT(slots))];
	enum ir_type t = slot < 16 ? IR_I64 : slot < 24 ? ir_random_float(r) : ir_random_int(r);
	ir_put(r->f, slot, ir_random_clean(r, t));
}

/* ---- control */
static inline void ir_random_leave(struct ir_random *r)
{
	unsigned how = ir_random_below(r, 4);
	ir_val pc = how == 3 ? ir_random_clean(r, IR_I64) : (ir_val){0};
	uint32_t map = ir_random_map(r);
	if (how == 3)
		ir_goto(r->f, pc, map);
	else
		ir_exit(r->f, how, map);
	r->ended = true;
}

static inline uint32_t ir_random_block(struct ir_random *r, uint32_t idom, uint32_t loop)
{
	uint32_t b = ir_block_new(r->f);
	r->f->block[b].idom = idom;
	r->f->block[b].loop = loop;
	r->f->block[b].depth = (uint16_t)r->loops;
	r->f->block[b].cold = ir_random_byte(r) > 240;
	return b;
}

static inline void ir_random_body(struct ir_random *r);

struct ir_random_phi {
	unsigned n;
	enum ir_type t[4];
	ir_val a[4], b[4];
};

static inline void ir_random_types(struct ir_random *r, struct ir_random_phi *phi)
{
	phi->n = ir_random_below(r, 5);
	for (unsigned k = 0; k < phi->n; k++) phi->t[k] = ir_random_type(r);
}
static inline void ir_random_args(struct ir_random *r, const struct ir_random_phi *phi, ir_val *v)
{
	for (unsigned k = 0; k < phi->n; k++) v[k] = ir_random_clean(r, phi->t[k]);
}

/* One arm of an if: where it ends up, and what it hands on. */
static inline uint32_t ir_random_arm(struct ir_random *r, uint32_t b,
				     const struct ir_random_phi *phi, ir_val *v)
{
	unsigned n = r->n;
	r->f->at = b;
	ir_random_body(r);
	if (!r->ended) ir_random_args(r, phi, v);
	r->n = n;
	return r->f->at;
}

static inline void ir_random_if(struct ir_random *r)
{
	struct ir_fn *f = r->f;
	struct ir_random_phi phi;
	uint32_t here = f->at, loop = f->block[here].loop, yes, no, yes_end, no_end;
	ir_val cond = ir_random_clean(r, IR_I64);
	ir_random_types(r, &phi);
	yes = ir_random_block(r, here, loop);
	yes_end = ir_random_arm(r, yes, &phi, phi.a);
	bool yes_left = r->ended, no_left;
	r->ended = false;
	no = ir_random_block(r, here, loop);
	no_end = ir_random_arm(r, no, &phi, phi.b);
	no_left = r->ended;
	f->at = here;
	ir_br(f, cond, ir_edge_new(f, yes, NULL), ir_edge_new(f, no, NULL));
	if (yes_left && no_left) return;
	r->ended = false;
	uint32_t join = ir_random_block(r, yes_left ? no_end : no_left ? yes_end : here, loop);
	f->at = join;
	for (unsigned k = 0; k < phi.n; k++)
		ir_random_add(r, ir_param(f, phi.t[k]), phi.t[k], false);
	if (!yes_left) f->at = yes_end, ir_jump(f, ir_edge_new(f, join, phi.a));
	if (!no_left) f->at = no_end, ir_jump(f, ir_edge_new(f, join, phi.b));
	f->at = join;
}

/* Counted down from at most 4, the counter its last parameter. */
static inline void ir_random_loop(struct ir_random *r)
{
	struct ir_fn *f = r->f;
	struct ir_random_phi phi;
	ir_val in[5], back[5], none = {0};
	uint32_t here = f->at, outer = f->block[here].loop;
	ir_random_types(r, &phi);
	ir_random_args(r, &phi, in);
	in[phi.n] = ir_random_number(r, IR_I64, 1 + ir_random_below(r, 4));
	r->loops++;
	uint32_t head = ir_random_block(r, here, f->nblocks);
	f->at = head;
	unsigned n = r->n;
	for (unsigned k = 0; k < phi.n; k++)
		ir_random_add(r, ir_param(f, phi.t[k]), phi.t[k], false);
	ir_val count = ir_param(f, IR_I64);
	ir_random_add(r, count, IR_I64, false);
	f->at = here;
	ir_jump(f, ir_edge_new(f, head, in));
	f->at = head;
	if (ir_random_byte(r) & 1) ir_poll(f, ir_random_map(r));
	ir_random_body(r);
	r->loops--;
	if (r->ended) {
		r->n = n;
		return;
	}
	ir_random_args(r, &phi, back);
	ir_val one = ir_random_number(r, IR_I64, 1);
	back[phi.n] = ir_random_emit(r, IR_sub, IR_I64, 0, count, one, none);
	uint32_t latch = f->at, after = ir_random_block(r, latch, outer);
	ir_br(f, back[phi.n], ir_edge_new(f, head, back), ir_edge_new(f, after, NULL));
	f->at = after;
}

static inline void ir_random_effect(struct ir_random *r)
{
	switch (ir_random_below(r, 8)) {
	case 0: ir_random_put(r); break;
	case 1: ir_random_scratch(r); break;
	case 2: ir_poll(r->f, ir_random_map(r)); break;
	case 3:
		if (ir_random_byte(r) & 1)
			ir_fence(r->f);
		else if (ir_random_byte(r) & 1)
			ir_random_add(r, ir_fraised(r->f), IR_I64, false);
		else
			ir_fclear(r->f, ir_random_clean(r, IR_I64));
		break;
	case 4: {
		ir_val c = ir_random_clean(r, IR_I64), k = ir_random_konst(r, IR_I64), none = {0};
		c = ir_random_emit(r, IR_ne, IR_I64, 0, c, k, none);
		ir_guard(r->f, c, ir_random_map(r));
		break;
	}
	default: ir_random_memory(r); break;
	}
}

/* No byte ends it sooner than 0. */
static inline void ir_random_body(struct ir_random *r)
{
	r->depth++;
	while (!r->ended && r->budget) {
		unsigned what = ir_random_byte(r);
		r->budget--;
		if (what < 8) break;
		if (what < 200)
			ir_random_op(r);
		else if (what < 232)
			ir_random_effect(r);
		else if (r->depth > 4)
			ir_random_op(r);
		else if (what < 244)
			ir_random_if(r);
		else if (what < 254 && r->loops < 3)
			ir_random_loop(r);
		else if (r->depth > 1)
			ir_random_leave(r);
	}
	r->depth--;
}

/* f: new or reset, its slots those of ir_random_slots(.., off). */
static inline void ir_random_build(struct ir_fn *f, uint32_t off, const uint8_t *bytes, size_t n,
				   bool raw)
{
	struct ir_random r = {
		.f = f, .p = bytes, .end = bytes + n, .raw = raw, .off = off, .budget = 2000};
	f->at = ir_block_new(f);
	while (!r.ended && r.p < r.end && r.budget) ir_random_body(&r);
	if (!r.ended) ir_random_leave(&r);
}
static inline void ir_random(struct ir_fn *f, uint32_t off, const uint8_t *bytes, size_t n)
{
	ir_random_build(f, off, bytes, n, false);
}

/* ---- running */
struct ir_random_run {
	struct ir_random_state s; /* before, and after */
	uint32_t poll;
	int rounding; /* of fesetround */
	struct ir_end end;
	int flags; /* of fetestexcept */
};

/* What a unit begins with. */
static inline void ir_random_start(struct ir_random_run *run, uint64_t seed)
{
	static const int modes[] = {FE_TONEAREST, FE_TONEAREST, FE_UPWARD, FE_DOWNWARD,
				    FE_TOWARDZERO};
	uint64_t *p = (uint64_t *)(void *)&run->s;
	memset(run, 0, sizeof(*run));
	run->poll = seed % 8 == 7;
	run->rounding = modes[seed % COUNT(modes)];
	for (size_t k = 0; k < sizeof(run->s) / sizeof(*p); k++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		uint64_t v = seed ^ seed >> 32;
		p[k] = v % 4 == 0 ? v >> 56 : v % 4 == 1 ? (uint64_t)(int64_t)(int32_t)v : v;
	}
	for (unsigned k = 0; k < 8; k += 2) /* half of them boxed singles */
		run->s.f[k] = ~0ull << 32 | (uint32_t)(0x3f800000 + run->s.f[k] % (1u << 27));
}

static inline bool ir_random_xlat(void *state, unsigned space, uint64_t lo, uint64_t hi,
				  uint64_t *h)
{
	return lo >> 12 == hi >> 12 && ir_random_reach(state, space, lo, h);
}

/* By the evaluator; off was 0. */
static inline void ir_random_eval(const struct ir_fn *f, struct ir_random_run *run)
{
	struct ir_world w = {.state = &run->s,
			     .xlat = ir_random_xlat,
			     .poll = &run->poll,
			     .base = 0x10000,
			     .steps = 50000000};
	fesetround(run->rounding);
	feclearexcept(FE_ALL_EXCEPT);
	run->end = ir_eval(f, &w);
	run->flags = fetestexcept(FE_ALL_EXCEPT);
	fesetround(FE_TONEAREST);
}

/* Did both do the same? Their units differ in their maps' numbers, so why is compared by the
 * caller, who has them. */
static inline bool ir_random_same(const struct ir_random_run *a, const struct ir_random_run *b)
{
	return a->end.how == b->end.how && a->end.pc == b->end.pc && a->flags == b->flags &&
	       (a->end.how != IR_END_EXIT || a->end.exit == b->end.exit) &&
	       !memcmp(&a->s, &b->s, sizeof(a->s));
}
#endif
