/* Why: code that leaves in the middle (a guard, a fault, a poll) must leave all slots right, and
 * that is rare. The one idea: no code for it; each place has a list of where the slots' values are,
 * which is walked here. Since a value has one home for life, maps with the same pairs share them.
 */
#include "base/types.h"
#include "jit/impl.h"

/* Words: pc, why, where the pairs begin. Pairs: their number, then for each its head, the two
 * halves of a wide constant, and a word or two for each sunk op. */
enum { PAIRS_MAX = 512, SLOTS_MAX = 1024 };
enum from { FROM_INT, FROM_VEC, FROM_SPILL, FROM_WIDE, FROM_STATE, FROM_ADDRESS, FROM_K, FROM_K16 };
struct head {
	uint32_t slot : 10, from : 3, ops : 2, f32 : 1; /* f32: it is one */
	uint32_t n : 16;				/* register, frame slot, slot, constant */
};
struct sunk {
	uint32_t op : 8, type : 4; /* its operand's */
	uint32_t wide : 1;	   /* the constant is another word */
	uint32_t k    : 16;
};
_Static_assert(sizeof(struct head) == 4 && sizeof(struct sunk) == 4, "words");
_Static_assert(SPILLS_MAX <= UINT16_MAX && IR__count <= 256, "they fit");

static bool word(struct jit_cache *c, uint32_t w)
{
	if (!jit_grow((void **)&c->map, &c->map_room, c->nmap + 1, sizeof(*c->map))) return false;
	c->map[c->nmap++] = w;
	return true;
}

static uint32_t root_in(const struct jit_cache *c, uint32_t v) { return c->alloc.home[v].root; }

static enum from home(const struct jit_cache *c, const struct ir_fn *f, uint32_t v, uint32_t *n)
{
	const struct home *o = &c->alloc.home[v];
	const struct ir_ins *i = &f->ins[v];
	*n = o->n;
	switch (o->at) {
	case AT_REG: *n = o->reg; return o->cls == CLASS_INT ? FROM_INT : FROM_VEC;
	case AT_SPILL: return o->wide ? FROM_WIDE : FROM_SPILL;
	case AT_STATE: *n = i->aux; return FROM_STATE;
	}
	*n = (uint16_t)i->k;
	if (i->op == IR_state) return FROM_ADDRESS;
	return i->k == (uint64_t)(int16_t)i->k ? FROM_K16 : FROM_K;
}

static bool put_sunk(struct jit_cache *c, const struct ir_fn *f, const struct ir_ins *i)
{
	uint32_t w, k = i->op == IR_add ? (uint32_t)f->ins[i->arg[1]].k : 0;
	struct sunk s = {.op = i->op};
	s.type = (uint32_t)ir_result_type(&f->ins[i->arg[0]]) & 15u;
	s.wide = k != (uint32_t)(int16_t)k;
	s.k = k & 0xffffu;
	memcpy(&w, &s, 4);
	return word(c, w) && (!s.wide || word(c, k));
}

static bool put_pair(struct jit_cache *c, const struct ir_fn *f, const struct ir_pair *p)
{
	uint32_t v = root_in(c, p->val), sunk[SUNK_MAX], ops = 0, n, w;
	for (; c->alloc.home[v].at == AT_SUNK; v = root_in(c, f->ins[v].arg[0])) {
		must(ops < SUNK_MAX);
		sunk[ops++] = v;
	}
	enum from from = home(c, f, v, &n);
	struct head h = {.slot = p->slot & 1023u, .ops = ops & 3u, .n = n & 0xffffu};
	h.from = (uint32_t)from & 7u;
	h.f32 = ir_result_type(&f->ins[p->val]) == IR_F32;
	memcpy(&w, &h, 4);
	bool ok = word(c, w);
	if (from == FROM_K || from == FROM_ADDRESS)
		ok = ok && word(c, (uint32_t)f->ins[v].k) && word(c, (uint32_t)(f->ins[v].k >> 32));
	while (ops) ok = ok && put_sunk(c, f, &f->ins[sunk[--ops]]);
	return ok;
}

uint32_t jit_map_put(struct jit_cache *c, const struct ir_fn *f, uint32_t map)
{
	const struct ir_map *m = &f->map[map];
	uint32_t at = c->nmap;
	if (m->n > PAIRS_MAX || f->nslots > SLOTS_MAX) return ~0u;
	if (!word(c, (uint32_t)m->pc) || !word(c, m->why) || !word(c, at + 3) || !word(c, m->n))
		return ~0u;
	for (uint32_t k = 0; k < m->n; k++)
		if (!put_pair(c, f, &f->pair[m->first + k])) return ~0u;
	return at;
}

/* The same folding as everywhere; floats are bits here. */
static uint64_t sunk_op(struct sunk s, int32_t k, uint64_t v)
{
	switch (s.op) {
	case IR_sx8: return (uint64_t)(int8_t)v;
	case IR_sx16: return (uint64_t)(int16_t)v;
	case IR_sx32: return (uint64_t)(int32_t)v;
	case IR_zx8: return (uint8_t)v;
	case IR_zx16: return (uint16_t)v;
	case IR_zx32: return (uint32_t)v;
	case IR_add: v += (uint64_t)k; return s.type == IR_I32 ? (uint32_t)v : v;
	case IR_tofp: return v;
	case IR_tobits: return s.type == IR_F32 ? (uint32_t)v : v;
	case IR_fnan:
		if (s.type == IR_F32) return (v & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : v;
		return (v & ~0ull >> 1) > 0x7ffull << 52 ? 0x7ff8ull << 48 : v;
	}
	must_failed("a sunk op", __FILE__, __LINE__);
}

struct got {
	uint64_t v[2];
	struct head h;
};

static uint64_t get_sunk(const uint32_t **w, uint64_t v)
{
	struct sunk s;
	memcpy(&s, (*w)++, 4);
	int32_t k = s.wide ? (int32_t) * (*w)++ : (int16_t)s.k;
	return sunk_op(s, k, v);
}

static struct got get_pair(struct jit_cache *c, const uint32_t **w, const char *state,
			   const struct jit_frame *fr)
{
	struct got g = {{0, 0}, {0}};
	memcpy(&g.h, (*w)++, 4);
	uint32_t n = g.h.n;
	switch ((enum from)g.h.from) {
	case FROM_INT: g.v[0] = fr->ints[n]; break;
	case FROM_VEC: memcpy(g.v, fr->vecs[n], 16); break;
	case FROM_SPILL: g.v[0] = fr->spill[n]; break;
	case FROM_WIDE: memcpy(g.v, fr->wide[n], 16); break;
	case FROM_STATE: g.v[0] = load_le(state + c->m.slots[n].at, c->m.slots[n].size); break;
	case FROM_K16: g.v[0] = (uint64_t)(int16_t)n; break;
	case FROM_K:
	case FROM_ADDRESS:
		memcpy(g.v, *w, 8);
		*w += 2;
		if (g.h.from == FROM_ADDRESS) g.v[0] += (uint64_t)(uintptr_t)state;
	}
	for (unsigned k = 0; k < g.h.ops; k++) g.v[0] = get_sunk(w, g.v[0]);
	if (g.h.f32) g.v[0] = (uint32_t)g.v[0] | (c->m.slots[g.h.slot].box ? ~0ull << 32 : 0);
	return g;
}

/* All are read before any is written: a slot may be another's source. */
uint32_t jit_map_apply(struct jit_cache *c, uint32_t at, char *state, const struct jit_frame *fr)
{
	const uint32_t *m = &c->map[at], *w = &c->map[m[2]];
	uint32_t n = *w++;
	struct got got[PAIRS_MAX];
	for (uint32_t k = 0; k < n; k++) got[k] = get_pair(c, &w, state, fr);
	for (uint32_t k = 0; k < n; k++) {
		const struct ir_slot *s = &c->m.slots[got[k].h.slot];
		memcpy(state + s->at, got[k].v, s->size);
	}
	uint64_t pc = load_le(state + c->m.base, 8) + (uint64_t)(int32_t)m[0];
	store_le(state + c->m.pc, pc, 8);
	return m[1];
}
