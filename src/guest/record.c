/* Two small files a guest. Files are reached through the folder's descriptor, since its path may
 * change while the guest runs. */
#include "guest/record.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "guest/spec.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { VERSION = 1, DEPTH = 8, RECORD_MAX = 256 * 1024, STATE_MAX = 4096 };
static const char *const lives[] = {
	[LIFE_CREATED] = "created", [LIFE_RUNNING] = "running", [LIFE_PAUSED] = "paused",
	[LIFE_EXITED] = "exited",   [LIFE_BROKEN] = "broken",	[LIFE_LEAVING] = "leaving",
	[LIFE_MOVED] = "moved"};

const char *life_name(enum guest_life l) { return lives[l]; }

struct path {
	char text[64];
};
static struct path inside(int dirfd, const char *name)
{
	struct path p;
	(void)snprintf(p.text, sizeof(p.text), "/proc/self/fd/%d/%s", dirfd, name);
	return p;
}

/* NULL: it is no JSON object. */
static struct json_object *parse(const char *text, size_t n)
{
	struct json_tokener *t = json_tokener_new_ex(DEPTH);
	must(t);
	struct json_object *o = json_tokener_parse_ex(t, text, (int)n);
	json_tokener_free(t);
	if (json_object_is_type(o, json_type_object)) return o;
	(void)json_object_put(o);
	return NULL;
}

static void say(struct json_object *o, struct buf *to)
{
	buf_fmt(to, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	(void)json_object_put(o);
}

static int put_file(const struct buf *b, int dirfd, const char *name, struct err *e)
{
	return file_replace(inside(dirfd, name).text, b->at, b->len, 0600, e);
}

static int64_t number(struct json_object *o, const char *key)
{
	struct json_object *v;
	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

/* ---- who it is ---- */
void record_id_make(char id[RECORD_ID + 1])
{
	uint64_t n = 0;
	must(getrandom(&n, RECORD_ID / 2, 0) == RECORD_ID / 2);
	(void)snprintf(id, RECORD_ID + 1, "%012llx", (unsigned long long)n);
}

static bool id_take(char id[RECORD_ID + 1], struct json_object *o)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, "id", &v)) return false;
	const char *s = json_object_get_string(v);
	if (!s || strlen(s) != RECORD_ID || strspn(s, "0123456789abcdef") != RECORD_ID)
		return false;
	memcpy(id, s, RECORD_ID + 1);
	return true;
}

static int take(struct record *r, struct json_object *o, struct err *e)
{
	struct json_object *spec = NULL;
	if (!o) return fail(e, -EINVAL, "not a JSON object");
	if (number(o, "version") != VERSION)
		return fail(e, -EINVAL, "written by another version of lodge");
	if (!id_take(r->id, o)) return fail(e, -EINVAL, "id: not %d digits", RECORD_ID);
	r->created = number(o, "created");
	(void)json_object_object_get_ex(o, "spec", &spec);
	int bad = spec_from_json(&r->spec, r->arena, spec, e);
	return bad ? fail_in(e, "spec") : 0;
}

int record_parse(struct record *r, const char *text, size_t n, struct err *e)
{
	*r = (struct record){.arena = arena_new()};
	struct json_object *o = parse(text, n);
	int bad = take(r, o, e);
	(void)json_object_put(o);
	if (bad) record_done(r);
	return bad;
}

int record_read(struct record *r, int dirfd, struct err *e)
{
	auto_buf struct buf b = {0};
	*r = (struct record){0};
	int bad = file_read(&b, inside(dirfd, "guest.json").text, RECORD_MAX, e);
	if (!bad) bad = record_parse(r, b.at ? b.at : "", b.len, e);
	return bad && bad != -ENOENT ? fail_in(e, "guest.json") : bad;
}

void record_format(const struct record *r, struct buf *to)
{
	struct json_object *o = json_object_new_object(), *spec = json_object_new_object();
	must(o && spec);
	put(o, "version", json_object_new_int(VERSION));
	put(o, "id", json_object_new_string(r->id));
	put(o, "created", json_object_new_int64(r->created));
	spec_to_json(&r->spec, spec);
	put(o, "spec", spec);
	say(o, to);
}

int record_write(const struct record *r, int dirfd, struct err *e)
{
	auto_buf struct buf b = {0};
	record_format(r, &b);
	return put_file(&b, dirfd, "guest.json", e);
}

void record_done(struct record *r)
{
	arena_free(r->arena);
	*r = (struct record){0};
}

void record_sweep(int dirfd)
{
	DIR *d = opendir(inside(dirfd, ".").text);
	for (struct dirent *f; d && (f = readdir(d));)
		if (!fnmatch("*.json.??????", f->d_name, 0)) (void)unlinkat(dirfd, f->d_name, 0);
	if (d) (void)closedir(d);
}

/* ---- what became of it ---- */
static enum guest_life life_of(struct json_object *o)
{
	struct json_object *v;
	const char *name =
		json_object_object_get_ex(o, "state", &v) ? json_object_get_string(v) : NULL;
	for (unsigned i = 0; name && i < sizeof(lives) / sizeof(lives[0]); i++)
		if (!strcmp(name, lives[i])) return (enum guest_life)i;
	return LIFE_BROKEN;
}

static bool has_words(enum guest_life l) { return l >= LIFE_BROKEN; }

void state_parse(struct guest_state *s, const char *text, size_t n)
{
	struct json_object *o = parse(text, n), *why;
	*s = (struct guest_state){.life = LIFE_BROKEN};
	if (o) {
		s->life = life_of(o);
		s->pid = (int)number(o, "pid");
		s->code = (int)number(o, "exit_code");
		s->started = number(o, "started");
		s->finished = number(o, "finished");
	}
	const char *words = o && json_object_object_get_ex(o, "why", &why)
				    ? json_object_get_string(why)
				    : "its state.json is damaged";
	if (has_words(s->life)) (void)snprintf(s->why, sizeof(s->why), "%s", words ? words : "");
	(void)json_object_put(o);
}

void state_read(struct guest_state *s, int dirfd)
{
	auto_buf struct buf b = {0};
	int bad = file_read(&b, inside(dirfd, "state.json").text, STATE_MAX, NULL);
	*s = (struct guest_state){.life = LIFE_CREATED};
	if (bad != -ENOENT) state_parse(s, b.at ? b.at : "", b.len);
}

void state_format(const struct guest_state *s, struct buf *to)
{
	struct json_object *o = json_object_new_object();
	must(o);
	put(o, "state", json_object_new_string(life_name(s->life)));
	put(o, "pid", json_object_new_int(s->pid));
	put(o, "started", json_object_new_int64(s->started));
	if (s->finished) put(o, "finished", json_object_new_int64(s->finished));
	if (s->life == LIFE_EXITED) put(o, "exit_code", json_object_new_int(s->code));
	if (has_words(s->life)) put(o, "why", json_object_new_string(s->why));
	say(o, to);
}

int state_write(const struct guest_state *s, int dirfd, struct err *e)
{
	auto_buf struct buf b = {0};
	state_format(s, &b);
	return put_file(&b, dirfd, "state.json", e);
}
