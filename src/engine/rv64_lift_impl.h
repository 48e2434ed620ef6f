#ifndef ENGINE_RV64_LIFT_IMPL_H
#define ENGINE_RV64_LIFT_IMPL_H
#include "engine/rv64_cpu.h"
#include "engine/rv64_flow.h"
#include "engine/rv64_lift.h"
/* What the files of the lifter share; nobody else includes it. Guest registers live in `now`; what
 * memory does not have of them is `dirty`, and every place that can leave the unit records both in
 * a map. Values are i64 unless said otherwise; floats go by their bits. */
#define AT(member) offsetof(struct rv64_cpu, member)
enum { LOOKUPS = 32, SLOTS = 64, IN_WINDOW = 8 };
struct lookup { /* an xlat that later accesses may share */
	ir_val base, at;
	ir_val root; /* base is root + delta */
	int32_t delta, lo, hi;
	unsigned space; /* and IR_XLAT_WINDOW; or IN_WINDOW */
	uint32_t block;
};
enum {
	SEEN_FP_ON = 1 << 16,
	SEEN_DIRTY = 1 << 17,
	SEEN_V_ON = 1 << 18,
	SEEN_V_DIRTY = 1 << 19
};	       /* beside bits of host and, << 8, host_fma */
struct known { /* of a register that the region never sets */
	ir_val val;
	uint32_t block;
};
struct block_end {
	ir_val val[SLOTS]; /* newest values, {0}: not known here */
	ir_val param[SLOTS];
	uint32_t seen;
};
struct leaving { /* a block that is an exit, to be filled when all others are */
	uint32_t block, map;
	enum ir_exit how;
};
/* ---- vectors, rv64_lift_vec.c. Registers of vectors are always in memory; within a run the values
 * last put there or got from there are remembered. */
enum { RUNS = 64, V_COUNT = 32, V_KNOWN = 12 };
struct vconf {			/* what vtype says, and vl */
	int type;		/* -1: not known */
	unsigned sew, vlmax, n; /* n: vl */
	unsigned group;		/* a group begins at a multiple of this */
	unsigned regs;		/* of it hold elements below vl */
	unsigned tail;		/* bytes of the last that do; 0: all */
};
/* Instructions of a block between one vset and the next, from the first vector instruction to
 * behind the last: lifted once for vl = VLMAX and once, by calls, for everything else, if it is not
 * known before which it is. */
struct vrun {
	int first, last;
	int type;   /* as far as can be told: it is looked at when the unit runs */
	unsigned n; /* vl, if that is known to be less than VLMAX; or 0 */
	enum { RUN_CALLS, RUN_FULL, RUN_SPLIT } how;
	uint32_t fast, slow, join; /* blocks in f, of RUN_SPLIT */
};
struct vmask { /* what is known of a mask: lanes by register, and their bits; n: vl, or 0 */
	unsigned n, sew;
	ir_val lane[8], bits[8];
};
struct lift_vec {
	struct vrun run[RUNS];
	int nruns, run_of[REGION_BLOCKS + 1], type_out[REGION_BLOCKS]; /* run_of: its first run */
	/* the block, since the last vset in it */
	ir_val vl, full; /* NO: not known; full: flag, vl is VLMAX */
	bool fast;	 /* vtype and vl are conf's, vstart is 0 */
	struct vconf conf;
	ir_val reg[V_COUNT];
	unsigned known; /* of these, since it was forgotten */
	struct vmask mask[V_COUNT];
	ir_val low; /* a mask of so many bytes; or NO */
	unsigned low_bytes;
};
struct lift {
	struct ir_fn *f;
	const struct region *r;
	const struct lift_how *how;
	unsigned unrun; /* instructions of the block from `off` on */
	struct flow flow;
	struct block_end end[REGION_BLOCKS];
	uint32_t ir_last[REGION_BLOCKS];    /* where their terminators are */
	uint32_t ir_block[REGION_BLOCKS];   /* where region blocks are in f; 0 is the entry */
	uint32_t way_out[REGION_BLOCKS][2]; /* blocks of an edge's own, see blocks_make() */
	struct leaving leaving[2 * REGION_BLOCKS];
	int nleaving;
	struct lookup lookup[LOOKUPS];
	int nlookups, lookups_from;	 /* older ones have become void */
	struct known known[SLOT__COUNT]; /* SLOT_BASE, SLOT_WIN_*: read once */
	struct lift_vec v;

	/* the block being filled */
	int block;
	ir_val now[SLOTS];
	uint64_t dirty;
	uint16_t to_come[SLOTS]; /* how often the block sets what goes home early; from here on */
	uint32_t seen, entry_seen;
	uint32_t map; /* of the state at `off` as it is; 0: to be made */
	unsigned map_why;
	/* the instruction */
	const struct rv64_insn *i;
	int off;
	ir_val cond, to;
};

/* ---- emitting ---- */
#define NO ((ir_val){0})
static inline ir_val e1(struct lift *l, enum ir_op op, enum ir_type t, ir_val a)
{
	return ir_emit(l->f, op, t, a, NO, NO);
}
static inline ir_val e2(struct lift *l, enum ir_op op, ir_val a, ir_val b)
{
	return ir_emit(l->f, op, IR_I64, a, b, NO);
}
static inline ir_val konst(struct lift *l, uint64_t k) { return ir_konst(l->f, IR_I64, k); }
static inline ir_val low(struct lift *l, ir_val a) { return e1(l, IR_trunc, IR_I32, a); }
static inline ir_val op32(struct lift *l, enum ir_op op, ir_val a, ir_val b)
{
	return ir_emit(l->f, op, IR_I32, low(l, a), low(l, b), NO);
}
static inline const struct ir_ins *ins(const struct lift *l, ir_val v) { return ir_at(l->f, v); }

/* rv64_lift.c */
/* The map of the state before this instruction. */
uint32_t lift_map(struct lift *l, unsigned why);
/* Leave by it if cond is 0. */
void lift_guard(struct lift *l, ir_val cond, unsigned why);
ir_val lift_reg(struct lift *l, unsigned s);
void lift_set(struct lift *l, unsigned s, ir_val v);
bool lift_is_single(const struct lift *l, unsigned s); /* a register that holds f32s only */
ir_val lift_unbox(struct lift *l, ir_val bits);	       /* the f32 in a NaN-boxed register */

/* What a slot that the unit does not change holds. */
ir_val lift_fixed(struct lift *l, unsigned slot);

/* rv64_lift_mem.c: accesses of `bits` bits */
enum amo { AMO_swap, AMO_add, AMO_and, AMO_or, AMO_xor, AMO_min, AMO_max, AMO_minu, AMO_maxu };
ir_val lift_load(struct lift *l, ir_val va, unsigned bits);
void lift_store(struct lift *l, ir_val va, ir_val v, unsigned bits);
ir_val lift_amo(struct lift *l, enum amo op, const void *fn, ir_val va, ir_val v, unsigned bits);
ir_val lift_lr(struct lift *l, ir_val va, unsigned bits);
ir_val lift_sc(struct lift *l, ir_val va, ir_val v, unsigned bits); /* 0: stored */
/* Registers, 16 bytes each; of the last it may be 1, 2, 4 or 8, loaded several times over. All are
 * loaded, or the unit is left before any of this is seen. */
void lift_load_vector(struct lift *l, ir_val va, ir_val *v, unsigned bytes);
void lift_store_vector(struct lift *l, ir_val va, const ir_val *v, unsigned bytes);

/* rv64_lift_fp.c */
ir_val lift_fbits(struct lift *l, unsigned n);	      /* of register n, all 64 */
ir_val lift_fbits_single(struct lift *l, unsigned n); /* of the f32 in it */
void lift_fset(struct lift *l, unsigned n, ir_val bits, bool single);
void lift_fp_dirty(struct lift *l);
void lift_fp_on(struct lift *l);	       /* what floating point needs: mstatus.FS, */
void lift_rounds(struct lift *l, unsigned rm); /* the host's unit rounding so, */
void lift_fuses(struct lift *l, unsigned rm);  /* and multiplying and adding so */
enum fp_how {
	FP_ARITH,
	FP_FUSED,
	FP_COMPARE,
	FP_TO_INT,
	FP_TO_UINT,
	FP_FROM,
	FP_FROM_U,
	FP_CONVERT
};
/* A function of isa/rv64/fp.h, and what does the same here; op 0: nothing does. */
struct fp_op {
	const void *fn;
	uint8_t op, type, how, width;
};
/* On n operands; rm: the function takes the rounding mode last. */
ir_val lift_fp_op(struct lift *l, const struct fp_op *o, const ir_val *bits, unsigned n, bool rm);
void lift_fp_csr(struct lift *l); /* an instruction that rv64_fp_csr() is true of */

/* rv64_lift.c */
void lift_put_home(struct lift *l, uint64_t set);   /* those of them that are dirty */
const struct slot *lift_slot(const struct lift *l); /* the instruction, decoded */
const struct rv64_effects *lift_effects(const struct lift *l, int off);

/* rv64_lift_vec.c */
void lift_v_plan(struct lift *l);			  /* find the runs */
void lift_v_block(struct lift *l, int b);		  /* a block begins */
ir_val lift_v_full(struct lift *l, const struct vrun *r); /* flag: it may be lifted as fast */
void lift_v_start(struct lift *l, const struct vrun *r, bool fast);
void lift_v_end(struct lift *l, const struct vrun *r);
void lift_v_needs(struct lift *l); /* vectors are on, and dirty */
void lift_vset(struct lift *l);
void lift_v_csr(struct lift *l);
/* fn does it, too, and takes `what` as its third argument. */
void lift_vector(struct lift *l, const void *fn, uint64_t what);
#endif
