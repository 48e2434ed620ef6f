/* qcow2: opening and closing. Everything the header says is checked here once, so that the rest
 * may compute with it; what it does not know is refused. */
#include "blk/qcow2.h"
#include "base/log.h"
#include "base/own.h"
#include "base/types.h"
#include "blk/be.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { L2_CACHE = 16 << 20, REFS_CACHE = 4 << 20, HEADER_MAX = 4096 };

static bool qcow2_probe(int fd, const uint8_t *head, size_t n, uint64_t size)
{
	(void)fd;
	(void)size;
	return n >= H_V2_LEN && be32_at(head) == QCOW2_MAGIC && be32_at(head + H_VERSION) >= 2;
}

static int features_check(const struct qcow2 *q, const uint8_t *h, struct err *e)
{
	const uint64_t known = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT | INCOMPATIBLE_COMPRESSION;
	if (q->incompatible & INCOMPATIBLE_DATA_FILE)
		return fail(e, -ENOTSUP, "keeps its data in another file, which is not supported");
	if (q->incompatible & INCOMPATIBLE_EXTENDED_L2)
		return fail(e, -ENOTSUP, "has extended L2 entries, which are not supported");
	if (q->incompatible & ~known)
		return fail(e, -ENOTSUP, "uses a feature unknown here (bits %#llx)",
			    (unsigned long long)(q->incompatible & ~known));
	if (be32_at(h + H_CRYPT)) return fail(e, -ENOTSUP, "is encrypted, which is not supported");
	return 0;
}

static int version3_parse(struct qcow2 *q, const uint8_t *h, struct err *e)
{
	q->incompatible = be64_at(h + H_INCOMPATIBLE);
	q->compatible = be64_at(h + H_COMPATIBLE);
	q->autoclear = be64_at(h + H_AUTOCLEAR);
	q->refcount_order = be32_at(h + H_REFCOUNT_ORDER);
	q->header_len = be32_at(h + H_LENGTH);
	if (q->refcount_order > 6)
		return fail(e, -EINVAL, "header: refcounts of 2^%u bits", q->refcount_order);
	if (q->header_len < H_V3_LEN || q->header_len > cluster_size(q))
		return fail(e, -EINVAL, "header: its length is %u", q->header_len);
	unsigned how = q->header_len > H_COMPRESSION ? h[H_COMPRESSION] : 0;
	if (!!how != !!(q->incompatible & INCOMPATIBLE_COMPRESSION))
		return fail(e, -EINVAL, "header: compression type and its feature bit disagree");
	if (how > 1) return fail(e, -ENOTSUP, "is compressed in a way unknown here (%u)", how);
	q->packing = how ? PACKING_ZSTD : PACKING_DEFLATE;
	return 0;
}

/* A run of the file that holds a table: aligned, and where the format can have it. */
static bool place_ok(const struct qcow2 *q, uint64_t at, uint64_t bytes)
{
	return !cluster_rest(q, at) && at >= cluster_size(q) && at <= ENTRY_OFFSET &&
	       bytes <= ENTRY_OFFSET - at;
}

static int places_check(const struct qcow2 *q, const uint8_t *h, struct err *e)
{
	uint64_t needed = (uint64_t)l1_index(q, q->size - 1) + 1;
	uint64_t ref = (uint64_t)be32_at(h + H_REFTABLE_CLUSTERS) << q->cluster_bits;
	if (!q->size) return fail(e, -EINVAL, "is empty: a disk needs at least one byte");
	if (q->size > (uint64_t)(L1_BYTES_MAX / 8) << (q->cluster_bits + l2_bits(q)) ||
	    needed > q->l1_size || (uint64_t)q->l1_size * 8 > L1_BYTES_MAX)
		return fail(e, -EINVAL, "header: an L1 table of %u entries for %llu bytes",
			    q->l1_size, (unsigned long long)q->size);
	if (q->l1_size && !place_ok(q, q->l1_at, (uint64_t)q->l1_size * 8))
		return fail(e, -EINVAL, "header: the L1 table is at %#llx",
			    (unsigned long long)q->l1_at);
	if (!ref || ref > REFTABLE_BYTES_MAX || !place_ok(q, q->reftable_at, ref))
		return fail(e, -EINVAL, "header: a refcount table of %llu bytes at %#llx",
			    (unsigned long long)ref, (unsigned long long)q->reftable_at);
	if (q->nsnapshots > SNAPSHOTS_MAX ||
	    (q->nsnapshots && !place_ok(q, q->snapshots_at, q->nsnapshots * 40ull)))
		return fail(e, -EINVAL, "header: %u snapshots at %#llx", q->nsnapshots,
			    (unsigned long long)q->snapshots_at);
	return 0;
}

static int header_parse(struct qcow2 *q, const uint8_t *h, struct err *e)
{
	if (be32_at(h) != QCOW2_MAGIC) return wrong_format(e, "qcow2");
	q->version = be32_at(h + H_VERSION);
	if (q->version != 2 && q->version != 3)
		return fail(e, -ENOTSUP, "is qcow of version %u; 2 and 3 are known", q->version);
	q->cluster_bits = be32_at(h + H_CLUSTER_BITS);
	if (q->cluster_bits < CLUSTER_BITS_MIN || q->cluster_bits > CLUSTER_BITS_MAX)
		return fail(e, -EINVAL, "header: clusters of 2^%u bytes", q->cluster_bits);
	q->size = be64_at(h + H_SIZE);
	q->l1_size = be32_at(h + H_L1_SIZE);
	q->l1_at = be64_at(h + H_L1);
	q->reftable_at = be64_at(h + H_REFTABLE);
	q->reftable_size = be32_at(h + H_REFTABLE_CLUSTERS) << l2_bits(q);
	q->nsnapshots = be32_at(h + H_NSNAPSHOTS);
	q->snapshots_at = be64_at(h + H_SNAPSHOTS);
	q->refcount_order = 4;
	q->header_len = H_V2_LEN;
	int r = q->version == 3 ? version3_parse(q, h, e) : 0;
	if (!r) r = features_check(q, h, e);
	return r ? r : places_check(q, h, e);
}

/* What comes between the header and the end of its cluster, up to the backing file's name. */
static int extensions_parse(struct qcow2 *q, const uint8_t *h, size_t n, struct err *e)
{
	size_t at = q->header_len;
	while (at + 8 <= n) {
		uint32_t type = be32_at(h + at), len = be32_at(h + at + 4);
		at += 8;
		if (type == EXTENSION_END) return 0;
		if (len > n - at) return fail(e, -EINVAL, "header: an extension of %u bytes", len);
		if (type == (uint32_t)EXTENSION_BACKING_FORMAT) {
			if (len >= sizeof(q->backing_format))
				return fail(e, -EINVAL, "header: a format's name of %u bytes", len);
			memcpy(q->backing_format, h + at, len);
		}
		at += (len + 7) & ~7u;
	}
	return 0;
}

static int backing_parse(struct qcow2 *q, int fd, const uint8_t *h, size_t n, struct err *e)
{
	uint64_t at = be64_at(h + H_BACKING);
	uint32_t len = be32_at(h + H_BACKING_LEN);
	if (at && (len > NAME_MAX_LEN || at > cluster_size(q) || len > cluster_size(q) - at))
		return fail(e, -EINVAL, "header: a backing file's name of %u bytes at %#llx", len,
			    (unsigned long long)at);
	int r = at && len ? file_get(fd, q->backing, len, at) : 0;
	if (r < 0) return fail(e, r, "the backing file's name cannot be read");
	if (strlen(q->backing) != (at ? len : 0))
		return fail(e, -EINVAL, "header: a NUL in the backing file's name");
	if (at && at < n) n = at;
	return extensions_parse(q, h, n, e);
}

int table_read(int fd, uint64_t *to, uint32_t n, uint64_t at)
{
	int r = file_get(fd, to, n * sizeof(*to), at);
	for (uint32_t i = 0; !r && i < n; i++) to[i] = be64toh(to[i]);
	return r;
}

int table_write(int fd, const uint64_t *from, uint32_t n, uint64_t at)
{
	uint64_t part[512];
	for (uint32_t done = 0, k; done < n; done += k) {
		k = n - done < COUNT(part) ? n - done : COUNT(part);
		for (uint32_t i = 0; i < k; i++) part[i] = htobe64(from[done + i]);
		int r = file_put(fd, part, k * sizeof(*part), at + done * sizeof(*part));
		if (r < 0) return r;
	}
	return 0;
}

static int tables_load(struct qcow2 *q, int fd, struct err *e)
{
	q->l1 = calloc(q->l1_size + 1, sizeof(*q->l1));
	q->reftable = calloc(q->reftable_size + 1, sizeof(*q->reftable));
	q->spare = malloc(cluster_size(q));
	if (!q->l1 || !q->reftable || !q->spare ||
	    cache_init(&q->l2, fd, cluster_size(q), L2_CACHE) < 0 ||
	    cache_init(&q->refs, fd, cluster_size(q), REFS_CACHE) < 0)
		return fail(e, -ENOMEM, "out of memory");
	packed_init(&q->packed, q->packing, cluster_size(q));
	if (table_read(fd, q->l1, q->l1_size, q->l1_at) < 0)
		return fail(e, -EIO, "the L1 table cannot be read: the file is cut short");
	if (table_read(fd, q->reftable, q->reftable_size, q->reftable_at) < 0)
		return fail(e, -EIO, "the refcount table cannot be read: the file is cut short");
	return 0;
}

int qcow2_features_write(struct qcow2 *q)
{
	uint8_t v[24];
	if (q->version < 3) return 0;
	be64_put(v, q->incompatible);
	be64_put(v + 8, q->compatible);
	be64_put(v + 16, q->autoclear);
	int r = file_put(q->b.fd, v, sizeof(v), H_INCOMPATIBLE);
	return r ? r : file_sync(q->b.fd);
}

/* An image that was not closed has counts that may be too low: they are counted anew. */
static int write_begin(struct qcow2 *q, unsigned flags, struct err *e)
{
	struct blk_report rep = {0};
	if (flags & BLK_REPAIR) return 0;
	if (q->incompatible & INCOMPATIBLE_CORRUPT)
		return fail(
			e, -EUCLEAN,
			"is marked corrupt: lodge image check --repair all, or open it read-only");
	if (q->incompatible & INCOMPATIBLE_DIRTY) {
		int r = qcow2_check(&q->b, BLK_FIX_ALL, &rep, e);
		if (r < 0) return r;
		if (rep.corruptions)
			return fail(e, -EUCLEAN, "was not closed, and cannot be mended: %s",
				    rep.first);
		q->incompatible &= ~(uint64_t)INCOMPATIBLE_DIRTY;
	} else if (!q->autoclear)
		return 0;
	q->autoclear = 0;
	int r = qcow2_features_write(q);
	return r < 0 ? fail(e, r, "its header cannot be written (%s)", strerror(-r)) : 0;
}

static void qcow2_free(struct qcow2 *q)
{
	cache_done(&q->l2);
	cache_done(&q->refs);
	packed_done(&q->packed);
	(void)pthread_rwlock_destroy(&q->lock);
	free(q->spare);
	free(q->l1);
	free(q->reftable);
	free(q);
}

static int snapshot_pick(void *ctx, const struct qcow2_snapshot *s)
{
	struct qcow2_snapshot *want = ctx;
	if (strcmp(s->is.id, want->is.name) && strcmp(s->is.name, want->is.name)) return 0;
	*want = *s;
	return 1;
}

/* The disk as a snapshot has it: its L1 table takes the place of the image's. */
static int snapshot_load(struct qcow2 *q, int fd, const char *name, struct err *e)
{
	struct qcow2_snapshot s = {0};
	(void)strncpy(s.is.name, name, sizeof(s.is.name) - 1);
	int r = qcow2_snapshot_each(q, snapshot_pick, &s, NULL, e);
	if (r < 0) return r;
	if (!r) return fail(e, -ENOENT, "has no snapshot '%s'", name);
	q->l1_size = s.l1_size;
	q->l1_at = s.l1_at;
	q->size = s.is.size;
	if ((uint64_t)s.l1_size * 8 > L1_BYTES_MAX || !place_ok(q, s.l1_at, s.l1_size * 8ull) ||
	    !q->size || (q->size - 1) >> (q->cluster_bits + l2_bits(q)) >= s.l1_size)
		return fail(e, -EINVAL, "snapshot '%s' has an impossible L1 table", name);
	free(q->l1);
	q->l1 = calloc(q->l1_size + 1, sizeof(*q->l1));
	if (!q->l1) return fail(e, -ENOMEM, "out of memory");
	r = table_read(fd, q->l1, q->l1_size, q->l1_at);
	return r < 0 ? fail(e, r, "snapshot '%s' cannot be read", name) : 0;
}

static int header_load(struct qcow2 *q, int fd, struct err *e)
{
	uint8_t h[HEADER_MAX] = {0};
	if (file_get(fd, h, sizeof(h), 0) < 0) return wrong_format(e, "qcow2");
	int r = header_parse(q, h, e);
	if (r < 0) return r;
	size_t n = cluster_size(q) < sizeof(h) ? cluster_size(q) : sizeof(h);
	return backing_parse(q, fd, h, n, e);
}

static void info_fill(struct qcow2 *q, const struct blk_opts *o)
{
	bool ro = o->flags & BLK_RDONLY;
	q->b.unit = cluster_size(q);
	/* A ragged last sector is the disk's, and zero behind its end. */
	q->b.info = (struct blk_info){(q->size + 511) & ~511ull, 512, ro, !ro};
}

static int qcow2_load(struct qcow2 *q, const struct blk_file *f, struct err *e)
{
	const struct blk_opts *o = f->opts;
	q->b.fd = f->fd;
	int r = header_load(q, f->fd, e);
	if (!r) r = tables_load(q, f->fd, e);
	if (!r && o->snapshot) {
		if (!(o->flags & BLK_RDONLY))
			r = fail(e, -EROFS, "a snapshot inside an image can only be read");
		if (!r) r = snapshot_load(q, f->fd, o->snapshot, e);
	}
	if (r < 0) return r;
	info_fill(q, o);
	r = backing_open(&q->b, f, q->backing, q->backing_format, e);
	if (!r && !(o->flags & BLK_RDONLY)) r = write_begin(q, o->flags, e);
	return r;
}

static int qcow2_open(struct blk **out, const struct blk_file *f, struct err *e)
{
	pthread_rwlockattr_t fair;
	struct qcow2 *q = calloc(1, sizeof(*q));
	if (!q) return fail(e, -ENOMEM, "out of memory");
	(void)pthread_rwlockattr_init(&fair);
	(void)pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&q->lock, &fair);
	(void)pthread_rwlockattr_destroy(&fair);
	int r = qcow2_load(q, f, e);
	if (r < 0) {
		blk_unref(q->b.backing);
		qcow2_free(q);
		return r;
	}
	*out = &q->b;
	return 0;
}

static int qcow2_names(int fd, struct blk_about *to, struct err *e)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	if (!q) return fail(e, -ENOMEM, "out of memory");
	int r = header_load(q, fd, e);
	memcpy(to->backing, q->backing, sizeof(q->backing));
	memcpy(to->backing_format, q->backing_format, sizeof(q->backing_format));
	free(q);
	return r;
}

static void qcow2_close(struct blk *b)
{
	struct qcow2 *q = qcow2_of(b);
	int r = b->info.readonly ? 0 : tables_settle(q);
	if (r < 0 && !q->bad)
		log_error("qcow2: what was written last may be lost (%s)", strerror(-r));
	qcow2_free(q);
}

static void qcow2_about(struct blk *b, struct blk_about *to)
{
	struct qcow2 *q = qcow2_of(b);
	to->size = q->size;
	to->version = q->version;
	to->unit = cluster_size(q);
	to->dirty = q->incompatible & INCOMPATIBLE_DIRTY;
	to->corrupt = q->incompatible & INCOMPATIBLE_CORRUPT;
	to->lazy = q->compatible & COMPATIBLE_LAZY;
	to->nsnapshots = q->nsnapshots;
	to->refcount_bits = 1u << q->refcount_order;
	memcpy(to->backing, q->backing, sizeof(q->backing));
	memcpy(to->backing_format, q->backing_format, sizeof(q->backing_format));
	(void)strcpy(to->compression, q->packing == PACKING_ZSTD ? "zstd" : "zlib");
}

const struct blk_ops blk_qcow2 = {
	.name = "qcow2",
	.writes = true,
	.probe = qcow2_probe,
	.names = qcow2_names,
	.open = qcow2_open,
	.run = qcow2_run,
	.map = qcow2_map,
	.read_now = qcow2_read_now,
	.close = qcow2_close,
	.create = qcow2_create,
	.resize = qcow2_resize,
	.check = qcow2_check,
	.about = qcow2_about,
	.pack = qcow2_pack,
};
