/* Direct execution as a vCPU has it, with a kernel that only stops: what a CPU has of another's
 * code, where the stub itself lives, what becomes of a guest whose stub is killed. */
#include "engine/x86_code.h"
#include "engine/x86_direct.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"
#include "engine/x86_stub.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum {
	GDT = 0x2000,
	IDT = 0x3000,
	TSS = 0x4000,
	KERNEL = 0x5000, /* stops */
	CODE = 0x200000,
	DATA = 0x201000,
	BOTH = 0x202000, /* code that is written to */
	CODE_LA = 0x400000,
	DATA_LA = 0x10000000,
	BOTH_LA = 0x20000000,
};
#define NX (1ull << 63)

static void user_state(struct x86_rig *r, struct x86_vcpu *v)
{
	struct x86_vcpu *first = r->v;
	r->v = v;
	x86_rig_flat(r, X86_64, 3);
	r->v = first;
	v->seg[X86_CS].sel = 0x33, v->seg[X86_SS].sel = 0x2b; /* as Linux has them */
	v->seg[X86_DS].sel = v->seg[X86_ES].sel = v->seg[X86_FS].sel = v->seg[X86_GS].sel = 0;
	v->seg[X86_SEG_TR] = (struct x86_segreg){TSS, 0x67, 0x8b, 0x40};
	v->cr0 |= CR0_PG | CR0_WP;
	x86_mode_update(v);
	v->cpu.rip = CODE_LA;
	v->cpu.flags = 0x202;
	v->cpu.r[4] = DATA_LA + 0x800; /* RSP */
	v->activity = X86_RUNNING;
}
static void cpu_begin(struct x86_rig *r, struct x86_vcpu *v)
{
	v->gdt.base = GDT, v->gdt.limit = X86_RIG_GDT_LIMIT;
	v->idt.base = IDT, v->idt.limit = 16 * 32 - 1;
	v->xcr0 = X86_XCR0;
	v->cr4 |= CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_PGE | CR4_FSGSBASE |
		  CR4_UMIP;
	v->efer |= EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	v->cr3 = X86_RIG_TABLES;
	x86_vector_reset(v, false);
	v->x.bytes[512] = 7;
	user_state(r, v);
	x86_tlb_flush(v, true);
	must(!x86_jit_new(v, 4 << 20, X86_JIT_FAST, NULL));
}
static struct x86_rig *rig(enum windows windows, enum direct direct)
{
	struct x86_rig *r = x86_rig_new();
	r->m.env.windows = windows;
	r->m.env.direct = direct;
	for (unsigned k = 0; k < X86_RIG_RAM / X86_PAGE; k++)
		x86_rig_map(r, k * X86_PAGE, k * X86_PAGE, 3, 0);
	x86_rig_map(r, CODE_LA, CODE, 0x65, 0);
	x86_rig_map(r, DATA_LA, DATA, 0x67 | NX, 0);
	x86_rig_map(r, BOTH_LA, BOTH, 0x67, 0);
	x86_rig_gdt(r, GDT, TSS);
	for (unsigned k = 0; k < 32; k++)
		x86_rig_put(r, IDT + 16 * k, KERNEL | 8 << 16 | 0xeeull << 40, 8);
	r->at = KERNEL;
	X86_RIG_CODE(r, X86_RIG_HALT, 0xf4);
	r->m.code_pages = (1ull << 32) >> X86_PAGE_SHIFT;
	r->m.code = calloc(r->m.code_pages, 1);
	must(r->m.code && x86_vcpu_new(&r->m, 1));
	cpu_begin(r, r->m.vcpu[0]);
	r->m.env.direct = DIRECT_OFF; /* CPU 1 translates */
	cpu_begin(r, r->m.vcpu[1]);
	r->m.env.direct = direct;
	return r;
}
static void done(struct x86_rig *r)
{
	_Atomic uint8_t *code = r->m.code;
	x86_rig_free(r);
	free((void *)code);
}
#define CODE_IS(r, ...)                                                                            \
	do {                                                                                       \
		const uint8_t c_[] = {__VA_ARGS__};                                                \
		must(gmem_write((r)->mem, CODE, c_, sizeof(c_)));                                  \
	} while (0)
/* From CODE_LA on, until the kernel is called. */
static void go(struct x86_rig *r, unsigned cpu)
{
	struct x86_vcpu *v = r->m.vcpu[cpu];
	unsigned stops = r->stops;
	user_state(r, v);
	for (unsigned k = 0; k < 100 && r->stops == stops; k++)
		if (x86_vcpu_run(v) != VCPU_KICKED) break;
	CHECK(r->stops == stops + 1);
}
static bool has_direct(const struct x86_rig *r)
{
	if (r->v->stats[X86_STAT_DIRECT_STOPS]) return true;
	fprintf(stderr, "SKIPPED: this host has no place for direct execution\n");
	return false;
}

/* One CPU has had a page for writing; then another runs what is in it; then the first writes. */
static void patched_from_afar(enum windows windows, enum direct direct)
{
	struct x86_rig *r = rig(windows, direct);
	/* mov [rdi], esi; jmp rdx */
	CODE_IS(r, 0x89, 0x37, 0xff, 0xe2);
	must(gmem_write(r->mem, BOTH, (uint8_t[]){0xb8, 0, 0, 0, 0, 0x0f, 0x0b}, 7));
	for (uint32_t k = 1; k < 6; k++) {
		struct x86_vcpu *writer = r->m.vcpu[0], *runner = r->m.vcpu[1];
		writer->cpu.r[7] = BOTH_LA + 1, writer->cpu.r[6] = k; /* RDI, RSI */
		writer->cpu.r[2] = DATA_LA;			      /* nothing to be run */
		go(r, 0);
		runner->cpu.r[7] = DATA_LA, runner->cpu.r[2] = BOTH_LA;
		go(r, 1);
		CHECK((uint32_t)runner->cpu.r[0] == k);
	}
	if (direct != DIRECT_OFF) (void)has_direct(r);
	done(r);
}
TEST(x86_patches_reach_code_of_another_cpu)
{
	patched_from_afar(WINDOWS_OFF, DIRECT_OFF);
	patched_from_afar(WINDOWS_EARLY, DIRECT_OFF);
	patched_from_afar(WINDOWS_OFF, DIRECT_EARLY);
}
/* Its stub is killed by somebody, when it computes: it goes on. */
static void *killer(void *of)
{
	struct x86_vcpu *v = of;
	for (unsigned k = 0; k < 5000 && !atomic_load(&v->native); k++) (void)usleep(1000);
	(void)usleep(20000);
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", atomic_load(&v->native));
	FILE *f = fopen(path, "re");
	int pid;
	while (f && fscanf(f, "%d", &pid) == 1) (void)kill(pid, SIGKILL);
	if (f) (void)fclose(f);
	return NULL;
}
TEST(x86_direct_outlives_its_stub)
{
	struct x86_rig *r = rig(WINDOWS_OFF, DIRECT_EARLY);
	pthread_t t;
	/* mov ecx, 2000000000; dec ecx; jnz back; ud2 */
	CODE_IS(r, 0xb9, 0x00, 0x94, 0x35, 0x77, 0xff, 0xc9, 0x75, 0xfc, 0x0f, 0x0b);
	CHECK(!pthread_create(&t, NULL, killer, r->v));
	go(r, 0);
	CHECK(!pthread_join(t, NULL));
	CHECK(!(uint32_t)r->v->cpu.r[1]);
	if (has_direct(r)) CHECK(r->v->stats[X86_STAT_DIRECT_LOST] == 1);
	done(r);
}
/* A guest that has memory of its own where the stub lives sees that and no other. */
TEST(x86_direct_is_not_where_the_guest_is)
{
	struct x86_rig *r = rig(WINDOWS_OFF, DIRECT_EARLY);
	/* mov eax, [rdi]; ud2 */
	CODE_IS(r, 0x8b, 0x07, 0x0f, 0x0b);
	x86_rig_put(r, DATA, 0x12345678, 4);
	r->v->cpu.r[7] = DATA_LA;
	go(r, 0);
	CHECK((uint32_t)r->v->cpu.r[0] == 0x12345678);
	uint64_t stops = r->v->stats[X86_STAT_DIRECT_STOPS];
	(void)has_direct(r);
	x86_rig_map(r, X86_STUB_AT, DATA, 0x67 | NX, 0);
	x86_tlb_flush(r->v, true);
	r->v->cpu.r[7] = X86_STUB_AT;
	go(r, 0);
	CHECK((uint32_t)r->v->cpu.r[0] == 0x12345678);
	CHECK(r->v->stats[X86_STAT_DIRECT_STOPS] == stops);
	done(r);
}
/* Once the guest has cleared A and flushed, the next access sets it again. */
TEST(x86_direct_marks_pages_as_accessed_again)
{
	struct x86_rig *r = rig(WINDOWS_OFF, DIRECT_EARLY);
	CODE_IS(r, 0x8b, 0x07, 0x0f, 0x0b); /* mov eax, [rdi]; ud2 */
	gpa_t pte = x86_rig_map(r, DATA_LA, DATA, 7 | NX, 0);
	for (unsigned k = 0; k < 2; k++) {
		r->v->cpu.r[7] = DATA_LA;
		go(r, 0);
		CHECK(x86_rig_get(r, pte, 8) & 0x20);
		x86_rig_put(r, pte, DATA | 7 | NX, 8);
		x86_tlb_flush(r->v, true);
	}
	(void)has_direct(r);
	done(r);
}
