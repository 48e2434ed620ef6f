/* Whether /dev/kvm runs kernels. There are hosts where it exists, answers every question well and
 * then interprets ring 0 at a thousandth of the speed, without instructions that every kernel uses
 * (KVM inside a paravirtualised guest); so a guest is run that uses them, and then is timed. It
 * notes in memory what it is about to do, and a timer ends what does not end by itself. */
#include "base/loop.h"
#include "engine/kvm_code.h"
#include "engine/kvm_trial.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	NOTE = 0x7000, /* what it is about to do: a byte */
	DATA = 0x7100,
	RING3 = 0xb000,
	HANDLER = 0xc000, /* for all interrupts */
	VECTOR = 0x40,
	CUT_NS = 60 * 1000 * 1000,	 /* for each of its two guests, */
	STEP_NS = 10 * 1000 * 1000,	 /* for each step alone, */
	PATIENCE_NS = 300 * 1000 * 1000, /* for all before no more are tried */
	TURNS = 1000000,		 /* of a loop of two instructions */
	ENOUGH_MIPS = 50,		 /* less than what a translator does */
};
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

static void wrmsr(struct x86_code *c, uint32_t index, uint64_t v)
{
	x86_mov(c, RCX, index);
	x86_mov(c, RAX, v & 0xffffffff);
	x86_mov(c, RDX, v >> 32);
	X86_EMIT(c, 0x0f, 0x30);
}

static void step_sse(struct x86_code *c)
{
	X86_EMIT(c, 0x0f, 0x28, 0x06, 0x0f, 0x29, 0x06); /* movaps xmm0, [rsi]; and back */
}
static void step_cx16(struct x86_code *c)
{
	X86_EMIT(c, 0xf0, 0x48, 0x0f, 0xc7, 0x0e); /* lock cmpxchg16b [rsi] */
}
static void step_lock(struct x86_code *c)
{
	X86_EMIT(c, 0xf0, 0x48, 0x01, 0x06);		    /* lock add [rsi], rax */
	X86_EMIT(c, 0xf0, 0x48, 0x0f, 0xc1, 0x06);	    /* lock xadd [rsi], rax */
	X86_EMIT(c, 0xf0, 0x48, 0x0f, 0xba, 0x2e, 0x05);    /* lock bts qword [rsi], 5 */
	X86_EMIT(c, 0xf0, 0x48, 0x0f, 0xb1, 0x0e, 0x87, 6); /* lock cmpxchg [rsi], rcx; xchg */
}
static void step_rep(struct x86_code *c)
{
	x86_mov(c, RDI, DATA + 0x400);
	x86_mov(c, RCX, 200);
	X86_EMIT(c, 0xf3, 0xa4); /* rep movsb */
	x86_mov(c, RSI, DATA);
}
static void step_cpuid(struct x86_code *c)
{
	x86_mov(c, RAX, 1);
	X86_EMIT(c, 0x0f, 0xa2);
}
static void star(struct x86_code *c)
{
	wrmsr(c, 0xc0000081, (uint64_t)0x13 << 48 | (uint64_t)X86_KERNEL_CS << 32); /* STAR */
	wrmsr(c, 0xc0000084, 0x200);						    /* FMASK */
}
static void step_msr(struct x86_code *c)
{
	x86_mov(c, RCX, 0xc0000080); /* EFER */
	X86_EMIT(c, 0x0f, 0x32, 0x0f, 0x30);
	star(c);
	X86_EMIT(c, 0x0f, 0x01, 0xf8, 0x0f, 0x01, 0xf8); /* swapgs, twice */
}
static void step_invlpg(struct x86_code *c)
{
	X86_EMIT(c, 0x0f, 0x01, 0x3e, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8); /* and cr3 to itself */
}
static void step_int3(struct x86_code *c) { X86_EMIT(c, 0xcc); }
static void step_fpu(struct x86_code *c)
{
	X86_EMIT(c, 0x48, 0x0f, 0xae, 0x06, 0x48, 0x0f, 0xae, 0x0e); /* fxsave64, fxrstor64 [rsi] */
}

/* Push what iretq takes and execute it. */
static void iretq(struct x86_code *c, unsigned cs, unsigned ss, gpa_t rip)
{
	X86_EMIT(c, 0x48, 0x89, 0xe3, 0x6a, (uint8_t)ss, 0x53); /* mov rbx, rsp; push ss, rbx */
	X86_EMIT(c, 0x6a, 0x02, 0x6a, (uint8_t)cs);		/* flags, cs */
	x86_mov(c, RAX, rip);
	X86_EMIT(c, 0x50, 0x48, 0xcf);
}
static void step_iret(struct x86_code *c)
{
	enum { LEN = 3 + 2 + 1 + 4 + 10 + 1 + 2 };
	iretq(c, X86_KERNEL_CS, X86_KERNEL_SS, c->at + LEN);
}

/* To ring 3, which makes a system call, is answered, makes another, and does not come back. */
static void step_syscall(struct x86_code *c)
{
	struct x86_code user = {c->mem, RING3};
	star(c);
	wrmsr(c, 0xc0000082, c->at + 100); /* LSTAR: the handler, at a place not yet known */
	gpa_t operand = c->at - 2 - 10 - 8;
	x86_mov(c, RBP, 0);
	iretq(c, X86_USER_CS, X86_USER_SS, RING3);
	uint32_t handler = (uint32_t)c->at;
	must(gmem_write(c->mem, operand, &handler, 4));
	X86_EMIT(c, 0x48, 0xff, 0xc5, 0x48, 0x83, 0xfd, 0x02); /* inc rbp; cmp rbp, 2 */
	X86_EMIT(c, 0x74, 0x03, 0x48, 0x0f, 0x07);	       /* je past; sysretq */
	X86_EMIT(&user, 0x0f, 0x05, 0x0f, 0x05, 0xeb, 0xfe);
}

/* A self-IPI, by x2APIC, and a halt that it ends. */
static void step_hlt(struct x86_code *c)
{
	wrmsr(c, 0x1b, 0xfee00d00); /* APIC_BASE: enabled, x2APIC, boot CPU */
	wrmsr(c, 0x80f, 0x1ff);	    /* spurious vector, on */
	wrmsr(c, 0x83f, VECTOR);
	X86_EMIT(c, 0xfb, 0xf4, 0xfa); /* sti; hlt; cli */
}

static const struct {
	const char *what;
	void (*put)(struct x86_code *c);
} steps[] = {
	{"the first instruction", step_cpuid},
	{"movaps", step_sse},
	{"cmpxchg16b", step_cx16},
	{"a locked operation", step_lock},
	{"rep movsb", step_rep},
	{"cpuid", step_cpuid},
	{"rdmsr or wrmsr", step_msr},
	{"invlpg", step_invlpg},
	{"fxrstor", step_fpu},
	{"int3", step_int3},
	{"iretq", step_iret},
	{"syscall or sysret", step_syscall},
	{"hlt with an interrupt", step_hlt},
};

static enum vcpu_exit trial_run(struct kvm_trial *t, uint64_t ns)
{
	enum vcpu_exit x = VCPU_BROKEN;
	if (x86_long_mode(&engine_kvm, t->cpu, X86_CODE)) return x;
	return kvm_run_for(t->cpu, ns);
}

/* Of this thread, the guest's included: others may be at work here. */
static uint64_t cpu_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double trial_speed(struct kvm_trial *t)
{
	struct x86_code c = {t->mem, X86_CODE};
	uint64_t left = TURNS;
	x86_mov(&c, RCX, TURNS);
	gpa_t loop = c.at;
	X86_EMIT(&c, 0x48, 0xff, 0xc9); /* dec rcx */
	x86_back(&c, 0x75, loop);
	x86_out(&c, KVM_TRIAL_DONE, 0);
	X86_EMIT(&c, 0xeb, 0xfe);
	uint64_t began = cpu_ns();
	if (trial_run(t, CUT_NS) != VCPU_KICKED) return 0;
	double us = (double)(cpu_ns() - began + 1) / 1000;
	if (engine_kvm.get(t->cpu, REG_X86_GPR + RCX, &left) || left > TURNS) return 0;
	return 2.0 * (double)(TURNS - left) / us;
}

static void put_note(struct x86_code *c, unsigned n)
{
	X86_EMIT(c, 0xc6, 0x04, 0x25); /* mov byte [NOTE], n */
	x86_emit_le(c, NOTE, 4);
	X86_EMIT(c, (uint8_t)n);
}

static void trial_code(struct kvm_trial *t, unsigned first, unsigned end)
{
	struct x86_code c = {t->mem, X86_CODE}, handler = {t->mem, HANDLER};
	X86_EMIT(&handler, 0x48, 0xcf); /* iretq: that it came back is enough */
	x86_gate(t->mem, 3, HANDLER, 0);
	x86_gate(t->mem, VECTOR, HANDLER, 0);
	for (unsigned i = first; i < end; i++) {
		put_note(&c, i);
		x86_mov(&c, RSI, DATA);
		steps[i].put(&c);
	}
	put_note(&c, COUNT(steps));
	x86_out(&c, KVM_TRIAL_DONE, 0);
	X86_EMIT(&c, 0xeb, 0xfe);
	must(c.at < RING3);
}

/* The step that it fails at, or COUNT(steps). */
static unsigned trial_steps(struct kvm_trial *t, unsigned first, unsigned end, uint64_t ns)
{
	uint8_t note = (uint8_t)first;
	engine_kvm.reset(t->cpu);
	must(gmem_write(t->mem, NOTE, &note, 1));
	x86_tables(t->mem);
	trial_code(t, first, end);
	(void)trial_run(t, ns);
	(void)gmem_read(t->mem, NOTE, &note, 1);
	return note;
}

/* All that fails, by name, as much as there is room for. A kernel does all in one go; only if that
 * fails is each tried alone. */
static void trial_fails(struct kvm_trial *t, uint64_t until, char *to, size_t room)
{
	size_t n = 0;
	unsigned at = trial_steps(t, 0, COUNT(steps), CUT_NS);
	to[0] = 0;
	for (unsigned i = 0; at < COUNT(steps) && i < COUNT(steps) && n < room; i++)
		if (now_ns() < until && trial_steps(t, i, i + 1, STEP_NS) < COUNT(steps))
			n += (size_t)snprintf(to + n, room - n, "%s%s", n ? ", " : "",
					      steps[i].what);
	if (at < COUNT(steps) && !n) (void)snprintf(to, room, "%s", steps[at].what);
}

static void judge(struct kvm_report *r, const char *fails)
{
	char slow[80] = "";
	r->state = fails[0] || r->mips < ENOUGH_MIPS ? KVM_UNFIT : KVM_USABLE;
	if (r->state == KVM_USABLE) {
		(void)snprintf(r->what, sizeof(r->what), "usable for guests of this CPU, x86-64");
		return;
	}
	if (r->mips < ENOUGH_MIPS)
		(void)snprintf(slow, sizeof(slow), "%.1f million instructions a second in ring 0",
			       r->mips);
	(void)snprintf(r->what, sizeof(r->what), "present, but not usable for kernels (%s%s%s%s)",
		       slow, slow[0] && fails[0] ? "; " : "", fails[0] ? "it fails at " : "",
		       fails);
	(void)snprintf(r->hint, sizeof(r->hint), "translating instead");
}

static void judge_error(struct kvm_report *r, const struct err *e)
{
	bool absent = e->code == -ENOENT || e->code == -ENODEV || e->code == -ENXIO;
	bool denied = e->code == -EACCES || e->code == -EPERM;
	r->state = absent ? KVM_ABSENT : denied ? KVM_DENIED : KVM_UNFIT;
	if (absent)
		(void)snprintf(r->what, sizeof(r->what), "not there");
	else if (denied)
		(void)snprintf(r->what, sizeof(r->what), "there, but not permitted");
	else
		(void)snprintf(r->what, sizeof(r->what), "present, but not usable (%.150s)",
			       e->msg);
	(void)snprintf(r->hint, sizeof(r->hint), "%s",
		       denied ? "translating instead; to use it: add yourself to group kvm"
			      : "translating instead");
}

static struct kvm_report report;
static void probe_once(void)
{
	struct kvm_trial t = {0};
	struct err e = {0};
	uint64_t began = now_ns(), used = cpu_ns();
	if (kvm_trial_open(&t, &e))
		judge_error(&report, &e);
	else {
		char fails[120];
		report.mips = trial_speed(&t);
		trial_fails(&t, began + PATIENCE_NS, fails, sizeof(fails));
		judge(&report, fails);
	}
	kvm_trial_close(&t);
	report.ns = now_ns() - began;
	report.cpu_ns = cpu_ns() - used;
}

const struct kvm_report *kvm_probe(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, probe_once);
	return &report;
}
