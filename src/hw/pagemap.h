#ifndef HW_PAGEMAP_H
#define HW_PAGEMAP_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
/* Which pages of this process's private memory the host keeps, in memory or swapped out: what lseek
 * and fstat tell of a file. Linux Documentation/admin-guide/mm/pagemap.rst. */
int pagemap_open(struct err *e); /* a descriptor for the calls below */
/* The first run of pages within len bytes at host: both page-aligned; false: there is none. What
 * cannot be asked after is taken to be there. */
bool pagemap_next(int fd, const void *host, uint64_t len, uint64_t *off, uint64_t *n);
uint64_t pagemap_count(int fd, const void *host, uint64_t len); /* bytes */
#endif
