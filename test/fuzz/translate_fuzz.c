/* Programs made from the input's choices (engine/rv64_random.h) run by the interpreter, by
 * the translator in a small code cache, with windows, and by the check engine, which does each unit
 * twice. They end in the same state, and each unit was right. */
#include "engine/rv64_jit.h"
#include "engine/rv64_random.h"
#include "engine/rv64_window.h"
#include <stdio.h>

static struct rig *interp, *jit, *check, *window;

static struct rig *make(enum jit_mode mode, size_t room, bool alone)
{
	struct err e;
	struct rig *r = rig_new(false);
	int bad = rv64_jit_new(r->c, room, mode, alone, &e);
	must(!bad);
	return r;
}

static void run(struct rig *r, const uint8_t *data, size_t size)
{
	uint64_t seed = size;
	for (size_t k = 0; k < size; k++) seed = seed * 31 + data[k];
	rv64_cpu_reset(r->c);
	atomic_store(&r->c->poll, 0);
	r->loads = 0;
	random_program(r, seed, data, size);
	if (r != interp) random_heat(r, seed);
	random_run(r);
}

static void agrees(struct rig *r)
{
	const char *words = NULL;
	if (!rv64_jit_wrong(r->c->jit, &words)) words = random_differ(r, interp);
	if (!words) return;
	fprintf(stderr, "%s: %s\n", r == check ? "check" : "jit", words);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!interp) {
		interp = rig_new(false);
		jit = make(JIT_FAST, 128 << 10, true);
		check = make(JIT_CHECK, 1 << 20, false);
		window = make(JIT_FAST, 1 << 20, false);
		rv64_windows_new(window->c, true);
	}
	run(interp, data, size);
	run(jit, data, size);
	agrees(jit);
	run(check, data, size);
	agrees(check);
	run(window, data, size);
	agrees(window);
	return 0;
}
