/* The functions of isa/rv64/fp.h, called with an instruction's operands without any decoder or
 * interpreter between: when this differs from the oracle, it is the arithmetic. */
#include "isa/rv64/fp_cases.h"
#include "oracle_test.h"

static uint64_t operand(const struct oracle_case *c, char type, unsigned number)
{
	unsigned reg = number & 3;
	switch (type) {
	case 'd': return c->f[reg];
	case 's': return c->f[reg] >> 32 == 0xffffffff ? (uint32_t)c->f[reg] : F32_NAN;
	case 'h': return c->f[reg] >> 16 == 0xffffffffffff ? (uint16_t)c->f[reg] : F16_NAN;
	default: return number ? c->x[reg] : 0;
	}
}

static void result(struct oracle_case *c, char type, unsigned number, uint64_t v)
{
	unsigned reg = number & 3;
	switch (type) {
	case 'd': c->f[reg] = v; break;
	case 's': c->f[reg] = v | ~0ull << 32; break;
	case 'h': c->f[reg] = v | ~0ull << 16; break;
	default:
		if (number) c->x[reg] = v;
	}
}

static void run_case(const struct fp_op *op, struct oracle_case *c, uint32_t word,
		     struct rv64_fp *fp)
{
	unsigned rm = word >> 12 & 7, at[] = {15, 20, 27};
	uint64_t v[3] = {0};
	fp_frm_set(fp, (unsigned)c->fcsr >> 5);
	fp_flags_set(fp, (unsigned)c->fcsr);
	c->out = OUT_NEXT;
	if (fp_op_rounds(op) && (rm == RM_DYN ? fp->frm : rm) > RM_RMM) {
		c->out = OUT_ILLEGAL;
		return;
	}
	for (size_t i = 0; op->types[i + 1]; i++)
		v[i] = operand(c, op->types[i + 1], word >> at[i] & 31);
	result(c, op->types[0], word >> 7 & 31, fp_op_run(op, fp, v, rm));
	c->fcsr = fp_flags_get(fp) | (unsigned)fp->frm << 5;
}

static void fp_run(size_t op, unsigned slot, struct oracle_slot *s)
{
	(void)slot;
	struct rv64_fp fp = {0};
	fp_enter(&fp);
	for (uint32_t i = 0; i < s->count; i++) run_case(&fp_ops[op], &s->c[i], s->word, &fp);
	fp_leave(&fp);
}

bool oracle_fp(const struct fp_op *op, uint32_t word, struct oracle_case *c)
{
	struct rv64_fp fp = {0};
	run_case(op, c, word, &fp);
	return true;
}

static uint32_t fp_word(size_t op, uint64_t *rnd)
{
	static const uint8_t mode[] = {0, 1, 2, 3, 4, 7, 7, 7, 7, 7};
	uint32_t word = fp_ops[op].word, at[] = {7, 15, 20, 27};
	for (size_t i = 0; fp_ops[op].types[i]; i++)
		word |= (uint32_t)(12 + fp_rnd(rnd) % 4) << at[i];
	if (!fp_op_rounds(&fp_ops[op])) return word;
	uint64_t r = fp_rnd(rnd);
	return word | (uint32_t)(r % 64 ? mode[r % COUNT(mode)] : r >> 8 & 7) << 12;
}

static const char *fp_name(size_t op) { return fp_ops[op].name; }

const struct subject subject_fp = {

	.name = "fp",
	.run = fp_run,
	.batch = 250,
	.ops = COUNT(fp_ops),
	.op_name = fp_name,
	.word = fp_word};
