#include "base/test.h"
#include "jit/jit.h"
#include "jit/rig.h"
#include <stdio.h>

static void show(struct rig *g, uint64_t seed)
{
	printf("seed %llu\n", (unsigned long long)seed);
	ir_print(g->f, stdout);
	const struct jit_unit *u = jit_add(g->cache, g->f);
	if (u) jit_dump(g->cache, u, stdout);
	for (unsigned k = 0; k < 2; k++) {
		struct rig_state *s = &g->s[k];
		printf("%s: pc %llx", k ? "jit " : "eval", (unsigned long long)s->pc);
		for (unsigned n = 0; n < RIG_X; n++)
			printf(" x%u=%llx", n, (unsigned long long)s->x[n]);
		for (unsigned n = 0; n < RIG_F; n++)
			printf(" f%u=%llx", n, (unsigned long long)s->f[n]);
		for (unsigned n = 0; n < RIG_W; n++) printf(" w%u=%x", n, s->w[n]);
		printf(" h=%x b=%x\n", s->h, s->b);
	}
}

/* Random functions: code does what the evaluator does. */
TEST(jit_random)
{
	static struct rig g;
	CHECK(rig_open(&g) == 0);
	const char *only = getenv("JIT_SEED"), *count = getenv("JIT_COUNT");
	uint64_t first = only ? strtoull(only, NULL, 10) : 1,
		 n = only    ? 1
		     : count ? strtoull(count, NULL, 10)
			     : 20000;
	for (uint64_t seed = first; seed < first + n; seed++) {
		struct rig_rng r = {.s = seed * 0x9e3779b97f4a7c15u | 1};
		for (unsigned k = 0; k < 4; k++) rig_next(&r);
		ir_reset(g.f);
		rig_function(g.f, &r);
		struct err e = {0};
		if (ir_verify(g.f, &e) < 0) {
			printf("seed %llu: %s\n", (unsigned long long)seed, e.msg);
			CHECK(!"verifies");
			break;
		}
		if (getenv("JIT_V")) show(&g, seed);
		bool ok = rig_agree(&g, seed) && rig_agree(&g, seed + 77);
		if (!ok) show(&g, seed);
		CHECK(ok);
		if (!ok) break;
	}
	rig_close(&g);
}
