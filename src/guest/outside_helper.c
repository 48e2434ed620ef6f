/* The helper outside. What a request may name is compared with what the helper knew before the
 * guest ran. */
#include "base/file.h"
#include "base/jail.h"
#include "base/own.h"
#include "base/pass.h"
#include "base/text.h"
#include "base/title.h"
#include "guest/arrival.h"
#include "guest/cgroup.h"
#include "guest/guest.h"
#include "guest/limits.h"
#include "guest/network.h"
#include "guest/outside_impl.h"
#include "guest/record.h"
#include "guest/sockets.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct greeting { /* what one of its cards is known by on a network */
	char net[OUTSIDE_NET];
	struct lan_hello hello;
};
struct known {
	struct spec spec; /* of its strings: nets, paths of disks, vars, gdb */
	int folder;	  /* -1: none */
	int monitor;	  /* its process */
	int starter;	  /* of switches; -1: none */
	struct store *store;
	bool fresh;	/* its folder was made for this, and goes if it never runs */
	bool lived;	/* it has run */
	bool closed;	/* the monitor is confined, and may be in other hands */
	char last[160]; /* what it said of its own end; "": nothing */
	char name[64], root[PATH_MAX];
	unsigned ngreetings;
	struct greeting greeting[SPEC_NETS];
};

/* -1: none of its networks. */
static int find_net(const struct spec *s, const char *name)
{
	for (unsigned i = 0; i < s->nnets; i++)
		if (!strcmp(s->net[i], name)) return (int)i;
	return -1;
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
	if (k->closed || (*name && !store_name_ok(name))) return fail(e, -EINVAL, "it has a name");
	k->closed = true;
	(void)strcpy(k->name, name);
	return 0;
}

static int do_state(struct known *k, const char *text, struct err *e)
{
	char path[64];
	k->lived = true;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/state.json", k->folder);
	return k->folder < 0 ? -EBADF : file_replace(path, text, strlen(text), 0600, e);
}

/* The folder first: if we are killed in between, its old socket is one that nobody listens at. */
static int do_rename(struct known *k, const char *to, struct err *e)
{
	auto_fd int dir = -1;
	if (k->folder < 0 || !k->store || !*k->name) return fail(e, -ENOTSUP, "it is not kept");
	int r = store_guest_rename(k->store, k->name, to, e);
	if (!r) r = sockets_open(&dir, e);
	if (!r) r = sockets_rename(dir, k->name, to, e);
	if (!r) (void)snprintf(k->name, sizeof(k->name), "%s", to);
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
	bool may = k->spec.remove || (k->fresh && !k->lived);
	if (k->folder < 0 || !may || !k->store || !*k->name)
		return fail(e, -EPERM, "it is to be kept");
	return store_guest_remove(k->store, k->name, &k->folder, e);
}

/* Once, and by what was there before the monitor was confined. */
static int do_arrived(struct known *k, struct err *e)
{
	const struct arrival *a = k->spec.arrival;
	k->spec.arrival = NULL;
	return a ? a->keep(a->ctx, e) : fail(e, -EINVAL, "it comes from nowhere");
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

/* A card's address, name and ports are what they were before the guest ran; the address that it
 * had on the network is the switch's to give. */
static bool is_known(const struct known *k, const char *net, const struct lan_hello *h)
{
	struct lan_hello same = *h;
	for (unsigned i = 0; i < k->ngreetings; i++) {
		const struct greeting *g = &k->greeting[i];
		same.want = g->hello.want;
		if (!strcmp(g->net, net) && !memcmp(&same, &g->hello, sizeof(same))) return true;
	}
	return false;
}

static int do_dial(struct known *k, const struct order *o, int *fd, struct err *e)
{
	struct lan_hello h;
	int net = strlen(o->text) < OUTSIDE_NET ? find_net(&k->spec, o->text) : -1;
	if (net < 0) return fail(e, -EPERM, "not its network");
	if (!lan_hello_read(&h, o->text + OUTSIDE_NET, sizeof(h)))
		return fail(e, -EPROTO, "no hello to a switch");
	if (!is_known(k, o->text, &h)) {
		if (k->closed || k->ngreetings == SPEC_NETS)
			return fail(e, -EPERM, "it is known by another name or address there");
		struct greeting *g = &k->greeting[k->ngreetings++];
		(void)strcpy(g->net, o->text);
		g->hello = h;
	}
	int r = network_join(o->text, &h, fd, e);
	if (r != -ENOENT) return r;
	r = starter_ask(k->starter, (unsigned)net, e);
	return r ? r : -EAGAIN;
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
	case ARRIVED: return do_arrived(k, e);
	case UNLISTEN: return do_unlisten(k, e);
	case REMOVE: return do_remove(k, e);
	case DIAL: return do_dial(k, o, fd, e);
	default: return fail(e, -EINVAL, "no such order");
	}
	if (r < 0) return r;
	*fd = r;
	return 0;
}
static void serve(struct known *k, int sock)
{
	static struct order o;
	ssize_t n;
	while ((n = pass_receive(sock, &o, sizeof(o), NULL)) > 0) {
		struct err e = {0};
		int fd = -1;
		bool whole = n == sizeof(o) && memchr(o.text, 0, sizeof(o.text));
		int r = whole ? carry_out(k, &o, &fd, &e) : -EPROTO;
		if (r && !e.msg[0]) (void)fail(&e, r, "%s", strerror(-r));
		e.code = r;
		if (!pass_send(sock, &e, sizeof(e), fd)) break;
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

/* Disks by what they are now: their folder may be renamed. */
static void hold_disks(struct known *k)
{
	for (unsigned i = 0; k->folder >= 0 && i < k->spec.ndisks; i++) {
		int fd = open(k->spec.disk[i].path, O_PATH | O_CLOEXEC);
		if (fd >= 0) k->spec.disk[i].path = text_format("/proc/self/fd/%d", fd);
	}
	int fd = k->folder >= 0 && k->spec.vars ? open(k->spec.vars, O_PATH | O_CLOEXEC) : -1;
	if (fd >= 0) k->spec.vars = text_format("/proc/self/fd/%d", fd);
}

static void confine(struct known *k)
{
	struct err e;
	auto_fd int sockets = -1;
	(void)sockets_open(&sockets, &e); /* which makes their folder */
	if (!store_open(&k->store, NULL, &e))
		(void)snprintf(k->root, sizeof(k->root), "%s", store_root(k->store));
	hold_disks(k);
	const struct helper_needs n = {.spec = &k->spec,
				       .root = k->store ? k->root : NULL,
				       .folder = k->folder,
				       .removes = k->spec.remove || k->fresh};
	if (jail_is_wanted()) helper_settle(&n);
}

/* They have heard it, too, that the monitor is gone. */
static void outlive(int held)
{
	enum { PATIENCE_MS = 5000 };
	struct pollfd p = {.fd = held};
	(void)poll(&p, held >= 0, PATIENCE_MS);
}

_Noreturn void helper_main(const struct helper_of *of, int sock)
{
	static struct known k;
	const struct guest_home *home = of->home;
	k = (struct known){
		.folder = home ? home->folder : -1, .monitor = of->monitor, .starter = of->starter};
	k.fresh = home && home->fresh;
	know(&k, of->spec);
	/* Who waits for the end of a stream waits for the monitor, not for us. */
	fds_keep((const int[]){k.folder, sock, k.starter, of->held}, 4);
	helper_deaf();
	title_set("lodge-helper");
	confine(&k);
	serve(&k, sock);
	outlive(of->held);
	broke(&k);
	ungroup();
	_exit(0);
}
