#include "base/jail.h"
#include "base/own.h"
#include "base/test.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "guest/record.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A monitor that makes a call which is not noted. */
static void monitor(int folder)
{
	const struct spec s = {.name = "test"};
	const struct guest_home home = {.folder = folder, .attach = -1};
	const struct guest_state st = {.life = LIFE_RUNNING, .pid = (int)getpid()};
	struct jail_plan p = {.nkept = 0};
	(void)!freopen("/dev/null", "w", stderr);
	if (outside_start(&s, &home, NULL)) _exit(1);
	jail_begin(&p);
	if (outside_state(&st, folder, NULL)) _exit(2);
	jail_close(&p, JAIL_LOOP);
	(void)syscall(SYS_ptrace, 16, 1, 0, 0);
	_exit(3);
}

TEST(outside_a_refused_call_is_the_words_of_its_end)
{
#ifndef LODGE_SAN
	char dir[] = "/tmp/lodge-outside-XXXXXX";
	struct guest_state st = {0};
	int status = 0;
	CHECK(mkdtemp(dir));
	auto_fd int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)unsetenv("LODGE_SECCOMP");
	pid_t pid = fork();
	if (!pid) monitor(folder);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGSYS);
	for (unsigned i = 0; i < 500 && st.life != LIFE_BROKEN; i++) { /* the helper outlives it */
		(void)usleep(10000);
		state_read(&st, folder);
	}
	CHECK(st.life == LIFE_BROKEN && strstr(st.why, "ptrace") && strstr(st.why, "loop"));
	(void)unlinkat(folder, "state.json", 0);
	CHECK(!rmdir(dir));
#endif
}
