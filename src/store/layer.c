/* Disks of guests that share. What lies behind a layer must never be written again: it has a name
 * that no guest's disk has, and is in each guest's folder by a hard link of its own, so that
 * removing guests needs no bookkeeping. A guest goes from its disk to a layer over it by one
 * rename; before that what it had is as it was. */
#include "base/buf.h"
#include "base/fault.h"
#include "base/own.h"
#include "blk/blk.h"
#include "store/blob.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define BASE  "base-"
#define LAYER "disk.qcow2"
#define RAW   "disk.raw"

static char *in_guest(const struct store *s, const char *name, const char *file)
{
	char *path;
	must(asprintf(&path, "%s/guests/%s/%s", store_root(s), name, file) > 0);
	return path;
}

static bool there(const char *path)
{
	struct stat st;
	return !stat(path, &st);
}

bool store_guest_layer(struct store *s, const char *name, char **path)
{
	auto_mem char *layer = in_guest(s, name, LAYER);
	if (!there(layer)) return false;
	*path = layer;
	layer = NULL;
	return true;
}

static void base_name(char to[32])
{
	uint64_t n = 0;
	must(getrandom(&n, sizeof(n), 0) == sizeof(n));
	(void)snprintf(to, 32, BASE "%016llx", (unsigned long long)n);
}

static int share(const char *from, const char *to, struct err *e)
{
	fault_point();
	if (!link(from, to)) return 0;
	return fail(e, -errno, "%s: cannot be shared as %s: %s", from, to, strerror(errno));
}

/* Over a base in the guest's folder; in the place of the layer there is. */
static int layer_make(struct store *s, const char *name, const char *base, const char *format,
		      struct err *e)
{
	auto_mem char *layer = in_guest(s, name, LAYER), *draft = in_guest(s, name, LAYER ".new");
	const struct blk_make m = {.format = "qcow2", .backing = base, .backing_format = format};
	(void)unlink(draft);
	int r = blk_create(draft, &m, e);
	fault_point();
	if (r == 0 && rename(draft, layer)) r = fail(e, -errno, "%s: %s", layer, strerror(errno));
	fault_point();
	return r;
}

/* What names another file by itself is not trusted by lying over it. */
static bool may_lie_under(const struct image_file *disk)
{
	struct blk_about a;
	return !strcmp(disk->format, "raw") ||
	       (!blk_about(disk->path, disk->format, &a, NULL) && !*a.backing);
}

/* The same name for all guests of an image: what is begun again, or cloned, finds it there. 1: this
 * file system cannot. */
static int image_share(struct store *s, const char *name, const struct image *im, char base[32],
		       struct err *e)
{
	(void)snprintf(base, 32, BASE "%.16s", im->disk.digest);
	auto_mem char *at = in_guest(s, name, base);
	fault_point();
	int r = linkat(AT_FDCWD, im->disk.path, AT_FDCWD, at, AT_SYMLINK_FOLLOW) ? -errno : 0;
	fault_point();
	if (r == -EEXIST) r = 0;
	if (r == -EXDEV || r == -EPERM || r == -EMLINK || r == -EOPNOTSUPP) return 1;
	return r ? fail(e, r, "%s: cannot be shared: %s", im->disk.path, strerror(-r)) : 0;
}

int store_guest_layer_image(struct store *s, const char *name, const struct image *im, int fd,
			    struct err *e)
{
	char base[32];
	int r = 0;
	if (!may_lie_under(&im->disk)) return 1;
	if (fd < 0)
		r = image_share(s, name, im, base, e);
	else
		(void)snprintf(base, sizeof(base), "/proc/self/fd/%d", fd);
	return r ? r : layer_make(s, name, base, im->disk.format, e);
}

/* All bases of one guest into another's folder. */
static int bases_share(struct store *s, const char *from, const char *to, struct err *e)
{
	auto_mem char *dir = in_guest(s, from, "");
	int r = 0;
	DIR *d = strcmp(from, to) ? opendir(dir) : NULL;
	for (struct dirent *f; r == 0 && d && (f = readdir(d));) {
		if (strncmp(f->d_name, BASE, strlen(BASE)) != 0) continue;
		auto_mem char *a = in_guest(s, from, f->d_name), *b = in_guest(s, to, f->d_name);
		if (!there(b)) r = share(a, b, e);
	}
	if (d) (void)closedir(d);
	return r;
}

int store_guest_layer_over(struct store *s, const char *from, const char *to, const char *path,
			   bool layered, struct err *e)
{
	char base[32];
	base_name(base);
	auto_mem char *at = in_guest(s, to, base);
	int r = layered ? bases_share(s, from, to, e) : 0;
	if (r == 0) r = share(path, at, e);
	return r ? r : layer_make(s, to, base, layered ? "qcow2" : "raw", e);
}

/* Nothing was written since it was laid over its base. */
static bool is_empty(const char *layer)
{
	struct blk_report r;
	return !blk_check_file(layer, "qcow2", BLK_FIX_NONE, &r, NULL) && !r.allocated;
}

static int base_of(const char *layer, struct blk_about *a, struct err *e)
{
	int r = blk_about(layer, "qcow2", a, e);
	if (r == 0 && (strncmp(a->backing, BASE, strlen(BASE)) != 0 || strchr(a->backing, '/')))
		r = fail(e, -EINVAL, "%s: lies over '%s', which is not its guest's", layer,
			 a->backing);
	return r;
}

/* What from has becomes a base of both. to's layer comes last: without it there is no disk. */
static int freeze(struct store *s, const char *from, const char *to, const char *disk,
		  const char *format, struct err *e)
{
	char base[32];
	base_name(base);
	auto_mem char *a = in_guest(s, from, base), *b = in_guest(s, to, base);
	int r = share(disk, a, e);
	if (r == 0) r = share(disk, b, e);
	if (r == 0) r = layer_make(s, from, base, format, e);
	return r ? r : layer_make(s, to, base, format, e);
}

static int share_layer(struct store *s, const char *from, const char *to, const char *layer,
		       struct err *e)
{
	struct blk_about a;
	int r = bases_share(s, from, to, e);
	if (r == 0 && !is_empty(layer)) return freeze(s, from, to, layer, "qcow2", e);
	if (r == 0) r = base_of(layer, &a, e);
	return r ? r : layer_make(s, to, a.backing, a.backing_format, e);
}

int store_guest_layer_share(struct store *s, const char *from, const char *to, struct err *e)
{
	auto_mem char *disk = in_guest(s, from, RAW), *copy = in_guest(s, to, RAW), *layer = NULL;
	if (store_guest_layer(s, from, &layer)) return share_layer(s, from, to, layer, e);
	if (!there(disk)) return 0; /* it has never run: so it is its image's */
	if (!blob_clone(disk, copy, NULL)) return 0;
	int r = freeze(s, from, to, disk, "raw", e);
	if (r == 0 && unlink(disk)) r = fail(e, -errno, "%s: %s", disk, strerror(errno));
	return r;
}
