/* System calls by notes. The kernel's own cache answers for a call that no argument decides, so
 * the list is not sorted; it is made in some microseconds, so nothing is compiled beforehand. */
#include "base/jail.h"
#include "base/log.h"
#include "base/types.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* syscalls all: sysinfo read write readv writev close futex exit exit_group rt_sigprocmask
 * rt_sigreturn rt_sigaction sigaltstack restart_syscall brk mmap munmap mprotect mremap madvise
 * getpid gettid tgkill sched_yield clock_gettime clock_nanosleep nanosleep gettimeofday rseq
 * set_robust_list getrandom membarrier poll ppoll lseek fstat newfstatat prctl seccomp capget
 * capset sched_getaffinity landlock_create_ruleset landlock_restrict_self clone clone3 */

#if defined(__x86_64__)
#define HOST_AUDIT AUDIT_ARCH_X86_64
#elif defined(__riscv)
#define HOST_AUDIT AUDIT_ARCH_RISCV64
#endif

static const struct note {
	uint8_t class, any; /* any: whatever its arguments are */
	uint16_t nr;
} notes[] = {
#define NOTE(class, nr, any) {JAIL_##class, any, nr},
#include "syscalls.inc"
#undef NOTE
};
static const char *const names[] = {
#include "syscall_names.inc"
};
static const char *const classes[JAIL_CLASSES] = {"all",    "loop", "vcpu",  "disk", "nat",
						  "lan",    "tap",  "share", "term", "move",
						  "switch", "fs",   "helper"};
enum { PROCESSES = 32, RULES = COUNT(notes) * 2 + 160 + 3 * (2 * PROCESSES + 6) };

const char *jail_class_name(enum jail_class c) { return classes[c]; }

/* ---- calls that their arguments decide: allowed if (arg & mask) is one of them, or is not */
enum test { ONE_OF, NONE_OF, ANY_BIT_REFUSES, MUST_BE /* and what follows */, MUST_NOT /* so */ };
#define WORDS 8
static const struct rule {
	int nr;
	uint8_t arg, test;
	uint32_t mask;
	uint32_t word[WORDS]; /* ended by 0, but for the first */
	enum jail_class only; /* JAIL_ALL: of any */
} rules[] = {
	{SYS_mmap, 2, ANY_BIT_REFUSES, PROT_EXEC, {0}, JAIL_ALL},
	{SYS_mprotect, 2, ANY_BIT_REFUSES, PROT_EXEC, {0}, JAIL_ALL},
	/* To read, and not from a folder that was opened in another root. */
	{SYS_openat, 0, MUST_BE, ~0u, {(uint32_t)AT_FDCWD}, JAIL_ALL},
	{SYS_openat, 2, ANY_BIT_REFUSES, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, {0}, JAIL_ALL},
	{SYS_socket, 0, ONE_OF, ~0u, {AF_INET, AF_INET6}, JAIL_NAT},
	{SYS_socket, 0, ONE_OF, ~0u, {AF_UNIX}, JAIL_HELPER},
	/* Threads, and nothing else. */
	{SYS_clone,
	 0,
	 ONE_OF,
	 CLONE_THREAD | CLONE_VM | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET,
	 {CLONE_THREAD | CLONE_VM},
	 JAIL_ALL},
	/* No keys into the terminal we were started at (TIOCSTI). The numbers of KVM are 0xae??: no
	 * machines, CPUs and devices but those that it has; no secrets of encrypted ones. */
	{SYS_ioctl, 1, MUST_NOT, 0xffff, {0xae01, 0xae41, 0xaeba, 0xaed4, 0xaee0}, JAIL_ALL},
	{SYS_ioctl, 1, ONE_OF, 0xff00, {0xae00}, JAIL_ALL},
	{SYS_ioctl,
	 1,
	 ONE_OF,
	 ~0u,
	 {TCGETS, TCSETS, TCSETSW, TIOCGWINSZ, FIONREAD, FIONBIO},
	 JAIL_ALL},
	{SYS_ioctl, 1, ONE_OF, ~0u, {(uint32_t)FICLONE}, JAIL_HELPER},
	{SYS_ioctl, 1, ONE_OF, ~0u, {(uint32_t)BLKGETSIZE64}, JAIL_LOOP},
	{SYS_ioctl, 1, ONE_OF, ~0u, {TIOCSWINSZ}, JAIL_LOOP}, /* of a zone's terminal */
	/* Who owns a file gets its signals. */
	{SYS_fcntl,
	 1,
	 NONE_OF,
	 ~0u,
	 {F_SETOWN, F_SETOWN_EX, F_SETSIG, F_NOTIFY, F_SETLEASE},
	 JAIL_ALL},
	{SYS_prctl,
	 0,
	 ONE_OF,
	 ~0u,
	 {PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, 0x53564d41},
	 JAIL_ALL},
};

struct filter {
	struct sock_filter at[RULES];
	unsigned short n;
	unsigned refuse; /* SECCOMP_RET_* */
};

static void add(struct filter *f, unsigned code, uint32_t k, unsigned jt, unsigned jf)
{
	f->at[f->n++] = (struct sock_filter){(uint16_t)code, (uint8_t)jt, (uint8_t)jf, k};
}
static void load(struct filter *f, size_t at)
{
	add(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)at, 0, 0);
}
static void answer(struct filter *f, unsigned what) { add(f, BPF_RET | BPF_K, what, 0, 0); }
static size_t arg(unsigned n) { return offsetof(struct seccomp_data, args) + 8u * n; }

/* Loads the call's number again when the rule says nothing. */
static void rule_add(struct filter *f, const struct rule *r)
{
	unsigned n = 1;
	bool bits = r->test == ANY_BIT_REFUSES;
	while (!bits && n < WORDS && r->word[n]) n++;
	unsigned short from = f->n;
	add(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r->nr, 0, 0);
	load(f, arg(r->arg));
	add(f, BPF_ALU | BPF_AND | BPF_K, r->mask, 0, 0);
	if (bits) {
		add(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
		answer(f, SECCOMP_RET_ALLOW);
	}
	if (r->test == MUST_BE) {
		add(f, BPF_JMP | BPF_JEQ | BPF_K, r->word[0], 1, 0);
		answer(f, f->refuse);
	}
	for (unsigned i = 0; !bits && r->test != MUST_BE && i < n; i++) {
		add(f, BPF_JMP | BPF_JEQ | BPF_K, r->word[i], 0, 1);
		answer(f, r->test == ONE_OF ? SECCOMP_RET_ALLOW : f->refuse);
	}
	if (r->test == NONE_OF) answer(f, SECCOMP_RET_ALLOW);
	load(f, offsetof(struct seccomp_data, nr));
	f->at[from].jf = (uint8_t)(f->n - from - 1);
}

/* Signals to our own threads only. */
static void own_threads(struct filter *f)
{
	const struct rule own = {SYS_tgkill, 0, ONE_OF, ~0u, {(uint32_t)getpid()}, JAIL_ALL};
	rule_add(f, &own);
}

/* Of those that jail_process() has told of. */
static _Atomic int process[PROCESSES];
static _Atomic unsigned processes;
static const struct named {
	unsigned nr, arg;
	bool self; /* 0 is the caller */
} by_process[] = {{SYS_kill, 0, false}, {SYS_ptrace, 1, false}, {SYS_sched_setaffinity, 0, true}};

bool jail_process(int pid)
{
	unsigned n = processes;
	if (n == PROCESSES) return false;
	process[n] = pid;
	processes = n + 1;
	return true;
}
static void allow_value(struct filter *f, uint32_t value)
{
	add(f, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
	answer(f, SECCOMP_RET_ALLOW);
}
static void own_processes(struct filter *f, const struct named *by)
{
	unsigned short from = f->n;
	add(f, BPF_JMP | BPF_JEQ | BPF_K, by->nr, 0, 0);
	load(f, arg(by->arg));
	if (by->self) allow_value(f, 0);
	for (unsigned k = 0; k < processes; k++) allow_value(f, (uint32_t)process[k]);
	answer(f, f->refuse);
	f->at[from].jf = (uint8_t)(f->n - from - 1);
}

static bool is_narrowed(unsigned nr)
{
	for (unsigned i = 0; i < COUNT(by_process); i++)
		if (by_process[i].nr == nr) return true;
	for (unsigned i = 0; i < COUNT(rules); i++)
		if ((unsigned)rules[i].nr == nr) return true;
	return nr == SYS_tgkill;
}

/* Which a class may call. */
enum { HELD = 1 /* by a rule, if there is one for it */, ANY };
struct noted {
	uint8_t nr[COUNT(names)];
};
static void look_up(struct noted *to, enum jail_class c)
{
	*to = (struct noted){0};
	for (unsigned i = 0; i < COUNT(notes); i++) {
		unsigned of = notes[i].class;
		bool ours = of == JAIL_ALL ? c != JAIL_FS
					   : of == c || (c == JAIL_LOOP &&
							 (of == JAIL_VCPU || of == JAIL_MOVE));
		uint8_t how = notes[i].any ? ANY : HELD;
		if (ours && how > to->nr[notes[i].nr]) to->nr[notes[i].nr] = how;
	}
}

static void fill(struct filter *f, enum jail_class c)
{
	struct noted noted;
	look_up(&noted, c);
	load(f, offsetof(struct seccomp_data, arch));
	add(f, BPF_JMP | BPF_JEQ | BPF_K, HOST_AUDIT, 1, 0);
	answer(f, SECCOMP_RET_KILL_PROCESS);
	load(f, offsetof(struct seccomp_data, nr));
	/* Its flags lie in memory, where a filter cannot look; libraries then take clone. */
	add(f, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
	answer(f, SECCOMP_RET_ERRNO | ENOSYS);
	/* The C library looks into /proc when memory is given back, and does without. */
	if (!noted.nr[SYS_openat]) {
		add(f, BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1);
		answer(f, SECCOMP_RET_ERRNO | EACCES);
	}
	for (unsigned nr = 0; nr < COUNT(names); nr++) {
		if (!noted.nr[nr] || (noted.nr[nr] == HELD && is_narrowed(nr))) continue;
		add(f, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
		answer(f, SECCOMP_RET_ALLOW);
	}
	for (unsigned i = 0; i < COUNT(rules); i++)
		if (noted.nr[rules[i].nr] == HELD && (!rules[i].only || rules[i].only == c))
			rule_add(f, &rules[i]);
	if (noted.nr[SYS_tgkill] == HELD) own_threads(f);
	for (unsigned i = 0; i < COUNT(by_process); i++)
		if (noted.nr[by_process[i].nr] == HELD) own_processes(f, &by_process[i]);
	answer(f, f->refuse);
}

/* ---- what is refused dies aloud */
static _Thread_local enum jail_class this_class;
static void (*teller)(const char *words);

void jail_tell(void (*tell)(const char *words)) { teller = tell; }

static void refused(int sig, siginfo_t *info, void *context)
{
	char text[240], words[160];
	unsigned nr = (unsigned)info->si_syscall;
	const char *name = nr < COUNT(names) && names[nr] ? names[nr] : "?";
	(void)sig;
	(void)context;
	(void)snprintf(words, sizeof(words),
		       "its monitor was ended for system call %u (%s) of a %s thread", nr, name,
		       classes[this_class]);
	int n = snprintf(text, sizeof(text),
			 "lodge: %s: if that is Lodge's own, note it: syscalls %s: %s\n", words,
			 classes[this_class], name);
	(void)!write(STDERR_FILENO, text, (size_t)n);
	if (teller) teller(words);
	_exit(128 + SIGSYS);
}

static void hear_refusals(void)
{
	sigset_t set;
	struct sigaction s = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
	s.sa_sigaction = refused;
	(void)sigaction(SIGSYS, &s, NULL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGSYS);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

bool jail_filter(enum jail_class c, enum jail_refusal how, bool all_threads)
{
	const char *wish = getenv("LODGE_SECCOMP");
#ifdef LODGE_SAN
	wish = "off"; /* sanitizers ask for more than they would say */
#endif
	if (wish && !strcmp(wish, "off")) return true;
	if (wish && !strcmp(wish, "log")) how = JAIL_LOGS;
	struct filter f = {.refuse = how == JAIL_DIES	 ? SECCOMP_RET_TRAP
				     : how == JAIL_EPERM ? SECCOMP_RET_ERRNO | EPERM
							 : SECCOMP_RET_LOG};
	fill(&f, c);
	this_class = c;
	if (how == JAIL_DIES) hear_refusals();
	struct sock_fprog prog = {f.n, f.at};
	return !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0, &prog);
}
