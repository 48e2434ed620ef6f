/* Freezing and killing all that is in a zone's groups, and taking the groups away. */
#include "base/buf.h"
#include "zone/group.h"
#include "zone/sys.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEPTH_MAX = 64, ROUNDS = 400 };

static void nap(void)
{
	struct timespec t = {0, 5 * 1000 * 1000};
	(void)nanosleep(&t, NULL);
}

/* Whichever folder can freeze: version 2's, in which what is frozen can still be killed. */
static int freezer(const struct group *g, bool *two)
{
	int dir = group_into(g);
	*two = true;
	if (dir >= 0 && !faccessat(dir, "cgroup.freeze", W_OK, 0)) return dir;
	return group_dir(g, "freezer", two);
}

static bool settled(int dir, bool two, bool frozen)
{
	auto_buf struct buf b = {0};
	if (!group_read(dir, two ? "cgroup.events" : "freezer.state", &b) || !b.at) return false;
	if (!two) return !strncmp(b.at, frozen ? "FROZEN" : "THAWED", 6);
	return strstr(b.at, frozen ? "frozen 1" : "frozen 0");
}

int group_freeze(const struct group *g, bool frozen, struct err *e)
{
	bool two;
	int dir = freezer(g, &two), r;
	if (dir < 0)
		return fail(e, -ENOTSUP, "this zone has no control group that could be frozen");
	for (unsigned i = 0; i < ROUNDS; i++) {
		r = two ? group_write(dir, "cgroup.freeze", frozen ? "1" : "0")
			: group_write(dir, "freezer.state", frozen ? "FROZEN" : "THAWED");
		if (r) return fail(e, r, "freezing control group %s: %s", g->path, strerror(-r));
		if (settled(dir, two, frozen)) return 0;
		nap();
	}
	return fail(e, -EBUSY, "control group %s does not freeze", g->path);
}

bool group_frozen(const struct group *g)
{
	bool two;
	auto_buf struct buf b = {0};
	int dir = freezer(g, &two);
	if (dir < 0 || !group_read(dir, two ? "cgroup.freeze" : "freezer.state", &b) || !b.at)
		return false;
	return two ? *b.at == '1' : !strncmp(b.at, "FR", 2);
}

/* By whichever of the two that a host with both has, and by those above it. */
bool group_stuck(const struct group *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		auto_buf struct buf b = {0};
		bool two = g->tree[i].v2;
		if (g->tree[i].dir < 0 ||
		    !group_read(g->tree[i].dir, two ? "cgroup.events" : "freezer.state", &b))
			continue;
		if (two ? strstr(b.at, "frozen 1") != NULL : !strncmp(b.at, "FR", 2)) return true;
	}
	return false;
}

bool group_empty(const struct group *g)
{
	auto_buf struct buf b = {0};
	int dir = group_into(g);
	return dir >= 0 && group_read(dir, "cgroup.events", &b) && b.at &&
	       strstr(b.at, "populated 0");
}

struct pids {
	pid_t *at;
	unsigned n, room;
	struct arena *a;
};

static void pid_add(struct pids *p, pid_t pid)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->at[i] == pid) return;
	if (p->n == p->room) {
		pid_t *more = arena_make(p->a, pid_t, p->room * 2 + 64);
		if (p->n) memcpy(more, p->at, p->n * sizeof(*more));
		p->at = more;
		p->room = p->room * 2 + 64;
	}
	p->at[p->n++] = pid;
}

static int below(int dir, const char *name)
{
	return sys_openat2(dir, name, O_RDONLY | O_DIRECTORY, 0,
			   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

/* fn for each folder below dir; false: there were none. */
static bool each_below(int dir, unsigned depth, void (*fn)(int, const char *, unsigned, void *),
		       void *ctx)
{
	bool any = false;
	int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 || depth > DEPTH_MAX ? NULL : fdopendir(again);
	if (!d) {
		if (again >= 0) (void)close(again);
		return false;
	}
	for (struct dirent *n; (n = readdir(d));)
		if (n->d_type == DT_DIR && n->d_name[0] != '.') {
			fn(dir, n->d_name, depth, ctx);
			any = true;
		}
	(void)closedir(d);
	return any;
}

static void pids_in(int dir, unsigned depth, struct pids *p);
static void pids_below(int dir, const char *name, unsigned depth, void *ctx)
{
	auto_fd int fd = below(dir, name);
	if (fd >= 0) pids_in(fd, depth + 1, ctx);
}

static void pids_in(int dir, unsigned depth, struct pids *p)
{
	auto_buf struct buf b = {0};
	if (group_read(dir, "cgroup.procs", &b) && b.at)
		for (char *at = b.at, *end; *at; at = end) {
			long v = strtol(at, &end, 10);
			if (end == at) break;
			if (v > 0) pid_add(p, (pid_t)v);
		}
	(void)each_below(dir, depth, pids_below, p);
}

unsigned group_pids(const struct group *g, pid_t **pids, struct arena *a)
{
	struct pids p = {.a = a};
	for (unsigned i = 0; i < g->n && !p.n; i++)
		if (g->tree[i].dir >= 0) pids_in(g->tree[i].dir, 0, &p);
	*pids = p.at;
	return p.n;
}

static void pids_signal(const struct group *g, int sig)
{
	struct arena *a = arena_new();
	pid_t *pids;
	unsigned n = group_pids(g, &pids, a);
	for (unsigned i = 0; i < n; i++) (void)kill(pids[i], sig);
	arena_free(a);
}

void group_kill(const struct group *g, int sig)
{
	struct err e;
	int dir = group_into(g);
	bool two;
	if (g->shared) return;
	if (sig == SIGKILL && dir >= 0) (void)group_write(dir, "cgroup.kill", "1");
	pids_signal(g, sig);
	dir = group_dir(g, "freezer", &two);
	if (sig == SIGKILL && dir >= 0 && !two) (void)group_write(dir, "freezer.state", "THAWED");
	if (sig == SIGKILL && group_frozen(g)) (void)group_freeze(g, false, &e);
}

static void remove_below(int dir, const char *name, unsigned depth, void *ctx)
{
	auto_fd int fd = below(dir, name);
	if (fd >= 0) (void)each_below(fd, depth + 1, remove_below, ctx);
	(void)unlinkat(dir, name, AT_REMOVEDIR);
}

static int tree_remove(struct group_tree *t, const char *path)
{
	char up[PATH_MAX];
	const char *name = strrchr(path, '/') + 1;
	path += strspn(path, "/");
	(void)snprintf(up, sizeof(up), "%.*s", name > path ? (int)(name - path) : 0, path);
	auto_fd int parent = *up ? below(t->top, up) : dup(t->top);
	int r = 0;
	if (parent < 0) return errno == ENOENT ? 0 : -errno;
	for (unsigned i = 0; i < ROUNDS; i++) {
		r = unlinkat(parent, name, AT_REMOVEDIR) ? -errno : 0;
		if (r != -EBUSY && r != -ENOTEMPTY) break;
		(void)each_below(t->dir, 0, remove_below, NULL);
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0) return 0;
		nap();
	}
	return r == -ENOENT ? 0 : r;
}

int group_remove(struct group *g, struct err *e)
{
	int first = 0;
	for (unsigned i = 0; i < g->n; i++) {
		if (g->tree[i].dir < 0 || (g->shared && g->tree[i].found)) continue;
		int r = tree_remove(&g->tree[i], g->path);
		if (r && !first)
			first = fail(e, r, "control group %s%s: removing it: %s", g->tree[i].point,
				     g->path, strerror(-r));
	}
	return first;
}
