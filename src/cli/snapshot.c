/* lodge snapshot and restore: a running guest kept as it is under a tag, and brought back. The
 * monitor writes its own state, since nobody else has it; names and order are seen to here. */
#include "guest/snapshot.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/held.h"
#include "cli/kept.h"
#include "guest/control.h"
#include "guest/discs.h"
#include "guest/look.h"
#include "guest/tags.h"
#include "store/blob.h"
#include "store/store.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { RESULT_MAX = 64 << 10 };

/* Store and guest for the verbs that follow. */
struct at {
	struct store *store;
	char name[64];
};

static int at_open(struct at *a, const char *word, struct err *e)
{
	*a = (struct at){0};
	int r = store_open(&a->store, NULL, e);
	return r ? r : look_find(a->store, word, a->name, e);
}

/* ---- snapshot ---- */
static int result_read(int fd, struct buf *to)
{
	char some[4096];
	for (ssize_t n; (n = read(fd, some, sizeof(some))) != 0;) {
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return -errno;
		if (to->len > RESULT_MAX) return -EFBIG;
		buf_add(to, some, (size_t)n);
	}
	return 0;
}

static int save(const char *name, const char *draft, struct err *e)
{
	auto_mem char *request = NULL;
	auto_buf struct buf b = {0};
	int stream = -1;
	must(asprintf(&request, "snapshot %s", draft) > 0);
	int r = control_stream(name, request, &stream, NULL, e);
	if (r == -ENOENT)
		return fail(e, r, "guest %s does not run: only a running guest can be saved", name);
	if (r) return r;
	auto_fd int fd = stream;
	r = result_read(fd, &b);
	return r ? fail(e, r, "guest %s: %s", name, strerror(-r))
		 : kept_result(name, b.len ? b.at : "", -ENOENT, "it ended before it was saved", e);
}

/* With the discs that are in its drives meanwhile. */
static int save_all(struct at *a, const char *tag, const char *draft, struct err *e)
{
	int folder, r = store_guest_look(a->store, a->name, &folder, e);
	if (r) return r;
	auto_fd int held = folder, lock = discs_lock(held, e);
	r = lock < 0 ? lock : save(a->name, draft, e);
	return r ? r : discs_keep(held, tag, e);
}

static int save_vm(struct at *a, const char *tag, struct err *e)
{
	auto_mem char *draft = NULL;
	int r = tag_begin(a->store, a->name, tag, &draft, e);
	if (!r) r = save_all(a, tag, draft, e);
	if (!r) r = tag_keep(a->store, a->name, tag, draft, e);
	if (r && draft) tag_drop(draft);
	return r;
}

static void left(void *kept, const char *path) { (void)files_drop(kept, path, NULL); }

/* Files of this host's: those are all that is kept. */
static int save_files(struct at *a, const char *tag, struct err *e)
{
	struct held h = {.kept = {.store = a->store, .folder = -1}, .hold = -1};
	auto_mem char *draft = NULL;
	int r = held_take(&h, a->name, e);
	if (!r) tag_left(a->store, a->name, left, &h.kept);
	if (!r) r = tag_begin(a->store, a->name, tag, &draft, e);
	if (!r) {
		auto_mem char *saved = text_format("snapshots/%s", strrchr(draft, '/') + 1);
		struct guest_files from = files_at(&h.kept, NULL), to = files_at(&h.kept, saved);
		r = files_of(&h.kept)->copy(&from, &to, e);
		if (!r) r = held_check(&h, e);
		if (!r) r = tag_keep(a->store, a->name, tag, draft, e);
		if (r) (void)files_drop(&h.kept, draft, NULL);
	}
	held_done(&h);
	return r;
}

/* Whether it is a guest of such files. */
static int look_files(struct at *a, bool *files, struct err *e)
{
	struct kept k = {.store = a->store, .folder = -1};
	int r = held_look(&k, a->name, e);
	*files = !r && files_of(&k);
	kept_done(&k);
	return r;
}

static int snapshot_run(const struct call *c, struct err *e)
{
	struct at a;
	bool files;
	int r = at_open(&a, c->args[0], e);
	if (!r) r = look_files(&a, &files, e);
	if (!r) r = files ? save_files(&a, c->args[1], e) : save_vm(&a, c->args[1], e);
	if (!r) printf("%s\n", c->args[1]);
	store_close(a.store);
	return r;
}

const struct verb verb_snapshot = {
	.name = "snapshot",
	.args = "GUEST TAG",
	.summary = "Keep a running guest as it is now: memory, CPUs, devices, disks",
	.text = "It stands for the moment that takes, and goes on. 'lodge restore' brings it back "
		"as "
		"it\n"
		"was, whatever became of it meanwhile. Its disks are cloned where the file system "
		"can,\n"
		"and copied otherwise. Snapshots go with their guest. Of a zone its files are "
		"kept,\n"
		"also while it does not run, and not its memory.",
	.examples = "lodge snapshot web before-upgrade\n"
		    "lodge restore web before-upgrade",
	.min_args = 2,
	.max_args = 2,
	.completes = "guest",
	.run = snapshot_run,
};

/* ---- restore ---- */
/* In the place of the disk there is, at once. */
static int disk_back(const char *from, const char *to, struct err *e)
{
	auto_mem char *tmp = NULL;
	must(asprintf(&tmp, "%s.restored", to) > 0);
	(void)unlink(tmp);
	int r = blob_copy(from, tmp, e);
	if (r == 0 && rename(tmp, to)) r = fail(e, -errno, "%s: %s", to, strerror(errno));
	if (r) (void)unlink(tmp);
	return r;
}

/* What was saved before it got a layer becomes the base of a new one. */
static int disk_under(struct kept *k, const char *dir, unsigned i, struct err *e)
{
	auto_mem char *from = NULL;
	must(asprintf(&from, "%s/disk%u", dir, i) > 0);
	return store_guest_layer_over(k->store, k->name, k->name, from, false, e);
}

static int disks_back(struct kept *k, const char *dir, struct err *e)
{
	const struct spec *s = &k->spec;
	int r = 0;
	for (unsigned i = 0; !r && i < s->ndisks; i++) {
		auto_mem char *from = NULL;
		must(asprintf(&from, "%s/%s", dir, tag_disk(&s->disk[i], i).name) > 0);
		if (s->disk[i].readonly) continue;
		bool own = k->disk.path && !strcmp(s->disk[i].path, k->disk.path);
		r = own && s->disk[i].backing && !file_exists(from)
			    ? disk_under(k, dir, i, e)
			    : disk_back(from, s->disk[i].path, e);
	}
	return r;
}

/* Are they all there? */
static int look_discs(struct at *a, const char *tag, struct err *e)
{
	struct record rec = {0};
	int folder, r = store_guest_look(a->store, a->name, &folder, e);
	if (r) return r;
	auto_fd int held = folder;
	r = record_read(&rec, held, e);
	if (!r) r = discs_use(held, tag, &rec.spec, rec.arena, e);
	record_done(&rec);
	return r;
}

/* All of the file, while what runs still runs. */
static int look_over(const char *dir, struct err *e)
{
	auto_mem char *path = NULL;
	struct snapshot *s;
	must(asprintf(&path, "%s/state", dir) > 0);
	int r = snapshot_open(&s, path, true, e);
	if (!r) snapshot_unref(s);
	if (!r) snapshot_mark(path);
	return r;
}

static int start(struct at *a, const char *tag, const char *dir, struct err *e)
{
	struct kept k = {.store = a->store, .folder = -1};
	int r = kept_lock(&k, a->name, false, e);
	if (!r) r = kept_load(&k, e);
	if (!r) r = disks_back(&k, dir, e);
	if (!r) r = kept_restore(&k, tag, dir, e);
	if (!r) r = kept_start(&k, -1, e);
	kept_done(&k);
	return r;
}

static int restore_vm(struct at *a, const char *tag, const char *dir, struct err *e)
{
	int r = look_over(dir, e);
	if (!r) r = look_discs(a, tag, e);
	if (!r) r = kept_stop(a->store, a->name, 0, true, e);
	return r ? r : start(a, tag, dir, e);
}

/* It runs afterwards if it ran. */
static int restore_files(struct at *a, const char *tag, struct err *e)
{
	struct kept k = {.store = a->store, .folder = -1};
	auto_mem char *saved = text_format("snapshots/%s", tag);
	bool ran = control_alive(a->name);
	int r = ran ? kept_stop(a->store, a->name, 0, true, e) : 0;
	if (!r) r = kept_lock(&k, a->name, false, e);
	if (!r) {
		struct guest_files from = files_at(&k, saved), to = files_at(&k, NULL);
		r = files_of(&k)->copy(&from, &to, e);
	}
	if (!r && ran) r = kept_load(&k, e);
	if (!r && ran) r = kept_start(&k, -1, e);
	kept_done(&k);
	return r;
}

static int restore_run(const struct call *c, struct err *e)
{
	struct at a;
	struct tag t;
	bool files;
	auto_mem char *dir = NULL;
	int r = at_open(&a, c->args[0], e);
	if (!r) r = tag_find(a.store, a.name, c->args[1], &t, &dir, e);
	if (!r) r = look_files(&a, &files, e);
	if (!r) r = files ? restore_files(&a, t.name, e) : restore_vm(&a, t.name, dir, e);
	if (!r) r = tag_is_current(a.store, a.name, t.name, e);
	if (!r) printf("%s\n", a.name);
	store_close(a.store);
	return r;
}

const struct verb verb_restore = {
	.name = "restore",
	.args = "GUEST TAG",
	.summary = "Have a guest go on from a snapshot",
	.text = "If it runs it is cut off from power first, once the snapshot has been found "
		"whole. "
		"What\n"
		"it wrote to its disks since is gone. It runs in the background: see 'lodge "
		"attach'.\n"
		"Connections to other machines may have broken; its clock goes on from then.\n"
		"Of a zone the files come back; it starts anew with them if it ran.",
	.examples = "lodge restore web before-upgrade",
	.min_args = 2,
	.max_args = 2,
	.completes = "guest",
	.run = restore_run,
};

/* ---- ls, tree, rm ---- */
static void when(char to[32], int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	*to = 0;
	if (localtime_r(&t, &tm)) (void)strftime(to, 32, "%Y-%m-%d %H:%M:%S", &tm);
}

static int ls_line(void *ctx, const struct tag *t)
{
	char size[16], at[32];
	(void)ctx;
	human_size(size, sizeof(size), t->bytes);
	when(at, t->created);
	printf("%-24s %-20s %8s  %s\n", t->name, at, size, t->after);
	return 0;
}

static int ls_run(const struct call *c, struct err *e)
{
	struct at a;
	int r = at_open(&a, c->args[0], e);
	if (!r) printf("%-24s %-20s %8s  %s\n", "TAG", "CREATED", "SIZE", "AFTER");
	if (!r) r = tag_each(a.store, a.name, ls_line, NULL, e);
	store_close(a.store);
	return r;
}

const struct verb verb_snapshot_ls = {
	.name = "snapshot ls",
	.args = "GUEST",
	.summary = "List a guest's snapshots",
	.min_args = 1,
	.max_args = 1,
	.completes = "guest",
	.run = ls_run,
};

struct tags {
	struct tag *at;
	size_t n;
};

static int gather(void *ctx, const struct tag *t)
{
	struct tags *all = ctx;
	all->at = realloc(all->at, (all->n + 1) * sizeof(*t));
	must(all->at);
	all->at[all->n++] = *t;
	return 0;
}

static const struct tag *named(const struct tags *all, const char *name)
{
	for (size_t i = 0; i < all->n; i++)
		if (!strcmp(all->at[i].name, name)) return &all->at[i];
	return NULL;
}

/* What came before it and is still there is older: so nothing goes round. */
static const struct tag *before(const struct tags *all, const struct tag *t)
{
	const struct tag *b = named(all, t->after);
	return b && b < t ? b : NULL;
}

static void branch(const struct tags *all, const struct tag *of, unsigned depth)
{
	for (size_t i = 0; i < all->n; i++) {
		if (before(all, &all->at[i]) != of) continue;
		printf("%*s%s\n", (int)(2 * depth), "", all->at[i].name);
		branch(all, &all->at[i], depth + 1);
	}
}

static int tree_run(const struct call *c, struct err *e)
{
	struct at a;
	struct tags all = {0};
	int r = at_open(&a, c->args[0], e);
	if (!r) r = tag_each(a.store, a.name, gather, &all, e);
	if (!r) branch(&all, NULL, 0);
	free(all.at);
	store_close(a.store);
	return r;
}

const struct verb verb_snapshot_tree = {
	.name = "snapshot tree",
	.args = "GUEST",
	.summary = "Show which of a guest's snapshots came after which",
	.min_args = 1,
	.max_args = 1,
	.completes = "guest",
	.run = tree_run,
};

/* Its files may be of ids that this process cannot touch. */
static int rm_one(struct at *a, const struct kept *k, const char *tag, struct err *e)
{
	auto_mem char *gone = NULL;
	if (!files_of(k)) return tag_remove(a->store, a->name, tag, e);
	int r = tag_hide(a->store, a->name, tag, &gone, e);
	return r ? r : files_drop(k, gone, e);
}

static int rm_run(const struct call *c, struct err *e)
{
	struct at a;
	struct kept k = {.folder = -1};
	int r = at_open(&a, c->args[0], e);
	k.store = a.store;
	if (!r) r = held_look(&k, a.name, e);
	for (unsigned i = 1; !r && i < c->nargs; i++) {
		r = rm_one(&a, &k, c->args[i], e);
		if (!r) printf("%s\n", c->args[i]);
	}
	kept_done(&k);
	store_close(a.store);
	return r;
}

const struct verb verb_snapshot_rm = {
	.name = "snapshot rm",
	.args = "GUEST TAG...",
	.summary = "Remove snapshots of a guest",
	.text = "A guest that goes on from one keeps what it has not read yet until it ends.",
	.min_args = 2,
	.max_args = 64,
	.completes = "guest",
	.run = rm_run,
};
