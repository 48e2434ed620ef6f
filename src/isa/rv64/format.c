/* Instructions to text, as objdump -M no-aliases has it. A form's syntax is words and punctuation:
 * the words of the table below are operands, other words and punctuation are printed as they
 * stand, but for the blank, which becomes a tab, and the signs . and /, which only part words. */
#include "base/types.h"
#include "isa/isa.h"
#include "isa/rv64/form.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct text {
	char *at;
	size_t room, len;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	bool fits = t->len < t->room;
	int n = vsnprintf(fits ? t->at + t->len : NULL, fits ? t->room - t->len : 0, fmt, ap);
	va_end(ap);
	if (n > 0) t->len += (size_t)n;
}

static const char *const x_name[32] = {"zero", "ra", "sp",  "gp",  "tp", "t0", "t1", "t2",
				       "s0",   "s1", "a0",  "a1",  "a2", "a3", "a4", "a5",
				       "a6",   "a7", "s2",  "s3",  "s4", "s5", "s6", "s7",
				       "s8",   "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
static const char *const f_name[32] = {"ft0", "ft1", "ft2",  "ft3",  "ft4", "ft5", "ft6",  "ft7",
				       "fs0", "fs1", "fa0",  "fa1",  "fa2", "fa3", "fa4",  "fa5",
				       "fa6", "fa7", "fs2",  "fs3",  "fs4", "fs5", "fs6",  "fs7",
				       "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};
const char *rv64_register_name(unsigned i) { return i < 32 ? x_name[i] : f_name[i & 31]; }
static const char *const rm_name[8] = {"rne", "rtz",	 "rdn",	    "rup",
				       "rmm", "unknown", "unknown", "dyn"};
static const char *const aqrl_name[4] = {"", ".rl", ".aq", ".aqrl"};
static const char *const sew_name[8] = {"e8", "e16", "e32", "e64"};
static const char *const lmul_name[8] = {"m1", "m2", "m4", "m8", NULL, "mf8", "mf4", "mf2"};
static const char *const fli_name[32] = {
	"-0x1p+0",  "min",	"0x1p-16",  "0x1p-15",	"0x1p-8",   "0x1p-7",	"0x1p-4",
	"0x1p-3",   "0x1p-2",	"0x1.4p-2", "0x1.8p-2", "0x1.cp-2", "0x1p-1",	"0x1.4p-1",
	"0x1.8p-1", "0x1.cp-1", "0x1p+0",   "0x1.4p+0", "0x1.8p+0", "0x1.cp+0", "0x1p+1",
	"0x1.4p+1", "0x1.8p+1", "0x1p+2",   "0x1p+3",	"0x1p+4",   "0x1p+7",	"0x1p+8",
	"0x1p+15",  "0x1p+16",	"inf",	    "nan"};

enum look {
	X,
	F,
	DECIMAL,
	HEX,
	HIGH,
	TARGET,
	CSR,
	RM_DYN,
	RM_RNE,
	AQRL,
	FENCE_PRED,
	FENCE_SUCC,
	FLI,
	VECTOR,
	MASK,
	VTYPE
};
static const struct operand {
	const char *word;
	enum look look;
	enum rv64_member member;
} operands[] = {
	{"d", X, RV64_RD},
	{"D", X, RV64_RD},
	{"s", X, RV64_RS1},
	{"S", X, RV64_RS1},
	{"t", X, RV64_RS2},
	{"T", X, RV64_RS2},
	{"fd", F, RV64_RD},
	{"fD", F, RV64_RD},
	{"fs", F, RV64_RS1},
	{"ft", F, RV64_RS2},
	{"fT", F, RV64_RS2},
	{"fu", F, RV64_RS3},
	{"imm", DECIMAL, RV64_IMM},
	{"shamt", HEX, RV64_IMM},
	{"hi20", HIGH, RV64_IMM},
	{"uimm", DECIMAL, RV64_RS1},
	{"target", TARGET, RV64_IMM},
	{"csr", CSR, RV64_IMM},
	{"rm", RM_DYN, RV64_RM},
	{"rm0", RM_RNE, RV64_RM},
	{"aqrl", AQRL, RV64_RM},
	{"pred", FENCE_PRED, RV64_IMM},
	{"succ", FENCE_SUCC, RV64_IMM},
	{"fli", FLI, RV64_RS1},
	{"vd", VECTOR, RV64_RD},
	{"vs", VECTOR, RV64_RS1},
	{"vt", VECTOR, RV64_RS2},
	{"vm", MASK, RV64_RM},
	{"vtype", VTYPE, RV64_IMM},
};

static void put_csr(struct text *t, unsigned number)
{
	const char *name = rv64_csr_name(number);
	name ? put(t, "%s", name) : put(t, "0x%x", number);
}
static void put_fence_set(struct text *t, unsigned set)
{
	put(t, "%s%s%s%s%s", set & 8 ? "i" : "", set & 4 ? "o" : "", set & 2 ? "r" : "",
	    set & 1 ? "w" : "", set & 15 ? "" : "unknown");
}
/* The rounding mode is the last operand; the usual one goes unsaid. */
static void put_rm(struct text *t, unsigned rm, unsigned usual)
{
	if (rm != usual) put(t, ",%s", rm_name[rm & 7]);
}
/* What vsetvli asks for; bits that mean nothing yet make a number of it. */
static void put_vtype(struct text *t, unsigned v)
{
	const char *sew = sew_name[v >> 3 & 7], *lmul = lmul_name[v & 7];
	if (v >> 8 || !sew || !lmul) return put(t, "%u", v);
	put(t, "%s,%s,%s,%s", sew, lmul, v >> 6 & 1 ? "ta" : "tu", v >> 7 & 1 ? "ma" : "mu");
}
static void put_operand(struct text *t, enum look look, int32_t v, uint64_t pc)
{
	uint32_t u = (uint32_t)v;
	switch (look) {
	case X: return put(t, "%s", x_name[u & 31]);
	case F: return put(t, "%s", f_name[u & 31]);
	case DECIMAL: return put(t, "%" PRId32, v);
	case HEX: return put(t, "0x%" PRIx32, u);
	case HIGH: return put(t, "0x%" PRIx32, u >> 12);
	case TARGET: return put(t, "0x%" PRIx64, pc + (uint64_t)(int64_t)v);
	case CSR: return put_csr(t, u);
	case RM_DYN: return put_rm(t, u, 7);
	case RM_RNE: return put_rm(t, u, 0);
	case AQRL: return put(t, "%s", aqrl_name[u & 3]);
	case FENCE_PRED: return put_fence_set(t, u >> 4);
	case FENCE_SUCC: return put_fence_set(t, u);
	case FLI: return put(t, "%s", fli_name[u & 31]);
	case VECTOR: return put(t, "v%u", u & 31);
	case MASK: return put(t, "%s", u ? "" : ",v0.t");
	case VTYPE: return put_vtype(t, u);
	}
}

static void put_word(struct text *t, const char *word, int len, const struct rv64_insn *i,
		     uint64_t pc)
{
	const int32_t v[RV64_MEMBERS] = {i->imm, i->rd, i->rs1, i->rs2, i->rs3, i->rm};
	for (const struct operand *o = operands; o < operands + COUNT(operands); o++)
		if (!strncmp(o->word, word, (size_t)len) && !o->word[len])
			return put_operand(t, o->look, v[o->member], pc);
	put(t, "%.*s", len, word);
}
static void put_syntax(struct text *t, const char *s, const struct rv64_insn *i, uint64_t pc)
{
	if (*s && *s != '.') put(t, "\t");
	while (*s) {
		int len = 0;
		while (isalnum((unsigned char)s[len])) len++;
		if (len)
			put_word(t, s, len, i, pc);
		else if (*s != '.' && *s != '/')
			put(t, "%c", *s == ' ' ? '\t' : *s);
		s += len ? len : 1;
	}
}

/* The number in vlseg2e8.v or mop.r.31 is the % of the table's name. */
static void put_name(struct text *t, const char *name, unsigned number)
{
	const char *at = strchr(name, '%');
	at ? put(t, "%.*s%u%s", (int)(at - name), name, number, at + 1) : put(t, "%s", name);
}

/* Bits that were given a name for being illegal: all zeroes, and a write to the counter "cycle". */
static const char *unimp(const struct rv64_insn *i)
{
	if (i->len == 2 && !i->raw) return "c.unimp";
	return i->raw == 0xc0001073 ? "unimp" : NULL;
}

int rv64_format(char *out, size_t room, const struct rv64_insn *i, uint64_t pc)
{
	struct text t = {out, room, 0};
	const struct rv64_form *f = &rv64_forms[rv64_form_of(i->raw)];
	if (room) *out = 0;
	if (unimp(i)) {
		put(&t, "%s", unimp(i));
	} else if (!f->op) {
		put(&t, ".%dbyte\t0x%" PRIx32, i->len, i->raw);
	} else {
		put_name(&t, f->info.name, i->rs3);
		put_syntax(&t, f->info.syntax, i, pc);
	}
	return (int)t.len;
}

static int format(char *out, size_t room, const uint8_t *code, size_t len, gva_t pc)
{
	struct rv64_insn i;
	if (room) *out = 0;
	if (len < 2) return 0;
	unsigned need = (*code & 3) == 3 ? 4 : 2;
	if (len < need) return 0;
	rv64_decode(&i, (uint32_t)load_le(code, need));
	(void)rv64_format(out, room, &i, pc);
	return i.op == OP_illegal ? 0 : i.len;
}
const struct isa isa_rv64 = {"rv64", ARCH_RV64, format};
