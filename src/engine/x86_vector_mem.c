/* Vector instructions that look at memory element by element, each only if a mask says so: gathers,
 * masked moves. SDM 2, their pages. */
#include "engine/x86_vector_impl.h"
#include "isa/x86/table.h"
#include "isa/x86/x86.info.inc"

struct x86_vector_memory x86_vector_memory = {x86_load, x86_store, x86_probe};

/* In pieces of what x86_load takes. What is wrong with the second of them is found before the first
 * is written. */
int x86_load_long(struct x86_vcpu *v, uint64_t la, void *to, unsigned n)
{
	uint8_t *p = to;
	for (unsigned i = 0; i < n; i += 64) {
		unsigned k = n - i < 64 ? n - i : 64;
		int e = x86_vector_load(v, x86_la(v, la + i), p + i, k);
		if (e) return e;
	}
	return 0;
}
int x86_store_long(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n)
{
	const uint8_t *p = from;
	for (unsigned i = 0; n > 64 && i < n; i += 64) {
		int e = x86_vector_probe(v, x86_la(v, la + i), n - i < 64 ? n - i : 64);
		if (e) return e;
	}
	for (unsigned i = 0; i < n; i += 64) {
		int e = x86_vector_store(v, x86_la(v, la + i), p + i, n - i < 64 ? n - i : 64);
		if (e) return e;
	}
	return 0;
}

/* A vector register of the guest's, outside the area. */
struct reg {
	uint8_t b[32];
};
static struct reg get(const struct x86_vcpu *v, unsigned reg)
{
	struct reg r;
	memcpy(r.b, v->x.bytes + X_XMM + 16 * (reg & 15), 16);
	memcpy(r.b + 16, v->x.bytes + X_YMM + 16 * (reg & 15), 16);
	return r;
}
static void set(struct x86_vcpu *v, unsigned reg, const struct reg *r)
{
	memcpy(v->x.bytes + X_XMM + 16 * (reg & 15), r->b, 16);
	memcpy(v->x.bytes + X_YMM + 16 * (reg & 15), r->b + 16, 16);
}
static bool chosen(const struct reg *mask, unsigned i, unsigned size)
{
	return mask->b[(i + 1) * size - 1] >> 7;
}
static uint64_t short_address(const struct x86_insn *in, uint64_t off)
{
	return in->asize == 8 ? off : in->asize == 4 ? (uint32_t)off : (uint16_t)off;
}

/* ---- gathers ---- */

struct gather {
	unsigned size, isize, n; /* of an element, of an index; how many */
};
static struct gather gather_of(const struct x86_insn *in)
{
	unsigned whole = in->vl ? 32 : 16;
	struct gather g = {.size = in->o[1].size, .isize = x86_opcode(in) & 1 ? 8 : 4};
	g.n = whole / (g.size > g.isize ? g.size : g.isize);
	return g;
}
static int load_element(struct x86_vcpu *v, const struct x86_insn *in, uint64_t index, void *to,
			unsigned size)
{
	uint64_t la, base = in->base < 16 ? v->cpu.r[in->base] : 0;
	uint64_t off = short_address(in, base + index * in->scale + (uint64_t)in->disp);
	int e = x86_linear(v, in->seg, off, size, false, &la);
	return e ? e : x86_vector_load(v, la, to, size);
}
/* A fault keeps what came before it: those elements, and their mask bits cleared. */
static int do_gather(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct gather g = gather_of(in);
	struct reg to = get(v, in->o[0].reg), mask = get(v, in->o[2].reg);
	struct reg index = get(v, in->index);
	int e = 0;
	for (unsigned i = 0; i < g.n; i++)
		memset(mask.b + i * g.size, chosen(&mask, i, g.size) ? 0xff : 0, g.size);
	for (unsigned i = 0; i < g.n && !e; i++) {
		int64_t at = (int64_t)load_le(index.b + i * g.isize, g.isize);
		if (g.isize == 4) at = (int32_t)at;
		if (chosen(&mask, i, g.size))
			e = load_element(v, in, (uint64_t)at, to.b + i * g.size, g.size);
		if (!e) memset(mask.b + i * g.size, 0, g.size);
	}
	unsigned used = g.n * g.size;
	if (!e) memset(to.b + used, 0, 32 - used);
	memset(mask.b + used, 0, 32 - used);
	set(v, in->o[0].reg, &to);
	set(v, in->o[2].reg, &mask);
	return e;
}

/* ---- vmaskmovps and such ---- */

/* Elements that are not chosen are not looked at, not even whether their address is one. */
static int element_la(struct x86_vcpu *v, const struct x86_insn *in, unsigned off, unsigned size,
		      bool write, uint64_t *la)
{
	uint64_t at = x86_operand_ea(v, in) + off;
	if (in->mode != X86_64) at = short_address(in, at);
	return x86_linear(v, in->seg, at, size, write, la);
}
static int do_mask_load(struct x86_vcpu *v, const struct x86_insn *in, unsigned size)
{
	struct reg mask = get(v, in->o[1].reg), to = {0};
	uint64_t la;
	for (unsigned i = 0; i < in->o[2].size / size; i++) {
		if (!chosen(&mask, i, size)) continue;
		int e = element_la(v, in, i * size, size, false, &la);
		if (!e) e = x86_vector_load(v, la, to.b + i * size, size);
		if (e) return e;
	}
	set(v, in->o[0].reg, &to);
	return 0;
}
/* First whether all may be written, then all. */
static int do_mask_store(struct x86_vcpu *v, const struct x86_insn *in, unsigned size)
{
	struct reg mask = get(v, in->o[1].reg), from = get(v, in->o[2].reg);
	unsigned n = in->o[0].size / size;
	uint64_t la;
	for (unsigned i = 0; i < 2 * n; i++) {
		unsigned k = i % n;
		if (!chosen(&mask, k, size)) continue;
		int e = element_la(v, in, k * size, size, true, &la);
		if (!e && i < n) e = x86_vector_probe(v, la, size);
		if (!e && i >= n) e = x86_vector_store(v, la, from.b + k * size, size);
		if (e) return e;
	}
	return 0;
}
static int do_masked(struct x86_vcpu *v, const struct x86_insn *in, unsigned size)
{
	bool store = in->o[0].kind == X86_MEM;
	return store ? do_mask_store(v, in, size) : do_mask_load(v, in, size);
}

/* ---- maskmovdqu, maskmovq ---- */

/* MMX registers are x87's by their own numbers, the area has them as seen from TOP. */
static uint8_t *mmx_at(struct x86_vcpu *v, unsigned reg)
{
	unsigned top = v->x.bytes[X_FSW + 1] >> 3 & 7;
	return v->x.bytes + X_ST + 16 * ((reg - top) & 7);
}
/* What any MMX instruction does to x87: SDM 1, 9.5.1. */
void x86_enter_mmx(struct x86_vcpu *v)
{
	uint8_t regs[128];
	for (unsigned i = 0; i < 8; i++) memcpy(regs + 16 * i, mmx_at(v, i), 16);
	memcpy(v->x.bytes + X_ST, regs, sizeof regs);
	v->x.bytes[X_FSW + 1] &= 0xc7;
	v->x.bytes[X_FTW] = 0xff;
}
/* Runs of chosen bytes. */
static int store_bytes(struct x86_vcpu *v, uint64_t la, const struct reg *from,
		       const struct reg *mask, unsigned n)
{
	int e = 0;
	for (unsigned i = 0, k; i < n && !e; i = k + 1) {
		for (k = i; k < n && chosen(mask, k, 1);) k++;
		if (k > i) e = x86_vector_store(v, x86_la(v, la + i), from->b + i, k - i);
	}
	return e;
}
/* Whether the whole operand may be written counts, whatever the mask: as Intel's do. */
static int do_maskmov(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool mmx = in->o[0].kind == X86_MMX;
	unsigned n = mmx ? 8 : 16, seg = in->seg_over == X86_NOREG ? X86_DS : in->seg_over;
	struct reg from = get(v, in->o[0].reg), mask = get(v, in->o[1].reg);
	uint64_t la;
	if (mmx) {
		memcpy(from.b, mmx_at(v, in->o[0].reg), 8);
		memcpy(mask.b, mmx_at(v, in->o[1].reg), 8);
	}
	int e = x86_linear(v, seg, short_address(in, v->cpu.r[7]), n, true, &la);
	if (!e) e = x86_check_odd(v, la, 8);
	if (!e) e = x86_vector_probe(v, la, n);
	if (!e) e = store_bytes(v, la, &from, &mask, n);
	if (!e && mmx) x86_enter_mmx(v);
	return e;
}
int x86_do_elements(struct x86_vcpu *v, const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_vpgatherdd:
	case X86_OP_vpgatherdq:
	case X86_OP_vpgatherqd:
	case X86_OP_vpgatherqq:
	case X86_OP_vgatherdps:
	case X86_OP_vgatherdpd:
	case X86_OP_vgatherqps:
	case X86_OP_vgatherqpd: return do_gather(v, in);
	case X86_OP_vmaskmovps:
	case X86_OP_vpmaskmovd: return do_masked(v, in, 4);
	case X86_OP_vmaskmovpd:
	case X86_OP_vpmaskmovq: return do_masked(v, in, 8);
	case X86_OP_maskmovq:
	case X86_OP_maskmovdqu:
	case X86_OP_vmaskmovdqu: return do_maskmov(v, in);
	default: return X86_OTHER;
	}
}
