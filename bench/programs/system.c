/* What only a kernel does: calls, processes, mappings, signals; locks; code that is rewritten. */
#include "programs.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t getppids(int n)
{
	for (int i = 0; i < n * 10; i++) (void)syscall(SYS_getppid);
	return 1;
}

static uint64_t reads(int n)
{
	char c[64];
	uint64_t s = 0;
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < n * 10; i++) s += (uint64_t)read(fd, c, sizeof(c));
	(void)close(fd);
	return s;
}

static int file = -1;
static void file_make(void)
{
	static char page[4096];
	file = memfd_create("file", MFD_CLOEXEC);
	for (unsigned i = 0; i < 64; i++) {
		memset(page, (int)i, sizeof(page));
		if (write(file, page, sizeof(page)) < 0) exit(1);
	}
}
static uint64_t readfile(int n)
{
	static unsigned char b[1 << 16];
	uint64_t s = 0;
	for (int i = 0; i < n; i++) {
		ssize_t got = pread(file, b, sizeof(b), (i & 3) * (off_t)sizeof(b));
		s += (uint64_t)got + b[12345];
	}
	return s;
}

static uint64_t pipes(int n)
{
	int a[2], b[2];
	char c = 1;
	if (pipe(a) || pipe(b)) return 0;
	pid_t pid = fork();
	if (!pid) {
		(void)close(a[1]);
		while (read(a[0], &c, 1) == 1 && write(b[1], &c, 1) == 1) {
		}
		_exit(0);
	}
	while (n--)
		if (write(a[1], &c, 1) != 1 || read(b[0], &c, 1) != 1) break;
	(void)close(a[1]);
	(void)waitpid(pid, NULL, 0);
	(void)close(a[0]), (void)close(b[0]), (void)close(b[1]);
	return 2;
}

static uint64_t forks(int n)
{
	uint64_t s = 0;
	while (n--) {
		int st = 0;
		pid_t pid = fork();
		if (!pid) _exit(3);
		(void)waitpid(pid, &st, 0);
		s += (uint64_t)WEXITSTATUS(st);
	}
	return s;
}

/* main() returns 7 at once when it is called so. */
static uint64_t execs(int n)
{
	uint64_t s = 0;
	while (n--) {
		int st = 0;
		pid_t pid = fork();
		if (!pid) {
			(void)execl("/proc/self/exe", "programs", "-7", (char *)NULL);
			_exit(1);
		}
		(void)waitpid(pid, &st, 0);
		s += (uint64_t)WEXITSTATUS(st);
	}
	return s;
}

static uint64_t maps(int n)
{
	uint64_t s = 0;
	while (n--) {
		char *p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);
		for (int i = 0; i < 1 << 16; i += 4096) p[i] = 1, s++;
		(void)munmap(p, 1 << 16);
	}
	return s;
}

static char *pages;
static void pages_make(void)
{
	pages = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 1 << 16; i += 4096) pages[i] = 1;
}
static uint64_t protects(int n)
{
	uint64_t s = 0;
	for (int i = 0; i < n * 10; i++) {
		char *p = pages + (i & 15) * 4096;
		s += !mprotect(p, 4096, PROT_READ);
		s += (uint64_t)*p;
		s += !mprotect(p, 4096, PROT_READ | PROT_WRITE);
		*p ^= 1;
	}
	return s;
}

static volatile sig_atomic_t caught;
static void on_signal(int sig) { caught += sig > 0; }
static uint64_t signals(int n)
{
	(void)signal(SIGUSR1, on_signal);
	for (int i = 0; i < n; i++) (void)raise(SIGUSR1);
	return (uint64_t)caught;
}

/* The C library omits what locks are for while there never was a second thread. */
static void *nothing(void *p) { return p; }
static void be_threaded(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL)) exit(1);
}
static uint64_t mutex(int n)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	uint64_t s = 0;
	for (int i = 0; i < n * 100; i++) {
		(void)pthread_mutex_lock(&m);
		s++;
		(void)pthread_mutex_unlock(&m);
	}
	return s;
}

static uint64_t amo(int n)
{
	static uint64_t word, other;
	uint64_t s = 0;
	for (int i = 0; i < n * 100; i++) {
		s += __atomic_fetch_add(&word, 3, __ATOMIC_SEQ_CST);
		s ^= __atomic_exchange_n(&other, s, __ATOMIC_ACQ_REL);
	}
	return s;
}

static uint64_t cas(int n)
{
	static uint64_t word;
	for (int i = 0; i < n * 100; i++) {
		uint64_t old = __atomic_load_n(&word, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(&word, &old, old * 5 + 1, 0, __ATOMIC_SEQ_CST,
						    __ATOMIC_RELAXED)) {
		}
	}
	return word;
}

/* A function that returns a number, written anew each time: as translators of other languages do.
 */
static void write_function(unsigned char *at, unsigned value)
{
#if defined(__x86_64__)
	const unsigned char code[] = {0xb8, (unsigned char)value, (unsigned char)(value >> 8), 0, 0,
				      0xc3}; /* mov, ret */
#elif defined(__riscv)
	const unsigned code[] = {(value & 0x7ff) << 20 | 10 << 7 | 0x13, 0x00008067}; /* li, ret */
#else
#error "smc: this CPU's code is missing"
#endif
	memcpy(at, code, sizeof(code));
	__builtin___clear_cache((char *)at, (char *)at + sizeof(code));
}
static unsigned char *code_page;
static void code_make(void)
{
	code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code_page == MAP_FAILED) exit(1);
}
static uint64_t smc(int n)
{
	uint64_t s = 0;
	for (int i = 0; i < n * 10; i++) {
		unsigned char *at = code_page + (i & 7) * 64;
		unsigned (*f)(void);
		write_function(at, (unsigned)i & 0x7ff);
		memcpy(&f, &at, sizeof(f));
		s += f() + f();
	}
	return s;
}

const struct program system_programs[] = {
	{"getppid", getppids, 20000, NULL},
	{"read", reads, 12000, NULL},
	{"readfile", readfile, 6000, file_make},
	{"pipe", pipes, 8000, NULL},
	{"forkwait", forks, 250, NULL},
	{"forkexec", execs, 50, NULL},
	{"mmap", maps, 1200, NULL},
	{"mprotect", protects, 600, pages_make},
	{"signal", signals, 15000, NULL},
	{"mutex", mutex, 12000, be_threaded},
	{"amo", amo, 15000, NULL},
	{"cas", cas, 20000, NULL},
	{"smc", smc, 4000, code_make},
	{0},
};
