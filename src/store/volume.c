/* Named volumes: folders of the store that guests share and that outlive them. Whoever uses one
 * holds a shared lock on its folder, so that it is not removed under him. */
#include "base/file.h"
#include "base/own.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define DATA "data"

static char *path_of(const struct store *s, const char *name, const char *below)
{
	char *p;
	must(asprintf(&p, "%s/volumes%s%s%s", store_root(s), name ? "/" : "", name ? name : "",
		      below) >= 0);
	return p;
}

static int check(const char *name, struct err *e)
{
	if (store_name_ok(name)) return 0;
	return fail(e, -EINVAL,
		    "volume %s: a name is up to 63 of a-z 0-9 _ . - and starts with a-z 0-9", name);
}

/* Made under another name first: a volume that is there has its folder of data. */
static int make(const struct store *s, const char *name, struct err *e)
{
	auto_mem char *all = path_of(s, NULL, ""), *dir = path_of(s, name, ""), *temp = NULL,
		      *data = NULL;
	int r = dir_make(all, e);
	if (r) return r;
	must(asprintf(&temp, "%s/.new-XXXXXX", all) >= 0);
	if (!mkdtemp(temp)) return fail(e, -errno, "volume %s: %s", name, strerror(errno));
	must(asprintf(&data, "%s/" DATA, temp) >= 0);
	if (mkdir(data, 0755) || chmod(data, 0755))
		r = -errno;
	else if (rename(temp, dir))
		r = -errno;
	if (r) {
		(void)rmdir(data);
		(void)rmdir(temp);
	}
	if (r == -EEXIST || r == -ENOTEMPTY) return 0; /* somebody else was faster */
	return r ? fail(e, r, "volume %s: %s", name, strerror(-r)) : 0;
}

int store_volume_create(struct store *s, const char *name, struct err *e)
{
	auto_mem char *data = path_of(s, name, "/" DATA);
	int r = check(name, e);
	return r || file_exists(data) ? r : make(s, name, e);
}

static int lock_try(const char *name, const char *dir, int how, int *fd, struct err *e)
{
	struct stat a, b;
	auto_fd int f = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f < 0 && errno == ENOENT)
		return fail(e, -ENOENT, "volume %s: there is none; try: lodge volume ls", name);
	if (f < 0) return fail(e, -errno, "volume %s: %s", name, strerror(errno));
	if (flock(f, how | LOCK_NB)) {
		if (errno == EINTR) return -EAGAIN;
		return fail(e, errno == EWOULDBLOCK ? -EBUSY : -errno,
			    errno == EWOULDBLOCK ? "volume %s: a guest uses it"
						 : "volume %s: it cannot be locked",
			    name);
	}
	if (fstat(f, &a) || lstat(dir, &b) || a.st_ino != b.st_ino || a.st_dev != b.st_dev)
		return -EAGAIN; /* removed, perhaps made anew, meanwhile */
	*fd = give_fd(&f);
	return 0;
}

static int lock(const struct store *s, const char *name, int how, int *fd, struct err *e)
{
	auto_mem char *dir = path_of(s, name, "");
	int r;
	do r = lock_try(name, dir, how, fd, e);
	while (r == -EAGAIN);
	return r;
}

int store_volume_use(struct store *s, const char *name, char **path, int *fd, struct err *e)
{
	int r;
	*path = NULL;
	*fd = -1;
	do {
		r = store_volume_create(s, name, e);
		if (!r) r = lock(s, name, LOCK_SH, fd, e);
	} while (r == -ENOENT);
	if (!r) *path = path_of(s, name, "/" DATA);
	return r;
}

int store_volume_find(struct store *s, const char *name, struct volume *out, struct err *e)
{
	auto_mem char *dir = path_of(s, name, "");
	struct stat st;
	*out = (struct volume){0};
	int fd, r = check(name, e);
	if (r) return r;
	if (lstat(dir, &st) || !S_ISDIR(st.st_mode))
		return fail(e, -ENOENT, "volume %s: there is none; try: lodge volume ls", name);
	r = lock(s, name, LOCK_EX, &fd, NULL);
	if (!r) (void)close(fd);
	out->used = r == -EBUSY;
	out->created = (int64_t)st.st_mtim.tv_sec; /* nothing but data is ever in it */
	out->name = strdup(name);
	out->path = path_of(s, name, "/" DATA);
	must(out->name);
	return 0;
}

void volume_done(struct volume *v)
{
	free(v->name);
	free(v->path);
	*v = (struct volume){0};
}

int store_volume_rm(struct store *s, const char *name, struct err *e)
{
	auto_mem char *dir = path_of(s, name, ""), *gone = NULL;
	int fd, r = check(name, e);
	if (!r) r = lock(s, name, LOCK_EX, &fd, e);
	if (r) return r;
	must(asprintf(&gone, "%s/volumes/.gone-%s-%d", store_root(s), name, getpid()) >= 0);
	if (rename(dir, gone)) r = fail(e, -errno, "volume %s: %s", name, strerror(errno));
	(void)close(fd);
	return r ? r : dir_remove(gone, e);
}

/* What a killed process left: nobody holds it, and no volume has such a name. */
static void sweep(const char *all, const char *name)
{
	auto_mem char *path = NULL;
	if (strncmp(name, ".gone-", 6)) return;
	must(asprintf(&path, "%s/%s", all, name) >= 0);
	(void)dir_remove(path, NULL);
}

int store_volume_each(struct store *s, int (*fn)(void *ctx, const struct volume *v), void *ctx,
		      struct err *e)
{
	auto_mem char *all = path_of(s, NULL, "");
	struct dirent **list;
	int n = scandir(all, &list, NULL, alphasort), r = 0;
	if (n < 0) return errno == ENOENT ? 0 : fail(e, -errno, "%s: %s", all, strerror(errno));
	for (int i = 0; i < n; i++) {
		struct volume v;
		sweep(all, list[i]->d_name);
		if (!r && store_name_ok(list[i]->d_name) &&
		    !store_volume_find(s, list[i]->d_name, &v, NULL)) {
			r = fn(ctx, &v);
			volume_done(&v);
		}
		free(list[i]);
	}
	free(list);
	return r;
}
