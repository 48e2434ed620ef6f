/* Whoever answers SCMP_ACT_NOTIFY gets the filter's listener and the "container process state" of
 * the runtime specification. The zone's process may make no call any more that its own filter would
 * hold, so it sends nothing: its descriptor is taken from outside, and a byte of its memory says
 * so. */
#include "base/buf.h"
#include "base/pass.h"
#include "zone/birth.h"
#include "zone/sys.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { ROUNDS = 10000 };

static bool is_listener(int fd)
{
	char path[40], target[64];
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = 0;
	return strstr(target, "seccomp notify");
}

/* It is there as soon as the filter is. */
static int descriptor_take(pid_t pid, int number)
{
	auto_fd int pidfd = sys_pidfd_open(pid);
	for (unsigned i = 0; pidfd >= 0 && i < ROUNDS; i++) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
		if (fd >= 0 && is_listener(fd)) return fd;
		if (fd >= 0)
			(void)close(fd);
		else if (errno == ESRCH)
			break;
		(void)usleep(500);
	}
	return -1;
}

static void state_make(const struct place *p, const struct filter *f, struct buf *to)
{
	struct err e;
	auto_buf struct buf state = {0};
	struct json_object *o = json_object_new_object(), *fds = json_object_new_array();
	place_state(p, "creating", p->pid, false, &state);
	(void)json_object_array_add(fds, json_object_new_string("seccompFd"));
	(void)json_object_object_add(o, "ociVersion", json_object_new_string("1.0.2"));
	(void)json_object_object_add(o, "fds", fds);
	(void)json_object_object_add(o, "pid", json_object_new_int(p->pid));
	if (f->metadata)
		(void)json_object_object_add(o, "metadata", json_object_new_string(f->metadata));
	(void)json_object_object_add(o, "state", decode_text(state.at, state.len, &e));
	buf_fmt(to, "%s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
}

static int give(const char *path, const struct buf *state, int fd, struct err *e)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	auto_fd int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) >= sizeof(to.sun_path))
		return fail(e, -ENAMETOOLONG, "linux.seccomp.listenerPath: too long");
	memcpy(to.sun_path, path, strlen(path));
	if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof(to)) ||
	    !pass_send(s, state->at, state->len, fd))
		return fail(e, -errno, "linux.seccomp.listenerPath: %s: %s", path, strerror(errno));
	return 0;
}

int listener_give(const struct place *p, const struct filter *f, int number, uint64_t at,
		  struct err *e)
{
	char path[40], one = 1;
	auto_buf struct buf state = {0};
	auto_fd int fd = descriptor_take(p->pid, number), mem = -1;
	if (fd < 0) return fail(e, -EPIPE, "linux.seccomp: its listener did not come");
	state_make(p, f, &state);
	int r = give(f->listener, &state, fd, e);
	if (r) return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)p->pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0 || pwrite(mem, &one, 1, (off_t)at) != 1)
		return fail(e, -errno, "linux.seccomp: telling the zone: %s", strerror(errno));
	return 0;
}
