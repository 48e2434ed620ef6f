/* For tmpcopyup: a small folder of an image, into a new tmpfs. */
#include "zone/root.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 40 };

static int file_copy(int from, int to, const char *name, mode_t mode)
{
	auto_fd int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC),
		    out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 07777);
	ssize_t n;
	if (in < 0 || out < 0) return -errno;
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0) {
	}
	return n < 0 ? -errno : 0;
}

static int link_copy(int from, int to, const char *name)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(from, name, text, sizeof(text) - 1);
	if (n < 0) return -errno;
	text[n] = 0;
	return symlinkat(text, to, name) ? -errno : 0;
}

static int dir_copy(int from, int to, const char *name, unsigned depth)
{
	if (mkdirat(to, name, 0700)) return -errno;
	auto_fd int in = openat(from, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
		    out = openat(to, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return in < 0 || out < 0 ? -errno : root_copy_up(in, out, depth + 1);
}

static int one_copy(int from, int to, const char *name, unsigned depth)
{
	struct stat st;
	int r;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW)) return -errno;
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR: r = dir_copy(from, to, name, depth); break;
	case S_IFREG: r = file_copy(from, to, name, st.st_mode); break;
	case S_IFLNK: r = link_copy(from, to, name); break;
	default: r = mknodat(to, name, st.st_mode, st.st_rdev) ? -errno : 0;
	}
	if (r) return r;
	if (fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW)) return -errno;
	if (S_ISLNK(st.st_mode)) return 0;
	return fchmodat(to, name, st.st_mode & 07777, 0) ? -errno : 0;
}

int root_copy_up(int from, int to, unsigned depth)
{
	int r = 0, again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	if (!d || depth > DEPTH_MAX) {
		r = d ? -ELOOP : -errno;
		if (d) (void)closedir(d);
		return r;
	}
	for (struct dirent *n; !r && (n = readdir(d));)
		if (strcmp(n->d_name, ".") && strcmp(n->d_name, ".."))
			r = one_copy(from, to, n->d_name, depth);
	(void)closedir(d);
	return r;
}
