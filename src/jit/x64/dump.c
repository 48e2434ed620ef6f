/* Why: to see what was made of a loop. Zydis prints it. */
#include "jit/impl.h"
#include <Zydis/Zydis.h>
#include <inttypes.h>

void jit_host_dump(const struct jit_cache *c, const uint8_t *code, size_t len, FILE *out)
{
	ZydisDisassembledInstruction i;
	(void)c;
	for (size_t at = 0; at < len; at += i.info.length) {
		if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, at, code + at,
							len - at, &i))) {
			fprintf(out, "%6zx  ?\n", at);
			return;
		}
		fprintf(out, "%6zx  %s\n", at, i.text);
	}
}
