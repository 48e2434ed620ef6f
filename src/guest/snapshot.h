#ifndef GUEST_SNAPSHOT_H
#define GUEST_SNAPSHOT_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* The file that a guest's state is saved in: sections of bytes under names, and memory of which
 * only pages that are not zero take room. Little-endian:
 *	header	4096 bytes: magic, version, where the table is, the file's length, checksums
 *	pages	of each memory in turn, 4096 bytes each
 *	bytes	of each section in turn; a memory's are its place and a checksum for each page
 *	table	of sections: name, version, offset, length, checksum
 * All of it is covered by CRC-32C, so that no byte can be altered, nor the file cut, without being
 * refused. What is in the file is not trusted beyond that: a reader checks all it takes from it. */
struct buf;
enum { SNAPSHOT_PAGE = 4096, SNAPSHOT_NAME = 40 };

/* ---- writing */
struct snapshot_out;
struct snapshot_memory {
	uint64_t base, len; /* multiples of SNAPSHOT_PAGE */
	const void *host;
	/* The first run of bytes from `at` on that may not be zero; false: no more. */
	bool (*next)(void *ctx, uint64_t at, uint64_t *from, uint64_t *len);
	void *ctx;
};
/* The file appears under path when it is finished, in the place of what was there, and is then on
 * the disk. Errors of writing come from _finish() at the latest. */
int snapshot_create(struct snapshot_out **out, const char *path, struct err *e);
void snapshot_put(struct snapshot_out *o, const char *name, unsigned version, const struct buf *b);
int snapshot_put_memory(struct snapshot_out *o, const struct snapshot_memory *m, struct err *e);
int snapshot_finish(struct snapshot_out *o, struct err *e); /* frees o, also if it fails */
void snapshot_abandon(struct snapshot_out *o);		    /* nothing is left; NULL is fine */

/* ---- reading */
struct snapshot;
/* Everything is checked before it returns, the pages only if asked to and if there is no mark that
 * this has been done: else each is when it is read. -EBADMSG: it is not one, cut, altered;
 * -EPROTONOSUPPORT: of a version to come. */
int snapshot_open(struct snapshot **out, const char *path, bool pages, struct err *e);
void snapshot_mark(const char *path); /* it has just been written, or all of it checked */
void snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* NULL is fine */
/* A section's bytes, which live as long as s, appended to no copy: b is lent, not to be freed.
 * -ENOENT: there is no such section; -EPROTONOSUPPORT: newer than the version that is known. */
int snapshot_section(const struct snapshot *s, const char *name, unsigned known, struct buf *lent,
		     struct err *e);
const char *snapshot_name(const struct snapshot *s, unsigned n); /* NULL: there are no more */
/* The memory that begins at base. present: a bit a page, the caller's to free(). */
int snapshot_memory_find(const struct snapshot *s, uint64_t base, uint64_t len, unsigned *which,
			 uint64_t **present, struct err *e);
/* Page n of it, which is present. Any thread. -EBADMSG: it was altered meanwhile. */
int snapshot_page(const struct snapshot *s, unsigned which, uint64_t n, void *to, struct err *e);
#endif
