/* Files and kernels with names of a guest's code: whatever they hold, looking up finds a name or
 * none. The first byte says which; a kernel's names are right but for some bytes. */
#include "engine/kallsyms_test.h"
#include "engine/symbols.h"

static int parse_kernel(struct symbols *s, const uint8_t *p, size_t n, struct err *e)
{
	auto_buf struct buf b = {0};
	kallsyms_image(&b, 1 + p[0], p[1] & 1);
	for (p += 2, n -= 2; n >= 4; p += 4, n -= 4) b.at[load_le(p, 3) % b.len] = (char)p[3];
	return symbols_image(s, b.at, b.len, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct symbols *s = symbols_new();
	struct err e = {0};
	int r = n > 2 && p[0] == 'K' ? parse_kernel(s, p + 1, n - 1, &e)
				     : symbols_parse(s, p, n, &e);
	must((r == 0) == (symbols_count(s) != 0) && (r == 0 || e.msg[0]));
	for (size_t i = 0; i + 8 <= n && i < 512; i += 8) {
		uint64_t off = 0, va = load_le(p + i, 8);
		const char *name = symbols_find(s, va, &off);
		must(strlen(name) <= 200 && off <= va && !strpbrk(name, " \n"));
	}
	symbols_free(s);
	return 0;
}
