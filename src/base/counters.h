#ifndef BASE_COUNTERS_H
#define BASE_COUNTERS_H
#include <stdint.h>
#include <string.h>
/* What something has counted, told to whoever looks in from outside. Names are literals, in the
 * order in which they were first told. Owner: whoever declared it (zeroed = empty). */
enum { COUNTERS_MAX = 64 };
struct counters {
	unsigned n;
	struct counter {
		const char *name;
		uint64_t value;
	} at[COUNTERS_MAX];
};
/* Several parts that count the same add up. */
static inline void counters_add(struct counters *c, const char *name, uint64_t value)
{
	unsigned i = 0;
	while (i < c->n && strcmp(c->at[i].name, name) != 0) i++;
	if (i == COUNTERS_MAX) return;
	if (i == c->n) c->at[c->n++] = (struct counter){name, 0};
	c->at[i].value += value;
}
#endif
