#include "base/test.h"
#include "ir/ir.h"

static const struct ir_slot slots[] = {{0, 8, false, "x1"},  {8, 8, false, "x2"},
				       {16, 8, true, "f1"},  {24, 8, true, "f2"},
				       {32, 4, false, "w1"}, {36, 1, false, "c1"}};
enum { X1, X2, F1, F2, W1, C1 };
static const ir_val none = {0};

static struct ir_fn *fresh(void)
{
	struct ir_fn *f = ir_new(slots, 6);
	f->at = ir_block_new(f);
	return f;
}
static ir_val e2(struct ir_fn *f, enum ir_op op, ir_val a, ir_val b)
{
	return ir_emit(f, op, IR_I64, a, b, none);
}
static ir_val e1(struct ir_fn *f, enum ir_op op, enum ir_type t, ir_val a)
{
	return ir_emit(f, op, t, a, none, none);
}
static ir_val k64(struct ir_fn *f, uint64_t k) { return ir_konst(f, IR_I64, k); }
static bool is_k(const struct ir_fn *f, ir_val v, uint64_t want)
{
	uint64_t k;
	return ir_is_konst(f, v, &k) && k == want;
}
/* v is op(a, k) */
static bool is_op_k(const struct ir_fn *f, ir_val v, enum ir_op op, ir_val a, uint64_t k)
{
	const struct ir_ins *i = ir_at(f, v);
	return i->op == op && i->arg[0] == a.n && is_k(f, (ir_val){i->arg[1]}, k);
}
static bool is_op1(const struct ir_fn *f, ir_val v, enum ir_op op, ir_val a)
{
	return ir_at(f, v)->op == op && ir_at(f, v)->arg[0] == a.n;
}

TEST(ir_constants_fold)
{
	struct ir_fn *f = fresh();
	CHECK(is_k(f, e2(f, IR_add, k64(f, 40), k64(f, 2)), 42));
	CHECK(is_k(f, e2(f, IR_divs, k64(f, 1ull << 63), k64(f, ~0ull)), 1ull << 63));
	CHECK(is_k(f, e2(f, IR_remu, k64(f, 7), k64(f, 0)), 7));
	CHECK(is_k(f, e2(f, IR_mulhs, k64(f, ~0ull), k64(f, 2)), ~0ull));
	CHECK(is_k(f, e2(f, IR_lt, k64(f, ~0ull), k64(f, 0)), 1));
	CHECK(is_k(f, e1(f, IR_sx32, IR_I64, k64(f, 0x80000000)), 0xffffffff80000000));
	ir_val w = ir_konst(f, IR_I32, ~0ull);
	CHECK(is_k(f, w, 0xffffffff));
	CHECK(is_k(f, ir_emit(f, IR_add, IR_I32, w, ir_konst(f, IR_I32, 2), none), 1));
	CHECK(is_k(f, ir_emit(f, IR_clz, IR_I32, ir_konst(f, IR_I32, 1), none, none), 31));
	ir_val nan = ir_konst(f, IR_F32, 0xff800001);
	CHECK(is_k(f, e1(f, IR_fnan, IR_F32, nan), 0x7fc00000));
	CHECK(is_k(f, e1(f, IR_fneg, IR_F32, nan), 0x7f800001));
	ir_free(f);
}

TEST(ir_identities)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, X1), y = ir_get(f, IR_I64, X2), v;
	CHECK(e2(f, IR_add, x, k64(f, 0)).n == x.n);
	CHECK(is_k(f, e2(f, IR_sub, x, x), 0));
	CHECK(is_op_k(f, e2(f, IR_sub, x, k64(f, 3)), IR_add, x, -3ull));
	CHECK(is_op_k(f, e2(f, IR_add, k64(f, 1), e2(f, IR_add, x, k64(f, 2))), IR_add, x, 3));
	CHECK(is_op_k(f, e2(f, IR_mul, k64(f, 64), x), IR_shl, x, 6));
	CHECK(is_op1(f, e2(f, IR_and, x, k64(f, 0xffff)), IR_zx16, x));
	CHECK(e2(f, IR_add, x, y).n == e2(f, IR_add, y, x).n);
	v = e2(f, IR_or, e2(f, IR_and, x, k64(f, 12)), e2(f, IR_and, x, k64(f, ~12ull)));
	CHECK(v.n == x.n);
	CHECK(is_op1(f, e2(f, IR_sar, e2(f, IR_shl, x, k64(f, 32)), k64(f, 32)), IR_sx32, x));
	CHECK(e2(f, IR_shl, x, e2(f, IR_and, y, k64(f, 63))).n == e2(f, IR_shl, x, y).n);
	CHECK(is_op_k(f, e2(f, IR_shr, x, k64(f, 65)), IR_shr, x, 1));
	CHECK(is_op1(f, e2(f, IR_xor, x, k64(f, ~0ull)), IR_not, x));
	ir_free(f);
}

TEST(ir_extensions)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, X1), c = ir_get(f, IR_I64, C1), v;
	ir_val s8 = e1(f, IR_sx8, IR_I64, x), z16 = e1(f, IR_zx16, IR_I64, x);
	CHECK(e1(f, IR_sx32, IR_I64, s8).n == s8.n);
	CHECK(e1(f, IR_sx32, IR_I64, z16).n == z16.n);
	CHECK(is_op1(f, e1(f, IR_sx16, IR_I64, z16), IR_sx16, x));
	CHECK(is_op1(f, e1(f, IR_zx8, IR_I64, s8), IR_zx8, x));
	CHECK(is_op1(f, e1(f, IR_zx16, IR_I64, s8), IR_zx16, s8));
	CHECK(e1(f, IR_zx8, IR_I64, c).n == c.n);
	v = ir_load(f, IR_I64, IR_S32, none, x, 0);
	CHECK(e1(f, IR_sx32, IR_I64, v).n == v.n);
	CHECK(is_op1(f, e1(f, IR_zx32, IR_I64, v), IR_zx32, v));
	v = e1(f, IR_trunc, IR_I32, e1(f, IR_sx32, IR_I64, x));
	CHECK(is_op1(f, v, IR_trunc, x));
	CHECK(e1(f, IR_trunc, IR_I32, e1(f, IR_zx32, IR_I64, v)).n == v.n);
	ir_free(f);
}

TEST(ir_conditions)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, X1), y = ir_get(f, IR_I64, X2), z = k64(f, 0);
	ir_val lt = e2(f, IR_lt, x, y), ge = e2(f, IR_eq, lt, z);
	CHECK(ir_at(f, ge)->op == IR_le && ir_at(f, ge)->arg[0] == y.n);
	CHECK(e2(f, IR_ne, lt, z).n == lt.n);
	CHECK(e2(f, IR_xor, ge, k64(f, 1)).n == lt.n);
	CHECK(e2(f, IR_eq, e2(f, IR_sub, x, y), z).n == e2(f, IR_eq, x, y).n);
	CHECK(is_op_k(f, e2(f, IR_ltu, x, k64(f, 1)), IR_eq, x, 0));
	CHECK(is_op_k(f, e2(f, IR_ltu, z, x), IR_ne, x, 0));
	CHECK(is_k(f, e2(f, IR_leu, z, x), 1));
	CHECK(ir_emit(f, IR_select, IR_I64, lt, k64(f, 1), z).n == lt.n);
	CHECK(ir_emit(f, IR_select, IR_I64, lt, z, k64(f, 1)).n == ge.n);
	ir_val feq = ir_emit(f, IR_feq, IR_F64, ir_get(f, IR_F64, F1), ir_get(f, IR_F64, F2), none);
	CHECK(is_op_k(f, e2(f, IR_eq, feq, z), IR_eq, feq, 0));
	CHECK(e2(f, IR_eq, e2(f, IR_eq, feq, z), z).n == feq.n);
	ir_free(f);
}

/* As RISC-V's sign injections arrive. */
TEST(ir_float_bits)
{
	struct ir_fn *f = fresh();
	ir_val d = ir_get(f, IR_F64, F1), s = ir_get(f, IR_F32, F2);
	ir_val db = e1(f, IR_tobits, IR_I64, d), sb = e1(f, IR_tobits, IR_I64, s);
	ir_val sign = k64(f, 1ull << 63), m = k64(f, ~0ull >> 1);
	ir_val sign32 = k64(f, 1ull << 31), m32 = k64(f, ~0u >> 1), v;
	v = e2(f, IR_or, e2(f, IR_and, sb, m32), e2(f, IR_and, sb, sign32));
	CHECK(v.n == sb.n && e1(f, IR_tofp, IR_F32, v).n == s.n);
	v = e2(f, IR_or, e2(f, IR_and, sb, m32), e2(f, IR_and, e1(f, IR_not, IR_I64, sb), sign32));
	CHECK(is_op1(f, e1(f, IR_tofp, IR_F32, v), IR_fneg, s));
	v = e2(f, IR_xor, db, e2(f, IR_and, db, sign));
	CHECK(is_op1(f, e1(f, IR_tofp, IR_F64, v), IR_fabs, d));
	v = e2(f, IR_or, e2(f, IR_and, e1(f, IR_not, IR_I64, db), sign), e2(f, IR_and, db, m));
	CHECK(is_op1(f, e1(f, IR_tofp, IR_F64, v), IR_fneg, d));
	v = e1(f, IR_tofp, IR_F32, e1(f, IR_zx32, IR_I64, db));
	CHECK(is_op1(f, v, IR_tofp, db));
	CHECK(is_op1(f, e1(f, IR_tobits, IR_I64, v), IR_zx32, db));
	ir_free(f);
}

TEST(ir_nans_of_arithmetic_need_no_repair_inside)
{
	struct ir_fn *f = fresh();
	ir_val d = ir_get(f, IR_F64, F1), fixed = e1(f, IR_fnan, IR_F64, d);
	ir_val sum = ir_emit(f, IR_fadd, IR_F64, d, d, none),
	       sum_fixed = e1(f, IR_fnan, IR_F64, sum);
	ir_val p = ir_emit(f, IR_fmul, IR_F64, sum_fixed, fixed, none);
	CHECK(sum_fixed.n != sum.n && ir_at(f, p)->arg[0] == sum.n &&
	      ir_at(f, p)->arg[1] == fixed.n);
	CHECK(e1(f, IR_fnan, IR_F64, sum_fixed).n == sum_fixed.n);
	ir_free(f);
}

TEST(ir_equal_values_merge_under_dominance)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, X1), y = ir_get(f, IR_I64, X2), sum = e2(f, IR_add, x, y);
	for (int i = 0; i < 3; i++) (void)ir_block_new(f);
	f->at = 1;
	CHECK(e2(f, IR_add, x, y).n == sum.n);
	ir_val or = e2(f, IR_or, x, y);
	f->at = 2;
	CHECK(e2(f, IR_or, x, y).n != or.n);
	CHECK(e2(f, IR_or, x, y).n == e2(f, IR_or, y, x).n);
	ir_free(f);
}

TEST(ir_gets_and_floats_do_not_merge_across_state_calls)
{
	struct ir_fn *f = fresh();
	ir_val d = ir_get(f, IR_F64, F1), s = ir_emit(f, IR_fadd, IR_F64, d, d, none);
	CHECK(ir_get(f, IR_F64, F1).n == d.n);
	CHECK(ir_emit(f, IR_fadd, IR_F64, d, d, none).n == s.n);
	ir_put(f, F1, s);
	CHECK(ir_get(f, IR_F64, F1).n != d.n);
	CHECK(ir_emit(f, IR_fadd, IR_F64, d, d, none).n == s.n);
	ir_val st = ir_state(f, 0);
	(void)ir_call(f, IR_CALL_STATE, (void *)0, &st, 1);
	CHECK(ir_emit(f, IR_fadd, IR_F64, d, d, none).n != s.n);
	CHECK(ir_state(f, 0).n == st.n);
	ir_free(f);
}

TEST(ir_gets_do_not_merge_into_loops)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, X1), not = e1(f, IR_not, IR_I64, x);
	uint32_t loop = ir_block_new(f);
	f->block[loop].loop = loop;
	f->at = loop;
	CHECK(ir_get(f, IR_I64, X1).n != x.n);
	CHECK(e1(f, IR_not, IR_I64, x).n == not .n);
	ir_free(f);
}

TEST(ir_accesses_absorb_offsets)
{
	struct ir_fn *f = fresh();
	ir_val x = ir_get(f, IR_I64, X1), a = e2(f, IR_add, x, k64(f, -8ull));
	ir_val zero = k64(f, 0);
	const struct ir_ins *i = ir_at(f, ir_load(f, IR_I64, IR_U64, zero, a, 16));
	CHECK(i->arg[1] == x.n && i->arg[2] == 8);
	a = e2(f, IR_add, x, k64(f, 0x7fffffff));
	i = ir_at(f, ir_load(f, IR_I64, IR_U64, zero, a, 1));
	CHECK(i->arg[1] == a.n && i->arg[2] == 1);
	i = ir_at(f, ir_load(f, IR_I64, IR_U64, x, a, 1)); /* what was looked up stays the base */
	CHECK(i->arg[1] == a.n && i->arg[2] == 1);
	ir_free(f);
}

TEST(ir_builder_grows_and_starts_again)
{
	struct ir_fn *f = fresh();
	for (unsigned round = 0; round < 3; round++) {
		ir_val x = ir_get(f, IR_I64, X1);
		for (uint64_t k = 1; k < 5000; k++) (void)e2(f, IR_add, x, k64(f, k));
		CHECK(f->n == 2 + 2 * 4999);
		for (uint64_t k = 1; k < 5000; k++) (void)e2(f, IR_add, x, k64(f, k));
		CHECK(f->n == 2 + 2 * 4999);
		ir_reset(f);
		f->at = ir_block_new(f);
	}
	ir_free(f);
}
