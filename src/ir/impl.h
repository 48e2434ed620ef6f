#ifndef IR_IMPL_H
#define IR_IMPL_H
#include "ir/ir.h"
/* What the files of this room tell each other. */
static inline unsigned ir_width(enum ir_type t)
{
	static const uint8_t bits[] = {0, 8, 16, 32, 64, 32, 64, 128, 64};
	return bits[t];
}
static inline uint64_t ir_cut(enum ir_type t, uint64_t k)
{
	return ir_width(t) >= 64 ? k : k & ((1ull << ir_width(t)) - 1);
}
static inline bool ir_is_int(enum ir_type t) { return t == IR_I32 || t == IR_I64; }
static inline bool ir_is_fp(enum ir_type t) { return t == IR_F32 || t == IR_F64; }

/* simplify.c: true: the value is *v, nothing need be emitted; else *i is as simple as it gets. */
bool ir_simplify(struct ir_fn *f, struct ir_ins *i, ir_val *v);
ir_val ir_low(struct ir_fn *f, ir_val v, unsigned bits); /* an integer with the same low bits */
/* build.c */
uint32_t ir_append(struct ir_fn *f, const struct ir_ins *i); /* as it stands, to block f->at */
void ir_unlink(struct ir_fn *f, uint32_t block, uint32_t n);
void ir_splice(struct ir_fn *f, uint32_t to, uint32_t from); /* all of block `from` to the end */
void ir_forget(struct ir_fn *f); /* nothing emitted so far is merged with what comes */
uint32_t ir_edge_raw(struct ir_fn *f, uint32_t to, const ir_val *args, unsigned n);
uint32_t ir_args_new(struct ir_fn *f, const ir_val *v, unsigned n);
enum { IR_QUIET = 1 }; /* arg[0] of a parameter that is never a signalling NaN */
#endif
