/* The helper outside: one request, one answer, over a socket pair; a descriptor may come with the
 * answer. What a request may name is compared with what the helper knew before the guest ran. */
#include "guest/outside.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/own.h"
#include "base/title.h"
#include "guest/cgroup.h"
#include "guest/guest.h"
#include "guest/limits.h"
#include "guest/network.h"
#include "guest/record.h"
#include "guest/snapshot.h"
#include "guest/sockets.h"
#include "store/blob.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* syscalls loop lan: sendmsg recvmsg */

enum { TEXT = PATH_MAX };
enum order_kind {
	NAMED,
	STATE,
	LOG,
	DRAFT,
	KEEP,
	DROP,
	COPY,
	RENAME,
	UNLISTEN,
	REMOVE,
	DIAL,
	LIMITS,
	GROUP,
	UNGROUP,
	VSOCK,
	UNGDB,
	LAST_WORDS,
	KINDS
};
struct order {
	uint32_t kind, n;
	char text[TEXT];
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* an order and its answer */
static int ours = -1;
static pid_t helper;

/* ---- done where there is no confinement, or by the helper */
static char *draft_of(const char *path)
{
	char *s;
	must(asprintf(&s, "%s.draft", path) > 0);
	return s;
}

static int draft_open(const char *path, struct err *e)
{
	auto_mem char *draft = draft_of(path), *dir = strdup(path);
	must(dir);
	char *slash = strrchr(dir, '/');
	if (slash) *slash = 0;
	if (slash && slash != dir && mkdir(dir, 0755) && errno != EEXIST)
		return fail(e, -errno, "%s: %s", dir, strerror(errno));
	(void)unlink(draft);
	int fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? fail(e, -errno, "%s: %s", draft, strerror(errno)) : fd;
}

static int draft_keep(const char *path, struct err *e)
{
	auto_mem char *draft = draft_of(path);
	if (rename(draft, path)) return fail(e, -errno, "%s: %s", path, strerror(errno));
	snapshot_mark(path);
	return 0;
}

static void draft_drop(const char *path)
{
	auto_mem char *draft = draft_of(path);
	(void)unlink(draft);
}

static int log_open(int folder, bool full)
{
	if (full) (void)renameat(folder, "console.log", folder, "console.log.1");
	return openat(folder, "console.log", O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
		      0600);
}

static int disk_copy(const struct spec *s, unsigned n, const char *to, struct err *e)
{
	if (n == OUTSIDE_VARS && s->vars && s->vars_kept) return blob_copy(s->vars, to, e);
	if (n >= s->ndisks || s->disk[n].readonly) return fail(e, -EINVAL, "no such disk");
	return blob_copy(s->disk[n].path, to, e);
}

static int limits_keep(const char *words, int folder, struct err *e)
{
	struct record r;
	int bad = record_read(&r, folder, e);
	if (bad) return bad == -ENOENT ? 0 : bad;
	bad = limits_take(&r.spec.limits, words, e);
	if (!bad) bad = limits_check(&r.spec.limits, r.spec.memory, e);
	if (!bad) bad = record_write(&r, folder, e);
	record_done(&r);
	return bad;
}

static struct cgroup *group[CGROUPS]; /* the monitor's; of whoever makes them */

static int group_set(unsigned what, uint64_t v, int pid, struct err *e)
{
	int r = group[what] ? 0 : cgroup_open(&group[what], what, pid, e);
	if (r) return r;
	return what == CGROUP_CPU ? cgroup_shares(group[what], v, e)
				  : cgroup_memory(group[what], v, e);
}

static void ungroup(void)
{
	for (unsigned i = 0; i < CGROUPS; i++) {
		cgroup_close(group[i]);
		group[i] = NULL;
	}
}

static int vsock_dial(uint32_t port, int folder)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/vsock_%u", folder, port);
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at))) return -errno;
	return give_fd(&fd);
}

/* ---- the helper */
struct known {
	struct spec spec; /* of its strings: nets, paths of disks, vars, gdb */
	int folder;	  /* -1: none */
	int monitor;	  /* its process */
	char last[160];	  /* what it said of its own end; "": nothing */
	char name[64], root[PATH_MAX];
};

static int is_net(const struct spec *s, const char *name)
{
	for (unsigned i = 0; i < s->nnets; i++)
		if (!strcmp(s->net[i], name)) return 1;
	return 0;
}

/* ROOT/guests/NAME/snapshots/TAG/FILE, and no way out of it. */
static int check_place(const struct known *k, const char *path, struct err *e)
{
	char within[PATH_MAX + 128];
	int n = snprintf(within, sizeof(within), "%s/guests/%s/snapshots/", k->root, k->name);
	const char *rest = path + n;
	const char *slash = strncmp(path, within, (size_t)n) ? NULL : strchr(rest, '/');
	bool good = slash && slash > rest && slash[1] && !strchr(slash + 1, '/') &&
		    !strstr(rest, "..") && *k->name;
	return good ? 0
		    : fail(e, -EACCES, "a guest that is confined saves itself only into %s, not %s",
			   within, path);
}

static int do_named(struct known *k, const char *name, struct err *e)
{
	struct store *s;
	if (*k->name || !store_name_ok(name)) return fail(e, -EINVAL, "it has a name");
	int r = store_open(&s, NULL, e);
	if (r) return r;
	(void)snprintf(k->root, sizeof(k->root), "%s", store_root(s));
	store_close(s);
	(void)strcpy(k->name, name);
	return 0;
}

static int do_state(const struct known *k, const char *text, struct err *e)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/state.json", k->folder);
	return k->folder < 0 ? -EBADF : file_replace(path, text, strlen(text), 0600, e);
}

/* The folder first: if we are killed in between, its old socket is one that nobody listens at. */
static int do_rename(struct known *k, const char *to, struct err *e)
{
	struct store *s = NULL;
	auto_fd int dir = -1;
	if (k->folder < 0) return fail(e, -ENOTSUP, "it is not kept");
	int r = store_open(&s, NULL, e);
	if (!r) r = store_guest_rename(s, k->name, to, e);
	if (!r) r = sockets_open(&dir, e);
	if (!r) r = sockets_rename(dir, k->name, to, e);
	if (!r) (void)snprintf(k->name, sizeof(k->name), "%s", to);
	store_close(s);
	return r;
}

static int do_unlisten(const struct known *k, struct err *e)
{
	auto_fd int dir = -1;
	int r = *k->name ? sockets_open(&dir, e) : -ENOENT;
	if (!r) sockets_drop(dir, k->name);
	return r;
}

static int do_remove(struct known *k, struct err *e)
{
	struct store *s = NULL;
	if (k->folder < 0 || !k->spec.remove) return fail(e, -EPERM, "it is to be kept");
	int r = store_open(&s, NULL, e);
	if (!r) r = store_guest_remove(s, k->name, &k->folder, e);
	store_close(s);
	return r;
}

/* What it may have is its owner's to say: a monitor in other hands says what an owner could. */
static int do_group(const struct known *k, const struct order *o, struct err *e)
{
	uint64_t v = strtoull(o->text, NULL, 10);
	struct limits l = {0};
	if (o->n >= CGROUPS) return -EINVAL;
	*(o->n == CGROUP_CPU ? &l.cpu_shares : &l.memory_high) = v;
	int r = limits_check(&l, 0, e);
	return r ? r : group_set(o->n, v, k->monitor, e);
}

static int do_ungdb(const struct known *k)
{
	struct stat st;
	const char *at = k->spec.gdb && !strncmp(k->spec.gdb, "unix:", 5) ? k->spec.gdb + 5 : "";
	return lstat(at, &st) || !S_ISSOCK(st.st_mode) || unlink(at) ? -errno : 0;
}

static int copy_disk_to(const struct known *k, const struct order *o, struct err *e)
{
	int r = check_place(k, o->text, e);
	return r ? r : disk_copy(&k->spec, o->n, o->text, e);
}

static int draft_do(const struct known *k, const struct order *o, struct err *e)
{
	int r = check_place(k, o->text, e);
	if (r) return r;
	if (o->kind == DRAFT) return draft_open(o->text, e);
	if (o->kind == KEEP) return draft_keep(o->text, e);
	draft_drop(o->text);
	return 0;
}

/* LOG, DRAFT, DIAL, VSOCK: a descriptor in *fd if it is 0. */
static int carry_out(struct known *k, const struct order *o, int *fd, struct err *e)
{
	int r;
	switch (o->kind) {
	case NAMED: return do_named(k, o->text, e);
	case STATE: return do_state(k, o->text, e);
	case LOG: r = k->folder < 0 ? -EBADF : log_open(k->folder, o->n); break;
	case DRAFT: r = draft_do(k, o, e); break;
	case KEEP:
	case DROP: return draft_do(k, o, e);
	case COPY: return copy_disk_to(k, o, e);
	case LIMITS: return k->folder < 0 ? -EBADF : limits_keep(o->text, k->folder, e);
	case GROUP: return do_group(k, o, e);
	case LAST_WORDS: return snprintf(k->last, sizeof(k->last), "%.159s", o->text), 0;
	case UNGROUP: return ungroup(), 0;
	case UNGDB: return do_ungdb(k);
	case VSOCK: r = k->folder < 0 ? -ECONNREFUSED : vsock_dial(o->n, k->folder); break;
	case RENAME: return do_rename(k, o->text, e);
	case UNLISTEN: return do_unlisten(k, e);
	case REMOVE: return do_remove(k, e);
	case DIAL:
		if (!is_net(&k->spec, o->text)) return fail(e, -EPERM, "not its network");
		return network_dial(o->text, fd, e);
	default: return fail(e, -EINVAL, "no such order");
	}
	if (r < 0) return r;
	*fd = r;
	return 0;
}

union ancillary {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

static bool send_with(int to, const void *p, size_t n, int fd)
{
	struct iovec v = {(void *)p, n};
	union ancillary c = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t done;
	if (fd >= 0) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
		memcpy(CMSG_DATA(&c.head), &fd, sizeof(fd));
	}
	while ((done = sendmsg(to, &m, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
	}
	return done == (ssize_t)n;
}

/* fd NULL: none is taken. */
static ssize_t receive_with(int from, void *p, size_t n, int *fd)
{
	struct iovec v = {p, n};
	union ancillary c;
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t got;
	if (fd) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
	}
	while ((got = recvmsg(from, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
	}
	struct cmsghdr *h = got > 0 && fd ? CMSG_FIRSTHDR(&m) : NULL;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(h), sizeof(*fd));
	return got;
}

static void serve(struct known *k, int sock)
{
	static struct order o;
	ssize_t n;
	while ((n = receive_with(sock, &o, sizeof(o), NULL)) > 0) {
		struct err e = {0};
		int fd = -1;
		bool whole = n == sizeof(o) && memchr(o.text, 0, sizeof(o.text));
		int r = whole ? carry_out(k, &o, &fd, &e) : -EPROTO;
		if (r && !e.msg[0]) (void)fail(&e, r, "%s", strerror(-r));
		e.code = r;
		if (!send_with(sock, &e, sizeof(e), fd)) break;
		drop_fd(&fd);
	}
}

static const char *copy_of(const char *s)
{
	const char *copy = s ? strdup(s) : NULL;
	must(copy || !s);
	return copy;
}

/* What is used of it later: the words of the command line go. */
static void know(struct known *k, const struct spec *s)
{
	k->spec = *s;
	k->spec.gdb = copy_of(s->gdb);
	k->spec.vars = copy_of(s->vars);
	for (unsigned i = 0; i < s->nnets; i++) k->spec.net[i] = copy_of(s->net[i]);
	for (unsigned i = 0; i < s->ndisks; i++) k->spec.disk[i].path = copy_of(s->disk[i].path);
}

/* Who waits for the end of a stream waits for the monitor, not for us. */
static void close_others(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);
	if (a < 0) low = high;
	(void)close_range(STDERR_FILENO + 1, low - 1, 0);
	if (high > low + 1) (void)close_range(low + 1, high - 1, 0);
	(void)close_range(high + 1, ~0u, 0);
}

/* Nobody else is left to say it. */
static void broke(const struct known *k)
{
	struct guest_state s;
	if (!*k->last || k->folder < 0) return;
	state_read(&s, k->folder);
	s.life = LIFE_BROKEN;
	s.finished = (int64_t)time(NULL);
	(void)snprintf(s.why, sizeof(s.why), "%s", k->last);
	(void)state_write(&s, k->folder, NULL);
}

/* Signals of the terminal are for the monitor, whose end is ours. */
static _Noreturn void helper_main(const struct spec *s, int folder, int sock, int monitor)
{
	static struct known k;
	k = (struct known){.folder = folder, .monitor = monitor};
	know(&k, s);
	close_others(folder, sock);
	for (int i = 1; i < 32; i++)
		if (i != SIGCHLD) (void)signal(i, SIG_IGN);
	title_set("lodge-helper");
	serve(&k, sock);
	broke(&k);
	ungroup();
	_exit(0);
}

/* In a signal handler, on any thread; nobody waits for the answer. */
static void last_words(const char *words)
{
	static struct order o = {.kind = LAST_WORDS};
	(void)strncpy(o.text, words, sizeof(o.text) - 1);
	(void)!write(ours, &o, sizeof(o));
}

int outside_start(const struct spec *s, const struct guest_home *home, struct err *e)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return fail(e, -errno, "socketpair: %s", strerror(errno));
	(void)fflush(NULL);
	int monitor = (int)getpid();
	helper = fork();
	if (helper == 0) {
		(void)close(ends[0]);
		helper_main(s, home ? home->folder : -1, ends[1], monitor);
	}
	(void)close(ends[1]);
	ours = ends[0];
	jail_tell(last_words);
	if (helper > 0) return 0;
	outside_end();
	return fail(e, -errno, "fork: %s", strerror(errno));
}

void outside_end(void)
{
	drop_fd(&ours);
	ours = -1;
	while (helper > 0 && waitpid(helper, NULL, 0) < 0 && errno == EINTR) {
	}
	helper = 0;
}

bool outside_is_there(void) { return ours >= 0; }
int outside_fd(void) { return ours; }

/* ---- the monitor */
static int ask(enum order_kind kind, unsigned n, const char *text, int *fd, struct err *e)
{
	static struct order o; /* under the lock */
	struct err said = {0};
	int got = -1;
	if (strlen(text) >= TEXT) return fail(e, -ENAMETOOLONG, "too long for the helper");
	(void)pthread_mutex_lock(&turn);
	o = (struct order){.kind = kind, .n = n};
	(void)strcpy(o.text, text);
	bool good = send_with(ours, &o, sizeof(o), -1) &&
		    receive_with(ours, &said, sizeof(said), &got) == sizeof(said);
	(void)pthread_mutex_unlock(&turn);
	if (!good) return fail(e, -EPIPE, "the guest's helper process is gone");
	said.msg[sizeof(said.msg) - 1] = 0;
	if (said.code >= 0 && fd && got < 0) said.code = -EPROTO;
	if (said.code >= 0 && fd) *fd = give_fd(&got);
	drop_fd(&got);
	return said.code < 0 ? fail(e, said.code, "%s", said.msg) : 0;
}

int outside_named(const char *name, struct err *e)
{
	return ours < 0 || !*name ? 0 : ask(NAMED, 0, name, NULL, e);
}

int outside_state(const struct guest_state *s, int folder, struct err *e)
{
	auto_buf struct buf b = {0};
	if (ours < 0) return state_write(s, folder, e);
	state_format(s, &b);
	return ask(STATE, 0, b.at, NULL, e);
}

int outside_log(int folder, bool full)
{
	int fd = -1;
	if (ours < 0) return log_open(folder, full);
	int r = ask(LOG, full, "", &fd, NULL);
	if (r < 0) errno = -r;
	return fd;
}

int outside_draft(const char *path, struct err *e)
{
	int fd = -1, r = ours < 0 ? draft_open(path, e) : ask(DRAFT, 0, path, &fd, e);
	return ours < 0 || r < 0 ? r : fd;
}

int outside_keep(const char *path, struct err *e)
{
	return ours < 0 ? draft_keep(path, e) : ask(KEEP, 0, path, NULL, e);
}

void outside_drop(const char *path)
{
	if (ours < 0)
		draft_drop(path);
	else
		(void)ask(DROP, 0, path, NULL, NULL);
}

int outside_copy(const struct spec *s, unsigned n, const char *to, struct err *e)
{
	return ours < 0 ? disk_copy(s, n, to, e) : ask(COPY, n, to, NULL, e);
}

int outside_rename(const char *to, struct err *e) { return ask(RENAME, 0, to, NULL, e); }

void outside_unlisten(void) { (void)ask(UNLISTEN, 0, "", NULL, NULL); }

int outside_remove(struct err *e) { return ask(REMOVE, 0, "", NULL, e); }

int outside_dial(const char *network, int *fd, struct err *e)
{
	return ours < 0 ? network_dial(network, fd, e) : ask(DIAL, 0, network, fd, e);
}

int outside_limits(const struct limits *l, int folder, struct err *e)
{
	auto_buf struct buf b = {0};
	struct limits all = *l;
	const char *name;
	for (unsigned i = 0; (name = limits_name(i)); i++)
		buf_fmt(&b, "%s%s %llu", i ? " " : "", name,
			(unsigned long long)*limits_at(&all, i));
	return ours < 0 ? limits_keep(b.at, folder, e) : ask(LIMITS, 0, b.at, NULL, e);
}

int outside_group(unsigned what, uint64_t v, struct err *e)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	return ours < 0 ? group_set(what, v, (int)getpid(), e) : ask(GROUP, what, text, NULL, e);
}

void outside_ungroup(void)
{
	if (ours < 0)
		ungroup();
	else
		(void)ask(UNGROUP, 0, "", NULL, NULL);
}

int outside_vsock(uint32_t port, int folder)
{
	int fd = -1, r = ours < 0 ? vsock_dial(port, folder) : ask(VSOCK, port, "", &fd, NULL);
	return ours < 0 || r < 0 ? r : fd;
}

void outside_ungdb(const char *path)
{
	if (ours < 0)
		(void)unlink(path);
	else
		(void)ask(UNGDB, 0, "", NULL, NULL);
}
