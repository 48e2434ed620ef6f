/* Instructions, jumps and pages as the handlers run them. */
#include "engine/rig.h"

/* Sum 1..n in a loop of three instructions. */
static void put_loop(struct rig *r, uint64_t n)
{
	rig_li(r, 10, 0);
	rig_li(r, 11, n);
	rig_op(r, OP_add, 10, 10, 11, 0);
	rig_op(r, OP_addi, 11, 11, 0, -1);
	rig_op(r, OP_bne, 0, 11, 0, -8);
	rig_stop(r, 10);
}

TEST(loop_adds_up)
{
	struct rig *r = rig_new(false);
	put_loop(r, 1000);
	rig_run(r, RIG_RAM);
	CHECK(r->told == 500500);
	CHECK(r->c->n == 3 * 2 + 3000 + 2);
	rig_free(r);
}

TEST(handlers_do_not_grow_the_stack)
{
	struct rig *r = rig_new(false);
	put_loop(r, 3000000); /* 9 million frames would be more than any stack */
	rig_run(r, RIG_RAM);
	CHECK(r->told == 3000000ull * 3000001 / 2);
	rig_free(r);
}

TEST(x0_stays_zero)
{
	struct rig *r = rig_new(false);
	rig_op(r, OP_addi, 0, 0, 0, 5);
	rig_op(r, OP_lui, 0, 0, 0, 0x1000);
	rig_op(r, OP_auipc, 5, 0, 0, 0);
	rig_op(r, OP_ld, 0, 5, 0, 0);
	rig_op(r, OP_add, 6, 0, 0, 0);
	rig_stop(r, 6);
	rig_run(r, RIG_RAM);
	CHECK(r->told == 0 && r->c->x[0] == 0);
	rig_free(r);
}

TEST(exec_one_reports_results_and_traps)
{
	struct rig *r = rig_new(false);
	struct rv64_insn i = {.rd = 5, .rs1 = 6, .rs2 = 7};
	r->c->x[6] = 40, r->c->x[7] = 2;
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_add, &i)) == 0);
	CHECK(r->c->x[5] == 42 && r->c->pc == RIG_RAM + 4);
	CHECK(rv64_exec_one(r->c, 0x0000) == CAUSE_ILLEGAL + 1);
	CHECK(r->c->tval == 0 && r->c->pc == RIG_RAM + 4);
	CHECK(rv64_exec_one(r->c, 0xffffffff) == CAUSE_ILLEGAL + 1);
	CHECK(r->c->tval == 0xffffffff);
	i = (struct rv64_insn){.imm = -4};
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_jal, &i)) == 0 && r->c->pc == RIG_RAM);
	r->c->x[6] = RIG_RAM + 0x1234;
	i = (struct rv64_insn){.rd = 1, .rs1 = 6};
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_jalr, &i)) == 0);
	CHECK(r->c->pc == RIG_RAM + 0x1234 && r->c->x[1] == RIG_RAM + 4);
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_fadd_d, &i)) == CAUSE_ILLEGAL + 1); /* FS off */
	rig_free(r);
}

TEST(code_runs_across_pages)
{
	struct rig *r = rig_new(false);
	r->at = RIG_RAM + 0x0ff8;
	rig_op(r, OP_addi, 5, 0, 0, 1);
	rig_op(r, OP_addi, 5, 5, 0, 2);
	rig_op(r, OP_addi, 5, 5, 0, 4); /* first of the next page */
	rig_stop(r, 5);
	rig_run(r, RIG_RAM + 0xff8);
	CHECK(r->told == 7);
	rig_free(r);
}

TEST(an_instruction_may_straddle_two_pages)
{
	struct rig *r = rig_new(false);
	r->at = RIG_RAM + 0x0ffe;
	rig_op(r, OP_addi, 5, 5, 0, 3);
	rig_op(r, OP_addi, 6, 6, 0, -1);
	rig_op(r, OP_bne, 0, 6, 0, -8);
	rig_stop(r, 5);
	r->c->x[6] = 10;
	rig_run(r, RIG_RAM + 0xffe);
	CHECK(r->told == 30);
	/* its second half changes, alone */
	r->at = RIG_RAM + 0x0ffe;
	rig_op(r, OP_addi, 5, 5, 0, 77);
	r->c->x[6] = 10;
	rv64_code_fence(r->c);
	rig_run(r, RIG_RAM + 0xffe);
	CHECK(r->told == 800);
	rig_free(r);
}

TEST(misaligned_access_works_also_across_pages)
{
	struct rig *r = rig_new(false);
	rig_li(r, 5, RIG_RAM + 0x2ffd);
	rig_li(r, 6, 0x1122334455667788);
	rig_op(r, OP_sd, 0, 5, 6, 0);
	rig_op(r, OP_ld, 7, 5, 0, 0);
	rig_op(r, OP_lw, 8, 5, 0, 1);
	rig_op(r, OP_lhu, 9, 5, 0, 2);
	rig_op(r, OP_sd, 0, 5, 6, 9); /* within the page */
	rig_op(r, OP_ld, 28, 5, 0, 9);
	rig_stop(r, 7);
	rig_run(r, RIG_RAM);
	CHECK(r->told == 0x1122334455667788 && r->c->x[28] == r->told);
	CHECK(r->c->x[8] == 0x44556677 && r->c->x[9] == 0x5566);
	CHECK((rig_get64(r, RIG_RAM + 0x3000) & 0xffffffffff) == 0x1122334455);
	rig_free(r);
}

TEST(fence_i_shows_new_code)
{
	struct rig *r = rig_new(false);
	struct rv64_insn i = {.rd = 10, .rs1 = 10, .imm = 100};
	rig_li(r, 5, RIG_RAM + 0x1000);
	rig_li(r, 6, rv64_encode(OP_addi, &i));
	rig_op(r, OP_jalr, 1, 5, 0, 0);
	rig_op(r, OP_sw, 0, 5, 6, 0);
	rig_op(r, OP_fence_i, 0, 0, 0, 0);
	rig_op(r, OP_jalr, 1, 5, 0, 0);
	rig_stop(r, 10);
	r->at = RIG_RAM + 0x1000;
	rig_op(r, OP_addi, 10, 10, 0, 1);
	rig_op(r, OP_jalr, 0, 1, 0, 0);
	rig_run(r, RIG_RAM);
	CHECK(r->told == 101);
	rig_free(r);
}

TEST(compressed_instructions_link_behind_themselves)
{
	struct rig *r = rig_new(false);
	struct rv64_insn jalr = {.op = OP_jalr, .rd = 1, .rs1 = 5};
	rig_li(r, 5, RIG_RAM + 0x800);
	gpa_t call = r->at;
	rig_half(r, rv64_compress(&jalr));
	r->at = RIG_RAM + 0x800;
	rig_stop(r, 1);
	rig_run(r, RIG_RAM);
	CHECK(r->told == call + 2);
	rig_free(r);
}

TEST(reservations_hold_for_their_address_and_value)
{
	struct rig *r = rig_new(false);
	rig_li(r, 5, RIG_RAM + 0x2000);
	rig_op(r, OP_addi, 6, 0, 0, 7);
	rig_op(r, OP_sc_d, 10, 5, 6, 0); /* none */
	rig_op(r, OP_lr_d, 7, 5, 0, 0);
	rig_op(r, OP_sc_d, 11, 5, 6, 0); /* good */
	rig_op(r, OP_sc_d, 12, 5, 6, 0); /* used up */
	rig_op(r, OP_lr_w, 7, 5, 0, 0);
	rig_op(r, OP_addi, 8, 5, 0, 8);
	rig_op(r, OP_sd, 0, 8, 7, 0);
	rig_op(r, OP_sc_w, 13, 8, 6, 0); /* elsewhere, though the value is the same */
	rig_op(r, OP_lr_w, 7, 5, 0, 0);
	rig_op(r, OP_sw, 0, 5, 0, 0);
	rig_op(r, OP_sc_w, 14, 5, 6, 0); /* the value changed */
	rig_stop(r, 0);
	rig_run(r, RIG_RAM);
	const uint64_t *x = r->c->x;
	CHECK(x[10] == 1 && x[11] == 0 && x[12] == 1 && x[13] == 1 && x[14] == 1);
	CHECK(rig_get64(r, RIG_RAM + 0x2000) == 0);
	/* a trap in between ends it */
	struct rv64_insn in = {.rd = 7, .rs1 = 5, .rs2 = 6};
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_lr_w, &in)) == 0);
	rv64_trap(r->c, CAUSE_BREAKPOINT, 0);
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_sc_w, &in)) == 0 && r->c->x[7] == 1);
	rig_free(r);
}

TEST(atomics_compute_and_return_the_old_value)
{
	static const struct {
		enum rv64_op op;
		uint64_t mem, reg, old, now;
	} t[] = {
		{OP_amoadd_w, 0xffffffff80000000, 0xffffffff, 0xffffffff80000000,
		 0xffffffff7fffffff},
		{OP_amomin_w, 5, 0xffffffff, 5, 0xffffffff},
		{OP_amomaxu_d, 5, ~0ull, 5, ~0ull},
		{OP_amomax_d, 5, ~0ull, 5, 5},
		{OP_amoswap_d, 1, 2, 1, 2},
		{OP_amoxor_d, 6, 3, 6, 5},
	};
	struct rig *r = rig_new(false);
	for (unsigned i = 0; i < COUNT(t); i++) {
		struct rv64_insn in = {.rd = 7, .rs1 = 5, .rs2 = 6};
		rig_put64(r, RIG_RAM + 0x2000, t[i].mem);
		r->c->x[5] = RIG_RAM + 0x2000, r->c->x[6] = t[i].reg;
		CHECK(rv64_exec_one(r->c, rv64_encode(t[i].op, &in)) == 0);
		CHECK(r->c->x[7] == t[i].old);
		CHECK(rig_get64(r, RIG_RAM + 0x2000) == t[i].now);
	}
	r->c->x[5]++;
	struct rv64_insn in = {.rd = 7, .rs1 = 5, .rs2 = 6};
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_amoadd_w, &in)) == CAUSE_STORE_MISALIGNED + 1);
	CHECK(r->c->tval == RIG_RAM + 0x2001);
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_lr_w, &in)) == CAUSE_LOAD_MISALIGNED + 1);
	r->c->x[5] = RIG_STOP;
	CHECK(rv64_exec_one(r->c, rv64_encode(OP_amoadd_w, &in)) == CAUSE_STORE_ACCESS + 1);
	rig_free(r);
}

TEST(devices_are_reached_through_the_bus)
{
	struct rig *r = rig_new(false);
	rig_li(r, 5, RIG_STOP);
	rig_op(r, OP_lw, 6, 5, 0, 0);
	rig_op(r, OP_lbu, 7, 5, 0, 8);
	rig_stop(r, 6);
	rig_run(r, RIG_RAM);
	CHECK(r->told == 0x55667788 && r->c->x[7] == 0x90 && r->loads == 2);
	rig_free(r);
}

TEST(floating_point_marks_its_state_dirty)
{
	struct rig *r = rig_new(false);
	uint64_t s = 0;
	CHECK(rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, 1ull << 13) == 0);
	rig_li(r, 5, 0x4000000000000000); /* 2.0 */
	rig_op(r, OP_fmv_d_x, 1, 5, 0, 0);
	rig_op(r, OP_fadd_d, 2, 1, 1, 0);
	rig_op(r, OP_fmv_x_d, 6, 2, 0, 0);
	rig_stop(r, 6);
	rig_run(r, RIG_RAM);
	CHECK(r->told == 0x4010000000000000);
	CHECK(rv64_cpu_get(r->c, REG_RV_CSR + CSR_MSTATUS, &s) == 0);
	CHECK((s & MSTATUS_FS) == MSTATUS_FS && s >> 63);
	rig_free(r);
}

TEST(a_kick_before_run_counts)
{
	struct rig *r = rig_new(false);
	rig_op(r, OP_jal, 0, 0, 0, 0);
	rv64_poke(r->c, POLL_KICK);
	CHECK(rv64_run(r->c) == VCPU_KICKED);
	rig_free(r);
}

/* Where the stack is when a handler is entered. */
static uintptr_t depth;
static const struct slot *note_depth(struct rv64_cpu *c, const struct slot *ip, uint64_t n)
{
	depth = (uintptr_t)__builtin_frame_address(0);
	return rv64_op_leave(c, ip, n);
}

/* Every op, as often as would show, then a handler that looks at the stack. */
TEST(no_handler_keeps_a_frame)
{
	enum { TIMES = 8 };
	struct rig *r = rig_new(true);
	struct code_page *p = r->c->code; /* no page has been run: free for us */
	uintptr_t first = 0;
	for (unsigned op = OP_illegal + 1; op < OP__max; op++) {
		for (unsigned len = 2; len <= 4; len += 2) {
			struct rv64_insn i = {.op = (uint16_t)op, .len = (uint8_t)len};
			i.rs1 = 5, i.rs2 = 6, i.rd = 7, i.imm = (int)len;
			if (!strncmp(rv64_info(op)->name, "csr", 3)) i.imm = CSR_SSCRATCH;
			r->c->x[5] = RIG_RAM + 0x1000;
			r->c->fp_on = true;
			for (unsigned s = 0; s < TIMES; s++)
				rv64_slot_fill(&p->slot[s * len / 2], &i, s);
			p->slot[TIMES * len / 2].fn = note_depth;
			depth = 0;
			fp_enter(&r->c->fp);
			rv64_go(r->c, p->slot);
			fp_leave(&r->c->fp);
			if (!first) first = depth;
			CHECK(!depth || depth == first); /* 0: it stopped before that */
		}
	}
	CHECK(first);
	rig_free(r);
}
