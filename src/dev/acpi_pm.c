/* ACPI fixed hardware (ACPI 6.4, 4.8.3): PM1 status, enable and control, the power management
 * timer, power button and S5. There is no SMI and so no legacy mode: SCI_EN is always set. */
#include "base/state.h"
#include "dev/pc.h"
#include "dev/wake.h"
#include <errno.h>
#include <stdlib.h>

enum { PM1_STS = 0, PM1_EN = 2, PM1_CNT = 4, TIMER = ACPI_PM_TIMER };
enum { HZ = 3579545, TMR = 1, GBL = 1 << 5, PWRBTN = 1 << 8, RTC = 1 << 10, WAK = 1 << 15 };
enum { STS_ALL = TMR | GBL | PWRBTN | RTC | WAK, EN_ALL = TMR | GBL | PWRBTN | RTC };
enum { SCI_EN = 1, CNT_KEPT = 0x1c02, SLP_EN = 1 << 13, TIMER_MASK = 0xffffff, HALF = 1 << 23 };

struct acpi_pm {
	struct device d;
	struct irq sci;
	void (*off)(void *ctx);
	void *ctx;
	struct wake wake;
	uint16_t sts, en, cnt;
	uint64_t seen; /* timer ticks at the last look */
};

static uint64_t now(const struct acpi_pm *p) { return ticks_at(vclock_ns(p->wake.clock), HZ); }

/* TMR_STS: the timer's highest bit has changed (4.8.3.3). */
static void look(struct acpi_pm *p)
{
	uint64_t t = now(p);
	if (t / HALF != p->seen / HALF) p->sts |= TMR;
	p->seen = t;
	irq_set(p->sci, p->sts & p->en & EN_ALL ? 1 : 0);
	bool await = p->en & TMR && !(p->sts & TMR);
	wake_at(&p->wake, await ? ticks_ns((t / HALF + 1) * HALF, HZ) : UINT64_MAX);
}

static void due(void *ctx) { acpi_pm_tick(ctx); }
static void acpi_pm_resume(struct device *d) { wake_again(&((struct acpi_pm *)d)->wake); }

void acpi_pm_tick(struct device *d)
{
	struct acpi_pm *p = (struct acpi_pm *)d;
	device_lock(d);
	if (p->wake.at <= vclock_ns(p->wake.clock)) look(p);
	device_unlock(d);
}

uint64_t acpi_pm_next(struct device *d)
{
	device_lock(d);
	uint64_t at = ((struct acpi_pm *)d)->wake.at;
	device_unlock(d);
	return at;
}

bool acpi_pm_hears(struct device *d)
{
	device_lock(d);
	bool listens = ((struct acpi_pm *)d)->en & PWRBTN;
	device_unlock(d);
	return listens;
}

bool acpi_pm_button(struct device *d)
{
	struct acpi_pm *p = (struct acpi_pm *)d;
	device_lock(d);
	p->sts |= PWRBTN;
	look(p);
	bool listens = p->en & PWRBTN;
	device_unlock(d);
	return listens;
}

/* All registers as a run of bytes, of which an access reads or replaces some. */
static uint64_t bytes_at(const struct acpi_pm *p, unsigned off)
{
	const uint64_t low = p->sts | (uint64_t)p->en << 16 | (uint64_t)p->cnt << 32;
	const uint64_t high = now(p) & TIMER_MASK;
	if (off >= TIMER) return high >> (off - TIMER) * 8;
	return off ? low >> off * 8 | high << (64 - off * 8) : low;
}

static uint64_t pm_read(struct device *d, uint64_t off, unsigned len)
{
	struct acpi_pm *p = (struct acpi_pm *)d;
	(void)len; /* the bus cuts it */
	if (off >= ACPI_PM_PORTS) return 0;
	look(p);
	return bytes_at(p, (unsigned)off);
}

/* SLP_EN acts and reads 0. Of the sleeping states there is S5 only. */
static void control(struct acpi_pm *p, uint16_t v)
{
	p->cnt = (v & CNT_KEPT) | SCI_EN;
	if (v & SLP_EN && (v >> 10 & 7) == ACPI_PM_S5 && p->off) p->off(p->ctx);
}

static void pm_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct acpi_pm *p = (struct acpi_pm *)d;
	if (off >= PM1_CNT + 2) return; /* the timer is read-only */
	look(p);
	uint64_t mask = (len == 8 ? ~0ull : (1ull << len * 8) - 1) << off * 8, v = val << off * 8;
	p->sts &= (uint16_t) ~(v & mask & STS_ALL); /* written ones clear */
	p->en = (uint16_t)(((p->en & ~(mask >> 16)) | (v & mask) >> 16) & EN_ALL);
	if (mask >> 32 & 0xffff)
		control(p, (uint16_t)((p->cnt & ~(mask >> 32)) | (v & mask) >> 32));
	look(p);
}

static void pm_reset(struct device *d)
{
	struct acpi_pm *p = (struct acpi_pm *)d;
	p->sts = p->en = 0;
	p->cnt = SCI_EN;
	p->seen = now(p);
	look(p);
}

static void pm_free(struct device *d)
{
	wake_done(&((struct acpi_pm *)d)->wake);
	device_done(d);
	free(d);
}

static void pm_state(struct device *d, struct state *s)
{
	struct acpi_pm *p = (struct acpi_pm *)d;
	STATE(s, p, sts);
	STATE(s, p, en);
	STATE(s, p, cnt);
	STATE(s, p, seen);
	wake_state(&p->wake, s);
}

static const struct device_ops ops = {
	.name = "acpi_pm",
	.read = pm_read,
	.write = pm_write,
	.reset = pm_reset,
	.resume = acpi_pm_resume,
	.state = pm_state,
	.free = pm_free,
};

int acpi_pm_new(struct device **out, struct irq sci, void (*off)(void *ctx), void *ctx,
		const struct vclock *clock, struct loop *l, struct err *e)
{
	struct acpi_pm *p = calloc(1, sizeof(*p));
	if (!p) return fail(e, -ENOMEM, "acpi_pm: out of memory");
	device_init(&p->d, &ops, "acpi_pm");
	p->sci = sci;
	p->off = off;
	p->ctx = ctx;
	if (wake_init(&p->wake, clock, l, due, p, e) < 0) {
		pm_free(&p->d);
		return fail_in(e, "acpi_pm");
	}
	pm_reset(&p->d);
	*out = &p->d;
	return 0;
}
