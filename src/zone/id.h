#ifndef ZONE_ID_H
#define ZONE_ID_H
#include "zone/spec.h"
#include <sys/types.h>
/* User ids of a zone and the host's. */
/* Write the mappings of process pid, which waits in its new user namespace; by newuidmap(1) and
 * newgidmap(1) where this process may not do it itself. */
int id_map(pid_t pid, const struct spec_linux *l, struct err *e);
/* A user namespace of these mappings, for mounts; its descriptor. */
int id_namespace(const struct spec_map *uids, unsigned nuids, const struct spec_map *gids,
		 unsigned ngids, struct err *e);
#endif
