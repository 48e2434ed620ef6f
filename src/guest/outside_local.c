/* What needs the host's files, done: by a helper, or by a monitor that is not confined. Nothing
 * here asks whether it may. */
#include "base/own.h"
#include "guest/cgroup.h"
#include "guest/guest.h"
#include "guest/limits.h"
#include "guest/outside_impl.h"
#include "guest/record.h"
#include "guest/snapshot.h"
#include "guest/spec.h"
#include "store/blob.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char *draft_of(const char *path)
{
	char *s;
	must(asprintf(&s, "%s.draft", path) > 0);
	return s;
}

int draft_open(const char *path, struct err *e)
{
	auto_mem char *draft = draft_of(path), *dir = strdup(path);
	must(dir);
	char *slash = strrchr(dir, '/');
	if (slash) *slash = 0;
	if (slash && slash != dir && mkdir(dir, 0755) && errno != EEXIST)
		return fail(e, -errno, "%s: %s", dir, strerror(errno));
	(void)unlink(draft);
	int fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? fail(e, -errno, "%s: %s", draft, strerror(errno)) : fd;
}

int draft_keep(const char *path, struct err *e)
{
	auto_mem char *draft = draft_of(path);
	if (rename(draft, path)) return fail(e, -errno, "%s: %s", path, strerror(errno));
	snapshot_mark(path);
	return 0;
}

void draft_drop(const char *path)
{
	auto_mem char *draft = draft_of(path);
	(void)unlink(draft);
}

int log_open(int folder, bool full)
{
	if (full) (void)renameat(folder, "console.log", folder, "console.log.1");
	return openat(folder, "console.log", O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
		      0600);
}

int disk_copy(const struct spec *s, unsigned n, const char *to, struct err *e)
{
	if (n == OUTSIDE_VARS && s->vars && s->vars_kept) return blob_copy(s->vars, to, e);
	if (n >= s->ndisks || s->disk[n].readonly) return fail(e, -EINVAL, "no such disk");
	return blob_copy(s->disk[n].path, to, e);
}

int limits_keep(const char *words, int folder, struct err *e)
{
	struct record r;
	int bad = record_read(&r, folder, e);
	if (bad) return bad == -ENOENT ? 0 : bad;
	bad = limits_take(&r.spec.limits, words, e);
	if (!bad) bad = limits_check(&r.spec.limits, spec_is_zone(&r.spec) ? 0 : r.spec.memory, e);
	if (!bad) bad = record_write(&r, folder, e);
	record_done(&r);
	return bad;
}

static struct cgroup *group[CGROUPS]; /* the monitor's; of whoever makes them */

int group_set(unsigned what, uint64_t v, int pid, struct err *e)
{
	int r = group[what] ? 0 : cgroup_open(&group[what], what, pid, e);
	if (r) return r;
	return what == CGROUP_CPU ? cgroup_shares(group[what], v, e)
				  : cgroup_memory(group[what], v, e);
}

void ungroup(void)
{
	for (unsigned i = 0; i < CGROUPS; i++) {
		cgroup_close(group[i]);
		group[i] = NULL;
	}
}

int vsock_dial(uint32_t port, int folder)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/vsock_%u", folder, port);
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at))) return -errno;
	return give_fd(&fd);
}
