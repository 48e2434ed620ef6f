#ifndef ENGINE_RV64_COUNTS_H
#define ENGINE_RV64_COUNTS_H
#include <stdatomic.h>
#include <stdint.h>
/* What a hart counts: a line each, with the name that people see. The hart's thread adds, any
 * thread reads. They count since power-on of the machine, also across resets. */
/* clang-format off */
#define RV64_COUNTS(X)                                                                             \
	X(COUNT_TLB_MISS, "tlb_misses")	       /* loads and stores that the TLB did not serve */   \
	X(COUNT_DEVICE, "device_accesses")     /* of these, those to no memory */                  \
	X(COUNT_FETCH_MISS, "fetch_misses")    /* fetches from a page that has to be looked up */  \
	X(COUNT_PAGE, "pages_decoded")                                                             \
	X(COUNT_TRAP, "traps")                 /* exceptions */                                    \
	X(COUNT_INTERRUPT, "interrupts")                                                           \
	X(COUNT_CALL, "board_calls")           /* SBI calls, when there is no firmware */          \
	X(COUNT_SLEEP, "wfi_sleeps")                                                               \
	X(COUNT_FENCE_TLB, "tlb_fences")                                                           \
	X(COUNT_FENCE_CODE, "code_fences")                                                         \
	X(COUNT_WATCH, "pages_watched")        /* for a reservation: see rv64_reserve.h */         \
	X(COUNT_ENTER, "unit_entries")         /* translated code was entered */                   \
	X(COUNT_LINK, "exits_link")            /* and left: for code that it will be linked to */  \
	X(COUNT_LOOKUP, "exits_lookup")        /* for code that no directory knew */               \
	X(COUNT_STOP, "exits_stop")            /* for an instruction that is not translated */     \
	X(COUNT_DEOPT, "exits_poll")           /* in the middle, by enum rv64_why from here on */  \
	X(COUNT_DEOPT_MEM, "exits_mmu")                                                            \
	X(COUNT_DEOPT_FP_OFF, "exits_fp_off")                                                      \
	X(COUNT_DEOPT_ROUND, "exits_rounding")                                                     \
	X(COUNT_DEOPT_BOX, "exits_nan_box")                                                        \
	X(COUNT_DEOPT_RANGE, "exits_range")                                                        \
	X(COUNT_DEOPT_ATOMIC, "exits_atomic")                                                      \
	X(COUNT_DEOPT_CALL, "exits_call")                                                          \
	X(COUNT_DEOPT_PAGE, "exits_page")      /* a neighbouring page is not what it was */      \
	X(COUNT_DEOPT_VECTOR, "exits_vector")  /* vectors are off, or vstart is not 0 */           \
	X(COUNT_UNIT, "units")                 /* translated, since power-on */                    \
	X(COUNT_UNIT_INSNS, "unit_instructions") /* guest instructions in them */                  \
	X(COUNT_UNIT_BYTES, "unit_bytes")      /* host code of them */                             \
	X(COUNT_FLUSH, "code_flushes")         /* the code cache was full */                       \
	X(COUNT_CODE_USED, "code_used")        /* bytes of it now */                               \
	X(COUNT_CODE_ROOM, "code_room")
/* clang-format on */
#define X(id, name) id,
enum rv64_count { RV64_COUNTS(X) COUNT__N };
#undef X

/* By the only thread that writes it: no locked instruction. */
static inline void count_add(_Atomic uint64_t *n, uint64_t more)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + more,
			      memory_order_relaxed);
}
static inline void count_set(_Atomic uint64_t *n, uint64_t now)
{
	atomic_store_explicit(n, now, memory_order_relaxed);
}
#define rv64_count(c, id) count_add(&(c)->counts[id], 1)
#endif
