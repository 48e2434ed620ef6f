#include "base/chr.h"
#include "base/test.h"
#include "dev/dev.h"
#include <string.h>

/* A line whose level can be looked at, and a sitter with as much room as the test says. */
static int level;
static void set_level(void *ctl, unsigned line, int l)
{
	(void)ctl, (void)line;
	level = l;
}
static struct sitter {
	size_t room, n;
	unsigned hungry;
	char got[64];
} host;
static size_t take(void *h, const uint8_t *p, size_t n)
{
	struct sitter *s = h;
	if (n > s->room) n = s->room;
	if (n > sizeof(s->got) - s->n) n = sizeof(s->got) - s->n;
	memcpy(s->got + s->n, p, n);
	s->n += n;
	s->room -= n;
	return n;
}
static void want_more(void *h) { ((struct sitter *)h)->hungry++; }

static struct chr chr;
static struct device *d;
static struct bus *bus;

static void start(size_t room)
{
	host = (struct sitter){.room = room};
	chr = (struct chr){.output = take, .hungry = want_more, .host = &host};
	CHECK(uart_new(&d, "uart0", (struct irq){set_level, NULL, 0}, &chr, NULL) == 0);
	bus = bus_new("test");
	CHECK(bus_map(bus, 0, 8, d, NULL) == 0);
	host.hungry = 0;
}
static void stop(void)
{
	bus_free(bus);
	device_free(d);
}
static unsigned in(unsigned reg) { return (unsigned)bus_read(bus, reg, 1); }
static void out(unsigned reg, unsigned v) { bus_write(bus, reg, v, 1); }
static size_t keys(const char *s) { return chr.input(chr.dev, (const uint8_t *)s, strlen(s)); }

TEST(uart_registers_after_reset)
{
	start(64);
	CHECK(in(5) == 0x60 && in(2) == 1 && in(6) == 0xb0 && level == 0);
	out(7, 0xa5);
	CHECK(in(7) == 0xa5);
	out(3, 0x83);
	out(0, 0x12);
	out(1, 0x34);
	CHECK(in(0) == 0x12 && in(1) == 0x34 && in(3) == 0x83);
	out(3, 3);
	CHECK(in(0) == 0 && in(1) == 0 && host.n == 0);
	out(1, 0xff);
	CHECK(in(1) == 0x0f);
	stop();
}

TEST(uart_transmit_interrupt_clears_on_reading_iir)
{
	start(64);
	out(1, 2);
	CHECK(level == 1 && in(2) == 2 && level == 0 && in(2) == 1);
	out(0, 'x');
	CHECK(level == 1 && host.n == 1 && host.got[0] == 'x' && in(5) == 0x60);
	CHECK(in(2) == 2 && in(2) == 1);
	out(1, 0);
	out(1, 2); /* enabling it while the register is empty asks again */
	CHECK(level == 1);
	out(1, 0);
	CHECK(level == 0);
	stop();
}

TEST(uart_waits_for_the_sitter)
{
	start(3);
	out(2, 1);
	out(1, 2);
	(void)in(2);
	for (unsigned i = 0; i < 8; i++) out(0, 'a' + i);
	CHECK(host.n == 3 && in(5) == 0 && level == 0 && in(2) == 0xc1);
	for (unsigned i = 8; i < 40; i++) out(0, 'a' + i); /* more than fits: lost */
	chr.drained(chr.dev);
	CHECK(host.n == 3 && in(5) == 0);
	host.room = 64;
	chr.drained(chr.dev);
	CHECK(host.n == 3 + 16 && !memcmp(host.got, "abcdefghijklmnopqrs", 19));
	CHECK(in(5) == 0x60 && level == 1 && in(2) == 0xc2);
	stop();
}

TEST(uart_receives_what_fits)
{
	start(0);
	CHECK(keys("ab") == 0); /* nobody listens */
	out(1, 1);
	CHECK(host.hungry == 1 && keys("ab") == 1);
	host.hungry = 0;
	CHECK(in(5) == 0x61 && in(0) == 'a' && in(5) == 0x60 && host.hungry == 1);
	out(2, 0x81); /* FIFOs, trigger at 8 */
	out(1, 1);
	CHECK(keys("1234567") == 7 && level == 1 && in(2) == 0xcc);
	CHECK(keys("8") == 1 && in(2) == 0xc4);
	CHECK(keys("9abcdefghij") == 8);
	host.hungry = 0;
	CHECK(in(0) == '1' && host.hungry == 1);
	for (int i = 0; i < 8; i++) (void)in(0);
	CHECK(in(2) == 0xcc && level == 1);
	for (int i = 0; i < 7; i++) (void)in(0);
	CHECK(in(2) == 0xc1 && level == 0 && host.hungry == 2 && in(0) == 0);
	stop();
}

TEST(uart_interrupt_priorities)
{
	start(64);
	out(4, 0x10); /* loopback: every line changes, so modem status is pending */
	out(1, 15);
	out(0, 'x');
	out(0, 'y'); /* overrun: there is no FIFO */
	CHECK(level == 1 && in(2) == 6);
	CHECK((in(5) & 3) == 3 && in(2) == 4);
	CHECK(in(0) == 'x' && in(2) == 2);
	CHECK(in(2) == 0 && (in(6) & 15) == 11 && in(2) == 1 && level == 0);
	CHECK(host.n == 0);
	stop();
}

TEST(uart_asks_for_more_to_send_once)
{
	start(64);
	out(1, 2);
	CHECK(in(2) == 2);
	out(1, 3); /* it was enabled before */
	CHECK(level == 0 && in(2) == 1);
	out(1, 0);
	out(1, 1);
	CHECK(level == 0);
	stop();
	start(0);
	out(0, 'x');
	out(1, 2); /* enabled, but not empty */
	CHECK(level == 0);
	host.room = 1;
	chr.drained(chr.dev);
	CHECK(level == 1 && host.n == 1);
	stop();
}

TEST(uart_reset_forgets_everything)
{
	start(0);
	out(4, 0x1f);
	out(1, 15);
	out(0, 'x');
	out(0, 'y');
	CHECK(level == 1);
	d->ops->reset(d);
	CHECK(level == 0 && in(1) == 0 && in(5) == 0x60 && in(6) == 0xb0 && in(2) == 1);
	out(1, 12);
	CHECK(level == 0);
	stop();
}

TEST(uart_sees_its_own_break)
{
	start(64);
	out(3, 0x40); /* not looped back: on the wire */
	CHECK(in(5) == 0x60);
	out(3, 0);
	out(4, 0x10);
	out(3, 3);
	CHECK(in(5) == 0x60);
	out(3, 0x43);
	CHECK(in(5) == 0x70 && in(5) == 0x60);
	stop();
}

TEST(uart_loopback_carries_modem_lines)
{
	static const uint8_t want[16] = {0x00, 0x20, 0x10, 0x30, 0x40, 0x60, 0x50, 0x70,
					 0x80, 0xa0, 0x90, 0xb0, 0xc0, 0xe0, 0xd0, 0xf0};
	start(64);
	for (unsigned i = 0; i < 16; i++) {
		out(4, 0x10 | i);
		CHECK((in(6) & 0xf0) == want[i]);
	}
	CHECK(keys("x") == 0);
	out(4, 0x14); /* ring indicator: its trailing edge only */
	(void)in(6);
	out(4, 0x10);
	CHECK(in(6) == 4);
	out(4, 0x14);
	CHECK(in(6) == 0x40);
	host.hungry = 0;
	out(1, 1);
	out(4, 0);
	CHECK(host.hungry && keys("x") == 1 && (in(6) & 0xf0) == 0xb0);
	out(4, 0xf);
	CHECK(in(6) == 0xb0 && in(4) == 0xf);
	stop();
}

TEST(uart_gives_nothing_to_a_driver_that_probes)
{
	start(64);
	out(1, 15);
	CHECK(in(1) == 15 && !host.hungry && keys("x") == 0);
	out(1, 0);
	CHECK(!host.hungry && keys("x") == 0);
	out(1, 7);
	CHECK(host.hungry == 1 && keys("x") == 1 && in(0) == 'x');
	stop();
}

TEST(uart_finds_out_that_a_guest_polls)
{
	start(64);
	for (unsigned i = 0; i < 63; i++) (void)in(5);
	out(0, 'a'); /* it waited for the transmitter */
	for (unsigned i = 0; i < 63; i++) (void)in(5);
	CHECK(!host.hungry && keys("x") == 0);
	(void)in(5);
	CHECK(host.hungry == 1 && keys("x") == 1);
	out(0, 'b');
	CHECK(in(5) == 0x61 && in(0) == 'x' && keys("y") == 1);
	stop();
}

TEST(uart_fifo_control_clears)
{
	start(0);
	out(2, 1);
	out(1, 1);
	CHECK(keys("abc") == 3);
	out(0, 'z');
	CHECK(in(5) == 1);
	out(2, 1 | 2);
	CHECK(in(5) == 0);
	out(2, 1 | 4);
	CHECK(in(5) == 0x60);
	CHECK(keys("abc") == 3);
	out(2, 0);
	CHECK(in(5) == 0x60 && in(2) == 1);
	CHECK(keys("de") == 1);
	out(2, 1); /* turned on without clearing: kept */
	CHECK(in(5) == 0x61 && keys("e") == 1 && in(0) == 'd' && in(0) == 'e');
	d->ops->reset(d);
	CHECK(in(5) == 0x60);
	stop();
}
