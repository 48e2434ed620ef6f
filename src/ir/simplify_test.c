/* Random trees of pure operations, thick with the numbers and shapes that rules look for: what
 * ir_emit makes of them has the value that ir_fold gives, for a few values of the leaves. */
#include "base/test.h"
#include "base/types.h"
#include "ir/impl.h"

enum { LANES = 4 };
static const struct ir_slot slots[] = {
	{0, 8, false, "x"},  {8, 8, false, "y"},  {16, 4, false, "w"}, {24, 4, false, "s"},
	{32, 8, false, "d"}, {40, 1, false, "c"}, {48, 2, false, "h"}};
static const uint64_t leaves[COUNT(slots)][LANES] = {
	{0, ~0ull, 0x123456789abcdef0, 0x80000000},
	{1, 0x8000000000000000, 0xffffffff80000000, 0x7f},
	{0, 0xffffffff, 0x80000001, 33},
	{0, 0x7f800001, 0xffc00000, 0x3f800000},
	{0, 0x7ff0000000000001, 0xfff8000000000000, 0x3ff0000000000000},
	{0, 1, 0x80, 0xff},
	{0, 1, 0x8000, 0xffff}};
struct tree {
	ir_val v;
	enum ir_type t;
	uint64_t want[LANES];
};
static uint64_t state = 1;

static unsigned below(unsigned n)
{
	state = state * 6364136223846793005 + 1442695040888963407;
	return (unsigned)(state >> 33) % n;
}

static struct tree number(struct ir_fn *f, enum ir_type t)
{
	static const uint64_t k[] = {0,		 1,	     ~0ull,
				     2,		 8,	     31,
				     32,	 48,	     56,
				     63,	 0xff,	     0xffff,
				     0xffffffff, 1ull << 31, ~(1ull << 31),
				     0x7fffffff, 1ull << 63, ~(1ull << 63),
				     ~0xffull,	 ~0ull << 32};
	struct tree r = {.t = t};
	uint64_t n = ir_cut(t, k[below(COUNT(k))]);
	r.v = ir_konst(f, t, n);
	for (unsigned l = 0; l < LANES; l++) r.want[l] = n;
	return r;
}

static struct tree leaf(struct ir_fn *f, enum ir_type t)
{
	static const uint8_t ints[] = {0, 0, 0, 1, 5, 6, 2};
	unsigned slot = t == IR_F32 ? 3 : t == IR_F64 ? 4 : t == IR_I32 ? 2 : ints[below(7)];
	struct tree r = {.t = t};
	if (below(2)) return number(f, t);
	r.v = ir_get(f, t, slot);
	memcpy(r.want, leaves[slot], sizeof(r.want));
	return r;
}

static enum ir_type int_type(void) { return below(3) ? IR_I64 : IR_I32; }
static enum ir_type fp_type(void) { return below(2) ? IR_F64 : IR_F32; }

/* An op with a value of type t, its type and that of its operands. */
static enum ir_op pick(enum ir_type t, enum ir_type *own, enum ir_type *from)
{
	static const enum ir_op often[] = {IR_and, IR_or,  IR_xor,  IR_shl,  IR_shr, IR_sar, IR_add,
					   IR_sub, IR_not, IR_sx32, IR_zx32, IR_eq,  IR_ne};
	enum ir_op op;
	*own = *from = t;
	if (ir_is_fp(t)) {
		static const enum ir_op fp[] = {IR_fneg,   IR_fabs, IR_fnan,
						IR_select, IR_tofp, IR_tofp};
		op = fp[below(COUNT(fp))];
		if (op == IR_tofp) *from = IR_I64;
		return op;
	}
	if (t == IR_I64 && !below(12)) return *from = fp_type(), IR_tobits;
	do op = below(2) ? often[below(COUNT(often))] : IR_add + below(IR_select - IR_add + 1);
	while (t == IR_I32 ? (op >= IR_sx8 && op <= IR_zx32) || ir_info[op].result == IR_FLAG
			   : op == IR_trunc);
	if (op == IR_trunc) *from = IR_I64;
	if (op >= IR_sx8 && op <= IR_zx32) *from = int_type();
	if (ir_info[op].result == IR_FLAG) *own = *from = int_type();
	return op;
}

static struct tree node(struct ir_fn *f, enum ir_op op, enum ir_type own, const struct tree *a)
{
	struct tree r = {.t = ir_info[op].result == IR_FLAG ? IR_I64 : own};
	r.v = ir_emit(f, op, own, a[0].v, a[1].v, a[2].v);
	for (unsigned l = 0; l < LANES; l++) {
		uint64_t in[3] = {a[0].want[l], a[1].want[l], a[2].want[l]};
		CHECK(ir_fold(op, own, 0, in, &r.want[l]));
	}
	return r;
}

static struct tree grow(struct ir_fn *f, enum ir_type t, unsigned depth);

/* One value masked twice, and put together again. */
static struct tree masks(struct ir_fn *f, enum ir_type t, unsigned depth)
{
	struct tree x = grow(f, t, depth - 1), part[2][3] = {0}, both[3] = {0};
	for (unsigned k = 0; k < 2; k++) {
		part[k][0] = x;
		if (!below(3)) part[k][0] = node(f, IR_not, t, part[k]);
		part[k][1] = number(f, t);
		both[k] = below(5) ? node(f, IR_and, t, part[k]) : x;
	}
	return node(f, below(3) ? IR_or : IR_xor, t, both);
}

static struct tree fixed(struct ir_fn *f, enum ir_type t, uint64_t n)
{
	struct tree r = {.v = ir_konst(f, t, n), .t = t};
	for (unsigned l = 0; l < LANES; l++) r.want[l] = ir_cut(t, n);
	return r;
}

/* One value shifted both ways, and put together again; of 32 bits, as guests of 64 do that. */
static struct tree turned(struct ir_fn *f, enum ir_type t, unsigned depth)
{
	static const enum ir_op joins[] = {IR_or, IR_or, IR_xor, IR_add};
	struct tree x = grow(f, t, depth - 1), y = x, by[3] = {0}, part[3] = {0};
	bool half = t == IR_I64 && below(2);
	unsigned w = half ? 32 : ir_width(t), n = below(w + 1);
	by[0] = fixed(f, t, n);
	by[1] = fixed(f, t, w - n - !below(8));
	if (!below(3)) {
		by[0] = grow(f, t, depth - 1);
		by[1] = node(f, IR_neg, t, by);
	}
	if (half) {
		struct tree m = fixed(f, t, 31);
		for (unsigned k = 0; k < 2; k++)
			by[k] = node(f, IR_and, t, (struct tree[3]){by[k], m});
		y = node(f, IR_zx32, t, (struct tree[3]){x});
	}
	part[0] = node(f, IR_shl, t, (struct tree[3]){x, by[0]});
	part[1] = node(f, IR_shr, t, (struct tree[3]){y, by[1]});
	for (unsigned k = 0; half && k < 2; k++)
		part[k] = node(f, IR_sx32, t, (struct tree[3]){part[k]});
	bool swap = below(2);
	return node(f, joins[below(4)], t, (struct tree[3]){part[swap], part[!swap]});
}

static struct tree grow(struct ir_fn *f, enum ir_type t, unsigned depth)
{
	struct tree a[3] = {0};
	enum ir_type own, from;
	if (!depth || !below(4)) return leaf(f, t);
	if (ir_is_int(t) && !below(10)) return masks(f, t, depth);
	if (ir_is_int(t) && !below(10)) return turned(f, t, depth);
	enum ir_op op = pick(t, &own, &from);
	for (unsigned k = 0; k < ir_info[op].args; k++) {
		a[k] = grow(f, op == IR_select && !k ? IR_I64 : from, depth - 1);
		if (k && from == a[0].t && !below(4)) a[k] = a[0];
	}
	return node(f, op, own, a);
}

static uint64_t value(const struct ir_fn *f, uint32_t v, unsigned lane)
{
	const struct ir_ins *i = &f->ins[v];
	uint64_t in[3] = {0}, out = 0;
	if (i->op == IR_konst) return i->k;
	if (i->op == IR_get) return leaves[i->aux][lane];
	for (unsigned k = 0; k < ir_info[i->op].args; k++) in[k] = value(f, i->arg[k], lane);
	CHECK(ir_fold(i->op, i->type, i->aux, in, &out));
	return out;
}

TEST(ir_simplified_trees_have_the_same_value)
{
	struct ir_fn *f = ir_new(slots, COUNT(slots));
	for (unsigned n = 0; n < 100000; n++) {
		ir_reset(f);
		f->at = ir_block_new(f);
		uint64_t seed = state;
		struct tree r = grow(f, below(4) ? int_type() : fp_type(), 4);
		bool same = ir_result_type(ir_at(f, r.v)) == r.t;
		for (unsigned l = 0; l < LANES; l++) same &= value(f, r.v.n, l) == r.want[l];
		if (!same) (void)printf("tree %u, seed %#llx\n", n, (unsigned long long)seed);
		CHECK(same);
		if (!same) break;
	}
	ir_free(f);
}

/* ---- what guests with 64-bit registers do in 32 bits */
static struct ir_fn *fresh(void)
{
	struct ir_fn *f = ir_new(slots, COUNT(slots));
	f->at = ir_block_new(f);
	return f;
}
static ir_val two(struct ir_fn *f, enum ir_op op, ir_val a, ir_val b)
{
	return ir_emit(f, op, IR_I64, a, b, (ir_val){0});
}
static ir_val one(struct ir_fn *f, enum ir_op op, ir_val a) { return two(f, op, a, (ir_val){0}); }

TEST(ir_extensions_move_outwards)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, 0), y = ir_get(f, IR_I64, 1);
	ir_val a = one(f, IR_sx32, two(f, IR_add, x, y)), b = one(f, IR_sx32, two(f, IR_mul, a, y));
	ir_val c = two(f, IR_xor, a, b), d = two(f, IR_eq, c, ir_konst(f, IR_I64, 7));
	const struct ir_ins *i = ir_at(f, c);
	CHECK(i->op == IR_sx32 && f->ins[i->arg[0]].op == IR_xor);
	CHECK(f->ins[i->arg[0]].arg[0] == ir_at(f, a)->arg[0]);
	CHECK(f->ins[i->arg[0]].arg[1] == ir_at(f, b)->arg[0]);
	const struct ir_ins *m = &f->ins[ir_at(f, b)->arg[0]];
	CHECK(m->arg[0] == ir_at(f, a)->arg[0] || m->arg[1] == ir_at(f, a)->arg[0]);
	CHECK(ir_at(f, d)->type == IR_I32 && ir_at(f, d)->arg[0] == i->arg[0]);
	ir_free(f);
}

TEST(ir_shifts_both_ways_rotate)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, 0), y = ir_get(f, IR_I64, 1);
	ir_val left = one(f, IR_sx32, two(f, IR_shl, x, ir_konst(f, IR_I64, 7)));
	ir_val right = two(f, IR_shr, one(f, IR_zx32, x), ir_konst(f, IR_I64, 25));
	const struct ir_ins *i = ir_at(f, two(f, IR_or, left, one(f, IR_sx32, right)));
	CHECK(i->op == IR_sx32 && f->ins[i->arg[0]].op == IR_rol);
	left = two(f, IR_shl, x, y);
	right = two(f, IR_shr, x, one(f, IR_neg, y));
	CHECK(ir_at(f, two(f, IR_or, left, right))->op == IR_rol);
	CHECK(ir_at(f, two(f, IR_xor, left, right))->op == IR_xor);
	ir_free(f);
}
