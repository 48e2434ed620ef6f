#ifndef BLK_LOCK_H
#define BLK_LOCK_H
#include "base/err.h"
#include <stdbool.h>
/* Lock the whole file until its last descriptor closes: to read, beside others that do; to write
 * alone; or to write beside others that say so, and nobody else. -EBUSY with words and, where it
 * can be found, the pid of who has it. Never waits. */
enum lock_how { LOCK_READS, LOCK_WRITES, LOCK_BESIDE };
int lock_take(int fd, enum lock_how how, struct err *e);
#endif
