/* Asking a running guest's monitor, with a limit on how long and how much: it may be stopped, or
 * be something else altogether. */
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "guest/control.h"
#include "guest/sockets.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define PATIENCE 3000000000ull /* ns */

static int is_name(const struct dirent *d) { return store_name_ok(d->d_name); }

int control_each(int (*fn)(void *ctx, const char *name), void *ctx, struct err *e)
{
	auto_mem char *path = store_sockets();
	struct dirent **all = NULL;
	int r = 0, n = path ? scandir(path, &all, is_name, versionsort) : 0;
	if (n < 0 && errno != ENOENT) return fail(e, -errno, "%s: %s", path, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (!r) r = fn(ctx, all[i]->d_name);
		free(all[i]);
	}
	free(all);
	return r;
}

/* True: ready before the deadline. */
static bool wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};
	for (;;) {
		uint64_t now = now_ns();
		if (now >= deadline) return false;
		int n = poll(&p, 1, (int)((deadline - now) / 1000000 + 1));
		if (n > 0) return true;
		if (n < 0 && errno != EINTR) return false;
	}
}

static int gone(const char *name, int code, struct err *e)
{
	if (code == -ECONNRESET || code == -EPIPE) /* it ended meanwhile */
		return fail(e, -ENOENT, "no guest named '%s' is running", name);
	if (code == -ETIMEDOUT) return fail(e, code, "guest %s: its monitor does not answer", name);
	return fail(e, code, "guest %s: its monitor hung up: %s", name, strerror(-code));
}

/* -EAGAIN: others wait to be heard, too. */
static int dial(int dirfd, const char *name, uint64_t deadline, int *fd, struct err *e)
{
	int r;
	while ((r = sockets_connect(dirfd, name, fd, e)) == -EAGAIN && now_ns() < deadline)
		(void)usleep(10000);
	return r;
}

static int send_all(int fd, const char *text, uint64_t deadline)
{
	for (size_t left = strlen(text); left;) {
		if (!wait_for(fd, POLLOUT, deadline)) return -ETIMEDOUT;
		ssize_t n = send(fd, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR) return -errno;
		if (n > 0) text += n, left -= (size_t)n;
	}
	return 0;
}

static int read_all(int fd, struct buf *to, uint64_t deadline)
{
	char some[4096];
	for (;;) {
		if (!wait_for(fd, POLLIN, deadline)) return -ETIMEDOUT;
		ssize_t n = recv(fd, some, sizeof(some), MSG_DONTWAIT);
		if (n == 0) return to->len ? 0 : -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR) return -errno;
		if (n > 0) buf_add(to, some, (size_t)n);
		if (to->len > CONTROL_ANSWER) return -EFBIG;
	}
}

int control_ask(const char *name, const char *request, struct buf *answer, struct err *e)
{
	auto_fd int dirfd = -1, fd = -1;
	uint64_t deadline = now_ns() + PATIENCE;
	int r = sockets_open(&dirfd, e);
	if (!r) r = dial(dirfd, name, deadline, &fd, e);
	if (r) return r;
	r = send_all(fd, request, deadline);
	if (!r) r = send_all(fd, "\n", deadline);
	if (!r) r = read_all(fd, answer, deadline);
	return r ? gone(name, r, e) : 0;
}
