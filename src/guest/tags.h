#ifndef GUEST_TAGS_H
#define GUEST_TAGS_H
#include "base/err.h"
#include <stdint.h>
/* A kept guest's snapshots: folders under its own, by tag:
 *	snapshots/<tag>/state, disk0, ..	what kind->save() made; disk0.qcow2: a layer
 *	snapshots/<tag>/vars.fd			what its firmware kept
 *	snapshots/<tag>/tag.json		when, and after which one
 *	snapshots/current			the one that the guest goes on from, or was saved as
 *						last: what the next one comes after
 * They go with the guest. Of what is not whole there is nothing but a name that begins with a dot.
 */
struct store;
enum { TAG_NAME = 64 };
#define TAG_VARS "vars.fd" /* so called in a guest's folder, too */
struct tag {
	char name[TAG_NAME], after[TAG_NAME]; /* after "": none */
	int64_t created;		      /* seconds since 1970 */
	uint64_t bytes;			      /* of the disk, all its files */
};
/* Where to save into; *draft is the caller's to free(), and is to be kept or dropped. -EEXIST. */
int tag_begin(struct store *s, const char *guest, const char *tag, char **draft, struct err *e);
int tag_keep(struct store *s, const char *guest, const char *tag, const char *draft, struct err *e);
void tag_drop(const char *draft);
/* *path, unless NULL, of its folder, is the caller's. -ENOENT in words. */
int tag_find(struct store *s, const char *guest, const char *tag, struct tag *to, char **path,
	     struct err *e);
/* fn for each, the oldest first; the first result that is not 0 ends it. */
int tag_each(struct store *s, const char *guest, int (*fn)(void *ctx, const struct tag *t),
	     void *ctx, struct err *e);
/* What disk n is called in a snapshot's folder: a layer (a trusted qcow2) says so. */
struct spec_disk;
struct tag_disk {
	char name[24];
};
struct tag_disk tag_disk(const struct spec_disk *d, unsigned n);
int tag_remove(struct store *s, const char *guest, const char *tag, struct err *e);
/* The first half of that: it is none any more, but a folder *gone, the caller's to free(). */
int tag_hide(struct store *s, const char *guest, const char *tag, char **gone, struct err *e);
/* fn for each folder that a command was killed over: drafts, and what was hidden. */
void tag_left(struct store *s, const char *guest, void (*fn)(void *ctx, const char *path),
	      void *ctx);
/* The guest is now as it was then. */
int tag_is_current(struct store *s, const char *guest, const char *tag, struct err *e);
#endif
