/* Time of a guest on KVM while it stands: its time stamp counters are those of one moment of the
 * host's, read or set, so that they keep their distances; and KVM's clock for guests goes on from
 * where it was by them, in this machine or in another. Linux
 * Documentation/virt/kvm/devices/vcpu.rst, KVM_VCPU_TSC_CTRL; api.rst, KVM_GET_CLOCK. */
#include "engine/kvm_impl.h"
#include "engine/x86_regs.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* syscalls loop vcpu: ioctl */

enum { MSR_TSC = 0x10, MSR_TSC_ADJUST = 0x3b };
typedef unsigned __int128 u128;

static uint64_t rdtsc(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

static struct kvm_device_attr offset_attr(uint64_t *at)
{
	return (struct kvm_device_attr){
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)at};
}

/* What the guest's TSC is more than the host's. Where KVM does not say (before Linux 5.16, or where
 * the guest's runs at a speed of its own) -ENOTSUP. */
static int offset_get(struct vcpu *c, uint64_t *offset)
{
	struct kvm_device_attr a = offset_attr(offset);
	if (c->en->scaled) return -ENOTSUP;
	return ioctl(c->fd, KVM_GET_DEVICE_ATTR, &a) ? -ENOTSUP : 0;
}

static int offset_set(struct vcpu *c, uint64_t offset)
{
	struct kvm_device_attr a = offset_attr(&offset);
	if (c->en->scaled) return -ENOTSUP;
	return ioctl(c->fd, KVM_SET_DEVICE_ATTR, &a) ? -ENOTSUP : 0;
}

static uint64_t adjust_of(struct vcpu *c)
{
	uint64_t v = 0;
	return kvm_msr(c, MSR_TSC_ADJUST, &v, false) ? 0 : v;
}

static int tsc_now(struct vcpu *c, uint64_t host, uint64_t *val)
{
	uint64_t offset;
	if (offset_get(c, &offset)) return kvm_msr(c, MSR_TSC, val, false);
	*val = host + offset;
	return 0;
}

/* The moment, and what KVM's clock shows then. */
static void moment_take(struct vcpu *c)
{
	struct kvm_time *t = &c->en->time;
	struct kvm_clock_data k;
	uint64_t tsc = 0;
	memset(&k, 0, sizeof(k));
	bool has = !ioctl(c->en->fd, KVM_GET_CLOCK, &k);
	t->got = has && k.flags & KVM_CLOCK_HOST_TSC ? k.host_tsc : rdtsc();
	if (t->due) return; /* nothing has run since it was said */
	t->pv_tsc = has && !tsc_now(c, t->got, &tsc) ? tsc - adjust_of(c) : 0;
	t->pv_ns = k.clock;
}

static void lock(struct engine *en) { (void)pthread_mutex_lock(&en->lock); }
static void unlock(struct engine *en) { (void)pthread_mutex_unlock(&en->lock); }

int kvm_tsc_get(struct vcpu *c, uint64_t *val)
{
	struct kvm_time *t = &c->en->time;
	lock(c->en);
	if (!t->got) moment_take(c);
	t->put = 0;
	atomic_store(&c->en->holds, true);
	int rc = tsc_now(c, t->got, val);
	unlock(c->en);
	return rc;
}

int kvm_tsc_set(struct vcpu *c, uint64_t val)
{
	struct kvm_time *t = &c->en->time;
	lock(c->en);
	if (!t->put) t->put = rdtsc();
	t->got = 0;
	t->due = t->pv_tsc != 0;
	atomic_store(&c->en->holds, true);
	int rc = offset_set(c, val - t->put);
	unlock(c->en);
	return rc ? kvm_msr(c, MSR_TSC, &val, true) : 0;
}

int kvm_pv_get(struct vcpu *c, unsigned reg, uint64_t *val)
{
	struct kvm_time *t = &c->en->time;
	lock(c->en);
	if (!t->got) moment_take(c);
	atomic_store(&c->en->holds, true);
	*val = reg == REG_X86_PV_TSC ? t->pv_tsc : t->pv_ns;
	unlock(c->en);
	return 0;
}

/* Both are set, TSC first, one after the other. */
int kvm_pv_set(struct vcpu *c, unsigned reg, uint64_t val)
{
	struct kvm_time *t = &c->en->time;
	lock(c->en);
	if (reg == REG_X86_PV_TSC)
		t->pv_tsc = val;
	else
		t->pv_ns = val;
	t->due = t->pv_tsc != 0;
	atomic_store(&c->en->holds, true);
	unlock(c->en);
	return 0;
}

static void clock_set(struct vcpu *c, const struct kvm_time *t)
{
	struct kvm_clock_data k;
	uint64_t tsc, khz = c->en->tsc_khz;
	memset(&k, 0, sizeof(k));
	if (!khz || tsc_now(c, rdtsc(), &tsc)) return;
	int64_t passed = (int64_t)(tsc - adjust_of(c) - t->pv_tsc);
	if (passed < 0) passed = 0;
	k.clock = t->pv_ns + (uint64_t)((u128)passed * 1000000 / khz);
	(void)ioctl(c->en->fd, KVM_SET_CLOCK, &k);
}

void kvm_time_go(struct vcpu *c)
{
	struct kvm_time *t = &c->en->time;
	if (!atomic_load(&c->en->holds)) return;
	lock(c->en);
	if (t->due) clock_set(c, t);
	t->got = t->put = 0;
	t->due = false;
	atomic_store(&c->en->holds, false);
	unlock(c->en);
}
