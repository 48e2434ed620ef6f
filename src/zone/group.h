#ifndef ZONE_GROUP_H
#define ZONE_GROUP_H
#include "zone/options.h"
#include <sys/types.h>
/* A zone's control groups: one folder in each hierarchy that this host has, be they version 1,
 * version 2, or both at once (hybrid: version 2 for life and death, version 1 for limits). All
 * files are reached through descriptors of those folders, which are found below the hierarchy's
 * root without following links: no path leads out. */
struct buf;
enum { GROUP_TREES = 20 };
struct group_tree {
	const char *point; /* where it is mounted */
	const char *root;  /* what of it is mounted there; "/" for all */
	const char *names; /* "cpu,cpuacct", "name=systemd"; version 2: what its root could give */
	bool v2, found;	   /* found: while making: its folder was there already */
	int top, dir;	   /* its root; the zone's folder in it; -1: none */
};
struct group {
	struct group_tree tree[GROUP_TREES];
	unsigned n;
	const char *path; /* "/a/b", the same in all */
	struct arena *a;
	bool quiet;  /* whoever uses it says that */
	bool lame;   /* some folder was refused for want of rights: said aloud, gone on without */
	bool shared; /* processes were in it before ours: they and their folders stay */
};
/* What this host has. Nothing at all is not an error. */
int group_find(struct group *g, struct arena *a, struct err *e);
/* Sets path from linux.cgroupsPath, which may be missing, and the zone's name. */
int group_name(struct group *g, const char *path, const char *id, bool systemd, struct err *e);
/* Makes what is missing. A frozen group is refused: what starts in it would hang, and we with it.
 */
int group_make(struct group *g, struct err *e);
void group_open(struct group *g); /* folders that are there */
/* The calling process, which has one thread, enters; version 2's only if that is said, since
 * clone3(2) has begun it there. */
int group_join(const struct group *g, bool v2_too, struct err *e);
/* "PATH" or "CONTROLLER,CONTROLLER:PATH": the folder is one below it from now on. */
int group_descend(struct group *g, const char *words, struct err *e);
int group_into(const struct group *g); /* version 2's folder, for clone3(2), or -1 */
/* What is below its folders is that user's to make, where no limits are: in version 2's, and in
 * version 1's that systemd keeps processes apart by. */
void group_delegate(const struct group *g, uid_t uid, gid_t gid);
void group_close(struct group *g);
/* The folder that has this controller; -1: none has. */
int group_dir(const struct group *g, const char *controller, bool *v2);
int group_write(int dir, const char *file, const char *text); /* 0 or a negative errno */
bool group_read(int dir, const char *file, struct buf *to);   /* appended */
int64_t group_number(int dir, const char *file);	      /* -1: none, or "max" */

/* group_limit.c; cpus of an `update` may lack anything. */
int group_limit(const struct group *g, const struct spec_resources *r, bool devices_too,
		struct err *e);
uint64_t group_weight(uint64_t shares); /* version 2's for version 1's, as crun has it */

/* group_life.c */
int group_freeze(const struct group *g, bool frozen, struct err *e);
bool group_frozen(const struct group *g);
bool group_empty(const struct group *g); /* version 2 says so: no process is left in it or below */
bool group_stuck(const struct group *g); /* frozen, by whomever: nothing in it runs */
/* Process ids of the group and those below, in the arena; their number. */
unsigned group_pids(const struct group *g, pid_t **pids, struct arena *a);
void group_kill(const struct group *g, int sig);  /* all in it; frozen ones are thawed first */
int group_remove(struct group *g, struct err *e); /* with groups that the zone has made below */
/* group_stats.c: the object that `events --stats` has as "data". */
void group_stats(const struct group *g, struct buf *to);

/* group_oom.c: to be polled; whether a process was killed for want of memory since it was asked
 * last. */
struct group_oom {
	int event; /* -1: none */
	short wanted;
	int file;
	long long kills;
};
void group_oom_open(struct group_oom *w, const struct group *g);
bool group_oom_seen(struct group_oom *w);
void group_oom_close(struct group_oom *w);

/* group_device.c: rules, one after the other; what none of them names is refused. */
int group_devices(const struct group *g, const struct spec_resources *r, struct err *e);
/* The same as a program for the kernel, attached to a version 2 folder. */
int group_devices_bpf(int dir, const struct spec_device_rule *rules, unsigned n, struct err *e);

/* group_mount.c: at dest, in the zone's mount namespace; own: it has a cgroup namespace. */
int group_mount(const struct group *g, const struct options *o, const struct spec_mount *m,
		bool own, int dest, struct err *e);
#endif
