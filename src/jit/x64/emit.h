#ifndef JIT_X64_EMIT_H
#define JIT_X64_EMIT_H
#include "jit/impl.h"
#include "jit/x64/asm.h"
/* What the files of the back end share. rbp holds state + bias, rsp a struct jit_frame. rax, rdx,
 * xmm14 and xmm15 are scratch: no value lives there, any emitter may use them. */
enum { S0 = RAX, S1 = RDX, V0 = 15, V1 = 14 };
enum { SAVED = 1 << RCX | 1 << RSI | 1 << RDI | 1 << R8 | 1 << R9 | 1 << R10 | 1 << R11 };
enum { INTS = SAVED | 1 << RBX | 1 << R12 | 1 << R13 | 1 << R14 | 1 << R15, VECS = 0x3fff };

struct consts { /* in the cache, for memory operands; 16 bytes each */
	uint64_t neg64[2], abs64[2], neg32[2], abs32[2], nan64[2], nan32[2], box[2], zero[2];
	uint8_t flags[64]; /* of MXCSR's sticky bits: as fraised has them */
};
struct emit;
struct stub { /* code off the hot path, behind the unit's */
	void (*emit)(struct emit *e, struct stub *s);
	uint32_t i;	  /* what it is for */
	unsigned reg;	  /* stub's own */
	uint8_t *from[2]; /* displacements of jumps to it */
	uint8_t *back;
};
struct to_block {
	uint8_t *at;
	uint32_t block;
};
struct emit { /* grows; kept from unit to unit */
	struct x64_asm a;
	struct jit_cache *c;
	const struct jit_host *h;
	const struct ir_fn *f;
	struct home *home;
	uint8_t *end;
	uint32_t next; /* the block to come */
	uint32_t access_map,
		access_at; /* of the access emitted last: IR's map, and where it is put */
	bool failed;
	uint8_t **block_at;
	uint32_t *order;
	struct to_block *jumps;
	struct stub *stubs;
	uint32_t block_room, order_room, jump_room, stub_room, njumps, nstubs;
};
struct jit_host {
	bool avx, avx2, fma, sse42, bmi1, bmi2, lzcnt, popcnt;
	struct alloc_host regs;
	/* In rw: thunks, see enter.c. */
	uint8_t *enter, *link, *stop, *lookup, *deopt, *xlat[4];
	const struct consts *consts;
	struct emit emit;
};

void emit_done(struct emit *e);
struct rule {
	void (*emit)(struct emit *e, uint32_t i, const struct rule *r);
	uint32_t op, ext;
};
extern const struct rule x64_rules[IR__count];

/* ---- operands */
static inline uint32_t root_of(const struct emit *e, uint32_t v) { return e->home[v].root; }
static inline uint32_t wide(enum ir_type t) { return t == IR_I32 ? 0 : OP_W; }
static inline struct home *home_of(struct emit *e, uint32_t v) { return &e->home[root_of(e, v)]; }
static inline bool in_reg(struct emit *e, uint32_t v) { return home_of(e, v)->at == AT_REG; }
static inline struct rm state_at(const struct emit *e, uint32_t off)
{
	return rm_mem(RBP, (int32_t)(off - e->c->m.bias));
}
struct rm spill_at(const struct home *h);
struct rm state_of(struct emit *e, uint32_t get); /* the slot that it reads */
bool konst_of(struct emit *e, uint32_t v, uint64_t *k);
/* v is a constant that an instruction of width w can hold. */
bool imm_of(struct emit *e, uint32_t v, uint32_t w, int32_t *imm);
void load_int(struct emit *e, unsigned r, uint32_t v); /* flags stay */
unsigned int_reg(struct emit *e, uint32_t v, unsigned scratch);
/* Register or memory of at least width w; scratch is used if there is no such. */
struct rm int_rm(struct emit *e, uint32_t v, uint32_t w, unsigned scratch);
static inline unsigned dst_int(struct emit *e, uint32_t i)
{
	return e->home[i].at == AT_REG ? e->home[i].reg : S0;
}
void done_int(struct emit *e, uint32_t i, unsigned r);
void load_vec(struct emit *e, unsigned r, uint32_t v);
unsigned vec_reg(struct emit *e, uint32_t v, unsigned scratch);
struct rm vec_rm(struct emit *e, uint32_t v); /* never through a scratch register */
static inline unsigned dst_vec(struct emit *e, uint32_t i)
{
	return e->home[i].at == AT_REG ? e->home[i].reg : V0;
}
void done_vec(struct emit *e, uint32_t i, unsigned r);
void mov_vec(struct emit *e, unsigned d, unsigned s);
void vec_store(struct emit *e, enum ir_type t, struct rm m, unsigned r);
void vec_load(struct emit *e, enum ir_type t, unsigned r, struct rm m);

/* ---- control */
struct stub *stub_new(struct emit *e, void (*emit)(struct emit *, struct stub *), uint32_t i);
void stub_jcc(struct emit *e, struct stub *s, enum cc cc); /* at most two */
void later(struct emit *e, uint8_t *at, uint32_t block);   /* a jump to a block to come */
struct cond { /* true: cc, and not parity if `ordered` */
	enum cc cc;
	bool ordered;
};
struct cond emit_cond(struct emit *e, uint32_t v); /* compare v with 0, or what v folds */
void emit_cmp(struct emit *e, const struct ir_ins *i, struct cond *out);
void emit_fcmp(struct emit *e, const struct ir_ins *i, struct cond *out);
void deopt_stub(struct emit *e, struct stub *s);

/* ---- moves.c: many at once */
struct move {
	uint16_t dst, src; /* MOVE_* + number; src MOVE_VALUE: v, which no move overwrites */
	uint32_t v;
	enum ir_type type;
	uint32_t extend; /* opcode of a move that does, from 32 bits; 0: a plain move */
};
enum {
	MOVE_INT = 0,
	MOVE_VEC = 16,
	MOVE_SPILL = 32,
	MOVE_WIDE = MOVE_SPILL + SPILLS_MAX,
	MOVE_VALUE = MOVE_WIDE + WIDE_MAX,
	MOVES_MAX = 256
};
uint16_t move_home(const struct home *h);
void emit_moves(struct emit *e, struct move *m, unsigned n);

/* ---- mem.c */
void emit_to_slot(struct emit *e, const struct ir_slot *s, uint32_t v);
void sites_forget(struct emit *e);
void keep_live(struct emit *e, uint32_t call, bool load); /* registers across a call of C */

/* ---- the emitters, by file; rules.def names them */
typedef void emitter(struct emit *e, uint32_t i, const struct rule *r);
/* ops.c */
emitter emit_alu, emit_mul, emit_mulhi, emit_div, emit_shift, emit_unary, emit_bits, emit_bswap,
	emit_extend, emit_flag, emit_select, emit_konst, emit_nothing;
/* fp.c */
emitter emit_fp2, emit_fsqrt, emit_fma, emit_fsign, emit_fnan, emit_fcvt, emit_fraised, emit_fclear,
	emit_itof, emit_ftoi, emit_tobits, emit_tofp;
/* vec.c */
emitter emit_lanes, emit_vpick, emit_vshift, emit_vsplat, emit_vlow, emit_vdown, emit_vbits,
	emit_vextend, emit_vpack, emit_vfp2, emit_vfsqrt, emit_vfma, emit_vfcmp, emit_vitof,
	emit_vfnan;
/* mem.c */
emitter emit_get, emit_put, emit_xlat, emit_load, emit_store, emit_swap, emit_xadd, emit_cas,
	emit_fence, emit_call;
/* flow.c */
emitter emit_guard, emit_poll, emit_jump, emit_br, emit_exit, emit_goto;
/* select.c: what is folded into what; alloc_host's */
void x64_visit(struct alloc *a, uint32_t i);
#endif
