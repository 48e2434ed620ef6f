/* The chips of board virt under a driver that has no manual. */
#include "base/chr.h"
#include "base/loop.h"
#include "base/test.h"
#include "base/types.h"
#include "dev/dev.h"
#include "hw/clock.h"

enum { UART, RTC, PLIC, CLINT, SSWI, FINISHER, CHIPS, HARTS = 2, SOURCES = 8 };
static const uint64_t span[CHIPS] = {8, 0x1000, 0x4000000, 0x10000, 0x4000, 0x1000};
static struct device *chip[CHIPS];
static struct bus *bus;
static struct loop *l;
static struct vclock ticks;
static struct chr chr;
static unsigned powered;

static void on_line(void *ctl, unsigned line, int level)
{
	CHECK(!ctl && line < 2 * HARTS && (level == 0 || level == 1));
}
static size_t on_output(void *host, const uint8_t *p, size_t n)
{
	return (void)host, (void)p, n / 2;
}
static void on_power(void *ctx, enum power what, unsigned code)
{
	CHECK(!ctx && what <= POWER_FAIL && code <= 0xffff);
	powered++;
}

static void start(void)
{
	struct irq to[2 * HARTS];
	for (unsigned i = 0; i < 2 * HARTS; i++) to[i] = (struct irq){on_line, NULL, i};
	chr = (struct chr){.output = on_output};
	powered = 0;
	vclock_init(&ticks, 10000000);
	CHECK(!loop_new(&l, NULL) && !plic_new(&chip[PLIC], SOURCES, to, 2 * HARTS, NULL));
	CHECK(!uart_new(&chip[UART], "uart0", plic_line(chip[PLIC], 1), &chr, NULL));
	CHECK(!rtc_new(&chip[RTC], "rtc0", plic_line(chip[PLIC], 2), l, NULL));
	CHECK(!clint_new(&chip[CLINT], HARTS, to, to, &ticks, l, NULL));
	CHECK(!sswi_new(&chip[SSWI], HARTS, to, NULL));
	CHECK(!finisher_new(&chip[FINISHER], on_power, NULL, NULL));
	bus = bus_new("chips");
	for (uint64_t i = 0; i < CHIPS; i++) CHECK(!bus_map(bus, i << 32, span[i], chip[i], NULL));
}

/* Where registers are, to which the rest is a desert; and some of that. */
static uint64_t place(unsigned c, uint32_t i)
{
	static const uint32_t plic[] = {0,	  0x1000,   0x2000,   0x2080,	0x1ff0,	  0x3000,
					0x200000, 0x201000, 0x203000, 0x204000, 0x3fffff8};
	static const uint32_t clint[] = {0, 4, 8, 0x3ff8, 0x4000, 0x4008, 0x4010, 0xbff8, 0xfff8};
	if (c == PLIC) return plic[i % COUNT(plic)] + i / COUNT(plic) % 8;
	if (c == CLINT) return clint[i % COUNT(clint)] + i / COUNT(clint) % 8;
	return i % (c == UART ? 8 : 64);
}

TEST(attack_every_register_with_every_byte)
{
	enum { PLACES = 96, CASES = CHIPS * PLACES * 256 * 2 };
	uint64_t seed = 88172645463325252;
	start();
	for (uint32_t i = 0; i < CASES; i++) {
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		uint32_t c = (uint32_t)(seed >> 33) % CASES, len = 1u << (seed & 3);
		unsigned n = c / 512 / PLACES;
		uint64_t at = place(n, c / 512),
			 v = (c / 2 & 255) * 0x0101010101010101ull ^ (seed & 0xff00);
		if (at + len > span[n]) at = span[n] - len;
		at += (uint64_t)n << 32;
		if (c & 1)
			bus_write(bus, at, v, len);
		else
			(void)bus_read(bus, at, len);
		if (seed >> 60 == 0 && chr.drained) chr.drained(chr.dev);
	}
	for (unsigned i = CHIPS; i-- > 0;)
		if (chip[i]->ops->reset) chip[i]->ops->reset(chip[i]);
	bus_write(bus, (uint64_t)FINISHER << 32, 0x5555, 4);
	CHECK(powered);
	CHECK(bus_read(bus, ((uint64_t)UART << 32) + 5, 1) == 0x60);
	CHECK(bus_read(bus, ((uint64_t)PLIC << 32) + 0x200004, 4) == 0);
	bus_free(bus);
	for (unsigned i = CHIPS; i-- > 0;) device_free(chip[i]);
	loop_free(l);
}
