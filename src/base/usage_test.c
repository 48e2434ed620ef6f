#include "base/test.h"
#include "base/usage.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that has used 20 ms by itself counts, while it lives and after that. */
TEST(usage_counts_children)
{
	enum { MS = 1000000, WORK = 20 * MS };
	uint64_t before = usage_ns();
	pid_t pid = fork();
	if (!pid)
		for (;;) {
		}
	usage_add(pid);
	while (usage_ns() - before < WORK) (void)usleep(1000);
	usage_remove(pid);
	(void)kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	CHECK(usage_ns() - before >= WORK);
	usage_remove(pid); /* a second time changes nothing */
	CHECK(usage_ns() - before >= WORK);
}
