/* Verbs and options are tables; help is printed from them. */
#include "base/buf.h"
#include "zone/oci_impl.h"
#include "zone/sys.h"
#include <errno.h>
#include <getopt.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

extern char **environ;

enum {
	V_CREATE = 1,
	V_RUN = 2,
	V_EXEC = 4,
	V_KILL = 8,
	V_DELETE = 16,
	V_LIST = 32,
	V_PS = 64,
	V_UPDATE = 128,
	V_EVENTS = 256,
	V_SPEC = 512,
	V_START = 1024,
	V_STATE = 2048,
	V_PAUSE = 4096,
	V_FEATURES = 8192,
	V_GLOBAL = 1 << 30
};
static const struct verb {
	const char *name, *args, *summary;
	int bit, min, max;
	oci_verb *run;
	bool seal;
} verbs[] = {
	{"create", "ID", "make a zone of a bundle; it waits for start", V_CREATE, 1, 1, oci_create,
	 0},
	{"run", "ID", "create, start, wait for its end, delete", V_RUN, 1, 1, oci_run, 0},
	{"start", "ID", "run the program of a zone that was created", V_START, 1, 1, oci_start, 0},
	{"state", "ID", "print a zone's state as JSON", V_STATE, 1, 1, oci_state, 0},
	{"kill", "ID [SIGNAL]", "send a signal to a zone's first process", V_KILL, 1, 2, oci_kill,
	 0},
	{"delete", "ID", "remove what is left of a zone that has ended", V_DELETE, 1, 1, oci_delete,
	 0},
	{"exec", "ID COMMAND...", "run another process in a zone", V_EXEC, 1, -1, oci_exec, true},
	{"list", "", "list zones", V_LIST, 0, 0, oci_list, 0},
	{"ps", "ID [PS-OPTION...]", "list a zone's processes", V_PS, 1, -1, oci_ps, 0},
	{"pause", "ID", "freeze all processes of a zone", V_PAUSE, 1, 1, oci_pause, 0},
	{"resume", "ID", "thaw them", V_PAUSE, 1, 1, oci_resume, 0},
	{"update", "ID", "change a zone's limits", V_UPDATE, 1, 1, oci_update, 0},
	{"events", "ID", "print what a zone uses as JSON", V_EVENTS, 1, 1, oci_events, 0},
	{"features", "", "print what this runtime can do as JSON", V_FEATURES, 0, 0, oci_features,
	 0},
	{"spec", "", "write a config.json to start from", V_SPEC, 0, 0, oci_spec, 0},
};

enum type { FLAG, TEXT, MAYBE, LIST, LIMIT };
static const struct option_row {
	const char *name;
	int letter, verbs;
	enum type type;
	size_t at;
} rows[] = {
#define O(name, letter, verbs, type, member)                                                       \
	{                                                                                          \
		name, letter, verbs, type, offsetof(struct oci, member)                            \
	}
	O("root", 0, V_GLOBAL, TEXT, root),
	O("log", 0, V_GLOBAL, TEXT, log),
	O("log-format", 0, V_GLOBAL, TEXT, log_format),
	O("debug", 0, V_GLOBAL, FLAG, debug),
	O("systemd-cgroup", 0, V_GLOBAL, FLAG, systemd),
	O("cgroup-manager", 0, V_GLOBAL, TEXT, manager),
	O("rootless", 0, V_GLOBAL, TEXT, rootless),
	O("criu", 0, V_GLOBAL, TEXT, rootless),
	O("bundle", 'b', V_CREATE | V_RUN | V_SPEC, TEXT, bundle),
	O("config", 'f', V_CREATE | V_RUN, TEXT, config),
	O("console-socket", 0, V_CREATE | V_RUN | V_EXEC, TEXT, console_socket),
	O("pid-file", 0, V_CREATE | V_RUN | V_EXEC, TEXT, pid_file),
	O("preserve-fds", 0, V_CREATE | V_RUN | V_EXEC, TEXT, preserve_fds),
	O("no-pivot", 0, V_CREATE | V_RUN, FLAG, no_pivot),
	O("no-new-keyring", 0, V_CREATE | V_RUN, FLAG, no_keyring),
	O("no-subreaper", 0, V_CREATE | V_RUN | V_EXEC, FLAG, no_subreaper),
	O("keep", 0, V_RUN, FLAG, keep),
	O("detach", 'd', V_RUN | V_EXEC, FLAG, detach),
	O("process", 'p', V_EXEC, TEXT, process),
	O("cwd", 0, V_EXEC, TEXT, cwd),
	O("user", 'u', V_EXEC, TEXT, user),
	O("env", 'e', V_EXEC, LIST, env),
	O("cap", 'c', V_EXEC, LIST, caps),
	O("tty", 't', V_EXEC, MAYBE, tty),
	O("no-new-privs", 0, V_EXEC, FLAG, no_new_privs),
	O("apparmor", 0, V_EXEC, TEXT, apparmor),
	O("process-label", 0, V_EXEC, TEXT, label),
	O("cgroup", 0, V_EXEC, LIST, subgroups),
	O("additional-gids", 0, V_EXEC, LIST, gids),
	O("ignore-paused", 0, V_EXEC, FLAG, ignore_paused),
	O("format", 'f', V_LIST | V_PS, TEXT, format),
	O("quiet", 'q', V_LIST, FLAG, quiet),
	O("force", 'f', V_DELETE, FLAG, force),
	O("regex", 'r', V_DELETE | V_KILL, FLAG, regex),
	O("all", 'a', V_KILL, FLAG, all),
	O("stats", 0, V_EVENTS, FLAG, stats),
	O("interval", 0, V_EVENTS, TEXT, interval),
	O("rootless", 0, V_SPEC, FLAG, is_rootless),
	O("resources", 'r', V_UPDATE, TEXT, resources),
	O("blkio-weight", 0, V_UPDATE, LIMIT, limits),
	O("cpu-period", 0, V_UPDATE, LIMIT, limits),
	O("cpu-quota", 0, V_UPDATE, LIMIT, limits),
	O("cpu-share", 0, V_UPDATE, LIMIT, limits),
	O("cpu-rt-period", 0, V_UPDATE, LIMIT, limits),
	O("cpu-rt-runtime", 0, V_UPDATE, LIMIT, limits),
	O("cpuset-cpus", 0, V_UPDATE, LIMIT, limits),
	O("cpuset-mems", 0, V_UPDATE, LIMIT, limits),
	O("memory", 0, V_UPDATE, LIMIT, limits),
	O("memory-reservation", 0, V_UPDATE, LIMIT, limits),
	O("memory-swap", 0, V_UPDATE, LIMIT, limits),
	O("kernel-memory", 0, V_UPDATE, LIMIT, limits),
	O("kernel-memory-tcp", 0, V_UPDATE, LIMIT, limits),
	O("pids-limit", 0, V_UPDATE, LIMIT, limits),
#undef O
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]), VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static void options_print(int bit)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (rows[i].verbs & bit)
			printf("  %c%c --%s%s\n", rows[i].letter ? '-' : ' ',
			       rows[i].letter ? rows[i].letter : ' ', rows[i].name,
			       rows[i].type == FLAG || rows[i].type == MAYBE ? "" : "=VALUE");
}

static int help(const struct verb *v)
{
	if (v) {
		printf("Usage: lodge-oci [OPTION...] %s [OPTION...] %s\n%s.\n", v->name, v->args,
		       v->summary);
		options_print(v->bit);
		return 0;
	}
	printf("Usage: lodge-oci [OPTION...] COMMAND [OPTION...] ...\n"
	       "Run containers of OCI bundles as zones (runtime specification "
	       "1.1).\n\nCommands:\n");
	for (unsigned i = 0; i < VERBS; i++)
		printf("  %-9s %-19s %s\n", verbs[i].name, verbs[i].args, verbs[i].summary);
	printf("\nOptions:\n");
	options_print(V_GLOBAL);
	return 0;
}

static int version(void)
{
	static const char text[] =
#include "version.inc"
		;
	printf("lodge-oci version %s\nspec: 1.1.0\n", text);
	return 0;
}

static int taken(struct oci *o, const struct option_row *r, const char *value, struct err *e)
{
	void *at = (char *)o + r->at;
	switch (r->type) {
	case FLAG: *(bool *)at = true; return 0;
	case TEXT: *(const char **)at = value; return 0;
	case MAYBE: o->terminal = !value || strcmp(value, "false"); return 0;
	default: break;
	}
	struct oci_list *l = at;
	if (l->n == OCI_LIST) return fail(e, -E2BIG, "--%s: given too often", r->name);
	l->at[l->n++] = r->type == LIST ? value : arena_text(o->a, "%s=%s", r->name, value);
	return 0;
}

enum { HELP = 1000, VERSION };
/* Options of one kind, up to the first word that is none; 1: help or version was given. */
static int parse(struct oci *o, int argc, char **argv, int bit, bool stop, struct err *e)
{
	struct option longs[ROWS + 3] = {0};
	char shorts[2 * ROWS + 8] = "+:h";
	int map[ROWS], n = 0, c, r = 0;
	if (!stop) memmove(shorts, shorts + 1, strlen(shorts));
	for (int i = 0; i < (int)ROWS; i++) {
		if (!(rows[i].verbs & bit)) continue;
		int arg = rows[i].type == FLAG	  ? no_argument
			  : rows[i].type == MAYBE ? optional_argument
						  : required_argument;
		longs[n] = (struct option){rows[i].name, arg, NULL, n};
		map[n++] = i;
		if (rows[i].letter)
			(void)sprintf(shorts + strlen(shorts), "%c%s", rows[i].letter,
				      arg == required_argument ? ":" : "");
	}
	longs[n] = (struct option){"help", no_argument, NULL, HELP};
	longs[n + 1] = (struct option){"version", no_argument, NULL, VERSION};
	opterr = 0;
	optind = 0;
	while (!r && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == '?' || c == ':')
			return fail(e, -EINVAL, "%s: %s", argv[optind - 1],
				    c == ':' ? "needs a value" : "no such option");
		if (c == HELP || c == 'h') return HELP;
		if (c == VERSION) return VERSION;
		for (int i = 0; i < n && c > 32; i++)
			if (rows[map[i]].letter == c) c = i - 1000;
		if (c < 0) c += 1000;
		r = taken(o, &rows[map[c]], optarg, e);
	}
	return r;
}

static const struct verb *verb_find(const char *name)
{
	for (unsigned i = 0; i < VERBS; i++)
		if (!strcmp(verbs[i].name, name)) return &verbs[i];
	return NULL;
}

static int memory_copy(struct err *e)
{
	struct stat st;
	off_t at = 0;
	auto_fd int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int fd = sys_memfd_program("lodge-oci");
	if (self < 0 || fd < 0 || fstat(self, &st))
		return fail(e, -errno, "a copy of this program: %s", strerror(errno));
	while (at < st.st_size)
		if (sendfile(fd, self, &at, (size_t)(st.st_size - at)) <= 0)
			return fail(e, -errno, "a copy of this program: %s", strerror(errno));
	if (sys_memfd_seal(fd))
		return fail(e, -errno, "sealing a copy of this program: %s", strerror(errno));
	return fd;
}

/* A shell's <(...) is a descriptor, and has to be there when we are executed again. */
static void file_keep(const char *path)
{
	int fd;
	if (path && sscanf(path, "/dev/fd/%d", &fd) == 1 && fd > 2) (void)fcntl(fd, F_SETFD, 0);
}

int oci_seal(const struct oci *o, struct err *e)
{
	auto_fd int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int seals = fcntl(self, F_GET_SEALS);
	if (seals > 0 && (seals & F_SEAL_WRITE)) return 0;
	file_keep(o->process);
	int fd = memory_copy(e);
	if (fd < 0) return fd;
	(void)syscall(SYS_execveat, fd, "", o->argv, environ, AT_EMPTY_PATH);
	return fail(e, -errno, "executing a copy of this program: %s", strerror(errno));
}

static int preserve_count(struct oci *o, struct err *e)
{
	char *end = NULL;
	const char *listen = getenv("LISTEN_FDS");
	long n = o->preserve_fds ? strtol(o->preserve_fds, &end, 10) : 0;
	if (o->preserve_fds && (end == o->preserve_fds || *end || n < 0 || n > 10000))
		return fail(e, -EINVAL, "--preserve-fds %s: a number is wanted", o->preserve_fds);
	if (listen && atoi(listen) > 0 && atoi(listen) < 1000) o->listen = (unsigned)atoi(listen);
	n += o->listen;
	o->preserve = (unsigned)n;
	for (int fd = 3; fd < 3 + n; fd++)
		if (o->preserve_fds && fcntl(fd, F_GETFD) < 0)
			return fail(e, -EBADF, "--preserve-fds %s: %d is not open", o->preserve_fds,
				    fd);
	(void)sys_close_range(3 + (unsigned)n, ~0u, CLOSE_RANGE_CLOEXEC);
	return 0;
}

static int global_check(struct oci *o, struct err *e)
{
	bool json = o->log_format && !strcmp(o->log_format, "json");
	if (o->log_format && !json && strcmp(o->log_format, "text"))
		return fail(e, -EINVAL, "--log-format %s: text or json", o->log_format);
	int r = oci_log_open(o->log, json, o->debug, e);
	if (o->manager && !strcmp(o->manager, "systemd"))
		o->systemd = true;
	else if (o->manager && strcmp(o->manager, "cgroupfs") && strcmp(o->manager, "disabled"))
		return fail(e, -EINVAL, "--cgroup-manager %s: systemd, cgroupfs or disabled",
			    o->manager);
	return r;
}

static int call(struct oci *o, const struct verb *v, struct err *e)
{
	int r;
	if ((r = preserve_count(o, e)) || (v->seal && (r = oci_seal(o, e)))) return r;
	if (v->bit & (V_FEATURES | V_SPEC)) return v->run(o, e);
	if ((o->places = places_open(o->root, e)) < 0) return o->places;
	return v->run(o, e);
}

static int run(struct oci *o, int argc, char **argv, struct err *e)
{
	int r = parse(o, argc, argv, V_GLOBAL, true, e);
	if (r == HELP) return help(NULL);
	if (r == VERSION) return version();
	if (r || (r = global_check(o, e))) return r;
	int at = optind;
	if (at >= argc || !strcmp(argv[at], "help")) return help(NULL);
	const struct verb *v = verb_find(argv[at]);
	if (!v) return fail(e, -EINVAL, "%s: no such command; see --help", argv[at]);
	r = parse(o, argc - at, argv + at, v->bit, v->bit & (V_EXEC | V_PS), e);
	if (r == HELP) return help(v);
	if (r == VERSION) return version();
	if (r) return r;
	o->args = argv + at + optind;
	o->nargs = argc - at - optind;
	if (o->nargs < v->min || (v->max >= 0 && o->nargs > v->max))
		return fail(e, -EINVAL, "%s: wants %s", v->name,
			    *v->args ? v->args : "nothing more");
	r = call(o, v, e);
	/* What no program of the zone's is likely to end with. */
	return r < 0 && v->bit == V_EXEC ? oci_log(OCI_ERROR, "%s", e->msg), 255 : r;
}

int oci_main(int argc, char **argv)
{
	struct err e = {0};
	bool below = argc > 1 && !strcmp(argv[1], "oci");
	struct oci o = {.places = -1, .a = arena_new(), .argv = argv};
	int r = run(&o, argc - below, argv + below, &e);
	if (r < 0) {
		oci_log(OCI_ERROR, "%s", e.msg);
		r = 1;
	}
	if (o.places >= 0) (void)close(o.places);
	arena_free(o.a);
	return r;
}
