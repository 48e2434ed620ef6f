/* fw_cfg: any accesses to its ports, and DMA commands anywhere in memory, hostile or half right. It
 * may write to memory only, and only what it has. Input: steps. */
#include "base/types.h"
#include "dev/dev.h"
#include "hw/gmem.h"
#include <stdlib.h>

#define RAM 0x100000ull
enum { LEN = 0x8000, STEPS = 4096, PORTS = 12, KERNEL = 20000 };
struct step {
	uint8_t what, off;
	uint16_t key;
	uint32_t len;
	uint64_t at;
} __attribute__((packed));

static struct device *dev;
static struct bus *bus;
static struct gmem *mem;
static uint8_t kernel[KERNEL];

static void build(void)
{
	mem = gmem_new();
	must(gmem_add(mem, RAM, LEN, 0, NULL) == 0);
	must(gmem_add(mem, 4 * RAM, LEN, GMEM_ROM, NULL) == 0);
	must(fw_cfg_new(&dev, mem, NULL) == 0);
	memset(kernel, 0xee, sizeof(kernel));
	fw_cfg_lend(dev, FW_CFG_KERNEL_DATA, kernel, sizeof(kernel));
	fw_cfg_file(dev, "etc/a", "file", 4);
	fw_cfg_file(dev, "etc/b", "", 0);
	bus = bus_new("fuzz");
	must(bus_map(bus, 0, PORTS, dev, NULL) == 0);
}

/* Near memory (bit 4), or anywhere. */
static gpa_t place(const struct step *s)
{
	return s->what & 16 ? RAM - 64 + s->at % (LEN + 128) : s->at;
}

static void command(const struct step *s)
{
	struct {
		uint32_t control, len;
		uint64_t at;
	} c = {__builtin_bswap32((uint32_t)s->key << 16 | s->off), __builtin_bswap32(s->len),
	       __builtin_bswap64(place(s))};
	gpa_t at = s->what & 32 ? RAM : place(s);
	(void)gmem_write(mem, at, &c, sizeof(c));
	bus_write(bus, 4, __builtin_bswap32((uint32_t)(at >> 32)), 4);
	bus_write(bus, 8, __builtin_bswap32((uint32_t)at), 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct step s;
	if (!bus) build();
	dev->ops->reset(dev);
	for (unsigned i = 0; i < STEPS && n >= sizeof(s); i++, p += sizeof(s), n -= sizeof(s)) {
		memcpy(&s, p, sizeof(s));
		unsigned len = 1u << (s.what >> 2) % 4;
		switch (s.what % 4) {
		case 0: (void)bus_read(bus, s.off % PORTS, len); break;
		case 1: bus_write(bus, s.off % PORTS, s.at, len); break;
		case 2: bus_write(bus, 0, s.key % 64, 2); break;
		default: command(&s);
		}
	}
	for (unsigned i = 0; i < KERNEL; i++) must(kernel[i] == 0xee);
	must(!*(uint8_t *)gmem_host(mem, 4 * RAM, 1));
	return 0;
}
