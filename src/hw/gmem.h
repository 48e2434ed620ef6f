#ifndef HW_GMEM_H
#define HW_GMEM_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
/* Guest-physical memory: RAM and ROM, each region one mapping, of a memfd but for gmem_merge().
 * Built by the board before any vCPU starts and never changed after; then read by any thread
 * without a lock. Addresses come from the guest: every call checks the whole range, and a range
 * never spans two regions. Guest memory changes under our feet: read each field once. */
struct gmem;
enum gmem_flag { GMEM_ROM = 1 }; /* the guest may not write it, the host may (gmem_host) */

struct gmem *gmem_new(void);
/* Before any region is added: they are to be private memory instead of files, which is all that the
 * host's KSM makes one of where guests hold the same. gmem_map() and gmem_file() say false of it,
 * and a child of this process does not have it. -ENOTSUP: this kernel has no KSM. */
int gmem_merge(struct gmem *m, struct err *e);
bool gmem_merges(const struct gmem *m);
uint64_t gmem_merged(const struct gmem *m); /* bytes that the host shares so, as ksm_merged() */
/* base and len are multiples of 4 KiB. -ENOMEM, -EEXIST (overlap), -EINVAL. */
int gmem_add(struct gmem *m, gpa_t base, uint64_t len, unsigned flags, struct err *e);
void gmem_free(struct gmem *m);
/* Host pointer to len bytes inside one region (and, for write, not ROM), or NULL. Valid until
 * gmem_free(). A write through it must be followed by gmem_dirty(). */
void *gmem_ptr(struct gmem *m, gpa_t at, size_t len, bool write);
void *gmem_host(struct gmem *m, gpa_t at, size_t len); /* as above, ROM writable: for loaders */
/* The regions, n from 0, the largest first; false: there are no more. */
struct gmem_region {
	gpa_t base;
	uint64_t len;
	unsigned flags;
	void *host;
	int fd; /* the same memory as a file, from its beginning on; gmem's; -1: gmem_merge() */
};
bool gmem_region(const struct gmem *m, unsigned n, struct gmem_region *to);
/* Have pages appear at `host`, too, in place of what is mapped there: not if they are not all of
 * one region, or to be written and ROM. fill: all at once, as they will be used soon. */
bool gmem_map(struct gmem *m, gpa_t at, size_t len, void *host, bool write, bool fill);
/* For who maps them in another process: which region's file they are in, from which offset on. The
 * same ranges as gmem_map()'s; they have come when it returns. */
bool gmem_file(struct gmem *m, gpa_t at, size_t len, bool write, unsigned *region, uint64_t *off);
/* Memory that comes when it is first reached, by any of these functions (gmem_region() aside, whose
 * host address shows what has come). page() is called once for each page of which the bitmap has a
 * bit, to fill in a page of zeroes; from any thread, but one at a time for the same page; it cannot
 * fail. The region is as it was made: nothing has been written to it yet. done: called when the
 * last page has come or the region goes. gmem takes the bitmap over: (len / 4096 + 63) / 64 words.
 */
struct gmem_source {
	void (*page)(void *ctx, uint64_t n, void *to);
	void (*done)(void *ctx);
	void *ctx;
};
int gmem_lazy(struct gmem *m, gpa_t base, uint64_t *bitmap, const struct gmem_source *from,
	      struct err *e);
uint64_t gmem_missing(const struct gmem *m); /* pages that have not come */
void gmem_fetch(struct gmem *m);	     /* all of them, now */
/* The first run of bytes from `at` on that may not be zero: false, there is none in its region.
 * Both are multiples of 4 KiB. What was never written is not looked at, and costs nothing. */
bool gmem_next(const struct gmem *m, gpa_t at, gpa_t *from, uint64_t *len);
/* Give back to the host what the whole pages within the range hold: they read as zeroes then, and
 * count as written. Also while CPUs and devices use them; what was to come (gmem_lazy) does not.
 * false: not RAM, or the host keeps it. */
bool gmem_discard(struct gmem *m, gpa_t at, size_t len);
uint64_t
gmem_resident(const struct gmem *m); /* bytes that the host keeps for it, swapped out too */
bool gmem_read(struct gmem *m, gpa_t at, void *buf, size_t len);
bool gmem_write(struct gmem *m, gpa_t at, const void *buf, size_t len); /* marks dirty */
/* Dirty bitmap, one bit a 4 KiB page; nothing is recorded until tracking is turned on. */
void gmem_track(struct gmem *m, bool on);
bool gmem_tracking(const struct gmem *m);
void gmem_dirty(struct gmem *m, gpa_t at, size_t len); /* any thread, atomic */
void gmem_log(struct gmem *m, gpa_t at, size_t len);   /* the same, but no seal is broken */
/* Pages of code. A sealed page is one that somebody has made something of: gmem_dirty() breaks the
 * seal and notes that. Only for one hart, which sees to its own ways of writing. */
enum { GMEM_NOTES = 512 };
bool gmem_seal(struct gmem *m, gpa_t page);		  /* false: the page is open */
void gmem_open(struct gmem *m, gpa_t at, size_t len);	  /* writes are not told of from here on */
bool gmem_was_sealed(const struct gmem *m, gpa_t page);	  /* at any time */
bool gmem_is_broken(const struct gmem *m, uint64_t seen); /* gmem_broken() has something to say */
/* Pages whose seals were broken since *seen, in out; -1: too many. */
int gmem_broken(struct gmem *m, uint64_t *seen, gpa_t out[GMEM_NOTES]);
uint64_t gmem_dirty_count(const struct gmem *m, gpa_t at, size_t len); /* of those below */
/* Copy out and clear the bits of [at, at+len) (page-aligned); true if any was set. */
bool gmem_dirty_take(struct gmem *m, gpa_t at, size_t len, uint64_t *bits);
#endif
