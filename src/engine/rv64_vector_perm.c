/* Vector instructions that look across elements: reductions, masks, permutations (V specification,
 * 14 to 16), and whole registers. */
#include "engine/rv64_vector.h"

#define SHAPE(name)                                                                                \
	enum rv64_stop rv64_v_##name(struct rv64_cpu *c, const struct slot *ip,                    \
				     const struct rv64_vkernel *k)

static struct v_group group(const struct rv64_cpu *c, unsigned reg)
{
	return (struct v_group){(uint8_t)v_reg(reg), c->v.lmul, (int8_t)c->v.sew};
}
static uint64_t element(const void *p, unsigned i, unsigned eew)
{
	const char *at = (const char *)p + ((size_t)i << eew);
	switch (eew) {
	case 0: return load_le(at, 1);
	case 1: return load_le(at, 2);
	case 2: return load_le(at, 4);
	default: return load_le(at, 8);
	}
}
static void set_element(void *p, unsigned i, unsigned eew, uint64_t v)
{
	char *at = (char *)p + ((size_t)i << eew);
	switch (eew) {
	case 0: store_le(at, v, 1); break;
	case 1: store_le(at, v, 2); break;
	case 2: store_le(at, v, 4); break;
	default: store_le(at, v, 8); break;
	}
}
/* The elements of p that m has, one behind the other; how many. */
static unsigned gather_active(void *to, const void *p, const uint8_t *m, unsigned eew, unsigned vl)
{
	unsigned n = 0;
	for (unsigned i = 0; i < vl; i++)
		if (v_bit(m, i)) set_element(to, n++, eew, element(p, i, eew));
	return n;
}

/* ---- reductions (14): vd[0] = vs1[0] and the active elements of vs2 ---- */
static enum rv64_stop reduce(struct rv64_cpu *c, const struct slot *ip,
			     const struct rv64_vkernel *k, bool wide, bool fp)
{
	_Alignas(16) uint8_t active[V_GROUP], sum[8];
	const void *a = V_AT(c, ip->rs2);
	unsigned n = c->v.vl;
	if (!v_ready(c) || c->v.start || !k->fn[c->v.sew] || !v_fits(group(c, ip->rs2)) ||
	    (fp && !v_fp_ready(c)))
		return v_illegal(c, ip);
	if (fp) c->fs_dirty = true;
	if (!n) return v_done(c);
	if (!ip->rm) {
		n = gather_active(active, a, V_AT(c, 0), c->v.sew, n);
		a = active;
	}
	memcpy(sum, V_AT(c, ip->rs1), 8);
	k->fn[c->v.sew](c, sum, a, NULL, NULL, n);
	memcpy(V_AT(c, v_reg(ip->rd)), sum, (size_t)1 << (c->v.sew + wide));
	return v_done(c);
}
SHAPE(rvv) { return reduce(c, ip, k, false, false); }
SHAPE(rwvv) { return reduce(c, ip, k, true, false); }
SHAPE(frvv) { return reduce(c, ip, k, false, true); }
SHAPE(frwvv) { return reduce(c, ip, k, true, true); }

/* ---- masks (15) ---- */
static v_mask active(const struct rv64_cpu *c, const struct slot *ip)
{
	return ip->rm ? v_body(c) : v_body(c) & v_mask_get(c, 0);
}
static unsigned lowest(v_mask m)
{
	uint64_t low = (uint64_t)m, high = (uint64_t)(m >> 64);
	return (unsigned)(low ? __builtin_ctzll(low) : 64 + __builtin_ctzll(high));
}
static unsigned count(v_mask m)
{
	return (unsigned)(__builtin_popcountll((uint64_t)m) +
			  __builtin_popcountll((uint64_t)(m >> 64)));
}

#define LOGICAL(name, expr)                                                                        \
	static void name(struct rv64_cpu *c, void *d, const void *a, const void *b, const void *z, \
			 unsigned n)                                                               \
	{                                                                                          \
		v_mask p, q;                                                                       \
		(void)c, (void)z, (void)n;                                                         \
		memcpy(&p, a, sizeof(p));                                                          \
		memcpy(&q, b, sizeof(q));                                                          \
		p = (expr);                                                                        \
		memcpy(d, &p, sizeof(p));                                                          \
	}                                                                                          \
	const struct rv64_vkernel rv64_vk_##name = {{name}, IDLE_ANY};
LOGICAL(mandn, p & ~q)
LOGICAL(mand, p &q)
LOGICAL(mor, p | q)
LOGICAL(mxor, p ^ q)
LOGICAL(morn, p | ~q)
LOGICAL(mnand, ~(p &q))
LOGICAL(mnor, ~(p | q))
LOGICAL(mxnor, ~(p ^ q))
SHAPE(mask)
{
	v_mask r;
	if (!v_ready(c)) return v_illegal(c, ip);
	k->fn[0](c, &r, V_AT(c, ip->rs2), V_AT(c, ip->rs1), NULL, 0);
	v_mask_put(c, v_reg(ip->rd), r, v_body(c));
	return v_done(c);
}

const struct rv64_vkernel rv64_vk_none;
SHAPE(cpop)
{
	(void)k;
	if (!v_ready(c) || c->v.start) return v_illegal(c, ip);
	c->x[ip->rd] = count(v_mask_get(c, ip->rs2) & active(c, ip));
	return v_done(c);
}
SHAPE(first)
{
	(void)k;
	if (!v_ready(c) || c->v.start) return v_illegal(c, ip);
	v_mask m = v_mask_get(c, ip->rs2) & active(c, ip);
	c->x[ip->rd] = m ? lowest(m) : ~0ull;
	return v_done(c);
}

/* Set the bits before the first one, up to it, or it alone. */
const struct rv64_vkernel rv64_vk_before, rv64_vk_only, rv64_vk_including;
SHAPE(set)
{
	unsigned vd = v_reg(ip->rd);
	bool over = vd == ip->rs2 || (!ip->rm && !vd);
	if (!v_ready(c) || c->v.start || over) return v_illegal(c, ip);
	v_mask all = active(c, ip), m = v_mask_get(c, ip->rs2) & all;
	v_mask before = m ? v_below(lowest(m)) : ~(v_mask)0, first = m & -m;
	v_mask r = k == &rv64_vk_only ? first : k == &rv64_vk_before ? before : before | first;
	v_mask_put(c, vd, r, all);
	return v_done(c);
}

/* vd may lie over neither its own v_mask nor, as a group, over the register other. */
static bool result_fits(const struct rv64_cpu *c, const struct slot *ip, unsigned other,
			unsigned others)
{
	struct v_group d = group(c, ip->rd);
	return v_fits(d) && (ip->rm || d.reg) && !v_overlap(d.reg, v_regs(d.emul), other, others);
}
SHAPE(iota)
{
	(void)k;
	if (!v_ready(c) || c->v.start || !result_fits(c, ip, ip->rs2, 1)) return v_illegal(c, ip);
	v_mask all = active(c, ip), m = v_mask_get(c, ip->rs2) & all;
	uint8_t *vd = V_AT(c, v_reg(ip->rd));
	unsigned n = 0;
	for (unsigned i = 0; i < c->v.vl; i++) {
		if (all >> i & 1) set_element(vd, i, c->v.sew, n);
		n += (unsigned)(m >> i) & 1;
	}
	return v_done(c);
}
SHAPE(id)
{
	struct v_group d = group(c, ip->rd);
	(void)k;
	if (!v_ready(c) || !v_fits(d) || (!ip->rm && !d.reg)) return v_illegal(c, ip);
	v_mask all = active(c, ip);
	for (unsigned i = c->v.start; i < c->v.vl; i++)
		if (all >> i & 1) set_element(V_AT(c, d.reg), i, c->v.sew, i);
	return v_done(c);
}

/* ---- scalars (16.1, 16.2) ---- */
SHAPE(mv_x_s)
{
	(void)k;
	if (!v_ready(c)) return v_illegal(c, ip);
	unsigned unused = 64 - (8u << c->v.sew);
	uint64_t v = element(V_AT(c, ip->rs2), 0, c->v.sew);
	c->x[ip->rd] = (uint64_t)((int64_t)(v << unused) >> unused);
	return v_done(c);
}
SHAPE(mv_s_x)
{
	(void)k;
	if (!v_ready(c)) return v_illegal(c, ip);
	if (c->v.start < c->v.vl) set_element(V_AT(c, v_reg(ip->rd)), 0, c->v.sew, c->x[ip->rs1]);
	return v_done(c);
}
SHAPE(mv_f_s)
{
	(void)k;
	if (!v_ready(c) || !v_fp_ready(c) || !c->v.sew) return v_illegal(c, ip);
	uint64_t box = c->v.sew < 3 ? ~0ull << (8u << c->v.sew) : 0;
	c->f[v_reg(ip->rd)] = element(V_AT(c, ip->rs2), 0, c->v.sew) | box;
	c->fs_dirty = true;
	return v_done(c);
}
SHAPE(mv_s_f)
{
	(void)k;
	if (!v_ready(c) || !v_fp_ready(c) || !c->v.sew) return v_illegal(c, ip);
	if (c->v.start < c->v.vl)
		set_element(V_AT(c, v_reg(ip->rd)), 0, c->v.sew, v_float(c, ip->rs1));
	return v_done(c);
}

/* ---- slides (16.3): the group moved within zeroes ---- */
struct slide {
	uint8_t d[V_GROUP], *vd;
	const uint8_t *a;
	unsigned bytes; /* of the group's elements */
};
static bool slide_begin(struct rv64_cpu *c, const struct slot *ip, bool up, struct slide *s)
{
	struct v_group a = group(c, ip->rs2);
	s->vd = V_AT(c, v_reg(ip->rd));
	s->a = V_AT(c, ip->rs2);
	s->bytes = (unsigned)c->v.vlmax << c->v.sew;
	return v_ready(c) && v_fits(a) && result_fits(c, ip, a.reg, up ? v_regs(a.emul) : 0);
}
static enum rv64_stop slide_end(struct rv64_cpu *c, const struct slot *ip, const struct slide *s,
				uint64_t from)
{
	unsigned start = from > c->v.start ? (unsigned)from : c->v.start;
	rv64_v_merge(c, !ip->rm, s->vd, s->d, c->v.sew, start, c->v.vl);
	return v_done(c);
}
static enum rv64_stop slide_up(struct rv64_cpu *c, const struct slot *ip, uint64_t by)
{
	struct slide s;
	if (!slide_begin(c, ip, true, &s)) return v_illegal(c, ip);
	if (by > c->v.vlmax) by = c->v.vlmax;
	memcpy(s.d + (by << c->v.sew), s.a, s.bytes - (by << c->v.sew));
	return slide_end(c, ip, &s, by);
}
static enum rv64_stop slide_down(struct rv64_cpu *c, const struct slot *ip, uint64_t by)
{
	struct slide s;
	if (!slide_begin(c, ip, false, &s)) return v_illegal(c, ip);
	if (by > c->v.vlmax) by = c->v.vlmax;
	unsigned off = (unsigned)by << c->v.sew;
	memcpy(s.d, s.a + off, s.bytes - off);
	memset(s.d + s.bytes - off, 0, off);
	return slide_end(c, ip, &s, 0);
}
SHAPE(slideup_vx) { return (void)k, slide_up(c, ip, c->x[ip->rs1]); }
SHAPE(slideup_vi) { return (void)k, slide_up(c, ip, (uint64_t)ip->imm); }
SHAPE(slidedown_vx) { return (void)k, slide_down(c, ip, c->x[ip->rs1]); }
SHAPE(slidedown_vi) { return (void)k, slide_down(c, ip, (uint64_t)ip->imm); }

static enum rv64_stop slide1_up(struct rv64_cpu *c, const struct slot *ip, uint64_t v)
{
	struct slide s;
	unsigned size = 1u << c->v.sew;
	if (!slide_begin(c, ip, true, &s)) return v_illegal(c, ip);
	set_element(s.d, 0, c->v.sew, v);
	memcpy(s.d + size, s.a, s.bytes - size);
	return slide_end(c, ip, &s, 0);
}
static enum rv64_stop slide1_down(struct rv64_cpu *c, const struct slot *ip, uint64_t v)
{
	struct slide s;
	unsigned size = 1u << c->v.sew;
	if (!slide_begin(c, ip, false, &s)) return v_illegal(c, ip);
	memcpy(s.d, s.a + size, s.bytes - size);
	if (c->v.vl) set_element(s.d, c->v.vl - 1u, c->v.sew, v);
	return slide_end(c, ip, &s, 0);
}
static bool fp_slide(struct rv64_cpu *c)
{
	if (!v_ready(c) || !v_fp_ready(c) || !c->v.sew) return false;
	c->fs_dirty = true;
	return true;
}
SHAPE(slide1up_vx) { return (void)k, slide1_up(c, ip, c->x[ip->rs1]); }
SHAPE(slide1down_vx) { return (void)k, slide1_down(c, ip, c->x[ip->rs1]); }
SHAPE(slide1up_vf)
{
	(void)k;
	return fp_slide(c) ? slide1_up(c, ip, v_float(c, ip->rs1)) : v_illegal(c, ip);
}
SHAPE(slide1down_vf)
{
	(void)k;
	return fp_slide(c) ? slide1_down(c, ip, v_float(c, ip->rs1)) : v_illegal(c, ip);
}

/* ---- gather and compress (16.4, 16.5) ---- */
#define GATHER(name, T, I)                                                                         \
	static void name(void *d, const void *a, const void *b, unsigned n, unsigned max)          \
	{                                                                                          \
		for (unsigned i = 0; i < n; i++) {                                                 \
			I at;                                                                      \
			T v = 0;                                                                   \
			memcpy(&at, (const I *)b + i, sizeof(at));                                 \
			if (at < max) memcpy(&v, (const T *)a + at, sizeof(v));                    \
			memcpy((T *)d + i, &v, sizeof(v));                                         \
		}                                                                                  \
	}
GATHER(gather_8, uint8_t, uint8_t)
GATHER(gather_16, uint16_t, uint16_t)
GATHER(gather_32, uint32_t, uint32_t)
GATHER(gather_64, uint64_t, uint64_t)
GATHER(gather16_8, uint8_t, uint16_t)
GATHER(gather16_32, uint32_t, uint16_t)
GATHER(gather16_64, uint64_t, uint16_t)
typedef void gather_fn(void *d, const void *a, const void *b, unsigned n, unsigned max);

static enum rv64_stop gather(struct rv64_cpu *c, const struct slot *ip, struct v_group index,
			     gather_fn *const fn[4])
{
	uint8_t d[V_GROUP];
	struct v_group a = group(c, ip->rs2);
	if (!v_ready(c) || !v_fits(a) || !v_fits(index) ||
	    !result_fits(c, ip, a.reg, v_regs(a.emul)) ||
	    !result_fits(c, ip, index.reg, v_regs(index.emul)))
		return v_illegal(c, ip);
	fn[c->v.sew](d, V_AT(c, a.reg), V_AT(c, index.reg), c->v.vl, c->v.vlmax);
	rv64_v_merge(c, !ip->rm, V_AT(c, v_reg(ip->rd)), d, c->v.sew, c->v.start, c->v.vl);
	return v_done(c);
}
SHAPE(gather_vv)
{
	static gather_fn *const fn[4] = {gather_8, gather_16, gather_32, gather_64};
	(void)k;
	return gather(c, ip, group(c, ip->rs1), fn);
}
SHAPE(gather16_vv)
{
	static gather_fn *const fn[4] = {gather16_8, gather_16, gather16_32, gather16_64};
	struct v_group index = {ip->rs1, (int8_t)(c->v.lmul + 1 - c->v.sew), 1};
	(void)k;
	return gather(c, ip, index, fn);
}
/* One element to all places. */
static enum rv64_stop spread(struct rv64_cpu *c, const struct slot *ip, uint64_t at)
{
	uint8_t d[V_GROUP];
	struct v_group a = group(c, ip->rs2);
	if (!v_ready(c) || !v_fits(a) || !result_fits(c, ip, a.reg, v_regs(a.emul)))
		return v_illegal(c, ip);
	uint64_t v = at < c->v.vlmax ? element(V_AT(c, a.reg), (unsigned)at, c->v.sew) : 0;
	for (unsigned i = 0; i < c->v.vl; i++) set_element(d, i, c->v.sew, v);
	rv64_v_merge(c, !ip->rm, V_AT(c, v_reg(ip->rd)), d, c->v.sew, c->v.start, c->v.vl);
	return v_done(c);
}
SHAPE(gather_vx) { return (void)k, spread(c, ip, c->x[ip->rs1]); }
SHAPE(gather_vi) { return (void)k, spread(c, ip, (uint64_t)ip->imm); }

SHAPE(compress)
{
	struct v_group a = group(c, ip->rs2), d = group(c, ip->rd);
	unsigned nd = v_regs(d.emul);
	(void)k;
	if (!v_ready(c) || c->v.start || !v_fits(a) || !v_fits(d) ||
	    v_overlap(d.reg, nd, a.reg, v_regs(a.emul)) || v_overlap(d.reg, nd, ip->rs1, 1))
		return v_illegal(c, ip);
	(void)gather_active(V_AT(c, d.reg), V_AT(c, a.reg), V_AT(c, ip->rs1), c->v.sew, c->v.vl);
	return v_done(c);
}

/* ---- whole registers (16.6): as many elements of SEW as they hold ---- */
static enum rv64_stop whole(struct rv64_cpu *c, const struct slot *ip, unsigned regs)
{
	unsigned vd = v_reg(ip->rd), from = (unsigned)c->v.start << c->v.sew, bytes = regs * V_REG;
	if (!v_ready(c) || (vd | ip->rs2) & (regs - 1)) return v_illegal(c, ip);
	if (from < bytes) memmove(V_AT(c, vd) + from, V_AT(c, ip->rs2) + from, bytes - from);
	return v_done(c);
}
SHAPE(whole1) { return (void)k, whole(c, ip, 1); }
SHAPE(whole2) { return (void)k, whole(c, ip, 2); }
SHAPE(whole4) { return (void)k, whole(c, ip, 4); }
SHAPE(whole8) { return (void)k, whole(c, ip, 8); }
