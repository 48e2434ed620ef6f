/* Verbs of a zone's life. */
#include "base/buf.h"
#include "zone/hook.h"
#include "zone/last.h"
#include "zone/oci_impl.h"
#include "zone/sys.h"
#include "zone/terminal.h"
#include "zone/words.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

int oci_read(int dir, const char *file, size_t max, struct buf *to, struct err *e)
{
	struct stat st;
	auto_fd int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) return fail(e, -errno, "%s: %s", file, strerror(errno));
	if (S_ISREG(st.st_mode) && (size_t)st.st_size > max)
		return fail(e, -EFBIG, "%s: %lld bytes are too many", file, (long long)st.st_size);
	for (;;) {
		char chunk[16384];
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0) return fail(e, -errno, "%s: %s", file, strerror(errno));
		if (!n) break;
		buf_add(to, chunk, (size_t)n);
		if (to->len > max) return fail(e, -EFBIG, "%s: too long", file);
	}
	return to->len ? 0 : fail(e, -EINVAL, "%s: empty", file);
}

int oci_open(struct oci *o, struct place *p, struct group *g, bool lock, struct err *e)
{
	int r = place_open(p, o->places, o->args[0], lock, o->a, e);
	if (r || !g) return r;
	if ((r = group_find(g, o->a, e))) return r;
	g->path = p->cgroup && *p->cgroup ? p->cgroup : arena_text(o->a, "/%s", p->id);
	group_open(g);
	return 0;
}

int oci_config(struct oci *o, const struct place *p, struct spec *s, struct err *e)
{
	auto_buf struct buf b = {0};
	int r = oci_read(p->dir, "config.json", SPEC_MAX, &b, e);
	return r ? r : spec_parse(s, b.at, b.len, o->a, e);
}

int oci_pid_write(const struct oci *o, pid_t pid, struct err *e)
{
	char text[16], fresh[PATH_MAX];
	if (!o->pid_file) return 0;
	int n = snprintf(text, sizeof(text), "%d", (int)pid);
	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", o->pid_file) >= sizeof(fresh))
		return fail(e, -ENAMETOOLONG, "--pid-file: too long");
	auto_fd int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(fresh, o->pid_file))
		return fail(e, -errno, "--pid-file %s: %s", o->pid_file, strerror(errno));
	return 0;
}

static int config_keep(int dir, const struct buf *b, struct err *e)
{
	auto_fd int fd = openat(dir, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, b->at, b->len) != (ssize_t)b->len)
		return fail(e, -errno, "keeping config.json: %s", strerror(errno));
	return 0;
}

static int bundle_find(struct oci *o, struct birth *b, struct buf *config, struct err *e)
{
	char path[PATH_MAX];
	if (!realpath(o->bundle ? o->bundle : ".", path))
		return fail(e, -errno, "--bundle %s: %s", o->bundle ? o->bundle : ".",
			    strerror(errno));
	b->bundle = arena_text(o->a, "%s", path);
	auto_fd int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) return fail(e, -errno, "--bundle %s: %s", path, strerror(errno));
	return oci_read(dir, o->config ? o->config : "config.json", SPEC_MAX, config, e);
}

static int rootfs_find(struct birth *b, struct err *e)
{
	const char *p = b->spec->root->path;
	char path[PATH_MAX];
	if (!realpath(*p == '/' ? p : arena_text(b->a, "%s/%s", b->bundle, p), path))
		return fail(e, -errno, "root.path: %s: %s", p, strerror(errno));
	b->rootfs = arena_text(b->a, "%s", path);
	return 0;
}

static const char *now_text(struct arena *a)
{
	struct timespec t;
	struct tm tm;
	char s[40];
	(void)clock_gettime(CLOCK_REALTIME, &t);
	(void)strftime(s, sizeof(s), "%Y-%m-%dT%H:%M:%S", gmtime_r(&t.tv_sec, &tm));
	return arena_text(a, "%s.%09ldZ", s, t.tv_nsec);
}

void oci_env_put(struct oci *o, struct texts *t, const char *const *more, unsigned n)
{
	const char **at = arena_make(o->a, const char *, t->n + n + 1);
	if (t->n) memcpy(at, t->at, t->n * sizeof(*at));
	for (unsigned i = 0; i < n; i++) {
		size_t name = strcspn(more[i], "=") + 1;
		unsigned k = 0;
		while (k < t->n && strncmp(at[k], more[i], name)) k++;
		at[k] = more[i];
		if (k == t->n) t->n++;
	}
	t->at = at;
}

static void place_fill(struct oci *o, struct birth *b)
{
	struct place *p = b->place;
	p->bundle = b->bundle;
	p->rootfs = b->rootfs;
	p->created = now_text(o->a);
	p->version = b->spec->oci_version;
	p->annotations = b->spec->annotations;
	p->systemd = o->systemd;
	if (o->systemd)
		oci_log(OCI_WARNING,
			"--systemd-cgroup: control groups are made without systemd, by "
			"their files");
}

static int made(struct oci *o, struct birth *b, const struct buf *config, struct err *e)
{
	int r;
	place_fill(o, b);
	if ((r = config_keep(b->place->dir, config, e))) return r;
	if (oci_vm_wanted(b->spec))
		r = oci_vm_begin(o, b, e);
	else if (!(r = birth_prepare(b, e)))
		r = birth_begin(b, e);
	if (r) return r;
	return oci_pid_write(o, b->pid, e);
}

static void all_gone(struct birth *b)
{
	struct err e;
	if (b->pid > 0) (void)kill(b->pid, SIGKILL);
	group_kill(&b->group, SIGKILL);
	if (b->pid > 0) (void)waitpid(b->pid, NULL, __WALL);
	(void)group_remove(&b->group, &e);
}

/* sd_listen_fds(3): who is given sockets wants to know how many, and that they are meant for it. */
static void sockets_tell(struct oci *o, struct spec_process *p)
{
	if (!o->listen) return;
	const char *more[] = {arena_text(o->a, "LISTEN_FDS=%u", o->listen), "LISTEN_PID=1"};
	oci_env_put(o, &p->env, more, 2);
}

static int create(struct oci *o, struct birth *b, struct spec *s, struct place *p, struct err *e)
{
	auto_buf struct buf config = {0};
	*b = (struct birth){.spec = s,
			    .place = p,
			    .a = o->a,
			    .console_socket = o->console_socket,
			    .preserve = o->preserve,
			    .no_pivot = o->no_pivot,
			    .no_keyring = o->no_keyring,
			    .keep_master = b->keep_master,
			    .channel = -1,
			    .listen = -1,
			    .theirs = -1,
			    .pidfd = -1,
			    .master = -1,
			    .own_user = -1,
			    .own_net = -1};
	int r = bundle_find(o, b, &config, e);
	if (r || (r = spec_parse(s, config.at, config.len, o->a, e)))
		return r == 0 ? r : fail_in(e, "config.json");
	bool vm = oci_vm_wanted(s);
	if (!vm && (r = filter_make(&b->filter, s->linux_->seccomp, o->places, o->a, e))) return r;
	b->last = !vm && last_fits(s, &b->filter);
	if (!vm && !b->last && (r = oci_seal(o, e))) return r;
	sockets_tell(o, s->process);
	if ((r = rootfs_find(b, e)) || (r = place_make(p, o->places, o->args[0], o->a, e)))
		return r;
	r = made(o, b, &config, e);
	if (r) {
		all_gone(b);
		place_remove(p);
	}
	return r;
}

int oci_create(struct oci *o, struct err *e)
{
	struct spec s;
	struct place p = {.dir = -1};
	struct birth b = {0};
	int r = create(o, &b, &s, &p, e);
	birth_done(&b);
	place_close(&p);
	spec_done(&s);
	return r;
}

/* By descriptor: the number may have become another process's since we looked. */
static int signal_send(const struct place *p, int sig, struct err *e)
{
	auto_fd int fd = p->pid ? sys_pidfd_open(p->pid) : -1;
	if (fd < 0 || !place_alive(p))
		return fail(e, -ESRCH, "zone %s: container not running", p->id);
	return sys_pidfd_signal(fd, sig)
		       ? fail(e, -errno, "zone %s: signal %d: %s", p->id, sig, strerror(errno))
		       : 0;
}

static int start(struct oci *o, struct place *p, const struct spec *s, const struct filter *f,
		 struct err *e)
{
	auto_buf struct buf state = {0};
	int r = oci_vm_is(p) ? oci_vm_start(o, p, e) : birth_start(p, f, e);
	if (r && p->pid) (void)signal_send(p, SIGKILL, &(struct err){0});
	if (r || !s->hooks || !s->hooks->poststart.n) return r;
	place_state(p, "running", p->pid, false, &state);
	hooks_run_all(&s->hooks->poststart, "hooks.poststart", state.at);
	return 0;
}

int oci_start(struct oci *o, struct err *e)
{
	struct place p;
	struct spec s = {0};
	struct filter f = {0};
	int r = oci_open(o, &p, NULL, true, e);
	if (r) return r;
	enum place_status now = place_status(&p, NULL);
	if (now != PLACE_CREATED)
		r = fail(e, -EINVAL, "zone %s: is %s; only what is created can be started", p.id,
			 place_words[now]);
	if (!r) r = oci_config(o, &p, &s, e);
	if (!r && !oci_vm_is(&p)) r = filter_make(&f, s.linux_->seccomp, o->places, o->a, e);
	if (!r) r = start(o, &p, &s, &f, e);
	place_close(&p);
	spec_done(&s);
	return r;
}

static volatile sig_atomic_t forward_to;
static void forward(int sig) { (void)kill((pid_t)forward_to, sig); }

int oci_wait(pid_t pid, int pidfd, int master)
{
	static const int sigs[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT};
	int status = 0;
	struct sigaction a = {.sa_handler = forward, .sa_flags = SA_RESTART};
	forward_to = pid;
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		(void)sigaction(sigs[i], &a, NULL);
	if (master >= 0) terminal_relay(master, pidfd);
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR) return 1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Of a zone whose first process has ended: its groups, its folder, its last hooks. */
static int remove_all(struct oci *o, const struct spec *s, struct place *p, struct group *g,
		      struct err *e)
{
	auto_buf struct buf state = {0};
	if (!group_empty(g)) group_kill(g, SIGKILL);
	int r = group_remove(g, e);
	if (r == -EBUSY) { /* somebody has parted the two versions' groups */
		group_kill(g, SIGKILL);
		r = group_remove(g, e);
	}
	if (r) return r;
	place_state(p, "stopped", 0, false, &state);
	if (oci_vm_is(p)) oci_vm_remove(o, p);
	place_remove(p);
	if (s->hooks) hooks_run_all(&s->hooks->poststop, "hooks.poststop", state.at);
	return 0;
}

int oci_run(struct oci *o, struct err *e)
{
	struct spec s;
	struct place p = {.dir = -1};
	struct birth b = {.keep_master = !o->detach && !o->console_socket};
	int r = create(o, &b, &s, &p, e), code = 0;
	if (!r && (r = start(o, &p, &s, &b.filter, e)))
		all_gone(&b), place_remove(&p);
	else if (!r && !o->detach) {
		place_unlock(&p);
		code = oci_wait(b.pid, b.pidfd, b.master);
		if (!o->keep && place_relock(&p)) r = remove_all(o, &s, &p, &b.group, e);
	}
	birth_done(&b);
	place_close(&p);
	spec_done(&s);
	return r ? r : code;
}

int oci_state(struct oci *o, struct err *e)
{
	struct place p;
	struct group g;
	auto_buf struct buf b = {0};
	int r = oci_open(o, &p, &g, false, e);
	if (r) return r;
	enum place_status s = place_status(&p, &g);
	place_state(&p, place_words[s], s == PLACE_STOPPED ? 0 : p.pid, true, &b);
	printf("%s\n", b.at);
	group_close(&g);
	place_close(&p);
	return 0;
}

static int kill_one(struct oci *o, int sig, struct err *e)
{
	struct place p;
	struct group g;
	int r = oci_open(o, &p, &g, false, e);
	if (r) return r;
	if (o->all && !oci_vm_is(&p))
		group_kill(&g, sig);
	else if (oci_vm_is(&p) && sig != SIGKILL && place_status(&p, NULL) == PLACE_RUNNING)
		r = oci_vm_signal(o, &p, sig, e);
	else
		r = signal_send(&p, sig, e);
	if (!r && sig == SIGKILL && group_frozen(&g)) (void)group_freeze(&g, false, e);
	group_close(&g);
	place_close(&p);
	return r;
}

/* What is in a folder of zones is zones, but for names that begin with a dot. */
static int each_match(struct oci *o, int (*fn)(struct oci *o, int arg, struct err *e), int arg,
		      struct err *e)
{
	regex_t re;
	int r = 0, again = openat(o->places, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *pattern = o->args[0];
	DIR *d = again < 0 ? NULL : fdopendir(again);
	if (!d || regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB)) {
		if (d) (void)closedir(d);
		return fail(e, -EINVAL, "--regex %s: no regular expression", pattern);
	}
	for (struct dirent *n; (n = readdir(d));) {
		if (n->d_name[0] == '.' || regexec(&re, n->d_name, 0, NULL, 0)) continue;
		o->args[0] = arena_text(o->a, "%s", n->d_name);
		int one = fn(o, arg, e);
		if (one) r = one;
	}
	regfree(&re);
	(void)closedir(d);
	return r;
}

int oci_kill(struct oci *o, struct err *e)
{
	int sig = o->nargs > 1 ? word_signal(o->args[1]) : SIGTERM;
	if (sig < 0) return fail(e, -EINVAL, "kill: %s: no such signal", o->args[1]);
	return o->regex ? each_match(o, kill_one, sig, e) : kill_one(o, sig, e);
}

static void end_await(const struct place *p)
{
	auto_fd int fd = p->pid ? sys_pidfd_open(p->pid) : -1;
	struct pollfd w = {.fd = fd, .events = POLLIN};
	if (fd >= 0 && place_alive(p)) (void)poll(&w, 1, 10000);
}

static int delete_one(struct oci *o, int force, struct err *e)
{
	struct place p;
	struct group g;
	int r = oci_open(o, &p, &g, true, e);
	if (r) return force && r == -ENOENT ? 0 : r;
	enum place_status now = place_status(&p, NULL);
	if (now == PLACE_RUNNING && !force)
		r = fail(e, -EBUSY, "zone %s: cannot delete container that is not stopped: %s",
			 p.id, place_words[place_status(&p, &g)]);
	if (!r && (now == PLACE_RUNNING || now == PLACE_CREATED)) {
		(void)signal_send(&p, SIGKILL, e);
		group_kill(&g, SIGKILL);
		end_await(&p);
	}
	if (!r) {
		/* One that cannot be read any more goes, too, without its hooks. */
		struct spec s = {0};
		if (oci_config(o, &p, &s, &(struct err){0})) s.hooks = NULL;
		r = remove_all(o, &s, &p, &g, e);
		spec_done(&s);
	}
	group_close(&g);
	place_close(&p);
	return r;
}

int oci_delete(struct oci *o, struct err *e)
{
	return o->regex ? each_match(o, delete_one, o->force, e) : delete_one(o, o->force, e);
}
