/* lodge image create, convert, info, check, resize, compare: disk images as files, with the words
 * and letters that users of qemu-img have in their fingers. Here, and only here, a format may be
 * told by a file's bytes: its owner is asking. */
#include "base/own.h"
#include "base/types.h"
#include "blk/blk.h"
#include "cli/cli.h"
#include "cli/plain.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FORMATS "raw qcow2 vmdk vdi"
#define READ	"raw qcow2 vmdk vdi vhd vhdx"

static int format_arg(const char **format, const char *option, struct err *e)
{
	if (!*format) return 0;
	const char *known = blk_format_named(*format);
	if (!known)
		return fail(e, -EINVAL, "%s: unknown format '%s'; there are: " READ, option,
			    *format);
	*format = known;
	return 0;
}

/* What may come after -o, as in -o cluster_size=1M,compression_type=zstd. */
static int make_option(struct blk_make *m, bool *stream, const char *key, const char *value,
		       struct err *e)
{
	uint64_t size;
	if (!strcmp(key, "cluster_size")) {
		int r = size_parse(&size, value, e);
		if (r) return fail_in(e, "-o cluster_size");
		if (size > 2 * MIB) return fail(e, -EINVAL, "-o cluster_size: 512 to 2M");
		m->cluster = (uint32_t)size;
	} else if (!strcmp(key, "compression_type") && !strcmp(value, "zstd"))
		m->zstd = true;
	else if (!strcmp(key, "compat") && (!strcmp(value, "0.10") || !strcmp(value, "v2")))
		m->old = true;
	else if (!strcmp(key, "subformat") && !strcmp(value, "streamOptimized"))
		*stream = true;
	else if ((strcmp(key, "compression_type") || strcmp(value, "zlib")) &&
		 (strcmp(key, "compat") || (strcmp(value, "1.1") && strcmp(value, "v3"))) &&
		 (strcmp(key, "subformat") || strcmp(value, "monolithicSparse")))
		return fail(e, -EINVAL,
			    "-o %s=%s: known are cluster_size, compression_type (zlib, zstd), "
			    "compat (0.10, 1.1), subformat (monolithicSparse, streamOptimized)",
			    key, value);
	return 0;
}

static int make_options(struct blk_make *m, bool *stream, const struct opt_list *l, struct err *e)
{
	int r = 0;
	for (unsigned i = 0; !r && i < l->n; i++) {
		char text[512], *save = NULL;
		if ((size_t)snprintf(text, sizeof(text), "%s", l->at[i]) >= sizeof(text))
			return fail(e, -EINVAL, "-o: too long");
		for (char *w = strtok_r(text, ",", &save); !r && w;
		     w = strtok_r(NULL, ",", &save)) {
			char *is = strchr(w, '=');
			if (!is) return fail(e, -EINVAL, "-o %s: needs a value", w);
			*is = 0;
			r = make_option(m, stream, w, is + 1, e);
		}
	}
	return r;
}

struct disk_opts {
	const char *format, *target, *backing, *backing_format, *snapshot, *output, *repair;
	struct opt_list more;
	bool pack, chain, progress, shrink, quiet;
};
#define AT(member) offsetof(struct disk_opts, member)
static const struct disk_opts no_opts;

/* --- create ---------------------------------------------------------------------------------- */

static const struct opt create_table[] = {
	{"format", 'f', OPT_TEXT, AT(format), "FORMAT", "The new image's format (raw).", FORMATS},
	{"backing", 'b', OPT_TEXT, AT(backing), "FILE",
	 "qcow2: the image that it lies over, as seen from the new one's folder.", NULL},
	{"backing-format", 'F', OPT_TEXT, AT(backing_format), "FORMAT", "The format of that.",
	 READ},
	{"option", 'o', OPT_LIST, AT(more), "NAME=VALUE", "Details of the format, as for convert.",
	 NULL},
	{0},
};

static int create_run(const struct call *c, struct err *e)
{
	const struct disk_opts *o = c->opts;
	struct blk_make m = {.format = o->format ? o->format : "raw", .backing = o->backing};
	bool stream = false;
	m.backing_format = o->backing_format;
	int r = format_arg(&m.format, "-f", e);
	if (!r) r = format_arg(&m.backing_format, "-F", e);
	if (!r) r = make_options(&m, &stream, &o->more, e);
	if (!r && stream)
		r = fail(e, -EINVAL, "-o subformat: a stream cannot be written to; convert to it");
	if (!r && m.backing && !m.backing_format)
		r = fail(e, -EINVAL, "-b needs -F: a format is never guessed from a guest's bytes");
	if (!r && c->nargs > 1) r = size_parse(&m.size, c->args[1], e);
	if (!r && c->nargs < 2 && !m.backing) r = fail(e, -EINVAL, "how large?");
	return r ? r : blk_create(c->args[0], &m, e);
}

const struct verb verb_image_create = {
	.name = "image create",
	.args = "FILE [SIZE]",
	.summary = "Make an empty disk image, or one that lies over another",
	.examples = "lodge image create -f qcow2 data.qcow2 20G\n"
		    "lodge image create -f qcow2 -b base.img -F raw mine.qcow2",
	.opts = create_table,
	.defaults = &no_opts,
	.size = sizeof(no_opts),
	.min_args = 1,
	.max_args = 2,
	.run = create_run,
};

/* --- convert --------------------------------------------------------------------------------- */

static const struct opt convert_table[] = {
	{"format", 'f', OPT_TEXT, AT(format), "FORMAT",
	 "What SOURCE is (default: what its bytes look like).", READ},
	{"output-format", 'O', OPT_TEXT, AT(target), "FORMAT", "What TARGET becomes (raw).",
	 FORMATS},
	{"option", 'o', OPT_LIST, AT(more), "NAME=VALUE",
	 "cluster_size=SIZE, compression_type=zstd, compat=0.10, subformat=streamOptimized.", NULL},
	{"compress", 'c', OPT_FLAG, AT(pack), NULL, "qcow2: compress what is written.", NULL},
	{"backing", 0, OPT_FLAG, AT(chain), NULL,
	 "Trust SOURCE to name the files that it lies over, and read them.", NULL},
	{"snapshot", 'l', OPT_TEXT, AT(snapshot), "NAME",
	 "The disk as a snapshot inside a qcow2 image has it.", NULL},
	{"progress", 'p', OPT_FLAG, AT(progress), NULL, "Say how far it is.", NULL},
	{0},
};

static void show_progress(void *ctx, uint64_t done, uint64_t all)
{
	unsigned *last = ctx, now = all ? (unsigned)(done / (all / 1000 + 1)) : 1000;
	if (done == all) now = 1000;
	if (now == *last) return;
	*last = now;
	(void)fprintf(stderr, "\r%3u.%u %%%s", now / 10, now % 10, now == 1000 ? "\n" : "");
}

static int convert_run(const struct call *c, struct err *e)
{
	const struct disk_opts *o = c->opts;
	unsigned last = ~0u;
	struct blk_convert k = {.from = c->args[0], .from_format = o->format, .to = c->args[1]};
	k.make.format = o->target ? o->target : "raw";
	k.snapshot = o->snapshot;
	k.pack = o->pack;
	k.flags = o->chain ? BLK_BACKING : 0;
	if (o->progress) k.progress = show_progress;
	k.ctx = &last;
	int r = format_arg(&k.from_format, "-f", e);
	if (!r) r = format_arg(&k.make.format, "-O", e);
	if (!r) r = make_options(&k.make, &k.stream, &o->more, e);
	return r ? r : blk_convert(&k, e);
}

const struct verb verb_image_convert = {
	.name = "image convert",
	.args = "SOURCE TARGET",
	.summary = "Copy a disk image into another format",
	.text = "TARGET is replaced once all of it is there; until then it is what it was. What\n"
		"is zero takes no room in it.",
	.examples =
		"lodge image convert -f vmdk -O qcow2 disk.vmdk disk.qcow2\n"
		"lodge image convert -c -O qcow2 -o compression_type=zstd disk.img small.qcow2\n"
		"lodge image convert -O vmdk -o subformat=streamOptimized disk.img disk.vmdk",
	.opts = convert_table,
	.defaults = &no_opts,
	.size = sizeof(no_opts),
	.min_args = 2,
	.max_args = 2,
	.run = convert_run,
};

/* --- info ------------------------------------------------------------------------------------ */

static const struct opt info_table[] = {
	{"format", 0, OPT_TEXT, AT(output), "FORMAT", "text (default) or json.", "text json"},
	{"output", 0, OPT_TEXT, AT(output), "FORMAT", "The same as --format.", "human json"},
	{"image-format", 'f', OPT_TEXT, AT(format), "FORMAT",
	 "What FILE is (default: what its bytes look like).", READ},
	{0},
};

static void put(struct json_object *o, const char *key, struct json_object *v)
{
	must(v);
	json_object_object_add(o, key, v);
}
static void put_text(struct json_object *o, const char *key, const char *text)
{
	if (*text) put(o, key, json_object_new_string(text));
}

static void snapshot_json(void *ctx, const struct blk_snapshot *s)
{
	struct json_object *o = json_object_new_object();
	must(o);
	put_text(o, "id", s->id);
	put_text(o, "name", s->name);
	put(o, "vm-state-size", json_object_new_uint64(s->vm_state));
	put(o, "date-sec", json_object_new_uint64(s->seconds));
	put(o, "virtual-size", json_object_new_uint64(s->size));
	(void)json_object_array_add(ctx, o);
}

static void info_details(struct json_object *o, const struct blk_about *a)
{
	if (a->unit) put(o, "cluster-size", json_object_new_uint64(a->unit));
	if (a->version) put(o, "version", json_object_new_int((int)a->version));
	if (a->refcount_bits) put(o, "refcount-bits", json_object_new_int((int)a->refcount_bits));
	put_text(o, "variant", a->variant);
	put_text(o, "compression", a->compression);
	put_text(o, "backing-filename", a->backing);
	put_text(o, "backing-filename-format", a->backing_format);
	put(o, "dirty-flag", json_object_new_boolean(a->dirty));
	put(o, "corrupt", json_object_new_boolean(a->corrupt));
}

static int info_json(const char *path, const struct blk_about *a, struct err *e)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	int r = 0;
	must(o && list);
	put_text(o, "filename", path);
	put_text(o, "format", a->format);
	put(o, "virtual-size", json_object_new_uint64(a->size));
	put(o, "actual-size", json_object_new_uint64(a->used));
	info_details(o, a);
	if (a->nsnapshots) r = blk_snapshots(path, snapshot_json, list, e);
	put(o, "snapshots", list);
	if (!r) {
		plain_json(o,
			   JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
				   JSON_C_TO_STRING_NOSLASHESCAPE,
			   stdout);
		(void)putchar('\n');
	}
	json_object_put(o);
	return r;
}

/* Names in an image are anybody's: no control character of theirs reaches the terminal. */
static void say(const char *what, const char *text)
{
	if (!*text) return;
	printf("%s: ", what);
	plain_text(text, stdout);
	(void)putchar('\n');
}

static void plain_column(const char *text, int wide)
{
	int len = (int)strlen(text);
	plain_text(text, stdout);
	printf("%*s", (len < wide ? wide - len : 0) + 2, "");
}

static void snapshot_text(void *ctx, const struct blk_snapshot *s)
{
	char size[16], when[32];
	time_t t = (time_t)s->seconds;
	struct tm tm;
	(void)ctx;
	human_size(size, sizeof(size), s->vm_state);
	if (!localtime_r(&t, &tm) || !strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm))
		when[0] = 0;
	plain_column(s->id, 8);
	plain_column(s->name, 24);
	printf("%8s  %s\n", size, when);
}

static int info_text(const char *path, const struct blk_about *a, struct err *e)
{
	char size[16], used[16], unit[16];
	human_size(size, sizeof(size), a->size);
	human_size(used, sizeof(used), a->used);
	human_size(unit, sizeof(unit), a->unit);
	printf("image: %s\nfile format: %s\nvirtual size: %s (%llu bytes)\ndisk size: %s\n", path,
	       a->format, size, (unsigned long long)a->size, used);
	if (a->unit) printf("cluster size: %s (%u bytes)\n", unit, a->unit);
	if (a->version) printf("version: %u\n", a->version);
	if (a->refcount_bits) printf("refcount bits: %u\n", a->refcount_bits);
	say("variant", a->variant);
	say("compression", a->compression);
	say("backing file", a->backing);
	say("backing file format", a->backing_format);
	if (a->lazy) printf("lazy refcounts: yes\n");
	if (a->dirty) printf("was not closed: yes\n");
	if (a->corrupt) printf("marked corrupt: yes\n");
	if (!a->nsnapshots) return 0;
	printf("snapshots:\n%-8s  %-24s  %8s  %s\n", "ID", "NAME", "STATE", "MADE");
	return blk_snapshots(path, snapshot_text, NULL, e);
}

static int info_run(const struct call *c, struct err *e)
{
	const struct disk_opts *o = c->opts;
	struct blk_about a;
	const char *format = o->format, *out = o->output ? o->output : "text";
	bool json = !strcmp(out, "json");
	if (!json && strcmp(out, "text") && strcmp(out, "human"))
		return fail(e, -EINVAL, "--format: '%s' is neither text nor json", out);
	int r = format_arg(&format, "-f", e);
	if (!r) r = blk_about(c->args[0], format, &a, e);
	if (r) return r;
	return json ? info_json(c->args[0], &a, e) : info_text(c->args[0], &a, e);
}

const struct verb verb_image_info = {
	.name = "image info",
	.args = "FILE",
	.summary = "Say what a disk image is, what it lies over and which snapshots it holds",
	.opts = info_table,
	.defaults = &no_opts,
	.size = sizeof(no_opts),
	.min_args = 1,
	.max_args = 1,
	.run = info_run,
};

/* --- check ----------------------------------------------------------------------------------- */

enum { CHECK_CORRUPT = 2, CHECK_LEAKS = 3 };

static const struct opt check_table[] = {
	{"format", 'f', OPT_TEXT, AT(format), "FORMAT",
	 "What FILE is (default: what its bytes look like).", READ},
	{"repair", 'r', OPT_TEXT, AT(repair), "WHAT", "Mend it: leaks, or all.", "leaks all"},
	{0},
};

static int report(const struct blk_report *r)
{
	if (r->fixed) printf("%llu mended\n", (unsigned long long)r->fixed);
	if (r->corruptions)
		printf("%llu errors: what is written next may damage more\n",
		       (unsigned long long)r->corruptions);
	if (*r->first) printf("first: %s\n", r->first);
	if (r->leaks)
		printf("%llu clusters are used by nothing: room is wasted, nothing is wrong\n",
		       (unsigned long long)r->leaks);
	if (!r->corruptions && !r->leaks) printf("no errors\n");
	printf("%llu of %llu clusters hold something\n", (unsigned long long)r->allocated,
	       (unsigned long long)r->units);
	return r->corruptions ? CHECK_CORRUPT : r->leaks ? CHECK_LEAKS : 0;
}

static int check_run(const struct call *c, struct err *e)
{
	const struct disk_opts *o = c->opts;
	struct blk_report rep;
	const char *format = o->format;
	enum blk_fix fix = BLK_FIX_NONE;
	if (o->repair && !strcmp(o->repair, "leaks")) fix = BLK_FIX_LEAKS;
	if (o->repair && !strcmp(o->repair, "all")) fix = BLK_FIX_ALL;
	if (o->repair && fix == BLK_FIX_NONE)
		return fail(e, -EINVAL, "--repair: '%s' is neither leaks nor all", o->repair);
	int r = format_arg(&format, "-f", e);
	if (!r) r = blk_check_file(c->args[0], format, fix, &rep, e);
	return r < 0 ? r : report(&rep);
}

const struct verb verb_image_check = {
	.name = "image check",
	.args = "FILE",
	.summary = "Check a qcow2 image for errors and mend them",
	.text = "The exit code is 0 when nothing is wrong, 2 when there are errors, 3 when room "
		"is\n"
		"only wasted, and 125 when it could not be checked.",
	.opts = check_table,
	.defaults = &no_opts,
	.size = sizeof(no_opts),
	.min_args = 1,
	.max_args = 1,
	.run = check_run,
};

static int open_file(struct blk **b, const char *path, const char *format, unsigned flags,
		     struct err *e)
{
	int r = format_arg(&format, "-f", e);
	if (r) return r;
	if (!format) format = blk_probe(path, e);
	if (!format) return -EIO;
	return blk_open(b, path, format, flags, e);
}

/* --- resize ---------------------------------------------------------------------------------- */

static const struct opt resize_table[] = {
	{"format", 'f', OPT_TEXT, AT(format), "FORMAT",
	 "What FILE is (default: what its bytes look like).", READ},
	{"backing", 0, OPT_FLAG, AT(chain), NULL,
	 "Trust an image to name the files that it lies over, and read them.", NULL},
	{"shrink", 0, OPT_FLAG, AT(shrink), NULL, "Make it smaller; what is behind is lost.", NULL},
	{0},
};

static int new_size(uint64_t *size, uint64_t now, const char *text, struct err *e)
{
	char sign = *text == '+' || *text == '-' ? *text : 0;
	uint64_t n;
	int r = size_parse(&n, sign ? text + 1 : text, e);
	if (r) return r;
	if (sign == '-' && n >= now) return fail(e, -EINVAL, "nothing would be left");
	*size = sign == '+' ? now + n : sign == '-' ? now - n : n;
	return 0;
}

static int resize_run(const struct call *c, struct err *e)
{
	const struct disk_opts *o = c->opts;
	struct blk *b;
	uint64_t size = 0;
	int r = open_file(&b, c->args[0], o->format, o->chain ? BLK_BACKING : 0, e);
	if (r) return r;
	r = new_size(&size, blk_info(b).size, c->args[1], e);
	if (!r && size < blk_info(b).size && !o->shrink)
		r = fail(e, -EINVAL, "%s: would lose its end; say --shrink if you mean it",
			 c->args[0]);
	else if (!r) {
		r = blk_resize(b, size, e);
		if (r < 0) (void)fail_in(e, "%s", c->args[0]);
	}
	blk_unref(b);
	return r;
}

const struct verb verb_image_resize = {
	.name = "image resize",
	.args = "FILE SIZE",
	.summary = "Give a raw or qcow2 disk image another size",
	.text = "SIZE may begin with + or -. The partitions inside are the guest's business.",
	.examples = "lodge image resize disk.qcow2 +10G",
	.opts = resize_table,
	.defaults = &no_opts,
	.size = sizeof(no_opts),
	.min_args = 2,
	.max_args = 2,
	.run = resize_run,
};

/* --- compare --------------------------------------------------------------------------------- */

static const struct opt compare_table[] = {
	{"format", 'f', OPT_TEXT, AT(format), "FORMAT",
	 "What A is (default: what its bytes look like).", READ},
	{"backing", 0, OPT_FLAG, AT(chain), NULL,
	 "Trust an image to name the files that it lies over, and read them.", NULL},
	{"other-format", 'F', OPT_TEXT, AT(target), "FORMAT", "The same for B.", READ},
	{0},
};

static int compare_run(const struct call *c, struct err *e)
{
	const struct disk_opts *o = c->opts;
	struct blk *a = NULL, *b = NULL;
	uint64_t at = 0;
	unsigned flags = BLK_RDONLY | (o->chain ? BLK_BACKING : 0);
	int r = open_file(&a, c->args[0], o->format, flags, e);
	if (!r) r = open_file(&b, c->args[1], o->target, flags, e);
	if (!r) r = blk_same(a, b, &at, e);
	if (r == 0) printf("the disks are the same\n");
	if (r == 1) printf("the disks differ from byte %llu on\n", (unsigned long long)at);
	blk_unref(a);
	blk_unref(b);
	return r;
}

const struct verb verb_image_compare = {
	.name = "image compare",
	.args = "A B",
	.summary = "Compare what two disk images hold",
	.text = "Formats do not matter, nor do zeroes at the end. The exit code is 0 when they "
		"are\n"
		"the same and 1 when not.",
	.opts = compare_table,
	.defaults = &no_opts,
	.size = sizeof(no_opts),
	.min_args = 2,
	.max_args = 2,
	.run = compare_run,
};
