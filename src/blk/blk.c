/* Disk images: what all formats share. Opening (each way it can go wrong is one sentence for
 * the user), checking requests before a format sees them, and waiting for one. */
#include "base/own.h"
#include "base/types.h"
#include "blk/impl.h"
#include "blk/lock.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

static const struct blk_ops *const formats[] = {&blk_raw};

static int kind_check(mode_t m, struct err *e)
{
	if (S_ISREG(m) || S_ISBLK(m)) return 0;
	if (S_ISDIR(m)) return fail(e, -EISDIR, "is a directory, not a disk image");
	return fail(e, -EINVAL, "is neither a regular file nor a block device");
}

static int open_failed(int err, bool ro, struct err *e)
{
	switch (err) {
	case ENOENT: return fail(e, -err, "no such file");
	case EISDIR: return kind_check(S_IFDIR, e);
	case EACCES:
		return fail(e, -err, "permission denied to open it for %s",
			    ro ? "reading" : "reading and writing");
	case EROFS: return fail(e, -err, "is on a read-only file system");
	case ETXTBSY: return fail(e, -err, "is a program being run");
	default: return fail(e, -err, "cannot be opened (%s)", strerror(err));
	}
}

/* Looked at before it is opened: opening a device or a FIFO can have effects of its own. */
static int file_open(const char *path, bool ro, struct err *e)
{
	struct stat st;
	if (stat(path, &st) < 0) return open_failed(errno, ro, e);
	int r = kind_check(st.st_mode, e);
	if (r < 0) return r;
	auto_fd int fd = open(path, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) return open_failed(errno, ro, e);
	if (fstat(fd, &st) < 0 || fcntl(fd, F_SETFL, 0) < 0) return open_failed(errno, ro, e);
	if ((r = kind_check(st.st_mode, e)) < 0) return r;
	r = lock_take(fd, !ro, e);
	return r < 0 ? r : give_fd(&fd);
}

static const struct blk_ops *format_find(const char *name)
{
	for (size_t i = 0; i < COUNT(formats); i++)
		if (!strcmp(formats[i]->name, name)) return formats[i];
	return NULL;
}

int blk_open(struct blk **out, const char *path, const char *format, unsigned flags, struct err *e)
{
	const struct blk_ops *ops = format_find(format);
	if (!ops) return fail(e, -EINVAL, "disk %s: format %s is unknown", path, format);
	auto_fd int fd = file_open(path, flags & BLK_RDONLY, e);
	if (fd < 0) return fail_in(e, "disk %s", path);
	int r = ops->open(out, fd, flags, e);
	if (r < 0) return fail_in(e, "disk %s", path);
	(void)give_fd(&fd);
	(*out)->ops = ops;
	(*out)->refs = 1;
	return 0;
}

struct blk_info blk_info(const struct blk *b) { return b->info; }

static bool iov_fits(const struct blk_req *q)
{
	uint64_t sum = 0;
	for (int i = 0; i < q->niov; i++)
		if (__builtin_add_overflow(sum, q->iov[i].iov_len, &sum)) return false;
	return sum == q->len;
}

static int req_check(const struct blk *b, const struct blk_req *q)
{
	const struct blk_info *in = &b->info;
	bool data = q->op == BLK_READ || q->op == BLK_WRITE;
	if (q->op == BLK_FLUSH) return 0;
	if (q->op != BLK_READ && in->readonly) return -EROFS;
	if (q->off % in->block || q->len % in->block) return -EINVAL;
	if (q->off > in->size || q->len > in->size - q->off) return -EINVAL;
	if (data && !iov_fits(q)) return -EINVAL;
	return 0;
}

void blk_submit(struct blk *b, struct blk_req *q)
{
	q->res = req_check(b, q);
	b->ops->submit(b, q);
}

struct waiter {
	struct blk_req q;
	pthread_mutex_t mutex;
	pthread_cond_t done;
	bool finished;
	int res;
};

static void waiter_done(struct blk_req *q, int res)
{
	struct waiter *w = container_of(q, struct waiter, q);
	(void)pthread_mutex_lock(&w->mutex);
	w->res = res;
	w->finished = true;
	(void)pthread_cond_signal(&w->done);
	(void)pthread_mutex_unlock(&w->mutex);
}

int blk_rw(struct blk *b, enum blk_op op, void *buf, uint64_t len, uint64_t off)
{
	struct iovec v = {buf, len};
	struct waiter w = {.q = {.op = op, .off = off, .len = len, .done = waiter_done}};
	w.q.iov = &v;
	w.q.niov = 1;
	(void)pthread_mutex_init(&w.mutex, NULL);
	(void)pthread_cond_init(&w.done, NULL);
	blk_submit(b, &w.q);
	(void)pthread_mutex_lock(&w.mutex);
	while (!w.finished) (void)pthread_cond_wait(&w.done, &w.mutex);
	(void)pthread_mutex_unlock(&w.mutex);
	(void)pthread_cond_destroy(&w.done);
	(void)pthread_mutex_destroy(&w.mutex);
	return w.res;
}

struct blk *blk_ref(struct blk *b)
{
	b->refs++;
	return b;
}

void blk_unref(struct blk *b)
{
	if (b && --b->refs == 0) b->ops->close(b);
}
