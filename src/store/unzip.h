#ifndef STORE_UNZIP_H
#define STORE_UNZIP_H
#include "base/err.h"
#include "store/blob.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
/* A file's bytes as they were before it was compressed (RFC 1952, RFC 8878), and their digest. The
 * file is not trusted: what it becomes is read piece by piece, and its reader decides when that was
 * too much. One thread. */
struct unzip;
/* "tar", "tar+gzip", "tar+zstd" by how the file begins. NULL: it cannot be read. */
const char *unzip_format(int fd);
/* format as above. fd stays the caller's, and is read from its beginning. */
int unzip_open(struct unzip **out, int fd, const char *format, struct err *e);
void unzip_close(struct unzip *u); /* NULL is fine */
/* The next piece, the unzip's until it is asked again. 0: that was all; or a negative errno. */
ssize_t unzip_read(struct unzip *u, const void **piece, struct err *e);
/* The sha256 of all pieces, once the last of them was read. */
void unzip_digest(struct unzip *u, char digest[BLOB_DIGEST]);
#endif
