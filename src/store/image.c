/* Manifests: JSON text to struct image and back. The text may come from anybody, so every field
 * is checked here once and nowhere else: types, lengths, names that become paths, numbers. */
#include "store/image.h"
#include "base/buf.h"
#include "base/types.h"
#include "store/blob.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_DEPTH = 8, STRING_MAX = 4096 };

struct image_file *image_file(struct image *im, unsigned n, const char **what)
{
	static const char *const name[] = {"kernel", "initrd", "disk", "config"};
	struct image_file *first[] = {&im->kernel, &im->initrd, &im->disk, &im->config};
	if (what) *what = n < COUNT(first) ? name[n] : "layer";
	if (n < COUNT(first)) return first[n];
	return n - COUNT(first) < im->nlayers ? &im->layer[n - COUNT(first)] : NULL;
}

static void file_done(struct image_file *f)
{
	free(f->diff);
	free(f->path);
	free(f->format);
	free(f->digest);
}

void image_done(struct image *im)
{
	free(im->name);
	free(im->arch);
	free(im->kind);
	free(im->append);
	struct image_file *f;
	for (unsigned n = 0; (f = image_file(im, n, NULL)); n++) file_done(f);
	free(im->layer);
	*im = (struct image){0};
}

static int take_string(struct json_object *o, const char *key, char **out, struct err *e)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, key, &v)) return 0;
	if (!json_object_is_type(v, json_type_string))
		return fail(e, -EINVAL, "%s: not a string", key);
	const char *s = json_object_get_string(v);
	size_t len = (size_t)json_object_get_string_len(v);
	if (len > STRING_MAX) return fail(e, -EINVAL, "%s: longer than %d", key, STRING_MAX);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 127)
			return fail(e, -EINVAL, "%s: has control characters", key);
	*out = strdup(s);
	must(*out);
	return 0;
}

static int take_number(struct json_object *o, const char *key, int64_t *out, struct err *e)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, key, &v)) return 0;
	int64_t n = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;
	/* json-c clamps what does not fit */
	if (n < 0 || n == INT64_MAX) return fail(e, -EINVAL, "%s: not a size or time", key);
	*out = n;
	return 0;
}

static int take_stored(struct json_object *v, struct image_file *f, struct err *e)
{
	int64_t size = -1;
	int r = take_string(v, "sha256", &f->digest, e);
	if (!r) r = take_number(v, "size", &size, e);
	if (r) return r;
	if (!f->digest || !blob_digest_ok(f->digest))
		return fail(e, -EINVAL, "sha256: not 64 hexadecimal digits");
	if (size < 0) return fail(e, -EINVAL, "size: missing");
	f->size = (uint64_t)size;
	return 0;
}

static int take_made(struct json_object *v, struct image_file *f, struct err *e)
{
	int r = take_string(v, "file", &f->path, e);
	if (r) return r;
	if (!f->path || !*f->path || *f->path == '.' || strchr(f->path, '/'))
		return fail(e, -EINVAL, "file: not the plain name of a file");
	return 0;
}

static int take_file(struct json_object *o, const char *key, enum image_form form,
		     struct image_file *f, struct err *e)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, key, &v)) return 0;
	if (!json_object_is_type(v, json_type_object))
		return fail(e, -EINVAL, "%s: not an object", key);
	int r = form == IMAGE_STORED ? take_stored(v, f, e) : take_made(v, f, e);
	if (!r) r = take_string(v, "format", &f->format, e);
	return r ? fail_in(e, "%s", key) : 0;
}

static int take_layer(struct json_object *v, struct image_file *f, struct err *e)
{
	if (!json_object_is_type(v, json_type_object)) return fail(e, -EINVAL, "not an object");
	int r = take_stored(v, f, e);
	if (!r) r = take_string(v, "format", &f->format, e);
	if (!r) r = take_string(v, "diff", &f->diff, e);
	if (r) return r;
	if (!f->format || strncmp(f->format, "tar", 3) != 0)
		return fail(e, -EINVAL, "format: not one of a layer");
	if (!f->diff || !blob_digest_ok(f->diff))
		return fail(e, -EINVAL, "diff: not 64 hexadecimal digits");
	return 0;
}

static int take_layers(struct json_object *o, struct image *im, struct err *e)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, "layers", &v)) return 0;
	if (!json_object_is_type(v, json_type_array) || json_object_array_length(v) > IMAGE_LAYERS)
		return fail(e, -EINVAL, "layers: not a list of up to %d", IMAGE_LAYERS);
	unsigned n = (unsigned)json_object_array_length(v);
	im->layer = calloc(n + 1, sizeof(*im->layer));
	must(im->layer);
	im->nlayers = n;
	for (unsigned k = 0; k < n; k++)
		if (take_layer(json_object_array_get_idx(v, k), &im->layer[k], e))
			return fail_in(e, "layers: %u", k);
	return 0;
}

static int take_all(struct json_object *o, enum image_form form, struct image *im, struct err *e)
{
	int64_t memory = 0;
	int r = take_string(o, "name", &im->name, e);
	if (!r) r = take_string(o, "arch", &im->arch, e);
	if (!r) r = take_string(o, "kind", &im->kind, e);
	if (!r) r = take_string(o, "append", &im->append, e);
	if (!r) r = take_number(o, "created", &im->created, e);
	if (!r) r = take_number(o, "memory", &memory, e);
	if (!r) r = take_file(o, "kernel", form, &im->kernel, e);
	if (!r) r = take_file(o, "initrd", form, &im->initrd, e);
	if (!r) r = take_file(o, "disk", form, &im->disk, e);
	if (!r) r = take_file(o, "config", form, &im->config, e);
	if (!r && form == IMAGE_STORED) r = take_layers(o, im, e);
	if (r) return r;
	im->memory = (uint64_t)memory;
	if (!im->kind) return fail(e, -EINVAL, "kind: missing");
	bool disk = im->disk.path || im->disk.digest;
	if (disk && !im->disk.format) return fail(e, -EINVAL, "disk: format: missing");
	return 0;
}

int image_parse(struct image *im, enum image_form form, const char *text, size_t len, struct err *e)
{
	*im = (struct image){0};
	if (len > IMAGE_TEXT_MAX) return fail(e, -EFBIG, "manifest: too long");
	struct json_tokener *t = json_tokener_new_ex(TEXT_DEPTH);
	must(t);
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *o = json_tokener_parse_ex(t, text, (int)len);
	enum json_tokener_error why = json_tokener_get_error(t);
	bool whole = json_tokener_get_parse_end(t) == len || why == json_tokener_continue;
	int r = 0;
	if (why == json_tokener_continue)
		r = fail(e, -EINVAL, "manifest: cut short");
	else if (why != json_tokener_success || !whole)
		r = fail(e, -EINVAL, "manifest: not JSON: %s", json_tokener_error_desc(why));
	else if (!json_object_is_type(o, json_type_object))
		r = fail(e, -EINVAL, "manifest: not an object");
	else if (take_all(o, form, im, e))
		r = fail_in(e, "manifest");
	json_object_put(o);
	json_tokener_free(t);
	if (r) image_done(im);
	return r;
}

static void put_string(struct json_object *o, const char *key, const char *s)
{
	if (s) json_object_object_add(o, key, json_object_new_string(s));
}

static struct json_object *file_object(const struct image_file *f)
{
	struct json_object *v = json_object_new_object();
	put_string(v, "sha256", f->digest);
	json_object_object_add(v, "size", json_object_new_int64((int64_t)f->size));
	put_string(v, "format", f->format);
	put_string(v, "diff", f->diff);
	return v;
}
static void put_file(struct json_object *o, const char *key, const struct image_file *f)
{
	if (f->digest) json_object_object_add(o, key, file_object(f));
}
static void put_layers(struct json_object *o, const struct image *im)
{
	if (!im->nlayers) return;
	struct json_object *list = json_object_new_array();
	for (unsigned k = 0; k < im->nlayers; k++)
		json_object_array_add(list, file_object(&im->layer[k]));
	json_object_object_add(o, "layers", list);
}

void image_format(const struct image *im, struct buf *to)
{
	struct json_object *o = json_object_new_object();
	must(o);
	put_string(o, "name", im->name);
	put_string(o, "arch", im->arch);
	put_string(o, "kind", im->kind);
	put_string(o, "append", im->append);
	json_object_object_add(o, "created", json_object_new_int64(im->created));
	json_object_object_add(o, "memory", json_object_new_int64((int64_t)im->memory));
	put_file(o, "kernel", &im->kernel);
	put_file(o, "initrd", &im->initrd);
	put_file(o, "disk", &im->disk);
	put_file(o, "config", &im->config);
	put_layers(o, im);
	buf_fmt(to, "%s\n",
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}
