/* Whole-file locks that keep two guests off one disk. flock() rather than OFD locks: both die
 * with their open file, but the kernel's list of locks names the holder of a flock only. */
#include "blk/lock.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* One line of the list: "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF". */
static pid_t lock_line(const char *line, const struct stat *st)
{
	unsigned major, minor;
	unsigned long ino;
	int pid;
	if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%lu", &pid, &major, &minor, &ino) != 4)
		return 0;
	return ino == st->st_ino && makedev(major, minor) == st->st_dev ? pid : 0;
}

static pid_t lock_holder(int fd)
{
	struct stat st;
	char line[256];
	pid_t pid = 0;
	FILE *f = fopen("/proc/locks", "re");
	if (!f) return 0;
	if (fstat(fd, &st) == 0)
		while (pid <= 0 && fgets(line, sizeof(line), f)) pid = lock_line(line, &st);
	(void)fclose(f);
	return pid;
}

int lock_take(int fd, bool exclusive, struct err *e)
{
	if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return 0;
	if (errno != EWOULDBLOCK) return fail(e, -errno, "cannot be locked (%s)", strerror(errno));
	pid_t pid = lock_holder(fd);
	if (pid == getpid()) return fail(e, -EBUSY, "is in use already, by this very guest");
	if (pid > 0) return fail(e, -EBUSY, "is in use by another guest (pid %d)", pid);
	return fail(e, -EBUSY, "is in use by another guest");
}
