/* i8042, ACPI PM, conf1 and reset control, sinks, a UART among the ports; and all of a PC's
 * ports attacked at once. */
#include "base/chr.h"
#include "base/test.h"
#include "base/types.h"
#include "dev/counted_test.h"
#include "dev/pc.h"
#include "hw/pci_rig_test.h"
#include <stdlib.h>

static struct device *d;
static struct bus *bus;
static int level, rises, resets, offs, a20 = -1;
static void set_level(void *ctl, unsigned line, int l)
{
	(void)ctl, (void)line;
	rises += l && !level;
	level = l;
}
static const struct irq wire = {set_level, NULL, 0};
static void on_reset(void *ctx) { (void)ctx, resets++; }
static void on_off(void *ctx) { (void)ctx, offs++; }
static void on_a20(void *ctx, bool open) { (void)ctx, a20 = open; }
static void out(uint64_t port, uint8_t v) { bus_write(bus, port, v, 1); }
static uint8_t in(uint64_t port) { return (uint8_t)bus_read(bus, port, 1); }
static void begin(void)
{
	level = rises = resets = offs = 0;
	a20 = -1;
	clock_start();
	bus = bus_new("io");
}
static void stop(void)
{
	bus_free(bus);
	device_free(d);
}

static void i8042_map(struct device *k)
{
	CHECK(bus_map_part(bus, 0x60, 1, k, 0, NULL) == 0);
	CHECK(bus_map_part(bus, 0x64, 1, k, 1, NULL) == 0);
	CHECK(bus_map_part(bus, 0x92, 1, k, 2, NULL) == 0);
}
static void i8042_start(void)
{
	const struct i8042_to to = {wire, on_reset, on_a20, NULL};
	begin();
	CHECK(i8042_new(&d, &to, NULL) == 0);
	i8042_map(d);
}
/* A driver's command: an answer is there at once, or none is. */
static int command(uint8_t c)
{
	out(0x64, c);
	return in(0x64) & 1 ? in(0x60) : -1;
}
static int keyboard(uint8_t c)
{
	out(0x60, c);
	return in(0x64) & 1 ? in(0x60) : -1;
}

TEST(i8042_comes_up_for_seabios)
{
	i8042_start();
	CHECK(in(0x64) == 0x10 && a20 == -1 && in(0x92) == 2);
	CHECK(command(0xaa) == 0x55 && in(0x64) == 0x1c); /* system flag, last was a command */
	CHECK(command(0xab) == 0);
	CHECK(keyboard(0xff) == 0xfa && in(0x64) & 1 && in(0x60) == 0xaa && !(in(0x64) & 1));
	CHECK(keyboard(0xf5) == 0xfa);
	out(0x64, 0x60);
	out(0x60, 0x61);
	CHECK(command(0x20) == 0x61 && level == 0 && rises > 0);
	CHECK(keyboard(0xf0) == 0xfa && keyboard(2) == 0xfa && keyboard(0xf4) == 0xfa);
	stop();
}

/* Linux's i8042 and atkbd: each answers, and that there is no mouse is clear from two commands. */
TEST(i8042_comes_up_for_linux)
{
	i8042_start();
	int ctr = command(0x20);
	CHECK(ctr == 0x70);
	out(0x64, 0x60);
	out(0x60, 0x74);
	CHECK(command(0x20) == 0x74);
	out(0x64, 0xd3);
	out(0x60, 0x5a);
	CHECK((in(0x64) & 0x21) == 1 && in(0x60) == 0x5a);
	CHECK(command(0xa9) == 1);
	CHECK(command(0xaa) == 0x55 && command(0xad) == -1 && command(0xae) == -1);
	CHECK(keyboard(0xf2) == 0xfa && in(0x60) == 0xab && in(0x60) == 0x41); /* 83 translated */
	out(0x64, 0x60);
	out(0x60, 0x21);
	CHECK(keyboard(0xf2) == 0xfa && in(0x60) == 0xab && in(0x60) == 0x83);
	CHECK(keyboard(0xed) == 0xfa && keyboard(7) == 0xfa && keyboard(0xf3) == 0xfa);
	CHECK(keyboard(0) == 0xfa && keyboard(0xee) == 0xee && keyboard(0xfe) == 0xee);
	CHECK(keyboard(0xf0) == 0xfa && keyboard(0) == 0xfa && in(0x60) == 2);
	CHECK(keyboard(0x99) == 0xfe && !(in(0x64) & 1));
	stop();
}

TEST(i8042_translates_keys)
{
	/* Set 2 to set 1: Esc, a, Enter, space, F1, F7, F12; right of them the right arrow. */
	static const uint8_t keys[][2] = {{0x76, 0x01}, {0x1c, 0x1e}, {0x5a, 0x1c}, {0x29, 0x39},
					  {0x05, 0x3b}, {0x83, 0x41}, {0x07, 0x58}, {0x12, 0x2a}};
	i8042_start();
	CHECK(i8042_key(d, keys[0], 1) && !(in(0x64) & 1)); /* the line is off: the key waits */
	out(0x64, 0x60);
	out(0x60, 0x41);
	CHECK(level == 1 && in(0x60) == 1 && level == 0);
	for (unsigned i = 0; i < COUNT(keys); i++) {
		const uint8_t up[2] = {0xf0, keys[i][0]};
		rises = 0;
		CHECK(i8042_key(d, keys[i], 1) && i8042_key(d, up, 2) && level == 1);
		CHECK(in(0x60) == keys[i][1] && level == 1 && rises == 2);
		CHECK(in(0x60) == (keys[i][1] | 0x80) && level == 0);
	}
	CHECK(i8042_key(d, (const uint8_t[]){0xe0, 0xf0, 0x74}, 3));
	CHECK(in(0x60) == 0xe0 && in(0x60) == 0xcd);
	out(0x64, 0x60);
	out(0x60, 0x01); /* not translated */
	CHECK(i8042_key(d, (const uint8_t[]){0xf0, 0x1c}, 2) && in(0x60) == 0xf0);
	CHECK(in(0x60) == 0x1c);
	unsigned took = 0;
	while (i8042_key(d, keys[0], 1)) took++;
	CHECK(took == 17); /* 16, and one in the output buffer */
	for (unsigned i = 0; i < took; i++) CHECK(in(0x60) == 0x76);
	CHECK(!(in(0x64) & 1) && i8042_key(d, keys[0], 1));
	(void)in(0x60);
	CHECK(keyboard(0xf5) == 0xfa && !i8042_key(d, keys[0], 1));
	stop();
}

TEST(i8042_a20_and_reset)
{
	i8042_start();
	out(0x64, 0xdd);
	CHECK(a20 == 0 && !(in(0x92) & 2) && command(0xd0) == 0xcd);
	out(0x92, 2);
	CHECK(a20 == 1 && command(0xd0) == 0xcf);
	out(0x64, 0xd1);
	out(0x60, 0xdd);
	CHECK(a20 == 0 && resets == 0);
	out(0x64, 0xdf);
	CHECK(a20 == 1);
	out(0x64, 0xff);
	CHECK(resets == 0);
	out(0x64, 0xfe);
	CHECK(resets == 1);
	out(0x92, 3);
	out(0x92, 3);
	CHECK(resets == 2 && in(0x92) == 3);
	out(0x64, 0xd1);
	out(0x60, 0x02);
	CHECK(resets == 3);
	out(0x92, 0);
	d->ops->reset(d);
	CHECK(a20 == 1 && in(0x92) == 2 && in(0x64) == 0x10);
	stop();
}

static void pm_start(void)
{
	begin();
	CHECK(acpi_pm_new(&d, wire, on_off, NULL, &vclock, NULL, NULL) == 0);
	CHECK(bus_map(bus, 0x600, ACPI_PM_PORTS, d, NULL) == 0);
}

TEST(acpi_pm_timer)
{
	pm_start();
	CHECK(bus_read(bus, 0x608, 4) == 0);
	ran = 1000000000;
	CHECK(bus_read(bus, 0x608, 4) == 3579545 &&
	      bus_read(bus, 0x609, 1) == (3579545 >> 8 & 255));
	bus_write(bus, 0x608, 0, 4);
	ran = 10000000000;
	CHECK(bus_read(bus, 0x608, 4) == 35795450 % (1 << 24));
	CHECK(bus_read(bus, 0x600, 2) == 1); /* bit 23 has changed */
	bus_write(bus, 0x600, 1, 2);
	CHECK(bus_read(bus, 0x600, 2) == 0 && acpi_pm_next(d) == UINT64_MAX);
	bus_write(bus, 0x602, 1, 2);
	uint64_t at = acpi_pm_next(d);
	CHECK(at / 1000000 == (5ull << 23) * 1000 / 3579545);
	ran = at - 1;
	acpi_pm_tick(d);
	CHECK(level == 0);
	ran = at;
	acpi_pm_tick(d);
	CHECK(level == 1 && bus_read(bus, 0x600, 4) == 0x10001);
	bus_write(bus, 0x602, 0, 2);
	CHECK(level == 0);
	stop();
}

TEST(acpi_pm_button_and_off)
{
	pm_start();
	CHECK(bus_read(bus, 0x604, 2) == 1); /* ACPI mode from the start */
	CHECK(!acpi_pm_button(d) && level == 0 && bus_read(bus, 0x600, 2) == 0x100);
	bus_write(bus, 0x602, 0x0120, 2);
	CHECK(level == 1);
	bus_write(bus, 0x600, 0x00ff, 2); /* zeroes keep */
	CHECK(level == 1);
	bus_write(bus, 0x600, 0x0100, 2);
	CHECK(level == 0 && bus_read(bus, 0x602, 2) == 0x0120);
	CHECK(acpi_pm_button(d) && level == 1);
	bus_write(bus, 0x604, 0x0000, 2);
	CHECK(bus_read(bus, 0x604, 2) == 1);
	bus_write(bus, 0x604, 0x2401, 2); /* S1: no */
	CHECK(offs == 0 && bus_read(bus, 0x604, 2) == 0x0401);
	bus_write(bus, 0x604, 0x2001, 2);
	CHECK(offs == 1 && bus_read(bus, 0x604, 2) == 1);
	bus_write(bus, 0x605, 0x20, 1); /* by its byte, too */
	CHECK(offs == 2);
	bus_write(bus, 0x602, 0xffff, 2);
	CHECK(bus_read(bus, 0x602, 2) == 0x521);
	d->ops->reset(d);
	CHECK(bus_read(bus, 0x600, 4) == 0 && bus_read(bus, 0x604, 4) == 1 && level == 0);
	stop();
}

TEST(conf1_is_another_way_into_ecam)
{
	struct pci_rig r;
	begin();
	pci_rig_init(&r, false);
	CHECK(conf1_new(&d, pci_host_ecam(r.h), on_reset, NULL, NULL) == 0);
	CHECK(bus_map(bus, 0xcf8, 8, d, NULL) == 0);
	CHECK(bus_read(bus, 0xcf8, 4) == 0 && bus_read(bus, 0xcfc, 4) == 0xffffffff);
	bus_write(bus, 0xcf8, 0x80000000, 4); /* Linux's check of the mechanism */
	CHECK(bus_read(bus, 0xcf8, 4) == 0x80000000);
	uint32_t id = (uint32_t)pci_cfg(&r, 0, 0, 4);
	CHECK(id != 0xffffffff && bus_read(bus, 0xcfc, 4) == id);
	CHECK(bus_read(bus, 0xcfe, 2) == id >> 16 && bus_read(bus, 0xcff, 1) == id >> 24);
	bus_write(bus, 0xcf8, 0x80000008, 4);
	CHECK(bus_read(bus, 0xcfe, 2) == pci_cfg(&r, 0, 10, 2));
	bus_write(bus, 0xcf8, 0x80000800 | 8 << 11, 4);
	CHECK(bus_read(bus, 0xcfc, 4) == 0xffffffff); /* an empty slot */
	bus_write(bus, 0xcf8, 0x80010000, 4);
	CHECK(bus_read(bus, 0xcfc, 4) == 0xffffffff); /* another bus */
	bus_write(bus, 0xcf8, 0xffffffff, 4);
	CHECK(bus_read(bus, 0xcf8, 4) == 0x80fffffc && bus_read(bus, 0xcfc, 4) == 0xffffffff);
	bus_write(bus, 0xcf8, 0x80000000, 1);
	CHECK(bus_read(bus, 0xcf8, 4) == 0x80fffffc && resets == 0);
	out(0xcf9, 0x02); /* Linux's hard reset: choose, then go */
	CHECK(resets == 0 && in(0xcf9) == 2);
	out(0xcf9, 0x06);
	out(0xcf9, 0x06);
	CHECK(resets == 1);
	d->ops->reset(d);
	CHECK(in(0xcf9) == 0 && bus_read(bus, 0xcf8, 4) == 0);
	stop();
	pci_rig_done(&r);
}

static char text[8];
static void on_byte(void *ctx, uint8_t v)
{
	CHECK(ctx == &vclock);
	text[strlen(text) % 7] = (char)v;
}

TEST(sinks)
{
	begin();
	memset(text, 0, sizeof(text));
	CHECK(sink_new(&d, "debugcon", SINK_DEBUGCON, on_byte, &vclock, NULL) == 0);
	CHECK(bus_map(bus, 0x402, 1, d, NULL) == 0);
	CHECK(in(0x402) == 0xe9);
	out(0x402, 'h');
	out(0x402, 'i');
	CHECK(strcmp(text, "hi") == 0 && in(0x402) == 0xe9 && sink_last(d) == 'i');
	stop();
	begin();
	CHECK(sink_new(&d, "post", -1, NULL, NULL, NULL) == 0);
	CHECK(bus_map(bus, 0x80, 1, d, NULL) == 0);
	CHECK(in(0x80) == 0);
	out(0x80, 0x5a);
	CHECK(in(0x80) == 0x5a && sink_last(d) == 0x5a);
	d->ops->reset(d);
	CHECK(in(0x80) == 0);
	stop();
}

static size_t sat(void *host, const uint8_t *p, size_t n)
{
	(void)host;
	for (size_t i = 0; i < n; i++) on_byte(&vclock, p[i]);
	return n;
}

/* The same 16550A as elsewhere, on ports, its wire into a PIC: Linux's autoconfig, a byte, irq 4.
 */
TEST(uart_among_the_ports)
{
	struct chr chr = {.output = sat};
	struct device *pic;
	begin();
	memset(text, 0, sizeof(text));
	CHECK(pic_new(&pic, wire, NULL) == 0 && bus_map(bus, 0x20, 2, pic, NULL) == 0);
	CHECK(uart_new(&d, "com1", pic_line(pic, 4), &chr, NULL) == 0);
	CHECK(bus_map(bus, 0x3f8, 8, d, NULL) == 0);
	const uint8_t icw[][2] = {{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0x21, 0}};
	for (unsigned i = 0; i < COUNT(icw); i++) out(icw[i][0], icw[i][1]);
	out(0x3f9, 0);
	CHECK((in(0x3f9) & 15) == 0);
	out(0x3f9, 15);
	CHECK((in(0x3f9) & 15) == 15 && level == 1 && pic_ack(pic) == 0x34 && level == 0);
	out(0x3f9, 0);
	out(0x20, 0x20);
	out(0x3fc, 0x1a);
	CHECK((in(0x3fe) & 0xf0) == 0x90);
	out(0x3fc, 0);
	out(0x3fa, 1);
	CHECK(in(0x3fa) >> 6 == 3 && in(0x3fd) & 0x20);
	out(0x3f8, '#');
	CHECK(text[0] == '#');
	out(0x3f9, 2); /* the transmitter is empty: an edge */
	CHECK(level == 1 && pic_ack(pic) == 0x34 && (in(0x3fa) & 15) == 2 && in(0x3fa) & 1);
	stop();
	device_free(pic);
}

/* A whole PC's ports, with every byte and every width at every port, in random order, while time
 * leaps: nothing may crash or hang, and each chip must work after a reset. */
enum { CHIPS = 8 };
static struct device *chip[CHIPS];
static void pc_start(void)
{
	static struct chr chr;
	const struct i8042_to to = {{0}, on_reset, on_a20, NULL};
	chr.output = sat;
	begin();
	CHECK(pic_new(&chip[0], wire, NULL) == 0);
	CHECK(pit_new(&chip[1], pic_line(chip[0], 0), &vclock, NULL, NULL) == 0);
	CHECK(cmos_new(&chip[2], pic_line(chip[0], 8), &vclock, NULL, NULL) == 0);
	CHECK(i8042_new(&chip[3], &to, NULL) == 0);
	CHECK(acpi_pm_new(&chip[4], pic_line(chip[0], 9), on_off, NULL, &vclock, NULL, NULL) == 0);
	CHECK(conf1_new(&chip[5], NULL, on_reset, NULL, NULL) == 0);
	CHECK(sink_new(&chip[6], "post", -1, NULL, NULL, NULL) == 0);
	CHECK(uart_new(&chip[7], "com1", pic_line(chip[0], 4), &chr, NULL) == 0);
	const struct {
		uint64_t base, len;
		unsigned dev;
		uint64_t off;
	} map[] = {{0x20, 2, 0, 0}, {0xa0, 2, 0, 2},   {0x4d0, 2, 0, 4}, {0x40, 4, 1, 0},
		   {0x61, 1, 1, 4}, {0x70, 2, 2, 0},   {0x60, 1, 3, 0},	 {0x64, 1, 3, 1},
		   {0x92, 1, 3, 2}, {0x600, 12, 4, 0}, {0xcf8, 8, 5, 0}, {0x80, 1, 6, 0},
		   {0x3f8, 8, 7, 0}};
	for (unsigned i = 0; i < COUNT(map); i++)
		CHECK(bus_map_part(bus, map[i].base, map[i].len, chip[map[i].dev], map[i].off,
				   NULL) == 0);
}

static uint64_t next_all(void)
{
	uint64_t a = pit_next(chip[1]), b = cmos_next(chip[2]), c = acpi_pm_next(chip[4]);
	a = a < b ? a : b;
	return a < c ? a : c;
}
static void tick_all(void)
{
	pit_tick(chip[1]);
	cmos_tick(chip[2]);
	acpi_pm_tick(chip[4]);
}

static uint64_t seed = 88172645463325252;
static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

TEST(attack_every_port_with_every_byte)
{
	static const uint16_t ports[] = {0x20,	0x21,  0xa0,  0xa1,  0x4d0, 0x4d1, 0x40,
					 0x41,	0x42,  0x43,  0x61,  0x70,  0x71,  0x60,
					 0x64,	0x92,  0x600, 0x602, 0x604, 0x608, 0xcf8,
					 0xcf9, 0xcfc, 0xcff, 0x80,  0x3f8, 0x3fb, 0x3fd};
	enum { CASES = COUNT(ports) * 256 * 3 * 2 };
	static uint32_t order[CASES];
	pc_start();
	for (uint32_t i = 0; i < CASES; i++) {
		uint32_t j = (uint32_t)(any() % (i + 1));
		order[i] = order[j];
		order[j] = i;
	}
	for (unsigned i = 0; i < CASES; i++) {
		uint32_t c = order[i], len = 1u << c / 512 % 3, port = ports[c / 1536];
		uint64_t v = (c / 2 & 255) | any() << 8;
		if (c & 1)
			bus_write(bus, port, v, len);
		else
			(void)bus_read(bus, port, len);
		if (any() % 4 == 0) ran += 1ull << any() % 36;
		if (any() % 4 == 0) tick_all();
		CHECK(next_all() > ran || (tick_all(), next_all() > ran));
		if (level && any() % 2) CHECK(pic_ack(chip[0]) <= 0xff);
	}
	for (unsigned i = CHIPS; i-- > 0;)
		if (chip[i]->ops->reset) chip[i]->ops->reset(chip[i]);
	out(0x43, 0xe2);
	CHECK(level == 0 && in(0x21) == 0xff && in(0x40) == 0x70 && in(0x92) == 2);
	out(0x64, 0xaa);
	CHECK(in(0x60) == 0x55 && bus_read(bus, 0x604, 2) == 1 && in(0xcf9) == 0 && in(0x80) == 0);
	out(0x70, 13);
	CHECK(in(0x71) == 0x80);
	bus_free(bus);
	for (unsigned i = CHIPS; i-- > 0;) device_free(chip[i]);
}
