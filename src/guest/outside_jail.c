/* The confinement of the helper: less than a monitor's, since it is there for what needs names.
 * They are those of its guest: Landlock's rules are made before the monitor can ask for anything,
 * and stay with folders that are renamed. Switches are started by a process before it that is not
 * confined, and that understands a number and nothing else. */
#include "base/file.h"
#include "base/jail.h"
#include "base/own.h"
#include "base/text.h"
#include "base/title.h"
#include "guest/cgroup.h"
#include "guest/guest.h"
#include "guest/network.h"
#include "guest/outside_impl.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* syscalls helper: openat* readlink readlinkat access faccessat faccessat2 getdents64 getcwd fcntl
 * flock ftruncate fallocate fsync fdatasync pread64 pwrite64 copy_file_range ioctl fadvise64
 * fchmod fchmodat rename renameat renameat2 link linkat unlink unlinkat mkdir mkdirat rmdir
 * geteuid getuid fstatfs statx utimensat sendmsg recvmsg sendto recvfrom
 * socket connect setsockopt */

enum { FILES = 128 };

/* ---- what it keeps */
static void permit_in(int rules, const char *root, const char *below, unsigned may)
{
	auto_mem char *path = text_format("%s/%s", root, below);
	jail_permit(rules, path, may);
}

/* It gets its name at the end; what had that before it moved away goes. */
static void permit_arrival(int rules, const struct helper_needs *n)
{
	auto_mem char *old = text_format("guests/%s", n->spec->name);
	permit_in(rules, n->root, "guests", JAIL_LIST);
	permit_in(rules, n->root, old, JAIL_READ | JAIL_WRITE);
}

/* Its folder may be renamed, and removed if that was asked for: the way there is .gone. */
static void permit_store(int rules, const struct helper_needs *n)
{
	jail_permit(rules, n->root, 0);
	permit_in(rules, n->root, "lock", JAIL_READ | JAIL_WRITE);
	if (n->folder < 0) return;
	permit_in(rules, n->root, "guests", JAIL_FOLDERS);
	if (n->spec->arrival) permit_arrival(rules, n);
	if (!n->removes) return;
	auto_mem char *gone = text_format("%s/guests/.gone", n->root);
	(void)mkdir(gone, 0777);
	jail_permit(rules, gone, JAIL_READ | JAIL_WRITE);
}

static void permit_networks(int rules, const struct helper_needs *n)
{
	for (unsigned i = 0; i < n->spec->nnets; i++) {
		auto_mem char *dir = text_format("networks/%s", n->spec->net[i]);
		if (store_name_ok(n->spec->net[i])) permit_in(rules, n->root, dir, JAIL_READ);
	}
}

static void permit_disks(int rules, const struct spec *s)
{
	for (unsigned i = 0; i < s->ndisks; i++) jail_permit(rules, s->disk[i].path, JAIL_READ);
	if (s->vars && s->vars_kept) jail_permit(rules, s->vars, JAIL_READ);
}

/* The folder of the socket that a debugger comes to, which it removes. */
static void permit_gdb(int rules, const struct spec *s)
{
	if (!s->gdb || strncmp(s->gdb, "unix:", 5)) return;
	auto_mem char *path = text_format("%s", s->gdb + 5);
	char *slash = strrchr(path, '/');
	if (slash) slash[slash == path] = 0;
	jail_permit(rules, slash ? path : ".", JAIL_SOCKETS);
}

void helper_deaf(void)
{
	for (int i = 1; i < 32; i++)
		if (i != SIGCHLD) (void)signal(i, SIG_IGN);
}

void helper_settle(const struct helper_needs *n)
{
	char folder[32];
	int rules = jail_rules();
	auto_mem char *sockets = store_sockets();
	if (n->root) permit_store(rules, n);
	if (n->root) permit_networks(rules, n);
	(void)snprintf(folder, sizeof(folder), "/proc/self/fd/%d", n->folder);
	if (n->folder >= 0) jail_permit(rules, folder, JAIL_READ | JAIL_WRITE);
	if (sockets) jail_permit(rules, sockets, JAIL_SOCKETS);
	permit_disks(rules, n->spec);
	permit_gdb(rules, n->spec);
	for (unsigned i = 0; i < CGROUPS; i++) {
		const char *outer = cgroup_remember(i);
		if (outer) jail_permit(rules, outer, JAIL_GROUPS);
	}
	jail_settle(rules, 1ull << CAP_DAC_OVERRIDE, FILES, JAIL_HELPER);
}

/* ---- who starts switches */
static _Noreturn void starter_main(const struct spec *s, int sock)
{
	uint8_t net;
	helper_deaf();
	title_set("lodge-starter");
	while (recv(sock, &net, sizeof(net), 0) == sizeof(net)) {
		struct err e = {0};
		e.code = net < s->nnets ? network_start(s->net[net], &e) : -EINVAL;
		if (send(sock, &e, sizeof(e), MSG_NOSIGNAL) != sizeof(e)) break;
	}
	_exit(0);
}

int starter_new(const struct spec *s)
{
	int ends[2];
	bool any = false;
	for (unsigned i = 0; i < s->nnets; i++) any |= network_has_switch(s->net[i]);
	if (!any || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return -1;
	int pid = fork();
	if (pid == 0) {
		fds_keep(&ends[1], 1);
		starter_main(s, ends[1]);
	}
	(void)close(ends[1]);
	if (pid < 0) (void)close(ends[0]);
	return pid < 0 ? -1 : ends[0];
}

int starter_ask(int starter, unsigned net, struct err *e)
{
	struct err said = {0};
	uint8_t n = (uint8_t)net;
	if (send(starter, &n, sizeof(n), MSG_NOSIGNAL) != sizeof(n) ||
	    recv(starter, &said, sizeof(said), 0) != sizeof(said))
		return fail(e, -EPIPE, "no process is there to start its switch");
	said.msg[sizeof(said.msg) - 1] = 0;
	return said.code ? fail(e, said.code, "%s", said.msg) : 0;
}
