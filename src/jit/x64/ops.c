/* Why: integers. The one idea: a result is made in its own register from the first operand, unless
 * the second stands there already; what lives in memory is used from memory. */
#include "base/types.h"
#include "jit/x64/emit.h"

static bool is_in(struct emit *e, uint32_t v, unsigned r)
{
	const struct home *h = home_of(e, v);
	return h->at == AT_REG && h->reg == r;
}

static struct rm temp(void)
{
	return rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, ints) + 8 * RSP));
}

/* The low half alone, and a clear upper half, if w says so. */
static void load_w(struct emit *e, unsigned r, uint32_t v, uint32_t w)
{
	int32_t k;
	if (imm_of(e, v, w, &k))
		mov_imm(&e->a, r, w ? (uint64_t)(int64_t)k : (uint32_t)k);
	else if (!w && in_reg(e, v))
		mov_rr(&e->a, 0, r, home_of(e, v)->reg);
	else if (w)
		load_int(e, r, v);
	else
		op_rm(&e->a, OP(0, 0, 0x8b), r, int_rm(e, v, 0, r), 0);
}

void emit_nothing(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)e;
	(void)i;
	(void)r;
}

void emit_konst(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	unsigned d = dst_int(e, i);
	mov_imm(&e->a, d, e->f->ins[i].k);
	done_int(e, i, d);
}

/* ~x & y */
static bool and_not(struct emit *e, uint32_t i, uint32_t w, unsigned d)
{
	const struct ir_ins *in = &e->f->ins[i];
	for (unsigned n = 0; n < 2; n++) {
		uint32_t v = root_of(e, in->arg[n]);
		if (e->f->ins[v].op != IR_not || !e->home[v].folded) continue;
		unsigned x = int_reg(e, e->f->ins[v].arg[0], S1);
		vex_rm(&e->a, OP(0, 2, 0xf2) + w, d, x, int_rm(e, in->arg[!n], w, S0), 0);
		return true;
	}
	return false;
}

/* d = a and k, where that is a plain move */
static bool and_move(struct emit *e, unsigned d, uint32_t a, uint64_t k)
{
	uint32_t op = k == 0xff		? OP(0, 1, 0xb6) + OP_BYTE
		      : k == 0xffff	? OP(0, 1, 0xb7)
		      : k == UINT32_MAX ? OP(0, 0, 0x8b)
					: 0;
	if (!op) return false;
	op_rm(&e->a, op, d, int_rm(e, a, 0, S1), 0);
	return true;
}

static void alu_k(struct emit *e, enum alu op, uint32_t w, unsigned d, uint32_t a, int32_t k)
{
	const struct home *h = home_of(e, a);
	if (op == ALU_SUB && k != INT32_MIN) {
		op = ALU_ADD;
		k = -k;
	}
	if (op == ALU_ADD && h->at == AT_REG && h->reg != d) {
		lea(&e->a, w, d, rm_mem(h->reg, k));
		return;
	}
	load_int(e, d, a);
	alu_imm(&e->a, op, op == ALU_AND && k >= 0 ? 0 : w, rm_reg(d), k);
}

/* a + (x << k) */
static bool add_scaled(struct emit *e, uint32_t i, uint32_t w, unsigned d)
{
	const struct ir_ins *in = &e->f->ins[i];
	for (unsigned n = 0; n < 2; n++) {
		uint32_t v = root_of(e, in->arg[n]);
		const struct ir_ins *s = &e->f->ins[v];
		uint64_t k;
		if (s->op != IR_shl || !e->home[v].folded) continue;
		konst_of(e, s->arg[1], &k);
		unsigned base = int_reg(e, in->arg[!n], S0), index = int_reg(e, s->arg[0], S1);
		lea(&e->a, w, d, rm_index(base, index, (unsigned)k & 3, 0));
		return true;
	}
	return false;
}

static void alu_regs(struct emit *e, enum alu op, uint32_t w, unsigned d, uint32_t a, uint32_t b)
{
	if (is_in(e, b, d) && !is_in(e, a, d)) { /* only sub comes here */
		op_rr(&e->a, OP(0, 0, 0xf7) + w, 3, d);
		alu_rm(&e->a, ALU_ADD, w, d, int_rm(e, a, w, S1));
		return;
	}
	struct rm y = int_rm(e, b, w, S1);
	const struct home *x = home_of(e, a);
	if (op == ALU_ADD && x->at == AT_REG && x->reg != d && y.reg != NOREG) {
		lea(&e->a, w, d, rm_index(x->reg, y.reg, 0, 0));
		return;
	}
	load_int(e, d, a);
	alu_rm(&e->a, op, w, d, y);
}

static void alu_any(struct emit *e, const struct rule *r, uint32_t w, unsigned d, uint32_t a,
		    uint32_t b)
{
	int32_t k;
	uint64_t k64;
	if (r->op == ALU_AND && konst_of(e, b, &k64) && and_move(e, d, a, k64)) return;
	if (imm_of(e, b, w, &k))
		alu_k(e, (enum alu)r->op, w, d, a, k);
	else
		alu_regs(e, (enum alu)r->op, w, d, a, b);
}

void emit_alu(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t a = in->arg[0], b = in->arg[1], w = wide(in->type);
	unsigned d = dst_int(e, i);
	int32_t k;
	bool swap =
		r->op != ALU_SUB && (imm_of(e, a, w, &k) || (is_in(e, b, d) && !is_in(e, a, d)));
	if ((r->op != ALU_ADD || !add_scaled(e, i, w, d)) &&
	    (r->op != ALU_AND || !and_not(e, i, w, d)))
		alu_any(e, r, w, d, swap ? b : a, swap ? a : b);
	done_int(e, i, d);
}

void emit_mul(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t a = in->arg[0], b = in->arg[1], w = wide(in->type);
	unsigned d = dst_int(e, i);
	int32_t k;
	if (imm_of(e, a, w, &k) || (is_in(e, b, d) && !is_in(e, a, d))) {
		a = in->arg[1];
		b = in->arg[0];
	}
	if (imm_of(e, b, w, &k)) {
		bool small = fits8(k);
		op_rm(&e->a, OP(0, 0, small ? 0x6b : 0x69) + w, d, int_rm(e, a, w, S1),
		      small ? 1 : 4);
		if (small)
			put8(&e->a, (uint32_t)k);
		else
			put32(&e->a, (uint32_t)k);
	} else {
		struct rm y = int_rm(e, b, w, S1);
		load_int(e, d, a);
		op_rm(&e->a, OP(0, 1, 0xaf) + w, d, y, 0);
	}
	done_int(e, i, d);
}

/* Upper half. Of signed times unsigned: as if unsigned, less b where a is negative. */
void emit_mulhi(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t a = in->arg[0], b = in->arg[1], w = wide(in->type);
	if (r->ext) {
		load_int(e, S0, a);
		shift_imm(&e->a, SH_SAR, w, S0, w ? 63 : 31);
		alu_rm(&e->a, ALU_AND, w, S0, int_rm(e, b, w, S1));
		mov_store(&e->a, w, temp(), S0);
	}
	load_int(e, S0, a);
	op_rm(&e->a, OP(0, 0, 0xf7) + w, r->op, int_rm(e, b, w, S1), 0);
	if (r->ext) alu_rm(&e->a, ALU_SUB, w, S1, temp());
	done_int(e, i, S1);
}

/* ---- division */

/* b where neither rax nor rdx are needed for it */
static struct rm divisor(struct emit *e, uint32_t b, uint32_t w)
{
	struct rm m = int_rm(e, b, w, S1);
	if (m.reg != S1) return m;
	mov_store(&e->a, w, temp(), S1);
	return temp();
}

static void is_zero(struct emit *e, uint32_t w, struct rm m)
{
	if (m.reg != NOREG)
		op_rr(&e->a, OP(0, 0, 0x85) + w, m.reg, m.reg);
	else
		alu_imm(&e->a, ALU_CMP, w, m, 0);
}

/* Divisors 0 and -1. */
static void div_stub(struct emit *e, struct stub *s)
{
	const struct ir_ins *in = &e->f->ins[s->i];
	uint32_t w = wide(in->type);
	bool rem = in->op == IR_rems || in->op == IR_remu,
	     sign = in->op == IR_divs || in->op == IR_rems;
	uint8_t *one = NULL;
	if (sign) {
		is_zero(e, w, divisor(e, in->arg[1], w));
		one = jcc_later(&e->a, CC_NE);
	}
	if (rem)
		load_w(e, S1, in->arg[0], w);
	else
		mov_imm(&e->a, S0, w ? ~0ull : UINT32_MAX);
	jump_to(&e->a, s->back);
	if (!sign) return;
	set_rel32(one, e->a.p);
	if (rem) {
		mov_imm(&e->a, S1, 0);
	} else {
		load_w(e, S0, in->arg[0], w);
		op_rr(&e->a, OP(0, 0, 0xf7) + w, 3, S0);
	}
	jump_to(&e->a, s->back);
}

void emit_div(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t w = wide(in->type);
	uint64_t k;
	bool known = konst_of(e, in->arg[1], &k);
	int64_t s = w ? (int64_t)k : (int32_t)k;
	struct rm b = divisor(e, in->arg[1], w);
	struct stub *stub = NULL;
	if (!known || !s || s == -1) {
		stub = stub_new(e, div_stub, i);
		is_zero(e, w, b);
		stub_jcc(e, stub, CC_E);
		if (r->op == 7) {
			alu_imm(&e->a, ALU_CMP, w, b, -1);
			stub_jcc(e, stub, CC_E);
		}
	}
	load_w(e, S0, in->arg[0], w);
	if (r->op == 7) put8(&e->a, w ? 0x48 : 0x99);
	if (r->op == 7 && w) put8(&e->a, 0x99);
	if (r->op == 6) alu_rr(&e->a, ALU_XOR, 0, S1, S1);
	op_rm(&e->a, OP(0, 0, 0xf7) + w, r->op, b, 0);
	if (stub) stub->back = e->a.p;
	done_int(e, i, r->ext ? S1 : S0);
}

/* ---- shifts */

static void shift_k(struct emit *e, const struct rule *r, uint32_t w, unsigned d, uint32_t a,
		    unsigned k)
{
	const struct home *h = home_of(e, a);
	bool moves = h->at != AT_REG || h->reg != d;
	if (e->h->bmi2 && moves && (r->ext == SH_ROL || r->ext == SH_ROR)) {
		vex_rm(&e->a, OP(0xf2, 3, 0xf0) + w, d, 0, int_rm(e, a, w, S1), 1);
		put8(&e->a, (r->ext == SH_ROL ? 0 - k : k) & (w ? 63 : 31));
	} else if (r->ext == SH_SHL && k == 1 && moves && h->at == AT_REG) {
		lea(&e->a, w, d, rm_index(h->reg, h->reg, 0, 0));
	} else {
		if (!k) load_w(e, d, a, w);
		if (!k) return;
		load_int(e, d, a);
		shift_imm(&e->a, (enum shift)r->ext, w, d, k);
	}
}

/* By cl, whoever lives there. */
static void shift_cl(struct emit *e, const struct rule *r, uint32_t w, uint32_t a, uint32_t b)
{
	bool there = is_in(e, b, RCX);
	load_w(e, S0, a, w);
	if (!there) {
		mov_rr(&e->a, OP_W, S1, RCX);
		load_int(e, RCX, b);
	}
	op_rm(&e->a, OP(0, 0, 0xd3) + w, r->ext, rm_reg(S0), 0);
	if (!there) mov_rr(&e->a, OP_W, RCX, S1);
}

void emit_shift(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t w = wide(in->type);
	unsigned d = dst_int(e, i);
	uint64_t k;
	if (konst_of(e, in->arg[1], &k)) {
		shift_k(e, r, w, d, in->arg[0], (unsigned)k & (w ? 63 : 31));
	} else if (r->op && e->h->bmi2) {
		unsigned by = int_reg(e, in->arg[1], S1);
		vex_rm(&e->a, r->op + w, d, by, int_rm(e, in->arg[0], w, S0), 0);
	} else {
		shift_cl(e, r, w, in->arg[0], in->arg[1]);
		d = S0;
	}
	done_int(e, i, d);
}

/* ---- one operand */

void emit_unary(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_int(e, i);
	load_int(e, d, in->arg[0]);
	op_rr(&e->a, r->op + wide(in->type), r->ext, d);
	done_int(e, i, d);
}

void emit_bswap(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	unsigned d = dst_int(e, i);
	load_int(e, d, e->f->ins[i].arg[0]);
	unsigned rex = (wide(e->f->ins[i].type) ? 8u : 0) | d >> 3;
	if (rex) put8(&e->a, 0x40 | rex);
	put8(&e->a, 0x0f);
	put8(&e->a, 0xc8 | (d & 7));
	done_int(e, i, d);
}

/* bsr and bsf leave zero to us: 2W-1 and W are what gives W in the end. */
static void scan(struct emit *e, bool low, uint32_t w, struct rm a)
{
	unsigned bits = w ? 64 : 32;
	mov_imm(&e->a, S1, low ? bits : 2 * bits - 1);
	op_rm(&e->a, OP(0, 1, low ? 0xbc : 0xbd) + w, S0, a, 0);
	op_rr(&e->a, OP(0, 1, 0x40 + CC_E) + w, S0, S1);
	if (!low) alu_imm(&e->a, ALU_XOR, w, rm_reg(S0), (int32_t)bits - 1);
}

static void count_bits(struct emit *e, uint32_t w, uint32_t a)
{
	load_int(e, S1, a);
	alu_rr(&e->a, ALU_XOR, 0, S0, S0);
	uint8_t *again = e->a.p;
	alu_rr(&e->a, ALU_ADD, w, S1, S1);
	alu_imm(&e->a, ALU_ADC, 0, rm_reg(S0), 0);
	op_rr(&e->a, OP(0, 0, 0x85) + w, S1, S1);
	jcc_to(&e->a, CC_NE, again);
}

void emit_bits(struct emit *e, uint32_t i, const struct rule *r)
{
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t w = wide(in->type);
	bool have = r->ext == 0 ? e->h->lzcnt : r->ext == 1 ? e->h->bmi1 : e->h->popcnt;
	unsigned d = S0;
	if (have) {
		d = dst_int(e, i);
		op_rm(&e->a, r->op + w, d, int_rm(e, in->arg[0], w, S1), 0);
	} else if (r->ext < 2) {
		load_int(e, S0, in->arg[0]);
		scan(e, r->ext == 1, w, rm_reg(S0));
	} else {
		count_bits(e, w, in->arg[0]);
	}
	done_int(e, i, d);
}

void emit_extend(struct emit *e, uint32_t i, const struct rule *r)
{
	unsigned d = dst_int(e, i);
	op_rm(&e->a, r->op, d, int_rm(e, e->f->ins[i].arg[0], 0, S0), 0);
	done_int(e, i, d);
}

/* ---- comparisons */

static enum cc swapped(enum cc cc)
{
	static const uint8_t to[16] = {[CC_E] = CC_E,	[CC_NE] = CC_NE, [CC_L] = CC_G,
				       [CC_LE] = CC_GE, [CC_B] = CC_A,	 [CC_BE] = CC_AE};
	return (enum cc)to[cc];
}

static void emit_test(struct emit *e, const struct ir_ins *and, uint32_t w)
{
	uint32_t a = and->arg[0], b = and->arg[1];
	int32_t k;
	if (imm_of(e, a, w, &k)) {
		a = b;
		b = and->arg[0];
	}
	if (imm_of(e, b, w, &k)) {
		const struct home *h = home_of(e, a);
		struct rm m = k >= 0 && k <= 0xff && h->at == AT_STATE ? state_of(e, root_of(e, a))
								       : int_rm(e, a, w, S0);
		bool byte = k >= 0 && k <= 0xff;
		op_rm(&e->a, byte ? OP(0, 0, 0xf6) + OP_BYTE : OP(0, 0, 0xf7) + (k >= 0 ? 0 : w), 0,
		      m, byte ? 1 : 4);
		memcpy(e->a.p, &k, byte ? 1 : 4);
		e->a.p += byte ? 1 : 4;
		return;
	}
	struct rm x = int_rm(e, a, w, S0);
	op_rm(&e->a, OP(0, 0, 0x85) + w, int_reg(e, b, S1), x, 0);
}

void emit_cmp(struct emit *e, const struct ir_ins *i, struct cond *out)
{
	uint32_t a = i->arg[0], b = i->arg[1], w = wide(i->type), x = root_of(e, a);
	int32_t k;
	*out = (struct cond){(enum cc)x64_rules[i->op].op, false};
	if (e->home[x].folded && e->f->ins[x].op == IR_and) {
		emit_test(e, &e->f->ins[x], w);
		return;
	}
	if (imm_of(e, a, w, &k) && !imm_of(e, b, w, &k)) {
		out->cc = swapped(out->cc);
		a = b;
		b = i->arg[0];
	}
	if (imm_of(e, b, w, &k)) {
		struct rm m = int_rm(e, a, w, S0);
		if (!k && m.reg != NOREG)
			op_rr(&e->a, OP(0, 0, 0x85) + w, m.reg, m.reg);
		else
			alu_imm(&e->a, ALU_CMP, w, m, k);
		return;
	}
	if (!in_reg(e, a) && in_reg(e, b)) {
		op_rm(&e->a, OP(0, 0, 0x39) + w, home_of(e, b)->reg, int_rm(e, a, w, S0), 0);
		return;
	}
	struct rm y = int_rm(e, b, w, S1);
	alu_rm(&e->a, ALU_CMP, w, int_reg(e, a, S0), y);
}

struct cond emit_cond(struct emit *e, uint32_t v)
{
	const struct ir_ins *i = &e->f->ins[v];
	struct cond c = {CC_NE, false};
	if (e->home[v].folded) {
		if (i->op >= IR_feq && i->op <= IR_fleq)
			emit_fcmp(e, i, &c);
		else if (i->op == IR_and)
			emit_test(e, i, wide(i->type));
		else
			emit_cmp(e, i, &c);
		return c;
	}
	struct rm m = int_rm(e, v, OP_W, S0);
	is_zero(e, OP_W, m);
	return c;
}

static bool reads(struct emit *e, const struct ir_ins *i, unsigned r)
{
	for (unsigned k = 0; k < 2; k++) {
		uint32_t v = root_of(e, i->arg[k]);
		if (e->home[v].folded ? reads(e, &e->f->ins[v], r) : is_in(e, v, r)) return true;
	}
	return false;
}

void emit_flag(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_int(e, i);
	bool fp = in->op >= IR_feq && in->op <= IR_fleq,
	     clear = d != S0 && (fp || !reads(e, in, d));
	struct cond c;
	if (clear) alu_rr(&e->a, ALU_XOR, 0, d, d);
	if (fp)
		emit_fcmp(e, in, &c);
	else
		emit_cmp(e, in, &c);
	op_rm(&e->a, OP(0, 1, 0x90u + c.cc) + OP_BYTE, 0, rm_reg(d), 0);
	if (c.ordered) {
		op_rm(&e->a, OP(0, 1, 0x90u + CC_NP) + OP_BYTE, 0, rm_reg(S1), 0);
		op_rr(&e->a, OP(0, 0, 0x22) + OP_BYTE, d, S1);
	}
	if (!clear) op_rr(&e->a, OP(0, 1, 0xb6) + OP_BYTE, d, d);
	done_int(e, i, d);
}

/* ---- select: moves do not touch the flags */

static void select_vec(struct emit *e, uint32_t i, struct cond c)
{
	const struct ir_ins *in = &e->f->ins[i];
	unsigned d = dst_vec(e, i);
	uint8_t *no[2] = {NULL, NULL};
	const struct home *y = home_of(e, in->arg[1]);
	if (y->at == AT_REG && y->reg == d && !c.ordered) {
		no[0] = jcc_later(&e->a, c.cc);
		load_vec(e, d, in->arg[2]);
	} else {
		unsigned t = c.ordered ? V0 : d;
		load_vec(e, t, in->arg[2]);
		no[0] = jcc_later(&e->a, (enum cc)(c.cc ^ 1));
		if (c.ordered) no[1] = jcc_later(&e->a, CC_P);
		load_vec(e, t, in->arg[1]);
		set_rel32(no[0], e->a.p);
		if (no[1]) set_rel32(no[1], e->a.p);
		done_vec(e, i, t);
		return;
	}
	set_rel32(no[0], e->a.p);
	done_vec(e, i, d);
}

void emit_select(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t w = wide(in->type), yes = in->arg[1], no = in->arg[2];
	struct cond c = emit_cond(e, in->arg[0]);
	if (e->home[i].cls == CLASS_VEC) {
		select_vec(e, i, c);
		return;
	}
	unsigned d = dst_int(e, i);
	if (c.ordered) { /* no, if not equal or not ordered */
		struct rm m = int_rm(e, no, w, S0);
		load_int(e, S1, yes);
		op_rm(&e->a, OP(0, 1, 0x40u + (c.cc ^ 1)) + w, S1, m, 0);
		op_rm(&e->a, OP(0, 1, 0x40u + CC_P) + w, S1, m, 0);
		done_int(e, i, S1);
		return;
	}
	if (is_in(e, yes, d) && !is_in(e, no, d)) {
		yes = no;
		no = in->arg[1];
		c.cc ^= 1;
	}
	struct rm m = int_rm(e, yes, w, S1);
	load_int(e, d, no);
	op_rm(&e->a, OP(0, 1, 0x40u + c.cc) + w, d, m, 0);
	done_int(e, i, d);
}
