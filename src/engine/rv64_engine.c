/* Software harts as an engine: a list of them, and the operations of engine.h passed on. The two
 * engines differ in whether harts have a translator beside their interpreter. */
#include "base/counters.h"
#include "base/loop.h"
#include "engine/debug.h"
#include "engine/interp.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_jit.h"
#include "engine/rv64_reserve.h"
#include "engine/rv64_window.h"
#include <errno.h>
#include <stdlib.h>

struct vcpu {
	struct rv64_cpu *cpu;
	struct vcpu *next;
};
struct engine {
	struct engine_env env;
	enum engine_how { INTERP, JIT, CHECK } how;
	struct vcpu *vcpus;
	struct rv64_reserve *reserve; /* NULL: there is one hart */
	struct debug *debug;	      /* NULL: nobody debugs */
};

static int rv64_probe(enum arch guest, struct err *e)
{
	return guest == ARCH_RV64 ? 0 : fail(e, -ENOTSUP, "this engine runs riscv64 only");
}

static int engine_open(struct engine **out, const struct engine_env *env, enum engine_how how,
		       struct err *e)
{
	int rc = rv64_probe(env->arch, e);
	if (rc) return rc;
	struct engine *en = calloc(1, sizeof(*en));
	if (!en) return fail(e, -ENOMEM, "engine: out of memory");
	en->env = *env;
	en->how = how;
	if (!en->env.max_satp) en->env.max_satp = 8;
	if (!en->env.code_room) en->env.code_room = 32 * MIB;
	if (env->cpus != 1) en->reserve = rv64_reserve_new();
	must(!env->counted || env->cpus == 1);
	*out = en;
	return 0;
}
static int interp_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	return engine_open(out, env, INTERP, e);
}
static int jit_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	return engine_open(out, env, JIT, e);
}
/* What is never translated is never compared. */
static int check_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	struct engine_env often = *env;
	if (!often.hot) often.hot = 20;
	return engine_open(out, &often, CHECK, e);
}

static void timer_due(void *cpu) { rv64_poke(cpu, POLL_TIMER); }

static int rv64_engine_vcpu(struct vcpu **out, struct engine *en, unsigned id, struct err *e)
{
	struct vcpu *v = calloc(1, sizeof(*v));
	if (v) v->cpu = rv64_cpu_new(&en->env, id);
	if (!v || !v->cpu) {
		free(v);
		return fail(e, -ENOMEM, "hart %u: out of memory", id);
	}
	v->next = en->vcpus;
	en->vcpus = *out = v;
	if (en->reserve) rv64_reserve_join(en->reserve, v->cpu);
	enum jit_mode mode = en->how == CHECK ? JIT_CHECK : JIT_FAST;
	if (en->how != INTERP &&
	    rv64_jit_new(v->cpu, en->env.code_room, mode, en->env.cpus == 1, e))
		return e->code;
	if (v->cpu->jit && en->env.windows != WINDOWS_OFF)
		rv64_windows_new(v->cpu, en->env.windows == WINDOWS_EARLY);
	if (v->cpu->jit && en->env.log) rv64_jit_log(v->cpu->jit, en->env.log, id);
	if (!en->env.loop) return 0;
	return loop_timer(en->env.loop, &v->cpu->timer, timer_due, v->cpu, e);
}

static enum vcpu_exit rv64_engine_run(struct vcpu *v) { return rv64_run(v->cpu); }
static void rv64_engine_kick(struct vcpu *v) { rv64_poke(v->cpu, POLL_KICK); }
static void rv64_engine_irq(struct vcpu *v, unsigned line, int level)
{
	rv64_irq(v->cpu, line, level);
}
static void rv64_engine_fence(struct vcpu *v, struct vcpu *from, enum vcpu_fence what, gva_t va,
			      uint64_t len, unsigned asid)
{
	bool all = !len || len == UINT64_MAX;
	struct fence f = {.kind = FENCE_OF_PAGES, .va = va, .len = all ? 0 : len, .asid = asid};
	if (what == FENCE_CODE) f.kind = FENCE_OF_CODE;
	if (what == FENCE_TLB_ASID && all) f.kind = FENCE_OF_SPACE;
	rv64_fence(v->cpu, from ? from->cpu : NULL, f);
}
static int rv64_engine_get(struct vcpu *v, unsigned reg, uint64_t *val)
{
	return rv64_cpu_get(v->cpu, reg, val);
}
static int rv64_engine_set(struct vcpu *v, unsigned reg, uint64_t val)
{
	return rv64_cpu_set(v->cpu, reg, val);
}
static void rv64_engine_reset(struct vcpu *v) { rv64_cpu_reset(v->cpu); }
static uint64_t rv64_engine_instret(struct vcpu *v)
{
	return atomic_load_explicit(&v->cpu->retired, memory_order_relaxed);
}
static void rv64_engine_stats(struct vcpu *v, struct counters *to)
{
#define X(id, name) name,
	static const char *const names[] = {RV64_COUNTS(X)};
#undef X
	counters_add(to, "instructions", rv64_engine_instret(v));
	for (unsigned i = 0; i < COUNT__N; i++) /* an interpreter has no units to tell of */
		if (v->cpu->jit || i < COUNT_ENTER)
			counters_add(
				to, names[i],
				atomic_load_explicit(&v->cpu->counts[i], memory_order_relaxed));
}
static void rv64_engine_points(struct engine *en, const struct vcpu_points *p)
{
	bool recut;
	struct debug *was = debug_take(&en->debug, p, &recut);
	for (struct vcpu *v = en->vcpus; v; v = v->next) rv64_debug_set(v->cpu, en->debug, recut);
	free(was);
}
static void rv64_engine_step(struct vcpu *v, bool on) { v->cpu->stepping = on; }
static void rv64_engine_stopped(struct vcpu *v, struct vcpu_stop *to) { *to = v->cpu->stopped; }
static bool rv64_engine_peek(struct vcpu *v, gva_t va, gpa_t *out)
{
	return rv64_debug_peek(v->cpu, va, out);
}
static const char *rv64_engine_error(struct vcpu *v)
{
	const char *words = "";
	(void)rv64_jit_wrong(v->cpu->jit, &words);
	return words;
}

static void rv64_engine_close(struct engine *en)
{
	while (en && en->vcpus) {
		struct vcpu *v = en->vcpus;
		en->vcpus = v->next;
		timer_free(v->cpu->timer);
		rv64_cpu_free(v->cpu);
		free(v);
	}
	if (en) rv64_reserve_free(en->reserve);
	if (en) free(en->debug);
	free(en);
}

#define RV64_OPS                                                                                   \
	.probe = rv64_probe, .vcpu = rv64_engine_vcpu, .run = rv64_engine_run,                     \
	.kick = rv64_engine_kick, .irq = rv64_engine_irq, .fence = rv64_engine_fence,              \
	.get = rv64_engine_get, .set = rv64_engine_set, .reset = rv64_engine_reset,                \
	.instret = rv64_engine_instret, .stats = rv64_engine_stats, .points = rv64_engine_points,  \
	.step = rv64_engine_step, .stopped = rv64_engine_stopped, .peek = rv64_engine_peek,        \
	.error = rv64_engine_error, .close = rv64_engine_close
const struct engine_ops engine_interp = {.name = "interp", .open = interp_open, RV64_OPS};
const struct engine_ops engine_jit = {.name = "jit", .open = jit_open, RV64_OPS};
const struct engine_ops engine_check = {.name = "check", .open = check_open, RV64_OPS};
