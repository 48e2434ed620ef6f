#include "base/test.h"
#include "isa/rv64/form.h"
#include <string.h>

static struct rv64_insn decode(uint32_t w)
{
	struct rv64_insn i;
	memset(&i, 0xa5, sizeof(i));
	rv64_decode(&i, w);
	return i;
}
static bool is(uint32_t w, enum rv64_op op, unsigned rd, unsigned rs1, unsigned rs2, int32_t imm)
{
	struct rv64_insn i = decode(w);
	return i.op == op && i.rd == rd && i.rs1 == rs1 && i.rs2 == rs2 && i.imm == imm;
}

TEST(immediates_of_every_layout)
{
	CHECK(is(0xfff58513, OP_addi, 10, 11, 0, -1));
	CHECK(is(0x80000537, OP_lui, 10, 0, 0, INT32_MIN));
	CHECK(is(0xfea5bc23, OP_sd, 0, 11, 10, -8));
	CHECK(is(0xfeb50ee3, OP_beq, 0, 10, 11, -4));
	CHECK(is(0x800000ef, OP_jal, 1, 0, 0, -0x100000));
	CHECK(is(0x03f51513, OP_slli, 10, 10, 0, 63));
	CHECK(is(0xc0002573, OP_csrrs, 10, 0, 0, 0xc00));
}
TEST(compressed_forms_become_their_ops)
{
	CHECK(is(0x1141, OP_addi, 2, 2, 0, -16));
	CHECK(is(0x8082, OP_jalr, 0, 1, 0, 0));
	CHECK(is(0x7139, OP_addi, 2, 2, 0, -64));
	CHECK(is(0xfc06, OP_sd, 0, 2, 1, 56));
	CHECK(is(0x852e, OP_add, 10, 0, 11, 0));
	CHECK(is(0x9002, OP_ebreak, 0, 0, 0, 0));
	CHECK(decode(0xffff1141).len == 2 && decode(0xffff1141).raw == 0x1141);
}
TEST(zcb_becomes_its_ops) /* objdump 2.40 cannot tell */
{
	CHECK(is(0x9d61, OP_andi, 10, 10, 0, 255));
	CHECK(is(0x9d65, OP_sext_b, 10, 10, 0, 0));
	CHECK(is(0x9d69, OP_zext_h, 10, 10, 0, 0));
	CHECK(is(0x9d6d, OP_sext_h, 10, 10, 0, 0));
	CHECK(is(0x9d71, OP_add_uw, 10, 10, 0, 0));
	CHECK(is(0x9d75, OP_xori, 10, 10, 0, -1));
	CHECK(is(0x9d4d, OP_mul, 10, 10, 11, 0));
	CHECK(is(0x8148, OP_lbu, 10, 10, 0, 1));
	CHECK(is(0x8128, OP_lbu, 10, 10, 0, 2));
	CHECK(is(0x8568, OP_lh, 10, 10, 0, 2));
	CHECK(is(0x8528, OP_lhu, 10, 10, 0, 2));
	CHECK(is(0x896c, OP_sb, 0, 10, 11, 3));
	CHECK(is(0x8d2c, OP_sh, 0, 10, 11, 2));
	CHECK(is(0x6081, OP_addi, 0, 0, 0, 0)); /* c.mop.1 */
}
TEST(reserved_bits_are_illegal)
{
	static const uint32_t bad[] = {0,	  0xffffffff, 0x0004 /* c.addi4spn 0 */,
				       0x2001,	  0x6401,     0x6101, /* c.lui 0, c.addi16sp 0 */
				       0x4002,	  0x6002,     0x8002, /* c.lwsp, c.ldsp, c.jr x0 */
				       0x9c79,	  0x0000006b, 0x1015252f /* lr.w with rs2 */,
				       0x0205151b /* slliw by 32 */};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(decode(bad[i]).op == OP_illegal);
	CHECK(decode(0x02051513).op == OP_slli);
}
TEST(specialisations_win)
{
	CHECK(decode(0x0100000f).op == OP_pause);
	CHECK(decode(0x0ff0000f).op == OP_fence);
	CHECK(decode(0x8330000f).op == OP_fence_tso);
	CHECK(decode(0x9330000f).op == OP_fence);
	CHECK(decode(0x00056013).op == OP_prefetch_i);
	CHECK(decode(0x00256013).op == OP_ori);
}
static uint32_t scramble(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	return *x ^= *x << 5;
}
TEST(encoding_gives_back_what_was_decoded)
{
	uint32_t seed = 1;
	for (unsigned n = 1; n < rv64_forms_count; n++)
		for (int k = 0; k < 200; k++) {
			const struct rv64_form *f = &rv64_forms[n];
			uint32_t w = (scramble(&seed) & ~f->info.mask) | f->info.match;
			if (f->info.len == 2) w &= 0xffff;
			if (rv64_form_of(w) != n) continue; /* a specialisation or reserved */
			struct rv64_insn i = decode(w), j;
			CHECK(i.op == f->op && i.len == f->info.len);
			j = decode(rv64_encode((enum rv64_op)i.op, &i));
			CHECK(j.op == i.op && j.rd == i.rd && j.rs1 == i.rs1 && j.rs2 == i.rs2);
			CHECK(j.rs3 == i.rs3 && j.rm == i.rm && j.imm == i.imm && j.len == 4);
			if (f->info.len == 2) CHECK(decode(rv64_compress(&i)).op == i.op);
		}
}
TEST(nothing_compresses_wrongly)
{
	struct rv64_insn i = {.op = OP_addi, .rd = 1, .rs1 = 2, .imm = 5};
	CHECK(!rv64_compress(&i));
	i.rs1 = 1;
	CHECK(rv64_compress(&i) == 0x0095);
	i.imm = 32;
	CHECK(!rv64_compress(&i));
}
