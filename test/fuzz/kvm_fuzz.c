/* Any bytes as a guest, on the host's processor: registers, an order of things to do, code. The
 * monitor neither hangs nor dies, whatever KVM makes of it. Where there is no /dev/kvm there is
 * nothing to try. */
#include "engine/kvm_code.h"
#include "engine/kvm_impl.h"
#include "hw/bus.h"

enum { RAM = 0x200000, CUT_NS = 5000000 };
struct input {
	uint8_t mode, irq;
	uint16_t regs; /* which registers are set */
	struct {
		uint16_t reg;
		uint64_t val;
	} __attribute__((packed)) set[8];
} __attribute__((packed));

static struct gmem *mem;
static struct engine *en;
static struct vcpu *cpu;

static bool msr(void *ctx, unsigned id, uint32_t index, bool write, uint64_t *val)
{
	(void)ctx, (void)id;
	if (!write) *val = index;
	return index & 1;
}
static int extint(void *ctx, unsigned id) { return (void)ctx, (void)id, 0x20; }

static bool open_once(void)
{
	struct err e;
	if (mem) return cpu;
	mem = gmem_new();
	must(!gmem_add(mem, 0, RAM, 0, &e));
	struct engine_env env = {.arch = ARCH_X86_64,
				 .mem = mem,
				 .mmio = bus_new("mmio"),
				 .pio = bus_new("pio"),
				 .cpus = 1,
				 .irqchip = IRQCHIP_SPLIT,
				 .x86 = {.msr = msr, .extint = extint}};
	if (engine_kvm.open(&en, &env, &e) || engine_kvm.vcpu(&cpu, en, 0, &e)) cpu = NULL;
	return cpu;
}

/* A debugger's, as if this host told of all of them. */
static const struct vcpu_points *points(uint8_t how)
{
	static struct vcpu_points p;
	en->debugs = 0xff;
	p = (struct vcpu_points){.nbreaks = how >> 2 & 3, .nwatches = how >> 4 & 1};
	for (unsigned i = 0; i < p.nbreaks; i++) {
		p.breaks[i] = X86_CODE + 3 * i;
		p.hard[i] = how >> (5 + i) & 1;
	}
	p.watch[0] = (struct vcpu_watch){X86_STACK - 8, 8, how & 0x80, true};
	return &p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in;
	uint64_t v;
	if (!open_once() || size <= sizeof(in)) return 0;
	memcpy(&in, data, sizeof(in));
	engine_kvm.reset(cpu);
	x86_tables(mem);
	size -= sizeof(in);
	must(gmem_write(mem, X86_CODE, data + sizeof(in), size < 0x1000 ? size : 0x1000));
	if (in.mode & 1)
		(void)x86_long_mode(&engine_kvm, cpu, X86_CODE);
	else
		(void)x86_real_mode(&engine_kvm, cpu, X86_CODE);
	for (unsigned i = 0; i < COUNT(in.set); i++) {
		if (!(in.regs >> i & 1)) continue;
		(void)engine_kvm.set(cpu, in.set[i].reg, in.set[i].val);
		(void)engine_kvm.get(cpu, in.set[i].reg, &v);
	}
	engine_kvm.points(en, in.mode & 4 ? points(in.irq) : NULL);
	engine_kvm.step(cpu, in.mode & 2);
	if (in.irq & 1) engine_kvm.irq(cpu, IRQ_X86_NMI, 1);
	engine_kvm.irq(cpu, IRQ_X86_INTR, in.irq & 2);
	enum vcpu_exit x = kvm_run_for(cpu, CUT_NS);
	must(x != VCPU_BROKEN || engine_kvm.error(cpu)[0]);
	must(!en->inside); /* no int3 of ours is in its memory */
	(void)engine_kvm.get(cpu, REG_X86_RIP, &v);
	return 0;
}
