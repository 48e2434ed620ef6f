/* Strings that are put together. */
#include "base/text.h"
#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>

char *text_format(const char *fmt, ...)
{
	char *s;
	va_list ap;
	va_start(ap, fmt);
	must(vasprintf(&s, fmt, ap) >= 0);
	va_end(ap);
	return s;
}

unsigned text_letter_len(unsigned char first)
{
	if (first >= 0xc2 && first <= 0xdf) return 2;
	if ((first & 0xf0) == 0xe0) return 3;
	return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* Not C1, not written longer than needed, no surrogate, within Unicode; no mark that turns the
 * direction of what follows. */
bool text_is_letter(const unsigned char *s, unsigned len)
{
	unsigned v = len == 2 ? s[0] & 0x1fu : len == 3 ? s[0] & 15u : s[0] & 7u;
	for (unsigned i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80) return false;
		v = v << 6 | (s[i] & 0x3fu);
	}
	if (v < 0xa0 || (len == 3 && v < 0x800) || (len == 4 && v < 0x10000)) return false;
	if ((v >= 0x202a && v <= 0x202e) || (v >= 0x2066 && v <= 0x2069)) return false;
	return v <= 0x10ffff && (v < 0xd800 || v > 0xdfff);
}

size_t text_letter(const char *s)
{
	unsigned n = text_letter_len((unsigned char)*s);
	for (unsigned i = 1; i < n; i++)
		if (!s[i]) return 0;
	return n && text_is_letter((const unsigned char *)s, n) ? n : 0;
}
