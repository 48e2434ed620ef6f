#include "base/test.h"
#include "engine/engine.h"
#include "engine/rig.h"

/* Its clock goes by instructions, and its first `pause` are done one by one. */
static struct rig *counted(uint64_t pause)
{
	struct rig *r = rig_new(false);
	struct engine_env env = {.counted = &r->clock};
	rv64_count_new(r->c, &env);
	r->c->pause = pause;
	return r;
}

/* Nothing has decoded it before. */
TEST(counted_one_by_one_an_instruction_may_lie_across_two_pages)
{
	struct rig *r = counted(1000);
	r->at = RIG_RAM + PAGE_SIZE - 2;
	rig_op(r, OP_addi, 5, 0, 0, 0x7f5);
	rig_stop(r, 5);
	rig_run(r, RIG_RAM + PAGE_SIZE - 2);
	CHECK(r->told == 0x7f5 && r->c->n == 3);
	rig_free(r);
}

/* Turns at fixed places; the last one raises an interrupt, in the guest's sleep. */
struct places {
	struct rig *r;
	uint64_t ran[4], slept;
	unsigned n, kicks, next;
	bool wake;
};
static uint64_t at_turn(void *ctx, const struct engine_turn *t)
{
	static const uint64_t where[] = {3, 1000, 4321, UINT64_MAX};
	struct places *p = ctx;
	if (!t->asleep && t->ran == where[p->next]) p->ran[p->next++] = t->ran;
	if (!t->asleep) return where[p->next];
	p->n++;
	p->slept = t->slept;
	if (p->kicks) p->kicks--, rv64_poke(p->r->c, POLL_KICK);
	if (!p->kicks && t->slept >= 5000) rv64_irq(p->r->c, IRQ_RV_MEI, true);
	return 5000;
}

static void run_places(struct places *p, unsigned loops)
{
	const struct engine_turns turns = {at_turn, p, true};
	struct engine_env env = {.turns = &turns};
	struct rig *r = p->r = rig_new(false);
	env.counted = &r->clock;
	rv64_count_new(r->c, &env);
	CHECK(rv64_cpu_set(r->c, REG_RV_CSR + CSR_MIE, 1 << IRQ_RV_MEI) == 0);
	rig_li(r, 6, loops); /* 3 instructions */
	rig_op(r, OP_addi, 6, 6, 0, -1);
	rig_op(r, OP_bne, 0, 6, 0, -4);
	rig_op(r, OP_wfi, 0, 0, 0, 0);
	rig_op(r, OP_addi, 5, 0, 0, 77);
	rig_stop(r, 5);
	r->c->pc = RIG_RAM;
}

TEST(counted_turns_come_where_they_are_asked_for)
{
	struct places p = {0};
	run_places(&p, 10000);
	CHECK(rv64_run(p.r->c) == VCPU_KICKED && p.r->told == 77);
	CHECK(p.next == 3 && p.ran[0] == 3 && p.ran[1] == 1000 && p.ran[2] == 4321);
	CHECK(p.slept == 5000 && p.r->c->slept == 5000);
	rig_free(p.r);
}

TEST(counted_sleep_is_not_ended_by_a_kick)
{
	struct places p = {.kicks = 3, .next = 3};
	run_places(&p, 10);
	for (unsigned i = 0; i < 3; i++)
		CHECK(rv64_run(p.r->c) == VCPU_KICKED && !p.r->told && p.r->c->dozing);
	CHECK(rv64_run(p.r->c) == VCPU_KICKED && p.r->told == 77 && !p.r->c->dozing);
	CHECK(p.r->c->n == 3 + 2 * 10 + 2 + 2 && p.slept == 5000);
	rig_free(p.r);
}
