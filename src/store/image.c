/* Manifests: JSON text to struct image and back. The text may come from anybody, so every field
 * is checked here once and nowhere else: types, lengths, names that become paths, numbers. */
#include "store/image.h"
#include "base/buf.h"
#include "store/blob.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_DEPTH = 8, STRING_MAX = 4096 };

static void file_done(struct image_file *f)
{
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
	file_done(&im->kernel);
	file_done(&im->initrd);
	file_done(&im->disk);
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

static void put_file(struct json_object *o, const char *key, const struct image_file *f)
{
	if (!f->digest) return;
	struct json_object *v = json_object_new_object();
	put_string(v, "sha256", f->digest);
	json_object_object_add(v, "size", json_object_new_int64((int64_t)f->size));
	put_string(v, "format", f->format);
	json_object_object_add(o, key, v);
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
	buf_fmt(to, "%s\n",
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}
