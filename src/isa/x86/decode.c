/* x86_decode: prefixes, then the opcode's tree from the table, then the operands of the line that
 * it ends at. Bytes are read without asking whether they are there: near the end of what is given
 * they are first copied to a buffer that is longer than any instruction can claim to be, and
 * whether too much was read is decided afterwards. */
#include "base/err.h"
#include "base/types.h"
#include "isa/x86/table.h"
#define X86_TABLES 1
#include "isa/x86/x86.info.inc"

_Static_assert((int)DIMS == (int)X86_DIMS, "table.h knows the dimensions");
const unsigned x86_nforms = COUNT(x86_forms);

enum { LONGEST = 15, ROOM = 48 };
/* What a byte is before the opcode; segments are P_SEG + enum x86_segment. */
enum { P_NONE, P_REX, P_66, P_67, P_LOCK, P_REP, P_SEG };
#define SEGMENTS                                                                                   \
	[0x26] = P_SEG + X86_ES, [0x2e] = P_SEG + X86_CS, [0x36] = P_SEG + X86_SS,                 \
	[0x3e] = P_SEG + X86_DS, [0x64] = P_SEG + X86_FS, [0x65] = P_SEG + X86_GS
#define OTHERS [0x66] = P_66, [0x67] = P_67, [0xf0] = P_LOCK, [0xf2] = P_REP, [0xf3] = P_REP
static const uint8_t prefixes[2][256] = {
	{SEGMENTS, OTHERS},
	{SEGMENTS, OTHERS, [0x40 ... 0x4f] = P_REX},
};
/* Bytes of an operand of a type, by operand size (16, 32, 64) and, behind those, with VEX.L. */
static const uint8_t sizes[T__max][6] = {
	[T_b] = {1, 1, 1, 1, 1, 1},	  [T_bs] = {1, 1, 1, 1, 1, 1},
	[T_w] = {2, 2, 2, 2, 2, 2},	  [T_d] = {4, 4, 4, 4, 4, 4},
	[T_q] = {8, 8, 8, 8, 8, 8},	  [T_v] = {2, 4, 8, 2, 4, 8},
	[T_z] = {2, 4, 4, 2, 4, 4},	  [T_y] = {4, 4, 8, 4, 4, 8},
	[T_p] = {4, 6, 10, 4, 6, 10},	  [T_s] = {6, 6, 10, 6, 6, 10},
	[T_a] = {4, 8, 8, 4, 8, 8},	  [T_dq] = {16, 16, 16, 16, 16, 16},
	[T_x] = {16, 16, 16, 32, 32, 32}, [T_h] = {8, 8, 8, 16, 16, 16},
	[T_i] = {4, 4, 4, 8, 8, 8},	  [T_j] = {2, 2, 2, 4, 4, 4},
	[T_t] = {10, 10, 10, 10, 10, 10}, [T_e] = {14, 28, 28, 14, 28, 28},
	[T_rv] = {2, 2, 2, 2, 2, 2},	  [T_rw] = {2, 2, 2, 2, 2, 2},
	[T_rb] = {1, 1, 1, 1, 1, 1},
};
/* All that is known of the instruction while it is read. */
struct reader {
	const uint8_t *p, *code;
	unsigned osz;	    /* 0 16 bits, 1 32, 2 64 */
	unsigned vvvv, pfx; /* pfx: 0 none, 1 66, 2 f3, 3 f2, as a choice among lines */
	bool is66, imm_read;
	uint8_t number[4]; /* of registers, by enum source */
};

/* n bytes, sign-extended. However many they are, it is the same code: a branch by what comes next
 * would be guessed wrong. */
static inline int64_t take(struct reader *r, unsigned n)
{
	uint64_t v = load_le(r->p, 8);
	r->p += n;
	unsigned up = 64 - 8 * n;
	return (int64_t)(v << up) >> up;
}
static inline int64_t take_disp(struct x86_insn *in, struct reader *r, unsigned n)
{
	in->disp_at = (uint8_t)(r->p - r->code);
	in->disp_len = (uint8_t)n;
	return take(r, n);
}

/* ---- prefixes ---- */

static inline void read_prefixes(struct x86_insn *in, struct reader *r, bool is64)
{
	const uint8_t *kind = prefixes[is64], *end = r->p + LONGEST;
	unsigned k;
	while (unlikely((k = kind[*r->p])) && r->p < end) {
		uint8_t byte = *r->p++;
		if (k == P_REX) {
			in->rex = byte;
			continue;
		}
		in->rex = 0;
		if (k >= P_SEG) {
			if (!is64 || k >= P_SEG + X86_FS) in->seg_over = (uint8_t)(k - P_SEG);
		} else if (k == P_66)
			r->is66 = true;
		else if (k == P_67)
			in->asize = in->mode == X86_32 ? 2 : 4;
		else if (k == P_LOCK)
			in->lock = true;
		else
			in->rep = byte;
	}
}
/* A VEX prefix at r->p: the map that it names, or -1. */
static int read_vex(struct x86_insn *in, struct reader *r, bool is64)
{
	static const uint8_t pfx[4] = {0, 1, 2, 3};
	bool bad = in->rex || r->is66 || in->rep || in->lock;
	unsigned map = 1, b1 = r->p[1], b2;
	in->vex = *r->p == 0xc5 ? 2 : 3;
	if (in->vex == 3) {
		map = b1 & 0x1f;
		b2 = r->p[2];
		in->rex = (uint8_t)(0x40 | (~b1 >> 5 & 7) | (b2 >> 7 << 3));
	} else {
		b2 = b1;
		in->rex = (uint8_t)(0x40 | (~b1 >> 7 & 1) << 2);
	}
	if (!is64) in->rex &= 0x48;
	r->p += in->vex;
	r->pfx = pfx[b2 & 3];
	r->vvvv = ~b2 >> 3 & 15;
	in->vl = b2 >> 2 & 1;
	return bad || map < 1 || map > 3 ? -1 : (int)map + 3;
}
/* Moves r->p behind map prefixes, to the opcode; the map, or -1 where there is none of ours. */
static inline int read_map(struct x86_insn *in, struct reader *r, bool is64)
{
	uint8_t b = *r->p;
	if (b == 0x0f) {
		b = *++r->p;
		if (b != 0x38 && b != 0x3a) return 1;
		r->p++;
		return b == 0x38 ? 2 : 3;
	}
	if (unlikely(b == 0xc4 || b == 0xc5) && (is64 || r->p[1] >= 0xc0))
		return read_vex(in, r, is64);
	return 0;
}

/* ---- memory ---- */

static void read_mem16(struct x86_insn *in, struct reader *r)
{
	enum { BX = 3, BP = 5, SI = 6, DI = 7 };
	static const uint8_t base[8] = {BX, BX, BP, BP, SI, DI, BP, BX};
	static const uint8_t index[8] = {SI,	    DI,	       SI,	  DI,
					 X86_NOREG, X86_NOREG, X86_NOREG, X86_NOREG};
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7;
	in->base = base[rm];
	in->index = index[rm];
	if (mod == 1)
		in->disp = take_disp(in, r, 1);
	else if (mod == 2)
		in->disp = take_disp(in, r, 2);
	else if (rm == 6) {
		in->base = X86_NOREG;
		in->disp = take_disp(in, r, 2);
	}
	if (in->base == BP) in->seg = X86_SS;
}
static inline void read_mem(struct x86_insn *in, struct reader *r, bool is64, bool vsib)
{
	static const uint8_t lengths[2][4] = {{0, 1, 4, 0}, {4, 1, 4, 0}};
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7, sib = *r->p;
	bool has_sib = rm == 4;
	r->p += has_sib;
	if (has_sib) {
		unsigned index = (sib >> 3 & 7) | (in->rex & 2u) << 2;
		in->scale = (uint8_t)(1u << (sib >> 6));
		if (index != 4 || vsib) in->index = (uint8_t)index;
		rm = sib & 7;
	}
	bool none = mod == 0 && rm == 5;
	unsigned base = none ? is64 && !has_sib ? (unsigned)X86_RIP : (unsigned)X86_NOREG
			     : rm | (in->rex & 1u) << 3;
	in->base = (uint8_t)base;
	if (base == 4 || base == 5) in->seg = X86_SS;
	unsigned n = lengths[none][mod];
	if (n) in->disp = take_disp(in, r, n);
}

/* ---- operands ---- */

static inline void set(struct x86_operand *o, unsigned kind, unsigned reg, unsigned size)
{
	o->kind = (uint8_t)kind;
	o->reg = (uint8_t)reg;
	o->size = (uint8_t)size;
}
static void set_imm(struct x86_insn *in, struct reader *r, struct x86_operand *o, unsigned type,
		    unsigned size)
{
	int64_t v = take(r, size);
	if (type == T_b)
		v = (uint8_t)v;
	else if (type == T_w)
		v = (uint16_t)v;
	if (r->imm_read) {
		in->imm2 = (uint16_t)v;
		set(o, X86_IMM2, 0, size);
		return;
	}
	r->imm_read = true;
	in->imm = v;
	set(o, X86_IMM, 0, size);
}
static void set_far(struct x86_insn *in, struct reader *r, struct x86_operand *o)
{
	in->imm = r->osz ? (uint32_t)take(r, 4) : (uint16_t)take(r, 2);
	in->imm2 = (uint16_t)take(r, 2);
	set(o, X86_FAR, 0, r->osz ? 6 : 4);
}
static void set_moffs(struct x86_insn *in, struct reader *r, struct x86_operand *o, unsigned size)
{
	in->disp = take(r, in->asize);
	in->has_mem = true;
	if (in->seg_over != X86_NOREG) in->seg = in->seg_over;
	set(o, X86_MEM, 0, size);
}
static inline bool is_reg_form(const struct x86_insn *in) { return in->modrm >= 0xc0; }

/* Where an operand's register number comes from, and what it is a register of. Those that read more
 * bytes, or that not every number is good for, are special. */
enum source { FROM_REG, FROM_RM, FROM_VVVV, FROM_OPCODE }; /* as enum x86_at, less 1 */
static const struct method {
	uint8_t special, source, mask, reg, kind;
	bool mem; /* or memory, if ModRM says so */
} methods[M__max] = {
	[M_E] = {0, FROM_RM, 15, 0, X86_REG, true},
	[M_G] = {0, FROM_REG, 15, 0, X86_REG, false},
	[M_M] = {0, FROM_RM, 0, 0, X86_MEM, true},
	[M_R] = {0, FROM_RM, 15, 0, X86_REG, false},
	[M_I] = {1, 0, 0, 0, 0, false},
	[M_J] = {1, 0, 0, 0, 0, false},
	[M_O] = {1, 0, 0, 0, 0, false},
	[M_S] = {1, 0, 0, 0, 0, false},
	[M_C] = {1, 0, 0, 0, 0, false},
	[M_D] = {1, 0, 0, 0, 0, false},
	[M_A] = {1, 0, 0, 0, 0, false},
	[M_L] = {1, 0, 0, 0, 0, false},
	[M_1] = {1, 0, 0, 0, 0, false},
	[M_X] = {0, 0, 0, 0, X86_SI, false},
	[M_Y] = {0, 0, 0, 0, X86_DI, false},
	[M_V] = {0, FROM_REG, 15, 0, X86_XMM, false},
	[M_W] = {0, FROM_RM, 15, 0, X86_XMM, true},
	[M_U] = {0, FROM_RM, 15, 0, X86_XMM, false},
	[M_H] = {0, FROM_VVVV, 15, 0, X86_XMM, false},
	[M_P] = {0, FROM_REG, 7, 0, X86_MMX, false},
	[M_Q] = {0, FROM_RM, 7, 0, X86_MMX, true},
	[M_N] = {0, FROM_RM, 7, 0, X86_MMX, false},
	[M_B] = {0, FROM_VVVV, 15, 0, X86_REG, false},
	[M_Z] = {0, FROM_OPCODE, 15, 0, X86_REG, false},
	[M_ES] = {0, 0, 0, X86_ES, X86_SEG, false},
	[M_CS] = {0, 0, 0, X86_CS, X86_SEG, false},
	[M_SS] = {0, 0, 0, X86_SS, X86_SEG, false},
	[M_DS] = {0, 0, 0, X86_DS, X86_SEG, false},
	[M_FS] = {0, 0, 0, X86_FS, X86_SEG, false},
	[M_GS] = {0, 0, 0, X86_GS, X86_SEG, false},
	[M_AL] = {0, 0, 0, 0, X86_REG, false},
	[M_CL] = {0, 0, 0, 1, X86_REG, false},
	[M_AX] = {0, 0, 0, 0, X86_REG, false},
	[M_EAX] = {0, 0, 0, 0, X86_REG, false},
	[M_RAX] = {0, 0, 0, 0, X86_REG, false},
	[M_DX] = {0, 0, 0, 2, X86_REG, false},
	[M_rAX] = {0, 0, 0, 0, X86_REG, false},
	[M_zAX] = {0, 0, 0, 0, X86_REG, false},
	[M_ST0] = {0, 0, 0, 0, X86_ST, false},
	[M_STi] = {0, FROM_RM, 7, 0, X86_ST, false},
	[M_XMM0] = {0, 0, 0, 0, X86_XMM, false},
};
/* False where there is no such register. */
static bool set_special(struct x86_insn *in, struct reader *r, struct x86_operand *o, unsigned m,
			unsigned t, unsigned size)
{
	unsigned reg = r->number[FROM_REG];
	switch (m) {
	case M_I: set_imm(in, r, o, t, size); return true;
	case M_J:
		in->imm = t == T_b ? take(r, 1) : r->osz ? take(r, 4) : take(r, 2);
		set(o, X86_REL, 0, in->osize);
		return true;
	case M_O: set_moffs(in, r, o, size); return true;
	case M_S: set(o, X86_SEG, reg & 7, 2); return (reg & 7) < 6;
	case M_C: set(o, X86_CR, reg, size); return 0x11du >> reg & 1;
	case M_D: set(o, X86_DR, reg, size); return reg < 8;
	case M_A: set_far(in, r, o); return true;
	case M_L:
		reg = (uint8_t)take(r, 1) >> 4;
		set(o, X86_XMM, in->mode == X86_64 ? reg : reg & 7, size);
		return true;
	default: /* M_1 */
		in->imm = 1;
		set(o, X86_IMM, 0, 1);
		return true;
	}
}
/* Byte registers 4 to 7 are AH to BH unless there is a REX prefix. */
static inline bool set_operand(struct x86_insn *in, struct reader *r, struct x86_operand *o,
			       unsigned m, unsigned t)
{
	const struct method *h = &methods[m];
	unsigned size = sizes[t][r->osz + (in->vl ? 3 : 0)], kind = h->kind;
	if (h->special) return set_special(in, r, o, m, t, size);
	unsigned reg = (r->number[h->source] & h->mask) | h->reg;
	o->at = h->mask || h->mem ? (uint8_t)(h->source + X86_AT_REG) : X86_AT_NOWHERE;
	if (h->mem && in->has_mem) {
		set(o, X86_MEM, 0, size);
		return true;
	}
	if (kind == X86_XMM && size < 16) size = 16;
	if (kind == X86_MMX) size = 8;
	if (t >= T_rw) size = t == T_rv ? in->osize : 4;
	if (kind == X86_REG && size == 1 && reg >= 4 && !in->rex) {
		kind = X86_HIGH;
		reg -= 4;
	}
	set(o, kind, reg, size);
	return true;
}
static bool uses_vvvv(const struct x86_form *f)
{
	for (unsigned i = 0; i < COUNT(f->o); i++)
		if (f->o[i].method == M_H || f->o[i].method == M_B) return true;
	return false;
}
/* What a VEX form must not say. A gather's three registers must differ. */
static bool is_vex_good(const struct x86_insn *in, const struct reader *r, const struct x86_form *f)
{
	if (!uses_vvvv(f)) return !r->vvvv;
	if (!(f->flags & (F_VSIB | F_VSIBH))) return true;
	return in->o[0].reg != in->index && in->o[2].reg != in->index &&
	       in->o[0].reg != in->o[2].reg;
}

/* ---- all together ---- */

static inline unsigned choose(const struct x86_insn *in, const struct reader *r, unsigned node)
{
	uint8_t is[DIMS];
	is[D_MODE] = in->mode;
	is[D_MOD] = is_reg_form(in);
	is[D_REG] = in->modrm >> 3 & 7;
	is[D_RM] = in->modrm & 7;
	is[D_PFX] = (uint8_t)r->pfx;
	is[D_W] = in->rex >> 3 & 1;
	is[D_L] = in->vl;
	is[D_OSZ] = (uint8_t)r->osz;
	is[D_B] = in->rex & 1;
	while (node < 0x8000) node = tree[node + 1 + is[tree[node]]];
	return node & 0x7fff;
}
static inline bool read_body(struct x86_insn *in, struct reader *r, bool is64)
{
	int map = read_map(in, r, is64);
	if (map < 0) return false;
	if (map < 4) r->pfx = in->rep == 0xf3 ? 2 : in->rep ? 3 : r->is66;
	unsigned opcode = *r->p;
	const struct x86_root *root = &roots[map][opcode];
	if (root->modrm) in->modrm = r->p[1];
	if (is64)
		r->osz = in->rex & 8 ? 2 : !r->is66;
	else
		r->osz = (in->mode == X86_32) != r->is66;
	in->form =
		(uint16_t)(root->node >= 0x8000 ? root->node & 0x7fff : choose(in, r, root->node));
	const struct x86_form *f = &x86_forms[in->form];
	r->p += 1 + root->modrm;
	if (!in->form) return false;
	if (is64 && (f->flags & (F_D64 | F_F64)) && (r->osz == 1 || f->flags & F_F64)) r->osz = 2;
	in->op = f->op;
	in->osize = (uint8_t)(2u << r->osz);
	if (f->flags & F_CC) in->cc = opcode & 15;
	if (f->flags & F_ANYMOD) in->modrm |= 0xc0;
	if (root->modrm && !is_reg_form(in)) {
		in->has_mem = true;
		if (in->asize == 2)
			read_mem16(in, r);
		else
			read_mem(in, r, is64, f->flags & (F_VSIB | F_VSIBH));
		if (in->seg_over != X86_NOREG) in->seg = in->seg_over;
		if ((f->flags & (F_VSIB | F_VSIBH)) && (in->asize == 2 || (in->modrm & 7) != 4))
			return false;
	}
	r->number[FROM_REG] = (uint8_t)((in->modrm >> 3 & 7) | (in->rex & 4) << 1);
	r->number[FROM_RM] = (uint8_t)((in->modrm & 7) | (in->rex & 1) << 3);
	r->number[FROM_VVVV] = (uint8_t)(is64 ? r->vvvv : r->vvvv & 7);
	r->number[FROM_OPCODE] = (uint8_t)((opcode & 7) | (in->rex & 1u) << 3);
	unsigned n = 0;
	in->imm_at = (uint8_t)(r->p - r->code);
	for (; n < 4 && f->o[n].method; n++)
		if (!set_operand(in, r, &in->o[n], f->o[n].method, f->o[n].type)) return false;
	in->operands = (uint8_t)n;
	in->imm_len = (uint8_t)(r->p - r->code - in->imm_at);
	if (in->op == X86_OP_movts && in->o[0].reg == X86_CS) return false;
	if (in->lock && (!(f->flags & F_LOCK) || in->o[0].kind != X86_MEM)) return false;
	return !in->vex || is_vex_good(in, r, f);
}
static enum x86_decoded decode_at(struct x86_insn *in, const uint8_t *code, size_t avail,
				  enum x86_mode mode)
{
	static const uint8_t asize[3] = {2, 4, 8};
	struct reader r = {.p = code, .code = code};
	bool is64 = mode == X86_64;
	*in = (struct x86_insn){.mode = (uint8_t)mode,
				.asize = asize[mode],
				.seg = X86_DS,
				.seg_over = X86_NOREG,
				.base = X86_NOREG,
				.index = X86_NOREG,
				.scale = 1};
	read_prefixes(in, &r, is64);
	bool good = read_body(in, &r, is64);
	size_t len = (size_t)(r.p - code);
	if (len > LONGEST) return avail < LONGEST ? X86_MORE : X86_LONG;
	if (len > avail) return X86_MORE;
	in->len = (uint8_t)len;
	if (good) return X86_OK;
	in->op = X86_OP_illegal;
	return X86_BAD;
}
static __attribute__((noinline)) enum x86_decoded
decode_copy(struct x86_insn *in, const uint8_t *code, size_t avail, enum x86_mode mode)
{
	uint8_t room[ROOM] = {0};
	memcpy(room, code, avail);
	return decode_at(in, room, avail, mode);
}
enum x86_decoded x86_decode(struct x86_insn *in, const uint8_t *code, size_t avail,
			    enum x86_mode mode)
{
	return likely(avail >= ROOM) ? decode_at(in, code, avail, mode)
				     : decode_copy(in, code, avail, mode);
}
uint32_t x86_written(const struct x86_insn *in)
{
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	uint32_t is = info->writes_r;
	for (unsigned k = 0; k < in->operands; k++)
		if ((in->o[k].kind == X86_REG || in->o[k].kind == X86_HIGH) &&
		    info->writes_o >> k & 1)
			is |= 1u << in->o[k].reg;
	return is;
}
