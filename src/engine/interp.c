/* The interpreter as an engine: a list of harts, and the operations of engine.h passed on. */
#include "engine/interp.h"
#include "base/loop.h"
#include "engine/rv64_cpu.h"
#include <errno.h>
#include <stdlib.h>

struct vcpu {
	struct rv64_cpu *cpu;
	struct vcpu *next;
};
struct engine {
	struct engine_env env;
	struct vcpu *vcpus;
};

static int interp_probe(enum arch guest, struct err *e)
{
	return guest == ARCH_RV64 ? 0 : fail(e, -ENOTSUP, "the interpreter runs riscv64 only");
}

static int interp_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	int rc = interp_probe(env->arch, e);
	if (rc) return rc;
	struct engine *en = calloc(1, sizeof(*en));
	if (!en) return fail(e, -ENOMEM, "interpreter: out of memory");
	en->env = *env;
	if (!en->env.max_satp) en->env.max_satp = 8;
	*out = en;
	return 0;
}

static void timer_due(void *cpu) { rv64_poke(cpu, POLL_TIMER); }

static int interp_vcpu(struct vcpu **out, struct engine *en, unsigned id, struct err *e)
{
	struct vcpu *v = calloc(1, sizeof(*v));
	if (v) v->cpu = rv64_cpu_new(&en->env, id);
	if (!v || !v->cpu) {
		free(v);
		return fail(e, -ENOMEM, "hart %u: out of memory", id);
	}
	v->next = en->vcpus;
	en->vcpus = *out = v;
	if (!en->env.loop) return 0;
	return loop_timer(en->env.loop, &v->cpu->timer, timer_due, v->cpu, e);
}

static enum vcpu_exit interp_run(struct vcpu *v) { return rv64_run(v->cpu); }
static void interp_kick(struct vcpu *v) { rv64_poke(v->cpu, POLL_KICK); }
static void interp_irq(struct vcpu *v, unsigned line, int level) { rv64_irq(v->cpu, line, level); }
static void interp_fence(struct vcpu *v, struct vcpu *from, enum vcpu_fence what, gva_t va,
			 uint64_t len, unsigned asid)
{
	bool all = !len || len == UINT64_MAX;
	struct fence f = {.kind = FENCE_OF_PAGES, .va = va, .len = all ? 0 : len, .asid = asid};
	if (what == FENCE_CODE) f.kind = FENCE_OF_CODE;
	if (what == FENCE_TLB_ASID && all) f.kind = FENCE_OF_SPACE;
	rv64_fence(v->cpu, from ? from->cpu : NULL, f);
}
static int interp_get(struct vcpu *v, unsigned reg, uint64_t *val)
{
	return rv64_cpu_get(v->cpu, reg, val);
}
static int interp_set(struct vcpu *v, unsigned reg, uint64_t val)
{
	return rv64_cpu_set(v->cpu, reg, val);
}
static void interp_reset(struct vcpu *v) { rv64_cpu_reset(v->cpu); }
static uint64_t interp_instret(struct vcpu *v)
{
	return atomic_load_explicit(&v->cpu->retired, memory_order_relaxed);
}
static const char *interp_error(struct vcpu *v) { return (void)v, ""; }

static void interp_close(struct engine *en)
{
	while (en && en->vcpus) {
		struct vcpu *v = en->vcpus;
		en->vcpus = v->next;
		timer_free(v->cpu->timer);
		rv64_cpu_free(v->cpu);
		free(v);
	}
	free(en);
}

const struct engine_ops engine_interp = {
	.name = "interp",
	.probe = interp_probe,
	.open = interp_open,
	.vcpu = interp_vcpu,
	.run = interp_run,
	.kick = interp_kick,
	.irq = interp_irq,
	.fence = interp_fence,
	.get = interp_get,
	.set = interp_set,
	.reset = interp_reset,
	.instret = interp_instret,
	.error = interp_error,
	.close = interp_close,
};
