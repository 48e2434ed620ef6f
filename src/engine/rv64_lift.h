#ifndef ENGINE_RV64_LIFT_H
#define ENGINE_RV64_LIFT_H
#include "engine/rv64_region.h"
#include "ir/ir.h"
/* From a region of RISC-V code to IR. Guest registers are slots; everything else of the hart that
 * units touch is one, too. */
enum rv64_slot_number {
	SLOT_X = 0,
	SLOT_F = 32,
	SLOT_BASE = 64, /* address of the page that the unit's code is in */
	SLOT_FP_ON,
	SLOT_FS_DIRTY,
	SLOT_FP_HOST,
	SLOT_FP_FMA,
	SLOT_FFLAGS,
	SLOT_FRM,
	SLOT_RES_VA,
	SLOT_RES_VAL,
	SLOT_RES_LEN,
	SLOT_FCTX,
	SLOT_N,	    /* instructions that have run */
	SLOT_STOP,  /* enum rv64_stop */
	SLOT_LEN,   /* of the instruction that stops */
	SLOT_LIMIT, /* of SLOT_N, for loops that are counted */
	SLOT_VCONF, /* v.sew to v.on as one */
	SLOT_VS_DIRTY,
	SLOT_WIN_LIMIT,
	SLOT_WIN_BASE,
	SLOT__COUNT
};
extern const struct ir_slot rv64_slots[SLOT__COUNT];
enum { SPACE_READ, SPACE_WRITE };

/* Why a unit gives up in the middle, in the low bits of a map's `why`. */
enum rv64_why {
	WHY_EXIT,   /* it does not: an ordinary end */
	WHY_POLL,   /* something waits */
	WHY_MEM,    /* an access that the TLB does not serve */
	WHY_FP_OFF, /* mstatus.FS */
	WHY_ROUND,  /* a rounding mode that the host does not have set */
	WHY_BOX,    /* an f32 that is not NaN-boxed */
	WHY_RANGE,  /* a conversion that does not fit */
	WHY_ATOMIC, /* misaligned, or without reservation */
	WHY_CALL,   /* a function that did the instruction wants to stop: see the hart */
	WHY_PAGE,   /* the neighbouring page is not what it was, or not looked up */
	WHY_VECTOR, /* mstatus.VS, or vstart is not 0 */
	WHY__COUNT,
	WHY_BITS = 4
};
/* Above them: how many instructions have been counted that did not run, or, if none are counted,
 * lift_how.tag. */
struct lift;
struct rv64_cpu;
struct lift *lift_new(void);
void lift_free(struct lift *l);
struct lift_how {
	int span; /* how many bytes of one page a single TLB look-up may answer for */
	uint32_t tag;
	bool window;	   /* loads and stores go by the window where the hart has one */
	bool saturate;	   /* numbers too large for an integer are frequent */
	bool count;	   /* SLOT_N is exact, and loops end when it reaches SLOT_LIMIT */
	bool alone;	   /* nobody else runs guest code: a load and a store are atomic enough */
	bool lanes, fused; /* jit_lanes() */
	int vtype;	   /* what it is now and so may be again; -1: ill */
	/* Before each store: called with the hart, the host address and how many bytes; or NULL. */
	uint64_t (*log)(struct rv64_cpu *c, void *at, uint64_t bytes);
};
/* Fill f, which has been reset, from r. */
void lift_region(struct lift *l, struct ir_fn *f, const struct region *r,
		 const struct lift_how *how);
#endif
