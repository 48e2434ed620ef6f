/* The folders of guests as a whole: which there are, and what they are called. */
#include "base/fault.h"
#include "base/own.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static char *folder(const struct store *s, const char *name)
{
	char *path;
	must(asprintf(&path, "%s/guests/%s", store_root(s), name) >= 0);
	return path;
}

static int check_name(const char *name, struct err *e)
{
	if (store_name_ok(name)) return 0;
	return fail(e, -EINVAL,
		    "'%s' is not a name: lower-case letters, digits, '_', '.', '-', and a letter "
		    "or digit first",
		    name);
}

int store_guest_look(struct store *s, const char *name, int *dirfd, struct err *e)
{
	*dirfd = -1;
	int r = check_name(name, e);
	if (r) return r;
	auto_mem char *path = folder(s, name);
	*dirfd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*dirfd >= 0) return 0;
	if (errno == ENOENT) return fail(e, -ENOENT, "no guest named '%s'", name);
	return fail(e, -errno, "%s: %s", path, strerror(errno));
}

static int is_guest(const struct dirent *d) { return store_name_ok(d->d_name); }

int store_guest_each(struct store *s, int (*fn)(void *ctx, const char *name), void *ctx,
		     struct err *e)
{
	struct dirent **all = NULL;
	auto_mem char *path = folder(s, "");
	int r = 0, n = scandir(path, &all, is_guest, versionsort);
	if (n < 0) return errno == ENOENT ? 0 : fail(e, -errno, "%s: %s", path, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (!r) r = fn(ctx, all[i]->d_name);
		free(all[i]);
	}
	free(all);
	return r;
}

int store_guest_rename(struct store *s, const char *from, const char *to, struct err *e)
{
	int r = check_name(to, e);
	if (r) return r;
	auto_mem char *a = folder(s, from), *b = folder(s, to);
	fault_point();
	r = renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE) ? -errno : 0;
	fault_point();
	if (r == -EEXIST) return fail(e, r, "there is a guest named '%s' already", to);
	return r ? fail(e, r, "guest %s: %s", from, strerror(-r)) : 0;
}
