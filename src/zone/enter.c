#include "zone/enter.h"
#include "base/buf.h"
#include "base/file.h"
#include "zone/log.h"
#include "zone/sys.h"
#include "zone/terminal.h"
#include "zone/words.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct entry {
	struct enter *x;
	int ours, theirs, init, into; /* ends of the channel; the first process's pidfd; a group */
	int flags;		      /* namespaces that are not ours already */
};

static int namespaces_of(pid_t pid)
{
	int flags = 0;
	for (const struct word *w = words_namespaces; w->name; w++) {
		char path[48];
		struct stat own, its;
		const char *file = word_namespace_file((int)w->value);
		(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", file);
		if (stat(path, &own)) continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, file);
		if (!stat(path, &its) && its.st_ino != own.st_ino) flags |= (int)w->value;
	}
	return flags;
}

static int terminal_set(struct entry *n, struct err *e)
{
	if (!n->x->p.p->terminal) return 0;
	auto_fd int master = -1, slave = -1, root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = terminal_make(root, n->x->p.p->console_size, &master, &slave, e);
	if (r) return r;
	(void)fchown(slave, n->x->p.p->user->uid, (gid_t)-1);
	if (channel_say(n->theirs, SAY_TERMINAL, 0, NULL, master))
		return fail(e, -EPIPE, "process.terminal: nobody took it");
	return process_terminal(slave, e);
}

static void warn(void *ctx, const char *words)
{
	(void)channel_say(((struct entry *)ctx)->theirs, SAY_WARNING, 0, words, -1);
}

static int live(struct entry *n, struct err *e)
{
	int r;
	if ((r = channel_wait(n->theirs, SAY_KNOWN, e)) < 0) return r;
	if ((r = group_join(n->x->group, false, e))) return r;
	if ((n->flags & CLONE_NEWCGROUP) && setns(n->init, CLONE_NEWCGROUP))
		return fail(e, -errno, "joining the zone's control groups: %s", strerror(errno));
	if ((n->flags & CLONE_NEWUSER) && (setresgid(0, 0, 0) || setresuid(0, 0, 0)))
		return fail(e, -errno, "the zone has no id 0: %s", strerror(errno));
	if ((r = terminal_set(n, e)) || (r = process_prepare(&n->x->p, e))) return r;
	if (!n->x->p.tied) (void)prctl(PR_SET_PDEATHSIG, 0);
	if ((r = process_become(&n->x->p, NULL, NULL, e))) return r;
	return process_exec(&n->x->p, e);
}

static _Noreturn void entered(struct entry *n)
{
	struct err e;
	sigset_t none;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP) (void)signal(s, SIG_DFL);
	(void)setsid();
	n->x->p.warn = warn;
	n->x->p.ctx = n;
	(void)live(n, &e);
	(void)channel_fail(n->theirs, &e);
	_exit(1);
}

/* The namespace of control groups is joined later, by who is in the groups already: who has another
 * one may make nobody in them where version 2 is mounted with nsdelegate, as systemd does it. */
static _Noreturn void helper(struct entry *n)
{
	struct err e;
	int pidfd = -1;
	(void)prctl(PR_SET_DUMPABLE, 0);
	int now = n->flags & ~CLONE_NEWCGROUP;
	if (now && setns(n->init, now)) {
		(void)fail(&e, -errno, "joining the zone's namespaces: %s", strerror(errno));
		(void)channel_fail(n->theirs, &e), _exit(1);
	}
	int pid = sys_clone(CLONE_PARENT, 0, &pidfd, n->into);
	if (!pid) entered(n);
	if (pid < 0) {
		(void)fail(&e, -errno, "a process in the zone: %s", strerror(errno));
		(void)channel_fail(n->theirs, &e), _exit(1);
	}
	(void)channel_say(n->theirs, SAY_PID, pid, NULL, pidfd);
	_exit(0);
}

static int process_make(struct entry *n, struct err *e)
{
	struct channel_msg m;
	int pid = sys_clone(0, SIGCHLD, NULL, -1);
	if (!pid) helper(n);
	if (pid < 0) return fail(e, -errno, "clone: %s", strerror(errno));
	int r = channel_hear(n->ours, &m, &n->x->pidfd, e);
	(void)waitpid(pid, NULL, 0);
	/* What the helper says its child is called is another's word where pids are the zone's. */
	if (!r) n->x->pid = m.code;
	if (!r) (void)channel_say(n->ours, SAY_KNOWN, 0, NULL, -1);
	return r;
}

/* Of version 2 the group that the first process is in: one that has made groups below its own may
 * have left that, and nobody can enter it then. */
static int group_below(const struct group *g, pid_t pid)
{
	char path[40];
	struct err ignored;
	auto_buf struct buf b = {0};
	size_t n = strlen(g->path);
	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (group_into(g) < 0 || file_read(&b, path, 1 << 20, &ignored)) return -1;
	char *line = strncmp(b.at, "0::", 3) ? strstr(b.at, "\n0::") : b.at;
	if (!line) return -1;
	line += *line == '\n' ? 4 : 3;
	line[strcspn(line, "\n")] = 0;
	if (strncmp(line, g->path, n) || line[n] != '/') return -1;
	return sys_openat2(group_into(g), line + n + 1, O_RDONLY | O_DIRECTORY, 0,
			   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

static int terminal_take(struct enter *x, int fd, struct err *e)
{
	if (x->keep_master) {
		x->master = fd;
		return 0;
	}
	int r = terminal_send(x->console_socket, fd, e);
	(void)close(fd);
	return r;
}

static int follow(struct entry *n, struct err *e)
{
	(void)close(n->theirs);
	n->theirs = -1;
	for (;;) {
		struct channel_msg m;
		int fd = -1;
		m.what = 0;
		int r = channel_hear(n->ours, &m, &fd, e);
		if (r == -EPIPE && !m.what) return 0; /* closed by its execve */
		if (r) return r;
		if (m.what == SAY_TERMINAL && (r = terminal_take(n->x, fd, e))) return r;
	}
}

int enter_begin(struct enter *x, struct err *e)
{
	struct entry n = {.x = x, .into = group_into(x->group)};
	int ends[2], r;
	x->pidfd = x->master = -1;
	x->pid = 0;
	auto_fd int init = sys_pidfd_open(x->place->pid), ours = -1, below = -1,
		    proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	x->p.proc = proc;
	if (init < 0 || !place_alive(x->place))
		return fail(e, -ESRCH, "zone %s: is not running", x->place->id);
	n.init = init;
	if (!x->subgroup && (below = group_below(x->group, x->place->pid)) >= 0) n.into = below;
	n.flags = namespaces_of(x->place->pid);
	if ((r = channel_pair(ends, e))) return r;
	n.ours = ours = ends[0];
	n.theirs = ends[1];
	if (!(r = process_make(&n, e))) r = follow(&n, e);
	if (n.theirs >= 0) (void)close(n.theirs);
	if (!r) return 0;
	if (x->pid > 0) {
		(void)kill(x->pid, SIGKILL);
		(void)waitpid(x->pid, NULL, __WALL);
	}
	return r;
}
