/* Why: to see what was made of a loop. Zydis prints it. */
#include "jit/x64/dump.h"
#include "jit/impl.h"
#include <Zydis/Zydis.h>
#include <inttypes.h>

size_t x64_dump_insn(const uint8_t *code, size_t len, uint64_t at, FILE *out)
{
	ZydisDisassembledInstruction i;
	bool good =
		ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, at, code, len, &i));
	fprintf(out, "%6" PRIx64 "  %s\n", at, good ? i.text : "?");
	return good ? i.info.length : 0;
}

void jit_host_dump(const struct jit_cache *c, const uint8_t *code, size_t len, FILE *out)
{
	(void)c;
	for (size_t at = 0, n = 1; n && at < len; at += n)
		n = x64_dump_insn(code + at, len - at, at, out);
}
