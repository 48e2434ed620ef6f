/* The monitor's end of control sockets. Each connection is one line and one answer, with a deadline
 * for both: nobody can make the loop wait, and a fixed number of connections is all that there is
 * memory for. A verb is a line in a table. */
#include "guest/control.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include "guest/guest.h"
#include "guest/sockets.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { CLIENTS = 16 };
#define PATIENCE 2000000000ull /* ns from the connection to the end of the answer */
#define PAUSE	 100000000ull  /* ns until connections are taken again, once that failed */

struct client {
	struct control *of; /* NULL: free */
	int fd;
	struct watch *watch;
	struct timer *deadline;
	char line[CONTROL_LINE];
	size_t n;
	struct buf out;
};
struct control {
	struct guest *guest;
	int dirfd, fd;
	struct watch *watch;
	struct timer *pause;
	unsigned nclients;
	struct client client[CLIENTS];
};

/* ---- requests ---- */
static void answer_error(struct buf *to, const char *words)
{
	struct json_object *o = json_object_new_object();
	must(o && !json_object_object_add(o, "error", json_object_new_string(words)));
	buf_fmt(to, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
}

static void answer_stats(struct guest *g, struct buf *to)
{
	struct guest_stats s;
	guest_stats(g, &s);
	guest_stats_json(&s, to);
}

static const struct {
	const char *name;
	void (*answer)(struct guest *g, struct buf *to);
} words[] = {
	{"stats", answer_stats},
};

void control_answer(struct guest *g, const char *line, size_t n, struct buf *to)
{
	for (size_t i = 0; i < COUNT(words); i++)
		if (strlen(words[i].name) == n && !memcmp(words[i].name, line, n)) {
			words[i].answer(g, to);
			return;
		}
	answer_error(to, "unknown request; there is: stats");
}

/* ---- connections ---- */
static void client_end(struct client *k)
{
	struct control *c = k->of;
	watch_free(k->watch);
	timer_free(k->deadline);
	drop_fd(&k->fd);
	buf_done(&k->out);
	*k = (struct client){.fd = -1};
	if (c->nclients-- == CLIENTS) watch_set(c->watch, EPOLLIN);
}

static void client_late(void *client) { client_end(client); }

static void client_write(struct client *k)
{
	size_t left = k->out.len - k->out.pos;
	ssize_t n = send(k->fd, k->out.at + k->out.pos, left, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n > 0) k->out.pos += (size_t)n;
	if (n <= 0 || k->out.pos == k->out.len) client_end(k);
}

static void client_read(struct client *k)
{
	ssize_t n = recv(k->fd, k->line + k->n, sizeof(k->line) - k->n, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n <= 0) {
		client_end(k);
		return;
	}
	k->n += (size_t)n;
	const char *end = memchr(k->line, '\n', k->n);
	if (!end && k->n < sizeof(k->line)) return;
	if (end)
		control_answer(k->of->guest, k->line, (size_t)(end - k->line), &k->out);
	else
		answer_error(&k->out, "the request is too long");
	watch_set(k->watch, EPOLLOUT);
	client_write(k);
}

static void client_ready(void *client, uint32_t ready)
{
	struct client *k = client;
	if (k->out.len)
		client_write(k);
	else if (ready)
		client_read(k);
}

static void client_new(struct control *c, int fd)
{
	struct client *k = c->client;
	while (k->of) k++;
	*k = (struct client){.of = c, .fd = fd};
	if (c->nclients++ == CLIENTS - 1) watch_set(c->watch, 0);
	if (loop_watch(c->guest->loop, &k->watch, fd, EPOLLIN, client_ready, k, NULL) ||
	    loop_timer(c->guest->loop, &k->deadline, client_late, k, NULL))
		client_end(k);
	else
		timer_arm(k->deadline, now_ns() + PATIENCE);
}

static void pause_over(void *control)
{
	struct control *c = control;
	if (c->nclients < CLIENTS) watch_set(c->watch, EPOLLIN);
}

/* Without descriptors to spare the connection stays where it is, and would be reported for ever. */
static void control_ready(void *control, uint32_t ready)
{
	struct control *c = control;
	(void)ready;
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		client_new(c, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		watch_set(c->watch, 0);
		timer_arm(c->pause, now_ns() + PAUSE);
	}
}

/* ---- the socket ---- */
static int claim_any(struct control *c, struct guest *g, struct err *e)
{
	int r = -EBUSY;
	for (unsigned i = 1; r == -EBUSY && i < 1000; i++) {
		(void)snprintf(g->name, sizeof(g->name), GUEST_NAMELESS "%u", i);
		r = sockets_claim(c->dirfd, g->name, &c->fd, e);
	}
	return r;
}

int control_open(struct control **out, struct guest *g, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	must(c);
	c->guest = g;
	c->dirfd = c->fd = -1;
	for (unsigned i = 0; i < CLIENTS; i++) c->client[i].fd = -1;
	int r = sockets_open(&c->dirfd, e);
	if (!r)
		r = g->spec->name ? sockets_claim(c->dirfd, g->name, &c->fd, e)
				  : claim_any(c, g, e);
	if (!r) r = loop_timer(g->loop, &c->pause, pause_over, c, e);
	if (!r) r = loop_watch(g->loop, &c->watch, c->fd, EPOLLIN, control_ready, c, e);
	if (r)
		control_close(c);
	else
		*out = c;
	return r;
}

void control_close(struct control *c)
{
	if (!c) return;
	for (unsigned i = 0; i < CLIENTS; i++)
		if (c->client[i].of) client_end(&c->client[i]);
	watch_free(c->watch);
	timer_free(c->pause);
	if (c->fd >= 0) sockets_drop(c->dirfd, c->guest->name);
	drop_fd(&c->fd);
	drop_fd(&c->dirfd);
	free(c);
}
