#ifndef JIT_X64_ASM_H
#define JIT_X64_ASM_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
/* x86-64 instructions into memory. An instruction is its opcode (prefix, map and byte in one
 * number, see OP), a width, a register and an operand that is a register or memory; everything
 * else follows from these. Written at `p`, which the caller keeps off the end of the buffer: no
 * instruction is longer than 15 bytes, and up to 4 more behind it are overwritten. */
enum reg {
	RAX,
	RCX,
	RDX,
	RBX,
	RSP,
	RBP,
	RSI,
	RDI,
	R8,
	R9,
	R10,
	R11,
	R12,
	R13,
	R14,
	R15, /**/
	NOREG = 0xff
};
struct x64_asm {
	uint8_t *p;
	bool avx; /* vec() encodes three operands */
};
struct rm { /* a register, or memory at base + index << scale + disp */
	union {
		struct {
			uint8_t reg, base, index, scale; /* reg NOREG: memory. base NOREG: see at */
			int32_t disp;
		};
		uint64_t
			all; /* made as one, since it is passed as one: bytes would be waited for */
	};
	const void *at; /* an address within 2 GiB of the code; NULL: index << scale + disp */
};
/* Prefix (0, 0x66, 0xf3, 0xf2), map (0: one byte, 1: 0f, 2: 0f38, 3: 0f3a), byte. */
#define OP(prefix, map, byte)                                                                      \
	((uint32_t)(byte) | (map) << 8 |                                                           \
	 ((prefix) == 0x66   ? 1u                                                                  \
	  : (prefix) == 0xf3 ? 2u                                                                  \
	  : (prefix) == 0xf2 ? 3u                                                                  \
			     : 0u)                                                                 \
		 << 10)
#define OP_BYTE 0x1000u /* its registers are bytes: 4-7 are spl.. unless there is a REX */
#define OP_W	0x2000u /* REX.W, VEX.W: 64 bits */

enum cc { /* conditions; the low bit inverts */
	  CC_O,
	  CC_NO,
	  CC_B,
	  CC_AE,
	  CC_E,
	  CC_NE,
	  CC_BE,
	  CC_A,
	  CC_S,
	  CC_NS,
	  CC_P,
	  CC_NP,
	  CC_L,
	  CC_GE,
	  CC_LE,
	  CC_G
};
enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
enum shift { SH_ROL, SH_ROR, SH_SHL = 4, SH_SHR, SH_SAR = 7 };

static inline struct rm rm_of(unsigned reg, unsigned base, unsigned index, unsigned scale,
			      int32_t disp)
{
	uint32_t low = (uint8_t)reg | (base & 0xff) << 8 | (index & 0xff) << 16 | scale << 24;
	return (struct rm){.all = low | (uint64_t)(uint32_t)disp << 32};
}
static inline struct rm rm_reg(unsigned r) { return rm_of(r, 0, 0, 0, 0); }
static inline struct rm rm_mem(unsigned base, int32_t disp)
{
	return rm_of(NOREG, base, NOREG, 0, disp);
}
static inline struct rm rm_index(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
	return rm_of(NOREG, base, index, scale, disp);
}
static inline struct rm rm_at(const void *at)
{
	struct rm rm = rm_of(NOREG, NOREG, NOREG, 0, 0);
	rm.at = at;
	return rm;
}

static inline void put8(struct x64_asm *a, unsigned v) { *a->p++ = (uint8_t)v; }
static inline void put32(struct x64_asm *a, uint32_t v)
{
	memcpy(a->p, &v, 4);
	a->p += 4;
}
static inline void put64(struct x64_asm *a, uint64_t v)
{
	memcpy(a->p, &v, 8);
	a->p += 8;
}
static inline bool fits8(int64_t v) { return v == (int8_t)v; }
static inline bool fits32(int64_t v) { return v == (int32_t)v; }

/* op reg, rm. imm: bytes of immediate that the caller will put behind it. */
void op_rm(struct x64_asm *a, uint32_t op, unsigned reg, struct rm rm, unsigned imm);
/* ModRM, SIB and displacement alone, for who has the other bytes. */
void x64_operand(struct x64_asm *a, unsigned reg, struct rm m, unsigned imm);
/* VEX: op reg, v, rm */
void vex_rm(struct x64_asm *a, uint32_t op, unsigned reg, unsigned v, struct rm rm, unsigned imm);
/* op dst, x, rm: VEX if there is AVX, else a move and the two-operand form. dst may be in rm only
 * if it is x as well, or with AVX. */
void vec(struct x64_asm *a, uint32_t op, unsigned dst, unsigned x, struct rm rm);
/* op dst, rm, with or without VEX: moves, compares, conversions from vector registers */
void vec2(struct x64_asm *a, uint32_t op, unsigned dst, struct rm rm);

static inline void op_rr(struct x64_asm *a, uint32_t op, unsigned reg, unsigned r)
{
	op_rm(a, op, reg, rm_reg(r), 0);
}
void alu_imm(struct x64_asm *a, enum alu op, uint32_t w, struct rm rm, int32_t imm);
static inline void alu_rm(struct x64_asm *a, enum alu op, uint32_t w, unsigned reg, struct rm rm)
{
	op_rm(a, OP(0, 0, 0x03) + (op << 3) + w, reg, rm, 0);
}
static inline void alu_rr(struct x64_asm *a, enum alu op, uint32_t w, unsigned d, unsigned s)
{
	alu_rm(a, op, w, d, rm_reg(s));
}
static inline void mov_rr(struct x64_asm *a, uint32_t w, unsigned d, unsigned s)
{
	op_rr(a, OP(0, 0, 0x8b) + w, d, s);
}
static inline void mov_load(struct x64_asm *a, uint32_t w, unsigned d, struct rm m)
{
	op_rm(a, OP(0, 0, 0x8b) + w, d, m, 0);
}
static inline void mov_store(struct x64_asm *a, uint32_t w, struct rm m, unsigned s)
{
	op_rm(a, OP(0, 0, 0x89) + w, s, m, 0);
}
static inline void lea(struct x64_asm *a, uint32_t w, unsigned d, struct rm m)
{
	if (m.index == NOREG && !m.disp)
		mov_rr(a, w, d, m.base);
	else
		op_rm(a, OP(0, 0, 0x8d) + w, d, m, 0);
}
void mov_imm(struct x64_asm *a, unsigned d, uint64_t k); /* leaves the flags alone */
void mov_store_imm(struct x64_asm *a, unsigned bytes, struct rm m, int32_t k);
void shift_imm(struct x64_asm *a, enum shift op, uint32_t w, unsigned d, unsigned by);
void jump_to(struct x64_asm *a, const void *at);
void jcc_to(struct x64_asm *a, enum cc cc, const void *at);
void call_to(struct x64_asm *a, const void *at);
/* With a displacement to be set later; where that is. */
uint8_t *jump_later(struct x64_asm *a);
uint8_t *jcc_later(struct x64_asm *a, enum cc cc);
static inline void set_rel32(uint8_t *at, const void *to)
{
	int32_t d = (int32_t)((const uint8_t *)to - (at + 4));
	memcpy(at, &d, 4);
}
#endif
