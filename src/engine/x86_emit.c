/* From guest code to nearly the same code. A block is a run of instructions that is entered at its
 * beginning and left at its end or by its conditional branches. Most instructions are copied, with
 * other register numbers where the guest's register is elsewhere, and with a memory operand that
 * has been looked up in the TLB; some are rewritten (branches, stack); all others are the
 * interpreter's. */
#include "engine/x86_emit.h"
#include "base/types.h"
#include "engine/x86_unitlog.h"
#include "isa/x86/x86.h"
#include "jit/jit.h"

/* Instruction k is through, and a way out comes. */
static void count(struct tr *t, unsigned reg)
{
	if (t->j->counts && !t->counted) x86_emit_counted(t, 1, reg);
	t->counted = true;
	t->done = 0;
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
static const uint8_t *copy_prefixes(uint8_t **to, const uint8_t *from, bool lock)
{
	uint8_t *p = *to;
	for (;; from++) {
		if (*from == 0x66 || *from == 0xf2 || *from == 0xf3 || (*from == 0xf0 && lock))
			*p++ = *from;
		else if (!is_dropped_prefix(*from) && *from != 0xf0 && (*from & 0xf0) != 0x40)
			break;
	}
	*to = p;
	return from;
}
static unsigned rex_of(const struct fields *f)
{
	const struct rm *m = &f->rm;
	unsigned b = m->reg != NOREG ? m->reg : m->base;
	unsigned x = m->reg == NOREG && m->index != NOREG ? m->index >> 3 : 0;
	return (f->reg >> 3 & 1) << 2 | x << 1 | (b == NOREG ? 0 : b >> 3 & 1);
}
/* The opcode at *code with what comes before it; *code is at its last byte then. */
static uint8_t *encode_opcode(uint8_t *p, const struct x86_insn *in, const uint8_t **code,
			      const struct fields *f, unsigned rex)
{
	const uint8_t *c = *code;
	if (in->vex) {
		unsigned map = *c == 0xc5 ? 1 : c[1] & 31;
		unsigned last = *c == 0xc5 ? c[1] & 0x7fu : c[2];
		*p++ = 0xc4;
		*p++ = (uint8_t)((~rex & 7) << 5 | map);
		*p++ = (uint8_t)((last & 0x87) | (~f->vvvv & 15) << 3);
		c += in->vex;
	} else {
		rex |= in->rex & 8;
		if (rex || in->rex) *p++ = (uint8_t)(0x40 | rex);
		if (*c == 0x0f) {
			*p++ = *c++;
			if (*c == 0x38 || *c == 0x3a) *p++ = *c++;
		}
	}
	*code = c;
	return p;
}
static void encode(struct x64_asm *a, const struct x86_insn *in, const uint8_t *code,
		   const struct fields *f, bool lock)
{
	uint8_t *p = a->p;
	const uint8_t *c = copy_prefixes(&p, code, lock);
	bool modrm = in->modrm || in->has_mem;
	p = encode_opcode(p, in, &c, f, modrm ? rex_of(f) : f->opcode >> 3 & 1);
	if (modrm) {
		*p++ = *c;
		a->p = p;
		x64_operand(a, f->reg, f->rm, 0);
		p = a->p;
	} else {
		*p++ = (uint8_t)(f->opcode < 16 ? (*c & 0xf8u) | (f->opcode & 7) : *c);
	}
	for (unsigned k = 0; k < in->imm_len; k++) *p++ = code[in->imm_at + k];
	a->p = p;
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
/* What goes in first, then what only comes out. */
static void fill_fields(struct tr *t, const struct x86_insn *in, struct fields *f, struct homes *hs)
{
	unsigned later = 0;
	for (unsigned op = 0; op < in->operands; op++) {
		const struct x86_operand *o = &in->o[op];
		if (o->kind != X86_REG || o->at == X86_AT_NOWHERE) continue;
		if (x86_only_comes(in, op))
			later |= 1u << op;
		else
			fill_field(f, o->at, host_for(t, hs, in, op));
	}
	for (; later; later &= later - 1) {
		unsigned op = (unsigned)__builtin_ctz(later);
		fill_field(f, in->o[op].at, host_for(t, hs, in, op));
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
static void emit_with(struct tr *t, unsigned k, const struct fields *f, struct homes *hs)
{
	struct insn *i = &t->i[k];
	const struct x86_op_info *info = x86_op_info(i->in.op);
	unsigned touched = (info->writes | info->undefines | info->reads) & X86_ARITH;
	if (touched) x86_flags_come(t, i->before);
	bool counts = i->before && t->state & HOST;
	if (i->m.size && i->m.write) x86_note_store(t, f->rm, i->m.size);
	x86_note_host(t, k, counts);
	if (t->prefix) put8(&t->a, t->prefix);
	t->prefix = 0;
	encode(&t->a, &i->in, i->bytes, f, keeps_lock(t, &i->in));
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
		f.rm = x86_look_up(t, k);
		if (is_homeless(in)) {
			lea(&t->a, OP_W, S1, f.rm);
			f.rm = rm_mem(S1, 0);
			hs.free[0] = S2;
			hs.room = 1;
		}
	}
	fill_fields(t, in, &f, &hs);
	emit_with(t, k, &f, &hs);
}
static void emit_bit(struct tr *t, unsigned k)
{
	const struct x86_insn *in = &t->i[k].in;
	struct fields f = fields_as_written(in, t->i[k].bytes);
	struct homes none = {0};
	lea(&t->a, OP_W, S1, x86_look_up(t, k));
	x86_emit_guest(&t->a, S2, in->o[1].reg);
	alu_imm(&t->a, ALU_AND, 0, rm_reg(S2), in->osize == 8 ? 63 : 31);
	f.rm = rm_mem(S1, 0);
	f.reg = S2;
	emit_with(t, k, &f, &none);
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
	if (m.base == X86_RIP && !m.a32 && x86_is_fixed(t, m.disp)) {
		uint64_t at = (uint64_t)(t->la + m.disp);
		mov_imm(&t->a, to, w ? at : (uint32_t)at);
	} else if (near) {
		unsigned index = m.index == X86_NOREG ? (unsigned)NOREG : x86_host_of(m.index);
		lea(&t->a, w, to, rm_index(x86_host_of(m.base), index, m.scale, m.disp));
	} else {
		x86_emit_la(&t->a, &m, &i->in);
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
static void branch(struct tr *t) /* to S1; flags are in SLOT */
{
	struct x64_asm *a = &t->a;
	vex_rm(a, OP(0xf2, 3, 0xf0) + OP_W, S2, 0, rm_reg(S1), 1); /* rorx */
	put8(a, X86_PAGE_SHIFT);
	alu_rr(a, ALU_XOR, OP_W, S2, S1);
	alu_imm(a, ALU_AND, 0, rm_reg(S2), X86_IBTC - 1);
	shift_imm(a, SH_SHL, 0, S2, 4);
	op_rm(a, OP(0, 0, 0xff), 4, ibtc_at(t, offsetof(struct x86_ibtc, host)), 0);
}
/* By instruction k, which has added so much to RSP. */
static void indirect(struct tr *t, unsigned k, int32_t by)
{
	uint32_t from = (uint32_t)by << FROM_SP | t->i[k].off;
	mov_store_imm(&t->a, 4, V_AT(fast.from), (int32_t)from);
	branch(t);
}
static void emit_place(struct tr *t, int64_t disp) /* S1 = that from the page's beginning */
{
	if (x86_is_fixed(t, disp)) {
		mov_imm(&t->a, S1, (uint64_t)(t->la + disp));
		return;
	}
	mov_load(&t->a, OP_W, S1, V_AT(fast.page));
	lea(&t->a, OP_W, S1, rm_mem(S1, (int32_t)disp));
}
static void go_far(struct tr *t, int64_t target)
{
	if (!(t->state & SLOT)) x86_flags_save(t);
	emit_place(t, target);
	if (!x86_is_fixed(t, target)) {
		branch(t);
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
	if (must_save(t, target)) x86_flags_save(t);
	if (x86_is_self(t, target)) {
		jump_to(&t->a, self_entry(t));
		return;
	}
	struct cold *c = x86_cold_new(t, COLD_LINK, jump_later(&t->a));
	c->target = target;
	c->ahead = target > from;
}
static void emit_jcc(struct tr *t, unsigned k)
{
	struct insn *i = &t->i[k];
	int64_t target = x86_branch_target(i);
	count(t, S1);
	enum cc cc = t->state & HOST ? i->in.cc : x86_flags_test(t, i->in.cc);
	bool near = is_near(target), save = near && must_save(t, target);
	if (x86_is_self(t, target) && !save) {
		jcc_to(&t->a, cc, self_entry(t));
		return;
	}
	struct cold *c = x86_cold_new(t,
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
	if (t->i[k].class != C_PUSH) return x86_look_up_alone(t, k, &t->i[k].m);
	(void)x86_access_of(&m, &t->i[k], (unsigned)op);
	m.win = t->i[k].m2_win;
	return x86_look_up_alone(t, k, &m);
}
/* S1 = what it pushes or calls, kept in save[3] if it had to be looked up. */
static bool fetch_operand(struct tr *t, unsigned k)
{
	int op = x86_mem_operand_of(&t->i[k].in);
	bool sp = t->i[k].in.o[0].kind == X86_REG && t->i[k].in.o[0].reg == RSP;
	if (op >= 0) {
		x86_emit_move(t, k, S1, look_up_operand(t, k, op), true);
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
		x86_emit_guest(&t->a, S1, t->i[k].in.o[0].reg);
}
static void emit_push(struct tr *t, unsigned k)
{
	const struct x86_operand *o = &t->i[k].in.o[0];
	bool kept = fetch_operand(t, k);
	struct rm to = x86_look_up(t, k);
	if (o->kind == X86_IMM) {
		x86_emit_move_imm(t, k, (int32_t)t->i[k].in.imm, to);
	} else if (!kept && x86_host_of(o->reg) != NOREG) {
		x86_emit_move(t, k, x86_host_of(o->reg), to, false);
	} else {
		fetched(t, k, kept);
		x86_emit_move(t, k, S1, to, false);
	}
	move_sp(t, -8);
}
static void emit_pop(struct tr *t, unsigned k)
{
	unsigned g = t->i[k].in.o[0].reg, h = x86_host_of(g);
	x86_emit_move(t, k, h == NOREG ? (unsigned)S1 : h, x86_look_up(t, k), true);
	if (h == NOREG) mov_store(&t->a, OP_W, x86_reg_slot(g), S1);
	move_sp(t, 8);
}
static void push_return(struct tr *t, unsigned k, struct rm to)
{
	int32_t back = (int32_t)(t->i[k].off + t->i[k].in.len);
	if (x86_is_fixed(t, back)) {
		x86_emit_move_imm(t, k, (int32_t)(t->la + back), to);
	} else {
		emit_place(t, back);
		x86_emit_move(t, k, S1, to, false);
	}
	move_sp(t, -8);
}
static void emit_call(struct tr *t, unsigned k)
{
	push_return(t, k, x86_look_up(t, k));
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
	push_return(t, k, x86_look_up_alone(t, k, &stack));
	count(t, S1);
	fetched(t, k, kept);
	indirect(t, k, -8);
}
static void emit_jmpi(struct tr *t, unsigned k)
{
	int op = x86_mem_operand_of(&t->i[k].in);
	if (!(t->state & SLOT)) x86_flags_save(t);
	if (op >= 0)
		x86_emit_move(t, k, S1, look_up_operand(t, k, op), true);
	else
		x86_emit_guest(&t->a, S1, t->i[k].in.o[0].reg);
	count(t, S2);
	indirect(t, k, 0);
}
static void emit_ret(struct tr *t, unsigned k)
{
	const struct x86_insn *in = &t->i[k].in;
	struct rm from = x86_look_up(t, k);
	if (!(t->state & SLOT)) x86_flags_save(t);
	x86_emit_move(t, k, S1, from, true);
	count(t, S2);
	int32_t by = 8 + (in->operands ? (int32_t)(uint16_t)in->imm : 0);
	move_sp(t, by);
	indirect(t, k, by);
}
static void emit_leave(struct tr *t, unsigned k)
{
	x86_emit_move(t, k, S1, x86_look_up(t, k), true);
	lea(&t->a, OP_W, GSP, rm_mem(RBP, 8));
	mov_rr(&t->a, OP_W, RBP, S1);
}

/* ---- code: of the system */

static void emit_ac(struct tr *t, unsigned k, bool set)
{
	x86_flags_go(t, t->i[k].before);
	alu_imm(&t->a, set ? ALU_OR : ALU_AND, 0, V_AT(cpu.flags), set ? X86_AC : ~X86_AC);
	t->view = set ? X86_VIEW_BOTH : X86_VIEW_KERNEL;
	mov_store_imm(&t->a, 1, V_AT(view), (int32_t)t->view);
}
/* Instruction k is the interpreter's if cc holds. */
static void end_if(struct tr *t, unsigned k, enum cc cc)
{
	x86_cold_new(t, COLD_END, jcc_later(&t->a, cc))->insn = k;
}
/* Who may do it is what popf_mask says. An interrupt that waits is the interpreter's: it has the
 * shadow; later ones are seen by the next block. */
static void emit_if(struct tr *t, unsigned k, bool set)
{
	struct x64_asm *a = &t->a;
	x86_flags_go(t, t->i[k].before);
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
	x86_flags_go(t, X86_ARITH);
	mov_load(a, 0, S1, V_AT(cpu.flags)); /* but the arithmetic ones from their slot */
	alu_imm(a, ALU_AND, 0, rm_reg(S1), ~X86_ARITH);
	op_rm(a, OP(0, 1, 0xb6), S2, x86_flags_upper(), 0);
	alu_rr(a, ALU_OR, 0, S1, S2);
	op_rm(a, OP(0, 1, 0xb6), S2, V_AT(fast.flags), 0);
	shift_imm(a, SH_SHL, 0, S2, 11);
	alu_rr(a, ALU_OR, 0, S1, S2);
	mov_store(a, OP_W, V_AT(fast.save[3]), S1);
	struct rm to = x86_look_up(t, k);
	mov_load(a, OP_W, S1, V_AT(fast.save[3]));
	x86_emit_move(t, k, S1, to, false);
	move_sp(t, -8);
}
static void emit_swapgs(struct tr *t, unsigned k)
{
	struct x64_asm *a = &t->a;
	x86_flags_go(t, t->i[k].before);
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
	x86_flags_go(t, t->i[k].before);
	put8(&t->a, 0x0f), put8(&t->a, 0xae), put8(&t->a, 0xf0); /* mfence */
	alu_imm(&t->a, ALU_CMP, 0, V_AT(poll), 0);
	end_if(t, k, CC_NE);
}
static void emit_rdtsc(struct tr *t, unsigned k)
{
	struct x64_asm *a = &t->a;
	x86_flags_go(t, t->i[k].before);
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
	x86_flags_go(t, t->i[k].before);
	struct rm at = V_AT(fast.cross);
	at.disp += (int32_t)(x86_cross_of(t->page) * sizeof(struct x86_cross));
	mov_load(a, OP_W, S1, V_AT(fast.page));
	alu_rm(a, ALU_CMP, OP_W, S1, at);
	struct cold *c = x86_cold_new(t, COLD_CROSS, jcc_later(a, CC_NE));
	at.disp += (int32_t)offsetof(struct x86_cross, next);
	alu_imm(a, ALU_CMP, OP_W, at, (int32_t)(t->cross >> X86_PAGE_SHIFT));
	struct cold *d = x86_cold_new(t, COLD_CROSS, jcc_later(a, CC_NE));
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
	x86_look_windows(t, k);
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
		x86_flags_go(t, i->before);
		alu_imm(&t->a, ALU_AND, 0, V_AT(cpu.flags), ~X86_DF);
		break;
	case C_SWAPGS: emit_swapgs(t, k); break;
	case C_SERIALIZE: emit_serialize(t, k); break;
	case C_REP:
		x86_flags_go(t, i->before);
		mov_imm(&t->a, S1,
			i->in.o[0].size | (i->in.op == X86_OP_stos ? (unsigned)REP_STOS : 0));
		call_thunk(t, THUNK_REP, info_of(t, i));
		break;
	case C_STEP:
		x86_flags_go(t, i->before);
		call_thunk(t, THUNK_STEP, info_of(t, i));
		break;
	default: /* C_END */
		x86_flags_go(t, i->before);
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
		if (!(t->state & HOST)) cc = x86_flags_test(t, cc);
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
		x86_emit_la(a, &c->m, &i->in);
		call_thunk(t, THUNK_MEM, c->info);
		set_rel32(jump_later(a), c->back); /* 5 bytes: thunk_mem skips them */
		if (c->info & INFO_LEAVE) break;
		t->state = SLOT;
		if (i->state_after & HOST) x86_flags_come(t, i->live);
		set_rel32(jump_later(a), t->i[c->insn + 1].host);
		break;
	case COLD_LINK:
		if (!(c->state & SLOT)) x86_flags_save(t);
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
		x86_emit_la(a, &c->m, &i->in);
		call_thunk(t, THUNK_OUT, info_of(t, i) | INFO_LEAVE);
		put32(a, (uint32_t)c->target);
		break;
	case COLD_CROSS:
		call_thunk(t, THUNK_CROSS, info_of(t, i));
		set_rel32(jump_later(a), c->back);
		break;
	case COLD_SPENT:
		mov_load(a, OP_W, RCX, V_AT(fast.save[2]));
		if (t->head_live && c->state & HOST) x86_flags_save(t);
		call_thunk(t, THUNK_POLL, t->start | c->view << INFO_VIEW);
		break;
	case COLD_POLL:
		if (t->head_live && c->state & HOST) {
			mov_load(a, OP_W, RCX, V_AT(fast.save[2]));
			x86_flags_save(t);
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
		x86_cold_new(t, COLD_POLL, jcc_later(a, CC_NE));
		return;
	}
	mov_store(a, OP_W, V_AT(fast.save[2]), RCX);
	mov_load(a, 0, RCX, V_AT(poll));
	put8(a, 0xe3), put8(a, 5); /* jrcxz */
	x86_cold_new(t, COLD_POLL, jump_later(a));
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
		x86_flags_come(t, X86_ARITH);
		t->state = HOST;
	}
	t->body = a->p;
	b->body = b->ahead = (uint32_t)(a->p - t->j->rw);
	if (t->loops) {
		x86_look_steady(t);
		align(a);
	}
	t->loop = a->p;
	emit_poll(t);
	if (t->j->counts) x86_cold_new(t, COLD_SPENT, x86_emit_spent(t));
	if (!t->loops) b->ahead = (uint32_t)(a->p - t->j->rw);
}
static void emit_end(struct tr *t)
{
	t->i[t->n].host = t->a.p;
	if (t->end == JIT_NOT) return;
	if (t->j->counts && !t->end_steps) x86_emit_counted(t, 0, S1);
	if (t->end_steps) {
		x86_flags_go(t, X86_ARITH);
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
	jit_make_ready(j->rx, j->rw, j->used + room, j->size / 2, &j->ready);
	jit_make_ready(j->rx, j->rw, j->cold + room, j->size, &j->cold_ready);
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
	x86_count_n(j->v, X86_STAT_UNIT_BYTES, hot - j->used + j->cold - b->cold);
	j->used = (hot + 15) & ~(size_t)15;
	struct insn *last = &t.i[t.n - 1];
	unsigned end = last->off + last->in.len;
	x86_code_used(j, page, off, end < X86_PAGE ? end : X86_PAGE);
	if (t.cross != CROSS_NOT) x86_block_crosses(j, b, t.cross, end - X86_PAGE);
	if (unlikely(j->v->machine->env.log != NULL)) x86_unit_log(&t, b);
	return b;
}
