#ifndef ISA_X86_HOST_TEST_H
#define ISA_X86_HOST_TEST_H
/* For tests: the laboratory where the CPU that this runs on executes guest code, in 64-bit mode or
 * in compatibility mode. All of its state is loaded from a struct host_ctx, and what is there when
 * the code leaves, or comes to an exception, is stored in it. Signals are the process's: one
 * laboratory at a time. On x86-64 hosts with AVX and FSGSBASE. */
#include "base/test.h"
#include "base/types.h"
#include "isa/x86/step.h"
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __x86_64__

enum { HOST_CODE = 0x1000, HOST_CTX = 0x4000 }; /* bytes of code, then a struct host_ctx */
enum { HOST_BUF = 0x1000, HOST_GUARD = 0x20000 };
/* Where things are in the code. */
enum {
	HOST_ENTRY = 0,
	HOST_INSN = 0x280, /* one instruction */
	HOST_TAKEN = 0x300,
	HOST_TAKEN32 = 0x340,
	HOST_LEAVE32 = 0x380,
	HOST_LEAVE = 0x400,
	HOST_ENTRY32 = 0x600,
	HOST_SIGNAL = 0x800
};
enum { HOST_CS32 = 0x23, HOST_DS = 0x2b, HOST_CS = 0x33 }; /* Linux, asm/segment.h */
struct host_ctx {
	uint64_t in[16], in_flags, in_base[2]; /* of FS and GS */
	uint64_t start;			       /* of 64-bit code */
	struct {
		uint32_t at;
		uint16_t cs;
	} far; /* into compatibility mode */
	uint64_t out[16], out_flags, out_base[2];
	uint64_t taken; /* the code went to HOST_TAKEN or HOST_TAKEN32 */
	/* Of an exception: signal, or 0; as the kernel tells them: number, error code, CR2; RIP. */
	uint64_t signal, trap, code, fault, rip, fault_flags, fault_fs;
	uint64_t host_sp, host_fs, host_gs, handler;
	uint32_t usual; /* MXCSR of C */
	_Alignas(64) uint8_t x_in[1024];
	_Alignas(64) uint8_t x_out[HOST_CTX - 2048]; /* XSAVE: x87, SSE, AVX */
};
_Static_assert(sizeof(struct host_ctx) <= HOST_CTX, "has room");
static struct {
	uint8_t *code;
	struct host_ctx *ctx;
	uint64_t insn, leave, taken[3]; /* addresses in code; taken by mode */
	const char *name;		/* whose it is */
	bool anywhere;			/* an exception may be at any RIP, not only at insn */
	/* host_open_buffer()'s: guard, buf, guard, code; wild: host_look() was asked for more. */
	uint8_t *area, *buf, before[HOST_BUF], expect[HOST_BUF];
	bool wild;
} host;

/* Why this host cannot be asked; NULL: it can. What manuals leave open is Intel's here. */
static inline const char *host_lacks(void)
{
	enum { FSGSBASE = 1 << 1 }; /* of AT_HWCAP2: the kernel lets us */
	unsigned a, b, c, d;
	bool adx_bmi2 = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 19) && (b & 1u << 8);
	__builtin_cpu_init();
	if (!adx_bmi2 || !__builtin_cpu_supports("avx2")) return "it has no ADX, BMI2 or AVX2";
	if (!(getauxval(AT_HWCAP2) & FSGSBASE)) return "it has no FSGSBASE";
	__cpuid(0, a, b, c, d);
	return b == signature_INTEL_ebx ? NULL : "it is not Intel's";
}

/* ---- code */

static inline uint8_t *host_put(uint8_t *p, unsigned n, uint64_t v)
{
	memcpy(p, &v, n);
	return p + n;
}
/* OPCODE with ModRM.reg reg and [rip + ...] */
static inline uint8_t *host_put_rip(uint8_t *p, unsigned n, uint64_t opcode, unsigned reg,
				    const void *at)
{
	p = host_put(p, n, opcode);
	p = host_put(p, 1, (reg & 7) << 3 | 5);
	return host_put(p, 4, (uint64_t)((const uint8_t *)at - (p + 4)));
}
static inline uint8_t *host_put_mov(uint8_t *p, bool load, unsigned reg, const void *at)
{
	return host_put_rip(p, 2, 0x48 | (reg >> 3) << 2 | (load ? 0x8b00 : 0x8900), reg, at);
}
static inline uint8_t *host_put_jmp(uint8_t *p, unsigned to)
{
	p = host_put(p, 1, 0xe9);
	return host_put(p, 4, (uint64_t)(host.code + to - (p + 4)));
}
/* rd/wrfsbase, rd/wrgsbase rax: which is ModRM.reg */
static inline uint8_t *host_put_base(uint8_t *p, unsigned which)
{
	return host_put(p, 5, 0xc0ae0f48f3 | (uint64_t)which << 35);
}
enum { HOST_RDFS, HOST_RDGS, HOST_WRFS, HOST_WRGS };
static inline uint8_t *host_put_all(uint8_t *p) /* edx:eax = 7 */
{
	p = host_put(p, 5, 0x7b8);     /* mov eax, 7 */
	return host_put(p, 2, 0xd231); /* xor edx, edx */
}
static inline uint8_t *host_put_kept(uint8_t *p, bool pop)
{
	static const uint8_t kept[] = {3, 5, 12, 13, 14, 15};
	for (unsigned i = 0; i < COUNT(kept); i++) {
		unsigned r = kept[pop ? COUNT(kept) - 1 - i : i];
		if (r >= 8) p = host_put(p, 1, 0x41);
		p = host_put(p, 1, (pop ? 0x58 : 0x50) | (r & 7));
	}
	return p;
}
static inline void host_write_entry(bool is32)
{
	struct host_ctx *x = host.ctx;
	uint8_t *p = host_put_kept(host.code + (is32 ? HOST_ENTRY32 : HOST_ENTRY), false);
	p = host_put_mov(p, false, 4, &x->host_sp);
	p = host_put_mov(host_put_base(p, HOST_RDFS), false, 0, &x->host_fs);
	p = host_put_mov(host_put_base(p, HOST_RDGS), false, 0, &x->host_gs);
	p = host_put(p, 5, 0xb8 | HOST_DS << 8);		    /* mov eax, HOST_DS */
	if (is32) p = host_put(p, 4, 0xc08ed88e);		    /* mov ds, eax; mov es, eax */
	p = host_put_rip(host_put_all(p), 3, 0xae0f48, 5, x->x_in); /* xrstor64 */
	p = host_put_base(host_put_mov(p, true, 0, &x->in_base[0]), HOST_WRFS);
	p = host_put_base(host_put_mov(p, true, 0, &x->in_base[1]), HOST_WRGS);
	p = host_put_mov(p, true, 0, &x->in_flags);
	p = host_put(p, 2, 0x9d50); /* push rax; popfq */
	for (unsigned i = 0; i < 16; i++) p = host_put_mov(p, true, i, &x->in[i]);
	if (is32)
		p = host_put_rip(p, 1, 0xff, 5, &x->far); /* jmp far */
	else
		p = host_put_rip(p, 1, 0xff, 4, &x->start);
	CHECK(p <= host.code + (is32 ? HOST_SIGNAL : HOST_INSN));
}
/* Where branches go: says so without touching EFLAGS, and leaves. */
static inline void host_write_taken(void)
{
	uint8_t *p = host_put(host.code + HOST_TAKEN, 3, 0x05c748); /* mov qword [rip + d], 1 */
	p = host_put(p, 4, (uint64_t)((uint8_t *)&host.ctx->taken - (p + 8)));
	p = host_put(p, 4, 1);
	(void)host_put_jmp(p, HOST_LEAVE);
	p = host_put(host.code + HOST_TAKEN32, 2, 0x05c7); /* mov dword [d], 1 */
	p = host_put(p, 4, (uint64_t)(uintptr_t)&host.ctx->taken);
	p = host_put(p, 4, 1);
	(void)host_put_jmp(p, HOST_LEAVE32);
}
static inline void host_write_leave(void)
{
	struct host_ctx *x = host.ctx;
	uint8_t *p = host_put(host.code + HOST_LEAVE32, 1, 0xea); /* jmp far HOST_CS:LEAVE */
	p = host_put(p, 4, host.leave);
	(void)host_put(p, 2, HOST_CS);
	p = host.code + HOST_LEAVE;
	for (unsigned i = 0; i < 16; i++) p = host_put_mov(p, false, i, &x->out[i]);
	p = host_put_mov(p, true, 4, &x->host_sp);
	p = host_put(p, 2, 0x589c); /* pushfq; pop rax */
	p = host_put_mov(p, false, 0, &x->out_flags);
	p = host_put(p, 3, 0x9d026a);				     /* push 2; popfq */
	p = host_put_rip(host_put_all(p), 3, 0xae0f48, 4, x->x_out); /* xsave64 */
	p = host_put(p, 2, 0xe3db);				     /* fninit */
	p = host_put_rip(p, 2, 0xae0f, 2, &x->usual);		     /* ldmxcsr */
	p = host_put(p, 3, 0x77f8c5);				     /* vzeroupper */
	p = host_put_mov(host_put_base(p, HOST_RDFS), false, 0, &x->out_base[0]);
	p = host_put_mov(host_put_base(p, HOST_RDGS), false, 0, &x->out_base[1]);
	p = host_put_base(host_put_mov(p, true, 0, &x->host_fs), HOST_WRFS);
	p = host_put_base(host_put_mov(p, true, 0, &x->host_gs), HOST_WRGS);
	p = host_put(host_put_kept(p, true), 1, 0xc3);
	CHECK(p <= host.code + HOST_ENTRY32);
}
/* What C relies on, before the handler in C: FS, and AC of EFLAGS, which signals leave alone. */
static inline void host_write_signal(void)
{
	struct host_ctx *x = host.ctx;
	uint8_t *p = host.code + HOST_SIGNAL;
	p = host_put_mov(host_put_base(p, HOST_RDFS), false, 0, &x->fault_fs);
	p = host_put_base(host_put_mov(p, true, 0, &x->host_fs), HOST_WRFS);
	p = host_put(p, 3, 0x9d026a); /* push 2; popfq */
	(void)host_put_rip(p, 1, 0xff, 4, &x->handler);
}

/* ---- signals */

static inline void __attribute__((noreturn)) host_lost(int sig, uint64_t rip)
{
	char text[200], *to = text;
	to += sprintf(to, "%s: signal %d at insn%+ld:", host.name, sig, (long)(rip - host.insn));
	for (int i = 0; i < 15; i++) to += sprintf(to, " %02x", host.code[HOST_INSN + i]);
	*to++ = '\n';
	if (write(2, text, (size_t)(to - text)) < 0) _exit(98);
	_exit(99);
}
/* The state as the exception left it is what sigreturn restores: on at the way out, with flags of
 * no harm. */
static inline void host_on_signal(int sig, siginfo_t *info, void *uc)
{
	greg_t *g = ((ucontext_t *)uc)->uc_mcontext.gregs;
	struct host_ctx *x = host.ctx;
	uint64_t rip = (uint64_t)g[REG_RIP];
	(void)info;
	if (x->signal || (!host.anywhere && rip != host.insn) ||
	    rip - (uint64_t)(uintptr_t)host.code - HOST_LEAVE < HOST_SIGNAL - HOST_LEAVE)
		host_lost(sig, rip);
	x->signal = (uint64_t)sig;
	x->trap = (uint64_t)g[REG_TRAPNO];
	x->code = (uint64_t)g[REG_ERR];
	x->fault = (uint64_t)g[REG_CR2];
	x->rip = rip;
	x->fault_flags = (uint64_t)g[REG_EFL];
	g[REG_RIP] = (greg_t)host.leave;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & ~(greg_t)0xffff) | HOST_CS;
	g[REG_EFL] = 0x202;
}
static const int host_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
static struct sigaction host_old_action[5];
static stack_t host_old_stack;

/* at: HOST_CODE + HOST_CTX bytes, below 4 GiB if there is to be 32-bit code. */
static inline void host_open(void *at, const char *name)
{
	enum { MXCSR = 0x1f80, MXCSR_AT = 24 };
	static uint8_t stack[65536];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
	__asm__ volatile("movl %0, %%ds\n\tmovl %0, %%es" : : "r"(0)); /* as Linux has them */
	host.name = name;
	host.code = at;
	host.ctx = (struct host_ctx *)(void *)(host.code + HOST_CODE);
	CHECK(!mprotect(at, HOST_CODE + HOST_CTX, PROT_READ | PROT_WRITE | PROT_EXEC));
	host.insn = (uint64_t)(uintptr_t)host.code + HOST_INSN;
	host.taken[X86_32] = (uint64_t)(uintptr_t)host.code + HOST_TAKEN32;
	host.taken[X86_64] = (uint64_t)(uintptr_t)host.code + HOST_TAKEN;
	host.leave = (uint64_t)(uintptr_t)host.code + HOST_LEAVE;
	host.ctx->usual = MXCSR;
	memcpy(host.ctx->x_in + MXCSR_AT, &host.ctx->usual, 4);
	host.ctx->handler = (uint64_t)(uintptr_t)host_on_signal;
	host.ctx->start = host.insn;
	host.ctx->far.at = (uint32_t)host.insn;
	host.ctx->far.cs = HOST_CS32;
	host_write_entry(false);
	host_write_entry(true);
	host_write_taken();
	host_write_leave();
	host_write_signal();
	sigaltstack(&ss, &host_old_stack);
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	uint64_t handler = (uint64_t)(uintptr_t)host.code + HOST_SIGNAL;
	memcpy(&sa.sa_sigaction, &handler, sizeof handler);
	for (unsigned i = 0; i < COUNT(host_signals); i++)
		sigaction(host_signals[i], &sa, &host_old_action[i]);
}
static inline void host_close(void)
{
	for (unsigned i = 0; i < COUNT(host_signals); i++)
		sigaction(host_signals[i], &host_old_action[i], 0);
	sigaltstack(&host_old_stack, 0);
}
/* With a buffer for the code to work on, all of it below 4 GiB; GS is at the buffer's 64th byte. */
static inline void host_open_buffer(const char *name)
{
	enum { SIZE = HOST_GUARD + HOST_BUF + HOST_GUARD + HOST_CODE + HOST_CTX, AT_GS = 64 };
	host.area = mmap(0, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(host.area != MAP_FAILED);
	host.buf = host.area + HOST_GUARD;
	CHECK(!mprotect(host.buf, HOST_BUF, PROT_READ | PROT_WRITE));
	host_open(host.buf + HOST_BUF + HOST_GUARD, name);
	host.ctx->in_base[1] = (uint64_t)(uintptr_t)host.buf + AT_GS;
}
static inline void host_close_buffer(void)
{
	enum { SIZE = HOST_GUARD + HOST_BUF + HOST_GUARD + HOST_CODE + HOST_CTX };
	host_close();
	munmap(host.area, SIZE);
}
/* What the process has there: 0 for the buffer, a trap, or wild. */
static inline int host_look(uint64_t at, unsigned n)
{
	enum { LOWEST = 0x10000 }; /* vm.mmap_min_addr */
	uint64_t lo = (uint64_t)(uintptr_t)host.buf, hi = lo + HOST_BUF;
	if (at >= lo && at <= hi - n) return 0;
	if (at >= lo - HOST_GUARD && at <= hi + HOST_GUARD - n) return X86_TRAP_PF;
	if (at + n >= at && at + n <= LOWEST) return X86_TRAP_PF;
	if ((int64_t)at < 0) return X86_TRAP_PF; /* the kernel's half */
	host.wild = true;
	return X86_TRAP_PF;
}
/* From in, in_flags, in_base, x_in. */
static inline void host_run(bool is32)
{
	struct host_ctx *x = host.ctx;
	void (*enter)(void);
	uint64_t at = (uint64_t)(uintptr_t)host.code + (is32 ? HOST_ENTRY32 : HOST_ENTRY);
	memcpy(&enter, &at, sizeof at);
	x->signal = x->taken = 0;
	memset(x->x_out, 0, 1024);
	enter();
	if (!x->signal) return;
	x->out_flags = x->fault_flags;
	x->out_base[0] = x->fault_fs;
}
/* One instruction at host.insn, then out again. */
static inline void host_run_insn(const uint8_t *bytes, unsigned n, bool is32)
{
	uint8_t *p = host.code + HOST_INSN;
	memcpy(p, bytes, n);
	(void)host_put_jmp(p + n, is32 ? HOST_LEAVE32 : HOST_LEAVE);
	host_run(is32);
}
#endif
#endif
