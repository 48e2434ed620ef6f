/* Any bytes in any mode: the decoder reads no byte too much, always answers, and means by a prefix
 * of an instruction what it means by the whole. Input: mode, bytes. */
#include "base/err.h"
#include "isa/x86/x86.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct x86_insn in, again;
	if (!n || n > 64) return 0;
	enum x86_mode mode = (enum x86_mode)(*p % 3);
	enum x86_decoded got = x86_decode(&in, p + 1, n - 1, mode);
	must(got <= X86_MORE && (got != X86_MORE || n - 1 < 15));
	if (got != X86_OK) return 0;
	must(in.len >= 1 && in.len <= 15 && in.len < n && in.op && in.op < X86_OP__max &&
	     in.operands <= 4);
	must(x86_decode(&again, p + 1, in.len, mode) == X86_OK && again.form == in.form &&
	     again.imm == in.imm);
	must(x86_decode(&again, p + 1, in.len - 1u, mode) == X86_MORE);
	for (unsigned i = 0; i < in.operands; i++) must(in.o[i].kind && in.o[i].reg < 16);
	return 0;
}
