/* What nobody needs goes: blocks that are not reached, parameters that always stand for one and the
 * same value, values that nothing with an effect depends on. Liveness starts at effects and
 * flows backwards, along edges into parameters too, so that values which only feed each other
 * around a loop go as well; so do map pairs that say what memory has already. In the end a block
 * that is jumped to from one place becomes the end of the block that does. */
#include "base/own.h"
#include "ir/impl.h"
#include <string.h>

struct clean {
	struct ir_fn *f;
	uint32_t *same;		  /* of each value: the one it stands for; 0: itself */
	uint32_t *home;		  /* of each parameter: its block */
	uint32_t *todo, ntodo;	  /* values, or blocks */
	uint32_t *in_first, *ins; /* edges into block b: ins[in_first[b] .. in_first[b + 1]] */
	uint32_t *name;		  /* of each block: its number afterwards; ~0: it goes */
	uint32_t *into;		  /* the block that it has become a part of */
	bool *live, *put;	  /* values that matter; slots that memory may have new values of */
};

static unsigned edges(const struct ir_ins *i, uint32_t out[2])
{
	bool br = i->op == IR_br;
	out[0] = i->arg[br];
	out[1] = i->arg[2];
	return br ? 2 : i->op == IR_jump;
}

static unsigned block_edges(const struct clean *c, uint32_t b, uint32_t out[2])
{
	return edges(&c->f->ins[c->f->block[b].last], out);
}

/* ---- blocks */
static void reach(struct clean *c)
{
	uint32_t out[2];
	memset(c->name, ~0, c->f->nblocks * sizeof(*c->name));
	c->name[0] = 0;
	c->todo[c->ntodo++] = 0;
	while (c->ntodo) {
		uint32_t b = c->todo[--c->ntodo];
		for (unsigned k = block_edges(c, b, out); k--;) {
			uint32_t to = c->f->edge[out[k]].to;
			if (c->name[to] != ~0u) continue;
			c->name[to] = 0;
			c->todo[c->ntodo++] = to;
		}
	}
}

static void gather_edges(struct clean *c)
{
	const struct ir_fn *f = c->f;
	uint32_t out[2];
	for (uint32_t b = 0; b < f->nblocks; b++)
		for (unsigned k = c->name[b] == ~0u ? 0 : block_edges(c, b, out); k--;)
			c->in_first[f->edge[out[k]].to + 1]++;
	for (uint32_t b = 0; b < f->nblocks; b++) c->in_first[b + 1] += c->in_first[b];
	for (uint32_t b = f->nblocks; b--;)
		for (unsigned k = c->name[b] == ~0u ? 0 : block_edges(c, b, out); k--;)
			c->ins[c->in_first[f->edge[out[k]].to]++] = out[k];
	memmove(c->in_first + 1, c->in_first, f->nblocks * sizeof(*c->in_first));
	c->in_first[0] = 0;
}

static bool one_way(const struct clean *c, uint32_t b, uint32_t *to)
{
	const struct ir_block *from = &c->f->block[b], *k;
	if (c->f->ins[from->last].op != IR_jump) return false;
	*to = c->f->edge[c->f->ins[from->last].arg[0]].to;
	k = &c->f->block[*to];
	return c->in_first[*to + 1] - c->in_first[*to] == 1 && *to > b && !k->params &&
	       k->loop == from->loop && k->cold == from->cold;
}

static void merge_blocks(struct clean *c)
{
	struct ir_fn *f = c->f;
	uint32_t to;
	for (uint32_t b = 0; b < f->nblocks; b++) {
		c->into[b] = c->name[b] == ~0u ? c->into[b] : b;
		while (c->name[b] != ~0u && one_way(c, b, &to)) {
			ir_unlink(f, b, f->block[b].last);
			ir_splice(f, b, to);
			c->name[to] = ~0u;
			c->into[to] = b;
		}
	}
}

static void number_blocks(struct clean *c)
{
	for (uint32_t b = 0, n = 0; b < c->f->nblocks; b++)
		if (c->name[b] != ~0u) c->name[b] = n++;
}

static void drop_blocks(struct clean *c)
{
	struct ir_fn *f = c->f;
	uint32_t n = 0;
	for (uint32_t b = 0; b < f->nblocks; b++) {
		if (c->name[b] == ~0u) continue;
		struct ir_block *to = &f->block[n++];
		*to = f->block[b];
		to->preds = (uint16_t)(c->in_first[b + 1] - c->in_first[b]);
		to->idom = c->name[c->into[to->idom]];
		if (to->loop != ~0u) to->loop = c->name[to->loop];
	}
	for (uint32_t k = 0; k < f->nedges; k++) {
		uint32_t to = c->name[f->edge[k].to];
		f->edge[k].to = to == ~0u ? 0 : to; /* of one that goes with its block */
	}
	f->nblocks = n;
	f->at = 0;
}

/* ---- parameters that are but another name */
static uint32_t resolve(const struct clean *c, uint32_t v)
{
	uint32_t r = v, next;
	while (c->same[r]) r = c->same[r];
	for (; v != r; v = next) {
		next = c->same[v];
		c->same[v] = r;
	}
	return r;
}

/* The one value that parameter number k of block b gets besides itself; 0: there are two. */
static uint32_t only_arg(const struct clean *c, uint32_t b, unsigned k, uint32_t self)
{
	uint32_t one = 0;
	for (uint32_t e = c->in_first[b]; e < c->in_first[b + 1]; e++) {
		uint32_t v = resolve(c, c->f->args[c->f->edge[c->ins[e]].args + k]);
		if (v == self || v == one) continue;
		if (one) return 0;
		one = v;
	}
	return one;
}

static bool rename_params(struct clean *c, uint32_t b)
{
	uint32_t p = c->f->block[b].first;
	bool some = false;
	for (unsigned k = 0; k < c->f->block[b].params; k++, p = c->f->ins[p].next) {
		c->home[p] = b;
		if (c->same[p]) continue;
		c->same[p] = only_arg(c, b, k, p);
		some |= c->same[p] != 0;
	}
	return some;
}

/* Values flow forwards in block order, but for loops: a round more for each that is nested. */
static void rename_all(struct clean *c)
{
	for (bool more = true; more;) {
		more = false;
		for (uint32_t b = 1; b < c->f->nblocks; b++)
			if (c->name[b] != ~0u) more |= rename_params(c, b);
	}
}

/* ---- values that matter */
static unsigned uses(const struct ir_fn *f, struct ir_ins *i, uint32_t *out[5])
{
	unsigned n = 0;
	for (; n < ir_info[i->op].args; n++) out[n] = &i->arg[n];
	if (i->op == IR_store) out[n++] = &i->arg[3];
	if (i->op == IR_call)
		for (; n < i->arg[3]; n++) out[n] = &f->args[i->arg[2] + n];
	return n;
}

static void mark(struct clean *c, uint32_t v)
{
	v = resolve(c, v);
	if (!v || c->live[v]) return;
	c->live[v] = true;
	c->todo[c->ntodo++] = v;
}

/* Memory has that value already: it was read from there, and nothing was put since. */
static bool known(const struct clean *c, const struct ir_pair *p)
{
	const struct ir_ins *i = &c->f->ins[resolve(c, p->val)];
	return i->op == IR_get && i->aux == p->slot && !c->put[p->slot] &&
	       (!c->f->slots[p->slot].box || i->type != IR_F32);
}

static void trim(struct clean *c, struct ir_map *m)
{
	if (!m->n) return; /* and perhaps no pairs at all */
	struct ir_pair *p = c->f->pair + m->first;
	uint32_t kept = 0;
	for (uint32_t k = 0; k < m->n; k++)
		if (!known(c, &p[k])) p[kept++] = p[k];
	m->n = kept;
}

static void mark_from(struct clean *c, uint32_t v)
{
	struct ir_fn *f = c->f;
	struct ir_ins *i = &f->ins[v];
	struct ir_map *m = &f->map[i->map];
	uint32_t *use[5];
	trim(c, m);
	for (unsigned n = uses(f, i, use); n--;) mark(c, *use[n]);
	for (uint32_t k = m->first; k < m->first + m->n; k++) mark(c, f->pair[k].val);
	if (i->op != IR_param) return;
	for (uint32_t e = c->in_first[c->home[v]]; e < c->in_first[c->home[v] + 1]; e++)
		mark(c, f->args[f->edge[c->ins[e]].args + i->aux]);
}

static bool matters(const struct ir_ins *i)
{
	unsigned flags = ir_info[i->op].flags;
	if (flags & IR_CALLS) return i->aux != IR_CALL_PURE;
	return flags & (IR_WRITES | IR_EXITS | IR_ENDS | IR_FLOAT) || i->map;
}

static void mark_root(struct clean *c, uint32_t n)
{
	const struct ir_ins *i = &c->f->ins[n];
	if (!matters(i)) return;
	mark(c, n);
	if (i->op == IR_put) c->put[i->aux] = true;
	if (i->op == IR_call && i->aux == IR_CALL_STATE) memset(c->put, true, c->f->nslots);
}

static void mark_all(struct clean *c)
{
	for (uint32_t b = 0; b < c->f->nblocks; b++) {
		if (c->name[b] == ~0u) continue;
		for (uint32_t n = c->f->block[b].first; n; n = c->f->ins[n].next) mark_root(c, n);
	}
	while (c->ntodo) mark_from(c, c->todo[--c->ntodo]);
}

/* ---- the rest goes */
static void drop_params(struct clean *c, uint32_t b)
{
	struct ir_fn *f = c->f;
	unsigned params = f->block[b].params, kept = 0;
	uint32_t n = f->block[b].first;
	for (unsigned k = 0; k < params; k++, n = f->ins[n].next) {
		if (!c->live[n]) {
			ir_unlink(f, b, n);
			continue;
		}
		for (uint32_t e = c->in_first[b]; e < c->in_first[b + 1]; e++) {
			uint32_t *args = f->args + f->edge[c->ins[e]].args;
			args[kept] = resolve(c, args[k]);
		}
		f->ins[n].aux = (uint16_t)kept++;
	}
	f->block[b].params = (uint16_t)kept;
}

static void rewrite(struct clean *c, struct ir_ins *i)
{
	const struct ir_map *m = &c->f->map[i->map];
	uint32_t *use[5];
	for (unsigned n = uses(c->f, i, use); n--;) *use[n] = resolve(c, *use[n]);
	for (uint32_t k = m->first; k < m->first + m->n; k++)
		c->f->pair[k].val = resolve(c, c->f->pair[k].val);
}

static void sweep(struct clean *c, uint32_t b)
{
	drop_params(c, b);
	for (uint32_t n = c->f->block[b].first; n; n = c->f->ins[n].next) {
		if (c->live[n])
			rewrite(c, &c->f->ins[n]);
		else
			ir_unlink(c->f, b, n);
	}
}

void ir_clean(struct ir_fn *f)
{
	struct clean c = {.f = f};
	size_t n = f->n, blocks = f->nblocks;
	auto_mem uint32_t *mem =
		calloc(4 * n + 4 * blocks + 1 + f->nedges + f->nslots, sizeof(*mem));
	uint32_t *p = mem;
	must(mem);
	c.same = p, p += n;
	c.home = p, p += n;
	c.todo = p, p += n + blocks;
	c.in_first = p, p += blocks + 1;
	c.name = p, p += blocks;
	c.into = p, p += blocks;
	c.ins = p, p += f->nedges;
	c.live = (bool *)p;
	c.put = c.live + n;
	reach(&c);
	gather_edges(&c);
	rename_all(&c);
	mark_all(&c);
	for (uint32_t b = 0; b < f->nblocks; b++)
		if (c.name[b] != ~0u) sweep(&c, b);
	merge_blocks(&c);
	number_blocks(&c);
	drop_blocks(&c);
	ir_forget(f);
}
