/* One process, one thread, one order at a time. */
#include "zone/keeper.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/jail.h"
#include "base/pass.h"
#include "base/title.h"
#include "store/store.h"
#include "zone/agent.h"
#include "zone/birth.h"
#include "zone/enter.h"
#include "zone/log.h"
#include "zone/sys.h"
#include "zone/words.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* syscalls loop: socketpair pipe2 */

enum { SESSION_FD = 3, HIGH = 10, CONFIG_MAX = 4 << 20, NOT_FOUND = 127, NOT_RUN = 126 };
#define PLACE "zone"

struct kept {
	struct plan plan; /* its folder by our own descriptor */
	const char *temp;
	int ask, event, io[3], folder, sig, stub;
	struct arena *a, *once; /* of the zone; of one order */
	struct spec spec;
	struct place place;
	struct birth b;
	int stop_signal;
	bool made, ended, settled;
	int status;
	struct keeper_limits limits; /* that hold */
	struct keeper_host host;
	int null;
};

/* ---- making it */
static int image_read(const struct plan *p, struct plan_image *im, struct arena *a, struct err *e)
{
	auto_buf struct buf b = {0};
	*im = (struct plan_image){0};
	if (!p->config) return 0;
	int r = file_read(&b, p->config, CONFIG_MAX, e);
	return r ? r : plan_image_parse(im, b.at ? b.at : "", b.len, a, e);
}

/* What a keeper that was killed has left is in the way. */
static int leftovers_end(struct kept *k, struct err *e)
{
	struct group g;
	struct place old;
	int r = group_find(&g, k->a, e);
	if (r || (r = group_name(&g, k->plan.group, PLACE, false, e))) return r;
	group_open(&g);
	group_kill(&g, SIGKILL);
	r = group_remove(&g, e);
	group_close(&g);
	if (!place_open(&old, k->folder, PLACE, false, k->a, &(struct err){0})) {
		if (place_alive(&old)) (void)kill(old.pid, SIGKILL);
		place_remove(&old);
		place_close(&old);
	}
	return r;
}

static int spec_make(struct kept *k, struct err *e)
{
	struct plan_image im;
	int r = image_read(&k->plan, &im, k->a, e);
	if (!r) r = plan_spec(&k->plan, &im, &k->spec, k->a, e);
	if (r) return r;
	if (!im.stop_signal) im.stop_signal = k->plan.init ? "RTMIN+3" : "TERM";
	k->stop_signal = word_signal(im.stop_signal);
	if (k->stop_signal <= 0) k->stop_signal = SIGTERM;
	return 0;
}

static void birth_fill(struct kept *k, struct overlay *over)
{
	*over = (struct overlay){.layer = k->plan.layer,
				 .n = k->plan.nlayers,
				 .disk = k->plan.disk,
				 .storage = k->plan.storage,
				 .folder = k->folder};
	k->place.version = k->spec.oci_version;
	k->place.bundle = k->place.rootfs = k->place.created = "";
	k->b = (struct birth){.spec = &k->spec,
			      .place = &k->place,
			      .a = k->a,
			      .bundle = "/",
			      .rootfs = "/",
			      .over = over,
			      .stdio = k->io,
			      .stub = &k->stub,
			      .tied = true,
			      .keep_master = true};
}

static int made(struct kept *k, struct err *e)
{
	static struct overlay over;
	int r = leftovers_end(k, e);
	if (!r) r = spec_make(k, e);
	if (!r)
		r = keeper_files(k->folder, k->plan.hostname, NULL, k->plan.net == PLAN_NET_HOST,
				 e);
	if (!r && (k->stub = agent_program(e)) < 0) r = k->stub;
	if (!r) r = place_make(&k->place, k->folder, PLACE, k->a, e);
	if (r) return r;
	birth_fill(k, &over);
	if ((r = filter_make(&k->b.filter, k->spec.linux_->seccomp, k->folder, k->a, e)) ||
	    (r = birth_prepare(&k->b, e)) || (r = birth_begin(&k->b, e)))
		return r;
	if (k->plan.init && k->plan.nmaps)
		group_delegate(&k->b.group, k->plan.users[0].outside, k->plan.groups[0].outside);
	return 0;
}

/* That there is no such program is how the zone ends, as a shell would have it. */
static void exit_of(const struct err *e, struct keeper_answer *to)
{
	if (strncmp(e->msg, "process.args", 12)) return;
	to->exit = e->code == -ENOENT ? NOT_FOUND : NOT_RUN;
}

static int do_make(struct kept *k, struct keeper_answer *to, int *fd, struct err *e)
{
	if (k->made) return fail(e, -EINVAL, "it is made already");
	int r = made(k, e);
	for (unsigned i = 0; i < 3; i++) {
		drop_fd(&k->io[i]);
		k->io[i] = -1;
	}
	k->made = !r;
	if (r) exit_of(e, to);
	*fd = give_fd(&k->b.master);
	return r;
}

static int do_net(struct kept *k, const struct keeper_net *n, int *fd, struct err *e)
{
	if (k->b.own_net < 0) return fail(e, -EINVAL, "it has no network of its own");
	int r = keeper_net_make(k->b.own_user, k->b.own_net, n, fd, e);
	return r ? r : keeper_files(k->folder, k->plan.hostname, n, false, e);
}

static void settle(struct kept *k)
{
	char what[JAIL_WHAT] = "";
	auto_mem char *root = NULL;
	struct store *s = NULL;
	if (k->temp && !store_open(&s, NULL, &(struct err){0})) root = strdup(store_root(s));
	store_close(s);
	struct keeper_jail j = {.folder = k->folder,
				.place = k->place.dir,
				.net = k->b.own_net,
				.host_ids = !k->plan.nmaps,
				.store = root,
				.group = &k->b.group};
	sources_close(&k->b.root);
	keeper_settle(&j, what, sizeof(what));
	drop_fd(&k->b.own_user);
	drop_fd(&k->b.own_net);
	k->b.own_user = k->b.own_net = -1;
	if (*what)
		oci_log(OCI_WARNING, "the zone's keeper is less confined on this host: %s", what);
}

static int do_go(struct kept *k, struct keeper_answer *to, struct err *e)
{
	if (k->settled) return fail(e, -EINVAL, "it runs already");
	k->settled = true;
	if (jail_is_wanted()) settle(k);
	int r = birth_start(&k->place, &k->b.filter, e);
	if (r) exit_of(e, to);
	return r;
}

/* ---- while it runs */
static int do_signal(struct kept *k, unsigned n, struct err *e)
{
	int sig = n ? (int)n : k->stop_signal;
	if (n > 64) return fail(e, -EINVAL, "no such signal");
	if (sys_pidfd_signal(k->b.pidfd, sig))
		return fail(e, -errno, "signal %d: %s", sig, strerror(errno));
	if (sig == SIGKILL && group_frozen(&k->b.group))
		(void)group_freeze(&k->b.group, false, &(struct err){0});
	return 0;
}

static int do_limit(struct kept *k, const struct keeper_limits *l, struct err *e)
{
	static const struct keeper_limits none;
	if (!memcmp(l, &k->limits, sizeof(*l))) return 0;
	if (k->b.group.lame && memcmp(l, &none, sizeof(none)))
		return fail(e, -EOPNOTSUPP,
			    "limits: this user may make no control groups here; have some "
			    "delegated (systemd: Delegate=yes), or leave them out");
	int bad = keeper_limit(&k->b.group, l, &k->limits, &k->host, k->once, e);
	if (!bad)
		k->limits = *l;
	else /* what was done of it */
		(void)keeper_limit(&k->b.group, &k->limits, l, &k->host, k->once, &(struct err){0});
	return bad;
}

static uint64_t number_in(const char *text, const char *key)
{
	const char *at = text ? strstr(text, key) : NULL;
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void do_stats(const struct kept *k, struct keeper_stats *to)
{
	auto_buf struct buf b = {0};
	bool v2;
	int dir = group_dir(&k->b.group, "cpuacct", &v2);
	int64_t n = dir < 0 ? -1 : group_number(dir, "cpuacct.usage");
	if (n < 0 && group_into(&k->b.group) >= 0 &&
	    group_read(group_into(&k->b.group), "cpu.stat", &b))
		n = (int64_t)number_in(b.at, "usage_usec ") * 1000;
	to->cpu_ns = n > 0 ? (uint64_t)n : 0;
	dir = group_dir(&k->b.group, "memory", &v2);
	n = dir < 0 ? 0 : group_number(dir, v2 ? "memory.current" : "memory.usage_in_bytes");
	to->memory = n > 0 ? (uint64_t)n : 0;
	dir = group_dir(&k->b.group, "pids", &v2);
	n = dir < 0 ? 0 : group_number(dir, "pids.current");
	to->pids = n > 0 ? (uint64_t)n : 0;
}

static int do_enter(struct kept *k, int fd, struct err *e)
{
	const struct spec_process *own = k->spec.process;
	const char *args[] = {"", own->user_name, own->cwd, NULL};
	struct spec_user root = {0};
	struct spec_process p = *own;
	struct enter x = {.place = &k->place,
			  .group = &k->b.group,
			  .p = {.p = &p,
				.filter = &k->b.filter,
				.a = k->once,
				.stub = &k->stub,
				.tied = true,
				.preserve = 1}};
	if (fd < 0) return fail(e, -EINVAL, "enter: nobody to serve");
	p.terminal = false;
	p.user = &root;
	p.user_name = NULL;
	p.cwd = "/";
	p.args = (struct texts){args, 3};
	if (dup2(fd, SESSION_FD) < 0) return fail(e, -errno, "enter: %s", strerror(errno));
	int r = enter_begin(&x, e);
	(void)dup3(k->null, SESSION_FD, O_CLOEXEC);
	drop_fd(&x.pidfd);
	return r;
}

/* ---- the loop */
static int carry_out(struct kept *k, const struct keeper_order *o, int given,
		     struct keeper_answer *to, int *fd, struct err *e)
{
	if (o->op == KEEPER_MAKE) return do_make(k, to, fd, e);
	if (k->ended && o->op == KEEPER_LIMIT) return 0; /* it was as fast as that */
	if (!k->made || k->ended) return fail(e, -ESRCH, "it does not run");
	switch (o->op) {
	case KEEPER_NET: return k->settled ? -EINVAL : do_net(k, &o->net, fd, e);
	case KEEPER_GO: return do_go(k, to, e);
	case KEEPER_SIGNAL: return do_signal(k, o->n, e);
	case KEEPER_FREEZE: return group_freeze(&k->b.group, o->n, e);
	case KEEPER_LIMIT: return do_limit(k, &o->limits, e);
	case KEEPER_STATS: return do_stats(k, &to->stats), 0;
	case KEEPER_ENTER: return do_enter(k, given, e);
	default: return fail(e, -EINVAL, "no such order");
	}
}

/* False: nobody asks any more. */
static bool serve(struct kept *k)
{
	struct keeper_order o;
	struct keeper_answer to = {0};
	struct err e = {0};
	auto_fd int given = -1, fd = -1;
	ssize_t n = pass_receive(k->ask, &o, sizeof(o), &given);
	if (n < 0 && errno == EINTR) return true;
	if (n != sizeof(o)) return false;
	to.code = carry_out(k, &o, given, &to, &fd, &e);
	arena_reset(k->once);
	if (to.code) (void)snprintf(to.words, sizeof(to.words), "%s", e.msg);
	return pass_send(k->ask, &to, sizeof(to), fd);
}

static void reap(struct kept *k)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;
	(void)!read(k->sig, &info, sizeof(info));
	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		if (!k->made || pid != k->b.pid) continue;
		k->ended = true;
		k->status = status;
		(void)!write(k->event, &status, sizeof(status));
	}
}

static void loop(struct kept *k)
{
	struct pollfd p[2] = {{.fd = k->ask, .events = POLLIN}, {.fd = k->sig, .events = POLLIN}};
	for (;;) {
		if (poll(p, 2, -1) < 0) continue;
		if (p[1].revents) reap(k);
		if (p[0].revents && !serve(k)) return;
	}
}

/* ---- its end */
static void folder_end(struct kept *k)
{
	struct store *s;
	struct err e;
	if (k->plan.fleeting && keeper_clean(k->folder, &e)) oci_log(OCI_WARNING, "%s", e.msg);
	if (!k->temp || store_open(&s, NULL, &e)) return;
	if (store_guest_remove(s, k->temp, &k->folder, &e)) oci_log(OCI_WARNING, "%s", e.msg);
	store_close(s);
}

/* Sessions are our children, too: the kernel lets the first process end when they have been reaped.
 */
static void first_end(struct kept *k)
{
	pid_t pid;
	(void)kill(k->b.pid, SIGKILL);
	group_kill(&k->b.group, SIGKILL);
	do pid = waitpid(-1, NULL, __WALL);
	while (pid != k->b.pid && (pid > 0 || errno == EINTR));
}

static void zone_end(struct kept *k)
{
	struct err e;
	if (k->made && !k->ended) first_end(k);
	if (k->made) group_kill(&k->b.group, SIGKILL);
	if (k->made && group_remove(&k->b.group, &e)) oci_log(OCI_WARNING, "%s", e.msg);
	if (k->place.dir >= 0) place_remove(&k->place);
	folder_end(k);
}

/* Of all descriptors only these, from HIGH on: below them is what programs of the zone get. */
static void descriptors_move(struct kept *k)
{
	int *fds[] = {&k->ask, &k->event, &k->io[0], &k->io[1], &k->io[2], &k->folder};
	int keep[7] = {-1}, err = fcntl(2, F_DUPFD_CLOEXEC, HIGH);
	for (unsigned i = 0; i < 6; i++) {
		if (*fds[i] >= 0) *fds[i] = fcntl(*fds[i], F_DUPFD_CLOEXEC, HIGH);
		keep[i] = *fds[i];
	}
	keep[6] = err;
	fds_keep(keep, 7);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++) (void)dup2(null, i);
	if (null != SESSION_FD) (void)dup3(null, SESSION_FD, O_CLOEXEC);
	oci_log_as("lodge", err);
}

static _Noreturn void keeper_main(struct kept *k)
{
	sigset_t chld;
	for (int i = 1; i < 32; i++)
		if (i != SIGCHLD && i != SIGKILL && i != SIGSTOP) (void)signal(i, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigemptyset(&chld);
	(void)sigaddset(&chld, SIGCHLD);
	(void)sigprocmask(SIG_SETMASK, &chld, NULL);
	(void)setsid();
	title_set("lodge-keeper");
	descriptors_move(k);
	k->plan.folder = k->folder;
	k->null = fcntl(0, F_DUPFD_CLOEXEC, HIGH);
	keeper_host(&k->host, k->folder);
	k->sig = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	k->a = arena_new();
	k->once = arena_new();
	k->stub = -1;
	k->place.dir = k->b.master = -1;
	loop(k);
	zone_end(k);
	_exit(0);
}

/* ---- the monitor's side */
int keeper_start(struct keeper *k, const struct plan *p, const int io[3], const char *temp,
		 struct err *e)
{
	static struct kept kept;
	int ends[2], pipes[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) || pipe2(pipes, O_CLOEXEC))
		return fail(e, -errno, "the zone's keeper: %s", strerror(errno));
	kept = (struct kept){.plan = *p,
			     .temp = temp,
			     .ask = ends[1],
			     .event = pipes[1],
			     .io = {io[0], io[1], io[2]},
			     .folder = p->folder};
	(void)fflush(NULL);
	k->pid = fork();
	if (!k->pid) keeper_main(&kept);
	(void)close(ends[1]);
	(void)close(pipes[1]);
	k->ask = ends[0];
	k->event = pipes[0];
	return k->pid < 0 ? fail(e, -errno, "fork: %s", strerror(errno)) : 0;
}

int keeper_ask(struct keeper *k, const struct keeper_order *o, int give, int *take,
	       struct keeper_answer *to, struct err *e)
{
	int got = -1;
	if (!pass_send(k->ask, o, sizeof(*o), give) ||
	    pass_receive(k->ask, to, sizeof(*to), &got) != sizeof(*to))
		return fail(e, -EPIPE, "the zone's keeper is gone");
	to->words[sizeof(to->words) - 1] = 0;
	if (take)
		*take = give_fd(&got);
	else
		drop_fd(&got);
	return to->code ? fail(e, to->code < 0 ? to->code : -EIO, "%s", to->words) : 0;
}

void keeper_end(struct keeper *k)
{
	char rest[64];
	if (!k->pid) return;
	drop_fd(&k->ask);
	while (read(k->event, rest, sizeof(rest)) > 0 || errno == EINTR) errno = 0;
	drop_fd(&k->event);
	*k = (struct keeper){.ask = -1, .event = -1};
}
