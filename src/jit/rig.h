#ifndef JIT_RIG_H
#define JIT_RIG_H
#include "base/types.h"
#include "ir/ir.h"
#include "jit/jit.h"
#include <stdlib.h>
/* A small machine for tests, and functions made up at random for it. Each is run by the evaluator
 * and as code, from the same state; the two must agree on everything. */
enum { RIG_X = 12, RIG_F = 6, RIG_W = 3, RIG_BITS = 4, RIG_PAGES = 8, RIG_DIR = 4 };
struct rig_state {
	uint64_t ctx[2], base, pc, dir_ctx;
	uint64_t x[RIG_X];
	uint64_t f[RIG_F];
	uint32_t w[RIG_W], poll;
	uint16_t h;
	uint8_t b;
	struct {
		uint64_t tag, host;
	} tlb[2][1 << RIG_BITS], dir[1 << RIG_DIR];
	uint8_t *mem; /* RIG_PAGES pages; guest page n is memory page n ^ 5, page 3 is not there */
	uint64_t misses, limit, window; /* there is none, limit is 0 */
};
enum { SLOT_X, SLOT_F = RIG_X, SLOT_W = SLOT_F + RIG_F, SLOT_H = SLOT_W + RIG_W, SLOT_B, SLOTS };
#define AT(field) offsetof(struct rig_state, field)

static inline const struct ir_slot *rig_slots(void)
{
	static struct ir_slot s[SLOTS];
	for (unsigned k = 0; k < RIG_X; k++)
		s[SLOT_X + k] = (struct ir_slot){(uint32_t)(AT(x) + 8 * k), 8, false, "x"};
	for (unsigned k = 0; k < RIG_F; k++)
		s[SLOT_F + k] = (struct ir_slot){(uint32_t)(AT(f) + 8 * k), 8, k != 1, "f"};
	for (unsigned k = 0; k < RIG_W; k++)
		s[SLOT_W + k] = (struct ir_slot){(uint32_t)(AT(w) + 4 * k), 4, false, "w"};
	s[SLOT_H] = (struct ir_slot){(uint32_t)AT(h), 2, false, "h"};
	s[SLOT_B] = (struct ir_slot){(uint32_t)AT(b), 1, false, "b"};
	return s;
}

static inline bool rig_page(struct rig_state *s, unsigned space, uint64_t lo, uint64_t hi,
			    uint64_t *h)
{
	uint64_t page = lo >> 12;
	if (page != hi >> 12 || page >= RIG_PAGES || page == 3) return false;
	*h = (uint64_t)(uintptr_t)s->mem + ((page ^ 5 ^ space) << 12) - (page << 12);
	return true;
}

static inline uint64_t rig_fill(struct rig_state *s, unsigned space, uint64_t lo, uint64_t hi)
{
	uint64_t h, page = lo >> 12;
	s->misses++;
	if (!rig_page(s, space, lo, hi, &h)) return 1;
	s->tlb[space][page % (1 << RIG_BITS)].tag = page << 12 | s->ctx[space];
	s->tlb[space][page % (1 << RIG_BITS)].host = h;
	return h;
}
static inline uint64_t rig_fill0(void *s, uint64_t lo, uint64_t hi)
{
	return rig_fill(s, 0, lo, hi);
}
static inline uint64_t rig_fill1(void *s, uint64_t lo, uint64_t hi)
{
	return rig_fill(s, 1, lo, hi);
}
static inline bool rig_xlat(void *s, unsigned space, uint64_t lo, uint64_t hi, uint64_t *h)
{
	return rig_page(s, space, lo, hi, h);
}

static inline struct jit_machine rig_machine(void)
{
	return (struct jit_machine){
		.slots = rig_slots(),
		.nslots = SLOTS,
		.bias = 128,
		.poll = AT(poll),
		.pc = AT(pc),
		.base = AT(base),
		.space = {{AT(tlb[0]), AT(ctx[0]), RIG_BITS, rig_fill0, AT(limit), AT(window)},
			  {AT(tlb[1]), AT(ctx[1]), RIG_BITS, rig_fill1, AT(limit), AT(window)}},
		.dir_table = AT(dir),
		.dir_ctx = AT(dir_ctx),
		.dir_entries = 64,
		.dir_bits = RIG_DIR,
	};
}

/* ---- numbers */
struct rig_rng {
	uint64_t s;
	const uint8_t *in; /* a fuzzer's bytes come first */
	size_t left;
};
static inline uint64_t rig_next(struct rig_rng *r)
{
	if (r->left >= 2) {
		uint64_t v = r->in[0] | (uint64_t)r->in[1] << 8;
		r->in += 2;
		r->left -= 2;
		return v * 0x9e3779b97f4a7c15u >> 11;
	}
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return r->s * 0x2545f4914f6cdd1du >> 11;
}
static inline unsigned rig_below(struct rig_rng *r, unsigned n)
{
	return (unsigned)(rig_next(r) % n);
}
static inline uint64_t rig_number(struct rig_rng *r)
{
	static const uint64_t odd[] = {
		0,	    1,	  ~0ull,  1ull << 63,	      ~0ull >> 1, 1ull << 31, 0x7fffffff,
		0xffffffff, 0xff, 0xffff, 0xffffffff80000000, 4095,	  4096};
	switch (rig_below(r, 4)) {
	case 0: return odd[rig_below(r, COUNT(odd))];
	case 1: return rig_below(r, 256) - 128ull;
	case 2: return rig_below(r, RIG_PAGES * 4096 + 100);
	default: return rig_next(r) << rig_below(r, 40);
	}
}
static inline uint64_t rig_float(struct rig_rng *r, bool f32)
{
	static const double v[] = {0,	  -0.0,	  1,	-1,    0.5,	    3.25,
				   1e300, 1e-300, 1e30, -7e18, 2147483648.0};
	double d = v[rig_below(r, COUNT(v))];
	float s = (float)d;
	uint64_t k = 0;
	unsigned kind = rig_below(r, 8);
	if (kind == 0) return f32 ? 0x7fc00000 : 0x7ff8ull << 48;
	if (kind == 1) return f32 ? 0x7f800000 : 0xfff0ull << 48;
	if (kind == 2) return f32 ? 0xffc01234 : 0xfff8000000001234;
	if (f32)
		memcpy(&k, &s, 4);
	else
		memcpy(&k, &d, 8);
	return k;
}

/* ---- functions */
enum { POOL = 48 };
struct rig_gen {
	struct ir_fn *f;
	struct rig_rng *r;
	bool floats;
	struct rig_pool {
		ir_val v[POOL];
		unsigned n;
	} pool[4]; /* by kind: i64 i32 f64 f32; visible here */
	unsigned budget;
	ir_val moving; /* an address that moves a little in each turn of this loop; 0: none */
};
static const enum ir_type rig_type[4] = {IR_I64, IR_I32, IR_F64, IR_F32};
enum { K64, K32, KD, KS };

static inline void rig_have(struct rig_gen *g, unsigned kind, ir_val v)
{
	struct rig_pool *p = &g->pool[kind];
	p->v[p->n < POOL ? p->n++ : rig_below(g->r, POOL)] = v;
}
static inline ir_val rig_pick(struct rig_gen *g, unsigned kind)
{
	unsigned n = g->pool[kind].n, how = rig_below(g->r, 8);
	if (!n || how == 0) {
		uint64_t k = kind < KD ? rig_number(g->r) : rig_float(g->r, kind == KS);
		return ir_konst(g->f, rig_type[kind], k);
	}
	if (how < 4 && n > 6) return g->pool[kind].v[n - 1 - rig_below(g->r, 6)];
	return g->pool[kind].v[rig_below(g->r, n)];
}
static inline ir_val rig_op(struct rig_gen *g, enum ir_op op, enum ir_type t, ir_val a, ir_val b)
{
	return ir_emit(g->f, op, t, a, b, (ir_val){0});
}
static inline ir_val rig_flag(struct rig_gen *g)
{
	unsigned k = rig_below(g->r, g->floats ? 4 : 2);
	ir_val a = rig_pick(g, k), b = rig_pick(g, k);
	if (k < KD && rig_below(g->r, 4) == 0) {
		a = rig_op(g, IR_and, rig_type[k], a, b);
		b = ir_konst(g->f, rig_type[k], 0);
		return rig_op(g, rig_below(g->r, 2) ? IR_eq : IR_ne, rig_type[k], a, b);
	}
	unsigned op = k < KD ? IR_eq + rig_below(g->r, 6) : IR_feq + rig_below(g->r, 5);
	return rig_op(g, (enum ir_op)op, rig_type[k], a, b);
}
/* What may be written to slot s. */
static inline ir_val rig_for_slot(struct rig_gen *g, unsigned s)
{
	if (s < SLOT_F) return rig_pick(g, K64);
	if (s >= SLOT_W) return rig_pick(g, K32);
	if (!g->floats) return (ir_val){0};
	unsigned k = rig_below(g->r, 2) ? KD : KS;
	return rig_op(g, IR_fnan, rig_type[k], rig_pick(g, k), (ir_val){0});
}
static inline uint32_t rig_map(struct rig_gen *g)
{
	struct ir_pair p[SLOTS];
	unsigned n = 0;
	for (unsigned s = 0; s < SLOTS; s++) {
		if (rig_below(g->r, 3)) continue;
		ir_val v = rig_for_slot(g, s);
		if (!v.n) continue;
		if (s < SLOT_F && rig_below(g->r, 4) == 0)
			v = rig_op(g, (enum ir_op)(IR_sx8 + rig_below(g->r, 6)), IR_I64, v,
				   (ir_val){0});
		else if (s < SLOT_F && rig_below(g->r, 4) == 0)
			v = rig_op(g, IR_add, IR_I64, v,
				   ir_konst(g->f, IR_I64, rig_below(g->r, 9) - 4ull));
		p[n++] = (struct ir_pair){s, v.n};
	}
	return ir_map_new(g->f, p, n, (int32_t)(rig_below(g->r, 20000)) - 8000,
			  rig_below(g->r, 100));
}

static inline uint64_t rig_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	uint64_t h = a;
	h = (h ^ b) * 31 + c;
	h = (h ^ d) * 31 + e;
	/* Whatever C may overwrite, it does. */
	__asm__ volatile(
		"movq %0, %%xmm0\n movq %0, %%xmm1\n movq %0, %%xmm5\n movq %0, %%xmm13\n"
		"mov %0, %%r8\n mov %0, %%r9\n mov %0, %%r10\n mov %0, %%r11\n mov %0, %%rsi\n"
		"mov %0, %%rcx\n mov %0, %%rdi"
		:
		: "a"(h)
		: "xmm0", "xmm1", "xmm5", "xmm13", "r8", "r9", "r10", "r11", "rsi", "rcx", "rdi");
	return h;
}
static inline uint64_t rig_change(uint64_t a, uint64_t state, uint64_t c, uint64_t d, uint64_t e)
{
	struct rig_state *s = (void *)(uintptr_t)state;
	s->x[c % RIG_X] += a ^ d;
	s->w[e % RIG_W] ^= (uint32_t)a;
	return rig_mix(a, s->x[3], c, d, e);
}

static inline void rig_int_op(struct rig_gen *g)
{
	static const uint8_t two[] = {IR_add,  IR_sub,	IR_mul,	 IR_mulhs, IR_mulhu, IR_mulhsu,
				      IR_divs, IR_divu, IR_rems, IR_remu,  IR_and,   IR_or,
				      IR_xor,  IR_shl,	IR_shr,	 IR_sar,   IR_rol,   IR_ror,
				      IR_add,  IR_sub,	IR_and,	 IR_or,	   IR_xor};
	static const uint8_t one[] = {IR_not, IR_neg, IR_clz, IR_ctz, IR_popcnt, IR_bswap};
	unsigned k = rig_below(g->r, 2);
	enum ir_type t = rig_type[k];
	ir_val v, none = {0};
	switch (rig_below(g->r, 12)) {
	case 0:
		v = rig_op(g, (enum ir_op)one[rig_below(g->r, COUNT(one))], t, rig_pick(g, k),
			   none);
		break;
	case 1: {
		unsigned from = rig_below(g->r, 2);
		v = rig_op(g, (enum ir_op)(IR_sx8 + rig_below(g->r, 6)), IR_I64, rig_pick(g, from),
			   none);
		k = K64;
		break;
	}
	case 2:
		v = rig_op(g, IR_trunc, IR_I32, rig_pick(g, K64), none);
		k = K32;
		break;
	case 3:
		v = rig_flag(g);
		k = K64;
		break;
	case 4: v = ir_emit(g->f, IR_select, t, rig_flag(g), rig_pick(g, k), rig_pick(g, k)); break;
	case 5: {
		ir_val s =
			rig_op(g, IR_shl, t, rig_pick(g, k), ir_konst(g->f, t, rig_below(g->r, 5)));
		v = rig_op(g, IR_add, t, rig_pick(g, k), s);
		break;
	}
	default:
		v = rig_op(g, (enum ir_op)two[rig_below(g->r, COUNT(two))], t, rig_pick(g, k),
			   rig_pick(g, k));
	}
	rig_have(g, k, v);
}

static inline void rig_float_op(struct rig_gen *g)
{
	unsigned k = KD + rig_below(g->r, 2);
	enum ir_type t = rig_type[k];
	ir_val v, none = {0};
	switch (rig_below(g->r, 12)) {
	case 0: v = rig_op(g, IR_fsqrt, t, rig_pick(g, k), none); break;
	case 1: v = ir_emit(g->f, IR_fma, t, rig_pick(g, k), rig_pick(g, k), rig_pick(g, k)); break;
	case 2: {
		ir_val a = rig_op(g, IR_fnan, t, rig_pick(g, k), none);
		v = rig_op(g, rig_below(g->r, 2) ? IR_fneg : IR_fabs, t, a, none);
		break;
	}
	case 3: v = rig_op(g, IR_fcvt, t, rig_pick(g, k == KD ? KS : KD), none); break;
	case 4: v = rig_op(g, IR_itof, t, rig_pick(g, rig_below(g->r, 2)), none); break;
	case 5:
		v = ir_ftoi(g->f, rig_type[rig_below(g->r, 2)], rig_pick(g, k), rig_below(g->r, 2));
		k = ir_result_type(ir_at(g->f, v)) == IR_I64 ? K64 : K32;
		break;
	case 6:
		v = rig_op(g, IR_fnan, t, rig_pick(g, k), none);
		v = rig_op(g, IR_tobits, IR_I64, v, none);
		k = K64;
		break;
	case 7: v = rig_op(g, IR_tofp, t, rig_pick(g, K64), none); break;
	case 8: v = ir_emit(g->f, IR_select, t, rig_flag(g), rig_pick(g, k), rig_pick(g, k)); break;
	default:
		v = rig_op(g, (enum ir_op)(IR_fadd + rig_below(g->r, 4)), t, rig_pick(g, k),
			   rig_pick(g, k));
	}
	rig_have(g, k, v);
}

/* A few operations of vectors: from memory to memory, or to a number. */
static inline unsigned rig_lane(struct rig_gen *g, enum ir_op op)
{
	if (op == IR_vdown) return 1 + rig_below(g->r, 15);
	if (op == IR_vitof) return 2;
	if (ir_info[op].flags & IR_FLOAT) return 2 + rig_below(g->r, 2);
	if (op == IR_vmul || op == IR_vsar) return 1 + rig_below(g->r, 2);
	if (op >= IR_vzx && op <= IR_vpack) return rig_below(g->r, 3);
	if (op == IR_vshl || op == IR_vshr) return 1 + rig_below(g->r, 3);
	return rig_below(g->r, op >= IR_vmins && op <= IR_vmaxu ? 3 : 4);
}

static inline ir_val rig_vector(struct rig_gen *g, ir_val a, ir_val b)
{
	ir_val v[12] = {a, b}, none = {0};
	for (unsigned n = 2, more = rig_below(g->r, 11); more--;) {
		enum ir_op op = IR_vadd + rig_below(g->r, IR_vfnan - IR_vadd);
		ir_val x = v[rig_below(g->r, n)], y = v[rig_below(g->r, n)], z = none;
		if (op == IR_vfma || (!g->floats && op >= IR_vfadd)) continue;
		unsigned aux = rig_lane(g, op), args = ir_info[op].args;
		if (args == 3) z = v[rig_below(g->r, n)];
		if (op >= IR_vshl && op <= IR_vsar) y = rig_pick(g, K64);
		if (op == IR_vsplat) x = rig_pick(g, K64);
		x = ir_lanes(g->f, op, aux, x, args > 1 ? y : none, z);
		if (op == IR_vlow || op == IR_vbits) {
			rig_have(g, K64, x);
			continue;
		}
		if (op >= IR_vfadd && op <= IR_vfma)
			x = ir_lanes(g->f, IR_vfnan, aux, x, none, none);
		v[n++] = x;
		a = x;
	}
	return a;
}

static inline void rig_mem_op(struct rig_gen *g)
{
	unsigned space = rig_below(g->r, 2);
	int32_t lo = (int32_t)rig_below(g->r, 64) - 32;
	uint64_t cut = rig_below(g->r, 8) ? 0x7fff : ~0ull;
	ir_val base = rig_op(g, IR_and, IR_I64, rig_pick(g, K64), ir_konst(g->f, IR_I64, cut));
	if (g->moving.n && rig_below(g->r, 2)) base = g->moving;
	unsigned by = rig_below(g->r, 2) ? space | IR_XLAT_WINDOW : space;
	ir_val h = ir_xlat(g->f, by, base, lo, lo + 15, rig_map(g)), none = {0};
	unsigned how = rig_below(g->r, 8);
	uint32_t map = rig_map(g);
	if (how == 0) {
		ir_val at = rig_op(g, IR_add, IR_I64, h, base);
		at = rig_op(g, IR_add, IR_I64, at, ir_konst(g->f, IR_I64, (uint64_t)lo));
		unsigned op = IR_swap + rig_below(g->r, 3);
		rig_have(g, K64,
			 ir_atomic(g->f, (enum ir_op)op, rig_below(g->r, 2) ? 4 : 8, at,
				   rig_pick(g, K64), op == IR_cas ? rig_pick(g, K64) : none));
	} else if (how == 1) {
		ir_val v = ir_load(g->f, IR_V128, IR_U8, h, base, lo);
		if (by != space) ir_may_exit(g->f, map);
		ir_val w =
			ir_lanes(g->f, IR_vsplat, rig_below(g->r, 4), rig_pick(g, K64), none, none);
		ir_store(g->f, 16, h, base, lo, rig_vector(g, v, w));
	} else if (how == 2 && g->floats) {
		unsigned k = KD + rig_below(g->r, 2);
		rig_have(g, k, ir_load(g->f, rig_type[k], IR_U8, h, base, lo + 1));
		if (by != space) ir_may_exit(g->f, map);
		ir_store(g->f, k == KD ? 8 : 4, h, base, lo + 5,
			 rig_op(g, IR_fnan, rig_type[k], rig_pick(g, k), none));
	} else if (how < 6) {
		ir_val v = ir_load(g->f, IR_I64, (enum ir_mem)rig_below(g->r, 7), h, base,
				   lo + (int32_t)rig_below(g->r, 8));
		if (by != space) ir_may_exit(g->f, map);
		rig_have(g, K64, v);
	} else {
		unsigned bytes = 1u << rig_below(g->r, 4);
		ir_store(g->f, bytes, h, base, lo + (int32_t)rig_below(g->r, 8), rig_pick(g, K64));
		if (by != space) ir_may_exit(g->f, map);
	}
}

static inline void rig_state_op(struct rig_gen *g)
{
	ir_val none = {0};
	unsigned s = rig_below(g->r, SLOTS);
	ir_val v = rig_for_slot(g, s), a[5];
	switch (rig_below(g->r, 6)) {
	case 0:
		if (v.n) ir_put(g->f, s, v);
		break;
	case 1: ir_poll(g->f, rig_map(g)); break;
	case 2:
		if (rig_below(g->r, 2)) {
			ir_fence(g->f);
			break;
		}
		for (unsigned k = 0; k < 5; k++) a[k] = rig_pick(g, K64);
		if (rig_below(g->r, 2)) {
			rig_have(g, K64, ir_call(g->f, 0, (const void *)rig_mix, a, 5));
		} else {
			a[1] = ir_state(g->f, 0);
			rig_have(g, K64,
				 ir_call(g->f, IR_CALL_STATE, (const void *)rig_change, a, 5));
		}
		break;
	case 3: ir_guard(g->f, rig_flag(g), rig_map(g)); break;
	default:
		if (s < SLOT_F)
			rig_have(g, K64, ir_get(g->f, IR_I64, s));
		else if (s >= SLOT_H)
			rig_have(g, K64, ir_get(g->f, IR_I64, s));
		else if (s >= SLOT_W)
			rig_have(g, K32, ir_get(g->f, IR_I32, s));
		else if (g->floats)
			rig_have(g, KD, ir_get(g->f, IR_F64, s));
	}
	(void)none;
}

static inline void rig_run(struct rig_gen *g, unsigned n)
{
	while (n-- && g->budget) {
		g->budget--;
		unsigned k = rig_below(g->r, 16);
		if (k < 2)
			rig_mem_op(g);
		else if (k < 5)
			rig_state_op(g);
		else if (k < 9 && g->floats)
			rig_float_op(g);
		else
			rig_int_op(g);
	}
}

static inline uint32_t rig_block(struct rig_gen *g, uint32_t idom, uint32_t loop, unsigned depth)
{
	uint32_t b = ir_block_new(g->f);
	g->f->block[b].idom = idom;
	g->f->block[b].loop = loop;
	g->f->block[b].depth = (uint16_t)depth;
	g->f->block[b].cold = rig_below(g->r, 8) == 0;
	return b;
}
static inline void rig_leave(struct rig_gen *g)
{
	uint32_t m = rig_map(g);
	if (rig_below(g->r, 4) == 0)
		ir_goto(g->f, rig_pick(g, K64), m);
	else
		ir_exit(g->f, (enum ir_exit)rig_below(g->r, 3), m);
}

/* Straight code, then perhaps a diamond, a loop or an exit to the side, n times. */
static inline void rig_body(struct rig_gen *g, uint32_t loop, unsigned depth);
enum { JOIN_MAX = 6 };
static inline unsigned rig_kinds(struct rig_gen *g, unsigned *kind)
{
	unsigned n = rig_below(g->r, JOIN_MAX);
	for (unsigned k = 0; k < n; k++) kind[k] = rig_below(g->r, g->floats ? 4 : 2);
	return n;
}
static inline void rig_picks(struct rig_gen *g, const unsigned *kind, unsigned n, ir_val *v)
{
	for (unsigned k = 0; k < n; k++) v[k] = rig_pick(g, kind[k]);
}
static inline void rig_params(struct rig_gen *g, const unsigned *kind, unsigned n)
{
	for (unsigned k = 0; k < n; k++) rig_have(g, kind[k], ir_param(g->f, rig_type[kind[k]]));
}

/* A branch whose sides come together; blocks must be made in memory order. */
static inline void rig_diamond(struct rig_gen *g, uint32_t loop, unsigned depth)
{
	unsigned kind[JOIN_MAX], n = rig_kinds(g, kind);
	struct rig_pool have[4];
	struct ir_fn *f = g->f;
	uint32_t from = f->at;
	ir_val flag = rig_flag(g), v[JOIN_MAX];
	bool empty = rig_below(g->r, 2);
	uint32_t yes = rig_block(g, from, loop, depth),
		 no = empty ? 0 : rig_block(g, from, loop, depth);
	uint32_t join = rig_block(g, from, loop, depth);
	f->at = join;
	memcpy(have, g->pool, sizeof(have));
	ir_val params[JOIN_MAX];
	for (unsigned k = 0; k < n; k++) params[k] = ir_param(f, rig_type[kind[k]]);
	f->at = from;
	rig_picks(g, kind, n, v);
	ir_br(f, flag, ir_edge_new(f, yes, NULL),
	      empty ? ir_edge_new(f, join, v) : ir_edge_new(f, no, NULL));
	for (unsigned side = 0; side < (empty ? 1u : 2u); side++) {
		f->at = side ? no : yes;
		rig_run(g, rig_below(g->r, 6));
		rig_picks(g, kind, n, v);
		ir_jump(f, ir_edge_new(f, join, v));
		memcpy(g->pool, have, sizeof(have));
	}
	f->at = join;
	for (unsigned k = 0; k < n; k++) rig_have(g, kind[k], params[k]);
}

static inline void rig_loop(struct rig_gen *g, uint32_t outer, unsigned depth)
{
	unsigned kind[JOIN_MAX + 2] = {K64, K64}, n = 2 + rig_kinds(g, kind + 2);
	struct ir_fn *f = g->f;
	ir_val v[JOIN_MAX + 2], was = g->moving;
	bool far = rig_below(g->r, 4) == 0;
	rig_picks(g, kind, n, v);
	v[0] = ir_konst(f, IR_I64, 1 + rig_below(g->r, far ? 100 : 4));
	v[1] = rig_op(g, IR_and, IR_I64, v[1], ir_konst(f, IR_I64, 0x7fff));
	uint32_t head = ir_block_new(f);
	f->block[head] =
		(struct ir_block){.idom = f->at, .loop = head, .depth = (uint16_t)(depth + 1)};
	uint32_t from = f->at;
	f->at = head;
	ir_val count = ir_param(f, IR_I64), at = ir_param(f, IR_I64);
	rig_params(g, kind + 2, n - 2);
	f->at = from;
	ir_jump(f, ir_edge_new(f, head, v));
	f->at = head;
	ir_val off = ir_konst(f, IR_I64, 8 * rig_below(g->r, 200));
	g->moving = rig_below(g->r, 2) ? at : rig_op(g, IR_add, IR_I64, at, off);
	rig_run(g, 1 + rig_below(g->r, 6));
	rig_body(g, head, depth + 1);
	rig_picks(g, kind, n, v);
	v[0] = rig_op(g, IR_sub, IR_I64, count, ir_konst(f, IR_I64, 1));
	v[1] = rig_op(g, IR_add, IR_I64, at, ir_konst(f, IR_I64, rig_below(g->r, 260) - 130ull));
	ir_val more = rig_op(g, IR_ne, IR_I64, v[0], ir_konst(f, IR_I64, 0));
	if (rig_below(g->r, 2)) more = rig_op(g, IR_and, IR_I64, more, rig_flag(g));
	uint32_t last = f->at, out = rig_block(g, last, outer, depth);
	f->at = last;
	uint32_t back = ir_edge_new(f, head, v), leave = ir_edge_new(f, out, NULL);
	ir_br(f, more, back, leave);
	f->at = out;
	g->moving = was;
}

static inline void rig_side(struct rig_gen *g, uint32_t loop, unsigned depth)
{
	struct ir_fn *f = g->f;
	struct rig_pool have[4];
	uint32_t from = f->at, exit = rig_block(g, from, loop, depth),
		 on = rig_block(g, from, loop, depth);
	ir_val flag = rig_flag(g);
	uint32_t e = ir_edge_new(f, exit, NULL), o = ir_edge_new(f, on, NULL);
	f->at = from;
	ir_br(f, flag, e, o);
	memcpy(have, g->pool, sizeof(have));
	f->at = exit;
	rig_run(g, rig_below(g->r, 3));
	rig_leave(g);
	memcpy(g->pool, have, sizeof(have));
	f->at = on;
}

static inline void rig_body(struct rig_gen *g, uint32_t loop, unsigned depth)
{
	for (unsigned n = 1 + rig_below(g->r, 4); n && g->budget; n--) {
		rig_run(g, rig_below(g->r, 10));
		unsigned k = rig_below(g->r, 6);
		if (k < 2)
			rig_diamond(g, loop, depth);
		else if (k == 2 && depth < 3)
			rig_loop(g, loop, depth);
		else if (k == 3)
			rig_side(g, loop, depth);
	}
}

static inline void rig_function(struct ir_fn *f, struct rig_rng *r)
{
	struct rig_gen g = {
		.f = f, .r = r, .floats = rig_below(r, 2), .budget = 10 + rig_below(r, 120)};
	f->at = ir_block_new(f);
	f->block[0].loop = ~0u;
	for (unsigned s = 0; s < RIG_X; s++)
		if (rig_below(r, 2)) rig_have(&g, K64, ir_get(f, IR_I64, s));
	if (g.floats)
		for (unsigned s = 0; s < RIG_F; s++)
			rig_have(&g, KD, ir_get(f, IR_F64, SLOT_F + s));
	rig_run(&g, rig_below(r, 10));
	rig_body(&g, ~0u, 0);
	rig_leave(&g);
}

/* ---- both engines */
static inline void rig_init(struct rig_state *s, struct rig_rng *r, uint8_t *mem)
{
	*s = (struct rig_state){.mem = mem, .base = 0x40000, .ctx = {1, 2}, .dir_ctx = 3};
	s->poll = rig_below(r, 8) == 0;
	for (unsigned k = 0; k < RIG_X; k++) s->x[k] = rig_number(r);
	for (unsigned k = 0; k < RIG_F; k++) s->f[k] = rig_float(r, false);
	for (unsigned k = 0; k < RIG_W; k++) s->w[k] = (uint32_t)rig_number(r);
	s->h = (uint16_t)rig_number(r);
	s->b = (uint8_t)rig_number(r);
	memset(s->tlb, 0xff, sizeof(s->tlb));
	memset(s->dir, 0xff, sizeof(s->dir));
	for (unsigned k = 0; k < RIG_PAGES * 4096; k++) mem[k] = (uint8_t)(k * 37 + (k >> 8));
}

struct rig {
	struct jit_cache *cache;
	struct ir_fn *f;
	uint8_t mem[2][RIG_PAGES * 4096 + 64];
	struct rig_state s[2];
};
static inline int rig_open(struct rig *g)
{
	struct jit_machine m = rig_machine();
	struct err e = {0};
	g->cache = jit_cache_new(&m, 4 << 20, &e);
	g->f = ir_new(m.slots, m.nslots);
	return e.code;
}
static inline void rig_close(struct rig *g)
{
	jit_cache_free(g->cache);
	ir_free(g->f);
}

static inline bool rig_same_end(const struct rig *g, struct ir_end a, struct jit_exit b)
{
	const struct ir_map *m = &g->f->map[a.map];
	if (g->s[1].pc != a.pc) return false;
	switch (a.how) {
	case IR_END_DEOPT: return b.how == JIT_DEOPT && b.why == m->why;
	case IR_END_GOTO: return b.how == JIT_LOOKUP;
	default: break;
	}
	return b.how == (a.exit == IR_EXIT_NEAR	 ? JIT_LINK
			 : a.exit == IR_EXIT_FAR ? JIT_LOOKUP
						 : JIT_STOP);
}

/* Compile g->f and run it from the state that `seed` says; do both engines agree? */
static inline bool rig_agree(struct rig *g, uint64_t seed)
{
	struct rig_rng r[2] = {{.s = seed | 1}, {.s = seed | 1}};
	for (unsigned k = 0; k < 2; k++) rig_init(&g->s[k], &r[k], g->mem[k]);
	const struct jit_unit *u = jit_add(g->cache, g->f);
	if (!u) {
		jit_cache_flush(g->cache);
		u = jit_add(g->cache, g->f);
	}
	if (!u) return false;
	struct ir_world w = {.state = &g->s[0],
			     .xlat = rig_xlat,
			     .poll = &g->s[0].poll,
			     .base = g->s[0].base,
			     .steps = 1000000};
	struct ir_end end = ir_eval(g->f, &w);
	struct jit_exit x = jit_enter(g->cache, &g->s[1], jit_entry(u));
	if (!rig_same_end(g, end, x)) return false;
	return !memcmp(g->s[0].x, g->s[1].x, sizeof(g->s[0].x)) &&
	       !memcmp(g->s[0].f, g->s[1].f, sizeof(g->s[0].f)) &&
	       !memcmp(g->s[0].w, g->s[1].w, sizeof(g->s[0].w)) && g->s[0].h == g->s[1].h &&
	       g->s[0].b == g->s[1].b && !memcmp(g->mem[0], g->mem[1], sizeof(g->mem[0]));
}
#endif
