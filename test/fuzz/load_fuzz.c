/* Boot files: Image, ELF, EFI zboot, gzip of them, flat firmware. Whatever is said to be loaded
 * must lie in memory. */
#include "hw/gmem.h"
#include "vm/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { LEN = 4 << 20 };
	static struct load_ram ram = {.base = 0x80000000, .len = LEN};
	struct load_place at;
	struct err e = {0};
	if (!ram.mem) {
		ram.mem = gmem_new();
		must(gmem_add(ram.mem, ram.base, ram.len, 0, &e) == 0);
	}
	if (!size) return 0;
	int r = load_bytes(&at, &ram, ram.base + 0x200000, data[0] & 1, data + 1, size - 1, &e);
	must(r == 0 || (e.code == r && e.msg[0]));
	if (r < 0) return 0;
	must(at.start >= ram.base && at.start <= at.end && at.end <= ram.base + LEN);
	must(at.entry >= at.start && at.entry < at.end);
	return 0;
}
