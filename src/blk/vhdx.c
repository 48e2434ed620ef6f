/* VHDX, read only ([MS-VHDX]; little-endian): two headers of which the newer valid one counts, a
 * table of regions, among them the table of blocks and the metadata. An image that was not closed
 * has changes in its log and is refused: what it shows without them is neither old nor new. */
#include "base/own.h"
#include "base/types.h"
#include "blk/impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_1 = 64 << 10, HEADER_2 = 128 << 10, HEADER_LEN = 4096 };
enum { REGIONS_1 = 192 << 10, REGIONS_2 = 256 << 10, REGIONS_LEN = 64 << 10 };
enum { REGIONS_MAX = 2047, META_TABLE = 64 << 10, META_MAX = 2047, SECTOR = 512, GUID = 16 };
enum { BLOCK_ZERO = 2, BLOCK_FULL = 6, BLOCK_PARTLY = 7, HAS_PARENT = 2 };
#define BLOCK_LEAST (1u << 20)
#define BLOCK_MOST  (256u << 20)
#define SIZE_MOST   (64ull << 40)
#define TABLE_MOST  (256ull << 20)

static const uint8_t guid_table[GUID] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd"
					"\x4a\x08";
static const uint8_t guid_meta[GUID] = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f"
				       "\x88\x6e";
static const uint8_t guid_file[GUID] = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44"
				       "\xe7\x6b";
static const uint8_t guid_size[GUID] = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b"
				       "\xf4\xb8";
static const uint8_t guid_sector[GUID] = "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa"
					 "\xab\x5f";

struct vhdx {
	struct blk b;
	uint64_t n, file; /* entries; bytes */
	uint64_t ratio;	  /* blocks for each entry about their sectors */
	le64 *table;
	uint64_t table_at, table_len, meta_at, meta_len;
	uint32_t parent, sector;
};

static struct vhdx *vhdx_of(struct blk *b) { return (struct vhdx *)b; }

static bool vhdx_probe(int fd, const uint8_t *head, size_t n, uint64_t size)
{
	(void)fd;
	(void)size;
	return n >= 8 && !memcmp(head, "vhdxfile", 8);
}

/* CRC-32C, of a whole with its own field taken as zero. */
static bool crc_ok(uint8_t *p, size_t n)
{
#ifdef LODGE_FUZZ
	return true;
#endif
	uint32_t crc = ~0u, is = (uint32_t)load_le(p + 4, 4);
	memset(p + 4, 0, 4);
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return is == ~crc;
}

static bool header_get(int fd, uint8_t *h, uint64_t at)
{
	return !file_get(fd, h, HEADER_LEN, at) && !memcmp(h, "head", 4) && crc_ok(h, HEADER_LEN);
}

/* [MS-VHDX] 2.2.2: sequence number at 8, log's GUID at 48, version at 66. */
static int header_check(int fd, struct err *e)
{
	static const uint8_t none[GUID];
	uint8_t one[HEADER_LEN], two[HEADER_LEN];
	bool is1 = header_get(fd, one, HEADER_1), is2 = header_get(fd, two, HEADER_2);
	if (!is1 && !is2) return fail(e, -EINVAL, "both its headers are damaged");
	bool second = is2 && (!is1 || load_le(two + 8, 8) > load_le(one + 8, 8));
	const uint8_t *h = second ? two : one;
	if (load_le(h + 66, 2) != 1)
		return fail(e, -ENOTSUP, "is vhdx of version %u; 1 is known",
			    (unsigned)load_le(h + 66, 2));
	if (memcmp(h + 48, none, GUID))
		return fail(e, -EUCLEAN,
			    "was not closed: its log has to be replayed by what wrote it");
	return 0;
}

static int region_take(struct vhdx *v, const uint8_t *r, struct err *e)
{
	uint64_t at = load_le(r + 16, 8), len = load_le(r + 24, 4);
	if (at > INT64_MAX / 2) return fail(e, -EINVAL, "a region is out of place");
	if (!memcmp(r, guid_table, GUID)) {
		v->table_at = at;
		v->table_len = len;
	} else if (!memcmp(r, guid_meta, GUID)) {
		v->meta_at = at;
		v->meta_len = len;
	} else if (load_le(r + 28, 4) & 1)
		return fail(e, -ENOTSUP, "needs a region unknown here");
	return 0;
}

static int regions_load(struct vhdx *v, int fd, struct err *e)
{
	static const uint64_t at[] = {REGIONS_1, REGIONS_2};
	auto_mem uint8_t *p = malloc(REGIONS_LEN);
	bool good = false;
	if (!p) return fail(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; !good && i < COUNT(at); i++)
		good = !file_get(fd, p, REGIONS_LEN, at[i]) && !memcmp(p, "regi", 4) &&
		       crc_ok(p, REGIONS_LEN);
	uint64_t n = good ? load_le(p + 8, 4) : 0;
	if (!good || n > REGIONS_MAX) return fail(e, -EINVAL, "its table of regions is damaged");
	int r = 0;
	for (uint64_t i = 0; !r && i < n; i++) r = region_take(v, p + 16 + i * 32, e);
	if (!r && (!v->table_at || !v->meta_at))
		r = fail(e, -EINVAL, "has no table of blocks or no metadata");
	return r;
}

static int meta_take(struct vhdx *v, int fd, const uint8_t *m, struct err *e)
{
	uint8_t value[8] = {0};
	uint64_t at = load_le(m + 16, 4), len = load_le(m + 20, 4);
	unsigned n = (unsigned)(len < 8 ? len : 8);
	bool file = !memcmp(m, guid_file, GUID), size = !memcmp(m, guid_size, GUID);
	bool sector = !memcmp(m, guid_sector, GUID);
	if (!file && !size && !sector) return 0;
	if (at < META_TABLE || at + len > v->meta_len ||
	    file_get(fd, value, n, v->meta_at + at) < 0)
		return fail(e, -EINVAL, "its metadata is damaged");
	if (size) v->b.info.size = load_le(value, 8);
	if (sector) v->sector = (uint32_t)load_le(value, 4);
	if (file) v->b.unit = (uint32_t)load_le(value, 4);
	if (file) v->parent = (uint32_t)load_le(value + 4, 4) & HAS_PARENT;
	return 0;
}

static int meta_load(struct vhdx *v, int fd, struct err *e)
{
	auto_mem uint8_t *p = malloc(META_TABLE);
	if (!p) return fail(e, -ENOMEM, "out of memory");
	if (file_get(fd, p, META_TABLE, v->meta_at) < 0 || memcmp(p, "metadata", 8) ||
	    load_le(p + 10, 2) > META_MAX)
		return fail(e, -EINVAL, "its metadata is damaged");
	int r = 0;
	for (uint64_t i = 0; !r && i < load_le(p + 10, 2); i++)
		r = meta_take(v, fd, p + 32 + i * 32, e);
	return r;
}

static int meta_check(struct vhdx *v, struct err *e)
{
	uint32_t block = v->b.unit;
	if (v->parent) return fail(e, -ENOTSUP, "lies over another image, which vhdx cannot here");
	if (block < BLOCK_LEAST || block > BLOCK_MOST || block & (block - 1))
		return fail(e, -EINVAL, "metadata: blocks of %u bytes", block);
	if (v->sector != 512 && v->sector != 4096)
		return fail(e, -EINVAL, "metadata: sectors of %u bytes", v->sector);
	uint64_t size = v->b.info.size;
	if (!size || size % SECTOR || size > SIZE_MOST)
		return fail(e, -EINVAL, "metadata: %llu bytes", (unsigned long long)size);
	v->b.info = (struct blk_info){size, SECTOR, true, false};
	return 0;
}

/* [MS-VHDX] 2.5: behind every `ratio` blocks comes an entry that is about their sectors. */
static int table_load(struct vhdx *v, int fd, struct err *e)
{
	uint64_t blocks = (v->b.info.size + v->b.unit - 1) / v->b.unit;
	v->ratio = ((uint64_t)v->sector << 23) / v->b.unit;
	v->n = blocks + (blocks - 1) / v->ratio;
	if (v->n * 8 > v->table_len || v->n * 8 > TABLE_MOST)
		return fail(e, -EINVAL, "its table of blocks is too short");
	bool there = file_holds(fd, v->table_at, v->n * sizeof(*v->table));
	v->table = there ? malloc(v->n * sizeof(*v->table)) : NULL;
	if (there && !v->table) return fail(e, -ENOMEM, "out of memory");
	if (!there || file_get(fd, v->table, v->n * sizeof(*v->table), v->table_at) < 0)
		return fail(e, -EIO, "its table of blocks is behind the end of the file");
	return 0;
}

static int vhdx_map(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct vhdx *v = vhdx_of(b);
	uint64_t i = off / b->unit, in = off % b->unit;
	uint64_t entry = le64_get(v->table[i + i / v->ratio]);
	*x = (struct extent){.kind = EXTENT_ZERO, .len = b->unit - in};
	if (x->len > len) x->len = len;
	if ((entry & 7) == BLOCK_PARTLY) return -EIO;
	if ((entry & 7) != BLOCK_FULL) return 0;
	x->kind = EXTENT_DATA;
	x->at = (entry & ~0xfffffull) + in;
	return x->at > v->file ? -EIO : 0;
}

static int vhdx_run(struct blk *b, const struct blk_req *q)
{
	if (q->op == BLK_FLUSH) return 0;
	return q->op == BLK_READ ? image_read(b, q, vhdx_map, NULL) : -EROFS;
}

static int vhdx_load(struct vhdx *v, int fd, struct err *e)
{
	uint8_t id[8];
	int r = file_size(fd, &v->file);
	if (r < 0) return fail(e, r, "its size cannot be told");
	if (file_get(fd, id, sizeof(id), 0) < 0 || memcmp(id, "vhdxfile", 8))
		return wrong_format(e, "vhdx");
	r = header_check(fd, e);
	if (!r) r = regions_load(v, fd, e);
	if (!r) r = meta_load(v, fd, e);
	if (!r) r = meta_check(v, e);
	return r ? r : table_load(v, fd, e);
}

static int vhdx_open(struct blk **out, const struct blk_file *f, struct err *e)
{
	struct vhdx *v = calloc(1, sizeof(*v));
	if (!v) return fail(e, -ENOMEM, "out of memory");
	int r = vhdx_load(v, f->fd, e);
	if (r < 0) {
		free(v->table);
		free(v);
		return r;
	}
	*out = &v->b;
	return 0;
}

static void vhdx_close(struct blk *b)
{
	free(vhdx_of(b)->table);
	free(b);
}

static void vhdx_about(struct blk *b, struct blk_about *to) { to->unit = b->unit; }

const struct blk_ops blk_vhdx = {
	.name = "vhdx",
	.probe = vhdx_probe,
	.open = vhdx_open,
	.run = vhdx_run,
	.map = vhdx_map,
	.close = vhdx_close,
	.about = vhdx_about,
};
