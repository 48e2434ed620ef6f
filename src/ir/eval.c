/* The slow engine: one operation after the other, an array of values, the arithmetic of ops.def.
 * It exists to be obviously right; generated code is compared with it. Floats go through the
 * host's own unit, so rounding mode and sticky flags are the thread's, as they are for code. */
#include "base/own.h"
#include "base/types.h"
#include "ir/impl.h"
#include <fenv.h>
#include <math.h>
#ifdef __clang__
#pragma STDC FENV_ACCESS ON
#endif

struct val {
	uint64_t lo, hi; /* hi: of v128 only */
};
struct run {
	const struct ir_fn *f;
	struct ir_world *w;
	struct val *v, *moved; /* of each instruction; on their way along an edge */
	uint32_t block, next;  /* next: instruction */
	bool ended;
	struct ir_end end;
};

static uint64_t arg(const struct run *r, const struct ir_ins *i, unsigned n)
{
	return r->v[i->arg[n]].lo;
}

/* ---- floats */
static void raise_invalid(void)
{
	volatile double zero = 0;
	zero = zero / zero;
}
static void raise_inexact(void)
{
	volatile double one = 1;
	one = one + 0x1p-60;
}
static uint64_t raised(void)
{
	int f = fetestexcept(FE_ALL_EXCEPT);
	return (f & FE_INVALID ? 16 : 0) | (f & FE_DIVBYZERO ? 8 : 0) | (f & FE_OVERFLOW ? 4 : 0) |
	       (f & FE_UNDERFLOW ? 2 : 0) | (f & FE_INEXACT ? 1 : 0);
}
static float f32_of(uint64_t v)
{
	uint32_t low = (uint32_t)v;
	float x;
	memcpy(&x, &low, sizeof(x));
	return x;
}
static double f64_of(uint64_t v)
{
	double x;
	memcpy(&x, &v, sizeof(x));
	return x;
}
static uint64_t f32_bits(float x)
{
	uint32_t v;
	memcpy(&v, &x, sizeof(v));
	return v;
}
static uint64_t f64_bits(double x)
{
	uint64_t v;
	memcpy(&v, &x, sizeof(v));
	return v;
}

#define ARITHMETIC(T, F, bits, of, root, fused)                                                    \
	static uint64_t F(enum ir_op op, T a, T b, T c)                                            \
	{                                                                                          \
		if ((op == IR_flt || op == IR_fle) && (isnan(a) || isnan(b))) raise_invalid();     \
		switch (op) {                                                                      \
		case IR_fadd: return bits(a + b);                                                  \
		case IR_fsub: return bits(a - b);                                                  \
		case IR_fmul: return bits(a * b);                                                  \
		case IR_fdiv: return bits(a / b);                                                  \
		case IR_fsqrt: return bits(root(a));                                               \
		case IR_fma: return bits(fused(a, b, c));                                          \
		case IR_feq: return (uint64_t)(a == b);                                            \
		case IR_flt:                                                                       \
		case IR_fltq: return (uint64_t)isless(a, b);                                       \
		default: return (uint64_t)islessequal(a, b);                                       \
		}                                                                                  \
	}
ARITHMETIC(float, arith32, f32_bits, f32_of, sqrtf, fmaf)
ARITHMETIC(double, arith64, f64_bits, f64_of, sqrt, fma)

static uint64_t to_int(enum ir_type t, double x, bool truncate)
{
	double limit = t == IR_I32 ? 0x1p31 : 0x1p63;
	if (isnan(x)) {
		raise_invalid();
		return t == IR_I32 ? 1ull << 31 : 1ull << 63;
	}
	double y = truncate ? trunc(x) : nearbyint(x);
	if (!(y >= -limit && y < limit)) {
		raise_invalid();
		return t == IR_I32 ? 1ull << 31 : 1ull << 63;
	}
	if (y != x) raise_inexact();
	return ir_cut(t, (uint64_t)(int64_t)y);
}

static uint64_t from_int(const struct ir_ins *i, uint64_t v)
{
	int64_t n = i->aux == IR_I32 ? (int32_t)(uint32_t)v : (int64_t)v;
	return i->type == IR_F32 ? f32_bits((float)n) : f64_bits((double)n);
}

static uint64_t float_op(const struct run *r, const struct ir_ins *i)
{
	uint64_t a = arg(r, i, 0), b = arg(r, i, 1), c = arg(r, i, 2);
	switch (i->op) {
	case IR_itof: return from_int(i, a);
	case IR_ftoi: return to_int(i->type, i->aux & 2 ? f32_of(a) : f64_of(a), i->aux & 1);
	case IR_fcvt: return i->type == IR_F32 ? f32_bits((float)f64_of(a)) : f64_bits(f32_of(a));
	default: break;
	}
	if (i->type == IR_F32) return arith32(i->op, f32_of(a), f32_of(b), f32_of(c));
	return arith64(i->op, f64_of(a), f64_of(b), f64_of(c));
}

/* ---- lanes of v128 */
static uint64_t lane_get(const struct val *v, unsigned n, unsigned bytes)
{
	return load_le((const char *)v + (size_t)n * bytes, bytes);
}

static uint64_t float_lane(enum ir_op op, unsigned bytes, const uint64_t a[3])
{
	static const uint8_t plain[] = {
		[IR_vfadd - IR_vfadd] = IR_fadd,   [IR_vfsub - IR_vfadd] = IR_fsub,
		[IR_vfmul - IR_vfadd] = IR_fmul,   [IR_vfdiv - IR_vfadd] = IR_fdiv,
		[IR_vfsqrt - IR_vfadd] = IR_fsqrt, [IR_vfma - IR_vfadd] = IR_fma,
		[IR_vfeq - IR_vfadd] = IR_feq,	   [IR_vflt - IR_vfadd] = IR_flt,
		[IR_vfle - IR_vfadd] = IR_fle};
	uint64_t v = 0;
	if (op == IR_vitof) return f32_bits((float)(int32_t)(uint32_t)a[0]);
	if (op == IR_vfnan) {
		(void)ir_fold(IR_fnan, bytes == 4 ? IR_F32 : IR_F64, 0, a, &v);
		return v;
	}
	enum ir_op as = (enum ir_op)plain[op - IR_vfadd];
	v = bytes == 4 ? arith32(as, f32_of(a[0]), f32_of(a[1]), f32_of(a[2]))
		       : arith64(as, f64_of(a[0]), f64_of(a[1]), f64_of(a[2]));
	return ir_info[as].result == IR_FLAG ? -v : v;
}

/* An i64 operand stands for itself in every lane. */
static struct val lanes(const struct run *r, const struct ir_ins *i)
{
	struct val v = {0};
	unsigned bytes = 1u << i->aux;
	for (unsigned n = 0; n < 16 / bytes; n++) {
		uint64_t a[3] = {0}, x;
		for (unsigned k = 0; k < ir_info[i->op].args; k++) {
			bool one = ir_result_type(&r->f->ins[i->arg[k]]) == IR_I64;
			a[k] = one ? arg(r, i, k) : lane_get(&r->v[i->arg[k]], n, bytes);
		}
		x = ir_info[i->op].flags & IR_FLOAT ? float_lane(i->op, bytes, a)
						    : ir_fold_lane(i->op, 8 * bytes, a);
		store_le((char *)&v + (size_t)n * bytes, x, bytes);
	}
	return v;
}

static struct val resized(const struct run *r, const struct ir_ins *i)
{
	const struct val *a = &r->v[i->arg[0]];
	unsigned bytes = 1u << i->aux, bits = 8 * bytes, n = 8 / bytes;
	struct val v = {0};
	for (unsigned k = 0; k < n; k++) {
		uint64_t x = lane_get(a, k, bytes);
		if (i->op == IR_vsx) x = (uint64_t)((int64_t)(x << (64 - bits)) >> (64 - bits));
		if (i->op != IR_vpack) {
			store_le((char *)&v + (size_t)k * 2 * bytes, x, 2 * bytes);
			continue;
		}
		const struct val *b = &r->v[i->arg[1]];
		store_le((char *)&v + (size_t)k * bytes, lane_get(a, 2 * k, bytes), bytes);
		store_le((char *)&v + (size_t)(n + k) * bytes, lane_get(b, 2 * k, bytes), bytes);
	}
	return v;
}

static struct val across(const struct run *r, const struct ir_ins *i)
{
	const struct val *a = &r->v[i->arg[0]];
	unsigned bytes = 1u << (i->aux & 3);
	struct val v = {0};
	if (i->op == IR_vpack || i->op == IR_vzx || i->op == IR_vsx) return resized(r, i);
	if (i->op == IR_vdown) memcpy(&v, (const char *)a + i->aux, 16u - i->aux);
	if (i->op == IR_vlow) v.lo = lane_get(a, 0, bytes);
	if (i->op == IR_vbits)
		for (unsigned n = 0; n < 16 / bytes; n++)
			v.lo |= (lane_get(a, n, bytes) >> (8 * bytes - 1)) << n;
	return v;
}

/* ---- guest state */
static void *slot_at(const struct run *r, uint32_t slot)
{
	return (char *)r->w->state + r->f->slots[slot].at;
}

static void slot_set(const struct run *r, uint32_t slot, enum ir_type t, uint64_t v)
{
	const struct ir_slot *s = &r->f->slots[slot];
	if (t == IR_F32 && s->size == 8 && s->box) v |= ~0ull << 32;
	store_le(slot_at(r, slot), v, s->size);
}

static void leave(struct run *r, const struct ir_ins *i, unsigned how)
{
	const struct ir_map *m = &r->f->map[i->map];
	for (uint32_t k = m->first; k < m->first + m->n; k++) {
		const struct ir_pair *p = &r->f->pair[k];
		slot_set(r, p->slot, ir_result_type(&r->f->ins[p->val]), r->v[p->val].lo);
	}
	r->ended = true;
	r->end.how = how;
	r->end.map = i->map;
	r->end.pc = how == IR_END_GOTO ? arg(r, i, 0) : r->w->base + (uint64_t)(int64_t)m->pc;
	if (how == IR_END_EXIT) r->end.exit = i->aux;
}

/* ---- memory */
static void *place(const struct run *r, const struct ir_ins *i)
{
	uint64_t h = i->arg[0] ? arg(r, i, 0) : 0;
	return (void *)(uintptr_t)(h + arg(r, i, 1) + (uint64_t)(int32_t)i->arg[2]);
}

static struct val load(const struct run *r, const struct ir_ins *i)
{
	static const enum ir_op extend[] = {IR_sx8, IR_sx16, IR_sx32};
	const void *p = place(r, i);
	struct val v = {0};
	if (i->type == IR_V128) {
		memcpy(&v, p, sizeof(v));
	} else if (i->type != IR_I64) {
		v.lo = load_le(p, ir_width(i->type) / 8);
	} else if (i->aux <= IR_U64) {
		v.lo = load_le(p, 1u << i->aux);
	} else {
		uint64_t a[3] = {load_le(p, 1u << (i->aux - IR_S8))};
		(void)ir_fold(extend[i->aux - IR_S8], IR_I64, 0, a, &v.lo);
	}
	return v;
}

static void store(const struct run *r, const struct ir_ins *i)
{
	memcpy(place(r, i), &r->v[i->arg[3]], i->aux);
}

static uint64_t atomic(const struct run *r, const struct ir_ins *i)
{
	void *p = (void *)(uintptr_t)arg(r, i, 0);
	uint64_t b = arg(r, i, 1), c = arg(r, i, 2);
	uint32_t b4 = (uint32_t)b, c4 = (uint32_t)c;
	bool four = i->aux == 4;
	switch (i->op) {
	case IR_swap:
		return four ? __atomic_exchange_n((uint32_t *)p, b4, __ATOMIC_SEQ_CST)
			    : __atomic_exchange_n((uint64_t *)p, b, __ATOMIC_SEQ_CST);
	case IR_xadd:
		return four ? __atomic_fetch_add((uint32_t *)p, b4, __ATOMIC_SEQ_CST)
			    : __atomic_fetch_add((uint64_t *)p, b, __ATOMIC_SEQ_CST);
	default:
		if (four) {
			__atomic_compare_exchange_n((uint32_t *)p, &b4, c4, false, __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST);
			return b4;
		}
		__atomic_compare_exchange_n((uint64_t *)p, &b, c, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
		return b;
	}
}

static uint64_t call(const struct run *r, const struct ir_ins *i)
{
	uint64_t (*fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
	uint64_t a[5] = {0};
	for (uint32_t k = 0; k < i->arg[3]; k++) a[k] = r->v[r->f->args[i->arg[2] + k]].lo;
	memcpy(&fn, &i->k, sizeof(fn));
	return fn(a[0], a[1], a[2], a[3], a[4]);
}

static uint64_t xlat(struct run *r, const struct ir_ins *i)
{
	uint64_t a = arg(r, i, 0), h = 0;
	uint64_t lo = a + (uint64_t)(int32_t)i->arg[1], hi = a + (uint64_t)(int32_t)i->arg[2];
	if (lo >> 12 != hi >> 12 || !r->w->xlat(r->w->state, i->aux & 3, lo, hi, &h))
		leave(r, i, IR_END_DEOPT);
	return h;
}

/* ---- control */
static void follow(struct run *r, uint32_t edge)
{
	const struct ir_edge *g = &r->f->edge[edge];
	const struct ir_block *b = &r->f->block[g->to];
	uint32_t p = b->first;
	for (uint32_t k = 0; k < b->params; k++) r->moved[k] = r->v[r->f->args[g->args + k]];
	for (uint32_t k = 0; k < b->params; k++, p = r->f->ins[p].next) r->v[p] = r->moved[k];
	r->block = g->to;
	r->next = p;
}

static void effect(struct run *r, const struct ir_ins *i)
{
	switch (i->op) {
	case IR_put: slot_set(r, i->aux, i->type, arg(r, i, 0)); break;
	case IR_store: store(r, i); break;
	case IR_fclear:
		if (raised() & ~arg(r, i, 0)) (void)feclearexcept(FE_ALL_EXCEPT);
		break;
	case IR_fence: __atomic_thread_fence(__ATOMIC_SEQ_CST); break;
	case IR_guard:
		if (!arg(r, i, 0)) leave(r, i, IR_END_DEOPT);
		break;
	case IR_poll:
		if (r->w->poll && __atomic_load_n(r->w->poll, __ATOMIC_RELAXED))
			leave(r, i, IR_END_DEOPT);
		break;
	case IR_jump: follow(r, i->arg[0]); break;
	case IR_br: follow(r, i->arg[arg(r, i, 0) ? 1 : 2]); break;
	case IR_exit: leave(r, i, IR_END_EXIT); break;
	default: leave(r, i, IR_END_GOTO); break;
	}
}

static struct val value(struct run *r, const struct ir_ins *i)
{
	uint64_t a[3], v = 0;
	switch (i->op) {
	case IR_konst: v = i->k; break;
	case IR_state: v = (uint64_t)(uintptr_t)r->w->state + i->k; break;
	case IR_get:
		v = ir_cut(i->type, load_le(slot_at(r, i->aux), r->f->slots[i->aux].size));
		break;
	case IR_xlat: v = xlat(r, i); break;
	case IR_fraised: v = raised(); break;
	case IR_load: return load(r, i);
	case IR_call: v = call(r, i); break;
	case IR_swap:
	case IR_xadd:
	case IR_cas: v = atomic(r, i); break;
	case IR_vzx:
	case IR_vsx:
	case IR_vpack:
	case IR_vlow:
	case IR_vdown:
	case IR_vbits: return across(r, i);
	default:
		if (ir_info[i->op].flags & IR_LANES) return lanes(r, i);
		if (ir_info[i->op].flags & IR_FLOAT) return (struct val){float_op(r, i), 0};
		for (unsigned k = 0; k < 3; k++) a[k] = arg(r, i, k);
		must(ir_fold(i->op, i->type, i->aux, a, &v));
	}
	return (struct val){v, 0};
}

struct ir_end ir_eval(const struct ir_fn *f, struct ir_world *w)
{
	struct run r = {.f = f, .w = w, .next = f->block[0].first};
	auto_mem struct val *mem = calloc((size_t)f->n + f->nargs, sizeof(*mem));
	must(mem);
	r.v = mem;
	r.moved = mem + f->n;
	r.end.how = IR_END_STEPS;
	while (!r.ended && w->steps) {
		uint32_t n = r.next;
		const struct ir_ins *i = &f->ins[n];
		w->steps--;
		r.next = i->next;
		if (ir_result_type(i) == IR_VOID)
			effect(&r, i);
		else
			r.v[n] = value(&r, i);
	}
	return r.end;
}
