/* Vector and x87 instructions against the CPU that this runs on: each case is one instruction on
 * registers and memory gathered at the corners, done by x86_do_vector and then, as it stands and
 * with the whole state loaded by XRSTOR, by the host. All state is compared, and which exception.
 * x86_do_vector goes first: only what stays in our buffer (or faults) may run for real. */
#include "base/test.h"
#include "engine/x86_vector_impl.h"
#include "engine/x86_vector_rig.h"
#include "isa/x86/host_test.h"
#include "isa/x86/random_test.h"
#include <stdio.h>
#include <stdlib.h>
#ifdef __x86_64__

enum { BUF = HOST_BUF };

/* ---- ours: memory ---- */

static int do_load(struct x86_vcpu *v, uint64_t la, void *to, unsigned n, enum x86_view as)
{
	int e = host_look(la, n);
	CHECK(n <= 64);
	(void)v;
	(void)as;
	if (!e) memcpy(to, (void *)la, n);
	return e;
}
static int do_store(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n, enum x86_view as)
{
	int e = host_look(la, n);
	CHECK(n <= 64);
	(void)v;
	(void)as;
	if (!e) memcpy((void *)la, from, n);
	return e;
}
static int do_probe(struct x86_vcpu *v, uint64_t la, unsigned n, unsigned access, enum x86_view as)
{
	(void)v;
	(void)as;
	(void)access;
	return host_look(la, n);
}
/* ---- a case ---- */

static struct x86_vcpu *new_vcpu(void)
{
	struct x86_vcpu *v = aligned_alloc(64, (sizeof *v + 63) / 64 * 64);
	if (!v) abort();
	memset(v, 0, sizeof *v);
	v->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP | CR0_PG;
	v->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	v->efer = EFER_LMA | EFER_LME;
	v->long_mode = true;
	v->xcr0 = X86_XCR0;
	v->mode = X86_64;
	v->cpu.flags = 2;
	v->cpu.ssize = 8;
	for (unsigned i = 0; i < 6; i++)
		v->seg[i] =
			(struct x86_segreg){.limit = UINT32_MAX,
					    .access = SEG_P | SEG_S | SEG_RW | SEG_A | SEG_G |
						      (i == X86_CS ? SEG_CODE | SEG_L : SEG_DB)};
	x86_vector_reset(v, false);
	return v;
}
struct run {
	enum x86_mode mode;
	uint8_t bytes[16];
	struct x86_insn in;
	uint64_t r[16], flags;
	struct x86_xarea x;
	int trap;
};
static struct x86_vcpu *vcpu;

static void make_state(struct run *k)
{
	x86_random_xarea(&k->x);
	for (int i = 0; i < 16; i++) k->r[i] = x86_random_float();
	k->flags = 0x202 | (next() & X86_ARITH);
}
/* Points the memory operand into the buffer, mostly at edges, if its registers allow. */
static void aim(struct run *k)
{
	struct x86_insn *in = &k->in;
	uint64_t *r = k->r;
	unsigned size =
		in->has_mem && x86_mem_operand(in) >= 0 ? in->o[x86_mem_operand(in)].size : 16;
	if (!size) size = 512;
	uint64_t off = next() % 8 ? next() % (BUF - 1024) : BUF - (next() % (size + 4u));
	uint64_t to = (uint64_t)host.buf + off;
	if (next() % 4) to &= ~63ull;
	if (!in->has_mem) r[7] = to; /* maskmovdqu */
	if (next() % 32 == 0 || !in->has_mem) return;
	bool vsib = in->operands > 2 && in->o[1].kind == X86_MEM;
	uint64_t index = in->index < 16 && !vsib ? r[in->index] * in->scale : 0;
	if (in->base < 16 && (in->base != in->index || vsib)) {
		r[in->base] = to - index - (uint64_t)in->disp;
		return;
	}
	if (in->index < 16 && in->base == X86_NOREG && !vsib) {
		r[in->index] = (to - (uint64_t)in->disp) / in->scale;
		return;
	}
	uint64_t disp = in->base == X86_RIP ? to - (host.insn + in->len) : to;
	if (in->base >= 16 && in->disp_len >= 4) memcpy(k->bytes + in->disp_at, &disp, 4);
}
/* Indexes of a gather: small, but for one now and then. */
static void aim_gather(struct run *k)
{
	if (!k->in.vex || k->in.index > 15 || k->in.operands < 3 || k->in.o[1].kind != X86_MEM)
		return;
	for (unsigned i = 0; i < 32; i += 4) {
		uint8_t *p = k->x.bytes + (i < 16 ? X_XMM : X_YMM - 16) + 16 * k->in.index + i;
		int64_t v = (int64_t)(next() % 64) - 32;
		if (x86_opcode(&k->in) & 1 && i % 8) v = (int32_t)load_le(p - 4, 4) < 0 ? -1 : 0;
		store_le(p, next() % 64 ? (uint64_t)v : next() % 9999, 4);
	}
}
/* With exceptions that are not masked they end between their steps, which only the host sees. */
static bool is_in_steps(const struct run *k)
{
	unsigned op = k->in.op;
	bool dpp =
		op == X86_OP_dpps || op == X86_OP_dppd || op == X86_OP_vdpps || op == X86_OP_vdppd;
	return dpp && ~load_le(k->x.bytes + X_MXCSR, 4) & 0x1f80;
}
static bool is_excluded(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_xsave:
	case X86_OP_xsaveopt:
	case X86_OP_xsavec:
	case X86_OP_xsaves:
	case X86_OP_xrstor:
	case X86_OP_xrstors: return true;
	default: return in->seg_over == X86_FS || in->seg_over == X86_GS || in->seg_over == X86_CS;
	}
}
static bool make_case(struct run *k, unsigned form)
{
	k->mode = next() % 4 ? X86_64 : X86_32;
	if (!x86_form_bytes(form, k->mode, k->bytes, next)) return false;
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK || is_excluded(&k->in))
		return false;
	for (unsigned i = 0; i < 64; i++) {
		uint64_t v = x86_random_float();
		memcpy(host.buf + next() % (BUF / 8) * 8, &v, 8);
	}
	make_state(k);
	aim(k);
	aim_gather(k);
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK) return false;
	for (int i = 0; i < 16 && k->mode == X86_32; i++) k->r[i] = (uint32_t)k->r[i];
	if (is_in_steps(k)) store_le(k->x.bytes + X_MXCSR, 0x1f80, 4);
	uint32_t mxcsr = next() & 0xffff;
	if (k->in.op == X86_OP_fxrstor || k->in.op == X86_OP_ldmxcsr || k->in.op == X86_OP_vldmxcsr)
		for (unsigned i = 0; i + 4 <= BUF; i += 8 + (unsigned)(next() & 8))
			memcpy(host.buf + i, &mxcsr, 4);
	return true;
}
static void run_host(const struct run *k)
{
	struct host_ctx *x = host.ctx;
	memcpy(x->in, k->r, sizeof x->in);
	x->in_flags = k->flags;
	memcpy(x->x_in, &k->x, sizeof k->x);
	host_run_insn(k->bytes, k->in.len, k->mode == X86_32);
	/* components that were found to be as they are initially */
	if (!(x->x_out[X_HEADER] & 1)) {
		memset(x->x_out, 0, X_MXCSR);
		store_le(x->x_out, 0x37f, 2);
		memset(x->x_out + X_ST, 0, 128);
	}
	if (!(x->x_out[X_HEADER] & 2)) memset(x->x_out + X_XMM, 0, 256);
	if (!(x->x_out[X_HEADER] & 4)) memset(x->x_out + X_YMM, 0, 256);
}
/* Long operands that wrap around 4 GiB fault in their first page before they do in their segment.
 */
static int signal_of(const struct run *k)
{
	if (k->mode == X86_32 && k->trap == X86_TRAP_SS && host.ctx->signal == SIGSEGV)
		return SIGSEGV;
	switch (k->trap) {
	case 0: return 0;
	case X86_TRAP_XM:
	case X86_TRAP_MF: return SIGFPE;
	case X86_TRAP_UD: return SIGILL;
	case X86_TRAP_SS: return SIGBUS;
	default: return SIGSEGV;
	}
}
/* What is behind the elements that a gather is about, when it faults. */
static void forgive_gather(const struct run *k, uint8_t *real)
{
	const struct x86_insn *in = &k->in;
	if (!in->vex || in->operands < 3 || in->o[1].kind != X86_MEM || in->index > 15) return;
	unsigned size = in->o[1].size, isize = x86_opcode(in) & 1 ? 8 : 4;
	unsigned from = (in->vl ? 32u : 16u) / (size > isize ? size : isize) * size;
	if (in->imm_len || in->o[2].kind != X86_XMM || x86_opcode(in) >> 4 != 0x69) return;
	for (unsigned i = from; i < 32; i++)
		for (int o = 0; o < 3; o += 2) {
			unsigned at = (i < 16 ? X_XMM : X_YMM - 16) + 16u * in->o[o].reg + i;
			real[at] = vcpu->x.bytes[at];
		}
}
/* What a CPU may do and we do not: canonical FIP by fxrstor, enter MMX, set MXCSR's flags though
 * memory faults, store 10 bytes in two parts; and know whether a result that is too big or small
 * would have been exact. */
static void forgive(const struct run *k, uint8_t *real)
{
	const uint8_t *ours = vcpu->x.bytes;
	bool mmx = false;
	if (k->in.op == X86_OP_fxrstor) memcpy(real + X_FIP + 6, ours + X_FIP + 6, 2);
	if (!k->trap) return;
	for (int i = 0; i < k->in.operands; i++) mmx |= k->in.o[i].kind == X86_MMX;
	if (mmx) memcpy(real, ours, X_FOP);
	if (mmx) memcpy(real + X_ST, ours + X_ST, 128);
	if (k->trap != X86_TRAP_XM) memcpy(real + X_MXCSR, ours + X_MXCSR, 4);
	if (k->trap == X86_TRAP_PF && x86_mem_operand(&k->in) == 0 && k->in.o[0].size == 10)
		memcpy(host.buf, host.expect, BUF);
	forgive_gather(k, real);
	unsigned over = ~load_le(k->x.bytes + X_MXCSR, 4) >> 7 & ours[X_MXCSR] & 0x18;
	if (k->trap == X86_TRAP_XM && over)
		real[X_MXCSR] = (uint8_t)((real[X_MXCSR] & ~0x20) | (ours[X_MXCSR] & 0x20));
}
/* 0, or what differs. */
static const char *check_case(struct run *k)
{
	struct host_ctx *x = host.ctx;
	memcpy(host.before, host.buf, BUF);
	memcpy(vcpu->cpu.r, k->r, sizeof k->r);
	vcpu->cpu.rip = host.insn;
	vcpu->mode = (uint8_t)k->mode;
	vcpu->cpu.flags = k->flags;
	vcpu->x = k->x;
	host.wild = false;
	k->trap = x86_do_vector(vcpu, &k->in);
	memcpy(host.expect, host.buf, BUF);
	memcpy(host.buf, host.before, BUF);
	if (k->trap == X86_OTHER || host.wild) return 0;
	run_host(k);
	if ((int)x->signal != signal_of(k)) return "exception";
	if (vcpu->cpu.rip != host.insn + (k->trap ? 0 : k->in.len)) return "rip";
	if (memcmp(x->out, vcpu->cpu.r, sizeof x->out)) return "register";
	if ((x->out_flags ^ vcpu->cpu.flags) & X86_ARITH) return "flags";
	forgive(k, x->x_out);
	const char *how = x86_vector_differs(vcpu->x.bytes, x->x_out);
	return how ? how : memcmp(host.buf, host.expect, BUF) ? "memory" : 0;
}
static char *hex(char *to, const uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) to += sprintf(to, "%02x", p[i]);
	return to;
}
static void report(const struct run *k, const char *how)
{
	const struct host_ctx *x = host.ctx;
	char text[2000], *to = text;
	to += sprintf(to, "%s:%s: ", x86_op_info((enum x86_op)k->in.op)->name, how);
	to = hex(to, k->bytes, k->in.len);
	to += sprintf(to, "; trap %x signal %lu; was, ours, host", (unsigned)k->trap, x->signal);
	const uint8_t *all[3] = {k->x.bytes, vcpu->x.bytes, x->x_out};
	for (int i = 0; i < 3; i++) {
		*to++ = '\n';
		to = hex(to, all[i], 32);
		for (int o = 0; o < k->in.operands; o++) {
			unsigned r = k->in.o[o].reg & 15;
			*to++ = ' ';
			if (k->in.o[o].kind == X86_XMM) {
				to = hex(to, all[i] + X_XMM + 16 * r, 16);
				to = hex(to, all[i] + X_YMM + 16 * r, 16);
			}
			if (k->in.o[o].kind == X86_MMX || k->in.o[o].kind == X86_ST)
				to = hex(to, all[i] + X_ST + 16 * (r & 7), 10);
			if (k->in.o[o].kind == X86_REG)
				to += sprintf(to, "%lx",
					      (i == 0	? k->r
					       : i == 1 ? vcpu->cpu.r
							: x->out)[r]);
		}
	}
	*to = 0;
	test_fail(text, __FILE__, __LINE__);
}
TEST(x86_vector_as_the_host)
{
	static struct run k;
	static unsigned done[X86_OP__max], bad[X86_OP__max];
	const char *count = getenv("RANDOM_COUNT");
	unsigned failed = 0, ops = 0, traps = 0;
	long cases = count ? atol(count) : getenv("LONG") ? 20000000 : 300000;
	if (host_lacks()) {
		(void)printf("SKIPPED x86_vector_as_the_host: %s\n", host_lacks());
		return;
	}
	seed = getenv("RANDOM_SEED") ? (uint64_t)atol(getenv("RANDOM_SEED")) : 7;
	vcpu = new_vcpu();
	x86_vector_memory = (struct x86_vector_memory){do_load, do_store, do_probe};
	host_open_buffer("x86_vector_test");
	for (long i = 0; i < cases && failed < 20; i++) {
		unsigned form = 1 + (unsigned)(next() % (x86_form_count() - 1));
		if (bad[x86_form_op(form)] > 1 || !make_case(&k, form)) continue;
		const char *how = check_case(&k);
		if (how) failed++, bad[k.in.op]++, report(&k, how);
		if (k.trap != X86_OTHER && !host.wild) done[k.in.op]++, traps += k.trap != 0;
	}
	host_close_buffer();
	free(vcpu);
	x86_vector_memory = (struct x86_vector_memory){x86_load, x86_store, x86_probe};
	for (unsigned i = 0; i < X86_OP__max; i++) ops += done[i] > 10;
	CHECK(count || (ops >= 690 && traps > 10000)); /* it did try what it says */
}
#endif
