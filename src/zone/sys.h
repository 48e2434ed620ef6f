#ifndef ZONE_SYS_H
#define ZONE_SYS_H
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
/* System calls that glibc 2.36 has no name for; as theirs, -1 and errno. */
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ull
#endif
static inline int sys_openat2(int dir, const char *path, uint64_t flags, uint64_t mode,
			      uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}
static inline int sys_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
static inline int sys_pidfd_signal(int fd, int sig)
{
	return (int)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
}
static inline int sys_close_range(unsigned from, unsigned to, unsigned flags)
{
	return (int)syscall(SYS_close_range, from, to, flags);
}
/* Empty, may be sealed and, also where the kernel has another default, executed. */
static inline int sys_memfd_program(const char *name)
{
	const unsigned executable = 0x10; /* MFD_EXEC, Linux 6.3 */
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | executable);
	return fd >= 0 || errno != EINVAL ? fd
					  : memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}
/* From now on it is what it is: nobody writes to it, whoever has it open. */
static inline int sys_memfd_seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}
/* clone3(2) that returns twice, as fork does. into: a version 2 group, or -1. */
static inline int sys_clone(uint64_t flags, int exit_signal, int *pidfd, int into)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
			set_tid, set_tid_size, cgroup;
	} a = {.flags = flags, .exit_signal = (uint64_t)exit_signal};
	if (pidfd) {
		a.flags |= CLONE_PIDFD;
		a.pidfd = (uint64_t)(uintptr_t)pidfd;
	}
	if (into >= 0) {
		a.flags |= CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)into;
	}
	return (int)syscall(SYS_clone3, &a, sizeof(a));
}
#endif
