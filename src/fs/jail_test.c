#include "base/test.h"
#include "base/types.h"
#include "fs/jail.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* As whoever had taken the server over: the bits of what could be done. */
static int tries(int root, pid_t parent)
{
	struct jail j = {.root = root};
	struct stat st;
	int bad = 0;
	if (jail_enter(&j)) return 255;
	if (j.rooted && (!stat("/etc/passwd", &st) || !stat("/proc/self", &st))) bad |= 1;
	if (j.rooted && fstatat(j.root, "../../etc/passwd", &st, 0) == 0) bad |= 2;
	if (!jail_seal()) return 254;
#ifndef LODGE_SAN
	if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || errno != EPERM) bad |= 4;
	if (syscall(SYS_fork) >= 0 || errno != EPERM) bad |= 8;
	if (!kill(parent, 0) || errno != EPERM) bad |= 16;
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	    MAP_FAILED)
		bad |= 32;
	if (execl("/bin/true", "true", NULL) != -1 || errno != EPERM) bad |= 64;
	if (syscall(SYS_ptrace, 16, parent, 0, 0) != -1 || errno != EPERM) bad |= 128;
#else
	(void)parent;
#endif
	return bad;
}

TEST(jail_leaves_nothing_to_take)
{
	char dir[] = "/tmp/lodge-jail.XXXXXX";
	int status = 0;
	CHECK(mkdtemp(dir));
	int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	pid_t parent = getpid(), pid = fork();
	if (!pid) _exit(tries(root, parent));
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (WEXITSTATUS(status)) (void)printf("jail: %d\n", WEXITSTATUS(status));
	CHECK(WEXITSTATUS(status) == 0);
	(void)close(root);
	CHECK(!rmdir(dir));
}
