/* The engine that is /dev/kvm, feature by feature, each with a guest of a few bytes. Where there is
 * no /dev/kvm all of it is skipped, and where it is one that kernels cannot use, what it fails at;
 * both are said. */
#include "base/loop.h"
#include "base/test.h"
#include "engine/kvm_code.h"
#include "engine/kvm_impl.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SECOND 1000000000ull
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 };
enum {
	PORT = 0x10, /* the recorder, 64 ports */
	DONE = 0x80, /* write here: cpu 0 is done, 0x81: cpu 1 */
	DATA = 0x100000,
	ROM = 0x200000,
	MMIO = 0x10000000,
	HANDLER = 0xc000,
	LOGGED = 64,
};

struct seen {
	uint64_t off, val;
	unsigned len;
	bool write;
};
struct pc {
	struct gmem *mem;
	struct bus *pio, *mmio;
	struct device ports, cells, done;
	struct seen log[LOGGED];
	unsigned n;
	struct engine *en;
	struct vcpu *cpu[2];
	_Atomic unsigned asked; /* hooks */
	uint64_t wrote;
	unsigned eois, eoi_of;
	struct x86_code code;
};
static const struct engine_ops *const ops = &engine_kvm;

static void note(struct pc *p, struct seen s)
{
	if (p->n < LOGGED) p->log[p->n++] = s;
}
static uint64_t ports_read(struct device *d, uint64_t off, unsigned len)
{
	note(container_of(d, struct pc, ports), (struct seen){off, 0, len, false});
	return 0x8877665544332211 + off;
}
static void ports_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	note(container_of(d, struct pc, ports), (struct seen){off, val, len, true});
}
static uint64_t cells_read(struct device *d, uint64_t off, unsigned len)
{
	note(container_of(d, struct pc, cells), (struct seen){off, 0, len, false});
	return 0xf8e7d6c5b4a39281;
}
static void cells_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	note(container_of(d, struct pc, cells), (struct seen){off, val, len, true});
}
static uint64_t done_read(struct device *d, uint64_t off, unsigned len)
{
	struct pc *p = container_of(d, struct pc, done);
	ops->kick(p->cpu[off & 1]);
	return (void)len, 0x5a;
}
static void done_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct pc *p = container_of(d, struct pc, done);
	(void)len, p->wrote = val;
	ops->kick(p->cpu[off & 1]);
}
static const struct device_ops ports_ops = {.name = "p", .read = ports_read, .write = ports_write};
static const struct device_ops cells_ops = {.name = "c", .read = cells_read, .write = cells_write};
static const struct device_ops done_ops = {.name = "d", .read = done_read, .write = done_write};

static bool hook_msr(void *ctx, unsigned cpu, uint32_t index, bool write, uint64_t *val)
{
	struct pc *p = ctx;
	(void)cpu;
	p->asked++;
	if (write) p->wrote = *val;
	if (!write) *val = 0x1122334455667788;
	return index != 0xbad;
}
/* The PICs: an interrupt is there until it is acknowledged. */
static int hook_extint(void *ctx, unsigned cpu)
{
	struct pc *p = ctx;
	p->asked++;
	ops->irq(p->cpu[cpu], IRQ_X86_INTR, 0);
	return 0x31;
}

static void hook_eoi(void *ctx, unsigned vector)
{
	struct pc *p = ctx;
	p->eois++;
	p->eoi_of = vector;
}

/* Say why a test cannot be done here. */
static void skip(const char *test, const char *why) { (void)printf("SKIPPED %s: %s\n", test, why); }

static struct pc *pc_new(const char *test, enum irqchip chip, unsigned cpus)
{
	const struct kvm_report *r = kvm_probe();
	if (r->state == KVM_ABSENT || r->state == KVM_DENIED) return skip(test, r->what), NULL;
	struct pc *p = calloc(1, sizeof(*p));
	struct err e = {0};
	must(p);
	p->mem = gmem_new();
	p->pio = bus_new("pio");
	p->mmio = bus_new("mmio");
	device_init(&p->ports, &ports_ops, "p");
	device_init(&p->cells, &cells_ops, "c");
	device_init(&p->done, &done_ops, "d");
	CHECK(!gmem_add(p->mem, 0, ROM, 0, &e) && !gmem_add(p->mem, ROM, 0x1000, GMEM_ROM, &e));
	CHECK(!bus_map(p->pio, PORT, 64, &p->ports, &e) && !bus_map(p->pio, DONE, 2, &p->done, &e));
	CHECK(!bus_map(p->mmio, MMIO, 0x1000, &p->cells, &e));
	struct engine_env env = {
		.arch = ARCH_X86_64,
		.mem = p->mem,
		.pio = p->pio,
		.mmio = p->mmio,
		.cpus = cpus,
		.irqchip = chip,
		.x86 = {.msr = hook_msr, .eoi = hook_eoi, .extint = hook_extint, .ctx = p}};
	int rc = ops->open(&p->en, &env, &e);
	for (unsigned i = 0; !rc && i < cpus; i++) rc = ops->vcpu(&p->cpu[i], p->en, i, &e);
	if (rc) (void)printf("%s\n", e.msg);
	must(!rc);
	x86_tables(p->mem);
	p->code = (struct x86_code){p->mem, X86_CODE};
	CHECK(!x86_long_mode(ops, p->cpu[0], X86_CODE));
	return p;
}
static void pc_free(struct pc *p)
{
	ops->close(p->en);
	bus_free(p->pio);
	bus_free(p->mmio);
	device_done(&p->ports);
	device_done(&p->cells);
	device_done(&p->done);
	gmem_free(p->mem);
	free(p);
}

/* true: it ended so. A KVM that is not for kernels may break instead. */
static bool ends(struct pc *p, const char *test, enum vcpu_exit how)
{
	enum vcpu_exit x = kvm_run_for(p->cpu[0], 5 * SECOND);
	if (x == how) return true;
	const char *words = x == VCPU_BROKEN ? ops->error(p->cpu[0]) : "another exit";
	if (x == VCPU_BROKEN && strstr(kvm_probe()->what, "fails at"))
		skip(test, words);
	else {
		(void)printf("%s: exit %d, %s\n", test, x, words);
		CHECK(!"it ended as it should");
	}
	return false;
}
static bool completes(struct pc *p, const char *test)
{
	p->wrote = 0;
	if (!ends(p, test, VCPU_KICKED)) return false;
	CHECK(p->wrote == 0x77); /* and not because time was up */
	return p->wrote == 0x77;
}
static void done(struct pc *p) { x86_out(&p->code, DONE, 0x77); }
static uint64_t reg_of(struct vcpu *c, unsigned reg)
{
	uint64_t v = 0;
	CHECK(!ops->get(c, reg, &v));
	return v;
}
static uint64_t reg(struct pc *p, unsigned n) { return reg_of(p->cpu[0], n); }
static bool saw(const struct pc *p, unsigned i, struct seen s)
{
	const struct seen *l = &p->log[i];
	return i < p->n && l->off == s.off && l->val == s.val && l->len == s.len &&
	       l->write == s.write;
}
static void *kick_soon(void *cpu)
{
	(void)usleep(20000);
	return ops->kick(cpu), NULL;
}
/* A handler at HANDLER that counts in r8 and returns. */
static void counts_in_r8(struct pc *p, unsigned vector)
{
	struct x86_code h = {p->mem, HANDLER};
	X86_EMIT(&h, 0x49, 0xff, 0xc0, 0x48, 0xcf); /* inc r8; iretq */
	x86_gate(p->mem, vector, HANDLER, 3);
}
static void wrmsr(struct x86_code *c, uint32_t index, uint64_t v)
{
	x86_mov(c, RCX, index);
	x86_mov(c, RAX, v & 0xffffffff);
	x86_mov(c, RDX, v >> 32);
	X86_EMIT(c, 0x0f, 0x30);
}
static void apic_on(struct x86_code *c)
{
	wrmsr(c, 0x1b, 0xfee00d00);
	wrmsr(c, 0x80f, 0x1ff);
}
#define PC(chip, cpus)                                                                             \
	struct pc *p = pc_new(__func__, chip, cpus);                                               \
	if (!p) return;                                                                            \
	struct x86_code *c = &p->code;                                                             \
	(void)c
#define RUN(p)                                                                                     \
	if (!completes(p, __func__)) {                                                             \
		pc_free(p);                                                                        \
		return;                                                                            \
	}

TEST(kvm_probe_is_quick_and_has_words)
{
	const struct kvm_report *r = kvm_probe();
	CHECK(r->what[0] && r->cpu_ns < SECOND / 2 && r == kvm_probe());
	CHECK(r->state != KVM_USABLE || (r->mips >= 50 && !r->hint[0]));
	(void)printf("/dev/kvm: %s; found out in %llu ms\n", r->what,
		     (unsigned long long)(r->ns / 1000000));
	struct err e = {0};
	CHECK((ops->probe(ARCH_X86_64, &e) == 0) == (r->state == KVM_USABLE));
	CHECK(r->state == KVM_USABLE || strstr(e.msg, r->what));
	CHECK(ops->probe(ARCH_RV64, &e) == -ENOTSUP && strstr(e.msg, "x86-64"));
}

TEST(kvm_port_writes_of_all_widths)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RAX, 0x11223344a1b2c3d4);
	x86_mov(c, RDX, PORT + 8);
	X86_EMIT(c, 0xee, 0x66, 0xef, 0xef); /* out dx, al; ax; eax */
	done(p);
	RUN(p);
	CHECK(p->n == 3 && saw(p, 0, (struct seen){8, 0xd4, 1, true}));
	CHECK(saw(p, 1, (struct seen){8, 0xc3d4, 2, true}));
	CHECK(saw(p, 2, (struct seen){8, 0xa1b2c3d4, 4, true}));
	pc_free(p);
}

TEST(kvm_port_reads_of_all_widths)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RAX, ~0ull);
	x86_mov(c, RDX, PORT);
	X86_EMIT(c, 0xec, 0x48, 0x89, 0xc3);		 /* in al, dx; mov rbx, rax */
	X86_EMIT(c, 0x66, 0xed, 0x48, 0x89, 0xc6, 0xed); /* in ax, dx; mov rsi, rax; in eax */
	X86_EMIT(c, 0x48, 0x89, 0xc7, 0xe4, DONE + 2);	 /* mov rdi, rax; nobody's port */
	X86_EMIT(c, 0x48, 0x89, 0xc5);			 /* mov rbp, rax */
	done(p);
	RUN(p);
	CHECK(reg(p, RBX) == 0xffffffffffffff11 && reg(p, RSI) == 0xffffffffffff2211);
	CHECK(reg(p, RDI) == 0x44332211 && reg(p, RBP) == 0x443322ff);
	pc_free(p);
}

TEST(kvm_strings_of_port_accesses)
{
	static const uint8_t text[] = "lodge";
	PC(IRQCHIP_SPLIT, 1);
	CHECK(gmem_write(p->mem, DATA, text, 5));
	x86_mov(c, RDX, PORT);
	x86_mov(c, RSI, DATA);
	x86_mov(c, RCX, 5);
	X86_EMIT(c, 0xf3, 0x6e); /* rep outsb */
	x86_mov(c, RDI, DATA + 64);
	x86_mov(c, RCX, 3);
	X86_EMIT(c, 0xf3, 0x66, 0x6d); /* rep insw */
	done(p);
	RUN(p);
	CHECK(p->n >= 8 && reg(p, RCX) == 0 && reg(p, RDI) == DATA + 70);
	for (unsigned i = 0; i < 5; i++) CHECK(saw(p, i, (struct seen){0, text[i], 1, true}));
	uint16_t in[4];
	CHECK(gmem_read(p->mem, DATA + 64, in, 8));
	CHECK(in[0] == 0x2211 && in[1] == 0x2211 && in[2] == 0x2211 && in[3] == 0);
	pc_free(p);
}

TEST(kvm_memory_accesses_of_all_widths)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RSI, MMIO + 0x18);
	x86_mov(c, RAX, 0x1122334455667788);
	X86_EMIT(c, 0x88, 0x06, 0x66, 0x89, 0x06, 0x89, 0x06, 0x48, 0x89, 0x06); /* mov [rsi], .. */
	X86_EMIT(c, 0x0f, 0xb6, 0x1e);		   /* movzx ebx, byte [rsi] */
	X86_EMIT(c, 0x0f, 0xb7, 0x3e);		   /* movzx edi, word [rsi] */
	X86_EMIT(c, 0x8b, 0x2e, 0x4c, 0x8b, 0x06); /* mov ebp, [rsi]; mov r8, [rsi] */
	done(p);
	RUN(p);
	static const unsigned len[] = {1, 2, 4, 8};
	static const uint64_t val[] = {0x88, 0x7788, 0x55667788, 0x1122334455667788};
	CHECK(p->n == 8);
	for (unsigned i = 0; i < 4; i++) {
		CHECK(saw(p, i, (struct seen){0x18, val[i], len[i], true}));
		CHECK(saw(p, i + 4, (struct seen){0x18, 0, len[i], false}));
	}
	CHECK(reg(p, RBX) == 0x81 && reg(p, RDI) == 0x9281);
	CHECK(reg(p, RBP) == 0xb4a39281 && reg(p, R8) == 0xf8e7d6c5b4a39281);
	pc_free(p);
}

TEST(kvm_what_is_nowhere_reads_as_ones)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RSI, MMIO + 0x100000);
	X86_EMIT(c, 0x48, 0x8b, 0x1e, 0x48, 0x89, 0x1e); /* mov rbx, [rsi]; mov [rsi], rbx */
	done(p);
	RUN(p);
	CHECK(reg(p, RBX) == ~0ull && p->n == 0);
	pc_free(p);
}

TEST(kvm_rom_is_read_and_not_written)
{
	PC(IRQCHIP_SPLIT, 1);
	memset(gmem_host(p->mem, ROM, 8), 0x5c, 8);
	x86_mov(c, RSI, ROM);
	X86_EMIT(c, 0x48, 0x8b, 0x1e, 0x48, 0x89, 0x36, 0x48, 0x8b, 0x3e); /* load, store, load */
	done(p);
	RUN(p);
	CHECK(reg(p, RBX) == 0x5c5c5c5c5c5c5c5c && reg(p, RDI) == reg(p, RBX));
	pc_free(p);
}

TEST(kvm_a_halted_cpu_wakes_by_a_message)
{
	PC(IRQCHIP_SPLIT, 1);
	counts_in_r8(p, 0x41);
	apic_on(c);
	x86_mov(c, R8, 0);
	done(p);
	X86_EMIT(c, 0xfb, 0xf4); /* sti; hlt */
	done(p);
	RUN(p);
	CHECK(kvm_msi(p->en, 0xfee00000, 0x41)); /* to APIC 0, fixed, edge */
	RUN(p);
	CHECK(reg(p, R8) == 1);
	pc_free(p);
}

static void *msi_soon(void *ctx)
{
	struct pc *p = ctx;
	(void)usleep(20000);
	CHECK(kvm_msi(p->en, 0xfee00000, 0x41));
	return NULL;
}
TEST(kvm_a_message_comes_from_another_thread_while_it_sleeps)
{
	pthread_t t;
	PC(IRQCHIP_SPLIT, 1);
	counts_in_r8(p, 0x41);
	apic_on(c);
	x86_mov(c, R8, 0);
	done(p);
	X86_EMIT(c, 0xfb, 0xf4);
	done(p);
	RUN(p);
	CHECK(!pthread_create(&t, NULL, msi_soon, p));
	bool ok = completes(p, __func__);
	CHECK(!pthread_join(t, NULL));
	CHECK(!ok || reg(p, R8) == 1);
	pc_free(p);
}

/* The PICs' line, with LAPICs of the board's own, and of KVM's (then through LINT0). */
static void halt_until_intr(const char *test, enum irqchip chip)
{
	struct pc *p = pc_new(test, chip, 1);
	if (!p) return;
	struct x86_code *c = &p->code;
	counts_in_r8(p, 0x31);
	if (chip == IRQCHIP_SPLIT) {
		apic_on(c);
		wrmsr(c, 0x835, 0x700); /* LINT0: ExtINT */
	}
	x86_mov(c, R8, 0);
	done(p);
	X86_EMIT(c, 0xfb, 0xf4);
	done(p);
	if (completes(p, test)) {
		ops->irq(p->cpu[0], IRQ_X86_INTR, 1);
		if (completes(p, test)) CHECK(reg(p, R8) == 1 && p->asked == 1);
	}
	pc_free(p);
}
TEST(kvm_pics_interrupt_without_any_lapic) { halt_until_intr(__func__, IRQCHIP_NONE); }
TEST(kvm_pics_interrupt_through_a_lapic) { halt_until_intr(__func__, IRQCHIP_SPLIT); }

TEST(kvm_an_interrupt_waits_until_it_is_allowed)
{
	PC(IRQCHIP_NONE, 1);
	counts_in_r8(p, 0x31);
	x86_mov(c, R8, 0);
	X86_EMIT(c, 0x90, 0x90);
	x86_out(c, PORT, 1);
	X86_EMIT(c, 0x4c, 0x89, 0xc3, 0xfb); /* mov rbx, r8; sti */
	gpa_t wait = c->at;
	X86_EMIT(c, 0x4d, 0x85, 0xc0); /* test r8, r8 */
	x86_back(c, 0x74, wait);
	done(p);
	ops->irq(p->cpu[0], IRQ_X86_INTR, 1);
	RUN(p);
	CHECK(reg(p, RBX) == 0 && reg(p, R8) == 1);
	pc_free(p);
}

static void *nmi_soon(void *cpu)
{
	(void)usleep(20000);
	return ops->irq(cpu, IRQ_X86_NMI, 1), NULL;
}
static void nmi_wakes(const char *test, enum irqchip chip)
{
	pthread_t t;
	struct pc *p = pc_new(test, chip, 1);
	if (!p) return;
	struct x86_code *c = &p->code;
	counts_in_r8(p, 2);
	x86_mov(c, R8, 0);
	X86_EMIT(c, 0xf4); /* with interrupts off */
	done(p);
	CHECK(!pthread_create(&t, NULL, nmi_soon, p->cpu[0]));
	bool ok = completes(p, test);
	CHECK(!pthread_join(t, NULL));
	CHECK(!ok || reg(p, R8) == 1);
	pc_free(p);
}
TEST(kvm_nmi_wakes_a_halted_cpu) { nmi_wakes(__func__, IRQCHIP_SPLIT); }
TEST(kvm_nmi_wakes_it_without_any_lapic) { nmi_wakes(__func__, IRQCHIP_NONE); }

TEST(kvm_lines_of_the_full_set_of_controllers)
{
	static const uint8_t icw[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},
					 {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1},
					 {0x21, 0xef}, {0xa1, 0xff}};
	PC(IRQCHIP_FULL, 1);
	counts_in_r8(p, 0x24);
	for (unsigned i = 0; i < COUNT(icw); i++) x86_out(c, icw[i][0], icw[i][1]);
	apic_on(c);
	wrmsr(c, 0x835, 0x700);
	x86_mov(c, R8, 0);
	done(p);
	X86_EMIT(c, 0xfb, 0xf4);
	done(p);
	RUN(p);
	kvm_line(p->en, 4, 1);
	RUN(p);
	CHECK(reg(p, R8) == 1);
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};
	CHECK(!ioctl(p->en->fd, KVM_GET_IRQCHIP, &chip) && chip.chip.pic.imr == 0xef);
	ops->reset(p->cpu[0]);
	CHECK(!ioctl(p->en->fd, KVM_GET_IRQCHIP, &chip) && chip.chip.pic.imr == 0);
	pc_free(p);
}

TEST(kvm_an_eventfd_interrupts)
{
	struct err e = {0};
	int fd = eventfd(0, EFD_CLOEXEC);
	PC(IRQCHIP_SPLIT, 1);
	counts_in_r8(p, 0x42);
	apic_on(c);
	x86_mov(c, R8, 0);
	done(p);
	X86_EMIT(c, 0xfb, 0xf4);
	done(p);
	CHECK(!kvm_route(p->en, KVM_GSI_MSI + 7, 0xfee00000, 0x42, &e));
	CHECK(!kvm_irqfd(p->en, fd, KVM_GSI_MSI + 7, true, &e));
	RUN(p);
	CHECK(!eventfd_write(fd, 1));
	RUN(p);
	CHECK(reg(p, R8) == 1);
	CHECK(!kvm_irqfd(p->en, fd, KVM_GSI_MSI + 7, false, &e));
	CHECK(!kvm_route(p->en, KVM_GSI_MSI + 7, 0, 0, &e));
	CHECK(kvm_route(p->en, KVM_GSIS, 1, 1, &e) == -EINVAL);
	pc_free(p);
	(void)close(fd);
}

/* Of the board's IOAPIC: the end of a level is told, if there is a route for it, and of an edge
 * not. */
TEST(kvm_ends_of_levels_are_told)
{
	enum { LEVEL = 1 << 15 };
	struct err e = {0};
	PC(IRQCHIP_SPLIT, 1);
	struct x86_code h = {p->mem, HANDLER};
	X86_EMIT(&h, 0x49, 0xff, 0xc0); /* inc r8 */
	wrmsr(&h, 0x80b, 0);
	X86_EMIT(&h, 0x48, 0xcf);
	x86_gate(p->mem, 0x44, HANDLER, 0);
	x86_gate(p->mem, 0x45, HANDLER, 0);
	apic_on(c);
	x86_mov(c, R8, 0);
	done(p);
	X86_EMIT(c, 0xfb, 0xf4, 0xf4, 0xfa);
	done(p);
	CHECK(!kvm_route(p->en, 9, 0xfee00000, 0x44 | LEVEL, &e));
	RUN(p);
	CHECK(kvm_msi(p->en, 0xfee00000, 0x44 | LEVEL));
	(void)kvm_run_for(p->cpu[0], SECOND / 20);
	if (!p->eois && kvm_probe()->state == KVM_UNFIT) {
		skip(__func__, "this KVM tells of none");
		pc_free(p);
		return;
	}
	CHECK(p->eois == 1 && p->eoi_of == 0x44 && reg(p, R8) == 1);
	CHECK(kvm_msi(p->en, 0xfee00000, 0x45));
	RUN(p);
	CHECK(p->eois == 1 && reg(p, R8) == 2);
	pc_free(p);
}

static uint64_t rung(int fd)
{
	eventfd_t v = 0;
	return eventfd_read(fd, &v) ? 0 : v;
}
TEST(kvm_writes_ring_eventfds)
{
	enum { PIO, ANY, MATCH, N };
	static const uint64_t val = 0x99;
	struct err e = {0};
	int fd[N];
	for (unsigned i = 0; i < N; i++) fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const struct kvm_bell bell[N] = {{fd[PIO], true, PORT + 4, 1, NULL},
					 {fd[ANY], false, MMIO + 0x10, 0, NULL},
					 {fd[MATCH], false, MMIO + 0x20, 4, &val}};
	PC(IRQCHIP_SPLIT, 1);
	for (unsigned i = 0; i < N; i++) CHECK(!kvm_bell(p->en, &bell[i], true, &e));
	x86_out(c, PORT + 4, 1);
	x86_mov(c, RSI, MMIO + 0x10);
	X86_EMIT(c, 0x66, 0x89, 0x06, 0x89, 0x06);    /* mov [rsi], ax; mov [rsi], eax */
	X86_EMIT(c, 0xc7, 0x46, 0x10, 0x99, 0, 0, 0); /* mov dword [rsi + 16], 0x99 */
	X86_EMIT(c, 0xc7, 0x46, 0x10, 0x98, 0, 0, 0);
	done(p);
	RUN(p);
	CHECK(rung(fd[PIO]) == 1 && rung(fd[ANY]) == 2 && rung(fd[MATCH]) == 1);
	CHECK(p->n == 1 && saw(p, 0, (struct seen){0x20, 0x98, 4, true}));
	for (unsigned i = 0; i < N; i++) CHECK(!kvm_bell(p->en, &bell[i], false, &e));
	CHECK(!ops->set(p->cpu[0], REG_X86_RIP, X86_CODE));
	RUN(p);
	CHECK(p->n == 6 && rung(fd[PIO]) == 0);
	pc_free(p);
	for (unsigned i = 0; i < N; i++) (void)close(fd[i]);
}

TEST(kvm_writes_are_logged)
{
	struct err e = {0};
	uint64_t bits[4] = {0};
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RSI, DATA + 0x3008);
	X86_EMIT(c, 0x48, 0x89, 0x06); /* mov [rsi], rax */
	done(p);
	gmem_track(p->mem, true);
	CHECK(!ops->dirty(p->en, &e));
	(void)gmem_dirty_take(p->mem, DATA, 64 * 4096, bits);
	RUN(p);
	CHECK(!ops->dirty(p->en, &e));
	CHECK(gmem_dirty_take(p->mem, DATA, 64 * 4096, bits) && bits[0] == 1 << 3);
	CHECK(!ops->dirty(p->en, &e));
	CHECK(!gmem_dirty_take(p->mem, DATA, 64 * 4096, bits));
	CHECK(!ops->set(p->cpu[0], REG_X86_RIP, X86_CODE));
	RUN(p);
	gmem_track(p->mem, false);
	CHECK(!ops->dirty(p->en, &e));
	CHECK(!gmem_dirty_take(p->mem, DATA, 64 * 4096, bits));
	pc_free(p);
}

TEST(kvm_unknown_msrs_are_asked_for)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RCX, 0xabc0);
	X86_EMIT(c, 0x0f, 0x32, 0x48, 0x89, 0xc3, 0x89, 0xd7); /* rdmsr; mov rbx, rax; edi, edx */
	wrmsr(c, 0xabc1, 0x99aabbccddeeff00);
	x86_out(c, DONE, 0x77);
	if (ends(p, __func__, VCPU_KICKED)) {
		CHECK(p->asked == 2 && reg(p, RBX) == 0x55667788 && reg(p, RDI) == 0x11223344);
		CHECK(p->wrote == 0x77);
	}
	pc_free(p);
}

TEST(kvm_an_msr_that_nobody_knows_faults)
{
	PC(IRQCHIP_SPLIT, 1);
	struct x86_code h = {p->mem, HANDLER};
	x86_gate(p->mem, 13, HANDLER, 0);
	x86_out(&h, DONE, 0x77);
	x86_mov(c, RCX, 0xbad);
	X86_EMIT(c, 0x0f, 0x32, 0xeb, 0xfe);
	RUN(p);
	CHECK(p->asked == 1 && reg(p, REG_X86_RIP) == HANDLER + 4);
	pc_free(p);
}

TEST(kvm_known_msrs_can_be_caught)
{
	struct err e = {0};
	PC(IRQCHIP_SPLIT, 1);
	CHECK(!kvm_msr_catch(p->en, 0x174, 3, &e));
	CHECK(kvm_msr_catch(p->en, 0, 0x3001, &e) == -EINVAL);
	x86_mov(c, RCX, 0x175);
	X86_EMIT(c, 0x0f, 0x32);
	X86_EMIT(c, 0x48, 0x89, 0xc3);
	done(p);
	RUN(p);
	CHECK(p->asked == 1 && reg(p, RBX) == 0x55667788);
	pc_free(p);
}

TEST(kvm_the_guest_sees_the_cpu_of_the_policy)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RAX, 0x40000000);
	X86_EMIT(c, 0x0f, 0xa2, 0x41, 0x89, 0xd8, 0x89, 0xc5); /* cpuid; mov r8d, ebx; ebp, eax */
	x86_mov(c, RAX, 0x40000010);
	X86_EMIT(c, 0x0f, 0xa2, 0x89, 0xc7); /* mov edi, eax */
	x86_mov(c, RAX, 1);
	X86_EMIT(c, 0x0f, 0xa2, 0x89, 0xce); /* mov esi, ecx */
	done(p);
	RUN(p);
	CHECK(reg(p, R8) == 0x4b4d564b && reg(p, RBP) == 0x40000010); /* "KVMK" */
	CHECK(reg(p, RDI) > 100000);				      /* kHz */
	CHECK((reg(p, RSI) >> 31 & 1) && (reg(p, RSI) >> 21 & 1) && !(reg(p, RSI) >> 3 & 1));
	pc_free(p);
}

static void *cpu_main(void *c) { return (void)kvm_run_for(c, 5 * SECOND), NULL; }
TEST(kvm_two_cpus_start_and_call_each_other)
{
	enum { AP = 0x7000, FLAG = 0x6ff0 };
	pthread_t t;
	PC(IRQCHIP_SPLIT, 2);
	struct x86_code ap = {p->mem, AP};
	/* mov ax, 0; mov ds, ax; mov byte [FLAG], 1; hlt; jmp */
	X86_EMIT(&ap, 0xb8, 0, 0, 0x8e, 0xd8, 0xc6, 0x06, 0xf0, 0x6f, 1, 0xf4, 0xeb, 0xfd);
	counts_in_r8(p, 0x43);
	apic_on(c);
	x86_mov(c, R8, 0);
	wrmsr(c, 0x830, (1ull << 32) | 0x4500);		   /* INIT to APIC 1 */
	wrmsr(c, 0x830, (1ull << 32) | 0x4600 | AP >> 12); /* start-up */
	x86_mov(c, RSI, FLAG);
	gpa_t wait = c->at;
	X86_EMIT(c, 0xf3, 0x90, 0x80, 0x3e, 1); /* pause; cmp byte [rsi], 1 */
	x86_back(c, 0x75, wait);
	wrmsr(c, 0x830, 0x43); /* to itself by number */
	X86_EMIT(c, 0xfb, 0xf4, 0xfa);
	done(p);
	CHECK(reg_of(p->cpu[1], REG_X86_ACTIVITY) == X86_WAITS_FOR_INIT);
	CHECK(!pthread_create(&t, NULL, cpu_main, p->cpu[1]));
	bool ok = completes(p, __func__);
	ops->kick(p->cpu[1]);
	CHECK(!pthread_join(t, NULL));
	if (ok) CHECK(reg(p, R8) == 1 && reg_of(p->cpu[1], REG_X86_SEG + 4) == AP >> 4);
	if (ok) CHECK(reg_of(p->cpu[1], REG_X86_ACTIVITY) == X86_HALTED);
	pc_free(p);
}

TEST(kvm_a_halt_without_end_is_cut)
{
	PC(IRQCHIP_NONE, 1);
	X86_EMIT(c, 0xf4);
	uint64_t began = now_ns();
	CHECK(kvm_run_for(p->cpu[0], 20000000) == VCPU_KICKED);
	CHECK(now_ns() - began >= 20000000 && reg(p, REG_X86_ACTIVITY) == X86_HALTED);
	pc_free(p);
}

TEST(kvm_time_by_instructions_is_refused)
{
	struct err e = {0};
	struct engine *en;
	struct vclock clock;
	struct engine_env env = {.arch = ARCH_X86_64, .counted = &clock, .cpus = 1};
	CHECK(ops->open(&en, &env, &e) == -ENOTSUP && strstr(e.msg, "instructions"));
	env = (struct engine_env){.arch = ARCH_RV64};
	CHECK(ops->open(&en, &env, &e) == -ENOTSUP);
}

static void kicked(const char *test, enum irqchip chip, uint8_t op)
{
	pthread_t t;
	struct pc *p = pc_new(test, chip, 1);
	if (!p) return;
	X86_EMIT(&p->code, op, op == 0xeb ? 0xfe : 0x90, 0xeb, 0xfe);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t began = now_ns();
		CHECK(!pthread_create(&t, NULL, kick_soon, p->cpu[0]));
		CHECK(ends(p, test, VCPU_KICKED));
		CHECK(!pthread_join(t, NULL));
		CHECK(now_ns() - began < 3 * SECOND);
	}
	ops->kick(p->cpu[0]); /* one that comes too early counts, once */
	CHECK(ops->run(p->cpu[0]) == VCPU_KICKED);
	uint64_t began = now_ns();
	CHECK(kvm_run_for(p->cpu[0], 30000000) == VCPU_KICKED);
	CHECK(now_ns() - began >= 30000000);
	pc_free(p);
}
TEST(kvm_a_running_cpu_is_kicked) { kicked(__func__, IRQCHIP_SPLIT, 0xeb); }
TEST(kvm_a_halted_cpu_is_kicked) { kicked(__func__, IRQCHIP_SPLIT, 0xf4); }

TEST(kvm_a_kick_does_not_end_a_halt)
{
	pthread_t t;
	PC(IRQCHIP_NONE, 1);
	counts_in_r8(p, 0x31);
	x86_mov(c, R8, 0);
	X86_EMIT(c, 0xfb, 0xf4);
	done(p);
	p->wrote = 0;
	for (unsigned i = 0; i < 3; i++) {
		CHECK(!pthread_create(&t, NULL, kick_soon, p->cpu[0]));
		CHECK(ops->run(p->cpu[0]) == VCPU_KICKED && p->wrote == 0);
		CHECK(!pthread_join(t, NULL));
		CHECK(reg(p, REG_X86_ACTIVITY) == X86_HALTED);
	}
	ops->irq(p->cpu[0], IRQ_X86_INTR, 1);
	RUN(p);
	CHECK(reg(p, R8) == 1);
	pc_free(p);
}

/* Many kicks at any moment: each run ends, and soon. */
struct hammer {
	struct vcpu *cpu;
	_Atomic unsigned turn, kicks;
};
static void *hammer(void *ctx)
{
	struct hammer *h = ctx;
	for (unsigned last = 0, now; (now = h->turn) != ~0u; last = now) {
		if (now == last) continue;
		for (volatile unsigned i = 0; i < now * 37 % 3000; i++) {
		}
		ops->kick(h->cpu);
		h->kicks++;
	}
	return NULL;
}
TEST(kvm_no_kick_is_lost)
{
	pthread_t t;
	PC(IRQCHIP_SPLIT, 1);
	struct hammer h = {.cpu = p->cpu[0]};
	X86_EMIT(c, 0xeb, 0xfe);
	CHECK(!pthread_create(&t, NULL, hammer, &h));
	for (unsigned i = 1; i <= 100; i++) {
		uint64_t began = now_ns();
		h.turn = i;
		if (!ends(p, __func__, VCPU_KICKED)) break;
		CHECK(now_ns() - began < 4 * SECOND); /* and not by the timer */
		while (h.kicks < i) (void)sched_yield();
		atomic_fetch_and(&p->cpu[0]->poke, ~(unsigned)POKE_KICK);
	}
	h.turn = ~0u;
	CHECK(!pthread_join(t, NULL));
	pc_free(p);
}

TEST(kvm_a_triple_fault_asks_for_a_reset)
{
	PC(IRQCHIP_SPLIT, 1);
	uint64_t rip = 0;
	X86_EMIT(c, 0x0f, 0x0b); /* ud2, no handler, nor for what follows */
	for (unsigned i = 0; i < 2; i++) {
		if (!ends(p, __func__, VCPU_RESET)) break;
		ops->reset(p->cpu[0]);
		CHECK(!ops->get(p->cpu[0], REG_X86_RIP, &rip) && rip == 0xfff0);
		CHECK(reg(p, REG_X86_SEG + 4 + SEG_BASE) == 0xffff0000);
		CHECK(!(reg(p, REG_X86_CR) & 1) && reg(p, REG_X86_EFER) == 0);
		CHECK(!x86_long_mode(ops, p->cpu[0], X86_CODE));
	}
	p->code.at = X86_CODE;
	done(p);
	RUN(p);
	pc_free(p);
}

TEST(kvm_real_mode_runs)
{
	PC(IRQCHIP_SPLIT, 1);
	ops->reset(p->cpu[0]);
	CHECK(!x86_real_mode(ops, p->cpu[0], 0x7000));
	c->at = 0x7000;
	X86_EMIT(c, 0xb8, 0x34, 0x12, 0x50, 0x5b); /* mov ax, 0x1234; push ax; pop bx */
	done(p);
	RUN(p);
	CHECK((reg(p, RBX) & 0xffff) == 0x1234 && reg(p, RSP) == 0x8000);
	pc_free(p);
}

TEST(kvm_single_steps)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RBX, 1);
	X86_EMIT(c, 0x48, 0xff, 0xc3, 0x48, 0xff, 0xc3); /* inc rbx, twice */
	done(p);
	static const uint64_t rip[] = {10, 13, 16};
	ops->step(p->cpu[0], true);
	for (unsigned i = 0; i < 3; i++) {
		if (!ends(p, __func__, VCPU_DEBUG)) break;
		CHECK(reg(p, REG_X86_RIP) == X86_CODE + rip[i] && reg(p, RBX) == 1 + i);
	}
	ops->step(p->cpu[0], false);
	RUN(p);
	pc_free(p);
}

TEST(kvm_an_access_is_finished_before_registers_are_read)
{
	PC(IRQCHIP_SPLIT, 1);
	x86_mov(c, RAX, 0);
	X86_EMIT(c, 0xe4, DONE, 0xeb, 0xfe); /* in al, DONE: kicks while it is read */
	if (ends(p, __func__, VCPU_KICKED)) {
		CHECK(reg(p, RAX) == 0x5a && reg(p, REG_X86_RIP) == X86_CODE + 12);
		CHECK(!ops->set(p->cpu[0], RAX, 0x1234)); /* nor does it come later */
		(void)kvm_run_for(p->cpu[0], 5000000);
		CHECK(reg(p, RAX) == 0x1234);
	}
	pc_free(p);
}

TEST(kvm_a_step_over_an_access_is_told_before_its_kick)
{
	PC(IRQCHIP_SPLIT, 1);
	X86_EMIT(c, 0xe4, DONE, 0x90, 0x90);
	ops->step(p->cpu[0], true);
	enum vcpu_exit x = ops->run(p->cpu[0]);
	CHECK(reg(p, REG_X86_RIP) == X86_CODE + 2);
	if (x == VCPU_DEBUG) CHECK(ops->run(p->cpu[0]) == VCPU_KICKED);
	CHECK(x == VCPU_DEBUG || x == VCPU_KICKED);
	pc_free(p);
}

/* Code where no memory is: no KVM can execute that. */
TEST(kvm_what_it_cannot_execute_has_words)
{
	PC(IRQCHIP_SPLIT, 1);
	X86_EMIT(c, 0x48, 0xc7, 0xc0); /* mov rax, MMIO; jmp rax */
	x86_emit_le(c, MMIO, 4);
	X86_EMIT(c, 0xff, 0xe0);
	enum vcpu_exit x = kvm_run_for(p->cpu[0], SECOND);
	const char *words = ops->error(p->cpu[0]);
	CHECK(x == VCPU_BROKEN && strstr(words, "rip 0x10000000") && strstr(words, "code"));
	if (x != VCPU_BROKEN) (void)printf("exit %d, %s\n", x, words);
	ops->reset(p->cpu[0]);
	CHECK(!ops->error(p->cpu[0])[0]);
	pc_free(p);
}

TEST(kvm_registers_that_no_cpu_has_are_refused)
{
	PC(IRQCHIP_SPLIT, 1);
	CHECK(!ops->set(p->cpu[0], REG_X86_CR + 4, 0)); /* long mode without PAE */
	CHECK(ops->run(p->cpu[0]) == VCPU_BROKEN);
	CHECK(strstr(ops->error(p->cpu[0]), "registers"));
	ops->reset(p->cpu[0]);
	CHECK(!x86_long_mode(ops, p->cpu[0], X86_CODE));
	done(p);
	RUN(p);
	pc_free(p);
}

TEST(kvm_registers_keep_what_is_put_into_them)
{
	static const struct {
		unsigned reg;
		uint64_t val;
	} put[] = {
		{REG_X86_RIP, 0x123456789},
		{REG_X86_RFLAGS, 0x8d7},
		{REG_X86_GDT_BASE, 0x7000},
		{REG_X86_GDT_LIMIT, 0x47},
		{REG_X86_IDT_BASE, 0x7100},
		{REG_X86_IDT_LIMIT, 0x1ff},
		{REG_X86_CR + 2, 0xdead000},
		{REG_X86_CR + 3, 0x3000},
		{REG_X86_CR + 8, 5},
		{REG_X86_DR + 0, 0x1111},
		{REG_X86_DR + 3, 0x3333},
		{REG_X86_DR + 7, 0x400},
		{REG_X86_XCR0, 1},
		{REG_X86_MSR + 0x174, 8},
		{REG_X86_MSR + 0xc0000082, 0xffffffff81000000},
		{REG_X86_MSR + 0xc0000102, 0x1234000},
		{REG_X86_LAPIC + 8, 0x50},
		{REG_X86_EVENT_SHADOW, 1},
		{REG_X86_EVENT_EXCEPTION,
		 14 | X86_EVENT_INJECTED | X86_EVENT_HAS_CODE | 2ull << 32},
		{REG_X86_EVENT_NMI, X86_EVENT_MASKED},
		{REG_X86_XSAVE + 3, 0x1f80},
		{REG_X86_XSAVE + 20, 0x0123456789abcdef},
	};
	PC(IRQCHIP_SPLIT, 1);
	uint64_t v;
	for (unsigned i = 0; i < 16; i++) CHECK(!ops->set(p->cpu[0], i, i * 0x1000000010001));
	for (unsigned i = 0; i < 16; i++) CHECK(reg(p, i) == i * 0x1000000010001);
	for (unsigned i = 0; i < 8; i++) {
		unsigned at = REG_X86_SEG + 4 * i;
		CHECK(!ops->set(p->cpu[0], at + SEG_BASE, 0x10000 * i));
		CHECK(!ops->set(p->cpu[0], at + SEG_LIMIT, 0xfffff000 + i));
	}
	for (unsigned i = 0; i < 8; i++) {
		CHECK(reg(p, REG_X86_SEG + 4 * i + SEG_BASE) == 0x10000 * i);
		CHECK(reg(p, REG_X86_SEG + 4 * i + SEG_LIMIT) == 0xfffff000 + i);
	}
	CHECK(reg(p, REG_X86_SEG + 4 + SEG_ACCESS) == 0xa09b);
	CHECK(!ops->set(p->cpu[0], REG_X86_XSAVE + 64, 3));
	for (unsigned i = 0; i < COUNT(put); i++)
		CHECK(!ops->set(p->cpu[0], put[i].reg, put[i].val));
	CHECK(!kvm_regs_flush(p->cpu[0])); /* KVM has them, and we look at its copy */
	kvm_regs_forget(p->cpu[0]);
	for (unsigned i = 0; i < COUNT(put); i++) {
		uint64_t mask = put[i].reg == REG_X86_XSAVE + 3 ? 0xffffffff : ~0ull;
		if (put[i].reg == REG_X86_EVENT_SHADOW) mask = 1; /* AMD has one for both */
		v = reg(p, put[i].reg);
		if ((v & mask) != put[i].val)
			(void)printf("register %#x: %#llx\n", put[i].reg, (unsigned long long)v);
		CHECK((v & mask) == put[i].val);
	}
	CHECK(ops->get(p->cpu[0], REG_X86_CR + 1, &v) == -ENOENT);
	CHECK(ops->get(p->cpu[0], REG_X86_DR + 4, &v) == -ENOENT);
	CHECK(ops->get(p->cpu[0], 20, &v) == -ENOENT && ops->set(p->cpu[0], 200, 1) == -ENOENT);
	CHECK(ops->get(p->cpu[0], REG_X86_XSAVE + 0x8000, &v) == -ENOENT);
	CHECK(ops->get(p->cpu[0], REG_X86_MSR + 0xabcd, &v) == -ENOENT);
	CHECK(ops->set(p->cpu[0], REG_X86_ACTIVITY, 99) == -EINVAL);
	pc_free(p);
}

TEST(kvm_what_is_set_is_what_the_guest_has)
{
	PC(IRQCHIP_SPLIT, 1);
	X86_EMIT(c, 0x4c, 0x89, 0xc3, 0x0f, 0x20, 0xd7);       /* mov rbx, r8; mov rdi, cr2 */
	X86_EMIT(c, 0x65, 0x48, 0x8b, 0x34, 0x25, 0, 0, 0, 0); /* mov rsi, gs:[0] */
	done(p);
	CHECK(!ops->set(p->cpu[0], R8, 0xabcdef) && !ops->set(p->cpu[0], REG_X86_CR + 2, 0x5000));
	CHECK(!ops->set(p->cpu[0], REG_X86_MSR + 0xc0000101, DATA)); /* GS.base */
	CHECK(gmem_write(p->mem, DATA, &(uint64_t){0x6262}, 8));
	RUN(p);
	CHECK(reg(p, RBX) == 0xabcdef && reg(p, RDI) == 0x5000 && reg(p, RSI) == 0x6262);
	CHECK(reg(p, REG_X86_SEG + 4 * 5 + SEG_BASE) == DATA);
	pc_free(p);
}

/* A guest goes on in another machine from what can be read of it. */
static void move(struct pc *from, struct pc *to)
{
	enum { XSAVE_WORDS = 4096 / 8 };
	static const unsigned ranges[][2] = {{0, 18},
					     {32, 68},
					     {80, 100},
					     {112, 120},
					     {REG_X86_LAPIC, REG_X86_LAPIC + 64},
					     {REG_X86_XSAVE, REG_X86_XSAVE + XSAVE_WORDS},
					     {128, 135},
					     {REG_X86_MSR + 0xc0000081, REG_X86_MSR + 0xc0000085},
					     {REG_X86_MSR + 0xc0000102, REG_X86_MSR + 0xc0000103}};
	uint64_t v;
	memcpy(gmem_host(to->mem, 0, ROM), gmem_host(from->mem, 0, ROM), ROM);
	for (unsigned i = 0; i < COUNT(ranges); i++)
		for (unsigned r = ranges[i][0]; r < ranges[i][1]; r++)
			if (!ops->get(from->cpu[0], r, &v)) CHECK(!ops->set(to->cpu[0], r, v));
}
TEST(kvm_a_guest_goes_on_in_another_machine)
{
	PC(IRQCHIP_SPLIT, 1);
	struct pc *q = pc_new(__func__, IRQCHIP_SPLIT, 1);
	must(q);
	counts_in_r8(p, 0x41);
	apic_on(c);
	wrmsr(c, 0xc0000082, 0xffffffff81234567);
	wrmsr(c, 0x83f, 0x41); /* an interrupt is on its way */
	x86_mov(c, R8, 0);
	x86_mov(c, RBX, 0x4242);
	x86_mov(c, RSI, DATA);
	X86_EMIT(c, 0x66, 0x0f, 0x6f, 0x06); /* movdqa xmm0, [rsi] */
	done(p);
	X86_EMIT(c, 0xfb); /* sti */
	gpa_t wait = c->at;
	X86_EMIT(c, 0x4d, 0x85, 0xc0); /* test r8, r8 */
	x86_back(c, 0x74, wait);
	X86_EMIT(c, 0x66, 0x0f, 0x7f, 0x46, 0x10); /* movdqa [rsi + 16], xmm0 */
	x86_mov(c, RCX, 0xc0000082);
	X86_EMIT(c, 0x0f, 0x32);       /* rdmsr */
	X86_EMIT(c, 0x48, 0x89, 0xc7); /* mov rdi, rax */
	done(p);
	memset(gmem_host(p->mem, DATA, 16), 0x3c, 16);
	if (completes(p, __func__)) {
		move(p, q);
		if (completes(q, __func__)) {
			CHECK(reg(q, RBX) == 0x4242 && reg(q, R8) == 1);
			CHECK(reg(q, RDI) == 0x81234567);
			CHECK(!memcmp(gmem_host(q->mem, DATA, 16), gmem_host(q->mem, DATA + 16, 16),
				      16));
		}
	}
	pc_free(p);
	pc_free(q);
}

/* Any bytes, in any mode, with any registers: a second of them. Nothing may hang or kill us. */
TEST(attack_kvm_random_code)
{
	enum { CPU_NS = 5000000 };
	PC(IRQCHIP_SPLIT, 1);
	uint64_t seed = 0x9e3779b97f4a7c15, stop = now_ns() + SECOND;
	unsigned n = 0, ended[8] = {0};
	for (; now_ns() < stop; n++) {
		uint8_t bytes[512];
		for (unsigned i = 0; i < sizeof(bytes); i++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			bytes[i] = (uint8_t)(seed >> 32);
		}
		ops->reset(p->cpu[0]);
		x86_tables(p->mem);
		c->at = X86_CODE;
		x86_emit(c, bytes, sizeof(bytes));
		CHECK(!(n & 1 ? x86_long_mode(ops, p->cpu[0], X86_CODE)
			      : x86_real_mode(ops, p->cpu[0], X86_CODE)));
		for (unsigned i = 0; i < 16; i++)
			if (i != RSP)
				(void)ops->set(p->cpu[0], i, seed >> i & (n & 2 ? ~0ull : 0xfffff));
		uint64_t began = now_ns();
		enum vcpu_exit x = kvm_run_for(p->cpu[0], CPU_NS);
		CHECK(now_ns() - began < SECOND);
		ended[x & 7]++;
		CHECK(x != VCPU_BROKEN || ops->error(p->cpu[0])[0]);
	}
	CHECK(n > 10 && ended[VCPU_SYSCALL] == 0);
	ops->reset(p->cpu[0]);
	x86_tables(p->mem);
	CHECK(!x86_long_mode(ops, p->cpu[0], X86_CODE));
	c->at = X86_CODE;
	done(p);
	CHECK(completes(p, __func__)); /* and then it still works */
	pc_free(p);
}
