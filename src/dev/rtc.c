/* Goldfish RTC: the wall clock in nanoseconds, with an alarm (registers as the Android
 * emulator's virtual hardware page lists them). A guest that sets the clock only moves its own
 * distance to the host's. */
#include "base/loop.h"
#include "base/state.h"
#include "dev/dev.h"
#include "hw/clock.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
	TIME_LOW = 0x00, /* reading latches TIME_HIGH; writing sets the clock */
	TIME_HIGH = 0x04,
	ALARM_LOW = 0x08, /* writing sets the alarm, with ALARM_HIGH written before */
	ALARM_HIGH = 0x0c,
	IRQ_ENABLED = 0x10,
	CLEAR_ALARM = 0x14,
	ALARM_STATUS = 0x18,
	CLEAR_INTERRUPT = 0x1c,
};

struct rtc {
	struct device d;
	struct irq irq;
	struct timer *timer;
	const struct vclock *clock; /* NULL: the host's */
	uint64_t ahead;		    /* guest's clock minus the host's, modulo 2^64 */
	uint64_t alarm;
	uint32_t time_high, new_high; /* latched by reading, written for the next setting */
	bool armed, pending, enabled;
};

static uint64_t host_ns(const struct rtc *r)
{
	struct timespec t;
	if (r->clock) return r->clock->epoch * 1000000000u + vclock_ns(r->clock);
	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t guest_ns(const struct rtc *r) { return host_ns(r) + r->ahead; }
static void irq_update(struct rtc *r) { irq_set(r->irq, r->pending && r->enabled); }

/* Ring if it is time, else wait again: the host's wall clock may have been moved meanwhile. */
static void alarm_check(struct rtc *r)
{
	uint64_t now = guest_ns(r), at;
	if (!r->armed) return;
	if (r->alarm <= now) {
		r->armed = false;
		r->pending = true;
		irq_update(r);
		return;
	}
	if (r->clock || __builtin_add_overflow(now_ns(), r->alarm - now, &at)) return;
	timer_arm(r->timer, at);
}

static void alarm_due(void *ctx)
{
	struct rtc *r = ctx;
	device_lock(&r->d);
	alarm_check(r);
	device_unlock(&r->d);
}

static uint64_t rtc_read(struct device *d, uint64_t off, unsigned len)
{
	struct rtc *r = (struct rtc *)d;
	uint64_t now;
	if (len != 4) return 0;
	switch (off) {
	case TIME_LOW:
		now = guest_ns(r);
		r->time_high = (uint32_t)(now >> 32);
		return (uint32_t)now;
	case TIME_HIGH: return r->time_high;
	case ALARM_LOW: return (uint32_t)r->alarm;
	case ALARM_HIGH: return (uint32_t)(r->alarm >> 32);
	case IRQ_ENABLED: return r->enabled;
	case ALARM_STATUS: return r->armed;
	default: return 0;
	}
}

static void disarm(struct rtc *r)
{
	r->armed = false;
	timer_disarm(r->timer);
}

static void rtc_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct rtc *r = (struct rtc *)d;
	uint32_t v = (uint32_t)val;
	if (len != 4) return;
	switch (off) {
	case TIME_LOW:
		r->ahead = ((uint64_t)r->new_high << 32 | v) - host_ns(r);
		alarm_check(r);
		break;
	case TIME_HIGH: r->new_high = v; break;
	case ALARM_LOW:
		r->alarm = (r->alarm >> 32) << 32 | v;
		r->armed = true;
		alarm_check(r);
		break;
	case ALARM_HIGH: r->alarm = (uint64_t)v << 32 | (uint32_t)r->alarm; break;
	case IRQ_ENABLED: r->enabled = v & 1; break;
	case CLEAR_ALARM: disarm(r); break;
	case CLEAR_INTERRUPT: r->pending = false; break;
	default: return;
	}
	irq_update(r);
}

static void rtc_reset(struct device *d)
{
	struct rtc *r = (struct rtc *)d;
	disarm(r);
	r->alarm = r->ahead = 0;
	r->time_high = r->new_high = 0;
	r->pending = r->enabled = false;
	irq_update(r);
}

static void rtc_free(struct device *d)
{
	struct rtc *r = (struct rtc *)d;
	timer_free(r->timer);
	device_done(d);
	free(r);
}

/* The guest's distance to the host's clock is kept: a clock that has stood shows the right time. */
static void rtc_state(struct device *d, struct state *s)
{
	struct rtc *r = (struct rtc *)d;
	STATE(s, r, ahead);
	STATE(s, r, alarm);
	STATE(s, r, time_high);
	STATE(s, r, new_high);
	STATE(s, r, armed);
	STATE(s, r, pending);
	STATE(s, r, enabled);
}

static void rtc_resume(struct device *d) { alarm_check((struct rtc *)d); }

static const struct device_ops ops = {
	.name = "rtc",
	.read = rtc_read,
	.write = rtc_write,
	.reset = rtc_reset,
	.resume = rtc_resume,
	.state = rtc_state,
	.free = rtc_free,
};

int rtc_new(struct device **out, const char *id, struct irq irq, struct loop *l, struct err *e)
{
	struct rtc *r = calloc(1, sizeof(*r));
	if (!r) return fail(e, -ENOMEM, "%s: out of memory", id);
	device_init(&r->d, &ops, id);
	r->irq = irq;
	int res = loop_timer(l, &r->timer, alarm_due, r, e);
	if (res < 0) {
		rtc_free(&r->d);
		return fail_in(e, "%s", id);
	}
	*out = &r->d;
	return 0;
}

void rtc_count(struct device *d, const struct vclock *clock) { ((struct rtc *)d)->clock = clock; }
