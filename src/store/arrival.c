/* Guests on their way from another host. That the folder gets a guest's name is the moment at which
 * the guest is here: whoever wants to know whether that has happened, and may still happen, takes
 * the folder away, and only one of the two can be. */
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static char *path_of(const struct store *s, const char *prefix, const char *name)
{
	char *path;
	must(asprintf(&path, "%s/guests/%s%s", store_root(s), prefix, name) > 0);
	return path;
}

/* Those whose receiver was killed: nobody has them locked. */
static void sweep(const char *dir)
{
	DIR *d = opendir(dir);
	for (struct dirent *f; d && (f = readdir(d));) {
		if (strncmp(f->d_name, ".in-", 4) != 0 && strncmp(f->d_name, ".out-", 5) != 0)
			continue;
		auto_mem char *path = NULL;
		must(asprintf(&path, "%s/%s", dir, f->d_name) > 0);
		auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) (void)dir_remove(path, NULL);
	}
	if (d) (void)closedir(d);
}

int store_arrival_begin(struct store *s, const char *id, int *dirfd, struct err *e)
{
	auto_mem char *dir = path_of(s, "", ""), *path = path_of(s, ".in-", id);
	int r = dir_make(dir, e);
	if (r == 0) r = store_arrival_drop(s, id, e);
	if (r) return r;
	sweep(dir);
	if (mkdir(path, 0700)) return fail(e, -errno, "%s: %s", path, strerror(errno));
	*dirfd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*dirfd < 0 || flock(*dirfd, LOCK_EX | LOCK_NB))
		return fail(e, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

int store_arrival_drop(struct store *s, const char *id, struct err *e)
{
	auto_mem char *path = path_of(s, ".in-", id), *gone = path_of(s, ".out-", id);
	(void)dir_remove(gone, NULL);
	fault_point();
	if (rename(path, gone) == 0) return dir_remove(gone, e);
	return errno == ENOENT ? 0 : fail(e, -errno, "%s: %s", path, strerror(errno));
}

static int sync_folder(const char *path, struct err *e)
{
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? fail(e, -errno, "%s: %s", path, strerror(errno)) : 0;
}

/* The two change places. */
static int replace(struct store *s, const char *in, const char *at, const char *id, struct err *e)
{
	if (renameat2(AT_FDCWD, in, AT_FDCWD, at, RENAME_EXCHANGE))
		return fail(e, -errno, "%s: %s", at, strerror(errno));
	fault_point();
	(void)store_arrival_drop(s, id, NULL);
	return 0;
}

int store_arrival_keep(struct store *s, const char *id, const char *name, bool gone, struct err *e)
{
	auto_mem char *in = path_of(s, ".in-", id), *at = path_of(s, "", name);
	auto_mem char *dir = path_of(s, "", "");
	int r = sync_folder(in, e);
	fault_point();
	if (r == 0 && gone) r = replace(s, in, at, id, e);
	if (r == 0 && !gone && renameat2(AT_FDCWD, in, AT_FDCWD, at, RENAME_NOREPLACE))
		r = fail(e, -errno, "guest %s cannot be kept here: %s", name, strerror(errno));
	fault_point();
	if (r == 0 && sync_folder(dir, e)) log_warn("%s", e->msg); /* but it is ours */
	return r;
}
