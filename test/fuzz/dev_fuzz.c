/* Any accesses, of any size, to the registers of the board's own devices, between things that
 * happen to them: keys, a sitter with room again, lines going up and down, time. They must
 * neither crash nor keep what they promised not to. Input: steps. */
#include "base/chr.h"
#include "base/loop.h"
#include "base/types.h"
#include "dev/dev.h"
#include "hw/clock.h"
#include <string.h>

enum { UART, RTC, FINISHER, PLIC, CLINT, SSWI, DEVICES, HARTS = 2, SOURCES = 95, STEPS = 4096 };
static const uint64_t span[DEVICES] = {8, 0x1000, 0x1000, 0x4000000, 0x10000, 0x4000};
struct step {
	uint8_t what, dev;
	uint32_t off, val;
} __attribute__((packed));

static struct device *dev[DEVICES];
static struct bus *bus;
static struct loop *loop;
static struct chr chr;
static size_t room;
static struct vclock vclock;

static void set_level(void *ctl, unsigned line, int level)
{
	(void)ctl;
	must(line < 2 * HARTS && (level == 0 || level == 1));
}
static void on_power(void *ctx, enum power what, unsigned code)
{
	(void)ctx;
	must(what <= POWER_FAIL && code <= 0xffff);
}
static size_t take(void *host, const uint8_t *p, size_t n)
{
	volatile uint8_t sum = 0;
	(void)host;
	if (n > room) n = room;
	for (size_t i = 0; i < n; i++) sum = (uint8_t)(sum + p[i]);
	room -= n;
	return n;
}

static void build(void)
{
	struct irq to[2 * HARTS];
	chr.output = take;
	for (unsigned i = 0; i < 2 * HARTS; i++) to[i] = (struct irq){set_level, NULL, i};
	vclock_init(&vclock, 10000000);
	must(loop_new(&loop, NULL) == 0);
	must(plic_new(&dev[PLIC], SOURCES, to, 2 * HARTS, NULL) == 0);
	must(uart_new(&dev[UART], "uart0", plic_line(dev[PLIC], 10), &chr, NULL) == 0);
	must(rtc_new(&dev[RTC], "rtc0", plic_line(dev[PLIC], 11), loop, NULL) == 0);
	must(finisher_new(&dev[FINISHER], on_power, NULL, NULL) == 0);
	must(clint_new(&dev[CLINT], HARTS, to, to, &vclock, loop, NULL) == 0);
	must(sswi_new(&dev[SSWI], HARTS, to, NULL) == 0);
	bus = bus_new("fuzz");
	for (uint64_t i = 0; i < DEVICES; i++)
		must(bus_map(bus, i << 32, span[i], dev[i], NULL) == 0);
}

static void loop_end(void *l) { loop_stop(l, 0); }

static void happen(const struct step *s)
{
	uint8_t keys[32];
	switch (s->off % 4) {
	case 0:
		memset(keys, s->dev, sizeof(keys));
		must(chr.input(chr.dev, keys, s->val % 33) <= 16);
		break;
	case 1:
		room = s->val % 64;
		chr.drained(chr.dev);
		break;
	case 2: irq_set(plic_line(dev[PLIC], 1 + s->val % 11), s->dev & 1); break;
	default: loop_post(loop, loop_end, loop); (void)loop_run(loop);
	}
}

/* Where in the PLIC's 64 MiB something is. */
static uint64_t plic_off(uint32_t off)
{
	uint32_t i = off / 4;
	switch (off % 4) {
	case 0: return i % 12 * 4;
	case 1: return 0x2000 + i % 5 * 0x80 + i / 5 % 4 * 4;
	default: return 0x200000 + i % 5 * 0x1000 + i / 5 % 2 * 4;
	}
}

/* Anywhere, or (dev bit 6) where registers are, with values that mean something to them. */
static void access_one(const struct step *s)
{
	unsigned d = s->dev % DEVICES, len = 1u << (s->what >> 4) % 4;
	uint64_t off = s->off % span[d], val = s->val | (uint64_t)s->val << 32;
	bool near = s->dev & 0x40;
	if (s->dev & 0x80) off = off / len * len;
	if (d == PLIC && near) off = plic_off(s->off);
	if (d == CLINT && near) {
		off = 0x4000 + s->off % (HARTS + 1) * 8;
		val = vclock_now(&vclock) + s->val % 4;
	}
	uint64_t at = ((uint64_t)d << 32) + off;
	if (s->what & 1) {
		bus_write(bus, at, val, len);
		return;
	}
	uint64_t v = bus_read(bus, at, len);
	if (d == PLIC && len == 4 && off >= 0x200000 && off % 0x1000 == 4) must(v <= SOURCES);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct step s;
	if (!bus) build();
	for (unsigned i = 0; i < DEVICES; i++)
		if (dev[i]->ops->reset) dev[i]->ops->reset(dev[i]);
	for (unsigned i = 1; i < 12; i++) bus_write(bus, ((uint64_t)PLIC << 32) + i * 4, i % 8, 4);
	bus_write(bus, ((uint64_t)PLIC << 32) + 0x2000, 0x3fe, 4);
	for (unsigned i = 0; i < STEPS && n >= sizeof(s); i++, p += sizeof(s), n -= sizeof(s)) {
		memcpy(&s, p, sizeof(s));
		(s.what & 14) == 14 ? happen(&s) : access_one(&s);
	}
	return 0;
}
