/* Why: between C and generated code. The one idea: a few pieces of code made once, when the cache
 * is: the way in, the ways out, and what happens when a look-up of guest memory misses. */
#include "base/types.h"
#include "jit/x64/emit.h"
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <ucontext.h>

enum { FRAME = sizeof(struct jit_frame) + 8 }; /* aligned to 16 behind six pushes and a return */
_Static_assert(sizeof(struct jit_frame) % 16 == 0, "the frame keeps the stack aligned");

static void probe(struct jit_host *h)
{
	__builtin_cpu_init();
	h->avx = __builtin_cpu_supports("avx");
	h->avx2 = h->avx && __builtin_cpu_supports("avx2");
	h->sse42 = __builtin_cpu_supports("sse4.2");
	h->fma = h->avx && __builtin_cpu_supports("fma");
	h->bmi1 = __builtin_cpu_supports("bmi");
	h->bmi2 = h->avx && __builtin_cpu_supports("bmi2");
	h->popcnt = __builtin_cpu_supports("popcnt");
	unsigned a, b, c = 0, d;
	h->lzcnt = __get_cpuid(0x80000001, &a, &b, &c, &d) && c & 1u << 5;
	h->regs = (struct alloc_host){.regs = {INTS, VECS},
				      .spills = SPILLS_MAX - 8, /* some are for emitters */
				      .wide_spills = WIDE_MAX,
				      .fma_calls = !h->fma,
				      .visit = x64_visit};
}

void jit_host_plain(struct jit_cache *c)
{
	struct jit_host *h = c->host;
	h->avx = h->avx2 = h->fma = h->bmi1 = h->bmi2 = h->lzcnt = h->popcnt = false;
	h->regs.fma_calls = h->regs.coarse = true;
}

/* ---- thunks */

static const uint8_t kept[] = {RBX, RBP, R12, R13, R14, R15};

static void push_pop(struct x64_asm *a, unsigned r, bool pop)
{
	if (r >= 8) put8(a, 0x41);
	put8(a, (pop ? 0x58u : 0x50u) | (r & 7));
}

/* rdi: state + bias, rsi: where to. There may be nobody, who wants the page in rdx and the offset
 * in rbx, as after a look-up. */
static void make_enter(struct jit_cache *c, struct x64_asm *a)
{
	c->host->enter = a->p;
	for (unsigned k = 0; k < COUNT(kept); k++) push_pop(a, kept[k], false);
	alu_imm(a, ALU_SUB, OP_W, rm_reg(RSP), FRAME);
	mov_rr(a, OP_W, RBP, RDI);
	mov_load(a, OP_W, RDX, rm_mem(RBP, (int32_t)(c->m.pc - c->m.bias)));
	alu_rr(a, ALU_XOR, 0, RBX, RBX);
	op_rm(a, OP(0, 0, 0xff), 4, rm_reg(RSI), 0);
}

/* rdx: link or why */
static void make_leave(struct x64_asm *a, enum jit_left how)
{
	mov_imm(a, RAX, how);
	alu_imm(a, ALU_ADD, OP_W, rm_reg(RSP), FRAME);
	for (unsigned k = COUNT(kept); k-- > 0;) push_pop(a, kept[k], true);
	put8(a, 0xc3);
}

static void regs(struct x64_asm *a, uint32_t ints, int32_t off, bool load)
{
	for (; ints; ints &= ints - 1) {
		unsigned r = (unsigned)__builtin_ctz(ints);
		struct rm m =
			rm_mem(RSP, off + (int32_t)(offsetof(struct jit_frame, ints) + 8 * r));
		if (load)
			mov_load(a, OP_W, r, m);
		else
			mov_store(a, OP_W, m, r);
	}
	for (uint32_t v = VECS; v; v &= v - 1) {
		unsigned r = (unsigned)__builtin_ctz(v);
		struct rm m =
			rm_mem(RSP, off + (int32_t)(offsetof(struct jit_frame, vecs) + 16 * r));
		vec2(a, OP(0, 1, load ? 0x10 : 0x11), r, m);
	}
}

static void call_c(struct x64_asm *a, uintptr_t fn)
{
	mov_imm(a, RAX, fn);
	op_rr(a, OP(0, 0, 0xff), 2, RAX);
}

/* eax: the map. All registers are in the frame once `saved` is reached. */
static uint8_t *make_deopt(struct jit_cache *c, struct x64_asm *a)
{
	c->host->deopt = a->p;
	regs(a, INTS, 0, false);
	uint8_t *saved = a->p;
	mov_rr(a, 0, RSI, RAX);
	mov_imm(a, RDI, (uintptr_t)c);
	lea(a, OP_W, RDX, rm_mem(RBP, -(int32_t)c->m.bias));
	mov_rr(a, OP_W, RCX, RSP);
	call_c(a, (uintptr_t)jit_map_apply);
	mov_rr(a, 0, RDX, RAX);
	make_leave(a, JIT_DEOPT);
	return saved;
}

/* Called with lo in rax, hi in rdx; H in rax. The map stands behind the call, in an instruction. */
static void make_xlat(struct jit_cache *c, struct x64_asm *a, unsigned space, const uint8_t *saved)
{
	const struct jit_space *sp = &c->m.space[space];
	if (!sp->fill) return;
	c->host->xlat[space] = a->p;
	regs(a, INTS, 8, false);
	lea(a, OP_W, RDI, rm_mem(RBP, -(int32_t)c->m.bias));
	mov_rr(a, OP_W, RSI, RAX);
	alu_imm(a, ALU_SUB, OP_W, rm_reg(RSP), 8);
	call_c(a, (uintptr_t)sp->fill);
	alu_imm(a, ALU_ADD, OP_W, rm_reg(RSP), 8);
	alu_imm(a, ALU_CMP, OP_W, rm_reg(RAX), 1);
	uint8_t *fails = jcc_later(a, CC_E);
	regs(a, SAVED, 8, true);
	put8(a, 0xc3);
	set_rel32(fails, a->p);
	push_pop(a, RAX, true);
	mov_load(a, 0, RAX, rm_mem(RAX, 1));
	jump_to(a, saved);
}

static void make_thunks(struct jit_cache *c, struct x64_asm *a)
{
	make_enter(c, a);
	c->host->lookup = a->p;
	lea(a, OP_W, RAX, rm_index(RDX, RBX, 0, 0));
	mov_store(a, OP_W, rm_mem(RBP, (int32_t)(c->m.pc - c->m.bias)), RAX);
	alu_rr(a, ALU_XOR, 0, RDX, RDX);
	make_leave(a, JIT_LOOKUP);
	c->host->link = a->p;
	mov_rr(a, 0, RDX, RAX);
	make_leave(a, JIT_LINK);
	c->host->stop = a->p;
	mov_rr(a, 0, RDX, RAX);
	make_leave(a, JIT_STOP);
	uint8_t *saved = make_deopt(c, a);
	for (unsigned k = 0; k < COUNT(c->m.space); k++) make_xlat(c, a, k, saved);
}

static const struct consts consts = {
	.neg64 = {1ull << 63, 1ull << 63},
	.abs64 = {~0ull >> 1, ~0ull >> 1},
	.neg32 = {1ull << 31 | 1ull << 63, 1ull << 31 | 1ull << 63},
	.abs32 = {0x7fffffff7fffffff, 0x7fffffff7fffffff},
	.nan64 = {0x7ff8ull << 48, 0x7ff8ull << 48},
	.nan32 = {0x7fc000007fc00000, 0x7fc000007fc00000},
	.box = {~0ull << 32, 0},
#define FLAGS(m)   ((m)&1) << 4 | ((m)&4) << 1 | ((m)&8) >> 1 | ((m)&16) >> 3 | ((m)&32) >> 5
#define FLAGS4(m)  FLAGS(m), FLAGS((m) + 1), FLAGS((m) + 2), FLAGS((m) + 3)
#define FLAGS16(m) FLAGS4(m), FLAGS4((m) + 4), FLAGS4((m) + 8), FLAGS4((m) + 12)
	.flags = {FLAGS16(0), FLAGS16(16), FLAGS16(32), FLAGS16(48)},
};

int jit_host_new(struct jit_cache *c, struct err *e)
{
	struct jit_host *h = calloc(1, sizeof(*h));
	if (!h) return fail(e, -ENOMEM, "code cache: out of memory");
	c->host = h;
	probe(h);
	uint8_t *at = c->rw + ((c->used + 15) & ~(size_t)15);
	memcpy(at, &consts, sizeof(consts));
	h->consts = (const struct consts *)(void *)at;
	struct x64_asm a = {at + sizeof(consts), h->avx};
	make_thunks(c, &a);
	c->used = (size_t)(a.p - c->rw);
	return 0;
}

void jit_host_free(struct jit_cache *c)
{
	if (c->host) emit_done(&c->host->emit);
	free(c->host);
}

struct host_exit jit_host_enter(struct jit_cache *c, void *state, const void *entry)
{
	struct host_exit (*fn)(void *, const void *);
	const void *at = jit_rx(c, c->host->enter);
	memcpy(&fn, &at, sizeof(fn));
	return fn((char *)state + c->m.bias, entry);
}

const void *jit_host_none(const struct jit_cache *c) { return jit_rx(c, c->host->lookup); }

const void *jit_host_linked(const uint8_t *rw, const uint8_t *rx)
{
	return rx + 4 + (int32_t)load_le(rw, 4);
}

void jit_host_relink(uint8_t *rw, const uint8_t *rx, const void *to)
{
	int32_t d = (int32_t)((const uint8_t *)to - (rx + 4));
	__atomic_store_n((int32_t *)(void *)rw, d, __ATOMIC_RELEASE);
}

/* ---- faults of accesses by a window */

enum { ERROR_WRITE = 2 }; /* bit of a page fault's error code */

bool jit_faulted(const struct jit_cache *c, const void *context, struct jit_fault *out)
{
	const greg_t *r = ((const ucontext_t *)context)->uc_mcontext.gregs;
	const struct access *s = jit_access_find(c, (const void *)(uintptr_t)r[REG_RIP]);
	if (!s) return false;
	*out = (struct jit_fault){s->map, r[REG_ERR] & ERROR_WRITE};
	return true;
}

void jit_give_up(const struct jit_cache *c, void *context, uint32_t map)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	r[REG_RAX] = map;
	r[REG_RIP] = (greg_t)(uintptr_t)jit_rx(c, c->host->deopt);
}

bool jit_host_lanes(const struct jit_cache *c, bool fused)
{
	return c->host->sse42 && (!fused || c->host->fma);
}

const struct alloc_host *jit_host_regs(const struct jit_cache *c) { return &c->host->regs; }
