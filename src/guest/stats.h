#ifndef GUEST_STATS_H
#define GUEST_STATS_H
#include "base/counters.h"
#include <stdint.h>
/* What one guest uses, as it is now: of the whole monitor process, guest memory included. */
struct guest;
struct json_object;
struct guest_stats {
	char name[64];
	const char *kind, *engine; /* literals; engine NULL: the kind has none */
	int pid;
	unsigned cpus;
	uint64_t up_ns;	 /* since it was started */
	uint64_t cpu_ns; /* of the host's CPUs */
	uint64_t rss;	 /* bytes of the host's memory */
	uint64_t memory; /* bytes that the guest has */
	/* Of these, and if the kind knows: what this host keeps; what the guest says that it uses,
	 * 0: it does not say; what its balloon has, and what it is to leave the guest. */
	uint64_t resident, used, balloon, target;
	uint64_t merged; /* of resident: kept once for it and others, or for several of its pages */
	/* And what went through its disks and network cards since it was started, in bytes. */
	uint64_t disk_read, disk_written, net_received, net_sent;
	struct counters counters;
};
void guest_stats(struct guest *g, struct guest_stats *to); /* on the loop's thread */
/* Added to an object, as 'lodge stats' and others who ask the monitor get it. */
void guest_stats_json(const struct guest_stats *s, struct json_object *to);
#endif
