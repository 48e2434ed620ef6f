/* Every device: put into any state by any accesses, saved, loaded into a twin and saved again,
 * which must make the same bytes; and what is cut or made up must be refused and do no harm. */
#include "base/buf.h"
#include "base/chr.h"
#include "base/loop.h"
#include "base/state.h"
#include "base/test.h"
#include "base/types.h"
#include "dev/pc.h"
#include "hw/clock.h"
#include "hw/gmem.h"
#include <stdlib.h>
#include <string.h>

enum { ACCESSES = 400, ROUNDS = 30 };
static struct loop *loop;
static struct gmem *mem;
static struct chr chr;
static struct vclock clock_;
static uint64_t seed;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}
static void on_line(void *ctl, unsigned line, int level) { (void)ctl, (void)line, (void)level; }
static bool on_send(void *ctx, uint64_t addr, uint32_t data)
{
	return (void)ctx, (void)addr, (void)data, true;
}
static size_t on_output(void *host, const uint8_t *p, size_t n)
{
	return (void)host, (void)p, n > 3 ? 3 : 0;
}
static void on_reset(void *ctx) { (void)ctx; }
static uint64_t on_tsc(void *ctx, unsigned cpu, uint64_t tsc) { return (void)ctx, (void)cpu, tsc; }
static const struct irq wire = {on_line, NULL, 0};

static struct device *make_uart(void)
{
	struct device *d;
	CHECK(!uart_new(&d, "uart0", wire, &chr, NULL));
	return d;
}
static struct device *make_rtc(void)
{
	struct device *d;
	CHECK(!rtc_new(&d, "rtc0", wire, loop, NULL));
	return d;
}
static struct device *make_plic(void)
{
	struct device *d;
	const struct irq to[4] = {wire, wire, wire, wire};
	CHECK(!plic_new(&d, 95, to, 4, NULL));
	return d;
}
static struct device *make_clint(void)
{
	struct device *d;
	const struct irq to[2] = {wire, wire};
	CHECK(!clint_new(&d, 2, to, to, &clock_, loop, NULL));
	return d;
}
static struct device *make_pic(void)
{
	struct device *d;
	CHECK(!pic_new(&d, wire, NULL));
	return d;
}
static struct device *make_pit(void)
{
	struct device *d;
	CHECK(!pit_new(&d, wire, &clock_, loop, NULL));
	return d;
}
static struct device *make_cmos(void)
{
	struct device *d;
	CHECK(!cmos_new(&d, wire, &clock_, loop, NULL));
	return d;
}
static struct device *make_i8042(void)
{
	struct device *d;
	const struct i8042_to to = {wire, on_reset, NULL, NULL};
	CHECK(!i8042_new(&d, &to, NULL));
	return d;
}
static struct device *make_ioapic(void)
{
	struct device *d;
	const struct ioapic_to to = {on_send, NULL, NULL};
	CHECK(!ioapic_new(&d, &to, NULL));
	return d;
}
static struct device *make_pm(void)
{
	struct device *d;
	CHECK(!acpi_pm_new(&d, wire, on_reset, NULL, &clock_, loop, NULL));
	return d;
}
static struct device *make_fw_cfg(void)
{
	struct device *d;
	CHECK(!fw_cfg_new(&d, mem, NULL));
	fw_cfg_file(d, "etc/x", "0123456789", 10);
	return d;
}
static struct device *make_conf1(void)
{
	struct device *d;
	CHECK(!conf1_new(&d, NULL, on_reset, NULL, NULL));
	return d;
}
static struct device *make_sink(void)
{
	struct device *d;
	CHECK(!sink_new(&d, "post", -1, NULL, NULL, NULL));
	return d;
}

static const struct maker {
	struct device *(*make)(void);
	uint64_t span;
	struct irq (*line)(struct device *d, unsigned n);
	unsigned first, lines;
} makers[] = {
	{make_uart, 8, NULL, 0, 0},
	{make_rtc, 0x24, NULL, 0, 0},
	{make_plic, 0x204000, plic_line, 1, 95},
	{make_clint, 0xc000, NULL, 0, 0},
	{make_pic, 6, pic_line, 0, 16},
	{make_pit, 5, NULL, 0, 0},
	{make_cmos, 2, NULL, 0, 0},
	{make_i8042, 3, NULL, 0, 0},
	{make_ioapic, 0x44, ioapic_line, 0, IOAPIC_PINS},
	{make_pm, ACPI_PM_PORTS, NULL, 0, 0},
	{make_fw_cfg, 12, NULL, 0, 0},
	{make_conf1, 8, NULL, 0, 0},
	{make_sink, 1, NULL, 0, 0},
};

static void begin(void)
{
	seed = 88172645463325252u;
	chr.output = on_output;
	mem = gmem_new();
	CHECK(!gmem_add(mem, 0, 1 * MIB, 0, NULL) && !loop_new(&loop, NULL));
	vclock_init(&clock_, 1000000000);
	vclock_stop(&clock_);
	vclock_set(&clock_, 123456789);
}
static void end(void)
{
	loop_free(loop);
	gmem_free(mem);
}

static void stir(struct device *d, const struct maker *m)
{
	for (unsigned i = 0; i < ACCESSES; i++) {
		unsigned len = 1u << any() % 3;
		uint64_t off = any() % m->span / len * len;
		if (m->lines && !(any() & 7))
			irq_set(m->line(d, m->first + (unsigned)(any() % m->lines)), any() & 1);
		device_lock(d);
		if (any() & 1)
			d->ops->write(d, off, len == 4 ? (uint32_t)any() : any() & 0xff, len);
		else if (d->ops->read)
			(void)d->ops->read(d, off, len);
		device_unlock(d);
		if (!(any() & 63)) vclock_set(&clock_, vclock_ns(&clock_) + any() % 100000000);
	}
}

static int load(struct device *d, const char *at, size_t n, struct err *e)
{
	auto_buf struct buf b = {0};
	buf_add(&b, at, n);
	struct state s = {.b = &b, .loading = true};
	d->ops->state(d, &s);
	return state_end(&s, e);
}
static void save(struct device *d, struct buf *to)
{
	struct state s = {.b = to};
	d->ops->state(d, &s);
	CHECK(!state_end(&s, NULL));
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && !memcmp(a->at, b->at, a->len);
}

TEST(state_of_chips_comes_back_the_same)
{
	begin();
	for (const struct maker *m = makers; m < makers + COUNT(makers); m++)
		for (unsigned k = 0; k < ROUNDS; k++) {
			struct device *d = m->make(), *twin = m->make();
			auto_buf struct buf a = {0}, b = {0}, c = {0};
			struct err e = {0};
			stir(d, m);
			stir(twin, m); /* what it was leaves nothing behind */
			save(d, &a);
			if (load(twin, a.at, a.len, &e)) test_fail(e.msg, d->id, (int)k);
			save(twin, &b);
			save(d, &c); /* nor has saving changed anything */
			CHECK(same(&a, &b) && same(&a, &c));
			device_free(d);
			device_free(twin);
		}
	end();
}

TEST(state_of_chips_cut_or_made_up)
{
	begin();
	for (const struct maker *m = makers; m < makers + COUNT(makers); m++) {
		struct device *d = m->make(), *twin = m->make();
		auto_buf struct buf a = {0};
		stir(d, m);
		save(d, &a);
		for (size_t n = 0; n < a.len; n += 1 + n / 50) CHECK(load(twin, a.at, n, NULL) < 0);
		for (unsigned k = 0; k < 300; k++) {
			size_t at = any() % a.len;
			a.at[at] ^= (char)(any() | 1);
			(void)load(twin, a.at, a.len, NULL);
			if (k % 10 == 0) stir(twin, m);
		}
		device_free(d);
		device_free(twin);
	}
	end();
}

TEST(state_of_local_apics)
{
	const struct lapic_env env = {
		.intr = wire, .tsc_ns = on_tsc, .clock = &clock_, .loop = NULL};
	struct lapics *from, *to;
	begin();
	struct lapic_env with = env;
	with.loop = loop;
	for (unsigned k = 0; k < ROUNDS; k++) {
		auto_buf struct buf a = {0}, b = {0};
		struct state s = {.b = &a}, t = {.b = &b}, l = {.b = &a, .loading = true};
		CHECK(!lapics_new(&from, 2, &with, NULL) && !lapics_new(&to, 2, &with, NULL));
		for (unsigned i = 0; i < ACCESSES; i++) {
			struct device *d = lapic_page(from, any() & 1);
			if (!(any() & 15))
				(void)lapics_send(from, 0xfee00000 | (any() & 0x1000),
						  any() & 0xff);
			if (!(any() & 31)) (void)lapic_ack(from, any() & 1);
			if (!(any() & 31)) irq_set(lapics_lint(from, any() & 1), any() & 1);
			device_lock(d);
			d->ops->write(d, any() % 0x40 * 16, (uint32_t)any(), 4);
			device_unlock(d);
		}
		lapics_state(from, &s);
		lapics_state(to, &l);
		CHECK(!state_end(&l, NULL));
		lapics_state(to, &t);
		CHECK(same(&a, &b));
		for (unsigned i = 0; i < 200; i++) {
			struct state bad = {.b = &a, .loading = true};
			a.at[any() % a.len] ^= (char)(any() | 1);
			a.pos = 0;
			lapics_state(to, &bad);
			lapics_tick(to);
		}
		lapics_free(from);
		lapics_free(to);
	}
	end();
}
