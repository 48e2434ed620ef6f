/* From a folder to a zone's "/": mounts in the order of config.json. */
#include "zone/root.h"
#include "zone/sys.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int root_cut(struct err *e)
{
	struct mount_attr slave = {.propagation = MS_SLAVE};
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &slave, sizeof(slave)))
		return fail(e, -errno, "cutting our mounts off the host's: %s", strerror(errno));
	return 0;
}

int root_attach(struct root *r, struct err *e)
{
	bool deep;
	const char *p = r->spec->linux_->rootfs_propagation;
	if (p && *p && !options_propagation(p, &deep))
		return fail(e, -EINVAL, "linux.rootfsPropagation: %s: no such word", p);
	/* Layers come from anywhere: a folder that is on every host is covered, and one that
	 * nothing is taken from any more. */
	auto_fd int at = open(r->over ? "/etc" : r->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0) return fail(e, -errno, "root.path: %s: %s", r->path, strerror(errno));
	int c = root_move(r->src->root, at);
	if (c) return fail(e, c, "root.path: %s: mounting it: %s", r->path, strerror(-c));
	r->fd = r->src->root;
	return 0;
}

/* The words that a file system left in its context, for people. */
static const char *fs_words(int fs, char *to, size_t room)
{
	int code = errno;
	ssize_t n = read(fs, to, room - 1);
	if (n <= 2) return strerror(code);
	to[n] = 0;
	to[strcspn(to, "\n")] = 0;
	return to + 2;
}

static int fs_option(int fs, const char *word)
{
	char key[64];
	const char *eq = strchr(word, '=');
	if (!eq) return fsconfig(fs, FSCONFIG_SET_FLAG, word, NULL, 0);
	(void)snprintf(key, sizeof(key), "%.*s", (int)(eq - word), word);
	return fsconfig(fs, FSCONFIG_SET_STRING, key, eq + 1, 0);
}

/* A mount of a file system of that type, detached; negative: words in e. */
static int fs_new(const char *type, const struct spec_mount *m, const struct options *o,
		  struct err *e)
{
	char words[256];
	auto_fd int fs = fsopen(type, FSOPEN_CLOEXEC);
	if (fs < 0)
		return fail(e, -errno, "mounts: %s: file system %s: %s", m->destination, type,
			    strerror(errno));
	if (m->source && *m->source && fsconfig(fs, FSCONFIG_SET_STRING, "source", m->source, 0))
		return fail(e, -errno, "mounts: %s: source %s: %s", m->destination, m->source,
			    fs_words(fs, words, sizeof(words)));
	for (unsigned i = 0; i < o->data.n; i++)
		if (fs_option(fs, o->data.at[i]))
			return fail(e, -errno, "mounts: %s: option %s: %s", m->destination,
				    o->data.at[i], fs_words(fs, words, sizeof(words)));
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return fail(e, -errno, "mounts: %s: file system %s: %s", m->destination, type,
			    fs_words(fs, words, sizeof(words)));
	int t = fsmount(fs, FSMOUNT_CLOEXEC,
			(unsigned)(o->attr.attr_set & ~(o->copy_up ? MOUNT_ATTR_RDONLY : 0u)));
	if (t < 0)
		return fail(e, -errno, "mounts: %s: file system %s: %s", m->destination, type,
			    fs_words(fs, words, sizeof(words)));
	return t;
}

static int attrs_set(int tree, const struct spec_mount *m, const struct options *o, struct err *e)
{
	const struct mount_attr *one = &o->attr, *all = &o->recursive;
	if ((o->bind || o->copy_up) && (one->attr_set || one->attr_clr) &&
	    mount_setattr(tree, "", AT_EMPTY_PATH, (struct mount_attr *)one, sizeof(*one)))
		return fail(e, -errno, "mounts: %s: options: %s", m->destination, strerror(errno));
	if ((all->attr_set || all->attr_clr) &&
	    mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, (struct mount_attr *)all,
			  sizeof(*all)))
		return fail(e, -errno, "mounts: %s: options: %s", m->destination, strerror(errno));
	return 0;
}

static int propagation_set(int tree, const struct spec_mount *m, const struct options *o,
			   struct err *e)
{
	struct mount_attr p = {.propagation = o->propagation};
	if (!o->propagation) return 0;
	if (mount_setattr(tree, "", AT_EMPTY_PATH | (o->propagation_deep ? AT_RECURSIVE : 0u), &p,
			  sizeof(p)))
		return fail(e, -errno, "mounts: %s: propagation: %s", m->destination,
			    strerror(errno));
	return 0;
}

/* tmpcopyup: the new file system begins with what it covers, and looks like it. */
static int copied_up(const struct spec_mount *m, int dest, int tree, struct err *e)
{
	struct stat st;
	if (fstat(dest, &st) || fchmodat(tree, ".", st.st_mode & 07777, 0) ||
	    fchownat(tree, ".", st.st_uid, st.st_gid, 0))
		return fail(e, -errno, "mounts: %s: tmpcopyup: %s", m->destination,
			    strerror(errno));
	int r = root_copy_up(dest, tree, 0);
	return r ? fail(e, r, "mounts: %s: tmpcopyup: %s", m->destination, strerror(-r)) : 0;
}

/* The host's folder, for file systems that this user namespace may not mount. */
static int fs_instead(const char *type, struct err *e)
{
	const char *path = !strcmp(type, "sysfs") ? "/sys" : "/dev/mqueue";
	int t = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (t < 0)
		return fail(e, -errno,
			    "mounts: %s of the host's, since this user namespace may "
			    "mount none: %s",
			    path, strerror(errno));
	return t;
}

static int fs_mount(struct root *r, const struct spec_mount *m, struct source *s, int dest,
		    struct err *e)
{
	const char *type = m->type && *m->type ? m->type : "none";
	s->late = !strcmp(type, "tmpfs") && !s->o.copy_up && s->o.attr.attr_set & MOUNT_ATTR_RDONLY;
	if (s->late) s->o.attr.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	auto_fd int t = fs_new(type, m, &s->o, e);
	if (t < 0 && e->code == -EPERM && r->no_nodes &&
	    (!strcmp(type, "sysfs") || !strcmp(type, "mqueue"))) {
		t = fs_instead(type, e);
		s->o.bind = true;
	}
	if (t < 0) return e->code;
	int c;
	if (s->o.copy_up && (c = copied_up(m, dest, t, e))) return c;
	if ((c = attrs_set(t, m, &s->o, e))) return c;
	c = root_move(t, dest);
	if (c) return fail(e, c, "mounts: %s: %s", m->destination, strerror(-c));
	if ((c = propagation_set(t, m, &s->o, e)) || !s->late) return c;
	s->tree = t;
	t = -1;
	return 0;
}

static int bind_mount(const struct spec_mount *m, struct source *s, int dest, struct err *e)
{
	int c = attrs_set(s->tree, m, &s->o, e);
	if (c) return c;
	c = root_move(s->tree, dest);
	if (c) return fail(e, c, "mounts: %s: %s", m->destination, strerror(-c));
	return 0;
}

static bool is_group_fs(const struct spec_mount *m)
{
	return m->type && (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2"));
}

/* "/dev" of an image that is a link would have us make devices elsewhere (CVE-2026-41579), and what
 * is masked in "/proc" and "/sys" would not be where programs look (CVE-2019-19921). */
static int own_are_no_links(struct root *r, struct err *e)
{
	static const char *const names[] = {"dev", "proc", "sys"};
	struct stat st;
	for (unsigned i = 0; i < 3; i++)
		if (!fstatat(r->fd, names[i], &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode))
			return fail(e, -ENOTDIR,
				    "root.path: %s: its /%s must be mounted on ordinary directory",
				    r->path, names[i]);
	return 0;
}

static int mount_one(struct root *r, unsigned i, struct err *e)
{
	const struct spec_mount *m = &r->spec->mounts.at[i];
	struct source *s = &r->src->at[i];
	enum root_kind kind = s->o.bind && !s->dir ? ROOT_FILE : ROOT_DIR;
	auto_fd int dest = root_make(r->fd, m->destination, kind, e);
	if (dest < 0) return fail_in(e, "mounts: %s", m->destination);
	if (s->o.bind) return bind_mount(m, s, dest, e);
	if (!is_group_fs(m)) return fs_mount(r, m, s, dest, e);
	return r->group_mount(r->ctx, s, m, dest, e);
}

int root_mounts(struct root *r, struct err *e)
{
	int c = own_are_no_links(r, e);
	for (unsigned i = 0; !c && i < r->spec->mounts.n; i++) c = mount_one(r, i, e);
	return c;
}

int root_enter(struct root *r, struct err *e)
{
	bool deep = false;
	const char *word = r->spec->linux_->rootfs_propagation;
	struct mount_attr p = {.propagation = word && *word ? options_propagation(word, &deep) : 0};
	if (fchdir(r->fd)) return fail(e, -errno, "entering the root: %s", strerror(errno));
	if (r->no_pivot) {
		/* The host's stay below ours: what they show whole, a user namespace may mount
		 * anew. */
		for (unsigned i = 0; i < 16 && !umount2("/proc", MNT_DETACH); i++) {
		}
		for (unsigned i = 0; i < 16 && !umount2("/sys", MNT_DETACH); i++) {
		}
		if (mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
			return fail(e, -errno, "entering the root: %s", strerror(errno));
	} else if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) {
		return fail(e, -errno, "entering the root: pivot_root: %s", strerror(errno));
	}
	if (p.propagation && mount_setattr(AT_FDCWD, "/", deep ? AT_RECURSIVE : 0u, &p, sizeof(p)))
		return fail(e, -errno, "linux.rootfsPropagation: %s", strerror(errno));
	return 0;
}
