/* What people want to read of a CPU. Not for anything that runs code: x86's text is Zydis', a
 * second opinion beside our own decoder. */
#include "engine/inspect.h"
#include "isa/rv64/rv64.h"
#include <Zydis/Zydis.h>
#include <stdio.h>

const char *inspect_csr(unsigned csr) { return rv64_csr_name(csr); }

const char *inspect_register(enum arch arch, unsigned i)
{
	static const char *const x86[33] = {"rax", "rcx", "rdx", "rbx", "rsp",		"rbp",
					    "rsi", "rdi", "r8",	 "r9",	"r10",		"r11",
					    "r12", "r13", "r14", "r15", [32] = "rflags"};
	if (arch == ARCH_RV64) return i < 64 ? rv64_register_name(i) : NULL;
	return i < COUNT(x86) ? x86[i] : NULL;
}

static unsigned rv64_text(gva_t pc, const uint8_t *code, size_t n, char *to, size_t room)
{
	struct rv64_insn i;
	if (n >= 2) {
		unsigned len = (code[0] & 3) == 3 ? 4 : 2;
		if (len > n) len = 2;
		uint32_t word = (uint32_t)load_le(code, len);
		rv64_decode(&i, word);
		if (i.op) {
			(void)rv64_format(to, room, &i, pc);
			return len;
		}
	}
	(void)snprintf(to, room, ".half 0x%04x", n >= 2 ? (unsigned)load_le(code, 2) : 0);
	return 0;
}

static unsigned x86_text(unsigned bits, gva_t pc, const uint8_t *code, size_t n, char *to,
			 size_t room)
{
	ZydisMachineMode mode = bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
				: bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32
					     : ZYDIS_MACHINE_MODE_REAL_16;
	ZydisDisassembledInstruction i;
	if (n && ZYAN_SUCCESS(ZydisDisassembleIntel(mode, pc, code, n, &i))) {
		(void)snprintf(to, room, "%s", i.text);
		return i.info.length;
	}
	(void)snprintf(to, room, ".byte 0x%02x", n ? code[0] : 0);
	return 0;
}

unsigned inspect_instruction(enum arch arch, unsigned bits, gva_t pc, const uint8_t *code, size_t n,
			     char *to, size_t room)
{
	return arch == ARCH_RV64 ? rv64_text(pc, code, n, to, room)
				 : x86_text(bits, pc, code, n, to, room);
}
