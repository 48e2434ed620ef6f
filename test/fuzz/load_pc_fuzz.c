/* Boot files for the x86-64 board: bzImage, ELF with a PVH note, gzip of either. Whatever is said
 * to be loaded must lie in memory, above what it is booted with. Input: one byte of how it is
 * booted. */
#include "hw/gmem.h"
#include "vm/load_pc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { LEN = 32 << 20 };
	static struct load_ram ram = {.len = LEN};
	static char line[256];
	struct pc_map map = pc_map(LEN);
	struct pc_kernel k;
	struct pc_start s;
	struct err e = {0};
	if (!ram.mem) {
		ram.mem = gmem_new();
		must(gmem_add(ram.mem, 0, LEN, 0, &e) == 0);
	}
	if (!size) return 0;
	memset(line, 'x', data[0]);
	line[data[0]] = 0;
	int r = load_pc_bytes(&k, &ram, data + 1, size - 1, &e);
	must(r == 0 || (e.code == r && e.msg[0]));
	if (r < 0) return 0;
	must(k.at.start >= PC_MIB && k.at.start <= k.at.end && k.at.end <= LEN);
	must(k.at.entry >= k.at.start && k.at.entry < k.at.end && k.initrd_top <= LEN);
	must(k.header_len <= sizeof(k.header));
	const struct pc_boot b = {.mem = ram.mem, .map = &map, .append = line};
	r = pc_boot(&s, &k, &b, &e);
	must(r == 0 || data[0] > k.cmdline_max);
	must(r < 0 || s.rip == k.at.entry);
	return 0;
}
