/* The machine restarts once: memory keeps what no image covers, images and devices are as new.
 * Ends with exit code 42. */
#include "rt.h"

enum { MAGIC = 0x5e7a };
#define KEPT REG64(0x82000000ul)
static volatile u64 fresh = 1;

static void first(void)
{
	KEPT = MAGIC;
	fresh = 2;
	PLIC_PRIORITY(3) = 5;
	PLIC_ENABLE(0, 3) = 8;
	REG8(UART + 7) = 0x5a;
	MTIMECMP(0) = 5;
	MSIP(0) = 1;
	REG32(FINISHER) = 0x7777;
	for (u64 i = 0; i < 2000000000; i++) asm volatile("nop");
	put("FAIL it did not reset\n");
}

int main(u64 id, u64 tree)
{
	if (KEPT != MAGIC) {
		KEPT = 0;
		first();
		return 0;
	}
	KEPT = 0;
	check_eq("hart", id, 0);
	CHECK(REG32(tree) == 0xedfe0dd0);
	check_eq("the image is as new", fresh, 1);
	check_eq("PLIC priority", PLIC_PRIORITY(3), 0);
	check_eq("PLIC enables", PLIC_ENABLE(0, 3), 0);
	check_eq("UART scratch", REG8(UART + 7), 0);
	check_eq("MSIP", MSIP(0), 0);
	check_eq("satp", csr_read(satp), 0);
	check_eq("mie", csr_read(mie), 0);
	check_eq("mstatus.MIE", csr_read(mstatus) & MSTATUS_MIE, 0);
	if (failed()) return 0;
	put("done\n");
	while (!(REG8(UART + 5) & 0x40)) {
	}
	REG32(FINISHER) = 42 << 16 | 0x3333;
	for (;;) {
	}
}
