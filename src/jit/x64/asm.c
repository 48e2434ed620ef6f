/* Why: see asm.h. The one idea: an opcode is a number that says its prefix, map, byte and width, so
 * that one function writes every legacy instruction and one every VEX instruction. */
#include "jit/x64/asm.h"

static const uint8_t prefix_byte[4] = {0, 0x66, 0xf3, 0xf2};

static unsigned hi(unsigned r) { return r != NOREG && r >= 8; }

/* Bytes go by a pointer of one's own: a->p might be what they are written to, for all that the
 * compiler knows. */
static inline uint8_t *put_byte(uint8_t *p, unsigned v)
{
	*p = (uint8_t)v;
	return p + 1;
}
/* No branch that could be guessed wrong: what comes next takes its place otherwise. */
static inline uint8_t *put_byte_if(bool is, uint8_t *p, unsigned v)
{
	*p = (uint8_t)v;
	return p + is;
}
static inline uint8_t *put_word(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
	return p + 4;
}
static inline uint8_t *modrm(uint8_t *p, unsigned mod, unsigned reg, unsigned rm)
{
	return put_byte(p, mod << 6 | (reg & 7) << 3 | (rm & 7));
}

/* ModRM, SIB and displacement. A base of 5 (mod 3 low bits) always has a displacement, a base of 4
 * always has a SIB byte. imm: how many bytes are to follow, which rip-relative ones must know. */
static inline uint8_t *operand(uint8_t *p, unsigned reg, struct rm m, unsigned imm)
{
	if (m.reg != NOREG) return modrm(p, 3, reg, m.reg);
	if (m.base == NOREG && m.at) {
		p = modrm(p, 0, reg, 5);
		return put_word(p, (uint32_t)((intptr_t)m.at - (intptr_t)(p + 4 + imm)));
	}
	unsigned index = (m.index == NOREG ? (unsigned)RSP : m.index) & 7;
	if (m.base == NOREG) {
		p = modrm(p, 0, reg, RSP);
		p = put_byte(p, (unsigned)m.scale << 6 | index << 3 | RBP);
		return put_word(p, (uint32_t)m.disp);
	}
	unsigned base = m.base & 7;
	bool some = (m.disp != 0) | (base == RBP), wide = !fits8(m.disp);
	bool sib = (m.index != NOREG) | (base == RSP);
	p = modrm(p, wide ? 2 : some, reg, sib ? (unsigned)RSP : base);
	p = put_byte_if(sib, p, (unsigned)m.scale << 6 | index << 3 | base);
	(void)put_word(p, (uint32_t)m.disp);
	return p + (wide ? 4 : some);
}
void x64_operand(struct x64_asm *a, unsigned reg, struct rm m, unsigned imm)
{
	a->p = operand(a->p, reg, m, imm);
}

static unsigned rex_bits(unsigned reg, struct rm m)
{
	unsigned b = m.reg != NOREG ? m.reg : m.base;
	return hi(reg) << 2 | (m.reg == NOREG && hi(m.index) ? 2u : 0) | hi(b);
}

void op_rm(struct x64_asm *a, uint32_t op, unsigned reg, struct rm rm, unsigned imm)
{
	uint8_t *p = a->p;
	unsigned rex = rex_bits(reg, rm) | (op & OP_W ? 8u : 0), prefix = op >> 10 & 3;
	unsigned map = op >> 8 & 3;
	bool byte = op & OP_BYTE && (reg >= 4 || (rm.reg != NOREG && rm.reg >= 4));
	p = put_byte_if(prefix, p, prefix_byte[prefix]);
	p = put_byte_if(rex | byte, p, 0x40 | rex);
	p = put_byte_if(map, p, 0x0f);
	p = put_byte_if(map > 1, p, map == 2 ? 0x38 : 0x3a);
	p = put_byte(p, op & 0xff);
	a->p = operand(p, reg, rm, imm);
}

void vex_rm(struct x64_asm *a, uint32_t op, unsigned reg, unsigned v, struct rm rm, unsigned imm)
{
	uint8_t *p = a->p;
	unsigned rex = rex_bits(reg, rm), map = op >> 8 & 3, w = op & OP_W ? 1u : 0;
	unsigned tail = (~v & 15) << 3 | (op >> 10 & 3);
	if (map == 1 && !w && !(rex & 3)) {
		p = put_byte(p, 0xc5);
		p = put_byte(p, (rex & 4 ? 0 : 0x80u) | tail);
	} else {
		p = put_byte(p, 0xc4);
		p = put_byte(p, (~rex & 7) << 5 | map);
		p = put_byte(p, w << 7 | tail);
	}
	p = put_byte(p, op & 0xff);
	a->p = operand(p, reg, rm, imm);
}

void vec(struct x64_asm *a, uint32_t op, unsigned dst, unsigned x, struct rm rm)
{
	if (a->avx) {
		vex_rm(a, op, dst, x, rm, 0);
		return;
	}
	if (dst != x) op_rr(a, OP(0, 1, 0x28), dst, x);
	op_rm(a, op, dst, rm, 0);
}

void vec2(struct x64_asm *a, uint32_t op, unsigned dst, struct rm rm)
{
	if (a->avx)
		vex_rm(a, op, dst, 0, rm, 0);
	else
		op_rm(a, op, dst, rm, 0);
}

void alu_imm(struct x64_asm *a, enum alu op, uint32_t w, struct rm rm, int32_t imm)
{
	if (fits8(imm)) {
		op_rm(a, OP(0, 0, 0x83) + w, op, rm, 1);
		put8(a, (uint32_t)imm);
	} else {
		op_rm(a, OP(0, 0, 0x81) + w, op, rm, 4);
		put32(a, (uint32_t)imm);
	}
}

void mov_imm(struct x64_asm *a, unsigned d, uint64_t k)
{
	if (k <= UINT32_MAX) {
		if (hi(d)) put8(a, 0x41);
		put8(a, 0xb8 | (d & 7));
		put32(a, (uint32_t)k);
	} else if (fits32((int64_t)k)) {
		op_rm(a, OP(0, 0, 0xc7) + OP_W, 0, rm_reg(d), 4);
		put32(a, (uint32_t)k);
	} else {
		put8(a, 0x48 | hi(d));
		put8(a, 0xb8 | (d & 7));
		put64(a, k);
	}
}

void mov_store_imm(struct x64_asm *a, unsigned bytes, struct rm m, int32_t k)
{
	unsigned len = bytes == 8 ? 4 : bytes;
	uint32_t op = bytes == 1 ? OP(0, 0, 0xc6) : bytes == 2 ? OP(0x66, 0, 0xc7) : OP(0, 0, 0xc7);
	op_rm(a, op + (bytes == 8 ? OP_W : 0), 0, m, len);
	memcpy(a->p, &k, len);
	a->p += len;
}

void shift_imm(struct x64_asm *a, enum shift op, uint32_t w, unsigned d, unsigned by)
{
	if (by == 1) {
		op_rm(a, OP(0, 0, 0xd1) + w, op, rm_reg(d), 0);
		return;
	}
	op_rm(a, OP(0, 0, 0xc1) + w, op, rm_reg(d), 1);
	put8(a, by);
}

void jump_to(struct x64_asm *a, const void *at)
{
	intptr_t d = (intptr_t)at - (intptr_t)(a->p + 2);
	if (fits8(d)) {
		put8(a, 0xeb);
		put8(a, (uint32_t)d);
	} else {
		set_rel32(jump_later(a), at);
	}
}

void jcc_to(struct x64_asm *a, enum cc cc, const void *at)
{
	intptr_t d = (intptr_t)at - (intptr_t)(a->p + 2);
	if (fits8(d)) {
		put8(a, 0x70u | cc);
		put8(a, (uint32_t)d);
	} else {
		set_rel32(jcc_later(a, cc), at);
	}
}

void call_to(struct x64_asm *a, const void *at)
{
	put8(a, 0xe8);
	put32(a, 0);
	set_rel32(a->p - 4, at);
}

uint8_t *jump_later(struct x64_asm *a)
{
	put8(a, 0xe9);
	put32(a, 0);
	return a->p - 4;
}

uint8_t *jcc_later(struct x64_asm *a, enum cc cc)
{
	put8(a, 0x0f);
	put8(a, 0x80u | cc);
	put32(a, 0);
	return a->p - 4;
}
