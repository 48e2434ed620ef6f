/* Any instructions, on any registers, in any mode, with memory that traps now and then: the core
 * always comes back, keeps what it promises of a trap, and asks for no size it does not know.
 * Input: mode, seed, bytes of code that run one after another wherever they jump. */
#include "base/err.h"
#include "base/types.h"
#include "isa/x86/step.h"

static uint8_t ram[256];
static uint64_t seed;

static uint64_t next(void) { return seed = seed * 6364136223846793005 + 1442695040888963407; }
static int look(unsigned n)
{
	must(n == 1 || n == 2 || n == 4 || n == 8 || n == 16);
	return next() >> 60 ? 0 : X86_TRAP_PF;
}
static int do_load(struct x86_cpu *c, uint64_t at, void *to, unsigned n)
{
	(void)c;
	memcpy(to, ram + at % 240, n);
	return look(n);
}
static int do_store(struct x86_cpu *c, uint64_t at, const void *from, unsigned n)
{
	(void)c;
	int e = look(n);
	if (!e) memcpy(ram + at % 240, from, n);
	return e;
}
static int do_cas(struct x86_cpu *c, uint64_t at, void *expected, const void *to, unsigned n)
{
	(void)c;
	uint8_t *p = ram + at % 240;
	int e = look(n);
	if (e) return e;
	if (!(next() >> 62)) p[0] ^= 1; /* another CPU was there */
	if (!memcmp(p, expected, n))
		memcpy(p, to, n);
	else
		memcpy(expected, p, n);
	return 0;
}
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct x86_mem mem = {do_load, do_store, do_cas};
	if (n < 10) return 0;
	enum x86_mode mode = (enum x86_mode)(*p % 3);
	struct x86_cpu c = {
		.flags = 2, .ssize = (uint8_t)(2u << mode), .mem = &mem, .popf_mask = 0xfd5};
	seed = load_le(p + 1, 8);
	for (int i = 0; i < 16; i++) c.r[i] = next() & 4 ? next() : next() >> 56;
	for (size_t i = 9, steps = 0; i < n && steps < 200; steps++) {
		struct x86_insn in;
		if (x86_decode(&in, p + i, n - i, mode) != X86_OK) return 0;
		struct x86_cpu was = c;
		int e = x86_exec(&c, &in);
		must(e >= 0 && e != X86_AGAIN && (e < 256 || e <= X86_TRAP_AC));
		must(!e || (c.rip == was.rip && c.r[4] == was.r[4]));
		must(mode == X86_64 || c.rip <= UINT32_MAX);
		must(c.flags & 2);
		if (e != X86_REPEAT) i += in.len;
	}
	return 0;
}
