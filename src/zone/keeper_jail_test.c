/* A process that was settled as a keeper is, tries what somebody would who has taken it over. */
#include "base/jail.h"
#include "base/own.h"
#include "base/test.h"
#include "zone/group.h"
#include "zone/keeper.h"
#include "zone/sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static bool refused(long r) { return r < 0 && errno == EPERM; }
static bool absent(const char *path) { return access(path, F_OK) && errno == ENOENT; }

/* Which of them fell: a bit each. */
static int tries(int folder)
{
	struct stat own, above;
	int fell = 0, n = 0;
#define HELD(x) (fell |= (x) ? 0 : 1 << n, n++)
	HELD(refused(fsopen("tmpfs", 0)));
	HELD(refused(mount("none", "/proc", "tmpfs", 0, NULL)));
	HELD(refused(umount2("/proc", MNT_DETACH)));
	HELD(refused(unshare(CLONE_NEWNS)));
	HELD(refused(syscall(SYS_bpf, -1, NULL, 0)));
	HELD(refused(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0)));
	HELD(refused(syscall(SYS_init_module, NULL, 0, "")));
	HELD(refused(syscall(SYS_settimeofday, NULL, NULL)));
	HELD(absent("/etc") && absent("/dev") && absent("/sys") && absent("/proc/sys") &&
	     absent("/proc/sysrq-trigger"));
	HELD(open("/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0);
	HELD(!fstat(folder, &own) && !fstatat(folder, "..", &above, 0) &&
	     own.st_ino == above.st_ino && own.st_dev == above.st_dev);
	HELD(open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC) < 0);
	HELD(open("/proc/1/root", O_PATH | O_DIRECTORY | O_CLOEXEC) < 0);
	HELD(!unlinkat(folder, "mine", 0)); /* what is its own it can do */
	return fell;
}

static _Noreturn void settled(int folder, int to)
{
	char what[JAIL_WHAT] = "";
	struct group g = {0};
	struct keeper_jail j = {.folder = folder, .place = -1, .net = -1, .group = &g};
	keeper_settle(&j, what, sizeof(what));
	int fell = *what ? -1 : tries(folder);
	_exit(write(to, &fell, sizeof(fell)) != sizeof(fell));
}

TEST(attack_keeper_from_within)
{
	char path[] = "/tmp/keeper_test.XXXXXX";
	int ends[2], fell = -2;
	if (geteuid() || !jail_is_wanted()) return;
	CHECK(mkdtemp(path) && !pipe2(ends, O_CLOEXEC));
	auto_fd int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_fd int mine = openat(folder, "mine", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(mine >= 0 && !flock(folder, LOCK_EX | LOCK_NB));
	int pid = fork();
	if (!pid) settled(folder, ends[1]);
	(void)close(ends[1]);
	CHECK(read(ends[0], &fell, sizeof(fell)) == sizeof(fell));
	CHECK(fell == 0);
	if (fell) (void)fprintf(stderr, "fell: %x\n", (unsigned)fell);
	CHECK(waitpid(pid, NULL, 0) == pid);
	(void)close(ends[0]);
	CHECK(!rmdir(path));
}
