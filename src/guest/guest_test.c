#include "base/loop.h"
#include "base/test.h"
#include "guest/guest.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

/* A kind whose guests do what the test wants, on paper. */
static struct {
	int frees, stops, forced;
	int build;
	void (*start)(struct guest *g);
	bool can_stop;
} paper;

static int paper_build(struct guest *g, struct err *e)
{
	(void)g;
	return paper.build ? fail(e, paper.build, "no such thing") : 0;
}
static int paper_start(struct guest *g, struct err *e)
{
	(void)e;
	paper.start(g);
	return 0;
}
static int paper_stop(struct guest *g, bool force, struct err *e)
{
	paper.stops++;
	paper.forced += force;
	if (!paper.can_stop) return fail(e, -EOPNOTSUPP, "cannot");
	if (!force) (void)raise(SIGTERM); /* the impatient owner asks again */
	(void)g;
	return 0;
}
static void paper_free(struct guest *g)
{
	(void)g;
	paper.frees++;
}
static const struct kind kind = {.name = "paper",
				 .build = paper_build,
				 .start = paper_start,
				 .stop = paper_stop,
				 .free = paper_free};

static struct guest_end end;
static int run(int *code, struct err *e)
{
	struct loop *l = NULL;
	struct spec s = {.name = "p"};
	sigset_t before;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &before);
	paper.frees = paper.stops = paper.forced = 0;
	*e = (struct err){0};
	*code = -1;
	end = (struct guest_end){.code = -1};
	CHECK(loop_new(&l, e) == 0);
	int r = guest_run(&kind, &s, l, NULL, &end, e);
	*code = end.code;
	loop_free(l);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	CHECK(paper.frees == 1);
	return r;
}

static void end_twice(struct guest *g)
{
	struct err late = {-EIO, "too late"};
	guest_exit(g, 7);
	guest_exit(g, 8);
	guest_break(g, &late);
}
static void break_first(struct guest *g)
{
	struct err why = {-EIO, "it broke"};
	guest_break(g, &why);
	guest_exit(g, 0);
}
static void *from_thread(void *g)
{
	guest_exit(g, 9);
	return NULL;
}
static void end_on_thread(struct guest *g)
{
	pthread_t t;
	CHECK(!pthread_create(&t, NULL, from_thread, g) && !pthread_join(t, NULL));
}
static void stop_loop(struct guest *g) { loop_stop(g->loop, 3); }
static void raise_term(struct guest *g)
{
	(void)g;
	(void)raise(SIGTERM);
}

TEST(guest_first_end_wins)
{
	struct err e;
	int code;
	paper.build = 0;
	paper.start = end_twice;
	CHECK(run(&code, &e) == 0 && code == 7);
	paper.start = break_first;
	CHECK(run(&code, &e) == -EIO && code == -1 && !strcmp(e.msg, "it broke"));
	CHECK(end.ran);
	paper.start = end_on_thread;
	CHECK(run(&code, &e) == 0 && code == 9);
	paper.start = stop_loop;
	CHECK(run(&code, &e) == 0 && code == 3);
}

TEST(guest_that_cannot_be_built_is_freed)
{
	struct err e;
	int code;
	paper.build = -ENOENT;
	CHECK(run(&code, &e) == -ENOENT && !strcmp(e.msg, "no such thing") && code == -1);
	CHECK(!end.ran);
	paper.build = 0;
}

TEST(guest_signals_ask_then_stop)
{
	struct err e;
	int code;
	paper.build = 0;
	paper.start = raise_term;
	paper.can_stop = false;
	CHECK(run(&code, &e) == 0 && code == 128 + SIGTERM && paper.stops == 1);
	paper.can_stop = true;
	CHECK(run(&code, &e) == 0 && code == 128 + SIGTERM);
	CHECK(paper.stops == 2 && paper.forced == 1);
}

/* What a kernel that took its loader over would find. */
static int load_hostile(struct guest *g, struct err *e)
{
	(void)g;
	bool got = open("/etc/passwd", O_RDONLY) >= 0 || open("/proc/self/mem", O_RDWR) >= 0;
	return got ? fail(e, -EEXIST, "it can open files") : fail(e, -ENOEXEC, "no kernel");
}

static int run_confined(void)
{
	static const struct kind k = {.name = "paper",
				      .build = paper_build,
				      .load = load_hostile,
				      .start = paper_start,
				      .free = paper_free};
	struct spec s = {.name = "p", .confined = true};
	struct guest_end got = {0};
	struct loop *l = NULL;
	struct err e;
	if (guest_confine(&k, &s, NULL, &e) || loop_new(&l, &e)) return 100;
	return guest_run(&k, &s, l, NULL, &got, &e) == -ENOEXEC && !got.ran ? 0 : 1;
}

TEST(guest_loads_what_it_begins_with_once_it_is_confined)
{
	int status = 0;
	if (!guest_is_to_be_confined()) return;
	pid_t pid = fork();
	if (!pid) _exit(run_confined());
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	CHECK(WEXITSTATUS(status) == 0);
}
