/* Who there is and how they are. Nothing is asked of a monitor that the folder tells; only guests
 * without a folder answer for themselves. */
#include "guest/look.h"
#include "base/buf.h"
#include "base/own.h"
#include "guest/control.h"
#include "guest/spec.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#define USUAL_MEMORY (1ull << 30)

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

static struct json_object *text(const char *s) { return json_object_new_string(s ? s : ""); }

static struct json_object *moment(int64_t at)
{
	char words[40] = "";
	time_t t = (time_t)at;
	struct tm tm;
	if (at > 0 && gmtime_r(&t, &tm))
		(void)strftime(words, sizeof(words), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text(words);
}

static void copy(struct json_object *to, struct json_object *spec, const char *key)
{
	struct json_object *v;
	if (json_object_object_get_ex(spec, key, &v)) put(to, key, json_object_get(v));
}

void look_json(struct json_object *to, const char *name, const struct record *r,
	       const struct guest_state *s)
{
	static const char *const outside[] = {"image", "arch", "cpus", "memory", "ports"};
	struct json_object *spec = json_object_new_object();
	must(spec);
	put(to, "name", text(name));
	put(to, "id", text(r->id));
	put(to, "state", text(life_name(s->life)));
	put(to, "exit_code", json_object_new_int(s->code));
	put(to, "why", text(s->why));
	put(to, "pid", json_object_new_int(life_runs(s->life) ? s->pid : 0));
	put(to, "created", moment(r->created));
	put(to, "started", moment(s->started));
	put(to, "finished", moment(s->finished));
	put(to, "kind", text(r->spec.kind ? r->spec.kind : "vm"));
	spec_to_json(&r->spec, spec);
	for (unsigned i = 0; i < COUNT(outside); i++) copy(to, spec, outside[i]);
	put(to, "spec", spec);
}

bool look_held(int dirfd)
{
	if (flock(dirfd, LOCK_SH | LOCK_NB)) return errno == EWOULDBLOCK;
	(void)flock(dirfd, LOCK_UN);
	return false;
}

void look_state(struct guest_state *s, const char *name, int dirfd)
{
	state_read(s, dirfd);
	if (!life_runs(s->life) || control_alive(name) || look_held(dirfd)) return;
	state_read(s, dirfd); /* it may just have ended */
	if (!life_runs(s->life) || s->life == LIFE_LEAVING) return;
	s->life = LIFE_BROKEN;
	(void)snprintf(s->why, sizeof(s->why), "its monitor was killed");
}

/* ---- kept ones ---- */
static void fill_memory(struct store *s, const char *name, struct spec *spec)
{
	struct image im;
	if (spec->memory || spec_is_zone(spec)) return;
	spec->memory = USUAL_MEMORY;
	if (store_guest_image_find(s, name, &im, NULL)) return;
	if (im.memory) spec->memory = im.memory;
	image_done(&im);
}

/* A folder without guest.json is one that is being made, or of an older lodge: then it has an
 * image. One that cannot be read is broken, but there. */
static int read_folder(struct store *s, const char *name, int dirfd, struct record *r,
		       struct guest_state *st, struct err *e)
{
	struct err why = {0};
	struct image im;
	int bad = record_read(r, dirfd, &why);
	look_state(st, name, dirfd);
	if (!bad) return 0;
	*r = (struct record){.arena = arena_new()};
	if (bad != -ENOENT) {
		st->life = LIFE_BROKEN;
		(void)snprintf(st->why, sizeof(st->why), "%s", why.msg);
		return 0;
	}
	if (store_guest_image_find(s, name, &im, NULL))
		return fail(e, -ENOENT, "guest %s: it is only being made", name);
	char *image = arena_make(r->arena, char, strlen(im.name ? im.name : "") + 1);
	r->spec.image = strcpy(image, im.name ? im.name : "");
	(void)arch_find(&r->spec.arch, im.arch ? im.arch : "");
	image_done(&im);
	return 0;
}

static int look_kept(struct store *s, const char *name, struct json_object **out, struct err *e)
{
	struct record r;
	struct guest_state st;
	int fd;
	int bad = store_guest_look(s, name, &fd, e);
	if (bad) return bad;
	auto_fd int dirfd = fd;
	bad = read_folder(s, name, dirfd, &r, &st, e);
	if (!bad) {
		fill_memory(s, name, &r.spec);
		*out = json_object_new_object();
		must(*out);
		look_json(*out, name, &r, &st);
	}
	record_done(&r);
	return bad;
}

/* ---- those that are not ---- */
static bool is_nameless(const char *name)
{
	return !strncmp(name, GUEST_NAMELESS, strlen(GUEST_NAMELESS));
}

static int look_running(const char *name, struct json_object **out, struct err *e)
{
	int r = control_call(name, "inspect", out, NULL, e);
	return r == -ENOENT ? fail(e, r, "no guest named '%s'", name) : r;
}

int look_at(struct store *s, const char *name, struct json_object **out, struct err *e)
{
	return is_nameless(name) ? look_running(name, out, e) : look_kept(s, name, out, e);
}

struct each {
	struct store *store;
	int (*fn)(void *ctx, struct json_object *guest);
	void *ctx;
};

static int each_kept(void *ctx, const char *name)
{
	struct each *w = ctx;
	struct json_object *o;
	if (is_nameless(name) || look_kept(w->store, name, &o, NULL)) return 0;
	int r = w->fn(w->ctx, o);
	(void)json_object_put(o);
	return r;
}

static int each_running(void *ctx, const char *name)
{
	struct each *w = ctx;
	struct json_object *o;
	if (!is_nameless(name) || look_running(name, &o, NULL)) return 0;
	int r = w->fn(w->ctx, o);
	(void)json_object_put(o);
	return r;
}

int look_each(struct store *s, int (*fn)(void *ctx, struct json_object *guest), void *ctx,
	      struct err *e)
{
	struct each w = {s, fn, ctx};
	int r = store_guest_each(s, each_kept, &w, e);
	return r ? r : control_each(each_running, &w, e);
}

/* ---- what people call them ---- */
struct find {
	struct store *store;
	const char *word;
	char *name;
	unsigned whole, begins; /* how many are called so, or so and more */
};

static void consider(struct find *f, const char *name, const char *called)
{
	size_t n = strlen(f->word);
	if (strncmp(called, f->word, n) != 0) return;
	bool whole = !called[n];
	if (whole < !!f->whole) return;
	unsigned *count = whole ? &f->whole : &f->begins;
	if (!*count || strcmp(f->name, name) != 0) ++*count;
	(void)snprintf(f->name, 64, "%s", name);
}

static int find_name(void *ctx, const char *name)
{
	consider(ctx, name, name);
	return 0;
}

static int find_kept(void *ctx, const char *name)
{
	struct find *f = ctx;
	struct record r;
	int fd;
	if (is_nameless(name)) return 0;
	(void)find_name(ctx, name);
	if (store_guest_look(f->store, name, &fd, NULL)) return 0;
	auto_fd int dirfd = fd;
	if (record_read(&r, dirfd, NULL)) return 0;
	consider(f, name, r.id);
	record_done(&r);
	return 0;
}

static int find_nameless(void *ctx, const char *name)
{
	return is_nameless(name) ? find_name(ctx, name) : 0;
}

static bool is_there(struct store *s, const char *name)
{
	int fd;
	if (is_nameless(name)) return control_alive(name);
	if (store_guest_look(s, name, &fd, NULL)) return false;
	(void)close(fd);
	return true;
}

int look_find(struct store *s, const char *word, char name[64], struct err *e)
{
	struct find f = {.store = s, .word = word, .name = name};
	name[0] = 0;
	if (!store_name_ok(word)) return fail(e, -EINVAL, "'%s' is not the name of a guest", word);
	if (is_there(s, word)) {
		(void)snprintf(name, 64, "%s", word);
		return 0;
	}
	int r = store_guest_each(s, find_kept, &f, e);
	if (!r) r = control_each(find_nameless, &f, e);
	if (r) return r;
	unsigned n = f.whole ? f.whole : f.begins;
	if (!n) return fail(e, -ENOENT, "no guest named '%s'; 'lodge ps -a' lists all", word);
	return n == 1 ? 0 : fail(e, -ENOTUNIQ, "'%s' begins the names of %u guests", word, n);
}
