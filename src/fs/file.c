/* Open files. Data goes between the file and the guest's pages without a copy. */
#include "fs/impl.h"
#include <sys/syscall.h>

/* What of the guest's flags the host shall know: not O_APPEND (a write says it), not O_DIRECT. */
enum { OPEN_FLAGS = O_ACCMODE | O_SYNC | O_DSYNC | O_TRUNC };

/* Whoever may write to a program shall not have it run as its owner on the host. */
int open_plainly(struct fuse *f, int fd)
{
	const mode_t risky = S_ISUID | S_ISGID;
	struct stat st;
	if (fd < 0) return fd;
	int r = fstat(fd, &st) ? -errno : 0;
	if (!r && S_ISREG(st.st_mode) && st.st_mode & risky &&
	    fchmodat(AT_FDCWD, self_path(f, fd).path, st.st_mode & 07777 & ~risky, 0))
		r = -EPERM;
	if (r) (void)close(fd);
	return r ? r : fd;
}

int op_open(struct call *c)
{
	const struct fuse_open_in *in = CALL_ARG(c, fuse_open_in);
	struct fuse_open_out *out = (void *)c->reply;
	int flags = (int)in->flags & OPEN_FLAGS;
	struct inode *i;
	if (c->f->opts.readonly && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	int fd = S_ISDIR(i->type) ? -EISDIR : inode_open(c->f, i, flags);
	inode_put(c->f, i);
	if ((flags & O_ACCMODE) != O_RDONLY) fd = open_plainly(c->f, fd);
	if (fd < 0) return fd;
	*out = (struct fuse_open_out){0};
	r = handle_new(c->f, fd, HANDLE_FILE, &out->fh);
	return r ? r : (int)sizeof(*out);
}

int op_release(struct call *c)
{
	handle_close(c->f, CALL_ARG(c, fuse_release_in)->fh, HANDLE_FILE);
	return 0;
}

int op_read(struct call *c)
{
	const struct fuse_read_in *in = CALL_ARG(c, fuse_read_in);
	uint32_t len = in->size < c->room ? in->size : c->room;
	struct iovec v[FUSE_IOV];
	struct handle *h = handle_get(c->f, in->fh, HANDLE_FILE);
	if (!h) return -EBADF;
	int n = iov_slice(c->q->out, c->q->nout, sizeof(struct fuse_out_header), len, v, FUSE_IOV);
	ssize_t got = preadv(h->fd, v, n, (off_t)in->offset);
	int r = got < 0 ? -errno : (int)got;
	handle_put(c->f, h);
	c->direct = true;
	return r;
}

/* The guest's kernel says the offset, but only the host knows where a shared file ends; pages that
 * it wrote back later (FUSE_WRITE_CACHE) know their place. */
int op_write(struct call *c)
{
	const struct fuse_write_in *in = CALL_ARG(c, fuse_write_in);
	struct fuse_write_out *out = (void *)c->reply;
	uint32_t off = sizeof(c->h) + sizeof(*in);
	bool cached = in->write_flags & FUSE_WRITE_CACHE;
	int how = !cached && (int)in->flags & O_APPEND ? RWF_APPEND : 0;
	struct iovec v[FUSE_IOV];
	if (in->size > c->q->in_len - off) return -EINVAL;
	struct handle *h = handle_get(c->f, in->fh, HANDLE_FILE);
	if (!h) return -EBADF;
	int n = iov_slice(c->q->in, c->q->nin, off, in->size, v, FUSE_IOV);
	ssize_t put = pwritev2(h->fd, v, n, (off_t)in->offset, how);
	int r = put < 0 ? -errno : 0;
	handle_put(c->f, h);
	*out = (struct fuse_write_out){.size = (uint32_t)put};
	return r ? r : (int)sizeof(*out);
}

/* Closing one descriptor of the file lets go of the process's record locks. */
int op_flush(struct call *c)
{
	const struct fuse_flush_in *in = CALL_ARG(c, fuse_flush_in);
	struct handle *h = handle_get(c->f, in->fh, HANDLE_FILE | HANDLE_DIR);
	struct inode *i;
	int r = h ? 0 : -EBADF;
	handle_put(c->f, h);
	if (r || inode_get(c->f, c->h.nodeid, &i)) return r;
	locks_flush(c->f, i, in->lock_owner);
	inode_put(c->f, i);
	return 0;
}

static int sync_one(struct call *c, enum handle_kind kind)
{
	const struct fuse_fsync_in *in = CALL_ARG(c, fuse_fsync_in);
	struct handle *h = handle_get(c->f, in->fh, kind);
	if (!h) return -EBADF;
	bool data = in->fsync_flags & FUSE_FSYNC_FDATASYNC;
	int r = (data ? fdatasync(h->fd) : fsync(h->fd)) ? -errno : 0;
	handle_put(c->f, h);
	return r;
}

int op_fsync(struct call *c) { return sync_one(c, HANDLE_FILE); }

int op_fsyncdir(struct call *c) { return sync_one(c, HANDLE_DIR); }

int op_syncfs(struct call *c)
{
	int fd = inode_open(c->f, c->f->root, O_RDONLY);
	if (fd < 0) return fd;
	int r = syncfs(fd) ? -errno : 0;
	(void)close(fd);
	return r;
}

int op_fallocate(struct call *c)
{
	const struct fuse_fallocate_in *in = CALL_ARG(c, fuse_fallocate_in);
	struct handle *h = handle_get(c->f, in->fh, HANDLE_FILE);
	if (!h) return -EBADF;
	int r = fallocate(h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) ? -errno : 0;
	handle_put(c->f, h);
	return r;
}

int op_lseek(struct call *c)
{
	const struct fuse_lseek_in *in = CALL_ARG(c, fuse_lseek_in);
	struct fuse_lseek_out *out = (void *)c->reply;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE) return -EINVAL;
	struct handle *h = handle_get(c->f, in->fh, HANDLE_FILE);
	if (!h) return -EBADF;
	off_t at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
	int r = at < 0 ? -errno : 0;
	handle_put(c->f, h);
	*out = (struct fuse_lseek_out){.offset = (uint64_t)at};
	return r ? r : (int)sizeof(*out);
}

int op_copy(struct call *c)
{
	enum { COPY_MAX = 64 << 20 }; /* at once: the guest asks again */
	const struct fuse_copy_file_range_in *in = CALL_ARG(c, fuse_copy_file_range_in);
	struct fuse_write_out *out = (void *)c->reply;
	struct handle *from = handle_get(c->f, in->fh_in, HANDLE_FILE),
		      *to = handle_get(c->f, in->fh_out, HANDLE_FILE);
	off_t at = (off_t)in->off_in, into = (off_t)in->off_out;
	ssize_t n = -1;
	int r = from && to ? 0 : -EBADF;
	if (!r) {
		n = copy_file_range(from->fd, &at, to->fd, &into,
				    in->len < COPY_MAX ? in->len : COPY_MAX, 0);
		if (n < 0) r = -errno;
	}
	handle_put(c->f, from);
	handle_put(c->f, to);
	*out = (struct fuse_write_out){.size = (uint32_t)n};
	return r ? r : (int)sizeof(*out);
}
