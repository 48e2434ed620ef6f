/* qcow2: new images, other sizes, and the list of snapshots that an image holds inside. */
#include "base/own.h"
#include "base/types.h"
#include "blk/be.h"
#include "blk/qcow2.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CLUSTER = 64 * 1024, ORDER = 4 };

/* A new file's clusters: header, refcount table, its blocks, L1 table; nothing is behind them. */
struct plan {
	uint32_t cluster, bits, l1_entries;
	uint64_t table, blocks, l1, all; /* clusters */
};

static uint64_t up(uint64_t n, uint64_t per) { return n / per + (n % per != 0); }

static int plan_make(struct plan *p, const struct blk_make *m, struct err *e)
{
	p->cluster = m->cluster ? m->cluster : DEFAULT_CLUSTER;
	p->bits = (unsigned)__builtin_ctz(p->cluster);
	if (p->cluster & (p->cluster - 1) || p->bits < CLUSTER_BITS_MIN ||
	    p->bits > CLUSTER_BITS_MAX)
		return fail(e, -EINVAL, "clusters of %u bytes: a power of two, 512 to 2M",
			    p->cluster);
	uint64_t entries = up(m->size, (uint64_t)p->cluster * p->cluster / 8);
	if (entries * 8 > L1_BYTES_MAX)
		return fail(e, -EFBIG, "%llu bytes is too large with clusters of %u",
			    (unsigned long long)m->size, p->cluster);
	p->l1_entries = (uint32_t)entries;
	p->l1 = up(entries * 8, p->cluster);
	p->table = p->blocks = 1;
	do {
		p->all = 1 + p->table + p->blocks + p->l1;
		p->blocks = up(p->all, p->cluster / 2);
		p->table = up(p->blocks * 8, p->cluster);
	} while (p->all != 1 + p->table + p->blocks + p->l1);
	return 0;
}

static size_t extension(uint8_t *to, uint32_t type, const char *text)
{
	size_t n = strlen(text);
	be32_put(to, type);
	be32_put(to + 4, (uint32_t)n);
	memcpy(to + 8, text, n);
	return 8 + (n + 7) / 8 * 8;
}

/* Between the header and the backing file's name; returns where that begins. */
static size_t extensions(uint8_t *h, const struct blk_make *m)
{
	size_t at = m->old ? H_V2_LEN : H_OUR_LEN;
	if (m->backing)
		at += extension(h + at, (uint32_t)EXTENSION_BACKING_FORMAT, m->backing_format);
	return at + 8; /* and the end: zeroes */
}

static void version3(uint8_t *h, const struct blk_make *m)
{
	be64_put(h + H_INCOMPATIBLE, m->zstd ? INCOMPATIBLE_COMPRESSION : 0);
	be32_put(h + H_REFCOUNT_ORDER, ORDER);
	be32_put(h + H_LENGTH, H_OUR_LEN);
	h[H_COMPRESSION] = m->zstd;
}

static int header_make(uint8_t *h, size_t room, const struct plan *p, const struct blk_make *m,
		       struct err *e)
{
	size_t name = m->backing ? strlen(m->backing) : 0;
	size_t format = m->backing ? strlen(m->backing_format) : 0;
	if (name > NAME_MAX_LEN || format > 15 || H_OUR_LEN + 32 + format + name > room)
		return fail(e, -ENAMETOOLONG, "the name of what it lies over is too long");
	be32_put(h, QCOW2_MAGIC);
	be32_put(h + H_VERSION, m->old ? 2 : 3);
	be32_put(h + H_CLUSTER_BITS, p->bits);
	be64_put(h + H_SIZE, m->size);
	be32_put(h + H_L1_SIZE, p->l1_entries);
	be64_put(h + H_L1, (1 + p->table + p->blocks) << p->bits);
	be64_put(h + H_REFTABLE, 1ull << p->bits);
	be32_put(h + H_REFTABLE_CLUSTERS, (uint32_t)p->table);
	if (!m->old) version3(h, m);
	size_t at = extensions(h, m);
	if (!name) return 0;
	be64_put(h + H_BACKING, at);
	be32_put(h + H_BACKING_LEN, (uint32_t)name);
	memcpy(h + at, m->backing, name);
	return 0;
}

static int counts_make(int fd, const struct plan *p)
{
	auto_mem uint8_t *block = malloc(p->cluster);
	uint64_t per = p->cluster / 2, entry;
	int r = block ? 0 : -ENOMEM;
	for (uint64_t i = 0; !r && i < p->blocks; i++) {
		uint64_t at = (1 + p->table + i) << p->bits;
		memset(block, 0, p->cluster);
		for (uint64_t k = 0; k < per && i * per + k < p->all; k++)
			be16_put(block + k * 2, 1);
		be64_put(&entry, at);
		r = file_put(fd, block, p->cluster, at);
		if (!r) r = file_put(fd, &entry, 8, (1ull << p->bits) + i * 8);
	}
	return r;
}

int qcow2_create(int fd, const struct blk_make *m, struct err *e)
{
	struct plan p = {0};
	uint8_t h[4096] = {0};
	if (m->old && m->zstd) return fail(e, -EINVAL, "zstd needs version 3");
	if (m->backing && (!m->backing_format || !*m->backing_format))
		return fail(e, -EINVAL, "the format of what it lies over has to be said");
	int r = plan_make(&p, m, e);
	if (r < 0) return r;
	size_t room = p.cluster < sizeof(h) ? p.cluster : sizeof(h);
	r = header_make(h, room, &p, m, e);
	if (r < 0) return r;
	if (ftruncate(fd, (off_t)(p.all << p.bits)) < 0) r = -errno;
	if (!r) r = counts_make(fd, &p);
	if (!r) r = file_put(fd, h, room, 0);
	return r < 0 ? fail(e, r, "%s", strerror(-r)) : 0;
}

/* Where the header names the L1 table and how large the disk is, in one write. */
static int header_resize(struct qcow2 *q)
{
	uint8_t h[24];
	be64_put(h, q->size);
	be32_put(h + H_CRYPT - H_SIZE, 0);
	be32_put(h + H_L1_SIZE - H_SIZE, q->l1_size);
	be64_put(h + H_L1 - H_SIZE, q->l1_at);
	int r = file_sync(q->b.fd);
	if (!r) r = file_put(q->b.fd, h, sizeof(h), H_SIZE);
	return r ? r : file_sync(q->b.fd);
}

static int l1_grow(struct qcow2 *q, uint32_t entries)
{
	uint64_t old = q->l1_at >> q->cluster_bits, n = clusters_for(q, q->l1_size * 8ull), at;
	int r = refs_take_row(q, clusters_for(q, entries * 8ull), &at);
	uint64_t *l1 = calloc(entries + 1, sizeof(*l1));
	if (!l1) r = -ENOMEM;
	if (!r) r = tables_write(q);
	if (l1) memcpy(l1, q->l1, q->l1_size * sizeof(*l1));
	if (!r) r = table_write(q->b.fd, l1, entries, at << q->cluster_bits);
	if (r < 0) {
		free(l1);
		return r;
	}
	free(q->l1);
	q->l1 = l1;
	q->l1_size = entries;
	q->l1_at = at << q->cluster_bits;
	for (uint64_t i = 0; i < n; i++) refs_free_later(q, old + i);
	return 0;
}

static int resize_locked(struct qcow2 *q, uint64_t size)
{
	uint64_t entries = up(size, 1ull << (q->cluster_bits + l2_bits(q))), old = q->size;
	int r = 0;
	if (entries * 8 > L1_BYTES_MAX) return -EFBIG;
	if (size < old) {
		/* Half a cluster that comes back with a later growth has to come back as zeroes;
		 * blk_resize() has written them. */
		r = qcow2_discard_locked(q, size, old - size);
		if (!r) r = tables_settle(q);
	}
	if (!r && entries > q->l1_size) r = l1_grow(q, (uint32_t)entries);
	if (r < 0) return r;
	q->size = size;
	r = header_resize(q);
	return r ? r : tables_settle(q);
}

int qcow2_resize(struct blk *b, uint64_t size, struct err *e)
{
	struct qcow2 *q = qcow2_of(b);
	if (q->nsnapshots && (size < q->size || q->version < 3))
		return fail(e, -ENOTSUP, "holds snapshots of another size; convert it instead");
	(void)pthread_rwlock_wrlock(&q->lock);
	int r = resize_locked(q, size);
	(void)pthread_rwlock_unlock(&q->lock);
	return r < 0 ? fail(e, r, "cannot be given that size (%s)", strerror(-r)) : 0;
}

/* Snapshots: spec, "Snapshots". Entries of any length, one behind the other. */
enum {
	S_L1 = 0,
	S_L1_SIZE = 8,
	S_ID_LEN = 12,
	S_NAME_LEN = 14,
	S_SECONDS = 16,
	S_VM_STATE = 32,
	S_EXTRA = 36,
	S_LEN = 40,
	EXTRA_VM_STATE = 0,
	EXTRA_SIZE = 8,
	EXTRA_MAX = 1024
};

static int text_get(int fd, char *to, size_t room, uint32_t len, uint64_t at)
{
	size_t n = len < room - 1 ? len : room - 1;
	memset(to, 0, room);
	int r = n ? file_get(fd, to, n, at) : 0;
	for (size_t i = 0; i < n; i++)
		if ((to[i] > 0 && to[i] < ' ') || to[i] == 0x7f) to[i] = '?';
	return r;
}

static int snapshot_get(struct qcow2 *q, uint64_t *at, struct qcow2_snapshot *s)
{
	uint8_t h[S_LEN], extra[16] = {0};
	int r = file_get(q->b.fd, h, sizeof(h), *at);
	if (r < 0) return r;
	uint32_t more = be32_at(h + S_EXTRA), id = be16_at(h + S_ID_LEN),
		 name = be16_at(h + S_NAME_LEN);
	if (more > EXTRA_MAX) return -EINVAL;
	if (more) r = file_get(q->b.fd, extra, more < 16 ? more : 16, *at + S_LEN);
	*s = (struct qcow2_snapshot){.l1_at = be64_at(h), .l1_size = be32_at(h + S_L1_SIZE)};
	s->is.seconds = be32_at(h + S_SECONDS);
	s->is.vm_state = more >= 8 ? be64_at(extra) : be32_at(h + S_VM_STATE);
	s->is.size = more >= 16 ? be64_at(extra + EXTRA_SIZE) : q->size;
	if (!r) r = text_get(q->b.fd, s->is.id, sizeof(s->is.id), id, *at + S_LEN + more);
	if (!r)
		r = text_get(q->b.fd, s->is.name, sizeof(s->is.name), name,
			     *at + S_LEN + more + id);
	*at += (S_LEN + more + id + name + 7) & ~7u;
	return r;
}

int qcow2_snapshot_each(struct qcow2 *q, int (*fn)(void *ctx, const struct qcow2_snapshot *s),
			void *ctx, uint64_t *end, struct err *e)
{
	uint64_t at = q->snapshots_at;
	for (uint32_t i = 0; i < q->nsnapshots; i++) {
		struct qcow2_snapshot s;
		int r = snapshot_get(q, &at, &s);
		if (r < 0) return fail(e, r, "snapshot %u of %u is damaged", i, q->nsnapshots);
		r = fn(ctx, &s);
		if (r) return r;
	}
	if (end) *end = at;
	return 0;
}
