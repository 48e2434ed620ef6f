#ifndef ZONE_DISK_H
#define ZONE_DISK_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
/* Descriptors of detached mounts, which go when those are closed. Only root can. */
/* ids -1, or a user namespace. */
int disk_mount(const char *path, bool ro, int ids, struct err *e);
/* The same, to read and write; where it is mounted already, that file system once more. */
int disk_mount_again(const char *path, struct err *e);
int storage_mount(int folder, uint64_t size, struct err *e); /* made if it is not there */
char *storage_path(int folder);				     /* the caller's */
int mount_words(int fs, const char *what, struct err *e);    /* what the kernel says of it */
#endif
