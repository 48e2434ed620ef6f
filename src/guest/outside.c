/* The monitor's side of the helper outside: one request, one answer, over a socket pair; a
 * descriptor may come with the answer. */
#include "base/buf.h"
#include "base/jail.h"
#include "base/own.h"
#include "base/pass.h"
#include "guest/arrival.h"
#include "guest/guest.h"
#include "guest/limits.h"
#include "guest/network.h"
#include "guest/outside_impl.h"
#include "guest/record.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* an order and its answer */
static int ours = -1, hold = -1;
static pid_t helper;

/* In a signal handler, on any thread; nobody waits for the answer. */
static void last_words(const char *words)
{
	static struct order o = {.kind = LAST_WORDS};
	(void)strncpy(o.text, words, sizeof(o.text) - 1);
	(void)!write(ours, &o, sizeof(o));
}

/* Of the two the child is the guest's, in a namespace of processes of its own. */
static int start_behind(struct helper_of *of, const int *ends, struct err *e)
{
	int pid = fork();
	if (pid < 0) return fail(e, -errno, "fork: %s", strerror(errno));
	of->monitor = pid;
	if (pid > 0) helper_main(of, ends[1]);
	(void)setsid();
	return 0;
}

static int start_beside(struct helper_of *of, const int *ends, struct err *e)
{
	of->monitor = (int)getpid();
	helper = fork();
	if (helper == 0) helper_main(of, ends[1]);
	return helper < 0 ? fail(e, -errno, "fork: %s", strerror(errno)) : 0;
}

int outside_start(const struct spec *s, const struct guest_home *home, struct err *e)
{
	int ends[2], holds[2] = {-1, -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return fail(e, -errno, "socketpair: %s", strerror(errno));
	(void)!pipe2(holds, O_CLOEXEC);
	(void)fflush(NULL);
	struct helper_of of = {
		.spec = s, .home = home, .starter = starter_new(s), .held = holds[0]};
	bool behind = home && home->behind && jail_is_wanted() && !jail_own_pids();
	int r = behind ? start_behind(&of, ends, e) : start_beside(&of, ends, e);
	(void)close(ends[1]);
	drop_fd(&holds[0]);
	drop_fd(&of.starter);
	ours = ends[0];
	hold = holds[1];
	jail_tell(last_words);
	if (r) outside_end();
	return r;
}

int outside_hold(void) { return hold; }

void outside_held(void)
{
	drop_fd(&hold);
	hold = -1;
}

void outside_end(void)
{
	outside_held();
	drop_fd(&ours);
	ours = -1;
	while (helper > 0 && waitpid(helper, NULL, 0) < 0 && errno == EINTR) {
	}
	helper = 0;
}

bool outside_is_there(void) { return ours >= 0; }
int outside_fd(void) { return ours; }

/* ---- the monitor */
static int ask_more(enum order_kind kind, unsigned n, const char *text, const struct lan_hello *h,
		    int *fd, struct err *e)
{
	static struct order o; /* under the lock */
	struct err said = {0};
	int got = -1;
	if (strlen(text) >= (h ? OUTSIDE_NET : OUTSIDE_TEXT))
		return fail(e, -ENAMETOOLONG, "too long for the helper");
	(void)pthread_mutex_lock(&turn);
	o = (struct order){.kind = kind, .n = n};
	(void)strcpy(o.text, text);
	if (h) memcpy(o.text + OUTSIDE_NET, h, sizeof(*h));
	bool good = pass_send(ours, &o, sizeof(o), -1) &&
		    pass_receive(ours, &said, sizeof(said), &got) == sizeof(said);
	(void)pthread_mutex_unlock(&turn);
	if (!good) return fail(e, -EPIPE, "the guest's helper process is gone");
	said.msg[sizeof(said.msg) - 1] = 0;
	if (said.code >= 0 && fd && got < 0) said.code = -EPROTO;
	if (said.code >= 0 && fd) *fd = give_fd(&got);
	drop_fd(&got);
	return said.code < 0 ? fail(e, said.code, "%s", said.msg) : 0;
}

static int ask(enum order_kind kind, unsigned n, const char *text, int *fd, struct err *e)
{
	return ask_more(kind, n, text, NULL, fd, e);
}

int outside_named(const char *name, struct err *e)
{
	return ours < 0 ? 0 : ask(NAMED, 0, name, NULL, e);
}

int outside_state(const struct guest_state *s, int folder, struct err *e)
{
	auto_buf struct buf b = {0};
	if (ours < 0) return state_write(s, folder, e);
	state_format(s, &b);
	return ask(STATE, 0, b.at, NULL, e);
}

int outside_log(int folder, bool full)
{
	int fd = -1;
	if (ours < 0) return log_open(folder, full);
	int r = ask(LOG, full, "", &fd, NULL);
	if (r < 0) errno = -r;
	return fd;
}

int outside_draft(const char *path, struct err *e)
{
	int fd = -1, r = ours < 0 ? draft_open(path, e) : ask(DRAFT, 0, path, &fd, e);
	return ours < 0 || r < 0 ? r : fd;
}

int outside_keep(const char *path, struct err *e)
{
	return ours < 0 ? draft_keep(path, e) : ask(KEEP, 0, path, NULL, e);
}

void outside_drop(const char *path)
{
	if (ours < 0)
		draft_drop(path);
	else
		(void)ask(DROP, 0, path, NULL, NULL);
}

int outside_copy(const struct spec *s, unsigned n, const char *to, struct err *e)
{
	return ours < 0 ? disk_copy(s, n, to, e) : ask(COPY, n, to, NULL, e);
}

int outside_arrived(const struct arrival *a, struct err *e)
{
	return ours < 0 ? a->keep(a->ctx, e) : ask(ARRIVED, 0, "", NULL, e);
}

int outside_rename(const char *to, struct err *e) { return ask(RENAME, 0, to, NULL, e); }

void outside_unlisten(void) { (void)ask(UNLISTEN, 0, "", NULL, NULL); }

int outside_remove(struct err *e) { return ask(REMOVE, 0, "", NULL, e); }

int outside_dial(const char *network, const struct lan_hello *h, int *fd, struct err *e)
{
	return ours < 0 ? network_dial(network, h, fd, e) : ask_more(DIAL, 0, network, h, fd, e);
}

int outside_limits(const struct limits *l, int folder, struct err *e)
{
	auto_buf struct buf b = {0};
	struct limits all = *l;
	const char *name;
	for (unsigned i = 0; (name = limits_name(i)); i++)
		buf_fmt(&b, "%s%s %llu", i ? " " : "", name,
			(unsigned long long)*limits_at(&all, i));
	return ours < 0 ? limits_keep(b.at, folder, e) : ask(LIMITS, 0, b.at, NULL, e);
}

int outside_group(unsigned what, uint64_t v, struct err *e)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	return ours < 0 ? group_set(what, v, (int)getpid(), e) : ask(GROUP, what, text, NULL, e);
}

void outside_ungroup(void)
{
	if (ours < 0)
		ungroup();
	else
		(void)ask(UNGROUP, 0, "", NULL, NULL);
}

int outside_vsock(uint32_t port, int folder)
{
	int fd = -1, r = ours < 0 ? vsock_dial(port, folder) : ask(VSOCK, port, "", &fd, NULL);
	return ours < 0 || r < 0 ? r : fd;
}

void outside_ungdb(const char *path)
{
	if (ours < 0)
		(void)unlink(path);
	else
		(void)ask(UNGDB, 0, "", NULL, NULL);
}
