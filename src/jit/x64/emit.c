/* Why: from homes to bytes. The one idea: blocks in their order, the cold ones behind the others,
 * then what is hardly ever run: each instruction by the emitter that its rule names. */
#include "jit/x64/emit.h"
#include "base/types.h"
#include <stdlib.h>

const struct rule x64_rules[IR__count] = {
#define RULE(name, how, op, more) [IR_##name] = {emit_##how, op, more},
#include "jit/x64/rules.def"
#undef RULE
};

/* No instruction with its moves and stores needs more; checked before each. */
enum { SLACK = 16384 };

void later(struct emit *e, uint8_t *at, uint32_t block)
{
	if (!jit_grow((void **)&e->jumps, &e->jump_room, e->njumps + 1, sizeof(*e->jumps)))
		e->failed = true;
	else
		e->jumps[e->njumps++] = (struct to_block){at, block};
}

/* Valid until the next. */
struct stub *stub_new(struct emit *e, void (*emit)(struct emit *, struct stub *), uint32_t i)
{
	static struct stub none;
	if (!jit_grow((void **)&e->stubs, &e->stub_room, e->nstubs + 1, sizeof(*e->stubs))) {
		e->failed = true;
		return &none;
	}
	struct stub *s = &e->stubs[e->nstubs++];
	*s = (struct stub){.emit = emit, .i = i};
	return s;
}

void stub_jcc(struct emit *e, struct stub *s, enum cc cc)
{
	s->from[s->from[0] != NULL] = jcc_later(&e->a, cc);
}

static void order_blocks(struct emit *e)
{
	uint32_t n = 0;
	for (int cold = 0; cold < 2; cold++)
		for (uint32_t b = 0; b < e->f->nblocks; b++)
			if ((b && e->f->block[b].cold) == cold) e->order[n++] = b;
}

static bool has_room(struct emit *e)
{
	e->c->full |= e->end - e->a.p < SLACK;
	e->failed |= e->c->full;
	return !e->failed;
}

static bool emit_block(struct emit *e, uint32_t b)
{
	e->block_at[b] = e->a.p;
	for (uint32_t i = e->f->block[b].first; i; i = e->f->ins[i].next) {
		const struct ir_ins *in = &e->f->ins[i];
		const struct home *h = &e->home[i];
		if (!h->changes &&
		    (h->at >= AT_HAND || (h->at == AT_NOWHERE && (h->folded || ir_idle(in)))))
			continue;
		if (!has_room(e)) return false;
		x64_rules[in->op].emit(e, i, &x64_rules[in->op]);
	}
	return true;
}

static bool emit_stubs(struct emit *e)
{
	for (uint32_t k = 0; k < e->nstubs; k++) { /* a stub may add stubs */
		if (!has_room(e)) return false;
		struct stub s = e->stubs[k];
		for (unsigned n = 0; n < 2; n++)
			if (s.from[n]) set_rel32(s.from[n], e->a.p);
		s.emit(e, &s);
	}
	return true;
}

static bool prepare(struct emit *e, const struct ir_fn *f)
{
	if (!jit_grow((void **)&e->block_at, &e->block_room, f->nblocks, sizeof(*e->block_at)) ||
	    !jit_grow((void **)&e->order, &e->order_room, f->nblocks, sizeof(*e->order)))
		return false;
	memset(e->block_at, 0, f->nblocks * sizeof(*e->block_at));
	e->f = f;
	e->home = e->c->alloc.home;
	e->failed = false;
	e->njumps = e->nstubs = e->access_map = 0;
	order_blocks(e);
	return true;
}

uint8_t *jit_host_emit(struct jit_cache *c, const struct ir_fn *f, uint8_t *at, uint8_t *end)
{
	struct emit *e = &c->host->emit;
	e->c = c;
	e->h = c->host;
	e->a.p = at;
	e->a.avx = c->host->avx;
	e->end = end;
	if (!prepare(e, f)) return NULL;
	sites_forget(e);
	for (uint32_t k = 0; k < f->nblocks; k++) {
		e->next = k + 1 < f->nblocks ? e->order[k + 1] : ~0u;
		if (!emit_block(e, e->order[k])) return NULL;
	}
	for (uint32_t k = 0; k < e->njumps; k++)
		set_rel32(e->jumps[k].at, e->block_at[e->jumps[k].block]);
	return emit_stubs(e) && !e->failed ? e->a.p : NULL;
}

void emit_done(struct emit *e)
{
	free(e->block_at);
	free(e->order);
	free(e->jumps);
	free(e->stubs);
}
