/* lodge stats: what running guests use, asked of their monitors. Each is asked twice, a moment
 * apart, since a share of the CPU is one of a time. Nothing in an answer is taken to be what it
 * should be. */
#include "cli/stats.h"
#include "base/buf.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/types.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "guest/control.h"
#include "guest/look.h"
#include "guest/stats.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <time.h>

struct stats_opts {
	bool engine, quiet;
	const char *format;
};
#define AT(member) offsetof(struct stats_opts, member)
static const struct opt stats_table[] = {
	{"all", 'a', OPT_IGNORE, 0, NULL, "For habit: guests that do not run use nothing.", NULL},
	{"engine", 0, OPT_FLAG, AT(engine), NULL,
	 "Also what its CPUs have counted: translated code, misses, exits by reason.", NULL},
	{"format", 0, OPT_TEXT, AT(format), "FORMAT",
	 "table (default); json: an array with all there is to tell; or a template, '{{.Name}}'.",
	 "table json"},
	{"no-stream", 0, OPT_IGNORE, 0, NULL, "For habit: figures are always shown once.", NULL},
	{"quiet", 'q', OPT_FLAG, AT(quiet), NULL, "Names only.", NULL},
	{0},
};
static const struct stats_opts stats_defaults = {.format = "table"};

enum { MOMENT_MS = 500, NAME = 64 };
struct row {
	char name[NAME];
	struct json_object *now; /* the last answer */
	uint64_t cpu_ns, at_ns;	 /* of the first */
	double cpu;		 /* percent */
};
struct rows {
	struct row *at;
	unsigned n;
	bool silent; /* some monitor did not answer */
};

static uint64_t number(const struct json_object *o, const char *key)
{
	struct json_object *v;
	return json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v) : 0;
}

/* NULL and words: it is none. */
static struct json_object *parse_answer(const char *name, const struct buf *b, struct err *e)
{
	struct json_tokener *t = json_tokener_new_ex(8);
	must(t);
	struct json_object *o = json_tokener_parse_ex(t, b->at, (int)b->len), *words;
	json_tokener_free(t);
	if (json_object_is_type(o, json_type_object) &&
	    !json_object_object_get_ex(o, "error", &words))
		return o;
	(void)fail(e, -EPROTO, "guest %s: its monitor gave no answer that is understood", name);
	(void)json_object_put(o);
	return NULL;
}

static int ask(struct row *r, struct err *e)
{
	auto_buf struct buf b = {0};
	int bad = control_ask(r->name, "stats", &b, e);
	if (bad) return bad;
	struct json_object *o = parse_answer(r->name, &b, e);
	if (!o) return e->code;
	uint64_t cpu = number(o, "cpu_ns"), at = now_ns();
	if (!r->now)
		r->cpu_ns = cpu, r->at_ns = at;
	else if (at > r->at_ns && cpu >= r->cpu_ns)
		r->cpu = 100.0 * (double)(cpu - r->cpu_ns) / (double)(at - r->at_ns);
	(void)json_object_put(r->now);
	r->now = o;
	return 0;
}

/* Ask all, and keep those that answer. -ENOENT: one of them does not run (any more). */
static int ask_all(struct rows *all, struct err *e)
{
	unsigned kept = 0;
	int r = 0;
	for (unsigned i = 0; i < all->n; i++) {
		struct row row = all->at[i];
		struct err why = {0};
		int bad = ask(&row, &why);
		if (!bad) {
			all->at[kept++] = row;
			continue;
		}
		(void)json_object_put(row.now);
		if (bad == -ENOENT) {
			*e = why;
			r = bad;
			continue;
		}
		all->silent = true;
		(void)fprintf(stderr, "lodge: %s\n", why.msg);
	}
	all->n = kept;
	return r;
}

static int add_row(void *ctx, const char *name)
{
	struct rows *all = ctx;
	all->at = realloc(all->at, (all->n + 1) * sizeof(*all->at));
	must(all->at);
	struct row *r = &all->at[all->n++];
	*r = (struct row){0};
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	return 0;
}

static int add_named(struct rows *all, const struct call *c, struct err *e)
{
	char name[64];
	struct store *s = NULL;
	int r = store_open(&s, NULL, e);
	for (unsigned i = 0; !r && i < c->nargs; i++) {
		r = look_find(s, c->args[i], name, e);
		if (!r) (void)add_row(all, name);
	}
	store_close(s);
	return r;
}

/* ---- telling ---- */
static double percent(uint64_t part, uint64_t all)
{
	return all ? 100.0 * (double)part / (double)all : 0;
}

/* What else a name may hold could move the cursor. */
static void print_counter(const char *name, uint64_t value)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	if (!name[strspn(name, letters)])
		printf("    %-20s %20llu\n", name, (unsigned long long)value);
}

static void print_counters(const struct json_object *o)
{
	struct json_object *all;
	if (!json_object_object_get_ex(o, "counters", &all) ||
	    !json_object_is_type(all, json_type_object))
		return;
	json_object_object_foreach(all, key, value)
		print_counter(key, json_object_get_uint64(value));
}

static int name_width(const struct rows *all)
{
	size_t most = 16;
	for (unsigned i = 0; i < all->n; i++)
		if (strlen(all->at[i].name) > most) most = strlen(all->at[i].name);
	return (int)most;
}

static void print_table(const struct rows *all, bool engine)
{
	int wide = name_width(all);
	printf("%-*s %8s %8s %17s %7s %8s %8s\n", wide, "NAME", "PID", "CPU %", "MEM USAGE / LIMIT",
	       "MEM %", "RESIDENT", "USED");
	for (unsigned i = 0; i < all->n; i++) {
		const struct row *r = &all->at[i];
		char usage[16], limit[16], cpu[16], resident[16], inside[16] = "-";
		uint64_t used = number(r->now, "memory_usage"),
			 most = number(r->now, "memory_limit");
		human_size(usage, sizeof(usage), used);
		human_size(limit, sizeof(limit), most);
		(void)snprintf(cpu, sizeof(cpu), "%.1f%%", r->cpu);
		human_size(resident, sizeof(resident), number(r->now, "memory_resident"));
		if (number(r->now, "memory_used"))
			human_size(inside, sizeof(inside), number(r->now, "memory_used"));
		printf("%-*s %8llu %8s %8s / %-6s %6.1f%% %8s %8s\n", wide, r->name,
		       (unsigned long long)number(r->now, "pid"), cpu, usage, limit,
		       percent(used, most), resident, inside);
		if (engine) print_counters(r->now);
	}
}

static void add_percent(struct json_object *o, const char *key, double v)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%.2f", v);
	must(!json_object_object_add(o, key, json_object_new_double_s(v, text)));
}

static struct json_object *rows_json(const struct rows *all)
{
	struct json_object *a = json_object_new_array();
	for (unsigned i = 0; i < all->n; i++) {
		const struct row *r = &all->at[i];
		add_percent(r->now, "cpu_percent", r->cpu);
		add_percent(
			r->now, "memory_percent",
			percent(number(r->now, "memory_usage"), number(r->now, "memory_limit")));
		must(!json_object_array_add(a, json_object_get(r->now)));
	}
	return a;
}

static void print_rows(const struct rows *all, const char *format)
{
	struct json_object *a = rows_json(all);
	if (!strcmp(format, "json"))
		printf("%s\n", json_object_to_json_string_ext(a, JSON_C_TO_STRING_PRETTY));
	else
		format_head(format);
	for (size_t i = 0; strcmp(format, "json") && i < json_object_array_length(a); i++)
		format_line(format, json_object_array_get_idx(a, i));
	(void)json_object_put(a);
}

static void rest(void)
{
	struct timespec t = {.tv_nsec = MOMENT_MS * 1000000L};
	(void)nanosleep(&t, NULL);
}

static void print_names(const struct rows *all)
{
	for (unsigned i = 0; i < all->n; i++) printf("%s\n", all->at[i].name);
}

/* Who was asked for by name has to run; others may end at any time. */
static int ask_twice(struct rows *all, bool named, bool once, struct err *e)
{
	int r = ask_all(all, e);
	if (r && named) return r;
	if (once || !all->n) return 0;
	rest();
	(void)ask_all(all, e);
	return 0;
}

static int stats_run(const struct call *c, struct err *e)
{
	const struct stats_opts *o = c->opts;
	struct rows all = {0};
	bool table = !strcmp(o->format, "table"), named = c->nargs;
	int r = table || !strcmp(o->format, "json") ? 0 : format_check(o->format, e);
	if (!r) r = named ? add_named(&all, c, e) : control_each(add_row, &all, e);
	if (!r) r = ask_twice(&all, named, o->quiet, e);
	if (!r && o->quiet)
		print_names(&all);
	else if (!r && !table)
		print_rows(&all, o->format);
	else if (!r)
		print_table(&all, o->engine);
	for (unsigned i = 0; i < all.n; i++) (void)json_object_put(all.at[i].now);
	free(all.at);
	return r ? r : all.silent;
}

void stats_print(const struct guest_stats *s, FILE *out)
{
	char rss[16];
	human_size(rss, sizeof(rss), s->rss);
	(void)fprintf(out, "lodge: %s ran for %.3f s, used %.3f s of CPU time and %s of memory\n",
		      s->name[0] ? s->name : "the guest", (double)s->up_ns / 1e9,
		      (double)s->cpu_ns / 1e9, rss);
	for (unsigned i = 0; i < s->counters.n; i++)
		(void)fprintf(out, "    %-20s %20llu\n", s->counters.at[i].name,
			      (unsigned long long)s->counters.at[i].value);
}

const struct verb verb_stats = {
	.name = "stats",
	.args = "[GUEST...]",
	.summary = "Show what running guests use",
	.text = "Without names all guests of this user that run, those without a name as "
		"unnamed-1\n"
		"and so on. CPU % is the share of one CPU of this machine during half a second.\n"
		"Memory is what the guest's whole process keeps in this machine's memory, the\n"
		"limit what the guest itself has. RESIDENT is what this machine keeps of the "
		"guest's\n"
		"own memory, USED what its system says that it uses, if it does. The exit code is "
		"1\n"
		"when a guest did not answer.",
	.examples = "lodge stats\n"
		    "lodge stats --engine web\n"
		    "lodge stats --format json",
	.opts = stats_table,
	.defaults = &stats_defaults,
	.size = sizeof(stats_defaults),
	.max_args = 64,
	.completes = "guest",
	.run = stats_run,
};
