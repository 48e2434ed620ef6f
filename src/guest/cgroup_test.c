#include "base/test.h"
#include "guest/cgroup.h"
#include <string.h>

#define V1_MOUNTS                                                                                  \
	"tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"                                                      \
	"cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"                                      \
	"cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"                   \
	"cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"

static char at[128];
static bool unified;
static bool place(const char *groups, const char *mounts)
{
	return cgroup_place(at, sizeof(at), CGROUP_CPU, groups, mounts, &unified);
}

TEST(cgroup_is_found_by_its_controller)
{
	CHECK(place("3:cpuset:/x\n2:cpuacct,cpu:/a/b\n0::/c\n", V1_MOUNTS) && !unified);
	CHECK(!strcmp(at, "/sys/fs/cgroup/cpu,cpuacct/a/b"));
	CHECK(place("3:cpuset:/x\n1:cpu:/\n", V1_MOUNTS) && !unified);
	CHECK(!strcmp(at, "/sys/fs/cgroup/cpu,cpuacct"));
	CHECK(place("0::/user.slice/me", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") && unified);
	CHECK(!strcmp(at, "/sys/fs/cgroup/user.slice/me"));
	CHECK(place("3:cpuset:/x\n0::/c\n", V1_MOUNTS) && unified);
	CHECK(!strcmp(at, "/sys/fs/cgroup/unified/c"));
}

TEST(cgroup_is_nowhere)
{
	CHECK(!place("", V1_MOUNTS) && !place("1:cpu:/a\n", "") && !place("nonsense", V1_MOUNTS));
	CHECK(!place("1:cpuset:/a\n", V1_MOUNTS) && !place("1:cpu\n", V1_MOUNTS));
}

TEST(cgroup_weights_are_shares)
{
	CHECK(cgroup_weight(1024) == 100 && cgroup_weight(2) == 1 && cgroup_weight(512) == 50);
	CHECK(cgroup_weight(262144) == 10000);
}

TEST(cgroup_of_each_controller_is_its_own)
{
	static const char groups[] = "4:memory:/m\n2:cpu,cpuacct:/c\n0::/\n";
	static const char mounts[] =
		V1_MOUNTS "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n";
	CHECK(cgroup_place(at, sizeof(at), CGROUP_MEMORY, groups, mounts, &unified) && !unified);
	CHECK(!strcmp(at, "/sys/fs/cgroup/memory/m"));
	CHECK(place(groups, mounts) && !strcmp(at, "/sys/fs/cgroup/cpu,cpuacct/c"));
	CHECK(cgroup_place(at, sizeof(at), CGROUP_MEMORY, groups, V1_MOUNTS, &unified) && unified);
}
