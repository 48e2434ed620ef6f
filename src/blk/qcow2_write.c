/* qcow2: writing. What is there and used once is written in place, beside all reads and others of
 * its kind. Everything else takes the lock alone, a step at a time, so that a cluster that is let
 * go can have nobody still writing to it. */
#include "base/own.h"
#include "base/types.h"
#include "blk/be.h"
#include "blk/qcow2.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_IN_PLACE = 1, OVER_TABLES = 2 };
enum { STEP_CLUSTERS = 1024, STEP_BYTES = 4 << 20, ZERO_BYTES = 64 * 1024 };

static int entry_at(struct qcow2 *q, uint64_t off, uint64_t *entry)
{
	uint8_t *table;
	uint64_t l1 = q->l1[l1_index(q, off)];
	*entry = 0;
	if (!(l1 & ENTRY_OFFSET)) return 0;
	if (!l1_entry_ok(q, l1)) return -EIO;
	(void)pthread_mutex_lock(&q->l2.mutex);
	int r = cache_get(&q->l2, l1 & ENTRY_OFFSET, &table);
	if (!r) *entry = be64_at(table + l2_index(q, off) * 8);
	(void)pthread_mutex_unlock(&q->l2.mutex);
	return r;
}

static bool in_place(const struct qcow2 *q, uint64_t off, uint64_t entry)
{
	enum extent_kind kind;
	return q->l1[l1_index(q, off)] & ENTRY_COPIED && entry & ENTRY_COPIED &&
	       entry_kind(q, entry, &kind) == 0 && kind == EXTENT_DATA;
}

/* As far as it goes in place from *at on; above 0: why not to the end. */
static int write_in_place(struct qcow2 *q, const struct blk_req *r, uint64_t *at)
{
	struct iovec v[PART_SEGS];
	while (*at < r->len) {
		uint64_t entry, off = r->off + *at, in = cluster_rest(q, off);
		struct extent x;
		int bad = entry_at(q, off, &entry);
		if (bad < 0) return bad;
		if (!in_place(q, off, entry)) return NOT_IN_PLACE;
		uint64_t most = r->len - *at;
		/* What goes on in the file may do so without being ours alone: a cluster a time. */
		if (most > cluster_size(q) - in) most = cluster_size(q) - in;
		x.at = (entry & ENTRY_OFFSET) + in;
		struct blk_req p = req_part(r, *at, most, x.at, v);
		if (hits_tables(q, p.off, p.len)) return OVER_TABLES;
		bad = file_run(q->b.fd, &p, 0);
		if (bad < 0) return bad;
		*at += p.len;
	}
	return 0;
}

/* The L2 table for off, its entries ours to change. */
static int l2_own(struct qcow2 *q, uint64_t off, uint8_t **table)
{
	uint32_t i = l1_index(q, off);
	uint64_t old = q->l1[i], cluster, got;
	uint8_t *from;
	if (!l1_entry_ok(q, old)) return qcow2_spoilt(q);
	if (old & ENTRY_COPIED && old & ENTRY_OFFSET)
		return cache_get(&q->l2, old & ENTRY_OFFSET, table);
	int r = refs_take(q, 1, &cluster, &got);
	if (r < 0) return r;
	if (old & ENTRY_OFFSET) r = cache_get(&q->l2, old & ENTRY_OFFSET, &from);
	if (!r && old & ENTRY_OFFSET) memcpy(q->spare, from, cluster_size(q));
	if (!r) r = cache_make(&q->l2, cluster << q->cluster_bits, table);
	if (r < 0) {
		(void)refs_release(q, cluster, 1);
		return r;
	}
	if (old & ENTRY_OFFSET) {
		memcpy(*table, q->spare, cluster_size(q));
		refs_free_later(q, (old & ENTRY_OFFSET) >> q->cluster_bits);
	}
	q->l1[i] = cluster << q->cluster_bits | ENTRY_COPIED;
	span_add(&q->l1_dirty, i);
	return 0;
}

/* The disk's old contents, less than a cluster. */
static int read_old(struct qcow2 *q, uint64_t from, uint64_t len, uint8_t *to)
{
	struct iovec v = {to, len};
	struct blk_req r = {.op = BLK_READ, .off = from, .len = len, .iov = &v, .niov = 1};
	return len ? qcow2_read_locked(q, &r) : 0;
}

/* A cluster of which r has a part, old contents around it: one write of all of it. */
static int fill_one(struct qcow2 *q, const struct blk_req *r, uint64_t at, uint64_t len,
		    uint64_t host)
{
	uint64_t in = cluster_rest(q, r->off + at), begin = r->off + at - in, end = in + len;
	struct iovec v[PART_SEGS];
	int bad = read_old(q, begin, in, q->spare);
	if (!bad) bad = read_old(q, begin + end, cluster_size(q) - end, q->spare + end);
	for (uint64_t done = 0; !bad && done < len;) {
		struct blk_req p = req_part(r, at + done, len - done, 0, v);
		for (int i = 0; i < p.niov; done += v[i++].iov_len)
			memcpy(q->spare + in + done, v[i].iov_base, v[i].iov_len);
	}
	return bad ? bad : file_put(q->b.fd, q->spare, cluster_size(q), host);
}

/* Old contents of [from, to) of the disk, into a new cluster whose data begins at `at`. */
static int copy_old(struct qcow2 *q, uint64_t from, uint64_t to, uint64_t at)
{
	if (from == to) return 0;
	int bad = read_old(q, from, to - from, q->spare);
	return bad ? bad : file_put(q->b.fd, q->spare, to - from, at);
}

static int fill_new(struct qcow2 *q, const struct blk_req *r, uint64_t at, uint64_t len,
		    uint64_t host)
{
	struct iovec v[PART_SEGS];
	uint64_t off = r->off + at, begin = off - cluster_rest(q, off), end = off + len;
	uint64_t last = (end + cluster_size(q) - 1) & ~(uint64_t)(cluster_size(q) - 1);
	if (last - begin == cluster_size(q) && len < cluster_size(q))
		return fill_one(q, r, at, len, host);
	int bad = copy_old(q, begin, off, host);
	if (!bad) bad = copy_old(q, end, last, host + (end - begin));
	for (uint64_t done = 0; !bad && done < len;) {
		struct blk_req p =
			req_part(r, at + done, len - done, host + (off - begin) + done, v);
		bad = file_run(q->b.fd, &p, 0);
		done += p.len;
	}
	return bad;
}

/* How many clusters from off on need a new place, at most want, within this table. */
static int new_row(struct qcow2 *q, const uint8_t *table, uint64_t off, uint64_t want, uint64_t *n)
{
	uint32_t i = l2_index(q, off), end = 1u << l2_bits(q);
	enum extent_kind kind;
	for (*n = 0; *n < want && i < end; i++, ++*n) {
		uint64_t entry = be64_at(table + i * 8);
		if (entry_kind(q, entry, &kind) < 0) return qcow2_spoilt(q);
		if (in_place(q, off, entry)) break;
	}
	return 0;
}

static int entries_put(struct qcow2 *q, uint64_t off, uint64_t n, uint64_t cluster)
{
	uint8_t *table;
	int r = l2_own(q, off, &table);
	if (r < 0) return r;
	for (uint64_t i = 0; i < n; i++) {
		uint8_t *e = table + (l2_index(q, off) + i) * 8;
		entry_free_later(q, be64_at(e));
		be64_put(e, (cluster + i) << q->cluster_bits | ENTRY_COPIED);
	}
	cache_dirty(&q->l2, table);
	return 0;
}

/* New clusters for the disk's bytes from r->off + *at on, as many as one step takes. */
static int write_new(struct qcow2 *q, const struct blk_req *r, uint64_t *at)
{
	uint64_t off = r->off + *at, in = cluster_rest(q, off), cluster, n;
	uint64_t want = clusters_for(q, in + r->len - *at), most = STEP_BYTES >> q->cluster_bits;
	uint8_t *table;
	if (want > most) want = most;
	if (want > STEP_CLUSTERS) want = STEP_CLUSTERS;
	int bad = l2_own(q, off, &table);
	if (!bad) bad = new_row(q, table, off, want, &n);
	if (bad < 0 || !n) return bad; /* none: somebody else was here first */
	bad = refs_take(q, n, &cluster, &n);
	if (bad < 0) return bad;
	uint64_t len = (n << q->cluster_bits) - in;
	if (len > r->len - *at) len = r->len - *at;
	bad = fill_new(q, r, *at, len, cluster << q->cluster_bits);
	if (!bad) bad = entries_put(q, off, n, cluster);
	if (bad < 0)
		(void)refs_release(q, cluster, n);
	else
		*at += len;
	return bad;
}

static int relieve(struct qcow2 *q) { return tables_pressing(q) ? tables_write(q) : 0; }

static int write_step(struct qcow2 *q, const struct blk_req *r, uint64_t *at)
{
	(void)pthread_rwlock_wrlock(&q->lock);
	int bad = q->bad ? -EIO : relieve(q);
	if (!bad) bad = write_new(q, r, at);
	if (!bad) bad = relieve(q);
	(void)pthread_rwlock_unlock(&q->lock);
	return bad;
}

static int write_some(struct qcow2 *q, const struct blk_req *r, uint64_t *at)
{
	(void)pthread_rwlock_rdlock(&q->lock);
	int bad = q->bad ? -EIO : write_in_place(q, r, at);
	(void)pthread_rwlock_unlock(&q->lock);
	if (bad == OVER_TABLES) {
		(void)pthread_rwlock_wrlock(&q->lock);
		bad = qcow2_spoilt(q);
		(void)pthread_rwlock_unlock(&q->lock);
	}
	return bad == NOT_IN_PLACE ? write_step(q, r, at) : bad;
}

static int qcow2_write(struct qcow2 *q, const struct blk_req *r)
{
	uint64_t at = 0;
	int bad = 0;
	while (!bad && at < r->len) bad = write_some(q, r, &at);
	return bad;
}

static int write_zeroes(struct qcow2 *q, uint64_t off, uint64_t len)
{
	static const char zeroes[ZERO_BYTES];
	int bad = 0;
	for (uint64_t n; !bad && len; off += n, len -= n) {
		n = len < ZERO_BYTES ? len : ZERO_BYTES;
		struct iovec v = {(void *)zeroes, n};
		struct blk_req r = {.op = BLK_WRITE, .off = off, .len = n, .iov = &v, .niov = 1};
		bad = qcow2_write(q, &r);
	}
	return bad;
}

/* Where it reads as zero already there is nothing to do. */
static int zero_part(struct qcow2 *q, uint64_t off, uint64_t len)
{
	int bad = 0;
	while (!bad && len) {
		struct extent x = {.len = len};
		bad = qcow2_map(&q->b, off, len, &x);
		bool zero = x.kind == EXTENT_ZERO || (x.kind == EXTENT_NONE && !q->b.backing);
		if (!bad && !zero) bad = write_zeroes(q, off, x.len);
		off += x.len;
		len -= x.len;
	}
	return bad;
}

static bool can_clear(const struct qcow2 *q) { return !q->b.backing || q->version >= 3; }

/* n clusters of one table become zero; none of them is left in the file. */
static int clear_row(struct qcow2 *q, uint64_t off, uint64_t n)
{
	uint64_t zero = q->b.backing ? ENTRY_ZERO : 0;
	uint8_t *table;
	if (!(q->l1[l1_index(q, off)] & ENTRY_OFFSET) && !zero) return 0;
	int bad = l2_own(q, off, &table);
	if (bad < 0) return bad;
	for (uint64_t i = 0; i < n; i++) {
		uint8_t *e = table + (l2_index(q, off) + i) * 8;
		enum extent_kind kind;
		if (be64_at(e) == zero) continue;
		if (entry_kind(q, be64_at(e), &kind) < 0) return qcow2_spoilt(q);
		entry_free_later(q, be64_at(e));
		be64_put(e, zero);
		cache_dirty(&q->l2, table);
	}
	return 0;
}

int qcow2_discard_locked(struct qcow2 *q, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, size = cluster_size(q);
	int bad = q->bad ? -EIO : 0;
	if (end < q->size) end -= cluster_rest(q, end);
	off = (off + size - 1) & ~(size - 1);
	while (!bad && off < end) {
		uint64_t n = clusters_for(q, end - off);
		uint64_t left = (1ull << l2_bits(q)) - l2_index(q, off);
		if (n > left) n = left;
		if (n > STEP_CLUSTERS) n = STEP_CLUSTERS;
		bad = relieve(q);
		if (!bad) bad = clear_row(q, off, n);
		if (!bad) bad = relieve(q);
		off += n << q->cluster_bits;
	}
	return bad;
}

/* The lock is let go between rows: a whole disk may be discarded at once. */
static int clear_whole(struct qcow2 *q, uint64_t off, uint64_t end)
{
	uint64_t most = (uint64_t)STEP_CLUSTERS << q->cluster_bits;
	int bad = 0;
	for (uint64_t n; !bad && off < end; off += n) {
		n = end - off < most ? end - off : most;
		(void)pthread_rwlock_wrlock(&q->lock);
		bad = qcow2_discard_locked(q, off, n);
		(void)pthread_rwlock_unlock(&q->lock);
	}
	return bad;
}

static int qcow2_zero(struct qcow2 *q, const struct blk_req *r)
{
	uint64_t size = cluster_size(q), end = r->off + r->len, head, tail;
	head = (r->off + size - 1) & ~(size - 1);
	tail = end < q->size ? end & ~(size - 1) : end;
	if (head >= tail) head = tail = end;
	bool exact = r->op == BLK_ZERO;
	if (!can_clear(q)) return exact ? zero_part(q, r->off, r->len) : 0;
	int bad = exact ? zero_part(q, r->off, head - r->off) : 0;
	if (!bad) bad = clear_whole(q, head, tail);
	return bad || !exact ? bad : zero_part(q, tail, end - tail);
}

static int qcow2_flush(struct qcow2 *q)
{
	if (q->b.info.readonly) return 0;
	(void)pthread_rwlock_rdlock(&q->lock);
	bool clean =
		!q->l2.dirty && !q->refs.dirty && !q->nfreed && q->l1_dirty.from == q->l1_dirty.to;
	(void)pthread_rwlock_unlock(&q->lock);
	int bad = 0;
	if (!clean) {
		(void)pthread_rwlock_wrlock(&q->lock);
		bad = tables_write(q);
		(void)pthread_rwlock_unlock(&q->lock);
	}
	return bad ? bad : file_sync(q->b.fd);
}

static int qcow2_read(struct qcow2 *q, const struct blk_req *r)
{
	(void)pthread_rwlock_rdlock(&q->lock);
	int bad = qcow2_read_locked(q, r);
	(void)pthread_rwlock_unlock(&q->lock);
	return bad;
}

/* A place for len packed bytes: behind the ones before when they end in the middle of a cluster,
 * and on into the next one when that is free. */
static int pack_place(struct qcow2 *q, uint32_t len, uint64_t *at)
{
	uint64_t in = cluster_rest(q, q->pack_at), left = in ? cluster_size(q) - in : 0;
	uint64_t old = q->pack_at >> q->cluster_bits, cluster = 0, got, count;
	int r = left < len ? refs_take(q, 1, &cluster, &got) : 0;
	if (r < 0) return r;
	if (left >= len || (left && cluster == old + 1)) {
		r = refs_get(q, old, &count);
		if (!r) r = refs_set(q, old, count + 1);
		*at = q->pack_at;
	} else {
		*at = cluster << q->cluster_bits;
	}
	q->pack_at = *at + len;
	return r;
}

static int pack_put(struct qcow2 *q, uint64_t off, const void *packed, uint32_t len)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t at = 0;
	uint8_t *table;
	int r = relieve(q);
	if (!r) r = pack_place(q, len, &at);
	if (!r) r = file_put(q->b.fd, packed, len, at);
	if (!r) r = l2_own(q, off, &table);
	if (r < 0) return r;
	uint8_t *e = table + l2_index(q, off) * 8;
	uint64_t more = (at + len - 1) / 512 - at / 512;
	entry_free_later(q, be64_at(e));
	be64_put(e, at | more << x | ENTRY_PACKED);
	cache_dirty(&q->l2, table);
	return 0;
}

int qcow2_pack(struct blk *b, uint64_t off, const void *unit, struct err *e)
{
	struct qcow2 *q = qcow2_of(b);
	uint32_t size = cluster_size(q);
	auto_mem uint8_t *to = malloc(size);
	if (!to) return fail(e, -ENOMEM, "out of memory");
	uint32_t len = packed_make(q->packing, unit, size, to, size - 1);
	if (!len) return blk_rw(b, BLK_WRITE, (void *)unit, size, off);
	(void)pthread_rwlock_wrlock(&q->lock);
	int r = pack_put(q, off, to, len);
	(void)pthread_rwlock_unlock(&q->lock);
	return r;
}

int qcow2_run(struct blk *b, const struct blk_req *r)
{
	struct qcow2 *q = qcow2_of(b);
	switch (r->op) {
	case BLK_READ: return qcow2_read(q, r);
	case BLK_WRITE: return qcow2_write(q, r);
	case BLK_FLUSH: return qcow2_flush(q);
	case BLK_DISCARD:
	case BLK_ZERO: return qcow2_zero(q, r);
	}
	return -EINVAL;
}
