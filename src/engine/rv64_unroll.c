/* Loops of one block, several turns in a row. In a window all addresses that differ from a compared
 * one by a displacement are as good as compared, so a pointer that each turn moves by a constant is
 * compared once for all of them; and the loop polls once for all. Without a window each turn looks
 * up for itself and there is less to gain, so the loop stays as it was beside that. */
#include "engine/rv64_region.h"

enum { TURNS = 8, TURN_INSNS = 24 };

static bool accesses(const struct rv64_insn *i)
{
	return (i->op >= OP_lb && i->op <= OP_sd) || i->op == OP_fld || i->op == OP_flw ||
	       i->op == OP_fsd || i->op == OP_fsw;
}

/* Block h is a loop, all of it, and worth it. */
static bool suits(const struct region *r, int h)
{
	const struct region_block *b = &r->block[h];
	unsigned n = 0, accessed = 0;
	if (b->end != END_BR || b->window || (b->succ[0] == h) == (b->succ[1] == h)) return false;
	for (int off = b->off; off < b->next; n++) {
		const struct rv64_insn *i = region_insn(r, off);
		accessed += accesses(i);
		off += i->len;
	}
	return accessed && n <= TURN_INSNS && r->n + TURNS + 1 <= REGION_BLOCKS;
}

static int copy_of(struct region *r, int b)
{
	r->block[r->n] = r->block[b];
	return r->n++;
}

/* The entry must stay block 0: what picks takes the loop's number, and the loop another. */
static void unroll(struct region *r, int pick)
{
	int plain = copy_of(r, pick), j = r->block[pick].succ[1] == pick, first = r->n;
	r->block[plain].succ[j] = plain;
	for (int k = 0; k < TURNS; k++) {
		int turn = copy_of(r, plain);
		r->block[turn].succ[j] = k < TURNS - 1 ? turn + 1 : first;
		r->block[turn].window = true;
	}
	int off = r->block[pick].off;
	r->block[pick] = (struct region_block){.off = off,
					       .next = off,
					       .to = off,
					       .last = -1,
					       .end = END_PICK,
					       .succ = {first, plain}};
}

void region_unroll(struct region *r)
{
	int n = r->n;
	for (int h = 0; h < n; h++)
		if (suits(r, h)) unroll(r, h);
	if (r->n > n) region_settle(r);
}
