/* Vector instructions against another implementation: vector GUEST PROGRAM MEMORY CASES SEED
 * QEMU... As oracle.c does for scalar ones: the same loop runs under QEMU and on an engine, here
 * with all vector state in a case. Operands gather at the corners, registers at the bounds of
 * groups, vtype takes every value; so most of what is reserved is met, too. */
#include "vector.h"
#include "base/err.h"
#include "engine/engine.h"
#include "hw/bus.h"
#include "hw/clock.h"
#include "hw/gmem.h"
#include "isa/rv64/fp_cases.h"
#include "isa/rv64/rv64.h"
#include "vector_test.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM (ORACLE_CODE + 0x10000)
#define STACK	(ORACLE_CODE + 0x20000)
#define MEMORY	0x100000ull
enum { SHOWN = 2, BASE = 512 };

static const struct engine_ops *const engines[] = {&engine_interp, &engine_jit}, *ops;
static struct {
	struct vector_memory *theirs; /* the oracle's */
	struct vector_slot before[ORACLE_SLOTS], ours[ORACLE_SLOTS];
	int to, from;
	pid_t pid;
	unsigned sent, done;
	uint64_t rnd;
	unsigned long compared, passed, failed;
	struct gmem *mem;
	struct bus *mmio;
	struct vclock clock;
	struct engine *engine;
	struct vcpu *vcpu;
} o;

struct tally {
	enum rv64_op op;
	unsigned long ok, bad, legal, formula, excused;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- the two sides ---- */
static void oracle_start(char **argv, const char *memory)
{
	int to[2], from[2], fd = open(memory, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*o.theirs))) die(memory);
	o.theirs = mmap(0, sizeof(*o.theirs), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (o.theirs == MAP_FAILED || pipe(to) || pipe(from)) die("oracle");
	close(fd);
	o.pid = fork();
	if (o.pid < 0) die("fork");
	if (!o.pid) {
		dup2(to[0], 0), dup2(from[1], 1);
		close(to[1]), close(from[0]);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	close(to[0]), close(from[1]);
	o.to = to[1], o.from = from[0];
}

static void engine_start(const char *program)
{
	struct err e = {0};
	o.mem = gmem_new();
	o.mmio = bus_new("mmio");
	vclock_init(&o.clock, 10000000);
	if (gmem_add(o.mem, ORACLE_CODE, MEMORY, 0, &e) ||
	    gmem_add(o.mem, ORACLE_MEMORY, (sizeof(struct vector_memory) | 4095) + 1, 0, &e))
		die(e.msg);
	FILE *f = fopen(program, "rb");
	if (!f || !fread(gmem_host(o.mem, PROGRAM, 4096), 1, 4096, f)) die(program);
	fclose(f);
	struct engine_env env = {.arch = ARCH_RV64,
				 .hot = 20,
				 .mem = o.mem,
				 .mmio = o.mmio,
				 .clock = &o.clock,
				 .sbi = true,
				 .max_satp = 8};
	if (ops->open(&o.engine, &env, &e) || ops->vcpu(&o.vcpu, o.engine, 0, &e)) die(e.msg);
	ops->reset(o.vcpu);
}

static void engine_run(unsigned slot, struct vector_slot *s)
{
	uint64_t at = ORACLE_MEMORY + offsetof(struct vector_memory, slot[slot].c);
	void *cases = gmem_ptr(o.mem, at, sizeof(s->c), true);
	oracle_put(gmem_ptr(o.mem, ORACLE_CODE, 4096, true), (uint32_t)s->word);
	memcpy(cases, s->c, sizeof(s->c));
	ops->set(o.vcpu, REG_RV_X + 2, STACK);
	ops->set(o.vcpu, REG_RV_X + 10, at);
	ops->set(o.vcpu, REG_RV_X + 11, VECTOR_CASES);
	ops->set(o.vcpu, REG_RV_X + 12, ORACLE_CODE);
	ops->set(o.vcpu, REG_RV_PC, PROGRAM);
	if (ops->run(o.vcpu) != VCPU_SYSCALL) die("unexpected exit");
	memcpy(s->c, cases, sizeof(s->c));
}

/* ---- instructions ---- */
static bool has(const char *syntax, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = syntax; (p = strstr(p, word)); p++)
		if ((p == syntax || !isalpha(p[-1])) && !isalnum(p[n])) return true;
	return false;
}
static uint64_t rnd(uint64_t below) { return (fp_rnd(&o.rnd) >> 16) % below; }

static uint8_t any_vector(void)
{
	unsigned r = (unsigned)rnd(32);
	static const unsigned align[] = {8, 8, 4, 4, 2, 1};
	return (uint8_t)(r - r % align[rnd(COUNT(align))]);
}
static uint8_t any_scalar(const char *syntax, const char *x)
{
	return has(syntax, x) && !rnd(16) ? 0 : (uint8_t)(12 + rnd(4));
}
static int32_t any_vtype(void)
{
	static const uint8_t lmul[] = {0, 1, 2, 3, 5, 6, 7, 0, 0, 1};
	if (!rnd(32)) return (int32_t)rnd(1 << 10);
	return (int32_t)(rnd(4) << 3 | lmul[rnd(COUNT(lmul))] | rnd(4) << 6);
}

static bool is_tested(unsigned op) { return !op || *rv64_info(op)->name == 'v'; }
static bool is_memory(const struct rv64_info *i) { return strchr(i->syntax, '(') != NULL; }

/* What is no instruction of ours must be none of theirs. */
static uint32_t any_illegal(void)
{
	static const uint32_t opcodes[] = {0x57, 0x57, 0x07, 0x27};
	static const uint32_t widths[] = {0, 5, 6, 7};
	for (;;) {
		struct rv64_insn i;
		uint32_t op = opcodes[rnd(COUNT(opcodes))], r = (uint32_t)(fp_rnd(&o.rnd) >> 8);
		uint32_t word = (r & 0xfff07f80) | 12u << 15 | op;
		if (op != 0x57) word = (word & ~0x7000u) | widths[rnd(4)] << 12;
		if (op == 0x57 && rnd(2)) word = (word & ~(31u << 15)) | (uint32_t)rnd(32) << 15;
		rv64_decode(&i, word);
		if (i.op == OP_illegal) return word;
	}
}
static uint32_t any_word(enum rv64_op op)
{
	if (op == OP_illegal) return any_illegal();
	const char *s = rv64_info(op)->syntax;
	struct rv64_insn i = {.imm = (int32_t)fp_rnd(&o.rnd), .rm = rnd(3) ? 1 : 0};
	i.rd = has(s, "vd") ? any_vector() : any_scalar(s, "d");
	i.rs1 = has(s, "vs") ? any_vector() : any_scalar(s, "s");
	i.rs2 = has(s, "vt") ? any_vector() : any_scalar(s, "t");
	i.rs3 = (uint8_t)(2 + rnd(rnd(3) ? 2 : 7));
	if (has(s, "uimm")) i.rs1 = (uint8_t)rnd(32);
	if (has(s, "vtype")) i.imm = any_vtype();
	if (is_memory(rv64_info(op))) {
		i.rs1 = 12;
		i.rs2 = has(s, "vt") ? any_vector() : 13;
	}
	return rv64_encode(op, &i);
}

/* ---- cases ---- */
static uint64_t corner(unsigned bits, bool fp)
{
	static const struct soft_format *const f[] = {&soft_f16, &soft_f32, &soft_f64};
	uint64_t r = fp_rnd(&o.rnd), v = fp_rnd(&o.rnd);
	if (fp && bits > 8) return fp_corner(f[bits == 16 ? 0 : bits == 32 ? 1 : 2], &o.rnd);
	switch (r >> 8 & 3) {
	case 0: return (v >> 32) % 5 - 2;
	case 1: return (1ull << (bits - 1)) + (v >> 32) % 5 - 2;
	case 2: return v >> (r >> 16) % 64;
	}
	return v;
}
static void fill_registers(struct vector_case *c, unsigned bits, bool fp)
{
	for (unsigned at = 0; at < sizeof(c->v); at += bits / 8)
		store_le(&c->v[0][0] + at, corner(bits, fp), bits / 8);
	for (unsigned k = 0; fp && k < 3; k++) { /* equal, opposite or nearly equal ones */
		unsigned a = (unsigned)rnd(32), b = (unsigned)rnd(32);
		memcpy(c->v[a], c->v[b], 16);
		if (k) c->v[a][15] ^= 0x80;
	}
	if (rnd(2)) store_le(c->v[0], fp_rnd(&o.rnd), 8);
}
/* f12..f15 boxed as SEW has it, now and then badly. */
static uint64_t fp_register(unsigned bits, bool fp)
{
	uint64_t v = corner(bits, fp);
	if (bits == 64 || !rnd(32)) return v;
	return v | ~0ull << bits;
}
/* Offsets that stay inside the case's memory, and strides. */
static void aim(struct vector_case *c, const struct rv64_insn *i, uint64_t base)
{
	const char *name = rv64_info(i->op)->name, *ei = strstr(name, "ei");
	unsigned bits = ei ? (unsigned)atoi(ei + 2) : 0;
	c->x[0] = base + offsetof(struct vector_case, mem[BASE]) + (rnd(2) ? 0 : rnd(64));
	c->x[1] = rnd(7) - 3;
	if (!rnd(2)) c->vl = rnd(9), c->x[1] = rnd(96) - 48;
	for (unsigned at = 0; bits && at < 128 && 16u * i->rs2 + at < sizeof(c->v); at += bits / 8)
		store_le(c->v[i->rs2] + at, rnd(bits == 8 ? 256 : 380), bits / 8);
	for (size_t k = 0; k < sizeof(c->mem); k++) c->mem[k] = (uint8_t)fp_rnd(&o.rnd);
}
/* Most cases of a slot have one vtype, and of these most all elements: that is what translated code
 * does in line. qemu 7.2 looks whether vstart is 0 when it translates, and at nothing when it moves
 * whole registers; so a slot has vstart in all its cases or in none, and not for those. */
static void fill(struct vector_case *c, const struct rv64_insn *i, uint64_t base, bool resumed,
		 uint64_t vtype)
{
	bool usual = rnd(4);
	const struct rv64_info *info = rv64_info(i->op);
	bool fp = strstr(info->name, "vf") || strstr(info->name, "vmf");
	fp = fp && !strstr(info->name, ".f.x") && !(rnd(16) == 0);
	uint64_t r = fp_rnd(&o.rnd);
	memset(c, 0, sizeof(*c));
	c->vtype = usual ? vtype : (uint64_t)any_vtype();
	if (fp && !(c->vtype >> 3 & 7)) c->vtype |= (rnd(3) + 1) << 3;
	unsigned bits = 8u << (c->vtype >> 3 & 3);
	unsigned wide = strstr(info->name, ".w") && bits < 64 && rnd(2) ? 2 * bits : bits;
	fill_registers(c, wide, fp);
	for (unsigned k = 0; k < 4; k++) {
		c->x[k] = rnd(3) ? int_corner(&o.rnd) : corner(bits, false);
		if (!rnd(3)) c->x[k] = rnd(140);
		c->f[k] = fp_register(bits, fp);
	}
	c->fcsr = (r % 64 ? r % 5 : r >> 8 & 7) << 5 | (r >> 16 & 7 ? 0 : r >> 20 & 31);
	c->vl = rnd(usual ? 8 : 3) ? 128 : rnd(3) ? rnd(17) : rnd(140);
	if (resumed && strcmp(info->name + 4, "r.v")) c->vstart = 1 + rnd(rnd(2) ? 6 : 127);
	c->vcsr = rnd(8);
	if (is_memory(info)) aim(c, i, base);
}

/* ---- comparing ---- */
static void show_state(const char *row, const struct vector_case *c, const struct vector_case *b,
		       uint32_t which)
{
	printf("    %-6s x", row);
	for (int k = 0; k < 4; k++) printf(" %" PRIx64, c->x[k]);
	printf(" f");
	for (int k = 0; k < 4; k++) printf(" %" PRIx64, c->f[k]);
	printf(" fcsr %02" PRIx64 " out %" PRIu64 " vl %" PRIu64 " vtype %" PRIx64
	       " vstart %" PRIu64 " vcsr %" PRIx64 "\n",
	       c->fcsr, c->out, c->vl, c->vtype, c->vstart, c->vcsr);
	for (int k = 0; k < 32; k++) {
		if (b ? !memcmp(b->v[k], c->v[k], 16) : !(which >> k & 1)) continue;
		printf("      v%-2d", k);
		for (int n = 15; n >= 0; n--) printf("%s%02x", n % 4 == 3 ? " " : "", c->v[k][n]);
		printf("\n");
	}
	for (size_t k = 0; b && k < sizeof(c->mem); k += 8)
		if (memcmp(b->mem + k, c->mem + k, 8))
			printf("      mem[%zu] %016" PRIx64 "\n", k, load_le(c->mem + k, 8));
}
static void show(uint32_t word, const struct vector_case *b, const struct vector_case *theirs,
		 const struct vector_case *ours)
{
	struct rv64_insn insn;
	char text[64];
	rv64_decode(&insn, word);
	rv64_format(text, sizeof(text), &insn, ORACLE_CODE);
	printf("  %08" PRIx32 " %s\n", word, text);
	show_state("before", b, NULL, 1u | 1u << insn.rd | 1u << insn.rs1 | 1u << insn.rs2);
	show_state("oracle", theirs, ours, 0);
	show_state("ours", ours, theirs, 0);
}

static void compare(struct tally *t, uint32_t word, const struct vector_case *b,
		    const struct vector_case *theirs, const struct vector_case *ours)
{
	struct vector_case formula;
	struct rv64_insn insn;
	bool same = !memcmp(theirs, ours, sizeof(*ours));
	rv64_decode(&insn, word);
	if (!same && vector_excuse(&insn, b, theirs, ours)) {
		t->excused++;
		return;
	}
	if (!same && theirs->out == OUT_ILLEGAL && vector_reference(&insn, b, &formula)) {
		t->formula++;
		theirs = &formula;
		same = !memcmp(theirs, ours, sizeof(*ours));
	}
	if (same)
		t->ok++, t->legal += theirs->out != OUT_ILLEGAL;
	else if (t->bad++ < SHOWN)
		show(word, b, theirs, ours);
}

/* qemu 7.2 aborts at conversions that say rtz (decode_save_opc: insn_start != NULL). There the
 * oracle is asked for the one that rounds as frm says, with frm set so. */
static bool is_rtz(uint32_t word)
{
	return (word & 0xfc00707f) == 0x48001057 && (word >> 16 & 3) == 3;
}
static void stand_in(struct vector_slot *s)
{
	if (!is_rtz((uint32_t)s->word)) return;
	s->word &= ~(6ull << 15);
	for (unsigned k = 0; k < VECTOR_CASES; k++)
		if (s->c[k].fcsr >> 5 <= 4) s->c[k].fcsr = (s->c[k].fcsr & 31) | 1 << 5;
}
static void step_down(const struct vector_slot *before, struct vector_slot *s)
{
	if (!is_rtz((uint32_t)before->word)) return;
	for (unsigned k = 0; k < VECTOR_CASES; k++)
		s->c[k].fcsr = (s->c[k].fcsr & 31) | (before->c[k].fcsr & ~31ull);
}

static void collect(struct tally *t)
{
	unsigned char i;
	if (read(o.from, &i, 1) != 1) die("the oracle went away");
	must(i == o.done++ % ORACLE_SLOTS);
	step_down(&o.before[i], &o.theirs->slot[i]);
	for (unsigned k = 0; k < VECTOR_CASES; k++)
		compare(t, (uint32_t)o.before[i].word, &o.before[i].c[k], &o.theirs->slot[i].c[k],
			&o.ours[i].c[k]);
}

static void send(enum rv64_op op)
{
	unsigned char i = (unsigned char)(o.sent++ % ORACLE_SLOTS);
	struct vector_slot *b = &o.before[i];
	struct rv64_insn insn;
	bool resumed = !rnd(8);
	uint64_t vtype = (uint64_t)any_vtype();
	b->word = any_word(op);
	rv64_decode(&insn, (uint32_t)b->word);
	for (unsigned k = 0; k < VECTOR_CASES; k++)
		fill(&b->c[k], &insn, ORACLE_MEMORY + offsetof(struct vector_memory, slot[i].c[k]),
		     resumed, vtype);
	memcpy(&o.theirs->slot[i], b, sizeof(*b));
	stand_in(&o.theirs->slot[i]);
	if (write(o.to, &i, 1) != 1) die("the oracle went away");
	memcpy(&o.ours[i], b, sizeof(*b));
	engine_run(i, &o.ours[i]);
}

static void try_op(enum rv64_op op, uint64_t cases)
{
	struct tally t = {.op = op};
	const char *name = rv64_info(op)->name;
	alarm(120);
	for (uint64_t n = 0; n < cases; n += VECTOR_CASES) {
		if (o.sent - o.done == ORACLE_SLOTS) collect(&t);
		send(op);
	}
	while (o.sent != o.done) collect(&t);
	o.compared += t.ok + t.bad;
	if (t.bad)
		printf("FAILED %s: %s: %lu of %lu differ\n", ops->name, name, t.bad, t.ok + t.bad);
	else if (!t.legal == (op != OP_illegal))
		printf("FAILED %s: %s legal\n", name, t.legal ? "sometimes" : "never");
	t.bad || !t.legal == (op != OP_illegal) ? o.failed++ : o.passed++;
	if (t.formula)
		printf("%s: %lu cases by formula, since the oracle lacks it\n", name, t.formula);
}

static void try_all(const struct engine_ops *engine, const char *program, uint64_t cases)
{
	const char *only = getenv("ONLY");
	ops = engine;
	engine_start(program);
	for (unsigned op = 0; op < OP__max; op++)
		if (is_tested(op) && (!only || strstr(rv64_info(op)->name, only)))
			try_op(op, cases);
	ops->close(o.engine);
	bus_free(o.mmio);
	gmem_free(o.mem);
}

int main(int argc, char **argv)
{
	if (argc < 7) return 2;
	char *guest = argv[1], *memory = argv[3], **qemu = calloc((size_t)argc, sizeof(char *));
	if (!qemu) return 1;
	o.rnd = strtoull(argv[5], 0, 0) | 1;
	printf("seed %s, %s cases for each instruction\n", argv[5], argv[4]);
	memcpy(qemu, argv + 6, (size_t)(argc - 6) * sizeof(char *));
	qemu[argc - 6] = guest;
	qemu[argc - 5] = memory;
	oracle_start(qemu, memory);
	for (size_t i = 0; i < COUNT(engines); i++)
		try_all(engines[i], argv[2], strtoull(argv[4], 0, 0));
	close(o.to);
	waitpid(o.pid, 0, 0);
	free(qemu);
	vector_excuses();
	printf("%lu cases\n%lu passed, %lu failed\n", o.compared, o.passed, o.failed);
	return o.failed != 0;
}
