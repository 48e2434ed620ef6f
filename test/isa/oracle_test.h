#ifndef ORACLE_TEST_H
#define ORACLE_TEST_H
#include "oracle.h"
#include <stdbool.h>
#include <stddef.h>
/* What is compared with the oracle: something that runs a slot as the oracle does. */
struct subject {
	const char *name;
	void (*open)(
		const char *program); /* oracle_bare.S as a flat binary; may be NULL, and close */
	void (*close)(void);
	void (*run)(size_t op, unsigned i, struct oracle_slot *s); /* i: the slot's number */
	/* How many of the words run so far became translated code; NULL: it does not translate. */
	uint64_t (*translated)(void);
	unsigned batch; /* cases for each word, at most ORACLE_CASES */
	size_t ops;	/* instructions are numbered 0 .. ops - 1 */
	const char *(*op_name)(size_t op);
	/* An encoding of op, its registers among x12..x15 or f12..f15; 0: it has none that can be
	 * compared. */
	uint32_t (*word)(size_t op, uint64_t *rnd);
};
extern const struct subject subject_fp;			 /* the functions of isa/rv64/fp.h */
extern const struct subject subject_interp, subject_jit; /* whole instructions by an engine */
/* By a formula, for what the oracle does not know: false if there is none. */
bool oracle_reference(const char *op, uint32_t word, struct oracle_case *c);
bool is_zcb(uint32_t word);
bool is_zcmop(uint32_t word);
struct fp_op;
bool oracle_fp(const struct fp_op *op, uint32_t word, struct oracle_case *c); /* by softfp */
#endif
