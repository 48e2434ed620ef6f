/* What each operation computes, taken from ops.def: for constants while building, and for the
 * evaluator. Floating-point arithmetic is not here, since it depends on more than its operands. */
#include "ir/impl.h"
#include "ir/words.h"

static inline int64_t sext(uint64_t v, unsigned w) { return (int64_t)(v << (64 - w)) >> (64 - w); }
static inline uint64_t zext(uint64_t v, unsigned w) { return v << (64 - w) >> (64 - w); }

static bool is_nan(enum ir_type t, uint64_t v)
{
	return t == IR_F32 ? (v & 0x7fffffff) > 0x7f800000
			   : (v & ~(1ull << 63)) > 0x7ff0000000000000;
}

static bool fold_float(enum ir_op op, enum ir_type t, uint64_t a, uint64_t *out)
{
	uint64_t sign = t == IR_F32 ? 1ull << 31 : 1ull << 63;
	switch (op) {
	case IR_fneg: *out = a ^ sign; return true;
	case IR_fabs: *out = a & ~sign; return true;
	case IR_fnan:
		*out = !is_nan(t, a) ? a : t == IR_F32 ? 0x7fc00000 : 0x7ff8000000000000;
		return true;
	case IR_tobits:
	case IR_tofp: *out = ir_cut(t, a); return true;
	default: return false;
	}
}

uint64_t ir_fold_lane(enum ir_op op, unsigned bits, const uint64_t arg[3])
{
	const uint64_t a = arg[0], b = arg[1], c = arg[2];
	const unsigned W = bits;
	switch (op) {
#define S(x) sext(x, W)
#define U(x) zext(x, W)
#define IR(name, arity, res, flag, val)                                                            \
	case IR_##name:                                                                            \
		if ((flag)&IR_LANES) return zext(val, W);                                          \
		break;
#include "ir/ops.def"
#undef IR
#undef U
#undef S
	case IR__count: break;
	}
	return 0;
}

bool ir_fold(enum ir_op op, enum ir_type t, unsigned aux, const uint64_t arg[3], uint64_t *out)
{
	const uint64_t a = arg[0], b = arg[1], c = arg[2];
	const unsigned W = ir_width(t) == 32 ? 32 : 64;
	(void)aux;
	switch (op) {
#define S(x) sext(x, W)
#define U(x) zext(x, W)
#define IR(name, arity, res, flag, val)                                                            \
	case IR_##name:                                                                            \
		if (!((flag)&IR_PURE) || (flag)&IR_LANES || !(arity)) return false;                \
		if (#val[0] == '0') return fold_float(op, t, a, out);                              \
		*out = ir_cut((res) == IR_FLAG ? IR_I64 : t, val);                                 \
		return true;
#include "ir/ops.def"
#undef IR
	case IR__count: break;
	}
	return false;
}
