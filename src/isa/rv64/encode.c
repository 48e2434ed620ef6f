/* Operations to bits, for tests and hand-made guests: decode's pieces, read the other way. */
#include "isa/rv64/form.h"

uint32_t rv64_assemble(const struct rv64_form *f, const struct rv64_insn *o)
{
	int32_t v[RV64_MEMBERS] = {o->imm, o->rd, o->rs1, o->rs2, o->rs3, o->rm};
	uint32_t w = f->info.match;
	for (unsigned i = 0; i < f->pieces; i++) /* addends first: what is left is in the bits */
		if (!f->piece[i].len) v[f->piece[i].member] -= f->piece[i].add;
	for (unsigned i = 0; i < f->pieces; i++) {
		const struct rv64_piece *p = &f->piece[i];
		if (!p->len) continue;
		uint32_t top = 1u << (p->len - 1);
		w |= ((uint32_t)v[p->member] >> p->shift & (top | (top - 1))) << p->pos;
	}
	return w;
}

uint32_t rv64_encode(enum rv64_op op, const struct rv64_insn *operands)
{
	return op < OP__max ? rv64_assemble(&rv64_forms[op], operands) : 0;
}

uint16_t rv64_compress(const struct rv64_insn *i)
{
	for (unsigned n = OP__max; n < rv64_forms_count; n++) {
		if (rv64_forms[n].op != i->op) continue;
		struct rv64_insn o;
		uint32_t w = rv64_assemble(&rv64_forms[n], i);
		rv64_decode(&o, w);
		if (o.op == i->op && o.imm == i->imm && o.rd == i->rd && o.rs1 == i->rs1 &&
		    o.rs2 == i->rs2 && o.rs3 == i->rs3 && o.rm == i->rm)
			return (uint16_t)w;
	}
	return 0;
}
