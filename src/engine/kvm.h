#ifndef ENGINE_KVM_H
#define ENGINE_KVM_H
#include "engine/engine.h"
/* The engine that the host's processor is: /dev/kvm, for guests of the host's own kind (x86-64).
 * What only it can do is below; the rest is engine.h. Functions here are for any thread unless
 * they say otherwise; errors are negative errnos with words. Interfaces: Linux
 * Documentation/virt/kvm/api.rst.
 *
 * Interrupt inputs of an IOAPIC and of the MSI routes are "gsi" numbers: 0..23 are the IOAPIC's
 * pins, KVM_GSI_MSI and up are free for messages. */
extern const struct engine_ops engine_kvm;

/* Whether /dev/kvm runs kernels here, found out by running one (of 200 bytes), once a process.
 * probe() of engine_kvm fails with the same words unless it is usable. */
enum kvm_state {
	KVM_ABSENT,
	KVM_DENIED,
	KVM_UNFIT, /* there, but no stock kernel would work, or it would crawl */
	KVM_USABLE,
};
struct kvm_report {
	enum kvm_state state;
	char what[240];	     /* "present, but not usable for kernels (it fails at movaps)" */
	char hint[120];	     /* what to do about it; may be empty */
	double mips;	     /* millions of instructions a second in ring 0; 0: not measured */
	uint64_t ns, cpu_ns; /* how long finding out took, and this thread's part of it */
};
const struct kvm_report *kvm_probe(void);

enum { KVM_GSI_MSI = 24, KVM_GSIS = 1024 };
/* A write to fd raises the gsi. on: false takes that back; before fd is closed. */
int kvm_irqfd(struct engine *en, int fd, unsigned gsi, bool on, struct err *e);
/* Have gsi >= KVM_GSI_MSI send this message; data of 0 with addr 0: nothing. */
int kvm_route(struct engine *en, unsigned gsi, uint64_t addr, uint32_t data, struct err *e);
/* Send a message now. false: nobody takes it (masked LAPIC, no such destination). */
bool kvm_msi(struct engine *en, uint64_t addr, uint32_t data);
/* IRQCHIP_FULL: a line of IOAPIC and PICs. */
void kvm_line(struct engine *en, unsigned gsi, int level);
/* A guest write of len bytes (0: of any) to that place is a write to fd and no exit; val: only
 * this one, NULL: any. Until on is false. */
struct kvm_bell {
	int fd;
	bool pio;
	uint64_t at;
	unsigned len;
	const uint64_t *val;
};
int kvm_bell(struct engine *en, const struct kvm_bell *bell, bool on, struct err *e);
/* Have x86_hooks.msr answer these MSRs, too, though the engine knows them; at most 16 calls, no
 * more than 0x3000 MSRs each. Before any vCPU runs. */
int kvm_msr_catch(struct engine *en, uint32_t first, unsigned n, struct err *e);
#endif
