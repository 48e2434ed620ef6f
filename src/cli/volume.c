/* lodge volume create, ls, inspect, rm, prune: folders that the store keeps for guests to share. */
#include "cli/cli.h"
#include "cli/plain.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct ls_opts {
	bool quiet;
	const char *format;
};
static const struct opt ls_table[] = {
	{"format", 0, OPT_TEXT, offsetof(struct ls_opts, format), "FORMAT", "table or json.",
	 "table json"},
	{"quiet", 'q', OPT_FLAG, offsetof(struct ls_opts, quiet), NULL, "Names only.", NULL},
	{0},
};
static const struct ls_opts ls_defaults;

static struct json_object *json_of(const struct volume *v)
{
	struct json_object *o = json_object_new_object();
	must(o);
	json_object_object_add(o, "name", json_object_new_string(v->name));
	json_object_object_add(o, "path", json_object_new_string(v->path));
	json_object_object_add(o, "created", json_object_new_int64(v->created));
	json_object_object_add(o, "used", json_object_new_boolean(v->used));
	return o;
}

static void print_json(struct json_object *o)
{
	plain_json(o,
		   JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			   JSON_C_TO_STRING_NOSLASHESCAPE,
		   stdout);
	(void)putchar('\n');
	json_object_put(o);
}

static int print_name(void *ctx, const struct volume *v)
{
	(void)ctx;
	printf("%s\n", v->name);
	return 0;
}

static int print_row(void *ctx, const struct volume *v)
{
	char made[32];
	time_t when = (time_t)v->created;
	struct tm tm;
	(void)ctx;
	if (!localtime_r(&when, &tm) || !strftime(made, sizeof(made), "%Y-%m-%d %H:%M", &tm))
		made[0] = 0;
	printf("%-16s  %-4s  %-16s  %s\n", v->name, v->used ? "yes" : "no", made, v->path);
	return 0;
}

static int add_json(void *ctx, const struct volume *v)
{
	json_object_array_add(ctx, json_of(v));
	return 0;
}

static int ls_json(struct store *s, struct err *e)
{
	struct json_object *all = json_object_new_array();
	must(all);
	int r = store_volume_each(s, add_json, all, e);
	print_json(all);
	return r;
}

static int ls_run(const struct call *c, struct err *e)
{
	const struct ls_opts *o = c->opts;
	bool json = o->format && !strcmp(o->format, "json");
	struct store *s;
	if (o->format && !json && strcmp(o->format, "table"))
		return fail(e, -EINVAL, "--format: '%s' is neither table nor json", o->format);
	int r = store_open(&s, NULL, e);
	if (r) return r;
	if (json) {
		r = ls_json(s, e);
	} else {
		if (!o->quiet) printf("%-16s  %-4s  %-16s  %s\n", "NAME", "USED", "MADE", "PATH");
		r = store_volume_each(s, o->quiet ? print_name : print_row, NULL, e);
	}
	store_close(s);
	return r;
}

const struct verb verb_volume_ls = {
	.name = "volume ls",
	.args = "",
	.summary = "List the volumes, and whether guests use them now",
	.opts = ls_table,
	.defaults = &ls_defaults,
	.size = sizeof(ls_defaults),
	.run = ls_run,
};

/* fn for each name given, in a store; names are printed as they are done. */
static int each_named(const struct call *c, bool say,
		      int (*fn)(struct store *s, const char *name, struct err *e), struct err *e)
{
	struct store *s;
	int r = store_open(&s, NULL, e);
	if (r) return r;
	for (unsigned i = 0; !r && i < c->nargs; i++) {
		r = fn(s, c->args[i], e);
		if (!r && say) printf("%s\n", c->args[i]);
	}
	store_close(s);
	return r;
}

static int create_run(const struct call *c, struct err *e)
{
	return each_named(c, true, store_volume_create, e);
}

const struct verb verb_volume_create = {
	.name = "volume create",
	.args = "NAME...",
	.summary = "Make volumes: folders that guests share and that outlive them",
	.text = "'lodge run -v NAME:/where' makes one by itself. One that is there already stays "
		"as "
		"it is.",
	.examples = "lodge volume create data\nlodge run -v data:/data",
	.min_args = 1,
	.max_args = 64,
	.run = create_run,
};

static int inspect_one(struct store *s, const char *name, struct err *e)
{
	struct volume v;
	int r = store_volume_find(s, name, &v, e);
	if (r) return r;
	print_json(json_of(&v));
	volume_done(&v);
	return 0;
}

static int inspect_run(const struct call *c, struct err *e)
{
	return each_named(c, false, inspect_one, e);
}

const struct verb verb_volume_inspect = {
	.name = "volume inspect",
	.args = "NAME...",
	.summary = "Print as JSON where a volume lies and whether a guest uses it",
	.min_args = 1,
	.max_args = 64,
	.completes = "volume",
	.run = inspect_run,
};

static int rm_run(const struct call *c, struct err *e)
{
	return each_named(c, true, store_volume_rm, e);
}

const struct verb verb_volume_rm = {
	.name = "volume rm",
	.args = "NAME...",
	.summary = "Remove volumes with all that is in them",
	.text = "One that a guest uses stays.",
	.min_args = 1,
	.max_args = 64,
	.completes = "volume",
	.run = rm_run,
};

struct prune_opts {
	bool force;
};
static const struct opt prune_table[] = {
	{"force", 'f', OPT_FLAG, offsetof(struct prune_opts, force), NULL, "Do it.", NULL},
	{0},
};
static const struct prune_opts prune_defaults;
struct prune {
	struct store *s;
	struct err *e;
};

static int prune_one(void *ctx, const struct volume *v)
{
	struct prune *p = ctx;
	if (v->used) return 0;
	int r = store_volume_rm(p->s, v->name, p->e);
	if (r == -EBUSY) return 0; /* a guest was faster */
	if (!r) printf("%s\n", v->name);
	return r;
}

static int prune_run(const struct call *c, struct err *e)
{
	const struct prune_opts *o = c->opts;
	struct prune p = {.e = e};
	if (!o->force)
		return fail(e, -EINVAL,
			    "volume prune removes every volume that no guest uses at this moment, "
			    "with its data; say so with --force");
	int r = store_open(&p.s, NULL, e);
	if (r) return r;
	r = store_volume_each(p.s, prune_one, &p, e);
	store_close(p.s);
	return r;
}

const struct verb verb_volume_prune = {
	.name = "volume prune",
	.args = "",
	.summary = "Remove every volume that no guest uses now",
	.text = "A guest that is not running uses none: its volumes go, too.",
	.opts = prune_table,
	.defaults = &prune_defaults,
	.size = sizeof(prune_defaults),
	.run = prune_run,
};
