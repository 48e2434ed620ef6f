#ifndef BLK_BLK_H
#define BLK_BLK_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
/* A disk image as a run of bytes, whatever its format. The format is told by the owner of the
 * image, never guessed from bytes a guest could have written. */
enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };
/* Owned by the issuer and untouchable from submit until done(). done() may be called by any
 * thread, never from inside blk_submit(): the issuer may hold its own lock while submitting. */
struct blk_req {
	enum blk_op op;
	uint64_t off, len; /* bytes; inside the disk, multiples of blk_info.block; FLUSH: unused */
	struct iovec *iov; /* READ, WRITE: len bytes in all */
	int niov;
	void (*done)(struct blk_req *q, int res); /* 0 or -errno */
	struct blk_req *next;			  /* the disk's while it has the request */
	int res;				  /* the same */
};
struct blk_info {
	uint64_t size;	/* bytes */
	uint32_t block; /* bytes; 512 */
	bool readonly, discard;
};
enum blk_flag {
	BLK_RDONLY = 1,
	BLK_THREADS = 2 /* plain threads even where the host has io_uring */
};
struct blk;
/* Opens and locks the file (exclusively, or shared when read-only), against any other opening of
 * it: -EBUSY with words when another guest has it. format: "raw". A regular file whose size is
 * not a multiple of 512 is taken as followed by zeroes up to one: refusing it helps nobody and
 * rounding down would hide its last bytes. Writing there makes the file that much longer. */
int blk_open(struct blk **out, const char *path, const char *format, unsigned flags, struct err *e);
struct blk_info blk_info(const struct blk *b);
void blk_submit(struct blk *b, struct blk_req *q); /* any thread; out-of-range: done(-EINVAL) */
int blk_rw(struct blk *b, enum blk_op op, void *buf, uint64_t len, uint64_t off); /* and wait */
struct blk *blk_ref(struct blk *b);
/* NULL is fine; the last one waits for what is in flight, so it may not be given by done(). */
void blk_unref(struct blk *b);
#endif
