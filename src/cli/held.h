#ifndef CLI_HELD_H
#define CLI_HELD_H
#include "cli/kept.h"
/* A guest whose files are this host's, for whoever copies them: locked, or, if it runs, standing
 * for that time. */
struct guest_files;
struct kind_files;
struct held {
	struct kept kept; /* store is filled in by the caller; its folder, name and record */
	int hold;	  /* -1: it is locked */
};
/* By its whole name. h->hold is -1 to begin with, h->kept as for kept_lock(). */
int held_take(struct held *h, const char *name, struct err *e);
/* Did it stand until now? */
int held_check(const struct held *h, struct err *e);
void held_done(struct held *h);

/* Look at a guest without its lock. */
int held_look(struct kept *k, const char *name, struct err *e);
/* What its kind does with such files; NULL: what it writes is in disks. */
const struct kind_files *files_of(const struct kept *k);
/* Its own; saved: see guest_files. */
struct guest_files files_at(const struct kept *k, const char *saved);
/* Take away what a snapshot was to be, or has been; draft: its folder. */
int files_drop(const struct kept *k, const char *draft, struct err *e);
#endif
