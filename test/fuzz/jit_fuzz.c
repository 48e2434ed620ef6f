/* Functions made of the fuzzer's bytes: code must do what the evaluator does. */
#include "jit/impl.h"
#include "jit/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rig *g[2];
	struct err e = {0};
	if (size < 2) return 0;
	for (unsigned k = 0; k < 2 && !g[k]; k++) {
		g[k] = calloc(1, sizeof(*g[k]));
		must(g[k] && rig_open(g[k]) == 0);
		if (k) jit_host_plain(g[k]->cache);
	}
	struct rig *r = g[data[0] & 1];
	struct rig_rng rng = {.s = data[1] | 1, .in = data + 2, .left = size - 2};
	ir_reset(r->f);
	rig_function(r->f, &rng);
	must(ir_verify(r->f, &e) == 0);
	if (data[0] & 4) ir_ifs(r->f);
	if (data[0] & 6) ir_clean(r->f);
	must(rig_agree(r, rig_next(&rng)));
	return 0;
}
