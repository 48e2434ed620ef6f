#include "base/jail.h"
#include "base/test.h"
#include "base/types.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a monitor that was taken over would try: facts/monitors.md 4b, and what else there is. Each
 * must do no harm where it is not refused: a broken filter runs them on whoever tests, maybe root.
 */
struct attack {
	const char *name;
	long (*try)(void);
	unsigned may; /* bits of classes that are allowed the call itself */
};
#define NAT    (1u << JAIL_NAT)
#define FS     (1u << JAIL_FS)
#define SWITCH (1u << JAIL_SWITCH)
#define HELPER (1u << JAIL_HELPER)    /* of its guest's: there Landlock is the limit */
#define OWN    (FS | SWITCH | HELPER) /* in a folder of theirs: there the mount is the limit */
static pid_t other;		      /* a process of the same user */
static int folder;		      /* a descriptor from before */

static long open_file(void) { return open("/etc/passwd", O_RDONLY); }
static long open_written(void) { return open("/nowhere/lodge/escape", O_WRONLY | O_CREAT, 0600); }
static long open_at(void) { return openat(folder, "passwd", O_RDONLY); }
static long open_above(void) { return openat(folder, "../proc/self/mem", O_RDWR); }
static long open_proc(void) { return open("/proc/1/environ", O_RDONLY); }
static long follow(void) { return fchdir(folder); }
static long run(void) { return execl("/bin/true", "true", NULL); }
static long run_memory(void)
{
	return syscall(SYS_execveat, folder, "", (char *[]){NULL}, environ, AT_EMPTY_PATH);
}
static long memory_file(void) { return (long)syscall(SYS_memfd_create, "x", 0); }
static long new_process(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid) _exit(0);
	return pid;
}
static long trace(void) { return syscall(SYS_ptrace, 16, other, 0, 0); }
static long read_other(void)
{
	char c;
	const struct iovec v = {&c, 1};
	return syscall(SYS_process_vm_readv, other, &v, 1ul, &v, 1ul, 0ul);
}
static long end_other(void) { return kill(other, 0); }
static long end_thread(void) { return syscall(SYS_tgkill, other, other, 0); }
static long get_other(void) { return syscall(SYS_pidfd_open, other, 0); }
static long mount_it(void) { return syscall(SYS_mount, NULL, NULL, NULL, 0, NULL); }
static long unshare_it(void) { return syscall(SYS_unshare, -1); }
static long join_it(void) { return syscall(SYS_setns, folder, 0); }
static long keys(void) { return syscall(SYS_keyctl, 0, -3, 0); }
static long program(void) { return syscall(SYS_bpf, 0, 0, 0); }
static long counters(void) { return syscall(SYS_perf_event_open, 0, 0, -1, -1, 0); }
static long faults(void) { return syscall(SYS_userfaultfd, 1); }
static long handle(void) { return syscall(SYS_open_by_handle_at, folder, 0, 0); }
static long local_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static long raw_socket(void) { return socket(AF_PACKET, SOCK_RAW, 0); }
static long kernel_socket(void) { return socket(AF_NETLINK, SOCK_RAW, 0); }
static long ring(void) { return syscall(SYS_io_uring_setup, 8, calloc(1, 256)); }
static long ring_more(void) { return syscall(SYS_io_uring_register, folder, 0, 0, 0); }
static long code(void)
{
	return (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static long make_code(void)
{
	static char page[8192] __attribute__((aligned(4096)));
	return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}
static long type_keys(void) { return ioctl(0, TIOCSTI, "x"); }
static long signals_of_files(void) { return fcntl(folder, F_SETOWN, other); }
static long remove_name(void) { return unlink("/tmp/lodge-none"); }
static long change_name(void) { return rename("/tmp/lodge-none", "/tmp/lodge-none2"); }
static long limits(void) { return syscall(SYS_prlimit64, other, 7, 0, 0); }
static long clock_set(void) { return syscall(SYS_clock_settime, 0, 0); }

static const struct attack attacks[] = {
	{"open", open_file, NAT | OWN},
	{"open to write", open_written, OWN},
	{"openat", open_at, OWN},
	{"openat ..", open_above, OWN},
	{"/proc of others", open_proc, NAT | OWN},
	{"fchdir", follow, 0},
	{"execve", run, 0},
	{"execveat", run_memory, 0},
	{"memfd_create", memory_file, 0},
	{"fork", new_process, 0},
	{"ptrace", trace, 0},
	{"process_vm_readv", read_other, 0},
	{"kill", end_other, 0},
	{"tgkill", end_thread, 0},
	{"pidfd_open", get_other, 0},
	{"mount", mount_it, 0},
	{"unshare", unshare_it, 0},
	{"setns", join_it, 0},
	{"keyctl", keys, 0},
	{"bpf", program, 0},
	{"perf_event_open", counters, 0},
	{"userfaultfd", faults, 0},
	{"open_by_handle_at", handle, 0},
	{"AF_UNIX", local_socket, HELPER},
	{"AF_PACKET", raw_socket, 0},
	{"AF_NETLINK", kernel_socket, 0},
	{"io_uring_setup", ring, 0},
	{"io_uring_register", ring_more, 0},
	{"mmap to execute", code, 0},
	{"mprotect to execute", make_code, 0},
	{"TIOCSTI", type_keys, 0},
	{"F_SETOWN", signals_of_files, 0},
	{"unlink", remove_name, SWITCH | HELPER},
	{"rename", change_name, SWITCH | HELPER},
	{"prlimit of others", limits, 0},
	{"clock_settime", clock_set, 0},
};
enum { SUCCEEDED = 1, REFUSED = 2 };

/* A sanitizer's own calls are not in the filters. */
#ifdef LODGE_SAN
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* In a child: 0, it failed as it may; else what became of it. */
static int tried(const struct attack *a, enum jail_class c)
{
	int status = 0;
	pid_t pid = fork();
	if (!pid) {
		(void)!freopen("/dev/null", "w", stderr);
		if (!jail_filter(c, JAIL_DIES, false)) _exit(99);
		_exit(a->try() == -1 ? 0 : SUCCEEDED);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status) == 128 + SIGSYS ? REFUSED : WEXITSTATUS(status);
}

TEST(jail_each_class_is_refused_what_it_must_not)
{
	if (SANITIZED) return;
	other = getppid();
	(void)unsetenv("LODGE_SECCOMP");
	folder = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (enum jail_class c = JAIL_LOOP; c < JAIL_CLASSES; c++)
		for (unsigned i = 0; i < COUNT(attacks); i++) {
			const struct attack *a = &attacks[i];
			int was = a->may >> c & 1 ? REFUSED : tried(a, c);
			bool fails = c == JAIL_FS || a->may; /* with EACCES */
			if (was != REFUSED && !(was == 0 && fails))
				(void)printf("%s: %s: %d\n", jail_class_name(c), a->name, was);
			CHECK(was == REFUSED || (was == 0 && fails));
		}
	(void)close(folder);
}

static void *all_attacks(void *class)
{
	long got = 0;
	jail_thread(*(enum jail_class *)class);
	for (unsigned i = 0; i < COUNT(attacks) && !got; i++)
		if (attacks[i].may & NAT && attacks[i].try() != -1) got = (long)i + 1;
	return (void *)got;
}

/* The thread that may open files finds none; also without its filter. */
static int as_monitor(const char *without)
{
	struct jail_plan p = {.nkept = 0};
	enum jail_class nat = JAIL_NAT;
	pthread_t t;
	void *got;
	(void)setenv("LODGE_SECCOMP", without, 1);
	jail_begin(&p);
	if (pthread_create(&t, NULL, all_attacks, &nat)) return 100;
	jail_close(&p, JAIL_NAT);
	if (pthread_join(t, &got)) return 101;
	if (p.what[0]) (void)printf("jail: %s\n", p.what);
	if (open("/etc/passwd", O_RDONLY) != -1 || open("/proc/1/environ", O_RDONLY) != -1)
		return 102;
	if (strcmp(without, "off") != 0) return (int)(long)got;
	if (openat(folder, "passwd", O_RDONLY) != -1 || !kill(other, 0) || errno != EPERM)
		return 103;
	return (int)(long)got;
}

TEST(jail_layers_hold_without_each_other)
{
	if (SANITIZED) return;
	static const char *const without[] = {"", "off"};
	other = getppid();
	folder = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < COUNT(without); i++) {
		int status = 0;
		pid_t pid = fork();
		if (!pid) _exit(as_monitor(without[i]));
		CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
		if (WEXITSTATUS(status)) (void)printf("jail: %d\n", WEXITSTATUS(status));
		CHECK(WEXITSTATUS(status) == 0);
	}
	(void)close(folder);
}
