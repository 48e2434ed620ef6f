/* Compares our instructions with another implementation's: oracle GUEST PROGRAM MEMORY CASES
 * SEED QEMU... runs "QEMU... GUEST MEMORY" and has it compute what we compute, CASES times for
 * each instruction. While it works on one slot we work on the next; two cores are used. */
#include "base/err.h"
#include "isa/rv64/fp_cases.h"
#include "isa/rv64/rv64.h"
#include "oracle_test.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHOWN = 3 };
static const struct subject *const subjects[] = {&subject_fp, &subject_interp, &subject_jit};

static struct oracle {
	struct oracle_memory *m;
	int to, from;
	pid_t pid;
	struct oracle_slot before[ORACLE_SLOTS], ours[ORACLE_SLOTS];
	unsigned sent, done;
	uint64_t rnd, cases;
	unsigned long compared, passed, failed;
	char skip[4096]; /* names of what the oracle lacks */
	size_t skipped;
} o;

struct tally {
	const char *name;
	unsigned long ok, bad;
	unsigned long legal; /* of those that are the same */
	unsigned long words, translated;
	uint32_t last;	       /* word: if it comes again, so does its code */
	unsigned long lacking; /* the oracle does not know it, the formula says the same */
};

/* Extensions newer than the qemu of Debian 12; their instructions may be illegal there. */
static bool may_lack(const char *op, uint32_t word)
{
	static const char *const start[] = {"fli.",  "fminm.", "fmaxm.",   "fround", "fleq.",
					    "fltq.", "czero.", "fcvtmod.", "wrs.",   "mop."};
	if (is_zcb(word) || is_zcmop(word)) return true;
	for (size_t i = 0; i < COUNT(start); i++)
		if (!strncmp(op, start[i], strlen(start[i]))) return true;
	return false;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void start(char **argv, const char *memory)
{
	int to[2], from[2], fd = open(memory, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*o.m))) die(memory);
	o.m = mmap(0, sizeof(*o.m), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (o.m == MAP_FAILED || pipe(to) || pipe(from)) die("oracle");
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

/* The format that a floating-point instruction reads: its fmt field, or, from format to format,
 * where rs2 would be. */
static const struct soft_format *source_format(uint32_t word)
{
	static const struct soft_format *const by_code[] = {&soft_f32, &soft_f64, &soft_f16, NULL};
	bool converts = (word & 0x7f) == 0x53 && word >> 27 == 8 && (word >> 20 & 31) < 4;
	return by_code[word >> (converts ? 20 : 25) & 3];
}

/* Boxed, now and then badly; or anything. */
static uint64_t fp_register(const struct soft_format *f)
{
	uint64_t r = fp_rnd(&o.rnd);
	if (!f || r % 32 == 0) return int_corner(&o.rnd);
	uint64_t v = fp_corner(f, &o.rnd);
	if (f->width == 64) return v;
	return v | (r % 32 == 1 ? fp_rnd(&o.rnd) : ~0ull) << f->width;
}

/* x12 points into the case's own memory, or where jalr may go. */
static void aim(struct oracle_case *c, const struct rv64_insn *insn, uint64_t base)
{
	const char *name = rv64_info(insn->op)->name;
	bool atomic = !strncmp(name, "amo", 3) || !strncmp(name, "lr.", 3);
	uint64_t r = fp_rnd(&o.rnd);
	c->x[0] = base + offsetof(struct oracle_case, mem[3]) + (atomic ? 0 : r % 8);
	if (insn->op == OP_jalr) {
		uint64_t to = ORACLE_CODE + (r & 1), imm = (uint64_t)(int64_t)insn->imm;
		c->x[0] = to + ORACLE_TARGET - imm;
	}
	for (size_t i = 0; i < COUNT(c->mem); i++)
		c->mem[i] = r & 2 ? fp_rnd(&o.rnd) : int_corner(&o.rnd);
}

/* rm: of the instruction. Translated code rounds by itself only as the mode in force says. */
static void fill(struct oracle_case *c, const struct soft_format *f, unsigned rm)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t r = fp_rnd(&o.rnd);
		c->x[i] = int_corner(&o.rnd);
		c->f[i] = fp_register(f);
		if (!i || r % 4) continue;
		c->x[i] = c->x[i - 1] + (r >> 8) % 3 - 1;
		c->f[i] = c->f[i - 1] ^ (r >> 10 & 1) ^ (f ? (r >> 11 & 1) << (f->width - 1) : 0);
	}
	uint64_t r = fp_rnd(&o.rnd), frm = r % 64 ? r % 5 : r >> 8 & 7;
	if (rm <= RM_RMM && r >> 28 & 3) frm = rm;
	c->fcsr = frm << 5 | (r >> 16 & 7 ? 0 : r >> 20 & 31);
	c->out = 0;
}

static void show(const struct subject *s, const struct oracle_slot *b,
		 const struct oracle_case *a[3])
{
	static const char *const row[] = {"before", "oracle", "ours"};
	struct rv64_insn insn;
	char text[64];
	rv64_decode(&insn, b->word);
	rv64_format(text, sizeof(text), &insn, ORACLE_CODE);
	printf("  %s: %08" PRIx32 " %s\n", s->name, b->word, text);
	for (int i = 0; i < 3; i++) {
		printf("    %-6s x", row[i]);
		for (int k = 0; k < 4; k++) printf(" %016" PRIx64, a[i]->x[k]);
		printf(" f");
		for (int k = 0; k < 4; k++) printf(" %016" PRIx64, a[i]->f[k]);
		printf(" fcsr %02" PRIx64 " out %" PRIu64 "\n", a[i]->fcsr, a[i]->out);
		if (!strchr(rv64_info(insn.op)->syntax, '(')) continue;
		printf("           memory");
		for (size_t k = 0; k < COUNT(a[i]->mem); k++) printf(" %016" PRIx64, a[i]->mem[k]);
		printf("\n");
	}
}

/* The oracle answers "illegal" to what it does not know; then a formula takes its place. */
static void compare(const struct subject *s, struct tally *t, const struct oracle_slot *b,
		    const struct oracle_case *all[3])
{
	struct rv64_insn insn;
	struct oracle_case formula = *all[0];
	bool same = !memcmp(all[1], all[2], sizeof(*all[1]));
	rv64_decode(&insn, b->word);
	const char *op = rv64_info(insn.op)->name;
	bool lacks = all[1]->out == OUT_ILLEGAL && may_lack(op, b->word);
	if (!same && (lacks || !strcmp(op, "ctzw")) && oracle_reference(op, b->word, &formula)) {
		all[1] = &formula;
		same = !memcmp(all[1], all[2], sizeof(*all[1]));
		t->lacking += same;
	}
	if (same)
		t->ok++, t->legal += all[1]->out != OUT_ILLEGAL;
	else if (t->bad++ < SHOWN)
		show(s, b, all);
}

/* Wait for the oldest slot and compare. */
static void collect(const struct subject *s, struct tally *t)
{
	unsigned char i;
	if (read(o.from, &i, 1) != 1) die("the oracle went away");
	must(i == o.done++ % ORACLE_SLOTS);
	for (uint32_t k = 0; k < o.before[i].count; k++) {
		const struct oracle_case *all[] = {&o.before[i].c[k], &o.m->slot[i].c[k],
						   &o.ours[i].c[k]};
		compare(s, t, &o.before[i], all);
	}
}

static void send(const struct subject *s, struct tally *t, size_t op, uint32_t word)
{
	unsigned char i = (unsigned char)(o.sent++ % ORACLE_SLOTS);
	struct oracle_slot *b = &o.before[i];
	const struct soft_format *f = source_format(word);
	struct rv64_insn insn;
	rv64_decode(&insn, word);
	b->word = word;
	b->count = s->batch;
	for (uint32_t k = 0; k < b->count; k++) {
		fill(&b->c[k], f, insn.rm);
		if (strchr(rv64_info(insn.op)->syntax, '('))
			aim(&b->c[k], &insn,
			    ORACLE_MEMORY + offsetof(struct oracle_memory, slot[i].c[k]));
	}
	memcpy(&o.m->slot[i], b, sizeof(*b));
	if (write(o.to, &i, 1) != 1) die("the oracle went away");
	memcpy(&o.ours[i], b, sizeof(*b));
	uint64_t translated = s->translated ? s->translated() : 0;
	s->run(op, i, &o.ours[i]);
	t->words++;
	t->translated += s->translated && (s->translated() != translated || word == t->last);
	t->last = word;
}

static void report(const struct subject *s, const struct tally *t)
{
	o.compared += t->ok + t->bad;
	if (t->bad) {
		o.failed++;
		printf("FAILED %s: %s: %lu of %lu differ\n", s->name, t->name, t->bad,
		       t->ok + t->bad);
	} else if (t->ok && !t->legal) {
		o.failed++;
		printf("FAILED %s: %s: never legal\n", s->name, t->name);
	} else if (s->translated && t->legal && 2 * t->translated < t->words) {
		o.failed++;
		printf("FAILED %s: %s: only %lu of %lu words were translated\n", s->name, t->name,
		       t->translated, t->words);
	} else if (t->ok) {
		o.passed++;
	}
	if (t->lacking && strncmp(t->name, "any", 3)) {
		o.skipped += (size_t)snprintf(o.skip + o.skipped, sizeof(o.skip) - o.skipped, " %s",
					      t->name);
		must(o.skipped < sizeof(o.skip));
	}
}

static void try_op(const struct subject *s, size_t op)
{
	struct tally t = {.name = s->op_name(op)};
	alarm(120); /* an engine that never comes back */
	for (uint64_t n = 0; n < o.cases; n += s->batch) {
		uint32_t word = s->word(op, &o.rnd);
		if (!word) break;
		if (o.sent - o.done == ORACLE_SLOTS) collect(s, &t);
		send(s, &t, op, word);
	}
	while (o.sent != o.done) collect(s, &t);
	report(s, &t);
}

static void try_all(const struct subject *s, const char *program)
{
	o.skipped = 0;
	if (s->open) s->open(program);
	for (size_t op = 0; op < s->ops; op++) try_op(s, op);
	if (o.skipped)
		printf("%s: by formula, wholly or in part, since the oracle lacks it:%s\n", s->name,
		       o.skip);
	if (s->close) s->close();
}

int main(int argc, char **argv)
{
	if (argc < 7) return 2;
	char *guest = argv[1], *memory = argv[3], **qemu = calloc((size_t)argc, sizeof(char *));
	if (!qemu) return 1;
	o.cases = strtoull(argv[4], 0, 0);
	o.rnd = strtoull(argv[5], 0, 0) | 1;
	printf("seed %s, %s cases for each instruction\n", argv[5], argv[4]);
	memcpy(qemu, argv + 6, (size_t)(argc - 6) * sizeof(char *));
	qemu[argc - 6] = guest;
	qemu[argc - 5] = memory;
	start(qemu, memory);
	for (size_t i = 0; i < COUNT(subjects); i++) try_all(subjects[i], argv[2]);
	close(o.to);
	waitpid(o.pid, 0, 0);
	free(qemu);
	printf("%lu cases\n%lu passed, %lu failed\n", o.compared, o.passed, o.failed);
	return o.failed != 0;
}
