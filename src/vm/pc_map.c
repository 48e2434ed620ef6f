/* Where the x86-64 board has memory, and how guests are told. */
#include "vm/pc.h"

struct pc_map pc_map(uint64_t memory)
{
	struct pc_map m = {.low = memory < PC_LOW_MAX ? memory : PC_LOW_MAX};
	m.high = memory - m.low;
	m.window64 = (PC_HIGH + m.high + PC_WINDOW64 - 1) / PC_WINDOW64 * PC_WINDOW64;
	return m;
}

unsigned pc_ranges(const struct pc_map *m, struct pc_range out[PC_RANGES])
{
	unsigned n = 0;
	must(m->low > PC_MIB);
	out[n++] = (struct pc_range){0, PC_EBDA, PC_RAM};
	out[n++] = (struct pc_range){PC_EBDA, PC_VGA - PC_EBDA, PC_RESERVED};
	out[n++] = (struct pc_range){PC_BIOS, PC_MIB - PC_BIOS, PC_RESERVED};
	out[n++] = (struct pc_range){PC_MIB, m->low - PC_MIB, PC_RAM};
	out[n++] = (struct pc_range){PC_ECAM, PC_ECAM_RESERVED, PC_RESERVED};
	if (m->high) out[n++] = (struct pc_range){PC_HIGH, m->high, PC_RAM};
	return n;
}

unsigned pc_ranges_for_firmware(const struct pc_map *m, struct pc_range out[PC_RANGES])
{
	unsigned n = 0;
	out[n++] = (struct pc_range){0, m->low, PC_RAM};
	if (m->high) out[n++] = (struct pc_range){PC_HIGH, m->high, PC_RAM};
	return n;
}
