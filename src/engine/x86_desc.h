#ifndef ENGINE_X86_DESC_H
#define ENGINE_X86_DESC_H
#include "engine/x86_vcpu.h"
/* Descriptors, stacks and code segments: what x86_seg.c, x86_trap.c, x86_task.c and x86_far.c have
 * in common. All of it is asked before anything changes: functions answer 0 or a trap, and fill in
 * what the caller then puts in place. An error code that names a selector has its RPL replaced by
 * `ext`, which is 1 for what comes from outside the program (SDM 3, 7.13). */
enum { TRAP_DB = 1, TRAP_NMI, TRAP_BP, TRAP_OF, TRAP_DF = 8, TRAP_TS = 10, TRAP_NP, TRAP_PF = 14 };
enum { SYS_TSS16 = 1, SYS_LDT, SYS_TSS16_BUSY, SYS_CALL16, SYS_TASK, SYS_INT16, SYS_TRAP16 };
enum { SYS_TSS = 9, SYS_TSS_BUSY = 11, SYS_CALL, SYS_INT = 14, SYS_TRAP, SYS_BUSY = 2 };

/* Eight bytes out of the GDT or LDT, and where they were; sixteen of system descriptors in long
 * mode. */
struct x86_desc {
	uint64_t raw, upper, at;
	uint32_t access; /* as in struct x86_segreg */
	uint16_t sel;
};
static inline unsigned x86_desc_dpl(const struct x86_desc *d) { return d->access >> 5 & 3; }
static inline bool x86_desc_is_code(const struct x86_desc *d)
{
	return (d->access & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}
static inline bool x86_desc_is_conforming(const struct x86_desc *d)
{
	return x86_desc_is_code(d) && d->access & SEG_EC;
}
static inline bool x86_desc_is_writable(const struct x86_desc *d)
{
	return (d->access & (SEG_S | SEG_CODE | SEG_RW)) == (SEG_S | SEG_RW);
}
/* Type of a system descriptor; 0, which is none, of code and data. */
static inline unsigned x86_desc_system(const struct x86_desc *d)
{
	return d->access & SEG_S ? 0 : d->access & 15;
}
static inline unsigned x86_rpl(uint16_t sel) { return sel & 3; }
static inline bool x86_is_null(uint16_t sel) { return !(sel & ~3); }
static inline bool x86_is_real(const struct x86_vcpu *v) { return !(v->cr0 & CR0_PE); }
static inline bool x86_is_v86(const struct x86_vcpu *v) { return v->cpu.flags & X86_VM; }
static inline bool x86_is_protected(const struct x86_vcpu *v)
{
	return !x86_is_real(v) && !x86_is_v86(v);
}
static inline int x86_raise_sel(struct x86_vcpu *v, unsigned trap, uint16_t sel, unsigned ext)
{
	return x86_raise(v, trap, (sel & 0xfffcu) | ext);
}
/* What CPL `cpl` may touch as its own. */
enum x86_view x86_view_of(const struct x86_vcpu *v, unsigned cpl);

/* ---- descriptors. sel is not null; `trap` if it is beyond its table */
int x86_desc_read(struct x86_vcpu *v, uint16_t sel, unsigned trap, unsigned ext,
		  struct x86_desc *d);
/* For gates, LDTs and TSSs: reads `upper`, too, in long mode; else that is 0. */
int x86_desc_read_upper(struct x86_vcpu *v, unsigned trap, unsigned ext, struct x86_desc *d);
void x86_desc_decode(struct x86_desc *d);				  /* access from raw */
int x86_desc_mark(struct x86_vcpu *v, struct x86_desc *d, unsigned bits); /* accessed, busy */
struct x86_segreg x86_desc_seg(const struct x86_desc *d);
/* A stack segment for `cpl`: `trap` (#GP, #TS) if it is none, #SS if it is not present. */
int x86_desc_stack(struct x86_vcpu *v, uint16_t sel, unsigned cpl, unsigned trap, unsigned ext,
		   struct x86_segreg *ss);
struct x86_segreg x86_seg_null(uint16_t sel, unsigned dpl);
struct x86_segreg x86_seg_v86(uint16_t sel);
struct x86_segreg x86_seg_flat(uint16_t sel, unsigned access); /* base 0, 4 GiB */
void x86_seg_real(struct x86_segreg *s, uint16_t sel);	       /* in real mode: base alone */
int x86_seg_load_ldt(struct x86_vcpu *v, uint16_t sel);
void x86_seg_drop_inner(struct x86_vcpu *v, unsigned cpl); /* returns to outer levels do */

/* ---- stacks, which become SS:rSP when x86_stack_use() is called */
struct x86_stack {
	struct x86_segreg ss;
	uint64_t sp;
	uint32_t code; /* of its #SS */
	uint8_t cpl;
	bool flat; /* 64 bit mode's */
};
struct x86_stack x86_stack_now(const struct x86_vcpu *v);
int x86_stack_push(struct x86_vcpu *v, struct x86_stack *s, uint64_t val, unsigned n);
int x86_stack_pop(struct x86_vcpu *v, struct x86_stack *s, uint64_t *val, unsigned n);
void x86_stack_skip(struct x86_stack *s, uint64_t n);
void x86_stack_use(struct x86_vcpu *v, const struct x86_stack *s);
/* The TSS's for entering `cpl`; ist: 0, or which of long mode's. */
int x86_stack_inner(struct x86_vcpu *v, unsigned cpl, unsigned ist, unsigned ext,
		    struct x86_stack *s);

/* ---- code segments and where in them to go on */
struct x86_target {
	struct x86_segreg cs;
	uint64_t rip;
	uint8_t cpl;
};
static inline bool x86_target_is_64(const struct x86_vcpu *v, const struct x86_target *t)
{
	return v->long_mode && t->cs.access & SEG_L;
}
int x86_target_check(struct x86_vcpu *v, const struct x86_target *t, unsigned ext); /* rip */
/* d becomes the code segment of t at t->cpl, and accessed. */
int x86_target_code(struct x86_vcpu *v, struct x86_desc *d, struct x86_target *t, unsigned ext);
/* In real and virtual 8086 mode. */
int x86_target_real(struct x86_vcpu *v, uint16_t sel, uint64_t rip, struct x86_target *t);
void x86_target_use(struct x86_vcpu *v, const struct x86_target *t); /* and x86_mode_update() */
/* For iret and far ret: where sel:t->rip lets them return to; sets t->cpl. */
int x86_target_return(struct x86_vcpu *v, uint16_t sel, struct x86_target *t);
/* Their stack there. Its SS and rSP are popped from s. */
int x86_stack_outer(struct x86_vcpu *v, const struct x86_target *t, struct x86_stack *s,
		    unsigned n);

/* ---- tasks, x86_task.c. Once the switch is done a trap is the new task's. */
enum x86_task_why { X86_TASK_JUMP, X86_TASK_CALL /* or interrupt */, X86_TASK_IRET };
struct x86_task {
	enum x86_task_why why;
	unsigned ext;
	bool has_code; /* an error code is pushed there */
	uint32_t code;
	uint64_t rip, flags; /* of the old task, for its way back */
	struct x86_desc tss;
};
int x86_task_find(struct x86_vcpu *v, uint16_t sel, struct x86_task *t); /* sets tss */
int x86_task_switch(struct x86_vcpu *v, struct x86_task *t);

/* ---- operands of general registers and memory, by number; rip behind in */
int x86_operand_get(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, uint64_t *val);
int x86_operand_set(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, uint64_t val);
/* A far pointer in memory: offset, then selector. */
int x86_operand_far(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, uint64_t *off,
		    uint16_t *sel);
static inline uint64_t x86_rip_behind(const struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t rip = v->cpu.rip + in->len;
	return in->mode == X86_64 ? rip : (uint32_t)rip;
}
static inline int x86_done(struct x86_vcpu *v, const struct x86_insn *in)
{
	v->cpu.rip = x86_rip_behind(v, in);
	return 0;
}

/* ---- parts of x86_do_far() in x86_seg.c and x86_trap.c */
int x86_do_seg(struct x86_vcpu *v, const struct x86_insn *in);
int x86_do_iret(struct x86_vcpu *v, const struct x86_insn *in);
/* int n and its like: 0, or a trap that the handler's entry gave; then nothing has changed. rip is
 * where to return to. */
int x86_interrupt(struct x86_vcpu *v, unsigned vector, enum x86_source from, uint64_t rip);
#endif
