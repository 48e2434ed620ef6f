/* Whole instructions, run by an engine as a guest's are: the loop that qemu-user runs, in a
 * machine of a little memory and one hart. Only engine.h is used, so any engine will do. */
#include "base/counters.h"
#include "base/err.h"
#include "engine/engine.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include "hw/gmem.h"
#include "isa/rv64/fp_cases.h"
#include "isa/rv64/rv64.h"
#include "oracle_test.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRAM (ORACLE_CODE + 0x10000)
#define STACK	(ORACLE_CODE + 0x20000)
#define MEMORY	0x100000ull

static const struct engine_ops *ops;
static struct machine {
	struct gmem *mem;
	struct bus *mmio;
	struct vclock clock;
	struct engine *engine;
	struct vcpu *vcpu;
} m;

static void quit(const char *what)
{
	fprintf(stderr, "oracle: %s\n", what);
	exit(1);
}

static void load(const char *program)
{
	char *at = gmem_host(m.mem, PROGRAM, 4096);
	FILE *f = fopen(program, "rb");
	if (!f || !at || !fread(at, 1, 4096, f)) quit(program);
	fclose(f);
}

static void engine_open(const char *program)
{
	struct err e = {0};
	m.mem = gmem_new();
	m.mmio = bus_new("mmio");
	vclock_init(&m.clock, 10000000);
	if (gmem_add(m.mem, ORACLE_CODE, MEMORY, 0, &e) ||
	    gmem_add(m.mem, ORACLE_MEMORY, (sizeof(struct oracle_memory) | 4095) + 1, 0, &e))
		quit(e.msg);
	load(program);
	struct engine_env env = {.arch = ARCH_RV64,
				 .hot = 20,
				 .mem = m.mem,
				 .mmio = m.mmio,
				 .clock = &m.clock,
				 .sbi = true,
				 .max_satp = 8};
	if (ops->open(&m.engine, &env, &e) || ops->vcpu(&m.vcpu, m.engine, 0, &e)) quit(e.msg);
	ops->reset(m.vcpu);
}

static void interp_open(const char *program)
{
	ops = &engine_interp;
	engine_open(program);
}
static void jit_open(const char *program)
{
	ops = &engine_jit;
	engine_open(program);
}
static uint64_t jit_translated(void)
{
	struct counters all = {0};
	ops->stats(m.vcpu, &all);
	for (unsigned i = 0; i < all.n; i++)
		if (!strcmp(all.at[i].name, "units")) return all.at[i].value;
	return 0;
}

static void engine_close(void)
{
	ops->close(m.engine);
	bus_free(m.mmio);
	gmem_free(m.mem);
}

static void engine_run(size_t op, unsigned slot, struct oracle_slot *s)
{
	uint64_t at = ORACLE_MEMORY + offsetof(struct oracle_memory, slot[slot].c);
	size_t len = s->count * sizeof(s->c[0]);
	void *cases = gmem_ptr(m.mem, at, len, true);
	enum vcpu_exit why;
	(void)op;
	oracle_put(gmem_ptr(m.mem, ORACLE_CODE, 4096, true), s->word);
	memcpy(cases, s->c, len);
	ops->set(m.vcpu, REG_RV_X + 2, STACK);
	ops->set(m.vcpu, REG_RV_X + 10, at);
	ops->set(m.vcpu, REG_RV_X + 11, s->count);
	ops->set(m.vcpu, REG_RV_X + 12, ORACLE_CODE);
	ops->set(m.vcpu, REG_RV_PC, PROGRAM);
	while ((why = ops->run(m.vcpu)) == VCPU_KICKED) {
	}
	if (why != VCPU_SYSCALL) quit(why == VCPU_BROKEN ? ops->error(m.vcpu) : "unexpected exit");
	memcpy(s->c, cases, len);
}

/* Behind the table's instructions come classes: major opcodes with a bit or two wrong, so that
 * what is illegal is compared too. */
static const struct class
{
	const char *name;
	uint32_t opcode;
} classes[] = {
	{"any op-imm", 0x13}, {"any op-imm-32", 0x1b}, {"any op", 0x33},    {"any op-32", 0x3b},
	{"any op-fp", 0x53},  {"any fmadd", 0x43},     {"any fmsub", 0x47}, {"any fnmsub", 0x4b},
	{"any fnmadd", 0x4f}, {"any compressed", 0},
};
enum { TABLE = OP__max };

static bool has(const char *syntax, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = syntax; (p = strstr(p, word)); p++)
		if ((p == syntax || !isalpha(p[-1])) && !isalnum(p[n])) return true;
	return false;
}

static bool starts(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

/* What a program in user mode can do by itself: not sc, whose outcome is not only its own; not
 * cbo, which the oracle lacks. Vector instructions have a test of their own, vector.c. */
static bool is_computation(const struct rv64_info *i)
{
	static const char *const no[] = {"sfence", "sinval", "cbo.", "sc.", "v"};
	if (!strcmp(i->name, "fence.tso") || !strcmp(i->name, "pause")) return true;
	for (size_t k = 0; k < COUNT(no); k++)
		if (starts(i->name, no[k])) return false;
	return *i->syntax;
}

static uint8_t any_reg(uint64_t *rnd) { return (uint8_t)(12 + fp_rnd(rnd) % 4); }
static uint8_t any_rm(uint64_t *rnd)
{
	static const uint8_t mode[] = {0, 1, 2, 3, 4, 7, 7, 7, 7, 7};
	uint64_t r = fp_rnd(rnd);
	return r % 64 ? mode[r % COUNT(mode)] : r >> 8 & 7;
}

static void any_operands(struct rv64_insn *i, const char *syntax, uint64_t *rnd)
{
	uint64_t r = fp_rnd(rnd);
	*i = (struct rv64_insn){.rd = any_reg(rnd),
				.rs1 = any_reg(rnd),
				.rs2 = any_reg(rnd),
				.rs3 = any_reg(rnd),
				.rm = any_rm(rnd)};
	i->imm = r & 1 ? (int32_t)(r >> 32) : (int32_t)(r >> 32) % 33;
	if (r >> 1 & 1) i->rs1 = i->rd;
	if ((r >> 2 & 15) == 0 && has(syntax, "d")) i->rd = 0;
	if ((r >> 6 & 15) == 0 && has(syntax, "s")) i->rs1 = 0;
	if ((r >> 10 & 15) == 0 && has(syntax, "t")) i->rs2 = 0;
	if (has(syntax, "fli") || has(syntax, "uimm")) i->rs1 = r >> 14 & 31;
	if (has(syntax, "target")) i->imm = ORACLE_TARGET;
	if (strchr(syntax, '(')) { /* oracle.c aims x12 */
		i->rs1 = 12;
		i->imm = r >> 20 & 1 ? (int32_t)(r >> 24 & 31) - 16 : (int32_t)(r >> 24 & 3) * 8;
	}
	if (has(syntax, "csr")) i->imm = 1 + (int32_t)((r >> 20 & 15) % 3); /* fflags frm fcsr */
}

static uint32_t table_word(enum rv64_op op, uint64_t *rnd)
{
	const struct rv64_info *info = rv64_info(op);
	struct rv64_insn i;
	if (op == OP_illegal || !is_computation(info)) return 0;
	any_operands(&i, info->syntax, rnd);
	uint32_t word = rv64_encode(op, &i);
	rv64_decode(&i, word);
	uint16_t half = fp_rnd(rnd) & 1 ? rv64_compress(&i) : 0;
	return half ? half : word;
}

/* A register number that is none of x12..x15 must be x0, or not name a register at all. */
static bool stays_inside(const struct rv64_insn *i)
{
	const char *s = rv64_info(i->op)->syntax;
	if (strchr(s, '(')) return false;
	const struct {
		uint8_t reg;
		const char *x, *f;
	} use[] = {
		{i->rd, "d", "fd"}, {i->rs1, "s", "fs"}, {i->rs2, "t", "ft"}, {i->rs3, "u", "fu"}};
	for (size_t k = 0; k < COUNT(use); k++) {
		bool inside = use[k].reg >> 2 == 3;
		if (has(s, use[k].x) && !inside && use[k].reg) return false;
		if (has(s, use[k].f) && !inside) return false;
	}
	return !has(s, "target") || i->imm == ORACLE_TARGET;
}

/* An instruction of the table with this opcode, one of its fixed bits now and then wrong. */
static uint32_t near_miss(uint32_t opcode, uint64_t *rnd)
{
	for (;;) {
		uint32_t word = table_word((enum rv64_op)(fp_rnd(rnd) % OP__max), rnd);
		uint64_t r = fp_rnd(rnd);
		if ((word & 0x7f) == opcode)
			return r & 1 ? word ^ 1u << (12 + (r >> 1) % 20) : word;
	}
}

static uint32_t class_word(const struct class *c, uint64_t *rnd)
{
	for (;;) {
		struct rv64_insn i;
		uint32_t word = c->opcode ? near_miss(c->opcode, rnd) : fp_rnd(rnd) & 0xffff;
		if (!c->opcode && word % 4 == 3) continue;
		rv64_decode(&i, word);
		if (i.op == OP_illegal || (is_computation(rv64_info(i.op)) && stays_inside(&i)))
			return word;
	}
}

static uint32_t engine_word(size_t op, uint64_t *rnd)
{
	return op < TABLE ? table_word((enum rv64_op)op, rnd)
			  : class_word(&classes[op - TABLE], rnd);
}

static const char *engine_name(size_t op)
{
	return op < TABLE ? rv64_info((enum rv64_op)op)->name : classes[op - TABLE].name;
}

#define SUBJECT                                                                                    \
	.run = engine_run, .close = engine_close, .ops = TABLE + COUNT(classes),                   \
	.op_name = engine_name, .word = engine_word
const struct subject subject_interp = {
	.name = "interp", .open = interp_open, .batch = 250, SUBJECT};
/* Each word runs often enough to become hot, and then some hundred times more. */
const struct subject subject_jit = {
	.name = "jit", .open = jit_open, .batch = 1000, .translated = jit_translated, SUBJECT};
