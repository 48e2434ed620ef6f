/* fork, exec and wait in one call. A second pipe, closed by a successful exec, carries the errno
 * of a failed one: so "it never ran" and "it ended badly" are told apart. */
#include "base/proc.h"
#include "base/buf.h"
#include "base/own.h"
#include "base/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { LINE_MAX_BYTES = 8192 };

static _Noreturn void child(const struct proc *p, int out, int err_fd, pid_t parent)
{
	sigset_t none;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++) (void)signal(s, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	int null = open("/dev/null", O_RDONLY);
	int bad = getppid() != parent || null < 0 || dup2(null, 0) < 0;
	if (out >= 0) bad |= dup2(out, 1) < 0 || dup2(out, 2) < 0;
	if (!bad && (!p->dir || !chdir(p->dir))) (void)execvp(p->argv[0], (char **)p->argv);
	(void)!write(err_fd, &errno, sizeof(errno));
	_exit(127);
}

static void lines_add(struct buf *b, const struct proc *p, const char *at, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (at[i] != '\n' && b->len < LINE_MAX_BYTES) buf_add(b, at + i, 1);
		if (at[i] != '\n' && b->len < LINE_MAX_BYTES) continue;
		p->line(p->ctx, b->at ? b->at : "");
		buf_done(b);
	}
}

static void stream(const struct proc *p, int fd)
{
	char chunk[4096];
	auto_buf struct buf b = {0};
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) break;
		lines_add(&b, p, chunk, (size_t)n);
	}
	if (b.len) p->line(p->ctx, b.at);
}

static int reap(pid_t pid)
{
	int st;
	while (waitpid(pid, &st, 0) < 0) must(errno == EINTR);
	return WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
}

int proc_run(const struct proc *p, int *code, struct err *e)
{
	int out[2] = {-1, -1}, bad[2], why = 0;
	pid_t parent = getpid();
	if (p->line && pipe2(out, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	auto_fd int out_r = out[0], out_w = out[1];
	if (pipe2(bad, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	auto_fd int bad_r = bad[0], bad_w = bad[1];
	pid_t pid = fork();
	if (pid == 0) child(p, out_w, bad_w, parent);
	if (pid < 0) return fail(e, -errno, "%s: %s", p->argv[0], strerror(errno));
	trace(proc_spawn, p->argv[0], pid);
	drop_fd(&out_w);
	drop_fd(&bad_w);
	out_w = bad_w = -1;
	bool ran = read(bad_r, &why, sizeof(why)) != sizeof(why);
	if (ran && p->line) stream(p, out_r);
	*code = reap(pid);
	trace(proc_exit, pid, *code);
	if (ran) return 0;
	return why == ENOENT ? fail(e, -ENOENT, "%s: no such program", p->argv[0])
			     : fail(e, -why, "%s: %s", p->argv[0], strerror(why));
}
