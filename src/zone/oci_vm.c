/* A bundle in a computer of its own. The idea: its mounts are made as a zone's are, in a mount
 * namespace of their own, and instead of entering that root the first process becomes `lodge run
 * --rootfs`, which shares it with the computer. So its standard streams, its exit code and its end
 * are those that whoever called us looks at; what concerns the program inside is asked of `lodge`.
 */
#include "base/own.h"
#include "zone/oci_impl.h"
#include "zone/sys.h"
#include "zone/terminal.h"
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ANNOTATION   "org.lodge.kind"
#define MEMORY_STEP  (2ull << 20)
#define MEMORY_LEAST (128ull << 20)
enum { WORDS = 4096, PATIENCE_MS = 30000, STEP_MS = 50 };

struct words {
	const char *at[WORDS + 1];
	unsigned n;
};

/* ---- who it is for */
static bool says_vm(const struct pairs *p)
{
	const char *kind = spec_annotation(p, ANNOTATION);
	return kind && !strcmp(kind, "vm");
}

bool oci_vm_wanted(const struct spec *s)
{
	struct json_object *vm;
	return says_vm(&s->annotations) || (json_object_object_get_ex(s->json, "vm", &vm) && vm);
}

bool oci_vm_is(const struct place *p) { return says_vm(&p->annotations); }

/* However it was asked for, later commands see it there. */
static void annotate(struct place *p)
{
	struct pairs *a = &p->annotations;
	if (oci_vm_is(p)) return;
	const char **key = arena_make(p->a, const char *, a->n + 1),
		   **value = arena_make(p->a, const char *, a->n + 1);
	unsigned n = 0;
	for (unsigned i = 0; i < a->n; i++) {
		if (!strcmp(a->key[i], ANNOTATION)) continue;
		key[n] = a->key[i];
		value[n++] = a->value[i];
	}
	key[n] = ANNOTATION;
	value[n++] = "vm";
	*a = (struct pairs){.key = key, .value = value, .n = n};
}

/* Of guests, whose names are shorter than zones': by the folder of zones and the zone's in it. */
static const char *guest_name(const struct place *p)
{
	struct stat st = {0};
	uint64_t h = 14695981039346656037ull;
	(void)fstat(p->root, &st);
	const uint64_t head[] = {st.st_dev, st.st_ino};
	for (unsigned i = 0; i < sizeof(head); i++)
		h = (h ^ ((const unsigned char *)head)[i]) * 1099511628211ull;
	for (const char *c = p->id; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211ull;
	return arena_text(p->a, "oci-%016llx", (unsigned long long)h);
}

/* LODGE, or beside us, or wherever programs are. */
static const char *program(const struct oci *o)
{
	const char *wish = getenv("LODGE"), *slash = strrchr(o->argv[0], '/');
	if (wish && *wish) return wish;
	if (!slash) return "lodge";
	const char *beside = arena_text(o->a, "%.*s/lodge", (int)(slash - o->argv[0]), o->argv[0]);
	return access(beside, X_OK) ? "lodge" : beside;
}

/* ---- lodge's words */
static void add(struct words *w, const char *word)
{
	if (w->n < WORDS) w->at[w->n++] = word;
}
static void add2(struct words *w, const char *option, const char *value)
{
	add(w, option);
	add(w, value);
}

static void process_words(struct words *w, const struct spec_process *p, struct arena *a)
{
	add2(w, "-u", arena_text(a, "%u:%u", p->user->uid, p->user->gid));
	add2(w, "-w", p->cwd);
	for (unsigned i = 0; i < p->env.n; i++)
		if (strchr(p->env.at[i], '=') && p->env.at[i][0] != '=')
			add2(w, "-e", p->env.at[i]);
}

static void limit_words(struct words *w, const struct spec *s, struct arena *a)
{
	const struct spec_resources *r = s->linux_->resources;
	const struct spec_memory *m = r ? r->memory : NULL;
	const struct spec_cpu *c = r ? r->cpu : NULL;
	if (m && m->limit.set && m->limit.v > 0) {
		uint64_t n = ((uint64_t)m->limit.v + MEMORY_STEP - 1) / MEMORY_STEP * MEMORY_STEP;
		if (n < MEMORY_LEAST)
			oci_log(OCI_WARNING,
				"resources.memory.limit: a computer has at least %llu MiB",
				MEMORY_LEAST >> 20);
		if (n < MEMORY_LEAST) n = MEMORY_LEAST;
		add2(w, "-m", arena_text(a, "%lluM", (unsigned long long)n >> 20));
	}
	if (c && c->quota.set && c->quota.v > 0) {
		double all = (double)c->quota.v / (c->period.set ? (double)c->period.v : 100000);
		add2(w, "-c", arena_text(a, "%.2f", all < 0.01 ? 0.01 : all));
	}
}

static void run_words(struct words *w, struct oci *o, const struct birth *b)
{
	const struct spec *s = b->spec;
	add(w, program(o));
	add2(w, "run", "--rm");
	add2(w, "--name", guest_name(b->place));
	add2(w, "--rootfs", b->rootfs);
	add2(w, "--net", "none");
	if (s->hostname && *s->hostname) add2(w, "--hostname", s->hostname);
	if (s->process->terminal) add(w, "-t"), add2(w, "--detach-keys", "none");
	limit_words(w, s, b->a);
	process_words(w, s->process, b->a);
	add(w, "--");
	for (unsigned i = 0; i < s->process->args.n; i++) add(w, s->process->args.at[i]);
}

/* ---- what cannot be had */
static bool has_hooks(const struct spec_hooks *h)
{
	return h && (h->prestart.n || h->create_runtime.n || h->create_container.n ||
		     h->start_container.n || h->poststart.n || h->poststop.n);
}

/* Of the zone's walls there is no need; of the rest, that it is missing is worth knowing. */
static int check(const struct oci *o, const struct spec *s, struct err *e)
{
	const struct spec_process *p = s->process;
	if (!p || !p->args.n) return fail(e, -EINVAL, "process: a computer has to run something");
	if (has_hooks(s->hooks))
		return fail(e, -ENOTSUP, "hooks: not for a bundle in a computer of its own");
	if (p->terminal && o->detach && !o->console_socket)
		return fail(e, -EINVAL, "process.terminal: where to? --console-socket says it");
	if (p->user->additional_gids.n)
		oci_log(OCI_WARNING, "process.user.additionalGids: not in a computer of its own");
	if (p->rlimits.n) oci_log(OCI_INFO, "process.rlimits: not in a computer of its own");
	if (s->linux_->devices.n)
		oci_log(OCI_WARNING, "linux.devices: a computer of its own has its own devices");
	for (unsigned i = 0; i < s->linux_->namespaces.n; i++)
		if (s->linux_->namespaces.at[i].path)
			oci_log(OCI_WARNING,
				"linux.namespaces: %s: is not joined: a computer of its own has no "
				"network here",
				s->linux_->namespaces.at[i].type);
	oci_log(OCI_INFO,
		"in a computer of its own: capabilities, seccomp, masked paths and control groups "
		"of the bundle have no meaning");
	return 0;
}

/* ---- mounts: binds and tmpfs; kernels' own file systems are made in the computer */
static bool is_here(const struct spec_mount *m)
{
	bool bind = m->type && !strcmp(m->type, "bind");
	for (unsigned i = 0; i < m->options.n; i++)
		bind |= !strcmp(m->options.at[i], "bind") || !strcmp(m->options.at[i], "rbind");
	bool shm = !strncmp(m->destination, "/dev", 4) || !strncmp(m->destination, "/proc", 5) ||
		   !strncmp(m->destination, "/sys", 4);
	return !shm && (bind || (m->type && !strcmp(m->type, "tmpfs")));
}

static void spec_of_mounts(struct spec *to, const struct spec *from, struct arena *a)
{
	*to = *from;
	to->mounts.at = arena_make(a, struct spec_mount, from->mounts.n + 1);
	to->mounts.n = 0;
	for (unsigned i = 0; i < from->mounts.n; i++) {
		const struct spec_mount *m = &from->mounts.at[i];
		if (is_here(m)) ((struct spec_mount *)to->mounts.at)[to->mounts.n++] = *m;
	}
}

/* ---- the first process */
struct first {
	struct oci *o;
	struct birth *b;
	struct root root;
	int listen, tell, slave; /* tell: a struct err, all zero if all is well */
	struct words words;
};

/* Read-only, once there is where the computer's own file systems go. */
static int root_close(const struct root *r, struct err *e)
{
	static const char *const places[] = {"/proc", "/sys", "/dev"};
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};
	for (unsigned i = 0; i < 3; i++) {
		int fd = root_make(r->fd, places[i], ROOT_DIR, e);
		if (fd < 0) return fail_in(e, "root.path");
		(void)close(fd);
	}
	return mount_setattr(r->fd, "", AT_EMPTY_PATH, &a, sizeof(a))
		       ? fail(e, -errno, "root.readonly: %s", strerror(errno))
		       : 0;
}

static int first_settle(struct first *f, struct err *e)
{
	if (setsid() < 0 || unshare(CLONE_NEWNS))
		return fail(e, -errno, "mount namespace: %s", strerror(errno));
	int r = sources_open(&f->root, true, e);
	if (!r) r = root_attach(&f->root, e);
	if (!r) r = root_mounts(&f->root, e);
	if (!r && f->b->spec->root->readonly) r = root_close(&f->root, e);
	if (r || f->slave < 0) return r;
	for (int i = 0; i < 3; i++) (void)dup2(f->slave, i);
	(void)ioctl(0, TIOCSCTTY, 0);
	return 0;
}

/* Until somebody says start. */
static _Noreturn void first_main(struct first *f)
{
	struct err e = {0};
	(void)close(f->b->place->dir); /* and with it a lock, which our parent's end is to let go */
	int r = first_settle(f, &e);
	(void)!write(f->tell, &e, sizeof(e));
	if (r) _exit(1);
	(void)close(f->tell);
	int from = accept4(f->listen, NULL, NULL, SOCK_CLOEXEC);
	if (from < 0 || chdir("/")) _exit(1);
	f->words.at[f->words.n] = NULL;
	(void)execvp(f->words.at[0], (char **)f->words.at);
	(void)fail(&e, -errno, "%s: %s; LODGE says where it is", f->words.at[0], strerror(errno));
	(void)!write(from, &e, sizeof(e));
	_exit(1);
}

static int first_hear(int tell, struct err *e)
{
	struct err said;
	ssize_t n;
	while ((n = read(tell, &said, sizeof(said))) < 0 && errno == EINTR) continue;
	if (n != sizeof(said)) return fail(e, -EPIPE, "its first process is gone");
	said.msg[sizeof(said.msg) - 1] = 0;
	return said.code ? fail(e, said.code < 0 ? said.code : -EIO, "%s", said.msg) : 0;
}

static int first_make(struct first *f, struct err *e)
{
	struct birth *b = f->b;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "a pipe: %s", strerror(errno));
	auto_fd int ours = ends[0], theirs = ends[1];
	f->tell = theirs;
	(void)fflush(NULL);
	b->pid = fork();
	if (b->pid < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	if (!b->pid) first_main(f);
	(void)close(give_fd(&theirs));
	b->pidfd = sys_pidfd_open(b->pid);
	b->place->pid = b->pid;
	b->place->started = place_start_time(b->pid);
	int r = first_hear(ours, e);
	return r ? r : place_save(b->place, e);
}

static int terminal_of(struct first *f, struct err *e)
{
	struct birth *b = f->b;
	const struct spec_process *p = b->spec->process;
	if (!p->terminal) return 0;
	int r = terminal_make(-1, p->console_size, &b->master, &f->slave, e);
	if (!r && b->console_socket) r = terminal_send(b->console_socket, b->master, e);
	if (!b->keep_master) drop_fd(&b->master);
	if (!b->keep_master) b->master = -1;
	return r;
}

int oci_vm_begin(struct oci *o, struct birth *b, struct err *e)
{
	struct spec of_mounts;
	struct sources sources;
	struct first *f = calloc(1, sizeof(*f));
	must(f);
	*f = (struct first){.o = o, .b = b, .listen = -1, .slave = -1};
	f->root = (struct root){.spec = &of_mounts,
				.src = &sources,
				.a = b->a,
				.bundle = b->bundle,
				.path = b->rootfs};
	spec_of_mounts(&of_mounts, b->spec, b->a);
	annotate(b->place);
	int r = check(o, b->spec, e);
	if (!r) r = sources_open(&f->root, false, e);
	if (!r) r = terminal_of(f, e);
	if (!r && (f->listen = place_listen(b->place, e)) < 0) r = f->listen;
	if (!r) {
		run_words(&f->words, o, b);
		r = f->words.n == WORDS ? fail(e, -E2BIG, "process: too many words")
					: first_make(f, e);
	}
	drop_fd(&f->listen);
	drop_fd(&f->slave);
	free(f);
	return r;
}

/* ---- lodge, as a command */
/* Its exit code, or that it cannot be executed. quiet: what it says is for nobody. */
static int command(struct oci *o, const struct words *w, bool quiet, struct err *e)
{
	int status;
	(void)o;
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	if (!pid) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		(void)dup2(null, 0);
		if (quiet) (void)dup2(null, 1), (void)dup2(null, 2);
		(void)execvp(w->at[0], (char **)w->at);
		_exit(125);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) return fail(e, -errno, "wait: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

/* Until it can be asked, or its process is gone. */
static int await(struct oci *o, const struct place *p, struct err *e)
{
	struct words w = {.at = {program(o), "stats", "--no-stream", guest_name(p)}, .n = 4};
	for (unsigned ms = 0; ms < PATIENCE_MS; ms += STEP_MS) {
		int r = command(o, &w, true, e);
		if (r <= 0) return r;
		if (!place_alive(p)) return 0; /* whoever waits for it hears how it ended */
		(void)usleep(STEP_MS * 1000);
	}
	return fail(e, -ETIMEDOUT, "zone %s: its computer cannot be asked", p->id);
}

int oci_vm_start(struct oci *o, const struct place *p, struct err *e)
{
	struct err said;
	auto_fd int s = place_connect(p, e);
	if (s < 0) return s;
	ssize_t got = recv(s, &said, sizeof(said), 0);
	if (got == sizeof(said)) {
		said.msg[sizeof(said.msg) - 1] = 0;
		return fail(e, said.code < 0 ? said.code : -EIO, "%s", said.msg);
	}
	return got ? fail(e, -EPIPE, "zone %s: its first process is gone", p->id) : await(o, p, e);
}

int oci_vm_signal(struct oci *o, const struct place *p, int sig, struct err *e)
{
	struct words w = {
		.at = {program(o), "kill", "-s", arena_text(o->a, "%d", sig), guest_name(p)},
		.n = 5};
	for (unsigned ms = 0; ms < PATIENCE_MS && place_alive(p); ms += STEP_MS) {
		int r = command(o, &w, true, e);
		if (r <= 0) return r;
		(void)usleep(STEP_MS * 1000); /* it boots */
	}
	return fail(e, -ESRCH, "zone %s: container not running", p->id);
}

/* Whoever was killed has left processes that take a moment to go. */
void oci_vm_remove(struct oci *o, const struct place *p)
{
	struct words w = {.at = {program(o), "rm", "-f", guest_name(p)}, .n = 4};
	for (unsigned ms = 0; ms < PATIENCE_MS; ms += STEP_MS) {
		if (command(o, &w, true, &(struct err){0}) <= 0) return;
		(void)usleep(STEP_MS * 1000);
	}
	oci_log(OCI_WARNING, "guest %s: lodge cannot remove it", guest_name(p));
}

int oci_vm_pause(struct oci *o, const struct place *p, bool pause, struct err *e)
{
	struct words w = {.at = {program(o), pause ? "pause" : "resume", guest_name(p)}, .n = 3};
	int r = command(o, &w, true, e);
	if (r > 0) return fail(e, -EINVAL, "zone %s: container not running", p->id);
	if (r) return r;
	if (!pause) {
		(void)unlinkat(p->dir, "paused", 0);
		return 0;
	}
	auto_fd int fd = openat(p->dir, "paused", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? fail(e, -errno, "zone %s: that it is paused: %s", p->id, strerror(errno))
		      : 0;
}

int oci_vm_cannot(const struct place *p, const char *verb, struct err *e)
{
	if (!oci_vm_is(p)) return 0;
	return fail(e, -ENOTSUP, "zone %s: %s: not of one in a computer of its own", p->id, verb);
}

/* ---- exec */
static int enter_words(struct oci *o, const struct place *pl, const struct spec_process *p,
		       struct words *w, struct err *e)
{
	add(w, program(o));
	add2(w, "exec", "-i");
	if (p->terminal) add(w, "-t");
	process_words(w, p, o->a);
	add(w, guest_name(pl));
	for (unsigned i = 0; i < p->args.n; i++) add(w, p->args.at[i]);
	return w->n == WORDS ? fail(e, -E2BIG, "exec: too many words") : 0;
}

int oci_vm_enter(struct oci *o, const struct place *pl, const struct spec_process *p, pid_t *pid,
		 int *master, struct err *e)
{
	struct words *w = calloc(1, sizeof(*w));
	int slave = -1;
	must(w);
	*master = -1;
	int r = enter_words(o, pl, p, w, e);
	if (!r && p->terminal) r = terminal_make(-1, p->console_size, master, &slave, e);
	if (!r && p->terminal && o->console_socket)
		r = terminal_send(o->console_socket, *master, e);
	(void)fflush(NULL);
	if (!r && (*pid = fork()) < 0) r = fail(e, -errno, "fork: %s", strerror(errno));
	if (!r && !*pid) {
		(void)setsid();
		for (int i = 0; slave >= 0 && i < 3; i++) (void)dup2(slave, i);
		if (slave >= 0) (void)ioctl(0, TIOCSCTTY, 0);
		(void)execvp(w->at[0], (char **)w->at);
		_exit(125);
	}
	drop_fd(&slave);
	free(w);
	return r;
}
