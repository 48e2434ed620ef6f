/* Segments: descriptors, addresses checked against them, and the instructions that load, store and
 * ask about them (SDM 3, chapters 3 and 6; SDM 2). */
#include "base/types.h"
#include "engine/x86_desc.h"
#include "isa/x86/value.h"

enum { DATA_RW = SEG_P | SEG_S | SEG_RW | SEG_A };

/* ---- addresses */

enum x86_view x86_view_of(const struct x86_vcpu *v, unsigned cpl)
{
	if (cpl == 3) return X86_VIEW_USER;
	return v->cpu.flags & X86_AC ? X86_VIEW_BOTH : x86_system_view(v);
}
/* SDM 3, 6.3 and 6.4.1. off has no more than 32 bits. */
static bool is_within(const struct x86_segreg *s, uint64_t off, unsigned n)
{
	if ((s->access & (SEG_S | SEG_CODE | SEG_EC)) != (SEG_S | SEG_EC))
		return off + n - 1 <= s->limit;
	return off > s->limit && off + n - 1 <= (s->access & SEG_DB ? UINT32_MAX : UINT16_MAX);
}
static bool is_allowed(const struct x86_segreg *s, bool write)
{
	if (s->access & SEG_UNUSABLE) return false;
	if (s->access & SEG_CODE) return !write && s->access & SEG_RW;
	return !write || s->access & SEG_RW;
}
static int seg_trap(struct x86_vcpu *v, bool stack)
{
	return x86_raise(v, stack ? X86_TRAP_SS : X86_TRAP_GP, 0);
}
static int flat_at(struct x86_vcpu *v, uint64_t la, unsigned n, bool stack)
{
	return likely(x86_canonical(la) && x86_canonical(la + n - 1)) ? 0 : seg_trap(v, stack);
}
static int seg_at(struct x86_vcpu *v, const struct x86_segreg *s, uint64_t off, unsigned n,
		  bool write, bool stack, uint64_t *la)
{
	off = (uint32_t)off;
	*la = (uint32_t)(s->base + off);
	if (unlikely(!is_within(s, off, n))) return seg_trap(v, stack);
	/* Rights in real and virtual 8086 mode: as if all were allowed (SDM 3, 21.1). */
	return likely(is_allowed(s, write) || !x86_is_protected(v)) ? 0 : seg_trap(v, stack);
}
int x86_linear(struct x86_vcpu *v, unsigned seg, uint64_t off, unsigned n, bool write, uint64_t *la)
{
	if (v->mode != X86_64) return seg_at(v, &v->seg[seg], off, n, write, seg == X86_SS, la);
	*la = off + (seg >= X86_FS ? v->seg[seg].base : 0);
	return flat_at(v, *la, n, seg == X86_SS);
}
uint64_t x86_operand_ea(struct x86_vcpu *v, const struct x86_insn *in)
{
	return x86_ea(&v->cpu, in);
}
int x86_operand_la(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, bool write,
		   uint64_t *la)
{
	return x86_linear(v, in->seg, x86_ea(&v->cpu, in), n, write, la);
}

/* ---- operands */

static int read_memory(struct x86_vcpu *v, const struct x86_insn *in, void *to, unsigned n)
{
	uint64_t la;
	int e = x86_operand_la(v, in, n, false, &la);
	if (!e) e = x86_check_odd(v, la, n);
	if (!e) e = x86_load(v, la, to, n, v->view);
	if (!e) x86_watched(v, la, n, false);
	return e;
}
static int write_memory(struct x86_vcpu *v, const struct x86_insn *in, const void *from, unsigned n)
{
	uint64_t la;
	int e = x86_operand_la(v, in, n, true, &la);
	if (!e) e = x86_check_odd(v, la, n);
	if (!e) e = x86_store(v, la, from, n, v->view);
	if (!e) x86_watched(v, la, n, true);
	return e;
}
int x86_operand_get(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, uint64_t *val)
{
	const struct x86_operand *o = &in->o[n];
	*val = 0;
	if (o->kind == X86_MEM) return read_memory(v, in, val, o->size);
	*val = x86_reg_get(&v->cpu, o->reg, o->size);
	return 0;
}
int x86_operand_set(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, uint64_t val)
{
	const struct x86_operand *o = &in->o[n];
	if (o->kind == X86_MEM) return write_memory(v, in, &val, o->size);
	x86_reg_set(&v->cpu, o->reg, o->size, val);
	return 0;
}
int x86_operand_far(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, uint64_t *off,
		    uint16_t *sel)
{
	unsigned size = in->o[n].size - 2u;
	uint8_t bytes[10];
	int e = read_memory(v, in, bytes, size + 2);
	if (e) return e;
	*off = load_le(bytes, size);
	*sel = (uint16_t)load_le(bytes + size, 2);
	return 0;
}

/* ---- descriptors */

void x86_desc_decode(struct x86_desc *d) { d->access = d->raw >> 40 & 0xf0ff; }
static uint64_t table_at(const struct x86_vcpu *v, uint64_t base, uint64_t off)
{
	return v->long_mode ? base + off : (uint32_t)(base + off);
}
static bool find_table(const struct x86_vcpu *v, uint16_t sel, uint64_t *base, uint32_t *limit)
{
	const struct x86_segreg *ldt = &v->seg[X86_SEG_LDTR];
	bool local = sel & 4;
	*base = local ? ldt->base : v->gdt.base;
	*limit = local ? ldt->limit : v->gdt.limit;
	return !local || !(ldt->access & SEG_UNUSABLE);
}
int x86_desc_read(struct x86_vcpu *v, uint16_t sel, unsigned trap, unsigned ext, struct x86_desc *d)
{
	uint64_t base;
	uint32_t limit;
	*d = (struct x86_desc){.sel = sel};
	if (!find_table(v, sel, &base, &limit) || (sel | 7u) > limit)
		return x86_raise_sel(v, trap, sel, ext);
	d->at = table_at(v, base, sel & ~7u);
	int e = x86_load(v, d->at, &d->raw, 8, x86_system_view(v));
	x86_desc_decode(d);
	return e;
}
int x86_desc_read_upper(struct x86_vcpu *v, unsigned trap, unsigned ext, struct x86_desc *d)
{
	uint64_t base;
	uint32_t limit;
	if (!v->long_mode) return 0;
	find_table(v, d->sel, &base, &limit);
	if ((d->sel | 7u) + 8 > limit) return x86_raise_sel(v, trap, d->sel, ext);
	int e = x86_load(v, d->at + 8, &d->upper, 8, x86_system_view(v));
	if (e) return e;
	/* Where a second descriptor would have its type, there must be none: SDM 3, 6.8.3.1. */
	return d->upper >> 40 & 31 ? x86_raise_sel(v, trap, d->sel, ext) : 0;
}
int x86_desc_mark(struct x86_vcpu *v, struct x86_desc *d, unsigned bits)
{
	if ((d->access & bits) == bits) return 0;
	uint8_t type = (uint8_t)(d->access | bits);
	int e = x86_store(v, d->at + 5, &type, 1, x86_system_view(v));
	if (!e) d->access |= bits;
	return e;
}
struct x86_segreg x86_desc_seg(const struct x86_desc *d)
{
	uint32_t limit = (uint32_t)((d->raw & 0xffff) | (d->raw >> 32 & 0xf0000));
	return (struct x86_segreg){
		.base = (d->raw >> 16 & 0xffffff) | (d->raw >> 56) << 24 | d->upper << 32,
		.limit = d->access & SEG_G ? limit << 12 | 0xfff : limit,
		.access = d->access,
		.sel = d->sel,
	};
}
struct x86_segreg x86_seg_null(uint16_t sel, unsigned dpl)
{
	return (struct x86_segreg){.sel = sel, .access = SEG_UNUSABLE | dpl << 5};
}
struct x86_segreg x86_seg_v86(uint16_t sel)
{
	return (struct x86_segreg){sel * 16u, 0xffff, DATA_RW | SEG_DPL, sel};
}
struct x86_segreg x86_seg_flat(uint16_t sel, unsigned access)
{
	return (struct x86_segreg){0, UINT32_MAX, access, sel};
}
/* Limit and D/B stay what they were in protected mode: "unreal" mode lives on it. */
void x86_seg_real(struct x86_segreg *s, uint16_t sel)
{
	if (s->access & SEG_UNUSABLE) *s = (struct x86_segreg){.limit = 0xffff, .access = DATA_RW};
	s->sel = sel;
	s->base = sel * 16u;
}

/* ---- loading segment registers */

int x86_desc_stack(struct x86_vcpu *v, uint16_t sel, unsigned cpl, unsigned trap, unsigned ext,
		   struct x86_segreg *ss)
{
	struct x86_desc d;
	int e = x86_is_null(sel) ? x86_raise(v, trap, ext) : x86_desc_read(v, sel, trap, ext, &d);
	if (e) return e;
	if (x86_rpl(sel) != cpl || x86_desc_dpl(&d) != cpl || !x86_desc_is_writable(&d))
		return x86_raise_sel(v, trap, sel, ext);
	if (!(d.access & SEG_P)) return x86_raise_sel(v, X86_TRAP_SS, sel, ext);
	e = x86_desc_mark(v, &d, SEG_A);
	*ss = x86_desc_seg(&d);
	return e;
}
static int load_ss(struct x86_vcpu *v, uint16_t sel, struct x86_segreg *s)
{
	if (!x86_is_null(sel) || v->mode != X86_64 || v->cpl == 3 || x86_rpl(sel) != v->cpl)
		return x86_desc_stack(v, sel, v->cpl, X86_TRAP_GP, 0, s);
	*s = x86_seg_null(sel, v->cpl);
	return 0;
}
static bool is_readable(const struct x86_desc *d)
{
	return d->access & SEG_S && (!(d->access & SEG_CODE) || d->access & SEG_RW);
}
static bool is_reachable(const struct x86_vcpu *v, const struct x86_desc *d)
{
	unsigned dpl = x86_desc_dpl(d);
	return x86_desc_is_conforming(d) || (v->cpl <= dpl && x86_rpl(d->sel) <= dpl);
}
static int load_data(struct x86_vcpu *v, uint16_t sel, struct x86_segreg *s)
{
	struct x86_desc d;
	*s = x86_seg_null(sel, 0);
	if (x86_is_null(sel)) return 0;
	int e = x86_desc_read(v, sel, X86_TRAP_GP, 0, &d);
	if (e) return e;
	if (!is_readable(&d) || !is_reachable(v, &d)) return x86_raise_sel(v, X86_TRAP_GP, sel, 0);
	if (!(d.access & SEG_P)) return x86_raise_sel(v, X86_TRAP + TRAP_NP, sel, 0);
	e = x86_desc_mark(v, &d, SEG_A);
	*s = x86_desc_seg(&d);
	return e;
}
int x86_seg_load(struct x86_vcpu *v, unsigned seg, uint16_t sel)
{
	struct x86_segreg s = v->seg[seg];
	int e = 0;
	if (x86_is_real(v))
		x86_seg_real(&s, sel);
	else if (x86_is_v86(v))
		s = x86_seg_v86(sel);
	else
		e = seg == X86_SS ? load_ss(v, sel, &s) : load_data(v, sel, &s);
	if (e) return e;
	v->seg[seg] = s;
	x86_mode_update(v);
	return 0;
}
/* SDM 2, RET and IRET: what the outer level could not have loaded is taken away; a null selector
 * loses its RPL there, too. Bases stay: those of FS and GS need no selector in long mode. */
void x86_seg_drop_inner(struct x86_vcpu *v, unsigned cpl)
{
	static const uint8_t which[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	for (unsigned i = 0; i < COUNT(which); i++) {
		struct x86_segreg *s = &v->seg[which[i]];
		bool conforming = (s->access & (SEG_CODE | SEG_EC)) == (SEG_CODE | SEG_EC);
		bool stays = conforming || (s->access >> 5 & 3) >= cpl;
		if (stays && !(s->access & SEG_UNUSABLE)) continue;
		s->sel = 0;
		s->access = SEG_UNUSABLE;
	}
}

/* ---- stacks */

static uint64_t stack_mask(const struct x86_stack *s)
{
	return s->flat ? UINT64_MAX : s->ss.access & SEG_DB ? UINT32_MAX : UINT16_MAX;
}
struct x86_stack x86_stack_now(const struct x86_vcpu *v)
{
	return (struct x86_stack){
		.ss = v->seg[X86_SS],
		.sp = v->cpu.r[4],
		.cpl = v->cpl,
		.flat = v->mode == X86_64,
	};
}
void x86_stack_skip(struct x86_stack *s, uint64_t n) { s->sp = (s->sp + n) & stack_mask(s); }
static int stack_at(struct x86_vcpu *v, const struct x86_stack *s, unsigned n, bool write,
		    uint64_t *la)
{
	uint64_t off = *la = s->sp & stack_mask(s);
	int e = s->flat ? flat_at(v, off, n, true) : seg_at(v, &s->ss, off, n, write, true, la);
	if (e) v->code = s->code;
	return e;
}
int x86_stack_push(struct x86_vcpu *v, struct x86_stack *s, uint64_t val, unsigned n)
{
	struct x86_stack to = *s;
	uint64_t la;
	x86_stack_skip(&to, -(uint64_t)n);
	int e = stack_at(v, &to, n, true, &la);
	if (!e && s->cpl == 3) e = x86_check_odd(v, la, n);
	if (!e) e = x86_store(v, la, &val, n, x86_view_of(v, s->cpl));
	if (!e) *s = to;
	return e;
}
int x86_stack_pop(struct x86_vcpu *v, struct x86_stack *s, uint64_t *val, unsigned n)
{
	uint64_t la;
	*val = 0;
	int e = stack_at(v, s, n, false, &la);
	if (!e && s->cpl == 3) e = x86_check_odd(v, la, n);
	if (!e) e = x86_load(v, la, val, n, x86_view_of(v, s->cpl));
	if (!e) x86_stack_skip(s, n);
	return e;
}
/* A stack of 16 bits leaves the rest of the register alone, also that of another level. */
static void use_pointer(struct x86_vcpu *v, const struct x86_stack *s)
{
	x86_reg_set(&v->cpu, 4, s->flat ? 8 : s->ss.access & SEG_DB ? 4 : 2, s->sp);
}
void x86_stack_use(struct x86_vcpu *v, const struct x86_stack *s)
{
	v->seg[X86_SS] = s->ss;
	use_pointer(v, s);
}

/* ---- instructions on segment registers */

static int do_load(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t sel;
	unsigned seg = in->o[0].reg;
	int e = x86_operand_get(v, in, 1, &sel);
	if (!e) e = x86_seg_load(v, seg, (uint16_t)sel);
	if (e) return e;
	if (seg == X86_SS) v->shadow |= 1;
	return x86_done(v, in);
}
static int do_store(struct x86_vcpu *v, const struct x86_insn *in, uint16_t sel)
{
	int e = x86_operand_set(v, in, 0, sel);
	return e ? e : x86_done(v, in);
}
/* With 32 bits only 16 are written, as recent CPUs do: SDM 2, PUSH. */
static int do_push(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct x86_stack s = x86_stack_now(v);
	unsigned n = in->osize == 4 ? 2 : in->osize;
	x86_stack_skip(&s, n - (uint64_t)in->osize);
	int e = x86_stack_push(v, &s, v->seg[in->o[0].reg].sel, n);
	if (e) return e;
	x86_stack_use(v, &s);
	return x86_done(v, in);
}
static int do_pop(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct x86_stack s = x86_stack_now(v);
	unsigned seg = in->o[0].reg;
	uint64_t sel;
	int e = x86_stack_pop(v, &s, &sel, in->osize);
	if (!e) e = x86_seg_load(v, seg, (uint16_t)sel);
	if (e) return e;
	use_pointer(v, &s);
	if (seg == X86_SS) v->shadow |= 1;
	return x86_done(v, in);
}
static int do_load_far(struct x86_vcpu *v, const struct x86_insn *in, unsigned seg)
{
	uint64_t off;
	uint16_t sel;
	int e = x86_operand_far(v, in, 1, &off, &sel);
	if (!e) e = x86_seg_load(v, seg, sel);
	if (e) return e;
	x86_reg_set(&v->cpu, in->o[0].reg, in->o[0].size, off);
	return x86_done(v, in);
}
static int do_swapgs(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t base = v->seg[X86_GS].base;
	if (v->cpl) return x86_raise(v, X86_TRAP_GP, 0);
	v->cpu.base[X86_GS] = v->seg[X86_GS].base = v->kernel_gs;
	v->kernel_gs = base;
	return x86_done(v, in);
}
static int do_read_base(struct x86_vcpu *v, const struct x86_insn *in, unsigned seg)
{
	if (!(v->cr4 & CR4_FSGSBASE)) return X86_TRAP_UD;
	x86_reg_set(&v->cpu, in->o[0].reg, in->o[0].size, v->seg[seg].base);
	return x86_done(v, in);
}
static int do_write_base(struct x86_vcpu *v, const struct x86_insn *in, unsigned seg)
{
	uint64_t base = x86_reg_get(&v->cpu, in->o[0].reg, in->o[0].size);
	if (!(v->cr4 & CR4_FSGSBASE)) return X86_TRAP_UD;
	if (!x86_canonical(base)) return x86_raise(v, X86_TRAP_GP, 0);
	v->cpu.base[seg] = v->seg[seg].base = base;
	return x86_done(v, in);
}

/* ---- instructions on tables */

static int do_load_table(struct x86_vcpu *v, const struct x86_insn *in)
{
	unsigned n = in->osize == 8 ? 8 : 4;
	uint8_t bytes[10];
	if (v->cpl) return x86_raise(v, X86_TRAP_GP, 0);
	int e = read_memory(v, in, bytes, n + 2);
	if (e) return e;
	uint64_t base = load_le(bytes + 2, n) & (in->osize == 2 ? 0xffffff : UINT64_MAX);
	if (!x86_canonical(base)) return x86_raise(v, X86_TRAP_GP, 0);
	uint16_t limit = (uint16_t)load_le(bytes, 2);
	if (in->op == X86_OP_lgdt)
		v->gdt.base = base, v->gdt.limit = limit;
	else
		v->idt.base = base, v->idt.limit = limit;
	return x86_done(v, in);
}
/* SDM 3, 2.5, CR4.UMIP: where the system's tables are is not for users to know. */
static bool is_hidden(const struct x86_vcpu *v) { return v->cr4 & CR4_UMIP && v->cpl; }
static int do_store_table(struct x86_vcpu *v, const struct x86_insn *in, uint64_t base,
			  uint16_t limit)
{
	unsigned n = in->mode == X86_64 ? 8 : 4;
	uint8_t bytes[10];
	if (is_hidden(v)) return x86_raise(v, X86_TRAP_GP, 0);
	store_le(bytes, limit, 2);
	store_le(bytes + 2, base, n);
	int e = write_memory(v, in, bytes, n + 2);
	return e ? e : x86_done(v, in);
}
static int do_store_system(struct x86_vcpu *v, const struct x86_insn *in, unsigned seg)
{
	if (!x86_is_protected(v)) return X86_TRAP_UD;
	if (is_hidden(v)) return x86_raise(v, X86_TRAP_GP, 0);
	return do_store(v, in, v->seg[seg].sel);
}
static bool is_loadable(const struct x86_vcpu *v, unsigned seg, const struct x86_desc *d)
{
	unsigned type = x86_desc_system(d);
	if (seg == X86_SEG_LDTR) return type == SYS_LDT;
	return type == SYS_TSS || (type == SYS_TSS16 && !v->long_mode);
}
static int load_system(struct x86_vcpu *v, unsigned seg, uint16_t sel)
{
	struct x86_desc d = {.sel = sel};
	int e = sel & 4 || x86_is_null(sel) ? x86_raise_sel(v, X86_TRAP_GP, sel, 0)
					    : x86_desc_read(v, sel, X86_TRAP_GP, 0, &d);
	if (e) return e;
	if (!is_loadable(v, seg, &d)) return x86_raise_sel(v, X86_TRAP_GP, sel, 0);
	if (!(d.access & SEG_P)) return x86_raise_sel(v, X86_TRAP + TRAP_NP, sel, 0);
	e = x86_desc_read_upper(v, X86_TRAP_GP, 0, &d);
	if (e) return e;
	if (!x86_canonical(x86_desc_seg(&d).base)) return x86_raise_sel(v, X86_TRAP_GP, sel, 0);
	if (seg == X86_SEG_TR) e = x86_desc_mark(v, &d, SYS_BUSY);
	if (!e) v->seg[seg] = x86_desc_seg(&d);
	return e;
}
int x86_seg_load_ldt(struct x86_vcpu *v, uint16_t sel)
{
	if (!x86_is_null(sel)) return load_system(v, X86_SEG_LDTR, sel);
	v->seg[X86_SEG_LDTR] = x86_seg_null(sel, 0);
	return 0;
}
static int do_load_system(struct x86_vcpu *v, const struct x86_insn *in, unsigned seg)
{
	uint64_t sel;
	if (!x86_is_protected(v)) return X86_TRAP_UD;
	if (v->cpl) return x86_raise(v, X86_TRAP_GP, 0);
	int e = x86_operand_get(v, in, 0, &sel);
	if (!e && seg == X86_SEG_LDTR)
		e = x86_seg_load_ldt(v, (uint16_t)sel);
	else if (!e) /* of which null is none */
		e = load_system(v, seg, (uint16_t)sel);
	return e ? e : x86_done(v, in);
}

/* ---- questions about selectors */

/* Types of system descriptors that lar and lsl answer for: SDM 2, tables 3-51 and 3-57. */
enum {
	LSL_TYPES = 1 << SYS_LDT | 1 << SYS_TSS | 1 << SYS_TSS_BUSY,
	LSL_LEGACY = LSL_TYPES | 1 << SYS_TSS16 | 1 << SYS_TSS16_BUSY,
	LAR_TYPES = LSL_TYPES | 1 << SYS_CALL,
	LAR_LEGACY = LAR_TYPES | LSL_LEGACY | 1 << SYS_CALL16 | 1 << SYS_TASK,
};
static bool is_answered(const struct x86_vcpu *v, unsigned op, const struct x86_desc *d)
{
	bool is_long = v->long_mode;
	unsigned of = op == X86_OP_lar ? is_long ? LAR_TYPES : LAR_LEGACY
		      : is_long	       ? LSL_TYPES
				       : LSL_LEGACY;
	if (!is_reachable(v, d)) return false;
	switch (op) {
	case X86_OP_verr: return is_readable(d);
	case X86_OP_verw: return x86_desc_is_writable(d);
	default: return d->access & SEG_S || of >> x86_desc_system(d) & 1;
	}
}
static void put_zf(struct x86_vcpu *v, bool set)
{
	v->cpu.flags = (v->cpu.flags & ~(uint64_t)X86_ZF) | (set ? X86_ZF : 0);
}
/* Whether sel names something: beyond the table is an answer, too, a page fault is a trap. */
static int look_up(struct x86_vcpu *v, uint16_t sel, bool *found, struct x86_desc *d)
{
	uint64_t base;
	uint32_t limit;
	*found = !x86_is_null(sel) && find_table(v, sel, &base, &limit) && (sel | 7u) <= limit;
	return *found ? x86_desc_read(v, sel, X86_TRAP_GP, 0, d) : 0;
}
static int do_ask(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct x86_desc d;
	uint64_t sel;
	bool yes;
	if (!x86_is_protected(v)) return X86_TRAP_UD;
	unsigned at = in->op == X86_OP_lar || in->op == X86_OP_lsl;
	int e = x86_operand_get(v, in, at, &sel);
	if (!e) e = look_up(v, (uint16_t)sel, &yes, &d);
	if (e) return e;
	yes = yes && is_answered(v, in->op, &d);
	put_zf(v, yes);
	if (yes && at)
		x86_operand_set(v, in, 0,
				in->op == X86_OP_lsl ? x86_desc_seg(&d).limit
						     : d.raw >> 32 & 0xf0ff00);
	return x86_done(v, in);
}
static int do_arpl(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t to, from;
	if (!x86_is_protected(v)) return X86_TRAP_UD;
	int e = x86_operand_get(v, in, 0, &to);
	if (!e) e = x86_operand_get(v, in, 1, &from);
	if (e) return e;
	bool raise = (to & 3) < (from & 3);
	if (raise) e = x86_operand_set(v, in, 0, (to & ~3ull) | (from & 3));
	if (e) return e;
	put_zf(v, raise);
	return x86_done(v, in);
}

int x86_do_seg(struct x86_vcpu *v, const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_movts: return do_load(v, in);
	case X86_OP_movfs: return do_store(v, in, v->seg[in->o[1].reg].sel);
	case X86_OP_pushs: return do_push(v, in);
	case X86_OP_pops: return do_pop(v, in);
	case X86_OP_les: return do_load_far(v, in, X86_ES);
	case X86_OP_lds: return do_load_far(v, in, X86_DS);
	case X86_OP_lss: return do_load_far(v, in, X86_SS);
	case X86_OP_lfs: return do_load_far(v, in, X86_FS);
	case X86_OP_lgs: return do_load_far(v, in, X86_GS);
	case X86_OP_swapgs: return do_swapgs(v, in);
	case X86_OP_rdfsbase: return do_read_base(v, in, X86_FS);
	case X86_OP_rdgsbase: return do_read_base(v, in, X86_GS);
	case X86_OP_wrfsbase: return do_write_base(v, in, X86_FS);
	case X86_OP_wrgsbase: return do_write_base(v, in, X86_GS);
	case X86_OP_lgdt:
	case X86_OP_lidt: return do_load_table(v, in);
	case X86_OP_sgdt: return do_store_table(v, in, v->gdt.base, v->gdt.limit);
	case X86_OP_sidt: return do_store_table(v, in, v->idt.base, v->idt.limit);
	case X86_OP_sldt: return do_store_system(v, in, X86_SEG_LDTR);
	case X86_OP_str: return do_store_system(v, in, X86_SEG_TR);
	case X86_OP_lldt: return do_load_system(v, in, X86_SEG_LDTR);
	case X86_OP_ltr: return do_load_system(v, in, X86_SEG_TR);
	case X86_OP_lar:
	case X86_OP_lsl:
	case X86_OP_verr:
	case X86_OP_verw: return do_ask(v, in);
	case X86_OP_arpl: return do_arpl(v, in);
	default: return X86_OTHER;
	}
}
