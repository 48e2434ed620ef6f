/* escape PID FOLDER [unfiltered|switch]: every thread of a live monitor is made to try what one who
 * runs code of his own there would try. A debugger of the monitor (so: root) puts the calls into
 * its threads and looks at what comes of them; afterwards the threads go on as if nothing had been.
 * Each attack does no harm if it succeeds: it looks at a canary, and no more. A line for each
 * thread; the last line says how many held and how many did not. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SCRATCH = 4096, TEXT = 256, FDS = 80 };
#define REFUSED (-100000l) /* by the filter of system calls */
#define LOST	(-100001l)

static pid_t monitor, canary;
static uint64_t insn; /* of a syscall instruction in the monitor */
static char folder[TEXT];
static struct sockaddr_in inet = {.sin_family = AF_INET};
static struct sockaddr_un local = {.sun_family = AF_UNIX};
static unsigned held, fell;

struct victim {
	pid_t tid;
	struct user_regs_struct was;
	uint64_t scratch; /* a page of its */
	int signal;	  /* that came meanwhile */
	char name[32];
};

/* ---- calls in another's name */
/* Those that a call changes; all at once they are refused, since the translator has a guest's GS.
 */
static int put_regs(const struct victim *v, const struct user_regs_struct *r)
{
	static const unsigned char at[] = {6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18};
	int bad = 0; /* R11 and on: see sys/reg.h */
	_Static_assert(offsetof(struct user_regs_struct, rip) == 16 * 8, "RIP");
	for (unsigned i = 0; i < sizeof(at); i++)
		bad |= ptrace(PTRACE_POKEUSER, v->tid, at[i] * 8l, ((const uint64_t *)r)[at[i]]) !=
		       0;
	return bad;
}

static long wait_stop(struct victim *v, uint64_t next)
{
	for (;;) {
		int st;
		struct user_regs_struct r;
		if (waitpid(v->tid, &st, __WALL) != v->tid || !WIFSTOPPED(st)) return LOST;
		int sig = WSTOPSIG(st);
		if (sig == SIGSYS) return REFUSED;
		if (ptrace(PTRACE_GETREGS, v->tid, 0, &r)) return LOST;
		if (r.rip == next && sig == SIGTRAP && !(st >> 16)) return (long)r.rax;
		if (sig != SIGTRAP && !(st >> 16)) v->signal = sig;
		if (r.rip == next) return (long)r.rax;
		if (ptrace(PTRACE_SINGLESTEP, v->tid, 0, 0)) return LOST;
	}
}

static long call(struct victim *v, long nr, const uint64_t a[6])
{
	struct user_regs_struct r = v->was;
	r.rip = insn;
	r.rax = (uint64_t)nr;
	r.orig_rax = -1ul;
	r.rdi = a[0], r.rsi = a[1], r.rdx = a[2], r.r10 = a[3], r.r8 = a[4], r.r9 = a[5];
	r.eflags &= ~0x100ul;
	if (put_regs(v, &r) || ptrace(PTRACE_SINGLESTEP, v->tid, 0, 0)) return LOST;
	return wait_stop(v, insn + 2);
}

static uint64_t place(const struct victim *v) { return v->scratch; }

static int lay(const struct victim *v, const void *p, size_t n)
{
	struct iovec from = {(void *)p, n}, to = {(void *)place(v), n};
	return process_vm_writev(v->tid, &from, 1, &to, 1, 0) == (ssize_t)n;
}

static void close_in(struct victim *v, long fd)
{
	if (fd >= 0) (void)call(v, SYS_close, (uint64_t[6]){(uint64_t)fd});
}

/* ---- attacks: >= 0: it has got something */
static long open_path(struct victim *v, long at, const char *path, long flags)
{
	char text[TEXT] = "";
	(void)snprintf(text, sizeof(text), "%s", path);
	if (!lay(v, text, sizeof(text))) return LOST;
	long fd = call(v, SYS_openat, (uint64_t[6]){(uint64_t)at, place(v), (uint64_t)flags});
	close_in(v, fd);
	return fd;
}
static long open_canary(struct victim *v)
{
	char path[TEXT + 16];
	(void)snprintf(path, sizeof(path), "%s/canary", folder);
	return open_path(v, AT_FDCWD, path, O_RDONLY);
}
static long open_passwd(struct victim *v)
{
	return open_path(v, AT_FDCWD, "/etc/passwd", O_RDONLY);
}
static long open_init(struct victim *v)
{
	return open_path(v, AT_FDCWD, "/proc/1/environ", O_RDONLY);
}
static long open_self(struct victim *v)
{
	return open_path(v, AT_FDCWD, "/proc/self/mem", O_RDONLY);
}
static long open_kvm(struct victim *v) { return open_path(v, AT_FDCWD, "/dev/null", O_RDONLY); }
static long open_to_write(struct victim *v)
{
	char path[TEXT + 16];
	(void)snprintf(path, sizeof(path), "%s/canary", folder);
	return open_path(v, AT_FDCWD, path, O_WRONLY | O_APPEND);
}
/* From whatever folder it may have open. */
static long open_from(struct victim *v)
{
	long best = -ENOTDIR;
	for (long fd = 0; fd < FDS && best < 0; fd++) {
		long r = open_path(v, fd, "..", O_RDONLY | O_DIRECTORY);
		if (r >= 0 || r == LOST) return r;
		if (r == REFUSED) best = REFUSED;
	}
	return best;
}
static long plain(struct victim *v, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return call(v, nr, (uint64_t[6]){a, b, c, d});
}
static long follow(struct victim *v)
{
	for (uint64_t fd = 3; fd < FDS; fd++) {
		long r = plain(v, SYS_fchdir, fd, 0, 0, 0);
		if (r >= 0 || r == REFUSED || r == LOST) return r;
	}
	return -ENOTDIR;
}
static long run(struct victim *v)
{
	if (!lay(v, "/nowhere/at/all", 16)) return LOST;
	long r = plain(v, SYS_execve, place(v), 0, 0, 0);
	return r == -ENOENT ? 1 : r; /* only the name was wrong */
}
/* Impossible together, so that no process is made where it is allowed. */
static long fork_it(struct victim *v)
{
	long r = plain(v, SYS_clone, 0x10000000 | 0x200 | SIGCHLD, 0, 0, 0);
	return r == -EINVAL ? 1 : r;
}
static long trace(struct victim *v)
{
	return plain(v, SYS_ptrace, PTRACE_SEIZE, (uint64_t)canary, 0, 0);
}
static long read_other(struct victim *v)
{
	uint64_t io[4] = {place(v) + 64, 8, insn, 8}; /* their libc is where ours is, or not */
	if (!lay(v, io, sizeof(io))) return LOST;
	long r = call(v, SYS_process_vm_readv,
		      (uint64_t[6]){(uint64_t)canary, place(v), 1, place(v) + 16, 1, 0});
	return r == -EFAULT ? 1 : r;
}
static long end_other(struct victim *v) { return plain(v, SYS_kill, (uint64_t)canary, 0, 0, 0); }
static long end_thread(struct victim *v)
{
	return plain(v, SYS_tgkill, (uint64_t)canary, (uint64_t)canary, 0, 0);
}
static long get_other(struct victim *v)
{
	long fd = plain(v, SYS_pidfd_open, (uint64_t)canary, 0, 0, 0);
	close_in(v, fd);
	return fd;
}
static long limits(struct victim *v)
{
	return plain(v, SYS_prlimit64, (uint64_t)canary, 7, 0, place(v));
}
static long connected(struct victim *v, int family, const void *to, size_t n)
{
	long fd = plain(v, SYS_socket, (uint64_t)family, SOCK_STREAM, 0, 0);
	if (fd < 0) return fd;
	long r = lay(v, to, n) ? plain(v, SYS_connect, (uint64_t)fd, place(v), n, 0) : LOST;
	close_in(v, fd);
	return r;
}
static long connect_local(struct victim *v) { return connected(v, AF_UNIX, &local, sizeof(local)); }
static long connect_host(struct victim *v) { return connected(v, AF_INET, &inet, sizeof(inet)); }
static long one_socket(struct victim *v, uint64_t family, uint64_t type)
{
	long fd = plain(v, SYS_socket, family, type, 0, 0);
	close_in(v, fd);
	return fd;
}
static long raw(struct victim *v) { return one_socket(v, AF_PACKET, SOCK_RAW); }
static long netlink(struct victim *v) { return one_socket(v, AF_NETLINK, SOCK_RAW); }
static long hosts(struct victim *v) { return one_socket(v, AF_VSOCK, SOCK_STREAM); }
static long memory_file(struct victim *v)
{
	if (!lay(v, "x", 2)) return LOST;
	long fd = plain(v, SYS_memfd_create, place(v), 0, 0, 0);
	close_in(v, fd);
	return fd;
}
static long code(struct victim *v)
{
	long at = call(v, SYS_mmap, (uint64_t[6]){0, 4096, 5, 0x22, -1ul, 0});
	if (at > 0) (void)plain(v, SYS_munmap, (uint64_t)at, 4096, 0, 0);
	return at;
}
static long ring(struct victim *v)
{
	char p[120] = {0};
	if (!lay(v, p, sizeof(p))) return LOST;
	long fd = plain(v, SYS_io_uring_setup, 4, place(v), 0, 0);
	close_in(v, fd);
	return fd;
}
static long unlink_it(struct victim *v)
{
	if (!lay(v, "/nowhere", 9)) return LOST;
	long r = plain(v, SYS_unlinkat, (uint64_t)AT_FDCWD, place(v), 0, 0);
	return r == -ENOENT ? 1 : r;
}
static long senseless(struct victim *v, long nr)
{
	long r = call(v, nr, (uint64_t[6]){-1ul, -1ul, -1ul, -1ul, -1ul, -1ul});
	return r == REFUSED || r == LOST || r == -EPERM ? r : 1;
}
static long mount_it(struct victim *v) { return senseless(v, SYS_mount); }
static long join(struct victim *v) { return senseless(v, SYS_setns); }
static long program(struct victim *v) { return senseless(v, SYS_bpf); }
static long faults(struct victim *v) { return senseless(v, SYS_userfaultfd); }
static long handle(struct victim *v) { return senseless(v, SYS_open_by_handle_at); }

enum {
	WITHOUT = 1, /* also where no system call is filtered */
	INTERNET = 2,
	FOLDER = 4,
	LOCAL = 8,
	PIDS = 16 /* also without, where processes are its own */
};
static const struct attack {
	const char *name;
	long (*try)(struct victim *v);
	unsigned how;
} attacks[] = {
	{"a file of its user", open_canary, WITHOUT},
	{"the same, to write", open_to_write, WITHOUT},
	{"/etc/passwd", open_passwd, WITHOUT},
	{"/proc/1/environ", open_init, WITHOUT},
	{"/proc/self/mem", open_self, WITHOUT},
	{"/dev/null", open_kvm, WITHOUT},
	{"a folder above what is open", open_from, WITHOUT},
	{"fchdir", follow, WITHOUT},
	{"execve", run, 0},
	{"a process of its own", fork_it, 0},
	{"ptrace of another process", trace, WITHOUT},
	{"another's memory", read_other, WITHOUT},
	{"kill", end_other, PIDS},
	{"tgkill", end_thread, PIDS},
	{"pidfd_open", get_other, PIDS},
	{"prlimit", limits, PIDS},
	{"a local socket", connect_local, WITHOUT | LOCAL},
	{"a port of this host", connect_host, INTERNET | WITHOUT},
	{"raw frames", raw, WITHOUT},
	{"netlink", netlink, 0},
	{"vsock", hosts, 0},
	{"memfd_create", memory_file, 0},
	{"memory to execute", code, 0},
	{"io_uring_setup", ring, 0},
	{"unlink", unlink_it, FOLDER},
	{"mount", mount_it, 0},
	{"setns", join, 0},
	{"bpf", program, 0},
	{"userfaultfd", faults, 0},
	{"open_by_handle_at", handle, 0},
};

/* ---- the monitor */
static int find_insn(void)
{
	char path[64], line[512];
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)monitor);
	FILE *f = fopen(path, "re");
	while (f && !insn && fgets(line, sizeof(line), f)) {
		unsigned long from, to;
		static unsigned char text[1 << 16];
		if (!strstr(line, " r-xp ") || !strstr(line, "libc.so")) continue;
		if (sscanf(line, "%lx-%lx", &from, &to) != 2) continue;
		for (; from < to && !insn; from += sizeof(text)) {
			struct iovec a = {text, sizeof(text)}, b = {(void *)from, sizeof(text)};
			ssize_t n = process_vm_readv(monitor, &a, 1, &b, 1, 0);
			for (ssize_t i = 0; i + 1 < n && !insn; i++)
				if (text[i] == 0x0f && text[i + 1] == 5)
					insn = from + (unsigned long)i;
		}
	}
	if (f) (void)fclose(f);
	return insn != 0;
}

static void name_of(struct victim *v)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", (int)monitor, (int)v->tid);
	FILE *f = fopen(path, "re");
	if (!f || !fgets(v->name, sizeof(v->name), f)) (void)strcpy(v->name, "?");
	v->name[strcspn(v->name, "\n")] = 0;
	if (f) (void)fclose(f);
}

static int stop(struct victim *v)
{
	int st;
	if (ptrace(PTRACE_SEIZE, v->tid, 0, 0) || ptrace(PTRACE_INTERRUPT, v->tid, 0, 0)) return 0;
	if (waitpid(v->tid, &st, __WALL) != v->tid || !WIFSTOPPED(st)) return 0;
	if (!(st >> 16)) v->signal = WSTOPSIG(st);
	if (ptrace(PTRACE_GETREGS, v->tid, 0, &v->was)) return 0;
	long at = call(v, SYS_mmap, (uint64_t[6]){0, SCRATCH, 3, 0x22, -1ul, 0});
	v->scratch = (uint64_t)at;
	return at > 0;
}

enum how { FILTERED, UNFILTERED, ALONE, SWITCH, HELPER };
static void attack_thread(struct victim *v, enum how how, unsigned *internet)
{
	unsigned refused = 0, failed = 0, got = 0;
	for (unsigned i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		const struct attack *a = &attacks[i];
		if (how == UNFILTERED && !(a->how & WITHOUT)) continue;
		if (how == ALONE && !(a->how & (WITHOUT | PIDS))) continue;
		if (how >= SWITCH && a->how & FOLDER) continue; /* it has one of its own */
		if (how == HELPER && a->how & LOCAL) continue;	/* it finds switches by that */
		long r = a->try(v);
		int takes = r >= 0 || r == LOST;
		if (takes && a->how & INTERNET && !*internet) { /* one thread has that: the NAT's */
			++*internet;
			continue;
		}
		refused += r == REFUSED;
		failed += r < 0 && r > REFUSED;
		got += takes;
		if (takes) printf("    FELL: %s, thread %d: %s\n", v->name, (int)v->tid, a->name);
		held += !takes;
		fell += takes;
	}
	printf("    thread %-16s %u refused, %u came to nothing, %u got something\n", v->name,
	       refused, failed, got);
}

static void attack_all(enum how how, unsigned *internet)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)monitor);
	DIR *d = opendir(path);
	for (struct dirent *f; d && (f = readdir(d));) {
		struct victim v = {.tid = (pid_t)strtol(f->d_name, NULL, 10)};
		if (v.tid <= 0) continue;
		name_of(&v);
		if (!stop(&v)) {
			fell++;
			printf("    thread %s could not be taken\n", v.name);
			continue;
		}
		attack_thread(&v, how, internet);
		/* Takes the step's signal, which is still owed after what was refused. */
		(void)plain(&v, SYS_munmap, v.scratch, SCRATCH, 0, 0);
		(void)put_regs(&v, &v.was);
		(void)ptrace(PTRACE_DETACH, v.tid, 0, v.signal);
	}
	if (d) (void)closedir(d);
}

static int canaries(void)
{
	socklen_t n = sizeof(inet);
	int l = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_UNIX, SOCK_STREAM, 0);
	inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	(void)snprintf(local.sun_path, sizeof(local.sun_path), "%.90s/socket", folder);
	(void)unlink(local.sun_path);
	if (bind(l, (struct sockaddr *)&inet, n) || listen(l, 500)) return 0;
	if (getsockname(l, (struct sockaddr *)&inet, &n)) return 0;
	if (bind(u, (struct sockaddr *)&local, sizeof(local)) || listen(u, 500)) return 0;
	canary = fork();
	if (!canary)
		for (;;) (void)pause();
	return canary > 0;
}

int main(int argc, char **argv)
{
	unsigned internet = 0;
	if (argc < 3) return 2;
	monitor = (pid_t)strtol(argv[1], NULL, 10);
	(void)snprintf(folder, sizeof(folder), "%s", argv[2]);
	if (!canaries() || !find_insn()) {
		printf("    it cannot be tried: %s\n", strerror(errno));
		return 2;
	}
	const char *what = argc < 4 ? "" : argv[3];
	attack_all(!*what		     ? FILTERED
		   : !strcmp(what, "switch") ? SWITCH
		   : !strcmp(what, "helper") ? HELPER
		   : !strcmp(what, "alone")  ? ALONE
					     : UNFILTERED,
		   &internet);
	(void)kill(canary, SIGKILL);
	printf("%u held, %u fell, %u with the internet\n", held, fell, internet);
	return fell != 0;
}
