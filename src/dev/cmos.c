/* MC146818A real time clock with 128 bytes behind an index (Motorola data sheet ADI-1026), as in a
 * PC: periodic, alarm and update interrupts on one wire, a century byte, memory sizes.
 * It keeps no time of its own, only its distance to the host's clock; while SET or the divider
 * holds it, the bytes are what they were then. Flags are worked out from the time that has passed
 * since the last look; a timer runs only for a flag that is enabled and not yet up, so a guest
 * that does not read register C is not called again. */
#include "base/state.h"
#include "dev/pc.h"
#include "dev/ports.h"
#include "dev/wake.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WDAY, MDAY, MON, YEAR };
enum { REG_A = 10, REG_B, REG_C, REG_D, BYTES = 128, CENTURY = 0x32 };
enum { A_UIP = 0x80, A_DIVIDER = 0x70, A_DIVIDER_RESET = 0x60, A_RATE = 15 };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 4, B_24H = 2 };
enum { C_IRQ = 0x80, C_P = 0x40, C_A = 0x20, C_U = 0x10, D_VALID = 0x80 };
enum { PM = 0x80, ANY = 0xc0, UIP_NS = 244000, NS = 1000000000, DAY = 86400, INDEX = 0x7f };
enum { SUM_FIRST = 0x10, SUM_LAST = 0x2d, SUM = 0x2e };

struct cmos {
	struct device d;
	struct irq irq;
	struct wake wake;
	uint8_t index, reg[BYTES];
	int64_t ahead;	  /* seconds that it shows more than the host's clock and phase make */
	uint64_t phase;	  /* ns that its seconds begin before the host's */
	int64_t seen;	  /* the second of the last look */
	uint64_t seen_ns; /* of the clock: the last look at the periodic flag */
};

struct when {
	int64_t sec;
	uint64_t ns;
};

static struct when now(const struct cmos *c)
{
	struct timespec t;
	uint64_t ns = vclock_ns(c->wake.clock);
	if (vclock_counts(c->wake.clock))
		t = (struct timespec){(time_t)(c->wake.clock->epoch + ns / NS), (long)(ns % NS)};
	else
		(void)clock_gettime(CLOCK_REALTIME, &t);
	uint64_t frac = (uint64_t)t.tv_nsec + c->phase;
	return (struct when){t.tv_sec + c->ahead + (int64_t)(frac / NS), frac % NS};
}

static bool held(const struct cmos *c)
{
	return c->reg[REG_B] & B_SET || (c->reg[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

/* The calendar: days since 1970-01-01 to and from a date (Gregorian, March-based years). */

static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
	int64_t doy = (153 * ((m + 9) % 12) + 2) / 5 + (int64_t)d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

struct date {
	int64_t year;
	unsigned mon, day;
};

static struct date date_of(int64_t days)
{
	days += 719468;
	int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	unsigned m = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
	return (struct date){yoe + era * 400 + (m <= 2), m,
			     (unsigned)(doy - (153 * mp + 2) / 5 + 1)};
}

static uint8_t encode(const struct cmos *c, unsigned v)
{
	return (uint8_t)(c->reg[REG_B] & B_BINARY ? v : v % 10 | v / 10 % 10 << 4);
}

static unsigned decode(const struct cmos *c, uint8_t v)
{
	return c->reg[REG_B] & B_BINARY ? v : (v & 15) + (v >> 4) * 10u;
}

static uint8_t encode_hour(const struct cmos *c, unsigned h)
{
	if (c->reg[REG_B] & B_24H) return encode(c, h);
	return (uint8_t)(encode(c, h % 12 ? h % 12 : 12) | (h >= 12 ? PM : 0));
}

static unsigned decode_hour(const struct cmos *c, uint8_t v)
{
	if (c->reg[REG_B] & B_24H) return decode(c, v);
	return decode(c, v & (uint8_t)~PM) % 12 + (v & PM ? 12 : 0);
}

static int64_t floor_days(int64_t sec) { return (sec >= 0 ? sec : sec - (DAY - 1)) / DAY; }

static void bytes_of(struct cmos *c, int64_t sec)
{
	int64_t days = floor_days(sec);
	unsigned s = (unsigned)(sec - days * DAY);
	struct date t = date_of(days);
	unsigned year = (unsigned)((t.year % 10000 + 10000) % 10000);
	c->reg[SEC] = encode(c, s % 60);
	c->reg[MIN] = encode(c, s / 60 % 60);
	c->reg[HOUR] = encode_hour(c, s / 3600);
	c->reg[WDAY] = encode(c, (unsigned)(((days + 4) % 7 + 7) % 7) + 1);
	c->reg[MDAY] = encode(c, t.day);
	c->reg[MON] = encode(c, t.mon);
	c->reg[YEAR] = encode(c, year % 100);
	c->reg[CENTURY] = encode(c, year / 100);
}

/* What the bytes say, whatever that is: nonsense becomes some time. */
static int64_t time_of(const struct cmos *c)
{
	unsigned m = decode(c, c->reg[MON]);
	int64_t year = (int64_t)decode(c, c->reg[CENTURY]) * 100 + decode(c, c->reg[YEAR]);
	int64_t days = days_of(year, m >= 1 && m <= 12 ? m : 1, decode(c, c->reg[MDAY]));
	return days * DAY + decode_hour(c, c->reg[HOUR]) * 3600 + decode(c, c->reg[MIN]) * 60 +
	       decode(c, c->reg[SEC]);
}

static void set_time(struct cmos *c, int64_t sec)
{
	c->ahead += sec - now(c).sec;
	c->seen = sec;
}

/* Interrupts */

static bool alarm_byte(uint8_t alarm, uint8_t v) { return (alarm & ANY) == ANY || alarm == v; }

static bool alarm_at(const struct cmos *c, int64_t sec)
{
	unsigned s = (unsigned)(sec - floor_days(sec) * DAY);
	return alarm_byte(c->reg[SEC_ALARM], encode(c, s % 60)) &&
	       alarm_byte(c->reg[MIN_ALARM], encode(c, s / 60 % 60)) &&
	       alarm_byte(c->reg[HOUR_ALARM], encode_hour(c, s / 3600));
}

/* In 32,768ths of a second; 0: none (table 5, 32.768 kHz time base). */
static unsigned period(const struct cmos *c)
{
	unsigned r = c->reg[REG_A] & A_RATE;
	if (!r || (c->reg[REG_A] & A_DIVIDER) != 0x20) return 0;
	return 1u << (r <= 2 ? r + 6 : r - 1);
}

/* Seconds that have begun since the last look, a day of them at most. */
static uint8_t seconds_passed(struct cmos *c)
{
	int64_t t = now(c).sec;
	uint8_t flags = t == c->seen ? 0 : C_U;
	if (t < c->seen || t - c->seen > DAY) c->seen = t - (t < c->seen ? 1 : DAY);
	while (c->seen < t && !(flags & C_A))
		if (alarm_at(c, ++c->seen)) flags |= C_A;
	c->seen = t;
	return flags;
}

static void look(struct cmos *c)
{
	uint64_t ns = vclock_ns(c->wake.clock);
	unsigned p = period(c);
	uint8_t flags = c->reg[REG_C];
	if (!held(c)) flags |= seconds_passed(c);
	if (p && ticks_at(ns, 32768) / p != ticks_at(c->seen_ns, 32768) / p) flags |= C_P;
	c->seen_ns = ns;
	flags &= (uint8_t)~C_IRQ;
	if (flags & c->reg[REG_B] & (C_P | C_A | C_U)) flags |= C_IRQ;
	c->reg[REG_C] = flags;
	irq_set(c->irq, flags & C_IRQ ? 1 : 0);
}

static void await(struct cmos *c)
{
	uint64_t ns = vclock_ns(c->wake.clock), at = UINT64_MAX;
	unsigned want = c->reg[REG_B] & (unsigned)~c->reg[REG_C], p = period(c);
	if (c->reg[REG_C] & C_IRQ) want = 0;
	if (want & B_PIE && p) at = ticks_ns((ticks_at(ns, 32768) / p + 1) * p, 32768);
	uint64_t second = ns + NS - now(c).ns;
	if (want & (B_AIE | B_UIE) && !held(c) && second < at) at = second;
	wake_at(&c->wake, at);
}

static void due(void *ctx) { cmos_tick(ctx); }
static void cmos_resume(struct device *d) { wake_again(&((struct cmos *)d)->wake); }

void cmos_tick(struct device *d)
{
	struct cmos *c = (struct cmos *)d;
	device_lock(d);
	if (c->wake.at <= vclock_ns(c->wake.clock)) {
		look(c);
		await(c);
	}
	device_unlock(d);
}

uint64_t cmos_next(struct device *d)
{
	device_lock(d);
	uint64_t at = ((struct cmos *)d)->wake.at;
	device_unlock(d);
	return at;
}

/* Registers */

static bool is_time(unsigned r)
{
	return (r <= YEAR && (r > HOUR_ALARM || !(r & 1))) || r == CENTURY;
}

/* UIP promises: while it is clear, no update for 244 us. */
static uint8_t read_a(struct cmos *c)
{
	bool soon = !held(c) && now(c).ns >= NS - UIP_NS;
	return c->reg[REG_A] | (soon ? A_UIP : 0);
}

static uint8_t read_c(struct cmos *c)
{
	look(c);
	uint8_t v = c->reg[REG_C];
	c->reg[REG_C] = 0;
	look(c);
	await(c);
	return v;
}

static uint8_t reg_read(struct cmos *c, unsigned r)
{
	if (is_time(r) && !held(c)) bytes_of(c, now(c).sec);
	switch (r) {
	case REG_A: return read_a(c);
	case REG_C: return read_c(c);
	default: return c->reg[r];
	}
}

/* The clock stops and goes by A and B. A divider let go counts from half a second (data sheet,
 * "Divider control"). */
static void control_write(struct cmos *c, unsigned r, uint8_t v)
{
	bool was = held(c), chain = (c->reg[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
	look(c);
	if (!was) bytes_of(c, now(c).sec);
	int64_t shown = time_of(c);
	c->reg[r] = r == REG_A ? v & (uint8_t)~A_UIP : v;
	if (r == REG_B && v & B_SET) c->reg[r] &= (uint8_t)~B_UIE;
	if (chain && (c->reg[REG_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET)
		c->phase = (c->phase + NS + NS / 2 - now(c).ns) % NS;
	if (was && !held(c)) set_time(c, shown);
	look(c);
	await(c);
}

static void reg_write(struct cmos *c, unsigned r, uint8_t v)
{
	if (r == REG_A || r == REG_B) {
		control_write(c, r, v);
		return;
	}
	if (r == REG_C || r == REG_D) return;
	look(c);
	if (is_time(r) && !held(c)) bytes_of(c, now(c).sec);
	c->reg[r] = v;
	if (is_time(r) && !held(c)) set_time(c, time_of(c));
	await(c);
}

static uint8_t port_read(struct device *d, uint64_t off)
{
	struct cmos *c = (struct cmos *)d;
	return off == 1 ? reg_read(c, c->index) : 0xff; /* the index is write-only */
}

static void port_write(struct device *d, uint64_t off, uint8_t v)
{
	struct cmos *c = (struct cmos *)d;
	if (off == 0) c->index = v & INDEX; /* bit 7 masks an NMI that nothing here sends */
	if (off == 1) reg_write(c, c->index, v);
}

static uint64_t cmos_read(struct device *d, uint64_t off, unsigned len)
{
	return ports_read(d, off, len, port_read);
}

static void cmos_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	ports_write(d, off, val, len, port_write);
}

void cmos_put(struct device *d, unsigned reg, uint8_t v)
{
	must(reg > REG_D && reg < BYTES);
	device_lock(d);
	((struct cmos *)d)->reg[reg] = v;
	device_unlock(d);
}

uint8_t cmos_get(struct device *d, unsigned reg)
{
	must(reg < BYTES);
	device_lock(d);
	uint8_t v = reg == REG_C ? ((struct cmos *)d)->reg[reg] : reg_read((struct cmos *)d, reg);
	device_unlock(d);
	return v;
}

static uint64_t at_most(uint64_t v, uint64_t most) { return v < most ? v : most; }

static void put16(struct device *d, unsigned reg, uint64_t v)
{
	cmos_put(d, reg, (uint8_t)v);
	cmos_put(d, reg + 1, (uint8_t)(v >> 8));
}

void cmos_memory(struct device *d, uint64_t below4g, uint64_t above4g)
{
	uint64_t kib = below4g >> 10, above = above4g >> 16, sum = 0;
	uint64_t ext = at_most(kib > 1024 ? kib - 1024 : 0, 0xffff);
	put16(d, 0x15, at_most(kib, 640));
	put16(d, 0x17, ext);
	put16(d, 0x30, ext);
	put16(d, 0x34, kib > 16384 ? at_most((kib - 16384) >> 6, 0xffff) : 0); /* 64 KiB units */
	put16(d, 0x5b, at_most(above, 0xffffff));
	cmos_put(d, 0x5d, (uint8_t)(at_most(above, 0xffffff) >> 16));
	for (unsigned i = SUM_FIRST; i <= SUM_LAST; i++) sum += cmos_get(d, i);
	cmos_put(d, SUM, (uint8_t)(sum >> 8));
	cmos_put(d, SUM + 1, (uint8_t)sum);
}

/* RESET takes back interrupt enables and flags; time and bytes stay, the shutdown byte too: how
 * firmware finds its way back from protected mode. */
static void cmos_reset(struct device *d)
{
	struct cmos *c = (struct cmos *)d;
	c->index = 0;
	c->reg[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | 8);
	look(c);
	c->reg[REG_C] = 0;
	irq_set(c->irq, 0);
	await(c);
}

static void cmos_free(struct device *d)
{
	wake_done(&((struct cmos *)d)->wake);
	device_done(d);
	free(d);
}

static bool is_time_of_ours(int64_t sec)
{
	const int64_t most = 10000000000000; /* some 300,000 years */
	return sec > -most && sec < most;
}

/* Its distance to the host's clock is kept: a clock that has stood shows the right time. */
static void cmos_state(struct device *d, struct state *s)
{
	struct cmos *c = (struct cmos *)d;
	STATE(s, c, index);
	STATE(s, c, reg);
	STATE(s, c, ahead);
	STATE(s, c, phase);
	STATE(s, c, seen);
	STATE(s, c, seen_ns);
	wake_state(&c->wake, s);
	bool good = c->index < BYTES && c->phase < NS && is_time_of_ours(c->ahead) &&
		    is_time_of_ours(c->seen);
	if (state_need(s, good, "clock")) return;
	c->index = 0;
	c->ahead = c->seen = 0;
	c->phase = 0;
}

static const struct device_ops ops = {
	.name = "cmos",
	.read = cmos_read,
	.write = cmos_write,
	.reset = cmos_reset,
	.resume = cmos_resume,
	.state = cmos_state,
	.free = cmos_free,
};

int cmos_new(struct device **out, struct irq irq, const struct vclock *clock, struct loop *l,
	     struct err *e)
{
	struct cmos *c = calloc(1, sizeof(*c));
	if (!c) return fail(e, -ENOMEM, "cmos: out of memory");
	device_init(&c->d, &ops, "cmos");
	c->irq = irq;
	if (wake_init(&c->wake, clock, l, due, c, e) < 0) {
		cmos_free(&c->d);
		return fail_in(e, "cmos");
	}
	c->reg[REG_A] = 0x26; /* 32.768 kHz, 1024 Hz */
	c->reg[REG_B] = B_24H;
	c->reg[REG_D] = D_VALID;
	c->seen = now(c).sec;
	c->seen_ns = vclock_ns(clock);
	cmos_reset(&c->d);
	*out = &c->d;
	return 0;
}
