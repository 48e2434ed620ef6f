/* A file is replaced by writing a neighbour and renaming it, with both synced: there is no
 * moment at which a reader or a crash finds half of it. */
#include "base/file.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/own.h"
#include "base/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int fail_path(struct err *e, const char *path, int code)
{
	return fail(e, code, "%s: %s", path, strerror(-code));
}

int file_read(struct buf *to, const char *path, size_t max, struct err *e)
{
	char chunk[64 * 1024];
	size_t before = to->len;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return fail_path(e, path, -errno);
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n == 0) return 0;
		if (n < 0 && errno == EINTR) continue;
		int r = n < 0 ? -errno : (size_t)n > max - (to->len - before) ? -EFBIG : 0;
		if (r) {
			to->len = before;
			if (to->at) to->at[before] = 0;
			return fail_path(e, path, r);
		}
		buf_add(to, chunk, (size_t)n);
	}
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return -errno;
		p += n;
		len -= (size_t)n;
	}
	return fsync(fd) ? -errno : 0;
}

static int sync_parent(const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path + 1) : 1,
		       slash ? path : ".");
	auto_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? -errno : 0;
}

int file_replace(const char *path, const void *at, size_t len, unsigned mode, struct err *e)
{
	char tmp[4096];
	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= sizeof(tmp))
		return fail_path(e, path, -ENAMETOOLONG);
	auto_fd int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0) return fail_path(e, path, -errno);
	fault_point();
	int r = fchmod(fd, (mode_t)mode) ? -errno : write_all(fd, at, len);
	fault_point();
	if (!r && rename(tmp, path)) r = -errno;
	if (r) {
		(void)unlink(tmp);
		return fail_path(e, path, r);
	}
	fault_point();
	trace(file_replace, path, len);
	r = sync_parent(path);
	return r ? fail_path(e, path, r) : 0;
}

int dir_make(const char *path, struct err *e)
{
	char part[4096];
	size_t n = strlen(path);
	if (n == 0 || n >= sizeof(part)) return fail_path(e, path, n ? -ENAMETOOLONG : -ENOENT);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i]) continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, 0777) && errno != EEXIST) return fail_path(e, part, -errno);
	}
	struct stat st;
	if (stat(path, &st)) return fail_path(e, path, -errno);
	return S_ISDIR(st.st_mode) ? 0 : fail_path(e, path, -ENOTDIR);
}

int dir_remove(const char *path, struct err *e)
{
	char *paths[] = {strdup(path), NULL};
	must(paths[0]);
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	int bad = fts ? 0 : -errno;
	for (FTSENT *f; fts && (f = fts_read(fts));) {
		int r = 0;
		if (f->fts_info == FTS_D) continue;
		if (f->fts_info == FTS_DNR || f->fts_info == FTS_ERR || f->fts_info == FTS_NS)
			r = -f->fts_errno;
		else if (f->fts_info == FTS_DP ? rmdir(f->fts_path) : unlink(f->fts_path))
			r = -errno;
		fault_point();
		if (r && r != -ENOENT && !bad) bad = fail_path(e, f->fts_path, r);
	}
	if (fts) (void)fts_close(fts);
	free(paths[0]);
	return bad;
}

bool file_exists(const char *path) { return !access(path, F_OK); }

void fds_keep(const int *keep, unsigned n)
{
	for (int from = STDERR_FILENO + 1;;) {
		int next = -1;
		for (unsigned i = 0; i < n; i++)
			if (keep[i] >= from && (next < 0 || keep[i] < next)) next = keep[i];
		if (next < 0) {
			(void)close_range((unsigned)from, ~0u, 0);
			return;
		}
		if (next > from) (void)close_range((unsigned)from, (unsigned)next - 1, 0);
		from = next + 1;
	}
}
