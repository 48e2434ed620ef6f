/* From words to a verb, and from its answer to an exit code and one sentence on stderr. */
#include "cli/cli.h"
#include "base/log.h"
#include "base/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char lodge_version[] =
#include "version.inc"
	;
/* clang-format off */
const struct verb *const verbs[] = {
	&verb_run,
	&verb_create,
	&verb_start,
	&verb_stop,
	&verb_restart,
	&verb_kill,
	&verb_pause,
	&verb_resume,
	&verb_ps,
	&verb_inspect,
	&verb_logs,
	&verb_attach,
	&verb_exec,
	&verb_shell,
	&verb_cp,
	&verb_wait,
	&verb_stats,
	&verb_top,
	&verb_debug,
	&verb_media,
	&verb_update,
	&verb_rename,
	&verb_rm,
	&verb_prune,
	&verb_snapshot_ls,
	&verb_snapshot_tree,
	&verb_snapshot_rm,
	&verb_snapshot,
	&verb_restore,
	&verb_clone,
	&verb_commit,
	&verb_diff,
	&verb_move,
	&verb_receive,
	&verb_image_ls,
	&verb_image_build,
	&verb_image_inspect,
	&verb_image_rm,
	&verb_image_import,
	&verb_image_export,
	&verb_image_tag,
	&verb_image_create,
	&verb_image_convert,
	&verb_image_info,
	&verb_image_check,
	&verb_image_resize,
	&verb_image_compare,
	&verb_network_create,
	&verb_network_ls,
	&verb_network_inspect,
	&verb_network_rm,
	&verb_network_prune,
	&verb_network_serve,
	&verb_volume_create,
	&verb_volume_ls,
	&verb_volume_inspect,
	&verb_volume_rm,
	&verb_volume_prune,
	&verb_doctor,
	&verb_help,
	&verb_completion,
	&verb_version,
	NULL,
};
/* clang-format on */

static int complain(const struct err *e)
{
	(void)fflush(stdout);
	log_say("%s", e->msg);
	return EXIT_LODGE;
}

static int complain_usage(const struct verb *v, const struct err *e)
{
	(void)complain(e);
	(void)fprintf(stderr, "See 'lodge%s%s --help'.\n", v ? " " : "", v ? v->name : "");
	return EXIT_LODGE;
}

enum { VERBS_MOST = 128 };
/* "image" alone, or "image bulid": what a first word can be followed by. */
static int unknown_second(const char *group, const char *word, struct err *e)
{
	const char *names[VERBS_MOST], *near = NULL;
	unsigned n = 0;
	char list[32 * VERBS_MOST] = "";
	size_t len = strlen(group);
	for (unsigned i = 0; verbs[i]; i++)
		if (!strncmp(verbs[i]->name, group, len) && verbs[i]->name[len] == ' ')
			names[n++] = verbs[i]->name + len + 1;
	if (n == 0) return 0;
	must(n < VERBS_MOST);
	names[n] = NULL;
	for (unsigned i = 0; i < n; i++) {
		strcat(list, i ? ", " : "");
		strcat(list, names[i]);
	}
	if (!word) return fail(e, -EINVAL, "%s: which of %s?", group, list);
	near = suggest(word, names);
	if (near)
		return fail(e, -EINVAL, "unknown command '%s %s'; did you mean '%s %s'?", group,
			    word, group, near);
	return fail(e, -EINVAL, "unknown command '%s %s'; there are: %s", group, word, list);
}

static int unknown_verb(char **words, struct err *e)
{
	char first[VERBS_MOST][32];
	const char *names[VERBS_MOST];
	unsigned n = 0;
	int r = unknown_second(words[0], words[1], e);
	if (r) return r;
	for (; verbs[n]; n++) {
		must(n + 1 < VERBS_MOST);
		(void)snprintf(first[n], sizeof(first[n]), "%.*s",
			       (int)strcspn(verbs[n]->name, " "), verbs[n]->name);
		names[n] = first[n];
	}
	names[n] = NULL;
	const char *near = suggest(words[0], names);
	return near ? fail(e, -EINVAL, "unknown command '%s'; did you mean '%s'?", words[0], near)
		    : fail(e, -EINVAL, "unknown command '%s'", words[0]);
}

static int apply_globals(const struct globals *g, struct err *e)
{
	if (g->verbose) log_level_set(LOG_INFO);
	if (g->root && !*g->root) return fail(e, -EINVAL, "--root: needs the name of a folder");
	if (g->root && setenv("LODGE_HOME", g->root, 1))
		return fail(e, -errno, "--root: no memory");
	return g->trace ? trace_enable(g->trace, e) : 0;
}

static int call_verb(const struct verb *v, const struct call *c, const struct globals *g)
{
	struct err e = {0};
	int r = apply_globals(g, &e);
	if (!r) r = v->run(c, &e);
	return r < 0 ? complain(&e) : r;
}

static int run_verb(const struct verb *v, char **words, struct globals *g)
{
	struct err e = {0};
	unsigned nwords = 0, nargs;
	while (words[nwords]) nwords++;
	const char **args = calloc(nwords + 1, sizeof(*args));
	void *opts = calloc(1, v->size + 1);
	must(args && opts);
	if (v->size) memcpy(opts, v->defaults, v->size);
	struct call c = {.verb = v, .opts = opts, .args = args};
	int code = 0;
	if (cli_parse(v, &words, opts, g, args, &nargs, &e))
		code = complain_usage(v, &e);
	else if (g->help)
		help_verb(v);
	else {
		c.nargs = nargs;
		code = call_verb(g->version ? &verb_version : v, &c, g);
	}
	free(args);
	free(opts);
	return code;
}

static int run_words(char **words)
{
	struct err e = {0};
	struct globals g = {0};
	unsigned nargs, len;
	if (cli_parse(NULL, &words, NULL, &g, NULL, &nargs, &e)) return complain_usage(NULL, &e);
	if (!*words) {
		if (g.version) return run_verb(&verb_version, words, &g);
		help_all();
		return 0;
	}
	const struct verb *v = verb_find(words, &len);
	if (v) return run_verb(v, words + len, &g);
	(void)unknown_verb(words, &e);
	return complain_usage(NULL, &e);
}

/* Whoever started us may have closed a standard descriptor, or ignored what tells of a child's
 * death. Our own files must never get those numbers: a console would be printed into a disk. What
 * is opened instead can be read but not written, so that closed output is noticed as such. */
static void inherit(void)
{
	int fd;
	do fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0) (void)close(fd);
	(void)signal(SIGCHLD, SIG_DFL);
}

/* What could not be written was not said: a full disk makes a failure of a success. */
int cli_main(int argc, char **argv, const struct kind *const *kinds)
{
	cli_kinds = kinds;
	must(argc >= 0);
	inherit();
	int code = argc ? run_words(argv + 1) : EXIT_LODGE;
	if (!fflush(stdout) && !ferror(stdout)) return code;
	log_say("standard output: %s", strerror(errno));
	return code ? code : EXIT_LODGE;
}
