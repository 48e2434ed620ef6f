/* Traps, delegation, returns, interrupts, the timer, WFI. */
#include "engine/rig.h"
#include <pthread.h>
#include <unistd.h>

/* Delegation on, trap vectors apart. */
static struct rig *rig_traps(uint64_t medeleg)
{
	struct rig *r = rig_new(false);
	r->c->medeleg = medeleg;
	r->c->mideleg = MIP_S;
	r->c->mtvec = RIG_RAM + 0x1000;
	r->c->stvec = RIG_RAM + 0x2000;
	return r;
}

TEST(exceptions_go_where_they_are_delegated)
{
	struct rig *r = rig_traps(1 << CAUSE_ECALL_U);
	r->c->priv = PRIV_U;
	r->c->mstatus = MSTATUS_SIE | MSTATUS_MIE;
	r->c->pc = 0x1234;
	rv64_trap(r->c, CAUSE_ECALL_U, 0);
	CHECK(r->c->priv == PRIV_S && r->c->pc == RIG_RAM + 0x2000);
	CHECK(r->c->sepc == 0x1234 && r->c->scause == CAUSE_ECALL_U);
	CHECK(r->c->mstatus == (MSTATUS_MIE | MSTATUS_SPIE)); /* SPP 0, SIE 0 */

	rv64_trap(r->c, CAUSE_ILLEGAL, 0xbad);
	CHECK(r->c->priv == PRIV_M && r->c->pc == RIG_RAM + 0x1000);
	CHECK(r->c->mepc == RIG_RAM + 0x2000 && r->c->mtval == 0xbad);
	CHECK(r->c->mstatus == (MSTATUS_MPIE | MSTATUS_SPIE | 1ull << 11));

	rv64_trap(r->c, CAUSE_ECALL_U, 0); /* never down from M */
	CHECK(r->c->priv == PRIV_M && (r->c->mstatus & MSTATUS_MPP) == MSTATUS_MPP);
	rig_free(r);
}

TEST(returns_restore_mode_and_enables)
{
	struct rig *r = rig_traps(0);
	r->c->mepc = 0x4444, r->c->sepc = 0x5556;
	r->c->mstatus = MSTATUS_MPIE | 1ull << 11 | MSTATUS_MPRV | MSTATUS_SPP | MSTATUS_SIE;
	CHECK(rv64_mret(r->c) == STOP_JUMP);
	CHECK(r->c->priv == PRIV_S && r->c->pc == 0x4444);
	CHECK(r->c->mstatus == (MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_SPP | MSTATUS_SIE));
	CHECK(rv64_sret(r->c) == STOP_JUMP);
	CHECK(r->c->priv == PRIV_S && r->c->pc == 0x5556);
	CHECK(r->c->mstatus == (MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_SPIE));
	CHECK(rv64_sret(r->c) == STOP_JUMP && r->c->priv == PRIV_U);
	r->c->priv = PRIV_M;
	r->c->mstatus = MSTATUS_MPP | MSTATUS_MPRV;
	CHECK(rv64_mret(r->c) == STOP_JUMP);
	CHECK(r->c->priv == PRIV_M && r->c->mstatus == (MSTATUS_MPRV | MSTATUS_MPIE));
	rig_free(r);
}

TEST(interrupts_come_by_priority_mode_and_delegation)
{
	enum { MEI = 11, MSI = 3, MTI = 7, SEI = 9, SSI = 1, STI = 5, NONE = 0 };
	static const struct {
		unsigned priv;
		uint64_t status, mip, mie, deleg;
		unsigned cause, to;
	} t[] = {
		{PRIV_M, MSTATUS_MIE, MIP_ALL, MIP_ALL, 0, MEI, PRIV_M},
		{PRIV_M, MSTATUS_MIE, MIP_ALL & ~MIP_MEIP, MIP_ALL, 0, MSI, PRIV_M},
		{PRIV_M, MSTATUS_MIE, MIP_MTIP | MIP_S, MIP_ALL, 0, MTI, PRIV_M},
		{PRIV_M, MSTATUS_MIE, MIP_S, MIP_ALL, 0, SEI, PRIV_M},
		{PRIV_M, MSTATUS_MIE, MIP_SSIP | MIP_STIP, MIP_ALL, 0, SSI, PRIV_M},
		{PRIV_M, MSTATUS_MIE, MIP_STIP, MIP_ALL, 0, STI, PRIV_M},
		{PRIV_M, MSTATUS_MIE, MIP_ALL, MIP_SSIP, 0, SSI, PRIV_M},
		{PRIV_M, 0, MIP_ALL, MIP_ALL, 0, NONE, PRIV_M},
		{PRIV_M, MSTATUS_MIE | MSTATUS_SIE, MIP_S, MIP_ALL, MIP_S, NONE, PRIV_M},
		{PRIV_S, 0, MIP_S, MIP_ALL, MIP_S, NONE, PRIV_S},
		{PRIV_S, MSTATUS_SIE, MIP_S, MIP_ALL, MIP_S, SEI, PRIV_S},
		{PRIV_S, MSTATUS_SIE, MIP_STIP | MIP_SSIP, MIP_ALL, MIP_S, SSI, PRIV_S},
		{PRIV_S, 0, MIP_MTIP, MIP_ALL, MIP_S, MTI, PRIV_M},
		{PRIV_S, MSTATUS_SIE, MIP_SEIP | MIP_MTIP, MIP_ALL, MIP_S, MTI, PRIV_M},
		{PRIV_U, 0, MIP_STIP, MIP_ALL, MIP_S, STI, PRIV_S},
		{PRIV_U, 0, MIP_STIP, MIP_SEIP, MIP_S, NONE, PRIV_U},
		{PRIV_U, 0, MIP_STIP, MIP_ALL, 0, STI, PRIV_M},
	};
	for (unsigned i = 0; i < COUNT(t); i++) {
		struct rig *r = rig_traps(0);
		r->c->priv = (uint8_t)t[i].priv;
		r->c->mstatus = t[i].status;
		r->c->mideleg = t[i].deleg;
		r->c->mie = t[i].mie;
		for (unsigned line = 0; line < 12; line++)
			if (t[i].mip >> line & 1) rv64_irq(r->c, line, true);
		CHECK(rv64_interrupt(r->c) == (t[i].cause != NONE));
		uint64_t cause = r->c->priv == PRIV_M ? r->c->mcause : r->c->scause;
		CHECK(t[i].cause == NONE || cause == (CAUSE_INTERRUPT | t[i].cause));
		CHECK(r->c->priv == t[i].to);
		rig_free(r);
	}
}

TEST(vectored_interrupts_have_their_own_entries)
{
	struct rig *r = rig_traps(1 << CAUSE_ECALL_U);
	r->c->stvec |= 1;
	r->c->priv = PRIV_U;
	r->c->mie = MIP_ALL;
	rv64_irq(r->c, IRQ_RV_SEI, true);
	CHECK(rv64_interrupt(r->c) && r->c->pc == RIG_RAM + 0x2000 + 4 * 9);
	r->c->priv = PRIV_U;
	rv64_trap(r->c, CAUSE_ECALL_U, 0);
	CHECK(r->c->pc == RIG_RAM + 0x2000);
	rig_free(r);
}

/* A handler in M-mode that tells mcause. */
static void put_handler(struct rig *r)
{
	gpa_t back = r->at;
	r->at = RIG_RAM + 0x1000;
	rig_op(r, OP_csrrs, 10, 0, 0, CSR_MCAUSE);
	rig_op(r, OP_csrrs, 11, 0, 0, CSR_MEPC);
	rig_stop(r, 10);
	r->at = back;
}

TEST(traps_are_precise)
{
	struct rig *r = rig_traps(0);
	put_handler(r);
	rig_op(r, OP_addi, 5, 0, 0, 1);
	rig_op(r, OP_addi, 5, 5, 0, 1);
	rig_op(r, OP_ebreak, 0, 0, 0, 0);
	rig_op(r, OP_addi, 5, 5, 0, 1);
	rig_run(r, RIG_RAM);
	CHECK(r->told == CAUSE_BREAKPOINT && r->c->x[11] == RIG_RAM + 8 && r->c->x[5] == 2);
	CHECK(r->c->mtval == RIG_RAM + 8);
	rig_free(r);
}

TEST(enabling_takes_a_waiting_interrupt_at_once)
{
	struct rig *r = rig_traps(0);
	put_handler(r);
	rv64_irq(r->c, IRQ_RV_MTI, true);
	r->c->mie = MIP_MTIP;
	rig_op(r, OP_addi, 5, 0, 0, 1);
	rig_op(r, OP_csrrsi, 0, 8, 0, CSR_MSTATUS); /* MIE */
	rig_op(r, OP_addi, 5, 0, 0, 2);
	rig_run(r, RIG_RAM);
	CHECK(r->told == (CAUSE_INTERRUPT | 7) && r->c->x[11] == RIG_RAM + 8 && r->c->x[5] == 1);
	rig_free(r);
}

TEST(fetching_from_nowhere_is_an_access_fault)
{
	struct rig *r = rig_traps(0);
	put_handler(r);
	rig_op(r, OP_jalr, 1, 0, 0, 0x40);
	rig_run(r, RIG_RAM);
	CHECK(r->told == CAUSE_FETCH_ACCESS && r->c->x[11] == 0x40 && r->c->mtval == 0x40);
	CHECK(r->c->x[1] == RIG_RAM + 4);
	rig_free(r);
}

static void put_timer(struct rig *r, unsigned after)
{
	r->c->menvcfg = ENVCFG_STCE;
	r->c->mie = MIP_STIP;
	r->c->mideleg = 0;
	rig_op(r, OP_csrrs, 5, 0, 0, CSR_TIME);
	rig_li(r, 6, after);
	rig_op(r, OP_add, 5, 5, 6, 0);
	rig_op(r, OP_csrrw, 0, 5, 0, CSR_STIMECMP);
}

TEST(stimecmp_wakes_wfi)
{
	struct rig *r = rig_traps(0);
	put_timer(r, 20000); /* 2 ms */
	rig_op(r, OP_wfi, 0, 0, 0, 0);
	rig_op(r, OP_csrrs, 7, 0, 0, CSR_TIME);
	rig_op(r, OP_csrrs, 8, 0, 0, CSR_MIP);
	rig_stop(r, 8);
	rig_run(r, RIG_RAM);
	CHECK(r->told == MIP_STIP && r->c->x[7] >= r->c->x[5]);
	rig_free(r);
}

TEST(stimecmp_in_the_future_drops_the_interrupt)
{
	struct rig *r = rig_traps(0);
	put_timer(r, 0);
	rig_op(r, OP_csrrs, 7, 0, 0, CSR_MIP);
	rig_op(r, OP_addi, 6, 0, 0, -1);
	rig_op(r, OP_csrrw, 0, 6, 0, CSR_STIMECMP);
	rig_op(r, OP_csrrs, 8, 0, 0, CSR_MIP);
	rig_stop(r, 8);
	rig_run(r, RIG_RAM);
	CHECK(r->c->x[7] == MIP_STIP && r->told == 0);
	rig_free(r);
}

static void *run_thread(void *arg)
{
	struct rig *r = arg;
	CHECK(rv64_run(r->c) == VCPU_KICKED);
	return NULL;
}

TEST(interrupts_from_elsewhere_wake_wfi)
{
	struct rig *r = rig_traps(0);
	pthread_t t;
	r->c->mie = MIP_MEIP;
	rig_op(r, OP_wfi, 0, 0, 0, 0);
	rig_op(r, OP_csrrs, 8, 0, 0, CSR_MIP);
	rig_stop(r, 8);
	CHECK(!pthread_create(&t, NULL, run_thread, r));
	while (!atomic_load(&r->c->asleep)) (void)usleep(100);
	rv64_irq(r->c, IRQ_RV_MEI, true);
	CHECK(!pthread_join(t, NULL));
	CHECK(r->told == MIP_MEIP);
	rig_free(r);
}

TEST(interrupts_reach_a_running_loop)
{
	struct rig *r = rig_traps(0);
	pthread_t t;
	put_handler(r);
	r->c->mie = MIP_MEIP;
	r->c->mstatus = MSTATUS_MIE;
	rig_op(r, OP_addi, 5, 5, 0, 1);
	rig_op(r, OP_jal, 0, 0, 0, -4);
	CHECK(!pthread_create(&t, NULL, run_thread, r));
	(void)usleep(1000);
	rv64_irq(r->c, IRQ_RV_MEI, true);
	CHECK(!pthread_join(t, NULL));
	CHECK(r->told == (CAUSE_INTERRUPT | 11));
	rig_free(r);
}

TEST(a_kick_ends_wfi)
{
	struct rig *r = rig_traps(0);
	pthread_t t;
	rig_op(r, OP_wfi, 0, 0, 0, 0);
	CHECK(!pthread_create(&t, NULL, run_thread, r));
	while (!atomic_load(&r->c->asleep)) (void)usleep(100);
	rv64_poke(r->c, POLL_KICK);
	CHECK(!pthread_join(t, NULL));
	CHECK(r->c->pc == RIG_RAM + 4);
	rig_free(r);
}

TEST(sbi_calls_leave_with_pc_behind_them)
{
	struct rig *r = rig_new(true);
	rig_op(r, OP_addi, 17, 0, 0, 8);
	rig_op(r, OP_ecall, 0, 0, 0, 0);
	rig_stop(r, 17);
	CHECK(rv64_run(r->c) == VCPU_SYSCALL);
	CHECK(r->c->pc == RIG_RAM + 8 && r->c->x[17] == 8 && r->c->priv == PRIV_S);
	CHECK(rv64_run(r->c) == VCPU_KICKED && r->told == 8);
	rig_free(r);
}

TEST(with_sbi_everything_traps_to_s_mode)
{
	struct rig *r = rig_new(true);
	r->c->stvec = RIG_RAM + 0x2000;
	r->at = RIG_RAM + 0x2000;
	rig_op(r, OP_csrrs, 10, 0, 0, CSR_SCAUSE);
	rig_stop(r, 10);
	r->at = RIG_RAM;
	rig_op(r, OP_csrrs, 5, 0, 0, CSR_MSTATUS);
	rig_run(r, RIG_RAM);
	CHECK(r->told == CAUSE_ILLEGAL && r->c->sepc == RIG_RAM);
	r->c->priv = PRIV_U;
	rv64_mode_update(r->c);
	r->at = RIG_RAM;
	rig_op(r, OP_ecall, 0, 0, 0, 0);
	rv64_code_fence(r->c);
	rig_run(r, RIG_RAM);
	CHECK(r->told == CAUSE_ECALL_U);
	rig_free(r);
}

/* One hart counts in a loop through a page; the other remaps and fences it. */
TEST(fences_reach_a_running_hart)
{
	struct rig *r = rig_traps(0);
	pthread_t t;
	rig_op(r, OP_addi, 5, 5, 0, 1);
	rig_op(r, OP_jal, 0, 0, 0, -4);
	CHECK(!pthread_create(&t, NULL, run_thread, r));
	while (!atomic_load(&r->c->running)) (void)usleep(100);
	uint64_t gen = r->c->code_gen;
	for (unsigned i = 0; i < 99; i++)
		rv64_fence(r->c, NULL, (struct fence){i % 3, 0, 0x1000, 0x1000});
	CHECK(r->c->code_gen > gen); /* served, not only asked */
	rv64_poke(r->c, POLL_KICK);
	CHECK(!pthread_join(t, NULL));
	rv64_fence(r->c, NULL, (struct fence){.kind = FENCE_OF_PAGES}); /* at rest: does not wait */
	rig_free(r);
}
