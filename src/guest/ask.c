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
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

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

static int send_all(int fd, const char *text, size_t left, uint64_t deadline)
{
	while (left) {
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

/* At once: who answers a part and hangs up would break the rest off. */
static int ask_line(int fd, const char *request, uint64_t deadline)
{
	auto_buf struct buf line = {0};
	buf_fmt(&line, "%s\n", request);
	return send_all(fd, line.at, line.len, deadline);
}

int control_ask(const char *name, const char *request, struct buf *answer, struct err *e)
{
	auto_fd int dirfd = -1, fd = -1;
	uint64_t deadline = now_ns() + PATIENCE;
	int r = sockets_open(&dirfd, e);
	if (!r) r = dial(dirfd, name, deadline, &fd, e);
	if (r) return r;
	r = ask_line(fd, request, deadline);
	if (!r) r = read_all(fd, answer, deadline);
	return r ? gone(name, r, e) : 0;
}

/* The process at the other end, which lives: its number cannot be another's yet. */
static int process(int fd)
{
	struct ucred who;
	socklen_t n = sizeof(who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n)) return -1;
	return (int)syscall(SYS_pidfd_open, who.pid, 0);
}

/* Up to the end of its line and no further: what follows is a stream. */
static int read_line(int fd, struct buf *to, uint64_t deadline)
{
	for (char c = 0; c != '\n';) {
		if (!wait_for(fd, POLLIN, deadline)) return -ETIMEDOUT;
		ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
		if (n == 0) return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR) return -errno;
		if (n > 0) buf_add(to, &c, 1);
		if (to->len > CONTROL_ANSWER) return -EFBIG;
	}
	return 0;
}

static int refusal(const char *name, struct json_object *o, struct err *e)
{
	struct json_object *words, *code;
	if (!json_object_object_get_ex(o, "error", &words)) return 0;
	int n = json_object_object_get_ex(o, "code", &code) ? json_object_get_int(code) : 0;
	return fail(e, n < 0 && n > -4096 ? n : -EPROTO, "guest %s: %s", name,
		    json_object_get_string(words));
}

static int understand(const char *name, const struct buf *b, struct json_object **out,
		      struct err *e)
{
	struct json_tokener *t = json_tokener_new_ex(8);
	must(t);
	struct json_object *o = json_tokener_parse_ex(t, b->at, (int)b->len);
	json_tokener_free(t);
	int r = json_object_is_type(o, json_type_object)
			? refusal(name, o, e)
			: fail(e, -EPROTO, "guest %s: its monitor's answer is not understood",
			       name);
	if (!r && out)
		*out = o;
	else
		(void)json_object_put(o);
	return r;
}

/* *fd stays open unless it fails. */
static int call(const char *name, const char *request, struct json_object **answer, int *fd,
		int *pidfd, struct err *e)
{
	auto_fd int dirfd = -1, to = -1, pid = -1;
	auto_buf struct buf b = {0};
	uint64_t deadline = now_ns() + PATIENCE;
	int r = sockets_open(&dirfd, e);
	if (!r) r = dial(dirfd, name, deadline, &to, e);
	if (r) return r;
	if (pidfd) pid = process(to);
	r = ask_line(to, request, deadline);
	if (!r) r = read_line(to, &b, deadline);
	r = r ? gone(name, r, e) : understand(name, &b, answer, e);
	if (r) return r;
	if (pidfd) *pidfd = give_fd(&pid);
	*fd = give_fd(&to);
	return 0;
}

int control_call(const char *name, const char *request, struct json_object **answer, int *pidfd,
		 struct err *e)
{
	auto_fd int fd = -1;
	return call(name, request, answer, &fd, pidfd, e);
}

int control_stream(const char *name, const char *request, int *fd, int *pidfd, struct err *e)
{
	int r = call(name, request, NULL, fd, pidfd, e);
	if (!r) (void)fcntl(*fd, F_SETFL, 0); /* whoever reads it waits as long as it takes */
	return r;
}

int control_process(const char *name)
{
	auto_fd int dirfd = -1, fd = -1;
	if (sockets_open(&dirfd, NULL) || sockets_connect(dirfd, name, &fd, NULL)) return -1;
	return process(fd);
}

bool control_alive(const char *name)
{
	auto_fd int dirfd = -1, fd = -1;
	if (sockets_open(&dirfd, NULL)) return false;
	int r = sockets_connect(dirfd, name, &fd, NULL);
	return !r || r == -EAGAIN;
}
