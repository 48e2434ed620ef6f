#include "base/test.h"
#include "base/types.h"
#include "cli/cli.h"
#include <ctype.h>
#include <errno.h>
#include <string.h>

struct opts {
	bool flag;
	const char *text;
	unsigned number;
	uint64_t size;
	struct opt_list list;
};
static const struct opt table[] = {
	{"flag", 'f', OPT_FLAG, offsetof(struct opts, flag), NULL, "", NULL},
	{"text", 't', OPT_TEXT, offsetof(struct opts, text), "TEXT", "", NULL},
	{"number", 'n', OPT_NUMBER, offsetof(struct opts, number), "N", "", NULL},
	{"size", 's', OPT_SIZE, offsetof(struct opts, size), "SIZE", "", NULL},
	{"list", 'l', OPT_LIST, offsetof(struct opts, list), "X", "", NULL},
	{"habit", 'i', OPT_IGNORE, 0, NULL, "", NULL},
	{"later", 'd', OPT_LATER, 0, NULL, "comes later", NULL},
	{0},
};
static const struct verb verb = {
	.name = "test", .args = "A", .opts = table, .size = sizeof(struct opts), .max_args = 2};

static struct opts got;
static struct globals globals;
static const char *args[64];
static unsigned nargs;
static struct err err;

/* Parse words separated by spaces. */
static int parse(const char *line)
{
	static char copy[256];
	char *words[64], **at = words, *rest = copy;
	unsigned n = 0;
	got = (struct opts){0};
	globals = (struct globals){0};
	err = (struct err){0};
	strcpy(copy, line);
	for (char *w; (w = strsep(&rest, " "));)
		if (*w) words[n++] = w;
	words[n] = NULL;
	return cli_parse(&verb, &at, &got, &globals, args, &nargs, &err);
}
static bool refused(const char *line, const char *why)
{
	int r = parse(line);
	return r < 0 && strstr(err.msg, why);
}

TEST(parse_takes_every_spelling)
{
	CHECK(!parse("--flag --text=a --number 3 --size=2G one -l x --list y -lz"));
	CHECK(got.flag && !strcmp(got.text, "a") && got.number == 3 && got.size == 2 * GIB);
	CHECK(got.list.n == 3 && !strcmp(got.list.at[2], "z"));
	CHECK(nargs == 1 && !strcmp(args[0], "one"));
	CHECK(!parse("-if -n7 -t=b -s 1.5m"));
	CHECK(got.flag && got.number == 7 && !strcmp(got.text, "b") && got.size == 1536 * KIB);
	CHECK(!parse("--text= - -- --flag") && !*got.text && nargs == 2 && !got.flag);
	CHECK(!strcmp(args[0], "-") && !strcmp(args[1], "--flag"));
}

TEST(parse_takes_global_options_too)
{
	CHECK(!parse("-h --trace x* a b c") && globals.help && !strcmp(globals.trace, "x*"));
	CHECK(!parse("--verbose") && globals.verbose && !globals.help);
}

TEST(parse_refuses_in_words)
{
	CHECK(refused("--flga", "unknown option '--flga'; did you mean '--flag'?"));
	CHECK(refused("--zzzzzz", "unknown option '--zzzzzz'") && !strstr(err.msg, "mean"));
	CHECK(refused("-fx", "unknown option '-x'"));
	CHECK(refused("--flag=1", "takes no value"));
	CHECK(refused("--text", "--text needs a value: TEXT"));
	CHECK(refused("-n", "-n needs a value: N"));
	CHECK(refused("--number 0", "--number: 0 is not within"));
	CHECK(refused("--number 3x", "not a whole number"));
	CHECK(refused("--number -3", "not a whole number"));
	CHECK(refused("--number 99999999999999999999", "not within"));
	CHECK(refused("--size 12q", "not a size"));
	CHECK(refused("-d", "--later: comes later"));
	CHECK(refused("a b c", "'c' is one argument too many"));
}

TEST(parse_bounds_lists)
{
	char line[256] = "";
	for (int i = 0; i < OPT_LIST_MAX; i++) strcat(line, "-lx ");
	CHECK(!parse(line) && got.list.n == OPT_LIST_MAX);
	strcat(line, "-lx");
	CHECK(refused(line, "more than 32 times"));
}

TEST(size_parse_knows_units)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"512", 512},     {"1k", KIB},	     {"1KiB", KIB}, {"512M", 512 * MIB},
		    {"2gb", 2 * GIB}, {"1.5G", 3 * GIB / 2}, {"1b", 1},	    {"1T", 1024 * GIB}};
	static const char *const bad[] = {"",	 "0",	"0.5",	    "0M",  "M",	  "-1M",
					  "1MM", "1Mx", "0x10",	    "1e9", "inf", "nan",
					  ".5G", "1 G", "9999999T", "1iB", "1bb"};
	uint64_t n;
	for (unsigned i = 0; i < COUNT(good); i++)
		CHECK(!size_parse(&n, good[i].text, NULL) && n == good[i].bytes);
	for (unsigned i = 0; i < COUNT(bad); i++) CHECK(size_parse(&n, bad[i], NULL) == -EINVAL);
}

TEST(suggest_guesses_slips_and_nothing_else)
{
	static const char *const list[] = {"run", "image", "doctor", "version", "help", NULL};
	CHECK(!strcmp(suggest("rnu", list), "run"));
	CHECK(!strcmp(suggest("imgae", list), "image"));
	CHECK(!strcmp(suggest("doc", list), "doctor"));
	CHECK(!strcmp(suggest("verson", list), "version"));
	CHECK(!suggest("bogus", list) && !suggest("x", list) && !suggest("", list));
	CHECK(!suggest("averyveryverylongwordthatisnotacommandatall", list));
}

TEST(verb_find_takes_the_words_of_its_name)
{
	char *words[] = {(char[]){"image"}, (char[]){"rm"}, (char[]){"x"}, NULL};
	unsigned n;
	CHECK(verb_find(words, &n) == &verb_image_rm && n == 2);
	words[1] = NULL;
	CHECK(!verb_find(words, &n));
}

/* The tables are written by hand; these are the promises that help and completion rely on. */
TEST(tables_are_well_formed)
{
	for (unsigned i = 0; verbs[i]; i++) {
		const struct verb *v = verbs[i];
		bool letters[128] = {0};
		letters['h'] = true;
		CHECK(v->run && v->summary && v->args && v->min_args <= v->max_args);
		CHECK(v->summary[strlen(v->summary) - 1] != '.');
		CHECK(!v->size == !v->defaults);
		for (const struct opt *o = v->opts; o && o->name; o++) {
			CHECK(o->help && o->help[0] && strlen(o->name) < 20);
			CHECK(o->offset < v->size || o->type == OPT_IGNORE || o->type == OPT_LATER);
			if (o->type != OPT_LATER)
				CHECK(!o->arg == (o->type == OPT_FLAG || o->type == OPT_IGNORE));
			if (!o->letter) continue;
			CHECK(isalpha(o->letter) && !letters[(int)o->letter]);
			letters[(int)o->letter] = true;
		}
	}
}
