#ifndef ENGINE_KVM_TRIAL_H
#define ENGINE_KVM_TRIAL_H
#include "base/err.h"
#include "engine/kvm_impl.h"
#include "hw/bus.h"
/* The smallest computer that finds out what this host's /dev/kvm does: one vCPU, 2 MiB of memory
 * with the tables of x86_tables(), and a port. */
enum { KVM_TRIAL_DONE = 0x80 };
struct kvm_trial {
	struct gmem *mem;
	struct bus *pio;
	struct device end; /* at KVM_TRIAL_DONE: whoever writes to it is done */
	struct engine *en;
	struct vcpu *cpu;
};
int kvm_trial_open(struct kvm_trial *t, struct err *e); /* t: zeroes; closed also if that fails */
void kvm_trial_close(struct kvm_trial *t);
#endif
