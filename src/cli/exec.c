/* lodge exec, lodge shell: programs in a running guest. */
#include "base/own.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <string.h>

struct exec_opts {
	bool interactive, terminal;
	struct opt_list env;
	const char *dir, *user;
};
#define COMMON_OPTS                                                                                \
	{"env",	       'e',                                                                        \
	 OPT_LIST,     offsetof(struct exec_opts, env),                                            \
	 "NAME=VALUE", "A variable of its environment.",                                           \
	 NULL},                                                                                    \
		{"workdir", 'w',                                                                   \
		 OPT_TEXT,  offsetof(struct exec_opts, dir),                                       \
		 "DIR",	    "Where it begins; the user's home otherwise.",                         \
		 NULL},                                                                            \
	{                                                                                          \
		"user", 'u', OPT_TEXT, offsetof(struct exec_opts, user), "USER[:GROUP]",           \
			"As whom it runs, by name or number (root).", NULL                         \
	}

static const struct opt exec_table[] = {
	{"interactive", 'i', OPT_FLAG, offsetof(struct exec_opts, interactive), NULL,
	 "Our input is its input.", NULL},
	{"tty", 't', OPT_FLAG, offsetof(struct exec_opts, terminal), NULL,
	 "It has a terminal, of our terminal's size.", NULL},
	COMMON_OPTS,
	{0},
};
static const struct opt shell_table[] = {COMMON_OPTS, {0}};
static const struct exec_opts exec_defaults;

static int find(const char *word, char name[64], struct err *e)
{
	struct store *s = NULL;
	int r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, word, name, e);
	store_close(s);
	return r;
}

/* A name alone stands for our own variable of that name, as docker has it. */
static int check_env(const struct opt_list *env, struct err *e)
{
	for (unsigned i = 0; i < env->n; i++) {
		const char *is = strchr(env->at[i], '=');
		if (!is || is == env->at[i])
			return fail(e, -EINVAL, "--env: '%s' is not NAME=VALUE", env->at[i]);
	}
	return 0;
}

static int run_inside(const char *word, const char *const *argv, const struct exec_opts *o,
		      struct err *e)
{
	char name[64];
	int r = check_env(&o->env, e);
	if (!r) r = find(word, name, e);
	if (r) return r;
	struct session s = {.guest = name,
			    .argv = argv,
			    .env = &o->env,
			    .dir = o->dir,
			    .user = o->user,
			    .terminal = o->terminal,
			    .signals = true,
			    .in = o->interactive ? STDIN_FILENO : -1,
			    .out = STDOUT_FILENO,
			    .err = STDERR_FILENO};
	return session_run(&s, e);
}

static int exec_run(const struct call *c, struct err *e)
{
	const struct exec_opts *o = c->opts;
	const char *const *argv = c->args + 1;
	if (!strcmp(argv[0], "--")) argv++;
	if (!*argv) return fail(e, -EINVAL, "exec: which command?");
	if (o->terminal && o->interactive && !isatty(STDIN_FILENO))
		return fail(e, -EINVAL, "--tty: our input is no terminal; leave -t away");
	return run_inside(c->args[0], argv, o, e);
}

const struct verb verb_exec = {
	.name = "exec",
	.args = "GUEST COMMAND [ARG...]",
	.summary = "Run a command in a running guest",
	.text = "The guest's agent runs it: our images have one. What follows GUEST is the "
		"command's.\n"
		"The exit code is the command's, 127 if it is not there, 126 if it cannot be run,\n"
		"and 125 when Lodge failed. Ctrl-C and SIGTERM go to the command; if this ends\n"
		"otherwise, the command gets SIGHUP.",
	.examples = "lodge exec web systemctl status ssh\n"
		    "lodge exec -it web bash\n"
		    "lodge exec -i web sh -c 'cat >/etc/motd' <motd",
	.opts = exec_table,
	.defaults = &exec_defaults,
	.size = sizeof(exec_defaults),
	.min_args = 2,
	.max_args = 1025,
	.command = true,
	.completes = "guest",
	.run = exec_run,
};

static int shell_run(const struct call *c, struct err *e)
{
	static const char *const login[] = {NULL};
	struct exec_opts o = *(const struct exec_opts *)c->opts;
	o.interactive = true;
	o.terminal = isatty(STDIN_FILENO);
	return run_inside(c->args[0], login, &o, e);
}

const struct verb verb_shell = {
	.name = "shell",
	.args = "GUEST",
	.summary = "Sit at a shell in a running guest",
	.text = "The user's login shell, with a terminal if this is one. Its exit code is this "
		"one's.",
	.examples = "lodge shell web\n"
		    "lodge shell -u www-data web",
	.opts = shell_table,
	.defaults = &exec_defaults,
	.size = sizeof(exec_defaults),
	.min_args = 1,
	.max_args = 1,
	.completes = "guest",
	.run = shell_run,
};
