/* What operations say that they use and change, against what Zydis says: registers, memory, flags.
 * Only saying too little can hurt whoever moves or drops instructions, so that is what must not be.
 */
#include "base/test.h"
#include "base/types.h"
#include "isa/x86/random_test.h"
#include "isa/x86/step.h"
#include <Zydis/Zydis.h>
#include <stdio.h>

enum { READS = ZYDIS_OPERAND_ACTION_MASK_READ, WRITES = ZYDIS_OPERAND_ACTION_MASK_WRITE };

static bool is_gpr(ZydisRegister r)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(r);
	return c == ZYDIS_REGCLASS_GPR8 || c == ZYDIS_REGCLASS_GPR16 || c == ZYDIS_REGCLASS_GPR32 ||
	       c == ZYDIS_REGCLASS_GPR64;
}
/* Registers and memory that an instruction reads or writes by itself: bits 0 to 15, 16 for memory.
 */
struct uses {
	unsigned reads, writes;
};
static void add(struct uses *u, unsigned bit, bool reads, bool writes)
{
	if (reads) u->reads |= 1u << bit;
	if (writes) u->writes |= 1u << bit;
}
static unsigned full_number(ZydisRegister r)
{
	r = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
	return (unsigned)(ZyanU8)ZydisRegisterGetId(r) & 15;
}
static struct uses uses_of_zydis(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *z)
{
	struct uses u = {0};
	for (unsigned i = 0; i < zi->operand_count; i++) {
		bool reads = z[i].actions & READS, writes = z[i].actions & WRITES;
		bool is_stack = z[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
				z[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
		if (z[i].type == ZYDIS_OPERAND_TYPE_REGISTER && is_gpr(z[i].reg.value))
			add(&u, full_number(z[i].reg.value), reads, writes);
		if (z[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    z[i].mem.type == ZYDIS_MEMOP_TYPE_MEM && !is_stack)
			add(&u, 16, reads, writes);
	}
	return u;
}
static struct uses our_uses(const struct x86_insn *in)
{
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	struct uses u = {info->reads_r, info->writes_r};
	for (unsigned i = 0; i < in->operands; i++) {
		const struct x86_operand *o = &in->o[i];
		bool reads = info->reads_o >> i & 1, writes = info->writes_o >> i & 1;
		if (o->kind == X86_REG) add(&u, o->reg, reads, writes);
		if (o->kind == X86_HIGH) add(&u, o->reg, reads, writes);
		if (o->kind == X86_MEM) add(&u, 16, reads, writes);
	}
	return u;
}
/* Operations whose operands are only addresses, or nothing; and REP, that tests a ZF of its own. */
static bool is_vague(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_nop:
	case X86_OP_endbr:
	case X86_OP_prefetch:
	case X86_OP_ud0:
	case X86_OP_ud1:
	case X86_OP_invlpg:
	case X86_OP_clflush:
	case X86_OP_clflushopt:
	case X86_OP_clwb: return true;
	default: return (in->op == X86_OP_cmps || in->op == X86_OP_scas) && in->rep;
	}
}
static const char *compare(const uint8_t *b, const struct x86_insn *in, const ZydisDecoder *d)
{
	static const unsigned known = X86_ARITH | X86_DF;
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand z[ZYDIS_MAX_OPERAND_COUNT];
	if (is_vague(in) || ZYAN_FAILED(ZydisDecoderDecodeFull(d, b, 16, &zi, z))) return 0;
	struct uses theirs = uses_of_zydis(&zi, z), ours = our_uses(in);
	if (theirs.reads & ~ours.reads) return "reads";
	if (theirs.writes & ~ours.writes) return "writes";
	if (!zi.cpu_flags) return 0;
	const ZydisAccessedFlags *f = zi.cpu_flags;
	if (f->tested & known & ~(unsigned)info->reads) return "reads flags";
	if ((f->modified | f->set_0 | f->set_1 | f->undefined) & known &
	    ~(info->writes | (unsigned)info->undefines))
		return "writes flags";
	return 0;
}
TEST(x86_uses_what_zydis_says)
{
	ZydisDecoder d;
	unsigned failed = 0;
	(void)ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_MPX, false);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CET, false);
	seed = 3;
	for (unsigned f = 1; f < x86_form_count(); f++)
		for (int i = 0; i < 40 && failed < 20; i++) {
			uint8_t b[16];
			struct x86_insn in;
			char text[96];
			if (!x86_form_bytes(f, X86_64, b, next) ||
			    x86_decode(&in, b, 16, X86_64) != X86_OK)
				continue;
			const char *how = compare(b, &in, &d);
			if (!how) continue;
			sprintf(text, "%s: %s, %02x %02x %02x %02x %02x",
				x86_op_info((enum x86_op)in.op)->name, how, b[0], b[1], b[2], b[3],
				b[4]);
			test_fail(text, __FILE__, __LINE__);
			failed++;
			break;
		}
}
