/* Why: one x86 instruction can do what several IR instructions say. The one idea: the walk
 * backwards over a unit asks each instruction which operands it really reads; what is folded is not
 * asked again, and nobody needs a home for it. */
#include "base/types.h"
#include "jit/x64/emit.h"

static uint32_t root_in(const struct alloc *a, uint32_t v) { return a->home[v].root; }
static bool here(const struct alloc *a, uint32_t v)
{
	return a->home[v].start >= a->block[a->cur].start && a->f->ins[v].op != IR_param;
}
static bool only_here(const struct alloc *a, uint32_t v)
{
	return a->home[v].uses == 1 && here(a, v);
}
static bool is_konst(const struct alloc *a, uint32_t v, uint64_t *k)
{
	const struct ir_ins *i = &a->f->ins[root_in(a, v)];
	*k = i->k;
	return i->op == IR_konst;
}
static bool dies(const struct alloc *a, uint32_t v)
{
	return a->home[root_in(a, v)].end == a->pos + 1;
}

/* A compare of floats raises flags: it may not move past anybody who looks at them, or clears them.
 */
static bool stays(const struct alloc *a, uint32_t v, uint32_t user)
{
	if (!(ir_info[a->f->ins[v].op].flags & IR_FLOAT)) return false;
	for (uint32_t i = user; i != v; i = a->f->ins[i].prev) {
		const struct ir_ins *in = &a->f->ins[i];
		if (in->op == IR_fraised || in->op == IR_fclear ||
		    (in->op == IR_call && in->aux != IR_CALL_PURE))
			return true;
	}
	return false;
}

/* cmp(and(x, y), 0) for equality is a test, and so is the question whether and(x, y) is not 0. */
static void visit_flag(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	uint32_t v = root_in(a, in->arg[0]);
	uint64_t k;
	if ((in->op == IR_eq || in->op == IR_ne) && a->f->ins[v].op == IR_and && only_here(a, v) &&
	    is_konst(a, in->arg[1], &k) && k == 0) {
		a->home[v].folded = true;
		alloc_operands(a, v);
		return;
	}
	alloc_operands(a, i);
}

static void visit_cond(struct alloc *a, uint32_t v, uint32_t user)
{
	if (a->f->ins[v].op == IR_and && only_here(a, v)) {
		a->home[v].folded = true;
		alloc_operands(a, v);
		return;
	}
	if (ir_info[a->f->ins[v].op].result == IR_FLAG && only_here(a, v) && !stays(a, v, user)) {
		a->home[v].folded = true;
		visit_flag(a, v);
		return;
	}
	alloc_use(a, v);
}

/* ~x & y is one instruction. */
static bool visit_and(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	if (!container_of(a->host, const struct jit_host, regs)->bmi1) return false;
	for (unsigned n = 0; n < 2; n++) {
		uint32_t v = root_in(a, in->arg[n]);
		if (a->f->ins[v].op != IR_not || !only_here(a, v)) continue;
		a->home[v].folded = true;
		alloc_use(a, in->arg[!n]);
		alloc_use(a, a->f->ins[v].arg[0]);
		return true;
	}
	return false;
}

/* Whoever computes with a NaN may as well have the right one, if any would do. */
static void visit_fnan(struct alloc *a, uint32_t i)
{
	uint32_t x = root_in(a, a->f->ins[i].arg[0]);
	if (a->home[i].end && ir_info[a->f->ins[x].op].flags & IR_FLOAT) alloc_same(a, i, x);
	alloc_use(a, x);
}

/* a + (x << 1, 2, 3) is an address. */
static bool visit_add(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	for (unsigned n = 0; n < 2; n++) {
		uint32_t v = root_in(a, in->arg[n]), other = in->arg[!n];
		uint64_t k;
		if (a->f->ins[v].op != IR_shl || !only_here(a, v) || is_konst(a, other, &k) ||
		    !is_konst(a, a->f->ins[v].arg[1], &k) || k < 1 || k > 3)
			continue;
		a->home[v].folded = true;
		alloc_use(a, other);
		alloc_use(a, a->f->ins[v].arg[0]);
		return true;
	}
	return false;
}

/* Which operand's register the result would best have. */
static void like(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	unsigned n = ir_info[in->op].args;
	if (in->op == IR_select || ir_info[in->op].flags & (IR_COMM | IR_FLOAT))
		for (unsigned k = n; k-- > 0;)
			if (dies(a, in->arg[k])) {
				alloc_like(a, i, root_in(a, in->arg[k]));
				if (in->op != IR_select) continue;
				return;
			}
	if (n && in->op != IR_select && dies(a, in->arg[0]))
		alloc_like(a, i, root_in(a, in->arg[0]));
}

void x64_visit(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	switch (in->op) {
	case IR_br:
		/* Edges first: what they need lives longer. */
		alloc_edges(a, i);
		visit_cond(a, in->arg[0], i);
		return;
	case IR_guard:
		alloc_map(a, in->map, false);
		visit_cond(a, in->arg[0], i);
		return;
	case IR_select:
		alloc_use(a, in->arg[1]);
		alloc_use(a, in->arg[2]);
		visit_cond(a, in->arg[0], i);
		break;
	case IR_add:
		if (visit_add(a, i)) return;
		alloc_operands(a, i);
		break;
	case IR_and:
		if (visit_and(a, i)) return;
		alloc_operands(a, i);
		break;
	case IR_xlat:
		alloc_operands(a, i);
		if (!(in->aux & IR_XLAT_WINDOW) && a->nsites < SITES_MAX &&
		    alloc_steady(a, in->arg[0]))
			a->home[i].site = (uint8_t)++a->nsites;
		break;
	case IR_fnan: visit_fnan(a, i); break;
	default:
		if (ir_info[in->op].result == IR_FLAG)
			visit_flag(a, i);
		else
			alloc_operands(a, i);
	}
	if (a->home[i].end) like(a, i);
}
