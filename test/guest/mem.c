/* Loads, stores and atomics where they are awkward: misaligned, across pages of different homes,
 * code that changes, reservations. */
#include "rt.h"

enum { PAGE = 4096, V = 1, RWAD = 0xc7 };
static u8 data[4 * PAGE] __attribute__((aligned(4096)));
static u64 tables[4][512] __attribute__((aligned(4096)));

static void misaligned(void)
{
	for (int i = 0; i < 64; i++) data[i] = (u8)i;
	u64 v;
	asm volatile(INSN("ld %0, 3(%1)") : "=r"(v) : "r"(data));
	check_eq("ld at 3", v, 0x0a09080706050403);
	asm volatile(INSN("lw %0, 1(%1)") : "=r"(v) : "r"(data));
	check_eq("lw at 1", v, 0x04030201);
	asm volatile(INSN("lhu %0, 63(%1)") : "=r"(v) : "r"(data - 0));
	check_eq("lhu at 63", v, 63);
	asm volatile(INSN("sd %0, 13(%1)")::"r"(0x1122334455667788ul), "r"(data) : "memory");
	CHECK(data[12] == 12 && data[13] == 0x88 && data[20] == 0x11 && data[21] == 21);
	check_eq("no trap for any of it", mtrap[0].count, 0);
}

/* Two neighbours in virtual memory that are not so in physical memory. */
static u64 access_as_s(int write, u64 va, u64 v)
{
	trap_clear();
	csr_clear(mstatus, MSTATUS_MPP);
	u64 bits = MSTATUS_MPRV | 1ul << 11;
	if (write)
		asm volatile(INSN("csrs mstatus, %1\nsd %0, 0(%2)\ncsrc mstatus, %3")::"r"(v),
			     "r"(bits), "r"(va), "r"(MSTATUS_MPRV)
			     : "memory");
	else
		asm volatile(INSN("csrs mstatus, %1\nld %0, 0(%2)\ncsrc mstatus, %3")
			     : "+&r"(v)
			     : "r"(bits), "r"(va), "r"(MSTATUS_MPRV)
			     : "memory");
	return v;
}

static void across_pages(void)
{
	const u64 va = 0x40000000;
	tables[0][va >> 30] = (u64)tables[1] >> 12 << 10 | V;
	tables[1][0] = (u64)tables[2] >> 12 << 10 | V;
	tables[2][0] = (u64)(data + 2 * PAGE) >> 12 << 10 | RWAD;
	tables[2][1] = (u64)data >> 12 << 10 | RWAD;
	csr_write(satp, 8ul << 60 | (u64)tables[0] >> 12);
	asm volatile("sfence.vma" ::: "memory");
	access_as_s(1, va + PAGE - 4, 0x1122334455667788);
	check_eq("across pages: the first half", *(volatile u32 *)(data + 3 * PAGE - 4),
		 0x55667788);
	check_eq("across pages: the second half", *(volatile u32 *)data, 0x11223344);
	check_eq("across pages: read back", access_as_s(0, va + PAGE - 4, 0), 0x1122334455667788);
	tables[2][1] &= ~4ul; /* the second one read-only */
	asm volatile("sfence.vma" ::: "memory");
	access_as_s(1, va + PAGE - 4, 0x9999999999999999);
	CHECK(mtrap[0].count == 1 && mtrap[0].cause == STORE_PAGE);
	check_eq("across pages: tval is the second page", mtrap[0].tval, va + PAGE);
	check_eq("across pages: all or nothing", *(volatile u32 *)(data + 3 * PAGE - 4),
		 0x55667788);
	csr_write(satp, 0);
}

static void changing_code(void)
{
	static u32 code[2] __attribute__((aligned(8)));
	u64 (*fn)(void) = (u64(*)(void))code;
	volatile u32 *c = code;
	c[1] = 0x00008067; /* ret */
	int good = 1;
	for (u32 i = 0; i < 100; i++) {
		c[0] = i << 20 | 0x513; /* li a0, i */
		asm volatile("fence.i");
		good &= fn() == i;
	}
	check("code rewritten 100 times", good);
}

static void reservations(void)
{
	static u64 word = 5;
	u64 old, fail;
	asm volatile("lr.d %0, (%2)\nsc.d %1, %3, (%2)"
		     : "=&r"(old), "=&r"(fail)
		     : "r"(&word), "r"(6ul)
		     : "memory");
	CHECK(old == 5 && fail == 0 && word == 6);
	asm volatile("sc.d %0, %2, (%1)" : "=&r"(fail) : "r"(&word), "r"(7ul) : "memory");
	CHECK(fail != 0 && word == 6); /* one reservation, one store */
	asm volatile("lr.d %0, (%2)\nsc.d %1, %3, (%4)"
		     : "=&r"(old), "=&r"(fail)
		     : "r"(&word), "r"(8ul), "r"(data)
		     : "memory");
	CHECK(fail != 0); /* somewhere else */
	asm volatile("lr.w %0, (%1)" : "=r"(old) : "r"(&word));
	trap_clear();
	asm volatile(INSN("lr.d %0, (%1)") : "=r"(old) : "r"((u8 *)&word + 4));
	CHECK(mtrap[0].count == 1 &&
	      (mtrap[0].cause == LOAD_MISALIGNED || mtrap[0].cause == LOAD_ACCESS));
}

static void atomics(void)
{
	static volatile u64 w;
	u64 old;
#define AMO(op, start, operand, want)                                                              \
	do {                                                                                       \
		w = (start);                                                                       \
		asm volatile("amo" op " %0, %1, (%2)"                                              \
			     : "=r"(old)                                                           \
			     : "r"((u64)(operand)), "r"(&w)                                        \
			     : "memory");                                                          \
		check_eq("amo" op, w, (want));                                                     \
	} while (0)
	AMO("add.d", 5, 7, 12);
	AMO("swap.d", 5, 7, 7);
	AMO("and.d", 6, 3, 2);
	AMO("or.d", 6, 3, 7);
	AMO("xor.d", 6, 3, 5);
	AMO("min.d", ~0ul, 3, ~0ul);
	AMO("minu.d", ~0ul, 3, 3);
	AMO("max.d", ~0ul, 3, 3);
	AMO("maxu.d", ~0ul, 3, ~0ul);
	AMO("add.w", 0x1ffffffff, 1, 0x100000000);
	check_eq("amoadd.w: sign-extended result", old, ~0ul);
	AMO("maxu.w", 0x80000000, 1, 0x80000000);
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	csr_write(pmpaddr0, ~0ul);
	csr_write(pmpcfg0, 0x1f);
	misaligned();
	across_pages();
	changing_code();
	reservations();
	atomics();
	return 0;
}
