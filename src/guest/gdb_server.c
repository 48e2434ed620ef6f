/* Where a debugger connects. It gets what it asked for as fast as it reads, and is not listened to
 * meanwhile, so that it can ask for no more than a buffer's worth. */
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include "guest/gdb.h"
#include "guest/outside.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* syscalls loop: accept4 recvfrom sendto setsockopt shutdown */

struct gdb_server {
	struct loop *loop;
	const struct gdb_ops *ops;
	void *ctx;
	int fd, peer, other; /* listening; the debugger; one that comes too late */
	struct watch *watch, *peer_watch, *other_watch;
	struct gdb *gdb; /* of the debugger that is here */
	struct buf out;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": no file */
};

/* ---- places ---- */
union place {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static int place_unix(union place *to, socklen_t *len, const char *path, struct err *e)
{
	*to = (union place){.un = {.sun_family = AF_UNIX}};
	if (!*path || strlen(path) >= sizeof(to->un.sun_path))
		return fail(e, -EINVAL, "--gdb: unix:PATH: a path of 1 to %zu characters",
			    sizeof(to->un.sun_path) - 1);
	(void)strcpy(to->un.sun_path, path);
	*len = sizeof(to->un);
	return 0;
}

static int place_port(union place *to, socklen_t *len, const char *where, struct err *e)
{
	char host[64] = "127.0.0.1", *end;
	const char *colon = strrchr(where, ':'), *port = colon ? colon + 1 : where;
	unsigned long n = strtoul(port, &end, 10);
	bool bad = *port < '0' || *port > '9' || *end || n > UINT16_MAX;
	if (colon && colon > where) {
		size_t k = (size_t)(colon - where);
		bool brackets = *where == '[' && colon[-1] == ']' && k > 2;
		bad |= k >= sizeof(host);
		if (!bad)
			(void)snprintf(host, sizeof(host), "%.*s", (int)(brackets ? k - 2 : k),
				       where + brackets);
	}
	if (bad) return fail(e, -EINVAL, "--gdb: '%s' is neither [ADDR:]PORT nor unix:PATH", where);
	*to = (union place){.in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)n)}};
	*len = sizeof(to->in);
	if (inet_pton(AF_INET, host, &to->in.sin_addr) == 1) return 0;
	*to = (union place){.in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)n)}};
	*len = sizeof(to->in6);
	if (inet_pton(AF_INET6, host, &to->in6.sin6_addr) == 1) return 0;
	return fail(e, -EINVAL, "--gdb: '%s' is no address in numbers", host);
}

static int place(union place *to, socklen_t *len, const char *where, struct err *e)
{
	if (!strncmp(where, "unix:", 5)) return place_unix(to, len, where + 5, e);
	if (!strncmp(where, "tcp:", 4)) where += 4; /* for habit: tcp::1234 */
	return place_port(to, len, where, e);
}

int gdb_check(const char *where, struct err *e)
{
	union place p;
	socklen_t len;
	return place(&p, &len, where, e);
}

/* ---- the debugger ---- */
static void leave(struct gdb_server *s)
{
	watch_free(s->peer_watch);
	s->peer_watch = NULL;
	drop_fd(&s->peer);
	s->peer = -1;
	gdb_free(s->gdb);
	s->gdb = NULL;
	s->out.len = s->out.pos = 0;
}

/* False: it is gone. */
static bool flush(struct gdb_server *s)
{
	while (s->out.pos < s->out.len) {
		ssize_t n = send(s->peer, s->out.at + s->out.pos, s->out.len - s->out.pos,
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && errno == EAGAIN) break;
		if (n <= 0) return false;
		s->out.pos += (size_t)n;
	}
	bool all = s->out.pos == s->out.len;
	if (all) s->out.len = s->out.pos = 0;
	watch_set(s->peer_watch, all ? EPOLLIN : EPOLLOUT);
	return true;
}

static void peer_ready(void *ctx, uint32_t ready)
{
	struct gdb_server *s = ctx;
	char bytes[4096];
	bool stays = true;
	if (!(ready & EPOLLOUT)) {
		ssize_t n = recv(s->peer, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
		stays = n > 0 && gdb_feed(s->gdb, bytes, (size_t)n, &s->out);
	}
	if (!flush(s) || !stays) leave(s);
}

/* ---- one too many ---- */
static void other_leave(struct gdb_server *s)
{
	watch_free(s->other_watch);
	s->other_watch = NULL;
	drop_fd(&s->other);
	s->other = -1;
}
/* Its first packet is a question that may be answered so. */
static void other_ready(void *ctx, uint32_t ready)
{
	static const char no[] = "+$E.another debugger is attached already#25";
	struct gdb_server *s = ctx;
	char bytes[4096];
	(void)ready;
	(void)recv(s->other, bytes, sizeof(bytes), MSG_DONTWAIT);
	(void)send(s->other, no, sizeof(no) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	other_leave(s);
}

static int take(struct gdb_server *s, int fd)
{
	if (s->peer >= 0) {
		if (s->other >= 0) other_leave(s);
		s->other = fd;
		return loop_watch(s->loop, &s->other_watch, fd, EPOLLIN, other_ready, s, NULL);
	}
	int on = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	s->peer = fd;
	s->gdb = gdb_new(s->ops, s->ctx);
	int r = loop_watch(s->loop, &s->peer_watch, fd, EPOLLIN, peer_ready, s, NULL);
	if (!r) (void)gdb_feed(s->gdb, "", 0, &s->out);
	return r;
}

static void listen_ready(void *ctx, uint32_t ready)
{
	struct gdb_server *s = ctx;
	(void)ready;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 || !take(s, fd)) return;
	if (s->peer == fd)
		leave(s);
	else
		other_leave(s);
}

/* ---- life ---- */
/* A name that a monitor which was killed has left: nobody listens. */
static bool is_stale(const union place *p, socklen_t len)
{
	if (p->any.sa_family != AF_UNIX) return false;
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && connect(fd, &p->any, len) && errno == ECONNREFUSED;
}

static int bind_at(int fd, const union place *p, socklen_t len)
{
	if (!bind(fd, &p->any, len)) return 0;
	if (errno != EADDRINUSE || !is_stale(p, len)) return -1;
	(void)unlink(p->un.sun_path);
	return bind(fd, &p->any, len);
}

static int listen_now(const char *where, const union place *p, socklen_t len, struct err *e)
{
	int on = 1;
	auto_fd int fd = socket(p->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && p->any.sa_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind_at(fd, p, len) || listen(fd, 4))
		return fail(e, -errno, "--gdb %s: %s", where, strerror(errno));
	return give_fd(&fd);
}

static int early = -1; /* listens already */

int gdb_prepare(const char *where, struct err *e)
{
	union place p;
	socklen_t len;
	int r = place(&p, &len, where, e);
	if (r || p.any.sa_family == AF_UNIX) return r;
	early = listen_now(where, &p, len, e);
	return early < 0 ? early : 0;
}

static int listen_at(struct gdb_server *s, const char *where, struct err *e)
{
	union place p;
	socklen_t len;
	int r = place(&p, &len, where, e);
	if (r) return r;
	s->fd = early >= 0 ? give_fd(&early) : listen_now(where, &p, len, e);
	if (s->fd < 0) return s->fd;
	if (p.any.sa_family == AF_UNIX) (void)strcpy(s->path, p.un.sun_path);
	return loop_watch(s->loop, &s->watch, s->fd, EPOLLIN, listen_ready, s, e);
}

int gdb_serve(struct gdb_server **out, struct loop *l, const char *where, const struct gdb_ops *ops,
	      void *ctx, struct err *e)
{
	struct gdb_server *s = calloc(1, sizeof(*s));
	must(s);
	*s = (struct gdb_server){
		.loop = l, .ops = ops, .ctx = ctx, .fd = -1, .peer = -1, .other = -1};
	int r = listen_at(s, where, e);
	if (r)
		gdb_server_close(s);
	else
		*out = s;
	return r;
}

void gdb_server_stopped(struct gdb_server *s, const struct gdb_stop *why)
{
	if (!s->gdb) return;
	gdb_stopped(s->gdb, why, &s->out);
	if (!flush(s)) leave(s);
}

void gdb_server_close(struct gdb_server *s)
{
	if (!s) return;
	if (s->gdb) {
		gdb_ended(s->gdb, &s->out);
		if (flush(s)) (void)shutdown(s->peer, SHUT_WR);
		leave(s);
	}
	other_leave(s);
	watch_free(s->watch);
	drop_fd(&s->fd);
	if (*s->path) outside_ungdb(s->path);
	buf_done(&s->out);
	free(s);
}
