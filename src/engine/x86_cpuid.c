/* What CPU the guest is told of: Intel's first with x86-64-v3, since programs take what they are
 * compiled for by the model, too (libgcc's __cpu_model), so that a later one would get AVX-512;
 * MSRs say that Linux need pick no workarounds. With x86-64-v3 and what else the interpreter and
 * the host can do. Leaves and bits: SDM 2A, CPUID; Linux Documentation/virt/kvm/x86/cpuid.rst. */
#include "engine/x86_vcpu.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define BIT(n) (1u << (n))
enum {
	BASIC_LAST = 0x1f,
	EXTENDED = (int)0x80000000,
	KVM_BASE = 0x40000000,
	KVM_LAST = 0x40000010,
	SIGNATURE = 0x000306c3, /* family 6, model 0x3c (Haswell), stepping 3 */
	APIC_KHZ = 1000000,	/* what the board's LAPIC timers count */
	XSAVE_LEGACY = 512 + 64,
	XSAVE_AVX = 256,
};
enum { EAX, EBX, ECX, EDX };

/* ---- the host */
static void host_cpuid(uint32_t leaf, uint32_t index, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof(*out));
#if defined(__x86_64__)
	uint32_t *o = out;
	(void)__get_cpuid_count(leaf, index, &o[0], &o[1], &o[2], &o[3]);
#else
	(void)leaf, (void)index;
#endif
}

static uint64_t host_xcr0(void)
{
	uint32_t a = 0, d = 0, one[4];
	host_cpuid(1, 0, one);
	if (!(one[ECX] & BIT(27))) return 0; /* OSXSAVE */
#if defined(__x86_64__)
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
#endif
	return a | (uint64_t)d << 32;
}

static unsigned features_find(void)
{
	const uint32_t avx = BIT(12) | BIT(28) | BIT(29); /* FMA AVX F16C */
	uint32_t one[4], seven[4];
	host_cpuid(1, 0, one);
	host_cpuid(7, 0, seven);
	unsigned f = 0;
	if ((one[ECX] & avx) == avx && seven[EBX] & BIT(5) && (host_xcr0() & 6) == 6)
		f |= X86_HAS_AVX;
	if (one[ECX] & BIT(25)) f |= X86_HAS_AES;
	if (one[ECX] & BIT(1)) f |= X86_HAS_CLMUL;
	if (seven[EBX] & BIT(29)) f |= X86_HAS_SHA;
	if (one[ECX] & BIT(30)) f |= X86_HAS_RDRAND;
	if (seven[EBX] & BIT(18)) f |= X86_HAS_RDSEED;
	return f;
}

static unsigned known_features;
static void features_note(void) { known_features = features_find(); }
unsigned x86_features(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, features_note); /* CPUID is slow where the host is a guest */
	return known_features;
}

/* SSE3 SSSE3 SSE4.1 SSE4.2 XSAVE */
bool x86_host_can(void)
{
	const uint32_t need = BIT(0) | BIT(9) | BIT(19) | BIT(20) | BIT(26);
	uint32_t one[4];
	host_cpuid(1, 0, one);
	return (one[ECX] & need) == need;
}

/* ---- features */
static uint32_t when(bool on, uint32_t bits) { return on ? bits : 0; }

static void leaf_1(const struct x86_cpuid_ask *a, uint32_t out[4])
{
	unsigned f = x86_features(), cpus = a->cpus;
	out[EAX] = SIGNATURE;
	out[EBX] = a->id << 24 | (cpus & 0xff) << 16 | 8 << 8; /* clflush: 8 quadwords */
	/* SSE3 SSSE3 CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT XSAVE, hypervisor */
	out[ECX] = BIT(0) | BIT(9) | BIT(13) | BIT(17) | BIT(19) | BIT(20) | BIT(22) | BIT(23) |
		   BIT(26) | BIT(31);
	out[ECX] |= when(f & X86_HAS_CLMUL, BIT(1)) | when(f & X86_HAS_AES, BIT(25)) |
		    when(f & X86_HAS_AVX, BIT(12) | BIT(28) | BIT(29)) |
		    when(f & X86_HAS_RDRAND, BIT(30)) | when(a->osxsave, BIT(27)) |
		    when(a->x2apic, BIT(21) | BIT(24)); /* x2APIC, TSC deadline */
	/* FPU DE PSE TSC MSR PAE MCE CX8 SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS
	 */
	out[EDX] = BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) |
		   BIT(12) | BIT(13) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) |
		   BIT(24) | BIT(25) | BIT(26) | BIT(27);
	out[EDX] |= when(a->apic, BIT(9)) | when(cpus > 1, BIT(28));
}

static void leaf_7(uint32_t index, uint32_t out[4])
{
	unsigned f = x86_features();
	uint32_t host[4];
	if (index == 2) out[EDX] = BIT(4); /* BHI_CTRL, or Linux clears branch history itself */
	if (index) return;
	host_cpuid(7, 0, host);
	out[EAX] = 2;
	/* FSGSBASE TSC_ADJUST BMI1 SMEP BMI2 ERMS INVPCID ADX SMAP CLFLUSHOPT CLWB; and how its x87
	 * saves pointers is the host's */
	out[EBX] = BIT(0) | BIT(1) | BIT(3) | BIT(7) | BIT(8) | BIT(9) | BIT(10) | BIT(19) |
		   BIT(20) | BIT(23) | BIT(24) | (host[EBX] & (BIT(6) | BIT(13)));
	out[EBX] |= when(f & X86_HAS_AVX, BIT(5)) | when(f & X86_HAS_SHA, BIT(29)) |
		    when(f & X86_HAS_RDSEED, BIT(18));
	out[ECX] = BIT(2) | BIT(22); /* UMIP RDPID */
	/* FSRM SERIALIZE; IBRS and IBPB, STIBP, ARCH_CAPABILITIES, SSBD: with these Linux takes
	 * enhanced IBRS, which costs nothing here, for the retpolines that would */
	out[EDX] = BIT(4) | BIT(14) | BIT(26) | BIT(27) | BIT(29) | BIT(31);
}

static void leaf_d(const struct x86_cpuid_ask *a, uint32_t index, uint32_t out[4])
{
	uint32_t one[4];
	x86_cpuid_own(a, 1, 0, one);
	if (!(one[ECX] & BIT(26))) return; /* XSAVE */
	bool avx = one[ECX] & BIT(28);
	uint32_t now = XSAVE_LEGACY + when(a->xcr0 & 4, XSAVE_AVX);
	if (index == 0) {
		out[EAX] = avx ? X86_XCR0 : 3;
		out[EBX] = now;
		out[ECX] = XSAVE_LEGACY + when(avx, XSAVE_AVX);
	} else if (index == 1) {
		out[EAX] = BIT(0) | BIT(1) | BIT(2); /* XSAVEOPT XSAVEC XGETBV(1) */
		out[EBX] = now;
	} else if (index == 2 && avx) {
		out[EAX] = XSAVE_AVX;
		out[EBX] = XSAVE_LEGACY;
	}
}

/* ---- caches and topology */
static unsigned bits_for(unsigned n)
{
	unsigned b = 0;
	while (b < 8 && 1u << b < n) b++;
	return b;
}

/* The third level is everybody's, the others are each one's own. */
static void leaf_4(const struct x86_cpuid_ask *a, uint32_t index, uint32_t out[4])
{
	static const struct {
		uint32_t type, level, ways, sets;
	} is[] = {{1, 1, 12, 64}, {2, 1, 8, 64}, {3, 2, 16, 2048}, {3, 3, 16, 16384}};
	enum { LINE = 64, SELF_INIT = 1 << 8 };
	if (index >= COUNT(is)) return;
	uint32_t cores = (1u << bits_for(a->cpus)) - 1;
	out[EAX] = is[index].type | is[index].level << 5 | SELF_INIT |
		   when(is[index].level == 3, cores << 14) | (cores & 0x3f) << 26;
	out[EBX] = (LINE - 1) | (is[index].ways - 1) << 22;
	out[ECX] = is[index].sets - 1;
}

static void topology(const struct x86_cpuid_ask *a, uint32_t index, uint32_t out[4])
{
	enum { SMT = 1, CORE = 2 };
	unsigned cpus = a->cpus ? a->cpus : 1;
	out[ECX] = index & 0xff;
	out[EDX] = a->id;
	if (index > 1) return;
	out[EAX] = index ? bits_for(cpus) : 0;
	out[EBX] = index ? cpus : 1;
	out[ECX] |= (uint32_t)(index ? CORE : SMT) << 8;
}

/* ---- time */
static uint64_t gcd(uint64_t a, uint64_t b) { return b ? gcd(b, a % b) : a; }

/* TSC = crystal * ebx / eax, the crystal being what LAPIC timers count. Linux multiplies kHz in 32
 * bits, so ebx stays below 2^32 / 10^6; kvmclock gives the exact figure. */
static void leaf_15(const struct x86_cpuid_ask *a, uint32_t out[4])
{
	enum { MOST = 4294 };
	uint64_t khz = a->khz, by = gcd(khz, APIC_KHZ);
	uint64_t num = khz / by, den = APIC_KHZ / by;
	if (num > MOST || den > MOST) {
		den = 500; /* to 2 MHz, and ratios up to 8 */
		num = (khz * den + APIC_KHZ / 2) / APIC_KHZ;
	}
	if (!num || num > MOST) return;
	out[EAX] = (uint32_t)den;
	out[EBX] = (uint32_t)num;
	out[ECX] = APIC_KHZ * 1000u;
}

static void leaf_16(const struct x86_cpuid_ask *a, uint32_t out[4])
{
	out[EAX] = out[EBX] = a->khz / 1000 & 0xffff;
	out[ECX] = 100;
}

static void kvm_leaf(const struct x86_cpuid_ask *a, uint32_t leaf, uint32_t out[4])
{
	if (leaf == KVM_BASE) {
		out[EAX] = KVM_LAST;
		memcpy(&out[EBX], "KVMK", 4);
		memcpy(&out[ECX], "VMKV", 4);
		memcpy(&out[EDX], "M\0\0\0", 4);
	} else if (leaf == KVM_BASE + 1) {
		/* CLOCKSOURCE NOP_IO_DELAY CLOCKSOURCE2, the clock is stable */
		out[EAX] = BIT(0) | BIT(1) | BIT(3) | BIT(24);
	} else if (leaf == KVM_LAST) {
		out[EAX] = (uint32_t)a->khz;
		out[EBX] = APIC_KHZ;
	}
}

/* ---- identity */
static void basic_leaf(const struct x86_cpuid_ask *a, uint32_t leaf, uint32_t index,
		       uint32_t out[4])
{
	switch (leaf) {
	case 0:
		out[EAX] = BASIC_LAST;
		memcpy(&out[EBX], "Genu", 4);
		memcpy(&out[EDX], "ineI", 4);
		memcpy(&out[ECX], "ntel", 4);
		return;
	case 1: leaf_1(a, out); return;
	case 2: out[EAX] = 0x00ff0001; return; /* caches: see leaf 4 */
	case 4: leaf_4(a, index, out); return;
	case 6: out[EAX] = BIT(2); return; /* ARAT */
	case 7: leaf_7(index, out); return;
	case 0xb:
	case 0x1f: topology(a, index, out); return;
	case 0xd: leaf_d(a, index, out); return;
	case 0x15: leaf_15(a, out); return;
	case 0x16: leaf_16(a, out); return;
	default: return;
	}
}

static void extended_leaf(uint32_t leaf, uint32_t out[4])
{
	static const char brand[48] = "Lodge x86-64 processor";
	switch (leaf & 0xff) {
	case 0: out[EAX] = (uint32_t)EXTENDED + 8; return;
	case 1:
		out[ECX] = BIT(0) | BIT(5) | BIT(8); /* LAHF LZCNT PREFETCHW */
		/* SYSCALL NX 1G-pages RDTSCP LM */
		out[EDX] = BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29);
		return;
	case 2:
	case 3:
	case 4: memcpy(out, brand + 16 * ((leaf & 7) - 2), 16); return;
	case 6: out[ECX] = 2048 << 16 | 8 << 12 | 64; return; /* level 2 */
	case 7: out[EDX] = BIT(8); return;		      /* invariant TSC */
	case 8: out[EAX] = X86_PHYS_BITS | 48 << 8; return;
	default: return;
	}
}

void x86_cpuid_own(const struct x86_cpuid_ask *a, uint32_t leaf, uint32_t index, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof(*out));
	if (leaf >> 8 == KVM_BASE >> 8)
		kvm_leaf(a, leaf, out);
	else if (leaf >= (uint32_t)EXTENDED && leaf <= (uint32_t)EXTENDED + 8)
		extended_leaf(leaf, out);
	else if (leaf <= BASIC_LAST)
		basic_leaf(a, leaf, index, out);
	x86_model_mask(a->cpu, leaf, index, out);
}

unsigned x86_cpuid_list(const struct x86_cpuid_ask *a, struct x86_leaf *to)
{
	static const struct {
		uint32_t first, n, indexes;
	} ranges[] = {{0, 4, 1},
		      {4, 1, 4},
		      {5, 2, 1},
		      {7, 1, 3},
		      {0xb, 1, 3},
		      {0xd, 1, 3},
		      {0x15, 2, 1},
		      {0x1f, 1, 3},
		      {KVM_BASE, 2, 1},
		      {KVM_LAST, 1, 1},
		      {(uint32_t)EXTENDED, 9, 1}};
	unsigned n = 0;
	for (unsigned r = 0; r < COUNT(ranges); r++)
		for (uint32_t i = 0; i < ranges[r].n * ranges[r].indexes; i++) {
			struct x86_leaf *l = &to[n];
			l->leaf = ranges[r].first + i / ranges[r].indexes;
			l->index = i % ranges[r].indexes;
			x86_cpuid_own(a, l->leaf, l->index, l->out);
			if (l->out[EAX] | l->out[EBX] | l->out[ECX] | l->out[EDX]) n++;
			must(n < X86_LEAVES);
		}
	return n;
}

/* ---- as a CPU sees it */
static bool needs_khz(uint32_t leaf) { return leaf == 0x15 || leaf == 0x16 || leaf == KVM_LAST; }

static struct x86_cpuid_ask ask_of(const struct x86_vcpu *v)
{
	const struct engine_env *env = &v->machine->env;
	return (struct x86_cpuid_ask){.id = v->id,
				      .cpus = env->cpus,
				      .apic = env->x86.apic,
				      .x2apic = env->x86.apic && env->x86.msr,
				      .osxsave = v->cr4 & CR4_OSXSAVE,
				      .xcr0 = v->xcr0,
				      .cpu = env->cpu};
}

/* What it was told before it came here, but for what is this CPU's alone and what it changes. */
static void as_told(const struct x86_vcpu *v, uint32_t leaf, uint32_t index, uint32_t out[4])
{
	const struct x86_machine *m = v->machine;
	const struct x86_leaf *l = x86_leaf_find(m->told, m->ntold, leaf, index);
	if (l) memcpy(out, l->out, sizeof(l->out));
	if (leaf == 1 && l) {
		out[EBX] = (out[EBX] & 0xffffff) | v->id << 24;
		out[ECX] = (out[ECX] & ~BIT(27)) | when(v->cr4 & CR4_OSXSAVE, BIT(27));
	}
	if (leaf == 0xb || leaf == 0x1f) {
		out[EDX] = v->id;
		if (!l) out[ECX] = index & 0xff;
	}
	if (leaf == 0xd && index < 2 && l) out[EBX] = XSAVE_LEGACY + when(v->xcr0 & 4, XSAVE_AVX);
}

void x86_cpuid(struct x86_vcpu *v, uint32_t leaf, uint32_t index, uint32_t out[4])
{
	struct x86_cpuid_ask a = ask_of(v);
	memset(out, 0, 4 * sizeof(*out));
	if (v->machine->told) {
		as_told(v, leaf, index, out);
		return;
	}
	if (needs_khz(leaf)) a.khz = x86_machine_khz(v->machine);
	x86_cpuid_own(&a, leaf, index, out);
}

unsigned x86_told(struct x86_vcpu *v, struct x86_leaf *to)
{
	struct x86_cpuid_ask a = ask_of(v);
	const struct x86_machine *m = v->machine;
	a.khz = x86_machine_khz(v->machine);
	if (m->told) memcpy(to, m->told, m->ntold * sizeof(*to));
	return m->told ? m->ntold : x86_cpuid_list(&a, to);
}

static int other_vendor(const struct x86_leaf *zero, struct err *e)
{
	char name[13] = "";
	if (zero) memcpy(name, &zero->out[EBX], 4);
	if (zero) memcpy(name + 4, &zero->out[EDX], 4);
	if (zero) memcpy(name + 8, &zero->out[ECX], 4);
	for (unsigned i = 0; i < 12; i++)
		if (name[i] && (name[i] < ' ' || name[i] > '~')) name[i] = '?';
	return fail(e, -ENOTSUP,
		    "its CPU calls itself \"%s\", and translated CPUs are Intel's: only guests "
		    "started with --cpu v3 or v2 go from kvm to here",
		    name);
}

int x86_be(struct x86_machine *m, const struct x86_leaf *told, unsigned n, struct err *e)
{
	struct x86_leaf own[X86_LEAVES];
	struct x86_cpuid_ask a = ask_of(m->vcpu[0]);
	char names[160];
	uint64_t was = x86_leaf_khz(told, n), is = x86_machine_khz(m);
	const struct x86_leaf *zero = x86_leaf_find(told, n, 0, 0);
	a.cpu = NULL;
	a.khz = is;
	unsigned mine = x86_cpuid_list(&a, own);
	if (!zero || memcmp(zero->out + 1, x86_leaf_find(own, mine, 0, 0)->out + 1, 12) != 0)
		return other_vendor(zero, e);
	unsigned lost = x86_leaves_lack(told, n, own, mine, names, sizeof(names));
	if (lost)
		return fail(e, -ENOTSUP, "its CPU has what this engine has not: %s (%u in all)",
			    names, lost);
	if (was && (was > is + is / 100 || is > was + was / 100))
		return fail(e, -ENOTSUP,
			    "its time stamp counter runs at %llu kHz, this machine's at %llu",
			    (unsigned long long)was, (unsigned long long)is);
	free(m->told);
	m->told = calloc(n, sizeof(*told));
	must(m->told);
	memcpy(m->told, told, n * sizeof(*told));
	m->ntold = n;
	return 0;
}
