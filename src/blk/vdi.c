/* VDI, VirtualBox's format (its headers as in VirtualBox's VDICore.h): one table of blocks, kept
 * whole in memory; a block that is added gets the first number that is free, usually the next. */
#include "base/types.h"
#include "blk/grow.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { /* the header, little-endian */
       V_MAGIC = 64,
       V_VERSION = 68,
       V_HEADER = 72,
       V_TYPE = 76,
       V_TABLE = 340,
       V_DATA = 344,
       V_SECTOR = 360,
       V_SIZE = 368,
       V_BLOCK = 376,
       V_EXTRA = 380,
       V_BLOCKS = 384,
       V_USED = 388,
       V_UUID = 392,
       V_SNAPSHOT_UUID = 408,
       V_PARENT = 440,
       V_LEN = 512
};
enum { DYNAMIC = 1, FIXED = 2, SECTOR = 512, BLOCK = 1 << 20, TABLE_AT = 512, UUID = 16 };
#define MAGIC	   0xbeda107fu
#define VERSION	   0x00010001u
#define BLOCK_NONE 0xffffffffu
#define BLOCK_ZERO 0xfffffffeu
#define BLOCKS_MAX (64u << 20)

struct vdi {
	struct blk b;
	struct grow grow;
	uint32_t n, kind, *table; /* the host's byte order */
	uint32_t used;		  /* behind the highest number of a block: others go on there */
	uint32_t low;		  /* all below are taken */
	uint8_t *taken;		  /* numbers: a bit each; for writing */
	uint64_t data_at;
};

static struct vdi *vdi_of(struct blk *b) { return (struct vdi *)b; }

static bool vdi_probe(int fd, const uint8_t *head, size_t n, uint64_t size)
{
	(void)fd;
	(void)size;
	return n >= V_LEN && load_le(head + V_MAGIC, 4) == MAGIC;
}

static int vdi_map(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct vdi *v = vdi_of(b);
	uint64_t i = off / b->unit, in = off % b->unit;
	*x = (struct extent){.kind = EXTENT_NONE, .len = b->unit - in};
	if (x->len > len) x->len = len;
	if (i >= v->n || v->table[i] == BLOCK_NONE) return 0;
	x->kind = v->table[i] == BLOCK_ZERO ? EXTENT_ZERO : EXTENT_DATA;
	x->at = v->data_at + (uint64_t)v->table[i] * b->unit + in;
	return 0;
}

static bool is_taken(const struct vdi *v, uint32_t block)
{
	return v->taken[block / 8] >> block % 8 & 1;
}
static void take(struct vdi *v, uint32_t block)
{
	v->taken[block / 8] |= (uint8_t)(1u << block % 8);
	if (block >= v->used) v->used = block + 1;
}

/* The first number that no block has: so none becomes too high, whatever gaps failures and others
 * have left. Each entry has one at most, so that for one without there is always one left. */
static int vdi_place(struct blk *b, uint64_t *at)
{
	struct vdi *v = vdi_of(b);
	while (v->low < v->n && is_taken(v, v->low)) v->low++;
	if (v->low == v->n) return -EFBIG;
	*at = v->data_at + (uint64_t)v->low * b->unit;
	return grow_reach(&v->grow, b->fd, *at + b->unit);
}

static int vdi_enter(struct blk *b, uint64_t off, uint64_t at)
{
	struct vdi *v = vdi_of(b);
	uint64_t i = off / b->unit;
	uint32_t block = (uint32_t)((at - v->data_at) / b->unit);
	le32 entry = le32_of(block), used = le32_of(block < v->used ? v->used : block + 1);
	int r = file_put(b->fd, &used, sizeof(used), V_USED);
	if (!r) r = file_put(b->fd, &entry, sizeof(entry), TABLE_AT + i * 4);
	if (r < 0) return r;
	v->table[i] = block;
	take(v, block);
	return 0;
}

static const struct grow_ops vdi_grow = {.map = vdi_map, .enter = vdi_enter, .place = vdi_place};

static int vdi_run(struct blk *b, const struct blk_req *q)
{
	return grow_run(b, &vdi_of(b)->grow, &vdi_grow, q);
}

static int vdi_map_shared(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct vdi *v = vdi_of(b);
	(void)pthread_rwlock_rdlock(&v->grow.lock);
	int r = vdi_map(b, off, len, x);
	(void)pthread_rwlock_unlock(&v->grow.lock);
	return r;
}

static int header_parse(struct vdi *v, const uint8_t *h, struct err *e)
{
	static const uint8_t none[UUID];
	uint64_t size = load_le(h + V_SIZE, 8);
	uint32_t block = (uint32_t)load_le(h + V_BLOCK, 4);
	if (load_le(h + V_MAGIC, 4) != MAGIC) return wrong_format(e, "vdi");
	v->kind = (uint32_t)load_le(h + V_TYPE, 4);
	v->n = (uint32_t)load_le(h + V_BLOCKS, 4);
	v->used = (uint32_t)load_le(h + V_USED, 4);
	v->data_at = load_le(h + V_DATA, 4);
	if (load_le(h + V_VERSION, 4) != VERSION)
		return fail(e, -ENOTSUP, "is vdi of version %#x; 1.1 is known",
			    (unsigned)load_le(h + V_VERSION, 4));
	if ((v->kind != DYNAMIC && v->kind != FIXED) || memcmp(h + V_PARENT, none, UUID))
		return fail(e, -ENOTSUP, "lies over another image, which vdi cannot here");
	if (load_le(h + V_SECTOR, 4) != SECTOR || block < SECTOR || block > 64 * BLOCK ||
	    block & (block - 1) || load_le(h + V_EXTRA, 4))
		return fail(e, -EINVAL, "header: blocks of %u bytes", block);
	if (!size || size > INT64_MAX / 2 || v->n > BLOCKS_MAX || (size + block - 1) / block > v->n)
		return fail(e, -EINVAL, "header: %u blocks for %llu bytes", v->n,
			    (unsigned long long)size);
	if (load_le(h + V_TABLE, 4) != TABLE_AT || v->data_at < TABLE_AT + v->n * 4ull ||
	    v->data_at % SECTOR)
		return fail(e, -EINVAL, "header: its table of blocks is out of place");
	v->b.unit = block;
	v->b.info = (struct blk_info){(size + SECTOR - 1) & ~(SECTOR - 1ull), SECTOR, true, false};
	return 0;
}

static int table_load(struct vdi *v, int fd, struct err *e)
{
	bool there = file_holds(fd, TABLE_AT, v->n * sizeof(*v->table));
	v->table = there ? malloc(v->n * sizeof(*v->table)) : NULL;
	if (there && !v->table) return fail(e, -ENOMEM, "out of memory");
	if (!there || file_get(fd, v->table, v->n * sizeof(*v->table), TABLE_AT) < 0)
		return fail(e, -EIO, "its table of blocks is behind the end of the file");
	for (uint32_t i = 0; i < v->n; i++) {
		v->table[i] = (uint32_t)load_le(&v->table[i], 4);
		if (v->table[i] < BLOCK_ZERO && v->table[i] >= v->n)
			return fail(e, -EINVAL, "block %u is said to be number %u of %u", i,
				    v->table[i], v->n);
	}
	return 0;
}

/* The header's count of blocks may be too high after a crash, or not, where numbers have gaps: it
 * is where others put the next one. */
static int end_find(struct vdi *v, int fd)
{
	uint32_t said = v->used;
	v->used = 0;
	v->taken = calloc(v->n / 8 + 1, 1);
	if (!v->taken) return -ENOMEM;
	for (uint32_t i = 0; i < v->n; i++)
		if (v->table[i] < BLOCK_ZERO) take(v, v->table[i]);
	le32 count = le32_of(v->used);
	v->grow.end = v->data_at + (uint64_t)v->used * v->b.unit;
	return said == v->used ? 0 : file_put(fd, &count, sizeof(count), V_USED);
}

static int vdi_load(struct vdi *v, const struct blk_file *f, struct err *e)
{
	uint8_t h[V_LEN];
	uint64_t size;
	int r = file_size(f->fd, &size);
	if (r < 0) return fail(e, r, "its size cannot be told");
	grow_init(&v->grow, size);
	if (file_get(f->fd, h, sizeof(h), 0) < 0) return wrong_format(e, "vdi");
	r = header_parse(v, h, e);
	if (!r) r = table_load(v, f->fd, e);
	if (r < 0 || f->opts->flags & BLK_RDONLY) return r;
	v->b.info.readonly = false;
	r = end_find(v, f->fd);
	return r < 0 ? fail(e, r, "it cannot be written to (%s)", strerror(-r)) : 0;
}

static int vdi_open(struct blk **out, const struct blk_file *f, struct err *e)
{
	struct vdi *v = calloc(1, sizeof(*v));
	if (!v) return fail(e, -ENOMEM, "out of memory");
	int r = vdi_load(v, f, e);
	if (r < 0) {
		free(v->taken);
		free(v->table);
		free(v);
		return r;
	}
	*out = &v->b;
	return 0;
}

static void vdi_close(struct blk *b)
{
	struct vdi *v = vdi_of(b);
	if (b->info.readonly) v->grow.room = v->grow.end;
	grow_done(&v->grow, b->fd);
	free(v->taken);
	free(v->table);
	free(v);
}

static int vdi_create(int fd, const struct blk_make *m, struct err *e)
{
	uint8_t h[V_LEN] = {0};
	uint64_t n = (m->size + BLOCK - 1) / BLOCK;
	uint64_t data = (TABLE_AT + n * 4 + SECTOR - 1) / SECTOR * SECTOR;
	if (m->backing) return fail(e, -EINVAL, "a vdi image cannot lie over another here");
	if (n > BLOCKS_MAX) return fail(e, -EFBIG, "vdi images are at most 64 TiB");
	(void)strcpy((char *)h, "<<< Lodge VM Virtual Disk Image >>>\n");
	store_le(h + V_MAGIC, MAGIC, 4);
	store_le(h + V_VERSION, VERSION, 4);
	store_le(h + V_HEADER, 0x180, 4);
	store_le(h + V_TYPE, DYNAMIC, 4);
	store_le(h + V_TABLE, TABLE_AT, 4);
	store_le(h + V_DATA, data, 4);
	store_le(h + V_SECTOR, SECTOR, 4);
	store_le(h + V_SIZE, m->size, 8);
	store_le(h + V_BLOCK, BLOCK, 4);
	store_le(h + V_BLOCKS, n, 4);
	if (getrandom(h + V_UUID, UUID, 0) != UUID ||
	    getrandom(h + V_SNAPSHOT_UUID, UUID, 0) != UUID)
		return fail(e, -EIO, "no random numbers for its identity");
	int r = ftruncate(fd, (off_t)data) < 0 ? -errno : 0;
	for (uint64_t i = 0; !r && i < n; i++) {
		static const le32 none = {BLOCK_NONE};
		r = file_put(fd, &none, sizeof(none), TABLE_AT + i * 4);
	}
	if (!r) r = file_put(fd, h, sizeof(h), 0);
	return r < 0 ? fail(e, r, "%s", strerror(-r)) : 0;
}

static void vdi_about(struct blk *b, struct blk_about *to)
{
	to->unit = b->unit;
	(void)strcpy(to->variant, vdi_of(b)->kind == FIXED ? "fixed" : "dynamic");
}

const struct blk_ops blk_vdi = {
	.name = "vdi",
	.writes = true,
	.probe = vdi_probe,
	.open = vdi_open,
	.run = vdi_run,
	.map = vdi_map_shared,
	.close = vdi_close,
	.create = vdi_create,
	.about = vdi_about,
};
