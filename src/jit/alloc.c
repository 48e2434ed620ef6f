/* Why: see alloc.h. The one idea: blocks come with dominators first, so one walk backwards sees
 * every use before its definition, and what is alive at a loop's header is alive in all of the
 * loop; that gives all ranges without iteration. */
#include "jit/alloc.h"
#include "base/types.h"
#include "jit/impl.h"
#include <stdlib.h>

enum { VALUES_MAX = 1 << 20, LIVE_MAX = 1 << 20 /* words */ };
#define NO_LOOP (~0u)

void alloc_done(struct alloc *a)
{
	free(a->home);
	free(a->block);
	free(a->put);
	free(a->call);
	free(a->range);
	free(a->live);
	free(a->edge);
	*a = (struct alloc){0};
}

static bool make_room(struct alloc *a, const struct ir_fn *f)
{
	if (f->n > VALUES_MAX || f->nblocks > VALUES_MAX) return false;
	a->words = (f->n + 63) / 64;
	uint64_t words = (uint64_t)a->words * f->nblocks;
	a->coarse = a->host->coarse || words > LIVE_MAX;
	if (!jit_grow((void **)&a->home, &a->home_room, f->n, sizeof(*a->home)) ||
	    !jit_grow((void **)&a->block, &a->block_room, f->nblocks, sizeof(*a->block)) ||
	    !jit_grow((void **)&a->edge, &a->edge_room, f->nedges + 1, sizeof(*a->edge)) ||
	    !jit_grow((void **)&a->range, &a->range_room, 1, sizeof(*a->range)) ||
	    !jit_grow((void **)&a->live, &a->live_room, a->coarse ? 0 : (uint32_t)words,
		      sizeof(*a->live)))
		return false;
	memset(a->home, 0, f->n * sizeof(*a->home));
	for (uint32_t b = 0; b < f->nblocks; b++) a->block[b] = (struct alloc_block){0};
	return true;
}

/* ---- first walk, forwards: positions, names, numbers of uses, the extents of loops */

static bool konst_in(const struct ir_fn *f, uint32_t v, uint32_t lo, uint32_t hi)
{
	uint64_t k;
	return ir_is_konst(f, (ir_val){v}, &k) && (uint32_t)k >= lo && (uint32_t)k <= hi;
}

/* Another name: trunc of its operand; an extension of what is extended so already, since whoever
 * computes 32 bits clears the others. */
static uint32_t root(const struct alloc *a, uint32_t v)
{
	const struct ir_ins *i = &a->f->ins[v], *o;
	if (i->op == IR_trunc) return a->home[i->arg[0]].root;
	if (i->op != IR_zx32 && i->op != IR_sx32) return v;
	o = &a->f->ins[i->arg[0]];
	if (o->type != IR_I32) return v;
	if (i->op == IR_zx32 && o->op >= IR_add && o->op <= IR_bswap) return i->arg[0];
	if (i->op == IR_sx32 && o->op == IR_shr && konst_in(a->f, o->arg[1], 1, 31))
		return i->arg[0];
	if (i->op == IR_sx32 && o->op == IR_and && konst_in(a->f, o->arg[1], 0, INT32_MAX))
		return i->arg[0];
	return v;
}

static void count(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[a->home[v].root];
	if (h->uses != UINT16_MAX) h->uses++;
}

static void count_edge(struct alloc *a, uint32_t from, uint32_t e)
{
	const struct ir_edge *edge = &a->f->edge[e];
	for (unsigned k = 0; k < a->f->block[edge->to].params; k++)
		count(a, a->f->args[edge->args + k]);
	a->edge[e + 1] = (struct alloc_edge){a->block[edge->to].edges, from};
	a->block[edge->to].edges = e + 1;
	if (edge->to > from) return;
	if (a->block[edge->to].last <= from) a->block[edge->to].last = from + 1;
	a->coarse |= !ir_dominates(a->f, edge->to, from);
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

/* What no register would be better than: immediates, addresses in the state; a float's bits are
 * read from memory. */
static bool at_hand(const struct ir_ins *i)
{
	if (i->op == IR_state) return true;
	return i->op == IR_konst && (i->type == IR_F32 || i->type == IR_F64 || i->type == IR_I32 ||
				     i->k == (uint64_t)(int32_t)i->k || i->k == (uint32_t)i->k);
}

static void number(struct alloc *a)
{
	const struct ir_fn *f = a->f;
	uint32_t pos = 2;
	a->home[0].at = AT_HAND; /* no value: reads as a constant 0 */
	for (uint32_t b = 0; b < f->nblocks; b++) {
		struct alloc_block *ab = &a->block[b];
		ab->start = pos;
		for (uint32_t i = f->block[b].first; i; i = f->ins[i].next, pos += 2) {
			const struct ir_ins *in = &f->ins[i];
			struct home *h = &a->home[i];
			enum ir_type t = ir_result_type(in);
			/* Parameters come to be all at once, before the block. */
			h->start = in->op == IR_param ? ab->start : pos;
			h->reg = NO_REG;
			h->root = root(a, i);
			h->cls = t == IR_F32 || t == IR_F64 || t == IR_V128 ? CLASS_VEC : CLASS_INT;
			h->wide = t == IR_V128;
			if (at_hand(in)) h->at = AT_HAND;
			count_uses(a, b, in);
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

/* ---- ranges. They are added from the end on: a new one lies before the first or reaches it. */

static void add_range(struct alloc *a, struct home *h, uint32_t start, uint32_t end)
{
	struct range *first = &a->range[h->range];
	if (h->end < end) h->end = end;
	if (!h->range || end < first->start) {
		if (!jit_grow((void **)&a->range, &a->range_room, a->nranges + 1,
			      sizeof(*a->range))) {
			a->failed = true;
			return;
		}
		a->range[a->nranges] = (struct range){start, end, h->range};
		h->range = a->nranges++;
		return;
	}
	if (start < first->start) first->start = start;
	if (end <= first->end) return;
	first->end = end;
	while (first->next && a->range[first->next].start <= end) {
		const struct range *r = &a->range[first->next];
		if (first->end < r->end) first->end = r->end;
		first->next = r->next;
	}
}

/* Without holes: to the end of every loop that the value is alive into. */
static uint32_t coarse_end(const struct alloc *a, uint32_t start)
{
	uint32_t end = a->pos + 1;
	for (uint32_t l = a->block[a->cur].inner; l != NO_LOOP; l = a->block[l].up) {
		if (start >= a->block[l].start) break;
		end = a->block[a->block[l].last - 1].end;
	}
	return end;
}

static uint64_t *row(struct alloc *a, uint32_t block) { return &a->live[(size_t)block * a->words]; }

/* v is alive here. */
static void alive(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[v];
	if (a->coarse) {
		add_range(a, h, h->start + 1, coarse_end(a, h->start));
		return;
	}
	uint64_t *w = &row(a, a->cur)[v / 64], bit = 1ull << v % 64;
	if (*w & bit) return;
	*w |= bit;
	add_range(a, h, a->block[a->cur].start, a->pos + 1);
}

static void each_alive(struct alloc *a, uint32_t block, uint32_t start, uint32_t end)
{
	const uint64_t *bits = row(a, block);
	for (uint32_t w = 0; w < a->words; w++)
		for (uint64_t m = bits[w]; m; m &= m - 1)
			add_range(a, &a->home[w * 64 + (uint32_t)__builtin_ctzll(m)], start, end);
}

static void join(struct alloc *a, uint32_t b, uint32_t edge)
{
	uint32_t to = a->f->edge[edge].to;
	uint64_t *x = row(a, b);
	const uint64_t *y = row(a, to);
	if (to <= b) return; /* a loop's header speaks for itself */
	for (uint32_t w = 0; w < a->words; w++) x[w] |= y[w];
}

static void block_end(struct alloc *a, uint32_t b)
{
	const struct ir_ins *i = &a->f->ins[a->f->block[b].last];
	if (a->coarse) return;
	memset(row(a, b), 0, a->words * sizeof(uint64_t));
	if (i->op == IR_jump) join(a, b, i->arg[0]);
	if (i->op == IR_br) {
		join(a, b, i->arg[1]);
		join(a, b, i->arg[2]);
	}
	each_alive(a, b, a->block[b].start, a->block[b].end);
}

static void block_begin(struct alloc *a, uint32_t b)
{
	uint32_t last = a->block[b].last;
	if (last && !a->coarse) each_alive(a, b, a->block[b].start, a->block[last - 1].end);
}

static void define(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[v];
	if (!h->range) return;
	a->range[h->range].start = h->start + (a->f->ins[v].op != IR_param);
	if (!a->coarse) row(a, a->cur)[v / 64] &= ~(1ull << v % 64);
}

/* ---- second walk, backwards: uses and weights; what is folded and what sinks into maps */

void alloc_use(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[v = a->home[v].root];
	h->hard = true;
	if (h->at == AT_HAND) return;
	h->weight += a->block[a->cur].freq;
	alive(a, v);
}

void alloc_map(struct alloc *a, uint32_t map, bool code)
{
	const struct ir_map *m = &a->f->map[map];
	const struct ir_pair *p = &a->f->pair[m->first];
	for (unsigned k = 0; k < m->n; k++) {
		uint32_t v = a->home[p[k].val].root;
		if (a->home[v].at == AT_HAND) continue;
		if (code) a->home[v].weight += a->block[a->cur].freq;
		alive(a, v);
	}
}

/* What only parameter p wants of a turn of its loop, extended, is extended by moving it there; but
 * not where a branch has to go around a move that need not have been. */
static uint32_t moved(struct alloc *a, uint32_t v, uint32_t p)
{
	const struct ir_ins *i = &a->f->ins[v];
	uint32_t x = i->arg[0], loop = a->block[a->cur].inner;
	uint32_t from = a->block[loop == NO_LOOP ? a->cur : loop].start;
	if ((i->op != IR_sx32 && i->op != IR_zx32) || a->home[v].uses != 1) return v;
	if (a->home[v].start < from) return v;
	x = a->home[x].root;
	if (a->f->ins[a->f->block[a->cur].last].op == IR_br &&
	    (a->f->ins[x].op != IR_param || x == p))
		return v;
	a->home[v].folded = a->home[v].on_edge = true;
	return x;
}

/* Edge arguments and parameters like the same register; the commonest edge decides. */
static void use_edge(struct alloc *a, uint32_t e)
{
	const struct ir_edge *edge = &a->f->edge[e];
	uint32_t p = a->f->block[edge->to].first;
	float freq = a->block[a->cur].freq;
	for (unsigned k = 0; k < a->f->block[edge->to].params; k++, p = a->f->ins[p].next) {
		uint32_t v = moved(a, a->home[a->f->args[edge->args + k]].root, p);
		alloc_use(a, v);
		if (v == p) continue;
		if (a->home[v].want_freq < freq) {
			a->home[v].want = p;
			a->home[v].want_freq = freq;
		}
		if (edge->to > a->cur && a->home[p].want_freq < freq) {
			a->home[p].want = v;
			a->home[p].want_freq = freq;
		}
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
		if (in->aux == IR_CALL_STATE) note_put(a, ~0u);
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
	case IR_add:
		return ir_is_konst(f, (ir_val){i->arg[1]}, &k) &&
		       (i->type == IR_I32 || k == (uint64_t)(int32_t)k);
	default: return false;
	}
}

enum { HOLES_MAX = 64 };
/* Copy h's ranges; where there are too many, do without the last holes. */
static uint32_t copy_ranges(const struct alloc *a, const struct home *h, struct range *to)
{
	uint32_t n = 0, r = h->range;
	for (; r && n < HOLES_MAX; r = a->range[r].next) to[n++] = a->range[r];
	if (r) to[n - 1].end = h->end;
	return n;
}

/* o is alive wherever h is, too. */
static void outlive(struct alloc *a, struct home *o, const struct home *h)
{
	struct range x[HOLES_MAX], y[HOLES_MAX];
	uint32_t nx = copy_ranges(a, h, x), ny = copy_ranges(a, o, y);
	o->range = 0;
	while (nx || ny) {
		bool first = nx && (!ny || x[nx - 1].start >= y[ny - 1].start);
		const struct range *r = first ? &x[--nx] : &y[--ny];
		add_range(a, o, r->start, r->end);
	}
}

static void sink(struct alloc *a, struct home *h, const struct ir_ins *i)
{
	uint32_t v = a->home[i->arg[0]].root;
	struct home *o = &a->home[v];
	h->at = AT_SUNK;
	if (o->chain <= h->chain) o->chain = (uint8_t)(h->chain + 1);
	if (o->at == AT_HAND) return;
	outlive(a, o, h);
	alive(a, v);
}

void alloc_same(struct alloc *a, uint32_t v, uint32_t other)
{
	struct home *h = &a->home[v], *o = &a->home[other];
	h->root = other;
	outlive(a, o, h);
	o->weight += h->weight;
	if (o->want_freq < h->want_freq) {
		o->want = h->want;
		o->want_freq = h->want_freq;
	}
	h->want = other;
	h->changes = true;
}

static void visit(struct alloc *a, uint32_t i)
{
	const struct ir_ins *in = &a->f->ins[i];
	struct home *h = &a->home[i];
	if (h->root != i || h->at == AT_HAND) return;
	a->pos = h->start;
	define(a, i);
	if (!h->end && (h->folded || ir_idle(in))) return;
	if (h->end && !h->hard && h->chain < SUNK_MAX && sinks(a->f, in))
		sink(a, h, in);
	else
		a->host->visit(a, i);
}

static void backwards(struct alloc *a)
{
	const struct ir_fn *f = a->f;
	for (uint32_t b = f->nblocks; b-- > 0;) {
		a->cur = b;
		block_end(a, b);
		for (uint32_t i = f->block[b].last; i; i = f->ins[i].prev) visit(a, i);
		block_begin(a, b);
	}
}

/* ---- third walk, forwards: registers */

static bool covers(const struct alloc *a, const struct home *h, uint32_t pos)
{
	for (uint32_t r = h->range; r; r = a->range[r].next)
		if (a->range[r].start <= pos && pos < a->range[r].end) return true;
	return false;
}

static bool slot_kept(const struct alloc *a, const struct ir_ins *i, const struct home *h)
{
	for (uint32_t k = 0; k < a->nputs; k++)
		if ((a->put[k].slot == i->aux || a->put[k].slot == ~0u) &&
		    covers(a, h, a->put[k].pos + 1))
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

/* Do they meet? Ranges that end before y begins are dropped from x for good: what comes later
 * begins later. */
static bool meet(struct alloc *a, struct home *x, const struct home *y)
{
	const struct range *s = &a->range[y->range];
	while (x->range && a->range[x->range].end <= s->start) x->range = a->range[x->range].next;
	uint32_t p = x->range, q = y->range;
	while (p && q) {
		const struct range *r = &a->range[p], *t = &a->range[q];
		if (r->end <= t->start)
			p = r->next;
		else if (t->end <= r->start)
			q = t->next;
		else
			return true;
	}
	return false;
}

static bool is_free(struct alloc *a, struct home *h, unsigned r)
{
	for (uint32_t *at = &a->in [h->cls][r]; *at;) {
		struct home *o = &a->home[*at];
		if (o->end <= h->start || o->at != AT_REG) {
			*at = o->next;
			continue;
		}
		if (meet(a, o, h)) return false;
		at = &o->next;
	}
	return true;
}

static bool take(struct alloc *a, uint32_t v, unsigned r)
{
	struct home *h = &a->home[v];
	if (r == NO_REG || !(a->host->regs[h->cls] >> r & 1) || !is_free(a, h, r)) return false;
	h->at = AT_REG;
	h->reg = (uint8_t)r;
	h->next = a->in[h->cls][r];
	a->in[h->cls][r] = v;
	return true;
}

/* The register of a value, or the one that has been thought of for it. */
static unsigned reg_of(const struct alloc *a, uint32_t v, unsigned cls)
{
	const struct home *h = &a->home[v];
	for (unsigned far = 0; h->at == AT_NOWHERE && h->reg == NO_REG && h->want && far < 3; far++)
		h = &a->home[h->want];
	return h->cls == cls && (h->at == AT_REG || h->at == AT_NOWHERE) ? h->reg : NO_REG;
}

/* Any; in turn, so that one given up just now stays free for who wants it. */
static bool take_any(struct alloc *a, uint32_t v)
{
	unsigned c = a->home[v].cls;
	uint32_t all = a->host->regs[c], later = all & ~((2u << a->hand[c]) - 1);
	for (unsigned turn = 0; turn < 2; turn++)
		for (uint32_t m = turn ? all & ~later : later; m; m &= m - 1) {
			unsigned r = (unsigned)__builtin_ctz(m);
			if (!take(a, v, r)) continue;
			a->hand[c] = (uint8_t)r;
			return true;
		}
	return false;
}

static float density(const struct alloc *a, const struct home *h)
{
	uint32_t len = 1;
	for (uint32_t r = h->range; r; r = a->range[r].next)
		len += a->range[r].end - a->range[r].start;
	return h->weight / (float)len;
}

/* What register r holds while v lives is worth; let them go if `out`. */
static float tenants(struct alloc *a, const struct home *h, unsigned r, bool out)
{
	float sum = 0;
	for (uint32_t o = a->in [h->cls][r]; o; o = a->home[o].next) {
		if (a->home[o].at != AT_REG || !meet(a, &a->home[o], h)) continue;
		sum += density(a, &a->home[o]);
		if (out) to_memory(a, o);
	}
	return sum;
}

static void assign(struct alloc *a, uint32_t v)
{
	struct home *h = &a->home[v];
	if (h->again && h->weight <= 0) {
		to_memory(a, v);
		return;
	}
	unsigned hint = h->reg, worst = NO_REG;
	h->reg = NO_REG;
	if ((h->want && take(a, v, reg_of(a, h->want, h->cls))) || take(a, v, hint) ||
	    (h->like && take(a, v, reg_of(a, h->like, h->cls))) || take_any(a, v))
		return;
	float least = density(a, h);
	for (uint32_t m = a->host->regs[h->cls]; m; m &= m - 1) {
		float d = tenants(a, h, (unsigned)__builtin_ctz(m), false);
		if (d >= least) continue;
		least = d;
		worst = (unsigned)__builtin_ctz(m);
	}
	if (worst == NO_REG) {
		to_memory(a, v);
		return;
	}
	(void)tenants(a, h, worst, true);
	must(take(a, v, worst));
}

/* Whether v may be had again, and what its definition costs or saves in a register. */
static void price(struct alloc *a, uint32_t v, float freq)
{
	struct home *h = &a->home[v];
	const struct ir_ins *i = &a->f->ins[v];
	switch (i->op) {
	case IR_get: h->again = slot_kept(a, i, h); break;
	case IR_konst: h->again = 1; break;
	}
	h->weight += h->again ? -freq : freq;
}

static void note_call(struct alloc *a, uint32_t i)
{
	if (!jit_grow((void **)&a->call, &a->call_room, a->ncalls + 1, sizeof(*a->call))) {
		a->failed = true;
		return;
	}
	struct call_live *l = &a->call[a->ncalls++];
	*l = (struct call_live){i, {0}};
	for (unsigned c = 0; c < CLASSES; c++)
		for (unsigned r = 0; r < 32; r++)
			for (uint32_t o = a->in[c][r]; o; o = a->home[o].next)
				if (covers(a, &a->home[o], a->home[i].start + 1))
					l->regs[c] |= 1u << r;
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
	if (!h->end || h->at != AT_NOWHERE || h->root != i) return;
	price(a, i, a->block[b].freq);
	assign(a, i);
	/* An argument that comes before its parameter tells it where it is. */
	struct home *w = &a->home[h->want];
	if (h->at == AT_REG && h->want && w->at == AT_NOWHERE && w->reg == NO_REG) w->reg = h->reg;
}

static void forwards(struct alloc *a)
{
	const struct ir_fn *f = a->f;
	for (uint32_t b = 0; b < f->nblocks; b++)
		for (uint32_t i = f->block[b].first; i; i = f->ins[i].next) place(a, b, i);
}

bool alloc_run(struct alloc *a, const struct ir_fn *f, const struct alloc_host *host)
{
	a->f = f;
	a->host = host;
	a->nputs = a->ncalls = a->nspills = a->nwide = a->nsites = 0;
	a->nranges = 1;
	a->failed = false;
	if (!make_room(a, f)) return false;
	memset(a->in, 0, sizeof(a->in));
	a->hand[CLASS_INT] = a->hand[CLASS_VEC] = 31;
	number(a);
	loops(a);
	backwards(a);
	forwards(a);
	return !a->failed;
}
