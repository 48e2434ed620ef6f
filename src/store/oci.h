#ifndef STORE_OCI_H
#define STORE_OCI_H
#include "base/err.h"
#include "store/store.h"
/* Images of containers as others write them: layouts of the Open Container Initiative (image-spec
 * 1.1), as folders or as tar files (podman's and skopeo's oci-archive), and what `docker save`
 * writes (docker-archive). All of it is untrusted: digests are compared, names stay inside, and an
 * image is there as a whole or not at all. Its layers are kept as they came, and unpacked:
 *   trees/<diff id>/   a layer's files, a lower folder for overlayfs; trees/.tmp.*: being made */

/* name NULL: as the archive calls it (its last part, and the tag unless that is latest). arch NULL:
 * this host's if it is among them, else the only one. *out, the caller's, is what it became. */
int oci_import(struct store *s, const char *path, const char *name, const char *arch,
	       struct image *out, struct err *e);
/* "docker.io/library/web:2" is web-2 here, without a tag or with latest web. NULL: none; the
 * caller's to free(). It may be no name: store_name_ok(). */
char *oci_name(const char *ref);
/* One more layer over an image: the tar that `layer` reads, which is ours. Each change is an
 * instruction of a Dockerfile's: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME,
 * WORKDIR. */
struct oci_commit {
	int layer;
	const char *const *change;
	unsigned nchanges;
	const char *message, *author; /* NULL: none */
	const char *by;		      /* what made it */
};
int oci_commit(struct store *s, const struct image *base, const struct oci_commit *c,
	       const char *name, struct err *e);
/* To a tar file, in the place of nothing, that is both a layout and a docker-archive. */
int oci_export(const struct image *im, const char *path, struct err *e);
/* The folder of an image's nth layer, for overlayfs, made if it is missing; *path is the caller's
 * to free(). */
int oci_tree(struct store *s, const struct image *im, unsigned n, char **path, struct err *e);
/* What an image says of the program in it (image-spec 1.1, config.md, "config"); untrusted bytes,
 * read again each time. Strings and lists, each with NULL behind it, are the arena's; NULL: none.
 */
struct arena;
struct oci_words {
	const char **at;
	unsigned n;
};
struct oci_says {
	struct oci_words env, entrypoint, cmd;
	const char *user, *workdir, *stop_signal;
};
int oci_says(const struct image *im, struct oci_says *to, struct arena *a, struct err *e);
/* Remove trees of which keep() says no. For store_collect(). */
int oci_collect(struct store *s, bool (*keep)(void *ctx, const char *diff), void *ctx,
		struct err *e);
#endif
