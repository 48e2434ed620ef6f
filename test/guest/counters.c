/* cycle, time, instret: they count, can be written, can be stopped. */
#include "rt.h"

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	u64 a, b;
	asm volatile(INSN("csrr %0, minstret\nnop\nnop\nnop\ncsrr %1, minstret")
		     : "=r"(a), "=r"(b));
	check_eq("minstret: four instructions", b - a, 4);
	csr_write(minstret, 0);
	a = csr_read(minstret);
	CHECK(a < 100);
	asm volatile(INSN("csrw minstret, %1\ncsrr %0, minstret") : "=r"(a) : "r"(1000ul));
	check_eq("minstret: the next instruction reads what was written", a, 1000);
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
