#include "base/test.h"
#include "dev/pc.h"

static struct device *d;
static struct bus *bus;
static int intr;
static void set_intr(void *ctl, unsigned line, int level)
{
	(void)ctl, (void)line;
	intr = level;
}
static void out(uint64_t port, uint8_t v) { bus_write(bus, port, v, 1); }
static uint8_t in(uint64_t port) { return (uint8_t)bus_read(bus, port, 1); }
static void line(unsigned n, int level) { irq_set(pic_line(d, n), level); }
static void pulse(unsigned n)
{
	line(n, 1);
	line(n, 0);
}

static void start(void)
{
	intr = 0;
	CHECK(pic_new(&d, (struct irq){set_intr, NULL, 0}, NULL) == 0);
	bus = bus_new("io");
	CHECK(bus_map_part(bus, 0x20, 2, d, 0, NULL) == 0);
	CHECK(bus_map_part(bus, 0xa0, 2, d, 2, NULL) == 0);
	CHECK(bus_map_part(bus, 0x4d0, 2, d, 4, NULL) == 0);
}
static void stop(void)
{
	bus_free(bus);
	device_free(d);
}

/* As PC software has done it since 1984: ICW1..4, then masks. */
static void init(uint8_t icw4, uint8_t mask0, uint8_t mask1)
{
	const uint8_t seq[][2] = {{0x20, 0x11},	 {0x21, 0x30}, {0x21, 4}, {0x21, icw4},
				  {0xa0, 0x11},	 {0xa1, 0x38}, {0xa1, 2}, {0xa1, icw4},
				  {0x21, mask0}, {0xa1, mask1}};
	for (unsigned i = 0; i < sizeof(seq) / 2; i++) out(seq[i][0], seq[i][1]);
}

TEST(pic_is_masked_after_reset)
{
	start();
	CHECK(in(0x21) == 0xff && in(0xa1) == 0xff && in(0x20) == 0 && in(0x4d0) == 0);
	line(1, 1);
	CHECK(intr == 0 && in(0x20) == 2);
	init(1, 0, 0);
	CHECK(intr == 0 && in(0x20) == 0); /* ICW1 forgets edges: the line must rise again */
	line(1, 0);
	line(1, 1);
	CHECK(intr == 1 && pic_ack(d) == 0x31);
	d->ops->reset(d);
	CHECK(intr == 0 && in(0x21) == 0xff && in(0x20) == 0);
	stop();
}

/* Linux looks whether the mask register holds what it is given (probe_8259A). */
TEST(pic_mask_holds)
{
	start();
	out(0xa1, 0xff);
	out(0x21, 0xfb);
	CHECK(in(0x21) == 0xfb && in(0xa1) == 0xff);
	CHECK(bus_read(bus, 0x20, 2) == 0xfb00); /* two ports, the lower first */
	out(0xa0, 0x11);
	CHECK(in(0xa1) == 0 && in(0x21) == 0xfb); /* ICW1 clears it */
	stop();
}

TEST(pic_priorities_and_eoi)
{
	start();
	init(1, 0, 0);
	pulse(4);
	pulse(1);
	pulse(14);
	CHECK(intr == 1 && pic_ack(d) == 0x31 && intr == 0);
	out(0x20, 0x0b);
	CHECK(in(0x20) == 2);
	pulse(0); /* a higher one comes through */
	CHECK(intr == 1 && pic_ack(d) == 0x30 && in(0x20) == 3);
	out(0x20, 0x20);
	CHECK(in(0x20) == 2 && intr == 0);
	out(0x20, 0x20);
	CHECK(intr == 1 && pic_ack(d) == 0x3e && in(0x20) == 4); /* the slave's are before 4 */
	out(0xa0, 0x0b);
	CHECK(in(0xa0) == 0x40 && intr == 0);
	out(0xa0, 0x66); /* specific EOI, as Linux does: 14 there, 2 here */
	out(0x20, 0x62);
	CHECK(intr == 1 && pic_ack(d) == 0x34);
	out(0x20, 0x64);
	CHECK(intr == 0 && in(0x20) == 0 && in(0xa0) == 0);
	stop();
}

TEST(pic_slave_in_service_blocks_its_like_until_both_eois)
{
	start();
	init(1, 0, 0);
	pulse(10);
	CHECK(pic_ack(d) == 0x3a && intr == 0);
	pulse(8); /* higher, but the master's input 2 is in service */
	CHECK(intr == 0);
	out(0xa0, 0x20);
	CHECK(intr == 0);
	out(0x20, 0x20);
	CHECK(intr == 1 && pic_ack(d) == 0x38);
	stop();
	start();
	init(0x11, 0, 0); /* special fully nested: it may */
	pulse(10);
	CHECK(pic_ack(d) == 0x3a);
	pulse(8);
	CHECK(intr == 1 && pic_ack(d) == 0x38 && intr == 0);
	pulse(12);
	CHECK(intr == 0);
	stop();
}

TEST(pic_spurious_is_7_and_not_in_service)
{
	start();
	init(1, 0, 0);
	CHECK(pic_ack(d) == 0x37);
	out(0x4d1, 0x02);
	line(9, 1);
	CHECK(intr == 1);
	line(9, 0);
	CHECK(intr == 0 && pic_ack(d) == 0x37);
	out(0x20, 0x0b);
	CHECK(in(0x20) == 0);
	stop();
}

TEST(pic_level_stays_while_the_line_is_up)
{
	start();
	init(1, 0, 0);
	out(0x4d0, 0xff);
	out(0x4d1, 0xff);
	CHECK(in(0x4d0) == 0xf8 && in(0x4d1) == 0xde); /* the others are edges always */
	line(11, 1);
	CHECK(pic_ack(d) == 0x3b && intr == 0);
	out(0xa0, 0x63);
	out(0x20, 0x62);
	CHECK(intr == 1 && pic_ack(d) == 0x3b);
	line(11, 0);
	out(0xa0, 0x63);
	out(0x20, 0x62);
	CHECK(intr == 0);
	stop();
}

TEST(pic_mask_holds_back_and_remembers)
{
	start();
	init(1, 0xff, 0xff);
	pulse(3);
	pulse(12);
	CHECK(intr == 0);
	out(0x21, 0xfb);
	CHECK(intr == 0);
	out(0xa1, 0xef);
	CHECK(intr == 1);
	out(0xa1, 0xff);
	CHECK(intr == 0); /* the cascade follows */
	out(0x21, 0xf7);
	CHECK(intr == 1 && pic_ack(d) == 0x33);
	stop();
}

TEST(pic_auto_eoi_rotation_poll_and_special_mask)
{
	start();
	init(3, 0, 0);
	pulse(5);
	pulse(6);
	CHECK(pic_ack(d) == 0x35 && intr == 1 && pic_ack(d) == 0x36);
	out(0x20, 0x0b);
	CHECK(in(0x20) == 0);
	init(1, 0, 0);
	out(0x20, 0xc3); /* 3 is lowest: 4 comes before 0 */
	pulse(0);
	pulse(4);
	CHECK(pic_ack(d) == 0x34);
	out(0x20, 0xa0); /* EOI, and 4 becomes lowest */
	pulse(4);
	CHECK(pic_ack(d) == 0x30);
	out(0x20, 0x60);
	out(0x20, 0x0c);
	CHECK(in(0x20) == 0x84 && intr == 0);
	out(0x20, 0x0c);
	CHECK(in(0x20) == 0x00); /* nothing asks */
	init(1, 0, 0);
	pulse(1);
	CHECK(pic_ack(d) == 0x31);
	pulse(6);
	CHECK(intr == 0);
	out(0x21, 2);
	out(0x20, 0x68);
	CHECK(intr == 1 && pic_ack(d) == 0x36);
	out(0x20, 0x20);
	out(0x20, 0x0b);
	CHECK(in(0x20) == 2); /* special mask mode hides 1 from the unspecific EOI */
	stop();
}
