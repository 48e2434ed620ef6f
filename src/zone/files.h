#ifndef ZONE_FILES_H
#define ZONE_FILES_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
/* The files that zones have written: upper folders of overlayfs, copied, packed and told of. What
 * is in them strangers have made; nothing is followed, and nothing opened but files and folders. */
struct guest_files;
struct files_ids { /* those of `size` from `from` on become those from `to` on */
	uint32_t from, to, size;
};
static inline uint32_t files_id(const struct files_ids *ids, uint32_t id)
{
	return id - ids->from < ids->size ? ids->to + (id - ids->from) : id;
}

/* ---- copy.c */
/* All of one folder into another, which is empty: attributes, overlayfs's too, holes, links, times,
 * owners. Contents are shared where the file system can. */
int files_copy(int from, int to, const struct files_ids *ids, struct err *e);

/* ---- files_attr.c */
/* fn for each attribute of what is so called in that folder; the first result that is
 * not 0 ends it. Ids in values (capabilities, access lists) are already the other ones. */
int files_attr_each(int at, const char *name, const struct files_ids *ids,
		    int (*fn)(void *ctx, const char *key, const void *value, size_t n), void *ctx);

/* ---- files_link.c: which files have come already, for those that have several names */
struct files_links;
struct files_links *files_links_new(void);
void files_links_free(struct files_links *l);
/* NULL: not yet, and from now on it has, by that path. */
const char *files_link(struct files_links *l, const struct stat *st, const char *path);
enum { FILES_DEPTH = 256, FILES_PATH = 8192 };

/* ---- files_walk.c */
struct files_seen {
	int at;
	const char *name, *path; /* in that folder, and from the top on: "", "a/b" */
	const struct stat *st;
	bool gone;   /* it says that what the layers have there is */
	bool opaque; /* of what the layers have in that folder nothing is to be seen */
};
/* fn for each, the top first; the first result that is not 0 ends it. */
int files_walk(int top, int (*fn)(void *ctx, const struct files_seen *s, struct err *e), void *ctx,
	       struct err *e);
bool files_opaque(int at, const char *name);
/* A place that was made for what is mounted there in each zone: the zone has not written it. */
bool files_ours(const struct files_seen *s);
static inline bool files_gone(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && !st->st_rdev;
}

/* ---- pack.c, diff.c; from -1: it has written nothing */
/* To fd as a layer of an image: tar(5). */
int files_pack(int from, int fd, const struct files_ids *ids, struct err *e);
enum { FILES_LOWERS = 130 };
struct files_lower { /* the highest first */
	int at[FILES_LOWERS];
	unsigned n;
};
/* To fd, which is closed: 'A', 'C' or 'D' (added, changed, gone), a path, and a 0, for each. */
int files_diff(int from, const struct files_lower *l, int fd, struct err *e);

/* ---- files.c */
extern const struct kind_files kind_zone_files;
/* The folder that holds them; -ENOENT: there is none yet. In files_within(). */
int files_open(const struct guest_files *f, struct err *e);
/* Do fn as whoever may do everything to what zones of ours have written: root, or in a process of
 * its own root of a user namespace with those ids. */
int files_within(int (*fn)(void *ctx, struct err *e), void *ctx, struct err *e);
#endif
