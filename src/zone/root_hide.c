/* What a zone may not see or change although it is mounted there: paths of linux.maskedPaths and
 * linux.readonlyPaths, found inside the root and covered through their descriptors. A file is
 * covered by the null device that sources_open() found and looked at; never by one that the zone
 * has (CVE-2025-31133). */
#include "zone/root.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int dir_cover(struct err *e)
{
	auto_fd int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return fail(e, -errno, "linux.maskedPaths: tmpfs: %s", strerror(errno));
	int t = fsmount(fs, FSMOUNT_CLOEXEC,
			MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				MOUNT_ATTR_NOEXEC);
	return t < 0 ? fail(e, -errno, "linux.maskedPaths: tmpfs: %s", strerror(errno)) : t;
}

/* Of one empty folder copies are made: a file system for each would cost more. */
static int cover(const struct root *r, bool dir, int *tmpfs, struct err *e)
{
	if (!dir) {
		int t = root_copy(r->src->null, false);
		return t < 0 ? fail(e, t, "linux.maskedPaths: %s", strerror(-t)) : t;
	}
	if (*tmpfs < 0) return *tmpfs = dir_cover(e);
	int t = root_copy(*tmpfs, false);
	return t < 0 ? dir_cover(e) : t;
}

static int mask(const struct root *r, const char *path, int *tmpfs, struct err *e)
{
	struct stat st;
	auto_fd int at = root_find(r->fd, path);
	if (at == -ENOENT || at == -EACCES || at == -ENOTDIR) return 0;
	if (at < 0 || fstat(at, &st))
		return fail(e, at < 0 ? at : -errno, "linux.maskedPaths: %s: %s", path,
			    strerror(at < 0 ? -at : errno));
	int t = cover(r, S_ISDIR(st.st_mode), tmpfs, e);
	if (t < 0) return t;
	int c = root_move(t, at);
	if (t != *tmpfs) (void)close(t);
	return c ? fail(e, c, "linux.maskedPaths: %s: %s", path, strerror(-c)) : 0;
}

static int freeze_path(const struct root *r, const char *path, struct err *e)
{
	struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
	auto_fd int at = root_find(r->fd, path), tree = -1;
	if (at == -ENOENT || at == -ENOTDIR) return 0;
	if (at < 0) return fail(e, at, "linux.readonlyPaths: %s: %s", path, strerror(-at));
	tree = root_copy(at, true);
	if (tree < 0) return fail(e, tree, "linux.readonlyPaths: %s: %s", path, strerror(-tree));
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &ro, sizeof(ro)))
		return fail(e, -errno, "linux.readonlyPaths: %s: %s", path, strerror(errno));
	int c = root_move(tree, at);
	return c ? fail(e, c, "linux.readonlyPaths: %s: %s", path, strerror(-c)) : 0;
}

int root_hide(struct root *r, struct err *e)
{
	const struct spec_linux *l = r->spec->linux_;
	struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
	auto_fd int tmpfs = -1;
	int c = 0;
	for (unsigned i = 0; !c && i < l->readonly_paths.n; i++)
		c = freeze_path(r, l->readonly_paths.at[i], e);
	for (unsigned i = 0; !c && i < l->masked_paths.n; i++)
		c = mask(r, l->masked_paths.at[i], &tmpfs, e);
	for (unsigned i = 0; !c && i < r->spec->mounts.n; i++) {
		const struct source *s = &r->src->at[i];
		if (s->late && mount_setattr(s->tree, "", AT_EMPTY_PATH, &ro, sizeof(ro)))
			c = fail(e, -errno, "mounts: %s: read-only: %s",
				 r->spec->mounts.at[i].destination, strerror(errno));
	}
	if (c || !r->spec->root->readonly) return c;
	if (mount_setattr(r->fd, "", AT_EMPTY_PATH, &ro, sizeof(ro)))
		return fail(e, -errno, "root.readonly: %s", strerror(errno));
	return 0;
}
