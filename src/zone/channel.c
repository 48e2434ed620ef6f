#include "zone/channel.h"
#include "base/own.h"
#include "base/pass.h"
#include "zone/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int channel_pair(int fd[2], struct err *e)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd))
		return fail(e, -errno, "a socket pair: %s", strerror(errno));
	return 0;
}

int channel_say(int to, enum channel_word w, int code, const char *text, int fd)
{
	struct channel_msg m = {.what = (int32_t)w, .code = code};
	(void)snprintf(m.text, sizeof(m.text), "%s", text ? text : "");
	return pass_send(to, &m, sizeof(m), fd) ? 0 : -EPIPE;
}

int channel_hear(int from, struct channel_msg *m, int *fd, struct err *e)
{
	for (bool again = false;;) {
		m->what = 0; /* of a warning before the end nothing is left */
		ssize_t n = pass_receive(from, m, sizeof(*m), fd);
		/* It ended and left a word of ours unread: what it said itself comes after that. */
		if (n < 0 && errno == ECONNRESET && !again && (again = true)) continue;
		if (n != (ssize_t)sizeof(*m))
			return fail(e, -EPIPE, "the zone's first process ended while it was made");
		m->text[sizeof(m->text) - 1] = 0;
		if (m->what == SAY_ERROR)
			return fail(e, m->code < 0 ? m->code : -EIO, "%s", m->text);
		if (m->what != SAY_WARNING) return 0;
		oci_log(OCI_WARNING, "%s", m->text);
	}
}

int channel_wait(int from, enum channel_word w, struct err *e)
{
	struct channel_msg m;
	int r = channel_hear(from, &m, NULL, e);
	if (r) return r;
	return m.what == (int32_t)w ? m.code
				    : fail(e, -EPROTO, "'%c' came instead of '%c'", m.what, w);
}

int channel_fail(int to, const struct err *e)
{
	(void)channel_say(to, SAY_ERROR, e->code, e->msg, -1);
	return e->code;
}
