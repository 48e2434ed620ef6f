#ifndef VECTOR_H
#define VECTOR_H
#include "oracle.h"
/* As oracle.h, for vector instructions: all of their state before and after. */
enum { VECTOR_CASES = 64 };
struct vector_case {
	uint64_t x[4];	    /* x12 .. x15 */
	uint64_t f[4];	    /* f12 .. f15 */
	uint64_t fcsr, out; /* out: after only */
	uint64_t vl, vtype; /* as vsetvl is asked for; as they are */
	uint64_t vstart, vcsr;
	uint8_t v[32][16];
	uint8_t mem[1024]; /* for loads and stores */
};
struct vector_slot {
	uint64_t word;
	struct vector_case c[VECTOR_CASES];
};
struct vector_memory {
	struct vector_slot slot[ORACLE_SLOTS];
};
_Static_assert(sizeof(struct vector_case) == 1648, "offsets in vector_run.S");
#endif
