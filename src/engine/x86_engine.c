/* x86-64 CPUs in software as an engine: a machine of them, and the operations of engine.h. */
#include "engine/x86_engine.h"
#include "base/counters.h"
#include "engine/debug.h"
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_vcpu.h"
#include "engine/x86_vector.h"
#include "hw/gmem.h"
#include <errno.h>
#include <stdlib.h>

struct vcpu {
	struct x86_vcpu *v;
	struct vcpu *next;
};
struct engine {
	struct x86_machine machine;
	struct vcpu *vcpus;
	enum x86_jit_mode mode;
	struct debug *debug; /* NULL: nobody debugs */
	bool translates;
};

static int x86_probe_host(enum arch guest, struct err *e)
{
	if (guest != ARCH_X86_64) return fail(e, -ENOTSUP, "this engine runs x86-64 only");
	if (!x86_host_can())
		return fail(e, -ENOTSUP, "x86 guests need a host with SSE4.2 and XSAVE");
	return 0;
}

static int model_check(const struct x86_model *cpu, struct err *e)
{
	const struct x86_cpuid_ask all = {.cpus = 1, .apic = true, .x2apic = true, .khz = 1000000};
	struct x86_leaf own[X86_LEAVES];
	char names[160];
	unsigned n = x86_cpuid_list(&all, own);
	if (!x86_model_misses(cpu, own, n, names, sizeof(names))) return 0;
	return fail(e, -ENOTSUP, "--cpu: this machine does not give %s; take that out with -NAME",
		    names);
}

static int x86_open_any(struct engine **out, const struct engine_env *env, struct err *e)
{
	int rc = x86_probe_host(env->arch, e);
	if (rc) return rc;
	rc = env->cpu ? model_check(env->cpu, e) : 0;
	if (rc) return rc;
	if (env->irqchip != IRQCHIP_NONE)
		return fail(e, -ENOTSUP, "x86 in software: interrupt controllers are the board's");
	must(!env->counted || env->cpus == 1);
	struct engine *en = calloc(1, sizeof(*en));
	if (!en) return fail(e, -ENOMEM, "engine: out of memory");
	en->machine.env = *env;
	x86_machine_init(&en->machine);
	*out = en;
	return 0;
}

static int x86_interp_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	return x86_open_any(out, env, e);
}
/* Code is made of instructions that do not touch flags (BMI2) and keeps YMM; vector state is the
 * guest's only if the host has all that the guest is told of. */
static int x86_jit_probe(enum arch guest, struct err *e)
{
	int rc = x86_probe_host(guest, e);
	__builtin_cpu_init();
	if (!rc && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")))
		rc = fail(e, -ENOTSUP, "translating x86-64 needs a host with AVX2 and BMI2");
	return rc;
}
static int translator_open(struct engine **out, const struct engine_env *env,
			   enum x86_jit_mode mode, struct err *e)
{
	struct gmem_region r;
	uint64_t end = 0;
	int rc = x86_jit_probe(env->arch, e);
	if (!rc) rc = x86_open_any(out, env, e);
	if (rc) return rc;
	struct x86_machine *m = &(*out)->machine;
	for (unsigned n = 0; gmem_region(env->mem, n, &r); n++)
		if (r.base + r.len > end) end = r.base + r.len;
	m->code_pages = end >> X86_PAGE_SHIFT;
	m->code = calloc(m->code_pages, 1);
	(*out)->translates = true;
	(*out)->mode = mode;
	return m->code ? 0 : fail(e, -ENOMEM, "engine: out of memory");
}
static int x86_jit_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	return translator_open(out, env, env->counted ? X86_JIT_COUNT : X86_JIT_FAST, e);
}
static int x86_check_engine_open(struct engine **out, const struct engine_env *env, struct err *e)
{
	if (env->counted)
		return fail(e, -EINVAL,
			    "--engine check: x86-64 not with --deterministic: --engine jit and "
			    "interp can be compared there, they do the same");
	if (env->cpus > 1)
		return fail(e, -EINVAL,
			    "--engine check: x86-64 with one CPU only, not %u: others would see "
			    "what is undone",
			    env->cpus);
	return translator_open(out, env, X86_JIT_CHECK, e);
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
	x86_native_prepare();
	return en->translates ? x86_jit_new(c->v, en->machine.env.code_room, en->mode, e) : 0;
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
#define X(id, name) name,
	static const char *const names[] = {X86_COUNTS(X)};
#undef X
	counters_add(to, "instructions", x86_instret(c));
	for (unsigned i = 0; i < X86_STATS; i++)
		if (i < X86_STAT_UNITS || (c->v->jit && (i < X86_STAT_CHECKED || c->v->jit->check)))
			counters_add(to, names[i],
				     atomic_load_explicit(&c->v->stats[i], memory_order_relaxed));
}
static uint64_t x86_deadline_ns(struct vcpu *c, uint64_t tsc) { return x86_tsc_ns(c->v, tsc); }
static void x86_points(struct engine *en, const struct vcpu_points *p)
{
	bool recut;
	struct debug *was = debug_take(&en->debug, p, &recut);
	for (struct vcpu *c = en->vcpus; c; c = c->next) x86_debug_set(c->v, en->debug, recut);
	free(was);
}
static void x86_step_next(struct vcpu *c, bool on) { c->v->stepping = on; }
static void x86_stopped(struct vcpu *c, struct vcpu_stop *to) { *to = c->v->stopped; }
static bool x86_peek_any(struct vcpu *c, gva_t va, gpa_t *out) { return x86_peek(c->v, va, out); }
static const char *x86_error(struct vcpu *c) { return c->v->broken ? c->v->broken : ""; }

static void x86_close(struct engine *en)
{
	while (en && en->vcpus) {
		struct vcpu *c = en->vcpus;
		en->vcpus = c->next;
		x86_vcpu_free(c->v);
		free(c);
	}
	if (en) free((void *)en->machine.code);
	if (en) free(en->machine.told);
	if (en) free(en->debug);
	free(en);
}

static unsigned x86_told_of(struct engine *en, struct x86_leaf *to)
{
	return x86_told(en->machine.vcpu[0], to);
}
static int x86_be_that(struct engine *en, const struct x86_leaf *told, unsigned n, struct err *e)
{
	return x86_be(&en->machine, told, n, e);
}

#define X86_OPS                                                                                    \
	.vcpu = x86_vcpu_add, .run = x86_run, .kick = x86_kick, .irq = x86_line,                   \
	.fence = x86_forget, .get = x86_get, .set = x86_set, .reset = x86_reset,                   \
	.told = x86_told_of, .be = x86_be_that, .instret = x86_instret, .stats = x86_stats,        \
	.tsc_ns = x86_deadline_ns, .points = x86_points, .step = x86_step_next,                    \
	.stopped = x86_stopped, .peek = x86_peek_any, .error = x86_error, .close = x86_close
const struct engine_ops engine_x86_interp = {
	.name = "interp", .probe = x86_probe_host, .open = x86_interp_open, X86_OPS};
const struct engine_ops engine_x86_jit = {
	.name = "jit", .probe = x86_jit_probe, .open = x86_jit_open, X86_OPS};
const struct engine_ops engine_x86_check = {
	.name = "check", .probe = x86_jit_probe, .open = x86_check_engine_open, X86_OPS};
