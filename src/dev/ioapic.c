/* I/O APIC (Intel 82093AA data sheet 290566; version 0x20 with the EOI register of later ones,
 * Intel 82801 "I/O APIC" chapter). Each pin's request leaves as the message that the same interrupt
 * would be as an MSI. A level is sent once and then again only after a CPU's EOI for its vector,
 * remote IRR keeping the account; a request that nobody took keeps none, and is tried again when
 * line or entry change. Polarity is a matter of voltage: our wires are asserted or not. */
#include "base/state.h"
#include "dev/pc.h"
#include <errno.h>
#include <stdlib.h>

enum { SELECT = 0, WINDOW = 0x10, EOI = 0x40 };
enum { REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_ENTRIES = 0x10 };
enum { VERSION = 0x20 | (IOAPIC_PINS - 1) << 16, ID_MASK = 0x0f000000 };
#define E_LOGICAL    (1ull << 11)
#define E_REMOTE_IRR (1ull << 14)
#define E_LEVEL	     (1ull << 15)
#define E_MASKED     (1ull << 16)
#define E_READ_ONLY  (1ull << 12 | E_REMOTE_IRR)
#define E_WRITABLE   (0xff0000000001ffffull & ~E_READ_ONLY)
enum { MODE_FIXED, MODE_LOWEST }; /* bits 10..8 */

struct ioapic {
	struct device d;
	struct ioapic_to to;
	uint64_t entry[IOAPIC_PINS], routed[IOAPIC_PINS]; /* routed: the entry told of; 0: none */
	uint32_t line;					  /* levels */
	uint32_t id;
	uint8_t select;
};

static uint64_t address_of(uint64_t e)
{
	return 0xfee00000 | (e >> 56) << 12 | (e & E_LOGICAL ? 4 : 0);
}
static uint32_t data_of(uint64_t e)
{
	return (uint32_t)(e & 0x7ff) | 1 << 14 | (uint32_t)(e & E_LEVEL);
}
static bool send(struct ioapic *a, uint64_t e)
{
	return a->to.send && a->to.send(a->to.ctx, address_of(e), data_of(e));
}

static bool is_level(uint64_t e)
{
	return e & E_LEVEL && (e >> 8 & 7) <= MODE_LOWEST; /* the others are edges by nature */
}

static void route(struct ioapic *a, unsigned pin)
{
	uint64_t e = a->entry[pin] & ~(E_MASKED | E_READ_ONLY), is = is_level(e) ? e : 0;
	if (!a->to.route || a->routed[pin] == is) return;
	a->routed[pin] = is;
	a->to.route(a->to.ctx, pin, is ? address_of(is) : 0, is ? data_of(is) : 0);
}

/* What a level asks for, if it may. */
static void offer_level(struct ioapic *a, unsigned pin)
{
	uint64_t *e = &a->entry[pin];
	if (!is_level(*e) || !(a->line >> pin & 1) || *e & (E_MASKED | E_REMOTE_IRR)) return;
	if (send(a, *e)) *e |= E_REMOTE_IRR;
}

/* An edge on a masked pin is lost (82093AA 3.2.4). */
static void line_set(void *ctl, unsigned pin, int level)
{
	struct ioapic *a = ctl;
	device_lock(&a->d);
	bool was = a->line >> pin & 1;
	a->line = (a->line & ~(1u << pin)) | (level ? 1u << pin : 0);
	if (!is_level(a->entry[pin])) {
		if (level && !was && !(a->entry[pin] & E_MASKED)) (void)send(a, a->entry[pin]);
	} else if (level && !was) {
		offer_level(a, pin);
	}
	device_unlock(&a->d);
}

static void eoi(struct ioapic *a, unsigned vector)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		if ((a->entry[i] & 0xff) != vector || !(a->entry[i] & E_REMOTE_IRR)) continue;
		a->entry[i] &= ~E_REMOTE_IRR;
		offer_level(a, i);
	}
}

void ioapic_eoi(struct device *d, unsigned vector)
{
	device_lock(d);
	eoi((struct ioapic *)d, vector);
	device_unlock(d);
}

static uint32_t window_read(const struct ioapic *a)
{
	unsigned n = a->select - REG_ENTRIES;
	switch (a->select) {
	case REG_ID:
	case REG_ARBITRATION: return a->id;
	case REG_VERSION: return VERSION;
	default: return n < 2 * IOAPIC_PINS ? (uint32_t)(a->entry[n / 2] >> n % 2 * 32) : 0;
	}
}

/* A pin made an edge forgets remote IRR: how Linux helps itself where EOI is not enough. */
static void window_write(struct ioapic *a, uint32_t v)
{
	unsigned n = a->select - REG_ENTRIES, shift = n % 2 * 32;
	if (a->select == REG_ID) a->id = v & ID_MASK;
	if (n >= 2 * IOAPIC_PINS) return;
	uint64_t mask = E_WRITABLE & 0xffffffffull << shift, *e = &a->entry[n / 2];
	*e = (*e & ~mask) | ((uint64_t)v << shift & mask);
	if (!is_level(*e)) *e &= ~E_REMOTE_IRR;
	route(a, n / 2);
	offer_level(a, n / 2);
}

static uint64_t ioapic_read(struct device *d, uint64_t off, unsigned len)
{
	struct ioapic *a = (struct ioapic *)d;
	(void)len;
	if (off == SELECT) return a->select;
	return off == WINDOW ? window_read(a) : 0;
}

static void ioapic_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct ioapic *a = (struct ioapic *)d;
	if (off == SELECT) a->select = (uint8_t)val;
	if (off == WINDOW && len >= 4) window_write(a, (uint32_t)val);
	if (off == EOI) eoi(a, (uint8_t)val);
}

static void ioapic_reset(struct device *d)
{
	struct ioapic *a = (struct ioapic *)d;
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		a->entry[i] = E_MASKED;
		route(a, i);
	}
	a->id = 0;
	a->select = 0;
}

static void ioapic_free(struct device *d)
{
	device_done(d);
	free(d);
}

static void ioapic_state(struct device *d, struct state *s)
{
	struct ioapic *a = (struct ioapic *)d;
	STATE(s, a, entry);
	STATE(s, a, line);
	STATE(s, a, id);
	STATE(s, a, select);
	for (unsigned i = 0; s->loading && i < IOAPIC_PINS; i++) route(a, i);
}

static const struct device_ops ops = {
	.name = "ioapic",
	.read = ioapic_read,
	.write = ioapic_write,
	.reset = ioapic_reset,
	.state = ioapic_state,
	.free = ioapic_free,
};

int ioapic_new(struct device **out, const struct ioapic_to *to, struct err *e)
{
	struct ioapic *a = calloc(1, sizeof(*a));
	if (!a) return fail(e, -ENOMEM, "ioapic: out of memory");
	device_init(&a->d, &ops, "ioapic");
	a->to = *to;
	ioapic_reset(&a->d);
	*out = &a->d;
	return 0;
}

struct irq ioapic_line(struct device *d, unsigned pin)
{
	must(pin < IOAPIC_PINS);
	return (struct irq){line_set, d, pin};
}
