/* The riscv64 board: which chip sits where, and how it comes up. The map is that of the field's
 * common RISC-V `virt` machine; virt_dt.c tells the guest the same. */
#include "vm/virt.h"
#include "blk/blk.h"
#include "dev/dev.h"
#include "guest/guest.h"
#include "hw/bus.h"
#include "hw/gmem.h"
#include "hw/pci.h"
#include "net/port.h"
#include "vm/keys.h"
#include "vm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define MEMORY_MIN (16 * MIB)
#define MEMORY_MAX (512 * GIB)
#define TREE_LEN   (2 * MIB) /* at the top of memory: the device tree */
enum { APPEND_MAX = 64 * 1024, SATP_SV39 = 8, SATP_SV57 = 10, CSR_MENVCFG = 0x30a };

/* What can be asked for */

static int check_memory(uint64_t n, struct err *e)
{
	if (n < MEMORY_MIN)
		return fail(e, -EINVAL, "memory: %llu KiB is too small, the least is %llu MiB",
			    (unsigned long long)(n / KIB), MEMORY_MIN / MIB);
	if (n > MEMORY_MAX)
		return fail(e, -EINVAL, "memory: %llu GiB is too large, the most is %llu GiB",
			    (unsigned long long)(n / GIB), MEMORY_MAX / GIB);
	if (n % TREE_LEN)
		return fail(e, -EINVAL, "memory: %llu KiB is not a multiple of %llu MiB",
			    (unsigned long long)(n / KIB), TREE_LEN / MIB);
	return 0;
}

int virt_check(const struct spec *s, struct err *e)
{
	if (s->arch != ARCH_RV64)
		return fail(e, -EINVAL,
			    "arch: there is a board for riscv64 guests only, not yet for others");
	if (s->cpus < 1 || s->cpus > VM_CPUS)
		return fail(e, -EINVAL, "cpus: %u: there can be 1 to %d", s->cpus, VM_CPUS);
	if (s->deterministic && s->cpus > 1)
		return fail(e, -EINVAL, "deterministic: with one CPU only, not %u", s->cpus);
	if (s->deterministic && s->net)
		return fail(e, -EINVAL,
			    "deterministic: not with a network, which answers when it will");
	if (!s->kernel && !s->firmware)
		return fail(e, -EINVAL, "nothing to boot: give it a kernel or a firmware");
	if (s->initrd && !s->kernel) return fail(e, -EINVAL, "initrd: it needs a kernel");
	if (s->append && strlen(s->append) > APPEND_MAX)
		return fail(e, -EINVAL, "append: longer than %d KiB", APPEND_MAX / 1024);
	return check_memory(s->memory, e);
}

/* Power-on state */

static int open_files(struct virt *b, const struct spec *s, struct err *e)
{
	int r = s->firmware ? load_open(&b->firmware, "firmware", s->firmware, e) : 0;
	if (r == 0 && s->kernel) r = load_open(&b->kernel, "kernel", s->kernel, e);
	if (r == 0 && s->initrd) r = load_open(&b->initrd, "initrd", s->initrd, e);
	return r;
}

int virt_new(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	struct virt *b = vm->board = calloc(1, sizeof(*b));
	must(b);
	b->firmware.fd = b->kernel.fd = b->initrd.fd = -1;
	b->page_table = vm->sbi ? SATP_SV39 : SATP_SV57;
	b->window64 = (VIRT_RAM + s->memory + VIRT_WINDOW64 - 1) / VIRT_WINDOW64 * VIRT_WINDOW64;
	int r = open_files(b, s, e);
	if (r == 0) r = gmem_add(vm->mem, VIRT_RAM, s->memory, 0, e);
	if (r == 0) r = gmem_add(vm->mem, VIRT_ROM, VIRT_ROM_LEN, GMEM_ROM, e);
	return r;
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
		r = uart_new(&b->uart, "uart0", plic_line(b->plic, VIRT_IRQ_UART), g->console, e);
	if (r == 0 && g->spec->deterministic) vm->keys = keys_new(g->console, g->loop, vm_wake, vm);
	return r < 0 ? r : bus_map(vm->mmio, VIRT_UART, VIRT_UART_LEN, b->uart, e);
}

static int wire_pci(struct vm *vm, struct virt *b, struct err *e)
{
	const struct pci_windows w = {VIRT_MMIO32, VIRT_RAM - VIRT_MMIO32, b->window64,
				      VIRT_WINDOW64};
	struct irq intx[4];
	for (unsigned i = 0; i < 4; i++) intx[i] = plic_line(b->plic, VIRT_IRQ_PCI + i);
	int r = pci_host_new(&b->pci, vm->mmio, &w, intx, NULL, e);
	return r < 0 ? r : bus_map(vm->mmio, VIRT_ECAM, VIRT_ECAM_LEN, pci_host_ecam(b->pci), e);
}

static int plug_disk(struct vm *vm, unsigned i, struct err *e)
{
	const struct spec_disk *d = &vm->guest->spec->disk[i];
	struct virtio_dev *v;
	struct blk *disk;
	char serial[16];
	(void)snprintf(serial, sizeof(serial), "disk%u", i);
	int r = blk_open(&disk, d->path, d->format ? d->format : "raw",
			 d->readonly ? BLK_RDONLY : 0, e);
	if (r < 0) return r;
	r = virtio_blk_new(&v, vm->mem, disk, serial, e);
	if (r == 0 && vm->guest->spec->deterministic) virtio_blk_in_order(v);
	return r < 0 ? r : virtio_pci_new(vm->board->pci, v, -1, e);
}

/* The same name has the same address at every start; a nameless guest has a new one. */
static void choose_mac(uint8_t mac[6], const char *name)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
	if (!name && getrandom(&hash, sizeof(hash), 0) != sizeof(hash)) hash = (uintptr_t)mac;
	for (; name && *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
	memcpy(mac, "\x52\x54\x00", 3); /* locally administered */
	for (unsigned i = 3; i < 6; i++) mac[i] = (uint8_t)(hash >> 8 * i);
}

static int plug_net(struct vm *vm, struct virt *b, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	struct virtio_dev *v;
	struct port *end;
	uint8_t mac[6];
	choose_mac(mac, s->name);
	int r = virtio_net_new(&v, vm->mem, mac, &end, e);
	if (r == 0) r = virtio_pci_new(b->pci, v, -1, e);
	if (r == 0) r = nat_new(&b->nat, s->publish, s->npublish, e);
	if (r == 0) port_wire(end, b->nat);
	return r;
}

static int plug_rng(struct vm *vm, struct err *e)
{
	struct virtio_dev *v;
	int r = virtio_rng_new(&v, vm->mem, e);
	if (r == 0 && vm->guest->spec->deterministic) virtio_rng_repeat(v);
	return r < 0 ? r : virtio_pci_new(vm->board->pci, v, -1, e);
}

int virt_wire(struct vm *vm, struct err *e)
{
	const struct spec *s = vm->guest->spec;
	struct virt *b = vm->board;
	int r = wire_interrupts(vm, b, e);
	if (r == 0) r = wire_small(vm, b, e);
	if (r == 0) r = wire_pci(vm, b, e);
	for (unsigned i = 0; r == 0 && i < s->ndisks; i++) r = plug_disk(vm, i, e);
	if (r == 0 && s->net) r = plug_net(vm, b, e);
	if (r == 0) r = plug_rng(vm, e);
	return r;
}

static bool is_halting(void *ctx) { return vm_halting(ctx); }

uint64_t virt_tick(void *ctx, bool pause)
{
	struct vm *vm = ctx;
	struct device *clint = vm->board->clint;
	if (pause) keys_pass(vm->keys, is_halting);
	if (clint) clint_tick(clint);
	return clint ? clint_next(clint) : UINT64_MAX;
}

void virt_reset(struct vm *vm)
{
	struct virt *b = vm->board;
	struct device *const all[] = {b->uart, b->rtc, b->finisher, b->clint, b->plic};
	pci_host_reset(b->pci);
	for (size_t i = 0; i < COUNT(all); i++) {
		if (!all[i] || !all[i]->ops->reset) continue;
		device_lock(all[i]);
		all[i]->ops->reset(all[i]);
		device_unlock(all[i]);
	}
}

/* The outside world first (the NAT has a thread), then devices, then what they raise lines of. */
void virt_free(struct virt *b)
{
	if (!b) return;
	port_free(b->nat);
	pci_host_free(b->pci);
	device_free(b->uart);
	device_free(b->rtc);
	device_free(b->finisher);
	device_free(b->clint);
	device_free(b->plic);
	load_close(&b->firmware);
	load_close(&b->kernel);
	load_close(&b->initrd);
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
	struct virt *b = vm->board;
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
				 .page_table = vm->board->page_table,
				 .memory = t->ram.len,
				 .window64 = vm->board->window64,
				 .menvcfg = hart_get(&vm->hart[0], REG_RV_CSR + CSR_MENVCFG),
				 .sbi = vm->sbi,
				 .append = s->append,
				 .initrd = t->initrd.start,
				 .initrd_end = t->initrd.end};
	void *blob;
	size_t len;
	if (s->deterministic)
		memset(tree.seed, 1, sizeof(tree.seed));
	else if (getrandom(tree.seed, sizeof(tree.seed), 0) != sizeof(tree.seed))
		return fail(e, -EIO, "no random numbers to seed the guest with");
	int r = virt_tree(&blob, &len, &tree, e);
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

int virt_boot(struct vm *vm, struct err *e)
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
