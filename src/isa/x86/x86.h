#ifndef ISA_X86_X86_H
#define ISA_X86_X86_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* What bytes are which instruction, in the 16, 32 and 64 bit modes of x86. From x86.isa; source of
 * the table: Intel SDM volume 2 (chapters 2 to 5, appendix A), AMD APM volume 3. */
enum x86_op {
#include "isa/x86/x86.enum.inc"
};
enum x86_mode { X86_16, X86_32, X86_64 }; /* the size that CS gives: CS.L, else CS.D */
enum x86_segment { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS };
enum x86_kind {
	X86_NONE,
	X86_REG,  /* general register, low `size` bytes */
	X86_HIGH, /* AH, CH, DH, BH are reg 0 to 3 */
	X86_MEM,  /* what seg, base, index, scale and disp say */
	X86_SI,	  /* memory at seg:rSI */
	X86_DI,	  /* memory at ES:rDI */
	X86_IMM,  /* imm */
	X86_IMM2, /* imm2 */
	X86_REL,  /* a branch: imm behind the next instruction */
	X86_FAR,  /* imm2:imm */
	X86_SEG,
	X86_CR,
	X86_DR,
	X86_MMX,
	X86_XMM, /* XMM of size 16, YMM of 32 */
	X86_ST,
};
enum { X86_RIP = 16, X86_NOREG = 255 };

/* Where in its bytes an instruction names a register (or memory), for those who encode it anew. */
enum x86_at { X86_AT_NOWHERE, X86_AT_REG, X86_AT_RM, X86_AT_VVVV, X86_AT_OPCODE };
struct x86_operand {
	uint8_t kind, reg;
	uint8_t size; /* bytes; 0 where the operation itself says (lea, fxsave...) */
	uint8_t at;   /* enum x86_at */
};
struct x86_insn {
	uint16_t op;	      /* enum x86_op */
	uint16_t form;	      /* line of the table, for x86_form_* */
	uint8_t len;	      /* bytes, 1 to 15 */
	uint8_t mode;	      /* enum x86_mode */
	uint8_t osize, asize; /* operand and address size in bytes: 2, 4, 8 */
	uint8_t operands;
	uint8_t seg;		/* enum x86_segment of the memory operand, override or default */
	uint8_t seg_over;	/* override as written and in force, or X86_NOREG */
	uint8_t rep;		/* 0, 0xf2 or 0xf3: the last one of them */
	uint8_t rex;		/* 0x40 and W R X B (also those of VEX), 0 without any */
	uint8_t vex;		/* length of the VEX prefix, 0 without */
	bool lock, has_mem, vl; /* vl: VEX.L */
	uint8_t cc;		/* condition of jcc, setcc, cmovcc: 0 (O) to 15 (G) */
	uint8_t modrm;		/* as it stands, if there is one */
	uint8_t base,
		index; /* register, X86_RIP, X86_NOREG; index of a gather is a vector register */
	uint8_t scale; /* 1, 2, 4, 8 */
	uint8_t disp_at, disp_len, imm_at, imm_len; /* where in the bytes; len 0 for none */
	uint16_t imm2;
	struct x86_operand o[4]; /* in the order of Intel's syntax */
	int64_t disp, imm;	 /* sign-extended; imm of shifts, in, out, int... zero-extended */
};
enum x86_decoded {
	X86_OK,
	X86_BAD,  /* #UD; op is X86_OP_illegal */
	X86_LONG, /* more than 15 bytes: #GP(0) */
	X86_MORE, /* what is given is the beginning of an instruction, of no more than 15 bytes */
};
/* Reads at most `avail` bytes at code, and sets *in entirely if X86_OK. What only a state can tell
 * is not looked at: real mode, privilege, CPUID bits; the engine refuses those. */
enum x86_decoded x86_decode(struct x86_insn *in, const uint8_t *code, size_t avail,
			    enum x86_mode mode);

/* Flags are bits of EFLAGS. A flag in none of the sets is unchanged. */
struct x86_op_info {
	const char *name;
	bool lock, rep;	 /* lock: may be locked when operand 0 is memory */
	uint16_t writes; /* to defined values (shifts by 0: not at all) */
	uint16_t undefines, reads;
	/* Bit n: operand n, as far as it is memory or a general register; registers of addresses
	 * are read besides. Bit r: general register r, which is no operand. Sometimes: RCX only
	 * with REP; RDX not by bytes. To write 1 or 2 bytes of a register is also to read it. */
	uint8_t reads_o, writes_o;
	uint16_t reads_r, writes_r;
};
extern const struct x86_op_info x86_ops[];
static inline const struct x86_op_info *x86_op_info(enum x86_op op) { return &x86_ops[op]; }

/* General registers that in may change, as bits: operands and others, in whole or in part. */
uint32_t x86_written(const struct x86_insn *in);

/* Bytes that are form number `form`, made from the random bits that next() gives; their number,
 * or 0 if there is no such form in that mode. 16 bytes of room. For tests. */
unsigned x86_form_bytes(unsigned form, enum x86_mode mode, uint8_t *out, uint64_t (*next)(void));
unsigned x86_form_count(void);
enum x86_op x86_form_op(unsigned form);
#endif
