/* The monitor's end of control sockets. Each connection is one line and one answer, with a deadline
 * for both: nobody can make the loop wait, and a fixed number of connections is all that there is
 * memory for. Requests are a table: requests.c. */
#include "guest/control.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "guest/sockets.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* syscalls loop: accept4 recvfrom sendto shutdown */

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
static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

static void say(struct buf *to, struct json_object *o)
{
	buf_fmt(to, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
}

static void say_error(struct buf *to, const struct err *why)
{
	struct json_object *o = json_object_new_object();
	must(o);
	put(o, "error", json_object_new_string(why->msg));
	put(o, "code", json_object_new_int(why->code));
	say(to, o);
}

static int unknown(struct err *e)
{
	char names[160] = "";
	for (const struct request *r = requests; r->name; r++)
		(void)snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s %s",
			       r == requests ? "" : ",", r->name);
	return fail(e, -ENOTSUP, "unknown request; there are:%s", names);
}

/* The kind's own requests: words in, JSON out. */
static int ask_kind(struct ask *a, const char *name, struct err *e)
{
	const struct kind *k = a->guest->kind;
	auto_buf struct buf in = {0}, out = {0};
	if (!k->verb) return unknown(e);
	buf_add(&in, a->words, strlen(a->words));
	int r = k->verb(a->guest, name, &in, &out, e);
	if (r) return r == -ENOTSUP ? unknown(e) : r;
	put(a->to, name, out.len ? json_object_new_string(out.at) : json_object_new_string(""));
	return 0;
}

static const struct request *request_find(const char *name)
{
	for (const struct request *r = requests; r->name; r++)
		if (!strcmp(r->name, name)) return r;
	return NULL;
}

/* Its words, apart; false: no text. */
static bool split(char *to, const char *line, size_t n, const char **words)
{
	if (n > CONTROL_LINE || memchr(line, 0, n)) return false;
	memcpy(to, line, n);
	to[n] = 0;
	char *space = strchr(to, ' ');
	if (space) *space = 0;
	*words = space ? space + 1 : "";
	return true;
}

/* *r: the request, if it is one; what it says is in to, or in e. */
static int serve(struct ask *a, const char *line, size_t n, const struct request **r, struct err *e)
{
	char text[CONTROL_LINE + 1];
	*r = NULL;
	if (!split(text, line, n, &a->words)) return fail(e, -EINVAL, "the request is no text");
	*r = request_find(text);
	int bad = !*r ? ask_kind(a, text, e) : (*r)->serve ? (*r)->serve(a, e) : 0;
	a->words = "";
	return bad;
}

void control_answer(struct guest *g, const char *line, size_t n, struct buf *to)
{
	struct err e = {0};
	const struct request *r;
	struct ask a = {.guest = g, .to = json_object_new_object()};
	must(a.to);
	if (serve(&a, line, n, &r, &e)) {
		say_error(to, &e);
		(void)json_object_put(a.to);
	} else
		say(to, a.to);
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

/* Its watch goes, the descriptor is somebody else's; if nobody takes it, it hears why. */
static void client_stream(struct client *k, const struct request *r, size_t n)
{
	struct err e = {0};
	char text[CONTROL_LINE + 1];
	const char *words;
	struct guest *g = k->of->guest;
	watch_free(k->watch);
	k->watch = NULL;
	must(split(text, k->line, n, &words)); /* as serve() had it */
	int bad = r->stream(g, words, k->fd, &e);
	if (bad) {
		k->out.len = k->out.pos = 0;
		say_error(&k->out, &e);
	}
	(void)send(k->fd, k->out.at, k->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (!bad) k->fd = -1;
	client_end(k);
}

static void client_answer(struct client *k, size_t n)
{
	struct err e = {0};
	const struct request *r = NULL;
	struct ask a = {.guest = k->of->guest, .to = json_object_new_object(), .client = k};
	must(a.to);
	int bad = n < sizeof(k->line) ? serve(&a, k->line, n, &r, &e)
				      : fail(&e, -E2BIG, "the request is too long");
	if (!bad && r && r->stream && k->n != n + 1)
		bad = fail(&e, -EPROTO, "something follows the request before its answer");
	if (bad) {
		say_error(&k->out, &e);
		(void)json_object_put(a.to);
	} else
		say(&k->out, a.to);
	if (!bad && r && r->stream) {
		client_stream(k, r, n);
		return;
	}
	watch_set(k->watch, EPOLLOUT);
	client_write(k);
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
	if (end || k->n == sizeof(k->line))
		client_answer(k, end ? (size_t)(end - k->line) : sizeof(k->line));
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

void control_confined(struct control *c)
{
	drop_fd(&c->dirfd);
	c->dirfd = -1;
}

int control_rename(struct control *c, const char *to, struct err *e)
{
	struct guest *g = c->guest;
	int r = c->dirfd < 0 ? 0 : sockets_rename(c->dirfd, g->name, to, e);
	if (!r) (void)snprintf(g->name, sizeof(g->name), "%s", to);
	return r;
}

void control_close(struct control *c)
{
	if (!c) return;
	for (unsigned i = 0; i < CLIENTS; i++)
		if (c->client[i].of) client_end(&c->client[i]);
	watch_free(c->watch);
	timer_free(c->pause);
	if (c->fd >= 0 && c->dirfd < 0)
		outside_unlisten();
	else if (c->fd >= 0)
		sockets_drop(c->dirfd, c->guest->name);
	drop_fd(&c->fd);
	drop_fd(&c->dirfd);
	free(c);
}
