/* Exceptions, interrupts and the way back (SDM 3, chapter 7; SDM 2, INT n and IRET). Everything is
 * read and checked, and the frame written, before a register changes: so whatever goes wrong on the
 * way leaves the state for the second exception to find. */
#include "base/types.h"
#include "engine/x86_desc.h"

/* What is being delivered, with what it needs to know of the way there. */
struct event {
	unsigned vector;
	enum x86_source from;
	bool has_code;
	uint32_t code;
	uint64_t rip, flags; /* as they are pushed */
	unsigned ext;	     /* in error codes of what goes wrong: SDM 3, 7.13 */
};
struct gate {
	unsigned type, dpl, ist, size; /* size: bytes of what is pushed */
	bool present;
	uint16_t sel;
	uint64_t offset;
};

/* ---- exceptions by their numbers: SDM 3, table 7-1 */

static bool has_code(unsigned vector)
{
	return vector < 32 && (1u << TRAP_DF | 0x27c00u) >> vector & 1; /* TS NP SS GP PF AC */
}
/* Faults can be gone back to, and RF in the frame sees that no breakpoint takes them twice: SDM 3,
 * 19.3.1.1. #DB is not one that has it, double faults and machine checks are aborts. */
static bool is_fault(unsigned vector)
{
	enum { NO = 1 << TRAP_DB | 1 << TRAP_NMI | 1 << TRAP_BP | 1 << TRAP_OF, MC = 1 << 18 };
	return vector < 32 && !((NO | MC | 1 << TRAP_DF) >> vector & 1);
}
static bool is_contributory(unsigned vector)
{
	return vector < 32 && (1u | 0x3c00u) >> vector & 1; /* DE TS NP SS GP */
}
/* SDM 3, table 7-5: both together are a double fault. */
static bool is_double(unsigned first, unsigned second)
{
	if (first == TRAP_PF) return is_contributory(second) || second == TRAP_PF;
	return is_contributory(first) && is_contributory(second);
}

/* ---- gates */

static int idt_trap(struct x86_vcpu *v, unsigned trap, const struct event *e)
{
	return x86_raise(v, trap, e->vector * 8 | 2 | e->ext);
}
static int gate_read(struct x86_vcpu *v, const struct event *e, struct gate *g)
{
	unsigned n = v->long_mode ? 16 : 8;
	uint64_t raw[2] = {0, 0}, at = v->idt.base + e->vector * n;
	if (e->vector * n + n - 1 > v->idt.limit) return idt_trap(v, X86_TRAP_GP, e);
	int t = x86_load(v, v->long_mode ? at : (uint32_t)at, raw, n, x86_system_view(v));
	if (t) return t;
	*g = (struct gate){
		.type = raw[0] >> 40 & 31,
		.dpl = raw[0] >> 45 & 3,
		.ist = v->long_mode ? raw[0] >> 32 & 7 : 0,
		.present = raw[0] >> 47 & 1,
		.sel = (uint16_t)(raw[0] >> 16),
		.offset = (raw[0] & 0xffff) | (raw[0] >> 48) << 16 | raw[1] << 32,
	};
	g->size = v->long_mode ? 8 : g->type & 8 ? 4 : 2;
	if (g->size == 2) g->offset &= 0xffff;
	return 0;
}
static bool is_gate(const struct x86_vcpu *v, unsigned type)
{
	if (type == SYS_INT || type == SYS_TRAP) return true;
	return !v->long_mode && (type == SYS_INT16 || type == SYS_TRAP16 || type == SYS_TASK);
}
static int gate_check(struct x86_vcpu *v, const struct event *e, struct gate *g)
{
	int t = gate_read(v, e, g);
	if (t) return t;
	if (!is_gate(v, g->type)) return idt_trap(v, X86_TRAP_GP, e);
	if (e->from == X86_FROM_INTN && g->dpl < v->cpl) return idt_trap(v, X86_TRAP_GP, e);
	return g->present ? 0 : idt_trap(v, X86_TRAP + TRAP_NP, e);
}
/* The handler's code segment, and with that its privilege. */
static int gate_target(struct x86_vcpu *v, const struct event *e, const struct gate *g,
		       struct x86_target *to)
{
	struct x86_desc d;
	int t = x86_is_null(g->sel) ? x86_raise(v, X86_TRAP_GP, e->ext)
				    : x86_desc_read(v, g->sel, X86_TRAP_GP, e->ext, &d);
	if (t) return t;
	unsigned dpl = x86_desc_dpl(&d);
	bool wrong_size = v->long_mode && (d.access & (SEG_L | SEG_DB)) != SEG_L;
	if (!x86_desc_is_code(&d) || dpl > v->cpl || wrong_size)
		return x86_raise_sel(v, X86_TRAP_GP, g->sel, e->ext);
	if (!(d.access & SEG_P)) return x86_raise_sel(v, X86_TRAP + TRAP_NP, g->sel, e->ext);
	to->cpl = x86_desc_is_conforming(&d) ? v->cpl : (uint8_t)dpl;
	/* Out of virtual 8086 mode it only goes to level 0. */
	if (x86_is_v86(v) && to->cpl) return x86_raise_sel(v, X86_TRAP_GP, g->sel, e->ext);
	to->rip = g->offset;
	t = x86_target_code(v, &d, to, e->ext);
	return t ? t : x86_target_check(v, to, e->ext);
}

/* ---- entry */

static int push_all(struct x86_vcpu *v, struct x86_stack *s, const uint64_t *what, unsigned count,
		    unsigned size)
{
	int t = 0;
	for (unsigned i = 0; i < count && !t; i++) t = x86_stack_push(v, s, what[i], size);
	return t;
}
/* outer: SS and rSP are part of it, and from virtual 8086 mode all data segments. */
static int push_frame(struct x86_vcpu *v, const struct event *e, struct x86_stack *s, bool outer,
		      unsigned size)
{
	static const uint8_t v86[] = {X86_GS, X86_FS, X86_DS, X86_ES};
	uint64_t what[10];
	unsigned n = 0;
	for (unsigned i = 0; x86_is_v86(v) && i < COUNT(v86); i++) what[n++] = v->seg[v86[i]].sel;
	if (outer) {
		what[n++] = v->seg[X86_SS].sel;
		what[n++] = v->cpu.r[4];
	}
	what[n++] = e->flags;
	what[n++] = v->seg[X86_CS].sel;
	what[n++] = e->rip;
	if (e->has_code) what[n++] = e->code;
	return push_all(v, s, what, n, size);
}
static void enter(struct x86_vcpu *v, const struct x86_target *to, const struct x86_stack *s,
		  bool clear_if)
{
	if (x86_is_v86(v)) {
		static const uint8_t gone[] = {X86_ES, X86_DS, X86_FS, X86_GS};
		for (unsigned i = 0; i < COUNT(gone); i++) v->seg[gone[i]] = x86_seg_null(0, 0);
	}
	v->cpu.flags &= ~(uint64_t)(X86_TF | X86_NT | X86_RF | X86_VM | (clear_if ? X86_IF : 0));
	x86_stack_use(v, s);
	x86_target_use(v, to);
}
static int deliver_gate(struct x86_vcpu *v, const struct event *e, const struct gate *g)
{
	struct x86_target to;
	struct x86_stack s = x86_stack_now(v);
	int t = gate_target(v, e, g, &to);
	if (t) return t;
	bool inner = to.cpl < v->cpl;
	s.code = e->ext;
	if (inner || g->ist) {
		t = x86_stack_inner(v, to.cpl, g->ist, e->ext, &s);
		if (!inner) s.ss = v->seg[X86_SS];
	}
	if (t) return t;
	if (v->long_mode) {
		s.flat = true; /* whatever mode is interrupted; SDM 3, 7.14.2 */
		s.sp &= ~15ull;
	}
	t = push_frame(v, e, &s, inner || v->long_mode, g->size);
	if (!t) enter(v, &to, &s, !(g->type & 1));
	return t;
}
/* SDM 2, INT n, real-address mode; SDM 3, 21.1.4. */
static int deliver_real(struct x86_vcpu *v, const struct event *e)
{
	struct x86_stack s = x86_stack_now(v);
	struct x86_target to;
	uint16_t ivt[2];
	unsigned at = e->vector * 4;
	if (at + 3 > v->idt.limit) return idt_trap(v, X86_TRAP_GP, e);
	int t = x86_load(v, (uint32_t)(v->idt.base + at), ivt, 4, x86_system_view(v));
	if (!t) t = x86_target_real(v, ivt[1], ivt[0], &to);
	uint64_t frame[] = {e->flags, v->seg[X86_CS].sel, e->rip};
	if (!t) t = push_all(v, &s, frame, COUNT(frame), 2);
	if (t) return t;
	v->cpu.flags &= ~(uint64_t)X86_AC;
	enter(v, &to, &s, true);
	return 0;
}
static int deliver_task(struct x86_vcpu *v, const struct event *e, uint16_t sel)
{
	struct x86_task to = {
		.why = X86_TASK_CALL,
		.ext = e->ext,
		.has_code = e->has_code,
		.code = e->code,
		.rip = e->rip,
		.flags = e->flags,
	};
	int t = x86_task_find(v, sel, &to);
	return t ? t : x86_task_switch(v, &to);
}
static int deliver(struct x86_vcpu *v, const struct event *e)
{
	struct gate g;
	if (x86_is_real(v)) return deliver_real(v, e);
	int t = gate_check(v, e, &g);
	if (t) return t;
	return g.type == SYS_TASK ? deliver_task(v, e, g.sel) : deliver_gate(v, e, &g);
}
int x86_interrupt(struct x86_vcpu *v, unsigned vector, enum x86_source from, uint64_t rip)
{
	struct event e = {
		.vector = vector,
		.from = from,
		.rip = rip,
		.flags = v->cpu.flags,
		.ext = from != X86_FROM_INTN,
	};
	if (from == X86_FROM_CPU) {
		e.has_code = has_code(vector);
		e.code = v->code;
		if (is_fault(vector)) e.flags |= X86_RF;
	}
	if (unlikely(v->trace.to != NULL)) x86_trace_int(v, vector, from);
	return deliver(v, &e);
}
/* What is kept of an exception even if its handler cannot be entered. */
static void note(struct x86_vcpu *v, unsigned vector)
{
	enum { B0_TO_3 = 15, GD = 1 << 13 };
	if (vector == TRAP_PF) v->cr2 = v->fault;
	if (vector != TRAP_DB) return;
	v->dr[6] = (v->dr[6] & ~(uint64_t)B0_TO_3) | v->fault;
	v->dr[7] &= ~(uint64_t)GD; /* SDM 3, 19.2.4 */
}
/* Each time round is a worse one: benign, contributory, page fault, double fault. */
void x86_deliver(struct x86_vcpu *v, unsigned vector, enum x86_source from)
{
	if (vector == TRAP_NMI && from != X86_FROM_INTN) v->nmi_masked = true;
	for (;;) {
		if (from == X86_FROM_CPU) note(v, vector);
		int t = x86_interrupt(v, vector, from, v->cpu.rip);
		if (!t) break;
		unsigned second = (unsigned)(t - X86_TRAP);
		if (from == X86_FROM_CPU && vector == TRAP_DF) {
			v->reset_asked = true;
			return;
		}
		if (from == X86_FROM_CPU && is_double(vector, second)) {
			if (second == TRAP_PF) note(v, second);
			second = TRAP_DF;
			v->code = 0;
		}
		vector = second;
		from = X86_FROM_CPU;
	}
}

/* ---- iret */

/* Flags that an instruction at this level may load: SDM 2, IRET, POPF. */
static uint64_t loadable(const struct x86_vcpu *v, unsigned size)
{
	enum { VIF = 1 << 19, VIP = 1 << 20 };
	uint64_t mask = X86_ARITH | X86_TF | X86_DF | X86_NT;
	unsigned iopl = v->cpu.flags >> 12 & 3;
	if (size > 2) mask |= X86_RF | X86_AC | X86_ID;
	if (v->cpl <= iopl) mask |= X86_IF;
	if (!v->cpl) mask |= X86_IOPL;
	if (!v->cpl && size > 2 && x86_is_protected(v)) mask |= VIF | VIP;
	return mask;
}
static uint64_t merge(const struct x86_vcpu *v, uint64_t popped, uint64_t mask)
{
	return (v->cpu.flags & ~mask) | (popped & mask);
}
static int pop_all(struct x86_vcpu *v, struct x86_stack *s, uint64_t *what, unsigned count,
		   unsigned size)
{
	int t = 0;
	for (unsigned i = 0; i < count && !t; i++) t = x86_stack_pop(v, s, &what[i], size);
	return t;
}
enum { POP_RIP, POP_CS, POP_FLAGS, POP_SP = 0, POP_SS, POP_ES, POP_DS, POP_FS, POP_GS };

static int iret_real(struct x86_vcpu *v, struct x86_stack *s, const uint64_t *frame, unsigned size)
{
	struct x86_target to;
	int t = x86_target_real(v, (uint16_t)frame[POP_CS], frame[POP_RIP], &to);
	if (t) return t;
	v->cpu.flags = merge(v, frame[POP_FLAGS], loadable(v, size));
	x86_stack_use(v, s);
	x86_target_use(v, &to);
	return 0;
}
static int iret_to_v86(struct x86_vcpu *v, struct x86_stack *s, const uint64_t *frame)
{
	static const uint8_t seg[] = {X86_SS, X86_ES, X86_DS, X86_FS, X86_GS};
	struct x86_target to = {
		.cs = x86_seg_v86((uint16_t)frame[POP_CS]),
		.rip = (uint16_t)frame[POP_RIP],
		.cpl = 3,
	};
	uint64_t more[6];
	int t = pop_all(v, s, more, COUNT(more), 4);
	if (t) return t;
	v->cpu.flags = merge(v, frame[POP_FLAGS], loadable(v, 4) | X86_VM);
	for (unsigned i = 0; i < COUNT(seg); i++)
		v->seg[seg[i]] = x86_seg_v86((uint16_t)more[POP_SS + i]);
	v->cpu.r[4] = more[POP_SP]; /* all of ESP */
	x86_target_use(v, &to);
	return 0;
}
static int iret_protected(struct x86_vcpu *v, struct x86_stack *s, const uint64_t *frame,
			  unsigned size)
{
	struct x86_target to = {.rip = frame[POP_RIP]};
	int t = x86_target_return(v, (uint16_t)frame[POP_CS], &to);
	if (t) return t;
	bool outer = to.cpl > v->cpl;
	/* 64 bit mode has always pushed SS, so it pops it: SDM 3, 7.14.3. */
	if (outer || v->mode == X86_64) t = x86_stack_outer(v, &to, s, size);
	if (t) return t;
	v->cpu.flags = merge(v, frame[POP_FLAGS], loadable(v, size));
	x86_stack_use(v, s);
	if (outer) x86_seg_drop_inner(v, to.cpl);
	x86_target_use(v, &to);
	return 0;
}
/* NT: back to the task that this one's TSS names. */
static int iret_task(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct x86_task to = {
		.why = X86_TASK_IRET,
		.rip = x86_rip_behind(v, in),
		.flags = v->cpu.flags & ~(uint64_t)X86_NT,
	};
	uint16_t sel = 0;
	if (v->long_mode) return x86_raise(v, X86_TRAP_GP, 0);
	int t = x86_load(v, (uint32_t)v->seg[X86_SEG_TR].base, &sel, 2, x86_system_view(v));
	if (!t) t = x86_task_find(v, sel, &to);
	return t ? t : x86_task_switch(v, &to);
}
int x86_do_iret(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct x86_stack s = x86_stack_now(v);
	unsigned size = in->osize;
	uint64_t frame[3];
	v->nmi_masked = false; /* even if it faults: SDM 3, 7.7.1 */
	if (x86_is_v86(v) && (v->cpu.flags & X86_IOPL) != X86_IOPL)
		return x86_raise(v, X86_TRAP_GP, 0);
	if (x86_is_protected(v) && v->cpu.flags & X86_NT) return iret_task(v, in);
	int t = pop_all(v, &s, frame, COUNT(frame), size);
	if (t) return t;
	if (!x86_is_protected(v)) return iret_real(v, &s, frame, size);
	if (!v->long_mode && !v->cpl && size == 4 && frame[POP_FLAGS] & X86_VM)
		return iret_to_v86(v, &s, frame);
	return iret_protected(v, &s, frame, size);
}
