#ifndef GUEST_SOCKETS_H
#define GUEST_SOCKETS_H
#include "base/err.h"
/* The folder of control sockets, one a running guest; shared by control.c and ask.c. Its lock
 * orders claiming a name and removing what a killed monitor left. Sockets are reached through the
 * folder's descriptor, since an address holds 108 bytes and a path may be longer. */
int sockets_open(int *dirfd, struct err *e); /* made if missing; only ours, or refused */
/* A listening socket of that name, without waiting. -EBUSY: somebody living has it. */
int sockets_claim(int dirfd, const char *name, int *fd, struct err *e);
/* Connected to it, without waiting; -ENOENT: nobody listens, and its name is gone. */
int sockets_connect(int dirfd, const char *name, int *fd, struct err *e);
int sockets_rename(int dirfd, const char *from, const char *to,
		   struct err *e);		/* one's own; -EBUSY */
void sockets_drop(int dirfd, const char *name); /* one's own */
#endif
