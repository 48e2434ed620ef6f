/* What the probes have in common: their guests differ, the computer does not. */
#include "engine/kvm_trial.h"
#include "engine/kvm_code.h"

static void end_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	(void)off, (void)val, (void)len;
	kvm_kick(container_of(d, struct kvm_trial, end)->cpu);
}
static uint64_t end_read(struct device *d, uint64_t off, unsigned len)
{
	return (void)d, (void)off, (void)len, 0;
}
static const struct device_ops end_ops = {.name = "end", .read = end_read, .write = end_write};

int kvm_trial_open(struct kvm_trial *t, struct err *e)
{
	t->mem = gmem_new();
	t->pio = bus_new("pio");
	device_init(&t->end, &end_ops, "end");
	struct engine_env env = {.arch = ARCH_X86_64,
				 .mem = t->mem,
				 .pio = t->pio,
				 .cpus = 1,
				 .irqchip = IRQCHIP_SPLIT};
	int r = gmem_add(t->mem, 0, 2 * MIB, 0, e);
	if (!r) r = bus_map(t->pio, KVM_TRIAL_DONE, 1, &t->end, e);
	if (!r) r = engine_kvm.open(&t->en, &env, e);
	if (!r) r = engine_kvm.vcpu(&t->cpu, t->en, 0, e);
	if (!r) x86_tables(t->mem);
	return r;
}

void kvm_trial_close(struct kvm_trial *t)
{
	engine_kvm.close(t->en);
	bus_free(t->pio);
	device_done(&t->end);
	gmem_free(t->mem);
}
