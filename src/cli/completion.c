/* Completion for bash, printed from the verbs' tables: options and their fixed choices are in the
 * script; only images and guests are asked for, of lodge itself. */
#include "cli/cli.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void print_names(const struct opt *o)
{
	for (; o && o->name; o++)
		if (o->type != OPT_LATER) printf(" --%s", o->name);
}

/* Second words of "image ..." complete after the first. */
static void print_seconds(const char *group, size_t len)
{
	for (unsigned i = 0; verbs[i]; i++)
		if (!strncmp(verbs[i]->name, group, len) && verbs[i]->name[len] == ' ')
			printf(" %s", verbs[i]->name + len + 1);
}

static void print_words(void)
{
	const char *last = "";
	for (unsigned i = 0; verbs[i]; i++) {
		size_t len = strcspn(verbs[i]->name, " ");
		if (strncmp(last, verbs[i]->name, len) || last[len] != ' ')
			printf(" %.*s", (int)len, verbs[i]->name);
		last = verbs[i]->name;
	}
}

static const char *list_of(const char *what)
{
	static const char *const of[][2] = {
		{"guest", "ps -a"}, {"network", "network ls"}, {"volume", "volume ls"}};
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		if (!strcmp(what, of[i][0])) return of[i][1];
	return "image ls";
}

static void print_group(const char *group)
{
	printf("\t%s) words=\"", group);
	print_seconds(group, strlen(group));
	printf("\" ;;\n");
}

static void print_verb(const struct verb *v)
{
	printf("\t\"%s\")\n\t\tcase $prev in\n", v->name);
	for (const struct opt *o = v->opts; o && o->name; o++) {
		if (!o->arg) continue;
		printf("\t\t--%s", o->name);
		if (o->letter) printf("|-%c", o->letter);
		if (o->choices)
			printf(") words=\"%s\" ;;\n", o->choices);
		else
			printf(") compopt -o default 2>/dev/null; return ;;\n");
	}
	printf("\t\t*) words=\"");
	print_names(v->opts);
	print_names(global_opts);
	printf("\"");
	if (v->completes)
		printf("\n\t\t   [[ $cur == -* ]] || words=$(lodge %s -q 2>/dev/null)",
		       list_of(v->completes));
	printf(" ;;\n\t\tesac ;;\n");
}

static void print_bash(void)
{
	printf("# Completion of lodge for bash; made by 'lodge completion bash'.\n"
	       "_lodge() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb='' w "
	       "words=''\n"
	       "\tfor w in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
	       "\t\t[[ $w == -* || $verb == *' '* ]] || verb=\"${verb:+$verb }$w\"\n"
	       "\t\tcase $verb in image|network|volume|'') ;; image\\ *|network\\ *|volume\\ *) ;; "
	       "*) verb=${verb%%%% "
	       "*} ;; esac\n"
	       "\tdone\n"
	       "\tcase $verb in\n\t\"\") words=\"");
	print_words();
	printf("\" ;;\n");
	print_group("image");
	print_group("network");
	print_group("volume");
	for (unsigned i = 0; verbs[i]; i++) print_verb(verbs[i]);
	printf("\tesac\n"
	       "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	       "}\n"
	       "complete -F _lodge lodge\n");
}

static int completion_run(const struct call *c, struct err *e)
{
	if (strcmp(c->args[0], "bash"))
		return fail(e, -EINVAL, "completion: '%s': only bash so far", c->args[0]);
	print_bash();
	return 0;
}

const struct verb verb_completion = {
	.name = "completion",
	.args = "bash",
	.summary = "Print a script that completes lodge's words in a shell",
	.examples = "source <(lodge completion bash)",
	.min_args = 1,
	.max_args = 1,
	.run = completion_run,
};
