/* Vector loads and stores (V specification, 7). One loop serves them all: it goes over elements,
 * and takes at once as many as lie one behind the other in a page that the TLB knows. A trap
 * leaves in vstart where to go on; a fault-only-first load becomes shorter instead. */
#include "engine/rv64_vector.h"

#define SHAPE(name)                                                                                \
	enum rv64_stop rv64_v_##name(struct rv64_cpu *c, const struct slot *ip, unsigned bits)

enum order { UNIT, STRIDE, INDEX };
struct access {
	gva_t base;
	uint64_t stride;
	const uint8_t *index;
	unsigned vd, vl, fields, regs; /* registers of one field */
	uint8_t eew, index_eew;	       /* log2 of bytes */
	uint8_t order;
	bool store, masked, first, late; /* first: fault-only-first; late: look at interrupts */
};

static uint8_t *place(struct rv64_cpu *c, const struct access *a, unsigned i, unsigned field)
{
	return V_AT(c, a->vd + field * a->regs) + ((size_t)i << a->eew);
}
static gva_t address(const struct access *a, unsigned i)
{
	if (a->order == UNIT) return a->base + (uint64_t)(i * a->fields << a->eew);
	if (a->order == STRIDE) return a->base + i * a->stride;
	return a->base + load_le(a->index + ((size_t)i << a->index_eew), 1u << a->index_eew);
}
/* Host memory for bytes at va, all in one page; NULL: go the long way. */
static uint8_t *known(const struct rv64_cpu *c, const struct access *a, gva_t va, unsigned bytes)
{
	const struct tlb_entry *e = &(a->store ? c->wr : c->rd)[va >> PAGE_SHIFT & (TLB_SIZE - 1)];
	bool hit = (((va + bytes - 1) & PAGE_MASK) | c->dctx) == e->tag;
	return likely(hit) ? (uint8_t *)(va + e->host) : NULL;
}
static void copy(uint8_t *to, const uint8_t *from, unsigned eew)
{
	switch (eew) {
	case 0: memcpy(to, from, 1); break;
	case 1: memcpy(to, from, 2); break;
	case 2: memcpy(to, from, 4); break;
	default: memcpy(to, from, 8); break;
	}
}
static enum rv64_stop one(struct rv64_cpu *c, struct access *a, gva_t va, uint8_t *reg)
{
	unsigned size = 1u << a->eew;
	uint8_t *host = known(c, a, va, size);
	if (likely(host != NULL)) {
		a->store ? copy(host, reg, a->eew) : copy(reg, host, a->eew);
		return STOP_NOT;
	}
	enum rv64_stop stop =
		a->store ? rv64_store(c, va, load_le(reg, size), size) : rv64_load(c, va, size);
	if (stop == STOP_TRAP) return stop;
	if (!a->store) store_le(reg, c->val, size);
	a->late |= stop == STOP_NEXT;
	return STOP_NOT;
}
/* Elements from i on that can be taken at once: in one piece both in memory and in registers. */
static unsigned together(const struct rv64_cpu *c, const struct access *a, unsigned i,
			 uint8_t **host)
{
	gva_t va = address(a, i);
	unsigned n = (unsigned)((PAGE_SIZE - (va & ~PAGE_MASK)) >> a->eew);
	if (a->order != UNIT || a->fields > 1 || !n) return 0;
	if (n > a->vl - i) n = a->vl - i;
	*host = known(c, a, va, n << a->eew);
	return *host ? n : 0;
}
static enum rv64_stop fields(struct rv64_cpu *c, struct access *a, unsigned i)
{
	gva_t va = address(a, i);
	for (unsigned f = 0; f < a->fields; f++)
		if (one(c, a, va + (f << a->eew), place(c, a, i, f))) return STOP_TRAP;
	return STOP_NOT;
}
/* n elements at once. What is masked off is not written, not even with what was there. */
static void run(struct rv64_cpu *c, const struct access *a, unsigned i, unsigned n, uint8_t *host)
{
	uint8_t *reg = place(c, a, i, 0);
	if (!a->masked && a->store)
		memcpy(host, reg, (size_t)n << a->eew);
	else if (!a->store)
		rv64_v_merge(c, a->masked, place(c, a, 0, 0), host - ((size_t)i << a->eew), a->eew,
			     i, i + n);
	else
		for (unsigned k = 0; k < n; k++)
			if (v_bit(V_AT(c, 0), i + k))
				copy(host + ((size_t)k << a->eew), reg + ((size_t)k << a->eew),
				     a->eew);
}
static enum rv64_stop transfer(struct rv64_cpu *c, struct access *a)
{
	unsigned i = c->v.start, n;
	uint8_t *host = NULL;
	for (; i < a->vl; i += n) {
		n = together(c, a, i, &host);
		if (n) {
			run(c, a, i, n, host);
			continue;
		}
		n = 1;
		if (!v_active(c, a->masked, i) || !fields(c, a, i)) continue;
		c->v.dirty = true;
		c->v.start = (uint8_t)i;
		if (!a->first || !i) return STOP_TRAP;
		c->v.vl = (uint8_t)i; /* 7.7 */
		break;
	}
	(void)v_done(c);
	return a->late ? STOP_NEXT : STOP_NOT;
}

/* ---- what the instructions make of it ---- */
static bool data_fits(const struct access *a, int emul)
{
	struct v_group g = {(uint8_t)a->vd, (int8_t)emul, (int8_t)a->eew};
	unsigned regs = a->fields * v_regs(emul);
	if (!v_fits(g) || regs > 8 || a->vd + regs > V_REGS) return false;
	return a->store || !a->masked || a->vd;
}
static struct access access(const struct rv64_cpu *c, const struct slot *ip, unsigned eew,
			    enum order order)
{
	return (struct access){.base = c->x[ip->rs1],
			       .vd = v_reg(ip->rd),
			       .vl = c->v.vl,
			       .fields = ip->rs3 ? ip->rs3 : 1,
			       .eew = (uint8_t)eew,
			       .order = (uint8_t)order,
			       .masked = !ip->rm};
}
static unsigned log2_bytes(unsigned bits) { return (unsigned)__builtin_ctz(bits) - 3; }

static enum rv64_stop plain(struct rv64_cpu *c, const struct slot *ip, unsigned bits,
			    enum order order, bool store, bool first)
{
	struct access a = access(c, ip, log2_bytes(bits), order);
	int emul = a.eew - c->v.sew + c->v.lmul;
	a.stride = c->x[ip->rs2];
	a.store = store;
	a.first = first;
	a.regs = v_regs(emul);
	if (!v_ready(c) || !data_fits(&a, emul)) return v_illegal(c, ip);
	return transfer(c, &a);
}
/* The common case: all elements side by side in a page that the TLB knows. */
static inline uint8_t *at_once(const struct rv64_cpu *c, const struct slot *ip, unsigned bits,
			       bool store, unsigned *bytes)
{
	const struct access a = {.store = store};
	int eew = (int)log2_bytes(bits), emul = eew - c->v.sew + c->v.lmul;
	struct v_group g = {(uint8_t)v_reg(ip->rd), (int8_t)emul, (int8_t)eew};
	*bytes = (unsigned)c->v.vl << eew;
	if (!ip->rm || c->v.start || !*bytes || ip->rs3 > 1 || !v_ready(c) || !v_fits(g))
		return NULL;
	return known(c, &a, c->x[ip->rs1], *bytes);
}
SHAPE(load)
{
	unsigned n;
	const uint8_t *host = at_once(c, ip, bits, false, &n);
	if (unlikely(!host)) return plain(c, ip, bits, UNIT, false, false);
	memcpy(V_AT(c, v_reg(ip->rd)), host, n);
	return v_done(c);
}
SHAPE(load_first) { return plain(c, ip, bits, UNIT, false, true); }
SHAPE(load_stride) { return plain(c, ip, bits, STRIDE, false, false); }
SHAPE(store)
{
	unsigned n;
	uint8_t *host = at_once(c, ip, bits, true, &n);
	if (unlikely(!host)) return plain(c, ip, bits, UNIT, true, false);
	memcpy(host, V_AT(c, v_reg(ip->rd)), n);
	return v_done(c);
}
SHAPE(store_stride) { return plain(c, ip, bits, STRIDE, true, false); }

/* 7.8.3: a segment may not lie over its own index. */
static bool index_fits(const struct access *a, struct v_group d, struct v_group index)
{
	if (!v_fits(index)) return false;
	if (a->store) return true;
	if (a->fields == 1) return v_apart(d, index);
	return !v_overlap(a->vd, a->fields * a->regs, index.reg, v_regs(index.emul));
}
static enum rv64_stop indexed(struct rv64_cpu *c, const struct slot *ip, unsigned bits, bool store)
{
	struct access a = access(c, ip, c->v.sew, INDEX);
	struct v_group d = {(uint8_t)a.vd, c->v.lmul, (int8_t)c->v.sew}, index = {.reg = ip->rs2};
	index.eew = (int8_t)log2_bytes(bits);
	index.emul = (int8_t)(index.eew - c->v.sew + c->v.lmul);
	a.store = store;
	a.regs = v_regs(c->v.lmul);
	a.index = V_AT(c, ip->rs2);
	a.index_eew = (uint8_t)index.eew;
	if (!v_ready(c) || !data_fits(&a, c->v.lmul) || !index_fits(&a, d, index))
		return v_illegal(c, ip);
	return transfer(c, &a);
}
SHAPE(load_index) { return indexed(c, ip, bits, false); }
SHAPE(store_index) { return indexed(c, ip, bits, true); }

/* 7.4: as many bytes as vl bits need. */
static enum rv64_stop mask(struct rv64_cpu *c, const struct slot *ip, unsigned bits, bool store)
{
	struct access a = access(c, ip, log2_bytes(bits), UNIT);
	a.vl = (c->v.vl + 7u) / 8;
	a.regs = 1;
	a.store = store;
	a.masked = false;
	return v_ready(c) ? transfer(c, &a) : v_illegal(c, ip);
}
SHAPE(load_mask) { return mask(c, ip, bits, false); }
SHAPE(store_mask) { return mask(c, ip, bits, true); }

/* 7.9: whatever vtype and vl are. */
static enum rv64_stop whole(struct rv64_cpu *c, const struct slot *ip, unsigned bits, unsigned regs,
			    bool store)
{
	struct access a = access(c, ip, log2_bytes(bits), UNIT);
	a.vl = regs * V_REG >> a.eew;
	a.regs = regs;
	a.store = store;
	a.masked = false;
	if (!c->v.on || a.vd & (regs - 1)) return v_illegal(c, ip);
	return transfer(c, &a);
}
SHAPE(load_whole1) { return whole(c, ip, bits, 1, false); }
SHAPE(load_whole2) { return whole(c, ip, bits, 2, false); }
SHAPE(load_whole4) { return whole(c, ip, bits, 4, false); }
SHAPE(load_whole8) { return whole(c, ip, bits, 8, false); }
SHAPE(store_whole1) { return whole(c, ip, bits, 1, true); }
SHAPE(store_whole2) { return whole(c, ip, bits, 2, true); }
SHAPE(store_whole4) { return whole(c, ip, bits, 4, true); }
SHAPE(store_whole8) { return whole(c, ip, bits, 8, true); }
