/* Verbs that only tell: list, ps, events, features, spec. */
#include "base/buf.h"
#include "zone/oci_impl.h"
#include "zone/options.h"
#include "zone/sys.h"
#include "zone/words.h"
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void text(struct json_object *o, const char *key, const char *v)
{
	(void)json_object_object_add(o, key, json_object_new_string(v ? v : ""));
}

static void print(struct json_object *o)
{
	printf("%s\n",
	       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
							 JSON_C_TO_STRING_NOSLASHESCAPE));
	(void)json_object_put(o);
}

static const char *owner_of(const struct place *p, struct arena *a)
{
	struct stat st;
	if (fstat(p->dir, &st)) return "";
	return st.st_uid ? arena_text(a, "#%u", st.st_uid) : "root";
}

static void row(struct oci *o, struct place *p, struct group *g, struct json_object *all)
{
	enum place_status s = place_status(p, g);
	int pid = s == PLACE_STOPPED ? 0 : p->pid;
	if (o->quiet) {
		printf("%s\n", p->id);
	} else if (!all) {
		printf("%-20s %-9d %-9s %-39s %-30s %s\n", p->id, pid, place_words[s],
		       p->bundle ? p->bundle : "", p->created ? p->created : "", owner_of(p, o->a));
	} else {
		struct json_object *j = json_object_new_object();
		text(j, "ociVersion", p->version);
		text(j, "id", p->id);
		(void)json_object_object_add(j, "pid", json_object_new_int(pid));
		text(j, "status", place_words[s]);
		text(j, "bundle", p->bundle);
		text(j, "rootfs", p->rootfs);
		text(j, "created", p->created);
		text(j, "owner", owner_of(p, o->a));
		(void)json_object_array_add(all, j);
	}
}

static int format_check(const struct oci *o, bool *json, struct err *e)
{
	*json = o->format && !strcmp(o->format, "json");
	return !o->format || *json || !strcmp(o->format, "table")
		       ? 0
		       : fail(e, -EINVAL, "--format %s: table or json", o->format);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int oci_list(struct oci *o, struct err *e)
{
	bool json;
	int r = format_check(o, &json, e), again = openat(o->places, ".", O_RDONLY | O_CLOEXEC);
	if (r) return r;
	struct json_object *all = json && !o->quiet ? json_object_new_array() : NULL;
	DIR *d = again < 0 ? NULL : fdopendir(again);
	unsigned n = 0, room = 0;
	char **names = NULL;
	if (!all && !o->quiet)
		printf("%-20s %-9s %-9s %-39s %-30s %s\n", "ID", "PID", "STATUS", "BUNDLE",
		       "CREATED", "OWNER");
	for (struct dirent *at; d && (at = readdir(d));) {
		if (at->d_name[0] == '.') continue;
		if (n == room) names = reallocarray(names, room += 64, sizeof(*names));
		must(names);
		names[n++] = arena_text(o->a, "%s", at->d_name);
	}
	if (n) qsort(names, n, sizeof(*names), by_name);
	for (unsigned i = 0; i < n; i++) {
		struct place p;
		struct group g;
		o->args = &names[i];
		if (oci_open(o, &p, &g, false, e)) continue;
		row(o, &p, &g, all);
		group_close(&g);
		place_close(&p);
	}
	free(names);
	if (d) (void)closedir(d);
	/* On one line, as runc has it, whose readers take lines. */
	if (all)
		printf("%s\n",
		       json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
	(void)json_object_put(all);
	return 0;
}

/* Lines of ps(1) whose column PID has one of these. */
static int table_print(struct oci *o, const pid_t *pids, unsigned n, struct err *e)
{
	const char *usual[] = {"ps", "-ef", NULL};
	char line[4096];
	int ends[2], column = -1, status;
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "a pipe: %s", strerror(errno));
	(void)fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		(void)dup2(ends[1], 1);
		if (o->nargs > 1) o->args[0] = (char *)"ps";
		(void)execvp("ps", o->nargs > 1 ? o->args : (char **)usual);
		_exit(127);
	}
	(void)close(ends[1]);
	FILE *f = fdopen(ends[0], "r");
	while (f && fgets(line, sizeof(line), f)) {
		char copy[4096], *at = copy, *word;
		int i = 0, own = -1;
		(void)snprintf(copy, sizeof(copy), "%s", line);
		while ((word = strsep(&at, " \n")))
			if (*word) {
				if (column < 0 && !strcmp(word, "PID")) column = i + 1000;
				if (i++ == column) own = atoi(word);
			}
		bool take = column >= 1000;
		if (take) column -= 1000;
		for (unsigned k = 0; k < n; k++) take |= pids[k] == own;
		if (take) (void)fputs(line, stdout);
	}
	if (f) (void)fclose(f);
	(void)waitpid(pid, &status, 0);
	return column < 0 ? fail(e, -ENOENT, "ps: its output has no column PID") : 0;
}

int oci_ps(struct oci *o, struct err *e)
{
	struct place p;
	struct group g;
	pid_t *pids;
	bool json;
	int r = format_check(o, &json, e);
	if (r || (r = oci_open(o, &p, &g, false, e))) return r;
	unsigned n = group_pids(&g, &pids, o->a);
	if ((r = oci_vm_cannot(&p, "ps", e))) {
		n = 0;
	} else if (json) {
		printf("[");
		for (unsigned i = 0; i < n; i++) printf("%s%d", i ? "," : "", (int)pids[i]);
		printf("]\n");
	} else {
		r = table_print(o, pids, n, e);
	}
	group_close(&g);
	place_close(&p);
	return r;
}

/* "5s", "500ms", "3": milliseconds; 0: none. */
static int interval_of(const char *s)
{
	char *end;
	double v = s ? strtod(s, &end) : 5;
	if (s && !strcmp(end, "ms"))
		v /= 1000;
	else if (s && !strcmp(end, "m"))
		v *= 60;
	return v > 0 && v < 4000 ? (int)(v * 1e3) : 0;
}

static void events_tell(const struct oci *o, const struct place *p, const struct group *g, int nap)
{
	struct group_oom oom;
	group_oom_open(&oom, g);
	struct pollfd fds[] = {{.fd = p->pid ? sys_pidfd_open(p->pid) : -1, .events = POLLIN},
			       {.fd = oom.event, .events = oom.wanted}};
	for (bool alive = true; alive;) {
		auto_buf struct buf b = {0};
		group_stats(g, &b);
		printf("{\"type\":\"stats\",\"id\":\"%s\",\"data\":%s}\n", p->id, b.at);
		(void)fflush(stdout);
		alive = !o->stats && place_alive(p);
		if (alive) (void)poll(fds, 2, nap);
		if (!o->stats && group_oom_seen(&oom))
			printf("{\"type\":\"oom\",\"id\":\"%s\"}\n", p->id);
	}
	(void)fflush(stdout);
	if (fds[0].fd >= 0) (void)close(fds[0].fd);
	group_oom_close(&oom);
}

int oci_events(struct oci *o, struct err *e)
{
	struct place p;
	struct group g;
	int nap = interval_of(o->interval);
	if (!nap) return fail(e, -EINVAL, "--interval %s: 5s or 500ms, for example", o->interval);
	int r = oci_open(o, &p, &g, false, e);
	if (r) return r;
	if (place_status(&p, NULL) == PLACE_STOPPED)
		r = fail(e, -EINVAL, "zone %s: container is not running", p.id);
	if (!r) r = oci_vm_cannot(&p, "events", e);
	if (!r) events_tell(o, &p, &g, nap);
	group_close(&g);
	place_close(&p);
	return r;
}

static void texts(struct json_object *o, const char *key, const char *const *at, unsigned n)
{
	struct json_object *l = json_object_new_array();
	for (unsigned i = 0; i < n && at[i]; i++)
		(void)json_object_array_add(l, json_object_new_string(at[i]));
	(void)json_object_object_add(o, key, l);
}

static struct json_object *child(struct json_object *o, const char *key)
{
	struct json_object *c = json_object_new_object();
	(void)json_object_object_add(o, key, c);
	return c;
}

static void flag(struct json_object *o, const char *key, bool v)
{
	(void)json_object_object_add(o, key, json_object_new_boolean(v));
}

static void words(struct json_object *o, const char *key, const struct word *w, const char *head)
{
	struct json_object *l = json_object_new_array();
	for (; w->name; w++) {
		char s[64];
		(void)snprintf(s, sizeof(s), "%s%s", head, w->name);
		(void)json_object_array_add(l, json_object_new_string(s));
	}
	(void)json_object_object_add(o, key, l);
}

int oci_features(struct oci *o, struct err *e)
{
	static const char *const hooks[] = {"prestart",	      "createRuntime", "createContainer",
					    "startContainer", "poststart",     "poststop"};
	unsigned n;
	const char *const *options = options_names(&n);
	struct json_object *f = json_object_new_object(), *l, *c;
	(void)o, (void)e;
	text(f, "ociVersionMin", "1.0.0");
	text(f, "ociVersionMax", "1.1.0");
	texts(f, "hooks", hooks, 6);
	texts(f, "mountOptions", options, n);
	l = child(f, "linux");
	words(l, "namespaces", words_namespaces, "");
	words(l, "capabilities", words_caps, "CAP_");
	c = child(l, "cgroup");
	flag(c, "v1", true);
	flag(c, "v2", true);
	flag(c, "systemd", false);
	flag(c, "systemdUser", false);
	c = child(l, "seccomp");
	flag(c, "enabled", true);
	texts(c, "actions", filter_actions, 64);
	texts(c, "operators", filter_operators, 64);
	texts(c, "archs", filter_archs, 64);
	texts(c, "knownFlags", filter_flags, 64);
	texts(c, "supportedFlags", filter_flags, 64);
	flag(child(l, "apparmor"), "enabled", true);
	flag(child(l, "selinux"), "enabled", true);
	flag(child(child(l, "mountExtensions"), "idmap"), "enabled", true);
	print(f);
	return 0;
}

static const char spec_text[] =
#include "zone/spec_usual.inc"
	;

/* Version 1's groups are many, and what looks at them from inside expects to see their names. */
static bool unified(struct oci *o)
{
	struct group g;
	struct err e;
	if (group_find(&g, o->a, &e)) return false;
	bool one = g.n == 1 && g.tree[0].v2;
	group_close(&g);
	return one;
}

int oci_spec(struct oci *o, struct err *e)
{
	struct json_object *s = decode_text(spec_text, sizeof(spec_text) - 1, e), *l, *ns, *u;
	must(s);
	if (json_object_object_get_ex(s, "linux", &l) &&
	    json_object_object_get_ex(l, "namespaces", &ns) && !unified(o))
		(void)json_object_array_del_idx(ns, json_object_array_length(ns) - 1, 1);
	if (o->is_rootless && json_object_object_get_ex(s, "linux", &l) &&
	    json_object_object_get_ex(l, "namespaces", &ns)) {
		char map[160];
		for (size_t i = json_object_array_length(ns); i--;) {
			struct json_object *t;
			(void)json_object_object_get_ex(json_object_array_get_idx(ns, i), "type",
							&t);
			if (!strcmp(json_object_get_string(t), "network"))
				(void)json_object_array_del_idx(ns, i, 1);
		}
		(void)json_object_array_add(ns, u = json_object_new_object());
		text(u, "type", "user");
		(void)snprintf(map, sizeof(map), "[{\"containerID\":0,\"hostID\":%u,\"size\":1}]",
			       geteuid());
		(void)json_object_object_add(l, "uidMappings", decode_text(map, strlen(map), e));
		(void)snprintf(map, sizeof(map), "[{\"containerID\":0,\"hostID\":%u,\"size\":1}]",
			       getegid());
		(void)json_object_object_add(l, "gidMappings", decode_text(map, strlen(map), e));
		json_object_object_del(l, "resources");
	}
	const char *dir = o->bundle ? o->bundle : ".",
		   *to = arena_text(o->a, "%s/config.json", dir);
	auto_fd int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	const char *out = json_object_to_json_string_ext(s, JSON_C_TO_STRING_PRETTY |
								    JSON_C_TO_STRING_SPACED |
								    JSON_C_TO_STRING_NOSLASHESCAPE);
	int r = fd < 0 || dprintf(fd, "%s\n", out) < 0
			? fail(e, -errno, "%s: %s", to, strerror(errno))
			: 0;
	(void)json_object_put(s);
	return r;
}
