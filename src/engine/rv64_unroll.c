/* Loops of one block, several turns in a row. In a window all addresses that differ from a compared
 * one by a displacement are as good as compared, so a pointer that each turn moves by a constant is
 * compared once for all of them; and the loop polls once for all. Without a window each turn looks
 * up for itself and there is less to gain, so the loop stays as it was beside that. */
#include "engine/rv64_region.h"

enum { TURNS = 16, TURN_INSNS = 24, ALL_INSNS = 128 };

/* How many turns; 0, or less: block h is not a loop, all of it, that is worth it. */
static int turns_of(const struct region *r, int h)
{
	const struct region_block *b = &r->block[h];
	unsigned n = 0, accessed = 0;
	if (b->end != END_BR || b->window || b->vector || (b->succ[0] == h) == (b->succ[1] == h))
		return 0;
	for (int off = b->off; off < b->next; n++) {
		const struct rv64_insn *i = region_insn(r, off);
		accessed += rv64_loads_or_stores(i);
		off += i->len;
	}
	if (!accessed || n > TURN_INSNS) return 0;
	int turns = (int)(ALL_INSNS / n), room = REGION_BLOCKS - 1 - r->n;
	turns = turns < TURNS ? turns : TURNS;
	return turns < room ? turns : room;
}

static int copy_of(struct region *r, int b)
{
	r->block[r->n] = r->block[b];
	return r->n++;
}

/* The entry must stay block 0: what picks takes the loop's number, and the loop another. */
static void unroll(struct region *r, int pick, int turns)
{
	int plain = copy_of(r, pick), j = r->block[pick].succ[1] == pick, first = r->n;
	r->block[plain].succ[j] = plain;
	for (int k = 0; k < turns; k++) {
		int turn = copy_of(r, plain);
		r->block[turn].succ[j] = k < turns - 1 ? turn + 1 : first;
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
	for (int h = 0; h < n; h++) {
		int turns = turns_of(r, h);
		if (turns > 1) unroll(r, h, turns);
	}
	if (r->n > n) region_settle(r);
}
