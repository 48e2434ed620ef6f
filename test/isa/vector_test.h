#ifndef VECTOR_TEST_H
#define VECTOR_TEST_H
#include "isa/rv64/rv64.h"
#include "vector.h"
#include <stdbool.h>
/* By a formula, for what the oracle does not know: false if there is none. */
bool vector_reference(const struct rv64_insn *i, const struct vector_case *before,
		      struct vector_case *after);
/* Is this difference one where the oracle is known to be wrong, or not to care? */
bool vector_excuse(const struct rv64_insn *i, const struct vector_case *before,
		   const struct vector_case *theirs, const struct vector_case *ours);
void vector_excuses(void); /* print what was excused, and why */
#endif
