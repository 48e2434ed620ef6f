/* Linux packs its symbols: 256 tokens, names as strings of their numbers, every 256th name's place,
 * and addresses as offsets from a base. Nothing says where; but tokens stand for themselves where
 * they are digits, and each table confirms the one before it:
 *   [offsets, base]  number, names, markers, [order], tokens, index of tokens  [offsets, base]
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
	size_t offsets;
	gva_t base;
	bool mixed; /* offsets have signs */
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

/* The first token ends with a string that begins at `at`: what stands before it need not end with
 * NUL. */
static bool first_token(struct tables *t, size_t at)
{
	enum { LONGEST = 64 };
	size_t end = at + strnlen((const char *)t->p + at, t->n - at);
	size_t from = end - at > LONGEST ? end - LONGEST : at;
	for (size_t i = align(from); i <= end; i += 8)
		if (tokens_are(t, i)) return true;
	return false;
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
		if (!left && first_token(t, at)) return true;
	}
	return false;
}

/* n of them, that end (but for padding) at `end`? */
static bool markers_are(struct tables *t, size_t end, size_t n)
{
	size_t at = end - align(4 * n);
	if (n < 2 || at > end || word(t, at)) return false;
	for (size_t i = 1; i < n; i++)
		if (word(t, at + 4 * i) <= word(t, at + 4 * i - 4)) return false;
	t->markers = at;
	t->nmarks = n;
	return true;
}

/* Backwards from the tokens, as long as they become smaller. */
static bool markers_before(struct tables *t)
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

/* With three bytes for each name between them and the tokens: their order by name. It may look like
 * markers here and there. */
static bool behind_order(struct tables *t)
{
	enum { BYTES = 3, PAD = 7, TRIES = 64 };
	unsigned tries = 0;
	for (size_t len = 8; len < BYTES * SYMBOLS_MAX && len < t->tokens; len += 8) {
		size_t most = (len / BYTES + 255) / 256, least = ((len - PAD) / BYTES + 255) / 256;
		for (size_t n = least; n <= most; n++) {
			if (!markers_are(t, t->tokens - len, n)) continue;
			if (names_find(t)) return true;
			if (++tries == TRIES) return false;
		}
	}
	return false;
}

/* Where x86's variables of each CPU have small addresses, those are told as they are, and the
 * others by negative numbers: from -1, the base, down. */
static gva_t address(const struct tables *t, size_t i)
{
	uint32_t off = word(t, t->offsets + 4 * i);
	if (!t->mixed) return t->base + off;
	return off >> 31 ? t->base - 1 - (gva_t)(int64_t)(int32_t)off : off;
}

static bool goes_up(struct tables *t, bool mixed)
{
	t->mixed = mixed;
	for (size_t i = 1; i < t->count; i++)
		if (address(t, i) < address(t, i - 1)) return false;
	return true;
}

/* Addresses never go down; a kernel's are in the upper half. */
static bool offsets_are(struct tables *t, size_t at)
{
	size_t end = align(at + 4 * t->count);
	if (at < 8 || end + 8 > t->n) return false;
	t->offsets = at;
	t->base = load_le(t->p + end, 8);
	return t->base >> 63 && (goes_up(t, false) || goes_up(t, true));
}

static bool offsets_find(struct tables *t)
{
	size_t before = align(4 * t->count) + 8;
	return offsets_are(t, t->behind) ||
	       offsets_are(t, t->number > before ? t->number - before : 0);
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
	size_t told = 0;
	char name[NAME];
	if (!tokens_find(&t)) return 0;
	bool found = (markers_before(&t) && names_find(&t)) || behind_order(&t);
	if (!found || !offsets_find(&t)) return 0;
	for (size_t i = 0, at = t.names; i < t.count; i++) {
		size_t n = name_len(&t, &at), full = expand(&t, at, n, name);
		at += n;
		if (full < 2 || !memchr("tTwW", name[0], 4))
			continue; /* the type is its first letter */
		fn(ctx, address(&t, i), name + 1, full - 1);
		told++;
	}
	return told;
}
