/* linux.resources to files of both versions. What a host cannot do is an error if it was asked
 * for, but aloud and gone on without where the groups are not ours to write. */
#include "base/buf.h"
#include "zone/group.h"
#include "zone/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct limits {
	const struct group *g;
	struct err *e;
};

uint64_t group_weight(uint64_t shares)
{
	if (!shares) return 0;
	if (shares < 2) shares = 2;
	if (shares > 262144) shares = 262144;
	return 1 + (shares - 2) * 9999 / 262142;
}

/* A file of a controller; code: what writing gave. */
static int told(const struct limits *l, const char *what, const char *text, int code)
{
	if (!code) return 0;
	if (l->g->lame && (code == -EACCES || code == -EPERM || code == -ENOENT)) return 0;
	return fail(l->e, code, "linux.resources: %s: %s: %s", what, text, strerror(-code));
}

static int set_text(const struct limits *l, const char *controller, const char *v1, const char *v2,
		    const char *text)
{
	bool two;
	int dir = group_dir(l->g, controller, &two);
	const char *file = two ? v2 : v1;
	if (dir < 0 && l->g->lame) return 0;
	if (dir < 0) {
		oci_log(OCI_WARNING,
			"linux.resources: this host has no control group %s: going on "
			"without its limit",
			controller);
		return 0;
	}
	return file ? told(l, file, text, group_write(dir, file, text)) : 0;
}

static int set_number(const struct limits *l, const char *controller, const char *v1,
		      const char *v2, int64_t v)
{
	bool two;
	char text[24];
	(void)group_dir(l->g, controller, &two);
	(void)snprintf(text, sizeof(text), "%" PRId64, v);
	return set_text(l, controller, v1, v2, two && v < 0 ? "max" : text);
}

static int cpu_max(const struct limits *l, const struct spec_cpu *c, int dir)
{
	char text[64];
	auto_buf struct buf old = {0};
	int64_t quota = -1, period = 100000;
	if (group_read(dir, "cpu.max", &old) && old.at &&
	    sscanf(old.at, "%" SCNd64 " %" SCNd64, &quota, &period) != 2)
		(void)sscanf(old.at, "max %" SCNd64, &period);
	if (c->quota.set && c->quota.v) quota = c->quota.v;
	if (c->period.set && c->period.v) period = c->period.v;
	if (quota < 0)
		(void)snprintf(text, sizeof(text), "max %" PRId64, period);
	else
		(void)snprintf(text, sizeof(text), "%" PRId64 " %" PRId64, quota, period);
	return told(l, "cpu.max", text, group_write(dir, "cpu.max", text));
}

/* A quota may only be set that fits the period of then: whichever fits first. */
static int cpu_quota_v1(const struct limits *l, const struct spec_cpu *c)
{
	int r = 0;
	bool two, period = c->period.set && c->period.v, quota = c->quota.set && c->quota.v;
	char text[24];
	(void)snprintf(text, sizeof(text), "%" PRId64, c->period.v);
	int dir = group_dir(l->g, "cpu", &two);
	bool later = period && dir >= 0 && group_write(dir, "cpu.cfs_period_us", text) != 0;
	if (quota) r = set_number(l, "cpu", "cpu.cfs_quota_us", NULL, c->quota.v);
	if (!r && (later || (period && dir < 0)))
		r = set_text(l, "cpu", "cpu.cfs_period_us", NULL, text);
	return r;
}

static int cpu_limit(const struct limits *l, const struct spec_cpu *c)
{
	bool two;
	int r = 0, dir = group_dir(l->g, "cpu", &two);
	if (c->shares.set && c->shares.v)
		r = set_number(l, "cpu", "cpu.shares", "cpu.weight",
			       two ? (int64_t)group_weight((uint64_t)c->shares.v) : c->shares.v);
	if (!r && (c->quota.set || c->period.set))
		r = two && dir >= 0 ? cpu_max(l, c, dir) : cpu_quota_v1(l, c);
	if (!r && c->burst.set)
		r = set_number(l, "cpu", "cpu.cfs_burst_us", "cpu.max.burst", c->burst.v);
	if (!r && c->idle.set) r = set_number(l, "cpu", "cpu.idle", "cpu.idle", c->idle.v);
	if (!r && c->realtime_period.set && c->realtime_period.v)
		r = set_number(l, "cpu", "cpu.rt_period_us", NULL, c->realtime_period.v);
	if (!r && c->realtime_runtime.set && c->realtime_runtime.v)
		r = set_number(l, "cpu", "cpu.rt_runtime_us", NULL, c->realtime_runtime.v);
	if (!r && c->cpus && *c->cpus)
		r = set_text(l, "cpuset", "cpuset.cpus", "cpuset.cpus", c->cpus);
	if (!r && c->mems && *c->mems)
		r = set_text(l, "cpuset", "cpuset.mems", "cpuset.mems", c->mems);
	return r;
}

/* What only version 1 has is no wish to be forgotten. */
static int v1_only(const struct limits *l, const char *what, bool asked)
{
	return asked ? fail(l->e, -ENOTSUP,
			    "linux.resources.%s: cgroup version 2 has no such limit", what)
		     : 0;
}

static int memory_v2(const struct limits *l, const struct spec_memory *m)
{
	int r;
	if ((r = v1_only(l, "memory.swappiness", m->swappiness.set)) ||
	    (r = v1_only(l, "memory.disableOOMKiller", m->disable_oom_killer)) ||
	    (r = v1_only(l, "memory.kernelTCP", m->kernel_tcp.set && m->kernel_tcp.v)))
		return r;
	if (m->swap.set && m->swap.v) {
		int64_t swap = m->swap.v < 0 ? -1 : m->swap.v - (m->limit.set ? m->limit.v : 0);
		if (m->swap.v > 0 && (!m->limit.set || m->limit.v <= 0))
			return fail(l->e, -EINVAL, "linux.resources.memory.swap: needs a limit");
		if (m->swap.v > 0 && swap < 0)
			return fail(l->e, -EINVAL,
				    "linux.resources.memory.swap: is memory and swap "
				    "together: less than the limit");
		r = set_number(l, "memory", NULL, "memory.swap.max", swap);
	}
	if (!r && m->limit.set && m->limit.v)
		r = set_number(l, "memory", NULL, "memory.max", m->limit.v);
	if (!r && m->reservation.set && m->reservation.v)
		r = set_number(l, "memory", NULL, "memory.low", m->reservation.v);
	return r;
}

/* Memory and swap together may never be less than memory alone, also in between. */
static int memory_v1(const struct limits *l, const struct spec_memory *m)
{
	static const char limit[] = "memory.limit_in_bytes", both[] = "memory.memsw.limit_in_bytes";
	bool two, has_limit = m->limit.set && m->limit.v, has_swap = m->swap.set && m->swap.v;
	int r = 0, dir = group_dir(l->g, "memory", &two);
	int64_t swap = m->swap.v;
	char text[24];
	(void)snprintf(text, sizeof(text), "%" PRId64, m->limit.v);
	/* Memory without end is both without end. */
	if (has_limit && m->limit.v < 0 && !has_swap && group_number(dir, both) >= 0)
		has_swap = true, swap = -1;
	bool later = has_limit && has_swap && dir >= 0 && group_write(dir, limit, text) != 0;
	if (has_swap) r = set_number(l, "memory", both, NULL, swap);
	if (!r && has_limit && (later || !has_swap || dir < 0))
		r = set_number(l, "memory", limit, NULL, m->limit.v);
	if (!r && m->reservation.set && m->reservation.v)
		r = set_number(l, "memory", "memory.soft_limit_in_bytes", NULL, m->reservation.v);
	if (!r && m->swappiness.set)
		r = set_number(l, "memory", "memory.swappiness", NULL, m->swappiness.v);
	if (!r && m->disable_oom_killer) r = set_text(l, "memory", "memory.oom_control", NULL, "1");
	if (!r && m->kernel_tcp.set && m->kernel_tcp.v)
		r = set_number(l, "memory", "memory.kmem.tcp.limit_in_bytes", NULL,
			       m->kernel_tcp.v);
	return r;
}

static int memory_limit(const struct limits *l, const struct spec_memory *m)
{
	bool two;
	int dir = group_dir(l->g, "memory", &two);
	if (m->check_before_update && dir >= 0 && m->limit.set && m->limit.v > 0) {
		int64_t now = group_number(dir, two ? "memory.current" : "memory.usage_in_bytes");
		if (now > m->limit.v)
			return fail(l->e, -EBUSY,
				    "linux.resources.memory.limit: %" PRId64
				    " bytes are in use already",
				    now);
	}
	return two && dir >= 0 ? memory_v2(l, m) : memory_v1(l, m);
}

static int throttle(const struct limits *l, const spec_throttles *t, const char *v1,
		    const char *key)
{
	bool two;
	char text[96];
	int r = 0;
	(void)group_dir(l->g, "io", &two);
	for (unsigned i = 0; !r && i < t->n; i++) {
		if (two && !t->at[i].rate)
			(void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %s=max",
				       t->at[i].major, t->at[i].minor, key);
		else
			(void)snprintf(text, sizeof(text),
				       two ? "%" PRId64 ":%" PRId64 " %s=%" PRIu64
					   : "%" PRId64 ":%" PRId64 "%s %" PRIu64,
				       t->at[i].major, t->at[i].minor, two ? key : "",
				       t->at[i].rate);
		r = set_text(l, two ? "io" : "blkio", v1, "io.max", text);
	}
	return r;
}

/* The weight is called after whichever scheduler the host's disks have. */
static int io_weight(const struct limits *l, const struct spec_block_io *b)
{
	bool two;
	int dir = group_dir(l->g, "io", &two);
	char text[32];
	int64_t w = b->weight.v;
	if (!b->weight.set || !w) return 0;
	if (dir >= 0 && two) {
		(void)snprintf(text, sizeof(text), "%" PRId64, w);
		if (!group_write(dir, "io.bfq.weight", text)) return 0;
		return set_number(l, "io", NULL, "io.weight", 1 + (w - 10) * 9999 / 990);
	}
	dir = group_dir(l->g, "blkio", &two);
	(void)snprintf(text, sizeof(text), "%" PRId64, w);
	if (dir >= 0 && !group_write(dir, "blkio.bfq.weight", text)) return 0;
	if (dir >= 0 && group_write(dir, "blkio.weight", text) == -ENOENT) {
		oci_log(OCI_WARNING, "linux.resources.blockIO.weight: no scheduler of this host's "
				     "disks knows weights: going on without");
		return 0;
	}
	return set_text(l, "blkio", "blkio.weight", NULL, text);
}

static int weight_devices(const struct limits *l, const struct spec_block_io *b)
{
	bool two;
	char text[64];
	int r = 0;
	(void)group_dir(l->g, "io", &two);
	for (unsigned i = 0; !r && i < b->weight_device.n; i++) {
		const struct spec_weight_device *d = &b->weight_device.at[i];
		if (!d->weight.set) continue;
		(void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %" PRId64, d->major,
			       d->minor, d->weight.v);
		r = set_text(l, two ? "io" : "blkio", "blkio.bfq.weight_device", "io.bfq.weight",
			     text);
	}
	return r;
}

static int block_limit(const struct limits *l, const struct spec_block_io *b)
{
	int r = io_weight(l, b);
	if (!r) r = weight_devices(l, b);
	if (!r) r = throttle(l, &b->read_bps, "blkio.throttle.read_bps_device", "rbps");
	if (!r) r = throttle(l, &b->write_bps, "blkio.throttle.write_bps_device", "wbps");
	if (!r) r = throttle(l, &b->read_iops, "blkio.throttle.read_iops_device", "riops");
	if (!r) r = throttle(l, &b->write_iops, "blkio.throttle.write_iops_device", "wiops");
	return r;
}

static bool file_word(const char *s) { return *s && !strchr(s, '/') && strcmp(s, ".."); }

static int huge_limit(const struct limits *l, const struct spec_resources *rs)
{
	int r = 0;
	char v1[96], v2[96], text[24];
	for (unsigned i = 0; !r && i < rs->hugepages.n; i++) {
		const struct spec_hugepage *h = &rs->hugepages.at[i];
		if (!h->page_size || !file_word(h->page_size) || strlen(h->page_size) > 32)
			return fail(l->e, -EINVAL, "linux.resources.hugepageLimits[%u].pageSize",
				    i);
		(void)snprintf(v1, sizeof(v1), "hugetlb.%s.limit_in_bytes", h->page_size);
		(void)snprintf(v2, sizeof(v2), "hugetlb.%s.max", h->page_size);
		(void)snprintf(text, sizeof(text), "%" PRIu64, h->limit);
		r = set_text(l, "hugetlb", v1, v2, text);
	}
	return r;
}

static int net_limit(const struct limits *l, const struct spec_network *n)
{
	char text[96];
	int r = 0;
	if (n->class_id.set && n->class_id.v)
		r = set_number(l, "net_cls", "net_cls.classid", NULL, n->class_id.v);
	for (unsigned i = 0; !r && i < n->priorities.n; i++) {
		if (!n->priorities.at[i].name || strlen(n->priorities.at[i].name) > 64)
			return fail(l->e, -EINVAL, "linux.resources.network.priorities[%u].name",
				    i);
		(void)snprintf(text, sizeof(text), "%s %u", n->priorities.at[i].name,
			       n->priorities.at[i].priority);
		r = set_text(l, "net_prio", "net_prio.ifpriomap", NULL, text);
	}
	return r;
}

static int unified_limit(const struct limits *l, const struct pairs *u)
{
	int dir = group_into(l->g);
	for (unsigned i = 0; i < u->n; i++) {
		const char *file = u->key[i];
		if (!file_word(file) || !strchr(file, '.') || !strncmp(file, "cgroup.", 7))
			return fail(l->e, -EINVAL,
				    "linux.resources.unified: %s: no limit has that "
				    "name",
				    file);
		if (dir < 0)
			return fail(l->e, -EINVAL,
				    "linux.resources.unified: %s: this host has no "
				    "control groups of version 2",
				    file);
		int r = group_write(dir, file, u->value[i]);
		if ((r = told(l, file, u->value[i], r))) return r;
	}
	return 0;
}

int group_limit(const struct group *g, const struct spec_resources *rs, bool devices_too,
		struct err *e)
{
	struct limits l = {g, e};
	int r = 0;
	if (devices_too) r = group_devices(g, rs, e);
	if (!rs || r) return r;
	if (rs->cpu) r = cpu_limit(&l, rs->cpu);
	if (!r && rs->memory) r = memory_limit(&l, rs->memory);
	if (!r && rs->pids && rs->pids->limit.set && rs->pids->limit.v)
		r = rs->pids->limit.v < 0
			    ? set_text(&l, "pids", "pids.max", "pids.max", "max")
			    : set_number(&l, "pids", "pids.max", "pids.max", rs->pids->limit.v);
	if (!r && rs->block_io) r = block_limit(&l, rs->block_io);
	if (!r) r = huge_limit(&l, rs);
	if (!r && rs->network) r = net_limit(&l, rs->network);
	return r ? r : unified_limit(&l, &rs->unified);
}
