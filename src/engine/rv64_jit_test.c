#include "base/test.h"
#include "engine/rv64_jit.h"
#include "engine/rv64_random.h"
#include "engine/rv64_window.h"
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static struct rig *hart(enum jit_mode mode, size_t room, bool alone)
{
	struct err e = {0};
	struct rig *r = rig_new(false);
	CHECK(!rv64_jit_new(r->c, room, mode, alone, &e));
	return r;
}
static struct rig *with_windows(struct rig *r)
{
	rv64_windows_new(r->c, true);
	return r;
}

/* ---- programs of our own, by both engines ---- */
enum { I = REG_LOOP, SUM = 5, A = 6, B = 7, T = 10 };
#define MAIN (RIG_RAM + RANDOM_CODE)
#define DATA (RIG_RAM + RANDOM_DATA)

static gpa_t loop(struct rig *r, uint64_t times)
{
	rig_li(r, I, times);
	return r->at;
}
static void again(struct rig *r, gpa_t top)
{
	rig_op(r, OP_addi, I, I, 0, -1);
	rig_op(r, OP_bne, 0, I, 0, (int32_t)(top - r->at));
}
static void add(struct rig *r, unsigned x) { rig_op(r, OP_add, SUM, SUM, x, 0); }
static void csr(struct rig *r, enum rv64_op op, unsigned rd, unsigned rs1, unsigned n)
{
	rig_op(r, op, rd, rs1, 0, (int32_t)n);
}
static void done(struct rig *r)
{
	rig_li(r, REG_LINK, RANDOM_DONE);
	rig_stop(r, REG_LINK);
}

/* Everything open to U-mode, traps counted and skipped, the program to be put at MAIN. */
static void begin(struct rig *r)
{
	struct rv64_cpu *c = r->c;
	random_handler(r);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_PMPCFG0, PMP_NAPOT | PMP_R | PMP_W | PMP_X);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_PMPADDR0, (1ull << 54) - 1);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_MTVEC, RIG_RAM + RANDOM_HANDLER);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_MENVCFG, ENVCFG_ADUE);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_MSTATUS, MSTATUS_FS);
	r->at = c->pc = MAIN;
}

/* By the interpreter, the translator, and the translator of a machine with one hart. */
static void same(void (*build)(struct rig *r))
{
	struct rig *r[] = {rig_new(false), hart(JIT_FAST, 1 << 20, false),
			   hart(JIT_FAST, 1 << 20, true)};
	for (unsigned k = 0; k < COUNT(r); k++) {
		begin(r[k]);
		build(r[k]);
		random_run(r[k]);
		const char *words = k ? random_differ(r[k], r[0]) : NULL;
		if (words) printf("%s\n", words);
		CHECK(!words);
		CHECK(!k || r[k]->c->counts[COUNT_UNIT]);
	}
	for (unsigned k = 0; k < COUNT(r); k++) rig_free(r[k]);
}

/* Sums are rounded up or down, or as the host cannot, from where one way through the loop said. */
static void frm_program(struct rig *r)
{
	r->c->f[1] = 0x3ff0000000000001;
	r->c->f[2] = 0x3ca0000000000000;
	gpa_t top = loop(r, 400);
	rig_word(r,
		 rv64_encode(OP_fadd_d, &(struct rv64_insn){.rd = 3, .rs1 = 1, .rs2 = 2, .rm = 7}));
	rig_op(r, OP_andi, A, I, 0, 7);
	rig_op(r, OP_srli, B, I, 0, 4);
	rig_op(r, OP_andi, B, B, 0, 7);
	rig_op(r, OP_bne, 0, A, 0, 8);
	csr(r, OP_csrrw, 0, B, CSR_FRM);
	rig_word(r,
		 rv64_encode(OP_fadd_d, &(struct rv64_insn){.rd = 4, .rs1 = 1, .rs2 = 2, .rm = 7}));
	for (unsigned k = 3; k < 5; k++) {
		rig_op(r, OP_fmv_x_d, A, k, 0, 0);
		rig_op(r, OP_rori, SUM, SUM, 0, 9);
		add(r, A);
	}
	again(r, top);
	done(r);
}
TEST(a_rounding_mode_set_on_one_way_counts_behind) { same(frm_program); }

static void fs_program(struct rig *r)
{
	rig_li(r, T, MSTATUS_FS);
	gpa_t top = loop(r, 400);
	rig_word(r,
		 rv64_encode(OP_fadd_d, &(struct rv64_insn){.rd = 3, .rs1 = 3, .rs2 = 2, .rm = 7}));
	rig_op(r, OP_andi, A, I, 0, 15);
	rig_op(r, OP_bne, 0, A, 0, 8);
	csr(r, OP_csrrc, 0, T, CSR_MSTATUS);
	rig_word(r,
		 rv64_encode(OP_fadd_d, &(struct rv64_insn){.rd = 4, .rs1 = 4, .rs2 = 2, .rm = 7}));
	rig_op(r, OP_addi, A, A, 0, -4);
	rig_op(r, OP_bne, 0, A, 0, 8);
	csr(r, OP_csrrs, 0, T, CSR_MSTATUS);
	again(r, top);
	csr(r, OP_csrrs, 0, T, CSR_MSTATUS);
	done(r);
}
TEST(floating_point_switched_off_on_one_way_traps_behind) { same(fs_program); }

/* M-mode reads with the rights of another: what is set and cleared meanwhile is in mstatus. */
static void mprv(struct rig *r, uint64_t pte)
{
	struct random g = {.r = r, .s = 1};
	random_tables(&g);
	rig_put64(r, RIG_RAM + RANDOM_TABLES + 3 * PAGE_SIZE, random_pte(DATA, pte));
	rig_put64(r, DATA + 8, 1);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_SATP,
			   8ull << SATP_MODE_SHIFT | (RIG_RAM + RANDOM_TABLES) >> PAGE_SHIFT);
	rig_li(r, A, RANDOM_ALIAS);
}
static void toggle_program(struct rig *r, uint64_t bit, uint64_t pte)
{
	mprv(r, pte);
	rig_li(r, T, MSTATUS_MPRV | 1ull << 11);
	rig_li(r, T + 1, bit);
	gpa_t top = loop(r, 500);
	csr(r, OP_csrrs, 0, T, CSR_MSTATUS);
	rig_op(r, OP_ld, B, A, 0, 8);
	add(r, B);
	rig_op(r, OP_andi, B, I, 0, 3);
	rig_op(r, OP_bne, 0, B, 0, 8);
	csr(r, OP_csrrs, 0, T + 1, CSR_MSTATUS);
	rig_op(r, OP_addi, B, B, 0, -2);
	rig_op(r, OP_bne, 0, B, 0, 8);
	csr(r, OP_csrrc, 0, T + 1, CSR_MSTATUS);
	rig_op(r, OP_ld, B, A, 0, 8);
	add(r, B);
	csr(r, OP_csrrc, 0, T, CSR_MSTATUS);
	again(r, top);
	done(r);
}
static void sum_program(struct rig *r) { toggle_program(r, MSTATUS_SUM, RANDOM_RWX | PTE_U); }
static void mxr_program(struct rig *r) { toggle_program(r, MSTATUS_MXR, PTE_V | PTE_X | PTE_A); }
static void mprv_program(struct rig *r) { toggle_program(r, MSTATUS_MPRV, RANDOM_RWX); }
TEST(rights_of_loads_change_within_a_loop)
{
	same(sum_program);
	same(mxr_program);
	same(mprv_program);
}

/* Entry 0 opens all, and not in between. */
static void pmp_program(struct rig *r)
{
	mprv(r, RANDOM_RWX);
	rig_li(r, T, MSTATUS_MPRV | 1ull << 11);
	rig_li(r, A, DATA);
	rig_li(r, T + 1, 0x1f);
	gpa_t top = loop(r, 500);
	csr(r, OP_csrrs, 0, T, CSR_MSTATUS);
	rig_op(r, OP_ld, B, A, 0, 8);
	rig_op(r, OP_sd, 0, A, I, 8);
	add(r, B);
	csr(r, OP_csrrc, 0, T, CSR_MSTATUS);
	rig_op(r, OP_andi, B, I, 0, 127);
	rig_op(r, OP_sltiu, B, B, 0, 64);
	rig_op(r, OP_mul, B, B, T + 1, 0);
	csr(r, OP_csrrw, 0, B, CSR_PMPCFG0);
	again(r, top);
	done(r);
}
TEST(pmp_closed_under_a_loop_faults) { same(pmp_program); }

/* Two address spaces, each with its own page under one address; and in the end a third page by a
 * changed entry and sfence.vma. */
static void satp_program(struct rig *r)
{
	gpa_t other = RIG_RAM + RANDOM_TABLES + 6 * PAGE_SIZE;
	mprv(r, RANDOM_RWX);
	for (unsigned k = 0; k < 3; k++) rig_put64(r, DATA + k * PAGE_SIZE + 8, 1 + 1000 * k);
	rig_put64(r, other + 8 * (RANDOM_ALIAS >> 30), random_pte(other + PAGE_SIZE, PTE_V));
	rig_put64(r, other + PAGE_SIZE, random_pte(other + 2 * PAGE_SIZE, PTE_V));
	rig_put64(r, other + 2 * PAGE_SIZE, random_pte(DATA + PAGE_SIZE, RANDOM_RWX));
	uint64_t one = 8ull << SATP_MODE_SHIFT | (RIG_RAM + RANDOM_TABLES) >> PAGE_SHIFT;
	uint64_t two = 8ull << SATP_MODE_SHIFT | 1ull << SATP_ASID_SHIFT | other >> PAGE_SHIFT;
	rig_li(r, T, MSTATUS_MPRV | 1ull << 11);
	rig_li(r, T + 1, one ^ two);
	rig_li(r, T + 2, one);
	rig_li(r, T + 3, other + 2 * PAGE_SIZE);
	rig_li(r, T + 4, random_pte(DATA + 2 * PAGE_SIZE, RANDOM_RWX));
	gpa_t top = loop(r, 500);
	csr(r, OP_csrrw, 0, T + 2, CSR_SATP);
	csr(r, OP_csrrs, 0, T, CSR_MSTATUS);
	rig_op(r, OP_ld, B, A, 0, 8);
	rig_op(r, OP_rori, SUM, SUM, 0, 7);
	add(r, B);
	csr(r, OP_csrrc, 0, T, CSR_MSTATUS);
	rig_op(r, OP_xor, T + 2, T + 2, T + 1, 0);
	rig_op(r, OP_addi, B, I, 0, -100);
	rig_op(r, OP_bne, 0, B, 0, 12);
	rig_op(r, OP_sd, 0, T + 3, T + 4, 0);
	rig_op(r, OP_sfence_vma, 0, A, 0, 0);
	again(r, top);
	done(r);
}
TEST(address_spaces_change_under_a_loop) { same(satp_program); }

/* A loop that walks out of memory: all that it did before is there, nothing after. */
static void fault_program(struct rig *r)
{
	rig_li(r, A, RIG_RAM + RIG_SIZE - 8 * 300);
	rig_li(r, T, 77);
	gpa_t top = loop(r, 400);
	rig_op(r, OP_addi, T, T, 0, 3);
	rig_op(r, OP_mul, B, T, I, 0);
	rig_op(r, OP_sd, 0, A, B, 0);
	rig_op(r, OP_ld, B, A, 0, 0);
	add(r, B);
	rig_op(r, OP_amoadd_d, B, A, T, 0);
	add(r, B);
	rig_op(r, OP_addi, A, A, 0, 8);
	again(r, top);
	done(r);
}
TEST(faults_in_a_unit_are_precise) { same(fault_program); }

/* Loops one in the other, more registers than the host has, most of them only to be looked at when
 * the walk out of memory faults; the inner loop's last branch goes on to the outer one. */
static void nested_program(struct rig *r)
{
	rig_li(r, A, RIG_RAM + RIG_SIZE - 8 * 640);
	gpa_t outer = loop(r, 400);
	rig_op(r, OP_andi, B, I, 0, 3);
	gpa_t inner = r->at;
	for (int n = 11; n < REG_FREE; n++) rig_op(r, OP_xori, (unsigned)n, n & 1 ? I : A, 0, n);
	rig_op(r, OP_ld, T, A, 0, 0);
	for (int n = 11; n < REG_FREE; n++) rig_op(r, OP_addw, (unsigned)n, (unsigned)n, B, 0);
	rig_op(r, OP_sd, 0, A, 12, 0);
	add(r, 13);
	rig_op(r, OP_addi, A, A, 0, 8);
	rig_op(r, OP_addi, B, B, 0, -1);
	rig_op(r, OP_blt, 0, 0, B, (int32_t)(inner - r->at));
	rig_op(r, OP_addi, I, I, 0, -1);
	rig_op(r, OP_beq, 0, I, 0, 8);
	rig_op(r, OP_blt, 0, 0, I, (int32_t)(outer - r->at));
	done(r);
}
static void latch_program(struct rig *r)
{
	rig_li(r, A, RIG_RAM + RIG_SIZE - 8 * 640);
	gpa_t outer = loop(r, 400);
	rig_op(r, OP_addi, I, I, 0, -1);
	rig_op(r, OP_beq, 0, I, 0, 4 * 36);
	rig_op(r, OP_andi, B, I, 0, 3);
	gpa_t inner = r->at;
	for (int n = 11; n < REG_FREE; n++) rig_op(r, OP_xori, (unsigned)n, n & 1 ? I : A, 0, n);
	rig_op(r, OP_ld, T, A, 0, 0);
	for (int n = 11; n < REG_FREE; n++) rig_op(r, OP_addw, (unsigned)n, (unsigned)n, B, 0);
	rig_op(r, OP_sd, 0, A, 12, 0);
	add(r, 13);
	rig_op(r, OP_addi, B, B, 0, -1);
	rig_op(r, OP_addi, A, A, 0, 8);
	rig_op(r, OP_beq, 0, B, 0, (int32_t)(outer - r->at));
	rig_op(r, OP_bge, 0, B, 0, (int32_t)(inner - r->at));
	rig_op(r, OP_bne, 0, I, 0, (int32_t)(outer - r->at));
	done(r);
}
TEST(loops_in_loops_leave_all_registers_right)
{
	same(nested_program);
	same(latch_program);
}

/* The counters' loop is one that only waits. */
TEST(waiting_for_a_counter_ends)
{
	static const unsigned counter[] = {CSR_CYCLE, CSR_INSTRET, CSR_MCYCLE, CSR_MINSTRET};
	struct rig *r = hart(JIT_FAST, 1 << 20, false);
	begin(r);
	for (unsigned k = 0; k < COUNT(counter); k++) {
		rig_li(r, T, 100000);
		csr(r, OP_csrrs, A, 0, counter[k]);
		csr(r, OP_csrrs, B, 0, counter[k]);
		rig_op(r, OP_sub, B, B, A, 0);
		rig_op(r, OP_bltu, 0, B, T, -8);
	}
	done(r);
	random_run(r);
	CHECK(r->c->counts[COUNT_UNIT]);
	rig_free(r);
}

/* ---- code that changes, and does not ---- */
static gpa_t increments(struct rig *r, uint64_t times)
{
	gpa_t top = loop(r, times), at = r->at;
	rig_op(r, OP_addi, SUM, SUM, 0, 1);
	again(r, top);
	rig_op(r, OP_fence_i, 0, 0, 0, 0);
	rig_stop(r, SUM);
	return at;
}
TEST(fence_i_drops_units_of_changed_pages_only)
{
	struct rig *r = hart(JIT_FAST, 1 << 20, false);
	begin(r);
	gpa_t at = increments(r, 1000);
	rig_run(r, MAIN);
	CHECK(r->told == 1000);
	uint64_t units = r->c->counts[COUNT_UNIT];
	CHECK(units);
	rig_run(r, MAIN);
	CHECK(r->told == 2000 && r->c->counts[COUNT_UNIT] == units);
	r->at = at;
	rig_op(r, OP_addi, SUM, SUM, 0, 3);
	rv64_code_fence(r->c);
	rig_run(r, MAIN);
	CHECK(r->told == 5000 && r->c->counts[COUNT_UNIT] > units);
	rig_free(r);
}

/* Far more code than there is room for, again and again. */
TEST(a_full_cache_is_emptied_and_code_goes_on)
{
	enum { PAGES = 64, LOOPS = 40, TURNS = 300 };
	struct rig *r = hart(JIT_FAST, 64 << 10, false);
	begin(r);
	gpa_t first = RIG_RAM + (1 << 20);
	for (unsigned p = 0; p < PAGES; p++) {
		r->at = first + (gpa_t)p * PAGE_SIZE;
		for (unsigned k = 0; k < LOOPS; k++) {
			gpa_t top = loop(r, TURNS);
			rig_op(r, OP_addi, SUM, SUM, 0, (int32_t)(p + k));
			rig_op(r, OP_xor, SUM, SUM, I, 0);
			again(r, top);
		}
		rig_op(r, OP_jal, 0, 0, 0, (int32_t)((~r->at & (PAGE_SIZE - 1)) + 1));
	}
	r->at = first + PAGES * PAGE_SIZE;
	rig_stop(r, SUM);
	uint64_t want = 0;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned p = 0; p < PAGES; p++)
			for (unsigned k = 0; k < LOOPS; k++)
				for (unsigned i = TURNS; i; i--) want = (want + p + k) ^ i;
		rig_run(r, first);
		CHECK(r->told == want);
	}
	CHECK(r->c->counts[COUNT_FLUSH] > 3);
	rig_free(r);
}

/* A loop over a page's end, and what had been translated before that loop first ran and is linked
 * to it. */
static gpa_t over_program(struct rig *r)
{
	gpa_t page = MAIN, driver = page + 4 * PAGE_SIZE, head = page + PAGE_SIZE - 8;
	r->at = page + 256;
	rig_op(r, OP_addi, SUM, SUM, 0, 1);
	rig_op(r, OP_bltu, 0, I, B, (int32_t)(head - 4 - r->at));
	rig_op(r, OP_jalr, 0, 1, 0, 0);
	r->at = head - 4;
	rig_op(r, OP_addi, T, 0, 0, 8);
	for (unsigned k = 0; k < 4; k++) rig_op(r, OP_addi, SUM, SUM, 0, 1);
	rig_op(r, OP_addi, T, T, 0, -1);
	rig_op(r, OP_bne, 0, T, 0, (int32_t)(head - r->at));
	rig_op(r, OP_jalr, 0, 1, 0, 0);
	r->at = driver;
	rig_li(r, A, page + 256);
	rig_op(r, OP_jalr, 1, A, 0, 0);
	rig_op(r, OP_addi, I, I, 0, -1);
	rig_op(r, OP_bne, 0, I, 0, -8);
	rig_stop(r, SUM);
	return driver;
}
static void over_run(struct rig *r, gpa_t driver, uint64_t times, bool over)
{
	r->c->x[I] = times;
	r->c->x[B] = over ? ~0ull : 0;
	r->c->x[SUM] = 0;
	rig_run(r, driver);
	CHECK(r->told == times * (over ? 33 : 1));
}
TEST(what_is_linked_to_a_loop_over_pages_finds_it_made_anew)
{
	struct rig *r = hart(JIT_FAST, 1 << 20, false);
	begin(r);
	gpa_t driver = over_program(r);
	over_run(r, driver, 1000, false);
	over_run(r, driver, 1000, true);
	rig_put64(r, MAIN + PAGE_SIZE + 2048, 1); /* beside the loop */
	rv64_code_fence(r->c);
	over_run(r, driver, 1000, true);
	uint64_t units = r->c->counts[COUNT_UNIT], exits = r->c->counts[COUNT_DEOPT_PAGE];
	over_run(r, driver, 10000, true);
	CHECK(r->c->counts[COUNT_UNIT] == units);
	CHECK(r->c->counts[COUNT_DEOPT_PAGE] == exits);
	rig_free(r);
}

/* Registers change places in one ring: more than a unit's way out can do. */
static gpa_t ring_program(struct rig *r, unsigned n)
{
	gpa_t ring = r->at = MAIN + 256;
	rig_op(r, OP_fmv_d_x, 0, 1, 0, 0);
	for (unsigned k = 1; k < n; k++) rig_op(r, OP_addi, k, k + 1, 0, 0);
	rig_op(r, OP_fmv_x_d, n, 0, 0, 0);
	rig_op(r, OP_jalr, 0, 30, 0, 0);
	return ring;
}
TEST(what_is_too_large_becomes_smaller_units)
{
	struct rig *r = hart(JIT_FAST, 1 << 20, false);
	begin(r);
	enum { N = 24 };
	gpa_t ring = ring_program(r, N);
	r->at = MAIN + 4 * PAGE_SIZE;
	gpa_t top = r->at;
	rig_op(r, OP_jalr, 30, 29, 0, 0);
	rig_op(r, OP_addi, I, I, 0, -1);
	rig_op(r, OP_bne, 0, I, 0, -8);
	rig_stop(r, 1);
	r->c->x[29] = ring;
	for (unsigned k = 1; k <= N; k++) r->c->x[k] = k;
	r->c->x[I] = 24 * 1000;
	rig_run(r, top);
	CHECK(r->told == 1);
	CHECK(!r->c->counts[COUNT_FLUSH] && r->c->counts[COUNT_ENTER] < 1000);
	rig_free(r);
}

/* ---- what comes from outside ---- */
static void *interrupt(void *hart)
{
	for (unsigned k = 0; k < 20; k++) {
		(void)usleep(1000);
		rv64_irq(hart, IRQ_RV_MSI, k & 1);
	}
	rv64_irq(hart, IRQ_RV_MEI, true);
	return NULL;
}
/* Loops that store nothing, call nothing, and never end. */
TEST(interrupts_arrive_in_a_loop)
{
	pthread_t thread;
	struct rig *r = hart(JIT_FAST, 1 << 20, false);
	begin(r);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MIE, 1ull << IRQ_RV_MEI);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, MSTATUS_MIE);
	rig_op(r, OP_addi, SUM, SUM, 0, 1);
	rig_op(r, OP_addi, A, A, 0, 1);
	rig_op(r, OP_bne, 0, A, 0, -4);
	rig_op(r, OP_jal, 0, 0, 0, -12);
	r->at = RIG_RAM + RANDOM_HANDLER;
	csr(r, OP_csrrs, A, 0, CSR_MCAUSE);
	rig_stop(r, A);
	CHECK(!pthread_create(&thread, NULL, interrupt, r->c));
	rig_run(r, MAIN);
	CHECK(r->told == (1ull << 63 | IRQ_RV_MEI) && r->c->counts[COUNT_UNIT]);
	CHECK(!pthread_join(thread, NULL));
	rig_free(r);
}

struct pest {
	struct rv64_cpu *c;
	_Atomic bool stop;
};
static void *pester(void *arg)
{
	struct pest *p = arg;
	for (unsigned k = 0; !atomic_load(&p->stop); k++) {
		rv64_poke(p->c, k & 1 ? POLL_IRQ : POLL_TIMER);
		if (k % 16 == 0) rv64_fence(p->c, NULL, (struct fence){.kind = FENCE_OF_CODE});
		if (k % 16 == 8) rv64_fence(p->c, NULL, (struct fence){.kind = FENCE_OF_PAGES});
		(void)usleep(20);
	}
	return NULL;
}
/* ---- programs of chance ---- */
/* ---- vectors ---- */
static void vec(struct rig *r, enum rv64_op op, unsigned vd, unsigned vs1, unsigned vs2)
{
	struct rv64_insn i = {.rd = (uint8_t)vd, .rs1 = (uint8_t)vs1, .rs2 = (uint8_t)vs2, .rm = 1};
	rig_word(r, rv64_encode(op, &i));
}
static void vectors_on(struct rig *r)
{
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, MSTATUS_FS | MSTATUS_VS);
	/* As floats of either size, ordinary; every other one has quotients that are not exact. */
	for (unsigned k = 0; k < 512; k++)
		rig_put64(r, DATA + 8 * k, 0x4010000040000000 + (k & 1 ? k * 0x10011 : 0));
	for (unsigned k = 0; k < sizeof(r->c->v.reg); k += 8)
		store_le(r->c->v.reg + k, 0x4000000040800000 + (k & 8 ? k * 0x1003 : 0), 8);
}

/* Copies of 1 to 400 bytes, the last turn of each shorter. */
static void strip_program(struct rig *r)
{
	enum { LEFT = 11, FROM = 12, TO = 13, VL = 14 };
	vectors_on(r);
	gpa_t top = loop(r, 400);
	rig_op(r, OP_addi, LEFT, I, 0, 0);
	rig_li(r, FROM, DATA);
	rig_li(r, TO, DATA + 2000);
	gpa_t strip = r->at;
	rig_op(r, OP_vsetvli, VL, LEFT, 0, 0xc1);
	vec(r, OP_vle8_v, 8, FROM, 0);
	rig_op(r, OP_add, FROM, FROM, VL, 0);
	vec(r, OP_vadd_vx, 8, I, 8);
	vec(r, OP_vse8_v, 8, TO, 0);
	rig_op(r, OP_add, TO, TO, VL, 0);
	rig_op(r, OP_sub, LEFT, LEFT, VL, 0);
	rig_op(r, OP_bne, 0, LEFT, 0, (int32_t)(strip - r->at));
	again(r, top);
	done(r);
}
TEST(strips_of_vectors_stay_in_their_unit)
{
	same(strip_program);
	struct rig *r = hart(JIT_FAST, 1 << 20, true);
	begin(r);
	strip_program(r);
	random_run(r);
	CHECK(r->c->counts[COUNT_ENTER] < 20);
	rig_free(r);
}

/* What vsetivli can say, each for long enough to be translated; what lies beyond vl must neither
 * change nor leave flags. */
static void short_loop(struct rig *r, unsigned n, unsigned type)
{
	static const enum rv64_op ops[] = {
		OP_vadd_vv,	 OP_vmul_vv,  OP_vmsltu_vv, OP_vmerge_vvm, OP_vredsum_vs,
		OP_vwaddu_vv,	 OP_vfadd_vv, OP_vfdiv_vv,  OP_vfmacc_vv,  OP_vmflt_vv,
		OP_vfredosum_vs, OP_vfmul_vv, OP_vmseq_vv,  OP_vsub_vv,	   OP_vredmaxu_vs};
	rig_li(r, A, DATA);
	gpa_t top = loop(r, 400);
	rig_op(r, OP_vsetivli, 0, n, 0, (int32_t)type);
	vec(r, OP_vle8_v, 8, A, 0);
	vec(r, OP_vsext_vf2, 24, 5, 8);
	for (unsigned k = 0; k < COUNT(ops); k++) {
		bool mask = ops[k] == OP_vmsltu_vv || ops[k] == OP_vmflt_vv;
		vec(r, ops[k], mask ? 0 : 16, 12, 8);
	}
	vec(r, OP_vfirst_m, B, 17, 0);
	add(r, B);
	vec(r, OP_vfsqrt_v, 16, 0, 12);
	vec(r, OP_vnsrl_wi, 20, 3, 8);
	vec(r, OP_vse16_v, 20, A, 0);
	vec(r, OP_vse64_v, 16, A, 0);
	csr(r, OP_csrrs, B, 0, CSR_FFLAGS);
	rig_op(r, OP_rori, SUM, SUM, 0, 5);
	add(r, B);
	csr(r, OP_csrrwi, 0, 0, CSR_FFLAGS);
	rig_op(r, OP_addi, T, A, 0, 1200);
	vec(r, OP_vs8r_v, 16, T, 0);
	rig_op(r, OP_addi, T, T, 0, 600);
	vec(r, OP_vs1r_v, 0, T, 0);
	rig_op(r, OP_addi, A, A, 0, 8);
	again(r, top);
}
static void short_program(struct rig *r, unsigned sew, unsigned lmul)
{
	vectors_on(r);
	for (unsigned n = 1; n < 20; n += n < 9 ? 1 : 5) short_loop(r, n, lmul | sew << 3);
	done(r);
}
static void short_words(struct rig *r) { short_program(r, 2, 1); }
static void short_doubles(struct rig *r) { short_program(r, 3, 0); }
static void short_bytes(struct rig *r) { short_program(r, 0, 7); }
static void short_halves(struct rig *r) { short_program(r, 1, 0); }
TEST(short_vectors)
{
	same(short_words);
	same(short_doubles);
	same(short_bytes);
	same(short_halves);
}

static void random_reset(struct rig *r, uint64_t seed)
{
	rv64_cpu_reset(r->c);
	atomic_store(&r->c->poll, 0);
	r->loads = 0;
	random_program(r, seed, NULL, 0);
	if (r->c->jit) random_heat(r, seed);
}
static void random_try(struct rig *r, uint64_t seed)
{
	random_reset(r, seed);
	random_run(r);
}

/* For objdump -b binary -m riscv:rv64 --adjust-vma=0x80000000 -D */
static void random_dump(struct rig *r, const char *path)
{
	FILE *f = path ? fopen(path, "wb") : NULL;
	if (!f) return;
	(void)fwrite(gmem_ptr(r->mem, RIG_RAM, RANDOM_DATA, false), 1, RANDOM_DATA, f);
	(void)fclose(f);
}

static bool random_agrees(struct rig *r, struct rig *interp, uint64_t seed)
{
	const char *words = NULL;
	if (!rv64_jit_wrong(r->c->jit, &words)) words = random_differ(r, interp);
	if (words) random_dump(r, getenv("RANDOM_DUMP"));
	if (words)
		printf("seed %llu, %s: %s\n", (unsigned long long)seed,
		       rv64_jit_checker(r->c->jit) ? "check" : "jit", words);
	return !words;
}

/* In lockstep: as many stores as a unit can have, over and over. */
static void stores_program(struct rig *r)
{
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, MSTATUS_FS | MSTATUS_VS);
	rig_li(r, A, DATA);
	rig_op(r, OP_vsetvli, T, 0, 0, 3);
	gpa_t top = loop(r, 100);
	for (unsigned k = 0; k < 380; k++) rig_word(r, 0xe2800027 | A << 15 | 8 << 7); /* vs8r.v */
	again(r, top);
	done(r);
}
TEST(lockstep_has_room_for_all_stores_of_a_unit)
{
	const char *words;
	struct rig *r = hart(JIT_CHECK, 4 << 20, true);
	begin(r);
	stores_program(r);
	random_run(r);
	CHECK(r->c->counts[COUNT_UNIT] && !rv64_jit_wrong(r->c->jit, &words));
	rig_free(r);
}

/* What others ask in between changes nothing. */
TEST(random_programs_while_others_ask_for_fences)
{
	struct rig *interp = rig_new(false), *jit = with_windows(hart(JIT_FAST, 256 << 10, false));
	struct pest pest = {.c = jit->c};
	pthread_t thread;
	for (uint64_t seed = 1000000; seed < 1000150; seed++) {
		random_try(interp, seed);
		random_reset(jit, seed);
		atomic_store(&pest.stop, false);
		CHECK(!pthread_create(&thread, NULL, pester, &pest));
		random_run(jit);
		atomic_store(&pest.stop, true);
		CHECK(!pthread_join(thread, NULL));
		CHECK(random_agrees(jit, interp, seed));
	}
	rig_free(interp);
	rig_free(jit);
}

/* Programs by the translator and by the interpreter; RANDOM_SEED, RANDOM_COUNT for more. */
TEST(random_programs)
{
	static const uint64_t failed[] = {105487};
	const char *only = getenv("RANDOM_SEED"), *count = getenv("RANDOM_COUNT");
	uint64_t first = only ? strtoull(only, NULL, 10) : 1,
		 n = count ? strtoull(count, NULL, 10) : 1000;
	struct rig *interp = rig_new(false),
		   *jit[] = {hart(JIT_FAST, 128 << 10, false), hart(JIT_FAST, 1 << 20, true),
			     hart(JIT_CHECK, 1 << 20, true), hart(JIT_CHECK, 1 << 20, false)};
	bool good = true;
	rv64_windows_new(jit[1]->c, true);
	rv64_windows_new(jit[3]->c, true);
	n = only && !count ? 1 : n;
	for (uint64_t i = 0; good && i < n + COUNT(failed); i++) {
		uint64_t seed = i < n ? first + i : failed[i - n];
		random_try(interp, seed);
		for (unsigned k = 0; k < COUNT(jit); k++) {
			random_try(jit[k], seed);
			good &= random_agrees(jit[k], interp, seed);
		}
	}
	CHECK(good);
	CHECK(rv64_window_stats(jit[1]->c)->maps > 100);
	rig_free(interp);
	for (unsigned k = 0; k < COUNT(jit); k++) rig_free(jit[k]);
}
