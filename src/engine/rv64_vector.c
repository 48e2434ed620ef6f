/* Vector instructions: configuration and the shapes of those that work element by element. What
 * they compute is in the kernels (rv64_vector_int.c, rv64_vector_fp.c); what moves elements or
 * looks at masks is in rv64_vector_perm.c. Section numbers are those of the V specification 1.0. */
#include "engine/rv64_vector.h"

/* ---- vtype and vl (6) ---- */
void rv64_vtype_set(struct rv64_cpu *c, uint64_t type)
{
	struct rv64_v *v = &c->v;
	int sew = type >> 3 & 7, lmul = (int)(type & 7) - (int)(type << 1 & 8);
	v->ill = type >> 8 || sew > 3 || lmul == -4 || sew > lmul + 3;
	if (v->ill) type = 0, sew = lmul = 0;
	v->type = (uint8_t)type;
	v->sew = (uint8_t)sew;
	v->lmul = (int8_t)lmul;
	v->vlmax = v->ill ? 0 : V_REG;
	v->vlmax = (uint8_t)(lmul < sew ? v->vlmax >> (sew - lmul) : v->vlmax << (lmul - sew));
	if (v->vl > v->vlmax) v->vl = v->vlmax;
}

/* To keep vl is only defined where VLMAX stays; elsewhere it is cut. */
static enum rv64_stop configure(struct rv64_cpu *c, const struct slot *ip, uint64_t type,
				uint64_t avl, bool keep)
{
	if (!c->v.on) return v_illegal(c, ip);
	rv64_vtype_set(c, type);
	if (!keep) c->v.vl = avl < c->v.vlmax ? (uint8_t)avl : c->v.vlmax;
	c->x[ip->rd] = c->v.vl;
	return v_done(c);
}
static enum rv64_stop configure_x(struct rv64_cpu *c, const struct slot *ip, uint64_t type)
{
	return configure(c, ip, type, ip->rs1 ? c->x[ip->rs1] : ~0ull, !ip->rs1 && ip->rd == 32);
}
enum rv64_stop rv64_do_vsetvli(struct rv64_cpu *c, const struct slot *ip)
{
	return configure_x(c, ip, (uint64_t)ip->imm);
}
enum rv64_stop rv64_do_vsetvl(struct rv64_cpu *c, const struct slot *ip)
{
	return configure_x(c, ip, c->x[ip->rs2]);
}
enum rv64_stop rv64_do_vsetivli(struct rv64_cpu *c, const struct slot *ip)
{
	return configure(c, ip, (uint64_t)ip->imm, ip->rs1, false);
}

/* ---- results into place ---- */
/* Without a branch: masks are hard to foretell. */
#define MERGE(bits)                                                                                \
	static void merge_##bits(uint8_t *d, const uint8_t *t, const uint8_t *m, unsigned i,       \
				 unsigned n)                                                       \
	{                                                                                          \
		for (; i < n; i++) {                                                               \
			uint64_t was = load_le(d + i * (bits / 8), bits / 8);                      \
			uint64_t is = load_le(t + i * (bits / 8), bits / 8);                       \
			is = was ^ ((was ^ is) & -(uint64_t)v_bit(m, i));                          \
			store_le(d + i * (bits / 8), is, bits / 8);                                \
		}                                                                                  \
	}
MERGE(8)
MERGE(16)
MERGE(32)
MERGE(64)
void rv64_v_merge(struct rv64_cpu *c, bool masked, void *vd, const void *t, unsigned eew,
		  unsigned from, unsigned to)
{
	static void (*const fn[4])(uint8_t *, const uint8_t *, const uint8_t *, unsigned,
				   unsigned) = {merge_8, merge_16, merge_32, merge_64};
	if (from >= to) return;
	if (masked)
		fn[eew](vd, t, V_AT(c, 0), from, to);
	else
		memcpy((char *)vd + (from << eew), (const char *)t + (from << eew),
		       (size_t)(to - from) << eew);
}

/* n bytes that are 0 or 1 become the bits of a mask. */
static void merge_bits(struct rv64_cpu *c, bool masked, unsigned vd, uint8_t *t, unsigned n)
{
	v_mask bits = 0, where = v_body(c);
	memset(t + n, 0, -n & 7);
	for (unsigned i = 0; i < c->v.vl; i += 8) /* bit 8k goes to bit 56 + k */
		bits |= (v_mask)(load_le(t + i, 8) * 0x0102040810204080 >> 56) << i;
	if (masked) where &= v_mask_get(c, 0);
	v_mask_put(c, vd, bits, where);
}

/* ---- element by element ---- */
enum second { VECTOR_1, SCALAR_X, SCALAR_F, SCALAR_I, NOTHING };
enum { RESULT_MASK = 1, CARRY = 2, UNMASKED = 4, FP = 8 };
struct shape {
	int8_t d, a, b; /* width of the result, vs2 and vs1 as log2 of multiples of SEW */
	uint8_t second, how;
};
struct work { /* where operands and result are */
	struct v_group d, a, b;
	const void *pa, *pb, *acc;
	void *pd;
	unsigned n; /* elements, in whole blocks */
	bool masked, direct;
};
struct room { /* for operands that are not in registers as they stand */
	_Alignas(16) uint8_t a[V_GROUP], b[V_GROUP], acc[V_GROUP], d[V_GROUP], quiet_b[V_GROUP];
};

static struct v_group group(const struct rv64_cpu *c, unsigned reg, int wider)
{
	return (struct v_group){(uint8_t)v_reg(reg), (int8_t)(c->v.lmul + wider),
				(int8_t)(c->v.sew + wider)};
}

static bool legal(const struct rv64_cpu *c, const struct slot *ip, const struct rv64_vkernel *k,
		  const struct shape *s, struct work *w)
{
	bool mask = s->how & RESULT_MASK;
	if (!v_ready(c) || !k->fn[c->v.sew] || (s->how & FP && !v_fp_ready(c))) return false;
	w->d = group(c, ip->rd, s->d);
	w->a = group(c, ip->rs2, s->a);
	w->b = group(c, ip->rs1, s->b);
	if (mask) w->d.emul = 0, w->d.eew = -3;
	w->masked = !ip->rm && !(s->how & (CARRY | UNMASKED));
	bool reads_mask = !ip->rm && !(s->how & UNMASKED);
	if (reads_mask && !mask && !w->d.reg) return false; /* 5.3: over its own mask */
	if (!v_fits(w->d) || !v_fits(w->a) || !v_apart(w->d, w->a)) return false;
	return s->second != VECTOR_1 || (v_fits(w->b) && v_apart(w->d, w->b));
}

static uint64_t scalar(const struct rv64_cpu *c, const struct slot *ip, unsigned second)
{
	if (second == SCALAR_X) return c->x[ip->rs1];
	return second == SCALAR_I ? (uint64_t)(int64_t)ip->imm : v_float(c, ip->rs1);
}
static void splat(void *to, uint64_t v, unsigned eew, unsigned n)
{
	static const uint64_t ones[4] = {0x0101010101010101, 0x0001000100010001, 0x100000001, 1};
	if (eew < 3) v &= (1ull << (8u << eew)) - 1;
	v *= ones[eew];
	for (unsigned i = 0; i < n << eew; i += 8) memcpy((char *)to + i, &v, 8);
}

/* A copy of an operand in which the elements that are not asked for leave no flags. */
static const void *quiet(const struct rv64_cpu *c, const struct work *w, enum rv64_vidle idle,
			 struct v_group g, uint8_t *to, const void *from)
{
	static const uint64_t one[4] = {0, 0x3c00, 0x3f800000, 0x3ff0000000000000};
	unsigned eew = (unsigned)g.eew, size = 1u << eew;
	if (idle == IDLE_ONE)
		splat(to, one[eew], eew, w->n);
	else
		memset(to, 0, (size_t)w->n << eew);
	for (unsigned i = c->v.start; i < c->v.vl; i++)
		if (!w->masked || v_bit(V_AT(c, 0), i))
			memcpy(to + (i << eew), (const char *)from + (i << eew), size);
	return to;
}

/* Kernels read a block before they write it, so an operand of the result's width may be it. */
static bool in_place(const struct shape *s, const struct work *w)
{
	unsigned d = w->d.reg, n = v_regs(w->d.emul);
	if (s->a != s->d && v_overlap(d, n, w->a.reg, v_regs(w->a.emul))) return false;
	return s->b == s->d || s->second != VECTOR_1 ||
	       !v_overlap(d, n, w->b.reg, v_regs(w->b.emul));
}
static void operands(struct rv64_cpu *c, const struct slot *ip, const struct rv64_vkernel *k,
		     const struct shape *s, struct work *w, struct room *r)
{
	unsigned widest = (unsigned)(s->d > s->a ? s->d : s->a) + c->v.sew, block = 16u >> widest;
	unsigned vl = c->v.vl;
	bool all = !w->masked && !c->v.start && !(vl & (block - 1));
	w->n = (vl + block - 1) & ~(block - 1);
	w->pa = V_AT(c, w->a.reg);
	w->pb = s->second == VECTOR_1 ? V_AT(c, w->b.reg) : r->b;
	w->acc = w->pd = V_AT(c, w->d.reg);
	w->direct = all && !(s->how & (RESULT_MASK | CARRY)) && in_place(s, w);
	if (!w->direct) w->pd = r->d;
	if (s->second != VECTOR_1 && s->second != NOTHING)
		splat(r->b, scalar(c, ip, s->second), (unsigned)w->b.eew, w->n);
	if (!k->idle || all) return;
	w->pa = quiet(c, w, k->idle, w->a, r->a, w->pa);
	if (!(s->how & RESULT_MASK)) w->acc = quiet(c, w, k->idle, w->d, r->acc, w->acc);
	if (s->second != NOTHING) w->pb = quiet(c, w, k->idle, w->b, r->quiet_b, w->pb);
}

/* 11.4: the mask is an operand, as bytes; without it there is no carry. */
static const void *carries(const struct rv64_cpu *c, const struct shape *s, uint8_t *to, unsigned n)
{
	for (unsigned i = 0; i < n; i++) to[i] = !(s->how & UNMASKED) && v_bit(V_AT(c, 0), i);
	return to;
}

static enum rv64_stop elementwise(struct rv64_cpu *c, const struct slot *ip,
				  const struct rv64_vkernel *k, const struct shape *s)
{
	struct work w;
	struct room r;
	if (!legal(c, ip, k, s, &w)) return v_illegal(c, ip);
	if (s->how & FP) c->fs_dirty = true;
	if (c->v.start >= c->v.vl) return v_done(c);
	operands(c, ip, k, s, &w, &r);
	if (s->how & CARRY) w.acc = carries(c, s, r.acc, w.n);
	k->fn[c->v.sew](c, w.pd, w.pa, w.pb, w.acc, w.n);
	if (s->how & RESULT_MASK)
		merge_bits(c, w.masked, w.d.reg, r.d, w.n);
	else if (!w.direct)
		rv64_v_merge(c, w.masked, V_AT(c, w.d.reg), r.d, (unsigned)w.d.eew, c->v.start,
			     c->v.vl);
	return v_done(c);
}

/* The common case of one width needs nothing of this: whole blocks, from the first to the last. */
static inline bool is_plain(const struct rv64_cpu *c, const struct slot *ip,
			    const struct rv64_vkernel *k, unsigned vs1, bool fp)
{
	unsigned bytes = (unsigned)c->v.vl << c->v.sew, low = v_regs(c->v.lmul) - 1;
	bool whole = ip->rm && !c->v.start && bytes && !(bytes & (V_REG - 1));
	bool aligned = !((v_reg(ip->rd) | ip->rs2 | vs1) & low);
	return whole && aligned && v_ready(c) && k->fn[c->v.sew] && (!fp || v_fp_ready(c));
}
#define PLAIN(name, second, how)                                                                   \
	enum rv64_stop rv64_v_##name(struct rv64_cpu *c, const struct slot *ip,                    \
				     const struct rv64_vkernel *k)                                 \
	{                                                                                          \
		static const struct shape shape = {0, 0, 0, second, how};                          \
		_Alignas(16) uint8_t b[V_GROUP];                                                   \
		const void *pb = b;                                                                \
		uint8_t *d = V_AT(c, v_reg(ip->rd));                                               \
		if (unlikely(!is_plain(c, ip, k, second == VECTOR_1 ? ip->rs1 : 0, how & FP)))     \
			return elementwise(c, ip, k, &shape);                                      \
		if (second == VECTOR_1)                                                            \
			pb = V_AT(c, ip->rs1);                                                     \
		else                                                                               \
			splat(b, scalar(c, ip, second), c->v.sew, c->v.vl);                        \
		if (how & FP) c->fs_dirty = true;                                                  \
		k->fn[c->v.sew](c, d, V_AT(c, ip->rs2), pb, d, c->v.vl);                           \
		return v_done(c);                                                                  \
	}
PLAIN(vv, VECTOR_1, 0)
PLAIN(vx, SCALAR_X, 0)
PLAIN(vi, SCALAR_I, 0)
PLAIN(fvv, VECTOR_1, FP)
PLAIN(fvf, SCALAR_F, FP)

/* Widths of result, vs2 and vs1; what vs1 is; what else is special. */
#define SHAPE(name, ...)                                                                           \
	enum rv64_stop rv64_v_##name(struct rv64_cpu *c, const struct slot *ip,                    \
				     const struct rv64_vkernel *k)                                 \
	{                                                                                          \
		static const struct shape shape = {__VA_ARGS__};                                   \
		return elementwise(c, ip, k, &shape);                                              \
	}
SHAPE(v1, 0, 0, 0, NOTHING, 0)
SHAPE(uvv, 0, 0, 0, VECTOR_1, UNMASKED)
SHAPE(uvx, 0, 0, 0, SCALAR_X, UNMASKED)
SHAPE(uvi, 0, 0, 0, SCALAR_I, UNMASKED)
SHAPE(mvv, 0, 0, 0, VECTOR_1, CARRY)
SHAPE(mvx, 0, 0, 0, SCALAR_X, CARRY)
SHAPE(mvi, 0, 0, 0, SCALAR_I, CARRY)
SHAPE(wvv, 1, 0, 0, VECTOR_1, 0)
SHAPE(wvx, 1, 0, 0, SCALAR_X, 0)
SHAPE(wvi, 1, 0, 0, SCALAR_I, 0)
SHAPE(wwvv, 1, 1, 0, VECTOR_1, 0)
SHAPE(wwvx, 1, 1, 0, SCALAR_X, 0)
SHAPE(nvv, 0, 1, 0, VECTOR_1, 0)
SHAPE(nvx, 0, 1, 0, SCALAR_X, 0)
SHAPE(nvi, 0, 1, 0, SCALAR_I, 0)
SHAPE(ext2, 0, -1, 0, NOTHING, 0)
SHAPE(ext4, 0, -2, 0, NOTHING, 0)
SHAPE(ext8, 0, -3, 0, NOTHING, 0)
SHAPE(cvv, 0, 0, 0, VECTOR_1, RESULT_MASK)
SHAPE(cvx, 0, 0, 0, SCALAR_X, RESULT_MASK)
SHAPE(cvi, 0, 0, 0, SCALAR_I, RESULT_MASK)
SHAPE(cmvv, 0, 0, 0, VECTOR_1, RESULT_MASK | CARRY)
SHAPE(cmvx, 0, 0, 0, SCALAR_X, RESULT_MASK | CARRY)
SHAPE(cmvi, 0, 0, 0, SCALAR_I, RESULT_MASK | CARRY)
SHAPE(cuvv, 0, 0, 0, VECTOR_1, RESULT_MASK | CARRY | UNMASKED)
SHAPE(cuvx, 0, 0, 0, SCALAR_X, RESULT_MASK | CARRY | UNMASKED)
SHAPE(cuvi, 0, 0, 0, SCALAR_I, RESULT_MASK | CARRY | UNMASKED)
SHAPE(fuvf, 0, 0, 0, SCALAR_F, FP | UNMASKED)
SHAPE(fmvf, 0, 0, 0, SCALAR_F, FP | CARRY)
SHAPE(f1, 0, 0, 0, NOTHING, FP)
SHAPE(fw1, 1, 0, 0, NOTHING, FP)
SHAPE(fn1, 0, 1, 0, NOTHING, FP)
SHAPE(fwvv, 1, 0, 0, VECTOR_1, FP)
SHAPE(fwvf, 1, 0, 0, SCALAR_F, FP)
SHAPE(fwwvv, 1, 1, 0, VECTOR_1, FP)
SHAPE(fwwvf, 1, 1, 0, SCALAR_F, FP)
SHAPE(fcvv, 0, 0, 0, VECTOR_1, FP | RESULT_MASK)
SHAPE(fcvf, 0, 0, 0, SCALAR_F, FP | RESULT_MASK)
