/* What is done to names. Every name is one component in a folder that is held by descriptor, and
 * no link is followed: there is no path for the guest to bend. */
#include "fs/impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { RENAME_ALLOWED = RENAME_NOREPLACE | RENAME_EXCHANGE, TRIES = 8 };

/* What was made just now is not believed: if it is a file to lock, that need not wait. */
static int entry_of(struct call *c, int fd, struct inode *dir, const char *name,
		    struct fuse_entry_out *out)
{
	struct stat st;
	bool made = c->h.opcode == FUSE_CREATE || c->h.opcode == FUSE_TMPFILE;
	*out = (struct fuse_entry_out){.entry_valid = SECONDS_VALID,
				       .attr_valid = made ? 0 : SECONDS_VALID};
	int r = fstat(fd, &st) ? -errno : dev_allowed(c->f, fd, &st) ? 0 : -EACCES;
	if (r) {
		(void)close(fd);
		return r;
	}
	r = inode_enter(c->f, fd, &st, dir, name, out);
	if (!r) attr_fill(c->f, &st, &out->attr);
	return r;
}

int entry_make(struct call *c, struct inode *dir, const char *name, struct fuse_entry_out *out)
{
	int fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) return -errno;
	return entry_of(c, fd, dir, name, out);
}

/* A number cannot be another file's while a descriptor holds the one that has it. */
int entry_find(struct call *c, struct inode *dir, const char *name, struct fuse_entry_out *out)
{
	struct stat st;
	*out = (struct fuse_entry_out){.entry_valid = SECONDS_VALID, .attr_valid = SECONDS_VALID};
	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)) return -errno;
	if (!inode_meet(c->f, &st, dir, name, out)) return entry_make(c, dir, name, out);
	attr_fill(c->f, &st, &out->attr);
	return 0;
}

/* What was made just now belongs to who made it. A file that somebody put in its place does not:
 * it has another owner, or other names. In a set-group-ID folder the host has chosen the group. */
static void own(struct call *c, const struct inode *dir, int fd)
{
	struct stat st, up;
	if (!c->f->opts.ids || fstat(fd, &st) || fstat(dir->fd, &up)) return;
	if (st.st_uid == c->h.uid && (st.st_gid == c->h.gid || up.st_mode & S_ISGID)) return;
	if (st.st_uid != c->f->uid || (!S_ISDIR(st.st_mode) && st.st_nlink > 1)) return;
	gid_t gid = up.st_mode & S_ISGID ? (gid_t)-1 : c->h.gid;
	(void)!fchownat(fd, "", c->h.uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
}

static int made(struct call *c, struct inode *dir, const char *name)
{
	struct fuse_entry_out *out = (void *)c->reply;
	int fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) return -errno;
	own(c, dir, fd);
	int r = entry_of(c, fd, dir, name, out);
	return r ? r : (int)sizeof(*out);
}

/* The folder and the name that nearly every operation here begins with. */
static int begin(struct call *c, uint32_t *off, struct inode **dir, const char **name)
{
	int r = call_name(c, off, name);
	if (!r) r = inode_get(c->f, c->h.nodeid, dir);
	return r;
}

int op_lookup(struct call *c)
{
	struct inode *dir;
	const char *name;
	uint32_t off = 0;
	int r = begin(c, &off, &dir, &name);
	if (r) return r;
	r = entry_find(c, dir, name, (void *)c->reply);
	inode_put(c->f, dir);
	return r ? r : (int)sizeof(struct fuse_entry_out);
}

int op_mknod(struct call *c)
{
	uint32_t off = sizeof(struct fuse_mknod_in);
	mode_t mode = CALL_ARG(c, fuse_mknod_in)->mode;
	struct inode *dir;
	const char *name;
	if (!(mode & S_IFMT)) mode |= S_IFREG;
	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode)) return -EPERM;
	int r = begin(c, &off, &dir, &name);
	if (r) return r;
	r = mknodat(dir->fd, name, (mode & S_IFMT) | mode_allowed(mode), 0) ? -errno
									    : made(c, dir, name);
	inode_put(c->f, dir);
	return r;
}

int op_mkdir(struct call *c)
{
	uint32_t off = sizeof(struct fuse_mkdir_in);
	mode_t mode = S_IFDIR | CALL_ARG(c, fuse_mkdir_in)->mode;
	struct inode *dir;
	const char *name;
	int r = begin(c, &off, &dir, &name);
	if (r) return r;
	r = mkdirat(dir->fd, name, mode_allowed(mode)) ? -errno : made(c, dir, name);
	inode_put(c->f, dir);
	return r;
}

int op_symlink(struct call *c)
{
	struct inode *dir;
	const char *name, *to;
	uint32_t off = 0;
	int r = begin(c, &off, &dir, &name);
	if (r) return r;
	to = call_text(c, &off);
	if (!to)
		r = -EINVAL;
	else
		r = symlinkat(to, dir->fd, name) ? -errno : made(c, dir, name);
	inode_put(c->f, dir);
	return r;
}

int op_readlink(struct call *c)
{
	struct inode *i;
	int r = inode_get(c->f, c->h.nodeid, &i);
	if (r) return r;
	ssize_t n = readlinkat(i->fd, "", c->reply, PATH_MAX - 1);
	r = n < 0 ? errno == ENOENT ? -EINVAL : -errno : (int)n;
	inode_put(c->f, i);
	return r;
}

/* ---- links ---- */

/* Links cannot be named by descriptor: by name, then, and looked at afterwards. */
static int link_by_name(const struct inode *i, const struct inode *dir, const char *name)
{
	struct stat st;
	if (!i->parent || i->parent->fd < 0) return -EPERM;
	if (linkat(i->parent->fd, i->name, dir->fd, name, 0)) return -errno;
	if (!fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) && st.st_ino == i->ino &&
	    st.st_dev == i->dev)
		return 0;
	(void)unlinkat(dir->fd, name, 0);
	return -ESTALE;
}

static int link_make(struct fuse *f, const struct inode *i, const struct inode *dir,
		     const char *name)
{
	if (S_ISDIR(i->type)) return -EPERM;
	if (!S_ISLNK(i->type))
		return linkat(AT_FDCWD, self_path(f, i->fd).path, dir->fd, name, AT_SYMLINK_FOLLOW)
			       ? -errno
			       : 0;
	(void)pthread_mutex_lock(&f->lock);
	int r = link_by_name(i, dir, name);
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

int op_link(struct call *c)
{
	uint32_t off = sizeof(struct fuse_link_in);
	struct inode *dir, *i;
	const char *name;
	int r = begin(c, &off, &dir, &name);
	if (r) return r;
	r = inode_get(c->f, CALL_ARG(c, fuse_link_in)->oldnodeid, &i);
	if (!r) {
		r = link_make(c->f, i, dir, name);
		inode_put(c->f, i);
	}
	if (!r) r = entry_make(c, dir, name, (void *)c->reply);
	inode_put(c->f, dir);
	return r ? r : (int)sizeof(struct fuse_entry_out);
}

static int removes(struct call *c, int flags)
{
	struct inode *dir;
	const char *name;
	uint32_t off = 0;
	int r = begin(c, &off, &dir, &name);
	if (r) return r;
	inode_unnamed(c->f, dir, name);
	if (unlinkat(dir->fd, name, flags)) r = -errno;
	inode_put(c->f, dir);
	return r;
}

int op_unlink(struct call *c) { return removes(c, 0); }

int op_rmdir(struct call *c) { return removes(c, AT_REMOVEDIR); }

/* ---- renames ---- */
static void learn(struct fuse *f, struct inode *dir, const char *name)
{
	struct stat st;
	if (!fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW)) inode_named(f, &st, dir, name);
}

static int renames(struct call *c, uint32_t off, uint64_t to, unsigned flags)
{
	struct inode *from, *dir = NULL;
	const char *old, *name;
	if (flags & ~(unsigned)RENAME_ALLOWED) return -EINVAL;
	int r = begin(c, &off, &from, &old);
	if (r) return r;
	r = call_name(c, &off, &name);
	if (!r) r = inode_get(c->f, to, &dir);
	if (!r) {
		inode_unnamed(c->f, from, old);
		inode_unnamed(c->f, dir, name);
		if (syscall(SYS_renameat2, from->fd, old, dir->fd, name, flags))
			r = -errno; /* glibc: or renameat */
		learn(c->f, dir, name);
		if (r || flags & RENAME_EXCHANGE) learn(c->f, from, old);
	}
	inode_put(c->f, dir);
	inode_put(c->f, from);
	return r;
}

int op_rename(struct call *c)
{
	return renames(c, sizeof(struct fuse_rename_in), CALL_ARG(c, fuse_rename_in)->newdir, 0);
}

int op_rename2(struct call *c)
{
	const struct fuse_rename2_in *in = CALL_ARG(c, fuse_rename2_in);
	return renames(c, sizeof(*in), in->newdir, in->flags);
}

/* ---- create ---- */
enum { CREATE_FLAGS = O_ACCMODE | O_SYNC | O_DSYNC };

/* A file that is there already, and was made by somebody else. */
static int open_there(struct call *c, int fd, int flags)
{
	struct stat st;
	if (fstat(fd, &st)) return -errno;
	if (S_ISDIR(st.st_mode)) return -EISDIR;
	if (!dev_allowed(c->f, fd, &st)) return -EACCES;
	struct inode i = {.fd = fd, .type = st.st_mode & S_IFMT};
	int r = inode_open(c->f, &i, flags);
	return (flags & O_ACCMODE) == O_RDONLY ? r : open_plainly(c->f, r);
}

/* Made or found, it is one and the same file that is entered and opened. */
static int create_at(struct call *c, struct inode *dir, const char *name, int *opened)
{
	const struct fuse_create_in *in = CALL_ARG(c, fuse_create_in);
	int flags = (int)in->flags & CREATE_FLAGS, trunc = (int)in->flags & O_TRUNC;
	for (unsigned n = 0; n < TRIES; n++) {
		int fd = openat(dir->fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				mode_allowed(S_IFREG | (in->mode & 07777)));
		if (fd >= 0) {
			own(c, dir, fd);
			*opened = fd;
			return open(self_path(c->f, fd).path, O_PATH | O_CLOEXEC);
		}
		if (errno != EEXIST || (int)in->flags & O_EXCL) return -errno;
		fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT) continue;
		if (fd < 0) return -errno;
		*opened = open_there(c, fd, flags | trunc);
		if (*opened >= 0) return fd;
		(void)close(fd);
		return *opened;
	}
	return -EAGAIN;
}

int op_create(struct call *c)
{
	struct fuse_entry_out *out = (void *)c->reply;
	struct fuse_open_out *o = (void *)(out + 1);
	uint32_t off = sizeof(struct fuse_create_in);
	struct inode *dir;
	const char *name;
	int opened = -1, r = begin(c, &off, &dir, &name);
	if (r) return r;
	int fd = create_at(c, dir, name, &opened);
	r = fd < 0 ? opened < 0 ? fd : -errno : entry_of(c, fd, dir, name, out);
	inode_put(c->f, dir);
	*o = (struct fuse_open_out){0};
	if (!r)
		r = handle_new(c->f, opened, HANDLE_FILE, &o->fh);
	else if (opened >= 0)
		(void)close(opened);
	return r ? r : (int)(sizeof(*out) + sizeof(*o));
}

/* An unnamed file (O_TMPFILE); a link may give it a name. */
int op_tmpfile(struct call *c)
{
	const struct fuse_create_in *in = CALL_ARG(c, fuse_create_in);
	struct fuse_entry_out *out = (void *)c->reply;
	struct fuse_open_out *o = (void *)(out + 1);
	struct inode *dir;
	int r = inode_get(c->f, c->h.nodeid, &dir);
	if (r) return r;
	int opened = openat(dir->fd, ".", ((int)in->flags & CREATE_FLAGS) | O_TMPFILE | O_CLOEXEC,
			    mode_allowed(S_IFREG | (in->mode & 07777)));
	if (opened >= 0) own(c, dir, opened);
	int fd = opened < 0 ? -1 : open(self_path(c->f, opened).path, O_PATH | O_CLOEXEC);
	r = fd < 0 ? -errno : entry_of(c, fd, NULL, NULL, out);
	inode_put(c->f, dir);
	*o = (struct fuse_open_out){0};
	if (!r)
		r = handle_new(c->f, opened, HANDLE_FILE, &o->fh);
	else if (opened >= 0)
		(void)close(opened);
	return r ? r : (int)(sizeof(*out) + sizeof(*o));
}
