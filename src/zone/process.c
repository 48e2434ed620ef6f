/* Order matters: what needs rights comes before they are given up, and the filter last, so that it
 * need not allow what only we do. Without no_new_privileges the kernel wants CAP_SYS_ADMIN for a
 * filter: it is kept until then, and one capset(2) more comes after. */
#include "zone/process.h"
#include "zone/root.h"
#include "zone/sys.h"
#include "zone/words.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

__attribute__((format(printf, 2, 3))) static void warn(struct process *p, const char *fmt, ...)
{
	char words[200];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	if (p->warn) p->warn(p->ctx, words);
}

static int rlimits_set(struct process *p, struct err *e)
{
	for (unsigned i = 0; i < p->p->rlimits.n; i++) {
		const struct spec_rlimit *l = &p->p->rlimits.at[i];
		struct rlimit now, want = {l->soft, l->hard};
		if (!setrlimit((unsigned)l->resource, &want)) continue;
		if (errno != EPERM || getrlimit((unsigned)l->resource, &now))
			return fail(e, -errno, "process.rlimits: %s: %s", l->type, strerror(errno));
		want.rlim_max = now.rlim_max;
		if (want.rlim_cur > now.rlim_max) want.rlim_cur = now.rlim_max;
		if (setrlimit((unsigned)l->resource, &want))
			return fail(e, -errno, "process.rlimits: %s: %s", l->type, strerror(errno));
		warn(p, "process.rlimits: %s: cut to %lld, for want of CAP_SYS_RESOURCE", l->type,
		     (long long)now.rlim_max);
	}
	return 0;
}

/* A magic link would lead to a folder of the host's that we have open (CVE-2024-21626). */
static int cwd_enter(struct process *p, struct err *e)
{
	char at[PATH_MAX];
	auto_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	fd = root_make(root, p->p->cwd, ROOT_DIR, e);
	if (fd < 0) return fail_in(e, "process.cwd");
	if (fchdir(fd)) return fail(e, -errno, "process.cwd: %s: %s", p->p->cwd, strerror(errno));
	if (!getcwd(at, sizeof(at)) || at[0] != '/')
		return fail(e, -EPERM, "process.cwd: %s: is not in the zone", p->p->cwd);
	return 0;
}

static const char *env_find(const struct process *p, const char *name)
{
	size_t n = strlen(name);
	for (unsigned i = 0; p->env[i]; i++)
		if (!strncmp(p->env[i], name, n) && p->env[i][n] == '=') return p->env[i] + n + 1;
	return NULL;
}

static bool runnable(const char *path)
{
	struct stat st;
	if (stat(path, &st)) return false;
	if (!S_ISREG(st.st_mode)) return errno = EACCES, false;
	return !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS);
}

static int program_find(struct process *p, struct err *e)
{
	const char *name = p->p->args.at[0], *dirs = env_find(p, "PATH");
	int code = ENOENT;
	if (p->stub && !*name) return p->path = name, 0;
	if (strchr(name, '/')) {
		p->path = name;
		return runnable(name) ? 0
				      : fail(e, -errno, "process.args: open executable: %s: %s",
					     name, strerror(errno));
	}
	if (!dirs) dirs = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	for (; *dirs; dirs += strcspn(dirs, ":"), dirs += *dirs == ':') {
		int n = (int)strcspn(dirs, ":");
		p->path = n ? arena_text(p->a, "%.*s/%s", n, dirs, name)
			    : arena_text(p->a, "./%s", name);
		if (runnable(p->path)) return 0;
		if (errno != ENOENT && errno != ENOTDIR) code = errno;
	}
	return fail(e, -code, "process.args: executable file `%s` not found in $PATH: %s", name,
		    strerror(code));
}

/* The seventh word of the user's line in the zone's own /etc/passwd. */
static const char *home_find(struct process *p)
{
	char line[1024];
	const char *home = "/";
	int fd = sys_openat2(AT_FDCWD, "/etc/passwd", O_RDONLY | O_NONBLOCK, 0,
			     RESOLVE_NO_MAGICLINKS);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *at = line, *w[6] = {0};
		for (unsigned i = 0; i < 6 && at; i++) w[i] = strsep(&at, ":");
		if (!w[5] || !*w[2] || strtoul(w[2], NULL, 10) != p->p->user->uid) continue;
		if (w[5][0] == '/') home = arena_text(p->a, "%s", w[5]);
		break;
	}
	if (f) (void)fclose(f);
	return home;
}

static void env_make(struct process *p)
{
	const struct texts *t = &p->p->env;
	p->env = arena_make(p->a, const char *, t->n + 2);
	if (t->n) memcpy(p->env, t->at, t->n * sizeof(*p->env));
	const char *home = env_find(p, "HOME");
	if (home && *home) return;
	unsigned at = t->n;
	for (unsigned i = 0; i < t->n; i++)
		if (!strncmp(p->env[i], "HOME=", 5)) at = i;
	p->env[at] = arena_text(p->a, "HOME=%s", home_find(p));
}

struct sched_words {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static int scheduler_set(const struct spec_scheduler *s, struct err *e)
{
	static const struct word policies[] = {
		{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},	      {"SCHED_BATCH", 3},
		{"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}, {NULL, 0}};
	static const struct word flags[] = {
		{"SCHED_FLAG_RESET_ON_FORK", 1},   {"SCHED_FLAG_RECLAIM", 2},
		{"SCHED_FLAG_DL_OVERRUN", 4},	   {"SCHED_FLAG_KEEP_POLICY", 8},
		{"SCHED_FLAG_KEEP_PARAMS", 16},	   {"SCHED_FLAG_UTIL_CLAMP_MIN", 32},
		{"SCHED_FLAG_UTIL_CLAMP_MAX", 64}, {NULL, 0}};
	int64_t policy = s->policy ? word_find(policies, s->policy) : -1;
	struct sched_words w = {.size = sizeof(w),
				.policy = (uint32_t)policy,
				.nice = (int32_t)s->nice,
				.priority = (uint32_t)s->priority,
				.runtime = s->runtime,
				.deadline = s->deadline,
				.period = s->period};
	if (policy < 0) return fail(e, -EINVAL, "process.scheduler.policy: no such policy");
	for (unsigned i = 0; i < s->flags.n; i++) {
		int64_t f = word_find(flags, s->flags.at[i]);
		if (f < 0) return fail(e, -EINVAL, "process.scheduler.flags: %s", s->flags.at[i]);
		w.flags |= (uint64_t)f;
	}
	if (syscall(SYS_sched_setattr, 0, &w, 0))
		return fail(e, -errno, "process.scheduler: %s: %s", s->policy, strerror(errno));
	return 0;
}

static int io_priority_set(const struct spec_io_priority *io, struct err *e)
{
	static const struct word classes[] = {{"IOPRIO_CLASS_RT", 1},
					      {"IOPRIO_CLASS_BE", 2},
					      {"IOPRIO_CLASS_IDLE", 3},
					      {NULL, 0}};
	int64_t c = io->class ? word_find(classes, io->class) : -1;
	if (c < 0 || io->priority < 0 || io->priority > 7)
		return fail(e, -EINVAL, "process.ioPriority: no such class or priority");
	if (syscall(SYS_ioprio_set, 1, 0, c << 13 | io->priority))
		return fail(e, -errno, "process.ioPriority: %s", strerror(errno));
	return 0;
}

static int personality_set(const struct spec_personality *s, struct err *e)
{
	unsigned long v = 0;
	if (s->domain && !strcmp(s->domain, "LINUX32"))
		v = PER_LINUX32;
	else if (!s->domain || strcmp(s->domain, "LINUX"))
		return fail(e, -EINVAL, "linux.personality.domain: LINUX or LINUX32");
	if (s->flags.n) return fail(e, -EINVAL, "linux.personality.flags: none are known");
	return personality(v) < 0 ? fail(e, -errno, "linux.personality: %s", strerror(errno)) : 0;
}

/* Written by the host's procfs: the zone's may be anything. */
static int label_write(const struct process *p, const char *file, const char *text, struct err *e)
{
	auto_fd int fd = openat(p->proc, file, O_WRONLY | O_CLOEXEC);
	size_t n = strlen(text);
	if (fd >= 0 && write(fd, text, n) == (ssize_t)n) return 0;
	return fail(e, -errno, "process: label %s: %s", text, strerror(errno));
}

static int labels_set(const struct process *p, struct err *e)
{
	const struct spec_process *s = p->p;
	char text[300];
	if (s->apparmor_profile && *s->apparmor_profile &&
	    strcmp(s->apparmor_profile, "unconfined")) {
		if (access("/sys/module/apparmor", F_OK))
			return fail(e, -ENOTSUP,
				    "process.apparmorProfile: this host has no "
				    "AppArmor");
		(void)snprintf(text, sizeof(text), "exec %s", s->apparmor_profile);
		int r = label_write(p, "self/attr/apparmor/exec", text, e);
		if (r) return r;
	}
	if (!s->selinux_label || !*s->selinux_label) return 0;
	if (access("/sys/fs/selinux/enforce", F_OK)) return 0;
	return label_write(p, "self/attr/exec", s->selinux_label, e);
}

/* The user may open what it was given as its input and output, by /dev/stdout for instance. */
static void stdio_own(const struct process *p)
{
	struct stat st, null;
	if (!p->p->user->uid || stat("/dev/null", &null)) return;
	for (int fd = 0; fd < 3; fd++)
		if (!fstat(fd, &st) && !(S_ISCHR(st.st_mode) && st.st_rdev == null.st_rdev))
			(void)fchown(fd, p->p->user->uid, (gid_t)-1);
}

int process_prepare(struct process *p, struct err *e)
{
	int r;
	if (p->p->user_name && (r = user_find(p->p->user_name, p->p->user, p->a, e))) return r;
	env_make(p);
	if ((r = labels_set(p, e))) return r;
	if (p->keyring && syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, p->keyring) < 0 &&
	    errno != ENOSYS && errno != EDQUOT && errno != EPERM)
		return fail(e, -errno, "a session keyring: %s", strerror(errno));
	if ((r = rlimits_set(p, e)) || (r = cwd_enter(p, e)) || (r = program_find(p, e))) return r;
	if (p->p->scheduler && (r = scheduler_set(p->p->scheduler, e))) return r;
	if (p->p->io_priority && (r = io_priority_set(p->p->io_priority, e))) return r;
	if (p->personality && (r = personality_set(p->personality, e))) return r;
	if (p->p->user->umask.set) (void)umask((mode_t)p->p->user->umask.v);
	stdio_own(p);
	return 0;
}

static int caps_now(struct __user_cap_data_struct d[2])
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	return syscall(SYS_capget, &h, d) ? -errno : 0;
}

static int caps_write(const struct spec_caps *c)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	for (unsigned i = 0; i < 2; i++)
		d[i] = (struct __user_cap_data_struct){(uint32_t)(c->effective >> 32 * i),
						       (uint32_t)(c->permitted >> 32 * i),
						       (uint32_t)(c->inheritable >> 32 * i)};
	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

/* What this process may have of what is asked for; the rest cannot be given. */
static void caps_cut(struct process *p, struct spec_caps *c)
{
	struct __user_cap_data_struct d[2];
	if (caps_now(d)) return;
	uint64_t have = d[0].permitted | (uint64_t)d[1].permitted << 32;
	if (c->permitted & ~have)
		warn(p, "process.capabilities: we have none of 0x%llx ourselves: left out",
		     (unsigned long long)(c->permitted & ~have));
	c->permitted &= have;
	c->effective &= c->permitted;
	c->inheritable &= have;
	c->ambient &= c->permitted & c->inheritable;
}

static int bounding_cut(uint64_t keep, struct err *e)
{
	for (unsigned i = 0; i < 64; i++) {
		if (keep & 1ull << i) continue;
		if (!prctl(PR_CAPBSET_DROP, i, 0, 0, 0)) continue;
		if (errno == EINVAL) return 0; /* the kernel knows no more */
		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0))
			return fail(e, -errno, "process.capabilities.bounding: %s",
				    strerror(errno));
	}
	return 0;
}

static int user_become(const struct spec_process *p, bool keep_groups, struct err *e)
{
	const struct spec_user *u = p->user;
	if (!keep_groups && setgroups(u->additional_gids.n, u->additional_gids.at) &&
	    !p->user_name && (errno != EPERM || u->additional_gids.n))
		return fail(e, -errno, "process.user.additionalGids: %s", strerror(errno));
	if (setresgid(u->gid, u->gid, u->gid))
		return fail(e, -errno, "process.user.gid: %u: %s", u->gid,
			    errno == EINVAL ? "no id of the zone's" : strerror(errno));
	if (setresuid(u->uid, u->uid, u->uid))
		return fail(e, -errno, "process.user.uid: %u: %s", u->uid,
			    errno == EINVAL ? "no id of the zone's" : strerror(errno));
	return 0;
}

static int caps_set(const struct spec_caps *c, struct err *e)
{
	int r = caps_write(c);
	if (r) return fail(e, r, "process.capabilities: %s", strerror(-r));
	for (unsigned i = 0; i < 64; i++)
		if (c->ambient & 1ull << i && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0))
			return fail(e, -errno, "process.capabilities.ambient: %s", strerror(errno));
	return 0;
}

int process_become(struct process *p, void (*listen)(void *ctx, int fd), void (*await)(void *ctx),
		   struct err *e)
{
	struct spec_caps c = p->p->caps, until;
	bool filtered = p->filter && p->filter->at, early = !p->p->no_new_privileges;
	int r;
	caps_cut(p, &c);
	until = c;
	if (filtered && early) {
		until.permitted |= 1ull << CAP_SYS_ADMIN;
		until.effective |= 1ull << CAP_SYS_ADMIN;
	}
	if (filtered && p->filter->listener && listen) {
		int fd = dup(0);
		if (fd < 0) return fail(e, -errno, "linux.seccomp: %s", strerror(errno));
		(void)close(fd);
		listen(p->ctx, fd);
	}
	if ((r = bounding_cut(c.bounding, e))) return r;
	(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if ((r = user_become(p->p, p->keep_groups, e)) || (r = caps_set(&until, e))) return r;
	(void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	if (!early && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail(e, -errno, "process.noNewPrivileges: %s", strerror(errno));
	if (p->tied) (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sys_close_range(3 + p->preserve, ~0u, CLOSE_RANGE_CLOEXEC);
	if (filtered && (r = filter_load(p->filter, e)) < 0) return r;
	if (filtered && p->filter->listener && await) await(p->ctx);
	return filtered && early && until.permitted != c.permitted ? caps_set(&c, e) : 0;
}

static void stub_exec(struct process *p)
{
	const struct texts *t = &p->p->args;
	const char **argv = arena_make(p->a, const char *, t->n + 3);
	argv[0] = "lodge-agent";
	argv[1] = p->path;
	memcpy(argv + 2, t->at, t->n * sizeof(*argv));
	if (p->told) (void)fcntl(p->told, F_SETFD, 0);
	(void)syscall(SYS_execveat, *p->stub, "", argv, p->env, AT_EMPTY_PATH);
}

int process_exec(struct process *p, struct err *e)
{
	if (p->stub)
		stub_exec(p);
	else
		(void)execve(p->path, (char *const *)p->p->args.at, (char *const *)p->env);
	return fail(e, -errno, "process.args: exec %s: %s", p->path, strerror(errno));
}

int process_terminal(int slave, struct err *e)
{
	if (ioctl(slave, TIOCSCTTY, 0))
		return fail(e, -errno, "process.terminal: %s", strerror(errno));
	for (int fd = 0; fd < 3; fd++)
		if (dup2(slave, fd) < 0) return fail(e, -errno, "process.terminal");
	return 0;
}
