/* From lines of the table back to bytes, for tests: whatever a line leaves open is random, so that
 * every line comes up equally often, however rare its bytes are. */
#include "base/types.h"
#include "isa/x86/table.h"
#include "isa/x86/x86.info.inc"

unsigned x86_form_count(void) { return x86_nforms; }
enum x86_op x86_form_op(unsigned form) { return (enum x86_op)x86_forms[form].op; }

/* A value that the form admits for a fact, else one at random. */
static unsigned pick(const struct x86_form *f, unsigned dim, unsigned values,
		     uint64_t (*next)(void))
{
	unsigned v = (unsigned)(next() % values);
	while (!(f->mask[dim] >> v & 1)) v = (v + 1) % values;
	return v;
}
static unsigned put_vex(const struct x86_form *f, uint8_t *out, uint64_t (*next)(void))
{
	unsigned w = pick(f, D_W, 2, next), l = pick(f, D_L, 2, next), pp = pick(f, D_PFX, 4, next);
	unsigned rxb = next() & 7, n = 0;
	unsigned vvvv = next() & 1 ? 0 : next() & 15;
	out[n++] = 0xc4;
	out[n++] = (uint8_t)((~rxb & 7) << 5 | (f->map - 3u));
	out[n++] = (uint8_t)(w << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
	return n;
}
static unsigned put_prefixes(const struct x86_form *f, enum x86_mode mode, uint8_t *out,
			     uint64_t (*next)(void))
{
	static const uint8_t over[8] = {0x64, 0x65, 0x2e, 0x36, 0x26, 0x3e, 0x67, 0x67};
	unsigned n = 0, r = (unsigned)next(), pfx = pick(f, D_PFX, 4, next);
	if (!(r & 7)) out[n++] = over[r >> 3 & 7];
	if (f->map >= 4) return n + put_vex(f, out + n, next);
	if (r >> 6 & 1 && f->mask[D_PFX] == 15) pfx = 0;
	if (pfx == 1)
		out[n++] = 0x66;
	else if (!(r >> 12 & 15))
		out[n++] = 0x66;
	if (pfx == 2) out[n++] = 0xf3;
	if (pfx == 3) out[n++] = 0xf2;
	if (f->flags & F_LOCK && !(r >> 16 & 7)) out[n++] = 0xf0;
	bool w = f->mask[D_W] == 2;
	if (mode == X86_64 && (w || r >> 20 & 1))
		out[n++] = (uint8_t)(0x40 | (w ? 8 : 0) | (r >> 24 & 15));
	if (f->map) out[n++] = 0x0f;
	if (f->map > 1) out[n++] = f->map == 2 ? 0x38 : 0x3a;
	return n;
}
unsigned x86_form_bytes(unsigned form, enum x86_mode mode, uint8_t *out, uint64_t (*next)(void))
{
	const struct x86_form *f = &x86_forms[form];
	if (!form || form >= x86_nforms || !(f->mask[D_MODE] >> mode & 1)) return 0;
	unsigned n = put_prefixes(f, mode, out, next);
	out[n++] = (uint8_t)(f->opcode + next() % f->count);
	if (f->flags & F_MODRM) {
		unsigned reg = pick(f, D_REG, 8, next), rm = pick(f, D_RM, 8, next);
		unsigned mod = pick(f, D_MOD, 2, next) ? 3 : (unsigned)(next() % 3);
		if (f->flags & (F_VSIB | F_VSIBH)) rm = 4;
		out[n++] = (uint8_t)(mod << 6 | reg << 3 | rm);
	}
	while (n < 16) out[n++] = (uint8_t)next();
	return n;
}
