/* Linux packs its symbols: 256 tokens, names as strings of their numbers, every 256th name's place,
 * and addresses as offsets from a base. Nothing says where; but tokens stand for themselves where
 * they are digits, and each table confirms the one before it:
 *   [offsets, base]  number, names, markers, tokens, index of tokens  [offsets, base]
 * Each begins at a multiple of 8; offsets stand in front up to Linux 6.3, behind since 6.4. */
#include "engine/kallsyms.h"
#include <stdbool.h>

enum { TOKENS = 256, NAME = 512, SYMBOLS_MAX = 1 << 20, NAMES_MAX = 64 << 20 };
struct tables {
	const uint8_t *p;
	size_t n;
	size_t tokens, behind;	/* where they begin; what comes behind their index */
	size_t markers, nmarks; /* a 32-bit number for each 256 names */
	size_t names, count, number;
	uint16_t index[TOKENS];
};

static size_t align(size_t at) { return (at + 7) & ~(size_t)7; }
static uint32_t word(const struct tables *t, size_t at)
{
	return at + 4 <= t->n ? (uint32_t)load_le(t->p + at, 4) : 0;
}

/* Tokens from `at`: is what follows them their index? */
static bool tokens_are(struct tables *t, size_t at)
{
	size_t end = at;
	for (unsigned i = 0; i < TOKENS; i++) {
		if (end - at > UINT16_MAX) return false;
		t->index[i] = (uint16_t)(end - at);
		const uint8_t *nul = memchr(t->p + end, 0, t->n - end);
		if (!nul || nul - (t->p + end) >= NAME) return false;
		end = (size_t)(nul - t->p) + 1;
	}
	t->tokens = at;
	end = align(end);
	t->behind = end + sizeof(t->index);
	return t->behind <= t->n && !memcmp(t->p + end, t->index, sizeof(t->index));
}

static bool tokens_find(struct tables *t)
{
	static const char digits[] =
		"0\0001\0002\0003\0004\0005\0006\0007\0008\0009"; /* and a NUL */
	size_t from = 0;
	for (const uint8_t *d; (d = memmem(t->p + from, t->n - from, digits, sizeof(digits)));) {
		size_t at = (size_t)(d - t->p);
		from = at + 1;
		unsigned left = '0';
		for (; left && at > 1; left--) { /* to the beginning of the token before */
			const uint8_t *nul = memrchr(t->p, 0, at - 1);
			if (!nul) break;
			at = (size_t)(nul - t->p) + 1;
		}
		if (!left && !(at & 7) && tokens_are(t, at)) return true;
	}
	return false;
}

/* Backwards from the tokens, as long as they become smaller. */
static bool markers_find(struct tables *t)
{
	size_t at = t->tokens;
	if (at < 16) return false;
	at -= word(t, at - 4) ? 4 : 8; /* after one of an odd number */
	for (t->nmarks = 1; word(t, at); t->nmarks++, at -= 4)
		if (at < 16 || word(t, at - 4) >= word(t, at)) return false;
	t->markers = at;
	return t->nmarks <= SYMBOLS_MAX / 256;
}

/* The length of the name at *at, which moves to its first token. 0: it is not all there. */
static size_t name_len(const struct tables *t, size_t *at)
{
	if (*at + 2 > t->markers) return 0;
	size_t n = t->p[(*at)++];
	if (n & 0x80) n = (n & 0x7f) | (size_t)t->p[(*at)++] << 7;
	return n <= t->markers - *at ? n : 0;
}

static bool names_are(const struct tables *t, size_t at, size_t count)
{
	size_t from = at;
	for (size_t i = 0; i < count; i++) {
		if (!(i & 255) && word(t, t->markers + i / 256 * 4) != at - from) return false;
		size_t n = name_len(t, &at);
		if (!n) return false;
		at += n;
	}
	return align(at) == t->markers;
}

static bool names_find(struct tables *t)
{
	size_t last = word(t, t->markers + 4 * (t->nmarks - 1));
	if (last > NAMES_MAX || last + 16 > t->markers) return false;
	size_t most = t->markers - last, least = most > 256 * NAME ? most - 256 * NAME : 8;
	for (size_t at = most & ~(size_t)7; at > least; at -= 8) {
		size_t count = word(t, at - 8);
		if (!count || (count + 255) / 256 != t->nmarks || !names_are(t, at, count))
			continue;
		t->names = at;
		t->count = count;
		t->number = at - 8;
		return true;
	}
	return false;
}

/* Addresses never go down; a kernel's are in the upper half. */
static bool offsets_are(const struct tables *t, size_t at, gva_t *base)
{
	size_t end = align(at + 4 * t->count);
	if (at < 8 || end + 8 > t->n) return false;
	*base = load_le(t->p + end, 8);
	for (size_t i = 1; i < t->count; i++)
		if (word(t, at + 4 * i) < word(t, at + 4 * i - 4)) return false;
	return *base >> 63;
}

static bool offsets_find(const struct tables *t, size_t *at, gva_t *base)
{
	size_t before = align(4 * t->count) + 8;
	*at = t->behind;
	if (offsets_are(t, *at, base)) return true;
	*at = t->number > before ? t->number - before : 0;
	return offsets_are(t, *at, base);
}

static size_t expand(const struct tables *t, size_t at, size_t n, char *to)
{
	size_t used = 0;
	for (size_t i = 0; i < n; i++) {
		const char *token = (const char *)t->p + t->tokens + t->index[t->p[at + i]];
		size_t len = strlen(token);
		if (len > NAME - used) break;
		memcpy(to + used, token, len);
		used += len;
	}
	return used;
}

size_t kallsyms_read(const void *image, size_t len,
		     void (*fn)(void *ctx, gva_t at, const char *name, size_t len), void *ctx)
{
	struct tables t = {.p = image, .n = len};
	size_t offsets, told = 0;
	gva_t base;
	char name[NAME];
	if (!tokens_find(&t) || !markers_find(&t) || !names_find(&t) ||
	    !offsets_find(&t, &offsets, &base))
		return 0;
	for (size_t i = 0, at = t.names; i < t.count; i++) {
		size_t n = name_len(&t, &at), full = expand(&t, at, n, name);
		at += n;
		if (full < 2 || !memchr("tTwW", name[0], 4))
			continue; /* the type is its first letter */
		fn(ctx, base + word(&t, offsets + 4 * i), name + 1, full - 1);
		told++;
	}
	return told;
}
