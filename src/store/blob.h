#ifndef STORE_BLOB_H
#define STORE_BLOB_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* Immutable contents, each named by its own sha256: <dir>/sha256/<64 hex digits>, mode 0444.
 * A blob appears complete and synced or not at all. Any process, any thread. The caller makes
 * sure that nobody collects while blobs are put and not yet referenced (see store.c). */
enum { BLOB_DIGEST = 65 }; /* with the NUL */

void blob_hex(const unsigned char sum[32], char digest[BLOB_DIGEST]);
void blob_digest_of(const void *p, size_t n, char digest[BLOB_DIGEST]); /* of these bytes */
bool blob_digest_ok(const char *hex); /* 64 lower-case hexadecimal digits and no more */
/* Copy the file at path into dir; *digest and *size are of the bytes copied. */
int blob_put(const char *dir, const char *path, char digest[BLOB_DIGEST], uint64_t *size,
	     struct err *e);
/* The name that the contents of the file at path would have. */
int blob_digest(const char *path, char digest[BLOB_DIGEST], uint64_t *size, struct err *e);
/* Remove what is named by none of the n digests, and what killed processes left. */
int blob_collect(const char *dir, char *const *keep, size_t n, struct err *e);
/* A writable copy of the file at from, in the place of nothing at to: a clone where the file
 * system can, otherwise holes stay holes. Appears complete and synced or not at all; -EEXIST. */
int blob_copy(const char *from, const char *to, struct err *e);
/* The same, but only where the file system shares what both hold; otherwise a negative errno. */
int blob_clone(const char *from, const char *to, struct err *e);
/* Remove what killed processes left half-written in a folder that nobody else writes in. */
int blob_sweep(const char *dir, struct err *e);
#endif
