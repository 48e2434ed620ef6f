/* A zone's view of its control groups. With a cgroup namespace of its own it mounts what there is;
 * without one only its own folders are bound there, so that it never sees its neighbours'. */
#include "zone/group.h"
#include "zone/root.h"
#include "zone/sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int fs_finish(int fs, uint64_t attr)
{
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) return -errno;
	int t = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attr);
	return t < 0 ? -errno : t;
}

static int v1_open(const struct group_tree *t, uint64_t attr)
{
	auto_fd int fs = fsopen("cgroup", FSOPEN_CLOEXEC);
	char names[256], *at = names, *name;
	if (fs < 0) return -errno;
	(void)snprintf(names, sizeof(names), "%s", t->names);
	while ((name = strsep(&at, ","))) {
		int r = !strncmp(name, "name=", 5)
				? fsconfig(fs, FSCONFIG_SET_FLAG, "none", NULL, 0) ||
					  fsconfig(fs, FSCONFIG_SET_STRING, "name", name + 5, 0)
				: fsconfig(fs, FSCONFIG_SET_FLAG, name, NULL, 0);
		if (r) return -errno;
	}
	return fs_finish(fs, attr);
}

static int own_open(const struct group_tree *t, uint64_t attr)
{
	if (!t->v2) return v1_open(t, attr);
	auto_fd int fs = fsopen("cgroup2", FSOPEN_CLOEXEC);
	return fs < 0 ? -errno : fs_finish(fs, attr);
}

/* The folder again, through the mounts of the namespace that we are in. */
static int bound_open(const struct group *g, const struct group_tree *t, uint64_t attr)
{
	struct mount_attr a = {.attr_set = attr, .propagation = MS_PRIVATE};
	auto_fd int top = open(t->point, O_PATH | O_DIRECTORY | O_CLOEXEC), dir = -1;
	if (top < 0) return -errno;
	dir = sys_openat2(top, g->path + strspn(g->path, "/"), O_PATH | O_DIRECTORY, 0,
			  RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	if (dir < 0) return -errno;
	int tree = root_copy(dir, false);
	if (tree >= 0 && mount_setattr(tree, "", AT_EMPTY_PATH, &a, sizeof(a))) {
		int r = -errno;
		(void)close(tree);
		return r;
	}
	return tree;
}

static int tree_place(const struct group *g, const struct group_tree *t, bool own, uint64_t attr,
		      int to)
{
	auto_fd int tree = own ? own_open(t, attr) : bound_open(g, t, attr);
	if (own && tree == -EPERM) {
		int again = bound_open(g, t, attr);
		if (again < 0) return again;
		tree = again;
	}
	return tree < 0 ? tree : root_move(tree, to);
}

/* "cpu" for "cpu,cpuacct": people look for a controller by its name. */
static void links_make(int dir, const char *names, const char *base)
{
	char all[256], *at = all, *name;
	if (!strchr(names, ',')) return;
	(void)snprintf(all, sizeof(all), "%s", names);
	while ((name = strsep(&at, ",")))
		if (*name && strcmp(name, base)) (void)symlinkat(base, dir, name);
}

static int many(const struct group *g, bool own, uint64_t attr, int tmpfs, struct err *e)
{
	for (unsigned i = 0; i < g->n; i++) {
		const struct group_tree *t = &g->tree[i];
		const char *base = strrchr(t->point, '/') + 1;
		/* A systemd that finds version 2 looks below it for where /proc/self/cgroup says it
		 * is, which is there in a namespace of its own only; without, it takes version 1.
		 */
		if (t->dir < 0 || !*base || (t->v2 && !own)) continue;
		if (mkdirat(tmpfs, base, 0755)) return fail(e, -errno, "mounts: %s", base);
		auto_fd int to = openat(tmpfs, base, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		int r = tree_place(g, t, own, attr, to);
		if (r) return fail(e, r, "mounts: control group %s: %s", t->point, strerror(-r));
		if (!t->v2) links_make(tmpfs, t->names, base);
	}
	return 0;
}

static int tmpfs_open(int dest, struct err *e)
{
	auto_fd int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int t = fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "755", 0)
			? -errno
			: fs_finish(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	int r = t < 0 ? t : root_move(t, dest);
	if (r) return fail(e, r, "mounts: a folder for control groups: %s", strerror(-r));
	return t;
}

int group_mount(const struct group *g, const struct options *o, const struct spec_mount *m,
		bool own, int dest, struct err *e)
{
	struct mount_attr ro = {.attr_set = o->attr.attr_set & MOUNT_ATTR_RDONLY};
	if (!g->n) return 0;
	if (g->n == 1 && g->tree[0].v2) {
		int r = tree_place(g, &g->tree[0], own, o->attr.attr_set, dest);
		return r ? fail(e, r, "mounts: %s: %s", m->destination, strerror(-r)) : 0;
	}
	auto_fd int tmpfs = tmpfs_open(dest, e);
	if (tmpfs < 0) return tmpfs;
	int r = many(g, own, o->attr.attr_set, tmpfs, e);
	if (!r && ro.attr_set && mount_setattr(tmpfs, "", AT_EMPTY_PATH, &ro, sizeof(ro)))
		r = fail(e, -errno, "mounts: %s: %s", m->destination, strerror(errno));
	return r;
}
