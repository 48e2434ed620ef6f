#ifndef GUEST_SNAPSHOT_IMPL_H
#define GUEST_SNAPSHOT_IMPL_H
#include "base/types.h"
#include "guest/snapshot.h"
/* What the writer and the reader of snapshots agree on. */
#define SNAPSHOT_MAGIC "LODGESNP"
enum { SNAPSHOT_VERSION = 1, SNAPSHOT_SECTIONS = 4096 };
#define SNAPSHOT_MEMORY "memory " /* and its base in hexadecimal: the name of such a section */

struct snapshot_head { /* zeroes up to SNAPSHOT_PAGE; crc is of all that, with crc 0 */
	uint8_t magic[8];
	le32 version, crc;
	le64 length;	/* of the file */
	le64 table;	/* where it begins; it ends the file */
	le32 sections;	/* in it */
	le32 table_crc; /* of all of it */
};
struct snapshot_entry {
	char name[SNAPSHOT_NAME]; /* NUL-ended */
	le32 version, crc;
	le64 offset, length;
} __attribute__((packed)); /* stands anywhere */
struct snapshot_index {	   /* a memory's bytes: this, the bitmap, a le32 for each page present */
	le64 base, len;
	le64 offset;  /* of its pages */
	le64 present; /* how many */
};
static inline uint64_t snapshot_words(uint64_t len) { return (len / SNAPSHOT_PAGE + 63) / 64; }
#endif
