#ifndef ENGINE_X86_JIT_H
#define ENGINE_X86_JIT_H
#include "base/err.h"
#include "base/types.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* The translator of x86-64 guests: 64-bit code becomes nearly the same code (x86_block.c), and the
 * interpreter does the rest, an instruction at a time. */
struct x86_vcpu;
struct x86_jit;
/* COUNT: v->n is exact whenever C runs, and blocks stop soon after x86_jit_until(). CHECK: and they
 * are compared with the interpreter (x86_check.h). Neither has windows. */
enum x86_jit_mode { X86_JIT_FAST, X86_JIT_COUNT, X86_JIT_CHECK };
/* room: bytes of code; 0: what is usual. v->jit is set. */
int x86_jit_new(struct x86_vcpu *v, size_t room, enum x86_jit_mode mode, struct err *e);
/* COUNT: x86_jit_run() comes back at the first chance, at most X86_JIT_LATE instructions later,
 * when v->n has come to n. */
enum { X86_JIT_LATE = 8192 };
void x86_jit_until(struct x86_vcpu *v, uint64_t n);
void x86_jit_free(struct x86_jit *j); /* NULL is fine */
/* Run until something has to be seen to outside: x86_events() said so, broken, reset_asked; or, and
 * then it answers true, x86_jit_until(). */
bool x86_jit_run(struct x86_vcpu *v);
/* The vCPU's vector and x87 state is needed in v->x now: it may have been left in the host's
 * registers. Called by whoever touches v->x on the vCPU's thread; NULL jit is fine. */
void x86_jit_home(struct x86_vcpu *v);
/* Translations of linear addresses are forgotten, global ones too or not; a NULL jit is fine, here
 * and below. */
void x86_jit_flush(struct x86_vcpu *v, bool globals);
/* [at, at+n) of guest memory, where some vCPU has code of, was written by v: x86_machine's
 * code_wrote. */
void x86_jit_wrote(struct x86_vcpu *v, gpa_t at, unsigned n);
/* Forget all that has been translated; while it does not run, or on its thread. */
void x86_jit_drop(struct x86_vcpu *v);
/* Writes to the page are told of from now on, by x86_jit_wrote(). */
void x86_code_watch(struct x86_jit *j, gpa_t page);
void x86_jit_serve(struct x86_vcpu *v); /* X86_POLL_CODE */
#endif
