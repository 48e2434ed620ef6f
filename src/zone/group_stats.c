/* What a zone uses, in the words of runc's `events --stats`. */
#include "base/buf.h"
#include "zone/group.h"
#include <ctype.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct json_object *child(struct json_object *o, const char *key)
{
	struct json_object *c = json_object_new_object();
	(void)json_object_object_add(o, key, c);
	return c;
}

static void add(struct json_object *o, const char *key, int64_t v)
{
	if (v >= 0) (void)json_object_object_add(o, key, json_object_new_int64(v));
}

/* "key value" lines: fn for each. */
static void lines(int dir, const char *file, void (*fn)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	auto_buf struct buf b = {0};
	if (dir < 0 || !group_read(dir, file, &b) || !b.at) return;
	for (char *at = b.at, *line; (line = strsep(&at, "\n"));) {
		char *value = strchr(line, ' ');
		if (!value) continue;
		*value++ = 0;
		fn(ctx, line, strtoull(value, NULL, 10));
	}
}

struct want {
	const char *key;
	int64_t v;
};
static void want_look(void *ctx, const char *key, uint64_t v)
{
	struct want *w = ctx;
	if (!strcmp(w->key, key)) w->v = (int64_t)v;
}
static int64_t line_of(int dir, const char *file, const char *key)
{
	struct want w = {key, -1};
	lines(dir, file, want_look, &w);
	return w.v;
}

static void raw_add(void *ctx, const char *key, uint64_t v)
{
	(void)json_object_object_add(ctx, key, json_object_new_uint64(v));
}

static int64_t thousandfold(int64_t v) { return v < 0 ? v : v * 1000; }

static void percpu(int dir, struct json_object *usage)
{
	auto_buf struct buf b = {0};
	struct json_object *list = json_object_new_array();
	if (group_read(dir, "cpuacct.usage_percpu", &b) && b.at)
		for (char *at = b.at, *end; *at; at = end) {
			uint64_t v = strtoull(at, &end, 10);
			if (end == at) break;
			(void)json_object_array_add(list, json_object_new_uint64(v));
		}
	(void)json_object_object_add(usage, "percpu", list);
}

static void cpu(const struct group *g, struct json_object *data)
{
	bool two;
	int dir = group_dir(g, "cpuacct", &two);
	struct json_object *c = child(data, "cpu"), *usage = child(c, "usage"),
			   *throttled = child(c, "throttling");
	if (dir >= 0) {
		int64_t ticks = sysconf(_SC_CLK_TCK), user = line_of(dir, "cpuacct.stat", "user"),
			system = line_of(dir, "cpuacct.stat", "system");
		add(usage, "total", group_number(dir, "cpuacct.usage"));
		percpu(dir, usage);
		add(usage, "kernel", system < 0 ? -1 : system * (1000000000 / ticks));
		add(usage, "user", user < 0 ? -1 : user * (1000000000 / ticks));
	} else {
		dir = group_into(g);
		add(usage, "total", thousandfold(line_of(dir, "cpu.stat", "usage_usec")));
		add(usage, "kernel", thousandfold(line_of(dir, "cpu.stat", "system_usec")));
		add(usage, "user", thousandfold(line_of(dir, "cpu.stat", "user_usec")));
	}
	int limited = group_dir(g, "cpu", &two);
	add(throttled, "periods", line_of(limited, "cpu.stat", "nr_periods"));
	add(throttled, "throttledPeriods", line_of(limited, "cpu.stat", "nr_throttled"));
	add(throttled, "throttledTime",
	    two ? thousandfold(line_of(limited, "cpu.stat", "throttled_usec"))
		: line_of(limited, "cpu.stat", "throttled_time"));
}

static void entry(struct json_object *memory, const char *key, int dir, const char *now,
		  const char *most, const char *limit, const char *failed)
{
	struct json_object *o = child(memory, key);
	int64_t cap = group_number(dir, limit);
	add(o, "usage", group_number(dir, now));
	if (most) add(o, "max", group_number(dir, most));
	(void)json_object_object_add(o, "limit",
				     cap < 0 ? json_object_new_uint64(UINT64_MAX)
					     : json_object_new_int64(cap));
	add(o, "failcnt", failed ? group_number(dir, failed) : 0);
}

static void memory(const struct group *g, struct json_object *data)
{
	bool two;
	int dir = group_dir(g, "memory", &two);
	struct json_object *m = child(data, "memory");
	if (dir < 0) return;
	if (two) {
		entry(m, "usage", dir, "memory.current", "memory.peak", "memory.max", NULL);
		entry(m, "swap", dir, "memory.swap.current", NULL, "memory.swap.max", NULL);
	} else {
		entry(m, "usage", dir, "memory.usage_in_bytes", "memory.max_usage_in_bytes",
		      "memory.limit_in_bytes", "memory.failcnt");
		entry(m, "swap", dir, "memory.memsw.usage_in_bytes",
		      "memory.memsw.max_usage_in_bytes", "memory.memsw.limit_in_bytes",
		      "memory.memsw.failcnt");
	}
	add(m, "cache", line_of(dir, "memory.stat", two ? "file" : "cache"));
	lines(dir, "memory.stat", raw_add, child(m, "raw"));
}

static void pids(const struct group *g, struct json_object *data)
{
	bool two;
	int dir = group_dir(g, "pids", &two);
	struct json_object *p = child(data, "pids");
	if (dir < 0) return;
	add(p, "current", group_number(dir, "pids.current"));
	int64_t limit = group_number(dir, "pids.max");
	add(p, "limit", limit < 0 ? 0 : limit);
}

/* "8:0 Read 4096" lines. */
static void operations(int dir, const char *file, struct json_object *to, const char *key)
{
	auto_buf struct buf b = {0};
	struct json_object *list = json_object_new_array();
	(void)json_object_object_add(to, key, list);
	if (dir < 0 || !group_read(dir, file, &b) || !b.at) return;
	for (char *at = b.at, *line; (line = strsep(&at, "\n"));) {
		unsigned major, minor;
		char op[32];
		uint64_t v;
		if (sscanf(line, "%u:%u %31s %" SCNu64, &major, &minor, op, &v) != 4) continue;
		struct json_object *o = json_object_new_object();
		add(o, "major", major);
		add(o, "minor", minor);
		(void)json_object_object_add(o, "op", json_object_new_string(op));
		(void)json_object_object_add(o, "value", json_object_new_uint64(v));
		(void)json_object_array_add(list, o);
	}
}

static void blocks(const struct group *g, struct json_object *data)
{
	bool two;
	int dir = group_dir(g, "blkio", &two);
	struct json_object *b = child(data, "blkio");
	operations(dir, "blkio.throttle.io_service_bytes", b, "ioServiceBytesRecursive");
	operations(dir, "blkio.throttle.io_serviced", b, "ioServicedRecursive");
}

static void huge(const struct group *g, struct json_object *data)
{
	static const char *const sizes[] = {"2MB", "1GB"};
	bool two;
	int dir = group_dir(g, "hugetlb", &two);
	struct json_object *h = child(data, "hugetlb");
	for (unsigned i = 0; dir >= 0 && i < 2; i++) {
		char file[64];
		(void)snprintf(file, sizeof(file),
			       two ? "hugetlb.%s.current" : "hugetlb.%s.usage_in_bytes", sizes[i]);
		int64_t v = group_number(dir, file);
		if (v >= 0) add(child(h, sizes[i]), "usage", v);
	}
}

void group_stats(const struct group *g, struct buf *to)
{
	struct json_object *data = json_object_new_object();
	cpu(g, data);
	memory(g, data);
	pids(g, data);
	blocks(g, data);
	huge(g, data);
	buf_fmt(to, "%s", json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(data);
}
