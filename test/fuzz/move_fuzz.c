/* Any bytes as what comes from the source of a moving guest: who comes, then frames up to the end.
 * The checksums and numbers that keep a fuzzer out are put right on the way. */
#include "base/crc.h"
#include "base/types.h"
#include "guest/arrival.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY = 1 << 20, DISK = 1 << 20, BASE = 1 << 20 };
static char memory[MEMORY], disk[DISK];

static void *place(char *at, uint64_t size, uint64_t off, uint64_t n)
{
	return off <= size && n <= size - off ? at + off : NULL;
}

static int pages(void *ctx, uint64_t gpa, const void *p, size_t n, struct err *e)
{
	(void)ctx;
	void *to = place(memory, MEMORY, gpa - BASE, n);
	if (gpa < BASE || !to) return fail(e, -1, "nowhere");
	must(n && gpa % 4096 == 0 && n % 4096 == 0 && n <= LINK_MAX);
	memcpy(to, p, n);
	return 0;
}

static int zero(void *ctx, uint64_t gpa, uint64_t n, struct err *e)
{
	(void)ctx;
	void *to = place(memory, MEMORY, gpa - BASE, n);
	must(n && gpa + n > gpa);
	if (gpa < BASE || !to) return fail(e, -1, "nowhere");
	memset(to, 0, n);
	return 0;
}

static int block(void *ctx, unsigned d, uint64_t off, const void *p, size_t n, struct err *e)
{
	(void)ctx;
	void *to = place(disk, DISK, off, n);
	must(n && off % 512 == 0 && n % 512 == 0);
	if (d || !to) return fail(e, -1, "nowhere");
	memcpy(to, p, n);
	return 0;
}

static int blank(void *ctx, unsigned d, uint64_t off, uint64_t n, struct err *e)
{
	(void)ctx;
	void *to = place(disk, DISK, off, n);
	if (d || !to) return fail(e, -1, "nowhere");
	memset(to, 0, n);
	return 0;
}

static int part(void *ctx, const char *name, const void *p, size_t n, struct err *e)
{
	(void)ctx;
	must(strlen(name) + 1 + n <= LINK_MAX);
	return crc32c(0, p, n) == 1 ? fail(e, -1, "refused") : 0;
}

/* From the input: a type, three bytes of length, an argument; then as many bytes as there are. */
static void frame_put(int fd, const uint8_t **p, size_t *n, uint32_t number)
{
	uint8_t head[LINK_HEAD] = {0};
	const uint8_t type = **p;
	uint32_t len = (uint32_t)load_le(*p + 1, 3), crc;
	uint64_t arg = load_le(*p + 4, 8);
	*p += 12;
	*n -= 12;
	if (number && (arg >> 60) == 1) arg = BASE + (arg & 0xff) * 4096;
	uint32_t have = len < *n ? len : (uint32_t)*n;
	store_le(head, type & 0x8f, 4);
	store_le(head + 4, len > LINK_MAX ? len : have, 4);
	store_le(head + 8, arg, 8);
	store_le(head + 16, number, 4);
	crc = crc32c(crc32c(0, head, sizeof(head)), *p, have);
	store_le(head + 20, crc, 4);
	(void)!write(fd, head, sizeof(head));
	(void)!write(fd, *p, have);
	*p += have;
	*n -= have;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct arrival_ops ops = {pages, zero, block, blank, part};
	struct hello h;
	struct link_frame f;
	int fd = memfd_create("move", MFD_CLOEXEC);
	must(fd >= 0);
	if (n && *p & 1)
		(void)!write(fd, p + 1, n - 1);
	else if (n)
		for (uint32_t i = (p++, n--, 0); n >= 12; i++) frame_put(fd, &p, &n, i);
	must(lseek(fd, 0, SEEK_SET) == 0);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct link *l = link_new(fd, null);
	if (!link_recv(l, &f, 1, NULL) && !hello_parse(&h, f.at, f.len, NULL)) hello_done(&h);
	(void)arrival_take(l, &ops, NULL, NULL);
	link_free(l);
	return 0;
}
