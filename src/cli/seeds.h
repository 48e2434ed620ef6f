#ifndef CLI_SEEDS_H
#define CLI_SEEDS_H
#include "base/err.h"
#include <stdbool.h>
/* --cloud-init and friends: a disk that tells a foreign image who it is. A guest that is kept has
 * it in its folder. */
struct store;
struct spec;
struct seed_opts {
	bool wanted;
	const char *user_data, *ssh_key; /* files; either means wanted, too */
};
bool seeds_wanted(const struct seed_opts *o);
int seeds_keep(const struct seed_opts *o, const char *name, const char *id, int folder,
	       struct err *e);
/* Without a folder: *fd is the caller's. */
int seeds_temp(const struct seed_opts *o, int *fd, struct err *e);
/* The one that a kept guest has, if any; the path is the caller's, and outlives the spec. */
int seeds_add(struct spec *s, struct store *st, const char *name, char **path, struct err *e);
int seeds_add_disk(struct spec *s, const char *path, struct err *e);
#endif
