/* Vector instructions as IR. The one idea: where vl is VLMAX an instruction without a mask is one
 * operation of v128 for each register, so instructions between two vsets are lifted twice: so, and
 * as calls of the functions that the interpreter uses, which do whatever else there may be. One
 * comparison of vtype, vl, vstart and mstatus.VS, eight bytes in all, decides. */
#include "engine/rv64_lift_impl.h"
#include "engine/rv64_vector.h"

#define VS(name) RV64_VS_##name
#define VK(name) RV64_VK_##name
enum { VL_AT = 32, START_AT = 48, ON_AT = 56 }; /* bits of SLOT_VCONF */
_Static_assert(AT(v.vl) - AT(v.sew) == VL_AT / 8 && AT(v.start) - AT(v.sew) == START_AT / 8 &&
		       AT(v.on) - AT(v.sew) == ON_AT / 8 && AT(v.sew) % 8 == 0,
	       "as they stand in struct rv64_v");

/* ---- vtype and vl */
static void conf_set(struct vconf *c, unsigned vl)
{
	c->n = vl;
	c->regs = ((vl << c->sew) + V_REG - 1) / V_REG;
	c->tail = vl << c->sew & (V_REG - 1);
}
static struct vconf conf_of(int type)
{
	struct vconf c = {.type = type};
	if (type < 0) return c;
	int sew = type >> 3 & 7, lmul = (type & 7) - (type << 1 & 8);
	c.sew = (unsigned)sew;
	c.group = lmul < 0 ? 1 : 1u << lmul;
	c.vlmax = lmul < sew ? (unsigned)V_REG >> (sew - lmul) : (unsigned)V_REG << (lmul - sew);
	conf_set(&c, c.vlmax);
	return c;
}

/* SLOT_VCONF as it is with that vtype, without vl. */
static uint64_t conf_word(const struct vconf *c)
{
	int lmul = (c->type & 7) - (c->type << 1 & 8);
	return c->sew | (uint64_t)(uint8_t)lmul << 8 | (uint64_t)(uint8_t)c->type << 24 |
	       (uint64_t)c->vlmax << 40 | 1ull << ON_AT;
}

static ir_val conf_get(struct lift *l) { return ir_get(l->f, IR_I64, SLOT_VCONF); }

void lift_v_needs(struct lift *l)
{
	if (!(l->seen & SEEN_V_ON))
		lift_guard(l, e2(l, IR_shr, conf_get(l), konst(l, ON_AT)), WHY_VECTOR);
	if (!(l->seen & SEEN_V_DIRTY)) ir_put(l->f, SLOT_VS_DIRTY, konst(l, 1));
	l->seen |= SEEN_V_ON | SEEN_V_DIRTY;
}

static ir_val vl_get(struct lift *l)
{
	if (l->v.fast) return konst(l, l->v.conf.n);
	if (l->v.vl.n) return l->v.vl;
	return e2(l, IR_and, e2(l, IR_shr, conf_get(l), konst(l, VL_AT)), konst(l, 0xff));
}

/* What rv64_do_vsetvli() and its like do. */
void lift_vset(struct lift *l)
{
	const struct rv64_insn *i = l->i;
	struct vconf c = conf_of(i->imm);
	ir_val max = konst(l, c.vlmax), avl = max;
	lift_v_needs(l);
	if (i->op == OP_vsetivli)
		avl = konst(l, i->rs1);
	else if (i->rs1)
		avl = lift_reg(l, i->rs1);
	else if (!i->rd)
		avl = vl_get(l);
	l->v.full = e2(l, IR_leu, max, avl);
	l->v.vl = ir_emit(l->f, IR_select, IR_I64, l->v.full, max, avl);
	ir_put(l->f, SLOT_VCONF,
	       e2(l, IR_or, e2(l, IR_shl, l->v.vl, konst(l, VL_AT)), konst(l, conf_word(&c))));
	lift_set(l, i->rd, l->v.vl);
}

void lift_v_csr(struct lift *l)
{
	if (!(l->seen & SEEN_V_ON))
		lift_guard(l, e2(l, IR_shr, conf_get(l), konst(l, ON_AT)), WHY_VECTOR);
	l->seen |= SEEN_V_ON;
	lift_set(l, l->i->rd, l->i->imm == CSR_VL ? vl_get(l) : konst(l, V_REG));
}

/* ---- which instructions can be done in line */
/* By kernel: an operation of the same operands, and the widths that it has. */
static const struct lane_op {
	uint8_t op, sews;
} int_op[RV64_VK__COUNT] = {
	[VK(add)] = {IR_vadd, 15},     [VK(sub)] = {IR_vsub, 15},     [VK(rsub)] = {IR_vsub, 15},
	[VK(minu)] = {IR_vminu, 7},    [VK(min)] = {IR_vmins, 7},     [VK(maxu)] = {IR_vmaxu, 7},
	[VK(max)] = {IR_vmaxs, 7},     [VK(and)] = {IR_vand, 15},     [VK(or)] = {IR_vor, 15},
	[VK(xor)] = {IR_vxor, 15},     [VK(sll)] = {IR_vshl, 14},     [VK(srl)] = {IR_vshr, 14},
	[VK(sra)] = {IR_vsar, 6},      [VK(mul)] = {IR_vmul, 6},      [VK(macc)] = {IR_vmul, 6},
	[VK(nmsac)] = {IR_vmul, 6},    [VK(madd)] = {IR_vmul, 6},     [VK(nmsub)] = {IR_vmul, 6},
	[VK(redsum)] = {IR_vadd, 15},  [VK(redand)] = {IR_vand, 15},  [VK(redor)] = {IR_vor, 15},
	[VK(redxor)] = {IR_vxor, 15},  [VK(redminu)] = {IR_vminu, 7}, [VK(redmin)] = {IR_vmins, 7},
	[VK(redmaxu)] = {IR_vmaxu, 7}, [VK(redmax)] = {IR_vmaxs, 7},
};
static bool is_shift(unsigned k) { return k == VK(sll) || k == VK(srl) || k == VK(sra); }
static bool is_sign(unsigned k) { return k >= VK(fsgnj) && k <= VK(fsgnjx); }
static bool is_fused(unsigned k) { return k >= VK(fmacc) && k <= VK(fnmsub); }
static bool is_arith(unsigned k) { return k >= VK(fadd) && k <= VK(frdiv); }

/* Groups of this many registers may begin there. */
static bool aligned(const struct vconf *c, unsigned reg) { return !(reg & (c->group - 1)); }
/* A mask as the result may lie over the first register of a group (5.2). */
static bool mask_apart(const struct vconf *c, unsigned d, unsigned s)
{
	return d == s || !v_overlap(d, 1, s, c->group);
}

static bool float_fits(const struct lift *l, unsigned kernel, unsigned sew)
{
	if (sew < 2) return false;
	return is_arith(kernel) || is_sign(kernel) || (is_fused(kernel) && l->how->fused);
}

static bool memory_fits(const struct rv64_effects *e, const struct rv64_insn *i,
			const struct vconf *c)
{
	int lmul = (c->type & 7) - (c->type << 1 & 8), eew = __builtin_ctz(e->bits) - 3;
	int emul = eew - (int)c->sew + lmul;
	unsigned tail = c->n << eew & (V_REG - 1);
	if (!i->rm || i->rs3 > 1 || emul < -3 || emul > 3 || tail & (tail - 1)) return false;
	return emul <= 0 || !(i->rd & ((1u << emul) - 1));
}

static bool reduce_fits(const struct vconf *c, unsigned k)
{
	bool zero = k == VK(redsum) || k == VK(redor) || k == VK(redxor) || k == VK(redmaxu);
	return int_op[k].sews >> c->sew & 1 && (!c->tail || zero);
}

/* Results and operands of other widths, as powers of two of SEW: `legal` of rv64_vector.c. */
static struct v_group group_of(const struct vconf *c, unsigned reg, int wider)
{
	int lmul = (c->type & 7) - (c->type << 1 & 8);
	return (struct v_group){(uint8_t)(reg & 31), (int8_t)(lmul + wider),
				(int8_t)((int)c->sew + wider)};
}
static bool widths_fit(const struct vconf *c, const struct rv64_insn *i, int d, int a, bool vs1)
{
	struct v_group to = group_of(c, i->rd, d), p = group_of(c, i->rs2, a),
		       q = group_of(c, i->rs1, 0);
	if (!i->rm || (int)c->sew + a < 0 || !v_fits(to) || !v_fits(p) || !v_apart(to, p))
		return false;
	return !vs1 || (v_fits(q) && v_apart(to, q));
}
/* By kernel: the operation at twice SEW, and which operands are signed. */
enum { WIDE_P = 1, WIDE_Q = 2 };
static const struct wide_op {
	uint8_t op, sign, add; /* op 0: none; add: vd is added to */
} wide_op[RV64_VK__COUNT] = {
	[VK(waddu)] = {IR_vadd, 0, 0},
	[VK(wadd)] = {IR_vadd, WIDE_P | WIDE_Q, 0},
	[VK(wsubu)] = {IR_vsub, 0, 0},
	[VK(wsub)] = {IR_vsub, WIDE_P | WIDE_Q, 0},
	[VK(wadduw)] = {IR_vadd, 0, 0},
	[VK(waddw)] = {IR_vadd, WIDE_Q, 0},
	[VK(wsubuw)] = {IR_vsub, 0, 0},
	[VK(wsubw)] = {IR_vsub, WIDE_Q, 0},
	[VK(wmulu)] = {IR_vmul, 0, 0},
	[VK(wmulsu)] = {IR_vmul, WIDE_P, 0},
	[VK(wmul)] = {IR_vmul, WIDE_P | WIDE_Q, 0},
	[VK(wmaccu)] = {IR_vmul, 0, 1},
	[VK(wmacc)] = {IR_vmul, WIDE_P | WIDE_Q, 1},
	[VK(wmaccus)] = {IR_vmul, WIDE_P, 1},
	[VK(wmaccsu)] = {IR_vmul, WIDE_Q, 1},
};
static bool wide_fits(const struct vconf *c, const struct rv64_insn *i, unsigned k, int a, bool vs1)
{
	unsigned most = wide_op[k].op == IR_vmul ? 1 : 2;
	return wide_op[k].op && c->sew <= most && widths_fit(c, i, 1, a, vs1);
}
static bool narrow_fits(const struct vconf *c, const struct rv64_insn *i, unsigned k)
{
	unsigned most = k == VK(nsra) ? 1 : 2;
	return (k == VK(nsra) || k == VK(nsrl)) && c->sew <= most && widths_fit(c, i, 0, 1, false);
}

/* With vtype and vl of c */
static bool fits(const struct lift *l, const struct rv64_insn *i, const struct rv64_effects *e,
		 const struct vconf *c)
{
	const unsigned k = e->kernel, d = i->rd & 31;
	bool plain = i->rm, da = aligned(c, d) && aligned(c, i->rs2), b = aligned(c, i->rs1);
	bool into = plain || d; /* a mask is no operand of what it masks */
	if (!l->how->lanes || c->type < 0 || !c->n) return false;
	switch ((enum rv64_vshape)e->shape) {
	case VS(vv): return into && da && b && int_op[k].sews >> c->sew & 1 && !is_shift(k);
	case VS(vx):
	case VS(vi): return into && da && int_op[k].sews >> c->sew & 1;
	case VS(uvv): return aligned(c, d) && b;
	case VS(uvx):
	case VS(uvi): return aligned(c, d);
	case VS(mvv): return k == VK(merge) && d && da && b;
	case VS(mvx):
	case VS(mvi): return k == VK(merge) && d && da;
	case VS(cvv):
		return plain && aligned(c, i->rs2) && b && mask_apart(c, d, i->rs2) &&
		       mask_apart(c, d, i->rs1);
	case VS(cvx):
	case VS(cvi): return plain && aligned(c, i->rs2) && mask_apart(c, d, i->rs2);
	case VS(fvv): return plain && da && b && float_fits(l, k, c->sew);
	case VS(fvf): return plain && da && float_fits(l, k, c->sew);
	case VS(fuvf): return aligned(c, d) && c->sew >= 2;
	case VS(fmvf): return d && da && c->sew >= 2;
	case VS(f1):
		if (k == VK(fcvt_f_x)) return plain && da && c->sew == 2;
		return plain && da && c->sew >= 2 && k == VK(fsqrt);
	case VS(fw1): return k == VK(fwcvt_f_x) && c->sew == 1 && widths_fit(c, i, 1, 0, false);
	case VS(load_stride): /* of one element to all */
		return plain && !i->rs2 && i->rs3 <= 1 && e->bits == 8u << c->sew && aligned(c, d);

	case VS(fcvv):
		return plain && aligned(c, i->rs2) && b && c->sew >= 2 &&
		       mask_apart(c, d, i->rs2) && mask_apart(c, d, i->rs1);
	case VS(fcvf):
		return plain && aligned(c, i->rs2) && c->sew >= 2 && mask_apart(c, d, i->rs2);
	case VS(wvv): return wide_fits(c, i, k, 0, true);
	case VS(wvx): return wide_fits(c, i, k, 0, false);
	case VS(wwvv): return wide_fits(c, i, k, 1, true);
	case VS(wwvx): return wide_fits(c, i, k, 1, false);
	case VS(nvx):
	case VS(nvi): return narrow_fits(c, i, k);
	case VS(ext2): return widths_fit(c, i, 0, -1, false);
	case VS(ext4): return widths_fit(c, i, 0, -2, false);
	case VS(ext8): return widths_fit(c, i, 0, -3, false);
	case VS(rvv): return plain && aligned(c, i->rs2) && reduce_fits(c, k);
	case VS(frvv): return plain && aligned(c, i->rs2) && c->sew >= 2 && k == VK(fredsum);
	case VS(mask): return true;
	case VS(cpop):
	case VS(first): return plain;
	case VS(mv_x_s):
	case VS(mv_s_x): return true;
	case VS(mv_f_s):
	case VS(mv_s_f): return c->sew >= 2;
	case VS(id): return into && aligned(c, d);
	case VS(whole1): return true;
	case VS(whole2): return !((d | i->rs2) & 1);
	case VS(whole4): return !((d | i->rs2) & 3);
	case VS(whole8): return !((d | i->rs2) & 7);
	case VS(load):
	case VS(load_first):
	case VS(store): return memory_fits(e, i, c);
	case VS(load_whole1):
	case VS(store_whole1): return true;
	case VS(load_whole2):
	case VS(store_whole2): return !(d & 1);
	case VS(load_whole4):
	case VS(store_whole4): return !(d & 3);
	case VS(load_whole8):
	case VS(store_whole8): return !(d & 7);
	default: return false;
	}
}

/* ---- runs */
struct plan {
	struct lift *l;
	struct vrun *run; /* NULL: none is open */
	struct vconf conf;
	bool set, full; /* a vset came before in this block, and vl is known */
	bool fits;	/* some instruction of the run can be done in line */
};

static void plan_close(struct plan *p)
{
	if (p->run)
		p->run->how = !p->fits	? RUN_CALLS
			      : !p->set ? RUN_SPLIT
			      : p->full ? RUN_FULL
					: RUN_SPLIT;
	p->run = NULL;
}

/* What vl will be is known: all, or certainly less. */
static bool is_full(const struct rv64_insn *i, const struct vconf *c)
{
	return i->op == OP_vsetivli ? i->rs1 >= c->vlmax : !i->rs1 && i->rd;
}
static bool is_short(const struct rv64_insn *i, const struct vconf *c)
{
	return i->op == OP_vsetivli && i->rs1 < c->vlmax;
}

static void plan_insn(struct plan *p, int off, const struct rv64_insn *i)
{
	const struct rv64_effects *e = lift_effects(p->l, off);
	struct lift_vec *v = &p->l->v;
	if (e->vset) {
		plan_close(p);
		const unsigned was = p->conf.n;
		bool keeps = i->op == OP_vsetvli && !i->rs1 && !i->rd && p->set && p->full;
		p->conf = conf_of(i->imm);
		p->full = keeps || is_full(i, &p->conf) || is_short(i, &p->conf);
		p->set = true;
		if (is_short(i, &p->conf)) conf_set(&p->conf, i->rs1);
		if (keeps && was < p->conf.vlmax) conf_set(&p->conf, was);
		return;
	}
	if (!e->vector) return;
	if (!p->run && v->nruns == RUNS) return;
	if (!p->run) {
		p->run = &v->run[v->nruns++];
		*p->run = (struct vrun){.first = off, .type = p->conf.type};
		if (p->conf.n < p->conf.vlmax) p->run->n = p->conf.n;
		p->fits = false;
	}
	p->run->last = off + i->len;
	bool can = fits(p->l, i, e, &p->conf);
	p->fits |= can;
	if (e->shape != VS(load_first) || can) return;
	plan_close(p); /* whatever vl is then */
	p->full = false;
	conf_set(&p->conf, p->conf.vlmax);
}

/* vtype as blocks before b leave it, or as it is now. */
static int type_before(const struct lift *l, int b)
{
	for (uint64_t p = l->r->block[b].preds; p; p &= p - 1) {
		int from = __builtin_ctzll(p);
		if (from < b && l->v.type_out[from] >= 0) return l->v.type_out[from];
	}
	return l->how->vtype;
}

void lift_v_plan(struct lift *l)
{
	l->v.nruns = 0;
	l->v.fast = false;
	for (int b = 0; b < l->r->n; b++) {
		const struct region_block *k = &l->r->block[b];
		struct plan p = {.l = l, .conf = conf_of(type_before(l, b))};
		l->v.run_of[b] = l->v.nruns;
		for (int off = k->off; k->vector && off < k->next;) {
			const struct rv64_insn *i = region_insn(l->r, off);
			plan_insn(&p, off, i);
			off += i->len;
		}
		plan_close(&p);
		l->v.type_out[b] = k->end == END_CALL && region_insn(l->r, k->last)->op == OP_vsetvl
					   ? -1
					   : p.conf.type;
	}
	l->v.run_of[l->r->n] = l->v.nruns;
}

static void forget(struct lift *l)
{
	memset(l->v.reg, 0, sizeof(l->v.reg));
	memset(l->v.mask, 0, sizeof(l->v.mask));
	l->v.low = NO;
	l->v.known = 0;
}

void lift_v_block(struct lift *l, int b)
{
	(void)b;
	forget(l);
	l->v.vl = l->v.full = NO;
	l->v.fast = false;
}

ir_val lift_v_full(struct lift *l, const struct vrun *r)
{
	struct vconf c = conf_of(r->type);
	if (l->v.full.n) return l->v.full;
	uint64_t word = conf_word(&c) | (uint64_t)c.vlmax << VL_AT;
	return e2(l, IR_eq, conf_get(l), konst(l, word));
}

void lift_v_start(struct lift *l, const struct vrun *r, bool fast)
{
	if (r->how != RUN_FULL) forget(l);
	l->v.fast = fast;
	l->v.conf = conf_of(r->type);
	if (r->n) conf_set(&l->v.conf, r->n);
	if (!fast) return;
	l->seen |= SEEN_V_ON;
	lift_v_needs(l);
}

void lift_v_end(struct lift *l, const struct vrun *r)
{
	l->v.fast = false;
	if (r->how == RUN_SPLIT) forget(l);
	for (int off = r->first; off < r->last; off += region_insn(l->r, off)->len)
		if (lift_effects(l, off)->shape == VS(load_first) && lift_effects(l, off)->vector)
			l->v.vl = l->v.full = NO;
}

/* ---- by calls */
static bool is_value(unsigned shape)
{
	return shape == VS(cpop) || shape == VS(first) || shape == VS(mv_x_s) ||
	       shape == VS(mv_f_s);
}

/* The result instead of rd. The caller has seen to it that the instruction is legal. */
typedef enum rv64_stop shape_fn(struct rv64_cpu *c, const struct slot *ip,
				const struct rv64_vkernel *k);
static uint64_t value_of(struct rv64_cpu *c, const struct slot *ip, uint64_t *reg, shape_fn *fn)
{
	uint64_t was = *reg, is;
	(void)fn(c, ip, &rv64_vk_none);
	is = *reg;
	*reg = was;
	return is;
}
static uint64_t value_x(struct rv64_cpu *c, const struct slot *ip, shape_fn *fn)
{
	return value_of(c, ip, &c->x[ip->rd], fn);
}
static uint64_t value_f(struct rv64_cpu *c, const struct slot *ip, shape_fn *fn)
{
	return value_of(c, ip, &c->f[v_reg(ip->rd)], fn);
}

static void call_value(struct lift *l, const void *fn, bool fp)
{
	ir_val args[] = {ir_state(l->f, 0), konst(l, (uintptr_t)lift_slot(l)),
			 konst(l, (uintptr_t)fn)};
	uint64_t bits = 0xffull << ON_AT | 0xffull << START_AT | 0xff << 16;
	ir_val state = e2(l, IR_and, conf_get(l), konst(l, bits));
	lift_guard(l, e2(l, IR_eq, state, konst(l, 1ull << ON_AT)), WHY_VECTOR);
	if (fp) lift_fp_on(l), lift_rounds(l, RM_DYN);
	if (fp) { /* not if SEW is too narrow */
		ir_val sew = e2(l, IR_and, conf_get(l), konst(l, 0xff));
		lift_guard(l, e2(l, IR_ne, sew, konst(l, 0)), WHY_VECTOR);
	}
	ir_val v = ir_call(l->f, 0, fp ? (const void *)value_f : (const void *)value_x, args, 3);
	if (fp)
		lift_fset(l, l->i->rd, v, false);
	else
		lift_set(l, l->i->rd, v);
}

/* Nothing of the unit's but what is written here depends on what such a function does. */
static void call_shape(struct lift *l, const struct rv64_effects *e, const void *fn, uint64_t what)
{
	ir_val args[] = {ir_state(l->f, 0), konst(l, (uintptr_t)lift_slot(l)), konst(l, what)};
	if (l->how->count) { /* there, nothing is done twice or unknown to the log */
		lift_guard(l, konst(l, 0), WHY_VECTOR);
		return;
	}
	lift_put_home(l, e->use);
	ir_val stop = ir_call(l->f, IR_CALL_FLOAT, fn, args, 3);
	stop = e1(l, IR_zx32, IR_I64, stop);
	ir_put(l->f, SLOT_STOP, stop);
	ir_put(l->f, SLOT_LEN, konst(l, l->i->len));
	lift_guard(l, e2(l, IR_eq, stop, konst(l, 0)), WHY_CALL);
	if (e->shape == VS(load_first)) l->v.vl = l->v.full = NO;
	forget(l);
}

/* ---- registers of vectors */
static ir_val reg_at(struct lift *l, unsigned r) { return ir_state(l->f, AT(v.reg) + V_REG * r); }
/* What is remembered wants a host register, and there are not so many. */
static void remember(struct lift *l, unsigned r, ir_val v)
{
	if (++l->v.known > V_KNOWN) forget(l);
	l->v.reg[r] = v;
}
static ir_val get(struct lift *l, unsigned r)
{
	ir_val v = l->v.reg[r];
	if (v.n) return v;
	v = ir_load(l->f, IR_V128, IR_U8, NO, reg_at(l, r), 0);
	remember(l, r, v);
	return v;
}
static void put(struct lift *l, unsigned r, ir_val v)
{
	ir_store(l->f, V_REG, NO, reg_at(l, r), 0, v);
	l->v.mask[r].n = 0;
	remember(l, r, v);
}
/* Of a group of the result: what lies beyond vl stays. */
static const uint8_t low_bytes[2 * V_REG] = {255, 255, 255, 255, 255, 255, 255, 255,
					     255, 255, 255, 255, 255, 255, 255, 255};
static ir_val fixed(struct lift *l, const uint8_t *bytes)
{
	return ir_load(l->f, IR_V128, IR_U8, NO, konst(l, (uintptr_t)bytes), 0);
}
static ir_val body(struct lift *l, unsigned tail)
{
	if (!l->v.low.n || l->v.low_bytes != tail) l->v.low = fixed(l, low_bytes + V_REG - tail);
	l->v.low_bytes = tail;
	return l->v.low;
}
static bool is_tail(const struct lift *l, unsigned k)
{
	return l->v.conf.tail && k == l->v.conf.regs - 1;
}
static void put_of(struct lift *l, unsigned d, unsigned k, ir_val v)
{
	if (is_tail(l, k))
		v = ir_lanes(l->f, IR_vpick, 0, body(l, l->v.conf.tail), v, get(l, d + k));
	put(l, d + k, v);
}
/* Some bytes of one, from `at` on */
static void put_part(struct lift *l, unsigned r, unsigned at, unsigned bytes, ir_val v)
{
	ir_store(l->f, bytes, NO, reg_at(l, r), (int32_t)at, v);
	l->v.reg[r] = NO;
	l->v.mask[r].n = 0;
}
static ir_val lanes(struct lift *l, enum ir_op op, ir_val a, ir_val b)
{
	return ir_lanes(l->f, op, l->v.conf.sew, a, b, NO);
}
static ir_val splat(struct lift *l, ir_val v) { return lanes(l, IR_vsplat, v, NO); }
static ir_val lane_not(struct lift *l, ir_val v)
{
	return lanes(l, IR_vxor, v, ir_lanes(l->f, IR_vsplat, 3, konst(l, ~0ull), NO, NO));
}

/* ---- masks */
/* Sixteen bytes: the bit that belongs to each byte's lane */
static const uint8_t lane_bit[4][V_REG] = {
	{1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128},
	{1, 0, 2, 0, 4, 0, 8, 0, 16, 0, 32, 0, 64, 0, 128, 0},
	{1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 8},
	{1, 0, 0, 0, 0, 0, 0, 0, 2},
};
static const uint8_t lane_number[4][V_REG] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0},
	{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3},
	{0, 0, 0, 0, 0, 0, 0, 0, 1},
};
static const uint8_t upper_half[V_REG] = {[8] = 255, 255, 255, 255, 255, 255, 255, 255};
static unsigned per_reg(const struct lift *l) { return V_REG >> l->v.conf.sew; }

/* Bits of mask register r from bit 64 * part on: how many, and in how many bytes they are. */
static unsigned word_bits(const struct lift *l, unsigned part)
{
	unsigned n = l->v.conf.n - 64 * part;
	return n < 64 ? n : 64;
}
static unsigned word_bytes(unsigned bits)
{
	return bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8;
}
static ir_val word_cut(struct lift *l, ir_val v, unsigned bits)
{
	return bits < 64 ? e2(l, IR_and, v, konst(l, (1ull << bits) - 1)) : v;
}
static ir_val word_load(struct lift *l, unsigned r, unsigned part)
{
	static const uint8_t how[] = {IR_U8, IR_U16, IR_U32, IR_U64};
	unsigned bytes = word_bytes(word_bits(l, part));
	return ir_load(l->f, IR_I64, (enum ir_mem)how[__builtin_ctz(bytes)], NO, reg_at(l, r),
		       8 * (int32_t)part);
}
static ir_val mask_word(struct lift *l, unsigned r, unsigned part)
{
	unsigned n = word_bits(l, part), L = per_reg(l);
	const struct vmask *m = &l->v.mask[r];
	ir_val v = NO;
	if (m->n == l->v.conf.n && m->sew == l->v.conf.sew) {
		for (unsigned k = 0; k * L < n; k++) {
			ir_val x = e2(l, IR_shl, m->bits[k + 64 * part / L], konst(l, k * L));
			v = v.n ? e2(l, IR_or, v, x) : x;
		}
		return n % L ? word_cut(l, v, n) : v;
	}
	v = word_load(l, r, part);
	return n < 8 * word_bytes(n) ? word_cut(l, v, n) : v;
}

static void mask_word_put(struct lift *l, unsigned r, unsigned part, ir_val v)
{
	unsigned n = word_bits(l, part), bytes = word_bytes(n);
	if (n < 8 * bytes) {
		ir_val keep = konst(l, ~((1ull << n) - 1));
		v = e2(l, IR_or, e2(l, IR_and, word_load(l, r, part), keep), word_cut(l, v, n));
	}
	put_part(l, r, 8 * part, bytes, v);
}

/* Results of comparisons: to their bits. */
static void mask_put(struct lift *l, unsigned r, const ir_val *lane)
{
	struct vmask m = {.n = l->v.conf.n, .sew = l->v.conf.sew};
	unsigned L = per_reg(l);
	bool words = L < 8 || l->v.conf.tail;
	for (unsigned k = 0; k < l->v.conf.regs; k++) {
		m.lane[k] = lane[k];
		m.bits[k] = lanes(l, IR_vbits, lane[k], NO);
		if (!words) put_part(l, r, k * L / 8, L / 8, m.bits[k]);
	}
	l->v.mask[r] = m;
	if (words) mask_word_put(l, r, 0, mask_word(l, r, 0));
	l->v.mask[r] = m;
}

/* Lanes of register k of a group that v0 masks. */
static ir_val mask_lane(struct lift *l, unsigned k)
{
	const struct vmask *m = &l->v.mask[0];
	unsigned L = per_reg(l), sew = l->v.conf.sew;
	if (m->n == l->v.conf.n && m->sew == sew) return m->lane[k];
	unsigned at = k * L / 8;
	ir_val v = ir_load(l->f, IR_I64, IR_U8, NO, reg_at(l, 0), (int32_t)at);
	if (L < 8) v = e2(l, IR_shr, v, konst(l, k * L & 7));
	ir_val bit = fixed(l, lane_bit[sew]), to = splat(l, v);
	if (L == 16) {
		v = ir_load(l->f, IR_I64, IR_U8, NO, reg_at(l, 0), (int32_t)at + 1);
		to = ir_lanes(l->f, IR_vpick, 0, fixed(l, upper_half), splat(l, v), to);
	}
	return lanes(l, IR_veq, lanes(l, IR_vand, to, bit), bit);
}
static ir_val pick(struct lift *l, unsigned k, ir_val yes, ir_val no)
{
	return ir_lanes(l->f, IR_vpick, 0, mask_lane(l, k), yes, no);
}
static void put_masked(struct lift *l, unsigned d, unsigned k, ir_val v)
{
	if (!l->i->rm) v = pick(l, k, v, get(l, d + k));
	put_of(l, d, k, v);
}

/* The logical ones (15.1), on whole words of mask */
static ir_val mask_op(struct lift *l, unsigned kernel, ir_val a, ir_val b)
{
	bool invert = kernel >= VK(mnand), not_b = kernel == VK(mandn) || kernel == VK(morn);
	if (not_b) b = e1(l, IR_not, IR_I64, b);
	enum ir_op op = kernel == VK(mand) || kernel == VK(mandn) || kernel == VK(mnand) ? IR_and
			: kernel == VK(mxor) || kernel == VK(mxnor)			 ? IR_xor
											 : IR_or;
	a = e2(l, op, a, b);
	return invert ? e1(l, IR_not, IR_I64, a) : a;
}
static void do_mask(struct lift *l, const struct rv64_effects *e)
{
	ir_val v[2];
	unsigned words = l->v.conf.n > 64 ? 2 : 1;
	for (unsigned k = 0; k < words; k++)
		v[k] = mask_op(l, e->kernel, mask_word(l, l->i->rs2, k),
			       mask_word(l, l->i->rs1, k));
	for (unsigned k = 0; k < words; k++) mask_word_put(l, l->i->rd & 31, k, v[k]);
}

static void do_count(struct lift *l, bool first)
{
	bool two = l->v.conf.n > 64;
	ir_val a = mask_word(l, l->i->rs2, 0), b = two ? mask_word(l, l->i->rs2, 1) : NO, v;
	if (first) {
		ir_val none = konst(l, ~0ull);
		if (two) {
			ir_val high = e2(l, IR_add, e1(l, IR_ctz, IR_I64, b), konst(l, 64));
			none = ir_emit(l->f, IR_select, IR_I64, e2(l, IR_ne, b, konst(l, 0)), high,
				       none);
		}
		v = ir_emit(l->f, IR_select, IR_I64, e2(l, IR_ne, a, konst(l, 0)),
			    e1(l, IR_ctz, IR_I64, a), none);
	} else {
		v = e1(l, IR_popcnt, IR_I64, a);
		if (two) v = e2(l, IR_add, v, e1(l, IR_popcnt, IR_I64, b));
	}
	lift_set(l, l->i->rd, v);
}

/* ---- integers */
static ir_val second_int(struct lift *l, unsigned shape)
{
	if (shape == VS(vx) || shape == VS(uvx) || shape == VS(mvx) || shape == VS(cvx))
		return lift_reg(l, l->i->rs1);
	return konst(l, (uint64_t)(int64_t)l->i->imm);
}
static bool has_vs1(unsigned shape)
{
	return shape == VS(vv) || shape == VS(uvv) || shape == VS(mvv) || shape == VS(cvv) ||
	       shape == VS(fvv) || shape == VS(fcvv);
}

static ir_val int_value(struct lift *l, unsigned k, ir_val p, ir_val q, ir_val z)
{
	switch (k) {
	case VK(rsub): return lanes(l, IR_vsub, q, p);
	case VK(macc): return lanes(l, IR_vadd, z, lanes(l, IR_vmul, p, q));
	case VK(nmsac): return lanes(l, IR_vsub, z, lanes(l, IR_vmul, p, q));
	case VK(madd): return lanes(l, IR_vadd, p, lanes(l, IR_vmul, z, q));
	case VK(nmsub): return lanes(l, IR_vsub, p, lanes(l, IR_vmul, z, q));
	default: return lanes(l, (enum ir_op)int_op[k].op, p, q);
	}
}

static void do_int(struct lift *l, const struct rv64_effects *e)
{
	const struct rv64_insn *i = l->i;
	unsigned d = i->rd & 31, k = e->kernel;
	ir_val one = NO;
	bool acc = k >= VK(macc) && k <= VK(nmsub);
	if (!has_vs1(e->shape)) {
		one = second_int(l, e->shape);
		if (!is_shift(k)) one = splat(l, one);
	}
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val p = get(l, i->rs2 + n), q = one.n ? one : get(l, i->rs1 + n);
		put_masked(l, d, n, int_value(l, k, p, q, acc ? get(l, d + n) : NO));
	}
}

static ir_val less_unsigned(struct lift *l, ir_val a, ir_val b)
{
	if (l->v.conf.sew < 3) return lane_not(l, lanes(l, IR_veq, lanes(l, IR_vmaxu, a, b), a));
	ir_val top = splat(l, konst(l, 1ull << 63));
	return lanes(l, IR_vgts, lanes(l, IR_vxor, b, top), lanes(l, IR_vxor, a, top));
}
static ir_val compare_int(struct lift *l, unsigned k, ir_val p, ir_val q)
{
	switch (k) {
	case VK(seq): return lanes(l, IR_veq, p, q);
	case VK(sne): return lane_not(l, lanes(l, IR_veq, p, q));
	case VK(slt): return lanes(l, IR_vgts, q, p);
	case VK(sgt): return lanes(l, IR_vgts, p, q);
	case VK(sle): return lane_not(l, lanes(l, IR_vgts, p, q));
	case VK(sltu): return less_unsigned(l, p, q);
	case VK(sgtu): return less_unsigned(l, q, p);
	default: return lane_not(l, less_unsigned(l, q, p));
	}
}

static void do_move(struct lift *l, const struct rv64_effects *e)
{
	const struct rv64_insn *i = l->i;
	ir_val one = has_vs1(e->shape) ? NO : splat(l, second_int(l, e->shape));
	for (unsigned n = 0; n < l->v.conf.regs; n++)
		put_of(l, i->rd & 31, n, one.n ? one : get(l, i->rs1 + n));
}
static void do_merge(struct lift *l, ir_val one)
{
	const struct rv64_insn *i = l->i;
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val q = one.n ? one : get(l, i->rs1 + n);
		put_of(l, i->rd & 31, n, pick(l, n, q, get(l, i->rs2 + n)));
	}
}
static void do_whole(struct lift *l, unsigned regs)
{
	ir_val v[8];
	for (unsigned n = 0; n < regs; n++) v[n] = get(l, l->i->rs2 + n);
	for (unsigned n = 0; n < regs; n++) put(l, (l->i->rd & 31) + n, v[n]);
}
static void do_id(struct lift *l)
{
	ir_val v = fixed(l, lane_number[l->v.conf.sew]);
	for (unsigned n = 0; n < l->v.conf.regs; n++)
		put_masked(l, l->i->rd & 31, n,
			   lanes(l, IR_vadd, v, splat(l, konst(l, n * per_reg(l)))));
}

/* ---- other widths */
/* Register k of the group that begins at reg, each element of 1 << lane bytes made `times` times
 * twice as wide. */
static ir_val extended(struct lift *l, unsigned reg, unsigned k, unsigned lane, unsigned times,
		       bool sign)
{
	unsigned part = k & ((1u << times) - 1);
	ir_val v = get(l, reg + (k >> times));
	if (part) v = ir_lanes(l->f, IR_vdown, (V_REG >> times) * part, v, NO, NO);
	for (; times; times--, lane++) v = ir_lanes(l->f, sign ? IR_vsx : IR_vzx, lane, v, NO, NO);
	return v;
}
static void do_extend(struct lift *l, unsigned kernel, unsigned times)
{
	bool sign = kernel == VK(sext2) || kernel == VK(sext4) || kernel == VK(sext8);
	for (unsigned k = 0; k < l->v.conf.regs; k++)
		put_of(l, l->i->rd & 31, k,
		       extended(l, l->i->rs2, k, l->v.conf.sew - times, times, sign));
}

static void do_wide(struct lift *l, const struct rv64_effects *e)
{
	const struct wide_op *o = &wide_op[e->kernel];
	const struct rv64_insn *i = l->i;
	const struct vconf was = l->v.conf;
	bool wide_p = e->shape == VS(wwvv) || e->shape == VS(wwvx);
	bool vs1 = e->shape == VS(wvv) || e->shape == VS(wwvv);
	ir_val one = NO;
	l->v.conf.sew++;
	conf_set(&l->v.conf, was.n);
	if (!vs1) { /* SEW bits of it */
		one = ir_lanes(l->f, IR_vsplat, was.sew, lift_reg(l, i->rs1), NO, NO);
		one = ir_lanes(l->f, o->sign & WIDE_Q ? IR_vsx : IR_vzx, was.sew, one, NO, NO);
	}
	for (unsigned k = 0; k < l->v.conf.regs; k++) {
		ir_val p = wide_p ? get(l, i->rs2 + k)
				  : extended(l, i->rs2, k, was.sew, 1, o->sign & WIDE_P);
		ir_val q = vs1 ? extended(l, i->rs1, k, was.sew, 1, o->sign & WIDE_Q) : one;
		p = lanes(l, (enum ir_op)o->op, p, q);
		if (o->add) p = lanes(l, IR_vadd, p, get(l, (i->rd & 31) + k));
		put_of(l, i->rd & 31, k, p);
	}
	l->v.conf = was;
}

static void do_narrow(struct lift *l, const struct rv64_effects *e)
{
	enum ir_op op = e->kernel == VK(nsra) ? IR_vsar : IR_vshr;
	unsigned sew = l->v.conf.sew, wide = ((l->v.conf.n << (sew + 1)) + V_REG - 1) / V_REG;
	ir_val by = e->shape == VS(nvx) ? lift_reg(l, l->i->rs1)
					: konst(l, (uint64_t)(int64_t)l->i->imm);
	for (unsigned k = 0; k < l->v.conf.regs; k++) {
		ir_val v[2];
		for (unsigned j = 0; j < 2; j++) {
			unsigned from = 2 * k + j < wide ? 2 * k + j : 2 * k;
			v[j] = ir_lanes(l->f, op, sew + 1, get(l, l->i->rs2 + from), by, NO);
		}
		put_of(l, l->i->rd & 31, k, ir_lanes(l->f, IR_vpack, sew, v[0], v[1], NO));
	}
}

/* The sum, or whatever it is, of all: halves upon each other. */
static void do_reduce(struct lift *l, unsigned kernel)
{
	enum ir_op op = (enum ir_op)int_op[kernel].op;
	unsigned bytes = 1u << l->v.conf.sew;
	ir_val v = NO;
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val x = get(l, l->i->rs2 + n);
		if (is_tail(l, n)) x = lanes(l, IR_vand, x, body(l, l->v.conf.tail));
		v = n ? lanes(l, op, v, x) : x;
	}
	for (unsigned by = 8; by >= bytes; by /= 2)
		v = lanes(l, op, v, ir_lanes(l->f, IR_vdown, by, v, NO, NO));
	v = lanes(l, op, v, get(l, l->i->rs1));
	put_part(l, l->i->rd & 31, 0, bytes, lanes(l, IR_vlow, v, NO));
}

static void do_mv_x_s(struct lift *l)
{
	static const uint8_t op[] = {IR_sx8, IR_sx16, IR_sx32};
	ir_val v = lanes(l, IR_vlow, get(l, l->i->rs2), NO);
	if (l->v.conf.sew < 3) v = e1(l, (enum ir_op)op[l->v.conf.sew], IR_I64, v);
	lift_set(l, l->i->rd, v);
}

/* ---- floating point: by frm, all lanes at once */
static bool is_double(const struct lift *l) { return l->v.conf.sew == 3; }
static void float_needs(struct lift *l)
{
	lift_fp_on(l);
	lift_rounds(l, RM_DYN);
}

/* The bits of a scalar operand */
static ir_val scalar_float(struct lift *l)
{
	unsigned s = SLOT_F + (l->i->rs1 & 31);
	if (!is_double(l)) return lift_fbits_single(l, l->i->rs1);
	ir_val v = lift_fbits(l, l->i->rs1);
	if (!lift_is_single(l, s)) return v;
	return e2(l, IR_or, e1(l, IR_zx32, IR_I64, v), konst(l, 0xffffffff00000000));
}
static ir_val sign_bits(struct lift *l)
{
	return splat(l, konst(l, is_double(l) ? 1ull << 63 : 1ull << 31));
}
static ir_val minus(struct lift *l, ir_val v) { return lanes(l, IR_vxor, v, sign_bits(l)); }

static ir_val sign_value(struct lift *l, unsigned k, ir_val p, ir_val q)
{
	ir_val sign = sign_bits(l);
	if (k == VK(fsgnjx)) return lanes(l, IR_vxor, p, lanes(l, IR_vand, q, sign));
	if (k == VK(fsgnjn)) q = lane_not(l, q);
	return ir_lanes(l->f, IR_vpick, 0, sign, q, p);
}
static ir_val fused_value(struct lift *l, unsigned k, ir_val p, ir_val q, ir_val z)
{
	bool into_z = k <= VK(fnmsac); /* z is added, else multiplied */
	ir_val by = into_z ? p : z, more = into_z ? z : p;
	bool neg = k == VK(fnmacc) || k == VK(fnmadd) || k == VK(fnmsac) || k == VK(fnmsub);
	bool less = k == VK(fnmacc) || k == VK(fnmadd) || k == VK(fmsac) || k == VK(fmsub);
	if (neg) q = minus(l, q);
	if (less) more = minus(l, more);
	return ir_lanes(l->f, IR_vfma, l->v.conf.sew, by, q, more);
}
static ir_val float_value(struct lift *l, unsigned k, ir_val p, ir_val q, ir_val z)
{
	static const uint8_t op[] = {IR_vfadd, IR_vfsub, IR_vfsub, IR_vfmul, IR_vfdiv, IR_vfdiv};
	if (is_sign(k)) return sign_value(l, k, p, q);
	if (is_fused(k)) return fused_value(l, k, p, q, z);
	bool reverse = k == VK(frsub) || k == VK(frdiv);
	ir_val v = lanes(l, (enum ir_op)op[k - VK(fadd)], reverse ? q : p, reverse ? p : q);
	return lanes(l, IR_vfnan, v, NO);
}

/* A NaN of a fused operation is for the interpreter: hosts differ in its flags. */
static void no_nan(struct lift *l, const ir_val *v)
{
	ir_val all = NO;
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val ok = lanes(l, IR_vfeq, v[n], v[n]);
		all = all.n ? lanes(l, IR_vand, all, ok) : ok;
	}
	ir_val bits = lanes(l, IR_vbits, all, NO);
	lift_guard(l, e2(l, IR_eq, bits, konst(l, (1u << per_reg(l)) - 1)), WHY_RANGE);
}

/* An operand whose elements beyond vl leave no flags. */
static ir_val idle(struct lift *l, unsigned k, unsigned n, ir_val v)
{
	if (!is_tail(l, n)) return v;
	ir_val keep = body(l, l->v.conf.tail);
	if (k != VK(fdiv) && k != VK(frdiv)) return lanes(l, IR_vand, v, keep);
	ir_val one = splat(l, konst(l, is_double(l) ? 0x3ff0000000000000 : 0x3f800000));
	return ir_lanes(l->f, IR_vpick, 0, keep, v, one);
}

static void do_float(struct lift *l, const struct rv64_effects *e)
{
	const struct rv64_insn *i = l->i;
	unsigned d = i->rd & 31;
	unsigned k = e->kernel;
	ir_val v[8], one = NO;
	float_needs(l);
	if (is_fused(k)) lift_fuses(l, RM_DYN);
	if (!has_vs1(e->shape)) one = splat(l, scalar_float(l));
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val p = idle(l, k, n, get(l, i->rs2 + n));
		ir_val q = idle(l, k, n, one.n ? one : get(l, i->rs1 + n));
		ir_val z = is_fused(k) ? idle(l, k, n, get(l, d + n)) : NO;
		v[n] = float_value(l, k, p, q, z);
	}
	if (is_fused(k)) no_nan(l, v);
	lift_fp_dirty(l);
	for (unsigned n = 0; n < l->v.conf.regs; n++) put_of(l, d, n, v[n]);
}

static void do_sqrt(struct lift *l)
{
	float_needs(l);
	lift_fp_dirty(l);
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val v = idle(l, VK(fsqrt), n, get(l, l->i->rs2 + n));
		v = lanes(l, IR_vfsqrt, v, NO);
		put_of(l, l->i->rd & 31, n, lanes(l, IR_vfnan, v, NO));
	}
}

/* f32 from i32, or from i16 */
static void do_from_int(struct lift *l, unsigned wider)
{
	const struct vconf was = l->v.conf;
	float_needs(l);
	lift_fp_dirty(l);
	l->v.conf.sew += wider;
	conf_set(&l->v.conf, was.n);
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val v = extended(l, l->i->rs2, n, was.sew, wider, true);
		v = lanes(l, IR_vitof, idle(l, VK(none), n, v), NO);
		put_of(l, l->i->rd & 31, n, v);
	}
	l->v.conf = was;
}

static ir_val compare_float(struct lift *l, unsigned k, ir_val p, ir_val q)
{
	switch (k) {
	case VK(mfeq): return lanes(l, IR_vfeq, p, q);
	case VK(mfne): return lane_not(l, lanes(l, IR_vfeq, p, q));
	case VK(mflt): return lanes(l, IR_vflt, p, q);
	case VK(mfle): return lanes(l, IR_vfle, p, q);
	case VK(mfgt): return lanes(l, IR_vflt, q, p);
	default: return lanes(l, IR_vfle, q, p);
	}
}

static void do_compare(struct lift *l, const struct rv64_effects *e)
{
	bool fp = e->shape == VS(fcvv) || e->shape == VS(fcvf);
	ir_val lane[8], one = NO;
	if (fp) float_needs(l);
	if (!has_vs1(e->shape)) one = splat(l, fp ? scalar_float(l) : second_int(l, e->shape));
	if (fp) lift_fp_dirty(l);
	for (unsigned n = 0; n < l->v.conf.regs; n++) {
		ir_val p = get(l, l->i->rs2 + n), q = one.n ? one : get(l, l->i->rs1 + n);
		if (fp) p = idle(l, e->kernel, n, p), q = idle(l, e->kernel, n, q);
		lane[n] = fp ? compare_float(l, e->kernel, p, q) : compare_int(l, e->kernel, p, q);
	}
	mask_put(l, l->i->rd & 31, lane);
}

/* In order, as the interpreter does; the manual leaves that open for some. */
static void do_fredsum(struct lift *l)
{
	enum ir_type t = is_double(l) ? IR_F64 : IR_F32;
	unsigned bytes = 1u << l->v.conf.sew;
	float_needs(l);
	lift_fp_dirty(l);
	ir_val sum = e1(l, IR_tofp, t, lanes(l, IR_vlow, get(l, l->i->rs1), NO));
	for (unsigned n = 0; n < l->v.conf.n; n++) {
		ir_val v = get(l, l->i->rs2 + n / per_reg(l));
		unsigned by = n % per_reg(l) * bytes;
		if (by) v = ir_lanes(l->f, IR_vdown, by, v, NO, NO);
		v = e1(l, IR_tofp, t, lanes(l, IR_vlow, v, NO));
		sum = ir_emit(l->f, IR_fadd, t, sum, v, NO);
	}
	ir_val bits = e1(l, IR_tobits, IR_I64, e1(l, IR_fnan, t, sum));
	put_part(l, l->i->rd & 31, 0, bytes, bits);
}

static void do_float_move(struct lift *l, unsigned shape)
{
	float_needs(l);
	if (shape == VS(mv_f_s)) {
		ir_val v = lanes(l, IR_vlow, get(l, l->i->rs2), NO);
		lift_fset(l, l->i->rd, v, !is_double(l));
		return;
	}
	ir_val v = scalar_float(l);
	lift_fp_dirty(l);
	if (shape == VS(mv_s_f)) {
		put_part(l, l->i->rd & 31, 0, 1u << l->v.conf.sew, v);
		return;
	}
	v = splat(l, v);
	if (shape == VS(fmvf))
		do_merge(l, v);
	else
		for (unsigned n = 0; n < l->v.conf.regs; n++) put_of(l, l->i->rd & 31, n, v);
}

/* ---- memory */
static void do_load(struct lift *l, unsigned bytes)
{
	unsigned d = l->i->rd & 31, whole = bytes / V_REG, tail = bytes % V_REG;
	ir_val v[8];
	lift_load_vector(l, lift_reg(l, l->i->rs1), v, bytes);
	for (unsigned n = 0; n < whole; n++) put(l, d + n, v[n]);
	if (!tail) return;
	ir_val old = get(l, d + whole);
	put(l, d + whole, ir_lanes(l->f, IR_vpick, 0, body(l, tail), v[whole], old));
}
static void do_store(struct lift *l, unsigned bytes)
{
	ir_val v[8];
	for (unsigned n = 0; n * V_REG < bytes; n++) v[n] = get(l, (l->i->rd & 31) + n);
	lift_store_vector(l, lift_reg(l, l->i->rs1), v, bytes);
}
static void do_load_one(struct lift *l)
{
	ir_val v;
	lift_load_vector(l, lift_reg(l, l->i->rs1), &v, 1u << l->v.conf.sew);
	for (unsigned n = 0; n < l->v.conf.regs; n++) put_of(l, l->i->rd & 31, n, v);
}
static unsigned memory_bytes(const struct lift *l, const struct rv64_effects *e)
{
	return l->v.conf.n * e->bits / 8;
}

static void in_line(struct lift *l, const struct rv64_effects *e)
{
	const struct rv64_insn *i = l->i;
	switch ((enum rv64_vshape)e->shape) {
	case VS(vv):
	case VS(vx):
	case VS(vi): do_int(l, e); break;
	case VS(uvv):
	case VS(uvx):
	case VS(uvi): do_move(l, e); break;
	case VS(mvv): do_merge(l, NO); break;
	case VS(mvx):
	case VS(mvi): do_merge(l, splat(l, second_int(l, e->shape))); break;
	case VS(cvv):
	case VS(cvx):
	case VS(cvi):
	case VS(fcvv):
	case VS(fcvf): do_compare(l, e); break;
	case VS(fvv):
	case VS(fvf): do_float(l, e); break;
	case VS(f1):
		if (e->kernel == VK(fsqrt))
			do_sqrt(l);
		else
			do_from_int(l, 0);
		break;
	case VS(fw1): do_from_int(l, 1); break;
	case VS(load_stride): do_load_one(l); break;

	case VS(fuvf):
	case VS(fmvf):
	case VS(mv_f_s):
	case VS(mv_s_f): do_float_move(l, e->shape); break;
	case VS(wvv):
	case VS(wvx):
	case VS(wwvv):
	case VS(wwvx): do_wide(l, e); break;
	case VS(nvx):
	case VS(nvi): do_narrow(l, e); break;
	case VS(ext2): do_extend(l, e->kernel, 1); break;
	case VS(ext4): do_extend(l, e->kernel, 2); break;
	case VS(ext8): do_extend(l, e->kernel, 3); break;
	case VS(rvv): do_reduce(l, e->kernel); break;
	case VS(frvv): do_fredsum(l); break;
	case VS(mask): do_mask(l, e); break;
	case VS(cpop): do_count(l, false); break;
	case VS(first): do_count(l, true); break;
	case VS(mv_x_s): do_mv_x_s(l); break;
	case VS(mv_s_x):
		put_part(l, i->rd & 31, 0, 1u << l->v.conf.sew, lift_reg(l, i->rs1));
		break;
	case VS(id): do_id(l); break;
	case VS(whole1): do_whole(l, 1); break;
	case VS(whole2): do_whole(l, 2); break;
	case VS(whole4): do_whole(l, 4); break;
	case VS(whole8): do_whole(l, 8); break;
	case VS(load):
	case VS(load_first): do_load(l, memory_bytes(l, e)); break;
	case VS(store): do_store(l, memory_bytes(l, e)); break;
	case VS(load_whole1): do_load(l, V_REG); break;
	case VS(load_whole2): do_load(l, 2 * V_REG); break;
	case VS(load_whole4): do_load(l, 4 * V_REG); break;
	case VS(load_whole8): do_load(l, 8 * V_REG); break;
	case VS(store_whole1): do_store(l, V_REG); break;
	case VS(store_whole2): do_store(l, 2 * V_REG); break;
	case VS(store_whole4): do_store(l, 4 * V_REG); break;
	case VS(store_whole8): do_store(l, 8 * V_REG); break;
	default: must(!"in line");
	}
}

void lift_vector(struct lift *l, const void *fn, uint64_t what)
{
	const struct rv64_effects *e = lift_effects(l, l->off);
	if (l->v.fast && fits(l, l->i, e, &l->v.conf))
		in_line(l, e);
	else if (is_value(e->shape))
		call_value(l, fn, e->shape == VS(mv_f_s));
	else
		call_shape(l, e, fn, what);
}
