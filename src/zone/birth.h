#ifndef ZONE_BIRTH_H
#define ZONE_BIRTH_H
#include "zone/channel.h"
#include "zone/filter.h"
#include "zone/group.h"
#include "zone/place.h"
#include "zone/root.h"
/* Making a zone: everything that can fail is opened and checked first (birth_prepare), then one
 * clone3(2) makes the namespaces and the first process (birth_begin), which enters its control
 * groups and builds its own world (init.c). It then waits to be told to become the program
 * (birth_start), by whoever connects to a socket in the zone's folder: the runtime itself ends in
 * between. */
struct birth {
	/* the caller's */
	struct spec *spec;
	struct place *place; /* made, locked */
	struct arena *a;
	const char *bundle, *rootfs, *console_socket;
	unsigned preserve;
	bool no_pivot, no_keyring, keep_master;
	struct filter filter;	    /* its own */
	const struct overlay *over; /* its root is these layers, not rootfs; NULL: none */
	const int *stdio;	    /* its input, output and errors; NULL: ours */
	const int *stub;	    /* as in struct process */
	bool tied;		    /* it ends when we do */
	bool last;		    /* executed by last_program() */
	/* made here */
	struct root root;
	struct sources sources;
	struct group group;
	int ns[8], nns; /* namespaces to join, and their flags */
	int ns_flag[8];
	int channel, listen, theirs; /* our end, the start socket, the child's end */
	int pidfd, master;	     /* of the first process; of its terminal, if keep_master */
	int own_user, own_net;	     /* tied: its namespaces, of those that are new; else -1 */
	pid_t pid;
};
int birth_prepare(struct birth *b, struct err *e);
/* Returns in the parent once the zone is created, its state written. On failure nothing is left. */
int birth_begin(struct birth *b, struct err *e);
void birth_done(struct birth *b); /* closes all; the zone stays */
/* Tell the first process of that zone to go; 0 once its program runs. filter: the zone's, for whose
 * listener somebody may wait; NULL: none. */
int birth_start(const struct place *p, const struct filter *f, struct err *e);

/* listener.c: the filter's listener is that descriptor of the zone's process, which waits until the
 * byte at that address of its memory is set. */
int listener_give(const struct place *p, const struct filter *f, int number, uint64_t at,
		  struct err *e);
/* init.c: in the child; does not return. */
_Noreturn void init_run(struct birth *b);
#endif
