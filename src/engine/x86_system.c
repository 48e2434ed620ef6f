/* Instructions that are about the machine: control and debug registers, interrupts, time, what the
 * CPU is, caches and translations. Each answers 0 with rip moved on, or a trap. */
#include "engine/x86_context.h"
#include "engine/x86_direct.h"
#include "engine/x86_shadow.h"
#include "engine/x86_vcpu.h"
#include "engine/x86_window.h"

enum { AX, CX, DX, BX };
enum { DR6_RW = 0xe00f, DR6_ONES = 0xffff0ff0, DR7_ONES = 0x400, DR6_BD = 1 << 13 };
#define DR7_RW 0xffff23ffull /* without RTM */
#define DR7_GD (1u << 13)

static int gp(struct x86_vcpu *v) { return x86_raise(v, X86_TRAP_GP, 0); }
static int ud(struct x86_vcpu *v) { return x86_raise(v, X86_TRAP_UD, 0); }

static bool is_v86(const struct x86_vcpu *v) { return v->cr0 & CR0_PE && v->cpu.flags & X86_VM; }

static void put_pair(struct x86_vcpu *v, uint64_t val)
{
	v->cpu.r[AX] = (uint32_t)val;
	v->cpu.r[DX] = val >> 32;
}
static uint64_t get_pair(const struct x86_vcpu *v)
{
	return (uint32_t)v->cpu.r[AX] | v->cpu.r[DX] << 32;
}

/* ---- operands that may be memory */
static int operand_get(struct x86_vcpu *v, const struct x86_insn *in, unsigned i, unsigned n,
		       uint64_t *val)
{
	uint64_t la;
	*val = 0;
	if (in->o[i].kind == X86_REG) {
		memcpy(val, &v->cpu.r[in->o[i].reg], n);
		return 0;
	}
	int e = x86_operand_la(v, in, n, false, &la);
	return e ? e : x86_load(v, la, val, n, v->view);
}

/* ---- control and debug registers */
static int cr_read(struct x86_vcpu *v, unsigned cr, uint64_t *val)
{
	switch (cr) {
	case 0: *val = v->cr0; return 0;
	case 2: *val = v->cr2; return 0;
	case 3: *val = v->cr3; return 0;
	case 4: *val = v->cr4; return 0;
	case 8: *val = x86_cr8(v, false, 0); return 0;
	default: return ud(v);
	}
}
static int cr_write(struct x86_vcpu *v, unsigned cr, uint64_t val)
{
	switch (cr) {
	case 0: return x86_cr0_write(v, val);
	case 2: v->cr2 = val; return 0;
	case 3: return x86_cr3_write(v, val);
	case 4: return x86_cr4_write(v, val);
	case 8:
		if (val > 15) return gp(v);
		(void)x86_cr8(v, true, (unsigned)val);
		return 0;
	default: return ud(v);
	}
}
static int do_movcr(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool write = in->o[0].kind == X86_CR;
	unsigned cr = in->o[write ? 0 : 1].reg, reg = in->o[write ? 1 : 0].reg;
	uint64_t val = v->cpu.r[reg];
	if (in->mode != X86_64) val = (uint32_t)val;
	int e = write ? cr_write(v, cr, val) : cr_read(v, cr, &val);
	if (e) return e;
	/* The mode may have changed: the length counts where the instruction was. */
	if (!write) x86_reg_put(v, reg, in->mode == X86_64 ? 8 : 4, val);
	return x86_next(v, in);
}

static int dr_write(struct x86_vcpu *v, unsigned dr, uint64_t val)
{
	if (dr >= 6 && val >> 32) return gp(v);
	if (dr == 6)
		v->dr[6] = (val & DR6_RW) | DR6_ONES;
	else if (dr == 7)
		v->dr[7] = (val & DR7_RW) | DR7_ONES;
	else
		v->dr[dr] = val;
	return 0;
}
static int do_movdr(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool write = in->o[0].kind == X86_DR;
	unsigned dr = in->o[write ? 0 : 1].reg, reg = in->o[write ? 1 : 0].reg;
	if (dr > 7 || ((dr == 4 || dr == 5) && v->cr4 & CR4_DE)) return ud(v);
	if (dr == 4 || dr == 5) dr += 2; /* SDM 3, 18.2.2 */
	if (v->dr[7] & DR7_GD) {
		v->fault = DR6_BD;
		return x86_raise(v, X86_TRAP_DB, 0);
	}
	uint64_t val = v->cpu.r[reg];
	if (in->mode != X86_64) val = (uint32_t)val;
	int e = write ? dr_write(v, dr, val) : 0;
	if (e) return e;
	if (!write) x86_reg_put(v, reg, in->mode == X86_64 ? 8 : 4, v->dr[dr]);
	return x86_next(v, in);
}

static int do_lmsw(struct x86_vcpu *v, const struct x86_insn *in)
{
	const uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
	uint64_t val;
	int e = operand_get(v, in, 0, 2, &val);
	if (!e) e = x86_cr0_write(v, (v->cr0 & ~(low & ~(uint64_t)CR0_PE)) | (val & low));
	return e ? e : x86_next(v, in);
}
static int do_smsw(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t la;
	int e = 0;
	if (v->cr4 & CR4_UMIP && v->cpl) return gp(v);
	if (in->o[0].kind == X86_REG) {
		x86_reg_put(v, in->o[0].reg, in->o[0].size, v->cr0);
	} else {
		e = x86_operand_la(v, in, 2, true, &la);
		if (!e) e = x86_store(v, la, &v->cr0, 2, v->view);
	}
	return e ? e : x86_next(v, in);
}
static int do_clts(struct x86_vcpu *v, const struct x86_insn *in)
{
	v->cr0 &= ~(uint64_t)CR0_TS;
	x86_mode_update(v);
	return x86_next(v, in);
}

/* ---- interrupts */
static int do_if(struct x86_vcpu *v, const struct x86_insn *in, bool on)
{
	unsigned iopl = (unsigned)(v->cpu.flags & X86_IOPL) >> 12;
	if (is_v86(v) ? iopl < 3 : v->cr0 & CR0_PE && v->cpl > iopl) return gp(v);
	if (!on)
		v->cpu.flags &= ~(uint64_t)X86_IF;
	else if (!(v->cpu.flags & X86_IF))
		v->shadow |= 2;
	if (on) v->cpu.flags |= X86_IF;
	return x86_next(v, in);
}
static int do_hlt(struct x86_vcpu *v, const struct x86_insn *in)
{
	v->activity = X86_HALTED;
	(void)atomic_fetch_or(&v->poll, X86_POLL_INTR); /* have x86_events() look */
	return x86_next(v, in);
}
static int do_ac(struct x86_vcpu *v, const struct x86_insn *in, bool on)
{
	if (v->cpl) return ud(v);
	v->cpu.flags = on ? v->cpu.flags | X86_AC : v->cpu.flags & ~(uint64_t)X86_AC;
	x86_view_update(v);
	return x86_next(v, in);
}

/* ---- what it is, and what time */
static int do_cpuid(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint32_t out[4];
	x86_cpuid(v, (uint32_t)v->cpu.r[AX], (uint32_t)v->cpu.r[CX], out);
	v->cpu.r[AX] = out[0];
	v->cpu.r[BX] = out[1];
	v->cpu.r[CX] = out[2];
	v->cpu.r[DX] = out[3];
	atomic_thread_fence(memory_order_seq_cst);
	return x86_next(v, in);
}
static int do_rdtsc(struct x86_vcpu *v, const struct x86_insn *in)
{
	if (v->cr4 & CR4_TSD && v->cpl) return gp(v);
	put_pair(v, x86_tsc(v));
	if (in->op == X86_OP_rdtscp) v->cpu.r[CX] = (uint32_t)v->tsc_aux;
	return x86_next(v, in);
}
static int do_rdpid(struct x86_vcpu *v, const struct x86_insn *in)
{
	x86_reg_put(v, in->o[0].reg, in->mode == X86_64 ? 8 : 4, v->tsc_aux);
	return x86_next(v, in);
}
static int do_rdmsr(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t val;
	int e = x86_msr_read(v, (uint32_t)v->cpu.r[CX], &val);
	if (e) return e;
	put_pair(v, val);
	return x86_next(v, in);
}
static int do_wrmsr(struct x86_vcpu *v, const struct x86_insn *in)
{
	int e = x86_msr_write(v, (uint32_t)v->cpu.r[CX], get_pair(v));
	return e ? e : x86_next(v, in);
}

/* SDM 1, 13.2. What is in use (XCR 1): all of it might be. */
static int do_xgetbv(struct x86_vcpu *v, const struct x86_insn *in)
{
	if (!(v->cr4 & CR4_OSXSAVE)) return ud(v);
	if ((uint32_t)v->cpu.r[CX] > 1) return gp(v);
	put_pair(v, v->xcr0);
	return x86_next(v, in);
}
static int do_xsetbv(struct x86_vcpu *v, const struct x86_insn *in)
{
	enum { X87 = 1, SSE = 2, AVX = 4 };
	uint64_t val = get_pair(v), may = X87 | SSE | (x86_features() & X86_HAS_AVX ? AVX : 0);
	if (!(v->cr4 & CR4_OSXSAVE)) return ud(v);
	if (v->cpl || (uint32_t)v->cpu.r[CX] || val & ~may || !(val & X87)) return gp(v);
	if (val & AVX && !(val & SSE)) return gp(v);
	v->xcr0 = val;
	return x86_next(v, in);
}

/* Numbers come from the host's own generator; CPUID offers none where it has none. */
static bool host_random(uint64_t *val, bool seed)
{
	bool ok = false;
#if defined(__x86_64__)
	if (seed)
		__asm__ volatile("rdseed %0; setc %1" : "=r"(*val), "=qm"(ok) : : "cc");
	else
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*val), "=qm"(ok) : : "cc");
#else
	(void)val, (void)seed;
#endif
	return ok;
}
/* The same ones each time: for --deterministic. Steele and others, Fast Splittable Pseudorandom
 * Number Generators, 2014. */
static uint64_t repeated_random(const struct x86_vcpu *v)
{
	uint64_t z = (v->n + v->slept) * 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}
static int do_random(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t val = 0;
	bool ok = v->counted || host_random(&val, in->op == X86_OP_rdseed);
	if (v->counted) val = repeated_random(v);
	v->cpu.flags = (v->cpu.flags & ~(uint64_t)X86_ARITH) | (ok ? X86_CF : 0);
	x86_reg_put(v, in->o[0].reg, in->o[0].size, ok ? val : 0);
	return x86_next(v, in);
}

/* KVM's hypercalls: none is offered, so all are unknown. Linux virt/kvm/x86/hypercalls.rst */
static int do_vmcall(struct x86_vcpu *v, const struct x86_insn *in)
{
	enum { KVM_ENOSYS = 1000, KVM_EPERM = 1 };
	int64_t answer = v->cpl ? -KVM_EPERM : -KVM_ENOSYS;
	x86_reg_put(v, AX, v->mode == X86_64 ? 8 : 4, (uint64_t)answer);
	return x86_next(v, in);
}

/* ---- caches and translations */
static int do_invlpg(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t la = v->cpu.base[in->seg] + x86_operand_ea(v, in);
	x86_tlb_flush_page(v, v->mode == X86_64 ? la : (uint32_t)la);
	return x86_next(v, in);
}
/* Of the current PCID more may go than is asked for. */
static int do_invpcid(struct x86_vcpu *v, const struct x86_insn *in)
{
	enum { ADDRESS, CONTEXT, ALL, LOCALS };
	uint64_t what[2] = {0}, la, type = v->cpu.r[in->o[0].reg];
	if (in->mode != X86_64) type = (uint32_t)type;
	int e = x86_operand_la(v, in, 16, false, &la);
	if (!e) e = x86_load(v, la, what, 16, v->view);
	if (e) return e;
	if (type > LOCALS || what[0] >> 12) return gp(v);
	if (type <= CONTEXT && what[0] && !(v->cr4 & CR4_PCIDE)) return gp(v);
	if (type == ADDRESS && !x86_canonical(what[1])) return gp(v);
	if (type <= CONTEXT)
		x86_context_drop(v, (unsigned)what[0]);
	else
		x86_contexts_drop(v);
	if (type == ADDRESS)
		x86_tlb_flush_page(v, what[1]);
	else
		x86_tlb_flush(v, type == ALL), x86_shadows_flush(v);
	return x86_next(v, in);
}
static int do_clflush(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t la;
	int e = x86_operand_la(v, in, 1, false, &la);
	if (!e) e = x86_probe(v, la, 1, X86_R, v->view);
	return e ? e : x86_next(v, in);
}
static int do_fence(struct x86_vcpu *v, const struct x86_insn *in)
{
	atomic_thread_fence(memory_order_seq_cst);
	return x86_next(v, in);
}

static bool is_privileged(enum x86_op op)
{
	switch (op) {
	case X86_OP_hlt:
	case X86_OP_movcr:
	case X86_OP_movdr:
	case X86_OP_clts:
	case X86_OP_lmsw:
	case X86_OP_invd:
	case X86_OP_wbinvd:
	case X86_OP_wbnoinvd:
	case X86_OP_invlpg:
	case X86_OP_invpcid:
	case X86_OP_rdmsr:
	case X86_OP_wrmsr: return true;
	default: return false;
	}
}

/* Real mode has no CPL: v->cpl is 0 there, and 3 in virtual-8086 mode. */
int x86_do_system(struct x86_vcpu *v, const struct x86_insn *in)
{
	if (v->cpl && is_privileged(in->op)) return gp(v);
	switch (in->op) {
	case X86_OP_movcr: return do_movcr(v, in);
	case X86_OP_movdr: return do_movdr(v, in);
	case X86_OP_lmsw: return do_lmsw(v, in);
	case X86_OP_smsw: return do_smsw(v, in);
	case X86_OP_clts: return do_clts(v, in);
	case X86_OP_cli: return do_if(v, in, false);
	case X86_OP_sti: return do_if(v, in, true);
	case X86_OP_hlt: return do_hlt(v, in);
	case X86_OP_clac: return do_ac(v, in, false);
	case X86_OP_stac: return do_ac(v, in, true);
	case X86_OP_cpuid: return do_cpuid(v, in);
	case X86_OP_rdtsc:
	case X86_OP_rdtscp: return do_rdtsc(v, in);
	case X86_OP_rdpid: return do_rdpid(v, in);
	case X86_OP_rdpmc: return gp(v); /* there are no counters */
	case X86_OP_rdmsr: return do_rdmsr(v, in);
	case X86_OP_wrmsr: return do_wrmsr(v, in);
	case X86_OP_xgetbv: return do_xgetbv(v, in);
	case X86_OP_xsetbv: return do_xsetbv(v, in);
	case X86_OP_rdrand:
	case X86_OP_rdseed: return do_random(v, in);
	case X86_OP_vmcall:
	case X86_OP_vmmcall: return do_vmcall(v, in);
	case X86_OP_invlpg: return do_invlpg(v, in);
	case X86_OP_invpcid: return do_invpcid(v, in);
	case X86_OP_clflush:
	case X86_OP_clflushopt:
	case X86_OP_clwb: return do_clflush(v, in);
	case X86_OP_fence:
	case X86_OP_serialize: return do_fence(v, in);
	case X86_OP_invd: /* memory is coherent */
	case X86_OP_wbinvd:
	case X86_OP_wbnoinvd: return x86_next(v, in);
	default: return x86_do_io(v, in);
	}
}
