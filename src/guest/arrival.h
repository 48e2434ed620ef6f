#ifndef GUEST_ARRIVAL_H
#define GUEST_ARRIVAL_H
#include "base/err.h"
#include "guest/link.h"
#include "guest/record.h"
#include <stddef.h>
#include <stdint.h>
/* A guest that comes from another host, in the order of the frames. The target gets what it is
 * built of, builds it, takes its memory, disks and parts, and says that it is ready. The source
 * stops using it for good before it says GO; with that the target's store takes it, by one rename,
 * and then it runs. Until then it is the source's. */
struct json_object;
enum { HELLO_FILES = 4, HELLO_TEXT = 64 << 10 };
/* Boot files, in the order of their numbers: kernel, initrd, firmware, its variables. */
extern const char *const hello_files[HELLO_FILES];
struct hello {		      /* who comes */
	struct record record; /* paths are the source's, to be replaced; memory is set */
	char name[64];
	uint64_t file[HELLO_FILES]; /* bytes; 0: it has none */
	uint64_t disk[SPEC_DISKS];  /* bytes of those in record.spec */
};
void hello_format(const struct hello *h, struct buf *to);
int hello_parse(struct hello *h, const char *text, size_t n, struct err *e); /* untrusted */
void hello_done(struct hello *h);					     /* zeroed is fine */

/* What the target does with what comes; the kind's, while it builds. */
struct arrival_ops {
	int (*pages)(void *ctx, uint64_t gpa, const void *p, size_t n, struct err *e);
	int (*zero)(void *ctx, uint64_t gpa, uint64_t n, struct err *e);
	int (*block)(void *ctx, unsigned disk, uint64_t off, const void *p, size_t n,
		     struct err *e);
	int (*blank)(void *ctx, unsigned disk, uint64_t off, uint64_t n, struct err *e);
	int (*part)(void *ctx, const char *name, const void *p, size_t n, struct err *e);
};
/* Until LINK_END. Addresses are checked to be aligned and not to wrap, but against nothing else. */
int arrival_take(struct link *l, const struct arrival_ops *ops, void *ctx, struct err *e);

struct arrival { /* in a spec: go on from what comes over the link, instead of booting */
	struct link *link;
	int disk[SPEC_DISKS]; /* their files, raw, to be written; closed once it runs */
	/* At GO: it is ours from now on. -EEXIST and so on: it never will be. */
	int (*keep)(void *ctx, struct err *e);
	void *ctx;
};
#endif
