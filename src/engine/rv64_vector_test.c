/* What test/isa/vector.sh cannot see from user mode: mstatus.VS, traps in the middle of a load or
 * store and going on behind them, fault-only-first at the end of a page, devices. */
#include "engine/engine.h"
#include "engine/rig.h"
#include "engine/rv64_vector.h"
#include <stdio.h>

enum { TABLES = 0x100000, PAGES = 0x400000 }; /* offsets in RAM */
#define VA   0x40000000ull
#define LEAF (PTE_V | PTE_R | PTE_W | PTE_A | PTE_D)

static struct rig *vector_rig(void)
{
	struct rig *r = rig_new(false);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, 1 << 9 | 1 << 13);
	return r;
}
static int run(struct rig *r, enum rv64_op op, unsigned rd, unsigned rs1, unsigned rs2, int32_t imm)
{
	struct rv64_insn i = {.imm = imm,
			      .rd = (uint8_t)rd,
			      .rs1 = (uint8_t)rs1,
			      .rs2 = (uint8_t)rs2,
			      .rs3 = 2,
			      .rm = 1};
	return rv64_exec_one(r->c, rv64_encode(op, &i));
}
static int masked(struct rig *r, enum rv64_op op, unsigned rd, unsigned rs1, unsigned rs2)
{
	struct rv64_insn i = {
		.rd = (uint8_t)rd, .rs1 = (uint8_t)rs1, .rs2 = (uint8_t)rs2, .rs3 = 2};
	return rv64_exec_one(r->c, rv64_encode(op, &i));
}
static uint64_t csr(struct rig *r, unsigned number)
{
	uint64_t v = 0;
	CHECK(!rv64_cpu_get(r->c, REG_RV_CSR + number, &v));
	return v;
}
static void set_vtype(struct rig *r, unsigned vl, unsigned vtype)
{
	r->c->x[1] = vl;
	CHECK(!run(r, OP_vsetvli, 0, 1, 0, (int32_t)vtype));
	CHECK(csr(r, CSR_VL) == vl);
}
enum { ILLEGAL = CAUSE_ILLEGAL + 1 };

TEST(vectors_are_off_until_mstatus_says_so)
{
	struct rig *r = rig_new(false);
	CHECK(run(r, OP_vsetvli, 1, 0, 0, 0) == ILLEGAL);
	CHECK(run(r, OP_vl1re8_v, 0, 2, 0, 0) == ILLEGAL &&
	      run(r, OP_vadd_vv, 1, 2, 3, 0) == ILLEGAL);
	CHECK(run(r, OP_csrrs, 1, 0, 0, CSR_VLENB) == ILLEGAL);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, 1 << 9);
	CHECK(csr(r, CSR_VTYPE) == VTYPE_ILL && csr(r, CSR_VL) == 0 && csr(r, CSR_VLENB) == 16);
	CHECK(run(r, OP_vadd_vv, 1, 2, 3, 0) == ILLEGAL); /* vill */
	CHECK((csr(r, CSR_MSTATUS) & MSTATUS_VS) == 1 << 9);
	CHECK(!run(r, OP_vsetvli, 1, 0, 0, 0) && r->c->x[1] == 16);
	CHECK((csr(r, CSR_MSTATUS) & (MSTATUS_VS | MSTATUS_SD)) == (MSTATUS_VS | MSTATUS_SD));
	CHECK((csr(r, CSR_SSTATUS) & MSTATUS_VS) == MSTATUS_VS);
	CHECK(!run(r, OP_vadd_vv, 1, 2, 3, 0));
	CHECK(run(r, OP_vfmv_v_f, 1, 2, 3, 0) == ILLEGAL); /* FS is off */
	rig_free(r);
}

TEST(a_csr_write_makes_vector_state_dirty)
{
	struct rig *r = vector_rig();
	CHECK((csr(r, CSR_MSTATUS) & MSTATUS_VS) == 1 << 9);
	r->c->x[1] = 0x1ff;
	CHECK(!run(r, OP_csrrw, 0, 1, 0, CSR_VSTART) && csr(r, CSR_VSTART) == 0x7f);
	CHECK((csr(r, CSR_MSTATUS) & MSTATUS_VS) == MSTATUS_VS);
	CHECK(!run(r, OP_csrrw, 0, 1, 0, CSR_VCSR) && csr(r, CSR_VCSR) == 7);
	CHECK(csr(r, CSR_VXRM) == 3 && csr(r, CSR_VXSAT) == 1);
	rig_free(r);
}

TEST(vector_registers_have_numbers)
{
	struct rig *r = vector_rig();
	uint64_t v = 0;
	for (unsigned i = 0; i < 64; i++) CHECK(!rv64_cpu_set(r->c, REG_RV_V + i, i * 3));
	for (unsigned i = 0; i < 64; i++)
		CHECK(!rv64_cpu_get(r->c, REG_RV_V + i, &v) && v == i * 3);
	CHECK(load_le(V_AT(r->c, 5) + 8, 8) == 11 * 3);
	CHECK(!rv64_cpu_set(r->c, REG_RV_CSR + CSR_VTYPE, 0xd8));
	CHECK(!rv64_cpu_set(r->c, REG_RV_CSR + CSR_VL, 2) && csr(r, CSR_VL) == 2);
	CHECK(csr(r, CSR_VTYPE) == 0xd8 && !rv64_cpu_set(r->c, REG_RV_CSR + CSR_VL, 9));
	CHECK(csr(r, CSR_VL) == 2);
	rig_free(r);
}

/* S-mode with one page at VA and nothing behind it. */
static struct rig *paged(void)
{
	struct rig *r = rig_new(true);
	gpa_t root = RIG_RAM + TABLES;
	rig_put64(r, root + (VA >> 30) * 8, (root + 4096) >> 12 << 10 | PTE_V);
	rig_put64(r, root + 4096, (root + 8192) >> 12 << 10 | PTE_V);
	rig_put64(r, root + 8192, (RIG_RAM + PAGES) >> 12 << 10 | LEAF);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_SATP, 8ull << 60 | root >> 12);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_SSTATUS, 1 << 9);
	for (unsigned i = 0; i < 8192; i += 8)
		rig_put64(r, RIG_RAM + PAGES + i, i * 0x0101010101010101ull);
	return r;
}
static void map_second(struct rig *r)
{
	gpa_t root = RIG_RAM + TABLES;
	rig_put64(r, root + 8200, (RIG_RAM + PAGES + 4096) >> 12 << 10 | LEAF);
	CHECK(!run(r, OP_sfence_vma, 0, 0, 0, 0));
}

TEST(a_load_goes_on_where_it_trapped)
{
	struct rig *r = paged();
	uint8_t want[128];
	set_vtype(r, 32, 0xd3); /* e32, m8 */
	r->c->x[2] = VA + 4096 - 50;
	CHECK(run(r, OP_vle32_v, 8, 2, 0, 0) == CAUSE_LOAD_PAGE + 1);
	CHECK(r->c->tval == VA + 4096 && csr(r, CSR_VSTART) == 12 && csr(r, CSR_VL) == 32);
	V_AT(r->c, 8)[0] = 0xaa; /* what has been loaded is not loaded again */
	map_second(r);
	CHECK(!run(r, OP_vle32_v, 8, 2, 0, 0) && csr(r, CSR_VSTART) == 0);
	must(gmem_read(r->mem, RIG_RAM + PAGES + 4096 - 50, want, sizeof(want)));
	CHECK(V_AT(r->c, 8)[0] == 0xaa && !memcmp(&V_AT(r->c, 8)[1], want + 1, 127));
	rig_free(r);
}

TEST(a_store_of_segments_goes_on_where_it_trapped)
{
	struct rig *r = paged();
	set_vtype(r, 16, 0xc0); /* e8, m1 */
	for (unsigned i = 0; i < 16; i++) V_AT(r->c, 4)[i] = (uint8_t)(0x40 + i);
	for (unsigned i = 0; i < 16; i++) V_AT(r->c, 5)[i] = (uint8_t)(0x80 + i);
	r->c->x[2] = VA + 4096 - 9; /* the fifth segment is half there */
	CHECK(run(r, OP_vsseg_e8_v, 4, 2, 0, 0) == CAUSE_STORE_PAGE + 1);
	CHECK(r->c->tval == VA + 4096 && csr(r, CSR_VSTART) == 4);
	map_second(r);
	CHECK(!run(r, OP_vsseg_e8_v, 4, 2, 0, 0) && csr(r, CSR_VSTART) == 0);
	for (unsigned i = 0; i < 32; i++) {
		uint8_t b = 0;
		must(gmem_read(r->mem, RIG_RAM + PAGES + 4096 - 9 + i, &b, 1));
		CHECK(b == (i & 1 ? 0x80 : 0x40) + i / 2);
	}
	rig_free(r);
}

TEST(a_strided_load_goes_on_where_it_trapped)
{
	struct rig *r = paged();
	set_vtype(r, 2, 0xd8); /* e64, m1 */
	r->c->x[2] = VA + 8;
	r->c->x[3] = 4096;
	CHECK(run(r, OP_vlse64_v, 4, 2, 3, 0) == CAUSE_LOAD_PAGE + 1);
	CHECK(r->c->tval == VA + 4096 + 8 && csr(r, CSR_VSTART) == 1);
	map_second(r);
	CHECK(!run(r, OP_vlse64_v, 4, 2, 3, 0));
	CHECK(load_le(V_AT(r->c, 4), 1) == 8 && load_le(V_AT(r->c, 4) + 8, 1) == 8);
	rig_free(r);
}

TEST(fault_only_first_ends_at_the_page)
{
	struct rig *r = paged();
	set_vtype(r, 16, 0xc0);
	r->c->x[2] = VA + 4096 - 5;
	CHECK(!run(r, OP_vle8ff_v, 4, 2, 0, 0) && csr(r, CSR_VL) == 5);
	set_vtype(r, 8, 0xc0); /* segments of two: only whole ones */
	CHECK(!run(r, OP_vlseg_e8ff_v, 4, 2, 0, 0) && csr(r, CSR_VL) == 2);
	set_vtype(r, 16, 0xc0);
	r->c->x[2] = VA + 4096; /* the first one does trap */
	CHECK(run(r, OP_vle8ff_v, 4, 2, 0, 0) == CAUSE_LOAD_PAGE + 1);
	CHECK(csr(r, CSR_VL) == 16 && csr(r, CSR_VSTART) == 0);
	store_le(V_AT(r->c, 0), 0xfffe, 8); /* but not if it is masked off */
	r->c->x[2] = VA + 4096;
	CHECK(!masked(r, OP_vle8ff_v, 4, 2, 0) && csr(r, CSR_VL) == 1);
	rig_free(r);
}

TEST(what_is_masked_off_is_not_touched)
{
	struct rig *r = paged();
	set_vtype(r, 16, 0xc0);
	store_le(V_AT(r->c, 0), 0x001f, 8);
	r->c->x[2] = VA + 4096 - 5;
	CHECK(!masked(r, OP_vle8_v, 4, 2, 0) && !masked(r, OP_vse8_v, 4, 2, 0));
	CHECK(masked(r, OP_vle8_v, 0, 2, 0) == ILLEGAL); /* over the mask */
	rig_free(r);
}

TEST(vectors_reach_devices_element_by_element)
{
	struct rig *r = vector_rig();
	set_vtype(r, 4, 0xd1); /* e32, m2 */
	r->c->x[2] = RIG_STOP + 16;
	CHECK(!run(r, OP_vle32_v, 4, 2, 0, 0) && r->loads == 4);
	CHECK(load_le(V_AT(r->c, 4) + 4, 4) == 0x55667788 + 20);
	atomic_store(&r->c->poll, 0);
	CHECK(!run(r, OP_vse32_v, 4, 2, 0, 0) && r->told == 0x55667788 + 28);
	CHECK(atomic_load(&r->c->poll) & POLL_KICK);
	rig_free(r);
}

TEST(a_program_of_vectors_runs)
{
	struct rig *r = vector_rig();
	r->c->x[10] = RIG_RAM + 0x1000;
	r->c->x[11] = RIG_RAM + 0x2000;
	r->c->x[12] = 1000;
	for (unsigned i = 0; i < 1000; i += 8) rig_put64(r, RIG_RAM + 0x1000 + i, i);
	gpa_t loop = r->at;
	struct rv64_insn vse = {.rd = 8, .rs1 = 11, .rm = 1}, vle = {.rd = 8, .rs1 = 10, .rm = 1};
	rig_op(r, OP_vsetvli, 5, 12, 0, 0xc3);
	rig_word(r, rv64_encode(OP_vle8_v, &vle));
	rig_op(r, OP_add, 10, 10, 5, 0);
	rig_word(r, rv64_encode(OP_vse8_v, &vse));
	rig_op(r, OP_add, 11, 11, 5, 0);
	rig_op(r, OP_sub, 12, 12, 5, 0);
	rig_op(r, OP_bne, 0, 12, 0, (int32_t)(loop - r->at));
	rig_stop(r, 11);
	rig_run(r, RIG_RAM);
	CHECK(r->told == RIG_RAM + 0x2000 + 1000);
	for (unsigned i = 0; i < 1000; i += 8) CHECK(rig_get64(r, RIG_RAM + 0x2000 + i) == i);
	rig_free(r);
}

/* The low eight bytes of vs2, vs1 and vd before, of vd after; vxrm is 0. */
static const struct example {
	enum rv64_op op;
	unsigned vtype;
	uint64_t vs2, vs1, vd, want;
} examples[] = {
	{OP_vadd_vv, 0xc0, 0x01ff7f80, 0x01010180, 0, 0x02008000},
	{OP_vsub_vv, 0xc8, 0x0000000100000000, 0x0001000200010000, 0, 0xffffffffffff0000},
	{OP_vmulh_vv, 0xd0, 0x8000000080000000, 0x800000007fffffff, 0, 0x40000000c0000000},
	{OP_vmulhu_vv, 0xd8, ~0ull, ~0ull, 0, ~1ull},
	{OP_vdiv_vv, 0xd0, 0x8000000000000007, 0xffffffff00000000, 0, 0x80000000ffffffff},
	{OP_vrem_vv, 0xd0, 0x8000000000000007, 0xffffffff00000000, 0, 0x0000000000000007},
	{OP_vmacc_vv, 0xd0, 3, 5, 100, 115},
	{OP_vnmsub_vv, 0xd0, 100, 5, 3, 85},
	{OP_vsaddu_vv, 0xc0, 0xff80, 0x0180, 0, 0xffff},
	{OP_vsadd_vv, 0xc0, 0x7f80, 0x0180, 0, 0x7f80},
	{OP_vaadd_vv, 0xc0, 0x0201, 0x0102, 0, 0x0202}, /* 1.5 goes up */
	{OP_vsmul_vv, 0xc8, 0x80004000, 0x80004000, 0, 0x7fff2000},
	{OP_vssra_vv, 0xc0, 0x8007, 0x0101, 0, 0xc004},
	{OP_vwmul_vv, 0xc7, 0x80ff, 0x8002, 0, 0x4000fffe},
	{OP_vnclip_wv, 0xc7, 0x80000080, 0x0000, 0, 0x807f},
	{OP_vzext_vf2, 0xc8, 0x80ff, 0, 0, 0x008000ff},
	{OP_vmseq_vv, 0xc0, 0x0102030405060708, 0x0102000400060008, 0, 0xd5},
	{OP_vredsum_vs, 0xc0, 0x0101010101010101, 0xf8, 0xaa00, 0xaa00},
	{OP_vfadd_vv, 0xd0, 0x3f800000bf800000, 0x400000003f800000, 0, 0x4040000000000000},
	{OP_vfmul_vv, 0xd8, 0x7ff0000000000000, 0, 0, 0x7ff8000000000000},
	{OP_vfmacc_vv, 0xd8, 0x4008000000000000, 0x4000000000000000, 0x3ff0000000000000,
	 0x401c000000000000},
	{OP_vfmin_vv, 0xd0, 0x7fc0000080000000, 0x3f80000000000000, 0, 0x3f80000080000000},
	{OP_vfwadd_vv, 0xd7, 0x3f800000, 0x3f800000, 0, 0x4000000000000000},
	{OP_vfncvt_rod_f_f_w, 0xd7, 0x3ff0000000000001, 0, 0, 0x3f800001},
	{OP_vfrec7_v, 0xd0, 0x3f80000040000000, 0, 0, 0x3f7f00003eff0000},
	{OP_vrgather_vv, 0xc0, 0x0706050403020100, 0x00010203040506ff, 0, 0x0001020304050600},
	{OP_vslide1up_vx, 0xc8, 0x0003000200010000, 0, 0, 0x0002000100000077},
	{OP_vandn_vv, 0xd8, 0xff, 0x0f, 0, 0xf0},
	{OP_vwsll_vv, 0xc7, 0x0180, 0x0f01, 0, 0x80000100},
};
TEST(vectors_compute_what_the_manual_says)
{
	struct rig *r = vector_rig();
	for (const struct example *e = examples; e < examples + COUNT(examples); e++) {
		bool half = e->vtype & 4; /* LMUL 1/2, where a result is wider or narrower */
		set_vtype(r, (8u >> (e->vtype >> 3 & 3)) / (half ? 2 : 1), e->vtype);
		store_le(V_AT(r->c, 4), e->vs2, 8);
		store_le(V_AT(r->c, 5), e->vs1, 8);
		store_le(V_AT(r->c, 6), e->vd, 8);
		r->c->x[5] = 0x77;
		CHECK(!run(r, e->op, 6, 5, 4, 0));
		if (load_le(V_AT(r->c, 6), 8) != e->want)
			(void)printf("%s: %#lx\n", rv64_info(e->op)->name,
				     (unsigned long)load_le(V_AT(r->c, 6), 8));
		CHECK(load_le(V_AT(r->c, 6), 8) == e->want);
	}
	CHECK(csr(r, CSR_VXSAT) == 1);
	rig_free(r);
}
