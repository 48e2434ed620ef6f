#include "base/loop.h"
#include "base/own.h"
#include "base/test.h"
#include "cli/term.h"
#include "cli/watchdog.h"
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>

/* A guest that repeats what it gets, takes at most room bytes at a time, and ends at '.'. */
struct echo {
	struct loop *loop;
	struct chr chr;
	struct term *term;
	size_t room, taken;
	int left;
};

static size_t echo_input(void *dev, const uint8_t *p, size_t n)
{
	struct echo *g = dev;
	n = n < g->room ? n : g->room;
	g->room -= n;
	g->taken += n;
	for (size_t i = 0; i < n; i++)
		if (p[i] == '.') loop_stop(g->loop, 0);
	return g->chr.output(g->chr.host, p, n);
}

static void echo_leave(void *ctx, int code)
{
	struct echo *g = ctx;
	g->left = code;
	loop_stop(g->loop, 1);
}

static void echo_open(struct echo *g, size_t room)
{
	*g = (struct echo){.room = room, .left = -1};
	must(!loop_new(&g->loop, NULL));
	must(!term_open(&g->term, g->loop, &g->chr, true, echo_leave, g, NULL));
	g->chr.dev = g;
	g->chr.input = echo_input;
}

static void echo_close(struct echo *g)
{
	term_close(g->term);
	loop_free(g->loop);
}

/* Standard input and output are replaced while fn runs. */
struct stage {
	int in, out, saved_in, saved_out;
};
static struct stage stage_set(int in, int out)
{
	struct stage s = {in, out, dup(0), dup(1)};
	must(dup2(in, 0) == 0 && dup2(out, 1) == 1);
	return s;
}
static void stage_strike(struct stage *s)
{
	must(dup2(s->saved_in, 0) == 0 && dup2(s->saved_out, 1) == 1);
	must(!close(s->saved_in) && !close(s->saved_out));
}

static void make_hungry(void *ctx)
{
	struct echo *g = ctx;
	g->room = 1000;
	g->chr.hungry(g->chr.host);
}

TEST(term_gives_input_as_the_guest_takes_it)
{
	struct echo g;
	int in[2], out[2];
	char seen[64] = "";
	must(!pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC));
	must(write(in[1], "hello.", 6) == 6 && !close(in[1]));
	struct stage s = stage_set(in[0], out[1]);
	echo_open(&g, 2);
	loop_post(g.loop, make_hungry, &g);
	CHECK(loop_run(g.loop) == 0 && g.taken == 6 && g.left == -1);
	echo_close(&g);
	stage_strike(&s);
	CHECK(read(out[0], seen, sizeof(seen)) == 6 && !strcmp(seen, "hello."));
	(void)close(in[0]);
	(void)close(out[0]);
	(void)close(out[1]);
}

static void later_stop(void *ctx) { loop_stop(((struct echo *)ctx)->loop, 5); }

/* End of input does not end the guest. */
TEST(term_survives_the_end_of_input)
{
	struct echo g;
	struct timer *t;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct stage s = stage_set(null, null);
	echo_open(&g, 100);
	must(!loop_timer(g.loop, &t, later_stop, &g, NULL));
	timer_arm(t, now_ns() + 2000000);
	CHECK(loop_run(g.loop) == 5 && g.left == -1);
	echo_close(&g);
	stage_strike(&s);
	(void)close(null);
}

/* A reader that does not read fills ring and pipe; then output is refused, and bounded. */
TEST(term_bounds_output_and_loses_none)
{
	static uint8_t block[4096];
	struct echo g;
	int out[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t took = 0, n;
	must(!pipe2(out, O_CLOEXEC));
	struct stage s = stage_set(null, out[1]);
	echo_open(&g, 0);
	for (int idle = 0; idle < 1000; idle = n ? 0 : idle + 1) {
		took += n = g.chr.output(g.chr.host, block, sizeof(block));
		if (!n) (void)usleep(100);
		if (took > 10000000) break;
	}
	CHECK(took >= 128 * 1024 && took < 1000000);
	pid_t reader = fork();
	if (reader == 0) {
		size_t all = 0;
		ssize_t r;
		(void)close(out[1]);
		(void)close(1);
		while ((r = read(out[0], block, sizeof(block))) > 0) all += (size_t)r;
		_exit(all == took ? 0 : 1);
	}
	(void)close(out[1]);
	echo_close(&g);
	stage_strike(&s);
	int st = -1;
	CHECK(waitpid(reader, &st, 0) == reader && st == 0);
	(void)close(out[0]);
	(void)close(null);
}

TEST(term_leaves_when_nobody_reads_any_more)
{
	struct echo g;
	int out[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	must(!pipe2(out, O_CLOEXEC) && !close(out[0]));
	struct stage s = stage_set(null, out[1]);
	echo_open(&g, 0);
	CHECK(g.chr.output(g.chr.host, (const uint8_t *)"x", 1) == 1);
	CHECK(loop_run(g.loop) == 1 && g.left == 125);
	CHECK(g.chr.output(g.chr.host, (const uint8_t *)"yy", 2) == 2);
	echo_close(&g);
	stage_strike(&s);
	(void)close(out[1]);
	(void)close(null);
}

static bool is_raw(int tty)
{
	struct termios t;
	must(!tcgetattr(tty, &t));
	return !(t.c_lflag & (ICANON | ECHO));
}

static void wait_for(int tty, bool raw)
{
	for (int i = 0; i < 20000 && is_raw(tty) != raw; i++) (void)usleep(500);
}

static void quiet_stderr(void) { (void)dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2); }

/* A child at a terminal of its own; the other end is *keys. */
static pid_t child_at_tty(int *keys, int *tty)
{
	must(!openpty(keys, tty, NULL, NULL, NULL));
	pid_t pid = fork();
	if (pid) return pid;
	struct echo g;
	quiet_stderr();
	(void)close(*keys);
	(void)stage_set(*tty, *tty);
	echo_open(&g, 100);
	int r = loop_run(g.loop);
	echo_close(&g);
	_exit(r == 1 && g.left == 0 && g.taken == 2 ? 0 : 1);
}

TEST(term_escape_leaves_and_restores)
{
	int keys, tty, st = -1;
	pid_t pid = child_at_tty(&keys, &tty);
	wait_for(tty, true);
	CHECK(is_raw(tty));
	CHECK(write(keys,
		    "ab\x1d"
		    "cd",
		    5) == 5);
	CHECK(waitpid(pid, &st, 0) == pid && st == 0);
	CHECK(!is_raw(tty));
	(void)close(keys);
	(void)close(tty);
}

TEST(term_killed_by_9_restores)
{
	int keys, tty, st;
	pid_t pid = child_at_tty(&keys, &tty);
	wait_for(tty, true);
	CHECK(is_raw(tty));
	CHECK(!kill(pid, SIGKILL) && waitpid(pid, &st, 0) == pid);
	wait_for(tty, false);
	CHECK(!is_raw(tty));
	(void)close(keys);
	(void)close(tty);
}

/* When a shell has already set the terminal as it likes, it stays so. */
TEST(watchdog_touches_only_what_is_still_raw)
{
	int keys, tty;
	struct termios before, raw, now;
	struct watchdog w;
	must(!openpty(&keys, &tty, NULL, NULL, NULL) && !tcgetattr(tty, &before));
	raw = now = before;
	cfmakeraw(&raw);
	now.c_lflag &= ~(tcflag_t)ECHO;
	must(!watchdog_start(&w, tty, &before, &raw, "", NULL));
	must(!tcsetattr(tty, TCSANOW, &now));
	drop_fd(&w.fd);
	CHECK(waitpid(w.child, NULL, 0) == w.child);
	must(!tcgetattr(tty, &now));
	CHECK(!(now.c_lflag & ECHO) && now.c_lflag & ICANON);
	must(!watchdog_start(&w, tty, &before, &raw, "", NULL));
	must(!tcsetattr(tty, TCSANOW, &raw));
	drop_fd(&w.fd);
	CHECK(waitpid(w.child, NULL, 0) == w.child && !is_raw(tty));
	(void)close(keys);
	(void)close(tty);
}

TEST(term_keys_are_words)
{
	uint8_t k[TERM_KEYS];
	size_t n;
	struct err e;
	CHECK(!term_keys("ctrl-p,ctrl-q", k, sizeof(k), &n, &e) && n == 2 && k[0] == 16 &&
	      k[1] == 17);
	CHECK(!term_keys("ctrl-]", k, sizeof(k), &n, &e) && n == 1 && k[0] == 0x1d);
	CHECK(!term_keys("~,.", k, sizeof(k), &n, &e) && n == 2 && k[0] == '~' && k[1] == '.');
	CHECK(!term_keys("ctrl-@", k, sizeof(k), &n, &e) && k[0] == 0);
	static const char *const bad[] = {"",	     ",",    "ctrl-", "ctrl-pp",
					  "ctrl-1",  "ab",   "a,",    " ",
					  "ctrl-p ", "a,,b", "\x80",  "a,b,c,d,e,f,g,h,i"};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(term_keys(bad[i], k, sizeof(k), &n, &e) == -EINVAL);
}
