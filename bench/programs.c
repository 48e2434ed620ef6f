/* The benchmark programs: one small loop a kind of work, so that a slow figure names its cause.
 * programs [NAME...] runs them (all by default), each `scale` times its unit of work, and prints
 * "NAME CPU-SECONDS CHECKSUM". The checksum keeps compilers honest and lets the runs of two
 * machines be compared: it depends on the work alone. */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint32_t seed;
static uint32_t rnd(void) { return seed = seed * 1664525u + 1013904223u; }

static uint64_t sieve(int n)
{
	static uint8_t composite[1 << 16];
	uint64_t count = 0;
	while (n--) {
		memset(composite, 0, sizeof(composite));
		for (unsigned i = 2; i < sizeof(composite); i++) {
			if (composite[i]) continue;
			count++;
			for (unsigned j = 2 * i; j < sizeof(composite); j += i) composite[j] = 1;
		}
	}
	return count;
}

static __attribute__((noinline)) uint64_t fib1(unsigned n)
{
	return n < 2 ? n : fib1(n - 1) + fib1(n - 2);
}
static uint64_t fib(int n)
{
	uint64_t s = 0;
	while (n--) s += fib1(20);
	return s;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}
static uint64_t libqsort(int n)
{
	static uint32_t v[4096];
	uint64_t s = 0;
	while (n--) {
		for (unsigned i = 0; i < 4096; i++) v[i] = rnd();
		qsort(v, 4096, sizeof(v[0]), by_value);
		s += v[2048];
	}
	return s;
}

static uint64_t inc(uint64_t a) { return a + 1; }
static uint64_t dbl(uint64_t a) { return a * 2; }
static uint64_t rot(uint64_t a) { return a >> 7 | a << 57; }
static uint64_t neg(uint64_t a) { return ~a; }
static uint64_t icall(int n)
{
	static uint64_t (*volatile f[4])(uint64_t) = {inc, dbl, rot, neg};
	uint64_t a = 1;
	for (int i = 0; i < n * 1000; i++) a = f[i * 7 >> 2 & 3](a);
	return a;
}

static uint64_t interp(int n)
{
	static const uint8_t code[] = {0, 1, 2, 3, 1, 4, 0, 2, 1, 5};
	uint64_t a = 3, b = 5;
	int count = n * 1000;
	for (unsigned pc = 0;; pc++) {
		switch (code[pc]) {
		case 0: a += b; break;
		case 1: b ^= a << 1; break;
		case 2: a -= 7; break;
		case 3: b = b * 3 + 1; break;
		case 4: a ^= b >> 3; break;
		default:
			if (!count--) return a ^ b;
			pc = (unsigned)-1;
		}
	}
}

static uint64_t crc(int n)
{
	static uint32_t t[256];
	static uint8_t data[4096];
	uint32_t c = ~0u;
	for (uint32_t i = 0; i < 256; i++) {
		t[i] = i;
		for (int k = 0; k < 8; k++) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0xedb88320u : 0);
	}
	for (unsigned i = 0; i < sizeof(data); i++) data[i] = (uint8_t)rnd();
	while (n--)
		for (unsigned i = 0; i < sizeof(data); i++) c = t[(c ^ data[i]) & 255] ^ c >> 8;
	return c;
}

static uint64_t mix32(int n) /* the shape of a hash: adds, rotations, xors, all in registers */
{
	uint32_t a = 1, b = 2, c = 3, d = 4;
	for (int i = 0; i < n * 1000; i++) {
		a += b, d ^= a, d = d << 16 | d >> 16;
		c += d, b ^= c, b = b << 12 | b >> 20;
		a += b, d ^= a, d = d << 8 | d >> 24;
		c += d, b ^= c, b = b << 7 | b >> 25;
	}
	return a ^ b ^ c ^ d;
}

static uint64_t mul64(int n)
{
	uint64_t a = 0x9e3779b97f4a7c15u, s = 0;
	for (int i = 0; i < n * 1000; i++) s += (a *= 0xd1342543de82ef95u) >> 32;
	return s;
}

static uint64_t divide(int n)
{
	uint64_t s = 0;
	for (int i = 0; i < n * 1000; i++) s += (rnd() | 1ull << 40) / ((rnd() >> 20) + 3);
	return s;
}

enum { MAT = 48 };
static uint64_t matd(int n)
{
	static double a[MAT][MAT], b[MAT][MAT], c[MAT][MAT];
	for (int i = 0; i < MAT; i++)
		for (int j = 0; j < MAT; j++) a[i][j] = (i + j) % 7, b[i][j] = (i * j) % 5;
	while (n--)
		for (int i = 0; i < MAT; i++)
			for (int j = 0; j < MAT; j++) {
				double s = 0;
				for (int k = 0; k < MAT; k++) s += a[i][k] * b[k][j];
				c[i][j] += s;
			}
	return (uint64_t)c[3][4];
}

static uint64_t nbody(int n)
{
	double p[5][3], v[5][3], e = 0;
	for (int i = 0; i < 5; i++)
		for (int k = 0; k < 3; k++)
			p[i][k] = (i * 37 + k * 5) % 11 - 5.0, v[i][k] = (i * 13 + k) % 7 * 0.01;
	for (n *= 20; n--;) {
		for (int i = 0; i < 5; i++)
			for (int j = 0; j < i; j++) {
				double d[3], r = 0.1;
				for (int k = 0; k < 3; k++)
					d[k] = p[i][k] - p[j][k], r += d[k] * d[k];
				double m = 0.001 / (r * sqrt(r));
				for (int k = 0; k < 3; k++)
					v[i][k] -= d[k] * m, v[j][k] += d[k] * m;
			}
		for (int i = 0; i < 5; i++)
			for (int k = 0; k < 3; k++) p[i][k] += 0.001 * v[i][k];
	}
	for (int i = 0; i < 5; i++)
		for (int k = 0; k < 3; k++) e += fabs(p[i][k]);
	return (uint64_t)(e * 1000);
}

static uint64_t mandel(int n)
{
	uint64_t s = 0;
	while (n--)
		for (int y = 0; y < 16; y++)
			for (int x = 0; x < 16; x++) {
				double cr = x / 8.0 - 1.5, ci = y / 8.0 - 1, a = 0, b = 0;
				int i = 0;
				for (; i < 100 && a * a + b * b < 4; i++) {
					double t = a * a - b * b + cr;
					b = 2 * a * b + ci, a = t;
				}
				s += (uint64_t)i;
			}
	return s;
}

static uint64_t convert(int n)
{
	uint64_t s = 0;
	float f = 0.5f;
	for (int i = 0; i < n * 1000; i++) {
		f = (float)((double)f * 1.25 + i);
		s += (uint64_t)(int64_t)f & 1023;
		if (f > 1e6f) f = 0.5f;
	}
	return s;
}

static uint64_t chase(int n)
{
	enum { N = 1 << 16 };
	static uint32_t next[N];
	uint32_t at = 0;
	if (!next[0])
		for (uint32_t i = 0; i < N; i++) next[i] = (i * 40503u + 12345u) % N;
	for (int i = 0; i < n * 1000; i++) at = next[at];
	return at;
}

static uint64_t stream(int n)
{
	enum { N = 1 << 15 };
	static double a[N], b[N], c[N];
	for (int i = 0; i < N; i++) b[i] = i, c[i] = 2 * i;
	while (n--) {
		for (int i = 0; i < N; i++) a[i] = b[i] + 3.0 * c[i];
		b[n & 1023] += 1;
	}
	return (uint64_t)a[77];
}

static uint64_t copy(int n)
{
	static char a[1 << 16], b[1 << 16];
	while (n--) {
		memcpy(a, b, sizeof(a));
		b[n & 0xffff]++;
	}
	return (uint64_t)a[5];
}

static uint64_t length(int n)
{
	static char s[4096];
	size_t (*volatile len)(const char *) = strlen;
	uint64_t t = 0;
	memset(s, 'x', sizeof(s) - 1);
	while (n--) t += len(s + (n & 63));
	return t;
}

static uint64_t hist(int n)
{
	static uint8_t data[1 << 14];
	uint32_t h[256] = {0};
	for (unsigned i = 0; i < sizeof(data); i++) data[i] = (uint8_t)rnd();
	while (n--)
		for (unsigned i = 0; i < sizeof(data); i++) h[data[i]]++;
	return h[9];
}

struct node {
	struct node *kid[2];
	uint32_t key;
};
static uint64_t tree(int n)
{
	uint64_t hits = 0;
	while (n--) {
		static struct node pool[2048];
		struct node *root = NULL;
		memset(pool, 0, sizeof(pool));
		for (unsigned i = 0; i < 2048; i++) {
			struct node **at = &root;
			pool[i].key = rnd();
			while (*at) at = &(*at)->kid[pool[i].key > (*at)->key];
			*at = &pool[i];
		}
		for (unsigned i = 0; i < 2048; i++) {
			uint32_t key = rnd();
			struct node *at = root;
			while (at && at->key != key) at = at->kid[key > at->key], hits++;
		}
	}
	return hits;
}

static uint64_t heap(int n)
{
	void *p[64] = {0};
	uint64_t s = 0;
	for (int i = 0; i < n * 100; i++) {
		unsigned k = rnd() >> 26;
		free(p[k]);
		p[k] = malloc(16 + (rnd() >> 23));
		s += p[k] != NULL;
	}
	for (int i = 0; i < 64; i++) free(p[i]);
	return s;
}

static uint64_t text(int n) /* printf and strtod: what script languages spend their time on */
{
	uint64_t s = 0;
	for (int i = 0; i < n * 10; i++) {
		char b[64];
		(void)snprintf(b, sizeof(b), "%d:%.3f:%s", i, i * 0.37, "lodge");
		s += strlen(b) + (uint64_t)strtod(strchr(b, ':') + 1, NULL);
	}
	return s;
}

static uint64_t getppids(int n)
{
	for (int i = 0; i < n * 10; i++) (void)syscall(SYS_getppid);
	return 1;
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

static volatile sig_atomic_t caught;
static void on_signal(int sig) { caught += sig > 0; }
static uint64_t signals(int n)
{
	(void)signal(SIGUSR1, on_signal);
	for (int i = 0; i < n; i++) (void)raise(SIGUSR1);
	return 4;
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

/* n is set so that each takes 10 to 40 ms natively on the machine this was written on. */
static const struct {
	const char *name;
	uint64_t (*run)(int n);
	int n;
} programs[] = {
	{"sieve", sieve, 100},	      {"fib", fib, 600},	  {"libqsort", libqsort, 40},
	{"icall", icall, 5000},	      {"interp", interp, 400},	  {"crc", crc, 2000},
	{"mix32", mix32, 4000},	      {"mul64", mul64, 10000},	  {"div", divide, 5000},
	{"matd", matd, 100},	      {"nbody", nbody, 2000},	  {"mandel", mandel, 400},
	{"fcvt", convert, 4000},      {"chase", chase, 5000},	  {"stream", stream, 800},
	{"memcpy", copy, 6000},	      {"strlen", length, 50000}, {"hist", hist, 800},
	{"tree", tree, 60},	      {"malloc", heap, 6000},	  {"text", text, 1500},
	{"getppid", getppids, 10000}, {"pipe", pipes, 300},	  {"forkwait", forks, 100},
	{"mmap", maps, 300},	      {"signal", signals, 5000}, {"mutex", mutex, 20000},
};

static double cpu_seconds(void)
{
	struct timespec a;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	return (double)a.tv_sec + (double)a.tv_nsec * 1e-9;
}

/* Programs that use children are timed by the wall: a guest's process is the whole machine. */
static double wall_seconds(void)
{
	struct timespec a;
	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	return (double)a.tv_sec + (double)a.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
	int scale = argc > 1 ? atoi(argv[1]) : 100; /* percent */
	for (unsigned i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		int wanted = argc <= 2, n = programs[i].n * scale / 100;
		for (int k = 2; k < argc; k++) wanted |= !strcmp(argv[k], programs[i].name);
		if (!wanted) continue;
		int kids = programs[i].run == pipes || programs[i].run == forks;
		seed = 1;
		double from = kids ? wall_seconds() : cpu_seconds();
		uint64_t sum = programs[i].run(n > 0 ? n : 1);
		double took = (kids ? wall_seconds() : cpu_seconds()) - from;
		(void)printf("%s %.6f %llx\n", programs[i].name, took, (unsigned long long)sum);
		(void)fflush(stdout);
	}
	return 0;
}
