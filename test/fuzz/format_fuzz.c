/* --format and what guests wrote, on its way to a terminal: whatever the template, and whatever the
 * bytes, nothing but text comes out. */
#include "cli/format.h"
#include "cli/plain.h"
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void only_text(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		must((c >= ' ' && c != 127) || c == '\n' || c == '\t');
		must(c != 0xc2 || (unsigned char)s[i + 1] >= 0xa0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct json_object *o;
	char *text = NULL, format[512];
	size_t len = 0;
	FILE *real = stdout;
	struct plain plain = {0};
	struct err e = {0};
	if (!o)
		o = json_tokener_parse(
			"{\"name\":\"a\\u009b\",\"ports\":[1,\"\\u001b\"],\"a\":{\"b_c\":1}}");
	stdout = open_memstream(&text, &len);
	must(stdout);
	plain_put(&plain, p, n, stdout);
	plain_end(&plain, stdout);
	(void)fclose(stdout);
	only_text(text, len);
	free(text);
	stdout = open_memstream(&text, &len);
	must(stdout);
	if (n < sizeof(format)) {
		memcpy(format, p, n);
		format[n] = 0;
		if (!format_check(format, &e)) {
			format_head(format);
			format_line(format, o);
		} else
			must(e.msg[0]);
	}
	(void)fclose(stdout);
	free(text);
	stdout = real;
	return 0;
}
