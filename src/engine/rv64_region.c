/* Which instructions make a unit. The interpreter has decoded only what has run, and that is
 * profile enough: a path that never ran is left out and becomes an exit. */
#include "engine/rv64_region.h"
#include "engine/rv64_cpu.h"

/* ---- walking the code ---- */
struct walk {
	struct region *r;
	int queue[REGION_BLOCKS * 2], head, tail, limit;
	bool calls;
};

static const struct code_page *page_of(const struct region *r, int off)
{
	if (off < -REGION_BYTES || off >= 2 * REGION_BYTES) return NULL;
	return r->page[region_page(off)];
}

static bool has_run(const struct region *r, int off)
{
	const struct code_page *p = page_of(r, off);
	if (!p) return false;
	const struct slot *s = &p->slot[(off & (REGION_BYTES - 1)) / 2];
	return s->fn != rv64_op_decode && s->fn != rv64_op_point;
}

/* Which may run over the end of its page. */
static bool decode_at(struct region *r, int off, struct rv64_insn *i)
{
	const struct code_page *p = page_of(r, off), *next = page_of(r, off + 2);
	const uint8_t *raw = &p->raw[off & (REGION_BYTES - 1)];
	uint64_t word = load_le(raw, 2);
	if ((word & 3) == 3) {
		if (!next) return false;
		word |= load_le(&next->raw[(off + 2) & (REGION_BYTES - 1)], 2) << 16;
		r->pages |= 1u << region_page(off + 2);
	}
	rv64_decode(i, (uint32_t)word);
	r->pages |= 1u << region_page(off);
	return true;
}

static uint16_t *at(struct region *r, int off) { return &r->at[region_half(off)]; }
static uint16_t *block_at(struct region *r, int off) { return &r->block_at[region_half(off)]; }

static void leader(struct walk *w, int off)
{
	if (!has_run(w->r, off) || *block_at(w->r, off)) return;
	if (w->tail == (int)COUNT(w->queue)) return;
	*block_at(w->r, off) = 1; /* for now: to begin one here */
	w->queue[w->tail++] = off;
}

static void walk_from(struct walk *w, int off)
{
	struct region *r = w->r;
	while (has_run(r, off) && !*at(r, off) && r->insns < w->limit) {
		struct rv64_insn *i = &r->insn[r->insns];
		struct rv64_effects *e = &r->effects[r->insns];
		if (!decode_at(r, off, i)) return;
		rv64_effects(i, e);
		if (e->flags & (EFFECT_HELPER | EFFECT_ILLEGAL) &&
		    !(e->flags & EFFECT_CALL && w->calls))
			return;
		*at(r, off) = (uint16_t)++r->insns;
		r->single |= e->single;
		r->wide |= e->wide;
		r->raw &= ~(uint32_t)(e->def >> 32) | e->arith;
		if (e->flags & EFFECT_BR || (e->flags & EFFECT_JUMP && !i->rd))
			leader(w, off + i->imm);
		if (e->flags & (EFFECT_JUMP | EFFECT_GOTO)) return;
		off += i->len;
		if (e->flags & (EFFECT_BR | EFFECT_CALL)) leader(w, off);
	}
}

/* ---- blocks ---- */
static void block_fill(struct region *r, struct region_block *b)
{
	int off = b->off;
	b->last = -1;
	b->end = END_STOP;
	while (page_of(r, off) && *at(r, off)) {
		const struct rv64_insn *i = region_insn(r, off);
		const struct rv64_effects *e = &r->effects[*at(r, off) - 1];
		b->use |= e->use & ~b->def;
		b->def |= e->def;
		b->vector |= e->vector || e->vset;
		b->fp |= e->fp;
		b->rounds |= e->rounds;
		b->fuses |= e->fuses;
		b->last = off;
		b->to = off + i->imm;
		off += i->len;
		b->end = e->flags & EFFECT_BR	  ? END_BR
			 : e->flags & EFFECT_JUMP ? END_JUMP
			 : e->flags & EFFECT_GOTO ? END_GOTO
			 : e->flags & EFFECT_CALL ? END_CALL
						  : END_FALL;
		if (b->end != END_FALL) break;
		if (page_of(r, off) && *block_at(r, off)) break;
	}
	b->next = off;
	/* Straight on into what is not part of this: an exit, or an instruction for others. */
	if (b->end == END_FALL && page_of(r, off) && !*block_at(r, off)) b->end = END_STOP;
}

static int target(struct region *r, int off)
{
	if (!page_of(r, off) || !*block_at(r, off)) return REGION_EXIT;
	return *block_at(r, off) - 1;
}

static void block_succ(struct region *r, struct region_block *b)
{
	b->succ[0] = b->succ[1] = REGION_NONE;
	if (b->end == END_BR || b->end == END_JUMP) b->succ[0] = target(r, b->to);
	if (b->end == END_BR || b->end == END_FALL || b->end == END_CALL)
		b->succ[1] = target(r, b->next);
}

/* Blocks where leaders were found and code is; entry is block 0. */
static void blocks_make(struct walk *w)
{
	struct region *r = w->r;
	for (int k = 0; k < w->tail; k++) {
		int off = w->queue[k];
		bool taken = *at(r, off) && r->n < REGION_BLOCKS;
		*block_at(r, off) = taken ? (uint16_t)(r->n + 1) : 0;
		if (taken) r->block[r->n++] = (struct region_block){.off = off};
	}
	for (int i = 0; i < r->n; i++) block_fill(r, &r->block[i]);
	for (int i = 0; i < r->n; i++) block_succ(r, &r->block[i]);
}

/* ---- order, dominators, loops ---- */
struct order {
	const struct region *r;
	int seq[REGION_BLOCKS], num[REGION_BLOCKS], n; /* postorder, and numbers in it */
	bool seen[REGION_BLOCKS];
};

/* Depth first, leaving a loop before staying in it, so that the reverse keeps loops together. */
static void visit(struct order *o, int b)
{
	const struct region_block *k = &o->r->block[b];
	int first = 1;
	o->seen[b] = true;
	if (k->succ[0] >= 0 && k->succ[1] >= 0) {
		uint64_t stay0 = o->r->block[k->succ[0]].loops & k->loops;
		uint64_t stay1 = o->r->block[k->succ[1]].loops & k->loops;
		/* If neither leaves more of them, what follows straight on comes next. */
		first = __builtin_popcountll(stay1) < __builtin_popcountll(stay0);
	}
	for (int j = 0; j < 2; j++) {
		int s = k->succ[j ? !first : first];
		if (s >= 0 && !o->seen[s]) visit(o, s);
	}
	o->num[b] = o->n;
	o->seq[o->n++] = b;
}

/* Blocks of loop h that have strayed behind others come together; the rest keeps its order. */
static void gather(const struct region *r, int *seq, int n, int h)
{
	int rest[REGION_BLOCKS], first = 0, last = 0, to, k = 0;
	while (seq[first] != h) first++;
	for (int i = first; i < n; i++)
		if (r->block[seq[i]].loops >> h & 1) last = i;
	to = first;
	for (int i = first; i <= last; i++)
		if (r->block[seq[i]].loops >> h & 1)
			seq[to++] = seq[i];
		else
			rest[k++] = seq[i];
	memcpy(&seq[to], rest, sizeof(rest[0]) * (unsigned)k);
}

/* Put the blocks in reverse postorder, loops together once they are known. */
static void reorder(struct region *r)
{
	struct order o = {.r = r};
	struct region_block old[REGION_BLOCKS];
	int seq[REGION_BLOCKS];
	visit(&o, 0);
	for (int i = 0; i < o.n; i++) seq[i] = o.seq[o.n - 1 - i];
	for (int h = 0; h < r->n; h++)
		if (r->block[h].header) gather(r, seq, o.n, h);
	for (int i = 0; i < o.n; i++) o.num[seq[i]] = i;
	for (int i = 0; i < r->n; i++) *block_at(r, r->block[i].off) = 0;
	memcpy(old, r->block, sizeof(old[0]) * (unsigned)r->n);
	r->n = o.n;
	for (int i = 0; i < o.n; i++) {
		struct region_block *b = &r->block[i];
		*b = old[seq[i]];
		*block_at(r, b->off) = (uint16_t)(i + 1);
		for (int j = 0; j < 2; j++)
			if (b->succ[j] >= 0) b->succ[j] = o.num[b->succ[j]];
	}
}

static int meet(const struct region *r, int a, int b)
{
	while (a != b)
		if (a > b)
			a = r->block[a].idom;
		else
			b = r->block[b].idom;
	return a;
}

/* Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm. */
static void dominators(struct region *r)
{
	for (int i = 0; i < r->n; i++) r->block[i].idom = i ? -1 : 0;
	for (bool changed = true; changed;) {
		changed = false;
		for (int i = 0; i < r->n; i++) {
			if (r->block[i].idom < 0) continue;
			for (int j = 0; j < 2; j++) {
				int s = r->block[i].succ[j];
				if (s <= 0) continue;
				int was = r->block[s].idom, now = was < 0 ? i : meet(r, was, i);
				if (now == was) continue;
				r->block[s].idom = now;
				changed = true;
			}
		}
	}
}

static bool dominates(const struct region *r, int a, int b)
{
	while (b > a) b = r->block[b].idom;
	return a == b;
}

/* A jump back into the middle of a loop makes it no loop: it becomes an exit. True: there was one.
 */
static bool cut_irreducible(struct region *r)
{
	bool cut = false;
	for (int i = 0; i < r->n; i++)
		for (int j = 0; j < 2; j++) {
			int s = r->block[i].succ[j];
			if (s < 0 || s > i || dominates(r, s, i)) continue;
			r->block[i].succ[j] = REGION_EXIT;
			cut = true;
		}
	return cut;
}

static uint64_t bit(int b) { return 1ull << b; }

static void preds(struct region *r)
{
	for (int i = 0; i < r->n; i++) r->block[i].preds = 0;
	for (int i = 0; i < r->n; i++)
		for (int j = 0; j < 2; j++)
			if (r->block[i].succ[j] >= 0) r->block[r->block[i].succ[j]].preds |= bit(i);
}

/* Everything that reaches from, going backwards, without passing h. */
static uint64_t loop_of(const struct region *r, int h, int from)
{
	uint64_t in = bit(h), todo = bit(from) & ~in;
	while (todo) {
		int b = __builtin_ctzll(todo);
		in |= bit(b);
		todo = (todo | r->block[b].preds) & ~in;
	}
	return in;
}

/* Headers come before their bodies and outer before inner, so the innermost is written last. */
static void loops(struct region *r)
{
	preds(r);
	for (int i = 0; i < r->n; i++) r->block[i].loop = -1, r->block[i].loops = 0;
	for (int h = 0; h < r->n; h++) {
		uint64_t in = 0, from = r->block[h].preds >> h << h;
		for (; from; from &= from - 1) in |= loop_of(r, h, __builtin_ctzll(from));
		r->block[h].header = in;
		for (; in; in &= in - 1) {
			struct region_block *b = &r->block[__builtin_ctzll(in)];
			b->loop = h;
			b->loops |= bit(h);
		}
	}
	for (int i = 0; i < r->n; i++) r->block[i].depth = __builtin_popcountll(r->block[i].loops);
}

static void shape(struct region *r)
{
	reorder(r);
	dominators(r);
	while (cut_irreducible(r)) {
		reorder(r);
		dominators(r);
	}
	loops(r);
	reorder(r); /* now that it knows the loops */
	dominators(r);
	loops(r);
}

/* ---- liveness ---- */
static void liveness(struct region *r)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (int i = r->n - 1; i >= 0; i--) {
			struct region_block *b = &r->block[i];
			uint64_t out = 0;
			for (int j = 0; j < 2; j++)
				if (b->succ[j] >= 0) out |= r->block[b->succ[j]].live;
			uint64_t live = b->use | (out & ~b->def);
			changed |= live != b->live;
			b->live = live;
		}
	}
}

void region_settle(struct region *r)
{
	for (int i = 0; i < r->n; i++) {
		r->block[i].loops = r->block[i].live = 0;
		r->block[i].header = false;
	}
	shape(r);
	liveness(r);
}

static bool find(struct region *r, unsigned off, int limit, bool calls)
{
	struct walk w = {.r = r, .calls = calls, .limit = limit};
	memset(r->at, 0, sizeof(r->at));
	memset(r->block_at, 0, sizeof(r->block_at));
	r->n = r->insns = 0;
	r->def = r->use = 0;
	r->calls = false;
	r->single = r->wide = 0;
	r->raw = ~0u;
	r->pages = 0;
	leader(&w, (int)off);
	while (w.head < w.tail) walk_from(&w, w.queue[w.head++]);
	if (!w.tail || !*at(r, (int)off)) return false;
	blocks_make(&w);
	region_settle(r);
	r->raw &= ~(r->single & r->wide); /* boxed, it is a NaN that must stay what it is */
	for (int i = 0; i < r->n; i++) {
		r->def |= r->block[i].def;
		r->use |= r->block[i].use;
		r->calls |= r->block[i].end == END_CALL;
	}
	return true;
}

/* Some loop has blocks in both pages. */
static bool loops_over(const struct region *r, int page)
{
	for (int h = 0; h < r->n; h++) {
		unsigned in = 0;
		for (int i = h; r->block[h].header && i < r->n; i++)
			if (r->block[i].loops >> h & 1)
				in |= 1u << region_page(r->block[i].off) |
				      1u << region_page(r->block[i].last);
		if (in & 2 && in >> page & 1) return true;
	}
	return false;
}

/* An instruction begins in the entry's page and ends in the next. */
static bool runs_over(struct region *r)
{
	int last = REGION_BYTES - 2;
	return *at(r, last) && region_insn(r, last)->len == 4;
}

bool region_find(struct region *r, const struct code_page *const page[REGION_PAGES], unsigned off,
		 int limit, bool calls)
{
	memcpy(r->page, page, sizeof(r->page));
	if (limit > REGION_INSNS) limit = REGION_INSNS;
	if (!find(r, off, limit, calls)) return false;
	unsigned used = r->pages;
	for (int i = 0; i < REGION_PAGES; i++)
		if (i != 1 && !(used >> i & 1 && (loops_over(r, i) || (i == 2 && runs_over(r)))))
			r->page[i] = NULL;
	bool same = r->page[0] == page[0] && r->page[2] == page[2];
	return same || used == 2 || find(r, off, limit, calls);
}
