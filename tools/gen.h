#ifndef TOOLS_GEN_H
#define TOOLS_GEN_H
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* Between the generators that read a table and nobody else: where they are in it, and how they give
 * up. */
static int line_no;
static const char *path;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "%s:%d: ", path, line_no);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}
static void copy(char *to, size_t room, const char *from)
{
	if (strlen(from) >= room) die("\"%s\" is too long", from);
	strcpy(to, from);
}
#define COPY(to, from) copy(to, sizeof(to), from)
#define TAKE(array, n)                                                                             \
	(n < (int)(sizeof(array) / sizeof *(array)) ? &(array)[n++]                                \
						    : (die("too many " #array), (array)))
#endif
