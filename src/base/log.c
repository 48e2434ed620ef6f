/* A line is one write(), so that lines of several threads never mix; and what a guest named
 * cannot move the operator's cursor, since what is no letter comes out as \xNN. */
#include "base/log.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 1024 };
static atomic_int level = LOG_WARN;
static const char *const names[] = {"error", "warning", "info", "debug"};

void log_level_set(enum log_level l) { atomic_store(&level, (int)l); }

static size_t escape(char *to, size_t room, const char *text)
{
	size_t n = 0;
	for (const char *p = text; *p && n + 5 < room; p++) {
		unsigned char c = (unsigned char)*p;
		size_t letter = text_letter(p);
		if (letter) {
			memcpy(to + n, p, letter);
			n += letter;
			p += letter - 1;
		} else if (c < 0x20 || c >= 0x7f)
			n += (size_t)snprintf(to + n, room - n, "\\x%02x", c);
		else
			to[n++] = *p;
	}
	return n;
}

void log_line(const char *head, const char *text)
{
	char line[LINE + 128];
	size_t n = (size_t)snprintf(line, sizeof(line), "%.100s", head);
	n += escape(line + n, sizeof(line) - n - 2, text);
	if (isatty(STDERR_FILENO)) line[n++] = '\r'; /* it may be raw */
	line[n++] = '\n';
	(void)!write(STDERR_FILENO, line, n);
}

void log_at(enum log_level l, const char *fmt, ...)
{
	char text[LINE], head[32];
	va_list ap;
	if ((int)l > atomic_load_explicit(&level, memory_order_relaxed)) return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snprintf(head, sizeof(head), "lodge: %s: ", names[l]);
	log_line(head, text);
}

void log_say(const char *fmt, ...)
{
	char text[LINE];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_line("lodge: ", text);
}
