#ifndef ISA_RV64_FORM_H
#define ISA_RV64_FORM_H
/* The lines of rv64.isa as data; private to this folder. A form is one line: forms 1 to
 * OP__max - 1 are the ops of the same number, those behind are the compressed forms, which stand
 * for an op. Form 0 is no instruction. */
#include "isa/rv64/rv64.h"
enum rv64_member { RV64_IMM, RV64_RD, RV64_RS1, RV64_RS2, RV64_RS3, RV64_RM, RV64_MEMBERS };
/* len bits of the instruction from bit pos, shifted left, are part of an operand; where len is 0,
 * add is. An operand is the sum of its pieces. */
struct rv64_piece {
	uint8_t member, pos, len, shift;
	bool sign; /* the topmost of the bits is the sign */
	int16_t add;
};
struct rv64_form {
	struct rv64_info info;
	uint16_t op; /* that it is, or stands for */
	uint16_t pieces;
	const struct rv64_piece *piece;
};
struct rv64_name {
	uint16_t number;
	const char *text;
};
extern const struct rv64_form rv64_forms[];
extern const unsigned rv64_forms_count;
/* The form that w's bits are an example of, 0 if none. */
unsigned rv64_form_of(uint32_t w);
/* The operands that w, an example of f, has. */
void rv64_operands(struct rv64_insn *out, const struct rv64_form *f, uint32_t w);
/* The bits that f has with these operands; operands that do not fit are cut. */
uint32_t rv64_assemble(const struct rv64_form *f, const struct rv64_insn *operands);
#endif
