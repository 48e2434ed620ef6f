/* Instructions against the CPU that this runs on: each case is one instruction, on registers, flags
 * and memory gathered at the corners, executed by x86_exec and then, with the same registers, by
 * the host: all registers, all defined flags, memory, and which kind of exception. x86_exec goes
 * first: only what it believes to stay in our buffer (or to fault) may run for real. */
#include "base/test.h"
#include "base/types.h"
#include "isa/x86/random_test.h"
#include "isa/x86/step.h"
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __x86_64__

enum { GUARD = 0x20000, BUF = 0x1000, CODE = 0x1000, CTX = 0x1000 };
/* What goes into the processor and comes out of it; the stubs below know the offsets. */
struct ctx {
	uint64_t in[16], in_flags, out[16], out_flags, host_sp, taken, signal;
	struct {
		uint32_t at;
		uint16_t cs;
	} far; /* into compatibility mode */
};
static struct {
	uint8_t *area, *buf, *code; /* area: guard, buf, guard, code, ctx */
	struct ctx *ctx;
	uint64_t insn, leave, taken[3]; /* addresses in code; of targets, by mode */
	uint8_t before[BUF], expect[BUF];
	bool wild, foreign[X86_OP__max]; /* found to be X86_OTHER: not tried again */
} lab;

static uint64_t corner(void)
{
	static const uint64_t some[] = {
		0,	    1,		 2,	    3,		7,	    8,
		9,	    15,		 16,	    31,		32,	    33,
		63,	    64,		 0x7f,	    0x80,	0x81,	    0xff,
		0x100,	    0x7fff,	 0x8000,    0xffff,	0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 1};
	uint64_t r = next();
	switch (r & 7) {
	case 0:
	case 1:
	case 2: return some[(r >> 8) % COUNT(some)];
	case 3: return -some[(r >> 8) % COUNT(some)];
	case 4: return next() >> (r >> 8 & 63);
	case 5: return some[(r >> 8) % COUNT(some)] << (r >> 16 & 63);
	default: return next();
	}
}

/* ---- the host's side ---- */

static uint8_t *put(uint8_t *p, unsigned n, uint64_t v)
{
	memcpy(p, &v, n);
	return p + n;
}
/* mov reg, [rip + ...] (load) or the other way. */
static uint8_t *put_mov(uint8_t *p, bool load, unsigned reg, const void *at)
{
	p = put(p, 1, 0x48 | (reg >> 3) << 2);
	p = put(p, 1, load ? 0x8b : 0x89);
	p = put(p, 1, (reg & 7) << 3 | 5);
	return put(p, 4, (uint64_t)((const uint8_t *)at - (p + 4)));
}
enum {
	ENTRY = 0,
	INSN = 0x280,
	TAKEN = 0x300,
	TAKEN32 = 0x340,
	LEAVE = 0x400,
	ENTRY32 = 0x600,
	LEAVE32 = 0x380
};
enum { USER32_CS = 0x23, USER_DS = 0x2b, USER_CS = 0x33 }; /* Linux, asm/segment.h */
static const uint8_t kept[] = {3, 5, 12, 13, 14, 15};

static uint8_t *put_jmp(uint8_t *p, unsigned to)
{
	p = put(p, 1, 0xe9);
	return put(p, 4, (uint64_t)(lab.code + to - (p + 4)));
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
	p = put(p, 5, 0xb8 | USER_DS << 8);  /* mov eax, USER_DS */
	if (is32) p = put(p, 4, 0xc08ed88e); /* mov ds, eax; mov es, eax */
	p = put_mov(p, true, 0, &x->in_flags);
	p = put(p, 2, 0x9d50); /* push rax; popfq */
	for (unsigned i = 0; i < 16; i++) p = put_mov(p, true, i, &x->in[i]);
	if (!is32) {
		(void)put_jmp(p, INSN);
		return;
	}
	p = put(p, 2, 0x2dff); /* jmp far [rip + d] */
	(void)put(p, 4, (uint64_t)((uint8_t *)&x->far - (p + 4)));
}
/* Where branches go: says so in ctx without touching EFLAGS, and leaves. */
static void write_taken(void)
{
	struct ctx *x = lab.ctx;
	uint8_t *p = put(lab.code + TAKEN, 3, 0x05c748); /* mov qword [rip + d], 1 */
	p = put(p, 4, (uint64_t)((uint8_t *)&x->taken - (p + 8)));
	p = put(p, 4, 1);
	(void)put_jmp(p, LEAVE);
	p = put(lab.code + TAKEN32, 2, 0x05c7); /* mov dword [d], 1 */
	p = put(p, 4, (uint64_t)&x->taken);
	p = put(p, 4, 1);
	(void)put_jmp(p, LEAVE32);
}
/* code: entries, the instruction at INSN, branches' targets, the way out. */
static void write_stubs(void)
{
	struct ctx *x = lab.ctx;
	write_entry(false);
	write_entry(true);
	write_taken();
	uint8_t *p = put(lab.code + LEAVE32, 1, 0xea); /* jmp far USER_CS:LEAVE */
	p = put(p, 4, lab.leave);
	(void)put(p, 2, USER_CS);
	p = lab.code + LEAVE;
	for (unsigned i = 0; i < 16; i++) p = put_mov(p, false, i, &x->out[i]);
	p = put_mov(p, true, 4, &x->host_sp);
	p = put(p, 2, 0x589c); /* pushfq; pop rax */
	p = put_mov(p, false, 0, &x->out_flags);
	p = put(p, 1, 0xfc);
	for (unsigned i = COUNT(kept); i--;) {
		if (kept[i] >= 8) p = put(p, 1, 0x41);
		p = put(p, 1, 0x58 | (kept[i] & 7));
	}
	(void)put(p, 1, 0xc3);
}
/* A signal where none can be: say what ran. */
static void __attribute__((noreturn)) lost(int sig, uint64_t rip)
{
	char text[160], *to = text;
	to += sprintf(to, "native_test: signal %d at insn%+ld:", sig, (long)(rip - lab.insn));
	for (int i = 0; i < 15; i++) to += sprintf(to, " %02x", lab.code[INSN + i]);
	*to++ = '\n';
	if (write(2, text, (size_t)(to - text)) < 0) _exit(98);
	_exit(99);
}
/* An exception: its registers are the result, and we go on at the way out, with flags of no harm.
 */
static void on_signal(int sig, siginfo_t *info, void *uc)
{
	static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
					  REG_R12, REG_R13, REG_R14, REG_R15};
	greg_t *g = ((ucontext_t *)uc)->uc_mcontext.gregs;
	(void)info;
	if (lab.ctx->signal || (uint64_t)g[REG_RIP] != lab.insn) lost(sig, (uint64_t)g[REG_RIP]);
	lab.ctx->signal = (uint64_t)sig;
	for (int i = 0; i < 16; i++) lab.ctx->in[i] = (uint64_t)g[order[i]];
	lab.ctx->in_flags = (uint64_t)g[REG_EFL];
	g[REG_RIP] = (greg_t)lab.leave;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & ~(greg_t)0xffff) | USER_CS;
	g[REG_EFL] &= ~(greg_t)(X86_TF | X86_AC | X86_NT);
}
static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
static struct sigaction old_action[5];
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
	lab.taken[X86_32] = (uint64_t)lab.code + TAKEN32;
	lab.taken[X86_64] = (uint64_t)lab.code + TAKEN;
	lab.leave = (uint64_t)lab.code + LEAVE;
	write_stubs();
	sigaltstack(&ss, &old_stack);
	for (unsigned i = 0; i < COUNT(caught); i++) sigaction(caught[i], &sa, &old_action[i]);
	CHECK(!syscall(SYS_arch_prctl, ARCH_SET_GS, lab.buf + 64));
}

static void close_host(void)
{
	for (unsigned i = 0; i < COUNT(caught); i++) sigaction(caught[i], &old_action[i], 0);
	sigaltstack(&old_stack, 0);
	CHECK(!syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
	munmap(lab.area, GUARD + BUF + GUARD + CODE + CTX);
}

/* ---- ours ---- */

/* What the process has there, in case x86_exec wants it: 0 buffer, a trap, or wild. */
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
static int do_load(struct x86_cpu *c, uint64_t at, void *to, unsigned n)
{
	(void)c;
	int e = look(at, n);
	if (!e) memcpy(to, (void *)at, n);
	return e;
}
static int do_store(struct x86_cpu *c, uint64_t at, const void *from, unsigned n)
{
	(void)c;
	int e = look(at, n);
	if (!e) memcpy((void *)at, from, n);
	return e;
}
static int do_cas(struct x86_cpu *c, uint64_t at, void *expected, const void *to, unsigned n)
{
	(void)c;
	int e = look(at, n);
	if (e) return e;
	if (!memcmp((void *)at, expected, n))
		memcpy((void *)at, to, n);
	else
		memcpy(expected, (void *)at, n);
	return 0;
}
static const struct x86_mem mem = {do_load, do_store, do_cas};

/* ---- a case ---- */

struct run {
	enum x86_mode mode;
	uint64_t taken;
	uint8_t bytes[16];
	struct x86_insn in;
	struct x86_cpu before, after;
	int trap;
};
/* Points the memory operand into the buffer, mostly at edges, if its registers allow. */
static void aim(struct run *k)
{
	struct x86_insn *in = &k->in;
	uint64_t *r = k->before.r;
	unsigned size = in->o[0].kind == X86_MEM ? in->o[0].size : 8;
	uint64_t off = next() % 8 ? next() % (BUF - 32) : BUF - (next() % (size + 4u));
	uint64_t to = (uint64_t)lab.buf + off - k->before.base[in->seg];
	if (next() % 32 == 0 || !in->has_mem) return;
	if (next() % 2) to &= ~15ull;
	uint64_t index = in->index < 16 ? r[in->index] * in->scale : 0;
	if (in->base < 16 && in->base != in->index) {
		r[in->base] = to - index - (uint64_t)in->disp;
		if (in->asize == 4 && next() % 4 == 0) r[in->base] ^= next() << 32;
		return;
	}
	if (in->index < 16 && in->base == X86_NOREG) {
		r[in->index] = (to - (uint64_t)in->disp) / in->scale;
		return;
	}
	uint64_t disp = in->base == X86_RIP ? to - (lab.insn + in->len) : to;
	if (in->base >= 16 && in->index == X86_NOREG && in->disp_len >= 4) {
		memcpy(k->bytes + in->disp_at, &disp, in->disp_len);
		return;
	}
	if (in->imm_len >= 4 && in->base == X86_NOREG)
		memcpy(k->bytes + in->imm_at, &to, in->imm_len);
}
static void make_registers(struct run *k)
{
	uint64_t *r = k->before.r, mid = (uint64_t)lab.buf + BUF / 2;
	for (int i = 0; i < 16; i++) r[i] = corner();
	r[4] = mid + (next() & 0x7f8) - 0x400;
	if (next() % 2) r[5] = mid + (next() & 0x3f8);
	switch (k->in.op) {
	case X86_OP_movs:
	case X86_OP_cmps:
	case X86_OP_scas:
	case X86_OP_stos:
	case X86_OP_lods:
		r[6] = mid + next() % 64;
		r[7] = next() % 4 ? mid + next() % 64 : (uint64_t)lab.buf + BUF - next() % 64;
		if (k->in.rep) r[1] = next() % 70 | (k->in.asize == 4 ? next() << 32 : 0);
		break;
	case X86_OP_xlat: r[3] = mid - (next() & 0xff); break;
	case X86_OP_bt:
	case X86_OP_bts:
	case X86_OP_btr:
	case X86_OP_btc:
		if (next() % 2 && k->in.o[1].kind == X86_REG)
			r[k->in.o[1].reg] = (uint64_t)((int64_t)next() >> (49 + next() % 15));
		break;
	default: break;
	}
}
/* Values that must be right for the case to come back: branches' targets, flags that trap. */
static void settle(struct run *k)
{
	struct x86_insn *in = &k->in;
	uint64_t to = k->taken - (lab.insn + in->len);
	if (in->operands && in->o[0].kind == X86_REL)
		memcpy(k->bytes + in->imm_at, &to, in->imm_len);
	uint64_t at = k->before.r[4];
	if (at < (uint64_t)lab.buf || at + 16 > (uint64_t)lab.buf + BUF) return;
	if (in->op == X86_OP_ret) memcpy((void *)at, &k->taken, 8);
	if (in->op == X86_OP_popf) {
		uint64_t f = next() & ~(uint64_t)(X86_TF | X86_AC | X86_NT);
		memcpy((void *)at, &f, 8);
	}
	if (in->op != X86_OP_jmpi && in->op != X86_OP_calli) return;
	if (in->o[0].kind == X86_REG) k->before.r[in->o[0].reg] = k->taken;
	uint64_t fill = k->mode == X86_32 ? k->taken << 32 | k->taken : k->taken;
	for (unsigned i = 0; i + 8 <= BUF; i += 8) memcpy(lab.buf + i, &fill, 8);
}
static bool is_ours(const struct run *k)
{
	/* fs is the C library's; syscall and such are FOREIGN and never get here */
	if (k->mode == X86_32 && (k->in.seg_over == X86_GS || k->in.seg_over == X86_CS))
		return false;
	return k->in.seg_over != X86_FS && !(k->in.op == X86_OP_bswap && k->in.osize == 2);
}
static bool make_case(struct run *k, unsigned form)
{
	k->mode = next() % 3 ? X86_64 : X86_32;
	k->taken = lab.taken[k->mode];
	if (lab.foreign[x86_form_op(form)] || !x86_form_bytes(form, k->mode, k->bytes, next))
		return false;
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK || !is_ours(k)) return false;
	for (unsigned i = 0; i < 64; i++) {
		uint64_t v = corner();
		memcpy(lab.buf + next() % (BUF / 8) * 8, &v, 8);
	}
	memset(&k->before, 0, sizeof k->before);
	if (k->mode == X86_64) k->before.base[X86_GS] = (uint64_t)lab.buf + 64;
	make_registers(k);
	aim(k);
	settle(k);
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK) return false;
	for (int i = 0; i < 16 && k->mode == X86_32; i++) k->before.r[i] = (uint32_t)k->before.r[i];
	k->before.rip = lab.insn;
	k->before.flags = 0x202 | (next() & (X86_ARITH | (next() % 4 ? 0 : X86_DF)));
	k->before.popf_mask = X86_ARITH | X86_DF | X86_TF | X86_NT | X86_AC | X86_ID;
	k->before.ssize = k->mode == X86_64 ? 8 : 4;
	k->before.mem = &mem;
	return true;
}
static void run_host(const struct run *k)
{
	struct ctx *x = lab.ctx;
	memset(x, 0, sizeof *x);
	memcpy(x->in, k->before.r, sizeof x->in);
	x->in_flags = k->before.flags;
	uint8_t *p = lab.code + INSN;
	memcpy(p, k->bytes, k->in.len);
	(void)put_jmp(p + k->in.len, k->mode == X86_32 ? LEAVE32 : LEAVE);
	x->far.at = (uint32_t)lab.insn;
	x->far.cs = USER32_CS;
	((void (*)(void))(void *)(lab.code + (k->mode == X86_32 ? ENTRY32 : ENTRY)))();
}
static int signal_of(int trap)
{
	switch (trap) {
	case 0: return 0;
	case X86_TRAP_DE: return SIGFPE;
	case X86_TRAP_UD: return SIGILL;
	case X86_TRAP_SS: return SIGBUS;
	default: return SIGSEGV;
	}
}
/* Flags that the manual leaves undefined in this case, the count of a shift known. */
static unsigned undefined(const struct run *k)
{
	const struct x86_insn *in = &k->in;
	unsigned u = x86_op_info((enum x86_op)in->op)->undefines, bits = 8u * in->o[0].size;
	const struct x86_operand *o = &in->o[in->operands ? in->operands - 1u : 0];
	uint64_t n = o->kind == X86_IMM ? (uint64_t)in->imm : k->before.r[1];
	n &= bits == 64 ? 63 : 31;
	switch (in->op) {
	case X86_OP_shl:
	case X86_OP_shr:
		if (n > bits) u |= X86_CF; /* fall through */
	case X86_OP_sar:
	case X86_OP_rol:
	case X86_OP_ror:
	case X86_OP_rcl:
	case X86_OP_rcr:
	case X86_OP_shld:
	case X86_OP_shrd: return n == 0 ? 0 : n == 1 ? u : u | X86_OF;
	default: return u;
	}
}
static bool is_vague(const struct run *k)
{
	unsigned n = (unsigned)(k->in.operands == 3 && k->in.o[2].kind == X86_IMM
					? k->in.imm
					: (int64_t)k->before.r[1]);
	return (k->in.op == X86_OP_shld || k->in.op == X86_OP_shrd) && k->in.osize == 2 &&
	       (n & 31) > 16;
}
/* 0, or what differs. */
static const char *check_case(struct run *k)
{
	struct ctx *x = lab.ctx;
	memcpy(lab.before, lab.buf, BUF);
	k->after = k->before;
	lab.wild = false;
	do k->trap = x86_exec(&k->after, &k->in);
	while (k->trap == X86_REPEAT);
	memcpy(lab.expect, lab.buf, BUF);
	memcpy(lab.buf, lab.before, BUF);
	if (!k->trap && k->after.rip != k->taken && k->after.rip != lab.insn + k->in.len)
		lab.wild = true;
	if (k->trap == X86_OTHER) lab.foreign[k->in.op] = true;
	if (k->trap == X86_OTHER || lab.wild || is_vague(k)) return 0;
	run_host(k);
	if ((int)x->signal != signal_of(k->trap)) return "exception";
	if (!k->trap && x->taken != (k->after.rip == k->taken)) return "branch";
	const uint64_t *out = x->signal ? x->in : x->out;
	for (int i = 0; i < 16; i++)
		if (out[i] != k->after.r[i]) return "register";
	unsigned mask = X86_ARITH | X86_DF | X86_ID;
	if (!k->trap) mask &= ~undefined(k);
	if (((x->signal ? x->in_flags : x->out_flags) ^ k->after.flags) & mask) return "flags";
	return memcmp(lab.buf, lab.expect, BUF) ? "memory" : 0;
}
static void report(const struct run *k, const char *how)
{
	const struct ctx *x = lab.ctx;
	const uint64_t *out = x->signal ? x->in : x->out;
	char text[2048], *to = text;
	to += sprintf(to, "%s:%s:", x86_op_info((enum x86_op)k->in.op)->name, how);
	for (int i = 0; i < k->in.len; i++) to += sprintf(to, " %02x", k->bytes[i]);
	to += sprintf(to, "; trap %x signal %lu flags %lx -> %lx, host %lx", (unsigned)k->trap,
		      x->signal, k->before.flags, k->after.flags,
		      x->signal ? x->in_flags : x->out_flags);
	for (int i = 0; i < 16; i++)
		if (out[i] != k->after.r[i])
			to += sprintf(to, "; r%d %lx -> %lx, host %lx", i, k->before.r[i],
				      k->after.r[i], out[i]);
	test_fail(text, __FILE__, __LINE__);
}
/* Why this host cannot be asked; NULL: it can. */
static const char *no_host(void)
{
	unsigned a, b, c, d;
	bool adx_bmi2 = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 19) && (b & 1u << 8);
	if (!adx_bmi2) return "it has no ADX or BMI2";
	__cpuid(0, a, b, c, d);
	return b == signature_INTEL_ebx ? NULL : "it is not Intel's";
}
/* What real CPUs do where manuals say nothing is Intel's here: REP with 32 bit addresses clears
 * the top of RCX even if it does nothing; CMPXCHG that fails leaves a register's top alone. */
TEST(x86_executes_as_the_host)
{
	static struct run k;
	static unsigned done[X86_OP__max];
	unsigned failed = 0, ops = 0, traps = 0;
	long cases = getenv("LONG") ? 100000000 : 1500000;
	if (no_host()) {
		(void)printf("SKIPPED x86_executes_as_the_host: %s\n", no_host());
		return;
	}
	seed = 7;
	open_host();
	for (long i = 0; i < cases && failed < 10; i++) {
		if (!make_case(&k, 1 + (unsigned)(next() % (x86_form_count() - 1)))) continue;
		const char *how = check_case(&k);
		if (how) failed++, report(&k, how);
		if (k.trap != X86_OTHER && !lab.wild) done[k.in.op]++, traps += k.trap != 0;
	}
	close_host();
	for (unsigned i = 0; i < X86_OP__max; i++) ops += done[i] > 100;
	CHECK(ops >= 100 && traps > 5000); /* it did try what it says */
}
/* ---- registers */

/* May not run here with any registers: it goes elsewhere, writes where we did not look, or changes
 * what C relies on. Translated code has none of these as it is. */
static bool is_unfit(const struct x86_insn *in)
{
	for (unsigned i = 0; i < in->operands; i++) {
		const struct x86_operand *o = &in->o[i];
		if (o->kind == X86_SI || o->kind == X86_DI || o->kind == X86_SEG) return true;
		if (o->kind == X86_REL || o->kind == X86_FAR) return true;
	}
	switch (in->op) {
	case X86_OP_jmpi:
	case X86_OP_calli:
	case X86_OP_jmpfi:
	case X86_OP_callfi:
	case X86_OP_ret:
	case X86_OP_retf:
	case X86_OP_iret:
	case X86_OP_int:
	case X86_OP_int1:
	case X86_OP_int3:
	case X86_OP_into:
	case X86_OP_syscall:
	case X86_OP_sysenter:
	case X86_OP_vmcall:
	case X86_OP_vmmcall:
	case X86_OP_xbegin:
	case X86_OP_push:
	case X86_OP_pop:
	case X86_OP_pushf:
	case X86_OP_popf:
	case X86_OP_enter:
	case X86_OP_leave:
	case X86_OP_xlat:
	case X86_OP_wrfsbase:
	case X86_OP_wrgsbase:
	case X86_OP_lss:
	case X86_OP_lfs:
	case X86_OP_lgs:
	case X86_OP_wrpkru:
	case X86_OP_movts:
	case X86_OP_fldcw:
	case X86_OP_fldenv:
	case X86_OP_frstor:
	case X86_OP_ldmxcsr:
	case X86_OP_vldmxcsr:
	case X86_OP_fxrstor:
	case X86_OP_xrstor:
	case X86_OP_maskmovq:
	case X86_OP_maskmovdqu:
	case X86_OP_vmaskmovdqu: return true;
	default: return in->op >= X86_OP_vpgatherdd && in->op <= X86_OP_vgatherqpd;
	}
}
/* Where it reads and writes, if that is in our buffer for sure. */
static bool is_at_home(const struct run *k)
{
	const struct x86_insn *in = &k->in;
	enum { MOST = 0x400 }; /* what one instruction writes, and a bit offset of 16 bits */
	bool bits = in->op >= X86_OP_bt && in->op <= X86_OP_btc && in->o[1].kind == X86_REG;
	if (!in->has_mem || in->op == X86_OP_lea || in->op == X86_OP_nop) return true;
	uint64_t at = (uint64_t)in->disp + k->before.base[in->seg];
	if (in->base == X86_RIP) at += lab.insn + in->len;
	if (in->base < 16) at += k->before.r[in->base];
	if (in->index < 16) at += k->before.r[in->index] * in->scale;
	if (in->asize == 4) at = (uint32_t)at;
	return !bits && at >= (uint64_t)lab.buf && at <= (uint64_t)lab.buf + BUF - MOST;
}
static bool make_any(struct run *k, unsigned form)
{
	*k = (struct run){.mode = X86_64, .taken = lab.taken[X86_64]};
	if (!x86_form_bytes(form, X86_64, k->bytes, next) ||
	    x86_decode(&k->in, k->bytes, 16, X86_64) != X86_OK || !is_ours(k) || is_unfit(&k->in))
		return false;
	k->before.base[X86_GS] = (uint64_t)lab.buf + 64;
	make_registers(k);
	aim(k);
	if (x86_decode(&k->in, k->bytes, 16, X86_64) != X86_OK || is_unfit(&k->in)) return false;
	k->before.flags = 0x202 | (next() & X86_ARITH);
	return is_at_home(k);
}
/* The translator looks at a base register once for many accesses: it must know who changes it. */
TEST(x86_instructions_write_no_other_register)
{
	static struct run k;
	unsigned failed = 0, forms = 0, tries = getenv("LONG") ? 20000 : 100;
	if (no_host()) return;
	seed = 11;
	open_host();
	for (unsigned form = 1; form < x86_form_count(); form++) {
		unsigned ran = 0;
		for (unsigned n = 0; n < tries && failed < 10; n++) {
			if (!make_any(&k, form)) continue;
			k.after = k.before;
			run_host(&k);
			__asm__ volatile("fninit; vzeroupper; ldmxcsr %0"
					 :
					 : "m"((uint32_t){0x1f80}));
			if (lab.ctx->signal) continue;
			ran++;
			uint32_t changed = 0;
			for (unsigned r = 0; r < 16; r++)
				if (lab.ctx->out[r] != k.before.r[r]) changed |= 1u << r;
			if (changed & ~x86_written(&k.in)) failed++, report(&k, "writes more");
		}
		forms += ran > 0;
	}
	close_host();
	CHECK(forms > 1000);
}
#endif
