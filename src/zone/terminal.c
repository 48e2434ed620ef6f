#include "zone/terminal.h"
#include "base/pass.h"
#include "zone/sys.h"
#include <errno.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vfs.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

/* A file of that name that is no terminal's would be the zone's trick. */
static int ptmx_open(int root)
{
	static const char *const paths[] = {"dev/pts/ptmx", "dev/ptmx"};
	for (unsigned i = 0; i < 2; i++) {
		struct statfs s;
		auto_fd int at = sys_openat2(root, paths[i], O_PATH, 0,
					     RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		if (at < 0 || fstatfs(at, &s) || s.f_type != DEVPTS_SUPER_MAGIC) continue;
		int fd = sys_openat2(root, paths[i], O_RDWR | O_NOCTTY, 0,
				     RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		if (fd >= 0 && !fstatfs(fd, &s) && s.f_type == DEVPTS_SUPER_MAGIC) return fd;
		if (fd >= 0) (void)close(fd);
	}
	return open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

int terminal_make(int root, const struct spec_size *size, int *master, int *slave, struct err *e)
{
	int off = 0;
	*slave = -1;
	*master = ptmx_open(root);
	if (*master >= 0 && !ioctl(*master, TIOCSPTLCK, &off))
		*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		return fail(e, -errno, "process.terminal: no pseudo-terminal to be had: %s",
			    strerror(errno));
	struct winsize w = {.ws_row = size ? (unsigned short)size->height : 0,
			    .ws_col = size ? (unsigned short)size->width : 0};
	if (size && (size->height || size->width)) (void)ioctl(*master, TIOCSWINSZ, &w);
	return 0;
}

int terminal_send(const char *path, int master, struct err *e)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(to.sun_path))
		return fail(e, -ENAMETOOLONG, "--console-socket %s: too long", path);
	memcpy(to.sun_path, path, strlen(path));
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return fail(e, -errno, "--console-socket %s: %s", path, strerror(errno));
	if (!pass_send(fd, "/dev/ptmx", 9, master))
		return fail(e, -errno, "--console-socket %s: %s", path, strerror(errno));
	return 0;
}

static bool bytes_move(int from, int to)
{
	char b[4096];
	ssize_t n = read(from, b, sizeof(b)), done = 0;
	if (n <= 0) return n < 0 && (errno == EINTR || errno == EAGAIN);
	while (done < n) {
		ssize_t m = write(to, b + done, (size_t)(n - done));
		if (m < 0 && errno != EINTR) return false;
		if (m > 0) done += m;
	}
	return true;
}

void terminal_relay(int master, int pidfd)
{
	struct termios was, raw;
	bool tty = !tcgetattr(0, &was);
	struct winsize w;
	if (tty) {
		raw = was;
		cfmakeraw(&raw);
		(void)tcsetattr(0, TCSANOW, &raw);
		if (!ioctl(0, TIOCGWINSZ, &w)) (void)ioctl(master, TIOCSWINSZ, &w);
	}
	struct pollfd p[3] = {{0, POLLIN, 0}, {master, POLLIN, 0}, {pidfd, POLLIN, 0}};
	for (;;) {
		if (poll(p, 3, -1) < 0 && errno != EINTR) break;
		if (p[0].revents && !bytes_move(0, master)) p[0].fd = -1;
		if (p[1].revents && !bytes_move(master, 1)) break;
		if (p[2].revents && !(p[1].revents & POLLIN)) break;
		p[0].revents = p[1].revents = p[2].revents = 0;
	}
	if (tty) (void)tcsetattr(0, TCSANOW, &was);
}
