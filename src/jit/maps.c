/* Why: code that leaves in the middle (a guard, a fault, a poll) must leave all slots right, and
 * that is rare. The one idea: no code for it; each place has a list of where the slots' values are,
 * which is walked here. Since a value has one home for life, maps with the same pairs share them.
 */
#include "base/types.h"
#include "jit/impl.h"

/* Words: pc, why, where the pairs begin. Pairs: their number, then for each its head, the upper
 * half of a constant, and two words for each sunk op: op and operand's type, constant. */
enum { PAIRS_MAX = 512 };
enum from { FROM_INT, FROM_VEC, FROM_SPILL, FROM_WIDE, FROM_STATE, FROM_ADDRESS, FROM_K };
struct head {
	uint32_t n; /* register, frame slot, offset, constant */
	uint16_t slot;
	uint8_t from : 4, ops : 4;
	uint8_t size : 7; /* of FROM_STATE */
	uint8_t f32  : 1; /* it is one */
};
_Static_assert(sizeof(struct head) == 8, "two words");

static bool word(struct jit_cache *c, uint32_t w)
{
	if (!jit_grow((void **)&c->map, &c->map_room, c->nmap + 1, sizeof(*c->map))) return false;
	c->map[c->nmap++] = w;
	return true;
}

static bool head_words(struct jit_cache *c, struct head h)
{
	uint32_t w[2];
	memcpy(w, &h, 8);
	return word(c, w[0]) && word(c, w[1]);
}

static uint32_t root_in(const struct jit_cache *c, uint32_t v) { return c->alloc.home[v].root; }

static uint32_t home(struct jit_cache *c, const struct ir_fn *f, uint32_t v, struct head *h)
{
	const struct home *o = &c->alloc.home[v];
	const struct ir_ins *i = &f->ins[v];
	switch (o->at) {
	case AT_REG: h->from = o->cls == CLASS_INT ? FROM_INT : FROM_VEC; return o->reg;
	case AT_SPILL: h->from = o->wide ? FROM_WIDE : FROM_SPILL; return o->n;
	case AT_STATE:
		h->from = FROM_STATE;
		h->size = f->slots[i->aux].size & 127u;
		return f->slots[i->aux].at;
	}
	h->from = i->op == IR_state ? FROM_ADDRESS : FROM_K;
	return (uint32_t)i->k;
}

static bool put_pair(struct jit_cache *c, const struct ir_fn *f, const struct ir_pair *p)
{
	uint32_t v = root_in(c, p->val), sunk[SUNK_MAX + 1][2];
	struct head h = {.slot = (uint16_t)p->slot};
	h.f32 = ir_result_type(&f->ins[p->val]) == IR_F32;
	while (c->alloc.home[v].at == AT_SUNK) {
		const struct ir_ins *i = &f->ins[v];
		must(h.ops < SUNK_MAX);
		sunk[h.ops][0] = i->op | (uint32_t)ir_result_type(&f->ins[i->arg[0]]) << 8;
		sunk[h.ops][1] = i->op == IR_add ? (uint32_t)f->ins[i->arg[1]].k : 0;
		h.ops = (h.ops + 1) & 15;
		v = root_in(c, i->arg[0]);
	}
	h.n = home(c, f, v, &h);
	bool ok = head_words(c, h);
	if (h.from == FROM_K || h.from == FROM_ADDRESS)
		ok = ok && word(c, (uint32_t)(f->ins[v].k >> 32));
	for (unsigned k = h.ops; k-- > 0;) ok = ok && word(c, sunk[k][0]) && word(c, sunk[k][1]);
	return ok;
}

uint32_t jit_map_put(struct jit_cache *c, const struct ir_fn *f, uint32_t map)
{
	const struct ir_map *m = &f->map[map];
	uint32_t at = c->nmap;
	if (m->n > PAIRS_MAX) return ~0u;
	if (!word(c, (uint32_t)m->pc) || !word(c, m->why) || !word(c, at + 3) || !word(c, m->n))
		return ~0u;
	for (uint32_t k = 0; k < m->n; k++)
		if (!put_pair(c, f, &f->pair[m->first + k])) return ~0u;
	return at;
}

/* The same folding as everywhere; floats are bits here. */
static uint64_t sunk_op(uint32_t op, uint32_t imm, uint64_t v)
{
	switch (op & 0xff) {
	case IR_sx8: return (uint64_t)(int8_t)v;
	case IR_sx16: return (uint64_t)(int16_t)v;
	case IR_sx32: return (uint64_t)(int32_t)v;
	case IR_zx8: return (uint8_t)v;
	case IR_zx16: return (uint16_t)v;
	case IR_zx32: return (uint32_t)v;
	case IR_add: return v + (uint64_t)(int64_t)(int32_t)imm;
	case IR_tofp: return v;
	case IR_tobits: return op >> 8 == IR_F32 ? (uint32_t)v : v;
	case IR_fnan:
		if (op >> 8 == IR_F32) return (v & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : v;
		return (v & ~0ull >> 1) > 0x7ffull << 52 ? 0x7ff8ull << 48 : v;
	}
	must_failed("a sunk op", __FILE__, __LINE__);
}

struct got {
	uint64_t v[2];
	struct head h;
};

static struct got get_pair(struct jit_cache *c, const uint32_t **w, const char *state,
			   const struct jit_frame *fr)
{
	struct got g = {{0, 0}, {0}};
	memcpy(&g.h, *w, 8);
	*w += 2;
	uint32_t n = g.h.n;
	switch ((enum from)g.h.from) {
	case FROM_INT: g.v[0] = fr->ints[n]; break;
	case FROM_VEC: memcpy(g.v, fr->vecs[n], 16); break;
	case FROM_SPILL: g.v[0] = fr->spill[n]; break;
	case FROM_WIDE: memcpy(g.v, fr->wide[n], 16); break;
	case FROM_STATE: memcpy(g.v, state + n, g.h.size); break;
	case FROM_K: g.v[0] = n | (uint64_t) * (*w)++ << 32; break;
	case FROM_ADDRESS: g.v[0] = (uint64_t)(uintptr_t)state + (n | (uint64_t) * (*w)++ << 32);
	}
	for (unsigned k = 0; k < g.h.ops; k++, *w += 2) g.v[0] = sunk_op((*w)[0], (*w)[1], g.v[0]);
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
