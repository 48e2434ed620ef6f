/* Model-specific registers (SDM 4, chapter 2), the time stamp counter among them, and KVM's clock
 * (Linux Documentation/virt/kvm/x86/msr.rst). Unknown ones are the board's, then #GP. */
#include "engine/x86_vcpu.h"
#include "hw/gmem.h"
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

typedef unsigned __int128 u128;
enum { NS = 1000000000, MTRRS = 8, FIXED = 11, FIRST_TRY_MS = 5 };
enum msr {
	MSR_TSC = 0x10,
	MSR_PLATFORM_ID = 0x17,
	MSR_APIC_BASE = 0x1b,
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48,
	MSR_PRED_CMD = 0x49,
	MSR_MICROCODE_WRITE = 0x79,
	MSR_MICROCODE = 0x8b,
	MSR_PLATFORM_INFO = 0xce,
	MSR_MTRR_CAP = 0xfe,
	MSR_ARCH_CAPABILITIES = 0x10a,
	MSR_MISC_FEATURES = 0x140,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP,
	MSR_SYSENTER_EIP,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS,
	MSR_MC0_CTL = 0x400, /* and STATUS, ADDR, MISC: the only bank */
	MSR_MISC_ENABLE = 0x1a0,
	MSR_DEBUGCTL = 0x1d9,
	MSR_MTRR_VARIABLE = 0x200,
	MSR_MTRR_FIX_64K = 0x250,
	MSR_MTRR_FIX_16K = 0x258,
	MSR_MTRR_FIX_4K = 0x268,
	MSR_PAT = 0x277,
	MSR_MTRR_DEFAULT = 0x2ff,
	MSR_XSS = 0xda0,
	MSR_KVM_WALL_OLD = 0x11,
	MSR_KVM_SYSTEM_OLD = 0x12,
	MSR_KVM_WALL = 0x4b564d00,
	MSR_KVM_SYSTEM = 0x4b564d01,
};
#define MSR_EFER       0xc0000080u
#define MSR_STAR       0xc0000081u
#define MSR_LSTAR      0xc0000082u
#define MSR_CSTAR      0xc0000083u
#define MSR_SFMASK     0xc0000084u
#define MSR_FS_BASE    0xc0000100u
#define MSR_GS_BASE    0xc0000101u
#define MSR_KERNEL_GS  0xc0000102u
#define MSR_TSC_AUX    0xc0000103u
#define PAT_RESET      0x0007040600070406ull
#define PHYS_HIGH      (UINT64_MAX << X86_PHYS_BITS)
#define MICROCODE_REV  (0x2b000000ull << 32)
#define APIC_PAGE_NONE UINT64_MAX
#define APIC_BASE_EN   (1u << 11)
#define APIC_BASE_EXTD (1u << 10)
/* RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO FBSDP_NO
 * PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO: there is no speculation to be wary of, and every
 * defence would be pure cost. */
#define ARCH_CAPABILITIES                                                                          \
	(1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 8 |       \
	 1ull << 13 | 1ull << 14 | 1ull << 15 | 1ull << 20 | 1ull << 24 | 1ull << 26 |             \
	 1ull << 27 | 1ull << 62)

#define EPOCH 1767225600 /* 2026-01-01: where counted time begins, as the CMOS clock's */

struct x86_msrs {
	uint64_t pat, misc_enable, misc_features, debugctl, tsc_adjust, spec_ctrl, mcg_status;
	uint64_t mtrr_default, mtrr_fixed[FIXED], mtrr_variable[2 * MTRRS];
	uint64_t kvm_wall, kvm_system, arch_capabilities, mc0[4];
};
struct x86_msrs *x86_msrs_new(void) { return calloc(1, sizeof(struct x86_msrs)); }

/* ---- time */
uint64_t x86_host_tsc(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
#endif
}

static uint64_t raw_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* Both clocks at one moment: the closest of some tries, since anything may come between. */
struct look {
	uint64_t ns, tsc;
};
static struct look look(void)
{
	enum { TRIES = 8 };
	struct look best = {0};
	uint64_t width = UINT64_MAX;
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t before = x86_host_tsc(), ns = raw_ns(), took = x86_host_tsc() - before;
		if (took >= width) continue;
		width = took;
		best = (struct look){ns, before + took / 2};
	}
	return best;
}

static struct look first; /* when we began */
static void first_look(void) { first = look(); }
void x86_host_tsc_watch(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, first_look);
}

/* 20 ns of 5 ms are 4 in a million. A restored guest asks as soon as it runs, and by then they have
 * mostly passed. */
static uint64_t measure_khz(void)
{
	enum { WHILE = FIRST_TRY_MS * 1000000 };
	x86_host_tsc_watch();
	uint64_t passed = raw_ns() - first.ns;
	const struct timespec rest = {.tv_nsec = passed < WHILE ? (long)(WHILE - passed) : 0};
	if (rest.tv_nsec) (void)nanosleep(&rest, NULL);
	const struct look now = look();
	uint64_t ns = now.ns - first.ns, tsc = now.tsc - first.tsc;
	return ns ? (uint64_t)((u128)tsc * 1000000 / ns) : 1000000;
}

/* What the host's own CPUID says; SDM 2A, leaf 15H, and KVM's leaf. 0: nothing. */
static uint64_t told_khz(void)
{
#if defined(__x86_64__)
	uint32_t a, b, c, d;
	if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c) return (uint64_t)c * b / a / 1000;
	__cpuid(1, a, b, c, d);
	if (!(c >> 31)) return 0;
	__cpuid(0x40000000, a, b, c, d);
	if (a < 0x40000010 || a > 0x400000ff) return 0;
	__cpuid(0x40000010, a, b, c, d);
	return a;
#else
	return 1000000;
#endif
}

static uint64_t host_khz;
static void khz_find(void)
{
	uint64_t told = told_khz(), is = measure_khz(), off = told > is ? told - is : is - told;
	host_khz = told && off < is / 100 ? told : is;
	if (!host_khz) host_khz = 1;
}
uint64_t x86_host_tsc_khz(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, khz_find);
	return host_khz;
}

uint64_t x86_machine_khz(struct x86_machine *m)
{
	uint64_t khz = atomic_load_explicit(&m->tsc_khz, memory_order_relaxed);
	if (likely(khz)) return khz;
	khz = x86_host_tsc_khz();
	atomic_store(&m->tsc_khz, khz);
	return khz;
}

static uint64_t clock_ns(const struct x86_vcpu *v)
{
	const struct vclock *c = v->machine->env.clock;
	return c ? vclock_ns(c) : 0;
}

static uint64_t counted_tsc(const struct x86_vcpu *v) { return v->n + v->slept; }
uint64_t x86_tsc(const struct x86_vcpu *v)
{
	return (v->counted ? counted_tsc(v) : x86_host_tsc()) + v->tsc_off;
}

/* Between two runs there is one moment at which they are read, and then one at which they are set.
 */
static uint64_t moment(_Atomic uint64_t *at)
{
	if (!atomic_load(at)) atomic_store(at, x86_host_tsc());
	return atomic_load(at);
}

uint64_t x86_tsc_held(struct x86_vcpu *v)
{
	atomic_store(&v->machine->tsc_put, 0);
	if (v->counted) return x86_tsc(v);
	return moment(&v->machine->tsc_got) + v->tsc_off;
}

void x86_tsc_hold(struct x86_vcpu *v, uint64_t val)
{
	atomic_store(&v->machine->tsc_got, 0);
	v->tsc_off = val - (v->counted ? counted_tsc(v) : moment(&v->machine->tsc_put));
}

uint64_t x86_tsc_ns(const struct x86_vcpu *v, uint64_t tsc)
{
	uint64_t now = clock_ns(v), left = tsc - x86_tsc(v);
	if ((int64_t)left <= 0) return now;
	u128 ns = (u128)left * 1000000 / x86_machine_khz(v->machine) + now;
	return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

static void tsc_set(struct x86_vcpu *v, uint64_t val)
{
	uint64_t by = val - x86_tsc(v);
	v->tsc_off += by;
	v->msrs->tsc_adjust += by;
}

/* ---- KVM's clock */
/* ns = (tsc << shift) * mul >> 32; mul as big as it can be. */
static void pv_scale(uint64_t hz, uint32_t *mul, int8_t *shift)
{
	*shift = 0;
	for (; hz > 2ull * NS; hz /= 2) --*shift;
	for (; hz <= NS; hz *= 2) ++*shift;
	*mul = (uint32_t)(((uint64_t)NS << 32) / hz);
}

static void pv_write(struct x86_vcpu *v, gpa_t at, const void *what, unsigned n)
{
	if (gmem_write(v->machine->env.mem, at, what, n)) x86_wrote(v, at, n);
}

/* One pair of readings for all CPUs: their clocks then agree, as the flag says. */
static void pv_system(struct x86_vcpu *v, uint64_t val)
{
	struct x86_machine *m = v->machine;
	struct {
		uint32_t version, pad;
		uint64_t tsc, ns;
		uint32_t mul;
		int8_t shift;
		uint8_t flags, pad2[2];
	} t = {.version = 2, .flags = 1};
	v->msrs->kvm_system = val;
	if (!(val & 1)) return;
	if (!m->pv_tsc) {
		m->pv_ns = clock_ns(v);
		m->pv_tsc = x86_tsc(v) - v->msrs->tsc_adjust;
	}
	t.tsc = m->pv_tsc + v->msrs->tsc_adjust;
	t.ns = m->pv_ns;
	pv_scale(x86_machine_khz(m) * 1000, &t.mul, &t.shift);
	pv_write(v, val & ~1ull, &t, sizeof(t));
}

/* What that clock shows now. One that came from elsewhere is not env.clock. */
static uint64_t pv_now(const struct x86_vcpu *v)
{
	const struct x86_machine *m = v->machine;
	if (!m->pv_tsc || v->counted) return clock_ns(v);
	uint64_t passed = x86_tsc(v) - v->msrs->tsc_adjust - m->pv_tsc;
	return m->pv_ns + (uint64_t)((u128)passed * 1000000 / x86_machine_khz(v->machine));
}

static void pv_wall(struct x86_vcpu *v, uint64_t val)
{
	struct timespec now;
	v->msrs->kvm_wall = val;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (v->counted) now = (struct timespec){.tv_sec = EPOCH};
	uint64_t ns = (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec - pv_now(v);
	uint32_t wall[3] = {2, (uint32_t)(ns / NS), (uint32_t)(ns % NS)};
	pv_write(v, val, wall, sizeof(wall));
}

/* ---- the local APIC's, and the board's */
static bool board(struct x86_vcpu *v, uint32_t index, bool write, uint64_t *val)
{
	const struct x86_hooks *h = &v->machine->env.x86;
	bool is = h->msr && h->msr(h->ctx, v->id, index, write, val);
	if (write) x86_count_look(v);
	return is;
}

void x86_apic_moved(struct x86_vcpu *v)
{
	uint64_t base = 0;
	bool there = v->machine->env.x86.apic && board(v, MSR_APIC_BASE, false, &base) &&
		     (base & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EN;
	gpa_t page = there ? base & ~(PHYS_HIGH | (X86_PAGE - 1)) : APIC_PAGE_NONE;
	if (page == v->apic_page) return;
	v->apic_page = page;
	x86_tlb_flush(v, true);
}

/* ---- legality */
static bool is_memory_type(uint64_t t) { return t < 7 && t != 2 && t != 3; }
static bool pat_good(uint64_t val)
{
	for (unsigned i = 0; i < 8; i++) /* SDM 3, 12.12.2: 7 is UC- */
		if (!is_memory_type(val >> 8 * i & 0xff) && (val >> 8 * i & 0xff) != 7)
			return false;
	return true;
}
static bool mtrr_fixed_good(uint64_t val)
{
	for (unsigned i = 0; i < 8; i++)
		if (!is_memory_type(val >> 8 * i & 0xff)) return false;
	return true;
}
static bool mtrr_variable_good(unsigned i, uint64_t val)
{
	if (val & PHYS_HIGH) return false;
	return i & 1 ? !(val & 0x7ff) : !(val & 0xf00) && is_memory_type(val & 0xff);
}
static bool mtrr_default_good(uint64_t val)
{
	return !(val & ~0xcffull) && is_memory_type(val & 0xff);
}

/* The place of an MSR that is nothing but one; NULL. */
static uint64_t *mtrr(struct x86_vcpu *v, uint32_t i)
{
	struct x86_msrs *m = v->msrs;
	if (i >= MSR_MTRR_VARIABLE && i < MSR_MTRR_VARIABLE + 2 * MTRRS)
		return &m->mtrr_variable[i - MSR_MTRR_VARIABLE];
	if (i == MSR_MTRR_FIX_64K) return &m->mtrr_fixed[0];
	if (i == MSR_MTRR_FIX_16K || i == MSR_MTRR_FIX_16K + 1)
		return &m->mtrr_fixed[1 + i - MSR_MTRR_FIX_16K];
	if (i >= MSR_MTRR_FIX_4K && i < MSR_MTRR_FIX_4K + 8)
		return &m->mtrr_fixed[3 + i - MSR_MTRR_FIX_4K];
	return i == MSR_MTRR_DEFAULT ? &m->mtrr_default : NULL;
}
static bool mtrr_good(uint32_t i, uint64_t val)
{
	if (i == MSR_MTRR_DEFAULT) return mtrr_default_good(val);
	if (i < MSR_MTRR_FIX_64K) return mtrr_variable_good(i - MSR_MTRR_VARIABLE, val);
	return mtrr_fixed_good(val);
}

static uint64_t *plain(struct x86_vcpu *v, uint32_t i)
{
	struct x86_msrs *m = v->msrs;
	switch (i) {
	case MSR_SPEC_CTRL: return &m->spec_ctrl;
	case MSR_MISC_FEATURES: return &m->misc_features;
	case MSR_SYSENTER_CS: return &v->sysenter_cs;
	case MSR_SYSENTER_ESP: return &v->sysenter_esp;
	case MSR_SYSENTER_EIP: return &v->sysenter_eip;
	case MSR_MCG_STATUS: return &m->mcg_status;
	case MSR_MC0_CTL:
	case MSR_MC0_CTL + 1:
	case MSR_MC0_CTL + 2:
	case MSR_MC0_CTL + 3: return &m->mc0[i - MSR_MC0_CTL];
	case MSR_MISC_ENABLE: return &m->misc_enable;
	case MSR_DEBUGCTL: return &m->debugctl;
	case MSR_PAT: return &m->pat;
	case MSR_TSC_ADJUST: return &m->tsc_adjust;
	case MSR_KVM_WALL_OLD:
	case MSR_KVM_WALL: return &m->kvm_wall;
	case MSR_KVM_SYSTEM_OLD:
	case MSR_KVM_SYSTEM: return &m->kvm_system;
	case MSR_EFER: return &v->efer;
	case MSR_STAR: return &v->star;
	case MSR_LSTAR: return &v->lstar;
	case MSR_CSTAR: return &v->cstar;
	case MSR_SFMASK: return &v->sfmask;
	case MSR_FS_BASE: return &v->seg[X86_FS].base;
	case MSR_GS_BASE: return &v->seg[X86_GS].base;
	case MSR_KERNEL_GS: return &v->kernel_gs;
	case MSR_TSC_AUX: return &v->tsc_aux;
	default: return mtrr(v, i);
	}
}

/* What always reads the same. */
static bool fixed(uint32_t i, uint64_t *val)
{
	switch (i) {
	case MSR_PLATFORM_ID:
	case MSR_PLATFORM_INFO:
	case MSR_XSS: *val = 0; return true;
	case MSR_MCG_CAP:				 /* banks: one, as KVM has at least */
	case MSR_FEATURE_CONTROL: *val = 1; return true; /* locked, nothing enabled */
	case MSR_MICROCODE: *val = MICROCODE_REV; return true;
	case MSR_MTRR_CAP: *val = MTRRS | 1 << 8 | 1 << 10; return true; /* fixed ones, WC */
	default: return false;
	}
}

int x86_msr_read(struct x86_vcpu *v, uint32_t index, uint64_t *val)
{
	const uint64_t *p = plain(v, index);
	*val = 0;
	if (index == MSR_ARCH_CAPABILITIES)
		*val = v->msrs->arch_capabilities;
	else if (p)
		*val = *p;
	else if (index == MSR_TSC)
		*val = x86_tsc(v);
	else if (!fixed(index, val) && !board(v, index, false, val))
		return x86_raise(v, X86_TRAP_GP, 0);
	return 0;
}

/* False: #GP. */
static bool is_legal(const struct x86_vcpu *v, uint32_t i, uint64_t val)
{
	switch (i) {
	case MSR_SPEC_CTRL: return !(val & ~0x407ull); /* IBRS STIBP SSBD BHI_DIS_S */
	case MSR_MISC_FEATURES: return !val;
	case MSR_SYSENTER_ESP:
	case MSR_SYSENTER_EIP:
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS: return x86_canonical(val);
	case MSR_MCG_STATUS: return !(val & ~7ull);
	case MSR_MC0_CTL: return !val || val == UINT64_MAX;
	case MSR_MC0_CTL + 1: return !val; /* SDM 3, 16.3.2.2 */
	case MSR_PAT: return pat_good(val);
	case MSR_SFMASK:
	case MSR_TSC_AUX: return !(val >> 32);
	default: return !mtrr((struct x86_vcpu *)(uintptr_t)v, i) || mtrr_good(i, val);
	}
}

static int told(struct x86_vcpu *v, uint32_t index, uint64_t val)
{
	switch (index) {
	case MSR_PRED_CMD: return val & ~1ull ? x86_raise(v, X86_TRAP_GP, 0) : 0; /* IBPB */
	case MSR_MICROCODE:
	case MSR_MICROCODE_WRITE: return 0;
	case MSR_XSS:
	case MSR_PLATFORM_INFO: return val ? x86_raise(v, X86_TRAP_GP, 0) : 0;
	default: break;
	}
	if (!board(v, index, true, &val)) return x86_raise(v, X86_TRAP_GP, 0);
	if (index == MSR_APIC_BASE) x86_apic_moved(v);
	return 0;
}

int x86_msr_write(struct x86_vcpu *v, uint32_t index, uint64_t val)
{
	uint64_t *p = plain(v, index);
	if (!is_legal(v, index, val)) return x86_raise(v, X86_TRAP_GP, 0);
	switch (index) {
	case MSR_EFER: return x86_efer_write(v, val);
	case MSR_TSC: tsc_set(v, val); return 0;
	case MSR_TSC_ADJUST:
		v->tsc_off += val - v->msrs->tsc_adjust;
		v->msrs->tsc_adjust = val;
		return 0;
	case MSR_KVM_WALL_OLD:
	case MSR_KVM_WALL: pv_wall(v, val); return 0;
	case MSR_KVM_SYSTEM_OLD:
	case MSR_KVM_SYSTEM: pv_system(v, val); return 0;
	case MSR_FS_BASE:
	case MSR_GS_BASE:
		*p = val;
		v->cpu.base[index == MSR_FS_BASE ? X86_FS : X86_GS] = val;
		return 0;
	default: break;
	}
	if (!p) return told(v, index, val);
	*p = val;
	return 0;
}

int x86_msr_set(struct x86_vcpu *v, uint32_t index, uint64_t val)
{
	switch (index) {
	case MSR_TSC_ADJUST: v->msrs->tsc_adjust = val; return 0;
	case MSR_ARCH_CAPABILITIES: v->msrs->arch_capabilities = val; return 0;
	case MSR_KVM_WALL_OLD:
	case MSR_KVM_WALL: v->msrs->kvm_wall = val; return 0;
	case MSR_KVM_SYSTEM_OLD:
	case MSR_KVM_SYSTEM: v->msrs->kvm_system = val; return 0;
	default: return x86_msr_write(v, index, val);
	}
}

/* INIT leaves them all: SDM 3, table 10-1. */
void x86_msrs_reset(struct x86_vcpu *v, bool init)
{
	struct x86_machine *m = v->machine;
	if (init) return;
	*v->msrs = (struct x86_msrs){.pat = PAT_RESET,
				     .misc_enable = 1 | 1 << 11 | 1 << 12, /* no BTS, no PEBS */
				     .arch_capabilities = ARCH_CAPABILITIES,
				     .mc0 = {UINT64_MAX},
				     .mtrr_default = 0};
	v->star = v->lstar = v->cstar = v->sfmask = v->kernel_gs = v->tsc_aux = 0;
	v->sysenter_cs = v->sysenter_esp = v->sysenter_eip = 0;
	v->tsc_off = -m->tsc_zero;
	v->cr8 = 0;
	if (v->id == 0) m->pv_tsc = 0;
}
