/* A branch around an operation or two, which the host would often predict wrongly, becomes the
 * operations and a select: both ways have the same end, so nothing of the graph behind them
 * changes, and the block between is left unreached for ir_clean. Blocks with maps, accesses or
 * puts stay what they are. */
#include "ir/impl.h"

enum { OPS = 2, PICKS = 2, PARAMS = 64, KEPT = 8 };
struct branch {
	struct ir_fn *f;
	uint32_t block, join;
	uint32_t arm[2];     /* the blocks between; 0: none */
	uint32_t edge[2];    /* into the join */
	unsigned ops, picks; /* of both arms; parameters that they disagree on */
};

static bool is_free(unsigned op)
{
	return op == IR_konst || op == IR_state || op == IR_trunc || op == IR_sx32 || op == IR_zx32;
}

static bool is_cheap(const struct ir_ins *i)
{
	if (!ir_is_int(ir_result_type(i))) return false;
	if (i->op >= IR_mulhs && i->op <= IR_remu) return false;
	return i->op == IR_get || ir_info[i->op].flags & IR_PURE;
}

struct kept { /* of an arm, from its end: what the join needs */
	uint32_t edge, ins[KEPT];
	unsigned n;
};

/* Simplifying leaves values that nobody wants. */
static bool is_needed(const struct ir_fn *f, const struct kept *k, uint32_t v)
{
	const struct ir_edge *e = &f->edge[k->edge];
	for (unsigned i = 0; i < f->block[e->to].params; i++)
		if (f->args[e->args + i] == v) return true;
	for (unsigned i = 0; i < k->n; i++) {
		const struct ir_ins *by = &f->ins[k->ins[i]];
		for (unsigned j = 0; j < ir_info[by->op].args; j++)
			if (by->arg[j] == v) return true;
	}
	return false;
}

/* Nothing but a few cheap values and a jump, reached by this branch only. */
static bool is_arm(struct branch *b, uint32_t a)
{
	const struct ir_fn *f = b->f;
	const struct ir_block *k = &f->block[a];
	if (k->preds != 1 || k->params || k->loop != f->block[b->block].loop) return false;
	if (f->ins[k->last].op != IR_jump) return false;
	struct kept kept = {.edge = f->ins[k->last].arg[0]};
	for (uint32_t n = f->ins[k->last].prev; n; n = f->ins[n].prev) {
		if (!is_cheap(&f->ins[n])) return false;
		if (!is_needed(f, &kept, n)) continue;
		b->ops += !is_free(f->ins[n].op);
		if (b->ops > OPS || kept.n == KEPT) return false;
		kept.ins[kept.n++] = n;
	}
	return true;
}

/* With these of the two ways (bits) through an arm, do they meet? */
static bool meets(struct branch *b, unsigned arms)
{
	const struct ir_fn *f = b->f;
	const struct ir_ins *br = &f->ins[f->block[b->block].last];
	b->ops = b->picks = 0;
	for (unsigned k = 0; k < 2; k++) {
		uint32_t e = br->arg[1 + k], to = f->edge[e].to;
		bool has = arms >> k & 1;
		if (has && !is_arm(b, to)) return false;
		b->arm[k] = has ? to : 0;
		b->edge[k] = has ? f->ins[f->block[to].last].arg[0] : e;
	}
	b->join = f->edge[b->edge[0]].to;
	return b->join == f->edge[b->edge[1]].to;
}

static ir_val given(const struct branch *b, unsigned way, unsigned k)
{
	return (ir_val){b->f->args[b->f->edge[b->edge[way]].args + k]};
}

static bool picks_few(struct branch *b)
{
	const struct ir_block *join = &b->f->block[b->join];
	if (join->params > PARAMS) return false;
	for (unsigned k = 0; k < join->params; k++) {
		if (given(b, 0, k).n == given(b, 1, k).n) continue;
		if (!ir_is_int(ir_result_type(ir_at(b->f, given(b, 0, k))))) return false;
		if (++b->picks > PICKS) return false;
	}
	return true;
}

/* All but the jump, to the end of the block before. */
static void move_up(struct branch *b, uint32_t arm)
{
	struct ir_fn *f = b->f;
	struct ir_block *to = &f->block[b->block], *from = &f->block[arm];
	for (uint32_t n = from->first, next; n != from->last; n = next) {
		next = f->ins[n].next;
		ir_unlink(f, arm, n);
		f->ins[n].prev = to->last;
		f->ins[n].next = 0;
		*(to->last ? &f->ins[to->last].next : &to->first) = n;
		to->last = n;
	}
}

static void join(struct branch *b)
{
	struct ir_fn *f = b->f;
	const struct ir_ins br = f->ins[f->block[b->block].last];
	ir_val args[PARAMS];
	ir_unlink(f, b->block, f->block[b->block].last);
	for (unsigned k = 0; k < 2; k++) {
		f->block[f->edge[br.arg[1 + k]].to].preds--;
		if (b->arm[k]) move_up(b, b->arm[k]);
	}
	f->at = b->block;
	for (unsigned k = 0; k < f->block[b->join].params; k++) {
		ir_val yes = given(b, 0, k), no = given(b, 1, k);
		enum ir_type t = ir_result_type(ir_at(f, yes));
		args[k] = ir_emit(f, IR_select, t, (ir_val){br.arg[0]}, yes, no);
	}
	ir_jump(f, ir_edge_new(f, b->join, args));
}

void ir_ifs(struct ir_fn *f)
{
	struct branch b = {.f = f};
	for (; b.block < f->nblocks; b.block++) {
		if (f->ins[f->block[b.block].last].op != IR_br) continue;
		for (unsigned arms = 0; arms < 4; arms++) {
			if (!meets(&b, arms) || !picks_few(&b)) continue;
			join(&b);
			break;
		}
	}
}
