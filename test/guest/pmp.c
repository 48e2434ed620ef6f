/* Physical memory protection: matching, priority, rights, locks, partial matches. Accesses go
 * through MPRV as S. */
#include "rt.h"

enum { R = 1, W = 2, X = 4, TOR = 8, NA4 = 16, NAPOT = 24, LOCK = 128 };
static u8 data[8192] __attribute__((aligned(8192)));
#define ALL(cfg) set(7, NAPOT | (cfg), ~0ul)

/* Eight entries are enough; entry i is byte i of pmpcfg0. */
static void set(int i, u64 cfg, u64 addr)
{
	u64 all = csr_read(pmpcfg0);
	switch (i) {
	case 0: csr_write(pmpaddr0, addr); break;
	case 1: csr_write(pmpaddr1, addr); break;
	case 2: csr_write(pmpaddr2, addr); break;
	default: csr_write(pmpaddr7, addr); break;
	}
	csr_write(pmpcfg0, (all & ~(0xfful << 8 * i)) | cfg << 8 * i);
	asm volatile("sfence.vma" ::: "memory");
}
static u64 napot(u64 base, u64 size) { return base >> 2 | (size / 8 - 1); }

static int faults(int write, u64 at, u64 len)
{
	trap_clear();
	csr_clear(mstatus, MSTATUS_MPP);
	u64 bits = MSTATUS_MPRV | 1ul << 11;
#define DO(insn)                                                                                   \
	asm volatile(INSN("csrs mstatus, %0\n" insn " t0, 0(%1)\ncsrc mstatus, %2")                \
		     :                                                                             \
		     : "r"(bits), "r"(at), "r"(MSTATUS_MPRV)                                       \
		     : "t0", "memory")
	if (write)
		len == 8 ? ({ DO("sd"); }) : ({ DO("sw"); });
	else
		len == 8 ? ({ DO("ld"); }) : ({ DO("lw"); });
	if (!mtrap[0].count) return 0;
	return mtrap[0].cause == (write ? STORE_ACCESS : LOAD_ACCESS) && mtrap[0].tval >= at &&
			       mtrap[0].tval < at + len
		       ? 1
		       : -1;
}
#define OPEN(w, at, len)   check(#w " " #at ": allowed", faults((w), (at), (len)) == 0)
#define CLOSED(w, at, len) check(#w " " #at ": access fault", faults((w), (at), (len)) == 1)
#define AT		   ((u64)data)

static u64 here(u64 arg) { return arg + 1; }

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	enum { load = 0, store = 1 };
	ALL(0);
	CLOSED(load, AT, 8);
	csr_write(pmpcfg0, 0);
	trap_clear();
	CLOSED(load, AT + 8, 8); /* entries, none matches: S has no rights */
	ALL(R | W | X);
	OPEN(load, AT, 8);
	OPEN(store, AT, 8);
	set(0, NAPOT | R, napot(AT, 4096));
	OPEN(load, AT + 4088, 8);
	CLOSED(store, AT + 4088, 8);
	OPEN(store, AT + 4096, 8);
	set(0, NAPOT | 0, napot(AT, 64));
	CLOSED(load, AT + 56, 8);
	OPEN(load, AT + 64, 8);
	set(0, NA4 | 0, AT >> 2);
	CLOSED(load, AT, 4);
	OPEN(load, AT + 4, 4);
	CLOSED(load, AT, 8); /* half of it matches: no */
	set(0, 0, AT >> 2);
	set(1, TOR | R, (AT + 256) >> 2);
	OPEN(load, AT + 248, 8);
	CLOSED(store, AT, 8);
	OPEN(store, AT + 256, 8);
	set(0, 0, (AT + 256) >> 2); /* TOR with nothing between */
	OPEN(store, AT, 8);
	set(1, 0, 0);
	set(0, NAPOT | R | W | X, napot(AT, 64));
	set(1, NAPOT | 0, napot(AT, 4096));
	OPEN(store, AT, 8); /* the lower number wins */
	CLOSED(store, AT + 64, 8);
	set(0, 0, 0);
	set(1, 0, 0);
	check_eq("X: S runs", run_in(S, (u64)here, 1), 2);
	ALL(R | W);
	check_eq("no X: S does not", run_in(S, (u64)here, 1), ~0ul);
	check_eq("its cause", mtrap[0].cause, FETCH_ACCESS);
	ALL(R | W | X);
	set(0, NAPOT | 0, napot(AT, 64));
	trap_clear();
	(void)*(volatile u64 *)AT;
	check_eq("unlocked: M is free", mtrap[0].count, 0);
	set(0, NAPOT | LOCK | R, napot(AT, 64));
	(void)*(volatile u64 *)AT;
	check_eq("locked: M reads", mtrap[0].count, 0);
	asm volatile(INSN("sd zero, 0(%0)")::"r"(AT) : "memory");
	CHECK(mtrap[0].count == 1 && mtrap[0].cause == STORE_ACCESS);
	set(0, 0, 0);
	check_eq("locked: address stays", csr_read(pmpaddr0), napot(AT, 64));
	check_eq("locked: config stays", csr_read(pmpcfg0) & 0xff, NAPOT | LOCK | R);
	return 0;
}
