/* What CPU the guest is told of. */
#include "engine/x86_vcpu.h"
void x86_cpuid(struct x86_vcpu *v, uint32_t leaf, uint32_t index, uint32_t out[4])
{
	(void)v, (void)leaf, (void)index;
	out[0] = out[1] = out[2] = out[3] = 0;
}
unsigned x86_features(void) { return 0; }
bool x86_host_can(void) { return true; }
