#include "base/file.h"
#include "base/jail.h"
#include "base/own.h"
#include "base/test.h"
#include "base/title.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "guest/record.h"
#include "net/lan_wire.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A sanitizer's own calls are not in the filters. */
#ifdef LODGE_SAN
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* A monitor that makes a call which is not noted. */
static void monitor(int folder)
{
	const struct spec s = {.name = "test"};
	const struct guest_home home = {.folder = folder, .attach = -1};
	const struct guest_state st = {.life = LIFE_RUNNING, .pid = (int)getpid()};
	struct jail_plan p = {.nkept = 0};
	(void)!freopen("/dev/null", "w", stderr);
	if (outside_start(&s, &home, NULL)) _exit(1);
	jail_begin(&p);
	if (outside_state(&st, folder, NULL)) _exit(2);
	jail_close(&p, JAIL_LOOP);
	(void)syscall(SYS_ptrace, 16, 1, 0, 0);
	_exit(3);
}

TEST(outside_a_refused_call_is_the_words_of_its_end)
{
	if (SANITIZED) return;
	char dir[] = "/tmp/lodge-outside-XXXXXX";
	struct guest_state st = {0};
	int status = 0;
	CHECK(mkdtemp(dir));
	auto_fd int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)unsetenv("LODGE_SECCOMP");
	pid_t pid = fork();
	if (!pid) monitor(folder);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGSYS);
	for (unsigned i = 0; i < 500 && st.life != LIFE_BROKEN; i++) { /* the helper outlives it */
		(void)usleep(10000);
		state_read(&st, folder);
	}
	CHECK(st.life == LIFE_BROKEN && strstr(st.why, "ptrace") && strstr(st.why, "loop"));
	(void)unlinkat(folder, "state.json", 0);
	CHECK(!rmdir(dir));
}

/* One that was taken over asks for what is not its own. */
static int asks(void)
{
	const char *top = getenv("LODGE_HOME");
	const struct spec s = {.name = "test", .nnets = 1, .net = {"lan"}, .ndisks = 1};
	struct err e;
	struct lan_hello h;
	int fd = -1, bad = 0;
	char path[200];
	lan_hello_make(&h, LAN_JOIN);
	if (outside_start(&s, NULL, NULL) || outside_named("test", NULL)) return 100;
	static const char *const places[] = {"/etc/passwd",
					     "/guests/other/snapshots/x/state",
					     "/guests/test/snapshots/../../other/state",
					     "/guests/test/snapshots/x/../../../other/snapshots",
					     "/guests/test/guest.json",
					     "/guests/test/snapshots/state"};
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", i ? top : "", places[i]);
		bad += outside_draft(path, &e) != -EACCES;
		bad += outside_keep(path, &e) != -EACCES;
		bad += outside_copy(&s, 0, path, &e) != -EACCES;
	}
	bad += outside_dial("other", &h, &fd, &e) != -EPERM;
	bad += outside_dial("../other", &h, &fd, &e) != -EPERM;
	bad += outside_named("other", &e) != -EINVAL;
	bad += outside_remove(&e) != -EPERM;
	bad += outside_rename("other", &e) != -ENOTSUP;
	bad += outside_group(7, 1, &e) != -EINVAL;
	bad += outside_group(0, 1ull << 40, &e) != -EINVAL;
	bad += outside_vsock(1, 0) != -ECONNREFUSED;
	outside_end();
	return bad;
}

/* One that was taken over would be somebody else on its network. */
static int pretends(void)
{
	const struct spec s = {.name = "test", .nnets = 1, .net = {"lan"}};
	struct err e;
	struct lan_hello h;
	int fd = -1, bad = 0;
	char dir[200];
	lan_hello_make(&h, LAN_JOIN);
	(void)strcpy(h.name, "test");
	(void)snprintf(dir, sizeof(dir), "%s/networks/lan", getenv("LODGE_HOME"));
	if (dir_make(dir, NULL) || outside_start(&s, NULL, NULL)) return 100;
	bad += outside_dial("lan", &h, &fd, &e) != -ENODEV; /* since it was removed */
	if (outside_named("", NULL)) return 101;
	bad += outside_dial("lan", &h, &fd, &e) != -ENODEV;
	h.want = le32_of(0x0a000001);
	bad += outside_dial("lan", &h, &fd, &e) != -ENODEV;
	(void)strcpy(h.name, "other");
	bad += outside_dial("lan", &h, &fd, &e) != -EPERM;
	(void)strcpy(h.name, "test");
	h.mac[5]++;
	bad += outside_dial("lan", &h, &fd, &e) != -EPERM;
	h.mac[5]--;
	h.nforward = 1;
	h.forward[0].host_port = h.forward[0].guest_port = le16_of(80);
	bad += outside_dial("lan", &h, &fd, &e) != -EPERM;
	h.what = le32_of(LAN_DESCRIBE);
	bad += outside_dial("lan", &h, &fd, &e) != -EPERM;
	h.version = le32_of(99);
	bad += outside_dial("lan", &h, &fd, &e) != -EPROTO;
	outside_end();
	return bad;
}

static void in_a_home_of_its_own(int (*try)(void))
{
	char top[] = "/tmp/lodge-outside-XXXXXX";
	int status = 0;
	CHECK(mkdtemp(top));
	pid_t pid = fork();
	if (!pid) {
		(void)setenv("LODGE_HOME", top, 1);
		_exit(try());
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(!dir_remove(top, NULL));
}

TEST(outside_a_guest_is_itself_on_its_networks) { in_a_home_of_its_own(pretends); }

TEST(outside_does_what_is_the_guests_own_and_no_more) { in_a_home_of_its_own(asks); }

struct seen {
	int pid, above, called;
	bool other; /* somebody else can be named */
};

/* Becomes the helper; the child is the guest's. */
static void behind(int folder, int to, int other)
{
	const struct spec s = {.name = "test"};
	const struct guest_home home = {.folder = folder, .attach = -1, .behind = true};
	if (outside_start(&s, &home, NULL)) _exit(1);
	struct seen seen = {(int)getpid(), (int)getppid(), title_pid(), !kill(other, 0)};
	(void)!write(to, &seen, sizeof(seen));
	_exit(0);
}

TEST(outside_a_guest_behind_is_alone_with_what_it_makes)
{
	int ends[2], status = 0;
	struct seen seen = {0};
	auto_fd int folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(!pipe(ends));
	pid_t pid = fork();
	if (!pid) _exit(jail_own_pids() ? 77 : 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	if (SANITIZED || WEXITSTATUS(status) == 77) {
		(void)printf("outside: skipped, no namespaces of processes here\n");
		return;
	}
	pid_t other = getpid();
	pid = fork();
	if (!pid) behind(folder, ends[1], other);
	(void)close(ends[1]);
	CHECK(read(ends[0], &seen, sizeof(seen)) == sizeof(seen));
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
	CHECK(seen.pid == 1 && seen.above == 0 && !seen.other);
	CHECK(seen.called > 1 && seen.called != pid && seen.called != other);
	(void)close(ends[0]);
}
