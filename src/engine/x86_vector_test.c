/* Vector and x87 instructions against the CPU that this runs on: each case is one instruction on
 * registers and memory gathered at the corners, done by x86_do_vector and then, as it stands and
 * with the whole state loaded by XRSTOR, by the host. All state is compared, and which exception.
 * x86_do_vector goes first: only what stays in our buffer (or faults) may run for real. */
#include "base/test.h"
#include "engine/x86_vector_impl.h"
#include "isa/x86/random_test.h"
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __x86_64__

enum { GUARD = 0x20000, BUF = 0x1000, CODE = 0x1000, CTX = 0x2000 };
enum { ENTRY = 0, INSN = 0x280, LEAVE32 = 0x380, LEAVE = 0x400, ENTRY32 = 0x600 };
enum { USER32_CS = 0x23, USER_DS = 0x2b, USER_CS = 0x33 }; /* Linux, asm/segment.h */
/* What goes into the processor and comes out of it. */
struct ctx {
	uint64_t in[16], in_flags, out[16], out_flags, host_sp, signal;
	uint32_t usual; /* MXCSR */
	struct {
		uint32_t at;
		uint16_t cs;
	} far; /* into compatibility mode */
	_Alignas(64) uint8_t x_in[1024];
	_Alignas(64) uint8_t x_out[8192 - 1024 - 384];
};
_Static_assert(sizeof(struct ctx) <= CTX, "has room");
static struct {
	uint8_t *area, *buf, *code; /* area: guard, buf, guard, code, ctx */
	struct ctx *ctx;
	uint64_t insn, leave;
	uint8_t before[BUF], expect[BUF];
	bool wild;
} lab;

/* ---- the host's side ---- */

static uint8_t *put(uint8_t *p, unsigned n, uint64_t v)
{
	memcpy(p, &v, n);
	return p + n;
}
/* OPCODE with ModRM.reg reg and [rip + ...] */
static uint8_t *put_rip(uint8_t *p, unsigned n, uint64_t opcode, unsigned reg, const void *at)
{
	p = put(p, n, opcode);
	p = put(p, 1, (reg & 7) << 3 | 5);
	return put(p, 4, (uint64_t)((const uint8_t *)at - (p + 4)));
}
static uint8_t *put_mov(uint8_t *p, bool load, unsigned reg, const void *at)
{
	return put_rip(p, 2, 0x48 | (reg >> 3) << 2 | (load ? 0x8b00 : 0x8900), reg, at);
}
static const uint8_t kept[] = {3, 5, 12, 13, 14, 15};
static uint8_t *put_all(uint8_t *p)
{
	p = put(p, 5, 0x7b8);	  /* mov eax, 7 */
	return put(p, 2, 0xd231); /* xor edx, edx */
}
static void write_entry(bool is32)
{
	struct ctx *x = lab.ctx;
	uint8_t *p = lab.code + (is32 ? ENTRY32 : ENTRY);
	for (unsigned i = 0; i < COUNT(kept); i++) {
		if (kept[i] >= 8) p = put(p, 1, 0x41);
		p = put(p, 1, 0x50 | (kept[i] & 7));
	}
	p = put_mov(p, false, 4, &x->host_sp);
	p = put(p, 5, 0xb8 | USER_DS << 8);		  /* mov eax, USER_DS */
	if (is32) p = put(p, 4, 0xc08ed88e);		  /* mov ds, eax; mov es, eax */
	p = put_rip(put_all(p), 3, 0xae0f48, 5, x->x_in); /* xrstor64 */
	p = put_mov(p, true, 0, &x->in_flags);
	p = put(p, 2, 0x9d50); /* push rax; popfq */
	for (unsigned i = 0; i < 16; i++) p = put_mov(p, true, i, &x->in[i]);
	if (is32) {
		(void)put_rip(p, 1, 0xff, 5, &x->far); /* jmp far */
		return;
	}
	p = put(p, 1, 0xe9);
	p = put(p, 4, (uint64_t)(lab.code + INSN - (p + 4)));
	CHECK(p <= lab.code + INSN);
}
static void write_leave(void)
{
	struct ctx *x = lab.ctx;
	uint8_t *p = put(lab.code + LEAVE32, 1, 0xea); /* jmp far USER_CS:LEAVE */
	p = put(p, 4, lab.leave);
	(void)put(p, 2, USER_CS);
	p = lab.code + LEAVE;
	for (unsigned i = 0; i < 16; i++) p = put_mov(p, false, i, &x->out[i]);
	p = put_mov(p, true, 4, &x->host_sp);
	p = put(p, 2, 0x589c); /* pushfq; pop rax */
	p = put_mov(p, false, 0, &x->out_flags);
	p = put_rip(put_all(p), 3, 0xae0f48, 4, x->x_out); /* xsave64 */
	p = put(p, 2, 0xe3db);				   /* fninit */
	p = put_rip(p, 2, 0xae0f, 2, &x->usual);	   /* ldmxcsr */
	p = put(p, 4, 0xfc77f8c5);			   /* vzeroupper; cld */
	for (unsigned i = COUNT(kept); i--;) {
		if (kept[i] >= 8) p = put(p, 1, 0x41);
		p = put(p, 1, 0x58 | (kept[i] & 7));
	}
	(void)put(p, 1, 0xc3);
}
static void __attribute__((noreturn)) lost(int sig, uint64_t rip)
{
	char text[200], *to = text;
	to += sprintf(to, "x86_vector_test: signal %d at insn%+ld:", sig, (long)(rip - lab.insn));
	for (int i = 0; i < 15; i++) to += sprintf(to, " %02x", lab.code[INSN + i]);
	*to++ = '\n';
	if (write(2, text, (size_t)(to - text)) < 0) _exit(98);
	_exit(99);
}
/* The state as the exception left it is what sigreturn restores: on at the way out. */
static void on_signal(int sig, siginfo_t *info, void *uc)
{
	greg_t *g = ((ucontext_t *)uc)->uc_mcontext.gregs;
	(void)info;
	if (lab.ctx->signal || (uint64_t)g[REG_RIP] != lab.insn) lost(sig, (uint64_t)g[REG_RIP]);
	lab.ctx->signal = (uint64_t)sig;
	g[REG_RIP] = (greg_t)lab.leave;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & ~(greg_t)0xffff) | USER_CS;
}
static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction old_action[4];
static stack_t old_stack;

static void open_host(void)
{
	static uint8_t stack[65536];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
	struct sigaction sa = {.sa_sigaction = on_signal,
			       .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	size_t size = GUARD + BUF + GUARD + CODE + CTX;
	lab.area = mmap(0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(lab.area != MAP_FAILED);
	lab.buf = lab.area + GUARD;
	lab.code = lab.buf + BUF + GUARD;
	lab.ctx = (struct ctx *)(void *)(lab.code + CODE);
	CHECK(!mprotect(lab.buf, BUF, PROT_READ | PROT_WRITE));
	CHECK(!mprotect(lab.code, CODE + CTX, PROT_READ | PROT_WRITE | PROT_EXEC));
	lab.insn = (uint64_t)lab.code + INSN;
	lab.leave = (uint64_t)lab.code + LEAVE;
	lab.ctx->usual = 0x1f80;
	lab.ctx->far.at = (uint32_t)lab.insn;
	lab.ctx->far.cs = USER32_CS;
	write_entry(false);
	write_entry(true);
	write_leave();
	sigaltstack(&ss, &old_stack);
	for (unsigned i = 0; i < COUNT(caught); i++) sigaction(caught[i], &sa, &old_action[i]);
}
static void close_host(void)
{
	for (unsigned i = 0; i < COUNT(caught); i++) sigaction(caught[i], &old_action[i], 0);
	sigaltstack(&old_stack, 0);
	munmap(lab.area, GUARD + BUF + GUARD + CODE + CTX);
}

/* ---- ours: memory ---- */

/* What the process has there: 0 buffer, a trap, or wild. */
static int look(uint64_t at, unsigned n)
{
	uint64_t lo = (uint64_t)lab.buf, hi = lo + BUF;
	if (at >= lo && at <= hi - n) return 0;
	if (at >= lo - GUARD && at <= hi + GUARD - n) return X86_TRAP_PF;
	if (at + n >= at && at + n <= 0x10000) return X86_TRAP_PF; /* vm.mmap_min_addr */
	if ((int64_t)at < 0) return X86_TRAP_PF;		   /* the kernel's half */
	lab.wild = true;
	return X86_TRAP_PF;
}
static int do_load(struct x86_vcpu *v, uint64_t la, void *to, unsigned n, enum x86_view as)
{
	int e = look(la, n);
	CHECK(n <= 64);
	(void)v;
	(void)as;
	if (!e) memcpy(to, (void *)la, n);
	return e;
}
static int do_store(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n, enum x86_view as)
{
	int e = look(la, n);
	CHECK(n <= 64);
	(void)v;
	(void)as;
	if (!e) memcpy((void *)la, from, n);
	return e;
}
static int do_probe(struct x86_vcpu *v, uint64_t la, unsigned n, unsigned access, enum x86_view as)
{
	(void)v;
	(void)as;
	(void)access;
	return look(la, n);
}
/* ---- a case ---- */

static struct x86_vcpu *new_vcpu(void)
{
	struct x86_vcpu *v = aligned_alloc(64, (sizeof *v + 63) / 64 * 64);
	if (!v) abort();
	memset(v, 0, sizeof *v);
	v->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_PG;
	v->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	v->efer = EFER_LMA | EFER_LME;
	v->long_mode = true;
	v->xcr0 = X86_XCR0;
	v->mode = X86_64;
	v->cpu.flags = 2;
	v->cpu.ssize = 8;
	for (unsigned i = 0; i < 6; i++)
		v->seg[i] =
			(struct x86_segreg){.limit = UINT32_MAX,
					    .access = SEG_P | SEG_S | SEG_RW | SEG_A | SEG_G |
						      (i == X86_CS ? SEG_CODE | SEG_L : SEG_DB)};
	x86_vector_reset(v, false);
	return v;
}
static uint64_t corner(void)
{
	static const uint64_t some[] = {
		0,
		1,
		0x80000000,
		0xffffffff,
		0x7f800000,
		0x7fc00000,
		0x7fa00000,
		0x00800000,
		0x007fffff,
		0x7f7fffff,
		0x3f800000,
		0x3f8000003f800000,
		0x0080000000800000,
		0x0080000100800000,
		0x7ff0000000000000,
		0x7ff8000000000000,
		0x7ff4000000000000,
		0x0010000000000000,
		0x0010000000000001,
		0x000fffffffffffff,
		0x7fefffffffffffff,
		0x3ff0000000000000,
		0x4330000000000000,
		0x43e0000000000000,
		0x41e0000000000000,
		0x4f0000005f000000,
		0x477fe00047800000,
		0x3800000033800000,
		0x7fff8000ff800001,
		INT64_MAX,
		1ull << 63,
		UINT64_MAX,
	};
	uint64_t r = next();
	switch (r & 7) {
	case 0:
	case 1:
	case 2:
	case 3: return some[(r >> 8) % COUNT(some)] ^ (r & 0x80 ? 1ull << 63 : 0);
	case 4: return next() >> (r >> 8 & 63);
	case 5: return (0x3fe0 + (r >> 8 & 0x3f)) << 48 | next() >> 16; /* near 1 */
	case 6: return (0x3f80 + (r >> 8 & 0x7f)) * 0x1000000010000ull; /* floats near 1 */
	default: return next();
	}
}
struct run {
	enum x86_mode mode;
	uint8_t bytes[16];
	struct x86_insn in;
	uint64_t r[16], flags;
	struct x86_xarea x;
	int trap;
};
static struct x86_vcpu *vcpu;

static void make_x87(uint8_t *x)
{
	static const uint16_t exponents[] = {0,	     0,	     1,	     0x3fff, 0x7fff,
					     0x7ffe, 0x3fbe, 0x4040, 0x403e};
	static const uint64_t fractions[] = {0,		 1ull << 63, 3ull << 62, UINT64_MAX,	  1,
					     1ull << 62, INT64_MAX,  5ull << 61, (1ull << 63) + 1};
	for (unsigned i = 0; i < 8; i++) {
		uint64_t r = next();
		unsigned e = exponents[(r >> 8) % COUNT(exponents)];
		if (r & 1) e = 0x3fc0 + (r >> 16 & 0x7f);
		store_le(x + X_ST + 16 * i,
			 r & 2 ? fractions[(r >> 24) % COUNT(fractions)] : next() | (r & 4) << 61,
			 8);
		store_le(x + X_ST + 16 * i + 8, e | (r >> 32 & 1) << 15, 2);
	}
	uint64_t r = next();
	store_le(x + X_FCW, (r & 7 ? 0x37f : 0x340 | (r >> 8 & 0x3f)) ^ (r >> 16 & 0xf00), 2);
	x[X_FTW] = (uint8_t)(r & 0x300 ? 0xff : r >> 32);
	store_le(x + X_FSW, (r >> 40) & 0x7f7f & (r & 0xc00 ? 0x7f40 : 0xffff), 2);
	store_le(x + X_FOP, next() & 0x7ff, 2);
	store_le(x + X_FIP, next() >> 17, 8);
	store_le(x + X_FDP, next() >> 17, 8);
	x86_settle_x87(x);
}
static void make_state(struct run *k)
{
	uint8_t *x = k->x.bytes;
	memset(x, 0, sizeof k->x);
	make_x87(x);
	uint64_t r = next(), m = 0x1f80 | (r & 0xe07f & (r & 1 << 20 ? 0xe040 : 0xffff));
	if (!(r & 0x300000000)) m ^= r & 0x1f80;
	store_le(x + X_MXCSR, m, 4);
	store_le(x + X_MXCSR_MASK, 0xffff, 4);
	x[X_HEADER] = 7;
	for (unsigned i = 0; i < 256; i += 8) {
		store_le(x + X_XMM + i, corner(), 8);
		store_le(x + X_YMM + i, corner(), 8);
	}
	for (int i = 0; i < 16; i++) k->r[i] = corner();
	k->flags = 0x202 | (next() & X86_ARITH);
}
/* Points the memory operand into the buffer, mostly at edges, if its registers allow. */
static void aim(struct run *k)
{
	struct x86_insn *in = &k->in;
	uint64_t *r = k->r;
	unsigned size =
		in->has_mem && x86_mem_operand(in) >= 0 ? in->o[x86_mem_operand(in)].size : 16;
	if (!size) size = 512;
	uint64_t off = next() % 8 ? next() % (BUF - 1024) : BUF - (next() % (size + 4u));
	uint64_t to = (uint64_t)lab.buf + off;
	if (next() % 4) to &= ~63ull;
	if (!in->has_mem) r[7] = to; /* maskmovdqu */
	if (next() % 32 == 0 || !in->has_mem) return;
	bool vsib = in->operands > 2 && in->o[1].kind == X86_MEM;
	uint64_t index = in->index < 16 && !vsib ? r[in->index] * in->scale : 0;
	if (in->base < 16 && (in->base != in->index || vsib)) {
		r[in->base] = to - index - (uint64_t)in->disp;
		return;
	}
	if (in->index < 16 && in->base == X86_NOREG && !vsib) {
		r[in->index] = (to - (uint64_t)in->disp) / in->scale;
		return;
	}
	uint64_t disp = in->base == X86_RIP ? to - (lab.insn + in->len) : to;
	if (in->base >= 16 && in->disp_len >= 4) memcpy(k->bytes + in->disp_at, &disp, 4);
}
/* Indexes of a gather: small, but for one now and then. */
static void aim_gather(struct run *k)
{
	if (!k->in.vex || k->in.index > 15 || k->in.operands < 3 || k->in.o[1].kind != X86_MEM)
		return;
	for (unsigned i = 0; i < 32; i += 4) {
		uint8_t *p = k->x.bytes + (i < 16 ? X_XMM : X_YMM - 16) + 16 * k->in.index + i;
		int64_t v = (int64_t)(next() % 64) - 32;
		if (x86_opcode(&k->in) & 1 && i % 8) v = (int32_t)load_le(p - 4, 4) < 0 ? -1 : 0;
		store_le(p, next() % 64 ? (uint64_t)v : next() % 9999, 4);
	}
}
/* With exceptions that are not masked they end between their steps, which only the host sees. */
static bool is_in_steps(const struct run *k)
{
	unsigned op = k->in.op;
	bool dpp =
		op == X86_OP_dpps || op == X86_OP_dppd || op == X86_OP_vdpps || op == X86_OP_vdppd;
	return dpp && ~load_le(k->x.bytes + X_MXCSR, 4) & 0x1f80;
}
static bool is_excluded(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_xsave:
	case X86_OP_xsaveopt:
	case X86_OP_xsavec:
	case X86_OP_xsaves:
	case X86_OP_xrstor:
	case X86_OP_xrstors: return true;
	default: return in->seg_over == X86_FS || in->seg_over == X86_GS || in->seg_over == X86_CS;
	}
}
static bool make_case(struct run *k, unsigned form)
{
	k->mode = next() % 4 ? X86_64 : X86_32;
	if (!x86_form_bytes(form, k->mode, k->bytes, next)) return false;
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK || is_excluded(&k->in))
		return false;
	for (unsigned i = 0; i < 64; i++) {
		uint64_t v = corner();
		memcpy(lab.buf + next() % (BUF / 8) * 8, &v, 8);
	}
	make_state(k);
	aim(k);
	aim_gather(k);
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK) return false;
	for (int i = 0; i < 16 && k->mode == X86_32; i++) k->r[i] = (uint32_t)k->r[i];
	if (is_in_steps(k)) store_le(k->x.bytes + X_MXCSR, 0x1f80, 4);
	uint32_t mxcsr = next() & 0xffff;
	if (k->in.op == X86_OP_fxrstor || k->in.op == X86_OP_ldmxcsr || k->in.op == X86_OP_vldmxcsr)
		for (unsigned i = 0; i + 4 <= BUF; i += 8 + (unsigned)(next() & 8))
			memcpy(lab.buf + i, &mxcsr, 4);
	return true;
}
static void run_host(const struct run *k)
{
	struct ctx *x = lab.ctx;
	memset(x->out, 0, sizeof x->out);
	x->signal = 0;
	memcpy(x->in, k->r, sizeof x->in);
	x->in_flags = k->flags;
	memset(x->x_in, 0, sizeof x->x_in);
	memcpy(x->x_in, &k->x, sizeof k->x);
	memset(x->x_out, 0, X_YMM + 256);
	uint8_t *p = lab.code + INSN;
	memcpy(p, k->bytes, k->in.len);
	p = put(p + k->in.len, 1, 0xe9);
	bool is32 = k->mode == X86_32;
	(void)put(p, 4, (uint64_t)(lab.code + (is32 ? LEAVE32 : LEAVE) - (p + 4)));
	((void (*)(void))(void *)(lab.code + (is32 ? ENTRY32 : ENTRY)))();
	/* components that were found to be as they are initially */
	if (!(x->x_out[X_HEADER] & 1)) {
		memset(x->x_out, 0, X_MXCSR);
		store_le(x->x_out, 0x37f, 2);
		memset(x->x_out + X_ST, 0, 128);
	}
	if (!(x->x_out[X_HEADER] & 2)) memset(x->x_out + X_XMM, 0, 256);
	if (!(x->x_out[X_HEADER] & 4)) memset(x->x_out + X_YMM, 0, 256);
}
/* Long operands that wrap around 4 GiB fault in their first page before they do in their segment.
 */
static int signal_of(const struct run *k)
{
	if (k->mode == X86_32 && k->trap == X86_TRAP_SS && lab.ctx->signal == SIGSEGV)
		return SIGSEGV;
	switch (k->trap) {
	case 0: return 0;
	case X86_TRAP_XM:
	case X86_TRAP_MF: return SIGFPE;
	case X86_TRAP_UD: return SIGILL;
	case X86_TRAP_SS: return SIGBUS;
	default: return SIGSEGV;
	}
}
static const char *compare_state(const uint8_t *a, const uint8_t *b)
{
	if (memcmp(a + X_FCW, b + X_FCW, 2)) return "FCW";
	if (memcmp(a + X_FSW, b + X_FSW, 2)) return "FSW";
	if (memcmp(a + X_FTW, b + X_FTW, 1)) return "FTW";
	if (memcmp(a + X_FOP, b + X_FOP, 2)) return "FOP";
	if (memcmp(a + X_FIP, b + X_FIP, 8)) return "FIP";
	if (memcmp(a + X_FDP, b + X_FDP, 8)) return "FDP";
	if (memcmp(a + X_MXCSR, b + X_MXCSR, 4)) return "MXCSR";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(a + X_ST + 16 * i, b + X_ST + 16 * i, 10)) return "ST";
	if (memcmp(a + X_XMM, b + X_XMM, 256)) return "XMM";
	return memcmp(a + X_YMM, b + X_YMM, 256) ? "YMM" : 0;
}
/* What is behind the elements that a gather is about, when it faults. */
static void forgive_gather(const struct run *k, uint8_t *host)
{
	const struct x86_insn *in = &k->in;
	if (!in->vex || in->operands < 3 || in->o[1].kind != X86_MEM || in->index > 15) return;
	unsigned size = in->o[1].size, isize = x86_opcode(in) & 1 ? 8 : 4;
	unsigned from = (in->vl ? 32u : 16u) / (size > isize ? size : isize) * size;
	if (in->imm_len || in->o[2].kind != X86_XMM || x86_opcode(in) >> 4 != 0x69) return;
	for (unsigned i = from; i < 32; i++)
		for (int o = 0; o < 3; o += 2) {
			unsigned at = (i < 16 ? X_XMM : X_YMM - 16) + 16u * in->o[o].reg + i;
			host[at] = vcpu->x.bytes[at];
		}
}
/* What a CPU may do and we do not: canonical FIP by fxrstor, enter MMX, set MXCSR's flags though
 * memory faults, store 10 bytes in two parts; and know whether a result that is too big or small
 * would have been exact. */
static void forgive(const struct run *k, uint8_t *host)
{
	const uint8_t *ours = vcpu->x.bytes;
	bool mmx = false;
	if (k->in.op == X86_OP_fxrstor) memcpy(host + X_FIP + 6, ours + X_FIP + 6, 2);
	if (!k->trap) return;
	for (int i = 0; i < k->in.operands; i++) mmx |= k->in.o[i].kind == X86_MMX;
	if (mmx) memcpy(host, ours, X_FOP);
	if (mmx) memcpy(host + X_ST, ours + X_ST, 128);
	if (k->trap != X86_TRAP_XM) memcpy(host + X_MXCSR, ours + X_MXCSR, 4);
	if (k->trap == X86_TRAP_PF && x86_mem_operand(&k->in) == 0 && k->in.o[0].size == 10)
		memcpy(lab.buf, lab.expect, BUF);
	forgive_gather(k, host);
	unsigned over = ~load_le(k->x.bytes + X_MXCSR, 4) >> 7 & ours[X_MXCSR] & 0x18;
	if (k->trap == X86_TRAP_XM && over)
		host[X_MXCSR] = (uint8_t)((host[X_MXCSR] & ~0x20) | (ours[X_MXCSR] & 0x20));
}
/* 0, or what differs. */
static const char *check_case(struct run *k)
{
	struct ctx *x = lab.ctx;
	memcpy(lab.before, lab.buf, BUF);
	memcpy(vcpu->cpu.r, k->r, sizeof k->r);
	vcpu->cpu.rip = lab.insn;
	vcpu->mode = (uint8_t)k->mode;
	vcpu->cpu.flags = k->flags;
	vcpu->x = k->x;
	lab.wild = false;
	k->trap = x86_do_vector(vcpu, &k->in);
	memcpy(lab.expect, lab.buf, BUF);
	memcpy(lab.buf, lab.before, BUF);
	if (k->trap == X86_OTHER || lab.wild) return 0;
	run_host(k);
	if ((int)x->signal != signal_of(k)) return "exception";
	if (vcpu->cpu.rip != lab.insn + (k->trap ? 0 : k->in.len)) return "rip";
	if (memcmp(x->out, vcpu->cpu.r, sizeof x->out)) return "register";
	if ((x->out_flags ^ vcpu->cpu.flags) & X86_ARITH) return "flags";
	forgive(k, x->x_out);
	const char *how = compare_state(vcpu->x.bytes, x->x_out);
	return how ? how : memcmp(lab.buf, lab.expect, BUF) ? "memory" : 0;
}
static char *hex(char *to, const uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) to += sprintf(to, "%02x", p[i]);
	return to;
}
static void report(const struct run *k, const char *how)
{
	const struct ctx *x = lab.ctx;
	char text[2000], *to = text;
	to += sprintf(to, "%s:%s: ", x86_op_info((enum x86_op)k->in.op)->name, how);
	to = hex(to, k->bytes, k->in.len);
	to += sprintf(to, "; trap %x signal %lu; was, ours, host", (unsigned)k->trap, x->signal);
	const uint8_t *all[3] = {k->x.bytes, vcpu->x.bytes, x->x_out};
	for (int i = 0; i < 3; i++) {
		*to++ = '\n';
		to = hex(to, all[i], 32);
		for (int o = 0; o < k->in.operands; o++) {
			unsigned r = k->in.o[o].reg & 15;
			*to++ = ' ';
			if (k->in.o[o].kind == X86_XMM) {
				to = hex(to, all[i] + X_XMM + 16 * r, 16);
				to = hex(to, all[i] + X_YMM + 16 * r, 16);
			}
			if (k->in.o[o].kind == X86_MMX || k->in.o[o].kind == X86_ST)
				to = hex(to, all[i] + X_ST + 16 * (r & 7), 10);
			if (k->in.o[o].kind == X86_REG)
				to += sprintf(to, "%lx",
					      (i == 0	? k->r
					       : i == 1 ? vcpu->cpu.r
							: x->out)[r]);
		}
	}
	*to = 0;
	test_fail(text, __FILE__, __LINE__);
}
static const char *no_host(void)
{
	unsigned a, b, c, d;
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2")) return "it has no AVX2";
	__cpuid(0, a, b, c, d);
	return b == signature_INTEL_ebx ? NULL : "it is not Intel's";
}
TEST(x86_vector_as_the_host)
{
	static struct run k;
	static unsigned done[X86_OP__max], bad[X86_OP__max];
	const char *count = getenv("RANDOM_COUNT");
	unsigned failed = 0, ops = 0, traps = 0;
	long cases = count ? atol(count) : getenv("LONG") ? 20000000 : 300000;
	if (no_host()) {
		(void)printf("SKIPPED x86_vector_as_the_host: %s\n", no_host());
		return;
	}
	seed = getenv("RANDOM_SEED") ? (uint64_t)atol(getenv("RANDOM_SEED")) : 7;
	vcpu = new_vcpu();
	x86_vector_memory = (struct x86_vector_memory){do_load, do_store, do_probe};
	open_host();
	for (long i = 0; i < cases && failed < 20; i++) {
		unsigned form = 1 + (unsigned)(next() % (x86_form_count() - 1));
		if (bad[x86_form_op(form)] > 1 || !make_case(&k, form)) continue;
		const char *how = check_case(&k);
		if (how) failed++, bad[k.in.op]++, report(&k, how);
		if (k.trap != X86_OTHER && !lab.wild) done[k.in.op]++, traps += k.trap != 0;
	}
	close_host();
	free(vcpu);
	x86_vector_memory = (struct x86_vector_memory){x86_load, x86_store, x86_probe};
	for (unsigned i = 0; i < X86_OP__max; i++) ops += done[i] > 10;
	CHECK(count || (ops >= 690 && traps > 10000)); /* it did try what it says */
}
#endif
