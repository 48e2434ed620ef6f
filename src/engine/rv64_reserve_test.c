#include "base/test.h"
#include "engine/rv64_reserve.h"
#include "isa/rv64/rv64.h"

static uint8_t code[256];
static size_t put(size_t at, enum rv64_op op, unsigned rd, unsigned rs1, unsigned rs2, int imm)
{
	struct rv64_insn i = {
		.imm = imm, .rd = (uint8_t)rd, .rs1 = (uint8_t)rs1, .rs2 = (uint8_t)rs2};
	store_le(&code[at], rv64_encode(op, &i), 4);
	return at + 4;
}

/* As compilers make it: lr; bne out; sc; bnez again; out: a load, and return. */
static size_t compare_and_swap(size_t at)
{
	at = put(at, OP_lr_d, 10, 11, 0, 0);
	at = put(at, OP_bne, 0, 10, 12, 12);
	at = put(at, OP_sc_d, 13, 11, 14, 0);
	at = put(at, OP_bne, 0, 13, 0, -12);
	at = put(at, OP_ld, 10, 15, 0, 0);
	return put(at, OP_jalr, 0, 1, 0, 0);
}

TEST(lr_is_close_where_values_tell)
{
	size_t end = compare_and_swap(0);
	CHECK(rv64_lr_way(code, 0, end) == LR_CLOSE);
	CHECK(rv64_lr_way(code, 0, 12) == LR_CLOSE); /* what is cut off is the way out */
	CHECK(rv64_lr_way(code, 0, 8) == LR_UNKNOWN);
	CHECK(rv64_lr_way(code, 0, 4) == LR_UNKNOWN);
	(void)put(8, OP_fence, 0, 0, 0, 0x33);
	(void)put(12, OP_sc_d, 13, 11, 14, 0);
	CHECK(rv64_lr_way(code, 0, end) == LR_CLOSE);
}

TEST(lr_is_far_where_something_is_seen)
{
	static const enum rv64_op seen[] = {OP_ld, OP_sd, OP_amoadd_d, OP_csrrs, OP_fld, OP_ecall};
	for (size_t k = 0; k < COUNT(seen); k++) {
		size_t at = put(0, OP_lr_d, 10, 11, 0, 0);
		at = put(at, seen[k], 12, 13, seen[k] == OP_ecall ? 0 : 14, 0);
		at = put(at, OP_sc_d, 13, 11, 14, 0);
		CHECK(rv64_lr_way(code, 0, at) == LR_FAR);
	}
	size_t at = put(0, OP_lr_d, 10, 11, 0, 0);
	at = put(at, OP_jal, 1, 0, 0, 64); /* a call */
	at = put(at, OP_sc_d, 13, 11, 14, 0);
	CHECK(rv64_lr_way(code, 0, at) == LR_FAR);
	at = put(0, OP_lr_d, 10, 11, 0, 0); /* a function of its own */
	at = put(at, OP_jalr, 0, 1, 0, 0);
	CHECK(rv64_lr_way(code, 0, at) == LR_FAR);
	at = put(0, OP_lr_d, 10, 11, 0, 0); /* on one of two ways */
	at = put(at, OP_beq, 0, 10, 0, 8);
	at = put(at, OP_ld, 12, 10, 0, 0);
	at = put(at, OP_sc_d, 13, 11, 12, 0);
	CHECK(rv64_lr_way(code, 0, at) == LR_FAR);
}
