/* A user namespace's mappings are written once, whole, by its parent. Without privileges only one's
 * own id may be mapped, after setgroups(2) has been given up; more need the set-user-id helpers. */
#include "zone/id.h"
#include "base/buf.h"
#include "base/proc.h"
#include "zone/sys.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static int proc_write(pid_t pid, const char *file, const char *text, size_t len)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) return -errno;
	return write(fd, text, len) == (ssize_t)len ? 0 : -errno;
}

static void map_words(struct buf *b, const struct spec_map *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		buf_fmt(b, "%u %u %u\n", m[i].container_id, m[i].host_id, m[i].size);
}

static void quiet(void *ctx, const char *line) { (void)ctx, (void)line; }

static int helper_map(pid_t pid, const char *tool, const struct spec_map *m, unsigned n,
		      struct err *e)
{
	char words[3 * 340][12], who[16];
	const char *argv[3 * 340 + 3] = {tool, who};
	int code = 0;
	(void)snprintf(who, sizeof(who), "%d", (int)pid);
	for (unsigned i = 0; i < n && i < 340; i++) {
		(void)snprintf(words[3 * i], 12, "%u", m[i].container_id);
		(void)snprintf(words[3 * i + 1], 12, "%u", m[i].host_id);
		(void)snprintf(words[3 * i + 2], 12, "%u", m[i].size);
		for (unsigned k = 0; k < 3; k++) argv[2 + 3 * i + k] = words[3 * i + k];
	}
	struct proc p = {.argv = argv, .line = quiet};
	int r = proc_run(&p, &code, e);
	if (r) return r;
	return code ? fail(e, -EPERM, "%s refused these ids: see /etc/subuid, /etc/subgid", tool)
		    : 0;
}

static int map_write(pid_t pid, bool group, const struct spec_map *m, unsigned n, struct err *e)
{
	auto_buf struct buf b = {0};
	map_words(&b, m, n);
	int r = proc_write(pid, group ? "gid_map" : "uid_map", b.at, b.len);
	if (r == -EPERM && group && n == 1 && m->size == 1 && m->host_id == getegid()) {
		(void)proc_write(pid, "setgroups", "deny", 4);
		r = proc_write(pid, "gid_map", b.at, b.len);
	}
	if (r == -EPERM) return helper_map(pid, group ? "newgidmap" : "newuidmap", m, n, e);
	return r ? fail(e, r, "mapping ids into the zone: %s", strerror(-r)) : 0;
}

int id_map(pid_t pid, const struct spec_linux *l, struct err *e)
{
	int r = map_write(pid, true, l->gid_mappings.at, l->gid_mappings.n, e);
	return r ? r : map_write(pid, false, l->uid_mappings.at, l->uid_mappings.n, e);
}

int id_namespace(const struct spec_map *uids, unsigned nuids, const struct spec_map *gids,
		 unsigned ngids, struct err *e)
{
	struct spec_linux l = {.uid_mappings = {(struct spec_map *)uids, nuids},
			       .gid_mappings = {(struct spec_map *)gids, ngids}};
	char path[64];
	int pid = sys_clone(CLONE_NEWUSER, SIGCHLD, NULL, -1), fd = -1;
	if (pid < 0) return fail(e, -errno, "a user namespace: %s", strerror(errno));
	if (!pid)
		for (;;) (void)pause();
	int r = id_map(pid, &l, e);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	if (!r && (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		r = fail(e, -errno, "a user namespace: %s", strerror(errno));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return r ? r : fd;
}
