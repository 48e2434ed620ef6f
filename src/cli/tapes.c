/* Recordings and the files that their guests are made from. The idea: nothing that is recorded is
 * changed by it, neither then nor when it is replayed. So every disk is a layer over what the owner
 * named, and what that holds is told by its digest. */
#include "cli/tapes.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own.h"
#include "blk/blk.h"
#include "cli/cli.h"
#include "store/blob.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

int temp_folder(struct store *s, char *name, size_t room, int *folder, struct err *e)
{
	int bad = -EBUSY;
	for (unsigned i = 1; bad == -EBUSY && i < 1000; i++) {
		(void)snprintf(name, room, GUEST_NAMELESS "%u", i);
		bad = store_guest_open(s, name, true, folder, e);
	}
	if (!bad) bad = store_guest_remove(s, name, folder, e);
	if (!bad) bad = store_guest_open(s, name, true, folder, e);
	return bad;
}

/* ---- disks for one run */
static int check_base(const struct spec_disk *d, struct err *e)
{
	struct blk_about a;
	int bad = blk_about(d->path, d->format, &a, e);
	if (bad) return bad;
	if (!*a.backing) return 0;
	return fail(e, -ENOTSUP,
		    "%s: lies over %s, and what is recorded has to be one file; make one of them: "
		    "lodge image convert",
		    d->path, a.backing);
}

static int layer(struct tapes *t, struct spec_disk *d, unsigned i, const char *folder,
		 struct err *e)
{
	char path[PATH_MAX], whole[PATH_MAX];
	const struct blk_make m = {
		.format = "qcow2", .backing = whole, .backing_format = d->format};
	int bad = check_base(d, e);
	if (bad || d->readonly) return bad;
	if (!realpath(d->path, whole)) return fail(e, -errno, "%s: %s", d->path, strerror(errno));
	(void)snprintf(path, sizeof(path), "%.3000s/layer%u", folder, i);
	bad = blk_create(path, &m, e);
	if (bad) return bad;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	t->disk[i] = fd + 1;
	(void)snprintf(t->path[i], sizeof(t->path[i]), "/proc/self/fd/%d", fd);
	d->path = t->path[i];
	d->format = "qcow2";
	d->backing = true;
	return 0;
}

static int layers(struct tapes *t, struct store *st, struct spec *s, struct err *e)
{
	char name[32], folder[PATH_MAX];
	auto_fd int fd = -1;
	if (!s->ndisks) return 0;
	int bad = temp_folder(st, name, sizeof(name), &fd, e);
	if (bad) return bad;
	(void)snprintf(folder, sizeof(folder), "%s/guests/%s", store_root(st), name);
	for (unsigned i = 0; !bad && i < s->ndisks; i++) bad = layer(t, &s->disk[i], i, folder, e);
	int left = store_guest_remove(st, name, &fd, bad ? NULL : e);
	return bad ? bad : left;
}

/* ---- what they hold */
static bool is_ours(struct store *st, const char *path, char digest[BLOB_DIGEST])
{
	char dir[PATH_MAX];
	size_t n = (size_t)snprintf(dir, sizeof(dir), "%s/blobs/sha256/", store_root(st));
	if (n >= sizeof(dir) || strncmp(path, dir, n) != 0 || !blob_digest_ok(path + n))
		return false;
	memcpy(digest, path + n, BLOB_DIGEST);
	return true;
}

/* The store's own files are called by it, and never change. */
static int digest_of(struct store *st, const char *path, char digest[BLOB_DIGEST], struct err *e)
{
	uint64_t size;
	_Static_assert((int)BLOB_DIGEST == (int)TAPE_DIGEST, "the same");
	if (is_ours(st, path, digest))
		return access(path, R_OK) ? fail(e, -errno, "%s: %s", path, strerror(errno)) : 0;
	return blob_digest(path, digest, &size, e);
}

static int digests(struct store *st, struct spec *s, struct tape_head *h, struct err *e)
{
	const char **path[TAPE_FILES];
	int bad = 0;
	h->nfiles = tape_files(s, path);
	for (unsigned i = 0; !bad && i < h->nfiles; i++)
		bad = digest_of(st, *path[i], h->digest[i], e);
	return bad;
}

/* Where it was, or the same contents in this store. */
static int file_check(struct tapes *t, struct store *st, const char **path, unsigned i,
		      struct err *e)
{
	char digest[BLOB_DIGEST];
	const char *was = t->head.digest[i];
	if (!file_exists(*path)) {
		must(asprintf(&t->found[i], "%s/blobs/sha256/%s", store_root(st), was) > 0);
		if (!file_exists(t->found[i]))
			return fail(e, -ENOENT,
				    "--replay: %s is not there any more, and a replay needs what "
				    "was recorded",
				    *path);
		*path = t->found[i];
	}
	int bad = digest_of(st, *path, digest, e);
	if (bad) return fail_in(e, "--replay");
	if (!strcmp(digest, was)) return 0;
	return fail(e, -ESTALE,
		    "--replay: %s was changed since: it is %.12s... now, and the recording is of "
		    "%.12s...",
		    *path, digest, was);
}

/* ---- both ways */
static int random_seed(uint64_t *to, struct err *e)
{
	if (getrandom(to, sizeof(*to), 0) != sizeof(*to))
		return fail(e, -EIO, "no random numbers to seed the guest with");
	*to = (*to | 1) & INT64_MAX; /* JSON */
	return 0;
}

int tapes_record(struct tapes *t, struct store *st, struct spec *s, const char *path, struct err *e)
{
	struct tape_head h = {.lodge = lodge_version, .clock = (uint64_t)time(NULL)};
	int bad = random_seed(&h.seed, e);
	if (!bad) bad = digests(st, s, &h, e);
	if (bad) return bad;
	s->deterministic = true;
	s->seed = h.seed;
	s->clock = h.clock;
	h.spec = *s;
	bad = layers(t, st, s, e);
	if (!bad) bad = tape_create(&t->out, path, &h, e);
	s->record = t->out;
	return bad ? fail_in(e, "--record") : 0;
}

int tapes_replay(struct tapes *t, struct store *st, struct spec *s, const char *path, struct err *e)
{
	const char **file[TAPE_FILES];
	int bad = tape_open(&t->in, &t->head, path, e);
	if (bad) return fail_in(e, "--replay");
	*s = t->head.spec;
	if (strcmp(t->head.lodge, lodge_version) != 0)
		log_warn("%s was recorded by lodge %s; another version may do something else", path,
			 t->head.lodge);
	unsigned n = tape_files(s, file);
	for (unsigned i = 0; !bad && i < n; i++) bad = file_check(t, st, file[i], i, e);
	if (!bad) bad = layers(t, st, s, e);
	s->replay = t->in;
	s->seed = t->head.seed;
	s->clock = t->head.clock;
	return bad;
}

void tapes_done(struct tapes *t)
{
	tape_out_free(t->out);
	tape_close(t->in);
	tape_head_done(&t->head);
	for (unsigned i = 0; i < SPEC_DISKS; i++)
		if (t->disk[i]) (void)close(t->disk[i] - 1);
	for (unsigned i = 0; i < TAPE_FILES; i++) free(t->found[i]);
}
