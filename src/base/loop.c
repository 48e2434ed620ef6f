/* One thread waits for everything at once. The one idea: descriptors, timers, signals and posted
 * calls are all watches on some descriptor, so there is one way to wait and one way to die: a
 * freed watch is only marked, and buried after the batch of events that may still name it. */
#include "base/loop.h"
#include "base/own.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* syscalls loop switch: epoll_wait epoll_pwait epoll_ctl timerfd_create */
/* syscalls all: timerfd_settime */

struct watch {
	struct loop *loop;
	struct watch *next, **link; /* among the living, or the dead */
	void (*fn)(void *ctx, uint32_t ready);
	void *ctx;
	uint32_t events;
	int fd;
	bool own_fd, dead;
	bool plain;  /* a file that epoll refuses: it is always ready */
	void *outer; /* the struct this is a part of, freed with it */
};
struct timer {
	struct watch *watch;
	void (*fn)(void *ctx);
	void *ctx;
};
struct signal_watch {
	struct watch *watch;
	void (*fn)(void *ctx, int sig);
	void *ctx;
};
struct post {
	struct post *next;
	void (*fn)(void *ctx);
	void *ctx;
};
struct loop {
	int epoll, wake;
	struct watch *living, *dead;
	atomic_bool stop;
	atomic_int result;
	pthread_mutex_t mutex; /* of the posts */
	struct post *posts, **posts_end;
};
enum { BATCH = 32 };

static void watch_unlink(struct watch *w)
{
	*w->link = w->next;
	if (w->next) w->next->link = w->link;
}

static void watch_push(struct watch **list, struct watch *w)
{
	w->next = *list;
	w->link = list;
	if (w->next) w->next->link = &w->next;
	*list = w;
}

static int watch_ctl(struct watch *w, int op, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};
	return epoll_ctl(w->loop->epoll, op, w->fd, &ev) ? -errno : 0;
}

/* Descriptors with no wanted event leave epoll, which would report a hang-up for ever. */
static int watch_apply(struct watch *w, uint32_t events)
{
	uint32_t before = w->events;
	w->events = events;
	if (w->plain || before == events) return 0;
	if (!events) return watch_ctl(w, EPOLL_CTL_DEL, 0);
	int r = watch_ctl(w, before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, events);
	if (r == -EPERM) {
		w->plain = true;
		r = 0;
	}
	return r;
}

int loop_watch(struct loop *l, struct watch **out, int fd, uint32_t events,
	       void (*fn)(void *ctx, uint32_t ready), void *ctx, struct err *e)
{
	struct watch *w = malloc(sizeof(*w));
	must(w);
	*w = (struct watch){.loop = l, .fn = fn, .ctx = ctx, .fd = fd};
	int r = watch_apply(w, events);
	if (r) {
		free(w);
		return fail(e, r, "watching descriptor %d: %s", fd, strerror(-r));
	}
	watch_push(&l->living, w);
	*out = w;
	return 0;
}

void watch_set(struct watch *w, uint32_t events) { (void)watch_apply(w, events); }

void watch_free(struct watch *w)
{
	if (!w || w->dead) return;
	(void)watch_apply(w, 0);
	watch_unlink(w);
	if (w->own_fd) (void)close(w->fd);
	w->dead = true;
	watch_push(&w->loop->dead, w);
}

static void loop_bury(struct loop *l)
{
	while (l->dead) {
		struct watch *w = l->dead;
		watch_unlink(w);
		free(w->outer);
		free(w);
	}
}

static void watch_call(struct watch *w, uint32_t ready)
{
	ready &= w->events | EPOLLERR | EPOLLHUP;
	if (!w->dead && w->events && ready) w->fn(w->ctx, ready);
}

/* The watches of plain files, which may free one another while we walk. */
static void loop_call_plain(struct loop *l)
{
	struct watch *ready[BATCH];
	unsigned n = 0;
	for (struct watch *w = l->living; w && n < BATCH; w = w->next)
		if (w->plain && w->events) ready[n++] = w;
	for (unsigned i = 0; i < n; i++) watch_call(ready[i], ready[i]->events);
}

static bool loop_has_plain(const struct loop *l)
{
	for (const struct watch *w = l->living; w; w = w->next)
		if (w->plain && w->events) return true;
	return false;
}

int loop_run(struct loop *l)
{
	while (!atomic_load(&l->stop)) {
		struct epoll_event ev[BATCH];
		bool plain = loop_has_plain(l);
		int n = epoll_wait(l->epoll, ev, BATCH, plain ? 0 : -1);
		must(n >= 0 || errno == EINTR);
		for (int i = 0; i < n; i++) watch_call(ev[i].data.ptr, ev[i].events);
		if (plain) loop_call_plain(l);
		loop_bury(l);
	}
	atomic_store(&l->stop, false);
	return atomic_load(&l->result);
}

static void loop_wake(struct loop *l)
{
	uint64_t one = 1;
	while (write(l->wake, &one, sizeof(one)) < 0 && errno == EINTR) {
	}
}

void loop_stop(struct loop *l, int result)
{
	atomic_store(&l->result, result);
	atomic_store(&l->stop, true);
	loop_wake(l);
}

void loop_post(struct loop *l, void (*fn)(void *ctx), void *ctx)
{
	struct post *p = malloc(sizeof(*p));
	must(p);
	*p = (struct post){.fn = fn, .ctx = ctx};
	(void)pthread_mutex_lock(&l->mutex);
	*l->posts_end = p;
	l->posts_end = &p->next;
	(void)pthread_mutex_unlock(&l->mutex);
	loop_wake(l);
}

static struct post *posts_take(struct loop *l)
{
	(void)pthread_mutex_lock(&l->mutex);
	struct post *all = l->posts;
	l->posts = NULL;
	l->posts_end = &l->posts;
	(void)pthread_mutex_unlock(&l->mutex);
	return all;
}

static void loop_woken(void *ctx, uint32_t ready)
{
	(void)ready;
	struct loop *l = ctx;
	uint64_t count;
	(void)!read(l->wake, &count, sizeof(count));
	for (struct post *p = posts_take(l), *next; p; p = next) {
		next = p->next;
		p->fn(p->ctx);
		free(p);
	}
}

int loop_new(struct loop **out, struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));
	struct watch *w;
	must(l && !pthread_mutex_init(&l->mutex, NULL));
	l->posts_end = &l->posts;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll < 0 || l->wake < 0) {
		int r = fail(e, -errno, "event loop: %s", strerror(errno));
		loop_free(l);
		return r;
	}
	int r = loop_watch(l, &w, l->wake, EPOLLIN, loop_woken, l, e);
	if (r)
		loop_free(l);
	else
		*out = l;
	return r;
}

void loop_free(struct loop *l)
{
	if (!l) return;
	while (l->living) watch_free(l->living);
	loop_bury(l);
	for (struct post *p = posts_take(l), *next; p; p = next) {
		next = p->next;
		free(p);
	}
	drop_fd(&l->epoll);
	drop_fd(&l->wake);
	(void)pthread_mutex_destroy(&l->mutex);
	free(l);
}

/* Takes over fd and outer; both go on failure too. */
static int loop_own(struct loop *l, struct watch **out, int fd, void *outer,
		    void (*fn)(void *ctx, uint32_t ready), const char *what, struct err *e)
{
	int r = fd < 0 ? fail(e, -errno, "%s: %s", what, strerror(errno))
		       : loop_watch(l, out, fd, EPOLLIN, fn, outer, e);
	if (r) {
		drop_fd(&fd);
		free(outer);
		return r;
	}
	(*out)->own_fd = true;
	(*out)->outer = outer;
	return 0;
}

/* Nothing to read means that another thread disarmed or moved the timer meanwhile. */
static void timer_ready(void *ctx, uint32_t ready)
{
	(void)ready;
	struct timer *t = ctx;
	uint64_t count;
	if (read(t->watch->fd, &count, sizeof(count)) == sizeof(count)) t->fn(t->ctx);
}

int loop_timer(struct loop *l, struct timer **out, void (*fn)(void *ctx), void *ctx, struct err *e)
{
	struct timer *t = malloc(sizeof(*t));
	must(t);
	*t = (struct timer){.fn = fn, .ctx = ctx};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct watch *w;
	int r = loop_own(l, &w, fd, t, timer_ready, "timer", e);
	if (r) return r;
	t->watch = w;
	*out = t;
	return 0;
}

static void timer_program(struct timer *t, uint64_t ns)
{
	struct itimerspec when = {.it_value = {.tv_sec = (time_t)(ns / 1000000000),
					       .tv_nsec = (long)(ns % 1000000000)}};
	must(!timerfd_settime(t->watch->fd, TFD_TIMER_ABSTIME, &when, NULL));
}

/* To the kernel zero means disarm; and beyond INT64_MAX ns no clock gets. */
void timer_arm(struct timer *t, uint64_t deadline_ns)
{
	if (deadline_ns > INT64_MAX) deadline_ns = INT64_MAX;
	timer_program(t, deadline_ns ? deadline_ns : 1);
}

void timer_disarm(struct timer *t) { timer_program(t, 0); }

void timer_free(struct timer *t)
{
	if (t) watch_free(t->watch);
}

uint64_t now_ns(void)
{
	struct timespec t;
	must(!clock_gettime(CLOCK_MONOTONIC, &t));
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct timespec time_after(uint64_t ns)
{
	enum { SECOND = 1000000000 };
	uint64_t when = now_ns() + ns;
	return (struct timespec){(time_t)(when / SECOND), (long)(when % SECOND)};
}

static void signal_ready(void *ctx, uint32_t ready)
{
	(void)ready;
	struct signal_watch *s = ctx;
	struct signalfd_siginfo si;
	if (read(s->watch->fd, &si, sizeof(si)) == sizeof(si)) s->fn(s->ctx, (int)si.ssi_signo);
}

int loop_signal(struct loop *l, int sig, void (*fn)(void *ctx, int sig), void *ctx, struct err *e)
{
	sigset_t set;
	must(!sigemptyset(&set));
	if (sigaddset(&set, sig)) return fail(e, -EINVAL, "signal %d: no such signal", sig);
	must(!pthread_sigmask(SIG_BLOCK, &set, NULL));
	struct signal_watch *s = malloc(sizeof(*s));
	must(s);
	*s = (struct signal_watch){.fn = fn, .ctx = ctx};
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	struct watch *w;
	int r = loop_own(l, &w, fd, s, signal_ready, "signals", e);
	if (!r) s->watch = w;
	return r;
}
