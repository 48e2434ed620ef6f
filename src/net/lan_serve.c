/* A network's switch as a process: a socket a guest, the NAT as uplink. The one idea: frames of a
 * batch stay where they were read, every port only notes which of them it gets, and after the batch
 * each port's go out in one call. What a guest does not take in time is lost to that guest alone:
 * its socket's buffer is its queue. */
#include "net/lan_serve.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "net/frame.h"
#include "net/lan_wire.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* syscalls switch: accept4 recvmmsg sendmmsg recvfrom sendto getsockopt setsockopt geteuid unlinkat
 */
/* The NAT's thread hands over what comes for guests. */
/* syscalls nat: sendmmsg */
/* Its leases, and its folder, which is all that it has. */
/* syscalls switch: openat* fchmod rename renameat2 unlink fsync */

enum { MEMBERS = LAN_PORTS, BACKLOG = 64, SNDBUF = 1 << 20, LEASES_MAX = 128 * 1024 };
#define PATIENCE   2000000000ull  /* ns for a hello */
#define LINGER	   1000000000ull  /* ns after the last guest has gone */
#define FIRST	   20000000000ull /* ns for the first guest to come */
#define PAUSE	   100000000ull	  /* ns until connections are taken again, once that failed */
#define LOCK_TRIES 100		  /* of 20 ms */

struct out { /* of this batch */
	const uint8_t *at;
	size_t len;
};
struct member {
	struct lan_serve *of; /* NULL: free */
	int fd, port;	      /* port -1: it has not said hello */
	struct watch *watch;
	struct timer *deadline; /* until it has */
	unsigned nforward;
	struct nat_forward forward[LAN_FORWARDS];
};
struct lan_serve {
	struct port uplink; /* wired to nat */
	struct port *nat;   /* NULL: none */
	int uplink_port;
	struct loop *loop;
	void (*ended)(void *ctx);
	void *ctx;
	int dirfd, lock, fd;
	char *leases;
	struct watch *watch;
	struct timer *idle, *pause;
	unsigned nmembers, njoined;
	struct member member[MEMBERS];
	pthread_mutex_t mutex; /* lan, and what is below; the NAT's thread calls in */
	struct lan lan;
	struct member *at_port[LAN_PORTS];
	unsigned nout[LAN_PORTS];
	struct out out[LAN_PORTS][LAN_BATCH];
	uint8_t frame[LAN_BATCH][LAN_FRAME]; /* the loop's thread alone */
	uint8_t from_uplink[LAN_FRAME];	     /* the NAT's */
};

static void lock(struct lan_serve *s) { (void)pthread_mutex_lock(&s->mutex); }
static void unlock(struct lan_serve *s) { (void)pthread_mutex_unlock(&s->mutex); }

/* --- frames --------------------------------------------------------------------------------
 * In front of each are OFFLOAD_HEAD bytes of what it is, as on the sockets. */

static void on_forward(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
	struct lan_serve *s = ctx;
	must(s->nout[port] < LAN_BATCH);
	s->out[port][s->nout[port]++] = (struct out){frame - OFFLOAD_HEAD, OFFLOAD_HEAD + len};
}

static void on_answer(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
	struct lan_serve *s = ctx;
	uint8_t head[OFFLOAD_HEAD];
	struct iovec v[] = {{head, sizeof(head)}, {(void *)frame, len}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	offload_write(&(struct offload){0}, head);
	if (s->at_port[port] && len)
		(void)sendmsg(s->at_port[port]->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static const struct lan_ops lan_ops = {on_forward, on_answer};

static void port_flush(struct lan_serve *s, unsigned port)
{
	struct mmsghdr m[LAN_BATCH];
	struct iovec v[LAN_BATCH];
	if (!s->at_port[port] || !s->nout[port]) return; /* the uplink's are the loop's to send */
	unsigned n = s->nout[port];
	memset(m, 0, n * sizeof(m[0]));
	for (unsigned i = 0; i < n; i++) {
		v[i] = (struct iovec){(void *)s->out[port][i].at, s->out[port][i].len};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	}
	(void)sendmmsg(s->at_port[port]->fd, m, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	s->nout[port] = 0;
}

static void flush_locked(struct lan_serve *s)
{
	for (unsigned i = 0; i < s->lan.nports; i++) port_flush(s, i);
}

/* Without the lock, since it calls the NAT. */
static void uplink_flush(struct lan_serve *s)
{
	if (!s->nat) return;
	for (unsigned i = 0; i < s->nout[s->uplink_port]; i++) {
		struct out *o = &s->out[s->uplink_port][i];
		struct offload what = offload_read(o->at);
		(void)port_send_large(&s->uplink, &what, o->at + OFFLOAD_HEAD,
				      o->len - OFFLOAD_HEAD);
	}
	s->nout[s->uplink_port] = 0;
}

/* From the NAT, on its thread. */
static bool uplink_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	struct lan_serve *s = container_of(p, struct lan_serve, uplink);
	uint8_t *at = s->from_uplink;
	if (len > OFFLOAD_FRAME) return true;
	offload_write(o, at);
	memcpy(at + OFFLOAD_HEAD, frame, len);
	lock(s);
	lan_input(&s->lan, (unsigned)s->uplink_port, o, at + OFFLOAD_HEAD, len, now_ns());
	flush_locked(s);
	unlock(s);
	return true;
}

static bool uplink_deliver(struct port *p, const struct iovec *iov, int n)
{
	uint8_t frame[ETH_MAX];
	size_t len = 0;
	for (int i = 0; i < n; len += iov[i++].iov_len) {
		if (iov[i].iov_len > sizeof(frame) - len) return true;
		memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
	}
	return uplink_large(p, &(struct offload){0}, frame, len);
}

static void uplink_free(struct port *p) { (void)p; } /* dies with the switch */
static const struct port_ops uplink_ops = {"uplink",	uplink_deliver, NULL,
					   uplink_free, uplink_large,	NULL};

static int batch_read(struct lan_serve *s, int fd, struct mmsghdr *m)
{
	struct iovec v[LAN_BATCH];
	memset(m, 0, LAN_BATCH * sizeof(m[0]));
	for (unsigned i = 0; i < LAN_BATCH; i++) {
		v[i] = (struct iovec){s->frame[i], LAN_FRAME};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	}
	int n = recvmmsg(fd, m, LAN_BATCH, MSG_DONTWAIT, NULL);
	return n < 0 ? -errno : n;
}

/* No guest may say of its own sums that they are right. */
static void frame_take(struct member *k, uint8_t *at, size_t len, uint64_t now)
{
	struct lan *l = &k->of->lan;
	struct offload o = offload_read(at);
	if (len <= OFFLOAD_HEAD) return;
	if (o.kind == OFFLOAD_VALID) o.kind = OFFLOAD_NONE;
	offload_write(&o, at);
	lan_input(l, (unsigned)k->port, &o, at + OFFLOAD_HEAD, len - OFFLOAD_HEAD, now);
}

/* False: the guest has gone. */
static bool frames_move(struct member *k)
{
	struct lan_serve *s = k->of;
	struct mmsghdr m[LAN_BATCH];
	int n = batch_read(s, k->fd, m);
	if (n < 0) return n == -EAGAIN || n == -EINTR;
	uint64_t now = now_ns();
	bool there = true;
	lock(s);
	for (int i = 0; i < n && there; i++) {
		there = m[i].msg_len > 0;
		bool whole = there && !(m[i].msg_hdr.msg_flags & MSG_TRUNC);
		if (whole) frame_take(k, s->frame[i], m[i].msg_len, now);
	}
	flush_locked(s);
	unlock(s);
	uplink_flush(s);
	return there;
}

/* --- guests -------------------------------------------------------------------------------- */

static void leases_write(struct lan_serve *s)
{
	auto_buf struct buf b = {0};
	struct err e;
	leases_format(&s->lan.leases, &b);
	if (file_replace(s->leases, b.at ? b.at : "", b.len, 0600, &e))
		log_warn("%s; guests may have other addresses next time", e.msg);
}

static void member_end(struct member *k)
{
	struct lan_serve *s = k->of;
	while (k->nforward) nat_unpublish(s->nat, &k->forward[--k->nforward]);
	if (k->port >= 0) {
		lock(s);
		lan_unplug(&s->lan, (unsigned)k->port);
		s->at_port[k->port] = NULL;
		s->nout[k->port] = 0;
		unlock(s);
		if (!--s->njoined) timer_arm(s->idle, now_ns() + LINGER);
	}
	watch_free(k->watch);
	timer_free(k->deadline);
	drop_fd(&k->fd);
	k->of = NULL;
	if (s->nmembers-- == MEMBERS) watch_set(s->watch, EPOLLIN);
}

static void member_late(void *ctx) { member_end(ctx); }

static int publish_all(struct member *k, const struct lan_hello *h, uint32_t ip, struct err *e)
{
	struct lan_serve *s = k->of;
	if (h->nforward && !s->nat)
		return fail(e, -EINVAL,
			    "network %s is isolated: ports of its guests cannot be published",
			    s->lan.conf.name);
	for (unsigned i = 0; i < h->nforward; i++) {
		struct nat_forward *f = &k->forward[k->nforward];
		lan_forward_read(f, &h->forward[i]);
		int r = nat_publish(s->nat, f, ip, e);
		if (r < 0) return r;
		k->nforward++;
	}
	return 0;
}

static int join(struct member *k, const struct lan_hello *h, uint32_t *ip, struct err *e)
{
	struct lan_serve *s = k->of;
	lock(s);
	int port = lan_plug(&s->lan, h->mac, h->name, le32_get(h->want), e);
	if (port >= 0) {
		s->at_port[port] = k;
		*ip = s->lan.port[port].id.ip;
	}
	unlock(s);
	if (port < 0) return port;
	k->port = port;
	s->njoined++;
	timer_disarm(s->idle);
	leases_write(s);
	return publish_all(k, h, *ip, e);
}

static bool welcome(struct member *k, const struct lan_hello *h)
{
	struct lan_welcome w = {0};
	struct err e = {0};
	uint32_t ip = 0;
	int r = join(k, h, &ip, &e);
	w.code = le32_of((uint32_t)-r);
	w.ip = le32_of(ip);
	if (r) memcpy(w.words, e.msg, sizeof(e.msg) < LAN_WORDS ? sizeof(e.msg) : LAN_WORDS);
	return send(k->fd, &w, sizeof(w), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(w) && !r;
}

static void describe(struct member *k)
{
	auto_buf struct buf b = {0};
	lock(k->of);
	lan_describe(&k->of->lan, &b);
	unlock(k->of);
	(void)send(k->fd, b.at, b.len < LAN_JSON ? b.len : LAN_JSON, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Programs of two versions may meet while one is replaced. */
static void not_understood(struct member *k, const char *at, size_t n)
{
	struct lan_welcome w = {.code = le32_of(EPROTO)};
	if (n < 8 || memcmp(at, LAN_MAGIC, 8)) return;
	(void)snprintf(
		w.words, sizeof(w.words),
		"network %s: its switch is of another version of Lodge; end its guests first",
		k->of->lan.conf.name);
	(void)send(k->fd, &w, sizeof(w), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* True: it has joined. */
static bool greeted(struct member *k)
{
	struct lan_hello h;
	char at[sizeof(h) + 1];
	ssize_t n = recv(k->fd, at, sizeof(at), MSG_DONTWAIT);
	if (n <= 0) return false;
	if (!lan_hello_read(&h, at, (size_t)n)) {
		not_understood(k, at, (size_t)n);
		return false;
	}
	if (le32_get(h.what) == LAN_DESCRIBE) {
		describe(k);
		return false;
	}
	timer_free(k->deadline);
	k->deadline = NULL;
	return welcome(k, &h);
}

static void member_ready(void *ctx, uint32_t ready)
{
	struct member *k = ctx;
	(void)ready;
	if (!(k->port < 0 ? greeted(k) : frames_move(k))) member_end(k);
}

static bool is_ours(int fd)
{
	struct ucred c;
	socklen_t n = sizeof(c);
	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) && (c.uid == geteuid() || !c.uid);
}

static void member_new(struct lan_serve *s, int fd)
{
	struct member *k = s->member;
	while (k->of) k++;
	*k = (struct member){.of = s, .fd = fd, .port = -1};
	if (s->nmembers++ == MEMBERS - 1) watch_set(s->watch, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SNDBUF}, sizeof(int));
	if (!is_ours(fd) || loop_watch(s->loop, &k->watch, fd, EPOLLIN, member_ready, k, NULL) ||
	    loop_timer(s->loop, &k->deadline, member_late, k, NULL))
		member_end(k);
	else
		timer_arm(k->deadline, now_ns() + PATIENCE);
}

static void pause_over(void *ctx)
{
	struct lan_serve *s = ctx;
	if (s->nmembers < MEMBERS) watch_set(s->watch, EPOLLIN);
}

/* Without descriptors to spare the connection stays where it is, and would be reported for ever. */
static void serve_ready(void *ctx, uint32_t ready)
{
	struct lan_serve *s = ctx;
	(void)ready;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		member_new(s, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		watch_set(s->watch, 0);
		timer_arm(s->pause, now_ns() + PAUSE);
	}
}

static void on_idle(void *ctx)
{
	struct lan_serve *s = ctx;
	if (!s->njoined && s->ended) s->ended(s->ctx);
}

/* --- opening and closing ------------------------------------------------------------------- */

/* Somebody listens at its socket, or did just now. */
static bool is_served(const struct lan_serve *s)
{
	struct sockaddr_un at;
	auto_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	lan_address(&at, s->dirfd);
	return fd >= 0 && (!connect(fd, (struct sockaddr *)&at, sizeof(at)) || errno == EAGAIN);
}

/* Whoever starts listens soon, whoever ends lets go of it soon. */
static int lock_wait(struct lan_serve *s, const char *dir, struct err *e)
{
	for (unsigned i = 0; flock(s->lock, LOCK_EX | LOCK_NB); i++) {
		if (errno != EINTR && errno != EWOULDBLOCK)
			return fail(e, -errno, "%s/lock: %s", dir, strerror(errno));
		if (i == LOCK_TRIES || is_served(s))
			return fail(e, -EBUSY, "network %s: its switch runs already",
				    s->lan.conf.name);
		(void)usleep(20000);
	}
	return 0;
}

static int folder_lock(struct lan_serve *s, const char *dir, struct err *e)
{
	struct stat st;
	s->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->lock = s->dirfd < 0 ? -1 : openat(s->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock < 0) return fail(e, -errno, "%s: %s", dir, strerror(errno));
	int r = lock_wait(s, dir, e);
	if (r == 0 && (fstat(s->lock, &st) || !st.st_nlink))
		r = fail(e, -ENOENT, "network %s: it was removed", s->lan.conf.name);
	return r;
}

static int folder_listen(struct lan_serve *s, struct err *e)
{
	struct sockaddr_un at;
	lan_address(&at, s->dirfd);
	(void)unlinkat(s->dirfd, LAN_SOCKET, 0);
	s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, sizeof(at)) ||
	    fchmodat(s->dirfd, LAN_SOCKET, 0600, 0) || listen(s->fd, BACKLOG))
		return fail(e, -errno, "network %s: socket: %s", s->lan.conf.name, strerror(errno));
	return 0;
}

static void leases_read(struct lan_serve *s)
{
	auto_buf struct buf b = {0};
	if (file_exists(s->leases) && !file_read(&b, s->leases, LEASES_MAX, NULL))
		leases_parse(&s->lan.leases, b.at ? b.at : "", b.len);
}

static int uplink_open(struct lan_serve *s, struct err *e)
{
	const struct subnet *n = &s->lan.conf.subnet;
	struct nat_net net = {n->net, subnet_mask(n), subnet_gateway(n), subnet_server(n)};
	if (!s->lan.conf.nat) return 0;
	s->uplink.ops = &uplink_ops;
	s->uplink_port = lan_uplink(&s->lan, e);
	if (s->uplink_port < 0) return s->uplink_port;
	int r = nat_new(&s->nat, &net, NULL, 0, e);
	if (r < 0) return r;
	port_wire(&s->uplink, s->nat);
	port_ready(&s->uplink);
	return 0;
}

static int serve_start(struct lan_serve *s, const char *dir, struct err *e)
{
	int r = folder_lock(s, dir, e);
	if (r < 0) return r;
	must(asprintf(&s->leases, "%s/leases", dir) >= 0);
	leases_read(s);
	r = uplink_open(s, e);
	if (r == 0) r = loop_timer(s->loop, &s->idle, on_idle, s, e);
	if (r == 0) r = loop_timer(s->loop, &s->pause, pause_over, s, e);
	if (r == 0) r = folder_listen(s, e);
	if (r == 0) r = loop_watch(s->loop, &s->watch, s->fd, EPOLLIN, serve_ready, s, e);
	if (r == 0) timer_arm(s->idle, now_ns() + FIRST);
	return r;
}

int lan_serve_open(struct lan_serve **out, const char *dir, const struct lan_conf *conf,
		   struct loop *l, void (*ended)(void *ctx), void *ctx, struct err *e)
{
	struct lan_serve *s = calloc(1, sizeof(*s));
	must(s);
	s->dirfd = s->lock = s->fd = -1;
	s->loop = l;
	s->ended = ended;
	s->ctx = ctx;
	(void)pthread_mutex_init(&s->mutex, NULL);
	lan_init(&s->lan, conf, &lan_ops, s);
	int r = serve_start(s, dir, e);
	if (r)
		lan_serve_close(s);
	else
		*out = s;
	return r;
}

void lan_serve_close(struct lan_serve *s)
{
	if (!s) return;
	if (s->fd >= 0) (void)unlinkat(s->dirfd, LAN_SOCKET, 0);
	for (unsigned i = 0; i < MEMBERS; i++)
		if (s->member[i].of) member_end(&s->member[i]);
	port_free(s->nat);
	watch_free(s->watch);
	timer_free(s->idle);
	timer_free(s->pause);
	drop_fd(&s->fd);
	drop_fd(&s->lock);
	drop_fd(&s->dirfd);
	(void)pthread_mutex_destroy(&s->mutex);
	free(s->leases);
	free(s);
}

/* Its folder was opened in the root that there was before. */
static int folder_again(struct lan_serve *s, const char *dir, struct err *e)
{
	drop_fd(&s->dirfd);
	s->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return s->dirfd < 0 ? fail(e, -errno, "%s: %s", dir, strerror(errno)) : 0;
}

/* --- the process --------------------------------------------------------------------------- */

static void stop(void *ctx) { loop_stop(ctx, 0); }
static void on_signal(void *ctx, int sig) { (void)sig, loop_stop(ctx, 0); }

static struct jail_plan plan; /* of this process */

static void confine_begin(const char *dir, const struct lan_conf *conf)
{
	plan = (struct jail_plan){.keep = {dir, "/etc/resolv.conf"},
				  .writable = {true},
				  .nkept = 2,
				  .net = conf->nat};
	tzset(); /* reads a file, the first time */
	jail_begin(&plan);
}

/* Frames of guests are what it reads: it keeps its folder, and the NAT's thread the internet. */
static int confine(struct lan_serve *s, const char *dir, struct err *e)
{
	if (!jail_is_on()) return 0;
	jail_close(&plan, JAIL_SWITCH);
	if (plan.what[0])
		log_warn("network %s: its switch is less confined on this host: %sfor more see: "
			 "lodge doctor",
			 s->lan.conf.name, plan.what);
	return folder_again(s, dir, e);
}

/* told: a pipe that hears an end of line once the switch serves; -1: nobody asked. */
static int serve_until(const char *dir, const struct lan_conf *conf, int told, struct err *e)
{
	struct loop *l = NULL;
	struct lan_serve *s = NULL;
	if (jail_is_wanted()) confine_begin(dir, conf);
	int r = loop_new(&l, e);
	if (r == 0) r = loop_signal(l, SIGTERM, on_signal, l, e);
	if (r == 0) r = loop_signal(l, SIGINT, on_signal, l, e);
	if (r == 0) r = lan_serve_open(&s, dir, conf, l, stop, l, e);
	if (r == 0) r = confine(s, dir, e);
	if (r == 0 && told >= 0) (void)!write(told, "\n", 1);
	if (told >= 0) (void)close(told);
	if (r == 0) r = loop_run(l);
	lan_serve_close(s);
	loop_free(l);
	return r;
}

/* Nothing of whoever started us is kept but the words of failures, which go into a file. */
static void let_go(const char *dir)
{
	char path[PATH_MAX + 8];
	(void)snprintf(path, sizeof(path), "%s/log", dir);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	(void)dup2(null, 0);
	(void)dup2(null, 1);
	(void)dup2(log < 0 ? null : log, 2);
	(void)close(null);
	if (log >= 0) (void)close(log);
	(void)!chdir("/");
}

static _Noreturn void serve_child(const char *dir, const struct lan_conf *conf, int told)
{
	struct err e = {0};
	(void)setsid();
	(void)prctl(PR_SET_NAME, "lodge-network");
	let_go(dir);
	/* close_range: what was inherited by mistake would keep others' pipes open */
	if (told != 3) told = dup2(told, 3);
	(void)close_range(4, ~0u, 0);
	(void)fcntl(told, F_SETFD, FD_CLOEXEC);
	int copy = fcntl(told, F_DUPFD_CLOEXEC, 4);
	int r = serve_until(dir, conf, told, &e);
	if (r && r != -EBUSY) (void)!write(copy, e.msg, strlen(e.msg));
	if (r == -EBUSY) (void)!write(copy, "\n", 1);
	_exit(r ? 1 : 0);
}

/* The first line is empty: it serves. Anything else says why it does not. */
static int hear(int fd, struct err *e)
{
	char words[200] = "";
	size_t n = 0;
	while (n < sizeof(words) - 1) {
		ssize_t got = read(fd, words + n, sizeof(words) - 1 - n);
		if (got < 0 && errno == EINTR) continue;
		if (got <= 0 || words[0] == '\n') break;
		n += (size_t)got;
	}
	if (words[0] == '\n') return 0;
	return fail(e, -EIO, "%s", n ? words : "the network's switch ended at once");
}

int lan_serve(const char *at, const struct lan_conf *conf, bool detach, struct err *e)
{
	int told[2];
	char dir[PATH_MAX];
	if (!realpath(at, dir)) return fail(e, -errno, "%s: %s", at, strerror(errno));
	if (!detach) return serve_until(dir, conf, -1, e);
	if (pipe2(told, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	if (jail_is_wanted()) (void)jail_own_pids();
	pid_t pid = fork();
	if (pid == 0) serve_child(dir, conf, told[1]);
	(void)close(told[1]);
	int r = pid < 0 ? fail(e, -errno, "fork: %s", strerror(errno)) : hear(told[0], e);
	(void)close(told[0]);
	return r;
}
