#include "base/test.h"
#include "dev/dev.h"
#include "hw/gmem.h"
#include <stdlib.h>

#define RAM 0x100000ull
enum { LEN = 0x10000, CMD = RAM + 0x100, TO = RAM + 0x1000 };
static const char big[] = "0123456789abcdef";

struct bench {
	struct device *d;
	struct gmem *mem;
};

static struct bench bench(void)
{
	struct bench b = {.mem = gmem_new()};
	struct err e;
	CHECK(gmem_add(b.mem, RAM, LEN, 0, &e) == 0);
	CHECK(gmem_add(b.mem, 4 * RAM, 4096, GMEM_ROM, &e) == 0);
	CHECK(fw_cfg_new(&b.d, b.mem, &e) == 0);
	fw_cfg_number(b.d, FW_CFG_CPUS, 0x1234, 2);
	fw_cfg_file(b.d, "etc/a", "first", 5);
	fw_cfg_lend(b.d, FW_CFG_KERNEL_DATA, big, 16);
	fw_cfg_file(b.d, "etc/b", "", 0);
	return b;
}

static void done(struct bench *b)
{
	device_free(b->d);
	gmem_free(b->mem);
}

static uint64_t in(struct bench *b, uint64_t off, unsigned len)
{
	return b->d->ops->read(b->d, off, len);
}
static void out(struct bench *b, uint64_t off, uint64_t v, unsigned len)
{
	b->d->ops->write(b->d, off, v, len);
}

/* n bytes by the data port; the next is 0: whether they are these */
static bool reads(struct bench *b, unsigned key, const void *want, size_t n)
{
	out(b, 0, key, 2);
	for (size_t i = 0; i < n; i++)
		if (in(b, 1, 1) != ((const uint8_t *)want)[i]) return false;
	return in(b, 1, 1) == 0;
}

TEST(fw_cfg_items_by_the_port)
{
	struct bench b = bench();
	CHECK(reads(&b, 0, "QEMU", 4) && reads(&b, 1, "\3\0\0\0", 4));
	CHECK(reads(&b, 5, "\x34\x12", 2) && reads(&b, 0x4005, "\x34\x12", 2));
	CHECK(reads(&b, 0x8005, "", 0) && reads(&b, 0x7777, "", 0));
	out(&b, 0, 5, 2);
	CHECK(in(&b, 1, 2) == 0 && in(&b, 0, 2) == 0 && in(&b, 1, 1) == 0x34);
	out(&b, 0, 0, 1); /* not a selection */
	CHECK(in(&b, 1, 1) == 0x12);
	b.d->ops->reset(b.d);
	CHECK(in(&b, 1, 1) == 'Q');
	done(&b);
}

TEST(fw_cfg_directory)
{
	struct bench b = bench();
	uint8_t want[132] = {0, 0, 0, 2, /* */ 0, 0, 0, 5, 0, 0x20, 0, 0, 'e', 't', 'c', '/', 'a'};
	memcpy(want + 68 + 4, "\0\x21\0\0etc/b", 9);
	CHECK(reads(&b, FW_CFG_FILE_DIR, want, sizeof(want)));
	CHECK(reads(&b, 0x20, "first", 5) && reads(&b, 0x21, "", 0));
	done(&b);
}

/* Give a DMA command; what became of its control word. */
static uint32_t dma(struct bench *b, uint32_t control, uint32_t len, uint64_t at)
{
	struct {
		uint32_t control, len;
		uint64_t at;
	} c = {__builtin_bswap32(control), __builtin_bswap32(len), __builtin_bswap64(at)};
	CHECK(gmem_write(b->mem, CMD, &c, sizeof(c)));
	out(b, 8, __builtin_bswap32(CMD), 4);
	CHECK(gmem_read(b->mem, CMD, &c.control, 4));
	return __builtin_bswap32(c.control);
}

static bool memory_is(struct bench *b, const void *want, size_t n)
{
	uint8_t got[64];
	CHECK(n <= sizeof(got) && gmem_read(b->mem, TO, got, n));
	return !memcmp(got, want, n);
}

enum { READ = 2, SKIP = 4, SELECT = 8, WRITE = 16, KERNEL = FW_CFG_KERNEL_DATA << 16 | SELECT };

TEST(fw_cfg_dma)
{
	struct bench b = bench();
	CHECK(in(&b, 4, 4) == 0x554d4551 && in(&b, 8, 4) == 0x47464320);
	CHECK(gmem_write(b.mem, TO, "xxxxxxxxxxxx", 12));
	CHECK(dma(&b, KERNEL | READ, 4, TO) == 0 && memory_is(&b, "0123xxxx", 8));
	CHECK(dma(&b, SKIP, 6, 0) == 0 && dma(&b, READ, 3, TO) == 0);
	CHECK(memory_is(&b, "abc3xxxx", 8) && in(&b, 1, 1) == 'd');
	CHECK(dma(&b, READ, 4, TO) == 0 && memory_is(&b, "ef\0\0xxxx", 8)); /* over the end */
	CHECK(dma(&b, KERNEL | SKIP, UINT32_MAX, 0) == 0 && in(&b, 1, 1) == 0);
	CHECK(dma(&b, KERNEL, 0, 0) == 0 && in(&b, 1, 1) == '0');
	out(&b, 4, 0, 4); /* the upper half of the address is not kept */
	done(&b);
}

TEST(fw_cfg_dma_with_hostile_addresses)
{
	enum { ERROR = 1 };
	struct bench b = bench();
	CHECK(dma(&b, KERNEL | READ, 16, RAM + LEN - 16) == 0);
	CHECK(dma(&b, KERNEL | READ, 16, RAM + LEN - 15) == ERROR);
	CHECK(dma(&b, KERNEL | READ, 16, RAM - 1) == ERROR);
	CHECK(dma(&b, KERNEL | READ, 16, UINT64_MAX - 7) == ERROR);
	CHECK(dma(&b, KERNEL | READ, 16, 4 * RAM) == ERROR); /* ROM */
	CHECK(dma(&b, KERNEL | READ, UINT32_MAX, TO) == ERROR);
	CHECK(dma(&b, KERNEL | READ, 16 + 4097, TO) == ERROR); /* no clearing of all memory */
	CHECK(dma(&b, KERNEL | READ, 16 + 4096, TO) == 0);
	CHECK(dma(&b, KERNEL | WRITE, 4, TO) == ERROR);
	CHECK(dma(&b, KERNEL | READ, 0, UINT64_MAX) == 0);
	CHECK(dma(&b, KERNEL | READ, 16, CMD) == 0); /* over itself: the answer comes last */
	uint8_t got[16];
	CHECK(gmem_read(b.mem, CMD, got, 16) && !memcmp(got,
							"\0\0\0\0"
							"456789abcdef",
							16));
	/* commands where there is no memory, or only half of it */
	static const uint64_t at[] = {0, RAM - 8, RAM + LEN - 15, 4 * RAM, UINT64_MAX - 3};
	for (unsigned i = 0; i < COUNT(at); i++) {
		out(&b, 4, __builtin_bswap32((uint32_t)(at[i] >> 32)), 4);
		out(&b, 8, __builtin_bswap32((uint32_t)at[i]), 4);
	}
	out(&b, 4, UINT32_MAX, 4);
	b.d->ops->reset(b.d);
	CHECK(dma(&b, KERNEL | READ, 4, TO) == 0); /* forgotten by the reset */
	done(&b);
}
