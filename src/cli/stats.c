/* lodge stats: what running guests use, once. Each is asked twice, a moment apart, since a share of
 * the CPU is one of a time. */
#include "cli/stats.h"
#include "base/log.h"
#include "base/types.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/plain.h"
#include "cli/sample.h"
#include "guest/stats.h"
#include <json-c/json.h>
#include <string.h>

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

/* Say who did not answer, and forget them. */
static bool drop_silent(struct samples *all)
{
	bool any = false;
	for (unsigned i = 0; i < all->n;) {
		if (!all->at[i].silent.code) {
			i++;
			continue;
		}
		log_say("%s", all->at[i].silent.msg);
		samples_drop(all, i);
		any = true;
	}
	return any;
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

static int name_width(const struct samples *all)
{
	size_t most = 16;
	for (unsigned i = 0; i < all->n; i++)
		if (strlen(all->at[i].name) > most) most = strlen(all->at[i].name);
	return (int)most;
}

static void size_or_none(char *to, size_t room, uint64_t bytes)
{
	if (bytes)
		human_size(to, room, bytes);
	else
		(void)snprintf(to, room, "-");
}

static void print_table(const struct samples *all, bool engine)
{
	int wide = name_width(all);
	printf("%-*s %8s %8s %17s %7s %8s %8s %8s\n", wide, "NAME", "PID", "CPU %",
	       "MEM USAGE / LIMIT", "MEM %", "RESIDENT", "MERGED", "USED");
	for (unsigned i = 0; i < all->n; i++) {
		const struct sample *r = &all->at[i];
		char usage[16], limit[16], cpu[16], resident[16], merged[16], inside[16];
		uint64_t used = sample_number(r, "memory_usage"),
			 most = sample_number(r, "memory_limit");
		human_size(usage, sizeof(usage), used);
		human_size(limit, sizeof(limit), most);
		(void)snprintf(cpu, sizeof(cpu), "%.1f%%", sample_cpu(r));
		human_size(resident, sizeof(resident), sample_number(r, "memory_resident"));
		size_or_none(merged, sizeof(merged), sample_number(r, "memory_merged"));
		size_or_none(inside, sizeof(inside), sample_number(r, "memory_used"));
		printf("%-*s %8llu %8s %8s / %-6s %6.1f%% %8s %8s %8s\n", wide, r->name,
		       (unsigned long long)sample_number(r, "pid"), cpu, usage, limit,
		       percent(used, most), resident, merged, inside);
		if (engine) print_counters(r->now);
	}
}

static void add_percent(struct json_object *o, const char *key, double v)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%.2f", v);
	must(!json_object_object_add(o, key, json_object_new_double_s(v, text)));
}

static struct json_object *rows_json(const struct samples *all)
{
	struct json_object *a = json_object_new_array();
	for (unsigned i = 0; i < all->n; i++) {
		const struct sample *r = &all->at[i];
		add_percent(r->now, "cpu_percent", sample_cpu(r));
		add_percent(r->now, "memory_percent",
			    percent(sample_number(r, "memory_usage"),
				    sample_number(r, "memory_limit")));
		must(!json_object_array_add(a, json_object_get(r->now)));
	}
	return a;
}

static void print_rows(const struct samples *all, const char *format)
{
	struct json_object *a = rows_json(all);
	if (!strcmp(format, "json")) {
		plain_json(a, JSON_C_TO_STRING_PRETTY, stdout);
		(void)putchar('\n');
	} else
		format_head(format);
	for (size_t i = 0; strcmp(format, "json") && i < json_object_array_length(a); i++)
		format_line(format, json_object_array_get_idx(a, i));
	(void)json_object_put(a);
}

static void print_names(const struct samples *all)
{
	for (unsigned i = 0; i < all->n; i++) printf("%s\n", all->at[i].name);
}

/* Who was asked for by name has to run; others may end at any time. */
static int ask_twice(struct samples *all, bool named, bool once, bool *silent, struct err *e)
{
	int r = samples_ask(all, 0, e);
	*silent = drop_silent(all);
	if (r && named) return r;
	if (once || !all->n) return 0;
	samples_rest();
	(void)samples_ask(all, 0, e);
	*silent |= drop_silent(all);
	return 0;
}

static int stats_run(const struct call *c, struct err *e)
{
	const struct stats_opts *o = c->opts;
	struct samples all = {0};
	bool table = !strcmp(o->format, "table"), named = c->nargs, silent = false;
	int r = table || !strcmp(o->format, "json") ? 0 : format_check(o->format, e);
	if (!r) r = named ? samples_name(&all, c, e) : samples_find(&all, e);
	if (!r) r = ask_twice(&all, named, o->quiet, &silent, e);
	if (!r && o->quiet)
		print_names(&all);
	else if (!r && !table)
		print_rows(&all, o->format);
	else if (!r)
		print_table(&all, o->engine);
	samples_done(&all);
	return r ? r : silent;
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
		"own memory, MERGED what of that is there once for several (see --memory-merge of\n"
		"'lodge run'), USED what its system says that it uses, if it does. The exit code\n"
		"is 1 when a guest did not answer.",
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
