/* Instructions on vector and x87 registers: which they are, whether the CPU is in a state to run
 * them, and what comes of them. The host's own CPU does the arithmetic (x86_vector_stub.c), with
 * exceptions masked: those that the guest has not masked are seen in the flags that come up.
 *
 * What this cannot know: whether a result that overflows or underflows unmasked would have been
 * exact with a wider exponent (PE of MXCSR at that #XM), and where dpps and dppd would have stopped
 * between their steps. */
#include "engine/x86_vector_impl.h"
#include "isa/x86/table.h"

enum { IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32, FLAGS = 63, MASKS = 0x1f80, FTZ = 0x8000 };
enum { FSW_ES = 0x80, FSW_B = 0x8000 };

bool x86_x87_pending(const struct x86_xarea *a)
{
	return (a->bytes[X_FSW] & ~a->bytes[X_FCW] & FLAGS) != 0;
}
/* SDM 3, table 10-1: INIT leaves all of it alone. */
void x86_vector_reset(struct x86_vcpu *v, bool init)
{
	uint8_t *x = v->x.bytes;
	if (init) return;
	memset(x, 0, sizeof v->x.bytes);
	store_le(x + X_FCW, 0x40, 2);
	x[X_FTW] = 0xff; /* all valid, +0.0 */
	store_le(x + X_MXCSR, MASKS, 4);
	store_le(x + X_MXCSR_MASK, 0xffff, 4);
	x[X_HEADER] = X86_XCR0;
}

/* ---- may it run: SDM 3, 2.5 and 2.6, SDM 2, 2.4 ---- */

static int ud(struct x86_vcpu *v) { return x86_raise(v, X86_TRAP_UD, 0); }
static int nm_if(struct x86_vcpu *v, bool is) { return is ? x86_raise(v, X86_TRAP_NM, 0) : 0; }
int x86_may_x87(struct x86_vcpu *v) { return nm_if(v, v->cr0 & (CR0_EM | CR0_TS)); }
int x86_may_sse(struct x86_vcpu *v)
{
	if (v->cr0 & CR0_EM || !(v->cr4 & CR4_OSFXSR)) return ud(v);
	return nm_if(v, v->cr0 & CR0_TS);
}
static int may_mmx(struct x86_vcpu *v, const struct x86_insn *in)
{
	if (v->cr0 & CR0_EM) return ud(v);
	for (int i = 0; i < in->operands; i++)
		if (in->o[i].kind == X86_XMM && !(v->cr4 & CR4_OSFXSR)) return ud(v);
	return nm_if(v, v->cr0 & CR0_TS);
}
int x86_may_avx(struct x86_vcpu *v)
{
	if (!(v->cr0 & CR0_PE) || v->cpu.flags & X86_VM) return ud(v);
	if (!(v->cr4 & CR4_OSXSAVE) || (v->xcr0 & 6) != 6) return ud(v);
	return nm_if(v, v->cr0 & CR0_TS);
}

/* ---- memory ---- */

/* Bytes that the address must be a multiple of: SDM 2, 2.4, types 1, 2 and 4. */
static unsigned alignment(const struct x86_insn *in, unsigned size)
{
	switch (in->op) {
	case X86_OP_vmovaps:
	case X86_OP_vmovapd:
	case X86_OP_vmovdqa:
	case X86_OP_vmovntps:
	case X86_OP_vmovntpd:
	case X86_OP_vmovntdq:
	case X86_OP_vmovntdqa: return size;
	case X86_OP_movups:
	case X86_OP_movupd:
	case X86_OP_movdqu:
	case X86_OP_lddqu:
	case X86_OP_pcmpestri:
	case X86_OP_pcmpestrm:
	case X86_OP_pcmpistri:
	case X86_OP_pcmpistrm: return 1;
	default: return !in->vex && size == 16 ? 16 : 1;
	}
}
struct place {
	uint64_t la;
	unsigned n;
	bool write;
};
/* In 64 bit mode CPUs look at it before they look whether the address is canonical. */
static bool is_askew(struct x86_vcpu *v, const struct x86_insn *in, unsigned size)
{
	unsigned align = alignment(in, size);
	if (align == 1) return false;
	return (x86_operand_ea(v, in) + v->cpu.base[in->seg]) & (align - 1);
}
/* Where the memory operand is, if there is one (n); read into c->mem if it is read. */
static int find_memory(struct x86_vcpu *v, const struct x86_insn *in, struct x86_native *c,
		       struct place *at)
{
	int i = x86_mem_operand(in);
	*at = (struct place){0};
	if (i < 0) return 0;
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	at->write = i == 0 && !(info->reads_o & 1);
	at->n = in->o[i].size;
	if (in->mode == X86_64 && is_askew(v, in, at->n)) return x86_raise(v, X86_TRAP_GP, 0);
	int e = x86_operand_la(v, in, at->n, at->write, &at->la);
	if (e) return e;
	if (at->la & (alignment(in, at->n) - 1)) return x86_raise(v, X86_TRAP_GP, 0);
	bool half = in->op == X86_OP_vcvtps2ph || in->op == X86_OP_vcvtph2ps;
	e = half ? 0 : x86_check_odd(v, at->la, at->n);
	if (e) return e;
	return at->write ? 0 : x86_vector_load(v, at->la, c->mem, at->n);
}
/* ---- general registers, EFLAGS ---- */

static void give(const struct x86_vcpu *v, const struct x86_insn *in, struct x86_native *c)
{
	const uint64_t *r = v->cpu.r;
	c->ax = r[0];
	c->dx = r[2];
	c->cx = r[1];
	c->flags = v->cpu.flags & X86_ARITH;
	for (int i = 0; i < in->operands; i++)
		if (in->o[i].kind == X86_REG) c->ax = r[in->o[i].reg & 15];
}
static void take(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_native *c)
{
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	if (in->operands && in->o[0].kind == X86_REG) v->cpu.r[in->o[0].reg & 15] = c->ax;
	if (info->writes_r) v->cpu.r[1] = c->cx;
	if (info->writes)
		v->cpu.flags = (v->cpu.flags & ~(uint64_t)X86_ARITH) | (c->flags & X86_ARITH);
}
int x86_vector_done(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t to = v->cpu.rip + in->len;
	v->cpu.rip = in->mode == X86_64 ? to : (uint32_t)to;
	return 0;
}

/* ---- MXCSR ---- */

/* Flags start clear and exceptions masked. Flushing to zero is what masked underflow does only. */
static void give_mxcsr(const struct x86_vcpu *v, struct x86_native *c)
{
	uint32_t m = (uint32_t)load_le(v->x.bytes + X_MXCSR, 4) & 0xffff;
	c->trap = ~m >> 7 & FLAGS;
	c->mxcsr = (m & ~(uint32_t)FLAGS) | MASKS;
	if (c->trap & UE) c->mxcsr &= ~(uint32_t)FTZ;
}
/* Flags that came up go to the guest's; those of exceptions found before computing hide what was
 * found behind them (SDM 1, 11.5.2). 0, or #XM, or #UD where the system does not want #XM. */
static int take_mxcsr(struct x86_vcpu *v, const struct x86_native *c)
{
	unsigned up = c->mxcsr & FLAGS, first = IE | DE | ZE;
	bool traps = up & c->trap;
	if (up & c->trap & first) up &= first;
	v->x.bytes[X_MXCSR] = (uint8_t)(v->x.bytes[X_MXCSR] | up);
	if (!traps) return 0;
	return x86_raise(v, v->cr4 & CR4_OSXMMEXCPT ? X86_TRAP_XM : X86_TRAP_UD, 0);
}
/* Elements that an operation can underflow in: bytes of each, how many of them; 0: none. */
static unsigned tiny_elements(const struct x86_insn *in, unsigned *n)
{
	static const uint8_t by_pfx[4] = {4, 8, 4, 8};
	unsigned op = x86_opcode(in) & 0x3ff, pfx = x86_pfx(in), size = by_pfx[pfx];
	*n = in->o[0].size / size;
	switch (op) {
	case 0x158:
	case 0x159:
	case 0x15c:
	case 0x15e:
		if (pfx >= PFX_F3) *n = 1;
		return size;
	case 0x15a: /* cvtpd2ps, cvtsd2ss */
		*n = pfx == PFX_66 ? 4 : 1;
		return pfx == PFX_66 || pfx == PFX_F2 ? 4 : 0;
	case 0x17c:
	case 0x17d:
	case 0x1d0:
		size = pfx == PFX_66 ? 8 : 4;
		*n = in->o[0].size / size;
		return size;
	case 0x340: *n = in->o[0].size / 4; return 4;
	case 0x341: *n = 2; return 8;
	case 0x31d: *n = in->vl ? 8 : 4; return 2;
	default: break;
	}
	if (op < 0x296 || op > 0x2bf) return 0;
	size = in->rex & 8 ? 8 : 4;
	*n = (op & 15) >= 9 && op & 1 ? 1 : in->o[0].size / size;
	return size;
}
static bool is_tiny(const uint8_t *p, unsigned size)
{
	static const uint8_t fraction[9] = {[2] = 10, [4] = 23, [8] = 52};
	uint64_t x = load_le(p, size), exponents = (1ull << (8 * size - 1)) - 1;
	x &= exponents;
	return x && !(x >> fraction[size]);
}
/* Unmasked, underflow is tininess alone; masked, its flag is up only of an inexact result
 * (SDM 1, 4.9.1.5). So results are looked at; products inside dpps and dppd are not seen. */
static void find_underflow(const struct x86_vcpu *v, const struct x86_insn *in,
			   struct x86_native *c)
{
	unsigned n, size = tiny_elements(in, &n), reg = in->o[0].reg & 15;
	const uint8_t *x = v->x.bytes;
	for (unsigned i = 0; size && i < n * size; i += size) {
		const uint8_t *p = x + (i < 16 ? X_XMM : X_YMM - 16) + 16 * reg + i;
		if (in->o[0].kind == X86_MEM) p = c->mem + i;
		if (is_tiny(p, size)) c->mxcsr |= UE;
	}
}
/* With underflow unmasked the registers are written first, and put back if it was one. */
static void run_tiny(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_stub *s,
		     struct x86_native *c)
{
	uint8_t old[32], *x = v->x.bytes + X_XMM + 16 * (in->o[0].reg & 15);
	uint8_t *y = x + (X_YMM - X_XMM);
	bool reg = in->o[0].kind == X86_XMM;
	memcpy(old, x, 16);
	memcpy(old + 16, y, 16);
	uint32_t trap = c->trap;
	c->trap = 0;
	s->run(v->x.bytes, c);
	c->trap = trap;
	find_underflow(v, in, c);
	if (!reg || !(c->mxcsr & c->trap)) return;
	memcpy(x, old, 16);
	memcpy(y, old + 16, 16);
}

/* ---- SSE, AVX ---- */

/* What is to be stored: only now is it asked where. */
static int finish_store(struct x86_vcpu *v, const struct x86_insn *in, struct x86_native *c)
{
	struct place at;
	int e = find_memory(v, in, c, &at);
	return e ? e : x86_vector_store(v, at.la, c->mem, at.n);
}
static bool stores(const struct x86_insn *in)
{
	return in->operands && in->o[0].kind == X86_MEM &&
	       !(x86_op_info((enum x86_op)in->op)->reads_o & 1);
}
static int run_sse(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_stub *s,
		   struct x86_native *c)
{
	uint8_t was = v->x.bytes[X_MXCSR];
	give(v, in, c);
	if (s->floats) give_mxcsr(v, c);
	if (s->floats && c->trap & UE)
		run_tiny(v, in, s, c);
	else
		s->run(v->x.bytes, c);
	int e = s->floats ? take_mxcsr(v, c) : 0;
	if (!e && stores(in)) {
		e = finish_store(v, in, c);
		if (e) v->x.bytes[X_MXCSR] = was;
	}
	if (e) return e;
	take(v, in, c);
	return x86_vector_done(v, in);
}
static int do_sse(struct x86_vcpu *v, const struct x86_insn *in, struct x86_native *c)
{
	const struct x86_stub *s = x86_stub_get(in, false);
	struct place at;
	if (!s->here) return ud(v);
	int e = in->vex ? x86_may_avx(v) : x86_may_sse(v);
	if (!e) e = x86_do_elements(v, in);
	if (e != X86_OTHER) return e ? e : x86_vector_done(v, in);
	e = stores(in) ? 0 : find_memory(v, in, c, &at);
	return e ? e : run_sse(v, in, s, c);
}

/* ---- x87, MMX ---- */

/* ES and B as they follow from flags and masks: the host must not find anything to raise. */
void x86_settle_x87(uint8_t *x)
{
	bool pending = x[X_FSW] & ~x[X_FCW] & FLAGS;
	x[X_FSW] = (uint8_t)((x[X_FSW] & ~FSW_ES) | (pending ? FSW_ES : 0));
	x[X_FSW + 1] = (uint8_t)((x[X_FSW + 1] & 0x7f) | (pending ? FSW_B >> 8 : 0));
}
/* Bytes of the state that an instruction of x87 or MMX can change. */
static size_t fx_size(const struct x86_insn *in)
{
	for (int i = 0; i < in->operands; i++)
		if (in->o[i].kind == X86_XMM) return X_XMM + 256;
	return X_XMM;
}
const struct x86_stub *x86_run_x87(struct x86_vcpu *v, const struct x86_insn *in,
				   struct x86_native *c)
{
	const struct x86_stub *s = x86_stub_get(in, true);
	memcpy(c->fx, v->x.bytes, fx_size(in));
	x86_settle_x87(c->fx);
	give(v, in, c);
	give_mxcsr(v, c);
	store_le(c->fx + X_MXCSR, c->mxcsr, 4);
	s->run(v->x.bytes, c);
	c->mxcsr = (uint32_t)load_le(c->fx + X_MXCSR, 4);
	return s;
}
/* Where the host says that it was the stub's, it is the guest's. */
void x86_commit_x87(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_stub *s,
		    const struct x86_native *c)
{
	uint8_t *x = v->x.bytes;
	unsigned fop = (x86_opcode(in) & 7) << 8;
	bool was = load_le(x + X_FOP, 2) == (fop | s->modrm), pending = x86_x87_pending(&v->x);
	memcpy(x, c->fx, X_MXCSR);
	memcpy(x + X_ST, c->fx + X_ST, fx_size(in) - X_ST);
	if (load_le(x + X_FIP, 8) == (uint64_t)(uintptr_t)s->insn) {
		store_le(x + X_FIP, v->cpu.rip, 8);
		if ((!was || pending != x86_x87_pending(&v->x)) &&
		    load_le(x + X_FOP, 2) == (fop | s->modrm))
			store_le(x + X_FOP, fop | in->modrm, 2);
	}
	if (in->has_mem && load_le(x + X_FDP, 8) == (uint64_t)(uintptr_t)c->mem)
		store_le(x + X_FDP, x86_operand_ea(v, in), 8);
}
static bool waits(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_fninit:
	case X86_OP_fnclex:
	case X86_OP_fnstcw:
	case X86_OP_fnstsw:
	case X86_OP_fnstenv:
	case X86_OP_fnsave:
	case X86_OP_fneni:
	case X86_OP_fndisi:
	case X86_OP_fnsetpm: return false;
	default: return true;
	}
}
/* An exception that has come up and is not masked leaves memory alone, precision's excepted, and
 * then its address does not matter either: SDM 1, 8.5. */
static bool keeps_memory(const struct x86_vcpu *v, const struct x86_native *c)
{
	return c->fx[X_FSW] & ~c->fx[X_FCW] & (FLAGS & ~PE) && !x86_x87_pending(&v->x);
}
static int run_fx(struct x86_vcpu *v, const struct x86_insn *in, struct x86_native *c)
{
	struct place at;
	int e = stores(in) ? 0 : find_memory(v, in, c, &at);
	if (e) return e;
	const struct x86_stub *s = x86_run_x87(v, in, c);
	if (s->floats) e = take_mxcsr(v, c);
	if (!e && stores(in) && !keeps_memory(v, c)) e = finish_store(v, in, c);
	if (e) return e;
	x86_commit_x87(v, in, s, c);
	take(v, in, c);
	return x86_vector_done(v, in);
}
static int do_x87(struct x86_vcpu *v, const struct x86_insn *in, struct x86_native *c, bool mmx)
{
	if (!x86_stub_get(in, true)->here) return ud(v);
	int e = mmx ? may_mmx(v, in) : x86_may_x87(v);
	if (e) return e;
	/* With CR0.NE clear a PC raises IRQ 13 instead; no system does that any more. */
	if (waits(in) && x86_x87_pending(&v->x)) return x86_raise(v, X86_TRAP_MF, 0);
	e = mmx ? x86_do_elements(v, in) : x86_do_env(v, in);
	if (e != X86_OTHER) return e ? e : x86_vector_done(v, in);
	return run_fx(v, in, c);
}
static int do_fwait(struct x86_vcpu *v, const struct x86_insn *in)
{
	enum { BOTH = CR0_MP | CR0_TS };
	if ((v->cr0 & BOTH) == BOTH) return x86_raise(v, X86_TRAP_NM, 0);
	if (x86_x87_pending(&v->x)) return x86_raise(v, X86_TRAP_MF, 0);
	return x86_vector_done(v, in);
}
/* vzeroupper, vzeroall */
static int do_vzero(struct x86_vcpu *v, const struct x86_insn *in)
{
	size_t n = in->mode == X86_64 ? 256 : 128;
	int e = x86_vector_has_avx ? x86_may_avx(v) : ud(v);
	if (e) return e;
	memset(v->x.bytes + X_YMM, 0, n);
	if (in->op == X86_OP_vzeroall) memset(v->x.bytes + X_XMM, 0, n);
	return x86_vector_done(v, in);
}

/* ---- which it is ---- */

/* Or no host that could: x86_host_can(). */
static int no_memory(struct x86_vcpu *v)
{
	v->broken = "no memory for vector instructions";
	return ud(v);
}
static int do_other(struct x86_vcpu *v, const struct x86_insn *in, struct x86_native *c)
{
	unsigned op = x86_opcode(in);
	if (op >= 0xd8 && op <= 0xdf) return do_x87(v, in, c, false);
	switch (in->op) {
	case X86_OP_emms: return do_x87(v, in, c, true);
	case X86_OP_fwait: return do_fwait(v, in);
	case X86_OP_vzeroupper:
	case X86_OP_vzeroall: return do_vzero(v, in);
	default: return x86_do_state(v, in);
	}
}
int x86_do_vector(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool xmm = false;
	struct x86_native *c = x86_native();
	if (unlikely(!c)) return no_memory(v);
	for (int i = 0; i < in->operands; i++) {
		if (in->o[i].kind == X86_MMX) return do_x87(v, in, c, true);
		xmm |= in->o[i].kind == X86_XMM;
	}
	/* To a general register from memory: no operand is a vector register. */
	xmm |= in->op >= X86_OP_cvttss2si && in->op <= X86_OP_vcvtsd2si;
	return xmm ? do_sse(v, in, c) : do_other(v, in, c);
}
