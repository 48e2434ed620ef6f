/* A server that was taken over shall find nothing to take: no name outside its folder, no
 * privilege but over files, no system call that makes sockets, processes or code. Without root a
 * user namespace makes the same possible. */
#include "fs/jail.h"
#include "base/jail.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void mount_strictly(bool readonly)
{
#ifdef SYS_mount_setattr
	struct mount_attr a = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					   (readonly ? MOUNT_ATTR_RDONLY : 0)};
	(void)syscall(SYS_mount_setattr, AT_FDCWD, ".", AT_RECURSIVE, &a, sizeof(a));
#endif
}

/* What was opened before belongs to the old namespace: the same folder, by its path in this one. */
static int open_again(struct jail *j, const char *path)
{
	struct stat a, b;
	int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) return -errno;
	int r = fstat(root, &a) || fstat(j->root, &b) ? -errno : 0;
	if (!r && (a.st_dev != b.st_dev || a.st_ino != b.st_ino)) r = -ESTALE;
	(void)close(r ? root : j->root);
	if (!r) j->root = root;
	return r;
}

/* Named by descriptors, since the kernel takes a page of options; opened in this namespace, since
 * it takes layers of no other. */
static int overlay_at(const struct jail *j, const char *place)
{
	char options[4096] = "lowerdir=";
	size_t len = strlen(options);
	for (unsigned i = j->nlayers; i; i--) {
		int fd = open(j->layer[i - 1], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0) return -errno;
		len += (size_t)snprintf(options + len, sizeof(options) - len, "/proc/self/fd/%d%s",
					fd, i > 1 ? ":" : "");
		if (len >= sizeof(options)) return -E2BIG;
	}
	if (geteuid() && len + sizeof(",userxattr") <= sizeof(options))
		(void)strcat(options, ",userxattr");
	return mount("layers", place, "overlay", MS_RDONLY, options) ? -errno : 0;
}

static int layers_here(struct jail *j)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return -errno;
	int r = overlay_at(j, "/proc");
	if (r) return r;
	if (chdir("/proc")) return -errno;
	mount_strictly(true);
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH)) return -errno;
	(void)close(j->root);
	j->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return j->root < 0 ? -errno : 0;
}

/* /proc is a place that is there whatever the folder is, also when that is the root itself. */
static int root_here(struct jail *j)
{
	char fd[32], path[PATH_MAX];
	(void)snprintf(fd, sizeof(fd), "/proc/self/fd/%d", j->root);
	ssize_t n = readlink(fd, path, sizeof(path) - 1);
	if (n < 0) return -errno;
	path[n] = 0;
	int r = open_again(j, path);
	if (r) return r;
	(void)snprintf(fd, sizeof(fd), "/proc/self/fd/%d", j->root);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return -errno;
	if (mount(fd, "/proc", NULL, MS_BIND | MS_REC, NULL) || chdir("/proc")) return -errno;
	mount_strictly(j->readonly);
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH)) return -errno;
	return open_again(j, "/");
}

/* Those over files, and not the ones that make devices or look past permissions by handle. */
#define FILE_CAPS                                                                                  \
	(1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER | 1ull << CAP_FSETID)

int jail_enter(struct jail *j)
{
	int apart = CLONE_NEWIPC | CLONE_NEWUTS | (jail_net_is_own() ? 0 : CLONE_NEWNET);
	int r = jail_unshare(CLONE_NEWNS, apart);
	int self = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (self < 0) return -errno;
	bool less = r > 0;
	bool layered = j->nlayers > 1;
	if (r >= 0) r = layered ? layers_here(j) : root_here(j);
	if (layered && r < 0) return r;
	j->rooted = !r && !less;
	if (less) (void)strcpy(j->what, "no network namespace of its own");
	if (r)
		(void)snprintf(j->what, sizeof(j->what), "no mount namespace of its own: %s",
			       strerror(-r));
	if (fchdir(self)) return -errno;
	(void)close(self);
	jail_drop_privileges(FILE_CAPS);
	return 0;
}

/* It opens and writes what it is asked to: there the mount is the limit. */
/* syscalls fs: read write preadv pwritev2 futex openat* close newfstatat fstat getdents64 lseek
 * readlinkat fstatfs mkdirat mknodat unlinkat renameat2 linkat symlinkat fchmodat
 * fchownat utimensat ftruncate fallocate copy_file_range fsync fdatasync syncfs
 * setxattr getxattr listxattr removexattr fcntl flock munmap mremap brk madvise
 * clock_gettime exit exit_group rt_sigprocmask rt_sigreturn restart_syscall getpid
 * gettid sched_yield rseq set_robust_list mmap mprotect */
bool jail_seal(void) { return jail_filter(JAIL_FS, JAIL_EPERM, true); }
