/* Preloaded into diskops: what it does to the file JOURNAL_OF goes into the file JOURNAL as well,
 * so that powerloss.py can make what a machine that lost its power would have left of it. A record
 * is kind, offset and length, and the bytes of a write. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 'w', HOLE = 'h', SYNC = 's', LENGTH = 't' };
struct record {
	uint64_t kind, off, len;
};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static struct stat image;

__attribute__((constructor)) static void begin(void)
{
	const char *to = getenv("JOURNAL"), *of = getenv("JOURNAL_OF");
	if (!to || !of || stat(of, &image) < 0) return;
	journal = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static int ours(int fd)
{
	struct stat st;
	return journal >= 0 && fstat(fd, &st) == 0 && st.st_ino == image.st_ino &&
	       st.st_dev == image.st_dev;
}

static void note(uint64_t kind, uint64_t off, uint64_t len, const struct iovec *v, int n)
{
	struct record r = {kind, off, len};
	if (write(journal, &r, sizeof(r)) != sizeof(r) || (n && writev(journal, v, n) < 0)) abort();
}

/* The real call comes first: what is noted before a sync had been done when that began. */
#define REAL(name, type, args, call, kind, off, len, v, n)                                         \
	type name args;                                                                            \
	type name args                                                                             \
	{                                                                                          \
		static type(*real) args;                                                           \
		(void)pthread_mutex_lock(&mutex);                                                  \
		if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);                              \
		type r = real call;                                                                \
		if (r >= 0 && ours(fd)) note(kind, off, len, v, n);                                \
		(void)pthread_mutex_unlock(&mutex);                                                \
		return r;                                                                          \
	}
#define ONE (&(struct iovec){(void *)p, (size_t)r})

REAL(pwrite, ssize_t, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at), WRITE,
     (uint64_t)at, (uint64_t)r, ONE, 1)
REAL(pwritev, ssize_t, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at), WRITE,
     (uint64_t)at, (uint64_t)r, v, n)
REAL(fallocate, int, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), HOLE, (uint64_t)at,
     (uint64_t)n, NULL, 0)
REAL(ftruncate, int, (int fd, off_t n), (fd, n), LENGTH, (uint64_t)n, 0, NULL, 0)
REAL(fdatasync, int, (int fd), (fd), SYNC, 0, 0, NULL, 0)
REAL(fsync, int, (int fd), (fd), SYNC, 0, 0, NULL, 0)
