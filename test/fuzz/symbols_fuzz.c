/* Files with names of a guest's code: whatever they hold, looking up finds a name or none. */
#include "engine/symbols.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct symbols *s = symbols_new();
	struct err e = {0};
	int r = symbols_parse(s, p, n, &e);
	must((r == 0) == (symbols_count(s) != 0) && (r == 0 || e.msg[0]));
	for (size_t i = 0; i + 8 <= n && i < 512; i += 8) {
		uint64_t off = 0, va = load_le(p + i, 8);
		const char *name = symbols_find(s, va, &off);
		must(strlen(name) <= 200 && off <= va && !strpbrk(name, " \n"));
	}
	symbols_free(s);
	return 0;
}
