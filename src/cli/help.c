/* Help, man pages and completion, all printed from the verbs' tables: they cannot disagree with
 * the parser. */
#include "base/buf.h"
#include "base/file.h"
#include "cli/cli.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool has_opts(const struct verb *v) { return v->opts && v->opts->name; }

static void print_opt(const struct opt *o)
{
	char left[64];
	(void)snprintf(left, sizeof(left), "%c%c%c --%s%s%s", o->letter ? '-' : ' ',
		       o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
		       o->arg ? " " : "", o->arg ? o->arg : "");
	const char *soon = o->type == OPT_LATER ? "Not yet: " : "";
	if (strlen(left) > 26)
		printf("  %s\n  %26s  %s%s\n", left, "", soon, o->help);
	else
		printf("  %-26s  %s%s\n", left, soon, o->help);
}

static void print_opts(const struct opt *o)
{
	for (; o->name; o++) print_opt(o);
}

static void print_indented(const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		printf("  %.*s\n", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

void help_verb(const struct verb *v)
{
	printf("Usage: lodge %s%s%s%s\n\n%s.\n", v->name, has_opts(v) ? " [OPTIONS]" : "",
	       v->args[0] ? " " : "", v->args, v->summary);
	if (v->text) printf("\n%s\n", v->text);
	if (has_opts(v)) {
		printf("\nOptions:\n");
		print_opts(v->opts);
	}
	printf("\nOptions of every command:\n");
	print_opts(global_opts);
	if (!v->examples) return;
	printf("\nExamples:\n");
	print_indented(v->examples);
}

void help_all(void)
{
	printf("Lodge runs guests: whole computers of this or another CPU, each in one ordinary\n"
	       "process without privileges.\n\nUsage: lodge COMMAND [OPTIONS] [ARGUMENTS]\n\n"
	       "Commands:\n");
	for (unsigned i = 0; verbs[i]; i++)
		printf("  %-14s  %s\n", verbs[i]->name, verbs[i]->summary);
	printf("\nOptions of every command:\n");
	print_opts(global_opts);
	printf("\nExamples:\n"
	       "  lodge run                     # the built-in guest: Linux to a shell in seconds\n"
	       "  lodge run debian              # a whole Debian, with its own disk\n"
	       "  lodge run -c 2 -m 2G -p 2222:22 --name web debian\n"
	       "  lodge doctor                  # what works on this machine\n"
	       "\n'lodge COMMAND --help' tells more about one.\n");
}

/* --- man(7) --------------------------------------------------------------------------------- */

/* Text for roff: no line may begin with a dot or quote, a hyphen is a minus. */
static void man_text(struct buf *b, const char *text)
{
	bool begin = true;
	for (; *text; text++) {
		if (begin && (*text == '.' || *text == '\'')) buf_fmt(b, "\\&");
		if (*text == '-')
			buf_fmt(b, "\\-");
		else if (*text == '\\')
			buf_fmt(b, "\\e");
		else
			buf_add(b, text, 1);
		begin = *text == '\n';
	}
}

static void man_opts(struct buf *b, const struct opt *o)
{
	for (; o->name; o++) {
		buf_fmt(b, ".TP\n");
		if (o->letter) buf_fmt(b, "\\fB\\-%c\\fR, ", o->letter);
		buf_fmt(b, "\\fB\\-\\-");
		man_text(b, o->name);
		buf_fmt(b, "\\fR%s%s%s%s\n", o->arg ? " \\fI" : "", o->arg ? o->arg : "",
			o->arg ? "\\fR" : "", o->type == OPT_LATER ? " (not yet)" : "");
		man_text(b, o->help);
		buf_fmt(b, "\n");
	}
}

static void man_head(struct buf *b, const char *page, const char *summary)
{
	char title[64];
	size_t n = 0;
	for (; page[n] && n < sizeof(title) - 1; n++)
		title[n] = (char)toupper((unsigned char)page[n]);
	title[n] = 0;
	buf_fmt(b, ".TH \"%s\" 1 \"\" \"lodge %s\"\n.SH NAME\n", title, lodge_version);
	man_text(b, page);
	buf_fmt(b, " \\- ");
	man_text(b, summary);
	buf_fmt(b, "\n.SH SYNOPSIS\n");
}

static void man_synopsis(struct buf *b, const struct verb *v)
{
	buf_fmt(b, ".B lodge %s\n", v->name);
	for (const struct opt *o = v->opts; o && o->name; o++) {
		if (o->type == OPT_LATER) continue;
		buf_fmt(b, "[\\fB\\-\\-");
		man_text(b, o->name);
		buf_fmt(b, "\\fR%s%s\\fR]\n", o->arg ? "=\\fI" : "", o->arg ? o->arg : "");
	}
	if (v->args[0]) buf_fmt(b, ".I %s\n", v->args);
}

static void man_verb(struct buf *b, const char *page, const struct verb *v)
{
	man_head(b, page, v->summary);
	man_synopsis(b, v);
	buf_fmt(b, ".SH DESCRIPTION\n");
	man_text(b, v->text ? v->text : v->summary);
	if (!v->text) buf_fmt(b, ".");
	buf_fmt(b, "\n");
	if (has_opts(v)) {
		buf_fmt(b, ".SH OPTIONS\n");
		man_opts(b, v->opts);
	}
	if (v->examples) {
		buf_fmt(b, ".SH EXAMPLES\n.nf\n");
		man_text(b, v->examples);
		buf_fmt(b, "\n.fi\n");
	}
	buf_fmt(b, ".SH EXIT STATUS\n125 when Lodge itself failed, otherwise the guest's or 0.\n"
		   ".SH SEE ALSO\n.BR lodge (1)\n");
}

static void man_lodge(struct buf *b)
{
	man_head(b, "lodge", "run virtual machines as ordinary processes");
	buf_fmt(b, ".B lodge\n.I COMMAND\n[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n.SH COMMANDS\n");
	for (unsigned i = 0; verbs[i]; i++) {
		buf_fmt(b, ".TP\n.B %s\n", verbs[i]->name);
		man_text(b, verbs[i]->summary);
		buf_fmt(b, ".\n");
	}
	buf_fmt(b, ".SH OPTIONS\nEvery command takes these.\n");
	man_opts(b, global_opts);
	buf_fmt(b, ".SH EXIT STATUS\n125 when Lodge itself failed, otherwise the guest's or 0.\n");
}

static void page_name(char *to, size_t room, const struct verb *v)
{
	(void)snprintf(to, room, "lodge-%s", v->name);
	for (char *p = to; *p; p++)
		if (*p == ' ') *p = '-';
}

static int man_write(const char *page, struct buf *b, struct err *e)
{
	char path[80];
	(void)snprintf(path, sizeof(path), "%s.1", page);
	int r = file_replace(path, b->at, b->len, 0644, e);
	buf_done(b);
	return r;
}

int help_man(struct err *e)
{
	struct buf b = {0};
	man_lodge(&b);
	int r = man_write("lodge", &b, e);
	for (unsigned i = 0; !r && verbs[i]; i++) {
		char page[64];
		page_name(page, sizeof(page), verbs[i]);
		man_verb(&b, page, verbs[i]);
		r = man_write(page, &b, e);
	}
	return r;
}

/* --- the verbs themselves -------------------------------------------------------------------- */

struct help_opts {
	bool man;
};
static const struct opt help_table[] = {
	{"man", 0, OPT_FLAG, offsetof(struct help_opts, man), NULL,
	 "Write the man pages of all commands into the current folder.", NULL},
	{0},
};
static const struct help_opts help_defaults;

static int help_run(const struct call *c, struct err *e)
{
	const struct help_opts *o = c->opts;
	unsigned len;
	if (o->man) return help_man(e);
	if (c->nargs == 0) {
		help_all();
		return 0;
	}
	const char *words[3] = {c->args[0], c->nargs > 1 ? c->args[1] : NULL, NULL};
	const struct verb *v = verb_find((char **)words, &len);
	if (!v) return fail(e, -ENOENT, "help: no command '%s'", c->args[0]);
	help_verb(v);
	return 0;
}

const struct verb verb_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "Show help about a command",
	.opts = help_table,
	.defaults = &help_defaults,
	.size = sizeof(help_defaults),
	.max_args = 2,
	.run = help_run,
};

static int version_run(const struct call *c, struct err *e)
{
	(void)c;
	(void)e;
	printf("lodge %s\n", lodge_version);
	return 0;
}

const struct verb verb_version = {
	.name = "version", .args = "", .summary = "Show the version", .run = version_run};
