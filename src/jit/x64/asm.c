/* Why: see asm.h. The one idea: an opcode is a number that says its prefix, map, byte and width, so
 * that one function writes every legacy instruction and one every VEX instruction. */
#include "jit/x64/asm.h"

static const uint8_t prefix_byte[4] = {0, 0x66, 0xf3, 0xf2};

static unsigned hi(unsigned r) { return r != NOREG && r >= 8; }

static void modrm(struct x64_asm *a, unsigned mod, unsigned reg, unsigned rm)
{
	put8(a, mod << 6 | (reg & 7) << 3 | (rm & 7));
}

/* ModRM, SIB and displacement. A base of 5 (mod 3 low bits) always has a displacement, a base of 4
 * always has a SIB byte. imm: how many bytes are to follow, which rip-relative ones must know. */
void x64_operand(struct x64_asm *a, unsigned reg, const struct rm *m, unsigned imm)
{
	if (m->reg != NOREG) {
		modrm(a, 3, reg, m->reg);
		return;
	}
	if (m->base == NOREG && m->at) {
		modrm(a, 0, reg, 5);
		put32(a, (uint32_t)((intptr_t)m->at - (intptr_t)(a->p + 4 + imm)));
		return;
	}
	if (m->base == NOREG) {
		modrm(a, 0, reg, RSP);
		put8(a, (unsigned)m->scale << 6 |
				((m->index == NOREG ? (unsigned)RSP : m->index) & 7) << 3 | RBP);
		put32(a, (uint32_t)m->disp);
		return;
	}
	unsigned mod = m->disp == 0 && (m->base & 7) != RBP ? 0 : fits8(m->disp) ? 1 : 2;
	if (m->index == NOREG && (m->base & 7) != RSP) {
		modrm(a, mod, reg, m->base);
	} else {
		unsigned index = m->index == NOREG ? RSP : m->index;
		modrm(a, mod, reg, RSP);
		put8(a, (unsigned)m->scale << 6 | (index & 7) << 3 | (m->base & 7));
	}
	if (mod == 1)
		put8(a, (uint32_t)m->disp);
	else if (mod == 2)
		put32(a, (uint32_t)m->disp);
}

static unsigned rex_bits(unsigned reg, const struct rm *m)
{
	unsigned b = m->reg != NOREG ? m->reg : m->base;
	return hi(reg) << 2 | (m->reg == NOREG && hi(m->index) ? 2u : 0) | hi(b);
}

void op_rm(struct x64_asm *a, uint32_t op, unsigned reg, struct rm rm, unsigned imm)
{
	unsigned rex = rex_bits(reg, &rm) | (op & OP_W ? 8u : 0), prefix = op >> 10 & 3;
	if (prefix) put8(a, prefix_byte[prefix]);
	if (rex || (op & OP_BYTE && (reg >= 4 || (rm.reg != NOREG && rm.reg >= 4))))
		put8(a, 0x40 | rex);
	unsigned map = op >> 8 & 3;
	if (map) put8(a, 0x0f);
	if (map > 1) put8(a, map == 2 ? 0x38 : 0x3a);
	put8(a, op & 0xff);
	x64_operand(a, reg, &rm, imm);
}

void vex_rm(struct x64_asm *a, uint32_t op, unsigned reg, unsigned v, struct rm rm, unsigned imm)
{
	unsigned rex = rex_bits(reg, &rm), map = op >> 8 & 3, w = op & OP_W ? 1u : 0;
	unsigned tail = (~v & 15) << 3 | (op >> 10 & 3);
	if (map == 1 && !w && !(rex & 3)) {
		put8(a, 0xc5);
		put8(a, (rex & 4 ? 0 : 0x80u) | tail);
	} else {
		put8(a, 0xc4);
		put8(a, (~rex & 7) << 5 | map);
		put8(a, w << 7 | tail);
	}
	put8(a, op & 0xff);
	x64_operand(a, reg, &rm, imm);
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
