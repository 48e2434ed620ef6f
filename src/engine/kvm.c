/* Guests on the host's own processor, through /dev/kvm: the machine that Linux keeps for us, its
 * memory, and the operations of engine.h. The one idea: a slot of KVM's is a region of gmem, and
 * all else that a guest touches leaves KVM_RUN and goes to a bus, as with the other engines. */
#include "base/counters.h"
#include "base/own.h"
#include "engine/kvm_impl.h"
#include "hw/gmem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where Intel CPUs without "unrestricted guest" keep four pages of their own: out of the way of
 * RAM, of IOAPIC and LAPIC, and of 16 MiB of ROM below 4 GiB. */
#define OWN_MAP 0xfeffc000ull
#define OWN_TSS 0xfeffd000ull

int kvm_cap(const struct engine *en, int what)
{
	int r = ioctl(en->fd, KVM_CHECK_EXTENSION, what);
	return r < 0 ? 0 : r;
}

static int enable(struct engine *en, uint32_t what, uint64_t arg)
{
	struct kvm_enable_cap c = {.cap = what, .args = {arg}};
	return ioctl(en->fd, KVM_ENABLE_CAP, &c);
}

static int dev_open(struct engine *en, struct err *e)
{
	en->dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (en->dev < 0) return fail(e, -errno, "/dev/kvm: %s", strerror(errno));
	int version = ioctl(en->dev, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return fail(e, -ENOTSUP, "/dev/kvm: version %d of its interface is not %d", version,
			    KVM_API_VERSION);
	do en->fd = ioctl(en->dev, KVM_CREATE_VM, 0);
	while (en->fd < 0 && errno == EINTR);
	if (en->fd < 0) return fail(e, -errno, "/dev/kvm: no new machine: %s", strerror(errno));
	return 0;
}

/* What we cannot do without; all of it is in Linux 5.10 and up. */
static int caps_check(struct engine *en, struct err *e)
{
	static const struct {
		int cap;
		const char *name;
	} need[] = {
		{KVM_CAP_USER_MEMORY, "user memory"},
		{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
		{KVM_CAP_READONLY_MEM, "read-only memory"},
		{KVM_CAP_IRQCHIP, "interrupt controllers"},
		{KVM_CAP_SPLIT_IRQCHIP, "LAPICs alone"},
		{KVM_CAP_MP_STATE, "activity states"},
		{KVM_CAP_VCPU_EVENTS, "events"},
		{KVM_CAP_DEBUGREGS, "debug registers"},
		{KVM_CAP_XSAVE, "XSAVE"},
		{KVM_CAP_XCRS, "XCRs"},
		{KVM_CAP_EXT_CPUID, "CPUID"},
	};
	for (unsigned i = 0; i < COUNT(need); i++)
		if (!kvm_cap(en, need[i].cap))
			return fail(e, -ENOTSUP, "/dev/kvm: it has no %s", need[i].name);
	return 0;
}

/* Memory */

static int slot_set(struct engine *en, unsigned n, const struct gmem_region *r)
{
	struct kvm_userspace_memory_region slot = {
		.slot = n,
		.flags = (r->flags & GMEM_ROM ? KVM_MEM_READONLY : 0u) |
			 (en->logging && !(r->flags & GMEM_ROM) ? KVM_MEM_LOG_DIRTY_PAGES : 0u),
		.guest_phys_addr = r->base,
		.memory_size = r->len,
		.userspace_addr = (uintptr_t)r->host};
	return ioctl(en->fd, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

static int slots_set(struct engine *en, struct err *e)
{
	struct gmem_region r;
	for (en->slots = 0; gmem_region(en->env.mem, en->slots, &r); en->slots++) {
		int rc = slot_set(en, en->slots, &r);
		if (rc)
			return fail(e, rc, "/dev/kvm: memory at %#llx: %s",
				    (unsigned long long)r.base, strerror(-rc));
	}
	return 0;
}

static void pages_mark(struct engine *en, const struct gmem_region *r, uint64_t word, uint64_t bits)
{
	enum { PAGE = 4096 };
	for (; bits; bits &= bits - 1) {
		uint64_t page = word * 64 + (unsigned)__builtin_ctzll(bits);
		gmem_dirty(en->env.mem, r->base + page * PAGE, PAGE);
	}
}

static int slot_sync(struct engine *en, unsigned n, const struct gmem_region *r)
{
	uint64_t words = (r->len / 4096 + 63) / 64;
	auto_mem uint64_t *bits = calloc(words, sizeof(*bits));
	struct kvm_dirty_log log = {.slot = n, .dirty_bitmap = bits};
	if (!bits) return -ENOMEM;
	if (ioctl(en->fd, KVM_GET_DIRTY_LOG, &log)) return -errno;
	for (uint64_t w = 0; w < words; w++) pages_mark(en, r, w, bits[w]);
	return 0;
}

/* syscalls loop move: ioctl */
static int kvm_dirty(struct engine *en, struct err *e)
{
	struct gmem_region r;
	int rc = 0;
	(void)pthread_mutex_lock(&en->lock);
	bool on = gmem_tracking(en->env.mem), change = on != en->logging;
	for (unsigned i = 0; !rc && on && !change && gmem_region(en->env.mem, i, &r); i++)
		if (!(r.flags & GMEM_ROM)) rc = slot_sync(en, i, &r);
	en->logging = on;
	for (unsigned i = 0; !rc && change && gmem_region(en->env.mem, i, &r); i++)
		rc = slot_set(en, i, &r);
	(void)pthread_mutex_unlock(&en->lock);
	return rc ? fail(e, rc, "/dev/kvm: log of writes: %s", strerror(-rc)) : 0;
}

/* The machine */

static int machine_set(struct engine *en, struct err *e)
{
	uint64_t map = OWN_MAP;
	if (ioctl(en->fd, KVM_SET_IDENTITY_MAP_ADDR, &map) ||
	    ioctl(en->fd, KVM_SET_TSS_ADDR, OWN_TSS))
		return fail(e, -errno, "/dev/kvm: pages of its own: %s", strerror(errno));
	int rc = kvm_irqchip(en, e);
	if (rc) return rc;
	/* Without these a guest's mistakes are answered by KVM, with less said; so may fail. */
	if (kvm_cap(en, KVM_CAP_X86_USER_SPACE_MSR))
		(void)enable(en, KVM_CAP_X86_USER_SPACE_MSR,
			     KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER);
	if (kvm_cap(en, KVM_CAP_EXIT_ON_EMULATION_FAILURE))
		(void)enable(en, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
	if (kvm_cap(en, KVM_CAP_EXCEPTION_PAYLOAD)) (void)enable(en, KVM_CAP_EXCEPTION_PAYLOAD, 1);
	if (kvm_cap(en, KVM_CAP_X86_TRIPLE_FAULT_EVENT))
		(void)enable(en, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
	int size = ioctl(en->dev, KVM_GET_VCPU_MMAP_SIZE, 0), xsave = kvm_cap(en, KVM_CAP_XSAVE2);
	if (size < (int)sizeof(struct kvm_run))
		return fail(e, -ENOTSUP, "/dev/kvm: no room to run");
	en->run_size = (size_t)size;
	en->xsave_size =
		xsave > (int)sizeof(struct kvm_xsave) ? (size_t)xsave : sizeof(struct kvm_xsave);
	return slots_set(en, e);
}

static void kvm_close(struct engine *en);

static int kvm_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	if (env->arch != ARCH_X86_64)
		return fail(e, -ENOTSUP, "kvm: it runs guests of this machine's own CPU, x86-64");
	if (env->counted)
		return fail(e, -ENOTSUP,
			    "kvm: time cannot go by instructions, which nobody counts");
	struct engine *en = calloc(1, sizeof(*en));
	must(en);
	en->env = *env;
	en->dev = en->fd = -1;
	must(!pthread_mutex_init(&en->lock, NULL));
	kvm_signals();
	int rc = dev_open(en, e);
	if (!rc) rc = caps_check(en, e);
	if (!rc) rc = machine_set(en, e);
	if (rc)
		kvm_close(en);
	else
		*out = en;
	return rc;
}

/* vCPUs */

/* One bank of machine checks, as few as KVM has, and no faulting of CPUID: as translated CPUs.
 * Where it is refused there is more, which harms nobody who stays. */
static void msrs_choose(struct vcpu *c)
{
	enum { PLATFORM_INFO = 0xce };
	uint64_t banks = 1, none = 0;
	(void)ioctl(c->fd, KVM_X86_SETUP_MCE, &banks);
	(void)kvm_msr(c, PLATFORM_INFO, &none, true);
}

static void vcpu_free(struct vcpu *c)
{
	if (c->run) (void)munmap(c->run, c->en->run_size);
	if (c->fd >= 0) (void)close(c->fd);
	(void)pthread_cond_destroy(&c->woken);
	(void)pthread_mutex_destroy(&c->lock);
	free(c->first);
	free(c->xsave);
	free(c);
}

static int kvm_vcpu(struct vcpu **out, struct engine *en, unsigned id, struct err *e)
{
	struct vcpu *c = calloc(1, sizeof(*c));
	must(c);
	c->en = en;
	c->id = id;
	must(!pthread_mutex_init(&c->lock, NULL) && !pthread_cond_init(&c->woken, NULL));
	c->next = en->vcpus;
	en->vcpus = c;
	c->fd = ioctl(en->fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (c->fd < 0) return fail(e, -errno, "cpu %u: /dev/kvm: %s", id, strerror(errno));
	void *p = mmap(NULL, en->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (p == MAP_FAILED) return fail(e, -errno, "cpu %u: /dev/kvm: %s", id, strerror(errno));
	c->run = p;
	int rc = kvm_cpuid_set(c, e);
	if (!rc) msrs_choose(c);
	if (!rc) rc = kvm_power_on_take(c, e);
	if (!rc) *out = c;
	return rc;
}

static void kvm_close(struct engine *en)
{
	while (en && en->vcpus) {
		struct vcpu *c = en->vcpus;
		en->vcpus = c->next;
		vcpu_free(c);
	}
	if (!en) return;
	if (en->fd >= 0) (void)close(en->fd);
	if (en->dev >= 0) (void)close(en->dev);
	(void)pthread_mutex_destroy(&en->lock);
	free(en->routes);
	free(en->debug);
	free(en->told);
	free(en);
}

/* What is forgotten here, hardware forgets by itself when the guest says so. */
static void kvm_fence(struct vcpu *c, struct vcpu *from, enum vcpu_fence what, gva_t va,
		      uint64_t len, unsigned asid)
{
	(void)c, (void)from, (void)what, (void)va, (void)len, (void)asid;
}

/* No KVM counts instructions. */
static uint64_t kvm_instret(struct vcpu *c) { return (void)c, 0; }

static void kvm_stats(struct vcpu *c, struct counters *to)
{
	static const char *const names[] = {"exits", "port_accesses", "mmio_accesses",
					    "msr_accesses", "halts"};
	for (unsigned i = 0; i < COUNT(names); i++)
		counters_add(to, names[i],
			     atomic_load_explicit(&c->exits[i], memory_order_relaxed));
}

static const char *kvm_error(struct vcpu *c) { return c->error; }

/* For tests, LODGE_KVM=any: one that is too slow or fails at something is good enough. */
static bool any_will_do(void)
{
	const char *v = getenv("LODGE_KVM");
	return v && !strcmp(v, "any");
}

static int kvm_usable(enum arch guest, struct err *e)
{
	static const int code[] = {-ENOENT, -EACCES, -ENOTSUP, 0};
	if (guest != ARCH_X86_64)
		return fail(e, -ENOTSUP, "kvm: it runs guests of this machine's own CPU, x86-64");
	const struct kvm_report *r = kvm_probe();
	if (r->state == KVM_UNFIT && any_will_do()) return 0;
	return code[r->state] ? fail(e, code[r->state], "kvm: /dev/kvm is %s", r->what) : 0;
}

const struct engine_ops engine_kvm = {
	.name = "kvm",
	.whole = true,
	.probe = kvm_usable,
	.open = kvm_open,
	.vcpu = kvm_vcpu,
	.run = kvm_run,
	.kick = kvm_kick,
	.irq = kvm_irq,
	.fence = kvm_fence,
	.get = kvm_get,
	.set = kvm_set,
	.reset = kvm_reset,
	.instret = kvm_instret,
	.stats = kvm_stats,
	.dirty = kvm_dirty,
	.told = kvm_told,
	.be = kvm_be,
	.debugs = kvm_debugs,
	.points = kvm_points,
	.step = kvm_step,
	.stopped = kvm_stopped,
	.peek = kvm_peek,
	.error = kvm_error,
	.close = kvm_close,
};
