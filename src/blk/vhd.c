/* VHD, read only (Microsoft, "Virtual Hard Disk Image Format Specification", 2006; big-endian):
 * a footer at the end of the file says what is before it, the disk itself or a table of blocks. */
#include "base/types.h"
#include "blk/be.h"
#include "blk/impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { /* "Hard Disk Footer Format" */
       F_HEADER = 16,
       F_CREATOR = 28,
       F_SIZE = 48,
       F_GEOMETRY = 56,
       F_TYPE = 60,
       F_CHECKSUM = 64,
       F_LEN = 512,
       /* "Dynamic Disk Header Format" */
       D_TABLE = 16,
       D_ENTRIES = 28,
       D_BLOCK = 32,
       D_CHECKSUM = 36,
       D_LEN = 1024
};
enum { FIXED = 2, DYNAMIC = 3, SECTOR = 512, ENTRIES_MAX = 64 << 20 };
#define NONE	     0xffffffffu
#define GEOMETRY_MAX (65535ull * 16 * 255)

struct vhd {
	struct blk b;
	unsigned type;
	uint64_t file;
	uint32_t n, bitmap; /* entries; bytes in front of each block */
	uint32_t *table;    /* sectors, the host's byte order */
};

static struct vhd *vhd_of(struct blk *b) { return (struct vhd *)b; }

static bool vhd_probe(int fd, const uint8_t *head, size_t n, uint64_t size)
{
	uint8_t cookie[8];
	if (n >= F_LEN && !memcmp(head, "conectix", 8)) return true;
	return size >= F_LEN && !file_get(fd, cookie, sizeof(cookie), size - F_LEN) &&
	       !memcmp(cookie, "conectix", 8);
}

static int vhd_map(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct vhd *v = vhd_of(b);
	*x = (struct extent){.kind = EXTENT_DATA, .len = len, .at = off};
	if (v->type == FIXED) return 0;
	uint64_t i = off / b->unit, in = off % b->unit;
	if (x->len > b->unit - in) x->len = b->unit - in;
	x->kind = i < v->n && v->table[i] != NONE ? EXTENT_DATA : EXTENT_ZERO;
	if (x->kind == EXTENT_DATA) x->at = (uint64_t)v->table[i] * SECTOR + v->bitmap + in;
	return x->at > v->file ? -EIO : 0;
}

static int vhd_run(struct blk *b, const struct blk_req *q)
{
	if (q->op == BLK_FLUSH) return 0;
	return q->op == BLK_READ ? image_read(b, q, vhd_map, NULL) : -EROFS;
}

/* "Checksum": the complement of the sum of all other bytes. */
static bool sum_ok(uint8_t *p, size_t n, size_t at)
{
	uint32_t is = be32_at(p + at), sum = 0;
	memset(p + at, 0, 4);
	for (size_t i = 0; i < n; i++) sum += p[i];
#ifdef LODGE_FUZZ
	is = ~sum;
#endif
	return is == ~sum;
}

/* Virtual PC's own images are as large as their geometry; everybody else's as they say. */
static uint64_t disk_size(const uint8_t *f)
{
	const uint8_t *g = f + F_GEOMETRY;
	uint64_t chs = (uint64_t)be16_at(g) * g[2] * g[3], size = be64_at(f + F_SIZE);
	bool old = !memcmp(f + F_CREATOR, "vpc ", 4) || !memcmp(f + F_CREATOR, "vs  ", 4) ||
		   !memcmp(f + F_CREATOR, "qemu", 4);
	return old && chs && chs < GEOMETRY_MAX ? chs * SECTOR : size;
}

static int dynamic_load(struct vhd *v, int fd, uint64_t at, struct err *e)
{
	uint8_t d[D_LEN];
	if (file_get(fd, d, sizeof(d), at) < 0 || memcmp(d, "cxsparse", 8) ||
	    !sum_ok(d, sizeof(d), D_CHECKSUM))
		return fail(e, -EINVAL, "the header of its table of blocks is damaged");
	uint32_t block = be32_at(d + D_BLOCK);
	v->n = be32_at(d + D_ENTRIES);
	if (block < SECTOR || block > 256 << 20 || block & (block - 1))
		return fail(e, -EINVAL, "header: blocks of %u bytes", block);
	if (v->n > ENTRIES_MAX || (v->b.info.size + block - 1) / block > v->n)
		return fail(e, -EINVAL, "header: %u blocks for %llu bytes", v->n,
			    (unsigned long long)v->b.info.size);
	v->b.unit = block;
	v->bitmap = (block / SECTOR / 8 + SECTOR - 1) / SECTOR * SECTOR;
	bool there = v->n && file_holds(fd, be64_at(d + D_TABLE), v->n * sizeof(*v->table));
	v->table = there ? malloc(v->n * sizeof(*v->table)) : NULL;
	if (there && !v->table) return fail(e, -ENOMEM, "out of memory");
	if (!there || file_get(fd, v->table, v->n * sizeof(*v->table), be64_at(d + D_TABLE)) < 0)
		return fail(e, -EIO, "its table of blocks is behind the end of the file");
	for (uint32_t i = 0; i < v->n; i++) v->table[i] = be32toh(v->table[i]);
	return 0;
}

static int vhd_load(struct vhd *v, int fd, struct err *e)
{
	uint8_t f[F_LEN];
	int r = file_size(fd, &v->file);
	if (r < 0) return fail(e, r, "its size cannot be told");
	if (v->file < F_LEN || file_get(fd, f, sizeof(f), v->file - F_LEN) < 0 ||
	    memcmp(f, "conectix", 8))
		return wrong_format(e, "vhd");
	uint64_t size = disk_size(f);
	v->type = be32_at(f + F_TYPE);
	if (!sum_ok(f, sizeof(f), F_CHECKSUM)) return fail(e, -EINVAL, "its footer is damaged");
	if (!size || size % SECTOR || size > INT64_MAX / 2)
		return fail(e, -EINVAL, "footer: %llu bytes", (unsigned long long)size);
	v->b.info = (struct blk_info){size, SECTOR, true, false};
	if (v->type == FIXED && size > v->file - F_LEN) return fail(e, -EINVAL, "is cut short");
	if (v->type == DYNAMIC) return dynamic_load(v, fd, be64_at(f + F_HEADER), e);
	return v->type == FIXED ? 0
				: fail(e, -ENOTSUP,
				       "is vhd of type %u; fixed and dynamic are known", v->type);
}

static int vhd_open(struct blk **out, const struct blk_file *f, struct err *e)
{
	struct vhd *v = calloc(1, sizeof(*v));
	if (!v) return fail(e, -ENOMEM, "out of memory");
	int r = vhd_load(v, f->fd, e);
	if (r < 0) {
		free(v->table);
		free(v);
		return r;
	}
	*out = &v->b;
	return 0;
}

static void vhd_close(struct blk *b)
{
	free(vhd_of(b)->table);
	free(b);
}

static void vhd_about(struct blk *b, struct blk_about *to)
{
	to->unit = b->unit;
	(void)strcpy(to->variant, vhd_of(b)->type == FIXED ? "fixed" : "dynamic");
}

const struct blk_ops blk_vhd = {
	.name = "vhd",
	.alias = "vpc",
	.probe = vhd_probe,
	.open = vhd_open,
	.run = vhd_run,
	.map = vhd_map,
	.close = vhd_close,
	.about = vhd_about,
};
