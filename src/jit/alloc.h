#ifndef JIT_ALLOC_H
#define JIT_ALLOC_H
#include "ir/ir.h"
/* Where values live. Linear scan over the ranges in which values are alive: a value has one home
 * for all its life, a register or memory, and memory costs nothing for what can be had again
 * (constants, slots that were not overwritten). The host's back end says what registers there are
 * and, in `visit`, which operands an instruction really uses: what it folds into itself needs no
 * home. */
enum home_at {
	AT_NOWHERE, /* not used, or folded into all its users */
	AT_REG,
	AT_SPILL, /* frame slot n */
	AT_STATE, /* a `get` whose slot still holds it */
	AT_HAND,  /* a constant or an address: made where it is used */
	AT_SUNK	  /* used by maps alone: they hold its recipe */
};
enum { CLASS_INT, CLASS_VEC, CLASSES };
struct home {
	uint32_t root;	     /* the value itself, or the one it is another name of */
	uint32_t start, end; /* positions: of its definition; behind its last use, 0: none */
	uint32_t range;	     /* the first; when registers are given, the first that matters */
	uint32_t next;	     /* of the same register */
	uint32_t want, like; /* values whose register would save a move: across an edge; here */
	float want_freq;
	float weight; /* what a register saves, by how often blocks run */
	uint16_t n;
	uint16_t uses; /* as an operand, before any folding */
	uint8_t at, reg, cls;
	uint8_t site;  /* of an xlat: the number of its own memory, see alloc_steady(); 0: none */
	uint8_t chain; /* how many sunk ops stand behind it */
	bool wide;     /* v128 */
	bool hard;     /* used by others than maps */
	bool folded;   /* the host has folded it into a user */
	bool again;    /* can be had again */
	bool changes;  /* another's new name, see alloc_same() */
	bool on_edge;  /* an extension that the only edge it goes along makes as it moves */
};
struct range { /* half-open. The instruction at position p reads at p, writes at p + 1 */
	uint32_t start, end, next;
};
struct alloc_block {
	uint32_t start, end; /* positions */
	uint32_t inner;	     /* header of the innermost loop it lies in; ~0: none */
	uint32_t last, up;   /* of a header: behind the loop's last block; the loop around */
	uint32_t edges;	     /* that come here; 0: none */
	float freq;
};
struct alloc_edge { /* by number + 1 */
	uint32_t next, from;
};
struct put_at {
	uint32_t slot, pos;
};
struct call_live {
	uint32_t call, regs[CLASSES]; /* registers in use across it */
};
struct alloc;
struct alloc_host {
	uint32_t regs[CLASSES]; /* masks */
	unsigned spills, wide_spills;
	bool fma_calls; /* there is no such instruction */
	bool coarse;	/* for tests: ranges without holes, as for irreducible loops */
	void (*visit)(struct alloc *a, uint32_t i);
};
enum { NO_REG = 0xff, SITES_MAX = 16, SPILLS_MAX = 512, WIDE_MAX = 32, SUNK_MAX = 3 };
struct alloc { /* grows; kept from unit to unit */
	const struct ir_fn *f;
	const struct alloc_host *host;
	struct home *home; /* by value */
	struct alloc_block *block;
	struct alloc_edge *edge;
	struct put_at *put;
	struct call_live *call;
	struct range *range; /* [0] is not used */
	uint64_t *live;	     /* a row of bits for each block: the values alive at its beginning */
	uint32_t home_room, block_room, put_room, call_room, range_room, live_room, edge_room;
	uint32_t nputs, ncalls, nranges, words;
	uint32_t pos, cur;	  /* of the instruction visited; its block */
	uint32_t in[CLASSES][32]; /* values of each register, the last given first */
	uint8_t hand[CLASSES];
	unsigned nspills, nwide, nsites;
	uint32_t spill_end[SPILLS_MAX], wide_end[WIDE_MAX];
	bool coarse, failed;
};
void alloc_done(struct alloc *a);
/* Decide all homes. false: f is too large, or memory is short. */
bool alloc_run(struct alloc *a, const struct ir_fn *f, const struct alloc_host *host);
/* Registers of class c that are in use across a call. */
uint32_t alloc_live(const struct alloc *a, uint32_t call, unsigned c);

/* For visit(). */
void alloc_use(struct alloc *a, uint32_t v);
void alloc_operands(struct alloc *a, uint32_t i); /* all that i has */
void alloc_edges(struct alloc *a, uint32_t i);	  /* a terminator's */
void alloc_map(struct alloc *a, uint32_t map, bool code);
static inline void alloc_like(struct alloc *a, uint32_t v, uint32_t other)
{
	a->home[v].like = other;
}
/* v, visited now, is from here on another name of that value, which v's instruction changes where
 * it stands: nobody minds to see the new one. */
void alloc_same(struct alloc *a, uint32_t v, uint32_t other);
/* steady.c: v stays, or moves by a few bytes, in each turn of the innermost loop. */
bool alloc_steady(const struct alloc *a, uint32_t v);
/* Argument number n of an edge, by number + 1 */
static inline uint32_t alloc_arg(const struct alloc *a, uint32_t edge, unsigned n)
{
	return a->f->args[a->f->edge[edge - 1].args + n];
}
static inline const struct ir_ins *alloc_ins(const struct alloc *a, uint32_t v)
{
	return &a->f->ins[a->home[v].root];
}
#endif
