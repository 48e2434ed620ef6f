/* An x86-64 CPU's registers: after power-on, after INIT, and by number (x86_regs.h). */
#include "engine/x86_vcpu.h"
#include <errno.h>

enum { CPU_SIGNATURE_REG = 2, DR6_FIXED = 0xffff0ff0, DR7_FIXED = 0x400 };
enum { ACCESS_CODE = 0x9b, ACCESS_DATA = 0x93, ACCESS_LDT = 0x82, ACCESS_TSS = 0x8b };

/* SDM 3, table 10-1 */
static void segments_reset(struct x86_vcpu *v)
{
	for (unsigned i = 0; i < X86_SEGS; i++)
		v->seg[i] = (struct x86_segreg){.limit = 0xffff, .access = ACCESS_DATA};
	v->seg[X86_CS].sel = 0xf000;
	v->seg[X86_CS].base = 0xffff0000;
	v->seg[X86_CS].access = ACCESS_CODE;
	v->seg[X86_SEG_LDTR].access = ACCESS_LDT;
	v->seg[X86_SEG_TR].access = ACCESS_TSS;
	v->gdt.base = v->idt.base = 0;
	v->gdt.limit = v->idt.limit = 0xffff;
}

static void registers_reset(struct x86_vcpu *v)
{
	uint32_t id[4];
	x86_cpuid(v, 1, 0, id);
	memset(v->cpu.r, 0, sizeof(v->cpu.r));
	v->cpu.r[CPU_SIGNATURE_REG] = id[0];
	v->cpu.rip = 0xfff0;
	v->cpu.flags = 2;
	memset(v->dr, 0, sizeof(v->dr));
	v->dr[6] = DR6_FIXED;
	v->dr[7] = DR7_FIXED;
	memset(v->pdpte, 0, sizeof(v->pdpte));
	v->cr2 = v->cr3 = v->cr4 = v->efer = 0;
	v->cpl = 0;
}

void x86_vcpu_reset(struct x86_vcpu *v, bool init)
{
	uint64_t cache = CR0_CD | CR0_NW;
	segments_reset(v);
	registers_reset(v);
	v->cr0 = (init ? v->cr0 & cache : cache) | CR0_ET;
	if (!init) {
		v->xcr0 = 1;
		v->xss = 0;
		v->sipi = 0;
		/* Kicks and fences are not the CPU's state. */
		(void)atomic_fetch_and(&v->poll, X86_POLL_KICK | X86_POLL_FENCE);
	}
	v->nmi_masked = v->nmi_waits = v->reset_asked = false;
	v->shadow = 0;
	v->cut_exception = v->cut_payload = v->cut_interrupt = 0;
	v->activity = v->id == 0 ? X86_RUNNING : init ? X86_INIT_RECEIVED : X86_WAITS_FOR_INIT;
	x86_msrs_reset(v, init);
	x86_vector_reset(v, init);
	x86_apic_moved(v);
	x86_mode_update(v);
	x86_tlb_flush(v, true);
}

/* ---- by number */
/* A place of 64 bits, or NULL. */
static uint64_t *plain(struct x86_vcpu *v, unsigned reg)
{
	if (reg < REG_X86_RIP) return &v->cpu.r[reg];
	if (reg >= REG_X86_DR && reg < REG_X86_DR + 8) return &v->dr[reg - REG_X86_DR];
	switch (reg) {
	case REG_X86_RIP: return &v->cpu.rip;
	case REG_X86_RFLAGS: return &v->cpu.flags;
	case REG_X86_GDT_BASE: return &v->gdt.base;
	case REG_X86_IDT_BASE: return &v->idt.base;
	case REG_X86_CR: return &v->cr0;
	case REG_X86_CR + 2: return &v->cr2;
	case REG_X86_CR + 3: return &v->cr3;
	case REG_X86_CR + 4: return &v->cr4;
	case REG_X86_EFER: return &v->efer;
	case REG_X86_XCR0: return &v->xcr0;
	case REG_X86_PV_TSC: return &v->machine->pv_tsc;
	case REG_X86_PV_NS: return &v->machine->pv_ns;
	case REG_X86_PDPTE:
	case REG_X86_PDPTE + 1:
	case REG_X86_PDPTE + 2:
	case REG_X86_PDPTE + 3: return &v->pdpte[reg - REG_X86_PDPTE];
	default: return NULL;
	}
}

static struct x86_segreg *segment(struct x86_vcpu *v, unsigned reg)
{
	/* es cs ss ds fs gs, as the encodings go, then LDTR and TR: v->seg's order */
	bool is = reg >= REG_X86_SEG && reg < REG_X86_SEG + 4 * X86_SEGS;
	return is ? &v->seg[(reg - REG_X86_SEG) / 4] : NULL;
}

static uint64_t segment_get(const struct x86_segreg *s, unsigned part)
{
	switch (part) {
	case SEG_SELECTOR: return s->sel;
	case SEG_BASE: return s->base;
	case SEG_LIMIT: return s->limit;
	default: return s->access;
	}
}

static void segment_set(struct x86_segreg *s, unsigned part, uint64_t val)
{
	switch (part) {
	case SEG_SELECTOR: s->sel = (uint16_t)val; return;
	case SEG_BASE: s->base = val; return;
	case SEG_LIMIT: s->limit = (uint32_t)val; return;
	default: s->access = (uint32_t)val; return;
	}
}

static bool is_xsave(unsigned reg)
{
	return reg >= REG_X86_XSAVE && reg < REG_X86_XSAVE + sizeof(struct x86_xarea) / 8;
}

enum { ASKED_INIT = 1 << 0, ASKED_SIPI = 1 << 8 };
static uint64_t asked(const struct x86_vcpu *v)
{
	uint32_t poll = atomic_load(&v->poll);
	uint64_t val = poll & X86_POLL_INIT ? ASKED_INIT : 0;
	if (poll & X86_POLL_SIPI) val |= ASKED_SIPI | (uint64_t)atomic_load(&v->sipi_asked) << 32;
	return val;
}

static int event_get(const struct x86_vcpu *v, unsigned reg, uint64_t *val)
{
	switch (reg) {
	case REG_X86_GDT_LIMIT: *val = v->gdt.limit; return 0;
	case REG_X86_IDT_LIMIT: *val = v->idt.limit; return 0;
	case REG_X86_ACTIVITY: *val = v->activity; return 0;
	/* None is ever on its way between two instructions, unless it came from elsewhere. */
	case REG_X86_EVENT_EXCEPTION: *val = v->cut_exception; return 0;
	case REG_X86_EVENT_PAYLOAD: *val = v->cut_payload; return 0;
	case REG_X86_EVENT_INTERRUPT: *val = v->cut_interrupt; return 0;
	case REG_X86_EVENT_NMI:
		*val = v->nmi_masked ? X86_EVENT_MASKED : 0;
		if (v->nmi_waits || atomic_load(&v->poll) & X86_POLL_NMI) *val |= X86_EVENT_PENDING;
		return 0;
	case REG_X86_EVENT_SHADOW: *val = v->shadow; return 0;
	case REG_X86_EVENT_SIPI: *val = v->sipi; return 0;
	case REG_X86_EVENT_SHUTDOWN: *val = v->reset_asked; return 0;
	case REG_X86_EVENT_INIT: *val = asked(v); return 0;
	default: return -ENOENT;
	}
}

static int event_set(struct x86_vcpu *v, unsigned reg, uint64_t val)
{
	switch (reg) {
	case REG_X86_GDT_LIMIT: v->gdt.limit = (uint16_t)val; return 0;
	case REG_X86_IDT_LIMIT: v->idt.limit = (uint16_t)val; return 0;
	case REG_X86_ACTIVITY:
		if (val > X86_SIPI) return -EINVAL;
		v->activity = val == X86_SIPI ? X86_RUNNING : (uint8_t)val;
		return 0;
	case REG_X86_EVENT_EXCEPTION: v->cut_exception = val; return 0;
	case REG_X86_EVENT_PAYLOAD: v->cut_payload = val; return 0;
	case REG_X86_EVENT_INTERRUPT: v->cut_interrupt = val; return 0;
	case REG_X86_EVENT_NMI:
		v->nmi_masked = val & X86_EVENT_MASKED && !(val & X86_EVENT_INJECTED);
		if (val & (X86_EVENT_PENDING | X86_EVENT_INJECTED)) x86_poke(v, X86_POLL_NMI);
		return 0;
	case REG_X86_EVENT_SHADOW: v->shadow = val & 3; return 0;
	case REG_X86_EVENT_SIPI: v->sipi = (uint8_t)val; return 0;
	case REG_X86_EVENT_SHUTDOWN: v->reset_asked = val & 1; return 0;
	case REG_X86_EVENT_INIT:
		if (val & ASKED_SIPI) x86_irq(v, IRQ_X86_SIPI, (int)(val >> 32 & 0xff));
		if (val & ASKED_INIT) x86_irq(v, IRQ_X86_INIT, 1);
		return 0;
	default: return -ENOENT;
	}
}

int x86_vcpu_get(struct x86_vcpu *v, unsigned reg, uint64_t *val)
{
	const uint64_t *p = plain(v, reg);
	const struct x86_segreg *s = segment(v, reg);
	if (p)
		*val = *p;
	else if (s)
		*val = segment_get(s, reg % 4);
	else if (is_xsave(reg))
		*val = load_le(v->x.bytes + 8 * (reg - REG_X86_XSAVE), 8);
	else if (reg == REG_X86_CR + 8)
		*val = x86_cr8(v, false, 0);
	else if (reg == REG_X86_TSC)
		*val = x86_tsc_held(v);
	else if (reg == REG_X86_APIC_BASE)
		return x86_msr_read(v, 0x1b, val) ? -ENOENT : 0;
	else if (reg >= REG_X86_MSR)
		return x86_msr_read(v, reg - REG_X86_MSR, val) ? -ENOENT : 0;
	else
		return event_get(v, reg, val);
	return 0;
}

/* What the whole of it means is seen to each time: sets are rare, and none is too early. */
static void changed(struct x86_vcpu *v, unsigned reg)
{
	bool v86 = v->cpu.flags & X86_VM && v->cr0 & CR0_PE;
	v->cpu.flags |= 2;
	unsigned dpl = (v->seg[X86_SS].access & SEG_DPL) >> 5;
	v->cpl = v86 ? 3 : v->cr0 & CR0_PE ? (uint8_t)dpl : 0;
	x86_mode_update(v);
	bool maps = (reg >= REG_X86_CR && reg <= REG_X86_EFER) || reg == REG_X86_APIC_BASE;
	if (maps || (reg >= REG_X86_PDPTE && reg < REG_X86_PDPTE + 4)) x86_tlb_flush(v, true);
	(void)atomic_fetch_or(&v->poll, X86_POLL_INTR);
}

/* What the host's own XRSTOR takes without #GP: no bits that it does not know. */
static void xsave_set(struct x86_vcpu *v, unsigned at, uint64_t val)
{
	enum { MXCSR = 24, XSTATE_BV = 512, RESERVED_END = 576 };
	if (at == MXCSR) val &= 0xffffffff0000ffff;
	if (at == XSTATE_BV) val &= X86_XCR0;
	if (at > XSTATE_BV && at < RESERVED_END) val = 0;
	store_le(v->x.bytes + at, val, 8);
}

int x86_vcpu_set(struct x86_vcpu *v, unsigned reg, uint64_t val)
{
	uint64_t *p = plain(v, reg);
	struct x86_segreg *s = segment(v, reg);
	int e = 0;
	if (p)
		*p = val;
	else if (s)
		segment_set(s, reg % 4, val);
	else if (is_xsave(reg))
		xsave_set(v, 8 * (reg - REG_X86_XSAVE), val);
	else if (reg == REG_X86_CR + 8)
		(void)x86_cr8(v, true, val & 15);
	else if (reg == REG_X86_TSC)
		x86_tsc_hold(v, val);
	else if (reg == REG_X86_APIC_BASE)
		e = x86_msr_write(v, 0x1b, val) ? -EINVAL : 0;
	else if (reg >= REG_X86_MSR)
		e = x86_msr_set(v, reg - REG_X86_MSR, val) ? -EINVAL : 0;
	else
		e = event_set(v, reg, val);
	if (reg >= REG_X86_RIP && !is_xsave(reg)) changed(v, reg);
	if (reg == REG_X86_CR + 3 || reg == REG_X86_CR || reg == REG_X86_CR + 4) x86_pdptes_load(v);
	return e;
}
