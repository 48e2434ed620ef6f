#include "base/test.h"
#include "hw/gmem.h"
#include <errno.h>
#include <string.h>

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
