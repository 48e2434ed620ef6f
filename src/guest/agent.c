/* Asking the guest's agent. Requests are few and small, so one that its socket has no room for is
 * lost, like one to an agent that has just gone: whoever asks has another way, or does without. */
#include "guest/agent.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "guest/program.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

/* syscalls loop: socketpair recvfrom sendto */

enum { WARNINGS = 10, CLIENT_LINE = 2 << 20, OUT_MAX = 64 << 10 };
struct agent {
	struct guest *guest;
	int fd; /* -1: nobody is there */
	struct watch *watch;
	char line[AGENT_LINE];
	size_t n;
	bool skip; /* up to the end of a line that is too long */
	unsigned warned;
	struct buf out; /* to it: whole lines, which it has not taken yet */
	/* Who speaks with it through us; -1: nobody. */
	int client;
	struct watch *client_watch;
	struct buf said, heard; /* a line that is not whole; what it has not taken yet */
};

struct agent *agent_new(struct guest *g)
{
	struct agent *a = calloc(1, sizeof(*a));
	must(a);
	a->guest = g;
	a->fd = a->client = -1;
	return a;
}

static void client_drop(struct agent *a)
{
	watch_free(a->client_watch);
	a->client_watch = NULL;
	drop_fd(&a->client);
	a->client = -1;
	buf_done(&a->said);
	buf_done(&a->heard);
}

static void hang_up(struct agent *a)
{
	watch_free(a->watch);
	a->watch = NULL;
	drop_fd(&a->fd);
	a->fd = -1;
	a->n = 0;
	a->skip = false;
	buf_done(&a->out);
	client_drop(a);
}

void agent_free(struct agent *a)
{
	if (!a) return;
	hang_up(a);
	free(a);
}

bool agent_here(const struct agent *a) { return a && a->fd >= 0; }

/* ---- what it says ---- */
static void hear(struct agent *a, const char *line, size_t n)
{
	struct json_object *o = NULL, *why, *words;
	struct json_tokener *t = json_tokener_new_ex(8);
	must(t);
	if (n) o = json_tokener_parse_ex(t, line, (int)n);
	json_tokener_free(t);
	if (json_object_object_get_ex(o, "error", &why) &&
	    json_object_object_get_ex(why, "desc", &words) && a->warned < WARNINGS) {
		a->warned++;
		log_debug("its agent says: %.200s", json_object_get_string(words));
	}
	(void)json_object_put(o);
}

static void hear_all(struct agent *a)
{
	char *end;
	while ((end = memchr(a->line, '\n', a->n))) {
		size_t len = (size_t)(end - a->line);
		if (!a->skip) hear(a, a->line, len);
		a->skip = false;
		a->n -= len + 1;
		memmove(a->line, end + 1, a->n);
	}
	if (a->n < sizeof(a->line)) return;
	a->skip = true;
	a->n = 0;
}

/* ---- carried between it and a client ---- */
static size_t waiting(const struct buf *b) { return b->len - b->pos; }

/* As much as it takes; false: nobody is there any more. */
static bool push(int fd, struct buf *b)
{
	while (waiting(b)) {
		ssize_t n = send(fd, b->at + b->pos, waiting(b), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return errno == EAGAIN;
		b->pos += (size_t)n;
	}
	b->len = b->pos = 0;
	return true;
}

/* Nothing is read from either while the other one has no room. */
static void watch_both(struct agent *a)
{
	if (a->watch)
		watch_set(a->watch,
			  (waiting(&a->heard) ? 0 : EPOLLIN) | (waiting(&a->out) ? EPOLLOUT : 0));
	if (a->client_watch)
		watch_set(a->client_watch,
			  (waiting(&a->out) ? 0 : EPOLLIN) | (waiting(&a->heard) ? EPOLLOUT : 0));
}

/* Whole lines only: what the monitor says is not to come between. */
static bool client_hear(struct agent *a)
{
	char some[4096];
	ssize_t n = recv(a->client, some, sizeof(some), MSG_DONTWAIT);
	if (n < 0) return errno == EAGAIN || errno == EINTR;
	if (n == 0 || a->said.len + (size_t)n > CLIENT_LINE) return false;
	const char *end = memrchr(some, '\n', (size_t)n);
	size_t first = end ? (size_t)(end - some + 1) : 0;
	if (end) {
		buf_add(&a->out, a->said.at ? a->said.at : "", a->said.len);
		buf_add(&a->out, some, first);
		a->said.len = 0;
	}
	buf_add(&a->said, some + first, (size_t)n - first);
	return true;
}

static void client_ready(void *ctx, uint32_t what)
{
	struct agent *a = ctx;
	bool good = !(what & EPOLLOUT) || push(a->client, &a->heard);
	if (good && what & (EPOLLIN | EPOLLHUP | EPOLLERR)) good = client_hear(a);
	if (!good) client_drop(a);
	if (waiting(&a->out) && !push(a->fd, &a->out)) hang_up(a);
	watch_both(a);
}

int agent_carry(struct agent *a, int fd, struct err *e)
{
	if (!agent_here(a)) return fail(e, -ENOENT, "no agent of its own is there");
	if (a->client >= 0) return fail(e, -EBUSY, "another command speaks with its agent");
	int r = loop_watch(a->guest->loop, &a->client_watch, fd, EPOLLIN, client_ready, a, e);
	if (!r) a->client = fd;
	return r;
}

static void ready(void *ctx, uint32_t what)
{
	struct agent *a = ctx;
	if (what & EPOLLOUT && !push(a->fd, &a->out)) {
		hang_up(a);
		return;
	}
	ssize_t n = recv(a->fd, a->line + a->n, sizeof(a->line) - a->n, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		hang_up(a);
		return;
	}
	if (n > 0 && a->client >= 0) {
		buf_add(&a->heard, a->line + a->n, (size_t)n);
		if (!push(a->client, &a->heard)) client_drop(a);
	}
	if (n > 0) {
		a->n += (size_t)n;
		hear_all(a);
	}
	watch_both(a);
}

/* ---- what it is told ---- */
static bool tell(struct agent *a, const char *command, struct json_object *arguments)
{
	struct json_object *o = json_object_new_object();
	must(o && !json_object_object_add(o, "execute", json_object_new_string(command)));
	if (arguments) must(!json_object_object_add(o, "arguments", arguments));
	auto_buf struct buf b = {0};
	buf_fmt(&b, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
	if (!agent_here(a) || waiting(&a->out) > OUT_MAX) return false;
	bool full = waiting(&a->out) > 0;
	buf_add(&a->out, b.at, b.len);
	if (push(a->fd, &a->out)) {
		watch_both(a);
		return !full;
	}
	hang_up(a);
	return false;
}

/* RFC 4648, of n bytes, a multiple of 3. */
static void base64(char *to, const uint8_t *p, size_t n)
{
	static const char digit[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (; n >= 3; n -= 3, p += 3) {
		uint32_t v = (uint32_t)(p[0] << 16 | p[1] << 8 | p[2]);
		for (unsigned i = 0; i < 4; i++) *to++ = digit[v >> (18 - 6 * i) & 63];
	}
	*to = 0;
}

static struct json_object *argument(const char *key, struct json_object *v)
{
	struct json_object *o = json_object_new_object();
	must(o && v && !json_object_object_add(o, key, v));
	return o;
}

bool agent_shutdown(struct agent *a)
{
	return tell(a, "guest-shutdown", argument("mode", json_object_new_string("powerdown")));
}

void agent_time(struct agent *a)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	int64_t ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
	(void)tell(a, "guest-set-time", argument("time", json_object_new_int64(ns)));
}

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

static struct json_object *macs(const struct guest *g)
{
	struct json_object *all = json_object_new_array();
	must(all);
	for (unsigned i = 0; i < g->nmacs; i++) {
		const uint8_t *m = g->mac[i];
		char text[18];
		(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1],
			       m[2], m[3], m[4], m[5]);
		must(!json_object_array_add(all, json_object_new_string(text)));
	}
	return all;
}

static struct json_object *seed(void)
{
	uint8_t raw[33];
	char text[45];
	if (getrandom(raw, sizeof(raw), GRND_NONBLOCK) != sizeof(raw)) return NULL;
	base64(text, raw, sizeof(raw));
	return json_object_new_string(text);
}

/* A clone that goes on from a snapshot learns by this that it is one. */
static void identify(struct agent *a)
{
	const struct guest *g = a->guest;
	struct json_object *o = json_object_new_object(), *some = seed();
	must(o);
	put(o, "id", json_object_new_string(g->spec->id));
	if (g->spec->name) put(o, "name", json_object_new_string(g->spec->name));
	put(o, "macs", macs(g));
	if (some) put(o, "seed", some);
	(void)tell(a, "lodge-set-identity", o);
}

/* Those that begin with lodge are not QEMU's: another agent refuses them. */
static void greet(struct agent *a)
{
	const char *name = a->guest->spec->name;
	agent_time(a);		 /* it may come from a snapshot */
	if (a->guest->program) { /* which has its names already */
		program_agent(a->guest->program);
		return;
	}
	if (a->guest->spec->id) identify(a);
	if (name) (void)tell(a, "lodge-set-name", argument("name", json_object_new_string(name)));
}

static int join(struct agent *a)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends)) return -errno;
	auto_fd int theirs = ends[1];
	hang_up(a);
	a->fd = ends[0];
	int r = loop_watch(a->guest->loop, &a->watch, a->fd, EPOLLIN, ready, a, NULL);
	if (r) {
		hang_up(a);
		return r;
	}
	return give_fd(&theirs);
}

int agent_dialed(struct agent *a)
{
	int r = join(a);
	if (r >= 0) greet(a);
	return r;
}

/* It may be in the middle of a line that it was sent before it was saved: 0xff ends any. It knows
 * the time unless it stood still. */
int agent_opened(struct agent *a)
{
	const struct spec *s = a->guest->spec;
	int r = join(a);
	if (r >= 0 && (s->restore || s->arrival)) {
		buf_add(&a->out, "\xff", 1);
		agent_time(a);
	}
	return r;
}

int guest_port_opened(struct guest *g)
{
	return g->port_agent ? agent_opened(g->port_agent) : -ENOENT;
}

/* ---- other sockets ---- */
int guest_dialed(struct guest *g, uint32_t from, uint32_t to)
{
	if (to == AGENT_PORT)
		return from < AGENT_PRIVILEGED && g->agent ? agent_dialed(g->agent) : -EACCES;
	return g->home && g->home->folder >= 0 ? outside_vsock(to, g->home->folder) : -ECONNREFUSED;
}
