/* One console for many. Output goes into a bounded ring that the loop empties into the log and to
 * everybody: so the device's thread waits for no disk and no socket. The sitter here is asked
 * first, and what it does not take nobody gets yet: it may hold the guest up, as a terminal does.
 * Those who came over a socket may not: when one of them does not read, it misses something. */
#include "guest/console.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "guest/outside.h"
#include "guest/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { RING = 64 * 1024, SEATS = 16, SEAT_ROOM = 256 * 1024, SEAT_IN = STREAM_HEAD + STREAM_MAX };
#define PATIENCE 1500000000ull /* ns for all to take the rest */

struct seat {
	struct console *of;
	int fd;
	struct watch *watch;
	uint8_t in[SEAT_IN]; /* a frame, as much as came */
	size_t have, taken;  /* bytes; of the frame's, those that the guest took */
	struct buf out;
	uint64_t missed; /* bytes, since it did not read */
};
struct console {
	struct loop *loop;
	struct chr chr;	    /* the device's other half is ours */
	struct chr *sitter; /* or NULL */
	atomic_bool drain_posted, feed_posted, starving /* somebody's keys wait */;
	pthread_mutex_t lock; /* of the ring */
	uint8_t ring[RING];
	uint64_t put, got; /* bytes ever */
	bool starved;	   /* output() was refused: tell the device */
	int dirfd, log;	   /* -1: none */
	uint64_t logged;   /* bytes in it */
	struct seat *seat[SEATS];
};

/* ---- output: from the device ---- */
static void drain_posted(void *ctx);
static void drain_soon(struct console *c)
{
	if (!atomic_exchange(&c->drain_posted, true)) loop_post(c->loop, drain_posted, c);
}

static size_t ring_put(struct console *c, const uint8_t *p, size_t n, bool errors)
{
	size_t room = RING - (size_t)(c->put - c->got);
	if (n > room) {
		c->starved = true;
		n = room;
	}
	if (n && c->sitter) n = errors ? chr_errors(c->sitter, p, n) : chr_output(c->sitter, p, n);
	for (size_t done = 0; done < n;) {
		size_t at = (size_t)(c->put % RING), run = RING - at;
		if (run > n - done) run = n - done;
		memcpy(c->ring + at, p + done, run);
		done += run;
		c->put += run;
	}
	return n;
}

static size_t put(struct console *c, const uint8_t *p, size_t n, bool errors)
{
	(void)pthread_mutex_lock(&c->lock);
	n = ring_put(c, p, n, errors);
	(void)pthread_mutex_unlock(&c->lock);
	drain_soon(c);
	return n;
}

static size_t console_output(void *host, const uint8_t *p, size_t n)
{
	return put(host, p, n, false);
}

/* Only the sitter has two streams. */
static size_t console_errors(void *host, const uint8_t *p, size_t n)
{
	return put(host, p, n, true);
}

static void device_drained(struct console *c)
{
	if (c->chr.drained && c->chr.dev) c->chr.drained(c->chr.dev);
}

/* ---- the log ---- */
static void log_open(struct console *c, bool full)
{
	struct stat st = {0};
	c->log = outside_log(c->dirfd, full);
	if (c->log >= 0 && !fstat(c->log, &st)) c->logged = (uint64_t)st.st_size;
}

static void log_lost(struct console *c)
{
	log_warn("console.log: %s; it ends here", strerror(errno));
	drop_fd(&c->log);
	c->log = -1;
}

static void log_add(struct console *c, const uint8_t *p, size_t n)
{
	if (c->log >= 0 && c->logged + n > CONSOLE_LOG) {
		(void)close(give_fd(&c->log));
		log_open(c, true);
	}
	while (c->log >= 0 && n) {
		ssize_t done = write(c->log, p, n);
		if (done < 0 && errno == EINTR) continue;
		if (done < 0) {
			log_lost(c);
			return;
		}
		p += done;
		n -= (size_t)done;
		c->logged += (uint64_t)done;
	}
}

void console_log(struct console *c, int dirfd)
{
	if (!outside_is_there()) c->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	log_open(c, false);
	if (c->log < 0) log_lost(c);
}

/* ---- those who came ---- */
static void seat_free(struct seat *s)
{
	struct console *c = s->of;
	for (unsigned i = 0; i < SEATS; i++)
		if (c->seat[i] == s) c->seat[i] = NULL;
	watch_free(s->watch);
	drop_fd(&s->fd);
	buf_done(&s->out);
	free(s);
}

static size_t waiting(const struct seat *s) { return s->out.len - s->out.pos; }

static void trim(struct buf *b)
{
	if (b->pos < b->len && b->pos < RING) return;
	memmove(b->at, b->at + b->pos, b->len - b->pos);
	b->len -= b->pos;
	b->pos = 0;
}

/* False: it is gone. */
static bool seat_send(struct seat *s)
{
	while (waiting(s)) {
		ssize_t n = send(s->fd, s->out.at + s->out.pos, waiting(s),
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && errno == EAGAIN) break;
		if (n < 0) return false;
		s->out.pos += (size_t)n;
	}
	if (s->out.at) trim(&s->out);
	return true;
}

static void seat_add(struct seat *s, const uint8_t *p, size_t n)
{
	char words[80];
	if (waiting(s) + n > SEAT_ROOM) {
		s->missed += n;
		return;
	}
	if (s->missed) {
		int len = snprintf(words, sizeof(words), "\r\n[lodge: %llu bytes not shown]\r\n",
				   (unsigned long long)s->missed);
		frame_add(&s->out, STREAM_OUTPUT, words, (size_t)len);
		s->missed = 0;
	}
	frame_add(&s->out, STREAM_OUTPUT, p, n);
}

/* Keys to the device; false: it has not taken all. */
static bool keys_pass(struct seat *s, const struct frame *f)
{
	struct chr *d = &s->of->chr;
	if (f->type == STREAM_SIZE && f->len == 4 && d->resize && d->dev)
		d->resize(d->dev, f->at[0] | (unsigned)f->at[1] << 8,
			  f->at[2] | (unsigned)f->at[3] << 8);
	while (f->type == STREAM_INPUT && s->taken < f->len) {
		size_t n = d->input && d->dev
				   ? d->input(d->dev, f->at + s->taken, f->len - s->taken)
				   : 0;
		if (!n) {
			atomic_store(&s->of->starving, true);
			return false;
		}
		s->taken += n;
	}
	s->taken = 0;
	return true;
}

/* Whole frames that are there: 1, all done; 0, the device has no room; -1, nonsense. */
static int seat_feed(struct seat *s)
{
	struct frame f;
	ssize_t n;
	while ((n = frame_parse(&f, s->in, s->have)) > 0) {
		if (!keys_pass(s, &f)) return 0;
		s->have -= (size_t)n;
		memmove(s->in, s->in + n, s->have);
	}
	return n < 0 ? -1 : 1;
}

static void seat_go_on(struct seat *s)
{
	int fed = seat_feed(s);
	if (fed < 0 || !seat_send(s))
		seat_free(s);
	else
		watch_set(s->watch, (fed ? EPOLLIN : 0) | (waiting(s) ? EPOLLOUT : 0));
}

static void seat_ready(void *seat, uint32_t ready)
{
	struct seat *s = seat;
	if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = recv(s->fd, s->in + s->have, sizeof(s->in) - s->have, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			seat_free(s);
			return;
		}
		if (n > 0) s->have += (size_t)n;
	}
	seat_go_on(s);
}

int console_attach(struct console *c, int fd, struct err *e)
{
	unsigned i = 0;
	while (i < SEATS && c->seat[i]) i++;
	if (i == SEATS) return fail(e, -EMFILE, "%d are at its console already", SEATS);
	struct seat *s = calloc(1, sizeof(*s));
	must(s);
	*s = (struct seat){.of = c, .fd = fd};
	int r = loop_watch(c->loop, &s->watch, fd, EPOLLIN, seat_ready, s, e);
	if (r)
		free(s);
	else
		c->seat[i] = s;
	return r;
}

/* ---- the loop's side ---- */
static void spread(struct console *c, const uint8_t *p, size_t n)
{
	log_add(c, p, n);
	for (unsigned i = 0; i < SEATS; i++) {
		if (!c->seat[i]) continue;
		seat_add(c->seat[i], p, n);
		seat_go_on(c->seat[i]);
	}
}

/* A part of what is in the ring; how much that was. */
static size_t drain_some(struct console *c)
{
	uint8_t some[STREAM_MAX];
	(void)pthread_mutex_lock(&c->lock);
	size_t at = (size_t)(c->got % RING), n = (size_t)(c->put - c->got);
	if (n > RING - at) n = RING - at;
	if (n > sizeof(some)) n = sizeof(some);
	memcpy(some, c->ring + at, n);
	c->got += n;
	bool starved = c->starved;
	c->starved = false;
	(void)pthread_mutex_unlock(&c->lock);
	if (n) spread(c, some, n);
	if (starved) device_drained(c);
	return n;
}

/* No more than the ring holds at once: it may be filled as fast. */
static bool drain(struct console *c)
{
	size_t n = 1;
	for (size_t all = 0; n && all < RING; all += n) n = drain_some(c);
	return n == 0;
}

static void drain_posted(void *ctx)
{
	struct console *c = ctx;
	atomic_store(&c->drain_posted, false);
	if (!drain(c)) drain_soon(c);
}

static void feed_posted(void *ctx)
{
	struct console *c = ctx;
	atomic_store(&c->feed_posted, false);
	for (unsigned i = 0; i < SEATS; i++)
		if (c->seat[i]) seat_go_on(c->seat[i]);
}

static void console_hungry(void *host)
{
	struct console *c = host;
	if (c->sitter && c->sitter->hungry) c->sitter->hungry(c->sitter->host);
	if (atomic_exchange(&c->starving, false) && !atomic_exchange(&c->feed_posted, true))
		loop_post(c->loop, feed_posted, c);
}

/* ---- the sitter's side ---- */
static size_t sitter_input(void *dev, const uint8_t *p, size_t n)
{
	struct chr *d = &((struct console *)dev)->chr;
	return d->input && d->dev ? d->input(d->dev, p, n) : 0;
}

static void sitter_input_end(void *dev)
{
	struct chr *d = &((struct console *)dev)->chr;
	if (d->input_end && d->dev) d->input_end(d->dev);
}

static void sitter_resize(void *dev, unsigned rows, unsigned columns)
{
	struct chr *d = &((struct console *)dev)->chr;
	if (d->resize && d->dev) d->resize(d->dev, rows, columns);
}

static void sitter_drained(void *dev) { device_drained(dev); }

struct console *console_new(struct loop *l, struct chr *sitter)
{
	struct console *c = calloc(1, sizeof(*c));
	must(c && !pthread_mutex_init(&c->lock, NULL));
	c->loop = l;
	c->sitter = sitter;
	c->dirfd = c->log = -1;
	c->chr.host = c;
	c->chr.output = console_output;
	c->chr.errors = console_errors;
	c->chr.hungry = console_hungry;
	if (sitter) {
		sitter->dev = c;
		sitter->input = sitter_input;
		sitter->drained = sitter_drained;
		sitter->input_end = sitter_input_end;
		sitter->resize = sitter_resize;
	}
	return c;
}

struct chr *console_chr(struct console *c) { return &c->chr; }

static void see_off(struct seat *s, const char *last, uint64_t until)
{
	frame_add(&s->out, STREAM_END, last, strlen(last));
	while (seat_send(s) && waiting(s)) {
		struct pollfd p = {.fd = s->fd, .events = POLLOUT};
		uint64_t now = now_ns();
		if (now >= until || poll(&p, 1, (int)((until - now) / 1000000) + 1) < 0) break;
	}
	seat_free(s);
}

void console_end(struct console *c, const char *last)
{
	uint64_t until = now_ns() + PATIENCE;
	(void)drain(c);
	for (unsigned i = 0; i < SEATS; i++)
		if (c->seat[i]) see_off(c->seat[i], last, until);
}

void console_free(struct console *c)
{
	if (!c) return;
	(void)drain(c);
	for (unsigned i = 0; i < SEATS; i++)
		if (c->seat[i]) seat_free(c->seat[i]);
	if (c->sitter) {
		c->sitter->dev = NULL;
		c->sitter->input = NULL;
		c->sitter->drained = NULL;
		c->sitter->input_end = NULL;
		c->sitter->resize = NULL;
	}
	drop_fd(&c->log);
	drop_fd(&c->dirfd);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}
