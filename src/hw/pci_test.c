/* Config space, BARs, wires and messages from the guest's side. */
#include "base/test.h"
#include "hw/pci.h"
#include "hw/pci_rig_test.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct toy { /* a function with a 32-bit BAR 0 and a 64-bit BAR 4 */
	struct pci_func f;
	struct device low, high;
	unsigned resets;
};
static uint64_t toy_low(struct device *d, uint64_t off, unsigned len)
{
	(void)d;
	(void)len;
	return 0x1000 + off;
}
static uint64_t toy_high(struct device *d, uint64_t off, unsigned len)
{
	(void)d;
	(void)len;
	return 0x2000 + off;
}
static void toy_ignore(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	(void)d;
	(void)off;
	(void)val;
	(void)len;
}
static const struct device_ops low_ops = {"low", toy_low, toy_ignore, 0, 0, 0, 0, 0};
static const struct device_ops high_ops = {"high", toy_high, toy_ignore, 0, 0, 0, 0, 0};
static void toy_reset(struct pci_func *f) { ((struct toy *)f)->resets++; }
static void toy_free(struct pci_func *f)
{
	pci_func_done(f);
	free(f);
}
static const struct pci_func_ops toy_ops = {.name = "toy", .reset = toy_reset, .free = toy_free};

static struct toy *toy_add(struct pci_rig *r, int slot, bool msix)
{
	struct toy *t = calloc(1, sizeof(*t));
	must(t);
	device_init(&t->low, &low_ops, "low");
	device_init(&t->high, &high_ops, "high");
	pci_func_init(&t->f, &toy_ops, 0x1234, 0x5678, 0xff000001, 0x1111, 0x2222);
	pci_add_bar(&t->f, 0, &t->low, 0x1000, false);
	pci_add_bar(&t->f, 4, &t->high, 0x4000, true);
	if (msix) pci_add_msix(&t->f, 1, 3);
	CHECK(pci_plug(r->h, &t->f, slot, NULL) == 0);
	return t;
}
enum { MSIX = RIG_MEM32 + 0x2000, PBA = MSIX + 0x800, CONTROL = 2 };
static void toy_map(struct pci_rig *r, unsigned slot)
{
	pci_set(r, slot, 0x10, RIG_MEM32, 4);
	pci_set(r, slot, 0x14, MSIX, 4);
	pci_set(r, slot, 0x20, RIG_MEM64, 8);
	pci_set(r, slot, 4, 2, 2);
}

TEST(pci_bridge_and_empty_slots)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	CHECK(pci_cfg(&r, 0, 0, 4) == 0x00081b36 && pci_cfg(&r, 0, 10, 2) == 0x0600);
	CHECK(pci_cfg(&r, 1, 0, 4) == 0xffffffff && pci_cfg(&r, 31, 0, 2) == 0xffff);
	CHECK(pci_cfg(&r, 0, 0x1000, 4) == 0xffffffff); /* function 1 */
	CHECK(pci_cfg(&r, 0, 0xffc, 8) == UINT64_MAX);	/* over the end */
	CHECK(pci_cfg(&r, 0, 0xffc, 4) == 0);
	pci_set(&r, 5, 4, 7, 2);
	pci_rig_done(&r);
}
TEST(pci_slots)
{
	struct pci_rig r;
	struct pci_func f = {.ops = &toy_ops};
	pci_rig_init(&r, false);
	CHECK(toy_add(&r, 3, false)->f.slot == 3);
	CHECK(toy_add(&r, -1, false)->f.slot == 1);
	CHECK(toy_add(&r, -1, false)->f.slot == 2);
	CHECK(toy_add(&r, -1, false)->f.slot == 4);
	CHECK(pci_plug(r.h, &f, 3, NULL) == -EEXIST && pci_plug(r.h, &f, 32, NULL) == -EEXIST);
	for (int i = 5; i < 32; i++) (void)toy_add(&r, -1, false);
	CHECK(pci_plug(r.h, &f, -1, NULL) == -ENOSPC);
	pci_rig_done(&r);
}
TEST(attack_8_config_access_of_every_size)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	(void)toy_add(&r, 1, false);
	CHECK(pci_cfg(&r, 1, 0, 1) == 0x34 && pci_cfg(&r, 1, 1, 1) == 0x12);
	CHECK(pci_cfg(&r, 1, 1, 2) == 0x7812 && pci_cfg(&r, 1, 3, 4) == 0x00000056);
	CHECK(pci_cfg(&r, 1, 0, 8) == 0x56781234);
	for (unsigned len = 1; len <= 8; len *= 2)
		for (unsigned off = 0; off < 4100; off++) {
			pci_set(&r, 1, off, ~0ull, len);
			(void)pci_cfg(&r, 1, off, len);
		}
	CHECK(pci_cfg(&r, 1, 0, 4) == 0x56781234 && pci_cfg(&r, 1, 0x2c, 4) == 0x22221111);
	CHECK(pci_cfg(&r, 1, 8, 4) == 0xff000001 && pci_cfg(&r, 1, 4, 2) == 0x0546);
	pci_rig_done(&r);
}
TEST(pci_bar_sizing)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	(void)toy_add(&r, 1, false);
	for (unsigned off = 0x10; off < 0x34; off += 4) pci_set(&r, 1, off, 0xffffffff, 4);
	CHECK(pci_cfg(&r, 1, 0x10, 4) == 0xfffff000);
	CHECK(pci_cfg(&r, 1, 0x14, 4) == 0 && pci_cfg(&r, 1, 0x1c, 4) == 0);
	CHECK(pci_cfg(&r, 1, 0x20, 4) == 0xffffc004 && pci_cfg(&r, 1, 0x24, 4) == 0xffffffff);
	CHECK(pci_cfg(&r, 1, 0x30, 4) == 0); /* no expansion ROM */
	pci_rig_done(&r);
}
TEST(pci_bar_answers_where_it_was_put)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	(void)toy_add(&r, 1, false);
	toy_map(&r, 1);
	CHECK(bus_read(r.bus, RIG_MEM32 + 0x10, 4) == 0x1010);
	CHECK(bus_read(r.bus, RIG_MEM64 + 0x20, 4) == 0x2020);
	CHECK(bus_read(r.bus, RIG_MEM32 + 0x1000, 4) == 0xffffffff);
	pci_set(&r, 1, 4, 0, 2); /* memory off */
	CHECK(bus_read(r.bus, RIG_MEM32 + 0x10, 4) == 0xffffffff);
	CHECK(bus_read(r.bus, RIG_MEM64 + 0x20, 4) == 0xffffffff);
	pci_rig_done(&r);
}
TEST(attack_8_bar_moved_while_active)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	(void)toy_add(&r, 1, false);
	toy_map(&r, 1);
	pci_set(&r, 1, 0x10, RIG_MEM32 + 0x5000, 4);
	CHECK(bus_read(r.bus, RIG_MEM32, 4) == 0xffffffff);
	CHECK(bus_read(r.bus, RIG_MEM32 + 0x5000, 4) == 0x1000);
	pci_set(&r, 1, 0x24, 5, 4); /* one half, then the other */
	CHECK(bus_read(r.bus, RIG_MEM64, 4) == 0xffffffff);
	pci_set(&r, 1, 0x20, 0x8000, 4);
	CHECK(bus_read(r.bus, RIG_MEM64, 4) == 0xffffffff);
	pci_set(&r, 1, 0x24, RIG_MEM64 >> 32, 4);
	CHECK(bus_read(r.bus, RIG_MEM64 + 0x8004, 4) == 0x2004);
	pci_set(&r, 1, 0x13, 0xff, 1); /* a byte of it */
	CHECK(bus_read(r.bus, RIG_MEM32 + 0x5000, 4) == 0xffffffff);
	pci_rig_done(&r);
}
TEST(attack_8_bar_outside_its_windows)
{
	struct pci_rig r;
	uint64_t at[] = {
		0, 0x10000000, RIG_ECAM, RIG_MEM32 - 0x1000, RIG_MEM32 + RIG_MEM32_LEN, 0xfffff000};
	pci_rig_init(&r, false);
	(void)toy_add(&r, 1, false);
	toy_map(&r, 1);
	for (unsigned i = 0; i < COUNT(at); i++) {
		uint64_t was = bus_read(r.bus, at[i], 4);
		pci_set(&r, 1, 0x10, at[i], 4);
		CHECK(bus_read(r.bus, at[i], 4) == was);
	}
	pci_set(&r, 1, 0x20, ~0ull, 8);
	CHECK(bus_read(r.bus, 0xffffffffffffc000, 4) == 0xffffffff);
	pci_set(&r, 1, 0x20, RIG_MEM32 + RIG_MEM32_LEN - 0x4000, 8); /* 64-bit BAR, low window */
	CHECK(bus_read(r.bus, RIG_MEM32 + RIG_MEM32_LEN - 4, 4) == 0x5ffc);
	pci_rig_done(&r);
}
TEST(attack_8_bars_on_top_of_each_other)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	(void)toy_add(&r, 1, false);
	(void)toy_add(&r, 2, false);
	toy_map(&r, 1);
	toy_map(&r, 2);
	pci_set(&r, 2, 0x20, RIG_MEM32, 8);
	CHECK(bus_read(r.bus, RIG_MEM32, 4) == 0x1000); /* the first stays */
	pci_set(&r, 1, 0x10, RIG_MEM32 + 0x10000, 4);
	CHECK(bus_read(r.bus, RIG_MEM32 + 0x10000, 4) == 0x1000);
	CHECK(bus_read(r.bus, RIG_MEM32, 4) != 0xffffffff); /* and another moves in */
	pci_set(&r, 1, 4, 0, 2);
	pci_set(&r, 2, 4, 0, 2);
	CHECK(bus_read(r.bus, RIG_MEM32, 4) == 0xffffffff);
	CHECK(bus_read(r.bus, RIG_MEM64, 4) == 0xffffffff);
	pci_rig_done(&r);
}
struct mover {
	struct pci_rig r;
	atomic_bool stop;
};
static void *mover_run(void *ctx)
{
	struct mover *m = ctx;
	for (unsigned i = 0; i < 5000; i++) pci_set(&m->r, 1, 0x10, RIG_MEM32 + i % 5 * 0x1000, 4);
	atomic_store(&m->stop, true);
	return NULL;
}
TEST(attack_8_bar_moved_by_another_hart)
{
	struct mover m = {0};
	pthread_t t;
	unsigned bad = 0;
	pci_rig_init(&m.r, false);
	(void)toy_add(&m.r, 1, false);
	toy_map(&m.r, 1);
	CHECK(pthread_create(&t, NULL, mover_run, &m) == 0);
	while (!atomic_load(&m.stop)) {
		uint64_t v = bus_read(m.r.bus, RIG_MEM32 + 0x2008, 4);
		bad += v != 0x1008 && v != 0xffffffff;
		bad += bus_read(m.r.bus, RIG_MEM64, 4) != 0x2000;
	}
	(void)pthread_join(t, NULL);
	CHECK(!bad);
	pci_rig_done(&m.r);
}

TEST(pci_intx_lines_are_shared)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	struct toy *a = toy_add(&r, 1, false), *b = toy_add(&r, 5, false);
	CHECK(pci_cfg(&r, 1, 0x3d, 1) == 1);
	pci_intx(&a->f, 1);
	CHECK(r.line[1] == 1 && r.edges == 1);
	pci_intx(&b->f, 1);
	pci_intx(&b->f, 1);
	pci_intx(&a->f, 0);
	CHECK(r.line[1] == 1 && r.edges == 1);
	pci_intx(&b->f, 0);
	CHECK(r.line[1] == 0 && r.edges == 2);
	pci_rig_done(&r);
}
TEST(pci_intx_disable_and_status)
{
	struct pci_rig r;
	pci_rig_init(&r, false);
	struct toy *a = toy_add(&r, 2, false);
	CHECK(!(pci_cfg(&r, 2, 6, 2) & 8));
	pci_set(&r, 2, 4, 0x400, 2);
	pci_intx(&a->f, 1);
	CHECK(r.line[2] == 0 && pci_cfg(&r, 2, 6, 2) & 8);
	CHECK(pci_cfg(&r, 2, 4, 4) >> 16 & 8);
	pci_set(&r, 2, 4, 0, 2);
	CHECK(r.line[2] == 1);
	pci_set(&r, 2, 5, 4, 1);
	CHECK(r.line[2] == 0);
	pci_set(&r, 2, 4, 0, 2);
	pci_host_reset(r.h);
	CHECK(r.line[2] == 0 && !(pci_cfg(&r, 2, 6, 2) & 8) && a->resets == 1);
	pci_rig_done(&r);
}

static void msix_on(struct pci_rig *r, struct toy **t)
{
	pci_rig_init(r, true);
	*t = toy_add(r, 1, true);
	toy_map(r, 1);
	unsigned cap = pci_find_cap(r, 1, 0x11, 0);
	CHECK(cap && cap % 4 == 0);
	CHECK(pci_cfg(r, 1, cap + CONTROL, 2) == 2); /* N - 1 */
	CHECK(pci_cfg(r, 1, cap + 4, 4) == 1 && pci_cfg(r, 1, cap + 8, 4) == 0x801);
	pci_set(r, 1, cap + CONTROL, 0x8000, 2);
	for (uint64_t v = 0; v < 3; v++) {
		CHECK(bus_read(r->bus, MSIX + v * 16 + 12, 4) == 1); /* masked at reset */
		bus_write(r->bus, MSIX + v * 16, 0x28000000 + v * 0x1000, 8);
		bus_write(r->bus, MSIX + v * 16 + 8, 100 + v, 4);
		bus_write(r->bus, MSIX + v * 16 + 12, 0, 4);
	}
}
TEST(msix_sends_its_message)
{
	struct pci_rig r;
	struct toy *t;
	msix_on(&r, &t);
	pci_msix_send(&t->f, 2);
	CHECK(r.sent == 1 && r.addr == 0x28002000 && r.data == 102);
	pci_intx(&t->f, 1); /* the pin is dead while messages are on */
	CHECK(r.line[1] == 0);
	pci_rig_done(&r);
}
TEST(attack_8_msix_entry_out_of_range)
{
	struct pci_rig r;
	struct toy *t;
	msix_on(&r, &t);
	pci_msix_send(&t->f, 3);
	pci_msix_send(&t->f, 0xffff);
	CHECK(r.sent == 0);
	bus_write(r.bus, MSIX + 3 * 16, ~0ull, 8);
	CHECK(bus_read(r.bus, MSIX + 3 * 16, 8) == 0);
	for (unsigned len = 1; len <= 8; len *= 2)
		for (uint64_t off = 0; off + len <= 4096; off++) {
			bus_write(r.bus, MSIX + off, ~0ull, len);
			(void)bus_read(r.bus, MSIX + off, len);
		}
	CHECK(bus_read(r.bus, MSIX + 12, 4) == 1 && bus_read(r.bus, PBA, 8) == 0);
	CHECK(r.sent == 0);
	pci_rig_done(&r);
}
TEST(attack_8_msix_masked_is_pending)
{
	struct pci_rig r;
	struct toy *t;
	msix_on(&r, &t);
	bus_write(r.bus, MSIX + 16 + 12, 1, 4);
	for (int i = 0; i < 100000; i++) pci_msix_send(&t->f, 1); /* attack 9: one is one */
	CHECK(r.sent == 0 && bus_read(r.bus, PBA, 4) == 2);
	bus_write(r.bus, PBA, 0, 4); /* read-only */
	CHECK(bus_read(r.bus, PBA, 4) == 2);
	bus_write(r.bus, MSIX + 16 + 12, 0, 4);
	CHECK(r.sent == 1 && r.data == 101 && bus_read(r.bus, PBA, 4) == 0);
	bus_write(r.bus, MSIX + 16 + 12, 0, 1);
	CHECK(r.sent == 1);
	pci_rig_done(&r);
}
TEST(attack_8_msix_function_mask_and_disable)
{
	struct pci_rig r;
	struct toy *t;
	msix_on(&r, &t);
	unsigned cap = pci_find_cap(&r, 1, 0x11, 0);
	pci_set(&r, 1, cap + CONTROL, 0xc000, 2);
	pci_msix_send(&t->f, 0);
	CHECK(r.sent == 0 && bus_read(r.bus, PBA, 1) == 1);
	pci_set(&r, 1, cap + CONTROL, 0x8000, 2);
	CHECK(r.sent == 1 && r.data == 100);
	pci_set(&r, 1, cap + CONTROL, 0, 2);
	pci_msix_send(&t->f, 0);
	CHECK(r.sent == 1 && !pci_msix_on(&t->f) && bus_read(r.bus, PBA, 1) == 0);
	pci_rig_done(&r);
}
TEST(attack_8_msix_pending_while_off)
{
	struct pci_rig r;
	struct toy *t;
	msix_on(&r, &t);
	unsigned cap = pci_find_cap(&r, 1, 0x11, 0);
	bus_write(r.bus, MSIX + 12, 1, 4);
	pci_msix_send(&t->f, 0);
	pci_set(&r, 1, cap + CONTROL, 0, 2);
	bus_write(r.bus, MSIX + 12, 0, 4);
	CHECK(r.sent == 0);
	pci_set(&r, 1, cap + CONTROL, 0x8000, 2);
	CHECK(r.sent == 1 && r.data == 100);
	pci_rig_done(&r);
}
TEST(pci_reset_is_power_on)
{
	struct pci_rig r;
	struct toy *t;
	msix_on(&r, &t);
	pci_set(&r, 1, 0x3c, 77, 1);
	pci_host_reset(r.h);
	CHECK(!pci_msix_on(&t->f) && t->resets == 1);
	CHECK(pci_cfg(&r, 1, 4, 2) == 0 && pci_cfg(&r, 1, 0x10, 4) == 0 &&
	      pci_cfg(&r, 1, 0x3c, 1) == 0);
	CHECK(pci_cfg(&r, 1, 0x20, 4) == 4 && pci_cfg(&r, 1, 0, 4) == 0x56781234);
	CHECK(bus_read(r.bus, RIG_MEM32, 4) == 0xffffffff);
	toy_map(&r, 1);
	CHECK(bus_read(r.bus, MSIX + 12, 4) == 1 && bus_read(r.bus, MSIX, 8) == 0);
	pci_rig_done(&r);
}
TEST(pci_free_takes_null) { pci_host_free(NULL); }
