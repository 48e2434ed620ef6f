/* States that no chip, function or CPU has ever been in: good ones, some bytes of which are others.
 * What is loaded of them must leave something that can be used; the rest must be refused. Input:
 * which one, then bytes to be changed and where, then accesses. */
#include "base/buf.h"
#include "base/chr.h"
#include "base/state.h"
#include "dev/pc.h"
#include "engine/x86_rig.h"
#include <stdlib.h>

enum { CHIPS = 11, STEPS = 64 };
static struct gmem *mem;
static struct chr chr;
static struct vclock ticks;

static void on_line(void *ctl, unsigned line, int level)
{
	(void)ctl, (void)line;
	must(level == 0 || level == 1);
}
static bool on_send(void *ctx, uint64_t addr, uint32_t data)
{
	return (void)ctx, (void)addr, (void)data, true;
}
static size_t on_output(void *host, const uint8_t *p, size_t n)
{
	return (void)host, (void)p, n / 2;
}
static void on_reset(void *ctx) { (void)ctx; }
static const struct irq wire = {on_line, NULL, 0};

static struct device *chip(unsigned n)
{
	static const struct irq four[4] = {
		{on_line, NULL, 0}, {on_line, NULL, 0}, {on_line, NULL, 0}, {on_line, NULL, 0}};
	const struct i8042_to keys = {wire, on_reset, NULL, NULL};
	const struct ioapic_to to = {on_send, NULL, NULL};
	struct device *d = NULL;
	switch (n) {
	case 0: must(!uart_new(&d, "uart0", wire, &chr, NULL)); break;
	case 1: must(!plic_new(&d, 95, four, 4, NULL)); break;
	case 2: must(!pic_new(&d, wire, NULL)); break;
	case 3: must(!pit_new(&d, wire, &ticks, NULL, NULL)); break;
	case 4: must(!cmos_new(&d, wire, &ticks, NULL, NULL)); break;
	case 5: must(!i8042_new(&d, &keys, NULL)); break;
	case 6: must(!ioapic_new(&d, &to, NULL)); break;
	case 7: must(!acpi_pm_new(&d, wire, on_reset, NULL, &ticks, NULL, NULL)); break;
	case 8: must(!fw_cfg_new(&d, mem, NULL)); break;
	case 9: must(!conf1_new(&d, NULL, on_reset, NULL, NULL)); break;
	default: must(!sink_new(&d, "post", -1, NULL, NULL, NULL));
	}
	return d;
}

static const uint64_t span[CHIPS] = {8, 0x203000, 6, 5, 2, 3, 0x44, 12, 12, 8, 1};

struct input {
	const uint8_t *p;
	size_t n;
};
static uint64_t take(struct input *in, unsigned len)
{
	uint64_t v = 0;
	if (in->n < len) return in->n = 0;
	memcpy(&v, in->p, len);
	in->p += len;
	in->n -= len;
	return v;
}

static void change(struct buf *b, struct input *in)
{
	for (uint64_t k = take(in, 1) % 16; k && b->len; k--) {
		uint64_t at = take(in, 2);
		b->at[at % b->len] = (char)take(in, 1);
	}
}

static void use(struct device *d, unsigned n, struct input *in)
{
	for (unsigned i = 0; i < STEPS && in->n; i++) {
		uint64_t what = take(in, 1), off = take(in, 4) % span[n];
		unsigned len = n == 1 || n == 6 ? 4 : 1;
		off = off / len * len;
		if (what & 1)
			d->ops->write(d, off, take(in, len), len);
		else if (d->ops->read)
			(void)d->ops->read(d, off, len);
		vclock_set(&ticks, vclock_ns(&ticks) + (what >> 1) * 10000000);
		if (n == 3) pit_tick(d);
		if (n == 4) cmos_tick(d);
		if (n == 7) acpi_pm_tick(d);
	}
}

static void chips(struct input *in)
{
	unsigned n = (unsigned)take(in, 1) % CHIPS;
	struct device *from = chip(n), *to = chip(n);
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, load = {.b = &b, .loading = true};
	use(from, n, in);
	from->ops->state(from, &out);
	change(&b, in);
	to->ops->state(to, &load);
	(void)state_end(&load, NULL);
	use(to, n, in);
	if (to->ops->resume) to->ops->resume(to);
	device_free(from);
	device_free(to);
}

static uint64_t on_tsc(void *ctx, unsigned cpu, uint64_t tsc) { return (void)ctx, (void)cpu, tsc; }

static void local_apics(struct input *in)
{
	const struct lapic_env env = {
		.intr = wire, .clock = &ticks, .tsc_ns = take(in, 1) & 1 ? on_tsc : NULL};
	struct lapics *s;
	auto_buf struct buf b = {0};
	struct state out = {.b = &b}, load = {.b = &b, .loading = true};
	must(!lapics_new(&s, 2, &env, NULL));
	lapics_state(s, &out);
	change(&b, in);
	lapics_state(s, &load);
	for (unsigned i = 0; i < STEPS && in->n; i++) {
		uint64_t what = take(in, 1), v = take(in, 4);
		struct device *d = lapic_page(s, what & 1);
		if (what & 2) d->ops->write(d, what >> 2 << 4, v, 4);
		if (what & 4) (void)lapic_ack(s, what & 1);
		vclock_set(&ticks, vclock_ns(&ticks) + (what << 20));
		lapics_tick(s);
		lapics_resume(s);
	}
	lapics_free(s);
}

static unsigned nth(const struct reg_range *r, uint64_t n)
{
	uint64_t all = 0;
	for (const struct reg_range *k = r; k->n; k++) all += k->n;
	for (n %= all; n >= r->n; r++) n -= r->n;
	return r->first + (unsigned)n;
}

/* Registers as they were, some of them others; then what is at rip. */
static void cpu(struct input *in)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	unsigned mode = (unsigned)take(in, 1) % 4;
	if (mode < 3) x86_rig_flat(r, (enum x86_mode)mode, 0);
	for (uint64_t k = take(in, 1) % 24; k; k--) {
		unsigned reg = nth(engine_registers(ARCH_X86_64), take(in, 2));
		(void)x86_vcpu_set(v, reg, take(in, take(in, 1) & 1 ? 8 : 2));
	}
	if (x86_is_possible(v)) {
		r->at = 0x8000;
		x86_rig_bytes(r, in->p, in->n > 256 ? 256 : in->n);
		for (unsigned i = 0; i < STEPS && !v->reset_asked && !v->broken; i++) {
			v->activity = X86_RUNNING;
			x86_step(v);
		}
	}
	x86_rig_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct input in = {p, n};
	if (!mem) {
		mem = gmem_new();
		must(!gmem_add(mem, 0, 1 * MIB, 0, NULL));
		chr.output = on_output;
		vclock_init(&ticks, 1000000000);
		vclock_stop(&ticks);
	}
	switch (take(&in, 1) % 4) {
	case 0: cpu(&in); break;
	case 1: local_apics(&in); break;
	default: chips(&in);
	}
	return 0;
}
