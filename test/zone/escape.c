/* escape PID FILE SOCKET KEY BLOCK: runs in a zone, as root there, and tries to get at the host. PID, FILE,
 * SOCKET (abstract), KEY (of shared memory) are things of the host's that it must not see, BLOCK the
 * numbers of one of its disks. A line for each attack that succeeds, and how many held and fell. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned held, fell;
static void result(int escaped, const char *what)
{
	if (escaped)
		fell++, printf("FELL: %s\n", what);
	else
		held++;
}

/* ---- calls that are refused, whatever they would do */
static char junk[4096];
static void calls(void)
{
#define CALL(n, ...) result(syscall(SYS_##n, __VA_ARGS__) != -1, #n)
	CALL(mount, "none", "/tmp", "tmpfs", 0, 0);
	CALL(mount, "none", "/", "", MS_REMOUNT | MS_BIND, 0);
	CALL(umount2, "/proc/sys", MNT_DETACH);
	CALL(umount2, "/sys/fs/cgroup", MNT_DETACH);
	CALL(pivot_root, "/", "/tmp");
	CALL(unshare, CLONE_NEWUSER);
	CALL(unshare, CLONE_NEWNS);
	CALL(unshare, CLONE_NEWNET);
	CALL(clone3, junk, 88);
	CALL(setns, 0, 0);
	CALL(fsopen, "proc", 0);
	CALL(open_tree, AT_FDCWD, "/", 1);
	CALL(move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/mnt", 0);
	CALL(mount_setattr, AT_FDCWD, "/", 0, junk, 32);
	CALL(name_to_handle_at, AT_FDCWD, "/", junk, junk, 0);
	CALL(open_by_handle_at, AT_FDCWD, junk, 0);
	CALL(init_module, junk, 16, "");
	CALL(finit_module, 0, "", 0);
	CALL(delete_module, "x", 0);
	CALL(kexec_load, 0, 0, 0, 0);
	CALL(reboot, 0xfee1dead, 672274793, 0, 0);
	CALL(swapon, "/tmp/x", 0);
	CALL(acct, "/tmp/x");
	CALL(settimeofday, junk, 0);
	CALL(clock_settime, 0, junk);
	CALL(syslog, 3, junk, sizeof(junk));
	CALL(sethostname, "x", 1);
	CALL(bpf, 5, junk, 64);
	CALL(perf_event_open, junk, 0, -1, -1, 0);
	CALL(userfaultfd, 0);
	CALL(io_uring_setup, 1, junk);
	CALL(keyctl, 0, -3, 0);
	CALL(add_key, "user", "x", "x", 1, -3);
	CALL(quotactl, 0, "/", 0, junk);
	CALL(process_vm_readv, 1, junk, 1, junk, 1, 0);
	CALL(kcmp, 1, 1, 0, 0, 0);
	CALL(pidfd_getfd, 0, 0, 0);
#ifdef __x86_64__
	CALL(iopl, 3);
	CALL(ioperm, 0x80, 1, 1);
#endif
	CALL(socket, AF_VSOCK, SOCK_STREAM, 0);
	CALL(socket, 38 /* AF_ALG */, SOCK_SEQPACKET, 0);
	CALL(socket, (1ull << 32) | AF_VSOCK, SOCK_STREAM, 0);
	CALL(socket, AF_PACKET, SOCK_RAW, 0);
	CALL(socket, AF_INET, SOCK_RAW, 1);
	CALL(prctl, PR_CAPBSET_READ, -1, 0, 0, 0);
#undef CALL
	errno = 0;
	result(syscall(SYS_ioctl, 0, 0x5412, "x") == 0 || errno != EPERM, "TIOCSTI");
	result(syscall(SYS_ioctl, 0, (1ull << 32) | 0x5412, "x") == 0 || errno != EPERM,
	       "TIOCSTI with high bits");
}

static int space(void *flags) { return (void)flags, 0; }
static void clones(void)
{
	static char stack[65536];
	static const int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID,
				    CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};
	for (unsigned i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		int pid = clone(space, stack + sizeof(stack), flags[i] | SIGCHLD, NULL);
		if (pid > 0) waitpid(pid, NULL, 0);
		result(pid > 0, "clone of a namespace");
	}
}

/* ---- files that may not be written to, or not be read */
static void files(void)
{
	static const char *const writes[] = {"/proc/sys/kernel/core_pattern",
					     "/proc/sys/kernel/modprobe",
					     "/proc/sys/kernel/hostname",
					     "/proc/sys/vm/drop_caches",
					     "/proc/sys/fs/binfmt_misc/register",
					     "/proc/sysrq-trigger",
					     "/proc/irq/default_smp_affinity",
					     "/proc/1/exe",
					     "/proc/self/exe",
					     "/sys/kernel/uevent_helper",
					     "/sys/kernel/mm/ksm/run",
					     "/sys/power/state",
					     "/sys/fs/cgroup/memory/memory.limit_in_bytes",
					     "/sys/fs/cgroup/memory/cgroup.procs",
					     "/sys/fs/cgroup/cpu/release_agent",
					     "/sys/fs/cgroup/devices/devices.allow",
					     "/sys/fs/cgroup/pids/pids.max",
					     "/sys/fs/cgroup/unified/cgroup.procs",
					     "/sys/fs/cgroup/cgroup.procs",
					     "/dev/mem",
					     "/dev/kmsg",
					     "/dev/kvm",
					     "/dev/net/tun",
					     "/dev/fuse",
					     "/dev/loop-control",
					     "/dev/console"};
	static const char *const reads[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list",
					    "/proc/interrupts", "/dev/mem", "/dev/kmsg",
					    "/proc/kpagecount", "/proc/kpageflags"};
	for (unsigned i = 0; i < sizeof(writes) / sizeof(*writes); i++) {
		int fd = open(writes[i], O_WRONLY | O_CLOEXEC);
		result(fd >= 0, writes[i]);
		if (fd >= 0) close(fd);
	}
	for (unsigned i = 0; i < sizeof(reads) / sizeof(*reads); i++) {
		char b[16];
		int fd = open(reads[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		result(fd >= 0 && read(fd, b, sizeof(b)) > 0, reads[i]);
		if (fd >= 0) close(fd);
	}
	result(!mkdir("/sys/fs/cgroup/memory/x", 0755), "a group of its own");
	result(!mkdir("/sys/fs/cgroup/unified/x", 0755), "a group of its own");
}

static void nodes(const char *disk)
{
	unsigned major = 0, minor = 0;
	(void)sscanf(disk, "%u:%u", &major, &minor);
	const struct {
		mode_t kind;
		dev_t dev;
	} all[] = {{S_IFBLK, makedev(major, minor)}, {S_IFCHR, makedev(1, 1)}, {S_IFCHR, makedev(1, 11)},
		   {S_IFCHR, makedev(10, 232)},	     {S_IFCHR, makedev(5, 1)}};
	static const char *const where[] = {"/tmp/node", "/dev/node", "/dev/shm/node"};
	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (unsigned k = 0; k < 3; k++) {
			unlink(where[k]);
			int made = !mknod(where[k], all[i].kind | 0666, all[i].dev);
			int fd = made ? open(where[k], O_RDONLY | O_NONBLOCK) : -1;
			result(fd >= 0, "a device made");
			if (fd >= 0) close(fd);
			unlink(where[k]);
		}
}

/* ---- what it has of the host's */
static int leads_out(const char *link)
{
	return link[0] == '/' && strncmp(link, "/proc", 5) && strncmp(link, "/dev/", 5) &&
	       access(link, F_OK);
}

static void descriptors(void)
{
	DIR *procs = opendir("/proc");
	for (struct dirent *p; procs && (p = readdir(procs));) {
		char dir[300], path[600], to[256];
		if (p->d_name[0] < '0' || p->d_name[0] > '9') continue;
		snprintf(dir, sizeof(dir), "/proc/%s/fd", p->d_name);
		DIR *d = opendir(dir);
		for (struct dirent *f; d && (f = readdir(d));) {
			snprintf(path, sizeof(path), "%s/%s", dir, f->d_name);
			ssize_t n = readlink(path, to, sizeof(to) - 1);
			to[n > 0 ? n : 0] = 0;
			result(leads_out(to), "a descriptor of the host's");
		}
		if (d) closedir(d);
		snprintf(dir, sizeof(dir), "/proc/%s/environ", p->d_name);
		int fd = open(dir, O_RDONLY);
		ssize_t n = fd < 0 ? 0 : read(fd, junk, sizeof(junk));
		result(n > 0 && memmem(junk, (size_t)n, "LODGE_CANARY", 12), "the host's environment");
		if (fd >= 0) close(fd);
	}
	if (procs) closedir(procs);
	memset(junk, 0, sizeof(junk));
	for (int fd = 3; fd < 64; fd++) result(fcntl(fd, F_GETFD) >= 0, "a descriptor left open");
}

static void things(int pid, const char *file, const char *name, int key)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(at.sun_path + 1, name);
	result(!kill(pid, 0), "a signal to a process of the host's");
	result(!access(file, F_OK), "a file of the host's");
	result(s >= 0 && !connect(s, (struct sockaddr *)&at, n), "a socket of the host's");
	result(shmget(key, 1, 0) >= 0, "shared memory of the host's");
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	result(!access(path, F_OK), "a process of the host's");
	result(getppid() != 0 && getpid() != 1 && kill(getppid(), 0) && errno != ESRCH && errno != EPERM,
	       "its parent");
}

/* The oldest way out of a root. */
static void old_root(const char *file)
{
	int pid = fork();
	if (pid) {
		int status = 0;
		waitpid(pid, &status, 0);
		result(status != 0, "out of the root by chroot");
		return;
	}
	int fd = open("/", O_RDONLY | O_DIRECTORY);
	mkdir("/tmp/cell", 0755);
	if (chroot("/tmp/cell") || fchdir(fd)) _exit(0);
	for (int i = 0; i < 64; i++)
		if (chdir("..")) _exit(0);
	if (chroot(".")) _exit(0);
	_exit(!access(file, F_OK));
}

static void rights(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2], more[2];
	const unsigned wanted[] = {CAP_SYS_ADMIN, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_PTRACE,
				   CAP_NET_ADMIN, CAP_NET_RAW,	  CAP_SYS_BOOT,	 CAP_SYS_TIME,
				   CAP_MKNOD,	  CAP_DAC_READ_SEARCH, CAP_SYSLOG, CAP_BPF};
	syscall(SYS_capget, &h, d);
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		memcpy(more, d, sizeof(d));
		more[wanted[i] / 32].permitted |= 1u << wanted[i] % 32;
		more[wanted[i] / 32].effective |= 1u << wanted[i] % 32;
		result(!syscall(SYS_capset, &h, more), "a capability more");
		result(prctl(PR_CAPBSET_READ, wanted[i], 0, 0, 0) != 0, "a capability in its bounds");
	}
	result(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1, "new privileges");
	result(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2, "no filter");
}

/* Where it could do harm it does nothing: it wants to be held already by what a zone has. */
static int is_held(void)
{
	const char *in = getenv("container");
	return in && !strcmp(in, "lodge") && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
	       prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2 &&
	       prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0;
}

int main(int argc, char **argv)
{
	if (argc != 6 || !is_held()) {
		fprintf(stderr, "escape: in a zone only, and with five words\n");
		return 2;
	}
	descriptors();
	calls();
	clones();
	files();
	nodes(argv[5]);
	things(atoi(argv[1]), argv[2], argv[3], atoi(argv[4]));
	old_root(argv[2]);
	rights();
	printf("%u held, %u fell\n", held, fell);
	return fell != 0;
}
