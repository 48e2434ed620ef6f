/* Over all that a zone has written, a folder before what is in it. */
#include "base/own.h"
#include "base/types.h"
#include "zone/files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

bool files_ours(const struct files_seen *s)
{
	static const char *const places[] = {"dev",	  "proc",	  "sys",
					     "etc/hosts", "etc/hostname", "etc/resolv.conf"};
	bool empty = S_ISDIR(s->st->st_mode) || (S_ISREG(s->st->st_mode) && !s->st->st_size);
	for (unsigned i = 0; empty && i < COUNT(places); i++)
		if (!strcmp(s->path, places[i])) return true;
	return false;
}

struct walk {
	int (*fn)(void *ctx, const struct files_seen *s, struct err *e);
	void *ctx;
	dev_t dev;
	char path[FILES_PATH];
	unsigned depth;
};

bool files_opaque(int at, const char *name)
{
	char path[64 + 256], v = 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", at, name);
	return (lgetxattr(path, "trusted.overlay.opaque", &v, 1) == 1 && v == 'y') ||
	       (lgetxattr(path, "user.overlay.opaque", &v, 1) == 1 && v == 'y');
}

static int folder_walk(struct walk *w, int fd, struct err *e);
static int told(struct walk *w, int at, const char *name, const struct stat *st, struct err *e)
{
	struct files_seen s = {.at = at, .name = name, .path = w->path, .st = st};
	s.gone = files_gone(st);
	s.opaque = S_ISDIR(st->st_mode) && files_opaque(at, name);
	return w->fn(w->ctx, &s, e);
}

static int below(struct walk *w, int at, const char *name, struct err *e)
{
	auto_fd int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? fail(e, -errno, "/%.150s: %s", w->path, strerror(errno))
		      : folder_walk(w, fd, e);
}

static int one(struct walk *w, int at, const char *name, struct err *e)
{
	struct stat st;
	size_t was = strlen(w->path);
	if (was + strlen(name) + 2 > FILES_PATH || w->depth == FILES_DEPTH)
		return fail(e, -ELOOP, "folders in folders, too deep: /%.100s...", w->path);
	(void)snprintf(w->path + was, FILES_PATH - was, "%s%s", was ? "/" : "", name);
	int r = fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
	if (!r && st.st_dev != w->dev) r = -EXDEV;
	if (r) return fail(e, r, "/%.150s: %s", w->path, strerror(-r));
	w->depth++;
	r = told(w, at, name, &st, e);
	if (!r && S_ISDIR(st.st_mode)) r = below(w, at, name, e);
	w->depth--;
	w->path[was] = 0;
	return r;
}

static int folder_walk(struct walk *w, int fd, struct err *e)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = again < 0 ? NULL : fdopendir(again);
	if (!d) return fail(e, -errno, "/%.150s: %s", w->path, strerror(errno));
	for (struct dirent *f; !r && (f = readdir(d));)
		if (strcmp(f->d_name, ".") && strcmp(f->d_name, "..")) r = one(w, fd, f->d_name, e);
	(void)closedir(d);
	return r;
}

int files_walk(int top, int (*fn)(void *ctx, const struct files_seen *s, struct err *e), void *ctx,
	       struct err *e)
{
	struct stat st;
	struct walk w = {.fn = fn, .ctx = ctx};
	if (fstat(top, &st)) return fail(e, -errno, "the zone's files: %s", strerror(errno));
	w.dev = st.st_dev;
	int r = told(&w, top, ".", &st, e);
	return r ? r : folder_walk(&w, top, e);
}
