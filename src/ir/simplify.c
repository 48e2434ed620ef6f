/* What need not be computed: identities of arithmetic, applied to one instruction before it is
 * appended. Each rule looks at most a few operands deep and leaves the instruction, turns it into
 * a simpler one, or finds that its value exists. Two questions carry most of it: which upper bits
 * of a value are known (zbits, sbits), and which operand does the same for the bits looked at
 * (low).
 *
 * A guest with 64-bit registers extends each result of 32 bits. Here such arithmetic is i32, and
 * the extension moves outwards, through whatever can do without: in the end only addresses, 64-bit
 * arithmetic and maps need it. */
#include "ir/impl.h"

enum { STAY, AGAIN, FOUND };
enum { DEPTH = 3, NARROWING = 6 };
struct rule {
	struct ir_fn *f;
	struct ir_ins *i;
	uint32_t v;    /* when FOUND */
	bool has_k;    /* the second operand is this number */
	uint64_t k;    /* cut to the type */
	uint64_t ones; /* of the type */
};

/* ---- looking */
static const struct ir_ins *at(const struct rule *r, uint32_t v) { return &r->f->ins[v]; }
static const struct ir_ins *arg(const struct rule *r, unsigned n) { return at(r, r->i->arg[n]); }
static bool is_i64(const struct ir_ins *i) { return ir_result_type(i) == IR_I64; }
static bool is_flag(const struct ir_ins *i) { return ir_info[i->op].result == IR_FLAG; }
static bool konst_at(const struct ir_fn *f, uint32_t v, uint64_t *k)
{
	return ir_is_konst(f, (ir_val){v}, k);
}
static uint64_t mask(unsigned bits) { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }
static unsigned bits_of(uint64_t k) { return k ? 64 - (unsigned)__builtin_clzll(k) : 0; }
static unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }

/* How many bits an extension keeps; 0: it is none. */
static unsigned sx_bits(unsigned op)
{
	return op == IR_sx8 ? 8 : op == IR_sx16 ? 16 : op == IR_sx32 ? 32 : 0;
}
static unsigned zx_bits(unsigned op)
{
	return op == IR_zx8 ? 8 : op == IR_zx16 ? 16 : op == IR_zx32 ? 32 : 0;
}

/* v is and(*x, *k), perhaps in other words. */
static bool masked(const struct rule *r, uint32_t v, uint32_t *x, uint64_t *k)
{
	const struct ir_ins *i = at(r, v);
	*x = i->arg[0];
	if (i->op == IR_and) return konst_at(r->f, i->arg[1], k);
	*k = mask(zx_bits(i->op));
	return zx_bits(i->op) && is_i64(at(r, *x));
}

/* The i32 v is below 2 to this. */
static unsigned zbits32(const struct rule *r, uint32_t v)
{
	const struct ir_ins *i = at(r, v);
	uint64_t k;
	if (i->op == IR_konst) return bits_of(i->k);
	if ((i->op != IR_shr && i->op != IR_and) || !konst_at(r->f, i->arg[1], &k)) return 32;
	return i->op == IR_and ? bits_of(k) : 32 - (unsigned)(k & 31);
}

/* The i64 v is below 2 to this. */
static unsigned zbits(const struct rule *r, uint32_t v, unsigned depth)
{
	const struct ir_ins *i = at(r, v);
	uint64_t k;
	if (!is_i64(i) || !depth) return 64;
	if (is_flag(i)) return 1;
	switch (i->op) {
	case IR_konst: return bits_of(i->k);
	case IR_load: return i->aux <= IR_U64 ? 8u << i->aux : 64;
	case IR_get: return 8u * r->f->slots[i->aux].size;
	case IR_swap:
	case IR_xadd:
	case IR_cas: return 8u * i->aux;
	case IR_tobits: return ir_width(ir_result_type(at(r, i->arg[0])));
	case IR_shr: return konst_at(r->f, i->arg[1], &k) ? 64 - (unsigned)(k & 63) : 64;
	case IR_clz:
	case IR_ctz:
	case IR_popcnt: return 7;
	case IR_zx32: return is_i64(at(r, i->arg[0])) ? 32 : zbits32(r, i->arg[0]);
	case IR_and: return min(zbits(r, i->arg[0], depth - 1), zbits(r, i->arg[1], depth - 1));
	case IR_or:
	case IR_xor: return max(zbits(r, i->arg[0], depth - 1), zbits(r, i->arg[1], depth - 1));
	default: return zx_bits(i->op) ? zx_bits(i->op) : 64;
	}
}

/* The i64 v is its own lowest bits, this many, sign-extended. */
static unsigned sbits(const struct rule *r, uint32_t v)
{
	const struct ir_ins *i = at(r, v);
	uint64_t k;
	if (!is_i64(i)) return 64;
	if (i->op == IR_konst) return 64 - (unsigned)__builtin_clrsbll((long long)i->k);
	if (i->op == IR_load && i->aux >= IR_S8) return 8u << (i->aux - IR_S8);
	if (i->op == IR_sar && konst_at(r->f, i->arg[1], &k)) return 64 - (unsigned)(k & 63);
	return sx_bits(i->op) ? sx_bits(i->op) : min(64, zbits(r, v, DEPTH) + 1);
}

/* One step towards a value with the same n low bits; v itself: none. */
static uint32_t low_step(const struct rule *r, uint32_t v, unsigned n)
{
	const struct ir_ins *i = at(r, v);
	uint64_t k;
	switch (i->op) {
	case IR_sx8:
	case IR_sx16:
	case IR_sx32: return sx_bits(i->op) >= n ? i->arg[0] : v;
	case IR_zx8:
	case IR_zx16:
	case IR_zx32: return zx_bits(i->op) >= n ? i->arg[0] : v;
	case IR_trunc: return n <= 32 ? i->arg[0] : v;
	case IR_and: return konst_at(r->f, i->arg[1], &k) && !(~k & mask(n)) ? i->arg[0] : v;
	case IR_add:
	case IR_or:
	case IR_xor: return konst_at(r->f, i->arg[1], &k) && !(k & mask(n)) ? i->arg[0] : v;
	default: return v;
	}
}

/* wide: it must be an i64. */
static uint32_t low(const struct rule *r, uint32_t v, unsigned n, bool wide)
{
	uint32_t best = v;
	for (uint32_t next; (next = low_step(r, v, n)) != v;) {
		v = next;
		if (!wide || is_i64(at(r, v))) best = v;
	}
	return best;
}

/* ---- acting */
static int found(struct rule *r, uint32_t v)
{
	r->v = v;
	return FOUND;
}
static int konst(struct rule *r, enum ir_type t, uint64_t k)
{
	return found(r, ir_konst(r->f, t, k).n);
}
static int number(struct rule *r, uint64_t k) { return konst(r, ir_result_type(r->i), k); }
static int turn(struct rule *r, enum ir_op op, uint32_t a, uint32_t b)
{
	r->i->op = (uint8_t)op;
	r->i->arg[0] = a;
	r->i->arg[1] = b;
	r->i->arg[2] = 0;
	return AGAIN;
}
static int turn_k(struct rule *r, enum ir_op op, uint32_t a, uint64_t k)
{
	return turn(r, op, a, ir_konst(r->f, r->i->type, k).n);
}
/* op(op(x, k1), k) is op(x, join) */
static bool twice(const struct rule *r, enum ir_op op, uint32_t *x, uint64_t *k)
{
	const struct ir_ins *a = arg(r, 0);
	if (!r->has_k || a->op != op || !konst_at(r->f, a->arg[1], k)) return false;
	*x = a->arg[0];
	return true;
}

/* ---- 32 bits of 64 */
static uint32_t emit(struct rule *r, enum ir_op op, enum ir_type t, uint32_t a, uint32_t b)
{
	return ir_emit(r->f, op, t, (ir_val){a}, (ir_val){b}, (ir_val){0}).n;
}

static uint32_t half(struct rule *r, uint32_t v) /* the low one, an i32 */
{
	return v && is_i64(at(r, v)) ? emit(r, IR_trunc, IR_I32, v, 0) : v;
}

/* Shifting by v is the same in 32 bits. */
static bool below_32(const struct rule *r, uint32_t v) { return zbits(r, v, DEPTH) <= 5; }

/* The low half of its result needs those of its operands only. */
static bool narrows(const struct rule *r, const struct ir_ins *i)
{
	if (i->type != IR_I64) return false;
	switch (i->op) {
	case IR_add:
	case IR_sub:
	case IR_mul:
	case IR_and:
	case IR_or:
	case IR_xor:
	case IR_not:
	case IR_neg: return true;
	case IR_shl: return below_32(r, i->arg[1]);
	default: return false;
	}
}

/* An operand was extended for it. */
static bool has_spare(const struct rule *r, const struct ir_ins *i)
{
	for (unsigned n = 0; n < ir_info[i->op].args; n++)
		if (low_step(r, i->arg[n], 32) != i->arg[n]) return true;
	return false;
}

/* The low half of v, computed as an i32, if that spares something or v is the newest value, made
 * to be extended most likely; else 0. */
static uint32_t narrow(struct rule *r, uint32_t v, bool newest)
{
	struct ir_ins i = *at(r, v);
	if (!narrows(r, &i) || r->f->narrowing == NARROWING) return 0;
	if (!(newest && v + 1 == r->f->n) && !has_spare(r, &i)) return 0;
	r->f->narrowing++;
	uint32_t a = half(r, i.arg[0]), b = half(r, i.arg[1]);
	r->f->narrowing--;
	return emit(r, (enum ir_op)i.op, IR_I32, a, b);
}

/* Operands from..: sign-extended, and one of them here. */
static bool extended(const struct rule *r, unsigned from)
{
	bool some = false;
	for (unsigned n = from; n < ir_info[r->i->op].args; n++) {
		some |= arg(r, n)->op == IR_sx32;
		if (sbits(r, r->i->arg[n]) > 32) return false;
	}
	return some;
}

/* op(sx32 x, sx32 y) is sx32 op(x, y); `and` of what is not negative is not either. */
static int outwards(struct rule *r)
{
	const uint32_t *a = r->i->arg;
	enum ir_op op = (enum ir_op)r->i->op, out = IR_sx32;
	if (r->i->type != IR_I64 || !extended(r, 0)) return STAY;
	if (op == IR_and && min(zbits(r, a[0], DEPTH), zbits(r, a[1], DEPTH)) < 32) out = IR_zx32;
	uint32_t x = half(r, a[0]), y = half(r, a[1]);
	return turn(r, out, emit(r, op, IR_I32, x, y), 0);
}

/* shl(x, b) and shr(x, -b) */
static bool opposite(const struct rule *r, uint32_t b, uint32_t minus)
{
	const struct ir_ins *i = at(r, minus);
	unsigned w = ir_width(r->i->type);
	uint64_t k, m;
	if (konst_at(r->f, b, &k)) return konst_at(r->f, minus, &m) && k + m == w;
	if (r->i->op != IR_or) return false; /* by nothing, both are x */
	if (i->op == IR_neg) return i->arg[0] == b;
	return i->op == IR_sub && i->arg[1] == b && konst_at(r->f, i->arg[0], &k) && !(k % w);
}

static int rotate(struct rule *r)
{
	for (unsigned n = 0; n < 2; n++) {
		const struct ir_ins *a = arg(r, n), *b = arg(r, !n);
		if (a->op != IR_shl || b->op != IR_shr || a->arg[0] != b->arg[0]) continue;
		if (opposite(r, a->arg[1], b->arg[1])) return turn(r, IR_rol, a->arg[0], a->arg[1]);
		if (opposite(r, b->arg[1], a->arg[1])) return turn(r, IR_ror, a->arg[0], b->arg[1]);
	}
	return STAY;
}

/* ---- integers */
static int add_rule(struct rule *r)
{
	uint32_t x;
	uint64_t k;
	if (!r->has_k) return rotate(r);
	if (!r->k) return found(r, r->i->arg[0]);
	if (arg(r, 0)->op == IR_state) return found(r, ir_state(r->f, arg(r, 0)->k + r->k).n);
	return twice(r, IR_add, &x, &k) ? turn_k(r, IR_add, x, k + r->k) : STAY;
}

static int sub_rule(struct rule *r)
{
	uint64_t k;
	if (r->i->arg[0] == r->i->arg[1]) return number(r, 0);
	if (r->has_k) return turn_k(r, IR_add, r->i->arg[0], -r->k);
	if (konst_at(r->f, r->i->arg[0], &k) && !k) return turn(r, IR_neg, r->i->arg[1], 0);
	return STAY;
}

static int mul_rule(struct rule *r)
{
	if (!r->has_k) return STAY;
	if (!r->k) return number(r, 0);
	if (r->k == 1) return found(r, r->i->arg[0]);
	if (r->k & (r->k - 1)) return STAY;
	return turn_k(r, IR_shl, r->i->arg[0], bits_of(r->k) - 1);
}

static int and_rule(struct rule *r)
{
	uint32_t x = r->i->arg[0];
	uint64_t k;
	if (x == r->i->arg[1]) return found(r, x);
	if (!r->has_k) return outwards(r);
	if (!r->k) return number(r, 0);
	if (r->k == r->ones || !(~r->k & mask(zbits(r, x, DEPTH)))) return found(r, x);
	if (twice(r, IR_and, &x, &k)) return turn_k(r, IR_and, x, k & r->k);
	if (r->i->type != IR_I64) return STAY;
	if (r->k == 0xff) return turn(r, IR_zx8, x, 0);
	if (r->k == 0xffff) return turn(r, IR_zx16, x, 0);
	return r->k == 0xffffffff ? turn(r, IR_zx32, x, 0) : outwards(r);
}

/* or(and(x, k), and(x or not(x), m)): as a sign is copied, kept or turned */
static int or_masks(struct rule *r)
{
	uint32_t x, y;
	uint64_t k, m;
	if (!masked(r, r->i->arg[0], &x, &k) || !masked(r, r->i->arg[1], &y, &m)) return STAY;
	if (x == y) return turn_k(r, IR_and, x, k | m);
	if (k & m) return STAY;
	if (at(r, x)->op == IR_not && at(r, x)->arg[0] == y) {
		uint64_t t = k;
		x = y, k = m, m = t;
	} else if (at(r, y)->op != IR_not || at(r, y)->arg[0] != x) {
		return STAY;
	}
	ir_val w = {x}, mv = ir_konst(r->f, r->i->type, m);
	w = ir_emit(r->f, IR_xor, r->i->type, w, mv, (ir_val){0});
	return turn_k(r, IR_and, w.n, k | m);
}

static int or_rule(struct rule *r)
{
	uint32_t x = r->i->arg[0];
	uint64_t k;
	if (x == r->i->arg[1] || (r->has_k && !r->k)) return found(r, x);
	if (!r->has_k) {
		int done = or_masks(r);
		if (done == STAY) done = rotate(r);
		return done == STAY ? outwards(r) : done;
	}
	if (r->k == r->ones) return number(r, r->ones);
	return twice(r, IR_or, &x, &k) ? turn_k(r, IR_or, x, k | r->k) : outwards(r);
}

static enum ir_op inverse(enum ir_op op)
{
	switch (op) {
	case IR_eq: return IR_ne;
	case IR_ne: return IR_eq;
	case IR_lt: return IR_le;
	case IR_le: return IR_lt;
	case IR_ltu: return IR_leu;
	case IR_leu: return IR_ltu;
	default: return IR__count;
	}
}

/* The instruction becomes 1 - v; v is a flag. */
static int invert(struct rule *r, uint32_t v)
{
	const struct ir_ins *i = at(r, v);
	enum ir_op op = inverse(i->op);
	if (op == IR__count) {
		if (r->i->op == IR_eq && r->has_k && !r->k) return STAY;
		r->i->type = IR_I64;
		return turn_k(r, IR_eq, v, 0);
	}
	bool swap = op != IR_eq && op != IR_ne;
	uint32_t a = i->arg[0], b = i->arg[1];
	r->i->type = i->type;
	return turn(r, op, swap ? b : a, swap ? a : b);
}

/* xor(x, and(x, k)): the bits of k cleared */
static int xor_mask(struct rule *r, uint32_t x, uint32_t m)
{
	uint32_t y;
	uint64_t k;
	if (!masked(r, m, &y, &k) || x != y) return STAY;
	return turn_k(r, IR_and, x, ~k);
}

static int xor_rule(struct rule *r)
{
	uint32_t x = r->i->arg[0], y = r->i->arg[1];
	uint64_t k;
	if (x == y) return number(r, 0);
	if (!r->has_k) {
		int done = xor_mask(r, x, y);
		if (done == STAY) done = xor_mask(r, y, x);
		if (done == STAY) done = rotate(r);
		return done == STAY ? outwards(r) : done;
	}
	if (!r->k) return found(r, x);
	if (r->k == r->ones) return turn(r, IR_not, x, 0);
	if (r->k == 1 && is_flag(at(r, x))) return invert(r, x);
	return twice(r, IR_xor, &x, &k) ? turn_k(r, IR_xor, x, k ^ r->k) : outwards(r);
}

/* Amounts count modulo the width, so masking them is of no use. */
static int shift_amount(struct rule *r)
{
	unsigned w = ir_width(r->i->type), n = bits_of(w) - 1;
	uint32_t b = low(r, r->i->arg[1], n, w == 64);
	if (b == r->i->arg[1]) return STAY;
	if (w == 32 && is_i64(at(r, b))) {
		b = ir_emit(r->f, IR_trunc, IR_I32, (ir_val){b}, (ir_val){0}, (ir_val){0}).n;
		if (b == r->i->arg[1]) return STAY;
	}
	return turn(r, r->i->op, r->i->arg[0], b);
}

static int shift_rule(struct rule *r)
{
	unsigned w = ir_width(r->i->type);
	uint32_t x = r->i->arg[0], y;
	uint64_t k;
	if (!r->has_k) return shift_amount(r);
	if (r->k >= w) return turn_k(r, r->i->op, x, r->k & (w - 1));
	if (!r->k) return found(r, x);
	if (r->i->op == IR_rol || r->i->op == IR_ror) return STAY;
	if (r->i->op == IR_shl && (y = low(r, x, w - (unsigned)r->k, w == 64)) != x &&
	    ir_result_type(at(r, y)) == r->i->type)
		return turn(r, IR_shl, y, r->i->arg[1]);
	if (!twice(r, r->i->op, &x, &k)) return STAY;
	if (k + r->k < w) return turn_k(r, r->i->op, x, k + r->k);
	return r->i->op == IR_sar ? turn_k(r, IR_sar, x, w - 1) : number(r, 0);
}

/* An extended half goes right: it can be extended afterwards. */
static int right_half(struct rule *r)
{
	bool sar = r->i->op == IR_sar;
	enum ir_op ext = sar ? IR_sx32 : IR_zx32;
	if (r->i->type != IR_I64 || arg(r, 0)->op != ext || !below_32(r, r->i->arg[1])) return STAY;
	uint32_t x = half(r, arg(r, 0)->arg[0]), b = half(r, r->i->arg[1]);
	return turn(r, ext, emit(r, (enum ir_op)r->i->op, IR_I32, x, b), 0);
}

/* The low half of x came left by 32 and goes right by another amount than that. */
static int half_way(struct rule *r, uint32_t x)
{
	bool sar = r->i->op == IR_sar;
	enum ir_op ext = sar ? IR_sx32 : IR_zx32;
	uint64_t k = r->k;
	x = emit(r, ext, IR_I64, x, 0);
	return k < 32 ? turn_k(r, IR_shl, x, 32 - k) : turn_k(r, (enum ir_op)r->i->op, x, k - 32);
}

/* Right by as much as it came left: an extension. */
static int right_rule(struct rule *r)
{
	static const enum ir_op sx[] = {IR_sx8, IR_sx16, IR__count, IR_sx32};
	static const enum ir_op zx[] = {IR_zx8, IR_zx16, IR__count, IR_zx32};
	const struct ir_ins *a = arg(r, 0);
	uint64_t k;
	int done = shift_rule(r);
	if (done == STAY) done = right_half(r);
	if (done != STAY || !r->has_k || r->i->type != IR_I64) return done;
	if (r->i->op == IR_shr && zbits(r, r->i->arg[0], DEPTH) <= r->k) return number(r, 0);
	if (a->op != IR_shl || !konst_at(r->f, a->arg[1], &k)) return STAY;
	if (k == 32 && r->k != 32) return half_way(r, a->arg[0]);
	if (k != r->k) return STAY;
	if (k != 32 && k != 48 && k != 56) return STAY;
	unsigned n = (unsigned)(64 - k) / 8 - 1;
	return turn(r, r->i->op == IR_sar ? sx[n] : zx[n], a->arg[0], 0);
}

static int undo_rule(struct rule *r) /* not, neg, bswap, fneg: twice is nothing */
{
	if (arg(r, 0)->op == r->i->op) return found(r, arg(r, 0)->arg[0]);
	return r->i->op == IR_not ? outwards(r) : STAY;
}

static int ext_rule(struct rule *r)
{
	uint32_t a = r->i->arg[0];
	unsigned s = sx_bits(r->i->op), n = s ? s : zx_bits(r->i->op);
	if (n >= (s ? sbits(r, a) : zbits(r, a, DEPTH))) return found(r, a);
	uint32_t b = low(r, a, n, false);
	if (a != b) return turn(r, r->i->op, b, 0);
	if (s == 32 && !is_i64(at(r, a)) && zbits32(r, a) < 32) return turn(r, IR_zx32, a, 0);
	b = narrow(r, a, true);
	return b ? turn(r, r->i->op, b, 0) : STAY;
}

static int trunc_rule(struct rule *r)
{
	uint32_t a = r->i->arg[0], b = low(r, a, 32, false);
	if (ir_result_type(at(r, b)) == IR_I32) return found(r, b);
	b = low(r, a, 32, true);
	if (a != b) return turn(r, IR_trunc, b, 0);
	b = narrow(r, a, false);
	return b ? found(r, b) : STAY;
}

/* ---- comparisons */
static bool is_sign(unsigned op) { return op == IR_lt || op == IR_le; }

/* Extended halves compare as halves. */
static int compare_halves(struct rule *r)
{
	const uint32_t *a = r->i->arg;
	if (r->i->type != IR_I64) return STAY;
	if (!extended(r, 0)) {
		if (arg(r, 0)->op != IR_zx32 && arg(r, 1)->op != IR_zx32) return STAY;
		if (max(zbits(r, a[0], DEPTH), zbits(r, a[1], DEPTH)) > 32) return STAY;
		if (is_sign(r->i->op)) r->i->op = r->i->op == IR_lt ? IR_ltu : IR_leu;
	}
	uint32_t x = half(r, a[0]), y = half(r, a[1]);
	r->i->type = IR_I32;
	return turn(r, (enum ir_op)r->i->op, x, y);
}

static int eq_zero(struct rule *r)
{
	const struct ir_ins *a = arg(r, 0);
	if (is_flag(a)) return r->i->op == IR_ne ? found(r, r->i->arg[0]) : invert(r, r->i->arg[0]);
	if (a->op == IR_sub || a->op == IR_xor) return turn(r, r->i->op, a->arg[0], a->arg[1]);
	return STAY;
}

static int eq_rule(struct rule *r)
{
	bool ne = r->i->op == IR_ne;
	uint32_t a = r->i->arg[0];
	if (a == r->i->arg[1]) return number(r, !ne);
	int done = compare_halves(r);
	if (done != STAY || !r->has_k) return done;
	if (!r->k) return eq_zero(r);
	if (r->k == 1 && is_flag(at(r, a))) return ne ? invert(r, a) : found(r, a);
	return STAY;
}

static int less_rule(struct rule *r)
{
	bool or_equal = r->i->op == IR_le || r->i->op == IR_leu;
	uint32_t a = r->i->arg[0], b = r->i->arg[1];
	uint64_t k;
	if (a == b) return number(r, or_equal);
	int done = compare_halves(r);
	if (done != STAY || is_sign(r->i->op)) return done;
	if (r->has_k && r->k == !or_equal) return turn_k(r, IR_eq, a, 0);
	if (r->has_k && !r->k) return number(r, 0);
	if (!konst_at(r->f, a, &k)) return STAY;
	if (k == or_equal) return turn_k(r, IR_ne, b, 0);
	return k ? STAY : number(r, 1);
}

static int select_rule(struct rule *r)
{
	const uint32_t *a = r->i->arg;
	uint64_t k, m;
	if (a[1] == a[2]) return found(r, a[1]);
	if (konst_at(r->f, a[0], &k)) return found(r, k ? a[1] : a[2]);
	if (r->i->type == IR_I64 && extended(r, 1)) {
		ir_val x = {half(r, a[1])}, y = {half(r, a[2])};
		x = ir_emit(r->f, IR_select, IR_I32, (ir_val){a[0]}, x, y);
		return turn(r, IR_sx32, x.n, 0);
	}
	if (r->i->type != IR_I64 || !is_flag(at(r, a[0]))) return STAY;
	if (!konst_at(r->f, a[1], &k) || !konst_at(r->f, a[2], &m)) return STAY;
	if (k == 1 && !m) return found(r, a[0]);
	return !k && m == 1 ? invert(r, a[0]) : STAY;
}

/* ---- floats */
static bool is_quiet(const struct ir_ins *i) /* never a signalling NaN */
{
	if (i->op == IR_param) return i->arg[0] == IR_QUIET;
	return i->op == IR_fnan ||
	       ((ir_info[i->op].flags & IR_FLOAT) && ir_is_fp(ir_result_type(i)));
}

static int itof_rule(struct rule *r)
{
	if (arg(r, 0)->op != IR_sx32) return STAY;
	r->i->arg[0] = half(r, arg(r, 0)->arg[0]);
	r->i->aux = IR_I32;
	return STAY;
}

/* Arithmetic cannot tell one quiet NaN from another. */
static void strip_fnan(struct rule *r)
{
	for (unsigned n = 0; n < ir_info[r->i->op].args; n++) {
		const struct ir_ins *a = arg(r, n);
		if (a->op == IR_fnan && is_quiet(at(r, a->arg[0]))) r->i->arg[n] = a->arg[0];
	}
}

static int fabs_rule(struct rule *r)
{
	const struct ir_ins *a = arg(r, 0);
	if (a->op == IR_fabs) return found(r, r->i->arg[0]);
	return a->op == IR_fneg ? turn(r, IR_fabs, a->arg[0], 0) : STAY;
}

static int fnan_rule(struct rule *r)
{
	const struct ir_ins *a = arg(r, 0);
	return a->op == IR_fnan || a->op == IR_itof ? found(r, r->i->arg[0]) : STAY;
}

static int tobits_rule(struct rule *r)
{
	const struct ir_ins *a = arg(r, 0);
	if (a->op != IR_tofp) return STAY;
	return a->type == IR_F64 ? found(r, a->arg[0]) : turn(r, IR_zx32, a->arg[0], 0);
}

/* v is tobits of a float of the instruction's type; 0: it is not. */
static uint32_t from_bits(const struct rule *r, uint32_t v)
{
	const struct ir_ins *i = at(r, low(r, v, ir_width(r->i->type), true));
	if (i->op != IR_tobits) return 0;
	return ir_result_type(at(r, i->arg[0])) == r->i->type ? i->arg[0] : 0;
}

static int tofp_rule(struct rule *r)
{
	unsigned w = ir_width(r->i->type);
	uint32_t a = low(r, r->i->arg[0], w, true), x = from_bits(r, a);
	const struct ir_ins *i = at(r, a);
	uint64_t k;
	if (x) return found(r, x);
	if ((i->op == IR_xor || i->op == IR_and) && konst_at(r->f, i->arg[1], &k) &&
	    (x = from_bits(r, i->arg[0])) != 0) {
		k &= mask(w);
		if (i->op == IR_xor && k == 1ull << (w - 1)) return turn(r, IR_fneg, x, 0);
		if (i->op == IR_and && k == mask(w - 1)) return turn(r, IR_fabs, x, 0);
	}
	return a == r->i->arg[0] ? STAY : turn(r, IR_tofp, a, 0);
}

/* ---- */
static int (*const rules[IR__count])(struct rule *) = {
	[IR_add] = add_rule,	   [IR_sub] = sub_rule,	   [IR_mul] = mul_rule,
	[IR_and] = and_rule,	   [IR_or] = or_rule,	   [IR_xor] = xor_rule,
	[IR_shl] = shift_rule,	   [IR_shr] = right_rule,  [IR_sar] = right_rule,
	[IR_rol] = shift_rule,	   [IR_ror] = shift_rule,  [IR_not] = undo_rule,
	[IR_neg] = undo_rule,	   [IR_bswap] = undo_rule, [IR_sx8] = ext_rule,
	[IR_sx16] = ext_rule,	   [IR_sx32] = ext_rule,   [IR_zx8] = ext_rule,
	[IR_zx16] = ext_rule,	   [IR_zx32] = ext_rule,   [IR_trunc] = trunc_rule,
	[IR_eq] = eq_rule,	   [IR_ne] = eq_rule,	   [IR_lt] = less_rule,
	[IR_le] = less_rule,	   [IR_ltu] = less_rule,   [IR_leu] = less_rule,
	[IR_select] = select_rule, [IR_fneg] = undo_rule,  [IR_fabs] = fabs_rule,
	[IR_itof] = itof_rule,	   [IR_fnan] = fnan_rule,  [IR_tobits] = tobits_rule,
	[IR_tofp] = tofp_rule,
};

static bool fold(struct rule *r)
{
	uint64_t a[3] = {0}, v;
	unsigned n = ir_info[r->i->op].args;
	if (!n || !(ir_info[r->i->op].flags & IR_PURE)) return false;
	for (unsigned k = 0; k < n; k++)
		if (!konst_at(r->f, r->i->arg[k], &a[k])) return false;
	if (!ir_fold(r->i->op, r->i->type, r->i->aux, a, &v)) return false;
	(void)number(r, v);
	return true;
}

/* Constants second, otherwise the older first. */
static void order(struct rule *r)
{
	uint32_t *a = r->i->arg, t = a[0];
	bool k0 = arg(r, 0)->op == IR_konst, k1 = arg(r, 1)->op == IR_konst;
	if (!(ir_info[r->i->op].flags & IR_COMM) || k1 || (!k0 && a[0] <= a[1])) return;
	a[0] = a[1];
	a[1] = t;
}

ir_val ir_low(struct ir_fn *f, ir_val v, unsigned bits)
{
	struct rule r = {.f = f};
	if (!ir_is_int(ir_result_type(ir_at(f, v)))) return v;
	v.n = low(&r, v.n, bits, bits > 32);
	uint32_t n = bits <= 32 ? narrow(&r, v.n, false) : 0;
	return n ? (ir_val){n} : v;
}

bool ir_simplify(struct ir_fn *f, struct ir_ins *i, ir_val *v)
{
	struct rule r = {.f = f, .i = i};
	int done = AGAIN;
	if (ir_info[i->op].flags & IR_FLOAT) strip_fnan(&r);
	for (unsigned n = 0; n < 16 && done == AGAIN; n++) {
		if (fold(&r)) {
			done = FOUND;
			break;
		}
		order(&r);
		if (!rules[i->op]) break;
		r.has_k = ir_info[i->op].args == 2 && konst_at(f, i->arg[1], &r.k);
		r.ones = mask(ir_width(i->type));
		done = rules[i->op](&r);
	}
	v->n = r.v;
	return done == FOUND;
}
