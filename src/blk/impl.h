#ifndef BLK_IMPL_H
#define BLK_IMPL_H
#include "blk/blk.h"
#include <stdatomic.h>
/* What a format gives blk.c. A format gets the file open, locked and known to be a regular file
 * or a block device, and fills in info. */
struct blk_ops {
	const char *name;
	/* Takes fd over only when it returns 0. */
	int (*open)(struct blk **out, int fd, unsigned flags, struct err *e);
	/* q is inside the disk and allowed, or has q->res < 0: then it is only completed. */
	void (*submit)(struct blk *b, struct blk_req *q);
	void (*close)(struct blk *b); /* waits for what is in flight */
};
struct blk { /* embedded first in the format's own struct */
	const struct blk_ops *ops;
	struct blk_info info;
	atomic_uint refs;
};
extern const struct blk_ops blk_raw;
#endif
