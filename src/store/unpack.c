/* Layers of images become folders that overlayfs lays over each other. All is made beneath the
 * layer's own folder, by the descriptor of the folder that it is in (openat2(2), RESOLVE_IN_ROOT),
 * so that no name and no link that the layer brings leads out of it. What overlayfs would take as
 * words of its own (attributes, device 0:0) comes only from what the layer says it takes away. */
#include "base/own.h"
#include "store/tar.h"
#include "store/tree_impl.h"
#include "store/unzip.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { NAME = 4096, DEPTH = 256, ENTRIES = 4 << 20, MODE = 07777 };
#define GONE   ".wh."
#define OPAQUE ".wh..wh..opq"

struct layer {
	struct archive *a;
	struct archive_entry *en;
	struct unzip *from;
	struct err *e;
	int folder;
	bool plain; /* nothing but files, folders and links, and nothing is taken away */
	unsigned skipped;
};

/* ---- places */

static int open_in(const struct layer *l, const char *path, int flags)
{
	struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, l->folder, *path ? path : ".", &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}
/* Without what says nothing; false: there is no such name. */
static bool name_clean(const char *is, char to[NAME])
{
	unsigned depth = 0;
	size_t n = 0;
	to[0] = 0;
	for (size_t len; *is; is += len) {
		while (*is == '/') is++;
		len = strcspn(is, "/");
		if (!len || (len == 1 && *is == '.')) continue;
		if ((len == 2 && !strncmp(is, "..", 2)) || n + len + 2 > NAME || ++depth > DEPTH)
			return false;
		if (n) to[n++] = '/';
		memcpy(to + n, is, len);
		to[n += len] = 0;
	}
	return true;
}
/* The folder at path, made if it is missing: layers need not tell of those. */
static int folder_at(const struct layer *l, char *path)
{
	int fd = open_in(l, path, O_PATH | O_DIRECTORY);
	for (char *p = path; fd == -ENOENT && p; *p++ = '/') {
		p = strchr(p, '/');
		if (p) *p = 0;
		char *slash = strrchr(path, '/');
		if (slash) *slash = 0;
		auto_fd int in = open_in(l, slash ? path : "", O_PATH | O_DIRECTORY);
		if (slash) *slash = '/';
		int r = in < 0 ? in : mkdirat(in, slash ? slash + 1 : path, 0755) ? -errno : 0;
		if (!p) return r && r != -EEXIST ? r : open_in(l, path, O_PATH | O_DIRECTORY);
		if (r && r != -EEXIST) {
			*p = '/';
			return r;
		}
	}
	return fd;
}
/* Of what path names: the folder it is in; *last is what it is called there. */
static int parent(const struct layer *l, char *path, const char **last)
{
	char *slash = strrchr(path, '/');
	*last = slash ? slash + 1 : path;
	if (!slash) return folder_at(l, (char[]){0});
	*slash = 0;
	int fd = folder_at(l, path);
	*slash = '/';
	return fd;
}
static void self(char to[64], int fd) { (void)snprintf(to, 64, "/proc/self/fd/%d", fd); }

/* ---- what a layer takes away */

static int make_opaque(int folder)
{
	char path[64];
	self(path, folder);
	if (!setxattr(path, "trusted.overlay.opaque", "y", 1, 0)) return 0;
	return setxattr(path, "user.overlay.opaque", "y", 1, 0) ? -errno : 0;
}
static bool is_gone(const struct stat *st) { return S_ISCHR(st->st_mode) && !st->st_rdev; }
static int make_gone(int at, const char *name)
{
	struct stat st;
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) return -EPROTO;
	if (!mknodat(at, name, S_IFCHR, makedev(0, 0))) return 0;
	if (errno != EEXIST) return -errno;
	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW)) return -errno;
	if (!S_ISDIR(st.st_mode))
		return 0; /* the layer's own: it stays, and hides what was there */
	auto_fd int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : make_opaque(fd);
}

/* ---- what it brings */

/* Those that say something to the file's users, not to the file system. */
static bool is_plain(const char *name)
{
	bool overlay = !strncmp(name, "user.overlay.", 13);
	return (!strncmp(name, "user.", 5) && !overlay) || !strcmp(name, "security.capability");
}
static void give_attributes(struct layer *l, int fd)
{
	const char *name;
	const void *value;
	size_t n;
	(void)tar.archive_entry_xattr_reset(l->en);
	while (tar.archive_entry_xattr_next(l->en, &name, &value, &n) == ARCHIVE_OK)
		if (name && is_plain(name) && fsetxattr(fd, name, value, n, 0)) l->skipped++;
}
static void times(const struct layer *l, struct timespec when[2])
{
	when[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
	when[1] = (struct timespec){tar.archive_entry_mtime(l->en),
				    tar.archive_entry_mtime_nsec(l->en)};
}
static int give_owner(struct layer *l, int at, const char *name)
{
	la_int64_t uid = tar.archive_entry_uid(l->en), gid = tar.archive_entry_gid(l->en);
	if (uid < 0 || gid < 0 || uid > UINT32_MAX - 1 || gid > UINT32_MAX - 1) return -EPROTO;
	int r = fchownat(at, name, (uid_t)uid, (gid_t)gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
	return r && errno != EPERM ? -errno : 0; /* who is not root has no other users */
}
/* Of what is open: a change of owner takes rights away. */
static int give_all(struct layer *l, int fd)
{
	struct timespec when[2];
	int r = l->plain ? 0 : give_owner(l, fd, "");
	if (r || l->plain) return r;
	if (fchmod(fd, tar.archive_entry_perm(l->en) & MODE)) return -errno;
	give_attributes(l, fd);
	times(l, when);
	(void)futimens(fd, when);
	return 0;
}
static int make_folder(struct layer *l, int at, const char *name)
{
	struct stat st;
	bool gone = false;
	if (!fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode)) {
		gone = is_gone(&st);
		if (unlinkat(at, name, 0)) return -errno;
	}
	if (mkdirat(at, name, 0700) && errno != EEXIST) return -errno;
	auto_fd int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) return -errno;
	int r = gone ? make_opaque(fd) : 0;
	return r ? r : give_all(l, fd);
}
static int make_file(struct layer *l, int at, const char *name)
{
	struct stat st;
	int r = tree_make_room(at, name);
	if (r) return r;
	auto_fd int fd =
		openat(at, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) return -errno;
	r = tree_fill(l->a, fd);
	la_int64_t size = tar.archive_entry_size(l->en);
	if (!r && (fstat(fd, &st) || (st.st_size < size && ftruncate(fd, size)))) r = -errno;
	return r ? r : give_all(l, fd);
}
static int make_node(struct layer *l, int at, const char *name, mode_t type)
{
	dev_t dev = type == S_IFIFO ? 0 : tar.archive_entry_rdev(l->en);
	struct timespec when[2];
	mode_t mode = tar.archive_entry_perm(l->en) & MODE;
	if (type == S_IFCHR && !dev) return -EPROTO; /* a word of overlayfs's */
	int r = tree_make_room(at, name);
	if (r) return r;
	if (mknodat(at, name, type | mode, dev)) {
		l->skipped++;
		return errno == EPERM ? 0 : -errno;
	}
	r = give_owner(l, at, name);
	if (!r && fchmodat(at, name, mode, 0)) r = -errno; /* it is no link: we have made it */
	times(l, when);
	(void)utimensat(at, name, when, AT_SYMLINK_NOFOLLOW);
	return r;
}
static int make_link(struct layer *l, int at, const char *name)
{
	const char *to = tar.archive_entry_symlink(l->en);
	struct timespec when[2];
	int r = tree_make_room(at, name);
	if (r || !to) return r ? r : -EPROTO;
	if (symlinkat(to, at, name)) return -errno;
	times(l, when);
	(void)utimensat(at, name, when, AT_SYMLINK_NOFOLLOW);
	return l->plain ? 0 : give_owner(l, at, name);
}
/* To something that came before. */
static int make_hard_link(struct layer *l, int at, const char *name, const char *to)
{
	char path[NAME];
	const char *last;
	struct stat a, b;
	if (!name_clean(to, path) || !*path) return -EPROTO;
	int r = parent(l, path, &last);
	if (r < 0) return r;
	auto_fd int from = r;
	if (fstatat(from, last, &a, AT_SYMLINK_NOFOLLOW)) return -errno;
	if (!fstatat(at, name, &b, AT_SYMLINK_NOFOLLOW) && a.st_ino == b.st_ino) return 0;
	if (S_ISDIR(a.st_mode) || is_gone(&a)) return -EPROTO;
	r = tree_make_room(at, name);
	return r ? r : linkat(from, last, at, name, 0) ? -errno : 0;
}
static int make_plain(struct layer *l, int at, const char *name, mode_t type)
{
	switch (type) {
	case S_IFDIR: return make_folder(l, at, name);
	case S_IFREG: return make_file(l, at, name);
	case S_IFLNK: return make_link(l, at, name);
	default: l->skipped++; return 0;
	}
}
static int make(struct layer *l, char *path)
{
	const char *name, *hard = tar.archive_entry_hardlink(l->en);
	mode_t type = tar.archive_entry_filetype(l->en);
	if (!*path) return type == S_IFDIR ? give_all(l, l->folder) : -EPROTO;
	int r = parent(l, path, &name);
	if (r < 0) return r;
	auto_fd int at = r;
	if (l->plain)
		return hard ? make_hard_link(l, at, name, hard) : make_plain(l, at, name, type);
	if (!strcmp(name, OPAQUE)) return make_opaque(at);
	if (!strncmp(name, ".wh..wh.", 8))
		return 0; /* of aufs's own, which such layers came from */
	if (!strncmp(name, GONE, strlen(GONE))) return make_gone(at, name + strlen(GONE));
	if (hard) return make_hard_link(l, at, name, hard);
	bool node = type == S_IFIFO || type == S_IFCHR || type == S_IFBLK;
	return node ? make_node(l, at, name, type) : make_plain(l, at, name, type);
}

/* ---- the stream */

static la_ssize_t on_read(struct archive *a, void *ctx, const void **piece)
{
	struct layer *l = ctx;
	(void)a;
	ssize_t n = unzip_read(l->from, piece, l->e);
	return n < 0 ? ARCHIVE_FATAL : n;
}
static int broken(struct layer *l, const char *what)
{
	const char *words = tar.archive_error_string(l->a);
	if (l->e->code) return l->e->code;
	return fail(l->e, -EPROTO, "%s: %s", what, words ? words : "it is no tar");
}
static int each(struct layer *l)
{
	char path[NAME];
	int r = 0, next;
	for (unsigned n = 0; !r; n++) {
		next = tar.archive_read_next_header(l->a, &l->en);
		if (next == ARCHIVE_EOF) return 0;
		if (next < ARCHIVE_WARN) return broken(l, "layer");
		const char *is = tar.archive_entry_pathname(l->en);
		if (!is || !name_clean(is, path))
			return fail(l->e, -EPROTO, "a name that is none: '%.100s'", is ? is : "");
		if (n == ENTRIES) return fail(l->e, -EFBIG, "more than %d files", ENTRIES);
		r = make(l, path);
		if (r) r = fail(l->e, r, "%.150s: %s", is, strerror(-r));
	}
	return r;
}
static int unpack(struct layer l, unsigned *skipped, struct err *e)
{
	struct unzip *u = l.from;
	struct err own = {0};
	int r = tar_load(e);
	if (r) return r;
	l.e = e ? e : &own;
	l.e->code = 0;
	l.a = tar.archive_read_new();
	must(l.a);
	(void)tar.archive_read_support_format_tar(l.a);
	(void)tar.archive_read_support_format_empty(l.a);
	if (tar.archive_read_open(l.a, &l, NULL, on_read, NULL) != ARCHIVE_OK)
		r = broken(&l, "layer");
	if (!r) r = each(&l);
	const void *rest;
	ssize_t n = 1;
	while (!r && n > 0) n = unzip_read(u, &rest, l.e); /* its digest is of all of it */
	if (!r && n < 0) r = (int)n;
	(void)tar.archive_read_free(l.a);
	*skipped = l.skipped;
	return r;
}
int tree_unpack_layer(struct unzip *u, int folder, unsigned *skipped, struct err *e)
{
	return unpack((struct layer){.from = u, .folder = folder}, skipped, e);
}
int tree_unpack_plain(struct unzip *u, int folder, struct err *e)
{
	unsigned skipped;
	return unpack((struct layer){.from = u, .folder = folder, .plain = true}, &skipped, e);
}
