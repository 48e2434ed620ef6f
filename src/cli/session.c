/* A program in a guest from our side. The one idea: one poll() over the connection, our input, our
 * output and signals, where each is only waited for when there is room for what it brings; what is
 * written is never more than a pipe that is ready takes, so that nothing here waits twice. What the
 * agent sends is not trusted: a frame is of the size that frames have, or we hang up. */
#include "cli/session.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include "cli/foreign.h"
#include "cli/plain.h"
#include "cli/watchdog.h"
#include "guest/agent.h"
#include "guest/control.h"
#include "guest/exec.h"
#include "guest/stream.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>

#define SECOND	 1000000000ull
#define PATIENCE (20 * SECOND) /* for an agent to be there */
#define HELLO	 (2 * SECOND)  /* for it to say so */
#define OWN	 (1 * SECOND)  /* for ours, if there is a foreign one */
enum { PAUSE_US = 200000, INTERRUPTED = 128 + SIGINT, UNHEARD = 128 + SIGPIPE };

struct run {
	const struct session *s;
	int fd, sig;
	uint8_t in[STREAM_HEAD + STREAM_MAX]; /* from the agent */
	size_t have, shown;		      /* bytes; of the frame's, those that were written */
	struct buf out;			      /* to the agent */
	uint32_t window;
	bool reading; /* our input has not ended */
	bool said;    /* the one that reads our output heard enough */
	int interrupts;
	struct plain plain;
	int code; /* -1: not ended */
};

static size_t waiting(const struct run *r) { return r->out.len - r->out.pos; }

/* ---- beginning ---- */
static void set(struct run *r, char what, const char *value)
{
	auto_buf struct buf b = {0};
	buf_add(&b, &what, 1);
	buf_add(&b, value, strlen(value));
	frame_add(&r->out, EXEC_SET, b.at, b.len);
}

static void send_size(struct run *r)
{
	struct winsize w;
	uint8_t b[4];
	if (!r->s->terminal ||
	    (ioctl(r->s->out, TIOCGWINSZ, &w) && ioctl(r->s->in, TIOCGWINSZ, &w)))
		return;
	store_le(b, w.ws_row, 2);
	store_le(b + 2, w.ws_col, 2);
	frame_add(&r->out, STREAM_SIZE, b, sizeof(b));
}

static int check_words(const struct session *s, struct err *e)
{
	unsigned n = 0;
	size_t bytes = 0;
	for (; s->argv[n]; n++) {
		size_t len = strlen(s->argv[n]) + 1;
		bytes += len;
		if (len > STREAM_MAX)
			return fail(e, -E2BIG, "a word of %zu bytes is too long", len);
	}
	return n > EXEC_WORDS || bytes > 100 * KIB
		       ? fail(e, -E2BIG, "the command is too long: %u words, %zu bytes", n, bytes)
		       : 0;
}

static void begin(struct run *r)
{
	const struct session *s = r->s;
	const char *term = getenv("TERM");
	if (s->terminal) set(r, EXEC_SET_TERMINAL, "");
	if (s->user) set(r, EXEC_SET_USER, s->user);
	if (s->dir) set(r, EXEC_SET_FOLDER, s->dir);
	if (s->terminal) {
		char text[64];
		(void)snprintf(text, sizeof(text), "TERM=%.50s", term && *term ? term : "vt220");
		set(r, EXEC_SET_VARIABLE, text);
	}
	for (unsigned i = 0; s->env && i < s->env->n; i++) set(r, EXEC_SET_VARIABLE, s->env->at[i]);
	for (const char *const *a = s->argv; *a; a++) set(r, EXEC_SET_ARGUMENT, *a);
	send_size(r);
	frame_add(&r->out, EXEC_GO, "", 0);
	r->reading = s->in >= 0;
	if (!r->reading && !s->terminal) frame_add(&r->out, EXEC_INPUT_END, "", 0);
}

/* ---- to the agent ---- */
static int send_some(struct run *r)
{
	ssize_t n = send(r->fd, r->out.at + r->out.pos, waiting(r), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	r->out.pos += (size_t)n;
	if (!waiting(r)) r->out.len = r->out.pos = 0;
	return 0;
}

static void read_input(struct run *r)
{
	uint8_t some[STREAM_MAX];
	size_t room = r->window < sizeof(some) ? r->window : sizeof(some);
	ssize_t n = read(r->s->in, some, room);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n > 0) {
		r->window -= (uint32_t)n;
		frame_add(&r->out, STREAM_INPUT, some, (size_t)n);
		return;
	}
	r->reading = false;
	frame_add(&r->out, EXEC_INPUT_END, "", 0);
}

static void take_signal(struct run *r)
{
	struct signalfd_siginfo info;
	if (read(r->sig, &info, sizeof(info)) != sizeof(info)) return;
	uint8_t number = (uint8_t)info.ssi_signo;
	if (number == SIGWINCH)
		send_size(r);
	else
		frame_add(&r->out, EXEC_SIGNAL, &number, 1);
	if (number == SIGINT && ++r->interrupts == 3) r->code = INTERRUPTED;
}

/* ---- from the agent ---- */
/* To stderr, of which it is as much as it takes written out at its longest. */
static ssize_t show_plain(struct run *r, const uint8_t *at, size_t n)
{
	if (n > PIPE_BUF / 4) n = PIPE_BUF / 4;
	plain_put(&r->plain, at, n, stderr);
	return (ssize_t)n;
}

/* 1: all of it was written; 0: not yet. */
static int show(struct run *r, const struct frame *f, int fd, bool can)
{
	size_t left = f->len - r->shown;
	if (r->said || !left) return 1;
	if (!can) return 0;
	ssize_t n = r->s->plain && fd == STDERR_FILENO
			    ? show_plain(r, f->at + r->shown, left)
			    : write(fd, f->at + r->shown, left < PIPE_BUF ? left : PIPE_BUF);
	if (n < 0 && errno != EINTR && errno != EAGAIN) {
		r->said = true;
		r->code = UNHEARD;
	}
	if (n > 0) r->shown += (size_t)n;
	return r->shown == f->len;
}

static int take(struct run *r, const struct frame *f, bool out, bool err)
{
	switch (f->type) {
	case STREAM_OUTPUT: return show(r, f, r->s->out, out);
	case EXEC_ERRORS: return show(r, f, r->s->err, err);
	case EXEC_TAKEN:
		if (f->len == 4 && load_le(f->at, 4) <= EXEC_WINDOW - r->window)
			r->window += (uint32_t)load_le(f->at, 4);
		return 1;
	case STREAM_END: r->code = f->len == 4 ? (int)(load_le(f->at, 4) & 255) : 0; return 1;
	default: return 1;
	}
}

/* All that is there and can go on: only the first write is known not to wait. */
static int take_all(struct run *r, bool out, bool err)
{
	struct frame f;
	ssize_t n;
	while (r->code < 0 && (n = frame_parse(&f, r->in, r->have)) != 0) {
		if (n < 0) return -EPROTO;
		bool written = f.type == STREAM_OUTPUT || f.type == EXEC_ERRORS;
		if (!take(r, &f, out, err)) return 0;
		r->shown = 0;
		r->have -= (size_t)n;
		memmove(r->in, r->in + n, r->have);
		if (written) out = err = false;
	}
	return 0;
}

static int receive(struct run *r)
{
	ssize_t n = recv(r->fd, r->in + r->have, sizeof(r->in) - r->have, MSG_DONTWAIT);
	if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	r->have += (size_t)n;
	return n ? 0 : -ECONNRESET;
}

/* To which of our descriptors the frame at the front goes; -1: to none. */
static int front(const struct run *r)
{
	struct frame f;
	if (frame_parse(&f, r->in, r->have) <= 0) return -1;
	return f.type == STREAM_OUTPUT ? r->s->out : f.type == EXEC_ERRORS ? r->s->err : -1;
}

static int turn(struct run *r)
{
	int to = front(r);
	bool takes = r->reading && r->window && waiting(r) < STREAM_MAX;
	struct pollfd p[] = {
		{r->fd, (short)((to < 0 ? POLLIN : 0) | (waiting(r) ? POLLOUT : 0)), 0},
		{to, POLLOUT, 0},
		{takes ? r->s->in : -1, POLLIN, 0},
		{r->sig, POLLIN, 0},
	};
	if (poll(p, COUNT(p), -1) < 0) return errno == EINTR ? 0 : -errno;
	int bad = 0;
	if (p[3].revents) take_signal(r);
	if (p[2].revents) read_input(r);
	if (p[0].revents & POLLIN) bad = receive(r);
	if (!bad && (p[0].revents & (POLLERR | POLLHUP)) && !(p[0].revents & POLLIN) && to < 0)
		bad = -ECONNRESET;
	if (!bad)
		bad = take_all(r, p[1].revents && to == r->s->out, p[1].revents && to == r->s->err);
	if (!bad && waiting(r)) bad = send_some(r);
	return r->code >= 0 ? 0 : bad;
}

/* ---- an agent to talk to ---- */
static bool hello(struct run *r)
{
	uint64_t until = now_ns() + HELLO;
	struct frame f;
	r->have = 0;
	while (frame_parse(&f, r->in, r->have) == 0) {
		uint64_t now = now_ns();
		struct pollfd p = {.fd = r->fd, .events = POLLIN};
		if (now >= until || poll(&p, 1, (int)((until - now) / 1000000) + 1) < 0)
			return false;
		if (p.revents && receive(r)) return false;
	}
	ssize_t n = frame_parse(&f, r->in, r->have);
	if (n < 0 || f.type != EXEC_HELLO) return false;
	r->have -= (size_t)n;
	memmove(r->in, r->in + n, r->have);
	return true;
}

static int no_agent(const char *guest, struct err *e)
{
	return fail(e, -ETIMEDOUT,
		    "guest %s: no agent answers; it is paused, or its image has none: then 'lodge "
		    "attach', or ssh",
		    guest);
}

/* 0: there is one to talk to; 1: a foreign image's own. */
static int dial(struct run *r, struct err *e)
{
	char request[32];
	const char *guest = r->s->guest;
	uint64_t began = now_ns(), until = began + PATIENCE;
	const char *agent = getenv("LODGE_AGENT"); /* for tests: qemu */
	if (agent && !strcmp(agent, "qemu") && foreign_here(guest)) return 1;
	(void)snprintf(request, sizeof(request), "connect %d", AGENT_EXEC_PORT);
	for (;;) {
		int bad = control_stream(guest, request, &r->fd, NULL, e);
		if (bad == -ENOENT && !control_alive(guest))
			return fail(e, bad, "guest %s does not run", guest);
		if (bad && bad != -EAGAIN && bad != -ENOENT) return bad;
		if (!bad && hello(r)) return 0;
		if (!bad) (void)close(give_fd(&r->fd));
		if (now_ns() > began + OWN && foreign_here(guest)) return 1;
		if (now_ns() > until) return no_agent(guest, e);
		(void)usleep(PAUSE_US);
	}
}

/* ---- around it ---- */
static int signals_open(struct run *r, sigset_t *before, struct err *e)
{
	static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
	sigset_t set;
	(void)sigemptyset(&set);
	for (unsigned i = 0; i < COUNT(passed); i++) (void)sigaddset(&set, passed[i]);
	(void)pthread_sigmask(SIG_BLOCK, &set, before);
	r->sig = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->sig < 0 ? fail(e, -errno, "signals: %s", strerror(errno)) : 0;
}

static int run_all(struct run *r, struct err *e)
{
	int bad = 0;
	while (!bad && r->code < 0) bad = turn(r);
	if (bad == -EPROTO)
		return fail(e, bad, "guest %s: its agent is not understood", r->s->guest);
	return bad ? fail(e, bad, "guest %s: the connection to its agent is lost; did it end?",
			  r->s->guest)
		   : r->code;
}

static int run_raw(struct run *r, struct err *e)
{
	struct termios before, raw;
	struct watchdog dog = {.fd = -1};
	int in = r->s->in;
	if (!r->s->terminal || in < 0 || tcgetattr(in, &before)) return run_all(r, e);
	raw = before;
	cfmakeraw(&raw);
	int bad = watchdog_start(&dog, in, &before, &raw, "", e);
	if (bad) return bad;
	(void)tcsetattr(in, TCSANOW, &raw);
	bad = run_all(r, e);
	(void)tcsetattr(in, TCSADRAIN, &before);
	watchdog_stop(&dog);
	return bad;
}

static int talk(struct run *r, struct err *e)
{
	sigset_t before;
	int bad = r->s->signals ? signals_open(r, &before, e) : 0;
	if (!bad) {
		begin(r);
		bad = run_raw(r, e);
		plain_end(&r->plain, stderr);
	}
	if (r->s->signals) (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return bad;
}

static struct run *run_new(const struct session *s)
{
	struct run *r = calloc(1, sizeof(*r));
	must(r);
	*r = (struct run){.s = s, .fd = -1, .sig = -1, .window = EXEC_WINDOW, .code = -1};
	(void)signal(SIGPIPE, SIG_IGN);
	return r;
}

static void run_free(struct run *r)
{
	drop_fd(&r->sig);
	drop_fd(&r->fd);
	buf_done(&r->out);
	free(r);
}

int session_run(const struct session *s, struct err *e)
{
	struct run *r = run_new(s);
	int bad = check_words(s, e);
	if (!bad) bad = dial(r, e);
	bad = bad > 0 ? s->bulk ? foreign_bulk(s, e) : foreign_run(s, e) : bad ? bad : talk(r, e);
	run_free(r);
	return bad;
}

int session_talk(const struct session *s, int fd, struct err *e)
{
	struct run *r = run_new(s);
	r->fd = fd;
	int bad = hello(r) ? talk(r, e) : no_agent(s->guest, e);
	run_free(r);
	return bad;
}
