/* What a zone may use, from the words of guests to those of a bundle, and to its control groups. */
#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"
#include "zone/group.h"
#include "zone/keeper.h"
#include "zone/spec.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void put_number(struct number *n, uint64_t v)
{
	if (v) *n = (struct number){true, (int64_t)v};
}

static const char *cpus_text(uint64_t set, struct arena *a)
{
	const char *to = "";
	for (unsigned i = 0; i < 64; i++)
		if (set >> i & 1) to = arena_text(a, "%s%s%u", to, *to ? "," : "", i);
	return to;
}

enum { PERIOD_US = 100000, SHARES = 1024, PIDS = 4096, IO_WEIGHT = 100 };

/* What was asked for, and what is lifted; what never was is left as the host has it. */
static void resources_fill(struct spec_resources *r, const struct keeper_limits *l,
			   const struct keeper_limits *had, const struct keeper_host *host,
			   struct arena *a)
{
	if (l->memory | had->memory)
		put_number(&r->memory->limit, l->memory ? l->memory : UINT64_MAX);
	if (l->cpu_cap | had->cpu_cap) {
		put_number(&r->cpu->quota,
			   l->cpu_cap ? l->cpu_cap * (PERIOD_US / 1000) : UINT64_MAX);
		put_number(&r->cpu->period, PERIOD_US);
	}
	if (l->cpu_shares | had->cpu_shares)
		put_number(&r->cpu->shares, l->cpu_shares ? l->cpu_shares : SHARES);
	if (l->pids | had->pids) put_number(&r->pids->limit, l->pids ? l->pids : PIDS);
	if (l->io_weight | had->io_weight)
		put_number(&r->block_io->weight, l->io_weight ? l->io_weight : IO_WEIGHT);
	if (l->cpu_set) r->cpu->cpus = cpus_text(l->cpu_set, a);
	if (!l->cpu_set && had->cpu_set) r->cpu->cpus = arena_text(a, "0-%ld", host->cpus - 1);
}

/* Only whole disks can be limited. */
static void whole_disk(dev_t part, int64_t *to_major, int64_t *to_minor)
{
	char path[64];
	auto_buf struct buf b = {0};
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(part),
		       minor(part));
	*to_major = major(part);
	*to_minor = minor(part);
	if (!file_exists(path)) return;
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", major(part), minor(part));
	if (file_read(&b, path, sizeof(path), NULL) || !b.at ||
	    sscanf(b.at, "%" SCNd64 ":%" SCNd64, to_major, to_minor) != 2)
		*to_major = 0;
}

void keeper_host(struct keeper_host *h, int folder)
{
	struct stat st;
	*h = (struct keeper_host){.cpus = sysconf(_SC_NPROCESSORS_CONF)};
	if (!fstat(folder, &st)) whole_disk(st.st_dev, &h->major, &h->minor);
}

static int disk_fill(struct spec_block_io *b, const struct keeper_limits *l,
		     const struct keeper_limits *had, const struct keeper_host *host,
		     struct arena *a, struct err *e)
{
	if (!(l->io_rate | l->io_ops | had->io_rate | had->io_ops)) return 0;
	if (!host->major)
		return fail(e, -ENOTSUP,
			    "io-rate, io-ops: what holds this zone's files is no disk of its own");
	struct spec_throttle *t = arena_make(a, struct spec_throttle, 2);
	t[0] = (struct spec_throttle){host->major, host->minor, l->io_rate};
	t[1] = (struct spec_throttle){host->major, host->minor, l->io_ops};
	b->read_bps.at = b->write_bps.at = &t[0];
	b->read_iops.at = b->write_iops.at = &t[1];
	b->read_bps.n = b->write_bps.n = l->io_rate || had->io_rate;
	b->read_iops.n = b->write_iops.n = l->io_ops || had->io_ops;
	return 0;
}

/* From where on it is made to swap; a bundle has no word for version 2's. */
static int memory_high(const struct group *g, uint64_t bytes, struct err *e)
{
	bool two;
	char text[32] = "max";
	int dir = group_dir(g, "memory", &two);
	if (dir < 0) return fail(e, -ENOTSUP, "memory-high: no control group of memory");
	if (bytes) (void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
	if (!bytes && !two) (void)snprintf(text, sizeof(text), "-1");
	int r = group_write(dir, two ? "memory.high" : "memory.soft_limit_in_bytes", text);
	return r ? fail(e, r, "memory-high: %s", strerror(-r)) : 0;
}

/* Only version 2 has a word for what is not taken. */
static int memory_low(const struct group *g, uint64_t bytes, struct err *e)
{
	bool two = false;
	char text[32];
	int dir = group_dir(g, "memory", &two);
	if (dir < 0 || !two)
		return fail(e, -ENOTSUP,
			    "memory-reservation: takes version 2 of the control group of memory, "
			    "which this machine has not");
	(void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
	int r = group_write(dir, "memory.low", text);
	return r ? fail(e, r, "memory-reservation: %s", strerror(-r)) : 0;
}

int keeper_limit(const struct group *g, const struct keeper_limits *l,
		 const struct keeper_limits *had, const struct keeper_host *host, struct arena *a,
		 struct err *e)
{
	struct spec_memory m = {0};
	struct spec_cpu c = {0};
	struct spec_pids p = {0};
	struct spec_block_io io = {0};
	struct spec_resources r = {.memory = &m, .cpu = &c, .pids = &p, .block_io = &io};
	resources_fill(&r, l, had, host, a);
	int bad = disk_fill(&io, l, had, host, a, e);
	if (!bad) bad = group_limit(g, &r, false, e);
	if (!bad && (l->memory_high | had->memory_high)) bad = memory_high(g, l->memory_high, e);
	if (!bad && (l->memory_low | had->memory_low)) bad = memory_low(g, l->memory_low, e);
	return bad;
}
