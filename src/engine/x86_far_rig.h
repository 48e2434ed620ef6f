#ifndef ENGINE_X86_FAR_RIG_H
#define ENGINE_X86_FAR_RIG_H
#include "engine/x86_desc.h"
#include "engine/x86_rig.h"
/* For tests of segments, traps and far transfers: tables in the rig's RAM, the modes, and a way to
 * have the CPU do single instructions. */
enum {
	AT_GDT = 0x1000,
	AT_IDT = 0x2000,
	AT_TSS = 0x3000,
	AT_LDT = 0x3800,
	AT_STACK3 = 0x7000, /* tops of stacks */
	AT_STACK = 0x8000,
	AT_STACK0 = 0x9000, /* the TSS's */
	AT_IST = 0xa000,
	AT_CODE = 0x20000,
	AT_HANDLER = 0x30000,
	AT_DATA = 0x40000,
	AT_HOLE = 0x200000, /* 2 MiB that nothing is mapped at */
};
/* What is in the GDT. */
enum {
	GDT_CODE = 0x08, /* 32 bits, level 0 */
	GDT_DATA = 0x10,
	GDT_CODE3 = 0x18, /* and level 3 */
	GDT_DATA3 = 0x20,
	GDT_CODE64 = 0x28,
	GDT_CODE64_3 = 0x30,
	GDT_TSS = 0x38,
	GDT_LDT = 0x48,
	GDT_GATE = 0x58,
	GDT_CONFORMING = 0x68,
	GDT_ABSENT = 0x70,
	GDT_CODE16 = 0x78,
	GDT_DATA16 = 0x80,
	GDT_DOWN = 0x88, /* expand-down, limit 0xfff */
	GDT_CONST = 0x90,
	GDT_END = 0x98,
};
enum {
	ACC_CODE = 0xc09a,
	ACC_DATA = 0xc092,
	ACC_CODE64 = 0xa09a,
	ACC_3 = 3 << 5,
	ACC_TSS = 0x89,
	ACC_LDT = 0x82,
};
static inline uint64_t far_desc(uint32_t base, uint32_t limit, unsigned access)
{
	return (limit & 0xffff) | (base & 0xffffffull) << 16 | (uint64_t)(access & 0xff) << 40 |
	       (limit >> 16 & 15ull) << 48 | (access >> 12 & 15ull) << 52 |
	       (uint64_t)(base >> 24) << 56;
}
static inline void far_gdt(struct x86_rig *r, unsigned sel, uint64_t desc)
{
	x86_rig_put(r, AT_GDT + sel, desc, 8);
}
static inline uint64_t far_gate(unsigned sel, uint32_t to, unsigned type, unsigned extra)
{
	return (to & 0xffff) | (uint64_t)sel << 16 | (uint64_t)extra << 32 | (uint64_t)type << 40 |
	       (uint64_t)(to >> 16) << 48;
}
/* type with P and DPL, as it stands in the gate's byte 5. */
static inline void far_idt(struct x86_rig *r, unsigned vector, unsigned sel, unsigned type,
			   unsigned ist)
{
	unsigned n = r->v->long_mode ? 16 : 8;
	x86_rig_put(r, AT_IDT + vector * n, far_gate(sel, AT_HANDLER + vector, type, ist), 8);
	if (n == 16) x86_rig_put(r, AT_IDT + vector * n + 8, 0, 8);
}
static inline void far_tables(struct x86_rig *r)
{
	unsigned tss_limit = 0x67;
	far_gdt(r, GDT_CODE, far_desc(0, 0xfffff, ACC_CODE));
	far_gdt(r, GDT_DATA, far_desc(0, 0xfffff, ACC_DATA));
	far_gdt(r, GDT_CODE3, far_desc(0, 0xfffff, ACC_CODE | ACC_3));
	far_gdt(r, GDT_DATA3, far_desc(0, 0xfffff, ACC_DATA | ACC_3));
	far_gdt(r, GDT_CODE64, far_desc(0, 0xfffff, ACC_CODE64));
	far_gdt(r, GDT_CODE64_3, far_desc(0, 0xfffff, ACC_CODE64 | ACC_3));
	far_gdt(r, GDT_TSS, far_desc(AT_TSS, tss_limit, ACC_TSS));
	far_gdt(r, GDT_TSS + 8, 0);
	far_gdt(r, GDT_LDT, far_desc(AT_LDT, 0xf, ACC_LDT));
	far_gdt(r, GDT_LDT + 8, 0);
	far_gdt(r, GDT_GATE + 8, 0);
	far_gdt(r, GDT_CONFORMING, far_desc(0, 0xfffff, ACC_CODE | SEG_EC));
	far_gdt(r, GDT_ABSENT, far_desc(0, 0xfffff, ACC_DATA & ~SEG_P));
	far_gdt(r, GDT_CODE16, far_desc(0x10000, 0xffff, 0x9a));
	far_gdt(r, GDT_DATA16, far_desc(0x10000, 0xffff, 0x92));
	far_gdt(r, GDT_DOWN, far_desc(0, 0xfff, 0x4096));
	far_gdt(r, GDT_CONST, far_desc(0, 0xfffff, 0xc090));
	x86_rig_put(r, AT_LDT + 8, far_desc(AT_DATA, 0xff, 0x4092), 8);
	r->v->gdt.base = AT_GDT, r->v->gdt.limit = GDT_END - 1;
	r->v->idt.base = AT_IDT, r->v->idt.limit = 0x7ff;
}
/* At a level, with flat segments of those selectors. */
static inline void far_level(struct x86_rig *r, unsigned cs, unsigned access, unsigned ss,
			     uint64_t rsp)
{
	struct x86_vcpu *v = r->v;
	v->cpl = cs & 3;
	v->seg[X86_CS] = x86_seg_flat((uint16_t)cs, access | (cs & 3) << 5 | SEG_A);
	v->seg[X86_SS] = x86_seg_flat((uint16_t)ss, ACC_DATA | (cs & 3) << 5 | SEG_A);
	for (unsigned i = 0; i <= X86_GS; i++)
		if (i != X86_CS && i != X86_SS)
			v->seg[i] = x86_seg_flat(GDT_DATA3 | 3, ACC_DATA | ACC_3 | SEG_A);
	v->cpu.r[4] = rsp;
	v->cpu.rip = AT_CODE;
	x86_mode_update(v);
}
static inline void far_level0(struct x86_rig *r)
{
	if (r->v->long_mode)
		far_level(r, GDT_CODE64, ACC_CODE64, GDT_DATA, AT_STACK);
	else
		far_level(r, GDT_CODE, ACC_CODE, GDT_DATA, AT_STACK);
}
static inline void far_level3(struct x86_rig *r)
{
	if (r->v->long_mode)
		far_level(r, GDT_CODE64_3 | 3, ACC_CODE64, GDT_DATA3 | 3, AT_STACK3);
	else
		far_level(r, GDT_CODE3 | 3, ACC_CODE, GDT_DATA3 | 3, AT_STACK3);
}
static inline struct x86_rig *far_real(void)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	v->cr0 = CR0_ET, v->cr4 = v->efer = 0, v->cpl = 0;
	v->cpu.flags = 2, v->cpu.rip = 0;
	v->idt.base = 0, v->idt.limit = 0x3ff;
	for (unsigned i = 0; i <= X86_GS; i++) {
		v->seg[i] = x86_seg_v86(0);
		v->seg[i].access &= ~(unsigned)SEG_DPL;
	}
	x86_mode_update(v);
	return r;
}
/* Protected mode at level 0, without paging. */
static inline struct x86_rig *far_protected(void)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	v->cr0 = CR0_PE | CR0_ET, v->cr4 = v->efer = 0;
	v->cpu.flags = 2;
	v->seg[X86_SEG_LDTR] = x86_seg_null(0, 0);
	v->seg[X86_SEG_TR] = (struct x86_segreg){AT_TSS, 0x67, 0x8b, GDT_TSS};
	x86_mode_update(v);
	far_tables(r);
	x86_rig_put(r, AT_TSS + 4, AT_STACK0, 4);
	x86_rig_put(r, AT_TSS + 8, GDT_DATA, 4);
	far_level0(r);
	return r;
}
/* 64 bit mode at level 0; all is the user's but the hole. */
static inline struct x86_rig *far_long(void)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	enum { P_W_U = 7, LARGE = 0x80 };
	x86_rig_map(r, 0, 0, P_W_U | LARGE, 1);
	x86_rig_paging(r);
	v->efer |= EFER_SCE;
	v->idt.limit = 0xfff;
	x86_rig_put(r, AT_TSS + 4, AT_STACK0, 8);
	x86_rig_put(r, AT_TSS + 0x24, AT_IST, 8);
	far_level0(r);
	return r;
}
/* One instruction, as x86_step() would do it but for its trap, which is returned. */
static inline int far_do(struct x86_rig *r, const void *code, unsigned n)
{
	struct x86_insn in;
	must(x86_decode(&in, code, n, r->v->mode) == X86_OK);
	return x86_do_far(r->v, &in);
}
#define DO(...) far_do(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
/* It traps like that and changes nothing. */
#define REFUSES(trap, error, ...)                                                                  \
	do {                                                                                       \
		struct x86_cpu was_ = r->v->cpu;                                                   \
		struct x86_segreg segs_[X86_SEGS];                                                 \
		memcpy(segs_, r->v->seg, sizeof(segs_));                                           \
		CHECK(DO(__VA_ARGS__) == (int)(trap));                                             \
		CHECK(r->v->code == (error));                                                      \
		CHECK(!memcmp(was_.r, r->v->cpu.r, sizeof(was_.r)));                               \
		CHECK(was_.rip == r->v->cpu.rip && was_.flags == r->v->cpu.flags);                 \
		for (unsigned i_ = 0; i_ < X86_SEGS; i_++)                                         \
			CHECK(segs_[i_].sel == r->v->seg[i_].sel &&                                \
			      segs_[i_].access == r->v->seg[i_].access);                           \
	} while (0)
/* What lies on the stack, the n-th word of that size. */
static inline uint64_t far_stack(struct x86_rig *r, unsigned n, unsigned size)
{
	struct x86_stack s = x86_stack_now(r->v);
	uint64_t val = 0;
	for (unsigned i = 0; i <= n; i++) must(!x86_stack_pop(r->v, &s, &val, size));
	return val;
}
#endif
