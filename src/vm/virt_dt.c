/* The device tree of the riscv64 board: what a kernel or firmware is told about virt.c. One
 * function a node, in the order in which the tree is printed; bindings are those of Linux'
 * Documentation/devicetree/bindings. */
#include "base/buf.h"
#include "engine/engine.h"
#include "vm/dt.h"
#include "vm/virt.h"
#include "vm/vm.h"

enum { PHANDLE_HART = 1, PHANDLE_CPU = 32, PHANDLE_PLIC = 64, PHANDLE_FINISHER = 65 };
enum { CACHE_BLOCK = 64, PCI_SLOTS_MAPPED = 4, ALL = 0 };

/* Extensions in canonical order. Those with a menvcfg bit exist for S-mode only while the machine
 * mode below it allows them: when we are that mode, the bit is the truth. */
static const struct extension {
	const char *name;
	uint64_t menvcfg; /* RISC-V privileged spec, menvcfg; ALL: always there */
	bool sbi_only;
} extensions[] = {
	{"i", ALL, false},
	{"m", ALL, false},
	{"a", ALL, false},
	{"f", ALL, false},
	{"d", ALL, false},
	{"c", ALL, false},
	{"v", ALL, false},
	{"zicbom", 1 << 6, false},
	{"zicbop", ALL, false},
	{"zicboz", 1 << 7, false},
	{"zicntr", ALL, false},
	{"zicond", ALL, false},
	{"zicsr", ALL, false},
	{"zifencei", ALL, false},
	{"zihintntl", ALL, false},
	{"zihintpause", ALL, false},
	{"zihpm", ALL, false},
	{"zimop", ALL, false},
	{"zawrs", ALL, false},
	{"zfa", ALL, false},
	{"zfh", ALL, false},
	{"zfhmin", ALL, false},
	{"zca", ALL, false},
	{"zcb", ALL, false},
	{"zcd", ALL, false},
	{"zcmop", ALL, false},
	{"zba", ALL, false},
	{"zbb", ALL, false},
	{"zbc", ALL, false},
	{"zbs", ALL, false},
	{"zvbb", ALL, false},
	{"zve32f", ALL, false},
	{"zve32x", ALL, false},
	{"zve64d", ALL, false},
	{"zve64f", ALL, false},
	{"zve64x", ALL, false},
	{"zvfh", ALL, false},
	{"zvfhmin", ALL, false},
	{"zvkb", ALL, false},
	{"zvl32b", ALL, false},
	{"zvl64b", ALL, false},
	{"zvl128b", ALL, false},
	{"sstc", 1ull << 63, false},
	{"svadu", 1ull << 61, true},
	{"svinval", ALL, false},
	{"svnapot", ALL, false},
	{"svpbmt", 1ull << 62, false},
};

static bool offered(const struct virt_tree *t, const struct extension *x)
{
	if (x->sbi_only && !t->sbi) return false;
	return !x->menvcfg || !t->sbi || t->menvcfg & x->menvcfg;
}

static void add_isa(struct dt *f, const struct virt_tree *t)
{
	struct buf isa = {0}, list = {0};
	buf_fmt(&isa, "rv64");
	for (size_t i = 0; i < COUNT(extensions); i++) {
		const struct extension *x = &extensions[i];
		if (!offered(t, x)) continue;
		buf_fmt(&isa, x->name[1] ? "_%s" : "%s", x->name);
		buf_add(&list, x->name, strlen(x->name) + 1);
	}
	dt_text(f, "riscv,isa", isa.at);
	dt_text(f, "riscv,isa-base", "rv64i");
	dt_bytes(f, "riscv,isa-extensions", list.at, list.len);
	buf_done(&isa);
	buf_done(&list);
}

static void add_cpu(struct dt *f, const struct virt_tree *t, unsigned i)
{
	static const char *const mmu[] = {"riscv,sv39", "riscv,sv48", "riscv,sv57"};
	dt_node(f, "cpu@%x", i);
	dt_u32(f, "phandle", PHANDLE_CPU + i);
	dt_text(f, "device_type", "cpu");
	dt_u32(f, "reg", i);
	dt_text(f, "status", "okay");
	dt_text(f, "compatible", "riscv");
	add_isa(f, t);
	dt_text(f, "mmu-type", mmu[t->page_table - 8]);
	dt_u32(f, "riscv,cbom-block-size", CACHE_BLOCK);
	dt_u32(f, "riscv,cboz-block-size", CACHE_BLOCK);
	dt_node(f, "interrupt-controller");
	dt_u32(f, "#address-cells", 0);
	dt_u32(f, "#interrupt-cells", 1);
	dt_flag(f, "interrupt-controller");
	dt_text(f, "compatible", "riscv,cpu-intc");
	dt_u32(f, "phandle", PHANDLE_HART + i);
	dt_node_end(f);
	dt_node_end(f);
}

static void add_cpus(struct dt *f, const struct virt_tree *t)
{
	dt_node(f, "cpus");
	dt_u32(f, "#address-cells", 1);
	dt_u32(f, "#size-cells", 0);
	dt_u32(f, "timebase-frequency", VIRT_HZ);
	for (unsigned i = 0; i < t->cpus; i++) add_cpu(f, t, i);
	dt_node(f, "cpu-map");
	dt_node(f, "cluster0");
	for (unsigned i = 0; i < t->cpus; i++) {
		dt_node(f, "core%u", i);
		dt_u32(f, "cpu", PHANDLE_CPU + i);
		dt_node_end(f);
	}
	dt_node_end(f);
	dt_node_end(f);
	dt_node_end(f);
}

static void add_chosen(struct dt *f, const struct virt_tree *t)
{
	dt_node(f, "aliases");
	dt_text(f, "serial0", "/soc/serial@10000000");
	dt_node_end(f);
	dt_node(f, "chosen");
	if (t->append) dt_text(f, "bootargs", t->append);
	dt_text(f, "stdout-path", "/soc/serial@10000000");
	if (t->initrd != t->initrd_end) {
		dt_u32(f, "linux,initrd-start", DT_U64(t->initrd));
		dt_u32(f, "linux,initrd-end", DT_U64(t->initrd_end));
	}
	dt_bytes(f, "rng-seed", t->seed, sizeof(t->seed));
	dt_node_end(f);
}

static void add_memory(struct dt *f, const struct virt_tree *t)
{
	dt_node(f, "memory@%llx", VIRT_RAM);
	dt_text(f, "device_type", "memory");
	dt_reg(f, "reg", VIRT_RAM, t->memory);
	dt_node_end(f);
}

static void add_syscon(struct dt *f, const char *name, const char *compatible, uint32_t value)
{
	dt_node(f, "%s", name);
	dt_text(f, "compatible", compatible);
	dt_u32(f, "regmap", PHANDLE_FINISHER);
	dt_u32(f, "offset", 0);
	dt_u32(f, "value", value); /* of the SiFive test finisher */
	dt_node_end(f);
}

/* A device of the soc node: name@at, its compatible list and registers. */
#define begin(f, name, compatible, at, len)                                                        \
	(dt_node((f), "%s@%llx", (name), (at)), dt_list((f), "compatible", compatible),            \
	 dt_reg((f), "reg", (at), (len)))

static void add_interrupt(struct dt *f, uint32_t line)
{
	dt_u32(f, "interrupts", line);
	dt_u32(f, "interrupt-parent", PHANDLE_PLIC);
}

static void add_small(struct dt *f)
{
	begin(f, "test", "sifive,test1\0sifive,test0\0syscon", VIRT_FINISHER, VIRT_PAGE_LEN);
	dt_u32(f, "phandle", PHANDLE_FINISHER);
	dt_node_end(f);
	begin(f, "rtc", "google,goldfish-rtc", VIRT_RTC, VIRT_PAGE_LEN);
	add_interrupt(f, VIRT_IRQ_RTC);
	dt_node_end(f);
	begin(f, "generation", "microsoft,vmgenid", VIRT_GENERATION, VIRT_PAGE_LEN);
	add_interrupt(f, VIRT_IRQ_GENERATION);
	dt_node_end(f);
	begin(f, "serial", "ns16550a", VIRT_UART, VIRT_UART_LEN);
	dt_u32(f, "clock-frequency", VIRT_UART_HZ);
	add_interrupt(f, VIRT_IRQ_UART);
	dt_node_end(f);
}

/* For each hart: its own interrupt controller, input a; the same, input b. */
static void add_harts(struct dt *f, const struct virt_tree *t, uint32_t a, uint32_t b)
{
	uint32_t cell[VM_CPUS * 4];
	for (uint32_t i = 0; i < t->cpus; i++) {
		cell[i * 4] = cell[i * 4 + 2] = PHANDLE_HART + i;
		cell[i * 4 + 1] = a;
		cell[i * 4 + 3] = b;
	}
	dt_cells(f, "interrupts-extended", cell, t->cpus * 4);
}

static void add_controllers(struct dt *f, const struct virt_tree *t)
{
	if (!t->sbi) {
		begin(f, "clint", "sifive,clint0\0riscv,clint0", VIRT_CLINT, VIRT_CLINT_LEN);
		add_harts(f, t, IRQ_RV_MSI, IRQ_RV_MTI);
		dt_node_end(f);
	}
	begin(f, "plic", "sifive,plic-1.0.0\0riscv,plic0", VIRT_PLIC, VIRT_PLIC_LEN);
	dt_u32(f, "phandle", PHANDLE_PLIC);
	dt_u32(f, "#address-cells", 0);
	dt_u32(f, "#interrupt-cells", 1);
	dt_flag(f, "interrupt-controller");
	add_harts(f, t, IRQ_RV_MEI, IRQ_RV_SEI);
	dt_u32(f, "riscv,ndev", VIRT_IRQS);
	dt_node_end(f);
}

/* IEEE 1275 PCI bus binding: phys.hi says which space, or device << 11 */
static void add_pci_windows(struct dt *f, const struct virt_tree *t)
{
	enum { MEM32 = 0x02000000, MEM64 = 0x03000000 };
	dt_u32(f, "ranges", MEM32, DT_U64(VIRT_MMIO32), DT_U64(VIRT_MMIO32),
	       DT_U64(VIRT_RAM - VIRT_MMIO32), MEM64, DT_U64(t->window64), DT_U64(t->window64),
	       DT_U64(VIRT_WINDOW64));
}

static void add_pci_interrupts(struct dt *f)
{
	uint32_t cell[PCI_SLOTS_MAPPED * 4][6];
	for (uint32_t i = 0; i < COUNT(cell); i++) {
		uint32_t slot = i / 4, pin = i % 4;
		uint32_t line[6] = {
			slot << 11, 0, 0, pin + 1, PHANDLE_PLIC, VIRT_IRQ_PCI + (slot + pin) % 4};
		memcpy(cell[i], line, sizeof(line));
	}
	dt_u32(f, "interrupt-map-mask", (PCI_SLOTS_MAPPED - 1) << 11, 0, 0, 7);
	dt_cells(f, "interrupt-map", cell[0], sizeof(cell) / 4);
}

static void add_pci(struct dt *f, const struct virt_tree *t)
{
	begin(f, "pci", "pci-host-ecam-generic", VIRT_ECAM, VIRT_ECAM_LEN);
	dt_text(f, "device_type", "pci");
	dt_u32(f, "#address-cells", 3);
	dt_u32(f, "#size-cells", 2);
	dt_u32(f, "#interrupt-cells", 1);
	dt_u32(f, "linux,pci-domain", 0);
	dt_u32(f, "bus-range", 0, 0);
	dt_flag(f, "dma-coherent");
	add_pci_windows(f, t);
	add_pci_interrupts(f);
	dt_node_end(f);
}

static void add_soc(struct dt *f, const struct virt_tree *t)
{
	dt_node(f, "soc");
	dt_u32(f, "#address-cells", 2);
	dt_u32(f, "#size-cells", 2);
	dt_text(f, "compatible", "simple-bus");
	dt_flag(f, "ranges");
	add_small(f);
	add_controllers(f, t);
	add_pci(f, t);
	dt_node_end(f);
}

int virt_tree(void **blob, size_t *len, const struct virt_tree *t, struct err *e)
{
	struct dt f;
	dt_init(&f, 64 * KIB + (t->append ? strlen(t->append) : 0));
	dt_node(&f, "%s", "");
	dt_u32(&f, "#address-cells", 2);
	dt_u32(&f, "#size-cells", 2);
	dt_text(&f, "compatible", "riscv-virtio");
	dt_text(&f, "model", "riscv-virtio,lodge");
	add_chosen(&f, t);
	add_memory(&f, t);
	add_cpus(&f, t);
	add_syscon(&f, "poweroff", "syscon-poweroff", 0x5555);
	add_syscon(&f, "reboot", "syscon-reboot", 0x7777);
	add_soc(&f, t);
	dt_node_end(&f);
	int r = dt_end(&f, len, e);
	if (r < 0)
		dt_done(&f);
	else
		*blob = f.blob;
	return r;
}
