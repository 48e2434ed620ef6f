/* What is known about a file: attributes, space, extended attributes. Two rules of safety: no
 * set-user-ID program and no file capability comes to be on the host, and only `user.` attributes
 * are passed on. */
#include "fs/impl.h"
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

enum { DEV_SHIFT = 48 };

bool fuse_is_data(int fd)
{
	static const long windows[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC,		CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		DEBUGFS_MAGIC,	  TRACEFS_MAGIC,	SECURITYFS_MAGIC,   BPF_FS_MAGIC,
		SELINUX_MAGIC,	  PSTOREFS_MAGIC,	EFIVARFS_MAGIC,	    DEVPTS_SUPER_MAGIC,
		BINFMTFS_MAGIC,	  RDTGROUP_SUPER_MAGIC, NSFS_MAGIC};
	struct statfs s;
	if (fstatfs(fd, &s)) return false;
	for (unsigned i = 0; i < sizeof(windows) / sizeof(windows[0]); i++)
		if (s.f_type == windows[i]) return false;
	return true;
}

static unsigned dev_find(const struct fuse *f, dev_t dev)
{
	unsigned n = 0;
	while (n < f->ndevs && f->devs[n].dev != dev) n++;
	return n;
}

bool dev_allowed(struct fuse *f, int fd, const struct stat *st)
{
	(void)pthread_mutex_lock(&f->lock);
	unsigned n = dev_find(f, st->st_dev);
	bool known = n < f->ndevs, refused = known ? f->devs[n].refused : !fuse_is_data(fd);
	if (!known && n < sizeof(f->devs) / sizeof(f->devs[0]))
		f->devs[f->ndevs++] = (struct dev){st->st_dev, refused};
	(void)pthread_mutex_unlock(&f->lock);
	return !refused;
}

/* Numbers of files on other file systems below the folder are kept apart from the root's. */
static uint64_t ino_told(struct fuse *f, const struct stat *st)
{
	(void)pthread_mutex_lock(&f->lock);
	unsigned n = dev_find(f, st->st_dev);
	(void)pthread_mutex_unlock(&f->lock);
	return st->st_ino ^ (uint64_t)n << DEV_SHIFT;
}

void attr_fill(struct fuse *f, const struct stat *st, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = ino_told(f, st),
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = f->opts.ids	      ? st->st_uid
		       : st->st_uid == f->uid ? 0
					      : NOBODY,
		.gid = f->opts.ids	      ? st->st_gid
		       : st->st_gid == f->gid ? 0
					      : NOBODY,
		.rdev = (uint32_t)st->st_rdev,
		.blksize = (uint32_t)st->st_blksize,
	};
}

static int attr_reply(struct call *c, int fd, struct inode *i)
{
	struct fuse_attr_out *out = (void *)c->reply;
	struct stat st;
	*out = (struct fuse_attr_out){.attr_valid = inode_tell(c->f, i)}; /* before we look */
	if (fstat(fd, &st)) return -errno;
	attr_fill(c->f, &st, &out->attr);
	return sizeof(*out);
}

int op_getattr(struct call *c)
{
	const struct fuse_getattr_in *in = CALL_ARG(c, fuse_getattr_in);
	bool open = in->getattr_flags & FUSE_GETATTR_FH;
	struct handle *h = open ? handle_get(c->f, in->fh, HANDLE_FILE | HANDLE_DIR) : NULL;
	struct inode *i;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) i = NULL; /* what is open has answers nevertheless */
	if (h || i) r = attr_reply(c, h ? h->fd : i->fd, i);
	inode_put(c->f, i);
	handle_put(c->f, h);
	return r;
}

/* ---- setattr ---- */
mode_t mode_allowed(mode_t mode) { return mode & (S_ISDIR(mode) ? 01777u | S_ISGID : 01777u); }

static int set_mode(struct fuse *f, const struct inode *i, mode_t mode)
{
	bool risky = mode & S_ISUID || (!S_ISDIR(i->type) && mode & S_ISGID && mode & S_IXGRP);
	if (risky) return -EPERM;
	if (S_ISLNK(i->type)) return -EOPNOTSUPP;
	return fchmodat(AT_FDCWD, self_path(f, i->fd).path, mode & 07777, 0) ? -errno : 0;
}

static int set_owner(struct fuse *f, const struct inode *i, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	struct stat st;
	struct fuse_attr a;
	if (f->opts.ids)
		return fchownat(i->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno
											  : 0;
	if (fstat(i->fd, &st)) return -errno;
	attr_fill(f, &st, &a);
	bool same = (uid == (uid_t)-1 || uid == a.uid) && (gid == (gid_t)-1 || gid == a.gid);
	return same ? 0 : -EPERM;
}

static int set_size(struct call *c, const struct inode *i, const struct fuse_setattr_in *in)
{
	struct handle *h = in->valid & FATTR_FH ? handle_get(c->f, in->fh, HANDLE_FILE) : NULL;
	int fd = h ? h->fd : open_plainly(c->f, inode_open(c->f, i, O_WRONLY)), r = fd < 0 ? fd : 0;
	if (!r && (in->size > INT64_MAX || ftruncate(fd, (off_t)in->size)))
		r = in->size > INT64_MAX ? -EFBIG : -errno;
	if (!h && fd >= 0) (void)close(fd);
	handle_put(c->f, h);
	return r;
}

static struct timespec time_of(const struct fuse_setattr_in *in, bool access)
{
	uint32_t set = access ? FATTR_ATIME : FATTR_MTIME;
	uint32_t now = access ? FATTR_ATIME_NOW : FATTR_MTIME_NOW;
	uint64_t sec = access ? in->atime : in->mtime;
	uint32_t nsec = access ? in->atimensec : in->mtimensec;
	if (!(in->valid & (set | now))) return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (in->valid & now) return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = nsec % 1000000000};
}

static int set_times(struct fuse *f, const struct inode *i, const struct fuse_setattr_in *in)
{
	struct timespec t[2] = {time_of(in, true), time_of(in, false)};
	if (!utimensat(i->fd, "", t, AT_EMPTY_PATH)) return 0;
	if (errno != EINVAL || S_ISLNK(i->type)) return -errno;
	return utimensat(AT_FDCWD, self_path(f, i->fd).path, t, 0) ? -errno : 0; /* before 5.8 */
}

int op_setattr(struct call *c)
{
	const struct fuse_setattr_in *in = CALL_ARG(c, fuse_setattr_in);
	struct inode *i;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	if (in->valid & (FATTR_UID | FATTR_GID)) r = set_owner(c->f, i, in);
	if (!r && in->valid & FATTR_MODE) r = set_mode(c->f, i, in->mode);
	if (!r && in->valid & FATTR_SIZE) r = set_size(c, i, in);
	if (!r && in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW))
		r = set_times(c->f, i, in);
	if (!r) r = attr_reply(c, i->fd, i);
	inode_put(c->f, i);
	return r;
}

/* ---- space, access ---- */
int op_statfs(struct call *c)
{
	struct fuse_statfs_out *out = (void *)c->reply;
	struct inode *i;
	struct statfs s;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	r = fstatfs(i->fd, &s) ? -errno : 0;
	inode_put(c->f, i);
	if (r) return r;
	*out = (struct fuse_statfs_out){.st = {.blocks = s.f_blocks,
					       .bfree = s.f_bfree,
					       .bavail = s.f_bavail,
					       .files = s.f_files,
					       .ffree = s.f_ffree,
					       .bsize = (uint32_t)s.f_bsize,
					       .namelen = (uint32_t)s.f_namelen,
					       .frsize = (uint32_t)s.f_frsize}};
	return sizeof(*out);
}

/* The guest's kernel has looked at the mode already. */
int op_access(struct call *c)
{
	struct inode *i;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	inode_put(c->f, i);
	return CALL_ARG(c, fuse_access_in)->mask & W_OK && c->f->opts.readonly ? -EROFS : 0;
}

/* ---- extended attributes ---- */
static int xattr_name(const char *name)
{
	if (!name) return -EINVAL;
	if (strlen(name) > 255) return -ERANGE;
	return strncmp(name, "user.", 5) || !name[5] ? -EOPNOTSUPP : 0;
}

/* Only files and folders have those; paths of others would lead to what they stand for. */
static int xattr_inode(struct call *c, struct inode **i, int other)
{
	int r = inode_get(c->f, c->h.nodeid, i);
	if (r || S_ISREG((*i)->type) || S_ISDIR((*i)->type)) return r;
	inode_put(c->f, *i);
	return other;
}

int op_setxattr(struct call *c)
{
	const struct fuse_setxattr_in *in = CALL_ARG(c, fuse_setxattr_in);
	uint32_t off = FUSE_COMPAT_SETXATTR_IN_SIZE;
	const char *name = call_text(c, &off);
	struct inode *i;
	int r = xattr_name(name);
	if (!r && (off > c->len || in->size > c->len - off)) r = -EINVAL;
	if (!r && in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)) r = -EINVAL;
	if (!r) r = xattr_inode(c, &i, -EPERM);
	if (r) return r;
	if (setxattr(self_path(c->f, i->fd).path, name, c->arg + off, in->size, (int)in->flags))
		r = -errno;
	inode_put(c->f, i);
	return r;
}

static int xattr_reply(struct call *c, ssize_t n, uint32_t size)
{
	struct fuse_getxattr_out *out = (void *)c->reply;
	if (n < 0) return -errno;
	if (size) return (size_t)n > size ? -ERANGE : (int)n;
	*out = (struct fuse_getxattr_out){.size = (uint32_t)n};
	return sizeof(*out);
}

int op_getxattr(struct call *c)
{
	const struct fuse_getxattr_in *in = CALL_ARG(c, fuse_getxattr_in);
	uint32_t off = sizeof(*in), size = in->size < REPLY_MAX ? in->size : REPLY_MAX;
	const char *name = call_text(c, &off);
	struct inode *i;
	int r = xattr_name(name);
	if (!r) r = xattr_inode(c, &i, -ENODATA);
	if (r) return r;
	ssize_t n = getxattr(self_path(c->f, i->fd).path, name, c->reply, size);
	r = xattr_reply(c, n, size);
	inode_put(c->f, i);
	return r;
}

/* Those that may be passed on, moved together; their length. */
static ssize_t xattr_sift(char *list, ssize_t n)
{
	ssize_t kept = 0;
	for (ssize_t at = 0, len; at < n; at += len) {
		len = (ssize_t)strnlen(list + at, (size_t)(n - at)) + 1;
		if (strncmp(list + at, "user.", 5)) continue;
		memmove(list + kept, list + at, (size_t)len);
		kept += len;
	}
	return kept;
}

int op_listxattr(struct call *c)
{
	const struct fuse_getxattr_in *in = CALL_ARG(c, fuse_getxattr_in);
	struct inode *i;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	bool other = !S_ISREG(i->type) && !S_ISDIR(i->type);
	ssize_t n = other ? 0 : listxattr(self_path(c->f, i->fd).path, c->reply, REPLY_MAX - 1);
	if (n >= 0) c->reply[n] = 0;
	r = xattr_reply(c, n < 0 ? n : xattr_sift(c->reply, n), in->size);
	inode_put(c->f, i);
	return r;
}

int op_removexattr(struct call *c)
{
	uint32_t off = 0;
	const char *name = call_text(c, &off);
	struct inode *i;
	int r = xattr_name(name);
	if (!r) r = xattr_inode(c, &i, -EPERM);
	if (r) return r;
	if (removexattr(self_path(c->f, i->fd).path, name)) r = -errno;
	inode_put(c->f, i);
	return r;
}
