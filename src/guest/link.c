/* Frames between the two ends of a move. Each waits for the other no longer than it should take,
 * since what hangs is as good as cut. */
#include "guest/link.h"
#include "base/buf.h"
#include "base/crc.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/* syscalls move: sendto */
/* syscalls loop: eventfd2 */

enum { PATIENCE = 30 /* seconds */, LAST_WORDS = 2 };
#define SECOND 1000000000ull

struct head {
	le32 type, len;
	le64 arg;
	le32 number, crc;
};
_Static_assert(sizeof(struct head) == LINK_HEAD, "as link.h has it");

struct link {
	int in, out, stop;
	uint32_t sent_n, got_n;
	uint64_t cap, cap_at; /* cap_at: when the next byte may go */
	atomic_ullong sent;
	char *body;
};

struct link *link_new(int in, int out)
{
	struct link *l = calloc(1, sizeof(*l));
	must(l);
	l->in = in;
	l->out = out;
	l->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->body = malloc(LINK_MAX + 1);
	must(l->body && l->stop >= 0);
	return l;
}

void link_free(struct link *l)
{
	if (!l) return;
	if (l->out != l->in) drop_fd(&l->out);
	drop_fd(&l->in);
	drop_fd(&l->stop);
	free(l->body);
	free(l);
}

void link_fds(const struct link *l, int fds[3])
{
	fds[0] = l->in;
	fds[1] = l->out;
	fds[2] = l->stop;
}

void link_hang_up(struct link *l)
{
	if (l->out != l->in) drop_fd(&l->out);
	drop_fd(&l->in);
	l->in = l->out = -1;
}

void link_cap(struct link *l, uint64_t bytes) { l->cap = bytes; }
uint64_t link_sent(const struct link *l) { return atomic_load(&l->sent); }

void link_stop(struct link *l)
{
	uint64_t one = 1;
	(void)!write(l->stop, &one, sizeof(one));
}

static int lost(struct err *e) { return fail(e, -EPIPE, "the connection is gone"); }

/* 0: fd is ready for it. */
static int wait_for(struct link *l, int fd, short events, uint64_t until, struct err *e)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = events},
				      {.fd = l->stop, .events = POLLIN}};
		uint64_t now = now_ns();
		if (now >= until)
			return fail(e, -ETIMEDOUT, "the other side has been silent too long");
		int n = poll(p, 2, (int)((until - now) / 1000000 + 1));
		if (n < 0 && errno != EINTR) return fail(e, -errno, "poll: %s", strerror(errno));
		if (n <= 0) continue;
		return p[1].revents ? fail(e, -ECANCELED, "it was given up here") : 0;
	}
}

/* ---- sending ---- */
static ssize_t put_some(int fd, const void *p, size_t n)
{
	ssize_t k = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	return k < 0 && errno == ENOTSOCK ? write(fd, p, n) : k;
}

static int put_all(struct link *l, const void *p, size_t n, struct err *e)
{
	const char *from = p;
	while (n) {
		int r = wait_for(l, l->out, POLLOUT, now_ns() + PATIENCE * SECOND, e);
		if (r) return r;
		ssize_t k = put_some(l->out, from, n);
		if (k < 0 && (errno == EAGAIN || errno == EINTR)) continue;
		if (k <= 0) return lost(e);
		from += k;
		n -= (size_t)k;
		(void)atomic_fetch_add(&l->sent, (unsigned long long)k);
	}
	return 0;
}

static int wait_turn(struct link *l, size_t n, struct err *e)
{
	uint64_t now = now_ns();
	if (!l->cap) return 0;
	if (l->cap_at < now) l->cap_at = now;
	uint64_t until = l->cap_at;
	l->cap_at += (uint64_t)((unsigned __int128)n * SECOND / l->cap);
	if (until <= now) return 0;
	int r = wait_for(l, -1, 0, until, e);
	return r == -ETIMEDOUT ? 0 : r;
}

static int put_frame(struct link *l, enum link_type type, uint64_t arg, const void *p, size_t n,
		     struct err *e)
{
	struct head h = {.type = le32_of(type),
			 .len = le32_of((uint32_t)n),
			 .arg = le64_of(arg),
			 .number = le32_of(l->sent_n++)};
	must(n <= LINK_MAX);
	h.crc = le32_of(crc32c(crc32c(0, &h, sizeof(h)), p, n));
	int r = wait_turn(l, sizeof(h) + n, e);
	if (r == 0) r = put_all(l, &h, sizeof(h), e);
	return r ? r : put_all(l, p, n, e);
}

/* Who hangs up has perhaps said why. */
static int last_words(struct link *l, int r, struct err *e)
{
	struct link_frame f;
	struct err why = {0};
	for (unsigned i = 0; i < 4; i++) {
		int got = link_recv(l, &f, LAST_WORDS, &why);
		if (got == 0) continue;
		if (got != -EREMOTEIO) break;
		if (e) *e = why;
		return got;
	}
	return r;
}

int link_send(struct link *l, enum link_type type, uint64_t arg, const void *p, size_t n,
	      struct err *e)
{
	int r = put_frame(l, type, arg, p, n, e);
	return r == -EPIPE && type != LINK_ERROR ? last_words(l, r, e) : r;
}

void link_refuse(struct link *l, const struct err *why)
{
	if (why->code != -EREMOTEIO)
		(void)link_send(l, LINK_ERROR, 0, why->msg, strlen(why->msg), NULL);
}

/* ---- receiving ---- */
static int get_all(struct link *l, void *p, size_t n, uint64_t until, struct err *e)
{
	char *to = p;
	while (n) {
		int r = wait_for(l, l->in, POLLIN, until, e);
		if (r) return r;
		ssize_t k = read(l->in, to, n);
		if (k < 0 && (errno == EAGAIN || errno == EINTR)) continue;
		if (k <= 0) return lost(e);
		to += k;
		n -= (size_t)k;
	}
	return 0;
}

static int refused(struct link_frame *f, struct err *e)
{
	char words[200];
	size_t n = f->len < sizeof(words) - 1 ? f->len : sizeof(words) - 1;
	for (size_t i = 0; i < n; i++)
		words[i] = f->at[i] < ' ' || f->at[i] == 0x7f ? '?' : f->at[i];
	words[n] = 0;
	return fail(e, -EREMOTEIO, "the other side: %s", words);
}

static int garbled(struct err *e)
{
	return fail(e, -EBADMSG,
		    "what the other side says is garbled: is Lodge there, and "
		    "nothing else that talks?");
}

int link_recv(struct link *l, struct link_frame *f, unsigned seconds, struct err *e)
{
	struct head h;
	uint64_t until = now_ns() + seconds * SECOND;
	int r = get_all(l, &h, sizeof(h), until, e);
	if (r) return r;
	uint32_t n = le32_get(h.len), crc = le32_get(h.crc);
	*f = (struct link_frame){le32_get(h.type), le64_get(h.arg), l->body, n};
	if (n > LINK_MAX || le32_get(h.number) != l->got_n) return garbled(e);
	l->got_n++;
	r = get_all(l, l->body, n, until + PATIENCE * SECOND, e);
	if (r) return r;
	l->body[n] = 0;
	h.crc = le32_of(0);
	if (crc32c(crc32c(0, &h, sizeof(h)), l->body, n) != crc) return garbled(e);
	return f->type == LINK_ERROR ? refused(f, e) : 0;
}

int link_expect(struct link *l, enum link_type type, unsigned seconds, struct err *e)
{
	struct link_frame f;
	int r = link_recv(l, &f, seconds, e);
	if (r == 0 && f.type != type)
		r = fail(e, -EPROTO, "the other side says %u where %u was due", f.type, type);
	return r;
}
