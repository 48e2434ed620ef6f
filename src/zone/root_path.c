/* Paths of a zone, resolved by the kernel inside the zone's root. Links of the image are followed
 * as they would be inside; one that leads nowhere is followed to where a file is then made. */
#include "zone/root.h"
#include "zone/sys.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LINKS_MAX = 20 };

int root_find(int root, const char *path)
{
	int fd = sys_openat2(root, *path ? path : "/", O_PATH, 0,
			     RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	return fd < 0 ? -errno : fd;
}

/* "a//b/" to "/a/b", in place of 4096 bytes; false: too long. */
static bool path_tidy(char *to, const char *path)
{
	size_t n = 0;
	while (*path) {
		size_t len = strcspn(path, "/");
		if (n + len + 2 > PATH_MAX) return false;
		if (len && !(len == 1 && *path == '.')) {
			to[n++] = '/';
			memcpy(to + n, path, len);
			n += len;
		}
		path += len + (path[len] == '/');
	}
	to[n] = 0;
	return true;
}

/* What path is a link to, in the place of path; false: it is none. */
static bool link_follow(int root, char *path)
{
	char to[PATH_MAX], whole[2 * PATH_MAX];
	char *slash = strrchr(path, '/');
	*slash = 0;
	auto_fd int dir = root_find(root, path);
	*slash = '/';
	ssize_t n = dir < 0 ? -1 : readlinkat(dir, slash + 1, to, sizeof(to) - 1);
	if (n <= 0) return false;
	to[n] = 0;
	if (*to == '/')
		(void)snprintf(whole, sizeof(whole), "%s", to);
	else
		(void)snprintf(whole, sizeof(whole), "%.*s/%s", (int)(slash - path), path, to);
	return path_tidy(path, whole);
}

static int step_make(int root, char *path, enum root_kind kind, struct err *e)
{
	const char *name = strrchr(path, '/') + 1;
	char *slash = strrchr(path, '/');
	*slash = 0;
	auto_fd int dir = root_find(root, path);
	*slash = '/';
	if (dir < 0) return fail(e, dir, "in the zone: %s: %s", path, strerror(-dir));
	int r = kind == ROOT_DIR ? mkdirat(dir, name, 0755) : mknodat(dir, name, S_IFREG | 0644, 0);
	if (r && errno == EEXIST) return -EEXIST;
	if (r) return fail(e, -errno, "in the zone: making %s: %s", path, strerror(errno));
	return 0;
}

/* The first n bytes of path, or what they are a link to. */
static int prefix_make(int root, char *path, enum root_kind kind, struct err *e)
{
	for (unsigned i = 0; i < LINKS_MAX; i++) {
		int fd = root_find(root, path);
		if (fd != -ENOENT) {
			if (fd < 0) return fail(e, fd, "in the zone: %s: %s", path, strerror(-fd));
			return fd;
		}
		int r = step_make(root, path, kind, e);
		if (r == -EEXIST && link_follow(root, path)) {
			/* Folders on the way there may be missing, too. */
			char *slash = strrchr(path, '/'), keep[PATH_MAX];
			if (!slash) return fail(e, -ELOOP, "in the zone: a link to nothing");
			(void)snprintf(keep, sizeof(keep), "%.*s", (int)(slash - path), path);
			int up = *keep ? root_make(root, keep, ROOT_DIR, e) : 0;
			if (up < 0) return up;
			if (*keep) (void)close(up);
		} else if (r && r != -EEXIST) {
			return r;
		}
	}
	return fail(e, -ELOOP, "in the zone: %s: too many links", path);
}

static int root_make_depth(int root, const char *path, enum root_kind kind, struct err *e)
{
	static unsigned depth;
	char whole[PATH_MAX], part[PATH_MAX];
	if (!path_tidy(whole, path))
		return fail(e, -ENAMETOOLONG, "in the zone: a path is too long");
	if (depth > LINKS_MAX) return fail(e, -ELOOP, "in the zone: %s: too many links", path);
	int fd = root_find(root, whole);
	if (fd >= 0) return fd;
	if (fd != -ENOENT) return fail(e, fd, "in the zone: %s: %s", whole, strerror(-fd));
	depth++;
	for (char *end = whole; *end;) {
		end += 1 + strcspn(end + 1, "/");
		(void)snprintf(part, sizeof(part), "%.*s", (int)(end - whole), whole);
		if (fd >= 0) (void)close(fd);
		fd = prefix_make(root, part, *end ? ROOT_DIR : kind, e);
		if (fd < 0) break;
	}
	depth--;
	return fd;
}

int root_make(int root, const char *path, enum root_kind kind, struct err *e)
{
	return root_make_depth(root, path, kind, e);
}

int root_parent(int root, const char *path, const char **name, struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	*name = slash ? slash + 1 : path;
	if (!**name || !strcmp(*name, ".") || !strcmp(*name, ".."))
		return fail(e, -EINVAL, "in the zone: %s: no name for a file", path);
	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
	return root_make(root, dir, ROOT_DIR, e);
}

int root_move(int tree, int to)
{
	return move_mount(tree, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
		       ? -errno
		       : 0;
}

int root_copy(int fd, bool deep)
{
	int t = open_tree(fd, "",
			  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
				  (deep ? AT_RECURSIVE : 0u));
	return t < 0 ? -errno : t;
}
