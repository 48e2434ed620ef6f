/* state.json is written beside its place and renamed: readers need no lock to see a whole one. */
#include "zone/place.h"
#include "base/buf.h"
#include "base/file.h"
#include "zone/sys.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

const char *const place_words[] = {"creating", "created", "running", "paused", "stopped"};
enum { STATE_MAX = 1 << 20 };

/* podman without rights is root of a user namespace, where /run is still the host's root's. */
static bool is_hosts_root(void)
{
	auto_buf struct buf b = {0};
	struct err e;
	unsigned inside, outside, n;
	if (geteuid() || file_read(&b, "/proc/self/uid_map", 1 << 16, &e)) return !geteuid();
	return sscanf(b.at, "%u %u %u", &inside, &outside, &n) == 3 && n == UINT32_MAX;
}

int places_open(const char *root, struct err *e)
{
	char path[4096];
	const char *run = getenv("XDG_RUNTIME_DIR");
	if (!root && run && *run && !is_hosts_root()) {
		(void)snprintf(path, sizeof(path), "%s/lodge-oci", run);
		root = path;
	}
	if (!root) root = "/run/lodge-oci";
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) return fd;
	if (dir_make(root, e)) return fail_in(e, "--root");
	(void)chmod(root, 0700);
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? fail(e, -errno, "--root %s: %s", root, strerror(errno)) : fd;
}

static int id_check(const char *id, struct err *e)
{
	static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				  "_+-.";
	if (!*id || *id == '.' || strlen(id) > 200 || strspn(id, may) != strlen(id))
		return fail(e, -EINVAL, "%s: no name for a zone: letters, digits, _ + - .", id);
	return 0;
}

static int dir_open(struct place *p)
{
	p->dir = sys_openat2(p->root, p->id, O_RDONLY | O_DIRECTORY, 0,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	return p->dir < 0 ? -errno : 0;
}

int place_make(struct place *p, int root, const char *id, struct arena *a, struct err *e)
{
	*p = (struct place){.root = root, .dir = -1, .id = id, .a = a};
	int r = id_check(id, e);
	if (r) return r;
	if (mkdirat(root, id, 0700))
		return fail(e, -errno,
			    errno == EEXIST ? "zone %s: there is one already"
					    : "zone %s: its folder cannot be made",
			    id);
	r = dir_open(p);
	if (r || flock(p->dir, LOCK_EX))
		return fail(e, -errno, "zone %s: its folder: %s", id, strerror(errno));
	return 0;
}

/* state.json. */
struct kept {
	int64_t pid;
	uint64_t started;
	const char *bundle, *rootfs, *cgroup, *created, *version;
	bool systemd;
	struct pairs annotations;
};
static const struct decode_field fields[] = {DECODE_AT(kept, pid, "pid", I64),
					     DECODE_AT(kept, started, "started", U64),
					     DECODE_AT(kept, bundle, "bundle", TEXT),
					     DECODE_AT(kept, rootfs, "rootfs", TEXT),
					     DECODE_AT(kept, cgroup, "cgroup", TEXT),
					     DECODE_AT(kept, created, "created", TEXT),
					     DECODE_AT(kept, version, "ociVersion", TEXT),
					     DECODE_AT(kept, systemd, "systemd", FLAG),
					     DECODE_AT(kept, annotations, "annotations", PAIRS),
					     DECODE_END};

static int state_read(struct place *p, struct err *e)
{
	auto_buf struct buf b = {0};
	struct kept k = {0};
	if (!group_read(p->dir, "state.json", &b) || b.len > STATE_MAX) return 0;
	auto_json struct json_object *o = decode_text(b.at, b.len, e);
	int r = o ? decode_object(o, "", fields, &k, p->a, e) : e->code;
	if (r) return fail_in(e, "zone %s: state.json", p->id);
	p->pid = (pid_t)k.pid;
	p->started = k.started;
	p->bundle = k.bundle;
	p->rootfs = k.rootfs;
	p->cgroup = k.cgroup;
	p->created = k.created;
	p->version = k.version;
	p->systemd = k.systemd;
	p->annotations = k.annotations;
	return 0;
}

int place_open(struct place *p, int root, const char *id, bool lock, struct arena *a, struct err *e)
{
	*p = (struct place){.root = root, .dir = -1, .id = id, .a = a};
	int r = id_check(id, e);
	if (r) return r;
	if ((r = dir_open(p)))
		return fail(e, r,
			    r == -ENOENT ? "zone %s: container does not exist"
					 : "zone %s: its folder cannot be read",
			    id);
	if (lock && !place_relock(p))
		return fail(e, -ENOENT, "zone %s: container does not exist", id);
	return state_read(p, e);
}

/* The socket's address is the folder's descriptor: a path of any length will do. */
static int start_socket(const struct place *p, bool ours, struct err *e)
{
	const char *what = ours ? "its start socket" : "cannot be started";
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/start", p->dir);
	auto_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || (ours ? bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1)
			    : connect(fd, (struct sockaddr *)&at, sizeof(at))))
		return fail(e, -errno, "zone %s: %s: %s", p->id, what, strerror(errno));
	return give_fd(&fd);
}

int place_listen(const struct place *p, struct err *e) { return start_socket(p, true, e); }

int place_connect(const struct place *p, struct err *e)
{
	int fd = start_socket(p, false, e);
	if (fd >= 0) (void)unlinkat(p->dir, "start", 0);
	return fd;
}

void place_unlock(const struct place *p) { (void)flock(p->dir, LOCK_UN); }

bool place_relock(const struct place *p)
{
	struct stat st;
	return !flock(p->dir, LOCK_EX) && !fstat(p->dir, &st) && st.st_nlink;
}

static void add_text(struct json_object *o, const char *key, const char *v)
{
	(void)json_object_object_add(o, key, json_object_new_string(v ? v : ""));
}

static struct json_object *state_object(const struct place *p, const char *status, pid_t pid,
					bool more)
{
	struct json_object *o = json_object_new_object(), *notes = json_object_new_object();
	add_text(o, "ociVersion", p->version);
	add_text(o, "id", p->id);
	if (status) add_text(o, "status", status);
	(void)json_object_object_add(o, "pid", json_object_new_int(pid));
	add_text(o, "bundle", p->bundle);
	if (more) {
		add_text(o, "rootfs", p->rootfs);
		add_text(o, "created", p->created);
	}
	for (unsigned i = 0; i < p->annotations.n; i++)
		add_text(notes, p->annotations.key[i], p->annotations.value[i]);
	(void)json_object_object_add(o, "annotations", notes);
	return o;
}

void place_state(const struct place *p, const char *status, pid_t pid, bool more, struct buf *to)
{
	struct json_object *o = state_object(p, status, pid, more);
	buf_fmt(to, "%s",
		json_object_to_json_string_ext(
			o, JSON_C_TO_STRING_NOSLASHESCAPE |
				   (more ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
					 : JSON_C_TO_STRING_PLAIN)));
	(void)json_object_put(o);
}

int place_save(const struct place *p, struct err *e)
{
	struct json_object *o = state_object(p, NULL, p->pid, true);
	(void)json_object_object_add(o, "started", json_object_new_uint64(p->started));
	add_text(o, "cgroup", p->cgroup);
	(void)json_object_object_add(o, "systemd", json_object_new_boolean(p->systemd));
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE);
	size_t n = strlen(text);
	auto_fd int fd = openat(p->dir, "state.json.new",
				O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 || write(fd, text, n) != (ssize_t)n ||
				renameat(p->dir, "state.json.new", p->dir, "state.json")
			? -errno
			: 0;
	(void)json_object_put(o);
	return r ? fail(e, r, "zone %s: writing its state: %s", p->id, strerror(-r)) : 0;
}

/* Field 22 of /proc/PID/stat, counted from behind the name, which may hold anything. */
uint64_t place_start_time(pid_t pid)
{
	char path[40], text[1024], state;
	uint64_t start = 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0) return 0;
	text[n] = 0;
	const char *at = strrchr(text, ')');
	if (!at || sscanf(at,
			  ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			  "%*s %*s %lu",
			  &state, &start) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : start;
}

bool place_alive(const struct place *p)
{
	return p->pid > 0 && p->started && place_start_time(p->pid) == p->started;
}

enum place_status place_status(const struct place *p, const struct group *g)
{
	if (!p->pid) return PLACE_CREATING;
	if (!place_alive(p)) return PLACE_STOPPED;
	if (g && group_frozen(g)) return PLACE_PAUSED;
	if (g && !faccessat(p->dir, "paused", F_OK, AT_SYMLINK_NOFOLLOW)) return PLACE_PAUSED;
	return faccessat(p->dir, "start", F_OK, AT_SYMLINK_NOFOLLOW) ? PLACE_RUNNING
								     : PLACE_CREATED;
}

void place_remove(struct place *p)
{
	static const char *const files[] = {"state.json", "state.json.new", "config.json", "start",
					    "paused"};
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		(void)unlinkat(p->dir, files[i], 0);
	(void)unlinkat(p->root, p->id, AT_REMOVEDIR);
}

void place_close(struct place *p)
{
	if (p->dir >= 0) (void)close(p->dir);
	p->dir = -1;
}
