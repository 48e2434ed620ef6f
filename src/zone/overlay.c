/* Layers of an image as one file system (overlayfs). They are named by descriptors: no path is
 * looked up by the kernel that anybody could change, and none has to be reachable from inside. */
#include "base/buf.h"
#include "base/own.h"
#include "zone/disk.h"
#include "zone/root.h"
#include "zone/sys.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>

bool kernel_has(unsigned major, unsigned minor)
{
	struct utsname u;
	unsigned a = 0, b = 0;
	if (uname(&u) || sscanf(u.release, "%u.%u", &a, &b) != 2) return false;
	return a > major || (a == major && b >= minor);
}

/* A detached copy of the folder's mount, whose ids are those of the namespace. */
static int tree_open(int folder, int ids, struct err *e)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)ids};
	int t = open_tree(folder, "",
			  (unsigned)AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (t < 0) return fail(e, -errno, "the root's layers: %s", strerror(errno));
	if (!mount_setattr(t, "", AT_EMPTY_PATH, &a, sizeof(a))) return t;
	int c = fail(e, -errno, "the root's layers: mapping their ids: %s", strerror(errno));
	(void)close(t);
	return c;
}

static int put_fd(int fs, const char *key, int fd, struct err *e)
{
	char path[32];
	if (!fsconfig(fs, FSCONFIG_SET_FD, key, NULL, fd)) return 0;
	if (errno != EINVAL && errno != EBADF) return mount_words(fs, key, e);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* before Linux 6.13 */
	return fsconfig(fs, FSCONFIG_SET_STRING, key, path, 0) ? mount_words(fs, key, e) : 0;
}

/* Descriptors that are open until the file system is there: a detached mount goes with its own. */
enum { LAYERS = 130, TREES = 2 * LAYERS + 3 };
struct trees {
	int at[TREES];
	unsigned n;
	int lower[LAYERS]; /* the highest first */
	unsigned nlower;
	int upper, work;
};

static int keep(struct trees *t, int fd)
{
	if (fd >= 0 && t->n < TREES) return t->at[t->n++] = fd;
	if (fd >= 0) (void)close(fd);
	return fd < 0 ? fd : -EMFILE;
}

static void trees_close(struct trees *t)
{
	while (t->n) (void)close(t->at[--t->n]);
}

static int lower_add(struct trees *t, int fd)
{
	if (fd >= 0 && t->nlower < LAYERS) t->lower[t->nlower++] = fd;
	return fd < 0 ? fd : 0;
}

static int layer_open(struct trees *t, const char *path, int ids, struct err *e)
{
	int dir = keep(t, open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (dir < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	if (ids >= 0 && (dir = keep(t, tree_open(dir, ids, e))) < 0) return e->code;
	return lower_add(t, dir);
}

/* The topmost folder is the zone's "/": it looks as the image's does, which is at top. What is
 * written has the ids that it has on this host: who mounts the layers could not make files of a
 * mapped folder's. */
static int upper_make(int folder, int top, struct err *e)
{
	struct stat st;
	if (mkdirat(folder, "work", 0700) && errno != EEXIST)
		return fail(e, -errno, "the zone's folder: %s", strerror(errno));
	if (!mkdirat(folder, "upper", 0755)) {
		if (fstat(top, &st) || fchownat(folder, "upper", st.st_uid, st.st_gid, 0) ||
		    fchmodat(folder, "upper", st.st_mode & 07777, 0))
			return fail(e, -errno, "the zone's folder: %s", strerror(errno));
		return 0;
	}
	return errno == EEXIST ? 0 : fail(e, -errno, "the zone's folder: %s", strerror(errno));
}

/* The same folder, by a mount of our own namespace. */
static int folder_again(int folder)
{
	char self[32], path[PATH_MAX];
	struct stat a, b;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", folder);
	ssize_t n = readlink(self, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &a) && !fstat(folder, &b) && a.st_ino == b.st_ino &&
	    a.st_dev == b.st_dev)
		return fd;
	if (fd >= 0) (void)close(fd);
	return -1;
}

static int upper_open(struct trees *t, const struct overlay *o, bool own, struct err *e)
{
	const int how = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int folder = o->folder;
	if (!t->nlower) return fail(e, -EINVAL, "the root's layers: there are none");
	if (o->storage && (folder = keep(t, storage_mount(o->folder, o->storage, e))) < 0)
		return folder;
	if (!o->storage && own) folder = keep(t, folder_again(folder));
	int r = upper_make(folder, t->lower[0], e);
	if (r) return r;
	t->upper = keep(t, openat(folder, "upper", how));
	t->work = keep(t, openat(folder, "work", how));
	return t->upper < 0 || t->work < 0
		       ? fail(e, -errno, "the zone's folder: %s", strerror(errno))
		       : 0;
}

static int trees_open(struct trees *t, const struct overlay *o, int ids, bool own, struct err *e)
{
	int r = 0;
	for (unsigned i = o->n; !r && i; i--) r = layer_open(t, o->layer[i - 1], ids, e);
	if (!r && o->disk) r = lower_add(t, keep(t, disk_mount(o->disk, true, ids, e)));
	return r ? r : upper_open(t, o, own, e);
}

/* ---- the mount, in two ways */
static int mount_new(const struct trees *t, bool user, struct err *e)
{
	int r = 0;
	auto_fd int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0) return fail(e, -errno, "the root's layers: overlayfs: %s", strerror(errno));
	for (unsigned i = 0; !r && i < t->nlower; i++) r = put_fd(fs, "lowerdir+", t->lower[i], e);
	if (!r) r = put_fd(fs, "upperdir", t->upper, e);
	if (!r) r = put_fd(fs, "workdir", t->work, e);
	if (r) return r;
	if (user && fsconfig(fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0))
		return mount_words(fs, "userxattr", e);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return mount_words(fs, "overlayfs", e);
	int m = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
	return m < 0 ? mount_words(fs, "overlayfs", e) : m;
}

/* At a place that is ours alone, and then without it. Where the host's mounts are shared, as
 * systemd's are, this namespace's are so too, until that is ended: it would be the host's place. */
static int mount_old(const struct trees *t, bool user, struct err *e)
{
	static const char place[] = "/etc";
	struct mount_attr slave = {.propagation = MS_SLAVE};
	auto_buf struct buf b = {0};
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &slave, sizeof(slave)))
		return fail(e, -errno, "the root's layers: mounts of our own: %s", strerror(errno));
	for (unsigned i = 0; i < t->nlower; i++)
		buf_fmt(&b, "%s/proc/self/fd/%d", i ? ":" : "lowerdir=", t->lower[i]);
	buf_fmt(&b, ",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d%s", t->upper, t->work,
		user ? ",userxattr" : "");
	if (mount("overlay", place, "overlay", MS_NODEV, b.at))
		return fail(e, -errno, "the root's layers: overlayfs: %s", strerror(errno));
	int m = open_tree(AT_FDCWD, place, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), code = errno;
	(void)umount2(place, MNT_DETACH);
	return m < 0 ? fail(e, -code, "the root's layers: %s", strerror(code)) : m;
}

int overlay_mount(const struct overlay *o, int ids, bool own, bool user, struct err *e)
{
	struct trees t = {.n = 0};
	bool old = !kernel_has(6, 5);
	if (old && !own) return -EAGAIN;
	int r = trees_open(&t, o, ids, own, e);
	if (!r) r = old ? mount_old(&t, user, e) : mount_new(&t, user, e);
	trees_close(&t);
	return r;
}
