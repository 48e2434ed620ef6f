#ifndef ISA_X86_TABLE_H
#define ISA_X86_TABLE_H
#include "isa/x86/x86.h"
/* The generated table as decode.c and form.c see it. */
enum {
	F_MODRM = 1,
	F_D64 = 2,    /* operands of 64 bits in 64 bit mode, 66 makes them 16 */
	F_F64 = 4,    /* of 64 bits, and 66 changes nothing */
	F_ANYMOD = 8, /* ModRM.mod is taken for 3 */
	F_VSIB = 16,
	F_VSIBH = 32, /* whose index register is half as long as the operands */
	F_LOCK = 64,
	F_CC = 128, /* the opcode's low 4 bits are a condition */
};
enum { X86_DIMS = 9 };
struct x86_form {
	uint16_t op;
	uint8_t map, opcode, flags;
	struct {
		uint8_t method, type;
	} o[4];
	uint8_t mask[X86_DIMS]; /* the values of each dimension that this form is for */
	uint8_t count;		/* of opcodes */
};
struct x86_root {
	uint16_t node;
	uint8_t modrm;
};
extern const struct x86_form x86_forms[];
extern const unsigned x86_nforms;
#endif
