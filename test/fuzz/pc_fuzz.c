/* Any accesses to the chips of a PC, wired as a board does, between things that happen to them:
 * time leaping, lines, keys, messages, a CPU that takes interrupts or does not. They must neither
 * crash nor hang, nor ask to be called without end; interrupt wires must tell the truth. Input:
 * steps. */
#include "base/chr.h"
#include "base/types.h"
#include "dev/pc.h"
#include "hw/clock.h"
#include <stdlib.h>
#include <string.h>

enum { CPUS = 3, STEPS = 4096, MMIO_IOAPIC = CPUS };
enum { PIC, PIT, CMOS, KBD, PM, CONF, POST, UART, IOAPIC, CHIPS };
struct step {
	uint8_t what, where;
	uint16_t off;
	uint32_t val;
} __attribute__((packed));

static struct device *chip[CHIPS];
static struct lapics *lapics;
static struct bus *pio, *mmio;
static uint64_t ran, slept;
static struct vclock vclock;
static struct chr chr;
static struct irq_split isa[16];
static int intr[CPUS];

static const struct {
	uint16_t base, len;
	uint8_t dev, off;
} ports[] = {{0x20, 2, PIC, 0},	 {0xa0, 2, PIC, 2},  {0x4d0, 2, PIC, 4},  {0x40, 4, PIT, 0},
	     {0x61, 1, PIT, 4},	 {0x70, 2, CMOS, 0}, {0x60, 1, KBD, 0},	  {0x64, 1, KBD, 1},
	     {0x92, 1, KBD, 2},	 {0x600, 12, PM, 0}, {0xcf8, 8, CONF, 0}, {0x80, 1, POST, 0},
	     {0x3f8, 8, UART, 0}};

static void set_intr(void *ctl, unsigned line, int level)
{
	(void)ctl;
	must(line < CPUS && (level == 0 || level == 1));
	intr[line] = level;
}
static void on_signal(void *ctx, unsigned cpu, enum lapic_signal what, unsigned vector)
{
	(void)ctx;
	must(cpu < CPUS && what <= LAPIC_SIPI && vector < 256);
}
static uint64_t tsc_ns(void *ctx, unsigned cpu, uint64_t tsc)
{
	(void)ctx;
	return tsc / (cpu + 1);
}
static void nothing(void *ctx) { (void)ctx; }
static void on_a20(void *ctx, bool open) { (void)ctx, (void)open; }
static size_t take(void *host, const uint8_t *p, size_t n)
{
	(void)host, (void)p;
	return n;
}

static struct irq isa_line(unsigned n)
{
	isa[n] = (struct irq_split){{pic_line(chip[PIC], n), ioapic_line(chip[IOAPIC], n ? n : 2)}};
	return irq_split(&isa[n]);
}

static void build(void)
{
	struct lapic_env env = {.intr = {set_intr, NULL, 0},
				.signal = on_signal,
				.tsc_ns = tsc_ns,
				.clock = &vclock};
	vclock_init(&vclock, 1000000000);
	vclock_count(&vclock, &ran, &slept);
	chr.output = take;
	must(lapics_new(&lapics, CPUS, &env, NULL) == 0);
	must(pic_new(&chip[PIC], lapics_lint(lapics, 0), NULL) == 0);
	must(ioapic_new(&chip[IOAPIC], &(struct ioapic_to){lapics_send, lapics, NULL}, NULL) == 0);
	lapics_wire(lapics, chip[PIC], chip[IOAPIC]);
	must(pit_new(&chip[PIT], isa_line(0), &vclock, NULL, NULL) == 0);
	must(cmos_new(&chip[CMOS], isa_line(8), &vclock, NULL, NULL) == 0);
	must(i8042_new(&chip[KBD], &(struct i8042_to){isa_line(1), nothing, on_a20, NULL}, NULL) ==
	     0);
	must(acpi_pm_new(&chip[PM], isa_line(9), nothing, NULL, &vclock, NULL, NULL) == 0);
	must(conf1_new(&chip[CONF], NULL, nothing, NULL, NULL) == 0);
	must(sink_new(&chip[POST], "post", -1, NULL, NULL, NULL) == 0);
	must(uart_new(&chip[UART], "com1", isa_line(4), &chr, NULL) == 0);
	pio = bus_new("pio");
	mmio = bus_new("mmio");
	for (unsigned i = 0; i < COUNT(ports); i++)
		must(bus_map_part(pio, ports[i].base, ports[i].len, chip[ports[i].dev],
				  ports[i].off, NULL) == 0);
	for (unsigned i = 0; i < CPUS; i++)
		must(bus_map(mmio, i * 0x1000ull, 0x1000, lapic_page(lapics, i), NULL) == 0);
	must(bus_map(mmio, MMIO_IOAPIC * 0x1000ull, 0x1000, chip[IOAPIC], NULL) == 0);
}

static void cpu_takes(unsigned cpu, bool eoi)
{
	bool up = intr[cpu];
	int v = lapic_ack(lapics, cpu);
	must(v < 256 && (up || v < 0));
	if (eoi) bus_write(mmio, cpu * 0x1000ull + 0xb0, 0, 4);
}

static uint64_t next(void)
{
	const uint64_t at[] = {pit_next(chip[PIT]), cmos_next(chip[CMOS]), acpi_pm_next(chip[PM]),
			       lapics_next(lapics)};
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < COUNT(at); i++)
		if (at[i] < least) least = at[i];
	return least;
}
static void tick(void)
{
	pit_tick(chip[PIT]);
	cmos_tick(chip[CMOS]);
	acpi_pm_tick(chip[PM]);
	lapics_tick(lapics);
}

static void happen(const struct step *s)
{
	uint8_t keys[32];
	uint64_t v;
	unsigned cpu = s->where % CPUS;
	switch (s->off % 9) {
	case 0: ran += (uint64_t)s->val << s->where % 16; break;
	case 1:
		if (next() != UINT64_MAX && next() > ran) ran = next();
		break;
	case 2: irq_set(ioapic_line(chip[IOAPIC], s->val % IOAPIC_PINS), s->where & 1); break;
	case 3: irq_set(pic_line(chip[PIC], s->val % 16), s->where & 1); break;
	case 4: (void)lapics_send(lapics, 0xfee00000 | s->val >> 12, s->val & 0xffff); break;
	case 5:
		memset(keys, s->where, sizeof(keys));
		(void)i8042_key(chip[KBD], keys, s->val % 20);
		break;
	case 6: (void)acpi_pm_button(chip[PM]); break;
	case 7:
		(void)lapic_base_set(lapics, cpu, 0xfee00000ull | (s->val & 0xfff));
		lapic_cr8_set(lapics, cpu, s->val);
		break;
	default:
		if (s->where & 0x80)
			(void)lapic_msr_write(lapics, cpu, 0x800 + (s->val & 0xff), s->val >> 8);
		else if (s->where & 0x40)
			(void)lapic_msr_write(lapics, cpu, 0x6e0, s->val);
		else
			(void)lapic_msr_read(lapics, cpu, 0x800 + (s->val & 0xff), &v);
	}
	for (unsigned i = 0; i < 8 && next() <= ran; i++) tick();
	must(next() > ran); /* else the board would call for ever */
}

/* Anywhere in a page, or where registers are. */
static uint64_t page_off(const struct step *s, bool ioapic)
{
	static const uint8_t known[] = {0, 0x10, 0x10, 0x40};
	if (!(s->where & 0x40)) return s->off % 0x1000;
	return ioapic ? known[s->off % 4] : s->off & 0x3f0;
}

static void access_one(const struct step *s)
{
	unsigned len = 1u << (s->what >> 4) % 3;
	if (s->where & 0x80) {
		unsigned page = s->where % (CPUS + 1);
		uint64_t at = page * 0x1000ull + page_off(s, page == MMIO_IOAPIC);
		if (s->where & 0x40) len = 4;
		if (s->what & 1)
			bus_write(mmio, at, s->val, len);
		else
			(void)bus_read(mmio, at, len);
		return;
	}
	uint64_t at = ports[s->where % COUNT(ports)].base;
	at += s->off % ports[s->where % COUNT(ports)].len;
	if (s->what & 1)
		bus_write(pio, at, s->val, len);
	else
		(void)bus_read(pio, at, len);
}

/* As a kernel would leave it: APICs on, every second pin a level, the PIC's lines open. */
static void set_up(void)
{
	static const uint8_t pic[][2] = {{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1},
					 {0xa0, 0x11}, {0xa1, 0x38}, {0xa1, 2}, {0xa1, 1}};
	for (unsigned i = 0; i < COUNT(pic); i++) bus_write(pio, pic[i][0], pic[i][1], 1);
	for (unsigned i = 0; i < CPUS; i++) {
		bus_write(mmio, i * 0x1000ull + 0xf0, 0x1ff, 4);
		bus_write(mmio, i * 0x1000ull + 0x320, 0x400e0 >> i, 4);
	}
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		bus_write(mmio, MMIO_IOAPIC * 0x1000ull, 0x10 + 2 * i, 4);
		bus_write(mmio, MMIO_IOAPIC * 0x1000ull + 0x10, (0x30 + i) | (i & 1) << 15, 4);
	}
	lapics_virtual_wire(lapics);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct step s;
	if (!pio) build();
	ran = 0;
	lapics_reset(lapics);
	for (unsigned i = 0; i < CHIPS; i++)
		if (chip[i]->ops->reset) chip[i]->ops->reset(chip[i]);
	set_up();
	for (unsigned i = 0; i < STEPS && n >= sizeof(s); i++, p += sizeof(s), n -= sizeof(s)) {
		memcpy(&s, p, sizeof(s));
		switch (s.what & 14) {
		case 14: happen(&s); break;
		case 12: cpu_takes(s.where % CPUS, s.what & 1); break;
		default: access_one(&s);
		}
	}
	return 0;
}
