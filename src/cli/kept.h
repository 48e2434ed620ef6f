#ifndef CLI_KEPT_H
#define CLI_KEPT_H
#include "base/err.h"
#include "cli/shares.h"
#include "guest/record.h"
#include "store/image.h"
#include "store/store.h"
#include <stdbool.h>
/* A guest that is kept, in this process's hands: its folder locked, what is recorded of it, and
 * what is to be run. Zeroed but for folder -1 to begin with; kept_done() lets go of all of it. */
struct call;
struct json_object;
struct store;
struct kept {
	struct store *store;
	char name[64];
	int folder;	      /* -1: not locked */
	struct record record; /* id "": there is none yet */
	struct image image;
	char *seed;
	struct guest_disk disk;
	char *vars;
	struct shares shares;
	struct spec spec; /* the record's, with what the image and the store add */
	bool force;	  /* load it although it has moved away */
};
/* Lock it by its whole name. While another command has it in hands, that is waited for; -EBUSY: it
 * runs, or the other one takes too long. -ENOENT unless create. */
int kept_lock(struct kept *k, const char *name, bool create, struct err *e);
/* Fill in spec, for the record there is: from its image and with its disk. */
int kept_load(struct kept *k, struct err *e);
void kept_own_paths(struct kept *k); /* of spec: from SPEC_OWN to where its folder is */
/* What is loaded is to go on from that snapshot of its own, in that folder, which lives longer. */
int kept_restore(struct kept *k, const char *tag, const char *dir, struct err *e);
/* Run it in the background. attach: -1, or a socket at whose end somebody sees all from the
 * beginning. */
int kept_start(struct kept *k, int attach, struct err *e);
int kept_remove(struct kept *k, struct err *e);
void kept_done(struct kept *k);

/* What the image has and the owner did not say; the image outlives the spec. */
void spec_use_image(struct spec *s, const struct image *im);
int spec_first_disk(struct spec *s, const char *path, const char *format, struct err *e);

/* For every argument the guest that it means, one after the other: fn returns 0 or a negative errno
 * with words. What fails is said, and the next one tried; the exit code. */
int kept_each(const struct call *c,
	      int (*fn)(struct store *s, const char *name, void *ctx, struct err *e), void *ctx,
	      struct err *e);
/* Until the process at pidfd is gone, or that many seconds; false: it is still there. -1 is gone.
 */
bool kept_gone(int pidfd, unsigned seconds);
/* Ask it to stop, within seconds, and wait for its end; 0 too if it does not run. */
int kept_stop(struct store *s, const char *name, unsigned seconds, bool force, struct err *e);
/* How a guest that does not run ended: its exit code; negative errno and words if it broke, or
 * never ran. */
int kept_code(struct store *s, const char *name, struct err *e);
/* What a running guest's monitor said at a stream's end, {} or {"error": WORDS}: 0, or -EIO and the
 * words; code and "ended" if it is neither. */
int kept_result(const char *name, const char *text, int code, const char *ended, struct err *e);
#endif
