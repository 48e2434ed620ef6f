/* The riscv64 board: which chip sits where, and how it comes up. The map is that of the field's
 * common RISC-V `virt` machine; virt_dt.c tells the guest the same. */
#include "vm/virt.h"
#include "dev/dev.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/board.h"
#include "vm/vm.h"
#include <errno.h>
#include <stdlib.h>

#define TREE_LEN (2 * MIB) /* at the top of memory: the device tree */
enum { SATP_SV39 = 8, SATP_SV57 = 10, CSR_SCOUNTEREN = 0x106, CSR_MENVCFG = 0x30a };

struct virt {
	struct board board;
	struct device *rtc, *finisher, *generation, *plic;
	struct device *clint; /* NULL when we are the SBI */
	uint64_t window64;
	unsigned page_table; /* satp's MODE of the widest page tables: 8, 9 or 10 */
};

static struct virt *virt_of(struct vm *vm) { return (struct virt *)vm->board; }

/* Power-on state */

static int virt_make(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	struct virt *b = calloc(1, sizeof(*b));
	must(b);
	vm->board = &b->board;
	board_init(&b->board);
	vm->sbi = !s->firmware;
	b->page_table = vm->sbi ? SATP_SV39 : SATP_SV57;
	b->window64 = (VIRT_RAM + s->memory + VIRT_WINDOW64 - 1) / VIRT_WINDOW64 * VIRT_WINDOW64;
	b->board.kernel_at = VIRT_KERNEL;
	int r = board_files(&b->board, s, e);
	if (r == 0) r = gmem_add(vm->mem, VIRT_RAM, s->memory, 0, e);
	if (r == 0) r = gmem_add(vm->mem, VIRT_ROM, VIRT_ROM_LEN, GMEM_ROM, e);
	return r;
}

static int virt_engine(struct vm *vm, struct engine_env *env, struct err *e)
{
	(void)e;
	env->sbi = vm->sbi;
	env->max_satp = virt_of(vm)->page_table;
	return 0;
}

/* Chips */

static void finisher_power(void *ctx, enum power what, unsigned code)
{
	int failure = (int)(code & 0xff);
	if (what == POWER_RESET)
		vm_power(ctx, VM_POWER_RESET, 0);
	else if (what == POWER_OFF)
		vm_power(ctx, VM_POWER_OFF, 0);
	else
		vm_power(ctx, VM_POWER_OFF, failure ? failure : 1);
}

/* Two lines of each hart, M-mode's before S-mode's, as the PLIC wants them; or every nth. */
static void hart_lines(struct vm *vm, struct irq *to, unsigned step, unsigned line)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		to[i * step] = (struct irq){hart_irq, &vm->hart[i], line};
}

static int wire_interrupts(struct vm *vm, struct virt *b, struct err *e)
{
	struct irq ext[2 * VM_CPUS] = {0}, msi[VM_CPUS] = {0}, mti[VM_CPUS] = {0};
	if (!vm->sbi) hart_lines(vm, ext, 2, IRQ_RV_MEI);
	hart_lines(vm, ext + 1, 2, IRQ_RV_SEI);
	int r = plic_new(&b->plic, VIRT_IRQS, ext, 2 * vm->ncpus, e);
	if (r == 0) r = bus_map(vm->mmio, VIRT_PLIC, VIRT_PLIC_LEN, b->plic, e);
	if (r < 0 || vm->sbi) return r;
	hart_lines(vm, msi, 1, IRQ_RV_MSI);
	hart_lines(vm, mti, 1, IRQ_RV_MTI);
	r = clint_new(&b->clint, vm->ncpus, msi, mti, &vm->clock, vm->guest->loop, e);
	return r < 0 ? r : bus_map(vm->mmio, VIRT_CLINT, VIRT_CLINT_LEN, b->clint, e);
}

static int wire_small(struct vm *vm, struct virt *b, struct err *e)
{
	struct guest *g = vm->guest;
	int r = finisher_new(&b->finisher, finisher_power, vm, e);
	if (r == 0) r = bus_map(vm->mmio, VIRT_FINISHER, VIRT_PAGE_LEN, b->finisher, e);
	if (r == 0) r = rtc_new(&b->rtc, "rtc0", plic_line(b->plic, VIRT_IRQ_RTC), g->loop, e);
	if (r == 0 && g->spec->deterministic) rtc_count(b->rtc, &vm->clock);
	if (r == 0) r = bus_map(vm->mmio, VIRT_RTC, VIRT_PAGE_LEN, b->rtc, e);
	if (r == 0)
		r = board_generation(vm, &b->generation, plic_line(b->plic, VIRT_IRQ_GENERATION),
				     e);
	if (r == 0) r = bus_map(vm->mmio, VIRT_GENERATION, VMGENID_SPAN, b->generation, e);
	if (r == 0) r = board_uart(vm, plic_line(b->plic, VIRT_IRQ_UART), e);
	return r < 0 ? r : bus_map(vm->mmio, VIRT_UART, VIRT_UART_LEN, b->board.uart, e);
}

static int wire_pci(struct vm *vm, struct virt *b, struct err *e)
{
	struct board_pci w = {{VIRT_MMIO32, VIRT_RAM - VIRT_MMIO32, b->window64, VIRT_WINDOW64},
			      .ecam = VIRT_ECAM,
			      .ecam_len = VIRT_ECAM_LEN};
	for (unsigned i = 0; i < 4; i++) w.intx[i] = plic_line(b->plic, VIRT_IRQ_PCI + i);
	return board_pci_wire(vm, &w, e);
}

static int virt_wire(struct vm *vm, struct err *e)
{
	struct virt *b = virt_of(vm);
	int r = wire_interrupts(vm, b, e);
	if (r == 0) r = wire_small(vm, b, e);
	if (r == 0) r = wire_pci(vm, b, e);
	return r < 0 ? r : board_plug(vm, e);
}

static uint64_t virt_tick(void *ctx, bool pause)
{
	struct vm *vm = ctx;
	struct device *clint = virt_of(vm)->clint;
	if (pause) board_pause(vm);
	if (clint) clint_tick(clint);
	return clint ? clint_next(clint) : UINT64_MAX;
}

static void each_chip(struct vm *vm,
		      void (*fn)(struct board *b, struct device *const *chips, size_t n))
{
	struct virt *b = virt_of(vm);
	struct device *const chips[] = {b->rtc, b->finisher, b->clint, b->plic};
	fn(vm->board, chips, COUNT(chips));
}

static unsigned virt_chips(struct vm *vm, struct device *out[BOARD_CHIPS])
{
	struct virt *b = virt_of(vm);
	unsigned n = 0;
	out[n++] = b->board.uart;
	out[n++] = b->rtc;
	out[n++] = b->generation;
	out[n++] = b->clint;
	out[n++] = b->plic;
	return n;
}

static void virt_reset(struct vm *vm) { each_chip(vm, board_reset); }
static void virt_pause(struct vm *vm) { each_chip(vm, board_stop); }
static void virt_resume(struct vm *vm) { each_chip(vm, board_go); }

/* Devices, then what they raise lines of. */
static void virt_free(struct board *board)
{
	struct virt *b = (struct virt *)board;
	if (!b) return;
	board_done(board);
	device_free(b->rtc);
	device_free(b->finisher);
	device_free(b->generation);
	device_free(b->clint);
	device_free(b->plic);
	free(b);
}

/* Boot */

struct boot {
	struct load_ram ram;
	struct load_place firmware, kernel, initrd;
	gpa_t tree;
};

static int load_all(struct vm *vm, struct boot *t, struct err *e)
{
	struct board *b = vm->board;
	int r = b->firmware.fd < 0 ? 0 : load_firmware(&t->firmware, &t->ram, &b->firmware, e);
	if (r == 0 && b->kernel.fd >= 0)
		r = load_kernel(&t->kernel, &t->ram, VIRT_KERNEL, &b->kernel, e);
	if (r < 0) return r;
	gpa_t used = t->kernel.end > t->firmware.end ? t->kernel.end : t->firmware.end;
	if (t->kernel.start < t->firmware.end && t->firmware.start < t->kernel.end)
		return fail(e, -EINVAL, "kernel %s: goes where firmware %s already is",
			    b->kernel.path, b->firmware.path);
	if (used > t->tree)
		return fail(e, -ENOSPC, "memory: %llu MiB is too small for what is to boot",
			    (unsigned long long)(t->ram.len / MIB));
	return b->initrd.fd < 0 ? 0
				: load_initrd(&t->initrd, &t->ram, used, t->tree, &b->initrd, e);
}

static int put_tree(struct vm *vm, const struct boot *t, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	struct virt_tree tree = {.cpus = vm->ncpus,
				 .page_table = virt_of(vm)->page_table,
				 .memory = t->ram.len,
				 .window64 = virt_of(vm)->window64,
				 .menvcfg = hart_get(&vm->hart[0], REG_RV_CSR + CSR_MENVCFG),
				 .sbi = vm->sbi,
				 .append = s->append,
				 .initrd = t->initrd.start,
				 .initrd_end = t->initrd.end};
	void *blob;
	size_t len;
	int r = board_seed(vm, tree.seed, sizeof(tree.seed), e);
	if (r == 0) r = virt_tree(&blob, &len, &tree, e);
	if (r < 0) return r;
	must(len <= TREE_LEN && gmem_write(vm->mem, t->tree, blob, len));
	free(blob);
	return 0;
}

/* What a hart finds at power-on: jump to the firmware as OpenSBI's fw_dynamic wants to be called,
 * a0 hart, a1 device tree, a2 struct fw_dynamic_info (OpenSBI docs/firmware/fw_dynamic.md). */
static void put_rom(struct vm *vm, const struct boot *t)
{
	const struct {
		uint32_t code[6];
		uint64_t start, tree;
		uint64_t magic, version, next, mode, options, boot_hart;
	} rom = {
		.code = {0x00000617,  /* auipc a2, 0 */
			 0x01863283,  /* ld    t0, 24(a2) */
			 0x02063583,  /* ld    a1, 32(a2) */
			 0x02860613,  /* addi  a2, a2, 40 */
			 0xf1402573,  /* csrr  a0, mhartid */
			 0x00028067}, /* jr    t0 */
		.start = t->firmware.entry,
		.tree = t->tree,
		.magic = 0x4942534f, /* OSBI */
		.version = 2,
		.next = t->kernel.entry,
		.mode = 1, /* S */
	};
	void *to = gmem_host(vm->mem, VIRT_ROM, sizeof(rom));
	must(to);
	memcpy(to, &rom, sizeof(rom));
}

static int virt_boot(struct vm *vm, struct err *e)
{
	const uint64_t len = vm->guest->spec->memory;
	struct boot t = {.ram = {vm->mem, VIRT_RAM, len}, .tree = VIRT_RAM + len - TREE_LEN};
	int r = load_all(vm, &t, e);
	if (r == 0) r = put_tree(vm, &t, e);
	if (r < 0) return r;
	if (!vm->sbi) put_rom(vm, &t);
	for (unsigned i = 0; i < vm->ncpus; i++) {
		struct hart *h = &vm->hart[i];
		if (!vm->sbi)
			hart_restart(h, VIRT_ROM, t.tree);
		else if (i == 0)
			hart_restart(h, t.kernel.entry, t.tree);
		else
			hart_state_set(h, HART_STOPPED);
	}
	return 0;
}

static void virt_begin(struct hart *h)
{
	enum { A0 = REG_RV_X + 10, ALL_COUNTERS = 7 };
	if (h->vm->sbi) hart_set(h, REG_RV_CSR + CSR_SCOUNTEREN, ALL_COUNTERS);
	hart_set(h, A0, h->id);
	hart_set(h, A0 + 1, h->start_arg);
	hart_set(h, REG_RV_PC, h->start_pc);
}

static const struct engine_ops *const engines[] = {&engine_jit, &engine_interp, &engine_check,
						   NULL};

const struct board_ops board_virt = {
	.hz = VIRT_HZ,
	.engines = engines,
	.engine_names = "auto, jit, interp, check, kvm",
	.check = board_check,
	.make = virt_make,
	.engine = virt_engine,
	.wire = virt_wire,
	.boot = virt_boot,
	.begin = virt_begin,
	.call = sbi_call,
	.reset = virt_reset,
	.chips = virt_chips,
	.pause = virt_pause,
	.resume = virt_resume,
	.tick = virt_tick,
	.free = virt_free,
};
