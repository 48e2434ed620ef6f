#ifndef CLI_RUN_H
#define CLI_RUN_H
#include "cli/boxed.h"
#include "cli/cli.h"
#include "cli/drives.h"
#include "cli/kept.h"
#include "cli/seeds.h"
#include "cli/shares.h"
#include "cli/tapes.h"
#include "cli/zones.h"
#include "guest/guest.h"
#include "store/store.h"
/* lodge run and create: what was typed, and what one run holds. */
struct run_opts {
	const char *arch, *kernel, *initrd, *append, *firmware, *engine, *name, *cap_rate, *kind,
		*dump, *keys, *symbols, *restore, *vars, *gdb, *cpu, *cpus, *record, *replay,
		*trace;
	unsigned cpu_shares, io_ops;
	uint64_t memory, memory_max, memory_high, code_cache, io_rate;
	bool stats, profile, deterministic, detach, remove, gdb_wait, no_balloon, no_direct,
		disk_copy, memory_merge;
	struct opt_list publish, nets, volumes;
	struct drive_opts drives;
	struct seed_opts seed;
	struct zone_opts zone;
};
extern const struct opt run_table[]; /* of both verbs */

/* The built-in guest's CPU, and what kernels from files are for, unless --arch says otherwise. */
#define BUILT_IN ARCH_RV64
#ifdef __x86_64__
#define HOST ARCH_X86_64
#else
#define HOST BUILT_IN
#endif

/* What one run holds; run_done() lets go of all of it. */
struct run {
	const struct run_opts *opts;
	struct spec wish; /* as typed */
	struct kept kept; /* of one with a name; its store is everybody's */
	bool fresh;	  /* its folder was not there before */
	struct guest_end end;
	/* of one without a name */
	struct spec spec;
	struct image image;
	int folder, disk_fd, seed_fd; /* -1: none */
	struct guest_disk disk;
	char *vars;    /* found beside the firmware */
	char *trace;   /* the words of --trace-cpu; its file is behind them */
	char *restore; /* a copy: a monitor's title goes over what was typed */
	char disk_at[32], seed_at[32], temp[32];
	bool temp_ours; /* a zone's folder, which no zone takes with it yet */
	char append[1024];
	struct shares shares;
	struct tapes tapes;
	struct arena *arena; /* of words for a zone */
};

/* run_options.c: from what was typed to wish; what it refers to is c's, or r's. */
int run_options(struct run *r, const struct call *c, struct err *e);
#endif
