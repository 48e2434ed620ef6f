/* x86-64 CPUs in software as an engine: a machine of them, and the operations of engine.h. */
#include "engine/x86_engine.h"
#include "base/counters.h"
#include "engine/x86_vcpu.h"
#include <errno.h>
#include <stdlib.h>

struct vcpu {
	struct x86_vcpu *v;
	struct vcpu *next;
};
struct engine {
	struct x86_machine machine;
	struct vcpu *vcpus;
};

static int x86_probe_host(enum arch guest, struct err *e)
{
	if (guest != ARCH_X86_64) return fail(e, -ENOTSUP, "this engine runs x86-64 only");
	if (!x86_host_can())
		return fail(e, -ENOTSUP, "x86 guests need a host with SSE4.2 and XSAVE");
	return 0;
}

static int x86_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	int rc = x86_probe_host(env->arch, e);
	if (rc) return rc;
	if (env->irqchip != IRQCHIP_NONE)
		return fail(e, -ENOTSUP, "x86 in software: interrupt controllers are the board's");
	if (env->counted)
		return fail(e, -ENOTSUP,
			    "x86 in software: time by instructions is not implemented");
	struct engine *en = calloc(1, sizeof(*en));
	if (!en) return fail(e, -ENOMEM, "engine: out of memory");
	en->machine.env = *env;
	x86_machine_init(&en->machine);
	*out = en;
	return 0;
}

static int x86_vcpu_add(struct vcpu **out, struct engine *en, unsigned id, struct err *e)
{
	struct vcpu *c = calloc(1, sizeof(*c));
	if (c) c->v = x86_vcpu_new(&en->machine, id);
	if (!c || !c->v) {
		free(c);
		return fail(e, -ENOMEM, "CPU %u: out of memory, or one too many", id);
	}
	c->next = en->vcpus;
	en->vcpus = *out = c;
	return 0;
}

static enum vcpu_exit x86_run(struct vcpu *c) { return x86_vcpu_run(c->v); }
static void x86_kick(struct vcpu *c) { x86_poke(c->v, X86_POLL_KICK); }
static void x86_line(struct vcpu *c, unsigned line, int level) { x86_irq(c->v, line, level); }
/* Whatever is asked for, all goes: boards ask only where memory itself changes, or its log. */
static void x86_forget(struct vcpu *c, struct vcpu *from, enum vcpu_fence what, gva_t va,
		       uint64_t len, unsigned asid)
{
	(void)what, (void)va, (void)len, (void)asid;
	x86_fence(c->v, from ? from->v : NULL);
}
static int x86_get(struct vcpu *c, unsigned reg, uint64_t *val)
{
	return x86_vcpu_get(c->v, reg, val);
}
static int x86_set(struct vcpu *c, unsigned reg, uint64_t val)
{
	return x86_vcpu_set(c->v, reg, val);
}
static void x86_reset(struct vcpu *c) { x86_vcpu_reset(c->v, false); }
static uint64_t x86_instret(struct vcpu *c)
{
	return atomic_load_explicit(&c->v->retired, memory_order_relaxed);
}
static void x86_stats(struct vcpu *c, struct counters *to)
{
	static const char *const names[] = {[X86_STAT_WALK] = "walks",
					    [X86_STAT_MMIO] = "mmio",
					    [X86_STAT_PIO] = "pio",
					    [X86_STAT_IRQ] = "interrupts",
					    [X86_STAT_SLEEP] = "sleeps"};
	counters_add(to, "instructions", x86_instret(c));
	for (unsigned i = 0; i < COUNT(names); i++)
		counters_add(to, names[i],
			     atomic_load_explicit(&c->v->stats[i], memory_order_relaxed));
}
static uint64_t x86_deadline_ns(struct vcpu *c, uint64_t tsc) { return x86_tsc_ns(c->v, tsc); }
static const char *x86_error(struct vcpu *c) { return c->v->broken ? c->v->broken : ""; }

static void x86_close(struct engine *en)
{
	while (en && en->vcpus) {
		struct vcpu *c = en->vcpus;
		en->vcpus = c->next;
		x86_vcpu_free(c->v);
		free(c);
	}
	free(en);
}

const struct engine_ops engine_x86_interp = {.name = "interp",
					     .probe = x86_probe_host,
					     .open = x86_open,
					     .vcpu = x86_vcpu_add,
					     .run = x86_run,
					     .kick = x86_kick,
					     .irq = x86_line,
					     .fence = x86_forget,
					     .get = x86_get,
					     .set = x86_set,
					     .reset = x86_reset,
					     .instret = x86_instret,
					     .stats = x86_stats,
					     .tsc_ns = x86_deadline_ns,
					     .error = x86_error,
					     .close = x86_close};
