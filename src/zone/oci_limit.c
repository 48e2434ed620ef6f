/* pause, resume, update. */
#include "base/buf.h"
#include "zone/oci_impl.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int freeze(struct oci *o, bool frozen, struct err *e)
{
	struct place p;
	struct group g;
	int r = oci_open(o, &p, &g, true, e);
	if (r) return r;
	enum place_status now = place_status(&p, &g);
	if (frozen ? now != PLACE_RUNNING && now != PLACE_CREATED : now != PLACE_PAUSED)
		r = fail(e, -EINVAL, "zone %s: is %s: container not %s", p.id, place_words[now],
			 frozen ? "running" : "paused");
	if (!r) r = oci_vm_is(&p) ? oci_vm_pause(o, &p, frozen, e) : group_freeze(&g, frozen, e);
	group_close(&g);
	place_close(&p);
	return r;
}

int oci_pause(struct oci *o, struct err *e) { return freeze(o, true, e); }
int oci_resume(struct oci *o, struct err *e) { return freeze(o, false, e); }

struct into {
	struct spec_resources r;
	struct spec_cpu cpu;
	struct spec_memory memory;
	struct spec_pids pids;
	struct spec_block_io block_io;
};
static const struct row {
	const char *name;
	size_t at;
	bool text;
} rows[] = {
	{"blkio-weight", offsetof(struct into, block_io.weight), false},
	{"cpu-period", offsetof(struct into, cpu.period), false},
	{"cpu-quota", offsetof(struct into, cpu.quota), false},
	{"cpu-share", offsetof(struct into, cpu.shares), false},
	{"cpu-rt-period", offsetof(struct into, cpu.realtime_period), false},
	{"cpu-rt-runtime", offsetof(struct into, cpu.realtime_runtime), false},
	{"cpuset-cpus", offsetof(struct into, cpu.cpus), true},
	{"cpuset-mems", offsetof(struct into, cpu.mems), true},
	{"memory", offsetof(struct into, memory.limit), false},
	{"memory-reservation", offsetof(struct into, memory.reservation), false},
	{"memory-swap", offsetof(struct into, memory.swap), false},
	{"kernel-memory", offsetof(struct into, memory.kernel), false},
	{"kernel-memory-tcp", offsetof(struct into, memory.kernel_tcp), false},
	{"pids-limit", offsetof(struct into, pids.limit), false},
};

static int limit_take(struct into *t, const char *word, struct err *e)
{
	size_t n = strcspn(word, "=");
	const char *value = word + n + 1;
	char *end;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		if (strlen(r->name) != n || strncmp(r->name, word, n)) continue;
		if (r->text) {
			*(const char **)((char *)t + r->at) = value;
			return 0;
		}
		errno = 0;
		long long v = strtoll(value, &end, 10);
		const char *unit = "bkmgt", *is = strchr(unit, tolower((unsigned char)*end));
		if (end != value && *end && is && strstr(r->name, "memory") && !end[1] &&
		    !__builtin_mul_overflow(v, 1ll << 10 * (is - unit), &v))
			end++;
		if (end == value || *end || errno)
			return fail(e, -EINVAL, "--%s: a number is wanted", word);
		*(struct number *)((char *)t + r->at) = (struct number){true, v};
		return 0;
	}
	return fail(e, -EINVAL, "--%s: no such limit", word);
}

static int resources_take(struct oci *o, struct into *t, struct spec_resources **out, struct err *e)
{
	auto_buf struct buf b = {0};
	*out = &t->r;
	if (o->resources) {
		const char *file = strcmp(o->resources, "-") ? o->resources : "/dev/stdin";
		int r = oci_read(AT_FDCWD, file, SPEC_MAX, &b, e);
		return r ? r : spec_parse_resources(&t->r, b.at, b.len, o->a, e);
	}
	t->r.cpu = &t->cpu;
	t->r.memory = &t->memory;
	t->r.pids = &t->pids;
	t->r.block_io = &t->block_io;
	for (unsigned i = 0; i < o->limits.n; i++) {
		int r = limit_take(t, o->limits.at[i], e);
		if (r) return r;
	}
	return 0;
}

int oci_update(struct oci *o, struct err *e)
{
	struct place p;
	struct group g;
	struct into t = {0};
	struct spec_resources *rs;
	int r = oci_open(o, &p, &g, true, e);
	if (r) return r;
	if (place_status(&p, NULL) == PLACE_STOPPED)
		r = fail(e, -EINVAL, "zone %s: container is not running", p.id);
	if (!r) r = oci_vm_cannot(&p, "update", e);
	if (!r) r = resources_take(o, &t, &rs, e);
	if (!r) r = group_limit(&g, rs, rs->devices.n > 0, e);
	group_close(&g);
	place_close(&p);
	return r;
}
