/* Any bytes as code of an x86-64 guest under the translator: user or kernel, with memory at both
 * ends of what the window covers, a window at once where there is room for one, and a kernel behind
 * it whose handlers are where the input says. Whatever it does, the monitor stays whole. Input:
 * how, registers' seed, code. A guest that goes on for ever is stopped by a timer. */
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"
#include <signal.h>
#include <time.h>

enum { CODE = 0x200000, GDT = 0x2000, IDT = 0x3000, TSS = 0x4000, CODE_LEN = 4096 };

static uint64_t seed;
static uint64_t next(void)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return seed >> 8 ^ seed << 50;
}
static struct x86_vcpu *running;
static void stop(int sig)
{
	(void)sig;
	if (running) x86_poke(running, X86_POLL_KICK);
}
static timer_t timer(void)
{
	static timer_t t;
	static bool is;
	struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	struct sigaction act = {.sa_handler = stop, .sa_flags = SA_RESTART | SA_ONSTACK};
	if (!is) must(!sigaction(SIGRTMIN, &act, NULL) && !timer_create(CLOCK_MONOTONIC, &how, &t));
	is = true;
	return t;
}

static const uint64_t place[] = {0x10000000,  0x7fff0000,     0x80000000,     0x100000000,
				 0x103ff0000, 0x54fffffff000, 0x550000000000, 0x7fffffff0000};
static void memory(struct x86_rig *r, bool user)
{
	for (unsigned k = 0; k < 1024; k++) x86_rig_map(r, k * X86_PAGE, k * X86_PAGE, 7, 0);
	for (unsigned n = 0; n < COUNT(place); n++)
		for (unsigned k = 0; k < 16; k++)
			x86_rig_map(r, place[n] + k * X86_PAGE,
				    k == 9 ? X86_RIG_DEVICE : 0x200000 + (next() & 0x1ff000),
				    (next() & 7) | (next() & 1 ? 7 : 0), 0);
	x86_rig_map(r, 0x40000000, 0x200000, 0x87, 1);
	(void)user;
}
static void tables(struct x86_rig *r, uint64_t handler)
{
	static const uint64_t gdt[] = {0,
				       0x00af9b000000ffff,
				       0x00cf93000000ffff,
				       0,
				       0x00cff3000000ffff,
				       0x00affb000000ffff,
				       0x00008b0040000067,
				       0};
	for (unsigned k = 0; k < COUNT(gdt); k++) x86_rig_put(r, GDT + 8 * k, gdt[k], 8);
	for (unsigned k = 0; k < 64; k++) {
		uint64_t to = next() & 1 ? CODE + handler : CODE + (next() & 0xfff);
		uint64_t cs = next() & 7 ? 8 : 0x2b;
		x86_rig_put(r, IDT + 16 * k,
			    (to & 0xffff) | cs << 16 | (next() & 3) << 32 | 0xeeull << 40 |
				    (to >> 16 & 0xffff) << 48,
			    8);
		x86_rig_put(r, IDT + 16 * k + 8, 0, 8);
	}
	for (unsigned k = 0; k < 13; k++)
		x86_rig_put(r, TSS + 4 + 8 * k,
			    k < 3 ? 0x7000 : place[next() % COUNT(place)] + (next() & 0xffff), 8);
	r->v->gdt.base = GDT, r->v->gdt.limit = sizeof(gdt) - 1;
	r->v->idt.base = IDT, r->v->idt.limit = 0x3ff;
	r->v->seg[X86_SEG_TR] = (struct x86_segreg){TSS, 0x67, 0x8b, 0x30};
}
static void state(struct x86_rig *r, const uint8_t *p)
{
	struct x86_vcpu *v = r->v;
	unsigned cpl = p[0] & 1 ? 3 : 0;
	x86_rig_flat(r, X86_64, cpl);
	v->seg[X86_CS].sel = cpl ? 0x2b : 8;
	v->seg[X86_SS].sel = cpl ? 0x23 : 16;
	v->cr4 = load_le(p + 2, 4) & (CR4_SMEP | CR4_SMAP | CR4_UMIP | CR4_PGE | CR4_FSGSBASE |
				      CR4_TSD | CR4_PCIDE | CR4_OSXMMEXCPT);
	v->cr4 |= p[0] & 2 ? CR4_OSFXSR | CR4_OSXSAVE : 0;
	v->xcr0 = X86_XCR0;
	v->cr0 |= p[0] & 4 ? CR0_AM : 0;
	memory(r, cpl == 3);
	tables(r, p[1]);
	x86_rig_paging(r);
	v->efer |= EFER_SCE;
	v->lstar = CODE + p[1];
	v->star = 0x0018000800000000;
	v->cpu.flags = 2;
	for (unsigned k = 0; k < 16; k++)
		v->cpu.r[k] = next() & 3 ? place[next() % COUNT(place)] + (next() & 0xffff)
					 : next() >> (next() & 63);
	x86_vector_reset(v, false);
	v->cpu.rip = CODE + (p[0] & 8 ? X86_PAGE - 64 : 0);
	x86_mode_update(v);
}
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum { HEAD = 14, MS = 1000000 };
	if (n < HEAD) return 0;
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	r->m.env.windows = WINDOWS_EARLY;
	seed = load_le(p + 6, 8);
	state(r, p);
	r->m.code_pages = (1ull << 32) >> X86_PAGE_SHIFT;
	r->m.code = calloc(r->m.code_pages, 1);
	must(r->m.code && !x86_jit_new(v, 4 << 20, X86_JIT_FAST, NULL));
	r->at = v->cpu.rip;
	x86_rig_bytes(r, p + HEAD, n - HEAD > CODE_LEN ? CODE_LEN : n - HEAD);
	const struct itimerspec when = {{0, 2 * MS}, {0, 5 * MS}}, never = {0};
	running = v;
	must(!timer_settime(timer(), 0, &when, NULL));
	for (unsigned k = 0; k < 4 && !v->reset_asked && !v->broken; k++) {
		(void)x86_vcpu_run(v);
		must(v->cpl < 4 && v->mode <= X86_64 && v->view < X86_VIEWS);
		must(v->mode == X86_64 || v->cpu.rip <= UINT32_MAX);
		v->activity = X86_RUNNING;
	}
	must(!timer_settime(timer(), 0, &never, NULL));
	running = NULL;
	_Atomic uint8_t *code = r->m.code;
	x86_rig_free(r);
	free((void *)code);
	return 0;
}
