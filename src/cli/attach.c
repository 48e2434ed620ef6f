/* lodge attach: a person at a console that is elsewhere. The same struct term as for a guest in
 * this process sits on one end, a connection to its monitor is the other: keys become frames,
 * frames output. Nothing is read from either while the other one has no room. */
#include "cli/attach.h"
#include "base/buf.h"
#include "base/chr.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/cli.h"
#include "cli/kept.h"
#include "cli/term.h"
#include "guest/control.h"
#include "guest/look.h"
#include "guest/stream.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { KEYS_ROOM = 16 * 1024 };
enum { LEFT = 1, ENDED, LOST };

struct attached {
	struct loop *loop;
	struct chr chr; /* the terminal is the sitter, we the device */
	struct watch *watch;
	int fd;
	uint8_t in[STREAM_HEAD + STREAM_MAX];
	size_t have, shown; /* bytes; of the frame's, those that the terminal took */
	struct buf out;
	bool full; /* keys were refused */
	int left;  /* with which code the person left */
	struct json_object *last;
};

static size_t waiting(const struct attached *a) { return a->out.len - a->out.pos; }

static void end(struct attached *a, int how)
{
	watch_set(a->watch, 0);
	loop_stop(a->loop, how);
}

static void keys_send(struct attached *a)
{
	while (waiting(a)) {
		ssize_t n = send(a->fd, a->out.at + a->out.pos, waiting(a),
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EINTR) break; /* gone: reading says so */
		if (n > 0) a->out.pos += (size_t)n;
	}
	if (!waiting(a)) a->out.len = a->out.pos = 0;
}

static void watch_again(struct attached *a, bool read)
{
	watch_set(a->watch, (read ? EPOLLIN : 0) | (waiting(a) ? EPOLLOUT : 0));
}

static size_t keys_input(void *dev, const uint8_t *p, size_t n)
{
	struct attached *a = dev;
	a->full = waiting(a) + n > KEYS_ROOM;
	if (a->full) return 0;
	frame_add(&a->out, STREAM_INPUT, p, n);
	keys_send(a);
	watch_again(a, a->shown == 0);
	return n;
}

static void size_send(void *dev, unsigned rows, unsigned columns)
{
	struct attached *a = dev;
	uint8_t b[4];
	store_le(b, rows & 0xffff, 2);
	store_le(b + 2, columns & 0xffff, 2);
	frame_add(&a->out, STREAM_SIZE, b, sizeof(b));
	keys_send(a);
	watch_again(a, a->shown == 0);
}

/* 1: done with it; 0: the terminal has no room for all of it. */
static int show(struct attached *a, const struct frame *f)
{
	if (f->type == STREAM_END) {
		struct json_tokener *t = json_tokener_new_ex(4);
		must(t);
		a->last = json_tokener_parse_ex(t, (const char *)f->at, (int)f->len);
		json_tokener_free(t);
		end(a, ENDED);
		return 1;
	}
	if (f->type != STREAM_OUTPUT) return 1;
	a->shown += a->chr.output(a->chr.host, f->at + a->shown, f->len - a->shown);
	return a->shown == f->len;
}

static void show_all(struct attached *a)
{
	struct frame f;
	ssize_t n;
	while (!a->last && (n = frame_parse(&f, a->in, a->have)) != 0) {
		if (n < 0) {
			end(a, LOST);
			return;
		}
		if (!show(a, &f)) {
			watch_again(a, false);
			return;
		}
		a->shown = 0;
		a->have -= (size_t)n;
		memmove(a->in, a->in + n, a->have);
	}
	if (!a->last) watch_again(a, true);
}

static void drained(void *dev) { show_all(dev); }

static void ready(void *ctx, uint32_t what)
{
	struct attached *a = ctx;
	if (what & EPOLLOUT) {
		keys_send(a);
		if (a->full && !waiting(a) && a->chr.hungry) a->chr.hungry(a->chr.host);
	}
	if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = recv(a->fd, a->in + a->have, sizeof(a->in) - a->have, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			end(a, LOST);
			return;
		}
		if (n > 0) a->have += (size_t)n;
	}
	show_all(a);
}

static void leave(void *ctx, int code)
{
	struct attached *a = ctx;
	a->left = code;
	end(a, LEFT);
}

static int outcome(const struct attached *a, int how, _Bool *left, struct err *e)
{
	struct json_object *v;
	*left = how == LEFT;
	if (how == LEFT) return a->left;
	if (how == LOST) return fail(e, -ECONNRESET, "the guest's monitor is gone");
	if (json_object_object_get_ex(a->last, "error", &v))
		return fail(e, -EIO, "the guest broke: %s", json_object_get_string(v));
	if (!json_object_object_get_ex(a->last, "exit_code", &v))
		return fail(e, -EPROTO, "the guest's monitor did not say how it ended");
	return json_object_get_int(v) & 255;
}

static int sit(struct attached *a, const char *keys, int *how, struct err *e)
{
	struct term *t;
	uint8_t key[TERM_KEYS];
	size_t n = 0;
	int r = keys ? term_keys(keys, key, sizeof(key), &n, e) : 0;
	if (!r) r = term_open(&t, a->loop, &a->chr, true, leave, a, e);
	if (r) return r;
	if (n) term_leaves_by(t, key, n);
	a->chr.dev = a;
	a->chr.input = keys_input;
	a->chr.drained = drained;
	a->chr.resize = size_send;
	r = loop_watch(a->loop, &a->watch, a->fd, EPOLLIN, ready, a, e);
	if (!r) *how = loop_run(a->loop);
	term_close(t);
	return r;
}

int attach_stream(int fd, const char *keys, _Bool *left, struct err *e)
{
	int how = LOST;
	struct attached *a = calloc(1, sizeof(*a));
	must(a);
	a->fd = fd;
	int r = loop_new(&a->loop, e);
	if (!r) r = sit(a, keys, &how, e);
	if (!r) r = outcome(a, how, left, e);
	watch_free(a->watch);
	loop_free(a->loop);
	buf_done(&a->out);
	(void)json_object_put(a->last);
	(void)close(fd);
	free(a);
	return r;
}

/* ---- the verb ---- */
struct attach_opts {
	const char *keys;
	bool no_input;
};
static const struct opt attach_table[] = {
	{"detach-keys", 0, OPT_TEXT, offsetof(struct attach_opts, keys), "KEYS",
	 "What leaves the guest: one key or several, such as ctrl-p,ctrl-q (ctrl-]).", NULL},
	{"no-stdin", 0, OPT_FLAG, offsetof(struct attach_opts, no_input), NULL,
	 "Only look: what is typed is not for the guest.", NULL},
	{0},
};
static const struct attach_opts attach_defaults;

static int only_look(struct err *e)
{
	auto_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return fail(e, -errno, "/dev/null: %s", strerror(errno));
	return 0;
}

/* The monitor has told all, but is there a moment longer: who starts the guest again can. */
static int attach_to(const char *name, const struct attach_opts *o, struct err *e)
{
	auto_fd int pidfd = -1;
	int fd;
	_Bool left = false;
	int r = control_stream(name, "attach", &fd, &pidfd, e);
	if (r == -ENOENT) return fail(e, r, "guest %s does not run", name);
	if (!r && o->no_input) r = only_look(e);
	if (r) return r;
	r = attach_stream(fd, o->keys, &left, e);
	if (!left) (void)kept_gone(pidfd, 5);
	return r;
}

static int attach_run(const struct call *c, struct err *e)
{
	char name[64];
	struct store *s = NULL;
	int r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, c->args[0], name, e);
	if (!r) r = attach_to(name, c->opts, e);
	store_close(s);
	return r;
}

const struct verb verb_attach = {
	.name = "attach",
	.args = "GUEST",
	.summary = "Sit at a running guest's console",
	.text = "Several may sit there: all see the same, and all may type. What the guest writes\n"
		"goes to the terminal as it is; 'lodge logs' shows it so that it can do no harm.\n"
		"Leaving does not stop the guest. The exit code is the guest's if it ends, and 0 "
		"after\n"
		"leaving.",
	.examples = "lodge attach web\n"
		    "lodge attach --detach-keys ctrl-p,ctrl-q web",
	.opts = attach_table,
	.defaults = &attach_defaults,
	.size = sizeof(attach_defaults),
	.min_args = 1,
	.max_args = 1,
	.completes = "guest",
	.run = attach_run,
};
