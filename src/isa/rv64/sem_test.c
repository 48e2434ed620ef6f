/* The meanings read as a lifter reads them: a value is a node of a graph, not a number, and every
 * verb adds one. This proves that rv64.sem.inc asks nothing of V but that it can be passed on, and
 * it lets the meanings themselves be looked at: first whole, then by evaluating the nodes. */
#include "base/test.h"
#include "base/types.h"
#include "isa/rv64/form.h"
#include <stdio.h>

typedef unsigned __int128 u128;
typedef __int128 i128;

static int64_t sx(uint64_t a, uint64_t bits) { return (int64_t)(a << (64 - bits)) >> (64 - bits); }
static uint64_t zx(uint64_t a, uint64_t bits) { return a << (64 - bits) >> (64 - bits); }
static int64_t s64(uint64_t a) { return (int64_t)a; }
static uint64_t w64(uint64_t a) { return (uint64_t)sx(a, 32); }

static uint64_t divide(int64_t a, int64_t b) { return b ? (uint64_t)((i128)a / b) : ~0ull; }
static uint64_t remain(int64_t a, int64_t b) { return b ? (uint64_t)((i128)a % b) : (uint64_t)a; }
static uint64_t divideu(uint64_t a, uint64_t b) { return b ? a / b : ~0ull; }
static uint64_t remainu(uint64_t a, uint64_t b) { return b ? a % b : a; }
static u128 carryless(uint64_t a, uint64_t b)
{
	u128 r = 0;
	for (int i = 0; i < 64; i++)
		if (b >> i & 1) r ^= (u128)a << i;
	return r;
}
static uint64_t zeroes_above(uint64_t a, unsigned bits)
{
	return a ? (uint64_t)__builtin_clzll(a) - (64 - bits) : bits;
}
static uint64_t zeroes_below(uint64_t a, unsigned bits)
{
	return a ? (uint64_t)__builtin_ctzll(a) : bits;
}
static uint64_t or_bytes(uint64_t a)
{
	uint64_t r = 0;
	for (int i = 0; i < 64; i += 8)
		if (a >> i & 0xff) r |= 0xffull << i;
	return r;
}
static uint64_t ror(uint64_t a, uint64_t n, unsigned bits)
{
	return n ? zx(a, bits) >> n | zx(a << (bits - n), bits) : zx(a, bits);
}

/* Pure verbs: name, what they compute from a, b and c. */
#define PURE(X)                                                                                    \
	X(NOT, ~a)                                                                                 \
	X(NEG, -a)                                                                                 \
	X(CLZ, zeroes_above(a, 64))                                                                \
	X(CTZ, zeroes_below(a, 64))                                                                \
	X(CPOP, (uint64_t)__builtin_popcountll(a))                                                 \
	X(CLZW, zeroes_above(zx(a, 32), 32))                                                       \
	X(CTZW, zeroes_below(zx(a, 32), 32))                                                       \
	X(CPOPW, (uint64_t)__builtin_popcountll(zx(a, 32)))                                        \
	X(ORCB, or_bytes(a))                                                                       \
	X(REV8, __builtin_bswap64(a))                                                              \
	X(ADD, a + b)                                                                              \
	X(SUB, a - b)                                                                              \
	X(MUL, a *b)                                                                               \
	X(MULH, (uint64_t)((i128)s64(a) * s64(b) >> 64))                                           \
	X(MULHU, (uint64_t)((u128)a * b >> 64))                                                    \
	X(MULHSU, (uint64_t)((i128)s64(a) * (i128)(u128)b >> 64))                                  \
	X(DIV, divide(s64(a), s64(b)))                                                             \
	X(DIVU, divideu(a, b))                                                                     \
	X(REM, remain(s64(a), s64(b)))                                                             \
	X(REMU, remainu(a, b))                                                                     \
	X(DIVW, w64(divide(sx(a, 32), sx(b, 32))))                                                 \
	X(DIVUW, w64(divideu(zx(a, 32), zx(b, 32))))                                               \
	X(REMW, w64(remain(sx(a, 32), sx(b, 32))))                                                 \
	X(REMUW, w64(remainu(zx(a, 32), zx(b, 32))))                                               \
	X(AND, a &b)                                                                               \
	X(OR, a | b)                                                                               \
	X(XOR, a ^ b)                                                                              \
	X(SHL, a << b)                                                                             \
	X(SHR, a >> b)                                                                             \
	X(SAR, (uint64_t)(s64(a) >> b))                                                            \
	X(ROL, ror(a, -b & 63, 64))                                                                \
	X(ROR, ror(a, b, 64))                                                                      \
	X(ROLW, w64(ror(a, -b & 31, 32)))                                                          \
	X(RORW, w64(ror(a, b, 32)))                                                                \
	X(EQ, a == b)                                                                              \
	X(NE, a != b)                                                                              \
	X(LT, s64(a) < s64(b))                                                                     \
	X(LE, s64(a) <= s64(b))                                                                    \
	X(LTU, a < b)                                                                              \
	X(LEU, a <= b)                                                                             \
	X(CLMUL, (uint64_t)carryless(a, b))                                                        \
	X(CLMULH, (uint64_t)(carryless(a, b) >> 64))                                               \
	X(CLMULR, (uint64_t)(carryless(a, b) >> 63))                                               \
	X(SEL, a ? b : c)                                                                          \
	X(SX, (uint64_t)sx(a, b))                                                                  \
	X(ZX, zx(a, b))

#define NAME(n, e) N_##n,
enum verb {
	PURE(NAME) N_K,
	N_R,
	N_FREG,
	N_FOP,
	N_FNR,
	N_LOAD,
	N_LR,
	N_SC,
	N_AMO,
	N_SET,
	N_SETF,
	N_STORE,
	N_BR,
	N_JUMP,
	N_GOTO,
	N_FP,
	N_FENCE,
	N_STOP,
	N_HELPER,
	N_VECTOR,
	N_VMEM
};
#undef NAME

/* ---- the lifter ---- */

struct val {
	int node;
};
struct node {
	enum verb verb;
	struct val arg[3];
	uint64_t k; /* constant, register number or width */
	const char *word;
};
struct graph {
	struct node node[64];
	int n;
};

static struct val add(struct graph *g, enum verb v, struct val a, struct val b, struct val c)
{
	g->node[g->n] = (struct node){.verb = v, .arg = {a, b, c}};
	return (struct val){g->n++};
}
static struct val leaf(struct graph *g, enum verb v, uint64_t k, const char *word)
{
	struct val r = add(g, v, (struct val){0}, (struct val){0}, (struct val){0});
	g->node[r.node].k = k;
	g->node[r.node].word = word;
	return r;
}
static struct val with(struct graph *g, struct val r, uint64_t k, const char *word)
{
	g->node[r.node].k = k;
	g->node[r.node].word = word;
	return r;
}

#define V		       struct val
#define NONE		       ((struct val){0})
#define N1(v, a)	       add(g, v, a, NONE, NONE)
#define N2(v, a, b)	       add(g, v, a, b, NONE)
#define N3(v, a, b, c)	       add(g, v, a, b, c)
#define K(x)		       leaf(g, N_K, (uint64_t)(x), 0)
#define IMM()		       K((int64_t)i->imm)
#define PC()		       K(pc)
#define NEXT_PC()	       K(pc + i->len)
#define R(f)		       leaf(g, N_R, i->f, 0)
#define F64(f)		       leaf(g, N_FREG, i->f, "F64")
#define F32(f)		       leaf(g, N_FREG, i->f, "F32")
#define F16(f)		       leaf(g, N_FREG, i->f, "F16")
#define FRAW(f)		       leaf(g, N_FREG, i->f, "FRAW")
#define FLI64(f)	       leaf(g, N_FREG, i->f, "FLI64")
#define FLI32(f)	       leaf(g, N_FREG, i->f, "FLI32")
#define FLI16(f)	       leaf(g, N_FREG, i->f, "FLI16")
#define NOT(a)		       N1(N_NOT, a)
#define CLZ(a)		       N1(N_CLZ, a)
#define CTZ(a)		       N1(N_CTZ, a)
#define CPOP(a)		       N1(N_CPOP, a)
#define CLZW(a)		       N1(N_CLZW, a)
#define CTZW(a)		       N1(N_CTZW, a)
#define CPOPW(a)	       N1(N_CPOPW, a)
#define ORCB(a)		       N1(N_ORCB, a)
#define REV8(a)		       N1(N_REV8, a)
#define ADD(a, b)	       N2(N_ADD, a, b)
#define SUB(a, b)	       N2(N_SUB, a, b)
#define MUL(a, b)	       N2(N_MUL, a, b)
#define MULH(a, b)	       N2(N_MULH, a, b)
#define MULHU(a, b)	       N2(N_MULHU, a, b)
#define MULHSU(a, b)	       N2(N_MULHSU, a, b)
#define DIV(a, b)	       N2(N_DIV, a, b)
#define DIVU(a, b)	       N2(N_DIVU, a, b)
#define REM(a, b)	       N2(N_REM, a, b)
#define REMU(a, b)	       N2(N_REMU, a, b)
#define DIVW(a, b)	       N2(N_DIVW, a, b)
#define DIVUW(a, b)	       N2(N_DIVUW, a, b)
#define REMW(a, b)	       N2(N_REMW, a, b)
#define REMUW(a, b)	       N2(N_REMUW, a, b)
#define AND(a, b)	       N2(N_AND, a, b)
#define OR(a, b)	       N2(N_OR, a, b)
#define XOR(a, b)	       N2(N_XOR, a, b)
#define SHL(a, b)	       N2(N_SHL, a, b)
#define SHR(a, b)	       N2(N_SHR, a, b)
#define SAR(a, b)	       N2(N_SAR, a, b)
#define ROL(a, b)	       N2(N_ROL, a, b)
#define ROR(a, b)	       N2(N_ROR, a, b)
#define ROLW(a, b)	       N2(N_ROLW, a, b)
#define RORW(a, b)	       N2(N_RORW, a, b)
#define EQ(a, b)	       N2(N_EQ, a, b)
#define NE(a, b)	       N2(N_NE, a, b)
#define LT(a, b)	       N2(N_LT, a, b)
#define LE(a, b)	       N2(N_LE, a, b)
#define LTU(a, b)	       N2(N_LTU, a, b)
#define LEU(a, b)	       N2(N_LEU, a, b)
#define CLMUL(a, b)	       N2(N_CLMUL, a, b)
#define CLMULH(a, b)	       N2(N_CLMULH, a, b)
#define CLMULR(a, b)	       N2(N_CLMULR, a, b)
#define SEL(c, a, b)	       N3(N_SEL, c, a, b)
#define SX(a, bits)	       N2(N_SX, a, K(bits))
#define ZX(a, bits)	       N2(N_ZX, a, K(bits))
#define LOAD(t, a, bits)       V t = with(g, N1(N_LOAD, a), bits, 0)
#define LR(t, a, bits)	       V t = with(g, N1(N_LR, a), bits, 0)
#define SC(t, a, v, bits)      V t = with(g, N2(N_SC, a, v), bits, 0)
#define AMO(t, op, a, v, bits) V t = with(g, N2(N_AMO, a, v), bits, #op)
#define FOP1(t, fn, a)	       V t = with(g, N1(N_FOP, a), i->rm, #fn)
#define FOP2(t, fn, a, b)      V t = with(g, N2(N_FOP, a, b), i->rm, #fn)
#define FOP3(t, fn, a, b, c)   V t = with(g, N3(N_FOP, a, b, c), i->rm, #fn)
#define FNR1(t, fn, a)	       V t = with(g, N1(N_FNR, a), 0, #fn)
#define FNR2(t, fn, a, b)      V t = with(g, N2(N_FNR, a, b), 0, #fn)
#define SET(f, v)	       with(g, N1(N_SET, v), i->f, 0)
#define SETF64(f, v)	       with(g, N1(N_SETF, v), i->f, "F64")
#define SETF32(f, v)	       with(g, N1(N_SETF, v), i->f, "F32")
#define SETF16(f, v)	       with(g, N1(N_SETF, v), i->f, "F16")
#define STORE(a, v, bits)      with(g, N2(N_STORE, a, v), bits, 0)
#define BR(c, to)	       N2(N_BR, c, to)
#define JUMP(to)	       N1(N_JUMP, to)
#define GOTO(to)	       N1(N_GOTO, to)
#define FP()		       leaf(g, N_FP, 0, 0)
#define FENCE()		       leaf(g, N_FENCE, 0, 0)
#define STOP()		       leaf(g, N_STOP, 0, 0)
#define HELPER(fn)	       leaf(g, N_HELPER, 0, #fn)
#define VECTOR(shape, kernel)  leaf(g, N_VECTOR, 0, #shape " " #kernel)
#define VMEM(shape, bits)      leaf(g, N_VMEM, bits, #shape)
#define OP(name, steps)                                                                            \
	case OP_##name: steps break;

static void lift(struct graph *g, const struct rv64_insn *i, uint64_t pc)
{
	g->n = 0;
	switch (i->op) {
#include "isa/rv64/rv64.sem.inc"
	default: break;
	}
}

/* ---- properties of every meaning ---- */

static bool has_rounding(const struct rv64_form *f)
{
	for (unsigned n = 0; n < f->pieces; n++)
		if (f->piece[n].member == RV64_RM)
			return !strstr(f->info.syntax, "aqrl") && !strstr(f->info.syntax, "vm");
	return false;
}
static int count(const struct graph *g, enum verb v)
{
	int n = 0;
	for (int k = 0; k < g->n; k++) n += g->node[k].verb == v;
	return n;
}
static bool ends(const struct node *n)
{
	return n->verb == N_BR || n->verb == N_JUMP || n->verb == N_GOTO || n->verb == N_STOP;
}
static bool well_made(const struct rv64_form *f, const struct graph *g)
{
	for (int k = 0; k + 1 < g->n; k++)
		if (ends(&g->node[k])) return false;
	for (int k = 1; k < g->n; k++)
		if (g->node[k].verb == N_FP) return false;
	if (count(g, N_FREG) + count(g, N_SETF) && g->node[0].verb != N_FP) return false;
	if (has_rounding(f) != (count(g, N_FOP) == 1)) return false;
	return count(g, N_SET) + count(g, N_SETF) < 2 && count(g, N_FOP) + count(g, N_FNR) < 2;
}
TEST(meanings_are_well_made)
{
	static struct graph g;
	for (unsigned op = 1; op < OP__max; op++) {
		struct rv64_insn i = {.op = (uint16_t)op, .len = 4};
		lift(&g, &i, 0);
		CHECK(well_made(&rv64_forms[op], &g));
		if (!g.n) CHECK(!strncmp(rv64_forms[op].info.name, "prefetch", 8));
	}
}

/* ---- evaluation: integers only ---- */

struct machine {
	uint64_t x[32], pc, next;
	uint8_t mem[64];
};
static uint64_t pure(enum verb v, uint64_t a, uint64_t b, uint64_t c)
{
	(void)b, (void)c;
	switch (v) {
#define CASE(n, e)                                                                                 \
	case N_##n: return e;
		PURE(CASE)
#undef CASE
	default: return 0;
	}
}
static uint64_t amo(const char *op, uint64_t old, uint64_t v, uint64_t bits)
{
	bool less = sx(old, bits) < sx(v, bits), lessu = zx(old, bits) < zx(v, bits);
	if (!strcmp(op, "swap")) return v;
	if (!strcmp(op, "add")) return old + v;
	if (!strcmp(op, "and")) return old & v;
	if (!strcmp(op, "or")) return old | v;
	if (!strcmp(op, "xor")) return old ^ v;
	if (!strcmp(op, "min")) return less ? old : v;
	if (!strcmp(op, "max")) return less ? v : old;
	if (!strcmp(op, "minu")) return lessu ? old : v;
	return lessu ? v : old;
}
static uint64_t effect(struct machine *m, const struct node *n, uint64_t a, uint64_t b)
{
	uint8_t *p = &m->mem[a & 56];
	unsigned bytes = (unsigned)n->k / 8;
	uint64_t old = 0;
	switch (n->verb) {
	case N_K: return n->k;
	case N_R: return m->x[n->k];
	case N_LOAD:
	case N_LR: return load_le(p, bytes);
	case N_SC:
	case N_STORE: store_le(p, b, bytes); break;
	case N_AMO:
		old = load_le(p, bytes);
		store_le(p, amo(n->word, old, b, n->k), bytes);
		return old;
	case N_SET:
		if (n->k) m->x[n->k] = a;
		break;
	case N_BR:
		if (a) m->next = b;
		break;
	case N_JUMP:
	case N_GOTO: m->next = a; break;
	default: CHECK(n->verb == N_FENCE);
	}
	return 0;
}
static void step(struct machine *m, uint32_t w)
{
	struct graph g;
	struct rv64_insn i;
	uint64_t v[64] = {0};
	rv64_decode(&i, w);
	CHECK(i.op != OP_illegal);
	m->next = m->pc + i.len;
	lift(&g, &i, m->pc);
	for (int k = 0; k < g.n; k++) {
		const struct node *n = &g.node[k];
		uint64_t a = v[n->arg[0].node], b = v[n->arg[1].node], c = v[n->arg[2].node];
		v[k] = n->verb < N_K ? pure(n->verb, a, b, c) : effect(m, n, a, b);
	}
	m->pc = m->next;
}

/* rd = op(rs1, rs2 or imm) */
struct example {
	enum rv64_op op;
	uint64_t a, b, want;
};
#define M1  (~0ull)
#define MIN (1ull << 63)
#define MAX (MIN - 1)
static const struct example examples[] = {
	{OP_add, MAX, 1, MIN},
	{OP_addw, 0x7fffffff, 1, 0xffffffff80000000},
	{OP_subw, 0, 1, M1},
	{OP_addi, 5, M1, 4},
	{OP_addiw, 0xffffffff, 1, 0},
	{OP_slt, MIN, 0, 1},
	{OP_sltu, MIN, 0, 0},
	{OP_sltiu, 5, M1, 1},
	{OP_sll, 1, 127, MIN},
	{OP_srl, MIN, 63, 1},
	{OP_sra, MIN, 63, M1},
	{OP_sllw, 1, 63, 0xffffffff80000000},
	{OP_srlw, 0xffffffff80000000, 31, 1},
	{OP_sraw, 0x80000000, 31, M1},
	{OP_srliw, M1, 0, M1},
	{OP_sraiw, 0x80000000, 4, 0xfffffffff8000000},
	{OP_mulh, MIN, MIN, 1ull << 62},
	{OP_mulhu, M1, M1, M1 - 1},
	{OP_mulhsu, M1, M1, M1},
	{OP_mulw, 0x10000, 0x8000, 0xffffffff80000000},
	{OP_div, MIN, M1, MIN},
	{OP_div, 7, 0, M1},
	{OP_div, -7ull, 2, -3ull},
	{OP_rem, MIN, M1, 0},
	{OP_rem, -7ull, 2, M1},
	{OP_rem, 7, 0, 7},
	{OP_divu, M1, 2, MAX},
	{OP_divw, 0x80000000, M1, 0xffffffff80000000},
	{OP_divuw, M1, 1, M1},
	{OP_divuw, 1, 0, M1},
	{OP_remw, 0x80000000, 0, 0xffffffff80000000},
	{OP_remuw, 0x80000000, 0, 0xffffffff80000000},
	{OP_add_uw, M1, 1, 0x100000000},
	{OP_sh3add, 1, 5, 13},
	{OP_sh2add_uw, M1, 0, 0x3fffffffc},
	{OP_slli_uw, M1, 4, 0xffffffff0},
	{OP_andn, 15, 5, 10},
	{OP_orn, 0, 5, ~5ull},
	{OP_xnor, 15, 5, ~10ull},
	{OP_clz, 1, 0, 63},
	{OP_clz, 0, 0, 64},
	{OP_clzw, M1 << 32, 0, 32},
	{OP_ctz, 0, 0, 64},
	{OP_ctzw, 1ull << 32, 0, 32},
	{OP_cpop, M1, 0, 64},
	{OP_cpopw, M1, 0, 32},
	{OP_sext_b, 0x80, 0, -128ull},
	{OP_sext_h, 0x8000, 0, -32768ull},
	{OP_zext_h, M1, 0, 0xffff},
	{OP_min, MIN, 1, MIN},
	{OP_minu, MIN, 1, 1},
	{OP_max, MIN, 1, 1},
	{OP_maxu, MIN, 1, MIN},
	{OP_rol, MIN, 1, 1},
	{OP_ror, 1, 1, MIN},
	{OP_rori, 1, 0, 1},
	{OP_rolw, 0x40000000, 1, 0xffffffff80000000},
	{OP_rorw, 1, 1, 0xffffffff80000000},
	{OP_roriw, 0x80000000, 0, 0xffffffff80000000},
	{OP_orc_b, 0x0100008000010000, 0, 0xff0000ff00ff0000},
	{OP_rev8, 0x0102030405060708, 0, 0x0807060504030201},
	{OP_clmul, 3, 3, 5},
	{OP_clmulh, M1, M1, 0x5555555555555555},
	{OP_clmulr, M1, M1, 0xaaaaaaaaaaaaaaaa},
	{OP_bclr, M1, 64, M1 - 1},
	{OP_bext, MIN, 63, 1},
	{OP_binvi, 0, 63, MIN},
	{OP_bset, 0, 65, 2},
	{OP_czero_eqz, 7, 0, 0},
	{OP_czero_eqz, 7, 9, 7},
	{OP_czero_nez, 7, 0, 7},
	{OP_czero_nez, 7, 9, 0},
};
TEST(meanings_compute_what_the_manual_says)
{
	for (const struct example *e = examples; e < examples + COUNT(examples); e++) {
		struct machine m = {.x = {[10] = e->a, [11] = e->b}, .pc = 0x1000};
		struct rv64_insn i = {.rd = 12, .rs1 = 10, .rs2 = 11, .imm = (int32_t)e->b};
		step(&m, rv64_encode(e->op, &i));
		if (m.x[12] != e->want)
			(void)printf("%s: %#lx\n", rv64_info(e->op)->name, (unsigned long)m.x[12]);
		CHECK(m.x[12] == e->want);
		CHECK(m.pc == 0x1004 && m.x[10] == e->a && m.x[11] == e->b);
	}
}
TEST(jumps_and_branches_go_where_they_should)
{
	struct machine m = {.pc = 0x1000, .x = {[1] = 0x2001, [5] = MIN}};
	step(&m, 0x000080e7); /* jalr ra,0(ra): the target is read before ra is written */
	CHECK(m.pc == 0x2000 && m.x[1] == 0x1004);
	step(&m, 0x8082); /* c.jr ra */
	CHECK(m.pc == 0x1004 && m.x[1] == 0x1004);
	step(&m, 0x9282); /* c.jalr t0 */
	CHECK(m.pc == MIN && m.x[1] == 0x1006);
	m.pc = 0x1000;
	step(&m, 0x0002c463); /* blt t0,zero,.+8 */
	CHECK(m.pc == 0x1008);
	step(&m, 0x0002e463); /* bltu t0,zero,.+8 */
	CHECK(m.pc == 0x100c);
	step(&m, 0xfe02dce3); /* bge t0,zero,.-8 */
	CHECK(m.pc == 0x1010);
	step(&m, 0xffdff06f); /* jal zero,.-4 */
	CHECK(m.pc == 0x100c && m.x[0] == 0);
	step(&m, 0xfffff297); /* auipc t0,0xfffff */
	CHECK(m.x[5] == 0xc && m.pc == 0x1010);
}
TEST(memory_is_read_and_written_in_the_right_width)
{
	struct machine m = {.x = {[10] = 8, [11] = 0xfedcba9876543210}};
	step(&m, 0x00b53023); /* sd a1,0(a0) */
	step(&m, 0x00054603); /* lbu a2,0(a0) */
	CHECK(m.x[12] == 0x10);
	step(&m, 0x00052603); /* lw a2,0(a0) */
	CHECK(m.x[12] == 0x76543210);
	m.x[11] = 0xffff8001;
	step(&m, 0x00b51423); /* sh a1,8(a0) */
	step(&m, 0x00851603); /* lh a2,8(a0) */
	CHECK(m.x[12] == (uint64_t)-0x7fff);
	step(&m, 0x00856603); /* lwu a2,8(a0) */
	CHECK(m.x[12] == 0x8001);
	m.x[11] = 0x80000000;
	step(&m, 0xa0b5262f); /* amomax.w a2,a1,(a0) */
	CHECK(m.x[12] == 0x76543210 && load_le(m.mem + 8, 4) == 0x76543210);
	step(&m, 0xe0b5262f); /* amomaxu.w a2,a1,(a0) */
	step(&m, 0x1005262f); /* lr.w a2,(a0) */
	CHECK(m.x[12] == 0xffffffff80000000);
	step(&m, 0x18b5362f); /* sc.d a2,a1,(a0) */
	CHECK(m.x[12] == 0 && load_le(m.mem + 8, 8) == 0x80000000);
}
