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
