/* A PC's chips by themselves, driven by lines of qemu's qtest protocol: `outb PORT VALUE`,
 * `inb PORT`, whose answers are printed one a line. Time stands still. */
#include "dev/pc.h"
#include "hw/clock.h"
#include <inttypes.h>
#include <stdio.h>

static void on_a20(void *ctx, bool open) { (void)ctx, (void)open; }
static void on_reset(void *ctx) { (void)ctx; }

int main(void)
{
	static const struct {
		uint16_t base, len;
		uint8_t dev, off;
	} map[] = {{0x20, 2, 0, 0}, {0xa0, 2, 0, 2}, {0x4d0, 2, 0, 4}, {0x40, 4, 1, 0},
		   {0x61, 1, 1, 4}, {0x70, 2, 2, 0}, {0x60, 1, 3, 0},  {0x64, 1, 3, 1}};
	static const uint64_t still;
	struct bus *bus = bus_new("io");
	struct device *chip[4];
	struct vclock clock;
	uint64_t port, v;
	char line[64];
	vclock_init(&clock, 1000000000);
	vclock_count(&clock, &still, &still);
	must(pic_new(&chip[0], (struct irq){0}, NULL) == 0);
	must(pit_new(&chip[1], pic_line(chip[0], 0), &clock, NULL, NULL) == 0);
	must(cmos_new(&chip[2], pic_line(chip[0], 8), &clock, NULL, NULL) == 0);
	const struct i8042_to to = {pic_line(chip[0], 1), on_reset, on_a20, NULL};
	must(i8042_new(&chip[3], &to, NULL) == 0);
	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		must(bus_map_part(bus, map[i].base, map[i].len, chip[map[i].dev], map[i].off,
				  NULL) == 0);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "outb %" SCNx64 " %" SCNx64, &port, &v) == 2)
			bus_write(bus, port, v, 1);
		else if (sscanf(line, "inb %" SCNx64, &port) == 1)
			(void)printf("%02" PRIx64 "\n", bus_read(bus, port, 1));
		else
			must(!"a line of the protocol");
	}
	bus_free(bus);
	for (unsigned i = 4; i-- > 0;) device_free(chip[i]);
	return 0;
}
