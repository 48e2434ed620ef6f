/* The x86-64 board: which chip sits where, and how it comes up. pc.h has the addresses. The one
 * thing to decide is whose the local APICs are: KVM has its own, for an engine in software they are
 * ours, and the rest of the board cannot tell the difference. */
#include "base/log.h"
#include "base/own.h"
#include "base/state.h"
#include "dev/dev.h"
#include "dev/pc.h"
#include "engine/kvm.h"
#include "engine/x86_engine.h"
#include "engine/x86_model.h"
#include "engine/x86_regs.h"
#include "guest/guest.h"
#include "guest/network.h"
#include "hw/gmem.h"
#include "vm/acpi.h"
#include "vm/board.h"
#include "vm/load_impl.h"
#include "vm/load_pc.h"
#include "vm/pc.h"
#include "vm/smbios.h"
#include "vm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Chips on ports, and the I/O APIC. Reset in this order, freed in it: whoever raises a line goes
 * before whom it goes to. */
enum chip {
	PIT,
	CMOS,
	I8042,
	PM,
	CONF1,
	POST,
	DEBUG,
	HACK,
	FW_CFG,
	VARS,
	GENERATION,
	IOAPIC,
	PIC,
	CHIPS
};
enum { ISA_IRQS = 16, DEBUG_LINE = 160 };

struct debug_line { /* what a guest says to a debug port, up to its newline */
	char text[DEBUG_LINE];
	unsigned n;
};
struct pc {
	struct board board;
	struct pc_map map;
	struct lapics *lapics; /* NULL: they are the engine's */
	struct device *chip[CHIPS];
	struct irq_split isa[ISA_IRQS];
	unsigned intx; /* INTA to INTD that are up, a bit each; under the PCI host's wire lock */
	struct debug_line debug, hack;
	uint8_t uuid[16];
	uint8_t *kernel, *initrd; /* lent to firmware */
	uint64_t vars_len;
};

static struct pc *pc_of(struct vm *vm) { return (struct pc *)vm->board; }
static bool has_firmware(const struct pc *b) { return b->board.firmware.fd >= 0; }

/* Memory */

static int check_firmware(const struct load_file *f, struct err *e)
{
	const uint64_t most = PC_HIGH - PC_FLASH_ROOM;
	if (f->size > most)
		return fail(e, -EFBIG, "firmware %s: %llu KiB is more than the %llu KiB for it",
			    f->path, (unsigned long long)(f->size / KIB),
			    (unsigned long long)(most / KIB));
	if (f->size % PC_PAGE)
		return fail(e, -ENOEXEC,
			    "firmware %s: not an image of a flash chip: its size is "
			    "no multiple of 4 KiB",
			    f->path);
	return 0;
}

/* What firmware keeps is a chip of its own, right below it. */
static int new_vars(struct pc *b, const struct spec *s, struct err *e)
{
	struct stat st;
	int fd = open(s->vars, (s->vars_kept ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	b->board.vars = fd;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(e, -errno, "variables %s: %s", s->vars, strerror(errno));
	uint64_t size = (uint64_t)st.st_size, room = PC_HIGH - PC_FLASH_ROOM;
	if (!has_firmware(b))
		return fail(e, -EINVAL, "variables %s: of which firmware? --firmware is missing",
			    s->vars);
	if (!S_ISREG(st.st_mode) || !size || size % PC_PAGE || size > room - b->board.firmware.size)
		return fail(e, -EINVAL,
			    "variables %s: not an image of a flash chip that fits below the "
			    "firmware: %llu bytes",
			    s->vars, (unsigned long long)size);
	b->vars_len = size;
	return pflash_new(&b->chip[VARS], "vars", fd, size, s->vars_kept, e);
}

/* A hole where a PC has its display's memory, and firmware where it ends at 4 GiB. */
static int add_memory(struct vm *vm, const struct pc *b, struct err *e)
{
	const gpa_t rest = PC_VGA + PC_VGA_LEN;
	uint64_t rom = has_firmware(b) ? b->board.firmware.size : 0;
	int r = gmem_add(vm->mem, 0, PC_VGA, 0, e);
	if (r == 0) r = gmem_add(vm->mem, rest, b->map.low - rest, 0, e);
	if (r == 0 && b->map.high) r = gmem_add(vm->mem, PC_HIGH, b->map.high, 0, e);
	if (r == 0 && rom) r = gmem_add(vm->mem, PC_HIGH - rom, rom, GMEM_ROM, e);
	return r;
}

static void make_uuid(uint8_t to[16], const struct spec *s)
{
	uint64_t id = s->deterministic ? 1 : network_identity(s->id ? s->id : s->name);
	store_le(to, id, 8);
	store_le(to + 8, id * 0x9e3779b97f4a7c15, 8);
	to[6] = (to[6] & 0x0f) | 0x80; /* RFC 9562: version 8, of one's own making */
	to[8] = (to[8] & 0x3f) | 0x80;
}

static int pc_make(struct vm *vm, struct err *e)
{
	enum { USUAL_KERNEL = 0x1000000 }; /* where Linux is linked to */
	const struct spec *s = vm->guest->spec;
	struct pc *b = calloc(1, sizeof(*b));
	must(b);
	vm->board = &b->board;
	board_init(&b->board);
	b->board.kernel_at = USUAL_KERNEL;
	b->map = pc_map(s->memory);
	make_uuid(b->uuid, s);
	vm->pio = bus_new("pio");
	int r = board_files(&b->board, s, e);
	if (r == 0 && has_firmware(b)) r = check_firmware(&b->board.firmware, e);
	if (r == 0 && s->vars) r = new_vars(b, s, e);
	return r < 0 ? r : add_memory(vm, b, e);
}

/* What a CPU in software asks its local APIC, on its thread */

static bool ask_msr(void *vm, unsigned cpu, uint32_t index, bool write, uint64_t *val)
{
	enum { APIC_BASE = 0x1b, DEADLINE = 0x6e0, X2APIC = 0x800, X2APICS = 0x100 };
	struct lapics *s = pc_of(vm)->lapics;
	if (index == APIC_BASE && write) return lapic_base_set(s, cpu, *val);
	if (index == APIC_BASE) return *val = lapic_base(s, cpu), true;
	if (index != DEADLINE && index - X2APIC >= X2APICS) return false;
	return write ? lapic_msr_write(s, cpu, index, *val) : lapic_msr_read(s, cpu, index, val);
}

static int ask_vector(void *vm, unsigned cpu) { return lapic_ack(pc_of(vm)->lapics, cpu); }

static unsigned ask_cr8(void *vm, unsigned cpu, bool write, unsigned val)
{
	struct lapics *s = pc_of(vm)->lapics;
	if (write) lapic_cr8_set(s, cpu, val);
	return lapic_cr8(s, cpu);
}

static struct device *ask_page(void *vm, unsigned cpu)
{
	return lapic_page(pc_of(vm)->lapics, cpu);
}

/* What KVM's local APICs ask the rest of the board */

static int ask_pic(void *vm, unsigned cpu)
{
	(void)cpu;
	return (int)pic_ack(pc_of(vm)->chip[PIC]);
}

static void tell_ioapic(void *vm, unsigned vector) { ioapic_eoi(pc_of(vm)->chip[IOAPIC], vector); }

/* From interrupt controllers to CPUs: any thread, under their locks, so these only post */

static void lapic_intr(void *vm, unsigned cpu, int level)
{
	hart_irq(&((struct vm *)vm)->hart[cpu], IRQ_X86_INTR, level);
}

static void lapic_signal(void *vm, unsigned cpu, enum lapic_signal what, unsigned vector)
{
	struct hart *h = &((struct vm *)vm)->hart[cpu];
	if (what == LAPIC_NMI) hart_irq(h, IRQ_X86_NMI, 1);
	if (what == LAPIC_INIT) hart_irq(h, IRQ_X86_INIT, 1);
	if (what == LAPIC_SIPI) hart_irq(h, IRQ_X86_SIPI, (int)vector);
}

static uint64_t tsc_ns(void *ctx, unsigned cpu, uint64_t tsc)
{
	struct vm *vm = ctx;
	return vm->ops->tsc_ns(vm->hart[cpu].cpu, tsc);
}

static bool engine_send(void *vm, uint64_t addr, uint32_t data)
{
	return kvm_msi(((struct vm *)vm)->engine, addr, data);
}

static void engine_msi(void *vm, uint64_t addr, uint32_t data)
{
	(void)engine_send(vm, addr, data);
}

/* KVM reports the EOIs of vectors that its routes have as levels, and no others. */
static void engine_route(void *vm, unsigned pin, uint64_t addr, uint32_t data)
{
	struct err e;
	if (kvm_route(((struct vm *)vm)->engine, pin, addr, data, &e) < 0)
		log_warn("I/O APIC, pin %u: %s", pin, e.msg);
}

/* The engine */

static struct loop *chip_loop(struct vm *vm) /* where time is counted, the board calls */
{
	return vm->guest->spec->deterministic ? NULL : vm->guest->loop;
}

static int new_lapics(struct vm *vm, struct err *e)
{
	struct pc *b = pc_of(vm);
	const struct lapic_env env = {.intr = {lapic_intr, vm, 0},
				      .signal = lapic_signal,
				      .ctx = vm,
				      .tsc_ns = vm->ops->tsc_ns ? tsc_ns : NULL,
				      .clock = &vm->clock,
				      .loop = chip_loop(vm)};
	return b->lapics ? 0 : lapics_new(&b->lapics, vm->guest->spec->cpus, &env, e);
}

static int pc_engine(struct vm *vm, struct engine_env *env, struct err *e)
{
	static const struct x86_hooks ours = {
		.msr = ask_msr, .extint = ask_vector, .cr8 = ask_cr8, .apic = ask_page};
	static const struct x86_hooks theirs = {.eoi = tell_ioapic, .extint = ask_pic};
	bool split = vm->ops == &engine_kvm;
	env->irqchip = split ? IRQCHIP_SPLIT : IRQCHIP_NONE;
	env->x86 = split ? theirs : ours;
	env->x86.ctx = vm;
	return split ? 0 : new_lapics(vm, e);
}

/* Chips */

static int wire_interrupts(struct vm *vm, struct pc *b, struct err *e)
{
	struct irq intr = b->lapics ? lapics_lint(b->lapics, 0)
				    : (struct irq){hart_irq, &vm->hart[0], IRQ_X86_INTR};
	const struct ioapic_to to = b->lapics ? (struct ioapic_to){lapics_send, b->lapics, NULL}
					      : (struct ioapic_to){engine_send, vm, engine_route};
	int r = pic_new(&b->chip[PIC], intr, e);
	if (r == 0) r = ioapic_new(&b->chip[IOAPIC], &to, e);
	if (r == 0) r = bus_map(vm->mmio, PC_IOAPIC, PC_CHIP_LEN, b->chip[IOAPIC], e);
	if (r == 0 && b->lapics) lapics_wire(b->lapics, b->chip[PIC], b->chip[IOAPIC]);
	return r;
}

/* An ISA interrupt by its number on the PICs: the I/O APIC has it, too. */
static struct irq isa_line(struct pc *b, unsigned n)
{
	b->isa[n] = (struct irq_split){
		{pic_line(b->chip[PIC], n), ioapic_line(b->chip[IOAPIC], n ? n : PC_GSI_PIT)}};
	return irq_split(&b->isa[n]);
}

static void power_off(void *vm) { vm_power(vm, VM_POWER_OFF, 0); }
static void power_reset(void *vm) { vm_power(vm, VM_POWER_RESET, 0); }

static void debug_put(void *ctx, uint8_t v)
{
	struct debug_line *l = ctx;
	if (v != '\n') l->text[l->n++] = (char)v;
	if (v != '\n' && l->n < DEBUG_LINE) return;
	log_info("debug port: %.*s", (int)l->n, l->text);
	l->n = 0;
}

static int new_timers(struct vm *vm, struct pc *b, struct err *e)
{
	struct loop *l = chip_loop(vm);
	int r = pit_new(&b->chip[PIT], isa_line(b, 0), &vm->clock, l, e);
	if (r == 0) r = cmos_new(&b->chip[CMOS], isa_line(b, PC_GSI_RTC), &vm->clock, l, e);
	if (r == 0)
		r = acpi_pm_new(&b->chip[PM], isa_line(b, PC_GSI_SCI), power_off, vm, &vm->clock, l,
				e);
	return r;
}

static int new_sinks(struct pc *b, struct err *e)
{
	int r = sink_new(&b->chip[POST], "post", -1, NULL, NULL, e);
	if (r == 0) r = sink_new(&b->chip[DEBUG], "debug", SINK_DEBUGCON, debug_put, &b->debug, e);
	if (r == 0) r = sink_new(&b->chip[HACK], "hack", SINK_DEBUGCON, debug_put, &b->hack, e);
	return r;
}

static int new_chips(struct vm *vm, struct pc *b, struct err *e)
{
	const struct i8042_to to = {
		.irq = isa_line(b, PC_GSI_KEYBOARD), .reset = power_reset, .ctx = vm};
	int r = new_timers(vm, b, e);
	if (r == 0) r = i8042_new(&b->chip[I8042], &to, e);
	if (r == 0) r = conf1_new(&b->chip[CONF1], pci_host_ecam(b->board.pci), power_reset, vm, e);
	if (r == 0) r = new_sinks(b, e);
	if (r == 0)
		r = board_generation(vm, &b->chip[GENERATION],
				     ioapic_line(b->chip[IOAPIC], PC_GSI_GENERATION), e);
	if (r == 0) r = bus_map(vm->mmio, PC_GENERATION, VMGENID_SPAN, b->chip[GENERATION], e);
	if (r == 0 && has_firmware(b)) r = fw_cfg_new(&b->chip[FW_CFG], vm->mem, e);
	if (r == 0 && b->vars_len)
		r = bus_map(vm->mmio, PC_HIGH - b->board.firmware.size - b->vars_len, b->vars_len,
			    b->chip[VARS], e);
	return r < 0 ? r : board_uart(vm, isa_line(b, PC_GSI_UART), e);
}

static int map_ports(struct vm *vm, struct pc *b, struct err *e)
{
	enum { PORT_B = 0x61, PORT_A = 0x92, PORT_POST = 0x80, PORT_HACK = 0xe9 };
	static const struct {
		uint16_t at, len;
		uint8_t chip, part;
	} port[] = {{PC_PORT_PIC, 2, PIC, 0},
		    {PC_PORT_PIC2, 2, PIC, 2},
		    {PC_PORT_ELCR, 2, PIC, 4},
		    {PC_PORT_PIT, 4, PIT, 0},
		    {PORT_B, 1, PIT, 4},
		    {PC_PORT_I8042, 1, I8042, 0},
		    {PC_PORT_I8042 + 4, 1, I8042, 1},
		    {PORT_A, 1, I8042, 2},
		    {PC_PORT_RTC, 2, CMOS, 0},
		    {PC_PORT_PM, ACPI_PM_PORTS, PM, 0},
		    {PC_PORT_PCI, 8, CONF1, 0},
		    {PORT_POST, 1, POST, 0},
		    {PC_PORT_DEBUG, 1, DEBUG, 0},
		    {PORT_HACK, 1, HACK, 0},
		    {PC_PORT_FW_CFG, 12, FW_CFG, 0}};
	int r = bus_map(vm->pio, PC_PORT_UART, 8, b->board.uart, e);
	for (unsigned i = 0; r == 0 && i < COUNT(port); i++)
		if (b->chip[port[i].chip])
			r = bus_map_part(vm->pio, port[i].at, port[i].len, b->chip[port[i].chip],
					 port[i].part, e);
	return r;
}

/* INTA to INTD: an input each of the I/O APIC; the PICs have two for the four. */
static void intx_set(void *ctx, unsigned pin, int level)
{
	struct pc *b = ctx;
	unsigned shared = 1u << pin | 1u << (pin + 2) % 4;
	b->intx = level ? b->intx | 1u << pin : b->intx & ~(1u << pin);
	irq_set(ioapic_line(b->chip[IOAPIC], PC_GSI_PCI + pin), level);
	irq_set(pic_line(b->chip[PIC], pc_pic_irq(pin)), (b->intx & shared) != 0);
}

/* OVMF puts 64-bit BARs at the end of what the CPU can address. */
static struct pci_windows pci_windows_of(const struct pc *b)
{
	const uint64_t end = 1ull << 52;
	uint64_t len = has_firmware(b) ? end - b->map.window64 : PC_WINDOW64;
	return (struct pci_windows){PC_MMIO32, PC_MMIO32_END - PC_MMIO32, b->map.window64, len};
}

static int wire_pci(struct vm *vm, struct pc *b, struct err *e)
{
	struct board_pci w = {.windows = pci_windows_of(b),
			      .ecam = PC_ECAM,
			      .ecam_len = PC_ECAM_LEN,
			      .msi = b->lapics ? (struct pci_msi){lapics_msi, b->lapics}
					       : (struct pci_msi){engine_msi, vm}};
	for (unsigned i = 0; i < 4; i++) w.intx[i] = (struct irq){intx_set, b, i};
	int r = board_pci_wire(vm, &w, e);
	return r < 0 || !has_firmware(b) ? r : q35_new(b->board.pci, e);
}

/* What the guest is told */

static struct pc_acpi tables_of(const struct vm *vm, const struct pc *b)
{
	return (struct pc_acpi){.map = &b->map,
				.cpus = vm->ncpus,
				.pci = true,
				.i8042 = true,
				.rtc = true,
				.fw_cfg = has_firmware(b),
				.generation = true};
}

static struct smbios smbios_of(const struct vm *vm, const struct pc *b)
{
	struct smbios s = {.cpus = vm->ncpus,
			   .low = b->map.low,
			   .high = b->map.high,
			   .name = vm->guest->spec->name};
	memcpy(s.uuid, b->uuid, sizeof(s.uuid));
	return s;
}

static void fill_cmos(struct vm *vm, struct pc *b)
{
	enum { CPUS_BUT_ONE = 0x5f }; /* for SeaBIOS */
	cmos_memory(b->chip[CMOS], b->map.low, b->map.high);
	cmos_put(b->chip[CMOS], CPUS_BUT_ONE, (uint8_t)(vm->ncpus - 1));
}

static int fill_fw_cfg(struct vm *vm, struct pc *b, struct err *e)
{
	const struct board *f = &b->board;
	const struct pc_acpi acpi = tables_of(vm, b);
	const struct smbios smbios = smbios_of(vm, b);
	struct pc_firmware w = {.acpi = &acpi,
				.smbios = &smbios,
				.nographic = true,
				.append = vm->guest->spec->append};
	int r = f->kernel.fd < 0 ? 0 : load_read(&b->kernel, &f->kernel, e);
	if (r == 0 && f->initrd.fd >= 0) r = load_read(&b->initrd, &f->initrd, e);
	if (r < 0) return r;
	w.kernel = b->kernel;
	w.kernel_len = b->kernel ? f->kernel.size : 0;
	w.initrd = b->initrd;
	w.initrd_len = b->initrd ? f->initrd.size : 0;
	pc_firmware(b->chip[FW_CFG], &w);
	return 0;
}

static int pc_wire(struct vm *vm, struct err *e)
{
	struct pc *b = pc_of(vm);
	int r = wire_interrupts(vm, b, e);
	if (r == 0) r = wire_pci(vm, b, e);
	if (r == 0) r = new_chips(vm, b, e);
	if (r == 0) r = map_ports(vm, b, e);
	if (r == 0) fill_cmos(vm, b);
	if (r == 0 && has_firmware(b)) r = fill_fw_cfg(vm, b, e);
	if (r == 0) r = board_plug(vm, e);
	if (r == 0 && has_firmware(b))
		pc_boot_order(b->chip[FW_CFG], vm->guest->spec, b->board.drive);
	return r;
}

/* Boot */

static int place_tables(struct vm *vm, struct pc *b, struct err *e)
{
	const struct pc_acpi c = tables_of(vm, b);
	const struct smbios s = smbios_of(vm, b);
	struct acpi a = {0};
	pc_acpi(&a, &c);
	int r = acpi_place(&a, vm->mem, PC_BIOS, PC_SMBIOS - PC_BIOS, e);
	acpi_done(&a);
	return r < 0 ? r : smbios_place(&s, vm->mem, PC_SMBIOS, PC_MIB - PC_SMBIOS, e);
}

static int load_all(struct vm *vm, struct pc *b, struct pc_start *start, struct err *e)
{
	const struct load_ram ram = {vm->mem, 0, b->map.low};
	struct load_place initrd = {0};
	struct pc_kernel k;
	int r = load_pc_kernel(&k, &ram, &b->board.kernel, e);
	if (r == 0 && b->board.initrd.fd >= 0)
		r = load_initrd(&initrd, &ram, k.at.end, k.initrd_top, &b->board.initrd, e);
	if (r == 0) r = place_tables(vm, b, e);
	struct pc_boot boot = {.mem = vm->mem,
			       .map = &b->map,
			       .append = vm->guest->spec->append,
			       .initrd = initrd.start,
			       .initrd_end = initrd.end,
			       .rsdp = PC_BIOS};
	if (r == 0) r = board_seed(vm, boot.seed, sizeof(boot.seed), e);
	return r < 0 ? r : pc_boot(start, &k, &boot, e);
}

/* Firmware, and up to 1 MiB a copy of its end, which it may write: as if shadow RAM were open,
 * which SeaBIOS would do with the registers of a host bridge that it knows. */
static int load_flash(struct vm *vm, const struct load_file *f, struct err *e)
{
	auto_mem uint8_t *p = NULL;
	const size_t room = PC_MIB - (PC_VGA + PC_VGA_LEN), low = f->size < room ? f->size : room;
	int r = load_read(&p, f, e);
	if (r < 0) return r;
	void *rom = gmem_host(vm->mem, PC_HIGH - f->size, f->size);
	must(rom && gmem_write(vm->mem, PC_MIB - low, p + f->size - low, low));
	memcpy(rom, p, f->size);
	return 0;
}

static void put_segment(struct hart *h, unsigned n, const struct pc_segment *g)
{
	unsigned reg = REG_X86_SEG + 4 * n;
	hart_set(h, reg + SEG_SELECTOR, g->selector);
	hart_set(h, reg + SEG_BASE, g->base);
	hart_set(h, reg + SEG_LIMIT, g->limit);
	hart_set(h, reg + SEG_ACCESS, g->access);
}

static void put_start(struct hart *h, const struct pc_start *s)
{
	enum { ES, CS, SS, DS, FS, GS, TR = 7, RBX = 3, RSP = 4, RSI = 6 };
	static const uint8_t data[] = {ES, SS, DS, FS, GS};
	hart_set(h, REG_X86_EFER, s->efer);
	hart_set(h, REG_X86_CR + 4, s->cr4);
	hart_set(h, REG_X86_CR + 3, s->cr3);
	hart_set(h, REG_X86_CR + 0, s->cr0);
	hart_set(h, REG_X86_GDT_BASE, s->gdt);
	hart_set(h, REG_X86_GDT_LIMIT, s->gdt_limit);
	put_segment(h, CS, &s->cs);
	put_segment(h, TR, &s->tr);
	for (unsigned i = 0; i < COUNT(data); i++) put_segment(h, data[i], &s->data);
	hart_set(h, REG_X86_GPR + RBX, s->rbx);
	hart_set(h, REG_X86_GPR + RSP, s->rsp);
	hart_set(h, REG_X86_GPR + RSI, s->rsi);
	hart_set(h, REG_X86_RFLAGS, s->rflags);
	hart_set(h, REG_X86_RIP, s->rip);
}

/* All of them are reset before any of them runs: the first one's INIT may come at once. */
static int pc_start(struct vm *vm, struct err *e)
{
	struct pc *b = pc_of(vm);
	struct pc_start start;
	int r = has_firmware(b) ? load_flash(vm, &b->board.firmware, e)
				: load_all(vm, b, &start, e);
	if (r < 0) return r;
	for (unsigned i = 0; i < vm->ncpus; i++) vm->ops->reset(vm->hart[i].cpu);
	if (!has_firmware(b)) put_start(&vm->hart[0], &start);
	if (!has_firmware(b) && b->lapics) lapics_virtual_wire(b->lapics);
	for (unsigned i = 0; i < vm->ncpus; i++) hart_state_set(&vm->hart[i], HART_STARTED);
	return 0;
}

static unsigned pc_chips(struct vm *vm, struct device *out[BOARD_CHIPS])
{
	_Static_assert((int)CHIPS < (int)BOARD_CHIPS, "and the UART");
	struct pc *b = pc_of(vm);
	for (unsigned i = 0; i < CHIPS; i++) out[i] = b->chip[i];
	out[CHIPS] = b->board.uart;
	return CHIPS + 1;
}

/* KVM's local APICs are saved as ours are: through some that nothing is wired to. */

enum { MSR_DEADLINE = 0x6e0 };

/* When a stopped time stamp counter comes there. */
static uint64_t stamp_ns(void *ctx, unsigned cpu, uint64_t tsc)
{
	struct vm *vm = ctx;
	struct x86_leaf told[X86_LEAVES];
	uint64_t khz = x86_leaf_khz(told, vm->ops->told(vm->engine, told));
	uint64_t now = vclock_ns(&vm->clock), left = tsc - vm->hart[cpu].stamp;
	if ((int64_t)left <= 0 || !khz) return now;
	return now + (uint64_t)((unsigned __int128)left * 1000000 / khz);
}

static void nothing(void *ctx, unsigned line, int level) { (void)ctx, (void)line, (void)level; }

static void page_get(struct hart *h, struct lapic_page *p)
{
	for (unsigned i = 0; i < LAPIC_REGS; i++)
		p->reg[i] = (uint32_t)hart_get(h, REG_X86_LAPIC + i);
	p->base = hart_get(h, REG_X86_APIC_BASE);
	p->deadline = hart_get(h, REG_X86_MSR + MSR_DEADLINE);
}

/* The mode comes first, as it decides what the rest means; reserved registers are left alone. */
static bool page_put(struct hart *h, const struct lapic_page *p)
{
	const struct engine_ops *ops = h->vm->ops;
	bool good = !ops->set(h->cpu, REG_X86_APIC_BASE, p->base);
	for (unsigned i = 0; good && i < LAPIC_REGS; i++)
		if (hart_get(h, REG_X86_LAPIC + i) != p->reg[i])
			good = !ops->set(h->cpu, REG_X86_LAPIC + i, p->reg[i]);
	hart_set(h, REG_X86_MSR + MSR_DEADLINE, p->deadline);
	return good;
}

static void engine_lapics_state(struct vm *vm, struct state *s)
{
	const struct lapic_env env = {
		.intr = {nothing, NULL, 0}, .ctx = vm, .tsc_ns = stamp_ns, .clock = &vm->clock};
	struct lapic_page p;
	struct lapics *l;
	bool good = true;
	if (lapics_new(&l, vm->ncpus, &env, &s->e) < 0) return;
	for (unsigned i = 0; !s->loading && i < vm->ncpus; i++) {
		page_get(&vm->hart[i], &p);
		lapic_load(l, i, &p);
	}
	lapics_state(l, s);
	for (unsigned i = 0; s->loading && state_ok(s) && i < vm->ncpus; i++) {
		lapic_save(l, i, &p);
		good = page_put(&vm->hart[i], &p) && good;
	}
	(void)state_need(s, good, "local APIC");
	lapics_free(l);
}

static void pc_state(struct vm *vm, struct state *s)
{
	struct pc *b = pc_of(vm);
	STATE(s, b, intx);
	if (b->lapics)
		lapics_state(b->lapics, s);
	else
		engine_lapics_state(vm, s);
}

static void pc_reset(struct vm *vm)
{
	struct pc *b = pc_of(vm);
	board_reset(vm->board, b->chip, CHIPS);
	if (b->lapics) lapics_reset(b->lapics);
}

/* Time stamp counters are the harts' own clocks, and KVM's clock for guests goes by them. */
static void pc_pause(struct vm *vm)
{
	board_stop(vm->board, pc_of(vm)->chip, CHIPS);
	for (unsigned i = 0; i < vm->ncpus; i++)
		vm->hart[i].stamp = hart_get(&vm->hart[i], REG_X86_TSC);
}

/* KVM's timer is set by what the counter was when it was set. */
static void deadline_again(struct hart *h)
{
	uint64_t at = hart_get(h, REG_X86_MSR + MSR_DEADLINE);
	if (at) hart_set(h, REG_X86_MSR + MSR_DEADLINE, at);
}

static void pc_resume(struct vm *vm)
{
	struct pc *b = pc_of(vm);
	for (unsigned i = 0; i < vm->ncpus; i++)
		hart_set(&vm->hart[i], REG_X86_TSC, vm->hart[i].stamp), vm->hart[i].stamp = 0;
	for (unsigned i = 0; !b->lapics && i < vm->ncpus; i++) deadline_again(&vm->hart[i]);
	if (b->lapics) lapics_resume(b->lapics);
	board_go(vm->board, b->chip, CHIPS);
}

/* Running */

static uint64_t pc_tick(void *ctx, bool pause)
{
	struct vm *vm = ctx;
	struct pc *b = pc_of(vm);
	if (pause) board_pause(vm);
	pit_tick(b->chip[PIT]);
	cmos_tick(b->chip[CMOS]);
	acpi_pm_tick(b->chip[PM]);
	lapics_tick(b->lapics);
	const uint64_t next[] = {pit_next(b->chip[PIT]), cmos_next(b->chip[CMOS]),
				 acpi_pm_next(b->chip[PM]), lapics_next(b->lapics)};
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < COUNT(next); i++)
		if (next[i] < least) least = next[i];
	return least;
}

static bool pc_hears(struct vm *vm) { return acpi_pm_hears(pc_of(vm)->chip[PM]); }
static bool pc_button(struct vm *vm) { return acpi_pm_button(pc_of(vm)->chip[PM]); }

static void pc_free(struct board *board)
{
	struct pc *b = (struct pc *)board;
	if (!b) return;
	board_done(board);
	for (unsigned i = 0; i < CHIPS; i++) device_free(b->chip[i]);
	lapics_free(b->lapics);
	free(b->kernel);
	free(b->initrd);
	free(b);
}

/* Engines in software go here, the fastest first. */
static const struct engine_ops *const engines[] = {&engine_x86_jit, &engine_x86_interp,
						   &engine_x86_check, NULL};

const struct board_ops board_pc = {
	.hz = 1000000000, /* ticks are nanoseconds, as the chips' */
	.engines = engines,
	.engine_names = "auto, jit, interp, check, kvm",
	.check = board_check,
	.make = pc_make,
	.engine = pc_engine,
	.wire = pc_wire,
	.boot = pc_start,
	.reset = pc_reset,
	.chips = pc_chips,
	.state = pc_state,
	.pause = pc_pause,
	.resume = pc_resume,
	.tick = pc_tick,
	.button = pc_button,
	.hears = pc_hears,
	.free = pc_free,
};
