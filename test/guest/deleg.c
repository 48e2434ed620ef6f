/* Traps handed to S-mode: medeleg, mideleg, sret, and what S-mode sees of it. */
#include "rt.h"

extern char strap_entry[];
static u8 s_stack[4096] __attribute__((aligned(16)));

static u64 breaks(u64 arg)
{
	asm volatile(INSN("ebreak"));
	return arg + 1;
}
static u64 calls(u64 arg)
{
	asm volatile(INSN("li a7, 0") INSN("ecall")::: "a7");
	return arg + 1;
}
static u64 bad(u64 arg)
{
	asm volatile(INSN(".word 0"));
	return arg + 1;
}
#define RUN(p, fn) run_in((p), (u64)(fn), 1)

static void exceptions(void)
{
	csr_write(medeleg, 1 << BREAK | 1 << ILLEGAL);
	check_eq("delegated: S runs on", RUN(S, breaks), 2);
	CHECK(mtrap[0].count == 0 && strap[0].count == 1 && strap[0].cause == BREAK);
	check_eq("delegated from S: SPP", strap[0].status & MSTATUS_SPP, MSTATUS_SPP);
	trap_clear();
	check_eq("delegated: U runs on", RUN(U, breaks), 2);
	CHECK(mtrap[0].count == 0 && strap[0].count == 1 && strap[0].cause == BREAK);
	check_eq("delegated from U: SPP", strap[0].status & MSTATUS_SPP, 0);
	trap_clear();
	RUN(U, bad);
	CHECK(strap[0].count == 1 && strap[0].cause == ILLEGAL && mtrap[0].count == 0);
	trap_clear();
	RUN(S, calls);
	CHECK(mtrap[0].count == 1 && mtrap[0].cause == ECALL_S && strap[0].count == 0);
	trap_clear();
	asm volatile(INSN("ebreak"));
	CHECK(mtrap[0].count == 1 && strap[0].count == 0); /* from M: never delegated */
	trap_clear();
}

static u64 irqs_on(u64 arg)
{
	csr_set(sstatus, MSTATUS_SIE);
	for (int i = 0; i < 1000 && !strap[0].count; i++) asm volatile("nop");
	csr_clear(sstatus, MSTATUS_SIE);
	return arg;
}
static u64 irqs_off(u64 arg)
{
	for (int i = 0; i < 100; i++) asm volatile("nop");
	return arg;
}
static u64 set_ssip(u64 arg)
{
	csr_set(sip, 2);
	return csr_read(sip) & arg;
}
static u64 set_stip(u64 arg)
{
	csr_set(sip, 0x20);
	return csr_read(sip) & 0x20 & arg;
}

static void interrupts(void)
{
	csr_write(mideleg, 0x222);
	check_eq("mideleg", csr_read(mideleg) & 0x222, 0x222);
	csr_write(mie, 0x222);
	check_eq("sie shows what is delegated", csr_read(sie), 0x222);
	csr_clear(mstatus, MSTATUS_SIE | MSTATUS_MIE | MSTATUS_MPIE);
	csr_set(mip, 2);
	check_eq("sip shows SSIP", csr_read(sip) & 2, 2);
	RUN(S, irqs_off);
	CHECK(strap[0].count == 0 && mtrap[0].count == 0);
	RUN(S, irqs_on);
	CHECK(strap[0].count == 1 && strap[0].cause == (IRQ | 1));
	CHECK(strap[0].status & MSTATUS_SPIE);
	check_eq("the handler took the enable away", csr_read(mie), 0x220);
	trap_clear();
	csr_set(mie, 2);
	RUN(U, irqs_off); /* U-mode: S interrupts come through whatever SIE says */
	CHECK(strap[0].count == 1 && strap[0].cause == (IRQ | 1));
	trap_clear();
	csr_set(mip, 0x20);
	csr_set(mie, 0x22);
	RUN(S, irqs_on);
	check_eq("software and timer, one after the other", strap[0].count, 2);
	check_eq("the timer came last", strap[0].cause, IRQ | 5);
	trap_clear();
	csr_clear(mip, 0x22);
	check_eq("S sets SSIP", run_in(S, (u64)set_ssip, 2), 2);
	csr_clear(mip, 2);
	check_eq("S does not set STIP", run_in(S, (u64)set_stip, ~0ul), 0);
	csr_write(mideleg, 0);
	check_eq("nothing delegated, nothing in sie", csr_read(sie), 0);
	csr_set(mip, 2);
	csr_write(mie, 2);
	RUN(S, irqs_off);
	CHECK(mtrap[0].count == 1 && mtrap[0].cause == (IRQ | 1) && strap[0].count == 0);
	csr_clear(mip, 2);
}

static u64 returns(u64 to)
{
	csr_write(sepc, to);
	csr_clear(sstatus, MSTATUS_SPP | MSTATUS_SIE);
	csr_set(sstatus, MSTATUS_SPIE);
	asm volatile("sret");
	__builtin_unreachable();
}
static void in_u(void)
{
	asm volatile("csrr t0, sstatus\nli a7, 0x4c4f\nli a0, 77\necall" ::: "a0", "a7", "t0");
}

static void sret(void)
{
	csr_write(medeleg, 0);
	trap_clear();
	check_eq("sret to U", run_in(S, (u64)returns, (u64)in_u), 77);
	CHECK(mtrap[0].count == 1 && mtrap[0].cause == ILLEGAL); /* sstatus in U */
	check_eq("sret leaves SPIE set, SIE as it was",
		 csr_read(mstatus) & (MSTATUS_SPIE | MSTATUS_SIE), MSTATUS_SPIE | MSTATUS_SIE);
	csr_clear(mstatus, MSTATUS_SIE);
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	csr_write(pmpaddr0, ~0ul);
	csr_write(pmpcfg0, 0x1f);
	csr_write(stvec, (u64)strap_entry);
	csr_write(sscratch, (u64)s_stack + sizeof(s_stack));
	exceptions();
	interrupts();
	sret();
	return 0;
}
