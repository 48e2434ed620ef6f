/* Trees of files to and from tar, by libarchive; but what is made here is made by hand, one part of
 * a name after the other beneath the folder (openat2(2)), since the names come from a guest. */
#include "base/own.h"
#include "base/types.h"
#include "store/tar.h"
#include "store/tree_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { BLOCK = 64 * 1024, NAME = 4096, DEPTH = 256 };

static int refuse(struct archive *a, const char *what, struct err *e)
{
	int code = tar.archive_errno(a);
	const char *words = tar.archive_error_string(a);
	return fail(e, code > 0 ? -code : -EIO, "%s: %s", what, words ? words : strerror(EIO));
}

/* ---- packing ---- */
static int pack_data(struct archive *from, struct archive *to, struct err *e)
{
	const void *p;
	size_t n;
	la_int64_t off, at = 0;
	static const char zeroes[BLOCK];
	int r;
	while ((r = tar.archive_read_data_block(from, &p, &n, &off)) == ARCHIVE_OK) {
		for (; at < off; at += (la_int64_t)BLOCK) {
			size_t gap = off - at < BLOCK ? (size_t)(off - at) : BLOCK;
			if (tar.archive_write_data(to, zeroes, gap) < 0)
				return refuse(to, "stream", e);
		}
		at = off + (la_int64_t)n;
		if (tar.archive_write_data(to, p, n) < 0) return refuse(to, "stream", e);
	}
	return r == ARCHIVE_EOF ? 0 : refuse(from, "reading", e);
}

static bool is_packed(mode_t type) { return type == S_IFREG || type == S_IFDIR || type == S_IFLNK; }

static int pack_one(struct archive *from, struct archive *to, struct archive_entry *en,
		    const char *path, const char *top, struct err *e)
{
	auto_mem char *name = NULL;
	const char *is = tar.archive_entry_pathname(en);
	if (!is || strncmp(is, path, strlen(path)) != 0)
		return fail(e, -EINVAL, "%s: a name that cannot be told", path);
	if (asprintf(&name, "%s%s", top, is + strlen(path)) < 0) return -ENOMEM;
	tar.archive_entry_set_pathname(en, name);
	tar.archive_entry_set_hardlink(en, NULL);
	tar.archive_entry_set_uid(en, 0);
	tar.archive_entry_set_gid(en, 0);
	tar.archive_entry_set_uname(en, NULL);
	tar.archive_entry_set_gname(en, NULL);
	if (tar.archive_write_header(to, en) != ARCHIVE_OK) return refuse(to, name, e);
	return tar.archive_entry_filetype(en) == S_IFREG ? pack_data(from, to, e) : 0;
}

static int pack_all(struct archive *from, struct archive *to, const char *path, const char *top,
		    struct err *e)
{
	struct archive_entry *en = tar.archive_entry_new2(from);
	int bad = 0, r;
	must(en);
	while (!bad && (r = tar.archive_read_next_header2(from, en)) != ARCHIVE_EOF) {
		if (r < ARCHIVE_WARN) {
			bad = refuse(from, path, e);
			break;
		}
		(void)tar.archive_read_disk_descend(from);
		if (is_packed(tar.archive_entry_filetype(en)))
			bad = pack_one(from, to, en, path, top, e);
	}
	tar.archive_entry_free(en);
	return bad;
}

int tree_pack(int fd, const char *path, const char *top, struct err *e)
{
	int r = tar_load(e);
	if (r < 0) return r;
	struct archive *from = tar.archive_read_disk_new(), *to = tar.archive_write_new();
	must(from && to);
	(void)tar.archive_read_disk_set_symlink_physical(from);
	(void)tar.archive_read_disk_set_behavior(from, ARCHIVE_READDISK_NO_XATTR |
							       ARCHIVE_READDISK_NO_ACL |
							       ARCHIVE_READDISK_NO_FFLAGS);
	(void)tar.archive_write_set_format_gnutar(to);
	(void)tar.archive_write_set_bytes_per_block(to, BLOCK);
	(void)tar.archive_write_set_bytes_in_last_block(to, 512);
	r = tar.archive_read_disk_open(from, path) == ARCHIVE_OK ? 0 : refuse(from, path, e);
	if (!r && tar.archive_write_open_fd(to, fd) != ARCHIVE_OK) r = refuse(to, "stream", e);
	if (!r) r = pack_all(from, to, path, top, e);
	if (!r && tar.archive_write_close(to) != ARCHIVE_OK) r = refuse(to, "stream", e);
	(void)tar.archive_write_free(to);
	(void)tar.archive_read_free(from);
	return r;
}

/* ---- unpacking ---- */
static int open_beneath(int folder, const char *path, int flags)
{
	struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					  RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, folder, *path ? path : ".", &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

/* The name as it is to be, its parts checked; false: there is no such name. */
static bool name_make(const struct tree_unpack *t, const char *is, char to[NAME])
{
	unsigned depth = 0;
	size_t n = 0;
	to[0] = 0;
	while (*is == '/') is++;
	for (const char *p = is; *p; depth++) {
		size_t len = strcspn(p, "/");
		bool first = depth == 0, dot = len == 1 && *p == '.';
		const char *part = first ? t->top : p;
		size_t m = first ? strlen(t->top) : len;
		if (depth > DEPTH || (len == 2 && !strncmp(p, "..", 2)) || n + m + 2 > NAME)
			return false;
		if (m && (first || !dot)) {
			if (n) to[n++] = '/';
			memcpy(to + n, part, m);
			n += m;
			to[n] = 0;
		}
		p += len;
		while (*p == '/') p++;
	}
	return depth > 0;
}

/* The folder that path's last part is in; *last is that part. */
static int parent(const struct tree_unpack *t, char *path, const char **last)
{
	char *slash = strrchr(path, '/');
	*last = slash ? slash + 1 : path;
	if (!slash) return open_beneath(t->folder, "", O_PATH | O_DIRECTORY);
	*slash = 0;
	int fd = open_beneath(t->folder, path, O_PATH | O_DIRECTORY);
	*slash = '/';
	return fd;
}

static int make_folder(int at, const char *name, struct archive_entry *en)
{
	struct stat st;
	mode_t mode = (tar.archive_entry_perm(en) & 0777) | 0700;
	if (!mkdirat(at, name, mode)) return 0;
	if (errno == EEXIST && !fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
		return 0;
	return -errno;
}

int tree_make_room(int at, const char *name)
{
	return unlinkat(at, name, 0) && errno != ENOENT ? -errno : 0;
}

int tree_fill(struct archive *a, int fd)
{
	const void *p;
	size_t n;
	la_int64_t off;
	int r;
	while ((r = tar.archive_read_data_block(a, &p, &n, &off)) == ARCHIVE_OK)
		for (size_t done = 0; done < n;) {
			ssize_t put = pwrite(fd, (const char *)p + done, n - done,
					     off + (la_int64_t)done);
			if (put < 0 && errno != EINTR) return -errno;
			if (put > 0) done += (size_t)put;
		}
	return r == ARCHIVE_EOF ? 0 : -EPROTO;
}

static int make_file(struct archive *a, int at, const char *name, struct archive_entry *en)
{
	int r = tree_make_room(at, name);
	if (r) return r;
	auto_fd int fd =
		openat(at, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) return -errno;
	r = tree_fill(a, fd);
	struct timespec when[2] = {{.tv_nsec = UTIME_OMIT},
				   {.tv_sec = tar.archive_entry_mtime(en)}};
	la_int64_t size = tar.archive_entry_size(en);
	struct stat st;
	if (!r && size > 0 && !fstat(fd, &st) && st.st_size < size && ftruncate(fd, size))
		r = -errno;
	if (!r && fchmod(fd, tar.archive_entry_perm(en) & 0777)) r = -errno;
	if (!r && tar.archive_entry_mtime_is_set(en)) (void)futimens(fd, when);
	return r;
}

/* To something in the tree that came before. */
static int make_hard_link(const struct tree_unpack *t, int at, const char *name, const char *to)
{
	char path[NAME], self[64];
	struct stat st;
	if (!name_make(t, to, path)) return -EPROTO;
	int r = open_beneath(t->folder, path, O_PATH | O_NOFOLLOW);
	if (r < 0) return r;
	auto_fd int fd = r;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return -EPROTO;
	r = tree_make_room(at, name);
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (!r && linkat(AT_FDCWD, self, at, name, AT_SYMLINK_FOLLOW)) r = -errno;
	return r;
}

static int make_link(int at, const char *name, const char *to)
{
	int r = tree_make_room(at, name);
	return r || !to ? r : symlinkat(to, at, name) ? -errno : 0;
}

static int make(struct archive *a, struct tree_unpack *t, struct archive_entry *en, char *path)
{
	const char *name, *hard = tar.archive_entry_hardlink(en);
	mode_t type = tar.archive_entry_filetype(en);
	if (!*path) return type == S_IFDIR ? 0 : -EPROTO;
	int r = parent(t, path, &name);
	if (r < 0) return r;
	auto_fd int at = r;
	if (hard) return make_hard_link(t, at, name, hard);
	if (type == S_IFDIR) return make_folder(at, name, en);
	if (type == S_IFLNK) return make_link(at, name, tar.archive_entry_symlink(en));
	if (type == S_IFREG) return make_file(a, at, name, en);
	t->skipped++;
	return 0;
}

static int unpack_one(struct archive *a, struct tree_unpack *t, struct archive_entry *en,
		      bool first, struct err *e)
{
	char path[NAME];
	const char *is = tar.archive_entry_pathname(en);
	int r = 0;
	if (!is || !name_make(t, is, path))
		return fail(e, -EPROTO, "a name that is none: '%.100s'", is ? is : "");
	if (first && t->first) r = t->first(t->ctx, tar.archive_entry_filetype(en) == S_IFDIR, e);
	if (r) return r;
	r = make(a, t, en, path);
	return r ? fail(e, r, "%.150s: %s", path, strerror(-r)) : 0;
}

int tree_unpack(int fd, struct tree_unpack *t, struct err *e)
{
	int bad = tar_load(e), r;
	if (bad < 0) return bad;
	struct archive *a = tar.archive_read_new();
	struct archive_entry *en;
	bool first = true;
	must(a);
	t->skipped = 0;
	(void)tar.archive_read_support_format_tar(a);
	(void)tar.archive_read_support_format_empty(a);
	if (tar.archive_read_open_fd(a, fd, BLOCK) != ARCHIVE_OK) bad = refuse(a, "stream", e);
	while (!bad && (r = tar.archive_read_next_header(a, &en)) != ARCHIVE_EOF) {
		bad = r < ARCHIVE_WARN ? refuse(a, "stream", e) : unpack_one(a, t, en, first, e);
		first = false;
	}
	if (!bad && first) bad = fail(e, -ENODATA, "nothing came");
	(void)tar.archive_read_free(a);
	return bad;
}
