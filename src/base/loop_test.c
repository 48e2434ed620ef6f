#include "base/loop.h"
#include "base/test.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct world {
	struct loop *loop;
	struct watch *watch, *other;
	struct timer *timer;
	int fds[2], calls;
	char trail[16];
};

static struct world world_new(void)
{
	struct world w = {0};
	must(!loop_new(&w.loop, NULL));
	must(!pipe2(w.fds, O_NONBLOCK));
	return w;
}

static void world_done(struct world *w)
{
	loop_free(w->loop);
	(void)close(w->fds[0]);
	(void)close(w->fds[1]);
}

static void post_a(void *ctx) { strcat(((struct world *)ctx)->trail, "a"); }
static void post_b(void *ctx) { strcat(((struct world *)ctx)->trail, "b"); }
static void post_stop(void *ctx) { loop_stop(((struct world *)ctx)->loop, 7); }
TEST(loop_runs_posts_in_order)
{
	struct world w = world_new();
	loop_post(w.loop, post_a, &w);
	loop_post(w.loop, post_b, &w);
	loop_post(w.loop, post_a, &w);
	loop_post(w.loop, post_stop, &w);
	CHECK(loop_run(w.loop) == 7);
	CHECK(!strcmp(w.trail, "aba"));
	world_done(&w);
}

TEST(loop_stopped_beforehand_returns_at_once)
{
	struct world w = world_new();
	loop_stop(w.loop, 3);
	CHECK(loop_run(w.loop) == 3);
	loop_stop(w.loop, 4);
	CHECK(loop_run(w.loop) == 4);
	world_done(&w);
}

enum { POSTS = 2000 };
static void count(void *ctx)
{
	struct world *w = ctx;
	if (++w->calls == 2 * POSTS) loop_stop(w->loop, 0);
}
static void *poster(void *ctx)
{
	for (int i = 0; i < POSTS; i++) loop_post(((struct world *)ctx)->loop, count, ctx);
	return NULL;
}
TEST(loop_takes_posts_of_other_threads)
{
	struct world w = world_new();
	pthread_t t[2];
	for (int i = 0; i < 2; i++) must(!pthread_create(&t[i], NULL, poster, &w));
	CHECK(loop_run(w.loop) == 0 && w.calls == 2 * POSTS);
	for (int i = 0; i < 2; i++) (void)pthread_join(t[i], NULL);
	world_done(&w);
}

static void readable(void *ctx, uint32_t ready)
{
	struct world *w = ctx;
	char c;
	CHECK(ready & EPOLLIN);
	CHECK(read(w->fds[0], &c, 1) == 1);
	if (++w->calls == 3) loop_stop(w->loop, 0);
}
TEST(loop_watches_a_pipe)
{
	struct world w = world_new();
	CHECK(!loop_watch(w.loop, &w.watch, w.fds[0], EPOLLIN, readable, &w, NULL));
	CHECK(write(w.fds[1], "xyz", 3) == 3);
	CHECK(loop_run(w.loop) == 0 && w.calls == 3);
	world_done(&w);
}

/* Both ends are ready in one batch; whichever comes first frees both. */
static void first_frees_both(void *ctx, uint32_t ready)
{
	(void)ready;
	struct world *w = ctx;
	w->calls++;
	watch_free(w->watch);
	watch_free(w->other);
	loop_stop(w->loop, 0);
}
TEST(watch_freed_in_the_same_batch_is_not_called)
{
	struct world w = world_new();
	CHECK(write(w.fds[1], "x", 1) == 1);
	CHECK(!loop_watch(w.loop, &w.watch, w.fds[0], EPOLLIN, first_frees_both, &w, NULL));
	CHECK(!loop_watch(w.loop, &w.other, w.fds[1], EPOLLOUT, first_frees_both, &w, NULL));
	(void)loop_run(w.loop);
	CHECK(w.calls == 1);
	world_done(&w);
}

static void hung_up(void *ctx, uint32_t ready)
{
	struct world *w = ctx;
	CHECK(ready & EPOLLHUP);
	w->calls++;
	watch_set(w->watch, 0);
}
TEST(watch_without_events_ignores_a_hangup)
{
	struct world w = world_new();
	CHECK(!loop_watch(w.loop, &w.watch, w.fds[0], EPOLLIN, hung_up, &w, NULL));
	(void)close(w.fds[1]);
	w.fds[1] = -1;
	CHECK(!loop_timer(w.loop, &w.timer, post_stop, &w, NULL));
	timer_arm(w.timer, now_ns() + 2000000);
	(void)loop_run(w.loop);
	CHECK(w.calls == 1);
	world_done(&w);
}

static void plain_readable(void *ctx, uint32_t ready)
{
	struct world *w = ctx;
	CHECK(ready == EPOLLIN);
	if (++w->calls == 2) watch_free(w->watch);
	if (w->calls == 2) loop_stop(w->loop, 0);
}
TEST(loop_watches_plain_files_as_always_ready)
{
	struct world w = world_new();
	int fd = open("/dev/null", O_RDONLY);
	CHECK(!loop_watch(w.loop, &w.watch, fd, EPOLLIN, plain_readable, &w, NULL));
	CHECK(loop_run(w.loop) == 0 && w.calls == 2);
	(void)close(fd);
	world_done(&w);
}

TEST(loop_refuses_a_bad_descriptor)
{
	struct world w = world_new();
	struct err e = {0};
	CHECK(loop_watch(w.loop, &w.watch, 9999, EPOLLIN, readable, &w, &e) < 0 && e.msg[0]);
	world_done(&w);
}

TEST(timer_in_the_past_fires_at_once)
{
	struct world w = world_new();
	CHECK(!loop_timer(w.loop, &w.timer, post_stop, &w, NULL));
	timer_arm(w.timer, 0);
	CHECK(loop_run(w.loop) == 7);
	timer_arm(w.timer, 1);
	CHECK(loop_run(w.loop) == 7);
	timer_free(w.timer);
	world_done(&w);
}

static void wrong(void *ctx) { ((struct world *)ctx)->calls = 99; }
TEST(timer_disarmed_does_not_fire)
{
	struct world w = world_new();
	struct timer *never, *end;
	CHECK(!loop_timer(w.loop, &w.timer, wrong, &w, NULL));
	CHECK(!loop_timer(w.loop, &never, wrong, &w, NULL));
	CHECK(!loop_timer(w.loop, &end, post_stop, &w, NULL));
	timer_arm(w.timer, 1);
	timer_disarm(w.timer);
	timer_arm(never, UINT64_MAX);
	timer_arm(end, now_ns() + 1000000);
	(void)loop_run(w.loop);
	CHECK(w.calls == 0);
	world_done(&w);
}

static void free_self(void *ctx)
{
	struct world *w = ctx;
	timer_free(w->timer);
	loop_stop(w->loop, 1);
}
TEST(timer_may_free_itself)
{
	struct world w = world_new();
	CHECK(!loop_timer(w.loop, &w.timer, free_self, &w, NULL));
	timer_arm(w.timer, 1);
	CHECK(loop_run(w.loop) == 1);
	world_done(&w);
}

static void got_signal(void *ctx, int sig)
{
	struct world *w = ctx;
	w->calls = sig;
	loop_stop(w->loop, 0);
}
TEST(loop_hears_signals)
{
	struct world w = world_new();
	CHECK(!loop_signal(w.loop, SIGUSR1, got_signal, &w, NULL));
	CHECK(!kill(getpid(), SIGUSR1));
	(void)loop_run(w.loop);
	CHECK(w.calls == SIGUSR1);
	CHECK(loop_signal(w.loop, 4711, got_signal, &w, NULL) == -EINVAL);
	world_done(&w);
}
