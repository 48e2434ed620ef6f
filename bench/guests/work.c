/* What the guests of bench/guests do, so that both peers' do the same:
 * work disk PATTERN DEVICE MIB    past the page cache; writes end with a flush
 * work send ADDRESS PORT MIB      a TCP stream; its end is acknowledged by the other side
 * work sink PORT                  the other side of one
 * work look DIR                   each file's state is asked for
 * work dirty MIB                  writes a word to each page, over and over, 200 MiB a second
 * Each prints "done BYTES-OR-FILES SECONDS" by its own clock. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, BIG = 1 << 20, SMALL = 4096, THREADS = 16, PAGE = 4096 };

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}
static void done(double n, double since) { printf("done %.0f %.6f\n", n, now() - since); }

/* ---- disks */
static struct {
	int fd, write;
	size_t piece;
	long pieces, all;
	long next; /* of all threads */
} disk;

static unsigned long scramble(unsigned long x)
{
	x = x * 0x9e3779b97f4a7c15ul;
	return x ^ x >> 31;
}

static void *disk_thread(void *random)
{
	void *p;
	if (posix_memalign(&p, PAGE, disk.piece)) die("memory");
	memset(p, 0x5a, disk.piece);
	for (;;) {
		long i = __atomic_fetch_add(&disk.next, 1, __ATOMIC_RELAXED);
		if (i >= disk.pieces) return NULL;
		if (random) i = (long)(scramble((unsigned long)i) % (unsigned long)disk.all);
		off_t at = (off_t)i * (off_t)disk.piece;
		ssize_t n = disk.write ? pwrite(disk.fd, p, disk.piece, at)
				       : pread(disk.fd, p, disk.piece, at);
		if (n != (ssize_t)disk.piece) die("disk");
	}
}

static const struct pattern {
	const char *name;
	int write, random;
	size_t piece;
	int threads;
} patterns[] = {
	{"read", 0, 0, BIG, 1},		 {"write", 1, 0, BIG, 1},
	{"rread", 0, 1, SMALL, THREADS}, {"rwrite", 1, 1, SMALL, THREADS},
	{"read1", 0, 0, SMALL, 1},	 {"rread1", 0, 1, SMALL, 1},
	{"write1", 1, 0, SMALL, 1},	 {"rwrite1", 1, 1, SMALL, 1},
};

static const struct pattern *pattern_named(const char *name)
{
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (!strcmp(patterns[i].name, name)) return &patterns[i];
	die(name);
}

static void disk_run(const char *pattern, const char *device, long mib)
{
	const struct pattern *p = pattern_named(pattern);
	pthread_t t[THREADS];
	disk.write = p->write;
	disk.fd = open(device, O_DIRECT | (disk.write ? O_WRONLY : O_RDONLY));
	if (disk.fd < 0) die(device);
	disk.piece = p->piece;
	disk.pieces = mib * MIB / (long)disk.piece;
	disk.all = lseek(disk.fd, 0, SEEK_END) / (long)disk.piece;
	double since = now();
	for (int i = 0; i < p->threads; i++)
		if (pthread_create(&t[i], NULL, disk_thread, p->random ? t : NULL)) die("thread");
	for (int i = 0; i < p->threads; i++) (void)pthread_join(t[i], NULL);
	if (disk.write && fsync(disk.fd)) die("flush");
	done((double)disk.pieces * (double)disk.piece, since);
}

/* ---- networks */
static struct sockaddr_in address(const char *ip, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	(void)inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

static void net_send(const char *ip, const char *port, long mib)
{
	static char piece[1 << 18];
	struct sockaddr_in a = address(ip, port);
	int s = socket(AF_INET, SOCK_STREAM, 0);
	memset(piece, 'x', sizeof(piece));
	if (connect(s, (struct sockaddr *)&a, sizeof(a))) die("connect");
	double since = now();
	for (long left = mib * MIB; left > 0;) {
		ssize_t n = send(s, piece,
				 left < (long)sizeof(piece) ? (size_t)left : sizeof(piece), 0);
		if (n <= 0) die("send");
		left -= n;
	}
	(void)shutdown(s, SHUT_WR);
	if (recv(s, piece, 1, 0) != 1) die("acknowledgement");
	done((double)mib * MIB, since);
}

static void net_sink(const char *port)
{
	static char piece[1 << 18];
	struct sockaddr_in a = address("0.0.0.0", port);
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	(void)setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 1)) die("listen");
	printf("listening\n");
	(void)fflush(stdout);
	int s = accept(l, NULL, NULL);
	double all = 0, since = now();
	for (ssize_t n; (n = recv(s, piece, sizeof(piece), 0)) > 0;) all += (double)n;
	(void)send(s, "!", 1, 0);
	done(all, since);
}

/* ---- files, memory */
static long files;
static int look_at(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path, (void)st, (void)type, (void)at;
	files++;
	return 0;
}

static void look(const char *dir)
{
	double since = now();
	if (nftw(dir, look_at, 64, FTW_PHYS)) die(dir);
	done((double)files, since);
}

static _Noreturn void dirty(long mib)
{
	enum { RATE = 200 };
	long pages = mib * MIB / PAGE, turn = 0;
	char *p = mmap(NULL, (size_t)mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (p == MAP_FAILED) die("memory");
	double begin = now();
	for (;; turn++) {
		*(long *)(void *)(p + turn % pages * PAGE) = turn;
		double ahead = (double)turn * PAGE / MIB / RATE - (now() - begin);
		if (ahead > 0.01) (void)usleep((useconds_t)(ahead * 1e6));
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	if (!strcmp(what, "disk") && argc == 5)
		disk_run(argv[2], argv[3], atol(argv[4]));
	else if (!strcmp(what, "send") && argc == 5)
		net_send(argv[2], argv[3], atol(argv[4]));
	else if (!strcmp(what, "sink"))
		net_sink(argv[2]);
	else if (!strcmp(what, "look"))
		look(argv[2]);
	else if (!strcmp(what, "dirty"))
		dirty(atol(argv[2]));
	else
		return 2;
	return 0;
}
