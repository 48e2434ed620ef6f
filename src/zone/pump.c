#include "zone/pump.h"
#include "base/loop.h"
#include "base/own.h"
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* syscalls loop: recvfrom sendto */

enum { PUMPS = 64, ROOM = 64 * 1024 };
struct way {
	struct watch *watch; /* of the end that it is read from */
	int fd;		     /* the same */
	size_t at, n;
	uint8_t some[ROOM];
};
struct pump {
	struct pumps *of;
	struct way way[2];
};
struct pumps {
	struct loop *loop;
	struct pump *at[PUMPS];
};

struct pumps *pumps_new(struct loop *l)
{
	struct pumps *p = calloc(1, sizeof(*p));
	must(p);
	p->loop = l;
	return p;
}

static void drop(struct pump *p)
{
	for (unsigned i = 0; i < PUMPS; i++)
		if (p->of->at[i] == p) p->of->at[i] = NULL;
	for (unsigned i = 0; i < 2; i++) {
		watch_free(p->way[i].watch);
		drop_fd(&p->way[i].fd);
	}
	free(p);
}

/* From way w to the other end. False: somebody has hung up. */
static bool move(struct way *w, int to)
{
	if (!w->n) {
		ssize_t n = recv(w->fd, w->some, ROOM, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return false;
		w->at = 0;
		w->n = n > 0 ? (size_t)n : 0;
	}
	while (w->n) {
		ssize_t n = send(to, w->some + w->at, w->n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return errno == EAGAIN;
		w->at += (size_t)n;
		w->n -= (size_t)n;
	}
	return true;
}

/* An end is read while nothing waits that came from it, and written to while something does. */
static void watch_both(struct pump *p)
{
	for (unsigned i = 0; i < 2; i++)
		watch_set(p->way[i].watch,
			  (p->way[i].n ? 0 : EPOLLIN) | (p->way[!i].n ? EPOLLOUT : 0));
}

static void ready(void *ctx, uint32_t what)
{
	struct pump *p = ctx;
	(void)what;
	if (move(&p->way[0], p->way[1].fd) && move(&p->way[1], p->way[0].fd))
		watch_both(p);
	else
		drop(p);
}

int pumps_add(struct pumps *all, int a, int b, struct err *e)
{
	unsigned i = 0;
	while (i < PUMPS && all->at[i]) i++;
	if (i == PUMPS) return fail(e, -EMFILE, "%d programs are run in it already", PUMPS);
	struct pump *p = calloc(1, sizeof(*p));
	must(p);
	p->of = all;
	p->way[0].fd = a;
	p->way[1].fd = b;
	int r = loop_watch(all->loop, &p->way[0].watch, a, EPOLLIN, ready, p, e);
	if (!r) r = loop_watch(all->loop, &p->way[1].watch, b, EPOLLIN, ready, p, e);
	if (r) {
		watch_free(p->way[0].watch);
		free(p);
		return r;
	}
	all->at[i] = p;
	return 0;
}

void pumps_free(struct pumps *p)
{
	for (unsigned i = 0; p && i < PUMPS; i++)
		if (p->at[i]) drop(p->at[i]);
	free(p);
}
