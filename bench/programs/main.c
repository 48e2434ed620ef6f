/* Runs programs and says what they took.
 *   programs --list                 "GROUP NAME" of each program
 *   programs [--all | NAME...]      run them, print "NAME CPU-SECONDS CHECKSUM"
 *   programs --serve [LIST ROOT]    do as the lines on stdin say (bench/drive), until "end"
 * LIST names programs that are not ours, run in the folder ROOT (child.c).
 *
 * Of a served program, "+NAME" says that it is about to start and waits for a line, "-NAME" that it
 * is done, and waits again, so that who asked can read his clocks. Then comes the line as above, or
 * "!NAME WHY". Each runs in a process of its own: what it breaks or leaves is gone with it. */
#include "programs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

uint32_t seed = 1;

static const struct {
	const char *name;
	const struct program *list;
} groups[] = {{"integer", integer_programs},
	      {"float", float_programs},
	      {"memory", memory_programs},
	      {"vector", vector_programs},
	      {"system", system_programs}};
enum { GROUPS = sizeof(groups) / sizeof(groups[0]) };

static int serving;
static const char *now;

/* Byte by byte: what follows the line is for another process. */
static int line_read(char *b, size_t room)
{
	size_t n = 0;
	char c;
	while (read(STDIN_FILENO, &c, 1) == 1) {
		if (c == '\n') return b[n] = 0, 1;
		if (c != '\r' && n + 1 < room) b[n++] = c;
	}
	return 0;
}
static void meet(char sign)
{
	char b[64];
	if (!serving) return;
	(void)printf("%c%s\n", sign, now);
	(void)fflush(stdout);
	if (!line_read(b, sizeof(b))) _exit(1);
}
static void begin(void) { meet('+'); }
static void end(void) { meet('-'); }

/* Of this process and of its children that it waited for. */
static double cpu_seconds(void)
{
	struct timespec a;
	struct rusage k;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	(void)getrusage(RUSAGE_CHILDREN, &k);
	return (double)(a.tv_sec + k.ru_utime.tv_sec + k.ru_stime.tv_sec) +
	       (double)a.tv_nsec * 1e-9 + (double)(k.ru_utime.tv_usec + k.ru_stime.tv_usec) * 1e-6;
}

static double own_run(const struct program *p, uint64_t *sum)
{
	if (p->prepare) p->prepare();
	seed = 1;
	begin();
	double from = cpu_seconds();
	*sum = p->run(p->n);
	double took = cpu_seconds() - from;
	end();
	return took;
}

static const struct program *find(const char *name)
{
	for (unsigned g = 0; g < GROUPS; g++)
		for (const struct program *p = groups[g].list; p->name; p++)
			if (!strcmp(p->name, name)) return p;
	return NULL;
}

/* The line of the list that begins with this name; false: there is none. */
static int find_line(const char *list, const char *name, char *b, int room)
{
	size_t n = strlen(name);
	FILE *f = list ? fopen(list, "re") : NULL;
	int found = 0;
	while (f && !found && fgets(b, room, f)) found = !strncmp(b, name, n) && b[n] == ' ';
	if (f) (void)fclose(f);
	return found;
}

static int run_here(const char *name, const char *list, const char *root)
{
	char line[512];
	uint64_t sum = 0;
	double took = -1;
	const struct program *p = find(name);
	now = name;
	if (p)
		took = own_run(p, &sum);
	else if (find_line(list, name, line, sizeof(line)))
		took = child_run(line, root, &sum, begin, end);
	else
		return (void)printf("!%s no such program\n", name), 0;
	if (took < 0) return (void)printf("!%s failed\n", name), 0;
	(void)printf("%s %.6f %llx\n", name, took, (unsigned long long)sum);
	return 0;
}

static void run(const char *name, const char *list, const char *root)
{
	int st = 0;
	(void)fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(run_here(name, list, root));
	}
	if (pid < 0 || waitpid(pid, &st, 0) != pid)
		(void)printf("!%s cannot run\n", name);
	else if (st)
		(void)printf("!%s died: status %#x\n", name, (unsigned)st);
}

static int serve(const char *list, const char *root)
{
	char name[64];
	struct termios t;
	if (!tcgetattr(STDIN_FILENO, &t)) {
		t.c_lflag &= ~(tcflag_t)ECHO;
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &t);
	}
	serving = 1;
	(void)printf("bench: ready\n");
	(void)fflush(stdout);
	while (line_read(name, sizeof(name)) && strcmp(name, "end"))
		if (name[0]) run(name, list, root);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "-7")) return 7; /* forkexec's child */
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (unsigned g = 0; g < GROUPS; g++)
			for (const struct program *p = groups[g].list; p->name; p++)
				(void)printf("%s %s\n", groups[g].name, p->name);
		return 0;
	}
	if (argc >= 2 && !strcmp(argv[1], "--serve"))
		return serve(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : "/");
	if (argc == 2 && !strcmp(argv[1], "--all")) {
		for (unsigned g = 0; g < GROUPS; g++)
			for (const struct program *p = groups[g].list; p->name; p++)
				run(p->name, NULL, NULL);
		return 0;
	}
	for (int i = 1; i < argc; i++) run(argv[i], NULL, NULL);
	return 0;
}
