#ifndef CLI_TAPES_H
#define CLI_TAPES_H
#include "base/err.h"
#include "guest/tape.h"
#include <stddef.h>
/* run --record and --replay: what a recording needs of the guest's files, and its disks for one
 * run. tapes_done() lets go of all of it; zeroed is fine. */
struct store;
struct tapes {
	struct tape_out *out;
	struct tape *in;
	struct tape_head head; /* of in */
	int disk[SPEC_DISKS];  /* descriptors and 1; 0: none */
	char path[SPEC_DISKS][32];
	char *found[TAPE_FILES];
};
/* The first folder for a guest without a name that no living process has, clean and locked. */
int temp_folder(struct store *s, char *name, size_t room, int *folder, struct err *e);
/* Record a guest that is complete, to path. Its disks become layers over themselves, which are
 * forgotten. */
int tapes_record(struct tapes *t, struct store *st, struct spec *s, const char *path,
		 struct err *e);
/* Make *s the guest that was recorded, from the same files, or fail. What is to be different this
 * time (engine, debugging) the caller says afterwards. */
int tapes_replay(struct tapes *t, struct store *st, struct spec *s, const char *path,
		 struct err *e);
void tapes_done(struct tapes *t);
#endif
