#ifndef BLK_QCOW2_H
#define BLK_QCOW2_H
#include "blk/cache.h"
#include "blk/impl.h"
#include "blk/packed.h"
/* The qcow2 format, versions 2 and 3 (docs/interop/qcow2.rst of QEMU; "spec" below). Its files:
 * qcow2.c open, close, header; qcow2_map.c where bytes lie, and reading; qcow2_write.c changing
 * that; qcow2_refs.c who uses which cluster, and what is written in which order; qcow2_check.c;
 * qcow2_make.c new and larger images, snapshots in the image. */
enum { /* the header: spec, "Header" */
       H_MAGIC = 0,
       H_VERSION = 4,
       H_BACKING = 8,
       H_BACKING_LEN = 16,
       H_CLUSTER_BITS = 20,
       H_SIZE = 24,
       H_CRYPT = 32,
       H_L1_SIZE = 36,
       H_L1 = 40,
       H_REFTABLE = 48,
       H_REFTABLE_CLUSTERS = 56,
       H_NSNAPSHOTS = 60,
       H_SNAPSHOTS = 64,
       H_INCOMPATIBLE = 72, /* from here on version 3 */
       H_COMPATIBLE = 80,
       H_AUTOCLEAR = 88,
       H_REFCOUNT_ORDER = 96,
       H_LENGTH = 100,
       H_COMPRESSION = 104,
       H_V2_LEN = 72,
       H_V3_LEN = 104,
       H_OUR_LEN = 112,
       QCOW2_MAGIC = 0x514649fb
};
enum {
	INCOMPATIBLE_DIRTY = 1,
	INCOMPATIBLE_CORRUPT = 2,
	INCOMPATIBLE_DATA_FILE = 4,
	INCOMPATIBLE_COMPRESSION = 8,
	INCOMPATIBLE_EXTENDED_L2 = 16,
	COMPATIBLE_LAZY = 1,
	AUTOCLEAR_BITMAPS = 1
};
enum { EXTENSION_END = 0, EXTENSION_BACKING_FORMAT = (int)0xe2792aca };
/* Entries of L1 and L2 tables: spec, "Cluster mapping". */
#define ENTRY_COPIED 0x8000000000000000u /* in use once: may be written where it is */
#define ENTRY_PACKED 0x4000000000000000u
#define ENTRY_ZERO   1u
#define ENTRY_OFFSET 0x00fffffffffffe00u
#define ENTRY_UNUSED 0x3f000000000001feu /* reserved bits of a plain L2 entry */
#define L1_UNUSED    0x7f000000000001ffu

enum { CLUSTER_BITS_MIN = 9, CLUSTER_BITS_MAX = 21, NAME_MAX_LEN = 1023 };
#define L1_BYTES_MAX	   (32u << 20)
#define REFTABLE_BYTES_MAX (8u << 20)
enum { SNAPSHOTS_MAX = 65536, FREED_MAX = 8192 };

struct span { /* entries of a table in memory that the file has otherwise */
	uint32_t from, to;
};
struct qcow2 {
	struct blk b;
	/* Shared to read and to write what is there already; alone for all that changes a table.
	 * A cache's own mutex comes after it. */
	pthread_rwlock_t lock;
	unsigned version, cluster_bits, refcount_order, header_len;
	uint64_t incompatible, compatible, autoclear, size;
	uint32_t nsnapshots;
	uint64_t snapshots_at;
	/* Tables kept whole, in the host's byte order. */
	uint64_t *l1, *reftable;
	uint32_t l1_size, reftable_size; /* entries */
	uint64_t l1_at, reftable_at;
	struct span l1_dirty, reftable_dirty;
	struct cache l2, refs;
	struct packed packed;
	enum packing packing;
	uint64_t search;	   /* no cluster before this one is free */
	uint64_t freed[FREED_MAX]; /* clusters to be let go once no table in the file names them */
	unsigned nfreed;
	uint64_t pack_at; /* where packed bytes end, in a cluster that has room for more */
	bool bad;	  /* found corrupt while open: nothing is written any more */
	bool unsynced;	  /* in the file, but not yet on the disk */
	uint8_t *spare;	  /* a cluster; with the lock alone */
	char backing[NAME_MAX_LEN + 1], backing_format[16];
};

static inline struct qcow2 *qcow2_of(struct blk *b) { return (struct qcow2 *)b; }
static inline uint32_t cluster_size(const struct qcow2 *q) { return 1u << q->cluster_bits; }
static inline uint64_t cluster_rest(const struct qcow2 *q, uint64_t at)
{
	return at & (cluster_size(q) - 1);
}
static inline unsigned l2_bits(const struct qcow2 *q) { return q->cluster_bits - 3; }
static inline uint32_t l1_index(const struct qcow2 *q, uint64_t off)
{
	return (uint32_t)(off >> (q->cluster_bits + l2_bits(q)));
}
static inline uint32_t l2_index(const struct qcow2 *q, uint64_t off)
{
	return (uint32_t)(off >> q->cluster_bits) & ((1u << l2_bits(q)) - 1);
}
static inline uint64_t clusters_for(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->cluster_bits) + (cluster_rest(q, bytes) != 0);
}
bool hits_tables(const struct qcow2 *q, uint64_t at, uint64_t len);
static inline bool l1_entry_ok(const struct qcow2 *q, uint64_t e)
{
	uint64_t at = e & ENTRY_OFFSET;
	return !(e & L1_UNUSED) && !cluster_rest(q, at) &&
	       !(at && hits_tables(q, at, cluster_size(q)));
}
/* Where the packed bytes of an entry lie: spec, "Compressed Clusters Descriptor". */
void packed_where(const struct qcow2 *q, uint64_t entry, uint64_t *at, uint32_t *len);
/* -EIO: the entry breaks the format's rules. */
int entry_kind(const struct qcow2 *q, uint64_t entry, enum extent_kind *kind);

/* qcow2_map.c. The _locked need the lock, in either way. */
int qcow2_map(struct blk *b, uint64_t off, uint64_t len, struct extent *x);
int qcow2_map_locked(struct blk *b, uint64_t off, uint64_t len, struct extent *x);
bool qcow2_read_now(struct blk *b, const struct blk_req *r);
int qcow2_read_locked(struct qcow2 *q, const struct blk_req *r);

/* qcow2_write.c */
int qcow2_run(struct blk *b, const struct blk_req *r);
int qcow2_discard_locked(struct qcow2 *q, uint64_t off, uint64_t len); /* whole clusters in it */
int qcow2_pack(struct blk *b, uint64_t off, const void *unit, struct err *e);

/* qcow2_refs.c. All with the lock alone. A cluster is named by its number in the file. */
int refs_get(struct qcow2 *q, uint64_t cluster, uint64_t *count);
int refs_set(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Up to want clusters in a row, used once from now on: *cluster and *got. */
int refs_take(struct qcow2 *q, uint64_t want, uint64_t *cluster, uint64_t *got);
int refs_take_row(struct qcow2 *q, uint64_t want, uint64_t *cluster); /* all of them */
int refs_release(struct qcow2 *q, uint64_t cluster, uint64_t n);      /* that nothing ever named */
/* Once the tables in the file name them no more. */
void refs_free_later(struct qcow2 *q, uint64_t cluster);
void entry_free_later(struct qcow2 *q, uint64_t entry);
/* A block of counts at that cluster, which it counts itself when it is of its own region. */
int refs_block_make(struct qcow2 *q, uint64_t region, uint64_t cluster);
uint64_t refs_per_block(const struct qcow2 *q);
int tables_write(struct qcow2 *q);  /* all that is dirty, in an order that no crash can harm */
int tables_settle(struct qcow2 *q); /* and on the disk */
bool tables_pressing(const struct qcow2 *q); /* it is time for that */
int qcow2_spoilt(struct qcow2 *q);	     /* mark it corrupt; -EIO */
void span_add(struct span *s, uint32_t i);

/* qcow2.c */
int qcow2_features_write(struct qcow2 *q); /* incompatible and autoclear, and sync */
int table_read(int fd, uint64_t *to, uint32_t n, uint64_t at);
int table_write(int fd, const uint64_t *from, uint32_t n, uint64_t at);

/* qcow2_check.c */
int qcow2_check(struct blk *b, enum blk_fix fix, struct blk_report *r, struct err *e);

/* qcow2_make.c */
int qcow2_create(int fd, const struct blk_make *m, struct err *e);
int qcow2_resize(struct blk *b, uint64_t size, struct err *e);
struct qcow2_snapshot {
	struct blk_snapshot is;
	uint64_t l1_at;
	uint32_t l1_size; /* entries */
};
/* fn for each until it returns other than 0, which is returned. *end: where the table ends. */
int qcow2_snapshot_each(struct qcow2 *q, int (*fn)(void *ctx, const struct qcow2_snapshot *s),
			void *ctx, uint64_t *end, struct err *e);
#endif
