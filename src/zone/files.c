/* Where a zone's files are: the folder `upper` in its own or in the file system of its --storage;
 * and in folders of its own those that it had once. */
#include "zone/files.h"
#include "base/ext4.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/own.h"
#include "base/text.h"
#include "guest/guest.h"
#include "store/tar.h"
#include "zone/disk.h"
#include "zone/keeper.h"
#include "zone/sys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define NEXT "upper.next" /* on its way to be `upper`, or from there */

/* ---- with which rights */
int files_within(int (*fn)(void *ctx, struct err *e), void *ctx, struct err *e)
{
	struct err said = {0};
	int ends[2];
	if (!geteuid()) return fn(ctx, e);
	auto_fd int ids = keeper_ids(e);
	if (ids < 0) return ids;
	if (pipe2(ends, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
	auto_fd int ours = ends[0], theirs = ends[1];
	int pid = sys_clone(0, SIGCHLD, NULL, -1);
	if (!pid) {
		if (setns(ids, CLONE_NEWUSER) || setresgid(0, 0, 0) || setresuid(0, 0, 0))
			said.code = fail(&said, -errno, "entering a user namespace: %s",
					 strerror(errno));
		else
			said.code = fn(ctx, &said);
		_exit(write(theirs, &said, sizeof(said)) != sizeof(said));
	}
	if (pid < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	(void)close(give_fd(&theirs));
	bool heard = read(ours, &said, sizeof(said)) == sizeof(said);
	(void)waitpid(pid, NULL, 0);
	if (!heard) return fail(e, -EPIPE, "the zone's files: the process for them was killed");
	said.msg[sizeof(said.msg) - 1] = 0;
	return said.code ? fail(e, said.code, "%s", said.msg) : 0;
}

/* ---- places */
static bool in_storage(const struct guest_files *f) { return !f->saved && f->spec->zone.storage; }
static char *path_in(int folder, const char *rest)
{
	return text_format("/proc/self/fd/%d/%s", folder, rest);
}

static uint32_t first_id(const struct guest_files *f)
{
	struct plan p = {.id = f->id, .hostname = ""};
	if (geteuid() || f->spec->zone.host_ids) return 0;
	plan_ids(&p);
	return p.nmaps ? p.users[0].outside : 0;
}

static struct files_ids ids_of(const struct guest_files *from, const struct guest_files *to)
{
	struct files_ids ids = {first_id(from), first_id(to), PLAN_IDS};
	if (!ids.from || !ids.to) ids.size = 0;
	return ids;
}

static int folder_open(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The folder that `upper` is in; -ENOENT: it has none yet. */
static int place_open(const struct guest_files *f, struct err *e)
{
	if (!in_storage(f)) {
		int fd = folder_open(f->folder, f->saved ? f->saved : ".");
		return fd < 0 ? fail(e, fd, "the zone's folder: %s", strerror(-fd)) : fd;
	}
	auto_mem char *path = storage_path(f->folder);
	return file_exists(path) ? disk_mount_again(path, e) : -ENOENT;
}

int files_open(const struct guest_files *f, struct err *e)
{
	auto_fd int place = place_open(f, e);
	if (place < 0) return place;
	int fd = folder_open(place, "upper");
	return fd < 0 && fd != -ENOENT ? fail(e, fd, "the zone's files: %s", strerror(-fd)) : fd;
}

/* ---- copying */
struct job {
	const struct guest_files *from, *to;
	struct files_ids ids;
};

/* from -1: nothing. */
static int fill(const struct job *j, int from, int place, const char *name, struct err *e)
{
	if (from < 0) return 0;
	if (mkdirat(place, name, 0700)) return fail(e, -errno, "%s: %s", name, strerror(errno));
	auto_fd int to = folder_open(place, name);
	if (to < 0) return fail(e, to, "%s: %s", name, strerror(-to));
	int r = files_copy(from, to, &j->ids, e);
	if (!r && syncfs(to)) r = fail(e, -errno, "the zone's files: %s", strerror(errno));
	return r;
}

static int to_saved(const struct job *j, int from, struct err *e)
{
	const struct guest_files *to = j->to;
	if (mkdirat(to->folder, to->saved, 0700))
		return fail(e, -errno, "%s: %s", to->saved, strerror(errno));
	auto_fd int place = folder_open(to->folder, to->saved);
	if (place < 0) return fail(e, place, "%s: %s", to->saved, strerror(-place));
	return fill(j, from, place, "upper", e);
}

/* The two change places: at every moment there is one. */
static int swap(int folder, bool something, struct err *e)
{
	int r;
	fault_point();
	if (!something)
		r = renameat(folder, "upper", folder, NEXT) && errno != ENOENT;
	else
		r = renameat2(folder, NEXT, folder, "upper", RENAME_EXCHANGE) &&
		    (errno != ENOENT || renameat(folder, NEXT, folder, "upper"));
	fault_point();
	return r ? fail(e, -errno, "the zone's files: %s", strerror(errno)) : 0;
}

static int to_folder(const struct job *j, int from, struct err *e)
{
	auto_mem char *next = path_in(j->to->folder, NEXT);
	int r = dir_remove(next, e);
	if (!r) r = fill(j, from, j->to->folder, NEXT, e);
	if (!r) r = swap(j->to->folder, from >= 0, e);
	int bad = dir_remove(next, r ? NULL : e);
	return r ? r : bad;
}

static int to_storage(const struct job *j, int from, struct err *e)
{
	auto_mem char *path = storage_path(j->to->folder), *next = text_format("%s.next", path);
	int r = ext4_make(next, j->to->spec->zone.storage, e);
	auto_fd int place = r ? r : disk_mount(next, false, -1, e);
	if (place < 0) return place;
	r = fill(j, from, place, "upper", e);
	drop_fd(&place);
	place = -1;
	fault_point();
	if (!r && rename(next, path)) r = fail(e, -errno, "%s: %s", path, strerror(errno));
	if (r) (void)unlink(next);
	return r;
}

static int copy_now(void *job, struct err *e)
{
	const struct job *j = job;
	auto_fd int from = files_open(j->from, e);
	if (from < 0 && from != -ENOENT) return from;
	if (j->to->saved) return to_saved(j, from, e);
	return in_storage(j->to) ? to_storage(j, from, e) : to_folder(j, from, e);
}

static int copy(const struct guest_files *from, const struct guest_files *to, struct err *e)
{
	struct job j = {from, to, ids_of(from, to)};
	return files_within(copy_now, &j, e);
}

/* ---- telling */
struct telling {
	const struct guest_files *from;
	int fd;
};

static int pack_now(void *telling, struct err *e)
{
	const struct telling *t = telling;
	struct files_ids ids = {first_id(t->from), 0, PLAN_IDS};
	if (!ids.from) ids.size = 0;
	auto_fd int from = files_open(t->from, e);
	return from < 0 && from != -ENOENT ? from : files_pack(from, t->fd, &ids, e);
}

static int pack(const struct guest_files *from, int fd, struct err *e)
{
	struct telling t = {from, fd};
	int r = tar_load(e);
	return r ? r : files_within(pack_now, &t, e);
}

static int lower_open(struct files_lower *l, const char *path, struct err *e)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || l->n == FILES_LOWERS)
		return fail(e, fd < 0 ? -errno : -EMFILE, "%s: %s", path, strerror(errno));
	l->at[l->n++] = fd;
	return 0;
}

static int lowers_open(struct files_lower *l, const struct spec_zone *z, struct err *e)
{
	int r = 0;
	for (unsigned i = z->layers.n; !r && i; i--) r = lower_open(l, z->layers.at[i - 1], e);
	int disk = !r && z->disk ? disk_mount(z->disk, true, -1, e) : -1;
	if (disk >= 0) l->at[l->n++] = disk;
	return r ? r : z->disk && disk < 0 ? disk : 0;
}

static int diff_now(void *telling, struct err *e)
{
	const struct telling *t = telling;
	struct files_lower l = {.n = 0};
	int r = lowers_open(&l, &t->from->spec->zone, e);
	auto_fd int from = r ? r : files_open(t->from, e);
	if (!r && from < 0 && from != -ENOENT) r = from;
	if (!r) r = files_diff(from, &l, dup(t->fd), e);
	while (l.n) (void)close(l.at[--l.n]);
	return r;
}

static int diff(const struct guest_files *from, int fd, struct err *e)
{
	struct telling t = {from, fd};
	return files_within(diff_now, &t, e);
}

/* ---- what goes */
struct gone {
	int folder;
	const char *const *names;
};

static int drop_now(void *gone, struct err *e)
{
	const struct gone *g = gone;
	int r = 0;
	for (const char *const *n = g->names; !r && *n; n++) {
		auto_mem char *path = path_in(g->folder, *n);
		r = dir_remove(path, e);
	}
	return r;
}

static int drop(int folder, const char *saved, struct err *e)
{
	const char *names[] = {saved, NULL};
	struct gone g = {folder, names};
	return files_within(drop_now, &g, e);
}

int keeper_clean(int folder, struct err *e)
{
	static const char *const names[] = {"upper", "work", NEXT, "snapshots", NULL};
	struct gone g = {folder, names};
	return geteuid() ? files_within(drop_now, &g, e) : 0;
}

const struct kind_files kind_zone_files = {.copy = copy, .drop = drop, .pack = pack, .diff = diff};
