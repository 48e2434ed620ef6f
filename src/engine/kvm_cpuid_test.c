/* The policy over a CPU that has everything, and over none: what must be gone is, and what we add
 * is right by the manual's formulas. */
#include "base/test.h"
#include "engine/kvm_impl.h"
#include <string.h>

enum { MAX = 64 };
struct cpu {
	struct kvm_cpuid_entry2 at[MAX];
	unsigned n;
};
static const struct kvm_cpu_want two = {
	.id = 1, .cpus = 2, .tsc_khz = 2596123, .lapic = true, .deadline = true};

/* All leaves that are known, with every bit set. */
static void everything(struct cpu *c)
{
	static const struct {
		uint32_t leaf, parts;
	} leaves[] = {{0, 1},	       {1, 1},		{4, 4},		 {5, 1},
		      {6, 1},	       {7, 2},		{0xa, 1},	 {0xb, 2},
		      {0xd, 20},       {0x12, 1},	{0x14, 1},	 {0x1d, 1},
		      {0x40000000, 1}, {0x40000001, 1}, {0x80000000, 1}, {0x80000001, 1},
		      {0x80000007, 1}, {0x80000008, 1}, {0x8000000a, 1}, {0x8000001e, 1}};
	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < COUNT(leaves); i++)
		for (uint32_t j = 0; j < leaves[i].parts; j++)
			c->at[c->n++] = (struct kvm_cpuid_entry2){
				leaves[i].leaf, j, 0, ~0u, ~0u, ~0u, ~0u, {0}};
	c->at[0].eax = 0x24;
}
static const struct kvm_cpuid_entry2 *leaf(const struct cpu *c, uint32_t l, uint32_t index)
{
	static const struct kvm_cpuid_entry2 none;
	for (unsigned i = 0; i < c->n; i++)
		if (c->at[i].function == l && c->at[i].index == index) return &c->at[i];
	return &none;
}
static bool empty(const struct cpu *c, uint32_t l)
{
	const struct kvm_cpuid_entry2 *e = leaf(c, l, 0);
	return !e->eax && !e->ebx && !e->ecx && !e->edx;
}
static void policy(struct cpu *c, const struct kvm_cpu_want *w)
{
	c->n = kvm_cpuid_policy(c->at, c->n, MAX, w);
}
static bool bit(uint32_t v, unsigned n) { return v >> n & 1; }

TEST(cpuid_hides_what_guests_shall_not_use)
{
	static const uint32_t gone[] = {5, 0xa, 0x12, 0x14, 0x1d, 0x8000000a};
	struct cpu c;
	everything(&c);
	policy(&c, &two);
	for (unsigned i = 0; i < COUNT(gone); i++) CHECK(empty(&c, gone[i]));
	uint32_t ecx = leaf(&c, 1, 0)->ecx, ebx7 = leaf(&c, 7, 0)->ebx, ecx7 = leaf(&c, 7, 0)->ecx;
	CHECK(!bit(ecx, 3) && !bit(ecx, 5) && !bit(ecx, 15));	  /* MONITOR VMX PDCM */
	CHECK(bit(ecx, 13) && bit(ecx, 17) && bit(ecx, 26));	  /* CX16 PCID XSAVE */
	CHECK(!bit(ebx7, 4) && !bit(ebx7, 11) && !bit(ebx7, 25)); /* HLE RTM PT */
	CHECK(bit(ebx7, 5) && bit(ebx7, 7) && bit(ebx7, 16));	  /* AVX2 SMEP AVX512F */
	CHECK(!bit(ecx7, 3) && !bit(ecx7, 7) && !bit(ecx7, 16));  /* PKU CET LA57 */
	CHECK(leaf(&c, 6, 0)->eax == 4 && leaf(&c, 0x80000007, 0)->edx == 1 << 8);
	CHECK(!bit(leaf(&c, 0x80000001, 0)->ecx, 2) && bit(leaf(&c, 0x80000001, 0)->edx, 29));
}

TEST(cpuid_tells_where_the_cpu_is_and_who_runs_it)
{
	struct cpu c;
	everything(&c);
	policy(&c, &two);
	const struct kvm_cpuid_entry2 *e = leaf(&c, 1, 0);
	CHECK(e->ebx >> 24 == 1 && (e->ebx >> 16 & 0xff) == 2 && bit(e->edx, 28));
	CHECK(bit(e->ecx, 21) && bit(e->ecx, 24) && bit(e->ecx, 31) && !bit(e->ecx, 27));
	CHECK(leaf(&c, 0xb, 1)->edx == 1 && leaf(&c, 0xb, 1)->eax == 1 &&
	      leaf(&c, 0xb, 1)->ebx == 2);
	CHECK((leaf(&c, 0xb, 0)->ecx >> 8) == 1 && (leaf(&c, 0xb, 1)->ecx >> 8) == 2);
	CHECK((leaf(&c, 0xb, 2)->ecx >> 8) == 0); /* no more levels */
	e = leaf(&c, 0x40000000, 0);
	char name[13] = "";
	memcpy(name, &e->ebx, 12);
	CHECK(!strcmp(name, "KVMKVMKVM") && e->eax == 0x40000010);
	CHECK(bit(leaf(&c, 0x40000001, 0)->eax, 3) && bit(leaf(&c, 0x40000001, 0)->eax, 24));
	CHECK(!bit(leaf(&c, 0x40000001, 0)->eax, 4)); /* page faults that come later */
	CHECK(leaf(&c, 0, 0)->eax == 0x1e && leaf(&c, 0x80000000, 0)->eax == 0x80000021);
}

TEST(cpuid_without_a_lapic_offers_nothing_that_needs_one)
{
	struct cpu c;
	struct kvm_cpu_want w = {.cpus = 1, .tsc_khz = 1000000};
	everything(&c);
	policy(&c, &w);
	CHECK(!bit(leaf(&c, 1, 0)->ecx, 21) && !bit(leaf(&c, 1, 0)->ecx, 24));
	CHECK(!(leaf(&c, 0x40000001, 0)->eax & (1 << 6 | 1 << 7 | 1 << 11)));
	CHECK(!bit(leaf(&c, 1, 0)->edx, 28));
}

TEST(cpuid_frequencies_are_what_they_are)
{
	static const uint32_t khz[] = {1000000, 2596123, 3700000, 800001, 5999999, 2100000};
	for (unsigned i = 0; i < COUNT(khz); i++) {
		struct cpu c;
		struct kvm_cpu_want w = two;
		w.tsc_khz = khz[i];
		everything(&c);
		policy(&c, &w);
		const struct kvm_cpuid_entry2 *e = leaf(&c, 0x15, 0);
		CHECK(e->eax && e->ebx && e->ecx == 1000000000);
		CHECK((uint64_t)e->ecx / 1000 * e->ebx <= UINT32_MAX); /* as Linux multiplies */
		double got = (double)e->ecx * e->ebx / e->eax / 1000, off = got / khz[i] - 1;
		CHECK(off < 5e-5 && off > -5e-5);
		CHECK(leaf(&c, 0x40000010, 0)->eax == khz[i] &&
		      leaf(&c, 0x16, 0)->eax == khz[i] / 1000);
	}
}

TEST(cpuid_xsave_areas_are_as_large_as_what_is_left)
{
	struct cpu c;
	everything(&c);
	for (unsigned i = 0; i < c.n; i++) {
		if (c.at[i].function != 0xd || c.at[i].index < 2) continue;
		c.at[i].ebx = 576 + 100 * c.at[i].index; /* offset */
		c.at[i].eax = 64;
	}
	policy(&c, &two);
	const struct kvm_cpuid_entry2 *e = leaf(&c, 0xd, 0);
	CHECK(e->eax == 0xe7); /* x87 SSE AVX AVX-512 */
	CHECK(e->ecx == 576 + 700 + 64 && e->ebx == e->ecx);
	CHECK(leaf(&c, 0xd, 7)->eax == 64 && empty(&c, 0xd) == false);
	CHECK(leaf(&c, 0xd, 9)->eax == 0 && leaf(&c, 0xd, 17)->eax == 0 &&
	      leaf(&c, 0xd, 3)->eax == 0);
	CHECK(!leaf(&c, 0xd, 1)->ecx && !bit(leaf(&c, 0xd, 1)->eax, 4));
}

TEST(cpuid_of_nothing_and_without_room_is_no_crash)
{
	struct cpu c = {.n = 0};
	policy(&c, &two);
	CHECK(c.n && leaf(&c, 0x40000000, 0)->eax);
	everything(&c);
	CHECK(kvm_cpuid_policy(c.at, c.n, 3, &two) <= 3);
}
