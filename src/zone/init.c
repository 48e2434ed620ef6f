/* The first process of a zone, from clone3(2) to its program. Until it is told to go, the runtime
 * hears of all that fails; afterwards whoever said so does. */
#include "base/buf.h"
#include "base/pass.h"
#include "zone/birth.h"
#include "zone/hook.h"
#include "zone/last.h"
#include "zone/process.h"
#include "zone/sys.h"
#include "zone/terminal.h"
#include <errno.h>
#include <linux/if.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

struct init {
	struct birth *b;
	struct process p;
	int to; /* who is told: the runtime, later who starts us */
	int host_proc;
};
/* Set from outside, in our memory, when the filter's listener has been taken. */
static volatile char listener_taken;

static void warn(void *ctx, const char *words)
{
	(void)channel_say(((struct init *)ctx)->to, SAY_WARNING, 0, words, -1);
}

static void listener_tell(void *ctx, int fd)
{
	struct channel_msg m = {
		.what = SAY_LISTENER, .code = fd, .at = (uint64_t)(uintptr_t)&listener_taken};
	(void)pass_send(((struct init *)ctx)->to, &m, sizeof(m), -1);
}

static void listener_await(void *ctx)
{
	(void)ctx;
	for (uint64_t i = 0; !listener_taken; i++) {
		__builtin_ia32_pause();
		if (i > 10000000000) __builtin_trap(); /* a minute or more: nobody will come */
	}
}

static int ids_become(struct init *i, struct err *e)
{
	struct birth *b = i->b;
	int r = 0;
	if (b->spec->new_ns & CLONE_NEWUSER) r = channel_wait(b->theirs, SAY_MAPPED, e);
	if (r || !b->root.no_nodes) return r;
	if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
		return fail(e, -errno, "linux.uidMappings: the zone has no id 0: %s",
			    strerror(errno));
	return 0;
}

static int offset_write(int fd, const char *clock, const struct spec_clock *c, struct err *e)
{
	char text[64];
	if (!c) return 0;
	int n = snprintf(text, sizeof(text), "%s %lld %u\n", clock, (long long)c->secs,
			 c->nanosecs);
	return write(fd, text, (size_t)n) == n
		       ? 0
		       : fail(e, -errno, "linux.timeOffsets.%s: %s", clock, strerror(errno));
}

/* Entered by hand: before Linux 6.3 executing a program does not. */
static int time_enter(struct err *e)
{
	auto_fd int ns = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	return ns < 0 || setns(ns, CLONE_NEWTIME)
		       ? fail(e, -errno, "linux.namespaces: time: %s", strerror(errno))
		       : 0;
}

static int time_unshare(const struct spec *s, struct err *e)
{
	int r;
	if (!(s->new_ns & CLONE_NEWTIME)) return 0;
	if (unshare(CLONE_NEWTIME))
		return fail(e, -errno, "linux.namespaces: time: %s", strerror(errno));
	if (!s->linux_->time_offsets) return time_enter(e);
	auto_fd int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0) return fail(e, -errno, "linux.timeOffsets: %s", strerror(errno));
	r = offset_write(fd, "monotonic", s->linux_->time_offsets->monotonic, e);
	if (!r) r = offset_write(fd, "boottime", s->linux_->time_offsets->boottime, e);
	return r ? r : time_enter(e);
}

static void loopback_up(const struct spec *s)
{
	struct ifreq q = {.ifr_name = "lo"};
	if (!(s->new_ns & CLONE_NEWNET)) return;
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &q)) return;
	q.ifr_flags |= IFF_UP;
	(void)ioctl(fd, SIOCSIFFLAGS, &q);
}

static int names_set(const struct spec *s, struct err *e)
{
	if (s->hostname && sethostname(s->hostname, strlen(s->hostname)))
		return fail(e, -errno, "hostname: %s", strerror(errno));
	if (s->domainname && setdomainname(s->domainname, strlen(s->domainname)))
		return fail(e, -errno, "domainname: %s", strerror(errno));
	return 0;
}

/* A procfs that nobody else has and no mount of the zone's can stand in for (CVE-2025-52881). */
static int proc_own(int host)
{
	auto_fd int fs = fsopen("proc", FSOPEN_CLOEXEC);
	int fd = fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)
			 ? -1
			 : fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return fd >= 0 ? fd : dup(host);
}

static int sysctls_set(const struct init *i, struct err *e)
{
	const struct pairs *s = &i->b->spec->linux_->sysctl;
	struct statfs fs;
	if (!s->n) return 0;
	auto_fd int proc = proc_own(i->host_proc);
	if (proc < 0 || fstatfs(proc, &fs) || fs.f_type != PROC_SUPER_MAGIC)
		return fail(e, -errno, "linux.sysctl: no procfs: %s", strerror(errno));
	for (unsigned k = 0; k < s->n; k++) {
		char path[256];
		(void)snprintf(path, sizeof(path), "sys/%s", s->key[k]);
		for (char *c = path; *c; c++)
			if (*c == '.') *c = '/';
		auto_fd int fd =
			sys_openat2(proc, path, O_WRONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
		size_t n = strlen(s->value[k]);
		if (fd < 0 || write(fd, s->value[k], n) != (ssize_t)n)
			return fail(e, -errno, "linux.sysctl: %s: %s", s->key[k], strerror(errno));
	}
	return 0;
}

static int terminal_set(struct init *i, struct err *e)
{
	const struct spec_process *p = i->b->spec->process;
	if (!p->terminal) return 0;
	auto_fd int master = -1, slave = -1;
	int r = terminal_make(i->b->root.fd, p->console_size, &master, &slave, e);
	if (r) return r;
	(void)fchown(slave, p->user->uid, (gid_t)-1);
	if ((r = root_console(&i->b->root, slave, e))) return r;
	if (channel_say(i->to, SAY_TERMINAL, 0, NULL, master))
		return fail(e, -EPIPE, "process.terminal: nobody took it");
	return process_terminal(slave, e);
}

static int hooks_made(const struct init *i, struct err *e)
{
	const struct spec_hooks *h = i->b->spec->hooks;
	auto_buf struct buf state = {0};
	if (!h || !h->create_container.n) return 0;
	place_state(i->b->place, "creating", i->b->pid, false, &state);
	return hooks_run(&h->create_container, "hooks.createContainer", state.at, e);
}

static int hook_become(void *ctx, struct err *e)
{
	return process_become(&((struct init *)ctx)->p, NULL, NULL, e);
}

/* Programs of the zone's: with its user, its capabilities and its filter, like its process. */
static int hooks_start(struct init *i, struct err *e)
{
	const struct spec_hooks *h = i->b->spec->hooks;
	auto_buf struct buf state = {0};
	if (!h || !h->start_container.n) return 0;
	place_state(i->b->place, "created", i->b->pid, false, &state);
	return hooks_run_inside(&h->start_container, "hooks.startContainer", state.at, hook_become,
				i, e);
}

/* While it can be made still: the root may be read-only soon. */
static int cwd_make(const struct birth *b, struct err *e)
{
	int fd = root_make(b->root.fd, b->spec->process->cwd, ROOT_DIR, e);
	if (fd < 0) return fail_in(e, "process.cwd");
	(void)close(fd);
	return 0;
}

/* Before anything else: what it takes is the zone's. */
static int groups_enter(struct birth *b, struct err *e)
{
	int r = b->nns ? channel_wait(b->theirs, SAY_KNOWN, e) : 0;
	if (r >= 0) r = group_join(&b->group, false, e);
	if (!r && (b->spec->new_ns & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP))
		return fail(e, -errno, "linux.namespaces: cgroup: %s", strerror(errno));
	return r;
}

/* The runtime's hooks, for whom all is mounted. It also tells us who we are outside. */
static int hooks_await(struct init *i, struct err *e)
{
	if (!i->b->spec->hooks) return 0;
	int r = channel_say(i->to, SAY_MOUNTED, 0, NULL, -1);
	if (!r) r = channel_wait(i->to, SAY_HOOKED, e);
	if (r > 0) i->b->pid = r;
	return r > 0 ? 0 : r;
}

static int world_make(struct init *i, struct err *e)
{
	struct birth *b = i->b;
	int r;
	i->host_proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if ((r = groups_enter(b, e)) || (r = ids_become(i, e)) || (r = time_unshare(b->spec, e)))
		return r;
	(void)prctl(PR_SET_DUMPABLE, 0);
	loopback_up(b->spec);
	if ((r = names_set(b->spec, e)) || (r = root_cut(e)) ||
	    (r = sources_open(&b->root, true, e)) || (r = root_attach(&b->root, e)) ||
	    (r = root_mounts(&b->root, e)) || (r = root_devices(&b->root, e)) ||
	    (r = sysctls_set(i, e)) || (r = terminal_set(i, e)))
		return r;
	if ((r = hooks_await(i, e)) || (r = hooks_made(i, e)) || (r = cwd_make(b, e)) ||
	    (r = root_hide(&b->root, e)))
		return r;
	return root_enter(&b->root, e);
}

/* Whoever connects tells us to go; one that goes away without a word was none. */
static int go_await(struct init *i, struct err *e)
{
	for (;;) {
		struct channel_msg m;
		int c = accept4(i->b->listen, NULL, NULL, SOCK_CLOEXEC);
		if (c < 0 && errno != EINTR)
			return fail(e, -errno, "waiting to be started: %s", strerror(errno));
		if (c >= 0 && pass_receive(c, &m, sizeof(m), NULL) == (ssize_t)sizeof(m) &&
		    m.what == SAY_GO) {
			i->to = c;
			return 0;
		}
		if (c >= 0) (void)close(c);
	}
}

/* While it waits it has nothing of the host's but these: the folder's lock, too, is the runtime's
 * alone. */
static void rest_close(unsigned first, int a, int b, int c)
{
	for (unsigned next; first; first = next + 1) {
		next = ~0u;
		const int keep[] = {a, b, c};
		for (unsigned i = 0; i < 3; i++)
			if (keep[i] >= (int)first && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next > first) (void)sys_close_range(first, next == ~0u ? next : next - 1, 0);
	}
}

static int live(struct init *i, struct err *e)
{
	struct birth *b = i->b;
	int r;
	if ((r = world_make(i, e))) return r;
	i->p.proc = i->host_proc;
	for (int fd = 0; b->stdio && fd < 3; fd++)
		if (!b->spec->process->terminal && dup2(b->stdio[fd], fd) < 0)
			return fail(e, -errno, "its input and output: %s", strerror(errno));
	if ((r = process_prepare(&i->p, e))) return r;
	if (!b->tied) (void)prctl(PR_SET_PDEATHSIG, 0);
	rest_close(3 + b->preserve, i->to, b->listen, b->stub ? *b->stub : -1);
	if (channel_say(i->to, SAY_READY, 0, NULL, -1)) return fail(e, -EPIPE, "nobody waits");
	(void)close(i->to);
	if ((r = go_await(i, e)) || (r = hooks_start(i, e))) return r;
	(void)close(b->listen);
	b->listen = -1;
	auto_fd int last = b->last ? last_program(i->to, e) : -1;
	if (b->last && last < 0) return last;
	if (b->last) {
		i->p.stub = &last;
		i->p.told = i->to;
	}
	if ((r = process_become(&i->p, listener_tell, listener_await, e))) return r;
	return process_exec(&i->p, e);
}

_Noreturn void init_run(struct birth *b)
{
	struct err e;
	struct init i = {.b = b, .to = b->theirs, .host_proc = -1};
	sigset_t none;
	i.p = (struct process){
		.p = b->spec->process,
		.personality = b->spec->linux_->personality,
		.filter = &b->filter,
		.a = b->a,
		.keyring = b->no_keyring ? NULL : b->place->id,
		.preserve = b->preserve,
		.keep_groups = spec_annotation(&b->spec->annotations, SPEC_KEEP_GROUPS) != NULL,
		.stub = b->stub,
		.tied = b->tied,
		.warn = warn,
		.ctx = &i};
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP) (void)signal(s, SIG_DFL);
	(void)close(b->channel);
	(void)setsid();
	(void)live(&i, &e);
	(void)channel_fail(i.to, &e);
	_exit(1);
}
