/* The seed's files are text, but what is put into them is quoted as JSON, which YAML can read: so
 * nobody's key or name can say anything else. */
#include "store/seed.h"
#include "base/buf.h"
#include "store/tar.h"
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>

static la_ssize_t keep(struct archive *a, void *to, const void *p, size_t n)
{
	(void)a;
	buf_add(to, p, n);
	return (la_ssize_t)n;
}

static int add(struct archive *a, const char *name, const char *text, size_t n, struct err *e)
{
	struct archive_entry *en = tar.archive_entry_new();
	must(en);
	tar.archive_entry_set_pathname(en, name);
	tar.archive_entry_set_filetype(en, S_IFREG);
	tar.archive_entry_set_perm(en, 0444);
	tar.archive_entry_set_size(en, (la_int64_t)n);
	int r = tar.archive_write_header(a, en) == ARCHIVE_OK &&
				tar.archive_write_data(a, text, n) == (la_ssize_t)n
			? 0
			: fail(e, -EIO, "seed: %s: %s", name, tar.archive_error_string(a));
	tar.archive_entry_free(en);
	return r;
}

static void put(struct json_object *o, const char *key, const char *text)
{
	must(!json_object_object_add(o, key, json_object_new_string(text)));
}

/* One a line, without what is blank or a remark. */
static struct json_object *list_keys(const char *keys)
{
	struct json_object *list = json_object_new_array();
	must(list);
	while (*keys) {
		size_t n = strcspn(keys, "\r\n");
		if (n && *keys != '#')
			must(!json_object_array_add(list,
						    json_object_new_string_len(keys, (int)n)));
		keys += n;
		keys += strspn(keys, "\r\n");
	}
	return list;
}

static void meta_data(const struct seed *s, struct buf *to)
{
	struct json_object *o = json_object_new_object();
	must(o);
	put(o, "instance-id", s->id);
	if (s->name) put(o, "local-hostname", s->name);
	if (s->keys) must(!json_object_object_add(o, "public-keys", list_keys(s->keys)));
	buf_fmt(to, "%s\n",
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							  JSON_C_TO_STRING_NOSLASHESCAPE));
	(void)json_object_put(o);
}

int seed_make(const struct seed *s, struct buf *to, struct err *e)
{
	static const char nothing[] = "#cloud-config\n{}\n";
	auto_buf struct buf meta = {0};
	int r = tar_load(e);
	if (r < 0) return r;
	struct archive *a = tar.archive_write_new();
	must(a);
	meta_data(s, &meta);
	(void)tar.archive_write_set_format_iso9660(a);
	(void)tar.archive_write_set_options(a, "volume-id=cidata,rockridge=useful,joliet");
	r = tar.archive_write_open(a, to, NULL, keep, NULL) == ARCHIVE_OK
		    ? 0
		    : fail(e, -EIO, "seed: %s", tar.archive_error_string(a));
	if (!r) r = add(a, "meta-data", meta.at, meta.len, e);
	if (!r)
		r = s->user_data ? add(a, "user-data", s->user_data, s->len, e)
				 : add(a, "user-data", nothing, strlen(nothing), e);
	if (!r && tar.archive_write_close(a) != ARCHIVE_OK)
		r = fail(e, -EIO, "seed: %s", tar.archive_error_string(a));
	(void)tar.archive_write_free(a);
	return r;
}
