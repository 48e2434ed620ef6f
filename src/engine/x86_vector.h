#ifndef ENGINE_X86_VECTOR_H
#define ENGINE_X86_VECTOR_H
#include "engine/x86_vcpu.h"
/* For translated code that has the guest's vector and x87 registers live in the host's: to memory
 * and back. They keep all general registers but those of the C ABI that are named; EFLAGS are lost.
 *
 * leave: XMM, YMM and MXCSR to the area, its XSTATE_BV says that all is in use; behind it the host
 * has C's MXCSR and clear upper halves. enter: the other way. */
void x86_vector_leave(struct x86_xarea *a);	  /* changes no general register */
void x86_vector_enter(const struct x86_xarea *a); /* changes no general register */
/* The same for x87 and MMX: they leave XMM and MXCSR alone, so the order of the two does not
 * matter. Behind leave x87 is as after fninit. Enter only if no unmasked exception is pending
 * (x86_x87_pending), else the next waiting instruction raises SIGFPE. Both change eax and edx. */
void x86_x87_leave(struct x86_xarea *a);
void x86_x87_enter(struct x86_xarea *a);
bool x86_x87_pending(const struct x86_xarea *a);
/* Make of the area, whatever bytes it holds (a snapshot's, say), a state that a CPU can have:
 * components that XSTATE_BV lacks become what they are initially, reserved bits go, and then all is
 * in use. To be called when someone else has written to it and before enter; what is interpreted
 * needs it only for XSTATE_BV. */
void x86_vector_sane(struct x86_xarea *a);
/* On the thread that builds: memory for the code of one CPU's thread, which may be confined when it
 * wants it. */
void x86_native_prepare(void);
/* MXCSR has an unmasked exception: what raises it must be interpreted. */
static inline bool x86_vector_unmasked(const struct x86_xarea *a)
{
	return (~(a->bytes[24] | a->bytes[25] << 8) & 0x1f80) != 0;
}
#endif
