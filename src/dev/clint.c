/* Software interrupts and timers of the harts: an ACLINT's MSWI and MTIMER devices in the
 * SiFive CLINT's 64 KiB (RISC-V ACLINT specification 1.0, table 1). mtime is the computer's own
 * clock, which everything reads and no register write moves: writes to it are ignored. */
#include "base/loop.h"
#include "base/state.h"
#include "dev/dev.h"
#include "hw/clock.h"
#include <errno.h>
#include <stdlib.h>

enum { MSIP = 0, MTIMECMP = 0x4000, MTIME = 0xbff8, HARTS = 4095 };

struct hart {
	struct clint *of;
	struct irq msi, mti;
	struct timer *timer;
	uint64_t mtimecmp;
	bool msip;
};

struct clint {
	struct device d;
	const struct vclock *clock;
	unsigned harts;
	struct hart hart[];
};

static void timer_check(struct hart *h)
{
	const struct vclock *c = h->of->clock;
	bool due = vclock_now(c) >= h->mtimecmp;
	uint64_t at = vclock_deadline(c, h->mtimecmp);
	irq_set(h->mti, due);
	due || at == UINT64_MAX || vclock_counts(c) ? timer_disarm(h->timer)
						    : timer_arm(h->timer, at);
}

static void timer_due(void *ctx)
{
	struct hart *h = ctx;
	device_lock(&h->of->d);
	timer_check(h);
	device_unlock(&h->of->d);
}

static uint32_t word_read(const struct clint *c, uint64_t off)
{
	uint64_t h = off < MTIMECMP ? off / 4 : (off - MTIMECMP) / 8;
	unsigned shift = off % 8 * 8;
	if (off >= MTIME + 8) return 0;
	if (off >= MTIME) return (uint32_t)(vclock_now(c->clock) >> shift);
	if (h >= c->harts) return 0;
	return off < MTIMECMP ? c->hart[h].msip : (uint32_t)(c->hart[h].mtimecmp >> shift);
}

/* Registers are words; a narrower read sees part of one. mtime is read whole or by halves. */
static uint64_t clint_read(struct device *d, uint64_t off, unsigned len)
{
	struct clint *c = (struct clint *)d;
	if (off % len) return 0;
	if (len == 8 && off == MTIME) return vclock_now(c->clock);
	if (len == 8) return word_read(c, off) | (uint64_t)word_read(c, off + 4) << 32;
	uint32_t v = word_read(c, off & ~3ull) >> off % 4 * 8;
	return len == 4 ? v : v & ((1u << len * 8) - 1);
}

static void msip_write(struct clint *c, uint64_t h, uint64_t v)
{
	if (h >= c->harts) return;
	c->hart[h].msip = v & 1;
	irq_set(c->hart[h].msi, v & 1);
}

static void mtimecmp_write(struct clint *c, uint64_t off, uint64_t val, unsigned len)
{
	uint64_t h = (off - MTIMECMP) / 8;
	if (h >= c->harts) return;
	uint64_t mask = len == 8 ? UINT64_MAX : 0xffffffffull << off % 8 * 8;
	c->hart[h].mtimecmp = (c->hart[h].mtimecmp & ~mask) | (val << off % 8 * 8 & mask);
	timer_check(&c->hart[h]);
}

static void clint_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct clint *c = (struct clint *)d;
	if (len < 4 || off % len || off >= MTIME) return;
	if (off >= MTIMECMP) {
		mtimecmp_write(c, off, val, len);
		return;
	}
	msip_write(c, off / 4, val);
	if (len == 8) msip_write(c, off / 4 + 1, val >> 32);
}

static void clint_reset(struct device *d)
{
	struct clint *c = (struct clint *)d;
	for (unsigned i = 0; i < c->harts; i++) {
		msip_write(c, i, 0);
		c->hart[i].mtimecmp = UINT64_MAX;
		timer_check(&c->hart[i]);
	}
}

/* The clock stood, and the timers with it. */
static void clint_resume(struct device *d)
{
	struct clint *c = (struct clint *)d;
	for (unsigned i = 0; i < c->harts; i++) timer_check(&c->hart[i]);
}

static void clint_free(struct device *d)
{
	struct clint *c = (struct clint *)d;
	for (unsigned i = 0; i < c->harts; i++) timer_free(c->hart[i].timer);
	device_done(d);
	free(c);
}

static void clint_state(struct device *d, struct state *s)
{
	struct clint *c = (struct clint *)d;
	for (unsigned i = 0; i < c->harts; i++) {
		struct hart *h = &c->hart[i];
		STATE(s, h, mtimecmp);
		STATE(s, h, msip);
		if (!s->loading) continue;
		irq_set(h->msi, h->msip);
		timer_check(h);
	}
}

static const struct device_ops ops = {
	.name = "clint",
	.read = clint_read,
	.write = clint_write,
	.reset = clint_reset,
	.resume = clint_resume,
	.state = clint_state,
	.free = clint_free,
};

int clint_new(struct device **out, unsigned harts, const struct irq *msi, const struct irq *mti,
	      const struct vclock *clock, struct loop *l, struct err *e)
{
	must(harts <= HARTS);
	struct clint *c = calloc(1, sizeof(*c) + harts * sizeof(c->hart[0]));
	if (!c) return fail(e, -ENOMEM, "clint: out of memory");
	device_init(&c->d, &ops, "clint");
	c->clock = clock;
	c->harts = harts;
	for (unsigned i = 0; i < harts; i++) {
		struct hart *h = &c->hart[i];
		*h = (struct hart){.of = c, .msi = msi[i], .mti = mti[i], .mtimecmp = UINT64_MAX};
		int r = loop_timer(l, &h->timer, timer_due, h, e);
		if (r < 0) {
			clint_free(&c->d);
			return fail_in(e, "clint");
		}
	}
	*out = &c->d;
	return 0;
}

void clint_tick(struct device *d)
{
	struct clint *c = (struct clint *)d;
	device_lock(d);
	for (unsigned i = 0; i < c->harts; i++) timer_check(&c->hart[i]);
	device_unlock(d);
}

uint64_t clint_next(struct device *d)
{
	struct clint *c = (struct clint *)d;
	uint64_t next = UINT64_MAX;
	device_lock(d);
	for (unsigned i = 0; i < c->harts; i++) {
		uint64_t at = c->hart[i].mtimecmp;
		if (at > vclock_now(c->clock) && at < next) next = at;
	}
	device_unlock(d);
	return next;
}
