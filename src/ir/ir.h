#ifndef IR_IR_H
#define IR_IR_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* A translated unit in SSA form: blocks with parameters over a control-flow graph, in the order in
 * which they will stand in memory (the entry first, every block behind its dominator, loops
 * contiguous). Everything is an index into growing arrays, so that a unit is built, walked and
 * forgotten without a pointer being followed twice; ir_reset() keeps the memory for the next.
 *
 * Guest state is numbered slots. Inside a unit a slot's newest value is an SSA value; in memory
 * stands what it was when the unit was entered, or the last `put`. Whatever may leave the unit
 * names a map: the slots whose newest value memory does not have, and where the guest then is. */
enum ir_op {
#define IR(name, arity, res, flag, val) IR_##name,
#include "ir/ops.def"
#undef IR
	IR__count
};
enum ir_type { IR_VOID, IR_I8, IR_I16, IR_I32, IR_I64, IR_F32, IR_F64, IR_V128, IR_REF };
enum ir_flag {
	IR_PURE = 1,
	IR_COMM = 2,
	IR_READS = 4,
	IR_WRITES = 8,
	IR_EXITS = 16,
	IR_ENDS = 32,
	IR_FLOAT = 64,	/* reads the rounding mode and raises flags: merged with its like, kept if
			   dead */
	IR_CALLS = 128, /* aux says */
	IR_LANES = 256	/* of v128; aux is the log2 of a lane's bytes */
};
enum ir_result { IR_NONE, IR_SAME, IR_GIVEN, IR_FLAG };
struct ir_info {
	const char *name;
	uint8_t args, result; /* value operands: arg[0] .. */
	uint16_t flags;
};
extern const struct ir_info ir_info[IR__count];

enum ir_mem { IR_U8, IR_U16, IR_U32, IR_U64, IR_S8, IR_S16, IR_S32 }; /* aux of an i64 load */
/* What a call does besides touching memory that no slot and no guest address names. */
enum {
	IR_CALL_PLAIN,
	IR_CALL_PURE, /* not even that: its result is all; may be dropped */
	/* May read and write guest state: nothing read before it holds behind it, and slots must
	 * have been put. */
	IR_CALL_STATE,
	IR_CALL_FLOAT, /* changes the flags or the rounding mode: floats stay on their side of it */
};
enum {
	IR_XLAT_WINDOW = 4 /* in an xlat's aux: it may be answered by the space's window, if it has
			      one; then it is each access that exits by its map */
};
enum ir_exit {
	IR_EXIT_NEAR, /* to code of the unit's own page: linked once that is translated */
	IR_EXIT_FAR,  /* to any other, looked up each time */
	IR_EXIT_STOP  /* to whoever runs units */
};

typedef struct {
	uint32_t n; /* 0: none */
} ir_val;
struct ir_ins {
	uint8_t op, type;
	uint16_t aux;
	uint32_t map;	     /* 0: none */
	uint32_t next, prev; /* within the block; 0: the end */
	union {
		uint32_t arg[4]; /* values, and what ops.def says */
		uint64_t k;	 /* konst, state, call */
	};
};
_Static_assert(sizeof(struct ir_ins) == 32, "two to a cache line");
struct ir_block {
	uint32_t first, last;	/* instructions; parameters come first, a terminator last */
	uint16_t params, preds; /* preds: edges to it that jumps and branches have */
	uint32_t idom; /* its immediate dominator (a farther one once a branch was decided while
			  building); the entry's is itself */
	uint32_t loop; /* the innermost loop's header it lies in; ~0: none */
	uint16_t depth;
	bool cold;
};
struct ir_edge {
	uint32_t to, args; /* f->args[args ..]: one value for each parameter of `to` */
};
struct ir_pair {
	uint32_t slot, val;
};
struct ir_map {
	uint32_t first, n; /* f->pairs */
	int32_t pc;	   /* guest pc, relative to the unit's base */
	uint32_t why;	   /* for whoever counts: the engine's own numbering */
};
struct ir_slot { /* where a slot stands in the state */
	uint32_t at;
	uint8_t size; /* 1, 2, 4, 8 bytes; a `get` zero-extends */
	bool box;     /* an f32 put in this 8-byte slot sets its upper half to ones */
	const char *name;
};
struct ir_callee {
	const char *name;
	const void *fn;
};
struct ir_fn {
	struct ir_ins *ins; /* [0] is not used */
	uint32_t n, room;
	struct ir_block *block;
	uint32_t nblocks, block_room;
	struct ir_edge *edge;
	uint32_t nedges, edge_room;
	struct ir_map *map; /* [0] is not used */
	uint32_t nmaps, map_room;
	struct ir_pair *pair;
	uint32_t npairs, pair_room;
	uint32_t *args;
	uint32_t nargs, args_room;
	uint32_t *hash; /* pairs of instruction and block, for merging equal ones */
	uint32_t hash_bits;
	uint32_t hash_used;
	uint32_t narrowing; /* how deep simplify is in operands of operands */
	uint32_t last_put,
		last_call; /* newest put; state call, fclear: older gets; floats do not merge */
	const struct ir_slot *slots;	 /* the machine's, by number */
	uint32_t nslots, at;		 /* at: the block that ir_emit appends to */
	const struct ir_callee *callees; /* names for text, the caller's to set; may be NULL */
	uint32_t ncallees;
};

/* build.c */
struct ir_fn *ir_new(const struct ir_slot *slots, unsigned nslots);
void ir_free(struct ir_fn *f);
void ir_reset(struct ir_fn *f);
uint32_t ir_block_new(struct ir_fn *f); /* its idom, loop, depth, cold are the caller's to set */
/* Append to block f->at, unless the value can be computed now, is a known one in other clothes, or
 * stands in this block or one that dominates it already. Operands that the op does not have are
 * {0}. For ops of integers and floats; aux of itof is seen from the operand. */
ir_val ir_emit(struct ir_fn *f, enum ir_op op, enum ir_type t, ir_val a, ir_val b, ir_val c);
/* A pure value once more, in block f->at: for where it is wanted though seldom. */
ir_val ir_again(struct ir_fn *f, ir_val v);
/* Of v128: aux as the op has it. */
ir_val ir_lanes(struct ir_fn *f, enum ir_op op, unsigned aux, ir_val a, ir_val b, ir_val c);
ir_val ir_fraised(struct ir_fn *f);
void ir_fclear(struct ir_fn *f, ir_val but);
ir_val ir_ftoi(struct ir_fn *f, enum ir_type t, ir_val a, bool truncate);
ir_val ir_konst(struct ir_fn *f, enum ir_type t, uint64_t k); /* cut to t, zeroes above */
ir_val ir_param(struct ir_fn *f, enum ir_type t); /* the next one of block f->at, before the rest */
/* May be an earlier get that dominates, unless a put or state call was emitted since, or it is in
 * another loop: so `loop` must be set before a block is filled. */
/* A float that is promised never to be a signalling NaN. */
ir_val ir_param_quiet(struct ir_fn *f, enum ir_type t);
ir_val ir_get(struct ir_fn *f, enum ir_type t, unsigned slot);
void ir_put(struct ir_fn *f, unsigned slot, ir_val v);
ir_val ir_state(struct ir_fn *f, uint64_t off);
uint32_t ir_map_new(struct ir_fn *f, const struct ir_pair *p, unsigned n, int32_t pc, uint32_t why);
ir_val ir_xlat(struct ir_fn *f, unsigned space, ir_val base, int32_t lo, int32_t hi, uint32_t map);
ir_val ir_load(struct ir_fn *f, enum ir_type t, enum ir_mem m, ir_val h, ir_val base, int32_t disp);
void ir_store(struct ir_fn *f, unsigned bytes, ir_val h, ir_val base, int32_t disp, ir_val v);
/* The load or store emitted last goes by the window, and exits by this map where nothing is. */
void ir_may_exit(struct ir_fn *f, uint32_t map);
ir_val ir_atomic(struct ir_fn *f, enum ir_op op, unsigned bytes, ir_val at, ir_val b, ir_val c);
ir_val ir_call(struct ir_fn *f, unsigned aux, const void *fn, const ir_val *args, unsigned n);
void ir_guard(struct ir_fn *f, ir_val cond, uint32_t map);
void ir_poll(struct ir_fn *f, uint32_t map);
void ir_fence(struct ir_fn *f);
/* Arguments are as many as `to` has parameters, which must exist by then. */
uint32_t ir_edge_new(struct ir_fn *f, uint32_t to, const ir_val *args);
void ir_jump(struct ir_fn *f, uint32_t edge);
void ir_br(struct ir_fn *f, ir_val cond, uint32_t yes, uint32_t no);
void ir_exit(struct ir_fn *f, enum ir_exit how, uint32_t map);
void ir_goto(struct ir_fn *f, ir_val pc, uint32_t map);
static inline const struct ir_ins *ir_at(const struct ir_fn *f, ir_val v) { return &f->ins[v.n]; }
/* Nothing is lost when nobody uses its value. */
static inline bool ir_idle(const struct ir_ins *i)
{
	unsigned flags = ir_info[i->op].flags;
	return flags & (IR_PURE | IR_READS) && !(flags & (IR_WRITES | IR_EXITS)) && !i->map;
}
bool ir_is_konst(const struct ir_fn *f, ir_val v, uint64_t *k);
bool ir_dominates(const struct ir_fn *f, uint32_t a, uint32_t b);
enum ir_type ir_result_type(const struct ir_ins *i); /* what its value is; IR_VOID: none */

/* fold.c: the op's value of constants; false: not to be folded. Also the evaluator's arithmetic. */
bool ir_fold(enum ir_op op, enum ir_type t, unsigned aux, const uint64_t arg[3], uint64_t *out);

/* The same for a lane of `bits` bits of an op of v128 that is IR_LANES and no float. */
uint64_t ir_fold_lane(enum ir_op op, unsigned bits, const uint64_t arg[3]);

/* ifs.c: branches around an operation or two become selects; what is left unreached, ir_clean
 * drops.
 */
void ir_ifs(struct ir_fn *f);

/* clean.c: drop what nobody uses: unreached blocks (the others are numbered anew), parameters that
 * stand for one value, values, map pairs of slots that still are as they were got. FLOAT ops stay.
 * Blocks that are jumped to from one place join that. */
void ir_clean(struct ir_fn *f);

/* verify.c: 0, or what is wrong and where. */
int ir_verify(const struct ir_fn *f, struct err *e);

/* text.c: what ir_print writes, ir_parse reads. */
void ir_print(const struct ir_fn *f, FILE *out);
int ir_parse(struct ir_fn *f, const char *text, struct err *e); /* into a fresh or reset f */

/* eval.c: the slow, obviously right engine. */
struct ir_world { /* what a unit acts on, besides the state */
	void *state;
	/* As xlat: what to add to lo to reach it; false: exit. */
	bool (*xlat)(void *state, unsigned space, uint64_t lo, uint64_t hi, uint64_t *h);
	const uint32_t *poll;
	uint64_t base;	/* guest pc that map pcs are relative to */
	uint64_t steps; /* instructions left, lest a loop never ends; counted down */
};
struct ir_end {
	enum { IR_END_EXIT, IR_END_GOTO, IR_END_DEOPT, IR_END_STEPS } how;
	enum ir_exit exit; /* of IR_END_EXIT */
	uint32_t map;
	uint64_t pc;
};
/* Runs f; when it ends, the state holds what the map says. */
struct ir_end ir_eval(const struct ir_fn *f, struct ir_world *w);
#endif
