/* What a block of guest code is: its instructions, what becomes of each, which flags are needed
 * where, which accesses can be looked up together. */
#include "engine/x86_block.h"
#include "base/types.h"
#include "engine/debug.h"
#include "isa/x86/x86.h"

/* ---- what is to be done with an instruction */

static unsigned class_of_rest(unsigned op)
{
	switch (op) {
	case X86_OP_cpuid:
	case X86_OP_rdmsr:
	case X86_OP_in:
	case X86_OP_out:
	case X86_OP_ins:
	case X86_OP_outs:
	case X86_OP_rdpid:
	case X86_OP_rdfsbase:
	case X86_OP_rdgsbase:
	case X86_OP_wrfsbase:
	case X86_OP_wrgsbase:
	case X86_OP_xgetbv:
	case X86_OP_verw:
	case X86_OP_clflush:
	case X86_OP_clflushopt:
	case X86_OP_clwb:
	case X86_OP_str:
	case X86_OP_sldt:
	case X86_OP_sgdt:
	case X86_OP_sidt:
	case X86_OP_smsw:
	case X86_OP_rdrand:
	case X86_OP_rdseed:
	case X86_OP_fxsave:
	case X86_OP_fxrstor:
	case X86_OP_xsave:
	case X86_OP_xsaveopt:
	case X86_OP_xsavec:
	case X86_OP_xrstor:
	case X86_OP_movfs:
	case X86_OP_pushs: return C_STEP;
	case X86_OP_cli:
	case X86_OP_sti: return C_IF;
	case X86_OP_swapgs: return C_SWAPGS;
	case X86_OP_serialize: return C_SERIALIZE;
	default: return C_END;
	}
}
/* Its segment may begin elsewhere than at 0. */
static bool has_base(const struct x86_insn *in)
{
	return in->seg_over == X86_FS || in->seg_over == X86_GS;
}
static unsigned class_of_integer(const struct x86_insn *in)
{
	bool mem = in->has_mem, wide = in->osize == 8;
	switch (in->op) {
	case X86_OP_nop:
	case X86_OP_pause:
	case X86_OP_endbr:
	case X86_OP_prefetch: return C_NOTHING;
	case X86_OP_lea: return in->osize >= 4 ? C_LEA : C_STEP;
	case X86_OP_jcc: return C_JCC;
	case X86_OP_jmp: return C_JMP;
	case X86_OP_jmpi: return wide ? C_JMPI : C_END;
	case X86_OP_call: return C_CALL;
	case X86_OP_calli: return wide ? C_CALLI : C_END;
	case X86_OP_ret: return wide ? C_RET : C_END;
	case X86_OP_push: return wide ? C_PUSH : C_STEP;
	case X86_OP_pop: return wide && !mem && in->o[0].reg != RSP ? C_POP : C_STEP;
	case X86_OP_leave: return wide ? C_LEAVE : C_STEP;
	case X86_OP_bt:
	case X86_OP_bts:
	case X86_OP_btr:
	case X86_OP_btc:
		return !mem || in->o[1].kind == X86_IMM	 ? C_COPY
		       : in->osize < 4 || in->asize == 4 ? C_STEP
							 : C_BIT;
	case X86_OP_movs:
	case X86_OP_stos: return in->rep && in->asize == 8 && !has_base(in) ? C_REP : C_STEP;
	case X86_OP_cmps:
	case X86_OP_scas:
	case X86_OP_lods:
	case X86_OP_popf:
	case X86_OP_std:
	case X86_OP_xlat:
	case X86_OP_enter: return C_STEP;
	case X86_OP_cld: return C_CLD;
	case X86_OP_pushf: return wide ? C_PUSHF : C_STEP;
	case X86_OP_loop:
	case X86_OP_loope:
	case X86_OP_loopne:
	case X86_OP_jcxz: return C_END;
	default: return C_COPY;
	}
}
static bool is_x87(const struct x86_insn *in, const uint8_t *code)
{
	for (unsigned k = 0; k < in->len; k++) {
		bool prefix = code[k] == 0x66 || code[k] == 0x67 || code[k] == 0xf2 ||
			      code[k] == 0xf3 || (code[k] & 0xe7) == 0x26 ||
			      (code[k] & 0xfe) == 0x64 || (code[k] & 0xf0) == 0x40;
		if (!prefix) return (code[k] & 0xf8) == 0xd8 || code[k] == 0x9b;
	}
	return false;
}
static bool is_vector(const struct x86_insn *in, const uint8_t *code)
{
	if (in->op >= X86_OP_cvttss2si && in->op <= X86_OP_vcvtsd2si) return true;
	switch (in->op) {
	case X86_OP_emms:
	case X86_OP_vzeroupper:
	case X86_OP_vzeroall:
	case X86_OP_ldmxcsr:
	case X86_OP_vldmxcsr:
	case X86_OP_stmxcsr:
	case X86_OP_vstmxcsr: return true;
	default: break;
	}
	for (unsigned k = 0; k < in->operands; k++)
		if (in->o[k].kind == X86_MMX || in->o[k].kind == X86_XMM || in->o[k].kind == X86_ST)
			return true;
	return is_x87(in, code);
}
static unsigned class_of_vector(const struct tr *t, const struct x86_insn *in)
{
	if (!(t->variant & VARIANT_VEC)) return C_STEP;
	if (in->op >= X86_OP_vpgatherdd && in->op <= X86_OP_vgatherqpd) return C_STEP;
	switch (in->op) {
	case X86_OP_maskmovdqu:
	case X86_OP_maskmovq:
	case X86_OP_vmaskmovdqu:
	case X86_OP_ldmxcsr: /* a wrong value is a #GP, not of the memory */
	case X86_OP_vldmxcsr:
	case X86_OP_fnstenv:
	case X86_OP_fldenv:
	case X86_OP_fnsave:
	case X86_OP_frstor: return C_STEP;
	default: return C_COPY;
	}
}
bool x86_only_comes(const struct x86_insn *in, unsigned op)
{
	const struct x86_op_info *info = x86_op_info(in->op);
	return info->writes_o >> op & 1 && !(info->reads_o >> op & 1) && in->o[op].size >= 4;
}
static bool is_homeless(const struct x86_operand *o)
{
	return o->kind == X86_REG && x86_host_of(o->reg) == NOREG;
}
/* Have too many registers that are in memory to be elsewhere meanwhile? */
static bool lacks_room(const struct x86_insn *in)
{
	unsigned room = in->has_mem ? 1 : 2, in_n = 0, kept = 0, out_n = 0;
	for (unsigned k = 0; k < in->operands; k++) {
		if (!is_homeless(&in->o[k])) continue;
		bool comes = x86_only_comes(in, k);
		out_n += comes;
		in_n += !comes;
		kept += !comes && !(x86_op_info(in->op)->writes_o >> k & 1);
	}
	if (in_n + out_n <= room) return false;
	return in_n > room || out_n > 1 || !kept;
}
/* Too many registers that are in memory; AH to DH beside a register that needs REX; an address that
 * is not in a ModRM byte, or whose size nobody knows. */
static bool is_hard_to_copy(const struct x86_insn *in)
{
	bool high = false, moved = in->has_mem;
	for (unsigned k = 0; k < in->operands; k++) {
		const struct x86_operand *o = &in->o[k];
		if (o->kind == X86_MEM && (o->at != X86_AT_RM || !o->size)) return true;
		high |= o->kind == X86_HIGH;
		moved |= o->kind == X86_REG && (o->reg == RSP || is_homeless(o));
	}
	return (high && moved) || lacks_room(in);
}
/* From add to mulx: nothing of theirs is a vector. */
static bool is_integer(unsigned op) { return op > X86_OP_illegal && op < X86_OP_rdrand; }
static unsigned classify(const struct tr *t, const struct x86_insn *in, const uint8_t *code)
{
	unsigned c;
	if (is_integer(in->op) && in->op != X86_OP_ins && in->op != X86_OP_outs &&
	    in->op != X86_OP_cli && in->op != X86_OP_sti)
		c = class_of_integer(in);
	else if (!is_integer(in->op) && is_vector(in, code))
		c = class_of_vector(t, in);
	else if (in->op == X86_OP_stac || in->op == X86_OP_clac)
		return t->variant & 3 && t->j->v->cr4 & CR4_SMAP
			       ? in->op == X86_OP_stac ? C_STAC : C_CLAC
			       : C_END;
	else if (in->op == X86_OP_rdtsc || in->op == X86_OP_rdtscp)
		return !t->j->counts && (t->variant & 3 || !(t->j->v->cr4 & CR4_TSD)) ? C_RDTSC
										      : C_STEP;
	else
		c = class_of_rest(in->op);
	if (c == C_COPY && is_hard_to_copy(in)) return C_STEP;
	if (c == C_REP && t->j->counts) return C_STEP;
	return c;
}

/* ---- analysis */

int x86_mem_operand_of(const struct x86_insn *in)
{
	for (unsigned k = 0; k < in->operands; k++)
		if (in->o[k].kind == X86_MEM) return (int)k;
	return -1;
}
/* False: its displacement does not fit. */
bool x86_access_of(struct access *m, const struct insn *i, unsigned op)
{
	const struct x86_insn *in = &i->in;
	const struct x86_op_info *info = x86_op_info(in->op);
	int64_t disp = in->disp;
	if (in->base == X86_RIP) disp += i->off + in->len;
	*m = (struct access){.base = in->base,
			     .index = in->index,
			     .scale = (uint8_t)__builtin_ctz(in->scale),
			     .seg = in->seg == X86_FS || in->seg == X86_GS ? in->seg : X86_DS,
			     .a32 = in->asize == 4,
			     .write = info->writes_o >> op & 1,
			     .bits = i->class == C_BIT,
			     .size = in->o[op].size,
			     .disp = (int32_t)disp};
	return disp == (int32_t)disp;
}
static void find_access(struct insn *i)
{
	static const struct access stack = {
		.base = RSP, .index = X86_NOREG, .seg = X86_DS, .size = 8};
	i->m = (struct access){0};
	int op = x86_mem_operand_of(&i->in);
	bool fits = true;
	switch (i->class) {
	case C_COPY:
	case C_BIT:
	case C_JMPI:
	case C_CALLI:
		if (op >= 0) fits = x86_access_of(&i->m, i, (unsigned)op);
		break;
	case C_PUSH: /* the other is looked up first and on its own */
	case C_PUSHF:
	case C_CALL:
		i->m = stack;
		i->m.write = true;
		i->m.disp = -8;
		break;
	case C_POP:
	case C_RET: i->m = stack; break;
	case C_LEAVE:
		i->m = stack;
		i->m.base = RBP;
		break;
	default: break;
	}
	if (i->class == C_PUSH && op >= 0) {
		struct access m;
		fits = x86_access_of(&m, i, (unsigned)op);
	}
	if (!fits) {
		i->class = C_END;
		i->m.size = 0;
	}
}
static bool is_shift(unsigned op)
{
	switch (op) {
	case X86_OP_shl:
	case X86_OP_shr:
	case X86_OP_sar:
	case X86_OP_rol:
	case X86_OP_ror:
	case X86_OP_rcl:
	case X86_OP_rcr:
	case X86_OP_shld:
	case X86_OP_shrd: return true;
	default: return false;
	}
}
/* Flags that are needed before in, if `live` are behind it. */
static unsigned flags_before(const struct x86_insn *in, unsigned class, unsigned live)
{
	const struct x86_op_info *f = x86_op_info(in->op);
	unsigned kills = f->writes | f->undefines;
	if (class == C_END) return X86_ARITH;
	if (is_shift(in->op)) {
		const struct x86_operand *n = &in->o[in->operands - 1];
		if (n->kind != X86_IMM || !(in->imm & (in->osize == 8 ? 63 : 31))) kills = 0;
		/* Of a count that is the width or more, of small operands: be careful. */
		if (in->o[0].size < 4) kills = 0;
	}
	if (in->rep && (in->op == X86_OP_cmps || in->op == X86_OP_scas)) kills = 0;
	return ((live & ~kills) | f->reads) & X86_ARITH;
}
/* Where there is a breakpoint, an instruction is the interpreter's. */
static unsigned class_at(struct tr *t, const struct x86_insn *in, const uint8_t *at, int64_t off)
{
	return debug_cuts(t->j->v->debug, (uint64_t)off) ? C_END : classify(t, in, at);
}
static struct ahead *ahead_at(struct tr *t, int64_t off) { return &t->ahead[off % AHEAD]; }
static void ahead_set(struct tr *t, unsigned off, const struct x86_insn *in, unsigned class)
{
	struct ahead *l = ahead_at(t, off);
	l->run = t->run;
	l->off = (uint16_t)off;
	l->in = in;
	l->class = (uint8_t) class;
	l->wants = 0;
}
/* What is at off of the page, class included. NULL: nothing that is all in it. */
static struct ahead *look_ahead(struct tr *t, int64_t off)
{
	if (off < 0 || off >= X86_PAGE) return NULL;
	struct ahead *l = ahead_at(t, off);
	const uint8_t *at = t->code + off;
	if (l->run != t->run || l->off != off) {
		bool good = x86_decode(&l->own, at, (size_t)(X86_PAGE - off), X86_64) == X86_OK;
		ahead_set(t, (unsigned)off, good ? &l->own : NULL,
			  good ? class_at(t, &l->own, at, off) : 0);
	}
	return l->in ? l : NULL;
}
/* Debuggers look at flags that nobody else does, and so do those who compare states: an interrupt
 * puts them all into memory. */
static bool is_exact(const struct tr *t) { return t->j->v->debug || t->j->v->machine->env.turns; }
/* Are flags needed at offset `off` of the page? A few instructions are looked at. */
static unsigned flags_needed_at(struct tr *t, int64_t off)
{
	enum { LOOK = 6 };
	unsigned need = 0, open = X86_ARITH;
	for (unsigned n = 0; n < LOOK && open; n++) {
		const struct ahead *l = look_ahead(t, off);
		if (!l) return need | open;
		const struct x86_insn *in = l->in;
		unsigned class = l->class;
		if (class >= C_JCC && class != C_PUSH && class != C_POP && class != C_LEAVE &&
		    class != C_CALL && class != C_JMP)
			return need | open;
		need |= open & x86_op_info(in->op)->reads;
		open &= flags_before(in, class, open);
		off += in->len;
		if (class == C_CALL || class == C_JMP) {
			off += in->imm;
			if (class == C_CALL) return need | open;
		}
	}
	return need | open;
}
int64_t x86_branch_target(const struct insn *i) { return i->off + i->in.len + i->in.imm; }
bool x86_ends_block(unsigned class)
{
	return class == C_JMP || class == C_JMPI || class == C_CALL || class == C_CALLI ||
	       class == C_RET || class == C_END;
}
/* No interrupt may come between sti and what is behind it: no block ends here, as the next one
 * would begin with a look at them. */
static bool is_shadow(const struct insn *i) { return i->class == C_IF && i->in.op == X86_OP_sti; }
static unsigned flags_wanted_at(struct tr *t, int64_t off)
{
	enum { LOOK = 12 };
	unsigned open = X86_ARITH;
	for (unsigned n = 0; n < LOOK; n++) {
		const struct ahead *l = look_ahead(t, off);
		if (!l) break;
		const struct x86_insn *in = l->in;
		unsigned class = l->class;
		if (class == C_JCC) return open ? HOST : is_exact(t) ? SLOT : 0;
		if (x86_ends_block(class) || class == C_STEP) break;
		if (x86_op_info(in->op)->reads & open) return HOST;
		open &= flags_before(in, class, open);
		if (!open) return is_exact(t) ? SLOT : 0;
		off += in->len;
	}
	return SLOT;
}
/* Where a block that begins at off wants the flags: the same answer for those who go there and for
 * the block itself. HOST if the first that has to do with flags reads them, 0 if it overwrites all,
 * else SLOT: there they stay until they are read, if ever. */
unsigned x86_wants_flags(struct tr *t, int64_t off)
{
	struct ahead *l = look_ahead(t, off);
	if (!l) return SLOT;
	if (l->wants) return l->wants - 1u;
	unsigned wants = flags_wanted_at(t, off);
	l = look_ahead(t, off); /* others may have taken its place */
	if (l) l->wants = (uint8_t)(wants + 1);
	return wants;
}
static unsigned live_at_exit(struct tr *t, int64_t off)
{
	if (is_exact(t)) return X86_ARITH;
	if (off == t->start) return t->head_live;
	return flags_needed_at(t, off);
}
void x86_find_flags(struct tr *t)
{
	t->head_live = X86_ARITH;
	unsigned live = t->end == JIT_NOT || t->end_steps ? X86_ARITH : live_at_exit(t, t->end);
	for (unsigned k = t->n; k-- > 0;) {
		struct insn *i = &t->i[k];
		switch (i->class) {
		case C_JMP: live = live_at_exit(t, x86_branch_target(i)); break;
		case C_JCC: live |= live_at_exit(t, x86_branch_target(i)); break;
		case C_JMPI:
		case C_CALL:
		case C_CALLI:
		case C_RET: live = X86_ARITH; break;
		default: break;
		}
		i->live = (uint16_t)live;
		if (!is_exact(t)) live = flags_before(&i->in, i->class, live);
		i->before = (uint16_t)live;
	}
	t->head_live = (uint16_t)live;
}

struct bases {		  /* what analysis knows of a base register */
	uint8_t group[2]; /* open ones: for reads, for writes */
	uint8_t win;	  /* open one, in the window */
	uint8_t since;	  /* the first instruction that sees it as it is, but for constants */
	uint8_t bits;	  /* its amount is below 2 to that; 0: not known */
	uint8_t place;	  /* enum x86_cluster that it surely is in, or NONE */
	bool changed;	  /* is not what it was when the block was entered */
	int32_t delta;	  /* from its value when delta was set to 0 */
};
static void clobber(struct bases *b, uint32_t regs, unsigned next)
{
	for (; regs; regs &= regs - 1)
		b[__builtin_ctz(regs)] = (struct bases){.win = NO_GROUP,
							.changed = true,
							.since = (uint8_t)next,
							.group = {NO_GROUP, NO_GROUP}};
}
static bool join(struct group *g, int32_t at, unsigned size)
{
	int32_t lo = at < g->lo ? at : g->lo;
	int32_t hi = at + (int32_t)size > g->hi ? at + (int32_t)size : g->hi;
	if (hi - lo > GROUP_SPAN) return false;
	g->lo = lo;
	g->hi = hi;
	g->n++;
	return true;
}
bool x86_is_simple(const struct access *m)
{
	return m->index == X86_NOREG && m->base != X86_NOREG && m->seg == X86_DS && !m->a32 &&
	       !m->bits;
}
/* Its index leads into the window's guards at worst. */
static bool is_small(const struct bases *all, const struct access *m)
{
	enum { MOST = 35 };
	unsigned bits = m->index < 16 ? all[m->index].bits : 0;
	return m->index == X86_NOREG || (bits && bits + m->scale <= MOST);
}
/* Where in the window an access will be: as it was found to be before; as its base is now, when the
 * block is about to be entered; else where such a program has most things. */
static unsigned cluster_of(const struct tr *t, const struct bases *all, const struct insn *i)
{
	const struct x86_vcpu *v = t->j->v;
	const struct access *m = &i->m;
	if (!(t->variant & VARIANT_WIN) || !m->size) return X86_WIN_NONE;
	unsigned hint = *x86_hint(t->j, t->page, i->off);
	if (m->base == X86_RIP && m->seg == X86_DS && hint != X86_WIN_NONE)
		return x86_variant_is_low(t->variant) ? X86_WIN_LOW : X86_WIN_HIGH;
	if (hint != HINT_NONE) return hint;
	if (m->base == RSP || m->seg != X86_DS) return X86_WIN_HIGH;
	if (m->base == X86_NOREG)
		return m->disp >= 0 && is_small(all, m) ? X86_WIN_LOW : X86_WIN_HIGH;
	if (all[m->base].place) return all[m->base].place;
	if (!all[m->base].changed) {
		unsigned c = x86_cluster_of(v->cpu.r[m->base] + (uint64_t)all[m->base].delta);
		if (c != X86_WIN_NONE) return c;
	}
	unsigned own = x86_cluster_of(v->cpu.rip); /* most of a program's data is near its code */
	return own == X86_WIN_NONE ? (unsigned)X86_WIN_HIGH : own;
}
static bool is_bounded(const struct bases *all, const struct access *m)
{
	return m->base < 16 && m->index < 16 && is_small(all, m) && m->seg == X86_DS && !m->a32 &&
	       !m->bits;
}
/* One look at a base is enough for all that it reaches. */
static void group_in_window(struct tr *t, struct bases *all, struct insn *i)
{
	struct bases *b = &all[i->m.base];
	uint8_t k = (uint8_t)(i - t->i);
	if (i->m.base > X86_RIP || !(x86_is_simple(&i->m) || is_bounded(all, &i->m))) return;
	unsigned open = b->win == NO_GROUP ? (unsigned)X86_WIN_NONE : t->g[b->win].win;
	if (open == X86_WIN_EITHER) i->m.win = X86_WIN_EITHER;
	if (open && open == i->m.win) {
		i->group = b->win;
		t->g[b->win].n++;
		return;
	}
	if (t->groups == GROUPS) return;
	bool sure = b->place && b->place == i->m.win;
	t->g[t->groups] = (struct group){.win = i->m.win,
					 .n = 2,
					 .base = i->m.base,
					 .first = k,
					 .from = b->since,
					 .sure = sure,
					 .done = sure};
	i->group = b->win = (uint8_t)t->groups++;
}
/* It reaches from the page of the code itself, or from 0, not farther than guards. */
static bool is_sure(const struct bases *all, const struct access *m)
{
	bool plain = m->seg == X86_DS && !m->a32 && !m->bits && is_small(all, m);
	if (m->base == X86_RIP) return plain && m->win != X86_WIN_EITHER;
	return plain && m->base == X86_NOREG && m->win == X86_WIN_LOW && m->disp >= 0;
}
static void group_access(struct tr *t, struct bases *all, struct insn *i)
{
	const struct access *m = &i->m;
	i->group = NO_GROUP;
	i->m.win = i->m2_win = (uint8_t)cluster_of(t, all, i);
	if (i->class == C_PUSH) i->m2_win = X86_WIN_NONE; /* what is known is of the stack */
	i->sure = m->win && is_sure(all, m);
	if (i->class == C_JMPI || i->class == C_CALLI || i->sure) return;
	if (m->win) {
		group_in_window(t, all, i);
		return;
	}
	if (!m->size || t->plain || m->base > 15 || m->index != X86_NOREG || m->seg != X86_DS ||
	    m->a32 || m->bits || m->disp > 1 << 20 || m->disp < -(1 << 20))
		return;
	struct bases *b = &all[m->base];
	i->at = m->disp + b->delta;
	for (unsigned w = 2; w-- > m->write;) /* what may be written may be read */
		if (b->group[w] != NO_GROUP && join(&t->g[b->group[w]], i->at, m->size)) {
			i->group = b->group[w];
			return;
		}
	if (t->groups == GROUPS) return;
	t->g[t->groups] =
		(struct group){.lo = i->at, .hi = i->at + m->size, .n = 1, .write = m->write};
	i->group = b->group[m->write] = (uint8_t)t->groups++;
}
static bool adds_constant(const struct x86_insn *in, unsigned *reg, int32_t *by)
{
	if (in->o[0].kind != X86_REG || in->o[0].size != 8) return false;
	*reg = in->o[0].reg;
	bool imm = in->operands == 2 && in->o[1].kind == X86_IMM;
	if (in->op == X86_OP_add && imm)
		*by = (int32_t)in->imm;
	else if (in->op == X86_OP_sub && imm && in->imm != INT32_MIN)
		*by = -(int32_t)in->imm;
	else if (in->op == X86_OP_lea && in->base == *reg && in->index == X86_NOREG &&
		 in->asize == 8)
		*by = (int32_t)in->disp;
	else
		return false;
	return true;
}
static unsigned width(int64_t imm)
{
	return imm ? 64u - (unsigned)__builtin_clzll((uint64_t)imm) : 0;
}
static unsigned most(unsigned a, unsigned b) { return a > b ? a : b; }
/* Of what in leaves in operand 0, a register: see struct bases. */
static unsigned bits_of_32(const struct x86_insn *in)
{
	bool imm = in->operands == 2 && in->o[1].kind == X86_IMM;
	switch (in->op) {
	case X86_OP_movsx: return 32;
	case X86_OP_movzx: return 8u * in->o[1].size;
	case X86_OP_and:
		if (imm && in->imm >= 0) return width(in->imm);
		return in->o[0].size == 4 ? 32 : 0;
	case X86_OP_mov:
	case X86_OP_lea:
	case X86_OP_add:
	case X86_OP_sub:
	case X86_OP_or:
	case X86_OP_xor:
	case X86_OP_shl:
	case X86_OP_shr:
	case X86_OP_sar:
	case X86_OP_imul:
	case X86_OP_imul3:
	case X86_OP_inc:
	case X86_OP_dec:
	case X86_OP_neg: return in->o[0].size == 4 ? 32 : 0;
	default: return 0;
	}
}
/* The same of 64-bit forms, by what is known of what goes in. */
static unsigned bits_of_64(const struct bases *b, const struct x86_insn *in)
{
	unsigned to = in->o[0].reg, was = b[to].bits;
	bool imm = in->operands == 2 && in->o[1].kind == X86_IMM;
	unsigned from = in->operands == 2 && in->o[1].kind == X86_REG ? b[in->o[1].reg].bits : 0;
	switch (in->op) {
	case X86_OP_mov: return from;
	case X86_OP_add: return was && from ? most(was, from) + 1 : 0;
	case X86_OP_shl: return was && imm ? was + (unsigned)(in->imm & 63) : 0;
	case X86_OP_shr: return imm && (in->imm & 63) >= 32 ? 64 - (unsigned)(in->imm & 63) : 0;
	default: return 0;
	}
}
static unsigned bits_of(const struct bases *b, const struct x86_insn *in)
{
	if (!in->operands || in->o[0].kind != X86_REG || in->o[0].size < 4) return 0;
	unsigned bits = bits_of_32(in);
	if (!bits && in->o[0].size == 8) bits = bits_of_64(b, in);
	return bits > 64 ? 0 : bits;
}
/* Where what in leaves in operand 0 surely is, give or take what guards bear. */
static unsigned place_of(const struct tr *t, const struct x86_insn *in)
{
	if (!(t->variant & VARIANT_WIN) || !in->operands || in->o[0].kind != X86_REG)
		return X86_WIN_NONE;
	if (in->op == X86_OP_lea && in->base == X86_RIP && in->o[0].size == 8 && in->asize == 8)
		return x86_variant_is_low(t->variant) ? X86_WIN_LOW : X86_WIN_HIGH;
	bool imm = in->op == X86_OP_mov && in->o[1].kind == X86_IMM && in->o[0].size >= 4;
	return imm && in->imm >= 0 && in->imm < (int64_t)X86_LOW_END ? X86_WIN_LOW : X86_WIN_NONE;
}
/* next: number of the instruction behind i. */
static void follow_registers(const struct tr *t, struct bases *b, const struct insn *i,
			     unsigned next)
{
	const struct x86_insn *in = &i->in;
	enum { FAR_ENOUGH = 1 << 24 };
	unsigned reg;
	int32_t by;
	if (i->class == C_STEP || i->class == C_REP || i->class == C_STAC || i->class == C_CLAC) {
		clobber(b, 0xffff, next);
		return;
	}
	if (i->class == C_PUSH || i->class == C_PUSHF || i->class == C_CALL ||
	    i->class == C_CALLI) {
		b[RSP].delta -= 8;
		return;
	}
	if (i->class == C_POP) {
		b[RSP].delta += 8;
		clobber(b, 1u << in->o[0].reg, next);
		return;
	}
	if (adds_constant(in, &reg, &by) && by < FAR_ENOUGH && by > -FAR_ENOUGH &&
	    b[reg].delta < FAR_ENOUGH && b[reg].delta > -FAR_ENOUGH) {
		b[reg].delta += by; /* not more than the window's guards bear */
		return;
	}
	unsigned bits = bits_of(b, in), place = place_of(t, in);
	clobber(b, x86_written(in) & 0xffff, next);
	if (bits) b[in->o[0].reg].bits = (uint8_t)bits;
	if (place) b[in->o[0].reg].place = (uint8_t)place;
	if (i->class == C_LEAVE) clobber(b, 1u << RSP | 1u << RBP, next);
}
static bool writes_flags(const struct insn *i)
{
	const struct x86_op_info *f = x86_op_info(i->in.op);
	return i->class != C_NOTHING && (f->writes | f->undefines) & X86_ARITH;
}
/* A look at a base destroys flags: it comes where none are in the host's, if there is such a place
 * since the base became what it is. */
static void place_checks(struct tr *t)
{
	unsigned written = 0; /* up to here they are where they were on entry */
	while (written < t->n && !writes_flags(&t->i[written])) written++;
	if (x86_wants_flags(t, t->start) == HOST) written = 0;
	for (unsigned n = 0; n < t->groups; n++) {
		struct group *g = &t->g[n];
		unsigned k = g->first;
		while (k > g->from && t->i[k].before && k > written) k--;
		bool good = !t->i[k].before || (k <= written && written);
		g->at = good ? (uint8_t)k : g->first;
	}
}
void x86_find_groups(struct tr *t)
{
	struct bases b[X86_RIP + 1];
	memset(b, 0, sizeof(b));
	for (unsigned r = 0; r <= X86_RIP; r++) b[r].group[0] = b[r].group[1] = b[r].win = NO_GROUP;
	for (unsigned k = 0; k < t->n; k++) {
		struct insn *i = &t->i[k];
		/* The stack access of an indirect call comes behind its operand's: not grouped. */
		group_access(t, b, i);
		follow_registers(t, b, i, k + 1);
	}
	place_checks(t);
	for (unsigned k = 0; k < t->n; k++)
		if (t->i[k].group != NO_GROUP && t->g[t->i[k].group].n < 2)
			t->i[k].group = NO_GROUP;
}
/* ---- loops: what is looked at before one need not be looked at in it */

/* Everything that instruction k does to registers is to add constants to them. */
static void note_steady(const struct insn *i, uint32_t *clobbered, int64_t *delta)
{
	unsigned reg;
	int32_t by;
	if (i->class == C_STEP || i->class == C_REP) *clobbered = ~0u;
	bool pushes = i->class == C_PUSH || i->class == C_PUSHF || i->class == C_CALL;
	if (pushes || i->class == C_POP) delta[RSP] += pushes ? -8 : 8;
	if (i->class == C_POP)
		*clobbered |= 1u << i->in.o[0].reg;
	else if (i->class == C_COPY && adds_constant(&i->in, &reg, &by))
		delta[reg] += by;
	else if (i->class == C_LEA && adds_constant(&i->in, &reg, &by))
		delta[reg] += by;
	else if (i->class == C_LEAVE)
		*clobbered |= 1u << RSP | 1u << RBP;
	else if (!pushes)
		*clobbered |= x86_written(&i->in);
}
static bool is_steady(const struct access *m, uint32_t clobbered)
{
	bool plain = !m->a32 && !m->bits;
	bool base = m->base > 15 || !(clobbered >> m->base & 1);
	return plain && base && (m->index > 15 || !(clobbered >> m->index & 1));
}
/* A base that is moved by constants only, and that an access of each round goes by: had it left
 * the window, that access would have met the guards, which are wider than any such step. */
static void find_steady_group(struct tr *t, struct group *g, unsigned first_back,
			      uint32_t clobbered, const int64_t *delta)
{
	bool base = g->base > 15 || !(clobbered >> g->base & 1);
	bool kept = g->base > 15 || !delta[g->base];
	unsigned n = (unsigned)(g - t->g);
	for (unsigned k = g->first; !kept && k <= first_back; k++)
		kept = t->i[k].group == n && x86_is_simple(&t->i[k].m);
	g->steady = g->win && base && kept && !g->from && g->first <= first_back && !g->sure;
}
bool x86_is_self(const struct tr *t, int64_t target)
{
	return target == t->start && t->view == (t->variant & 3);
}
/* In small loops half of the time would go into the look at poll. */
static unsigned rounds(const struct tr *t, unsigned first, unsigned last)
{
	enum { MOST = 4 };
	bool writes = false;
	if (first != last || t->i[first].class != C_JCC || t->i[first].bytes == t->edge) return 1;
	for (unsigned k = 0; k < first; k++) writes |= writes_flags(&t->i[k]);
	unsigned n = JIT_ROUNDS_INSNS / (first + 1);
	return !writes || n < 2 ? 1 : n < MOST ? n : MOST;
}
void x86_find_loop(struct tr *t)
{
	enum { NEVER = JIT_BLOCK_INSNS, FAR_ENOUGH = 1 << 28 };
	unsigned first = NEVER, last = 0;
	uint32_t clobbered = 0;
	int64_t delta[16] = {0};
	t->loops = false;
	t->rounds = 1;
	if (!(t->variant & VARIANT_WIN) || t->head_live) return;
	for (unsigned k = 0; k < t->n; k++) {
		const struct insn *i = &t->i[k];
		bool goes = i->class == C_JCC || i->class == C_JMP || i->class == C_CALL;
		if (!goes || x86_branch_target(i) != t->start) continue;
		if (first == NEVER) first = k;
		last = k;
	}
	if (first == NEVER) return;
	t->loops = true;
	t->back = first;
	t->rounds = rounds(t, first, last);
	for (unsigned k = 0; k <= last; k++) note_steady(&t->i[k], &clobbered, delta);
	for (unsigned r = 0; r < 16; r++)
		if (delta[r] > FAR_ENOUGH || delta[r] < -FAR_ENOUGH) clobbered |= 1u << r;
	for (unsigned n = 0; n < t->groups; n++)
		find_steady_group(t, &t->g[n], first, clobbered, delta);
	for (unsigned k = 0; k <= first; k++) {
		struct insn *i = &t->i[k];
		bool alone =
			i->group == NO_GROUP && i->m.win && i->m.win != X86_WIN_EITHER && !i->sure;
		i->steady = alone && (i->class == C_COPY) && is_steady(&i->m, clobbered);
	}
}
/* The one that runs over the end of the page. */
static bool decode_crossing(struct tr *t, struct insn *i, unsigned off)
{
	const uint8_t *next;
	unsigned here = X86_PAGE - off;
	if (here >= 15 || !x86_next_page(t->j, t->j->v->cpu.rip, &t->cross, &next)) {
		t->cross = CROSS_NOT;
		return false;
	}
	memcpy(t->edge, t->code + off, here);
	memcpy(t->edge + here, next, sizeof(t->edge) - here);
	i->bytes = t->edge;
	if (x86_decode(&i->in, t->edge, 15, X86_64) == X86_OK && i->in.len > here) return true;
	t->cross = CROSS_NOT;
	return false;
}
void x86_decode_block(struct tr *t)
{
	/* A block that is there already ends a longer one only: loops are to be in one piece,
	 * though some of their instructions have been gone on from after a detour. */
	enum { ENOUGH = 16 };
	unsigned off = t->start, view = t->variant & 3;
	const uint64_t *begins = x86_block_begins(t->j, t->page);
	t->end = JIT_NOT;
	for (t->n = 0; t->n < JIT_BLOCK_INSNS; t->n++) {
		struct insn *i = &t->i[t->n];
		if (off >= X86_PAGE ||
		    (t->n >= ENOUGH && !is_shadow(i - 1) && begins &&
		     begins[off / 64] >> off % 64 & 1 &&
		     x86_block_find(t->j, t->page, off, (t->variant & ~3u) | view))) {
			t->end = off;
			return;
		}
		i->bytes = t->code + off;
		bool whole = x86_decode(&i->in, i->bytes, X86_PAGE - off, X86_64) == X86_OK;
		if (!whole && !decode_crossing(t, i, off)) {
			t->end = off;
			t->end_steps = true;
			return;
		}
		i->off = (uint16_t)off;
		i->view = (uint8_t)view;
		i->class = (uint8_t)class_at(t, &i->in, i->bytes, off);
		if (whole) ahead_set(t, off, &i->in, i->class);
		i->group = NO_GROUP;
		i->steady = false;
		find_access(i);
		if (i->class == C_STAC) view = X86_VIEW_BOTH;
		if (i->class == C_CLAC) view = X86_VIEW_KERNEL;
		off += i->in.len;
		if (is_shadow(i) && (off >= X86_PAGE || t->n == JIT_BLOCK_INSNS - 1))
			i->class = C_END;
		if (x86_ends_block(i->class)) {
			t->n++;
			return;
		}
	}
	t->end = off;
}
