/* Any bytes as a snapshot's file: read as far as they are one. Checksums keep a fuzzer out, and so
 * does that sections lie one behind the other: both are put right first, unless the input says
 * otherwise. Input: ten bytes that make the header, and what follows it. */
#include "base/buf.h"
#include "base/crc.h"
#include "guest/snapshot_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEAD = 10 };

enum { OTHER_TABLE = 1, OTHER_COUNT = 2, PAGES_AS_THEY_ARE = 4, PLACES_AS_THEY_ARE = 8 };

/* Of a memory's section, as far as its pages and their checksums are in the file. */
static void pages_mend(uint8_t *p, size_t n, uint8_t *section, uint64_t len)
{
	struct snapshot_index x;
	if (len < sizeof(x)) return;
	memcpy(&x, section, sizeof(x));
	uint64_t from = le64_get(x.offset), words = snapshot_words(le64_get(x.len));
	if (from > n || words > len / 8 || sizeof(x) + words * 8 > len) return;
	uint64_t crcs = (len - sizeof(x) - words * 8) / 4;
	for (uint64_t k = 0; k < crcs && (k + 1) * SNAPSHOT_PAGE <= n - from; k++)
		store_le(section + sizeof(x) + words * 8 + k * 4,
			 crc32c(0, p + from + k * SNAPSHOT_PAGE, SNAPSHOT_PAGE), 4);
}

/* One behind the other, up to the table. */
static void places_mend(uint8_t *p, uint64_t table, uint64_t entries)
{
	struct snapshot_entry t;
	uint64_t at = 0;
	for (uint64_t i = 0; i < entries; i++) {
		uint8_t *e = p + table + i * sizeof(t);
		memcpy(&t, e, sizeof(t));
		if (i == 0) at = le64_get(t.offset) / SNAPSHOT_PAGE * SNAPSHOT_PAGE;
		uint64_t left = at < table ? table - at : 0, len = le64_get(t.length);
		if (len > left || i == entries - 1) len = left;
		t.offset = le64_of(at);
		t.length = le64_of(len);
		memcpy(e, &t, sizeof(t));
		at += len;
	}
}

static void sections_mend(uint8_t *p, size_t n, uint64_t table, uint64_t entries, uint8_t how)
{
	for (uint64_t i = 0; i < entries; i++) {
		uint8_t *at = p + table + i * sizeof(struct snapshot_entry);
		struct snapshot_entry t;
		memcpy(&t, at, sizeof(t));
		uint64_t off = le64_get(t.offset), len = le64_get(t.length);
		if (off > n || len > n - off) continue;
		if (!(how & PAGES_AS_THEY_ARE) && !strncmp(t.name, SNAPSHOT_MEMORY, 7))
			pages_mend(p, n, p + off, len);
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
	if (p[1] & OTHER_TABLE) h.table = le64_of(load_le(p + 2, 8));
	if (p[1] & OTHER_COUNT) h.sections = le32_of((uint32_t)load_le(p + 2, 4));
	memcpy(to, &h, sizeof(h));
}

static void mend(uint8_t *p, size_t n, uint8_t how)
{
	struct snapshot_head h;
	if (n < SNAPSHOT_PAGE) return;
	memcpy(&h, p, sizeof(h));
	uint64_t table = le64_get(h.table), entries = le32_get(h.sections);
	h.length = le64_of(n);
	if (table <= n && entries <= (n - table) / sizeof(struct snapshot_entry)) {
		size_t len = entries * sizeof(struct snapshot_entry);
		if (!(how & PLACES_AS_THEY_ARE)) places_mend(p, table, entries);
		sections_mend(p, n, table, entries, how);
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
	mend(copy, len, p[1]);
	must(!ftruncate(fd, 0) && pwrite(fd, copy, len, 0) == (ssize_t)len);
	if (!snapshot_open(&s, path, n & 1, NULL)) {
		read_all(s);
		snapshot_unref(s);
	}
	free(copy);
	return 0;
}
