/* What a mistyped word may have meant: the nearest known one by Damerau-Levenshtein distance
 * (optimal string alignment), or nothing rather than a wild guess. */
#include "cli/cli.h"
#include <string.h>

enum { WORD = 32 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

static unsigned distance(const char *a, const char *b)
{
	unsigned d[WORD + 1][WORD + 1];
	size_t n = strlen(a), m = strlen(b);
	if (n > WORD || m > WORD) return WORD;
	for (unsigned i = 0; i <= n; i++) d[i][0] = i;
	for (unsigned j = 0; j <= m; j++) d[0][j] = j;
	for (size_t i = 1; i <= n; i++)
		for (size_t j = 1; j <= m; j++) {
			unsigned differ = a[i - 1] != b[j - 1];
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + differ);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = min3(d[i][j], d[i][j], d[i - 2][j - 2] + differ);
		}
	return d[n][m];
}

/* A beginning of a word counts as one slip. */
static unsigned strangeness(const char *word, const char *known)
{
	size_t len = strlen(word);
	return len >= 2 && !strncmp(word, known, len) ? 1 : distance(word, known);
}

const char *suggest(const char *word, const char *const *list)
{
	const char *best = NULL;
	unsigned least = strlen(word) < 4 ? 2 : 3;
	for (unsigned i = 0; list[i]; i++) {
		unsigned d = strangeness(word, list[i]);
		if (d >= least || d >= strlen(list[i])) continue;
		best = list[i];
		least = d;
	}
	return best;
}
