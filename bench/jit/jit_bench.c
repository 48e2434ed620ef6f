/* How fast units are compiled and how large they get: jit_bench [-d] FILE.ir ...
 * Prints for each instructions, bytes per instruction, and nanoseconds per instruction; -d also the
 * code. Slots are named x0 .. x31, f0 .. f31, and base. */
#include "base/types.h"
#include "ir/ir.h"
#include "jit/jit.h"
#include <stdlib.h>
#include <time.h>

struct state {
	uint64_t x[32], f[32], base, pc, ctx[2], dir_ctx;
	uint32_t poll;
	uint64_t tlb[2][512][2], dir[256][2];
};
static struct ir_slot slots[65];
static char names[64][4];

static uint64_t fill(void *s, uint64_t lo, uint64_t hi) { return s && lo == hi; }

static struct jit_machine machine(void)
{
	for (unsigned k = 0; k < 64; k++) {
		(void)snprintf(names[k], sizeof(names[k]), "%c%u", k < 32 ? 'x' : 'f', k % 32);
		slots[k] = (struct ir_slot){8 * k, 8, k >= 32, names[k]};
	}
	slots[64] = (struct ir_slot){offsetof(struct state, base), 8, false, "base"};
	return (struct jit_machine){
		.slots = slots,
		.nslots = 65,
		.bias = 128,
		.poll = offsetof(struct state, poll),
		.pc = offsetof(struct state, pc),
		.base = offsetof(struct state, base),
		.space = {{offsetof(struct state, tlb[0]), offsetof(struct state, ctx[0]), 9, fill},
			  {offsetof(struct state, tlb[1]), offsetof(struct state, ctx[1]), 9,
			   fill}},
		.dir_table = offsetof(struct state, dir),
		.dir_ctx = offsetof(struct state, dir_ctx),
		.dir_bits = 8,
	};
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char *slurp(const char *path)
{
	FILE *in = fopen(path, "r");
	char *text = calloc(1, 1 << 20);
	if (!in || !text || !fread(text, 1, (1 << 20) - 1, in)) {
		perror(path);
		exit(1);
	}
	(void)fclose(in);
	return text;
}

static unsigned instructions(const struct ir_fn *f)
{
	unsigned n = 0;
	for (uint32_t b = 0; b < f->nblocks; b++)
		for (uint32_t i = f->block[b].first; i; i = f->ins[i].next) n++;
	return n;
}

static void measure(struct jit_cache *c, struct ir_fn *f, const char *path, bool dump)
{
	char *text = slurp(path);
	struct err e = {0};
	ir_reset(f);
	if (ir_parse(f, text, &e) < 0 || ir_verify(f, &e) < 0) {
		printf("%s: %s\n", path, e.msg);
		exit(1);
	}
	free(text);
	enum { ROUNDS = 40, EACH = 50 };
	unsigned n = instructions(f);
	const struct jit_unit *u = NULL;
	uint64_t best = UINT64_MAX;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t began = now(), took;
		for (unsigned k = 0; k < EACH; k++) {
			jit_cache_flush(c);
			u = jit_add(c, f);
			if (!u) exit(1);
		}
		took = now() - began;
		if (took < best) best = took;
	}
	printf("%-32s %4u instructions, %5.1f bytes and %6.1f ns each\n", path, n,
	       (double)jit_size(u) / n, (double)best / EACH / n);
	if (dump) jit_dump(c, u, stdout);
}

int main(int argc, char **argv)
{
	struct jit_machine m = machine();
	struct err e = {0};
	struct jit_cache *c = jit_cache_new(&m, 1 << 20, &e);
	struct ir_fn *f = ir_new(slots, 65);
	bool dump = argc > 1 && !strcmp(argv[1], "-d");
	if (!c) {
		(void)fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	for (int k = 1 + dump; k < argc; k++) measure(c, f, argv[k], dump);
	jit_cache_free(c);
	ir_free(f);
	return 0;
}
