/* Local and I/O APICs, wired together as a board does, with a clock that we count. */
#include "base/loop.h"
#include "base/test.h"
#include "base/types.h"
#include "dev/counted_test.h"
#include "dev/pc.h"
#include <pthread.h>
#include <sched.h>

enum { N = 3, LAPIC = 0xfee00000, IOAPIC = 0xfec00000 };
static struct lapics *s;
static struct device *io, *pic;
static struct bus *mmio;
static _Atomic int intr[N];
static struct loop *ring;
static struct {
	unsigned n, cpu, vector;
	enum lapic_signal what;
} sig;

static void set_intr(void *ctl, unsigned line, int level)
{
	(void)ctl;
	intr[line] = level;
	if (level && ring) loop_stop(ring, 7);
}
static void on_signal(void *ctx, unsigned cpu, enum lapic_signal what, unsigned vector)
{
	(void)ctx;
	sig.n++;
	sig.cpu = cpu;
	sig.what = what;
	sig.vector = vector;
}
/* A TSC of 2 GHz, that of CPU 1 ahead by 1000. */
static uint64_t tsc_ns(void *ctx, unsigned cpu, uint64_t tsc)
{
	(void)ctx;
	uint64_t ahead = cpu == 1 ? 1000 : 0;
	return tsc < ahead ? 0 : (tsc - ahead + 1) / 2;
}

static void start_on(struct loop *l)
{
	struct lapic_env env = {.intr = {set_intr, NULL, 0},
				.signal = on_signal,
				.tsc_ns = tsc_ns,
				.clock = &vclock,
				.loop = l};
	for (unsigned i = 0; i < N; i++) intr[i] = 0;
	memset(&sig, 0, sizeof(sig));
	ring = l;
	CHECK(lapics_new(&s, N, &env, NULL) == 0);
	CHECK(ioapic_new(&io, &(struct ioapic_to){lapics_send, s, NULL}, NULL) == 0);
	CHECK(pic_new(&pic, lapics_lint(s, 0), NULL) == 0);
	lapics_wire(s, pic, io);
	mmio = bus_new("mmio");
	CHECK(bus_map(mmio, IOAPIC, 0x1000, io, NULL) == 0);
	for (unsigned i = 0; i < N; i++)
		CHECK(bus_map(mmio, LAPIC + 0x10000000ull * i, 0x1000, lapic_page(s, i), NULL) ==
		      0);
}
static void start(void)
{
	clock_start();
	start_on(NULL);
}
static void stop(void)
{
	bus_free(mmio);
	device_free(io);
	device_free(pic);
	lapics_free(s);
}
static uint32_t get(unsigned cpu, unsigned off)
{
	return (uint32_t)bus_read(mmio, LAPIC + 0x10000000ull * cpu + off, 4);
}
static void put(unsigned cpu, unsigned off, uint32_t v)
{
	bus_write(mmio, LAPIC + 0x10000000ull * cpu + off, v, 4);
}
static void on(void)
{
	for (unsigned i = 0; i < N; i++) put(i, 0xf0, 0x1ff);
}
static void eoi(unsigned cpu) { put(cpu, 0xb0, 0); }
static uint32_t io_get(uint8_t reg)
{
	bus_write(mmio, IOAPIC, reg, 4);
	return (uint32_t)bus_read(mmio, IOAPIC + 0x10, 4);
}
static void io_put(uint8_t reg, uint32_t v)
{
	bus_write(mmio, IOAPIC, reg, 4);
	bus_write(mmio, IOAPIC + 0x10, v, 4);
}
static void entry(unsigned pin, uint32_t high, uint32_t low)
{
	io_put((uint8_t)(0x11 + 2 * pin), high);
	io_put((uint8_t)(0x10 + 2 * pin), low);
}
static void pin(unsigned n, int level) { irq_set(ioapic_line(io, n), level); }
static void run_to(uint64_t ns)
{
	while (lapics_next(s) <= ns) {
		ran = lapics_next(s);
		lapics_tick(s);
	}
	ran = ns;
}

/* As KVM's are saved: out as registers, and into another, which does the same from then on. */
TEST(lapic_goes_through_its_page)
{
	struct lapic_page page, again;
	start();
	on();
	put(0, 0x80, 0x20);	       /* TPR */
	put(0, 0x3e0, 3);	       /* by 16 */
	put(0, 0x320, 0x20000 | 0x51); /* periodic */
	put(0, 0x380, 10000);
	run_to(ran + 40000);
	lapics_msi(s, 0xfee00000, 0x61);
	CHECK(lapic_ack(s, 0) == 0x61);
	lapics_msi(s, 0xfee00000, 0x8000 | 0x33);
	lapic_save(s, 0, &page);
	CHECK(page.base == 0xfee00900 && page.reg[0x39] == 7500 && page.reg[0x13] == 2);
	CHECK(page.reg[0x21] == 1 << 19 && page.reg[0x19] == 1 << 19 && page.reg[8] == 0x20);
	lapic_load(s, 1, &page);
	lapic_save(s, 1, &again);
	again.reg[2] = page.reg[2]; /* its ID is its own */
	again.reg[3] = page.reg[3];
	CHECK(!memcmp(&page, &again, sizeof(page)));
	put(1, 0xb0, 0);
	CHECK(lapic_ack(s, 1) == 0x33);
	put(1, 0xb0, 0);
	run_to(ran + 120000 + 1);
	CHECK(lapic_ack(s, 1) == 0x51);
	stop();
}

TEST(lapic_reset_state)
{
	start();
	for (unsigned i = 0; i < N; i++) {
		CHECK(get(i, 0x20) == i << 24 && get(i, 0x30) == 0x00050014);
		CHECK(get(i, 0x80) == 0 && get(i, 0xd0) == 0 && get(i, 0xe0) == 0xffffffff);
		CHECK(get(i, 0xf0) == 0xff && get(i, 0x300) == 0 && get(i, 0x280) == 0);
		for (unsigned r = 0x320; r <= 0x370; r += 16) CHECK(get(i, r) == 0x10000);
		for (unsigned r = 0x100; r < 0x280; r += 16) CHECK(get(i, r) == 0);
		CHECK(get(i, 0x380) == 0 && get(i, 0x390) == 0 && get(i, 0x3e0) == 0);
		CHECK(lapic_base(s, i) == (i ? 0xfee00800 : 0xfee00900));
	}
	put(0, 0x320, 0x20); /* masked as long as it is off */
	CHECK(get(0, 0x320) == 0x10020);
	lapics_msi(s, 0xfee00000, 0x30);
	CHECK(intr[0] == 0 && get(0, 0x210) == 0);
	stop();
}

TEST(lapic_priorities)
{
	start();
	on();
	lapics_msi(s, 0xfee01000, 0x41);
	CHECK(intr[1] == 1 && intr[0] == 0 && get(1, 0x220) == 2);
	lapics_msi(s, 0xfee01000, 0x45);
	lapics_msi(s, 0xfee01000, 0x91);
	CHECK(lapic_ack(s, 1) == 0x91 && get(1, 0xa0) == 0x90 && intr[1] == 0);
	CHECK(get(1, 0x140) == 1 << 17 && get(1, 0x240) == 0 && lapic_ack(s, 1) == -1);
	lapics_msi(s, 0xfee01000, 0x9f); /* same class: waits */
	CHECK(intr[1] == 0);
	lapics_msi(s, 0xfee01000, 0xa0);
	CHECK(intr[1] == 1 && lapic_ack(s, 1) == 0xa0);
	eoi(1);
	CHECK(get(1, 0xa0) == 0x90 && intr[1] == 0);
	eoi(1);
	CHECK(intr[1] == 1 && lapic_ack(s, 1) == 0x9f);
	eoi(1);
	lapic_cr8_set(s, 1, 4);
	CHECK(intr[1] == 0 && get(1, 0x80) == 0x40 && lapic_ack(s, 1) == -1);
	put(1, 0x80, 0x3f);
	CHECK(lapic_cr8(s, 1) == 3 && get(1, 0xa0) == 0x3f && intr[1] == 1);
	CHECK(lapic_ack(s, 1) == 0x45);
	eoi(1);
	CHECK(lapic_ack(s, 1) == 0x41);
	eoi(1);
	eoi(1); /* one too many */
	CHECK(intr[1] == 0 && get(1, 0xa0) == 0x3f);
	stop();
}

static void icr(unsigned cpu, uint32_t high, uint32_t low)
{
	put(cpu, 0x310, high);
	put(cpu, 0x300, low);
}

/* Bring-up of a second CPU (SDM 9.4.4.1): INIT, SIPI, SIPI; and before it Linux's de-assert. */
TEST(lapic_starts_another_cpu)
{
	start();
	on();
	lapics_msi(s, 0xfee02000, 0x50);
	icr(0, 2u << 24, 0xc500);
	CHECK(sig.n == 1 && sig.cpu == 2 && sig.what == LAPIC_INIT);
	CHECK(get(2, 0xf0) == 0xff && intr[2] == 0 && get(2, 0x220) == 0);
	icr(0, 2u << 24, 0x8500);
	CHECK(sig.n == 1 && !(get(0, 0x300) & 0x1000));
	icr(0, 2u << 24, 0x0069a);
	CHECK(sig.n == 2 && sig.cpu == 2 && sig.what == LAPIC_SIPI && sig.vector == 0x9a);
	put(0, 0x300, 0xc4500); /* SeaBIOS and OVMF wake all others at once */
	CHECK(sig.n == 4 && sig.cpu == 2 && sig.what == LAPIC_INIT && get(0, 0xf0) == 0x1ff);
	put(0, 0x300, 0xc4610);
	CHECK(sig.n == 6 && sig.vector == 0x10);
	stop();
}

TEST(lapic_ipis_reach_whom_they_name)
{
	start();
	on();
	put(0, 0x300, 0x40033); /* self */
	CHECK(intr[0] && !intr[1] && !intr[2] && lapic_ack(s, 0) == 0x33);
	eoi(0);
	put(0, 0x300, 0xc0034); /* others */
	CHECK(!intr[0] && intr[1] && intr[2] && lapic_ack(s, 1) == 0x34 && lapic_ack(s, 2) == 0x34);
	eoi(1);
	eoi(2);
	put(2, 0x300, 0x80035); /* all */
	for (unsigned i = 0; i < N; i++) {
		CHECK(lapic_ack(s, i) == 0x35);
		eoi(i);
	}
	icr(0, 0xffu << 24, 0x36);
	CHECK(intr[0] && intr[1] && intr[2]);
	for (unsigned i = 0; i < N; i++) {
		CHECK(lapic_ack(s, i) == 0x36);
		eoi(i);
		put(i, 0xd0, 1u << (24 + i)); /* flat: a bit each */
	}
	icr(0, 6u << 24, 0x837);
	CHECK(!intr[0] && lapic_ack(s, 1) == 0x37 && lapic_ack(s, 2) == 0x37);
	icr(0, 6u << 24, 0x940); /* lowest priority: one of them */
	CHECK(!intr[0] && intr[1] && !intr[2] && lapic_ack(s, 1) == 0x40);
	put(1, 0xe0, 0x0fffffff);
	put(1, 0xd0, 0x32u << 24); /* cluster 3, member 1 */
	icr(0, 0x33u << 24, 0x850);
	CHECK(intr[1] && get(1, 0xe0) == 0x0fffffff && lapic_ack(s, 1) == 0x50);
	icr(0, 0x23u << 24, 0x860);
	CHECK(!intr[1]);
	icr(0, 9u << 24, 0x33); /* nobody */
	CHECK(!intr[1] && sig.n == 0);
	icr(0, 1u << 24, 0x400);
	CHECK(sig.n == 1 && sig.what == LAPIC_NMI && sig.cpu == 1);
	stop();
}

TEST(lapic_errors_are_latched_on_writing)
{
	start();
	on();
	put(0, 0x370, 0xfe);
	icr(0, 1u << 24, 5);
	CHECK(intr[1] == 0 && get(0, 0x280) == 0 && lapic_ack(s, 0) == 0xfe);
	put(0, 0x280, 0);
	CHECK(get(0, 0x280) == 0x20);
	put(0, 0x280, 0);
	CHECK(get(0, 0x280) == 0);
	put(0, 0x370, 3); /* an error entry that is an error itself */
	lapics_msi(s, 0xfee00000, 7);
	put(0, 0x280, 0);
	CHECK(get(0, 0x280) == 0x40);
	stop();
}

TEST(lapic_timer_counts_and_interrupts)
{
	start();
	on();
	put(0, 0x3e0, 3); /* 16 */
	put(0, 0x320, 0x10040);
	put(0, 0x380, 0xffffffff);
	ran = 160;
	CHECK(get(0, 0x390) == 0xffffffff - 10 && lapics_next(s) == UINT64_MAX);
	put(0, 0x3e0, 0xb); /* 1: what is left goes faster */
	CHECK(get(0, 0x390) == 0xffffffff - 10);
	ran = 161;
	CHECK(get(0, 0x390) == 0xffffffff - 11);
	ran = 160;
	put(0, 0x320, 0xec);
	put(0, 0x380, 100000);
	CHECK(lapics_next(s) == 100160);
	run_to(100159);
	CHECK(intr[0] == 0 && get(0, 0x390) == 1);
	run_to(100160);
	CHECK(intr[0] == 1 && lapic_ack(s, 0) == 0xec && get(0, 0x390) == 0);
	eoi(0);
	CHECK(lapics_next(s) == UINT64_MAX);
	put(0, 0x320, 0x200ec); /* periodic */
	put(0, 0x380, 1000000);
	unsigned n = 0;
	for (uint64_t end = ran + 10000000; ran < end;) {
		run_to(ran + 500000);
		for (; intr[0]; n++) {
			CHECK(lapic_ack(s, 0) == 0xec);
			eoi(0);
		}
	}
	CHECK(n == 10 && get(0, 0x390) == 1000000);
	put(0, 0x380, 0);
	CHECK(lapics_next(s) == UINT64_MAX && get(0, 0x390) == 0);
	put(0, 0x380, 10);
	put(0, 0xf0, 0xff); /* off: masked */
	CHECK(lapics_next(s) == UINT64_MAX && get(0, 0x320) == 0x300ec - 0x0);
	stop();
}

TEST(lapic_deadline)
{
	uint64_t v = 1;
	start();
	on();
	CHECK(lapic_msr_write(s, 1, 0x6e0, 77) && lapic_msr_read(s, 1, 0x6e0, &v) && v == 0);
	put(1, 0x320, 0x400ec);
	CHECK(lapic_msr_write(s, 1, 0x6e0, 5000) && lapics_next(s) == 2000);
	put(1, 0x380, 50); /* means nothing now */
	CHECK(get(1, 0x390) == 0 && get(1, 0x380) == 0);
	run_to(1999);
	CHECK(intr[1] == 0 && lapic_msr_read(s, 1, 0x6e0, &v) && v == 5000);
	run_to(2000);
	CHECK(intr[1] == 1 && lapic_msr_read(s, 1, 0x6e0, &v) && v == 0 && lapic_ack(s, 1) == 0xec);
	eoi(1);
	CHECK(lapic_msr_write(s, 1, 0x6e0, 1) && intr[1] == 1 && lapic_ack(s, 1) == 0xec);
	eoi(1);
	CHECK(lapic_msr_write(s, 1, 0x6e0, 9000) && lapic_msr_write(s, 1, 0x6e0, 0));
	CHECK(lapics_next(s) == UINT64_MAX);
	CHECK(lapic_msr_write(s, 1, 0x6e0, UINT64_MAX) && intr[1] == 0);
	put(1, 0x320, 0xec); /* another mode disarms */
	put(1, 0x320, 0x400ec);
	CHECK(lapic_msr_read(s, 1, 0x6e0, &v) && v == 0);
	put(1, 0x320, 0x500ec);
	CHECK(lapic_msr_write(s, 1, 0x6e0, 9000));
	run_to(5000); /* passed while masked: gone */
	put(1, 0x320, 0x400ec);
	CHECK(intr[1] == 0 && lapics_next(s) == UINT64_MAX);
	stop();
}

TEST(lapic_x2apic)
{
	uint64_t v = 0;
	start();
	CHECK(!lapic_msr_read(s, 2, 0x802, &v) && !lapic_base_set(s, 2, 0xfee00400));
	CHECK(lapic_base_set(s, 2, 0xfee00c00));
	CHECK(get(2, 0x20) == 0xffffffff); /* no page any more */
	CHECK(lapic_msr_read(s, 2, 0x802, &v) && v == 2);
	CHECK(lapic_msr_read(s, 2, 0x80d, &v) && v == 4);
	CHECK(!lapic_msr_write(s, 2, 0x802, 2) && !lapic_msr_write(s, 2, 0x80d, 0));
	CHECK(!lapic_msr_read(s, 2, 0x80e, &v) && !lapic_msr_read(s, 2, 0x80b, &v));
	CHECK(!lapic_msr_read(s, 2, 0x831, &v) && !lapic_msr_read(s, 2, 0x809, &v));
	CHECK(!lapic_msr_write(s, 2, 0x80b, 1) && lapic_msr_write(s, 2, 0x80b, 0));
	CHECK(!lapic_msr_write(s, 2, 0x808, 0x100) && !lapic_msr_write(s, 2, 0x828, 1));
	CHECK(lapic_msr_write(s, 2, 0x80f, 0x1ff));
	CHECK(lapic_msr_write(s, 2, 0x83f, 0x66) && intr[2] && lapic_ack(s, 2) == 0x66);
	CHECK(lapic_msr_read(s, 2, 0x813, &v) && v == 1 << 6);
	CHECK(lapic_msr_write(s, 2, 0x80b, 0));
	put(0, 0xf0, 0x1ff);
	CHECK(lapic_msr_write(s, 2, 0x830, 0x00000000000000fc) && intr[0]); /* physical 0 */
	CHECK(lapic_msr_read(s, 2, 0x830, &v) && v == 0xfc);
	put(0, 0xd0, 0);
	CHECK(lapic_msr_write(s, 2, 0x830, 0x4ull << 32 | 0x8fd) && intr[2]); /* logical: itself */
	CHECK(lapic_ack(s, 2) == 0xfd && lapic_ack(s, 0) == 0xfc);
	CHECK(lapic_msr_write(s, 2, 0x830, 0xffffffffull << 32 | 0x400) && sig.n == N);
	CHECK(!lapic_base_set(s, 2, 0xfee00800) && lapic_base(s, 2) == 0xfee00c00);
	CHECK(lapic_base_set(s, 2, 0xfee00000) && lapic_base(s, 2) == 0xfee00000);
	CHECK(!lapic_base_set(s, 2, 0xfee00c00) && lapic_base_set(s, 2, 0xfee00800));
	CHECK(get(2, 0xf0) == 0xff && get(2, 0x20) == 2u << 24);
	stop();
}

TEST(lapic_takes_the_pic_and_nmi)
{
	start();
	struct irq l0 = pic_line(pic, 7), l1 = lapics_lint(s, 1);
	static const uint8_t icw[][2] = {{0, 0x11}, {1, 0x70}, {1, 4}, {1, 3}, {1, 0}, {4, 0x80}};
	for (unsigned i = 0; i < COUNT(icw); i++) pic->ops->write(pic, icw[i][0], icw[i][1], 1);
	irq_set(l0, 1);
	CHECK(!intr[0] && !intr[1]);
	lapics_virtual_wire(s);
	CHECK(intr[0] && !intr[1] && lapic_ack(s, 0) == 0x77);
	irq_set(l0, 0);
	CHECK(!intr[0] && lapic_ack(s, 0) == -1);
	irq_set(l1, 1);
	CHECK(sig.n == 1 && sig.what == LAPIC_NMI && sig.cpu == 0);
	irq_set(l1, 1);
	CHECK(sig.n == 1);
	irq_set(l1, 0);
	put(1, 0xf0, 0x1ff);
	put(1, 0x350, 0x8700); /* SeaBIOS writes it so */
	irq_set(l0, 1);
	CHECK(intr[0] && intr[1]);
	put(0, 0x350, 0x10700);
	CHECK(!intr[0] && intr[1]);
	irq_set(l0, 0);
	put(0, 0x350, 0x55); /* fixed, edge */
	irq_set(l0, 1);
	CHECK(lapic_ack(s, 0) == 0x55);
	irq_set(l0, 0);
	CHECK(lapic_base_set(s, 2, 0xfee00000)); /* off: the pin is the CPU's own */
	irq_set(l0, 1);
	CHECK(intr[2]);
	stop();
}

TEST(ioapic_reset_state_and_registers)
{
	start();
	CHECK(io_get(1) == 0x00170020 && io_get(0) == 0);
	for (uint8_t i = 0; i < 24; i++)
		CHECK(io_get((uint8_t)(0x10 + 2 * i)) == 0x10000 &&
		      io_get((uint8_t)(0x11 + 2 * i)) == 0);
	io_put(0, 0xffffffff);
	CHECK(io_get(0) == 0x0f000000);
	io_put(1, 0);
	entry(23, 0xffffffff, 0xffffffff);
	CHECK(io_get(1) == 0x00170020 && io_get(0x3e) == 0x1afff && io_get(0x3f) == 0xff000000);
	io_put(0x40, 0xffffffff);
	CHECK(io_get(0x40) == 0 && io_get(3) == 0 && io_get(0xff) == 0);
	stop();
}

TEST(ioapic_edges)
{
	start();
	on();
	pin(4, 1);
	entry(4, 1u << 24, 0x34); /* up already: no edge */
	CHECK(!intr[1]);
	pin(4, 0);
	pin(4, 1);
	CHECK(intr[1] && lapic_ack(s, 1) == 0x34 && get(1, 0x190) == 0);
	pin(4, 1);
	eoi(1);
	CHECK(!intr[1]);
	entry(4, 1u << 24, 0x10034);
	pin(4, 0);
	pin(4, 1); /* masked: lost */
	entry(4, 1u << 24, 0x34);
	CHECK(!intr[1]);
	put(0, 0xd0, 1u << 24);
	entry(2, 1u << 24, 0x930); /* logical, lowest priority: the timer as Linux sets it up */
	pin(2, 1);
	CHECK(intr[0] && lapic_ack(s, 0) == 0x30);
	entry(3, 2u << 24, 0x400);
	pin(3, 1);
	CHECK(sig.n == 1 && sig.what == LAPIC_NMI && sig.cpu == 2);
	stop();
}

TEST(ioapic_levels_and_remote_irr)
{
	start();
	on();
	entry(16, 0, 0xa051); /* level, active low */
	pin(16, 1);
	CHECK(intr[0] && io_get(0x30) == 0xe051 && lapic_ack(s, 0) == 0x51);
	CHECK(get(0, 0x1a0) == 1 << 17);
	pin(16, 0);
	pin(16, 1);
	CHECK(!intr[0]); /* one at a time */
	eoi(0);
	CHECK(intr[0] && lapic_ack(s, 0) == 0x51 && io_get(0x30) == 0xe051);
	pin(16, 0);
	eoi(0);
	CHECK(!intr[0] && io_get(0x30) == 0xa051);
	pin(16, 1);
	CHECK(lapic_ack(s, 0) == 0x51);
	entry(16, 0, 0x1a051); /* masked while in service, as Linux does to threaded handlers */
	eoi(0);
	CHECK(!intr[0] && io_get(0x30) == 0x1a051);
	entry(16, 0, 0xa051);
	CHECK(intr[0] && lapic_ack(s, 0) == 0x51);
	bus_write(mmio, IOAPIC + 0x40, 0x51, 4);       /* directed EOI */
	CHECK(io_get(0x30) == 0xe051 && intr[0] == 0); /* sent again: waits behind itself */
	eoi(0);
	CHECK(intr[0]);
	entry(16, 0, 0x12051); /* made an edge: remote IRR is gone */
	CHECK(io_get(0x30) == 0x12051);
	stop();
}

TEST(ioapic_untaken_level_is_tried_again)
{
	start();
	entry(9, 0, 0x8052); /* the APIC is still off */
	pin(9, 1);
	CHECK(!intr[0] && io_get(0x22) == 0x8052);
	on();
	entry(9, 0, 0x8052);
	CHECK(intr[0] && io_get(0x22) == 0xc052);
	stop();
}

TEST(msi_addresses)
{
	start();
	on();
	CHECK(!lapics_send(s, 0xfed00000, 0x40) && !lapics_send(s, 0x1fee00000, 0x40));
	CHECK(lapics_send(s, 0xfee02000, 0x4040) && lapic_ack(s, 2) == 0x40);
	eoi(2);
	put(1, 0xd0, 2u << 24);
	put(2, 0xd0, 2u << 24);
	CHECK(lapics_send(s, 0xfee0200c, 0x41) && intr[1] && !intr[2]); /* one of a set */
	CHECK(lapics_send(s, 0xfeeff000, 0x42) && intr[0] && intr[2]);
	CHECK(!lapics_send(s, 0xfee07000, 0x42) && !lapics_send(s, 0xfee00000, 0x0f));
	CHECK(!lapics_send(s, 0xfee00000, 0x600) && sig.n == 0);
	stop();
}

TEST(lapic_timer_rings_on_the_loop)
{
	struct loop *l;
	vclock_init(&vclock, 1000000000);
	CHECK(loop_new(&l, NULL) == 0);
	start_on(l);
	put(1, 0xf0, 0x1ff);
	put(1, 0x3e0, 0xb);
	put(1, 0x320, 0xef);
	uint64_t at = vclock_ns(&vclock) + 2000000;
	put(1, 0x380, 2000000);
	CHECK(loop_run(l) == 7 && intr[1] && vclock_ns(&vclock) >= at && lapic_ack(s, 1) == 0xef);
	stop();
	loop_free(l);
}

TEST(attack_lapic_cannot_flood)
{
	unsigned calls = 0;
	start();
	on();
	put(0, 0x3e0, 0xb);
	put(0, 0x320, 0x200ec);
	put(0, 0x380, 1);
	for (; ran < 100000000; calls++) {
		CHECK(lapics_next(s) > ran);
		ran = lapics_next(s);
		lapics_tick(s);
	}
	CHECK(calls <= 2001);
	stop();
}

/* A device raises a level, CPU 0 serves it and tells CPU 1, which tells the device; each on a
 * thread, with messages in between. Were a wake-up lost they would wait for ever. */
enum { ROUNDS = 400, TO_SERVE = 0x51, TO_TELL = 0x62, NOISE = 0xa1 };
static _Atomic unsigned served, told, noise;
static void *cpu_run(void *which)
{
	unsigned cpu = which ? 1 : 0;
	while (told < ROUNDS) {
		int v = intr[cpu] ? lapic_ack(s, cpu) : -1;
		if (v == TO_SERVE) {
			pin(16, 0);
			served++;
		}
		if (v == TO_TELL) told++;
		if (v == NOISE) noise++;
		if (v >= 0) eoi(cpu);
		if (v == TO_SERVE) icr(cpu, 1u << 24, TO_TELL);
		if (v < 0) sched_yield();
	}
	return NULL;
}
static void *noise_run(void *ctx)
{
	for (unsigned i = 0; told < ROUNDS; i++) {
		lapics_msi(s, i & 1 ? 0xfee01000 : 0xfee00000, NOISE);
		sched_yield();
	}
	return ctx;
}

TEST(lapics_lose_nothing_between_threads)
{
	pthread_t t[3];
	start();
	on();
	served = told = noise = 0;
	entry(16, 0, 0x8000 | TO_SERVE);
	CHECK(pthread_create(&t[0], NULL, cpu_run, NULL) == 0);
	CHECK(pthread_create(&t[1], NULL, cpu_run, s) == 0);
	CHECK(pthread_create(&t[2], NULL, noise_run, NULL) == 0);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		pin(16, 1);
		while (told < i) sched_yield();
	}
	for (unsigned i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
	CHECK(served == ROUNDS && told == ROUNDS && noise > 0);
	stop();
}

/* A function's table may hold any address and any data: what is no local APIC's is nobody's. */
TEST(attack_msi_to_anywhere)
{
	static const uint64_t to[] = {0,	  0x1000,      IOAPIC,	   0xfedfffff, 0xfef00000,
				      0xffffffff, 0x1fee00000, 1ull << 63, UINT64_MAX, 0xfeefffff,
				      0xfee00004, 0xfeeff00c,  LAPIC};
	start();
	for (unsigned i = 0; i < COUNT(to); i++)
		for (uint32_t data = 0; data < 0x10000; data += 0x101) {
			lapics_msi(s, to[i], data);
			lapics_msi(s, to[i], data | 0xffff0000);
		}
	for (unsigned i = 0; i < N; i++) put(i, 0xf0, 0x1ff);
	for (unsigned i = 0; i < 9; i++) lapics_msi(s, to[i], 0x40);
	CHECK(!intr[0] && !intr[1] && !intr[2]);
	lapics_msi(s, LAPIC, 0x40);
	CHECK(intr[0]);
	stop();
}
