/* Text of units. What parses and is a unit prints, and is read back as the same; cleaned, it is
 * still a unit. */
#include "base/own.h"
#include "ir/ir.h"
#include <string.h>

static char *text_of(const struct ir_fn *f)
{
	char *s = NULL;
	size_t n;
	FILE *out = open_memstream(&s, &n);
	must(out);
	ir_print(f, out);
	(void)fclose(out);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ir_slot slots[] = {
		{0, 8, false, "x1"}, {8, 8, true, "f1"}, {16, 4, false, "w"}, {20, 1, false, NULL}};
	static struct ir_fn *f;
	struct err e = {0};
	auto_mem char *text = strndup((const char *)data, size);
	if (!f) f = ir_new(slots, 4);
	ir_reset(f);
	int r = ir_parse(f, text, &e);
	must(r == 0 || (r == e.code && e.msg[0]));
	if (r < 0 || ir_verify(f, &e) < 0) return 0;
	auto_mem char *first = text_of(f);
	ir_reset(f);
	must(ir_parse(f, first, &e) == 0 && ir_verify(f, &e) == 0);
	auto_mem char *second = text_of(f);
	must(!strcmp(first, second));
	ir_clean(f);
	must(ir_verify(f, &e) == 0);
	return 0;
}
