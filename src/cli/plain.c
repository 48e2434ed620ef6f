/* A letter is held back until it is whole: half of one is bytes. C1 controls, which UTF-8 writes in
 * two bytes, are no letters. */
#include "cli/plain.h"
#include <stdbool.h>
#include <string.h>

static void show(unsigned char c, FILE *out) { (void)fprintf(out, "\\x%02x", c); }

static unsigned length(unsigned char c)
{
	return c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

/* Not C1, not written longer than needed, no surrogate, within Unicode; no mark that turns the
 * direction of what follows. */
static bool is_letter(const unsigned char *s, unsigned n)
{
	unsigned v = n == 2 ? s[0] & 0x1fu : n == 3 ? s[0] & 15u : s[0] & 7u;
	for (unsigned i = 1; i < n; i++) v = v << 6 | (s[i] & 0x3fu);
	if (v < 0xa0 || (n == 3 && v < 0x800) || (n == 4 && v < 0x10000)) return false;
	if ((v >= 0x202a && v <= 0x202e) || (v >= 0x2066 && v <= 0x2069)) return false;
	return v <= 0x10ffff && (v < 0xd800 || v > 0xdfff);
}

static void give_up(struct plain *p, FILE *out)
{
	for (unsigned i = 0; i < p->have; i++) show(p->some[i], out);
	p->have = p->want = 0;
}

/* True: it belongs to a letter. */
static bool collect(struct plain *p, unsigned char c, FILE *out)
{
	if (p->want && (c & 0xc0) != 0x80) give_up(p, out);
	if (!p->want) p->want = length(c);
	if (!p->want) return false;
	p->some[p->have++] = c;
	if (p->have < p->want) return true;
	if (is_letter(p->some, p->have)) {
		(void)fwrite(p->some, 1, p->have, out);
		p->have = p->want = 0;
	}
	give_up(p, out);
	return true;
}

static void put(struct plain *p, unsigned char c, FILE *out)
{
	if (p->cr && c != '\n') show('\r', out);
	p->cr = 0;
	if (collect(p, c, out)) return;
	if (c == '\r')
		p->cr = 1;
	else if (c == '\n' || c == '\t' || (c >= ' ' && c < 127))
		(void)fputc(c, out);
	else
		show(c, out);
}

void plain_put(struct plain *p, const void *at, size_t n, FILE *out)
{
	for (const unsigned char *c = at; n--; c++) put(p, *c, out);
}

void plain_end(struct plain *p, FILE *out)
{
	give_up(p, out);
	if (p->cr) show('\r', out);
	p->cr = 0;
}

void plain_text(const char *s, FILE *out)
{
	struct plain p = {0};
	for (; *s; s++)
		if (*s == '\n' || *s == '\t') {
			plain_end(&p, out);
			show((unsigned char)*s, out);
		} else
			put(&p, (unsigned char)*s, out);
	plain_end(&p, out);
}
