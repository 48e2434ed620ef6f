/* Interrupts without a vCPU's thread: eventfds that raise them, writes that ring an eventfd,
 * messages. KVM takes its table of routes whole; the engine keeps a copy to change. */
#include "engine/kvm_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* By whoever has something to tell a guest. */
/* syscalls loop vcpu disk nat lan tap share: ioctl */

enum { PINS = KVM_IOAPIC_NUM_PINS, PIC_PINS = 16, ROUTES = KVM_GSIS + 2 * PINS };

static int vm_call(struct engine *en, unsigned long what, const void *arg, struct err *e,
		   const char *words)
{
	if (ioctl(en->fd, what, arg) >= 0) return 0;
	return fail(e, -errno, "/dev/kvm: %s: %s", words, strerror(errno));
}

/* Pins of IOAPIC and PICs, as KVM sets them up itself: they must stay when messages come. */
static void routes_first(struct engine *en)
{
	struct kvm_irq_routing *r = en->routes;
	for (unsigned i = 0; en->env.irqchip == IRQCHIP_FULL && i < PINS; i++) {
		r->entries[r->nr++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = i}};
		if (i >= PIC_PINS) continue;
		r->entries[r->nr++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = i < 8 ? KVM_IRQCHIP_PIC_MASTER
						       : KVM_IRQCHIP_PIC_SLAVE,
				      .pin = i % 8}};
	}
}

/* IOAPIC and PICs of KVM's, as they are at power-on. */
static int chips_take(struct engine *en, struct err *e)
{
	int rc = 0;
	for (unsigned i = 0; !rc && en->env.irqchip == IRQCHIP_FULL && i < KVM_NR_IRQCHIPS; i++) {
		en->chips[i].chip_id = i;
		rc = vm_call(en, KVM_GET_IRQCHIP, &en->chips[i], e, "state of controllers");
	}
	return rc;
}

int kvm_irqchip(struct engine *en, struct err *e)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {PINS}};
	struct kvm_enable_cap x2apic = {
		.cap = KVM_CAP_X2APIC_API,
		.args = {KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK}};
	int rc = 0;
	en->routes = calloc(1, sizeof(*en->routes) + ROUTES * sizeof(en->routes->entries[0]));
	must(en->routes);
	if (en->env.irqchip == IRQCHIP_NONE) return 0;
	if (en->env.irqchip == IRQCHIP_SPLIT)
		rc = vm_call(en, KVM_ENABLE_CAP, &split, e, "LAPICs alone");
	else
		rc = vm_call(en, KVM_CREATE_IRQCHIP, NULL, e, "interrupt controllers");
	if (!rc) rc = chips_take(en, e);
	if (rc) return rc;
	routes_first(en);
	(void)ioctl(en->fd, KVM_ENABLE_CAP, &x2apic);
	return 0;
}

void kvm_chips_reset(struct engine *en)
{
	for (unsigned i = 0; en->env.irqchip == IRQCHIP_FULL && i < KVM_NR_IRQCHIPS; i++)
		(void)ioctl(en->fd, KVM_SET_IRQCHIP, &en->chips[i]);
}

int kvm_irqfd(struct engine *en, int fd, unsigned gsi, bool on, struct err *e)
{
	struct kvm_irqfd q = {
		.fd = (uint32_t)fd, .gsi = gsi, .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};
	return vm_call(en, KVM_IRQFD, &q, e, "an eventfd as interrupt");
}

static struct kvm_irq_routing_entry *route_of(struct engine *en, unsigned gsi)
{
	struct kvm_irq_routing *r = en->routes;
	for (unsigned i = 0; i < r->nr; i++)
		if (r->entries[i].gsi == gsi) return &r->entries[i];
	return r->nr < ROUTES ? &r->entries[r->nr++] : NULL;
}

int kvm_route(struct engine *en, unsigned gsi, uint64_t addr, uint32_t data, struct err *e)
{
	if (gsi < KVM_GSI_MSI && en->env.irqchip == IRQCHIP_FULL)
		return fail(e, -EINVAL, "interrupt %u is a pin", gsi);
	if (gsi >= KVM_GSIS) return fail(e, -EINVAL, "interrupt %u: there are %d", gsi, KVM_GSIS);
	(void)pthread_mutex_lock(&en->lock);
	struct kvm_irq_routing_entry *r = route_of(en, gsi);
	must(r);
	memset(r, 0, sizeof(*r));
	r->gsi = gsi;
	r->type = KVM_IRQ_ROUTING_MSI;
	r->u.msi.address_lo = (uint32_t)addr;
	r->u.msi.address_hi = (uint32_t)(addr >> 32);
	r->u.msi.data = data;
	if (!addr && !data) *r = en->routes->entries[--en->routes->nr];
	int rc = vm_call(en, KVM_SET_GSI_ROUTING, en->routes, e, "routes of interrupts");
	(void)pthread_mutex_unlock(&en->lock);
	return rc;
}

bool kvm_msi(struct engine *en, uint64_t addr, uint32_t data)
{
	struct kvm_msi m = {
		.address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data};
	return ioctl(en->fd, KVM_SIGNAL_MSI, &m) > 0;
}

void kvm_line(struct engine *en, unsigned gsi, int level)
{
	struct kvm_irq_level q = {.irq = gsi, .level = level != 0};
	(void)ioctl(en->fd, KVM_IRQ_LINE, &q);
}

int kvm_bell(struct engine *en, const struct kvm_bell *b, bool on, struct err *e)
{
	struct kvm_ioeventfd q = {.fd = b->fd,
				  .addr = b->at,
				  .len = b->len,
				  .datamatch = b->val ? *b->val : 0,
				  .flags = (b->pio ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
					   (b->val ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u) |
					   (on ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN)};
	return vm_call(en, KVM_IOEVENTFD, &q, e, "a write as eventfd");
}

int kvm_msr_catch(struct engine *en, uint32_t first, unsigned n, struct err *e)
{
	static uint8_t none[KVM_MSR_FILTER_MAX_BITMAP_SIZE]; /* zero bits: to be asked about */
	if (en->ncaught == KVM_CATCHES || !n || n > sizeof(none) * 8)
		return fail(e, -EINVAL, "MSRs %#x+%u: too many to catch", first, n);
	en->caught[en->ncaught++] =
		(struct kvm_msr_filter_range){.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
					      .nmsrs = n,
					      .base = first,
					      .bitmap = none};
	struct kvm_msr_filter f = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
	memcpy(f.ranges, en->caught, sizeof(en->caught));
	return vm_call(en, KVM_X86_SET_MSR_FILTER, &f, e, "MSRs to catch");
}
