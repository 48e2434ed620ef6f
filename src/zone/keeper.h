#ifndef ZONE_KEEPER_H
#define ZONE_KEEPER_H
#include "zone/plan.h"
/* The process beside a zone's monitor that does what takes rights: it makes the zone, is its
 * parent, and has its control groups. The monitor is confined and may be in other hands: what it
 * can ask for concerns this zone and nothing else, and is of fixed size. When the monitor goes the
 * zone does, and when the keeper goes the zone's first process is killed. */
enum { KEEPER_NETS = 4, KEEPER_WORDS = 384 };
enum keeper_op {
	KEEPER_MAKE,   /* all but its program; with a terminal, its master comes back */
	KEEPER_NET,    /* a card in it, whose other end comes back */
	KEEPER_GO,     /* the program */
	KEEPER_SIGNAL, /* n: the number; 0: what asks it to end */
	KEEPER_FREEZE, /* n: 1 freezes, 0 thaws */
	KEEPER_LIMIT,
	KEEPER_STATS,
	KEEPER_ENTER, /* a program of the agent's that serves the descriptor sent along */
};
struct keeper_net { /* addresses in the host's byte order; 0: none */
	uint32_t n, ip, mask, gateway, dns;
	uint8_t mac[6];
	char search[64];
};
struct keeper_limits { /* 0: none */
	uint64_t memory, memory_high, cpu_cap, cpu_shares, cpu_set, pids, io_weight;
	uint64_t memory_low;
	uint64_t io_rate, io_ops; /* of the disk that its folder is on, each way */
};
struct keeper_stats {
	uint64_t cpu_ns, memory, pids;
};
struct keeper_order {
	uint32_t op, n;
	struct keeper_net net;
	struct keeper_limits limits;
};
struct keeper_answer {
	int32_t code; /* 0 or a negative errno, and words */
	int32_t exit; /* of MAKE and GO: not 0: that is how its program ended before it began */
	char words[KEEPER_WORDS];
	struct keeper_stats stats;
};
struct keeper {	   /* the monitor's side */
	int ask;   /* orders, one answer each */
	int event; /* when it has ended: a status as waitpid() has it, four bytes */
	int pid;
};
/* Fork it, while there is one thread. io: the zone's ends of its input, output and errors, or with
 * a terminal unused; temp: the name of its folder in the store, which goes with it; NULL: it stays.
 */
int keeper_start(struct keeper *k, const struct plan *p, const int io[3], const char *temp,
		 struct err *e);
/* give -1, take NULL: none. */
int keeper_ask(struct keeper *k, const struct keeper_order *o, int give, int *take,
	       struct keeper_answer *to, struct err *e);
void keeper_end(struct keeper *k); /* all that is left of the zone goes, and then it has gone */

/* files.c: what a zone of ours has written in that folder goes, whoever owns it. */
int keeper_clean(int folder, struct err *e);
/* plan.c's ids, of an ordinary user's zones, as a user namespace. */
int keeper_ids(struct err *e);

/* ---- keeper_limit.c: in the keeper */
struct group;
struct keeper_host { /* what is asked of it before names of files are gone */
	long cpus;
	int64_t major, minor; /* the disk that the zone's folder is on; 0: none can be told */
};
void keeper_host(struct keeper_host *h, int folder);
/* had: those that hold. In the arena. */
int keeper_limit(const struct group *g, const struct keeper_limits *l,
		 const struct keeper_limits *had, const struct keeper_host *host, struct arena *a,
		 struct err *e);

/* ---- keeper_jail.c: in the keeper, before anything of the zone's runs */
struct keeper_jail {
	int folder;	   /* the guest's, and its lock */
	int place;	   /* the zone's, in that */
	int net;	   /* the zone's network, or -1: it has the host's */
	bool host_ids;	   /* the zone's processes are of this machine's users */
	const char *store; /* a path that stays; NULL: none */
	struct group *group;
};
/* From here on it has no names of this host's files, no network but the zone's, few rights, and of
 * system calls not those that it needed to make the zone. What is not to be had here is left out:
 * `what` says that, as in struct jail_plan. An ordinary user's has no rights to begin with. */
void keeper_settle(const struct keeper_jail *j, char *what, size_t room);

/* ---- keeper_net.c: in the keeper */
/* A tap in these namespaces (user -1: ours), up and with these addresses. */
int keeper_net_make(int user, int net, const struct keeper_net *n, int *tap, struct err *e);
/* Files that the zone has at /etc, in its folder. Who answers names is the network's business, or
 * is as this host has it. */
int keeper_files(int folder, const char *hostname, const struct keeper_net *n, bool host,
		 struct err *e);
#endif
