/* qcow2: who uses which cluster, and in which order changes reach the file. The one rule: whatever
 * moment the process or the machine dies, no cluster that a table in the file names is counted too
 * low. So counts go up on the disk before a table names the cluster, data and new tables are there
 * before what points to them, and counts go down, and clusters become free, only after the last
 * table that named them was written. What a crash leaves is clusters counted too high: leaks. */
#include "base/log.h"
#include "base/types.h"
#include "blk/be.h"
#include "blk/qcow2.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

void span_add(struct span *s, uint32_t i)
{
	if (s->to == s->from) *s = (struct span){i, i + 1};
	if (i < s->from) s->from = i;
	if (i >= s->to) s->to = i + 1;
}

uint64_t refs_per_block(const struct qcow2 *q)
{
	return (uint64_t)cluster_size(q) * 8 >> q->refcount_order;
}

static uint64_t count_get(const uint8_t *block, uint64_t i, unsigned order)
{
	unsigned bits = 1u << order;
	switch (order) {
	case 3: return block[i];
	case 4: return be16_at(block + i * 2);
	case 5: return be32_at(block + i * 4);
	case 6: return be64_at(block + i * 8);
	default: return (unsigned)block[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
	}
}

static void count_put(uint8_t *block, uint64_t i, unsigned order, uint64_t v)
{
	unsigned bits = 1u << order, mask = (1u << (bits & 7)) - 1, shift = i * bits % 8;
	switch (order) {
	case 3: block[i] = (uint8_t)v; return;
	case 4: be16_put(block + i * 2, (uint16_t)v); return;
	case 5: be32_put(block + i * 4, (uint32_t)v); return;
	case 6: be64_put(block + i * 8, v); return;
	default: break;
	}
	uint8_t *at = &block[i * bits / 8];
	*at = (uint8_t)((*at & ~(mask << shift)) | (unsigned)v << shift);
}

/* The block that counts a cluster; *block NULL: there is none, so nothing there is used. */
static int block_get(struct qcow2 *q, uint64_t cluster, uint8_t **block)
{
	uint64_t region = cluster / refs_per_block(q);
	*block = NULL;
	if (region >= q->reftable_size || !q->reftable[region]) return 0;
	uint64_t at = q->reftable[region];
	if (cluster_rest(q, at) || at > ENTRY_OFFSET || hits_tables(q, at, cluster_size(q)))
		return qcow2_spoilt(q);
	return cache_get(&q->refs, at, block);
}

int refs_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	uint8_t *block;
	int r = block_get(q, cluster, &block);
	*count = r || !block ? 0 : count_get(block, cluster % refs_per_block(q), q->refcount_order);
	return r;
}

int refs_block_make(struct qcow2 *q, uint64_t region, uint64_t cluster)
{
	uint8_t *block;
	must(region < q->reftable_size);
	if (hits_tables(q, cluster << q->cluster_bits, cluster_size(q))) return qcow2_spoilt(q);
	int r = cache_make(&q->refs, cluster << q->cluster_bits, &block);
	if (r < 0) return r;
	if (cluster / refs_per_block(q) == region)
		count_put(block, cluster % refs_per_block(q), q->refcount_order, 1);
	q->reftable[region] = cluster << q->cluster_bits;
	span_add(&q->reftable_dirty, (uint32_t)region);
	return 0;
}

int refs_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	uint8_t *block;
	int r = block_get(q, cluster, &block);
	if (r < 0) return r;
	must(block);
	count_put(block, cluster % refs_per_block(q), q->refcount_order, count);
	cache_dirty(&q->refs, block);
	if (!count && cluster < q->search) q->search = cluster;
	return 0;
}

/* Counts of what is written there all at once: n clusters from first on, all used once. */
static int grown_counts(struct qcow2 *q, uint64_t first, uint64_t nblocks, uint64_t n)
{
	uint64_t per = refs_per_block(q);
	for (uint64_t i = 0; i < nblocks; i++) {
		memset(q->spare, 0, cluster_size(q));
		for (uint64_t k = 0; k < per && i * per + k < n; k++)
			count_put(q->spare, k, q->refcount_order, 1);
		int r = file_put(q->b.fd, q->spare, cluster_size(q),
				 (first + i) << q->cluster_bits);
		if (r < 0) return r;
	}
	return 0;
}

static int reftable_switch(struct qcow2 *q, uint64_t *table, uint32_t entries, uint64_t at)
{
	uint8_t h[12];
	uint64_t old = q->reftable_at >> q->cluster_bits, n = q->reftable_size >> l2_bits(q);
	int r = table_write(q->b.fd, table, entries, at);
	if (!r) r = file_sync(q->b.fd);
	be64_put(h, at);
	be32_put(h + 8, entries >> l2_bits(q));
	if (!r) r = file_put(q->b.fd, h, sizeof(h), H_REFTABLE);
	if (!r) r = file_sync(q->b.fd);
	if (r < 0) return r;
	free(q->reftable);
	q->reftable = table;
	q->reftable_size = entries;
	q->reftable_at = at;
	q->reftable_dirty = (struct span){0, 0};
	for (uint64_t i = 0; i < n; i++) refs_free_later(q, old + i);
	return 0;
}

/* A larger refcount table, in the first region that the old one does not reach, behind the blocks
 * that count both: nothing else can be there. */
static int reftable_grow(struct qcow2 *q)
{
	uint64_t per = refs_per_block(q), first = q->reftable_size * per;
	uint64_t entries = q->reftable_size + q->reftable_size / 2 + (1ull << l2_bits(q));
	entries &= ~((1ull << l2_bits(q)) - 1);
	uint64_t clusters = entries >> l2_bits(q), blocks = 1;
	while (blocks * per < blocks + clusters) blocks++;
	if (entries * 8 > REFTABLE_BYTES_MAX) return -EFBIG;
	if ((first + blocks + clusters) << q->cluster_bits > ENTRY_OFFSET) return -EFBIG;
	int r = tables_write(q);
	uint64_t *table = calloc(entries, sizeof(*table));
	if (!table) r = -ENOMEM;
	if (!r) memcpy(table, q->reftable, q->reftable_size * sizeof(*table));
	for (uint64_t i = 0; !r && i < blocks; i++)
		table[q->reftable_size + i] = (first + i) << q->cluster_bits;
	if (!r) r = grown_counts(q, first, blocks, blocks + clusters);
	if (!r)
		r = reftable_switch(q, table, (uint32_t)entries,
				    (first + blocks) << q->cluster_bits);
	if (r < 0) free(table);
	return r;
}

/* That a cluster's count can be set: its first cluster takes a new block of a region. */
static int region_ready(struct qcow2 *q, uint64_t cluster)
{
	uint64_t per = refs_per_block(q), region = cluster / per;
	int r = 0;
	if (cluster << q->cluster_bits >= ENTRY_OFFSET) return -EFBIG;
	while (!r && region >= q->reftable_size) r = reftable_grow(q);
	if (r < 0 || q->reftable[region]) return r;
	if (cache_full(&q->refs)) r = tables_write(q);
	return r ? r : refs_block_make(q, region, region * per);
}

/* Counts behind the end of the file are nobody's: a search that meets one has gone astray. */
static int search_free(struct qcow2 *q, uint64_t from, uint64_t *cluster)
{
	uint64_t bytes, per = refs_per_block(q);
	uint8_t *block;
	int r = file_size(q->b.fd, &bytes);
	for (uint64_t end = clusters_for(q, bytes) + per + 2 * CACHE_MOST; !r;) {
		r = region_ready(q, from);
		if (!r) r = block_get(q, from, &block);
		if (r < 0) break;
		for (uint64_t i = from % per; i < per; i++, from++)
			if (!count_get(block, i, q->refcount_order)) {
				*cluster = from;
				return 0;
			}
		if (from > end) r = qcow2_spoilt(q);
	}
	return r;
}

/* How many from there on, at most want, are free and of one region. */
static int row_length(struct qcow2 *q, uint64_t from, uint64_t want, uint64_t *n)
{
	uint64_t per = refs_per_block(q), count = 0;
	if (want > per - from % per) want = per - from % per;
	for (*n = 0; *n < want; ++*n) {
		int r = refs_get(q, from + *n, &count);
		if (r < 0) return r;
		if (count) break;
	}
	return 0;
}

static int row_mark(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	int r = 0;
	if (hits_tables(q, cluster << q->cluster_bits, n << q->cluster_bits))
		return qcow2_spoilt(q);
	for (uint64_t i = 0; !r && i < n; i++) r = refs_set(q, cluster + i, 1);
	return r;
}

int refs_take(struct qcow2 *q, uint64_t want, uint64_t *cluster, uint64_t *got)
{
	if (q->bad) return -EIO;
	int r = search_free(q, q->search, cluster);
	if (!r) r = row_length(q, *cluster, want, got);
	if (!r) r = row_mark(q, *cluster, *got);
	if (!r) q->search = *cluster + *got;
	return r;
}

/* More than one region holds: behind all regions that have a block, after new blocks in a row. */
static int take_long_row(struct qcow2 *q, uint64_t want, uint64_t *cluster)
{
	uint64_t per = refs_per_block(q), blocks = 1, region;
	int r = 0;
	while (blocks * per < blocks + want) blocks++;
	do {
		region = q->reftable_size;
		while (region && !q->reftable[region - 1]) region--;
		if (region + blocks <= q->reftable_size) break;
		r = reftable_grow(q);
	} while (!r);
	for (uint64_t i = 0; !r && i < blocks; i++) {
		if (cache_full(&q->refs)) r = tables_write(q);
		if (!r) r = refs_block_make(q, region + i, region * per + i);
		if (!r) r = refs_set(q, region * per + i, 1);
	}
	*cluster = region * per + blocks;
	return r ? r : row_mark(q, *cluster, want);
}

int refs_take_row(struct qcow2 *q, uint64_t want, uint64_t *cluster)
{
	uint64_t n = 0, from = q->search;
	int r = q->bad ? -EIO : 0;
	if (!r && want > refs_per_block(q) / 2) return take_long_row(q, want, cluster);
	while (!r && n < want) {
		r = search_free(q, from, cluster);
		if (!r) r = row_length(q, *cluster, want, &n);
		from = *cluster + n + 1;
	}
	return r ? r : row_mark(q, *cluster, want);
}

int refs_release(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	int r = 0;
	for (uint64_t i = 0; !r && i < n; i++) r = refs_set(q, cluster + i, 0);
	return r;
}

/* A full list is emptied by tables_write() before the next step; what cannot be kept leaks. */
void refs_free_later(struct qcow2 *q, uint64_t cluster)
{
	if (q->nfreed < FREED_MAX) q->freed[q->nfreed++] = cluster;
}

void entry_free_later(struct qcow2 *q, uint64_t entry)
{
	uint64_t at;
	uint32_t len;
	if (!(entry & ENTRY_PACKED)) {
		if (entry & ENTRY_OFFSET)
			refs_free_later(q, (entry & ENTRY_OFFSET) >> q->cluster_bits);
		return;
	}
	packed_where(q, entry, &at, &len);
	for (uint64_t c = at >> q->cluster_bits; c <= (at + len - 1) >> q->cluster_bits; c++)
		refs_free_later(q, c);
}

static int cluster_let_go(struct qcow2 *q, uint64_t cluster)
{
	uint64_t count, at = cluster << q->cluster_bits;
	if (hits_tables(q, at, cluster_size(q))) return qcow2_spoilt(q);
	int r = refs_get(q, cluster, &count);
	if (r < 0 || !count) return r < 0 ? r : qcow2_spoilt(q);
	r = refs_set(q, cluster, count - 1);
	if (r < 0 || count > 1) return r;
	cache_drop(&q->l2, at);
	(void)fallocate(q->b.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
			(off_t)cluster_size(q));
	return 0;
}

static int freed_apply(struct qcow2 *q)
{
	int r = q->nfreed ? file_sync(q->b.fd) : 0;
	if (q->nfreed) packed_forget(&q->packed);
	while (!r && q->nfreed) {
		if (cache_full(&q->refs)) r = cache_write(&q->refs);
		if (!r) r = cluster_let_go(q, q->freed[q->nfreed - 1]);
		if (!r) q->nfreed--;
	}
	return r;
}

static int span_write(struct qcow2 *q, const uint64_t *table, uint64_t at, struct span *s)
{
	if (s->from == s->to) return 0;
	int r = file_sync(q->b.fd); /* what its entries point to */
	if (!r) r = table_write(q->b.fd, table + s->from, s->to - s->from, at + s->from * 8ull);
	if (!r) *s = (struct span){0, 0};
	return r;
}

int tables_write(struct qcow2 *q)
{
	if (q->bad) return -EIO;
	int r = cache_write(&q->refs);
	if (!r) r = span_write(q, q->reftable, q->reftable_at, &q->reftable_dirty);
	if (!r && (q->l2.dirty || q->l1_dirty.to != q->l1_dirty.from)) r = file_sync(q->b.fd);
	if (!r) r = cache_write(&q->l2);
	if (!r) r = span_write(q, q->l1, q->l1_at, &q->l1_dirty);
	q->unsynced = true;
	return r ? r : freed_apply(q);
}

int tables_settle(struct qcow2 *q)
{
	int r = tables_write(q);
	if (!r) r = tables_write(q); /* the counts that the first let go */
	return r ? r : file_sync(q->b.fd);
}

bool tables_pressing(const struct qcow2 *q)
{
	return cache_full(&q->l2) || cache_full(&q->refs) || q->nfreed > FREED_MAX / 2;
}

static bool overlap(uint64_t a, uint64_t an, uint64_t b, uint64_t bn)
{
	return an && bn && a < b + bn && b < a + an;
}

/* Only what costs nothing to ask: a broken image cannot have these written over, and so cannot be
 * opened as something else the next time. */
bool hits_tables(const struct qcow2 *q, uint64_t at, uint64_t len)
{
	return overlap(at, len, 0, cluster_size(q)) ||
	       overlap(at, len, q->l1_at, q->l1_size * 8ull) ||
	       overlap(at, len, q->reftable_at, q->reftable_size * 8ull) ||
	       overlap(at, len, q->snapshots_at, q->nsnapshots * 40ull);
}

int qcow2_spoilt(struct qcow2 *q)
{
	if (!q->bad && !q->b.info.readonly) {
		log_error("qcow2: the image is damaged: nothing is written to it any more");
		q->bad = true;
		q->incompatible |= INCOMPATIBLE_CORRUPT;
		(void)qcow2_features_write(q);
	}
	return -EIO;
}
