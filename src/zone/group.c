/* Hierarchies are found in /proc/self/mountinfo, not assumed to be at usual places. */
#include "zone/group.h"
#include "base/buf.h"
#include "base/file.h"
#include "zone/log.h"
#include "zone/sys.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static bool want_of_rights(int code) { return code == -EACCES || code == -EPERM || code == -EROFS; }

int group_write(int dir, const char *file, const char *text)
{
	auto_fd int fd = openat(dir, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) return -errno;
	size_t n = strlen(text);
	return write(fd, text, n) == (ssize_t)n ? 0 : -errno;
}

bool group_read(int dir, const char *file, struct buf *to)
{
	char chunk[4096];
	ssize_t n;
	auto_fd int fd = openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) return false;
	while ((n = read(fd, chunk, sizeof(chunk))) > 0 && to->len < 4 << 20)
		buf_add(to, chunk, (size_t)n);
	return n == 0;
}

int64_t group_number(int dir, const char *file)
{
	auto_buf struct buf b = {0};
	char *end;
	if (!group_read(dir, file, &b) || !b.len) return -1;
	uint64_t v = strtoull(b.at, &end, 10);
	return end == b.at || v > INT64_MAX ? -1 : (int64_t)v;
}

/* The controllers among a version 1 mount's options, which begin with "rw". */
static const char *names_of(struct arena *a, const char *opts)
{
	static const char *const known[] = {
		"cpu",	"cpuacct", "cpuset",  "memory",	  "devices",	"freezer", "blkio",
		"pids", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma",	   "misc"};
	char *to = arena_alloc(a, strlen(opts) + 2);
	for (size_t n; *opts; opts += n + (opts[n] == ',')) {
		bool take = false;
		n = strcspn(opts, ",");
		for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			take |= strlen(known[i]) == n && !strncmp(known[i], opts, n);
		if (take || !strncmp(opts, "name=", 5))
			(void)sprintf(to + strlen(to), "%s%.*s", *to ? "," : "", (int)n, opts);
	}
	return to;
}

/* "36 35 98:0 /root /point rw - type source options"; the fields we want, in place. */
static bool line_split(char *line, char *f[5])
{
	char *at = line, *word, *rest;
	for (unsigned i = 0; (word = strsep(&at, " ")) && i < 5; i++)
		if (i >= 3) f[i - 3] = word;
	rest = at ? strstr(at, "- ") : NULL;
	if (!rest || !f[1]) return false;
	rest += 2;
	f[2] = strsep(&rest, " ");
	f[3] = rest ? strsep(&rest, " ") : NULL;
	f[4] = rest;
	return f[4] != NULL;
}

static void tree_add(struct group *g, char *f[5])
{
	bool v2 = !strcmp(f[2], "cgroup2");
	struct group_tree t = {.v2 = v2, .dir = -1};
	if (g->n == GROUP_TREES || (!v2 && strcmp(f[2], "cgroup"))) return;
	t.names = v2 ? "" : names_of(g->a, f[4]);
	for (unsigned i = 0; i < g->n; i++)
		if (g->tree[i].v2 == v2 && !strcmp(g->tree[i].names, t.names)) return;
	t.top = open(f[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t.top < 0) return;
	t.root = arena_text(g->a, "%s", f[0]);
	t.point = arena_text(g->a, "%s", f[1]);
	g->tree[g->n++] = t;
}

/* Version 2 has what its root says; it is looked for last, since version 1 takes controllers. */
static void v2_names(struct group *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		auto_buf struct buf b = {0};
		if (!g->tree[i].v2 || !group_read(g->tree[i].top, "cgroup.controllers", &b))
			continue;
		for (size_t k = 0; k < b.len; k++)
			if (b.at[k] == ' ' || b.at[k] == '\n') b.at[k] = ',';
		g->tree[i].names = arena_text(g->a, "%s", b.at ? b.at : "");
	}
}

int group_find(struct group *g, struct arena *a, struct err *e)
{
	auto_buf struct buf b = {0};
	*g = (struct group){.a = a};
	int r = file_read(&b, "/proc/self/mountinfo", 16 << 20, e);
	if (r) return r;
	for (char *line, *at = b.at; (line = strsep(&at, "\n"));) {
		char *f[5] = {0};
		if (strstr(line, " - cgroup") && line_split(line, f)) tree_add(g, f);
	}
	v2_names(g);
	return 0;
}

static bool name_in(const char *names, const char *name)
{
	size_t len = strlen(name);
	for (const char *at = names; (at = strstr(at, name)); at += len)
		if ((at == names || at[-1] == ',') && (!at[len] || at[len] == ',')) return true;
	return false;
}

int group_dir(const struct group *g, const char *controller, bool *v2)
{
	for (unsigned i = 0; i < g->n; i++)
		if (name_in(g->tree[i].names, controller)) {
			*v2 = g->tree[i].v2;
			return g->tree[i].dir;
		}
	*v2 = false;
	return -1;
}

/* systemd's "slice:prefix:name" as folders, as it would have made them itself. */
static const char *systemd_path(struct group *g, const char *path, const char *id)
{
	char *words = arena_text(g->a, "%s", path), *slice = strsep(&words, ":"),
	     *prefix = strsep(&words, ":");
	const char *name = words && *words ? words : id;
	const char *in = slice && *slice ? slice : "system.slice";
	return prefix && *prefix ? arena_text(g->a, "/%s/%s-%s.scope", in, prefix, name)
				 : arena_text(g->a, "/%s/%s.scope", in, name);
}

static bool leads_up(const char *path)
{
	for (size_t n; *(path += strspn(path, "/")); path += n)
		if ((n = strcspn(path, "/")) == 2 && !strncmp(path, "..", 2)) return true;
	return false;
}

int group_name(struct group *g, const char *path, const char *id, bool systemd, struct err *e)
{
	if (!path || !*path)
		g->path = arena_text(g->a, "/%s", id);
	else if (systemd && strchr(path, ':'))
		g->path = systemd_path(g, path, id);
	else
		g->path = arena_text(g->a, "%s%s", *path == '/' ? "" : "/", path);
	if (leads_up(g->path))
		return fail(e, -EINVAL, "linux.cgroupsPath: %s: leads out of its tree", path);
	if (strlen(g->path) >= PATH_MAX - 64 || !g->path[strspn(g->path, "/")])
		return fail(e, -EINVAL, "linux.cgroupsPath: %s: no such group can be", path);
	return 0;
}

static int beneath(int dir, const char *path)
{
	int fd = sys_openat2(dir, path, O_RDONLY | O_DIRECTORY, 0,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
				     RESOLVE_NO_XDEV);
	return fd < 0 ? -errno : fd;
}

static bool is_group(int dir, bool v2)
{
	struct statfs s;
	return !fstatfs(dir, &s) &&
	       (v2 ? s.f_type == CGROUP2_SUPER_MAGIC : s.f_type == CGROUP_SUPER_MAGIC);
}

/* Version 1 wants a set of CPUs and of memory before anybody may enter. */
static void cpuset_inherit(int parent, int dir)
{
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
	for (unsigned i = 0; i < 2; i++) {
		auto_buf struct buf own = {0}, up = {0};
		if (!group_read(dir, files[i], &own) || (own.len && *own.at != '\n')) continue;
		if (group_read(parent, files[i], &up) && up.len)
			(void)group_write(dir, files[i], up.at);
	}
}

/* Give what this folder has to those below it. Where processes are in it the kernel refuses. */
static void controllers_pass(int dir)
{
	auto_buf struct buf have = {0}, on = {0};
	char word[64], *at, *name;
	if (!group_read(dir, "cgroup.controllers", &have) || !have.len) return;
	(void)group_read(dir, "cgroup.subtree_control", &on);
	have.at[strcspn(have.at, "\n")] = 0;
	for (at = have.at; (name = strsep(&at, " "));) {
		if (!*name || (on.at && strstr(on.at, name) && !strcmp(name, "cpuset"))) continue;
		(void)snprintf(word, sizeof(word), "+%s", name);
		(void)group_write(dir, "cgroup.subtree_control", word);
	}
}

static int step_down(const struct group_tree *t, int parent, const char *name, bool *found)
{
	if (t->v2) controllers_pass(parent);
	*found = mkdirat(parent, name, 0755) != 0;
	if (*found && errno != EEXIST) return -errno;
	int fd = beneath(parent, name);
	if (fd >= 0 && name_in(t->names, "cpuset") && !t->v2) cpuset_inherit(parent, fd);
	return fd;
}

static int tree_make(struct group_tree *t, const char *path)
{
	int dir = dup(t->top);
	bool there = false;
	if (!is_group(dir, t->v2)) {
		(void)close(dir);
		return -EXDEV;
	}
	while (dir >= 0 && *(path += strspn(path, "/"))) {
		char name[NAME_MAX + 1];
		size_t len = strcspn(path, "/");
		int next = -ENAMETOOLONG;
		if (len <= NAME_MAX) {
			(void)snprintf(name, sizeof(name), "%.*s", (int)len, path);
			next = step_down(t, dir, name, &there);
		}
		(void)close(dir);
		dir = next;
		path += len;
	}
	t->dir = dir;
	t->found = there;
	return dir < 0 ? dir : 0;
}

/* Those who are in a group that we found. */
static int others_find(struct group *g, struct err *e)
{
	pid_t *pids;
	unsigned n = group_pids(g, &pids, g->a);
	bool frozen = group_stuck(g);
	g->shared = n || frozen;
	if (frozen)
		return fail(e, -EBUSY, "control group %s: container's cgroup unexpectedly frozen",
			    g->path);
	if (n && !g->quiet)
		oci_log(OCI_WARNING,
			"control group %s: container's cgroup is not empty: %u process(es) found",
			g->path, n);
	return 0;
}

int group_make(struct group *g, struct err *e)
{
	bool found = false;
	for (unsigned i = 0; i < g->n; i++) {
		struct group_tree *t = &g->tree[i];
		int r = tree_make(t, g->path);
		found |= t->found;
		if (!r) continue;
		t->dir = -1;
		if (!want_of_rights(r))
			return fail(e, r, "control group %s%s: %s", t->point, g->path,
				    strerror(-r));
		g->lame = true;
	}
	if (g->lame && !g->quiet)
		oci_log(OCI_WARNING,
			"no rights to some control groups: going on without limits by "
			"them; have %s delegated to this user",
			g->path);
	return found ? others_find(g, e) : 0;
}

void group_open(struct group *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		g->tree[i].dir = beneath(g->tree[i].top, g->path + strspn(g->path, "/"));
		if (g->tree[i].dir < 0) g->tree[i].dir = -1;
	}
}

int group_into(const struct group *g)
{
	for (unsigned i = 0; i < g->n; i++)
		if (g->tree[i].v2) return g->tree[i].dir;
	return -1;
}

/* Into version 1's as a thread that moves itself: only then does the kernel not hold up all
 * forking, which takes an RCU grace period, some 9 ms (kernel/cgroup/cgroup.c,
 * cgroup_procs_write_start()). */
int group_join(const struct group *g, bool v2_too, struct err *e)
{
	for (unsigned i = 0; i < g->n; i++) {
		const struct group_tree *t = &g->tree[i];
		if (t->dir < 0 || (t->v2 && !v2_too)) continue;
		int r = group_write(t->dir, t->v2 ? "cgroup.procs" : "tasks", "0");
		if (r && !(g->lame && want_of_rights(r)))
			return fail(e, r, "control group %s%s: entering it: %s", t->point, g->path,
				    strerror(-r));
	}
	return 0;
}

void group_delegate(const struct group *g, uid_t uid, gid_t gid)
{
	static const char *const files[] = {".", "cgroup.procs", "tasks", "cgroup.threads",
					    "cgroup.subtree_control"};
	for (unsigned i = 0; i < g->n; i++) {
		const struct group_tree *t = &g->tree[i];
		if (t->dir < 0 || (!t->v2 && strcmp(t->names, "name=systemd"))) continue;
		for (unsigned k = 0; k < sizeof(files) / sizeof(files[0]); k++)
			(void)fchownat(t->dir, files[k], uid, gid, AT_SYMLINK_NOFOLLOW);
	}
}

static int tree_descend(struct group_tree *t, const char *path, struct err *e)
{
	int fd = beneath(t->dir, path);
	if (fd < 0)
		return fail(e, -errno,
			    "exec: --cgroup: adding pid to %s/%s/cgroup.procs: no such file or "
			    "folder: %s",
			    t->point, path, strerror(errno));
	(void)close(t->dir);
	t->dir = fd;
	return 0;
}

int group_descend(struct group *g, const char *words, struct err *e)
{
	const char *colon = strchr(words, ':'), *path = colon ? colon + 1 : words;
	bool known = !colon;
	if (leads_up(path))
		return fail(e, -EINVAL, "exec: --cgroup: %s is not a sub cgroup path", path);
	path += strspn(path, "/");
	for (unsigned i = 0; i < g->n; i++) {
		struct group_tree *t = &g->tree[i];
		bool named = false;
		for (const char *at = words; colon && at < colon; at += strcspn(at, ",:") + 1) {
			const char *name = arena_text(g->a, "%.*s", (int)strcspn(at, ",:"), at);
			named |= !t->v2 && name_in(t->names, name);
		}
		if (t->dir < 0 || (colon && !named)) continue;
		known = true;
		int r = *path ? tree_descend(t, path, e) : 0;
		if (r) return r;
	}
	return known ? 0 : fail(e, -EINVAL, "exec: --cgroup: unknown controller %s", words);
}

void group_close(struct group *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		if (g->tree[i].dir >= 0) (void)close(g->tree[i].dir);
		if (g->tree[i].top >= 0) (void)close(g->tree[i].top);
		g->tree[i].dir = g->tree[i].top = -1;
	}
}
