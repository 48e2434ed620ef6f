/* A guest's discs by name. Small files, replaced as a whole; that there is none says that nothing
 * was changed. */
#include "guest/discs.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "guest/guest.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define NOW ".now"
enum { JSON_MAX = 64 << 10, KEY = 16 };

/* By its descriptor: the folder may be renamed meanwhile. */
static char *path_of(int folder, const char *name)
{
	char *p;
	must(asprintf(&p, "/proc/self/fd/%d/discs%s%s", folder, *name ? "/" : "", name) > 0);
	return p;
}

int discs_lock(int folder, struct err *e)
{
	auto_mem char *dir = path_of(folder, "");
	int r = dir_make(dir, e);
	if (r) return r;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && flock(fd, LOCK_EX))
		if (errno != EINTR) break;
	return fd >= 0 ? fd : fail(e, -errno, "%s: %s", dir, strerror(errno));
}

/* NULL: there are none. */
static struct json_object *read_all(int folder, const char *name)
{
	auto_mem char *path = path_of(folder, name);
	auto_buf struct buf b = {0};
	struct json_object *o = NULL;
	if (file_read(&b, path, JSON_MAX, NULL) == 0 && b.at) o = json_tokener_parse(b.at);
	if (json_object_is_type(o, json_type_object)) return o;
	(void)json_object_put(o);
	return NULL;
}

static int write_all(int folder, const char *name, struct json_object *o, struct err *e)
{
	auto_mem char *path = path_of(folder, name), *dir = path_of(folder, "");
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY);
	int r = dir_make(dir, e);
	return r ? r : file_replace(path, text, strlen(text), 0600, e);
}

int discs_note(int folder, unsigned drive, const char *path, struct err *e)
{
	struct json_object *o = read_all(folder, NOW);
	char key[KEY];
	if (!o) o = json_object_new_object();
	must(o);
	(void)snprintf(key, sizeof(key), "%u", drive);
	must(!json_object_object_add(o, key, json_object_new_string(path)));
	int r = write_all(folder, NOW, o, e);
	(void)json_object_put(o);
	return r;
}

void discs_forget(int folder, const char *tag)
{
	auto_mem char *path = path_of(folder, tag);
	(void)unlink(path);
}

void discs_begin(int folder) { discs_forget(folder, NOW); }

static int copy(int folder, const char *name, int to, const char *as, struct err *e)
{
	struct json_object *o = read_all(folder, name);
	if (!o) discs_forget(to, as);
	int r = o ? write_all(to, as, o, e) : 0;
	(void)json_object_put(o);
	return r;
}

int discs_keep(int folder, const char *tag, struct err *e)
{
	return copy(folder, NOW, folder, tag, e);
}

int discs_back(int folder, const char *tag, struct err *e)
{
	return copy(folder, tag, folder, NOW, e);
}

int discs_share(int folder, const char *tag, int to, struct err *e)
{
	return copy(folder, tag, to, tag, e);
}

/* ---- into a spec */
static int use(struct spec_disk *d, unsigned drive, const char *path, struct arena *a,
	       struct err *e)
{
	char *own = arena_make(a, char, strlen(path) + 1);
	if (!file_exists(path))
		return fail(e, -ENOENT,
			    "the disc that was in CD drive %u is not there: %s; put it back there",
			    drive, path);
	(void)strcpy(own, path);
	*d = (struct spec_disk){.path = own, .format = "raw", .readonly = true, .bus = d->bus};
	return 0;
}

int discs_use(int folder, const char *tag, struct spec *s, struct arena *a, struct err *e)
{
	struct json_object *o = read_all(folder, tag), *v;
	unsigned drive = 0;
	int r = 0;
	for (unsigned i = 0; r == 0 && i < s->ndisks; i++) {
		char key[KEY];
		if (s->disk[i].bus != BUS_CDROM) continue;
		(void)snprintf(key, sizeof(key), "%u", ++drive);
		if (json_object_object_get_ex(o, key, &v) &&
		    json_object_is_type(v, json_type_string))
			r = use(&s->disk[i], drive, json_object_get_string(v), a, e);
	}
	(void)json_object_put(o);
	return r;
}
