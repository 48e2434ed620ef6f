/* Any vector and x87 instructions, on any state, in any mode, with memory that traps now and then:
 * no exception of theirs ever becomes the monitor's, a trap moves nothing, and behind each of them
 * the host's own MXCSR and x87 are as C wants them. Input: mode, seed, bytes of code. */
#include "base/err.h"
#include "engine/x86_vector_impl.h"
#include <stdlib.h>

static uint8_t ram[1024];
static uint64_t seed;
static struct x86_vcpu *v;

static uint64_t next(void) { return seed = seed * 6364136223846793005 + 1442695040888963407; }
static int look(unsigned n)
{
	must(n && n <= 64);
	return next() >> 59 ? 0 : X86_TRAP_PF;
}
static int do_load(struct x86_vcpu *c, uint64_t la, void *to, unsigned n, enum x86_view as)
{
	must(c == v && as < X86_VIEWS);
	memcpy(to, ram + la % (sizeof ram - 64), n);
	return look(n);
}
static int do_store(struct x86_vcpu *c, uint64_t la, const void *from, unsigned n, enum x86_view as)
{
	must(c == v && as < X86_VIEWS);
	int e = look(n);
	if (!e) memcpy(ram + la % (sizeof ram - 64), from, n);
	return e;
}
static int do_probe(struct x86_vcpu *c, uint64_t la, unsigned n, unsigned access, enum x86_view as)
{
	(void)la;
	must(c == v && as < X86_VIEWS && access == X86_W);
	return look(n);
}
static void make_vcpu(enum x86_mode mode)
{
	if (!v) v = aligned_alloc(64, (sizeof *v + 63) / 64 * 64);
	must(v);
	memset(v, 0, sizeof *v);
	v->cr0 = (mode == X86_16 ? 0 : CR0_PE) | CR0_NE | (next() & 7 ? 0 : CR0_TS | CR0_MP);
	v->cr4 = CR4_OSFXSR | CR4_OSXSAVE | (next() & 3 ? CR4_OSXMMEXCPT : 0);
	v->xcr0 = X86_XCR0;
	v->mode = (uint8_t)mode;
	v->cpu.flags = 2;
	v->cpu.ssize = (uint8_t)(2u << mode);
	for (unsigned i = 0; i < 6; i++)
		v->seg[i] = (struct x86_segreg){.limit = UINT32_MAX,
						.access = SEG_P | SEG_S | SEG_RW | SEG_A | SEG_G |
							  SEG_DB};
	for (int i = 0; i < 16; i++) v->cpu.r[i] = next() >> (next() >> 60) * 4;
	for (size_t i = 0; i < sizeof v->x; i++) v->x.bytes[i] = (uint8_t)(next() >> 56);
	for (size_t i = 0; i < sizeof ram; i++) ram[i] = (uint8_t)(next() >> 56);
	if (mode != X86_64)
		for (int i = 0; i < 16; i++) v->cpu.r[i] = (uint32_t)v->cpu.r[i];
}
static void check_host(void)
{
	uint32_t mxcsr = 0;
	uint16_t cw = 0, sw = 0;
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1\n\tfnstsw %2" : "=m"(mxcsr), "=m"(cw), "=m"(sw));
	must(cw == 0x37f && !(sw & 0x80) && (mxcsr & ~0x3fu) == 0x1f80);
}
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 10) return 0;
	enum x86_mode mode = (enum x86_mode)(*p % 3);
	x86_vector_memory = (struct x86_vector_memory){do_load, do_store, do_probe};
	seed = load_le(p + 1, 8);
	make_vcpu(mode);
	for (size_t i = 9; i < n;) {
		struct x86_insn in;
		if (x86_decode(&in, p + i, n - i, mode) != X86_OK) return 0;
		uint64_t rip = v->cpu.rip;
		int e = x86_do_vector(v, &in);
		must(e == 0 || e == X86_OTHER || (e >= X86_TRAP && e < X86_TRAP + 32));
		must(!e == (v->cpu.rip != rip) && v->cpu.flags & 2);
		must(!v->broken);
		check_host();
		i += in.len;
	}
	return 0;
}
