/* One guest from build to end, whatever its kind. The idea: how a guest ended is decided once, by
 * whoever says it first (the guest, its board, a signal), and everything after that is freeing. */
#include "guest/guest.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/own.h"
#include "guest/agent.h"
#include "guest/cgroup.h"
#include "guest/console.h"
#include "guest/control.h"
#include "guest/gdb.h"
#include "guest/hold.h"
#include "guest/life.h"
#include "guest/network.h"
#include "guest/outside.h"
#include "guest/program.h"
#include "guest/spec.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { RUNNING, ENDING, ENDED };

static bool claim_end(struct guest *g)
{
	int expected = RUNNING;
	return __atomic_compare_exchange_n(&g->ended, &expected, ENDING, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static void publish_end(struct guest *g)
{
	__atomic_store_n(&g->ended, ENDED, __ATOMIC_RELEASE);
	loop_stop(g->loop, 0);
}

void guest_exit(struct guest *g, int code)
{
	struct err why;
	if (!code && program_missed(g->program, &why)) {
		guest_break(g, &why);
		return;
	}
	if (!claim_end(g)) return;
	g->exit_code = code;
	publish_end(g);
}

void guest_break(struct guest *g, const struct err *why)
{
	if (!claim_end(g)) return;
	g->broke = *why;
	publish_end(g);
}

static void on_signal(void *ctx, int sig)
{
	struct guest *g = ctx;
	bool force = g->signals++ > 0;
	int r = !force && g->program ? program_stop(g->program, NULL)
		: g->kind->stop	     ? g->kind->stop(g, force, NULL)
				     : -ENOTSUP;
	if (r < 0 || force) guest_exit(g, 128 + sig);
}

static int watch_signals(struct guest *g, struct err *e)
{
	static const int sigs[] = {SIGTERM, SIGINT, SIGHUP};
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		int r = loop_signal(g->loop, sigs[i], on_signal, g, e);
		if (r < 0) return r;
	}
	return 0;
}

static int ending(struct guest *g, int loop_result, int *exit_code, struct err *e)
{
	if (__atomic_load_n(&g->ended, __ATOMIC_ACQUIRE) != ENDED) {
		*exit_code = loop_result;
		return 0;
	}
	if (g->broke.code) return fail(e, g->broke.code, "%s", g->broke.msg);
	*exit_code = g->exit_code;
	return 0;
}

/* A guest that nobody can ask runs all the same. */
static void control(struct guest *g)
{
	struct err e = {0};
	if (g->spec->control && control_open(&g->control, g, &e))
		log_warn("%s; other lodge commands will not see this guest", e.msg);
}

static int attach_first(struct guest *g, struct err *e)
{
	return g->home && g->home->attach >= 0 ? console_attach(g->shared, g->home->attach, e) : 0;
}

/* A group is made when something is asked of it first, and stays. */
static int group_limit(struct guest *g, enum cgroup_what what, uint64_t v, struct err *e)
{
	if (!g->grouped[what] && !v) return 0;
	int r = outside_group(what, v, e);
	g->grouped[what] |= !r;
	return r;
}

int guest_limit(struct guest *g, struct err *e)
{
	const struct limits *l = &g->limits;
	if (g->kind->limits_all) return g->kind->limit(g, e);
	int r = group_limit(g, CGROUP_CPU, l->cpu_shares, e);
	if (!r) r = group_limit(g, CGROUP_MEMORY, l->memory_high, e);
	return r || !g->kind->limit ? r : g->kind->limit(g, e);
}

static struct jail_plan plan; /* of this process */

bool guest_is_to_be_confined(void) { return jail_is_wanted(); }

int guest_confine(const struct kind *k, const struct spec *s, const struct guest_home *home,
		  struct err *e)
{
	int r = k->prepare ? k->prepare(s, e) : 0;
	if (r == 0) r = outside_start(s, home, e);
	jail_no_signals();
	if (r == 0 && !s->replay) r = network_prepare(s, outside_hold(), e);
	outside_held();
	if (r == 0 && s->gdb) r = gdb_prepare(s->gdb, e);
	if (r) return r;
	spec_keep_folder();
	tzset(); /* reads a file, the first time */
	jail_begin(&plan);
	return 0;
}

static void helper_gone(void *ctx, uint32_t ready)
{
	struct err why;
	(void)ready;
	(void)fail(&why, -EPIPE, "the guest's helper process is gone");
	guest_break(ctx, &why);
}

/* Descriptors of folders would lead back to all others. */
static int confine(struct guest *g, struct err *e)
{
	if (!g->spec->confined) return 0;
	int r = outside_named(g->name, e);
	if (!r) r = loop_watch(g->loop, &g->helper, outside_fd(), EPOLLRDHUP, helper_gone, g, e);
	if (r) return r;
	if (g->control) control_confined(g->control);
	if (g->home && g->home->folder >= 0) (void)close(g->home->folder);
	jail_close(&plan, JAIL_LOOP);
	if (plan.what[0])
		log_warn("the guest is less confined on this host: %sfor more see: lodge doctor",
			 plan.what);
	return 0;
}

static int live(struct guest *g, struct guest_end *end, struct err *e)
{
	g->began_ns = now_ns();
	int r = g->kind->start(g, e);
	if (!r) r = program_wait(g->program, e);
	if (!r) r = guest_limit(g, e);
	if (r) return r;
	end->ran = true;
	if (g->home && g->home->started) g->home->started(g->home->ctx);
	r = ending(g, loop_run(g->loop), &end->code, e);
	guest_stats(g, &end->stats);
	return r;
}

static int lived(struct guest *g, struct guest_end *end, struct err *e)
{
	struct err why = {0};
	int r = life_began(g->life, &why);
	if (!r) r = live(g, end, &why);
	life_ended(g->life, end->code, &why);
	if (g->shared) console_end(g->shared, life_last(g->life));
	if (r && e) *e = why;
	return r;
}

/* What cannot be loaded has not lived, as what cannot be built. */
static int started(struct guest *g, struct guest_end *end, struct err *e)
{
	control(g);
	if (g->home && g->home->starting) g->home->starting(g->home->ctx);
	int r = confine(g, e);
	if (!r && g->kind->load) r = g->kind->load(g, e);
	if (!r) r = lived(g, end, e);
	control_close(g->control);
	return r;
}

static void open_console(struct guest *g, struct chr *sitter)
{
	g->console = sitter;
	if (!g->spec->control && !g->home) return;
	g->shared = console_new(g->loop, sitter);
	g->console = console_chr(g->shared);
	if (g->home && g->home->folder >= 0) console_log(g->shared, g->home->folder);
	if (!g->spec->program.args.n || !g->console) return;
	g->program = program_new(g, g->console);
	g->console = program_boot(g->program);
}

int guest_keep(const struct kind *k, const struct spec *s, const struct guest_home *home,
	       struct loop *l, struct chr *console, struct guest_end *end, struct err *e)
{
	struct guest g = {.kind = k, .spec = s, .loop = l, .home = home, .limits = s->limits};
	g.statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	(void)snprintf(g.name, sizeof(g.name), "%s", s->name ? s->name : "");
	g.life = life_new(&g);
	g.agent = agent_new(&g);
	g.port_agent = agent_new(&g);
	open_console(&g, console);
	int r = watch_signals(&g, e);
	if (r == 0) r = k->build(&g, e);
	if (r == 0) r = attach_first(&g, e);
	if (r == 0) r = started(&g, end, e);
	hold_break(&g);
	k->free(&g);
	outside_ungroup();
	program_free(g.program);
	console_free(g.shared);
	agent_free(g.agent);
	agent_free(g.port_agent);
	life_free(g.life);
	free(g.save_to);
	free(g.move_to);
	watch_free(g.helper);
	drop_fd(&g.statm);
	return r;
}

int guest_run(const struct kind *k, const struct spec *s, struct loop *l, struct chr *console,
	      struct guest_end *end, struct err *e)
{
	return guest_keep(k, s, NULL, l, console, end, e);
}
