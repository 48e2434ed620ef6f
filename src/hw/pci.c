/* The PCI host bridge: config space is bytes with write masks, and everything a write means
 * (where BARs answer, whether the interrupt pin may be driven) is derived again from the bytes
 * afterwards, so no order of writes can leave the two apart. */
#include "hw/pci.h"
#include "base/state.h"
#include "base/types.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { /* PCI Local Bus 3.0 §6.1, §6.2 */
       REG_VENDOR = 0x00,
       REG_DEVICE = 0x02,
       REG_COMMAND = 0x04,
       REG_STATUS = 0x06,
       REG_CLASS_REV = 0x08,
       REG_CACHE_LINE = 0x0c,
       REG_BAR = 0x10,
       REG_BAR_END = 0x28,
       REG_SUBVENDOR = 0x2c,
       REG_SUBDEVICE = 0x2e,
       REG_CAPS = 0x34,
       REG_IRQ_LINE = 0x3c,
       REG_IRQ_PIN = 0x3d,
       REG_FIRST_CAP = 0x40,
       COMMAND_MEMORY = 1 << 1,
       COMMAND_WRITABLE = 0x0546, /* memory, master, parity, SERR#, INTx disable */
       COMMAND_INTX_OFF = 1 << 10,
       STATUS_INTX = 1 << 3,
       STATUS_CAPS = 1 << 4,
       BAR_64 = 4,
       SLOTS = 32,
       ECAM_SLOT_SHIFT = 15, /* 8 functions of 4 KiB */
       CONFIG_SAVED = 256,   /* nobody has extended capabilities */
};
#define UNMAPPED UINT64_MAX

struct pci_host {
	struct device ecam;	/* its lock guards config spaces and BAR mappings */
	struct pci_func bridge; /* slot 0 */
	struct bus *mmio;
	struct pci_windows win;
	struct pci_msi msi;
	pthread_mutex_t wires; /* below: any thread pulls a wire */
	struct irq intx[4];
	unsigned pulled[4]; /* functions that drive each line */
	struct pci_func *slot[SLOTS];
};

void pci_func_rename(struct pci_func *f, uint16_t vendor, uint16_t device, uint32_t class_rev)
{
	store_le(f->config + REG_VENDOR, vendor, 2);
	store_le(f->config + REG_DEVICE, device, 2);
	store_le(f->config + REG_CLASS_REV, class_rev, 4);
}

void pci_func_init(struct pci_func *f, const struct pci_func_ops *ops, uint16_t vendor,
		   uint16_t device, uint32_t class_rev, uint16_t subvendor, uint16_t subdevice)
{
	f->ops = ops;
	f->slot = -1;
	pci_func_rename(f, vendor, device, class_rev);
	store_le(f->config + REG_SUBVENDOR, subvendor, 2);
	store_le(f->config + REG_SUBDEVICE, subdevice, 2);
	store_le(f->wmask + REG_COMMAND, COMMAND_WRITABLE, 2);
	f->wmask[REG_CACHE_LINE] = f->wmask[REG_IRQ_LINE] = 0xff;
	f->cap_end = REG_FIRST_CAP;
	for (unsigned n = 0; n < PCI_BARS; n++) f->bar[n].mapped = UNMAPPED;
}

void pci_func_done(struct pci_func *f) { pci_msix_free(f); }

unsigned pci_add_cap(struct pci_func *f, uint8_t id, const void *body, unsigned len)
{
	unsigned at = f->cap_end;
	must(len >= 2 && at + len <= 256);
	memcpy(f->config + at, body, len);
	f->config[at] = id;
	f->config[at + 1] = 0;
	f->config[f->cap_last ? f->cap_last + 1 : REG_CAPS] = (uint8_t)at;
	f->config[REG_STATUS] |= STATUS_CAPS;
	f->cap_last = at;
	f->cap_end = (at + len + 3) & ~3u;
	return at;
}

void pci_add_bar(struct pci_func *f, unsigned n, struct device *dev, uint64_t len, bool is64)
{
	must(n + is64 < PCI_BARS && len >= 16 && !(len & (len - 1)) && (is64 || len <= 2 * GIB));
	unsigned at = REG_BAR + 4 * n;
	f->bar[n] = (struct pci_bar){.dev = dev, .len = len, .is64 = is64, .mapped = UNMAPPED};
	store_le(f->wmask + at, ~(len - 1), is64 ? 8 : 4);
	if (is64) f->config[at] |= BAR_64;
}

/* Where a BAR would answer now; UNMAPPED when disabled or outside the board's windows. */
static uint64_t bar_wanted(const struct pci_host *h, const struct pci_func *f, unsigned n)
{
	const struct pci_bar *b = &f->bar[n];
	const struct pci_windows *w = &h->win;
	if (!b->dev || !(f->config[REG_COMMAND] & COMMAND_MEMORY)) return UNMAPPED;
	uint64_t at = load_le(f->config + REG_BAR + 4 * n, b->is64 ? 8 : 4) & ~(b->len - 1);
	bool in32 =
		at >= w->mem32 && b->len <= w->mem32_len && at - w->mem32 <= w->mem32_len - b->len;
	bool in64 =
		at >= w->mem64 && b->len <= w->mem64_len && at - w->mem64 <= w->mem64_len - b->len;
	return in32 || in64 ? at : UNMAPPED;
}

static void bars_each(struct pci_host *h,
		      void (*fn)(struct pci_host *h, struct pci_bar *b, uint64_t want))
{
	for (unsigned s = 0; s < SLOTS; s++)
		for (unsigned n = 0; h->slot[s] && n < PCI_BARS; n++)
			fn(h, &h->slot[s]->bar[n], bar_wanted(h, h->slot[s], n));
}

static void bar_leave(struct pci_host *h, struct pci_bar *b, uint64_t want)
{
	if (b->mapped == UNMAPPED || b->mapped == want) return;
	bus_unmap(h->mmio, b->mapped);
	b->mapped = UNMAPPED;
}

static void bar_enter(struct pci_host *h, struct pci_bar *b, uint64_t want)
{
	if (b->mapped != want && !bus_map(h->mmio, want, b->len, b->dev, NULL)) b->mapped = want;
}

/* All of them each time: a BAR that found its place taken gets it when the other moves away. */
static void bars_follow(struct pci_host *h)
{
	bars_each(h, bar_leave);
	bars_each(h, bar_enter);
}

/* Under the wire lock, so that the controller sees levels in the order they happened. */
static void wire_update(struct pci_func *f)
{
	struct pci_host *h = f->host;
	unsigned pin = (unsigned)f->slot % 4; /* pin A of every function, swizzled */
	bool drive = f->intx && !f->intx_off;
	if (drive == f->intx_driven) return;
	f->intx_driven = drive;
	h->pulled[pin] += drive ? 1u : -1u;
	if (h->pulled[pin] == drive) irq_set(h->intx[pin], drive);
}

void pci_intx(struct pci_func *f, int level)
{
	if (!f->host) return;
	(void)pthread_mutex_lock(&f->host->wires);
	f->intx = level;
	wire_update(f);
	(void)pthread_mutex_unlock(&f->host->wires);
}

static void intx_follow(struct pci_func *f)
{
	bool off = load_le(f->config + REG_COMMAND, 2) & COMMAND_INTX_OFF || pci_msix_on(f);
	(void)pthread_mutex_lock(&f->host->wires);
	f->intx_off = off;
	wire_update(f);
	(void)pthread_mutex_unlock(&f->host->wires);
}

static void status_refresh(struct pci_func *f)
{
	(void)pthread_mutex_lock(&f->host->wires);
	f->config[REG_STATUS] =
		(uint8_t)((f->config[REG_STATUS] & ~STATUS_INTX) | (f->intx ? STATUS_INTX : 0));
	(void)pthread_mutex_unlock(&f->host->wires);
}

static struct pci_func *ecam_func(struct device *d, uint64_t off, unsigned len)
{
	struct pci_host *h = (struct pci_host *)d;
	uint64_t slot = off >> ECAM_SLOT_SHIFT, reg = off % (1 << ECAM_SLOT_SHIFT);
	return slot < SLOTS && reg + len <= PCI_CONFIG ? h->slot[slot] : NULL;
}

static uint64_t ecam_read(struct device *d, uint64_t off, unsigned len)
{
	struct pci_func *f = ecam_func(d, off, len);
	unsigned reg = (unsigned)off % PCI_CONFIG;
	if (!f) return ~0ull;
	if (reg <= REG_STATUS && reg + len > REG_STATUS) status_refresh(f);
	if (f->ops->config_read) f->ops->config_read(f, reg, len);
	return load_le(f->config + reg, len);
}

static void ecam_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct pci_func *f = ecam_func(d, off, len);
	unsigned reg = (unsigned)off % PCI_CONFIG;
	if (!f) return;
	uint64_t old = load_le(f->config + reg, len), mask = load_le(f->wmask + reg, len);
	store_le(f->config + reg, (old & ~mask) | (val & mask), len);
	pci_msix_control(f);
	intx_follow(f);
	if (reg < REG_BAR_END) bars_follow(f->host);
	if (f->ops->config_written) f->ops->config_written(f, reg, len);
}

static const struct device_ops ecam_ops = {
	.name = "pci-ecam", .read = ecam_read, .write = ecam_write};

static void bridge_free(struct pci_func *f) { pci_func_done(f); }

static const struct pci_func_ops bridge_ops = {.name = "pci-host", .free = bridge_free};

int pci_host_new(struct pci_host **out, struct bus *mmio, const struct pci_windows *w,
		 const struct irq intx[4], const struct pci_msi *msi, struct err *e)
{
	struct pci_host *h = calloc(1, sizeof(*h));
	if (!h) return fail(e, -ENOMEM, "pci: no memory for the host bridge");
	device_init(&h->ecam, &ecam_ops, "pci");
	must(pthread_mutex_init(&h->wires, NULL) == 0);
	h->mmio = mmio;
	h->win = *w;
	memcpy(h->intx, intx, sizeof(h->intx));
	if (msi) h->msi = *msi;
	/* Red Hat's generic PCIe host bridge, which firmware and kernels know */
	pci_func_init(&h->bridge, &bridge_ops, 0x1b36, 0x0008, 0x06000000, 0x1af4, 0x1100);
	*out = h;
	return pci_plug(h, &h->bridge, 0, e);
}

struct device *pci_host_ecam(struct pci_host *h) { return &h->ecam; }

struct pci_func *pci_host_bridge(struct pci_host *h) { return &h->bridge; }

bool pci_host_has_msi(const struct pci_host *h) { return h->msi.send; }

void pci_host_msi(struct pci_host *h, uint64_t addr, uint32_t data)
{
	if (h && h->msi.send) h->msi.send(h->msi.ctx, addr, data);
}

static void func_reset(struct pci_func *f)
{
	if (f->ops->reset) f->ops->reset(f);
	for (unsigned i = 0; i < PCI_CONFIG; i++) f->config[i] &= (uint8_t)~f->wmask[i];
	pci_msix_reset(f);
	pci_intx(f, 0);
	intx_follow(f);
}

void pci_host_reset(struct pci_host *h)
{
	device_lock(&h->ecam);
	for (unsigned s = 0; s < SLOTS; s++)
		if (h->slot[s]) func_reset(h->slot[s]);
	bars_follow(h);
	device_unlock(&h->ecam);
}

static void each_func(struct pci_host *h, void (*op)(struct pci_func *f))
{
	for (unsigned s = 0; s < SLOTS; s++)
		if (h->slot[s]) op(h->slot[s]);
}

static void func_pause(struct pci_func *f)
{
	if (f->ops->pause) f->ops->pause(f);
}

static void func_resume(struct pci_func *f)
{
	if (f->ops->resume) f->ops->resume(f);
}

void pci_host_pause(struct pci_host *h) { each_func(h, func_pause); }
void pci_host_resume(struct pci_host *h) { each_func(h, func_resume); }

/* What may be written is taken over; the rest must be what it is here. */
static bool config_take(struct pci_func *f, const uint8_t *saved)
{
	for (unsigned i = 0; i < CONFIG_SAVED; i++) {
		uint8_t own = f->config[i], mask = f->wmask[i];
		uint8_t moves = i == REG_STATUS ? STATUS_INTX : 0;
		if ((own ^ saved[i]) & ~mask & ~moves & 0xff) return false;
		f->config[i] = (uint8_t)((own & ~mask) | (saved[i] & mask));
	}
	return true;
}

static void config_state(struct pci_func *f, struct state *s)
{
	uint8_t config[CONFIG_SAVED];
	memcpy(config, f->config, sizeof(config));
	config[REG_STATUS] &= (uint8_t)~STATUS_INTX;
	STATE(s, f, slot);
	state_bytes(s, "config", config, sizeof(config));
	if (s->loading && state_ok(s))
		(void)state_need(s, config_take(f, config), "the function in this slot");
}

/* The far end of the line is the interrupt controller's to remember. */
static void wire_state(struct pci_func *f, struct state *s)
{
	struct pci_host *h = f->host;
	unsigned pin = (unsigned)f->slot % 4;
	(void)pthread_mutex_lock(&h->wires);
	STATE(s, f, intx);
	f->intx_off = load_le(f->config + REG_COMMAND, 2) & COMMAND_INTX_OFF || pci_msix_on(f);
	h->pulled[pin] -= f->intx_driven;
	f->intx_driven = f->intx && !f->intx_off;
	h->pulled[pin] += f->intx_driven;
	(void)pthread_mutex_unlock(&h->wires);
}

static void func_state(struct pci_func *f, struct state *s)
{
	int slot = f->slot;
	config_state(f, s);
	if (!state_need(s, f->slot == slot, "slot")) f->slot = slot;
	pci_msix_state(f, s);
	if (f->ops->state) f->ops->state(f, s);
	wire_state(f, s);
}

void pci_host_state(struct pci_host *h, struct state *s)
{
	unsigned n = 0, here;
	device_lock(&h->ecam);
	for (unsigned i = 0; i < SLOTS; i++) n += h->slot[i] != NULL;
	here = n;
	state_bytes(s, "functions", &n, sizeof(n));
	(void)state_need(s, n == here, "number of PCI functions");
	for (unsigned i = 0; state_ok(s) && i < SLOTS; i++)
		if (h->slot[i]) func_state(h->slot[i], s);
	bars_follow(h);
	device_unlock(&h->ecam);
}

void pci_host_free(struct pci_host *h)
{
	if (!h) return;
	for (unsigned s = SLOTS; s-- > 0;)
		if (h->slot[s]) h->slot[s]->ops->free(h->slot[s]);
	(void)pthread_mutex_destroy(&h->wires);
	device_done(&h->ecam);
	free(h);
}

static int slot_find(const struct pci_host *h, int slot)
{
	for (int s = 1; slot < 0 && s < SLOTS; s++)
		if (!h->slot[s]) return s;
	return slot >= 0 && slot < SLOTS && !h->slot[slot] ? slot : -1;
}

int pci_free_slot(const struct pci_host *h) { return slot_find(h, -1); }

int pci_plug(struct pci_host *h, struct pci_func *f, int slot, struct err *e)
{
	int s = slot_find(h, slot);
	if (s < 0)
		return slot < 0 ? fail(e, -ENOSPC, "pci: all %d slots are taken", SLOTS)
				: fail(e, -EEXIST, "pci: no free slot %d", slot);
	if (s) f->config[REG_IRQ_PIN] = 1; /* INTA# */
	f->slot = s;
	f->host = h;
	device_lock(&h->ecam);
	h->slot[s] = f;
	device_unlock(&h->ecam);
	return 0;
}

static struct device *bar_device(struct pci_func *f, unsigned n, uint64_t off, unsigned len)
{
	if (n >= PCI_BARS || !f->bar[n].dev || len > 8 || !len || len & (len - 1)) return NULL;
	return off < f->bar[n].len && len <= f->bar[n].len - off ? f->bar[n].dev : NULL;
}

uint64_t pci_bar_read(struct pci_func *f, unsigned bar, uint64_t off, unsigned len)
{
	struct device *d = bar_device(f, bar, off, len);
	if (!d) return ~0ull;
	device_lock(d);
	uint64_t v = d->ops->read(d, off, len);
	device_unlock(d);
	return v;
}

void pci_bar_write(struct pci_func *f, unsigned bar, uint64_t off, uint64_t val, unsigned len)
{
	struct device *d = bar_device(f, bar, off, len);
	if (!d) return;
	device_lock(d);
	d->ops->write(d, off, val, len);
	device_unlock(d);
}
