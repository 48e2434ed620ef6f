/* Units as they were written, simplified while they were built, cleaned, and read back from text:
 * each verifies, and all do the same. */
#include "base/own.h"
#include "ir/random_test.h"

static struct ir_slot slots[IR_RANDOM_SLOTS];
static struct ir_random_run want, got;
static uint64_t seed;

static void run(const struct ir_fn *f, struct ir_random_run *r)
{
	struct err e = {0};
	must(ir_verify(f, &e) == 0);
	ir_random_start(r, seed);
	ir_random_eval(f, r);
	must(r->end.how != IR_END_STEPS);
}

static void same(const struct ir_fn *raw, const struct ir_fn *f)
{
	run(f, &got);
	must(ir_random_same(&want, &got));
	must(raw->map[want.end.map].why == f->map[got.end.map].why);
}

static void read_back(struct ir_fn *f, const struct ir_fn *from)
{
	char *text = NULL;
	size_t n;
	struct err e = {0};
	FILE *out = open_memstream(&text, &n);
	must(out);
	ir_print(from, out);
	(void)fclose(out);
	ir_reset(f);
	must(ir_parse(f, text, &e) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ir_fn *raw, *f, *parsed;
	if (!raw) {
		ir_random_slots(slots, 0);
		raw = ir_new(slots, IR_RANDOM_SLOTS);
		f = ir_new(slots, IR_RANDOM_SLOTS);
		parsed = ir_new(slots, IR_RANDOM_SLOTS);
	}
	if (!size) return 0;
	seed = data[0];
	ir_reset(raw);
	ir_reset(f);
	ir_random_build(raw, 0, data + 1, size - 1, true);
	ir_random_build(f, 0, data + 1, size - 1, false);
	run(raw, &want);
	same(raw, f);
	ir_ifs(f);
	ir_clean(f);
	same(raw, f);
	read_back(parsed, f);
	same(raw, parsed);
	ir_ifs(raw);
	ir_clean(raw);
	same(raw, raw);
	return 0;
}
