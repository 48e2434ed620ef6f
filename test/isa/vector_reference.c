/* What the oracle does not know or gets wrong. */
#include "base/types.h"
#include "vector_test.h"
#include <stdio.h>
static bool starts(const struct rv64_insn *i, const char *with)
{
	return !strncmp(rv64_info(i->op)->name, with, strlen(with));
}

/* ---- Zvbb, bit by bit as the manual's pseudocode has it ---- */
struct shape {
	unsigned bits, regs, vl, wide; /* wide: the result's bits */
	bool fraction;
};
static unsigned bit(uint64_t v, unsigned at) { return at < 64 && v >> at & 1; }
static uint64_t rotate_right(uint64_t v, unsigned bits, unsigned by)
{
	uint64_t r = 0;
	for (unsigned k = 0; k < bits; k++) r |= (uint64_t)bit(v, (k + by) % bits) << k;
	return r;
}
/* Bit k of the result is bit k ^ flip of v. */
static uint64_t flipped(uint64_t v, unsigned bits, unsigned flip)
{
	uint64_t r = 0;
	for (unsigned k = 0; k < bits; k++) r |= (uint64_t)bit(v, k ^ flip) << k;
	return r;
}
static uint64_t counted(const struct rv64_insn *i, uint64_t v, unsigned bits)
{
	unsigned n = 0, ones = 0;
	for (unsigned k = 0; k < bits; k++) ones += bit(v, k);
	if (starts(i, "vcpop")) return ones;
	while (n < bits && !bit(v, starts(i, "vctz") ? n : bits - 1 - n)) n++;
	return n;
}
static uint64_t zvbb_value(const struct rv64_insn *i, uint64_t p, uint64_t q, const struct shape *s)
{
	if (starts(i, "vandn")) return p & ~q;
	if (starts(i, "vror")) return rotate_right(p, s->bits, (unsigned)(q % s->bits));
	if (starts(i, "vrol")) return rotate_right(p, s->bits, s->bits - (unsigned)(q % s->bits));
	if (starts(i, "vwsll")) return p << q % s->wide;
	if (starts(i, "vbrev8")) return flipped(p, s->bits, 7);
	if (starts(i, "vbrev")) return flipped(p, s->bits, s->bits - 1);
	if (starts(i, "vrev8")) return flipped(p, s->bits, (s->bits - 1) ^ 7);
	return counted(i, p, s->bits);
}
static bool top_part(const struct rv64_insn *i, unsigned source, const struct shape *s)
{
	unsigned n = s->fraction ? 1 : 2 * s->regs;
	if (source + s->regs <= i->rd || source >= i->rd + n) return true;
	return !s->fraction && source == i->rd + s->regs;
}
static bool zvbb_legal(const struct rv64_insn *i, const struct shape *s, bool vector)
{
	bool wide = s->wide > s->bits;
	if ((!i->rm && !i->rd) || i->rs2 % s->regs || (vector && i->rs1 % s->regs)) return false;
	if (!wide) return !(i->rd % s->regs);
	if (s->wide > 64 || s->regs == 8 || i->rd % (s->fraction ? 1 : 2 * s->regs)) return false;
	return top_part(i, i->rs2, s) && (!vector || top_part(i, i->rs1, s));
}
static bool is_zvbb(const struct rv64_insn *i)
{
	static const char *const names[] = {"vandn", "vrol", "vror", "vwsll",  "vbrev",
					    "vrev8", "vclz", "vctz", "vcpop.v"};
	for (size_t k = 0; k < COUNT(names); k++)
		if (starts(i, names[k])) return true;
	return false;
}
static void zvbb_run(const struct rv64_insn *i, const struct shape *s, const struct vector_case *b,
		     struct vector_case *c)
{
	const char *syntax = rv64_info(i->op)->syntax;
	bool vector = strstr(syntax, "vs"), imm = strstr(syntax, "imm");
	for (unsigned k = (unsigned)b->vstart; k < s->vl; k++) {
		uint64_t p = load_le(b->v[i->rs2] + k * s->bits / 8, s->bits / 8), q = 0;
		if (vector)
			q = load_le(b->v[i->rs1] + k * s->bits / 8, s->bits / 8);
		else if (i->rs1)
			q = b->x[i->rs1 & 3];
		if (imm) q = (uint64_t)i->imm;
		if (i->rm || b->v[0][k / 8] >> k % 8 & 1)
			store_le(c->v[i->rd] + k * s->wide / 8, zvbb_value(i, p, q, s),
				 s->wide / 8);
	}
}
bool vector_reference(const struct rv64_insn *i, const struct vector_case *before,
		      struct vector_case *after)
{
	struct vector_case b = *before;
	unsigned lmul = (b.vtype & 7) ^ 4, max; /* LMUL is 2 ^ (lmul - 4) */
	struct shape s = {.bits = 8u << (b.vtype >> 3 & 7)};
	if (!is_zvbb(i) || b.vtype >> 8 || s.bits > 64 || !lmul) return false;
	max = (128u << lmul) / 16 / s.bits;
	if (lmul < 4 && s.bits > (64u << lmul) / 16) return false; /* SEW > LMUL * ELEN */
	s.fraction = lmul < 4;
	s.regs = s.fraction ? 1 : 1u << (lmul - 4);
	s.wide = starts(i, "vwsll") ? 2 * s.bits : s.bits;
	s.vl = b.vl < max ? (unsigned)b.vl : max;
	b.vl = s.vl;
	*after = b;
	after->out = OUT_ILLEGAL;
	if (!zvbb_legal(i, &s, strstr(rv64_info(i->op)->syntax, "vs"))) return true;
	after->out = OUT_NEXT;
	after->vstart = 0;
	zvbb_run(i, &s, &b, after);
	return true;
}

/* ---- where the oracle is wrong, or free to do otherwise ---- */
static bool only_vstart(const struct rv64_insn *i, const struct vector_case *b,
			const struct vector_case *theirs, const struct vector_case *ours)
{
	struct vector_case fixed = *theirs;
	(void)i;
	fixed.vstart = 0;
	return b->vstart && theirs->out == OUT_NEXT && theirs->vstart == b->vstart &&
	       !memcmp(&fixed, ours, sizeof(fixed));
}
static bool whole_ill(const struct rv64_insn *i, const struct vector_case *b,
		      const struct vector_case *theirs, const struct vector_case *ours)
{
	(void)b, (void)theirs;
	bool whole = !strcmp(rv64_info(i->op)->name + 4, "r.v") && starts(i, "vmv");
	return whole && ours->vtype >> 63 && ours->out == OUT_ILLEGAL;
}
/* 010111 0 vs2 vs1 010 vd 1010111, 011--- 0 vs2 vs1 010 vd 1010111 */
static bool always_unmasked(const struct rv64_insn *i, const struct vector_case *b,
			    const struct vector_case *theirs, const struct vector_case *ours)
{
	(void)b, (void)theirs;
	bool compress = (i->raw & 0xfe00707f) == 0x5c002057;
	bool logical = (i->raw & 0xe200707f) == 0x60002057;
	return (compress || logical) && ours->out == OUT_ILLEGAL;
}
static const struct excuse {
	const char *why;
	bool (*applies)(const struct rv64_insn *i, const struct vector_case *b,
			const struct vector_case *theirs, const struct vector_case *ours);
} excuses[] = {
	{"whole registers are moved as vtype says, so not if it is vill (3.4.4, 16.6)", whole_ill},
	{"vcompress and mask logic with vm = 0 are reserved (16.5, 15.1)", always_unmasked},
	{"vstart is 0 afterwards, whether there was something to do or not (3.7)", only_vstart},
};
static unsigned long excused[COUNT(excuses)];

bool vector_excuse(const struct rv64_insn *i, const struct vector_case *b,
		   const struct vector_case *theirs, const struct vector_case *ours)
{
	for (size_t k = 0; k < COUNT(excuses); k++)
		if (excuses[k].applies(i, b, theirs, ours)) return excused[k]++, true;
	return false;
}
void vector_excuses(void)
{
	for (size_t k = 0; k < COUNT(excuses); k++)
		printf("not compared: %lu, %s\n", excused[k], excuses[k].why);
}
