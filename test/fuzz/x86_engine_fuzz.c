/* Any bytes as an x86 guest, in any mode and privilege, with tables of segments, interrupts and
 * pages that the guest itself may write: whatever it does, each step comes back, and the state is
 * one that a CPU can be in. Input: mode, CR4, flags, a seed, code. */
#include "engine/x86_rig.h"

enum { CODE = 0x8000, GDT = 0x2000, IDT = 0x3000, TSS = 0x4000, STEPS = 300 };

static uint64_t seed;
static uint64_t next(void)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return seed >> 8;
}

static void tables(struct x86_rig *r)
{
	static const uint64_t gdt[] = {0,
				       0x00cf9a000000ffff,
				       0x00cf92000000ffff,
				       0x00affa000000ffff,
				       0x00cff2000000ffff,
				       0x00af9a000000ffff,
				       0x00008b0040000067,
				       0};
	for (unsigned i = 0; i < COUNT(gdt); i++) x86_rig_put(r, GDT + 8 * i, gdt[i], 8);
	for (unsigned i = 0; i < 512; i++) x86_rig_put(r, IDT + 8 * i, next() & next(), 8);
	for (unsigned i = 0; i < 32; i++)
		x86_rig_put(r, IDT + (r->v->long_mode ? 16 : 8) * i,
			    (r->v->long_mode ? 0x8e0000288000 : 0x8e0000088000) | (next() & 3)
											  << 45,
			    8);
	for (unsigned i = 0; i < 13; i++) x86_rig_put(r, TSS + 4 + 8 * i, 0x6000, 8);
	r->v->gdt.base = GDT;
	r->v->gdt.limit = sizeof(gdt) - 1;
	r->v->idt.base = IDT;
	r->v->idt.limit = 0xfff;
	r->v->seg[X86_SEG_TR] = (struct x86_segreg){TSS, 0x67, 0x8b, 0x30};
}

static void state(struct x86_rig *r, const uint8_t *p)
{
	struct x86_vcpu *v = r->v;
	unsigned mode = p[0] % 4, cpl = p[0] & 16 ? 3 : 0;
	if (mode < 3) x86_rig_flat(r, (enum x86_mode)mode, cpl); /* 3: real mode */
	v->cr4 = load_le(p + 1, 4) & (CR4_SMEP | CR4_SMAP | CR4_UMIP | CR4_PGE | CR4_PSE | CR4_DE |
				      CR4_OSFXSR | CR4_OSXSAVE | CR4_FSGSBASE | CR4_TSD);
	v->xcr0 = 7;
	v->cr0 |= p[0] & 32 ? CR0_AM : 0;
	if (mode == X86_64) {
		for (unsigned i = 0; i < 4; i++)
			x86_rig_map(r, 0x200000ull * i, i & 1 ? X86_RIG_DEVICE : 0, 0x87, 1);
		for (unsigned i = 0; i < 64; i++)
			x86_rig_map(r, 0x40000000 + 0x1000ull * i, next() & 0x1ff000,
				    next() & (0x8000000000000fff | 1ull << 50), 0);
		x86_rig_paging(r);
	}
	v->cpu.flags = 2 | (load_le(p + 5, 4) & (X86_ARITH | X86_TF | X86_IF | X86_DF | X86_IOPL |
						 X86_NT | X86_AC | X86_RF));
	for (unsigned i = 0; i < 16; i++)
		v->cpu.r[i] = next() & 4 ? next() & 0x3fffff : next() >> (next() & 63);
	v->cpu.r[4] = 0x7000;
	for (unsigned i = 0; p[0] & 64 && i < 4; i++) v->dr[i] = next() & 0xffff;
	if (p[0] & 64) v->dr[7] |= next() & 0xffff00ff;
	v->cpu.rip = CODE;
	if (mode == 3) v->seg[X86_CS].base = 0;
	tables(r);
	x86_mode_update(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum { HEAD = 17, MOST = 4096 };
	if (n < HEAD) return 0;
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	seed = load_le(p + 9, 8);
	state(r, p);
	r->at = CODE;
	x86_rig_bytes(r, p + HEAD, n - HEAD > MOST ? MOST : n - HEAD);
	for (unsigned i = 0; i < STEPS && !v->reset_asked && !v->broken; i++) {
		x86_step(v);
		v->activity = X86_RUNNING;
		must(v->cpl < 4 && v->mode <= X86_64 && v->view < X86_VIEWS);
		must(v->mode == X86_64 || v->cpu.rip <= UINT32_MAX);
		must(v->mode != X86_64 || v->long_mode);
		must(!v->long_mode || v->cr0 & CR0_PG);
		must(v->cpu.flags & 2);
	}
	x86_rig_free(r);
	return 0;
}
