/* What a guest is told its CPU is: what the host's KVM can do, less what costs a guest time and
 * gains it nothing, or what it could not keep after a move; and what KVM leaves to us: topology,
 * frequencies, KVM's own leaves. A pure function of its arguments. Leaves and bits: SDM 2A, CPUID;
 * AMD APM 3, appendix E; Linux Documentation/virt/kvm/x86/cpuid.rst. */
#include "engine/kvm_impl.h"
#include <string.h>

#define BIT(n) (1u << (n))
enum { KVM_BASE = 0x40000000, KVM_LAST = 0x40000010, ANY = -1, APIC_HZ = 1000000000 };

/* Bits that go. Whole leaves have all bits of all registers. */
static const struct hidden {
	uint32_t leaf;
	int index; /* or ANY */
	uint32_t eax, ebx, ecx, edx;
} hidden[] = {
	/* DTES64 MONITOR DS-CPL VMX SMX EIST TM2 SDBG xTPR PDCM, OSXSAVE (KVM's); DS ACPI TM PBE */
	{1, ANY, 0, 0,
	 BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) | BIT(14) |
		 BIT(15) | BIT(27),
	 BIT(21) | BIT(22) | BIT(29) | BIT(31)},
	{5, ANY, ~0u, ~0u, ~0u, ~0u},	  /* MWAIT */
	{6, ANY, ~BIT(2), ~0u, ~0u, ~0u}, /* power, but ARAT */
	/* SGX HLE PQM RTM MPX PQE PT; PKU OSPKE WAITPKG CETSS LA57 BUSLOCK ENQCMD SGX_LC PKS;
	 * UINTR RTM_ALWAYS_ABORT PCONFIG ARCH_LBR CETIBT AMX */
	{7, 0, 0, BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(14) | BIT(15) | BIT(25),
	 BIT(3) | BIT(4) | BIT(5) | BIT(7) | BIT(16) | BIT(24) | BIT(29) | BIT(30) | BIT(31),
	 BIT(5) | BIT(11) | BIT(18) | BIT(19) | BIT(20) | BIT(22) | BIT(24) | BIT(25)},
	/* AMX-FP16, LAM, FRED, LKGS, HRESET; CETSSS */
	{7, 1, BIT(17) | BIT(18) | BIT(21) | BIT(22) | BIT(26), 0, 0, BIT(8) | BIT(18)},
	{0xa, ANY, ~0u, ~0u, ~0u, ~0u}, /* performance counters */
	/* XCR0: all but x87, SSE, AVX, AVX-512 */
	{0xd, 0, ~0xe7u, 0, 0, ~0u},
	{0xd, 1, BIT(4), 0, ~0u, ~0u},	 /* XFD; supervisor states (PT, CET) */
	{0x12, ANY, ~0u, ~0u, ~0u, ~0u}, /* SGX */
	{0x14, ANY, ~0u, ~0u, ~0u, ~0u}, /* PT */
	{0x1c, ANY, ~0u, ~0u, ~0u, ~0u}, /* last branch records */
	{0x1d, ANY, ~0u, ~0u, ~0u, ~0u}, /* AMX */
	{0x1e, ANY, ~0u, ~0u, ~0u, ~0u},
	/* SVM IBS SKINIT WDT LWP PERFCTR (core, nb, l2i) MWAITX */
	{0x80000001, ANY, 0, 0,
	 BIT(2) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(23) | BIT(24) | BIT(28) | BIT(29), 0},
	{0x80000007, ANY, ~0u, ~0u, ~0u, ~BIT(8)}, /* power, but the invariant TSC */
	{0x8000000a, ANY, ~0u, ~0u, ~0u, ~0u},	   /* SVM */
	{0x8000001b, ANY, ~0u, ~0u, ~0u, ~0u},	   /* IBS */
	{0x8000001f, ANY, ~0u, ~0u, ~0u, ~0u},	   /* SEV */
	{0x80000022, ANY, ~0u, ~0u, ~0u, ~0u},	   /* performance counters */
};

struct list {
	struct kvm_cpuid_entry2 *at;
	unsigned n, max;
};

static struct kvm_cpuid_entry2 *find(struct list *l, uint32_t leaf, uint32_t index)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->at[i].function == leaf && l->at[i].index == index) return &l->at[i];
	return NULL;
}

/* Zeroed, there from now on. */
static struct kvm_cpuid_entry2 *put(struct list *l, uint32_t leaf, uint32_t index, bool indexed)
{
	static struct kvm_cpuid_entry2 lost;
	struct kvm_cpuid_entry2 *e = find(l, leaf, index);
	if (!e) e = l->n < l->max ? &l->at[l->n++] : &lost;
	*e = (struct kvm_cpuid_entry2){.function = leaf,
				       .index = index,
				       .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0};
	return e;
}

static bool dropped(const struct kvm_cpuid_entry2 *e)
{
	bool xsave_part = e->function == 0xd && e->index >= 2;
	uint32_t lost = BIT(3) | BIT(4) | BIT(8) | BIT(9) | ~0u << 10; /* beside AVX and AVX-512 */
	if (xsave_part) return e->index >= 32 || lost & BIT(e->index);
	/* Topology and KVM's leaves come anew. */
	return e->function == 0xb || e->function == 0x1f || e->function == 0x15 ||
	       e->function == 0x16 || e->function == 0x80000026 ||
	       (e->function >> 8 == KVM_BASE >> 8);
}

static void drop(struct list *l)
{
	unsigned n = 0;
	for (unsigned i = 0; i < l->n; i++)
		if (!dropped(&l->at[i])) l->at[n++] = l->at[i];
	l->n = n;
}

static void hide(struct kvm_cpuid_entry2 *e)
{
	for (unsigned i = 0; i < COUNT(hidden); i++) {
		const struct hidden *h = &hidden[i];
		if (h->leaf != e->function || (h->index != ANY && (uint32_t)h->index != e->index))
			continue;
		e->eax &= ~h->eax;
		e->ebx &= ~h->ebx;
		e->ecx &= ~h->ecx;
		e->edx &= ~h->edx;
	}
}

/* Features and identity */

static void leaf_1(struct kvm_cpuid_entry2 *e, const struct kvm_cpu_want *w)
{
	const uint32_t x2apic = BIT(21), deadline = BIT(24), hypervisor = BIT(31), htt = BIT(28);
	e->ebx = (e->ebx & 0xffff) | (w->cpus & 0xff) << 16 | w->id << 24;
	e->ecx = (e->ecx & ~(x2apic | deadline)) | hypervisor;
	if (w->lapic) e->ecx |= x2apic | (w->deadline ? deadline : 0);
	e->edx = w->cpus > 1 ? e->edx | htt : e->edx & ~htt;
}

static unsigned bits_for(unsigned n)
{
	unsigned b = 0;
	while (1u << b < n) b++;
	return b;
}

/* A cache, 4 or 8000001D: the third level is everybody's, the others are each one's own. */
static void cache_leaf(struct kvm_cpuid_entry2 *e, const struct kvm_cpu_want *w)
{
	if (!(e->eax & 0x1f)) return;
	unsigned level = e->eax >> 5 & 7, share = level >= 3 ? (1u << bits_for(w->cpus)) - 1 : 0;
	uint32_t cores = e->function == 4 ? ((1u << bits_for(w->cpus)) - 1) & 0x3f : 0;
	e->eax = (e->eax & 0x3fff) | (share & 0xfff) << 14 | cores << 26;
}

/* XSAVE areas as far as what remains of XCR0 reaches. */
static void leaf_d(struct list *l)
{
	struct kvm_cpuid_entry2 *e = find(l, 0xd, 0);
	uint32_t size = 512 + 64;
	if (!e) return;
	for (unsigned i = 2; i < 32; i++) {
		const struct kvm_cpuid_entry2 *part = find(l, 0xd, i);
		if (e->eax & BIT(i) && part && part->ebx + part->eax > size)
			size = part->ebx + part->eax;
	}
	e->ebx = e->ecx = size;
}

static void topology(struct list *l, const struct kvm_cpu_want *w, uint32_t leaf)
{
	enum { SMT = 1, CORE = 2 };
	struct kvm_cpuid_entry2 *e = put(l, leaf, 0, true);
	e->ebx = 1;
	e->ecx = SMT << 8;
	e->edx = w->id;
	e = put(l, leaf, 1, true);
	e->eax = bits_for(w->cpus);
	e->ebx = w->cpus;
	e->ecx = 1 | CORE << 8;
	e->edx = w->id;
	e = put(l, leaf, 2, true);
	e->ecx = 2;
	e->edx = w->id;
}

static void amd_topology(struct list *l, const struct kvm_cpu_want *w)
{
	struct kvm_cpuid_entry2 *e = find(l, 0x80000008, 0);
	if (e) e->ecx = bits_for(w->cpus) << 12 | (w->cpus - 1);
	e = find(l, 0x8000001e, 0);
	if (!e) return;
	e->eax = w->id;
	e->ebx = w->id;
	e->ecx = 0;
}

/* Time */

/* TSC = crystal * ebx / eax. The crystal is what KVM's LAPIC timers count, 1 GHz. Linux multiplies
 * kHz in 32 bits, so ebx stays below 2^32 / 10^6; the best such fraction is off by 50
 * millionths at worst, and kvmclock gives the exact figure. */
static void frequency(struct kvm_cpuid_entry2 *e, uint32_t tsc_khz)
{
	enum { MOST = 4294, CRYSTAL_KHZ = APIC_HZ / 1000 };
	double want = (double)tsc_khz / CRYSTAL_KHZ, best = 1e9;
	for (uint32_t den = 1; den <= MOST && want * den < MOST - 1; den++) {
		uint32_t num = (uint32_t)(want * den + 0.5);
		double off = (double)num / den - want;
		if (off < 0) off = -off;
		if (!num || off >= best) continue;
		best = off;
		e->eax = den;
		e->ebx = num;
	}
	e->ecx = e->ebx ? APIC_HZ : 0;
}

static void times(struct list *l, const struct kvm_cpu_want *w)
{
	if (!w->tsc_khz) return;
	frequency(put(l, 0x15, 0, false), w->tsc_khz);
	struct kvm_cpuid_entry2 *e = put(l, 0x16, 0, false);
	e->eax = e->ebx = w->tsc_khz / 1000 & 0xffff;
	e->ecx = 100;
}

static void kvm_leaves(struct list *l, const struct kvm_cpu_want *w, uint32_t offered)
{
	/* CLOCKSOURCE NOP_IO_DELAY CLOCKSOURCE2 STEAL_TIME, the clock is stable */
	const uint32_t any = BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(24);
	/* EOI UNHALT TLB_FLUSH ASYNC_PF_VMEXIT SEND_IPI SCHED_YIELD ASYNC_PF_INT MSI_EXT_DEST_ID */
	const uint32_t apic = BIT(6) | BIT(7) | BIT(9) | BIT(10) | BIT(11) | BIT(13) | BIT(15);
	struct kvm_cpuid_entry2 *e = put(l, KVM_BASE, 0, false);
	e->eax = KVM_LAST;
	memcpy(&e->ebx, "KVMK", 4);
	memcpy(&e->ecx, "VMKV", 4);
	memcpy(&e->edx, "M\0\0\0", 4);
	e = put(l, KVM_BASE + 1, 0, false);
	e->eax = offered & (any | (w->lapic ? apic : 0));
	e = put(l, KVM_LAST, 0, false);
	e->eax = w->tsc_khz;
	e->ebx = APIC_HZ / 1000;
}

unsigned kvm_cpuid_policy(struct kvm_cpuid_entry2 *at, unsigned n, unsigned max,
			  const struct kvm_cpu_want *w)
{
	struct list l = {at, n < max ? n : max, max};
	const struct kvm_cpuid_entry2 *pv = find(&l, KVM_BASE + 1, 0);
	uint32_t offered = pv ? pv->eax : 0;
	drop(&l);
	for (unsigned i = 0; i < l.n; i++) {
		hide(&l.at[i]);
		if (l.at[i].function == 1) leaf_1(&l.at[i], w);
		if (l.at[i].function == 4 || l.at[i].function == 0x8000001d)
			cache_leaf(&l.at[i], w);
	}
	leaf_d(&l);
	topology(&l, w, 0xb);
	amd_topology(&l, w);
	times(&l, w);
	kvm_leaves(&l, w, offered);
	struct kvm_cpuid_entry2 *e = find(&l, 0, 0);
	if (e && w->tsc_khz && e->eax < 0x16) e->eax = 0x16;
	if (e && e->eax > 0x1e) e->eax = 0x1e;
	e = find(&l, 0x80000000, 0);
	if (e && e->eax > 0x80000021) e->eax = 0x80000021;
	return l.n;
}
