/* What one hart changes under another one's hot loop, by way of the SBI's remote fences: code, the
 * page behind an address, the right to it. Runs in S-mode, on two harts. */
#include "rt.h"

enum { PAGE = 4096, V = 1, RWXAD = 0xcf, RAD = 0x43, RWAD = 0xc7, ROUNDS = 400 };
enum { RFENCE = 0x52464e43, HSM = 0x48534d, STOPPED = 1 };
#define VA 0x40000000ul
static u8 data[8 * PAGE] __attribute__((aligned(4096)));
static u64 tables[3][512] __attribute__((aligned(4096)));
static u32 code[4] __attribute__((aligned(4096)));
static volatile u64 done, attempt, stop, ready, bad, ran;
static u64 me, other;

static u64 sbi(u64 ext, u64 fn, u64 b0, u64 b1, u64 b2, u64 b3)
{
	register u64 a0 asm("a0") = b0, a1 asm("a1") = b1, a2 asm("a2") = b2, a3 asm("a3") = b3;
	register u64 a6 asm("a6") = fn, a7 asm("a7") = ext;
	asm volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a6), "r"(a7) : "memory");
	return a0 ? ~0ul : a1;
}
static void remote_fence_i(void) { (void)sbi(RFENCE, 0, 1ul << other, 0, 0, 0); }
static void remote_sfence(void) { (void)sbi(RFENCE, 1, 1ul << other, 0, VA, PAGE); }

static void paging(void)
{
	csr_write(satp, 8ul << 60 | (u64)tables[0] >> 12);
	asm volatile("sfence.vma" ::: "memory");
}

static void start(void (*fn)(void))
{
	done = attempt = stop = ready = bad = ran = 0;
	__sync_synchronize();
	while (sbi(HSM, 0, other, (u64)second_start, (u64)fn, 0) == ~0ul) {
	}
	while (!ready) {
	}
}
static void finish(void)
{
	stop = 1;
	while (ready != 2) {
	}
	while (sbi(HSM, 2, other, 0, 0, 0) != STOPPED) {
	}
}
static void leave(void)
{
	ready = 2;
	(void)sbi(HSM, 1, 0, 0, 0, 0);
}
static void pause_a_little(void)
{
	for (volatile int i = 0; i < 300; i++) {
	}
}

/* ---- code ---- */
static void run_code(void)
{
	u64 (*fn)(void) = (u64(*)(void))code;
	asm volatile("fence.i" ::: "memory");
	ready = 1;
	while (!stop) {
		u64 low = done, v = fn(), high = attempt;
		if (v < low || v > high) bad++;
		ran++;
	}
	leave();
}
static void code_changes(void)
{
	volatile u32 *c = code;
	c[0] = 0x513; /* li a0, 0 */
	c[1] = 0x8067;
	start(run_code);
	for (u32 k = 1; k < ROUNDS; k++) {
		attempt = k;
		__sync_synchronize();
		c[0] = k << 20 | 0x513;
		__sync_synchronize();
		remote_fence_i();
		done = k;
		pause_a_little();
	}
	finish();
	check("the other hart ran it", ran > ROUNDS);
	check_eq("remote fence.i: old or new, then new", bad, 0);
}

/* ---- pages: each says which change brought it ---- */
static void read_page(void)
{
	paging();
	ready = 1;
	while (!stop) {
		u64 low = done, v = REG64(VA), high = attempt;
		if (v < low || v > high) bad++;
		ran++;
	}
	leave();
}
static void map(u64 k, u64 bits)
{
	*(volatile u64 *)&tables[2][0] = (u64)(data + k % 8 * PAGE) >> 12 << 10 | bits;
	__sync_synchronize();
}
static void pages_change(void)
{
	REG64(data) = 0;
	map(0, RWAD);
	start(read_page);
	for (u64 k = 1; k < ROUNDS; k++) {
		REG64(data + k % 8 * PAGE) = k;
		attempt = k;
		__sync_synchronize();
		map(k, RWAD);
		remote_sfence();
		done = k;
		pause_a_little();
	}
	finish();
	check("the other hart read it", ran > ROUNDS);
	check_eq("remote sfence.vma: old or new, then new", bad, 0);
}

/* ---- rights: while stores are forbidden nothing changes ---- */
static void write_page(void)
{
	paging();
	ready = 1;
	for (u64 i = 0; !stop; i++) {
		asm volatile(INSN("sd %0, (%1)")::"r"(i), "r"(VA) : "memory");
		ran++;
	}
	leave();
}
static void rights_change(void)
{
	u64 changed = 0, stood = 0;
	map(0, RWAD);
	start(write_page);
	for (u64 k = 0; k < ROUNDS; k++) {
		map(0, RAD);
		remote_sfence();
		u64 v = REG64(data), faults = strap[other].count;
		while (strap[other].count < faults + 3) {
		}
		changed += REG64(data) != v;
		map(0, RWAD);
		remote_sfence();
		while (REG64(data) == v) {
		}
		stood++;
	}
	finish();
	check_eq("no store without the right", changed, 0);
	check_eq("and again with it", stood, ROUNDS);
}

int main(u64 id, u64 tree)
{
	(void)tree;
	me = id;
	other = !id;
	tables[0][0] = RWXAD; /* devices */
	tables[0][2] = 0x80000000ul >> 12 << 10 | RWXAD;
	tables[0][VA >> 30] = (u64)tables[1] >> 12 << 10 | V;
	tables[1][0] = (u64)tables[2] >> 12 << 10 | V;
	code_changes();
	pages_change();
	rights_change();
	return 0;
}
