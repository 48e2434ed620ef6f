/* Whole-file locks that keep two guests off one disk. flock() rather than OFD locks: both die
 * with their open file, but the kernel's list of locks names the holder of a flock only. */
#include "blk/lock.h"
#include "base/title.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SIDES (INT64_MAX - 1)

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

static int busy(int fd, struct err *e)
{
	pid_t pid = lock_holder(fd);
	if (pid == title_pid()) return fail(e, -EBUSY, "is in use already, by this very guest");
	if (pid > 0) return fail(e, -EBUSY, "is in use by another guest (pid %d)", pid);
	return fail(e, -EBUSY, "is in use by another guest");
}

/* Readers and those that share writing hold the same flock; a byte far behind any disk tells them
 * apart. Each takes its own before it looks at the other's. */
static int take_side(int fd, bool shared, struct err *e)
{
	struct flock own = {.l_type = F_RDLCK, .l_start = SIDES + shared, .l_len = 1}, other = own;
	other.l_type = F_WRLCK;
	other.l_start = SIDES + !shared;
	if (fcntl(fd, F_OFD_SETLK, &own) || fcntl(fd, F_OFD_GETLK, &other))
		return fail(e, -errno, "cannot be locked (%s)", strerror(errno));
	if (other.l_type == F_UNLCK) return 0;
	return fail(e, -EBUSY, "is in use by another guest, which %s",
		    shared ? "only reads it" : "shares it (--shared-disk)");
}

int lock_take(int fd, enum lock_how how, struct err *e)
{
	if (flock(fd, (how == LOCK_WRITES ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return how == LOCK_WRITES ? 0 : take_side(fd, how == LOCK_BESIDE, e);
	if (errno != EWOULDBLOCK) return fail(e, -errno, "cannot be locked (%s)", strerror(errno));
	return busy(fd, e);
}
