/* What an image says of the program in it: a text of whoever made it. */
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "store/oci.h"
#include "store/oci_impl.h"
#include <errno.h>
#include <string.h>

enum { TEXT_MOST = 4 << 20, DEPTH = 32, WORDS_MOST = 4096 };

/* NULL: it has a byte in it that no text has. */
static const char *copy(struct json_object *v, struct arena *a)
{
	const char *text = json_object_get_string(v);
	size_t n = (size_t)json_object_get_string_len(v);
	if (strlen(text) != n) return NULL;
	return memcpy(arena_make(a, char, n + 1), text, n + 1);
}

static int take_text(struct json_object *o, const char *key, const char **to, struct arena *a,
		     struct err *e)
{
	struct json_object *v = NULL;
	if (!json_object_object_get_ex(o, key, &v) || !v) return 0;
	if (!json_object_is_type(v, json_type_string) || !(*to = copy(v, a)))
		return fail(e, -EINVAL, "%s: not a text", key);
	return 0;
}

static int take_words(struct json_object *o, const char *key, struct oci_words *to, struct arena *a,
		      struct err *e)
{
	struct json_object *list = NULL;
	if (!json_object_object_get_ex(o, key, &list) || !list) return 0;
	if (!json_object_is_type(list, json_type_array))
		return fail(e, -EINVAL, "%s: not a list", key);
	size_t n = json_object_array_length(list);
	if (n > WORDS_MOST) return fail(e, -E2BIG, "%s: more than %d words", key, WORDS_MOST);
	to->at = arena_make(a, const char *, n + 1);
	for (size_t i = 0; i < n; i++) {
		struct json_object *v = json_object_array_get_idx(list, i);
		const char *word = json_object_is_type(v, json_type_string) ? copy(v, a) : NULL;
		if (!word) return fail(e, -EINVAL, "%s: not a list of texts", key);
		to->at[to->n++] = word;
	}
	return 0;
}

static int take(struct json_object *o, struct oci_says *to, struct arena *a, struct err *e)
{
	int r = take_words(o, "Env", &to->env, a, e);
	if (!r) r = take_words(o, "Entrypoint", &to->entrypoint, a, e);
	if (!r) r = take_words(o, "Cmd", &to->cmd, a, e);
	if (!r) r = take_text(o, "User", &to->user, a, e);
	if (!r) r = take_text(o, "WorkingDir", &to->workdir, a, e);
	return r ? r : take_text(o, "StopSignal", &to->stop_signal, a, e);
}

int oci_says_parse(struct oci_says *to, const char *text, size_t len, struct arena *a,
		   struct err *e)
{
	struct json_tokener *t = json_tokener_new_ex(DEPTH);
	struct json_object *config = NULL;
	int r = 0;
	must(t);
	*to = (struct oci_says){0};
	json_tokener_set_flags(t, JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *o = len ? json_tokener_parse_ex(t, text, (int)len) : NULL;
	json_tokener_free(t);
	if (!json_object_is_type(o, json_type_object))
		r = fail(e, -EINVAL, "not a JSON object");
	else if (json_object_object_get_ex(o, "config", &config) && config)
		r = json_object_is_type(config, json_type_object)
			    ? take(config, to, a, e)
			    : fail(e, -EINVAL, "config: not an object");
	json_object_put(o);
	return r ? fail_in(e, "the image's config") : 0;
}

int oci_says(const struct image *im, struct oci_says *to, struct arena *a, struct err *e)
{
	auto_buf struct buf b = {0};
	int r = file_read(&b, im->config.path, TEXT_MOST, e);
	return r ? r : oci_says_parse(to, b.at ? b.at : "", b.len, a, e);
}
