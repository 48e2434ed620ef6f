/* Names of running guests as sockets in a folder. A monitor that was killed leaves its name: then
 * nobody listens, the kernel says so, and the next who comes takes the name away. */
#include "guest/sockets.h"
#include "base/file.h"
#include "base/own.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BACKLOG = 16 };

/* Whoever could write here could pass for a guest. */
static int check_ours(const char *path, int fd, struct err *e)
{
	struct stat st;
	if (fstat(fd, &st)) return fail(e, -errno, "%s: %s", path, strerror(errno));
	if (st.st_uid == geteuid() && !(st.st_mode & 022)) return 0;
	return fail(e, -EPERM, "%s: others may write to it; guests' sockets are not kept there",
		    path);
}

static int make_last(const char *path, struct err *e)
{
	auto_mem char *above = strdup(path);
	must(above);
	char *slash = strrchr(above, '/');
	if (slash && slash != above) *slash = 0;
	int r = slash && slash != above ? dir_make(above, e) : 0;
	if (!r && mkdir(path, 0700) && errno != EEXIST)
		r = fail(e, -errno, "%s: %s", path, strerror(errno));
	return r;
}

int sockets_open(int *dirfd, struct err *e)
{
	auto_mem char *path = store_sockets();
	if (!path) return fail(e, -ENOENT, "no folder for guests' sockets: set XDG_RUNTIME_DIR");
	int r = make_last(path, e);
	if (r) return r;
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	r = check_ours(path, fd, e);
	if (!r) *dirfd = give_fd(&fd);
	return r;
}

static bool address(struct sockaddr_un *to, int dirfd, const char *name)
{
	*to = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(to->sun_path, sizeof(to->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	return n > 0 && (size_t)n < sizeof(to->sun_path);
}

static void lock(int dirfd)
{
	while (flock(dirfd, LOCK_EX) && errno == EINTR) {
	}
}
static void unlock(int dirfd) { (void)flock(dirfd, LOCK_UN); }

/* 0 and a socket, or a negative errno: -ECONNREFUSED, nobody listens; -ENOENT, no such name. */
static int try_connect(int dirfd, const char *name, int *out)
{
	struct sockaddr_un at;
	if (!address(&at, dirfd, name)) return -ENAMETOOLONG;
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at))) return -errno;
	*out = give_fd(&fd);
	return 0;
}

/* Under the lock, so that nobody is just about to listen. True: the name is free. */
static bool clear_locked(int dirfd, const char *name)
{
	auto_fd int fd = -1;
	int r = try_connect(dirfd, name, &fd);
	if (r == -ECONNREFUSED) return !unlinkat(dirfd, name, 0);
	return r == -ENOENT;
}

static int listen_locked(int dirfd, const char *name, int *out, struct err *e)
{
	struct sockaddr_un at;
	if (!address(&at, dirfd, name)) return fail(e, -ENAMETOOLONG, "%s: too long a name", name);
	if (!clear_locked(dirfd, name)) return fail(e, -EBUSY, "guest %s is running", name);
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
	    fchmodat(dirfd, name, 0600, 0) || listen(fd, BACKLOG))
		return fail(e, -errno, "control socket of %s: %s", name, strerror(errno));
	*out = give_fd(&fd);
	return 0;
}

int sockets_claim(int dirfd, const char *name, int *fd, struct err *e)
{
	lock(dirfd);
	int r = listen_locked(dirfd, name, fd, e);
	unlock(dirfd);
	return r;
}

int sockets_connect(int dirfd, const char *name, int *fd, struct err *e)
{
	int r = try_connect(dirfd, name, fd);
	if (r == -ECONNREFUSED) {
		lock(dirfd);
		if (clear_locked(dirfd, name)) r = -ENOENT;
		unlock(dirfd);
	}
	if (r == -ENOENT) return fail(e, r, "no guest named '%s' is running", name);
	return r ? fail(e, r, "guest %s: its monitor cannot be reached: %s", name, strerror(-r))
		 : 0;
}

int sockets_rename(int dirfd, const char *from, const char *to, struct err *e)
{
	lock(dirfd);
	int r = clear_locked(dirfd, to) ? 0 : fail(e, -EBUSY, "guest %s is running", to);
	if (!r && renameat(dirfd, from, dirfd, to))
		r = fail(e, -errno, "control socket of %s: %s", from, strerror(errno));
	unlock(dirfd);
	return r;
}

void sockets_drop(int dirfd, const char *name) { (void)unlinkat(dirfd, name, 0); }
