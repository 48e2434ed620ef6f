/* Memory operands of translated instructions: what stands before an instruction so that it can
 * reach its guest's memory, and how it then names it. Either the page is looked up in the TLB, or
 * the address is seen to be in the window. Accesses by one base register are looked up once for all
 * of them where they are close together (groups). */
#include "base/types.h"
#include "engine/x86_emit.h"
#include "isa/x86/x86.h"

/* Register g of the guest as a part of an address: where it is, or fetched into `room`. */
static unsigned part(struct x64_asm *a, unsigned g, unsigned room)
{
	unsigned h = x86_host_of(g);
	if (h != NOREG) return h;
	mov_load(a, OP_W, room, x86_reg_slot(g));
	return room;
}
static void add_bits(struct x64_asm *a, const struct x86_insn *in)
{
	bool wide = in->osize == 8;
	unsigned g = in->o[1].reg;
	if (wide)
		x86_emit_guest(a, S2, g);
	else if (x86_host_of(g) == NOREG)
		op_rm(a, OP(0, 0, 0x63) + OP_W, S2, x86_reg_slot(g), 0); /* movsxd */
	else
		op_rm(a, OP(0, 0, 0x63) + OP_W, S2, rm_reg(x86_host_of(g)), 0);
	shift_imm(a, SH_SAR, OP_W, S2, wide ? 6 : 5);
	lea(a, OP_W, S1, rm_index(S1, S2, wide ? 3 : 2, 0));
}
bool x86_is_fixed(const struct tr *t, int64_t disp)
{
	int64_t at = t->la + disp;
	return t->variant & VARIANT_FIXED && at == (int32_t)at && (at ^ t->la) >= 0;
}
static struct rm rm_fixed(int64_t at) { return rm_index(NOREG, NOREG, 0, (int32_t)at); }
/* Is m always at the same place, in one page? */
static bool is_known(const struct tr *t, const struct access *m, int64_t *at)
{
	if (m->index != X86_NOREG || m->seg != X86_DS || m->a32 || m->bits) return false;
	*at = m->disp;
	if (m->base == X86_RIP) *at += t->la;
	if (m->base == X86_RIP ? !x86_is_fixed(t, m->disp) : m->base != X86_NOREG) return false;
	return (*at & (X86_PAGE - 1)) + m->size <= X86_PAGE;
}
/* S2 is lost where is_complex(). */
void x86_emit_la(struct x64_asm *a, const struct access *m, const struct x86_insn *in)
{
	uint32_t w = m->a32 ? 0 : OP_W;
	unsigned base = S1;
	int32_t disp = m->disp;
	if (m->base == X86_RIP) {
		mov_load(a, OP_W, S1, V_AT(fast.page));
	} else if (m->base == X86_NOREG) {
		mov_imm(a, S1, m->a32 ? (uint64_t)(uint32_t)disp : (uint64_t)(int64_t)disp);
		disp = 0;
	} else {
		base = part(a, m->base, S1);
	}
	if (m->index != X86_NOREG)
		lea(a, w, S1, rm_index(base, part(a, m->index, S2), m->scale, disp));
	else if (base != S1 || disp || (m->a32 && m->base != X86_NOREG))
		lea(a, w, S1, rm_mem(base, disp));
	if (m->seg != X86_DS)
		alu_rm(a, ALU_ADD, OP_W, S1,
		       rm_mem(RSP, (int32_t)(offsetof(struct x86_vcpu, cpu.base) + 8u * m->seg)));
	if (m->bits) add_bits(a, in);
}
static bool is_complex(const struct access *m)
{
	return m->bits || (m->index != X86_NOREG && x86_host_of(m->index) == NOREG);
}
/* A simple access's base, fetched into S1 if it is not in a register. */
static unsigned simple_base(struct x64_asm *a, const struct access *m)
{
	if (m->base != X86_RIP) return part(a, m->base, S1);
	mov_load(a, OP_W, S1, V_AT(fast.page));
	return S1;
}
static int32_t tlb_at(const struct tr *t, size_t field)
{
	return (int32_t)(offsetof(struct x86_vcpu, tlb) +
			 t->view * sizeof(((struct x86_vcpu *)0)->tlb[0]) + field);
}
/* Entry i of the TLB. */
static struct rm tlb_entry(const struct tr *t, unsigned i, size_t field)
{
	return rm_mem(RSP, tlb_at(t, field) + (int32_t)(i * sizeof(struct x86_tlb_entry)));
}
/* Is the page of a place that is known in its entry of the TLB? Jumps elsewhere if not. */
static uint8_t *check_known(struct tr *t, int64_t at, bool write)
{
	unsigned i = x86_tlb_index((uint64_t)at);
	size_t tag =
		write ? offsetof(struct x86_tlb_entry, wr) : offsetof(struct x86_tlb_entry, rd);
	alu_imm(&t->a, ALU_CMP, OP_W, tlb_entry(t, i, tag), (int32_t)(at & -X86_PAGE));
	uint8_t *from = jcc_later(&t->a, CC_NE);
	mov_load(&t->a, OP_W, S2, tlb_entry(t, i, offsetof(struct x86_tlb_entry, add)));
	return from;
}
/* The same of any other; S1 is its linear address. */
static uint8_t *check_any(struct tr *t, const struct access *m, unsigned len)
{
	struct x64_asm *a = &t->a;
	vex_rm(a, OP(0xf2, 3, 0xf0) + OP_W, S2, 0, rm_reg(S1), 1); /* rorx */
	put8(a, X86_PAGE_SHIFT - 5);
	alu_imm(a, ALU_AND, 0, rm_reg(S2), (X86_TLB_SIZE - 1) << 5);
	struct rm tag = rm_index(RSP, S2, 0,
				 tlb_at(t, m->write ? offsetof(struct x86_tlb_entry, wr)
						    : offsetof(struct x86_tlb_entry, rd)));
	alu_rm(a, ALU_XOR, OP_W, S1, tag);
	alu_imm(a, ALU_CMP, OP_W, rm_reg(S1), (int32_t)(X86_PAGE - len));
	uint8_t *from = jcc_later(a, CC_A);
	if (is_complex(m)) alu_rm(a, ALU_XOR, OP_W, S1, tag);
	mov_load(a, OP_W, S2, rm_index(RSP, S2, 0, tlb_at(t, offsetof(struct x86_tlb_entry, add))));
	return from;
}
/* Look up len bytes at m: S2 is then what to add. Where that is not to be had, instruction k is
 * interpreted; leave: and then it does not go on here. */
static void check(struct tr *t, unsigned k, const struct access *m, unsigned len, bool leave)
{
	struct insn *i = &t->i[k];
	int64_t at;
	uint8_t *from;
	x86_flags_go(t, i->before);
	if (is_known(t, m, &at)) {
		from = check_known(t, at, m->write);
	} else {
		x86_emit_la(&t->a, m, &i->in);
		from = check_any(t, m, len);
	}
	struct cold *c = x86_cold_new(t, COLD_MEM, from);
	c->back = t->a.p;
	c->insn = k;
	c->m = *m;
	c->info = i->off | (m->write ? (uint32_t)INFO_WRITE : 0) | len << INFO_LEN |
		  t->view << INFO_VIEW | (leave ? (uint32_t)INFO_LEAVE : 0) |
		  (uint32_t)i->in.len << INFO_BYTES;
}
/* Where m is in host memory, S2 being what to add. S1 may be part of that. */
static struct rm pointer(struct tr *t, const struct access *m, const struct x86_insn *in)
{
	struct x64_asm *a = &t->a;
	int64_t at;
	if (is_known(t, m, &at)) return rm_mem(S2, (int32_t)at);
	if (x86_is_simple(m)) return rm_index(S2, simple_base(a, m), 0, m->disp);
	if (!is_complex(m)) x86_emit_la(a, m, in);
	return rm_index(S2, S1, 0, 0);
}
static struct rm group_add(unsigned n)
{
	struct rm add = V_AT(fast.add);
	add.disp += 8 * (int32_t)n;
	return add;
}
/* S2 = win_add or 0, for HIGH or LOW. S1 is lost. No branch: it would go this way and that. */
static enum cc emit_either(struct x64_asm *a, unsigned reg)
{
	op_rm(a, OP(0, 1, 0xba) + OP_W, 4, rm_reg(reg), 1); /* bt */
	put8(a, X86_HIGH_BIT);
	alu_rr(a, ALU_SBB, OP_W, S2, S2);
	vex_rm(a, OP(0, 2, 0xf2) + OP_W, S1, S2, rm_reg(reg), 0); /* andn */
	alu_rm(a, ALU_AND, OP_W, S2, V_AT(fast.win_add));
	alu_imm(a, ALU_CMP, OP_W, rm_reg(S1), (int32_t)(X86_LOW_END - 1));
	return CC_A;
}
/* Is the base, or what is no base, in that part of the window? */
static void check_window(struct tr *t, unsigned k, const struct access *m)
{
	struct x64_asm *a = &t->a;
	struct insn *i = &t->i[k];
	unsigned reg = S1;
	x86_flags_go(t, i->before);
	if (x86_is_simple(m))
		reg = simple_base(a, m);
	else
		x86_emit_la(a, m, &i->in);
	enum cc cc = CC_A;
	if (m->win == X86_WIN_EITHER) {
		cc = emit_either(a, reg);
	} else if (m->win == X86_WIN_LOW) {
		alu_imm(a, ALU_CMP, OP_W, rm_reg(reg), (int32_t)(X86_LOW_END - 1));
	} else {
		op_rm(a, OP(0, 1, 0xba) + OP_W, 4, rm_reg(reg), 1); /* bt */
		put8(a, X86_HIGH_BIT);
		cc = CC_AE;
	}
	struct cold *c = x86_cold_new(t, COLD_OUT, jcc_later(a, cc));
	c->insn = k;
	c->m = *m;
	c->target = i->off;
}
/* once: nothing else will ask what to add. */
static void check_base(struct tr *t, unsigned k, const struct group *g, bool once)
{
	const struct access base = {
		.base = g->base, .index = X86_NOREG, .seg = X86_DS, .win = g->win};
	check_window(t, k, &base);
	if (g->win == X86_WIN_EITHER && !once)
		mov_store(&t->a, OP_W, group_add((unsigned)(g - t->g)), S2);
}
void x86_look_windows(struct tr *t, unsigned k)
{
	for (unsigned n = 0; n < t->groups; n++) {
		struct group *g = &t->g[n];
		if (!g->win || g->done || g->at != k || g->first == k) continue;
		check_base(t, k, g, false);
		t->cold[t->colds - 1].target = t->i[g->first].off;
		g->done = true;
	}
}
void x86_look_steady(struct tr *t)
{
	for (unsigned n = 0; n < t->groups; n++)
		if (t->g[n].steady) {
			check_base(t, 0, &t->g[n], false);
			t->cold[t->colds - 1].target = t->i[t->g[n].first].off;
			t->g[n].done = true;
		}
	for (unsigned k = 0; k < t->n; k++)
		if (t->i[k].steady) {
			check_window(t, 0, &t->i[k].m);
			t->cold[t->colds - 1].target = t->i[k].off;
		}
}
/* Base and index are where the host can use them. */
static bool is_direct(const struct access *m)
{
	bool base = m->base == X86_NOREG || (m->base < 16 && x86_host_of(m->base) != NOREG);
	bool index = m->index < 16 && x86_host_of(m->index) != NOREG;
	return base && m->seg == X86_DS && !m->a32 && !m->bits && index;
}
static bool is_constant(const struct access *m)
{
	return m->base == X86_NOREG && m->index == X86_NOREG && m->seg == X86_DS && !m->a32 &&
	       !m->bits;
}
/* Where m is, behind t->prefix. checked: S1 is what it was behind check_window(); of EITHER, S2. */
static struct rm pointer_in_window(struct tr *t, const struct access *m, bool checked)
{
	struct x64_asm *a = &t->a;
	bool either = m->win == X86_WIN_EITHER;
	t->prefix = m->win == X86_WIN_HIGH ? 0x65 : 0;
	if (x86_is_simple(m)) {
		unsigned h = m->base == X86_RIP ? (unsigned)NOREG : x86_host_of(m->base);
		if (!checked || either) h = simple_base(a, m);
		if (h == NOREG) h = S1;
		return either ? rm_index(S2, h, 0, m->disp) : rm_mem(h, m->disp);
	}
	if (either) return rm_index(S2, S1, 0, 0);
	if (is_constant(m)) return rm_fixed(m->disp);
	if (is_direct(m))
		return rm_index(m->base == X86_NOREG ? (unsigned)NOREG : x86_host_of(m->base),
				x86_host_of(m->index), m->scale, m->disp);
	return rm_mem(S1, 0);
}
/* S1 = what is no base and a constant; S2 is kept. */
static void emit_la_beside(struct tr *t, const struct access *m, const struct x86_insn *in)
{
	bool kept = m->win == X86_WIN_EITHER && is_complex(m);
	if (kept) mov_store(&t->a, OP_W, V_AT(fast.save[1]), S2);
	x86_emit_la(&t->a, m, in);
	if (kept) mov_load(&t->a, OP_W, S2, V_AT(fast.save[1]));
}
void x86_note_store(struct tr *t, struct rm rm, unsigned bytes)
{
	if (t->j->check) x86_emit_log(t, rm, bytes);
}
void x86_note_host(struct tr *t, unsigned k, bool flags)
{
	(void)x86_map_add(t->j, (struct x86_at_host){.host = (uint32_t)(t->a.p - t->j->rw),
						     .off = t->i[k].off,
						     .flags = flags,
						     .done = (uint8_t)t->done});
}
void x86_emit_move(struct tr *t, unsigned k, unsigned reg, struct rm rm, bool load)
{
	if (!load) x86_note_store(t, rm, 8);
	x86_note_host(t, k, t->state & HOST && t->i[k].before);
	if (t->prefix) put8(&t->a, t->prefix);
	t->prefix = 0;
	if (load)
		mov_load(&t->a, OP_W, reg, rm);
	else
		mov_store(&t->a, OP_W, rm, reg);
}
void x86_emit_move_imm(struct tr *t, unsigned k, int32_t imm, struct rm to)
{
	x86_note_store(t, to, 8);
	x86_note_host(t, k, t->state & HOST && t->i[k].before);
	if (t->prefix) put8(&t->a, t->prefix);
	t->prefix = 0;
	mov_store_imm(&t->a, 8, to, imm);
}
struct rm x86_look_up_alone(struct tr *t, unsigned k, const struct access *m)
{
	if (m->win) {
		bool own = m == &t->i[k].m, sure = own && t->i[k].sure;
		bool looked = sure || (own && t->i[k].steady), simple = x86_is_simple(m);
		bool either = m->win == X86_WIN_EITHER;
		if (sure && m->base == X86_RIP && x86_is_fixed(t, m->disp))
			return rm_fixed(t->la + m->disp);
		if (!looked) check_window(t, k, m);
		if (!simple && (either || (looked && !is_direct(m) && !is_constant(m))))
			emit_la_beside(t, m, &t->i[k].in);
		return pointer_in_window(t, m, !looked);
	}
	check(t, k, m, m->size, x86_ends_block(t->i[k].class));
	return pointer(t, m, &t->i[k].in);
}
struct rm x86_look_up(struct tr *t, unsigned k)
{
	struct insn *i = &t->i[k];
	if (i->group == NO_GROUP) return x86_look_up_alone(t, k, &i->m);
	struct group *g = &t->g[i->group];
	if (g->win) {
		bool first = !g->done, simple = x86_is_simple(&i->m);
		bool either = g->win == X86_WIN_EITHER;
		if (first && simple && !either)
			check_window(t, k, &i->m);
		else if (first)
			check_base(t, k, g, g->n == 2); /* one counts double */
		if (!first && either) mov_load(&t->a, OP_W, S2, group_add(i->group));
		g->done = true;
		if (!simple && (either || !is_direct(&i->m))) emit_la_beside(t, &i->m, &i->in);
		return pointer_in_window(t, &i->m, first && simple);
	}
	struct rm add = group_add(i->group);
	if (g->done) {
		mov_load(&t->a, OP_W, S2, add);
	} else {
		struct access all = i->m;
		all.disp += g->lo - i->at;
		all.write = g->write;
		check(t, k, &all, (unsigned)(g->hi - g->lo), true);
		mov_store(&t->a, OP_W, add, S2);
		g->done = true;
	}
	return pointer(t, &i->m, &i->in);
}
