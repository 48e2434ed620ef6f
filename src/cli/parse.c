/* Options by table, with the habits of docker's: long and short, clustered, --x=y, in any order
 * among the arguments, -- ends them. Two tables are searched: the verb's and the global one. */
#include "base/types.h"
#include "cli/cli.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct opt no_opts[] = {{0}};
const struct opt global_opts[] = {
	{"help", 'h', OPT_FLAG, offsetof(struct globals, help), NULL, "Show help and exit.", NULL},
	{"root", 0, OPT_TEXT, offsetof(struct globals, root), "DIR",
	 "Keep images and guests there instead of in the usual place.", NULL},
	{"trace", 0, OPT_TEXT, offsetof(struct globals, trace), "PATTERN",
	 "Print events whose names match, such as 'proc_*'; commas separate patterns.", NULL},
	{"verbose", 0, OPT_FLAG, offsetof(struct globals, verbose), NULL,
	 "Say more about what is being done.", NULL},
	{"version", 0, OPT_FLAG, offsetof(struct globals, version), NULL,
	 "Show the version and exit.", NULL},
	{0},
};

static int bad_size(const char *text, struct err *e)
{
	return fail(e, -EINVAL, "'%s' is not a size, such as 512M or 2G", text);
}

int size_parse(uint64_t *bytes, const char *text, struct err *e)
{
	static const char units[] = "kmgt";
	char *end;
	if (!isdigit((unsigned char)*text) || text[strspn(text, "0123456789.kKmMgGtTiIbB")])
		return bad_size(text, e);
	double v = strtod(text, &end);
	const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
	if (unit) {
		for (long i = unit - units; i >= 0; i--) v *= 1024;
		end++;
		end += *end == 'i' || *end == 'I';
	}
	end += *end == 'b' || *end == 'B';
	if (*end || v < 1 || v >= (double)(1ull << 60)) return bad_size(text, e);
	*bytes = (uint64_t)v;
	return 0;
}

int bits_parse(uint64_t *bits, const char *text, struct err *e)
{
	static const char units[] = "kmg";
	char *end;
	bool number = isdigit((unsigned char)*text) && text[strspn(text, "0123456789.")] != 'x';
	double v = number ? strtod(text, &end) : 0;
	const char *unit = number && *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
	for (long i = unit ? unit - units : -1; i >= 0; i--) v *= 1000;
	if (unit) end++;
	if (!number || (*end && strcmp(end, "bit")) || v < 1000 || v > 1e12)
		return fail(e, -EINVAL,
			    "'%s' is not a rate in bits a second, such as 10M (1k to 1000G)", text);
	*bits = (uint64_t)v;
	return 0;
}

void human_size(char *to, size_t room, uint64_t bytes)
{
	static const char units[] = "KMGT";
	double v = (double)bytes / 1024;
	unsigned u = 0;
	for (; v >= 1000 && units[u + 1]; u++) v /= 1024;
	(void)snprintf(to, room, v < 10 ? "%.1f%c" : "%.0f%c", v, units[u]);
}

static int number_parse(unsigned *to, const char *text, struct err *e)
{
	enum { MOST = 1000000 };
	char *end;
	if (!isdigit((unsigned char)*text))
		return fail(e, -EINVAL, "'%s' is not a whole number", text);
	unsigned long v = strtoul(text, &end, 10);
	if (*end) return fail(e, -EINVAL, "'%s' is not a whole number", text);
	if (v < 1 || v > MOST) return fail(e, -EINVAL, "%s is not within 1 to %d", text, MOST);
	*to = (unsigned)v;
	return 0;
}

static int list_add(struct opt_list *l, const char *text, struct err *e)
{
	if (l->n == OPT_LIST_MAX) return fail(e, -EINVAL, "given more than %d times", l->n);
	l->at[l->n++] = text;
	return 0;
}

static int opt_set(const struct opt *o, void *opts, const char *value, struct err *e)
{
	void *to = (char *)opts + o->offset;
	int r = 0;
	switch (o->type) {
	case OPT_FLAG: *(bool *)to = true; break;
	case OPT_TEXT: *(const char **)to = value; break;
	case OPT_NUMBER: r = number_parse(to, value, e); break;
	case OPT_SIZE: r = size_parse(to, value, e); break;
	case OPT_LIST: r = list_add(to, value, e); break;
	case OPT_IGNORE: break;
	case OPT_LATER: r = fail(e, -ENOTSUP, "%s", o->help); break;
	}
	return r ? fail_in(e, "--%s", o->name) : 0;
}

/* Where the words of one command line are going. */
struct parse {
	const struct opt *own;
	void *opts;
	struct globals *globals;
	char **words; /* the next one */
};

static const struct opt *find(const struct opt *o, const char *name, size_t len, char letter)
{
	for (; o->name; o++)
		if (letter ? o->letter == letter
			   : strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

/* The option and where its value lives; NULL: neither table has it. */
static const struct opt *lookup(struct parse *p, const char *name, size_t len, char letter,
				void **opts)
{
	const struct opt *o = find(p->own, name, len, letter);
	*opts = o ? p->opts : (void *)p->globals;
	return o ? o : find(global_opts, name, len, letter);
}

static int unknown_long(struct parse *p, const char *name, size_t len, struct err *e)
{
	enum { NAMES = 64 };
	char word[64];
	const char *names[NAMES];
	unsigned n = 0;
	for (const struct opt *o = p->own; o->name && n < NAMES - 1; o++) names[n++] = o->name;
	for (const struct opt *o = global_opts; o->name && n < NAMES - 1; o++) names[n++] = o->name;
	names[n] = NULL;
	(void)snprintf(word, sizeof(word), "%.*s", (int)len, name);
	const char *near = suggest(word, names);
	return near ? fail(e, -EINVAL, "unknown option '--%s'; did you mean '--%s'?", word, near)
		    : fail(e, -EINVAL, "unknown option '--%s'", word);
}

static int parse_long(struct parse *p, const char *name, struct err *e)
{
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	void *opts;
	const struct opt *o = lookup(p, name, len, 0, &opts);
	if (!o) return unknown_long(p, name, len, e);
	if (!o->arg && value) return fail(e, -EINVAL, "--%s takes no value", o->name);
	if (o->arg && !value) value = *p->words ? *p->words++ : NULL;
	if (o->arg && !value) return fail(e, -EINVAL, "--%s needs a value: %s", o->name, o->arg);
	return opt_set(o, opts, value, e);
}

static int parse_short(struct parse *p, const char *letters, struct err *e)
{
	for (; *letters; letters++) {
		void *opts;
		const struct opt *o = lookup(p, NULL, 0, *letters, &opts);
		const char *value = NULL;
		if (!o) return fail(e, -EINVAL, "unknown option '-%c'", *letters);
		if (o->arg && letters[1])
			value = letters + 1 + (letters[1] == '=');
		else if (o->arg)
			value = *p->words ? *p->words++ : NULL;
		if (o->arg && !value)
			return fail(e, -EINVAL, "-%c needs a value: %s", *letters, o->arg);
		int r = opt_set(o, opts, value, e);
		if (r || o->arg) return r;
	}
	return 0;
}

static int check_args(const struct verb *v, const char **args, unsigned n, struct err *e)
{
	if (n < v->min_args) return fail(e, -EINVAL, "%s: needs %s", v->name, v->args);
	if (n > v->max_args)
		return fail(e, -EINVAL, "%s: '%s' is one argument too many", v->name,
			    args[v->max_args]);
	return 0;
}

int cli_parse(const struct verb *v, char ***words, void *opts, struct globals *g, const char **args,
	      unsigned *nargs, struct err *e)
{
	struct parse p = {v && v->opts ? v->opts : no_opts, opts, g, *words};
	int r = 0;
	*nargs = 0;
	for (bool ended = false; !r && *p.words; *words = p.words) {
		const char *word = *p.words;
		bool option = !ended && word[0] == '-' && word[1];
		if (!option && !v) return 0;
		p.words++;
		if (!option) {
			args[(*nargs)++] = word;
			ended |= v->command;
		} else if (!strcmp(word, "--"))
			ended = true;
		else
			r = word[1] == '-' ? parse_long(&p, word + 2, e)
					   : parse_short(&p, word + 1, e);
	}
	return r || !v || g->help || g->version ? r : check_args(v, args, *nargs, e);
}

static unsigned words_match(const char *name, char **words)
{
	for (unsigned n = 0; words[n]; n++) {
		size_t len = strcspn(name, " ");
		if (strlen(words[n]) != len || memcmp(words[n], name, len)) return 0;
		if (!name[len]) return n + 1;
		name += len + 1;
	}
	return 0;
}

const struct verb *verb_find(char **words, unsigned *len)
{
	for (unsigned i = 0; verbs[i]; i++)
		if ((*len = words_match(verbs[i]->name, words))) return verbs[i];
	return NULL;
}
