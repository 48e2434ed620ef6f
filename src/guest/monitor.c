/* Leaving whoever typed the command: session, folder, descriptors, terminal, title. What goes wrong
 * until the guest runs is told through a pipe; later words go to monitor.log in its folder. */
#include "guest/monitor.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/title.h"
#include "guest/arrival.h"
#include "guest/guest.h"
#include "guest/outside.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { EXIT_OWN = 125 }; /* as docker has it */

static void tell(int pipe, const struct err *e)
{
	(void)!write(pipe, e, sizeof(*e));
	(void)close(pipe);
}

static void runs(void *ctx)
{
	static const struct err none;
	tell(*(int *)ctx, &none);
	*(int *)ctx = -1;
}

static int detach(const struct spec *s, const struct guest_home *home, int pipe, struct err *e)
{
	char title[80];
	enum { OWN = 3, LINK = 3 };
	int keep[OWN + SPEC_SHARES + LINK + SPEC_DISKS] = {home->folder, home->attach, pipe};
	unsigned n = OWN;
	for (unsigned i = 0; i < s->nshares; i++) keep[n++] = s->share[i].lock;
	if (s->arrival) {
		link_fds(s->arrival->link, keep + n);
		n += LINK;
		for (unsigned i = 0; i < s->ndisks; i++) keep[n++] = s->arrival->disk[i];
	}
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log = openat(home->folder, "monitor.log",
			 O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (null < 0 || log < 0) return fail(e, -errno, "monitor.log: %s", strerror(errno));
	if (setsid() < 0 || chdir("/") || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		return fail(e, -errno, "into the background: %s", strerror(errno));
	fds_keep(keep, n);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(title, sizeof(title), "lodge: %s", s->name);
	title_set(title);
	return 0;
}

/* It may be called otherwise by now. */
static void leave_nothing(const struct guest_end *end, int folder)
{
	struct store *s;
	struct err e = {0};
	if (store_open(&s, NULL, &e)) return;
	(void)store_guest_remove(s, end->stats.name, &folder, &e);
	store_close(s);
}

static _Noreturn void monitor(const struct kind *k, const struct spec *s, struct guest_home home,
			      int pipe)
{
	struct err e = {0};
	struct guest_end end = {0};
	struct loop *l = NULL;
	home.behind = true;
	home.started = runs;
	home.ctx = &pipe;
	int r = detach(s, &home, pipe, &e);
	if (!r && s->confined) r = guest_confine(k, s, &home, &e);
	if (!r) r = loop_new(&l, &e);
	if (!r) r = guest_keep(k, s, &home, l, NULL, &end, &e);
	if (r && pipe >= 0)
		tell(pipe, &e);
	else if (r)
		log_say("%s", e.msg);
	if (end.ran && s->remove && outside_is_there())
		(void)outside_remove(NULL);
	else if (end.ran && s->remove)
		leave_nothing(&end, home.folder);
	_exit(r ? EXIT_OWN : end.code);
}

static int hear(int pipe, pid_t child, struct err *e)
{
	struct err said;
	ssize_t n;
	while ((n = read(pipe, &said, sizeof(said))) < 0 && errno == EINTR) {
	}
	if (n == sizeof(said) && !said.code) return 0;
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
	}
	if (n != sizeof(said))
		return fail(e, -EIO, "its monitor ended before the guest ran, without a word");
	*e = said;
	return said.code;
}

/* What it had to say of a snapshot, such as files that are gone, is for whoever asked for it. */
static void pass_on(int folder)
{
	char words[8192];
	auto_fd int log = openat(folder, "monitor.log", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = log < 0 ? 0 : read(log, words, sizeof(words));
	if (n > 0) (void)!write(STDERR_FILENO, words, (size_t)n);
}

int monitor_start(const struct kind *k, const struct spec *s, const struct guest_home *home,
		  struct err *e)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	auto_fd int ours = ends[0], theirs = ends[1];
	(void)fflush(NULL);
	pid_t child = fork();
	if (child < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	if (child == 0) monitor(k, s, *home, theirs);
	(void)close(give_fd(&theirs));
	int r = hear(ours, child, e);
	if (r == 0 && s->restore) pass_on(home->folder);
	return r;
}
