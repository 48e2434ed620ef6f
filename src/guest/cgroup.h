#ifndef GUEST_CGROUP_H
#define GUEST_CGROUP_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A control group of a process's own, below the one that this process is in, for one thing that no
 * process can give itself: its weight among others, or where the host begins to take its memory. */
struct cgroup;
enum cgroup_what { CGROUP_CPU, CGROUP_MEMORY, CGROUPS };
/* Make one and move process pid there; -EOPNOTSUPP with words: this host, or who confines us, has
 * none for us. */
int cgroup_open(struct cgroup **out, enum cgroup_what what, int pid, struct err *e);
/* The folder in which this process would make one, which is looked for once; NULL: none. */
const char *cgroup_remember(enum cgroup_what what);
int cgroup_shares(struct cgroup *c, uint64_t shares, struct err *e); /* 1024 is usual; 0 is that */
/* Bytes of the host's memory that it may keep while others need some: memory.high, which slows it
 * down at any time; version 1 has only a soft limit, for when memory is short. 0: as many as it
 * likes. */
int cgroup_memory(struct cgroup *c, uint64_t bytes, struct err *e);
void cgroup_close(struct cgroup *c); /* back to where it was, and the group goes; NULL is fine */
/* Where the group would be made, from texts as in /proc/self/cgroup and /proc/self/mounts; false:
 * nowhere. *unified: it is a version 2 group. */
bool cgroup_place(char *to, size_t room, enum cgroup_what what, const char *groups,
		  const char *mounts, bool *unified);
/* Version 2's weight for version 1's shares: 100 for 1024, 1 to 10000. */
uint64_t cgroup_weight(uint64_t shares);
#endif
