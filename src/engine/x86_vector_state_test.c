/* What the comparison with the host cannot show: in which state of the CPU an instruction is
 * refused, the formats that the state is saved in, the way of the registers to translated code. */
#include "base/test.h"
#include "engine/x86_vector_impl.h"
#include "isa/x86/random_test.h"
#include <cpuid.h>
#include <stdlib.h>
#ifdef __x86_64__

static struct {
	_Alignas(64) uint8_t ram[4096]; /* at linear address 0x10000 */
	uint64_t from;			/* faults from here on */
	struct x86_vcpu *v;
} lab;
enum { RAM = 0x10000 };

static int look(uint64_t la, unsigned n)
{
	bool good = la >= RAM && la + n <= RAM + sizeof lab.ram && la + n <= lab.from;
	return good ? 0 : X86_TRAP_PF;
}
static int do_load(struct x86_vcpu *v, uint64_t la, void *to, unsigned n, enum x86_view as)
{
	(void)as;
	int e = look(la, n);
	if (e) return x86_raise(v, X86_TRAP_PF, 0);
	memcpy(to, lab.ram + (la - RAM), n);
	return 0;
}
static int do_store(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n, enum x86_view as)
{
	(void)as;
	int e = look(la, n);
	if (e) return x86_raise(v, X86_TRAP_PF, 0);
	memcpy(lab.ram + (la - RAM), from, n);
	return 0;
}
static int do_probe(struct x86_vcpu *v, uint64_t la, unsigned n, unsigned access, enum x86_view as)
{
	(void)v;
	(void)as;
	(void)access;
	return look(la, n);
}
static void fill(void *to, size_t n)
{
	for (size_t i = 0; i < n; i++) ((uint8_t *)to)[i] = (uint8_t)next();
}
static void open_lab(void)
{
	struct x86_vcpu *v = aligned_alloc(64, (sizeof *v + 63) / 64 * 64);
	if (!v) abort();
	memset(v, 0, sizeof *v);
	seed = 1;
	v->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_PG;
	v->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	v->xcr0 = X86_XCR0;
	v->mode = X86_64;
	v->long_mode = true;
	v->cpu.flags = 2;
	for (unsigned i = 0; i < 6; i++)
		v->seg[i] = (struct x86_segreg){.limit = UINT32_MAX,
						.access = SEG_P | SEG_S | SEG_RW | SEG_A | SEG_G |
							  SEG_DB};
	x86_vector_reset(v, false);
	v->cpu.r[0] = RAM;
	lab.v = v;
	lab.from = UINT64_MAX;
	memset(lab.ram, 0, sizeof lab.ram);
	x86_vector_memory = (struct x86_vector_memory){do_load, do_store, do_probe};
}
static void close_lab(void)
{
	x86_vector_memory = (struct x86_vector_memory){x86_load, x86_store, x86_probe};
	free(lab.v);
}
/* One instruction; 0 or its trap. rip has moved if it is done, and only then. */
static int run(const char *bytes, unsigned n)
{
	struct x86_insn in;
	uint8_t code[16] = {0};
	memcpy(code, bytes, n);
	if (x86_decode(&in, code, 16, (enum x86_mode)lab.v->mode) != X86_OK || in.len != n)
		return -1;
	lab.v->cpu.rip = 0x1000;
	int e = x86_do_vector(lab.v, &in);
	CHECK(lab.v->cpu.rip == 0x1000 + (e ? 0 : n));
	return e;
}
#define RUN(bytes) run(bytes, sizeof bytes - 1)
#define X	   (lab.v->x.bytes)

#define ADDPS	   "\x0f\x58\xc1"
#define VADDPS	   "\xc5\xf0\x58\xc1"
#define PADDB	   "\x0f\xfc\xc1" /* mm0, mm1 */
#define FADD	   "\xd8\xc1"
#define FWAIT	   "\x9b"
#define FXSAVE	   "\x48\x0f\xae\x00" /* [rax], as the next ones */
#define FXRSTOR	   "\x48\x0f\xae\x08"

struct want {
	int addps, vaddps, paddb, fadd, fwait, fxsave;
};
static void check_all(struct want w)
{
	CHECK(RUN(ADDPS) == w.addps);
	CHECK(RUN(VADDPS) == w.vaddps);
	CHECK(RUN(PADDB) == w.paddb);
	CHECK(RUN(FADD) == w.fadd);
	CHECK(RUN(FWAIT) == w.fwait);
	CHECK(RUN(FXSAVE) == w.fxsave);
	CHECK(RUN("\xdb\xe3") == w.fadd); /* fninit, so that nothing is pending */
}
TEST(x86_vector_refused)
{
	enum { UD = X86_TRAP_UD, NM = X86_TRAP_NM };
	open_lab();
	struct x86_vcpu *v = lab.v;
	const uint64_t cr0 = v->cr0, cr4 = v->cr4;
	CHECK(!RUN("\xdb\xe3")); /* fninit: MMX leaves what x87 takes for NaNs */
	check_all((struct want){0, 0, 0, 0, 0, 0});
	v->cr0 = cr0 | CR0_TS;
	check_all((struct want){NM, NM, NM, NM, NM, NM});
	v->cr0 = (cr0 | CR0_TS) & ~(uint64_t)CR0_MP;
	check_all((struct want){NM, NM, NM, NM, 0, NM});
	v->cr0 = cr0 | CR0_EM;
	check_all((struct want){UD, 0, UD, NM, 0, NM});
	v->cr0 = cr0;
	v->cr4 = cr4 & ~(uint64_t)CR4_OSFXSR;
	check_all((struct want){UD, 0, 0, 0, 0, 0});
	v->cr4 = cr4 & ~(uint64_t)CR4_OSXSAVE;
	check_all((struct want){0, UD, 0, 0, 0, 0});
	CHECK(RUN("\x0f\xae\x20") == UD); /* xsave */
	v->cr4 = cr4;
	v->xcr0 = 3;
	check_all((struct want){0, UD, 0, 0, 0, 0});
	v->xcr0 = 7;
	v->cr0 = cr0 & ~(uint64_t)(CR0_PE | CR0_PG);
	check_all((struct want){0, UD, 0, 0, 0, 0});
	CHECK(RUN("\x0f\xc7\x28") == UD && RUN("\x0f\xc7\x18") == UD); /* xsaves, xrstors */
	CHECK(RUN("\x0f\xa2") == X86_OTHER);			       /* cpuid */
	close_lab();
}
TEST(x86_vector_exceptions)
{
	open_lab();
	struct x86_vcpu *v = lab.v;
	uint8_t before[16];
	store_le(X + X_MXCSR, 0x1f80 & ~(1 << 9), 4); /* division by zero is not masked */
	store_le(X + X_XMM, 0x3f800000, 4);
	memcpy(before, X + X_XMM, 16);
	CHECK(RUN("\xf3\x0f\x5e\xc1") == X86_TRAP_XM); /* divss xmm0, xmm1 */
	CHECK(!memcmp(before, X + X_XMM, 16) && X[X_MXCSR] == 0x84);
	X[X_MXCSR] = 0x80;
	v->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
	CHECK(RUN("\xf3\x0f\x5e\xc1") == X86_TRAP_UD);
	store_le(X + X_MXCSR, 0x1f80, 4);
	CHECK(!RUN("\xf3\x0f\x5e\xc1") && load_le(X + X_XMM, 4) == 0x7f800000);
	CHECK(!RUN("\xdb\xe3") && !RUN("\xd9\xe8") && !RUN("\xd9\xee")); /* fninit fld1 fldz */
	store_le(X + X_FCW, 0x37b, 2);
	CHECK(!RUN("\xde\xf9") && X[X_FSW] & 0x80); /* fdivp: noted */
	CHECK(load_le(X + X_FIP, 8) == 0x1000);
	CHECK(RUN("\xd9\xe8") == X86_TRAP_MF && RUN(FWAIT) == X86_TRAP_MF);
	CHECK(RUN(PADDB) == X86_TRAP_MF && RUN("\x0f\x77") == X86_TRAP_MF);
	CHECK(!RUN("\xdf\xe0") && v->cpu.r[0] & 0x80); /* fnstsw ax does not wait */
	CHECK(!RUN("\xdb\xe2") && !RUN(FWAIT));	       /* fnclex */
	close_lab();
}
TEST(x86_vector_alignment)
{
	open_lab();
	lab.v->cpu.r[0] = RAM + 8;
	CHECK(RUN("\x0f\x58\x00") == X86_TRAP_GP);     /* addps xmm0, [rax] */
	CHECK(!RUN("\xc5\xf8\x58\x00"));	       /* vaddps */
	CHECK(RUN("\xc5\xf8\x28\x00") == X86_TRAP_GP); /* vmovaps */
	CHECK(!RUN("\x0f\x10\x00"));		       /* movups */
	CHECK(!RUN("\xf3\x0f\x58\x00"));	       /* addss */
	lab.v->cpu.r[0] = RAM + 16;
	CHECK(!RUN("\xc5\xf8\x28\x00"));
	CHECK(RUN("\xc5\xfc\x28\x00") == X86_TRAP_GP); /* of 32 bytes */
	CHECK(RUN("\x0f\xae\x20") == X86_TRAP_GP);     /* xsave: 64 */
	lab.v->cpu.r[0] = RAM + 8;
	CHECK(RUN(FXSAVE) == X86_TRAP_GP);
	close_lab();
}
/* Writes by halves never happen: what faults changes nothing. */
TEST(x86_vector_faults)
{
	open_lab();
	fill(X + X_XMM, 256);
	lab.from = RAM + 600;
	memset(lab.ram, 0xee, sizeof lab.ram);
	lab.v->cpu.r[2] = 0;
	lab.v->cpu.r[3] = RAM + 128;
	lab.v->cpu.r[0] = 7;
	CHECK(RUN("\x0f\xae\x23") == X86_TRAP_PF); /* xsave [rbx] */
	CHECK(RUN("\x0f\xae\x33") == X86_TRAP_PF && RUN("\x0f\xc7\x23") == X86_TRAP_PF);
	CHECK(RUN("\x0f\xae\x03") == X86_TRAP_PF); /* fxsave */
	for (size_t i = 0; i < sizeof lab.ram; i++) CHECK(lab.ram[i] == 0xee);
	CHECK(RUN("\x0f\xae\x2b") == X86_TRAP_PF); /* xrstor */
	close_lab();
}

/* ---- xsave and its like */

static void ask(uint64_t parts)
{
	lab.v->cpu.r[0] = (uint32_t)parts;
	lab.v->cpu.r[2] = parts >> 32;
	lab.v->cpu.r[3] = RAM;
}
#define XSAVE	 "\x48\x0f\xae\x23" /* [rbx] */
#define XSAVEOPT "\x48\x0f\xae\x33"
#define XSAVEC	 "\x48\x0f\xc7\x23"
#define XRSTOR	 "\x48\x0f\xae\x2b"

static void fill_state(void)
{
	fill(X, X_MXCSR);
	store_le(X + X_FCW, 0x37f, 2);
	store_le(X + X_FSW, load_le(X + X_FSW, 2) & 0x7f7f, 2);
	store_le(X + X_FTW, X[X_FTW], 2);
	X[X_FOP + 1] &= 7;
	store_le(X + X_MXCSR, 0x1f80 | (next() & 0xe07f), 4);
	for (unsigned i = 0; i < 8; i++) fill(X + X_ST + 16 * i, 10);
	fill(X + X_XMM, 256);
	fill(X + X_YMM, 256);
}
static void check_round(const char *save, uint64_t parts, bool compact)
{
	struct x86_xarea was;
	fill_state();
	was = lab.v->x;
	memset(lab.ram, 0, sizeof lab.ram);
	ask(parts);
	CHECK(!run(save, 4));
	CHECK(load_le(lab.ram + X_HEADER, 8) == (parts & 7));
	CHECK(load_le(lab.ram + X_HEADER + 8, 8) == (compact ? (parts & 7) | 1ull << 63 : 0));
	fill_state();
	struct x86_xarea other = lab.v->x;
	CHECK(!RUN(XRSTOR));
	CHECK(!memcmp(X, parts & 1 ? was.bytes : other.bytes, X_MXCSR));
	CHECK(!memcmp(X + X_ST, (parts & 1 ? was.bytes : other.bytes) + X_ST, 128));
	CHECK(!memcmp(X + X_XMM, (parts & 2 ? was.bytes : other.bytes) + X_XMM, 256));
	CHECK(!memcmp(X + X_YMM, (parts & 4 ? was.bytes : other.bytes) + X_YMM, 256));
	bool mxcsr = compact ? parts & 2 : parts & 6;
	CHECK(!memcmp(X + X_MXCSR, (mxcsr ? was.bytes : other.bytes) + X_MXCSR, 4));
}
TEST(x86_xsave_round)
{
	open_lab();
	for (unsigned parts = 0; parts < 8; parts++) {
		check_round(XSAVE, parts | 0xff00000000000ff8, false);
		check_round(XSAVEOPT, parts, false);
		check_round(XSAVEC, parts, true);
	}
	close_lab();
}
/* The host reads what we write, and we what it writes. */
TEST(x86_xsave_as_the_host)
{
	static _Alignas(64) uint8_t host[X_YMM + 256], again[4096];
	open_lab();
	if (!x86_vector_has_avx) {
		close_lab();
		return;
	}
	fill_state();
	store_le(X + X_FSW, load_le(X + X_FSW, 2) & 0x7f00, 2); /* nothing pending */
	store_le(X + X_FIP, 0x123456789a, 8);
	store_le(X + X_FDP, 0x7654321000, 8);
	store_le(X + X_MXCSR, 0x1fa5, 4);
	ask(7);
	CHECK(!RUN(XSAVE));
	memcpy(again, lab.ram, sizeof again);
	__asm__ volatile("fxsave64 %0" : "=m"(host));
	uint8_t usual[512];
	memcpy(usual, host, 512);
	memset(host, 0, sizeof host);
	__asm__ volatile("xrstor64 %2\n\txsave64 %0\n\tfninit\n\tldmxcsr %3\n\tvzeroupper"
			 : "=m"(host)
			 : "a"(7), "m"(again), "m"(usual[X_MXCSR]), "d"(0)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory");
	CHECK(!memcmp(host, lab.ram, X_MXCSR_MASK));
	CHECK(!memcmp(host + X_ST, lab.ram + X_ST, X_XMM + 256 - X_ST));
	CHECK(!memcmp(host + X_YMM, lab.ram + X_YMM, 256));
	memcpy(lab.ram, host, sizeof host);
	struct x86_xarea was = lab.v->x;
	fill_state();
	CHECK(!RUN(XRSTOR) && !memcmp(&was, &lab.v->x, X_MXCSR_MASK));
	CHECK(!memcmp(was.bytes + X_ST, X + X_ST, X_XMM + 256 - X_ST));
	close_lab();
}
TEST(x86_xrstor_headers)
{
	static const struct {
		uint16_t at;
		uint64_t val;
		bool bad;
	} some[] = {
		{X_HEADER, 7, false},
		{X_HEADER, 8, true},
		{X_HEADER + 8, 1, true},
		{X_HEADER + 16, 1, true},
		{X_HEADER + 24, 1, false},
		{X_MXCSR, 0x10000, true},
		{X_MXCSR, 0x1f80, false},
		{X_HEADER + 8, 7 | 1ull << 63, false},
		{X_HEADER + 8, 15 | 1ull << 63, true},
	};
	open_lab();
	ask(7);
	for (unsigned i = 0; i < COUNT(some); i++) {
		memset(lab.ram, 0, sizeof lab.ram);
		store_le(lab.ram + some[i].at, some[i].val, 8);
		CHECK(RUN(XRSTOR) == (some[i].bad ? X86_TRAP_GP : 0));
	}
	memset(lab.ram, 0, sizeof lab.ram);
	lab.ram[X_HEADER] = 4;
	store_le(lab.ram + X_HEADER + 8, 3 | 1ull << 63, 8);
	CHECK(RUN(XRSTOR) == X86_TRAP_GP); /* in use, but not in the format */
	store_le(lab.ram + X_HEADER + 8, 7 | 1ull << 63, 8);
	lab.ram[X_HEADER + 40] = 1;
	CHECK(RUN(XRSTOR) == X86_TRAP_GP);
	close_lab();
}
/* Components in their first state are not written by xsavec and xsaveopt, and come back from
 * XSTATE_BV alone. */
TEST(x86_xsave_init)
{
	open_lab();
	fill_state();
	memset(X + X_YMM, 0, 256);
	memset(lab.ram, 0xcc, X_YMM + 256);
	memset(lab.ram + X_HEADER, 0, 64);
	ask(7);
	CHECK(!RUN(XSAVEC) && lab.ram[X_HEADER] == 3 && lab.ram[X_YMM] == 0xcc);
	fill_state();
	CHECK(!RUN(XRSTOR) && !X[X_YMM] && !X[X_YMM + 255]);
	memset(lab.ram, 0, sizeof lab.ram);
	fill_state();
	ask(7);
	CHECK(!RUN(XRSTOR) && load_le(X + X_FCW, 2) == 0x37f && !X[X_XMM] && !X[X_FTW]);
	close_lab();
}

/* ---- x87's environment in other formats */

static void check_env(unsigned wide)
{
	struct x86_xarea was;
	const char *save = wide == 2 ? "\x66\xdd\x30" : "\xdd\x30";
	const char *load = wide == 2 ? "\x66\xdd\x20" : "\xdd\x20";
	lab.v->cpu.r[0] = RAM;
	CHECK(!RUN("\xdb\xe3") && !RUN("\xd9\xe8") && !RUN("\xd9\xeb"));
	store_le(X + X_FIP, 0x9876, 8);
	store_le(X + X_FDP, 0x1234, 8);
	store_le(X + X_FOP, 0, 2);
	was = lab.v->x;
	memset(lab.ram, 0, sizeof lab.ram);
	CHECK(!run(save, wide == 2 ? 3 : 2));
	CHECK(X[X_FTW] == 0 && load_le(X, 2) == 0x37f);
	CHECK(load_le(lab.ram + 2 * wide, 2) == 0x0fff); /* two registers in use */
	CHECK(load_le(lab.ram + 3 * wide, 2) == 0x9876);
	CHECK(load_le(lab.ram + 5 * wide, 2) == 0x1234);
	CHECK(load_le(lab.ram + 7 * wide, 8) == 0xc90fdaa22168c235); /* pi */
	CHECK(!run(load, wide == 2 ? 3 : 2));
	CHECK(!memcmp(&was, &lab.v->x, X_MXCSR));
	for (unsigned i = 0; i < 2; i++)
		CHECK(!memcmp(was.bytes + X_ST + 16 * i, X + X_ST + 16 * i, 10));
}
TEST(x86_x87_environment)
{
	open_lab();
	check_env(4);
	check_env(2);
	lab.v->cr0 &= ~(uint64_t)(CR0_PE | CR0_PG);
	lab.v->mode = X86_32;
	lab.v->long_mode = false;
	check_env(4);
	check_env(2);
	close_lab();
}

/* ---- into the host's registers and out */

TEST(x86_vector_live)
{
	static struct x86_xarea a, b;
	open_lab();
	fill_state();
	store_le(X + X_FSW, load_le(X + X_FSW, 2) & 0x7f00, 2);
	store_le(X + X_FIP, 0x123456789a, 8);
	store_le(X + X_FDP, 0x7654321000, 8);
	a = lab.v->x;
	memset(&b, 0, sizeof b);
	unsigned mxcsr = 0, cw = 0;
	__asm__ volatile("movq %2, %%rdi\n\tcall x86_x87_enter\n\tcall x86_vector_enter\n\t"
			 "movq %3, %%rdi\n\tcall x86_vector_leave\n\tcall x86_x87_leave\n\t"
			 "stmxcsr %0\n\tfnstcw %1"
			 : "=m"(mxcsr), "=m"(cw)
			 : "r"(&a), "r"(&b)
			 : "rax", "rdx", "rdi", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
			   "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
			   "xmm12", "xmm13", "xmm14", "xmm15");
	CHECK(mxcsr == 0x1f80 && (cw & 0xffff) == 0x37f);
	CHECK(!memcmp(&a, &b, X_MXCSR_MASK) && b.bytes[X_HEADER] == 7);
	CHECK(!memcmp(a.bytes + X_ST, b.bytes + X_ST, X_XMM + 256 - X_ST));
	if (x86_vector_has_avx) CHECK(!memcmp(a.bytes + X_YMM, b.bytes + X_YMM, 256));
	close_lab();
}
/* XINUSE, SDM 1, 13.6: upper halves that hold nothing are none that were written, for which SSE
 * code would wait. */
TEST(x86_vector_leaves_upper_halves_alone)
{
	enum { AVX = 4, TELLS_USE = 4 };
	static struct x86_xarea x;
	unsigned a = 0, b, c, d;
	if (!__get_cpuid_count(0xd, 1, &a, &b, &c, &d) || !(a & TELLS_USE)) return;
	for (unsigned k = 0; k < 257; k++) {
		unsigned used = 0;
		memset(&x, 0, sizeof(x));
		x.bytes[X_MXCSR] = 0x80, x.bytes[X_MXCSR + 1] = 0x1f;
		if (k < 256) x.bytes[X_YMM + k] = 1;
		__asm__ volatile("movq %1, %%rdi\n\tcall x86_vector_enter\n\t"
				 "movl $1, %%ecx\n\txgetbv\n\tvzeroupper"
				 : "=a"(used)
				 : "r"(&x)
				 : "rcx", "rdx", "rdi", "cc", "memory", "xmm0", "xmm1", "xmm2",
				   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
				   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		CHECK(!(used & AVX) == (k == 256));
	}
}
TEST(x86_vector_after_reset)
{
	open_lab();
	fill_state();
	struct x86_xarea was = lab.v->x;
	x86_vector_reset(lab.v, true);
	CHECK(!memcmp(&was, &lab.v->x, sizeof was));
	x86_vector_reset(lab.v, false);
	CHECK(load_le(X + X_FCW, 2) == 0x40 && X[X_FTW] == 0xff &&
	      load_le(X + X_MXCSR, 4) == 0x1f80);
	CHECK(!x86_x87_pending(&lab.v->x) && !x86_vector_unmasked(&lab.v->x));
	close_lab();
}
/* Any bytes at all become what XRSTOR and ldmxcsr take. */
TEST(x86_vector_made_sane)
{
	static struct x86_xarea a, b;
	open_lab();
	for (int i = 0; i < 100; i++) {
		fill(&a, sizeof a);
		unsigned use = a.bytes[X_HEADER];
		x86_vector_sane(&a);
		CHECK(use & 2 || !load_le(a.bytes + X_XMM, 8));
		CHECK(use & 1 || load_le(a.bytes, 8) == 0x37f);
		if (x86_x87_pending(&a)) continue;
		b = a;
		__asm__ volatile("movq %0, %%rdi\n\tcall x86_x87_enter\n\tcall x86_vector_enter\n\t"
				 "call x86_vector_leave\n\tcall x86_x87_leave"
				 :
				 : "r"(&b)
				 : "rax", "rdx", "rdi", "cc", "memory", "xmm0", "xmm1", "xmm2",
				   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
				   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		/* FIP may have become canonical */
		memcpy(b.bytes + X_FIP, a.bytes + X_FIP, X_MXCSR - X_FIP);
		CHECK(!memcmp(&a, &b, X_MXCSR_MASK));
		CHECK(!memcmp(a.bytes + X_ST, b.bytes + X_ST, X_XMM + 256 - X_ST));
	}
	close_lab();
}
#endif
