/* The benchmark programs: one small loop a kind of work, so that a slow figure names its cause.
 * Each returns a checksum that depends on the work alone, never on the machine: it keeps compilers
 * honest and lets the runs of two machines be compared. */
#ifndef BENCH_PROGRAMS_H
#define BENCH_PROGRAMS_H
#include <stdint.h>

struct program {
	const char *name;
	uint64_t (*run)(int n);
	int n;		       /* so that it takes 10 to 50 ms natively */
	void (*prepare)(void); /* what is not timed; may be NULL */
};

/* Each ends in an entry without a name. */
extern const struct program integer_programs[], float_programs[], memory_programs[],
	system_programs[], vector_programs[];

/* The same numbers for every program, every time. */
extern uint32_t seed;
static inline uint32_t rnd(void) { return seed = seed * 1664525u + 1013904223u; }

/* Runs line `NAME WORD... [<FILE]` of a list as a child in the folder `root`, and hashes what it
 * writes. Returns its CPU time in seconds, or a negative number. */
double child_run(const char *line, const char *root, uint64_t *sum, void (*begin)(void),
		 void (*end)(void));
#endif
