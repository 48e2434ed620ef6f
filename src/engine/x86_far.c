/* Control that leaves its code segment: far jumps, calls and returns, gates, and the fast system
 * calls (SDM 2, each instruction; SDM 3, 6.8). */
#include "base/types.h"
#include "engine/x86_desc.h"

static int gp(struct x86_vcpu *v, uint16_t sel) { return x86_raise_sel(v, X86_TRAP_GP, sel, 0); }
static int np(struct x86_vcpu *v, uint16_t sel)
{
	return x86_raise_sel(v, X86_TRAP + TRAP_NP, sel, 0);
}

/* ---- code segments */

int x86_target_check(struct x86_vcpu *v, const struct x86_target *t, unsigned ext)
{
	bool good = x86_target_is_64(v, t) ? x86_canonical(t->rip) : t->rip <= t->cs.limit;
	return good ? 0 : x86_raise(v, X86_TRAP_GP, ext);
}
int x86_target_code(struct x86_vcpu *v, struct x86_desc *d, struct x86_target *t, unsigned ext)
{
	/* L and D together mean nothing yet: SDM 3, 6.8.1. */
	if (v->long_mode && (d->access & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		return x86_raise_sel(v, X86_TRAP_GP, d->sel, ext);
	int e = x86_desc_mark(v, d, SEG_A);
	t->cs = x86_desc_seg(d);
	t->cs.sel = (uint16_t)((d->sel & ~3) | t->cpl);
	return e;
}
int x86_target_real(struct x86_vcpu *v, uint16_t sel, uint64_t rip, struct x86_target *t)
{
	*t = (struct x86_target){.rip = rip, .cpl = v->cpl};
	if (x86_is_v86(v)) {
		t->cs = x86_seg_v86(sel);
	} else {
		t->cs = v->seg[X86_CS];
		x86_seg_real(&t->cs, sel);
	}
	return rip <= t->cs.limit ? 0 : gp(v, 0);
}
void x86_target_use(struct x86_vcpu *v, const struct x86_target *t)
{
	v->seg[X86_CS] = t->cs;
	v->cpl = t->cpl;
	v->cpu.rip = t->rip;
	x86_mode_update(v);
}
static int code_read(struct x86_vcpu *v, uint16_t sel, struct x86_desc *d)
{
	int e = x86_is_null(sel) ? gp(v, 0) : x86_desc_read(v, sel, X86_TRAP_GP, 0, d);
	if (e) return e;
	return x86_desc_is_code(d) ? 0 : gp(v, sel);
}
int x86_target_return(struct x86_vcpu *v, uint16_t sel, struct x86_target *t)
{
	struct x86_desc d;
	int e = code_read(v, sel, &d);
	if (e) return e;
	unsigned rpl = x86_rpl(sel), dpl = x86_desc_dpl(&d);
	bool level = x86_desc_is_conforming(&d) ? dpl <= rpl : dpl == rpl;
	if (rpl < v->cpl || !level) return gp(v, sel);
	if (!(d.access & SEG_P)) return np(v, sel);
	t->cpl = (uint8_t)rpl;
	e = x86_target_code(v, &d, t, 0);
	return e ? e : x86_target_check(v, t, 0);
}
/* A direct jump or call: the level stays. */
static int target_direct(struct x86_vcpu *v, struct x86_desc *d, struct x86_target *t)
{
	unsigned dpl = x86_desc_dpl(d);
	bool level = x86_desc_is_conforming(d) ? dpl <= v->cpl
					       : dpl == v->cpl && x86_rpl(d->sel) <= v->cpl;
	if (!level) return gp(v, d->sel);
	if (!(d->access & SEG_P)) return np(v, d->sel);
	t->cpl = v->cpl;
	int e = x86_target_code(v, d, t, 0);
	return e ? e : x86_target_check(v, t, 0);
}

/* ---- other levels' stacks */

/* Out of a TSS, n bytes at `at`: SDM 3, 9.2.1, 9.6, 9.7. */
static int tss_read(struct x86_vcpu *v, unsigned at, void *to, unsigned n, unsigned ext)
{
	const struct x86_segreg *tr = &v->seg[X86_SEG_TR];
	uint64_t la = tr->base + at;
	if (tr->access & SEG_UNUSABLE || at + n - 1 > tr->limit)
		return x86_raise_sel(v, X86_TRAP + TRAP_TS, tr->sel, ext);
	return x86_load(v, v->long_mode ? la : (uint32_t)la, to, n, x86_system_view(v));
}
static int stack_inner_long(struct x86_vcpu *v, unsigned cpl, unsigned ist, unsigned ext,
			    struct x86_stack *s)
{
	s->ss = x86_seg_null((uint16_t)cpl, cpl);
	s->flat = true;
	int e = tss_read(v, ist ? 28 + 8 * ist : 4 + 8 * cpl, &s->sp, 8, ext);
	if (e) return e;
	return x86_canonical(s->sp) ? 0 : x86_raise(v, X86_TRAP_SS, ext);
}
int x86_stack_inner(struct x86_vcpu *v, unsigned cpl, unsigned ist, unsigned ext,
		    struct x86_stack *s)
{
	bool is32 = v->seg[X86_SEG_TR].access & 8;
	unsigned n = is32 ? 4 : 2;
	uint8_t bytes[6];
	*s = (struct x86_stack){.cpl = (uint8_t)cpl, .code = ext};
	if (v->long_mode) return stack_inner_long(v, cpl, ist, ext, s);
	int e = tss_read(v, is32 ? 4 + 8 * cpl : 2 + 4 * cpl, bytes, n + 2, ext);
	if (e) return e;
	uint16_t sel = (uint16_t)load_le(bytes + n, 2);
	s->sp = load_le(bytes, n);
	s->code = (sel & 0xfffcu) | ext;
	return x86_desc_stack(v, sel, cpl, X86_TRAP + TRAP_TS, ext, &s->ss);
}
int x86_stack_outer(struct x86_vcpu *v, const struct x86_target *t, struct x86_stack *s, unsigned n)
{
	uint64_t sp, sel;
	int e = x86_stack_pop(v, s, &sp, n);
	if (!e) e = x86_stack_pop(v, s, &sel, n);
	if (e) return e;
	bool is64 = x86_target_is_64(v, t);
	*s = (struct x86_stack){.sp = sp, .cpl = t->cpl, .flat = is64};
	if (!x86_is_null((uint16_t)sel) || !is64 || t->cpl == 3 || x86_rpl((uint16_t)sel) != t->cpl)
		return x86_desc_stack(v, (uint16_t)sel, t->cpl, X86_TRAP_GP, 0, &s->ss);
	s->ss = x86_seg_null((uint16_t)sel, t->cpl);
	return 0;
}

/* ---- calls */

/* What a far call pushes, in front of which a gate to an inner level puts more. */
static int push_return(struct x86_vcpu *v, const struct x86_insn *in, struct x86_stack *s,
		       unsigned size)
{
	int e = x86_stack_push(v, s, v->seg[X86_CS].sel, size);
	return e ? e : x86_stack_push(v, s, x86_rip_behind(v, in), size);
}
static void go(struct x86_vcpu *v, const struct x86_target *t, const struct x86_stack *s)
{
	if (s) x86_stack_use(v, s);
	x86_target_use(v, t);
}
static int go_near(struct x86_vcpu *v, const struct x86_insn *in, bool call,
		   const struct x86_target *t, unsigned size)
{
	struct x86_stack s = x86_stack_now(v);
	if (t->cs.access & SEG_L && v->long_mode) s.flat = true; /* a gate out of other modes */
	int e = call ? push_return(v, in, &s, size) : 0;
	if (!e) go(v, t, &s);
	return e;
}
/* Parameters go from the old stack to the new, in their order: SDM 3, 6.8.5. */
static int copy_parameters(struct x86_vcpu *v, struct x86_stack *to, unsigned count, unsigned size)
{
	struct x86_stack from = x86_stack_now(v);
	uint64_t val[31];
	int e = 0;
	for (unsigned i = 0; i < count && !e; i++) e = x86_stack_pop(v, &from, &val[i], size);
	while (count && !e) e = x86_stack_push(v, to, val[--count], size);
	return e;
}
static int go_inner(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_target *t,
		    unsigned count, unsigned size)
{
	struct x86_stack s;
	int e = x86_stack_inner(v, t->cpl, 0, 0, &s);
	if (!e) e = x86_stack_push(v, &s, v->seg[X86_SS].sel, size);
	if (!e) e = x86_stack_push(v, &s, v->cpu.r[4], size);
	if (!e) e = copy_parameters(v, &s, count, size);
	if (!e) e = push_return(v, in, &s, size);
	if (!e) go(v, t, &s);
	return e;
}
/* The code segment that a call gate leads to. */
static int gate_target(struct x86_vcpu *v, uint16_t sel, bool call, struct x86_target *t)
{
	struct x86_desc d;
	int e = code_read(v, sel, &d);
	if (e) return e;
	unsigned dpl = x86_desc_dpl(&d);
	bool conforming = x86_desc_is_conforming(&d);
	if (dpl > v->cpl || (!call && !conforming && dpl != v->cpl)) return gp(v, sel);
	if (v->long_mode && (d.access & (SEG_L | SEG_DB)) != SEG_L) return gp(v, sel);
	if (!(d.access & SEG_P)) return np(v, sel);
	t->cpl = conforming ? v->cpl : (uint8_t)dpl;
	e = x86_target_code(v, &d, t, 0);
	return e ? e : x86_target_check(v, t, 0);
}
static int go_gate(struct x86_vcpu *v, const struct x86_insn *in, struct x86_desc *d, bool call)
{
	struct x86_target t;
	unsigned dpl = x86_desc_dpl(d), count = d->raw >> 32 & 31;
	unsigned size = v->long_mode ? 8 : x86_desc_system(d) == SYS_CALL ? 4 : 2;
	if (dpl < v->cpl || dpl < x86_rpl(d->sel)) return gp(v, d->sel);
	if (!(d->access & SEG_P)) return np(v, d->sel);
	int e = x86_desc_read_upper(v, X86_TRAP_GP, 0, d);
	if (e) return e;
	t.rip = (d->raw & 0xffff) | (size == 2 ? 0 : d->raw >> 48 << 16) | d->upper << 32;
	e = gate_target(v, (uint16_t)(d->raw >> 16), call, &t);
	if (e) return e;
	if (t.cpl == v->cpl) return go_near(v, in, call, &t, size);
	return go_inner(v, in, &t, v->long_mode ? 0 : count, size);
}
/* A TSS, or a task gate before one; all else is nowhere to go. */
static int go_task(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_desc *d,
		   bool call)
{
	struct x86_task t = {
		.why = call ? X86_TASK_CALL : X86_TASK_JUMP,
		.rip = x86_rip_behind(v, in),
		.flags = v->cpu.flags,
	};
	unsigned type = x86_desc_system(d), dpl = x86_desc_dpl(d);
	bool gate = type == SYS_TASK;
	if (v->long_mode || (!gate && type != SYS_TSS && type != SYS_TSS16)) return gp(v, d->sel);
	if (dpl < v->cpl || dpl < x86_rpl(d->sel)) return gp(v, d->sel);
	if (!(d->access & SEG_P)) return np(v, d->sel);
	int e = x86_task_find(v, gate ? (uint16_t)(d->raw >> 16) : d->sel, &t);
	return e ? e : x86_task_switch(v, &t);
}
static int go_protected(struct x86_vcpu *v, const struct x86_insn *in, uint16_t sel, uint64_t off,
			bool call)
{
	struct x86_target t = {.rip = off};
	struct x86_desc d;
	int e = x86_is_null(sel) ? gp(v, 0) : x86_desc_read(v, sel, X86_TRAP_GP, 0, &d);
	if (e) return e;
	unsigned type = x86_desc_system(&d);
	if (x86_desc_is_code(&d)) {
		e = target_direct(v, &d, &t);
		return e ? e : go_near(v, in, call, &t, in->osize);
	}
	if (type == SYS_CALL || (type == SYS_CALL16 && !v->long_mode))
		return go_gate(v, in, &d, call);
	return go_task(v, in, &d, call);
}
static int go_far(struct x86_vcpu *v, const struct x86_insn *in, uint16_t sel, uint64_t off,
		  bool call)
{
	struct x86_target t;
	if (x86_is_protected(v)) return go_protected(v, in, sel, off, call);
	int e = x86_target_real(v, sel, off, &t);
	return e ? e : go_near(v, in, call, &t, in->osize);
}
static int do_direct(struct x86_vcpu *v, const struct x86_insn *in, bool call)
{
	return go_far(v, in, in->imm2, (uint64_t)in->imm, call);
}
static int do_indirect(struct x86_vcpu *v, const struct x86_insn *in, bool call)
{
	uint64_t off;
	uint16_t sel;
	int e = x86_operand_far(v, in, 0, &off, &sel);
	return e ? e : go_far(v, in, sel, off, call);
}

/* ---- returns */

static int return_real(struct x86_vcpu *v, struct x86_stack *s, uint16_t sel, uint64_t rip,
		       unsigned drop)
{
	struct x86_target t;
	int e = x86_target_real(v, sel, rip, &t);
	if (e) return e;
	x86_stack_skip(s, drop);
	go(v, &t, s);
	return 0;
}
static int do_return(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct x86_stack s = x86_stack_now(v);
	unsigned drop = (uint16_t)in->imm;
	uint64_t rip, sel;
	int e = x86_stack_pop(v, &s, &rip, in->osize);
	if (!e) e = x86_stack_pop(v, &s, &sel, in->osize);
	if (e) return e;
	if (!x86_is_protected(v)) return return_real(v, &s, (uint16_t)sel, rip, drop);
	struct x86_target t = {.rip = rip};
	e = x86_target_return(v, (uint16_t)sel, &t);
	if (e) return e;
	bool outer = t.cpl > v->cpl;
	x86_stack_skip(&s, drop);
	if (outer) {
		e = x86_stack_outer(v, &t, &s, in->osize);
		if (e) return e;
		x86_stack_skip(&s, drop);
		x86_seg_drop_inner(v, t.cpl);
	}
	go(v, &t, &s);
	return 0;
}

/* ---- fast system calls: SDM 2; SDM 3, 6.8.7 and 6.8.8 */

enum { CODE = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_A | SEG_G, CODE64 = CODE | SEG_L };
enum { CODE32 = CODE | SEG_DB, DATA = SEG_P | SEG_S | SEG_RW | SEG_A | SEG_DB | SEG_G };

/* Segments by decree, at the level of CPL. */
static void go_flat(struct x86_vcpu *v, unsigned cs, unsigned access, unsigned ss, unsigned cpl,
		    uint64_t rip)
{
	unsigned level = cpl << 5;
	struct x86_target t = {
		.cs = x86_seg_flat((uint16_t)((cs & 0xfffc) | cpl), access | level),
		.rip = rip,
		.cpl = (uint8_t)cpl,
	};
	v->seg[X86_SS] = x86_seg_flat((uint16_t)((ss & 0xfffc) | cpl), DATA | level);
	x86_target_use(v, &t);
}
int x86_syscall(struct x86_vcpu *v, uint64_t next)
{
	unsigned cs = v->star >> 32 & 0xfffc;
	if (!(v->efer & EFER_SCE) || v->mode != X86_64) return X86_TRAP_UD;
	v->calls++;
	v->cpu.r[1] = next;
	v->cpu.r[11] = v->cpu.flags & ~(uint64_t)X86_RF;
	v->cpu.flags &= ~(v->sfmask | X86_RF | X86_VM);
	v->cpu.flags |= 2; /* which is always set */
	go_flat(v, cs, CODE64, cs + 8, 0, v->lstar);
	return 0;
}
int x86_sysret(struct x86_vcpu *v, bool to64)
{
	enum { FLAGS = 0x3c7fd7 }; /* all but RF and VM */
	unsigned cs = (uint16_t)(v->star >> 48);
	uint64_t rip = to64 ? v->cpu.r[1] : (uint32_t)v->cpu.r[1];
	if (!(v->efer & EFER_SCE) || v->mode != X86_64) return X86_TRAP_UD;
	if (v->cpl || !x86_canonical(rip)) return gp(v, 0);
	v->cpu.flags = (v->cpu.r[11] & FLAGS) | 2;
	go_flat(v, to64 ? cs + 16 : cs, to64 ? CODE64 : CODE32, cs + 8, 3, rip);
	return 0;
}
static int do_sysenter(struct x86_vcpu *v)
{
	unsigned cs = v->sysenter_cs & 0xfffc;
	bool to64 = v->long_mode;
	if (x86_is_real(v) || !cs) return gp(v, 0);
	v->cpu.flags &= ~(uint64_t)(X86_VM | X86_IF | X86_RF);
	v->cpu.r[4] = to64 ? v->sysenter_esp : (uint32_t)v->sysenter_esp;
	go_flat(v, cs, to64 ? CODE64 : CODE32, cs + 8, 0,
		to64 ? v->sysenter_eip : (uint32_t)v->sysenter_eip);
	return 0;
}
static int do_sysexit(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool to64 = in->osize == 8;
	unsigned from = v->sysenter_cs & 0xfffc, cs = from + (to64 ? 32 : 16);
	uint64_t sp = v->cpu.r[1], rip = v->cpu.r[2];
	if (x86_is_real(v) || v->cpl || !from) return gp(v, 0);
	if (to64 && (!x86_canonical(sp) || !x86_canonical(rip))) return gp(v, 0);
	v->cpu.r[4] = to64 ? sp : (uint32_t)sp;
	go_flat(v, cs, to64 ? CODE64 : CODE32, cs + 8, 3, to64 ? rip : (uint32_t)rip);
	return 0;
}

/* ---- interrupts by instruction */

static int do_int(struct x86_vcpu *v, const struct x86_insn *in)
{
	/* Virtual 8086 mode asks its monitor; int3 and into do not (SDM 3, 21.2.7). */
	if (x86_is_v86(v) && (v->cpu.flags & X86_IOPL) != X86_IOPL) return gp(v, 0);
	return x86_interrupt(v, (uint8_t)in->imm, X86_FROM_INTN, x86_rip_behind(v, in));
}
static int do_into(struct x86_vcpu *v, const struct x86_insn *in)
{
	if (!(v->cpu.flags & X86_OF)) return x86_done(v, in);
	return x86_interrupt(v, TRAP_OF, X86_FROM_INTN, x86_rip_behind(v, in));
}

int x86_do_far(struct x86_vcpu *v, const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_int3: return x86_interrupt(v, TRAP_BP, X86_FROM_INTN, x86_rip_behind(v, in));
	case X86_OP_int1: /* a #DB without a reason in DR6, and no question of DPL */
		return x86_interrupt(v, TRAP_DB, X86_FROM_CPU, x86_rip_behind(v, in));
	case X86_OP_int: return do_int(v, in);
	case X86_OP_into: return do_into(v, in);
	case X86_OP_iret: return x86_do_iret(v, in);
	case X86_OP_jmpf: return do_direct(v, in, false);
	case X86_OP_callf: return do_direct(v, in, true);
	case X86_OP_jmpfi: return do_indirect(v, in, false);
	case X86_OP_callfi: return do_indirect(v, in, true);
	case X86_OP_retf: return do_return(v, in);
	case X86_OP_syscall: return x86_syscall(v, x86_rip_behind(v, in));
	case X86_OP_sysret: return x86_sysret(v, in->osize == 8);
	case X86_OP_sysenter: return do_sysenter(v);
	case X86_OP_sysexit: return do_sysexit(v, in);
	default: return x86_do_seg(v, in);
	}
}
