/* The monitor of a zone. It is as confined as a vm's: what takes rights is the keeper's work. */
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "guest/agent.h"
#include "zone/files.h"
#include "zone/kind_impl.h"
#include "zone/zone.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* syscalls loop: socketpair fcntl */

enum { FOREVER = 86400 };
/* This process's, from prepare() to build(). */
static struct zone *prepared;

int zone_order(struct zone *z, const struct keeper_order *o, int give, int *take,
	       struct keeper_answer *to, struct err *e)
{
	return keeper_ask(&z->keeper, o, give, take, to, e);
}

static int simple(struct zone *z, enum keeper_op op, unsigned n, struct err *e)
{
	struct keeper_order o = {.op = op, .n = n};
	struct keeper_answer a;
	return zone_order(z, &o, -1, NULL, &a, e);
}

/* ---- before anything */
static void volumes_plan(struct plan *p, const struct spec *s)
{
	for (unsigned i = 0; i < s->nshares && i < PLAN_VOLUMES; i++)
		p->volume[p->nvolumes++] = (struct plan_volume){s->share[i].path, s->share[i].to,
								s->share[i].readonly};
}

static void plan_fill(struct plan *p, const struct spec *s)
{
	const struct spec_zone *z = &s->zone;
	static char group[80];
	(void)snprintf(group, sizeof(group), "/lodge-zone-%.40s-%d", s->id ? s->id : "unnamed",
		       s->id ? 0 : (int)getpid());
	if (s->id) (void)snprintf(group, sizeof(group), "/lodge-zone-%.40s", s->id);
	*p = (struct plan){.name = s->name,
			   .id = s->id,
			   .hostname = z->hostname ? z->hostname
				       : s->name   ? s->name
						   : "lodge",
			   .group = group,
			   .config = z->config,
			   .layer = z->layers.at,
			   .nlayers = z->layers.n,
			   .disk = z->disk,
			   .storage = z->storage,
			   .folder = z->folder,
			   .args = {z->args.at, z->args.n},
			   .env = {z->env.at, z->env.n},
			   .entrypoint = z->entrypoint,
			   .user = z->user,
			   .workdir = z->workdir,
			   .tty = z->tty,
			   .input = z->input,
			   .fleeting = z->temp || s->remove,
			   .net = z->host_net ? PLAN_NET_HOST : PLAN_NET_OWN};
	volumes_plan(p, s);
	if (z->host_ids) return;
	plan_ids(p);
	if (!p->nmaps)
		log_warn("the zone has this machine's ids, root's too: its own need Linux 6.15");
}

static int pipes_make(struct zone *z, struct err *e)
{
	for (unsigned i = 0; i < 3; i++) z->mine[i] = z->its[i] = -1;
	for (unsigned i = 0; i < 3 && !z->plan.tty; i++) {
		int p[2];
		if (!i && !z->plan.input) {
			z->its[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
			continue;
		}
		if (pipe2(p, O_CLOEXEC)) return fail(e, -errno, "pipe: %s", strerror(errno));
		z->mine[i] = p[!i];
		z->its[i] = p[!!i];
	}
	return 0;
}

static int prepare(const struct spec *s, struct err *e)
{
	struct zone *z = calloc(1, sizeof(*z));
	must(z);
	z->keeper = (struct keeper){.ask = -1, .event = -1};
	plan_fill(&z->plan, s);
	int r = pipes_make(z, e);
	if (!r) r = keeper_start(&z->keeper, &z->plan, z->its, s->zone.temp, e);
	for (unsigned i = 0; i < 3; i++) drop_fd(&z->its[i]);
	prepared = z;
	return r;
}

/* ---- its end */
static void over(void *ctx)
{
	struct zone *z = ctx;
	guest_exit(z->guest, z->code);
}

/* How it ended, or that nobody knows. */
static void event(void *ctx, uint32_t ready)
{
	struct zone *z = ctx;
	struct err why;
	int status;
	(void)ready;
	if (read(z->keeper.event, &status, sizeof(status)) != sizeof(status)) {
		(void)fail(&why, -EPIPE, "the zone's keeper is gone");
		watch_set(z->event, 0);
		guest_break(z->guest, &why);
		return;
	}
	z->ended = true;
	z->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	watch_set(z->event, 0);
	wire_finish(z->wire);
}

/* ---- struct kind */
static int accepts(const struct spec *s) { return s->kind && !strcmp(s->kind, "zone") ? 100 : 0; }

/* A program that is not there is how the zone ends, not a zone that could not be made. */
static int make(struct zone *z, struct err *e)
{
	struct keeper_order o = {.op = KEEPER_MAKE};
	struct keeper_answer a = {0};
	int master = -1, r = zone_order(z, &o, -1, &master, &a, e);
	if (z->plan.tty) z->mine[1] = master;
	if (!r || !a.exit) return r;
	z->gone = *e;
	z->code = a.exit;
	return 0;
}

static int build(struct guest *g, struct err *e)
{
	int r = prepared ? 0 : prepare(g->spec, e);
	struct zone *z = prepared;
	prepared = NULL;
	g->own = z;
	if (r) return r;
	z->guest = g;
	z->pumps = pumps_new(g->loop);
	r = make(z, e);
	if (!r) r = wire_new(&z->wire, g, z->mine, z->plan.tty, over, z, e);
	for (unsigned i = 0; i < 3; i++) z->mine[i] = -1;
	if (!r && !z->gone.code) r = zone_plug(z, e);
	if (!r) r = loop_watch(g->loop, &z->event, z->keeper.event, 0, event, z, e);
	return r;
}

static int never_ran(struct zone *z)
{
	log_say("%s", z->gone.msg);
	guest_exit(z->guest, z->code);
	return 0;
}

static int limit(struct guest *g, struct err *e)
{
	struct zone *z = g->own;
	const struct limits *l = &g->limits;
	struct keeper_order o = {.op = KEEPER_LIMIT};
	struct keeper_answer a;
	if (z->gone.code || z->ended) return 0;
	o.limits = (struct keeper_limits){.memory = l->target ? l->target : g->spec->memory,
					  .memory_high = l->memory_high,
					  .memory_low = l->memory_low,
					  .cpu_cap = l->cpu_cap,
					  .cpu_shares = l->cpu_shares,
					  .cpu_set = l->cpu_set,
					  .pids = l->pids,
					  .io_weight = l->io_weight,
					  .io_rate = l->io_rate,
					  .io_ops = l->io_ops};
	return zone_order(z, &o, -1, NULL, &a, e);
}

/* It is held to its limits before its program runs. */
static int start(struct guest *g, struct err *e)
{
	struct zone *z = g->own;
	struct keeper_order o = {.op = KEEPER_GO};
	struct keeper_answer a = {0};
	if (z->gone.code) return never_ran(z);
	int r = limit(g, e);
	if (r) return r;
	watch_set(z->event, EPOLLIN);
	wire_open(z->wire);
	r = zone_order(z, &o, -1, NULL, &a, e);
	if (!r || !a.exit) return r;
	z->gone = *e;
	z->code = a.exit;
	return never_ran(z);
}

static int stop(struct guest *g, bool force, struct err *e)
{
	struct zone *z = g->own;
	if (z->gone.code || z->ended) return force ? 0 : -ESRCH;
	return simple(z, KEEPER_SIGNAL, force ? SIGKILL : 0, e);
}

static int pause_it(struct guest *g, struct err *e) { return simple(g->own, KEEPER_FREEZE, 1, e); }
static int resume_it(struct guest *g, struct err *e) { return simple(g->own, KEEPER_FREEZE, 0, e); }

static int connect_to(struct guest *g, uint32_t port, int fd, struct err *e)
{
	struct zone *z = g->own;
	struct keeper_order o = {.op = KEEPER_ENTER};
	struct keeper_answer a;
	int ends[2];
	if (port != AGENT_EXEC_PORT) return fail(e, -ECONNREFUSED, "nobody listens there");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return fail(e, -errno, "socketpair: %s", strerror(errno));
	auto_fd int ours = ends[0], theirs = ends[1];
	int r = zone_order(z, &o, theirs, NULL, &a, e);
	if (!r) r = pumps_add(z->pumps, fd, ours, e);
	if (!r) ours = -1;
	return r;
}

static void stats(struct guest *g, struct guest_stats *to)
{
	struct zone *z = g->own;
	struct keeper_order o = {.op = KEEPER_STATS};
	struct keeper_answer a = {0};
	to->memory = to->target = g->limits.target ? g->limits.target : g->spec->memory;
	for (unsigned i = 0; i < SPEC_NETS; i++) {
		uint64_t sent = 0, received = 0;
		if (z->card[i]) port_moved(z->card[i], &sent, &received);
		to->net_sent += sent;
		to->net_received += received;
	}
	if (zone_order(z, &o, -1, NULL, &a, &(struct err){0})) return;
	to->cpu_ns = a.stats.cpu_ns;
	to->rss = to->resident = to->used = a.stats.memory;
}

static void free_it(struct guest *g)
{
	struct zone *z = g->own;
	if (!z) return;
	watch_free(z->event);
	wire_free(z->wire);
	for (unsigned i = 0; i < 3; i++) drop_fd(&z->mine[i]);
	pumps_free(z->pumps);
	keeper_end(&z->keeper);
	zone_unplug(z);
	free(z);
	g->own = NULL;
}

const struct kind kind_zone = {
	.name = "zone",
	.accepts = accepts,
	.prepare = prepare,
	.build = build,
	.start = start,
	.pause = pause_it,
	.resume = resume_it,
	.stop = stop,
	.connect = connect_to,
	.limit = limit,
	.limits_all = true,
	.stats = stats,
	.clean = keeper_clean,
	.files = &kind_zone_files,
	.free = free_it,
};
