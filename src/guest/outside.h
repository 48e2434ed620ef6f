#ifndef GUEST_OUTSIDE_H
#define GUEST_OUTSIDE_H
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
/* What a confined monitor still needs of the host's files, done for it by a process outside that
 * was forked before: the helper. There is one per process, or none: then all of this is done here.
 * The helper believes that the monitor is hostile: it touches the guest's own state, log, socket,
 * name and snapshots, and the networks it was given, and nothing else. Any thread may call. */
struct guest_state;
struct limits;
struct guest_home;
struct spec;
/* Fork it; if home is `behind` it is we who become it, and what returns is the child. Call while
 * there is one thread; s and home stay the caller's and as they are. The folder's lock is held by
 * the helper, too; it ends with this process. */
int outside_start(const struct spec *s, const struct guest_home *home, struct err *e);
void outside_end(void); /* wait for its last work; none is fine */
/* Who has a copy of this descriptor when the monitor goes is waited for by the helper, for some
 * seconds, before that lets go of the folder's lock: a process that still has the guest's ports.
 * Ours goes with outside_held(). -1: none. */
int outside_hold(void);
void outside_held(void);
bool outside_is_there(void);
int outside_fd(void); /* hangs up when it is gone; -1: none */
/* Once, before the monitor is confined: what the guest is called, or "". From then on its cards are
 * known on their networks by what outside_dial() has said until then, and by nothing else. */
int outside_named(const char *name, struct err *e);

int outside_state(const struct guest_state *s, int folder, struct err *e);
/* Into the record in that folder. */
int outside_limits(const struct limits *l, int folder, struct err *e);
/* It is in a control group of its own from then on, with that; cgroup.h. */
int outside_group(unsigned what, uint64_t v, struct err *e);
void outside_ungroup(void); /* none is fine */
/* A connection to vsock_PORT in that folder, or a negative errno: nobody listens. */
int outside_vsock(uint32_t port, int folder);
void outside_ungdb(const char *path); /* the socket a debugger came to goes */
/* The console's log to append to, its own descriptor; full: the old one is put aside first. */
int outside_log(int folder, bool full);
/* A file to be written, under another name until it is kept; its folder is made if missing. Its
 * descriptor, or a negative errno.
 */
int outside_draft(const char *path, struct err *e);
int outside_keep(const char *path, struct err *e);
void outside_drop(const char *path);
/* Disk n of the spec, or what firmware keeps, as it is now, into another file. */
enum { OUTSIDE_VARS = 1000 };
int outside_copy(const struct spec *s, unsigned n, const char *to, struct err *e);
/* Folder and control socket get another name; -ENOTSUP: no helper. */
struct arrival;
int outside_arrived(const struct arrival *a, struct err *e); /* its keep() */
int outside_rename(const char *to, struct err *e);
void outside_unlisten(void);	   /* the control socket goes */
int outside_remove(struct err *e); /* the folder goes, with all in it */
/* A connection to the switch of a network, which has been told that hello and has not answered; it
 * is started if there is none; -EAGAIN: not yet. */
struct lan_hello;
int outside_dial(const char *network, const struct lan_hello *h, int *fd, struct err *e);
#endif
