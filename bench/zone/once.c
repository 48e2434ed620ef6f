/* What one run of a program takes, as wait4(2) counts it: from a process so small that what it is
 * itself does not show in the largest resident set. Prints wall us, CPU us, KiB, status. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long us(struct timeval t) { return t.tv_sec * 1000000 + t.tv_usec; }

int main(int argc, char **argv)
{
	struct timespec a, b;
	struct rusage u;
	posix_spawn_file_actions_t f;
	pid_t pid;
	int status;
	if (argc < 2) return 2;
	(void)posix_spawn_file_actions_init(&f);
	(void)posix_spawn_file_actions_addopen(&f, 1, "/dev/null", O_WRONLY, 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	if (posix_spawnp(&pid, argv[1], &f, NULL, argv + 1, environ)) return 2;
	(void)wait4(pid, &status, 0, &u);
	(void)clock_gettime(CLOCK_MONOTONIC, &b);
	(void)printf("%ld %ld %ld %d\n",
		     (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000,
		     us(u.ru_utime) + us(u.ru_stime), u.ru_maxrss, status);
	return 0;
}
