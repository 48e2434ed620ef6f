/* A CPU's state between engines: the same guest of a few bytes on KVM and in software has the same
 * registers, and what the one had the other goes on with. Each is the other's oracle. Skipped aloud
 * where there is no /dev/kvm. */
#include "base/test.h"
#include "engine/kvm_code.h"
#include "engine/kvm_impl.h"
#include "engine/x86_engine.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R15 = 15 };
enum { RAM = 4 << 20, DONE = 0x80, DATA = 0x100000, HANDLER = 0xc000, REGISTERS = 1400 };
#define PARTS "v2,-invtsc,-x2apic,-tsc-deadline,-sse3,-ssse3,-sse4.1,-sse4.2,-popcnt,-rdtscp"

struct box {
	const struct engine_ops *ops;
	struct gmem *mem;
	struct bus *pio, *mmio;
	struct device done;
	struct vclock clock;
	struct x86_model model;
	struct engine *en;
	struct vcpu *cpu;
	uint64_t wrote;
};
struct regs {
	unsigned n;
	struct {
		unsigned reg;
		uint64_t val;
	} at[REGISTERS];
};

static uint64_t done_read(struct device *d, uint64_t off, unsigned len)
{
	return (void)d, (void)off, (void)len, 0;
}
static void done_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct box *b = container_of(d, struct box, done);
	(void)off, (void)len, b->wrote = val;
	b->ops->kick(b->cpu);
}
static const struct device_ops done_ops = {.name = "d", .read = done_read, .write = done_write};

static bool there(const char *test)
{
	const struct kvm_report *r = kvm_probe();
	bool is = r->state != KVM_ABSENT && r->state != KVM_DENIED;
	if (!is) (void)printf("SKIPPED %s: %s\n", test, r->what);
	return is;
}

static void box_free(struct box *b)
{
	b->ops->close(b->en);
	bus_free(b->pio);
	bus_free(b->mmio);
	device_done(&b->done);
	gmem_free(b->mem);
	free(b);
}

/* Without local APICs, which are the board's or KVM's. */
static struct box *box_new(const struct engine_ops *ops)
{
	struct box *b = calloc(1, sizeof(*b));
	struct err e = {0};
	must(b);
	b->ops = ops;
	b->mem = gmem_new();
	b->pio = bus_new("pio");
	b->mmio = bus_new("mmio");
	vclock_init(&b->clock, 1000000000);
	device_init(&b->done, &done_ops, "d");
	must(!x86_model_parse(&b->model, PARTS, &e));
	CHECK(!gmem_add(b->mem, 0, RAM, 0, &e) && !bus_map(b->pio, DONE, 1, &b->done, &e));
	struct engine_env env = {.arch = ARCH_X86_64,
				 .mem = b->mem,
				 .pio = b->pio,
				 .mmio = b->mmio,
				 .clock = &b->clock,
				 .cpus = 1,
				 .cpu = &b->model};
	int rc = ops->open(&b->en, &env, &e);
	if (!rc) rc = ops->vcpu(&b->cpu, b->en, 0, &e);
	if (rc) (void)printf("%s\n", e.msg);
	if (rc) return box_free(b), NULL;
	ops->reset(b->cpu);
	x86_tables(b->mem);
	CHECK(!x86_long_mode(ops, b->cpu, X86_CODE));
	return b;
}

static uint64_t get(struct box *b, unsigned reg)
{
	uint64_t v = 0;
	CHECK(!b->ops->get(b->cpu, reg, &v));
	return v;
}
static bool runs(struct box *b)
{
	b->wrote = 0;
	enum vcpu_exit x =
		b->ops == &engine_kvm ? kvm_run_for(b->cpu, 5000000000ull) : b->ops->run(b->cpu);
	bool good = x == VCPU_KICKED && b->wrote == 0x77;
	if (!good) (void)printf("%s: exit %d, %s\n", b->ops->name, x, b->ops->error(b->cpu));
	CHECK(good);
	return good;
}

static void take(struct box *b, struct regs *to)
{
	to->n = 0;
	for (const struct reg_range *r = engine_registers(ARCH_X86_64); r->n; r++)
		for (unsigned i = 0; i < r->n; i++) {
			must(to->n < REGISTERS);
			to->at[to->n].reg = r->first + i;
			to->n += !b->ops->get(b->cpu, r->first + i, &to->at[to->n].val);
		}
}
static void put(struct box *b, const struct regs *from)
{
	b->ops->reset(b->cpu);
	for (unsigned i = 0; i < from->n; i++) {
		uint64_t is = 0;
		int rc = b->ops->set(b->cpu, from->at[i].reg, from->at[i].val);
		if (rc) (void)b->ops->get(b->cpu, from->at[i].reg, &is);
		if (rc && is != from->at[i].val)
			(void)printf("%s: register %#x: %#llx refused\n", b->ops->name,
				     from->at[i].reg, (unsigned long long)from->at[i].val);
		CHECK(!rc || is == from->at[i].val);
	}
}

/* What is compared of a register's bits: time is another each time it is asked for; which MXCSR
 * bits there are, what an x87 saves of pointers, and what defences a CPU needs are the CPU's. */
static uint64_t compared(unsigned reg)
{
	enum { FPU_POINTERS = REG_X86_XSAVE + 1, MXCSR = REG_X86_XSAVE + 3 };
	switch (reg) {
	case REG_X86_PV_TSC:
	case REG_X86_PV_NS:
	case REG_X86_TSC:
	case REG_X86_MSR + 0x10a:
	case REG_X86_MSR + 0x1a0:
	case REG_X86_XSAVE + 64: /* parts not named are as after a reset, and are there so */
	case FPU_POINTERS:
	case FPU_POINTERS + 1: return 0;
	case MXCSR: return 0xffffffff;
	case REG_X86_SEG + 4 * 6 + SEG_LIMIT: /* of an LDT that is not there */
	case REG_X86_SEG + 4 * 6 + SEG_ACCESS: return 0;
	default: return ~0ull;
	}
}
/* Those that both have. */
static unsigned differ(const struct regs *a, const struct regs *b, const char *words)
{
	unsigned same = 0, n = 0;
	for (unsigned i = 0; i < a->n; i++)
		for (unsigned j = 0; j < b->n; j++) {
			if (a->at[i].reg != b->at[j].reg) continue;
			same++;
			uint64_t d = (a->at[i].val ^ b->at[j].val) & compared(a->at[i].reg);
			if (d)
				(void)printf("%s: register %#x: %#llx and %#llx\n", words,
					     a->at[i].reg, (unsigned long long)a->at[i].val,
					     (unsigned long long)b->at[j].val);
			n += d != 0;
		}
	CHECK(same > 200);
	return n;
}

static void wrmsr(struct x86_code *c, uint32_t index, uint64_t v)
{
	x86_mov(c, RCX, index);
	x86_mov(c, RAX, v & 0xffffffff);
	x86_mov(c, RDX, v >> 32);
	X86_EMIT(c, 0x0f, 0x30);
}
/* Something in each kind of register; then it stops, and goes on to say what it finds. */
static void program(struct box *b)
{
	struct x86_code c = {b->mem, X86_CODE};
	static const struct {
		uint32_t index;
		uint64_t val;
	} msrs[] = {{0x174, 0x10},
		    {0x175, 0xffff800000001000},
		    {0x176, 0xffff800000002000},
		    {0x277, 0x0407050600070106},
		    {0xc0000081, 0x0023001000000000},
		    {0xc0000082, 0xffffffff81234560},
		    {0xc0000084, 0x47700},
		    {0xc0000100, 0x123000},
		    {0xc0000101, DATA},
		    {0xc0000102, 0x456000},
		    {0x200, 0x6},
		    {0x201, 0xff00000800},
		    {0x2ff, 0xc06},
		    {0x250, 0x0606060606060606}};
	for (unsigned i = 0; i < COUNT(msrs); i++) wrmsr(&c, msrs[i].index, msrs[i].val);
	x86_mov(&c, RAX, 0x5000);
	X86_EMIT(&c, 0x0f, 0x22, 0xd0);			  /* mov cr2, rax */
	X86_EMIT(&c, 0x0f, 0x23, 0xc0, 0x0f, 0x23, 0xd8); /* mov dr0, rax; mov dr3, rax */
	X86_EMIT(&c, 0x0f, 0x20, 0xe0, 0x48, 0x83, 0xe0, 0x7f, 0x48, 0x0d, 0x20, 0x06, 0, 0);
	X86_EMIT(&c, 0x0f, 0x22, 0xe0); /* cr4 without PGE */
	X86_EMIT(&c, 0xdb, 0xe3);	/* fninit */
	x86_mov(&c, RSI, DATA);
	X86_EMIT(&c, 0x66, 0x0f, 0x6f, 0x06); /* movdqa xmm0, [rsi] */
	for (unsigned r = RBX; r <= R15; r++)
		if (r != RSP && r != RSI) x86_mov(&c, r, 0x1111111111111111ull * r + 5);
	x86_mov(&c, RAX, 0x77);
	X86_EMIT(&c, 0xf9, 0xfd); /* stc; std */
	X86_EMIT(&c, 0xe6, DONE);
	X86_EMIT(&c, 0x9c, 0x5a);		    /* pushfq; pop rdx: all flags are wanted */
	X86_EMIT(&c, 0x66, 0x0f, 0x7f, 0x46, 0x10); /* movdqa [rsi + 16], xmm0 */
	X86_EMIT(&c, 0x48, 0x11, 0xdb);		    /* adc rbx, rbx */
	X86_EMIT(&c, 0x65, 0x48, 0x8b, 0x3c, 0x25, 0, 0, 0, 0); /* mov rdi, gs:[0] */
	x86_mov(&c, RCX, 0xc0000082);
	X86_EMIT(&c, 0x0f, 0x32, 0x49, 0x89, 0xc0); /* rdmsr; mov r8, rax */
	X86_EMIT(&c, 0x0f, 0x20, 0xd5);		    /* mov rbp, cr2 */
	x86_out(&c, DONE, 0x77);
	memset(gmem_host(b->mem, DATA, 16), 0x3c, 16);
}
static void ends_well(struct box *b)
{
	if (!runs(b)) return;
	CHECK(get(b, RBX) == 2 * (0x3333333333333333ull + 5) + 1);
	CHECK(get(b, RDI) == 0x3c3c3c3c3c3c3c3c && get(b, R8) == 0x81234560);
	CHECK(get(b, RBP) == 0x5000 && get(b, R9) == 0x9999999999999999ull + 5);
	CHECK(!memcmp(gmem_host(b->mem, DATA, 16), gmem_host(b->mem, DATA + 16, 16), 16));
	CHECK(get(b, REG_X86_RFLAGS) >> 10 & 1);
}

static const struct engine_ops *const software[] = {&engine_x86_interp, &engine_x86_jit};

/* This KVM may not give what the model has. */
static struct box *kvm_box(const char *test)
{
	struct box *b = there(test) ? box_new(&engine_kvm) : NULL;
	return b;
}

TEST(kvm_state_is_what_software_says)
{
	struct regs mine, its;
	struct box *k = kvm_box(__func__);
	if (!k) return;
	program(k);
	if (runs(k)) {
		take(k, &its);
		for (unsigned i = 0; i < COUNT(software); i++) {
			struct box *s = box_new(software[i]);
			program(s);
			if (runs(s)) take(s, &mine);
			CHECK(!differ(&its, &mine, software[i]->name));
			box_free(s);
		}
	}
	box_free(k);
}

/* from runs the first half, to the second; what was put is what is got. */
static void moves(const struct engine_ops *from, const struct engine_ops *to)
{
	struct regs was, is;
	struct x86_leaf told[X86_LEAVES];
	struct err e = {0};
	struct box *a = box_new(from), *b = box_new(to);
	program(a);
	if (runs(a)) {
		CHECK(!to->be(b->en, told, from->told(a->en, told), &e));
		take(a, &was);
		memcpy(gmem_host(b->mem, 0, RAM), gmem_host(a->mem, 0, RAM), RAM);
		put(b, &was);
		take(b, &is);
		CHECK(!differ(&was, &is, to->name));
		ends_well(b);
	}
	box_free(a);
	box_free(b);
}
TEST(kvm_state_goes_both_ways)
{
	struct box *k = kvm_box(__func__);
	if (!k) return;
	box_free(k);
	moves(&engine_kvm, &engine_kvm);
	for (unsigned i = 0; i < COUNT(software); i++) {
		moves(&engine_kvm, software[i]);
		moves(software[i], &engine_kvm);
	}
}

/* An event that was cut short comes before the next instruction, on whichever engine. */
static void event_comes(const struct engine_ops *ops, unsigned reg, uint64_t val, bool code,
			uint64_t cr2)
{
	struct box *b = box_new(ops);
	struct x86_code c = {b->mem, X86_CODE}, h = {b->mem, HANDLER};
	x86_gate(b->mem, val & X86_EVENT_VECTOR, HANDLER, 0);
	X86_EMIT(&h, 0x48, 0x8b, 0x1c, 0x24); /* mov rbx, [rsp] */
	X86_EMIT(&h, 0x0f, 0x20, 0xd7);	      /* mov rdi, cr2 */
	x86_out(&h, DONE, 0x77);
	X86_EMIT(&c, 0x0f, 0x0b);
	CHECK(!ops->set(b->cpu, REG_X86_CR + 2, 0x4000));
	CHECK(!ops->set(b->cpu, reg, val));
	CHECK(get(b, reg) == val);
	if (runs(b)) {
		CHECK(get(b, RBX) == (code ? val >> 32 : X86_CODE));
		CHECK(get(b, RDI) == cr2 && get(b, reg) == 0);
	}
	box_free(b);
}
TEST(kvm_state_events_on_their_way)
{
	const uint64_t intr = 0x41 | X86_EVENT_INJECTED;
	const uint64_t fault = 14 | X86_EVENT_INJECTED | X86_EVENT_HAS_CODE | 2ull << 32;
	struct box *k = kvm_box(__func__);
	if (k) box_free(k);
	for (unsigned i = 0; i < COUNT(software) + (k != NULL); i++) {
		const struct engine_ops *ops = i < COUNT(software) ? software[i] : &engine_kvm;
		event_comes(ops, REG_X86_EVENT_INTERRUPT, intr, false, 0x4000);
		event_comes(ops, REG_X86_EVENT_EXCEPTION, fault, true, 0x4000);
	}
}

TEST(kvm_state_time_stands_and_goes_on)
{
	const uint64_t AHEAD = 1000000000000;
	struct box *k = kvm_box(__func__);
	if (!k) return;
	uint64_t was = get(k, REG_X86_TSC);
	CHECK(get(k, REG_X86_TSC) == was);
	CHECK(!k->ops->set(k->cpu, REG_X86_TSC, was + AHEAD));
	CHECK(!k->ops->set(k->cpu, REG_X86_PV_TSC, was));
	CHECK(!k->ops->set(k->cpu, REG_X86_PV_NS, 5000));
	struct x86_code c = {k->mem, X86_CODE};
	X86_EMIT(&c, 0x0f, 0x31); /* rdtsc */
	X86_EMIT(&c, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xc2, 0x48, 0x89, 0xd3);
	x86_out(&c, DONE, 0x77); /* rbx */
	if (runs(k)) {
		uint64_t tsc = get(k, RBX) - was, ns = get(k, REG_X86_PV_NS);
		uint64_t per_us = k->en->tsc_khz / 1000;
		if (tsc < AHEAD)
			(void)printf("SKIPPED %s: its guests have the host's counter\n", __func__);
		else /* as much has passed by KVM's clock, and what was spent meanwhile */
			CHECK(ns / 1000 > AHEAD / per_us / 10 * 9 &&
			      ns / 1000 < 2 * AHEAD / per_us);
	}
	box_free(k);
}

TEST(kvm_state_another_cpu_is_refused)
{
	struct x86_leaf told[X86_LEAVES], own[X86_LEAVES];
	struct err e = {0};
	struct box *s = box_new(&engine_x86_interp), *k = kvm_box(__func__);
	unsigned n = s->ops->told(s->en, told);
	CHECK(!s->ops->be(s->en, told, n, &e));
	for (unsigned i = 0; i < n; i++)
		if (told[i].leaf == 7 && !told[i].index) told[i].out[1] |= 1u << 14; /* MPX */
	CHECK(s->ops->be(s->en, told, n, &e) == -ENOTSUP && strstr(e.msg, "cpuid 7.0 ebx[14]"));
	CHECK(!k || (k->ops->be(k->en, told, n, &e) == -ENOTSUP && strstr(e.msg, "ebx[14]")));
	CHECK(s->ops->told(s->en, own) == n); /* and what it was it still is */
	told[0].out[1] ^= 1;
	CHECK(s->ops->be(s->en, told, n, &e) == -ENOTSUP && strstr(e.msg, "--cpu v3"));
	CHECK(s->ops->be(s->en, told, 0, &e) == -ENOTSUP);
	if (k) box_free(k);
	box_free(s);
}
