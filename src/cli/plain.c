/* A letter is held back until it is whole: half of one is bytes. */
#include "cli/plain.h"
#include "base/text.h"
#include <json-c/json.h>

static void show(unsigned char c, FILE *out) { (void)fprintf(out, "\\x%02x", c); }

static void give_up(struct plain *p, FILE *out)
{
	for (unsigned i = 0; i < p->have; i++) show(p->some[i], out);
	p->have = p->want = 0;
}

/* True: it belongs to a letter. */
static bool collect(struct plain *p, unsigned char c, FILE *out)
{
	if (p->want && (c & 0xc0) != 0x80) give_up(p, out);
	if (!p->want) p->want = text_letter_len(c);
	if (!p->want) return false;
	p->some[p->have++] = c;
	if (p->have < p->want) return true;
	if (text_is_letter(p->some, p->have)) {
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

/* What C1 and direction are written as; *s then is behind it. */
static unsigned not_a_letter(const char **s)
{
	const unsigned char *p = (const unsigned char *)*s;
	unsigned n = text_letter_len(*p), v = n == 2 ? *p & 0x1fu : *p & 15u;
	unsigned i = 1;
	while (i < n && (p[i] & 0xc0) == 0x80) v = v << 6 | (p[i++] & 0x3fu);
	bool whole = n == i && (n == 2 || (n == 3 && v >= 0x800 && (v < 0xd800 || v > 0xdfff)));
	*s += whole ? n : 1;
	return whole ? v : 0xfffd;
}

void plain_json(struct json_object *o, int flags, FILE *out)
{
	for (const char *s = json_object_to_json_string_ext(o, flags); *s;) {
		size_t n = text_letter(s);
		if (n || (unsigned char)*s < 0x7f) {
			n += !n;
			(void)fwrite(s, 1, n, out);
			s += n;
		} else if (*s == 0x7f) {
			(void)fputs("\\u007f", out);
			s++;
		} else
			(void)fprintf(out, "\\u%04x", not_a_letter(&s));
	}
}
