#ifndef ORACLE_H
#define ORACLE_H
#include <stdint.h>
#include <string.h>
/* Memory that the oracle (a riscv64 program under qemu-user) and the test share. The test fills
 * a slot and writes its number to the oracle's standard input; the oracle runs the instruction
 * on every case, in place, and answers with the number. */
enum { ORACLE_SLOTS = 4, ORACLE_CASES = 1024 };
#define ORACLE_CODE   0x40000000ull /* where the oracle puts the instruction */
#define ORACLE_MEMORY 0x50000000ull /* where struct oracle_memory is, in both */
#define ORACLE_TARGET 12	    /* the only distance to which a jump may go */

enum { OUT_NEXT, OUT_TARGET, OUT_ILLEGAL };
struct oracle_case {	    /* before and after */
	uint64_t x[4];	    /* x12 .. x15 */
	uint64_t f[4];	    /* f12 .. f15 */
	uint64_t fcsr, out; /* out: after only */
	uint64_t mem[8];    /* for loads and stores */
};
struct oracle_slot {
	uint32_t word, count;
	struct oracle_case c[ORACLE_CASES];
};
struct oracle_memory {
	struct oracle_slot slot[ORACLE_SLOTS];
};
_Static_assert(sizeof(struct oracle_case) == 144, "offsets in oracle_run.S");

/* The code that oracle_run.S calls: a word in front of two endings, for falling through and for
 * jumping. */
static inline void oracle_ending(char *at, unsigned out)
{
	uint16_t ending[] = {(uint16_t)(0x4301 | out << 2), 0x8082}; /* c.li t1, out; c.jr ra */
	memcpy(at, ending, sizeof(ending));
}
static inline void oracle_put(char *code, uint32_t word)
{
	unsigned len = (word & 3) == 3 ? 4 : 2;
	memcpy(code, &word, len);
	oracle_ending(code + len, OUT_NEXT);
	oracle_ending(code + ORACLE_TARGET, OUT_TARGET);
}
#endif
