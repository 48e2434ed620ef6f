/* 16550A UART (National Semiconductor PC16550D, register names and numbers from its tables).
 * The line has no speed: a byte leaves as soon as the console takes it. What the console does
 * not take stays in the transmit FIFO, with THRE and TEMT clear, until it says that it drained;
 * what the guest does not read stays with the console. So neither side buffers without bound.
 * Nothing is sent to a guest that does not listen yet: a booting system clears its FIFOs again
 * and again, and what was typed ahead, or piped in, would be lost in them. */
#include "base/chr.h"
#include "base/state.h"
#include "dev/dev.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR, THR = RBR, FCR = IIR, DLL = RBR, DLM = IER };
enum { IER_RDA = 1, IER_THRE = 2, IER_RLS = 4, IER_MSR = 8, IER_ALL = 15 };
enum { IIR_NONE = 1, IIR_RLS = 6, IIR_RDA = 4, IIR_TIMEOUT = 12, IIR_THRE = 2, IIR_MSR = 0 };
enum { IIR_FIFOS = 0xc0, FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_BREAK = 0x40, LCR_DLAB = 0x80, MCR_LOOP = 0x10, MCR_ALL = 0x1f };
enum { LSR_DR = 1, LSR_OE = 2, LSR_BI = 16, LSR_THRE = 32, LSR_TEMT = 64 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_DELTAS = 15 };
enum { FIFO = 16, POLLS = 64 };

struct fifo {
	uint8_t at[FIFO];
	unsigned first, n;
};

struct uart {
	struct device d;
	struct irq irq;
	struct chr *chr;
	struct fifo rx, tx;
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t errors; /* LSR bits that reading LSR clears */
	uint8_t lines;	/* MSR bits 4-7 as last seen */
	uint8_t deltas; /* MSR bits 0-3 */
	bool thre_irq;	/* THRE interrupt waits to be served */
	unsigned idle;	/* LSR reads in a row that found nothing to read or to wait for */
};

static bool fifo_put(struct fifo *f, unsigned depth, uint8_t v)
{
	if (f->n >= depth) return false;
	f->at[(f->first + f->n++) % FIFO] = v;
	return true;
}

static uint8_t fifo_take(struct fifo *f)
{
	uint8_t v = f->at[f->first];
	f->first = (f->first + 1) % FIFO;
	f->n--;
	return v;
}

static unsigned depth(const struct uart *u) { return u->fcr & FCR_ENABLE ? FIFO : 1; }

static unsigned trigger(const struct uart *u)
{
	static const uint8_t level[] = {1, 4, 8, 14};
	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The highest-priority interrupt that is both pending and enabled. A receive timeout is due at
 * once: there is no line whose silence would have to be waited for. */
static uint8_t source(const struct uart *u)
{
	if (u->ier & IER_RLS && u->errors) return IIR_RLS;
	if (u->ier & IER_RDA && u->rx.n) return u->rx.n >= trigger(u) ? IIR_RDA : IIR_TIMEOUT;
	if (u->ier & IER_THRE && u->thre_irq) return IIR_THRE;
	if (u->ier & IER_MSR && u->deltas) return IIR_MSR;
	return IIR_NONE;
}

static void irq_update(struct uart *u) { irq_set(u->irq, source(u) != IIR_NONE); }

static void modem_update(struct uart *u)
{
	uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD;
	if (u->mcr & MCR_LOOP)
		now = (uint8_t)((u->mcr & 1) << 5 | (u->mcr & 2) << 3 | (u->mcr & 12) << 4);
	uint8_t changed = now ^ u->lines;
	if (now & MSR_RI) changed &= (uint8_t)~MSR_RI; /* TERI: the trailing edge only */
	u->deltas |= changed >> 4;
	u->lines = now;
}

static void receive(struct uart *u, uint8_t v)
{
	if (!fifo_put(&u->rx, depth(u), v)) u->errors |= LSR_OE;
}

static void tx_run(struct uart *u)
{
	bool had = u->tx.n;
	while (u->tx.n) {
		unsigned run = FIFO - u->tx.first < u->tx.n ? FIFO - u->tx.first : u->tx.n;
		size_t n = chr_output(u->chr, u->tx.at + u->tx.first, run);
		if (!n) return;
		u->tx.first = (u->tx.first + (unsigned)n) % FIFO;
		u->tx.n -= (unsigned)n;
	}
	if (had) u->thre_irq = true;
}

static void transmit(struct uart *u, uint8_t v)
{
	u->thre_irq = false;
	if (u->idle < POLLS) u->idle = 0;
	if (u->mcr & MCR_LOOP) {
		receive(u, v);
		u->thre_irq = true;
		return;
	}
	(void)fifo_put(&u->tx, depth(u), v); /* full: the byte is lost, as on the wire */
	tx_run(u);
}

static void hungry(struct uart *u)
{
	if (u->chr->hungry) u->chr->hungry(u->chr->host);
}

/* The guest takes interrupts for input, or polls for nothing else. All four interrupts at once
 * are not wanted but written by a driver that looks which bits the register has (Linux does). */
static bool listening(const struct uart *u)
{
	return (u->ier & IER_RDA && u->ier != IER_ALL) || u->idle >= POLLS;
}

static uint8_t lsr(struct uart *u)
{
	uint8_t v = u->errors;
	if (u->rx.n) v |= LSR_DR;
	if (!u->tx.n) v |= LSR_THRE | LSR_TEMT;
	if (!u->rx.n && !u->tx.n && u->idle < POLLS && ++u->idle == POLLS) hungry(u);
	u->errors = 0;
	return v;
}

static uint8_t read_rbr(struct uart *u)
{
	if (!u->rx.n) return 0;
	bool full = u->rx.n >= depth(u);
	uint8_t v = fifo_take(&u->rx);
	if (full || !u->rx.n) hungry(u);
	return v;
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t v = source(u);
	if (v == IIR_THRE) u->thre_irq = false;
	return (uint8_t)(v | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0));
}

static uint8_t read_msr(struct uart *u)
{
	uint8_t v = u->lines | u->deltas;
	u->deltas = 0;
	return v;
}

static uint8_t read_reg(struct uart *u, uint64_t reg)
{
	bool dlab = u->lcr & LCR_DLAB;
	switch (reg) {
	case RBR: return dlab ? u->dll : read_rbr(u);
	case IER: return dlab ? u->dlm : u->ier;
	case IIR: return read_iir(u);
	case LCR: return u->lcr;
	case MCR: return u->mcr;
	case LSR: return lsr(u);
	case MSR: return read_msr(u);
	case SCR: return u->scr;
	default: return 0;
	}
}

static void write_ier(struct uart *u, uint8_t v)
{
	if (v & ~u->ier & IER_THRE && !u->tx.n) u->thre_irq = true;
	bool before = listening(u);
	if ((v ^ u->ier) & IER_RDA) u->idle = 0;
	u->ier = v & IER_ALL;
	if (!before && listening(u)) hungry(u);
}

/* Turning the FIFOs on clears them too (8.4), but a key that came just before is as good as one
 * that comes just after, and Linux turns them on after its interrupts. */
static void write_fcr(struct uart *u, uint8_t v)
{
	bool turned = (v ^ u->fcr) & FCR_ENABLE;
	if (!(v & FCR_ENABLE)) v = 0;
	if ((turned && !v) || v & FCR_CLEAR_RX) u->rx = (struct fifo){0};
	if ((turned || v & FCR_CLEAR_TX) && u->tx.n) {
		u->tx = (struct fifo){0};
		u->thre_irq = true;
	}
	u->fcr = v & (uint8_t) ~(FCR_CLEAR_RX | FCR_CLEAR_TX);
	if (!u->rx.n) hungry(u);
}

static void write_lcr(struct uart *u, uint8_t v)
{
	if (v & ~u->lcr & LCR_BREAK && u->mcr & MCR_LOOP) u->errors |= LSR_BI;
	u->lcr = v;
}

static void write_mcr(struct uart *u, uint8_t v)
{
	u->mcr = v & MCR_ALL;
	modem_update(u);
	hungry(u);
}

static void write_reg(struct uart *u, uint64_t reg, uint8_t v)
{
	bool dlab = u->lcr & LCR_DLAB;
	switch (reg) {
	case THR: dlab ? (void)(u->dll = v) : transmit(u, v); break;
	case IER: dlab ? (void)(u->dlm = v) : write_ier(u, v); break;
	case FCR: write_fcr(u, v); break;
	case LCR: write_lcr(u, v); break;
	case MCR: write_mcr(u, v); break;
	case SCR: u->scr = v; break;
	default: break;
	}
}

/* An 8-bit device on a wider bus: an access reaches the register at its address and no other. */
static uint64_t uart_read(struct device *d, uint64_t off, unsigned len)
{
	struct uart *u = (struct uart *)d;
	(void)len;
	uint8_t v = read_reg(u, off);
	irq_update(u);
	return v;
}

static void uart_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct uart *u = (struct uart *)d;
	(void)len;
	write_reg(u, off, (uint8_t)val);
	irq_update(u);
}

static size_t uart_input(void *dev, const uint8_t *p, size_t n)
{
	struct uart *u = dev;
	size_t took = 0;
	device_lock(&u->d);
	if (!(u->mcr & MCR_LOOP) && listening(u))
		while (took < n && fifo_put(&u->rx, depth(u), p[took])) took++;
	irq_update(u);
	device_unlock(&u->d);
	return took;
}

static void uart_drained(void *dev)
{
	struct uart *u = dev;
	device_lock(&u->d);
	tx_run(u);
	irq_update(u);
	device_unlock(&u->d);
}

static void uart_reset(struct device *d)
{
	struct uart *u = (struct uart *)d;
	u->rx = u->tx = (struct fifo){0};
	u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->dll = u->dlm = 0;
	u->errors = u->deltas = 0;
	u->idle = 0;
	u->lines = MSR_CTS | MSR_DSR | MSR_DCD;
	u->thre_irq = false;
	irq_update(u);
	hungry(u);
}

static void uart_free(struct device *d)
{
	struct uart *u = (struct uart *)d;
	u->chr->input = NULL;
	u->chr->drained = NULL;
	device_done(d);
	free(u);
}

static void fifo_state(struct state *s, struct fifo *f)
{
	STATE(s, f, at);
	STATE(s, f, first);
	STATE(s, f, n);
	if (!state_need(s, f->first < FIFO && f->n <= FIFO, "fifo")) *f = (struct fifo){0};
}

static void uart_state(struct device *d, struct state *s)
{
	struct uart *u = (struct uart *)d;
	fifo_state(s, &u->rx);
	fifo_state(s, &u->tx);
	STATE(s, u, ier);
	STATE(s, u, fcr);
	STATE(s, u, lcr);
	STATE(s, u, mcr);
	STATE(s, u, scr);
	STATE(s, u, dll);
	STATE(s, u, dlm);
	STATE(s, u, errors);
	STATE(s, u, lines);
	STATE(s, u, deltas);
	STATE(s, u, thre_irq);
	STATE(s, u, idle);
}

/* Another sitter may be there than the one that had no room. */
static void uart_resume(struct device *d)
{
	struct uart *u = (struct uart *)d;
	tx_run(u);
	irq_update(u);
	hungry(u);
}

static const struct device_ops ops = {
	.name = "uart",
	.read = uart_read,
	.write = uart_write,
	.reset = uart_reset,
	.resume = uart_resume,
	.state = uart_state,
	.free = uart_free,
};

int uart_new(struct device **out, const char *id, struct irq irq, struct chr *chr, struct err *e)
{
	struct uart *u = calloc(1, sizeof(*u));
	if (!u) return fail(e, -ENOMEM, "%s: out of memory", id);
	device_init(&u->d, &ops, id);
	u->irq = irq;
	u->chr = chr;
	uart_reset(&u->d);
	chr->dev = u;
	chr->input = uart_input;
	chr->drained = uart_drained;
	*out = &u->d;
	return 0;
}
