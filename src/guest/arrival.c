/* What comes first of a guest that moves, and the order of what comes after it. */
#include "guest/arrival.h"
#include "base/buf.h"
#include "base/own.h"
#include "base/types.h"
#include "guest/spec.h"
#include "guest/tags.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 4096, SECTOR = 512, SILENCE = 60 /* seconds */, DISK_SHIFT = 56 };
#define DISK_MOST (1ull << 50)

const char *const hello_files[HELLO_FILES] = {"kernel", "initrd", "firmware", TAG_VARS};

/* ---- hello ---- */
static struct json_object *numbers(const uint64_t *at, unsigned n)
{
	struct json_object *all = json_object_new_array();
	for (unsigned i = 0; i < n; i++)
		must(!json_object_array_add(all, json_object_new_int64((int64_t)at[i])));
	return all;
}

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v && !json_object_object_add(o, key, v));
}

void hello_format(const struct hello *h, struct buf *to)
{
	auto_buf struct buf record = {0};
	struct json_object *o = json_object_new_object();
	must(o);
	record_format(&h->record, &record);
	put(o, "name", json_object_new_string(h->name));
	put(o, "record", json_object_new_string(record.at));
	put(o, "files", numbers(h->file, HELLO_FILES));
	put(o, "disks", numbers(h->disk, h->record.spec.ndisks));
	buf_fmt(to, "%s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
}

static int take_numbers(uint64_t *to, unsigned n, struct json_object *o, const char *key,
			struct err *e)
{
	struct json_object *all;
	if (!json_object_object_get_ex(o, key, &all) ||
	    !json_object_is_type(all, json_type_array) || json_object_array_length(all) != n)
		return fail(e, -EINVAL, "%s: not %u numbers", key, n);
	for (unsigned i = 0; i < n; i++) {
		struct json_object *v = json_object_array_get_idx(all, i);
		int64_t x = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;
		if (x < 0 || (uint64_t)x > DISK_MOST || (key[0] == 'd' && x % SECTOR))
			return fail(e, -EINVAL, "%s: not a size", key);
		to[i] = (uint64_t)x;
	}
	return 0;
}

static int take_text(struct json_object *o, const char *key, const char **to, size_t *n,
		     struct err *e)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return fail(e, -EINVAL, "%s: missing", key);
	*to = json_object_get_string(v);
	*n = (size_t)json_object_get_string_len(v);
	return 0;
}

static int take(struct hello *h, struct json_object *o, struct err *e)
{
	const char *text = "";
	size_t n = 0;
	if (!json_object_is_type(o, json_type_object)) return fail(e, -EINVAL, "no JSON object");
	int r = take_text(o, "name", &text, &n, e);
	if (r == 0 && (strlen(text) != n || !store_name_ok(text)))
		r = fail(e, -EINVAL, "name: not one");
	if (r == 0) (void)snprintf(h->name, sizeof(h->name), "%s", text);
	if (r == 0) r = take_text(o, "record", &text, &n, e);
	if (r == 0) r = record_parse(&h->record, text, n, e);
	if (r == 0) r = take_numbers(h->file, HELLO_FILES, o, "files", e);
	return r ? r : take_numbers(h->disk, h->record.spec.ndisks, o, "disks", e);
}

int hello_parse(struct hello *h, const char *text, size_t n, struct err *e)
{
	struct json_tokener *t = json_tokener_new_ex(8);
	*h = (struct hello){0};
	must(t);
	struct json_object *o = n <= HELLO_TEXT ? json_tokener_parse_ex(t, text, (int)n) : NULL;
	json_tokener_free(t);
	int r = take(h, o, e);
	(void)json_object_put(o);
	if (r) hello_done(h);
	return r ? fail_in(e, "who comes") : 0;
}

void hello_done(struct hello *h)
{
	record_done(&h->record);
	*h = (struct hello){0};
}

/* ---- what comes after it ---- */
static int senseless(struct err *e, const char *what)
{
	return fail(e, -EPROTO, "the other side sends %s that make no sense", what);
}

static bool fits(uint64_t at, uint64_t n, unsigned unit)
{
	uint64_t end;
	return n && at % unit == 0 && n % unit == 0 && !__builtin_add_overflow(at, n, &end);
}

static bool amount(const struct link_frame *f, uint64_t *n)
{
	*n = f->len == 8 ? load_le(f->at, 8) : 0;
	return *n;
}

static int take_memory(const struct link_frame *f, const struct arrival_ops *ops, void *ctx,
		       struct err *e)
{
	uint64_t n = f->len;
	if (f->type == LINK_ZERO && !amount(f, &n)) return senseless(e, "pages");
	if (!fits(f->arg, n, PAGE)) return senseless(e, "pages");
	return f->type == LINK_ZERO ? ops->zero(ctx, f->arg, n, e)
				    : ops->pages(ctx, f->arg, f->at, n, e);
}

static int take_disk(const struct link_frame *f, const struct arrival_ops *ops, void *ctx,
		     struct err *e)
{
	uint64_t n = f->len, off = f->arg & ((1ull << DISK_SHIFT) - 1);
	unsigned disk = (unsigned)(f->arg >> DISK_SHIFT);
	if (f->type == LINK_BLANK && !amount(f, &n)) return senseless(e, "blocks");
	if (!fits(off, n, SECTOR)) return senseless(e, "blocks");
	return f->type == LINK_BLANK ? ops->blank(ctx, disk, off, n, e)
				     : ops->block(ctx, disk, off, f->at, n, e);
}

static int take_part(const struct link_frame *f, const struct arrival_ops *ops, void *ctx,
		     struct err *e)
{
	const char *end = memchr(f->at, 0, f->len);
	if (!end) return senseless(e, "parts");
	end++;
	return ops->part(ctx, f->at, end, f->len - (size_t)(end - f->at), e);
}

int arrival_take(struct link *l, const struct arrival_ops *ops, void *ctx, struct err *e)
{
	struct link_frame f;
	int r;
	while ((r = link_recv(l, &f, SILENCE, e)) == 0 && f.type != LINK_END) {
		switch (f.type) {
		case LINK_PAGES:
		case LINK_ZERO: r = take_memory(&f, ops, ctx, e); break;
		case LINK_BLOCK:
		case LINK_BLANK: r = take_disk(&f, ops, ctx, e); break;
		case LINK_PART: r = take_part(&f, ops, ctx, e); break;
		default: r = senseless(e, "things");
		}
		if (r) break;
	}
	return r;
}
