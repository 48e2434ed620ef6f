/* Intel 8254 interval timer (data sheet 231164) and the PC's port B (0x61), which gates counter 2
 * and shows its output. Nothing counts: a counter is the tick at which it was loaded, and all else
 * follows from the clock. Of counter 0's output only rises are awaited; in the modes that repeat
 * the wire falls just before it rises. Rises that come faster than every 50 us, or while the
 * monitor was late, are one: the guest has missed them as on a busy computer. */
#include "base/state.h"
#include "dev/pc.h"
#include "dev/ports.h"
#include "dev/wake.h"
#include <errno.h>
#include <stdlib.h>

enum { HZ = 1193182, LEAST_NS = 50000, CONTROL = 3, PORTB = 4 };
enum { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };
enum { TERMINAL, ONE_SHOT, RATE, SQUARE, SW_STROBE, HW_STROBE };
enum { B_GATE = 1, B_SPEAKER = 2, B_KEPT = 15, B_REFRESH = 0x10, B_OUT = 0x20 };
enum { REFRESH_NS = 15085 }; /* bit 4 toggles with each refresh of DRAM */
enum { READBACK = 3, READBACK_NO_COUNT = 0x20, READBACK_NO_STATUS = 0x10 };

struct counter {
	uint8_t mode, rw;
	bool bcd, gate;
	bool armed; /* loaded (and, in modes 1 and 5, triggered) since the control word */
	bool runs;  /* else `held` ticks had passed when it stopped */
	bool null;  /* a count was written that is not counted yet */
	bool wrote_low, read_low; /* the other byte is next */
	bool latched, status_latched;
	uint8_t low, status;
	uint16_t latch;
	uint32_t count, next; /* next: comes into force at switch_at, or with the trigger */
	uint64_t start, held, switch_at;
};

struct pit {
	struct device d;
	struct irq irq;
	struct counter c[3];
	uint8_t portb;
	uint64_t rise;	   /* tick of counter 0's next one */
	uint64_t fired_ns; /* when we last saw to one */
	struct wake wake;
};

static uint64_t now(const struct pit *p) { return ticks_at(vclock_ns(p->wake.clock), HZ); }
static bool repeats(const struct counter *c) { return c->mode == RATE || c->mode == SQUARE; }
static bool triggered(const struct counter *c)
{
	return c->mode == ONE_SHOT || c->mode == HW_STROBE;
}

static uint64_t passed(const struct counter *c, uint64_t t)
{
	return c->runs ? t - c->start : c->held;
}

/* In modes 2 and 3 a new count waits for the end of the period. */
static void settle(struct counter *c, uint64_t t)
{
	if (!repeats(c) || !c->next || !c->runs || t < c->switch_at) return;
	c->start = c->switch_at;
	c->count = c->next;
	c->next = 0;
	c->null = false;
}

static bool output(const struct counter *c, uint64_t t)
{
	if (!c->armed) return c->mode != TERMINAL;
	uint64_t e = passed(c, t);
	switch (c->mode) {
	case TERMINAL:
	case ONE_SHOT: return e >= c->count;
	case RATE: return !c->gate || e % c->count != c->count - 1;
	case SQUARE: return !c->gate || e % c->count < (c->count + 1) / 2;
	default: return e != c->count;
	}
}

static uint64_t next_rise(const struct counter *c, uint64_t t)
{
	if (!c->armed || !c->runs) return UINT64_MAX;
	uint64_t e = passed(c, t);
	if (repeats(c)) return c->start + (e / c->count + 1) * c->count;
	uint64_t at = c->count + (c->mode >= SW_STROBE);
	return e < at ? c->start + at : UINT64_MAX;
}

static uint32_t bcd_of(uint32_t v)
{
	return v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12;
}

static uint32_t bcd_value(uint32_t v)
{
	return (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12) * 1000;
}

static uint16_t value(const struct counter *c, uint64_t t)
{
	uint32_t whole = c->bcd ? 10000 : 65536, v = c->count;
	uint64_t e = passed(c, t);
	uint32_t half = (c->count + 1) / 2, at = c->count ? (uint32_t)(e % c->count) : 0;
	if (!c->armed)
		v = c->next;
	else if (c->mode == RATE)
		v = c->count - at;
	else if (c->mode == SQUARE)
		v = (c->count & ~1u) - 2 * (at < half ? at : at - half);
	else
		v = (uint32_t)((c->count + whole - e % whole) % whole);
	return (uint16_t)(c->bcd ? bcd_of(v) : v);
}

/* See to counter 0's wire, and to when we are needed next. */
static void look(struct pit *p)
{
	struct counter *c = &p->c[0];
	uint64_t ns = vclock_ns(p->wake.clock), t = ticks_at(ns, HZ);
	if (t >= p->rise) {
		irq_set(p->irq, 0);
		irq_set(p->irq, 1);
		p->fired_ns = ns;
	}
	settle(c, t);
	irq_set(p->irq, output(c, t));
	p->rise = next_rise(c, t);
	uint64_t at = p->rise == UINT64_MAX ? UINT64_MAX : ticks_ns(p->rise, HZ);
	if (at - p->fired_ns < LEAST_NS) at = p->fired_ns + LEAST_NS;
	wake_at(&p->wake, at);
}

static void due(void *ctx) { pit_tick(ctx); }
static void pit_resume(struct device *d) { wake_again(&((struct pit *)d)->wake); }

void pit_tick(struct device *d)
{
	struct pit *p = (struct pit *)d;
	device_lock(d);
	if (vclock_ns(p->wake.clock) >= p->wake.at) look(p);
	device_unlock(d);
}

uint64_t pit_next(struct device *d)
{
	device_lock(d);
	uint64_t at = ((struct pit *)d)->wake.at;
	device_unlock(d);
	return at;
}

static void begin(struct counter *c, uint32_t count, uint64_t t)
{
	c->count = count;
	c->next = 0;
	c->start = t;
	c->held = 0;
	c->armed = true;
	c->null = false;
	c->runs = triggered(c) || c->gate;
}

static void load(struct counter *c, uint16_t written, uint64_t t)
{
	uint32_t n = c->bcd ? bcd_value(written) : written;
	if (!n) n = c->bcd ? 10000 : 65536;
	if (repeats(c) && n < 2) n = 2; /* 1 is not allowed */
	if (!triggered(c) && !(repeats(c) && c->armed && c->runs)) {
		begin(c, n, t);
		return;
	}
	settle(c, t);
	c->next = n;
	c->null = true;
	if (c->armed) c->switch_at = next_rise(c, t);
}

/* In mode 0 the first of two bytes stops it. */
static void count_write(struct counter *c, uint8_t v, uint64_t t)
{
	switch (c->rw) {
	case RW_LOW: load(c, v, t); return;
	case RW_HIGH: load(c, (uint16_t)(v << 8), t); return;
	default: break;
	}
	if (!c->wrote_low) {
		c->low = v;
		if (c->mode == TERMINAL) c->armed = false;
	} else {
		load(c, (uint16_t)(c->low | v << 8), t);
	}
	c->wrote_low = !c->wrote_low;
}

static uint8_t count_read(struct counter *c, uint64_t t)
{
	settle(c, t);
	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	uint16_t v = c->latched ? c->latch : value(c, t);
	bool low = c->rw == RW_LOW || (c->rw == RW_BOTH && !c->read_low);
	if (c->rw == RW_BOTH) c->read_low = low;
	if (c->rw != RW_BOTH || !low) c->latched = false;
	return (uint8_t)(low ? v : v >> 8);
}

static void latch(struct counter *c, uint64_t t)
{
	settle(c, t);
	if (!c->latched) c->latch = value(c, t);
	c->latched = true;
}

static void latch_status(struct counter *c, uint64_t t)
{
	settle(c, t);
	if (c->status_latched) return;
	c->status = (uint8_t)(output(c, t) << 7 | (c->null || !c->armed) << 6 | c->rw << 4 |
			      c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void readback(struct pit *p, uint8_t v, uint64_t t)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!(v >> (i + 1) & 1)) continue;
		if (!(v & READBACK_NO_COUNT)) latch(&p->c[i], t);
		if (!(v & READBACK_NO_STATUS)) latch_status(&p->c[i], t);
	}
}

static void control(struct pit *p, uint8_t v, uint64_t t)
{
	unsigned n = v >> 6, mode = v >> 1 & 7;
	if (n == READBACK) {
		readback(p, v, t);
		return;
	}
	struct counter *c = &p->c[n];
	if ((v >> 4 & 3) == RW_LATCH) {
		latch(c, t);
		return;
	}
	*c = (struct counter){.mode = (uint8_t)(mode > HW_STROBE ? mode - 4 : mode),
			      .rw = v >> 4 & 3,
			      .bcd = v & 1,
			      .gate = c->gate};
}

static void gate(struct counter *c, bool on, uint64_t t)
{
	if (c->gate == on) return;
	settle(c, t);
	c->gate = on;
	if (triggered(c)) {
		uint32_t n = c->next ? c->next : c->count;
		if (on && n) begin(c, n, t);
	} else if (c->armed && on) {
		if (repeats(c)) begin(c, c->next ? c->next : c->count, t);
		c->start = t - c->held;
		c->runs = true;
	} else if (c->armed) {
		c->held = passed(c, t);
		c->runs = false;
	}
}

static uint8_t port_read(struct device *d, uint64_t off)
{
	struct pit *p = (struct pit *)d;
	if (off < CONTROL) return count_read(&p->c[off], now(p));
	if (off != PORTB) return 0;
	settle(&p->c[2], now(p));
	uint8_t v = p->portb;
	if (vclock_ns(p->wake.clock) / REFRESH_NS & 1) v |= B_REFRESH;
	if (output(&p->c[2], now(p))) v |= B_OUT;
	return v;
}

static void port_write(struct device *d, uint64_t off, uint8_t v)
{
	struct pit *p = (struct pit *)d;
	uint64_t t = now(p);
	if (off < CONTROL) count_write(&p->c[off], v, t);
	if (off == CONTROL) control(p, v, t);
	if (off == PORTB) {
		p->portb = v & B_KEPT;
		gate(&p->c[2], v & B_GATE, t);
	}
	if (off == 0 || off == CONTROL) look(p);
}

static uint64_t pit_read(struct device *d, uint64_t off, unsigned len)
{
	return ports_read(d, off, len, port_read);
}

static void pit_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	ports_write(d, off, val, len, port_write);
}

/* The data sheet leaves all undefined until programmed: nothing counts, counter 0's output is low.
 */
static void pit_reset(struct device *d)
{
	struct pit *p = (struct pit *)d;
	for (unsigned i = 0; i < 3; i++) p->c[i] = (struct counter){.rw = RW_BOTH, .gate = i < 2};
	p->portb = 0;
	p->rise = UINT64_MAX;
	p->fired_ns = 0;
	look(p);
}

static void pit_free(struct device *d)
{
	wake_done(&((struct pit *)d)->wake);
	device_done(d);
	free(d);
}

static void counter_state(struct counter *c, struct state *s)
{
	STATE(s, c, mode);
	STATE(s, c, rw);
	STATE(s, c, bcd);
	STATE(s, c, gate);
	STATE(s, c, armed);
	STATE(s, c, runs);
	STATE(s, c, null);
	STATE(s, c, wrote_low);
	STATE(s, c, read_low);
	STATE(s, c, latched);
	STATE(s, c, status_latched);
	STATE(s, c, low);
	STATE(s, c, status);
	STATE(s, c, latch);
	STATE(s, c, count);
	STATE(s, c, next);
	STATE(s, c, start);
	STATE(s, c, held);
	STATE(s, c, switch_at);
	uint32_t least = repeats(c) ? 2 : 1;
	bool count = c->count >= least || (!c->armed && !c->count);
	bool next = c->next >= least || !c->next;
	bool good = c->mode <= HW_STROBE && c->rw <= RW_BOTH && count && next &&
		    c->count <= 65536 && c->next <= 65536;
	if (!state_need(s, good, "counter")) *c = (struct counter){.rw = RW_BOTH};
}

static void pit_state(struct device *d, struct state *s)
{
	struct pit *p = (struct pit *)d;
	for (unsigned i = 0; i < 3; i++) counter_state(&p->c[i], s);
	STATE(s, p, portb);
	STATE(s, p, rise);
	STATE(s, p, fired_ns);
	wake_state(&p->wake, s);
}

static const struct device_ops ops = {
	.name = "pit",
	.read = pit_read,
	.write = pit_write,
	.reset = pit_reset,
	.resume = pit_resume,
	.state = pit_state,
	.free = pit_free,
};

int pit_new(struct device **out, struct irq irq, const struct vclock *clock, struct loop *l,
	    struct err *e)
{
	struct pit *p = calloc(1, sizeof(*p));
	if (!p) return fail(e, -ENOMEM, "pit: out of memory");
	device_init(&p->d, &ops, "pit");
	p->irq = irq;
	if (wake_init(&p->wake, clock, l, due, p, e) < 0) {
		pit_free(&p->d);
		return fail_in(e, "pit");
	}
	pit_reset(&p->d);
	*out = &p->d;
	return 0;
}
