/* build/unit [PATTERN]: run the tests whose file:name contains PATTERN. */
#include "base/test.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct test *all;
static int bad;

void test_add(struct test *t)
{
	t->next = all;
	all = t;
}

void test_fail(const char *expr, const char *file, int line)
{
	bad = 1;
	(void)printf("%s:%d: %s\n", file, line, expr);
}

bool test_stop(int pid)
{
	char path[64], state = 0;
	if (kill(pid, SIGSTOP)) return false;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (unsigned k = 0; k < 5000 && state != 'T'; k++) {
		FILE *f = fopen(path, "re");
		if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1) state = 0;
		if (f) (void)fclose(f);
		(void)usleep(1000);
	}
	return state == 'T';
}

int main(int argc, char **argv)
{
	int ok = 0, no = 0;
	for (struct test *t = all; t; t = t->next) {
		char where[512];
		(void)snprintf(where, sizeof(where), "%s:%s", t->file, t->name);
		if (argc > 1 && !strstr(where, argv[1])) continue;
		bad = 0;
		t->run();
		if (bad) (void)printf("FAILED %s\n", where);
		bad ? no++ : ok++;
	}
	(void)printf("%d passed, %d failed\n", ok, no);
	return no != 0;
}
