#include "zone/hook.h"
#include "zone/log.h"
#include "zone/sys.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Of programs that are the zone's own. */
struct inside {
	int (*become)(void *ctx, struct err *e);
	void *ctx;
};

static _Noreturn void hook_become(const struct spec_hook *h, const struct inside *inside, int in)
{
	static const char *const none[] = {NULL};
	const char *const *ours = inside ? none : (const char *const *)environ;
	const char *alone[] = {h->path, NULL};
	sigset_t all;
	(void)sigemptyset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)dup2(in, 0);
	(void)dup2(2, 1);
	struct err e;
	if (inside && inside->become(inside->ctx, &e)) {
		(void)dprintf(2, "hook %s: %s\n", h->path, e.msg);
		_exit(127);
	}
	(void)sys_close_range(3, ~0u, 0);
	(void)execve(h->path, (char *const *)(h->args.n ? h->args.at : alone),
		     (char *const *)(h->env.at ? h->env.at : ours));
	(void)dprintf(2, "hook %s: %s\n", h->path, strerror(errno));
	_exit(127);
}

/* Its input is a file without a name: a hook that does not read holds nobody up. */
static int input_make(const char *state)
{
	size_t n = strlen(state);
	int fd = memfd_create("state", MFD_CLOEXEC);
	if (fd >= 0 && (write(fd, state, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET))) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static int hook_run(const struct spec_hook *h, const struct inside *inside, const char *state,
		    struct err *e)
{
	auto_fd int in = input_make(state), pidfd = -1;
	int status = 0, pid = in < 0 ? -1 : sys_clone(0, SIGCHLD, &pidfd, -1);
	if (pid < 0) return fail(e, -errno, "hook %s: %s", h->path, strerror(errno));
	if (!pid) hook_become(h, inside, in);
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int ms = h->timeout <= 0 || h->timeout > INT_MAX / 1000 ? -1 : (int)h->timeout * 1000, n;
	while ((n = poll(&p, 1, ms)) < 0 && errno == EINTR) {
	}
	if (!n) (void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (!n) return fail(e, -ETIMEDOUT, "hook %s: no end within its timeout", h->path);
	if (WIFSIGNALED(status))
		return fail(e, -ECANCELED, "hook %s: ended by signal %d", h->path,
			    WTERMSIG(status));
	if (WEXITSTATUS(status))
		return fail(e, -ECANCELED, "hook %s: exit status %d", h->path, WEXITSTATUS(status));
	return 0;
}

static int each(const spec_hooks *h, const struct inside *inside, const char *kind,
		const char *state, struct err *e)
{
	for (unsigned i = 0; i < h->n; i++)
		if (hook_run(&h->at[i], inside, state, e)) return fail_in(e, "%s", kind);
	return 0;
}

int hooks_run(const spec_hooks *h, const char *kind, const char *state, struct err *e)
{
	return each(h, NULL, kind, state, e);
}

int hooks_run_inside(const spec_hooks *h, const char *kind, const char *state,
		     int (*become)(void *ctx, struct err *e), void *ctx, struct err *e)
{
	struct inside own = {become, ctx};
	return each(h, &own, kind, state, e);
}

void hooks_run_all(const spec_hooks *h, const char *kind, const char *state)
{
	struct err e;
	for (unsigned i = 0; i < h->n; i++)
		if (hook_run(&h->at[i], NULL, state, &e))
			oci_log(OCI_WARNING, "%s: %s", kind, e.msg);
}
