#include "base/loop.h"
#include "base/test.h"
#include "base/types.h"
#include "dev/counted_test.h"
#include "dev/pc.h"

/* Time is ours: one tick of the timer is 1e9 / 1193182 ns. */
static struct device *d;
static struct bus *bus;
static int level;
static unsigned rises;
static struct loop *ring;
static void set_level(void *ctl, unsigned line, int l)
{
	(void)ctl, (void)line;
	rises += l && !level;
	level = l;
	if (l && ring) loop_stop(ring, 7);
}
static void out(uint64_t port, uint8_t v) { bus_write(bus, port, v, 1); }
static uint8_t in(uint64_t port) { return (uint8_t)bus_read(bus, port, 1); }
static void at_tick(uint64_t t) { ran = (t * 1000000000 + 1193181) / 1193182; }

static void start_on(struct loop *l)
{
	level = 0;
	rises = 0;
	ring = l;
	CHECK(pit_new(&d, (struct irq){set_level, NULL, 0}, &vclock, l, NULL) == 0);
	bus = bus_new("io");
	CHECK(bus_map_part(bus, 0x40, 4, d, 0, NULL) == 0);
	CHECK(bus_map_part(bus, 0x61, 1, d, 4, NULL) == 0);
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
/* Run to this tick as a board does that counts time. */
static void run_to(uint64_t t)
{
	at_tick(t);
	uint64_t end = ran;
	while (pit_next(d) <= end) {
		ran = pit_next(d);
		pit_tick(d);
	}
	ran = end;
}
static unsigned count16(uint64_t port)
{
	unsigned low = in(port);
	return low | (unsigned)in(port) << 8;
}

TEST(pit_does_nothing_until_programmed)
{
	start();
	CHECK(level == 0 && pit_next(d) == UINT64_MAX && (in(0x61) & 0x2f) == 0);
	out(0x43, 0xe2); /* status of 0: OUT low, null count, both bytes, mode 0 */
	CHECK(in(0x40) == 0x70);
	stop();
}

/* Linux calibrates its time stamp counter so (pit_calibrate_tsc): counter 2, mode 0, 50 ms, and
 * waits for OUT in port B. */
TEST(pit_counter_2_times_50_ms)
{
	start();
	out(0x61, (uint8_t)((in(0x61) & ~2) | 1));
	out(0x43, 0xb0);
	out(0x42, 59659 & 0xff);
	out(0x42, 59659 >> 8);
	CHECK(!(in(0x61) & 0x20) && (in(0x61) & 3) == 1);
	at_tick(59658);
	CHECK(!(in(0x61) & 0x20));
	at_tick(59659);
	CHECK(in(0x61) & 0x20 && ran / 1000000 == 49);
	stop();
}

/* quick_pit_calibrate: reads low and high by turns, the high byte must go down one by one. */
TEST(pit_counter_2_is_read_while_it_counts)
{
	start();
	out(0x61, 1);
	out(0x43, 0xb0);
	out(0x42, 0xff);
	out(0x42, 0xff);
	CHECK(count16(0x42) == 0xffff);
	for (unsigned i = 1; i < 50; i++) {
		at_tick(256 * i);
		CHECK(count16(0x42) == 0xffff - 256 * i);
	}
	out(0x61, 0); /* the gate stops it */
	at_tick(30000);
	CHECK(count16(0x42) == 0xffff - 256 * 49);
	out(0x61, 1);
	at_tick(30010);
	CHECK(count16(0x42) == 0xffff - 256 * 49 - 10);
	at_tick(200000);
	CHECK(in(0x61) & 0x20 && count16(0x42) == ((0xffffu - 256 * 49 - 170000) & 0xffff));
	stop();
}

TEST(pit_rate_generator_interrupts)
{
	start();
	out(0x43, 0x34);
	CHECK(level == 1 && rises == 1); /* OUT is high from now on */
	out(0x40, 11932 & 0xff);
	out(0x40, 11932 >> 8);
	run_to(11931);
	CHECK(rises == 1 && count16(0x40) == 1);
	run_to(11932);
	CHECK(rises == 2 && count16(0x40) == 11932);
	run_to(11932 * 100 + 5);
	CHECK(rises == 101 && count16(0x40) == 11932 - 5);
	out(0x43, 0x00); /* latch, and read later */
	at_tick(11932 * 100 + 500);
	CHECK(count16(0x40) == 11932 - 5 && count16(0x40) == 11932 - 500);
	stop();
}

TEST(pit_new_count_waits_for_the_period)
{
	start();
	out(0x43, 0x36);
	out(0x40, 0xe8);
	out(0x40, 0x03); /* square wave, 1000 */
	run_to(100);
	CHECK(count16(0x40) == 800 && rises == 1);
	out(0x40, 0xd0);
	out(0x40, 0x07); /* 2000 */
	out(0x43, 0xe2);
	CHECK(in(0x40) == 0xf6); /* OUT, null count, both bytes, mode 3 */
	run_to(1000);
	CHECK(rises == 2 && count16(0x40) == 2000);
	run_to(1999);
	out(0x43, 0xe2);
	CHECK(in(0x40) == 0xb6);
	run_to(2000);
	out(0x43, 0xe2);
	CHECK(in(0x40) == 0x36 && rises == 2);
	run_to(3000);
	CHECK(rises == 3);
	out(0x61, 1);
	out(0x43, 0xb4); /* counter 2, mode 2: low for the last tick of each period */
	out(0x42, 100);
	out(0x42, 0);
	at_tick(3098);
	CHECK(in(0x61) & 0x20);
	at_tick(3099);
	CHECK(!(in(0x61) & 0x20));
	out(0x42, 50);
	out(0x42, 0);
	at_tick(3137); /* nobody looked when it changed */
	CHECK(in(0x61) & 0x20 && count16(0x42) == 13);
	stop();
}

TEST(pit_one_shots)
{
	start();
	out(0x43, 0x30);
	CHECK(level == 0);
	out(0x40, 0x10);
	CHECK(pit_next(d) == UINT64_MAX); /* half a count */
	out(0x40, 0x27);
	run_to(9999);
	CHECK(level == 0);
	run_to(10000);
	CHECK(level == 1 && rises == 1 && pit_next(d) == UINT64_MAX);
	out(0x43, 0x38); /* mode 4: OUT high but for one tick at the end */
	out(0x40, 100);
	out(0x40, 0);
	CHECK(level == 1);
	run_to(20000);
	CHECK(rises == 2 && level == 1);
	out(0x43, 0x92); /* counter 2 by its gate: mode 1, low byte */
	out(0x42, 50);
	CHECK(in(0x61) & 0x20);
	out(0x61, 1);
	CHECK(!(in(0x61) & 0x20));
	at_tick(20050);
	CHECK(in(0x61) & 0x20);
	out(0x61, 0);
	out(0x61, 1);
	CHECK(!(in(0x61) & 0x20) && in(0x42) == 50);
	stop();
}

TEST(pit_bcd_and_single_bytes)
{
	start();
	out(0x61, 1);
	out(0x43, 0xb5); /* mode 2, BCD */
	out(0x42, 0x00);
	out(0x42, 0x10);
	at_tick(1);
	CHECK(count16(0x42) == 0x0999);
	at_tick(900);
	CHECK(count16(0x42) == 0x0100);
	out(0x43, 0xa4); /* mode 2, high byte */
	out(0x42, 0x01);
	at_tick(911);
	CHECK(in(0x42) == 0);
	at_tick(900 + 256);
	CHECK(in(0x42) == 1);
	out(0x43, 0xc8); /* read back both of 2: status first */
	CHECK(in(0x42) == 0xa4 && in(0x42) == 1);
	out(0x43, 0x84);
	out(0x43, 0x94);
	out(0x42, 0);
	CHECK(in(0x42) == 0); /* 256, of which the low byte */
	stop();
}

TEST(pit_refresh_toggles)
{
	start();
	unsigned changes = 0;
	uint8_t was = in(0x61);
	for (ran = 0; ran < 1000000; ran += 1000) {
		changes += (in(0x61) ^ was) >> 4 & 1;
		was = in(0x61);
	}
	CHECK(changes == 66); /* 1 ms / 15.085 us */
	out(0x61, 0xff);
	CHECK((in(0x61) & 0xcf) == 0x0f);
	d->ops->reset(d);
	CHECK((in(0x61) & 0x0f) == 0);
	stop();
}

/* The fastest the guest can ask for costs 20,000 calls a second, and no more. */
TEST(attack_pit_cannot_flood)
{
	start();
	out(0x43, 0x14);
	out(0x40, 1);
	unsigned calls = 0;
	for (; ran < 100000000; calls++) {
		CHECK(pit_next(d) > ran);
		ran = pit_next(d);
		pit_tick(d);
	}
	CHECK(calls <= 2001 && rises > 1900);
	stop();
}

TEST(pit_rings_on_the_loop)
{
	struct loop *l;
	vclock_init(&vclock, 1000000000);
	CHECK(loop_new(&l, NULL) == 0);
	start_on(l);
	out(0x43, 0x30);
	out(0x40, 0x52);
	out(0x40, 0x09); /* 2 ms */
	CHECK(loop_run(l) == 7 && level == 1 && vclock_ns(&vclock) >= 1990000);
	stop();
	loop_free(l);
}
