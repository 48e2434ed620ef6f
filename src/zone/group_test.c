#include "base/buf.h"
#include "base/test.h"
#include "zone/group.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static struct arena *begin(struct group *g)
{
	struct err e;
	struct arena *a = arena_new();
	CHECK(!group_find(g, a, &e));
	return a;
}

static void end(struct group *g, struct arena *a)
{
	group_close(g);
	arena_free(a);
}

TEST(group_names_never_lead_out)
{
	static const char *const bad[] = {"..", "/..", "/a/../b", "a/..", "/"};
	struct group g;
	struct err e;
	struct arena *a = begin(&g);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(group_name(&g, bad[i], "id", false, &e) == -EINVAL);
	CHECK(!group_name(&g, NULL, "id", false, &e) && !strcmp(g.path, "/id"));
	CHECK(!group_name(&g, "a/..b", "id", false, &e) && !strcmp(g.path, "/a/..b"));
	CHECK(!group_name(&g, "s.slice:lib:x", "id", true, &e) &&
	      !strcmp(g.path, "/s.slice/lib-x.scope"));
	CHECK(!group_name(&g, ":lib:x", "id", true, &e) &&
	      !strcmp(g.path, "/system.slice/lib-x.scope"));
	end(&g, a);
}

TEST(group_weights_are_cruns)
{
	CHECK(group_weight(0) == 0 && group_weight(2) == 1 && group_weight(262144) == 10000);
	CHECK(group_weight(1024) == 39 && group_weight(1) == 1 && group_weight(1 << 30) == 10000);
}

static bool made(struct group *g, const char *what)
{
	struct err e;
	char name[64];
	(void)snprintf(name, sizeof(name), "/lodge-unit-%s-%d", what, (int)getpid());
	if (geteuid() || !g->n || group_name(g, name, "id", false, &e)) return false;
	g->path = arena_text(g->a, "%s", name);
	return !group_make(g, &e) && !g->lame;
}

TEST(group_holds_freezes_and_kills)
{
	struct group g;
	struct err e;
	struct arena *a = begin(&g);
	if (made(&g, "life")) {
		pid_t pid = fork(), *pids;
		int status = 0;
		if (!pid) {
			if (group_join(&g, true, &e)) _exit(1);
			for (;;) (void)pause();
		}
		while (!group_pids(&g, &pids, a) && !waitpid(pid, &status, WNOHANG)) usleep(1000);
		CHECK(group_pids(&g, &pids, a) == 1 && pids[0] == pid);
		CHECK(!group_freeze(&g, true, &e) && group_frozen(&g));
		group_kill(&g, SIGKILL);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		CHECK(!group_remove(&g, &e));
	}
	end(&g, a);
}

static bool opens(int into, const char *path, int flags)
{
	int status = 1;
	pid_t pid = fork();
	if (!pid) {
		if (group_write(into, "cgroup.procs", "0")) _exit(2);
		_exit(open(path, flags) < 0);
	}
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

TEST(group_device_program_decides_by_the_last_rule_that_fits)
{
	struct group g;
	struct err e;
	struct arena *a = begin(&g);
	struct spec_device_rule rules[] = {
		{false, "a", {0}, {0}, "rwm"},
		{true, "c", {true, 1}, {0}, "rw"},
		{false, "c", {true, 1}, {true, 11}, "w"},
	};
	if (made(&g, "devices")) {
		int dir = group_into(&g);
		if (dir >= 0 && !group_devices_bpf(dir, rules, 3, &e)) {
			CHECK(opens(dir, "/dev/null", O_RDWR));
			CHECK(access("/dev/kmsg", R_OK) || opens(dir, "/dev/kmsg", O_RDONLY));
			CHECK(!opens(dir, "/dev/kmsg", O_WRONLY));
			CHECK(!opens(dir, "/dev/rtc0", O_RDONLY) &&
			      !opens(dir, "/dev/fuse", O_RDWR));
		}
		CHECK(!group_remove(&g, &e));
	}
	end(&g, a);
}
