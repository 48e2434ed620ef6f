/* Exceptions and what they leave behind; privilege and the bits that take it away. */
#include "rt.h"

static void expect(const char *name, u64 cause, u64 count)
{
	struct trap *t = &mtrap[0];
	if (t->count == count && (!count || t->cause == cause))
		check(name, 1);
	else
		check_eq(name, t->count ? t->cause : ~0ul, count ? cause : ~0ul);
	trap_clear();
}

static void in_m(void)
{
	asm volatile(INSN(".word 0"));
	check_eq("illegal: epc points at it", *(u32 *)mtrap[0].epc, 0);
	expect("illegal: all zeroes", ILLEGAL, 1);
	asm volatile(INSN(".word 0xffffffff"));
	CHECK(mtrap[0].tval == 0xffffffff || mtrap[0].tval == 0);
	expect("illegal: all ones", ILLEGAL, 1);
	asm volatile(INSN("csrr t0, 0x5ff")::: "t0");
	expect("illegal: no such CSR", ILLEGAL, 1);
	asm volatile(INSN("csrw mvendorid, zero"));
	expect("illegal: read-only CSR written", ILLEGAL, 1);
	asm volatile(INSN("csrs mvendorid, zero"));
	expect("read-only CSR: csrs with x0 is a read", 0, 0);
	asm volatile(INSN("ebreak"));
	expect("ebreak", BREAK, 1);
	asm volatile(INSN("li a7, 0") INSN("ecall")::: "a7");
	check_eq("trap from M: MPP", mtrap[0].status & MSTATUS_MPP, MSTATUS_MPP);
	expect("ecall from M", ECALL_M, 1);
	csr_set(mstatus, MSTATUS_MIE);
	asm volatile(INSN("ebreak"));
	CHECK(!(mtrap[0].status & MSTATUS_MIE) && mtrap[0].status & MSTATUS_MPIE);
	CHECK(csr_read(mstatus) & MSTATUS_MIE);
	csr_clear(mstatus, MSTATUS_MIE);
	trap_clear();
}

static u64 ecall(u64 arg)
{
	asm volatile(INSN("li a7, 0") INSN("ecall")::: "a7");
	return arg + 1;
}
static u64 do_mret(u64 arg)
{
	asm volatile(INSN("mret"));
	return arg;
}
static u64 do_sret(u64 arg)
{
	asm volatile(INSN("sret"));
	return arg;
}
static u64 do_wfi(u64 arg)
{
	asm volatile(INSN("wfi"));
	return arg;
}
static u64 do_sfence(u64 arg)
{
	asm volatile(INSN("sfence.vma"));
	return arg;
}
static u64 read_satp(u64 arg)
{
	asm volatile(INSN("csrr t0, satp")::: "t0");
	return arg;
}
static u64 read_sstatus(u64 arg)
{
	asm volatile(INSN("csrr t0, sstatus")::: "t0");
	return arg;
}
static u64 read_mstatus(u64 arg)
{
	asm volatile(INSN("csrr t0, mstatus")::: "t0");
	return arg;
}
static u64 read_cycle(u64 arg)
{
	asm volatile(INSN("csrr t0, cycle")::: "t0");
	return arg;
}
static u64 do_float(u64 arg)
{
	asm volatile(INSN(".word 0xf0000053")); /* fmv.w.x f0, x0 */
	return arg;
}
#define RUN(p, fn) run_in((p), (u64)(fn), 1)

static void in_lower(void)
{
	check_eq("S: runs and comes back", RUN(S, ecall), 2);
	check_eq("trap from S: MPP", mtrap[0].status & MSTATUS_MPP, 1 << 11);
	expect("ecall from S", ECALL_S, 1);
	RUN(U, ecall);
	check_eq("trap from U: MPP", mtrap[0].status & MSTATUS_MPP, 0);
	expect("ecall from U", ECALL_U, 1);
	RUN(S, do_mret);
	expect("mret in S", ILLEGAL, 1);
	RUN(U, do_mret);
	expect("mret in U", ILLEGAL, 1);
	RUN(U, do_sret);
	expect("sret in U", ILLEGAL, 1);
	RUN(U, do_sfence);
	expect("sfence.vma in U", ILLEGAL, 1);
	RUN(S, do_sfence);
	expect("sfence.vma in S", 0, 0);
	RUN(S, read_mstatus);
	expect("mstatus in S", ILLEGAL, 1);
	RUN(S, read_sstatus);
	expect("sstatus in S", 0, 0);
	RUN(U, read_sstatus);
	expect("sstatus in U", ILLEGAL, 1);
}

static void taken_away(void)
{
	csr_set(mstatus, MSTATUS_TVM);
	RUN(S, read_satp);
	expect("TVM: satp in S", ILLEGAL, 1);
	RUN(S, do_sfence);
	expect("TVM: sfence.vma in S", ILLEGAL, 1);
	csr_clear(mstatus, MSTATUS_TVM);
	RUN(S, read_satp);
	expect("no TVM: satp in S", 0, 0);
	csr_set(mstatus, MSTATUS_TSR);
	RUN(S, do_sret);
	expect("TSR: sret in S", ILLEGAL, 1);
	csr_clear(mstatus, MSTATUS_TSR);
	csr_set(mstatus, MSTATUS_TW);
	RUN(S, do_wfi);
	expect("TW: wfi in S", ILLEGAL, 1);
	csr_clear(mstatus, MSTATUS_TW);
	csr_write(mcounteren, 0);
	RUN(S, read_cycle);
	expect("mcounteren: cycle in S", ILLEGAL, 1);
	csr_write(mcounteren, 7);
	csr_write(scounteren, 0);
	RUN(S, read_cycle);
	expect("mcounteren on: cycle in S", 0, 0);
	RUN(U, read_cycle);
	expect("scounteren: cycle in U", ILLEGAL, 1);
	csr_write(scounteren, 7);
	RUN(U, read_cycle);
	expect("scounteren on: cycle in U", 0, 0);
	csr_clear(mstatus, MSTATUS_FS);
	RUN(U, do_float);
	expect("FS off: floating point", ILLEGAL, 1);
	csr_set(mstatus, 1ul << 13);
	RUN(U, do_float);
	expect("FS initial: floating point", 0, 0);
	check_eq("FS dirty, SD set", csr_read(mstatus) & (MSTATUS_FS | IRQ), MSTATUS_FS | IRQ);
	csr_clear(mstatus, MSTATUS_FS);
}

static void fields(void)
{
	u64 misa_ = csr_read(misa);
	check_eq("misa: RV64", misa_ >> 62, 2);
	CHECK((misa_ & 0x14112d) == 0x14112d); /* A C D F I M S U */
	csr_write(mepc, 0x80000003);
	check_eq("mepc: bit 0 is zero", csr_read(mepc) & 1, 0);
	csr_clear(mstatus, MSTATUS_MPP);
	csr_set(mstatus, 2ul << 11);
	CHECK((csr_read(mstatus) & MSTATUS_MPP) != 2ul << 11);
	csr_write(mscratch, csr_read(mscratch));
	csr_write(mcause, 11);
	check_eq("mcause holds a cause", csr_read(mcause), 11);
	csr_write(medeleg, ~0ul);
	check_eq("medeleg: ecall from M stays", csr_read(medeleg) >> 11 & 1, 0);
	csr_write(medeleg, 0);
	csr_clear(mstatus, MSTATUS_MIE);
	u64 was = csr_read(mie);
	csr_write(mie, ~0ul);
	check_eq("mie: the standard bits", csr_read(mie) & 0xaaa, 0xaaa);
	csr_write(mie, was);
	csr_write(satp, 5ul << 60 | 1);
	check_eq("satp: a reserved mode is not taken", csr_read(satp), 0);
}

int main(u64 id, u64 tree)
{
	check_eq("a0 is the hart", id, 0);
	CHECK(REG32(tree) == 0xedfe0dd0); /* FDT magic, big-endian */
	csr_write(pmpaddr0, ~0ul);
	csr_write(pmpcfg0, 0x1f);
	in_m();
	in_lower();
	taken_away();
	fields();
	return 0;
}
