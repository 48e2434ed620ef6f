#ifndef BLK_LOCK_H
#define BLK_LOCK_H
#include "base/err.h"
#include <stdbool.h>
/* Lock the whole file until its last descriptor closes; -EBUSY with words and, where it can be
 * found, the pid of who has it. Never waits. */
int lock_take(int fd, bool exclusive, struct err *e);
#endif
