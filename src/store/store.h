#ifndef STORE_STORE_H
#define STORE_STORE_H
#include "base/err.h"
#include "store/image.h"
#include <stdbool.h>
/* Everything on disk. No daemon owns it: any number of processes may use it at once, and any of
 * them may be killed at any byte.
 *   blobs/sha256/<hex>         immutable contents
 *   images/<name>/<arch>.json  manifests naming blobs
 *   guests/<name>/             a guest's own: image.json, disk, and what guest/ keeps there
 * A struct store belongs to one thread. */
struct store;

/* root NULL: $LODGE_HOME, else /var/lib/lodge for root, else $XDG_DATA_HOME/lodge, else
 * ~/.local/share/lodge. Made if missing. */
int store_open(struct store **out, const char *root, struct err *e);
void store_close(struct store *s); /* NULL is fine */
const char *store_root(const struct store *s);
/* A file to write to that may be large and has no name: it goes with its descriptor. */
int store_draft(struct store *s, struct err *e);
/* Where running guests' control sockets are: $LODGE_HOME/run, else /run/lodge for root, else
 * $XDG_RUNTIME_DIR/lodge, else run in the folder that store_open() would take. It need not exist.
 * The caller's to free(); NULL: there is no such place. */
char *store_sockets(void);

/* Names of images and guests: a lower-case letter or digit, then up to 62 of those, _ . - */
bool store_name_ok(const char *name);

/* -ENOENT with words that say how to get it. *out is the caller's: image_done(). */
int store_image_find(struct store *s, const char *name, const char *arch, struct image *out,
		     struct err *e);
/* Copy the files of im (only paths, name, arch, kind, append, memory count) into the store and
 * name them, in the place of an older image of that name and CPU. */
int store_image_add(struct store *s, struct image *im, struct err *e);
/* Give it one more name, in the place of an older image of that name and CPU. */
int store_image_tag(struct store *s, const struct image *im, const char *name, struct err *e);
/* The same as adding for what guests/build left in dir. */
int store_image_add_dir(struct store *s, const char *name, const char *arch, const char *dir,
			struct err *e);
/* fn for every image, by name, then CPU; stops at the first result that is not 0 and returns
 * it. Damaged manifests are logged and passed over. */
int store_image_each(struct store *s, int (*fn)(void *ctx, const struct image *im), void *ctx,
		     struct err *e);
/* arch NULL: every CPU. -EBUSY, with their names, while guests are there that were made from it;
 * with force they keep its contents. */
int store_image_rm(struct store *s, const char *name, const char *arch, bool force, struct err *e);
/* Remove contents that no image and no guest names. store_image_rm() does it too. */
int store_collect(struct store *s, struct err *e);

/* The guest's folder as a descriptor that holds its lock: close() lets it go, and so does the
 * death of the process. -EBUSY in words when a live process has it; -ENOENT unless create. */
int store_guest_open(struct store *s, const char *name, bool create, int *dirfd, struct err *e);
/* The same without its lock, to look at: whoever has that may be changing it, or removing it. */
int store_guest_look(struct store *s, const char *name, int *dirfd, struct err *e);
/* fn for every folder of a guest, by name; stops at the first result that is not 0 and returns it.
 */
int store_guest_each(struct store *s, int (*fn)(void *ctx, const char *name), void *ctx,
		     struct err *e);
/* Give a guest that we have locked another name; -EEXIST. */
int store_guest_rename(struct store *s, const char *from, const char *to, struct err *e);
/* Note which image a guest that we have locked is made from, the first time; and what was noted:
 * its contents stay as long as the guest does. *out is the caller's: image_done(). */
int store_guest_image(struct store *s, const char *name, const struct image *im, struct err *e);
int store_guest_image_find(struct store *s, const char *name, struct image *out, struct err *e);
/* The guest's own disk, made now from the image's if it is not there yet; the guest must be locked.
 * It is a clone of that where the file system can, otherwise a layer over it, and a copy where even
 * that cannot be, or where one is wanted. What is there already stays what it is. */
enum disk_way {
	DISK_LAYER,
	DISK_LOOSE, /* its folder will go: what is behind it is reached through out->base */
	DISK_COPY
};
struct guest_disk {
	char *path;
	const char *format; /* the image's, unless layered */
	bool layered;	    /* a qcow2 whose backing is to be trusted */
	int base;	    /* LOOSE: to be open for as long as the disk is; else -1 */
};
int store_guest_disk(struct store *s, const char *name, const struct image *im, enum disk_way way,
		     struct guest_disk *out, struct err *e);
void guest_disk_done(struct guest_disk *d); /* zeroed to begin with */
/* The same of any file: path is a copy of `from` under that name, made if there is none yet. */
int store_guest_file(struct store *s, const char *name, const char *file, const char *from,
		     char **path, struct err *e);
/* Layers (layer.c): disks that share what lies behind them.
 *   guests/<name>/disk.qcow2   if it is there, it is the guest's disk, and lies over a base
 *   guests/<name>/base-<hex>   never written again: a file that guests share by hard links, so
 *                              that it goes with the last of them; an image's disk may be one
 * Whether there is a layer, and its path, the caller's. */
bool store_guest_layer(struct store *s, const char *name, char **path);
/* Lay a guest's first one over the image's disk, which it shares by a link, or through base (a
 * descriptor, if not -1). 1: it cannot lie over that. For store_guest_disk(). */
int store_guest_layer_image(struct store *s, const char *name, const struct image *im, int base,
			    struct err *e);
/* Give a guest that has no disk yet one that holds what from's holds; both are locked, and neither
 * runs. Cloned by the file system if it can, otherwise from's disk becomes a base, and both get a
 * layer over it. */
int store_guest_layer_share(struct store *s, const char *from, const char *to, struct err *e);
/* The same for what is in the file at path, raw or (layered) a layer over bases of from's; it must
 * never be written again. from may be to: its disk is then as it was then. */
int store_guest_layer_over(struct store *s, const char *from, const char *to, const char *path,
			   bool layered, struct err *e);
/* Guests that are on their way here (arrival.c): folders guests/.in-<id>, locked like others, which
 * nobody sees. */
int store_arrival_begin(struct store *s, const char *id, int *dirfd, struct err *e);
/* It is a guest from now on; one of the same id that has moved away (gone says so) gives way to it.
 * -EEXIST. */
int store_arrival_keep(struct store *s, const char *id, const char *name, bool gone, struct err *e);
/* It never will be one; 0 too if it is not there (any more). */
int store_arrival_drop(struct store *s, const char *id, struct err *e);
/* Remove the folder of a guest that we have locked, with all in it, and close *dirfd. */
int store_guest_remove(struct store *s, const char *name, int *dirfd, struct err *e);

/* Named volumes (volume.c): folders of data that guests share.
 *   volumes/<name>/data  */
struct volume {
	char *name, *path; /* of its data */
	int64_t created;
	bool used; /* by somebody, now */
};
void volume_done(struct volume *v);
int store_volume_create(struct store *s, const char *name, struct err *e); /* or it is there */
/* Made if need be. While *fd is open nobody removes it; *path is the caller's to free(). */
int store_volume_use(struct store *s, const char *name, char **path, int *fd, struct err *e);
int store_volume_find(struct store *s, const char *name, struct volume *out, struct err *e);
/* -EBUSY in words while somebody uses it. */
int store_volume_rm(struct store *s, const char *name, struct err *e);
/* fn for every volume by name; stops at the first result that is not 0 and returns it. */
int store_volume_each(struct store *s, int (*fn)(void *ctx, const struct volume *v), void *ctx,
		      struct err *e);
#endif
