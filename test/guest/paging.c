/* Sv39, Sv48, Sv57: walks, large pages, rights, SUM, MXR, A and D bits, bad entries, Svnapot,
 * Svpbmt. Loads and stores go through MPRV, so that the code needs no mapping. */
#include "rt.h"

enum { V = 1, R = 2, W = 4, X = 8, USER = 16, G = 32, A = 64, D = 128, RWAD = V | R | W | A | D };
#define PBMT_NC (1ul << 61)
#define NAPOT	(1ul << 63)
enum { TABLES = 24, PAGE = 4096 };
static u64 tables[TABLES][512] __attribute__((aligned(4096)));
static u8 data[16 * PAGE] __attribute__((aligned(65536)));
static unsigned used;
static u64 mode; /* satp.MODE: 8, 9, 10 */

static u64 *new_table(void)
{
	u64 *t = tables[used++];
	for (int i = 0; i < 512; i++) t[i] = 0;
	return t;
}

static void fresh(u64 m)
{
	mode = m;
	used = 0;
	new_table();
}

static void on(void)
{
	csr_write(satp, mode << 60 | (u64)tables[0] >> 12);
	asm volatile("sfence.vma" ::: "memory");
}

/* The entry for va at a level (0: 4 KiB), its tables made on the way. */
static u64 *entry(u64 va, int level)
{
	u64 *t = tables[0];
	for (int l = (int)mode - 6; l > level; l--) {
		u64 *e = &t[va >> (12 + 9 * l) & 511];
		if (!(*e & V)) *e = (u64)new_table() >> 12 << 10 | V;
		t = (u64 *)(*e >> 10 << 12);
	}
	return &t[va >> (12 + 9 * level) & 511];
}
static void map(u64 va, u64 pa, u64 bits, int level) { *entry(va, level) = pa >> 12 << 10 | bits; }

#define SENTINEL 0x5e5e5e5e5e5e5e5eul
static u64 load(u64 priv_bits, u64 va)
{
	u64 v = SENTINEL;
	trap_clear();
	csr_clear(mstatus, MSTATUS_MPP | MSTATUS_SUM | MSTATUS_MXR);
	asm volatile(INSN("csrs mstatus, %1\nld %0, 0(%2)\ncsrc mstatus, %3")
		     : "+&r"(v)
		     : "r"(priv_bits | MSTATUS_MPRV), "r"(va), "r"(MSTATUS_MPRV)
		     : "memory");
	return v;
}
static void store(u64 priv_bits, u64 va, u64 v)
{
	trap_clear();
	csr_clear(mstatus, MSTATUS_MPP | MSTATUS_SUM | MSTATUS_MXR);
	asm volatile(INSN("csrs mstatus, %1\nsd %0, 0(%2)\ncsrc mstatus, %3")
		     :
		     : "r"(v), "r"(priv_bits | MSTATUS_MPRV), "r"(va), "r"(MSTATUS_MPRV)
		     : "memory");
}
#define AS_S (1ul << 11)
#define AS_U 0ul

static void loads(const char *name, u64 bits, u64 va, u64 want)
{
	u64 got = load(bits, va);
	check_eq(name, mtrap[0].count ? IRQ | mtrap[0].cause : got, want);
}
static void load_faults(const char *name, u64 bits, u64 va)
{
	(void)load(bits, va);
	check(name, mtrap[0].count == 1 && mtrap[0].cause == LOAD_PAGE && mtrap[0].tval == va);
}
static void store_faults(const char *name, u64 bits, u64 va)
{
	store(bits, va, 1);
	check(name, mtrap[0].count == 1 && mtrap[0].cause == STORE_PAGE && mtrap[0].tval == va);
}

static void walks(void)
{
	const u64 va = 0x12345000, top = (mode == 8) ? 1ul << 38
					 : mode == 9 ? 1ul << 47
						     : 1ul << 56;
	*(volatile u64 *)data = 0x1111;
	map(va, (u64)data, RWAD, 0);
	on();
	loads("4 KiB page", AS_S, va, 0x1111);
	store(AS_S, va + 8, 0x2222);
	check_eq("stored through it", *(volatile u64 *)(data + 8), 0x2222);
	load_faults("not mapped", AS_S, va + PAGE);
	store_faults("not mapped, store", AS_S, va + PAGE);
	load_faults("not canonical", AS_S, va | top);
	load_faults("not canonical either", AS_S, va | top << 1);
	map(0ul - PAGE, (u64)data, RWAD, 0);
	loads("the last page", AS_S, 0ul - PAGE, 0x1111);
	map(va, (u64)data + PAGE, RWAD, 0);
	*(volatile u64 *)(data + PAGE) = 0x3333;
	asm volatile("sfence.vma %0, zero" ::"r"(va) : "memory");
	loads("remapped, after sfence.vma of its address", AS_S, va, 0x3333);
	map(va, (u64)data, V | A | D, 0); /* a pointer at the last level, with A and D */
	on();
	load_faults("a pointer where a page must be", AS_S, va);
}

static void large(void)
{
	for (int level = 1; level <= (int)mode - 6; level++) {
		u64 size = 1ul << (12 + 9 * level), va = (level == (int)mode - 6 ? 3 : 5) * size;
		u64 pa = (u64)data / size * size;
		fresh(mode);
		map(va, pa, RWAD, level);
		on();
		*(volatile u64 *)(data + 4096) = 0x4444 + (u64)level;
		loads("large page", AS_S, va + ((u64)data - pa) + 4096, 0x4444 + (u64)level);
		*entry(va, level) |= 1 << 10;
		on();
		load_faults("large page, misaligned", AS_S, va);
	}
}

static void rights(void)
{
	const u64 va = 0x40000000;
	fresh(mode);
	*(volatile u64 *)data = 0x1111;
	map(va, (u64)data, V | R | A, 0);
	on();
	loads("R: load", AS_S, va, 0x1111);
	store_faults("R: no store", AS_S, va);
	load_faults("S page: not for U", AS_U, va);
	map(va, (u64)data, V | X | A | D, 0);
	on();
	load_faults("X: no load", AS_S, va);
	loads("X: load with MXR", AS_S | MSTATUS_MXR, va, 0x1111);
	map(va, (u64)data, RWAD | USER, 0);
	on();
	loads("U page: for U", AS_U, va, 0x1111);
	load_faults("U page: not for S", AS_S, va);
	loads("U page: for S with SUM", AS_S | MSTATUS_SUM, va, 0x1111);
	load_faults("U page: again not for S", AS_S, va);
	map(va, (u64)data, V | W | A | D, 0);
	on();
	load_faults("W without R is reserved", AS_S, va);
	map(va, (u64)data, RWAD & ~(u64)V, 0);
	on();
	load_faults("not valid", AS_S, va);
	map(va, (u64)data, RWAD | 1ul << 54, 0);
	on();
	load_faults("reserved bit 54", AS_S, va);
	*entry(va, 1) |= USER;
	map(va, (u64)data, RWAD, 0);
	on();
}

/* Code that needs no other page: a0 = 42, back to M. */
static const u32 code[] = {0x02a00513, 0x000058b7, 0xc4f8889b, 0x00000073};

static void fetches(void)
{
	const u64 va = 0x50000000;
	fresh(mode);
	for (unsigned i = 0; i < 4; i++) ((volatile u32 *)data)[i] = code[i];
	asm volatile("fence.i");
	map(va, (u64)data, V | X | A, 0);
	on();
	check_eq("X: S runs it", run_in(S, va, 0), 42);
	trap_clear();
	check_eq("S page: U does not", run_in(U, va, 0), ~0ul);
	CHECK(mtrap[0].cause == FETCH_PAGE && mtrap[0].tval == va && mtrap[0].epc == va);
	map(va, (u64)data, V | X | A | USER, 0);
	on();
	check_eq("U page: U runs it", run_in(U, va, 0), 42);
	csr_set(mstatus, MSTATUS_SUM);
	check_eq("U page: S never runs it, SUM or not", run_in(S, va, 0), ~0ul);
	csr_clear(mstatus, MSTATUS_SUM);
	map(va, (u64)data, RWAD, 0);
	on();
	check_eq("no X: nobody runs it", run_in(S, va, 0), ~0ul);
	map(va, (u64)data, V | X | A, 0);
	map(va + PAGE, (u64)data + PAGE, V | X | A, 0);
	for (unsigned i = 0; i < 8; i++)
		((volatile u16 *)(data + PAGE - 6))[i] = ((const u16 *)code)[i];
	asm volatile("fence.i");
	on();
	check_eq("an instruction across two pages", run_in(S, va + PAGE - 6, 0), 42);
	map(va + PAGE, 0, 0, 0);
	on();
	trap_clear();
	check_eq("the second one missing", run_in(S, va + PAGE - 6, 0), ~0ul);
	check_eq("its tval: the missing half", mtrap[0].tval, va + PAGE);
	check_eq("its epc: the first half", mtrap[0].epc, va + PAGE - 2);
}

static void accessed_and_dirty(void)
{
	const u64 va = 0x60000000, adue = 1ul << 61;
	fresh(mode);
	csr_set(menvcfg, adue);
	int can = (csr_read(menvcfg) & adue) != 0, updates;
	csr_clear(menvcfg, adue);
	map(va, (u64)data, V | R | W, 0);
	on();
	(void)load(AS_S, va);
	updates = !mtrap[0].count;
	if (can) check("Svade: no A, load faults", mtrap[0].cause == LOAD_PAGE);
	check_eq("A is set, or it faults", *entry(va, 0) & (A | D), updates ? A : 0);
	*entry(va, 0) |= A;
	on();
	store(AS_S, va, 1);
	if (can) check("Svade: no D, store faults", mtrap[0].cause == STORE_PAGE);
	check_eq("D is set, or it faults", *entry(va, 0) & (A | D),
		 mtrap[0].count ? (u64)A : (u64)(A | D));
	if (!can) {
		skip("Svadu", "menvcfg.ADUE is fixed");
		return;
	}
	csr_set(menvcfg, adue);
	map(va, (u64)data, V | R | W, 0);
	on();
	*(volatile u64 *)data = 0x7777;
	loads("Svadu: no A, load works", AS_S, va, 0x7777);
	check_eq("Svadu: A was set", *entry(va, 0) & (A | D), A);
	store(AS_S, va, 0x8888);
	CHECK(mtrap[0].count == 0 && *(volatile u64 *)data == 0x8888);
	check_eq("Svadu: D was set", *entry(va, 0) & (A | D), A | D);
	map(va, (u64)data, V | R, 0);
	on();
	store_faults("Svadu: no W, no store", AS_S, va);
	check_eq("Svadu: and no D", *entry(va, 0) & D, 0);
	csr_clear(menvcfg, adue);
}

static void asids(void)
{
	const u64 va = 0x70000000, asid = 5ul << 44;
	fresh(mode);
	u64 root = (u64)tables[0] >> 12;
	csr_write(satp, mode << 60 | asid | root);
	if (csr_read(satp) != (mode << 60 | asid | root)) {
		skip("ASIDs", "none here");
		return;
	}
	*(volatile u64 *)data = 0x1;
	*(volatile u64 *)(data + PAGE) = 0x2;
	map(va, (u64)data, RWAD, 0);
	on();
	loads("ASID 0", AS_S, va, 1);
	csr_write(satp, mode << 60 | asid | root);
	asm volatile("sfence.vma");
	map(va, (u64)data + PAGE, RWAD, 0);
	asm volatile("sfence.vma zero, %0" ::"r"(5ul) : "memory");
	loads("ASID 5 after its fence", AS_S, va, 2);
	map(va, (u64)data, RWAD, 0);
	asm volatile("sfence.vma %0, %1" ::"r"(va), "r"(5ul) : "memory");
	loads("ASID 5 after a fence of the page", AS_S, va, 1);
}

static void extensions(void)
{
	const u64 va = 0x80000;
	fresh(mode);
	csr_set(menvcfg, 1ul << 62);
	int pbmt = csr_read(menvcfg) >> 62 & 1;
	*(volatile u64 *)data = 0x9999;
	map(va, (u64)data, RWAD | PBMT_NC, 0);
	on();
	if (pbmt) {
		loads("Svpbmt: non-cacheable page", AS_S, va, 0x9999);
		map(va, (u64)data, RWAD | 3 * PBMT_NC, 0);
		on();
		load_faults("Svpbmt: reserved type", AS_S, va);
		csr_clear(menvcfg, 1ul << 62);
		map(va, (u64)data, RWAD | PBMT_NC, 0);
		on();
		load_faults("Svpbmt off: a reserved bit", AS_S, va);
	} else {
		skip("Svpbmt", "not here");
	}
	for (unsigned i = 0; i < 16; i++) {
		*(volatile u64 *)(data + i * PAGE) = i;
		map(va + i * PAGE, (u64)data + 8 * PAGE, RWAD | NAPOT, 0);
	}
	on();
	(void)load(AS_S, va + 3 * PAGE);
	if (mtrap[0].count) {
		skip("Svnapot", "not here");
		return;
	}
	loads("Svnapot: first of 64 KiB", AS_S, va, 0);
	loads("Svnapot: last of 64 KiB", AS_S, va + 15 * PAGE, 15);
	map(va, (u64)data + PAGE, RWAD | NAPOT, 0);
	on();
	load_faults("Svnapot: another size is reserved", AS_S, va);
	map(5ul << 21, (u64)data >> 21 << 21 | 0x8000, RWAD | NAPOT, 1);
	on();
	load_faults("Svnapot: not for large pages", AS_S, 5ul << 21);
}

int main(u64 id, u64 tree)
{
	static const char *const names[] = {"--- Sv39\n", "--- Sv48\n", "--- Sv57\n"};
	(void)id, (void)tree;
	csr_write(pmpaddr0, ~0ul);
	csr_write(pmpcfg0, 0x1f);
	for (u64 m = 8; m <= 10; m++) {
		put(names[m - 8]);
		fresh(m);
		on();
		check_eq("satp takes the mode", csr_read(satp) >> 60, m);
		walks();
		large();
		rights();
		fetches();
		accessed_and_dirty();
		asids();
		extensions();
		csr_write(satp, 0);
	}
	return 0;
}
