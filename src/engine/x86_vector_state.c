/* Instructions that move the whole state, or say how it is set: fxsave, the xsave family, x87's
 * environment, MXCSR. In C, but for what x87's environment is made of. */
#include "engine/x86_vector_impl.h"

enum { MXCSR_BITS = 0xffff, X_LEGACY = 416, X_ALL = X_YMM + 256 };
/* x87's control word: what is in it, and what is always set. */
enum { FCW_BITS = 0x1f7f, FCW_ONE = 0x40 };
enum { C_X87 = 1, C_SSE = 2, C_AVX = 4 };

static int gp(struct x86_vcpu *v) { return x86_raise(v, X86_TRAP_GP, 0); }
static unsigned registers(const struct x86_insn *in) { return in->mode == X86_64 ? 16 : 8; }
/* Of the state as a whole: SDM 1, 10.5 and 13; n bytes, at a multiple of align. */
static int find(struct x86_vcpu *v, const struct x86_insn *in, unsigned n, unsigned align,
		bool write, uint64_t *la)
{
	int e = x86_operand_la(v, in, n, write, la);
	if (!e && align > 1) e = x86_check_odd(v, *la, 4);
	if (e) return e;
	return *la & (align - 1) ? gp(v) : 0;
}

/* ---- MXCSR ---- */

static int do_mxcsr(struct x86_vcpu *v, const struct x86_insn *in, bool load)
{
	uint8_t word[4];
	uint64_t la;
	int e = in->vex ? x86_may_avx(v) : x86_may_sse(v);
	if (!e) e = find(v, in, 4, 1, !load, &la);
	if (!e) e = x86_check_odd(v, la, 4);
	if (e) return e;
	if (!load) return x86_vector_store(v, la, v->x.bytes + X_MXCSR, 4);
	e = x86_vector_load(v, la, word, 4);
	if (e) return e;
	if (load_le(word, 4) & ~(uint64_t)MXCSR_BITS) return gp(v);
	memcpy(v->x.bytes + X_MXCSR, word, 4);
	return 0;
}

/* ---- x87 and SSE parts of an image ---- */

/* Without REX.W the instruction pointer is 32 bits and a selector, which new CPUs give as 0
 * (CPUID.7.EBX[13]); the same for data. */
static void write_x87(const struct x86_vcpu *v, const struct x86_insn *in, uint8_t *to)
{
	memcpy(to, v->x.bytes, X_MXCSR);
	if (in->rex & 8 && in->mode == X86_64) return;
	memset(to + X_FIP + 4, 0, 4);
	memset(to + X_FDP + 4, 0, 4);
}
/* Reserved bits of x87's part as CPUs load them. */
static void clean_x87(uint8_t *x)
{
	store_le(x + X_FCW, (load_le(x + X_FCW, 2) & FCW_BITS) | FCW_ONE, 2);
	x[X_FTW + 1] = 0;
	x[X_FOP + 1] &= 7;
	x86_settle_x87(x);
}
static void read_x87(struct x86_vcpu *v, const struct x86_insn *in, const uint8_t *from)
{
	uint8_t *x = v->x.bytes;
	memcpy(x, from, X_MXCSR);
	clean_x87(x);
	for (unsigned i = 0; i < 8; i++) memcpy(x + X_ST + 16 * i, from + X_ST + 16 * i, 10);
	if (in->rex & 8 && in->mode == X86_64) return;
	memset(x + X_FIP + 4, 0, 4);
	memset(x + X_FDP + 4, 0, 4);
}
static void init_x87(uint8_t *x)
{
	memset(x, 0, X_MXCSR);
	memset(x + X_ST, 0, 128);
	store_le(x + X_FCW, 0x37f, 2);
}
void x86_vector_sane(struct x86_xarea *a)
{
	uint8_t *x = a->bytes, use = x[X_HEADER];
	if (!(use & C_X87)) init_x87(x);
	clean_x87(x);
	if (!(use & C_SSE)) memset(x + X_XMM, 0, 256);
	if (!(use & C_AVX)) memset(x + X_YMM, 0, 256);
	store_le(x + X_MXCSR, load_le(x + X_MXCSR, 4) & MXCSR_BITS, 4);
	store_le(x + X_MXCSR_MASK, MXCSR_BITS, 4);
	for (unsigned i = 0; i < 8; i++) memset(x + X_ST + 16 * i + 10, 0, 6);
	memset(x + X_LEGACY, 0, X_YMM - X_LEGACY);
	x[X_HEADER] = X86_XCR0;
}
/* So that nothing is written if anything cannot be. */
static int probe(struct x86_vcpu *v, uint64_t la, unsigned n)
{
	int e = 0;
	for (unsigned i = 0; i < n && !e; i += 64) e = x86_vector_probe(v, x86_la(v, la + i), 64);
	return e;
}
static int do_fxsave(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint8_t image[X_LEGACY];
	uint64_t la;
	int e = x86_may_x87(v);
	if (!e) e = find(v, in, 512, 16, true, &la);
	if (!e) e = probe(v, la, 512);
	if (e) return e;
	memcpy(image, v->x.bytes, sizeof image);
	write_x87(v, in, image);
	return x86_store_long(v, la, image, X_XMM + 16 * registers(in));
}
static int do_fxrstor(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint8_t image[512];
	uint64_t la;
	int e = x86_may_x87(v);
	if (!e) e = find(v, in, 512, 16, false, &la);
	if (!e) e = x86_load_long(v, la, image, sizeof image);
	if (e) return e;
	if (load_le(image + X_MXCSR, 4) & ~(uint64_t)MXCSR_BITS) return gp(v);
	read_x87(v, in, image);
	memcpy(v->x.bytes + X_MXCSR, image + X_MXCSR, 4);
	memcpy(v->x.bytes + X_XMM, image + X_XMM, 16 * registers(in));
	return 0;
}

/* ---- xsave: SDM 1, 13.7 to 13.11 ---- */

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i]) return false;
	return true;
}
/* XINUSE: what is not as it was initially. MXCSR is no part of it. */
static uint64_t in_use(const struct x86_vcpu *v, const struct x86_insn *in)
{
	const uint8_t *x = v->x.bytes;
	size_t n = 16 * registers(in);
	uint64_t use = 0;
	if (load_le(x, 2) != 0x37f || !is_zero(x + 2, X_MXCSR - 2) || !is_zero(x + X_ST, 128))
		use |= C_X87;
	if (!is_zero(x + X_XMM, n)) use |= C_SSE;
	if (!is_zero(x + X_YMM, n)) use |= C_AVX;
	return use;
}
static int may_xsave(struct x86_vcpu *v)
{
	if (!(v->cr4 & CR4_OSXSAVE)) return x86_raise(v, X86_TRAP_UD, 0);
	return v->cr0 & CR0_TS ? x86_raise(v, X86_TRAP_NM, 0) : 0;
}
static uint64_t asked(const struct x86_vcpu *v)
{
	return ((uint32_t)v->cpu.r[0] | v->cpu.r[2] << 32) & v->xcr0 & X86_XCR0;
}
static unsigned extent(uint64_t parts) { return parts & C_AVX ? X_ALL : X_YMM; }
/* Which components to write, with MXCSR or without it. */
struct save {
	uint64_t la, parts;
	bool mxcsr;
};
static int store_parts(struct x86_vcpu *v, const struct x86_insn *in, const struct save *s)
{
	const uint8_t *x = v->x.bytes;
	uint8_t x87[X_MXCSR];
	unsigned n = 16 * registers(in);
	int e = 0;
	write_x87(v, in, x87);
	if (s->parts & C_X87) {
		e = x86_store_long(v, s->la, x87, sizeof x87);
		if (!e) e = x86_store_long(v, s->la + X_ST, x + X_ST, 128);
	}
	if (!e && s->mxcsr) e = x86_store_long(v, s->la + X_MXCSR, x + X_MXCSR, 8);
	if (!e && s->parts & C_SSE) e = x86_store_long(v, s->la + X_XMM, x + X_XMM, n);
	if (!e && s->parts & C_AVX) e = x86_store_long(v, s->la + X_YMM, x + X_YMM, n);
	return e;
}
/* xsave and xsaveopt */
static int do_xsave(struct x86_vcpu *v, const struct x86_insn *in, bool opt)
{
	uint64_t la, mask = asked(v), use = in_use(v, in);
	uint8_t bv[8];
	int e = may_xsave(v);
	if (!e) e = find(v, in, extent(mask), 64, true, &la);
	if (!e) e = probe(v, la, extent(mask));
	if (!e) e = x86_vector_load(v, la + X_HEADER, bv, 8);
	if (e) return e;
	struct save s = {la, opt ? mask & use : mask, mask & (C_SSE | C_AVX)};
	e = store_parts(v, in, &s);
	store_le(bv, (load_le(bv, 8) & ~mask) | (mask & use), 8);
	return e ? e : x86_vector_store(v, la + X_HEADER, bv, 8);
}
/* Compacted, AVX stands where it does otherwise. MXCSR is part of SSE here. */
static int do_xsavec(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t la, mask = asked(v), use = in_use(v, in);
	uint8_t header[16];
	int e = may_xsave(v);
	if (!e) e = find(v, in, extent(mask), 64, true, &la);
	if (!e) e = probe(v, la, extent(mask));
	if (e) return e;
	if (load_le(v->x.bytes + X_MXCSR, 4) != 0x1f80) use |= C_SSE;
	struct save s = {la, mask & use, mask & use & C_SSE};
	e = store_parts(v, in, &s);
	store_le(header, mask & use, 8);
	store_le(header + 8, mask | 1ull << 63, 8);
	return e ? e : x86_vector_store(v, la + X_HEADER, header, 16);
}
/* SDM 1, 13.8.1 and 13.8.2: the header, or #GP. */
static bool is_header_good(const struct x86_vcpu *v, const uint8_t *h)
{
	uint64_t bv = load_le(h, 8), comp = load_le(h + 8, 8);
	if (bv & ~(v->xcr0 & X86_XCR0)) return false;
	if (!(comp >> 63)) return !comp && !load_le(h + 16, 8);
	comp &= ~(1ull << 63);
	return !(comp & ~(v->xcr0 & X86_XCR0)) && !(bv & ~comp) && is_zero(h + 16, 48);
}
static void load_sse(struct x86_vcpu *v, const uint8_t *image, unsigned n)
{
	memcpy(v->x.bytes + X_XMM, image + X_XMM, n);
}
/* image: components that bv lacks are zero in it. */
static void load_parts(struct x86_vcpu *v, const struct x86_insn *in, uint8_t *image, uint64_t mask,
		       uint64_t bv)
{
	unsigned n = 16 * registers(in);
	if (mask & C_X87) {
		if (bv & C_X87)
			read_x87(v, in, image);
		else
			init_x87(v->x.bytes);
	}
	if (!(bv & C_SSE)) memset(image + X_XMM, 0, 256);
	if (!(bv & C_AVX)) memset(image + X_YMM, 0, 256);
	if (mask & C_SSE) load_sse(v, image, n);
	if (mask & C_AVX) memcpy(v->x.bytes + X_YMM, image + X_YMM, n);
}
static int do_xrstor(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint8_t image[X_ALL] = {0};
	uint64_t la, mask = asked(v);
	int e = may_xsave(v);
	if (!e) e = find(v, in, extent(mask), 64, false, &la);
	if (!e) e = x86_load_long(v, la + X_HEADER, image + X_HEADER, 64);
	if (e) return e;
	if (!is_header_good(v, image + X_HEADER)) return gp(v);
	uint64_t bv = load_le(image + X_HEADER, 8);
	bool compact = image[X_HEADER + 15] >> 7;
	if (mask) e = x86_load_long(v, la, image, X_LEGACY);
	if (!e && mask & bv & C_AVX) e = x86_load_long(v, la + X_YMM, image + X_YMM, 256);
	if (e) return e;
	bool mxcsr = compact ? mask & C_SSE : mask & (C_SSE | C_AVX);
	if (compact && !(bv & C_SSE)) store_le(image + X_MXCSR, 0x1f80, 4);
	if (mxcsr && load_le(image + X_MXCSR, 4) & ~(uint64_t)MXCSR_BITS) return gp(v);
	if (mxcsr) memcpy(v->x.bytes + X_MXCSR, image + X_MXCSR, 4);
	load_parts(v, in, image, mask, bv);
	return 0;
}

/* ---- x87's environment: SDM 1, 8.1.10 ---- */

enum { ENV16 = 14, ENV32 = 28, REGS = 80 };
/* From the host's, which is that of 32 bit protected mode, to what the guest's mode wants. FIP is
 * the offset also in real mode, where CPUs store the linear address. */
static void convert_out(const struct x86_vcpu *v, const struct x86_insn *in, const uint8_t *h,
			uint8_t *g)
{
	bool real = !(v->cr0 & CR0_PE) || v->cpu.flags & X86_VM;
	uint32_t ip = (uint32_t)load_le(h + 12, 4), dp = (uint32_t)load_le(h + 20, 4);
	uint32_t fop = load_le(h + 18, 2) & 0x7ff;
	unsigned wide = in->osize == 2 ? 2 : 4;
	memcpy(g, h, ENV32);
	if (wide == 4 && !real) return;
	uint32_t word[7] = {
		(uint32_t)load_le(h, 4),      (uint32_t)load_le(h + 4, 4),
		(uint32_t)load_le(h + 8, 4),  ip,
		(uint32_t)load_le(h + 16, 2), dp,
		(uint32_t)load_le(h + 24, 4),
	};
	if (real) {
		word[3] = ip & 0xffff;
		word[4] = (ip >> 16) << 12 | fop;
		word[5] = dp & 0xffff;
		word[6] = (dp >> 16) << 12;
	}
	for (unsigned i = 0; i < 7; i++) store_le(g + i * wide, word[i], wide);
}
static void convert_in(const struct x86_vcpu *v, const struct x86_insn *in, const uint8_t *g,
		       uint8_t *h)
{
	bool real = !(v->cr0 & CR0_PE) || v->cpu.flags & X86_VM;
	unsigned wide = in->osize == 2 ? 2 : 4;
	uint32_t word[7];
	for (unsigned i = 0; i < 7; i++) word[i] = (uint32_t)load_le(g + i * wide, wide);
	if (real) {
		word[3] = (word[3] & 0xffff) | (word[4] & 0xffff000) << 4;
		word[5] = (word[5] & 0xffff) | (word[6] & 0xffff000) << 4;
		word[4] <<= 16;
		word[6] = 0;
	}
	for (unsigned i = 0; i < 7; i++) store_le(h + i * 4, word[i], 4);
	if (wide == 2 && !real) store_le(h + 16, word[4], 4);
}
static int store_env(struct x86_vcpu *v, const struct x86_insn *in, uint64_t la, unsigned n)
{
	uint8_t image[ENV32 + REGS];
	struct x86_native *c = x86_native();
	const struct x86_stub *s = x86_run_x87(v, in, c);
	unsigned env = in->osize == 2 ? ENV16 : ENV32;
	memset(image, 0, sizeof image);
	convert_out(v, in, c->mem, image);
	memcpy(image + env, c->mem + ENV32, REGS);
	int e = x86_store_long(v, la, image, n);
	if (!e) x86_commit_x87(v, in, s, c);
	return e;
}
int x86_do_env(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool load = in->op == X86_OP_fldenv || in->op == X86_OP_frstor;
	bool save = in->op == X86_OP_fnstenv || in->op == X86_OP_fnsave;
	bool regs = in->op == X86_OP_frstor || in->op == X86_OP_fnsave;
	unsigned env = in->osize == 2 ? ENV16 : ENV32, n = env + (regs ? REGS : 0);
	uint8_t image[ENV32 + REGS];
	struct x86_native *c = x86_native();
	uint64_t la;
	if (!load && !save) return X86_OTHER;
	int e = x86_operand_la(v, in, n, save, &la);
	if (!e) e = x86_check_odd(v, la, in->osize == 2 ? 2 : 4);
	if (e) return e;
	if (save) return store_env(v, in, la, n);
	e = x86_load_long(v, la, image, n);
	if (e) return e;
	convert_in(v, in, image, c->mem);
	if (regs) memcpy(c->mem + ENV32, image + env, REGS);
	x86_commit_x87(v, in, x86_run_x87(v, in, c), c);
	return 0;
}

/* ---- which it is ---- */

static int do_one(struct x86_vcpu *v, const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_ldmxcsr:
	case X86_OP_vldmxcsr: return do_mxcsr(v, in, true);
	case X86_OP_stmxcsr:
	case X86_OP_vstmxcsr: return do_mxcsr(v, in, false);
	case X86_OP_fxsave: return do_fxsave(v, in);
	case X86_OP_fxrstor: return do_fxrstor(v, in);
	case X86_OP_xsave: return do_xsave(v, in, false);
	case X86_OP_xsaveopt: return do_xsave(v, in, true);
	case X86_OP_xsavec: return do_xsavec(v, in);
	case X86_OP_xrstor: return do_xrstor(v, in);
	case X86_OP_xsaves: /* CPUID.(13,1).EAX[3] is clear */
	case X86_OP_xrstors: return x86_raise(v, X86_TRAP_UD, 0);
	default: return X86_OTHER;
	}
}
int x86_do_state(struct x86_vcpu *v, const struct x86_insn *in)
{
	int e = do_one(v, in);
	return e ? e : x86_vector_done(v, in);
}
