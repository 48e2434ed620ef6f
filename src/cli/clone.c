/* lodge clone: another guest that holds what one holds, and is not it. What both only read is
 * shared by links and layers; who it is (id, and with it MAC addresses and UUID) is made anew. A
 * clone is there when its record is: that is written last. */
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/held.h"
#include "cli/kept.h"
#include "guest/discs.h"
#include "guest/look.h"
#include "guest/spec.h"
#include "guest/tags.h"
#include "store/blob.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct clone_opts {
	const char *tag;
	bool start;
};
static const struct opt clone_table[] = {
	{"start", 's', OPT_FLAG, offsetof(struct clone_opts, start), NULL,
	 "Run it: from that snapshot, or else booted.", NULL},
	{"tag", 't', OPT_TEXT, offsetof(struct clone_opts, tag), "TAG",
	 "Clone the guest as it was in that snapshot, also while it runs.", NULL},
	{0},
};
static const struct clone_opts clone_defaults;

struct clone {
	struct store *store;
	struct held held;
	struct kept to;
	char name[64]; /* of from, which need not be locked */
	const char *tag;
	char *dir; /* of that snapshot */
	bool fresh;
};

static char *path_in(const struct clone *c, const char *name, const char *rest)
{
	char *path;
	must(asprintf(&path, "%s/guests/%s/%s", store_root(c->store), name, rest) > 0);
	return path;
}

/* ---- from what ---- */
/* Files of this host's can be copied while the guest stands; its disks can not. */
static int lock_source(struct clone *c, struct err *e)
{
	bool files = files_of(&c->held.kept);
	kept_done(&c->held.kept);
	int r = files ? held_take(&c->held, c->name, e)
		      : kept_lock(&c->held.kept, c->name, false, e);
	if (r == -EBUSY)
		return fail(e, r,
			    "guest %s is in use; save it and clone that: lodge snapshot %s TAG, "
			    "lodge clone --tag TAG",
			    c->name, c->name);
	return r;
}

static int source(struct clone *c, const char *word, struct err *e)
{
	struct tag t;
	int r = look_find(c->store, word, c->name, e);
	if (!r && c->tag) r = tag_find(c->store, c->name, c->tag, &t, &c->dir, e);
	if (!r) r = held_look(&c->held.kept, c->name, e);
	return r || c->tag ? r : lock_source(c, e); /* with a tag nothing of its own is touched */
}

/* ---- to what ---- */
static int target(struct clone *c, const char *name, struct err *e)
{
	int fd;
	if (!store_name_ok(name) || !strncmp(name, GUEST_NAMELESS, strlen(GUEST_NAMELESS)))
		return fail(e, -EINVAL, "'%s' cannot be the name of a guest", name);
	if (!store_guest_look(c->store, name, &fd, NULL)) {
		(void)close(fd);
		return fail(e, -EEXIST, "there is a guest named '%s' already", name);
	}
	int r = kept_lock(&c->to, name, true, e);
	c->fresh = !r;
	record_id_make(c->to.record.id);
	c->to.record.spec.kind = c->held.kept.record.spec.kind;
	return r;
}

static int own_disk(struct clone *c, struct err *e)
{
	auto_mem char *raw = NULL, *layer = NULL;
	if (!c->tag) return store_guest_layer_share(c->store, c->name, c->to.name, e);
	must(asprintf(&raw, "%s/disk0", c->dir) > 0 && asprintf(&layer, "%s.qcow2", raw) > 0);
	bool layered = file_exists(layer);
	return store_guest_layer_over(c->store, c->name, c->to.name, layered ? layer : raw, layered,
				      e);
}

/* Of a kind that has no disks. */
static int own_files(struct clone *c, struct err *e)
{
	struct kept *from = &c->held.kept;
	auto_mem char *saved = c->tag ? text_format("snapshots/%s", c->tag) : NULL;
	struct guest_files a = files_at(from, saved), b = files_at(&c->to, NULL);
	b.spec = a.spec;
	int r = files_of(from)->copy(&a, &b, e);
	return r ? r : held_check(&c->held, e);
}

/* Made from an image: so it has a disk of its own, which is the first. */
static int image(struct clone *c, unsigned *first, struct err *e)
{
	struct image im;
	int r = store_guest_image_find(c->store, c->name, &im, e);
	if (r) return r == -ENOENT && !c->held.kept.record.spec.image ? 0 : r;
	r = store_guest_image(c->store, c->to.name, &im, e);
	bool files = files_of(&c->held.kept);
	*first = im.disk.path != NULL && !files;
	if (!r && *first) r = own_disk(c, e);
	if (!r && files) r = own_files(c, e);
	image_done(&im);
	return r;
}

/* A disk of the owner's: nobody knows who else uses it, so it is copied. */
static int disk_copy(struct clone *c, struct spec_disk *d, unsigned n, struct arena *a,
		     struct err *e)
{
	auto_mem char *saved = NULL, *to = NULL;
	enum { ROOM = 32 };
	char *own = arena_make(a, char, ROOM);
	(void)snprintf(own, ROOM, SPEC_OWN "disk%u", n);
	to = path_in(c, c->to.name, own + strlen(SPEC_OWN));
	if (d->backing)
		return fail(e, -ENOTSUP,
			    "disk %s lies over others of yours: convert it first (lodge image "
			    "convert), or give it ,ro",
			    d->path);
	if (c->tag) must(asprintf(&saved, "%s/%s", c->dir, tag_disk(d, n).name) > 0);
	int r = blob_copy(saved ? saved : d->path, to, e);
	d->path = own;
	return r;
}

static int disks(struct clone *c, struct spec *s, unsigned first, struct arena *a, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; !r && i < s->ndisks; i++)
		if (!s->disk[i].readonly) r = disk_copy(c, &s->disk[i], i + first, a, e);
	return r;
}

/* Boot files in the source's own folder, which may go. */
static int file_share(struct clone *c, const char *path, struct err *e)
{
	if (!path || strncmp(path, SPEC_OWN, strlen(SPEC_OWN)) != 0) return 0;
	auto_mem char *from = path_in(c, c->name, path + strlen(SPEC_OWN));
	auto_mem char *to = path_in(c, c->to.name, path + strlen(SPEC_OWN));
	return link(from, to) ? fail(e, -errno, "%s: %s", from, strerror(errno)) : 0;
}

/* Firmware's variables, which are the guest's own once it has run. */
static int vars(struct clone *c, struct err *e)
{
	auto_mem char *from = NULL, *to = path_in(c, c->to.name, TAG_VARS);
	if (c->tag)
		must(asprintf(&from, "%s/" TAG_VARS, c->dir) > 0);
	else
		from = path_in(c, c->name, TAG_VARS);
	return c->held.kept.record.spec.vars && file_exists(from) ? blob_copy(from, to, e) : 0;
}

static int files(struct clone *c, const struct spec *s, struct err *e)
{
	int r = vars(c, e);
	if (!r) r = file_share(c, s->kernel, e);
	if (!r) r = file_share(c, s->initrd, e);
	return r ? r : file_share(c, s->firmware, e);
}

/* ---- a snapshot of its own, that shares the other's bytes ---- */
static int saved_share(struct clone *c, const char *draft, const char *name, struct err *e)
{
	auto_mem char *from = NULL, *to = NULL;
	must(asprintf(&from, "%s/%s", c->dir, name) > 0);
	must(asprintf(&to, "%s/%s", draft, name) > 0);
	if (!link(from, to) || errno == ENOENT) return 0;
	return fail(e, -errno, "%s: %s", from, strerror(errno));
}

static int saved_all(struct clone *c, const char *draft, struct err *e)
{
	int r = dir_make(draft, e);
	if (!r) r = saved_share(c, draft, "state", e);
	if (!r) r = saved_share(c, draft, TAG_VARS, e);
	if (!r) r = saved_share(c, draft, "state.seen", e);
	for (unsigned i = 0; !r && i < SPEC_DISKS; i++) {
		struct spec_disk plain = {0}, layer = {.backing = true, .format = "qcow2"};
		r = saved_share(c, draft, tag_disk(&plain, i).name, e);
		if (!r) r = saved_share(c, draft, tag_disk(&layer, i).name, e);
	}
	return r;
}

static int saved(struct clone *c, struct err *e)
{
	auto_mem char *draft = NULL;
	if (!c->tag || files_of(&c->held.kept)) return 0;
	int r = tag_begin(c->store, c->to.name, c->tag, &draft, e);
	if (!r) r = saved_all(c, draft, e);
	if (!r) r = discs_share(c->held.kept.folder, c->tag, c->to.folder, e);
	if (!r) r = tag_keep(c->store, c->to.name, c->tag, draft, e);
	return r;
}

/* ---- who it is ---- */
static int record(struct clone *c, const struct spec *s, struct err *e)
{
	auto_buf struct buf b = {0};
	struct record made = {.created = (int64_t)time(NULL), .spec = *s};
	memcpy(made.id, c->to.record.id, sizeof(made.id));
	record_format(&made, &b);
	record_done(&c->to.record);
	int r = record_parse(&c->to.record, b.at, b.len, e);
	return r ? r : record_write(&c->to.record, c->to.folder, e);
}

static int make(struct clone *c, struct err *e)
{
	struct spec s = c->held.kept.record.spec;
	unsigned first = 0;
	c->held.kept.spec = s;
	kept_own_paths(&c->held.kept);
	for (unsigned i = 0; i < s.ndisks; i++)
		if (!s.disk[i].readonly) s.disk[i].path = c->held.kept.spec.disk[i].path;
	s.npublish = 0; /* ports of this machine are the other's */
	int r = image(c, &first, e);
	if (!r) r = disks(c, &s, first, c->held.kept.record.arena, e);
	if (!r) r = files(c, &s, e);
	if (!r) r = saved(c, e);
	return r ? r : record(c, &s, e);
}

static int start(struct clone *c, struct err *e)
{
	auto_mem char *dir = NULL;
	int r = kept_load(&c->to, e);
	if (!r && c->tag && !files_of(&c->to)) {
		auto_mem char *rest = NULL;
		must(asprintf(&rest, "snapshots/%s", c->tag) > 0);
		dir = path_in(c, c->to.name, rest);
		r = kept_restore(&c->to, c->tag, dir, e);
	}
	return r ? r : kept_start(&c->to, -1, e);
}

static int clone_run(const struct call *call, struct err *e)
{
	const struct clone_opts *o = call->opts;
	struct clone c = {.held = {.kept.folder = -1, .hold = -1}, .to.folder = -1, .tag = o->tag};
	int r = store_open(&c.store, NULL, e);
	c.held.kept.store = c.to.store = c.store;
	if (!r) r = source(&c, call->args[0], e);
	if (!r && c.held.kept.record.spec.zone.own_kernel)
		r = fail(e, -ENOTSUP,
			 "guest %s is a container with a kernel of its own: those cannot "
			 "be cloned yet",
			 c.held.kept.name);
	if (!r) r = target(&c, call->args[1], e);
	if (!r) r = make(&c, e);
	if (r && c.fresh) (void)kept_remove(&c.to, NULL);
	if (!r && o->start) r = start(&c, e);
	if (!r) printf("%s\n", c.to.name);
	kept_done(&c.to);
	held_done(&c.held);
	free(c.dir);
	store_close(c.store);
	return r;
}

const struct verb verb_clone = {
	.name = "clone",
	.args = "GUEST NAME",
	.summary = "Make another guest that holds what one holds",
	.text = "It has an id, MAC addresses and a UUID of its own, no published ports, and shares "
		"with\n"
		"the first what neither changes. The first must not run, unless a snapshot of it "
		"is\n"
		"cloned: then 'lodge restore NAME TAG', or --start, has the clone go on from "
		"there,\n"
		"as another\n"
		"generation with fresh entropy. Our images' agent gives it its addresses, a "
		"machine-id\n"
		"and its name at once; without that it has its own addresses when it boots anew.\n"
		"A zone may run: it stands while its files are copied. Its memory is not: the "
		"clone\n"
		"starts anew from those files. What the two have of their image is there once.",
	.examples = "lodge clone web web2\n"
		    "lodge clone --tag ready --start web web3",
	.opts = clone_table,
	.defaults = &clone_defaults,
	.size = sizeof(clone_defaults),
	.min_args = 2,
	.max_args = 2,
	.completes = "guest",
	.run = clone_run,
};
