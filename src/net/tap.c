/* A network interface of the host as the other end of a guest's cable: frames are read and written
 * as they are. A thread reads; writing is done by whoever has a frame, since a tap always takes it
 * or loses it, as any card does. */
#include "base/jail.h"
#include "base/own.h"
#include "net/lan_wire.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { LEN_MAX = 65550 };
struct tap {
	struct port port;
	pthread_t thread;
	bool running;
	int fd, wake;
	pthread_mutex_t mutex; /* of the next three */
	bool room, stop;
	bool plugged; /* the card showed a sign of life: it is wired */
	/* the thread's alone */
	size_t held; /* bytes of frame[] that wait for the card */
	uint8_t frame[LEN_MAX];
};

static void wake(struct tap *t) { (void)!write(t->wake, &(uint64_t){1}, sizeof(uint64_t)); }

static bool tap_deliver(struct port *p, const struct iovec *iov, int n)
{
	struct tap *t = (struct tap *)p;
	(void)!writev(t->fd, iov, n);
	(void)pthread_mutex_lock(&t->mutex);
	bool first = !t->plugged;
	t->plugged = true;
	(void)pthread_mutex_unlock(&t->mutex);
	if (first) wake(t);
	return true;
}

static void tap_ready(struct port *p)
{
	struct tap *t = (struct tap *)p;
	(void)pthread_mutex_lock(&t->mutex);
	t->room = t->plugged = true;
	(void)pthread_mutex_unlock(&t->mutex);
	wake(t);
}

static void hand_over(struct tap *t)
{
	struct iovec v = {t->frame, t->held};
	if (t->held && port_send(&t->port, &v, 1)) t->held = 0;
}

static void *tap_run(void *ctx)
{
	struct tap *t = ctx;
	jail_thread(JAIL_TAP);
	for (;;) {
		(void)pthread_mutex_lock(&t->mutex);
		bool room = t->room, stop = t->stop, plugged = t->plugged;
		t->room = false;
		(void)pthread_mutex_unlock(&t->mutex);
		if (stop) return NULL;
		if (room) hand_over(t);
		struct pollfd w[2] = {{.fd = t->wake, .events = POLLIN},
				      {.fd = t->held || !plugged ? -1 : t->fd, .events = POLLIN}};
		(void)poll(w, 2, -1);
		if (w[0].revents) (void)!read(t->wake, &(uint64_t){0}, sizeof(uint64_t));
		ssize_t n = w[1].revents & POLLIN ? read(t->fd, t->frame, LEN_MAX) : 0;
		if (n > 0) t->held = (size_t)n;
		if (n > 0) hand_over(t);
		if (w[1].revents & (POLLERR | POLLHUP) && n <= 0)
			(void)usleep(100000); /* it is down */
	}
}

static void tap_free(struct port *p)
{
	struct tap *t = (struct tap *)p;
	(void)pthread_mutex_lock(&t->mutex);
	t->stop = true;
	(void)pthread_mutex_unlock(&t->mutex);
	wake(t);
	if (t->running) (void)pthread_join(t->thread, NULL);
	drop_fd(&t->fd);
	drop_fd(&t->wake);
	(void)pthread_mutex_destroy(&t->mutex);
	free(t);
}

static const struct port_ops tap_ops = {"tap", tap_deliver, tap_ready, tap_free, NULL, NULL};

static int no_rights(const char *what, const char *name, struct err *e)
{
	int code = errno;
	const char *hint = code == EPERM || code == EACCES ? "; it needs root, or the tap's owner"
			   : code == EBUSY		   ? "; another program has it"
							   : "";
	return fail(e, -code, "%s %s: %s%s", what, name, strerror(code), hint);
}

static int tap_attach(int *out, struct ifreq *r, const char *name, struct err *e)
{
	auto_fd int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) return no_rights("tap", "/dev/net/tun", e);
	if (strlen(name) >= IFNAMSIZ)
		return fail(e, -EINVAL, "tap %.40s: a name has up to %d letters", name,
			    IFNAMSIZ - 1);
	memset(r, 0, sizeof(*r));
	(void)strcpy(r->ifr_name, name);
	r->ifr_flags = IFF_TAP | IFF_NO_PI;
	if (ioctl(fd, TUNSETIFF, r)) return no_rights("tap", name, e);
	*out = give_fd(&fd);
	return 0;
}

/* Up, if we may; one that its owner set up before may be up already. */
static int interface_up(const char *name, struct err *e)
{
	struct ifreq r = {0};
	auto_fd int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &r)) return no_rights("tap", name, e);
	if (r.ifr_flags & IFF_UP) return 0;
	r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
	return ioctl(s, SIOCSIFFLAGS, &r) ? no_rights("tap", name, e) : 0;
}

static int bridge_add(const char *bridge, const char *tap, struct err *e)
{
	struct ifreq r = {0};
	auto_fd int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (strlen(bridge) >= IFNAMSIZ)
		return fail(e, -EINVAL, "bridge %.40s: a name has up to %d letters", bridge,
			    IFNAMSIZ - 1);
	(void)strcpy(r.ifr_name, bridge);
	r.ifr_ifindex = (int)if_nametoindex(tap);
	if (s < 0 || !r.ifr_ifindex || ioctl(s, SIOCBRADDIF, &r))
		return no_rights("bridge", bridge, e);
	return 0;
}

static int thread_start(struct tap *t, struct err *e)
{
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&t->thread, NULL, tap_run, t);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	t->running = r == 0;
	return r ? fail(e, -r, "tap: no thread could be started") : 0;
}

int tap_open(int *out, const char *tap, const char *bridge, struct err *e)
{
	struct ifreq got;
	auto_fd int fd = -1;
	int r = tap_attach(&fd, &got, bridge ? "lodge%d" : tap, e);
	if (r == 0 && bridge) r = bridge_add(bridge, got.ifr_name, e);
	if (r == 0) r = interface_up(got.ifr_name, e);
	if (r == 0) *out = give_fd(&fd);
	return r;
}

int tap_new(struct port **out, int fd, struct err *e)
{
	struct tap *t = calloc(1, sizeof(*t));
	must(t);
	t->port.ops = &tap_ops;
	t->fd = fd;
	(void)pthread_mutex_init(&t->mutex, NULL);
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int r = t->wake < 0 ? fail(e, -errno, "tap: %s", strerror(errno)) : thread_start(t, e);
	if (r < 0)
		tap_free(&t->port);
	else
		*out = &t->port;
	return r;
}
