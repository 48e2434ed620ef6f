/* What a zone has written belongs to ids that its owner cannot touch, unless he is in a user
 * namespace with the same ones. */
#include "base/file.h"
#include "base/own.h"
#include "zone/id.h"
#include "zone/keeper.h"
#include "zone/spec.h"
#include "zone/sys.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static void maps_copy(struct spec_map *to, const struct plan_map *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		to[i] = (struct spec_map){from[i].inside, from[i].outside, from[i].size};
}

static int ids_open(struct err *e)
{
	struct plan p = {.hostname = ""};
	struct spec_map users[PLAN_MAPS], groups[PLAN_MAPS];
	plan_ids(&p);
	maps_copy(users, p.users, p.nmaps);
	maps_copy(groups, p.groups, p.nmaps);
	return id_namespace(users, p.nmaps, groups, p.nmaps, e);
}

static int inside(int ids, int folder, struct err *e)
{
	if (setns(ids, CLONE_NEWUSER) || setresgid(0, 0, 0) || setresuid(0, 0, 0) || fchdir(folder))
		return fail(e, -errno, "entering a user namespace: %s", strerror(errno));
	int r = dir_remove("upper", e);
	return r ? r : dir_remove("work", e);
}

int keeper_clean(int folder, struct err *e)
{
	struct err said = {0};
	int ends[2];
	if (!geteuid()) return 0;
	auto_fd int ids = ids_open(e);
	if (ids < 0) return ids;
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	auto_fd int ours = ends[0], theirs = ends[1];
	int pid = sys_clone(0, SIGCHLD, NULL, -1);
	if (!pid) {
		said.code = inside(ids, folder, &said);
		_exit(write(theirs, &said, sizeof(said)) != sizeof(said));
	}
	if (pid < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	(void)close(give_fd(&theirs));
	bool heard = read(ours, &said, sizeof(said)) == sizeof(said);
	(void)waitpid(pid, NULL, 0);
	if (!heard) return fail(e, -EPIPE, "what the zone wrote could not be removed");
	said.msg[sizeof(said.msg) - 1] = 0;
	return said.code ? fail(e, said.code, "%s", said.msg) : 0;
}
