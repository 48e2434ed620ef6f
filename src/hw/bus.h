#ifndef HW_BUS_H
#define HW_BUS_H
#include "base/err.h"
#include "base/types.h"
#include <pthread.h>
#include <stdint.h>
/* Devices, the buses that reach them, the wires that leave them.
 * Locking: bus_read/bus_write take the device's lock around its op, so an op never runs twice
 * at once; a device's own back end (timer, socket, disk completion) takes device_lock() before
 * it touches the device. Lock order: any device before the interrupt controller it drives; an
 * interrupt controller calls nothing but the engine, whose irq input is lock-free. */
struct device;
struct state;
struct device_ops {
	const char *name;
	/* off is relative to the mapping: a device does not know where it lives. len is 1, 2,
	 * 4 or 8, any alignment, off+len inside the mapping. These cannot fail: a guest may be
	 * wrong, and then the device answers as hardware would (0, or nothing happens). */
	uint64_t (*read)(struct device *d, uint64_t off, unsigned len);
	void (*write)(struct device *d, uint64_t off, uint64_t val, unsigned len);
	/* The rest may be NULL. */
	void (*reset)(struct device *d);  /* to cold state; vCPUs are stopped */
	void (*pause)(struct device *d);  /* finish what is in flight, start nothing */
	void (*resume)(struct device *d); /* go on; timers by the computer's clock are set anew */
	/* All that a guest could see the difference of, written or read while vCPUs and the clock
	 * stand. Wires are saved at both ends: reading pulls only those that end in a CPU. */
	void (*state)(struct device *d, struct state *s);
	void (*free)(struct device *d); /* accepts a half-built device */
};
/* Embedded first in every device's own struct. */
struct device {
	const struct device_ops *ops;
	const char *id; /* "uart0", for logs and saved state; static or owned by the device */
	pthread_mutex_t mutex;
};
void device_init(struct device *d, const struct device_ops *ops, const char *id);
void device_done(struct device *d); /* called by the device's own free() */
void device_free(struct device *d); /* ops->free; NULL is fine */
static inline void device_lock(struct device *d) { (void)pthread_mutex_lock(&d->mutex); }
static inline void device_unlock(struct device *d) { (void)pthread_mutex_unlock(&d->mutex); }

/* An interrupt line: the device holds a wire, not a controller. */
struct irq {
	void (*set)(void *ctl, unsigned line, int level); /* any thread */
	void *ctl;
	unsigned line;
};
static inline void irq_set(struct irq q, int level)
{
	if (q.set) q.set(q.ctl, q.line, level);
}
/* One wire into two controllers, as ISA interrupts reach PIC and I/O APIC. Outlives the wire. */
struct irq_split {
	struct irq to[2];
};
struct irq irq_split(struct irq_split *s);

/* One bus per address space: MMIO, x86 port I/O. Mappings may change while vCPUs run (a PCI
 * BAR moves); lookups are safe against that. The bus does not own its devices. */
struct bus;
struct bus *bus_new(const char *name);
void bus_free(struct bus *b);
int bus_map(struct bus *b, uint64_t base, uint64_t len, struct device *d, struct err *e);
/* A device whose registers are scattered: what begins at offset off of it answers here. */
int bus_map_part(struct bus *b, uint64_t base, uint64_t len, struct device *d, uint64_t off,
		 struct err *e);
void bus_unmap(struct bus *b, uint64_t base);
/* len 1, 2, 4 or 8. All ones where nothing is; an access that runs over the end of a mapping
 * is nowhere. Any thread. */
uint64_t bus_read(struct bus *b, uint64_t at, unsigned len);
void bus_write(struct bus *b, uint64_t at, uint64_t val, unsigned len);
#endif
