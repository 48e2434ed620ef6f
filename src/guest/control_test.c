#include "base/buf.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/control.h"
#include "guest/guest.h"
#include "guest/sockets.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void paper_stats(struct guest *g, struct guest_stats *to)
{
	(void)g;
	to->engine = "pencil";
	counters_add(&to->counters, "lines", 3);
	counters_add(&to->counters, "lines", 4);
}
static const struct kind paper = {.name = "paper", .stats = paper_stats};

/* A monitor on a thread of its own, in a home of its own. */
struct monitor {
	struct spec spec;
	struct guest guest;
	struct control *control;
	pthread_t thread;
};
static char home[64], *old_home;

static void home_new(void)
{
	old_home = getenv("LODGE_HOME") ? strdup(getenv("LODGE_HOME")) : NULL;
	strcpy(home, "/tmp/lodge-control.XXXXXX");
	CHECK(mkdtemp(home) && !setenv("LODGE_HOME", home, 1));
}
static void home_free(void)
{
	CHECK(!dir_remove(home, NULL));
	CHECK(!(old_home ? setenv("LODGE_HOME", old_home, 1) : unsetenv("LODGE_HOME")));
	free(old_home);
}

static void *serve(void *l) { return (void)loop_run(l), NULL; }
static int monitor_open(struct monitor *m, const char *name, struct err *e)
{
	*m = (struct monitor){.spec = {.name = name, .cpus = 2, .memory = 4096}};
	m->guest = (struct guest){.kind = &paper, .spec = &m->spec};
	(void)snprintf(m->guest.name, sizeof(m->guest.name), "%s", name ? name : "");
	CHECK(!loop_new(&m->guest.loop, NULL));
	int r = control_open(&m->control, &m->guest, e);
	if (!r) CHECK(!pthread_create(&m->thread, NULL, serve, m->guest.loop));
	return r;
}
static void monitor_close(struct monitor *m)
{
	if (m->control) {
		loop_stop(m->guest.loop, 0);
		CHECK(!pthread_join(m->thread, NULL));
	}
	control_close(m->control);
	loop_free(m->guest.loop);
}

static uint64_t field(const struct json_object *o, const char *key)
{
	struct json_object *v = NULL;
	CHECK(json_object_object_get_ex(o, key, &v));
	return v ? json_object_get_uint64(v) : 0;
}

TEST(a_monitor_tells_what_its_guest_uses)
{
	struct monitor m;
	struct err e = {0};
	auto_buf struct buf b = {0};
	home_new();
	CHECK(!monitor_open(&m, "web", &e));
	CHECK(!control_ask("web", "stats", &b, &e));
	struct json_object *o = json_tokener_parse(b.at), *v;
	CHECK(o && field(o, "memory_limit") == 4096 && field(o, "pid") == (uint64_t)getpid());
	CHECK(field(o, "memory_usage") > 4096 && field(o, "cpu_ns") > 0 && field(o, "cpus") == 2);
	CHECK(json_object_object_get_ex(o, "counters", &v) && field(v, "lines") == 7);
	CHECK(json_object_object_get_ex(o, "engine", &v) &&
	      !strcmp(json_object_get_string(v), "pencil"));
	(void)json_object_put(o);
	monitor_close(&m);
	CHECK(control_ask("web", "stats", &b, &e) == -ENOENT);
	home_free();
}

static int collect(void *ctx, const char *name)
{
	buf_fmt(ctx, "%s ", name);
	return 0;
}

TEST(names_are_given_once)
{
	struct monitor m[4];
	struct err e = {0};
	auto_buf struct buf b = {0};
	home_new();
	CHECK(!monitor_open(&m[0], "web", &e));
	CHECK(monitor_open(&m[1], "web", &e) == -EBUSY);
	CHECK(!monitor_open(&m[2], NULL, &e) && !strcmp(m[2].guest.name, "unnamed-1"));
	CHECK(!monitor_open(&m[3], NULL, &e) && !strcmp(m[3].guest.name, "unnamed-2"));
	CHECK(!control_each(collect, &b, &e) && !strcmp(b.at, "unnamed-1 unnamed-2 web "));
	for (unsigned i = 0; i < 4; i++) monitor_close(&m[i]);
	buf_done(&b);
	CHECK(!control_each(collect, &b, &e) && !b.len);
	home_free();
}

/* As kill -9 leaves it: the name is there, nobody listens. */
static void leave_stale(const char *name)
{
	int dirfd = -1, fd = -1;
	CHECK(!sockets_open(&dirfd, NULL) && !sockets_claim(dirfd, name, &fd, NULL));
	(void)close(fd);
	(void)close(dirfd);
}

TEST(what_a_killed_monitor_left_goes)
{
	struct monitor m;
	struct err e = {0};
	auto_buf struct buf b = {0};
	home_new();
	leave_stale("dead");
	CHECK(!control_each(collect, &b, &e) && !strcmp(b.at, "dead "));
	CHECK(control_ask("dead", "stats", &b, &e) == -ENOENT);
	buf_done(&b);
	CHECK(!control_each(collect, &b, &e) && !b.len);
	leave_stale("dead");
	CHECK(!monitor_open(&m, "dead", &e) && !control_ask("dead", "stats", &b, &e));
	monitor_close(&m);
	home_free();
}

static int dial(const char *name)
{
	int dirfd = -1, fd = -1, r;
	CHECK(!sockets_open(&dirfd, NULL));
	while ((r = sockets_connect(dirfd, name, &fd, NULL)) == -EAGAIN) (void)usleep(1000);
	CHECK(!r);
	(void)close(dirfd);
	return fd;
}
static void say(int fd, const void *p, size_t n) { (void)send(fd, p, n, MSG_NOSIGNAL); }

TEST(clients_that_misbehave_are_got_rid_of)
{
	enum { CROWD = 40 };
	char junk[4096];
	int fd[CROWD];
	struct monitor m;
	struct err e = {0};
	auto_buf struct buf b = {0};
	home_new();
	CHECK(!monitor_open(&m, "web", &e));
	for (unsigned i = 0; i < sizeof(junk); i++) junk[i] = (char)(i * 7 % 251);
	for (int i = 0; i < 20; i++) { /* more than there are places for, in turn */
		fd[0] = dial("web");
		say(fd[0], junk, (size_t)i * 200);
		(void)close(fd[0]);
	}
	fd[0] = dial("web"); /* it hears why */
	memset(junk, 'x', sizeof(junk));
	say(fd[0], junk, sizeof(junk));
	(void)usleep(50000);
	ssize_t n = recv(fd[0], junk, sizeof(junk) - 1, 0);
	junk[n > 0 ? n : 0] = 0;
	CHECK(strstr(junk, "too long"));
	(void)close(fd[0]);
	for (int i = 0; i < 16; i++) say(fd[i] = dial("web"), "sta", 3); /* and never go on */
	CHECK(!control_ask("web", "stats", &b, &e)); /* served when they have been hung up on */
	for (int i = 0; i < 16; i++) (void)close(fd[i]);
	buf_done(&b);
	CHECK(!control_ask("web", "stats", &b, &e));
	monitor_close(&m);
	home_free();
}

TEST(unknown_requests_are_answered_so)
{
	static const char *const lines[] = {"",	       "stat",	 "statss", "STATS",
					    "stats\r", " stats", "\0"};
	struct spec s = {.name = "p"};
	struct guest g = {.kind = &paper, .spec = &s};
	for (unsigned i = 0; i < COUNT(lines); i++) {
		auto_buf struct buf b = {0};
		control_answer(&g, lines[i], i == 6 ? 1 : strlen(lines[i]), &b);
		CHECK(!strncmp(b.at, "{\"error\":", 9) && b.at[b.len - 1] == '\n');
	}
}

/* A monitor that takes the connection and then says nothing, or nonsense without an end. */
TEST(a_silent_monitor_is_not_waited_for)
{
	int dirfd = -1, fd = -1;
	struct err e = {0};
	auto_buf struct buf b = {0};
	home_new();
	CHECK(!sockets_open(&dirfd, NULL) && !sockets_claim(dirfd, "mute", &fd, NULL));
	CHECK(control_ask("mute", "stats", &b, &e) == -ETIMEDOUT && strstr(e.msg, "mute"));
	(void)close(fd);
	(void)close(dirfd);
	home_free();
}

TEST(a_folder_that_others_may_write_to_is_refused)
{
	char path[80];
	int dirfd = -1;
	struct err e = {0};
	home_new();
	(void)snprintf(path, sizeof(path), "%s/run", home);
	CHECK(!mkdir(path, 0700) && !chmod(path, 0777));
	CHECK(sockets_open(&dirfd, &e) == -EPERM);
	CHECK(!rmdir(path) && !symlink("/tmp", path));
	CHECK(sockets_open(&dirfd, &e) < 0);
	home_free();
}
