/* Random units, as they were written and as the builder and ir_clean leave them, do the same.
 * test/fuzz/ir_fuzz.c goes further. */
#include "ir/random_test.h"
#include "base/test.h"

static struct ir_slot slots[IR_RANDOM_SLOTS];
static struct ir_random_run want, got;

static bool run(const struct ir_fn *f, struct ir_random_run *r, uint64_t seed)
{
	struct err e = {0};
	if (ir_verify(f, &e) < 0) (void)printf("%s\n", e.msg);
	ir_random_start(r, seed);
	if (!e.code) ir_random_eval(f, r);
	return !e.code && r->end.how != IR_END_STEPS;
}

static bool all_same(struct ir_fn *raw, struct ir_fn *f, uint64_t seed)
{
	uint8_t bytes[600];
	uint64_t x = seed;
	for (size_t k = 0; k < sizeof(bytes); k++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		bytes[k] = (uint8_t)(x >> 56);
	}
	size_t n = 20 + (x >> 20) % (sizeof(bytes) - 20);
	ir_reset(raw);
	ir_reset(f);
	ir_random_build(raw, 0, bytes, n, true);
	ir_random(f, 0, bytes, n);
	if (!run(raw, &want, seed) || !run(f, &got, seed) || !ir_random_same(&want, &got))
		return false;
	ir_ifs(f);
	ir_clean(f);
	return run(f, &got, seed) && ir_random_same(&want, &got) &&
	       raw->map[want.end.map].why == f->map[got.end.map].why;
}

TEST(ir_random_units_do_the_same_simplified)
{
	ir_random_slots(slots, 0);
	struct ir_fn *raw = ir_new(slots, IR_RANDOM_SLOTS), *f = ir_new(slots, IR_RANDOM_SLOTS);
	for (uint64_t seed = 1; seed <= 1000; seed++) {
		bool same = all_same(raw, f, seed);
		if (!same) (void)printf("seed %llu\n", (unsigned long long)seed);
		CHECK(same);
		if (!same) break;
	}
	ir_free(raw);
	ir_free(f);
}
