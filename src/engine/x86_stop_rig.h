#ifndef ENGINE_X86_STOP_RIG_H
#define ENGINE_X86_STOP_RIG_H
/* For tests: a guest in 64-bit mode, user or kernel code, that any exception stops. What the CPU
 * has pushed is looked at; selectors are Linux's. The kernel's own is in the first 64 KiB of RAM,
 * seen at STOP_KERNEL; all other memory is the test's to map. */
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"

enum {
	STOP_GDT = 0x2000,
	STOP_IDT = 0x3000,
	STOP_TSS = 0x4000,
	STOP_HANDLERS = 0x5000,
	STOP_FRAME = 0xf000, /* exceptions' stack, downwards */
	STOP_FIRST = 0x10000 /* of the test's */
};
#define STOP_KERNEL 0xffff930000000000ull
#define STOP_NX	    (1ull << 63) /* bits of page table entries */
enum { STOP_P = 1, STOP_W = 2, STOP_U = 4 };
enum { STOP_KERNEL_CS = 0x10, STOP_KERNEL_DS = 0x18, STOP_USER_DS = 0x2b, STOP_USER_CS = 0x33 };
struct stop_frame { /* from the top of its stack downwards */
	uint64_t rax, code, rip, cs, flags, rsp, ss;
};

/* push 0 where there is no error code; push rax; mov al, vector; out; hlt */
static inline void stop_rig_handlers(struct x86_rig *r)
{
	enum { HAS_CODE = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 };
	for (unsigned k = 0; k < 32; k++) {
		uint64_t to = STOP_KERNEL + STOP_HANDLERS + 16 * k;
		uint64_t dpl = k == 3 || k == 4 ? 3 : 0; /* as Linux has it */
		x86_rig_put(r, STOP_IDT + 16 * k,
			    (to & 0xffff) | STOP_KERNEL_CS << 16 | 1ull << 32 | 0x8eull << 40 |
				    dpl << 45 | (to >> 16 & 0xffff) << 48,
			    8);
		x86_rig_put(r, STOP_IDT + 16 * k + 8, to >> 32, 8);
		r->at = STOP_HANDLERS + 16 * k;
		if (!(HAS_CODE >> k & 1)) X86_RIG_CODE(r, 0x6a, 0);
		X86_RIG_CODE(r, 0x50, 0xb0, (uint8_t)k, X86_RIG_HALT, 0xf4);
	}
}
/* As user or kernel code finds them. */
static inline void stop_rig_segments(struct x86_vcpu *v, bool kernel)
{
	uint32_t both = SEG_P | SEG_S | SEG_A | SEG_RW | SEG_G | (kernel ? 0 : 3 << 5);
	for (unsigned k = 0; k <= X86_GS; k++)
		v->seg[k] = (struct x86_segreg){.limit = UINT32_MAX, .access = both | SEG_DB};
	v->seg[X86_CS].access = both | SEG_CODE | SEG_L;
	v->seg[X86_CS].sel = kernel ? STOP_KERNEL_CS : STOP_USER_CS;
	v->seg[X86_SS].sel = kernel ? STOP_KERNEL_DS : STOP_USER_DS;
	v->cpl = kernel ? 0 : 3;
}
static inline struct x86_rig *stop_rig_new(bool kernel, enum windows windows)
{
	enum { TR = 0x40, IST1 = 36, MAP = 102, LIMIT = 0x67, TSS64 = 0x8b };
	static const uint64_t gdt[] = {0,
				       0,
				       0x00af9b000000ffff,
				       0x00cf93000000ffff,
				       0x00cffb000000ffff,
				       0x00cff3000000ffff,
				       0x00affb000000ffff,
				       0,
				       0x00008b0000000067 | (STOP_KERNEL & 0xff000000) << 32 |
					       STOP_TSS << 16,
				       STOP_KERNEL >> 32};
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	r->m.env.windows = windows;
	for (uint64_t at = 0; at < STOP_FIRST; at += X86_PAGE)
		(void)x86_rig_map(r, STOP_KERNEL + at, at, STOP_P | STOP_W, 0);
	stop_rig_handlers(r);
	for (unsigned k = 0; k < COUNT(gdt); k++) x86_rig_put(r, STOP_GDT + 8 * k, gdt[k], 8);
	x86_rig_put(r, STOP_TSS + IST1, STOP_KERNEL + STOP_FRAME, 8);
	x86_rig_put(r, STOP_TSS + MAP, LIMIT + 1, 2); /* no ports */
	x86_rig_flat(r, X86_64, kernel ? 0 : 3);
	stop_rig_segments(v, kernel);
	v->gdt.base = STOP_KERNEL + STOP_GDT, v->gdt.limit = sizeof gdt - 1;
	v->idt.base = STOP_KERNEL + STOP_IDT, v->idt.limit = 0x1ff;
	v->seg[X86_SEG_TR] = (struct x86_segreg){STOP_KERNEL + STOP_TSS, LIMIT, TSS64, TR};
	v->xcr0 = X86_XCR0;
	v->cr0 |= CR0_AM | CR0_MP;
	v->cr4 |= CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_PGE | CR4_FSGSBASE | CR4_UMIP;
	x86_rig_paging(r);
	return r;
}
static inline void stop_rig_translate(struct x86_rig *r)
{
	r->m.code_pages = (1ull << 32) >> X86_PAGE_SHIFT;
	r->m.code = calloc(r->m.code_pages, 1);
	must(r->m.code && !x86_jit_new(r->v, 4 << 20, X86_JIT_FAST, NULL));
}
static inline void stop_rig_free(struct x86_rig *r)
{
	_Atomic uint8_t *code = r->m.code;
	x86_rig_free(r);
	free((void *)code);
}
/* Segments' bases, registers, rip, flags are set: have it run. */
static inline void stop_rig_ready(struct x86_rig *r)
{
	struct x86_vcpu *v = r->v;
	v->cr2 = v->dr[6] = 0;
	v->shadow = 0;
	v->activity = X86_RUNNING;
	v->reset_asked = false;
	x86_mode_update(v);
	atomic_store(&v->poll, 0);
	atomic_store(&r->stops, 0);
}
/* Until an exception. False: there is none. */
static inline bool stop_rig_run(struct x86_rig *r)
{
	enum { MOST = 20000, TIMES = 1000 };
	struct x86_vcpu *v = r->v;
	for (unsigned k = 0; v->jit && k < TIMES && !r->stops; k++)
		if (x86_vcpu_run(v) != VCPU_KICKED) return false;
	for (unsigned k = 0; !v->jit && k < MOST && !r->stops && !v->reset_asked; k++) x86_step(v);
	return r->stops;
}
/* Its vector is r->told. */
static inline struct stop_frame stop_rig_frame(struct x86_rig *r)
{
	struct stop_frame f;
	must(gmem_read(r->mem, STOP_FRAME - sizeof f, &f, sizeof f));
	return f;
}
#endif
