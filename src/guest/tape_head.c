/* What a recording is of, as JSON: the guest's spec by spec.c's table, and what else made it what
 * it was. */
#include "base/buf.h"
#include "base/own.h"
#include "guest/spec.h"
#include "guest/tape_impl.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH = 8, PATH_MOST = 4096 };

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

static struct json_object *digests_json(const struct tape_head *h)
{
	struct json_object *all = json_object_new_array();
	must(all);
	for (unsigned i = 0; i < h->nfiles; i++)
		must(!json_object_array_add(all, json_object_new_string(h->digest[i])));
	return all;
}

unsigned tape_files(struct spec *s, const char **path[TAPE_FILES])
{
	const char **boot[] = {&s->kernel, &s->initrd, &s->firmware, &s->vars};
	unsigned n = 0;
	for (unsigned i = 0; i < COUNT(boot); i++)
		if (*boot[i]) path[n++] = boot[i];
	for (unsigned i = 0; i < s->ndisks; i++) path[n++] = &s->disk[i].path;
	return n;
}

void tape_head_format(const struct tape_head *h, struct buf *to)
{
	struct json_object *o = json_object_new_object(), *spec = json_object_new_object();
	must(o && spec);
	put(o, "lodge", json_object_new_string(h->lodge));
	put(o, "seed", json_object_new_uint64(h->seed));
	put(o, "clock", json_object_new_uint64(h->clock));
	spec_to_json(&h->spec, spec);
	put(o, "spec", spec);
	put(o, "sha256", digests_json(h));
	buf_fmt(to, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
}

/* NULL: it is none, or too long. */
static const char *text_of(struct arena *a, struct json_object *o, const char *key)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	const char *s = json_object_get_string(v);
	size_t n = (size_t)json_object_get_string_len(v);
	if (n >= PATH_MOST || strlen(s) != n) return NULL;
	char *copy = arena_make(a, char, n + 1);
	memcpy(copy, s, n);
	return copy;
}

static bool number_of(uint64_t *to, struct json_object *o, const char *key)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int))
		return false;
	*to = json_object_get_uint64(v);
	return true;
}

static bool digest_take(struct tape_head *h, struct json_object *v)
{
	const char *hex = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
	if (h->nfiles == TAPE_FILES || strlen(hex) != TAPE_DIGEST - 1 ||
	    strspn(hex, "0123456789abcdef") != TAPE_DIGEST - 1)
		return false;
	memcpy(h->digest[h->nfiles++], hex, TAPE_DIGEST);
	return true;
}

static bool digests_take(struct tape_head *h, struct json_object *o)
{
	struct json_object *all;
	const char **path[TAPE_FILES];
	if (!json_object_object_get_ex(o, "sha256", &all) ||
	    !json_object_is_type(all, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(all); i++)
		if (!digest_take(h, json_object_array_get_idx(all, i))) return false;
	return h->nfiles == tape_files(&h->spec, path);
}

static int take(struct tape_head *h, struct json_object *o, struct err *e)
{
	struct json_object *spec = NULL;
	if (!json_object_is_type(o, json_type_object)) return fail(e, -EBADMSG, "no JSON object");
	h->lodge = text_of(h->arena, o, "lodge");
	if (!h->lodge || !number_of(&h->seed, o, "seed") || !number_of(&h->clock, o, "clock"))
		return fail(e, -EBADMSG, "needs lodge, seed, clock");
	if (h->clock > UINT32_MAX) return fail(e, -EBADMSG, "clock: beyond 2106");
	(void)json_object_object_get_ex(o, "spec", &spec);
	int bad = spec_from_json(&h->spec, h->arena, spec, e);
	if (bad) return fail_in(e, "spec");
	if (!digests_take(h, o)) return fail(e, -EBADMSG, "sha256: not one for each file");
	if (!h->spec.deterministic) return fail(e, -EBADMSG, "spec: not of counted time");
	return 0;
}

int tape_head_parse(struct tape_head *h, const char *text, size_t n, struct err *e)
{
	*h = (struct tape_head){.arena = arena_new()};
	struct json_tokener *t = json_tokener_new_ex(DEPTH);
	must(t);
	struct json_object *o = json_tokener_parse_ex(t, text, (int)n);
	json_tokener_free(t);
	int bad = take(h, o, e);
	(void)json_object_put(o);
	if (bad) tape_head_done(h);
	return bad;
}

void tape_head_done(struct tape_head *h)
{
	arena_free(h->arena);
	*h = (struct tape_head){0};
}
