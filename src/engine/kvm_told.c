/* What a vCPU's guest is told by CPUID, between us and KVM: by the policy, as the CPU that a model
 * says, or as the one that another engine has been to it. */
#include "engine/kvm_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* syscalls loop: ioctl */

#define PV_FEATURES  0x40000001u
#define AMD_CACHES   0x8000001du
#define AMD_TOPOLOGY 0x8000001eu
#define BIT(n)	     (1u << (n))
enum { EAX, EBX, ECX, EDX, WORDS = 160 };

/* ---- tables of both kinds */
static struct kvm_cpuid2 *table_new(void)
{
	struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + KVM_ENTRIES * sizeof(t->entries[0]));
	must(t);
	t->nent = KVM_ENTRIES;
	return t;
}

static unsigned table_read(const struct kvm_cpuid2 *t, struct x86_leaf *to)
{
	unsigned n = t->nent < X86_LEAVES ? t->nent : X86_LEAVES;
	for (unsigned i = 0; i < n; i++) {
		const struct kvm_cpuid_entry2 *e = &t->entries[i];
		bool indexed = x86_leaf_is_indexed(e->function);
		to[i] = (struct x86_leaf){
			e->function, indexed ? e->index : 0, {e->eax, e->ebx, e->ecx, e->edx}};
	}
	return n;
}

/* With what is each CPU's own. */
static void table_write(struct kvm_cpuid2 *t, const struct x86_leaf *at, unsigned n, unsigned id)
{
	t->nent = n;
	for (unsigned i = 0; i < n; i++) {
		bool indexed = x86_leaf_is_indexed(at[i].leaf);
		struct kvm_cpuid_entry2 *e = &t->entries[i];
		*e = (struct kvm_cpuid_entry2){.function = at[i].leaf,
					       .index = at[i].index,
					       .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX
								: 0,
					       .eax = at[i].out[EAX],
					       .ebx = at[i].out[EBX],
					       .ecx = at[i].out[ECX],
					       .edx = at[i].out[EDX]};
		if (e->function == 1) e->ebx = (e->ebx & 0xffffff) | id << 24;
		if (e->function == 0xb || e->function == 0x1f) e->edx = id;
		if (e->function == AMD_TOPOLOGY) e->eax = id, e->ebx = (e->ebx & ~0xffu) | id;
	}
}

static bool has_lapic(const struct engine *en) { return en->env.irqchip != IRQCHIP_NONE; }

/* All that this KVM could give a guest. */
static int gives(struct engine *en, struct x86_leaf *to, unsigned *n)
{
	struct kvm_cpuid2 *t = table_new();
	int rc = ioctl(en->dev, KVM_GET_SUPPORTED_CPUID, t) ? -errno : 0;
	*n = rc ? 0 : table_read(t, to);
	free(t);
	for (unsigned i = 0; i < *n; i++) {
		if (to[i].leaf != 1) continue;
		to[i].out[ECX] &= ~(BIT(21) | BIT(24));
		if (has_lapic(en)) to[i].out[ECX] |= BIT(21);
		if (has_lapic(en) && kvm_cap(en, KVM_CAP_TSC_DEADLINE_TIMER))
			to[i].out[ECX] |= BIT(24);
	}
	return rc;
}

/* ---- of a new vCPU */
static void told_set(struct engine *en, const struct x86_leaf *at, unsigned n)
{
	struct x86_leaf *copy = calloc(n ? n : 1, sizeof(*at));
	must(copy);
	memcpy(copy, at, n * sizeof(*at));
	free(en->told);
	en->told = copy;
	en->ntold = n;
}

static int model_make(struct engine *en, struct err *e)
{
	const struct x86_cpuid_ask ask = {.cpus = en->env.cpus ? en->env.cpus : 1,
					  .apic = has_lapic(en),
					  .x2apic = has_lapic(en),
					  .xcr0 = 1,
					  .khz = en->tsc_khz,
					  .cpu = en->env.cpu};
	struct x86_leaf want[X86_LEAVES], have[X86_LEAVES];
	char names[WORDS];
	unsigned m, n = x86_cpuid_list(&ask, want);
	int rc = gives(en, have, &m);
	if (rc) return fail(e, rc, "/dev/kvm: CPUID: %s", strerror(-rc));
	if (x86_leaves_lack(want, n, have, m, names, sizeof(names)))
		return fail(e, -ENOTSUP,
			    "--cpu: /dev/kvm does not give %s; take that out with -NAME", names);
	told_set(en, want, n);
	return 0;
}

static int policy_apply(struct vcpu *c, struct kvm_cpuid2 *t)
{
	struct engine *en = c->en;
	struct x86_leaf told[X86_LEAVES];
	struct kvm_cpu_want want = {.id = c->id,
				    .cpus = en->env.cpus ? en->env.cpus : 1,
				    .tsc_khz = en->tsc_khz,
				    .lapic = has_lapic(en),
				    .deadline = kvm_cap(en, KVM_CAP_TSC_DEADLINE_TIMER)};
	if (ioctl(en->dev, KVM_GET_SUPPORTED_CPUID, t)) return -errno;
	t->nent = kvm_cpuid_policy(t->entries, t->nent, KVM_ENTRIES, &want);
	if (!en->told) told_set(en, told, table_read(t, told));
	return 0;
}

int kvm_cpuid_set(struct vcpu *c, struct err *e)
{
	struct engine *en = c->en;
	int khz = ioctl(c->fd, KVM_GET_TSC_KHZ, 0), rc = 0;
	if (khz > 0) en->tsc_khz = (uint32_t)khz;
	if (en->env.cpu && !en->told) rc = model_make(en, e);
	if (rc) return rc;
	struct kvm_cpuid2 *t = table_new();
	if (en->env.cpu)
		table_write(t, en->told, en->ntold, c->id);
	else
		rc = policy_apply(c, t);
	if (!rc && ioctl(c->fd, KVM_SET_CPUID2, t)) rc = -errno;
	free(t);
	return rc ? fail(e, rc, "cpu %u: CPUID: %s", c->id, strerror(-rc)) : 0;
}

unsigned kvm_told(struct engine *en, struct x86_leaf *to)
{
	memcpy(to, en->told, en->ntold * sizeof(*to));
	return en->ntold;
}

/* ---- somebody else's */
static int khz_set(struct engine *en, uint32_t khz, struct err *e)
{
	uint32_t is = en->tsc_khz, off = khz > is ? khz - is : is - khz;
	int r = 0;
	if (!khz || !is || off <= is / 4000) return 0; /* KVM's own tolerance */
	/* Without that capability KVM would have it lag and catch up. */
	if (!kvm_cap(en, KVM_CAP_TSC_CONTROL)) r = -1;
	for (struct vcpu *c = en->vcpus; c && !r; c = c->next)
		r = ioctl(c->fd, KVM_SET_TSC_KHZ, (unsigned long)khz);
	en->scaled = !r;
	if (!r) en->tsc_khz = khz;
	if (!r || off <= is / 100) return 0;
	return fail(e, -ENOTSUP,
		    "its time stamp counter runs at %u kHz, this machine's at %u, which cannot be "
		    "changed",
		    khz, is);
}

int kvm_be(struct engine *en, const struct x86_leaf *told, unsigned n, struct err *e)
{
	struct x86_leaf have[X86_LEAVES];
	char names[WORDS];
	unsigned m, lost;
	int rc = gives(en, have, &m);
	if (rc) return fail(e, rc, "/dev/kvm: CPUID: %s", strerror(-rc));
	lost = x86_leaves_lack(told, n, have, m, names, sizeof(names));
	if (lost)
		return fail(
			e, -ENOTSUP,
			"its CPU has what /dev/kvm does not give here: %s (%u in all); start it "
			"with a --cpu that all of its hosts have",
			names, lost);
	rc = khz_set(en, x86_leaf_khz(told, n), e);
	struct kvm_cpuid2 *t = table_new();
	for (struct vcpu *c = en->vcpus; c && !rc; c = c->next) {
		table_write(t, told, n, c->id);
		if (ioctl(c->fd, KVM_SET_CPUID2, t))
			rc = fail(e, -errno, "cpu %u: CPUID: %s", c->id, strerror(errno));
	}
	free(t);
	if (!rc) told_set(en, told, n);
	return rc;
}
