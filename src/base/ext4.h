#ifndef BASE_EXT4_H
#define BASE_EXT4_H
#include "base/err.h"
#include <stdint.h>
/* A new file at path, sparse, that holds an empty file system of so many bytes: the work of the
 * host's mke2fs. It has its name when it is whole. */
int ext4_make(const char *path, uint64_t size, struct err *e);
#endif
