/* Who runs a program: /etc/passwd and /etc/group read by hand, since a static program has no other
 * source of names, and becoming that user. */
#define _GNU_SOURCE
#include "agent.h"
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct zone zone;

/* The next of the fields that ':' parts. */
static char *field(char **at)
{
	char *f = strsep(at, ":");
	return f ? f : (char *)"";
}

static bool number(const char *text, unsigned *n)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);
	*n = (unsigned)v;
	return *text >= '0' && *text <= '9' && !*end && v < 0xffffffff;
}

static char *line_next(FILE *f, char *line, size_t room)
{
	if (!fgets(line, (int)room, f)) return NULL;
	line[strcspn(line, "\n")] = 0;
	return line;
}

static bool passwd_find(struct user *u, const char *who)
{
	char line[1024];
	unsigned id;
	bool by_id = number(who, &id), found = false;
	FILE *f = fopen("/etc/passwd", "re");
	while (f && !found && line_next(f, line, sizeof(line))) {
		char *at = line, *name = field(&at);
		(void)field(&at);
		unsigned uid, gid;
		if (!number(field(&at), &uid) || !number(field(&at), &gid)) continue;
		if (strcmp(name, who) && !(by_id && uid == id)) continue;
		(void)field(&at);
		u->uid = uid;
		u->gid = gid;
		snprintf(u->name, sizeof(u->name), "%s", name);
		snprintf(u->home, sizeof(u->home), "%s", field(&at));
		snprintf(u->shell, sizeof(u->shell), "%s", field(&at));
		found = true;
	}
	if (f) fclose(f);
	if (!found && by_id) u->uid = u->gid = id;
	return found || by_id;
}

static bool is_member(char *members, const char *name)
{
	for (char *m; *name && (m = strsep(&members, ","));)
		if (!strcmp(m, name)) return true;
	return false;
}

/* Those he is in, and the one asked for; false: that is not there. */
static bool groups_find(struct user *u, const char *group)
{
	char line[4096];
	unsigned gid, wanted;
	bool found = group && number(group, &wanted);
	if (found) u->gid = wanted;
	FILE *f = fopen("/etc/group", "re");
	while (f && line_next(f, line, sizeof(line))) {
		char *at = line, *name = field(&at);
		(void)field(&at);
		if (!number(field(&at), &gid)) continue;
		if (group && !strcmp(name, group)) u->gid = gid, found = true;
		if (u->ngroups < GROUPS && is_member(field(&at), u->name))
			u->groups[u->ngroups++] = gid;
	}
	if (f) fclose(f);
	return found || !group;
}

bool user_find(struct user *u, const char *who)
{
	char text[128];
	snprintf(text, sizeof(text), "%s", *who ? who : "0");
	char *group = strchr(text, ':');
	if (group) *group++ = 0;
	*u = (struct user){.home = "/", .shell = "/bin/sh"};
	bool root = !strcmp(text, "0") || !strcmp(text, "root");
	if (root) strcpy(u->name, "root");
	if (root && !access("/root", X_OK)) strcpy(u->home, "/root");
	if (!passwd_find(u, text) && !root) return false;
	if (!*u->shell) strcpy(u->shell, "/bin/sh");
	return groups_find(u, group);
}

static _Noreturn void give_up(const char *what, int why, int code)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "lodge: %.300s: %s\n", what, strerror(why));
	(void)!write(2, line, (size_t)n);
	_exit(code);
}

static void environment(const struct user *u, char **env)
{
	const char *term = getenv("TERM");
	char *kept = term ? strdup(term) : NULL;
	if (zone.first) { /* it is all there */
		setenv("HOME", u->home, 0);
		return;
	}
	if (!zone.user) {
		clearenv();
		setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	}
	setenv("HOME", u->home, 1);
	setenv("SHELL", u->shell, 1);
	if (*u->name) setenv("USER", u->name, 1), setenv("LOGNAME", u->name, 1);
	if (kept) setenv("TERM", kept, 1);
	for (; env && *env; env++)
		if (strchr(*env, '=')) putenv(*env);
}

static void as_usual(void)
{
	sigset_t none;
	sigemptyset(&none);
	for (int i = 1; i < NSIG; i++) signal(i, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

void run(const struct user *u, const char *dir, char **argv, char **env)
{
	static char dash[258];
	char *login[] = {dash, NULL};
	as_usual();
	if (setgroups(u->ngroups, u->groups) && errno != ENOSYS && !zone.user) give_up("groups", errno, 126);
	if (setgid(u->gid) || setuid(u->uid)) give_up("user", errno, 126);
	environment(u, env);
	if (dir && chdir(dir)) give_up(dir, errno, 126);
	if (!dir && chdir(u->home) && chdir("/")) give_up(u->home, errno, 126);
	if (argv[0]) {
		execvp(argv[0], argv);
		give_up(argv[0], errno, errno == ENOENT ? 127 : 126);
	}
	const char *base = strrchr(u->shell, '/');
	snprintf(dash, sizeof(dash), "-%s", base ? base + 1 : u->shell);
	execv(u->shell, login);
	give_up(u->shell, errno, errno == ENOENT ? 127 : 126);
}
