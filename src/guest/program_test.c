/* The monitor as the client of its guest's agent: what it asks for, what it believes. */
#include "base/buf.h"
#include "base/loop.h"
#include "base/loop_rig_test.h"
#include "base/own.h"
#include "base/test.h"
#include "base/types.h"
#include "guest/agent.h"
#include "guest/exec.h"
#include "guest/guest.h"
#include "guest/program.h"
#include "guest/stream.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *args[] = {"sh", "-c", NULL}, *env[] = {"A=b", NULL};
static struct spec spec;
static struct guest g;
static struct chr console;
static char out[65536], err[256];
static size_t nout, nerr, room;
static int agent = -1; /* its end of the connection */
static int refusals;   /* how often nobody listens */
static unsigned fed;

static size_t take(char *to, size_t *have, size_t most, const uint8_t *p, size_t n)
{
	if (n > most - *have) n = most - *have;
	memcpy(to + *have, p, n);
	*have += n;
	return n;
}
static size_t output(void *host, const uint8_t *p, size_t n)
{
	(void)host;
	return take(out, &nout, room, p, n);
}
static size_t errors(void *host, const uint8_t *p, size_t n)
{
	(void)host;
	return take(err, &nerr, sizeof(err), p, n);
}
static void hungry(void *host)
{
	(void)host;
	fed++;
}

static int connect_to(struct guest *guest, uint32_t port, int fd, struct err *e)
{
	CHECK(guest == &g && port == AGENT_EXEC_PORT);
	if (refusals-- > 0) return fail(e, -EAGAIN, "too early");
	agent = fd;
	return 0;
}
static const struct kind kind = {.name = "fake", .connect = connect_to};

static void turns(void)
{
	for (int i = 0; i < 20; i++) loop_rig_turn(g.loop, 3);
}

static void start(void)
{
	spec = (struct spec){.program = {.args = {args, 2},
					 .env = {env, 1},
					 .user = "joe",
					 .dir = "/w",
					 .stop = SIGUSR1},
			     .zone.input = true};
	g = (struct guest){.spec = &spec, .kind = &kind};
	console = (struct chr){.output = output, .errors = errors, .hungry = hungry};
	nout = nerr = 0;
	room = sizeof(out);
	fed = 0;
	must(!loop_new(&g.loop, NULL));
	g.program = program_new(&g, &console);
	must(!program_wait(g.program, NULL));
}
static void stop(void)
{
	program_free(g.program);
	loop_free(g.loop);
	if (agent >= 0) (void)close(agent);
	agent = -1;
	CHECK(!console.dev && !console.input);
}

static void say(char type, const void *p, size_t n)
{
	auto_buf struct buf b = {0};
	frame_add(&b, type, p, n);
	CHECK(send(agent, b.at, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)b.len);
	turns();
}

/* The next frame to the agent is this one. */
static bool hears(char type, const char *body, size_t n)
{
	uint8_t head[STREAM_HEAD], rest[256];
	if (recv(agent, head, sizeof(head), MSG_DONTWAIT) != sizeof(head)) return false;
	size_t len = (size_t)load_le(head + 1, 4);
	if (len > sizeof(rest) || (len && recv(agent, rest, len, MSG_DONTWAIT) != (ssize_t)len))
		return false;
	return head[0] == type && len == n && (!n || !memcmp(rest, body, n));
}
static bool is_told(const char *text) { return hears(EXEC_SET, text, strlen(text)); }

static void run(void)
{
	program_agent(g.program);
	for (int i = 0; i < 2000 && agent < 0; i++, turns()) (void)usleep(5000);
	must(agent >= 0);
	say(EXEC_HELLO, "2", 1);
	CHECK(is_told("ujoe") && is_told("d/w") && is_told("eA=b") && is_told("ash") &&
	      is_told("a-c") && hears(EXEC_GO, "", 0));
	CHECK(program_runs(g.program));
}

TEST(program_is_run_by_the_agent_and_ends_the_guest)
{
	uint8_t code[4] = {7};
	start();
	CHECK(!program_runs(g.program) && program_stop(g.program, NULL) == -EAGAIN);
	CHECK(console.input(console.dev, (const uint8_t *)"x", 1) == 0);
	refusals = 3;
	run();
	CHECK(fed);
	CHECK(console.input(console.dev, (const uint8_t *)"key", 3) == 3);
	CHECK(hears(STREAM_INPUT, "key", 3));
	CHECK(!program_stop(g.program, NULL) && hears(EXEC_SIGNAL, "\x0a", 1));
	console.input_end(console.dev);
	CHECK(hears(EXEC_INPUT_END, "", 0));
	say(STREAM_OUTPUT, "out", 3);
	say(EXEC_ERRORS, "err", 3);
	CHECK(nout == 3 && !memcmp(out, "out", 3) && nerr == 3 && !memcmp(err, "err", 3));
	say(STREAM_END, code, 4);
	CHECK(g.exit_code == 7 && g.ended && !g.broke.code);
	stop();
}

/* What the console has no room for is not read; no key goes beyond the agent's window. */
TEST(program_is_held_up_by_whoever_reads_it)
{
	static uint8_t keys[2 * EXEC_WINDOW];
	uint8_t taken[4];
	size_t sent = 0, n;
	start();
	run();
	room = 2;
	say(STREAM_OUTPUT, "abcd", 4);
	CHECK(nout == 2);
	room = 0; /* of nothing at all, too */
	nout = 0;
	say(STREAM_OUTPUT, "ef", 2);
	console.drained(console.dev);
	turns();
	CHECK(!nout && !g.ended);
	room = 10;
	console.drained(console.dev);
	turns();
	CHECK(nout == 4 && !memcmp(out, "cdef", 4));
	for (int i = 0; i < 1000 && sent < sizeof(keys); i++, sent += n) {
		static uint8_t away[65536];
		n = console.input(console.dev, keys, sizeof(keys) - sent);
		while (recv(agent, away, sizeof(away), MSG_DONTWAIT) > 0) turns();
	}
	CHECK(sent == EXEC_WINDOW);
	store_le(taken, 100, 4);
	say(EXEC_TAKEN, taken, 4);
	CHECK(console.input(console.dev, keys, sizeof(keys)) == 100);
	store_le(taken, EXEC_WINDOW + 1, 4); /* more than was sent */
	say(EXEC_TAKEN, taken, 4);
	CHECK(console.input(console.dev, keys, sizeof(keys)) == 0);
	stop();
}

TEST(program_of_an_older_guest_is_not_run)
{
	start();
	program_agent(g.program);
	turns();
	say(EXEC_HELLO, "1", 1);
	CHECK(g.ended && g.broke.code && strstr(g.broke.msg, "older") && !program_runs(NULL));
	stop();
}

TEST(program_that_is_lost_breaks_the_guest)
{
	start();
	run();
	(void)close(agent);
	agent = -1;
	turns();
	CHECK(g.ended && strstr(g.broke.msg, "before its program ended"));
	stop();
	start();
	run();
	static const uint8_t nonsense[] = {'o', 255, 255, 255, 255, 0};
	CHECK(send(agent, nonsense, sizeof(nonsense), 0) == sizeof(nonsense));
	turns();
	CHECK(g.ended && strstr(g.broke.msg, "not understood"));
	stop();
}

TEST(program_that_never_came_is_told_with_the_last_words)
{
	struct chr *boot;
	start();
	boot = program_boot(g.program);
	for (int i = 0; i < 1000; i++)
		(void)chr_output(boot, (const uint8_t *)"noise\x1b[2J\n", 10);
	(void)chr_output(boot, (const uint8_t *)"lodge: /dev: no", 15);
	guest_exit(&g, 0);
	CHECK(g.ended && g.broke.code && strstr(g.broke.msg, "/dev: no"));
	CHECK(!strchr(g.broke.msg, 27));
	stop();
}
