#ifndef STORE_TREE_H
#define STORE_TREE_H
#include "base/err.h"
#include <stdbool.h>
/* Trees of files as a stream: tar(5), in GNU's form. */
/* Write what is at path, a file or a folder with all in it, to fd; in the stream it is called top.
 * Owners are not told, links are links; what is neither file, folder nor link is passed over. */
int tree_pack(int fd, const char *path, const char *top, struct err *e);

/* Whoever made the stream at fd is not trusted: nothing outside the folder is touched whatever
 * names and links there are, also by the files that were made before; files get no set-user-id; and
 * of what a file system can hold only files, folders and links are made. Names begin with a first
 * part, which becomes top; top "": it is left out, and the rest comes into the folder itself. */
struct tree_unpack {
	int folder;
	const char *top;
	/* Of the first thing, before it is made; not 0: given up, and returned. May be NULL. */
	int (*first)(void *ctx, bool is_folder, struct err *e);
	void *ctx;
	unsigned skipped; /* filled in: things that were not made */
};
int tree_unpack(int fd, struct tree_unpack *t, struct err *e);

/* A layer of a container's image, into a folder of its own that overlayfs takes as one: what the
 * layer takes away (.wh.NAME, .wh..wh..opq; image-spec, layer.md) becomes a device 0:0, and an
 * attribute of the folder. Not trusted either; but names are whole, links in them lead where they
 * do inside the folder, and what the caller may make is made: owners, set-user-id, devices,
 * attributes. *skipped: things that were not. The stream's bytes come from *u. */
struct unzip;
int tree_unpack_layer(struct unzip *u, int folder, unsigned *skipped, struct err *e);
/* The same of an archive that only carries files: those, folders and links, all of them the
 * caller's. */
int tree_unpack_plain(struct unzip *u, int folder, struct err *e);
#endif
