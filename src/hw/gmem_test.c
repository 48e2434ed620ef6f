#include "base/ksm.h"
#include "base/own.h"
#include "base/test.h"
#include "hw/gmem.h"
#include "hw/pagemap.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct gmem *two_regions(void)
{
	struct gmem *m = gmem_new();
	struct err e = {0};
	CHECK(gmem_add(m, 0x1000, 0x2000, GMEM_ROM, &e) == 0);
	CHECK(gmem_add(m, 0x80000000, MIB, 0, &e) == 0);
	return m;
}
TEST(gmem_ranges_are_checked_whole)
{
	struct gmem *m = two_regions();
	CHECK(gmem_ptr(m, 0x80000000, MIB, true));
	CHECK(!gmem_ptr(m, 0x80000000, MIB + 1, false));
	CHECK(!gmem_ptr(m, 0x7fffffff, 2, false));
	CHECK(gmem_ptr(m, 0x800fffff, 1, true));
	CHECK(!gmem_ptr(m, 0x800fffff, 2, true));
	CHECK(!gmem_ptr(m, 0x80000010, SIZE_MAX, false));
	CHECK(!gmem_ptr(m, UINT64_MAX, 2, false));
	CHECK(!gmem_ptr(m, 0, 1, false));
	gmem_free(m);
}
TEST(gmem_rom_is_read_only_to_the_guest)
{
	struct gmem *m = two_regions();
	char c = 0;
	CHECK(!gmem_ptr(m, 0x1000, 1, true));
	CHECK(!gmem_write(m, 0x1000, "x", 1));
	memcpy(gmem_host(m, 0x1000, 1), "r", 1);
	CHECK(gmem_read(m, 0x1000, &c, 1) && c == 'r');
	gmem_free(m);
}
TEST(gmem_add_refuses_nonsense)
{
	struct gmem *m = two_regions();
	struct err e = {0};
	CHECK(gmem_add(m, 0x2000, 0x1000, 0, &e) == -EEXIST);
	CHECK(gmem_add(m, 0x7ffff000, 0x2000, 0, &e) == -EEXIST);
	CHECK(gmem_add(m, 0x10000, 0, 0, &e) == -EINVAL);
	CHECK(gmem_add(m, 0x10001, 0x1000, 0, &e) == -EINVAL);
	CHECK(gmem_add(m, 0xfffffffffffff000, 0x2000, 0, &e) == -EINVAL);
	CHECK(gmem_add(m, 0x100000, 1ull << 62, 0, &e) < 0);
	CHECK(gmem_add(m, 0x3000, 0x1000, 0, &e) == 0);
	CHECK(!gmem_ptr(m, 0x2fff, 2, false));
	gmem_free(m);
}
TEST(gmem_dirty_only_while_tracking)
{
	struct gmem *m = two_regions();
	uint64_t b[4] = {~0ull, ~0ull, ~0ull, ~0ull};
	gmem_dirty(m, 0x80000000, 1);
	gmem_track(m, true);
	CHECK(!gmem_dirty_take(m, 0x80000000, MIB, b));
	CHECK(!b[0] && !b[3]);
	CHECK(gmem_write(m, 0x80000fff, "ab", 2));
	gmem_dirty(m, 0x800ff000, 0x1000);
	gmem_dirty(m, 0x90000000, 0x1000);
	CHECK(gmem_dirty_take(m, 0x80000000, MIB, b));
	CHECK(b[0] == 3 && !b[1] && !b[2] && b[3] == 1ull << 63);
	CHECK(!gmem_dirty_take(m, 0x80000000, MIB, b));
	gmem_track(m, false);
	gmem_free(m);
}
TEST(gmem_dirty_take_leaves_its_neighbours)
{
	struct gmem *m = two_regions();
	uint64_t b[2];
	gmem_track(m, true);
	gmem_dirty(m, 0x80000000, MIB);
	CHECK(gmem_dirty_take(m, 0x80000000 + 60 * 4096, 70 * 4096, b));
	CHECK(b[0] == ~0ull && b[1] == 0x3f);
	CHECK(gmem_dirty_take(m, 0x80000000, 64 * 4096, b) && b[0] == (1ull << 60) - 1);
	CHECK(gmem_dirty_take(m, 0x80000000 + 130 * 4096, 64 * 4096, b) && b[0] == ~0ull);
	gmem_free(m);
}
TEST(gmem_free_takes_null) { gmem_free(NULL); }
TEST(gmem_regions_are_told_the_largest_first)
{
	struct gmem *m = two_regions();
	struct gmem_region r;
	CHECK(gmem_region(m, 0, &r) && r.base == 0x80000000 && r.len == MIB && !r.flags);
	CHECK(r.host == gmem_host(m, 0x80000000, 1));
	CHECK(gmem_region(m, 1, &r) && r.base == 0x1000 && r.flags == GMEM_ROM);
	CHECK(!gmem_region(m, 2, &r));
	gmem_free(m);
}

enum { RAM = 0x40000000 };
static unsigned came, dones;
static void page_of_seven(void *ctx, uint64_t n, void *to)
{
	(void)ctx;
	came++;
	memset(to, (int)(n + 1), 4096);
}
static void source_done(void *ctx) { (void)ctx, dones++; }
static const struct gmem_source source = {page_of_seven, source_done, NULL};

static uint64_t *bitmap_of(uint64_t bits)
{
	uint64_t *b = calloc(1, sizeof(*b));
	must(b);
	*b = bits;
	return b;
}

TEST(gmem_lazy_pages_come_when_reached)
{
	struct gmem *m = gmem_new();
	uint8_t b[2] = {9, 9};
	came = dones = 0;
	CHECK(!gmem_add(m, RAM, 16 * 4096, 0, NULL));
	CHECK(!gmem_lazy(m, RAM, bitmap_of(0x8006), &source, NULL) && gmem_missing(m) == 3);
	CHECK(gmem_read(m, RAM, b, 1) && !b[0] && !came);
	CHECK(gmem_read(m, RAM + 2 * 4096 - 1, b, 2) && b[0] == 2 && b[1] == 3 && came == 2);
	CHECK(gmem_write(m, RAM + 4096, "x", 1) && came == 2 && !dones);
	gmem_fetch(m);
	CHECK(came == 3 && dones == 1 && !gmem_missing(m));
	CHECK(gmem_read(m, RAM + 15 * 4096, b, 1) && b[0] == 16);
	CHECK(gmem_read(m, RAM + 4096, b, 1) && b[0] == 'x');
	CHECK(gmem_lazy(m, RAM + 4096, bitmap_of(1), &source, NULL) == -EINVAL && dones == 2);
	gmem_free(m);
	CHECK(dones == 2);
}

TEST(gmem_lazy_pages_of_a_mapping)
{
	struct gmem *m = gmem_new();
	came = dones = 0;
	uint8_t *at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(!gmem_add(m, RAM, 2 * 4096, 0, NULL));
	CHECK(!gmem_lazy(m, RAM, bitmap_of(3), &source, NULL));
	CHECK(gmem_map(m, RAM + 4096, 4096, at, false, false) && at[7] == 2 && came == 1);
	CHECK(!munmap(at, 4096));
	gmem_free(m);
	CHECK(dones == 1);
}

TEST(gmem_discard_gives_back_whole_pages)
{
	struct gmem *m = gmem_new();
	uint64_t bits[1];
	CHECK(!gmem_add(m, RAM, 16 * 4096, 0, NULL) && !gmem_add(m, 0, 4096, GMEM_ROM, NULL));
	uint8_t *p = gmem_ptr(m, RAM, 16 * 4096, true),
		*also = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 7, 16 * 4096);
	CHECK(gmem_map(m, RAM + 4096, 4096, also, false, true) && also[5] == 7);
	CHECK(gmem_resident(m) == 16 * 4096);
	gmem_track(m, true);
	CHECK(gmem_discard(m, RAM + 100, 4 * 4096));
	CHECK(gmem_resident(m) == 13 * 4096);
	CHECK(p[4095] == 7 && !p[4096] && !p[4 * 4096 - 1] && p[4 * 4096] == 7 && !also[5]);
	CHECK(gmem_dirty_take(m, RAM, 16 * 4096, bits) && bits[0] == 0xe);
	p[4096] = 3;
	CHECK(also[0] == 3);
	CHECK(!gmem_discard(m, RAM + 1, 4096) && !gmem_discard(m, 0, 4096));
	CHECK(!gmem_discard(m, RAM + 15 * 4096, 2 * 4096) && !gmem_discard(m, RAM, UINT64_MAX));
	CHECK(!gmem_discard(m, RAM, 0) && p[15 * 4096] == 7 && p[0] == 7);
	CHECK(!munmap(also, 4096));
	gmem_free(m);
}

TEST(gmem_discard_breaks_seals)
{
	struct gmem *m = gmem_new();
	gpa_t out[GMEM_NOTES];
	uint64_t seen = 0;
	CHECK(!gmem_add(m, RAM, 16 * 4096, 0, NULL) && gmem_seal(m, RAM + 4096));
	CHECK(gmem_discard(m, RAM, 16 * 4096));
	CHECK(gmem_broken(m, &seen, out) == 1 && out[0] == RAM + 4096);
	gmem_free(m);
}

TEST(gmem_discard_of_what_was_to_come)
{
	struct gmem *m = gmem_new();
	uint8_t b = 9;
	came = dones = 0;
	CHECK(!gmem_add(m, RAM, 4 * 4096, 0, NULL));
	CHECK(!gmem_lazy(m, RAM, bitmap_of(0xf), &source, NULL));
	CHECK(gmem_discard(m, RAM + 4096, 2 * 4096) && gmem_missing(m) == 2 && !came);
	CHECK(gmem_read(m, RAM + 4096, &b, 1) && !b && !came);
	CHECK(gmem_read(m, RAM, &b, 1) && b == 1 && !dones);
	CHECK(gmem_discard(m, RAM, 4 * 4096) && !gmem_missing(m) && dones == 1 && came == 1);
	CHECK(gmem_read(m, RAM + 3 * 4096, &b, 1) && !b);
	gmem_free(m);
	CHECK(dones == 1);
}

TEST(gmem_next_skips_what_was_never_written)
{
	struct gmem *m = gmem_new();
	gpa_t from;
	uint64_t len;
	CHECK(!gmem_add(m, RAM, 64 * MIB, 0, NULL));
	CHECK(!gmem_next(m, RAM, &from, &len));
	CHECK(gmem_write(m, RAM + 33 * MIB, "x", 1));
	CHECK(gmem_next(m, RAM, &from, &len) && from <= RAM + 33 * MIB &&
	      from + len > RAM + 33 * MIB && len <= 2 * MIB);
	CHECK(!gmem_next(m, from + len, &from, &len));
	gmem_free(m);
}

/* ---- memory that the host may merge */
static struct gmem *merging(const char *test)
{
	struct gmem *m = gmem_new();
	struct err e = {0};
	if (ksm_host() == KSM_NONE) {
		(void)printf("SKIPPED %s: this host's kernel has no KSM\n", test);
		CHECK(gmem_merge(m, &e) == -ENOTSUP && !gmem_merges(m));
		gmem_free(m);
		return NULL;
	}
	CHECK(!gmem_merge(m, &e) && gmem_merges(m));
	CHECK(!gmem_add(m, RAM, 8 * MIB, 0, &e) && !gmem_add(m, 0, 0x2000, GMEM_ROM, &e));
	return m;
}

/* proc(5): the flags of the mapping that begins at p. */
static bool has_flag(const void *p, const char *flag)
{
	char line[512], begin[32];
	bool mine = false, has = false;
	FILE *f = fopen("/proc/self/smaps", "re");
	(void)snprintf(begin, sizeof(begin), "%lx-", (unsigned long)p);
	while (f && fgets(line, sizeof(line), f)) {
		if (strspn(line, "0123456789abcdef") && strchr(line, '-') && strstr(line, " rw"))
			mine = !strncmp(line, begin, strlen(begin));
		else if (mine && !strncmp(line, "VmFlags:", 8))
			has |= strstr(line, flag) != NULL;
	}
	if (f) (void)fclose(f);
	return has;
}

TEST(gmem_merge_has_the_kernel_look_at_it)
{
	struct gmem_region r;
	uint64_t off;
	unsigned n;
	void *place = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gmem *m = merging(__func__);
	if (!m) return;
	CHECK(gmem_region(m, 0, &r) && r.base == RAM && r.fd < 0 && has_flag(r.host, " mg"));
	CHECK(has_flag(r.host, " dc")); /* children do not have it */
	CHECK(!gmem_map(m, RAM, 4096, place, false, false));
	CHECK(!gmem_file(m, RAM, 4096, false, &n, &off));
	(void)munmap(place, 4096);
	gmem_free(m);
}

TEST(gmem_merge_knows_what_was_written)
{
	gpa_t from;
	uint64_t len;
	struct gmem *m = merging(__func__);
	if (!m) return;
	CHECK(!gmem_next(m, RAM, &from, &len) && !gmem_resident(m));
	CHECK(gmem_write(m, RAM + 3 * MIB + 4095, "xy", 2) && gmem_write(m, RAM, "x", 1));
	CHECK(gmem_resident(m) == 3 * 4096);
	CHECK(gmem_next(m, RAM, &from, &len) && from == RAM && len == 4096);
	CHECK(gmem_next(m, RAM + 4096, &from, &len) && from == RAM + 3 * MIB && len == 8192);
	CHECK(gmem_next(m, RAM + 3 * MIB + 4096, &from, &len) && len == 4096);
	CHECK(!gmem_next(m, RAM + 4 * MIB, &from, &len));
	CHECK(gmem_write(m, RAM + 8 * MIB - 1, "x", 1));
	CHECK(gmem_next(m, RAM + 4 * MIB, &from, &len) && from == RAM + 8 * MIB - 4096 &&
	      len == 4096);
	memcpy(gmem_host(m, 0x1000, 1), "r", 1);
	CHECK(gmem_next(m, 0, &from, &len) && from == 0x1000 && len == 4096);
	gmem_free(m);
}

TEST(gmem_merge_discards)
{
	char c = 1;
	struct gmem *m = merging(__func__);
	if (!m) return;
	for (unsigned i = 0; i < 4; i++) CHECK(gmem_write(m, RAM + i * 4096, "x", 1));
	CHECK(gmem_discard(m, RAM + 4095, 3 * 4096) && gmem_resident(m) == 2 * 4096);
	CHECK(gmem_read(m, RAM, &c, 1) && c == 'x' && gmem_read(m, RAM + 4096, &c, 1) && !c);
	CHECK(!gmem_discard(m, 0, 4096)); /* ROM */
	gmem_free(m);
}

/* What a monitor that was taken over could read for ever: not where pages are. Nor has opening that
 * file changed what it may. */
TEST(gmem_merge_does_not_learn_where_pages_are)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct had[2], has[2];
	CHECK(!syscall(SYS_capget, &h, had));
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t entry = 0;
	auto_fd int fd = pagemap_open(NULL);
	CHECK(!syscall(SYS_capget, &h, has) && !memcmp(had, has, sizeof(had)));
	*(volatile char *)p = 1;
	CHECK(pread(fd, &entry, 8, (off_t)((uintptr_t)p / 4096 * 8)) == 8);
	CHECK(entry >> 63 && !(entry & ((1ull << 55) - 1)));
	(void)munmap(p, 4096);
}
