#include "base/test.h"
#include "engine/rv64_flow.h"
#include "engine/rv64_random.h"
#include "engine/rv64_region.h"
#include <stdlib.h>

#define AT_CODE (RIG_RAM + RANDOM_CODE)

/* The page at an address, its code decoded as if it had run. */
static struct code_page *page_of(struct rig *r, gpa_t at, bool all)
{
	r->c->pc = at;
	const struct slot *ip = rv64_code_enter(r->c);
	must(ip);
	struct code_page *p = code_page_of(ip);
	for (unsigned k = 0; all && k < PAGE_SLOTS - 1; k++)
		if (p->slot[k].fn == rv64_op_decode) rv64_code_decode(r->c, &p->slot[k]);
	return p;
}
static bool find(struct rig *r, struct region *g, gpa_t at, bool all, int limit)
{
	const struct code_page *page[REGION_PAGES] = {page_of(r, at - PAGE_SIZE, all),
						      page_of(r, at, all),
						      page_of(r, at + PAGE_SIZE, all)};
	return region_find(g, page, at & ~PAGE_MASK, limit, true);
}

/* ---- what is true of every region ---- */
static bool has(uint64_t set, int b) { return set >> b & 1; }

/* Blocks that can be reached from the entry without passing `without`. */
static uint64_t reached(const struct region *g, int without)
{
	uint64_t seen = 0, todo = without ? 1 : 0;
	while (todo) {
		int b = __builtin_ctzll(todo);
		seen |= 1ull << b;
		for (int j = 0; j < 2; j++) {
			int s = g->block[b].succ[j];
			if (s >= 0 && s != without) todo |= 1ull << s;
		}
		todo &= ~seen;
	}
	return seen;
}

static bool dominators_are_right(const struct region *g)
{
	bool good = reached(g, -1) == (g->n == 64 ? ~0ull : (1ull << g->n) - 1);
	for (int d = 1; d < g->n; d++) {
		uint64_t without = reached(g, d);
		for (int b = d + 1; b < g->n; b++) {
			int up = b;
			while (up > d) up = g->block[up].idom;
			good &= (up == d) == !has(without, b);
		}
	}
	for (int b = 1; b < g->n; b++) good &= g->block[b].idom < b && g->block[b].idom >= 0;
	return good;
}

/* In one piece, behind their header, which every way back into them leads to. */
static bool loops_are_right(const struct region *g)
{
	bool good = true;
	for (int h = 0; h < g->n; h++) {
		int last = h, in = 0;
		for (int b = 0; b < g->n; b++) {
			if (!has(g->block[b].loops, h)) continue;
			good &= b >= h;
			last = b;
			in++;
			for (int j = 0; j < 2; j++) {
				int s = g->block[b].succ[j];
				good &= s < 0 || s > b || has(g->block[b].loops, s);
			}
		}
		good &= g->block[h].header == (in > 0) && (!in || last == h + in - 1);
	}
	for (int b = 0; b < g->n; b++) {
		const struct region_block *k = &g->block[b];
		good &= k->depth == __builtin_popcountll(k->loops);
		good &= k->loop == (k->loops ? 63 - __builtin_clzll(k->loops) : -1);
	}
	return good;
}

static bool blocks_are_right(const struct region *g)
{
	int insns = 0, copies = 0;
	bool good = g->n >= 1 && g->n <= REGION_BLOCKS && g->insns <= REGION_INSNS;
	uint64_t def = 0;
	for (int b = 0; b < g->n; b++) {
		const struct region_block *k = &g->block[b];
		int at = g->block_at[region_half(k->off)] - 1;
		good &= at == b || (at >= 0 && g->block[at].off == k->off);
		copies += at != b;
		for (int off = k->off; off < k->next; off += region_insn(g, off)->len) {
			good &= g->at[region_half(off)] != 0;
			good &= off == k->off || !g->block_at[region_half(off)];
			insns++;
		}
		for (int j = 0; j < 2; j++) {
			int s = k->succ[j];
			good &= s < 0 || (s < g->n && has(g->block[s].preds, b));
			if (s >= 0) good &= g->block[s].off == (j ? k->next : k->to);
		}
		def |= k->def;
	}
	return good && def == g->def && (copies || insns <= g->insns);
}

static bool liveness_is_right(const struct region *g)
{
	bool good = true;
	for (int b = 0; b < g->n; b++) {
		const struct region_block *k = &g->block[b];
		uint64_t out = 0;
		for (int j = 0; j < 2; j++)
			if (k->succ[j] >= 0) out |= g->block[k->succ[j]].live;
		good &= k->live == (k->use | (out & ~k->def));
	}
	return good;
}

/* ---- and of where registers are: walked through, with the newest values as numbers ---- */
struct places {
	uint64_t newest[64], home[64];
	uint64_t left[REGION_BLOCKS][64], param[REGION_BLOCKS][64];
};

static uint64_t value_at(const struct places *p, uint8_t at, int s)
{
	if (at == AT_HOME) return p->home[s];
	return at >= AT_PARAM ? p->param[at - AT_PARAM][s] : p->left[at - AT_DEF][s];
}

static bool flow_is_right(const struct region *g, uint64_t seed)
{
	static struct flow w;
	static struct places p;
	struct random rnd = {.s = seed * 2 + 1};
	bool good = true;
	flow_find(&w, g);
	memset(&p, 0, sizeof(p));
	for (int b = 0, from = -1, steps = 0; steps < 300 && b >= 0; steps++) {
		for (int s = 0; s < 64; s++) {
			uint64_t bit = 1ull << s;
			if (!(g->def & bit)) continue;
			if (w.param[b] & bit) p.param[b][s] = p.newest[s];
			good &= w.in[b][s] != AT_UNKNOWN &&
				value_at(&p, w.in[b][s], s) == p.newest[s];
			if (g->block[b].def & bit) p.newest[s] = random_bits(&rnd);
			p.left[b][s] = p.newest[s];
			if ((w.flush[b] | w.early[b]) & bit) p.home[s] = p.newest[s];
			good &= !(w.early[b] & ~g->block[b].def & bit);
			good &= value_at(&p, w.out[b][s], s) == p.newest[s];
		}
		from = b;
		int way = (int)(random_bits(&rnd) >> 30 & 1);
		if (g->block[from].succ[way] < 0) way = !way;
		b = g->block[from].succ[way];
		for (int s = 0; s < 64; s++)
			if (w.flush_to[from][way] >> s & 1) p.home[s] = p.newest[s];
	}
	return good;
}

/* Blocks for windows are only reached by what asks whether there is one. */
static bool windows_are_right(const struct region *g)
{
	bool good = true;
	for (int b = 0; b < g->n; b++)
		for (int j = 0; j < 2; j++) {
			int s = g->block[b].succ[j];
			if (s < 0 || !g->block[s].window) continue;
			good &= g->block[b].window || (g->block[b].end == END_PICK && !j);
		}
	return good && !g->block[0].window;
}

static bool is_right(const struct region *g, uint64_t seed)
{
	return blocks_are_right(g) && dominators_are_right(g) && loops_are_right(g) &&
	       liveness_is_right(g) && flow_is_right(g, seed) && windows_are_right(g);
}

/* ---- regions of chance ---- */
TEST(random_regions_are_well_formed)
{
	static struct region g;
	struct rig *r = rig_new(false);
	unsigned found = 0, headers = 0, deep = 0, unrolled = 0;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		rv64_cpu_reset(r->c);
		atomic_store(&r->c->poll, 0);
		random_program(r, seed, NULL, 0);
		random_run(r);
		bool good = true;
		for (gpa_t at = AT_CODE; at < RIG_RAM + RANDOM_CODE_END; at += 2) {
			struct code_page *p = page_of(r, at, false);
			if (p->slot[at % PAGE_SIZE / 2].fn == rv64_op_decode) continue;
			if (!find(r, &g, at, false, at % 3 ? REGION_INSNS : 20)) continue;
			good &= is_right(&g, seed);
			found++;
			for (int b = 0; b < g.n; b++)
				headers += g.block[b].header, deep += g.block[b].depth > 1;
			int n = g.n;
			region_unroll(&g);
			good &= is_right(&g, seed);
			unrolled += g.n > n;
		}
		CHECK(good);
	}
	CHECK(found > 5000 && headers > 1000 && deep > 1000 && unrolled > 100);
	rig_free(r);
}

/* Any branches at all, most of which make no loops one could name. */
TEST(irreducible_graphs_are_cut)
{
	static struct region g;
	struct rig *r = rig_new(false);
	unsigned loops = 0;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct random rnd = {.r = r, .s = seed * 0x9e3779b97f4a7c15};
		r->at = AT_CODE;
		for (unsigned k = 0; k < 100; k++) {
			int32_t to = (int32_t)pick(&rnd, 100) - (int32_t)k;
			unsigned how = pick(&rnd, 3);
			if (how == 0)
				rig_op(r, OP_addi, 1 + pick(&rnd, 20), pick(&rnd, 20), 0, 1);
			else
				rig_op(r, how == 1 ? OP_beq : OP_jal, 0, how == 1, 0, 4 * to);
		}
		rv64_code_fence(r->c);
		if (!find(r, &g, AT_CODE + 4 * (seed % 90), true, REGION_INSNS)) continue;
		CHECK(is_right(&g, seed));
		for (int b = 0; b < g.n; b++) loops += g.block[b].header;
	}
	CHECK(loops > 100);
	rig_free(r);
}

/* Three loops in each other, and one beside them that the inner two leave to. */
TEST(nested_loops_stay_together)
{
	static struct region g;
	struct rig *r = rig_new(false);
	r->at = AT_CODE;
	rig_op(r, OP_addi, 5, 0, 0, 9);	 /* 0 */
	rig_op(r, OP_addi, 6, 0, 0, 9);	 /* 4: outer */
	rig_op(r, OP_addi, 7, 0, 0, 9);	 /* 8: middle */
	rig_op(r, OP_addi, 7, 7, 0, -1); /* 12: inner */
	rig_op(r, OP_beq, 0, 7, 8, 28);	 /* 16: to 44 */
	rig_op(r, OP_bne, 0, 7, 0, -8);	 /* 20 */
	rig_op(r, OP_addi, 6, 6, 0, -1); /* 24 */
	rig_op(r, OP_bne, 0, 6, 0, -20); /* 28 */
	rig_op(r, OP_addi, 5, 5, 0, -1); /* 32 */
	rig_op(r, OP_bne, 0, 5, 0, -32); /* 36 */
	rig_op(r, OP_jalr, 0, 1, 0, 0);	 /* 40 */
	rig_op(r, OP_addi, 9, 9, 0, -1); /* 44 */
	rig_op(r, OP_bne, 0, 9, 0, -4);	 /* 48 */
	rig_op(r, OP_jal, 0, 0, 0, -20); /* 52: to 32 */
	CHECK(find(r, &g, AT_CODE, true, REGION_INSNS) && is_right(&g, 1));
	int deepest = 0, headers = 0;
	for (int b = 0; b < g.n; b++) {
		if (g.block[b].depth > deepest) deepest = g.block[b].depth;
		headers += g.block[b].header;
	}
	CHECK(deepest == 3 && headers == 4);
	rig_free(r);
}

TEST(loops_of_one_block_are_unrolled_beside_themselves)
{
	static struct region g;
	struct rig *r = rig_new(false);
	r->at = AT_CODE;
	rig_op(r, OP_ld, 6, 5, 0, 0);	 /* 0 */
	rig_op(r, OP_addi, 5, 5, 0, 8);	 /* 4 */
	rig_op(r, OP_bne, 0, 5, 7, -8);	 /* 8 */
	rig_op(r, OP_addi, 9, 9, 0, -1); /* 12: accesses nothing */
	rig_op(r, OP_bne, 0, 9, 0, -4);	 /* 16 */
	rig_op(r, OP_jal, 0, 0, 0, -20); /* 20: to 0 */
	CHECK(find(r, &g, AT_CODE, true, REGION_INSNS) && is_right(&g, 1));
	int n = g.n, turns = 0, headers = 0;
	region_unroll(&g);
	CHECK(is_right(&g, 1) && g.block[0].header); /* the way back goes by the entry */
	for (int b = 0; b < g.n; b++) {
		turns += g.block[b].window;
		headers += g.block[b].header;
	}
	CHECK(turns > 1 && g.n == n + turns + 1 && headers == 4);
	rig_free(r);
}

TEST(turns_of_several_blocks_follow_each_other)
{
	static struct region g;
	struct rig *r = rig_new(false);
	r->at = AT_CODE;
	rig_op(r, OP_addi, 5, 5, 0, 1);	 /* 0 */
	rig_op(r, OP_lbu, 6, 5, 0, 0);	 /* 4 */
	rig_op(r, OP_beq, 0, 6, 7, 12);	 /* 8: to 20 */
	rig_op(r, OP_bne, 0, 6, 0, -12); /* 12 */
	rig_op(r, OP_jalr, 0, 1, 0, 0);	 /* 16 */
	rig_op(r, OP_addi, 8, 8, 0, 1);	 /* 20 */
	rig_op(r, OP_jal, 0, 0, 0, -24); /* 24: to 0 */
	CHECK(find(r, &g, AT_CODE, true, REGION_INSNS) && is_right(&g, 1));
	int n = g.n, copies = 0, headers = 0;
	region_unroll(&g);
	CHECK(is_right(&g, 1));
	for (int b = 0; b < g.n; b++) {
		copies += g.block[b].window;
		headers += g.block[b].header;
	}
	CHECK(n == 4 && copies >= 6 && copies % 3 == 0 && g.n == n + copies + 1 && headers == 2);
	rig_free(r);
}

TEST(regions_keep_their_limits)
{
	static struct region g;
	struct rig *r = rig_new(false);
	/* a branch each other instruction: more blocks than there may be */
	r->at = AT_CODE;
	for (unsigned k = 0; k < 200; k++) {
		rig_op(r, OP_addi, 5, 5, 0, 1);
		rig_op(r, OP_beq, 0, 5, 6, 16);
	}
	rig_op(r, OP_jalr, 0, 1, 0, 0);
	CHECK(find(r, &g, AT_CODE, true, REGION_INSNS) && g.n == REGION_BLOCKS && is_right(&g, 1));
	/* one block, longer than a region */
	r->at = AT_CODE;
	for (unsigned k = 0; k < 600; k++) rig_op(r, OP_addi, 5, 5, 0, 1);
	rv64_code_fence(r->c);
	CHECK(find(r, &g, AT_CODE, true, REGION_INSNS));
	CHECK(g.insns == REGION_INSNS && g.n == 1 && g.block[0].end == END_STOP);
	CHECK(find(r, &g, AT_CODE, true, 7) && g.insns == 7 && g.block[0].next == 28);
	/* nothing that can be lifted, nothing that has run */
	r->at = AT_CODE;
	rig_op(r, OP_mret, 0, 0, 0, 0);
	rv64_code_fence(r->c);
	CHECK(!find(r, &g, AT_CODE, true, REGION_INSNS));
	r->at = AT_CODE;
	rig_op(r, OP_addi, 5, 5, 0, 1);
	rv64_code_fence(r->c);
	CHECK(!find(r, &g, AT_CODE, false, REGION_INSNS));
	rig_free(r);
}
