#ifndef BLK_AIO_H
#define BLK_AIO_H
#include "blk/blk.h"
#include <pthread.h>
/* Requests carried out on a host file, offsets unchanged, in no particular order. A read past
 * the end of the file finds zeroes. Any thread may submit; done() comes from a thread of the
 * aio's own. */
struct aio;
struct aio_ops {
	const char *name;
	int (*start)(struct aio **out, int fd, struct err *e);
	void (*submit)(struct aio *a, struct blk_req *q);
	void (*free)(struct aio *a); /* waits for what is in flight; the fd stays the caller's */
};
struct aio { /* embedded first in the way's own struct */
	const struct aio_ops *ops;
	int fd;
};
extern const struct aio_ops aio_uring, aio_pool;
/* Reads by io_uring where the host allows it, all else (or all, when threads) by a pool of threads.
 */
int aio_new(struct aio **out, int fd, bool threads, struct err *e);
static inline void aio_submit(struct aio *a, struct blk_req *q) { a->ops->submit(a, q); }
static inline void aio_free(struct aio *a)
{
	if (a) a->ops->free(a);
}

/* The pool, for any work: run(ctx, q) on one of its threads, several at once. */
int pool_new(struct aio **out, int (*run)(void *ctx, const struct blk_req *q), void *ctx,
	     struct err *e);
/* Carry out what is left of q after its first `from` bytes, on the calling thread. */
int file_run(int fd, const struct blk_req *q, uint64_t from);
bool file_read_now(int fd, const struct blk_req *q);	/* all of a READ, if it is in memory */
int file_write_zeroes(int fd, const struct blk_req *q); /* ZERO where there are no holes */
/* A thread that takes no signals: those are the main thread's. */
int aio_thread(pthread_t *t, void *(*run)(void *), void *ctx);
#endif
