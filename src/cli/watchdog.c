/* The pipe's other end is only ours, so its end of file means that we are gone, however. The
 * child sits in a process group of its own, away from signals meant for us, and ignores the one
 * that would stop it for touching a terminal from there. */
#include "cli/watchdog.h"
#include "base/own.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void ignore_signals(void)
{
	sigset_t none;
	for (int s = 1; s < NSIG; s++) (void)signal(s, SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool still_raw(int tty, const struct termios *raw)
{
	struct termios now;
	return !tcgetattr(tty, &now) && now.c_lflag == raw->c_lflag && now.c_iflag == raw->c_iflag;
}

static _Noreturn void watch(int pipe, int tty, const struct termios *before,
			    const struct termios *raw, const char *parting)
{
	char byte;
	ssize_t n;
	(void)setpgid(0, 0);
	ignore_signals();
	(void)prctl(PR_SET_NAME, "lodge-terminal");
	if (dup2(tty, 0) < 0 || dup2(pipe, 1) < 0) _exit(1);
	(void)close_range(2, ~0u, 0);
	while ((n = read(1, &byte, 1)) < 0 && errno == EINTR) {
	}
	if (n == 0 && still_raw(0, raw)) {
		(void)tcsetattr(0, TCSANOW, before);
		(void)!write(0, parting, strlen(parting));
	}
	_exit(0);
}

int watchdog_start(struct watchdog *w, int tty, const struct termios *before,
		   const struct termios *raw, const char *parting, struct err *e)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	auto_fd int theirs = ends[0], ours = ends[1];
	w->child = fork();
	if (w->child < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	if (w->child == 0) {
		(void)close(ours);
		watch(theirs, tty, before, raw, parting);
	}
	w->fd = give_fd(&ours);
	return 0;
}

void watchdog_stop(struct watchdog *w)
{
	if (w->fd < 0) return;
	(void)!write(w->fd, "", 1);
	drop_fd(&w->fd);
	w->fd = -1;
	while (waitpid(w->child, NULL, 0) < 0 && errno == EINTR) {
	}
}
