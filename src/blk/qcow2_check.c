/* qcow2: count from the tables who uses which cluster, and compare with what the file has counted.
 * Too low a count is corruption, because the cluster will be given away; too high a one is a leak.
 * An image that was not closed by a program with lazy refcounts is mended by the same way. */
#include "base/own.h"
#include "base/types.h"
#include "blk/be.h"
#include "blk/qcow2.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNTED_BYTES = 1 << 30 };
#define TABLE_BYTES_MAX (64ull << 30)

struct census {
	struct qcow2 *q;
	struct blk_report *rep;
	enum blk_fix fix;
	uint32_t *used;	    /* a count for each cluster of the file */
	uint64_t n, tables; /* clusters of the file; L2 tables that may still be looked at */
	uint8_t *table;	    /* a cluster */
	int failed;	    /* to read something: nothing may be mended */
};

__attribute__((format(printf, 2, 3))) static void corrupt(struct census *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (!c->rep->corruptions++) (void)vsnprintf(c->rep->first, sizeof(c->rep->first), fmt, ap);
	va_end(ap);
}

static void count(struct census *c, uint64_t at, uint64_t bytes, const char *what)
{
	const struct qcow2 *q = c->q;
	uint64_t first = at >> q->cluster_bits, last = (at + bytes - 1) >> q->cluster_bits;
	if (!bytes) return;
	if (at + bytes < at || last >= c->n) {
		corrupt(c, "%s at %#llx: behind the end of the file", what, (unsigned long long)at);
		c->failed = -EIO;
		return;
	}
	for (uint64_t i = first; i <= last; i++) c->used[i]++;
}

static void count_entry(struct census *c, uint64_t entry, bool active)
{
	enum extent_kind kind;
	uint64_t at = entry & ENTRY_OFFSET;
	uint32_t len = cluster_size(c->q);
	if (entry_kind(c->q, entry, &kind) < 0) {
		corrupt(c, "an L2 entry of %#llx", (unsigned long long)entry);
		c->failed = -EIO;
		return;
	}
	if (kind == EXTENT_PACKED) packed_where(c->q, entry, &at, &len);
	if (active && kind != EXTENT_NONE) c->rep->allocated++;
	if (at) count(c, at, len, "a cluster of data");
}

static void count_l2(struct census *c, uint64_t at, bool active)
{
	struct qcow2 *q = c->q;
	count(c, at, cluster_size(q), "an L2 table");
	if (c->failed) return;
	if (!c->tables--) {
		corrupt(c, "more L2 tables than the file can hold");
		c->failed = -EIO;
		return;
	}
	if (file_get(q->b.fd, c->table, cluster_size(q), at) < 0) {
		corrupt(c, "the L2 table at %#llx cannot be read", (unsigned long long)at);
		c->failed = -EIO;
		return;
	}
	for (uint32_t i = 0; i < 1u << l2_bits(q); i++)
		count_entry(c, be64_at(c->table + i * 8), active);
}

static void count_l1(struct census *c, const uint64_t *l1, uint32_t n, bool active)
{
	for (uint32_t i = 0; i < n && !c->failed; i++) {
		if (!l1_entry_ok(c->q, l1[i])) {
			corrupt(c, "an L1 entry of %#llx", (unsigned long long)l1[i]);
			c->failed = -EIO;
		} else if (l1[i] & ENTRY_OFFSET)
			count_l2(c, l1[i] & ENTRY_OFFSET, active);
	}
}

static int count_snapshot(void *ctx, const struct qcow2_snapshot *s)
{
	struct census *c = ctx;
	uint64_t bytes = s->l1_size * 8ull;
	if (!s->l1_size) return 0;
	if (bytes > L1_BYTES_MAX || cluster_rest(c->q, s->l1_at)) {
		corrupt(c, "snapshot %.60s: an impossible L1 table", s->is.id);
		c->failed = -EIO;
		return 0;
	}
	count(c, s->l1_at, bytes, "a snapshot's L1 table");
	if (c->failed) return 0;
	auto_mem uint64_t *l1 = calloc(s->l1_size, sizeof(*l1));
	if (!l1) return -ENOMEM;
	int r = table_read(c->q->b.fd, l1, s->l1_size, s->l1_at);
	if (!r) count_l1(c, l1, s->l1_size, false);
	return r;
}

static int count_snapshots(struct census *c, struct err *e)
{
	uint64_t end = c->q->snapshots_at;
	if (!c->q->nsnapshots) return 0;
	int r = qcow2_snapshot_each(c->q, count_snapshot, c, &end, e);
	if (r < 0) return r;
	count(c, c->q->snapshots_at, end - c->q->snapshots_at, "the snapshot table");
	return 0;
}

/* A block out of place counts nothing: with a fix it is left out and made anew. */
static void count_blocks(struct census *c)
{
	struct qcow2 *q = c->q;
	for (uint32_t i = 0; i < q->reftable_size; i++) {
		uint64_t at = q->reftable[i];
		if (!at) continue;
		if (cluster_rest(q, at) || at >> q->cluster_bits >= c->n) {
			corrupt(c, "refcount block %u at %#llx", i, (unsigned long long)at);
			q->reftable[i] = 0;
			span_add(&q->reftable_dirty, i);
		} else
			count(c, at, cluster_size(q), "a refcount block");
	}
}

/* Spec, "Bitmaps extension": only while its autoclear bit says that it is valid. */
static void count_bitmaps(struct census *c)
{
	if (c->q->autoclear & AUTOCLEAR_BITMAPS && !c->rep->first[0])
		(void)strcpy(c->rep->first, "it holds dirty bitmaps, which count as leaks here");
}

static int count_all(struct census *c, struct err *e)
{
	struct qcow2 *q = c->q;
	count(c, 0, cluster_size(q), "the header");
	count(c, q->l1_at, q->l1_size * 8ull, "the L1 table");
	count(c, q->reftable_at, q->reftable_size * 8ull, "the refcount table");
	count_l1(c, q->l1, q->l1_size, true);
	int r = count_snapshots(c, e);
	if (r < 0) return r;
	count_blocks(c);
	count_bitmaps(c);
	return 0;
}

/* A region without a block that needs one: a free cluster of its own takes it. */
static int block_add(struct census *c, uint64_t region)
{
	struct qcow2 *q = c->q;
	uint64_t per = refs_per_block(q), at = region * per, end = at + per;
	while (at < end && at < c->n && c->used[at]) at++;
	if (at == end || region >= q->reftable_size) return -EFBIG;
	if (at < c->n) c->used[at] = 1;
	return refs_block_make(q, region, at);
}

static int mend(struct census *c, uint64_t cluster, uint64_t is)
{
	struct qcow2 *q = c->q;
	uint64_t region = cluster / refs_per_block(q);
	int r = 0;
	if (c->fix == BLK_FIX_NONE || (c->fix == BLK_FIX_LEAKS && is < c->used[cluster])) return 0;
	if (region >= q->reftable_size) return 0;
	if (tables_pressing(q)) r = tables_write(q);
	if (!r && !q->reftable[region]) r = block_add(c, region);
	if (!r) r = refs_set(q, cluster, c->used[cluster]);
	if (!r) c->rep->fixed++;
	return r < 0 ? r : 1;
}

static int compare_one(struct census *c, uint64_t i)
{
	struct qcow2 *q = c->q;
	uint64_t is, region = i / refs_per_block(q);
	if (region >= q->reftable_size || !q->reftable[region]) {
		is = 0;
	} else {
		int r = refs_get(q, i, &is);
		if (r < 0) return r;
	}
	if (is == c->used[i]) return 0;
	int r = mend(c, i, is);
	if (r) return r < 0 ? r : 0;
	if (is < c->used[i])
		corrupt(c, "cluster %llu is used %u times and counted %llu times",
			(unsigned long long)i, c->used[i], (unsigned long long)is);
	else
		c->rep->leaks++;
	return 0;
}

static bool wants_copied(struct census *c, uint64_t at)
{
	uint64_t i = at >> c->q->cluster_bits;
	return i < c->n && c->used[i] == 1;
}

/* The flag that lets writes go where the data is. -EIO stays with the table's own reader. */
static int flags_of_l2(struct census *c, uint32_t l1)
{
	struct qcow2 *q = c->q;
	uint64_t at = q->l1[l1] & ENTRY_OFFSET;
	bool touched = false;
	int r = file_get(q->b.fd, c->table, cluster_size(q), at);
	for (uint32_t i = 0; !r && i < 1u << l2_bits(q); i++) {
		uint64_t e = be64_at(c->table + i * 8), want = e & ~ENTRY_COPIED;
		if (e & ENTRY_PACKED ? !(e & ENTRY_COPIED) : !(e & ENTRY_OFFSET)) continue;
		if (!(e & ENTRY_PACKED) && wants_copied(c, e & ENTRY_OFFSET)) want |= ENTRY_COPIED;
		if (e == want) continue;
		if (c->fix == BLK_FIX_ALL) {
			be64_put(c->table + i * 8, want);
			touched = true;
			c->rep->fixed++;
		} else
			corrupt(c, "an L2 entry of %#llx, which is used %s", (unsigned long long)e,
				want & ENTRY_COPIED ? "once" : "otherwise");
	}
	cache_drop(&q->l2, at);
	return r || !touched ? r : file_put(q->b.fd, c->table, cluster_size(q), at);
}

static int flags_check(struct census *c)
{
	struct qcow2 *q = c->q;
	int r = 0;
	for (uint32_t i = 0; !r && i < q->l1_size; i++) {
		uint64_t e = q->l1[i], want = e & ~ENTRY_COPIED;
		if (!(e & ENTRY_OFFSET)) continue;
		if (wants_copied(c, e & ENTRY_OFFSET)) want |= ENTRY_COPIED;
		if (e != want && c->fix != BLK_FIX_ALL)
			corrupt(c, "an L1 entry of %#llx, which is used otherwise",
				(unsigned long long)e);
		if (e != want && c->fix == BLK_FIX_ALL) {
			q->l1[i] = want;
			span_add(&q->l1_dirty, i);
			c->rep->fixed++;
		}
		r = flags_of_l2(c, i);
	}
	return r;
}

static int marks_clear(struct census *c)
{
	struct qcow2 *q = c->q;
	int r = c->rep->fixed ? tables_settle(q) : 0;
	if (r < 0 || c->fix != BLK_FIX_ALL || c->rep->corruptions) return r;
	q->incompatible &= ~(uint64_t)(INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT);
	return qcow2_features_write(q);
}

static int census_run(struct census *c, struct err *e)
{
	int r = count_all(c, e);
	if (r < 0) return r;
	/* What is damaged in itself cannot be counted, let alone mended. */
	if (c->failed) c->fix = BLK_FIX_NONE;
	if (c->fix == BLK_FIX_ALL) {
		c->rep->corruptions = 0;
		c->rep->first[0] = 0;
	}
	for (uint64_t i = 0; !r && i < c->n; i++) r = compare_one(c, i);
	if (!r && !c->failed) r = flags_check(c);
	if (!r && c->fix != BLK_FIX_NONE) r = marks_clear(c);
	return r < 0 ? fail(e, r, "cannot be checked to the end (%s)", strerror(-r)) : 0;
}

int qcow2_check(struct blk *b, enum blk_fix fix, struct blk_report *rep, struct err *e)
{
	struct qcow2 *q = qcow2_of(b);
	struct census c = {.q = q, .rep = rep, .fix = fix};
	uint64_t size;
	int r = file_size(q->b.fd, &size);
	if (r < 0) return fail(e, r, "its size cannot be told");
	c.n = clusters_for(q, size);
	if (c.n > COUNTED_BYTES / sizeof(*c.used))
		return fail(e, -EFBIG, "has too many clusters to count");
	auto_mem uint32_t *used = c.used = calloc(c.n + 1, sizeof(*c.used));
	auto_mem uint8_t *table = c.table = malloc(cluster_size(q));
	if (!used || !table) return fail(e, -ENOMEM, "out of memory");
	c.tables = (c.n + 1) * (1 + q->nsnapshots);
	if (c.tables > TABLE_BYTES_MAX >> q->cluster_bits)
		c.tables = TABLE_BYTES_MAX >> q->cluster_bits;
	*rep = (struct blk_report){.units = clusters_for(q, q->size)};
	(void)pthread_rwlock_wrlock(&q->lock);
	r = q->nfreed || q->refs.dirty ? tables_settle(q) : 0;
	if (!r) r = census_run(&c, e);
	(void)pthread_rwlock_unlock(&q->lock);
	return r;
}
