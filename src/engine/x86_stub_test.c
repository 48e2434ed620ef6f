#include "base/test.h"
#include "engine/x86_direct.h"
#include "engine/x86_stub.h"
#include "hw/gmem.h"
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RAM = 1 << 20, CODE_AT = 0x400000, DATA_AT = 0x10000000, PAGE = 4096 };
struct rig {
	struct gmem *mem;
	struct x86_stub *s;
	struct user_regs_struct r;
	uint8_t x[X86_STUB_X];
	uint64_t at;
};
/* False, aloud: this host lets nobody have one (a tracer, a filter). */
static bool rig_make(struct rig *g)
{
	*g = (struct rig){.mem = gmem_new()};
	CHECK(!gmem_add(g->mem, 0, RAM, 0, NULL));
	g->s = x86_stub_new(g->mem);
	if (g->s && !x86_stub_have(g->s)) x86_stub_free(g->s), g->s = NULL;
	if (!g->s) {
		fprintf(stderr, "SKIPPED: this host has no place for direct execution\n");
		gmem_free(g->mem);
		return false;
	}
	CHECK(x86_stub_map(g->s, CODE_AT, PAGE, PROT_READ | PROT_EXEC, 0, 0));
	CHECK(x86_stub_map(g->s, DATA_AT, PAGE, PROT_READ | PROT_WRITE, 0, PAGE));
	CHECK(x86_stub_ready(g->s));
	g->r = (struct user_regs_struct){
		.cs = 0x33, .ss = 0x2b, .eflags = 0x202, .rsp = DATA_AT + 64};
	g->x[0] = 0x7f, g->x[1] = 3;	  /* FCW */
	g->x[24] = 0x80, g->x[25] = 0x1f; /* MXCSR */
	g->x[512] = 7;
	return true;
}
static void rig_free(struct rig *g)
{
	x86_stub_free(g->s);
	gmem_free(g->mem);
}
#define CODE(g, ...)                                                                               \
	do {                                                                                       \
		const uint8_t c_[] = {__VA_ARGS__};                                                \
		CHECK(gmem_write((g)->mem, 0, c_, sizeof(c_)));                                    \
		(g)->r.rip = CODE_AT;                                                              \
	} while (0)
static enum x86_stub_end run(struct rig *g) { return x86_stub_run(g->s, &g->r, g->x, &g->at); }

/* What code does, shows: registers, memory, vectors; a system call is none of the host's. */
TEST(x86_stub_runs_code)
{
	struct rig g;
	uint64_t said;
	if (!rig_make(&g)) return;
	/* inc rax; mov [rsp], rax; movq xmm3, rax; mov eax, 39; syscall */
	CODE(&g, 0x48, 0xff, 0xc0, 0x48, 0x89, 0x04, 0x24, 0x66, 0x48, 0x0f, 0x6e, 0xd8, 0xb8, 39,
	     0, 0, 0, 0x0f, 0x05);
	g.r.rax = 0x1122334455667787;
	CHECK(run(&g) == X86_STUB_CALL);
	CHECK(g.r.orig_rax == SYS_getpid && g.r.rip == CODE_AT + 19 && g.r.rcx == g.r.rip);
	CHECK(gmem_read(g.mem, PAGE + 64, &said, 8) && said == 0x1122334455667788);
	memcpy(&said, g.x + 160 + 3 * 16, 8);
	CHECK(said == 0x1122334455667788);
	rig_free(&g);
}
/* Upper halves that hold nothing are none that were written: SSE code would wait for them. */
TEST(x86_stub_leaves_upper_halves_alone)
{
	enum { AVX = 4, HIGH_AT = 576, TELLS_USE = 4 };
	unsigned a = 0, b, c, d;
	struct rig g;
	if (!__get_cpuid_count(0xd, 1, &a, &b, &c, &d) || !(a & TELLS_USE) || !rig_make(&g)) return;
	for (unsigned k = 0; k < 4; k++) {
		g.x[HIGH_AT + 7] = k & 1;
		g.x[160] = (uint8_t)k;
		CODE(&g, 0xb9, 1, 0, 0, 0, 0x0f, 0x01, 0xd0, 0xcc); /* mov ecx, 1; xgetbv; int3 */
		CHECK(run(&g) == X86_STUB_INT3 && !(g.r.rax & AVX) == !(k & 1));
		CHECK(g.x[HIGH_AT + 7] == (k & 1) && g.x[160] == k);
	}
	rig_free(&g);
}
/* It and its thread are on one CPU, until that is released; what others set meanwhile stays. */
TEST(x86_stub_holds_its_thread)
{
	cpu_set_t before, during, its, after;
	struct rig g;
	if (!rig_make(&g)) return;
	x86_stub_release(0);
	CHECK(!sched_getaffinity(0, sizeof(before), &before));
	CODE(&g, 0xcc);
	CHECK(run(&g) == X86_STUB_INT3);
	CHECK(!sched_getaffinity(0, sizeof(during), &during) && CPU_COUNT(&during) == 1);
	CHECK(!sched_getaffinity(x86_stub_pid(g.s), sizeof(its), &its) && CPU_EQUAL(&its, &during));
	x86_stub_release(~0ull);
	CHECK(!sched_getaffinity(0, sizeof(after), &after) && CPU_EQUAL(&after, &during));
	x86_stub_release(0);
	CHECK(!sched_getaffinity(0, sizeof(after), &after) && CPU_EQUAL(&after, &before));
	CODE(&g, 0xcc);
	CHECK(run(&g) == X86_STUB_INT3);
	CHECK(!sched_setaffinity(0, sizeof(before), &before));
	x86_stub_release(0);
	CHECK(!sched_getaffinity(0, sizeof(after), &after) && CPU_EQUAL(&after, &before));
	rig_free(&g);
}
TEST(x86_stub_stops)
{
	struct rig g;
	if (!rig_make(&g)) return;
	CODE(&g, 0x88, 0x04, 0x25, 0, 0, 0, 0x20); /* mov [0x20000000], al */
	CHECK(run(&g) == X86_STUB_FAULT && g.at == 0x20000000 && g.r.rip == CODE_AT);
	CODE(&g, 0x88, 0x04, 0x25, 0, 0, 0x40, 0); /* its own code */
	CHECK(run(&g) == X86_STUB_FAULT && g.at == CODE_AT);
	CODE(&g, 0x0f, 0x0b); /* ud2 */
	CHECK(run(&g) == X86_STUB_TRAP && g.r.rip == CODE_AT);
	CODE(&g, 0xf4); /* hlt */
	CHECK(run(&g) == X86_STUB_TRAP && g.r.rip == CODE_AT);
	CODE(&g, 0x0f, 0x31); /* rdtsc */
	CHECK(run(&g) == X86_STUB_TRAP && g.r.rip == CODE_AT);
	CODE(&g, 0x31, 0xc9, 0xf7, 0xf1); /* xor ecx, ecx; div ecx */
	CHECK(run(&g) == X86_STUB_TRAP && g.r.rip == CODE_AT + 2);
	CODE(&g, 0xcc);
	CHECK(run(&g) == X86_STUB_INT3 && g.r.rip == CODE_AT + 1);
	CODE(&g, 0xcd, 4); /* int $4 */
	CHECK(run(&g) == X86_STUB_OVERFLOW && g.r.rip == CODE_AT + 2);
	CODE(&g, 0xb8, 0, 0, 0xcd, 4, 0x0f, 0x31); /* mov eax, 0x4cd0000; rdtsc */
	CHECK(run(&g) == X86_STUB_TRAP && g.r.rip == CODE_AT + 5);
	CODE(&g, 0xb8, 0, 0, 0xcd, 4, 0xf4); /* and hlt */
	CHECK(run(&g) == X86_STUB_TRAP && g.r.rip == CODE_AT + 5);
	/* pushf; or byte [rsp + 1], 1; popf; nop: TF */
	CODE(&g, 0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x90, 0x90);
	CHECK(run(&g) == X86_STUB_STEP && g.r.rip == CODE_AT + 8);
	g.r.eflags = 0x202;
	CHECK(x86_stub_hide(g.s, DATA_AT, PAGE) && x86_stub_ready(g.s));
	CODE(&g, 0x50); /* push rax */
	CHECK(run(&g) == X86_STUB_FAULT && g.at == DATA_AT + 56);
	rig_free(&g);
}
/* A guest's program that steps itself: what is to be mapped next is, all of it. */
TEST(x86_stub_takes_orders_while_it_steps)
{
	enum { PAGES = 8 };
	struct rig g;
	if (!rig_make(&g)) return;
	CODE(&g, 0x90, 0x90);
	g.r.eflags = 0x302; /* TF */
	CHECK(run(&g) == X86_STUB_STEP && g.r.rip == CODE_AT + 1);
	for (uint64_t k = 1; k <= PAGES; k++) /* every other one, so that each is an order */
		CHECK(x86_stub_map(g.s, DATA_AT + 2 * k * PAGE, PAGE, PROT_READ | PROT_WRITE, 0,
				   PAGE * (k + 1)));
	CHECK(x86_stub_ready(g.s));
	for (uint64_t k = 1; k <= PAGES; k++) {
		CODE(&g, 0x88, 0x03, 0xcc); /* mov [rbx], al; int3 */
		g.r.eflags = 0x202;
		g.r.rbx = DATA_AT + 2 * k * PAGE;
		CHECK(run(&g) == X86_STUB_INT3);
	}
	rig_free(&g);
}
/* Where guest memory lies, and where other programs' does, is not for the guest's to know. */
TEST(x86_stub_shows_no_orders)
{
	struct rig g;
	if (!rig_make(&g)) return;
	for (uint64_t at = 0; at < 511 * 64; at += 8) {
		CODE(&g, 0x48, 0x8b, 0x03, 0xcc); /* mov rax, [rbx]; int3 */
		g.r.rbx = X86_STUB_AT + PAGE + at;
		g.r.rax = 1;
		CHECK(run(&g) == X86_STUB_INT3 && !g.r.rax);
		if (at == 1024) at = 510 * 64;
	}
	rig_free(&g);
}
/* By a far return to 32-bit code, of which every Linux has a segment; orders are done from there.
 */
TEST(x86_stub_stops_in_32_bit_code)
{
	struct rig g;
	if (!rig_make(&g)) return;
	for (unsigned k = 0; k < 2; k++) { /* ud2, int $0x80 */
		/* push 0x23; push CODE_AT + 9; lretq; nop; mov eax, 20 */
		CODE(&g, 0x6a, 0x23, 0x68, 10, 0, 0x40, 0, 0x48, 0xcb, 0x90, 0xb8, 20, 0, 0, 0,
		     k ? 0xcd : 0x0f, k ? 0x80 : 0x0b);
		g.r.cs = 0x33, g.r.rsp = DATA_AT + 64, g.r.r15 = 0x1500000015;
		enum x86_stub_end why = run(&g);
		CHECK(why == (k ? X86_STUB_CALL : X86_STUB_TRAP));
		CHECK(g.r.cs == 0x23 && (uint32_t)(k ? g.r.orig_rax : g.r.rax) == 20);
		CHECK(g.r.rip == CODE_AT + 15 + 2 * k && (uint32_t)g.r.rsp == DATA_AT + 64);
		CHECK(x86_stub_map(g.s, 0x500000, PAGE, PROT_READ, 0, PAGE * k));
		CHECK(x86_stub_ready(g.s));
	}
	CODE(&g, 0x8b, 0x04, 0x25, 64, 0, 0x50, 0, 0xcc); /* mov eax, [0x500040]; int3 */
	CHECK(gmem_write(g.mem, PAGE + 64, &(uint32_t){77}, 4));
	g.r.cs = 0x33;
	CHECK(run(&g) == X86_STUB_INT3 && g.r.rax == 77 && g.r.r15 == 0x1500000015);
	rig_free(&g);
}
/* ptrace does not set EFLAGS.ID. */
TEST(x86_stub_has_all_flags)
{
	struct rig g;
	if (!rig_make(&g)) return;
	for (unsigned k = 0; k < 4; k++) {
		uint64_t id = (uint64_t)(k & 1) << 21;
		CODE(&g, 0x9c, 0x58, 0xcc); /* pushf; pop rax; int3 */
		g.r.eflags = 0x202 | id;
		CHECK(run(&g) == X86_STUB_INT3 && (g.r.rax & 1 << 21) == id);
	}
	rig_free(&g);
}
/* The page at the end of all addresses: a call there is as if it had not been done. */
TEST(x86_stub_has_no_vsyscall)
{
	struct rig g;
	if (!rig_make(&g)) return;
	/* mov rbx, 0xffffffffff600000; call rbx */
	CODE(&g, 0x48, 0xc7, 0xc3, 0, 0, 0x60, 0xff, 0xff, 0xd3);
	uint64_t sp = g.r.rsp;
	enum x86_stub_end why = run(&g);
	CHECK(why == X86_STUB_TRAP || why == X86_STUB_FAULT);
	CHECK(g.r.rip == 0xffffffffff600000 && g.r.rsp == sp - 8);
	rig_free(&g);
}
/* Code of a hostile guest finds the stub's own: it gets nothing by it. */
TEST(x86_stub_is_not_lent)
{
	struct rig g;
	if (!rig_make(&g)) return;
	for (unsigned at = 0; at < 160; at++) {
		CODE(&g, 0xcc);
		g.r.rip = X86_STUB_AT + 176 + at; /* into its file's header, into its code */
		g.r.rax = SYS_mmap, g.r.rdi = DATA_AT + PAGE, g.r.rsi = PAGE, g.r.rdx = 7;
		g.r.r10 = MAP_SHARED | MAP_FIXED, g.r.r8 = 0, g.r.r9 = 2 * PAGE;
		g.r.rbx = X86_STUB_AT + PAGE, g.r.r12 = 1, g.r.rsp = DATA_AT + 256;
		g.r.eflags = 0x202;
		CHECK(run(&g) != X86_STUB_GONE);
	}
	g.r.rsp = DATA_AT + 64;
	CODE(&g, 0x88, 0x04, 0x25, 0, 0x10, 0, 0x10); /* mov [DATA_AT + PAGE], al */
	CHECK(run(&g) == X86_STUB_FAULT && g.at == DATA_AT + PAGE);
	/* nor can it write what is to be done next */
	CODE(&g, 0x88, 0x03); /* mov [rbx], al */
	g.r.rbx = X86_STUB_AT + PAGE;
	CHECK(run(&g) == X86_STUB_FAULT && g.at == X86_STUB_AT + PAGE);
	rig_free(&g);
}
static void *poker(void *p)
{
	for (unsigned k = 0; k < 20; k++) {
		(void)usleep(2000);
		x86_stub_poke(x86_stub_pid(p));
	}
	return NULL;
}
TEST(x86_stub_is_poked)
{
	struct rig g;
	pthread_t t;
	if (!rig_make(&g)) return;
	CODE(&g, 0xeb, 0xfe); /* jmp $ */
	CHECK(!pthread_create(&t, NULL, poker, g.s));
	CHECK(run(&g) == X86_STUB_POKED && g.r.rip == CODE_AT);
	CHECK(!pthread_join(t, NULL));
	/* What others send is not for it, but for one. */
	CHECK(!kill(x86_stub_pid(g.s), SIGTERM) && !kill(x86_stub_pid(g.s), SIGSEGV));
	CODE(&g, 0x0f, 0x05);
	enum x86_stub_end why = run(&g);
	CHECK(why == X86_STUB_POKED || why == X86_STUB_CALL);
	rig_free(&g);
}
static void *killer(void *p)
{
	(void)usleep(20000);
	(void)kill(x86_stub_pid(p), SIGKILL);
	return NULL;
}
/* By somebody else, in the middle of its work: nothing is lost but the stub. */
TEST(x86_stub_leaves_its_registers)
{
	struct rig g;
	pthread_t t;
	if (!rig_make(&g)) return;
	CODE(&g, 0x66, 0x48, 0x0f, 0x6e, 0xd8, 0x48, 0xff, 0xc0, 0xeb,
	     0xfb); /* movq xmm3, rax; inc rax; jmp back */
	g.r.rax = 1ull << 62;
	CHECK(!pthread_create(&t, NULL, killer, g.s));
	CHECK(run(&g) == X86_STUB_POKED);
	CHECK(!pthread_join(t, NULL));
	CHECK(g.r.rax > 1ull << 62 && g.r.rip - CODE_AT <= 8 && g.r.rsp == DATA_AT + 64);
	CHECK(g.x[160 + 3 * 16 + 7] == 0x40);
	CHECK(!x86_stub_ready(g.s) && run(&g) == X86_STUB_REFUSED);
	rig_free(&g);
	/* while it does not run */
	if (!rig_make(&g)) return;
	CHECK(!kill(x86_stub_pid(g.s), SIGKILL));
	CODE(&g, 0x0f, 0x05);
	enum x86_stub_end why = run(&g);
	CHECK(why == X86_STUB_REFUSED || (why == X86_STUB_POKED && g.r.rip == CODE_AT));
	CHECK(!x86_stub_map(g.s, 0x500000, PAGE, PROT_READ, 0, 0) || !x86_stub_ready(g.s));
	rig_free(&g);
}
TEST(x86_direct_knows_what_tells)
{
	static const struct {
		uint8_t code[5];
		bool plain;
	} is[] = {
		{{0x0f, 0xa2}, false},		   /* cpuid */
		{{0x0f, 0x01, 0xd0}, false},	   /* xgetbv */
		{{0x0f, 0x34}, false},		   /* sysenter */
		{{0x0f, 0x03, 0xc1}, false},	   /* lsl eax, ecx */
		{{0x0f, 0xc7, 0x24, 0x24}, false}, /* xsavec [rsp] */
		{{0x0f, 0xae, 0x2c, 0x24}, false}, /* xrstor [rsp] */
		{{0xf3, 0x0f, 0xc7, 0xf8}, false}, /* rdpid rax */
		{{0xf3, 0x48, 0x0f, 0xc7, 0xf8}, false},
		{{0x0f, 0xc7, 0xf8}, true},	  /* rdseed eax */
		{{0x0f, 0xae, 0xf0}, true},	  /* mfence */
		{{0x0f, 0xae, 0x04, 0x24}, true}, /* fxsave [rsp] */
		{{0x0f, 0x31}, true},		  /* rdtsc: it faults */
		{{0x0f, 0x05}, true},		  /* syscall */
		{{0x0f, 0xaf, 0xc1}, true},
	};
	static uint8_t page[PAGE];
	for (unsigned k = 0; k < COUNT(is); k++)
		for (unsigned at = 8; at <= PAGE - 8; at += 517) {
			memset(page, 0x90, sizeof(page));
			memcpy(page + at, is[k].code, sizeof(is[k].code));
			uint16_t spot[2] = {0};
			unsigned n = x86_code_spots(page, spot, COUNT(spot));
			CHECK(is[k].plain ? n == 0
					  : n && spot[0] == at + (is[k].code[0] != 0x0f) * (n - 1));
		}
}
/* Whatever may stand before one is another place to begin at; more than there is room for are
 * counted. */
TEST(x86_code_spots_have_prefixes)
{
	static uint8_t page[PAGE];
	uint16_t spot[4] = {0};
	memset(page, 0x90, sizeof(page));
	memcpy(page, (uint8_t[]){0x66, 0x48, 0x0f, 0xa2}, 4);
	CHECK(x86_code_spots(page, spot, 4) > PAGE); /* or in the page before */
	memset(page, 0x90, 4);
	memcpy(page + 1, (uint8_t[]){0x66, 0x48, 0x0f, 0xa2}, 4);
	CHECK(x86_code_spots(page, spot, 4) == 3 && spot[0] == 3 && spot[1] == 2 && spot[2] == 1);
	for (unsigned k = 0; k < 8; k++) memcpy(page + 100 + 4 * k, (uint8_t[]){0, 0x0f, 0xa2}, 3);
	CHECK(x86_code_spots(page, spot, 4) == 11 && spot[3] == 101);
}
TEST(x86_stub_breaks)
{
	struct rig g;
	if (!rig_make(&g)) return;
	CODE(&g, 0x90, 0x0f, 0xa2, 0x90, 0x0f, 0xa2, 0x0f,
	     0x05); /* nop; cpuid; nop; cpuid; syscall */
	x86_stub_break(g.s, 0, CODE_AT + 1);
	x86_stub_break(g.s, 3, CODE_AT + 4);
	g.r.rax = 0x1234;
	CHECK(run(&g) == X86_STUB_BREAK && g.r.rip == CODE_AT + 1 && g.r.rax == 0x1234);
	g.r.rip += 2;
	CHECK(run(&g) == X86_STUB_BREAK && g.r.rip == CODE_AT + 4 && g.r.rax == 0x1234);
	g.r.rip = CODE_AT;
	x86_stub_break(g.s, 0, 0);
	x86_stub_break(g.s, 3, CODE_AT + 6);
	CHECK(run(&g) == X86_STUB_BREAK && g.r.rip == CODE_AT + 6 && g.r.rax != 0x1234);
	x86_stub_break(g.s, 3, 0);
	CHECK(run(&g) == X86_STUB_CALL);
	rig_free(&g);
}
/* Across two pages, and up to the end of the first. */
TEST(x86_direct_knows_what_tells_at_borders)
{
	static const struct {
		uint8_t code[4], n;
	} is[] = {
		{{0x0f, 0xa2}, 2},	       /* cpuid */
		{{0x0f, 0x01, 0xd0}, 3},       /* xgetbv */
		{{0x0f, 0xc7, 0x24, 0x24}, 3}, /* xsavec [rsp] */
		{{0xf3, 0x0f, 0xc7, 0xf8}, 4}, /* rdpid rax */
	};
	static uint8_t page[2 * PAGE];
	for (unsigned k = 0; k < COUNT(is); k++)
		for (unsigned in = 1; in <= is[k].n; in++) { /* bytes in the first page */
			memset(page, 0x90, sizeof(page));
			memcpy(page + PAGE - in, is[k].code, is[k].n);
			bool whole = in == is[k].n;
			unsigned here = x86_code_spots(page, NULL, 0);
			unsigned there = x86_code_spots(page + PAGE, NULL, 0);
			bool joins = x86_code_joins_plainly(page, page + PAGE);
			CHECK(whole ? here && !there && joins : there > PAGE || !joins);
		}
	memset(page, 0x90, sizeof(page));
	CHECK(x86_code_joins_plainly(page, page + PAGE));
}
