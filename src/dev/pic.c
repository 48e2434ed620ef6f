/* Two 8259A interrupt controllers, the second on input 2 of the first (Intel 8259A data sheet,
 * order 231468), and the edge/level registers of later PCs (Intel 82371AB, ELCR1/ELCR2), which
 * take the place of LTIM. A rise is remembered until it is acknowledged, though the line may have
 * dropped meanwhile: to a device that only pulses, the data sheet's "hold it until INTA" would be
 * a lost interrupt. */
#include "base/state.h"
#include "dev/pc.h"
#include "dev/ports.h"
#include <errno.h>
#include <stdlib.h>

enum { ICW1 = 0x10, ICW1_IC4 = 1, ICW1_SNGL = 2, ICW4_AEOI = 2, ICW4_SFNM = 0x10 };
enum { OCW3 = 8, OCW3_POLL = 4, OCW3_RR = 2, OCW3_RIS = 1, OCW3_ESMM = 0x40, OCW3_SMM = 0x20 };
enum { ROTATE_AEOI_OFF, EOI, NOP, EOI_SL, ROTATE_AEOI_ON, ROTATE_EOI, SET_LOW, ROTATE_EOI_SL };
enum { CASCADE = 2, NONE = 8, SPURIOUS = 7, ELCR = 4 };

struct chip {
	uint8_t line, irr, imr, isr;
	uint8_t elcr, elcr_mask;
	uint8_t cascade; /* inputs that are levels whatever ELCR says: the other chip's output */
	uint8_t base;
	uint8_t lowest;	   /* the input of lowest priority; the next one is the highest */
	uint8_t icw1, icw; /* the initialisation command word that comes next; 0: none */
	bool aeoi, sfnm, smm, rotate, read_isr, poll;
};

struct pic {
	struct device d;
	struct chip chip[2];
	struct irq intr;
};

/* The first of these inputs in order of priority; NONE. */
static unsigned first(const struct chip *c, unsigned set)
{
	for (unsigned i = 1; i <= 8; i++)
		if (set >> (c->lowest + i) % 8 & 1) return (c->lowest + i) % 8;
	return NONE;
}

static unsigned rank(const struct chip *c, unsigned n)
{
	return n == NONE ? NONE : (n - c->lowest - 1u) % 8;
}

/* Which input asks with more right than what is in service. In special fully nested mode the
 * cascade may interrupt itself: its chip knows better. */
static unsigned asks(const struct chip *c)
{
	unsigned busy = c->isr;
	if (c->smm) busy &= (unsigned)~c->imr;
	if (c->sfnm) busy &= ~(1u << CASCADE);
	unsigned n = first(c, c->irr & (unsigned)~c->imr);
	return rank(c, n) < rank(c, first(c, busy)) ? n : NONE;
}

static uint8_t levels(const struct chip *c) { return c->elcr | c->cascade; }

static void line_put(struct chip *c, unsigned n, int level)
{
	uint8_t m = (uint8_t)(1u << n), before = c->line;
	c->line = (uint8_t)(level ? c->line | m : c->line & ~m);
	if (levels(c) & m)
		c->irr = (uint8_t)((c->irr & ~m) | (c->line & m));
	else if (c->line & ~before)
		c->irr |= m;
}

static void update(struct pic *p)
{
	line_put(&p->chip[0], CASCADE, asks(&p->chip[1]) != NONE);
	irq_set(p->intr, asks(&p->chip[0]) != NONE);
}

/* INTA: the request becomes service. */
static unsigned take(struct chip *c)
{
	unsigned n = asks(c);
	if (n == NONE) return NONE;
	if (!(levels(c) >> n & 1)) c->irr &= (uint8_t) ~(1u << n);
	if (!c->aeoi)
		c->isr |= (uint8_t)(1u << n);
	else if (c->rotate)
		c->lowest = (uint8_t)n;
	return n;
}

static unsigned ack(struct pic *p)
{
	unsigned n = take(&p->chip[0]), vector = p->chip[0].base + (n == NONE ? SPURIOUS : n);
	if (n == CASCADE) {
		n = take(&p->chip[1]);
		vector = p->chip[1].base + (n == NONE ? SPURIOUS : n);
	}
	update(p);
	return vector;
}

unsigned pic_ack(struct device *d)
{
	device_lock(d);
	unsigned v = ack((struct pic *)d);
	device_unlock(d);
	return v;
}

static void icw1(struct chip *c, uint8_t v)
{
	c->icw1 = v;
	c->icw = 2;
	c->imr = c->isr = 0;
	c->irr = c->line & levels(c); /* edges begin anew */
	c->lowest = 7;
	c->smm = c->read_isr = c->poll = c->rotate = false;
	if (!(v & ICW1_IC4)) c->aeoi = c->sfnm = false;
}

static void icw_next(struct chip *c, uint8_t v)
{
	bool single = c->icw1 & ICW1_SNGL, four = c->icw1 & ICW1_IC4;
	switch (c->icw) {
	case 2:
		c->base = v & 0xf8;
		c->icw = !single ? 3 : four ? 4 : 0;
		break;
	case 3: c->icw = four ? 4 : 0; break; /* how the two are wired is not a choice here */
	default:
		c->aeoi = v & ICW4_AEOI;
		c->sfnm = v & ICW4_SFNM;
		c->icw = 0;
	}
}

/* An unspecific end of interrupt leaves alone what special mask mode hides. */
static void ocw2(struct chip *c, uint8_t v)
{
	unsigned n = v & 7, what = v >> 5;
	if (what == EOI || what == ROTATE_EOI)
		n = first(c, c->isr & (c->smm ? (unsigned)~c->imr : 0xffu));
	if (n == NONE) return;
	switch (what) {
	case ROTATE_AEOI_OFF: c->rotate = false; return;
	case ROTATE_AEOI_ON: c->rotate = true; return;
	case NOP: return;
	case SET_LOW: break;
	default: c->isr &= (uint8_t) ~(1u << n);
	}
	if (what >= ROTATE_EOI) c->lowest = (uint8_t)n;
}

static void ocw3(struct chip *c, uint8_t v)
{
	if (v & OCW3_POLL) c->poll = true;
	if (v & OCW3_RR) c->read_isr = v & OCW3_RIS;
	if (v & OCW3_ESMM) c->smm = v & OCW3_SMM;
}

static void chip_write(struct chip *c, bool high, uint8_t v)
{
	if (high)
		c->icw ? icw_next(c, v) : (void)(c->imr = v);
	else if (v & ICW1)
		icw1(c, v);
	else
		v &OCW3 ? ocw3(c, v) : ocw2(c, v);
}

/* A poll is an INTA in the shape of a read. */
static uint8_t chip_poll(struct pic *p, struct chip *c)
{
	c->poll = false;
	unsigned n = take(c);
	update(p);
	return (uint8_t)(n == NONE ? 0 : 0x80 | n);
}

static uint8_t port_read(struct device *d, uint64_t off)
{
	struct pic *p = (struct pic *)d;
	if (off >= ELCR) return off < ELCR + 2 ? p->chip[off - ELCR].elcr : 0;
	struct chip *c = &p->chip[off / 2];
	if (c->poll) return chip_poll(p, c);
	if (off & 1) return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static void elcr_write(struct chip *c, uint8_t v)
{
	uint8_t was = c->elcr;
	c->elcr = v & c->elcr_mask;
	c->irr = (uint8_t)((c->irr & ~(c->elcr | was)) | (c->line & c->elcr));
}

static void port_write(struct device *d, uint64_t off, uint8_t v)
{
	struct pic *p = (struct pic *)d;
	if (off >= ELCR + 2) return;
	if (off >= ELCR)
		elcr_write(&p->chip[off - ELCR], v);
	else
		chip_write(&p->chip[off / 2], off & 1, v);
	update(p);
}

static uint64_t pic_read(struct device *d, uint64_t off, unsigned len)
{
	return ports_read(d, off, len, port_read);
}

static void pic_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	ports_write(d, off, val, len, port_write);
}

static void line_set(void *ctl, unsigned irq, int level)
{
	struct pic *p = ctl;
	if (irq == CASCADE) return;
	device_lock(&p->d);
	line_put(&p->chip[irq / 8], irq % 8, level);
	update(p);
	device_unlock(&p->d);
}

/* Masked until it is initialised: what an 8259A does before ICW1 is not defined. Lines are the
 * devices'. */
static void pic_reset(struct device *d)
{
	struct pic *p = (struct pic *)d;
	for (unsigned i = 0; i < 2; i++) {
		struct chip *c = &p->chip[i];
		*c = (struct chip){.line = c->line, .imr = 0xff, .lowest = 7};
		c->cascade = i ? 0 : 1 << CASCADE;
		c->elcr_mask = i ? 0xde : 0xf8; /* timer, keyboard, cascade, RTC, FPU are edges */
	}
	update(p);
}

static void pic_free(struct device *d)
{
	device_done(d);
	free(d);
}

static void chip_state(struct chip *c, struct state *s)
{
	STATE(s, c, line);
	STATE(s, c, irr);
	STATE(s, c, imr);
	STATE(s, c, isr);
	STATE(s, c, elcr);
	STATE(s, c, base);
	STATE(s, c, lowest);
	STATE(s, c, icw1);
	STATE(s, c, icw);
	STATE(s, c, aeoi);
	STATE(s, c, sfnm);
	STATE(s, c, smm);
	STATE(s, c, rotate);
	STATE(s, c, read_isr);
	STATE(s, c, poll);
	(void)state_need(s, c->lowest < 8 && !(c->elcr & ~c->elcr_mask), "8259A");
	c->lowest %= 8;
	c->elcr &= c->elcr_mask;
}

static void pic_state(struct device *d, struct state *s)
{
	struct pic *p = (struct pic *)d;
	for (unsigned i = 0; i < 2; i++) chip_state(&p->chip[i], s);
	if (s->loading) irq_set(p->intr, asks(&p->chip[0]) != NONE);
}

static const struct device_ops ops = {
	.name = "pic",
	.read = pic_read,
	.write = pic_write,
	.reset = pic_reset,
	.state = pic_state,
	.free = pic_free,
};

int pic_new(struct device **out, struct irq intr, struct err *e)
{
	struct pic *p = calloc(1, sizeof(*p));
	if (!p) return fail(e, -ENOMEM, "pic: out of memory");
	device_init(&p->d, &ops, "pic");
	p->intr = intr;
	pic_reset(&p->d);
	*out = &p->d;
	return 0;
}

struct irq pic_line(struct device *pic, unsigned irq)
{
	must(irq < 16);
	return (struct irq){line_set, pic, irq};
}
