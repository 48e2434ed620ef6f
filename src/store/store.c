/* The folder that holds all state, and who may change it when. One lock file orders the two
 * things that could hurt each other: adding (shared: copy blobs, then name them) and collecting
 * (exclusive: remove blobs that nothing names). Everything else is one rename or one link.
 * A guest's lock is flock() on its own folder, so it cannot outlive the process. */
#include "store/store.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own.h"
#include "base/text.h"
#include "store/blob.h"
#include "store/oci.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

struct store {
	char *root, *blobs;
	int lock; /* the file "lock" */
};

static char *copy_of(const char *s)
{
	char *c = s ? strdup(s) : NULL;
	must(c || !s);
	return c;
}

/* --- the folder ---------------------------------------------------------------------------- */

static char *root_default(void)
{
	const char *home = getenv("LODGE_HOME"), *xdg = getenv("XDG_DATA_HOME");
	if (home && *home) return copy_of(home);
	if (!geteuid()) return copy_of("/var/lib/lodge");
	if (xdg && *xdg == '/') return text_format("%s/lodge", xdg);
	home = getenv("HOME");
	if (home && *home) return text_format("%s/.local/share/lodge", home);
	struct passwd *pw = getpwuid(geteuid());
	return pw ? text_format("%s/.local/share/lodge", pw->pw_dir) : NULL;
}

int store_draft(struct store *s, struct err *e)
{
	int fd = open(s->root, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd < 0 ? fail(e, -errno, "%s: %s", s->root, strerror(errno)) : fd;
}

char *store_sockets(void)
{
	const char *home = getenv("LODGE_HOME"), *xdg = getenv("XDG_RUNTIME_DIR");
	if (!home || !*home) {
		if (!geteuid()) return copy_of("/run/lodge");
		if (xdg && *xdg == '/') return text_format("%s/lodge", xdg);
	}
	auto_mem char *root = root_default();
	return root ? text_format("%s/run", root) : NULL;
}

static int root_open(struct store *s, const char *root, struct err *e)
{
	auto_mem char *asked = root ? copy_of(root) : root_default();
	if (!asked) return fail(e, -ENOENT, "no home folder to keep images in: set LODGE_HOME");
	int r = dir_make(asked, e);
	if (r) return r;
	s->root = realpath(asked, NULL);
	if (!s->root) return fail(e, -errno, "%s: %s", asked, strerror(errno));
	s->blobs = text_format("%s/blobs", s->root);
	auto_mem char *lock = text_format("%s/lock", s->root);
	s->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return s->lock < 0 ? fail(e, -errno, "%s: %s", lock, strerror(errno)) : 0;
}

int store_open(struct store **out, const char *root, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	must(s);
	s->lock = -1;
	int r = root_open(s, root, e);
	if (r) {
		store_close(s);
		return r;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s) return;
	drop_fd(&s->lock);
	free(s->root);
	free(s->blobs);
	free(s);
}

const char *store_root(const struct store *s) { return s->root; }

bool store_name_ok(const char *name)
{
	static const char all[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t n = strlen(name);
	return n > 0 && n <= 63 && strspn(name, all) == n && !strchr("_.-", name[0]);
}

static int check_name(const char *what, const char *name, struct err *e)
{
	if (store_name_ok(name)) return 0;
	return fail(e, -EINVAL,
		    "%s %s: a name is up to 63 of a-z 0-9 _ . - and starts with a-z 0-9", what,
		    name);
}

static int lock_take(struct store *s, int how, struct err *e)
{
	while (flock(s->lock, how))
		if (errno != EINTR) return fail(e, -errno, "%s/lock: %s", s->root, strerror(errno));
	return 0;
}

static void lock_drop(struct store *s) { (void)flock(s->lock, LOCK_UN); }

/* --- images -------------------------------------------------------------------------------- */

static char *manifest_path(const struct store *s, const char *name, const char *arch)
{
	return text_format("%s/images/%s/%s.json", s->root, name, arch);
}

static int manifest_read(const char *path, struct image *out, struct err *e)
{
	auto_buf struct buf b = {0};
	int r = file_read(&b, path, IMAGE_TEXT_MAX, e);
	if (r) return r;
	r = image_parse(out, IMAGE_STORED, b.at ? b.at : "", b.len, e);
	return r ? fail_in(e, "%s", path) : 0;
}

/* Turn a digest into a path, making sure that it leads to what the manifest promised. */
static int file_resolve(const struct store *s, const char *what, struct image_file *f,
			struct err *e)
{
	struct stat st;
	if (!f->digest) return 0;
	f->path = text_format("%s/sha256/%s", s->blobs, f->digest);
	if (stat(f->path, &st)) return fail(e, -errno, "its %s is missing from the store", what);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->size)
		return fail(e, -EINVAL, "its %s is damaged: %s has %lld bytes instead of %llu",
			    what, f->path, (long long)st.st_size, (unsigned long long)f->size);
	return 0;
}

static int files_resolve(const struct store *s, struct image *im, struct err *e)
{
	struct image_file *f;
	const char *what;
	int r = 0;
	for (unsigned n = 0; !r && (f = image_file(im, n, &what)); n++)
		r = file_resolve(s, what, f, e);
	return r;
}

static int image_load(const struct store *s, const char *name, const char *arch, struct image *out,
		      struct err *e)
{
	auto_mem char *path = manifest_path(s, name, arch);
	int r = manifest_read(path, out, e);
	if (r) return r;
	if (!out->name || !out->arch || strcmp(out->name, name) || strcmp(out->arch, arch))
		r = fail(e, -EINVAL, "%s: names another image", path);
	if (!r) r = files_resolve(s, out, e);
	if (r) image_done(out);
	return r;
}

int store_image_find(struct store *s, const char *name, const char *arch, struct image *out,
		     struct err *e)
{
	*out = (struct image){0};
	int r = check_name("image", name, e);
	if (!r) r = check_name("arch", arch, e);
	if (r) return r;
	auto_mem char *path = manifest_path(s, name, arch);
	if (!file_exists(path))
		return fail(
			e, -ENOENT,
			"image %s: there is none for %s here; try: lodge image build --arch %s %s",
			name, arch, arch, name);
	r = image_load(s, name, arch, out, e);
	return r ? fail_in(e, "image %s", name) : 0;
}

static int file_add(struct store *s, const struct image_file *from, struct image_file *to,
		    struct err *e)
{
	char digest[BLOB_DIGEST];
	if (!from->path) return 0;
	int r = blob_put(s->blobs, from->path, digest, &to->size, e);
	if (r) return r;
	to->digest = copy_of(digest);
	to->format = copy_of(from->format);
	to->diff = copy_of(from->diff);
	return 0;
}

static int manifest_write(const char *path, const struct image *im, struct err *e)
{
	auto_buf struct buf b = {0};
	auto_mem char *dir = copy_of(path);
	*strrchr(dir, '/') = 0;
	int r = dir_make(dir, e);
	if (r) return r;
	image_format(im, &b);
	return file_replace(path, b.at, b.len, 0644, e);
}

/* Under the shared lock: nothing is collected between the first blob and the manifest. */
static int image_add_locked(struct store *s, struct image *im, struct err *e)
{
	struct image_file *f;
	auto_image struct image to = {.created = (int64_t)time(NULL), .memory = im->memory};
	to.name = copy_of(im->name);
	to.arch = copy_of(im->arch);
	to.kind = copy_of(im->kind);
	to.append = copy_of(im->append);
	to.layer = calloc(im->nlayers + 1, sizeof(*to.layer));
	must(to.layer);
	to.nlayers = im->nlayers;
	int r = 0;
	for (unsigned n = 0; !r && (f = image_file(im, n, NULL)); n++)
		r = file_add(s, f, image_file(&to, n, NULL), e);
	if (r) return r;
	auto_mem char *path = manifest_path(s, im->name, im->arch);
	return manifest_write(path, &to, e);
}

int store_image_add(struct store *s, struct image *im, struct err *e)
{
	int r = check_name("image", im->name, e);
	if (!r) r = check_name("arch", im->arch, e);
	if (!r) r = lock_take(s, LOCK_SH, e);
	if (r) return r;
	r = image_add_locked(s, im, e);
	lock_drop(s);
	if (!r) return 0;
	(void)store_collect(s, NULL); /* the first files, when a later one had no room */
	return fail_in(e, "image %s", im->name);
}

/* Loaded again under the lock: it may have gone since the caller found it. */
static int image_tag_locked(struct store *s, const struct image *im, const char *name,
			    struct err *e)
{
	auto_image struct image to = {0};
	auto_mem char *path = manifest_path(s, name, im->arch);
	int r = image_load(s, im->name, im->arch, &to, e);
	if (r) return r;
	free(to.name);
	to.name = copy_of(name);
	to.created = (int64_t)time(NULL);
	return manifest_write(path, &to, e);
}

int store_image_tag(struct store *s, const struct image *im, const char *name, struct err *e)
{
	int r = check_name("image", name, e);
	if (!r) r = lock_take(s, LOCK_SH, e);
	if (r) return r;
	r = image_tag_locked(s, im, name, e);
	lock_drop(s);
	return r ? fail_in(e, "image %s", name) : 0;
}

static void beside(struct image_file *f, const char *dir)
{
	char *plain = f->path;
	if (plain) f->path = text_format("%s/%s", dir, plain);
	free(plain);
}

static void replace(char **where, const char *with)
{
	free(*where);
	*where = copy_of(with);
}

int store_image_add_dir(struct store *s, const char *name, const char *arch, const char *dir,
			struct err *e)
{
	auto_buf struct buf b = {0};
	auto_image struct image im = {0};
	auto_mem char *path = text_format("%s/image.json", dir);
	int r = file_read(&b, path, IMAGE_TEXT_MAX, e);
	if (r) return r;
	r = image_parse(&im, IMAGE_MADE, b.at ? b.at : "", b.len, e);
	if (r) return fail_in(e, "%s", path);
	replace(&im.name, name);
	replace(&im.arch, arch);
	struct image_file *f;
	for (unsigned n = 0; (f = image_file(&im, n, NULL)); n++) beside(f, dir);
	return store_image_add(s, &im, e);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *d) { return d->d_name[0] != '.'; }

/* fn(path, name) for what lies in a folder, sorted; a folder that is not there is empty. */
static int each_entry(const char *dir, int (*fn)(void *ctx, const char *dir, const char *name),
		      void *ctx)
{
	struct dirent **list;
	int n = scandir(dir, &list, no_dots, by_name), r = 0;
	if (n < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		if (!r) r = fn(ctx, dir, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return r;
}

struct each {
	struct store *s;
	int (*fn)(void *ctx, const struct image *im);
	void *ctx;
};

static int each_arch(void *ctx, const char *dir, const char *file)
{
	struct each *w = ctx;
	struct err e;
	const char *name = strrchr(dir, '/') + 1, *dot = strrchr(file, '.');
	if (!dot || strcmp(dot, ".json")) return 0;
	auto_mem char *arch = text_format("%.*s", (int)(dot - file), file);
	auto_image struct image im = {0};
	if (!image_load(w->s, name, arch, &im, &e)) return w->fn(w->ctx, &im);
	log_warn("image %s for %s: %s", name, arch, e.msg);
	return 0;
}

static int each_name(void *ctx, const char *dir, const char *name)
{
	auto_mem char *path = text_format("%s/%s", dir, name);
	return each_entry(path, each_arch, ctx);
}

int store_image_each(struct store *s, int (*fn)(void *ctx, const struct image *im), void *ctx,
		     struct err *e)
{
	struct each w = {s, fn, ctx};
	auto_mem char *dir = text_format("%s/images", s->root);
	int r = each_entry(dir, each_name, &w);
	return r < 0 ? fail(e, r, "%s: %s", dir, strerror(-r)) : r;
}

/* --- collecting ---------------------------------------------------------------------------- */

struct keep {
	char **digest;
	size_t n;
	char **diff; /* of layers, whose folders stay, too */
	size_t ndiffs;
	struct err *e;
};

static void keep_one(char ***list, size_t *n, char **which)
{
	if (!*which) return;
	*list = realloc(*list, (*n + 1) * sizeof(char *));
	must(*list);
	(*list)[(*n)++] = *which;
	*which = NULL;
}
static void keep_file(struct keep *k, struct image_file *f)
{
	keep_one(&k->digest, &k->n, &f->digest);
	keep_one(&k->diff, &k->ndiffs, &f->diff);
}
static bool is_kept(void *ctx, const char *diff)
{
	const struct keep *k = ctx;
	for (size_t i = 0; i < k->ndiffs; i++)
		if (!strcmp(k->diff[i], diff)) return true;
	return false;
}

/* A manifest that cannot be read stops the collection: what it named is not ours to remove. */
static int keep_manifest(struct keep *k, const char *path)
{
	auto_image struct image im = {0};
	if (!file_exists(path)) return 0;
	int r = manifest_read(path, &im, k->e);
	if (r) return r;
	struct image_file *f;
	for (unsigned n = 0; (f = image_file(&im, n, NULL)); n++) keep_file(k, f);
	return 0;
}

static int keep_arch(void *ctx, const char *dir, const char *file)
{
	auto_mem char *path = text_format("%s/%s", dir, file);
	const char *dot = strrchr(file, '.');
	return dot && !strcmp(dot, ".json") ? keep_manifest(ctx, path) : 0;
}

static int keep_image(void *ctx, const char *dir, const char *name)
{
	auto_mem char *path = text_format("%s/%s", dir, name);
	return each_entry(path, keep_arch, ctx);
}

static int keep_guest(void *ctx, const char *dir, const char *name)
{
	auto_mem char *path = text_format("%s/%s/image.json", dir, name);
	return keep_manifest(ctx, path);
}

static int collect_locked(struct store *s, struct err *e)
{
	struct keep k = {.e = e};
	auto_mem char *images = text_format("%s/images", s->root), *guests = NULL;
	guests = text_format("%s/guests", s->root);
	int r = each_entry(images, keep_image, &k);
	if (!r) r = each_entry(guests, keep_guest, &k);
	if (!r) r = blob_collect(s->blobs, k.digest, k.n, e);
	if (!r) r = oci_collect(s, is_kept, &k, e);
	for (size_t i = 0; i < k.n; i++) free(k.digest[i]);
	for (size_t i = 0; i < k.ndiffs; i++) free(k.diff[i]);
	free(k.digest);
	free(k.diff);
	return r;
}

int store_collect(struct store *s, struct err *e)
{
	int r = lock_take(s, LOCK_EX, e);
	if (r) return r;
	r = collect_locked(s, e);
	lock_drop(s);
	return r;
}

static int rm_arch(void *ctx, const char *dir, const char *file)
{
	auto_mem char *path = text_format("%s/%s", dir, file);
	(void)ctx;
	return unlink(path) && errno != ENOENT ? -errno : 0;
}

static int image_unlink(struct store *s, const char *name, const char *arch)
{
	auto_mem char *dir = text_format("%s/images/%s", s->root, name);
	auto_mem char *path = arch ? manifest_path(s, name, arch) : NULL;
	int r = 0;
	if (!file_exists(arch ? path : dir)) return -ENOENT;
	if (!arch)
		r = each_entry(dir, rm_arch, NULL);
	else if (unlink(path))
		r = -errno;
	(void)rmdir(dir); /* stays while other CPUs' images are in it */
	return r;
}

/* Guests that were made from an image, as words. */
struct users {
	struct store *s;
	const char *arch; /* NULL: every CPU */
	struct image im;
	unsigned n;
	char names[160];
};

static bool same_text(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

static bool same_image(const struct image *a, const struct image *b)
{
	return same_text(a->name, b->name) && same_text(a->arch, b->arch) &&
	       same_text(a->kernel.digest, b->kernel.digest) &&
	       same_text(a->initrd.digest, b->initrd.digest) &&
	       same_text(a->disk.digest, b->disk.digest) &&
	       same_text(a->config.digest, b->config.digest);
}

static int users_guest(void *ctx, const char *dir, const char *name)
{
	struct users *u = ctx;
	auto_image struct image im = {0};
	auto_mem char *path = text_format("%s/%s/image.json", dir, name);
	if (!file_exists(path) || manifest_read(path, &im, NULL) || !same_image(&u->im, &im))
		return 0;
	size_t n = strlen(u->names);
	(void)snprintf(u->names + n, sizeof(u->names) - n, "%s%s", u->n ? ", " : "", name);
	u->n++;
	return 0;
}

static int users_arch(void *ctx, const char *dir, const char *file)
{
	struct users *u = ctx;
	auto_mem char *path = text_format("%s/%s", dir, file);
	auto_mem char *guests = text_format("%s/guests", u->s->root);
	if (!manifest_read(path, &u->im, NULL) && (!u->arch || same_text(u->arch, u->im.arch)))
		(void)each_entry(guests, users_guest, u);
	image_done(&u->im);
	return 0;
}

static int image_unused(struct store *s, const char *name, const char *arch, struct err *e)
{
	struct users u = {.s = s, .arch = arch};
	auto_mem char *dir = text_format("%s/images/%s", s->root, name);
	(void)each_entry(dir, users_arch, &u);
	if (!u.n) return 0;
	return fail(e, -EBUSY, "%s made from it: remove %s first, or use --force: %s",
		    u.n == 1 ? "a guest is" : "guests are", u.n == 1 ? "it" : "them", u.names);
}

static int image_rm_locked(struct store *s, const char *name, const char *arch, bool force,
			   struct err *e)
{
	struct err why;
	int r = force ? 0 : image_unused(s, name, arch, e);
	if (r) return r;
	r = image_unlink(s, name, arch);
	if (r) return fail(e, r, "%s", r == -ENOENT ? "there is none" : strerror(-r));
	if (collect_locked(s, &why)) log_warn("unused contents stay in the store: %s", why.msg);
	return 0;
}

int store_image_rm(struct store *s, const char *name, const char *arch, bool force, struct err *e)
{
	int r = check_name("image", name, e);
	if (!r && arch) r = check_name("arch", arch, e);
	if (!r) r = lock_take(s, LOCK_EX, e);
	if (r) return r;
	r = image_rm_locked(s, name, arch, force, e);
	lock_drop(s);
	return r ? fail_in(e, "image %s", name) : 0;
}

/* --- guests -------------------------------------------------------------------------------- */

static char *guest_path(const struct store *s, const char *name)
{
	return text_format("%s/guests/%s", s->root, name);
}

static bool same_folder(int fd, const char *path)
{
	struct stat a, b;
	return !fstat(fd, &a) && !lstat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* One attempt: *dirfd is locked, or -EAGAIN when the folder was removed or replaced meanwhile. */
static int guest_try(const char *name, const char *path, bool create, int *dirfd, struct err *e)
{
	if (create && mkdir(path, 0700) && errno != EEXIST)
		return fail(e, -errno, "%s: %s", path, strerror(errno));
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return create ? -EAGAIN : fail(e, -ENOENT, "guest %s: there is none", name);
	if (fd < 0) return fail(e, -errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno == EINTR) return -EAGAIN;
		if (errno != EWOULDBLOCK) return fail(e, -errno, "%s: %s", path, strerror(errno));
		return same_folder(fd, path) ? fail(e, -EBUSY, "guest %s: is running already", name)
					     : -EAGAIN;
	}
	if (!same_folder(fd, path)) return -EAGAIN;
	*dirfd = give_fd(&fd);
	return 0;
}

int store_guest_open(struct store *s, const char *name, bool create, int *dirfd, struct err *e)
{
	*dirfd = -1;
	int r = check_name("guest", name, e);
	auto_mem char *dir = text_format("%s/guests", s->root), *path = NULL;
	if (!r && create) r = dir_make(dir, e);
	if (r) return r;
	path = guest_path(s, name);
	do r = guest_try(name, path, create, dirfd, e);
	while (r == -EAGAIN);
	return r;
}

int store_guest_image(struct store *s, const char *name, const struct image *im, struct err *e)
{
	auto_mem char *path = text_format("%s/guests/%s/image.json", s->root, name);
	int r = lock_take(s, LOCK_SH, e);
	if (r) return r;
	if (!file_exists(path)) r = manifest_write(path, im, e);
	lock_drop(s);
	return r ? fail_in(e, "guest %s", name) : 0;
}

int store_guest_image_find(struct store *s, const char *name, struct image *out, struct err *e)
{
	*out = (struct image){0};
	auto_mem char *path = text_format("%s/guests/%s/image.json", s->root, name);
	if (!file_exists(path)) return fail(e, -ENOENT, "guest %s: was made from no image", name);
	int r = manifest_read(path, out, e);
	if (!r) r = files_resolve(s, out, e);
	if (r) image_done(out);
	return r ? fail_in(e, "guest %s: its image", name) : 0;
}

/* 1: it has to be a copy. */
static int guest_disk_share(struct store *s, const char *name, const struct image *im,
			    enum disk_way way, struct guest_disk *d, struct err *e)
{
	if (way == DISK_COPY) return 1;
	if (!blob_clone(im->disk.path, d->path, NULL)) return 0;
	if (way == DISK_LOOSE) {
		d->base = open(im->disk.path, O_RDONLY | O_CLOEXEC);
		if (d->base < 0) return fail(e, -errno, "%s: %s", im->disk.path, strerror(errno));
	}
	return store_guest_layer_image(s, name, im, d->base, e);
}

static int guest_disk_make(struct store *s, const char *name, const struct image *im,
			   enum disk_way way, struct guest_disk *d, struct err *e)
{
	auto_mem char *dir = guest_path(s, name), *manifest = text_format("%s/image.json", dir);
	int r = blob_sweep(dir, e);
	if (!r) r = manifest_write(manifest, im, e);
	if (!r) r = guest_disk_share(s, name, im, way, d, e);
	return r > 0 ? blob_copy(im->disk.path, d->path, e) : r;
}

static void guest_disk_find(struct store *s, const char *name, struct guest_disk *d)
{
	char *layer;
	if (!store_guest_layer(s, name, &layer)) return;
	free(d->path);
	d->path = layer;
	d->format = "qcow2";
	d->layered = true;
}

int store_guest_disk(struct store *s, const char *name, const struct image *im, enum disk_way way,
		     struct guest_disk *d, struct err *e)
{
	*d = (struct guest_disk){.format = im->disk.format, .base = -1};
	if (!im->disk.path) return fail(e, -EINVAL, "image %s: has no disk", im->name);
	int r = lock_take(s, LOCK_SH, e);
	if (r) return r;
	d->path = text_format("%s/guests/%s/disk.raw", s->root, name);
	guest_disk_find(s, name, d);
	if (!file_exists(d->path)) {
		r = guest_disk_make(s, name, im, way, d, e);
		guest_disk_find(s, name, d);
	}
	lock_drop(s);
	if (!r) return 0;
	guest_disk_done(d);
	return fail_in(e, "guest %s", name);
}

void guest_disk_done(struct guest_disk *d)
{
	if (!d->path) return;
	drop_fd(&d->base);
	free(d->path);
	*d = (struct guest_disk){0};
}

int store_guest_file(struct store *s, const char *name, const char *file, const char *from,
		     char **path, struct err *e)
{
	auto_mem char *dir = guest_path(s, name), *own = NULL;
	own = text_format("%s/%s", dir, file);
	int r = file_exists(own) ? 0 : blob_copy(from, own, e);
	*path = NULL;
	if (r) return fail_in(e, "guest %s", name);
	*path = own;
	own = NULL;
	return 0;
}

/* Folders on their way out have names that no guest can have; one whose remover was killed
 * has no lock any more and goes now. */
static int gone_remove(void *ctx, const char *dir, const char *name)
{
	auto_mem char *path = text_format("%s/%s", dir, name);
	auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) return dir_remove(path, ctx);
	return 0;
}

int store_guest_remove(struct store *s, const char *name, int *dirfd, struct err *e)
{
	auto_mem char *dir = text_format("%s/guests", s->root), *path = NULL, *gone = NULL,
		      *bin = NULL;
	path = guest_path(s, name);
	bin = text_format("%s/.gone", dir);
	gone = text_format("%s/XXXXXX", bin);
	must(*dirfd >= 0);
	int r = dir_make(bin, e);
	fault_point();
	if (!r && (!mkdtemp(gone) || rename(path, gone)))
		r = fail(e, -errno, "guest %s: %s", name, strerror(errno));
	fault_point();
	if (!r) r = dir_remove(gone, e);
	(void)close(give_fd(dirfd));
	if (!r) r = each_entry(bin, gone_remove, e);
	return r;
}
