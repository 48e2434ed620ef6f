/* Between a console, which is one stream each way, and the pipes or the terminal of a zone. Nothing
 * is read that nobody takes: a zone that writes faster than it is read waits, as in any pipe. */
#include "base/chr.h"
#include "base/loop.h"
#include "base/own.h"
#include "zone/kind_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

/* syscalls loop: ioctl fcntl */

enum { CHUNK = 16 * 1024, EOT = 4 };
struct stream { /* from the zone */
	struct wire *of;
	int fd; /* -1: it has ended */
	bool errors;
	struct watch *watch;
	size_t at, n;
	uint8_t some[CHUNK];
};
struct wire {
	struct guest *guest;
	int in; /* -1: closed */
	bool tty, open, finishing, done, input_ended;
	struct watch *in_watch;
	struct stream out, err;
	void (*over)(void *ctx);
	void *ctx;
};

/* ---- from it */
static void check_over(struct wire *w)
{
	if (!w->finishing || w->done || w->out.fd >= 0 || w->err.fd >= 0) return;
	w->done = true;
	w->over(w->ctx);
}

static void stream_close(struct stream *s)
{
	watch_free(s->watch);
	s->watch = NULL;
	drop_fd(&s->fd);
	s->fd = -1;
}

static size_t stream_put(struct stream *s)
{
	struct chr *c = s->of->guest->console;
	if (!c) return s->n;
	return s->errors ? chr_errors(c, s->some + s->at, s->n)
			 : chr_output(c, s->some + s->at, s->n);
}

/* False: there is no more now. */
static bool stream_step(struct stream *s)
{
	if (!s->n) {
		ssize_t n = read(s->fd, s->some, CHUNK);
		if (n < 0 && errno == EINTR) return true;
		if (n < 0 && errno == EAGAIN) return false;
		if (n <= 0) {
			stream_close(s);
			return false;
		}
		s->at = 0;
		s->n = (size_t)n;
	}
	size_t took = stream_put(s);
	s->at += took;
	s->n -= took;
	return s->n == 0;
}

static void stream_go(struct stream *s)
{
	for (unsigned i = 0; i < 16 && s->fd >= 0; i++)
		if (!stream_step(s)) break;
	if (s->watch) watch_set(s->watch, s->n ? 0 : EPOLLIN);
	check_over(s->of);
}

static void stream_ready(void *ctx, uint32_t what)
{
	(void)what;
	stream_go(ctx);
}

/* The console's ends have room again. */
static void drained(void *dev)
{
	struct wire *w = dev;
	if (w->out.n) stream_go(&w->out);
	if (w->err.n) stream_go(&w->err);
}

/* ---- to it */
static void in_close(struct wire *w)
{
	watch_free(w->in_watch);
	w->in_watch = NULL;
	drop_fd(&w->in);
	w->in = -1;
}

static size_t input(void *dev, const uint8_t *p, size_t n)
{
	struct wire *w = dev;
	if (w->in < 0 || w->input_ended) return n; /* nobody reads it */
	if (!w->open) return 0;
	ssize_t put = write(w->in, p, n);
	if (put < 0 && errno == EAGAIN && w->in_watch) watch_set(w->in_watch, EPOLLOUT);
	if (put < 0 && errno != EAGAIN && errno != EINTR) in_close(w);
	return put > 0 ? (size_t)put : 0;
}

static void in_ready(void *ctx, uint32_t what)
{
	struct wire *w = ctx;
	struct chr *c = w->guest->console;
	watch_set(w->in_watch, 0);
	if (what & EPOLLERR) in_close(w);
	if (c && c->hungry) c->hungry(c->host);
}

/* Of a terminal the end of input is a key. */
static void input_end(void *dev)
{
	static const uint8_t key = EOT;
	struct wire *w = dev;
	if (w->tty)
		(void)input(dev, &key, 1);
	else
		in_close(w);
	w->input_ended = !w->tty;
}

static void resize(void *dev, unsigned rows, unsigned columns)
{
	struct wire *w = dev;
	struct winsize s = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
	if (w->tty && w->out.fd >= 0 && rows && columns) (void)ioctl(w->out.fd, TIOCSWINSZ, &s);
}

/* ---- life */
static int stream_open(struct stream *s, struct wire *w, int fd, bool errors, struct err *e)
{
	s->of = w;
	s->fd = fd;
	s->errors = errors;
	return fd < 0 ? 0 : loop_watch(w->guest->loop, &s->watch, fd, 0, stream_ready, s, e);
}

int wire_new(struct wire **out, struct guest *g, const int fd[3], bool tty, void (*over)(void *ctx),
	     void *ctx, struct err *e)
{
	struct wire *w = calloc(1, sizeof(*w));
	must(w);
	*w = (struct wire){.guest = g, .in = -1, .tty = tty, .over = over, .ctx = ctx};
	w->out.fd = w->err.fd = -1;
	for (unsigned i = 0; i < 3; i++)
		if (fd[i] >= 0) (void)fcntl(fd[i], F_SETFL, O_NONBLOCK);
	w->in = tty && fd[1] >= 0 ? fcntl(fd[1], F_DUPFD_CLOEXEC, 3) : fd[0];
	int r = stream_open(&w->out, w, fd[1], false, e);
	if (!r) r = stream_open(&w->err, w, tty ? -1 : fd[2], true, e);
	if (!r && w->in >= 0) r = loop_watch(g->loop, &w->in_watch, w->in, 0, in_ready, w, e);
	*out = w;
	if (r || !g->console) return r;
	g->console->input = input;
	g->console->input_end = input_end;
	g->console->resize = resize;
	g->console->drained = drained;
	g->console->dev = w;
	return 0;
}

void wire_open(struct wire *w)
{
	struct chr *c = w->guest->console;
	w->open = true;
	if (w->out.watch) watch_set(w->out.watch, EPOLLIN);
	if (w->err.watch) watch_set(w->err.watch, EPOLLIN);
	if (c && c->hungry) c->hungry(c->host);
}

void wire_finish(struct wire *w)
{
	w->finishing = true;
	if (w->out.fd >= 0) stream_go(&w->out);
	if (w->err.fd >= 0) stream_go(&w->err);
	check_over(w);
}

void wire_free(struct wire *w)
{
	if (!w) return;
	struct chr *c = w->guest->console;
	if (c && c->dev == w) {
		c->dev = NULL;
		c->input = NULL;
		c->input_end = NULL;
		c->resize = NULL;
		c->drained = NULL;
	}
	in_close(w);
	stream_close(&w->out);
	stream_close(&w->err);
	free(w);
}
