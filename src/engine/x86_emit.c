/* From guest code to nearly the same code. A block is a run of instructions that is entered at its
 * beginning and left at its end or by its conditional branches. Most instructions are copied, with
 * other register numbers where the guest's register is elsewhere, and with a memory operand that
 * has been looked up in the TLB; some are rewritten (branches, stack); all others are the
 * interpreter's.
 *
 * The TLB's compare destroys the host's flags. Where the guest's are still needed, they are saved
 * first (lahf), and put back only if an instruction reads them or leaves part of them: mostly none
 * does. Accesses by one base register are looked up once for all of them where they are close
 * together (groups). */
#include "base/types.h"
#include "engine/x86_block.h"
#include "engine/x86_unitlog.h"
#include "isa/x86/x86.h"

/* ---- code: flags */

static struct rm upper_flags(void)
{
	struct rm m = V_AT(fast.flags);
	m.disp++;
	return m;
}
/* S1 is lost. pushf would be shorter, and takes three times as long. */
static void save_flags(struct tr *t)
{
	struct x64_asm *a = &t->a;
	mov_rr(a, OP_W, S1, RAX);
	put8(a, 0x9f);					       /* lahf */
	put8(a, 0x0f), put8(a, 0x90), put8(a, 0xc0);	       /* seto al */
	op_rm(a, OP(0x66, 0, 0x89), RAX, V_AT(fast.flags), 0); /* mov word, ax */
	mov_rr(a, OP_W, RAX, S1);
	t->state |= SLOT;
}
static void restore_flags(struct tr *t, unsigned live)
{
	struct x64_asm *a = &t->a;
	mov_store(a, OP_W, V_AT(fast.save[2]), RAX);
	op_rm(a, OP(0, 1, 0xb7), RAX, V_AT(fast.flags), 0); /* movzx eax, word */
	if (live & X86_OF) put8(a, 0x04), put8(a, 0x7f);    /* add al, 0x7f: overflows if it is 1 */
	put8(a, 0x9e);					    /* sahf */
	mov_load(a, OP_W, RAX, V_AT(fast.save[2]));
	t->state |= HOST;
}
/* The host's flags are about to be lost; `live`: of the guest's, those that still count. */
static void flags_go(struct tr *t, unsigned live)
{
	if (live && !(t->state & SLOT)) save_flags(t);
	t->state = SLOT;
}
static void flags_come(struct tr *t, unsigned live)
{
	if (live && !(t->state & HOST)) restore_flags(t, live);
}

/* ---- code: memory */

static struct cold *cold(struct tr *t, unsigned kind, uint8_t *from)
{
	must(t->colds < COLDS);
	struct cold *c = &t->cold[t->colds++];
	*c = (struct cold){
		.kind = kind, .from = from, .state = t->state, .view = t->view, .done = t->done};
	return c;
}
static void mov_guest(struct x64_asm *a, unsigned to, unsigned g) /* 64 bits */
{
	if (x86_host_of(g) == NOREG)
		mov_load(a, OP_W, to, x86_reg_slot(g));
	else
		mov_rr(a, OP_W, to, x86_host_of(g));
}
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
		mov_guest(a, S2, g);
	else if (x86_host_of(g) == NOREG)
		op_rm(a, OP(0, 0, 0x63) + OP_W, S2, x86_reg_slot(g), 0); /* movsxd */
	else
		op_rm(a, OP(0, 0, 0x63) + OP_W, S2, rm_reg(x86_host_of(g)), 0);
	shift_imm(a, SH_SAR, OP_W, S2, wide ? 6 : 5);
	lea(a, OP_W, S1, rm_index(S1, S2, wide ? 3 : 2, 0));
}
/* Is the linear address at `disp` from the page's beginning one that is known? In the same 2 GiB,
 * which is LOW if it is in a window. */
static bool is_fixed(const struct tr *t, int64_t disp)
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
	if (m->base == X86_RIP ? !is_fixed(t, m->disp) : m->base != X86_NOREG) return false;
	return (*at & (X86_PAGE - 1)) + m->size <= X86_PAGE;
}
/* S1 = m's linear address. S2 is lost where is_complex(). */
static void emit_la(struct x64_asm *a, const struct access *m, const struct x86_insn *in)
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
	flags_go(t, i->before);
	if (is_known(t, m, &at)) {
		from = check_known(t, at, m->write);
	} else {
		emit_la(&t->a, m, &i->in);
		from = check_any(t, m, len);
	}
	struct cold *c = cold(t, COLD_MEM, from);
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
	if (!is_complex(m)) emit_la(a, m, in);
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
	flags_go(t, i->before);
	if (x86_is_simple(m))
		reg = simple_base(a, m);
	else
		emit_la(a, m, &i->in);
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
	struct cold *c = cold(t, COLD_OUT, jcc_later(a, cc));
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
/* What groups have to have looked at before instruction k. */
static void check_windows(struct tr *t, unsigned k)
{
	for (unsigned n = 0; n < t->groups; n++) {
		struct group *g = &t->g[n];
		if (!g->win || g->done || g->at != k || g->first == k) continue;
		check_base(t, k, g, false);
		t->cold[t->colds - 1].target = t->i[g->first].off;
		g->done = true;
	}
}
/* All that a loop need not look at again; who is refused goes on with the first instruction. */
static void check_steady(struct tr *t)
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
	emit_la(&t->a, m, in);
	if (kept) mov_load(&t->a, OP_W, S2, V_AT(fast.save[1]));
}
static void note_store(struct tr *t, struct rm rm, unsigned bytes)
{
	if (t->j->check) x86_emit_log(t, rm, bytes);
}
/* Here instruction k may fault. */
static void note_host(struct tr *t, unsigned k, bool flags)
{
	(void)x86_map_add(t->j, (struct x86_at_host){.host = (uint32_t)(t->a.p - t->j->rw),
						     .off = t->i[k].off,
						     .flags = flags,
						     .done = (uint8_t)t->done});
}
/* Instruction k is through, and a way out comes. */
static void count(struct tr *t, unsigned reg)
{
	if (t->j->counts && !t->counted) x86_emit_counted(t, 1, reg);
	t->counted = true;
	t->done = 0;
}
/* For an instruction of one byte at most before its ModRM: a move between S1 or a register and what
 * has been looked up. */
static void move(struct tr *t, unsigned k, unsigned reg, struct rm rm, bool load)
{
	if (!load) note_store(t, rm, 8);
	note_host(t, k, t->state & HOST && t->i[k].before);
	if (t->prefix) put8(&t->a, t->prefix);
	t->prefix = 0;
	if (load)
		mov_load(&t->a, OP_W, reg, rm);
	else
		mov_store(&t->a, OP_W, rm, reg);
}
static void move_imm(struct tr *t, unsigned k, int32_t imm, struct rm to)
{
	note_store(t, to, 8);
	note_host(t, k, t->state & HOST && t->i[k].before);
	if (t->prefix) put8(&t->a, t->prefix);
	t->prefix = 0;
	mov_store_imm(&t->a, 8, to, imm);
}
static struct rm look_up_alone(struct tr *t, unsigned k, const struct access *m)
{
	if (m->win) {
		bool own = m == &t->i[k].m, sure = own && t->i[k].sure;
		bool looked = sure || (own && t->i[k].steady), simple = x86_is_simple(m);
		bool either = m->win == X86_WIN_EITHER;
		if (sure && m->base == X86_RIP && is_fixed(t, m->disp))
			return rm_fixed(t->la + m->disp);
		if (!looked) check_window(t, k, m);
		if (!simple && (either || (looked && !is_direct(m) && !is_constant(m))))
			emit_la_beside(t, m, &t->i[k].in);
		return pointer_in_window(t, m, !looked);
	}
	check(t, k, m, m->size, x86_ends_block(t->i[k].class));
	return pointer(t, m, &t->i[k].in);
}
/* The access of instruction k. */
static struct rm look_up(struct tr *t, unsigned k)
{
	struct insn *i = &t->i[k];
	if (i->group == NO_GROUP) return look_up_alone(t, k, &i->m);
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

/* ---- code: the same instruction with other operands */

struct fields { /* what goes into an instruction's register fields */
	unsigned reg, vvvv, opcode;
	struct rm rm;
};
static bool is_dropped_prefix(uint8_t b)
{
	return (b & 0xe7) == 0x26 || b == 0x64 || b == 0x65 || b == 0x67;
}
/* With one vCPU nothing comes between the halves of an instruction, so LOCK is dropped, as Linux
 * drops it on such machines and as QEMU does. What is a barrier against devices stays one: Linux
 * writes that as a locked addition to the stack. */
static bool keeps_lock(const struct tr *t, const struct x86_insn *in)
{
	return t->j->v->machine->n > 1 || in->base == RSP;
}
static const uint8_t *copy_prefixes(struct x64_asm *a, const uint8_t *p, bool lock)
{
	for (;; p++) {
		if (*p == 0x66 || *p == 0xf2 || *p == 0xf3 || (*p == 0xf0 && lock))
			put8(a, *p);
		else if (!is_dropped_prefix(*p) && *p != 0xf0 && (*p & 0xf0) != 0x40)
			return p;
	}
}
static unsigned rex_of(const struct fields *f)
{
	const struct rm *m = &f->rm;
	unsigned b = m->reg != NOREG ? m->reg : m->base;
	unsigned x = m->reg == NOREG && m->index != NOREG ? m->index >> 3 : 0;
	return (f->reg >> 3 & 1) << 2 | x << 1 | (b == NOREG ? 0 : b >> 3 & 1);
}
static void encode(struct x64_asm *a, const struct x86_insn *in, const uint8_t *code,
		   const struct fields *f, bool lock)
{
	const uint8_t *p = copy_prefixes(a, code, lock);
	bool modrm = in->modrm || in->has_mem;
	unsigned rex = modrm ? rex_of(f) : f->opcode >> 3 & 1;
	if (in->vex) {
		unsigned map = *p == 0xc5 ? 1 : p[1] & 31;
		unsigned last = *p == 0xc5 ? p[1] & 0x7fu : p[2];
		put8(a, 0xc4);
		put8(a, (~rex & 7) << 5 | map);
		put8(a, (last & 0x87) | (~f->vvvv & 15) << 3);
		p += in->vex;
	} else {
		rex |= in->rex & 8;
		if (rex || in->rex) put8(a, 0x40 | rex);
		if (*p == 0x0f) {
			put8(a, *p++);
			if (*p == 0x38 || *p == 0x3a) put8(a, *p++);
		}
	}
	if (modrm) {
		put8(a, *p);
		x64_operand(a, f->reg, &f->rm, 0);
	} else {
		put8(a, f->opcode < 16 ? (*p & 0xf8u) | (f->opcode & 7) : *p);
	}
	for (unsigned k = 0; k < in->imm_len; k++) put8(a, code[in->imm_at + k]);
}

struct home { /* a guest register that is in memory, while an instruction has it */
	unsigned guest, host;
	bool written;
};
struct homes {
	struct home h[3];
	unsigned n, taken, room, free[2];
};
/* What only comes out may be where something is that only goes in. */
static unsigned shared(const struct homes *hs)
{
	for (unsigned k = 0; k < hs->n; k++)
		if (!hs->h[k].written) return hs->h[k].host;
	must(false);
	return S1;
}
static unsigned host_for(struct tr *t, struct homes *hs, const struct x86_insn *in, unsigned op)
{
	unsigned g = in->o[op].reg, h = x86_host_of(g);
	if (h != NOREG) return h;
	bool written = x86_op_info(in->op)->writes_o >> op & 1, comes = x86_only_comes(in, op);
	for (unsigned k = 0; k < hs->n; k++)
		if (hs->h[k].guest == g) {
			hs->h[k].written |= written;
			return hs->h[k].host;
		}
	h = comes && hs->taken == hs->room ? shared(hs) : hs->free[hs->taken++];
	hs->h[hs->n++] = (struct home){g, h, written};
	if (!comes) mov_load(&t->a, OP_W, h, x86_reg_slot(g));
	return h;
}
static bool is_homeless(const struct x86_insn *in)
{
	for (unsigned k = 0; k < in->operands; k++)
		if (in->o[k].kind == X86_REG && in->o[k].at != X86_AT_NOWHERE &&
		    x86_host_of(in->o[k].reg) == NOREG)
			return true;
	return false;
}
static void fill_field(struct fields *f, unsigned at, unsigned h)
{
	switch (at) {
	case X86_AT_REG: f->reg = h; break;
	case X86_AT_RM: f->rm = rm_reg(h); break;
	case X86_AT_VVVV: f->vvvv = h; break;
	case X86_AT_OPCODE: f->opcode = h; break;
	default: break;
	}
}
/* What goes in first. */
static void fill_fields(struct tr *t, const struct x86_insn *in, struct fields *f, struct homes *hs)
{
	for (unsigned k = 0; k < 2u * in->operands; k++) {
		unsigned op = k % in->operands;
		const struct x86_operand *o = &in->o[op];
		if (o->kind == X86_REG && o->at != X86_AT_NOWHERE &&
		    x86_only_comes(in, op) == (k >= in->operands))
			fill_field(f, o->at, host_for(t, hs, in, op));
	}
}
/* As they are: for what is not a general register. */
static struct fields fields_as_written(const struct x86_insn *in, const uint8_t *code)
{
	struct fields f = {.reg = (in->modrm >> 3 & 7u) | (in->rex & 4u) << 1,
			   .opcode = 16,
			   .rm = rm_reg((in->modrm & 7u) | (in->rex & 1u) << 3)};
	if (in->vex) {
		const uint8_t *p = code;
		while (*p != 0xc4 && *p != 0xc5) p++;
		f.vvvv = (unsigned)~((*p == 0xc5 ? p[1] : p[2]) >> 3) & 15;
	}
	return f;
}
static void emit_with(struct tr *t, unsigned k, struct fields f, struct homes *hs)
{
	struct insn *i = &t->i[k];
	const struct x86_op_info *info = x86_op_info(i->in.op);
	unsigned touched = (info->writes | info->undefines | info->reads) & X86_ARITH;
	if (touched) flags_come(t, i->before);
	bool counts = i->before && t->state & HOST;
	if (i->m.size && i->m.write) note_store(t, f.rm, i->m.size);
	note_host(t, k, counts);
	if (t->prefix) put8(&t->a, t->prefix);
	t->prefix = 0;
	encode(&t->a, &i->in, i->bytes, &f, keeps_lock(t, &i->in));
	if ((info->writes | info->undefines) & X86_ARITH) t->state = HOST;
	for (unsigned n = 0; n < hs->n; n++)
		if (hs->h[n].written)
			mov_store(&t->a, OP_W, x86_reg_slot(hs->h[n].guest), hs->h[n].host);
}
static void emit_copy(struct tr *t, unsigned k)
{
	const struct x86_insn *in = &t->i[k].in;
	struct fields f = fields_as_written(in, t->i[k].bytes);
	struct homes hs = {.free = {S1, S2}, .room = 2};
	if (t->i[k].m.size) {
		f.rm = look_up(t, k);
		if (is_homeless(in)) {
			lea(&t->a, OP_W, S1, f.rm);
			f.rm = rm_mem(S1, 0);
			hs.free[0] = S2;
			hs.room = 1;
		}
	}
	fill_fields(t, in, &f, &hs);
	emit_with(t, k, f, &hs);
}
static void emit_bit(struct tr *t, unsigned k)
{
	const struct x86_insn *in = &t->i[k].in;
	struct fields f = fields_as_written(in, t->i[k].bytes);
	struct homes none = {0};
	lea(&t->a, OP_W, S1, look_up(t, k));
	mov_guest(&t->a, S2, in->o[1].reg);
	alu_imm(&t->a, ALU_AND, 0, rm_reg(S2), in->osize == 8 ? 63 : 31);
	f.rm = rm_mem(S1, 0);
	f.reg = S2;
	emit_with(t, k, f, &none);
}
static void emit_lea(struct tr *t, unsigned k)
{
	struct insn *i = &t->i[k];
	struct access m;
	uint32_t w = i->in.osize == 8 ? OP_W : 0;
	unsigned g = i->in.o[0].reg, h = x86_host_of(g);
	(void)x86_access_of(&m, i, 1);
	m.seg = X86_DS;
	bool near = m.base < 16 && x86_host_of(m.base) != NOREG && !m.a32 &&
		    (m.index == X86_NOREG || x86_host_of(m.index) != NOREG);
	unsigned to = h == NOREG ? (unsigned)S1 : h;
	if (m.base == X86_RIP && !m.a32 && is_fixed(t, m.disp)) {
		uint64_t at = (uint64_t)(t->la + m.disp);
		mov_imm(&t->a, to, w ? at : (uint32_t)at);
	} else if (near) {
		unsigned index = m.index == X86_NOREG ? (unsigned)NOREG : x86_host_of(m.index);
		lea(&t->a, w, to, rm_index(x86_host_of(m.base), index, m.scale, m.disp));
	} else {
		emit_la(&t->a, &m, &i->in);
		if (to != S1 || !w) mov_rr(&t->a, w, to, S1);
	}
	if (h == NOREG) mov_store(&t->a, OP_W, x86_reg_slot(g), S1);
}

/* ---- code: ways out */

/* In the entry of the branches' table that S2 is the offset of. */
static struct rm ibtc_at(const struct tr *t, size_t field)
{
	size_t at = offsetof(struct x86_vcpu, fast.ibtc) +
		    t->view * sizeof(((struct x86_vcpu *)0)->fast.ibtc[0]) + field;
	return rm_index(RSP, S2, 0, (int32_t)at);
}
static void indirect(struct tr *t) /* to S1; flags are in SLOT */
{
	struct x64_asm *a = &t->a;
	vex_rm(a, OP(0xf2, 3, 0xf0) + OP_W, S2, 0, rm_reg(S1), 1); /* rorx */
	put8(a, X86_PAGE_SHIFT);
	alu_rr(a, ALU_XOR, OP_W, S2, S1);
	alu_imm(a, ALU_AND, 0, rm_reg(S2), X86_IBTC - 1);
	shift_imm(a, SH_SHL, 0, S2, 4);
	op_rm(a, OP(0, 0, 0xff), 4, ibtc_at(t, offsetof(struct x86_ibtc, host)), 0);
}
static void emit_place(struct tr *t, int64_t disp) /* S1 = that from the page's beginning */
{
	if (is_fixed(t, disp)) {
		mov_imm(&t->a, S1, (uint64_t)(t->la + disp));
		return;
	}
	mov_load(&t->a, OP_W, S1, V_AT(fast.page));
	lea(&t->a, OP_W, S1, rm_mem(S1, (int32_t)disp));
}
static void go_far(struct tr *t, int64_t target)
{
	if (!(t->state & SLOT)) save_flags(t);
	emit_place(t, target);
	if (!is_fixed(t, target)) {
		indirect(t);
		return;
	}
	unsigned at = x86_ibtc_index((uint64_t)(t->la + target)) * sizeof(struct x86_ibtc);
	struct rm to = ibtc_at(t, offsetof(struct x86_ibtc, host));
	mov_imm(&t->a, S2, at);
	op_rm(&t->a, OP(0, 0, 0xff), 4, rm_mem(RSP, to.disp + (int32_t)at), 0);
}
static bool is_near(int64_t target) { return target >= 0 && target < X86_PAGE; }
static const uint8_t *self_entry(const struct tr *t)
{
	if (t->loops) return t->loop;
	return t->state & HOST ? t->body : t->slot;
}
static bool must_save(struct tr *t, int64_t target)
{
	if (t->loops && x86_is_self(t, target)) return false; /* it reads none */
	return !(t->state & SLOT) && x86_wants_flags(t, target) == SLOT;
}
/* from: where the instruction is that goes there. */
static void go(struct tr *t, int64_t from, int64_t target)
{
	if (!is_near(target)) {
		go_far(t, target);
		return;
	}
	if (must_save(t, target)) save_flags(t);
	if (x86_is_self(t, target)) {
		jump_to(&t->a, self_entry(t));
		return;
	}
	struct cold *c = cold(t, COLD_LINK, jump_later(&t->a));
	c->target = target;
	c->ahead = target > from;
}
/* The host's condition that holds if the guest's cc does, whose flags are in SLOT alone. */
static enum cc test_slot(struct tr *t, enum cc cc)
{
	enum { OF_TO_SF = 7 };
	static const uint8_t low[] = {
		[CC_O >> 1] = 1, /* of the first byte; the others of the second */
		[CC_B >> 1] = X86_CF, [CC_E >> 1] = X86_ZF, [CC_BE >> 1] = X86_CF | X86_ZF,
		[CC_S >> 1] = X86_SF, [CC_P >> 1] = X86_PF,
	};
	struct x64_asm *a = &t->a;
	struct rm flags = V_AT(fast.flags);
	enum cc is_set = cc & 1 ? CC_E : CC_NE;
	if (cc < CC_L) {
		if (cc > CC_NO) flags = upper_flags();
		op_rm(a, OP(0, 0, 0xf6), 0, flags, 1); /* test byte */
		put8(a, low[cc >> 1]);
		return is_set;
	}
	op_rm(a, OP(0, 1, 0xb6), S1, upper_flags(), 0);
	op_rm(a, OP(0, 1, 0xb6), S2, flags, 0); /* OF */
	shift_imm(a, SH_SHL, 0, S2, OF_TO_SF);
	alu_rr(a, ALU_XOR, 0, S2, S1);
	alu_imm(a, ALU_AND, 0, rm_reg(S2), X86_SF);
	if (cc >= CC_LE) {
		alu_imm(a, ALU_AND, 0, rm_reg(S1), X86_ZF);
		alu_rr(a, ALU_OR, 0, S2, S1);
	}
	return is_set;
}
static void emit_jcc(struct tr *t, unsigned k)
{
	struct insn *i = &t->i[k];
	int64_t target = x86_branch_target(i);
	count(t, S1);
	enum cc cc = t->state & HOST ? i->in.cc : test_slot(t, i->in.cc);
	bool near = is_near(target), save = near && must_save(t, target);
	if (x86_is_self(t, target) && !save) {
		jcc_to(&t->a, cc, self_entry(t));
		return;
	}
	struct cold *c = cold(t,
			      !near  ? COLD_FAR
			      : save ? COLD_SAVE
				     : COLD_LINK,
			      jcc_later(&t->a, cc));
	c->insn = k;
	c->target = target;
	c->ahead = target > i->off;
}
static void call_thunk(struct tr *t, enum thunk which, uint32_t info)
{
	mov_imm(&t->a, S2, info | (t->j->counts ? (uint64_t)t->done << INFO_DONE : 0));
	call_to(&t->a, t->j->thunk[which]);
}
static uint32_t info_of(const struct tr *t, const struct insn *i)
{
	return i->off | t->view << INFO_VIEW | (uint32_t)i->in.len << INFO_BYTES;
}

/* ---- code: the stack */

static void move_sp(struct tr *t, int32_t by) { lea(&t->a, OP_W, GSP, rm_mem(GSP, by)); }

static struct rm look_up_operand(struct tr *t, unsigned k, int op)
{
	struct access m;
	if (t->i[k].class != C_PUSH) return look_up_alone(t, k, &t->i[k].m);
	(void)x86_access_of(&m, &t->i[k], (unsigned)op);
	m.win = t->i[k].m2_win;
	return look_up_alone(t, k, &m);
}
/* S1 = what it pushes or calls, kept in save[3] if it had to be looked up. */
static bool fetch_operand(struct tr *t, unsigned k)
{
	int op = x86_mem_operand_of(&t->i[k].in);
	bool sp = t->i[k].in.o[0].kind == X86_REG && t->i[k].in.o[0].reg == RSP;
	if (op >= 0) {
		move(t, k, S1, look_up_operand(t, k, op), true);
		mov_store(&t->a, OP_W, V_AT(fast.save[3]), S1);
	} else if (sp) {
		mov_store(&t->a, OP_W, V_AT(fast.save[3]), GSP);
	}
	return op >= 0 || sp;
}
static void fetched(struct tr *t, unsigned k, bool kept)
{
	if (kept)
		mov_load(&t->a, OP_W, S1, V_AT(fast.save[3]));
	else
		mov_guest(&t->a, S1, t->i[k].in.o[0].reg);
}
static void emit_push(struct tr *t, unsigned k)
{
	const struct x86_operand *o = &t->i[k].in.o[0];
	bool kept = fetch_operand(t, k);
	struct rm to = look_up(t, k);
	if (o->kind == X86_IMM) {
		move_imm(t, k, (int32_t)t->i[k].in.imm, to);
	} else if (!kept && x86_host_of(o->reg) != NOREG) {
		move(t, k, x86_host_of(o->reg), to, false);
	} else {
		fetched(t, k, kept);
		move(t, k, S1, to, false);
	}
	move_sp(t, -8);
}
static void emit_pop(struct tr *t, unsigned k)
{
	unsigned g = t->i[k].in.o[0].reg, h = x86_host_of(g);
	move(t, k, h == NOREG ? (unsigned)S1 : h, look_up(t, k), true);
	if (h == NOREG) mov_store(&t->a, OP_W, x86_reg_slot(g), S1);
	move_sp(t, 8);
}
static void push_return(struct tr *t, unsigned k, struct rm to)
{
	int32_t back = (int32_t)(t->i[k].off + t->i[k].in.len);
	if (is_fixed(t, back)) {
		move_imm(t, k, (int32_t)(t->la + back), to);
	} else {
		emit_place(t, back);
		move(t, k, S1, to, false);
	}
	move_sp(t, -8);
}
static void emit_call(struct tr *t, unsigned k)
{
	push_return(t, k, look_up(t, k));
	count(t, S1);
	go(t, t->i[k].off, x86_branch_target(&t->i[k]));
}
static void emit_calli(struct tr *t, unsigned k)
{
	const struct access stack = {.base = RSP,
				     .index = X86_NOREG,
				     .seg = X86_DS,
				     .write = true,
				     .size = 8,
				     .disp = -8,
				     .win = t->variant & VARIANT_WIN ? X86_WIN_HIGH : X86_WIN_NONE};
	bool kept = fetch_operand(t, k);
	push_return(t, k, look_up_alone(t, k, &stack));
	count(t, S1);
	fetched(t, k, kept);
	indirect(t);
}
static void emit_jmpi(struct tr *t, unsigned k)
{
	int op = x86_mem_operand_of(&t->i[k].in);
	if (!(t->state & SLOT)) save_flags(t);
	if (op >= 0)
		move(t, k, S1, look_up_operand(t, k, op), true);
	else
		mov_guest(&t->a, S1, t->i[k].in.o[0].reg);
	count(t, S2);
	indirect(t);
}
static void emit_ret(struct tr *t, unsigned k)
{
	const struct x86_insn *in = &t->i[k].in;
	struct rm from = look_up(t, k);
	if (!(t->state & SLOT)) save_flags(t);
	move(t, k, S1, from, true);
	count(t, S2);
	move_sp(t, 8 + (in->operands ? (int32_t)(uint16_t)in->imm : 0));
	indirect(t);
}
static void emit_leave(struct tr *t, unsigned k)
{
	move(t, k, S1, look_up(t, k), true);
	lea(&t->a, OP_W, GSP, rm_mem(RBP, 8));
	mov_rr(&t->a, OP_W, RBP, S1);
}

/* ---- code: of the system */

static void emit_ac(struct tr *t, unsigned k, bool set)
{
	flags_go(t, t->i[k].before);
	alu_imm(&t->a, set ? ALU_OR : ALU_AND, 0, V_AT(cpu.flags), set ? X86_AC : ~X86_AC);
	t->view = set ? X86_VIEW_BOTH : X86_VIEW_KERNEL;
	mov_store_imm(&t->a, 1, V_AT(view), (int32_t)t->view);
}
/* Instruction k is the interpreter's if cc holds. */
static void end_if(struct tr *t, unsigned k, enum cc cc)
{
	cold(t, COLD_END, jcc_later(&t->a, cc))->insn = k;
}
/* Who may do it is what popf_mask says. An interrupt that waits is the interpreter's: it has the
 * shadow; later ones are seen by the next block. */
static void emit_if(struct tr *t, unsigned k, bool set)
{
	struct x64_asm *a = &t->a;
	flags_go(t, t->i[k].before);
	mov_load(a, 0, S1, V_AT(cpu.popf_mask));
	alu_imm(a, ALU_AND, 0, rm_reg(S1), X86_IF);
	end_if(t, k, CC_E);
	if (set) {
		alu_imm(a, ALU_CMP, 0, V_AT(intr), 0);
		end_if(t, k, CC_NE);
		alu_rm(a, ALU_OR, 0, S1, V_AT(cpu.flags));
		mov_store(a, 0, V_AT(cpu.flags), S1);
	} else {
		alu_imm(a, ALU_AND, 0, V_AT(cpu.flags), ~X86_IF);
	}
}
static void emit_pushf(struct tr *t, unsigned k)
{
	struct x64_asm *a = &t->a;
	flags_go(t, X86_ARITH);
	mov_load(a, 0, S1, V_AT(cpu.flags)); /* but the arithmetic ones from their slot */
	alu_imm(a, ALU_AND, 0, rm_reg(S1), ~X86_ARITH);
	op_rm(a, OP(0, 1, 0xb6), S2, upper_flags(), 0);
	alu_rr(a, ALU_OR, 0, S1, S2);
	op_rm(a, OP(0, 1, 0xb6), S2, V_AT(fast.flags), 0);
	shift_imm(a, SH_SHL, 0, S2, 11);
	alu_rr(a, ALU_OR, 0, S1, S2);
	mov_store(a, OP_W, V_AT(fast.save[3]), S1);
	struct rm to = look_up(t, k);
	mov_load(a, OP_W, S1, V_AT(fast.save[3]));
	move(t, k, S1, to, false);
	move_sp(t, -8);
}
static void emit_swapgs(struct tr *t, unsigned k)
{
	struct x64_asm *a = &t->a;
	flags_go(t, t->i[k].before);
	op_rm(a, OP(0, 0, 0x80), ALU_CMP, V_AT(cpl), 1);
	put8(a, 0);
	end_if(t, k, CC_NE);
	mov_load(a, OP_W, S1, V_AT(kernel_gs));
	mov_load(a, OP_W, S2, V_AT(seg[X86_GS].base));
	mov_store(a, OP_W, V_AT(kernel_gs), S2);
	mov_store(a, OP_W, V_AT(seg[X86_GS].base), S1);
	mov_store(a, OP_W, V_AT(cpu.base[X86_GS]), S1);
}
/* Code that others have written before is executed behind it. */
static void emit_serialize(struct tr *t, unsigned k)
{
	flags_go(t, t->i[k].before);
	put8(&t->a, 0x0f), put8(&t->a, 0xae), put8(&t->a, 0xf0); /* mfence */
	alu_imm(&t->a, ALU_CMP, 0, V_AT(poll), 0);
	end_if(t, k, CC_NE);
}
static void emit_rdtsc(struct tr *t, unsigned k)
{
	struct x64_asm *a = &t->a;
	flags_go(t, t->i[k].before);
	bool p = t->i[k].in.op == X86_OP_rdtscp;
	if (p) put8(a, 0x0f), put8(a, 0xae), put8(a, 0xe8); /* lfence */
	put8(a, 0x0f), put8(a, 0x31);
	shift_imm(a, SH_SHL, OP_W, RDX, 32);
	alu_rr(a, ALU_OR, OP_W, RAX, RDX);
	alu_rm(a, ALU_ADD, OP_W, RAX, V_AT(tsc_off));
	mov_rr(a, OP_W, RDX, RAX);
	shift_imm(a, SH_SHR, OP_W, RDX, 32);
	mov_rr(a, 0, RAX, RAX);
	if (p) mov_load(a, 0, RCX, V_AT(tsc_aux));
}
/* Before the instruction that runs over the end of the page: is the next page still that page? */
static void emit_crossing(struct tr *t, unsigned k)
{
	struct x64_asm *a = &t->a;
	flags_go(t, t->i[k].before);
	struct rm at = V_AT(fast.cross);
	at.disp += (int32_t)(x86_cross_of(t->page) * sizeof(struct x86_cross));
	mov_load(a, OP_W, S1, V_AT(fast.page));
	alu_rm(a, ALU_CMP, OP_W, S1, at);
	struct cold *c = cold(t, COLD_CROSS, jcc_later(a, CC_NE));
	at.disp += (int32_t)offsetof(struct x86_cross, next);
	alu_imm(a, ALU_CMP, OP_W, at, (int32_t)(t->cross >> X86_PAGE_SHIFT));
	struct cold *d = cold(t, COLD_CROSS, jcc_later(a, CC_NE));
	c->back = d->back = a->p;
	c->insn = d->insn = k;
}
static enum thunk thunk_of_end(const struct x86_insn *in)
{
	if (in->op == X86_OP_sysret && in->osize == 8) return THUNK_SYSRET;
	return in->op == X86_OP_syscall ? THUNK_SYSCALL : THUNK_END;
}
static void emit_insn(struct tr *t, unsigned k)
{
	struct insn *i = &t->i[k];
	i->host = t->a.p;
	if (i->bytes == t->edge) emit_crossing(t, k);
	check_windows(t, k);
	switch (i->class) {
	case C_COPY: emit_copy(t, k); break;
	case C_NOTHING: break;
	case C_LEA: emit_lea(t, k); break;
	case C_BIT: emit_bit(t, k); break;
	case C_JCC: emit_jcc(t, k); break;
	case C_JMP:
		count(t, S1);
		go(t, i->off, x86_branch_target(i));
		break;
	case C_JMPI: emit_jmpi(t, k); break;
	case C_CALL: emit_call(t, k); break;
	case C_CALLI: emit_calli(t, k); break;
	case C_RET: emit_ret(t, k); break;
	case C_PUSH: emit_push(t, k); break;
	case C_POP: emit_pop(t, k); break;
	case C_LEAVE: emit_leave(t, k); break;
	case C_STAC:
	case C_CLAC: emit_ac(t, k, i->class == C_STAC); break;
	case C_RDTSC: emit_rdtsc(t, k); break;
	case C_IF: emit_if(t, k, i->in.op == X86_OP_sti); break;
	case C_PUSHF: emit_pushf(t, k); break;
	case C_CLD:
		flags_go(t, i->before);
		alu_imm(&t->a, ALU_AND, 0, V_AT(cpu.flags), ~X86_DF);
		break;
	case C_SWAPGS: emit_swapgs(t, k); break;
	case C_SERIALIZE: emit_serialize(t, k); break;
	case C_REP:
		flags_go(t, i->before);
		mov_imm(&t->a, S1,
			i->in.o[0].size | (i->in.op == X86_OP_stos ? (unsigned)REP_STOS : 0));
		call_thunk(t, THUNK_REP, info_of(t, i));
		break;
	case C_STEP:
		flags_go(t, i->before);
		call_thunk(t, THUNK_STEP, info_of(t, i));
		break;
	default: /* C_END */
		flags_go(t, i->before);
		call_thunk(t, thunk_of_end(&i->in), info_of(t, i));
		break;
	}
	i->state_after = (uint8_t)t->state;
	if (!t->counted) t->done++;
	t->counted = false;
}
/* A loop several times over: all rounds but the last. They are left behind the last one. */
static void emit_rounds(struct tr *t, uint8_t **leave)
{
	for (unsigned n = 0; n + 1 < t->rounds; n++) {
		for (unsigned k = 0; k < t->back; k++) emit_insn(t, k);
		enum cc cc = t->i[t->back].in.cc;
		if (!(t->state & HOST)) cc = test_slot(t, cc);
		leave[n] = jcc_later(&t->a, cc ^ 1);
		for (unsigned g = 0; g < t->groups; g++)
			t->g[g].done = t->g[g].steady || t->g[g].sure;
	}
}
static void emit_insns(struct tr *t)
{
	uint8_t *leave[JIT_BLOCK_INSNS];
	emit_rounds(t, leave);
	for (unsigned k = 0; k < t->n; k++) {
		emit_insn(t, k);
		for (unsigned n = 0; k == t->back && n + 1 < t->rounds; n++)
			set_rel32(leave[n], t->a.p);
	}
}
static void emit_cold(struct tr *t, struct cold *c)
{
	struct x64_asm *a = &t->a;
	set_rel32(c->from, a->p);
	t->state = c->state;
	t->view = c->view;
	t->done = c->done;
	struct insn *i = &t->i[c->insn];
	switch (c->kind) {
	case COLD_MEM:
		emit_la(a, &c->m, &i->in);
		call_thunk(t, THUNK_MEM, c->info);
		set_rel32(jump_later(a), c->back); /* 5 bytes: thunk_mem skips them */
		if (c->info & INFO_LEAVE) break;
		t->state = SLOT;
		if (i->state_after & HOST) flags_come(t, i->live);
		set_rel32(jump_later(a), t->i[c->insn + 1].host);
		break;
	case COLD_LINK:
		if (!(c->state & SLOT)) save_flags(t);
		call_thunk(t, THUNK_LINK,
			   (uint32_t)c->target | c->view << INFO_VIEW |
				   (c->state & HOST ? 0 : (uint32_t)INFO_SLOT) |
				   (c->ahead ? (uint32_t)INFO_AHEAD : 0));
		put32(a, (uint32_t)(c->from - a->p));
		put32(a, t->me);
		break;
	case COLD_FAR: go_far(t, c->target); break;
	case COLD_SAVE: go(t, i->off, c->target); break;
	case COLD_END: call_thunk(t, THUNK_END, info_of(t, i)); break;
	case COLD_OUT:
		emit_la(a, &c->m, &i->in);
		call_thunk(t, THUNK_OUT, info_of(t, i) | INFO_LEAVE);
		put32(a, (uint32_t)c->target);
		break;
	case COLD_CROSS:
		call_thunk(t, THUNK_CROSS, info_of(t, i));
		set_rel32(jump_later(a), c->back);
		break;
	case COLD_SPENT:
		mov_load(a, OP_W, RCX, V_AT(fast.save[2]));
		if (t->head_live && c->state & HOST) save_flags(t);
		call_thunk(t, THUNK_POLL, t->start | c->view << INFO_VIEW);
		break;
	case COLD_POLL:
		if (t->head_live && c->state & HOST) {
			mov_load(a, OP_W, RCX, V_AT(fast.save[2]));
			save_flags(t);
		}
		call_thunk(t, THUNK_POLL, t->start | c->view << INFO_VIEW);
		break;
	}
}
static bool is_near_cold(const struct cold *c)
{
	return c->kind == COLD_FAR || c->kind == COLD_SAVE;
}
/* Branches into other pages are taken often, and so on: they stay near. */
static void emit_colds(struct tr *t, bool near)
{
	for (unsigned k = 0; k < t->colds; k++)
		if (is_near_cold(&t->cold[k]) == near) emit_cold(t, &t->cold[k]);
}
static void emit_poll(struct tr *t)
{
	struct x64_asm *a = &t->a;
	if (!t->head_live || !(t->state & HOST)) {
		alu_imm(a, ALU_CMP, 0, V_AT(poll), 0);
		cold(t, COLD_POLL, jcc_later(a, CC_NE));
		return;
	}
	mov_store(a, OP_W, V_AT(fast.save[2]), RCX);
	mov_load(a, 0, RCX, V_AT(poll));
	put8(a, 0xe3), put8(a, 5); /* jrcxz */
	cold(t, COLD_POLL, jump_later(a));
	mov_load(a, OP_W, RCX, V_AT(fast.save[2]));
}
/* The host fetches decoded instructions by lines. */
static void align(struct x64_asm *a)
{
	enum { LINE = 32 };
	static const uint8_t nop[] = {0x66, 0x66, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0};
	for (unsigned n; (n = (unsigned)(-(uintptr_t)a->p % LINE)) != 0;) {
		if (n >= sizeof(nop))
			for (unsigned k = 0; k < sizeof(nop); k++) put8(a, nop[k]);
		else if (n == 1)
			put8(a, 0x90);
		else
			for (put8(a, 0x66), n--; n--;) put8(a, n ? 0x66 : 0x90);
	}
}
static void emit_entries(struct tr *t, struct x86_block *b)
{
	struct x64_asm *a = &t->a;
	b->code = (uint32_t)(a->p - t->j->rw);
	alu_rm(a, ALU_CMP, OP_W, S1, ibtc_at(t, offsetof(struct x86_ibtc, key)));
	jcc_to(a, CC_NE, t->j->miss);
	if (t->variant & VARIANT_FIXED) {
		mov_store_imm(a, 8, V_AT(fast.page), (int32_t)t->la);
	} else {
		alu_imm(a, ALU_AND, OP_W, rm_reg(S1), -X86_PAGE);
		mov_store(a, OP_W, V_AT(fast.page), S1);
	}
	t->slot = a->p;
	b->slot = (uint32_t)(a->p - t->j->rw);
	t->state = SLOT;
	if (x86_wants_flags(t, t->start) == HOST) {
		flags_come(t, X86_ARITH);
		t->state = HOST;
	}
	t->body = a->p;
	b->body = b->ahead = (uint32_t)(a->p - t->j->rw);
	if (t->loops) {
		check_steady(t);
		align(a);
	}
	t->loop = a->p;
	emit_poll(t);
	if (t->j->counts) cold(t, COLD_SPENT, x86_emit_spent(t));
	if (!t->loops) b->ahead = (uint32_t)(a->p - t->j->rw);
}
static void emit_end(struct tr *t)
{
	t->i[t->n].host = t->a.p;
	if (t->end == JIT_NOT) return;
	if (t->j->counts && !t->end_steps) x86_emit_counted(t, 0, S1);
	if (t->end_steps) {
		flags_go(t, X86_ARITH);
		call_thunk(t, THUNK_END, t->end | t->view << INFO_VIEW);
	} else {
		go(t, t->start, t->end);
	}
}

struct x86_block *x86_translate_block(struct x86_jit *j, const uint8_t *code, gpa_t page,
				      unsigned off, unsigned variant, bool plain, bool *nothing)
{
	/* Bytes for an instruction with all that is out of line for it: 270 at the most. */
	enum { MOST = 320, MOST_LOGGED = 384 };
	size_t most = j->check ? MOST_LOGGED : MOST;
	static _Thread_local struct tr t;
	t.j = j;
	t.run++;
	t.code = code;
	t.page = page;
	t.start = off;
	t.variant = variant;
	t.view = variant & 3;
	t.la = (int64_t)(j->v->cpu.rip & -(uint64_t)X86_PAGE);
	t.plain = plain;
	t.cross = CROSS_NOT;
	t.groups = t.colds = 0;
	t.prefix = t.done = 0;
	t.counted = false;
	t.end_steps = *nothing = false;
	x86_decode_block(&t);
	if (!t.n) {
		*nothing = true;
		return NULL;
	}
	size_t room = (t.n + JIT_ROUNDS_INSNS + 4) * most;
	if (j->size / 2 - j->used < room || j->size - j->cold < room) return NULL;
	struct x86_block *b = x86_block_new(j, page, off, variant);
	if (!b) return NULL;
	t.me = (unsigned)(b - j->block);
	x86_find_flags(&t);
	x86_find_groups(&t);
	x86_find_loop(&t);
	t.a.p = j->rw + j->used;
	b->plain = plain;
	emit_entries(&t, b);
	emit_insns(&t);
	emit_end(&t);
	emit_colds(&t, true);
	t.hot_end = t.a.p;
	size_t hot = (size_t)(t.a.p - j->rw);
	must(hot <= j->used + room);
	b->cold = (uint32_t)j->cold;
	t.a.p = j->rw + j->cold;
	emit_colds(&t, false);
	j->cold = (size_t)(t.a.p - j->rw);
	x86_count(j->v, X86_STAT_UNITS);
	x86_count_n(j->v, X86_STAT_UNIT_INSNS, t.n);
	j->used = (hot + 15) & ~(size_t)15;
	struct insn *last = &t.i[t.n - 1];
	unsigned end = last->off + last->in.len;
	x86_code_used(j, page, off, end < X86_PAGE ? end : X86_PAGE);
	if (t.cross != CROSS_NOT) x86_block_crosses(j, b, t.cross, end - X86_PAGE);
	if (unlikely(j->v->machine->env.log != NULL)) x86_unit_log(&t, b);
	return b;
}
