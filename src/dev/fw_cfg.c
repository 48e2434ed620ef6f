/* fw_cfg: how firmware that was written for QEMU gets what the host has for it (QEMU's
 * docs/specs/fw_cfg: a selector, a byte port, a file directory, DMA). Items are bytes that never
 * change, so that all a guest can do is to read them, in any order, as often as it likes. */
#include "base/state.h"
#include "dev/dev.h"
#include "hw/gmem.h"
#include <errno.h>
#include <stdlib.h>

enum { SELECTOR = 0, DATA = 1, DMA_HIGH = 4, DMA_LOW = 8, PORTS = 12 };
enum { KEY_MASK = 0xbfff /* bit 14 once meant writing */, NO_ITEM = -1 };
enum { VERSION_DMA = 3 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };
enum { NAME = 56, ENTRY = 64, ITEMS = 64, DIR = 0 /* the item that is the directory */ };
/* What a guest may have of zeroes behind the end of an item, by DMA: a structure that an older
 * host leaves shorter, but not all its memory cleared by one access. */
enum { ZEROES = 4096 };

struct item {
	uint16_t key;
	size_t len;
	const uint8_t *p;
	uint8_t *own; /* to be freed; NULL: lent */
};
struct fw_cfg {
	struct device d;
	struct gmem *mem;
	unsigned n, files;
	struct item item[ITEMS];
	uint8_t dir[4 + ITEMS * ENTRY]; /* the file directory, an item itself */
	int selected;			/* an index, or NO_ITEM */
	size_t pos;
	uint32_t dma_high;
};

/* Items */

static void add(struct fw_cfg *f, unsigned key, const void *p, size_t n, bool copy)
{
	must(f->n < ITEMS && n <= UINT32_MAX);
	struct item *i = &f->item[f->n++];
	*i = (struct item){.key = (uint16_t)key, .len = n, .p = p};
	if (!copy) return;
	i->own = malloc(n + 1);
	must(i->own);
	if (n) memcpy(i->own, p, n);
	i->p = i->own;
}

void fw_cfg_item(struct device *d, unsigned key, const void *p, size_t n)
{
	add((struct fw_cfg *)d, key, p, n, true);
}

void fw_cfg_lend(struct device *d, unsigned key, const void *p, size_t n)
{
	add((struct fw_cfg *)d, key, p, n, false);
}

void fw_cfg_number(struct device *d, unsigned key, uint64_t v, unsigned len)
{
	uint8_t le[8];
	store_le(le, v, 8);
	fw_cfg_item(d, key, le, len);
}

static void put_be32(uint8_t *p, uint32_t v) { store_le(p, __builtin_bswap32(v), 4); }

void fw_cfg_file(struct device *d, const char *name, const void *p, size_t n)
{
	struct fw_cfg *f = (struct fw_cfg *)d;
	uint8_t *e = f->dir + 4 + (size_t)f->files * ENTRY;
	unsigned key = FW_CFG_FILE_FIRST + f->files++;
	must(strlen(name) < NAME);
	add(f, key, p, n, true);
	put_be32(f->dir, f->files);
	f->item[DIR].len += ENTRY;
	put_be32(e, (uint32_t)n);
	put_be32(e + 4, key << 16);
	memcpy(e + 8, name, strlen(name));
}

static void choose(struct fw_cfg *f, unsigned key)
{
	f->pos = 0;
	f->selected = NO_ITEM;
	for (unsigned i = 0; i < f->n; i++)
		if (f->item[i].key == (key & KEY_MASK)) f->selected = (int)i;
}

/* What is left of the item that is selected. */
static size_t rest(const struct fw_cfg *f)
{
	return f->selected == NO_ITEM ? 0 : f->item[f->selected].len - f->pos;
}

static uint8_t next_byte(struct fw_cfg *f)
{
	return rest(f) ? f->item[f->selected].p[f->pos++] : 0;
}

/* DMA: a structure in guest memory, big-endian, says what to do and is told how it went. */

static bool dma_read(struct fw_cfg *f, gpa_t to, uint32_t len)
{
	size_t have = rest(f), n = len < have ? len : have;
	if (!len) return true;
	if (len - n > ZEROES) return false;
	uint8_t *p = gmem_ptr(f->mem, to, len, true);
	if (!p) return false;
	if (n) memcpy(p, f->item[f->selected].p + f->pos, n);
	memset(p + n, 0, len - n);
	gmem_dirty(f->mem, to, len);
	f->pos += n;
	return true;
}

static bool dma_do(struct fw_cfg *f, uint32_t control, uint32_t len, gpa_t at)
{
	if (control & DMA_SELECT) choose(f, control >> 16);
	if (control & DMA_READ) return dma_read(f, at, len);
	if (control & DMA_WRITE) return false; /* nothing is to be written */
	if (control & DMA_SKIP) f->pos += len < rest(f) ? len : rest(f);
	return true;
}

static void dma_run(struct fw_cfg *f, gpa_t at)
{
	struct {
		uint32_t control, len;
		uint64_t at;
	} s;
	if (!gmem_read(f->mem, at, &s, sizeof(s))) return;
	bool ok = dma_do(f, __builtin_bswap32(s.control), __builtin_bswap32(s.len),
			 __builtin_bswap64(s.at));
	s.control = __builtin_bswap32(ok ? 0 : DMA_ERROR);
	(void)gmem_write(f->mem, at, &s.control, sizeof(s.control));
}

/* Ports */

static uint64_t fw_cfg_read(struct device *d, uint64_t off, unsigned len)
{
	static const uint8_t sign[] = "QEMU CFG"; /* DMA is there */
	uint64_t v = 0;
	if (off == DATA && len == 1) return next_byte((struct fw_cfg *)d);
	if (off >= DMA_HIGH && off + len <= PORTS) memcpy(&v, &sign[off - DMA_HIGH], len);
	return v;
}

static void fw_cfg_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct fw_cfg *f = (struct fw_cfg *)d;
	uint32_t v = __builtin_bswap32((uint32_t)val);
	if (off == SELECTOR && len == 2) choose(f, (unsigned)val);
	if (off == DMA_HIGH && len == 4) f->dma_high = v;
	if (off == DMA_LOW && len == 4) {
		gpa_t at = (uint64_t)f->dma_high << 32 | v;
		f->dma_high = 0;
		dma_run(f, at);
	}
}

static void fw_cfg_reset(struct device *d)
{
	struct fw_cfg *f = (struct fw_cfg *)d;
	choose(f, 0);
	f->dma_high = 0;
}

static void fw_cfg_free(struct device *d)
{
	struct fw_cfg *f = (struct fw_cfg *)d;
	for (unsigned i = 0; i < f->n; i++) free(f->item[i].own);
	device_done(d);
	free(f);
}

static void fw_cfg_state(struct device *d, struct state *s)
{
	struct fw_cfg *f = (struct fw_cfg *)d;
	uint64_t pos = f->pos;
	STATE(s, f, selected);
	state_bytes(s, "pos", &pos, sizeof(pos));
	STATE(s, f, dma_high);
	bool there = f->selected >= NO_ITEM && f->selected < (int)f->n;
	bool good = there && (f->selected == NO_ITEM || pos <= f->item[f->selected].len);
	if (!state_need(s, good, "item")) f->selected = NO_ITEM;
	f->pos = good ? pos : 0;
}

static const struct device_ops ops = {
	.name = "fw_cfg",
	.read = fw_cfg_read,
	.write = fw_cfg_write,
	.reset = fw_cfg_reset,
	.state = fw_cfg_state,
	.free = fw_cfg_free,
};

int fw_cfg_new(struct device **out, struct gmem *mem, struct err *e)
{
	struct fw_cfg *f = calloc(1, sizeof(*f));
	if (!f) return fail(e, -ENOMEM, "fw_cfg: out of memory");
	device_init(&f->d, &ops, "fw_cfg");
	f->mem = mem;
	fw_cfg_lend(&f->d, FW_CFG_FILE_DIR, f->dir, 4);
	fw_cfg_item(&f->d, FW_CFG_SIGNATURE, "QEMU", 4);
	fw_cfg_number(&f->d, FW_CFG_ID, VERSION_DMA, 4);
	choose(f, 0);
	*out = &f->d;
	return 0;
}
