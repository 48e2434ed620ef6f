/* A reader that builds nothing, so that nothing has to be given back: commands are small. */
#define _GNU_SOURCE
#include "json.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 32 };

/* ---- reading: each returns what is behind the value, or NULL ---- */
static const char *blank(const char *p) { return p + strspn(p, " \t\r\n"); }

static const char *skip_string(const char *p)
{
	if (*p++ != '"') return NULL;
	while (*p != '"') {
		if ((unsigned char)*p < 0x20) return NULL;
		if (*p++ == '\\' && !*p++) return NULL;
	}
	return p + 1;
}

static const char *skip_word(const char *p)
{
	size_t n = strspn(p, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");
	return n ? p + n : NULL;
}

static const char *skip(const char *p, int depth);

static const char *skip_pairs(const char *p, char end, int depth)
{
	p = blank(p + 1);
	if (*p == end) return p + 1;
	for (;;) {
		if (end == '}') {
			if (!(p = skip_string(p))) return NULL;
			p = blank(p);
			if (*p++ != ':') return NULL;
		}
		if (!(p = skip(blank(p), depth + 1))) return NULL;
		p = blank(p);
		if (*p == end) return p + 1;
		if (*p++ != ',') return NULL;
		p = blank(p);
	}
}

static const char *skip(const char *p, int depth)
{
	if (depth > DEPTH) return NULL;
	if (*p == '{') return skip_pairs(p, '}', depth);
	if (*p == '[') return skip_pairs(p, ']', depth);
	return *p == '"' ? skip_string(p) : skip_word(p);
}

bool json_good(const char *text)
{
	const char *p = *text == '{' ? skip(text, 0) : NULL;
	return p && !*blank(p);
}

const char *json_member(const char *object, const char *name)
{
	size_t n = strlen(name);
	if (!object || *object != '{') return NULL;
	for (const char *p = blank(object + 1); *p == '"';) {
		const char *end = skip_string(p);
		bool is = (size_t)(end - p) == n + 2 && !memcmp(p + 1, name, n);
		p = blank(blank(end) + 1);
		if (is) return p;
		p = blank(skip(p, 0));
		if (*p == ',') p = blank(p + 1);
	}
	return NULL;
}

const char *json_next(const char *array, const char *at)
{
	if (!array || *array != '[') return NULL;
	const char *p = at ? blank(skip(at, 0)) : blank(array + 1);
	if (at && *p == ',') return blank(p + 1);
	return at || *p == ']' ? NULL : p;
}

bool json_number(const char *v, long long *n)
{
	char *end;
	if (!v || (*v != '-' && (*v < '0' || *v > '9'))) return false;
	errno = 0;
	long long got = strtoll(v, &end, 10);
	if (errno || end == v || strchr(".eE", *end ? *end : 'x')) return false;
	*n = got;
	return true;
}

bool json_true(const char *v) { return v && !strncmp(v, "true", 4); }

static int hex4(const char *p)
{
	int v = 0;
	for (int i = 0; i < 4; i++) {
		const char *d = p[i] ? strchr("0123456789abcdefABCDEF", p[i]) : NULL;
		if (!d) return -1;
		v = v * 16 + (p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
	}
	return v;
}

static int utf8(char *to, int c)
{
	if (c < 0x80) return to[0] = (char)c, 1;
	if (c < 0x800) return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 63)), 2;
	if (c < 0x10000)
		return to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 63)),
		       to[2] = (char)(0x80 | (c & 63)), 3;
	return to[0] = (char)(0xf0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 63)),
	       to[2] = (char)(0x80 | (c >> 6 & 63)), to[3] = (char)(0x80 | (c & 63)), 4;
}

/* One character behind a backslash, at *p; its bytes, 0: none. */
static int escape(const char **p, char *to)
{
	static const char from[] = "\"\\/bfnrt", is[] = "\"\\/\b\f\n\r\t";
	const char *at = strchr(from, **p);
	if (at && **p) return *to = is[at - from], ++*p, 1;
	if (*(*p)++ != 'u') return 0;
	int c = hex4(*p);
	if (c <= 0) return 0;
	*p += 4;
	if (c >= 0xd800 && c < 0xdc00 && (*p)[0] == '\\' && (*p)[1] == 'u') {
		int low = hex4(*p + 2);
		if (low < 0xdc00 || low > 0xdfff) return 0;
		*p += 6;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	return utf8(to, c);
}

int json_string(const char *v, char *to, size_t room)
{
	size_t n = 0;
	if (!v || *v != '"') return -1;
	for (const char *p = v + 1; *p != '"';) {
		if (n + 5 > room) return -1;
		int more = 1;
		if (*p != '\\')
			to[n] = *p++;
		else if (p++, !(more = escape(&p, to + n)))
			return -1;
		n += (size_t)more;
	}
	if (n + 1 > room) return -1;
	to[n] = 0;
	return (int)n;
}

/* ---- writing ---- */
void text_add(struct text *t, const void *p, size_t n)
{
	if (t->len + n > t->cap) {
		t->cap = (t->len + n) * 2;
		t->at = realloc(t->at, t->cap);
		if (!t->at) _exit(1);
	}
	memcpy(t->at + t->len, p, n);
	t->len += n;
}

void text_fmt(struct text *t, const char *fmt, ...)
{
	char some[512];
	va_list a;
	va_start(a, fmt);
	int n = vsnprintf(some, sizeof(some), fmt, a);
	va_end(a);
	if (n > 0) text_add(t, some, (size_t)n < sizeof(some) ? (size_t)n : sizeof(some) - 1);
}

void text_string(struct text *t, const char *s, size_t n)
{
	text_add(t, "\"", 1);
	for (; n; n--, s++)
		if ((unsigned char)*s < 0x20 || *s == '"' || *s == '\\')
			text_fmt(t, "\\u%04x", (unsigned)(unsigned char)*s);
		else
			text_add(t, s, 1);
	text_add(t, "\"", 1);
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void text_base64(struct text *t, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
			     (i + 2 < n ? p[i + 2] : 0);
		char c[4] = {digits[v >> 18], digits[v >> 12 & 63],
			     i + 1 < n ? digits[v >> 6 & 63] : '=',
			     i + 2 < n ? digits[v & 63] : '='};
		text_add(t, c, 4);
	}
}

long base64_decode(const char *s, size_t n, uint8_t *to)
{
	uint32_t v = 0;
	long out = 0;
	unsigned bits = 0;
	while (n && s[n - 1] == '=') n--;
	for (size_t i = 0; i < n; i++) {
		const char *d = s[i] ? strchr(digits, s[i]) : NULL;
		if (!d) return -1;
		v = v << 6 | (uint32_t)(d - digits);
		bits += 6;
		if (bits < 8) continue;
		bits -= 8;
		to[out++] = (uint8_t)(v >> bits);
	}
	return out;
}
