/* Why: see alloc.h. The one idea: blocks come with dominators first, so one walk backwards sees
 * every use before its definition, and a value that is live into a loop is live to the loop's last
 * block; that gives all intervals without any data-flow equations. */
#include "jit/alloc.h"
#include "base/types.h"
#include "jit/impl.h"
#include <stdlib.h>

enum { VALUES_MAX = 1 << 20 };
#define NO_LOOP (~0u)

void alloc_done(struct alloc *a)
{
	free(a->home);
	free(a->block);
	free(a->put);
	free(a->call);
	*a = (struct alloc){0};
}

static bool make_room(struct alloc *a, const struct ir_fn *f)
{
	if (f->n > VALUES_MAX || f->nblocks > VALUES_MAX) return false;
	if (!jit_grow((void **)&a->home, &a->home_room, f->n, sizeof(*a->home)) ||
	    !jit_grow((void **)&a->block, &a->block_room, f->nblocks, sizeof(*a->block)))
		return false;
	memset(a->home, 0, f->n * sizeof(*a->home));
	return true;
}

/* ---- first walk, forwards: positions, numbers of uses, the extents of loops */

static void count(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[alloc_root(a->f, v)];
	if (h->uses != UINT16_MAX) h->uses++;
}

static void count_edge(struct alloc *a, uint32_t from, uint32_t e)
{
	const struct ir_edge *edge = &a->f->edge[e];
	for (unsigned k = 0; k < a->f->block[edge->to].params; k++)
		count(a, a->f->args[edge->args + k]);
	if (edge->to <= from && a->block[edge->to].last < from + 1)
		a->block[edge->to].last = from + 1; /* plus one: 0 is no header */
}

static void count_uses(struct alloc *a, uint32_t b, const struct ir_ins *i)
{
	for (unsigned k = 0; k < ir_info[i->op].args; k++) count(a, i->arg[k]);
	switch (i->op) {
	case IR_store: count(a, i->arg[3]); break;
	case IR_jump: count_edge(a, b, i->arg[0]); break;
	case IR_br:
		count_edge(a, b, i->arg[1]);
		count_edge(a, b, i->arg[2]);
		break;
	}
}

static void number(struct alloc *a)
{
	const struct ir_fn *f = a->f;
	uint32_t pos = 2;
	for (uint32_t b = 0; b < f->nblocks; b++) {
		struct alloc_block *ab = &a->block[b];
		ab->start = pos;
		for (uint32_t i = f->block[b].first; i; i = f->ins[i].next, pos += 2) {
			/* Parameters come to be all at once, before the block. */
			a->home[i].start = f->ins[i].op == IR_param ? ab->start : pos;
			count_uses(a, b, &f->ins[i]);
		}
		ab->end = pos;
	}
}

static void loops(struct alloc *a)
{
	static const float freq[] = {1, 10, 100, 1000, 10000};
	uint32_t top = NO_LOOP, depth = 0;
	for (uint32_t b = 0; b < a->f->nblocks; b++) {
		struct alloc_block *ab = &a->block[b];
		while (top != NO_LOOP && a->block[top].last <= b) {
			top = a->block[top].up;
			depth--;
		}
		if (ab->last) {
			ab->up = top;
			top = b;
			depth++;
			/* One that reaches out of the loop around it stretches that. */
			for (uint32_t l = ab->up; l != NO_LOOP; l = a->block[l].up)
				if (a->block[l].last < ab->last) a->block[l].last = ab->last;
		}
		ab->inner = top;
		ab->freq = freq[depth < COUNT(freq) ? depth : COUNT(freq) - 1];
		if (a->f->block[b].cold) ab->freq *= 0.01f;
	}
}

/* ---- second walk, backwards: intervals, weights, what is folded and what sinks into maps */

/* The end of an interval that starts at `start` and is used here: behind this instruction, and to
 * the end of every loop that the value is live into. */
static uint32_t end_here(const struct alloc *a, uint32_t start)
{
	uint32_t end = a->pos + 1;
	for (uint32_t l = a->block[a->cur].inner; l != NO_LOOP; l = a->block[l].up) {
		if (start >= a->block[l].start) break;
		end = a->block[a->block[l].last - 1].end;
	}
	return end;
}

static void lives_to(struct home *h, uint32_t end)
{
	if (h->end < end) h->end = end;
}

void alloc_use(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[alloc_root(a->f, v)];
	lives_to(h, end_here(a, h->start));
	h->hard = 1;
	h->weight += a->block[a->cur].freq;
}

void alloc_map(struct alloc *a, uint32_t map, bool code)
{
	const struct ir_map *m = &a->f->map[map];
	const struct ir_pair *p = &a->f->pair[m->first];
	for (unsigned k = 0; k < m->n; k++) {
		struct home *h = &a->home[alloc_root(a->f, p[k].val)];
		lives_to(h, end_here(a, h->start));
		if (code) h->weight += a->block[a->cur].freq;
	}
}

/* Edge arguments and parameters like the same register; the deeper edge decides. */
static void use_edge(struct alloc *a, uint32_t e)
{
	const struct ir_edge *edge = &a->f->edge[e];
	uint32_t p = a->f->block[edge->to].first;
	for (unsigned k = 0; k < a->f->block[edge->to].params; k++, p = a->f->ins[p].next) {
		uint32_t v = alloc_root(a->f, a->f->args[edge->args + k]);
		alloc_use(a, v);
		if (v == p) continue;
		if (!a->home[v].want) a->home[v].want = p;
		if (edge->to > a->cur) a->home[p].want = v;
	}
}

static void note_put(struct alloc *a, uint32_t slot)
{
	if (!jit_grow((void **)&a->put, &a->put_room, a->nputs + 1, sizeof(*a->put)))
		a->failed = true;
	else
		a->put[a->nputs++] = (struct put_at){slot, a->pos};
}

void alloc_edges(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	for (unsigned k = in->op == IR_br; k <= 2u * (in->op == IR_br); k++)
		use_edge(a, in->arg[k]);
}

void alloc_operands(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	for (unsigned k = 0; k < ir_info[in->op].args; k++) alloc_use(a, in->arg[k]);
	switch (in->op) {
	case IR_store:
		alloc_use(a, in->arg[3]);
		if (in->map) alloc_map(a, in->map, false);
		break;
	case IR_jump:
	case IR_br: alloc_edges(a, i); break;
	case IR_put: note_put(a, in->aux); break;
	case IR_call:
		for (unsigned k = 0; k < in->arg[3]; k++) alloc_use(a, a->f->args[in->arg[2] + k]);
		if (in->aux & IR_CALL_STATE) note_put(a, ~0u);
		break;
	case IR_exit:
	case IR_goto: alloc_map(a, in->map, true); break;
	default:
		if (in->map) alloc_map(a, in->map, false);
	}
}

/* Cheap, and a function of one value: maps can do it when they are needed. */
static bool sinks(const struct ir_fn *f, const struct ir_ins *i)
{
	uint64_t k;
	switch (i->op) {
	case IR_sx8:
	case IR_sx16:
	case IR_sx32:
	case IR_zx8:
	case IR_zx16:
	case IR_zx32:
	case IR_fnan:
	case IR_tobits:
	case IR_tofp: return true;
	case IR_add: return ir_is_konst(f, (ir_val){i->arg[1]}, &k) && k == (uint64_t)(int32_t)k;
	default: return false;
	}
}

/* The operand of a sunk op lives as long as it would itself. */
static void sink(struct alloc *a, struct home *h, const struct ir_ins *i)
{
	uint32_t v = alloc_root(a->f, i->arg[0]);
	struct home *o = &a->home[v];
	h->at = AT_SUNK;
	uint32_t end = h->end;
	for (uint32_t b = a->cur, l = a->block[b].inner; l != NO_LOOP; l = a->block[l].up)
		if (o->start < a->block[l].start && end < a->block[a->block[l].last - 1].end)
			end = a->block[a->block[l].last - 1].end;
	lives_to(o, end);
	if (o->chain <= h->chain) o->chain = (uint8_t)(h->chain + 1);
}

static void set_class(struct home *h, const struct ir_ins *i)
{
	enum ir_type t = ir_result_type(i);
	h->cls = t == IR_F32 || t == IR_F64 || t == IR_V128 ? CLASS_VEC : CLASS_INT;
	h->wide = t == IR_V128;
}

static void visit(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	struct home *h = &a->home[i];
	a->pos = h->start;
	set_class(h, in);
	if (in->op == IR_trunc) return;
	if (!h->end && (h->folded || ir_idle(in))) return;
	if (h->end && !h->hard && h->chain < SUNK_MAX && sinks(a->f, in)) {
		sink(a, h, in);
		return;
	}
	a->host->visit(a, i);
}

static void backwards(struct alloc *a)
{
	const struct ir_fn *f = a->f;
	for (uint32_t b = f->nblocks; b-- > 0;) {
		a->cur = b;
		for (uint32_t i = f->block[b].last; i; i = f->ins[i].prev) visit(a, i);
	}
}

/* ---- third walk, forwards: registers */

static bool slot_kept(const struct alloc *a, const struct ir_ins *i, const struct home *h)
{
	for (uint32_t k = 0; k < a->nputs; k++)
		if ((a->put[k].slot == i->aux || a->put[k].slot == ~0u) &&
		    a->put[k].pos > h->start && a->put[k].pos < h->end)
			return false;
	return true;
}

static uint16_t spill_slot(struct alloc *a, const struct home *h, uint32_t *ends, unsigned *n,
			   unsigned max)
{
	for (unsigned k = *n > 32 ? *n - 32 : 0; k < *n; k++)
		if (ends[k] <= h->start) {
			ends[k] = h->end;
			return (uint16_t)k;
		}
	if (*n == max) {
		a->failed = true;
		return 0;
	}
	ends[*n] = h->end;
	return (uint16_t)(*n)++;
}

static void to_memory(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[v];
	if (h->again) {
		h->at = a->f->ins[v].op == IR_get ? AT_STATE : AT_HAND;
	} else {
		h->at = AT_SPILL;
		h->n = h->wide ? spill_slot(a, h, a->wide_end, &a->nwide, a->host->wide_spills)
			       : spill_slot(a, h, a->spill_end, &a->nspills, a->host->spills);
	}
}

static void expire(struct alloc *a, unsigned c, uint32_t now)
{
	if (now < a->next_end[c]) return;
	uint32_t next = ~0u;
	for (uint32_t m = a->busy[c]; m; m &= m - 1) {
		unsigned r = (unsigned)__builtin_ctz(m);
		uint32_t end = a->home[a->in[c][r]].end;
		if (end <= now)
			a->busy[c] &= ~(1u << r);
		else if (end < next)
			next = end;
	}
	a->next_end[c] = next;
}

/* The free one that saves a move; or in turn, so that one given up just now stays free for who
 * wants it. */
static unsigned choose(struct alloc *a, struct home *h, uint32_t free)
{
	const struct home *o = &a->home[h->want];
	if (h->want && (o->at == AT_REG || o->at == AT_NOWHERE) && o->cls == h->cls &&
	    o->reg != 0xff && free >> o->reg & 1)
		return o->reg;
	if (h->reg != 0xff && free >> h->reg & 1) return h->reg; /* an argument has it */
	o = &a->home[h->like];
	if (h->like && o->at == AT_REG && o->cls == h->cls && free >> o->reg & 1) return o->reg;
	uint32_t later = free & ~((2u << a->hand[h->cls]) - 1);
	unsigned r = (unsigned)__builtin_ctz(later ? later : free);
	a->hand[h->cls] = (uint8_t)r;
	return r;
}

static void give(struct alloc *a, uint32_t v, unsigned r)
{
	struct home *h = &a->home[v];
	h->at = AT_REG;
	h->reg = (uint8_t)r;
	a->busy[h->cls] |= 1u << r;
	a->in[h->cls][r] = v;
	if (h->end < a->next_end[h->cls]) a->next_end[h->cls] = h->end;
	struct home *w = &a->home[h->want];
	if (h->want && w->at == AT_NOWHERE && w->reg == 0xff) w->reg = (uint8_t)r;
}

static float density(const struct home *h) { return h->weight / (float)(h->end - h->start); }

static void assign(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[v];
	unsigned c = h->cls;
	expire(a, c, h->start + 1);
	if (h->again && h->weight <= 0) {
		to_memory(a, v);
		return;
	}
	uint32_t free = a->host->regs[c] & ~a->busy[c];
	if (free) {
		give(a, v, choose(a, h, free));
		return;
	}
	uint32_t worst = v;
	float least = density(h);
	for (uint32_t m = a->busy[c]; m; m &= m - 1) {
		uint32_t o = a->in[c][__builtin_ctz(m)];
		float d = density(&a->home[o]);
		if (d < least) {
			least = d;
			worst = o;
		}
	}
	unsigned r = a->home[worst].reg;
	to_memory(a, worst);
	if (worst != v) give(a, v, r);
}

/* Whether v may be had again, and what its definition costs or saves in a register. */
static void price(struct alloc *a, uint32_t v, float freq)
{
	struct home *h = &a->home[v];
	const struct ir_ins *i = &a->f->ins[v];
	switch (i->op) {
	case IR_get: h->again = slot_kept(a, i, h); break;
	case IR_konst:
	case IR_state: h->again = 1; break;
	}
	h->weight += h->again ? -freq : freq;
}

/* What no register would be better than: immediates; a float's bits are read from memory. */
static bool small_konst(const struct ir_ins *i, const struct home *h)
{
	return i->op == IR_konst && (h->cls != CLASS_INT || i->type == IR_I32 ||
				     i->k == (uint64_t)(int32_t)i->k || i->k == (uint32_t)i->k);
}

static void note_call(struct alloc *a, uint32_t i)
{
	if (!jit_grow((void **)&a->call, &a->call_room, a->ncalls + 1, sizeof(*a->call))) {
		a->failed = true;
		return;
	}
	struct call_live *l = &a->call[a->ncalls++];
	*l = (struct call_live){i, {0}};
	for (unsigned c = 0; c < CLASSES; c++) {
		expire(a, c, a->home[i].start + 1);
		l->regs[c] = a->busy[c];
	}
}

uint32_t alloc_live(const struct alloc *a, uint32_t call, unsigned c)
{
	for (uint32_t k = 0; k < a->ncalls; k++)
		if (a->call[k].call == call) return a->call[k].regs[c];
	return 0;
}

static void place(struct alloc *a, uint32_t b, uint32_t i)
{
	struct home *h = &a->home[i];
	const struct ir_ins *in = &a->f->ins[i];
	if (in->op == IR_call || (in->op == IR_fma && a->host->fma_calls)) note_call(a, i);
	if (!h->end || h->at == AT_SUNK || in->op == IR_trunc) return;
	price(a, i, a->block[b].freq);
	if (small_konst(in, h))
		h->at = AT_HAND;
	else
		assign(a, i);
}

static void forwards(struct alloc *a)
{
	const struct ir_fn *f = a->f;
	for (uint32_t b = 0; b < f->nblocks; b++) {
		uint32_t n = f->block[b].params, i = f->block[b].first;
		for (uint32_t k = 0, p = i; k < n; k++, p = f->ins[p].next)
			if (a->home[p].end) lives_to(&a->home[p], a->block[b].start + 2 * n);
		for (; i; i = f->ins[i].next) place(a, b, i);
	}
}

bool alloc_run(struct alloc *a, const struct ir_fn *f, const struct alloc_host *host)
{
	a->f = f;
	a->host = host;
	a->nputs = a->ncalls = a->nspills = a->nwide = 0;
	a->failed = false;
	if (!make_room(a, f)) return false;
	for (uint32_t i = 0; i < f->n; i++) a->home[i].reg = 0xff;
	for (uint32_t b = 0; b < f->nblocks; b++) a->block[b] = (struct alloc_block){0};
	for (unsigned c = 0; c < CLASSES; c++) {
		a->busy[c] = 0;
		a->next_end[c] = ~0u;
		a->hand[c] = 31;
	}
	number(a);
	loops(a);
	backwards(a);
	forwards(a);
	return !a->failed;
}
