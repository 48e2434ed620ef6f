/* Descriptors go as ancillary data of a message that is not empty (unix(7)). */
#include "base/pass.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* syscalls loop lan: sendmsg recvmsg */

union ancillary {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

bool pass_send(int to, const void *p, size_t n, int fd)
{
	struct iovec v = {(void *)p, n};
	union ancillary c = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t done;
	if (fd >= 0) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
		memcpy(CMSG_DATA(&c.head), &fd, sizeof(fd));
	}
	while ((done = sendmsg(to, &m, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
	}
	return done == (ssize_t)n;
}

ssize_t pass_receive(int from, void *p, size_t n, int *fd)
{
	struct iovec v = {p, n};
	union ancillary c;
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t got;
	if (fd) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
	}
	while ((got = recvmsg(from, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
	}
	struct cmsghdr *h = got > 0 && fd ? CMSG_FIRSTHDR(&m) : NULL;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(h), sizeof(*fd));
	return got;
}
