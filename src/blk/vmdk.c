/* VMDK: one file that holds its descriptor and a sparse extent, grains found by way of a directory
 * of tables. The compressed kind can only be read. An image whose data is in other files, named in
 * its descriptor, is refused: those could be any files of this machine. */
#include "blk/vmdk.h"
#include "base/own.h"
#include "base/types.h"
#include "blk/cache.h"
#include "blk/grow.h"
#include "blk/packed.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_BYTES = VMDK_PER_TABLE * 4, TABLES_CACHE = 4 << 20, TABLES_MAX = 4 << 20 };
enum { GRAIN_MAX = 4096 /* sectors */, DESCRIPTOR_MAX = 64 * 1024, FOOTER_AT = 1024 };
enum { GRAIN_ZERO = 1, VERSION_MAX = 3 };

struct vmdk {
	struct blk b;
	struct grow grow;
	struct cache tables;
	struct packed packed;
	uint32_t flags, ntables;
	uint32_t *directory, *spare; /* the host's byte order; spare NULL: there is none */
	uint64_t directory_at, spare_at;
	struct {
		uint64_t at, len;
	} fixed[4]; /* bytes of the file that no grain and no table may be in */
};

static struct vmdk *vmdk_of(struct blk *b) { return (struct vmdk *)b; }

static bool vmdk_probe(int fd, const uint8_t *head, size_t n, uint64_t size)
{
	static const char text[] = "# Disk DescriptorFile";
	(void)fd;
	(void)size;
	return n >= VH_SIZE &&
	       (load_le(head, 4) == VMDK_MAGIC || !memcmp(head, text, sizeof(text) - 1));
}

/* Header, descriptor and directories: a guest that could write to them as to its disk would decide
 * what the image is. */
static bool hits_fixed(const struct vmdk *w, uint64_t at, uint64_t len)
{
	for (size_t i = 0; i < COUNT(w->fixed); i++)
		if (at < w->fixed[i].at + w->fixed[i].len && w->fixed[i].at < at + len) return true;
	return false;
}

/* Spec, "Grain Directory", "Grain Table". An entry of the spare copy is never looked at. */
static int vmdk_map(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct vmdk *w = vmdk_of(b);
	uint64_t grain = off / b->unit, in = off % b->unit, i = grain / VMDK_PER_TABLE;
	uint8_t *table;
	*x = (struct extent){.kind = EXTENT_NONE, .len = b->unit - in};
	if (x->len > len) x->len = len;
	if (i >= w->ntables || w->directory[i] == 0) return 0;
	if (!b->info.readonly &&
	    hits_fixed(w, (uint64_t)w->directory[i] * VMDK_SECTOR, TABLE_BYTES))
		return -EIO;
	(void)pthread_mutex_lock(&w->tables.mutex);
	int r = cache_get(&w->tables, (uint64_t)w->directory[i] * VMDK_SECTOR, &table);
	uint64_t at = r ? 0 : load_le(table + grain % VMDK_PER_TABLE * 4, 4);
	(void)pthread_mutex_unlock(&w->tables.mutex);
	if (r || !at) return r;
	if (at == GRAIN_ZERO && w->flags & VMDK_ZEROES) {
		x->kind = EXTENT_ZERO;
		return 0;
	}
	x->kind = w->flags & VMDK_PACKED ? EXTENT_PACKED : EXTENT_DATA;
	x->at = at * VMDK_SECTOR + (x->kind == EXTENT_DATA ? in : 0);
	x->skip = (uint32_t)in;
	return b->info.readonly || !hits_fixed(w, at * VMDK_SECTOR, b->unit) ? 0 : -EIO;
}

/* Spec, "Stream-Optimized Compressed Sparse Extents": before a grain's bytes their number. */
static int vmdk_unpack(struct blk *b, const struct extent *x, const struct blk_req *q)
{
	struct vmdk *w = vmdk_of(b);
	struct extent in = *x;
	uint8_t head[12];
	unsigned n = w->flags & VMDK_MARKED ? 12 : 4;
	int r = file_get(b->fd, head, n, x->at);
	if (r < 0) return r;
	in.packed_len = (uint32_t)load_le(head + n - 4, 4);
	in.at = x->at + n;
	if (!in.packed_len) return -EIO;
	if (n == 12 && load_le(head, 8) != (q->off - x->skip) / VMDK_SECTOR) return -EIO;
	return packed_read(&w->packed, b->fd, &in, true, q);
}

static int entry_write(struct vmdk *w, uint32_t table, uint64_t grain, uint32_t value)
{
	le32 v = le32_of(value);
	uint64_t at = (uint64_t)table * VMDK_SECTOR;
	if (hits_fixed(w, at, TABLE_BYTES)) return -EIO;
	return file_put(w->b.fd, &v, sizeof(v), at + grain % VMDK_PER_TABLE * 4);
}

static int vmdk_enter(struct blk *b, uint64_t off, uint64_t at)
{
	struct vmdk *w = vmdk_of(b);
	uint64_t grain = off / b->unit, i = grain / VMDK_PER_TABLE;
	uint8_t *table;
	if (at / VMDK_SECTOR > UINT32_MAX) return -EFBIG;
	uint32_t value = (uint32_t)(at / VMDK_SECTOR);
	int r = cache_get(&w->tables, (uint64_t)w->directory[i] * VMDK_SECTOR, &table);
	if (!r) store_le(table + grain % VMDK_PER_TABLE * 4, value, 4);
	if (!r) r = entry_write(w, w->directory[i], grain, value);
	if (!r && w->spare && w->spare[i]) r = entry_write(w, w->spare[i], grain, value);
	return r;
}

static int directory_put(struct vmdk *w, uint32_t *directory, uint64_t where, uint64_t i)
{
	static const uint8_t none[TABLE_BYTES];
	uint64_t at;
	int r = grow_take(&w->grow, w->b.fd, TABLE_BYTES, VMDK_SECTOR, &at);
	if (!r && at / VMDK_SECTOR > UINT32_MAX) r = -EFBIG;
	if (!r) r = file_put(w->b.fd, none, sizeof(none), at);
	le32 v = le32_of((uint32_t)(at / VMDK_SECTOR));
	if (!r) r = file_put(w->b.fd, &v, sizeof(v), where + i * 4);
	if (!r) directory[i] = le32_get(v);
	return r;
}

/* Some programs leave tables out until there is something for them. */
static int vmdk_prepare(struct blk *b, uint64_t off)
{
	struct vmdk *w = vmdk_of(b);
	uint64_t i = off / b->unit / VMDK_PER_TABLE;
	int r = 0;
	if (w->spare && !w->spare[i]) r = directory_put(w, w->spare, w->spare_at, i);
	if (!r && !w->directory[i]) r = directory_put(w, w->directory, w->directory_at, i);
	return r;
}

static const struct grow_ops vmdk_grow = {
	.map = vmdk_map, .unpack = vmdk_unpack, .enter = vmdk_enter, .prepare = vmdk_prepare};

static int vmdk_run(struct blk *b, const struct blk_req *q)
{
	return grow_run(b, &vmdk_of(b)->grow, &vmdk_grow, q);
}

static int vmdk_map_shared(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct vmdk *w = vmdk_of(b);
	(void)pthread_rwlock_rdlock(&w->grow.lock);
	int r = vmdk_map(b, off, len, x);
	(void)pthread_rwlock_unlock(&w->grow.lock);
	return r;
}

static int header_find(int fd, uint8_t h[VH_SIZE], uint64_t size, struct err *e)
{
	if (file_get(fd, h, VH_SIZE, 0) < 0) return wrong_format(e, "vmdk");
	if (!memcmp(h, "# Disk DescriptorFile", 21))
		return fail(e, -ENOTSUP,
			    "keeps its data in other files, which is not supported: convert it to "
			    "monolithicSparse");
	if (load_le(h, 4) != VMDK_MAGIC) return wrong_format(e, "vmdk");
	if (load_le(h + VH_DIRECTORY, 8) != VMDK_AT_END) return 0;
	if (size < FOOTER_AT + VH_SIZE || file_get(fd, h, VH_SIZE, size - FOOTER_AT) < 0 ||
	    load_le(h, 4) != VMDK_MAGIC || load_le(h + VH_DIRECTORY, 8) == VMDK_AT_END)
		return fail(e, -EINVAL, "its footer is missing: the file is cut short");
	return 0;
}

static int header_parse(struct vmdk *w, const uint8_t *h, struct err *e)
{
	uint64_t capacity = load_le(h + VH_CAPACITY, 8), grain = load_le(h + VH_GRAIN, 8);
	uint32_t version = (uint32_t)load_le(h + VH_VERSION, 4);
	w->flags = (uint32_t)load_le(h + VH_FLAGS, 4);
	if (!version || version > VERSION_MAX)
		return fail(e, -ENOTSUP, "is vmdk of version %u; 1 to 3 are known", version);
	if (load_le(h + VH_PER_TABLE, 4) != VMDK_PER_TABLE)
		return fail(e, -EINVAL, "header: tables of %u grains",
			    (unsigned)load_le(h + VH_PER_TABLE, 4));
	if (!grain || grain > GRAIN_MAX || grain & (grain - 1))
		return fail(e, -EINVAL, "header: grains of %llu sectors",
			    (unsigned long long)grain);
	uint64_t tables = capacity / grain / VMDK_PER_TABLE + 1;
	if (!capacity || tables > TABLES_MAX)
		return fail(e, -EINVAL, "header: %llu sectors", (unsigned long long)capacity);
	if (w->flags & VMDK_PACKED && load_le(h + VH_COMPRESSION, 2) != 1)
		return fail(e, -ENOTSUP, "is compressed in a way unknown here (%u)",
			    (unsigned)load_le(h + VH_COMPRESSION, 2));
	w->ntables = (uint32_t)((capacity + grain * VMDK_PER_TABLE - 1) / (grain * VMDK_PER_TABLE));
	w->b.unit = (uint32_t)grain * VMDK_SECTOR;
	w->b.info = (struct blk_info){capacity * VMDK_SECTOR, VMDK_SECTOR, true, false};
	return 0;
}

/* What a descriptor says of a parent: spec, "The Descriptor File". */
static int descriptor_check(int fd, const uint8_t *h, struct err *e)
{
	uint64_t at = load_le(h + VH_DESCRIPTOR, 8), n = load_le(h + VH_DESCRIPTOR_SIZE, 8);
	if (!at || !n) return 0;
	n = n > DESCRIPTOR_MAX / VMDK_SECTOR ? DESCRIPTOR_MAX : n * VMDK_SECTOR;
	auto_mem char *text = calloc(1, n + 1);
	if (!text) return fail(e, -ENOMEM, "out of memory");
	if (at > INT64_MAX / VMDK_SECTOR || file_get(fd, text, n, at * VMDK_SECTOR) < 0)
		return fail(e, -EINVAL, "its descriptor is behind the end of the file");
	const char *parent = strstr(text, "parentCID=");
	if (parent && strncasecmp(parent + 10, "ffffffff", 8))
		return fail(e, -ENOTSUP, "lies over another image, which vmdk cannot here");
	return 0;
}

static int directory_load(int fd, uint32_t **to, uint32_t n, uint64_t at, struct err *e)
{
	bool there = at < INT64_MAX / VMDK_SECTOR &&
		     file_holds(fd, at * VMDK_SECTOR, n * sizeof(uint32_t));
	uint32_t *d = *to = there ? calloc(n, sizeof(*d)) : NULL;
	if (there && !d) return fail(e, -ENOMEM, "out of memory");
	if (!there || file_get(fd, d, n * sizeof(*d), at * VMDK_SECTOR) < 0)
		return fail(e, -EIO, "its grain directory is behind the end of the file");
	for (uint32_t i = 0; i < n; i++) d[i] = (uint32_t)load_le(&d[i], 4);
	return 0;
}

static int writable_check(struct vmdk *w, const uint8_t *h, struct err *e)
{
	if (w->flags & VMDK_PACKED)
		return fail(e, -EROFS, "streamOptimized images can only be read: convert it");
	if (load_le(h + VH_VERSION, 4) > 2)
		return fail(e, -EROFS, "vmdk of version 3 can only be read: convert it");
	w->b.info.readonly = false;
	return 0;
}

/* Once all of these have been found to be in the file. */
static void fixed_note(struct vmdk *w, const uint8_t *h)
{
	uint64_t at = load_le(h + VH_DESCRIPTOR, 8), n = load_le(h + VH_DESCRIPTOR_SIZE, 8);
	w->fixed[0].len = VH_SIZE;
	w->fixed[1].at = w->directory_at;
	w->fixed[1].len = w->ntables * sizeof(uint32_t);
	if (w->spare) {
		w->fixed[2].at = w->spare_at;
		w->fixed[2].len = w->ntables * sizeof(uint32_t);
	}
	if (!at || !n) return;
	w->fixed[3].at = at * VMDK_SECTOR;
	w->fixed[3].len = n > DESCRIPTOR_MAX / VMDK_SECTOR ? DESCRIPTOR_MAX : n * VMDK_SECTOR;
}

static int vmdk_load(struct vmdk *w, const struct blk_file *f, struct err *e)
{
	uint8_t h[VH_SIZE];
	uint64_t size;
	int r = file_size(f->fd, &size);
	if (r < 0) return fail(e, r, "its size cannot be told");
	grow_init(&w->grow, size);
	r = header_find(f->fd, h, size, e);
	if (!r) r = header_parse(w, h, e);
	if (!r) r = descriptor_check(f->fd, h, e);
	if (!r && !(f->opts->flags & BLK_RDONLY)) r = writable_check(w, h, e);
	w->directory_at = load_le(h + VH_DIRECTORY, 8);
	w->spare_at = load_le(h + VH_SPARE_DIRECTORY, 8);
	if (!r) r = directory_load(f->fd, &w->directory, w->ntables, w->directory_at, e);
	bool spare = w->flags & VMDK_SPARE && !w->b.info.readonly && w->spare_at;
	if (!r && spare) r = directory_load(f->fd, &w->spare, w->ntables, w->spare_at, e);
	w->directory_at *= VMDK_SECTOR;
	w->spare_at *= VMDK_SECTOR;
	if (!r) fixed_note(w, h);
	if (!r && cache_init(&w->tables, f->fd, TABLE_BYTES, TABLES_CACHE) < 0)
		r = fail(e, -ENOMEM, "out of memory");
	if (!r) packed_init(&w->packed, PACKING_ZLIB, w->b.unit);
	return r;
}

static void vmdk_free(struct vmdk *w)
{
	cache_done(&w->tables);
	packed_done(&w->packed);
	free(w->directory);
	free(w->spare);
	free(w);
}

static int vmdk_open(struct blk **out, const struct blk_file *f, struct err *e)
{
	struct vmdk *w = calloc(1, sizeof(*w));
	if (!w) return fail(e, -ENOMEM, "out of memory");
	int r = vmdk_load(w, f, e);
	if (r < 0)
		vmdk_free(w);
	else
		*out = &w->b;
	return r;
}

static void vmdk_close(struct blk *b)
{
	grow_done(&vmdk_of(b)->grow, b->fd);
	vmdk_free(vmdk_of(b));
}

static void vmdk_about(struct blk *b, struct blk_about *to)
{
	to->unit = b->unit;
	(void)strcpy(to->variant,
		     vmdk_of(b)->flags & VMDK_PACKED ? "streamOptimized" : "monolithicSparse");
	if (vmdk_of(b)->flags & VMDK_PACKED) (void)strcpy(to->compression, "zlib");
}

const struct blk_ops blk_vmdk = {
	.name = "vmdk",
	.writes = true,
	.probe = vmdk_probe,
	.open = vmdk_open,
	.run = vmdk_run,
	.map = vmdk_map_shared,
	.close = vmdk_close,
	.create = vmdk_create,
	.about = vmdk_about,
};
