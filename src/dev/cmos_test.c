/* Against the C library's calendar, with a clock that we count: it begins at 2026-01-01. */
#include "base/loop.h"
#include "base/test.h"
#include "dev/counted_test.h"
#include "dev/pc.h"
#include <string.h>
#include <time.h>

#define SECOND 1000000000ull
static struct device *d;
static struct bus *bus;
static int level;
static struct loop *ring;
static void set_level(void *ctl, unsigned line, int l)
{
	(void)ctl, (void)line;
	level = l;
	if (l && ring) loop_stop(ring, 7);
}
static uint8_t get(uint8_t reg)
{
	bus_write(bus, 0x70, reg, 1);
	return (uint8_t)bus_read(bus, 0x71, 1);
}
static void put(uint8_t reg, uint8_t v)
{
	bus_write(bus, 0x70, reg, 1);
	bus_write(bus, 0x71, v, 1);
}
static void start_on(struct loop *l)
{
	level = 0;
	ring = l;
	CHECK(cmos_new(&d, (struct irq){set_level, NULL, 8}, &vclock, l, NULL) == 0);
	bus = bus_new("io");
	CHECK(bus_map(bus, 0x70, 2, d, NULL) == 0);
}
static void start(void)
{
	clock_start();
	start_on(NULL);
}
static void stop(void)
{
	bus_free(bus);
	device_free(d);
}
static void run_to(uint64_t ns)
{
	while (cmos_next(d) <= ns) {
		ran = cmos_next(d);
		cmos_tick(d);
	}
	ran = ns;
}
static unsigned bcd(uint8_t v) { return (v >> 4) * 10u + (v & 15); }
static time_t shown(void)
{
	struct tm t = {.tm_sec = (int)bcd(get(0)), .tm_min = (int)bcd(get(2))};
	t.tm_hour = (int)bcd(get(4));
	t.tm_mday = (int)bcd(get(7));
	t.tm_mon = (int)bcd(get(8)) - 1;
	t.tm_year = (int)(bcd(get(0x32)) * 100 + bcd(get(9))) - 1900;
	time_t r = timegm(&t);
	CHECK(t.tm_wday + 1 == (int)get(6));
	return r;
}
/* As Linux's mc146818_set_time does it. */
static void set(time_t when)
{
	struct tm t;
	gmtime_r(&when, &t);
	uint8_t b = get(11), a = get(10);
	const uint8_t regs[] = {9, 8, 7, 4, 2, 0, 0x32};
	const int vals[] = {t.tm_year % 100, t.tm_mon + 1, t.tm_mday,		t.tm_hour,
			    t.tm_min,	     t.tm_sec,	   t.tm_year / 100 + 19};
	put(11, b | 0x80);
	put(10, a | 0x70);
	for (unsigned i = 0; i < sizeof(regs); i++)
		put(regs[i], (uint8_t)(vals[i] / 10 << 4 | vals[i] % 10));
	put(11, b);
	put(10, a);
}

TEST(cmos_reset_state)
{
	start();
	CHECK(get(10) == 0x26 && get(11) == 2 && get(12) == 0 && get(13) == 0x80 && level == 0);
	CHECK(bus_read(bus, 0x70, 1) == 0xff && get(0x0f) == 0);
	put(0x0f, 0x0a); /* firmware's note to itself outlives the reset */
	put(11, 0x72);
	d->ops->reset(d);
	CHECK(get(0x0f) == 0x0a && get(0x8f) == 0x0a && get(11) == 2 && level == 0);
	put(12, 0xff);
	put(13, 0);
	CHECK(get(12) == 0 && get(13) == 0x80);
	stop();
}

TEST(cmos_tells_the_date)
{
	start();
	CHECK(shown() == 1767225600 && get(9) == 0x26 && get(0x32) == 0x20 && get(6) == 5);
	for (unsigned day = 0; day < 3000; day += 13) { /* over 2028-02-29 */
		ran = day * 86400ull * SECOND + 45296 * SECOND;
		CHECK(shown() == (time_t)(1767225600 + ran / SECOND));
	}
	stop();
}

TEST(cmos_twelve_hours_and_binary)
{
	static const uint8_t h12[] = {0x12, 0x01, 0x11, 0x92, 0x81, 0x91};
	static const unsigned at[] = {0, 1, 11, 12, 13, 23};
	start();
	put(11, 0);
	for (unsigned i = 0; i < 6; i++) {
		ran = at[i] * 3600 * SECOND;
		CHECK(get(4) == h12[i]);
		put(4, h12[i]); /* and the same way back */
		put(11, 2);
		CHECK(bcd(get(4)) == at[i]);
		put(11, 0);
	}
	put(11, 6);
	CHECK(get(4) == 23 && get(9) == 26 && get(0x32) == 20);
	stop();
}

TEST(cmos_is_set_as_linux_does)
{
	static const time_t when[] = {0, 951782400, 1709164799, 2147483647, 4102444800, 1767225600};
	start();
	for (unsigned i = 0; i < sizeof(when) / sizeof(*when); i++) {
		ran += 7 * SECOND / 3;
		set(when[i]);
		CHECK(shown() == when[i]);
		ran += SECOND / 2 - 2; /* a divider let go takes half a second for the first one */
		CHECK(shown() == when[i] && get(10) & 0x80);
		ran += 4;
		CHECK(shown() == when[i] + 1 && !(get(10) & 0x80));
	}
	put(11, 0x82); /* held, it stands still */
	time_t t = shown();
	ran += 10 * SECOND;
	CHECK(shown() == t && !(get(10) & 0x80));
	put(11, 2);
	CHECK(shown() == t);
	ran += 3 * SECOND;
	CHECK(shown() == t + 3);
	stop();
}

TEST(cmos_update_in_progress_warns_244_us_ahead)
{
	start();
	ran = SECOND - 244001;
	CHECK(get(10) == 0x26);
	ran++;
	CHECK(get(10) == 0xa6 && get(0) == 0);
	ran = SECOND;
	CHECK(get(10) == 0x26 && get(0) == 1);
	stop();
}

TEST(cmos_update_interrupt)
{
	start();
	CHECK(cmos_next(d) == UINT64_MAX);
	put(10, 0x20); /* else the periodic flag comes up as well, asked for or not */
	ran = SECOND / 2;
	put(11, 0x12);
	run_to(SECOND - 1);
	CHECK(level == 0);
	run_to(SECOND);
	CHECK(level == 1 && cmos_next(d) == UINT64_MAX);
	run_to(5 * SECOND); /* not read: not called */
	CHECK(get(12) == 0x90 && level == 0 && get(12) == 0);
	run_to(6 * SECOND);
	CHECK(level == 1);
	put(11, 2); /* the flag is still there, the wire is not */
	CHECK(level == 0 && get(12) == 0x10);
	run_to(7 * SECOND);
	CHECK(get(12) == 0x10 && level == 0);
	stop();
}

TEST(cmos_periodic_interrupt)
{
	unsigned n = 0;
	start();
	put(10, 0x2f); /* 2 Hz */
	put(11, 0x42);
	for (unsigned i = 1; i <= 40; i++) {
		run_to(i * SECOND / 4 + 1);
		if (level) n++;
		if (level) CHECK(get(12) == (i % 4 ? 0xc0 : 0xd0));
	}
	CHECK(n == 20);
	put(10, 0x26); /* 1024 Hz */
	(void)get(12);
	n = 0;
	for (uint64_t end = ran + SECOND; cmos_next(d) < end; n++) {
		run_to(cmos_next(d));
		CHECK(level == 1 && get(12) & 0x40);
	}
	CHECK(n == 1024 || n == 1023);
	put(11, 0x52);
	run_to(cmos_next(d)); /* one is up and not read: the other need not be awaited */
	CHECK(level == 1 && cmos_next(d) == UINT64_MAX);
	(void)get(12);
	put(11, 0x42);
	put(10, 0x20);
	CHECK(cmos_next(d) == UINT64_MAX);
	stop();
}

TEST(cmos_alarm)
{
	start();
	put(10, 0x20);
	put(1, 0x30);
	put(3, 0x01);
	put(5, 0x00);
	put(11, 0x22);
	run_to(89 * SECOND + 999);
	CHECK(level == 0);
	run_to(90 * SECOND);
	CHECK(level == 1 && get(12) == 0xb0);
	put(3, 0xff);
	put(5, 0xc0); /* each minute */
	run_to(149 * SECOND);
	CHECK(level == 0);
	run_to(150 * SECOND);
	CHECK(level == 1 && get(12) == 0xb0);
	put(11, 2); /* asked, not told; a day passes at once */
	ran += 86400 * SECOND;
	CHECK(get(12) == 0x30);
	stop();
}

TEST(cmos_memory_sizes)
{
	start();
	cmos_memory(d, 3ull << 30, 5ull << 30);
	CHECK(get(0x15) == 0x80 && get(0x16) == 2 && get(0x17) == 0xff && get(0x31) == 0xff);
	CHECK((get(0x34) | get(0x35) << 8) == 0xbf00 && get(0x5b) == 0 && get(0x5c) == 0x40);
	CHECK(get(0x5d) == 1);
	CHECK((get(0x2e) << 8 | get(0x2f)) == 0x80 + 2 + 0xff + 0xff);
	cmos_memory(d, 8 << 20, 0);
	CHECK((get(0x17) | get(0x18) << 8) == 7 * 1024 && get(0x34) == 0 && get(0x35) == 0);
	cmos_put(d, 0x3d, 0x21);
	CHECK(get(0x3d) == 0x21 && cmos_get(d, 0x3d) == 0x21);
	stop();
}

/* Every value everywhere, in both modes, with leaps of time: it must come back from each. */
TEST(attack_cmos_with_nonsense)
{
	start();
	for (unsigned mode = 0; mode < 8; mode += 2)
		for (unsigned r = 0; r < 128; r++)
			for (unsigned v = 0; v < 256; v += 3) {
				if (r != 11) put(11, (uint8_t)mode);
				put((uint8_t)r, (uint8_t)v);
				ran += (uint64_t)r * v * v * SECOND;
				(void)get((uint8_t)r);
				(void)get(12);
				CHECK(cmos_next(d) > ran);
			}
	put(10, 0x26);
	put(11, 2);
	set(1767225600);
	CHECK(shown() == 1767225600);
	stop();
}

TEST(cmos_follows_the_host)
{
	struct loop *l;
	vclock_init(&vclock, 1000000000);
	CHECK(loop_new(&l, NULL) == 0);
	start_on(l);
	time_t before = time(NULL), t = shown();
	CHECK(t >= before && t <= time(NULL) + 1);
	put(10, 0x26);
	put(11, 0x42);
	CHECK(loop_run(l) == 7 && get(12) & 0xc0);
	stop();
	loop_free(l);
}
