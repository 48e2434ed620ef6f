/* One instruction of the guest's as code for the host: the same opcode with the same vector
 * registers, its memory operand in struct x86_native, its general register in RAX. The one idea: a
 * stub depends on nothing but the instruction, so a thread keeps those that it has made in a
 * direct-mapped table; hostile code can only make it generate again. */
#include "base/err.h"
#include "base/types.h"
#include "engine/x86_vector_impl.h"
#include "isa/x86/table.h"
#include "isa/x86/x86.info.inc"
#include "jit/jit.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

unsigned x86_opcode(const struct x86_insn *in)
{
	const struct x86_form *f = &x86_forms[in->form];
	unsigned map = f->map > 3 ? f->map - 3u : f->map;
	return map << 8 | f->opcode | (in->vex ? OPCODE_VEX : 0);
}
unsigned x86_pfx(const struct x86_insn *in)
{
	unsigned mask = x86_forms[in->form].mask[D_PFX];
	return mask == 2 ? PFX_66 : mask == 4 ? PFX_F3 : mask == 8 ? PFX_F2 : PFX_NONE;
}
/* Those that look at MXCSR or change it. */
bool x86_uses_mxcsr(const struct x86_insn *in)
{
	unsigned op = x86_opcode(in) & 0x3ff;
	switch (op) {
	case 0x12a:
	case 0x12c ... 0x12f:
	case 0x151:
	case 0x158 ... 0x15f:
	case 0x17c:
	case 0x17d:
	case 0x1c2:
	case 0x1d0:
	case 0x1e6:
	case 0x213:
	case 0x308 ... 0x30b:
	case 0x31d:
	case 0x340:
	case 0x341: return true;
	default: return op >= 0x296 && op <= 0x2bf;
	}
}
#ifdef __x86_64__
#include <cpuid.h>

enum { STUBS = 2048, STUB_ROOM = 192, CODE_SIZE = STUBS * STUB_ROOM };
struct cache {
	struct x86_native native;
	struct x86_stub stub[STUBS];
	uint8_t *rx, *rw;
	uint32_t has; /* bits: enum x86_need */
};
static _Thread_local struct cache *mine;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- what the host can ---- */

static uint32_t host_has(void)
{
	unsigned a, b, c = 0, d, has = 1u << NEED_NOTHING;
	__cpuid(1, a, b, c, d);
	has |= (c >> 0 & 1) << NEED_SSE3 | (c >> 9 & 1) << NEED_SSSE3 | (c >> 19 & 1) << NEED_SSE41;
	has |= (c >> 20 & 1) << NEED_SSE42 | (c >> 25 & 1) << NEED_AES |
	       (c >> 1 & 1) << NEED_PCLMUL;
	uint32_t fma = c >> 12 & 1, f16c = c >> 29 & 1;
	b = c = 0;
	(void)__get_cpuid_count(7, 0, &a, &b, &c, &d);
	has |= (b >> 29 & 1) << NEED_SHA;
	if (!x86_vector_has_avx) return has;
	return has | 1u << NEED_AVX | (b >> 5 & 1) << NEED_AVX2 | fma << NEED_FMA |
	       f16c << NEED_F16C | (c >> 9 & 1) << NEED_VAES | (c >> 10 & 1) << NEED_VPCLMUL;
}
/* Opcodes from lo to hi: legacy, in a VEX form of 128 bits, of 256 bits. */
static const struct range {
	uint16_t lo, hi;
	uint8_t legacy, v128, v256;
} ranges[] = {
	{0x160, 0x16d, NEED_NOTHING, NEED_AVX, NEED_AVX2},
	{0x170, 0x176, NEED_NOTHING, NEED_AVX, NEED_AVX2},
	{0x17c, 0x17d, NEED_SSE3, NEED_AVX, NEED_AVX},
	{0x1d0, 0x1d0, NEED_SSE3, NEED_AVX, NEED_AVX},
	{0x1d1, 0x1e5, NEED_NOTHING, NEED_AVX, NEED_AVX2},
	{0x1e6, 0x1e7, NEED_NOTHING, NEED_AVX, NEED_AVX},
	{0x1f0, 0x1f0, NEED_SSE3, NEED_AVX, NEED_AVX},
	{0x1e8, 0x1fe, NEED_NOTHING, NEED_AVX, NEED_AVX2},
	{0x100, 0x1ff, NEED_NOTHING, NEED_AVX, NEED_AVX},
	{0x200, 0x20b, NEED_SSSE3, NEED_AVX, NEED_AVX2},
	{0x20c, 0x20f, NEED_AVX, NEED_AVX, NEED_AVX},
	{0x213, 0x213, NEED_F16C, NEED_F16C, NEED_F16C},
	{0x216, 0x216, NEED_AVX2, NEED_AVX2, NEED_AVX2},
	{0x21c, 0x21e, NEED_SSSE3, NEED_AVX, NEED_AVX2},
	{0x210, 0x21a, NEED_SSE41, NEED_AVX, NEED_AVX},
	{0x22c, 0x22f, NEED_AVX, NEED_AVX, NEED_AVX},
	{0x236, 0x236, NEED_AVX2, NEED_AVX2, NEED_AVX2},
	{0x237, 0x237, NEED_SSE42, NEED_AVX, NEED_AVX2},
	{0x220, 0x240, NEED_SSE41, NEED_AVX, NEED_AVX2},
	{0x241, 0x241, NEED_SSE41, NEED_AVX, NEED_AVX},
	{0x245, 0x293, NEED_AVX2, NEED_AVX2, NEED_AVX2},
	{0x296, 0x2bf, NEED_FMA, NEED_FMA, NEED_FMA},
	{0x2c8, 0x2cd, NEED_SHA, NEED_SHA, NEED_SHA},
	{0x2db, 0x2df, NEED_AES, NEED_AVX, NEED_VAES},
	{0x300, 0x302, NEED_AVX2, NEED_AVX2, NEED_AVX2},
	{0x304, 0x306, NEED_AVX, NEED_AVX, NEED_AVX},
	{0x30e, 0x30e, NEED_SSE41, NEED_AVX, NEED_AVX2},
	{0x30f, 0x30f, NEED_SSSE3, NEED_AVX, NEED_AVX2},
	{0x308, 0x317, NEED_SSE41, NEED_AVX, NEED_AVX},
	{0x318, 0x319, NEED_AVX, NEED_AVX, NEED_AVX},
	{0x31d, 0x31d, NEED_F16C, NEED_F16C, NEED_F16C},
	{0x320, 0x322, NEED_SSE41, NEED_AVX, NEED_AVX},
	{0x338, 0x339, NEED_AVX2, NEED_AVX2, NEED_AVX2},
	{0x342, 0x342, NEED_SSE41, NEED_AVX, NEED_AVX2},
	{0x340, 0x341, NEED_SSE41, NEED_AVX, NEED_AVX},
	{0x344, 0x344, NEED_PCLMUL, NEED_AVX, NEED_VPCLMUL},
	{0x346, 0x346, NEED_AVX2, NEED_AVX2, NEED_AVX2},
	{0x34c, 0x34c, NEED_AVX, NEED_AVX, NEED_AVX2},
	{0x34a, 0x34b, NEED_AVX, NEED_AVX, NEED_AVX},
	{0x360, 0x363, NEED_SSE42, NEED_AVX, NEED_AVX},
	{0x3cc, 0x3cc, NEED_SHA, NEED_SHA, NEED_SHA},
	{0x3df, 0x3df, NEED_AES, NEED_AVX, NEED_AVX},
};
static uint32_t needs(const struct x86_insn *in)
{
	unsigned op = x86_opcode(in) & 0x3ff, need = NEED_NOTHING;
	if (op < 0x100) return 1u << (in->op == X86_OP_fisttp ? NEED_SSE3 : NEED_NOTHING);
	const struct range *r = ranges;
	while (r < ranges + COUNT(ranges) - 1 && (op < r->lo || op > r->hi)) r++;
	need = !in->vex ? r->legacy : in->vl ? r->v256 : r->v128;
	uint32_t all = 1u << need;
	if (in->vex) all |= 1u << NEED_AVX;
	/* from registers they came later; AVX of what was an extension by itself needs both */
	if (in->vex && (op == 0x218 || op == 0x219) && !in->has_mem) all |= 1u << NEED_AVX2;
	if (in->vex && (r->legacy == NEED_AES || r->legacy == NEED_PCLMUL)) all |= 1u << r->legacy;
	if (!in->vex && (op == 0x112 || op == 0x116) && x86_pfx(in) >= PFX_F3)
		all |= 1u << NEED_SSE3;
	return all;
}
/* ---- memory ---- */

static void drop(void *p)
{
	struct cache *c = p;
	if (c->rw) munmap(c->rw, CODE_SIZE);
	if (c->rx) munmap(c->rx, CODE_SIZE);
	free(c);
	mine = NULL;
}
static void make_key(void) { (void)pthread_key_create(&key, drop); }
static struct cache *make_cache(void)
{
	struct cache *c = aligned_alloc(64, (sizeof *c + 63) / 64 * 64);
	if (!c) return NULL;
	memset(c, 0, sizeof *c);
	if (jit_map_twice(CODE_SIZE, &c->rx, &c->rw, NULL)) {
		drop(c);
		return NULL;
	}
	c->has = host_has();
	c->native.usual = 0x1f80;
	(void)pthread_once(&once, make_key);
	return c;
}

/* Threads that are confined cannot make one any more: theirs are made before. */
static struct cache *ready[64];
static pthread_mutex_t ready_lock = PTHREAD_MUTEX_INITIALIZER;

static struct cache *take_ready(void)
{
	struct cache *c = NULL;
	(void)pthread_mutex_lock(&ready_lock);
	for (unsigned i = 0; !c && i < COUNT(ready); i++) {
		c = ready[i];
		ready[i] = NULL;
	}
	(void)pthread_mutex_unlock(&ready_lock);
	return c;
}

void x86_native_prepare(void)
{
	struct cache *c = make_cache();
	(void)pthread_mutex_lock(&ready_lock);
	for (unsigned i = 0; c && i < COUNT(ready); i++) {
		if (ready[i]) continue;
		ready[i] = c;
		c = NULL;
	}
	(void)pthread_mutex_unlock(&ready_lock);
	if (c) drop(c);
}

static struct cache *open_cache(void)
{
	struct cache *c = take_ready();
	if (!c) c = make_cache();
	if (c) (void)pthread_setspecific(key, c);
	return mine = c;
}
struct x86_native *x86_native(void)
{
	struct cache *c = mine;
	if (unlikely(!c)) c = open_cache();
	return c ? &c->native : NULL;
}

/* ---- the instruction, as it will stand in the stub ---- */

struct canon {
	unsigned w, r, b, vvvv, is4;
	uint8_t modrm;
	bool gpr;
};
static void place_operand(struct canon *k, const struct x86_operand *o, unsigned method)
{
	if (method == M_H) k->vvvv = o->reg;
	if (method == M_L) k->is4 = o->reg;
	if (o->kind != X86_REG) return;
	k->gpr = true;
	if (method == M_G) {
		k->modrm &= 0xc7;
		k->r = 0;
	} else if (method == M_E || method == M_R) {
		k->modrm &= 0xf8;
		k->b = 0;
	}
}
/* The memory operand is [rsi + 64]. W outside 64 bit mode says nothing where both may be. */
static struct canon canon_of(const struct x86_insn *in)
{
	const struct x86_form *f = &x86_forms[in->form];
	struct canon k = {
		.w = in->rex >> 3 & 1, .r = in->rex >> 2 & 1, .b = in->rex & 1, .modrm = in->modrm};
	if (in->mode != X86_64) {
		k.r = k.b = 0;
		if (f->mask[D_W] == 3) k.w = 0;
	}
	if (in->has_mem) {
		k.modrm = (uint8_t)((in->modrm & 0x38) | 0x46);
		k.b = 0;
	}
	for (unsigned i = 0; i < in->operands; i++) place_operand(&k, &in->o[i], f->o[i].method);
	return k;
}
static uint64_t key_of(const struct x86_insn *in, const struct canon *k)
{
	uint64_t imm = in->imm_len ? (uint8_t)in->imm : 0;
	return (uint64_t)in->form | (uint64_t)k->modrm << 12 | imm << 20 | k->vvvv << 28 |
	       (uint64_t)k->is4 << 32 | (uint64_t)k->w << 36 | (uint64_t)k->r << 37 |
	       (uint64_t)k->b << 38 | (uint64_t)in->vl << 39 | 1ull << 63;
}
static uint8_t *put(uint8_t *p, unsigned n, uint64_t v)
{
	memcpy(p, &v, n);
	return p + n;
}
static uint8_t *put_opcode(uint8_t *p, const struct x86_insn *in, const struct canon *k)
{
	static const uint8_t prefix[4] = {0, 0x66, 0xf3, 0xf2};
	const struct x86_form *f = &x86_forms[in->form];
	unsigned pfx = x86_pfx(in), map = x86_opcode(in) >> 8 & 3;
	if (in->vex) {
		p = put(p, 1, 0xc4);
		p = put(p, 1, (~(k->r << 2 | k->b) & 7) << 5 | map);
		p = put(p, 1, k->w << 7 | (~k->vvvv & 15) << 3 | (unsigned)in->vl << 2 | pfx);
		return put(p, 1, f->opcode);
	}
	if (pfx) p = put(p, 1, prefix[pfx]);
	if (k->w | k->r | k->b) p = put(p, 1, 0x40 | k->w << 3 | k->r << 2 | k->b);
	if (map) p = put(p, 1, 0x0f);
	if (map > 1) p = put(p, 1, map == 2 ? 0x38 : 0x3a);
	return put(p, 1, f->opcode);
}
static uint8_t *put_insn(uint8_t *p, const struct x86_insn *in, const struct canon *k)
{
	const struct x86_form *f = &x86_forms[in->form];
	p = put_opcode(p, in, k);
	if (f->flags & F_MODRM) p = put(p, 1, k->modrm);
	if (in->has_mem) p = put(p, 1, offsetof(struct x86_native, mem));
	if (f->o[3].method == M_L) return put(p, 1, k->is4 << 4);
	return in->imm_len ? put(p, 1, (uint8_t)in->imm) : p;
}

/* ---- around it ---- */

_Static_assert(offsetof(struct x86_native, mxcsr) == 32 && offsetof(struct x86_native, mem) == 64 &&
		       offsetof(struct x86_native, fx) == 192,
	       "the stubs know them");
/* movups xmm, [rdi + d] and the other way; upper halves besides where they count. */
static uint8_t *put_move(uint8_t *p, unsigned reg, bool load, bool wide)
{
	unsigned r = reg >> 3, modrm = 0x87 | (reg & 7) << 3;
	if (!wide) {
		if (r) p = put(p, 1, 0x44);
		p = put(p, 2, load ? 0x100f : 0x110f);
		p = put(p, 1, modrm);
		return put(p, 4, X_XMM + 16 * reg);
	}
	p = put(p, 3, 0x78e1c4u ^ r << 15); /* vmovups */
	p = put(p, 1, load ? 0x10 : 0x11);
	p = put(p, 1, modrm);
	p = put(p, 4, X_XMM + 16 * reg);
	p = put(p, 1, 0xc4); /* vinsertf128, vextractf128 */
	p = put(p, 1, 0xe3u ^ r << 7);
	p = put(p, 1, load ? 0x05u | (~reg & 15) << 3 : 0x7du);
	p = put(p, 1, load ? 0x18 : 0x19);
	p = put(p, 1, modrm);
	p = put(p, 4, X_YMM + 16 * reg);
	return put(p, 1, 1);
}
static uint8_t *put_before(uint8_t *p, const struct x86_insn *in, bool gpr)
{
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	if (gpr || info->reads_r) p = put(p, 3, 0x068b48); /* mov rax, [rsi] */
	if (info->reads_r) p = put(p, 4, 0x08568b48);	   /* mov rdx, [rsi + 8] */
	if (info->reads) p = put(p, 4, 0x9d1876ff);	   /* push [rsi + 24]; popfq */
	return p;
}
static uint8_t *put_behind(uint8_t *p, const struct x86_insn *in, bool gpr)
{
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	if (gpr) p = put(p, 3, 0x068948);	       /* mov [rsi], rax */
	if (info->writes_r) p = put(p, 4, 0x104e8948); /* mov [rsi + 16], rcx */
	if (info->writes) p = put(p, 4, 0x18468f9c);   /* pushfq; pop [rsi + 24] */
	return p;
}
static bool is_strm(const struct x86_insn *in)
{
	return in->op == X86_OP_pcmpestrm || in->op == X86_OP_pcmpistrm ||
	       in->op == X86_OP_vpcmpestrm || in->op == X86_OP_vpcmpistrm;
}
/* The state is in the area. */
static uint8_t *put_vector(uint8_t *p, const struct x86_insn *in, const struct canon *k,
			   struct x86_stub *s)
{
	bool wide = in->vex;
	if (s->floats) p = put(p, 4, 0x2056ae0f); /* ldmxcsr [rsi + 32] */
	for (unsigned i = 0; i < in->operands; i++)
		if (in->o[i].kind == X86_XMM) p = put_move(p, in->o[i].reg, true, wide);
	p = put_before(p, in, k->gpr);
	p = put_insn(p, in, k);
	p = put_behind(p, in, k->gpr);
	uint8_t *skip = NULL;
	if (s->floats) {
		p = put(p, 4, 0x205eae0f);  /* stmxcsr [rsi + 32] */
		p = put(p, 3, 0x20468b);    /* mov eax, [rsi + 32] */
		p = put(p, 3, 0x244685);    /* test [rsi + 36], eax */
		skip = p = put(p, 2, 0x75); /* jnz */
	}
	if (in->o[0].kind == X86_XMM) p = put_move(p, in->o[0].reg, false, wide);
	if (is_strm(in)) p = put_move(p, 0, false, wide);
	if (skip) skip[-1] = (uint8_t)(p - skip);
	if (wide) p = put(p, 3, 0x77f8c5);	  /* vzeroupper */
	if (s->floats) p = put(p, 4, 0x2856ae0f); /* ldmxcsr [rsi + 40] */
	return put(p, 1, 0xc3);
}
/* x87 and XMM registers are in c->fx. Nothing here waits for x87's exceptions behind the
 * instruction, so none that it leaves pending is ever raised. */
static uint8_t *put_x87(uint8_t *p, const struct x86_insn *in, const struct canon *k,
			struct x86_stub *s, const uint8_t *rw)
{
	p = put(p, 4, 0x8eae0f48); /* fxrstor64 [rsi + 192] */
	p = put(p, 4, offsetof(struct x86_native, fx));
	p = put_before(p, in, k->gpr);
	s->insn = (const uint8_t *)s->insn + (p - rw);
	p = put_insn(p, in, k);
	p = put_behind(p, in, k->gpr);
	p = put(p, 4, 0x86ae0f48); /* fxsave64 */
	p = put(p, 4, offsetof(struct x86_native, fx));
	p = put(p, 2, 0xe3db);	   /* fninit */
	p = put(p, 4, 0x2856ae0f); /* ldmxcsr [rsi + 40] */
	return put(p, 1, 0xc3);
}
/* A processor that has run what was there before must see what is there now; the address of the
 * write was another one: SDM 3, 9.1.3, wants an instruction that serializes. */
static void serialize(void)
{
	unsigned a, b, c, d;
	__cpuid(0, a, b, c, d);
	__asm__ volatile("" ::"r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
static void generate(struct cache *c, struct x86_stub *s, const struct x86_insn *in,
		     const struct canon *k, bool x87)
{
	size_t at = (size_t)(s - c->stub) * STUB_ROOM;
	uint8_t *rw = c->rw + at;
	union {
		const uint8_t *from;
		void (*to)(uint8_t *, struct x86_native *);
	} code = {.from = c->rx + at};
	s->run = code.to;
	s->insn = code.from;
	s->modrm = k->modrm;
	s->floats = x86_uses_mxcsr(in);
	s->here = !(needs(in) & ~c->has);
	uint8_t *end = x87 ? put_x87(rw, in, k, s, rw) : put_vector(rw, in, k, s);
	must(end <= rw + STUB_ROOM);
	serialize();
}
const struct x86_stub *x86_stub_get(const struct x86_insn *in, bool x87)
{
	struct cache *c = mine;
	struct canon k = canon_of(in);
	uint64_t want = key_of(in, &k);
	struct x86_stub *s = &c->stub[want * 0x9e3779b97f4a7c15u >> 53]; /* 11 bits */
	if (unlikely(s->key != want)) {
		s->key = 0;
		generate(c, s, in, &k, x87);
		s->key = want;
	}
	return s;
}
#else /* other hosts cannot: x86_host_can() */
struct x86_native *x86_native(void) { return NULL; }
void x86_native_prepare(void) {}
const struct x86_stub *x86_stub_get(const struct x86_insn *in, bool x87)
{
	(void)in;
	(void)x87;
	return NULL;
}
#endif
