#ifndef ENGINE_X86_DIRECT_H
#define ENGINE_X86_DIRECT_H
#include "engine/x86_vcpu.h"
/* Direct execution: user code of an address space that computes and calls its kernel little runs by
 * itself, in a process of the host that has that space's pages at their own addresses
 * (x86_stub.h). What the host's CPU would answer differently is left to the interpreter: pages
 * with such instructions do not run there. A vCPU's own thread only, unless it says otherwise;
 * v->direct NULL is fine everywhere. */
struct x86_direct;
struct x86_direct *x86_direct_new(struct x86_vcpu *v); /* NULL: not here, or no memory */
void x86_direct_free(struct x86_direct *d);
/* v->runs_direct, and rip is at user code: run it. False: that is nothing for here just now.
 * Nothing of v is in the host's registers. */
bool x86_direct_run(struct x86_vcpu *v);
/* User code is about to run: v->runs_direct, as it is from now on. */
bool x86_direct_turns(struct x86_vcpu *v);
/* A timer interrupt has found user code at work: v->runs_direct may change. */
void x86_direct_tick(struct x86_vcpu *v);
void x86_direct_rest(struct x86_vcpu *v); /* its thread is about to sleep */
/* Have what runs there stop, as v->poll says more now. Any thread. */
void x86_direct_poke(struct x86_vcpu *v);
void x86_direct_cr3(struct x86_vcpu *v, bool keeps); /* as x86_window_cr3() */
/* Code there was written to, or is not watched any more; ~0: none is. */
void x86_direct_drop_code(struct x86_vcpu *v, gpa_t page);
/* x86_direct_code.c. Where in these 4096 bytes instructions could begin, if anything ever jumps
 * there, that may not run by themselves. The first `room` of those places; how many there are. */
unsigned x86_code_spots(const uint8_t *page, uint16_t *at, unsigned room);
/* May those run that begin in one and end in the next? */
bool x86_code_joins_plainly(const uint8_t *page, const uint8_t *next);
#endif
