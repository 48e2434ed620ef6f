/* Drives `programs --serve`, be it a process of this machine or one in a guest whose console is our
 * pipe, and measures what it costs.
 *   drive [-n] [-t SECONDS] [-T SECONDS] [-r ROUNDS] [-p PROGRAM,...] COMMAND...
 * prints for each program and round "NAME CPU-SECONDS CHECKSUM OWN-SECONDS", or "NAME failed: WHY".
 * CPU-SECONDS is what the command's process used between "+NAME" and "-NAME" on this machine: all
 * its threads, translators and devices included, and none of what others did meanwhile. OWN-SECONDS
 * is what the program believes that it used; with -n (native) both are that, as children count.
 * Without -p it only waits: at the end of the command comes "total CPU-SECONDS WALL-SECONDS
 * STATUS". A command that dies, or is silent for too long, is started anew for the programs that
 * are left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char **command;
static int native, patience = 60;
static double deadline = 1e18;

static pid_t pid;
static int to_it = -1, from_it = -1;
static char buffer[4096], line[512];
static size_t held;

static double seconds(clockid_t id)
{
	struct timespec t;
	return clock_gettime(id, &t) ? 0 : (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static double used_by(pid_t p)
{
	clockid_t id;
	return clock_getcpuclockid(p, &id) ? 0 : seconds(id);
}
/* Whose child a process is, by the fourth field of its stat, behind a name in parentheses. */
static pid_t parent_of(const char *p)
{
	char name[300], text[512];
	int of = 0;
	(void)snprintf(name, sizeof(name), "/proc/%s/stat", p);
	FILE *f = fopen(name, "r");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f) (void)fclose(f);
	text[n] = 0;
	const char *end = strrchr(text, ')');
	return end && sscanf(end, ") %*c %d", &of) == 1 ? of : 0;
}
/* With the processes that it has beside it (Lodge's, for direct execution). */
static double used(void)
{
	double sum = used_by(pid);
	DIR *all = opendir("/proc");
	for (struct dirent *e; all && (e = readdir(all));)
		if (parent_of(e->d_name) == pid) sum += used_by(atoi(e->d_name));
	if (all) (void)closedir(all);
	return sum;
}

static void one_cpu(void)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
}
static void start(void)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) exit(2);
	pid = fork();
	if (pid < 0) exit(2);
	if (!pid) {
		if (native) one_cpu();
		(void)setpgid(0, 0);
		(void)dup2(in[0], STDIN_FILENO), (void)dup2(out[1], STDOUT_FILENO);
		(void)execvp(command[0], command);
		_exit(127);
	}
	(void)close(in[0]), (void)close(out[1]);
	to_it = in[1], from_it = out[0];
	held = 0;
}

/* The next line, without what ends it. 0: none came; the command is dead, or as good as. */
static int listen_line(int wait)
{
	double until = seconds(CLOCK_MONOTONIC) + wait;
	if (until > deadline) until = deadline;
	for (;;) {
		char *eol = memchr(buffer, '\n', held);
		if (eol || held == sizeof(buffer)) {
			size_t n = eol ? (size_t)(eol - buffer) : held, past = n + !!eol;
			size_t keep = n < sizeof(line) ? n : sizeof(line) - 1;
			while (keep && buffer[keep - 1] == '\r') keep--;
			memcpy(line, buffer, keep);
			line[keep] = 0;
			memmove(buffer, buffer + past, held -= past);
			return 1;
		}
		double left = until - seconds(CLOCK_MONOTONIC);
		struct pollfd p = {.fd = from_it, .events = POLLIN};
		if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) < 0) return 0;
		if (!p.revents) continue;
		ssize_t n = read(from_it, buffer + held, sizeof(buffer) - held);
		if (n <= 0) return 0;
		held += (size_t)n;
	}
}
static void say(const char *word)
{
	if (dprintf(to_it, "%s\n", word) < 0 && errno != EPIPE) exit(2);
}

/* It may end by itself for so many seconds yet. */
static int stop(int wait, struct rusage *u)
{
	int st = 0;
	double until = seconds(CLOCK_MONOTONIC) + wait;
	pid_t gone;
	while (!(gone = wait4(pid, &st, WNOHANG, u)) && seconds(CLOCK_MONOTONIC) < until)
		(void)usleep(1000);
	(void)kill(-pid, SIGKILL);
	if (!gone) (void)wait4(pid, &st, 0, u);
	(void)close(to_it), (void)close(from_it);
	pid = 0;
	return st;
}

/* What a kernel does after its start is nobody's figure. */
static void settle(void)
{
	double before = -1, now;
	for (int i = 0; i < 30 && !native && (now = used()) - before > 0.005; i++) {
		before = now;
		(void)usleep(100000);
	}
}

static int ready(void)
{
	if (pid) return 1;
	start();
	while (listen_line(patience))
		if (strstr(line, "bench: ready")) return settle(), 1;
	(void)stop(0, NULL);
	return 0;
}

/* What a line says after a sign or nothing and the program's name; NULL: it is about other things.
 */
static const char *about(const char *sign, const char *name)
{
	size_t s = strlen(sign), n = strlen(name);
	return !strncmp(line, sign, s) && !strncmp(line + s, name, n) &&
			       (!line[s + n] || line[s + n] == ' ')
		       ? line + s + n
		       : NULL;
}

static void measure(const char *name)
{
	double from = 0, took = 0, own;
	char sum[32];
	const char *p;
	if (seconds(CLOCK_MONOTONIC) > deadline) {
		(void)printf("%s failed: no time left\n", name);
		return;
	}
	if (!ready()) {
		(void)printf("%s failed: what runs it does not start\n", name);
		return;
	}
	say(name);
	while (listen_line(patience)) {
		if (about("+", name)) {
			from = used();
			say("");
		} else if (about("-", name)) {
			took = used() - from;
			say("");
		} else if ((p = about("!", name))) {
			(void)printf("%s failed:%s\n", name, p);
			return;
		} else if ((p = about("", name)) && sscanf(p, "%lf %31s", &own, sum) == 2) {
			(void)printf("%s %.6f %s %.6f\n", name, native ? own : took, sum, own);
			return;
		}
	}
	(void)printf("%s failed: %s\n", name,
		     seconds(CLOCK_MONOTONIC) > deadline ? "no time left" : "no answer");
	(void)stop(0, NULL);
}

static void finish(void)
{
	if (!pid) return;
	say("end");
	while (listen_line(10)) {
	}
	(void)stop(3, NULL);
}

static void whole(void)
{
	struct rusage u;
	double from = seconds(CLOCK_MONOTONIC);
	start();
	while (listen_line(patience)) {
	}
	double wall = seconds(CLOCK_MONOTONIC) - from;
	int st = stop(5, &u);
	(void)printf("total %.6f %.6f %d\n",
		     (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			     (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6,
		     wall, st);
}

int main(int argc, char **argv)
{
	char *list = NULL;
	int rounds = 1, c;
	while ((c = getopt(argc, argv, "+nt:T:r:p:")) != -1) switch (c) {
		case 'n': native = 1; break;
		case 't': patience = atoi(optarg); break;
		case 'T': deadline = seconds(CLOCK_MONOTONIC) + atoi(optarg); break;
		case 'r': rounds = atoi(optarg); break;
		case 'p': list = optarg; break;
		default: return 2;
		}
	command = argv + optind;
	if (!command[0]) return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (!list) return whole(), 0;
	while (rounds--) {
		char *copy = strdup(list), *save = NULL;
		for (char *n = strtok_r(copy, ",", &save); n; n = strtok_r(NULL, ",", &save))
			measure(n);
		free(copy);
	}
	finish();
	return 0;
}
