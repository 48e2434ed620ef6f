/* Bits to operations: the generated tree finds the form, its pieces say where operands lie. */
#include "isa/rv64/form.h"

#include "isa/rv64/rv64.decode.inc"

unsigned rv64_form_of(uint32_t w) { return form_of(w); }

static int32_t piece_get(const struct rv64_piece *p, uint32_t w)
{
	if (!p->len) return p->add;
	uint32_t top = 1u << (p->len - 1), bits = (w >> p->pos) & (top | (top - 1));
	if (p->sign) bits = (bits ^ top) - top;
	return (int32_t)(bits << p->shift);
}

void rv64_operands(struct rv64_insn *out, const struct rv64_form *f, uint32_t w)
{
	int32_t v[RV64_MEMBERS] = {0};
	for (unsigned i = 0; i < f->pieces; i++)
		v[f->piece[i].member] += piece_get(&f->piece[i], w);
	out->imm = v[RV64_IMM];
	out->rd = (uint8_t)v[RV64_RD];
	out->rs1 = (uint8_t)v[RV64_RS1];
	out->rs2 = (uint8_t)v[RV64_RS2];
	out->rs3 = (uint8_t)v[RV64_RS3];
	out->rm = (uint8_t)v[RV64_RM];
}

void rv64_decode(struct rv64_insn *out, uint32_t w)
{
	out->len = (w & 3) == 3 ? 4 : 2;
	out->raw = out->len == 4 ? w : w & 0xffff;
	const struct rv64_form *f = &rv64_forms[form_of(w)];
	out->op = f->op;
	rv64_operands(out, f, w);
}
