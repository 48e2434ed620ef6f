#ifndef ZONE_ROOT_H
#define ZONE_ROOT_H
#include "zone/options.h"
#include <sys/types.h>
/* A zone's file system, built through descriptors only: a path that the zone's image or a volume
 * could turn into another one while we work is resolved once, inside the root, to a descriptor, and
 * what is mounted is moved there. Order: sources_open() as early as may be; then, in the zone's
 * mount namespace, root_attach(), root_mounts(), root_devices(), root_hide(), root_enter(). */
struct source {
	struct options o;
	int tree; /* of a bind: a detached copy of what is bound; -1: not yet, or none is needed */
	bool dir;
	bool late; /* made read-only when all is in it; tree is where, then */
};
struct sources {
	struct source *at; /* one for each of spec->mounts */
	int root;	   /* a detached copy of the root file system, or -1 */
	int null;	   /* /dev/null, found to be that; O_PATH */
};
/* overlay.c: a root file system of layers, which stay as they are, and a folder for what is
 * written.
 */
struct overlay {
	const char *const *layer; /* folders, the lowest first */
	unsigned n;
	const char *disk; /* a file system in a file, below them: for root only; NULL: none */
	/* What is written is a file system of that many bytes in a file of the folder: for root
	 * only; 0: the folder itself. */
	uint64_t storage;
	int folder; /* upper/ and work/ are made in it, if they are missing */
};
struct root {
	const struct spec *spec;
	struct sources *src;
	struct arena *a;
	const char *bundle, *path;  /* absolute: the bundle, its root file system */
	const struct overlay *over; /* its layers instead of path; NULL: none */
	int fd;			    /* the root, once attached */
	bool no_nodes;		    /* a user namespace: device nodes are bound, not made */
	bool no_pivot;
	/* Mounts control groups at the folder dest. */
	int (*group_mount)(void *ctx, const struct source *s, const struct spec_mount *m, int dest,
			   struct err *e);
	void *ctx;
};
/* Once before the namespaces are made, so that what is missing is said early, by whoever has most
 * rights; what was refused for want of rights stays -1. Again inside, with last, where that is an
 * error. Everything opened is close-on-exec. */
int sources_open(struct root *r, bool last, struct err *e);
void sources_close(struct root *r); /* the parent of a zone that was made */

/* The mount, detached. ids: a user namespace whose ids those in the layers are (Linux 6.15); -1:
 * they are ours. own: our mount namespace is not the host's; user: nor is our user namespace.
 * -EAGAIN and no words: this kernel can only do it where it is (before Linux 6.5). */
int overlay_mount(const struct overlay *o, int ids, bool own, bool user, struct err *e);
bool kernel_has(unsigned major, unsigned minor); /* this version, or a later one */

/* What is mounted from here on is not mounted on the host, too. Before anything is. */
int root_cut(struct err *e);
int root_attach(struct root *r, struct err *e);
int root_mounts(struct root *r, struct err *e);
int root_devices(struct root *r, struct err *e);
int root_console(struct root *r, int slave, struct err *e); /* at /dev/console */
int root_hide(struct root *r, struct err *e); /* masked and read-only paths, the root itself */
/* The root becomes "/", nothing of the host's is left. */
int root_enter(struct root *r, struct err *e);

/* root_path.c: path inside the root, as O_PATH; never through magic links, never out. -ENOENT and
 * no words: it is not there. */
int root_find(int root, const char *path);
enum root_kind { ROOT_DIR, ROOT_FILE };
/* The same; what is missing is made, folders as 0755. */
int root_make(int root, const char *path, enum root_kind kind, struct err *e);
/* Folder of path, made if missing; *name is its last part. */
int root_parent(int root, const char *path, const char **name, struct err *e);
/* A mount without a place to where fd is. */
int root_move(int tree, int to);
/* copyup.c: files of folder from into folder to: their kinds, owners, modes; nothing is followed.
 */
int root_copy_up(int from, int to, unsigned depth);
/* A detached copy of where fd is. */
int root_copy(int fd, bool deep);
#endif
