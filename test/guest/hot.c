/* Loops that run often enough to be translated, and what then changes under them or goes wrong in
 * them: addresses, jumps, mappings, their own code, far too much code, interrupts. */
#include "rt.h"

#ifndef PAGES /* of code */
#define PAGES 2300
#endif

enum { PAGE = 4096, V = 1, RWXAD = 0xcf, RWAD = 0xc7, RAD = 0x43, XAD = 0x49, ROUNDS = 3000 };
#define ADDI(rd, rs, imm) ((u32)(imm) << 20 | (rs) << 15 | (rd) << 7 | 0x13)
#define RET		  0x00008067u
#define LI_A0(v)	  ADDI(10, 0, v)
static u8 data[16 * PAGE] __attribute__((aligned(4096)));
static u64 tables[4][512] __attribute__((aligned(4096)));
static u32 code[2 * PAGE / 4] __attribute__((aligned(4096)));
#define VA	  0x40000000ul
#define FENCE_I() asm volatile("fence.i" ::: "memory")
#define SFENCE()  asm volatile("sfence.vma" ::: "memory")

/* ---- addresses: where nothing is in Sv39, and no code anywhere ---- */
static const u64 wrong[] = {0x40,	1ul << 63,     ~0ul - 7,     1ul << 38,
			    1ul << 39,	1ul << 56,     0x2000000ff8, 0xffffffff80000000,
			    ~0ul << 38, VA + (2 << 20)};
enum { WRONG = sizeof(wrong) / sizeof(wrong[0]) };

static u64 load_many(u64 good, u64 bad, u64 times)
{
	u64 sum = 0, v;
	for (u64 i = 0; i < times; i++) {
		u64 at = i % 100 == 99 ? bad : good;
		v = 1000;
		asm volatile(INSN("ld %0, (%1)") : "+r"(v) : "r"(at) : "memory");
		sum += v;
	}
	return sum;
}
static void store_many(u64 good, u64 bad, u64 times)
{
	for (u64 i = 0; i < times; i++) {
		u64 at = i % 100 == 99 ? bad : good;
		asm volatile(INSN("sd %0, (%1)")::"r"(i), "r"(at) : "memory");
	}
}
static u64 loads(u64 bad) { return load_many((u64)data, bad, ROUNDS); }
static u64 stores(u64 bad)
{
	store_many((u64)(data + 8), bad, ROUNDS);
	return 0;
}
static void addresses(void)
{
	u64 bad = ROUNDS / 100;
	int before = failed();
	REG64(data) = 1;
	for (unsigned k = 0; k < WRONG; k++) {
		trap_clear();
		if (run_in(S, (u64)loads, wrong[k]) != ROUNDS - bad + 1000 * bad ||
		    mtrap[0].count != bad || mtrap[0].cause != LOAD_PAGE ||
		    mtrap[0].tval != wrong[k])
			check_eq("loads from nowhere", mtrap[0].tval, wrong[k]);
		trap_clear();
		run_in(S, (u64)stores, wrong[k]);
		if (mtrap[0].count != bad || mtrap[0].cause != STORE_PAGE ||
		    mtrap[0].tval != wrong[k])
			check_eq("stores to nowhere", mtrap[0].tval, wrong[k]);
	}
	check_eq("the last good store", REG64(data + 8), ROUNDS - 2);
	check("loops that reach for nothing", failed() == before);
}

static u64 call_many(u64 good, u64 bad, u64 times)
{
	u64 sum = 0;
	for (u64 i = 0; i < times; i++) sum += ((u64(*)(void))(i % 100 == 99 ? bad : good))() & 1;
	return sum;
}
static void jumps(void)
{
	int before = failed();
	code[0] = LI_A0(1);
	code[1] = RET;
	FENCE_I();
	for (unsigned k = 0; k < WRONG - 1; k++) { /* the last may be a device */
		trap_clear();
		(void)call_many((u64)code, wrong[k], ROUNDS);
		if (mtrap[0].count != ROUNDS / 100 || mtrap[0].cause != FETCH_ACCESS)
			check_eq("jumps to nowhere", mtrap[0].count, ROUNDS / 100);
	}
	check("loops that go astray", failed() == before);
}

/* ---- mappings, in S-mode: memory at its place, and pages at VA ---- */
static void map(u64 k, u64 at, u64 bits) { tables[2][k] = at >> 12 << 10 | bits; }
static void paging(void)
{
	tables[0][2] = 0x80000000ul >> 12 << 10 | RWXAD;
	tables[0][VA >> 30] = (u64)tables[1] >> 12 << 10 | V;
	tables[1][0] = (u64)tables[2] >> 12 << 10 | V;
	csr_write(satp, 8ul << 60 | (u64)tables[0] >> 12);
	SFENCE();
}

static u64 see_remaps(u64 arg)
{
	u64 bad = 0;
	(void)arg;
	for (u64 i = 0; i < ROUNDS; i++) {
		u64 page = i / 64 % 8;
		if (i % 64 == 0) {
			map(0, (u64)data + page * PAGE, RWAD);
			asm volatile("sfence.vma %0" ::"r"(VA) : "memory");
		}
		bad += REG64(VA + 8 * (i % 64)) != page;
		if (i % 64 == 63) REG64(VA + 4088) = i;
	}
	return bad;
}
/* Rights that go and come: how often it faults is known. */
static u64 lose_rights(u64 arg)
{
	static const u64 bits[] = {RWAD, RAD, 0, XAD};
	(void)arg;
	for (u64 i = 0; i < ROUNDS; i++) {
		if (i % 100 == 0) {
			map(0, (u64)data, bits[i / 100 % 4]);
			SFENCE();
		}
		u64 v;
		asm volatile(INSN("ld %0, (%1)") : "=r"(v) : "r"(VA) : "memory");
		asm volatile(INSN("sd %0, 8(%1)")::"r"(i), "r"(VA) : "memory");
	}
	return 0;
}
static u64 lost_code(u64 arg)
{
	map(1, (u64)code, RAD);
	SFENCE();
	return ((u64(*)(void))(VA + PAGE))() + arg;
}
static u64 code_runs(u64 arg)
{
	u64 sum = 0;
	(void)arg;
	map(1, (u64)code, XAD);
	SFENCE();
	for (u64 i = 0; i < ROUNDS; i++) sum += ((u64(*)(void))(VA + PAGE))();
	return sum;
}
static void mappings(void)
{
	for (u64 p = 0; p < 8; p++)
		for (u64 i = 0; i < 64; i++) REG64(data + p * PAGE + 8 * i) = p;
	check_eq("remapped under a loop", run_in(S, (u64)see_remaps, 0), 0);
	check_eq("stores went to the last page", REG64(data + (ROUNDS / 64 - 1) % 8 * PAGE + 4088),
		 ROUNDS / 64 * 64 - 1);
	trap_clear();
	run_in(S, (u64)lose_rights, 0);
	u64 rounds = ROUNDS / 100, want = 0;
	for (u64 k = 0; k < rounds; k++) want += (u64[]){0, 100, 200, 200}[k % 4];
	check_eq("rights lost under a loop", mtrap[0].count, want);
	code[0] = LI_A0(1);
	code[1] = RET;
	FENCE_I();
	for (int i = 0; i < 3; i++) {
		check_eq("code under another address", run_in(S, (u64)code_runs, 0), ROUNDS);
		trap_clear();
		check_eq("code lost its right", run_in(S, (u64)lost_code, 0), ~0ul);
		CHECK(mtrap[0].cause == FETCH_PAGE && mtrap[0].tval == VA + PAGE);
	}
}

/* Every offset around the end of a page whose neighbour lies elsewhere. */
static u64 across(u64 arg)
{
	u64 bad = 0;
	map(4, (u64)data + 9 * PAGE, RWAD);
	map(5, (u64)data + 8 * PAGE, RWAD);
	SFENCE();
	for (u64 i = 0; i < ROUNDS; i++) {
		u64 at = VA + 5 * PAGE - 16 + i % 32, v = i * 0x9e3779b97f4a7c15 + arg, w, b = 0;
		asm volatile(INSN("sd %1, (%2)\nld %0, (%2)")
			     : "=r"(w)
			     : "r"(v), "r"(at)
			     : "memory");
		for (int k = 7; k >= 0; k--) {
			u64 a = at + (u64)k - (VA + 4 * PAGE);
			b = b << 8 | data[(a < PAGE ? 9 : 7) * PAGE + a];
		}
		bad += w != v || b != v;
		asm volatile(INSN("sh %1, 1(%2)\nlhu %0, 1(%2)")
			     : "=r"(w)
			     : "r"(v), "r"(at)
			     : "memory");
		bad += w != (v & 0xffff);
	}
	return bad;
}

/* ---- a loop over the end of a page, whose second page may be another one ---- */
static u32 part[3][PAGE / 4] __attribute__((aligned(4096)));
enum { PART = 24 };
/* Two bytes further on an instruction lies across the end. */
static void put_loop(unsigned shift, unsigned second, u32 add)
{
	const u32 body[] = {ADDI(10, 10, 1),
			    ADDI(10, 10, 1),
			    ADDI(12, 10, 0),
			    ADDI(12, 10, 1),
			    ADDI(12, 10, 2),
			    ADDI(12, 12, 3),
			    ADDI(10, 10, add),
			    ADDI(11, 11, -1),
			    0xfe0590e3 /* bnez a1, .-32 */,
			    RET};
	volatile unsigned short *to;
	for (unsigned i = 0; i < 2 * sizeof(body) / 4; i++) {
		unsigned at = PAGE - PART + shift + 2 * i;
		to = (volatile unsigned short *)((u8 *)part[at < PAGE ? 0 : second] + at % PAGE);
		*to = (unsigned short)(body[i / 2] >> i % 2 * 16);
	}
}
static u64 loop_at(u64 at, u64 times)
{
	register u64 a0 asm("a0") = 0, a1 asm("a1") = times;
	asm volatile("jalr %2" : "+r"(a0), "+r"(a1) : "r"(at) : "ra", "a2", "memory");
	return a0;
}
/* Both ways to the first page lead on to a page of their own. */
static u64 two_ways(u64 at)
{
	u64 bad = 0;
	for (int i = 0; i < 200; i++) {
		bad += loop_at(VA + 8 * PAGE + at, 60) != 60 * 3;
		bad += loop_at(VA + 10 * PAGE + at, 60) != 60 * 102;
	}
	return bad;
}
static u64 one_way(u64 at) { return loop_at(VA + 8 * PAGE + at, 500); }
static void split_loop(unsigned shift)
{
	u64 at = PAGE - PART + shift;
	put_loop(shift, 1, 1);
	put_loop(shift, 2, 100);
	for (u64 k = 0; k < 4; k++) map(8 + k, (u64)part[k == 3 ? 2 : k % 2], XAD);
	FENCE_I();
	SFENCE();
	check_eq("a split loop, two ways on", run_in(S, (u64)two_ways, at), 0);
	check_eq("a split loop", run_in(S, (u64)one_way, at), 500 * 3);
	map(9, (u64)part[2], XAD);
	SFENCE();
	check_eq("its second page remapped", run_in(S, (u64)one_way, at), 500 * 102);
	put_loop(shift, 2, 7);
	FENCE_I();
	check_eq("its second page rewritten", run_in(S, (u64)one_way, at), 500 * 9);
	trap_clear();
	map(9, (u64)part[2], RAD);
	SFENCE();
	check_eq("its second page without the right", run_in(S, (u64)one_way, at), ~0ul);
	CHECK(mtrap[0].cause == FETCH_PAGE && mtrap[0].tval == VA + 9 * PAGE);
	map(9, (u64)part[1], XAD);
	map(8, (u64)part[0], RAD);
	SFENCE();
	check_eq("its first page without it", run_in(S, (u64)one_way, at), ~0ul);
	map(8, (u64)part[0], XAD);
	SFENCE();
	check_eq("and with it again", run_in(S, (u64)one_way, at), 500 * 3);
}

/* ---- code that changes ---- */
static void own_code(void)
{
	/* a1 times: store to the page that this runs in, and add what is there */
	static const u32 body[] = {0x00000517, /* auipc a0, 0 */
				   0x10b52023, /* sw a1, 256(a0) */
				   0x10052603, /* lw a2, 256(a0) */
				   0x00c686b3, /* add a3, a3, a2 */
				   0xfff58593, /* addi a1, a1, -1 */
				   0xfe0596e3, /* bnez a1, .-20 */
				   0x00068513, /* mv a0, a3 */
				   RET};
	for (unsigned i = 0; i < 8; i++) code[i] = body[i];
	FENCE_I();
	register u64 a0 asm("a0"), a1 asm("a1") = ROUNDS, a3 asm("a3") = 0;
	asm volatile("jalr %3" : "=r"(a0), "+r"(a1), "+r"(a3) : "r"(code) : "ra", "a2", "memory");
	check_eq("stores beside running code", a0, ROUNDS * (ROUNDS + 1ul) / 2);
}
static void changing_code(void)
{
	u64 bad = 0;
	volatile u32 *c = code;
	for (u32 i = 0; i < 500; i++) {
		c[0] = LI_A0(i);
		c[1] = RET;
		FENCE_I();
		for (int k = 0; k < 100; k++) bad += ((u64(*)(void))code)() != i;
	}
	check_eq("hot code rewritten", bad, 0);
}

/* More pages of hot code than an engine will keep. */
static void much_code(void)
{
	enum { LOOP = 45 };
	u32 *at = (u32 *)0x81000000ul;
	u64 bad = 0;
	for (u64 p = 0; p < PAGES; p++) {
		u32 *c = at + p * PAGE / 4 + p % 64;
		c[0] = LI_A0(0);
		c[1] = ADDI(11, 0, LOOP);
		c[2] = ADDI(10, 10, p % 2000);
		c[3] = ADDI(11, 11, -1);
		c[4] = 0xfe059ce3; /* bnez a1, .-8 */
		c[5] = RET;
	}
	FENCE_I();
	for (int round = 0; round < 2; round++)
		for (u64 p = 0; p < PAGES; p++) {
			register u64 a0 asm("a0");
			asm volatile("jalr %1"
				     : "=r"(a0)
				     : "r"(at + p * PAGE / 4 + p % 64)
				     : "ra", "a1", "memory");
			bad += a0 != LOOP * (p % 2000);
		}
	check_eq("thousands of pages of code", bad, 0);
}

/* ---- interrupts ---- */
static volatile u64 ticks;
static void tick(u64 cause)
{
	(void)cause;
	ticks++;
	MTIMECMP(0) = MTIME + 2000;
}
static void interrupts(void)
{
	mtrap[0].hook = tick;
	ticks = 0;
	MTIMECMP(0) = MTIME + 2000;
	csr_write(mie, 0x80);
	csr_set(mstatus, MSTATUS_MIE);
	u64 n = 0, sum = 0;
	while (ticks < 10) n++;
	check("ticks in a loop that loads", n > 0);
	u64 before = ticks;
	for (u64 i = 0; i < 100; i++) {
		u64 left = 100000, x = 0;
		asm volatile("1: addi %1, %1, 3\naddi %0, %0, -1\nbnez %0, 1b"
			     : "+r"(left), "+r"(x));
		sum += x;
	}
	check_eq("a loop without loads is not disturbed", sum, 100 * 300000);
	check("and there were ticks in it", ticks > before);
	before = ticks;
	for (int i = 0; i < 50; i++) asm volatile("wfi");
	check("wfi ends", ticks >= before + 40);
	csr_clear(mstatus, MSTATUS_MIE);
	csr_write(mie, 0);
	MTIMECMP(0) = ~0ul;
	mtrap[0].hook = 0;
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	csr_write(pmpaddr0, ~0ul);
	csr_write(pmpcfg0, 0x1f);
	jumps();
	paging();
	addresses();
	mappings();
	check_eq("across the ends of pages", run_in(S, (u64)across, 5), 0);
	split_loop(0);
	split_loop(2);
	csr_write(satp, 0);
	own_code();
	changing_code();
	much_code();
	interrupts();
	return 0;
}
