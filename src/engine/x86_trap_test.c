/* Delivery and iret, in each mode. */
#include "engine/x86_far_rig.h"

enum { NP = X86_TRAP + TRAP_NP, TS = X86_TRAP + TRAP_TS, INT32 = 0x8e, INT64 = 0x8e, DPL3 = 0x60 };

static void check_frame(struct x86_rig *r, unsigned size, const uint64_t *what, unsigned n)
{
	for (unsigned i = 0; i < n; i++) CHECK(far_stack(r, i, size) == what[i]);
}
#define FRAME(size, ...)                                                                           \
	check_frame(r, size, (const uint64_t[]){__VA_ARGS__},                                      \
		    sizeof((const uint64_t[]){__VA_ARGS__}) / 8)

TEST(real_mode_interrupts_and_returns)
{
	struct x86_rig *r = far_real();
	struct x86_vcpu *v = r->v;
	v->seg[X86_CS].sel = 0x100, v->seg[X86_CS].base = 0x1000;
	v->cpu.rip = 0x20, v->cpu.r[4] = 0x12345000;
	v->cpu.flags = 2 | X86_IF | X86_CF | X86_TF | X86_AC;
	x86_mode_update(v);
	x86_rig_put(r, 0x21 * 4, 0x02000010, 4);
	CHECK(!DO(0xcd, 0x21));
	CHECK(v->seg[X86_CS].sel == 0x200 && v->seg[X86_CS].base == 0x2000 && v->cpu.rip == 0x10);
	CHECK(v->cpu.flags == (2 | X86_CF) && v->cpu.r[4] == 0x12344ffa);
	FRAME(2, 0x22, 0x100, 2 | X86_IF | X86_CF | X86_TF);
	CHECK(!DO(0xcf));
	CHECK(v->seg[X86_CS].base == 0x1000 && v->cpu.rip == 0x22 && v->cpu.r[4] == 0x12345000);
	CHECK(v->cpu.flags == (2 | X86_IF | X86_CF | X86_TF));

	/* No error codes; the stack wraps around, but for a word across its end. */
	x86_rig_put(r, TRAP_NP * 4, 0x03000000, 4);
	v->cpu.r[4] = 2;
	x86_deliver(v, TRAP_NP, X86_FROM_CPU);
	CHECK(v->seg[X86_CS].sel == 0x300 && v->cpu.r[4] == 0xfffc);
	v->cpu.r[4] = 1, v->cpu.rip = 0;
	REFUSES(X86_TRAP_SS, 0, 0xcd, 0x21);

	/* Beyond the table there is not even a handler for that. */
	v->idt.limit = 0x10;
	v->cpu.r[4] = 0x5000;
	REFUSES(X86_TRAP_GP, 0x21 * 8 + 2, 0xcd, 0x21);
	x86_deliver(v, 0x21, X86_FROM_OUTSIDE);
	CHECK(v->reset_asked);
	x86_rig_free(r);
}

TEST(gates_lead_from_level_3_to_0_and_back)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	far_idt(r, 0x80, GDT_CODE, INT32 | DPL3 | 1, 0); /* a trap gate */
	far_idt(r, TRAP_PF, GDT_CODE, INT32, 0);
	far_level3(r);
	v->cpu.flags = 2 | X86_IF | X86_NT | X86_TF;
	CHECK(!DO(0xcd, 0x80));
	CHECK(v->cpl == 0 && v->seg[X86_CS].sel == GDT_CODE && v->seg[X86_SS].sel == GDT_DATA);
	CHECK(v->cpu.rip == AT_HANDLER + 0x80 && v->cpu.r[4] == AT_STACK0 - 20);
	CHECK(v->cpu.flags == (2 | X86_IF));
	FRAME(4, AT_CODE + 2, GDT_CODE3 | 3, 2 | X86_IF | X86_NT | X86_TF, AT_STACK3,
	      GDT_DATA3 | 3);
	/* What level 3 may not have goes on the way out. */
	CHECK(!x86_seg_load(v, X86_DS, GDT_DATA) && !x86_seg_load(v, X86_FS, GDT_CONFORMING));
	CHECK(!DO(0xcf));
	CHECK(v->cpl == 3 && v->cpu.rip == AT_CODE + 2 && v->cpu.r[4] == AT_STACK3);
	CHECK(v->seg[X86_DS].sel == 0 && v->seg[X86_DS].access & SEG_UNUSABLE);
	CHECK(v->seg[X86_FS].sel == GDT_CONFORMING && v->seg[X86_ES].sel == (GDT_DATA3 | 3));
	CHECK(v->cpu.flags == (2 | X86_IF | X86_NT | X86_TF));

	/* A fault: with its code, and RF; an interrupt gate. */
	v->code = 6, v->fault = 0x1234;
	x86_deliver(v, TRAP_PF, X86_FROM_CPU);
	CHECK(v->cr2 == 0x1234 && v->cpu.flags == 2 && v->cpu.r[4] == AT_STACK0 - 24);
	FRAME(4, 6, AT_CODE + 2, GDT_CODE3 | 3, 2 | X86_IF | X86_NT | X86_TF | X86_RF);
	v->cpu.rip = AT_CODE;
	v->code = 2;
	x86_deliver(v, TRAP_PF, X86_FROM_CPU); /* on the same level */
	CHECK(v->cpu.r[4] == AT_STACK0 - 40);
	FRAME(4, 2, AT_CODE, GDT_CODE, 2 | X86_RF);
	x86_rig_free(r);
}

TEST(gates_refuse)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	far_idt(r, 0x40, GDT_CODE, INT32, 0);
	far_idt(r, 0x41, GDT_CODE, (INT32 | DPL3) & ~0x80, 0);
	far_idt(r, 0x42, GDT_DATA, INT32 | DPL3, 0);
	far_idt(r, 0x43, 0, INT32 | DPL3, 0);
	far_idt(r, 0x44, 0x1000, INT32 | DPL3, 0);
	far_idt(r, 0x45, GDT_CODE, INT32 | DPL3, 0);
	far_idt(r, 3, GDT_CODE, INT32, 0);
	far_idt(r, 1, GDT_CODE, INT32, 0);
	far_level3(r);
	REFUSES(X86_TRAP_GP, 0x40 * 8 + 2, 0xcd, 0x40);
	REFUSES(NP, 0x41 * 8 + 2, 0xcd, 0x41);
	REFUSES(X86_TRAP_GP, GDT_DATA, 0xcd, 0x42);
	REFUSES(X86_TRAP_GP, 0, 0xcd, 0x43);
	REFUSES(X86_TRAP_GP, 0x1000, 0xcd, 0x44);
	REFUSES(X86_TRAP_GP, 3 * 8 + 2, 0xcc);
	v->idt.limit = 0x42 * 8 + 6;
	REFUSES(X86_TRAP_GP, 0x42 * 8 + 2, 0xcd, 0x42);
	v->idt.limit = 0x7ff;
	x86_rig_put(r, AT_TSS + 8, GDT_DATA3, 2); /* stacks of the TSS */
	REFUSES(TS, GDT_DATA3, 0xcd, 0x45);
	x86_rig_put(r, AT_TSS + 8, 0, 2);
	REFUSES(TS, 0, 0xcd, 0x45);
	x86_rig_put(r, AT_TSS + 8, GDT_ABSENT, 2);
	far_gdt(r, GDT_ABSENT, far_desc(0, 0xfffff, ACC_DATA & ~SEG_P));
	REFUSES(X86_TRAP_SS, GDT_ABSENT, 0xcd, 0x45);
	x86_rig_put(r, AT_TSS + 8, GDT_DOWN, 2);
	x86_rig_put(r, AT_TSS + 4, 0x1008, 4); /* room for two words */
	REFUSES(X86_TRAP_SS, GDT_DOWN, 0xcd, 0x45);
	v->seg[X86_SEG_TR].limit = 8;
	REFUSES(TS, GDT_TSS, 0xcd, 0x45);
	v->seg[X86_SEG_TR].limit = 0x67;
	/* int1 asks for no DPL, and what comes from outside says so. */
	x86_rig_put(r, AT_TSS + 4, AT_STACK0, 4);
	x86_rig_put(r, AT_TSS + 8, GDT_DATA, 4);
	CHECK(!DO(0xf1) && v->cpl == 0 && v->cpu.rip == AT_HANDLER + 1);
	far_level3(r);
	far_idt(r, TRAP_NP, GDT_CODE, INT32, 0);
	x86_deliver(v, 0x41, X86_FROM_OUTSIDE);
	CHECK(v->cpu.rip == AT_HANDLER + TRAP_NP && far_stack(r, 0, 4) == 0x41 * 8 + 3);
	x86_rig_free(r);
}

TEST(long_mode_interrupts_with_and_without_ist)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	far_idt(r, 0x80, GDT_CODE64, INT64 | DPL3, 0);
	far_idt(r, TRAP_PF, GDT_CODE64, INT64, 1);
	v->cpu.r[4] = AT_STACK - 3;
	v->cpu.flags |= X86_IF;
	CHECK(!DO(0xcd, 0x80)); /* same level: SS and RSP all the same, and aligned */
	CHECK(v->cpu.r[4] == AT_STACK - 16 - 40 && v->cpu.flags == 2);
	CHECK(v->seg[X86_SS].sel == GDT_DATA);
	FRAME(8, AT_CODE + 2, GDT_CODE64, 2 | X86_IF, AT_STACK - 3, GDT_DATA);
	CHECK(!DO(0x48, 0xcf));
	CHECK(v->cpu.r[4] == AT_STACK - 3 && v->cpu.rip == AT_CODE + 2);

	v->code = 5;
	x86_deliver(v, TRAP_PF, X86_FROM_CPU);
	CHECK(v->cpu.r[4] == AT_IST - 48 && v->seg[X86_SS].sel == GDT_DATA);
	FRAME(8, 5, AT_CODE + 2, GDT_CODE64, 2 | X86_IF | X86_RF, AT_STACK - 3, GDT_DATA);

	far_level3(r);
	CHECK(!DO(0xcd, 0x80));
	CHECK(v->cpl == 0 && v->cpu.r[4] == AT_STACK0 - 40 && v->seg[X86_SS].sel == 0);
	CHECK(v->seg[X86_SS].access & SEG_UNUSABLE && v->mode == X86_64);
	x86_deliver(v, 0x80, X86_FROM_OUTSIDE); /* a null SS is no harm */
	CHECK(!DO(0x48, 0xcf) && v->seg[X86_SS].sel == 0 && v->cpl == 0);
	CHECK(!DO(0x48, 0xcf) && v->cpl == 3 && v->cpu.r[4] == AT_STACK3);

	/* Out of compatibility mode, whose base of SS counts no more. */
	far_level(r, GDT_CODE3 | 3, ACC_CODE, GDT_DATA3 | 3, AT_STACK3);
	v->seg[X86_SS].base = 0x100000;
	CHECK(v->mode == X86_32 && !DO(0xcd, 0x80) && v->mode == X86_64);
	CHECK(v->cpu.r[4] == AT_STACK0 - 40);
	CHECK(!DO(0x48, 0xcf) && v->mode == X86_32 && v->cpl == 3);

	/* A gate to 32 bits, and a stack that is nowhere. */
	far_idt(r, 0x81, GDT_CODE, INT64 | DPL3, 0);
	REFUSES(X86_TRAP_GP, GDT_CODE, 0xcd, 0x81);
	x86_rig_put(r, AT_TSS + 4, 1ull << 47, 8);
	REFUSES(X86_TRAP_SS, 0, 0xcd, 0x80);
	x86_rig_put(r, AT_TSS + 4, AT_HOLE, 8);
	v->cpu.r[4] = AT_STACK3;
	x86_rig_free(r);
}

TEST(faults_on_the_way_are_double_and_triple)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	far_idt(r, TRAP_PF, GDT_CODE64, INT64, 0);
	far_idt(r, TRAP_DF, GDT_CODE64, INT64, 1);
	v->cpu.r[4] = AT_HOLE + 0x1000;
	v->fault = 0x999, v->code = 2;
	x86_deliver(v, TRAP_PF, X86_FROM_CPU);
	CHECK(v->cpu.rip == AT_HANDLER + TRAP_DF && v->cpu.r[4] == AT_IST - 48 && !v->reset_asked);
	CHECK((v->cr2 & ~0xfffull) == AT_HOLE);
	FRAME(8, 0, AT_CODE, GDT_CODE64, 2, AT_HOLE + 0x1000, GDT_DATA);

	/* Benign first: the second is itself. */
	far_level0(r);
	far_idt(r, TRAP_PF, GDT_CODE64, INT64, 1);
	far_idt(r, 0x50, GDT_CODE64, INT64, 0);
	v->cpu.r[4] = AT_HOLE + 0x1000;
	x86_deliver(v, 0x50, X86_FROM_OUTSIDE);
	CHECK(v->cpu.rip == AT_HANDLER + TRAP_PF && far_stack(r, 0, 8) == 2);
	/* Contributory, then page fault: that, too. Two contributory: double. */
	far_level0(r);
	far_idt(r, 13, GDT_CODE64, INT64, 0);
	v->cpu.r[4] = AT_HOLE + 0x1000;
	x86_deliver(v, 13, X86_FROM_CPU);
	CHECK(v->cpu.rip == AT_HANDLER + TRAP_PF);
	far_level0(r);
	far_idt(r, 13, GDT_DATA, INT64, 0);
	x86_deliver(v, 0, X86_FROM_CPU); /* #DE has no gate */
	CHECK(v->cpu.rip == AT_HANDLER + TRAP_DF);

	far_level0(r);
	x86_rig_put(r, AT_TSS + 0x24, AT_HOLE + 0x1000, 8);
	x86_deliver(v, 13, X86_FROM_CPU);
	CHECK(v->reset_asked && v->cpu.rip == AT_CODE && v->cpu.r[4] == AT_STACK);
	x86_rig_free(r);
}

TEST(virtual_8086_goes_to_its_monitor_and_back)
{
	struct x86_rig *r = far_protected();
	struct x86_vcpu *v = r->v;
	static const uint32_t frame[] = {0x10,	     0x2100, 2 | X86_IF | X86_VM,
					 0xffffe000, 0x3000, 0x2200 /*es*/,
					 0x2300,     0x2400, 0x2500};
	v->cpu.r[4] = AT_STACK - sizeof(frame);
	must(gmem_write(r->mem, v->cpu.r[4], frame, sizeof(frame)));
	far_idt(r, 13, GDT_CODE, INT32, 0);
	CHECK(!DO(0xcf));
	CHECK(v->cpl == 3 && v->cpu.flags == frame[2] && v->mode == X86_16);
	CHECK(v->seg[X86_CS].base == 0x21000 && v->cpu.rip == 0x10 && v->cpu.r[4] == 0xffffe000);
	CHECK(v->seg[X86_SS].base == 0x30000 && v->seg[X86_ES].sel == 0x2200);
	CHECK(v->seg[X86_DS].sel == 0x2300 && v->seg[X86_GS].base == 0x25000);
	REFUSES(X86_TRAP_GP, 0, 0xcd, 0x21); /* IOPL 0 */
	REFUSES(X86_TRAP_GP, 0, 0xcf);
	v->code = 0;
	x86_deliver(v, 13, X86_FROM_CPU);
	CHECK(v->cpl == 0 && v->cpu.r[4] == AT_STACK0 - 40 && v->cpu.flags == 2);
	CHECK(v->seg[X86_DS].access & SEG_UNUSABLE && v->seg[X86_GS].sel == 0);
	FRAME(4, 0, frame[0], frame[1], frame[2] | X86_RF, frame[3], frame[4], frame[5], frame[6],
	      frame[7], frame[8]);
	v->cpu.r[4] += 4;
	CHECK(!DO(0xcf) && v->seg[X86_FS].base == 0x24000 && v->cpl == 3);

	/* With IOPL 3 it interrupts by itself, and returns within its flags. */
	v->cpu.flags |= X86_IOPL;
	v->cpu.r[4] = 0x100;
	x86_rig_put(r, 0x30100, 0x00000001, 4);
	x86_rig_put(r, 0x30104, 2 | X86_ZF, 2);
	CHECK(!DO(0xcf));
	CHECK(v->cpu.rip == 1 && v->seg[X86_CS].sel == 0);
	CHECK(v->cpu.flags == (2 | X86_ZF | X86_IOPL | X86_VM | X86_RF));
	x86_rig_free(r);
}

/* As iretq finds it. */
static void push_return(struct x86_rig *r, uint64_t rip, unsigned cs, uint64_t flags, uint64_t rsp,
			unsigned ss)
{
	uint64_t frame[] = {rip, cs, flags, rsp, ss};
	far_level0(r);
	r->v->cpu.r[4] -= sizeof(frame);
	must(gmem_write(r->mem, r->v->cpu.r[4], frame, sizeof(frame)));
}
TEST(iret_leads_where_it_may)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	push_return(r, 0x123456789, GDT_CODE3 | 3, 2, 0x5000, GDT_DATA3 | 3);
	REFUSES(X86_TRAP_GP, 0, 0x48, 0xcf); /* rip beyond 4 GiB */
	push_return(r, 0x1234, GDT_CODE3 | 3, 2, 0x5000, GDT_DATA3 | 3);
	CHECK(!DO(0x48, 0xcf) && v->mode == X86_32 && v->cpl == 3 && v->cpu.ssize == 4);
	push_return(r, 0x1234, GDT_CODE64_3 | 3, 2, 0x5000, 3);
	REFUSES(X86_TRAP_GP, 0, 0x48, 0xcf); /* null SS at CPL 3 */
	push_return(r, 0x1234, GDT_CODE64_3 | 3, 2, 0x5000, GDT_DATA);
	REFUSES(X86_TRAP_GP, GDT_DATA, 0x48, 0xcf);
	push_return(r, 1ull << 47, GDT_CODE64_3 | 3, 2, 0x5000, GDT_DATA3 | 3);
	REFUSES(X86_TRAP_GP, 0, 0x48, 0xcf);
	push_return(r, 0x1234, GDT_CODE64_3, 2, 0x5000, GDT_DATA3 | 3);
	REFUSES(X86_TRAP_GP, GDT_CODE64_3, 0x48, 0xcf);
	push_return(r, 0x1234, 0, 2, 0x5000, GDT_DATA3 | 3);
	REFUSES(X86_TRAP_GP, 0, 0x48, 0xcf);
	push_return(r, 0x1234, GDT_CODE64, 2, 0x5000, 0); /* null SS at CPL 0 */
	CHECK(!DO(0x48, 0xcf) && v->cpu.r[4] == 0x5000 && v->cpu.rip == 0x1234);
	push_return(r, 0x1234, GDT_CODE, 2, 0x5000, 0); /* but not with 32 bits */
	REFUSES(X86_TRAP_GP, 0, 0x48, 0xcf);
	push_return(r, 0x1234, GDT_CODE64, 2, 0x5000, 0);
	v->cpu.flags |= X86_NT;
	REFUSES(X86_TRAP_GP, 0, 0x48, 0xcf);
	v->cpu.flags = 2;

	/* FS and GS keep their bases, which came from MSRs. */
	push_return(r, 0x1234, GDT_CODE64_3 | 3, 2, 0x5000, GDT_DATA3 | 3);
	v->seg[X86_FS] = x86_seg_null(0, 0);
	v->seg[X86_FS].base = 0x7000123;
	CHECK(!DO(0x48, 0xcf) && v->seg[X86_FS].base == 0x7000123);

	/* Level 3 returns to itself, and IF and IOPL are not its to load. */
	v->cpu.r[4] = AT_STACK3 - 40;
	uint64_t frame[] = {AT_CODE, GDT_CODE64_3 | 3, ~0ull, AT_STACK3, GDT_DATA3 | 3};
	must(gmem_write(r->mem, v->cpu.r[4], frame, sizeof(frame)));
	CHECK(!DO(0x48, 0xcf) && v->cpu.r[4] == AT_STACK3);
	CHECK(v->cpu.flags ==
	      (2 | X86_ARITH | X86_TF | X86_DF | X86_NT | X86_RF | X86_AC | X86_ID));
	x86_rig_free(r);
}

TEST(nmi_waits_for_iret)
{
	struct x86_rig *r = far_long();
	struct x86_vcpu *v = r->v;
	far_idt(r, TRAP_NMI, GDT_CODE64, INT64, 0);
	x86_deliver(v, TRAP_NMI, X86_FROM_OUTSIDE);
	CHECK(v->nmi_masked && v->cpu.rip == AT_HANDLER + TRAP_NMI);
	CHECK(!DO(0x48, 0xcf) && !v->nmi_masked && v->cpu.rip == AT_CODE);
	v->dr[6] = 0xffff0ff3, v->dr[7] = 1 << 13;
	v->fault = 1 << 14 | 4;
	far_idt(r, TRAP_DB, GDT_CODE64, INT64, 0);
	x86_deliver(v, TRAP_DB, X86_FROM_CPU);
	CHECK(v->dr[6] == (0xffff0ff4 | 1 << 14) && v->dr[7] == 0);
	x86_rig_free(r);
}
