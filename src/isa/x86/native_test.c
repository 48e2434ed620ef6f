/* Instructions against the CPU that this runs on: each case is one instruction, on registers, flags
 * and memory gathered at the corners, executed by x86_exec and then, with the same registers, by
 * the host: all registers, all defined flags, memory, and which kind of exception. x86_exec goes
 * first: only what it believes to stay in our buffer (or to fault) may run for real. */
#include "base/test.h"
#include "base/types.h"
#include "isa/x86/host_test.h"
#include "isa/x86/random_test.h"
#include "isa/x86/step.h"
#include <stdio.h>
#include <stdlib.h>
#ifdef __x86_64__

enum { BUF = HOST_BUF };
static bool foreign[X86_OP__max]; /* found to be X86_OTHER: not tried again */

/* ---- ours ---- */

static int do_load(struct x86_cpu *c, uint64_t at, void *to, unsigned n)
{
	(void)c;
	int e = host_look(at, n);
	if (!e) memcpy(to, (void *)at, n);
	return e;
}
static int do_store(struct x86_cpu *c, uint64_t at, const void *from, unsigned n)
{
	(void)c;
	int e = host_look(at, n);
	if (!e) memcpy((void *)at, from, n);
	return e;
}
static int do_cas(struct x86_cpu *c, uint64_t at, void *expected, const void *to, unsigned n)
{
	(void)c;
	int e = host_look(at, n);
	if (e) return e;
	if (!memcmp((void *)at, expected, n))
		memcpy((void *)at, to, n);
	else
		memcpy(expected, (void *)at, n);
	return 0;
}
static const struct x86_mem mem = {do_load, do_store, do_cas};

/* ---- a case ---- */

struct run {
	enum x86_mode mode;
	uint64_t taken;
	uint8_t bytes[16];
	struct x86_insn in;
	struct x86_cpu before, after;
	int trap;
};
/* Points the memory operand into the buffer, mostly at edges, if its registers allow. */
static void aim(struct run *k)
{
	struct x86_insn *in = &k->in;
	uint64_t *r = k->before.r;
	unsigned size = in->o[0].kind == X86_MEM ? in->o[0].size : 8;
	uint64_t off = next() % 8 ? next() % (BUF - 32) : BUF - (next() % (size + 4u));
	uint64_t to = (uint64_t)host.buf + off - k->before.base[in->seg];
	if (next() % 32 == 0 || !in->has_mem) return;
	if (next() % 2) to &= ~15ull;
	uint64_t index = in->index < 16 ? r[in->index] * in->scale : 0;
	if (in->base < 16 && in->base != in->index) {
		r[in->base] = to - index - (uint64_t)in->disp;
		if (in->asize == 4 && next() % 4 == 0) r[in->base] ^= next() << 32;
		return;
	}
	if (in->index < 16 && in->base == X86_NOREG) {
		r[in->index] = (to - (uint64_t)in->disp) / in->scale;
		return;
	}
	uint64_t disp = in->base == X86_RIP ? to - (host.insn + in->len) : to;
	if (in->base >= 16 && in->index == X86_NOREG && in->disp_len >= 4) {
		memcpy(k->bytes + in->disp_at, &disp, in->disp_len);
		return;
	}
	if (in->imm_len >= 4 && in->base == X86_NOREG)
		memcpy(k->bytes + in->imm_at, &to, in->imm_len);
}
static void make_registers(struct run *k)
{
	uint64_t *r = k->before.r, mid = (uint64_t)host.buf + BUF / 2;
	for (int i = 0; i < 16; i++) r[i] = corner();
	r[4] = mid + (next() & 0x7f8) - 0x400;
	if (next() % 2) r[5] = mid + (next() & 0x3f8);
	switch (k->in.op) {
	case X86_OP_movs:
	case X86_OP_cmps:
	case X86_OP_scas:
	case X86_OP_stos:
	case X86_OP_lods:
		r[6] = mid + next() % 64;
		r[7] = next() % 4 ? mid + next() % 64 : (uint64_t)host.buf + BUF - next() % 64;
		if (k->in.rep) r[1] = next() % 70 | (k->in.asize == 4 ? next() << 32 : 0);
		break;
	case X86_OP_xlat: r[3] = mid - (next() & 0xff); break;
	case X86_OP_bt:
	case X86_OP_bts:
	case X86_OP_btr:
	case X86_OP_btc:
		if (next() % 2 && k->in.o[1].kind == X86_REG)
			r[k->in.o[1].reg] = (uint64_t)((int64_t)next() >> (49 + next() % 15));
		break;
	default: break;
	}
}
/* Values that must be right for the case to come back: branches' targets, flags that trap. */
static void settle(struct run *k)
{
	struct x86_insn *in = &k->in;
	uint64_t to = k->taken - (host.insn + in->len);
	if (in->operands && in->o[0].kind == X86_REL)
		memcpy(k->bytes + in->imm_at, &to, in->imm_len);
	uint64_t at = k->before.r[4];
	if (at < (uint64_t)host.buf || at + 16 > (uint64_t)host.buf + BUF) return;
	if (in->op == X86_OP_ret) memcpy((void *)at, &k->taken, 8);
	if (in->op == X86_OP_popf) {
		uint64_t f = next() & ~(uint64_t)(X86_TF | X86_AC | X86_NT);
		memcpy((void *)at, &f, 8);
	}
	if (in->op != X86_OP_jmpi && in->op != X86_OP_calli) return;
	if (in->o[0].kind == X86_REG) k->before.r[in->o[0].reg] = k->taken;
	uint64_t fill = k->mode == X86_32 ? k->taken << 32 | k->taken : k->taken;
	for (unsigned i = 0; i + 8 <= BUF; i += 8) memcpy(host.buf + i, &fill, 8);
}
static bool is_ours(const struct run *k)
{
	/* fs is the C library's; syscall and such are FOREIGN and never get here */
	if (k->mode == X86_32 && (k->in.seg_over == X86_GS || k->in.seg_over == X86_CS))
		return false;
	return k->in.seg_over != X86_FS && !(k->in.op == X86_OP_bswap && k->in.osize == 2);
}
static bool make_case(struct run *k, unsigned form)
{
	k->mode = next() % 3 ? X86_64 : X86_32;
	k->taken = host.taken[k->mode];
	if (foreign[x86_form_op(form)] || !x86_form_bytes(form, k->mode, k->bytes, next))
		return false;
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK || !is_ours(k)) return false;
	for (unsigned i = 0; i < 64; i++) {
		uint64_t v = corner();
		memcpy(host.buf + next() % (BUF / 8) * 8, &v, 8);
	}
	memset(&k->before, 0, sizeof k->before);
	if (k->mode == X86_64) k->before.base[X86_GS] = (uint64_t)host.buf + 64;
	make_registers(k);
	aim(k);
	settle(k);
	if (x86_decode(&k->in, k->bytes, 16, k->mode) != X86_OK) return false;
	for (int i = 0; i < 16 && k->mode == X86_32; i++) k->before.r[i] = (uint32_t)k->before.r[i];
	k->before.rip = host.insn;
	k->before.flags = 0x202 | (next() & (X86_ARITH | (next() % 4 ? 0 : X86_DF)));
	k->before.popf_mask = X86_ARITH | X86_DF | X86_TF | X86_NT | X86_AC | X86_ID;
	k->before.ssize = k->mode == X86_64 ? 8 : 4;
	k->before.mem = &mem;
	return true;
}
static void run_host(const struct run *k)
{
	struct host_ctx *x = host.ctx;
	memcpy(x->in, k->before.r, sizeof x->in);
	x->in_flags = k->before.flags;
	host_run_insn(k->bytes, k->in.len, k->mode == X86_32);
}
static int signal_of(int trap)
{
	switch (trap) {
	case 0: return 0;
	case X86_TRAP_DE: return SIGFPE;
	case X86_TRAP_UD: return SIGILL;
	case X86_TRAP_SS: return SIGBUS;
	default: return SIGSEGV;
	}
}
/* Flags that the manual leaves undefined in this case, the count of a shift known. */
static unsigned undefined(const struct run *k)
{
	const struct x86_insn *in = &k->in;
	unsigned u = x86_op_info((enum x86_op)in->op)->undefines, bits = 8u * in->o[0].size;
	const struct x86_operand *o = &in->o[in->operands ? in->operands - 1u : 0];
	uint64_t n = o->kind == X86_IMM ? (uint64_t)in->imm : k->before.r[1];
	n &= bits == 64 ? 63 : 31;
	switch (in->op) {
	case X86_OP_shl:
	case X86_OP_shr:
		if (n > bits) u |= X86_CF;
		__attribute__((fallthrough));
	case X86_OP_sar:
	case X86_OP_rol:
	case X86_OP_ror:
	case X86_OP_rcl:
	case X86_OP_rcr:
	case X86_OP_shld:
	case X86_OP_shrd: return n == 0 ? 0 : n == 1 ? u : u | X86_OF;
	default: return u;
	}
}
static bool is_vague(const struct run *k)
{
	unsigned n = (unsigned)(k->in.operands == 3 && k->in.o[2].kind == X86_IMM
					? k->in.imm
					: (int64_t)k->before.r[1]);
	return (k->in.op == X86_OP_shld || k->in.op == X86_OP_shrd) && k->in.osize == 2 &&
	       (n & 31) > 16;
}
/* 0, or what differs. */
static const char *check_case(struct run *k)
{
	struct host_ctx *x = host.ctx;
	memcpy(host.before, host.buf, BUF);
	k->after = k->before;
	host.wild = false;
	do k->trap = x86_exec(&k->after, &k->in);
	while (k->trap == X86_REPEAT);
	memcpy(host.expect, host.buf, BUF);
	memcpy(host.buf, host.before, BUF);
	if (!k->trap && k->after.rip != k->taken && k->after.rip != host.insn + k->in.len)
		host.wild = true;
	if (k->trap == X86_OTHER) foreign[k->in.op] = true;
	if (k->trap == X86_OTHER || host.wild || is_vague(k)) return 0;
	run_host(k);
	if ((int)x->signal != signal_of(k->trap)) return "exception";
	if (!k->trap && x->taken != (k->after.rip == k->taken)) return "branch";
	const uint64_t *out = x->out;
	for (int i = 0; i < 16; i++)
		if (out[i] != k->after.r[i]) return "register";
	unsigned mask = X86_ARITH | X86_DF | X86_ID;
	if (!k->trap) mask &= ~undefined(k);
	if ((x->out_flags ^ k->after.flags) & mask) return "flags";
	return memcmp(host.buf, host.expect, BUF) ? "memory" : 0;
}
static void report(const struct run *k, const char *how)
{
	const struct host_ctx *x = host.ctx;
	const uint64_t *out = x->out;
	char text[2048], *to = text;
	to += sprintf(to, "%s:%s:", x86_op_info((enum x86_op)k->in.op)->name, how);
	for (int i = 0; i < k->in.len; i++) to += sprintf(to, " %02x", k->bytes[i]);
	to += sprintf(to, "; trap %x signal %lu flags %lx -> %lx, host %lx", (unsigned)k->trap,
		      x->signal, k->before.flags, k->after.flags, x->out_flags);
	for (int i = 0; i < 16; i++)
		if (out[i] != k->after.r[i])
			to += sprintf(to, "; r%d %lx -> %lx, host %lx", i, k->before.r[i],
				      k->after.r[i], out[i]);
	test_fail(text, __FILE__, __LINE__);
}
/* What real CPUs do where manuals say nothing is Intel's here: REP with 32 bit addresses clears
 * the top of RCX even if it does nothing; CMPXCHG that fails leaves a register's top alone. */
TEST(x86_executes_as_the_host)
{
	static struct run k;
	static unsigned done[X86_OP__max];
	unsigned failed = 0, ops = 0, traps = 0;
	long cases = getenv("LONG") ? 100000000 : 1500000;
	if (host_lacks()) {
		(void)printf("SKIPPED x86_executes_as_the_host: %s\n", host_lacks());
		return;
	}
	seed = 7;
	host_open_buffer("native_test");
	for (long i = 0; i < cases && failed < 10; i++) {
		if (!make_case(&k, 1 + (unsigned)(next() % (x86_form_count() - 1)))) continue;
		const char *how = check_case(&k);
		if (how) failed++, report(&k, how);
		if (k.trap != X86_OTHER && !host.wild) done[k.in.op]++, traps += k.trap != 0;
	}
	host_close_buffer();
	for (unsigned i = 0; i < X86_OP__max; i++) ops += done[i] > 100;
	CHECK(ops >= 100 && traps > 5000); /* it did try what it says */
}
/* ---- registers */

/* May not run here with any registers: it goes elsewhere, writes where we did not look, or changes
 * what C relies on. Translated code has none of these as it is. */
static bool is_unfit(const struct x86_insn *in)
{
	for (unsigned i = 0; i < in->operands; i++) {
		const struct x86_operand *o = &in->o[i];
		if (o->kind == X86_SI || o->kind == X86_DI || o->kind == X86_SEG) return true;
		if (o->kind == X86_REL || o->kind == X86_FAR) return true;
	}
	switch (in->op) {
	case X86_OP_jmpi:
	case X86_OP_calli:
	case X86_OP_jmpfi:
	case X86_OP_callfi:
	case X86_OP_ret:
	case X86_OP_retf:
	case X86_OP_iret:
	case X86_OP_int:
	case X86_OP_int1:
	case X86_OP_int3:
	case X86_OP_into:
	case X86_OP_syscall:
	case X86_OP_sysenter:
	case X86_OP_vmcall:
	case X86_OP_vmmcall:
	case X86_OP_xbegin:
	case X86_OP_push:
	case X86_OP_pop:
	case X86_OP_pushf:
	case X86_OP_popf:
	case X86_OP_enter:
	case X86_OP_leave:
	case X86_OP_xlat:
	case X86_OP_wrfsbase:
	case X86_OP_wrgsbase:
	case X86_OP_lss:
	case X86_OP_lfs:
	case X86_OP_lgs:
	case X86_OP_wrpkru:
	case X86_OP_movts:
	case X86_OP_fldcw:
	case X86_OP_fldenv:
	case X86_OP_frstor:
	case X86_OP_ldmxcsr:
	case X86_OP_vldmxcsr:
	case X86_OP_fxrstor:
	case X86_OP_xrstor:
	case X86_OP_maskmovq:
	case X86_OP_maskmovdqu:
	case X86_OP_vmaskmovdqu: return true;
	default: return in->op >= X86_OP_vpgatherdd && in->op <= X86_OP_vgatherqpd;
	}
}
/* Where it reads and writes, if that is in our buffer for sure. */
static bool is_at_home(const struct run *k)
{
	const struct x86_insn *in = &k->in;
	enum { MOST = 0x400 }; /* what one instruction writes, and a bit offset of 16 bits */
	bool bits = in->op >= X86_OP_bt && in->op <= X86_OP_btc && in->o[1].kind == X86_REG;
	if (!in->has_mem || in->op == X86_OP_lea || in->op == X86_OP_nop) return true;
	uint64_t at = (uint64_t)in->disp + k->before.base[in->seg];
	if (in->base == X86_RIP) at += host.insn + in->len;
	if (in->base < 16) at += k->before.r[in->base];
	if (in->index < 16) at += k->before.r[in->index] * in->scale;
	if (in->asize == 4) at = (uint32_t)at;
	return !bits && at >= (uint64_t)host.buf && at <= (uint64_t)host.buf + BUF - MOST;
}
static bool make_any(struct run *k, unsigned form)
{
	*k = (struct run){.mode = X86_64, .taken = host.taken[X86_64]};
	if (!x86_form_bytes(form, X86_64, k->bytes, next) ||
	    x86_decode(&k->in, k->bytes, 16, X86_64) != X86_OK || !is_ours(k) || is_unfit(&k->in))
		return false;
	k->before.base[X86_GS] = (uint64_t)host.buf + 64;
	make_registers(k);
	aim(k);
	if (x86_decode(&k->in, k->bytes, 16, X86_64) != X86_OK || is_unfit(&k->in)) return false;
	k->before.flags = 0x202 | (next() & X86_ARITH);
	return is_at_home(k);
}
/* The translator looks at a base register once for many accesses: it must know who changes it. */
TEST(x86_instructions_write_no_other_register)
{
	static struct run k;
	unsigned failed = 0, forms = 0, tries = getenv("LONG") ? 20000 : 100;
	if (host_lacks()) return;
	seed = 11;
	host_open_buffer("native_test");
	for (unsigned form = 1; form < x86_form_count(); form++) {
		unsigned ran = 0;
		for (unsigned n = 0; n < tries && failed < 10; n++) {
			if (!make_any(&k, form)) continue;
			k.after = k.before;
			run_host(&k);
			if (host.ctx->signal) continue;
			ran++;
			uint32_t changed = 0;
			for (unsigned r = 0; r < 16; r++)
				if (host.ctx->out[r] != k.before.r[r]) changed |= 1u << r;
			if (changed & ~x86_written(&k.in)) failed++, report(&k, "writes more");
		}
		forms += ran > 0;
	}
	host_close_buffer();
	CHECK(forms > 1000);
}
#endif
