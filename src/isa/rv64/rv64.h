#ifndef ISA_RV64_RV64_H
#define ISA_RV64_RV64_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* RISC-V instructions as the generator made them from rv64.isa. A compressed instruction
 * decodes to the op it stands for, with len 2. */
enum rv64_op {
#include "isa/rv64/rv64.enum.inc" /* OP_illegal, OP_lui, ... OP__max */
};
struct rv64_insn {
	int32_t imm;	 /* sign-extended immediate, shift amount or CSR number */
	uint8_t rd, rs1; /* register numbers; which file, the op says */
	uint8_t rs2, rs3;
	uint8_t rm;  /* rounding mode of floating-point ops; aq (2) and rl (1) of atomic ones */
	uint8_t len; /* 2 or 4 bytes */
	uint16_t op; /* enum rv64_op; OP_illegal: raw holds the bits */
	uint32_t raw;
};
/* Decode the instruction whose first two or four bytes are w (w's upper half is ignored for a
 * compressed one). */
void rv64_decode(struct rv64_insn *out, uint32_t w);
/* "mstatus", NULL if the number has no name */
const char *rv64_csr_name(unsigned number);
const char *rv64_register_name(unsigned i); /* "a0": 0..31 x, 32..63 f */
/* Text of a decoded instruction as objdump -M no-aliases writes it, compressed ones by their own
 * names. Returns what snprintf would. */
int rv64_format(char *out, size_t room, const struct rv64_insn *i, uint64_t pc);
/* For tests and hand-made guests: the 32-bit encoding of op with these operands (what does not fit
 * is cut), and a compressed one of an instruction, 0 if there is none. */
uint32_t rv64_encode(enum rv64_op op, const struct rv64_insn *operands);
uint16_t rv64_compress(const struct rv64_insn *i);
struct rv64_info {
	const char *name, *syntax; /* "fadd.d", "fd, fs, ft, rm" */
	uint32_t mask, match;	   /* fixed bits */
	uint8_t len;
};
const struct rv64_info *rv64_info(enum rv64_op op);
#endif
