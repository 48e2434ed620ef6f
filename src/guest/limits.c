/* Limits by a table: what is added to the struct is a line here and in spec.c. */
#include "guest/limits.h"
#include "base/types.h"
#include "guest/guest.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_LEAST (32 * MIB)
#define SHARES_MOST  262144
static const struct {
	const char *name;
	size_t at;
} table[] = {
	{"memory", offsetof(struct limits, target)},
	{"cpus", offsetof(struct limits, cpu_cap)},
	{"cpu-shares", offsetof(struct limits, cpu_shares)},
	{"io-rate", offsetof(struct limits, io_rate)},
	{"io-ops", offsetof(struct limits, io_ops)},
	{"memory-high", offsetof(struct limits, memory_high)},
	{"cpuset", offsetof(struct limits, cpu_set)},
	{"pids", offsetof(struct limits, pids)},
	{"io-weight", offsetof(struct limits, io_weight)},
	{"memory-low", offsetof(struct limits, memory_low)},
};

const char *limits_name(unsigned n) { return n < COUNT(table) ? table[n].name : NULL; }
uint64_t *limits_at(struct limits *l, unsigned n) { return (void *)((char *)l + table[n].at); }

static int take_one(struct limits *l, const char *name, size_t len, uint64_t v, struct err *e)
{
	for (unsigned i = 0; i < COUNT(table); i++) {
		if (strlen(table[i].name) != len || memcmp(name, table[i].name, len)) continue;
		*limits_at(l, i) = v;
		return 0;
	}
	return fail(e, -EINVAL,
		    "update: no such limit; there are: memory, cpus, cpu-shares, "
		    "io-rate, io-ops, memory-high, cpuset, pids, io-weight, memory-low");
}

int limits_take(struct limits *l, const char *words, struct err *e)
{
	int r = *words ? 0 : fail(e, -EINVAL, "update: of what?");
	while (!r && *words) {
		size_t len = strcspn(words, " ");
		const char *number = words + len + (words[len] == ' ');
		char *end;
		if (!isdigit((unsigned char)*number))
			return fail(e, -EINVAL, "update: a number is missing");
		errno = 0;
		uint64_t v = strtoull(number, &end, 10);
		if (errno || (*end && *end != ' ')) return fail(e, -EINVAL, "update: not a number");
		r = take_one(l, words, len, v, e);
		words = end + (*end == ' ');
	}
	return r;
}

int limits_check(const struct limits *l, uint64_t memory, struct err *e)
{
	if (l->target && l->target < MEMORY_LEAST)
		return fail(e, -EINVAL,
			    "memory: %llu bytes is too little to keep, the least is %dM",
			    (unsigned long long)l->target, (int)(MEMORY_LEAST / MIB));
	if (memory && l->target > memory)
		return fail(e, -EINVAL,
			    "memory: it was started with %lluM, and cannot get more while it runs",
			    (unsigned long long)(memory / MIB));
	if (l->memory_high && l->memory_high < MEMORY_LEAST)
		return fail(e, -EINVAL, "memory-high: the least is %dM", (int)(MEMORY_LEAST / MIB));
	if (l->cpu_cap && l->cpu_cap < CPU_CAP_LEAST)
		return fail(e, -EINVAL, "cpus: the least is 0.01");
	if (l->cpu_shares && (l->cpu_shares < 2 || l->cpu_shares > SHARES_MOST))
		return fail(e, -EINVAL, "cpu-shares: from 2 to %d", SHARES_MOST);
	if (l->io_rate && l->io_rate < IO_RATE_LEAST)
		return fail(e, -EINVAL, "io-rate: the least is %d bytes a second", IO_RATE_LEAST);
	if (l->io_weight && (l->io_weight < 10 || l->io_weight > 1000))
		return fail(e, -EINVAL, "io-weight: from 10 to 1000");
	return 0;
}
