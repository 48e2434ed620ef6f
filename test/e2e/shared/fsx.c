/* Random operations on one file against a copy in memory: usage: fsx FILE SEED COUNT. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX = 300000 };
static uint64_t state;
static unsigned char want[MAX], got[MAX];
static size_t size;
static int fd;
static const char *path;
static unsigned step;

static unsigned pick(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % n;
}

static void die(const char *what, size_t at)
{
	printf("step %u: %s at %zu (%s)\n", step, what, at, strerror(errno));
	exit(1);
}

static void compare(size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (got[i] != want[at + i]) die("other bytes", at + i);
}

static void grow(size_t to)
{
	if (to > size) memset(want + size, 0, to - size);
	if (to > size) size = to;
}

static void fill(size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++) want[at + i] = got[i] = (unsigned char)pick(256);
}

static void do_write(int append)
{
	size_t at = append ? size : pick(MAX - 70000), n = 1 + pick(pick(3) ? 5000 : 60000);
	if (at + n > MAX) return;
	int f = append ? open(path, O_WRONLY | O_APPEND) : fd;
	grow(at);
	fill(at, n);
	grow(at + n);
	for (size_t i = 0; i < n; i++) want[at + i] = got[i];
	if ((append ? write(f, got, n) : pwrite(f, got, n, (off_t)at)) != (ssize_t)n) die("short write", at);
	if (append) close(f);
}

static void do_read(void)
{
	size_t at = pick(MAX), n = 1 + pick(60000), have = at < size ? size - at : 0;
	if (have > n) have = n;
	ssize_t r = pread(fd, got, n, (off_t)at);
	if (r != (ssize_t)have) die("read of another length", at);
	compare(at, have);
}

static void do_truncate(void)
{
	size_t to = pick(MAX - 1000);
	if (pick(2) ? ftruncate(fd, (off_t)to) : truncate(path, (off_t)to)) die("truncate", to);
	if (to > size) grow(to);
	size = to;
}

static void do_map(int write)
{
	if (!size) return;
	size_t at = pick((unsigned)size), n = 1 + pick(20000);
	if (at + n > size) n = size - at;
	size_t base = at & ~(size_t)4095;
	unsigned char *p = mmap(NULL, at - base + n, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd, (off_t)base);
	if (p == MAP_FAILED) die("mmap", at);
	if (write) {
		fill(at, n);
		memcpy(p + at - base, got, n);
		if (pick(2) && msync(p, at - base + n, MS_SYNC)) die("msync", at);
	} else {
		memcpy(got, p + at - base, n);
		compare(at, n);
	}
	munmap(p, at - base + n);
}

static void do_punch(void)
{
	size_t at = pick(MAX - 1), n = 1 + pick(30000);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n)) die("punch", at);
	for (size_t i = at; i < at + n && i < size; i++) want[i] = 0;
}

static void do_reopen(void)
{
	struct stat s;
	if (pick(2) && fsync(fd)) die("fsync", 0);
	close(fd);
	fd = open(path, O_RDWR);
	if (fd < 0 || fstat(fd, &s) || (size_t)s.st_size != size) die("another size", size);
}

int main(int argc, char **argv)
{
	if (argc < 4) return 2;
	path = argv[1];
	state = strtoull(argv[2], NULL, 10);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0) die("open", 0);
	for (unsigned n = (unsigned)atoi(argv[3]); step < n; step++) {
		switch (pick(10)) {
		case 0: case 1: do_write(0); break;
		case 2: do_write(1); break;
		case 3: case 4: do_read(); break;
		case 5: do_truncate(); break;
		case 6: do_map(0); break;
		case 7: do_map(1); break;
		case 8: do_punch(); break;
		default: do_reopen();
		}
	}
	do_reopen();
	if (pread(fd, got, MAX, 0) != (ssize_t)size) die("the end", size);
	compare(0, size);
	printf("fsx: %u steps agree\n", step);
	return 0;
}
