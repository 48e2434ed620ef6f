/* Interrupts: CLINT, Sstc, PLIC through the UART, priorities, vectored tables, WFI. */
#include "rt.h"

extern char strap_entry[], mtrap_entry[];
static u8 s_stack[4096] __attribute__((aligned(16)));
static volatile u64 seen[16], nseen;

static void hook(u64 cause)
{
	if (nseen < 16) seen[nseen++] = cause & 63;
	csr_clear(mie, 1ul << (cause & 63));
}

static void begin(void)
{
	nseen = 0;
	trap_clear();
	csr_write(mie, 0);
	csr_clear(mstatus, MSTATUS_MIE | MSTATUS_SIE | MSTATUS_MPIE);
	MTIMECMP(0) = ~0ul;
	MSIP(0) = 0;
	csr_clear(mip, 0x222);
	mtrap[0].hook = hook;
}
static void window(void)
{
	csr_set(mstatus, MSTATUS_MIE);
	for (int i = 0; i < 200; i++) asm volatile("nop");
	csr_clear(mstatus, MSTATUS_MIE);
}

static void software(void)
{
	begin();
	MSIP(0) = 1;
	CHECK(csr_read(mip) & 8);
	csr_write(mie, 8);
	window();
	CHECK(nseen == 1 && seen[0] == 3 && mtrap[0].cause == (IRQ | 3));
	MSIP(0) = 0;
	for (int i = 0; i < 1000 && csr_read(mip) & 8; i++) {
	}
	CHECK(!(csr_read(mip) & 8));
	MSIP(0) = 0xfffffffe;
	CHECK(!(csr_read(mip) & 8) && MSIP(0) == 0);
}

static void timer(void)
{
	begin();
	MTIMECMP(0) = MTIME + 10000000000; /* a quarter of an hour */
	CHECK(!(csr_read(mip) & 0x80));
	u64 t = MTIME;
	MTIMECMP(0) = t + 20000; /* 2 ms */
	csr_write(mie, 0x80);
	asm volatile("wfi"); /* MIE is off: it only wakes */
	CHECK(csr_read(mip) & 0x80 && nseen == 0);
	CHECK(MTIME >= t + 20000);
	window();
	CHECK(nseen == 1 && seen[0] == 7);
	MTIMECMP(0) = ~0ul;
	for (int i = 0; i < 1000 && csr_read(mip) & 0x80; i++) {
	}
	CHECK(!(csr_read(mip) & 0x80));
	MTIMECMP(0) = 0;
	for (int i = 0; i < 100000 && !(csr_read(mip) & 0x80); i++) {
	}
	CHECK(csr_read(mip) & 0x80); /* the past fires at once */
	u64 a = csr_read(time), b = MTIME;
	CHECK(b >= a && b - a < 1000000000);
}

static void priorities(void)
{
	begin();
	MSIP(0) = 1;
	MTIMECMP(0) = 0;
	csr_set(mip, 0x222);
	for (int i = 0; i < 100000 && (csr_read(mip) & 0x2aa) != 0x2aa; i++) {
	}
	csr_write(mie, 0x2aa);
	window();
	check_eq("five interrupts", nseen, 5);
	static const u8 order[] = {3, 7, 9, 1, 5};
	for (int i = 0; i < 5; i++) check_eq("their order", seen[i], order[i]);
}

static void vectored(void)
{
	begin();
	csr_write(mtvec, (u64)mtrap_entry | 1);
	CHECK((csr_read(mtvec) & 3) == 1);
	trap_clear();
	asm volatile(INSN("ebreak")); /* exceptions go to the base all the same */
	CHECK(mtrap[0].count == 1 && mtrap[0].cause == BREAK);
	csr_write(mtvec, (u64)mtrap_entry);
}

extern char vectors[];
asm(".text\n.align 8\n.global vectors\n.option push\n.option norvc\nvectors:\n"
    "j mtrap_entry\nj mtrap_entry\nj mtrap_entry\nj vec3\n"
    "vec3: csrw mscratch, t0\nla t0, vec_hits\nsd t0, (t0)\ncsrr t0, mscratch\n"
    "csrw mscratch, zero\ncsrci mie, 8\nmret\n.option pop\n"
    ".data\n.align 3\n.global vec_hits\nvec_hits: .dword 0\n.text");
extern volatile u64 vec_hits;

static void vectored_table(void)
{
	begin();
	u64 scratch = csr_read(mscratch);
	csr_write(mtvec, (u64)vectors | 1);
	MSIP(0) = 1;
	csr_write(mie, 8);
	window();
	csr_write(mtvec, (u64)mtrap_entry);
	csr_write(mscratch, scratch);
	CHECK(vec_hits != 0 && nseen == 0);
	MSIP(0) = 0;
}

static u64 s_wait(u64 ticks)
{
	csr_write(stimecmp, csr_read(time) + ticks);
	csr_set(sie, 0x20);
	csr_set(sstatus, MSTATUS_SIE);
	for (u64 i = 0; i < 50000000 && !strap[0].count; i++) asm volatile("nop");
	csr_clear(sstatus, MSTATUS_SIE);
	return strap[0].cause;
}
static void sstc(void)
{
	begin();
	csr_set(menvcfg, IRQ);
	if (!(csr_read(menvcfg) >> 63)) {
		skip("Sstc", "not here");
		return;
	}
	csr_write(stimecmp, ~0ul);
	CHECK(!(csr_read(mip) & 0x20));
	csr_set(mip, 0x20);
	CHECK(!(csr_read(mip) & 0x20)); /* STIP is stimecmp's now */
	csr_write(mideleg, 0x222);
	check_eq("Sstc: S gets its timer", run_in(S, (u64)s_wait, 20000), IRQ | 5);
	CHECK(csr_read(sip) & 0x20);
	csr_write(stimecmp, ~0ul);
	for (int i = 0; i < 1000 && csr_read(mip) & 0x20; i++) {
	}
	CHECK(!(csr_read(sip) & 0x20));
	csr_write(mcounteren, 0);
	trap_clear();
	run_in(S, (u64)s_wait, 20000);
	CHECK(mtrap[0].count > 0 && mtrap[0].cause == ILLEGAL); /* TM off */
	csr_write(mcounteren, 7);
	csr_clear(menvcfg, IRQ);
	csr_write(mideleg, 0);
}

/* The UART is also what we print through, so nothing is printed while its interrupt is on. */
enum { UART_IRQ = 10 };
static int pending(u64 bit)
{
	for (int i = 0; i < 1000 && !(csr_read(mip) & bit); i++) {
	}
	return !!(csr_read(mip) & bit);
}
static void plic(u64 ctx, u64 bit)
{
	begin();
	REG8(UART + 1) = 0;
	for (int i = 1; i < 40; i++) PLIC_PRIORITY(i) = 0;
	PLIC_ENABLE(ctx, 0) = 0;
	PLIC_ENABLE(ctx, 32) = 0;
	while (PLIC_CLAIM(ctx)) {
	}
	PLIC_ENABLE(ctx, UART_IRQ) = 1 << UART_IRQ;
	PLIC_THRESHOLD(ctx) = 0;
	REG8(UART + 1) = 2; /* transmitter empty: it is */
	int priority0 = pending(bit);
	PLIC_PRIORITY(UART_IRQ) = 1;
	int offered = pending(bit);
	PLIC_THRESHOLD(ctx) = 1;
	int threshold = pending(bit);
	PLIC_THRESHOLD(ctx) = 0;
	csr_write(mie, bit);
	window();
	u64 claim = PLIC_CLAIM(ctx), again = PLIC_CLAIM(ctx);
	int claimed = pending(bit);
	PLIC_CLAIM(ctx) = UART_IRQ; /* the line is still up */
	int completed = pending(bit);
	u64 iir = REG8(UART + 2) & 15; /* tells the reason, and takes it back */
	u64 stale = PLIC_CLAIM(ctx);
	PLIC_CLAIM(ctx) = UART_IRQ;
	int quiet = pending(bit);
	REG8(UART + 1) = 0;
	check("PLIC: priority 0 is never", !priority0);
	check("PLIC: priority 1 is offered", offered);
	check("PLIC: threshold holds back", !threshold);
	check("PLIC: it interrupts", nseen == 1 && 1ul << seen[0] == bit);
	check_eq("PLIC: claim", claim, UART_IRQ);
	check_eq("PLIC: claim again", again, 0);
	check("PLIC: claimed, not offered", !claimed);
	check("PLIC: completed, but the line is up", completed);
	check_eq("UART: reason", iir, 2);
	check_eq("PLIC: claim of what was pending", stale, UART_IRQ);
	check("PLIC: completed, the line is down", !quiet);
	PLIC_PRIORITY(UART_IRQ) = ~0u;
	check_eq("PLIC: priorities have three bits", PLIC_PRIORITY(UART_IRQ), 7);
	PLIC_ENABLE(ctx, UART_IRQ) = 0;
	PLIC_PRIORITY(0) = 7;
	check_eq("PLIC: there is no source 0", PLIC_PRIORITY(0), 0);
}

int main(u64 id, u64 tree)
{
	(void)id, (void)tree;
	csr_write(pmpaddr0, ~0ul);
	csr_write(pmpcfg0, 0x1f);
	csr_write(mcounteren, 7);
	csr_write(stvec, (u64)strap_entry);
	csr_write(sscratch, (u64)s_stack + sizeof(s_stack));
	software();
	timer();
	priorities();
	vectored();
	vectored_table();
	sstc();
	plic(0, 0x800);
	plic(1, 0x200);
	return 0;
}
