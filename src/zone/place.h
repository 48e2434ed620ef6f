#ifndef ZONE_PLACE_H
#define ZONE_PLACE_H
#include "zone/group.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
/* What is known of a zone between two commands: a folder of its name below the runtime's root, with
 * state.json (replaced as a whole), the config.json that it was made from, and, until it is
 * started, the socket at which its first process waits; `paused`, of one in a computer of its own.
 * Reached through the folder's descriptor. */
struct place {
	int root, dir;	  /* of all zones; of this one. -1: none */
	const char *id;	  /* checked: no way out of root */
	pid_t pid;	  /* 0: it has none any more, or not yet */
	uint64_t started; /* its start, in the host's clock ticks: a pid alone may be another's */
	const char *bundle, *rootfs, *cgroup, *created, *version;
	bool systemd;
	struct pairs annotations;
	struct arena *a;
};
enum place_status { PLACE_CREATING, PLACE_CREATED, PLACE_RUNNING, PLACE_PAUSED, PLACE_STOPPED };
extern const char *const place_words[];
/* root NULL: /run/lodge-oci, or $XDG_RUNTIME_DIR/lodge-oci for who is not root. Descriptor. */
int places_open(const char *root, struct err *e);
/* A new one, locked: -EEXIST if there is one of that name. */
int place_make(struct place *p, int root, const char *id, struct arena *a, struct err *e);
/* One that is there; locked if that is wanted. */
int place_open(struct place *p, int root, const char *id, bool lock, struct arena *a,
	       struct err *e);
int place_save(const struct place *p, struct err *e);
bool place_alive(const struct place *p);
/* groups: opened by the caller for it; NULL: paused is not told from running. */
enum place_status place_status(const struct place *p, const struct group *g);
void place_remove(struct place *p);
/* The socket in its folder that start connects to, once: whoever listens is its first process. */
int place_listen(const struct place *p, struct err *e);
int place_connect(const struct place *p, struct err *e);
/* For as long as somebody waits for its end: others may lock it. place_relock() is false where one
 * of them has removed it. */
void place_unlock(const struct place *p);
bool place_relock(const struct place *p);
void place_close(struct place *p);
uint64_t place_start_time(pid_t pid); /* 0: there is no such process, or it is dead */
/* As hooks get it (runtime specification, "State"). */
void place_state(const struct place *p, const char *status, pid_t pid, bool more, struct buf *to);
#endif
