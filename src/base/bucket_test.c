#include "base/bucket.h"
#include "base/test.h"

#define MS 1000000ull

TEST(bucket_without_a_rate_gives_all)
{
	struct bucket b = {0};
	CHECK(bucket_take(&b, UINT64_MAX, 0) && bucket_when(&b, 5, 7) == 7);
}

TEST(bucket_fills_with_time)
{
	struct bucket b;
	bucket_set(&b, 1000, 10, 0);
	CHECK(bucket_take(&b, 10, 0) && !bucket_take(&b, 1, 0));
	CHECK(!bucket_take(&b, 4, 3 * MS) && bucket_take(&b, 4, 4 * MS));
	CHECK(bucket_take(&b, 10, 60 * MS) && !bucket_take(&b, 1, 60 * MS)); /* never above burst */
	CHECK(!bucket_take(&b, 1, 0)); /* a clock that goes back is none */
}

TEST(bucket_says_when)
{
	struct bucket b;
	bucket_set(&b, 1000, 10, 0);
	CHECK(bucket_take(&b, 8, 0) && !bucket_take(&b, 5, 0));
	uint64_t t = bucket_when(&b, 5, 0);
	CHECK(t >= 3 * MS && t <= 3 * MS + 2 && bucket_take(&b, 5, t));
}

TEST(bucket_lets_large_ones_go_when_full)
{
	struct bucket b;
	bucket_set(&b, 1000, 10, 0);
	CHECK(bucket_take(&b, 500, 0) && !bucket_take(&b, 500, 9 * MS));
	uint64_t t = bucket_when(&b, 500, 9 * MS); /* 490 are owed, and 10 are to be there */
	CHECK(t >= 499 * MS && t <= 501 * MS && !bucket_take(&b, 1, 489 * MS));
	CHECK(bucket_take(&b, 500, 500 * MS));
}

TEST(bucket_keeps_its_rate_whatever_the_size)
{
	struct bucket b;
	bucket_set(&b, 1000, 10, 0);
	uint64_t now = 0, got = 0;
	for (uint64_t n = 1; now < 100000 * MS; n = n * 7 % 61, got += n) {
		while (!bucket_take(&b, n, now)) now = bucket_when(&b, n, now);
	}
	CHECK(got >= 99000 && got <= 101000);
}

TEST(bucket_counts_parts)
{
	struct bucket b;
	unsigned got = 0;
	bucket_set(&b, 10, 1, 0);
	for (uint64_t now = 0; now <= 10000 * MS; now += 19 * MS) got += bucket_take(&b, 1, now);
	CHECK(got >= 99 && got <= 101);
}

TEST(bucket_takes_back)
{
	struct bucket b;
	bucket_set(&b, 1000, 10, 0);
	CHECK(bucket_take(&b, 10, 0));
	bucket_back(&b, 10);
	bucket_back(&b, UINT64_MAX);
	CHECK(b.level == 10 && bucket_take(&b, 10, 0) && !bucket_take(&b, 1, 0));
}
