#ifndef CLI_SHARES_H
#define CLI_SHARES_H
#include "base/err.h"
#include "cli/cli.h"
#include "guest/guest.h"
/* Folders that a guest shares, from words to the spec. Zeroed by its owner. */
struct store;
struct shares {
	unsigned n;
	struct share_words {
		char *path;    /* of this machine */
		char tag[16];  /* what the guest mounts it by */
		char to[1024]; /* where, as the kernel's command line has it */
		char *place;   /* and as it was said */
		int lock;      /* of a volume; -1: none */
	} share[SPEC_SHARES];
	char *append;
};
/* Of spec->volume; fills in spec->share and adds to spec->append how our images mount them. All of
 * it lasts until shares_done(). */
int shares_add(struct shares *s, struct store *store, struct spec *spec, struct err *e);
/* What a guest shares and where that is, as a digest: the same one, the same volumes asked for, and
 * the same folders of the same machine; or, if any, whatever has their names. */
enum { SHARES_DIGEST = 65 };
void shares_digest(const struct shares *s, const struct spec *spec, bool any,
		   char to[SHARES_DIGEST]);
/* Where kernels would take a word apart, as printf's %b puts it together: up to four bytes a byte.
 */
void shares_encode(char *to, const char *from);
void shares_done(struct shares *s);
#endif
