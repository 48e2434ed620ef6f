#ifndef ENGINE_X86_BLOCK_H
#define ENGINE_X86_BLOCK_H
#include "engine/x86_code.h"
#include "engine/x86_window.h"
/* Inside the translator: a block on its way from guest code (x86_block.c) to the host's
 * (x86_emit.c). */
enum class {
	C_COPY,
	C_NOTHING,
	C_LEA,
	C_BIT, /* bt and the like with a bit offset in a register, in memory */
	C_JCC,
	C_JMP,
	C_JMPI,
	C_CALL,
	C_CALLI,
	C_RET,
	C_PUSH,
	C_POP,
	C_LEAVE,
	C_STAC,
	C_CLAC,
	C_RDTSC,
	C_IF, /* cli, sti */
	C_PUSHF,
	C_CLD,
	C_SWAPGS,
	C_SERIALIZE,
	C_REP,
	C_STEP,
	C_END,
};
enum { NO_GROUP = 0xff, GROUP_SPAN = 512, GROUPS = X86_ADDS, COLDS = 8 * JIT_BLOCK_INSNS };
enum where { HOST = 1, SLOT = 2 }; /* the guest's flags; both is possible */

struct access { /* linear address: base + (index << scale) + disp, cut to 32 bits; + seg's base */
	uint8_t base, index, scale, seg; /* X86_RIP, X86_NOREG; scale as a shift */
	bool a32, write, bits;		 /* bits: + what operand 1 counts in bits */
	uint8_t size;			 /* 0: there is none */
	uint8_t win;			 /* enum x86_cluster that it is in, of the window */
	int32_t disp;
};
struct insn {
	struct x86_insn in;
	struct access m;
	uint8_t class, view, group, state_after;
	bool steady;	/* what is to be looked at of m was so before the block's loop */
	bool sure;	/* nothing is to be looked at of m */
	uint8_t m2_win; /* of the operand of a push, jmp or call, which is looked up besides */
	uint16_t off, live, before; /* flags needed behind it, before it */
	const uint8_t *bytes;
	int32_t at; /* of m from its base's value when the group began */
	uint8_t *host;
};
struct group {
	uint8_t base, first, from, at; /* in the window: looked at before instruction `at` */
	uint8_t win;	/* enum x86_cluster: all of them by one base there, whatever they are */
	int32_t lo, hi; /* bytes from the base's value when it began */
	uint16_t n;
	bool write, done;
	bool steady; /* looked at before the block's loop */
	bool sure;   /* nothing to look at */
};
struct cold { /* code out of line */
	enum {
		COLD_MEM,
		COLD_LINK,
		COLD_FAR,
		COLD_SAVE,
		COLD_CROSS,
		COLD_OUT,
		COLD_POLL,
		COLD_SPENT, /* too many instructions have run */
		COLD_END
	} kind;
	uint8_t *from, *back; /* rel32 that leads here; where to go on */
	unsigned insn, view;
	int64_t target; /* from the page's beginning */
	bool ahead;	/* which is further down */
	uint32_t info;
	struct access m;
	unsigned state, done; /* tr's */
};
struct ahead { /* an instruction that has been looked at from before it, or is one of the block's */
	struct x86_insn own;
	const struct x86_insn *in; /* NULL: none that is all in its page */
	uint64_t run;		   /* which block was translated: others are void */
	uint16_t off;
	uint8_t class;
	uint8_t wants; /* 1 + x86_wants_flags(); 0: not asked yet */
};
enum { AHEAD = 128 };
struct tr {
	struct x86_jit *j;
	uint64_t run;
	unsigned me; /* the block's index */
	struct x64_asm a;
	const uint8_t *code;
	gpa_t page;
	unsigned start, variant, n, groups, colds, state, view;
	unsigned end;	/* offset where it goes on behind the last, up to 4096; JIT_NOT: nowhere */
	bool end_steps; /* what is there is the interpreter's */
	bool plain;
	int64_t la;	       /* of the page, if VARIANT_FIXED */
	bool loops;	       /* it goes back to its beginning, behind what is looked at once */
	unsigned back, rounds; /* if so: by which instruction; how often it is there in a row */
	uint16_t head_live;
	uint8_t *body, *slot, *loop;
	uint8_t *hot_end; /* what comes behind is out of line */
	unsigned prefix;  /* of the access that has been looked up: 0x65, or 0 */
	unsigned done;	  /* instructions that have run and not been counted */
	bool counted;	  /* this one has been, before its end */
	gpa_t cross;	  /* where the last instruction ends, or CROSS_NOT */
	uint8_t edge[32]; /* that instruction */
	struct insn i[JIT_BLOCK_INSNS + 1];
	struct group g[GROUPS];
	struct cold cold[COLDS];
	struct ahead ahead[AHEAD];
};

/* Operand op, a register, is written as a whole and not read. */
bool x86_only_comes(const struct x86_insn *in, unsigned op);
/* Which operand is memory; -1: none. */
int x86_mem_operand_of(const struct x86_insn *in);
/* Operand `op` of i as an access. False: its displacement does not fit. */
bool x86_access_of(struct access *m, const struct insn *i, unsigned op);
/* From the page's beginning. */
int64_t x86_branch_target(const struct insn *i);
/* Nothing of the block comes behind an instruction of that class. */
bool x86_ends_block(unsigned class);
/* Where a block that begins at off wants the flags: enum where, or 0. */
unsigned x86_wants_flags(struct tr *t, int64_t off);
/* Fills in live, before, head_live. */
void x86_find_flags(struct tr *t);
/* A base and a displacement. */
bool x86_is_simple(const struct access *m);
/* Fills in groups. */
void x86_find_groups(struct tr *t);
/* Fills in loops, back, rounds, steady. */
void x86_find_loop(struct tr *t);
/* A branch there comes to the block's own beginning. */
bool x86_is_self(const struct tr *t, int64_t target);
/* Fills in the instructions, n, end. */
void x86_decode_block(struct tr *t);
/* x86_emit_count.c, where instructions are counted. Those that have run, and `more`; reg is lost,
 * no flag is. */
void x86_emit_counted(struct tr *t, unsigned more, unsigned reg);
/* In a block's head: who has run too far goes the way whose jump is answered. RCX is in save[2]
 * there. */
uint8_t *x86_emit_spent(struct tr *t);
/* Note what the bytes at rm are before they are stored to; nothing is lost. */
void x86_emit_log(struct tr *t, struct rm rm, unsigned bytes);
#endif
