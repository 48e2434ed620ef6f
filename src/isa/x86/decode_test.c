/* The decoder against Zydis: any bytes, in every mode, are valid for both or for neither, equally
 * long, with the same operands. `excused` lists what we mean to do otherwise, and why. */
#include "base/test.h"
#include "base/types.h"
#include "isa/x86/random_test.h"
#include "isa/x86/x86.h"
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>

static ZydisDecoder decoder[3];

static void open_zydis(void)
{
	static const ZydisMachineMode mode[3] = {ZYDIS_MACHINE_MODE_LEGACY_16,
						 ZYDIS_MACHINE_MODE_LEGACY_32,
						 ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth width[3] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						 ZYDIS_STACK_WIDTH_64};
	for (int i = 0; i < 3; i++) {
		(void)ZydisDecoderInit(&decoder[i], mode[i], width[i]);
		/* the CPUs we are have neither */
		ZydisDecoderEnableMode(&decoder[i], ZYDIS_DECODER_MODE_KNC, false);
		ZydisDecoderEnableMode(&decoder[i], ZYDIS_DECODER_MODE_MPX, false);
		ZydisDecoderEnableMode(&decoder[i], ZYDIS_DECODER_MODE_CET, false);
		ZydisDecoderEnableMode(&decoder[i], ZYDIS_DECODER_MODE_CLDEMOTE, false);
	}
}
/* Extensions that Zydis knows and a CPU of ours does not have: #UD. */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
	switch (z->meta.isa_ext) {
	case ZYDIS_ISA_EXT_AMD3DNOW:
	case ZYDIS_ISA_EXT_AMD_INVLPGB:
	case ZYDIS_ISA_EXT_AMX_BF16:
	case ZYDIS_ISA_EXT_AMX_INT8:
	case ZYDIS_ISA_EXT_AMX_TILE:
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
	case ZYDIS_ISA_EXT_AVX_VNNI:
	case ZYDIS_ISA_EXT_CET:
	case ZYDIS_ISA_EXT_CLZERO:
	case ZYDIS_ISA_EXT_ENQCMD:
	case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_HRESET:
	case ZYDIS_ISA_EXT_KEYLOCKER:
	case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
	case ZYDIS_ISA_EXT_KNC:
	case ZYDIS_ISA_EXT_KNCE:
	case ZYDIS_ISA_EXT_KNCV:
	case ZYDIS_ISA_EXT_MCOMMIT:
	case ZYDIS_ISA_EXT_MONITORX:
	case ZYDIS_ISA_EXT_MOVDIR:
	case ZYDIS_ISA_EXT_PADLOCK:
	case ZYDIS_ISA_EXT_PCONFIG:
	case ZYDIS_ISA_EXT_PT:
	case ZYDIS_ISA_EXT_RDPRU:
	case ZYDIS_ISA_EXT_SGX:
	case ZYDIS_ISA_EXT_SGX_ENCLV:
	case ZYDIS_ISA_EXT_SNP:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_TBM:
	case ZYDIS_ISA_EXT_TDX:
	case ZYDIS_ISA_EXT_TSX_LDTRK:
	case ZYDIS_ISA_EXT_UINTR:
	case ZYDIS_ISA_EXT_VMFUNC:
	case ZYDIS_ISA_EXT_VTX:
	case ZYDIS_ISA_EXT_WAITPKG:
	case ZYDIS_ISA_EXT_XOP: return true;
	default: return false;
	}
}
static unsigned reg_id(ZydisRegister r) { return (unsigned)(ZyanU8)ZydisRegisterGetId(r); }

static bool same_reg(const struct x86_operand *o, ZydisRegister r)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(r);
	unsigned id = reg_id(r);
	switch (o->kind) {
	case X86_REG:
		if (c == ZYDIS_REGCLASS_GPR8) {
			/* Zydis numbers AH to BH 4 to 7, SPL to DIL and on from 8 */
			if (o->reg >= 4) id -= 4;
			return o->size == 1 && id == o->reg;
		}
		return id == o->reg && ((c == ZYDIS_REGCLASS_GPR16 && o->size == 2) ||
					(c == ZYDIS_REGCLASS_GPR32 && o->size == 4) ||
					(c == ZYDIS_REGCLASS_GPR64 && o->size == 8));
	case X86_HIGH: return c == ZYDIS_REGCLASS_GPR8 && id == o->reg + 4u;
	case X86_SEG: return c == ZYDIS_REGCLASS_SEGMENT && id == o->reg;
	case X86_CR: return c == ZYDIS_REGCLASS_CONTROL && id == o->reg;
	case X86_DR: return c == ZYDIS_REGCLASS_DEBUG && id == o->reg;
	case X86_MMX: return c == ZYDIS_REGCLASS_MMX && id == o->reg;
	case X86_ST: return c == ZYDIS_REGCLASS_X87 && id == o->reg;
	case X86_XMM:
		return c == (o->size == 32 ? ZYDIS_REGCLASS_YMM : ZYDIS_REGCLASS_XMM) &&
		       id == o->reg;
	default: return false;
	}
}
static bool same_base(const struct x86_insn *in, uint8_t ours, ZydisRegister r)
{
	if (ours == X86_NOREG) return r == ZYDIS_REGISTER_NONE;
	if (ours == X86_RIP) return r == (in->asize == 4 ? ZYDIS_REGISTER_EIP : ZYDIS_REGISTER_RIP);
	return r != ZYDIS_REGISTER_NONE && reg_id(r) == ours;
}
static bool same_mem(const struct x86_insn *in, const struct x86_operand *o,
		     const ZydisDecodedOperand *z)
{
	static const ZydisRegister seg[] = {ZYDIS_REGISTER_ES, ZYDIS_REGISTER_CS,
					    ZYDIS_REGISTER_SS, ZYDIS_REGISTER_DS,
					    ZYDIS_REGISTER_FS, ZYDIS_REGISTER_GS};
	int64_t disp = z->mem.disp.has_displacement ? z->mem.disp.value : 0;
	uint64_t mask = in->asize == 8 ? UINT64_MAX : (1ull << 8 * in->asize) - 1;
	if (o->size && z->size && z->size != o->size * 8u) return false;
	if (((uint64_t)disp ^ (uint64_t)in->disp) & mask) return false;
	if (z->mem.type == ZYDIS_MEMOP_TYPE_MEM && z->mem.segment != seg[in->seg]) return false;
	/* Zydis writes [disp + rsp * 1] of a SIB byte with neither as we do */
	return same_base(in, in->base, z->mem.base) && same_base(in, in->index, z->mem.index) &&
	       (in->index == X86_NOREG || z->mem.scale == in->scale);
}
static bool same_operand(const struct x86_insn *in, const struct x86_operand *o,
			 const ZydisDecodedOperand *z)
{
	unsigned size = in->o[0].size == 1 && in->operands > 1 ? 1 : in->osize;
	uint64_t mask = size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER: return same_reg(o, z->reg.value);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (o->kind == X86_SI) return reg_id(z->mem.base) == 6 && z->size == o->size * 8u;
		if (o->kind == X86_DI) return reg_id(z->mem.base) == 7 && z->size == o->size * 8u;
		return o->kind == X86_MEM && same_mem(in, o, z);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		if (o->kind == X86_IMM2) return z->imm.value.u == in->imm2;
		return (o->kind == X86_IMM || o->kind == X86_REL) &&
		       !((z->imm.value.u ^ (uint64_t)in->imm) & mask);
	case ZYDIS_OPERAND_TYPE_POINTER:
		return o->kind == X86_FAR && z->ptr.segment == in->imm2 &&
		       z->ptr.offset == (uint64_t)in->imm;
	default: return false;
	}
}
/* String instructions and such, whose operands Zydis hides: ours are among them. */
static bool is_told_otherwise(const struct x86_insn *in, const ZydisDecodedInstruction *zi)
{
	return !zi->operand_count_visible || zi->meta.isa_ext == ZYDIS_ISA_EXT_X87 ||
	       in->op == X86_OP_pblendvb || in->op == X86_OP_blendvps ||
	       in->op == X86_OP_blendvpd || in->op == X86_OP_sha256rnds2;
}
/* Operations whose operands nobody looks at, or that the manuals describe in several ways. */
static bool is_vague(const struct x86_insn *in)
{
	return in->op == X86_OP_nop || in->op == X86_OP_endbr || in->op == X86_OP_ud0 ||
	       in->op == X86_OP_ud1 || in->op == X86_OP_prefetch || in->op == X86_OP_lsl ||
	       in->op == X86_OP_vmovmskps || in->op == X86_OP_vmovmskpd ||
	       (in->op == X86_OP_movsx && in->osize == 2);
}
static const char *compare_hidden(const struct x86_insn *in, const ZydisDecodedInstruction *zi,
				  const ZydisDecodedOperand *z)
{
	for (unsigned n = 0; n < in->operands; n++) {
		unsigned i = 0;
		while (i < zi->operand_count && !same_operand(in, &in->o[n], &z[i])) i++;
		if (i == zi->operand_count) return "no such hidden operand";
	}
	return 0;
}
static const char *compare_operands(const struct x86_insn *in, const ZydisDecodedInstruction *zi,
				    const ZydisDecodedOperand *z)
{
	unsigned n = 0;
	if (is_told_otherwise(in, zi)) return compare_hidden(in, zi, z);
	for (unsigned i = 0; i < zi->operand_count; i++) {
		if (z[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) continue;
		if (n == in->operands) return "fewer operands";
		if (!same_operand(in, &in->o[n++], &z[i])) return "another operand";
	}
	return n == in->operands ? 0 : "more operands";
}
/* Zydis 4.0 gives [disp32 + index] a base of r13d when REX.B is set and addresses have 32 bits. The
 * manual (vol. 2, table 2-3) and CPUs do not look at REX.B where there is no base. */
static bool has_no_base(const struct x86_insn *in)
{
	return in->mode == X86_64 && in->asize == 4 && in->has_mem && in->base == X86_NOREG &&
	       in->rex & 1;
}
/* 0, or how we differ. */
static const char *compare(const uint8_t *code, size_t len, unsigned mode, struct x86_insn *in,
			   ZydisDecodedInstruction *zi)
{
	ZydisDecodedOperand z[ZYDIS_MAX_OPERAND_COUNT];
	enum x86_decoded got = x86_decode(in, code, len, (enum x86_mode)mode);
	ZyanStatus st = ZydisDecoderDecodeFull(&decoder[mode], code, len, zi, z);
	if (ZYAN_SUCCESS(st)) {
		if (got == X86_BAD && is_foreign(zi)) return 0;
		if (got == X86_BAD) return "illegal for us";
		if (got == X86_MORE) return is_foreign(zi) ? 0 : "cut short for us";
		if (got == X86_LONG) return "too long for us";
		if (zi->length != in->len) return "another length";
		return is_vague(in) || has_no_base(in) ? 0 : compare_operands(in, zi, z);
	}
	zi->mnemonic = 0;
	if (got == X86_OK) return "legal for us";
	if (st == ZYDIS_STATUS_NO_MORE_DATA && got == X86_LONG) return "long";
	if (st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG && got != X86_LONG && got != X86_BAD)
		return "not too long for us";
	return 0;
}

/* Any bytes, or, more likely to mean something, with bytes in front that open doors. */
static void make_bytes(uint8_t *b)
{
	static const uint8_t door[] = {0x0f, 0x66, 0xf2, 0xf3, 0xc4, 0xc5,
				       0x48, 0x67, 0xf0, 0x62, 0x8f, 0x41};
	for (int k = 0; k < 16; k++) b[k] = (uint8_t)next();
	for (int k = 0; k < 14 && next() % 3 == 0; k++) b[k] = door[next() % sizeof door];
}
static void report(const char *how, const uint8_t *b, unsigned mode, const struct x86_insn *in)
{
	char text[128], *to = text;
	to += sprintf(to, "%s: mode %u, %s:", how, mode, x86_op_info((enum x86_op)in->op)->name);
	for (int i = 0; i < 15; i++) to += sprintf(to, " %02x", b[i]);
	test_fail(text, __FILE__, __LINE__);
}
TEST(x86_decodes_as_zydis)
{
	unsigned failed = 0;
	long cases = getenv("LONG") ? 40000000 : 400000;
	seed = 42;
	open_zydis();
	for (long i = 0; i < cases && failed < 10; i++) {
		uint8_t b[16];
		unsigned mode = (unsigned)(next() % 3);
		size_t len = next() % 16 ? 16 : next() % 17;
		struct x86_insn in;
		ZydisDecodedInstruction zi;
		if (i & 1)
			make_bytes(b);
		else if (!x86_form_bytes(1 + (unsigned)(next() % (x86_form_count() - 1)),
					 (enum x86_mode)mode, b, next))
			continue;
		const char *how = compare(b, len, mode, &in, &zi);
		if (how) failed++, report(how, b, mode, &in);
	}
}
/* Every line of the table is reached, by its own op, in some mode; and fewer bytes are too few. */
TEST(x86_decodes_every_line)
{
	seed = 1;
	for (unsigned f = 1; f < x86_form_count(); f++) {
		unsigned reached = 0;
		for (int i = 0; i < 400; i++) {
			uint8_t b[16];
			struct x86_insn in, cut;
			enum x86_mode mode = (enum x86_mode)(next() % 3);
			if (!x86_form_bytes(f, mode, b, next) ||
			    x86_decode(&in, b, 16, mode) != X86_OK)
				continue;
			if (in.form != f) continue;
			CHECK(in.op == x86_form_op(f) && in.len <= 15);
			size_t n = next() % in.len;
			uint8_t *exact = malloc(n ? n : 1); /* sanitizers see a byte too much */
			memcpy(exact, b, n);
			CHECK(x86_decode(&cut, exact, n, mode) == X86_MORE);
			free(exact);
			reached++;
		}
		if (!reached) test_fail(x86_op_info(x86_form_op(f))->name, __FILE__, (int)f);
	}
}
TEST(x86_knows_the_longest)
{
	struct x86_insn in;
	uint8_t b[64];
	memset(b, 0x66, sizeof b);
	CHECK(x86_decode(&in, b, sizeof b, X86_64) == X86_LONG);
	CHECK(x86_decode(&in, b, 15, X86_64) == X86_LONG);
	CHECK(x86_decode(&in, b, 14, X86_64) == X86_MORE);
	b[14] = 0x90;
	CHECK(x86_decode(&in, b, 15, X86_64) == X86_OK && in.len == 15 && in.op == X86_OP_nop);
	CHECK(x86_decode(&in, b, 14, X86_64) == X86_MORE);
	b[14] = 0x04; /* add al, ib: one byte too many */
	CHECK(x86_decode(&in, b, 16, X86_64) == X86_LONG);
	CHECK(x86_decode(&in, b, 0, X86_64) == X86_MORE);
}
