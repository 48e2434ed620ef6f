#ifndef ENGINE_DEBUG_H
#define ENGINE_DEBUG_H
#include "base/types.h"
#include "engine/engine.h"
#include <stdbool.h>
#include <stdint.h>
/* What a machine of a software engine is to stop at. Written while no vCPU runs, read by all. */
enum { DEBUG_PAGE = 4096 };
struct debug {
	struct vcpu_points points;
	/* Offsets in a page that some breakpoint has, or had: translated code has no instruction
	 * there in it. A superset, so that a debugger that takes its breakpoints out at each stop
	 * does not make all code be translated anew. */
	uint64_t cut[DEBUG_PAGE / 64];
};

/* Take over p. True: translated code made before knows too little of it. */
bool debug_set(struct debug *d, const struct vcpu_points *p);
/* What an engine is given: *at is its own, made when there are points and NULL when there are none.
 * *recut: translated code made before knows too little of them. What it was is the caller's to
 * free() once all vCPUs have heard of it; NULL: nothing. */
struct debug *debug_take(struct debug **at, const struct vcpu_points *p, bool *recut);
bool debug_breaks(const struct debug *d, gva_t pc);
/* Some of the page is watched; d may be NULL. */
bool debug_watches_page(const struct debug *d, gva_t va);
/* The watchpoint that an access of len bytes meets, or NULL. */
const struct vcpu_watch *debug_watch(const struct debug *d, gva_t va, uint64_t len, bool write);
static inline bool debug_cuts(const struct debug *d, uint64_t va)
{
	unsigned off = va & (DEBUG_PAGE - 1);
	return unlikely(d != NULL) && d->cut[off / 64] >> off % 64 & 1;
}
static inline bool debug_watching(const struct debug *d) { return d && d->points.nwatches; }
#endif
