/* The NAT of one guest as a process of its own. It is there so that a monitor needs no network: who
 * takes that over has a socket to this process, and no other. One thread, which reads frames from
 * that socket straight into libslirp; both sides believe each other hostile. It has this host's
 * network, and no files, no privileges, and no processes. */
#include "base/file.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/own.h"
#include "base/title.h"
#include "base/usage.h"
#include "net/lan_wire.h"
#include "net/nat_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* syscalls nat: recvmmsg */
/* syscalls loop: wait4 pidfd_send_signal */

enum { SNDBUF = 1 << 20 };

struct server {
	struct port port; /* wired to nat */
	struct port *nat;
	struct nat_cable cable;
	bool refused; /* the socket is full */
	uint8_t frame[LAN_BATCH][LAN_FRAME];
};
struct nat_process {
	int fd, pid, pidfd;
};

/* --- frames -------------------------------------------------------------------------------- */

static bool server_large(struct port *p, const struct offload *o, const uint8_t *frame, size_t len)
{
	struct server *s = (struct server *)p;
	uint8_t head[OFFLOAD_HEAD];
	struct iovec v[] = {{head, sizeof(head)}, {(void *)frame, len}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	if (s->refused) return false;
	offload_write(o, head);
	s->refused = sendmsg(s->cable.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		     (errno == EAGAIN || errno == ENOBUFS);
	return !s->refused;
}

static bool server_deliver(struct port *p, const struct iovec *iov, int n)
{
	must(n == 1);
	return server_large(p, &(struct offload){0}, iov->iov_base, iov->iov_len);
}

static void server_free(struct port *p) { (void)p; } /* dies with the process */
static const struct port_ops server_ops = {"process",	server_deliver, NULL,
					   server_free, server_large,	NULL};

void nat_packet(struct nat *n, uint8_t *at, size_t len)
{
	if (len <= OFFLOAD_HEAD) return;
	struct offload o = offload_read(at);
	uint8_t *frame = at + OFFLOAD_HEAD;
	if (!offload_check(&o, frame, len - OFFLOAD_HEAD)) return;
	offload_finish(&o, frame, len - OFFLOAD_HEAD);
	nat_input(n, frame, len - OFFLOAD_HEAD);
}

/* False: the monitor is gone. */
static bool frames_take(struct server *s, struct nat *n)
{
	struct mmsghdr m[LAN_BATCH];
	struct iovec v[LAN_BATCH];
	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < LAN_BATCH; i++) {
		v[i] = (struct iovec){s->frame[i], LAN_FRAME};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
	}
	int got = recvmmsg(s->cable.fd, m, LAN_BATCH, MSG_DONTWAIT, NULL);
	if (got < 0) return errno == EAGAIN || errno == EINTR;
	for (int i = 0; i < got; i++) {
		if (!m[i].msg_len) return false;
		if (!(m[i].msg_hdr.msg_flags & MSG_TRUNC)) nat_packet(n, s->frame[i], m[i].msg_len);
	}
	s->cable.plugged = true;
	return got > 0;
}

static struct server *server_of(const struct nat_cable *c)
{
	return container_of(c, struct server, cable);
}

static short cable_wants(const struct nat_cable *c)
{
	return server_of(c)->refused ? POLLIN | POLLOUT : POLLIN;
}

static bool cable_ready(const struct nat_cable *c, struct nat *n, short got)
{
	struct server *s = server_of(c);
	if (got & (POLLOUT | POLLHUP | POLLERR)) s->refused = false;
	return !(got & (POLLIN | POLLHUP | POLLERR)) || frames_take(s, n);
}

/* --- the process --------------------------------------------------------------------------- */

/* Keys of the terminal are for the monitor, whose end is ours. Its words go where the monitor's do.
 */
static int apart(const int *keep, pid_t parent)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	fds_keep(keep, 2);
	(void)setsid();
	for (int i = 1; i < 32; i++) (void)signal(i, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	jail_tell(NULL);
	title_set("lodge-nat");
	return getppid() == parent ? 0 : -ESRCH;
}

static int start(struct server *s, const struct nat_forward *fwd, unsigned nfwd,
		 struct jail_plan *plan, struct err *e)
{
	if (jail_is_wanted()) jail_begin(plan);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* privileges that came and went have undone it */
	int r = nat_make(&s->nat, NULL, fwd, nfwd, e);
	if (r < 0) return r;
	s->port.ops = &server_ops;
	port_wire(&s->port, s->nat);
	if (jail_is_on()) jail_close(plan, JAIL_NAT);
	return 0;
}

static void welcome(int fd, const struct err *e, const char *words)
{
	struct lan_welcome w = {.code = le32_of((uint32_t)-e->code)};
	(void)snprintf(w.words, sizeof(w.words), "%.255s", e->code ? e->msg : words);
	(void)send(fd, &w, sizeof(w), MSG_NOSIGNAL);
}

static _Noreturn void process_main(int fd, int keep, pid_t parent, const struct nat_forward *fwd,
				   unsigned nfwd)
{
	static struct server s;
	struct jail_plan plan = {.keep = {"/etc/resolv.conf"}, .nkept = 1, .net = true};
	struct err e = {0};
	int r = apart((const int[]){fd, keep}, parent);
	if (r < 0) _exit(1);
	s.cable = (struct nat_cable){.fd = fd, .wants = cable_wants, .ready = cable_ready};
	r = start(&s, fwd, nfwd, &plan, &e);
	welcome(fd, &e, plan.what);
	if (r == 0) nat_serve(s.nat, &s.cable);
	_exit(r ? 1 : 0);
}

int nat_process_pid(const struct nat_process *p) { return p->pid; }

/* --- the monitor --------------------------------------------------------------------------- */

int nat_process_new(struct nat_process **out, const struct nat_forward *fwd, unsigned nfwd,
		    int keep, struct err *e)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return fail(e, -errno, "network user: socketpair: %s", strerror(errno));
	for (unsigned i = 0; i < 2; i++)
		(void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &(int){SNDBUF}, sizeof(int));
	(void)fflush(NULL);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) process_main(ends[1], keep, parent, fwd, nfwd);
	(void)close(ends[1]);
	if (pid < 0) {
		(void)close(ends[0]);
		return fail(e, -errno, "network user: no process for it: %s", strerror(errno));
	}
	struct nat_process *p = calloc(1, sizeof(*p));
	must(p);
	*p = (struct nat_process){ends[0], pid, (int)syscall(SYS_pidfd_open, pid, 0)};
	usage_add(pid);
	*out = p;
	return 0;
}

void nat_process_free(struct nat_process *p)
{
	if (!p) return;
	drop_fd(&p->fd);
	(void)syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
	usage_remove(p->pid);
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) {
	}
	drop_fd(&p->pidfd);
	free(p);
}

static void port_freed(void *ctx) { nat_process_free(ctx); }

static int hear(const struct nat_process *p, struct err *e)
{
	struct lan_welcome w;
	ssize_t n;
	while ((n = recv(p->fd, &w, sizeof(w), 0)) < 0 && errno == EINTR) {
	}
	if (n != sizeof(w)) return fail(e, -EIO, "network user: its process ended at once");
	w.words[sizeof(w.words) - 1] = 0;
	uint32_t code = le32_get(w.code);
	if (code) return fail(e, code < 4096 ? -(int)code : -EPROTO, "%s", w.words);
	if (w.words[0])
		log_warn("network user: its process is less confined on this host: %sfor more see: "
			 "lodge doctor",
			 w.words);
	return 0;
}

int nat_process_plug(struct port **out, struct nat_process *p, struct err *e)
{
	int r = hear(p, e);
	return r ? r : lan_port_at(out, "user", give_fd(&p->fd), port_freed, p, e);
}
