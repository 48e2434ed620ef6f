/* cycle, time, instret: they count, can be written, can be stopped. */
#include "rt.h"

/* APPROX: for an engine that counts instructions roughly. */
static void exactly(const char *name, u64 got, u64 want)
{
#ifdef APPROX
	(void)got, (void)want;
	skip(name, "this engine counts roughly");
#else
	check_eq(name, got, want);
#endif
}

/* Often enough to be translated. */
static void in_loops(void)
{
	u64 a, b, n = 5000;
	asm volatile(INSN("csrr %0, minstret\n1: addi %2, %2, -1\nxor x0, %2, %2\nbnez %2, 1b\n"
			  "csrr %1, minstret")
		     : "=r"(a), "=r"(b), "+r"(n));
	exactly("minstret: a loop", b - a, 3 * 5000 + 1);
	int backwards = 0;
	for (int i = 0; i < 5000; i++) {
		b = csr_read(minstret);
		backwards |= b < a;
		a = b;
	}
	check("minstret never goes back", !backwards);
	for (a = csr_read(mcycle); csr_read(mcycle) - a < 100000;) {
	}
	check("waiting for mcycle ends", 1);
	for (a = csr_read(minstret); csr_read(minstret) - a < 100000;) {
	}
	check("waiting for minstret ends", 1);
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	u64 a, b;
	asm volatile(INSN("csrr %0, minstret\nnop\nnop\nnop\ncsrr %1, minstret")
		     : "=r"(a), "=r"(b));
	exactly("minstret: four instructions", b - a, 4);
	csr_write(minstret, 0);
	a = csr_read(minstret);
	CHECK(a < 100);
	asm volatile(INSN("csrw minstret, %1\ncsrr %0, minstret") : "=r"(a) : "r"(1000ul));
	exactly("minstret: the next instruction reads what was written", a, 1000);
	a = csr_read(mcycle);
	for (int i = 0; i < 1000; i++) asm volatile("nop");
	CHECK(csr_read(mcycle) > a);
	csr_write(mcycle, ~0ul - 10);
	for (int i = 0; i < 1000; i++) asm volatile("nop");
	CHECK(csr_read(mcycle) < 1ul << 40); /* it wrapped */
	CHECK(csr_read(cycle) <= csr_read(mcycle));
	csr_write(mcountinhibit, 5);
	a = csr_read(minstret);
	u64 c = csr_read(mcycle);
	for (int i = 0; i < 1000; i++) asm volatile("nop");
	if (csr_read(mcountinhibit) == 5) {
		check_eq("mcountinhibit: minstret stands", csr_read(minstret), a);
		check_eq("mcountinhibit: mcycle stands", csr_read(mcycle), c);
	} else {
		skip("mcountinhibit", "not here");
	}
	csr_write(mcountinhibit, 0);
	for (int i = 0; i < 10; i++) asm volatile("nop");
	CHECK(csr_read(minstret) > a && csr_read(minstret) < a + 1000);
	in_loops();
	a = csr_read(time);
	int backwards = 0;
	for (int i = 0; i < 10000; i++) {
		b = csr_read(time);
		backwards |= b < a;
		a = b;
	}
	check("time never goes back", !backwards);
	trap_clear();
	asm volatile(INSN("csrw cycle, zero"));
	check_eq("cycle is read-only", mtrap[0].cause, ILLEGAL);
	return 0;
}
