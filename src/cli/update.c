/* lodge update, and what run takes of the same: limits as people write them. A guest that runs is
 * told by its monitor, which also records it; of one that does not, the record is changed. */
#include "cli/update.h"
#include "base/types.h"
#include "cli/cli.h"
#include "cli/kept.h"
#include "cli/zones.h"
#include "guest/control.h"
#include "guest/limits.h"
#include "guest/spec.h"
#include "store/store.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THOUSAND = 1000, CPUS_MOST = 1024, WORDS = 256 };

int cpus_parse(unsigned *cpus, uint64_t *cap, const char *text, struct err *e)
{
	char *end;
	bool number = isdigit((unsigned char)*text) || *text == '.';
	double v = number && !text[strspn(text, "0123456789.")] ? strtod(text, &end) : 0;
	if (v < 0.01 || v > CPUS_MOST || *end)
		return fail(e, -EINVAL, "--cpus: '%s' is not a number of CPUs, such as 2 or 1.5",
			    text);
	*cap = (uint64_t)(v * THOUSAND + 0.5);
	*cpus = (unsigned)((*cap + THOUSAND - 1) / THOUSAND);
	if (*cap % THOUSAND == 0) *cap = 0;
	return 0;
}

struct update_opts {
	const char *memory, *high, *cpus, *shares, *io_rate, *io_ops, *cpuset, *pids, *weight, *low;
};
#define AT(member) offsetof(struct update_opts, member)
static const struct opt update_table[] = {
	{"cpu-shares", 0, OPT_TEXT, AT(shares), "N",
	 "Its weight where this machine's CPUs are short: 1024 is usual.", NULL},
	{"cpus", 'c', OPT_TEXT, AT(cpus), "N",
	 "The most CPU time that it uses, in CPUs of this machine: 0.5, 2; max lifts the limit.",
	 "max"},
	{"cpuset-cpus", 0, OPT_TEXT, AT(cpuset), "0-2,4",
	 "Of a zone: on which of this machine's CPUs it runs, or max: all.", "max"},
	{"io-ops", 0, OPT_TEXT, AT(io_ops), "N",
	 "The most requests a second that each of its disks serves, or max.", "max"},
	{"io-rate", 0, OPT_TEXT, AT(io_rate), "SIZE",
	 "The most that each of its disks reads and writes a second: 10M, or max.", "max"},
	{"io-weight", 0, OPT_TEXT, AT(weight), "N",
	 "Of a zone: its weight where disks are busy, 10 to 1000.", "max"},
	{"memory", 'm', OPT_TEXT, AT(memory), "SIZE",
	 "How much of its memory it is to keep, such as 256M, or max: all. Of a zone: the most "
	 "that "
	 "it has, or what it was run with.",
	 "max"},
	{"memory-high", 0, OPT_TEXT, AT(high), "SIZE",
	 "How much of this machine's memory its process keeps before it is made to swap, or max.",
	 "max"},
	{"memory-reservation", 0, OPT_TEXT, AT(low), "SIZE",
	 "Of a zone: memory that is not taken from it while others have more, or max: none.",
	 "max"},
	{"pids-limit", 0, OPT_TEXT, AT(pids), "N",
	 "Of a zone: how many processes it may have, or max: as usual.", "max"},
	{0},
};
static const struct update_opts update_defaults;

static int take_size(uint64_t *to, const char *text, struct err *e)
{
	return strcmp(text, "max") != 0 ? size_parse(to, text, e) : 0;
}

static int take_cpus(uint64_t *to, const char *text, struct err *e)
{
	unsigned whole;
	if (!strcmp(text, "max")) return 0;
	int r = cpus_parse(&whole, to, text, e);
	if (!r && !*to) *to = (uint64_t)whole * THOUSAND;
	return r;
}

static int take_count(uint64_t *to, const char *text, struct err *e)
{
	char *end;
	if (!strcmp(text, "max")) return 0;
	*to = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : 0;
	return *to && !*end ? 0 : fail(e, -EINVAL, "'%s' is not a number, nor max", text);
}

static int take_set(uint64_t *to, const char *text, struct err *e)
{
	return strcmp(text, "max") != 0 ? cpuset_parse(to, text, e) : 0;
}

/* The request's words, without its name. */
static int words_of(char to[WORDS], const struct update_opts *o, struct err *e)
{
	const struct {
		const char *name, *text;
		int (*take)(uint64_t *to, const char *text, struct err *e);
	} all[] = {{"memory", o->memory, take_size},	  {"cpus", o->cpus, take_cpus},
		   {"cpu-shares", o->shares, take_count}, {"io-rate", o->io_rate, take_size},
		   {"io-ops", o->io_ops, take_count},	  {"memory-high", o->high, take_size},
		   {"cpuset", o->cpuset, take_set},	  {"pids", o->pids, take_count},
		   {"io-weight", o->weight, take_count},  {"memory-low", o->low, take_size}};
	size_t n = 0;
	to[0] = 0;
	for (unsigned i = 0; i < COUNT(all); i++) {
		uint64_t v = 0;
		if (!all[i].text) continue;
		int r = all[i].take(&v, all[i].text, e);
		if (r) return fail_in(e, "--%s", all[i].name);
		n += (size_t)snprintf(to + n, WORDS - n, "%s%s %llu", n ? " " : "", all[i].name,
				      (unsigned long long)v);
	}
	return n ? 0 : fail(e, -EINVAL, "update: nothing to change; see lodge update --help");
}

static int update_idle(struct store *s, const char *name, const char *words, struct err *e)
{
	struct kept k = {.store = s, .folder = -1};
	int r = kept_lock(&k, name, false, e);
	if (!r && !*k.record.id) r = fail(e, -ENOENT, "guest %s: nothing is recorded of it", name);
	if (!r) r = limits_take(&k.record.spec.limits, words, e);
	if (!r)
		r = limits_check(&k.record.spec.limits,
				 spec_is_zone(&k.record.spec) ? 0 : k.record.spec.memory, e);
	if (!r) r = record_write(&k.record, k.folder, e);
	kept_done(&k);
	return r;
}

static int update_one(struct store *s, const char *name, void *ctx, struct err *e)
{
	char request[WORDS + 8];
	const char *words = ctx;
	(void)snprintf(request, sizeof(request), "update %s", words);
	int r = control_call(name, request, NULL, NULL, e);
	if (r == -ENOENT) r = update_idle(s, name, words, e);
	if (!r) printf("%s\n", name);
	return r;
}

static int update_run(const struct call *c, struct err *e)
{
	char words[WORDS];
	int r = words_of(words, c->opts, e);
	return r ? r : kept_each(c, update_one, words, e);
}

const struct verb verb_update = {
	.name = "update",
	.args = "GUEST...",
	.summary = "Change what guests may use, also while they run",
	.text = "Memory is taken from a running guest by its balloon, as fast as the guest can, "
		"and\n"
		"given back; it never gets more than it was started with, or than --memory-max "
		"said\n"
		"then. 'lodge stats' tells how far that is. It stays so when the guest is started "
		"again.",
	.examples = "lodge update --memory 256M --cpus 0.5 web\n"
		    "lodge update --memory max --cpus max web",
	.opts = update_table,
	.defaults = &update_defaults,
	.size = sizeof(update_defaults),
	.min_args = 1,
	.max_args = 64,
	.completes = "guest",
	.run = update_run,
};
