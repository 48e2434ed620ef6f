/* The process is a program of one page, made here: it takes orders from a page that only we can
 * write to, one system call each, and stops. Between orders the guest's code runs in it. It is
 * started by exec, so that nothing of ours is in it: no memory, no files but the guest's memory.
 *
 * Ours and its thread never run at once. They are kept on one CPU: a change between two takes 4 us
 * there, and 20 times that across. The host's scheduler would have each of them wake where it is
 * idle, so both are held for a while; then it may choose anew. */
#include "engine/x86_stub.h"
#include "base/usage.h"
#include "hw/gmem.h"
#include "jit/x64/asm.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* syscalls vcpu: ptrace wait4 kill sched_setaffinity sched_getaffinity getcpu */

enum { PAGE = 4096, ORDERS = 511, REGIONS = 16, POKE = SIGUSR1, KILLED = -1, DYING = -2 };
enum { CALL = SIGTRAP | 0x80 }; /* it stops so for a system call */
#define ORDERS_AT (X86_STUB_AT + PAGE)
#define ENTRY	  (X86_STUB_AT + sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr))
struct order { /* a system call */
	uint64_t nr, arg[6], unused;
};
struct shared { /* the stub reads it */
	struct order order[ORDERS];
	uint64_t no_signals, flags;
};
_Static_assert(X86_STUB_AT + PAGE + sizeof(struct shared) <= X86_STUB_END, "it has room");
struct x86_stub {
	pid_t pid;
	int cpu;
	unsigned regions, orders;
	bool failed, forgets, is_counted;
	uint64_t ran, done;
	struct shared *shared;
	struct user_regs_struct first; /* at its program's beginning */
	bool is_had;		       /* by its thread */
	unsigned orders_at, flags_at;  /* in its program, from its beginning */
	uint64_t flags;		       /* as it has them */
	uint64_t breaks[X86_STUB_BREAKS];
	bool breaks_set; /* in its debug registers */
	size_t x_size;
	uint8_t *x; /* all of it, as the host has it; the first X86_STUB_X bytes as the stub has
		       them */
};

/* ---- its program */

/* It waits. At orders_at, the registers are those of a system call; rbx: its order; r12: how many
 * there are; it stops by int3 behind the last, by ud2 behind one that failed. At flags_at it takes
 * flags from its stack: ptrace does not set all. */
static void program(struct x86_stub *s, struct x64_asm *a)
{
	static const uint8_t arg[] = {RDI, RSI, RDX, R10, R8, R9};
	uint8_t *wait = a->p; /* until it is had: pause */
	mov_imm(a, RAX, SYS_pause);
	put8(a, 0x0f), put8(a, 0x05);
	jump_to(a, wait);
	s->orders_at = (unsigned)(a->p - wait);
	uint8_t *call = a->p;
	put8(a, 0x0f), put8(a, 0x05);
	alu_imm(a, ALU_CMP, OP_W, rm_reg(RAX), -4095);
	uint8_t *bad = jcc_later(a, CC_AE);
	alu_imm(a, ALU_ADD, OP_W, rm_reg(RBX), sizeof(struct order));
	alu_imm(a, ALU_SUB, OP_W, rm_reg(R12), 1);
	uint8_t *done = jcc_later(a, CC_E);
	mov_load(a, OP_W, RAX, rm_mem(RBX, 0));
	for (unsigned k = 0; k < COUNT(arg); k++)
		mov_load(a, OP_W, arg[k], rm_mem(RBX, (int32_t)(8 + 8 * k)));
	jump_to(a, call);
	set_rel32(bad, a->p);
	put8(a, 0x0f), put8(a, 0x0b);
	set_rel32(done, a->p);
	put8(a, 0xcc);
	s->flags_at = (unsigned)(a->p - wait);
	put8(a, 0x9d), put8(a, 0xcc); /* popf */
}
/* One that may be executed, also where the host wants that said (vm.memfd_noexec). */
static int file_new(void)
{
	enum { EXEC = 0x10 }; /* MFD_EXEC, of Linux 6.3 */
	int fd = memfd_create("lodge-stub", MFD_CLOEXEC | EXEC);
	return fd < 0 && errno == EINVAL ? memfd_create("lodge-stub", MFD_CLOEXEC) : fd;
}
/* An ELF file of one page, which is its only segment. That it wants no executable stack keeps older
 * kernels from making executable all that is readable. */
static int file_make(struct x86_stub *s)
{
	struct {
		Elf64_Ehdr e;
		Elf64_Phdr p[2];
		uint8_t code[PAGE - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
	} f = {
		.e = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				  EV_CURRENT},
		      .e_type = ET_EXEC,
		      .e_machine = EM_X86_64,
		      .e_version = EV_CURRENT,
		      .e_entry = ENTRY,
		      .e_phoff = sizeof(f.e),
		      .e_ehsize = sizeof(f.e),
		      .e_phentsize = sizeof(f.p[0]),
		      .e_phnum = COUNT(f.p)},
		.p = {{.p_type = PT_LOAD,
		       .p_flags = PF_R | PF_X,
		       .p_vaddr = X86_STUB_AT,
		       .p_filesz = PAGE,
		       .p_memsz = PAGE,
		       .p_align = PAGE},
		      {.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W}},
	};
	struct x64_asm a = {.p = f.code};
	program(s, &a);
	int fd = file_new();
	if (fd >= 0 && write(fd, &f, sizeof(f)) == sizeof(f)) return fd;
	if (fd >= 0) (void)close(fd);
	return -1;
}

/* ---- its birth */

/* What waiting, exec and orders take, and nothing else, whoever gives those; who tries gets a
 * signal. */
#define ALLOW(nr)                                                                                  \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
static bool narrow(void)
{
	static const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_mmap),
		ALLOW(SYS_munmap),
		ALLOW(SYS_pause),
		ALLOW(SYS_close),
		ALLOW(SYS_rt_sigprocmask),
		ALLOW(SYS_execveat),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		ALLOW(PR_SET_TSC),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	const struct sock_fprog f = {COUNT(code), (struct sock_filter *)(uintptr_t)code};
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &f);
}
struct birth {
	int exe, shared, region[REGIONS];
	unsigned regions;
	pid_t parent;
};
/* In the new process, which has our memory until it becomes another program: system calls only.
 * Files: the regions from 0 on, then the orders. */
static int child(void *p)
{
	enum { HIGH = 32 }; /* beyond what any of them becomes */
	static char *const none[] = {NULL};
	const struct birth *b = p;
	int fd[REGIONS + 2];
	unsigned n = 0;
	for (unsigned k = 0; k < b->regions; k++) fd[n++] = fcntl(b->region[k], F_DUPFD, HIGH);
	fd[n++] = fcntl(b->shared, F_DUPFD, HIGH);
	fd[n++] = fcntl(b->exe, F_DUPFD, HIGH);
	for (unsigned k = 0; k < n; k++)
		if (fd[k] < 0 || dup2(fd[k], (int)k) < 0) _exit(1);
	if (fcntl((int)n - 1, F_SETFD, FD_CLOEXEC) || syscall(SYS_close_range, n, ~0u, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != b->parent || !narrow())
		_exit(1);
	(void)syscall(SYS_execveat, n - 1, "", none, none, AT_EMPTY_PATH);
	_exit(1);
}
static pid_t born(struct birth *b)
{
	enum { STACK = 16384 };
	sigset_t all, was;
	uint8_t *stack = malloc(STACK);
	if (!stack) return 0;
	(void)sigfillset(&all); /* our handlers are not for it */
	(void)pthread_sigmask(SIG_SETMASK, &all, &was);
	pid_t pid = clone(child, stack + STACK, CLONE_VM | CLONE_VFORK, b);
	(void)pthread_sigmask(SIG_SETMASK, &was, NULL);
	free(stack);
	return pid < 0 ? 0 : pid;
}
static void uncount(struct x86_stub *s)
{
	if (s->is_counted) usage_remove(s->pid);
	s->is_counted = false;
}
/* The signal that it stopped by next; 0: by no signal; DYING: it was killed, and has its registers
 * still; KILLED. */
static int wait_stop(struct x86_stub *s)
{
	enum { EVENT = 16 };
	int st;
	pid_t got;
	while ((got = waitpid(s->pid, &st, __WALL)) < 0 && errno == EINTR) continue;
	if (got == s->pid && WIFSTOPPED(st) && st >> EVENT != PTRACE_EVENT_EXIT)
		return st >> EVENT ? 0 : WSTOPSIG(st);
	s->failed = true;
	uncount(s);
	if (got == s->pid && WIFSTOPPED(st)) return DYING;
	s->pid = 0;
	return KILLED;
}
/* Not PTRACE_GETREGSET: that has 32-bit code's registers in another order. */
static bool regs_get(const struct x86_stub *s, struct user_regs_struct *r)
{
	return !ptrace(PTRACE_GETREGS, s->pid, 0, r);
}
static bool regs_set(const struct x86_stub *s, struct user_regs_struct *r)
{
	return !ptrace(PTRACE_SETREGS, s->pid, 0, r);
}
static bool vectors(const struct x86_stub *s, enum __ptrace_request request, size_t n)
{
	struct iovec v = {s->x, n};
	return !ptrace(request, s->pid, (void *)(uintptr_t)NT_X86_XSTATE, &v);
}

/* It is stopped by a signal: of its own doing, not a kill() from outside? */
static bool is_exception(int sig, const siginfo_t *info)
{
	bool known = sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL ||
		     sig == SIGTRAP || sig == SIGSYS;
	return known && info->si_code > 0;
}
static bool is_own(const struct x86_stub *s, int sig, siginfo_t *info)
{
	return !ptrace(PTRACE_GETSIGINFO, s->pid, 0, info) && is_exception(sig, info);
}

/* ---- together on one CPU */

static _Thread_local struct {
	bool on;
	int cpu;
	uint64_t since;
	cpu_set_t before, one;
} hold;

void x86_stub_release(uint64_t ticks)
{
	cpu_set_t now;
	if (!hold.on || __builtin_ia32_rdtsc() - hold.since < ticks) return;
	hold.on = false;
	bool ours = !sched_getaffinity(0, sizeof(now), &now) && CPU_EQUAL(&now, &hold.one);
	if (ours) (void)sched_setaffinity(0, sizeof(hold.before), &hold.before);
}
static void come_along(struct x86_stub *s)
{
	if (!hold.on) {
		int cpu = sched_getcpu();
		if (cpu < 0 || cpu >= CPU_SETSIZE ||
		    sched_getaffinity(0, sizeof(hold.before), &hold.before))
			return;
		CPU_ZERO(&hold.one);
		CPU_SET((size_t)cpu, &hold.one);
		if (sched_setaffinity(0, sizeof(hold.one), &hold.one)) return;
		hold.cpu = cpu;
		hold.since = __builtin_ia32_rdtsc();
		hold.on = true;
	}
	if (s->cpu == hold.cpu) return;
	(void)sched_setaffinity(s->pid, sizeof(hold.one), &hold.one);
	s->cpu = hold.cpu;
}

/* ---- orders */

enum { ID = 1 << 21 };
/* With flags of its own: the guest's TF would stop it before it is done. */
static bool program_run(struct x86_stub *s, const struct user_regs_struct *r)
{
	struct user_regs_struct copy = *r;
	copy.eflags = (s->first.eflags & ~(uint64_t)ID) | (s->flags & ID);
	bool good = regs_set(s, &copy);
	siginfo_t info;
	int sig = 0;
	do {
		good = good && !ptrace(PTRACE_CONT, s->pid, 0, 0);
		if (good) sig = wait_stop(s);
	} while (good && sig >= 0 && !is_own(s, sig, &info));
	return good && sig == SIGTRAP;
}
/* Those that are there. */
bool x86_stub_ready(struct x86_stub *s)
{
	const struct order *o = s->shared->order;
	struct user_regs_struct r = s->first;
	unsigned n = s->orders;
	s->orders = 0;
	s->done += n;
	if (!n || s->failed) return !s->failed;
	come_along(s);
	r.rip += s->orders_at;
	r.rax = o->nr, r.rdi = o->arg[0], r.rsi = o->arg[1], r.rdx = o->arg[2];
	r.r10 = o->arg[3], r.r8 = o->arg[4], r.r9 = o->arg[5];
	r.rbx = ORDERS_AT, r.r12 = n;
	s->failed = !program_run(s, &r);
	memset(s->shared->order, 0, n * sizeof(*o)); /* the guest's code could read them */
	return !s->failed;
}
static bool order(struct x86_stub *s, struct order o)
{
	if (s->orders == ORDERS && !x86_stub_ready(s)) return false;
	s->shared->order[s->orders++] = o;
	return !s->failed;
}
bool x86_stub_map(struct x86_stub *s, uint64_t at, size_t len, unsigned prot, unsigned region,
		  uint64_t off)
{
	enum { FLAGS = MAP_SHARED | MAP_FIXED | MAP_POPULATE };
	struct order *last = s->orders ? &s->shared->order[s->orders - 1] : NULL;
	bool more = last && last->nr == SYS_mmap && last->arg[0] + last->arg[1] == at &&
		    last->arg[2] == prot && last->arg[4] == region &&
		    last->arg[5] + last->arg[1] == off;
	if (more) last->arg[1] += len;
	return more || order(s, (struct order){SYS_mmap, {at, len, prot, FLAGS, region, off}, 0});
}
bool x86_stub_hide(struct x86_stub *s, uint64_t at, size_t len)
{
	struct order *last = s->orders ? &s->shared->order[s->orders - 1] : NULL;
	bool more = last && last->nr == SYS_munmap && last->arg[0] + last->arg[1] == at;
	if (more) last->arg[1] += len;
	return more || order(s, (struct order){SYS_munmap, {at, len}, 0});
}

/* Nothing is there but the program and its orders. */
static bool confine(struct x86_stub *s)
{
	enum { FLAGS = MAP_SHARED | MAP_FIXED };
	const uint64_t size = (sizeof(struct shared) + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	const uint64_t end = ORDERS_AT + size, at = ORDERS_AT;
	const struct order todo[] = {
		{SYS_mmap, {at, size, PROT_READ, FLAGS, s->regions, 0}, 0},
		{SYS_close, {s->regions}, 0},
		{SYS_munmap, {0, X86_STUB_AT}, 0},
		{SYS_munmap, {end, X86_USER_END - end}, 0},
		{SYS_rt_sigprocmask,
		 {SIG_SETMASK, at + offsetof(struct shared, no_signals), 0, sizeof(uint64_t)},
		 0},
		{SYS_prctl, {PR_SET_TSC, PR_TSC_SIGSEGV}, 0},
	};
	bool good = order(s, todo[0]) && x86_stub_ready(s); /* the next ones it reads itself */
	for (unsigned k = 1; k < COUNT(todo); k++) good = good && order(s, todo[k]);
	return good && x86_stub_ready(s);
}

/* ---- life */

static bool learn(struct x86_stub *s)
{
	enum { MOST = 65536 };
	s->x = calloc(1, MOST);
	struct iovec v = {s->x, MOST};
	if (!s->x || !regs_get(s, &s->first) ||
	    ptrace(PTRACE_GETREGSET, s->pid, (void *)(uintptr_t)NT_X86_XSTATE, &v))
		return false;
	s->x_size = v.iov_len;
	s->flags = s->first.eflags;
	s->first.rip = ENTRY;
	s->first.orig_rax = ~0ull; /* no system call to be done again */
	return s->x_size >= X86_STUB_X;
}
bool x86_stub_have(struct x86_stub *s)
{
	const unsigned long how = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXIT;
	if (s->is_had) return !s->failed;
	s->is_had = true;
	s->failed = ptrace(PTRACE_SEIZE, s->pid, 0, how) ||
		    ptrace(PTRACE_INTERRUPT, s->pid, 0, 0) || wait_stop(s) < 0 || !learn(s) ||
		    !confine(s);
	return !s->failed;
}
static bool start(struct x86_stub *s, struct gmem *m)
{
	struct birth b = {.exe = file_make(s),
			  .shared = memfd_create("lodge-orders", MFD_CLOEXEC),
			  .parent = getpid()};
	struct gmem_region r;
	while (b.regions < REGIONS && gmem_region(m, b.regions, &r)) b.region[b.regions++] = r.fd;
	s->regions = b.regions;
	if (b.exe >= 0 && b.shared >= 0 && !ftruncate(b.shared, sizeof(struct shared))) {
		void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED,
			       b.shared, 0);
		s->shared = p == MAP_FAILED ? NULL : p;
	}
	if (s->shared) s->pid = born(&b);
	if (b.exe >= 0) (void)close(b.exe);
	if (b.shared >= 0) (void)close(b.shared);
	return s->pid != 0;
}
struct x86_stub *x86_stub_new(struct gmem *m)
{
	struct x86_stub *s = calloc(1, sizeof(*s));
	if (!s) return NULL;
	s->cpu = -1;
	s->breaks_set = true;
	if (start(s, m)) {
		usage_add(s->pid);
		s->is_counted = true;
		return s;
	}
	x86_stub_free(s);
	return NULL;
}
void x86_stub_free(struct x86_stub *s)
{
	if (!s) return;
	uncount(s);
	if (s->pid && !kill(s->pid, SIGKILL)) do /* it may stop once more, or be at that */
			(void)ptrace(PTRACE_CONT, s->pid, 0, 0);
		while (wait_stop(s) != KILLED);
	if (s->shared) (void)munmap(s->shared, sizeof(struct shared));
	free(s->x);
	free(s);
}
void x86_stub_forget(struct x86_stub *s) { s->forgets = true; }
uint64_t x86_stub_ran(const struct x86_stub *s) { return s->ran; }
uint64_t x86_stub_orders(const struct x86_stub *s) { return s->done; }
int x86_stub_pid(const struct x86_stub *s) { return s->pid; }
void x86_stub_poke(int pid) { (void)kill(pid, POKE); }

/* ---- breakpoints */

void x86_stub_break(struct x86_stub *s, unsigned k, uint64_t at)
{
	s->breaks_set &= s->breaks[k] == at;
	s->breaks[k] = at;
}
static bool debug_register(const struct x86_stub *s, unsigned n, uint64_t value)
{
	size_t at = offsetof(struct user, u_debugreg) + n * sizeof(unsigned long);
	return !ptrace(PTRACE_POKEUSER, s->pid, (void *)at, (void *)(uintptr_t)value);
}
/* SDM 3, 18.2.4: two bits each say which count; R/W and LEN of 0 are instructions. */
static bool breaks_give(struct x86_stub *s)
{
	enum { DR7 = 7 };
	uint64_t on = 0;
	if (s->breaks_set) return true;
	if (!debug_register(s, DR7, 0)) return false;
	for (unsigned k = 0; k < X86_STUB_BREAKS; k++) {
		if (s->breaks[k] && !debug_register(s, k, s->breaks[k])) return false;
		if (s->breaks[k]) on |= 1ull << 2 * k;
	}
	s->breaks_set = debug_register(s, DR7, on);
	return s->breaks_set;
}

/* ---- the guest's code */

/* EFLAGS.ID, which ptrace leaves alone. */
static bool id_set(struct x86_stub *s, uint64_t flags)
{
	if (!((flags ^ s->flags) & ID)) return true;
	struct user_regs_struct r = s->first;
	s->shared->flags = (s->first.eflags & ~(uint64_t)ID) | (flags & ID);
	r.rip += s->flags_at;
	r.rsp = ORDERS_AT + offsetof(struct shared, flags);
	return program_run(s, &r);
}
enum { X_HEADER_AT = 512, X_HEADER = 64, X_PARTS = 7, X_HIGH = 4, X_HIGH_AT = 576 };
/* Upper halves that hold nothing are given as never used: as in x86_vector_enter(). */
static bool has_high(const uint8_t *x)
{
	static const uint8_t nothing[X86_STUB_X - X_HIGH_AT];
	return memcmp(x + X_HIGH_AT, nothing, sizeof(nothing)) != 0;
}
static bool give(struct x86_stub *s, struct user_regs_struct *r, const uint8_t *x)
{
	r->orig_rax = ~0ull;
	if (!id_set(s, r->eflags) || !regs_set(s, r)) return false;
	if (!s->forgets && !memcmp(x, s->x, X86_STUB_X)) return true;
	s->forgets = false;
	memcpy(s->x, x, X86_STUB_X);
	memset(s->x + X_HEADER_AT, 0, X_HEADER);
	s->x[X_HEADER_AT] = has_high(x) ? X_PARTS : X_PARTS & ~X_HIGH;
	return vectors(s, PTRACE_SETREGSET, s->x_size);
}
static bool take(struct x86_stub *s, struct user_regs_struct *r, uint8_t *x)
{
	if (!regs_get(s, r) || !vectors(s, PTRACE_GETREGSET, X86_STUB_X)) return false;
	memset(s->x + X_HEADER_AT, 0, X_HEADER);
	s->x[X_HEADER_AT] = X_PARTS;
	memcpy(x, s->x, X86_STUB_X);
	s->flags = r->eflags;
	return true;
}
/* A call into the page at the end of all addresses that hosts have done by themselves: SIGSYS comes
 * behind what they did. */
static void undo_vsyscall(struct user_regs_struct *r, const siginfo_t *info)
{
	r->rip = (uintptr_t)info->si_call_addr;
	r->rsp -= sizeof(uint64_t);
}
static enum x86_stub_end what(int sig, const siginfo_t *info, struct user_regs_struct *r,
			      uint64_t *at)
{
	enum { RF = 1 << 16 }; /* what faults pushes it set, what traps does not */
	*at = (uintptr_t)info->si_addr;
	switch (sig) {
	case SIGSEGV:
		if (info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR)
			return X86_STUB_FAULT;
		return r->eflags & RF ? X86_STUB_TRAP : X86_STUB_OVERFLOW;
	case SIGTRAP:
		if (info->si_code == TRAP_HWBKPT) return X86_STUB_BREAK;
		return info->si_code == TRAP_TRACE ? X86_STUB_STEP : X86_STUB_INT3;
	case SIGSYS: undo_vsyscall(r, info); return X86_STUB_TRAP;
	default: return X86_STUB_TRAP;
	}
}
enum x86_stub_end x86_stub_run(struct x86_stub *s, struct user_regs_struct *r,
			       uint8_t x[X86_STUB_X], uint64_t *at)
{
	siginfo_t info;
	int sig;
	if (s->failed || !breaks_give(s) || !give(s, r, x)) return X86_STUB_REFUSED;
	come_along(s);
	uint64_t began = __builtin_ia32_rdtsc();
	do {
		(void)ptrace(PTRACE_SYSEMU, s->pid, 0, 0); /* fails if it is killed just now */
		sig = wait_stop(s);
	} while (sig >= 0 && sig != CALL && sig != POKE && !is_own(s, sig, &info));
	s->ran = __builtin_ia32_rdtsc() - began;
	if (sig == KILLED || (!take(s, r, x) && (wait_stop(s) != DYING || !take(s, r, x))))
		return X86_STUB_GONE;
	if (sig == DYING) return (int64_t)r->orig_rax < 0 ? X86_STUB_POKED : X86_STUB_CALL;
	return sig == CALL ? X86_STUB_CALL : sig == POKE ? X86_STUB_POKED : what(sig, &info, r, at);
}
