/* An x86-64 CPU's life. */
#include "engine/x86_vcpu.h"
#include <errno.h>
void x86_machine_init(struct x86_machine *m) { (void)m; }
struct x86_vcpu *x86_vcpu_new(struct x86_machine *m, unsigned id)
{
	(void)m, (void)id;
	return NULL;
}
void x86_vcpu_free(struct x86_vcpu *v) { (void)v; }
void x86_vcpu_reset(struct x86_vcpu *v, bool init) { (void)v, (void)init; }
enum vcpu_exit x86_vcpu_run(struct x86_vcpu *v)
{
	(void)v;
	return VCPU_BROKEN;
}
void x86_poke(struct x86_vcpu *v, enum x86_poll why) { (void)v, (void)why; }
void x86_irq(struct x86_vcpu *v, unsigned line, int level) { (void)v, (void)line, (void)level; }
void x86_fence(struct x86_vcpu *v, struct x86_vcpu *from) { (void)v, (void)from; }
bool x86_events(struct x86_vcpu *v)
{
	(void)v;
	return false;
}
void x86_step(struct x86_vcpu *v) { (void)v; }
int x86_do(struct x86_vcpu *v, const struct x86_insn *in)
{
	(void)v, (void)in;
	return X86_TRAP_UD;
}
int x86_vcpu_get(struct x86_vcpu *v, unsigned reg, uint64_t *val)
{
	(void)v, (void)reg, (void)val;
	return -ENOENT;
}
int x86_vcpu_set(struct x86_vcpu *v, unsigned reg, uint64_t val)
{
	(void)v, (void)reg, (void)val;
	return -ENOENT;
}
