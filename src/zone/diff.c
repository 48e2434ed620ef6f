/* What a zone has changed, of what its layers show. The layers are looked through by ourselves, the
 * highest first, as overlayfs would: nothing has to be mounted. */
#include "base/own.h"
#include "zone/files.h"
#include "zone/sys.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct diff {
	const struct files_lower *l;
	FILE *to;
};

/* What a layer says of a path. */
enum said { NOTHING, THERE, HIDDEN };

static int open_in(int at, const char *path, int flags)
{
	return sys_openat2(at, path, (uint64_t)flags, 0,
			   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

/* Of one part of the path, in a folder; *next: that folder, if it is one. */
static enum said part_in(int at, const char *name, bool last, int *next, bool *opaque)
{
	struct stat st;
	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW)) return NOTHING;
	if (files_gone(&st)) return HIDDEN;
	if (last) return THERE;
	if (!S_ISDIR(st.st_mode)) return HIDDEN;
	*opaque |= files_opaque(at, name);
	*next = open_in(at, name, O_PATH | O_DIRECTORY);
	return *next < 0 ? HIDDEN : NOTHING;
}

static enum said layer_says(int layer, const char *path)
{
	char part[256];
	bool opaque = false;
	auto_fd int at = open_in(layer, ".", O_PATH | O_DIRECTORY);
	for (;;) {
		int next = -1;
		size_t n = strcspn(path, "/");
		if (n >= sizeof(part)) return HIDDEN;
		memcpy(part, path, n);
		part[n] = 0;
		enum said s = part_in(at, part, !path[n], &next, &opaque);
		if (s != NOTHING) return s;
		if (next < 0) return opaque ? HIDDEN : NOTHING;
		drop_fd(&at);
		at = next;
		path += n + 1;
	}
}

/* Do the layers from the first-th on show something there? */
static bool shown(const struct files_lower *l, const char *path)
{
	for (unsigned i = 0; i < l->n; i++) {
		enum said s = layer_says(l->at[i], path);
		if (s != NOTHING) return s == THERE;
	}
	return false;
}

static int tell(const struct diff *d, char what, const char *path)
{
	return fprintf(d->to, "%c/%s%c", what, path, 0) < 0 ? -EIO : 0;
}

/* ---- what a folder that hides what was in it has hidden */
static bool told_before(const struct files_lower *l, unsigned n, const char *path)
{
	struct files_lower above = {.n = n};
	memcpy(above.at, l->at, n * sizeof(l->at[0]));
	return shown(&above, path);
}

static int hidden_in(const struct diff *d, const struct files_seen *s, int upper, unsigned n)
{
	char path[FILES_PATH];
	struct stat st;
	int fd = open_in(d->l->at[n], s->path, O_RDONLY | O_DIRECTORY), r = 0;
	DIR *in = fd < 0 ? NULL : fdopendir(fd);
	for (struct dirent *f; in && !r && (f = readdir(in));) {
		if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..")) continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", s->path, f->d_name) >=
		    sizeof(path))
			continue;
		if (!fstatat(upper, f->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
		if (shown(d->l, path) && !told_before(d->l, n, path)) r = tell(d, 'D', path);
	}
	if (in) (void)closedir(in);
	return r;
}

static int hidden(const struct diff *d, const struct files_seen *s)
{
	int r = 0;
	auto_fd int upper = open_in(s->at, s->name, O_PATH | O_DIRECTORY);
	for (unsigned n = 0; !r && n < d->l->n; n++) r = hidden_in(d, s, upper, n);
	return r;
}

static int diff_one(void *ctx, const struct files_seen *s, struct err *e)
{
	const struct diff *d = ctx;
	if (!*s->path) return 0;
	bool was = shown(d->l, s->path);
	if (!was && files_ours(s)) return 0;
	int r = s->gone && !was ? 0 : tell(d, s->gone ? 'D' : was ? 'C' : 'A', s->path);
	if (!r && was && s->opaque) r = hidden(d, s);
	return r ? fail(e, r, "telling what has changed: %s", strerror(-r)) : 0;
}

int files_diff(int from, const struct files_lower *l, int fd, struct err *e)
{
	struct diff d = {l, fdopen(fd, "w")};
	if (!d.to) return fail(e, -errno, "telling what has changed: %s", strerror(errno));
	int r = from < 0 ? 0 : files_walk(from, diff_one, &d, e);
	return fclose(d.to) && !r ? fail(e, -EIO, "telling what has changed failed") : r;
}
