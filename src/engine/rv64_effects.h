#ifndef ENGINE_RV64_EFFECTS_H
#define ENGINE_RV64_EFFECTS_H
#include "isa/rv64/rv64.h"
#include <stdbool.h>
/* What an instruction does, as far as whoever cuts code into units must know: its meaning in the
 * table, read for registers and verbs instead of values. */
enum rv64_effect {
	EFFECT_BR = 1,	   /* goes to PC + imm, or on */
	EFFECT_JUMP = 2,   /* goes to PC + imm */
	EFFECT_GOTO = 4,   /* goes wherever a register says */
	EFFECT_HELPER = 8, /* left to a function */
	EFFECT_STOP = 16,  /* and then who knows where it goes on */
	EFFECT_CALL = 32,  /* left to a function, and nearly always goes on behind */
	EFFECT_ILLEGAL = 64,
	EFFECT_MEM = 128 /* a load, a store or an AMO */
};
/* Registers as bits: x0 to x31, then f0 to f31. x0 is never among them. */
struct rv64_effects {
	uint64_t use, def;
	uint32_t single; /* f registers used or set as f32 */
	uint32_t wide;	 /* and as anything else that looks at their upper half */
	uint32_t arith;	 /* f registers set to what arithmetic made: any NaN would be quiet */
	unsigned flags;
	bool fp;	       /* needs mstatus.FS */
	uint8_t rounds, fuses; /* bit rm: by the host's unit, if it rounds so */
	bool vset;	       /* vsetvli or vsetivli, of a vtype that there is */
	bool vector; /* any other of the vector extension: enum rv64_vshape, rv64_vkernel_number */
	uint8_t shape, kernel, bits; /* bits: of VMEM() */
};
/* A CSR instruction that only looks at rounding mode and flags of floating point, or changes the
 * flags: it need not be left to a function that may do anything. */
bool rv64_fp_csr(const struct rv64_insn *i);
bool rv64_v_csr(const struct rv64_insn *i); /* only reads vl or vlenb */
/* A load or store of an integer or float register: x[rs1] + imm is where. */
bool rv64_loads_or_stores(const struct rv64_insn *i);
void rv64_effects(const struct rv64_insn *i, struct rv64_effects *out);
#endif
