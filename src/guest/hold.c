/* Held by connections and not by two requests: who is killed in between lets go by that. */
#include "guest/hold.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "guest/guest.h"
#include "guest/life.h"
#include <errno.h>
#include <sys/epoll.h>

enum { HOLDS = 16 };

struct hold {
	struct guest *guest;
	struct hold *next;
	struct watch *watch;
	int fd;
};

static void hold_free(struct hold *h)
{
	watch_free(h->watch);
	drop_fd(&h->fd);
	free(h);
}

/* Whoever paused it before finds it paused. */
static void hung_up(void *hold, uint32_t ready)
{
	struct hold *h = hold, **at;
	struct guest *g = h->guest;
	struct err why;
	(void)ready;
	for (at = &g->holds; *at != h;) at = &(*at)->next;
	*at = h->next;
	hold_free(h);
	if (!g->holds && !g->was_paused && guest_resume(g, &why)) log_warn("%s", why.msg);
}

int hold_add(struct guest *g, int fd, struct err *e)
{
	bool first = !g->holds, stands = life_state(g->life)->life == LIFE_PAUSED;
	unsigned n = 0;
	for (struct hold *h = g->holds; h; h = h->next) n++;
	if (n == HOLDS) return fail(e, -EMFILE, "%d hold it already", HOLDS);
	struct hold *h = calloc(1, sizeof(*h));
	must(h);
	h->guest = g;
	h->fd = -1;
	int r = loop_watch(g->loop, &h->watch, fd, EPOLLIN | EPOLLRDHUP, hung_up, h, e);
	if (!r && !stands) r = guest_pause(g, e);
	if (r) {
		hold_free(h);
		return r;
	}
	if (first) g->was_paused = stands;
	h->fd = fd;
	h->next = g->holds;
	g->holds = h;
	return 0;
}

void hold_break(struct guest *g)
{
	for (struct hold *h; (h = g->holds);) {
		g->holds = h->next;
		hold_free(h);
	}
}
