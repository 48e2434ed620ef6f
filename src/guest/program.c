/* A computer for one program. The idea: the program is a session with the agent like any other,
 * whose client is the monitor and whose terminal is the guest's console. Nothing is read from the
 * agent that the console has no room for, and no key is taken that the agent has no window for. */
#include "guest/program.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include "guest/agent.h"
#include "guest/exec.h"
#include "guest/guest.h"
#include "guest/stream.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* syscalls loop: socketpair recvfrom sendto */

#define PATIENCE 600000000000ull /* ns for the agent to come: another CPU's takes its time */
#define AGAIN	 20000000ull /* ns until it is asked again, which has come but does not listen */
enum { TRIES = 500, BACKLOG = 64 * 1024, WORDS_KEPT = 2048, VERSION = '2' };

enum state { BOOTS, ASKED, RUNS, OVER };
struct program {
	struct guest *guest;
	struct chr boot, *console;
	enum state state;
	int fd;
	struct watch *watch;
	struct timer *timer;
	unsigned tries;
	uint8_t in[STREAM_HEAD + STREAM_MAX];
	size_t have, shown; /* bytes; of the frame's, those that the console took */
	bool full;	    /* it did not take all of it */
	struct buf out;
	uint32_t window;
	bool input_ended, hungry;
	uint8_t size[4]; /* of the terminal */
	bool sized;
	pthread_mutex_t lock; /* of what follows, the last that was said while it booted */
	char said[WORDS_KEPT];
	size_t nsaid; /* bytes ever */
};

static bool has_tty(const struct program *p) { return p->guest->spec->zone.tty; }
static size_t waiting(const struct program *p) { return p->out.len - p->out.pos; }

/* ---- booting */
static size_t boot_output(void *host, const uint8_t *at, size_t n)
{
	struct program *p = host;
	(void)pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < n; i++) p->said[p->nsaid++ % WORDS_KEPT] = (char)at[i];
	(void)pthread_mutex_unlock(&p->lock);
	return n;
}

struct chr *program_boot(struct program *p) { return &p->boot; }

/* The last of it that has the room of an error's words, without what could do anything to a
 * terminal. */
static void last_words(struct program *p, char *to, size_t room)
{
	(void)pthread_mutex_lock(&p->lock);
	size_t n = p->nsaid < WORDS_KEPT ? p->nsaid : WORDS_KEPT, at = 0;
	if (n > room - 1) n = room - 1;
	for (size_t i = 0; i < n; i++) {
		char c = p->said[(p->nsaid - n + i) % WORDS_KEPT];
		if (c == '\n' || (c >= ' ' && c < 127)) to[at++] = c;
	}
	to[at] = 0;
	(void)pthread_mutex_unlock(&p->lock);
}

static int missed(struct program *p, const char *how, struct err *e)
{
	char words[160];
	last_words(p, words, sizeof(words));
	return fail(e, -EIO, "its computer %s before its program ran%s%s", how,
		    *words ? "; the last it said: " : "", words);
}

bool program_missed(struct program *p, struct err *why)
{
	if (!p || __atomic_load_n(&p->state, __ATOMIC_ACQUIRE) >= RUNS) return false;
	(void)missed(p, "ended", why);
	return true;
}

static void become(struct program *p, enum state s)
{
	__atomic_store_n(&p->state, s, __ATOMIC_RELEASE);
}

static void break_off(struct program *p, const char *words)
{
	struct err why;
	become(p, OVER);
	(void)fail(&why, -EIO, "%s", words);
	guest_break(p->guest, &why);
}

/* ---- to the agent */
static void hang_up(struct program *p)
{
	watch_free(p->watch);
	p->watch = NULL;
	drop_fd(&p->fd);
	p->fd = -1;
	p->have = p->shown = 0;
	p->full = false;
	buf_done(&p->out);
}

static void ask_later(struct program *p)
{
	hang_up(p);
	if (++p->tries > TRIES)
		break_off(p, "its agent is there, but runs no program");
	else
		timer_arm(p->timer, now_ns() + AGAIN);
}

/* False: nobody is there any more. */
static bool push(struct program *p)
{
	while (waiting(p)) {
		ssize_t n = send(p->fd, p->out.at + p->out.pos, waiting(p),
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return errno == EAGAIN;
		p->out.pos += (size_t)n;
	}
	p->out.len = p->out.pos = 0;
	return true;
}

static void watch_again(struct program *p)
{
	if (p->watch) watch_set(p->watch, (p->full ? 0 : EPOLLIN) | (waiting(p) ? EPOLLOUT : 0));
}

static void go_on(struct program *p)
{
	if (p->fd >= 0) (void)push(p); /* who is gone is heard of by reading */
	watch_again(p);
}

static void set(struct program *p, char what, const char *value)
{
	auto_buf struct buf b = {0};
	buf_add(&b, &what, 1);
	buf_add(&b, value, strlen(value));
	frame_add(&p->out, EXEC_SET, b.at, b.len);
}

static void begin(struct program *p)
{
	const struct spec_program *w = &p->guest->spec->program;
	if (has_tty(p)) set(p, EXEC_SET_TERMINAL, "");
	set(p, EXEC_SET_USER, w->user);
	set(p, EXEC_SET_FOLDER, w->dir);
	for (unsigned i = 0; i < w->env.n; i++) set(p, EXEC_SET_VARIABLE, w->env.at[i]);
	for (unsigned i = 0; i < w->args.n; i++) set(p, EXEC_SET_ARGUMENT, w->args.at[i]);
	if (p->sized) frame_add(&p->out, STREAM_SIZE, p->size, sizeof(p->size));
	frame_add(&p->out, EXEC_GO, "", 0);
	if (p->input_ended && !has_tty(p)) frame_add(&p->out, EXEC_INPUT_END, "", 0);
	p->window = EXEC_WINDOW;
	timer_free(p->timer);
	p->timer = NULL;
	become(p, RUNS);
	log_debug("its program runs %llu ms after its computer was switched on",
		  (unsigned long long)((now_ns() - p->guest->began_ns) / 1000000));
}

/* ---- from it */
static void feed(struct program *p)
{
	if (!p->hungry || !p->window || waiting(p) > BACKLOG || p->state != RUNS) return;
	p->hungry = false;
	if (p->console->hungry) p->console->hungry(p->console->host);
}

static bool show(struct program *p, const struct frame *f)
{
	size_t left = f->len - p->shown;
	p->shown += f->type == EXEC_ERRORS ? chr_errors(p->console, f->at + p->shown, left)
					   : chr_output(p->console, f->at + p->shown, left);
	p->full = p->shown != f->len;
	return !p->full;
}

static bool take(struct program *p, const struct frame *f)
{
	switch (f->type) {
	case STREAM_OUTPUT:
	case EXEC_ERRORS: return !f->len || show(p, f);
	case EXEC_TAKEN:
		if (f->len == 4 && load_le(f->at, 4) <= EXEC_WINDOW - p->window)
			p->window += (uint32_t)load_le(f->at, 4);
		return true;
	case STREAM_END:
		become(p, OVER);
		guest_exit(p->guest, f->len == 4 ? (int)(load_le(f->at, 4) & 255) : 0);
		return true;
	default: return true;
	}
}

static bool greeted(struct program *p, const struct frame *f)
{
	if (f->type != EXEC_HELLO || f->len != 1 || f->at[0] != VERSION)
		break_off(p, "the built-in guest is an older one that runs no containers; make it "
			     "anew: lodge image build --refresh linux");
	else
		begin(p);
	return p->state == RUNS;
}

/* All frames that are there, as far as the console has room. */
static void hear(struct program *p)
{
	struct frame f;
	ssize_t n = 0;
	while (p->state < OVER && (n = frame_parse(&f, p->in, p->have)) > 0) {
		if (p->state == ASKED ? !greeted(p, &f) : !take(p, &f)) return;
		p->shown = 0;
		p->have -= (size_t)n;
		memmove(p->in, p->in + n, p->have);
	}
	if (n < 0 && p->state < OVER) break_off(p, "its agent is not understood");
}

static void lost(struct program *p)
{
	if (p->state == ASKED)
		ask_later(p);
	else if (p->state == RUNS)
		break_off(p,
			  "its computer began anew, or its agent died, before its program ended");
}

static void ready(void *ctx, uint32_t what)
{
	struct program *p = ctx;
	if (what & (EPOLLIN | EPOLLHUP | EPOLLERR) && !p->full) {
		ssize_t n = recv(p->fd, p->in + p->have, sizeof(p->in) - p->have, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			lost(p);
			return;
		}
		if (n > 0) p->have += (size_t)n;
		hear(p);
	}
	if (p->state == OVER) {
		hang_up(p);
		return;
	}
	go_on(p);
	feed(p);
}

static void ask(struct program *p)
{
	int ends[2];
	struct err why;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends)) {
		ask_later(p);
		return;
	}
	auto_fd int theirs = ends[1];
	p->fd = ends[0];
	int r = loop_watch(p->guest->loop, &p->watch, p->fd, EPOLLIN, ready, p, &why);
	if (!r) r = p->guest->kind->connect(p->guest, AGENT_EXEC_PORT, theirs, &why);
	if (r)
		ask_later(p);
	else
		theirs = -1;
}

static void due(void *ctx)
{
	struct program *p = ctx;
	struct err why;
	if (p->state == ASKED) {
		ask(p);
		return;
	}
	(void)missed(p, "did not answer for ten minutes", &why);
	become(p, OVER);
	guest_break(p->guest, &why);
}

void program_agent(struct program *p)
{
	if (!p || p->state != BOOTS) return;
	become(p, ASKED);
	timer_arm(p->timer, now_ns()); /* not from inside its device */
}

bool program_runs(const struct program *p) { return p && p->state >= RUNS; }

int program_signal(struct program *p, int sig, struct err *e)
{
	if (p->state != RUNS) return fail(e, -EAGAIN, "its program does not run yet");
	uint8_t byte = (uint8_t)sig;
	frame_add(&p->out, EXEC_SIGNAL, &byte, 1);
	go_on(p);
	return 0;
}

int program_stop(struct program *p, struct err *e)
{
	return program_signal(p, p->guest->spec->program.stop, e);
}

/* ---- the console */
static size_t input(void *dev, const uint8_t *at, size_t n)
{
	struct program *p = dev;
	if (p->state == OVER || (p->input_ended && !has_tty(p))) return n; /* nobody reads it */
	if (n > STREAM_MAX) n = STREAM_MAX;
	if (n > p->window) n = p->window;
	if (p->state != RUNS || waiting(p) > BACKLOG) n = 0;
	p->hungry = true;
	if (!n) return 0;
	p->window -= (uint32_t)n;
	frame_add(&p->out, STREAM_INPUT, at, n);
	go_on(p);
	return n;
}

static void input_end(void *dev)
{
	struct program *p = dev;
	if (p->input_ended) return;
	p->input_ended = true;
	if (p->state != RUNS) return;
	frame_add(&p->out, EXEC_INPUT_END, "", 0);
	go_on(p);
}

static void resize(void *dev, unsigned rows, unsigned columns)
{
	struct program *p = dev;
	store_le(p->size, rows & 0xffff, 2);
	store_le(p->size + 2, columns & 0xffff, 2);
	p->sized = true;
	if (p->state != RUNS) return;
	frame_add(&p->out, STREAM_SIZE, p->size, sizeof(p->size));
	go_on(p);
}

static void drained(void *dev)
{
	struct program *p = dev;
	if (!p->full) return;
	hear(p);
	if (p->state == OVER)
		hang_up(p);
	else
		go_on(p);
}

static void device_at(struct chr *c, struct program *p)
{
	c->dev = p;
	c->input = p ? input : NULL;
	c->input_end = p ? input_end : NULL;
	c->resize = p ? resize : NULL;
	c->drained = p ? drained : NULL;
}

/* ---- life */
struct program *program_new(struct guest *g, struct chr *console)
{
	struct program *p = calloc(1, sizeof(*p));
	must(p && !pthread_mutex_init(&p->lock, NULL));
	p->guest = g;
	p->fd = -1;
	p->console = console;
	p->boot.host = p;
	p->boot.output = boot_output;
	p->input_ended = !g->spec->zone.input;
	device_at(console, p);
	return p;
}

int program_wait(struct program *p, struct err *e)
{
	int r = p ? loop_timer(p->guest->loop, &p->timer, due, p, e) : 0;
	if (!r && p) timer_arm(p->timer, now_ns() + PATIENCE);
	return r;
}

void program_free(struct program *p)
{
	if (!p) return;
	hang_up(p);
	timer_free(p->timer);
	if (p->console->dev == p) device_at(p->console, NULL);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}
