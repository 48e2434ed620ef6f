#include "base/test.h"
#include "jit/impl.h"
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

static void fresh(struct rig *g)
{
	struct rig_rng r = {.s = 9};
	CHECK(rig_open(g) == 0);
	rig_init(&g->s[1], &r, g->mem[1]);
	g->s[1].poll = 0;
}
static const struct jit_unit *start(struct rig *g)
{
	ir_reset(g->f);
	g->f->at = ir_block_new(g->f);
	g->f->block[0].loop = ~0u;
	return NULL;
}
/* x0 += k; then out by the map {x0}. */
static const struct jit_unit *adds(struct rig *g, uint64_t k, enum ir_exit how, int32_t pc)
{
	start(g);
	ir_val v = ir_emit(g->f, IR_add, IR_I64, ir_get(g->f, IR_I64, 0), ir_konst(g->f, IR_I64, k),
			   (ir_val){0});
	struct ir_pair p = {0, v.n};
	ir_poll(g->f, ir_map_new(g->f, NULL, 0, 12, 7));
	ir_exit(g->f, how, ir_map_new(g->f, &p, 1, pc, 5));
	return jit_add(g->cache, g->f);
}

TEST(jit_link_near)
{
	static struct rig g;
	fresh(&g);
	struct rig_state *s = &g.s[1];
	s->x[0] = 100;
	const struct jit_unit *a = adds(&g, 1, IR_EXIT_NEAR, 0x20);
	const struct jit_unit *b = adds(&g, 10, IR_EXIT_STOP, -0x30);
	CHECK(a && b && jit_entry(a) != jit_entry(b));
	struct jit_exit x = jit_enter(g.cache, s, jit_entry(a));
	CHECK(x.how == JIT_LINK && s->pc == s->base + 0x20 && s->x[0] == 101);
	jit_link(g.cache, x.link, jit_entry(b));
	x = jit_enter(g.cache, s, jit_entry(a));
	CHECK(x.how == JIT_STOP && x.why == 5 && s->pc == s->base - 0x30 && s->x[0] == 112);
	s->poll = 1;
	x = jit_enter(g.cache, s, jit_entry(b));
	CHECK(x.how == JIT_DEOPT && x.why == 7 && s->pc == s->base + 12 && s->x[0] == 112);
	CHECK(jit_find(g.cache, jit_entry(a)) == a && jit_find(g.cache, jit_entry(b)) == b);
	CHECK(jit_find(g.cache, (const char *)jit_entry(b) + jit_size(b) - 1) == b);
	CHECK(!jit_find(g.cache, (const char *)jit_entry(b) + jit_size(b)));
	CHECK(!jit_find(g.cache, &g));
	const struct jit_unit *d = adds(&g, 1000, IR_EXIT_STOP, 0x40);
	jit_replace(g.cache, jit_entry(b), jit_entry(d));
	s->poll = 0;
	x = jit_enter(g.cache, s, jit_entry(a));
	CHECK(x.how == JIT_STOP && s->pc == s->base + 0x40 && s->x[0] == 1113);
	jit_replace(g.cache, jit_entry(d), NULL);
	x = jit_enter(g.cache, s, jit_entry(a));
	CHECK(x.how == JIT_LINK && s->pc == s->base + 0x20 && s->x[0] == 1114);
	rig_close(&g);
}

/* A record of a page: entries for its halfwords behind 64 bytes of something else. */
struct record {
	char head[64];
	const void *entry[2048];
};

static void enter_record(struct rig_state *s, struct record *r, uint64_t page)
{
	s->dir[page >> 12 & ((1 << RIG_DIR) - 1)].tag = page | s->dir_ctx;
	s->dir[page >> 12 & ((1 << RIG_DIR) - 1)].host = (uintptr_t)r;
}

TEST(jit_directory)
{
	static struct rig g;
	static struct record there;
	fresh(&g);
	struct rig_state *s = &g.s[1];
	for (unsigned k = 0; k < 2048; k++) there.entry[k] = jit_none(g.cache);
	uint64_t page = s->base;
	s->x[0] = 0;
	const struct jit_unit *a = adds(&g, 1, IR_EXIT_FAR, 0x3008),
			      *b = adds(&g, 10, IR_EXIT_FAR, -0xff0);
	struct jit_exit x = jit_enter(g.cache, s, jit_entry(a));
	CHECK(x.how == JIT_LOOKUP && s->pc == page + 0x3008 && s->base == page && s->x[0] == 1);
	enter_record(s, &there, page + 0x3000);
	x = jit_enter(g.cache, s, jit_entry(a));
	CHECK(x.how == JIT_LOOKUP && s->pc == page + 0x3008 && s->base == page + 0x3000 &&
	      s->x[0] == 2);
	there.entry[4] = jit_entry(b);
	s->base = page;
	x = jit_enter(g.cache, s, jit_entry(a));
	CHECK(x.how == JIT_LOOKUP && s->pc == page + 0x2010 && s->base == page + 0x3000 &&
	      s->x[0] == 13);
	/* goto */
	start(&g);
	ir_goto(g.f, ir_get(g.f, IR_I64, 1), ir_map_new(g.f, NULL, 0, 0, 0));
	const struct jit_unit *c = jit_add(g.cache, g.f);
	s->x[1] = page + 0x3008;
	s->base = page;
	x = jit_enter(g.cache, s, jit_entry(c));
	CHECK(x.how == JIT_LOOKUP && s->pc == page + 0x2010 && s->base == page + 0x3000 &&
	      s->x[0] == 23);
	s->pc = 0x1234;
	CHECK(jit_enter(g.cache, s, jit_none(g.cache)).how == JIT_LOOKUP && s->pc == 0x1234);
	rig_close(&g);
}

TEST(jit_full)
{
	static struct rig g;
	fresh(&g);
	unsigned n = 0;
	while (adds(&g, 1, IR_EXIT_STOP, 0)) n++;
	CHECK(n > 1000);
	jit_cache_flush(g.cache);
	CHECK(jit_cache_used(g.cache) == 0);
	const struct jit_unit *a = adds(&g, 5, IR_EXIT_STOP, 0);
	CHECK(a != NULL);
	g.s[1].x[0] = 1;
	CHECK(jit_enter(g.cache, &g.s[1], jit_entry(a)).how == JIT_STOP && g.s[1].x[0] == 6);
	/* A unit that no cache holds. */
	start(&g);
	ir_val v = ir_get(g.f, IR_I64, 0);
	for (unsigned k = 0; k < 2000000; k++)
		v = ir_emit(g.f, k & 1 ? IR_add : IR_xor, IR_I64, v, ir_get(g.f, IR_I64, k % 3),
			    (ir_val){0});
	struct ir_pair p = {0, v.n};
	ir_exit(g.f, IR_EXIT_STOP, ir_map_new(g.f, &p, 1, 0, 0));
	CHECK(!jit_add(g.cache, g.f));
	CHECK(adds(&g, 5, IR_EXIT_STOP, 0));
	rig_close(&g);
}

/* n values alive at once, then their sum to x0. */
static const struct jit_unit *crowd(struct rig *g, unsigned n, uint64_t *sum)
{
	static ir_val v[1000];
	start(g);
	ir_val x = ir_get(g->f, IR_I64, 0), total = ir_konst(g->f, IR_I64, 0);
	*sum = 0;
	for (unsigned k = 0; k < n; k++) {
		v[k] = ir_emit(g->f, IR_mul, IR_I64, x, ir_konst(g->f, IR_I64, 2 * k + 3),
			       (ir_val){0});
		*sum += (2 * k + 3) * g->s[1].x[0];
	}
	for (unsigned k = n; k-- > 0;)
		total = ir_emit(g->f, IR_add, IR_I64, v[k], total, (ir_val){0});
	struct ir_pair p = {0, total.n};
	ir_exit(g->f, IR_EXIT_STOP, ir_map_new(g->f, &p, 1, 0, 0));
	return jit_add(g->cache, g->f);
}

TEST(jit_pressure)
{
	static struct rig g;
	uint64_t sum;
	fresh(&g);
	g.s[1].x[0] = 12345;
	const struct jit_unit *u = crowd(&g, 400, &sum);
	CHECK(u && jit_enter(g.cache, &g.s[1], jit_entry(u)).how == JIT_STOP && g.s[1].x[0] == sum);
	CHECK(!crowd(&g, 900, &sum)); /* more than the frame holds */
	CHECK(adds(&g, 5, IR_EXIT_STOP, 0));
	rig_close(&g);
}

/* Random functions: code does what the evaluator does. */
static void random_functions(bool plain, uint64_t first, uint64_t n)
{
	static struct rig g;
	CHECK(rig_open(&g) == 0);
	if (plain) jit_host_plain(g.cache);
	for (uint64_t seed = first; seed < first + n; seed++) {
		struct rig_rng r = {.s = seed * 0x9e3779b97f4a7c15u | 1};
		for (unsigned k = 0; k < 4; k++) rig_next(&r);
		ir_reset(g.f);
		rig_function(g.f, &r);
		struct err e = {0};
		bool ok = ir_verify(g.f, &e) == 0;
		if (!ok) printf("%s\n", e.msg);
		unsigned how = rig_below(&r, 3);
		if (how == 2) ir_ifs(g.f);
		if (how) ir_clean(g.f);
		ok = ok && rig_agree(&g, seed) && rig_agree(&g, seed + 77);
		if (!ok || getenv("JIT_SHOW")) show(&g, seed);
		CHECK(ok);
		if (!ok) break;
	}
	rig_close(&g);
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);
	return v ? strtoull(v, NULL, 10) : otherwise;
}

/* JIT_SEED, JIT_COUNT, JIT_SHOW: which, how many, print them */
TEST(jit_random) { random_functions(false, from_env("JIT_SEED", 1), from_env("JIT_COUNT", 15000)); }
TEST(jit_random_plain)
{
	random_functions(true, from_env("JIT_SEED", 1), from_env("JIT_COUNT", 5000));
}
