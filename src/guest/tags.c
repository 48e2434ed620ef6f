/* The snapshots of a kept guest. Each is a folder that appears under its tag when it is whole; what
 * they say of each other is only for people. */
#include "guest/tags.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "guest/discs.h"
#include "guest/guest.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { JSON_MAX = 64 << 10, TAGS_MAX = 4096 };

static char *path_of(struct store *s, const char *guest, const char *rest, const char *more)
{
	char *p;
	must(asprintf(&p, "%s/guests/%s/snapshots%s%s", store_root(s), guest, rest, more) > 0);
	return p;
}

static int check_tag(const char *tag, struct err *e)
{
	if (store_name_ok(tag) && strcmp(tag, "current")) return 0;
	return fail(e, -EINVAL,
		    "'%s' is not a name for a snapshot: lower-case letters, digits, '_', '.', '-', "
		    "and not 'current'",
		    tag);
}

/* "": none. */
static void current_read(struct store *s, const char *guest, char to[TAG_NAME])
{
	auto_mem char *path = path_of(s, guest, "/current", "");
	auto_buf struct buf b = {0};
	*to = 0;
	if (file_read(&b, path, TAG_NAME, NULL) < 0 || !b.at) return;
	b.at[strcspn(b.at, "\n")] = 0;
	if (store_name_ok(b.at)) (void)snprintf(to, TAG_NAME, "%s", b.at);
}

int tag_is_current(struct store *s, const char *guest, const char *tag, struct err *e)
{
	char now[TAG_NAME];
	current_read(s, guest, now);
	if (!strcmp(now, tag)) return 0;
	auto_mem char *path = path_of(s, guest, "/current", "");
	auto_buf struct buf b = {0};
	buf_fmt(&b, "%s\n", tag);
	return file_replace(path, b.at, b.len, 0600, e);
}

int tag_begin(struct store *s, const char *guest, const char *tag, char **draft, struct err *e)
{
	auto_mem char *dir = path_of(s, guest, "", ""), *there = path_of(s, guest, "/", tag);
	*draft = NULL;
	int r = check_tag(tag, e);
	if (r == 0) r = dir_make(dir, e);
	if (r < 0) return r;
	if (file_exists(there))
		return fail(e, -EEXIST,
			    "guest %s: there is a snapshot '%s' already; remove it: "
			    "lodge snapshot rm %s %s",
			    guest, tag, guest, tag);
	must(asprintf(draft, "%s/.%s.%d", dir, tag, (int)getpid()) > 0);
	return dir_remove(*draft, e);
}

static int note(struct store *s, const char *guest, const char *draft, struct err *e)
{
	auto_mem char *path = NULL;
	char after[TAG_NAME];
	struct json_object *o = json_object_new_object();
	must(o && asprintf(&path, "%s/tag.json", draft) > 0);
	current_read(s, guest, after);
	(void)json_object_object_add(o, "after", json_object_new_string(after));
	(void)json_object_object_add(o, "created", json_object_new_int64(time(NULL)));
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY);
	int r = file_replace(path, text, strlen(text), 0600, e);
	(void)json_object_put(o);
	return r;
}

int tag_keep(struct store *s, const char *guest, const char *tag, const char *draft, struct err *e)
{
	auto_mem char *to = path_of(s, guest, "/", tag);
	int r = note(s, guest, draft, e);
	if (r < 0) return r;
	if (rename(draft, to)) return fail(e, -errno, "%s: %s", to, strerror(errno));
	return tag_is_current(s, guest, tag, e);
}

void tag_drop(const char *draft) { (void)dir_remove(draft, NULL); }

static uint64_t bytes_seen; /* nftw() takes no word of ours along */
static int bytes_add(const char *path, const struct stat *st, int what, struct FTW *at)
{
	(void)path, (void)at;
	if (what == FTW_F && S_ISREG(st->st_mode)) bytes_seen += (uint64_t)st->st_blocks * 512;
	return 0;
}

static uint64_t bytes_in(const char *path)
{
	enum { FDS = 64 };
	bytes_seen = 0;
	(void)nftw(path, bytes_add, FDS, FTW_PHYS | FTW_MOUNT);
	return bytes_seen;
}

static void read_note(struct tag *t, const char *path)
{
	auto_mem char *name = NULL;
	auto_buf struct buf b = {0};
	struct json_object *o = NULL, *v;
	must(asprintf(&name, "%s/tag.json", path) > 0);
	if (file_read(&b, name, JSON_MAX, NULL) == 0 && b.at) o = json_tokener_parse(b.at);
	if (json_object_object_get_ex(o, "created", &v)) t->created = json_object_get_int64(v);
	if (json_object_object_get_ex(o, "after", &v)) {
		const char *after = json_object_get_string(v);
		if (after && store_name_ok(after))
			(void)snprintf(t->after, sizeof(t->after), "%s", after);
	}
	(void)json_object_put(o);
}

int tag_find(struct store *s, const char *guest, const char *tag, struct tag *to, char **path,
	     struct err *e)
{
	int r = check_tag(tag, e);
	if (r < 0) return r;
	auto_mem char *dir = path_of(s, guest, "/", tag);
	struct stat st;
	if (lstat(dir, &st) || !S_ISDIR(st.st_mode))
		return fail(e, -ENOENT,
			    "guest %s: there is no snapshot '%s'; see: lodge snapshot "
			    "ls %s",
			    guest, tag, guest);
	*to = (struct tag){.bytes = bytes_in(dir)};
	(void)snprintf(to->name, sizeof(to->name), "%s", tag);
	read_note(to, dir);
	if (path) must((*path = strdup(dir)));
	return 0;
}

static int by_age(const void *a, const void *b)
{
	const struct tag *x = a, *y = b;
	if (x->created != y->created) return x->created < y->created ? -1 : 1;
	return strcmp(x->name, y->name);
}

int tag_each(struct store *s, const char *guest, int (*fn)(void *ctx, const struct tag *t),
	     void *ctx, struct err *e)
{
	auto_mem char *dir = path_of(s, guest, "", "");
	auto_mem struct tag *all = NULL;
	size_t n = 0;
	int r = 0;
	DIR *d = opendir(dir);
	if (!d) return errno == ENOENT ? 0 : fail(e, -errno, "%s: %s", dir, strerror(errno));
	for (struct dirent *f; n < TAGS_MAX && (f = readdir(d));) {
		if (!store_name_ok(f->d_name) || !strcmp(f->d_name, "current")) continue;
		all = realloc(all, (n + 1) * sizeof(*all));
		must(all);
		if (!tag_find(s, guest, f->d_name, &all[n], NULL, NULL)) n++;
	}
	(void)closedir(d);
	if (n) qsort(all, n, sizeof(*all), by_age);
	for (size_t i = 0; r == 0 && i < n; i++) r = fn(ctx, &all[i]);
	return r;
}

struct tag_disk tag_disk(const struct spec_disk *d, unsigned n)
{
	struct tag_disk t;
	bool layer = d->backing && d->format && !strcmp(d->format, "qcow2");
	(void)snprintf(t.name, sizeof(t.name), "disk%u%s", n, layer ? ".qcow2" : "");
	return t;
}

int tag_hide(struct store *s, const char *guest, const char *tag, char **gone, struct err *e)
{
	struct tag t;
	auto_mem char *path = NULL;
	*gone = NULL;
	int r = tag_find(s, guest, tag, &t, &path, e);
	if (r < 0) return r;
	auto_mem char *dir = path_of(s, guest, "", "");
	must(asprintf(gone, "%s/.%s.%d", dir, tag, (int)getpid()) > 0);
	if (rename(path, *gone)) return fail(e, -errno, "%s: %s", path, strerror(errno));
	auto_fd int folder = -1;
	if (!store_guest_look(s, guest, &folder, NULL)) discs_forget(folder, tag);
	return 0;
}

/* Under another name first: half a snapshot is none. */
int tag_remove(struct store *s, const char *guest, const char *tag, struct err *e)
{
	auto_mem char *gone = NULL;
	int r = tag_hide(s, guest, tag, &gone, e);
	return r ? r : dir_remove(gone, e);
}

/* Their names end with the process's number. */
void tag_left(struct store *s, const char *guest, void (*fn)(void *ctx, const char *path),
	      void *ctx)
{
	auto_mem char *dir = path_of(s, guest, "", "");
	DIR *d = opendir(dir);
	for (struct dirent *f; d && (f = readdir(d));) {
		const char *dot = strrchr(f->d_name, '.');
		long pid = dot ? strtol(dot + 1, NULL, 10) : 0;
		if (f->d_name[0] != '.' || dot == f->d_name || pid < 1 || pid > INT_MAX) continue;
		if (!kill((pid_t)pid, 0) || errno != ESRCH) continue;
		auto_mem char *path = path_of(s, guest, "/", f->d_name);
		fn(ctx, path);
	}
	if (d) (void)closedir(d);
}
