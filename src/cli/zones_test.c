#include "base/test.h"
#include "cli/zones.h"
#include <errno.h>

TEST(cpuset_takes_lists_and_ranges)
{
	uint64_t set;
	struct err e;
	CHECK(!cpuset_parse(&set, "0", &e) && set == 1);
	CHECK(!cpuset_parse(&set, "0-2,4", &e) && set == 0x17);
	CHECK(!cpuset_parse(&set, "63", &e) && set == 1ull << 63);
	static const char *const bad[] = {"", "x", "64", "2-1", "0-", "0,", "-1", "0-99", "1;2"};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(cpuset_parse(&set, bad[i], &e) == -EINVAL);
}
