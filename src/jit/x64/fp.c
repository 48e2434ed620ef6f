/* Why: floats, on the host's own units. The one idea: with AVX every operation has three operands
 * and nothing need be moved; without, the two-operand forms are made from the same rules. The
 * guest's rounding mode and flags are in MXCSR, so nothing here computes for itself. */
#include "base/types.h"
#include "jit/x64/emit.h"

static uint32_t scalar(enum ir_type t, unsigned byte)
{
	return t == IR_F32 ? OP(0xf3, 1, byte) : OP(0xf2, 1, byte);
}
static uint32_t packed(enum ir_type t, unsigned byte)
{
	return t == IR_F32 ? OP(0, 1, byte) : OP(0x66, 1, byte);
}
static bool vec_in(struct emit *e, uint32_t v, unsigned r)
{
	const struct home *h = home_of(e, v);
	return h->at == AT_REG && h->reg == r;
}

void emit_fp2(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i), t = d;
	if (!e->a.avx && vec_in(e, in->arg[1], d))
		t = V0; /* would be overwritten by the first operand */
	unsigned x = vec_reg(e, in->arg[0], V0);
	struct rm y = vec_rm(e, in->arg[1]);
	vec(&e->a, scalar(in->type, r->op), t, x, y);
	done_vec(e, i, t);
}

/* The upper part of the result comes from somewhere: from the operand, so as not to wait for the
 * register's last value. */
static unsigned unary(struct emit *e, uint32_t i, uint32_t op)
{
	unsigned d = dst_vec(e, i), x = vec_reg(e, e->f->ins[i].arg[0], V1);
	if (e->a.avx)
		vex_rm(&e->a, op, d, x, rm_reg(x), 0);
	else
		op_rr(&e->a, op, d, x);
	return d;
}

void emit_fsqrt(struct emit *e, uint32_t i, const struct rule *r)
{
	done_vec(e, i, unary(e, i, scalar(e->f->ins[i].type, r->op)));
}

void emit_fcvt(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	enum ir_type from = ir_result_type(&e->f->ins[e->f->ins[i].arg[0]]);
	done_vec(e, i, unary(e, i, scalar(from, 0x5a)));
}

/* Without the instruction: libm's, which rounds once too. */
static double fma64(double a, double b, double c) { return __builtin_fma(a, b, c); }
static float fma32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

static void fma_slow(struct emit *e, uint32_t i)
{
	const struct ir_ins *in = &e->f->ins[i];
	struct rm at[3];
	for (unsigned k = 0; k < 3; k++) {
		at[k] = rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, wide) - 8 * (k + 1)));
		vec_store(e, in->type, at[k], vec_reg(e, in->arg[k], V0));
	}
	keep_live(e, i, false);
	for (unsigned k = 0; k < 3; k++) vec_load(e, in->type, k, at[k]);
	const void *fn = in->type == IR_F64 ? (const void *)fma64 : (const void *)fma32;
	mov_imm(&e->a, RAX, (uintptr_t)fn);
	op_rr(&e->a, OP(0, 0, 0xff), 2, RAX);
	mov_vec(e, V0, 0);
	keep_live(e, i, true);
	done_vec(e, i, V0);
}

void emit_fma(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t a = in->arg[0], b = in->arg[1], c = in->arg[2], w = in->type == IR_F64 ? OP_W : 0;
	if (!e->h->fma) {
		fma_slow(e, i);
		return;
	}
	unsigned d = dst_vec(e, i);
	if (vec_in(e, b, d) && !vec_in(e, a, d)) {
		uint32_t t = a;
		a = b;
		b = t;
	}
	if (vec_in(e, a, d)) { /* 213: d = y * d + z */
		unsigned y = vec_reg(e, b, V1);
		vex_rm(&e->a, OP(0x66, 2, 0xa9) + w, d, y, vec_rm(e, c), 0);
	} else { /* 231: d = x * y + d */
		unsigned x = vec_reg(e, a, V1), t = d;
		load_vec(e, t, c);
		vex_rm(&e->a, OP(0x66, 2, 0xb9) + w, t, x, vec_rm(e, b), 0);
	}
	done_vec(e, i, d);
}

void emit_fsign(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	const struct consts *k = e->h->consts;
	bool f32 = in->type == IR_F32;
	const void *mask = r->ext ? (f32 ? k->abs32 : k->abs64) : (f32 ? k->neg32 : k->neg64);
	unsigned d = dst_vec(e, i);
	vec(&e->a, packed(in->type, r->op), d, vec_reg(e, in->arg[0], V0), rm_at(mask));
	done_vec(e, i, d);
}

/* ---- NaNs are rare: look, and put one right off the path */

static void fnan_stub(struct emit *e, struct stub *s)
{
	const struct ir_ins *in = &e->f->ins[s->i];
	const struct consts *k = e->h->consts;
	const struct home *h = home_of(e, s->i);
	vec_load(e, in->type, s->reg, rm_at(in->type == IR_F32 ? k->nan32 : k->nan64));
	if (e->home[s->i].changes && h->at == AT_SPILL) vec_store(e, in->type, spill_at(h), s->reg);
	jump_to(&e->a, s->back);
}

/* In its own register; or, if the operand need not be kept, there. */
void emit_fnan(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	bool there = e->home[i].changes;
	unsigned d = there ? vec_reg(e, root_of(e, i), V0) : dst_vec(e, i);
	if (!there) load_vec(e, d, root_of(e, in->arg[0]));
	vec2(&e->a, packed(in->type, 0x2e), d, rm_reg(d));
	struct stub *s = stub_new(e, fnan_stub, i);
	s->reg = d;
	stub_jcc(e, s, CC_P);
	s->back = e->a.p;
	if (!there) done_vec(e, i, d);
}

/* Ordered so that unordered is false: a < b is b above a. */
void emit_fcmp(struct emit *e, const struct ir_ins *i, struct cond *out)
{
	const struct rule *r = &x64_rules[i->op];
	*out = (struct cond){(enum cc)r->op, i->op == IR_feq};
	uint32_t a = i->arg[0], b = i->arg[1];
	if (i->op != IR_feq) {
		a = b;
		b = i->arg[0];
	}
	struct rm y = vec_rm(e, b);
	vec2(&e->a, packed(i->type, r->ext ? r->ext : 0x2e), vec_reg(e, a, V0), y);
}

/* ---- sticky flags */

static struct rm mxcsr_at(void)
{
	return rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, wide) - 8));
}
enum { MXCSR_FLAGS = 0x3f };

/* In S0 what is raised; MXCSR is in memory then. */
static void raised(struct emit *e)
{
	op_rm(&e->a, OP(0, 1, 0xae), 3, mxcsr_at(), 0);
	mov_load(&e->a, 0, S0, mxcsr_at());
	alu_imm(&e->a, ALU_AND, 0, rm_reg(S0), MXCSR_FLAGS);
	op_rm(&e->a, OP(0, 0, 0x8d) + OP_W, S1, rm_at(e->h->consts->flags), 0);
	op_rm(&e->a, OP(0, 1, 0xb6), S0, rm_index(S1, S0, 0, 0), 0);
}

void emit_fraised(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	raised(e);
	done_int(e, i, S0);
}

static void fclear_stub(struct emit *e, struct stub *s)
{
	alu_imm(&e->a, ALU_AND, 0, mxcsr_at(), ~MXCSR_FLAGS);
	op_rm(&e->a, OP(0, 1, 0xae), 2, mxcsr_at(), 0);
	jump_to(&e->a, s->back);
}

void emit_fclear(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	raised(e);
	load_int(e, S1, e->f->ins[i].arg[0]);
	op_rr(&e->a, OP(0, 0, 0xf7) + OP_W, 2, S1);
	op_rr(&e->a, OP(0, 0, 0x85) + OP_W, S0, S1);
	struct stub *s = stub_new(e, fclear_stub, i);
	stub_jcc(e, s, CC_NE);
	s->back = e->a.p;
}

/* ---- to and from integers */

void emit_itof(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t w = wide((enum ir_type)in->aux);
	unsigned d = dst_vec(e, i);
	struct rm x = int_rm(e, in->arg[0], w, S0);
	vec(&e->a, OP(0, 1, 0x57), d, d, rm_reg(d));
	vec(&e->a, scalar(in->type, 0x2a) + w, d, d, x);
	done_vec(e, i, d);
}

void emit_ftoi(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	enum ir_type from = in->aux & 2 ? IR_F32 : IR_F64;
	unsigned d = dst_int(e, i);
	uint32_t op = scalar(from, in->aux & 1 ? 0x2c : 0x2d) + wide(in->type);
	vec2(&e->a, op, d, vec_rm(e, in->arg[0]));
	done_int(e, i, d);
}

void emit_tobits(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	uint32_t v = e->f->ins[i].arg[0];
	bool f32 = ir_result_type(&e->f->ins[v]) == IR_F32;
	unsigned d = dst_int(e, i);
	struct rm m = vec_rm(e, v);
	if (m.reg == NOREG)
		mov_load(&e->a, f32 ? 0 : OP_W, d, m);
	else
		vec2(&e->a, OP(0x66, 1, 0x7e) + (f32 ? 0 : OP_W), m.reg, rm_reg(d));
	done_int(e, i, d);
}

void emit_tofp(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i);
	uint32_t w = in->type == IR_F32 ? 0 : OP_W;
	vec2(&e->a, OP(0x66, 1, 0x6e) + w, d, int_rm(e, in->arg[0], w, S0));
	done_vec(e, i, d);
}
