#include "base/test.h"
#include "hw/clock.h"

TEST(vclock_that_counts_goes_on_from_another_count)
{
	uint64_t ran = 100, slept = 50;
	struct vclock c;
	vclock_init(&c, 10000000);
	vclock_count(&c, &ran, &slept);
	vclock_stop(&c);
	vclock_set(&c, 5000000000);
	vclock_go(&c);
	CHECK(vclock_ns(&c) == 5000000000 && vclock_now(&c) == 50000000);
	CHECK(vclock_deadline(&c, 50000001) == 250); /* of what has run and slept */
	CHECK(vclock_deadline(&c, 49999999) == 50 && vclock_deadline(&c, 1) == 0);
	ran += 1000;
	CHECK(vclock_now(&c) == 50000010 && vclock_deadline(&c, 50000001) == 250);
}

TEST(clock_counts_up_from_zero)
{
	struct vclock c;
	vclock_init(&c, 10000000);
	uint64_t a = vclock_now(&c), b = vclock_now(&c);
	CHECK(a < 10000000ull * 3600);
	CHECK(b >= a);
}
TEST(clock_deadline_is_never_early)
{
	struct vclock c = {.hz = 3, .zero_ns = 1000};
	CHECK(vclock_deadline(&c, 0) == 1000);
	CHECK(vclock_deadline(&c, 3) == 1000000000ull + 1000);
	CHECK(vclock_deadline(&c, 1) == 333333334ull + 1000);
}
TEST(clock_deadline_beyond_all_time)
{
	struct vclock c = {.hz = 10000000, .zero_ns = 5};
	CHECK(vclock_deadline(&c, UINT64_MAX) == UINT64_MAX);
	CHECK(vclock_deadline(&c, UINT64_MAX / 100) <= UINT64_MAX);
	CHECK(vclock_deadline(&c, UINT64_MAX / 50) == UINT64_MAX);
}
TEST(clock_stands_and_goes_on_from_there)
{
	uint64_t ran = 1000, slept = 0;
	struct vclock c = {.hz = 1000000000};
	vclock_count(&c, &ran, &slept);
	ran = 1500;
	vclock_stop(&c);
	ran = 9000;
	vclock_stop(&c);
	CHECK(vclock_ns(&c) == 500 && vclock_deadline(&c, 501) == UINT64_MAX);
	vclock_go(&c);
	CHECK(vclock_ns(&c) == 500 && vclock_deadline(&c, 501) == 9001);
	vclock_go(&c);
	ran = 9001;
	CHECK(vclock_ns(&c) == 501);
	vclock_stop(&c);
	vclock_zero(&c);
	CHECK(vclock_ns(&c) == 0);
	vclock_go(&c);
	CHECK(vclock_ns(&c) == 0);
}
