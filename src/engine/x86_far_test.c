/* Segments, far transfers, fast system calls, tables. */
#include "engine/x86_far_rig.h"

enum { NP = X86_TRAP + TRAP_NP, TS = X86_TRAP + TRAP_TS };

static uint64_t raw(struct x86_rig *r, unsigned sel) { return x86_rig_get(r, AT_GDT + sel, 8); }

TEST(segments_load_with_their_checks)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	CHECK(!(raw(r, GDT_CONST) >> 40 & SEG_A));
	v->cpu.r[0] = GDT_CONST;
	CHECK(!DO(0x8e, 0xd8) && v->seg[X86_DS].sel == GDT_CONST); /* mov ds, eax */
	CHECK(raw(r, GDT_CONST) >> 40 & SEG_A && v->seg[X86_DS].limit == UINT32_MAX);
	REFUSES(X86_TRAP_GP, GDT_CONST, 0x8e, 0xd0); /* no stack */
	v->cpu.r[0] = 0;
	REFUSES(X86_TRAP_GP, 0, 0x8e, 0xd0);
	CHECK(!DO(0x8e, 0xd8) && v->seg[X86_DS].access & SEG_UNUSABLE);
	v->cpu.r[0] = GDT_ABSENT;
	REFUSES(NP, GDT_ABSENT, 0x8e, 0xd8);
	REFUSES(X86_TRAP_SS, GDT_ABSENT, 0x8e, 0xd0);
	v->cpu.r[0] = GDT_END;
	REFUSES(X86_TRAP_GP, GDT_END, 0x8e, 0xd8);
	v->cpu.r[0] = GDT_TSS;
	REFUSES(X86_TRAP_GP, GDT_TSS, 0x8e, 0xd8);
	v->cpu.r[0] = GDT_DATA3 | 3;
	REFUSES(X86_TRAP_GP, GDT_DATA3, 0x8e, 0xd0); /* not this level's */
	v->cpu.r[0] = GDT_DATA | 3;
	REFUSES(X86_TRAP_GP, GDT_DATA, 0x8e, 0xd8); /* RPL */
	v->cpu.r[0] = 0xc;
	REFUSES(X86_TRAP_GP, 0xc, 0x8e, 0xd8); /* there is no LDT */
	v->cpu.r[0] = GDT_LDT;
	CHECK(!DO(0x0f, 0x00, 0xd0));
	v->cpu.r[0] = 0xc;
	CHECK(!DO(0x8e, 0xd8) && v->seg[X86_DS].base == AT_DATA && v->seg[X86_DS].limit == 0xff);

	/* A stack of 16 bits; nothing interrupts behind its loading, but for lss. */
	v->cpu.r[0] = GDT_DATA16, v->shadow = 0;
	CHECK(!DO(0x8e, 0xd0) && v->shadow == 1 && v->cpu.ssize == 2);
	v->cpu.r[4] = 0x12340000;
	CHECK(!DO(0x1e) && v->cpu.r[4] == 0x1234fffc); /* push ds: 16 bits of 32 */
	CHECK(x86_rig_get(r, 0x1fffc, 4) == 0xc);
	CHECK(!DO(0x66, 0x07) && v->cpu.r[4] == 0x1234fffe && v->seg[X86_ES].base == AT_DATA);
	x86_rig_put(r, AT_DATA + 0x10, 0x9000, 4);
	x86_rig_put(r, AT_DATA + 0x14, GDT_DATA, 2);
	v->shadow = 0, v->cpu.r[3] = 0x10;
	CHECK(!DO(0x0f, 0xb2, 0x23) && v->cpu.r[4] == 0x9000 && !v->shadow); /* lss esp, [ebx] */
	CHECK(v->seg[X86_SS].sel == GDT_DATA && v->cpu.ssize == 4);
	x86_rig_free(r);
}

TEST(addresses_obey_limits_and_rights)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	uint64_t la;
	CHECK(!x86_seg_load(v, X86_DS, GDT_DOWN) && !x86_seg_load(v, X86_ES, GDT_CONST));
	CHECK(!x86_seg_load(v, X86_FS, GDT_DATA16) && !x86_seg_load(v, X86_GS, 0));
	CHECK(x86_linear(v, X86_DS, 0xfff, 1, false, &la) == X86_TRAP_GP);
	CHECK(!x86_linear(v, X86_DS, 0x1000, 4, true, &la) && la == 0x1000);
	CHECK(!x86_linear(v, X86_DS, 0xfffffffc, 4, true, &la) && la == 0xfffffffc);
	CHECK(x86_linear(v, X86_DS, 0xfffffffd, 4, true, &la) == X86_TRAP_GP);
	CHECK(!x86_linear(v, X86_ES, 0, 4, false, &la));
	CHECK(x86_linear(v, X86_ES, 0, 4, true, &la) == X86_TRAP_GP);
	CHECK(!x86_linear(v, X86_CS, 0, 4, false, &la));
	CHECK(x86_linear(v, X86_CS, 0, 4, true, &la) == X86_TRAP_GP);
	CHECK(!x86_linear(v, X86_FS, 0xfffc, 4, true, &la) && la == 0x1fffc);
	CHECK(x86_linear(v, X86_FS, 0xfffd, 4, true, &la) == X86_TRAP_GP);
	CHECK(x86_linear(v, X86_GS, 0, 1, false, &la) == X86_TRAP_GP);
	v->seg[X86_SS].limit = 0xfff;
	CHECK(x86_linear(v, X86_SS, 0x1000, 1, false, &la) == X86_TRAP_SS && v->code == 0);
	x86_rig_free(r);

	r = far_long();
	v = r->v;
	v->seg[X86_FS].base = 0x7fffffff0000;
	v->seg[X86_ES].base = 0x1234;
	CHECK(!x86_linear(v, X86_ES, 0x10, 8, true, &la) && la == 0x10);
	CHECK(!x86_linear(v, X86_FS, 0xfff8, 8, true, &la) && la == 0x7ffffffffff8);
	CHECK(x86_linear(v, X86_FS, 0xfff9, 8, true, &la) == X86_TRAP_GP);
	CHECK(x86_linear(v, X86_SS, 1ull << 47, 8, true, &la) == X86_TRAP_SS);
	CHECK(!x86_linear(v, X86_SS, ~0xfull, 8, true, &la));
	x86_rig_free(r);

	r = far_real();
	v = r->v;
	CHECK(!x86_linear(v, X86_CS, 0xffff, 1, true, &la)); /* no rights there */
	CHECK(x86_linear(v, X86_DS, 0xffff, 2, false, &la) == X86_TRAP_GP);
	v->seg[X86_DS].limit = UINT32_MAX; /* "unreal" */
	CHECK(!x86_seg_load(v, X86_DS, 0xffff) && v->seg[X86_DS].limit == UINT32_MAX);
	CHECK(!x86_linear(v, X86_DS, 0x100000, 4, true, &la) && la == 0x1ffff0);
	x86_rig_free(r);
}

/* far_gate() of a call gate at GDT_GATE for level 3. */
static void call_gate(struct x86_rig *r, unsigned sel, unsigned type, unsigned count)
{
	far_gdt(r, GDT_GATE, far_gate(sel, AT_HANDLER, type | 0xe0, count));
}
TEST(call_gates_lead_inwards_with_parameters)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	call_gate(r, GDT_CODE, SYS_CALL, 2);
	far_level3(r);
	v->cpu.r[4] -= 8;
	x86_rig_put(r, v->cpu.r[4], 0x2222222211111111, 8);
	CHECK(!DO(0x9a, 0, 0, 0, 0, GDT_GATE | 3, 0));
	CHECK(v->cpl == 0 && v->cpu.rip == AT_HANDLER && v->cpu.r[4] == AT_STACK0 - 24);
	static const uint32_t frame[] = {AT_CODE + 7, GDT_CODE3 | 3, 0x11111111,
					 0x22222222,  AT_STACK3 - 8, GDT_DATA3 | 3};
	for (unsigned i = 0; i < COUNT(frame); i++) CHECK(far_stack(r, i, 4) == frame[i]);
	CHECK(!x86_seg_load(v, X86_DS, GDT_DATA));
	CHECK(!x86_seg_load(v, X86_ES, 3) && v->seg[X86_ES].sel == 3);
	CHECK(!DO(0xca, 8, 0)); /* retf 8 */
	CHECK(v->seg[X86_ES].sel == 0);
	CHECK(v->cpl == 3 && v->cpu.rip == AT_CODE + 7 && v->cpu.r[4] == AT_STACK3);
	CHECK(v->seg[X86_DS].sel == 0 && v->seg[X86_SS].sel == (GDT_DATA3 | 3));

	/* 16 bits of each. */
	call_gate(r, GDT_CODE, SYS_CALL16, 1);
	far_level3(r);
	v->cpu.rip = AT_CODE & 0xffff;
	v->cpu.r[4] -= 2;
	x86_rig_put(r, v->cpu.r[4], 0x7777, 2);
	x86_rig_put(r, AT_DATA, (uint64_t)(GDT_GATE | 3) << 32, 6);
	v->cpu.r[3] = AT_DATA;
	CHECK(!DO(0xff, 0x1b)); /* call far [ebx] */
	CHECK(v->cpu.rip == (AT_HANDLER & 0xffff) && v->cpu.r[4] == AT_STACK0 - 10);
	CHECK(far_stack(r, 0, 2) == (AT_CODE & 0xffff) + 2 && far_stack(r, 2, 2) == 0x7777);
	CHECK(far_stack(r, 3, 2) == AT_STACK3 - 2);
	CHECK(!DO(0x66, 0xca, 2, 0) && v->cpl == 3 && v->cpu.r[4] == AT_STACK3);

	far_level3(r);
	REFUSES(X86_TRAP_GP, GDT_CODE, 0xea, 0, 0, 0, 0, GDT_GATE, 0); /* a jump stays here */
	call_gate(r, GDT_CODE & ~7, SYS_CALL, 0);
	far_gdt(r, GDT_GATE, raw(r, GDT_GATE) & ~(0x80ull << 40));
	REFUSES(NP, GDT_GATE, 0x9a, 0, 0, 0, 0, GDT_GATE, 0);
	call_gate(r, GDT_DATA, SYS_CALL, 0);
	REFUSES(X86_TRAP_GP, GDT_DATA, 0x9a, 0, 0, 0, 0, GDT_GATE, 0);
	call_gate(r, 0, SYS_CALL, 0);
	REFUSES(X86_TRAP_GP, 0, 0x9a, 0, 0, 0, 0, GDT_GATE, 0);
	call_gate(r, GDT_CODE, SYS_CALL, 0);
	far_gdt(r, GDT_GATE, raw(r, GDT_GATE) & ~(0x60ull << 40));
	REFUSES(X86_TRAP_GP, GDT_GATE, 0x9a, 0, 0, 0, 0, GDT_GATE, 0);
	call_gate(r, GDT_CODE, SYS_CALL, 31);
	x86_rig_put(r, AT_TSS + 4, 0x1000, 4);
	x86_rig_put(r, AT_TSS + 8, GDT_DOWN, 2); /* no room */
	REFUSES(X86_TRAP_SS, GDT_DOWN, 0x9a, 0, 0, 0, 0, GDT_GATE, 0);
	x86_rig_put(r, AT_TSS + 8, GDT_DATA3, 2);
	REFUSES(TS, GDT_DATA3, 0x9a, 0, 0, 0, 0, GDT_GATE, 0);
	x86_rig_free(r);
}
/* A second task: at GDT_GATE, its TSS behind the first's. */
static void put_task(struct x86_rig *r)
{
	enum { AT = AT_TSS + 0x100 };
	far_gdt(r, GDT_GATE, far_desc(AT, 0x67, ACC_TSS));
	for (unsigned i = 0; i < 8; i++) x86_rig_put(r, AT + 0x28 + 4 * i, 0x100 + i, 4);
	for (unsigned i = 0; i < 6; i++) x86_rig_put(r, AT + 0x48 + 4 * i, GDT_DATA3 | 3, 4);
	x86_rig_put(r, AT + 0x20, 0x6666, 4);
	x86_rig_put(r, AT + 0x24, 2 | X86_CF, 4);
	x86_rig_put(r, AT + 0x38, AT_STACK3, 4);
	x86_rig_put(r, AT + 0x4c, GDT_CODE3 | 3, 4);
	x86_rig_put(r, AT + 0x60, GDT_LDT, 4);
}
TEST(tasks_are_switched)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	put_task(r);
	far_gdt(r, GDT_TSS, raw(r, GDT_TSS) | 2ull << 40);
	v->cpu.r[7] = 0x77;
	CHECK(!DO(0x9a, 0, 0, 0, 0, GDT_GATE, 0));
	CHECK(v->cpl == 3 && v->cpu.rip == 0x6666 && v->cpu.r[4] == AT_STACK3);
	CHECK(v->cpu.r[7] == 0x107 && v->cpu.flags == (2 | X86_CF | X86_NT) && v->cr0 & CR0_TS);
	CHECK(v->seg[X86_SEG_TR].sel == GDT_GATE && v->seg[X86_SEG_LDTR].base == AT_LDT);
	CHECK(v->seg[X86_GS].sel == (GDT_DATA3 | 3) && v->seg[X86_GS].limit == UINT32_MAX);
	CHECK(x86_rig_get(r, AT_TSS + 0x100, 2) == GDT_TSS && (raw(r, GDT_GATE) >> 40 & 15) == 11);
	CHECK(x86_rig_get(r, AT_TSS + 0x20, 4) == AT_CODE + 7);
	CHECK(!DO(0xcf)); /* and back */
	CHECK(v->cpl == 0 && v->cpu.rip == AT_CODE + 7 && v->cpu.r[7] == 0x77);
	CHECK(v->cpu.flags == 2 && (raw(r, GDT_GATE) >> 40 & 15) == 9);
	CHECK(x86_rig_get(r, AT_TSS + 0x124, 4) == (2 | X86_CF));
	CHECK((raw(r, GDT_TSS) >> 40 & 15) == 11 && v->seg[X86_SEG_TR].sel == GDT_TSS);

	/* By an exception, through a gate; with its code on the new stack. */
	put_task(r);
	x86_rig_put(r, AT_IDT + 8 * 13, far_gate(GDT_GATE, 0, 0x85, 0), 8);
	v->code = 0x5555;
	x86_deliver(v, 13, X86_FROM_CPU);
	CHECK(v->cpu.rip == 0x6666 && v->cpu.r[4] == AT_STACK3 - 4 && far_stack(r, 0, 4) == 0x5555);
	CHECK(x86_rig_get(r, AT_TSS + 0x24, 4) == (2 | X86_RF));

	/* A jump leaves no way back; a segment that does not load is the new task's fault. */
	far_level0(r);
	v->cpu.flags = 2;
	v->seg[X86_SEG_TR] = (struct x86_segreg){AT_TSS, 0x67, 0x8b, GDT_TSS};
	put_task(r);
	x86_rig_put(r, AT_TSS + 0x148, GDT_DATA, 4);
	CHECK(DO(0xea, 0, 0, 0, 0, GDT_GATE, 0) == TS && v->code == GDT_DATA);
	CHECK(v->cpu.rip == 0x6666 && !(v->cpu.flags & X86_NT));
	CHECK((raw(r, GDT_TSS) >> 40 & 15) == 9);
	/* Busy, too small. */
	far_level0(r);
	REFUSES(X86_TRAP_GP, GDT_GATE, 0xea, 0, 0, 0, 0, GDT_GATE, 0);
	far_gdt(r, GDT_TSS, far_desc(AT_TSS, 0x66, ACC_TSS));
	REFUSES(TS, GDT_TSS, 0xea, 0, 0, 0, 0, GDT_TSS, 0);
	x86_rig_free(r);
}
TEST(call_gates_in_long_mode)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	call_gate(r, GDT_CODE64, SYS_CALL, 5); /* copies none */
	x86_rig_put(r, AT_DATA, (uint64_t)(GDT_GATE | 3) << 32, 6);
	far_level3(r);
	v->cpu.r[3] = AT_DATA;
	CHECK(!DO(0xff, 0x1b) && v->cpl == 0 && v->cpu.rip == AT_HANDLER);
	CHECK(v->cpu.r[4] == AT_STACK0 - 32 && v->seg[X86_SS].access & SEG_UNUSABLE);
	CHECK(far_stack(r, 0, 8) == AT_CODE + 2 && far_stack(r, 3, 8) == (GDT_DATA3 | 3));
	CHECK(!DO(0x48, 0xcb) && v->cpl == 3 && v->cpu.r[4] == AT_STACK3);
	far_gdt(r, GDT_GATE + 8, 1ull << 40); /* a type where there must be none */
	v->cpu.rip = AT_CODE;
	REFUSES(X86_TRAP_GP, GDT_GATE, 0xff, 0x1b);
	far_gdt(r, GDT_GATE + 8, 0x8000); /* not canonical */
	REFUSES(X86_TRAP_GP, 0, 0xff, 0x1b);
	far_gdt(r, GDT_GATE + 8, 0);
	call_gate(r, GDT_CODE, SYS_CALL, 0);
	REFUSES(X86_TRAP_GP, GDT_CODE, 0xff, 0x1b);
	v->gdt.limit = GDT_GATE + 7;
	REFUSES(X86_TRAP_GP, GDT_GATE, 0xff, 0x1b);
	x86_rig_free(r);
}

TEST(far_jumps_change_the_mode)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	v->cpu.r[3] = AT_DATA;
	x86_rig_put(r, AT_DATA, 0x5678, 4);
	x86_rig_put(r, AT_DATA + 4, GDT_CODE, 2);
	CHECK(!DO(0xff, 0x2b) && v->mode == X86_32 && v->cpu.rip == 0x5678);
	CHECK(!DO(0xea, 0x99, 0, 0, 0, GDT_CODE64, 0) && v->mode == X86_64 && v->cpu.rip == 0x99);
	far_gdt(r, GDT_CODE16, far_desc(0x10000, 0xffff, 0x9a));
	x86_rig_put(r, AT_DATA + 4, GDT_CODE16, 2);
	CHECK(!DO(0xff, 0x2b) && v->mode == X86_16);
	REFUSES(X86_TRAP_GP, 0, 0x66, 0xea, 0, 0, 1, 0, GDT_CODE16, 0); /* beyond its limit */
	far_gdt(r, GDT_CODE, far_desc(0, 0xfffff, 0xe09a));		/* L and D */
	REFUSES(X86_TRAP_GP, GDT_CODE, 0xea, 0, 0, GDT_CODE, 0);
	REFUSES(X86_TRAP_GP, GDT_TSS, 0xea, 0, 0, GDT_TSS, 0);
	x86_rig_free(r);

	r = far_protected();
	v = r->v;
	far_level3(r);
	REFUSES(X86_TRAP_GP, GDT_CODE, 0xea, 0, 0, 0, 0, GDT_CODE, 0);
	CHECK(!DO(0xea, 1, 0, 0, 0, GDT_CONFORMING, 0) && v->cpl == 3);
	CHECK(v->seg[X86_CS].sel == (GDT_CONFORMING | 3) && v->cpu.rip == 1);
	CHECK(!DO(0x9a, 2, 0, 0, 0, GDT_CODE3, 0) && v->seg[X86_CS].sel == (GDT_CODE3 | 3));
	CHECK(far_stack(r, 0, 4) == 8 && far_stack(r, 1, 4) == (GDT_CONFORMING | 3));
	CHECK(!DO(0xcb) && v->cpu.rip == 8 && v->seg[X86_CS].sel == (GDT_CONFORMING | 3));
	v->cpu.r[4] -= 8;
	x86_rig_put(r, v->cpu.r[4] + 4, GDT_CODE, 4);
	REFUSES(X86_TRAP_GP, GDT_CODE, 0xcb); /* never inwards */
	x86_rig_free(r);

	r = far_real();
	v = r->v;
	v->cpu.r[4] = 0x100;
	CHECK(!DO(0x9a, 0x34, 0x12, 0x00, 0x20) && v->cpu.rip == 0x1234);
	CHECK(v->seg[X86_CS].base == 0x20000 && v->cpu.r[4] == 0xfc && far_stack(r, 0, 2) == 5);
	CHECK(!DO(0xca, 4, 0) && v->cpu.rip == 5 && v->cpu.r[4] == 0x104 && !v->seg[X86_CS].sel);
	REFUSES(X86_TRAP_GP, 0, 0x66, 0xea, 0, 0, 1, 0, 0, 0);
	/* Into protected mode: the jump behind mov cr0. */
	far_tables(r);
	v->cr0 |= CR0_PE;
	CHECK(!DO(0x66, 0xea, 0, 0, 2, 0, GDT_CODE, 0) && v->mode == X86_32);
	CHECK(v->cpu.rip == 0x20000 && v->seg[X86_CS].limit == UINT32_MAX);
	x86_rig_free(r);
}

TEST(syscall_and_sysret)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	v->star = (uint64_t)GDT_CODE64 << 32 | (uint64_t)GDT_CODE3 << 48;
	v->lstar = 0xffffffff81000000;
	v->sfmask = X86_IF | X86_TF;
	far_level3(r);
	v->cpu.flags = 2 | X86_IF | X86_CF;
	CHECK(!DO(0x0f, 0x05));
	CHECK(v->cpl == 0 && v->cpu.rip == v->lstar && v->cpu.flags == (2 | X86_CF));
	CHECK(v->cpu.r[1] == AT_CODE + 2 && v->cpu.r[11] == (2 | X86_IF | X86_CF));
	CHECK(v->seg[X86_CS].sel == GDT_CODE64 && v->seg[X86_CS].access == 0xa09b);
	CHECK(v->seg[X86_SS].sel == GDT_CODE64 + 8 && v->seg[X86_SS].access == 0xc093);
	CHECK(!DO(0x48, 0x0f, 0x07));
	CHECK(v->cpl == 3 && v->cpu.rip == AT_CODE + 2 && v->cpu.flags == (2 | X86_IF | X86_CF));
	CHECK(v->seg[X86_CS].sel == (GDT_CODE64 | 3) && v->seg[X86_CS].access == 0xa0fb);
	CHECK(v->seg[X86_SS].sel == (GDT_DATA3 | 3) && v->seg[X86_SS].access == 0xc0f3);
	REFUSES(X86_TRAP_GP, 0, 0x48, 0x0f, 0x07); /* CPL 3 */
	far_level0(r);
	v->cpu.r[1] = 1ull << 47, v->cpu.r[11] = ~0ull;
	REFUSES(X86_TRAP_GP, 0, 0x48, 0x0f, 0x07);
	CHECK(!DO(0x0f, 0x07) && v->mode == X86_32 && v->cpu.rip == 0);
	CHECK(v->seg[X86_CS].sel == (GDT_CODE3 | 3) && v->seg[X86_CS].access == 0xc0fb);
	CHECK(v->cpu.flags == 0x3c7fd7);
	REFUSES(X86_TRAP_UD, v->code, 0x0f, 0x05); /* not out of compatibility mode */
	far_level0(r);
	v->efer &= ~(uint64_t)EFER_SCE;
	REFUSES(X86_TRAP_UD, v->code, 0x0f, 0x05);
	x86_rig_free(r);
}
TEST(sysenter_and_sysexit)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x34); /* no CS set up */
	v->sysenter_cs = GDT_CODE | 3, v->sysenter_esp = 0x5000, v->sysenter_eip = 0x6000;
	far_level3(r);
	v->cpu.flags = 2 | X86_IF;
	CHECK(!DO(0x0f, 0x34) && v->cpl == 0 && v->cpu.rip == 0x6000 && v->cpu.r[4] == 0x5000);
	CHECK(v->seg[X86_CS].sel == GDT_CODE && v->seg[X86_CS].access == 0xc09b);
	CHECK(v->seg[X86_SS].sel == GDT_DATA && v->cpu.flags == 2);
	v->cpu.r[1] = 0x1111, v->cpu.r[2] = 0x2222;
	CHECK(!DO(0x0f, 0x35) && v->cpl == 3 && v->cpu.rip == 0x2222 && v->cpu.r[4] == 0x1111);
	CHECK(v->seg[X86_CS].sel == (GDT_CODE3 | 3) && v->seg[X86_SS].sel == (GDT_DATA3 | 3));
	CHECK(v->seg[X86_CS].access == 0xc0fb);
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x35);
	x86_rig_free(r);

	r = far_long();
	v = r->v;
	v->sysenter_cs = GDT_CODE, v->sysenter_esp = ~0xfull, v->sysenter_eip = ~0xffull;
	far_level(r, GDT_CODE3 | 3, ACC_CODE, GDT_DATA3 | 3, AT_STACK3);
	CHECK(!DO(0x0f, 0x34) && v->mode == X86_64 && v->cpu.rip == ~0xffull);
	v->cpu.r[1] = 0x5000, v->cpu.r[2] = 1ull << 50;
	REFUSES(X86_TRAP_GP, 0, 0x48, 0x0f, 0x35);
	CHECK(!DO(0x0f, 0x35) && v->mode == X86_32 && v->cpu.rip == 0);
	far_level0(r);
	v->cpu.r[2] = 0x7000;
	CHECK(!DO(0x48, 0x0f, 0x35) && v->mode == X86_64 && v->cpu.rip == 0x7000 && v->cpl == 3);
	CHECK(v->seg[X86_CS].sel == (GDT_CODE + 32) + 3);
	x86_rig_free(r);
}

TEST(tables_are_loaded_and_stored)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	v->cpu.r[3] = AT_DATA;
	CHECK(!DO(0x0f, 0x01, 0x03) && x86_rig_get(r, AT_DATA, 2) == GDT_END - 1); /* sgdt [rbx] */
	CHECK(x86_rig_get(r, AT_DATA + 2, 8) == AT_GDT);
	x86_rig_put(r, AT_DATA + 2, ~0xfffull, 8);
	CHECK(!DO(0x0f, 0x01, 0x1b) && v->idt.base == ~0xfffull && v->idt.limit == GDT_END - 1);
	x86_rig_put(r, AT_DATA + 2, 1ull << 47, 8);
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x01, 0x13);
	far_level3(r);
	v->cpu.r[3] = AT_DATA;
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x01, 0x13);
	CHECK(!DO(0x0f, 0x01, 0x0b) && x86_rig_get(r, AT_DATA + 2, 8) == ~0xfffull);
	v->cr4 |= CR4_UMIP;
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x01, 0x0b);
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x00, 0xc8);
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x00, 0xd8); /* ltr */

	far_level0(r);
	v->cpu.r[0] = GDT_TSS;
	CHECK(!DO(0x0f, 0x00, 0xd8) && v->seg[X86_SEG_TR].access == 0x8b);
	CHECK((raw(r, GDT_TSS) >> 40 & 0xff) == 0x8b);
	REFUSES(X86_TRAP_GP, GDT_TSS, 0x0f, 0x00, 0xd8);	/* busy now */
	CHECK(!DO(0x0f, 0x00, 0xc9) && v->cpu.r[1] == GDT_TSS); /* str ecx */
	far_gdt(r, GDT_LDT + 8, 0xffff8000);
	v->cpu.r[0] = GDT_LDT;
	CHECK(!DO(0x0f, 0x00, 0xd0));
	CHECK(v->seg[X86_SEG_LDTR].base == (0xffff8000ull << 32 | AT_LDT));
	far_gdt(r, GDT_LDT + 8, 0x8000);
	REFUSES(X86_TRAP_GP, GDT_LDT, 0x0f, 0x00, 0xd0);
	v->cpu.r[0] = 0;
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x00, 0xd8);
	CHECK(!DO(0x0f, 0x00, 0xd0) && v->seg[X86_SEG_LDTR].access & SEG_UNUSABLE);
	x86_rig_free(r);

	r = far_real();
	v = r->v;
	x86_rig_put(r, 0x500, 0x12345678ffff, 8);
	CHECK(!DO(0x0f, 0x01, 0x16, 0x00, 0x05) && v->gdt.base == 0x345678); /* 24 bits */
	CHECK(!DO(0x66, 0x0f, 0x01, 0x16, 0x00, 0x05) && v->gdt.base == 0x12345678);
	REFUSES(X86_TRAP_UD, v->code, 0x0f, 0x00, 0xd8);
	x86_rig_free(r);
}

TEST(questions_about_selectors)
{
	static const struct {
		uint16_t sel;
		bool lar, lsl, verr, verw;
	} t[] = {
		{0, 0, 0, 0, 0},
		{GDT_CODE, 1, 1, 1, 0},
		{GDT_DATA, 1, 1, 1, 1},
		{GDT_CONST, 1, 1, 1, 0},
		{GDT_TSS, 1, 1, 0, 0},
		{GDT_LDT, 1, 1, 0, 0},
		{GDT_GATE, 1, 0, 0, 0},
		{GDT_END, 0, 0, 0, 0},
		{GDT_DATA | 3, 0, 0, 0, 0},
		{GDT_DATA3 | 3, 1, 1, 1, 1},
		{GDT_CONFORMING | 3, 1, 1, 1, 0},
		{GDT_ABSENT, 1, 1, 1, 1},
	};
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	call_gate(r, GDT_CODE, SYS_CALL, 0);
	for (unsigned i = 0; i < COUNT(t); i++) {
		v->cpu.r[0] = t[i].sel;
		v->cpu.r[1] = v->cpu.r[2] = 0x55;
		CHECK(!DO(0x0f, 0x02, 0xc8) && !!(v->cpu.flags & X86_ZF) == t[i].lar);
		uint64_t want = t[i].lar ? raw(r, t[i].sel & ~7u) >> 32 & 0xf0ff00 : 0x55;
		CHECK(v->cpu.r[1] == want);
		CHECK(!DO(0x0f, 0x03, 0xd0) && !!(v->cpu.flags & X86_ZF) == t[i].lsl);
		CHECK(v->cpu.r[2] == (!t[i].lsl		    ? 0x55
				      : t[i].sel == GDT_TSS ? 0x67
				      : t[i].sel == GDT_LDT ? 0xf
							    : UINT32_MAX));
		CHECK(!DO(0x0f, 0x00, 0xe0) && !!(v->cpu.flags & X86_ZF) == t[i].verr);
		CHECK(!DO(0x0f, 0x00, 0xe8) && !!(v->cpu.flags & X86_ZF) == t[i].verw);
	}
	v->cpu.r[0] = 0x10, v->cpu.r[1] = 0x13;
	CHECK(!DO(0x63, 0xc8) && v->cpu.r[0] == 0x13 && v->cpu.flags & X86_ZF); /* arpl */
	CHECK(!DO(0x63, 0xc8) && v->cpu.r[0] == 0x13 && !(v->cpu.flags & X86_ZF));
	x86_rig_free(r);
}

TEST(bases_of_fs_and_gs)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	v->kernel_gs = 0x111, v->seg[X86_GS].base = 0x222;
	CHECK(!DO(0x0f, 0x01, 0xf8) && v->seg[X86_GS].base == 0x111 && v->kernel_gs == 0x222);
	CHECK(v->cpu.base[X86_GS] == 0x111);
	REFUSES(X86_TRAP_UD, v->code, 0xf3, 0x48, 0x0f, 0xae, 0xc0);
	v->cr4 |= CR4_FSGSBASE;
	v->cpu.r[0] = 0xffff800012345678;
	CHECK(!DO(0xf3, 0x48, 0x0f, 0xae, 0xd0) && v->cpu.base[X86_FS] == v->cpu.r[0]);
	CHECK(!DO(0xf3, 0x48, 0x0f, 0xae, 0xc1) && v->cpu.r[1] == v->cpu.r[0]);
	CHECK(!DO(0xf3, 0x0f, 0xae, 0xd8) && v->seg[X86_GS].base == 0x12345678);
	v->cpu.r[0] = 1ull << 47;
	REFUSES(X86_TRAP_GP, 0, 0xf3, 0x48, 0x0f, 0xae, 0xd0);
	v->cpu.r[0] = 0;
	CHECK(!DO(0x8e, 0xe0) && v->seg[X86_FS].base == 0); /* mov fs, ax */
	far_level3(r);
	REFUSES(X86_TRAP_GP, 0, 0x0f, 0x01, 0xf8);
	x86_rig_free(r);
}

/* Any tables, any state, any of these instructions: nothing to see but no harm done. */
static uint64_t next_random(void)
{
	static uint64_t x = 88172645463325252;
	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}
static void scramble(struct x86_rig *r)
{
	struct x86_vcpu *v = r->v;
	for (gpa_t at = AT_GDT; at < AT_STACK0; at += 8)
		if (!(next_random() & 3)) x86_rig_put(r, at, next_random(), 8);
	for (unsigned i = 0; i < 16; i++) v->cpu.r[i] = next_random() >> (next_random() & 63);
	for (unsigned i = 0; i < X86_SEGS; i++) {
		v->seg[i].base = next_random() & 0xffff0;
		v->seg[i].limit = (uint32_t)(next_random() >> (next_random() & 31));
		v->seg[i].access ^= next_random() & 0x20f0;
	}
	v->cpu.flags = (next_random() & 0x3c7fd7) | 2;
	if (v->long_mode || next_random() & 7) v->cpu.flags &= ~(uint64_t)X86_VM;
	v->cpl = v->cpu.flags & X86_VM ? 3 : next_random() & 3;
	x86_mode_update(v);
}
static void random_far(struct x86_rig *r)
{
	struct x86_insn in;
	uint8_t code[16];
	for (unsigned i = 0; i < 3000; i++) {
		unsigned form = (unsigned)next_random() % x86_form_count();
		if (i % 64 == 0) scramble(r);
		unsigned n = x86_form_bytes(form, r->v->mode, code, next_random);
		if (!n || x86_decode(&in, code, n, r->v->mode) != X86_OK) continue;
		int e = x86_do_far(r->v, &in);
		if (e >= X86_TRAP) x86_deliver(r->v, (unsigned)e - X86_TRAP, X86_FROM_CPU);
		if (i % 16 == 0) x86_deliver(r->v, next_random() & 0xff, X86_FROM_OUTSIDE);
	}
}
TEST(anything_may_be_tried)
{
	for (unsigned i = 0; i < 30; i++) {
		struct x86_rig *r = i % 3 == 0	 ? far_long()
				    : i % 3 == 1 ? far_protected()
						 : far_real();
		random_far(r);
		x86_rig_free(r);
	}
}
