#include "base/buf.h"
#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *buf_room(struct buf *b, size_t n)
{
	size_t need = b->len + n + 1;
	must(need > b->len);
	if (need > b->cap) {
		size_t cap = b->cap * 2 > need ? b->cap * 2 : need + 64;
		char *p = realloc(b->at, cap);
		must(p);
		b->at = p;
		b->cap = cap;
	}
	char *at = b->at + b->len;
	memset(at, 0, n + 1);
	b->len += n;
	return at;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	void *to = buf_room(b, n);
	if (n) memcpy(to, p, n);
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	must(n >= 0);
	char *to = buf_room(b, (size_t)n);
	(void)vsnprintf(to, (size_t)n + 1, fmt, again);
	va_end(again);
}

bool buf_take(struct buf *b, void *p, size_t n)
{
	if (n > b->len - b->pos) return false;
	if (n) memcpy(p, b->at + b->pos, n);
	b->pos += n;
	return true;
}

void buf_done(struct buf *b)
{
	free(b->at);
	*b = (struct buf){0};
}
