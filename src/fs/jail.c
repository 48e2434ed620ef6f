/* A server that was taken over shall find nothing to take: no name outside its folder, no
 * privilege but over files, no system call that makes sockets, processes or code. Without root a
 * user namespace makes the same possible. */
#include "fs/jail.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) return -errno;
	ssize_t n = write(fd, text, strlen(text));
	int r = n < 0 ? -errno : 0;
	(void)close(fd);
	return r;
}

/* One user, one group: the same as before. */
static int own_users(void)
{
	char uid[48], gid[48];
	(void)snprintf(uid, sizeof(uid), "%u %u 1", geteuid(), geteuid());
	(void)snprintf(gid, sizeof(gid), "%u %u 1", getegid(), getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) return -errno;
	int r = put_text("/proc/self/setgroups", "deny");
	if (!r) r = put_text("/proc/self/uid_map", uid);
	return r ? r : put_text("/proc/self/gid_map", gid);
}

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
static void drop_privileges(void)
{
	const uint32_t keep =
		1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_FSETID;
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	for (unsigned long c = 0; c < 64; c++)
		if (c >= 32 || !(keep >> c & 1)) (void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	memset(d, 0, sizeof(d));
	if (!syscall(SYS_capget, &h, d)) {
		d[0].effective &= keep;
		d[0].permitted &= keep;
		d[1].effective = d[1].permitted = 0;
		d[0].inheritable = d[1].inheritable = 0;
		(void)syscall(SYS_capset, &h, d);
	}
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int jail_enter(struct jail *j)
{
	int r = geteuid() ? own_users() : unshare(CLONE_NEWNS) ? -errno : 0;
	int self = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (self < 0) return -errno;
	if (!r) r = root_here(j);
	j->rooted = !r;
	if (r)
		(void)snprintf(j->what, sizeof(j->what), "no mount namespace of its own: %s",
			       strerror(-r));
	if (fchdir(self)) return -errno;
	(void)close(self);
	drop_privileges();
	return 0;
}

/* ---- system calls ---- */
#if defined(__x86_64__)
#define HOST_AUDIT AUDIT_ARCH_X86_64
#elif defined(__riscv)
#define HOST_AUDIT AUDIT_ARCH_RISCV64
#endif

static const int allowed[] = {
	SYS_read,
	SYS_write,
	SYS_preadv,
	SYS_pwritev2,
	SYS_futex,
	SYS_openat,
	SYS_close,
	SYS_newfstatat,
	SYS_fstat,
	SYS_getdents64,
	SYS_lseek,
	SYS_readlinkat,
	SYS_fstatfs,
	SYS_mkdirat,
	SYS_mknodat,
	SYS_unlinkat,
	SYS_renameat2,
	SYS_linkat,
	SYS_symlinkat,
	SYS_fchmodat,
	SYS_fchownat,
	SYS_utimensat,
	SYS_ftruncate,
	SYS_fallocate,
	SYS_copy_file_range,
	SYS_fsync,
	SYS_fdatasync,
	SYS_syncfs,
	SYS_setxattr,
	SYS_getxattr,
	SYS_listxattr,
	SYS_removexattr,
	SYS_fcntl,
	SYS_flock,
	SYS_munmap,
	SYS_mremap,
	SYS_brk,
	SYS_madvise,
	SYS_clock_gettime,
	SYS_exit,
	SYS_exit_group,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_restart_syscall,
	SYS_getpid,
	SYS_gettid,
	SYS_sched_yield,
	SYS_rseq,
	SYS_set_robust_list,
};
enum { ALLOWED = sizeof(allowed) / sizeof(allowed[0]), FILTER_MAX = 2 * ALLOWED + 32 };

struct filter {
	struct sock_filter at[FILTER_MAX];
	unsigned short n;
};

static void add(struct filter *f, unsigned code, unsigned k, unsigned jt, unsigned jf)
{
	f->at[f->n++] = (struct sock_filter){(uint16_t)code, (uint8_t)jt, (uint8_t)jf, k};
}

static void answer(struct filter *f, unsigned what) { add(f, BPF_RET | BPF_K, what, 0, 0); }

/* Memory, but none that is executed. */
static void memory_rule(struct filter *f, int nr)
{
	add(f, BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 4);
	add(f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]), 0, 0);
	add(f, BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1);
	answer(f, SECCOMP_RET_ERRNO | EPERM);
	answer(f, SECCOMP_RET_ALLOW);
}

bool jail_seal(void)
{
	struct filter f = {.n = 0};
	add(&f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	add(&f, BPF_JMP | BPF_JEQ | BPF_K, HOST_AUDIT, 1, 0);
	answer(&f, SECCOMP_RET_KILL_PROCESS);
	add(&f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	for (unsigned i = 0; i < ALLOWED; i++) {
		add(&f, BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
		answer(&f, SECCOMP_RET_ALLOW);
	}
	memory_rule(&f, SYS_mmap);
	memory_rule(&f, SYS_mprotect);
	answer(&f, SECCOMP_RET_ERRNO | EPERM);
	struct sock_fprog prog = {f.n, f.at};
#ifdef LODGE_SAN
	return prog.len; /* sanitizers ask for more than they would say */
#endif
	return !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
}
