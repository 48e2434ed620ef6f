/* What the oracle does not know or gets wrong. */
#include "base/types.h"
#include "vector_test.h"
#include <stdio.h>
bool vector_reference(const struct rv64_insn *i, const struct vector_case *before,
		      struct vector_case *after)
{
	(void)i, (void)before, (void)after;
	return false;
}
/* ---- where the oracle is wrong, or free to do otherwise ---- */
static bool only_vstart(const struct rv64_insn *i, const struct vector_case *b,
			const struct vector_case *theirs, const struct vector_case *ours)
{
	struct vector_case fixed = *theirs;
	(void)i;
	fixed.vstart = 0;
	return b->vstart && theirs->out == OUT_NEXT && theirs->vstart == b->vstart &&
	       !memcmp(&fixed, ours, sizeof(fixed));
}
static bool starts(const struct rv64_insn *i, const char *with)
{
	return !strncmp(rv64_info(i->op)->name, with, strlen(with));
}
static bool whole_ill(const struct rv64_insn *i, const struct vector_case *b,
		      const struct vector_case *theirs, const struct vector_case *ours)
{
	(void)b, (void)theirs;
	bool whole = !strcmp(rv64_info(i->op)->name + 4, "r.v") && starts(i, "vmv");
	return whole && ours->vtype >> 63 && ours->out == OUT_ILLEGAL;
}
static const struct excuse {
	const char *why;
	bool (*applies)(const struct rv64_insn *i, const struct vector_case *b,
			const struct vector_case *theirs, const struct vector_case *ours);
} excuses[] = {
	{"whole registers are moved as vtype says, so not if it is vill (3.4.4, 16.6)", whole_ill},
	{"vstart is 0 afterwards, whether there was something to do or not (3.7)", only_vstart},
};
static unsigned long excused[COUNT(excuses)];

bool vector_excuse(const struct rv64_insn *i, const struct vector_case *b,
		   const struct vector_case *theirs, const struct vector_case *ours)
{
	for (size_t k = 0; k < COUNT(excuses); k++)
		if (excuses[k].applies(i, b, theirs, ours)) return excused[k]++, true;
	return false;
}
void vector_excuses(void)
{
	for (size_t k = 0; k < COUNT(excuses); k++)
		printf("not compared: %lu, %s\n", excused[k], excuses[k].why);
}
