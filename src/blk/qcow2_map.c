/* qcow2: from a place on the disk to one in the file, and reading through that. */
#include "blk/be.h"
#include "blk/qcow2.h"
#include <errno.h>

enum { SECTOR = 512 };

void packed_where(const struct qcow2 *q, uint64_t entry, uint64_t *at, uint32_t *len)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t sectors = (entry & ~(ENTRY_COPIED | ENTRY_PACKED)) >> x;
	*at = entry & ((1ull << x) - 1);
	*len = (uint32_t)((sectors + 1) * SECTOR - (*at & (SECTOR - 1)));
}

int entry_kind(const struct qcow2 *q, uint64_t entry, enum extent_kind *kind)
{
	if (entry & ENTRY_PACKED) {
		*kind = EXTENT_PACKED;
		return 0;
	}
	if (entry & ENTRY_UNUSED || cluster_rest(q, entry & ENTRY_OFFSET)) return -EIO;
	if (entry & ENTRY_ZERO) {
		*kind = EXTENT_ZERO;
		return q->version >= 3 ? 0 : -EIO;
	}
	*kind = entry & ENTRY_OFFSET ? EXTENT_DATA : EXTENT_NONE;
	return 0;
}

/* The one that entry i stands for, into x, from off on; then all that goes on like it. */
static int table_run(const struct qcow2 *q, const uint8_t *table, uint64_t off, uint64_t len,
		     struct extent *x)
{
	uint32_t i = l2_index(q, off), end = 1u << l2_bits(q);
	uint64_t entry = be64_at(table + i * 8), in = cluster_rest(q, off);
	int r = entry_kind(q, entry, &x->kind);
	if (r < 0) return r;
	x->len = cluster_size(q) - in;
	x->at = (entry & ENTRY_OFFSET) + in;
	if (x->kind == EXTENT_PACKED) {
		packed_where(q, entry, &x->at, &x->packed_len);
		x->skip = (uint32_t)in;
		end = 0;
	}
	while (++i < end && x->len < len) {
		enum extent_kind kind;
		entry = be64_at(table + i * 8);
		if (entry_kind(q, entry, &kind) < 0 || kind != x->kind) break;
		if (kind == EXTENT_DATA && (entry & ENTRY_OFFSET) != x->at + x->len) break;
		x->len += cluster_size(q);
	}
	if (x->len > len) x->len = len;
	return 0;
}

/* The table that off needs, at *at; 0: there is none, and x says so for as much as it would cover.
 */
static int table_for(const struct qcow2 *q, uint64_t off, uint64_t *len, uint64_t *at,
		     struct extent *x)
{
	uint32_t i = l1_index(q, off);
	uint64_t span = 1ull << (q->cluster_bits + l2_bits(q)), left = span - (off & (span - 1));
	if (*len > left) *len = left;
	*x = (struct extent){.kind = EXTENT_NONE, .len = *len};
	*at = 0;
	if (i >= q->l1_size) return 0; /* behind a ragged end */
	if (!l1_entry_ok(q, q->l1[i])) return -EIO;
	*at = q->l1[i] & ENTRY_OFFSET;
	return 0;
}

int qcow2_map_locked(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct qcow2 *q = qcow2_of(b);
	uint64_t at;
	uint8_t *table;
	int r = table_for(q, off, &len, &at, x);
	if (r < 0 || !at) return r;
	(void)pthread_mutex_lock(&q->l2.mutex);
	r = cache_get(&q->l2, at, &table);
	if (!r) r = table_run(q, table, off, len, x);
	(void)pthread_mutex_unlock(&q->l2.mutex);
	return r;
}

/* Whoever has the mutex may be reading a table from the disk. */
static int map_now(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct qcow2 *q = qcow2_of(b);
	uint64_t at;
	int r = table_for(q, off, &len, &at, x);
	if (r < 0 || !at) return r;
	if (pthread_mutex_trylock(&q->l2.mutex)) return -EAGAIN;
	const uint8_t *table = cache_peek(&q->l2, at);
	r = table ? table_run(q, table, off, len, x) : -EAGAIN;
	(void)pthread_mutex_unlock(&q->l2.mutex);
	return r;
}

int qcow2_map(struct blk *b, uint64_t off, uint64_t len, struct extent *x)
{
	struct qcow2 *q = qcow2_of(b);
	(void)pthread_rwlock_rdlock(&q->lock);
	int r = qcow2_map_locked(b, off, len, x);
	(void)pthread_rwlock_unlock(&q->lock);
	return r;
}

bool qcow2_read_now(struct blk *b, const struct blk_req *r)
{
	struct qcow2 *q = qcow2_of(b);
	if (pthread_rwlock_tryrdlock(&q->lock)) return false;
	bool ok = image_read_now(b, r, map_now);
	(void)pthread_rwlock_unlock(&q->lock);
	return ok;
}

static int unpack(struct blk *b, const struct extent *x, const struct blk_req *p)
{
	return packed_read(&qcow2_of(b)->packed, b->fd, x, false, p);
}

int qcow2_read_locked(struct qcow2 *q, const struct blk_req *r)
{
	return image_read(&q->b, r, qcow2_map_locked, unpack);
}
