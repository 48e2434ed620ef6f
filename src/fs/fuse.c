/* From bytes to an operation and back. A request is copied out of the guest's reach before any of
 * it is believed, except the data of reads and writes, which means nothing to us. */
#include "fs/fuse.h"
#include "fs/impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { CHANGES = 1, SILENT = 2, ALONE = 4 }; /* refused when read-only; no answer; no other runs */
enum { MINOR_LEAST = 31, PAGES_MAX = 120, PAGE = 4096, BACKGROUND = 64 };
enum { FDS_SPARE = 64, FDS_MOST = 1 << 20 };
#define FEATURES                                                                                   \
	(FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |              \
	 FUSE_FLOCK_LOCKS | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |   \
	 FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV_V2)

struct fuse_scratch {
	_Alignas(8) char arg[ARG_MAX_LEN + 8];
	_Alignas(8) char reply[REPLY_MAX];
	_Alignas(8) char list[LIST_MAX];
};

static int op_destroy(struct call *c);

/* least: the fixed part of the arguments. What is not here is ENOSYS, which kernels remember. */
static const struct op {
	int (*run)(struct call *c);
	uint16_t least;
	uint8_t how;
} ops[] = {
	[FUSE_LOOKUP] = {op_lookup, 1, 0},
	[FUSE_FORGET] = {op_forget, sizeof(struct fuse_forget_in), SILENT},
	[FUSE_GETATTR] = {op_getattr, sizeof(struct fuse_getattr_in), 0},
	[FUSE_SETATTR] = {op_setattr, sizeof(struct fuse_setattr_in), CHANGES},
	[FUSE_READLINK] = {op_readlink, 0, 0},
	[FUSE_SYMLINK] = {op_symlink, 2, CHANGES},
	[FUSE_MKNOD] = {op_mknod, sizeof(struct fuse_mknod_in), CHANGES},
	[FUSE_MKDIR] = {op_mkdir, sizeof(struct fuse_mkdir_in), CHANGES},
	[FUSE_UNLINK] = {op_unlink, 1, CHANGES},
	[FUSE_RMDIR] = {op_rmdir, 1, CHANGES},
	[FUSE_RENAME] = {op_rename, sizeof(struct fuse_rename_in), CHANGES},
	[FUSE_LINK] = {op_link, sizeof(struct fuse_link_in), CHANGES},
	[FUSE_OPEN] = {op_open, sizeof(struct fuse_open_in), 0},
	[FUSE_READ] = {op_read, sizeof(struct fuse_read_in), 0},
	[FUSE_WRITE] = {op_write, sizeof(struct fuse_write_in), CHANGES},
	[FUSE_STATFS] = {op_statfs, 0, 0},
	[FUSE_RELEASE] = {op_release, sizeof(struct fuse_release_in), 0},
	[FUSE_FSYNC] = {op_fsync, sizeof(struct fuse_fsync_in), 0},
	[FUSE_SETXATTR] = {op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, CHANGES},
	[FUSE_GETXATTR] = {op_getxattr, sizeof(struct fuse_getxattr_in), 0},
	[FUSE_LISTXATTR] = {op_listxattr, sizeof(struct fuse_getxattr_in), 0},
	[FUSE_REMOVEXATTR] = {op_removexattr, 1, CHANGES},
	[FUSE_FLUSH] = {op_flush, sizeof(struct fuse_flush_in), 0},
	[FUSE_INIT] = {op_init, 16, ALONE},
	[FUSE_OPENDIR] = {op_opendir, sizeof(struct fuse_open_in), 0},
	[FUSE_READDIR] = {op_readdir, sizeof(struct fuse_read_in), 0},
	[FUSE_RELEASEDIR] = {op_releasedir, sizeof(struct fuse_release_in), 0},
	[FUSE_FSYNCDIR] = {op_fsyncdir, sizeof(struct fuse_fsync_in), 0},
	[FUSE_GETLK] = {op_getlk, sizeof(struct fuse_lk_in), 0},
	[FUSE_SETLK] = {op_setlk, sizeof(struct fuse_lk_in), 0},
	[FUSE_SETLKW] = {op_setlkw, sizeof(struct fuse_lk_in), 0},
	[FUSE_ACCESS] = {op_access, sizeof(struct fuse_access_in), 0},
	[FUSE_CREATE] = {op_create, sizeof(struct fuse_create_in), CHANGES},
	[FUSE_INTERRUPT] = {op_interrupt, sizeof(struct fuse_interrupt_in), SILENT},
	[FUSE_DESTROY] = {op_destroy, 0, ALONE},
	[FUSE_BATCH_FORGET] = {op_batch_forget, sizeof(struct fuse_batch_forget_in), SILENT},
	[FUSE_FALLOCATE] = {op_fallocate, sizeof(struct fuse_fallocate_in), CHANGES},
	[FUSE_READDIRPLUS] = {op_readdirplus, sizeof(struct fuse_read_in), 0},
	[FUSE_RENAME2] = {op_rename2, sizeof(struct fuse_rename2_in), CHANGES},
	[FUSE_LSEEK] = {op_lseek, sizeof(struct fuse_lseek_in), 0},
	[FUSE_COPY_FILE_RANGE] = {op_copy, sizeof(struct fuse_copy_file_range_in), CHANGES},
	[FUSE_SYNCFS] = {op_syncfs, 0, 0},
	[FUSE_TMPFILE] = {op_tmpfile, sizeof(struct fuse_create_in), CHANGES},
};
enum { OPS = sizeof(ops) / sizeof(ops[0]) };

unsigned op_least(uint32_t opcode) { return opcode < OPS ? ops[opcode].least : 0; }

/* ---- arguments ---- */
const char *call_text(const struct call *c, uint32_t *off)
{
	if (*off >= c->len) return NULL;
	const char *s = c->arg + *off;
	size_t n = strnlen(s, c->len - *off);
	if (n == c->len - *off) return NULL;
	*off += (uint32_t)n + 1;
	return s;
}

int call_name(const struct call *c, uint32_t *off, const char **name)
{
	const char *s = *name = call_text(c, off);
	if (!s || !*s || strchr(s, '/') || !strcmp(s, ".") || !strcmp(s, "..")) return -EINVAL;
	return strlen(s) > 255 ? -ENAMETOOLONG : 0;
}

/* ---- the session ---- */
void fuse_drop(struct fuse *f)
{
	handles_free(f);
	inodes_free(f);
}

static int op_destroy(struct call *c)
{
	locks_cancel(c->f, false);
	fuse_drop(c->f);
	return 0;
}

int op_init(struct call *c)
{
	const struct fuse_init_in *in = CALL_ARG(c, fuse_init_in);
	struct fuse_init_out *out = (void *)c->reply;
	*out = (struct fuse_init_out){.major = FUSE_KERNEL_VERSION,
				      .minor = FUSE_KERNEL_MINOR_VERSION};
	if (in->major > FUSE_KERNEL_VERSION) return sizeof(*out); /* it asks again */
	if (in->major < FUSE_KERNEL_VERSION || in->minor < MINOR_LEAST) return -EPROTO;
	(void)op_destroy(c);
	out->max_readahead = in->max_readahead;
	out->flags = in->flags & FEATURES;
	out->max_background = BACKGROUND;
	out->congestion_threshold = BACKGROUND / 4 * 3;
	out->max_write = PAGES_MAX * PAGE;
	out->max_pages = PAGES_MAX;
	out->time_gran = 1;
	return sizeof(*out);
}

int op_forget(struct call *c)
{
	inode_forget(c->f, c->h.nodeid, CALL_ARG(c, fuse_forget_in)->nlookup);
	return 0;
}

int op_batch_forget(struct call *c)
{
	const struct fuse_batch_forget_in *in = CALL_ARG(c, fuse_batch_forget_in);
	const struct fuse_forget_one *one = (const void *)(in + 1);
	uint32_t have = (c->len - (uint32_t)sizeof(*in)) / (uint32_t)sizeof(*one);
	for (uint32_t i = 0; i < in->count && i < have; i++)
		inode_forget(c->f, one[i].nodeid, one[i].nlookup);
	return 0;
}

/* ---- answers ---- */
void fuse_answer(struct fuse_req *q, uint64_t unique, int error, const void *payload, uint32_t n)
{
	struct fuse_out_header h = {.unique = unique, .error = error < 0 ? error : 0};
	if (error < 0) n = 0;
	h.len = (uint32_t)sizeof(h) + n;
	if (q->out_len < h.len) { /* no room, not even for bad news */
		q->done(q, 0);
		return;
	}
	if (payload) (void)iov_put(q->out, q->nout, sizeof(h), payload, n);
	(void)iov_put(q->out, q->nout, 0, &h, sizeof(h));
	q->done(q, h.len);
}

static int run(struct call *c, const struct op *op)
{
	if (!op->run) return -ENOSYS;
	if (c->len < op->least) return -EINVAL;
	if (op->how & CHANGES && c->f->opts.readonly) return -EROFS;
	return op->run(c);
}

static const struct op *begin(struct call *c, struct fuse_scratch *s)
{
	static const struct op none;
	struct fuse_req *q = c->q;
	if (iov_get(q->in, q->nin, 0, &c->h, sizeof(c->h)) < sizeof(c->h)) return NULL;
	const struct op *op = c->h.opcode < OPS ? &ops[c->h.opcode] : &none;
	uint32_t len = q->in_len - (uint32_t)sizeof(c->h), most = ARG_MAX_LEN;
	if (c->h.len < q->in_len)
		len = c->h.len < sizeof(c->h) ? 0 : c->h.len - (uint32_t)sizeof(c->h);
	if (c->h.opcode == FUSE_WRITE) most = sizeof(struct fuse_write_in);
	c->len = (uint32_t)iov_get(q->in, q->nin, sizeof(c->h), s->arg, len < most ? len : most);
	memset(s->arg + c->len, 0, 8);
	return op;
}

void fuse_serve(struct fuse *f, struct fuse_req *q, struct fuse_scratch *s)
{
	struct call c = {.f = f, .q = q, .arg = s->arg, .reply = s->reply, .list = s->list};
	const uint32_t head = sizeof(struct fuse_out_header);
	const struct op *op = begin(&c, s);
	if (!op) {
		q->done(q, 0);
		return;
	}
	c.room = q->out_len < head ? 0 : q->out_len - head;
	(void)(op->how & ALONE ? pthread_rwlock_wrlock(&f->busy) : pthread_rwlock_rdlock(&f->busy));
	bool mute = op->how & SILENT || q->out_len < head;
	int r = q->out_len < head && !(op->how & SILENT) ? -EINVAL : run(&c, op);
	(void)pthread_rwlock_unlock(&f->busy);
	if (c.later) return;
	if (c.again)
		q->done(q, FUSE_AGAIN);
	else if (mute)
		q->done(q, 0);
	else if (r > 0 && (uint32_t)r > c.room)
		fuse_answer(q, c.h.unique, -EINVAL, NULL, 0);
	else
		fuse_answer(q, c.h.unique, r, c.direct ? NULL : s->reply, r < 0 ? 0 : (uint32_t)r);
}

void fuse_reset(struct fuse *f)
{
	locks_cancel(f, false);
	(void)pthread_rwlock_wrlock(&f->busy);
	locks_cancel(f, false);
	fuse_drop(f);
	(void)pthread_rwlock_unlock(&f->busy);
}

void fuse_pause(struct fuse *f)
{
	(void)pthread_mutex_lock(&f->lock);
	f->paused = true;
	f->retaking = false;
	(void)pthread_mutex_unlock(&f->lock);
	locks_cancel(f, true);
}

void fuse_resume(struct fuse *f)
{
	(void)pthread_mutex_lock(&f->lock);
	f->paused = false;
	locks_retake(f);
	(void)pthread_mutex_unlock(&f->lock);
}

/* ---- its life ---- */
static unsigned fds_allowed(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l)) return 256;
	if (l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &l);
		(void)getrlimit(RLIMIT_NOFILE, &l);
	}
	return l.rlim_cur < FDS_MOST ? (unsigned)l.rlim_cur : FDS_MOST;
}

static void shares_of(struct fuse *f)
{
	unsigned n = f->opts.fds ? f->opts.fds : fds_allowed();
	n = n > 4 * FDS_SPARE ? n - FDS_SPARE : 3 * FDS_SPARE;
	f->max_handles = n / 3; /* each may have a record lock's descriptor beside it */
	f->max_fds = n / 3;
}

int fuse_new(struct fuse **out, int root, const struct fuse_opts *o, struct err *e)
{
	struct fuse *f = calloc(1, sizeof(*f));
	pthread_condattr_t attr;
	struct stat st;
	must(f && !pthread_condattr_init(&attr));
	must(!pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	f->opts = *o;
	f->uid = geteuid();
	f->gid = getegid();
	shares_of(f);
	must(!pthread_rwlock_init(&f->busy, NULL) && !pthread_mutex_init(&f->lock, NULL));
	must(!pthread_cond_init(&f->wake, &attr));
	(void)pthread_condattr_destroy(&attr);
	int r = inodes_init(f, root);
	if (r) (void)fail(e, r, "shared folder: %s", strerror(-r));
	if (!r && (fstat(f->root->fd, &st) || !dev_allowed(f, f->root->fd, &st)))
		r = fail(e, -EACCES, "shared folder: not of a file system that holds data");
	if (!r) r = locks_start(f, e);
	if (r) {
		fuse_free(f);
		return r;
	}
	*out = f;
	return 0;
}

void fuse_free(struct fuse *f)
{
	if (!f) return;
	if (f->root) fuse_reset(f);
	locks_stop(f);
	if (f->root) (void)close(f->root->fd);
	free(f->root);
	free(f->bucket);
	free(f->inodes.slot);
	free(f->handles.slot);
	(void)pthread_cond_destroy(&f->wake);
	(void)pthread_mutex_destroy(&f->lock);
	(void)pthread_rwlock_destroy(&f->busy);
	free(f);
}

struct fuse_scratch *fuse_scratch_new(void)
{
	struct fuse_scratch *s = calloc(1, sizeof(*s));
	must(s);
	return s;
}

void fuse_scratch_free(struct fuse_scratch *s) { free(s); }
