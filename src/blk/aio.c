/* The two ways of asynchronous file i/o share one synchronous core: file_run() is what a pool
 * thread does with a whole request, and what the ring does with the rest of one the kernel cut
 * short or will not do for this file system. */
#include "blk/aio.h"
#include "base/types.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>

/* syscalls loop vcpu disk move: preadv preadv2 pwritev pread64 pwrite64 fallocate fdatasync fsync
 * ftruncate */

enum { SEGS = 64, ZERO_CHUNK = 64 * 1024 };

int aio_new(struct aio **out, int fd, bool threads, struct err *e)
{
	if (!threads && aio_uring.start(out, fd, e) == 0) return 0;
	return aio_pool.start(out, fd, e);
}

int aio_thread(pthread_t *t, void *(*run)(void *), void *ctx)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(t, NULL, run, ctx);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static int rest_iov(const struct blk_req *q, uint64_t from, struct iovec *out)
{
	int n = 0;
	for (int i = 0; i < q->niov && n < SEGS; i++) {
		const struct iovec *v = &q->iov[i];
		if (from >= v->iov_len) {
			from -= v->iov_len;
			continue;
		}
		out[n++] = (struct iovec){(char *)v->iov_base + from, v->iov_len - from};
		from = 0;
	}
	return n;
}

static void zero_iov(const struct iovec *v, int n)
{
	for (int i = 0; i < n; i++) memset(v[i].iov_base, 0, v[i].iov_len);
}

static ssize_t rw_once(int fd, const struct blk_req *q, uint64_t from)
{
	struct iovec v[SEGS];
	int n = rest_iov(q, from, v);
	if (n == 0) return -EINVAL;
	off_t at = (off_t)(q->off + from);
	if (q->op == BLK_WRITE) return pwritev(fd, v, n, at);
	ssize_t got = preadv(fd, v, n, at);
	if (got != 0) return got;
	zero_iov(v, n);
	for (int i = 0; i < n; i++) got += (ssize_t)v[i].iov_len;
	return got;
}

static int rw_run(int fd, const struct blk_req *q, uint64_t from)
{
	while (from < q->len) {
		ssize_t n = rw_once(fd, q, from);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return -errno;
		if (n == 0) return -EIO;
		from += (uint64_t)n;
	}
	return 0;
}

bool file_read_now(int fd, const struct blk_req *q)
{
	if (q->niov > SEGS) return false;
	return preadv2(fd, q->iov, q->niov, (off_t)q->off, RWF_NOWAIT) == (ssize_t)q->len;
}

static int allocate(int fd, int mode, const struct blk_req *q)
{
	int r;
	do r = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)q->off, (off_t)q->len);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static bool unsupported(int r) { return r == -EOPNOTSUPP || r == -ENOSYS || r == -ENODEV; }

int file_write_zeroes(int fd, const struct blk_req *q)
{
	static const char zeroes[ZERO_CHUNK];
	for (uint64_t n = 0, at = 0; at < q->len; at += n) {
		n = q->len - at < ZERO_CHUNK ? q->len - at : ZERO_CHUNK;
		struct iovec v = {(void *)zeroes, n};
		struct blk_req w = {.op = BLK_WRITE, .off = q->off + at, .len = n};
		w.iov = &v;
		w.niov = 1;
		int r = rw_run(fd, &w, 0);
		if (r < 0) return r;
	}
	return 0;
}

static int zero_run(int fd, const struct blk_req *q)
{
	int r = allocate(fd, FALLOC_FL_ZERO_RANGE, q);
	if (unsupported(r)) r = allocate(fd, FALLOC_FL_PUNCH_HOLE, q);
	return unsupported(r) ? file_write_zeroes(fd, q) : r;
}

/* A discard is a hint: where the file system cannot, nothing is the right thing to do. */
static int discard_run(int fd, const struct blk_req *q)
{
	int r = allocate(fd, FALLOC_FL_PUNCH_HOLE, q);
	return unsupported(r) ? 0 : r;
}

int file_run(int fd, const struct blk_req *q, uint64_t from)
{
	switch (q->op) {
	case BLK_READ:
	case BLK_WRITE: return rw_run(fd, q, from);
	case BLK_FLUSH: return fdatasync(fd) < 0 ? -errno : 0;
	case BLK_DISCARD: return q->len ? discard_run(fd, q) : 0;
	case BLK_ZERO: return q->len ? zero_run(fd, q) : 0;
	}
	return -EINVAL;
}
