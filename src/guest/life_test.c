#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/agent.h"
#include "guest/guest.h"
#include "guest/hold.h"
#include "guest/life.h"
#include "guest/record.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A guest on paper that is asked to stop as soon as it runs. */
static struct {
	int asked, forced;
	int hears;	  /* the how-manieth time; 0: it cannot be asked */
	bool obeys;	  /* and powers off then */
	unsigned seconds; /* that it is given */
	int stopped;	  /* what guest_stop() answered */
	int pauses, waiter;
	struct err why;
	void (*start)(struct guest *g);
} paper;

static int paper_build(struct guest *g, struct err *e) { return (void)g, (void)e, 0; }
static int paper_start(struct guest *g, struct err *e)
{
	(void)e;
	paper.start(g);
	return 0;
}
static int paper_stop(struct guest *g, bool force, struct err *e)
{
	paper.forced += force;
	if (force) return 0;
	if (!paper.hears) return fail(e, -EOPNOTSUPP, "it has no ears");
	if (++paper.asked < paper.hears) return fail(e, -EAGAIN, "not now");
	if (paper.obeys) guest_exit(g, 5);
	return 0;
}
static int paper_pause(struct guest *g, struct err *e)
{
	return (void)g, (void)e, paper.pauses++, 0;
}
static int paper_resume(struct guest *g, struct err *e)
{
	return (void)g, (void)e, paper.pauses--, 0;
}
static void paper_free(struct guest *g) { (void)g; }
static const struct kind kind = {.name = "paper",
				 .build = paper_build,
				 .start = paper_start,
				 .stop = paper_stop,
				 .pause = paper_pause,
				 .resume = paper_resume,
				 .free = paper_free};

static void stop_now(struct guest *g) { paper.stopped = guest_stop(g, paper.seconds, &paper.why); }

static int folder = -1;
static int run(int *code)
{
	struct loop *l = NULL;
	struct err e = {0};
	struct spec s = {.name = "p", .cpus = 1};
	struct guest_home home = {.folder = folder, .attach = -1};
	struct guest_end end = {.code = -1};
	sigset_t before;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &before);
	CHECK(!loop_new(&l, &e));
	int r = guest_keep(&kind, &s, &home, l, NULL, &end, &e);
	*code = end.code;
	loop_free(l);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}
static void begin(int hears, bool obeys, unsigned seconds)
{
	memset(&paper, 0, sizeof(paper));
	paper.hears = hears;
	paper.obeys = obeys;
	paper.seconds = seconds;
	paper.start = stop_now;
}

TEST(stop_asks_until_it_is_heard)
{
	int code;
	begin(1, true, 60);
	CHECK(!run(&code) && code == 5 && paper.asked == 1 && !paper.forced && !paper.stopped);
	begin(3, true, 60);
	CHECK(!run(&code) && code == 5 && paper.asked == 3 && !paper.forced && !paper.stopped);
}

/* One whose agent goes off when it is asked, or does not. */
static int agents_end;
static void power_off(void *g) { guest_exit(g, 6); }
static void stop_by_agent(struct guest *g)
{
	char line[256] = "";
	agents_end = agent_dialed(g->agent);
	stop_now(g);
	CHECK(recv(agents_end, line, sizeof(line) - 1, MSG_DONTWAIT) > 0);
	if (strstr(line, "guest-shutdown") && paper.obeys) loop_post(g->loop, power_off, g);
}

TEST(stop_asks_the_agent_first)
{
	int code;
	begin(0, true, 60);
	paper.start = stop_by_agent;
	CHECK(!run(&code) && code == 6 && !paper.asked && !paper.forced && !paper.stopped);
	(void)close(agents_end);
	begin(0, false, 1);
	paper.start = stop_by_agent;
	CHECK(!run(&code) && code == 137 && paper.forced == 1 && !paper.stopped);
	(void)close(agents_end);
}

TEST(stop_cuts_the_power_when_time_is_up)
{
	int code;
	begin(1, false, 1);
	CHECK(!run(&code) && code == 137 && paper.asked == 1 && paper.forced == 1);
	begin(1, true, 0);
	CHECK(!run(&code) && code == 137 && paper.asked == 0 && paper.forced == 1);
}

TEST(stop_cuts_the_power_of_who_cannot_be_asked)
{
	int code;
	begin(0, false, 60);
	CHECK(!run(&code) && code == 137 && paper.forced == 1);
	CHECK(paper.stopped == -EOPNOTSUPP && !strcmp(paper.why.msg, "it has no ears"));
}

static void pause_and_stop(struct guest *g)
{
	CHECK(!guest_pause(g, NULL) && paper.pauses == 1 &&
	      life_state(g->life)->life == LIFE_PAUSED);
	stop_now(g); /* who is to react must be able to */
	CHECK(paper.pauses == 0 && life_state(g->life)->life == LIFE_RUNNING);
}

TEST(stop_resumes_who_is_paused)
{
	int code;
	begin(1, true, 60);
	paper.start = pause_and_stop;
	CHECK(!run(&code) && code == 5);
}

static int hold_open(struct guest *g, int *other)
{
	int ends[2];
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	*other = ends[0];
	int r = hold_add(g, ends[1], NULL);
	if (r) (void)close(ends[1]);
	return r;
}

/* Bounded; it stands once, however many hold it; and who goes on has told all of them. */
static void hold_it(struct guest *g)
{
	int fd[17];
	char byte;
	for (unsigned i = 0; i < 17; i++) CHECK(hold_open(g, &fd[i]) == (i < 16 ? 0 : -EMFILE));
	CHECK(paper.pauses == 1 && life_state(g->life)->life == LIFE_PAUSED);
	CHECK(recv(fd[3], &byte, 1, MSG_DONTWAIT) < 0);
	CHECK(!guest_resume(g, NULL) && paper.pauses == 0 && !g->holds);
	for (unsigned i = 0; i < 17; i++) {
		CHECK(recv(fd[i], &byte, 1, MSG_DONTWAIT) == 0);
		(void)close(fd[i]);
	}
	stop_now(g);
}

TEST(attack_life_is_held_by_many)
{
	int code;
	begin(1, true, 60);
	paper.start = hold_it;
	CHECK(!run(&code) && code == 5);
}

static void look_at_it(struct guest *g)
{
	struct guest_state s;
	state_read(&s, folder);
	CHECK(s.life == LIFE_RUNNING && s.pid == getpid() && s.started);
	CHECK(!guest_pause(g, NULL));
	state_read(&s, folder);
	CHECK(s.life == LIFE_PAUSED);
	CHECK(!life_wait(g->life, paper.waiter, NULL));
	if (paper.seconds)
		guest_break(g, &(struct err){-EIO, "it \"broke\""});
	else
		guest_exit(g, 9);
}
static bool waiter_hears(const char *what)
{
	int code, ends[2];
	char said[64] = "";
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	paper.waiter = ends[1];
	(void)run(&code);
	bool good = recv(ends[0], said, sizeof(said) - 1, 0) > 0 && !strcmp(said, what) &&
		    recv(ends[0], said, 1, 0) == 0;
	(void)close(ends[0]);
	return good;
}

TEST(life_is_written_down_and_told)
{
	char path[] = "/tmp/life_test.XXXXXX";
	struct guest_state s;
	CHECK(mkdtemp(path));
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	begin(0, false, 0);
	paper.start = look_at_it;
	CHECK(waiter_hears("{\"exit_code\":9}\n"));
	state_read(&s, folder);
	CHECK(s.life == LIFE_EXITED && s.code == 9 && s.finished >= s.started);
	begin(0, false, 1);
	paper.start = look_at_it;
	CHECK(waiter_hears("{\"error\":\"it \\\"broke\\\"\"}\n"));
	state_read(&s, folder);
	CHECK(s.life == LIFE_BROKEN && !strcmp(s.why, "it \"broke\""));
	CHECK(!unlinkat(folder, "state.json", 0) && !unlinkat(folder, "console.log", 0));
	CHECK(!close(folder) && !rmdir(path));
	folder = -1;
}

/* As on a full disk: a guest that would run and be in nobody's list does not run. */
TEST(attack_life_that_cannot_be_written_down)
{
	char path[] = "/tmp/life_test.XXXXXX";
	int code;
	CHECK(mkdtemp(path));
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(!mkdirat(folder, "state.json", 0700));
	begin(1, true, 0);
	log_level_set(LOG_ERROR);
	CHECK(run(&code) < 0 && code == -1 && !paper.asked);
	log_level_set(LOG_WARN);
	CHECK(!unlinkat(folder, "state.json", AT_REMOVEDIR));
	(void)unlinkat(folder, "console.log", 0);
	CHECK(!close(folder) && !rmdir(path));
	folder = -1;
}
