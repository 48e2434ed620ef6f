#ifndef ENGINE_X86_CONTEXT_H
#define ENGINE_X86_CONTEXT_H
#include "engine/x86_vcpu.h"
/* Address spaces that are not the current one, by PCID. A vCPU's own thread only. */
enum { X86_PCID = 0xfff }; /* in CR3 */
struct x86_contexts;
struct x86_contexts *x86_contexts_new(void); /* NULL: no memory */
/* CR3 is about to be another: note what is known. All that is not global is then to be flushed. */
void x86_context_leave(struct x86_vcpu *v);
/* CR3 has become another, and what was known of its PCID may be used again. */
void x86_context_enter(struct x86_vcpu *v);
void x86_context_drop(struct x86_vcpu *v, unsigned pcid);
void x86_contexts_drop(struct x86_vcpu *v);
#endif
