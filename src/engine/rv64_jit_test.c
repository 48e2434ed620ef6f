#include "base/test.h"
#include "engine/rv64_jit.h"
#include "engine/rv64_random.h"
#include "engine/rv64_window.h"
#include <stdlib.h>

static struct rig *hart(enum jit_mode mode, size_t room, bool alone, bool windows)
{
	struct err e = {0};
	struct rig *r = rig_new(false);
	CHECK(!rv64_jit_new(r->c, room, mode, alone, &e));
	if (windows) rv64_windows_new(r->c, true);
	return r;
}

static void random_try(struct rig *r, uint64_t seed, bool hot)
{
	rv64_cpu_reset(r->c);
	atomic_store(&r->c->poll, 0);
	r->loads = 0;
	random_program(r, seed, NULL, 0);
	if (hot) random_heat(r, seed);
	random_run(r);
}

/* For objdump -b binary -m riscv:rv64 --adjust-vma=0x80000000 -D */
static void random_dump(struct rig *r, const char *path)
{
	FILE *f = path ? fopen(path, "wb") : NULL;
	if (!f) return;
	(void)fwrite(gmem_ptr(r->mem, RIG_RAM, RANDOM_DATA, false), 1, RANDOM_DATA, f);
	(void)fclose(f);
}

static bool random_agrees(struct rig *r, struct rig *interp, uint64_t seed)
{
	const char *words = NULL;
	if (!rv64_jit_wrong(r->c->jit, &words)) words = random_differ(r, interp);
	if (words) random_dump(r, getenv("RANDOM_DUMP"));
	if (words)
		printf("seed %llu, %s: %s\n", (unsigned long long)seed,
		       rv64_jit_checker(r->c->jit) ? "check" : "jit", words);
	return !words;
}

/* Programs by the translator and by the interpreter; RANDOM_SEED, RANDOM_COUNT for more. */
TEST(random_programs)
{
	const char *only = getenv("RANDOM_SEED"), *count = getenv("RANDOM_COUNT");
	uint64_t first = only ? strtoull(only, NULL, 10) : 1,
		 n = count ? strtoull(count, NULL, 10) : 1000;
	struct rig *interp = rig_new(false), *jit = hart(JIT_FAST, 128 << 10, false, false),
		   *window = hart(JIT_FAST, 128 << 10, false, true),
		   *check = hart(JIT_CHECK, 1 << 20, true, true);
	bool good = true;
	for (uint64_t seed = first; good && seed < first + (only && !count ? 1 : n); seed++) {
		random_try(interp, seed, false);
		random_try(jit, seed, true);
		good &= random_agrees(jit, interp, seed);
		random_try(window, seed, true);
		good &= random_agrees(window, interp, seed);
		random_try(check, seed, true);
		good &= random_agrees(check, interp, seed);
	}
	CHECK(good);
	rig_free(interp);
	rig_free(jit);
	rig_free(window);
	rig_free(check);
}
