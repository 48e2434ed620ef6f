/* The table's text against a disassembler's, for random bits of every line.
 *
 *   decode_check make own|other SEED COUNT > BITS   that many examples of each line
 *   decode_check compare own|other < TEXT           of objdump -d; prints what differs
 *
 *   decode_check pairs A B     write every compressed instruction, each with a c.nop, to A, and
 *                              the instructions they stand for to B
 *
 * "own" are the lines that binutils 2.40 knows. "other" are those of younger extensions: for them
 * the text comes from llvm-objdump 19, which differs in taste; normalise() knows its ways. */
#include "base/types.h"
#include "isa/rv64/form.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state;
static uint32_t random32(void) /* splitmix64 */
{
	state += 0x9e3779b97f4a7c15;
	uint64_t z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
	return (uint32_t)((z ^ z >> 27) * 0x94d049bb133111eb >> 32);
}

/* Extensions that binutils 2.40 does not know: Zfa, Zicond, Zcb, Zimop, Zcmop, Zvbb. */
static bool is_other(const struct rv64_form *f)
{
	static const char *const names[] = {
		"fli.",	    "fminm.", "fmaxm.", "fround.", "froundnx.", "fleq.",  "fltq.",
		"fcvtmod.", "czero.", "c.lbu",	"c.lh",	   "c.sb",	"c.sh",	  "c.zext.",
		"c.sext.",  "c.not",  "c.mul",	"c.mop",   "mop.",	"vandn.", "vrol.",
		"vror.",    "vwsll",  "vbrev",	"vrev8",   "vclz",	"vctz",	  "vcpop.v"};
	for (size_t i = 0; i < COUNT(names); i++)
		if (!strncmp(f->info.name, names[i], strlen(names[i]))) return true;
	return false;
}

/* What binutils 2.40 takes for illegal unless the mode is 0 */
static bool has_idle_mode(const struct rv64_form *f) { return strstr(f->info.syntax, "/rm0"); }

static void emit(uint32_t w) { (void)fwrite(&w, (w & 3) == 3 ? 4 : 2, 1, stdout); }
/* objdump reads 6 and more bytes of what looks like a longer instruction; leave those out. */
static bool is_long(uint32_t w) { return (w & 31) == 31; }
/* Some register numbers are special everywhere: zero is likelier than chance. */
static uint32_t example(const struct rv64_form *f)
{
	uint32_t w = random32();
	if (random32() % 8 == 0) w &= random32() & random32() & random32();
	if (random32() % 8 == 0) w |= random32() | random32() | random32();
	return (w & ~f->info.mask) | f->info.match;
}
static void make(bool other, int count)
{
	for (const struct rv64_form *f = rv64_forms + 1; f < rv64_forms + rv64_forms_count; f++)
		for (int k = 0; k < count; k++)
			if (is_other(f) == other || (other && has_idle_mode(f))) emit(example(f));
	if (other) return;
	for (uint32_t w = 0; w < 0x10000; w++)
		if ((w & 3) != 3) emit(w);
	for (int k = 0; k < 50 * count;) {
		uint32_t w = random32() | 3;
		if (is_long(w)) continue;
		emit(w);
		k++;
	}
}

/* Where Lodge knows better than this objdump, and why. */
static const char *excuse(const struct rv64_insn *i, const char *theirs, bool other)
{
	if (other)
		return i->rm > 4 && !*theirs ? "llvm-objdump refuses rounding modes 5 and 6" : NULL;
	if (is_other(&rv64_forms[rv64_form_of(i->raw)]))
		return "extension that binutils 2.40 lacks";
	if ((i->op == OP_fence || i->op == OP_fence_tso || i->op == OP_fence_i) && *theirs == '.')
		return "reserved fields of fences are to be ignored (manual, FENCE)";
	if (i->raw == 0x6101) return "c.addi16sp of 0 is reserved (manual, C)";
	if (i->op == OP_illegal &&
	    (*theirs == 'h' || !strcmp(theirs, "uret") || !strcmp(theirs, "dret") ||
	     !strncmp(theirs, "sfence.vm\t", 10) || !strcmp(theirs, "sfence.vm"))) /* 1.9's */
		return "privileged instructions that Lodge's CPUs do not have";
	if (has_idle_mode(&rv64_forms[i->op]) && i->rm && *theirs == '.')
		return "rounding mode of a conversion that needs none (objdump wants 0)";
	return NULL;
}

/* llvm writes "a0, a1" for "a0,a1", says of fround's mode that it is dynamic, and has fli's
 * constants as decimals. */
static void normalise(char *s, bool other)
{
	char *o = s, *end;
	for (char *p = s; *p; p++)
		if (*p != ' ') *o++ = *p;
	*o = 0;
	if (!other) return;
	if (!strncmp(s, "fround", 6) && !strcmp(o - 4, ",dyn")) o[-4] = 0;
	if (strncmp(s, "fli.", 4) || !(o = strchr(s, ','))) return;
	double d = strtod(o + 1, &end);
	if (isdigit((unsigned char)end[-1])) (void)sprintf(o + 1, "%a", d);
}

struct tally {
	bool other;
	int words, shifted;
	int alike[OP__max], unlike[OP__max]; /* by what we take the word for */
	int excused[8];
	const char *why[8];
};
static void excused(struct tally *t, const char *why)
{
	int n = 0;
	while (t->why[n] && t->why[n] != why && n < 7) n++;
	t->why[n] = why;
	t->excused[n]++;
}
static void check(struct tally *t, uint64_t pc, uint32_t w, char *theirs)
{
	struct rv64_insn i;
	char ours[128];
	rv64_decode(&i, w);
	(void)rv64_format(ours, sizeof(ours), &i, pc);
	normalise(theirs, t->other);
	if (!strcmp(ours, theirs)) {
		t->alike[i.op]++;
	} else if (excuse(&i, theirs, t->other)) {
		excused(t, excuse(&i, theirs, t->other));
	} else if (t->unlike[i.op]++ < 3) {
		(void)printf("%08x: ours \"%s\", objdump \"%s\"\n", i.raw, ours, theirs);
	}
}
/* "  2a:\t00b57533\tadd\ta0,a0,a1 # comment": place, bits, and the text behind them */
static char *parse_line(char *line, uint64_t *pc, uint32_t *w)
{
	char *p, *end;
	*pc = strtoull(line, &p, 16);
	if (p == line || *p != ':') return NULL;
	*w = (uint32_t)strtoul(p + 1, &end, 16);
	if (!(p = strchr(end, '\t'))) return NULL;
	p++;
	end = p + strcspn(p, "<#\n");
	while (end > p && isspace((unsigned char)end[-1])) end--;
	*end = 0;
	return p;
}
/* An instruction is one test, however many words of it were compared. */
static int verdict(const struct tally *t)
{
	int passed = 0, failed = t->shifted;
	for (int i = 0; i < OP__max; i++) {
		failed += t->unlike[i] != 0;
		passed += t->alike[i] && !t->unlike[i];
	}
	(void)printf("%d words compared\n%d passed, %d failed\n", t->words, passed, failed);
	return failed || !passed;
}
static int compare(bool other)
{
	struct tally t = {.other = other};
	uint64_t pc, at = 0;
	uint32_t w;
	char line[512], *theirs;
	while (fgets(line, sizeof(line), stdin)) {
		if (!(theirs = parse_line(line, &pc, &w))) continue;
		if (pc != at) {
			t.shifted++;
			(void)printf("lengths differ before %#lx\n", (unsigned long)pc);
		}
		check(&t, pc, w, theirs);
		t.words++;
		at = pc + ((w & 3) == 3 ? 4 : 2);
	}
	for (int i = 0; i < 8 && t.why[i]; i++)
		(void)printf("not compared: %d, %s\n", t.excused[i], t.why[i]);
	return verdict(&t);
}

static int pairs(const char *a, const char *b)
{
	FILE *fa = fopen(a, "wb"), *fb = fopen(b, "wb");
	if (!fa || !fb) return perror(a), 2;
	for (uint32_t w = 0; w < 0x10000; w++) {
		struct rv64_insn i;
		rv64_decode(&i, w);
		if (i.len != 2 || i.op == OP_illegal || is_other(&rv64_forms[rv64_form_of(w)]))
			continue;
		uint32_t two = w | 0x00010000, full = rv64_encode((enum rv64_op)i.op, &i);
		(void)fwrite(&two, 4, 1, fa);
		(void)fwrite(&full, 4, 1, fb);
	}
	return fclose(fa) || fclose(fb);
}

int main(int argc, char **argv)
{
	bool other = argc > 2 && !strcmp(argv[2], "other");
	if (argc == 5 && !strcmp(argv[1], "make")) {
		state = strtoull(argv[3], 0, 0);
		return make(other, atoi(argv[4])), 0;
	}
	if (argc == 3 && !strcmp(argv[1], "compare")) return compare(other);
	if (argc == 4 && !strcmp(argv[1], "pairs")) return pairs(argv[2], argv[3]);
	return 2;
}
