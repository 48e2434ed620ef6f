/* Any bytes as a snapshot's file: read as far as they are one. Checksums keep a fuzzer out, so they
 * are put right first, where the header and the table can be found. */
#include "base/buf.h"
#include "base/crc.h"
#include "guest/snapshot_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEAD = 10 };

static void sections_mend(uint8_t *p, size_t n, uint64_t table, uint64_t entries)
{
	for (uint64_t i = 0; i < entries; i++) {
		uint8_t *at = p + table + i * sizeof(struct snapshot_entry);
		struct snapshot_entry t;
		memcpy(&t, at, sizeof(t));
		uint64_t off = le64_get(t.offset), len = le64_get(t.length);
		if (off > n || len > n - off) continue;
		t.crc = le32_of(crc32c(0, p + off, len));
		memcpy(at, &t, sizeof(t));
	}
}

/* From the input: how many sections the table has, and what else of the header may be altered. */
static void head_make(uint8_t *to, const uint8_t *p, size_t len)
{
	struct snapshot_head h = {.version = le32_of(1), .sections = le32_of(p[0] % 8)};
	uint64_t size = le32_get(h.sections) * sizeof(struct snapshot_entry);
	h.table = le64_of(len - SNAPSHOT_PAGE >= size ? len - size : len);
	memcpy(h.magic, SNAPSHOT_MAGIC, sizeof(h.magic));
	if (p[1] & 1) h.table = le64_of(load_le(p + 2, 8));
	if (p[1] & 2) h.sections = le32_of((uint32_t)load_le(p + 2, 4));
	memcpy(to, &h, sizeof(h));
}

static void mend(uint8_t *p, size_t n)
{
	struct snapshot_head h;
	if (n < SNAPSHOT_PAGE) return;
	memcpy(&h, p, sizeof(h));
	uint64_t table = le64_get(h.table), entries = le32_get(h.sections);
	h.length = le64_of(n);
	if (table <= n && entries <= (n - table) / sizeof(struct snapshot_entry)) {
		size_t len = entries * sizeof(struct snapshot_entry);
		sections_mend(p, n, table, entries);
		h.table_crc = le32_of(crc32c(0, p + table, len));
	}
	h.crc = le32_of(0);
	memcpy(p, &h, sizeof(h));
	h.crc = le32_of(crc32c(0, p, SNAPSHOT_PAGE));
	memcpy(p, &h, sizeof(h));
}

static void read_all(const struct snapshot *s)
{
	struct buf b;
	const char *name;
	for (unsigned i = 0; (name = snapshot_name(s, i)); i++) {
		struct snapshot_index x;
		uint64_t *present = NULL, page[SNAPSHOT_PAGE / 8];
		unsigned which;
		if (snapshot_section(s, name, UINT32_MAX, &b, NULL) || b.len < sizeof(x)) continue;
		memcpy(&x, b.at, sizeof(x));
		if (snapshot_memory_find(s, le64_get(x.base), le64_get(x.len), &which, &present,
					 NULL))
			continue;
		for (uint64_t k = 0; k < 1000 && k < le64_get(x.len) / SNAPSHOT_PAGE; k++)
			if (present[k / 64] >> k % 64 & 1)
				(void)snapshot_page(s, which, k, page, NULL);
		free(present);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static int fd = -1;
	static char path[64];
	struct snapshot *s;
	if (fd < 0) {
		fd = memfd_create("snapshot", MFD_CLOEXEC);
		must(fd >= 0);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (n < HEAD) return 0;
	size_t len = SNAPSHOT_PAGE + n - HEAD;
	uint8_t *copy = calloc(1, len);
	must(copy);
	head_make(copy, p, len);
	memcpy(copy + SNAPSHOT_PAGE, p + HEAD, n - HEAD);
	mend(copy, len);
	must(!ftruncate(fd, 0) && pwrite(fd, copy, len, 0) == (ssize_t)len);
	if (!snapshot_open(&s, path, n & 1, NULL)) {
		read_all(s);
		snapshot_unref(s);
	}
	free(copy);
	return 0;
}
