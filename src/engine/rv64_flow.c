/* Guest registers as SSA values: which blocks need parameters, and what is better written home
 * before paths meet. A register that is read again after the meeting, or goes round a loop, becomes
 * a parameter; one that only the guest's state must show is stored by those who changed it. */
#include "engine/rv64_flow.h"
#include "base/types.h"

enum { LOOP_PARAMS = 12 }; /* about as many as there are host registers for them */

#define EACH_BIT(b, set)                                                                           \
	for (uint64_t b##_ = (set), b = 0; b##_ && (b = (uint64_t)__builtin_ctzll(b##_), true);    \
	     b##_ &= b##_ - 1)

/* What a loop header takes as parameters whatever comes in: all that the loop sets and reads again,
 * and if that leaves room what it merely sets, which then need not be stored each time round. */
static uint64_t loop_params(const struct region *r, int h)
{
	uint64_t def = 0;
	bool inner = true;
	for (int i = h; i < r->n; i++) {
		if (!(r->block[i].loops >> h & 1)) continue;
		def |= r->block[i].def;
		inner &= i == h || !r->block[i].header;
	}
	uint64_t single = (uint64_t)(r->single & ~r->wide) << 32; /* may not be unboxed in vain */
	uint64_t must = def & r->block[h].live, all = must | (def & ~single);
	bool fits = __builtin_popcountll(all & 0xffffffff) <= LOOP_PARAMS &&
		    __builtin_popcountll(all >> 32) <= LOOP_PARAMS;
	return inner && fits ? all : must;
}

static void flow_init(struct flow *w, const struct region *r)
{
	size_t rows = (size_t)r->n;
	memset(w->in, AT_UNKNOWN, rows * sizeof(w->in[0]));
	memset(w->out, AT_UNKNOWN, rows * sizeof(w->out[0]));
	for (int i = 0; i < r->n; i++) {
		w->flush[i] = r->block[i].end == END_CALL ? r->def : 0;
		w->flush_to[i][0] = w->flush_to[i][1] = 0;
		w->param[i] = r->block[i].header ? loop_params(r, i) : 0;
	}
}

/* What edge j of block p brings. */
static uint8_t brought(const struct flow *w, int p, int j, uint64_t s)
{
	return w->flush_to[p][j] >> s & 1 ? AT_HOME : w->out[p][s];
}

/* What all that come into b agree on; AT_UNKNOWN: they do not. The entry has the state. */
static uint8_t agreed(const struct flow *w, const struct region *r, int b, uint64_t s)
{
	uint8_t got = b ? AT_UNKNOWN : AT_HOME;
	EACH_BIT(p, r->block[b].preds)
	{
		for (int j = 0; j < 2; j++) {
			if (r->block[p].succ[j] != b) continue;
			uint8_t out = brought(w, (int)p, j, s);
			if (out == AT_UNKNOWN) continue;
			if (got != AT_UNKNOWN && got != out) return AT_UNKNOWN;
			got = out;
		}
	}
	return got;
}

static void flush_into(struct flow *w, const struct region *r, int b, uint64_t s)
{
	EACH_BIT(p, r->block[b].preds)
	{
		for (int j = 0; j < 2; j++)
			if (r->block[p].succ[j] == b && w->out[p][s] != AT_HOME)
				w->flush_to[p][j] |= 1ull << s;
	}
}

static uint8_t incoming(struct flow *w, const struct region *r, int b, uint64_t s)
{
	uint64_t bit = 1ull << s;
	if (!(w->param[b] & bit)) {
		uint8_t got = agreed(w, r, b, s);
		if (got != AT_UNKNOWN) return got;
		if (!(r->block[b].live & bit)) {
			flush_into(w, r, b, s);
			return AT_HOME;
		}
		w->param[b] |= bit;
	}
	return (uint8_t)(AT_PARAM + b);
}

static bool block_pass(struct flow *w, const struct region *r, int b)
{
	bool changed = false;
	EACH_BIT(s, r->def)
	{
		uint64_t bit = 1ull << s;
		uint8_t in = incoming(w, r, b, s);
		uint8_t out = r->block[b].def & bit ? (uint8_t)(AT_DEF + b) : in;
		if (w->flush[b] & bit) out = AT_HOME;
		changed |= in != w->in[b][s] || out != w->out[b][s];
		w->in[b][s] = in;
		w->out[b][s] = out;
	}
	return changed;
}

static int flushes(const struct flow *w, const struct region *r)
{
	int n = 0;
	for (int b = 0; b < r->n; b++)
		for (int j = 0; j < 2; j++) n += __builtin_popcountll(w->flush_to[b][j]);
	return n;
}

/* What goes home on the way from q round a loop goes home where it is set, if that is as often. */
static void early_round(struct flow *w, const struct region *r, int q, int j)
{
	EACH_BIT(s, w->flush_to[q][j])
	{
		int p = w->out[q][s] - AT_DEF;
		if (p >= 0 && p < r->n && r->block[p].loops == r->block[q].loops)
			w->early[p] |= 1ull << s;
	}
}

static void early_find(struct flow *w, const struct region *r)
{
	memset(w->early, 0, sizeof(w->early));
	for (int q = 0; q < r->n; q++) {
		const struct region_block *k = &r->block[q];
		for (int j = 0; j < 2; j++) {
			int to = k->succ[j];
			if (to >= 0 && to <= q && !(k->loops & ~r->block[to].loops))
				early_round(w, r, q, j);
		}
	}
}

/* What a loop merely sets is not worth a parameter where some way round has written it home. */
static uint64_t homely(const struct flow *w, const struct region *r, int h)
{
	uint64_t home = 0;
	EACH_BIT(p, r->block[h].preds)
	{
		if ((int)p < h) continue;
		EACH_BIT(s, w->param[h] & ~r->block[h].live)
		{
			if (w->out[p][s] == AT_HOME) home |= 1ull << s;
		}
	}
	return home;
}

static bool drop_params(struct flow *w, const struct region *r)
{
	uint64_t drop[REGION_BLOCKS], some = 0;
	for (int h = 0; h < r->n; h++) some |= drop[h] = r->block[h].header ? homely(w, r, h) : 0;
	if (!some) return false;
	flow_init(w, r);
	for (int h = 0; h < r->n; h++) w->param[h] &= ~drop[h];
	return true;
}

static void find(struct flow *w, const struct region *r)
{
	for (bool changed = true; changed;) {
		int before = flushes(w, r);
		changed = false;
		for (int b = 0; b < r->n; b++) changed |= block_pass(w, r, b);
		changed |= flushes(w, r) != before;
	}
}

void flow_find(struct flow *w, const struct region *r)
{
	flow_init(w, r);
	find(w, r);
	if (drop_params(w, r)) find(w, r);
	early_find(w, r);
}
