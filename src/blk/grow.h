#ifndef BLK_GROW_H
#define BLK_GROW_H
#include "blk/impl.h"
#include <pthread.h>
/* Images that only ever grow at their end, a unit of the disk at a time: VMDK and VDI. Their
 * tables name nothing behind the end of the file even after a crash, for the file is made longer,
 * and that is on the disk, before anything is put there. */
struct grow {
	pthread_rwlock_t lock; /* alone to add a unit or change a table, else shared */
	uint64_t end, room;    /* bytes: where the next unit goes, how long the file is */
};
/* A format's own half. All with the lock alone. */
struct grow_ops {
	int (*map)(struct blk *b, uint64_t off, uint64_t len, struct extent *x);
	int (*unpack)(struct blk *b, const struct extent *x, const struct blk_req *q);
	/* The unit that holds off lies at `at` from now on; its data is there. */
	int (*enter)(struct blk *b, uint64_t off, uint64_t at);
	int (*prepare)(struct blk *b, uint64_t off); /* what may take room before it; may be NULL */
	int (*place)(struct blk *b, uint64_t *at);   /* where the next one goes; NULL: at the end */
};
void grow_init(struct grow *g, uint64_t file_size);
void grow_done(struct grow *g, int fd); /* gives back what is spare behind the end */
int grow_run(struct blk *b, struct grow *g, const struct grow_ops *o, const struct blk_req *q);
int grow_reach(struct grow *g, int fd, uint64_t end); /* the file is at least so long */
int grow_take(struct grow *g, int fd, uint64_t bytes, uint64_t align, uint64_t *at);
#endif
