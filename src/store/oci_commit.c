/* An image made of another and one more layer. What its config says that we do not know stays. */
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/text.h"
#include "base/types.h"
#include "store/blob.h"
#include "store/oci.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONFIG_MAX = 4 << 20 };

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}
static void put_text(struct json_object *o, const char *key, const char *s)
{
	put(o, key, json_object_new_string(s));
}
static void add(struct json_object *list, struct json_object *v)
{
	must(v && !json_object_array_add(list, v));
}

/* What is there under that name, if it is of that type; else a new one. */
static struct json_object *child(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v;
	if (json_object_object_get_ex(o, key, &v) && json_object_is_type(v, type)) return v;
	v = type == json_type_array ? json_object_new_array() : json_object_new_object();
	put(o, key, v);
	return v;
}

/* ---- changes */
/* ["a", "b"], or words for a shell. */
static int set_command(struct json_object *config, const char *key, const char *text, struct err *e)
{
	struct json_object *v = *text == '[' ? json_tokener_parse(text) : NULL;
	bool good = *text != '[' || json_object_is_type(v, json_type_array);
	for (size_t i = 0; v && good && i < json_object_array_length(v); i++)
		good = json_object_is_type(json_object_array_get_idx(v, i), json_type_string);
	if (!good) {
		(void)json_object_put(v);
		return fail(e, -EINVAL, "%s: '%.100s' is no list of words", key, text);
	}
	if (!v) {
		v = json_object_new_array();
		add(v, json_object_new_string("/bin/sh"));
		add(v, json_object_new_string("-c"));
		add(v, json_object_new_string(text));
	}
	put(config, key, v);
	return 0;
}

static int set_text(struct json_object *config, const char *key, const char *text, struct err *e)
{
	(void)e;
	put_text(config, key, text);
	return 0;
}

/* "NAME=VALUE", or "NAME VALUE", in the place of what that name had. */
static int set_env(struct json_object *config, const char *key, const char *text, struct err *e)
{
	struct json_object *env = child(config, key, json_type_array);
	size_t name = strcspn(text, "= "), i = 0, n = json_object_array_length(env);
	if (!name || !text[name]) return fail(e, -EINVAL, "ENV: '%.100s' is not NAME=VALUE", text);
	auto_mem char *word = text_format("%.*s=%s", (int)name, text, text + name + 1);
	for (; i < n; i++) {
		const char *is = json_object_get_string(json_object_array_get_idx(env, i));
		if (is && !strncmp(is, word, name + 1)) break;
	}
	must(!json_object_array_put_idx(env, i, json_object_new_string(word)));
	return 0;
}

static int set_label(struct json_object *config, const char *key, const char *text, struct err *e)
{
	size_t name = strcspn(text, "= ");
	if (!name || !text[name])
		return fail(e, -EINVAL, "LABEL: '%.100s' is not NAME=VALUE", text);
	auto_mem char *word = text_format("%.*s", (int)name, text);
	put_text(child(config, key, json_type_object), word, text + name + 1);
	return 0;
}

/* A set, as the specification writes it: {"80/tcp": {}}. */
static int set_member(struct json_object *config, const char *key, const char *text, struct err *e)
{
	(void)e;
	bool port = !strcmp(key, "ExposedPorts") && !strchr(text, '/');
	auto_mem char *word = text_format("%s%s", text, port ? "/tcp" : "");
	put(child(config, key, json_type_object), word, json_object_new_object());
	return 0;
}

static const struct change {
	const char *word, *key;
	int (*set)(struct json_object *config, const char *key, const char *text, struct err *e);
} changes[] = {{"CMD", "Cmd", set_command},
	       {"ENTRYPOINT", "Entrypoint", set_command},
	       {"ENV", "Env", set_env},
	       {"EXPOSE", "ExposedPorts", set_member},
	       {"LABEL", "Labels", set_label},
	       {"STOPSIGNAL", "StopSignal", set_text},
	       {"USER", "User", set_text},
	       {"VOLUME", "Volumes", set_member},
	       {"WORKDIR", "WorkingDir", set_text}};

static int change(struct json_object *config, const char *text, struct err *e)
{
	size_t n = strcspn(text, " =");
	const char *rest = text + n + (text[n] != 0);
	for (unsigned i = 0; i < COUNT(changes); i++)
		if (n == strlen(changes[i].word) && !strncasecmp(text, changes[i].word, n) && *rest)
			return changes[i].set(config, changes[i].key, rest, e);
	return fail(e, -EINVAL,
		    "'%.100s' is no change; there are: CMD ENTRYPOINT ENV EXPOSE LABEL STOPSIGNAL "
		    "USER VOLUME WORKDIR, each with a word behind it",
		    text);
}

/* ---- the config */
/* One entry a layer, where the image has such a list. */
static void history_add(struct json_object *o, const struct oci_commit *c, const char *now)
{
	struct json_object *list, *one;
	if (!json_object_object_get_ex(o, "history", &list) ||
	    !json_object_is_type(list, json_type_array))
		return;
	one = json_object_new_object();
	put_text(one, "created", now);
	put_text(one, "created_by", c->by);
	if (c->author) put_text(one, "author", c->author);
	if (c->message) put_text(one, "comment", c->message);
	add(list, one);
}

static int config_change(struct json_object *o, const struct oci_commit *c, const char *diff,
			 struct err *e)
{
	char now[32] = "1970-01-01T00:00:00Z";
	time_t t = time(NULL);
	struct tm tm;
	if (gmtime_r(&t, &tm)) (void)strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	struct json_object *fs = child(o, "rootfs", json_type_object);
	auto_mem char *id = text_format("sha256:%s", diff);
	put_text(fs, "type", "layers");
	add(child(fs, "diff_ids", json_type_array), json_object_new_string(id));
	put_text(o, "created", now);
	if (c->author) put_text(o, "author", c->author);
	history_add(o, c, now);
	struct json_object *config = child(o, "config", json_type_object);
	int r = 0;
	for (unsigned i = 0; !r && i < c->nchanges; i++) r = change(config, c->change[i], e);
	return r;
}

static int write_all(int fd, const char *at, size_t n, struct err *e)
{
	for (ssize_t k; n; at += k, n -= (size_t)k) {
		k = write(fd, at, n);
		if (k <= 0)
			return fail(e, k ? -errno : -EIO, "the image's config: %s",
				    strerror(errno));
	}
	return 0;
}

static int config_make(const struct image *base, const struct oci_commit *c, const char *diff,
		       int to, struct err *e)
{
	auto_buf struct buf b = {0};
	int r = file_read(&b, base->config.path, CONFIG_MAX, e);
	if (r) return r;
	struct json_object *o = json_tokener_parse(b.at ? b.at : "");
	if (json_object_is_type(o, json_type_object))
		r = config_change(o, c, diff, e);
	else
		r = fail(e, -EINVAL, "image %s: its config cannot be read", base->name);
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!r) r = write_all(to, text, strlen(text), e);
	(void)json_object_put(o);
	return r;
}

static int check(const struct image *base, struct err *e)
{
	if (!base->config.path)
		return fail(e, -EINVAL, "its image has no layers: it is a whole computer's");
	return base->nlayers < IMAGE_LAYERS
		       ? 0
		       : fail(e, -EINVAL, "its image has %d layers already", IMAGE_LAYERS);
}

/* Strings of the new image are others': it is never image_done(). */
static int put_together(struct store *s, const struct image *base, char *name, char *layer,
			char *diff, char *config, struct err *e)
{
	struct image im = *base;
	auto_mem struct image_file *all = calloc(base->nlayers + 1, sizeof(*all));
	must(all);
	memcpy(all, base->layer, base->nlayers * sizeof(*all));
	all[base->nlayers] =
		(struct image_file){.path = layer, .format = (char[]){"tar"}, .diff = diff};
	im.name = name;
	im.config = (struct image_file){.path = config};
	im.layer = all;
	im.nlayers = base->nlayers + 1;
	return store_image_add(s, &im, e);
}

int oci_commit(struct store *s, const struct image *base, const struct oci_commit *c,
	       const char *name, struct err *e)
{
	char diff[BLOB_DIGEST];
	uint64_t size;
	int r = check(base, e);
	auto_fd int fd = r ? r : store_draft(s, e);
	if (fd < 0) return fd;
	auto_mem char *layer = text_format("/proc/self/fd/%d", c->layer), *as = strdup(name);
	auto_mem char *config = text_format("/proc/self/fd/%d", fd);
	must(as);
	r = blob_digest(layer, diff, &size, e);
	if (!r) r = config_make(base, c, diff, fd, e);
	return r ? r : put_together(s, base, as, layer, diff, config, e);
}
