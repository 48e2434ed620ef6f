#ifndef ZONE_ENTER_H
#define ZONE_ENTER_H
#include "zone/channel.h"
#include "zone/filter.h"
#include "zone/group.h"
#include "zone/place.h"
#include "zone/process.h"
/* Another process in a zone that lives: `exec`. All of the zone's namespaces are entered at once,
 * by the pidfd of its first process, in a helper that then makes the process as a child of ours; so
 * no process of the zone ever sees one of ours that is not undumpable. */
struct enter {
	/* the caller's */
	struct place *place;
	struct group *group; /* opened */
	struct process p;
	const char *console_socket;
	bool keep_master;
	bool subgroup; /* a folder of version 2 was chosen: not where the first process is */
	/* made here */
	pid_t pid;
	int pidfd, master;
};
int enter_begin(struct enter *x, struct err *e); /* its program runs, or why it does not */
#endif
