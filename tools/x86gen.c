/* x86gen TABLE.isa enum|info|sem: print one derived file of C on stdout. Host tool.
 *
 * x86 has no fixed fields to match bits against: what an opcode means depends on a dozen small
 * facts (mode, ModRM fields, mandatory prefix, W, L...). Each line of the table is a box in the
 * space of those facts, its dimensions; this program cuts the space of each opcode into a decision
 * tree whose leaves are lines, shares equal subtrees, and refuses tables in which two lines claim
 * a point and neither asks for more than the other.
 *
 * Reading order: the table in memory, reading, the tree, meanings, printing. */
#include "gen.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- the table in memory ---- */

/* The facts that choose among an opcode's lines, in the order in which trees ask for them. */
enum dim { MODE, MOD, REG, RM, PFX, W, L, OSZ, B, DIMS };
static const char *const dim_name[DIMS] = {"MODE", "MOD", "REG", "RM", "PFX", "W", "L", "OSZ", "B"};
static const int dim_size[DIMS] = {3, 2, 8, 8, 4, 2, 2, 3, 2};
static const struct {
	const char *word;
	enum dim dim;
	unsigned mask; /* of the values that the word admits; several words of a dimension add up */
} conditions[] = {
	{"i64", MODE, 3}, {"o64", MODE, 4}, {"mem", MOD, 1}, {"reg", MOD, 2}, {"np", PFX, 1},
	{"66", PFX, 2},	  {"f3", PFX, 4},   {"f2", PFX, 8},  {"w0", W, 1},    {"w1", W, 2},
	{"W1", W, 2},	  {"l0", L, 1},	    {"l1", L, 2},    {"o16", OSZ, 1}, {"o32", OSZ, 2},
	{"o64", OSZ, 4},  {"b0", B, 1},	    {"b1", B, 2},
};
static const char *const methods[] = {
	"none", "E", "G", "M", "R", "I", "J", "O", "S", "C", "D", "A", "X", "Y", "V", "W",
	"U",	"H", "P", "Q", "N", "B", "L", "Z", "ES", "CS", "SS", "DS", "FS", "GS", "AL", "CL",
	"AX",	"EAX", "RAX", "DX", "rAX", "zAX", "1", "ST0", "STi", "XMM0",
};
static const char *const types[] = {
	"none", "b", "w", "d", "q", "v", "z", "y", "bs", "p", "s", "a", "dq", "x",
	"h",	"i", "j", "t", "e", "f", "rw", "rb", "rv",
};
struct op {
	char name[20], sem[400], w[12], u[12], r[12];
	bool lock, rep, used;
	bool told;		/* operands' uses are written down, not what the meaning shows */
	unsigned o[2], regs[2]; /* bits of operands and of hidden registers, read and written */
	int line;
};
struct form {
	int line, map, opcode, count, op;
	int sse; /* of a VEX form: the op of the line that it comes from */
	bool modrm, d64, f64, anymod, vsib, vsibh;
	int cc; /* opcode names a condition */
	unsigned mask[DIMS];
	int method[4], type[4], operands;
};
static struct verb {
	char name[16], takes[8], kind; /* p g d */
} verbs[160];
static struct op ops[1200];
static struct form forms[2400];
static uint16_t tree[20000], root[7][256];
static bool has_modrm[7][256];
static int nverbs, nops, nforms, ntree;

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static int find_word(const char *const *list, int n, const char *word, size_t len)
{
	for (int i = 0; i < n; i++)
		if (strlen(list[i]) == len && !memcmp(list[i], word, len)) return i;
	return -1;
}
static int find_op(const char *name)
{
	for (int i = 0; i < nops; i++)
		if (!strcmp(ops[i].name, name)) return i;
	struct op *o = TAKE(ops, nops);
	COPY(o->name, name);
	o->line = line_no;
	return nops - 1;
}

/* ---- reading ---- */

static void read_verb(char *s)
{
	char kind[8], takes[8], *word;
	int at;
	if (sscanf(s, "verb %7s %7s %n", kind, takes, &at) != 2) die("verb KIND TAKES NAME...");
	if (strcmp(kind, "pure") && strcmp(kind, "get") && strcmp(kind, "do")) die("%s?", kind);
	for (word = strtok(s + at, " "); word; word = strtok(0, " ")) {
		struct verb *v = TAKE(verbs, nverbs);
		COPY(v->name, word);
		COPY(v->takes, takes[0] == '-' ? "" : takes);
		v->kind = kind[0];
	}
}
/* "ax+dx": bits of registers. */
static unsigned read_regs(const char *s)
{
	static const char *const names[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8", "r9", "r10", "r11"};
	unsigned bits = 0;
	while (*s) {
		size_t len = strcspn(s, "+");
		int i = find_word(names, COUNT(names), s, len);
		if (i < 0) die("register? %s", s);
		bits |= 1u << i;
		s += len + (s[len] == '+');
	}
	return bits;
}
/* "xr": operand 0 is read and written, operand 1 is read. */
static void read_uses(struct op *o, const char *s)
{
	o->told = true;
	for (int i = 0; s[i]; i++) {
		if (!strchr("rwx-", s[i]) || i == 4) die("uses? %s", s);
		if (s[i] == 'r' || s[i] == 'x') o->o[0] |= 1u << i;
		if (s[i] == 'w' || s[i] == 'x') o->o[1] |= 1u << i;
	}
}
/* What a meaning shows. SET_IF may leave the old value, which is a use of it. */
static void find_uses(struct op *o)
{
	const char *p = o->sem;
	int n;
	if (strstr(p, "PUSH(")) o->regs[0] |= 1u << 4, o->regs[1] |= 1u << 4;
	if (o->told || strstr(p, "HELPER(")) return;
	if (!*p) { /* foreign: the usual */
		o->o[0] = 14;
		o->o[1] = 1;
		return;
	}
	for (const char *s = p; *s; s++) {
		bool start = s == p || !(isalnum(s[-1]) || s[-1] == '_');
		if (start && sscanf(s, "O(%d)", &n) == 1) o->o[0] |= 1u << n;
		if (start && sscanf(s, "SET(%d,", &n) == 1) o->o[1] |= 1u << n;
		if (start && !strncmp(s, "SET_IF(", 7)) o->o[0] |= 1, o->o[1] |= 1;
		if (start && !strncmp(s, "TARGET", 6)) o->o[0] |= 1;
	}
}
static void copy_uses(struct op *to, const struct op *from)
{
	if (to->told || *to->w) return;
	COPY(to->w, from->w);
	memcpy(to->o, from->o, sizeof to->o);
	memcpy(to->regs, from->regs, sizeof to->regs);
}
static void read_op(char *s)
{
	char *sem = strstr(s, " :");
	if (sem) {
		*sem = 0;
		sem += 2;
	}
	char *word = strtok(s + 3, " ");
	for (int i = 0; i < nops; i++)
		if (!strcmp(ops[i].name, word)) die("op %s is on line %d, too", word, ops[i].line);
	struct op *o = &ops[find_op(word)];
	while ((word = strtok(0, " "))) {
		if (!strcmp(word, "lock")) o->lock = true;
		else if (!strcmp(word, "rep")) o->rep = true;
		else if (!strncmp(word, "ri=", 3)) o->regs[0] = read_regs(word + 3);
		else if (!strncmp(word, "wi=", 3)) o->regs[1] = read_regs(word + 3);
		else if (!strncmp(word, "o=", 2)) read_uses(o, word + 2);
		else if (word[1] == '=' && strchr("wur", word[0])) {
			if (strspn(word + 2, "oszapcdi") != strlen(word + 2)) die("flags? %s", word);
			if (word[0] == 'w') COPY(o->w, word + 2);
			if (word[0] == 'u') COPY(o->u, word + 2);
			if (word[0] == 'r') COPY(o->r, word + 2);
		} else die("op %s: %s?", o->name, word);
	}
	if (sem) COPY(o->sem, *sem && sem[strspn(sem, " ")] ? sem : "-");
}
static bool is_hex(const char *s) { return isxdigit(s[0]) && isxdigit(s[1]) && !s[2]; }

/* The opcode: a map by its bytes, or by its name for the ones behind a VEX prefix. */
static char *read_opcode(struct form *f, char *word)
{
	static const char *const vex[] = {"v0f", "v0f38", "v0f3a"};
	int v = find_word(vex, 3, word, strlen(word));
	if (v >= 0) {
		f->map = 4 + v;
		word = strtok(0, " ");
	} else if (!strcmp(word, "0f")) {
		char *next = strtok(0, " ");
		char *third = next ? strtok(0, " ") : 0;
		if (third && is_hex(third) && strcmp(third, "66") && (!strcmp(next, "38") || !strcmp(next, "3a"))) {
			f->map = next[1] == '8' ? 2 : 3;
			f->opcode = (int)strtol(third, 0, 16);
			return strtok(0, " ");
		}
		f->map = 1;
		if (!next) die("opcode?");
		f->count = !next[2] ? 1 : next[3] == 'r' ? 8 : 16;
		f->cc = f->count == 16;
		f->opcode = (int)strtol(next, 0, 16);
		return third;
	}
	if (!word || !isxdigit(word[0]) || !isxdigit(word[1])) die("opcode?");
	f->count = !word[2] ? 1 : word[3] == 'r' ? 8 : 16;
	f->cc = f->count == 16;
	f->opcode = (int)strtol(word, 0, 16);
	return strtok(0, " ");
}
static bool read_condition(struct form *f, const char *word)
{
	if (word[0] == '/') {
		f->modrm = true;
		if (word[1] != 'r') f->mask[REG] = 1u << (word[1] - '0');
		return true;
	}
	if (word[0] == 'r' && word[1] == 'm' && isdigit(word[2])) {
		f->mask[RM] |= 1u << (word[2] - '0');
		return true;
	}
	bool found = false;
	for (int i = 0; i < COUNT(conditions); i++)
		if (!strcmp(word, conditions[i].word)) {
			/* o64 asks for the mode; only where lines ask for o16 or o32, for the size */
			if (!strcmp(word, "o64") && conditions[i].dim == OSZ && f->opcode != 0x98) continue;
			f->mask[conditions[i].dim] |= conditions[i].mask;
			found = true;
		}
	return found;
}
/* Operands that are one register have a size all the same. */
static int type_of_register(const char *m)
{
	static const char *const known[][2] = {
		{"AL", "b"}, {"CL", "b"}, {"AX", "w"}, {"DX", "w"}, {"EAX", "d"}, {"RAX", "q"}, {"rAX", "v"},
		{"zAX", "z"}, {"ES", "w"}, {"CS", "w"}, {"SS", "w"}, {"DS", "w"}, {"FS", "w"}, {"GS", "w"},
		{"ST0", "t"}, {"STi", "t"}, {"XMM0", "dq"}, {"1", "b"},
	};
	for (int i = 0; i < COUNT(known); i++)
		if (!strcmp(m, known[i][0])) return find_word(types, COUNT(types), known[i][1], strlen(known[i][1]));
	return 0;
}
static void read_operands(struct form *f, const char *s)
{
	if (*s == '-') return;
	while (*s) {
		size_t len = strcspn(s, ",");
		if (f->operands == 4) die("too many operands");
		int m = find_word(methods + 1, COUNT(methods) - 1, s, len) + 1, t = 0;
		if (!m || len == 1) {
			m = *s == '1' ? m : find_word(methods + 1, COUNT(methods) - 1, s, 1) + 1;
			if (len > 1) t = find_word(types, COUNT(types), s + 1, len - 1);
		}
		if (m <= 0 || t < 0) die("operand? %s", s);
		if (!t) t = type_of_register(methods[m]);
		f->method[f->operands] = m;
		f->type[f->operands++] = t;
		s += len;
		if (*s == ',') s++;
	}
}
/* The VEX form that a line of SSE speaks for, and what is left of it without one. */
static void add_vex(struct form *f, const char *name, char how)
{
	char vname[24];
	struct form *v = TAKE(forms, nforms);
	*v = *f;
	v->map += 3;
	snprintf(vname, sizeof vname, "v%.22s", name);
	v->op = find_op(vname);
	v->sse = f->op;
	if (how == '0') v->mask[L] = 1;
}
static void drop_h(struct form *f)
{
	int n = 0;
	for (int i = 0; i < f->operands; i++) {
		if (!strcmp(methods[f->method[i]], "H")) continue;
		f->method[n] = f->method[i];
		f->type[n++] = f->type[i];
	}
	for (int i = n; i < 4; i++) f->method[i] = f->type[i] = 0;
	f->operands = n;
}
static void fill_masks(struct form *f)
{
	for (int d = 0; d < DIMS; d++)
		if (!f->mask[d]) f->mask[d] = (1u << dim_size[d]) - 1;
}
static void read_form(char *s)
{
	struct form *f = TAKE(forms, nforms);
	f->line = line_no;
	f->count = 1;
	char vex = 0, *word = read_opcode(f, strtok(s, " "));
	while (word && read_condition(f, word)) word = strtok(0, " ");
	if (!word) die("operands?");
	read_operands(f, word);
	char *name = strtok(0, " ");
	if (!name) die("name?");
	while ((word = strtok(0, " "))) {
		if (!strcmp(word, "d64")) f->d64 = true;
		else if (!strcmp(word, "f64")) f->f64 = true;
		else if (!strcmp(word, "anymod")) f->anymod = true;
		else if (!strcmp(word, "vsib")) f->vsib = true;
		else if (!strcmp(word, "vsibh")) f->vsibh = true;
		else if (word[0] == 'v' && (!word[1] || strchr("0i", word[1]))) vex = word[1] ? word[1] : 'v';
		else die("%s: %s?", name, word);
	}
	fill_masks(f);
	f->op = find_op(name);
	if (vex) add_vex(f, name, vex);
	if (f->map < 4) drop_h(f);
	ops[f->op].used = true;
}
static void read_table(void)
{
	char s[1024];
	FILE *in = fopen(path, "r");
	if (!in) die("cannot be read");
	TAKE(forms, nforms); /* form 0 is no instruction */
	find_op("illegal");
	while (fgets(s, sizeof s, in)) {
		line_no++;
		s[strcspn(s, "\n")] = 0;
		if (!*s || *s == '#') continue;
		if (!strncmp(s, "verb ", 5)) read_verb(s);
		else if (!strncmp(s, "op ", 3)) read_op(s);
		else read_form(s);
	}
	fclose(in);
	for (int i = 1; i < nforms; i++) ops[forms[i].op].used = true;
	for (int i = 1; i < nops; i++) find_uses(&ops[i]);
	for (int i = 1; i < nforms; i++) /* VEX forms of SSE lines do what those do */
		if (forms[i].sse) copy_uses(&ops[forms[i].op], &ops[forms[i].sse]);
	for (int i = 1; i < nops; i++)
		if (!ops[i].used) line_no = ops[i].line, die("nothing is called %s", ops[i].name);
}

/* ---- the tree ---- */

/* Does a ask for everything that b asks for? */
static bool is_within(const struct form *a, const struct form *b)
{
	for (int d = 0; d < DIMS; d++)
		if (a->mask[d] & ~b->mask[d]) return false;
	return true;
}
static uint16_t add_node(int dim, const uint16_t *child)
{
	int n = dim_size[dim];
	for (int at = 0; at < ntree; at += 1 + dim_size[tree[at]])
		if (tree[at] == dim && !memcmp(&tree[at + 1], child, (size_t)n * sizeof *child))
			return (uint16_t)at;
	if (ntree + n >= COUNT(tree)) die("the tree is too big");
	int at = ntree;
	tree[ntree++] = (uint16_t)dim;
	memcpy(&tree[ntree], child, (size_t)n * sizeof *child);
	ntree += n;
	return (uint16_t)at;
}
static uint16_t build(const int *list, int n, int dim)
{
	int part[128];
	uint16_t child[8];
	bool same = true;
	if (!n) return 0x8000;
	if (dim == DIMS) {
		int best = list[0];
		for (int i = 1; i < n; i++)
			if (is_within(&forms[list[i]], &forms[best])) best = list[i];
		for (int i = 0; i < n; i++)
			if (list[i] != best && (!is_within(&forms[best], &forms[list[i]]) || is_within(&forms[list[i]], &forms[best]))) {
				line_no = forms[list[i]].line;
				die("means the same as line %d", forms[best].line);
			}
		return (uint16_t)(0x8000 | best);
	}
	for (int v = 0; v < dim_size[dim]; v++) {
		int k = 0;
		for (int i = 0; i < n; i++)
			if (forms[list[i]].mask[dim] >> v & 1) part[k++] = list[i];
		child[v] = build(part, k, dim + 1);
		same &= child[v] == child[0];
	}
	return same ? child[0] : add_node(dim, child);
}
static void build_all(void)
{
	for (int m = 0; m < 7; m++)
		for (int o = 0; o < 256; o++) {
			int list[128], n = 0, modrm = 0;
			for (int i = 1; i < nforms; i++) {
				const struct form *f = &forms[i];
				if (f->map != m || o < f->opcode || o >= f->opcode + f->count) continue;
				if (n == COUNT(list)) die("too many lines for %x", o);
				list[n++] = i;
				modrm += f->modrm;
			}
			if (modrm && modrm != n) die("opcode %x of map %d: ModRM or not?", o, m);
			has_modrm[m][o] = modrm;
			root[m][o] = build(list, n, 0);
		}
}

/* ---- meanings: expressions become steps, one verb each, in the order of the text ---- */

static const char *at;
static int temps, nlocals;
static struct {
	char name[16];
	int temp;
} locals[16];

static void skip(void) { at += strspn(at, " "); }
static void expect(char c)
{
	skip();
	if (*at++ != c) die("'%c' expected before \"%s\"", c, at - 1);
}
static void read_word(char *to)
{
	skip();
	size_t n = 0;
	while (isalnum(*at) || *at == '_' || *at == '-') {
		if (n == 15) die("\"%s\": too long a word", to);
		to[n++] = *at++;
	}
	to[n] = 0;
	if (!n) die("a word expected at \"%s\"", at);
}
static const struct verb *find_verb(const char *name)
{
	for (int i = 0; i < nverbs; i++)
		if (!strcmp(verbs[i].name, name)) return &verbs[i];
	die("no verb is called %s", name);
}
static int value(void);
static int call(const char *name, bool wanted)
{
	const struct verb *v = find_verb(name);
	char args[128] = "", one[20];
	if (wanted && v->kind == 'd') die("%s has no result", name);
	if (*v->takes) expect('(');
	for (int i = 0; v->takes[i]; i++) {
		if (i) expect(',');
		if (v->takes[i] == 'v') snprintf(one, sizeof one, "t%d", value());
		else read_word(one);
		strcat(args, i ? ", " : "");
		strcat(args, one);
	}
	if (*v->takes) expect(')');
	if (v->kind == 'd') return printf(" %s(%s);", name, args), -1;
	if (v->kind == 'p') printf(" V t%d = %s(%s);", temps, name, args);
	else printf(" %s(t%d%s%s);", name, temps, *args ? ", " : "", args);
	return temps++;
}
static int value(void)
{
	char word[16];
	read_word(word);
	for (int i = 0; i < nlocals; i++)
		if (!strcmp(locals[i].name, word)) return locals[i].temp;
	return call(word, true);
}
static void print_sem(const struct op *o)
{
	char word[16];
	at = o->sem;
	line_no = o->line;
	temps = nlocals = 0;
	printf("OP(%s, {", o->name);
	if (!*at) printf(" FOREIGN(%s);", o->name);
	else if (*at != '-')
		for (;;) {
			read_word(word);
			skip();
			if (*at == '=') {
				at++;
				int t = value();
				if (nlocals == COUNT(locals)) die("too many names");
				COPY(locals[nlocals].name, word);
				locals[nlocals++].temp = t;
			} else call(word, false);
			skip();
			if (!*at) break;
			expect(';');
		}
	printf(" })\n");
}

/* ---- printing ---- */

static unsigned flag_bits(const char *s)
{
	static const char letters[] = "c p a zs ido"; /* by bit of EFLAGS; i is bit 9 */
	unsigned bits = 0;
	for (; *s; s++) bits |= 1u << (strchr(letters, *s) - letters);
	return bits;
}
static void print_enum(void)
{
	for (int i = 0; i < nops; i++) printf("X86_OP_%s,\n", ops[i].name);
	printf("X86_OP__max,\n");
}
static void print_words(const char *prefix, const char *const *list, int n)
{
	printf("enum {");
	for (int i = 0; i < n; i++) printf(" %s_%s,", prefix, list[i]);
	printf(" %s__max };\n", prefix);
}
static void print_form(const struct form *f)
{
	printf("\t{X86_OP_%s, %d, 0x%x, %s%s%s%s%s%s%s%s0, {", ops[f->op].name, f->map, f->opcode,
	       f->modrm ? "F_MODRM | " : "", f->d64 ? "F_D64 | " : "", f->f64 ? "F_F64 | " : "",
	       f->anymod ? "F_ANYMOD | " : "", f->vsib ? "F_VSIB | " : "", f->vsibh ? "F_VSIBH | " : "",
	       ops[f->op].lock ? "F_LOCK | " : "", f->cc ? "F_CC | " : "");
	for (int i = 0; i < f->operands; i++) printf("%s{M_%s, T_%s}", i ? ", " : "", methods[f->method[i]], types[f->type[i]]);
	printf("}, {");
	for (int d = 0; d < DIMS; d++) printf("%s0x%x", d ? ", " : "", f->mask[d]);
	printf("}, %d},\n", f->count);
}
static void print_info(void)
{
	printf("enum {");
	for (int d = 0; d < DIMS; d++) printf(" D_%s,", dim_name[d]);
	printf(" DIMS };\n");
	print_words("M", methods, COUNT(methods));
	print_words("T", types, COUNT(types));
	printf("#ifdef X86_TABLES\nconst struct x86_form x86_forms[] = {\n\t{0},\n");
	for (int i = 1; i < nforms; i++) print_form(&forms[i]);
	printf("};\nconst struct x86_op_info x86_ops[] = {\n");
	for (int i = 0; i < nops; i++)
		printf("\t{\"%s\", %d, %d, 0x%x, 0x%x, 0x%x, 0x%x, 0x%x, 0x%x, 0x%x},\n", ops[i].name, ops[i].lock, ops[i].rep,
		       flag_bits(ops[i].w), flag_bits(ops[i].u), flag_bits(ops[i].r), ops[i].o[0], ops[i].o[1], ops[i].regs[0], ops[i].regs[1]);
	printf("};\nstatic const uint16_t tree[] = {");
	for (int i = 0; i < ntree; i++) printf("%s%u,", i % 16 ? " " : "\n\t", tree[i]);
	printf("\n};\nstatic const struct x86_root roots[7][256] = {\n");
	for (int m = 0; m < 7; m++) {
		printf("\t{");
		for (int o = 0; o < 256; o++) printf("%s{%u, %d},", o % 12 ? " " : "\n\t ", root[m][o], has_modrm[m][o]);
		printf("},\n");
	}
	printf("};\n#endif\n");
}
int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: x86gen TABLE.isa enum|info|sem\n");
		return 2;
	}
	path = argv[1];
	read_table();
	build_all();
	printf("/* made from %s by tools/x86gen */\n", path);
	if (!strcmp(argv[2], "enum")) print_enum();
	else if (!strcmp(argv[2], "info")) print_info();
	else for (int i = 1; i < nops; i++) print_sem(&ops[i]);
	return ferror(stdout) || fflush(stdout);
}
