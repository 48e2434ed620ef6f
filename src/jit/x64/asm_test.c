#include "base/test.h"
#include "base/types.h"
#include "jit/x64/asm.h"
#include <Zydis/Zydis.h>
#include <stdio.h>

/* Zydis reads what we write: the same mnemonic, registers and memory, and not a byte more. */
static struct {
	ZydisDecodedInstruction in;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t code[64];
	struct x64_asm a;
} got;

static void begin(bool avx) { got.a = (struct x64_asm){got.code, avx}; }
static bool decode(ZydisMnemonic m)
{
	ZydisDecoder d;
	ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	size_t len = (size_t)(got.a.p - got.code);
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, got.code, len, &got.in, got.op)) &&
	       got.in.length == len && got.in.mnemonic == m;
}
static bool is_reg(unsigned n, ZydisRegisterClass c, unsigned r)
{
	const ZydisDecodedOperand *o = &got.op[n];
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       o->reg.value == ZydisRegisterEncode(c, (ZyanU8)r);
}
static bool is_gpr(unsigned n, uint32_t w, unsigned r)
{
	return is_reg(n, w ? ZYDIS_REGCLASS_GPR64 : ZYDIS_REGCLASS_GPR32, r);
}
static ZydisRegister r64(unsigned r)
{
	return r == NOREG ? ZYDIS_REGISTER_NONE
			  : ZydisRegisterEncode(ZYDIS_REGCLASS_GPR64, (ZyanU8)r);
}
static bool is_rm(unsigned n, struct rm m)
{
	const ZydisDecodedOperand *o = &got.op[n];
	if (o->type != ZYDIS_OPERAND_TYPE_MEMORY) return false;
	if (m.base == NOREG)
		return o->mem.base == ZYDIS_REGISTER_RIP &&
		       got.a.p + o->mem.disp.value == (const uint8_t *)m.at;
	return o->mem.base == r64(m.base) && o->mem.index == r64(m.index) &&
	       (m.index == NOREG || o->mem.scale == 1 << m.scale) &&
	       (o->mem.disp.has_displacement ? o->mem.disp.value : 0) == m.disp;
}

/* Every base, index, scale and size of displacement. */
static void each_memory(void (*check)(struct rm m))
{
	static const int32_t disp[] = {0, 1, -128, 127, 128, -129, INT32_MAX, INT32_MIN};
	for (unsigned base = 0; base < 16; base++)
		for (unsigned d = 0; d < COUNT(disp); d++) {
			check(rm_mem(base, disp[d]));
			for (unsigned index = 0; index < 16; index++)
				if (index != RSP)
					check(rm_index(base, index, (base + d) & 3, disp[d]));
		}
	check(rm_at(got.code + 1000));
	check(rm_at(got.code - 1000));
}

static void check_memory(struct rm m)
{
	static bool ok;
	ok = true;
	for (unsigned r = 0; r < 16; r += 3) {
		begin(true);
		mov_load(&got.a, OP_W, r, m);
		ok &= decode(ZYDIS_MNEMONIC_MOV) && is_gpr(0, OP_W, r) && is_rm(1, m);
		begin(true);
		op_rm(&got.a, OP(0, 1, 0xb6) + OP_BYTE, r, m, 0);
		ok &= decode(ZYDIS_MNEMONIC_MOVZX) && is_gpr(0, 0, r) && is_rm(1, m);
		begin(true);
		alu_imm(&got.a, ALU_CMP, r & 1 ? OP_W : 0, m, 1000);
		ok &= decode(ZYDIS_MNEMONIC_CMP) && is_rm(0, m) && got.op[1].imm.value.s == 1000;
		begin(true);
		mov_store_imm(&got.a, 1u << r % 4, m, -5);
		ok &= decode(ZYDIS_MNEMONIC_MOV) && is_rm(0, m) && got.op[0].size == 8u << r % 4 &&
		      got.op[1].imm.value.s == -5;
		for (unsigned avx = 0; avx < 2; avx++) {
			begin(avx);
			vec2(&got.a, OP(0xf2, 1, 0x10), r, m);
			ok &= decode(avx ? ZYDIS_MNEMONIC_VMOVSD : ZYDIS_MNEMONIC_MOVSD) &&
			      is_reg(0, ZYDIS_REGCLASS_XMM, r) && is_rm(1, m);
		}
		begin(true);
		vex_rm(&got.a, OP(0xf2, 3, 0xf0) + OP_W, r, 0, m, 1);
		put8(&got.a, 7);
		ok &= decode(ZYDIS_MNEMONIC_RORX) && is_gpr(0, OP_W, r) && is_rm(1, m);
	}
	CHECK(ok);
}

TEST(asm_memory) { each_memory(check_memory); }

static const struct {
	ZydisMnemonic m;
	uint32_t op;
} pairs[] = {
	{ZYDIS_MNEMONIC_ADD, OP(0, 0, 0x03)},	    {ZYDIS_MNEMONIC_IMUL, OP(0, 1, 0xaf)},
	{ZYDIS_MNEMONIC_LZCNT, OP(0xf3, 1, 0xbd)},  {ZYDIS_MNEMONIC_TZCNT, OP(0xf3, 1, 0xbc)},
	{ZYDIS_MNEMONIC_POPCNT, OP(0xf3, 1, 0xb8)}, {ZYDIS_MNEMONIC_CMOVZ, OP(0, 1, 0x44)},
	{ZYDIS_MNEMONIC_MOV, OP(0, 0, 0x8b)},
};

TEST(asm_registers)
{
	bool ok = true;
	for (unsigned n = 0; n < 256; n++) {
		unsigned d = n & 15, s = n >> 4;
		for (unsigned k = 0; k < COUNT(pairs); k++)
			for (uint32_t w = 0; w <= OP_W; w += OP_W) {
				begin(true);
				op_rr(&got.a, pairs[k].op + w, d, s);
				ok &= decode(pairs[k].m) && is_gpr(0, w, d) && is_gpr(1, w, s);
			}
		begin(true);
		op_rr(&got.a, OP(0, 1, 0xbe) + OP_W + OP_BYTE, d, s);
		ok &= decode(ZYDIS_MNEMONIC_MOVSX) && is_gpr(0, OP_W, d) &&
		      got.op[1].reg.value == (s < 4   ? ZYDIS_REGISTER_AL + s
					      : s < 8 ? ZYDIS_REGISTER_SPL + s - 4
						      : ZYDIS_REGISTER_R8B + s - 8);
		begin(true);
		vex_rm(&got.a, OP(0x66, 2, 0xb9) + OP_W, d, s, rm_reg(15 - d), 0);
		ok &= decode(ZYDIS_MNEMONIC_VFMADD231SD) && is_reg(0, ZYDIS_REGCLASS_XMM, d) &&
		      is_reg(1, ZYDIS_REGCLASS_XMM, s) && is_reg(2, ZYDIS_REGCLASS_XMM, 15 - d);
		begin(true);
		vex_rm(&got.a, OP(0xf2, 2, 0xf7) + OP_W, d, s, rm_reg(15 - s), 0);
		ok &= decode(ZYDIS_MNEMONIC_SHRX) && is_gpr(0, OP_W, d) &&
		      is_gpr(1, OP_W, 15 - s) && is_gpr(2, OP_W, s);
		begin(true);
		vec(&got.a, OP(0xf2, 1, 0x58), d, s, rm_reg(3));
		ok &= decode(ZYDIS_MNEMONIC_VADDSD) && is_reg(0, ZYDIS_REGCLASS_XMM, d) &&
		      is_reg(1, ZYDIS_REGCLASS_XMM, s) && is_reg(2, ZYDIS_REGCLASS_XMM, 3);
		begin(true);
		vec2(&got.a, OP(0x66, 1, 0x7e) + OP_W, d, rm_reg(s));
		ok &= decode(ZYDIS_MNEMONIC_VMOVQ) && is_gpr(0, OP_W, s) &&
		      is_reg(1, ZYDIS_REGCLASS_XMM, d);
	}
	CHECK(ok);
}

TEST(asm_constants)
{
	static const uint64_t k[] = {
		0,     1,	   0x7fffffff,	       0x80000000,	  0xffffffff,
		~0ull, 1ull << 32, 0xffffffff80000000, 0x123456789abcdef0};
	for (unsigned r = 0; r < 16; r++)
		for (unsigned n = 0; n < COUNT(k); n++) {
			begin(false);
			mov_imm(&got.a, r, k[n]);
			CHECK(decode(ZYDIS_MNEMONIC_MOV) &&
			      is_gpr(0, got.op[0].size == 64 ? OP_W : 0, r));
			CHECK(got.op[1].imm.is_signed || got.op[1].size < 64
				      ? (uint64_t)got.op[1].imm.value.s == k[n] ||
						(got.op[0].size == 32 &&
						 (uint32_t)got.op[1].imm.value.u == k[n])
				      : got.op[1].imm.value.u == k[n]);
			for (unsigned by = 1; by < 64; by += 13) {
				begin(false);
				shift_imm(&got.a, SH_SAR, OP_W, r, by);
				CHECK(decode(ZYDIS_MNEMONIC_SAR) && is_gpr(0, OP_W, r) &&
				      got.op[1].imm.value.u == by);
			}
		}
}

static bool lands(ZydisMnemonic m, const uint8_t *at)
{
	return decode(m) && got.a.p + got.op[0].imm.value.s == at;
}

TEST(asm_jumps)
{
	static const int far[] = {0, 2, -126, 100, 129, 130, -127, 5000, -100000};
	for (unsigned n = 0; n < COUNT(far); n++) {
		const uint8_t *at = got.code + far[n];
		begin(false);
		jump_to(&got.a, at);
		CHECK(lands(ZYDIS_MNEMONIC_JMP, at));
		begin(false);
		jcc_to(&got.a, CC_BE, at);
		CHECK(lands(ZYDIS_MNEMONIC_JBE, at));
		begin(false);
		call_to(&got.a, at);
		CHECK(lands(ZYDIS_MNEMONIC_CALL, at));
		begin(false);
		set_rel32(jcc_later(&got.a, CC_G), at);
		CHECK(lands(ZYDIS_MNEMONIC_JNLE, at));
	}
}
