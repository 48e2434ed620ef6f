#ifndef ENGINE_X86_CHECK_H
#define ENGINE_X86_CHECK_H
#include <stdbool.h>
#include <stdint.h>
/* Translated code against the interpreter. A stretch begins where translated code is entered and
 * ends where C is asked for more than an address: blocks that go on to each other, up to some
 * hundred instructions. Then memory and registers are put back, the interpreter executes as many
 * instructions, and both results are compared; its own are what stays. */
struct x86_check;
struct x86_vcpu;
struct x86_check *x86_check_new(void);
void x86_check_free(struct x86_check *k); /* NULL is fine */
/* A stretch begins, if none is open: the state is as it is before it. Sets x86_jit.limit. */
void x86_check_open(struct x86_vcpu *v);
/* It has ended, rip, flags and v->n being exact: the comparison, if one is open. False: they
 * differ, and the state is what it was before the stretch, for another try; or v->broken says how.
 */
bool x86_check_close(struct x86_vcpu *v);
/* An instruction is about to be interpreted outside of a stretch: may it read the flags? */
void x86_check_look(struct x86_vcpu *v);
/* Called by translated code before it stores up to 64 bytes at a host address. */
void x86_check_note(struct x86_vcpu *v, void *at, uint64_t bytes);
#endif
