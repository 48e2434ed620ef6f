/* Is this a unit at all? Everything the other passes take for granted is looked at here, from
 * numbers in range up to dominance, which is worked out anew and not taken from the blocks.
 * For tests, fuzzing and debug builds: no pass depends on its having run. */
#include "base/own.h"
#include "ir/impl.h"
#include <errno.h>

struct check {
	const struct ir_fn *f;
	struct err *e;
	uint32_t block, ins; /* where we are; ins 0: at the block itself */
	uint32_t *home;	     /* block of each instruction; ~0: none */
	uint32_t *place;     /* its place there */
	uint32_t *dom;	     /* immediate dominator of each block; ~0: not reached */
	uint32_t *post;	     /* number in postorder */
	uint32_t *preds, *stack, *next;
	uint32_t *slot;	   /* the map that named it last, times two and one */
	bool *seen, *used; /* blocks reached; edges that a terminator has */
};

static int bad(const struct check *c, const char *why)
{
	if (!c->ins) return fail(c->e, -EINVAL, "b%u: %s", c->block, why);
	return fail(c->e, -EINVAL, "b%u: %%%u %s: %s", c->block, c->ins,
		    ir_info[c->f->ins[c->ins].op].name, why);
}
#define need(c, x, why)                                                                            \
	do {                                                                                       \
		if (!(x)) return bad((c), (why));                                                  \
	} while (0)

static const struct ir_ins *here(const struct check *c) { return &c->f->ins[c->ins]; }
static unsigned flags_of(const struct ir_ins *i) { return ir_info[i->op].flags; }

/* ---- shape: lists, parameters first, a terminator last */
static int shape_ins(struct check *c, uint32_t prev, uint32_t place)
{
	const struct ir_block *b = &c->f->block[c->block];
	const struct ir_ins *i = here(c);
	if (i->op >= IR__count || i->type > IR_REF) {
		c->ins = 0;
		return bad(c, "an operation or type that does not exist");
	}
	need(c, c->home[c->ins] == ~0u, "stands in two places");
	c->home[c->ins] = c->block;
	c->place[c->ins] = place;
	need(c, i->prev == prev, "prev is wrong");
	need(c, (i->op == IR_param) == (place < b->params), "parameters are not the first");
	need(c, i->op != IR_param || i->aux == place, "parameters are out of order");
	need(c, !!(flags_of(i) & IR_ENDS) == !i->next, "not where a block ends");
	return 0;
}

static int shape(struct check *c)
{
	const struct ir_block *b = &c->f->block[c->block];
	uint32_t prev = 0, place = 0;
	for (uint32_t n = b->first; n; n = c->f->ins[n].next) {
		c->ins = 0;
		need(c, n < c->f->n, "an instruction out of range");
		c->ins = n;
		int r = shape_ins(c, prev, place++);
		if (r < 0) return r;
		prev = n;
	}
	c->ins = 0;
	need(c, prev && prev == b->last, "last is wrong");
	need(c, c->block || !b->params, "the entry has parameters");
	return 0;
}

/* ---- edges */
static unsigned edges(const struct ir_ins *i, uint32_t out[2])
{
	bool br = i->op == IR_br;
	out[0] = i->arg[br];
	out[1] = i->arg[2];
	return br ? 2 : i->op == IR_jump;
}

static int edge_ranges(struct check *c)
{
	const struct ir_fn *f = c->f;
	uint32_t out[2];
	c->ins = f->block[c->block].last;
	for (unsigned k = edges(here(c), out); k--;) {
		need(c, out[k] < f->nedges, "no such edge");
		need(c, !c->used[out[k]], "an edge that another has");
		c->used[out[k]] = true;
		const struct ir_edge *g = &f->edge[out[k]];
		need(c, g->to < f->nblocks, "no such block");
		need(c, g->args <= f->nargs && f->block[g->to].params <= f->nargs - g->args,
		     "edge arguments out of range");
		c->preds[g->to]++;
	}
	return 0;
}

/* ---- dominators, by Cooper, Harvey and Kennedy */
static uint32_t postorder(struct check *c)
{
	const struct ir_fn *f = c->f;
	uint32_t depth = 0, done = 0, out[2];
	c->stack[depth++] = 0;
	c->seen[0] = true;
	while (depth) {
		uint32_t b = c->stack[depth - 1];
		if (c->next[b] == edges(&f->ins[f->block[b].last], out)) {
			c->post[b] = done;
			c->stack[f->nblocks - 1 - done++] = b; /* the order grows from the end */
			depth--;
			continue;
		}
		uint32_t to = f->edge[out[c->next[b]++]].to;
		if (c->seen[to]) continue;
		c->seen[to] = true;
		c->stack[depth++] = to;
	}
	return done;
}

static uint32_t meet(const struct check *c, uint32_t a, uint32_t b)
{
	while (a != b) {
		while (c->post[a] < c->post[b]) a = c->dom[a];
		while (c->post[b] < c->post[a]) b = c->dom[b];
	}
	return a;
}

static void dominators(struct check *c)
{
	const struct ir_fn *f = c->f;
	uint32_t n = postorder(c), out[2];
	const uint32_t *order = c->stack + f->nblocks - n;
	c->dom[0] = 0;
	for (bool more = true; more;) {
		more = false;
		for (uint32_t k = 0; k < n; k++) {
			uint32_t b = order[k];
			for (unsigned j = edges(&f->ins[f->block[b].last], out); j--;) {
				uint32_t to = f->edge[out[j]].to, was = c->dom[to];
				c->dom[to] = was == ~0u ? b : meet(c, was, b);
				if (to == 0) c->dom[to] = 0;
				more |= c->dom[to] != was;
			}
		}
	}
}

static bool dominates(const struct check *c, uint32_t a, uint32_t b)
{
	if (c->dom[b] == ~0u) return ir_dominates(c->f, a, b);
	while (b != a && b) b = c->dom[b];
	return a == b;
}

static int block_facts(struct check *c)
{
	const struct ir_block *all = c->f->block, *b = &all[c->block];
	uint32_t n = c->block, out[2];
	c->ins = 0;
	need(c, c->preds[n] == b->preds, "preds is wrong");
	need(c, n ? b->idom < n : b->idom == 0, "idom does not come before");
	need(c, dominates(c, b->idom, n), "idom does not dominate");
	need(c, c->dom[n] == ~0u || !n || c->dom[n] < n, "comes before its dominator");
	need(c, b->loop == ~0u || (b->loop <= n && all[b->loop].loop == b->loop),
	     "loop is not a loop's header");
	need(c, b->loop == ~0u || dominates(c, b->loop, n), "its loop's header does not dominate");
	for (unsigned k = edges(&c->f->ins[b->last], out); k--;) {
		uint32_t to = c->f->edge[out[k]].to;
		if (to > n || !dominates(c, to, n)) continue;
		need(c, all[to].loop == to && all[to].depth, "jumps back to what is no loop");
		for (uint32_t j = to; j <= n; j++)
			need(c, all[j].depth >= all[to].depth, "its loop is not contiguous");
	}
	return 0;
}

/* ---- operands */
static int operand(struct check *c, uint32_t v, enum ir_type t)
{
	need(c, v && v < c->f->n && c->home[v] != ~0u, "no such operand");
	enum ir_type is = ir_result_type(&c->f->ins[v]);
	need(c, is != IR_VOID, "an operand without value");
	need(c, t == IR_VOID || is == t, "an operand of the wrong type");
	if (c->home[v] == c->block && c->place[v] < c->place[c->ins]) return 0;
	need(c, c->home[v] != c->block && dominates(c, c->home[v], c->block),
	     "an operand that is not computed by then");
	return 0;
}

static int operands(struct check *c, unsigned n, enum ir_type t)
{
	for (unsigned k = 0; k < n; k++) {
		int r = operand(c, here(c)->arg[k], t);
		if (r < 0) return r;
	}
	return 0;
}

static int in_slot(struct check *c, uint32_t slot, enum ir_type t)
{
	need(c, slot < c->f->nslots, "no such slot");
	unsigned bits = 8u * c->f->slots[slot].size;
	need(c, t != IR_V128, "a vector in a slot");
	need(c, !ir_is_fp(t) || ir_width(t) <= bits, "a slot too small");
	need(c, ir_is_fp(t) || ir_width(t) >= bits, "a slot too large");
	return 0;
}

static int map(struct check *c)
{
	const struct ir_fn *f = c->f;
	uint32_t m = here(c)->map;
	bool has =
		(flags_of(here(c)) & IR_EXITS) || here(c)->op == IR_exit || here(c)->op == IR_goto;
	bool may = has || here(c)->op == IR_load || here(c)->op == IR_store;
	need(c, (m ? may : !has) && m < f->nmaps, has ? "no map" : "a map");
	if (!m) return 0;
	const struct ir_map *p = &f->map[m];
	need(c, p->first <= f->npairs && p->n <= f->npairs - p->first, "a map out of range");
	for (const struct ir_pair *q = f->pair + p->first; q < f->pair + p->first + p->n; q++) {
		int r = operand(c, q->val, IR_VOID);
		if (r == 0) r = in_slot(c, q->slot, ir_result_type(&f->ins[q->val]));
		if (r < 0) return r;
		need(c, c->slot[q->slot] != c->ins, "a slot twice in a map");
		c->slot[q->slot] = c->ins;
	}
	return 0;
}

static int edge_args(struct check *c)
{
	const struct ir_fn *f = c->f;
	uint32_t out[2];
	for (unsigned k = edges(here(c), out); k--;) {
		const struct ir_edge *g = &f->edge[out[k]];
		uint32_t p = f->block[g->to].first;
		for (uint32_t j = 0; j < f->block[g->to].params; j++, p = f->ins[p].next) {
			int r = operand(c, f->args[g->args + j], f->ins[p].type);
			if (r < 0) return r;
		}
	}
	return 0;
}

/* ---- each operation's own rules */
static int address(struct check *c, const struct ir_ins *i)
{
	int r = i->arg[0] ? operand(c, i->arg[0], IR_I64) : 0;
	return r < 0 ? r : operand(c, i->arg[1], IR_I64);
}

static int load(struct check *c, const struct ir_ins *i)
{
	need(c, i->type == IR_I64 || ir_is_fp(i->type) || i->type == IR_V128, "not its type");
	need(c, i->aux <= IR_S32, "no such width");
	return address(c, i);
}

static int store(struct check *c, const struct ir_ins *i)
{
	unsigned bytes = ir_width(i->type) / 8;
	need(c, i->type != IR_VOID && i->type != IR_I8 && i->type != IR_I16, "not its type");
	need(c,
	     ir_is_int(i->type) ? i->aux && !(i->aux & (i->aux - 1)) && i->aux <= bytes
				: i->aux == bytes,
	     "no such width");
	int r = operand(c, i->arg[3], i->type);
	return r < 0 ? r : address(c, i);
}

static int get(struct check *c, const struct ir_ins *i)
{
	int r = in_slot(c, i->aux, i->type);
	if (r < 0) return r;
	need(c, ir_is_int(i->type) || ir_is_fp(i->type) || i->type == IR_REF, "not its type");
	return 0;
}

static int call(struct check *c, const struct ir_ins *i)
{
	const struct ir_fn *f = c->f;
	need(c, i->type == IR_I64, "not its type");
	need(c, i->aux <= IR_CALL_FLOAT, "no such kind of call");
	need(c, i->arg[3] <= 5, "too many arguments");
	need(c, i->arg[2] <= f->nargs && i->arg[3] <= f->nargs - i->arg[2],
	     "arguments out of range");
	for (uint32_t k = 0; k < i->arg[3]; k++) {
		int r = operand(c, f->args[i->arg[2] + k], IR_I64);
		if (r < 0) return r;
	}
	return 0;
}

static int choice(struct check *c, const struct ir_ins *i)
{
	need(c, ir_is_int(i->type) || ir_is_fp(i->type), "not its type");
	int r = operand(c, i->arg[0], IR_I64);
	if (r == 0) r = operand(c, i->arg[1], i->type);
	return r < 0 ? r : operand(c, i->arg[2], i->type);
}

/* From any integer, or any float, to what the instruction says. */
static int convert(struct check *c, const struct ir_ins *i, bool from_fp, bool to_fp)
{
	need(c, to_fp ? ir_is_fp(i->type) : ir_is_int(i->type), "not its type");
	int r = operand(c, i->arg[0], IR_VOID);
	if (r < 0) return r;
	enum ir_type t = ir_result_type(&c->f->ins[i->arg[0]]);
	need(c, from_fp ? ir_is_fp(t) : ir_is_int(t), "an operand of the wrong type");
	return 0;
}

static int convert_exact(struct check *c, const struct ir_ins *i)
{
	switch (i->op) {
	case IR_itof:
		need(c, ir_is_int(i->aux), "no such integer");
		return operand(c, i->arg[0], i->aux);
	case IR_ftoi:
		need(c, i->aux < 4, "no such conversion");
		return operand(c, i->arg[0], i->aux & 2 ? IR_F32 : IR_F64);
	case IR_fcvt: return operand(c, i->arg[0], i->type == IR_F32 ? IR_F64 : IR_F32);
	case IR_tofp: return operand(c, i->arg[0], IR_I64);
	default: need(c, i->type == IR_I64, "not its type");
	}
	return 0;
}

static int given(struct check *c, const struct ir_ins *i)
{
	int r;
	switch (i->op) {
	case IR_konst:
		need(c, i->type != IR_VOID && i->type != IR_V128, "not its type");
		need(c, ir_cut(i->type, i->k) == i->k, "more bits than the type has");
		return 0;
	case IR_param: need(c, i->type != IR_VOID, "not its type"); return 0;
	case IR_trunc: need(c, i->type == IR_I32, "not its type"); return operands(c, 1, IR_I64);
	case IR_select: return choice(c, i);
	case IR_itof:
	case IR_tofp: r = convert(c, i, false, true); return r < 0 ? r : convert_exact(c, i);
	case IR_ftoi:
	case IR_tobits: r = convert(c, i, true, false); return r < 0 ? r : convert_exact(c, i);
	case IR_fcvt: r = convert(c, i, true, true); return r < 0 ? r : convert_exact(c, i);
	case IR_get: return get(c, i);
	case IR_load: return load(c, i);
	case IR_call: return call(c, i);
	default: break;
	}
	need(c, i->type == IR_I64, "not its type");
	switch (i->op) {
	case IR_state:
	case IR_fraised: return 0;
	case IR_xlat:
		need(c, i->aux < 8 && (int32_t)i->arg[1] <= (int32_t)i->arg[2], "no such range");
		return operands(c, 1, IR_I64);
	case IR_swap:
	case IR_xadd:
	case IR_cas:
		need(c, i->aux == 4 || i->aux == 8, "no such width");
		return operands(c, ir_info[i->op].args, IR_I64);
	default: return convert(c, i, false, false);
	}
}

/* Of v128: the widths that there are. */
static int lanes(struct check *c, const struct ir_ins *i)
{
	unsigned from = 0, to = 3;
	bool across = i->op == IR_vlow || i->op == IR_vbits;
	if (flags_of(i) & IR_FLOAT) from = 2;
	if (i->op == IR_vitof) to = 2;
	if (i->op == IR_vmul || i->op == IR_vsar) from = 1, to = 2;
	if (i->op == IR_vshl || i->op == IR_vshr || i->op == IR_vdown) from = 1;
	if (i->op >= IR_vmins && i->op <= IR_vmaxu) to = 2;
	if (i->op >= IR_vzx && i->op <= IR_vpack) to = 2;
	if (i->op == IR_vdown) to = 15;
	need(c, i->aux >= from && i->aux <= to, "no such lanes");
	need(c, i->type == (across ? IR_I64 : IR_V128), "not its type");
	if (i->op == IR_vsplat) return operands(c, 1, IR_I64);
	if (i->op < IR_vshl || i->op > IR_vsar) return operands(c, ir_info[i->op].args, IR_V128);
	int r = operands(c, 1, IR_V128);
	return r < 0 ? r : operand(c, i->arg[1], IR_I64);
}

static int same_or_flag(struct check *c, const struct ir_ins *i)
{
	bool fp =
		flags_of(i) & IR_FLOAT || i->op == IR_fneg || i->op == IR_fabs || i->op == IR_fnan;
	bool ref = i->type == IR_REF && (i->op == IR_eq || i->op == IR_ne);
	need(c, fp ? ir_is_fp(i->type) : ir_is_int(i->type) || ref, "not its type");
	return operands(c, ir_info[i->op].args, i->type);
}

static int nothing(struct check *c, const struct ir_ins *i)
{
	if (i->op == IR_store) return store(c, i);
	if (i->op != IR_put) {
		need(c, i->op != IR_exit || i->aux <= IR_EXIT_STOP, "no such exit");
		return operands(c, ir_info[i->op].args, IR_I64);
	}
	int r = operands(c, 1, i->type);
	need(c, i->type != IR_VOID, "not its type");
	return r < 0 ? r : in_slot(c, i->aux, i->type);
}

static int instruction(struct check *c)
{
	const struct ir_ins *i = here(c);
	int r;
	bool vector = i->op >= IR_vadd && i->op <= IR_vfnan;
	switch (vector ? -1 : (int)ir_info[i->op].result) {
	case -1: r = lanes(c, i); break;
	case IR_GIVEN: r = given(c, i); break;
	case IR_NONE: r = nothing(c, i); break;
	default: r = same_or_flag(c, i); break;
	}
	if (r == 0) r = map(c);
	return r < 0 ? r : edge_args(c);
}

static int instructions(struct check *c)
{
	for (uint32_t n = c->f->block[c->block].first; n; n = c->f->ins[n].next) {
		c->ins = n;
		int r = instruction(c);
		if (r < 0) return r;
	}
	return 0;
}

static int everywhere(struct check *c, int (*look)(struct check *))
{
	int r = 0;
	for (c->block = 0; r == 0 && c->block < c->f->nblocks; c->block++) {
		c->ins = 0;
		r = look(c);
	}
	return r;
}

int ir_verify(const struct ir_fn *f, struct err *e)
{
	struct check c = {.f = f, .e = e};
	size_t words = 2 * (size_t)f->n + 5 * (size_t)f->nblocks + f->nslots;
	if (!f->nblocks) return fail(e, -EINVAL, "no blocks");
	auto_mem uint32_t *mem = calloc(words + f->nblocks + f->nedges, sizeof(*mem));
	must(mem);
	uint32_t *p = mem;
	c.home = p, p += f->n;
	c.place = p, p += f->n;
	c.dom = p, p += f->nblocks;
	c.post = p, p += f->nblocks;
	c.preds = p, p += f->nblocks;
	c.stack = p, p += f->nblocks;
	c.next = p, p += f->nblocks;
	c.slot = p, p += f->nslots;
	c.seen = (bool *)p;
	c.used = c.seen + f->nblocks;
	for (uint32_t k = 0; k < f->n; k++) c.home[k] = ~0u;
	for (uint32_t k = 0; k < f->nblocks; k++) c.dom[k] = ~0u;
	int r = everywhere(&c, shape);
	if (r == 0) r = everywhere(&c, edge_ranges);
	if (r < 0) return r;
	dominators(&c);
	r = everywhere(&c, block_facts);
	return r < 0 ? r : everywhere(&c, instructions);
}
