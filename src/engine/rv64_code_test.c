#include "engine/rig.h"

/* Functions of two instructions, one a page, whose first is written over and over. */
enum { A0 = 10, T0 = 5, T1 = 6, RA = 1 };
#define FN	  (RIG_RAM + 0x100000)
#define TABLE	  (RIG_RAM + 0x20000)
#define OTHER_WAY 0x40000000ull /* what to add for the same page by another address */

static uint32_t answer(int n) /* li a0, n */
{
	return rv64_encode(OP_addi, &(struct rv64_insn){.rd = A0, .imm = n});
}
static void fn_make(struct rig *r, gpa_t at, int n)
{
	r->at = at;
	rig_word(r, answer(n));
	rig_op(r, OP_jalr, 0, RA, 0, 0);
}
static uint64_t call(struct rig *r, gva_t at)
{
	r->at = RIG_RAM;
	rig_li(r, T0, at);
	rig_op(r, OP_jalr, RA, T0, 0, 0);
	rig_stop(r, A0);
	rv64_code_fence(r->c); /* for these instructions */
	rig_run(r, RIG_RAM);
	return r->told;
}
static void store(struct rig *r, gva_t at, int n)
{
	r->at = RIG_RAM + 0x1000;
	rig_li(r, T0, at);
	rig_li(r, T1, answer(n));
	rig_op(r, OP_sw, 0, T0, T1, 0);
	rig_stop(r, T1);
	rv64_code_fence(r->c);
	rig_run(r, RIG_RAM + 0x1000);
}
static void fence(struct rig *r)
{
	r->at = RIG_RAM + 0x2000;
	rig_op(r, OP_fence_i, 0, 0, 0, 0);
	rig_stop(r, 0);
	rig_run(r, RIG_RAM + 0x2000);
}

TEST(fence_i_shows_what_was_stored)
{
	struct rig *r = rig_new(false);
	fn_make(r, FN, 1);
	store(r, FN, 2); /* so that there is a write entry before it is code */
	fence(r);
	for (int n = 3; n < 20; n++) {
		CHECK(call(r, FN) == (uint64_t)n - 1);
		store(r, FN, n);
		fence(r);
		if (n % 3 == 0) { /* the entry is known, the seal is broken */
			store(r, FN, n);
			fence(r);
		}
	}
	rig_free(r);
}

TEST(fence_i_shows_what_a_device_wrote)
{
	struct rig *r = rig_new(false);
	fn_make(r, FN, 0);
	for (int n = 1; n < 10; n++) {
		CHECK(call(r, FN) == (uint64_t)n - 1);
		fn_make(r, FN, n);
		fence(r);
	}
	rig_free(r);
}

TEST(fence_i_shows_all_of_many_pages)
{
	struct rig *r = rig_new(false);
	enum { PAGES = 3 * GMEM_NOTES };
	for (int n = 0; n < 3; n++) {
		for (int i = 0; i < PAGES; i++) store(r, FN + 4096u * (unsigned)i, n + i);
		for (int i = 0; i < PAGES; i++) fn_make(r, FN + 4096u * (unsigned)i, n + i);
		fence(r);
		for (int i = 0; i < PAGES; i++)
			CHECK(call(r, FN + 4096u * (unsigned)i) == (uint64_t)(n + i));
	}
	rig_free(r);
}

static struct rig *mapped_twice(void)
{
	struct rig *r = rig_new(false);
	uint64_t leaf = RIG_RAM >> 12 << 10 | PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D;
	rig_put64(r, TABLE + 8 * 2, leaf);
	rig_put64(r, TABLE + 8 * 3, leaf);
	rig_put64(r, TABLE, PTE_V | PTE_R | PTE_W | PTE_A | PTE_D);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_PMPCFG0, PMP_NAPOT | PMP_R | PMP_W | PMP_X);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_PMPADDR0, (1ull << 54) - 1);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_SATP, 8ull << 60 | TABLE >> 12);
	(void)rv64_cpu_set(r->c, REG_RV_PRIV, PRIV_S);
	return r;
}

TEST(fence_i_reaches_all_addresses_of_a_page)
{
	struct rig *r = mapped_twice();
	fn_make(r, FN, 1);
	for (int n = 1; n < 20; n++) {
		CHECK(call(r, FN) == (uint64_t)n);
		CHECK(call(r, FN + OTHER_WAY) == (uint64_t)n);
		store(r, n % 2 ? FN : FN + OTHER_WAY, n + 1);
		fence(r);
	}
	rig_free(r);
}

TEST(a_page_that_did_not_change_stays_where_it_is)
{
	struct rig *r = rig_new(false);
	fn_make(r, FN, 1);
	(void)call(r, FN);
	fence(r);
	(void)call(r, FN);
	fence(r); /* by now all four pages are known and sealed */
	uint64_t before = atomic_load(&r->c->counts[COUNT_FETCH_MISS]);
	r->at = RIG_RAM;
	for (int i = 0; i < 5; i++) rig_run(r, RIG_RAM), fence(r);
	CHECK(atomic_load(&r->c->counts[COUNT_FETCH_MISS]) - before <= 5); /* fence() writes code */
	rig_free(r);
}
