/* Any bits decode to something sane, print within their room, and come back from the encoder. */
#include "base/err.h"
#include "base/types.h"
#include "isa/isa.h"
#include "isa/rv64/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t meaningful_bits(const struct rv64_form *f)
{
	uint32_t mask = f->info.mask;
	for (unsigned i = 0; i < f->pieces; i++)
		mask |= (uint32_t)((1ull << f->piece[i].len) - 1) << f->piece[i].pos;
	return mask;
}
static bool same(const struct rv64_insn *a, const struct rv64_insn *b)
{
	return a->op == b->op && a->imm == b->imm && a->rd == b->rd && a->rs1 == b->rs1 &&
	       a->rs2 == b->rs2 && a->rs3 == b->rs3 && a->rm == b->rm;
}
static void check(uint32_t w, uint64_t pc)
{
	struct rv64_insn i, back;
	char text[64], little[8] = "-------";
	rv64_decode(&i, w);
	must(i.op < OP__max && i.len == ((w & 3) == 3 ? 4 : 2));
	must(i.rd < 32 && i.rs1 < 32 && i.rs2 < 32 && i.rs3 < 32 && i.rm < 8);
	int n = rv64_format(text, sizeof(text), &i, pc);
	must(n > 0 && (size_t)n < sizeof(text) && strlen(text) == (size_t)n);
	must(rv64_format(little, 5, &i, pc) == n && strlen(little) <= 4 && !little[7]);
	if (i.op == OP_illegal) return;
	if (i.op == OP_fence && i.imm == 0x10) return; /* pause but for don't-care bits */
	uint32_t e = rv64_encode((enum rv64_op)i.op, &i);
	rv64_decode(&back, e);
	must(same(&i, &back));
	if (i.len == 4) {
		must(!((e ^ w) & meaningful_bits(&rv64_forms[i.op])));
	} else {
		rv64_decode(&back, rv64_compress(&i));
		must(back.len == 2 && same(&i, &back));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[64];
	for (size_t at = 0; at + 2 <= size; at += 2) {
		size_t left = size - at < 4 ? size - at : 4;
		check((uint32_t)load_le(data + at, (unsigned)left == 3 ? 2 : (unsigned)left), at);
		int len = isa_rv64.format(text, sizeof(text), data + at, left, at);
		must(len == 0 || len == 2 || (len == 4 && left == 4));
	}
	return 0;
}
