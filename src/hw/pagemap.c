/* A file of eight bytes a page. Whoever may be told where pages are in the host's memory when he
 * opens it, is told that for ever: so it is opened without that right, since a monitor that was
 * taken over had better not know (it makes rows of memory neighbours). */
#include "hw/pagemap.h"
#include "base/types.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, AT_ONCE = 512 };
#define KEPT (3ull << 62) /* present, swapped */

static int open_plainly(const char *path)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct had[2], d[2];
	bool may = !syscall(SYS_capget, &h, had);
	memcpy(d, had, sizeof(d));
	d[0].effective = d[1].effective = 0;
	if (may && syscall(SYS_capset, &h, d)) return -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC), why = errno;
	if (may) must(!syscall(SYS_capset, &h, had));
	errno = why;
	return fd;
}

int pagemap_open(struct err *e)
{
	static const char path[] = "/proc/self/pagemap";
	int fd = open_plainly(path);
	return fd >= 0 ? fd : fail(e, -errno, "%s: %s", path, strerror(errno));
}

/* At most AT_ONCE pages. What is not told is there. */
static void ask(int fd, uint64_t page, uint64_t n, uint64_t to[AT_ONCE])
{
	size_t want = n * sizeof(*to);
	if (pread(fd, to, want, (off_t)(page * sizeof(*to))) != (ssize_t)want)
		memset(to, 0xff, want);
}

bool pagemap_next(int fd, const void *host, uint64_t len, uint64_t *off, uint64_t *n)
{
	uint64_t first = (uintptr_t)host / PAGE, all = len / PAGE, from = all, map[AT_ONCE], i;
	for (i = 0; i < all; i++) {
		uint64_t left = all - i;
		if (i % AT_ONCE == 0) ask(fd, first + i, left < AT_ONCE ? left : AT_ONCE, map);
		bool kept = map[i % AT_ONCE] & KEPT;
		if (kept && from == all) from = i;
		if (!kept && from != all) break;
	}
	*off = from * PAGE;
	*n = (i - from) * PAGE;
	return from != all;
}

uint64_t pagemap_count(int fd, const void *host, uint64_t len)
{
	uint64_t first = (uintptr_t)host / PAGE, pages = len / PAGE, map[AT_ONCE], sum = 0;
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t left = pages - i;
		if (i % AT_ONCE == 0) ask(fd, first + i, left < AT_ONCE ? left : AT_ONCE, map);
		sum += map[i % AT_ONCE] & KEPT ? PAGE : 0;
	}
	return sum;
}
