/* A guest looked at from outside. Everything about the process comes from the kernel; what only the
 * kind knows, it fills in. */
#include "guest/stats.h"
#include "base/loop.h"
#include "base/own.h"
#include "base/title.h"
#include "base/usage.h"
#include "guest/guest.h"
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

/* /proc/self/statm: pages in all, then those in memory. */
static uint64_t resident(int fd)
{
	char text[128];
	unsigned long long pages = 0;
	auto_fd int own = fd > 0 ? -1 : open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd > 0 ? fd : own, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	if (sscanf(text, "%*u %llu", &pages) != 1) return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void guest_stats(struct guest *g, struct guest_stats *to)
{
	*to = (struct guest_stats){
		.kind = g->kind->name,
		.pid = title_pid(),
		.cpus = g->spec->cpus,
		.up_ns = now_ns() - g->began_ns,
		.cpu_ns = usage_ns(),
		.rss = resident(g->statm),
		.memory = g->spec->memory,
		.target = g->spec->memory,
	};
	(void)snprintf(to->name, sizeof(to->name), "%s", g->name);
	if (g->kind->stats) g->kind->stats(g, to);
}

static void put(struct json_object *o, const char *name, struct json_object *value)
{
	must(value && !json_object_object_add(o, name, value));
}
static struct json_object *number(uint64_t n) { return json_object_new_uint64(n); }

void guest_stats_json(const struct guest_stats *s, struct json_object *o)
{
	struct json_object *c = json_object_new_object();
	must(c);
	put(o, "name", json_object_new_string(s->name));
	put(o, "pid", json_object_new_int(s->pid));
	put(o, "kind", json_object_new_string(s->kind));
	if (s->engine) put(o, "engine", json_object_new_string(s->engine));
	put(o, "cpus", number(s->cpus));
	put(o, "up_ns", number(s->up_ns));
	put(o, "cpu_ns", number(s->cpu_ns));
	put(o, "memory_usage", number(s->rss));
	put(o, "memory_limit", number(s->memory));
	put(o, "memory_resident", number(s->resident));
	put(o, "memory_merged", number(s->merged));
	put(o, "memory_used", number(s->used));
	put(o, "memory_balloon", number(s->balloon));
	put(o, "memory_target", number(s->target));
	put(o, "disk_read", number(s->disk_read));
	put(o, "disk_written", number(s->disk_written));
	put(o, "net_received", number(s->net_received));
	put(o, "net_sent", number(s->net_sent));
	for (unsigned i = 0; i < s->counters.n; i++)
		put(c, s->counters.at[i].name, number(s->counters.at[i].value));
	put(o, "counters", c);
}
