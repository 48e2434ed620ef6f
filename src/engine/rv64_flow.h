#ifndef ENGINE_RV64_FLOW_H
#define ENGINE_RV64_FLOW_H
#include "engine/rv64_region.h"
/* Where the newest value of each guest register is at the beginning of a block of a region. Only
 * registers that the region sets (region.def) are looked at. */
enum {
	AT_HOME = 0,	  /* in the state */
	AT_DEF = 1,	  /* + block: as that block left it */
	AT_PARAM = 128,	  /* + block: that block's parameter */
	AT_UNKNOWN = 255, /* not reached yet */
};
struct flow {
	uint8_t in[REGION_BLOCKS][64], out[REGION_BLOCKS][64];
	uint64_t param[REGION_BLOCKS]; /* registers that come in as parameters */
	/* Registers to write home at the block's end: whatever follows, or only on the way to
	 * succ[0] or succ[1]. */
	uint64_t flush[REGION_BLOCKS], flush_to[REGION_BLOCKS][2];
	/* Registers that the block sets and writes home at once, since each turn of its loop would
	 * do so in the end: nobody need keep them until then. */
	uint64_t early[REGION_BLOCKS];
};
void flow_find(struct flow *w, const struct region *r);
#endif
