/* The parent's side. */
#include "zone/birth.h"
#include "base/buf.h"
#include "base/pass.h"
#include "zone/hook.h"
#include "zone/id.h"
#include "zone/log.h"
#include "zone/sys.h"
#include "zone/terminal.h"
#include "zone/words.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int namespaces_open(struct birth *b, struct err *e)
{
	for (unsigned i = 0; i < b->spec->linux_->namespaces.n; i++) {
		const struct spec_namespace *n = &b->spec->linux_->namespaces.at[i];
		if (!n->path) continue;
		int fd = open(n->path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return fail(e, -errno, "linux.namespaces: %s: %s: %s", n->type, n->path,
				    strerror(errno));
		b->ns[b->nns] = fd;
		b->ns_flag[b->nns++] = n->flag;
	}
	return 0;
}

static int groups_mounted(void *ctx, const struct source *s, const struct spec_mount *m, int dest,
			  struct err *e);

int birth_prepare(struct birth *b, struct err *e)
{
	const struct spec_linux *l = b->spec->linux_;
	int r;
	b->nns = 0;
	b->channel = b->theirs = b->listen = b->pidfd = b->master = -1;
	b->own_user = b->own_net = -1;
	b->pid = 0;
	if (!b->spec->process) return fail(e, -EINVAL, "process: missing: there is nothing to run");
	if (!(b->spec->new_ns & CLONE_NEWNS))
		return fail(e, -EINVAL,
			    "linux.namespaces: a mount namespace of the zone's own is "
			    "needed");
	if (b->spec->process->terminal && !b->console_socket && !b->keep_master)
		return fail(e, -EINVAL, "process.terminal: needs --console-socket");
	b->root = (struct root){.spec = b->spec,
				.src = &b->sources,
				.a = b->a,
				.bundle = b->bundle,
				.path = b->rootfs,
				.over = b->over,
				.fd = -1,
				.no_nodes = (b->spec->new_ns | b->spec->join_ns) & CLONE_NEWUSER,
				.no_pivot = b->no_pivot,
				.group_mount = groups_mounted,
				.ctx = b};
	if ((r = sources_open(&b->root, false, e)) || (r = namespaces_open(b, e)) ||
	    (r = group_find(&b->group, b->a, e)) ||
	    (r = group_name(&b->group, l->cgroups_path, b->place->id, b->place->systemd, e)))
		return r;
	b->group.quiet = b->tied;
	b->place->cgroup = b->group.path;
	return (b->listen = place_listen(b->place, e)) < 0 ? b->listen : 0;
}

static int groups_mounted(void *ctx, const struct source *s, const struct spec_mount *m, int dest,
			  struct err *e)
{
	struct birth *b = ctx;
	bool own = (b->spec->new_ns | b->spec->join_ns) & CLONE_NEWCGROUP;
	return group_mount(&b->group, &s->o, m, own, dest, e);
}

/* Between us and the first process, for namespaces that it joins: what we would have to undo in
 * ourselves is done in a process that ends. It shares our descriptors, and its child is ours. */
static _Noreturn void join_run(struct birth *b, uint64_t flags)
{
	struct err e;
	int user = -1, pidfd = -1;
	for (int i = 0; i < b->nns; i++)
		if (b->ns_flag[i] == CLONE_NEWUSER) user = i;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < b->nns; i++) {
		if (i != user && setns(b->ns[i], b->ns_flag[i]) && user < 0) {
			(void)fail(&e, -errno, "linux.namespaces: joining %s: %s",
				   word_namespace_file(b->ns_flag[i]), strerror(errno));
			(void)channel_fail(b->theirs, &e), _exit(1);
		}
	}
	if (user >= 0) {
		if (setns(b->ns[user], CLONE_NEWUSER)) {
			(void)fail(&e, -errno, "linux.namespaces: joining user: %s",
				   strerror(errno));
			(void)channel_fail(b->theirs, &e), _exit(1);
		}
		for (int i = 0; i < b->nns; i++)
			if (i != user) (void)setns(b->ns[i], b->ns_flag[i]);
	}
	int pid = sys_clone(flags | CLONE_PARENT, 0, &pidfd, group_into(&b->group));
	if (!pid) init_run(b);
	if (pid < 0) {
		(void)fail(&e, -errno, "linux.namespaces: %s", strerror(errno));
		(void)channel_fail(b->theirs, &e), _exit(1);
	}
	(void)channel_say(b->theirs, SAY_PID, pid, NULL, pidfd);
	_exit(0);
}

static int joined_clone(struct birth *b, uint64_t flags, struct err *e)
{
	struct channel_msg m;
	int helper = sys_clone(0, SIGCHLD, NULL, -1);
	if (!helper) join_run(b, flags);
	if (helper < 0) return fail(e, -errno, "clone: %s", strerror(errno));
	int r = channel_hear(b->channel, &m, &b->pidfd, e);
	(void)waitpid(helper, NULL, 0);
	if (r) return r;
	b->pid = m.code;
	(void)channel_say(b->channel, SAY_KNOWN, 0, NULL, -1);
	return 0;
}

static int first_clone(struct birth *b, struct err *e)
{
	uint64_t flags =
		(uint64_t)(unsigned)b->spec->new_ns & ~(uint64_t)(CLONE_NEWCGROUP | CLONE_NEWTIME);
	int ends[2], r = channel_pair(ends, e);
	if (r) return r;
	b->channel = ends[0];
	b->theirs = ends[1];
	if (b->nns) return joined_clone(b, flags, e);
	int pid = sys_clone(flags, SIGCHLD, &b->pidfd, group_into(&b->group));
	if (!pid) init_run(b);
	if (pid < 0)
		return fail(e, -errno, "linux.namespaces: clone: %s%s", strerror(errno),
			    errno == EPERM ? ": without root, a user namespace is needed" : "");
	b->pid = pid;
	return 0;
}

static int score_set(const struct birth *b, struct err *e)
{
	char path[48], text[16], had[16] = "0";
	const struct number *n = &b->spec->process->oom_score_adj;
	if (!n->set) return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)b->pid);
	(void)snprintf(text, sizeof(text), "%d", (int)n->v);
	auto_fd int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && write(fd, text, strlen(text)) > 0) return 0;
	if (errno != EACCES && errno != EPERM)
		return fail(e, -errno, "process.oomScoreAdj: %s", strerror(errno));
	if (fd >= 0 && pread(fd, had, sizeof(had) - 1, 0) > 0) had[strcspn(had, "\n")] = 0;
	oci_log(OCI_WARNING, "process.oomScoreAdj: left at %s, for want of CAP_SYS_RESOURCE", had);
	return 0;
}

static int hooks_early(const struct birth *b, struct err *e)
{
	const struct spec_hooks *h = b->spec->hooks;
	auto_buf struct buf before = {0}, state = {0};
	if (!h || !(h->prestart.n + h->create_runtime.n)) return 0;
	/* The older kind was once run after `create`, and its programs may look. */
	place_state(b->place, "created", b->pid, false, &before);
	int r = hooks_run(&h->prestart, "hooks.prestart", before.at, e);
	if (r) return r;
	place_state(b->place, "creating", b->pid, false, &state);
	return hooks_run(&h->create_runtime, "hooks.createRuntime", state.at, e);
}

static int terminal_take(struct birth *b, int fd, struct err *e)
{
	if (b->keep_master) {
		b->master = fd;
		return 0;
	}
	int r = terminal_send(b->console_socket, fd, e);
	(void)close(fd);
	return r;
}

static int follow(struct birth *b, struct err *e)
{
	for (;;) {
		struct channel_msg m;
		int fd = -1, r = channel_hear(b->channel, &m, &fd, e);
		if (r) return r;
		if (m.what == SAY_READY) return 0;
		if (m.what == SAY_TERMINAL)
			r = terminal_take(b, fd, e);
		else if (m.what == SAY_MOUNTED && !(r = hooks_early(b, e)))
			r = channel_say(b->channel, SAY_HOOKED, b->pid, NULL, -1);
		if (r) return r;
	}
}

/* While it may be looked at: soon it may not, and who is not root could not enter them. */
static int namespaces_keep(struct birth *b, struct err *e)
{
	char path[48];
	if (!b->tied) return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)b->pid);
	if (b->spec->new_ns & CLONE_NEWUSER) b->own_user = open(path, O_RDONLY | O_CLOEXEC);
	if (b->spec->new_ns & CLONE_NEWUSER && b->own_user < 0)
		return fail(e, -errno, "%s: %s", path, strerror(errno));
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)b->pid);
	if (b->spec->new_ns & CLONE_NEWNET) b->own_net = open(path, O_RDONLY | O_CLOEXEC);
	if (b->spec->new_ns & CLONE_NEWNET && b->own_net < 0)
		return fail(e, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int bring_up(struct birth *b, struct err *e)
{
	int r;
	(void)close(b->theirs);
	b->theirs = -1;
	if ((r = namespaces_keep(b, e))) return r;
	if (b->spec->new_ns & CLONE_NEWUSER) {
		if ((r = id_map(b->pid, b->spec->linux_, e))) return r;
		(void)channel_say(b->channel, SAY_MAPPED, 0, NULL, -1);
	}
	if ((r = score_set(b, e)) || (r = follow(b, e))) return r;
	b->place->pid = b->pid;
	b->place->started = place_start_time(b->pid);
	return place_save(b->place, e);
}

int birth_begin(struct birth *b, struct err *e)
{
	int r = group_make(&b->group, e);
	if (!r) r = group_limit(&b->group, b->spec->linux_->resources, true, e);
	if (!r) r = first_clone(b, e);
	if (!r) r = bring_up(b, e);
	if (!r) return 0;
	if (b->pid > 0) {
		(void)kill(b->pid, SIGKILL);
		group_kill(&b->group, SIGKILL);
		(void)waitpid(b->pid, NULL, __WALL);
	}
	struct err ignored;
	(void)group_remove(&b->group, &ignored);
	return r;
}

void birth_done(struct birth *b)
{
	int *fds[] = {&b->channel, &b->theirs,	 &b->listen, &b->pidfd,
		      &b->master,  &b->own_user, &b->own_net};
	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0) (void)close(*fds[i]);
		*fds[i] = -1;
	}
	group_close(&b->group);
}

int birth_start(const struct place *p, const struct filter *f, struct err *e)
{
	struct channel_msg m;
	auto_fd int s = place_connect(p, e);
	if (s < 0) return s;
	if (channel_say(s, SAY_GO, 0, NULL, -1))
		return fail(e, -EPIPE, "zone %s: its first process is gone", p->id);
	for (;;) {
		ssize_t got = pass_receive(s, &m, sizeof(m), NULL);
		if (got == 0) return 0;
		if (got != (ssize_t)sizeof(m)) return fail(e, -EPIPE, "zone %s: is gone", p->id);
		m.text[sizeof(m.text) - 1] = 0;
		if (m.what == SAY_EXEC)
			return fail(e, m.code, "process.args: exec %s: %s", m.text,
				    strerror(-m.code));
		if (m.what == SAY_ERROR) return fail(e, m.code < 0 ? m.code : -EIO, "%s", m.text);
		if (m.what == SAY_WARNING) oci_log(OCI_WARNING, "%s", m.text);
		if (m.what == SAY_LISTENER && f && listener_give(p, f, m.code, m.at, e))
			return e->code;
	}
}
