/* The files that tell of it are opened before a process is confined; only it itself may. */
#include "base/ksm.h"
#include "base/own.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { LINE = 512 };

/* A whole file of /proc or /sys, as text. */
static bool text_of(int fd, char text[LINE])
{
	ssize_t n = fd < 0 ? -1 : pread(fd, text, LINE - 1, 0);
	text[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* /sys may be hidden from us where madvise(2) works. */
static bool kernel_has_it(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) return false;
	bool has = !madvise(p, page, MADV_MERGEABLE);
	(void)munmap(p, page);
	return has;
}

enum ksm ksm_host(void)
{
	char text[LINE];
	if (!kernel_has_it()) return KSM_NONE;
	auto_fd int fd = open("/sys/kernel/mm/ksm/run", O_RDONLY | O_CLOEXEC);
	return text_of(fd, text) && *text == '1' ? KSM_ON : KSM_OFF;
}

void ksm_open(struct ksm_own *k)
{
	k->pages = open("/proc/self/ksm_merging_pages", O_RDONLY | O_CLOEXEC);
	k->more = open("/proc/self/ksm_stat", O_RDONLY | O_CLOEXEC);
}

void ksm_close(struct ksm_own *k)
{
	drop_fd(&k->pages);
	drop_fd(&k->more);
}

/* syscalls all: pread64 */
uint64_t ksm_merged(const struct ksm_own *k)
{
	static const char key[] = "ksm_zero_pages ";
	char text[LINE];
	uint64_t n = text_of(k->pages, text) ? strtoull(text, NULL, 10) : 0;
	const char *at = text_of(k->more, text) ? strstr(text, key) : NULL;
	if (at) n += strtoull(at + strlen(key), NULL, 10);
	return n * (uint64_t)sysconf(_SC_PAGESIZE);
}
