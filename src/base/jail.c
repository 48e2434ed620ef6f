/* Confinement in layers that do not need each other: namespaces with a root that is nearly empty,
 * Landlock, no capabilities, system calls by notes. Namespaces must be entered while there is one
 * thread, and left by pivot_root() when all is open: that moves all threads at once. */
#include "base/jail.h"
#include "base/own.h"
#include "base/title.h"
#include "base/types.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static bool on, rooted, filtered = true;
static int ruleset = -1; /* Landlock's, for threads to come; -1: none */

bool jail_is_on(void) { return on; }

bool jail_is_wanted(void)
{
#ifdef LODGE_SAN
	return false; /* sanitizers look into /proc */
#else
	const char *wish = getenv("LODGE_JAIL");
	return !wish || strcmp(wish, "off") != 0;
#endif
}

static void say(struct jail_plan *p, const char *layer, int r)
{
	size_t n = strlen(p->what);
	(void)snprintf(p->what + n, sizeof(p->what) - n, "no %s: %s; ", layer, strerror(-r));
}

/* ---- namespaces */
static int put_text(const char *path, const char *text)
{
	auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* One user, one group: the same as before. */
static int own_users(int namespaces)
{
	char uid[48], gid[48];
	(void)snprintf(uid, sizeof(uid), "%u %u 1", geteuid(), geteuid());
	(void)snprintf(gid, sizeof(gid), "%u %u 1", getegid(), getegid());
	if (unshare(CLONE_NEWUSER | namespaces)) return -errno;
	int r = put_text("/proc/self/setgroups", "deny");
	if (!r) r = put_text("/proc/self/uid_map", uid);
	return r ? r : put_text("/proc/self/gid_map", gid);
}

/* Whoever has been through this already, or whose parent has, may do it without a user's. */
static int unshare_now(int namespaces)
{
	if (!unshare(namespaces)) return 0;
	return geteuid() ? own_users(namespaces) : -errno;
}

int jail_unshare(int these, int if_can)
{
	int r = unshare_now(these | if_can), why = -r;
	if (!r || !if_can) return r;
	r = these ? unshare_now(these) : 0;
	return r ? r : why;
}

static int make_above(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		int bad = mkdir(path, 0755) && errno != EEXIST;
		*p = '/';
		if (bad) return -errno;
	}
	return 0;
}

static int make_place(const char *path, bool folder)
{
	if (folder) return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	return fd < 0 ? -errno : 0;
}

/* A path as it is under the new root, which is the current folder. */
static int keep(const char *path, bool writable)
{
	struct stat st;
	char real[PATH_MAX], to[PATH_MAX + 1] = ".";
	if (stat(path, &st) || !realpath(path, real)) return 0; /* nothing to keep */
	(void)snprintf(to + 1, sizeof(to) - 1, "%s", path);
	int r = make_above(to);
	if (!r) r = make_place(to, S_ISDIR(st.st_mode));
	if (!r && mount(real, to, NULL, MS_BIND, NULL)) r = -errno;
	unsigned long how = MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC;
	if (!r && mount(NULL, to, NULL, how | (writable ? 0 : MS_RDONLY), NULL) && errno != EPERM)
		r = -errno;
	return r;
}

/* /proc is a place that is there on every host. The new root is made now, and waits under it. */
static int new_root(const struct jail_plan *p)
{
	auto_fd int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return -errno;
	if (mount("none", "/sys", "tmpfs", flags, "size=64k,mode=755") || chdir("/sys"))
		return -errno;
	int r = 0;
	for (unsigned i = 0; !r && i < p->nkept; i++) r = keep(p->keep[i], p->writable[i]);
	if (!r) (void)mount(NULL, ".", NULL, MS_REMOUNT | MS_RDONLY | flags, "size=64k");
	if (before >= 0) (void)!fchdir(before);
	return r;
}

static int enter_root(void)
{
	if (chdir("/sys") || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) ||
	    chdir("/"))
		return -errno;
	return 0;
}

int jail_root(const struct jail_plan *p)
{
	int r = new_root(p);
	return r ? r : enter_root();
}

static int no_pids; /* why not */
int jail_own_pids(void)
{
	no_pids = jail_unshare(CLONE_NEWPID, 0);
	return no_pids;
}

static bool net_is_own;
bool jail_net_is_own(void) { return net_is_own; }

static void begin_namespaces(struct jail_plan *p)
{
	int r = jail_unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS, p->net ? 0 : CLONE_NEWNET);
	net_is_own = r == 0 && !p->net;
	if (r > 0) say(p, "network namespace", -r);
	if (no_pids) say(p, "process namespace", no_pids);
	if (r >= 0) r = new_root(p);
	rooted = !r;
	if (r) say(p, "namespaces", r);
}

/* ---- privileges */
void jail_drop_privileges(uint64_t keep_caps)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	for (unsigned long c = 0; c < 64; c++)
		if (!(keep_caps >> c & 1)) (void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	memset(d, 0, sizeof(d));
	if (!syscall(SYS_capget, &h, d)) {
		for (unsigned i = 0; i < 2; i++) {
			d[i].effective &= (uint32_t)(keep_caps >> 32 * i);
			d[i].permitted &= (uint32_t)(keep_caps >> 32 * i);
			d[i].inheritable = 0;
		}
		(void)syscall(SYS_capset, &h, d);
	}
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* ---- Landlock */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ull << 13)
#endif
#define FS_TRUNCATE  (1ull << 14)
#define FS_IOCTL_DEV (1ull << 15)
#define FS_V1	     ((1ull << 13) - 1)
#define FS_FILE	     (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)
#define FS_READ	     (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define NET_BIND     1ull
#define SCOPE_SOCKET 1ull /* abstract ones */
#define SCOPE_SIGNAL 2ull

/* As of ABI 6; an older kernel is told the length it knows. */
struct landlock_attr {
	uint64_t fs, net, scoped;
};

static uint64_t fs_known(long abi)
{
	return FS_V1 | (abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) |
	       (abi >= 5 ? FS_IOCTL_DEV : 0);
}

static void permit_access(int fd, const char *path, uint64_t access)
{
	struct stat st;
	auto_fd int at = open(path, O_PATH | O_CLOEXEC);
	if (at < 0 || fstat(at, &st)) return;
	if (!S_ISDIR(st.st_mode)) access &= FS_FILE;
	struct landlock_path_beneath_attr a = {.allowed_access = access, .parent_fd = at};
	(void)syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
}

/* No files, and what of other processes' is `scoped`. A negative errno: none. */
static int rules_new(uint64_t *fs, uint64_t scoped)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0) return -errno;
	struct landlock_attr a = {.fs = fs_known(abi), .scoped = scoped};
	size_t len = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	long fd = syscall(SYS_landlock_create_ruleset, &a, len, 0);
	*fs = a.fs;
	return fd < 0 ? -errno : (int)fd;
}

static int landlock_rules(const struct jail_plan *kept)
{
	uint64_t all;
	int fd = rules_new(&all, SCOPE_SOCKET);
	for (unsigned i = 0; fd >= 0 && i < kept->nkept; i++)
		permit_access(fd, kept->keep[i], kept->writable[i] ? all : FS_READ);
	return fd;
}

static uint64_t known_access; /* of this kernel, once there are rules */

int jail_rules(void)
{
	int fd = rules_new(&known_access, SCOPE_SOCKET | SCOPE_SIGNAL);
	return fd < 0 ? -1 : fd;
}

void jail_permit(int rules, const char *path, unsigned may)
{
	const uint64_t folders = LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR;
	const uint64_t write = LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
	const uint64_t device = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
				LANDLOCK_ACCESS_FS_EXECUTE | FS_IOCTL_DEV;
	uint64_t a = may & JAIL_READ ? FS_READ : 0;
	if (may & JAIL_WRITE) a |= known_access & ~device;
	if (may & JAIL_FOLDERS) a |= folders | LANDLOCK_ACCESS_FS_REFER;
	if (may & JAIL_LIST) a |= LANDLOCK_ACCESS_FS_READ_DIR;
	if (may & JAIL_SOCKETS)
		a |= LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK |
		     LANDLOCK_ACCESS_FS_REMOVE_FILE;
	if (may & JAIL_GROUPS) a |= folders | write | LANDLOCK_ACCESS_FS_READ_DIR;
	if (rules >= 0) permit_access(rules, path, a & known_access);
}

static void be_small(unsigned files)
{
	const struct rlimit none = {0, 0}, few = {files, files};
	(void)setrlimit(RLIMIT_CORE, &none);
	if (files) (void)setrlimit(RLIMIT_NOFILE, &few);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void jail_settle(int rules, uint64_t caps, unsigned files, enum jail_class c)
{
	(void)jail_unshare(CLONE_NEWIPC | CLONE_NEWUTS, CLONE_NEWNET);
	jail_drop_privileges(caps);
	if (rules >= 0) {
		(void)syscall(SYS_landlock_restrict_self, rules, 0);
		(void)close(rules);
	}
	be_small(files);
	(void)jail_filter(c, JAIL_EPERM, false);
}

/* No signals but to what is made from here on: a domain of its own, which all that is made later is
 * in, too. One that was entered behind it would keep us from ending our own servers, and the kernel
 * from doing it when we have gone. */
void jail_no_signals(void)
{
	static int since;
	if (since == getpid()) return;
	since = getpid();
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	struct landlock_attr a = {.scoped = SCOPE_SIGNAL};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	auto_fd int fd = abi < 6 ? -1 : (int)syscall(SYS_landlock_create_ruleset, &a, sizeof(a), 0);
	if (fd >= 0) (void)syscall(SYS_landlock_restrict_self, fd, 0);
}

/* ---- the order of it */
void jail_begin(struct jail_plan *p)
{
	p->what[0] = 0;
	(void)title_pid();
	on = true;
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	begin_namespaces(p);
	jail_no_signals();
	ruleset = landlock_rules(p);
	if (ruleset < 0) say(p, "Landlock", ruleset);
	be_small(0);
}

static struct {
	void (*make)(void *ctx);
	void *ctx;
} late[64];
static unsigned lates;

void jail_before_filter(void (*make)(void *ctx), void *ctx)
{
	if (!on || lates == COUNT(late)) return;
	late[lates].make = make;
	late[lates++].ctx = ctx;
}

/* vCPUs' threads are made by the main thread when it is confined, and have its Landlock domain: in
 * one of their own they could not signal or trace what that has made. */
static bool closed;
static void narrow(enum jail_class c)
{
	bool has_domain = closed && c == JAIL_VCPU;
	jail_drop_privileges(0);
	if (ruleset >= 0 && !has_domain) (void)syscall(SYS_landlock_restrict_self, ruleset, 0);
}
static void filter(enum jail_class c)
{
	if (!jail_filter(c, JAIL_DIES, false)) __atomic_store_n(&filtered, false, __ATOMIC_RELAXED);
}

void jail_thread(enum jail_class c)
{
	if (!on) return;
	if (getpid() != gettid()) (void)prctl(PR_SET_NAME, jail_class_name(c));
	narrow(c);
	filter(c);
}

void jail_close(struct jail_plan *p, enum jail_class c)
{
	int r = rooted ? enter_root() : 0;
	if (r) say(p, "root of its own", r);
	if (on) {
		narrow(c);
		closed = true;
		for (unsigned k = 0; k < lates; k++) late[k].make(late[k].ctx);
		filter(c);
	}
	if (!__atomic_load_n(&filtered, __ATOMIC_RELAXED)) say(p, "seccomp", -ENOSYS);
}
