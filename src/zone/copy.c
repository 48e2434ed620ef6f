/* One folder of a zone's files after the other, by descriptors. */
#include "base/own.h"
#include "zone/files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PIECE = 256 << 10 };

struct copy {
	const struct files_ids *ids;
	struct files_links *links;
	int top;   /* of the copy */
	dev_t dev; /* nothing is mounted in there */
	char path[FILES_PATH];
	unsigned depth;
	char *piece;
};

/* ---- what a file is besides its contents */
struct target {
	char path[64 + 256];
};

static int attr_put(void *ctx, const char *key, const void *value, size_t n)
{
	const struct target *t = ctx;
	if (!lsetxattr(t->path, key, value, n, 0)) return 0;
	/* What this host's modules think of a file is not the zone's. */
	bool theirs = !strncmp(key, "security.", 9) && strcmp(key, "security.capability") != 0;
	return theirs ? 0 : -errno;
}

/* Owner first: a change of that takes rights away. */
static int looks(const struct copy *c, int from, const char *name, int to, const char *as,
		 const struct stat *st)
{
	struct target t;
	const struct timespec when[2] = {st->st_atim, st->st_mtim};
	uid_t uid = files_id(c->ids, st->st_uid), gid = files_id(c->ids, st->st_gid);
	if (fchownat(to, as, uid, gid, AT_SYMLINK_NOFOLLOW)) return -errno;
	(void)snprintf(t.path, sizeof(t.path), "/proc/self/fd/%d/%s", to, as);
	int r = files_attr_each(from, name, c->ids, attr_put, &t);
	if (r) return r;
	if (!S_ISLNK(st->st_mode) && chmod(t.path, st->st_mode & 07777)) return -errno;
	return utimensat(to, as, when, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* ---- contents */
static int piece_copy(const struct copy *c, int in, int out, off_t at, off_t end)
{
	while (at < end) {
		size_t want = end - at < PIECE ? (size_t)(end - at) : PIECE;
		ssize_t n = pread(in, c->piece, want, at);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return n ? -errno : 0;
		for (ssize_t done = 0, k; done < n; done += k) {
			k = pwrite(out, c->piece + done, (size_t)(n - done), at + done);
			if (k <= 0) return k ? -errno : -EIO;
		}
		at += n;
	}
	return 0;
}

/* Holes stay holes. */
static int contents(const struct copy *c, int in, int out, off_t size)
{
	if (!ioctl(out, FICLONE, in)) return 0;
	int r = ftruncate(out, size) ? -errno : 0;
	for (off_t at = 0, end; !r && at < size; at = end) {
		at = lseek(in, at, SEEK_DATA);
		if (at < 0) return errno == ENXIO ? 0 : -errno;
		end = lseek(in, at, SEEK_HOLE);
		if (end < 0) return -errno;
		r = piece_copy(c, in, out, at, end);
	}
	return r;
}

static int same(int fd, const struct stat *st)
{
	struct stat now;
	if (fstat(fd, &now)) return -errno;
	return now.st_ino == st->st_ino && now.st_dev == st->st_dev ? 0 : -ESTALE;
}

static int file_copy(const struct copy *c, int from, int to, const char *name, struct stat *st)
{
	auto_fd int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int r = in < 0 ? -errno : same(in, st);
	if (r) return r;
	auto_fd int out =
		openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0) return -errno;
	r = contents(c, in, out, st->st_size);
	return r ? r : looks(c, from, name, to, name, st);
}

static int symlink_copy(const struct copy *c, int from, int to, const char *name, struct stat *st)
{
	char text[FILES_PATH];
	ssize_t n = readlinkat(from, name, text, sizeof(text) - 1);
	if (n < 0) return -errno;
	text[n] = 0;
	if (symlinkat(text, to, name)) return -errno;
	return looks(c, from, name, to, name, st);
}

static int node_copy(const struct copy *c, int from, int to, const char *name, struct stat *st)
{
	if (mknodat(to, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev)) return -errno;
	return looks(c, from, name, to, name, st);
}

static int folder_copy(struct copy *c, int from, int to, struct err *e);
static int folder_one(struct copy *c, int from, int to, const char *name, struct stat *st,
		      struct err *e)
{
	auto_fd int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = in < 0 ? -errno : same(in, st);
	if (!r && mkdirat(to, name, 0700)) r = -errno;
	if (r) return r;
	auto_fd int out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0) return -errno;
	r = folder_copy(c, in, out, e);
	return r ? r
		 : looks(c, in, ".", out, ".", st); /* last: what was made in it has changed it */
}

static int kind_copy(struct copy *c, int from, int to, const char *name, struct stat *st,
		     struct err *e)
{
	if (st->st_dev != c->dev) return -EXDEV;
	if (S_ISDIR(st->st_mode)) return folder_one(c, from, to, name, st, e);
	const char *there = st->st_nlink > 1 ? files_link(c->links, st, c->path) : NULL;
	if (there) return linkat(c->top, there, to, name, 0) ? -errno : 0;
	if (S_ISREG(st->st_mode)) return file_copy(c, from, to, name, st);
	if (S_ISLNK(st->st_mode)) return symlink_copy(c, from, to, name, st);
	return node_copy(c, from, to, name, st);
}

static int one(struct copy *c, int from, int to, const char *name, struct err *e)
{
	struct stat st;
	size_t was = strlen(c->path);
	if (was + strlen(name) + 2 > FILES_PATH || c->depth == FILES_DEPTH)
		return fail(e, -ELOOP, "folders in folders, too deep to be copied: /%.100s...",
			    c->path);
	(void)snprintf(c->path + was, FILES_PATH - was, "%s%s", was ? "/" : "", name);
	int r = fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
	c->depth++;
	e->code = 0;
	if (!r) r = kind_copy(c, from, to, name, &st, e);
	c->depth--;
	if (r && !e->code) r = fail(e, r, "/%.200s: %s", c->path, strerror(-r));
	c->path[was] = 0;
	return r;
}

static bool dots(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

static int folder_copy(struct copy *c, int from, int to, struct err *e)
{
	int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = again < 0 ? NULL : fdopendir(again);
	if (!d) return fail(e, -errno, "/%.200s: %s", c->path, strerror(errno));
	for (struct dirent *f; !r && (f = readdir(d));)
		if (!dots(f->d_name)) r = one(c, from, to, f->d_name, e);
	(void)closedir(d);
	return r;
}

int files_copy(int from, int to, const struct files_ids *ids, struct err *e)
{
	struct stat st;
	struct err own = {0};
	struct copy c = {.ids = ids, .top = to};
	if (!e) e = &own;
	if (fstat(from, &st)) return fail(e, -errno, "the zone's files: %s", strerror(errno));
	c.dev = st.st_dev;
	c.links = files_links_new();
	c.piece = malloc(PIECE);
	must(c.piece);
	int r = folder_copy(&c, from, to, e);
	if (!r && (r = looks(&c, from, ".", to, ".", &st)))
		r = fail(e, r, "the zone's files: %s", strerror(-r));
	free(c.piece);
	files_links_free(c.links);
	return r ? fail_in(e, "copying the zone's files") : 0;
}
