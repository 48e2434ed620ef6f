/* Model-specific registers. */
#include "engine/x86_vcpu.h"
int x86_msr_read(struct x86_vcpu *v, uint32_t index, uint64_t *val)
{
	(void)index, (void)val;
	return x86_raise(v, X86_TRAP_GP, 0);
}
int x86_msr_write(struct x86_vcpu *v, uint32_t index, uint64_t val)
{
	(void)index, (void)val;
	return x86_raise(v, X86_TRAP_GP, 0);
}
uint64_t x86_tsc(const struct x86_vcpu *v) { return v->tsc_off; }
uint64_t x86_tsc_ns(const struct x86_vcpu *v, uint64_t tsc)
{
	(void)v;
	return tsc;
}
uint64_t x86_host_tsc_khz(void) { return 1000000; }
struct x86_msrs *x86_msrs_new(void) { return NULL; }
void x86_msrs_reset(struct x86_vcpu *v, bool init) { (void)v, (void)init; }
void x86_apic_moved(struct x86_vcpu *v) { (void)v; }
