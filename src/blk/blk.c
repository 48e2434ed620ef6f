/* Disk images: what all formats share. Opening (each way it can go wrong is one sentence for
 * the user), checking requests before a format sees them, and waiting for one. */
#include "base/own.h"
#include "base/types.h"
#include "blk/impl.h"
#include "blk/lock.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NOW_MAX = 64 << 10 }; /* bytes: what is copied sooner than another thread wakes up */

static const struct blk_ops *const formats[] = {&blk_raw, &blk_qcow2, &blk_vmdk,
						&blk_vdi, &blk_vhd,   &blk_vhdx};

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
static int file_open(const char *path, unsigned flags, struct err *e)
{
	struct stat st;
	bool ro = flags & BLK_RDONLY;
	if (stat(path, &st) < 0) return open_failed(errno, ro, e);
	int r = kind_check(st.st_mode, e);
	if (r < 0) return r;
	auto_fd int fd = open(path, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) return open_failed(errno, ro, e);
	if (fstat(fd, &st) < 0 || fcntl(fd, F_SETFL, 0) < 0) return open_failed(errno, ro, e);
	if ((r = kind_check(st.st_mode, e)) < 0) return r;
	r = lock_take(fd, ro ? LOCK_READS : flags & BLK_SHARED ? LOCK_BESIDE : LOCK_WRITES, e);
	return r < 0 ? r : give_fd(&fd);
}

/* Files of a disk, open and locked: number `depth` lies under so many others. */
struct blk_held {
	char *path;
	struct blk_opts opts; /* format is its own */
	unsigned n;
	int fd[CHAIN_MAX + 1];
};

static int held_take(struct blk_held *h, unsigned depth, struct err *e)
{
	if (depth < h->n && h->fd[depth] >= 0) return give_fd(&h->fd[depth]);
	return fail(e, -ESTALE, "has changed since it was opened");
}

static const struct blk_ops *format_find(const char *name)
{
	for (size_t i = 0; i < COUNT(formats); i++)
		if (!strcmp(formats[i]->name, name) ||
		    (formats[i]->alias && !strcmp(formats[i]->alias, name)))
			return formats[i];
	return NULL;
}

const char *blk_format_named(const char *name)
{
	const struct blk_ops *ops = format_find(name);
	return ops ? ops->name : NULL;
}

const struct blk_ops *format_need(const char *name, struct err *e)
{
	const struct blk_ops *ops = format_find(name);
	if (!ops)
		(void)fail(e, -EINVAL,
			   "format %s is unknown: there are raw, qcow2, vmdk, vdi, vhd, vhdx",
			   name);
	return ops;
}

static int disk_run(void *ctx, const struct blk_req *q)
{
	struct blk *b = ctx;
	return b->ops->run(b, q);
}

static int threads_start(struct blk *b, unsigned flags, struct err *e)
{
	if (flags & (BLK_UNDER | BLK_ALONE)) return 0;
	if (b->ops->direct) return aio_new(&b->aio, b->fd, flags & BLK_THREADS, e);
	return pool_new(&b->aio, disk_run, b, e);
}

static void disk_close(struct blk *b)
{
	int fd = b->fd;
	struct blk *backing = b->backing;
	aio_free(b->aio);
	b->ops->close(b);
	blk_unref(backing);
	(void)close(fd);
}

static int format_for(const struct blk_ops **out, const struct blk_opts *o, struct err *e)
{
	const struct blk_ops *ops = *out = format_need(o->format, e);
	if (!ops) return -EINVAL;
	if (!(o->flags & BLK_RDONLY) && !ops->writes)
		return fail(e, -EROFS, "%s images can only be read: add ,ro, or convert it",
			    ops->name);
	if (o->flags & BLK_SHARED && !ops->direct)
		return fail(e, -ENOTSUP,
			    "only raw disks can be shared: of others each keeps tables");
	return 0;
}

static int disk_open(struct blk **out, const struct blk_file *at, struct err *e)
{
	struct blk_file f = *at;
	const struct blk_ops *ops;
	int r = format_for(&ops, f.opts, e);
	if (r < 0) return r;
	auto_fd int fd = f.fd =
		f.held ? held_take(f.held, f.depth, e) : file_open(f.path, f.opts->flags, e);
	if (fd < 0) return fd;
	r = ops->open(out, &f, e);
	if (r < 0) return r;
	struct blk *b = *out;
	b->ops = ops;
	b->refs = 1;
	b->fd = give_fd(&fd);
	r = threads_start(b, f.opts->flags, e);
	if (r < 0) disk_close(b);
	return r;
}

int blk_open_with(struct blk **out, const char *path, const struct blk_opts *o, struct err *e)
{
	struct blk_file f = {.path = path, .opts = o};
	int r = disk_open(out, &f, e);
	return r < 0 ? fail_in(e, "disk %s", path) : 0;
}

int blk_open(struct blk **out, const char *path, const char *format, unsigned flags, struct err *e)
{
	struct blk_opts o = {.format = format, .flags = flags};
	return blk_open_with(out, path, &o, e);
}

static int backing_path(char *to, size_t room, const char *over, const char *name, struct err *e)
{
	const char *slash = strrchr(over, '/');
	int dir = slash && name[0] != '/' ? (int)(slash - over + 1) : 0;
	if ((size_t)snprintf(to, room, "%.*s%s", dir, over, name) < room) return 0;
	return fail(e, -ENAMETOOLONG, "the name of what it lies over is too long");
}

static int backing_allowed(const struct blk_file *f, const char *name, const char *format,
			   struct err *e)
{
	char shown[128];
	size_t n = 0;
	for (; name[n] && n < sizeof(shown) - 1; n++)
		shown[n] = name[n] < ' ' || name[n] == 0x7f ? '?' : name[n];
	shown[n] = 0;
	if (!(f->opts->flags & BLK_BACKING))
		return fail(e, -EPERM,
			    "lies over '%s', which it names itself; if you trust it, add 'backing'",
			    shown);
	if (!strncmp(name, "json:", 5) || strstr(name, "://"))
		return fail(e, -ENOTSUP, "lies over '%s', which is no plain file", shown);
	if (!*format)
		return fail(e, -EINVAL,
			    "does not say of what format '%s' is; qemu-img rebase -u -F can add it",
			    shown);
	return 0;
}

struct under { /* what lies behind an image */
	char path[4096];
	struct blk_opts opts;
	struct blk_file file;
};

/* 1: that is it; 0: nothing is to be opened. */
static int under_find(struct under *u, const struct blk_file *f, const char *name,
		      const char *format, struct err *e)
{
	const struct blk_opts *o = f->opts;
	u->opts = (struct blk_opts){.flags = o->flags & (BLK_BACKING | BLK_THREADS)};
	u->opts.flags |= BLK_RDONLY | BLK_UNDER;
	u->opts.format = o->backing ? o->backing_format : format;
	u->file = (struct blk_file){
		.path = u->path, .opts = &u->opts, .depth = f->depth + 1, .held = f->held};
	if (o->flags & BLK_ALONE) return 0;
	int r = 0;
	if (o->backing) {
		u->file.path = o->backing;
	} else {
		if (!*name) return 0;
		r = backing_allowed(f, name, format, e);
		if (!r) r = backing_path(u->path, sizeof(u->path), f->path, name, e);
	}
	if (r < 0) return r;
	if (u->file.depth > CHAIN_MAX)
		return fail(e, -ELOOP, "lies over more than %d images", CHAIN_MAX);
	return 1;
}

static int under_told(const struct under *u, int r, struct err *e)
{
	bool told = r < 0 && e && !strncmp(e->msg, "lies over", 9); /* by one further down */
	return r < 0 && !told ? fail_in(e, "lies over %.100s", u->file.path) : r;
}

int backing_open(struct blk *over, const struct blk_file *f, const char *name, const char *format,
		 struct err *e)
{
	struct under u;
	int r = under_find(&u, f, name, format, e);
	return r <= 0 ? r : under_told(&u, disk_open(&over->backing, &u.file, e), e);
}

/* --- in two halves --- */

static int hold(struct blk_held *h, const struct blk_file *f, struct err *e)
{
	struct blk_about names = {0};
	struct under u;
	const struct blk_ops *ops;
	int r = format_for(&ops, f->opts, e);
	if (r == 0) r = file_open(f->path, f->opts->flags, e);
	if (r < 0) return r;
	h->fd[h->n++] = r;
	if (!ops->names) return 0;
	r = ops->names(h->fd[f->depth], &names, e);
	if (r == 0) r = under_find(&u, f, names.backing, names.backing_format, e);
	return r <= 0 ? r : under_told(&u, hold(h, &u.file, e), e);
}

int blk_hold(struct blk_held **out, const char *path, const char *format, unsigned flags,
	     struct err *e)
{
	struct blk_held *h = calloc(1, sizeof(*h));
	must(h);
	h->path = strdup(path);
	h->opts = (struct blk_opts){.format = strdup(format), .flags = flags};
	must(h->path && h->opts.format);
	const struct blk_file f = {.path = path, .opts = &h->opts};
	int r = hold(h, &f, e);
	if (r < 0) {
		blk_held_free(h);
		return fail_in(e, "disk %s", path);
	}
	*out = h;
	return 0;
}

int blk_open_held(struct blk **out, struct blk_held *h, struct err *e)
{
	const struct blk_file f = {.path = h->path, .opts = &h->opts, .held = h};
	int r = disk_open(out, &f, e);
	if (r < 0) (void)fail_in(e, "disk %s", h->path);
	blk_held_free(h);
	return r;
}

void blk_held_free(struct blk_held *h)
{
	if (!h) return;
	for (unsigned i = 0; i < h->n; i++) drop_fd(&h->fd[i]);
	free((char *)(uintptr_t)h->opts.format);
	free(h->path);
	free(h);
}

/* syscalls loop: dup3 */
int blk_change(struct blk *b, int fd, struct err *e)
{
	uint64_t size, block = b->info.block;
	if (b->ops != &blk_raw || !b->info.readonly)
		return fail(e, -ENOTSUP, "only raw images that are read only can be changed");
	int r = file_size(fd, &size);
	if (r < 0) return fail(e, r, "its size cannot be told (%s)", strerror(-r));
	if (!size || size > INT64_MAX - block) return fail(e, -EINVAL, "is empty, or too large");
	if (dup3(fd, b->fd, O_CLOEXEC) < 0) return fail(e, -errno, "%s", strerror(errno));
	b->info.size = (size + block - 1) / block * block;
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

static void count(struct blk *b, const struct blk_req *q)
{
	if (q->op == BLK_READ || q->op == BLK_WRITE)
		atomic_fetch_add_explicit(&b->moved[q->op == BLK_WRITE], q->len,
					  memory_order_relaxed);
}

void blk_moved(const struct blk *b, uint64_t *read, uint64_t *written)
{
	*read = atomic_load_explicit(&b->moved[0], memory_order_relaxed);
	*written = atomic_load_explicit(&b->moved[1], memory_order_relaxed);
}

void blk_submit(struct blk *b, struct blk_req *q)
{
	q->res = req_check(b, q);
	if (!q->res) count(b, q);
	if (b->ops->submit)
		b->ops->submit(b, q);
	else
		aio_submit(b->aio, q);
}

bool blk_read_now(struct blk *b, const struct blk_req *q)
{
	if (!b->ops->read_now || q->op != BLK_READ || q->len > NOW_MAX || req_check(b, q))
		return false;
	if (!b->ops->read_now(b, q)) return false;
	count(b, q);
	return true;
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
	if (!b || --b->refs) return;
	free((void *)b->changed);
	b->changed = NULL;
	b->tracking = false;
	if (b->ops->submit)
		b->ops->close(b);
	else
		disk_close(b);
}
