/* System instructions. */
#include "engine/x86_vcpu.h"
int x86_do_system(struct x86_vcpu *v, const struct x86_insn *in)
{
	(void)v, (void)in;
	return X86_OTHER;
}
unsigned x86_cr8(struct x86_vcpu *v, bool write, unsigned val)
{
	(void)v, (void)write, (void)val;
	return 0;
}
int x86_cr0_write(struct x86_vcpu *v, uint64_t val)
{
	(void)val;
	return x86_raise(v, X86_TRAP_GP, 0);
}
int x86_cr3_write(struct x86_vcpu *v, uint64_t val)
{
	(void)val;
	return x86_raise(v, X86_TRAP_GP, 0);
}
int x86_cr4_write(struct x86_vcpu *v, uint64_t val)
{
	(void)val;
	return x86_raise(v, X86_TRAP_GP, 0);
}
int x86_efer_write(struct x86_vcpu *v, uint64_t val)
{
	(void)val;
	return x86_raise(v, X86_TRAP_GP, 0);
}
