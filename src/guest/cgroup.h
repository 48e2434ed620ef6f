#ifndef GUEST_CGROUP_H
#define GUEST_CGROUP_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* A control group of this process's own, below the one that it is in, for its weight among others:
 * what no process can give itself. On the loop's thread. */
struct cgroup;
/* Make one and move there; -EOPNOTSUPP with words: this host, or who confines us, has none for us.
 */
int cgroup_open(struct cgroup **out, struct err *e);
int cgroup_shares(struct cgroup *c, uint64_t shares, struct err *e); /* 1024 is usual; 0 is that */
void cgroup_close(struct cgroup *c); /* back to where it was, and the group goes; NULL is fine */
/* Where the group would be made, from texts as in /proc/self/cgroup and /proc/self/mounts; false:
 * nowhere. *unified: it is a version 2 group. */
bool cgroup_place(char *to, size_t room, const char *groups, const char *mounts, bool *unified);
/* Version 2's weight for version 1's shares: 100 for 1024, 1 to 10000. */
uint64_t cgroup_weight(uint64_t shares);
#endif
