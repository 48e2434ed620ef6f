#include "base/test.h"
#include "vm/throttle.h"

#define MS 1000000

TEST(throttle_pays_in_and_takes_out)
{
	CHECK(throttle_balance(0, 500, 10 * MS, 0) == 5 * MS);
	CHECK(throttle_balance(0, 500, 10 * MS, 10 * MS) == -5 * MS);
	CHECK(throttle_balance(-5 * MS, 500, 10 * MS, 0) == 0);
	CHECK(throttle_balance(0, 2000, 5 * MS, 10 * MS) == 0);
}

TEST(throttle_saves_little_and_owes_little)
{
	CHECK(throttle_balance(0, 1000, UINT64_MAX, 0) == 20 * MS);
	CHECK(throttle_balance(0, 10, 5 * MS, UINT64_MAX) == -1000 * MS);
}

/* Used by turns, half of the time is half of a CPU. */
TEST(throttle_holds_the_share)
{
	int64_t balance = 0;
	unsigned ran = 0;
	for (unsigned i = 0; i < 1000; i++) {
		bool runs = balance >= 0;
		ran += runs;
		balance = throttle_balance(balance, 300, 5 * MS, runs ? 5 * MS : 0);
	}
	CHECK(ran >= 295 && ran <= 305);
}
