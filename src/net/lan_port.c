/* A guest's end of a software network. Frames to the switch go out at once, on the thread that has
 * them; when the socket is full the guest's card waits, and a thread tells it when there is room.
 * That thread reads too, and it is the one that joins again when the switch is gone. At a socket
 * behind which there is one guest's own process (nat_process.c) nobody else will come: then the
 * card has no link any more. */
#include "base/buf.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/proc.h"
#include "net/lan_wire.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

/* syscalls all: sendmsg */
/* syscalls lan: sendto recvfrom recvmmsg setsockopt */

enum { PARTS = 16, ARGS = 12, SNDBUF = 1 << 20, ANSWER_S = 3, AGAIN_MS = 20, RETRY_MS = 300 };
#define JOIN_NS 5000000000ull

struct lan_end {
	struct port port;
	char *dir, *network, *arg[ARGS];
	int (*dial)(const char *network, const struct lan_hello *h, int *fd,
		    struct err *e); /* NULL: dial_self() */
	struct lan_hello hello;
	bool only;		  /* no other socket comes after this one */
	void (*freed)(void *ctx); /* NULL: nobody wants to know */
	void *ctx;
	pthread_t thread;
	bool running;
	int wake;	       /* eventfd: look at the fields below */
	pthread_mutex_t mutex; /* of what follows, up to the thread's own */
	int fd;		       /* -1: not joined */
	bool refused;	       /* the card was told to wait */
	bool room;	       /* the card takes frames again */
	bool plugged;	       /* the card showed a sign of life: it is wired */
	bool stop;
	/* the thread's alone */
	bool silent;	     /* it was said that the switch is gone */
	bool greeted;	     /* the other side knows that the card is there */
	bool down;	     /* the card knows that the other side is not */
	unsigned first, got; /* frames that wait for the card */
	uint32_t len[LAN_BATCH];
	uint8_t frame[LAN_BATCH][LAN_FRAME];
};

static void lock(struct lan_end *p) { (void)pthread_mutex_lock(&p->mutex); }
static void unlock(struct lan_end *p) { (void)pthread_mutex_unlock(&p->mutex); }
static void wake(struct lan_end *p) { (void)!write(p->wake, &(uint64_t){1}, sizeof(uint64_t)); }

static bool stopping(struct lan_end *p)
{
	lock(p);
	bool stop = p->stop;
	unlock(p);
	return stop;
}

/* --- the cable ----------------------------------------------------------------------------- */

/* A frame that the socket cannot take for any other reason than room is lost, as on any wire. The
 * first part is what is said of it. */
static bool end_send(struct lan_end *p, struct iovec *iov, int n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	lock(p);
	bool full = p->fd >= 0 && sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		    (errno == EAGAIN || errno == ENOBUFS);
	bool first = !p->plugged || (full && !p->refused);
	p->refused |= full;
	p->plugged = true;
	unlock(p);
	if (first) wake(p);
	return !full;
}

static bool end_deliver(struct port *port, const struct iovec *iov, int n)
{
	uint8_t head[OFFLOAD_HEAD] = {0};
	struct iovec v[PARTS + 1] = {{head, sizeof(head)}};
	must(n <= PARTS);
	memcpy(v + 1, iov, (size_t)n * sizeof(*iov));
	return end_send((struct lan_end *)port, v, n + 1);
}

static bool end_large(struct port *port, const struct offload *o, const uint8_t *frame, size_t len)
{
	uint8_t head[OFFLOAD_HEAD];
	offload_write(o, head);
	struct iovec v[] = {{head, sizeof(head)}, {(void *)frame, len}};
	return end_send((struct lan_end *)port, v, 2);
}

static void end_ready(struct port *port)
{
	struct lan_end *p = (struct lan_end *)port;
	lock(p);
	p->room = p->plugged = true;
	unlock(p);
	wake(p);
}

/* --- joining ------------------------------------------------------------------------------- */

static int dial(const char *dir, int *out, struct err *e)
{
	struct sockaddr_un at;
	struct timeval t = {.tv_sec = ANSWER_S};
	auto_fd int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (dirfd < 0 || fd < 0) return fail(e, -errno, "%s: %s", dir, strerror(errno));
	lan_address(&at, dirfd);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SNDBUF}, sizeof(int));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)))
		return fail(e, errno == ECONNREFUSED ? -ENOENT : -errno, "no switch serves it: %s",
			    strerror(errno));
	*out = give_fd(&fd);
	return 0;
}

/* Hello has been said by whoever has dialed. -EAGAIN: it ended just now, or has not noticed yet
 * that an earlier monitor of this guest has. */
static int hear(struct lan_end *p, int fd, struct err *e)
{
	struct lan_welcome w;
	ssize_t n = recv(fd, &w, sizeof(w), 0);
	if (n < 0 && errno == EAGAIN)
		return fail(e, -ETIMEDOUT, "network %s: its switch does not answer", p->network);
	if (n != sizeof(w)) return -EAGAIN;
	w.words[sizeof(w.words) - 1] = 0;
	uint32_t code = le32_get(w.code);
	if (code && code < 4096) {
		(void)fail(e, -(int)code, "%s", w.words);
		return code == EBUSY ? -EAGAIN : -(int)code;
	}
	p->hello.want = w.ip;
	return 0;
}

static void keep_line(void *ctx, const char *line)
{
	struct err *e = ctx;
	(void)fail(e, -EIO, "%s", strncmp(line, "lodge: ", 7) ? line : line + 7);
}

int lan_start(const char *network, const char *const *arg, struct err *e)
{
	struct err said = {0};
	struct proc run = {.argv = arg, .line = keep_line, .ctx = &said};
	int code;
	if (!arg || !arg[0]) return fail(e, -ENOENT, "network %s: no switch serves it", network);
	int r = proc_run(&run, &code, e);
	if (r == 0 && code)
		r = fail(e, -EIO, "network %s: %s", network,
			 said.code ? said.msg : "its switch could not be started");
	return r;
}

int lan_call(const char *dir, const struct lan_hello *h, int *out, struct err *e)
{
	auto_fd int fd = -1;
	int r = dial(dir, &fd, e);
	if (r) return r;
	if (send(fd, h, sizeof(*h), MSG_NOSIGNAL) != sizeof(*h)) return -EAGAIN;
	*out = give_fd(&fd);
	return 0;
}

static int dial_self(struct lan_end *p, int *fd, struct err *e)
{
	int r = lan_call(p->dir, &p->hello, fd, e);
	if (r != -ENOENT) return r;
	r = lan_start(p->network, (const char *const *)p->arg, e);
	return r ? r : -EAGAIN;
}

static int try_join(struct lan_end *p, int *out, struct err *e)
{
	auto_fd int fd = -1;
	int r = p->dial ? p->dial(p->network, &p->hello, &fd, e) : dial_self(p, &fd, e);
	if (r == 0) r = hear(p, fd, e);
	if (r == 0) *out = give_fd(&fd);
	return r;
}

static int join(struct lan_end *p, struct err *e)
{
	uint64_t until = now_ns() + JOIN_NS;
	int fd = -1, r;
	(void)fail(e, -ETIMEDOUT, "network %s: its switch ends whenever it is started", p->network);
	while ((r = try_join(p, &fd, e)) == -EAGAIN && now_ns() < until && !stopping(p))
		(void)usleep(AGAIN_MS * 1000);
	if (r == -EAGAIN) return e ? e->code : r;
	if (r < 0) return r;
	lock(p);
	p->fd = fd;
	unlock(p);
	return 0;
}

/* --- the thread ---------------------------------------------------------------------------- */

static void lost(struct lan_end *p)
{
	lock(p);
	int fd = p->fd;
	p->fd = -1;
	bool refused = p->refused;
	p->refused = false;
	unlock(p);
	drop_fd(&fd);
	if (refused) port_ready(&p->port);
}

static void rejoin(struct lan_end *p)
{
	struct err e = {0};
	struct pollfd w = {.fd = p->wake, .events = POLLIN};
	if (join(p, &e) == 0) {
		p->silent = false;
		return;
	}
	if (!p->silent) log_warn("%s; trying on", e.msg);
	p->silent = true;
	(void)poll(&w, 1, RETRY_MS);
}

/* False: the switch is gone. */
static bool fetch(struct lan_end *p)
{
	struct mmsghdr m[LAN_BATCH];
	struct iovec v[LAN_BATCH];
	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < LAN_BATCH; i++) {
		v[i] = (struct iovec){p->frame[i], LAN_FRAME};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	}
	int n = recvmmsg(p->fd, m, LAN_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0) return errno == EAGAIN || errno == EINTR;
	p->first = 0;
	p->got = (unsigned)n;
	for (int i = 0; i < n; i++) p->len[i] = m[i].msg_len;
	return n > 0 && p->len[n - 1] > 0;
}

static void hand_over(struct lan_end *p)
{
	for (; p->first < p->got; p->first++) {
		const uint8_t *at = p->frame[p->first], *frame = at + OFFLOAD_HEAD;
		if (p->len[p->first] <= OFFLOAD_HEAD) continue;
		size_t len = p->len[p->first] - OFFLOAD_HEAD;
		struct offload o = offload_read(at);
		if (offload_check(&o, frame, len) && !port_send_large(&p->port, &o, frame, len))
			return;
	}
}

/* A frame of no bytes: who waits for the card lets others in to it from then on. */
static void greet(struct lan_end *p)
{
	uint8_t head[OFFLOAD_HEAD] = {0};
	if (!p->greeted && p->only) (void)send(p->fd, head, sizeof(head), MSG_NOSIGNAL);
	p->greeted = true;
}

/* The card wants no more until ready(): then the switch's frames stay in the socket. */
static bool pump(struct lan_end *p)
{
	lock(p);
	bool room = p->room, refused = p->refused, plugged = p->plugged;
	p->room = false;
	unlock(p);
	if (room) hand_over(p);
	if (plugged) greet(p);
	bool held = p->first < p->got || !plugged;
	struct pollfd w[2] = {{.fd = p->wake, .events = POLLIN}, {.fd = p->fd}};
	w[1].events = (short)((held ? 0 : POLLIN) | (refused ? POLLOUT : 0));
	(void)poll(w, 2, -1);
	if (w[0].revents) (void)!read(p->wake, &(uint64_t){0}, sizeof(uint64_t));
	if (w[1].revents & POLLOUT) {
		lock(p);
		p->refused = false;
		unlock(p);
		port_ready(&p->port);
	}
	bool there = true;
	if (!held && w[1].revents & (POLLIN | POLLHUP | POLLERR)) {
		there = fetch(p);
		hand_over(p);
	}
	return there && !(held && w[1].revents & POLLHUP);
}

/* The card may not be there yet to hear it. */
static void mourn(struct lan_end *p)
{
	struct pollfd w = {.fd = p->wake, .events = POLLIN};
	lock(p);
	bool tell = p->plugged && !p->down;
	unlock(p);
	if (!p->silent)
		log_warn(
			"network %s: the process that serves it has ended: the guest's card has no "
			"link until the guest is started again",
			p->network);
	p->silent = true;
	if (tell) port_down(&p->port);
	p->down |= tell;
	(void)poll(&w, 1, -1);
	(void)!read(p->wake, &(uint64_t){0}, sizeof(uint64_t));
}

static void *end_run(void *ctx)
{
	struct lan_end *p = ctx;
	jail_thread(JAIL_LAN);
	while (!stopping(p)) {
		if (p->fd >= 0) {
			if (!pump(p)) lost(p);
		} else if (p->only) {
			mourn(p);
		} else {
			rejoin(p);
		}
	}
	return NULL;
}

static int thread_start(struct lan_end *p, struct err *e)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&p->thread, NULL, end_run, p);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->running = r == 0;
	return r ? fail(e, -r, "network: no thread could be started") : 0;
}

/* --- life ---------------------------------------------------------------------------------- */

static void end_free(struct port *port)
{
	struct lan_end *p = (struct lan_end *)port;
	lock(p);
	p->stop = true;
	unlock(p);
	wake(p);
	if (p->running) (void)pthread_join(p->thread, NULL);
	drop_fd(&p->fd);
	drop_fd(&p->wake);
	(void)pthread_mutex_destroy(&p->mutex);
	for (unsigned i = 0; i < ARGS; i++) free(p->arg[i]);
	free(p->dir);
	free(p->network);
	if (p->freed) p->freed(p->ctx);
	free(p);
}

static const struct port_ops end_ops = {"lan", end_deliver, end_ready, end_free, end_large, NULL};

static char *copy_of(const char *s)
{
	char *c = strdup(s);
	must(c);
	return c;
}

static void hello_fill(struct lan_hello *h, const struct lan_how *how)
{
	lan_hello_make(h, LAN_JOIN);
	memcpy(h->mac, how->mac, 6);
	(void)snprintf(h->name, sizeof(h->name), "%s", how->guest);
	must(how->nforward <= LAN_FORWARDS);
	h->nforward = (uint8_t)how->nforward;
	for (unsigned i = 0; i < how->nforward; i++)
		lan_forward_make(&h->forward[i], &how->forward[i]);
}

static struct lan_end *end_new(const char *network, int fd)
{
	struct lan_end *p = calloc(1, sizeof(*p));
	must(p);
	p->port.ops = &end_ops;
	p->fd = fd;
	p->network = copy_of(network);
	(void)pthread_mutex_init(&p->mutex, NULL);
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return p;
}

int lan_port_at(struct port **out, const char *network, int fd, void (*freed)(void *ctx), void *ctx,
		struct err *e)
{
	struct lan_end *p = end_new(network, fd);
	p->only = true;
	int r = p->wake < 0 ? fail(e, -errno, "network: %s", strerror(errno)) : thread_start(p, e);
	if (r < 0) {
		end_free(&p->port);
		return r;
	}
	p->freed = freed;
	p->ctx = ctx;
	*out = &p->port;
	return 0;
}

int lan_port_new(struct port **out, const struct lan_how *how, struct err *e)
{
	struct lan_end *p = end_new(how->network, -1);
	p->dir = copy_of(how->dir ? how->dir : "");
	p->dial = how->dial;
	for (unsigned i = 0; how->start && how->start[i]; i++) {
		must(i < ARGS - 1);
		p->arg[i] = copy_of(how->start[i]);
	}
	hello_fill(&p->hello, how);
	int r = p->wake < 0 ? fail(e, -errno, "network: %s", strerror(errno)) : join(p, e);
	if (r == 0) r = thread_start(p, e);
	if (r < 0)
		end_free(&p->port);
	else
		*out = &p->port;
	return r;
}

uint32_t lan_port_ip(const struct port *p)
{
	must(p->ops == &end_ops);
	return le32_get(((const struct lan_end *)p)->hello.want);
}

int lan_ask(const char *dir, struct buf *answer, struct err *e)
{
	struct lan_hello h;
	auto_fd int fd = -1;
	auto_mem char *at = malloc(LAN_JSON);
	must(at);
	lan_hello_make(&h, LAN_DESCRIBE);
	int r = dial(dir, &fd, e);
	if (r) return r;
	if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h)) return -ENOENT;
	ssize_t n = recv(fd, at, LAN_JSON, 0);
	if (n < 0) return fail(e, -errno, "its switch does not answer: %s", strerror(errno));
	if (n == 0) return fail(e, -ENOENT, "no switch serves it");
	buf_add(answer, at, (size_t)n);
	return 0;
}
