/* A kernel's view of the SBI below it, on two harts. Runs in S-mode. */
#include "rt.h"

struct ret {
	long error;
	u64 value;
};
static struct ret sbi(u64 ext, u64 fn, u64 b0, u64 b1, u64 b2, u64 b3, u64 b4)
{
	register u64 a0 asm("a0") = b0, a1 asm("a1") = b1, a2 asm("a2") = b2, a3 asm("a3") = b3;
	register u64 a4 asm("a4") = b4, a6 asm("a6") = fn, a7 asm("a7") = ext;
	asm volatile("ecall"
		     : "+r"(a0), "+r"(a1)
		     : "r"(a2), "r"(a3), "r"(a4), "r"(a6), "r"(a7)
		     : "memory");
	return (struct ret){(long)a0, a1};
}
#define CALL(ext, fn, a, b, c, d, e)  sbi(ext, fn, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e))
#define ERROR(ext, fn, a, b, c, d, e) ((u64)CALL(ext, fn, a, b, c, d, e).error)
enum { BASE = 0x10, TIME = 0x54494d45, IPI = 0x735049, RFENCE = 0x52464e43, HSM = 0x48534d };
enum { SRST = 0x53525354, DBCN = 0x4442434e };
enum { START, STOP, STATUS, SUSPEND };
enum { STARTED, STOPPED };
#define NOT_SUPPORTED	((u64)-2)
#define INVALID_PARAM	((u64)-3)
#define INVALID_ADDRESS ((u64)-5)
#define ALREADY		((u64)-6)
#define SOON		200000000
#define AWAIT(x)                                                                                   \
	do                                                                                         \
		for (u64 i_ = 0; i_ < SOON && !(x); i_++) {                                        \
		}                                                                                  \
	while (0)

static u64 me, other;
static volatile u64 step, value, reached;

static void base(void)
{
	CHECK(CALL(BASE, 0, 0, 0, 0, 0, 0).value >= 1 << 24);
	static const u64 all[] = {BASE, TIME, IPI, RFENCE, HSM, SRST};
	for (unsigned i = 0; i < 6; i++) CHECK(CALL(BASE, 3, all[i], 0, 0, 0, 0).value != 0);
	check_eq("probe of nothing", CALL(BASE, 3, 0x12345678, 0, 0, 0, 0).value, 0);
	check_eq("no such extension", ERROR(0x12345678, 0, 0, 0, 0, 0, 0), NOT_SUPPORTED);
	check_eq("no such function", ERROR(BASE, 99, 0, 0, 0, 0, 0), NOT_SUPPORTED);
	register u64 s11 asm("s11") = 0x1234;
	asm volatile("" : "+r"(s11));
	CALL(BASE, 0, 0, 0, 0, 0, 0);
	asm volatile("" : "+r"(s11));
	check_eq("registers are kept", s11, 0x1234);
}

static void timer(void)
{
	u64 t = csr_read(time);
	check_eq("set_timer", ERROR(TIME, 0, t + 50000, 0, 0, 0, 0), 0);
	csr_set(sie, 0x20);
	while (!(csr_read(sip) & 0x20)) asm volatile("wfi");
	CHECK(csr_read(time) >= t + 50000);
	csr_set(sstatus, MSTATUS_SIE);
	AWAIT(strap[me].count);
	csr_clear(sstatus, MSTATUS_SIE);
	check_eq("timer interrupt", strap[me].cause, IRQ | 5);
	CALL(TIME, 0, ~0ul, 0, 0, 0, 0);
	AWAIT(!(csr_read(sip) & 0x20));
	check_eq("a far timer takes it back", csr_read(sip) & 0x20, 0);
	csr_clear(sie, 0x20);
}

static void ipi(void)
{
	check_eq("IPI to myself", ERROR(IPI, 0, 1, me, 0, 0, 0), 0);
	AWAIT(csr_read(sip) & 2);
	check_eq("IPI is pending", csr_read(sip) & 2, 2);
	csr_clear(sip, 2);
	check_eq("IPI is taken back", csr_read(sip) & 2, 0);
	check_eq("IPI to nobody", ERROR(IPI, 0, 0, 0, 0, 0, 0), 0);
	check_eq("IPI to who is not there", ERROR(IPI, 0, 1, 63, 0, 0, 0), INVALID_PARAM);
	check_eq("IPI to all", ERROR(IPI, 0, 0, -1, 0, 0, 0), 0);
	AWAIT(csr_read(sip) & 2);
	check_eq("IPI to all reaches me", csr_read(sip) & 2, 2);
	csr_clear(sip, 2);
}

static void once(u64 id)
{
	reached = id + 100;
	value = csr_read(satp) | (csr_read(sstatus) & MSTATUS_SIE);
	CALL(HSM, STOP, 0, 0, 0, 0, 0);
	reached = 0xbad;
}
static u64 status(u64 h) { return CALL(HSM, STATUS, h, 0, 0, 0, 0).value; }

static void hsm(void)
{
	check_eq("I am started", status(me), STARTED);
	check_eq("the other is stopped", status(other), STOPPED);
	check_eq("status of nobody", ERROR(HSM, STATUS, 77, 0, 0, 0, 0), INVALID_PARAM);
	check_eq("start of nobody", ERROR(HSM, START, 77, second_start, 0, 0, 0), INVALID_PARAM);
	check_eq("start of myself", ERROR(HSM, START, me, second_start, 0, 0, 0), ALREADY);
	check_eq("start in a device", ERROR(HSM, START, other, 0x2000000, 0, 0, 0),
		 INVALID_ADDRESS);
	for (int i = 0; i < 3; i++) {
		reached = 0;
		check_eq("start", ERROR(HSM, START, other, second_start, once, 0, 0), 0);
		AWAIT(reached);
		check_eq("it runs, with its number", reached, other + 100);
		AWAIT(status(other) == STOPPED);
		check_eq("it stopped itself", status(other), STOPPED);
		check_eq("it began with nothing on", value, 0);
	}
	check_eq("and did not come back", reached, other + 100);
}

static void resumed(u64 id)
{
	reached = id + 200;
	CALL(HSM, STOP, 0, 0, 0, 0, 0);
}
static void sleeper(u64 id)
{
	reached = id + 100;
	csr_set(sie, 2);
	CALL(HSM, SUSPEND, 0x80000000, second_start, resumed, 0, 0);
	reached = 0xbad;
}

static void suspend(void)
{
	check_eq("suspend: reserved type", ERROR(HSM, SUSPEND, 5, 0, 0, 0, 0), INVALID_PARAM);
	u64 t = csr_read(time);
	CALL(TIME, 0, t + 50000, 0, 0, 0, 0);
	csr_set(sie, 0x20);
	check_eq("suspend, keeping state", ERROR(HSM, SUSPEND, 0, 0, 0, 0, 0), 0);
	AWAIT(csr_read(time) >= t + 50000);
	CALL(TIME, 0, ~0ul, 0, 0, 0, 0);
	csr_clear(sie, 0x20);
	reached = 0;
	CALL(HSM, START, other, second_start, sleeper, 0, 0);
	AWAIT(reached);
	for (volatile int i = 0; i < 100000; i++) {
	}
	CALL(IPI, 0, 1, other, 0, 0, 0);
	AWAIT(reached == other + 200);
	check_eq("suspend, losing state, resumes where it was told", reached, other + 200);
	AWAIT(status(other) == STOPPED);
}

static u64 tables[3][512] __attribute__((aligned(4096)));
static volatile u64 pages[2][512] __attribute__((aligned(4096)));
static volatile u32 code[2] __attribute__((aligned(8)));
enum { VA = 0x40000000 };

static void reader(u64 id)
{
	(void)id;
	tables[0][2] = 2ul << 28 | 0xcf; /* memory as it is */
	tables[0][0] = 0xcf;		 /* devices */
	csr_write(satp, 8ul << 60 | (u64)tables[0] >> 12);
	asm volatile("sfence.vma");
	for (u64 next = 1; next <= 4; next++) {
		while (step != next) {
		}
		value = *(volatile u64 *)VA;
		reached = next;
	}
	while (step != 5) {
	}
	value = ((u64(*)(void))code)();
	reached = 5;
	while (step != 6) {
	}
	value = ((u64(*)(void))code)();
	reached = 6;
	CALL(HSM, STOP, 0, 0, 0, 0, 0);
}
static u64 let(u64 n)
{
	value = 0;
	__sync_synchronize();
	step = n;
	AWAIT(reached == n);
	return value;
}
static void point(unsigned page)
{
	tables[2][0] = (u64)pages[page] >> 12 << 10 | 0xc7;
	__sync_synchronize();
}

static void rfence(void)
{
	pages[0][0] = 1000;
	pages[1][0] = 1001;
	tables[0][1] = (u64)tables[1] >> 12 << 10 | 1;
	tables[1][0] = (u64)tables[2] >> 12 << 10 | 1;
	point(0);
	step = reached = 0;
	CALL(HSM, START, other, second_start, reader, 0, 0);
	check_eq("the other reads through its tables", let(1), 1000);
	point(1);
	check_eq("remote sfence.vma", ERROR(RFENCE, 1, 1, other, VA, 4096, 0), 0);
	check_eq("the other sees the new page", let(2), 1001);
	point(0);
	check_eq("remote sfence.vma of an ASID", ERROR(RFENCE, 2, 1, other, VA, 4096, 0), 0);
	check_eq("the other sees the old page again", let(3), 1000);
	point(1);
	check_eq("remote sfence.vma of all", ERROR(RFENCE, 1, 0, -1, 0, 0, 0), 0);
	check_eq("the other sees the new page again", let(4), 1001);
	code[0] = 0x00100513; /* li a0, 1; ret */
	code[1] = 0x00008067;
	CALL(RFENCE, 0, 1, other, 0, 0, 0);
	check_eq("the other runs code", let(5), 1);
	code[0] = 0x02a00513;
	check_eq("remote fence.i", ERROR(RFENCE, 0, 1, other, 0, 0, 0), 0);
	check_eq("the other runs the new code", let(6), 42);
	check_eq("fence of nobody", ERROR(RFENCE, 0, 1, 63, 0, 0, 0), INVALID_PARAM);
	AWAIT(status(other) == STOPPED);
}

static void console(void)
{
	static const char text[] = "PASS debug console writes\n";
	if (!CALL(BASE, 3, DBCN, 0, 0, 0, 0).value) {
		skip("DBCN", "not here");
		return;
	}
	check_eq("DBCN: write", CALL(DBCN, 0, sizeof(text) - 1, text, 0, 0, 0).value,
		 sizeof(text) - 1);
	check_eq("DBCN: nothing", ERROR(DBCN, 0, 0, text, 0, 0, 0), 0);
	check_eq("DBCN: no memory there", ERROR(DBCN, 0, 8, 0x1000000, 0, 0, 0), INVALID_PARAM);
	check_eq("DBCN: beyond memory", ERROR(DBCN, 0, ~0ul, text, 0, 0, 0), INVALID_PARAM);
	check_eq("DBCN: a high half", ERROR(DBCN, 0, 8, text, 1, 0, 0), INVALID_PARAM);
	check_eq("DBCN: read", ERROR(DBCN, 1, 8, pages, 0, 0, 0), 0);
	check_eq("DBCN: read to nowhere", ERROR(DBCN, 1, 8, 0x1000000, 0, 0, 0), INVALID_PARAM);
	check_eq("DBCN: a byte", ERROR(DBCN, 2, '\n', 0, 0, 0, 0), 0);
}

int main(u64 id, u64 tree)
{
	me = id;
	other = 1 - id;
	CHECK(REG32(tree) == 0xedfe0dd0);
	base();
	timer();
	ipi();
	hsm();
	suspend();
	rfence();
	console();
	check_eq("reset: no such type", ERROR(SRST, 0, 7, 0, 0, 0, 0), INVALID_PARAM);
	if (failed()) return 0;
	put("done\n");
	while (!(REG8(UART + 5) & 0x40)) {
	}
	CALL(SRST, 0, 0, 0, 0, 0, 0);
	put("FAIL it is still on\n");
	return 0;
}
