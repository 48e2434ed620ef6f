/* CSRs: what may be written, what is read back, and by whom. */
#include "engine/rig.h"

static uint64_t get(struct rig *r, unsigned csr)
{
	uint64_t v = 0;
	CHECK(rv64_cpu_get(r->c, REG_RV_CSR + csr, &v) == 0);
	return v;
}
static void set(struct rig *r, unsigned csr, uint64_t v)
{
	CHECK(rv64_cpu_set(r->c, REG_RV_CSR + csr, v) == 0);
}
/* Execute a CSR instruction with x6 as the source and x5 as the result: cause + 1. */
static int csr_op(struct rig *r, enum rv64_op op, unsigned csr, unsigned rd, unsigned rs1)
{
	struct rv64_insn i = {.rd = (uint8_t)rd, .rs1 = (uint8_t)rs1, .imm = (int32_t)csr};
	return rv64_exec_one(r->c, rv64_encode(op, &i));
}
static int op(struct rig *r, enum rv64_op o)
{
	struct rv64_insn i = {0};
	return rv64_exec_one(r->c, rv64_encode(o, &i));
}

TEST(csrs_keep_only_legal_values)
{
	static const struct {
		unsigned csr;
		uint64_t put, got;
	} t[] = {
		{CSR_MSTATUS, ~0ull, 0x8000000a007e7faa}, /* MPP, FS, VS 3; SD, UXL, SXL */
		{CSR_MSTATUS, 2ull << 11, 0xa00000000 | 3ull << 11}, /* MPP 2: stays */
		{CSR_MSTATUS, 1ull << 11, 0xa00000000 | 1ull << 11},
		{CSR_SSTATUS, ~0ull, 0x80000002000c6722},
		{CSR_MISA, 0, 0x8000000000340000 | 0x112f},
		{CSR_MEDELEG, ~0ull, 0xb3ff},
		{CSR_MIDELEG, ~0ull, 0x222},
		{CSR_MIE, ~0ull, 0xaaa},
		{CSR_MTVEC, ~0ull, ~2ull},
		{CSR_STVEC, 0x80000002, 0x80000000},
		{CSR_MEPC, ~0ull, ~1ull},
		{CSR_SEPC, 0x1003, 0x1002},
		{CSR_MENVCFG, ~0ull, 0xe0000000000000f1},
		{CSR_MENVCFG, 0x20, 0x30}, /* CBIE 2 is reserved: stays */
		{CSR_SENVCFG, ~0ull, 0xf1},
		{CSR_SATP, 0x8ull << 60 | 0xffffull << 44 | 5, 0x8ull << 60 | 0xffffull << 44 | 5},
		{CSR_SATP, 0xbull << 60, 0x8ull << 60 | 0xffffull << 44 | 5}, /* no such mode */
		{CSR_SATP, 0x1ull << 60, 0x8ull << 60 | 0xffffull << 44 | 5},
		{CSR_SATP, 0xaull << 60, 0xaull << 60},
		{CSR_MCOUNTINHIBIT, ~0ull, 5},
		{CSR_MCOUNTEREN, ~0ull, 0xffffffff},
		{CSR_MHPMCOUNTER3, 77, 0},
		{CSR_MHPMEVENT3 + 28, 77, 0},
		{CSR_MVENDORID - 0 + 3, 0, 0}, /* mhartid of hart 0 */
		{CSR_PMPADDR0, ~0ull, (1ull << 54) - 1},
		{CSR_PMPCFG0, 0x7f, 0x1f},
		{CSR_PMPCFG0, 0x1a, 0x18}, /* W without R */
		{CSR_FCSR, ~0ull, 0xff},
		{CSR_FRM, 5, 5},
		{CSR_FCSR, 0x20, 0x20},
	};
	struct rig *r = rig_new(false);
	for (unsigned i = 0; i < COUNT(t); i++) {
		(void)rv64_cpu_set(r->c, REG_RV_CSR + t[i].csr, t[i].put);
		CHECK(get(r, t[i].csr) == t[i].got);
	}
	rig_free(r);
}

TEST(max_satp_limits_the_modes)
{
	struct rig *r = rig_new(false);
	r->c->max_satp = 8;
	set(r, CSR_SATP, 9ull << 60);
	CHECK(get(r, CSR_SATP) == 0);
	set(r, CSR_SATP, 8ull << 60);
	CHECK(get(r, CSR_SATP) == 8ull << 60);
	rig_free(r);
}

TEST(a_csr_asks_for_its_privilege)
{
	static const struct {
		unsigned priv, csr;
		bool read, write;
	} t[] = {
		{PRIV_U, CSR_SSTATUS, false, false}, {PRIV_S, CSR_SSTATUS, true, true},
		{PRIV_S, CSR_MSTATUS, false, false}, {PRIV_M, CSR_MSTATUS, true, true},
		{PRIV_M, CSR_MHARTID, true, false},  {PRIV_S, CSR_SATP, true, true},
		{PRIV_M, 0x7c0, false, false},	     {PRIV_M, 0x3a1, false, false},
		{PRIV_M, 0x3c0, false, false},	     {PRIV_M, 0x200, false, false},
		{PRIV_U, CSR_FCSR, false, false}, /* FS is Off */
		{PRIV_U, CSR_CYCLE, false, false},   {PRIV_S, CSR_CYCLE, false, false},
		{PRIV_M, CSR_CYCLE, true, false},    {PRIV_S, CSR_STIMECMP, false, false},
		{PRIV_M, CSR_STIMECMP, true, true},
	};
	struct rig *r = rig_new(false);
	for (unsigned i = 0; i < COUNT(t); i++) {
		r->c->priv = (uint8_t)t[i].priv;
		r->c->x[6] = 0;
		CHECK(csr_op(r, OP_csrrs, t[i].csr, 5, 0) == (t[i].read ? 0 : CAUSE_ILLEGAL + 1));
		CHECK(csr_op(r, OP_csrrw, t[i].csr, 0, 6) == (t[i].write ? 0 : CAUSE_ILLEGAL + 1));
	}
	rig_free(r);
}

TEST(illegal_instructions_tell_their_bits)
{
	struct rig *r = rig_new(false);
	r->c->priv = PRIV_U;
	CHECK(csr_op(r, OP_csrrs, CSR_MSTATUS, 5, 0) == CAUSE_ILLEGAL + 1);
	CHECK(r->c->tval == (CSR_MSTATUS << 20 | 2 << 12 | 5 << 7 | 0x73));
	rig_free(r);
}

TEST(counters_open_level_by_level)
{
	struct rig *r = rig_new(false);
	set(r, CSR_MCOUNTEREN, COUNTER_TM | COUNTER_IR);
	r->c->priv = PRIV_S;
	CHECK(csr_op(r, OP_csrrs, CSR_TIME, 5, 0) == 0);
	CHECK(csr_op(r, OP_csrrs, CSR_CYCLE, 5, 0) == CAUSE_ILLEGAL + 1);
	CHECK(csr_op(r, OP_csrrs, CSR_HPMCOUNTER3, 5, 0) == CAUSE_ILLEGAL + 1);
	CHECK(csr_op(r, OP_csrrs, CSR_STIMECMP, 5, 0) == CAUSE_ILLEGAL + 1); /* no STCE */
	set(r, CSR_MENVCFG, ENVCFG_STCE);
	CHECK(csr_op(r, OP_csrrs, CSR_STIMECMP, 5, 0) == 0);
	r->c->priv = PRIV_U;
	CHECK(csr_op(r, OP_csrrs, CSR_TIME, 5, 0) == CAUSE_ILLEGAL + 1);
	set(r, CSR_SCOUNTEREN, COUNTER_TM);
	CHECK(csr_op(r, OP_csrrs, CSR_TIME, 5, 0) == 0);
	CHECK(csr_op(r, OP_csrrs, CSR_INSTRET, 5, 0) == CAUSE_ILLEGAL + 1);
	rig_free(r);
}

TEST(instret_counts_writes_and_stops)
{
	struct rig *r = rig_new(false);
	r->c->x[6] = 1000;
	CHECK(csr_op(r, OP_csrrw, CSR_MINSTRET, 0, 6) == 0);
	CHECK(csr_op(r, OP_csrrs, CSR_MINSTRET, 5, 0) == 0 && r->c->x[5] == 1000);
	CHECK(csr_op(r, OP_csrrs, CSR_INSTRET, 5, 0) == 0 && r->c->x[5] == 1001);
	CHECK(csr_op(r, OP_csrrwi, CSR_MCOUNTINHIBIT, 0, COUNTER_IR) == 0);
	CHECK(csr_op(r, OP_csrrs, CSR_INSTRET, 5, 0) == 0);
	uint64_t at = r->c->x[5];
	CHECK(csr_op(r, OP_csrrs, CSR_INSTRET, 5, 0) == 0 && r->c->x[5] == at);
	CHECK(csr_op(r, OP_csrrwi, CSR_MCOUNTINHIBIT, 0, 0) == 0);
	CHECK(csr_op(r, OP_csrrs, CSR_INSTRET, 5, 0) == 0 && r->c->x[5] == at);
	CHECK(csr_op(r, OP_csrrs, CSR_INSTRET, 5, 0) == 0 && r->c->x[5] == at + 1);
	rig_free(r);
}

TEST(csr_instructions_set_and_clear_bits)
{
	struct rig *r = rig_new(false);
	r->c->x[6] = 0xf0;
	CHECK(csr_op(r, OP_csrrw, CSR_MSCRATCH, 5, 6) == 0 && r->c->x[5] == 0);
	CHECK(csr_op(r, OP_csrrsi, CSR_MSCRATCH, 5, 0x0f) == 0 && r->c->x[5] == 0xf0);
	CHECK(csr_op(r, OP_csrrc, CSR_MSCRATCH, 5, 6) == 0 && r->c->x[5] == 0xff);
	CHECK(csr_op(r, OP_csrrw, CSR_MSCRATCH, 6, 6) == 0 && r->c->x[6] == 0x0f);
	CHECK(get(r, CSR_MSCRATCH) == 0xf0);
	CHECK(csr_op(r, OP_csrrs, CSR_MHARTID, 5, 0) == 0);
	CHECK(csr_op(r, OP_csrrs, CSR_MHARTID, 5, 6) == CAUSE_ILLEGAL + 1);
	CHECK(csr_op(r, OP_csrrwi, CSR_MHARTID, 0, 0) == CAUSE_ILLEGAL + 1);
	rig_free(r);
}

TEST(mip_shows_inputs_and_keeps_software_bits_apart)
{
	struct rig *r = rig_new(false);
	rv64_irq(r->c, IRQ_RV_SEI, 1);
	r->c->x[6] = MIP_STIP;
	CHECK(csr_op(r, OP_csrrs, CSR_MIP, 5, 6) == 0 && r->c->x[5] == MIP_SEIP);
	rv64_irq(r->c, IRQ_RV_SEI, 0);
	CHECK(get(r, CSR_MIP) == MIP_STIP); /* the input was not written back */
	set(r, CSR_MIP, MIP_SEIP | MIP_MTIP | MIP_SSIP);
	CHECK(get(r, CSR_MIP) == (MIP_SEIP | MIP_SSIP)); /* MTIP is an input only */
	set(r, CSR_SIP, 0);
	CHECK(get(r, CSR_MIP) == (MIP_SEIP | MIP_SSIP)); /* SSIP is not delegated */
	set(r, CSR_MIDELEG, MIP_SSIP);
	CHECK(get(r, CSR_SIP) == MIP_SSIP);
	set(r, CSR_SIP, 0);
	CHECK(get(r, CSR_MIP) == MIP_SEIP);
	rig_free(r);
}

TEST(mstatus_takes_rights_from_s_mode)
{
	struct rig *r = rig_new(false);
	r->c->priv = PRIV_S;
	CHECK(op(r, OP_sfence_vma) == 0 && op(r, OP_sinval_vma) == 0 && op(r, OP_wfi) == 0);
	CHECK(op(r, OP_mret) == CAUSE_ILLEGAL + 1);
	rv64_mstatus_set(r->c, MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR);
	CHECK(op(r, OP_sfence_vma) == CAUSE_ILLEGAL + 1);
	CHECK(op(r, OP_sinval_vma) == CAUSE_ILLEGAL + 1);
	CHECK(op(r, OP_sfence_inval_ir) == 0);
	CHECK(csr_op(r, OP_csrrs, CSR_SATP, 5, 0) == CAUSE_ILLEGAL + 1);
	CHECK(op(r, OP_wfi) == CAUSE_ILLEGAL + 1);
	CHECK(op(r, OP_sret) == CAUSE_ILLEGAL + 1);
	r->c->priv = PRIV_M;
	CHECK(op(r, OP_wfi) == 0 && op(r, OP_sfence_vma) == 0);
	r->c->priv = PRIV_U;
	rv64_mstatus_set(r->c, 0);
	CHECK(op(r, OP_wfi) == CAUSE_ILLEGAL + 1 && op(r, OP_sret) == CAUSE_ILLEGAL + 1);
	CHECK(op(r, OP_sfence_vma) == CAUSE_ILLEGAL + 1);
	CHECK(op(r, OP_sfence_w_inval) == CAUSE_ILLEGAL + 1);
	rig_free(r);
}

TEST(cache_block_instructions_ask_envcfg)
{
	struct rig *r = rig_new(true); /* memory is open to S and U */
	r->c->menvcfg = 0;
	r->c->x[0] = 0;
	static const struct {
		enum rv64_op op;
		uint64_t bit;
	} t[] = {{OP_cbo_zero, ENVCFG_CBZE},
		 {OP_cbo_clean, ENVCFG_CBCFE},
		 {OP_cbo_flush, ENVCFG_CBCFE},
		 {OP_cbo_inval, 1 << 4}};
	for (unsigned i = 0; i < COUNT(t); i++) {
		struct rv64_insn in = {.rs1 = 5};
		uint32_t w = rv64_encode(t[i].op, &in);
		r->c->x[5] = RIG_RAM + 0x2010;
		r->c->menvcfg = r->c->senvcfg = 0;
		r->c->priv = PRIV_S;
		CHECK(rv64_exec_one(r->c, w) == CAUSE_ILLEGAL + 1);
		r->c->menvcfg = t[i].bit;
		CHECK(rv64_exec_one(r->c, w) == 0);
		r->c->priv = PRIV_U;
		CHECK(rv64_exec_one(r->c, w) == CAUSE_ILLEGAL + 1);
		r->c->senvcfg = t[i].bit;
		CHECK(rv64_exec_one(r->c, w) == 0);
		r->c->priv = PRIV_M;
		r->c->menvcfg = 0;
		CHECK(rv64_exec_one(r->c, w) == 0);
	}
	rig_free(r);
}

TEST(cbo_zero_clears_its_block)
{
	struct rig *r = rig_new(false);
	struct rv64_insn in = {.rs1 = 5};
	for (unsigned i = 0; i < 192; i += 8) rig_put64(r, RIG_RAM + 0x2000 + i, ~0ull);
	r->c->x[5] = RIG_RAM + 0x2055;
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_cbo_zero, &in)) == 0);
	for (unsigned i = 0; i < 192; i += 8)
		CHECK(rig_get64(r, RIG_RAM + 0x2000 + i) == (i < 64 || i >= 128 ? ~0ull : 0));
	rig_free(r);
}
