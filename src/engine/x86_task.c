/* Tasks switched by hardware, outside long mode (SDM 3, 9.3 and 9.7). What can go wrong in the old
 * task does so before anything changes. From there on it is the new task that runs: a segment that
 * does not load is a fault of its own, at its first instruction. */
#include "base/types.h"
#include "engine/x86_desc.h"

/* Where a TSS has what, and in words of how many bytes. */
struct layout {
	uint8_t size, bytes, cr3, rip, flags, regs, segs, nsegs, ldt;
};
static const struct layout tss16 = {2, 0x2c, 0, 0x0e, 0x10, 0x12, 0x22, 4, 0x2a};
static const struct layout tss32 = {4, 0x68, 0x1c, 0x20, 0x24, 0x28, 0x48, 6, 0x60};
enum { TRAP_FLAG = 0x64, ROOM = 0x68 };
static const struct layout *layout_of(unsigned access) { return access & 8 ? &tss32 : &tss16; }

static int raise_ts(struct x86_vcpu *v, uint16_t sel, unsigned ext)
{
	return x86_raise_sel(v, X86_TRAP + TRAP_TS, sel, ext);
}
int x86_task_find(struct x86_vcpu *v, uint16_t sel, struct x86_task *t)
{
	bool back = t->why == X86_TASK_IRET;
	unsigned trap = back ? X86_TRAP + TRAP_TS : X86_TRAP_GP;
	if (sel & 4) return x86_raise_sel(v, trap, sel, t->ext);
	int e = x86_desc_read(v, sel, trap, t->ext, &t->tss);
	if (e) return e;
	unsigned type = x86_desc_system(&t->tss) ^ (back ? SYS_BUSY : 0);
	if (type != SYS_TSS && type != SYS_TSS16) return x86_raise_sel(v, trap, sel, t->ext);
	if (t->tss.access & SEG_P) return 0;
	return x86_raise_sel(v, X86_TRAP + TRAP_NP, sel, t->ext);
}

/* ---- the old task */

static uint64_t at_tss(const struct x86_segreg *tss, unsigned off)
{
	return (uint32_t)(tss->base + off);
}
static int save(struct x86_vcpu *v, const struct x86_task *t)
{
	const struct x86_segreg *tr = &v->seg[X86_SEG_TR];
	const struct layout *l = layout_of(tr->access);
	uint8_t image[ROOM] = {0};
	if (tr->access & SEG_UNUSABLE || tr->limit < l->bytes - 1u)
		return raise_ts(v, tr->sel, t->ext);
	store_le(image + l->rip, t->rip, l->size);
	store_le(image + l->flags, t->flags, l->size);
	for (unsigned i = 0; i < 8; i++)
		store_le(image + l->regs + i * l->size, v->cpu.r[i], l->size);
	for (unsigned i = 0; i < l->nsegs; i++)
		store_le(image + l->segs + i * l->size, v->seg[i].sel, 2);
	return x86_store(v, at_tss(tr, l->rip), image + l->rip, (unsigned)(l->ldt - l->rip),
			 x86_system_view(v));
}
/* A task that is left for good is no more busy; one that is called, or jumped to, is. */
static int mark(struct x86_vcpu *v, struct x86_task *t)
{
	struct x86_desc old;
	uint16_t sel = v->seg[X86_SEG_TR].sel;
	int e = t->why == X86_TASK_IRET ? 0 : x86_desc_mark(v, &t->tss, SYS_BUSY);
	if (e || t->why == X86_TASK_CALL) return e;
	e = x86_desc_read(v, sel, X86_TRAP + TRAP_TS, t->ext, &old);
	if (e) return e;
	uint8_t type = (uint8_t)(old.access & ~(unsigned)SYS_BUSY);
	return x86_store(v, old.at + 5, &type, 1, x86_system_view(v));
}

/* ---- the new one */

static int load_image(struct x86_vcpu *v, const struct x86_segreg *tss, unsigned n, uint8_t *to)
{
	enum { AT_ONCE = 64 };
	int e = 0;
	for (unsigned i = 0; i < n && !e; i += AT_ONCE)
		e = x86_load(v, at_tss(tss, i), to + i, n - i < AT_ONCE ? n - i : AT_ONCE,
			     x86_system_view(v));
	return e;
}
static uint16_t sel_of(const struct layout *l, const uint8_t *image, unsigned seg)
{
	return seg < l->nsegs ? (uint16_t)load_le(image + l->segs + seg * l->size, 2) : 0;
}
/* Registers; of segments the selectors only. */
static void become(struct x86_vcpu *v, const struct x86_task *t, const struct layout *l,
		   const uint8_t *image)
{
	enum { FLAGS = 0x3f7fd7, LOCAL = 0x155 };
	v->seg[X86_SEG_TR] = x86_desc_seg(&t->tss);
	v->seg[X86_SEG_TR].access |= SYS_BUSY;
	v->cr0 |= CR0_TS;
	v->dr[7] &= ~(uint64_t)LOCAL;
	v->cpu.flags = (load_le(image + l->flags, l->size) & FLAGS) | 2;
	if (t->why == X86_TASK_CALL) v->cpu.flags |= X86_NT;
	v->cpu.rip = load_le(image + l->rip, l->size);
	for (unsigned i = 0; i < 8; i++)
		v->cpu.r[i] = load_le(image + l->regs + i * l->size, l->size);
	for (unsigned i = 0; i <= X86_GS; i++) v->seg[i] = x86_seg_null(sel_of(l, image, i), 0);
	v->cpl = x86_is_v86(v) ? 3 : (uint8_t)x86_rpl(v->seg[X86_CS].sel);
	v->seg[X86_SEG_LDTR] = x86_seg_null((uint16_t)load_le(image + l->ldt, 2), 0);
}
/* What would be #GP for an instruction is #TS here. */
static int as_task(struct x86_vcpu *v, int e, const struct x86_task *t)
{
	if (e && e != X86_TRAP_PF) v->code |= t->ext;
	return e == X86_TRAP_GP ? X86_TRAP + TRAP_TS : e;
}
static int load_protected(struct x86_vcpu *v, const struct x86_task *t)
{
	static const uint8_t data[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	struct x86_target to = {0};
	int e = x86_target_return(v, v->seg[X86_CS].sel, &to);
	if (e) return as_task(v, e, t);
	v->seg[X86_CS] = to.cs;
	e = x86_desc_stack(v, v->seg[X86_SS].sel, v->cpl, X86_TRAP + TRAP_TS, t->ext,
			   &v->seg[X86_SS]);
	for (unsigned i = 0; i < COUNT(data) && !e; i++)
		e = as_task(v, x86_seg_load(v, data[i], v->seg[data[i]].sel), t);
	return e;
}
static int load_segments(struct x86_vcpu *v, const struct x86_task *t)
{
	uint16_t ldt = v->seg[X86_SEG_LDTR].sel;
	int e = x86_seg_load_ldt(v, ldt);
	if (e == X86_TRAP_GP || e == X86_TRAP + TRAP_NP) return raise_ts(v, ldt, t->ext);
	if (e) return e;
	if (!x86_is_v86(v)) return load_protected(v, t);
	for (unsigned i = 0; i <= X86_GS; i++) v->seg[i] = x86_seg_v86(v->seg[i].sel);
	return 0;
}
static int arrive(struct x86_vcpu *v, const struct x86_task *t, const struct layout *l)
{
	int e = load_segments(v, t);
	x86_mode_update(v);
	if (e) return e;
	if (t->has_code) {
		struct x86_stack s = x86_stack_now(v);
		s.code = t->ext;
		e = x86_stack_push(v, &s, t->code, l->size);
		if (e) return e;
		x86_stack_use(v, &s);
	}
	struct x86_target here = {.cs = v->seg[X86_CS], .rip = v->cpu.rip};
	return x86_target_check(v, &here, t->ext);
}
int x86_task_switch(struct x86_vcpu *v, struct x86_task *t)
{
	enum { BT = 1 << 15 };
	const struct layout *l = layout_of(t->tss.access);
	struct x86_segreg tss = x86_desc_seg(&t->tss);
	uint16_t from = v->seg[X86_SEG_TR].sel;
	bool call = t->why == X86_TASK_CALL;
	uint8_t image[ROOM];
	if (tss.limit < l->bytes - 1u) return raise_ts(v, tss.sel, t->ext);
	int e = load_image(v, &tss, l->bytes, image);
	if (!e && call) e = x86_probe(v, at_tss(&tss, 0), 2, X86_W, x86_system_view(v));
	if (!e) e = save(v, t);
	if (!e) e = mark(v, t);
	if (!e && call) e = x86_store(v, at_tss(&tss, 0), &from, 2, x86_system_view(v));
	if (e) return e;
	become(v, t, l, image);
	if (l->cr3 && v->cr0 & CR0_PG) e = x86_cr3_write(v, load_le(image + l->cr3, 4));
	if (!e) e = arrive(v, t, l);
	if (e || !l->cr3 || !(image[TRAP_FLAG] & 1)) return e;
	v->fault = BT;
	return X86_TRAP_DB;
}
