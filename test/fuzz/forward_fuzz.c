/* Published ports as text: parsed or refused in words, never both. */
#include "net/port.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char text[256];
	struct nat_forward f;
	struct err e = {0};
	if (n >= sizeof(text)) return 0;
	memcpy(text, p, n);
	text[n] = 0;
	int r = nat_forward_parse(&f, text, &e);
	if (r == 0)
		must(!e.code && f.host_port && f.guest_port && memchr(f.host, 0, sizeof(f.host)));
	else
		must(r == e.code && e.msg[0]);
	return 0;
}
