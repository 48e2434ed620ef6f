/* Innermost loops, several turns in a row. In a window all addresses that differ from a compared
 * one by a displacement are as good as compared, so a pointer that each turn moves by a constant is
 * compared once for all of them; and the loop polls once for all. Without a window each turn looks
 * up for itself and there is less to gain, so the loop stays as it was beside that. */
#include "base/types.h"
#include "engine/rv64_region.h"

enum { LOOP_INSNS = 48, LOOP_BLOCKS = 12, ALL_INSNS = 128, ALL_BLOCKS = 20 };
enum { TURNS = 16, TURNS_OF_SEVERAL = 4 }; /* blocks */

struct loop {
	int block[LOOP_BLOCKS], n; /* header first */
	unsigned insns, accesses;
	bool other; /* something in it is not for this */
};

static void look_at(const struct region *r, struct loop *l, int b)
{
	const struct region_block *k = &r->block[b];
	if (l->n == LOOP_BLOCKS || k->end == END_CALL || k->vector || (l->n && k->header)) {
		l->other = true;
		return;
	}
	l->block[l->n++] = b;
	for (int off = k->off; off < k->next; l->insns++) {
		const struct rv64_insn *i = region_insn(r, off);
		l->accesses += rv64_loads_or_stores(i);
		off += i->len;
	}
}

/* How many turns of the loop that block h heads; 1, or less: it is to stay as it is. */
static int turns_of(const struct region *r, int h, struct loop *l)
{
	const struct region_block *k = &r->block[h];
	bool alone = k->succ[0] == h || k->succ[1] == h; /* whoever else may come back here */
	*l = (struct loop){0};
	if (!k->header) return 0;
	for (int b = h; b < (alone ? h + 1 : r->n) && !l->other; b++)
		if (r->block[b].loops >> h & 1) look_at(r, l, b);
	if (l->other || !l->accesses || l->insns > LOOP_INSNS) return 0;
	int room = REGION_BLOCKS - 1 - r->n, turns = (int)(ALL_INSNS / l->insns);
	room = room < ALL_BLOCKS ? room : ALL_BLOCKS;
	int most = l->n > 1 ? TURNS_OF_SEVERAL : TURNS;
	turns = turns < most ? turns : most;
	return turns * l->n <= room ? turns : room / l->n;
}

static int copy_of(struct region *r, int b)
{
	r->block[r->n] = r->block[b];
	return r->n++;
}

/* One turn, which goes on at block `round`. The first of its blocks. */
static int turn(struct region *r, const struct loop *l, int round)
{
	int first = r->n;
	for (int k = 0; k < l->n; k++) r->block[copy_of(r, l->block[k])].window = true;
	for (int k = 0; k < l->n; k++)
		for (int j = 0; j < 2; j++) {
			int *s = &r->block[first + k].succ[j];
			for (int i = 1; i < l->n; i++)
				if (*s == l->block[i]) *s = first + i;
			if (*s == l->block[0]) *s = round;
		}
	return first;
}

/* All ways into the loop lead to its header's number, which becomes that of what picks: so that the
 * entry of the region stays block 0. */
static void unroll(struct region *r, struct loop *l, int turns)
{
	int pick = l->block[0], off = r->block[pick].off, plain = copy_of(r, pick);
	l->block[0] = plain;
	for (int k = 0; k < l->n; k++)
		for (int j = 0; j < 2; j++) {
			int *s = &r->block[l->block[k]].succ[j];
			if (*s == pick) *s = plain;
		}
	int round = r->n +
		    (turns - 1) * l->n; /* where the first turn will be: they are made backwards */
	for (int k = 0; k < turns; k++) round = turn(r, l, round);
	r->block[pick] = (struct region_block){.off = off,
					       .next = off,
					       .to = off,
					       .last = -1,
					       .end = END_PICK,
					       .succ = {round, plain}};
}

void region_unroll(struct region *r)
{
	int n = r->n;
	struct loop l;
	for (int h = 0; h < n; h++) {
		int turns = turns_of(r, h, &l);
		if (turns > 1) unroll(r, &l, turns);
	}
	if (r->n > n) region_settle(r);
}
