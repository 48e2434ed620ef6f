/* What the oracle does not know or gets wrong, by formulas: Zicond, Zcb's arithmetic, Zfa, Zimop.
 * Operands are taken from the word's bits, not from our decoder. */
#include "isa/rv64/fp_cases.h"
#include "oracle_test.h"

static unsigned field(uint32_t word, unsigned at) { return word >> at & 31; }
static uint64_t x(const struct oracle_case *c, unsigned reg) { return reg ? c->x[reg & 3] : 0; }
static bool set(struct oracle_case *c, unsigned reg, uint64_t v)
{
	if (reg) c->x[reg & 3] = v;
	return true;
}

/* 100 0ff sss ii ttt 00: loads and stores of bytes and halves, ff lbu lh[u] sb sh.
 * 100 1 11 ddd 1k sss 01: c.mul, and the six with one operand. Unpriv. spec, Zcb. */
static bool zcb_memory(uint32_t word) { return (word & 0xf003) == 0x8000; }
bool is_zcb(uint32_t word) { return zcb_memory(word) || (word & 0xfc43) == 0x9c41; }

/* 011 0 0nnn1 00000 01 */
bool is_zcmop(uint32_t word) { return word < 0x10000 && (word & 0xf8ff) == 0x6081; }

static bool memory(uint32_t word, struct oracle_case *c)
{
	unsigned reg = 8 + (word >> 2 & 7), kind = word >> 10 & 7, off = word >> 4 & 2;
	char *at = (char *)c->mem;
	if (!(kind & 1)) off |= word >> 6 & 1;
	at += 24 + (c->x[0] - ORACLE_MEMORY - offsetof(struct oracle_case, mem)) % 8 + off;
	switch (kind) {
	case 0: return set(c, reg, load_le(at, 1));
	case 1: return set(c, reg, word & 64 ? (uint64_t)(int16_t)load_le(at, 2) : load_le(at, 2));
	case 2: store_le(at, x(c, reg), 1); return true;
	case 3: store_le(at, x(c, reg), 2); return true;
	}
	return false;
}

static bool zcb(uint32_t word, struct oracle_case *c)
{
	unsigned d = 8 + (word >> 7 & 7), kind = word >> 2 & 7;
	uint64_t v = x(c, d);
	if (zcb_memory(word)) return memory(word, c);
	if (!(word & 0x20)) return set(c, d, v * x(c, 8 + kind));
	switch (kind) {
	case 0: return set(c, d, v & 0xff);
	case 1: return set(c, d, (uint64_t)(int8_t)v);
	case 2: return set(c, d, v & 0xffff);
	case 3: return set(c, d, (uint64_t)(int16_t)v);
	case 4: return set(c, d, v & 0xffffffff);
	case 5: return set(c, d, v ^ ~0ull);
	}
	return false;
}

/* qemu 7.2 counts on into the upper half, up to 64. */
static bool ctzw(uint32_t word, struct oracle_case *c, uint64_t v)
{
	uint64_t n = 0;
	while (n < 32 && !(v >> n & 1)) n++;
	return set(c, field(word, 7), n);
}

static bool fli(uint32_t word, struct oracle_case *c)
{
	unsigned i = field(word, 15);
	uint64_t *f = &c->f[word >> 7 & 3];
	switch (word >> 25 & 3) {
	case 0: *f = fp_fli_f32[i] | ~0ull << 32; return true;
	case 1: *f = fp_fli_f64[i]; return true;
	case 2: *f = fp_fli_f16[i] | ~0ull << 16; return true;
	}
	return false;
}

bool oracle_reference(const char *op, uint32_t word, struct oracle_case *c)
{
	uint64_t s = x(c, field(word, 15)), t = x(c, field(word, 20));
	c->out = OUT_NEXT;
	if (is_zcmop(word)) return true;
	if ((word & 3) != 3) return is_zcb(word) && zcb(word, c);
	if (!strcmp(op, "czero.eqz")) return set(c, field(word, 7), t ? s : 0);
	if (!strcmp(op, "czero.nez")) return set(c, field(word, 7), t ? 0 : s);
	if (!strncmp(op, "mop.", 4)) return set(c, field(word, 7), 0);
	if (!strcmp(op, "ctzw")) return ctzw(word, c, s);
	if (!strncmp(op, "fli.", 4)) return fli(word, c);
	for (size_t i = 0; i < COUNT(fp_ops); i++)
		if (!strcmp(op, fp_ops[i].name)) return oracle_fp(&fp_ops[i], word, c);
	return false;
}
