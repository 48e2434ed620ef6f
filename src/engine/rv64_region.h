#ifndef ENGINE_RV64_REGION_H
#define ENGINE_RV64_REGION_H
#include "engine/rv64_effects.h"
#include "isa/rv64/rv64.h"
#include <stdbool.h>
#include <stdint.h>
/* A region: what becomes one unit. The instructions of one page that can be reached from its entry
 * by direct jumps and that have run before, cut into blocks; loops stay whole, even those that run
 * over an end of the page. Offsets count bytes from the beginning of the entry's page. */
struct code_page;
enum { REGION_INSNS = 400, REGION_BLOCKS = 64, REGION_NONE = -1, REGION_EXIT = -2 };
enum { REGION_PAGES = 3, REGION_BYTES = 4096 }; /* the entry's page and its neighbours */
enum region_end {
	END_FALL, /* goes on at next */
	END_BR,	  /* to `to` or next */
	END_JUMP, /* to `to` */
	END_GOTO, /* wherever a register says */
	END_CALL, /* a function does the last instruction; goes on at next */
	END_STOP, /* the instruction at next is somebody else's to run */
	END_PICK, /* to `to` if the hart has a window now, else to next: no instruction's doing */
};
struct region_block {
	int off, next; /* first instruction; the one behind the last */
	int to;	       /* of END_BR and END_JUMP: may lie outside of the page */
	int last;      /* offset of the last instruction; -1: there is none */
	enum region_end end;
	int succ[2];	       /* for to and next: a block, REGION_EXIT, or REGION_NONE */
	int idom, loop, depth; /* as in struct ir_block, but of blocks here; loop -1: none */
	bool header;	       /* an edge from a block that it dominates comes here */
	bool window;	       /* only entered while the hart has a window: rv64_unroll.c */
	uint64_t loops;	       /* bit h: it lies in the loop that block h heads */
	uint64_t preds;	       /* blocks that go here */
	uint64_t use, def;     /* registers read before they are set, and set: rv64_effects.h */
	bool vector;	       /* some instruction is of vectors */
	bool fp;	       /* as struct rv64_effects has it, of any instruction */
	uint8_t rounds, fuses;
	uint64_t live; /* at its beginning: read by something in the region before being set */
};
struct region {
	struct region_block block[REGION_BLOCKS]; /* entry first, dominators before what they do */
	int n, insns;
	bool calls;   /* some block ends in a call */
	uint64_t def; /* by any block */
	uint64_t use;
	uint32_t raw;	       /* f registers that are only set to what arithmetic made */
	uint32_t single, wide; /* f registers that are used as f32; as more */
	struct rv64_insn insn[REGION_INSNS];
	struct rv64_effects effects[REGION_INSNS];
	const struct code_page *page[REGION_PAGES]; /* [1] is the entry's; NULL: not to be used */
	unsigned pages;				    /* bit i: some of page[i] is in the region */
	/* By halfword, from page[0] on: 1 + number of the instruction there, 0: not in the region
	 */
	uint16_t at[REGION_PAGES * REGION_BYTES / 2];
	uint16_t block_at[REGION_PAGES * REGION_BYTES / 2]; /* 1 + the block that begins there */
};
/* The region that begins at offset off of page[1], at most limit instructions. Neighbours are used
 * only where a loop or the last instruction goes there. calls: with blocks that end in one. False:
 * it would be empty. */
bool region_find(struct region *r, const struct code_page *const page[REGION_PAGES], unsigned off,
		 int limit, bool calls);
/* Innermost loops that access memory are there twice from now on: several turns in a row for when
 * the hart has a window, and as they were. Where a block has copies, block_at names one. */
void region_unroll(struct region *r);
/* After blocks or edges were changed (entry still first): order, dominators, loops, liveness. */
void region_settle(struct region *r);
static inline int region_half(int off) { return (off + REGION_BYTES) / 2; }
static inline int region_page(int off) { return (off + REGION_BYTES) / REGION_BYTES; }
static inline const struct rv64_insn *region_insn(const struct region *r, int off)
{
	return &r->insn[r->at[region_half(off)] - 1];
}
#endif
