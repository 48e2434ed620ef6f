/* User-mode NAT: libslirp on a thread of its own, which is the only one that ever calls it.
 * Frames from the guest come in through a bounded ring; when it is full the cable is told so,
 * and told again when there is room. Frames the guest has no room for wait in a second one, and
 * are dropped when that is full too: TCP sends them again, at the guest's pace. In a process that
 * is there for nothing else the thread looks after the cable itself: nat_serve(). */
#include "base/jail.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include "net/frame.h"
#include "net/merge.h"
#include "net/nat_impl.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libslirp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>

/* libslirp's; openat is for resolv.conf. */
/* syscalls nat: socket connect bind listen accept accept4 getsockname getpeername getsockopt
 * setsockopt sendto recvfrom sendmsg recvmsg shutdown ioctl fcntl openat */

enum { FRAMES = 256, FRAME_MAX = OFFLOAD_FRAME, SOCKETS_MAX = 4096 };
enum { NS_PER_MS = 1000000 };
#define RING ((size_t)1 << 20)

struct frame {
	size_t len;
	uint8_t at[FRAME_MAX];
};

struct what { /* of a frame */
	size_t len;
	struct offload offload;
};

struct ring { /* frames one behind the other, each with a struct what in front; none goes round */
	size_t first, end,
		wrap; /* wrap: where the last one before the beginning ends; 0: nowhere */
	unsigned n;
	uint8_t at[RING];
};

struct nat_timer {
	void *opaque;
	int64_t at_ms; /* INT64_MAX: not armed */
};

/* To publish a port, or no longer to. */
struct order {
	struct nat_forward forward;
	struct in_addr guest;
	bool add;
	int result;
	struct err *e;
};

struct nat {
	struct port port;
	Slirp *slirp;
	pthread_t thread;
	bool running;
	const struct nat_cable *cable; /* NULL: whoever has a frame calls, and wakes the thread */
	int wake;		       /* eventfd: look at the fields below */
	pthread_mutex_t mutex;
	struct ring in; /* under mutex, as the next three */
	bool plugged;	/* the other end showed a sign of life: it is wired */
	bool refused;	/* the other end was told that in is full */
	bool stop;
	struct order *order; /* for the thread to carry out; NULL: none */
	pthread_cond_t done; /* it was */
	/* the thread's alone from here on */
	struct ring out;
	struct merge merge; /* what libslirp sends in one go */
	struct frame now;   /* going into slirp */
	struct nat_timer timer[SLIRP_TIMER_NUM];
	struct pollfd *fds;
	size_t nfds, cap, limit;
	size_t sockets;	    /* as of the last look, and those that may have come since */
	uint32_t net, mask; /* of the guests */
};

/* Room for such a frame; NULL: there is none. */
static uint8_t *ring_push(struct ring *r, const struct offload *o, size_t len)
{
	const struct what w = {len, *o};
	size_t need = sizeof(w) + len;
	if (r->n == FRAMES) return NULL;
	if (!r->n) r->first = r->end = r->wrap = 0;
	if (!r->wrap && RING - r->end < need) {
		if (r->first < need) return NULL;
		r->wrap = r->end;
		r->end = 0;
	}
	if (r->wrap && r->first - r->end < need) return NULL;
	uint8_t *at = r->at + r->end;
	memcpy(at, &w, sizeof(w));
	r->end += need;
	r->n++;
	return at + sizeof(w);
}

static const uint8_t *ring_first(const struct ring *r, struct what *w)
{
	if (!r->n) return NULL;
	memcpy(w, r->at + r->first, sizeof(*w));
	return r->at + r->first + sizeof(*w);
}

static void ring_drop(struct ring *r)
{
	struct what w = {0};
	if (ring_first(r, &w)) r->first += sizeof(w) + w.len;
	r->n--;
	if (r->wrap && r->first == r->wrap) r->first = r->wrap = 0;
}

static void wake(struct nat *n) { (void)!write(n->wake, &(uint64_t){1}, sizeof(uint64_t)); }

static void gather(uint8_t *to, const struct iovec *iov, int niov)
{
	for (int i = 0; i < niov; to += iov[i++].iov_len)
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
}

/* libslirp takes a large segment as it is; only its sums must be right. */
static bool nat_take(struct nat *n, const struct offload *o, const struct iovec *iov, int niov)
{
	size_t len = 0;
	for (int i = 0; i < niov; i++) len += iov[i].iov_len;
	if (len > FRAME_MAX) return true;
	(void)pthread_mutex_lock(&n->mutex);
	uint8_t *f = ring_push(&n->in, o, len);
	bool first = n->in.n == 1;
	if (f) gather(f, iov, niov);
	if (f) offload_finish(o, f, len);
	n->refused |= !f;
	n->plugged = true;
	(void)pthread_mutex_unlock(&n->mutex);
	if (first) wake(n);
	return f;
}

static bool nat_deliver(struct port *p, const struct iovec *iov, int niov)
{
	return nat_take((struct nat *)p, &(struct offload){0}, iov, niov);
}

static bool nat_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	return nat_take((struct nat *)p, o, &(struct iovec){(void *)frame, len}, 1);
}

static void nat_ready(struct port *p)
{
	struct nat *n = (struct nat *)p;
	(void)pthread_mutex_lock(&n->mutex);
	n->plugged = true;
	(void)pthread_mutex_unlock(&n->mutex);
	wake(n);
}

static void frame_send(struct nat *n, const struct offload *o, const void *buf, size_t len)
{
	if (!n->out.n && port_send_large(&n->port, o, buf, len)) return;
	uint8_t *f = ring_push(&n->out, o, len);
	if (f) memcpy(f, buf, len);
}

static void merge_send(struct nat *n)
{
	struct merge *m = &n->merge;
	if (m->n) frame_send(n, &m->offload, m->frame, m->len);
	m->n = 0;
}

/* What libslirp calls back. */
static ssize_t on_packet(const void *buf, size_t len, void *ctx)
{
	static const struct offload made_right = {.kind = OFFLOAD_VALID};
	struct nat *n = ctx;
	if (len > FRAME_MAX || merge_add(&n->merge, buf, len)) return (ssize_t)len;
	merge_send(n);
	if (!merge_add(&n->merge, buf, len)) frame_send(n, &made_right, buf, len);
	return (ssize_t)len;
}

static void on_guest_error(const char *msg, void *ctx) { (void)msg, (void)ctx; }
static int64_t on_clock(void *ctx) { return (void)ctx, (int64_t)now_ns(); }
static void on_fd(int fd, void *ctx) { (void)fd, (void)ctx; }
static void on_notify(void *ctx) { (void)ctx; }

static void *on_timer_new(SlirpTimerId id, void *opaque, void *ctx)
{
	struct nat *n = ctx;
	must((unsigned)id < SLIRP_TIMER_NUM);
	n->timer[id] = (struct nat_timer){opaque, INT64_MAX};
	return &n->timer[id];
}

static void on_timer_free(void *timer, void *ctx)
{
	(void)ctx;
	if (timer) ((struct nat_timer *)timer)->at_ms = INT64_MAX;
}

static void on_timer_mod(void *timer, int64_t at_ms, void *ctx)
{
	(void)ctx;
	((struct nat_timer *)timer)->at_ms = at_ms;
}

static int on_add_poll(int fd, int want, void *ctx)
{
	struct nat *n = ctx;
	short ev = (short)((want & SLIRP_POLL_IN ? POLLIN : 0) |
			   (want & SLIRP_POLL_OUT ? POLLOUT : 0) |
			   (want & SLIRP_POLL_PRI ? POLLPRI : 0));
	if (n->nfds == n->cap) {
		n->cap = n->cap * 2;
		n->fds = realloc(n->fds, n->cap * sizeof(n->fds[0]));
		must(n->fds);
	}
	n->fds[n->nfds] = (struct pollfd){.fd = fd, .events = ev};
	return (int)n->nfds++;
}

static int on_revents(int i, void *ctx)
{
	short got = ((struct nat *)ctx)->fds[i].revents;
	return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (got & POLLPRI ? SLIRP_POLL_PRI : 0) | (got & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static const SlirpCb callbacks = {
	.send_packet = on_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_new_opaque = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_fd,
	.unregister_poll_fd = on_fd,
	.notify = on_notify,
};

/* Could this frame make libslirp open a socket? An IPv4 one that starts a TCP connection, carries
 * anything but TCP, or is a part of what may be either (RFC 791 §3.1, RFC 793 §3.1). */
static bool opens_socket(const uint8_t *f, size_t len)
{
	enum { ETH = 14, IP_FRAG = ETH + 6, IP_PROTO = ETH + 9, TCP = 6, SYN = 2, ACK = 16 };
	if (len <= ETH + 20 || f[12] != 8 || f[13] != 0) return false;
	bool part = f[IP_FRAG] & 0x3f || f[IP_FRAG + 1]; /* all but "don't fragment" */
	if (part || f[IP_PROTO] != TCP) return true;
	unsigned flags = ETH + (f[ETH] & 15u) * 4 + 13;
	return flags < len && (f[flags] & (SYN | ACK)) == SYN;
}

/* Addresses that no router passes on: the host's own (RFC 1122 §3.2.1.3), and those that are good
 * on one link only (RFC 3927 §7), behind which clouds tell whoever asks on that host its secrets.
 * What the host offers at its loopback is for those who ask the gateway. */
static bool is_local(const struct nat *n, const uint8_t *f, size_t len)
{
	enum { ETH = 14, IP_DST = ETH + 16 };
	if (len < ETH + 20 || f[12] != 8 || f[13] != 0) return false;
	uint32_t to = be32_at(f + IP_DST);
	if ((to & n->mask) == n->net) return false;
	return to >> 24 == 127 || to >> 24 == 0 || to >> 16 == 0xa9fe;
}

static bool in_take(struct nat *n)
{
	(void)pthread_mutex_lock(&n->mutex);
	struct what w;
	const uint8_t *f = ring_first(&n->in, &w);
	if (f) {
		n->now.len = w.len;
		memcpy(n->now.at, f, w.len);
		ring_drop(&n->in);
	}
	(void)pthread_mutex_unlock(&n->mutex);
	return f;
}

void nat_input(struct nat *n, const uint8_t *frame, size_t len)
{
	if (is_local(n, frame, len)) return;
	bool opens = opens_socket(frame, len);
	if (opens && n->sockets >= n->limit) return;
	n->sockets += opens;
	slirp_input(n->slirp, frame, (int)len);
}

static void in_run(struct nat *n)
{
	for (int i = 0; i < FRAMES && in_take(n); i++) nat_input(n, n->now.at, n->now.len);
	(void)pthread_mutex_lock(&n->mutex);
	bool refused = n->refused;
	n->refused = false;
	(void)pthread_mutex_unlock(&n->mutex);
	if (refused) port_ready(&n->port);
}

static void out_run(struct nat *n)
{
	struct what w;
	const uint8_t *f;
	while ((f = ring_first(&n->out, &w)) && port_send_large(&n->port, &w.offload, f, w.len))
		ring_drop(&n->out);
	merge_send(n);
}

static int64_t now_ms(void) { return (int64_t)(now_ns() / NS_PER_MS); }

static uint32_t timers_due(const struct nat *n)
{
	uint32_t wait = UINT32_MAX;
	for (unsigned i = 0; i < SLIRP_TIMER_NUM; i++) {
		int64_t left = n->timer[i].at_ms - now_ms();
		if (n->timer[i].at_ms == INT64_MAX || left >= wait) continue;
		wait = left < 0 ? 0 : (uint32_t)left;
	}
	return wait;
}

static void timers_run(struct nat *n)
{
	for (unsigned i = 0; i < SLIRP_TIMER_NUM; i++) {
		if (n->timer[i].at_ms > now_ms()) continue;
		n->timer[i].at_ms = INT64_MAX;
		slirp_handle_timer(n->slirp, (SlirpTimerId)i, n->timer[i].opaque);
	}
}

static void nap(struct nat *n, bool plugged)
{
	uint32_t ms = timers_due(n);
	n->nfds = 1;
	n->fds[0] =
		n->cable ? (struct pollfd){.fd = n->cable->fd, .events = n->cable->wants(n->cable)}
			 : (struct pollfd){.fd = n->wake, .events = POLLIN};
	if (plugged) slirp_pollfds_fill(n->slirp, &ms, on_add_poll, n);
	struct timespec t = {ms / 1000, ms % 1000 * NS_PER_MS};
	int r = ppoll(n->fds, n->nfds, ms == UINT32_MAX ? NULL : &t, NULL);
	n->sockets = n->nfds;
	if (r > 0 && n->fds[0].revents && !n->cable)
		(void)!read(n->wake, &(uint64_t){0}, sizeof(uint64_t));
	if (plugged) slirp_pollfds_poll(n->slirp, r < 0, on_revents, n);
}

static int forward_add(struct nat *n, const struct nat_forward *f, struct in_addr guest,
		       struct err *e);
static void forward_remove(struct nat *n, const struct nat_forward *f);

static void order_run(struct nat *n)
{
	(void)pthread_mutex_lock(&n->mutex);
	struct order *o = n->order;
	if (o && o->add)
		o->result = forward_add(n, &o->forward, o->guest, o->e);
	else if (o)
		forward_remove(n, &o->forward);
	n->order = NULL;
	if (o) (void)pthread_cond_broadcast(&n->done);
	(void)pthread_mutex_unlock(&n->mutex);
}

/* Until the other end shows itself, connections to published ports wait where they are. */
static void *nat_run(void *ctx)
{
	struct nat *n = ctx;
	jail_thread(JAIL_NAT);
	for (;;) {
		(void)pthread_mutex_lock(&n->mutex);
		bool stop = n->stop, plugged = n->plugged, more = n->in.n;
		(void)pthread_mutex_unlock(&n->mutex);
		if (stop) return NULL;
		if (more) wake(n);
		nap(n, plugged);
		order_run(n);
		if (!plugged) continue;
		timers_run(n);
		in_run(n);
		out_run(n);
	}
}

void nat_serve(struct port *nat, const struct nat_cable *c)
{
	struct nat *n = (struct nat *)nat;
	bool there = true;
	for (n->cable = c; there; out_run(n)) {
		nap(n, c->plugged);
		timers_run(n);
		there = c->ready(c, n, n->fds[0].revents);
	}
}

static void nat_free(struct port *p)
{
	struct nat *n = (struct nat *)p;
	(void)pthread_mutex_lock(&n->mutex);
	n->stop = true;
	(void)pthread_mutex_unlock(&n->mutex);
	wake(n);
	if (n->running) (void)pthread_join(n->thread, NULL);
	if (n->slirp) slirp_cleanup(n->slirp);
	if (n->wake >= 0) (void)close(n->wake);
	(void)pthread_cond_destroy(&n->done);
	(void)pthread_mutex_destroy(&n->mutex);
	free(n->fds);
	free(n);
}

static const char *forward_host(const struct nat_forward *f)
{
	return f->host[0] ? f->host : "127.0.0.1";
}

/* guest 0: the one that DHCP gives out */
static int forward_add(struct nat *n, const struct nat_forward *f, struct in_addr guest,
		       struct err *e)
{
	const char *host = forward_host(f);
	struct in_addr addr;
	if (inet_pton(AF_INET, host, &addr) != 1)
		return fail(e, -EINVAL, "%.45s is no IPv4 address to publish a port on", host);
	if (slirp_add_hostfwd(n->slirp, f->udp, addr, f->host_port, guest, f->guest_port) == 0)
		return 0;
	switch (errno) {
	case EADDRINUSE: return fail(e, -errno, "port %u is taken on %s", f->host_port, host);
	case EACCES:
		return fail(e, -errno, "port %u on %s: only root may use it; try one above 1023",
			    f->host_port, host);
	case EADDRNOTAVAIL: return fail(e, -errno, "%s is not an address of this host", host);
	default:
		return fail(e, -EIO, "port %u on %s cannot be published (%s)", f->host_port, host,
			    strerror(errno));
	}
}

static void forward_remove(struct nat *n, const struct nat_forward *f)
{
	struct in_addr addr;
	if (inet_pton(AF_INET, forward_host(f), &addr) == 1)
		(void)slirp_remove_hostfwd(n->slirp, f->udp, addr, f->host_port);
}

/* What its thread alone may do, done by it while the caller waits. */
static int order(struct nat *n, struct order *o)
{
	(void)pthread_mutex_lock(&n->mutex);
	while (n->order) (void)pthread_cond_wait(&n->done, &n->mutex);
	n->order = o;
	wake(n);
	while (n->order == o) (void)pthread_cond_wait(&n->done, &n->mutex);
	(void)pthread_mutex_unlock(&n->mutex);
	return o->result;
}

int nat_publish(struct port *nat, const struct nat_forward *f, uint32_t guest, struct err *e)
{
	struct order o = {.forward = *f, .guest = {htonl(guest)}, .add = true, .e = e};
	return order((struct nat *)nat, &o);
}

void nat_unpublish(struct port *nat, const struct nat_forward *f)
{
	struct order o = {.forward = *f};
	(void)order((struct nat *)nat, &o);
}

static struct in_addr ip(const char *s)
{
	struct in_addr a;
	must(inet_pton(AF_INET, s, &a) == 1);
	return a;
}

static int slirp_start(struct nat *n, const struct nat_net *net, struct err *e)
{
	SlirpConfig config = {
		.version = 4,
		.in_enabled = true,
		.vnetwork = ip("10.0.2.0"),
		.vnetmask = ip("255.255.255.0"),
		.vhost = ip("10.0.2.2"),
		.vdhcp_start = ip("10.0.2.15"),
		.vnameserver = ip("10.0.2.3"),
	};
	if (net) {
		config.vnetwork.s_addr = htonl(net->net);
		config.vnetmask.s_addr = htonl(net->mask);
		config.vhost.s_addr = htonl(net->gateway);
		config.vnameserver.s_addr = htonl(net->dns);
		config.vdhcp_start.s_addr = htonl(net->dns + 1);
	}
	n->mask = ntohl(config.vnetmask.s_addr);
	n->net = ntohl(config.vnetwork.s_addr) & n->mask;
	n->slirp = slirp_new(&config, &callbacks, n);
	return n->slirp ? 0 : fail(e, -ENOMEM, "network: libslirp would not start");
}

static int thread_start(struct nat *n, struct err *e)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&n->thread, NULL, nat_run, n);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	n->running = r == 0;
	return r ? fail(e, -r, "network: no thread could be started") : 0;
}

static int nat_open(struct nat *n, const struct nat_net *net, const struct nat_forward *fwd,
		    unsigned nfwd, struct err *e)
{
	struct in_addr any = {0};
	if (n->wake < 0) return fail(e, -errno, "network: %s", strerror(errno));
	int r = slirp_start(n, net, e);
	for (unsigned i = 0; r == 0 && i < nfwd; i++) r = forward_add(n, &fwd[i], any, e);
	return r;
}

/* Half of the descriptors this process may have, so that the guest cannot use them all up. */
static size_t socket_limit(void)
{
	struct rlimit l = {.rlim_cur = 1024};
	(void)getrlimit(RLIMIT_NOFILE, &l);
	return l.rlim_cur / 2 < SOCKETS_MAX ? l.rlim_cur / 2 : SOCKETS_MAX;
}

static const struct port_ops nat_ops = {"nat", nat_deliver, nat_ready, nat_free, nat_large, NULL};

int nat_make(struct port **out, const struct nat_net *net, const struct nat_forward *fwd,
	     unsigned nfwd, struct err *e)
{
	struct nat *n = calloc(1, sizeof(*n));
	if (!n) return fail(e, -ENOMEM, "network: out of memory");
	n->port.ops = &nat_ops;
	(void)pthread_mutex_init(&n->mutex, NULL);
	(void)pthread_cond_init(&n->done, NULL);
	n->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	n->limit = socket_limit();
	n->cap = 64;
	n->fds = calloc(n->cap, sizeof(n->fds[0]));
	must(n->fds);
	for (unsigned i = 0; i < SLIRP_TIMER_NUM; i++) n->timer[i].at_ms = INT64_MAX;
	int r = nat_open(n, net, fwd, nfwd, e);
	if (r < 0) {
		nat_free(&n->port);
		return r;
	}
	*out = &n->port;
	return 0;
}

int nat_new(struct port **out, const struct nat_net *net, const struct nat_forward *fwd,
	    unsigned nfwd, struct err *e)
{
	struct port *p = NULL;
	int r = nat_make(&p, net, fwd, nfwd, e);
	if (r == 0) r = thread_start((struct nat *)p, e);
	if (r == 0)
		*out = p;
	else
		port_free(p);
	return r;
}
