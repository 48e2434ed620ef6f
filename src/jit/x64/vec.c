/* Why: lanes of v128. The one idea: an IR operation is one host instruction for each width of lane,
 * so a table of opcodes says nearly all. */
#include "base/types.h"
#include "jit/x64/emit.h"

#define P1(byte) OP(0x66, 1, byte)
#define P2(byte) OP(0x66, 2, byte)
static const uint32_t lane_op[][4] = {
	[IR_vadd - IR_vadd] = {P1(0xfc), P1(0xfd), P1(0xfe), P1(0xd4)},
	[IR_vsub - IR_vadd] = {P1(0xf8), P1(0xf9), P1(0xfa), P1(0xfb)},
	[IR_vmul - IR_vadd] = {0, P1(0xd5), P2(0x40), 0},
	[IR_vand - IR_vadd] = {P1(0xdb), P1(0xdb), P1(0xdb), P1(0xdb)},
	[IR_vor - IR_vadd] = {P1(0xeb), P1(0xeb), P1(0xeb), P1(0xeb)},
	[IR_vxor - IR_vadd] = {P1(0xef), P1(0xef), P1(0xef), P1(0xef)},
	[IR_vmins - IR_vadd] = {P2(0x38), P1(0xea), P2(0x39), 0},
	[IR_vminu - IR_vadd] = {P1(0xda), P2(0x3a), P2(0x3b), 0},
	[IR_vmaxs - IR_vadd] = {P2(0x3c), P1(0xee), P2(0x3d), 0},
	[IR_vmaxu - IR_vadd] = {P1(0xde), P2(0x3e), P2(0x3f), 0},
	[IR_veq - IR_vadd] = {P1(0x74), P1(0x75), P1(0x76), P2(0x29)},
	[IR_vgts - IR_vadd] = {P1(0x64), P1(0x65), P1(0x66), P2(0x37)},
};
static uint32_t packed(unsigned aux, unsigned byte)
{
	return aux == 2 ? OP(0, 1, byte) : OP(0x66, 1, byte);
}
static bool vec_in(struct emit *e, uint32_t v, unsigned r)
{
	const struct home *h = home_of(e, v);
	return h->at == AT_REG && h->reg == r;
}

/* As an instruction can take it: without AVX it must be aligned, if it is in memory. */
static struct rm second(struct emit *e, uint32_t v)
{
	return e->a.avx ? vec_rm(e, v) : rm_reg(vec_reg(e, v, V1));
}

/* i = op(arg 0, arg 1), with a byte behind it if imm >= 0 */
static void two(struct emit *e, uint32_t i, uint32_t op, int imm)
{
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i), t = d;
	if (!e->a.avx && vec_in(e, in->arg[1], d)) t = V0;
	unsigned x = vec_reg(e, in->arg[0], V0);
	struct rm y = second(e, in->arg[1]);
	if (e->a.avx) {
		vex_rm(&e->a, op, t, x, y, imm >= 0);
	} else {
		mov_vec(e, t, x);
		op_rm(&e->a, op, t, y, imm >= 0);
	}
	if (imm >= 0) put8(&e->a, (unsigned)imm);
	done_vec(e, i, t);
}

void emit_lanes(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	two(e, i, lane_op[in->op - IR_vadd][in->aux & 3], -1);
}
void emit_vfp2(struct emit *e, uint32_t i, const struct rule *r)
{
	two(e, i, packed(e->f->ins[i].aux, r->op), -1);
}
void emit_vfcmp(struct emit *e, uint32_t i, const struct rule *r)
{
	two(e, i, packed(e->f->ins[i].aux, r->op), (int)r->ext);
}

void emit_vfsqrt(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i);
	vec2(&e->a, packed(in->aux, r->op), d, second(e, in->arg[0]));
	done_vec(e, i, d);
}

void emit_vitof(struct emit *e, uint32_t i, const struct rule *r)
{
	unsigned d = dst_vec(e, i);
	vec2(&e->a, OP(0, 1, r->op), d, second(e, e->f->ins[i].arg[0]));
	done_vec(e, i, d);
}

/* ((b ^ c) & a) ^ c */
void emit_vpick(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t bitwise = lane_op[IR_vxor - IR_vadd][0];
	load_vec(e, V0, in->arg[1]);
	unsigned c = vec_reg(e, in->arg[2], V1);
	vec(&e->a, bitwise, V0, V0, rm_reg(c));
	if (e->a.avx) {
		vec(&e->a, lane_op[IR_vand - IR_vadd][0], V0, V0, vec_rm(e, in->arg[0]));
	} else {
		unsigned a = vec_reg(e, in->arg[0], V1);
		vec(&e->a, lane_op[IR_vand - IR_vadd][0], V0, V0, rm_reg(a));
		c = vec_reg(e, in->arg[2], V1);
	}
	vec(&e->a, bitwise, V0, V0, rm_reg(c));
	done_vec(e, i, V0);
}

/* op d, x, imm, where the opcode's register field says which of several it is */
static void by_imm(struct emit *e, uint32_t op, unsigned which, unsigned d, unsigned x, unsigned k)
{
	if (e->a.avx) {
		vex_rm(&e->a, op, which, d, rm_reg(x), 1);
	} else {
		mov_vec(e, d, x);
		op_rm(&e->a, op, which, rm_reg(d), 1);
	}
	put8(&e->a, k);
}

void emit_vshift(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i), lane = in->aux, width = 8u << lane;
	uint64_t k;
	if (konst_of(e, in->arg[1], &k)) {
		unsigned x = vec_reg(e, in->arg[0], V0);
		by_imm(e, P1(0x70 + lane), r->ext, d, x, (unsigned)k & (width - 1));
	} else {
		load_int(e, S0, in->arg[1]);
		alu_imm(&e->a, ALU_AND, 0, rm_reg(S0), (int32_t)width - 1);
		vec2(&e->a, P1(0x6e), V1, rm_reg(S0));
		vec(&e->a, P1(r->op + lane), d, vec_reg(e, in->arg[0], V0), rm_reg(V1));
	}
	done_vec(e, i, d);
}

void emit_vdown(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i);
	by_imm(e, P1(0x73), 3, d, vec_reg(e, in->arg[0], V0), in->aux);
	done_vec(e, i, d);
}

void emit_vextend(struct emit *e, uint32_t i, const struct rule *r)
{
	static const uint8_t from[] = {0, 3, 5};
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i);
	vec2(&e->a, P2(r->op + from[in->aux & 3]), d, second(e, in->arg[0]));
	done_vec(e, i, d);
}

/* What is signed and fits is packed as it is, so the lower halves are made so. */
static void sign_half(struct emit *e, unsigned d, uint32_t v, unsigned lane)
{
	unsigned x = vec_reg(e, v, d), bits = 8u << lane;
	by_imm(e, P1(0x71 + lane), 6, d, x, bits);
	by_imm(e, P1(0x71 + lane), 4, d, d, bits);
}
void emit_vpack(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	if (in->aux == 2) { /* shufps */
		two(e, i, OP(0, 1, 0xc6), 0x88);
		return;
	}
	sign_half(e, V0, in->arg[0], in->aux);
	sign_half(e, V1, in->arg[1], in->aux);
	vec(&e->a, P1(in->aux ? 0x6b : 0x63), V0, V0, rm_reg(V1));
	done_vec(e, i, V0);
}

/* ---- to and from numbers */
static const uint64_t ones[4] = {0x0101010101010101, 0x0001000100010001, 0x100000001, 1};

/* From 64 bits that are in place twice */
static bool splat_konst(struct emit *e, unsigned d, uint64_t k, unsigned lane)
{
	if (lane < 3) k = (k & ((1ull << (8u << lane)) - 1)) * ones[lane];
	if (!k) vec(&e->a, lane_op[IR_vxor - IR_vadd][0], d, d, rm_reg(d));
	if (!k) return true;
	const void *at = jit_konst(e->c, k);
	if (at) vec2(&e->a, OP(0xf2, 1, 0x12), d, rm_at(at)); /* movddup */
	return at;
}

static void spread(struct emit *e, unsigned d, unsigned lane)
{
	static const uint8_t wide[4] = {0x78, 0x79, 0x58, 0x59}; /* vpbroadcast */
	if (e->h->avx2) {
		vex_rm(&e->a, P2(wide[lane]), d, 0, rm_reg(d), 0);
		return;
	}
	if (lane == 0) vec(&e->a, P1(0x60), d, d, rm_reg(d)); /* punpcklbw */
	if (lane < 2) {
		vec2(&e->a, OP(0xf2, 1, 0x70), d, rm_reg(d)); /* pshuflw */
		put8(&e->a, 0);
	}
	if (lane == 2) {
		vec2(&e->a, P1(0x70), d, rm_reg(d)); /* pshufd */
		put8(&e->a, 0);
	} else {
		vec(&e->a, P1(0x6c), d, d, rm_reg(d)); /* punpcklqdq */
	}
}

void emit_vsplat(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i), lane = in->aux & 3;
	uint64_t k;
	if (!konst_of(e, in->arg[0], &k) || !splat_konst(e, d, k, lane)) {
		uint32_t w = lane == 3 ? OP_W : 0;
		vec2(&e->a, P1(0x6e) + w, d, rm_reg(int_reg(e, in->arg[0], S0)));
		spread(e, d, lane);
	}
	done_vec(e, i, d);
}

void emit_vlow(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_int(e, i), x = vec_reg(e, in->arg[0], V0);
	vec2(&e->a, P1(0x7e) + (in->aux == 3 ? OP_W : 0), x, rm_reg(d));
	if (in->aux == 0) op_rr(&e->a, OP(0, 1, 0xb6) + OP_BYTE, d, d);
	if (in->aux == 1) op_rr(&e->a, OP(0, 1, 0xb7), d, d);
	done_int(e, i, d);
}

void emit_vbits(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_int(e, i), x = vec_reg(e, in->arg[0], V0);
	if (in->aux == 1) { /* two bytes to one, keeping the sign */
		vec(&e->a, P1(0x63), V0, x, rm_reg(x));
		x = V0;
	}
	uint32_t op = in->aux < 2 ? P1(0xd7) : packed(in->aux, 0x50);
	vec2(&e->a, op, d, rm_reg(x));
	if (in->aux == 1) op_rr(&e->a, OP(0, 1, 0xb6) + OP_BYTE, d, d);
	done_int(e, i, d);
}

/* ---- floats */
void emit_vfma(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t a = in->arg[0], b = in->arg[1], c = in->arg[2], w = in->aux == 3 ? OP_W : 0;
	unsigned d = dst_vec(e, i);
	e->failed |= !e->h->fma;
	if (vec_in(e, b, d) && !vec_in(e, a, d)) {
		uint32_t t = a;
		a = b;
		b = t;
	}
	if (vec_in(e, a, d)) { /* 213: d = y * d + z */
		unsigned y = vec_reg(e, b, V1);
		vex_rm(&e->a, P2(0xa8) + w, d, y, vec_rm(e, c), 0);
	} else { /* 231: d = x * y + d */
		unsigned x = vec_reg(e, a, V1);
		load_vec(e, d, c);
		vex_rm(&e->a, P2(0xb8) + w, d, x, vec_rm(e, b), 0);
	}
	done_vec(e, i, d);
}

/* NaNs of arithmetic are quiet: to find them raises nothing. */
void emit_vfnan(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	const struct consts *k = e->h->consts;
	struct rm nan = rm_at(in->aux == 2 ? k->nan32 : k->nan64);
	unsigned d = dst_vec(e, i), x = vec_reg(e, in->arg[0], V1);
	if (e->a.avx) {
		vex_rm(&e->a, packed(in->aux, 0xc2), V0, x, rm_reg(x), 1);
		put8(&e->a, 3);
		vex_rm(&e->a, OP(0x66, 3, in->aux == 2 ? 0x4a : 0x4b), d, x, nan, 1);
		put8(&e->a, V0 << 4);
		done_vec(e, i, d);
		return;
	}
	mov_vec(e, V0, x);
	op_rm(&e->a, packed(in->aux, 0xc2), V0, rm_reg(V0), 1);
	put8(&e->a, 3);
	mov_vec(e, V1, x);
	op_rm(&e->a, P1(0xef), V1, nan, 0); /* ((nan ^ x) & isnan) ^ x */
	op_rr(&e->a, P1(0xdb), V1, V0);
	op_rr(&e->a, P1(0xef), V1, vec_reg(e, in->arg[0], V0));
	done_vec(e, i, V1);
}
