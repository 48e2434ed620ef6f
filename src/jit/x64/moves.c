/* Why: at an edge all parameters change at once, at a call all arguments. The one idea: a move is
 * made when nobody waits to read what it overwrites; where all wait for one another, one of them
 * steps aside into a scratch register. */
#include "base/types.h"
#include "jit/x64/emit.h"

enum { SCRATCH_INT = MOVE_INT + S0, SCRATCH_VEC = MOVE_VEC + V0 };

uint16_t move_home(const struct home *h)
{
	switch (h->at) {
	case AT_REG: return (uint16_t)((h->cls == CLASS_INT ? MOVE_INT : MOVE_VEC) + h->reg);
	case AT_SPILL: return (uint16_t)((h->wide ? MOVE_WIDE : MOVE_SPILL) + h->n);
	default: return MOVE_VALUE;
	}
}

static struct rm frame_at(unsigned n)
{
	struct home h = {.wide = n >= MOVE_WIDE,
			 .n = (uint16_t)(n - (n >= MOVE_WIDE ? MOVE_WIDE : MOVE_SPILL))};
	return spill_at(&h);
}

static bool is_vec(enum ir_type t) { return t == IR_F32 || t == IR_F64 || t == IR_V128; }

static void to_reg(struct emit *e, const struct move *m, unsigned r)
{
	if (is_vec(m->type)) {
		if (m->src == MOVE_VALUE)
			load_vec(e, r, m->v);
		else if (m->src < MOVE_SPILL)
			mov_vec(e, r, m->src - MOVE_VEC);
		else
			vec_load(e, m->type, r, frame_at(m->src));
	} else if (m->extend) {
		struct rm from = m->src == MOVE_VALUE  ? int_rm(e, m->v, 0, r)
				 : m->src < MOVE_SPILL ? rm_reg(m->src)
						       : frame_at(m->src);
		op_rm(&e->a, m->extend, r, from, 0);
	} else if (m->src == MOVE_VALUE) {
		load_int(e, r, m->v);
	} else if (m->src >= MOVE_SPILL) {
		mov_load(&e->a, wide(m->type), r, frame_at(m->src));
	} else if (m->src != r) {
		mov_rr(&e->a, wide(m->type), r, m->src);
	}
}

static void emit_move(struct emit *e, const struct move *m)
{
	if (m->dst < MOVE_SPILL) {
		to_reg(e, m, is_vec(m->type) ? m->dst - MOVE_VEC : m->dst);
		return;
	}
	bool in = m->src < MOVE_SPILL && !m->extend;
	unsigned r = is_vec(m->type) ? (in ? m->src - MOVE_VEC : V1) : (in ? m->src : S1);
	if (!in) to_reg(e, m, r);
	if (is_vec(m->type))
		vec_store(e, m->type, frame_at(m->dst), r);
	else
		mov_store(&e->a, wide(m->type), frame_at(m->dst), r);
}

static bool awaited(const struct move *m, unsigned n, unsigned skip)
{
	for (unsigned k = 0; k < n; k++)
		if (k != skip && m[k].src == m[skip].dst) return true;
	return false;
}

/* Make those that can be made; how many remain. */
static unsigned sweep(struct emit *e, struct move *m, unsigned n)
{
	for (unsigned k = 0; k < n;) {
		if (awaited(m, n, k)) {
			k++;
			continue;
		}
		emit_move(e, &m[k]);
		m[k] = m[--n];
	}
	return n;
}

/* Values from nowhere last: they wait for nobody, and may need the scratch register. */
void emit_moves(struct emit *e, struct move *m, unsigned n)
{
	struct move late[MOVES_MAX];
	unsigned nlate = 0, kept = 0;
	for (unsigned k = 0; k < n; k++) {
		if (m[k].src == MOVE_VALUE)
			late[nlate++] = m[k];
		else if (m[k].src != m[k].dst || m[k].extend)
			m[kept++] = m[k];
	}
	for (n = kept; n; n = kept) {
		kept = sweep(e, m, n);
		if (kept != n) continue;
		struct move *a = &m[0];
		uint16_t s = is_vec(a->type) ? SCRATCH_VEC : SCRATCH_INT;
		struct move aside = {s, a->src, 0, a->type, 0};
		emit_move(e, &aside);
		a->src = s;
	}
	for (unsigned k = 0; k < nlate; k++) emit_move(e, &late[k]);
}
