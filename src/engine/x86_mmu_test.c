#include "engine/x86_context.h"
#include "engine/x86_rig.h"
#include <pthread.h>
#include <sys/mman.h>

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128, G = 256 };
enum { CODE_P = 1, CODE_W = 2, CODE_U = 4, CODE_RSVD = 8, CODE_X = 16 };
#define NX (1ull << 63)
#define LA 0x7f0000400000ull

static struct x86_rig *paged(void)
{
	struct x86_rig *r = x86_rig_new();
	x86_rig_flat(r, X86_64, 0);
	x86_rig_paging(r);
	return r;
}
/* The error code, or -1 if there is no fault, -2 if it is none of a page's. */
static int code_of(struct x86_rig *r, uint64_t la, unsigned access, enum x86_view as)
{
	struct x86_page_found pg;
	int e = x86_translate(r->v, la, access, as, &pg);
	if (e == X86_TRAP_PF) CHECK(r->v->fault == la);
	return !e ? -1 : e == X86_TRAP_PF ? (int)r->v->code : -2;
}

TEST(x86_mmu_maps_and_marks)
{
	struct x86_rig *r = paged();
	struct x86_page_found pg;
	gpa_t at = x86_rig_map(r, LA, 0x5000, P | W | U, 0);
	x86_rig_put(r, 0x5008, 0x1122334455667788, 8);
	uint64_t val = 0;
	CHECK(!x86_load(r->v, LA + 8, &val, 8, X86_VIEW_USER) && val == 0x1122334455667788);
	CHECK(x86_rig_get(r, at, 8) == (0x5000 | P | W | U | A));
	CHECK(x86_rig_get(r, X86_RIG_TABLES + (LA >> 39 & 511) * 8, 8) & A);
	CHECK(r->v->tlb[X86_VIEW_USER][x86_tlb_index(LA)].rd == LA);
	CHECK(r->v->tlb[X86_VIEW_USER][x86_tlb_index(LA)].wr != LA); /* D is not set */
	val = 7;
	CHECK(!x86_store(r->v, LA + 16, &val, 8, X86_VIEW_USER) && x86_rig_get(r, 0x5010, 8) == 7);
	CHECK(x86_rig_get(r, at, 8) & D);
	CHECK(r->v->tlb[X86_VIEW_USER][x86_tlb_index(LA)].wr == LA);
	CHECK(!x86_translate(r->v, LA + 123, X86_R, X86_VIEW_USER, &pg));
	CHECK(pg.at == 0x5000 && pg.user && pg.writable && pg.dirty && !pg.large && !pg.global);
	x86_rig_free(r);
}

TEST(x86_mmu_error_codes)
{
	struct x86_rig *r = paged();
	x86_rig_map(r, LA, 0x5000, P | U, 0);
	x86_rig_map(r, LA + 0x1000, 0x6000, P | W, 0);
	x86_rig_map(r, LA + 0x2000, 0x7000, P | W | U | NX, 0);
	x86_rig_map(r, LA + 0x3000, 0x7000, P | W | U | 1ull << 50, 0);
	CHECK(code_of(r, LA + 0x4000, X86_R, X86_VIEW_BOTH) == 0);
	CHECK(code_of(r, LA + 0x4000, X86_W, X86_VIEW_USER) == (CODE_W | CODE_U));
	CHECK(code_of(r, LA + 0x4000, X86_X, X86_VIEW_USER) == (CODE_X | CODE_U));
	CHECK(code_of(r, LA, X86_R, X86_VIEW_USER) == -1);
	CHECK(code_of(r, LA, X86_W, X86_VIEW_USER) == (CODE_P | CODE_W | CODE_U));
	CHECK(code_of(r, LA, X86_W, X86_VIEW_BOTH) == (CODE_P | CODE_W));
	CHECK(code_of(r, LA + 0x1000, X86_R, X86_VIEW_USER) == (CODE_P | CODE_U));
	CHECK(code_of(r, LA + 0x1000, X86_W, X86_VIEW_KERNEL) == -1);
	CHECK(code_of(r, LA + 0x2000, X86_X, X86_VIEW_USER) == (CODE_P | CODE_X | CODE_U));
	CHECK(code_of(r, LA + 0x3000, X86_R, X86_VIEW_USER) == (CODE_P | CODE_RSVD | CODE_U));
	CHECK(code_of(r, 0x800000000000, X86_R, X86_VIEW_USER) == -2);
	r->v->efer &= ~(uint64_t)EFER_NXE; /* then NX is a reserved bit, and X is not told */
	CHECK(code_of(r, LA + 0x2000, X86_X, X86_VIEW_USER) == (CODE_P | CODE_RSVD | CODE_U));
	x86_rig_free(r);
}

TEST(x86_mmu_wp_smep_smap)
{
	struct x86_rig *r = paged();
	x86_rig_map(r, LA, 0x5000, P | U, 0);
	CHECK(!x86_cr0_write(r->v, r->v->cr0 & ~(uint64_t)CR0_WP));
	CHECK(code_of(r, LA, X86_W, X86_VIEW_BOTH) == -1);
	CHECK(code_of(r, LA, X86_W, X86_VIEW_USER) == (CODE_P | CODE_W | CODE_U));
	CHECK(code_of(r, LA, X86_X, X86_VIEW_BOTH) == -1);
	CHECK(r->v->view == X86_VIEW_BOTH);
	CHECK(!x86_cr4_write(r->v, r->v->cr4 | CR4_SMEP | CR4_SMAP));
	CHECK(r->v->view == X86_VIEW_KERNEL);
	CHECK(code_of(r, LA, X86_X, X86_VIEW_BOTH) == (CODE_P | CODE_X));
	CHECK(code_of(r, LA, X86_X, X86_VIEW_USER) == -1);
	CHECK(code_of(r, LA, X86_R, X86_VIEW_KERNEL) == CODE_P);
	r->v->cpu.flags |= X86_AC;
	x86_mode_update(r->v);
	CHECK(r->v->view == X86_VIEW_BOTH && code_of(r, LA, X86_R, r->v->view) == -1);
	CHECK(x86_system_view(r->v) == X86_VIEW_KERNEL);
	x86_rig_free(r);
}

TEST(x86_mmu_large_pages)
{
	struct x86_rig *r = paged();
	uint32_t val = 0;
	x86_rig_map(r, LA, 0x200000, P | W | U | PS, 1);
	x86_rig_map(r, LA + (1ull << 30), 0, P | W | U | PS, 2);
	x86_rig_map(r, LA + (2ull << 30), 0x2000, P | W | U | PS, 1); /* bit 13 is reserved */
	x86_rig_put(r, 0x312344, 0xabcd, 4);
	CHECK(!x86_load(r->v, LA + 0x112344, &val, 4, X86_VIEW_USER) && val == 0xabcd);
	val = 0;
	CHECK(!x86_load(r->v, ((LA + (1ull << 30)) & ~0x3fffffffull) + 0x312344, &val, 4,
			X86_VIEW_USER) &&
	      val == 0xabcd);
	CHECK(code_of(r, LA + (2ull << 30), X86_R, X86_VIEW_USER) == (CODE_P | CODE_RSVD | CODE_U));
	/* invlpg of any address in it takes all of it */
	x86_tlb_flush_page(r->v, LA + 0x1000);
	CHECK(r->v->tlb[X86_VIEW_USER][x86_tlb_index(LA + 0x112344)].rd !=
	      ((LA + 0x112344) & ~0xfffull));
	x86_rig_free(r);
}

TEST(x86_mmu_flushes)
{
	struct x86_rig *r = paged();
	struct x86_vcpu *v = r->v;
	uint8_t b;
	CHECK(!x86_cr4_write(v, v->cr4 | CR4_PGE));
	x86_rig_map(r, LA, 0x5000, P | W | U, 0);
	x86_rig_map(r, LA + 0x1000, 0x6000, P | W | U | G, 0);
	CHECK(!x86_load(v, LA, &b, 1, X86_VIEW_USER) &&
	      !x86_load(v, LA + 0x1000, &b, 1, X86_VIEW_USER));
	CHECK(!x86_cr3_write(v, v->cr3));
	CHECK(v->tlb[X86_VIEW_USER][x86_tlb_index(LA)].rd != LA);
	CHECK(v->tlb[X86_VIEW_USER][x86_tlb_index(LA + 0x1000)].rd == LA + 0x1000);
	for (unsigned i = 0; i < 300; i++) { /* more than are noted */
		x86_rig_map(r, LA + 0x2000 + i * 4096ull, 0x5000, P | W | U, 0);
		CHECK(!x86_load(v, LA + 0x2000 + i * 4096ull, &b, 1, X86_VIEW_USER));
	}
	CHECK(!x86_cr3_write(v, v->cr3));
	for (unsigned i = 0; i < 300; i++) {
		uint64_t la = LA + 0x2000 + i * 4096ull;
		CHECK(v->tlb[X86_VIEW_USER][x86_tlb_index(la)].rd != la);
	}
	CHECK(v->tlb[X86_VIEW_USER][x86_tlb_index(LA + 0x1000)].rd == LA + 0x1000);
	x86_tlb_flush_page(v, LA + 0x1fff);
	CHECK(v->tlb[X86_VIEW_USER][x86_tlb_index(LA + 0x1000)].rd != LA + 0x1000);
	x86_rig_free(r);
}

TEST(x86_mmu_accesses_cross_pages)
{
	struct x86_rig *r = paged();
	struct x86_vcpu *v = r->v;
	uint8_t in[64], out[64] = {0};
	for (unsigned i = 0; i < 64; i++) in[i] = (uint8_t)(i + 1);
	x86_rig_map(r, LA, 0x5000, P | W | U, 0);
	x86_rig_map(r, LA + 0x1000, 0x9000, P | W | U, 0);
	CHECK(!x86_store(v, LA + 0x1000 - 20, in, 64, X86_VIEW_USER));
	CHECK(!x86_load(v, LA + 0x1000 - 20, out, 64, X86_VIEW_USER) && !memcmp(in, out, 64));
	CHECK(x86_rig_get(r, 0x5fff, 1) == 20 && x86_rig_get(r, 0x9000, 1) == 21);
	/* Nothing is written if the second page faults. */
	CHECK(x86_store(v, LA + 0x2000 - 4, in + 8, 8, X86_VIEW_USER) == X86_TRAP_PF);
	CHECK(v->fault == LA + 0x2000 && x86_rig_get(r, 0x9ffc, 4) == 0);
	uint64_t want = 0, to = 0x55;
	v->view = X86_VIEW_USER;
	CHECK(!x86_mem_ops.load(&v->cpu, LA + 0xffc, &want, 8));
	uint64_t was = want;
	CHECK(!x86_mem_ops.cas(&v->cpu, LA + 0xffc, &want, &to, 8) && want == was);
	want = 1;
	CHECK(!x86_mem_ops.cas(&v->cpu, LA + 0xffc, &want, &to, 8) && want == 0x55);
	uint32_t w4 = 0, t4 = 9;
	CHECK(!x86_mem_ops.cas(&v->cpu, LA + 0x101, &w4, &t4, 4));
	CHECK(x86_rig_get(r, 0x5101, 4) == 9);
	uint64_t w16[2] = {0}, t16[2] = {3, 4};
	CHECK(!x86_mem_ops.cas(&v->cpu, LA + 0x200, w16, t16, 16));
	CHECK(!x86_mem_ops.cas(&v->cpu, LA + 0x308, w16, t16, 16));
	CHECK(x86_rig_get(r, 0x5208, 8) == 4 && x86_rig_get(r, 0x5310, 8) == 4);
	x86_rig_free(r);
}

TEST(x86_mmu_devices_rom_tracking)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	uint32_t val = 0;
	x86_rig_flat(r, X86_32, 0);
	CHECK(!x86_load(v, X86_RIG_DEVICE + 4, &val, 4, v->view) && val == 0x59 && r->reads == 1);
	val = 0x1234;
	CHECK(!x86_store(v, X86_RIG_DEVICE + 8, &val, 4, v->view) && r->noted == 0x1234);
	CHECK(!x86_tlb_find(v, X86_RIG_DEVICE, false, v->view));
	CHECK(x86_tlb_find(v, X86_RIG_ROM, false, v->view) &&
	      !x86_tlb_find(v, X86_RIG_ROM, true, v->view));
	CHECK(!x86_store(v, X86_RIG_ROM, &val, 4, v->view) && !x86_rig_get(r, X86_RIG_ROM, 4));
	CHECK(x86_tlb_find(v, 0x1000, true, v->view));
	gmem_track(r->mem, true);
	x86_fence(v, v);
	uint64_t bits = 0;
	CHECK(x86_tlb_find(v, 0x1000, false, v->view) && !x86_tlb_look(v, 0x1000, true, v->view));
	CHECK(!gmem_dirty_take(r->mem, 0, 64 * 4096, &bits));
	CHECK(x86_tlb_find(v, 0x1000, true, v->view));
	CHECK(gmem_dirty_take(r->mem, 0, 64 * 4096, &bits) && bits == 2);
	x86_fence(v, v);
	CHECK(!x86_tlb_look(v, 0x1000, true, v->view));
	CHECK(!x86_store(v, 0x1000, &val, 4, v->view));
	CHECK(gmem_dirty_take(r->mem, 0, 64 * 4096, &bits) && bits == 2);
	x86_rig_free(r);
}

TEST(x86_mmu_32_bit_and_pae)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	uint32_t val = 0;
	x86_rig_flat(r, X86_32, 0);
	v->cr3 = X86_RIG_TABLES;
	x86_rig_put(r, 0x5004, 0x77, 4);
	x86_rig_put(r, X86_RIG_TABLES + 4, (X86_RIG_TABLES + 0x1000) | P | W | U, 4);
	x86_rig_put(r, X86_RIG_TABLES + 0x1000, 0x5000 | P | W, 4);
	x86_rig_put(r, X86_RIG_TABLES + 8, 0 | P | W | PS, 4);
	CHECK(!x86_cr4_write(v, CR4_PSE) && !x86_cr0_write(v, v->cr0 | CR0_PG));
	CHECK(!x86_load(v, 0x400004, &val, 4, v->view) && val == 0x77);
	CHECK(x86_rig_get(r, X86_RIG_TABLES + 0x1000, 4) == (0x5000 | P | W | A));
	val = 0;
	CHECK(!x86_load(v, 0x805004, &val, 4, v->view) && val == 0x77); /* 4 MiB */
	CHECK(code_of(r, 0x400000, X86_W, X86_VIEW_USER) == (CODE_P | CODE_W | CODE_U));
	CHECK(code_of(r, 0xc00000, X86_X, X86_VIEW_USER) == CODE_U); /* X only with NX or SMEP */
	/* PAE: reserved bits of the four registers are seen when they are loaded */
	x86_rig_put(r, X86_RIG_TABLES, 6 | P, 8);
	CHECK(x86_cr4_write(v, CR4_PAE) == X86_TRAP_GP && v->cr4 == CR4_PSE);
	x86_rig_put(r, X86_RIG_TABLES, (X86_RIG_TABLES + 0x1000) | P, 8);
	x86_rig_put(r, X86_RIG_TABLES + 8, 0, 8);
	x86_rig_put(r, X86_RIG_TABLES + 0x1000, 0 | P | W | PS, 8);
	CHECK(!x86_cr4_write(v, CR4_PAE));
	val = 0;
	CHECK(!x86_load(v, 0x5004, &val, 4, v->view) && val == 0x77);
	CHECK(code_of(r, 0x40000000, X86_R, X86_VIEW_BOTH) == 0);
	x86_rig_put(r, X86_RIG_TABLES + 0x1008, 0x200000 | P | W | PS | 1ull << 55, 8);
	CHECK(code_of(r, 0x200000, X86_R, X86_VIEW_BOTH) == (CODE_P | CODE_RSVD));
	x86_rig_free(r);
}

/* The value at LA, by the TLB's entry of it if there is one. */
static uint64_t value_of(struct x86_rig *r)
{
	uint64_t val = 0;
	CHECK(!x86_load(r->v, LA, &val, 8, X86_VIEW_USER));
	return val;
}
TEST(x86_mmu_keeps_by_pcid)
{
	enum { ONE = X86_RIG_TABLES | 1, TWO = X86_RIG_TABLES | 2 };
	const uint64_t keep = 1ull << 63;
	struct x86_rig *r = paged();
	struct x86_vcpu *v = r->v;
	x86_rig_put(r, 0x5000, 5, 8);
	x86_rig_put(r, 0x6000, 6, 8);
	CHECK(!x86_cr4_write(v, v->cr4 | CR4_PCIDE | CR4_PGE));
	gpa_t at = x86_rig_map(r, LA, 0x5000, P | W | U, 0);
	CHECK(!x86_cr3_write(v, ONE) && value_of(r) == 5);
	CHECK(!x86_cr3_write(v, TWO)); /* has seen nothing yet */
	x86_rig_put(r, at, 0x6000 | P | W | U, 8);
	CHECK(value_of(r) == 6);
	CHECK(!x86_cr3_write(v, ONE | keep) && value_of(r) == 5);
	CHECK(!x86_cr3_write(v, TWO | keep) && value_of(r) == 6);
	CHECK(!x86_cr3_write(v, ONE) && value_of(r) == 6); /* asked to forget */
	x86_rig_put(r, at, 0x5000 | P | W | U, 8);
	CHECK(!x86_cr3_write(v, TWO | keep) && value_of(r) == 6);
	x86_tlb_flush_page(v, LA);
	CHECK(value_of(r) == 5);
	CHECK(!x86_cr3_write(v, ONE | keep) && value_of(r) == 6);
	CHECK(!x86_cr3_write(v, TWO | keep));
	x86_context_drop(v, 1); /* invpcid */
	CHECK(!x86_cr3_write(v, ONE | keep) && value_of(r) == 5);
	CHECK(!x86_cr3_write(v, TWO | keep));
	x86_rig_put(r, at, 0x6000 | P | W | U, 8);
	x86_tlb_flush(v, true);
	CHECK(!x86_cr3_write(v, ONE | keep) && value_of(r) == 6);
	/* What is kept must not be written by when its page gets code. */
	uint64_t val = 6;
	CHECK(!x86_store(v, LA, &val, 8, X86_VIEW_USER));
	CHECK(x86_tlb_look(v, LA, true, X86_VIEW_USER));
	CHECK(!x86_cr3_write(v, TWO | keep));
	x86_tlb_flush_writes(v, 0x6000);
	CHECK(!x86_cr3_write(v, ONE | keep) && !x86_tlb_look(v, LA, true, X86_VIEW_USER));
	x86_rig_free(r);
}

TEST(x86_mmu_peek_changes_nothing)
{
	struct x86_rig *r = paged();
	gpa_t at = x86_rig_map(r, LA, 0x5000, P | U, 0), gpa = 0;
	CHECK(x86_peek(r->v, LA + 5, &gpa) && gpa == 0x5005);
	CHECK(x86_rig_get(r, at, 8) == (0x5000 | P | U));
	CHECK(!x86_peek(r->v, LA + 0x1000, &gpa));
	x86_rig_free(r);
}

#if defined(__x86_64__)
/* Against a neighbour who has the same two pages beside each other, as user code in a window has.
 */
enum { ACROSS_TURNS = 6000, BEFORE_END = 3 };
struct adder {
	void *at;
	uint64_t n;
	_Atomic bool enough;
};
static void *adds(void *ctx)
{
	struct adder *a = ctx;
	for (; !a->enough; a->n++) {
		__asm__ volatile("lock incq (%0)" : : "r"(a->at) : "memory", "cc");
		for (unsigned k = 0; k < 8; k++) __builtin_ia32_pause(); /* both come to it */
	}
	return NULL;
}
static void sums(struct x86_rig *r, gpa_t first, gpa_t second)
{
	uint64_t la = LA + X86_PAGE - BEFORE_END, was = 0, ok = 0;
	x86_rig_map(r, LA, first, P | W | U, 0);
	x86_rig_map(r, LA + X86_PAGE, second, P | W | U, 0);
	x86_tlb_flush(r->v, true);
	uint8_t *two = mmap(NULL, 2 * X86_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(two != MAP_FAILED && gmem_map(r->mem, first, X86_PAGE, two, true, true));
	CHECK(gmem_map(r->mem, second, X86_PAGE, two + X86_PAGE, true, true));
	struct adder other = {.at = two + X86_PAGE - BEFORE_END};
	pthread_t t;
	CHECK(!pthread_create(&t, NULL, adds, &other));
	while (ok < ACROSS_TURNS) {
		uint64_t want = was, to = was + 1;
		CHECK(!x86_mem_ops.cas(&r->v->cpu, la, &was, &to, 8));
		if (was == want) ok++, was = to;
	}
	other.enough = true;
	(void)pthread_join(t, NULL);
	CHECK(!x86_load(r->v, la, &was, 8, X86_VIEW_BOTH) && was == ACROSS_TURNS + other.n);
	(void)munmap(two, 2 * X86_PAGE);
}
TEST(x86_mmu_swaps_across_pages_at_once)
{
	struct x86_rig *r = paged();
	sums(r, 0x5000, 0x9000);
	sums(r, 0xb000, 0xc000);
	x86_rig_free(r);
}
#endif
