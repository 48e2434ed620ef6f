/* The verbs that change whether and how a kept guest runs: start, stop, kill, restart, pause,
 * resume, rm, rename, wait, prune. Each takes a guest as it finds it; what it does to one that is
 * that already is nothing, and no failure. */
#include "base/own.h"
#include "cli/attach.h"
#include "cli/boxed.h"
#include "cli/cli.h"
#include "cli/kept.h"
#include "guest/control.h"
#include "guest/look.h"
#include "store/store.h"
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool is_nameless(const char *name)
{
	return !strncmp(name, GUEST_NAMELESS, strlen(GUEST_NAMELESS));
}

static void done(const char *name)
{
	printf("%s\n", name);
	(void)fflush(stdout);
}

static void *opts_of(const struct call *c) { return (void *)(uintptr_t)c->opts; }

/* ---- start ---- */
struct start_opts {
	bool attach, force;
	const char *keys;
};
static const struct opt start_table[] = {
	{"attach", 'a', OPT_FLAG, offsetof(struct start_opts, attach), NULL,
	 "Sit at its console, and end with its exit code.", NULL},
	{"detach-keys", 0, OPT_TEXT, offsetof(struct start_opts, keys), "KEYS",
	 "With --attach: what leaves the guest, which runs on (ctrl-]).", NULL},
	{"force", 'f', OPT_FLAG, offsetof(struct start_opts, force), NULL,
	 "Also one that has moved to another host: it does not run there, and never will.", NULL},
	{"interactive", 'i', OPT_IGNORE, 0, NULL, "For habit: who is attached can type.", NULL},
	{0},
};
static const struct start_opts start_defaults;

/* 1: it runs already. */
static int start(struct store *s, const char *name, int attach, bool force, struct err *e)
{
	struct kept k = {.store = s, .folder = -1, .force = force};
	int r = kept_lock(&k, name, false, e);
	if (!r) r = kept_load(&k, e);
	if (!r) r = kept_start(&k, attach, e);
	kept_done(&k);
	return r == -EBUSY && control_alive(name) ? 1 : r;
}

static int start_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	const struct start_opts *o = ctx;
	int r = start(s, name, -1, o && o->force, e);
	if (r < 0) return r;
	done(name);
	return 0;
}

static int attach_running(const char *name, int *fd, struct err *e)
{
	return control_stream(name, "attach", fd, NULL, e);
}

/* The console is open before the guest starts: nothing is missed. */
static int start_and_attach(struct store *s, const char *name, const struct start_opts *o,
			    struct err *e)
{
	int ends[2];
	_Bool left = false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return fail(e, -errno, "socket: %s", strerror(errno));
	auto_fd int ours = ends[0], theirs = ends[1];
	int r = start(s, name, theirs, o->force, e);
	(void)close(give_fd(&theirs));
	if (r < 0) return r;
	int fd = r ? -1 : give_fd(&ours);
	if (r) r = attach_running(name, &fd, e);
	if (r) return r;
	auto_fd int pidfd = control_process(name);
	r = attach_stream(fd, o->keys, &left, e);
	if (!left) (void)kept_gone(pidfd, 5);
	return r;
}

static int start_run(const struct call *c, struct err *e)
{
	const struct start_opts *o = c->opts;
	char name[64];
	struct store *s = NULL;
	if (!o->attach) return kept_each(c, start_one, opts_of(c), e);
	if (c->nargs > 1) return fail(e, -EINVAL, "start: --attach is for one guest");
	int r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, c->args[0], name, e);
	if (!r) r = start_and_attach(s, name, o, e);
	store_close(s);
	return r;
}

const struct verb verb_start = {
	.name = "start",
	.args = "GUEST...",
	.summary = "Run kept guests in the background",
	.text = "They run with what they were made or run with last, and print their names. A "
		"guest "
		"that\n"
		"runs already stays as it is.",
	.examples = "lodge start web\n"
		    "lodge start -a web",
	.opts = start_table,
	.defaults = &start_defaults,
	.size = sizeof(start_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = start_run,
};

/* ---- stop, restart, kill ---- */
struct stop_opts {
	const char *time;
	bool force;
};
#define STOP_TIME 10
#define TIME_OPT(t)                                                                                \
	{                                                                                          \
		t, 't', OPT_TEXT, offsetof(struct stop_opts, time), "SECONDS",                     \
			"How long it may take to power off before it is cut off from power (10).", \
			NULL                                                                       \
	}
static const struct opt stop_table[] = {
	{"force", 'f', OPT_FLAG, offsetof(struct stop_opts, force), NULL,
	 "Do not ask it: cut it off from power, as 'lodge kill' does.", NULL},
	TIME_OPT("time"),
	{0},
};
static const struct opt restart_table[] = {TIME_OPT("time"), {0}};
static const struct stop_opts stop_defaults;

static int seconds_parse(unsigned *to, const char *text, struct err *e)
{
	*to = STOP_TIME;
	if (!text) return 0;
	if (!*text || strlen(text) > 5 || text[strspn(text, "0123456789")] ||
	    strtoul(text, NULL, 10) > 86400)
		return fail(e, -EINVAL, "--time: '%s' is not a number of seconds, at most 86400",
			    text);
	*to = (unsigned)strtoul(text, NULL, 10);
	return 0;
}

static int stop_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	const struct stop_opts *o = ctx;
	unsigned seconds;
	int r = seconds_parse(&seconds, o->time, e);
	if (!r) r = kept_stop(s, name, seconds, o->force, e);
	if (!r) done(name);
	return r;
}

static int stop_run(const struct call *c, struct err *e)
{
	const struct stop_opts *o = c->opts;
	unsigned seconds;
	int r = seconds_parse(&seconds, o->time, e);
	return r ? r : kept_each(c, stop_one, opts_of(c), e);
}

const struct verb verb_stop = {
	.name = "stop",
	.args = "GUEST...",
	.summary = "Have running guests power off",
	.text = "A guest is asked by its agent, or by its power button, and cut off from power if "
		"it\n"
		"has not gone off in time; at once, and said so, if it has neither. Ends when "
		"they\n"
		"have ended.",
	.examples = "lodge stop web\n"
		    "lodge stop --time 60 web db",
	.opts = stop_table,
	.defaults = &stop_defaults,
	.size = sizeof(stop_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = stop_run,
};

static int restart_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	const struct stop_opts *o = ctx;
	unsigned seconds;
	if (is_nameless(name)) return fail(e, -ENOTSUP, "guest %s is not kept", name);
	int r = seconds_parse(&seconds, o->time, e);
	if (!r) r = kept_stop(s, name, seconds, false, e);
	return r ? r : start_one(s, name, NULL, e);
}

static int restart_run(const struct call *c, struct err *e)
{
	return kept_each(c, restart_one, opts_of(c), e);
}

const struct verb verb_restart = {
	.name = "restart",
	.args = "GUEST...",
	.summary = "Stop guests and start them again",
	.opts = restart_table,
	.defaults = &stop_defaults,
	.size = sizeof(stop_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = restart_run,
};

struct kill_opts {
	const char *signal;
};
static const struct opt kill_table[] = {
	{"signal", 's', OPT_TEXT, offsetof(struct kill_opts, signal), "SIGNAL",
	 "KILL (default): cut off from power; TERM: press the power button; any, by name or "
	 "number: to the program of a container with a kernel of its own.",
	 "KILL TERM"},
	{0},
};
static const struct kill_opts kill_defaults = {.signal = "KILL"};

static int not_running(int r, const char *name, struct err *e)
{
	return r == -ENOENT ? fail(e, r, "guest %s does not run", name) : r;
}

static int kill_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	const char *request = ctx;
	if (!control_alive(name)) return not_running(-ENOENT, name, e);
	int r = *request ? not_running(control_call(name, request, NULL, NULL, e), name, e)
			 : kept_stop(s, name, 0, true, e);
	if (!r) done(name);
	return r;
}

static int kill_run(const struct call *c, struct err *e)
{
	const struct kill_opts *o = c->opts;
	const char *sig = o->signal + (strncmp(o->signal, "SIG", 3) ? 0 : 3);
	int n = boxed_signal(sig);
	char request[32] = "";
	if (!n) return fail(e, -EINVAL, "--signal: '%s' is no signal", o->signal);
	if (!strcmp(sig, "TERM"))
		(void)strcpy(request, "stop 86400");
	else if (n != SIGKILL)
		(void)snprintf(request, sizeof(request), "signal %d", n);
	return kept_each(c, kill_one, request, e);
}

const struct verb verb_kill = {
	.name = "kill",
	.args = "GUEST...",
	.summary = "Cut running guests off from power",
	.text = "What a guest has not written to its disk is lost. Its exit code is then 137. A\n"
		"monitor that does not answer is killed with signal 9.",
	.opts = kill_table,
	.defaults = &kill_defaults,
	.size = sizeof(kill_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = kill_run,
};

/* ---- pause, resume ---- */
static int ask_one(struct store *s, const char *name, void *request, struct err *e)
{
	(void)s;
	int r = not_running(control_call(name, request, NULL, NULL, e), name, e);
	if (!r) done(name);
	return r;
}

static char pause_word[] = "pause", resume_word[] = "resume";
static int pause_run(const struct call *c, struct err *e)
{
	return kept_each(c, ask_one, pause_word, e);
}
static int resume_run(const struct call *c, struct err *e)
{
	return kept_each(c, ask_one, resume_word, e);
}

const struct verb verb_pause = {
	.name = "pause",
	.args = "GUEST...",
	.summary = "Have running guests stand still",
	.text = "A paused guest uses no CPU and no time passes for it; so what it takes for the "
		"time "
		"of\n"
		"day is behind afterwards, unless it asks its real-time clock or somebody else.",
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = pause_run,
};
const struct verb verb_resume = {
	.name = "resume",
	.args = "GUEST...",
	.summary = "Have paused guests go on",
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = resume_run,
};

/* ---- rm, prune ---- */
struct rm_opts {
	bool force;
};
static const struct opt rm_table[] = {
	{"force", 'f', OPT_FLAG, offsetof(struct rm_opts, force), NULL,
	 "Also guests that run, which are cut off from power; who is not there is fine.", NULL},
	{0},
};
static const struct rm_opts rm_defaults;

static int remove_one(struct store *s, const char *name, bool force, struct err *e)
{
	struct kept k = {.store = s, .folder = -1};
	int r = force ? kept_stop(s, name, 0, true, e) : 0;
	if (is_nameless(name))
		return force ? r : fail(e, -EBUSY, "guest %s runs, and leaves nothing", name);
	if (!r) r = kept_lock(&k, name, false, e);
	if (!r || r == -EINVAL || r == -EFBIG) /* whatever is recorded of it */
		r = k.folder >= 0 ? kept_remove(&k, e) : r;
	else if (r == -EBUSY && control_alive(name))
		r = fail(e, r, "guest %s runs; stop it first, or use --force", name);
	else if (r == -ENOENT && force)
		r = 0;
	kept_done(&k);
	return r;
}

static int rm_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	const struct rm_opts *o = ctx;
	int r = remove_one(s, name, o->force, e);
	if (!r) done(name);
	return r;
}

static int rm_run(const struct call *c, struct err *e)
{
	const struct rm_opts *o = c->opts;
	int r = kept_each(c, rm_one, opts_of(c), e);
	return r == -ENOENT && o->force ? 0 : r;
}

const struct verb verb_rm = {
	.name = "rm",
	.args = "GUEST...",
	.summary = "Remove kept guests, their disks with them",
	.opts = rm_table,
	.defaults = &rm_defaults,
	.size = sizeof(rm_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = rm_run,
};

static const struct opt prune_table[] = {
	{"force", 'f', OPT_FLAG, offsetof(struct rm_opts, force), NULL, "Do not ask.", NULL},
	{0},
};

struct names {
	char (*at)[64];
	unsigned n;
};

static int note_idle(void *ctx, struct json_object *guest)
{
	struct names *all = ctx;
	struct json_object *name, *state;
	(void)json_object_object_get_ex(guest, "name", &name);
	(void)json_object_object_get_ex(guest, "state", &state);
	const char *is = json_object_get_string(state);
	if (!strcmp(is, "running") || !strcmp(is, "paused") || !strcmp(is, "leaving")) return 0;
	all->at = realloc(all->at, (all->n + 1) * sizeof(*all->at));
	must(all->at);
	(void)snprintf(all->at[all->n++], 64, "%s", json_object_get_string(name));
	return 0;
}

static int confirm(unsigned n, struct err *e)
{
	char answer[16] = "";
	if (!isatty(STDIN_FILENO))
		return fail(e, -EINVAL, "prune: nobody is here to ask; use --force");
	(void)fprintf(stderr, "Remove %u guest%s with what is on their disks? [y/N] ", n,
		      n == 1 ? "" : "s");
	return fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y');
}

static int prune_all(struct store *s, struct names *all, bool force, struct err *e)
{
	int r = all->n && !force ? confirm(all->n, e) : 1;
	for (unsigned i = 0; r > 0 && i < all->n; i++) {
		int bad = remove_one(s, all->at[i], false, e);
		if (bad == -EBUSY || bad == -ENOENT) continue; /* started, or removed, meanwhile */
		if (bad)
			r = bad;
		else
			done(all->at[i]);
	}
	return r < 0 ? r : 0;
}

static int prune_run(const struct call *c, struct err *e)
{
	const struct rm_opts *o = c->opts;
	struct store *s = NULL;
	struct names all = {0};
	int r = store_open(&s, NULL, e);
	if (!r) r = look_each(s, note_idle, &all, e);
	if (!r) r = prune_all(s, &all, o->force, e);
	if (!r) r = store_collect(s, e);
	free(all.at);
	store_close(s);
	return r;
}

const struct verb verb_prune = {
	.name = "prune",
	.args = "",
	.summary = "Remove all guests that do not run",
	.text = "Their names are printed. It asks first, unless --force. What only they needed of\n"
		"removed images goes with them; images stay.",
	.opts = prune_table,
	.defaults = &rm_defaults,
	.size = sizeof(rm_defaults),
	.run = prune_run,
};

/* ---- rename ---- */
static int rename_idle(struct store *s, const char *name, const char *to, struct err *e)
{
	struct kept k = {.store = s, .folder = -1};
	int r = kept_lock(&k, name, false, e);
	if (!r) r = store_guest_rename(s, name, to, e);
	kept_done(&k);
	return r;
}

static int rename_run(const struct call *c, struct err *e)
{
	struct store *s = NULL;
	char name[64], request[80];
	const char *to = c->args[1];
	if (!store_name_ok(to) || is_nameless(to))
		return fail(e, -EINVAL, "'%s' cannot be the name of a guest", to);
	int r = store_open(&s, NULL, e);
	if (!r) r = look_find(s, c->args[0], name, e);
	(void)snprintf(request, sizeof(request), "rename %s", to);
	if (!r) r = control_call(name, request, NULL, NULL, e);
	if (r == -ENOENT && s) r = rename_idle(s, name, to, e);
	store_close(s);
	return r;
}

const struct verb verb_rename = {
	.name = "rename",
	.args = "GUEST NAME",
	.summary = "Call a kept guest something else, also while it runs",
	.min_args = 2,
	.max_args = 2,
	.completes = "guest",
	.run = rename_run,
};

/* ---- wait ---- */
static int read_last(int fd, char *text, size_t room)
{
	size_t n = 0;
	ssize_t got;
	while (n < room - 1 && (got = read(fd, text + n, room - 1 - n)) != 0) {
		if (got < 0 && errno != EINTR) break;
		if (got > 0) n += (size_t)got;
	}
	text[n] = 0;
	return n > 0;
}

static int last_code(const char *name, const char *text, struct err *e)
{
	struct json_object *o = json_tokener_parse(text), *v;
	int r = json_object_object_get_ex(o, "exit_code", &v) ? json_object_get_int(v)
		: json_object_object_get_ex(o, "error", &v)
			? fail(e, -EIO, "guest %s broke: %s", name, json_object_get_string(v))
			: fail(e, -EPROTO, "guest %s: its monitor did not say how it ended", name);
	(void)json_object_put(o);
	return r;
}

/* Whoever ends without a word was killed: its folder says so. */
static int wait_for(struct store *s, const char *name, struct err *e)
{
	char text[512];
	auto_fd int pidfd = -1;
	int fd = -1;
	int r = control_stream(name, "wait", &fd, &pidfd, e);
	if (r == -ENOENT) return kept_code(s, name, e);
	if (r) return r;
	int told = read_last(fd, text, sizeof(text));
	(void)close(fd);
	(void)kept_gone(pidfd, 5);
	return told ? last_code(name, text, e) : kept_code(s, name, e);
}

static int wait_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	(void)ctx;
	int code = wait_for(s, name, e);
	if (code == -ESRCH) return code;
	printf("%d\n", code < 0 ? EXIT_LODGE : code);
	(void)fflush(stdout);
	return code < 0 ? code : 0;
}

static int wait_run(const struct call *c, struct err *e) { return kept_each(c, wait_one, NULL, e); }

const struct verb verb_wait = {
	.name = "wait",
	.args = "GUEST...",
	.summary = "Wait for guests to end, and print their exit codes",
	.text = "Of a guest that does not run the last one. One that broke, or whose monitor was\n"
		"killed, counts as 125, and so does then the exit code of this command.",
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = wait_run,
};
