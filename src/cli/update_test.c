#include "base/test.h"
#include "cli/update.h"
#include <errno.h>
#include <stddef.h>

TEST(update_cpus_are_whole_or_capped)
{
	unsigned n = 0;
	uint64_t cap = 9;
	CHECK(!cpus_parse(&n, &cap, "2", NULL) && n == 2 && cap == 0);
	CHECK(!cpus_parse(&n, &cap, "1.5", NULL) && n == 2 && cap == 1500);
	CHECK(!cpus_parse(&n, &cap, ".25", NULL) && n == 1 && cap == 250);
	static const char *const bad[] = {"", "0", "-1", "1e3", "1.5.5", "x", "0.001", "nan", "2x"};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(cpus_parse(&n, &cap, bad[i], NULL) == -EINVAL);
}
