/* The devices that live on the event loop: CLINT and RTC; and SSWI and the finisher. */
#include "base/loop.h"
#include "base/test.h"
#include "dev/dev.h"
#include "hw/clock.h"
#include <time.h>

enum { HARTS = 3, MSI = 0, MTI = 1, ALARM = 2, KINDS = 3 };
static struct loop *loop;
static struct bus *bus;
static struct device *d;
static int level[KINDS][HARTS], rises[KINDS][HARTS];

/* A timer's interrupt ends the loop's run. */
static void set_level(void *kind, unsigned hart, int l)
{
	size_t k = (size_t)((int(*)[HARTS])kind - level);
	rises[k][hart] += l && !level[k][hart];
	level[k][hart] = l;
	if (l && k != MSI && loop) loop_stop(loop, 7);
}
static struct irq line(int kind, unsigned hart)
{
	return (struct irq){set_level, level[kind], hart};
}

static void start(struct device *dev, uint64_t len)
{
	d = dev;
	bus = bus_new("test");
	CHECK(bus_map(bus, 0, len, d, NULL) == 0);
}
static void stop(void)
{
	bus_free(bus);
	device_free(d);
	loop_free(loop);
	loop = NULL;
}
static uint64_t get(uint64_t at, unsigned len) { return bus_read(bus, at, len); }
static void put(uint64_t at, uint64_t v, unsigned len) { bus_write(bus, at, v, len); }

static struct vclock vclock;
static void clint_start(void)
{
	struct irq msi[HARTS], mti[HARTS];
	struct device *dev = NULL;
	memset(level, 0, sizeof(level));
	memset(rises, 0, sizeof(rises));
	for (unsigned i = 0; i < HARTS; i++) {
		msi[i] = line(MSI, i);
		mti[i] = line(MTI, i);
	}
	vclock_init(&vclock, 10000000);
	CHECK(loop_new(&loop, NULL) == 0);
	CHECK(clint_new(&dev, HARTS, msi, mti, &vclock, loop, NULL) == 0);
	start(dev, 0x10000);
}

TEST(clint_software_interrupts)
{
	clint_start();
	put(4, 0xffffffff, 4);
	CHECK(level[MSI][1] == 1 && level[MSI][0] == 0 && get(4, 4) == 1);
	put(0, 1ull | 0ull << 32, 8);
	CHECK(level[MSI][0] == 1 && level[MSI][1] == 0);
	put(0, 0, 4);
	CHECK(level[MSI][0] == 0 && get(0, 8) == 0);
	put(HARTS * 4, 1, 4);
	CHECK(get(HARTS * 4, 4) == 0);
	put(1, 1, 4);
	put(4, 1, 1);
	CHECK(get(0, 8) == 0);
	stop();
}

TEST(clint_time_and_compare)
{
	clint_start();
	CHECK(get(0x4008, 8) == UINT64_MAX && level[MTI][1] == 0);
	put(0x4008, 0, 8);
	CHECK(level[MTI][1] == 1 && level[MTI][0] == 0);
	put(0x400c, 0x80000000, 4);
	CHECK(level[MTI][1] == 0 && get(0x4008, 8) == 0x8000000000000000);
	put(0x4008, 0x12345678, 4);
	CHECK(get(0x4008, 4) == 0x12345678 && get(0x400c, 4) == 0x80000000);
	CHECK(get(0x400c, 1) == 0 && get(0x400f, 1) == 0x80 && get(0x400a, 2) == 0x1234);
	uint64_t a = get(0xbff8, 8), b = vclock_now(&vclock), c = get(0xbff8, 8);
	CHECK(a <= b && b <= c);
	put(0xbff8, 0, 8);
	put(0xbffc, 0x7fffffff, 4);
	CHECK(get(0xbff8, 8) >= c && get(0xbffc, 4) == get(0xbff8, 8) >> 32);
	CHECK(get(0xc000, 8) == 0 && get(0xbff0, 8) == 0 && get(0x4000 + 8 * HARTS, 8) == 0);
	stop();
}

TEST(clint_timer_rings)
{
	clint_start();
	uint64_t at = vclock_now(&vclock) + 20000; /* 2 ms */
	put(0x4010, at, 8);
	CHECK(loop_run(loop) == 7);
	CHECK(level[MTI][2] == 1 && rises[MTI][2] == 1 && vclock_now(&vclock) >= at);
	d->ops->reset(d);
	CHECK(level[MTI][2] == 0 && get(0x4010, 8) == UINT64_MAX);
	stop();
}

static void rtc_start(void)
{
	struct device *dev = NULL;
	memset(level, 0, sizeof(level));
	CHECK(loop_new(&loop, NULL) == 0);
	CHECK(rtc_new(&dev, "rtc0", line(ALARM, 0), loop, NULL) == 0);
	start(dev, 0x1000);
}
static uint64_t rtc_now(void)
{
	uint64_t lo = get(0, 4);
	return get(4, 4) << 32 | lo;
}
static void alarm_at(uint64_t ns)
{
	put(0x0c, ns >> 32, 4);
	put(0x08, (uint32_t)ns, 4);
}

TEST(rtc_tells_the_time_and_can_be_set)
{
	rtc_start();
	time_t before = time(NULL);
	uint64_t now = rtc_now() / 1000000000;
	CHECK(now + 1 >= (uint64_t)before && now <= (uint64_t)time(NULL) + 1);
	uint32_t high = (uint32_t)get(4, 4);
	put(4, 5, 4); /* the latch is of reading only */
	CHECK(get(4, 4) == high);
	put(0, 77, 4);
	CHECK(rtc_now() >= (5ull << 32) + 77 && rtc_now() >> 32 < 10);
	put(0, 78, 4);
	CHECK(rtc_now() >= (5ull << 32) + 78 && rtc_now() >> 32 < 10);
	CHECK(get(0, 8) == 0 && get(2, 4) == 0);
	d->ops->reset(d);
	CHECK(rtc_now() / 1000000000 >= now);
	stop();
}

TEST(rtc_alarm_rings)
{
	rtc_start();
	put(0x10, 1, 4);
	uint64_t at = rtc_now() + 2000000;
	alarm_at(at);
	CHECK(level[ALARM][0] == 0 && get(0x18, 4) == 1 && get(8, 4) == (uint32_t)at);
	CHECK(loop_run(loop) == 7);
	CHECK(level[ALARM][0] == 1 && rtc_now() >= at && get(0x18, 4) == 0);
	put(0x1c, 1, 4);
	CHECK(level[ALARM][0] == 0);
	alarm_at(at); /* the past rings at once */
	CHECK(level[ALARM][0] == 1);
	put(0x10, 0, 4);
	CHECK(level[ALARM][0] == 0);
	put(0x10, 1, 4);
	CHECK(level[ALARM][0] == 1);
	d->ops->reset(d);
	CHECK(level[ALARM][0] == 0 && get(0x10, 4) == 0 && get(8, 4) == 0);
	put(0x10, 1, 4);
	CHECK(level[ALARM][0] == 0);
	put(0x10, 1, 4);
	alarm_at(UINT64_MAX);
	CHECK(level[ALARM][0] == 0 && get(0x18, 4) == 1);
	put(0x14, 1, 4);
	CHECK(get(0x18, 4) == 0);
	stop();
}

TEST(sswi_is_an_edge)
{
	struct irq ssi[HARTS];
	struct device *dev = NULL;
	memset(level, 0, sizeof(level));
	for (unsigned i = 0; i < HARTS; i++) ssi[i] = line(MSI, i);
	CHECK(sswi_new(&dev, HARTS, ssi, NULL) == 0);
	start(dev, 0x4000);
	put(4, 0xfffffffe, 4);
	CHECK(level[MSI][1] == 0);
	put(4, 1, 4);
	CHECK(level[MSI][1] == 1 && get(4, 4) == 0);
	put(4, 0, 4);
	CHECK(level[MSI][1] == 1); /* the hart clears it, not the device */
	put(8, 1ull << 32 | 1, 8);
	CHECK(level[MSI][2] == 1 && level[MSI][0] == 0);
	stop();
}

static int power_calls;
static enum power power_what;
static unsigned power_code;
static void on_power(void *ctx, enum power what, unsigned code)
{
	(void)ctx;
	power_calls++;
	power_what = what;
	power_code = code;
}

TEST(finisher_ends_it)
{
	struct device *dev = NULL;
	power_calls = 0;
	CHECK(finisher_new(&dev, on_power, NULL, NULL) == 0);
	start(dev, 0x1000);
	put(0, 0, 4);
	put(0, 0x55, 1);
	put(4, 0x5555, 4);
	put(0, 0x5554, 8);
	CHECK(power_calls == 0 && get(0, 4) == 0);
	put(0, 0x5555, 4);
	CHECK(power_calls == 1 && power_what == POWER_OFF);
	put(0, 0x7777, 2);
	CHECK(power_calls == 2 && power_what == POWER_RESET);
	put(0, 0x00033333, 4);
	CHECK(power_calls == 3 && power_what == POWER_FAIL && power_code == 3);
	stop();
}
