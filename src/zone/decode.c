/* Tables are walked, not the document: each field that a table names is looked for once, so the
 * work is bounded by the tables and by what the document really holds. */
#include "zone/decode.h"
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct json_object *decode_text(const char *text, size_t len, struct err *e)
{
	struct json_tokener *t = json_tokener_new_ex(DECODE_DEPTH);
	struct json_object *o = NULL;
	must(t);
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	if (len > INT_MAX / 2) {
		(void)fail(e, -EFBIG, "JSON of %zu bytes is too much", len);
	} else {
		o = json_tokener_parse_ex(t, text, (int)len);
		enum json_tokener_error why = json_tokener_get_error(t);
		if (why == json_tokener_continue) {
			json_object_put(o);
			o = json_tokener_parse_ex(t, "", -1);
			why = json_tokener_get_error(t);
		}
		if (!o)
			(void)fail(e, -EINVAL, "not JSON, at byte %zu: %s",
				   json_tokener_get_parse_end(t), json_tokener_error_desc(why));
	}
	json_tokener_free(t);
	return o;
}

void decode_drop(struct json_object **o)
{
	if (*o) (void)json_object_put(*o);
}

char *arena_text(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	must(n >= 0);
	char *s = arena_alloc(a, (size_t)n + 1);
	(void)vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return s;
}

static int wrong_type(const char *path, const char *wanted, struct json_object *o, struct err *e)
{
	return fail(e, -EINVAL, "%s: %s wanted, not %s", path, wanted,
		    json_type_to_name(json_object_get_type(o)));
}

static int text_take(struct json_object *o, const char *path, const char **to, struct arena *a,
		     struct err *e)
{
	if (!json_object_is_type(o, json_type_string)) return wrong_type(path, "a string", o, e);
	const char *s = json_object_get_string(o);
	size_t n = (size_t)json_object_get_string_len(o);
	if (strlen(s) != n) return fail(e, -EINVAL, "%s: holds a NUL", path);
	*to = memcpy(arena_alloc(a, n + 1), s, n);
	return 0;
}

static int number_take(struct json_object *o, const char *path, int64_t *v, bool *big,
		       struct err *e)
{
	if (!json_object_is_type(o, json_type_int)) return wrong_type(path, "an integer", o, e);
	*v = json_object_get_int64(o);
	uint64_t u = json_object_get_uint64(o);
	*big = *v == INT64_MAX && u > INT64_MAX;
	if (*big) *v = (int64_t)u;
	return 0;
}

static int out_of_range(const char *path, struct json_object *o, struct err *e)
{
	return fail(e, -ERANGE, "%s: %s is out of range", path, json_object_get_string(o));
}

static int integer_take(struct json_object *o, const char *path, enum decode_type t, void *to,
			struct err *e)
{
	int64_t v = 0;
	bool big = false;
	int r = number_take(o, path, &v, &big, e);
	if (r) return r;
	switch (t) {
	case DECODE_U32:
		if (big || v < 0 || v > UINT32_MAX) return out_of_range(path, o, e);
		*(uint32_t *)to = (uint32_t)v;
		return 0;
	case DECODE_U64:
		if (!big && v < 0) return out_of_range(path, o, e);
		*(uint64_t *)to = (uint64_t)v;
		return 0;
	case DECODE_NUMBER:
		if (big && v != -1) return out_of_range(path, o, e);
		*(struct number *)to = (struct number){true, v};
		return 0;
	default:
		if (big) return out_of_range(path, o, e);
		*(int64_t *)to = v;
		return 0;
	}
}

static int count_take(struct json_object *o, const char *path, unsigned *n, struct err *e)
{
	if (!json_object_is_type(o, json_type_array)) return wrong_type(path, "an array", o, e);
	size_t len = json_object_array_length(o);
	if (len > DECODE_ITEMS) return fail(e, -E2BIG, "%s: %zu items are too many", path, len);
	*n = (unsigned)len;
	return 0;
}

static void item_path(char *to, size_t room, const char *path, unsigned i)
{
	(void)snprintf(to, room, "%.140s[%u]", path, i);
}

static int texts_take(struct json_object *o, const char *path, struct texts *to, struct arena *a,
		      struct err *e)
{
	char at[160];
	int r = count_take(o, path, &to->n, e);
	if (r) return r;
	to->at = arena_make(a, const char *, to->n + 1);
	for (unsigned i = 0; !r && i < to->n; i++) {
		item_path(at, sizeof(at), path, i);
		r = text_take(json_object_array_get_idx(o, i), at, &to->at[i], a, e);
	}
	return r;
}

static int u32s_take(struct json_object *o, const char *path, struct u32s *to, struct arena *a,
		     struct err *e)
{
	char at[160];
	int r = count_take(o, path, &to->n, e);
	if (r) return r;
	to->at = arena_make(a, uint32_t, to->n);
	for (unsigned i = 0; !r && i < to->n; i++) {
		item_path(at, sizeof(at), path, i);
		r = integer_take(json_object_array_get_idx(o, i), at, DECODE_U32, &to->at[i], e);
	}
	return r;
}

static int pairs_take(struct json_object *o, const char *path, struct pairs *to, struct arena *a,
		      struct err *e)
{
	if (!json_object_is_type(o, json_type_object)) return wrong_type(path, "an object", o, e);
	int n = json_object_object_length(o), r = 0;
	if (n > DECODE_ITEMS) return fail(e, -E2BIG, "%s: %d items are too many", path, n);
	to->key = arena_make(a, const char *, (unsigned)n);
	to->value = arena_make(a, const char *, (unsigned)n);
	json_object_object_foreach(o, key, value)
	{
		to->key[to->n] = arena_text(a, "%s", key);
		r = text_take(value, path, &to->value[to->n], a, e);
		if (r) return r;
		to->n++;
	}
	return 0;
}

static int list_take(struct json_object *o, const char *path, const struct decode_field *f,
		     struct list *to, struct arena *a, struct err *e)
{
	char at[160];
	int r = count_take(o, path, &to->n, e);
	if (r) return r;
	to->at = arena_alloc(a, f->size * to->n);
	for (unsigned i = 0; !r && i < to->n; i++) {
		item_path(at, sizeof(at), path, i);
		r = decode_object(json_object_array_get_idx(o, i), at, f->fields,
				  (char *)to->at + i * f->size, a, e);
	}
	return r;
}

static int field_take(struct json_object *o, const char *path, const struct decode_field *f,
		      void *to, struct arena *a, struct err *e)
{
	switch (f->type) {
	case DECODE_TEXT: return text_take(o, path, to, a, e);
	case DECODE_FLAG:
		if (!json_object_is_type(o, json_type_boolean))
			return wrong_type(path, "true or false", o, e);
		*(bool *)to = json_object_get_boolean(o);
		return 0;
	case DECODE_FLOAT: return 0;
	case DECODE_TEXTS: return texts_take(o, path, to, a, e);
	case DECODE_PAIRS: return pairs_take(o, path, to, a, e);
	case DECODE_U32S: return u32s_take(o, path, to, a, e);
	case DECODE_LIST: return list_take(o, path, f, to, a, e);
	case DECODE_RAW: *(struct json_object **)to = o; return 0;
	case DECODE_OBJECT:
		*(void **)to = arena_alloc(a, f->size);
		return decode_object(o, path, f->fields, *(void **)to, a, e);
	default: return integer_take(o, path, f->type, to, e);
	}
}

int decode_object(struct json_object *o, const char *path, const struct decode_field *f, void *to,
		  struct arena *a, struct err *e)
{
	char at[160];
	int r = 0;
	if (!json_object_is_type(o, json_type_object))
		return wrong_type(*path ? path : "the document", "an object", o, e);
	for (; !r && f->name; f++) {
		struct json_object *value;
		if (!json_object_object_get_ex(o, f->name, &value) || !value) continue;
		(void)snprintf(at, sizeof(at), "%.110s%s%.40s", path, *path ? "." : "", f->name);
		r = field_take(value, at, f, (char *)to + f->offset, a, e);
	}
	return r;
}
