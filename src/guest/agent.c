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
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

/* syscalls loop: socketpair recvfrom sendto */

enum { LINES_A_TURN = 16, WARNINGS = 10 };
struct agent {
	struct guest *guest;
	int fd; /* -1: nobody is there */
	struct watch *watch;
	char line[AGENT_LINE];
	size_t n;
	bool skip; /* up to the end of a line that is too long */
	unsigned warned;
};

struct agent *agent_new(struct guest *g)
{
	struct agent *a = calloc(1, sizeof(*a));
	must(a);
	a->guest = g;
	a->fd = -1;
	return a;
}

static void hang_up(struct agent *a)
{
	watch_free(a->watch);
	a->watch = NULL;
	drop_fd(&a->fd);
	a->fd = -1;
	a->n = 0;
	a->skip = false;
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

static void ready(void *ctx, uint32_t what)
{
	struct agent *a = ctx;
	(void)what;
	ssize_t n = recv(a->fd, a->line + a->n, sizeof(a->line) - a->n, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (n <= 0) {
		hang_up(a);
		return;
	}
	a->n += (size_t)n;
	hear_all(a);
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
	if (!agent_here(a)) return false;
	ssize_t n = send(a->fd, b.at, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0 && n < (ssize_t)b.len)
		hang_up(a); /* what follows half a line is understood by nobody */
	return n == (ssize_t)b.len;
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
	agent_time(a); /* it may come from a snapshot */
	if (a->guest->spec->id) identify(a);
	if (name) (void)tell(a, "lodge-set-name", argument("name", json_object_new_string(name)));
}

int agent_dialed(struct agent *a)
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
	greet(a);
	return give_fd(&theirs);
}

/* ---- other sockets ---- */
int guest_dialed(struct guest *g, uint32_t from, uint32_t to)
{
	if (to == AGENT_PORT)
		return from < AGENT_PRIVILEGED && g->agent ? agent_dialed(g->agent) : -EACCES;
	return g->home && g->home->folder >= 0 ? outside_vsock(to, g->home->folder) : -ECONNREFUSED;
}
