/* What a keeper can bear once the zone is made. Its filter and the limits of its rights are those
 * of all that it starts, the zone's programs among them: so the filter says what is refused, not
 * what is allowed, and Landlock is left out (who is in a domain of it may not trace who is not, and
 * a session is to be able to). Of descriptors of folders each is one of a mount of its own that
 * hangs nowhere: there is nothing above it. */
#include "base/jail.h"
#include "base/own.h"
#include "base/types.h"
#include "zone/group.h"
#include "zone/keeper.h"
#include "zone/sys.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>

static void say(char *what, size_t room, const char *layer, int r)
{
	size_t n = strlen(what);
	(void)snprintf(what + n, room - n, "no %s: %s; ", layer, strerror(-r));
}

/* ---- descriptors */
/* The same folder under the same number, with nothing above it, and with its lock. */
static int alone(int fd, bool locked)
{
	if (fd < 0) return 0;
	auto_fd int tree =
		open_tree(fd, "", (unsigned)AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	auto_fd int dir = tree < 0 ? -1 : openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) return -errno;
	/* Whoever wants it for himself is kept out by either of the two. */
	if (locked && (flock(fd, LOCK_SH | LOCK_NB) || flock(dir, LOCK_SH | LOCK_NB)))
		return -errno;
	return dup3(dir, fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static int all_alone(const struct keeper_jail *j)
{
	int r = alone(j->folder, true);
	if (!r) r = alone(j->place, false);
	for (unsigned i = 0; !r && i < j->group->n; i++) {
		r = alone(j->group->tree[i].top, false);
		if (!r) r = alone(j->group->tree[i].dir, false);
	}
	return r;
}

/* ---- names */
static int root_make(const struct keeper_jail *j)
{
	struct jail_plan p = {.keep = {"/proc", j->store}, .writable = {true, true}};
	p.nkept = j->store ? 2 : 1;
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)) return -errno;
	int r = jail_root(&p);
	/* Of /proc the processes alone: what is there of the host can be written to. */
	if (!r && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid"))
		r = -errno;
	return r;
}

/* ---- rights */
#define BIT(cap) (1ull << (cap))
/* The zone's own (plan.c), should they be this machine's, and what it takes to enter it. */
static uint64_t rights(const struct keeper_jail *j)
{
	const uint64_t own = BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) |
			     BIT(CAP_FSETID) | BIT(CAP_KILL) | BIT(CAP_SETGID) |
			     BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SETUID) | BIT(CAP_SETPCAP) |
			     BIT(CAP_SETFCAP) | BIT(CAP_SYS_CHROOT);
	uint64_t enter = BIT(CAP_SYS_ADMIN) | BIT(CAP_SYS_RESOURCE);
	/* Whoever made a user namespace may look at who is in it; else that takes a right. */
	if (j->host_ids) enter |= BIT(CAP_SYS_PTRACE);
	return own | enter;
}

/* ---- system calls */
static const int refused[] = {
	SYS_acct,
	SYS_add_key,
	SYS_bpf,
	SYS_clock_adjtime,
	SYS_clock_settime,
	SYS_delete_module,
	SYS_finit_module,
	SYS_fsconfig,
	SYS_fsmount,
	SYS_fsopen,
	SYS_fspick,
	SYS_init_module,
	SYS_io_uring_enter,
	SYS_io_uring_register,
	SYS_io_uring_setup,
	SYS_kcmp,
	SYS_kexec_load,
	SYS_keyctl,
	SYS_migrate_pages,
	SYS_mount,
	SYS_mount_setattr,
	SYS_move_mount,
	SYS_move_pages,
	SYS_name_to_handle_at,
	SYS_open_by_handle_at,
	SYS_open_tree,
	SYS_perf_event_open,
	SYS_pidfd_getfd,
	SYS_pivot_root,
	SYS_process_madvise,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_quotactl,
	SYS_reboot,
	SYS_request_key,
	SYS_settimeofday,
	SYS_swapoff,
	SYS_swapon,
	SYS_syslog,
	SYS_umount2,
	SYS_unshare,
	SYS_userfaultfd,
	SYS_vhangup,
#ifdef SYS_kexec_file_load
	SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
	SYS_iopl,
	SYS_ioperm,
#endif
};
#ifdef __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_RISCV64
#endif
enum { X32 = 0x40000000, AROUND = 6 };

/* A program of another architecture than ours is the zone's own filter's to judge. */
static int filter(void)
{
	enum { N = COUNT(refused) };
	struct sock_filter f[N + AROUND];
	struct sock_fprog p = {.len = COUNT(f), .filter = f};
	unsigned n = 0;
	const uint32_t no = SECCOMP_RET_ERRNO | EPERM;
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					      offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, N + 2);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					      offsetof(struct seccomp_data, nr));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, N + 1, 0);
	for (unsigned i = 0; i < N; i++)
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
						      (uint32_t)refused[i], (uint8_t)(N - i), 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, no);
	must(n == COUNT(f));
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) ? -errno : 0;
}

/* Before the names go what they lead to has to be open; before the rights go, all that takes them.
 */
void keeper_settle(const struct keeper_jail *j, char *what, size_t room)
{
	if (geteuid()) return;
	int r = all_alone(j);
	if (r) say(what, room, "folders without anything above", r);
	r = j->net >= 0 && setns(j->net, CLONE_NEWNET) ? -errno : 0;
	if (r) say(what, room, "network of its own", r);
	if ((r = root_make(j))) say(what, room, "root of its own", r);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	jail_drop_privileges(rights(j));
	if ((r = filter())) say(what, room, "seccomp", r);
}
