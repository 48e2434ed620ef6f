/* Devices of a zone: the specification's default ones and those of linux.devices, made as nodes, or
 * bound from the host's where a user namespace may make none. */
#include "zone/root.h"
#include "zone/sys.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const struct spec_device usual[] = {
	{"c", "/dev/null", 1, 3, {true, 0666}, 0, 0},
	{"c", "/dev/zero", 1, 5, {true, 0666}, 0, 0},
	{"c", "/dev/full", 1, 7, {true, 0666}, 0, 0},
	{"c", "/dev/tty", 5, 0, {true, 0666}, 0, 0},
	{"c", "/dev/random", 1, 8, {true, 0666}, 0, 0},
	{"c", "/dev/urandom", 1, 9, {true, 0666}, 0, 0},
};
static const struct {
	const char *at, *to;
} links[] = {{"fd", "/proc/self/fd"},
	     {"stdin", "/proc/self/fd/0"},
	     {"stdout", "/proc/self/fd/1"},
	     {"stderr", "/proc/self/fd/2"},
	     {"ptmx", "pts/ptmx"}};

static mode_t node_type(const struct spec_device *d)
{
	return *d->type == 'b' ? S_IFBLK : *d->type == 'p' ? S_IFIFO : S_IFCHR;
}

static int node_bind(struct root *r, const struct spec_device *d, struct err *e)
{
	struct stat st;
	auto_fd int host = open(d->path, O_PATH | O_CLOEXEC);
	if (host < 0) return fail(e, -errno, "device %s: %s", d->path, strerror(errno));
	if (fstat(host, &st) || (st.st_mode & S_IFMT) != node_type(d) ||
	    (node_type(d) != S_IFIFO &&
	     st.st_rdev != makedev((unsigned)d->major, (unsigned)d->minor)))
		return fail(e, -ENODEV,
			    "device %s: the host's is another, and in a user "
			    "namespace none can be made",
			    d->path);
	auto_fd int tree = root_copy(host, false), dest = -1;
	if (tree < 0) return fail(e, tree, "device %s: %s", d->path, strerror(-tree));
	dest = root_make(r->fd, d->path, ROOT_FILE, e);
	if (dest < 0) return dest;
	int c = root_move(tree, dest);
	return c ? fail(e, c, "device %s: %s", d->path, strerror(-c)) : 0;
}

/* There is such a node already: of a /dev that was mounted, for instance. */
static bool node_is(int dir, const char *name, const struct spec_device *d)
{
	struct stat st;
	return !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) &&
	       (st.st_mode & S_IFMT) == node_type(d) &&
	       st.st_rdev == makedev((unsigned)d->major, (unsigned)d->minor);
}

static int node_make(struct root *r, const struct spec_device *d, struct err *e)
{
	const char *name;
	auto_fd int dir = root_parent(r->fd, d->path, &name, e);
	if (dir < 0) return fail_in(e, "device %s", d->path);
	mode_t perm = (mode_t)(d->file_mode.set ? d->file_mode.v & 07777 : 0666);
	if (node_is(dir, name, d)) return 0;
	(void)unlinkat(dir, name, 0);
	if (mknodat(dir, name, node_type(d) | perm,
		    makedev((unsigned)d->major, (unsigned)d->minor)))
		return errno == EPERM ? node_bind(r, d, e)
				      : fail(e, -errno, "device %s: %s", d->path, strerror(errno));
	if (fchmodat(dir, name, perm, 0) ||
	    fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW))
		return fail(e, -errno, "device %s: %s", d->path, strerror(errno));
	return 0;
}

/* Whether the host's /dev, or all of its root, is what the zone has. */
static bool dev_is_hosts(const struct root *r)
{
	for (unsigned i = 0; i < r->spec->mounts.n; i++)
		if (r->src->at[i].o.bind && !strcmp(r->spec->mounts.at[i].destination, "/dev"))
			return true;
	return false;
}

static bool has_mount(const struct root *r, const char *dest)
{
	for (unsigned i = 0; i < r->spec->mounts.n; i++)
		if (!strcmp(r->spec->mounts.at[i].destination, dest)) return true;
	return false;
}

static int links_make(struct root *r, struct err *e)
{
	auto_fd int dev = root_make(r->fd, "/dev", ROOT_DIR, e);
	if (dev < 0) return dev;
	for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		if (!strcmp(links[i].at, "ptmx")) {
			if (!has_mount(r, "/dev/pts")) continue;
			(void)unlinkat(dev, "ptmx", 0);
		}
		if (symlinkat(links[i].to, dev, links[i].at) && errno != EEXIST)
			return fail(e, -errno, "/dev/%s: %s", links[i].at, strerror(errno));
	}
	return 0;
}

int root_devices(struct root *r, struct err *e)
{
	int c = 0;
	if (dev_is_hosts(r)) return 0;
	for (unsigned i = 0; !c && i < sizeof(usual) / sizeof(usual[0]); i++)
		c = r->no_nodes ? node_bind(r, &usual[i], e) : node_make(r, &usual[i], e);
	for (unsigned i = 0; !c && i < r->spec->linux_->devices.n; i++) {
		const struct spec_device *d = &r->spec->linux_->devices.at[i];
		c = r->no_nodes ? node_bind(r, d, e) : node_make(r, d, e);
	}
	return c ? c : links_make(r, e);
}

int root_console(struct root *r, int slave, struct err *e)
{
	auto_fd int tree = root_copy(slave, false), dest = -1;
	if (tree < 0) return fail(e, tree, "/dev/console: %s", strerror(-tree));
	dest = root_make(r->fd, "/dev/console", ROOT_FILE, e);
	if (dest < 0) return dest;
	int c = root_move(tree, dest);
	return c ? fail(e, c, "/dev/console: %s", strerror(-c)) : 0;
}
