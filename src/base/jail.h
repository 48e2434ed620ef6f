#ifndef BASE_JAIL_H
#define BASE_JAIL_H
#include <stdbool.h>
#include <stdint.h>
/* The confinement of a process whose guest may have taken it over: no name of the host's files, no
 * privilege, no system call but those its threads need. Every layer that the host refuses is left
 * out, and said; the others hold without it.
 *
 * What a class of threads may call stands in notes beside the code that calls it,
 *     syscalls CLASS...: NAME...
 * in a comment of its own; class `all` is every thread's. tools/syscalls collects them. Some calls
 * are narrowed by their arguments: the table in jail_filter.c; `NAME*` is that call without it. */
enum jail_class {
	JAIL_ALL,
	JAIL_LOOP, /* a monitor's main thread, which may do all that those may that it makes later:
		      vcpu, move */
	JAIL_VCPU,
	JAIL_DISK,
	JAIL_NAT,
	JAIL_LAN,
	JAIL_TAP,
	JAIL_SHARE, /* the monitor's side of a shared folder */
	JAIL_TERM,
	JAIL_MOVE,   /* sends a guest to another host */
	JAIL_SWITCH, /* the main thread of a network's switch */
	JAIL_FS,     /* all of a shared folder's server, a process of its own */
	JAIL_HELPER, /* all of the process that does for a monitor what needs names: guest/outside.h
		      */
	JAIL_CLASSES
};
const char *jail_class_name(enum jail_class c);

/* ---- a process, step by step */
enum { JAIL_KEPT = 4, JAIL_WHAT = 400 };
struct jail_plan {
	const char *keep[JAIL_KEPT]; /* absolute paths that stay, as they are at jail_begin() */
	bool writable[JAIL_KEPT];
	unsigned nkept;
	bool net; /* it needs this host's network; else it gets one in which there is nothing */
	/* out: the layers that this host forbids and why, ended by "; "; "" when all are there */
	char what[JAIL_WHAT];
};
/* Before fork(), while there is one thread: the child is the first process of a namespace in which
 * it and those that it makes are all that there is; when it ends they do. We are not in it, but all
 * that we fork is, and threads we cannot have any more. A negative errno: not here, which
 * jail_begin() then says. */
int jail_own_pids(void);
/* While there is one thread: no signals but to what is forked from here on, which can send us some;
 * jail_begin() does it, if it has not been done. */
void jail_no_signals(void);
/* While there is one thread: no new privileges, no core dumps, namespaces of its own (user, mount,
 * ipc, uts, network). Files can still be opened. From here on jail_thread() does something. */
void jail_begin(struct jail_plan *p);
/* On the main thread, when all is open: nothing has a name any more but what is kept, here and for
 * all threads; and then jail_thread(c). */
void jail_close(struct jail_plan *p, enum jail_class c);
/* For what can be made only late (by who is in the new root already) and no more then: called by
 * jail_close() before system calls are filtered. At most 64; ctx has to be there by then. */
void jail_before_filter(void (*make)(void *ctx), void *ctx);
/* A process that was made so: calls that name a process (kill, ptrace, sched_setaffinity), where
 * they are noted, may name this one, and no other but their caller (0; not kill). False: there are
 * 32 already. */
bool jail_process(int pid);
/* First thing on a thread: drop its capabilities and hold it to what its class may. Its threads
 * inherit that. Nothing in a process that is not confined. */
void jail_thread(enum jail_class c);
bool jail_is_wanted(void); /* LODGE_JAIL=off and sanitizers forbid it */
/* Of this process, from jail_begin() on. */
bool jail_is_on(void);

/* ---- a process that needs names of files as long as it lives: these, and no others */
enum jail_may { /* bits of what it may at a file, or at a folder and below it */
		JAIL_READ = 1,
		JAIL_WRITE = 2,	  /* all but devices; make, move and remove, too */
		JAIL_FOLDERS = 4, /* make, move and remove folders */
		JAIL_SOCKETS = 8, /* list, move and remove sockets */
		JAIL_LIST = 16,	  /* what folders hold */
		JAIL_GROUPS = 32  /* a file system of control groups: folders, and write to files */
};
/* Landlock's rules, none yet; -1: there is no Landlock here. */
int jail_rules(void);
void jail_permit(int rules, const char *path, unsigned may); /* if it is there */
/* While there is one thread: rules (which is closed) and these privileges are all that it has, its
 * network is an empty one, and what is not noted for its class is refused. No more than FILES. */
void jail_settle(int rules, uint64_t caps, unsigned files, enum jail_class c);

/* ---- parts of it, for other orders of events */
/* Namespaces of our own, and a user's where it takes that, ids mapped to themselves. The second are
 * left out where they are refused: then why, an errno; 0, or a negative errno. While there is one
 * thread. */
int jail_unshare(int these, int if_can);
/* In a mount namespace of our own, while there is one thread: nothing has a name any more but what
 * the plan keeps. A negative errno. */
int jail_root(const struct jail_plan *p);
bool jail_net_is_own(void);		       /* since jail_begin(); so it is for whom we fork */
void jail_drop_privileges(uint64_t keep_caps); /* of this thread; and no new ones */
/* How a call that is not noted ends. */
enum jail_refusal {
	JAIL_DIES,  /* the process, with words in its log that say which call it was */
	JAIL_EPERM, /* it fails */
	JAIL_LOGS   /* it is carried out, and noted by the kernel's audit log: development */
};
/* Who is told what the last refused call was, besides the log: in a signal handler, before the
 * process ends. */
void jail_tell(void (*tell)(const char *words));
/* This thread, or all; false: no seccomp here. LODGE_SECCOMP=log is JAIL_LOGS, =off nothing. */
bool jail_filter(enum jail_class c, enum jail_refusal how, bool all_threads);
#endif
