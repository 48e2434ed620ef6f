/* The monitor's end of the guest's agent: who may be it, and what it is told. */
#include "base/loop.h"
#include "base/loop_rig_test.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/agent.h"
#include "guest/guest.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct spec spec;
static struct guest g;

static void turn(void) { loop_rig_turn(g.loop, 3); }
static void start(const char *name)
{
	spec = (struct spec){.name = name};
	g = (struct guest){.spec = &spec};
	must(!loop_new(&g.loop, NULL));
	g.agent = agent_new(&g);
}
static void stop(void)
{
	agent_free(g.agent);
	loop_free(g.loop);
}
/* The next command: its name, and an argument as text. */
static bool told(int fd, const char *command, const char *argument, const char *value)
{
	char line[512];
	size_t n = 0;
	while (n < sizeof(line) - 1 && recv(fd, line + n, 1, MSG_DONTWAIT) == 1)
		if (line[n++] == '\n') break;
	line[n] = 0;
	struct json_object *o = json_tokener_parse(line), *v, *a;
	bool is = json_object_object_get_ex(o, "execute", &v) &&
		  !strcmp(json_object_get_string(v), command) &&
		  json_object_object_get_ex(o, "arguments", &a) &&
		  json_object_object_get_ex(a, argument, &v) &&
		  (!value || !strcmp(json_object_get_string(v), value));
	(void)json_object_put(o);
	return is;
}

TEST(agent_is_told_who_and_when_it_is)
{
	start("web");
	CHECK(!agent_here(g.agent) && !agent_shutdown(g.agent));
	auto_fd int fd = guest_dialed(&g, 1023, AGENT_PORT);
	CHECK(fd >= 0 && agent_here(g.agent));
	CHECK(told(fd, "guest-set-time", "time", NULL) &&
	      told(fd, "lodge-set-name", "name", "web"));
	CHECK(agent_shutdown(g.agent) && told(fd, "guest-shutdown", "mode", "powerdown"));
	agent_time(g.agent);
	CHECK(told(fd, "guest-set-time", "time", NULL));
	stop();
}

TEST(agent_is_told_its_identity)
{
	start("web");
	spec.id = "0123456789ab";
	g.nmacs = 2;
	g.mac[1][5] = 0xfe;
	auto_fd int fd = guest_dialed(&g, 1023, AGENT_PORT);
	CHECK(told(fd, "guest-set-time", "time", NULL));
	CHECK(told(fd, "lodge-set-identity", "macs",
		   "[ \"00:00:00:00:00:00\", \"00:00:00:00:00:fe\" ]"));
	CHECK(told(fd, "lodge-set-name", "name", "web"));
	stop();
}

TEST(agent_must_be_the_guests_root)
{
	start(NULL);
	CHECK(guest_dialed(&g, 1024, AGENT_PORT) == -EACCES && !agent_here(g.agent));
	stop();
}

TEST(agent_is_the_last_that_came)
{
	char c;
	start(NULL);
	auto_fd int first = guest_dialed(&g, 1, AGENT_PORT);
	auto_fd int second = guest_dialed(&g, 2, AGENT_PORT);
	CHECK(told(first, "guest-set-time", "time", NULL) && recv(first, &c, 1, 0) == 0);
	CHECK(told(second, "guest-set-time", "time", NULL) && agent_here(g.agent));
	(void)close(give_fd(&second));
	turn();
	CHECK(!agent_here(g.agent));
	stop();
}

TEST(agent_may_say_anything)
{
	static char line[3 * AGENT_LINE];
	start(NULL);
	auto_fd int fd = guest_dialed(&g, 1, AGENT_PORT);
	memset(line, '[', sizeof(line));
	CHECK(send(fd, line, sizeof(line), MSG_DONTWAIT) == sizeof(line));
	turn();
	turn();
	CHECK(send(fd, "\n{\"error\": {\"desc\": 5}}\n\n\0{}\n", 29, MSG_DONTWAIT) == 29);
	turn();
	CHECK(agent_here(g.agent));
	/* one that does not read is not waited for */
	for (int i = 0; i < 100000; i++) agent_time(g.agent);
	CHECK(agent_here(g.agent) && !agent_shutdown(g.agent));
	stop();
}

TEST(guest_dials_sockets_in_its_folder)
{
	char top[] = "/tmp/lodge-dial.XXXXXX", path[64];
	must(mkdtemp(top));
	start(NULL);
	CHECK(guest_dialed(&g, 5000, 52) < 0);
	struct guest_home home = {.folder = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	g.home = &home;
	CHECK(guest_dialed(&g, 5000, 52) == -ENOENT);
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/vsock_52", top);
	auto_fd int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(!bind(listener, (struct sockaddr *)&at, sizeof(at)) && !listen(listener, 1));
	auto_fd int fd = guest_dialed(&g, 5000, 52);
	CHECK(fd >= 0);
	(void)snprintf(path, sizeof(path), "%s/vsock_52", top);
	(void)unlink(path);
	(void)rmdir(top);
	(void)close(home.folder);
	stop();
}

static ssize_t got(int fd, char *to, size_t n)
{
	ssize_t r = recv(fd, to, n - 1, MSG_DONTWAIT);
	to[r > 0 ? r : 0] = 0;
	return r;
}

/* A client's lines come whole, whatever is said meanwhile, and it hears what the agent says. */
TEST(agent_carries_lines_of_a_client)
{
	char text[512];
	int ends[2], more[2];
	start(NULL);
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, more));
	CHECK(agent_carry(g.agent, ends[1], NULL) == -ENOENT);
	auto_fd int fd = agent_opened(g.agent);
	CHECK(fd >= 0 && got(fd, text, sizeof(text)) < 0); /* it is told nothing by itself */
	CHECK(!agent_carry(g.agent, ends[1], NULL));
	CHECK(agent_carry(g.agent, more[1], NULL) == -EBUSY);
	CHECK(send(ends[0], "{\"half\"", 7, 0) == 7);
	turn();
	CHECK(agent_shutdown(g.agent) && told(fd, "guest-shutdown", "mode", NULL));
	CHECK(send(ends[0], ":1}\n{\"h", 7, 0) == 7);
	turn();
	CHECK(got(fd, text, sizeof(text)) == 11 && !strcmp(text, "{\"half\":1}\n"));
	CHECK(send(fd, "{\"return\":5}\n", 13, 0) == 13);
	turn();
	CHECK(got(ends[0], text, sizeof(text)) == 13 && !strcmp(text, "{\"return\":5}\n"));
	(void)close(ends[0]);
	turn();
	CHECK(agent_here(g.agent) && !agent_carry(g.agent, more[1], NULL));
	(void)close(give_fd(&fd));
	turn();
	CHECK(!agent_here(g.agent) && got(more[0], text, sizeof(text)) == 0);
	(void)close(more[0]);
	stop();
}

/* Neither is waited for, and nothing of either piles up here. */
TEST(agent_carries_no_more_than_is_taken)
{
	static char line[65536];
	size_t in = 0, out = 0;
	int ends[2];
	start(NULL);
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	auto_fd int fd = agent_opened(g.agent);
	CHECK(!agent_carry(g.agent, ends[1], NULL));
	for (int i = 0; i < 2000; i++, turn()) {
		ssize_t n = send(fd, line, sizeof(line), MSG_DONTWAIT);
		if (n > 0) in += (size_t)n;
	}
	CHECK(in < 4000000);
	for (ssize_t n; (n = got(ends[0], line, sizeof(line))) > 0; turn()) out += (size_t)n;
	CHECK(in == out && agent_here(g.agent));
	(void)close(ends[0]);
	stop();
}
