/* Page tables in every mode, rights, A and D, fences, contexts, PMP. */
#include "engine/rig.h"

enum { TABLES = 0x100000, PAGES = 0x400000 }; /* offsets in RAM */
#define RWX (PTE_R | PTE_W | PTE_X)
#define AD  (PTE_A | PTE_D)

struct vm {
	struct rig *r;
	gpa_t root, next; /* tables: the first, and where the next one goes */
	unsigned levels;
};

static struct vm vm_new(unsigned mode, uint64_t menvcfg)
{
	struct vm v = {.r = rig_new(true), .root = RIG_RAM + TABLES, .levels = mode - 5};
	v.next = v.root + PAGE_SIZE;
	v.r->c->menvcfg = menvcfg;
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, (uint64_t)mode << 60 | v.root >> 12));
	return v;
}

/* Enter pte for va at a level, making the tables above. Returns the entry's address. */
static gpa_t vm_map(struct vm *v, gva_t va, unsigned level, uint64_t pte)
{
	gpa_t table = v->root;
	for (unsigned l = v->levels - 1;; l--) {
		gpa_t at = table + (va >> (12 + 9 * l) & 511) * 8;
		if (l == level) {
			rig_put64(v->r, at, pte);
			return at;
		}
		if (!rig_get64(v->r, at)) {
			rig_put64(v->r, at, v->next >> 12 << 10 | PTE_V);
			v->next += PAGE_SIZE;
		}
		table = rig_get64(v->r, at) >> 10 << 12;
	}
}
static uint64_t leaf(gpa_t pa, uint64_t flags) { return pa >> 12 << 10 | flags | PTE_V; }

/* One load or store of 8 bytes: cause + 1. */
static int load(struct vm *v, gva_t va)
{
	struct rv64_insn i = {.rd = 5, .rs1 = 6};
	v->r->c->x[6] = va;
	return rv64_exec_one(v->r->c, rv64_encode(OP_ld, &i));
}
static int store(struct vm *v, gva_t va, uint64_t val)
{
	struct rv64_insn i = {.rs1 = 6, .rs2 = 7};
	v->r->c->x[6] = va, v->r->c->x[7] = val;
	return rv64_exec_one(v->r->c, rv64_encode(OP_sd, &i));
}
static int sfence(struct vm *v, gva_t va, unsigned asid)
{
	struct rv64_insn i = {.rs1 = va ? 6 : 0, .rs2 = asid ? 7 : 0};
	v->r->c->x[6] = va, v->r->c->x[7] = asid;
	return rv64_exec_one(v->r->c, rv64_encode(OP_sfence_vma, &i));
}
static void priv(struct vm *v, unsigned p) { CHECK(!rv64_cpu_set(v->r->c, REG_RV_PRIV, p)); }
/* Fetch from va: 0 or the cause + 1. */
static int fetch(struct vm *v, gva_t va)
{
	v->r->c->pc = va;
	return rv64_code_enter(v->r->c) ? 0 : (int)v->r->c->cause + 1;
}

TEST(every_mode_and_level_translates)
{
	for (unsigned mode = 8; mode <= 10; mode++) {
		struct vm v = vm_new(mode, 0);
		for (unsigned level = 0; level < v.levels && level < 2; level++) {
			uint64_t size = 1ull << (12 + 9 * level), off = size / 2 + 8;
			gva_t va = 0x1540000000 + size * 3;
			gpa_t pa = RIG_RAM + PAGES + 2 * size;
			vm_map(&v, va, level, leaf(pa, RWX | AD));
			rig_put64(v.r, pa + off, mode + level);
			CHECK(load(&v, va + off) == 0 && v.r->c->x[5] == mode + level);
			CHECK(store(&v, va + off, 99) == 0 && rig_get64(v.r, pa + off) == 99);
			CHECK(fetch(&v, va + off) == 0);
		}
		rig_free(v.r);
	}
}

TEST(gigapages_and_the_upper_half_translate)
{
	struct vm v = vm_new(8, 0);
	gva_t va = 0xffffffc000000000; /* the lowest of Sv39's upper half */
	vm_map(&v, va, 2, leaf(0x80000000, RWX | AD));
	rig_put64(v.r, RIG_RAM + PAGES, 42);
	CHECK(load(&v, va + PAGES) == 0 && v.r->c->x[5] == 42);
	CHECK(load(&v, va - 8) == CAUSE_LOAD_PAGE + 1 && v.r->c->tval == va - 8);
	CHECK(load(&v, 0x4000000000) == CAUSE_LOAD_PAGE + 1);
	rig_free(v.r);
}

TEST(bad_entries_are_page_faults)
{
	static const struct {
		unsigned level;
		uint64_t pte;
		int load, store, fetch;
	} t[] = {
		{0, 0, 14, 16, 13},
		{0, PTE_R | PTE_W | AD, 14, 16, 13},			/* not valid */
		{0, PTE_V | PTE_W | AD, 14, 16, 13},			/* W without R */
		{0, PTE_V | PTE_W | PTE_X | AD, 14, 16, 13},		/* the same */
		{0, PTE_V | PTE_R | AD, 0, 16, 13},			/* read only */
		{0, PTE_V | PTE_X | AD, 14, 16, 0},			/* execute only */
		{0, PTE_V | RWX | AD | PTE_U, 14, 16, 13},		/* a user's, no SUM */
		{0, PTE_V, 14, 16, 13},					/* a table at the end */
		{1, PTE_V | PTE_A | 5ull << 10, 14, 16, 13},		/* a table with A */
		{0, PTE_V | RWX | AD | 1ull << 54, 14, 16, 13},		/* reserved bit */
		{0, PTE_V | RWX | AD | 1ull << 61, 14, 16, 13},		/* PBMT, not enabled */
		{1, PTE_V | RWX | AD | 1ull << 10, 14, 16, 13},		/* misaligned 2 MiB */
		{0, PTE_V | RWX | AD | PTE_N, 14, 16, 13},		/* no such NAPOT */
		{1, PTE_V | RWX | AD | PTE_N | 8ull << 10, 14, 16, 13}, /* NAPOT of 2 MiB */
		{0, PTE_V | RWX, 14, 16, 13},				/* A clear, Svade */
		{0, PTE_V | RWX | PTE_A, 0, 16, 0},			/* D clear, Svade */
		{1, PTE_V | 0x100ull << 10, 6, 8, 2},			/* table is no memory */
	};
	for (unsigned i = 0; i < COUNT(t); i++) {
		struct vm v = vm_new(8, 0);
		uint64_t pa = t[i].level || t[i].pte == PTE_V ? 0 : (RIG_RAM + PAGES) >> 2;
		vm_map(&v, 0x40000000, t[i].level, t[i].pte ? t[i].pte | pa : 0);
		CHECK(load(&v, 0x40000010) == t[i].load);
		CHECK(store(&v, 0x40000010, 1) == t[i].store);
		CHECK(!t[i].store || v.r->c->tval == 0x40000010);
		CHECK(fetch(&v, 0x40000010) == t[i].fetch);
		rig_free(v.r);
	}
}

TEST(hardware_sets_a_and_d)
{
	struct vm v = vm_new(8, ENVCFG_ADUE);
	gpa_t pte = vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX));
	CHECK(fetch(&v, 0x1000) == 0 && (rig_get64(v.r, pte) & AD) == PTE_A);
	CHECK(load(&v, 0x1000) == 0 && (rig_get64(v.r, pte) & AD) == PTE_A);
	CHECK(store(&v, 0x1000, 1) == 0 && (rig_get64(v.r, pte) & AD) == AD);
	/* a read entry in the TLB does not let a store by without D */
	pte = vm_map(&v, 0x2000, 0, leaf(RIG_RAM + PAGES, PTE_R | PTE_W));
	CHECK(load(&v, 0x2000) == 0 && store(&v, 0x2000, 1) == 0);
	CHECK((rig_get64(v.r, pte) & AD) == AD);
	/* no right, no mark */
	pte = vm_map(&v, 0x3000, 0, leaf(RIG_RAM + PAGES, PTE_X));
	CHECK(load(&v, 0x3000) == 14 && !(rig_get64(v.r, pte) & AD));
	rig_free(v.r);
}

TEST(napot_spans_64_kib)
{
	struct vm v = vm_new(8, ENVCFG_PBMTE);
	gpa_t pa = RIG_RAM + PAGES;
	for (unsigned i = 0; i < 16; i++)
		vm_map(&v, 0x10000 + i * 4096, 0, leaf(pa | 0x8000, RWX | AD | PTE_N));
	rig_put64(v.r, pa + 0x5008, 55);
	CHECK(load(&v, 0x15008) == 0 && v.r->c->x[5] == 55);
	vm_map(&v, 0x40000, 0, leaf(pa, RWX | AD) | 1ull << 61); /* Svpbmt: NC */
	CHECK(load(&v, 0x45008 - 0x5000) == 0);
	vm_map(&v, 0x41000, 0, leaf(pa, RWX | AD) | 3ull << 61);
	CHECK(load(&v, 0x41000) == 14);
	rig_free(v.r);
}

TEST(sum_opens_user_pages_and_closes_them_again)
{
	struct vm v = vm_new(8, 0);
	vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX | AD | PTE_U));
	vm_map(&v, 0x2000, 0, leaf(RIG_RAM + PAGES, RWX | AD));
	CHECK(load(&v, 0x1000) == 14);
	rv64_mstatus_set(v.r->c, MSTATUS_SUM);
	CHECK(load(&v, 0x1000) == 0 && store(&v, 0x1000, 7) == 0);
	CHECK(fetch(&v, 0x1000) == 13); /* SUM or not */
	rv64_mstatus_set(v.r->c, 0);
	CHECK(load(&v, 0x1000) == 14 && store(&v, 0x1000, 7) == 16);
	CHECK(load(&v, 0x2000) == 0);
	/* more pages than are remembered one by one */
	for (unsigned i = 0; i < 2 * LOCAL_LIST; i++)
		vm_map(&v, 0x100000 + i * 4096, 0, leaf(RIG_RAM + PAGES, RWX | AD | PTE_U));
	rv64_mstatus_set(v.r->c, MSTATUS_SUM);
	for (unsigned i = 0; i < 2 * LOCAL_LIST; i++) CHECK(load(&v, 0x100000 + i * 4096) == 0);
	rv64_mstatus_set(v.r->c, 0);
	for (unsigned i = 0; i < 2 * LOCAL_LIST; i++) CHECK(load(&v, 0x100000 + i * 4096) == 14);
	priv(&v, PRIV_U);
	CHECK(load(&v, 0x1000) == 0 && fetch(&v, 0x1000) == 0);
	CHECK(load(&v, 0x2000) == 14 && fetch(&v, 0x2000) == 13);
	rig_free(v.r);
}

TEST(mxr_reads_what_may_be_executed)
{
	struct vm v = vm_new(8, 0);
	vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, PTE_X | AD));
	CHECK(load(&v, 0x1000) == 14);
	rv64_mstatus_set(v.r->c, MSTATUS_MXR);
	CHECK(load(&v, 0x1000) == 0 && store(&v, 0x1000, 1) == 16);
	rv64_mstatus_set(v.r->c, 0);
	CHECK(load(&v, 0x1000) == 14);
	rig_free(v.r);
}

TEST(mprv_uses_the_previous_modes_rights)
{
	struct vm v = vm_new(8, 0);
	vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX | AD));
	vm_map(&v, 0x2000, 0, leaf(RIG_RAM + PAGES + 8, RWX | AD | PTE_U));
	rig_put64(v.r, RIG_RAM + PAGES, 11);
	priv(&v, PRIV_M);
	CHECK(load(&v, RIG_RAM + PAGES) == 0 && v.r->c->x[5] == 11);
	rv64_mstatus_set(v.r->c, MSTATUS_MPRV | 1ull << 11);
	CHECK(load(&v, 0x1000) == 0 && v.r->c->x[5] == 11);
	CHECK(load(&v, RIG_RAM + PAGES) == 14);
	CHECK(fetch(&v, RIG_RAM) == 0); /* fetches are M's */
	rv64_mstatus_set(v.r->c, MSTATUS_MPRV);
	CHECK(load(&v, 0x1000) == 14 && load(&v, 0x2000) == 0);
	rig_free(v.r);
}

TEST(fences_make_new_mappings_seen)
{
	struct vm v = vm_new(8, 0);
	gpa_t a = RIG_RAM + PAGES, b = a + PAGE_SIZE;
	rig_put64(v.r, a, 1);
	rig_put64(v.r, b, 2);
	vm_map(&v, 0x1000, 0, leaf(a, RWX | AD));
	vm_map(&v, 0x2000, 0, leaf(a, RWX | AD));
	CHECK(load(&v, 0x1000) == 0 && load(&v, 0x2000) == 0 && store(&v, 0x1000, 1) == 0);
	vm_map(&v, 0x1000, 0, leaf(b, RWX | AD));
	vm_map(&v, 0x2000, 0, leaf(b, RWX | AD));
	CHECK(sfence(&v, 0x1000, 0) == 0);
	CHECK(load(&v, 0x1000) == 0 && v.r->c->x[5] == 2);
	CHECK(store(&v, 0x1000, 3) == 0 && rig_get64(v.r, b) == 3);
	CHECK(load(&v, 0x2000) == 0 && v.r->c->x[5] == 1); /* this one was not named */
	CHECK(sfence(&v, 0, 0) == 0);
	CHECK(load(&v, 0x2000) == 0 && v.r->c->x[5] == 3);
	vm_map(&v, 0x2000, 0, 0);
	CHECK(sfence(&v, 0x2ff8, 0) == 0 && load(&v, 0x2000) == 14);
	rig_free(v.r);
}

TEST(a_fence_of_one_address_drops_all_of_its_large_page)
{
	struct vm v = vm_new(8, 0);
	gva_t va = 0x40000000;
	vm_map(&v, va, 1, leaf(RIG_RAM + PAGES, RWX | AD));
	CHECK(load(&v, va) == 0 && load(&v, va + 0x5000) == 0 && store(&v, va + 0x5000, 1) == 0);
	vm_map(&v, va, 1, 0);
	CHECK(sfence(&v, va + 0x9000, 0) == 0);
	CHECK(load(&v, va + 0x5000) == 14 && store(&v, va + 0x5000, 1) == 16);
	rig_free(v.r);
}

static void mode(struct vm *v, unsigned priv) { CHECK(!rv64_cpu_set(v->r->c, REG_RV_PRIV, priv)); }

TEST(address_spaces_are_kept_apart)
{
	struct vm v = vm_new(8, 0);
	uint64_t satp = v.r->c->satp, asid = 1ull << SATP_ASID_SHIFT;
	gpa_t a = RIG_RAM + PAGES, b = a + PAGE_SIZE, pte;
	rig_put64(v.r, a, 1);
	rig_put64(v.r, b, 2);
	pte = vm_map(&v, 0x1000, 0, leaf(a, RWX | AD | PTE_U));
	vm_map(&v, 0x2000, 0, leaf(a, RWX | AD | PTE_U));
	mode(&v, PRIV_U);
	CHECK(load(&v, 0x1000) == 0 && v.r->c->x[5] == 1);
	rig_put64(v.r, pte, leaf(b, RWX | AD | PTE_U));
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp | asid));
	CHECK(load(&v, 0x1000) == 0 && v.r->c->x[5] == 2);
	CHECK(load(&v, 0x2000) == 0);
	rig_put64(v.r, pte, 0);
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp));
	mode(&v, PRIV_S);
	CHECK(sfence(&v, 0, 2) == 0); /* a third one's */
	mode(&v, PRIV_U);
	CHECK(load(&v, 0x3000) == 14);
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp | asid));
	CHECK(load(&v, 0x1000) == 0 && v.r->c->x[5] == 2); /* kept */
	mode(&v, PRIV_S);
	CHECK(sfence(&v, 0, 1) == 0);
	mode(&v, PRIV_U);
	CHECK(load(&v, 0x1000) == 14 && load(&v, 0x2000) == 0);
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp | asid));
	CHECK(load(&v, 0x1000) == 14);
	rig_free(v.r);
}

TEST(what_is_global_stays_when_the_address_space_changes)
{
	struct vm v = vm_new(8, 0);
	uint64_t satp = v.r->c->satp, asid = 1ull << SATP_ASID_SHIFT;
	gpa_t a = vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX | AD | PTE_G));
	gpa_t b = vm_map(&v, 0x2000, 0, leaf(RIG_RAM + PAGES, RWX | AD));
	CHECK(load(&v, 0x1000) == 0 && load(&v, 0x2000) == 0);
	rig_put64(v.r, a, 0);
	rig_put64(v.r, b, 0);
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp | asid));
	CHECK(load(&v, 0x1000) == 0 && load(&v, 0x2000) == 14);
	CHECK(sfence(&v, 0, 1) == 0 && load(&v, 0x1000) == 0);
	CHECK(sfence(&v, 0, 0) == 0 && load(&v, 0x1000) == 14);
	rig_free(v.r);
}

TEST(context_numbers_run_out_safely)
{
	struct vm v = vm_new(8, 0);
	uint64_t satp = v.r->c->satp;
	vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX | AD));
	for (unsigned i = 0; i < 3 * CTX_MAX; i++) {
		uint64_t asid = (uint64_t)(i & 0xffff) << SATP_ASID_SHIFT;
		CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp | asid));
		must(v.r->c->dctx && v.r->c->dctx < CTX_MAX && v.r->c->fctx < CTX_MAX);
		if (i % 64 == 0) CHECK(load(&v, 0x1000) == 0);
	}
	rig_free(v.r);
}

TEST(faults_in_the_second_page_name_it)
{
	struct vm v = vm_new(8, 0);
	gpa_t a = RIG_RAM + PAGES;
	vm_map(&v, 0x1000, 0, leaf(a, RWX | AD));
	rig_put64(v.r, a + 0xff8, 0);
	CHECK(load(&v, 0x1ffc) == 14 && v.r->c->tval == 0x2000);
	CHECK(store(&v, 0x1ffc, ~0ull) == 16 && v.r->c->tval == 0x2000);
	CHECK(rig_get64(v.r, a + 0xff8) == 0); /* nothing was written */
	CHECK(load(&v, 0xffc) == 14 && v.r->c->tval == 0xffc);
	vm_map(&v, 0x2000, 0, leaf(a + 0x5000, RWX | AD)); /* not neighbours */
	CHECK(store(&v, 0x1ffc, 0x1122334455667788) == 0);
	CHECK(rig_get64(v.r, a + 0xff8) == 0x5566778800000000);
	CHECK(rig_get64(v.r, a + 0x5000) == 0x11223344);
	rig_free(v.r);
}

TEST(a_straddling_fetch_faults_in_the_second_page)
{
	struct vm v = vm_new(8, 0);
	gpa_t a = RIG_RAM + PAGES;
	vm_map(&v, 0x1000, 0, leaf(a, RWX | AD));
	v.r->at = a + 0xffe;
	rig_op(v.r, OP_addi, 5, 5, 0, 1);
	v.r->c->medeleg = 0;
	v.r->c->stvec = v.r->c->mtvec = RIG_RAM;
	v.r->at = RIG_RAM;
	rig_stop(v.r, 0);
	rig_run(v.r, 0x1ffe);
	CHECK(v.r->c->mcause == CAUSE_FETCH_PAGE && v.r->c->mtval == 0x2000);
	CHECK(v.r->c->mepc == 0x1ffe && v.r->c->priv == PRIV_M);
	rig_free(v.r);
}

TEST(dirty_pages_are_recorded)
{
	struct vm v = vm_new(8, 0);
	uint64_t bits = 0;
	vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX | AD));
	gmem_track(v.r->mem, true);
	CHECK(load(&v, 0x1000) == 0);
	CHECK(!gmem_dirty_take(v.r->mem, RIG_RAM + PAGES, PAGE_SIZE, &bits));
	CHECK(store(&v, 0x1008, 1) == 0);
	CHECK(gmem_dirty_take(v.r->mem, RIG_RAM + PAGES, PAGE_SIZE, &bits));
	rv64_fence(v.r->c, v.r->c, (struct fence){.kind = FENCE_OF_PAGES});
	CHECK(store(&v, 0x1010, 1) == 0);
	CHECK(gmem_dirty_take(v.r->mem, RIG_RAM + PAGES, PAGE_SIZE, &bits));
	rig_free(v.r);
}

TEST(a_fence_of_one_space_leaves_the_others)
{
	struct vm v = vm_new(8, 0);
	uint64_t satp = v.r->c->satp, asid = 1ull << SATP_ASID_SHIFT;
	gpa_t one = vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX | AD | PTE_U));
	gpa_t two = vm_map(&v, 0x2000, 0, leaf(RIG_RAM + PAGES, RWX | AD | PTE_U));
	mode(&v, PRIV_U);
	CHECK(load(&v, 0x1000) == 0);
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp | asid));
	CHECK(load(&v, 0x2000) == 0);
	rig_put64(v.r, one, 0);
	rig_put64(v.r, two, 0);
	rv64_fence(v.r->c, v.r->c, (struct fence){.kind = FENCE_OF_SPACE, .asid = 1});
	CHECK(load(&v, 0x2000) == 14);
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, satp));
	CHECK(load(&v, 0x1000) == 0);
	rv64_fence(v.r->c, v.r->c, (struct fence){.kind = FENCE_OF_SPACE, .asid = 0});
	CHECK(load(&v, 0x1000) == 14);
	rig_free(v.r);
}

/* ---- PMP ---- */
static void pmp(struct vm *v, unsigned i, unsigned cfg, uint64_t addr)
{
	uint64_t c = 0;
	unsigned csr = REG_RV_CSR + CSR_PMPCFG0 + i / 8 * 2, shift = i % 8 * 8;
	CHECK(!rv64_cpu_set(v->r->c, REG_RV_CSR + CSR_PMPADDR0 + i, addr >> 2));
	CHECK(!rv64_cpu_get(v->r->c, csr, &c));
	CHECK(!rv64_cpu_set(v->r->c, csr, (c & ~(0xffull << shift)) | (uint64_t)cfg << shift));
}

TEST(pmp_entries_match_in_order)
{
	struct vm v = vm_new(8, 0);
	gpa_t a = RIG_RAM + PAGES;
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, 0));
	pmp(&v, 0, PMP_NA4 | PMP_R, a + 8);
	pmp(&v, 1, 0, a + 0x100);
	pmp(&v, 2, PMP_TOR | PMP_R | PMP_W, a + 0x200);
	pmp(&v, 3, PMP_NAPOT, a + 0x1000 + 0x7fc); /* 4 KiB: none */
	pmp(&v, 4, PMP_NAPOT | PMP_R | PMP_W | PMP_X, (1ull << 55) - 4);
	CHECK(load(&v, a) == 0 && store(&v, a, 1) == 0);
	CHECK(load(&v, a + 8) == CAUSE_LOAD_ACCESS + 1); /* only half of it matches */
	CHECK(load(&v, a + 0x100) == 0 && store(&v, a + 0x1f8, 1) == 0);
	CHECK(fetch(&v, a + 0x1f0) == CAUSE_FETCH_ACCESS + 1 && fetch(&v, a + 0x200) == 0);
	CHECK(load(&v, a + 0x1000) == 6 && store(&v, a + 0x1ff8, 1) == 8);
	CHECK(fetch(&v, a + 0x1000) == 2 && load(&v, a + 0x2000) == 0);
	CHECK(store(&v, a + 0xffc, 1) == 8 && v.r->c->tval == a + 0x1000); /* crosses into it */
	priv(&v, PRIV_M);
	CHECK(load(&v, a + 0x1000) == 0 && fetch(&v, a + 0x1000) == 0);
	pmp(&v, 3, PMP_NAPOT | PMP_L, a + 0x1000 + 0x7fc);
	CHECK(load(&v, a + 0x1000) == 6 && fetch(&v, a + 0x1000) == 2); /* locked: M too */
	pmp(&v, 3, 0, 0);
	CHECK(load(&v, a + 0x1000) == 6); /* and not to be unlocked */
	rig_free(v.r);
}

TEST(without_pmp_entries_only_m_mode_has_memory)
{
	struct vm v = vm_new(8, 0);
	CHECK(!rv64_cpu_set(v.r->c, REG_RV_CSR + CSR_SATP, 0));
	pmp(&v, 0, 0, 0);
	CHECK(load(&v, RIG_RAM) == 6 && store(&v, RIG_RAM, 1) == 8 && fetch(&v, RIG_RAM) == 2);
	priv(&v, PRIV_M);
	CHECK(load(&v, RIG_RAM) == 0);
	rig_free(v.r);
}

TEST(page_tables_are_read_under_pmp)
{
	struct vm v = vm_new(8, 0);
	vm_map(&v, 0x1000, 0, leaf(RIG_RAM + PAGES, RWX | AD));
	pmp(&v, 0, 0, v.root);
	pmp(&v, 1, PMP_TOR, v.root + PAGE_SIZE);
	pmp(&v, 2, PMP_NAPOT | PMP_R | PMP_W | PMP_X, (1ull << 55) - 4);
	CHECK(load(&v, 0x1000) == 6 && store(&v, 0x1000, 1) == 8 && fetch(&v, 0x1000) == 2);
	rig_free(v.r);
}

TEST(code_runs_in_a_page_that_pmp_splits)
{
	struct vm v = vm_new(8, 0);
	struct rig *r = v.r;
	CHECK(!rv64_cpu_set(r->c, REG_RV_CSR + CSR_SATP, 0));
	pmp(&v, 0, PMP_TOR | PMP_R | PMP_X, RIG_RAM + 0x800);
	pmp(&v, 1, PMP_TOR | PMP_R | PMP_W, RIG_RAM + 0x1000);
	pmp(&v, 2, PMP_NAPOT | PMP_R | PMP_W | PMP_X, (1ull << 55) - 4);
	r->at = RIG_RAM + 0x7e8;
	rig_op(r, OP_addi, 5, 0, 0, 3);
	rig_op(r, OP_addi, 6, 6, 0, 1);
	rig_op(r, OP_addi, 5, 5, 0, -1);
	rig_op(r, OP_bne, 0, 5, 0, -8);
	rig_op(r, OP_addi, 7, 0, 0, 1);
	rig_op(r, OP_addi, 7, 0, 0, 2); /* last of the half that may be run */
	rig_op(r, OP_addi, 7, 0, 0, 3);
	r->c->medeleg = 0;
	r->c->mtvec = RIG_RAM + 0x2000;
	r->at = RIG_RAM + 0x2000;
	rig_stop(r, 7);
	rig_run(r, RIG_RAM + 0x7e8);
	CHECK(r->told == 2 && r->c->x[6] == 3);
	CHECK(r->c->mcause == CAUSE_FETCH_ACCESS && r->c->mepc == RIG_RAM + 0x800);
	rig_free(r);
}
