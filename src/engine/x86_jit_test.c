/* Random instructions through the translator and through the interpreter: all registers, flags and
 * memory must come out the same. The interpreter has the host's own CPU as its oracle. */
#include "base/test.h"
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_vcpu.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include "hw/gmem.h"
#include "isa/x86/random_test.h"
#include "isa/x86/x86.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	RAM = 4 << 20,
	TABLES = 0x1000,
	IDT = 0x5000,
	GDT = 0x6000,
	HANDLERS = 0x7000,
	STACK = 0x20000,
	CODE = 0x100000,
	DATA = 0x200000,
	DATA_LEN = 0x4000,
	STOP_PORT = 0xf4,
};
struct side {
	struct device stop;
	struct gmem *mem;
	struct bus *mmio, *pio;
	struct vclock clock;
	struct x86_machine machine;
	struct x86_vcpu *v;
	uint64_t told;
};
static uint64_t stop_read(struct device *d, uint64_t off, unsigned len)
{
	(void)d, (void)off, (void)len;
	return 0;
}
static void stop_write(struct device *d, uint64_t off, uint64_t val, unsigned len)
{
	struct side *s = container_of(d, struct side, stop);
	(void)off, (void)len;
	s->told = val;
	x86_poke(s->v, X86_POLL_KICK);
}
static uint8_t *at(struct side *s, gpa_t a) { return gmem_host(s->mem, a, 1); }
static void put(struct side *s, gpa_t a, uint64_t val) { memcpy(at(s, a), &val, 8); }

/* Long mode, flat, the first GiB mapped onto itself; every exception comes to a handler that tells
 * its vector. */
static void set_up(struct side *s)
{
	static const struct x86_segreg code = {.limit = ~0u,
					       .access = SEG_S | SEG_CODE | SEG_RW | SEG_A | SEG_P |
							 SEG_L | SEG_G,
					       .sel = 8};
	static const struct x86_segreg data = {
		.limit = ~0u, .access = SEG_S | SEG_RW | SEG_A | SEG_P | SEG_DB | SEG_G, .sel = 16};
	struct x86_vcpu *v = s->v;
	put(s, TABLES, TABLES + 0x1000 + 3);
	put(s, TABLES + 0x1000, TABLES + 0x2000 + 3);
	put(s, TABLES + 0x2000, TABLES + 0x3000 + 3); /* the first 2 MiB in small pages */
	for (unsigned k = 1; k < 512; k++)
		put(s, TABLES + 0x2000 + 8 * k, (uint64_t)k << 21 | 0x83);
	for (unsigned k = 0; k < 512; k++) put(s, TABLES + 0x3000 + 8 * k, (uint64_t)k << 12 | 3);
	put(s, GDT + 8, 0x00af9b000000ffff);
	put(s, GDT + 16, 0x00cf93000000ffff);
	for (unsigned k = 0; k < 32; k++) {
		uint64_t to = HANDLERS + 16 * k;
		put(s, IDT + 16 * k, (to & 0xffff) | 8 << 16 | 0x8e00ull << 32 | (to >> 16) << 48);
		put(s, IDT + 16 * k + 8, 0);
		const uint8_t code_of[] = {0xb0, (uint8_t)k, 0xe6, STOP_PORT,
					   0xf4}; /* mov al; out; hlt */
		memcpy(at(s, to), code_of, sizeof(code_of));
	}
	x86_vcpu_reset(v, false);
	v->cr3 = TABLES;
	v->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET;
	v->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	v->efer = EFER_LME | EFER_LMA | EFER_NXE;
	v->long_mode = true;
	v->xcr0 = X86_XCR0;
	v->seg[X86_CS] = code;
	for (unsigned k = 0; k < 6; k++)
		if (k != X86_CS) v->seg[k] = data;
	v->gdt.base = GDT, v->gdt.limit = 23;
	v->idt.base = IDT, v->idt.limit = 511;
	x86_mode_update(v);
	x86_tlb_flush(v, true);
}
static void side_new(struct side *s, bool jit, enum x86_jit_mode mode)
{
	static const struct device_ops ops = {
		.name = "stop", .read = stop_read, .write = stop_write};
	*s = (struct side){0};
	device_init(&s->stop, &ops, "stop");
	s->mem = gmem_new();
	s->mmio = bus_new("mmio");
	s->pio = bus_new("pio");
	vclock_init(&s->clock, 1000000000);
	must(!gmem_add(s->mem, 0, RAM, 0, NULL));
	must(!bus_map(s->pio, STOP_PORT, 1, &s->stop, NULL));
	s->machine.env = (struct engine_env){.arch = ARCH_X86_64,
					     .mem = s->mem,
					     .mmio = s->mmio,
					     .pio = s->pio,
					     .clock = &s->clock};
	x86_machine_init(&s->machine);
	if (jit) {
		s->machine.code_pages = RAM / X86_PAGE;
		s->machine.code = calloc(RAM / X86_PAGE, 1);
	}
	s->v = x86_vcpu_new(&s->machine, 0);
	must(s->v);
	if (jit) must(!x86_jit_new(s->v, 4 << 20, mode, NULL));
	set_up(s);
}
static void side_free(struct side *s)
{
	x86_vcpu_free(s->v);
	bus_free(s->mmio);
	bus_free(s->pio);
	gmem_free(s->mem);
	free((void *)s->machine.code);
	device_done(&s->stop);
}
/* May a random instruction be let loose? It keeps to the data, the stack pointer is left alone. */
static bool is_tame(const struct x86_insn *in, bool vectors)
{
	const struct x86_op_info *info = x86_op_info(in->op);
	bool vec = false;
	for (unsigned k = 0; k < in->operands; k++) {
		const struct x86_operand *o = &in->o[k];
		vec |= o->kind > X86_DR;
		if (o->kind == X86_SI || o->kind == X86_DI || o->kind == X86_SEG) return false;
		if (o->kind == X86_REG && o->reg == 4 && info->writes_o >> k & 1) return false;
	}
	if (vec != vectors || in->rep || (!vec && in->op >= X86_OP_rdrand)) return false;
	if (in->op >= X86_OP_vpgatherdd && in->op <= X86_OP_vgatherqpd) return false;
	if (in->has_mem && (in->base == X86_RIP || in->seg == X86_FS || in->seg == X86_GS))
		return false;
	bool narrow = in->osize == 2; /* what these do is undefined */
	if (narrow && (in->op == X86_OP_bswap || in->op == X86_OP_shld || in->op == X86_OP_shrd))
		return false;
	switch (in->op) {
	case X86_OP_jmp:
	case X86_OP_jmpi:
	case X86_OP_call:
	case X86_OP_calli:
	case X86_OP_ret:
	case X86_OP_jcc:
	case X86_OP_loop:
	case X86_OP_loope:
	case X86_OP_loopne:
	case X86_OP_jcxz:
	case X86_OP_popf:
	case X86_OP_enter:
	case X86_OP_leave:
	case X86_OP_xlat:
	case X86_OP_std:
	case X86_OP_ldmxcsr:
	case X86_OP_vldmxcsr: return false;
	default: return true;
	}
}
struct program {
	uint8_t code[4096];
	unsigned n;
	uint16_t step[256]; /* where instructions end */
	unsigned steps;
};
static void mov_const(struct program *p, unsigned reg, uint64_t val)
{
	p->code[p->n++] = (uint8_t)(0x48 | reg >> 3);
	p->code[p->n++] = (uint8_t)(0xb8 | (reg & 7));
	memcpy(p->code + p->n, &val, 8);
	p->n += 8;
}
/* Registers that make the memory operand lie in the data. */
static bool aim(struct program *p, const struct x86_insn *in)
{
	uint64_t to = DATA + (next() % (DATA_LEN - 64)), index = next() & 63;
	bool bits = in->op >= X86_OP_bt && in->op <= X86_OP_btc && in->o[1].kind == X86_REG;
	if (!in->has_mem) return true;
	if (in->base > 15 || in->base == 4 || in->base == in->index || in->index == 4) return false;
	if (bits && (in->o[1].reg == in->base || in->o[1].reg == 4)) return false;
	if (next() & 1) to &= ~31ull;
	if (in->index > 15) index = 0;
	mov_const(p, in->base, to - (uint64_t)in->disp - index * in->scale);
	if (in->index < 16) mov_const(p, in->index, index);
	if (bits) mov_const(p, in->o[1].reg, next() & 0x1ff);
	return true;
}
static void end_at(struct program *p, unsigned n)
{
	static const uint8_t end[] = {0xb0, 0xff, 0xe6, STOP_PORT, 0xf4};
	memcpy(p->code + n, end, sizeof(end));
	p->n = n + sizeof(end);
}
/* Flags whose values manuals leave open, behind in, if `open` are before it. */
static unsigned open_behind(const struct x86_insn *in, unsigned open)
{
	const struct x86_op_info *info = x86_op_info(in->op);
	if (in->op >= X86_OP_shl && in->op <= X86_OP_shrd) /* by counts of 0, of 2, of too much */
		return open | X86_OF | X86_AF | X86_CF;
	return (open & ~(unsigned)info->writes) | info->undefines;
}
/* Their number, or 0 if none of the 16 conditions is known. */
static unsigned condition(unsigned open)
{
	static const uint16_t reads[8] = {
		X86_OF, X86_CF, X86_ZF,		 X86_CF | X86_ZF,
		X86_SF, X86_PF, X86_SF | X86_OF, X86_ZF | X86_SF | X86_OF};
	for (unsigned k = 0; k < 16; k++) {
		unsigned cc = (unsigned)next() & 15;
		if (!(reads[cc >> 1] & open)) return cc;
	}
	return 16;
}
static unsigned make(struct program *p, unsigned count, bool vectors)
{
	unsigned open = 0, cc;
	p->n = p->steps = 0;
	for (unsigned k = 0; k < 16; k++)
		if (k != 4) mov_const(p, k, next() >> (next() & 63));
	for (unsigned done = 0; done < count;) {
		uint8_t bytes[32] = {0};
		struct x86_insn in;
		unsigned form = (unsigned)(next() % x86_form_count());
		unsigned len = x86_form_bytes(form, X86_64, bytes, next);
		if (!len || x86_decode(&in, bytes, 16, X86_64) != X86_OK || !is_tame(&in, vectors))
			continue;
		if (x86_op_info(in.op)->reads & open || !aim(p, &in)) continue;
		memcpy(p->code + p->n, bytes, in.len);
		p->n += in.len;
		done++;
		p->step[p->steps++] = (uint16_t)p->n;
		open = open_behind(&in, open);
		if (next() % 4 == 0 && (cc = condition(open)) < 16) { /* over a mov: jcc +10 */
			p->code[p->n++] = (uint8_t)(0x70 | cc);
			p->code[p->n++] = 10;
			mov_const(p, (unsigned)next() % 4, next());
		}
	}
	end_at(p, p->n);
	return open;
}
static void begin(struct side *s, const struct program *p, uint64_t from)
{
	struct x86_vcpu *v = s->v;
	v->cpu.rip = CODE;
	v->cpu.flags = 2;
	memset(v->cpu.r, 0, sizeof(v->cpu.r));
	v->cpu.r[4] = STACK;
	v->activity = X86_RUNNING;
	v->reset_asked = false;
	atomic_store(&v->poll, 0);
	x86_vector_reset(v, false);
	v->x.bytes[512] = 7; /* all parts in use */
	s->told = 0;
	seed = from;
	for (unsigned k = 0; k < DATA_LEN; k += 8) put(s, DATA + k, next() & (next() | next()));
	for (unsigned k = 0; k < 0x200; k += 8) put(s, STACK - 0x100 + k, k);
	memcpy(at(s, CODE), p->code, p->n);
	x86_wrote(v, CODE, p->n);
	for (unsigned k = 160; k < 416; k += 8) memcpy(v->x.bytes + k, &(uint64_t){next()}, 8);
	for (unsigned k = 576; k < 832; k += 8) memcpy(v->x.bytes + k, &(uint64_t){next()}, 8);
}
static bool same_memory(struct side *a, struct side *b, gpa_t from, size_t len)
{
	return !memcmp(at(a, from), at(b, from), len);
}
static bool same(struct side *a, struct side *b, unsigned open)
{
	uint64_t mask = a->told == 0xff ? ~(uint64_t)open : ~(uint64_t)X86_ARITH;
	bool good = !memcmp(a->v->cpu.r, b->v->cpu.r, sizeof(a->v->cpu.r)) &&
		    a->v->cpu.rip == b->v->cpu.rip && a->told == b->told &&
		    !((a->v->cpu.flags ^ b->v->cpu.flags) & mask) &&
		    same_memory(a, b, DATA, DATA_LEN) &&
		    !memcmp(a->v->x.bytes + 24, b->v->x.bytes + 24, 4) &&
		    !memcmp(a->v->x.bytes + 160, b->v->x.bytes + 160, 256) &&
		    !memcmp(a->v->x.bytes + 576, b->v->x.bytes + 576, 256);
	return good && (a->told != 0xff || same_memory(a, b, STACK - 0x100, 0x200));
}
/* After a fault the flags that nobody would have read are anything. */
/* The instruction after which they differ. */
static void explain(struct side *a, struct side *b, struct program *p, uint64_t from)
{
	struct program q = *p;
	for (unsigned k = 0; k < p->steps; k++) {
		q = *p;
		end_at(&q, p->step[k]);
		begin(a, &q, from);
		begin(b, &q, from);
		(void)x86_vcpu_run(a->v);
		(void)x86_vcpu_run(b->v);
		if (same(a, b, X86_ARITH)) continue;
		fprintf(stderr, " before %#x:", p->step[k]);
		for (unsigned n = k ? p->step[k - 1] : 0; n < p->step[k]; n++)
			fprintf(stderr, " %02x", p->code[n]);
		fprintf(stderr, "\n told %#lx %#lx\n", a->told, b->told);
		for (unsigned n = 0; n < 16; n++)
			if (a->v->cpu.r[n] != b->v->cpu.r[n])
				fprintf(stderr, " r%u %#lx %#lx\n", n, a->v->cpu.r[n],
					b->v->cpu.r[n]);
		return;
	}
}
static void random_programs(bool vectors, enum x86_jit_mode mode)
{
	const char *count = getenv("RANDOM_COUNT"), *first = getenv("RANDOM_SEED");
	unsigned long n = count ? strtoul(count, NULL, 0) : 400;
	uint64_t from = first ? strtoul(first, NULL, 0) : vectors ? 1 << 20 : 1;
	struct side interp, jit;
	struct program p;
	side_new(&interp, false, mode);
	side_new(&jit, true, mode);
	for (; n-- && !jit.v->broken; from++) {
		seed = from;
		unsigned open = make(&p, 24, vectors);
		begin(&interp, &p, from);
		begin(&jit, &p, from);
		(void)x86_vcpu_run(interp.v);
		(void)x86_vcpu_run(jit.v);
		bool good = same(&interp, &jit, open) && !jit.v->broken;
		if (mode != X86_JIT_FAST) good &= interp.v->n == jit.v->n;
		if (jit.v->broken) fprintf(stderr, "%s\n", jit.v->broken);
		if (!good) fprintf(stderr, "seed %#lx:\n", from), explain(&interp, &jit, &p, from);
		CHECK(good);
	}
	side_free(&interp);
	side_free(&jit);
}
TEST(x86_jit_random_integers) { random_programs(false, X86_JIT_FAST); }
TEST(x86_jit_random_vectors) { random_programs(true, X86_JIT_FAST); }
TEST(x86_jit_random_integers_counted) { random_programs(false, X86_JIT_COUNT); }
TEST(x86_jit_random_integers_in_lockstep) { random_programs(false, X86_JIT_CHECK); }
TEST(x86_jit_random_vectors_in_lockstep) { random_programs(true, X86_JIT_CHECK); }

/* The first three times interpreted, up to a jump, then in blocks; in both ways within one run, as
 * what has loops is. */
TEST(x86_jit_random_on_trial)
{
	enum { TRIALS = 3, PROGRAMS = 100 };
	struct side interp, jit;
	struct program p;
	uint64_t units = 0;
	side_new(&interp, false, X86_JIT_FAST);
	side_new(&jit, true, X86_JIT_FAST);
	jit.machine.env.trials = TRIALS;
	for (uint64_t from = 1 << 21; from < (1 << 21) + PROGRAMS; from++) {
		seed = from;
		unsigned open = make(&p, 24, from & 1);
		memset(jit.v->jit->tried, 0, sizeof(jit.v->jit->tried));
		for (unsigned k = 0; k <= TRIALS; k++) {
			begin(&interp, &p, from);
			begin(&jit, &p, from);
			uint64_t before = jit.v->stats[X86_STAT_UNITS];
			(void)x86_vcpu_run(interp.v);
			(void)x86_vcpu_run(jit.v);
			CHECK(same(&interp, &jit, open) && !jit.v->broken);
			if (k == TRIALS) units += jit.v->stats[X86_STAT_UNITS] > before;
			if (!k) CHECK(jit.v->stats[X86_STAT_ALONE] > 0);
		}
	}
	CHECK(units == PROGRAMS);
	side_free(&interp);
	side_free(&jit);
}
