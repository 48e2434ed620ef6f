/* What becomes of a guest. Its state is on disk before anybody is told of it; so who was told may
 * rely on finding it there, and a monitor that is killed leaves the last state that was true. */
#include "guest/life.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/title.h"
#include "guest/agent.h"
#include "guest/hold.h"
#include "guest/outside.h"
#include "guest/program.h"
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* syscalls loop: sendto */

enum { WAITERS = 128 };
#define AGAIN  200000000ull  /* ns until a guest that did not listen is asked again */
#define AGENT  4000000000ull /* ns that its agent has before the button is pressed, too */
#define SECOND 1000000000ull
#define KILLED (128 + SIGKILL)

struct life {
	struct guest *guest;
	struct guest_state state;
	struct timer *stop; /* NULL: nobody has asked it to stop */
	uint64_t deadline;
	bool told;  /* its agent was */
	bool asked; /* it heard */
	int waiter[WAITERS];
	unsigned nwaiters;
	char last[320];
};

struct life *life_new(struct guest *g)
{
	struct life *l = calloc(1, sizeof(*l));
	must(l);
	l->guest = g;
	l->state.pid = title_pid();
	return l;
}

void life_free(struct life *l)
{
	if (!l) return;
	for (unsigned i = 0; i < l->nwaiters; i++) (void)close(l->waiter[i]);
	timer_free(l->stop);
	free(l);
}

const struct guest_state *life_state(const struct life *l) { return &l->state; }

static void note_words(struct life *l, enum guest_life life, const char *words)
{
	l->state.life = life;
	(void)snprintf(l->state.why, sizeof(l->state.why), "%s", words);
}

int guest_leaves(struct guest *g, const char *to, struct err *e)
{
	struct guest_state was = g->life->state;
	note_words(g->life, LIFE_LEAVING, to);
	int r = outside_state(&g->life->state, g->home->folder, e);
	if (r) g->life->state = was;
	return r;
}

static int keep(struct life *l, struct err *e)
{
	const struct guest_home *h = l->guest->home;
	if (!h || h->folder < 0 || !outside_state(&l->state, h->folder, e)) return 0;
	return fail_in(e, "its state cannot be written");
}

static void write_down(struct life *l)
{
	struct err e;
	if (keep(l, &e)) log_warn("%s", e.msg);
}

int life_began(struct life *l, struct err *e)
{
	l->state.life = LIFE_RUNNING;
	l->state.started = (int64_t)time(NULL);
	return keep(l, e);
}

void guest_stays(struct guest *g)
{
	note_words(g->life, LIFE_RUNNING, "");
	write_down(g->life);
}

void guest_moved(struct guest *g, const char *to)
{
	note_words(g->life, LIFE_MOVED, to);
	guest_exit(g, 0);
}

/* That another host has it, or may have it, is not forgotten, whatever ends it now. */
static void note_end(struct life *l, const struct err *why)
{
	if (l->state.life >= LIFE_LEAVING) return;
	note_words(l, why->code ? LIFE_BROKEN : LIFE_EXITED, why->code ? why->msg : "");
}

void life_ended(struct life *l, int code, const struct err *why)
{
	note_end(l, why);
	l->state.finished = (int64_t)time(NULL);
	l->state.code = code;
	write_down(l);
	for (unsigned i = 0; i < l->nwaiters; i++) {
		const char *last = life_last(l);
		(void)send(l->waiter[i], last, strlen(last), MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)close(l->waiter[i]);
	}
	l->nwaiters = 0;
}

const char *life_last(struct life *l)
{
	struct json_object *o = json_object_new_object();
	bool broke = l->state.life == LIFE_BROKEN;
	must(o && !json_object_object_add(o, broke ? "error" : "exit_code",
					  broke ? json_object_new_string(l->state.why)
						: json_object_new_int(l->state.code)));
	(void)snprintf(l->last, sizeof(l->last), "%s\n",
		       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
	return l->last;
}

/* Make room of those who have gone. */
static void waiters_sweep(struct life *l)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < l->nwaiters; i++) {
		struct pollfd p = {.fd = l->waiter[i], .events = POLLIN};
		if (poll(&p, 1, 0) > 0)
			(void)close(l->waiter[i]);
		else
			l->waiter[kept++] = l->waiter[i];
	}
	l->nwaiters = kept;
}

int life_wait(struct life *l, int fd, struct err *e)
{
	waiters_sweep(l);
	if (l->nwaiters == WAITERS) return fail(e, -EMFILE, "%d wait for its end already", WAITERS);
	l->waiter[l->nwaiters++] = fd;
	return 0;
}

/* ---- asked from outside ---- */
int guest_pause(struct guest *g, struct err *e)
{
	if (!g->kind->pause)
		return fail(e, -ENOTSUP, "guests of kind %s cannot be paused", g->kind->name);
	int r = g->kind->pause(g, e);
	if (r || !g->life) return r;
	g->life->state.life = LIFE_PAUSED;
	write_down(g->life);
	return 0;
}

int guest_resume(struct guest *g, struct err *e)
{
	if (!g->kind->resume)
		return fail(e, -ENOTSUP, "guests of kind %s cannot be paused", g->kind->name);
	hold_break(g);
	int r = g->kind->resume(g, e);
	if (r || !g->life) return r;
	g->life->state.life = LIFE_RUNNING;
	write_down(g->life);
	agent_time(g->agent);
	agent_time(g->port_agent);
	return 0;
}

void guest_kill(struct guest *g)
{
	if (g->kind->stop) (void)g->kind->stop(g, true, NULL);
	guest_exit(g, KILLED);
}

/* Whose agent knows has no need of a button. */
static int press(struct life *l, struct err *e)
{
	struct guest *g = l->guest;
	if (g->program) return program_stop(g->program, e);
	int r = g->kind->stop ? g->kind->stop(g, false, e)
			      : fail(e, -ENOTSUP, "it cannot be asked");
	return l->told && r != -EAGAIN ? 0 : r;
}

/* Ask, and look again: soon if it did not hear, else when its time is up. */
static int stop_step(struct life *l, struct err *e)
{
	struct guest *g = l->guest;
	uint64_t now = now_ns(), next = l->deadline;
	if (now >= l->deadline) {
		guest_kill(g);
		return 0;
	}
	if (!l->told && !g->program &&
	    (agent_shutdown(g->agent) || agent_shutdown(g->port_agent))) {
		l->told = true;
		timer_arm(l->stop, now + AGENT < next ? now + AGENT : next);
		return 0;
	}
	int r = l->asked ? 0 : press(l, e);
	if (r == 0) l->asked = true;
	if (r && r != -EAGAIN) return r;
	if (r && now + AGAIN < next) next = now + AGAIN;
	timer_arm(l->stop, next);
	return 0;
}

static void stop_due(void *ctx)
{
	struct err e;
	if (stop_step(ctx, &e)) guest_kill(((struct life *)ctx)->guest);
}

int guest_stop(struct guest *g, unsigned seconds, struct err *e)
{
	struct life *l = g->life;
	uint64_t until = now_ns() + seconds * SECOND;
	if (l->state.life == LIFE_PAUSED && guest_resume(g, e)) return e->code;
	int r = l->stop ? 0 : loop_timer(g->loop, &l->stop, stop_due, l, e);
	if (r) return r;
	if (!l->deadline || until < l->deadline) l->deadline = until;
	r = stop_step(l, e);
	if (r) guest_kill(g);
	return r;
}
