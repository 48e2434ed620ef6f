/* A guest's agent that says anything: to the monitor, which only listens for the log, and, as one
 * that runs programs, to lodge exec. Input: which of the two, then what it says, in pieces. */
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "cli/foreign.h"
#include "cli/session.h"
#include "guest/agent.h"
#include "guest/guest.h"
#include "guest/program.h"
#include <fcntl.h>
#include <json-c/json.h>
#include <stdint.h>
#include <sys/socket.h>

static void stop_loop(void *ctx) { loop_stop(ctx, 0); }

static void to_monitor(const uint8_t *p, size_t n)
{
	static const struct spec spec = {.name = "fuzz"};
	struct guest g = {.spec = &spec};
	must(!loop_new(&g.loop, NULL));
	g.agent = agent_new(&g);
	auto_fd int fd = guest_dialed(&g, 1, AGENT_PORT);
	must(fd >= 0 && agent_here(g.agent));
	for (size_t at = 0; at < n;) {
		size_t some = (size_t)p[at] * 32 + 1;
		if (some > n - at) some = n - at;
		(void)send(fd, p + at, some, MSG_NOSIGNAL | MSG_DONTWAIT);
		at += some;
		if (p[at - 1] & 1) (void)agent_shutdown(g.agent);
		if (p[at - 1] & 2) agent_time(g.agent);
		loop_post(g.loop, stop_loop, g.loop);
		(void)loop_run(g.loop);
	}
	agent_free(g.agent);
	loop_free(g.loop);
}

static void to_exec(const uint8_t *p, size_t n, bool reads)
{
	static const char *const argv[] = {"true", NULL};
	int ends[2];
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	auto_fd int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct session s = {
		.guest = "fuzz", .argv = argv, .in = reads ? zero : -1, .out = null, .err = null};
	(void)send(ends[1], p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(ends[1], SHUT_WR);
	int code = session_talk(&s, ends[0], NULL);
	must(code < 256);
	(void)close(ends[1]);
}

/* At its port, with a client in between: of both, pieces in turn. */
static void to_client(const uint8_t *p, size_t n)
{
	static const struct spec spec = {.name = "fuzz"};
	static char some[4096];
	struct guest g = {.spec = &spec};
	int ends[2];
	must(!loop_new(&g.loop, NULL));
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	g.port_agent = agent_new(&g);
	auto_fd int fd = guest_port_opened(&g);
	must(fd >= 0 && !agent_carry(g.port_agent, ends[1], NULL));
	for (size_t at = 0; at < n;) {
		size_t len = (size_t)p[at] * 32 + 1;
		int to = p[at] & 1 ? fd : ends[0], from = p[at] & 2 ? fd : ends[0];
		if (len > n - at) len = n - at;
		(void)send(to, p + at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (p[at] & 4) (void)recv(from, some, sizeof(some), MSG_DONTWAIT);
		if (p[at] & 8) (void)agent_shutdown(g.port_agent);
		at += len;
		loop_post(g.loop, stop_loop, g.loop);
		(void)loop_run(g.loop);
	}
	agent_free(g.port_agent);
	loop_free(g.loop);
	(void)close(ends[0]);
}

static void to_foreign(const uint8_t *p, size_t n)
{
	struct json_object *o = NULL;
	auto_buf struct buf b = {0};
	auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct session s = {.guest = "fuzz", .in = -1, .out = null, .err = null};
	(void)foreign_answer((const char *)p, n, "x", &o, NULL);
	(void)json_object_put(o);
	buf_fmt(&b, "{\"id\": \"x\", \"return\": ");
	buf_add(&b, p, n);
	buf_fmt(&b, "}");
	if (foreign_answer(b.at, b.len, "x", &o, NULL) && o)
		must(foreign_outcome(&s, o, NULL) < 256);
	(void)json_object_put(o);
}

/* As one that runs what the guest is there for. */
static int its_end = -1;
static int connect_to(struct guest *g, uint32_t port, int fd, struct err *e)
{
	(void)g, (void)port, (void)e;
	if (its_end >= 0) (void)close(its_end);
	its_end = fd;
	return 0;
}
static size_t some_output(void *host, const uint8_t *p, size_t n)
{
	(void)host, (void)p;
	return n / 2;
}

static void to_program(const uint8_t *p, size_t n)
{
	static const char *args[] = {"true", NULL};
	static const struct kind kind = {.name = "fuzz", .connect = connect_to};
	static const struct spec spec = {.program = {.args = {args, 1}, .user = "0", .dir = "/"},
					 .zone.input = true};
	struct guest g = {.spec = &spec, .kind = &kind};
	struct chr console = {.output = some_output};
	must(!loop_new(&g.loop, NULL));
	g.program = program_new(&g, &console);
	must(!program_wait(g.program, NULL));
	program_agent(g.program);
	for (size_t at = 0; at < n && !g.ended;) {
		size_t len = (size_t)p[at] * 32 + 1;
		if (len > n - at) len = n - at;
		loop_post(g.loop, stop_loop, g.loop);
		(void)loop_run(g.loop);
		if (its_end >= 0) (void)send(its_end, p + at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (p[at] & 1) (void)console.input(console.dev, p, n);
		if (p[at] & 2) console.drained(console.dev);
		if (p[at] & 4) (void)program_stop(g.program, NULL);
		at += len;
	}
	must(!g.ended || g.broke.code || (g.exit_code >= 0 && g.exit_code < 256));
	program_free(g.program);
	loop_free(g.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	log_level_set(LOG_ERROR);
	if (!n || n > 60000) return 0;
	if (p[0] & 16)
		to_program(p + 1, n - 1);
	else if (p[0] & 8)
		to_client(p + 1, n - 1);
	else if (p[0] & 4)
		to_foreign(p + 1, n - 1);
	else if (p[0] & 1)
		to_monitor(p + 1, n - 1);
	else
		to_exec(p + 1, n - 1, p[0] & 2);
	return 0;
}
