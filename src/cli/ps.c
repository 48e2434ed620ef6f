/* lodge ps and inspect: guests as lines and as JSON. What is told of a guest comes from its folder,
 * or from its monitor when it has none, and is shown as something that others wrote. */
#include "base/own.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/kept.h"
#include "cli/plain.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct ps_opts {
	bool all, quiet;
	const char *format;
};
#define AT(member) offsetof(struct ps_opts, member)
static const struct opt ps_table[] = {
	{"all", 'a', OPT_FLAG, AT(all), NULL, "Also guests that do not run.", NULL},
	{"format", 0, OPT_TEXT, AT(format), "FORMAT",
	 "table (default), json, or a template such as '{{.Name}} {{.State}}'.", "table json"},
	{"no-trunc", 0, OPT_IGNORE, 0, NULL, "For habit: nothing is cut off.", NULL},
	{"quiet", 'q', OPT_FLAG, AT(quiet), NULL, "Names only.", NULL},
	{0},
};
static const struct ps_opts ps_defaults = {.format = "table"};
static const struct opt inspect_table[] = {
	{"format", 'f', OPT_TEXT, AT(format), "FORMAT",
	 "json (default), or a template such as '{{.Id}} {{.Spec.Kernel}}'.", "json"},
	{0},
};
static const struct ps_opts inspect_defaults = {.format = "json"};

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *v;
	const char *s = json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : NULL;
	return s ? s : "";
}

/* ---- which ---- */
struct chosen {
	struct json_object *list;
	bool all;
};

static int choose(void *ctx, struct json_object *guest)
{
	struct chosen *c = ctx;
	const char *state = text(guest, "state");
	if (c->all || !strcmp(state, "running") || !strcmp(state, "paused"))
		must(!json_object_array_add(c->list, json_object_get(guest)));
	return 0;
}

static struct json_object *nth(struct json_object *list, size_t i)
{
	return json_object_array_get_idx(list, i);
}

/* ---- a table ---- */
/* How long since: "14 s", "3 min", "2 h", "5 d". */
static void since(char *to, size_t room, const char *moment)
{
	struct tm tm = {0};
	if (!strptime(moment, "%Y-%m-%dT%H:%M:%SZ", &tm)) {
		to[0] = 0;
		return;
	}
	long s = (long)(time(NULL) - timegm(&tm));
	if (s < 0) s = 0;
	if (s < 120)
		(void)snprintf(to, room, "%ld s", s);
	else if (s < 7200)
		(void)snprintf(to, room, "%ld min", s / 60);
	else if (s < 2 * 86400)
		(void)snprintf(to, room, "%ld h", s / 3600);
	else
		(void)snprintf(to, room, "%ld d", s / 86400);
}

static void status(char *to, size_t room, struct json_object *o)
{
	char ago[32];
	const char *state = text(o, "state");
	since(ago, sizeof(ago), text(o, *text(o, "finished") ? "finished" : "started"));
	if (!strcmp(state, "running"))
		(void)snprintf(to, room, "up %s", ago);
	else if (!strcmp(state, "paused"))
		(void)snprintf(to, room, "up %s (paused)", ago);
	else if (!strcmp(state, "exited"))
		(void)snprintf(to, room, "exited (%s) %s ago", text(o, "exit_code"), ago);
	else if (!strcmp(state, "broken"))
		(void)snprintf(to, room, "broken: %s", text(o, "why"));
	else
		(void)snprintf(to, room, "%s", state);
}

static void ports(char *to, size_t room, struct json_object *o)
{
	struct json_object *list;
	size_t n = 0;
	to[0] = 0;
	if (!json_object_object_get_ex(o, "ports", &list) ||
	    !json_object_is_type(list, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(list) && n < room; i++)
		n += (size_t)snprintf(to + n, room - n, "%s%s", i ? ", " : "",
				      json_object_get_string(nth(list, i)));
}

enum { COLUMNS = 6, CELL = 512 };
static const char *const heads[COLUMNS] = {"NAME", "ID", "ARCH", "IMAGE", "STATUS", "PORTS"};

static void cells(char cell[COLUMNS][CELL], struct json_object *o)
{
	static const char *const keys[] = {"name", "id", "arch", "image"};
	for (unsigned i = 0; i < COUNT(keys); i++) {
		const char *s = text(o, keys[i]);
		(void)snprintf(cell[i], CELL, "%s", *s ? s : "-");
	}
	status(cell[4], CELL, o);
	ports(cell[5], CELL, o);
}

static void widen(int wide[COLUMNS], struct json_object *o)
{
	char cell[COLUMNS][CELL];
	cells(cell, o);
	for (unsigned i = 0; i < COLUMNS; i++)
		if ((int)strlen(cell[i]) > wide[i]) wide[i] = (int)strlen(cell[i]);
}

static void print_row(const int wide[COLUMNS], const char *const cell[COLUMNS])
{
	unsigned last = COLUMNS - 1;
	while (last && !*cell[last]) last--;
	for (unsigned i = 0; i <= last; i++) {
		plain_text(cell[i], stdout);
		if (i < last) printf("%*s", wide[i] - (int)strlen(cell[i]) + 2, "");
	}
	(void)putchar('\n');
}

static void print_table(struct json_object *list)
{
	int wide[COLUMNS];
	for (unsigned i = 0; i < COLUMNS; i++) wide[i] = (int)strlen(heads[i]);
	for (size_t i = 0; i < json_object_array_length(list); i++) widen(wide, nth(list, i));
	print_row(wide, heads);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		char cell[COLUMNS][CELL];
		const char *at[COLUMNS];
		cells(cell, nth(list, i));
		for (unsigned c = 0; c < COLUMNS; c++) at[c] = cell[c];
		print_row(wide, at);
	}
}

static void print_list(struct json_object *list, const char *format)
{
	if (!strcmp(format, "table")) {
		print_table(list);
		return;
	}
	if (!strcmp(format, "json")) {
		plain_json(list, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE, stdout);
		(void)putchar('\n');
		return;
	}
	format_head(format);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		format_line(format, nth(list, i));
}

static int check_format(const char *format, struct err *e)
{
	return strcmp(format, "table") && strcmp(format, "json") ? format_check(format, e) : 0;
}

static int ps_run(const struct call *c, struct err *e)
{
	const struct ps_opts *o = c->opts;
	struct store *s = NULL;
	struct chosen all = {json_object_new_array(), o->all};
	int r = check_format(o->format, e);
	if (!r) r = store_open(&s, NULL, e);
	if (!r) r = look_each(s, choose, &all, e);
	if (!r) print_list(all.list, o->quiet ? "{{.Name}}" : o->format);
	(void)json_object_put(all.list);
	store_close(s);
	return r;
}

const struct verb verb_ps = {
	.name = "ps",
	.args = "",
	.summary = "List guests",
	.text = "Those that run, and with --all also those that are kept. A guest without a name "
		"in\n"
		"the foreground is called unnamed-1 and so on.",
	.examples = "lodge ps -a\n"
		    "lodge ps --format '{{.Name}} {{.State}} {{.ExitCode}}'",
	.opts = ps_table,
	.defaults = &ps_defaults,
	.size = sizeof(ps_defaults),
	.run = ps_run,
};

/* ---- inspect ---- */
static int inspect_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	struct json_object *o;
	int r = look_at(s, name, &o, e);
	if (!r) must(!json_object_array_add(ctx, o));
	return r;
}

static int inspect_run(const struct call *c, struct err *e)
{
	const struct ps_opts *o = c->opts;
	if (!strcmp(o->format, "table")) return fail(e, -EINVAL, "--format: inspect has no table");
	int r = check_format(o->format, e);
	if (r) return r;
	struct json_object *list = json_object_new_array();
	r = kept_each(c, inspect_one, list, e);
	print_list(list, o->format);
	(void)json_object_put(list);
	return r;
}

const struct verb verb_inspect = {
	.name = "inspect",
	.args = "GUEST...",
	.summary = "Tell all that is known about guests, as JSON",
	.examples = "lodge inspect web\n"
		    "lodge inspect --format '{{.State}}' web",
	.opts = inspect_table,
	.defaults = &inspect_defaults,
	.size = sizeof(inspect_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = inspect_run,
};
