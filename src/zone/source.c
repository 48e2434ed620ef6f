/* Opening what is mounted, while nothing has been made yet. Copies of the host's mounts are cut off
 * from the host's propagation at once, unless it was asked for. */
#include "zone/id.h"
#include "zone/root.h"
#include "zone/sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static bool for_want_of_rights(int code)
{
	return code == -EPERM || code == -EINVAL || code == -EACCES;
}

static int tree_settle(int tree, uint64_t propagation, bool deep)
{
	struct mount_attr p = {.propagation = propagation ? propagation : MS_PRIVATE};
	unsigned flags = AT_EMPTY_PATH | (deep || !propagation ? AT_RECURSIVE : 0u);
	return mount_setattr(tree, "", flags, &p, sizeof(p)) ? -errno : 0;
}

/* By the mount's own mappings, or the zone's where an option says so. */
static int source_idmap(struct root *r, const struct spec_mount *m, struct source *s, struct err *e)
{
	const struct spec_linux *l = r->spec->linux_;
	if (!m->uid_mappings.n && !s->o.idmap && !s->o.ridmap) return 0;
	bool own = m->uid_mappings.n;
	auto_fd int ns = id_namespace(own ? m->uid_mappings.at : l->uid_mappings.at,
				      own ? m->uid_mappings.n : l->uid_mappings.n,
				      own ? m->gid_mappings.at : l->gid_mappings.at,
				      own ? m->gid_mappings.n : l->gid_mappings.n, e);
	if (ns < 0) return ns;
	struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)ns};
	if (mount_setattr(s->tree, "", AT_EMPTY_PATH | (s->o.ridmap ? AT_RECURSIVE : 0u), &a,
			  sizeof(a)))
		return fail(e, -errno, "mounts: %s: mapping its ids: %s", m->destination,
			    strerror(errno));
	return 0;
}

static int bind_open(struct root *r, const struct spec_mount *m, struct source *s, bool last,
		     struct err *e)
{
	struct stat st;
	if (!m->source || !*m->source)
		return fail(e, -EINVAL, "mounts: %s: a bind without a source", m->destination);
	const char *path =
		*m->source == '/' ? m->source : arena_text(r->a, "%s/%s", r->bundle, m->source);
	if (stat(path, &st))
		return fail(e, -errno, "mounts: %s: source %s: %s", m->destination, path,
			    strerror(errno));
	s->dir = S_ISDIR(st.st_mode);
	s->tree = open_tree(AT_FDCWD, path,
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (s->o.deep ? AT_RECURSIVE : 0u));
	if (s->tree < 0 && !last && for_want_of_rights(-errno)) return 0;
	if (s->tree < 0)
		return fail(e, -errno, "mounts: %s: source %s: %s", m->destination, path,
			    strerror(errno));
	int c = tree_settle(s->tree, s->o.propagation, s->o.propagation_deep);
	if (c) return fail(e, c, "mounts: %s: propagation: %s", m->destination, strerror(-c));
	return source_idmap(r, m, s, e);
}

static int null_open(struct sources *s, struct err *e)
{
	struct stat st;
	s->null = open("/dev/null", O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (s->null < 0 || fstat(s->null, &st) || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != makedev(1, 3))
		return fail(e, -ENODEV, "/dev/null is not the null device here");
	return 0;
}

/* With rights of root's the layers are laid over each other outside, and their ids are those of the
 * zone's namespace; without, inside, where they are its own anyway. */
static int layers_open(struct root *r, bool last, struct err *e)
{
	const struct spec_linux *l = r->spec->linux_;
	bool mapped = r->spec->new_ns & CLONE_NEWUSER;
	if (!last && geteuid()) return 0;
	auto_fd int ids = -1;
	if (!last && mapped)
		ids = id_namespace(l->uid_mappings.at, l->uid_mappings.n, l->gid_mappings.at,
				   l->gid_mappings.n, e);
	if (!last && mapped && ids < 0) return ids;
	int c = overlay_mount(r->over, ids, last, last && mapped, e);
	if (c == -EAGAIN && !last) return 0;
	if (c < 0) return c;
	r->src->root = c;
	return 0;
}

static int rootfs_open(struct root *r, bool last, struct err *e)
{
	struct stat st;
	if (r->over) return layers_open(r, last, e);
	if (stat(r->path, &st))
		return fail(e, -errno, "root.path: %s: %s", r->path, strerror(errno));
	if (!S_ISDIR(st.st_mode)) return fail(e, -ENOTDIR, "root.path: %s: no folder", r->path);
	r->src->root =
		open_tree(AT_FDCWD, r->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (r->src->root < 0 && !last && for_want_of_rights(-errno)) return 0;
	if (r->src->root < 0) return fail(e, -errno, "root.path: %s: %s", r->path, strerror(errno));
	int c = tree_settle(r->src->root, 0, true);
	return c ? fail(e, c, "root.path: %s: propagation: %s", r->path, strerror(-c)) : 0;
}

int sources_open(struct root *r, bool last, struct err *e)
{
	struct sources *s = r->src;
	int c = 0;
	if (!last) {
		*s = (struct sources){arena_make(r->a, struct source, r->spec->mounts.n), -1, -1};
		for (unsigned i = 0; i < r->spec->mounts.n; i++) s->at[i].tree = -1;
	}
	/* What was opened outside belongs to the host's mounts: a copy can be made of our own only.
	 */
	if (s->null >= 0) (void)close(s->null);
	if ((c = null_open(s, e))) return c;
	if (s->root < 0 && (c = rootfs_open(r, last, e))) return c;
	for (unsigned i = 0; !c && i < r->spec->mounts.n; i++) {
		const struct spec_mount *m = &r->spec->mounts.at[i];
		if (!last && (c = options_parse(&s->at[i].o, m, r->a, e))) return c;
		if (s->at[i].o.bind && s->at[i].tree < 0) c = bind_open(r, m, &s->at[i], last, e);
	}
	return c;
}

void sources_close(struct root *r)
{
	struct sources *s = r->src;
	for (unsigned i = 0; i < r->spec->mounts.n; i++) {
		drop_fd(&s->at[i].tree);
		s->at[i].tree = -1;
	}
	drop_fd(&s->root);
	drop_fd(&s->null);
	s->root = s->null = -1;
}
