#ifndef ZONE_PROCESS_H
#define ZONE_PROCESS_H
#include "zone/filter.h"
#include "zone/spec.h"
/* The last way of a zone's process, from inside its root to the program: the same for the first one
 * and for those that `exec` adds. Nothing here allocates but from the arena. */
struct process {
	const struct spec_process *p;
	const struct spec_personality *personality; /* or NULL */
	const struct filter *filter;
	struct arena *a;
	const char *keyring; /* the name of a session keyring of its own; NULL: ours stays */
	unsigned preserve;   /* descriptors from 3 on that it keeps */
	int proc;	     /* the host's /proc */
	bool keep_groups;    /* our supplementary groups stay */
	/* A sealed program of ours that executes what it is told, so that what a zone's file names
	 * as its interpreter is never this one (CVE-2019-5736); with args[0] "" it does what else
	 * it does. NULL: the program is executed at once. */
	const int *stub;
	int told;	  /* the stub's: what it tells of its failure, or 0 */
	bool tied;	  /* it ends with whoever made it */
	const char *path; /* what will be executed */
	const char **env;
	void (*warn)(void *ctx, const char *words);
	void *ctx;
};
/* All that can be found out before it is told to go: the program, the folder, limits. */
int process_prepare(struct process *p, struct err *e);
/* User, capabilities, filter. Where the filter has a listener, listen is called with the number of
 * its descriptor before it is loaded, and await after that, when no system call may be made, until
 * somebody has taken it. */
int process_become(struct process *p, void (*listen)(void *ctx, int fd), void (*await)(void *ctx),
		   struct err *e);
int process_exec(struct process *p, struct err *e); /* returns only if it failed */
/* Descriptors 0 to 2 become this one, which becomes our terminal. */
int process_terminal(int slave, struct err *e);
/* user.c: from inside the root, name to *u, which is filled in. Groups that the zone has not are
 * left out. */
int user_find(const char *name, struct spec_user *u, struct arena *a, struct err *e);
#endif
