/* A virtio device as a PCI function (virtio 1.2 §4.1, modern only). The registers are a picture
 * painted on every read and a table of what may be written: an access that fits no field of the
 * table changes nothing, and what runs over the end of a structure is cut there, so any size at
 * any offset is safe. */
#include "base/state.h"
#include "hw/pci.h"
#include "hw/virtio.h"
#include <stddef.h>
#include <stdlib.h>

enum {
	BAR_REGS = 0, /* and 1: it is a 64-bit BAR */
	BAR_MSIX = 2,
	PAGE = 4096, /* each structure has a page of BAR_REGS, in this order: */
	PAGE_COMMON = 0,
	PAGE_ISR = 1,
	PAGE_DEVICE = 2,
	PAGE_NOTIFY = 3,
	NOTIFY_STRIDE = 4,
	CAP_VENDOR = 0x09,
	CFG_COMMON = 1, /* 4.1.4 */
	CFG_NOTIFY = 2,
	CFG_ISR = 3,
	CFG_DEVICE = 4,
	CFG_PCI = 5,
	ISR_QUEUE = 1,
	ISR_CONFIG = 2,
	NO_VECTOR = 0xffff
};
struct common { /* 4.1.4.3 */
	uint32_t device_feature_select, device_feature;
	uint32_t driver_feature_select, driver_feature;
	uint16_t config_vector, num_queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	uint64_t queue_desc, queue_driver, queue_device;
};
_Static_assert(sizeof(struct common) == 56, "4.1.4.3");
struct cap { /* 4.1.4 */
	uint8_t id, next, len, type, bar, pad[3];
	uint32_t offset, length, more; /* notify: multiplier; PCI: data */
};
struct vpci {
	struct pci_func f;
	struct device regs; /* its lock is held through resets, which may let go of the device's */
	struct virtio_dev *v;
	unsigned window; /* offset of the PCI configuration access capability */
	/* under v->mutex */
	uint32_t device_word, driver_word;
	uint16_t queue, config_vector, queue_vector[VIRTIO_QUEUES];
	uint8_t isr;
};

static struct virtq *queue_now(struct vpci *p)
{
	return p->queue < p->v->ops->nqueues ? &p->v->vq[p->queue] : NULL;
}

static void common_paint(struct vpci *p, struct common *c)
{
	const struct virtio_dev *v = p->v;
	const struct virtq *q = queue_now(p);
	*c = (struct common){.device_feature_select = p->device_word,
			     .driver_feature_select = p->driver_word,
			     .config_vector = p->config_vector,
			     .num_queues = v->ops->nqueues,
			     .status = v->status,
			     .generation = v->generation,
			     .queue_select = p->queue,
			     .queue_vector = NO_VECTOR};
	if (p->device_word < 2)
		c->device_feature = (uint32_t)(virtio_offered(v) >> 32 * p->device_word);
	if (p->driver_word < 2) c->driver_feature = (uint32_t)(v->wanted >> 32 * p->driver_word);
	if (!q) return;
	c->queue_size = q->size;
	c->queue_vector = p->queue_vector[p->queue];
	c->queue_enable = q->enabled;
	c->queue_notify_off = p->queue;
	c->queue_desc = q->desc;
	c->queue_driver = q->avail;
	c->queue_device = q->used;
}

static uint64_t common_read(struct vpci *p, unsigned off, unsigned len)
{
	struct common c;
	unsigned gen = offsetof(struct common, generation);
	if (off <= gen && gen < off + len) (void)virtio_generation(p->v);
	if (off >= sizeof(c)) return 0;
	common_paint(p, &c);
	return load_le((char *)&c + off, len < sizeof(c) - off ? len : (unsigned)sizeof(c) - off);
}

static void transport_reset(struct vpci *p)
{
	p->device_word = p->driver_word = 0;
	p->queue = 0;
	p->config_vector = NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++) p->queue_vector[i] = NO_VECTOR;
	p->isr = 0;
	pci_intx(&p->f, 0);
}

static uint16_t vector_of(const struct vpci *p, uint64_t val)
{
	return val < pci_msix_vectors(&p->f) ? (uint16_t)val : NO_VECTOR;
}

static void set_device_word(struct vpci *p, uint64_t val) { p->device_word = (uint32_t)val; }
static void set_driver_word(struct vpci *p, uint64_t val) { p->driver_word = (uint32_t)val; }
static void set_features(struct vpci *p, uint64_t val)
{
	virtio_want_features(p->v, p->driver_word, (uint32_t)val);
}
static void set_config_vector(struct vpci *p, uint64_t val)
{
	p->config_vector = vector_of(p, val);
}
static void set_status(struct vpci *p, uint64_t val)
{
	virtio_set_status(p->v, (uint8_t)val);
	if (!val) transport_reset(p);
}
static void set_queue(struct vpci *p, uint64_t val) { p->queue = (uint16_t)val; }
static void set_queue_vector(struct vpci *p, uint64_t val)
{
	if (queue_now(p)) p->queue_vector[p->queue] = vector_of(p, val);
}
static void set_queue_enable(struct vpci *p, uint64_t val)
{
	if (val == 1) virtio_enable_queue(p->v, p->queue);
}

/* The queue whose size and addresses may be written: one not yet in use. */
static struct virtq *queue_open(struct vpci *p)
{
	struct virtq *q = queue_now(p);
	return q && !q->enabled && !(p->v->status & VIRTIO_DRIVER_OK) ? q : NULL;
}
static void set_queue_size(struct vpci *p, uint64_t val)
{
	struct virtq *q = queue_open(p);
	if (q) q->size = (uint16_t)val;
}

/* A 64-bit field takes itself, or either half of itself (4.1.3.1). */
static void set_part(gpa_t *at, unsigned off, uint64_t val, unsigned len)
{
	if ((len == 8 && !off) || (len == 4 && off % 4 == 0)) store_le((char *)at + off, val, len);
}
static void set_queue_address(struct vpci *p, unsigned off, uint64_t val, unsigned len)
{
	struct virtq *q = queue_open(p);
	if (!q) return;
	gpa_t *field[] = {&q->desc, &q->avail, &q->used};
	set_part(field[off / 8], off % 8, val, len);
}

#define FIELD(name, set)                                                                           \
	{                                                                                          \
		offsetof(struct common, name), sizeof(((struct common *)0)->name), set             \
	}
static const struct field {
	unsigned off, len;
	void (*set)(struct vpci *p, uint64_t val);
} common_fields[] = {
	FIELD(device_feature_select, set_device_word),
	FIELD(driver_feature_select, set_driver_word),
	FIELD(driver_feature, set_features),
	FIELD(config_vector, set_config_vector),
	FIELD(status, set_status),
	FIELD(queue_select, set_queue),
	FIELD(queue_size, set_queue_size),
	FIELD(queue_vector, set_queue_vector),
	FIELD(queue_enable, set_queue_enable),
};

static void common_write(struct vpci *p, unsigned off, uint64_t val, unsigned len)
{
	unsigned addresses = offsetof(struct common, queue_desc);
	if (off >= addresses && off < sizeof(struct common))
		set_queue_address(p, off - addresses, val, len);
	for (unsigned i = 0; i < COUNT(common_fields); i++)
		if (common_fields[i].off == off && common_fields[i].len == len)
			common_fields[i].set(p, val);
}

static uint64_t isr_read(struct vpci *p, unsigned off)
{
	uint8_t isr = p->isr;
	if (off) return 0;
	p->isr = 0; /* 4.1.4.5 */
	pci_intx(&p->f, 0);
	return isr;
}

static uint64_t device_read(struct vpci *p, unsigned off, unsigned len)
{
	uint8_t b[8];
	virtio_config_get(p->v, off, b, len);
	return load_le(b, len);
}

static void device_write(struct vpci *p, unsigned off, uint64_t val, unsigned len)
{
	uint8_t b[8];
	store_le(b, val, len);
	virtio_config_set(p->v, off, b, len);
}

static uint64_t regs_read(struct device *d, uint64_t at, unsigned len)
{
	struct vpci *p = container_of(d, struct vpci, regs);
	unsigned page = (unsigned)(at / PAGE), off = (unsigned)(at % PAGE);
	uint64_t v = 0;
	virtio_lock(p->v);
	if (page == PAGE_COMMON) v = common_read(p, off, len);
	if (page == PAGE_ISR) v = isr_read(p, off);
	if (page == PAGE_DEVICE) v = device_read(p, off, len);
	virtio_unlock(p->v);
	return v;
}

static void regs_write(struct device *d, uint64_t at, uint64_t val, unsigned len)
{
	struct vpci *p = container_of(d, struct vpci, regs);
	unsigned page = (unsigned)(at / PAGE), off = (unsigned)(at % PAGE);
	virtio_lock(p->v);
	if (page == PAGE_COMMON) common_write(p, off, val, len);
	if (page == PAGE_DEVICE) device_write(p, off, val, len);
	if (page == PAGE_NOTIFY) virtio_notify(p->v, off / NOTIFY_STRIDE);
	virtio_unlock(p->v);
}

static const struct device_ops regs_ops = {
	.name = "virtio-pci", .read = regs_read, .write = regs_write};

static void wire(struct vpci *p, uint16_t vector, uint8_t isr)
{
	if (pci_msix_on(&p->f)) {
		pci_msix_send(&p->f, vector);
	} else {
		p->isr |= isr;
		pci_intx(&p->f, 1);
	}
}
static void wire_queue(void *transport, unsigned queue)
{
	struct vpci *p = transport;
	wire(p, p->queue_vector[queue], ISR_QUEUE);
}
static void wire_config(void *transport)
{
	struct vpci *p = transport;
	wire(p, p->config_vector, ISR_CONFIG);
}

/* The window: config space cycles become BAR accesses (4.1.4.9). */
static bool window_hit(const struct vpci *p, unsigned off, unsigned len, struct cap *c)
{
	unsigned data = p->window + offsetof(struct cap, more);
	if (off >= data + 4 || off + len <= data) return false;
	memcpy(c, p->f.config + p->window, sizeof(*c));
	return (c->length == 1 || c->length == 2 || c->length == 4) && c->offset % c->length == 0;
}

static void config_read(struct pci_func *f, unsigned off, unsigned len)
{
	struct vpci *p = (struct vpci *)f;
	struct cap c;
	if (window_hit(p, off, len, &c))
		store_le(f->config + p->window + offsetof(struct cap, more),
			 pci_bar_read(f, c.bar, c.offset, c.length), c.length);
}

static void config_written(struct pci_func *f, unsigned off, unsigned len)
{
	struct vpci *p = (struct vpci *)f;
	struct cap c;
	if (window_hit(p, off, len, &c))
		pci_bar_write(f, c.bar, c.offset, load_le(&c.more, c.length), c.length);
}

static void func_reset(struct pci_func *f)
{
	struct vpci *p = (struct vpci *)f;
	virtio_lock(p->v);
	virtio_reset(p->v);
	transport_reset(p);
	virtio_unlock(p->v);
}

static void func_pause(struct pci_func *f) { virtio_pause(((struct vpci *)f)->v); }
static void func_resume(struct pci_func *f) { virtio_resume(((struct vpci *)f)->v); }

static void func_state(struct pci_func *f, struct state *s)
{
	struct vpci *p = (struct vpci *)f;
	virtio_state(p->v, s);
	virtio_lock(p->v);
	STATE(s, p, device_word);
	STATE(s, p, driver_word);
	STATE(s, p, queue);
	STATE(s, p, config_vector);
	STATE(s, p, queue_vector);
	STATE(s, p, isr);
	p->config_vector = vector_of(p, p->config_vector);
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		p->queue_vector[i] = vector_of(p, p->queue_vector[i]);
	virtio_unlock(p->v);
}

static void func_free(struct pci_func *f)
{
	struct vpci *p = (struct vpci *)f;
	p->v->ops->free(p->v);
	device_done(&p->regs);
	pci_func_done(f);
	free(p);
}

static const struct pci_func_ops func_ops = {.name = "virtio-pci",
					     .config_read = config_read,
					     .config_written = config_written,
					     .reset = func_reset,
					     .pause = func_pause,
					     .resume = func_resume,
					     .state = func_state,
					     .free = func_free};

static unsigned add_cap(struct vpci *p, uint8_t type, unsigned page, uint32_t length, uint32_t more)
{
	bool has_more = type == CFG_NOTIFY || type == CFG_PCI;
	uint8_t len = has_more ? sizeof(struct cap) : offsetof(struct cap, more);
	struct cap c = {.len = len,
			.type = type,
			.bar = BAR_REGS,
			.offset = page * PAGE,
			.length = length,
			.more = more};
	return pci_add_cap(&p->f, CAP_VENDOR, &c, len);
}

static void add_caps(struct vpci *p)
{
	const struct virtio_ops *ops = p->v->ops;
	(void)add_cap(p, CFG_COMMON, PAGE_COMMON, sizeof(struct common), 0);
	(void)add_cap(p, CFG_ISR, PAGE_ISR, 1, 0);
	if (ops->config_len) (void)add_cap(p, CFG_DEVICE, PAGE_DEVICE, ops->config_len, 0);
	(void)add_cap(p, CFG_NOTIFY, PAGE_NOTIFY, ops->nqueues * NOTIFY_STRIDE, NOTIFY_STRIDE);
	p->window = add_cap(p, CFG_PCI, 0, 0, 0);
	uint8_t *m = p->f.wmask + p->window;
	m[offsetof(struct cap, bar)] = 0xff;
	memset(m + offsetof(struct cap, offset), 0xff, 12);
}

static uint32_t class_of(uint16_t id)
{
	switch (id) { /* PCI Code and ID Assignment 1.11 §1 */
	case 1: return 0x020000;
	case 2: return 0x010000;
	case 3: return 0x078000;
	default: return 0x00ff00;
	}
}

int virtio_pci_new(struct pci_host *h, struct virtio_dev *v, int slot, struct err *e)
{
	struct vpci *p = calloc(1, sizeof(*p));
	must(p && v->ops->config_len <= PAGE);
	p->v = v;
	v->wires = (struct virtio_wires){wire_queue, wire_config, p};
	device_init(&p->regs, &regs_ops, v->ops->name);
	pci_func_init(&p->f, &func_ops, 0x1af4, (uint16_t)(0x1040 + v->ops->id),
		      class_of(v->ops->id) << 8 | 1, 0x1af4, 0x1100);
	pci_add_bar(&p->f, BAR_REGS, &p->regs, 4 * PAGE, true);
	add_caps(p);
	if (pci_host_has_msi(h)) pci_add_msix(&p->f, BAR_MSIX, v->ops->nqueues + 1u);
	transport_reset(p);
	int rc = pci_plug(h, &p->f, slot, e);
	if (rc) func_free(&p->f);
	return rc;
}
