#ifndef ENGINE_X86_WINDOW_H
#define ENGINE_X86_WINDOW_H
#include "engine/x86_vcpu.h"
/* User memory of one address space laid out in the host's, so that the host's MMU does the
 * translation of translated code's accesses. Two ranges of guest addresses have a place: LOW, where
 * programs at fixed addresses are, stands at the same host addresses; HIGH, where everything else
 * of a Linux process is, stands at win_add more. A vCPU's own thread only. */
#define X86_LOW_END (1ull << 31) /* bases below are LOW; what they reach, below twice that */
/* HIGH is all addresses whose bit 46 is set. Those that are no user's among them come out where no
 * user's are here either: win_add is negative, and smaller than that bit. */
#define X86_HIGH_BIT   46
#define X86_HIGH_BEGIN (1ull << X86_HIGH_BIT)
#define X86_HIGH_END   (2 * X86_HIGH_BEGIN) /* where user addresses end */
enum x86_cluster { X86_WIN_NONE, X86_WIN_LOW, X86_WIN_HIGH, X86_WIN_EITHER };
struct x86_window;

/* NULL: this host has no room for one, or another vCPU has it. */
struct x86_window *x86_window_new(struct x86_vcpu *v);
void x86_window_free(struct x86_window *w); /* NULL is fine, here and below */
/* Is translated user code to use it now? */
bool x86_window_is_on(const struct x86_vcpu *v);
/* A timer interrupt has found user code at work. True: it is on or off from now on. */
bool x86_window_tick(struct x86_vcpu *v);
/* User code is about to run. True: it is on or off from now on. */
bool x86_window_turns(struct x86_vcpu *v);
/* In a signal handler, in generated code: host address `at` was missing. */
enum x86_missing {
	X86_CAME,	  /* it is there now */
	X86_GUEST_FAULTS, /* the guest's page tables do not have it */
	X86_NOT_HERE,	  /* something else: a device, code that is written to... */
};
enum x86_missing x86_window_fault(struct x86_vcpu *v, uint64_t at, bool write);
/* The guest's address of what translated code has accessed at `at`, behind gs or not; 0: it was not
 * in the window. */
uint64_t x86_window_guest(const struct x86_vcpu *v, uint64_t at);
/* User code is about to go on: what the guest may have brought since x86_window_fault(). */
void x86_window_expect(struct x86_vcpu *v);
void x86_window_cr3(struct x86_vcpu *v,
		    bool keeps); /* CR3 was written; keeps: as it flushes nothing */
static inline enum x86_cluster x86_cluster_of(uint64_t la)
{
	if (la < X86_LOW_END) return X86_WIN_LOW;
	return la - X86_HIGH_BEGIN < X86_HIGH_END - X86_HIGH_BEGIN ? X86_WIN_HIGH : X86_WIN_NONE;
}
#endif
