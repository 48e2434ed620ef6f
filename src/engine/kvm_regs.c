/* Registers of a vCPU by number. The one idea: all but the odd ones are copied once and written
 * back when the vCPU runs, since KVM takes only sets of them that a CPU could have; the
 * rest is asked of KVM each time. */
#include "engine/kvm_impl.h"
#include "engine/x86_regs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* syscalls loop vcpu: ioctl */

#define NONE (-ENOENT)
static int call(struct vcpu *c, unsigned long what, void *arg)
{
	return ioctl(c->fd, what, arg) < 0 ? -errno : 0;
}

/* The cache */

static int xsave_get(struct vcpu *c, struct kvm_xsave *x)
{
	bool large = c->en->xsave_size > sizeof(struct kvm_xsave);
	return call(c, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, x);
}

int kvm_regs_fetch(struct vcpu *c, unsigned have)
{
	int rc = 0;
	have &= ~c->cache;
	if (have & HAVE_REGS) rc = call(c, KVM_GET_REGS, &c->regs);
	if (!rc && have & HAVE_SREGS) rc = call(c, KVM_GET_SREGS, &c->sregs);
	if (!rc && have & HAVE_XSAVE) rc = xsave_get(c, c->xsave);
	if (!rc) c->cache |= have;
	return rc;
}

int kvm_regs_flush(struct vcpu *c)
{
	int rc = 0;
	if (c->cache & DIRTY_SREGS) rc = call(c, KVM_SET_SREGS, &c->sregs);
	if (!rc && c->cache & DIRTY_REGS) rc = call(c, KVM_SET_REGS, &c->regs);
	if (!rc && c->cache & DIRTY_XSAVE) rc = call(c, KVM_SET_XSAVE, c->xsave);
	if (!rc) c->cache &= ~(unsigned)(DIRTY_REGS | DIRTY_SREGS | DIRTY_XSAVE);
	return rc;
}

void kvm_regs_forget(struct vcpu *c) { c->cache = 0; }

static uint64_t *gpr(struct kvm_regs *r, unsigned n)
{
	switch (n) {
	case 0: return (uint64_t *)&r->rax;
	case 1: return (uint64_t *)&r->rcx;
	case 2: return (uint64_t *)&r->rdx;
	case 3: return (uint64_t *)&r->rbx;
	case 4: return (uint64_t *)&r->rsp;
	case 5: return (uint64_t *)&r->rbp;
	case 6: return (uint64_t *)&r->rsi;
	case 7: return (uint64_t *)&r->rdi;
	case REG_X86_RIP: return (uint64_t *)&r->rip;
	case REG_X86_RFLAGS: return (uint64_t *)&r->rflags;
	default: return n < 16 ? (uint64_t *)&r->r8 + (n - 8) : NULL;
	}
}

static struct kvm_segment *segment(struct kvm_sregs *s, unsigned n)
{
	struct kvm_segment *const at[] = {&s->es, &s->cs, &s->ss,  &s->ds,
					  &s->fs, &s->gs, &s->ldt, &s->tr};
	return at[n & 7];
}

static uint64_t access_of(const struct kvm_segment *g)
{
	return (g->type & 15u) | (g->s & 1u) << 4 | (g->dpl & 3u) << 5 | (g->present & 1u) << 7 |
	       (g->avl & 1u) << 12 | (g->l & 1u) << 13 | (g->db & 1u) << 14 | (g->g & 1u) << 15 |
	       (g->unusable & 1u) << 16;
}

static void access_set(struct kvm_segment *g, uint64_t v)
{
	g->type = v & 15;
	g->s = v >> 4 & 1;
	g->dpl = v >> 5 & 3;
	g->present = v >> 7 & 1;
	g->avl = v >> 12 & 1;
	g->l = v >> 13 & 1;
	g->db = v >> 14 & 1;
	g->g = v >> 15 & 1;
	g->unusable = v >> 16 & 1;
}

static int segment_part(struct kvm_segment *g, unsigned part, uint64_t *val, bool set)
{
	uint64_t old[] = {g->selector, g->base, g->limit, access_of(g)};
	if (!set) *val = old[part];
	if (!set) return 0;
	if (part == SEG_SELECTOR) g->selector = (uint16_t)*val;
	if (part == SEG_BASE) g->base = *val;
	if (part == SEG_LIMIT) g->limit = (uint32_t)*val;
	if (part == SEG_ACCESS) access_set(g, *val);
	return 0;
}

static int limit_part(__u16 *limit, uint64_t *val, bool set)
{
	if (set)
		*limit = (uint16_t)*val;
	else
		*val = *limit;
	return 0;
}

static int word_part(__u64 *word, uint64_t *val, bool set)
{
	if (!word) return NONE;
	if (set)
		*word = *val;
	else
		*val = *word;
	return 0;
}

static __u64 *sreg_word(struct kvm_sregs *s, unsigned reg)
{
	switch (reg) {
	case REG_X86_GDT_BASE: return &s->gdt.base;
	case REG_X86_IDT_BASE: return &s->idt.base;
	case REG_X86_CR + 0: return &s->cr0;
	case REG_X86_CR + 2: return &s->cr2;
	case REG_X86_CR + 3: return &s->cr3;
	case REG_X86_CR + 4: return &s->cr4;
	case REG_X86_CR + 8: return &s->cr8;
	case REG_X86_EFER: return &s->efer;
	case REG_X86_APIC_BASE: return &s->apic_base;
	default: return NULL;
	}
}

static int general(struct vcpu *c, unsigned reg, uint64_t *val, bool set)
{
	int rc = kvm_regs_fetch(c, HAVE_REGS);
	if (!rc) rc = word_part((__u64 *)gpr(&c->regs, reg), val, set);
	if (!rc && set) c->cache |= DIRTY_REGS;
	return rc;
}

static int system_reg(struct vcpu *c, unsigned reg, uint64_t *val, bool set)
{
	struct kvm_sregs *s = &c->sregs;
	int rc = kvm_regs_fetch(c, HAVE_SREGS);
	if (rc) return rc;
	if (reg >= REG_X86_SEG && reg < REG_X86_SEG + 32)
		rc = segment_part(segment(s, (reg - REG_X86_SEG) / 4), reg % 4, val, set);
	else if (reg == REG_X86_GDT_LIMIT || reg == REG_X86_IDT_LIMIT)
		rc = limit_part(reg == REG_X86_GDT_LIMIT ? &s->gdt.limit : &s->idt.limit, val, set);
	else
		rc = word_part(sreg_word(s, reg), val, set);
	if (!rc && set) c->cache |= DIRTY_SREGS;
	return rc;
}

/* What is asked of KVM each time. A set that fails is answered -EINVAL or KVM's own error. */

static int debug_reg(struct vcpu *c, unsigned n, uint64_t *val, bool set)
{
	struct kvm_debugregs d;
	int rc = call(c, KVM_GET_DEBUGREGS, &d);
	if (!rc)
		rc = word_part(n < 4	? &d.db[n]
			       : n == 6 ? &d.dr6
			       : n == 7 ? &d.dr7
					: NULL,
			       val, set);
	return !rc && set ? call(c, KVM_SET_DEBUGREGS, &d) : rc;
}

static int xcr0(struct vcpu *c, uint64_t *val, bool set)
{
	struct kvm_xcrs x;
	int rc = call(c, KVM_GET_XCRS, &x);
	if (!rc) rc = word_part(x.nr_xcrs ? &x.xcrs[0].value : NULL, val, set);
	return !rc && set ? call(c, KVM_SET_XCRS, &x) : rc;
}

static int activity(struct vcpu *c, uint64_t *val, bool set)
{
	static const uint32_t of[] = {KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED,
				      KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_HALTED,
				      KVM_MP_STATE_SIPI_RECEIVED};
	struct kvm_mp_state s;
	bool ours = c->en->env.irqchip == IRQCHIP_NONE;
	if (set && *val >= COUNT(of)) return -EINVAL;
	if (set && ours) return c->halted = *val == X86_HALTED, 0;
	if (ours) return *val = c->halted ? X86_HALTED : X86_RUNNING, 0;
	s.mp_state = set ? of[*val] : 0;
	int rc = kvm_regs_flush(c);
	if (!rc) rc = call(c, set ? KVM_SET_MP_STATE : KVM_GET_MP_STATE, &s);
	for (unsigned i = 0; !rc && !set && i < COUNT(of); i++)
		if (of[i] == s.mp_state) *val = i;
	if (set) kvm_regs_forget(c);
	return rc;
}

static uint64_t flag(bool on, uint64_t bit) { return on ? bit : 0; }

/* What is left of one that has come is nothing. */
static void event_get(const struct kvm_vcpu_events *v, unsigned reg, uint64_t *val)
{
	bool exception = v->exception.injected || v->exception.pending;
	*val = 0;
	if (!exception && (reg == REG_X86_EVENT_EXCEPTION || reg == REG_X86_EVENT_PAYLOAD)) return;
	if (!v->interrupt.injected && reg == REG_X86_EVENT_INTERRUPT) return;
	switch (reg) {
	case REG_X86_EVENT_EXCEPTION:
		*val = v->exception.nr | flag(v->exception.injected, X86_EVENT_INJECTED) |
		       flag(v->exception.pending, X86_EVENT_PENDING) |
		       flag(v->exception.has_error_code, X86_EVENT_HAS_CODE) |
		       flag(v->exception_has_payload, X86_EVENT_HAS_PAYLOAD) |
		       (uint64_t)v->exception.error_code << 32;
		break;
	case REG_X86_EVENT_PAYLOAD: *val = v->exception_payload; break;
	case REG_X86_EVENT_INTERRUPT:
		*val = v->interrupt.nr | flag(v->interrupt.injected, X86_EVENT_INJECTED) |
		       flag(v->interrupt.soft, X86_EVENT_SOFT);
		break;
	case REG_X86_EVENT_NMI:
		*val = flag(v->nmi.injected, X86_EVENT_INJECTED) |
		       flag(v->nmi.pending, X86_EVENT_PENDING) |
		       flag(v->nmi.masked, X86_EVENT_MASKED);
		break;
	case REG_X86_EVENT_SHADOW: *val = v->interrupt.shadow; break;
	case REG_X86_EVENT_SIPI: *val = v->sipi_vector; break;
	default: *val = v->triple_fault.pending; break;
	}
}

static void event_set(struct kvm_vcpu_events *v, unsigned reg, uint64_t val)
{
	switch (reg) {
	case REG_X86_EVENT_EXCEPTION:
		v->exception.nr = val & X86_EVENT_VECTOR;
		v->exception.injected = (val & X86_EVENT_INJECTED) != 0;
		v->exception.pending = (val & X86_EVENT_PENDING) != 0;
		v->exception.has_error_code = (val & X86_EVENT_HAS_CODE) != 0;
		v->exception_has_payload = (val & X86_EVENT_HAS_PAYLOAD) != 0;
		v->exception.error_code = (uint32_t)(val >> 32);
		break;
	case REG_X86_EVENT_PAYLOAD: v->exception_payload = val; break;
	case REG_X86_EVENT_INTERRUPT:
		v->interrupt.nr = val & X86_EVENT_VECTOR;
		v->interrupt.injected = (val & X86_EVENT_INJECTED) != 0;
		v->interrupt.soft = (val & X86_EVENT_SOFT) != 0;
		break;
	case REG_X86_EVENT_NMI:
		v->nmi.injected = (val & X86_EVENT_INJECTED) != 0;
		v->nmi.pending = (val & X86_EVENT_PENDING) != 0;
		v->nmi.masked = (val & X86_EVENT_MASKED) != 0;
		v->flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
		break;
	case REG_X86_EVENT_SHADOW:
		v->interrupt.shadow = val & 3;
		v->flags |= KVM_VCPUEVENT_VALID_SHADOW;
		break;
	case REG_X86_EVENT_SIPI:
		v->sipi_vector = val & 0xff;
		v->flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
		break;
	default: v->triple_fault.pending = val & 1; break;
	}
}

static int event(struct vcpu *c, unsigned reg, uint64_t *val, bool set)
{
	struct kvm_vcpu_events v;
	memset(&v, 0, sizeof(v));
	int rc = set ? kvm_regs_flush(c) : 0; /* flags decide what may be pending */
	if (!rc) rc = call(c, KVM_GET_VCPU_EVENTS, &v);
	if (rc) return rc;
	if (!set) return event_get(&v, reg, val), 0;
	event_set(&v, reg, *val);
	return call(c, KVM_SET_VCPU_EVENTS, &v);
}

/* KVM serves them when it is asked for its state; asked of another engine, they are served here. */
static int asked(struct vcpu *c, uint64_t *val, bool set)
{
	enum { INIT = 1 << 0, SIPI = 1 << 8 };
	uint64_t to = X86_INIT_RECEIVED, vector = *val >> 32 & 0xff;
	int rc = 0;
	if (!set) return *val = 0, 0;
	if (*val & INIT) kvm_reset(c);
	if (*val & INIT && c->id) rc = activity(c, &to, true);
	if (rc || !(*val & SIPI) || activity(c, &to, false) || to == X86_RUNNING ||
	    to == X86_HALTED)
		return rc;
	to = X86_SIPI;
	rc = event(c, REG_X86_EVENT_SIPI, &vector, true);
	return rc ? rc : activity(c, &to, true);
}

/* Older KVMs read them from memory whenever CR3 is set, and do not tell. */
static int pdpte(struct vcpu *c, unsigned n, uint64_t *val, bool set)
{
	struct kvm_sregs2 s;
	if (!kvm_cap(c->en, KVM_CAP_SREGS2)) return set ? 0 : NONE;
	int rc = kvm_regs_flush(c);
	if (!rc) rc = call(c, KVM_GET_SREGS2, &s);
	if (rc) return rc;
	bool has = s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
	if (!set) return *val = has ? s.pdptrs[n] : 0, 0;
	if (!has) return 0;
	s.pdptrs[n] = *val;
	rc = call(c, KVM_SET_SREGS2, &s);
	kvm_regs_forget(c);
	return rc;
}

static int lapic(struct vcpu *c, unsigned n, uint64_t *val, bool set)
{
	struct kvm_lapic_state s;
	if (c->en->env.irqchip == IRQCHIP_NONE) return NONE;
	int rc = kvm_regs_flush(c); /* APIC_BASE decides about the format */
	if (!rc) rc = call(c, KVM_GET_LAPIC, &s);
	if (rc) return rc;
	if (!set) return *val = load_le(s.regs + (size_t)n * 16, 4), 0;
	store_le(s.regs + (size_t)n * 16, *val, 4);
	rc = call(c, KVM_SET_LAPIC, &s);
	kvm_regs_forget(c); /* TPR is CR8, too */
	return rc;
}

static int xsave(struct vcpu *c, unsigned n, uint64_t *val, bool set)
{
	enum {
		FREE_FIRST = 464 / 8,
		FREE_LAST = 511 / 8
	}; /* software's: Linux notes things there */
	if ((n + 1) * 8ul > c->en->xsave_size) return NONE;
	int rc = kvm_regs_fetch(c, HAVE_XSAVE);
	if (rc) return rc;
	if (n >= FREE_FIRST && n <= FREE_LAST) return *val = set ? *val : 0, 0;
	uint8_t *at = (uint8_t *)c->xsave + (size_t)n * 8;
	if (set)
		store_le(at, *val, 8);
	else
		*val = load_le(at, 8);
	if (set) c->cache |= DIRTY_XSAVE;
	return 0;
}

int kvm_msr(struct vcpu *c, uint32_t index, uint64_t *val, bool set)
{
	union {
		struct kvm_msrs head;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} m;
	memset(&m, 0, sizeof(m));
	m.head.nmsrs = 1;
	m.head.entries[0] = (struct kvm_msr_entry){.index = index, .data = set ? *val : 0};
	int rc = kvm_regs_flush(c); /* some MSRs are segment bases */
	if (rc) return rc;
	rc = ioctl(c->fd, set ? KVM_SET_MSRS : KVM_GET_MSRS, &m);
	if (rc < 0) return -errno;
	if (rc == 0) return set ? -EINVAL : NONE;
	if (set)
		kvm_regs_forget(c);
	else
		*val = m.head.entries[0].data;
	return 0;
}

static int access_reg(struct vcpu *c, unsigned reg, uint64_t *val, bool set)
{
	if (reg >= REG_X86_MSR) return kvm_msr(c, reg - REG_X86_MSR, val, set);
	if (reg >= REG_X86_XSAVE) return xsave(c, reg - REG_X86_XSAVE, val, set);
	if (reg >= REG_X86_LAPIC + 64) return NONE;
	if (reg >= REG_X86_LAPIC) return lapic(c, reg - REG_X86_LAPIC, val, set);
	if (reg >= REG_X86_PDPTE && reg < REG_X86_PDPTE + 4)
		return pdpte(c, reg - REG_X86_PDPTE, val, set);
	if (reg == REG_X86_EVENT_INIT) return asked(c, val, set);
	if (reg == REG_X86_PV_TSC || reg == REG_X86_PV_NS)
		return set ? kvm_pv_set(c, reg, *val) : kvm_pv_get(c, reg, val);
	if (reg == REG_X86_TSC) return set ? kvm_tsc_set(c, *val) : kvm_tsc_get(c, val);
	if (reg > REG_X86_EVENT_SHUTDOWN) return NONE;
	if (reg >= REG_X86_EVENT_EXCEPTION) return event(c, reg, val, set);
	if (reg >= REG_X86_DR) return debug_reg(c, reg - REG_X86_DR, val, set);
	if (reg == REG_X86_XCR0) return xcr0(c, val, set);
	if (reg == REG_X86_ACTIVITY) return activity(c, val, set);
	if (reg <= REG_X86_RFLAGS) return general(c, reg, val, set);
	return system_reg(c, reg, val, set);
}

int kvm_get(struct vcpu *c, unsigned reg, uint64_t *val) { return access_reg(c, reg, val, false); }
int kvm_set(struct vcpu *c, unsigned reg, uint64_t val) { return access_reg(c, reg, &val, true); }

/* Power-on */

/* MSRs that a running guest changes, and that KVM_SET_SREGS does not cover. Those that a KVM does
 * not have are left out. */
static const uint32_t kept[] = {
	0x174,	    0x175,	0x176,			/* SYSENTER */
	0x277,	    0x2ff,				/* PAT, MTRR default */
	0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, /* STAR to FMASK */
	0xc0000102, 0xc0000103,				/* KERNEL_GS_BASE, TSC_AUX */
	0x1a0,	    0x3b,	0x6e0,			/* MISC_ENABLE, TSC */
	0x48,	    0xda0,	0x10a,			/* SPEC_CTRL, XSS, ARCH_CAPABILITIES */
	0x17a,	    0x400,	0x401,	    0x402,	0x403, /* machine checks */
	0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05, 0x4b564d06,
};
struct kvm_power_on {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp;
	uint64_t msr[COUNT(kept)];
	bool has[COUNT(kept)];
	struct kvm_xsave xsave; /* and more */
};

int kvm_power_on_take(struct vcpu *c, struct err *e)
{
	struct kvm_power_on *p = c->first = calloc(1, sizeof(*p) + c->en->xsave_size);
	c->xsave = calloc(1, c->en->xsave_size);
	bool apic = c->en->env.irqchip != IRQCHIP_NONE;
	must(p && c->xsave);
	int rc = call(c, KVM_GET_REGS, &p->regs);
	if (!rc) rc = call(c, KVM_GET_SREGS, &p->sregs);
	if (!rc) rc = call(c, KVM_GET_VCPU_EVENTS, &p->events);
	if (!rc) rc = call(c, KVM_GET_DEBUGREGS, &p->debug);
	if (!rc) rc = call(c, KVM_GET_XCRS, &p->xcrs);
	if (!rc) rc = xsave_get(c, &p->xsave);
	if (!rc && apic) rc = call(c, KVM_GET_LAPIC, &p->lapic);
	if (!rc && apic) rc = call(c, KVM_GET_MP_STATE, &p->mp);
	for (unsigned i = 0; !rc && i < COUNT(kept); i++)
		p->has[i] = !kvm_msr(c, kept[i], &p->msr[i], false);
	return rc ? fail(e, rc, "cpu %u: its state at power-on: %s", c->id, strerror(-rc)) : 0;
}

/* A refusal leaves what a guest can do nothing with that is worse than before. */
void kvm_reset(struct vcpu *c)
{
	struct kvm_power_on *p = c->first;
	bool apic = c->en->env.irqchip != IRQCHIP_NONE;
	kvm_regs_forget(c);
	c->halted = c->unsettled = false;
	c->error[0] = 0;
	atomic_fetch_and(&c->poke, ~(unsigned)POKE_NMI);
	p->events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (apic) p->events.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	if (c->id == 0) kvm_chips_reset(c->en);
	(void)call(c, KVM_SET_XSAVE, &p->xsave);
	(void)call(c, KVM_SET_XCRS, &p->xcrs);
	(void)call(c, KVM_SET_SREGS, &p->sregs);
	(void)call(c, KVM_SET_REGS, &p->regs);
	(void)call(c, KVM_SET_DEBUGREGS, &p->debug);
	for (unsigned i = 0; i < COUNT(kept); i++)
		if (p->has[i]) (void)kvm_msr(c, kept[i], &p->msr[i], true);
	if (apic) (void)call(c, KVM_SET_LAPIC, &p->lapic);
	if (apic) (void)call(c, KVM_SET_MP_STATE, &p->mp);
	(void)call(c, KVM_SET_VCPU_EVENTS, &p->events);
	c->debug_due = c->stepped || c->en->debug;
}
