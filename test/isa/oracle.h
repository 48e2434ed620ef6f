#ifndef ORACLE_H
#define ORACLE_H
#include <stdint.h>
/* Memory that the oracle (a riscv64 program under qemu-user) and the test share. The test fills
 * a slot and writes its number to the oracle's standard input; the oracle runs the instruction
 * on every case, in place, and answers with the number. */
enum { ORACLE_SLOTS = 4, ORACLE_CASES = 1024 };
#define ORACLE_CODE   0x40000000ull /* where the oracle puts the instruction */
#define ORACLE_TARGET 12	    /* the only distance to which a jump may go */

enum { OUT_NEXT, OUT_TARGET, OUT_ILLEGAL };
struct oracle_case {	    /* before and after */
	uint64_t x[4];	    /* x12 .. x15 */
	uint64_t f[4];	    /* f12 .. f15 */
	uint64_t fcsr, out; /* out: after only */
};
struct oracle_slot {
	uint32_t word, count;
	struct oracle_case c[ORACLE_CASES];
};
struct oracle_memory {
	struct oracle_slot slot[ORACLE_SLOTS];
};
#endif
