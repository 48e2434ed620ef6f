#include "base/test.h"
#include "vm/dt.h"
#include <libfdt.h>

TEST(dt_writes_what_libfdt_reads)
{
	struct dt f;
	struct err e = {0};
	size_t len = 0;
	dt_init(&f, 4096);
	dt_node(&f, "%s", "");
	dt_node(&f, "cpu@%u", 3u);
	dt_u32(&f, "cells", 1, 0x12345678);
	dt_list(&f, "compatible", "a\0bc");
	dt_reg(&f, "reg", 0x123456789, 16);
	dt_flag(&f, "flag");
	dt_node_end(&f);
	dt_node_end(&f);
	CHECK(dt_end(&f, &len, &e) == 0 && len == fdt_totalsize(f.blob));
	int cpu = fdt_path_offset(f.blob, "/cpu@3"), n;
	const uint8_t *cells = fdt_getprop(f.blob, cpu, "cells", &n);
	CHECK(n == 8 && !memcmp(cells, "\0\0\0\1\x12\x34\x56\x78", 8));
	CHECK(fdt_stringlist_count(f.blob, cpu, "compatible") == 2);
	const uint8_t *reg = fdt_getprop(f.blob, cpu, "reg", &n);
	CHECK(n == 16 && !memcmp(reg, "\0\0\0\1\x23\x45\x67\x89\0\0\0\0\0\0\0\x10", 16));
	CHECK(fdt_getprop(f.blob, cpu, "flag", &n) && n == 0);
	dt_done(&f);
}

TEST(dt_keeps_its_first_error)
{
	struct dt f;
	struct err e = {0};
	size_t len;
	char big[200] = {0};
	dt_init(&f, 128);
	dt_node(&f, "%s", "");
	dt_bytes(&f, "big", big, sizeof(big));
	dt_flag(&f, "ignored");
	dt_node_end(&f);
	CHECK(dt_end(&f, &len, &e) < 0 && strstr(e.msg, "device tree: "));
	dt_done(&f);
}
