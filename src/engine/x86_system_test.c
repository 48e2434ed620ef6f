#include "engine/x86_rig.h"

/* One instruction of code, executed with its trap as the answer. */
static int do_bytes(struct x86_rig *r, const uint8_t *code, size_t n)
{
	struct x86_insn in;
	uint8_t all[16] = {0};
	memcpy(all, code, n);
	if (x86_decode(&in, all, 15, r->v->mode) != X86_OK) return X86_TRAP_UD;
	return x86_do(r->v, &in);
}
#define DO(r, ...)                                                                                 \
	do_bytes(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static struct x86_rig *flat(enum x86_mode mode, unsigned cpl)
{
	struct x86_rig *r = x86_rig_new();
	x86_rig_flat(r, mode, cpl);
	return r;
}
static struct x86_rig *long_mode(unsigned cpl)
{
	struct x86_rig *r = flat(X86_64, cpl);
	x86_rig_map(r, 0, 0, 0x87, 2);
	x86_rig_paging(r);
	return r;
}

TEST(x86_privilege)
{
	struct x86_rig *r = long_mode(3);
	CHECK(DO(r, 0xf4) == X86_TRAP_GP);		 /* hlt */
	CHECK(DO(r, 0x0f, 0x20, 0xc0) == X86_TRAP_GP);	 /* mov rax, cr0 */
	CHECK(DO(r, 0x0f, 0x21, 0xf8) == X86_TRAP_GP);	 /* mov rax, dr7 */
	CHECK(DO(r, 0x0f, 0x32) == X86_TRAP_GP);	 /* rdmsr */
	CHECK(DO(r, 0x0f, 0x06) == X86_TRAP_GP);	 /* clts */
	CHECK(DO(r, 0x0f, 0x09) == X86_TRAP_GP);	 /* wbinvd */
	CHECK(DO(r, 0x0f, 0x01, 0x3f) == X86_TRAP_GP);	 /* invlpg [rdi] */
	CHECK(DO(r, 0xfa) == X86_TRAP_GP);		 /* cli */
	CHECK(DO(r, 0x0f, 0x01, 0xcb) == X86_TRAP_UD);	 /* stac */
	CHECK(!DO(r, 0x0f, 0x31) && !DO(r, 0x0f, 0xa2)); /* rdtsc, cpuid */
	r->v->cr4 |= CR4_TSD | CR4_UMIP;
	CHECK(DO(r, 0x0f, 0x31) == X86_TRAP_GP);
	CHECK(DO(r, 0x0f, 0x01, 0xe0) == X86_TRAP_GP); /* smsw eax */
	r->v->cpu.flags |= X86_IOPL;
	CHECK(!DO(r, 0xfa) && !DO(r, 0xfb) && r->v->shadow == 2);
	x86_rig_free(r);
}

TEST(x86_cr0_is_checked)
{
	struct x86_rig *r = flat(X86_32, 0);
	struct x86_vcpu *v = r->v;
	CHECK(x86_cr0_write(v, CR0_PG) == X86_TRAP_GP);
	CHECK(x86_cr0_write(v, CR0_PE | CR0_NW) == X86_TRAP_GP);
	CHECK(x86_cr0_write(v, 1ull << 32 | CR0_PE) == X86_TRAP_GP);
	CHECK(!x86_efer_write(v, EFER_LME));
	CHECK(x86_cr0_write(v, (uint64_t)CR0_PE | CR0_PG) == X86_TRAP_GP); /* without PAE */
	CHECK(!x86_cr4_write(v, CR4_PAE) && !x86_cr0_write(v, (uint64_t)CR0_PE | CR0_PG));
	CHECK(v->efer == (EFER_LME | EFER_LMA) && v->long_mode && v->mode == X86_32);
	CHECK(x86_efer_write(v, 0) == X86_TRAP_GP); /* LME while paging */
	CHECK(x86_cr4_write(v, 0) == X86_TRAP_GP);  /* PAE in long mode */
	CHECK(!x86_cr0_write(v, CR0_PE) && v->efer == EFER_LME && !v->long_mode);
	CHECK(v->cr0 == (CR0_PE | CR0_ET));
	x86_rig_free(r);
	r = long_mode(0);
	CHECK(x86_cr0_write(r->v, CR0_PE) == X86_TRAP_GP); /* PG cannot go in 64-bit mode */
	x86_rig_free(r);
}

TEST(x86_cr3_cr4_are_checked)
{
	struct x86_rig *r = long_mode(0);
	struct x86_vcpu *v = r->v;
	uint64_t cr4 = v->cr4;
	CHECK(x86_cr3_write(v, 1ull << 63) == X86_TRAP_GP);
	CHECK(x86_cr3_write(v, 1ull << X86_PHYS_BITS) == X86_TRAP_GP);
	CHECK(x86_cr4_write(v, cr4 | 1 << 12) == X86_TRAP_GP); /* LA57 */
	CHECK(x86_cr4_write(v, cr4 | 1 << 22) == X86_TRAP_GP); /* PKE */
	CHECK(!x86_cr3_write(v, X86_RIG_TABLES | 5) &&
	      x86_cr4_write(v, cr4 | CR4_PCIDE) == X86_TRAP_GP);
	CHECK(!x86_cr3_write(v, X86_RIG_TABLES) && !x86_cr4_write(v, cr4 | CR4_PCIDE));
	CHECK(!x86_cr3_write(v, X86_RIG_TABLES | 5 | 1ull << 63));
	CHECK(v->cr3 == (X86_RIG_TABLES | 5));
	x86_rig_put(r, 0x3000, 5, 8);
	x86_rig_put(r, 0x3008, 0x4000, 8);
	v->cpu.r[7] = 0x3000;
	for (unsigned type = 0; type < 4; type++) {
		v->cpu.r[0] = type;
		CHECK(!DO(r, 0x66, 0x0f, 0x38, 0x82, 0x07)); /* invpcid rax, [rdi] */
	}
	v->cpu.r[0] = 4;
	CHECK(DO(r, 0x66, 0x0f, 0x38, 0x82, 0x07) == X86_TRAP_GP);
	CHECK(!DO(r, 0x44, 0x0f, 0x20, 0xc0) && v->cpu.r[0] == 0); /* mov rax, cr8 */
	v->cpu.r[0] = 9;
	CHECK(!DO(r, 0x44, 0x0f, 0x22, 0xc0) && x86_cr8(v, false, 0) == 9);
	v->cpu.r[0] = 16;
	CHECK(DO(r, 0x44, 0x0f, 0x22, 0xc0) == X86_TRAP_GP);
	x86_rig_free(r);
}

TEST(x86_debug_registers)
{
	struct x86_rig *r = long_mode(0);
	struct x86_vcpu *v = r->v;
	v->cpu.r[0] = 0x1234;
	CHECK(!DO(r, 0x0f, 0x23, 0xc0) && v->dr[0] == 0x1234); /* mov dr0, rax */
	v->cpu.r[0] = ~0ull;
	CHECK(DO(r, 0x0f, 0x23, 0xf8) == X86_TRAP_GP);
	v->cpu.r[0] = 0xffffffff & ~(1u << 13);
	CHECK(!DO(r, 0x0f, 0x23, 0xf8) && v->dr[7] == 0xffff07ff);
	CHECK(!DO(r, 0x0f, 0x21, 0xe3) && v->cpu.r[3] == v->dr[6]); /* mov rbx, dr4 */
	v->cr4 |= CR4_DE;
	CHECK(DO(r, 0x0f, 0x21, 0xe3) == X86_TRAP_UD);
	v->dr[7] |= 1 << 13;
	CHECK(DO(r, 0x0f, 0x21, 0xc3) == X86_TRAP_DB && v->fault == 1 << 13);
	x86_rig_free(r);
}

static int wr(struct x86_rig *r, uint32_t index, uint64_t val)
{
	return x86_msr_write(r->v, index, val);
}
static uint64_t rd(struct x86_rig *r, uint32_t index)
{
	uint64_t val = 0;
	CHECK(!x86_msr_read(r->v, index, &val));
	return val;
}

TEST(x86_msrs_are_checked)
{
	const uint64_t odd = 0x800000000000;
	struct x86_rig *r = long_mode(0);
	uint64_t val;
	CHECK(x86_msr_read(r->v, 0xdeadbeef, &val) == X86_TRAP_GP && wr(r, 0xdeadbeef, 0));
	CHECK(wr(r, 0xc0000100, odd) && wr(r, 0xc0000101, odd) && wr(r, 0xc0000102, odd));
	CHECK(wr(r, 0xc0000082, odd) && wr(r, 0x176, odd) && wr(r, 0xc0000080, 1 << 15));
	CHECK(wr(r, 0x277, 2) && wr(r, 0x2ff, 2) && wr(r, 0x201, 1) && wr(r, 0xfe, 0));
	CHECK(wr(r, 0xc0000103, 1ull << 32) && wr(r, 0x10a, 0) && wr(r, 0x48, 8));
	CHECK(!wr(r, 0x277, 0x0007010600070106) && rd(r, 0x277) == 0x0007010600070106);
	CHECK(!wr(r, 0x200, 0xc0000006) && !wr(r, 0x201, 0xffc0000800) && !wr(r, 0x2ff, 0xc06));
	CHECK(!wr(r, 0x250, 0x0606060606060606) && wr(r, 0x26f, 0x06060606060602ff));
	CHECK(!wr(r, 0xc0000100, 0x7000) && r->v->cpu.base[X86_FS] == 0x7000);
	CHECK(!wr(r, 0x48, 1) && !wr(r, 0x49, 1) && wr(r, 0x49, 2) && rd(r, 0x48) == 1);
	CHECK(rd(r, 0x10a) & 1 && rd(r, 0x10a) & 2 && rd(r, 0x8b) >> 32);
	x86_rig_free(r);
}

TEST(x86_time_stamps)
{
	struct x86_rig *r = long_mode(0);
	struct x86_vcpu *v = r->v;
	uint64_t a = rd(r, 0x10), b = rd(r, 0x10);
	CHECK(b > a && a < x86_machine_khz(v->machine) * 1000 * 60);
	CHECK(!wr(r, 0x10, 1ull << 50) &&
	      rd(r, 0x10) - (1ull << 50) < x86_machine_khz(v->machine) * 1000);
	CHECK(rd(r, 0x3b) && !wr(r, 0x3b, 0) && rd(r, 0x10) < 1ull << 49);
	CHECK(!x86_vcpu_set(v, REG_X86_TSC, 1ull << 50) && !rd(r, 0x3b));
	CHECK(!x86_vcpu_get(v, REG_X86_TSC, &a) &&
	      a - (1ull << 50) < x86_machine_khz(v->machine) * 1000);
	uint64_t now = vclock_ns(&r->clock);
	uint64_t at = x86_tsc_ns(v, x86_tsc(v) + x86_machine_khz(v->machine) * 1000);
	CHECK(at > now + 900000000 && at < now + 1500000000);
	CHECK(x86_tsc_ns(v, 0) >= now && x86_tsc_ns(v, 0) < at);
	v->tsc_aux = 77;
	CHECK(!DO(r, 0x0f, 0x01, 0xf9) && v->cpu.r[1] == 77);	    /* rdtscp */
	CHECK(!DO(r, 0xf3, 0x0f, 0xc7, 0xf8) && v->cpu.r[0] == 77); /* rdpid */
	x86_rig_free(r);
}

TEST(x86_kvmclock)
{
	struct x86_rig *r = long_mode(0);
	CHECK(!wr(r, 0x4b564d01, 0x6001) && !wr(r, 0x4b564d00, 0x6100));
	uint64_t tsc = x86_tsc(r->v), ns = vclock_ns(&r->clock);
	int8_t shift = (int8_t)x86_rig_get(r, 0x601c, 1);
	uint64_t d = tsc - x86_rig_get(r, 0x6008, 8), mul = x86_rig_get(r, 0x6018, 4);
	d = shift < 0 ? d >> -shift : d << shift;
	uint64_t is = (uint64_t)((unsigned __int128)d * mul >> 32) + x86_rig_get(r, 0x6010, 8);
	CHECK(is < ns + 10000000 && ns < is + 10000000);
	CHECK(x86_rig_get(r, 0x6000, 4) == 2 && x86_rig_get(r, 0x601d, 1) == 1);
	CHECK(x86_rig_get(r, 0x6104, 4) > 1600000000 && x86_rig_get(r, 0x6108, 4) < 1000000000);
	CHECK(!wr(r, 0x4b564d01, 0xfffffffffff1)); /* nowhere: nothing happens */
	x86_rig_free(r);
}

TEST(x86_cpuid_makes_sense)
{
	struct x86_rig *r = x86_rig_new();
	uint32_t o[4];
	x86_cpuid(r->v, 0, 0, o);
	CHECK(o[0] >= 0x16 && !memcmp(&o[1], "Genu", 4));
	x86_cpuid(r->v, 1, 0, o);
	CHECK(!(o[2] & 1 << 27) && o[2] >> 31 && !(o[2] & 1 << 3));
	r->v->cr4 |= CR4_OSXSAVE;
	x86_cpuid(r->v, 1, 0, o);
	CHECK(o[2] & 1 << 27);
	x86_cpuid(r->v, 7, 0, o);
	CHECK(!(o[1] & 1 << 16) && !(o[2] & 1 << 16) && !(o[2] & 1 << 3)); /* AVX512F LA57 PKU */
	x86_cpuid(r->v, 0xd, 0, o);
	CHECK(o[2] <= sizeof(struct x86_xarea) && !(o[0] & ~7u));
	x86_cpuid(r->v, 0x15, 0, o);
	uint64_t khz = o[0] ? (uint64_t)o[2] / 1000 * o[1] / o[0] : 0;
	CHECK(khz > r->m.tsc_khz / 100 * 99 && khz < r->m.tsc_khz / 100 * 101);
	x86_cpuid(r->v, 0x40000010, 0, o);
	CHECK(o[0] == r->m.tsc_khz);
	x86_cpuid(r->v, 0x80000008, 0, o);
	CHECK(o[0] == (X86_PHYS_BITS | 48 << 8));
	for (unsigned i = 0; i < 4096; i++) {
		x86_cpuid(r->v, i << 20 | i, i, o);
		x86_cpuid(r->v, 0x80000000 + i, i, o);
	}
	x86_rig_free(r);
}

TEST(x86_ports)
{
	struct x86_rig *r = flat(X86_32, 0);
	struct x86_vcpu *v = r->v;
	v->cpu.r[2] = X86_RIG_FIFO;
	v->cpu.r[7] = 0x3000;
	v->cpu.r[1] = 100;
	r->fifo_next = 1;
	CHECK(DO(r, 0xf3, 0x66, 0x6d) == X86_REPEAT && v->cpu.r[1] == 36); /* rep insw */
	CHECK(!DO(r, 0xf3, 0x66, 0x6d) && !v->cpu.r[1] && v->cpu.r[7] == 0x3000 + 200);
	CHECK(x86_rig_get(r, 0x3000, 2) == 1 && x86_rig_get(r, 0x3000 + 198, 2) == 100);
	v->cpu.r[6] = 0x3000;
	v->cpu.r[1] = 3;
	CHECK(!DO(r, 0xf3, 0x66, 0x6f) && r->sum == 6); /* rep outsw */
	CHECK(!DO(r, 0xf3, 0x66, 0x6f) && r->sum == 6);
	v->cpu.r[0] = 0xaabbccdd;
	CHECK(!DO(r, 0xe4, 0x10) && v->cpu.r[0] == 0xaabbccff); /* in al: nobody there */
	CHECK(!DO(r, 0xe7, X86_RIG_STOP) && r->told == 0xaabbccff);
	/* A fault comes before the port is read. */
	v->seg[X86_ES].limit = 0x2fff;
	v->cpu.r[7] = 0x3000;
	unsigned next = r->fifo_next;
	CHECK(DO(r, 0x6c) == X86_TRAP_GP && r->fifo_next == next);
	x86_rig_free(r);
}

TEST(x86_port_bitmap)
{
	struct x86_rig *r = flat(X86_32, 3);
	struct x86_vcpu *v = r->v;
	v->seg[X86_SEG_TR].limit = 0x66;
	CHECK(DO(r, 0xe4, 0x10) == X86_TRAP_GP);
	v->seg[X86_SEG_TR] = (struct x86_segreg){.base = 0x5000, .limit = 0x8a, .access = 0x8b};
	x86_rig_put(r, 0x5066, 0x68, 2);
	x86_rig_put(r, 0x5068 + 2, 0xfe, 1); /* ports 0x10.. : the first is allowed */
	CHECK(!DO(r, 0xe4, 0x10) && DO(r, 0xe4, 0x11) == X86_TRAP_GP);
	CHECK(DO(r, 0xe5, 0x10) == X86_TRAP_GP); /* four of them */
	CHECK(!DO(r, 0xe4, 0x08));
	v->cpu.r[2] = 0x120; /* beyond the limit */
	CHECK(DO(r, 0xec) == X86_TRAP_GP);
	v->cpu.flags |= X86_IOPL;
	CHECK(!DO(r, 0xec));
	x86_rig_free(r);
}

TEST(x86_popf_and_smap)
{
	struct x86_rig *r = long_mode(0);
	struct x86_vcpu *v = r->v;
	CHECK(!x86_cr4_write(v, v->cr4 | CR4_SMAP) && v->view == X86_VIEW_KERNEL);
	CHECK(!DO(r, 0x0f, 0x01, 0xcb) && v->view == X86_VIEW_BOTH); /* stac */
	v->cpu.r[4] = 0x4000;
	x86_rig_put(r, 0x4000, 2, 8);
	CHECK(!DO(r, 0x9d) && v->view == X86_VIEW_KERNEL); /* popf without AC; pages are user's */
	CHECK(DO(r, 0x9d) == X86_TRAP_PF && v->code == 1);
	CHECK(!DO(r, 0x0f, 0x01, 0xcb) && !DO(r, 0x0f, 0x01, 0xca) && v->view == X86_VIEW_KERNEL);
	x86_rig_free(r);
}

TEST(x86_xcr0)
{
	struct x86_rig *r = long_mode(0);
	struct x86_vcpu *v = r->v;
	CHECK(DO(r, 0x0f, 0x01, 0xd0) == X86_TRAP_UD);
	v->cr4 |= CR4_OSXSAVE;
	v->cpu.r[2] = 0;
	v->cpu.r[0] = 3;
	CHECK(!DO(r, 0x0f, 0x01, 0xd1) && v->xcr0 == 3);
	v->cpu.r[0] = 5;
	CHECK(DO(r, 0x0f, 0x01, 0xd1) == X86_TRAP_GP);
	v->cpu.r[0] = 0x1f;
	CHECK(DO(r, 0x0f, 0x01, 0xd1) == X86_TRAP_GP);
	CHECK(!DO(r, 0x0f, 0x01, 0xd0) && v->cpu.r[0] == 3);
	x86_rig_free(r);
}
