/* Why: in a loop most addresses stay on a page for long, and need not be looked up each time. The
 * one idea: how far a value moves in a turn of its loop can be read off its definition; what moves
 * little is looked up once a page. */
#include "jit/alloc.h"

enum { DEPTH_MAX = 8, STEP_MAX = 128 };
enum { UNKNOWN = INT32_MAX };

struct walk {
	const struct alloc *a;
	uint32_t head, begin; /* the loop's header, and its position */
	int left;	      /* how much more may be looked at */
};

static int32_t sum(int32_t a, int64_t b)
{
	if (a == UNKNOWN || b > STEP_MAX || b < -STEP_MAX) return UNKNOWN;
	return a + (int32_t)b;
}
static int32_t larger(int32_t a, int32_t b) { return (a < 0 ? -a : a) > (b < 0 ? -b : b) ? a : b; }

static uint32_t block_of(const struct alloc *a, uint32_t param)
{
	uint32_t lo = 0, n = a->f->nblocks;
	while (n > 1) { /* the last that begins at or before it */
		uint32_t half = n / 2;
		if (a->block[lo + half].start <= a->home[param].start) lo += half;
		n -= half;
	}
	return lo;
}

/* v - from, where v is made of it; UNKNOWN otherwise. */
static int32_t apart(struct walk *w, uint32_t v, uint32_t from)
{
	const struct ir_ins *i = &w->a->f->ins[v];
	uint64_t k;
	if (v == from) return 0;
	if (w->left-- <= 0 || w->a->home[v].start < w->begin) return UNKNOWN;
	switch (i->op) {
	case IR_add:
		if (!ir_is_konst(w->a->f, (ir_val){i->arg[1]}, &k)) return UNKNOWN;
		if (i->type == IR_I32) k = (uint64_t)(int32_t)k;
		return sum(apart(w, i->arg[0], from), (int64_t)k);
	case IR_sx32:
	case IR_zx32:
	case IR_trunc: return apart(w, i->arg[0], from);
	case IR_param: {
		int32_t most = 0;
		uint32_t b = block_of(w->a, v);
		if (b == w->head) return UNKNOWN;
		for (uint32_t e = w->a->block[b].edges; e && most != UNKNOWN;
		     e = w->a->edge[e].next)
			most = larger(most, apart(w, alloc_arg(w->a, e, i->aux), from));
		return most;
	}
	default: return UNKNOWN;
	}
}

/* How far v moves in a turn. */
static int32_t step(struct walk *w, uint32_t v)
{
	const struct ir_ins *i = &w->a->f->ins[v];
	uint64_t k;
	int32_t n = 0, m;
	if (i->op == IR_konst || w->a->home[v].start < w->begin) return 0;
	if (w->left-- <= 0) return UNKNOWN;
	switch (i->op) {
	case IR_add:
	case IR_sub:
		n = step(w, i->arg[0]);
		m = n == UNKNOWN ? UNKNOWN : step(w, i->arg[1]);
		return m == UNKNOWN ? UNKNOWN : sum(n, i->op == IR_add ? m : -m);
	case IR_shl:
		n = step(w, i->arg[0]);
		if (!ir_is_konst(w->a->f, (ir_val){i->arg[1]}, &k) || k > 7 || n == UNKNOWN)
			return UNKNOWN;
		return sum(0, (int64_t)n * (1 << k));
	case IR_sx32:
	case IR_zx32:
	case IR_trunc: return step(w, i->arg[0]);
	case IR_param: {
		uint32_t b = block_of(w->a, v);
		if (b != w->head) return UNKNOWN;
		for (uint32_t e = w->a->block[b].edges; e && n != UNKNOWN; e = w->a->edge[e].next)
			if (w->a->edge[e].from >= w->head)
				n = larger(n, apart(w, alloc_arg(w->a, e, i->aux), v));
		return n;
	}
	default: return UNKNOWN;
	}
}

bool alloc_steady(const struct alloc *a, uint32_t v)
{
	uint32_t head = a->block[a->cur].inner;
	if (head == ~0u) return false;
	struct walk w = {a, head, a->block[head].start, 3 * DEPTH_MAX};
	int32_t n = step(&w, v);
	return n >= -STEP_MAX && n <= STEP_MAX;
}
