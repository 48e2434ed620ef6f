/* Control groups, version 1 or 2, whichever has the controller. Only where a folder can be made
 * below our own group's; version 2 wants it delegated besides. A group whose monitor was killed is
 * empty: the next monitor there removes it. */
#include "guest/cgroup.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "base/types.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 1024, TEXT_MAX = 256 * 1024, USUAL = 1024 };
#define PREFIX "lodge-"
static const struct what {
	const char *controller, *option, *words;
	const char *file[2]; /* of version 1, and of 2 */
} whats[] = {
	[CGROUP_CPU] = {"cpu", "cpu-shares", "CPUs", {"cpu.shares", "cpu.weight"}},
	[CGROUP_MEMORY] = {"memory",
			   "memory-high",
			   "memory",
			   {"memory.soft_limit_in_bytes", "memory.high"}},
};
_Static_assert(COUNT(whats) == CGROUPS, "one for each");
struct cgroup {
	const struct what *what;
	int pid;
	char outer[PATH], own[PATH + 32];
	bool unified;
};

/* Is word one of those that commas separate? */
static bool has_word(const char *list, size_t n, const char *word)
{
	for (const char *p = list; p < list + n; p += strcspn(p, ",") + 1)
		if (!strncmp(p, word, strlen(word)) && strchr(",: \n", p[strlen(word)]))
			return true;
	return false;
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');
	return end ? end + 1 : line + strlen(line);
}

/* "ID:CONTROLLERS:PATH" of the controller, or of version 2, which has none there. */
static bool group_of(char *to, const char *groups, const char *controller, bool unified)
{
	for (const char *l = groups; *l; l = next_line(l)) {
		const char *list = strchr(l, ':');
		const char *path = list ? strchr(list + 1, ':') : NULL;
		if (!path) return false;
		size_t n = (size_t)(path - list - 1), len = strcspn(path + 1, "\n");
		if (unified ? n : !has_word(list + 1, n, controller)) continue;
		return snprintf(to, PATH, "%.*s", len > 1 ? (int)len : 0, path + 1) < PATH;
	}
	return false;
}

/* "DEVICE FOLDER TYPE OPTIONS 0 0" */
static bool mount_of(char *to, const char *mounts, const char *controller, bool unified)
{
	for (const char *l = mounts; *l; l = next_line(l)) {
		char folder[PATH], type[32], options[PATH];
		if (sscanf(l, "%*s %1023s %31s %1023s", folder, type, options) != 3) continue;
		if (strcmp(type, unified ? "cgroup2" : "cgroup")) continue;
		if (!unified && !has_word(options, strlen(options), controller)) continue;
		return snprintf(to, PATH, "%s", folder) < PATH;
	}
	return false;
}

bool cgroup_place(char *to, size_t room, enum cgroup_what what, const char *groups,
		  const char *mounts, bool *unified)
{
	const char *name = whats[what].controller;
	char group[PATH], folder[PATH];
	for (unsigned i = 0; i < 2; i++) {
		*unified = i;
		if (group_of(group, groups, name, i) && mount_of(folder, mounts, name, i))
			return snprintf(to, room, "%s%s", folder, group) < (int)room;
	}
	return false;
}

uint64_t cgroup_weight(uint64_t shares)
{
	uint64_t w = (shares * 100 + USUAL / 2) / USUAL;
	return w < 1 ? 1 : w < 10000 ? w : 10000;
}

static int put_text(const char *folder, const char *file, const char *text)
{
	char path[PATH + 96];
	(void)snprintf(path, sizeof(path), "%s/%s", folder, file);
	ssize_t n = (ssize_t)strlen(text);
	auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, (size_t)n) == n ? 0 : -errno;
}

static int put(const char *folder, const char *file, uint64_t v)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	return put_text(folder, file, text);
}

static int put_memory(const struct cgroup *c, uint64_t bytes)
{
	const char *file = c->what->file[c->unified];
	if (bytes) return put(c->own, file, bytes);
	return put_text(c->own, file, c->unified ? "max" : "-1");
}

static int put_shares(const struct cgroup *c, uint64_t shares)
{
	if (!shares) shares = USUAL;
	return put(c->own, c->what->file[c->unified], c->unified ? cgroup_weight(shares) : shares);
}

static void sweep(const char *outer)
{
	DIR *d = opendir(outer);
	for (struct dirent *f; d && (f = readdir(d));)
		if (!strncmp(f->d_name, PREFIX, strlen(PREFIX)))
			(void)unlinkat(dirfd(d), f->d_name,
				       AT_REMOVEDIR); /* who has somebody stays */
	if (d) (void)closedir(d);
}

static struct place { /* of this process's groups */
	bool looked, there, unified;
	char outer[PATH];
} places[CGROUPS];

static int look(enum cgroup_what what, struct err *e)
{
	struct place *p = &places[what];
	auto_buf struct buf groups = {0}, mounts = {0};
	if (p->looked) return 0;
	int r = file_read(&groups, "/proc/self/cgroup", TEXT_MAX, e);
	if (!r) r = file_read(&mounts, "/proc/self/mounts", TEXT_MAX, e);
	if (r) return r;
	buf_add(&groups, "", 1);
	buf_add(&mounts, "", 1);
	p->there =
		cgroup_place(p->outer, sizeof(p->outer), what, groups.at, mounts.at, &p->unified);
	p->looked = true;
	return 0;
}

const char *cgroup_remember(enum cgroup_what what)
{
	return !look(what, NULL) && places[what].there ? places[what].outer : NULL;
}

static int find(struct cgroup *c, struct err *e)
{
	enum cgroup_what what = (enum cgroup_what)(c->what - whats);
	int r = look(what, e);
	if (r) return r;
	if (!places[what].there)
		return fail(e, -EOPNOTSUPP, "%s: this host has no control groups for %s",
			    c->what->option, c->what->words);
	(void)strcpy(c->outer, places[what].outer);
	c->unified = places[what].unified;
	return 0;
}

static int enter(struct cgroup *c, struct err *e)
{
	sweep(c->outer);
	(void)snprintf(c->own, sizeof(c->own), "%s/" PREFIX "%d", c->outer, c->pid);
	if (mkdir(c->own, 0755) && errno != EEXIST)
		return fail(e, -EOPNOTSUPP, "%s: no control group may be made in %s: %s",
			    c->what->option, c->outer, strerror(errno));
	int r = c->what == &whats[CGROUP_CPU] ? put_shares(c, 0) : put_memory(c, 0);
	if (!r) r = put(c->own, "cgroup.procs", (uint64_t)c->pid);
	if (!r) return 0;
	(void)rmdir(c->own);
	return fail(e, -EOPNOTSUPP, "%s: the control group %s is not ours to divide: %s",
		    c->what->option, c->outer, strerror(-r));
}

int cgroup_open(struct cgroup **out, enum cgroup_what what, int pid, struct err *e)
{
	struct cgroup *c = calloc(1, sizeof(*c));
	must(c);
	c->what = &whats[what];
	c->pid = pid;
	int r = find(c, e);
	if (!r) r = enter(c, e);
	if (r)
		free(c);
	else
		*out = c;
	return r;
}

int cgroup_shares(struct cgroup *c, uint64_t shares, struct err *e)
{
	int r = put_shares(c, shares);
	return r ? fail(e, r, "cpu-shares: %s: %s", c->own, strerror(-r)) : 0;
}

int cgroup_memory(struct cgroup *c, uint64_t bytes, struct err *e)
{
	int r = put_memory(c, bytes);
	return r ? fail(e, r, "memory-high: %s: %s", c->own, strerror(-r)) : 0;
}

void cgroup_close(struct cgroup *c)
{
	if (!c) return;
	(void)put(c->outer, "cgroup.procs", (uint64_t)c->pid);
	(void)rmdir(c->own);
	free(c);
}
