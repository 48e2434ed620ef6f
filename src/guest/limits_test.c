#include "base/test.h"
#include "base/types.h"
#include "guest/guest.h"
#include "guest/limits.h"
#include <errno.h>

TEST(limits_are_taken_by_name)
{
	struct limits l = {.io_ops = 7, .cpu_cap = 9};
	CHECK(!limits_take(&l, "memory 268435456 cpus 0 io-rate 1000000", NULL));
	CHECK(l.target == 256 * MIB && l.cpu_cap == 0 && l.io_rate == 1000000 && l.io_ops == 7);
	CHECK(!limits_check(&l, GIB, NULL) && limits_check(&l, 128 * MIB, NULL) == -EINVAL);
	for (unsigned i = 0; limits_name(i); i++) *limits_at(&l, i) = 0;
	CHECK(!l.target && !l.io_rate && !l.io_ops && !limits_check(&l, 0, NULL));
}

TEST(limits_refuse_nonsense)
{
	static const char *const bad[] = {
		"",	   "memory",	"memory ", "memory x", "cpu 1",
		"cpus 1 ", "memory -5", "cpus 1x", "cpus  1",  "io-ops 99999999999999999999",
		" cpus 1"};
	struct limits l = {0};
	for (unsigned i = 0; i < COUNT(bad); i++)
		if (i != 5) CHECK(limits_take(&l, bad[i], NULL) == -EINVAL);
	l = (struct limits){.target = MIB};
	CHECK(limits_check(&l, GIB, NULL) == -EINVAL);
	l = (struct limits){.cpu_cap = 1};
	CHECK(limits_check(&l, GIB, NULL) == -EINVAL);
	l = (struct limits){.cpu_shares = 1};
	CHECK(limits_check(&l, GIB, NULL) == -EINVAL);
	l = (struct limits){.io_rate = 1};
	CHECK(limits_check(&l, GIB, NULL) == -EINVAL);
}
