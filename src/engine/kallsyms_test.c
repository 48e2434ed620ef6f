#include "engine/kallsyms_test.h"
#include "base/test.h"
#include "engine/symbols.h"
#include <errno.h>

static bool called(const struct symbols *s, unsigned i, const char *more)
{
	char want[32];
	uint64_t off = 0;
	(void)snprintf(want, sizeof(want), "f%u_long_name", i);
	const char *got = symbols_find(s, KALLSYMS_BASE + 16 * i + 4, &off);
	return off == 4 && !strncmp(got, want, strlen(want)) &&
	       !strncmp(got + strlen(want), more, strlen(more));
}

TEST(a_kernel_names_its_own_functions)
{
	static const unsigned counts[] = {1, 2, 255, 256, 257, 600, 1025};
	for (unsigned i = 0; i < 2 * COUNT(counts); i++) {
		unsigned n = counts[i / 2];
		struct symbols *s = symbols_new();
		auto_buf struct buf b = {0};
		struct err e = {0};
		kallsyms_image(&b, n, i & 1);
		CHECK(!symbols_image(s, b.at, b.len, &e) && symbols_count(s) == n);
		CHECK(called(s, n - 1, "xxx") && called(s, n / 2, "") && called(s, 0, ""));
		CHECK(symbols_image(s, b.at, b.len / 2, &e) == -ENOENT); /* cut short */
		symbols_free(s);
	}
}

TEST(a_kernel_without_names_has_none)
{
	struct symbols *s = symbols_new();
	auto_buf struct buf b = {0};
	struct err e = {0};
	CHECK(symbols_image(s, "", 0, &e) == -ENOENT);
	CHECK(symbols_image(s, "0\0001\0002\0003\0004\0005\0006\0007\0008\0009", 20, &e) ==
	      -ENOENT);
	(void)buf_room(&b, 1 << 20);
	CHECK(symbols_image(s, b.at, b.len, &e) == -ENOENT);
	for (size_t i = 0; i < b.len; i += 2) b.at[i] = "0123456789"[i / 2 % 10];
	CHECK(symbols_image(s, b.at, b.len, &e) == -ENOENT);
	symbols_free(s);
}

/* Some byte wrong: names or none, and nothing outside is read (under ASan). */
TEST(damaged_names_are_survived)
{
	for (unsigned old = 0; old < 2; old++) {
		auto_buf struct buf b = {0};
		kallsyms_image(&b, 300, old);
		for (size_t at = 8000; at < b.len; at += 13) {
			struct symbols *s = symbols_new();
			char was = b.at[at];
			b.at[at] ^= (char)(1 << at % 8);
			(void)symbols_image(s, b.at, b.len, NULL);
			b.at[at] = was;
			symbols_free(s);
		}
	}
}

/* As x86 kernels tell addresses: negative numbers count down from the base. */
TEST(a_kernel_with_per_cpu_offsets_names_its_functions)
{
	enum { N = 300, BEHIND = 800 + 8 };
	struct symbols *s = symbols_new();
	auto_buf struct buf b = {0};
	kallsyms_image(&b, N, false);
	char *at = b.at + b.len - BEHIND - 4 * N;
	for (unsigned i = 0; i < N; i++) store_le(at + 4 * i, ~(uint64_t)(16 * i), 4);
	CHECK(!symbols_image(s, b.at, b.len, NULL) && symbols_count(s) == N);
	CHECK(called(s, N - 1, "xxx") && called(s, N / 2, "") && called(s, 0, ""));
	symbols_free(s);
}

TEST(names_may_come_with_their_order)
{
	static const unsigned counts[] = {257, 300, 511, 512, 513, 1025, 2000};
	for (unsigned i = 0; i < 2 * COUNT(counts); i++) {
		unsigned n = counts[i / 2];
		struct symbols *s = symbols_new();
		auto_buf struct buf b = {0};
		kallsyms_image_as(&b, n, i & 1, true);
		CHECK(!symbols_image(s, b.at, b.len, NULL) && symbols_count(s) == n);
		CHECK(called(s, n - 1, "xxx") && called(s, n / 2, "") && called(s, 0, ""));
		symbols_free(s);
	}
}
