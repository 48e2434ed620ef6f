#ifndef BASE_FILE_H
#define BASE_FILE_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
/* Whole files and folders. Words of errors begin with the path. */
struct buf;
/* Append all of path to to. -EFBIG when it holds more than max bytes; then to is as before. */
int file_read(struct buf *to, const char *path, size_t max, struct err *e);
/* Put these bytes in the place of path: at every moment, also after a crash or with a full disk,
 * path holds all of the old or all of the new. mode as for open(). */
int file_replace(const char *path, const void *at, size_t len, unsigned mode, struct err *e);
/* mkdir -p. */
int dir_make(const char *path, struct err *e);
/* rm -rf without following links, never leaving the file system; what is not there is fine. */
int dir_remove(const char *path, struct err *e);
bool file_exists(const char *path);
/* Of all open descriptors those and 0 to 2; -1 among them is nothing. */
void fds_keep(const int *keep, unsigned n);
#endif
