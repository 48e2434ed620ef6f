/* The x86-64 board's wires: what a port or an interrupt reaches, with CPUs that are paper. */
#include "base/chr.h"
#include "base/loop.h"
#include "base/test.h"
#include "dev/pc.h"
#include "engine/x86_regs.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/board.h"
#include "vm/pc.h"
#include "vm/vm.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CPUS = 2, REGS = 512, FLASH = 64 * 1024 };
struct vcpu {
	uint64_t reg[REGS];
	unsigned resets, inits, nmis, kicks;
	int intr, sipi;
};

static int paper_get(struct vcpu *c, unsigned reg, uint64_t *val)
{
	if (reg >= REGS) return -ENOENT;
	*val = c->reg[reg];
	return 0;
}
static int paper_set(struct vcpu *c, unsigned reg, uint64_t val)
{
	if (reg >= REGS) return -ENOENT;
	c->reg[reg] = val;
	return 0;
}
static void paper_irq(struct vcpu *c, unsigned line, int level)
{
	if (line == IRQ_X86_INTR) c->intr = level;
	if (line == IRQ_X86_INIT) c->inits++;
	if (line == IRQ_X86_NMI) c->nmis++;
	if (line == IRQ_X86_SIPI) c->sipi = level;
}
static void paper_reset(struct vcpu *c)
{
	memset(c->reg, 0, sizeof(c->reg));
	c->resets++;
}
static void paper_kick(struct vcpu *c) { c->kicks++; }

static const struct engine_ops paper_ops = {.name = "paper",
					    .get = paper_get,
					    .set = paper_set,
					    .irq = paper_irq,
					    .reset = paper_reset,
					    .kick = paper_kick};

struct paper {
	struct vcpu cpu[CPUS];
	struct spec spec;
	struct guest guest;
	struct chr console;
	char out[8];
	size_t out_len;
	struct engine_env env;
	struct vm vm;
	int file;
	char path[32];
};

static size_t paper_output(void *host, const uint8_t *p, size_t n)
{
	struct paper *m = host;
	for (size_t i = 0; i < n && m->out_len < sizeof(m->out); i++)
		m->out[m->out_len++] = (char)p[i];
	return n;
}

/* A kernel with a PVH note, linked at 1 MiB, of the least code that does something. It begins with
 * a triple fault, and the second time asks for S5. */
enum { ENTRY = PC_MIB + 200 };
static int pvh_file(void)
{
	static const struct {
		uint8_t ident[16];
		uint16_t type, machine;
		uint32_t version;
		uint64_t entry, phoff, shoff;
		uint32_t flags;
		uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
		struct {
			uint32_t type, flags;
			uint64_t off, vaddr, paddr, filesz, memsz, align;
		} ph[2];
		uint32_t note[6];
		uint8_t code[32];
	} k = {.ident = {0x7f, 'E', 'L', 'F', 2, 1, 1},
	       .type = 2,
	       .machine = 62,
	       .version = 1,
	       .entry = ENTRY,
	       .phoff = 64,
	       .ehsize = 64,
	       .phentsize = 56,
	       .phnum = 2,
	       .ph = {{1, 5, 0, PC_MIB, PC_MIB, 232, 232, 4096}, {4, 4, 176, 0, 0, 20, 20, 4}},
	       .note = {4, 4, 18, 'X' | 'e' << 8 | 'n' << 16, ENTRY},
	       .code = {0xff, 0x05, 0,	  0,	5, 0,	 /* inc dword [0x50000] */
			0x83, 0x3d, 0,	  0,	5, 0, 2, /* cmp dword [0x50000], 2 */
			0x73, 2,    0x0f, 0x0b,		 /* jae over; ud2, with no IDT */
			0xba, 4,    6,	  0,	0,	 /* over: mov edx, 0x604 */
			0xb8, 0,    0x20, 0,	0,	 /* mov eax, 0x2000 */
			0x66, 0xef, 0xf4}};		 /* out dx, ax; hlt */
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	CHECK(write(fd, &k, sizeof(k)) == sizeof(k));
	return fd;
}

static int flash_file(void)
{
	static uint8_t flash[FLASH] = {[0] = 0x11, [FLASH - 16] = 0xea};
	int fd = memfd_create("flash", MFD_CLOEXEC);
	CHECK(write(fd, flash, FLASH) == FLASH);
	return fd;
}

static struct paper *paper_new(bool firmware)
{
	struct paper *m = calloc(1, sizeof(*m));
	struct err e = {0};
	must(m);
	m->file = firmware ? flash_file() : pvh_file();
	(void)snprintf(m->path, sizeof(m->path), "/proc/self/fd/%d", m->file);
	m->spec = (struct spec){.arch = ARCH_X86_64, .cpus = CPUS, .memory = 32 * MIB, .name = "x"};
	*(firmware ? &m->spec.firmware : &m->spec.kernel) = m->path;
	m->console = (struct chr){.output = paper_output, .host = m};
	m->guest = (struct guest){.spec = &m->spec, .console = &m->console};
	m->vm = (struct vm){.guest = &m->guest,
			    .ops = &paper_ops,
			    .kind = &board_pc,
			    .ncpus = CPUS,
			    .want = VM_RUN};
	must(loop_new(&m->guest.loop, &e) == 0);
	must(!pthread_mutex_init(&m->vm.lock, NULL) && !pthread_cond_init(&m->vm.changed, NULL));
	m->vm.mem = gmem_new();
	m->vm.mmio = bus_new("mmio");
	vclock_init(&m->vm.clock, board_pc.hz);
	for (unsigned i = 0; i < CPUS; i++)
		m->vm.hart[i] = (struct hart){.vm = &m->vm, .id = i, .cpu = &m->cpu[i]};
	CHECK(board_pc.check(&m->spec, &e) == 0 && board_pc.make(&m->vm, &e) == 0);
	CHECK(board_pc.engine(&m->vm, &m->env, &e) == 0);
	CHECK(board_pc.wire(&m->vm, &e) == 0 && board_pc.boot(&m->vm, &e) == 0);
	return m;
}

static void paper_done(struct paper *m)
{
	board_pc.free(m->vm.board);
	bus_free(m->vm.mmio);
	bus_free(m->vm.pio);
	gmem_free(m->vm.mem);
	loop_free(m->guest.loop);
	(void)pthread_mutex_destroy(&m->vm.lock);
	(void)pthread_cond_destroy(&m->vm.changed);
	(void)close(m->file);
	free(m);
}

static void out(struct paper *m, uint64_t port, uint64_t v, unsigned len)
{
	bus_write(m->vm.pio, port, v, len);
}
static uint64_t in(struct paper *m, uint64_t port, unsigned len)
{
	return bus_read(m->vm.pio, port, len);
}

static bool msr(struct paper *m, unsigned cpu, uint32_t index, bool write, uint64_t *v)
{
	return m->env.x86.msr(m->env.x86.ctx, cpu, index, write, v);
}
static int vector(struct paper *m, unsigned cpu) { return m->env.x86.extint(m->env.x86.ctx, cpu); }

/* The APIC of CPU 0 in x2APIC mode, enabled. */
static void apic_on(struct paper *m)
{
	uint64_t base, on = 0x1ff;
	CHECK(msr(m, 0, 0x1b, false, &base));
	base |= 0xc00;
	CHECK(msr(m, 0, 0x1b, true, &base) && msr(m, 0, 0x80f, true, &on));
}

/* Pin to this vector of CPU 0, physical; as a level or an edge. */
static void ioapic_route(struct paper *m, unsigned pin, unsigned v, bool level)
{
	bus_write(m->vm.mmio, PC_IOAPIC, 0x10 + 2 * pin, 4);
	bus_write(m->vm.mmio, PC_IOAPIC + 0x10, v | (level ? 1u << 15 : 0), 4);
}

static void pic_start(struct paper *m, unsigned mask)
{
	static const uint8_t words[] = {0x20, 4, 1}, slave[] = {0x28, 2, 1};
	out(m, PC_PORT_PIC, 0x11, 1);
	for (unsigned i = 0; i < 3; i++) out(m, PC_PORT_PIC + 1, words[i], 1);
	out(m, PC_PORT_PIC2, 0x11, 1);
	for (unsigned i = 0; i < 3; i++) out(m, PC_PORT_PIC2 + 1, slave[i], 1);
	out(m, PC_PORT_PIC + 1, mask & 0xff, 1);
	out(m, PC_PORT_PIC2 + 1, mask >> 8, 1);
}

TEST(pc_board_boots_a_kernel)
{
	struct paper *m = paper_new(false);
	uint64_t *reg = m->cpu[0].reg, sign = 0;
	CHECK(m->cpu[0].resets == 1 && m->cpu[1].resets == 1);
	CHECK(reg[REG_X86_RIP] == ENTRY && reg[REG_X86_RFLAGS] == 2);
	CHECK(reg[REG_X86_CR] == 0x11 && reg[REG_X86_SEG + 4 + SEG_ACCESS] == 0xc09b);
	CHECK(reg[REG_X86_SEG + 4 * 7 + SEG_LIMIT] == 0x67);
	CHECK(hart_state(&m->vm.hart[0]) == HART_STARTED);
	CHECK(hart_state(&m->vm.hart[1]) == HART_STARTED);
	CHECK(gmem_read(m->vm.mem, PC_BIOS, &sign, 8) && !memcmp(&sign, "RSD PTR ", 8));
	CHECK(gmem_read(m->vm.mem, PC_SMBIOS, &sign, 5) && !memcmp(&sign, "_SM3_", 5));
	CHECK(!gmem_ptr(m->vm.mem, PC_VGA, 4096, false)); /* nobody's: not memory */
	CHECK(in(m, PC_PORT_FW_CFG, 2) == 0xffff);
	paper_done(m);
}

TEST(pc_board_boots_firmware)
{
	struct paper *m = paper_new(true);
	uint8_t v = 0;
	CHECK(gmem_read(m->vm.mem, 0xfffffff0, &v, 1) && v == 0xea);
	CHECK(gmem_read(m->vm.mem, PC_MIB - 16, &v, 1) && v == 0xea);
	CHECK(gmem_read(m->vm.mem, PC_MIB - FLASH, &v, 1) && v == 0x11);
	CHECK(!gmem_write(m->vm.mem, 0xfffffff0, &v, 1));
	CHECK(m->cpu[0].resets == 1 && m->cpu[0].reg[REG_X86_RIP] == 0); /* as reset left it */
	out(m, PC_PORT_FW_CFG, 0, 2);					 /* its signature */
	CHECK(in(m, PC_PORT_FW_CFG + 1, 1) == 'Q' && in(m, PC_PORT_FW_CFG + 1, 1) == 'E');
	out(m, PC_PORT_RTC, 0x5f, 1);
	CHECK(in(m, PC_PORT_RTC + 1, 1) == CPUS - 1);
	const uint64_t lpc = PC_ECAM + (31 << 15);
	CHECK(bus_read(m->vm.mmio, PC_ECAM, 4) == 0x29c08086);
	CHECK(bus_read(m->vm.mmio, lpc, 4) == 0x29188086 && bus_read(m->vm.mmio, lpc + 4, 2) == 7);
	bus_write(m->vm.mmio, lpc + 0x40, 0x680, 4);
	CHECK(bus_read(m->vm.mmio, lpc + 0x40, 4) == 0x681);
	bus_write(m->vm.mmio, PC_ECAM + 0x60, 0xb0000001, 8);
	CHECK(bus_read(m->vm.mmio, PC_ECAM + 0x60, 8) == 0xb0000001);
	paper_done(m);
}

TEST(pc_board_answers_at_its_ports)
{
	struct paper *m = paper_new(false);
	out(m, 0x80, 0x5a, 1);
	CHECK(in(m, 0x80, 1) == 0x5a);
	CHECK(in(m, PC_PORT_DEBUG, 1) == 0xe9 && in(m, 0xe9, 1) == 0xe9);
	CHECK(in(m, PC_PORT_UART + 5, 1) == 0x60); /* idle */
	out(m, PC_PORT_UART, 'x', 1);
	CHECK(m->out_len == 1 && m->out[0] == 'x');
	CHECK(in(m, PC_PORT_PM1_CONTROL, 2) == 1); /* SCI_EN */
	CHECK(in(m, PC_PORT_I8042 + 4, 1) != 0xff && in(m, 0x92, 1) != 0xff);
	CHECK(in(m, 0x61, 1) != 0xff && in(m, PC_PORT_ELCR, 1) == 0);
	out(m, PC_PORT_PCI, 0x80000000, 4); /* the host bridge */
	uint64_t id = in(m, PC_PORT_PCI + 4, 4);
	CHECK(id != 0xffffffff && id == bus_read(m->vm.mmio, PC_ECAM, 4));
	CHECK(bus_read(m->vm.mmio, PC_ECAM + (1 << 15), 2) == 0x1af4); /* virtio's rng */
	CHECK(in(m, 0x3b0, 1) == 0xff);
	paper_done(m);
}

TEST(pc_board_takes_isa_interrupts_to_both)
{
	struct paper *m = paper_new(false);
	pic_start(m, 0xffef); /* but the UART's */
	out(m, PC_PORT_UART + 4, 8, 1);
	out(m, PC_PORT_UART + 1, 2, 1);			   /* transmitter empty */
	CHECK(m->cpu[0].intr == 1 && m->cpu[1].intr == 0); /* through LINT0: virtual wire */
	CHECK(vector(m, 0) == 0x24);
	out(m, PC_PORT_UART + 1, 0, 1);
	out(m, PC_PORT_PIC, 0x20, 1);
	CHECK(m->cpu[0].intr == 0);
	apic_on(m);
	out(m, PC_PORT_PIC + 1, 0xff, 1);
	ioapic_route(m, PC_GSI_UART, 0x44, false);
	out(m, PC_PORT_UART + 1, 2, 1);
	CHECK(m->cpu[0].intr == 1 && vector(m, 0) == 0x44);
	CHECK(m->env.x86.cr8(m->env.x86.ctx, 0, true, 5) == 5);
	paper_done(m);
}

TEST(pc_board_puts_the_pit_on_input_2)
{
	struct paper *m = paper_new(false);
	apic_on(m);
	ioapic_route(m, 0, 0x40, false);
	ioapic_route(m, PC_GSI_PIT, 0x42, false);
	out(m, PC_PORT_PIT + 3, 0x30, 1); /* counter 0, mode 0: the output is low ... */
	out(m, PC_PORT_PIT + 3, 0x34, 1); /* ... and high in mode 2 */
	CHECK(m->cpu[0].intr == 1 && vector(m, 0) == 0x42);
	paper_done(m);
}

TEST(pc_board_sends_ipis_and_messages)
{
	struct paper *m = paper_new(false);
	uint64_t init = 1ull << 32 | 0x4500, sipi = 1ull << 32 | 0x4609;
	apic_on(m);
	CHECK(msr(m, 0, 0x830, true, &init) && m->cpu[1].inits == 1);
	CHECK(msr(m, 0, 0x830, true, &sipi) && m->cpu[1].sipi == 9 && m->cpu[0].sipi == 0);
	uint64_t v;
	CHECK(!msr(m, 0, 0x8b, false, &v)); /* not the board's */
	CHECK(m->env.x86.apic(m->env.x86.ctx, 1) != m->env.x86.apic(m->env.x86.ctx, 0));
	paper_done(m);
}

static void wants(struct paper *m, enum vm_power what, const char *how)
{
	if (m->vm.power != what) (void)printf("%s: power is %d\n", how, (int)m->vm.power);
	CHECK(m->vm.power == what && m->vm.want == VM_HALT && m->vm.code == 0);
	CHECK(m->cpu[0].kicks > 0 && m->cpu[1].kicks > 0);
	paper_done(m);
}

TEST(pc_board_power)
{
	struct paper *m = paper_new(false);
	out(m, PC_PORT_PM1_CONTROL, 1 << 13, 2);
	wants(m, VM_POWER_OFF, "S5");
	m = paper_new(false);
	out(m, PC_PORT_RESET, PC_RESET_VALUE, 1);
	wants(m, VM_POWER_RESET, "0xcf9");
	m = paper_new(false);
	out(m, PC_PORT_I8042 + 4, 0xfe, 1);
	wants(m, VM_POWER_RESET, "i8042");
	m = paper_new(false);
	out(m, 0x92, 1, 1);
	wants(m, VM_POWER_RESET, "port A");
}

TEST(pc_board_has_a_button)
{
	struct paper *m = paper_new(false);
	CHECK(!board_pc.button(&m->vm));
	pic_start(m, 0xffff & ~(1u << PC_GSI_SCI) & ~4u);
	out(m, PC_PORT_PM1_EVENT, 1 << 8, 2); /* what the first press left */
	out(m, PC_PORT_PM1_EVENT + 2, 1 << 8, 2);
	CHECK(m->cpu[0].intr == 0);
	CHECK(board_pc.button(&m->vm) && m->cpu[0].intr == 1 && vector(m, 0) == 0x28 + 1);
	paper_done(m);
}

TEST(pc_board_reset_is_power_on)
{
	struct paper *m = paper_new(false);
	struct err e = {0};
	apic_on(m);
	out(m, PC_PORT_UART + 7, 0x77, 1);
	out(m, PC_PORT_PCI, 0x80000000, 4);
	board_pc.reset(&m->vm);
	CHECK(in(m, PC_PORT_UART + 7, 1) != 0x77 && in(m, PC_PORT_PCI, 4) == 0);
	uint64_t base;
	CHECK(msr(m, 0, 0x1b, false, &base) && base == (PC_LAPIC | 0x900));
	CHECK(m->cpu[0].intr == 0);
	m->cpu[0].reg[REG_X86_RIP] = 1;
	CHECK(board_pc.boot(&m->vm, &e) == 0 && m->cpu[0].reg[REG_X86_RIP] == ENTRY);
	CHECK(m->cpu[0].resets == 2 && m->cpu[1].resets == 2);
	paper_done(m);
}

TEST(pc_board_refuses_firmware_of_no_flash)
{
	struct spec s = {
		.arch = ARCH_X86_64, .cpus = 1, .memory = 16 * MIB, .firmware = "/proc/self/exe"};
	struct guest g = {.spec = &s};
	struct vm vm = {.guest = &g, .kind = &board_pc, .mem = gmem_new()};
	struct err e = {0};
	CHECK(board_pc.make(&vm, &e) < 0 && strstr(e.msg, "firmware /proc/self/exe"));
	board_pc.free(vm.board);
	bus_free(vm.pio);
	gmem_free(vm.mem);
}

TEST(pc_board_resets_at_a_triple_fault_and_powers_off)
{
	struct spec s = {.arch = ARCH_X86_64, .cpus = 2, .memory = 32 * MIB, .engine = "interp"};
	struct chr console = {.output = paper_output};
	struct guest_end end = {.code = -1};
	struct loop *l = NULL;
	struct err e = {0};
	sigset_t before;
	char path[32];
	int fd = pvh_file();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	s.kernel = path;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &before);
	CHECK(loop_new(&l, &e) == 0);
	CHECK(guest_run(&kind_vm, &s, l, &console, &end, &e) == 0 && end.code == 0);
	if (e.msg[0]) (void)printf("%s\n", e.msg);
	loop_free(l);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)close(fd);
}
