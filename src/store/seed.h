#ifndef STORE_SEED_H
#define STORE_SEED_H
#include "base/err.h"
#include <stddef.h>
/* A disk that tells cloud-init in a foreign image who it is: an ISO 9660 file system called
 * `cidata`, with the files meta-data and user-data (cloud-init's data source NoCloud). */
struct buf;
struct seed {
	const char *id;	  /* another one has cloud-init start over */
	const char *name; /* of the machine; may be NULL */
	const char *keys; /* lines as in authorized_keys, for the image's usual user; may be NULL */
	const char *user_data; /* as the image's owner wrote it; NULL: nothing */
	size_t len;	       /* of that */
};
int seed_make(const struct seed *s, struct buf *to, struct err *e); /* appends */
#endif
